//! Wakes a thread that waits for descriptors, or ends it. Rings that come before it has listened
//! are one: they cost the ringer one write(2) together.
//!
//! ```text
//!  ringer                          listener
//!   say something                   wait until the Ear is readable
//!   Doorbell::ring                  Ear::hush
//!                                   look what was said
//! ```

use super::sys;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The end that rings, from any thread.
#[derive(Debug)]
pub struct Doorbell {
    rung: AtomicBool,
    stop: AtomicBool,
    bell: UnixStream,
}

/// The end of the thread that is woken: readable once it rang.
#[derive(Debug)]
pub struct Ear {
    doorbell: Arc<Doorbell>,
    ear: UnixStream,
}

/// Both ends.
pub fn doorbell() -> io::Result<(Arc<Doorbell>, Ear)> {
    let (bell, ear) = UnixStream::pair()?;
    sys::set_nonblocking(&bell)?;
    sys::set_nonblocking(&ear)?;
    let doorbell = Arc::new(Doorbell {
        rung: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        bell,
    });
    let ear = Ear {
        doorbell: Arc::clone(&doorbell),
        ear,
    };
    Ok((doorbell, ear))
}

impl Doorbell {
    /// Wakes the thread. Call it after what it shall see is there.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // A full pipe means that it rings already.
            let _ = (&self.bell).write(&[1]);
        }
    }

    /// Wakes the thread, and tells it to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }
}

impl Ear {
    /// Takes note of the rings so far. Call it before looking what was said: what comes after the
    /// look rings again.
    pub fn hush(&self) {
        let mut sink = [0; 64];
        while matches!((&self.ear).read(&mut sink), Ok(n) if n == sink.len()) {}
        // A swap, for a store may pass the look that comes after it: then a ringer would still see
        // its bell rung, and what it said would lie unseen.
        self.doorbell.rung.swap(false, Ordering::AcqRel);
    }

    /// Whether the thread shall end.
    pub fn is_stopped(&self) -> bool {
        self.doorbell.stop.load(Ordering::Acquire)
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ear.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::sync::mpsc::sync_channel;

    /// Whether the ear is readable within so many milliseconds.
    fn hears(ear: &Ear, ms: u16) -> bool {
        let mut wait = [PollFd::new(ear.as_fd(), PollFlags::POLLIN)];
        poll(&mut wait, PollTimeout::from(ms)) == Ok(1)
    }

    #[test]
    fn many_rings_are_one_write() {
        let (doorbell, ear) = doorbell().unwrap();
        assert!(!hears(&ear, 0));
        for _ in 0..1000 {
            doorbell.ring();
        }
        assert!(hears(&ear, 0));
        let mut sink = [0; 64];
        assert_eq!((&ear.ear).read(&mut sink).unwrap(), 1);
        ear.hush();
        assert!(!hears(&ear, 0));
        doorbell.ring();
        assert!(hears(&ear, 0) && !ear.is_stopped());
    }

    #[test]
    fn stopping_wakes() {
        let (doorbell, ear) = doorbell().unwrap();
        let thread = std::thread::spawn(move || {
            while !ear.is_stopped() {
                assert!(hears(&ear, 5000), "not woken");
                ear.hush();
            }
        });
        doorbell.ring();
        doorbell.stop();
        thread.join().unwrap();
    }

    #[test]
    fn a_stop_stays_told_after_a_hush() {
        let (doorbell, ear) = doorbell().unwrap();
        doorbell.stop();
        ear.hush();
        assert!(ear.is_stopped());
    }

    #[test]
    fn an_end_that_is_gone_does_no_harm() {
        let (bell, ear) = doorbell().unwrap();
        drop(ear);
        bell.ring();
        let (bell, ear) = doorbell().unwrap();
        drop(bell);
        ear.hush();
        assert!(!ear.is_stopped());
    }

    #[test]
    fn no_ring_is_missed() {
        const WORDS: u32 = 20_000;
        let (doorbell, ear) = doorbell().unwrap();
        let (say, said) = sync_channel(WORDS as usize);
        let ringer = std::thread::spawn(move || {
            for word in 0..WORDS {
                say.send(word).unwrap();
                doorbell.ring();
                if word % 3 == 0 {
                    std::thread::yield_now();
                }
            }
            // Held until all is heard: a pipe that is closed is readable, too.
            doorbell
        });
        let mut next = 0;
        while next < WORDS {
            assert!(hears(&ear, 5000), "asleep after {next} words");
            ear.hush();
            for word in said.try_iter() {
                assert_eq!(word, next);
                next += 1;
            }
        }
        ringer.join().unwrap();
    }
}
