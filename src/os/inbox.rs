//! How one thread hands work to a shard: a bounded queue that wakes the shard's worker, and wakes
//! it once for a whole batch.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Messages that may wait for one shard before further ones are dropped and counted.
pub const INBOX_MESSAGES_MAX: usize = 16_384;

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
    refused: u64,
}

/// Work for one shard, from any thread.
#[derive(Debug)]
pub struct Inbox<T> {
    inner: Mutex<Inner<T>>,
    limit: usize,
}

impl<T> Inbox<T> {
    /// An empty inbox for at most `limit` droppable items.
    pub fn new(limit: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                waker: None,
                refused: 0,
            }),
            limit,
        }
    }

    /// Hands over what the network may lose: past the limit it is dropped and counted.
    pub fn push(&self, item: T) {
        let mut inner = self.lock();
        if inner.items.len() >= self.limit {
            inner.refused += 1;
            return;
        }
        inner.items.push_back(item);
        wake(inner);
    }

    /// Hands over a batch under one lock and one wake-up; `batch` is empty afterwards.
    pub fn push_batch(&self, batch: &mut Vec<T>) {
        if batch.is_empty() {
            return;
        }
        let mut inner = self.lock();
        let room = self.limit.saturating_sub(inner.items.len());
        let refused = batch.len().saturating_sub(room);
        inner.refused += refused as u64;
        batch.truncate(room);
        inner.items.extend(batch.drain(..));
        wake(inner);
    }

    /// Hands over what must not be lost (a closed connection, an answer that a shard waits for).
    /// Each such item answers something that is itself bounded.
    pub fn push_always(&self, item: T) {
        let mut inner = self.lock();
        inner.items.push_back(item);
        wake(inner);
    }

    /// Moves everything into `into`, which is empty; if nothing waits, remembers whom to wake.
    pub fn take(&self, into: &mut VecDeque<T>, waker: &Waker) {
        let mut inner = self.lock();
        std::mem::swap(&mut inner.items, into);
        if into.is_empty() && !inner.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            inner.waker = Some(waker.clone());
        }
    }

    /// How many items were dropped since the beginning.
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake<T>(mut inner: MutexGuard<'_, Inner<T>>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_dropped_past_the_limit_and_the_rest_is_not() {
        let inbox = Inbox::new(2);
        let mut batch = vec![1, 2, 3];
        inbox.push_batch(&mut batch);
        assert!(batch.is_empty());
        inbox.push(4);
        inbox.push_always(5);
        let mut got = VecDeque::new();
        inbox.take(&mut got, Waker::noop());
        assert_eq!(got, [1, 2, 5]);
        assert_eq!(inbox.refused(), 2);
    }
}
