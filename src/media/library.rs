//! What the studio has asked of the disk and not heard of yet, and what it knows of the site's
//! prompts, so that the disk is not asked for each of them each time.

use super::file::{FileAnswer, FileAsk, FileFailure, FileNews, FileWish, Root, Ticket};
use super::leg::Left;
use super::player::Stock;
use crate::base::{Instant, Key};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Questions that wait for the driver, which drains them after each call.
const ASKS_MAX: usize = 4_096;
/// Questions that wait for the disk.
const OPEN_MAX: usize = 65_536;
/// Recordings that go on without their legs.
const LEFT_MAX: usize = 4_096;
/// Prompts of the site that are known, or known not to be there; of more all are forgotten.
const KNOWN_MAX: usize = 2_048;
/// For so long; then a file that was put there or taken away is seen.
const KNOWN_FOR: Duration = Duration::from_secs(30);

/// Who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// A leg.
    Leg(Key),
    /// The recording of a conversation, by its session on the left.
    Tape(u64),
    /// A recording without its leg, by its number.
    Left(u64),
    /// The owner of files, whom the answer names.
    Owner { session: u64, task: u32 },
}

type Answer = Result<FileAnswer, FileFailure>;

/// The studio's side of the disk.
#[derive(Debug, Default)]
pub(super) struct Library {
    pub stock: Arc<Stock>,
    spool: bool,
    tickets: u64,
    asks: VecDeque<FileAsk>,
    open: BTreeMap<Ticket, (Asker, Option<Box<str>>)>,
    known: BTreeMap<Box<str>, (Instant, Answer)>,
    left: BTreeMap<u64, Left>,
}

impl Library {
    /// Which roots there are.
    pub fn set_roots(&mut self, spool: bool, prompts: bool) {
        self.spool = spool;
        self.known.clear();
        if self.stock.site != prompts {
            self.stock = Arc::new(Stock::new(prompts));
        }
    }

    /// Asks; the ticket, and the answer if it is known already.
    pub fn ask(&mut self, now: Instant, asker: Asker, what: FileWish) -> (Ticket, Option<Answer>) {
        self.tickets += 1;
        let ticket = self.tickets;
        if let Some(answer) = self.known_answer(now, &what) {
            return (ticket, Some(answer));
        }
        if self.asks.len() >= ASKS_MAX || self.open.len() >= OPEN_MAX {
            return (ticket, Some(Err(FileFailure::Busy)));
        }
        // A site's prompt has several names; one file has one, and is looked at each time.
        let prompt = match &what {
            FileWish::Open { root, names } if *root == Root::Prompts && names.len() > 1 => {
                names.first().cloned()
            }
            FileWish::Music => Some(Box::from(super::shelf::MUSIC)),
            _ => None,
        };
        self.open.insert(ticket, (asker, prompt));
        self.asks.push_back(FileAsk { ticket, what });
        (ticket, None)
    }

    fn known_answer(&self, now: Instant, what: &FileWish) -> Option<Answer> {
        let (root, name) = match what {
            FileWish::Open { root, names } => (*root, names.first().map(|name| &**name)),
            FileWish::Read { root, .. } => (*root, None),
            FileWish::Music => (Root::Prompts, Some(super::shelf::MUSIC)),
            FileWish::Append { .. } | FileWish::Finish { .. } | FileWish::Order(_) => {
                return (!self.spool).then_some(Err(FileFailure::Disk));
            }
        };
        let there = match root {
            Root::Spool => self.spool,
            Root::Prompts => self.stock.site,
        };
        if !there {
            return Some(Err(FileFailure::Missing));
        }
        let (at, answer) = self.known.get(name?)?;
        (now.since(*at) < KNOWN_FOR).then(|| answer.clone())
    }

    /// An answer came; whose question it was.
    pub fn on_answer(&mut self, now: Instant, ticket: Ticket, answer: &Answer) -> Option<Asker> {
        let (asker, prompt) = self.open.remove(&ticket)?;
        if let Some(name) = prompt
            && *answer != Err(FileFailure::Busy)
        {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(name, (now, answer.clone()));
        }
        Some(asker)
    }

    /// What the driver must ask of the disk.
    pub fn poll_ask(&mut self) -> Option<FileAsk> {
        self.asks.pop_front()
    }

    /// A recording goes on without its leg; its number, or itself if there is no room.
    pub fn leave(&mut self, left: Left) -> Result<u64, Box<Left>> {
        if self.left.len() >= LEFT_MAX {
            return Err(Box::new(left));
        }
        self.tickets += 1;
        let number = self.tickets;
        if let Some(ticket) = left.asked
            && let Some((asker, _)) = self.open.get_mut(&ticket)
        {
            *asker = Asker::Left(number);
        }
        self.left.insert(number, left);
        Ok(number)
    }

    /// A recording without its leg.
    pub fn left(&mut self, number: u64) -> Option<&mut Left> {
        self.left.get_mut(&number)
    }

    /// It is over.
    pub fn forget(&mut self, number: u64) -> Option<Left> {
        self.left.remove(&number)
    }

    /// Recordings that go on without their legs.
    pub fn left_count(&self) -> usize {
        self.left.len()
    }
}

/// The answer to a question that the driver could not pass on.
pub fn refused(ask: &FileAsk) -> FileNews {
    FileNews::Answer {
        ticket: ask.ticket,
        what: Err(FileFailure::Busy),
    }
}
