//! A worker's lines to all threads of a driver. Each thread has a flow table of its own, since a
//! card spreads the packets of a call over its rings as it likes; all tables hear the same changes,
//! and what they answer is made one here.
//!
//! ```text
//!   change --+--> thread 0 --> answer --+
//!            +--> thread 1 --> answer --+--> one answer, once the last one came
//! ```
//! Each thread answers in the order of the changes, so the n-th answers belong together. No flow
//! of ours has keys of SRTP, which two tables must not have (RFC 3711 §9.1): such calls stay on
//! sockets.

use crate::os::doorbell::Doorbell;
use crate::relay::frame::{Answer, CHANGES_MAX, Change, FlowControl, FlowStats, FlowTable};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// The line to one thread.
#[derive(Debug)]
pub(super) struct Line {
    control: FlowControl,
    estate: Receiver<Arc<FlowTable>>,
    wake: Arc<Doorbell>,
    /// How many changes it was asked for, and has answered.
    asked: u64,
    answered: u64,
}

/// A change that not all have answered.
#[derive(Debug)]
struct Pending {
    answer: Option<Answer>,
    missing: usize,
    /// Whether some have done what others could not.
    partly: bool,
    quiet: bool,
}

/// What all threads said to a change.
#[derive(Debug)]
pub(super) struct Told {
    /// Refused if one refused it; counts are sums.
    pub(super) answer: Answer,
    /// Whether it is refused, but some have done it.
    pub(super) partly: bool,
    /// Whether nobody waits for it.
    pub(super) quiet: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Vec<Line>,
    pending: VecDeque<Pending>,
    /// How many changes were answered by all.
    done: u64,
}

impl Line {
    pub(super) fn new(
        control: FlowControl,
        estate: Receiver<Arc<FlowTable>>,
        wake: Arc<Doorbell>,
    ) -> Self {
        Self {
            control,
            estate,
            wake,
            asked: 0,
            answered: 0,
        }
    }
}

impl Lines {
    pub(super) fn new(lines: Vec<Line>) -> Self {
        let pending = VecDeque::with_capacity(CHANGES_MAX);
        let done = 0;
        Self {
            lines,
            pending,
            done,
        }
    }

    /// Asks all threads for a change; whether they have room for it.
    pub(super) fn ask(&mut self, quiet: bool, make: impl Fn() -> Change) -> bool {
        let room = |line: &Line| line.asked - line.answered < CHANGES_MAX as u64;
        if !self.lines.iter().all(room) {
            return false;
        }
        for (at, line) in self.lines.iter_mut().enumerate() {
            // There is room, so it is gone: the whole driver ends.
            if line.control.ask(make()).is_err() {
                if at > 0 {
                    self.push(true);
                }
                return false;
            }
            line.asked += 1;
            line.wake.ring();
        }
        self.push(quiet);
        true
    }

    fn push(&mut self, quiet: bool) {
        self.pending.push_back(Pending {
            answer: None,
            missing: self.lines.len(),
            partly: false,
            quiet,
        });
    }

    /// The next change that all have answered.
    pub(super) fn poll(&mut self) -> Option<Told> {
        for line in &mut self.lines {
            while let Some(answer) = line.control.poll_answer() {
                let at = usize::try_from(line.answered - self.done).unwrap_or(usize::MAX);
                line.answered += 1;
                if let Some(pending) = self.pending.get_mut(at) {
                    pending.join(answer);
                }
            }
        }
        self.pending.front().filter(|first| first.missing == 0)?;
        let first = self.pending.pop_front()?;
        self.done += 1;
        Some(Told {
            answer: first.answer?,
            partly: first.partly,
            quiet: first.quiet,
        })
    }

    /// What a driver that is gone left.
    pub(super) fn estate(&self) -> Vec<Arc<FlowTable>> {
        let left = self.lines.iter().map(|line| line.estate.try_recv());
        left.filter_map(Result::ok).collect()
    }
}

/// What all tables counted of a flow.
pub(super) fn stats(tables: &[Arc<FlowTable>], flow: SocketAddr) -> Option<FlowStats> {
    let counted = tables.iter().filter_map(|table| table.stats(flow));
    counted.reduce(FlowStats::join)
}

impl Pending {
    fn join(&mut self, other: Answer) {
        self.missing = self.missing.saturating_sub(1);
        let Some(answer) = self.answer else {
            self.answer = Some(other);
            return;
        };
        let (joined, partly) = join(answer, other);
        self.answer = Some(joined);
        self.partly |= partly;
    }
}

/// Two answers to the same change in one, and whether they differ.
fn join(one: Answer, other: Answer) -> (Answer, bool) {
    match (one, other) {
        (
            Answer::Installed {
                destination,
                result: a,
            },
            Answer::Installed { result: b, .. },
        ) => {
            let result = a.and(b);
            (
                Answer::Installed {
                    destination,
                    result,
                },
                a.is_ok() != b.is_ok(),
            )
        }
        (
            Answer::Removed {
                destination,
                result: a,
            },
            Answer::Removed { result: b, .. },
        ) => {
            let result = match (a, b) {
                (Ok(a), Ok(b)) => Ok(a.join(b)),
                (a, b) => a.or(b),
            };
            (
                Answer::Removed {
                    destination,
                    result,
                },
                false,
            )
        }
        (
            Answer::Counted {
                destination,
                stats: a,
            },
            Answer::Counted { stats: b, .. },
        ) => {
            let stats = match (a, b) {
                (Some(a), Some(b)) => Some(a.join(b)),
                (a, b) => a.or(b),
            };
            (Answer::Counted { destination, stats }, false)
        }
        // All hear the same changes in the same order.
        (one, _) => (one, false),
    }
}
