//! A queue that says when it is full.

use std::collections::VecDeque;

/// First in, first out, up to `limit` items.
#[derive(Debug)]
pub struct BoundedQueue<T> {
    items: VecDeque<T>,
    limit: usize,
    refused: u64,
}

impl<T> BoundedQueue<T> {
    /// An empty queue for at most `limit` items.
    pub fn new(limit: usize) -> Self {
        Self {
            items: VecDeque::new(),
            limit,
            refused: 0,
        }
    }

    /// Appends `item`, or gives it back when the queue is full, and counts that.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.items.len() >= self.limit {
            self.refused += 1;
            return Err(item);
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// The oldest item.
    pub fn front(&self) -> Option<&T> {
        self.items.front()
    }

    /// The oldest item, to change.
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.items.front_mut()
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many items were refused since the beginning.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::BoundedQueue;

    #[test]
    fn refuses_past_its_limit() {
        let mut q = BoundedQueue::new(2);
        assert!(q.push(1).is_ok() && q.push(2).is_ok());
        assert_eq!(q.push(3), Err(3));
        assert_eq!(
            (q.refused(), q.pop(), q.pop(), q.pop()),
            (1, Some(1), Some(2), None)
        );
    }
}
