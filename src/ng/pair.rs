//! Legs of ours between the two sides of a dialogue: to tell both that they are recorded, and where
//! they write sound otherwise ([`leg_toward`]).
//!
//! ```text
//!   none --recording begins--> telling --both were told--> none
//!     '--formats differ--> bridged --recording begins--> telling --each--> bridged
//! ```
//! While they stand there each side hears them under numbers of their own, and packets of the
//! stream go by sockets.

use super::call::Dialogue;
use super::core::Ng;
use super::record::Desk;
use crate::base::Instant;
use crate::media::order::{Format, Order, Task};
use crate::relay::{Side, leg_toward, session_of_leg, side_of_leg};

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Pair {
    session: u64,
    formats: [Format; 2],
    /// Whether they stay when both were told.
    bridges: bool,
    /// What each side is being told, by the number of the task.
    telling: [Option<u32>; 2],
}

/// What legs between the two sides are for, without end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conversion {
    /// The place of the stream.
    pub stream: usize,
    /// How each side writes and reads it.
    pub formats: [Format; 2],
}

impl Desk<'_> {
    /// Brings the legs between the sides of a dialogue in line with what they are for. `begun`: its
    /// recording has just begun.
    pub(super) fn place(&mut self, dialogue: &mut Dialogue, begun: bool) {
        let tells = begun && !self.settings.notice.is_empty();
        let known = dialogue.pair.take();
        let Some(session) = dialogue.session else {
            return;
        };
        let known = known.filter(|pair| pair.session == session);
        let wanted = dialogue.conversion.clone().map(|c| c.formats);
        let bridges = wanted.is_some();
        let formats = match (wanted, tells, &known) {
            (Some(formats), ..) => Some(formats),
            (None, true, _) => dialogue.told(self.settings.codings),
            (None, false, Some(pair)) => {
                let telling = pair.telling.iter().any(Option::is_some);
                (telling && dialogue.tape.is_some()).then(|| pair.formats.clone())
            }
            (None, false, None) => None,
        };
        let Some(formats) = formats else {
            if known.is_some() {
                self.orders.extend(part(session));
            }
            return;
        };
        let fresh = known.is_none();
        let mut pair = known.unwrap_or_else(|| Pair {
            session,
            formats: formats.clone(),
            bridges: false,
            telling: [None; 2],
        });
        if fresh || pair.formats != formats {
            for (side, format) in Side::BOTH.into_iter().zip(&formats) {
                self.orders.push(Order::Open {
                    session: leg_toward(session, side),
                    format: format.clone(),
                    seed: self.rng.next_u64(),
                });
            }
            pair.formats = formats;
        }
        let before = std::mem::replace(&mut pair.bridges, bridges);
        if tells {
            pair.telling = Side::BOTH.map(|side| Some(self.tell(leg_toward(session, side))));
        } else if bridges && !before {
            for side in Side::BOTH {
                if pair.telling.get(side.index()) == Some(&None) {
                    self.orders.push(bridge(session, side));
                }
            }
        }
        dialogue.pair = Some(pair);
    }

    fn tell(&mut self, session: u64) -> u32 {
        let task = self.number();
        let what = Task::Play {
            sounds: self.settings.notice.clone(),
            rounds: Some(1),
            until_key: false,
        };
        self.orders.push(Order::Do {
            session,
            task,
            what,
        });
        task
    }
}

/// Both legs of a session end.
fn part(session: u64) -> [Order; 2] {
    Side::BOTH.map(|side| Order::Close {
        session: leg_toward(session, side),
    })
}

fn bridge(session: u64, side: Side) -> Order {
    Order::Do {
        session: leg_toward(session, side),
        task: 0,
        what: Task::Bridge {
            with: leg_toward(session, side.other()),
        },
    }
}

impl Ng {
    /// One side was told.
    pub(super) fn on_told(&mut self, session: u64, task: u32) {
        let Some(side) = side_of_leg(session) else {
            return;
        };
        let session = session_of_leg(session);
        let Some(dialogue) = self.dialogue_of(session) else {
            return;
        };
        let Some(pair) = &mut dialogue.pair else {
            return;
        };
        match pair.telling.get_mut(side.index()) {
            Some(told) if *told == Some(task) => *told = None,
            _ => return,
        }
        if pair.bridges {
            return self.order(bridge(session, side));
        }
        if pair.telling == [None; 2] {
            dialogue.pair = None;
            part(session)
                .into_iter()
                .for_each(|order| self.order(order));
        }
    }

    /// The studio has no room for a leg, or knows it no more.
    pub(super) fn on_leg_lost(&mut self, session: u64) {
        let session = session_of_leg(session);
        let Some(dialogue) = self.dialogue_of(session) else {
            return;
        };
        if let Some(pair) = dialogue.pair.take() {
            if pair.bridges {
                tracing::warn!("a call that needs other codecs is not heard: too many of them");
            }
            part(session)
                .into_iter()
                .for_each(|order| self.order(order));
        }
    }

    /// Media began anew, and with it a session: its legs are gone.
    pub(super) fn place_anew(&mut self, now: Instant, call_id: &[u8], dialogue: u64) {
        let found = self.dialogue_mut(call_id, dialogue);
        if found.and_then(|d| d.pair.take()).is_some() {
            self.settle_tapes(now, call_id);
        }
    }
}
