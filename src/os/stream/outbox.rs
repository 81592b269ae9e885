//! What waits to be written to one connection: bounded by bytes, filled from any thread.

use crate::base::TransmitTag;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Bytes that may wait for one connection. A peer that lets more pile up is disconnected.
pub const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// One message on its way out, and who wants to know if it does not leave.
#[derive(Debug)]
pub struct Outgoing {
    /// The message; what was written already is cut off.
    pub bytes: Bytes,
    /// Who asked.
    pub shard: usize,
    /// What is told on failure.
    pub tag: TransmitTag,
}

impl Outgoing {
    /// The answer to a keepalive (RFC 5626 §4.4.1: CRLF answers CRLFCRLF).
    pub(in crate::os) fn pong() -> Self {
        Self {
            bytes: Bytes::from_static(b"\r\n"),
            shard: 0,
            tag: TransmitTag::default(),
        }
    }
}

/// How far the connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::os) enum State {
    /// Messages are taken.
    Open,
    /// What waits is still written, then the connection is closed.
    Closing,
    /// The peer was too slow: nothing more is written.
    Overrun,
    /// The task ended.
    Closed,
}

#[derive(Debug)]
struct Inner {
    items: VecDeque<Outgoing>,
    bytes: usize,
    state: State,
    waker: Option<Waker>,
}

/// The queue between the shards and the connection's task.
#[derive(Debug)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                state: State::Open,
                waker: None,
            }),
        }
    }

    /// Queues a message, or gives it back: the connection is closing, or the peer reads so slowly
    /// that the queue is full (then it is disconnected).
    pub(super) fn push(&self, out: Outgoing) -> Result<(), Outgoing> {
        let mut inner = self.lock();
        if inner.state != State::Open {
            return Err(out);
        }
        if inner.bytes.saturating_add(out.bytes.len()) > OUTBOX_BYTES_MAX {
            inner.state = State::Overrun;
            wake(inner);
            return Err(out);
        }
        inner.bytes += out.bytes.len();
        inner.items.push_back(out);
        wake(inner);
        Ok(())
    }

    /// Asks the task to write what waits and to close.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        if inner.state == State::Open {
            inner.state = State::Closing;
            wake(inner);
        }
    }

    /// Moves what waits into `into`; the task is woken when more comes.
    pub(super) fn take(&self, into: &mut VecDeque<Outgoing>, waker: &Waker) -> State {
        let mut inner = self.lock();
        into.append(&mut inner.items);
        if !inner.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            inner.waker = Some(waker.clone());
        }
        inner.state
    }

    /// Says that `bytes` of what was taken were written.
    pub(super) fn written(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
    }

    /// Takes no more, and gives back what waits.
    pub(super) fn finish(&self) -> VecDeque<Outgoing> {
        let mut inner = self.lock();
        inner.state = State::Closed;
        inner.waker = None;
        std::mem::take(&mut inner.items)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Outgoing {
        Outgoing {
            bytes: Bytes::from(vec![b'x'; len]),
            shard: 0,
            tag: TransmitTag(0),
        }
    }

    #[test]
    fn the_bound_counts_what_was_taken_and_not_yet_written() {
        let outbox = Outbox::new();
        assert!(outbox.push(message(OUTBOX_BYTES_MAX - 10)).is_ok());
        let mut taken = VecDeque::new();
        assert_eq!(outbox.take(&mut taken, Waker::noop()), State::Open);
        outbox.written(5);
        assert!(outbox.push(message(15)).is_ok());
        assert!(outbox.push(message(1)).is_err());
        assert_eq!(outbox.take(&mut taken, Waker::noop()), State::Overrun);
        assert!(outbox.push(message(0)).is_err());
    }
}
