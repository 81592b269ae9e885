//! Legs of ours between the two sides of a stream: to tell both that they are recorded, and where
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
use crate::relay::{Side, leg_toward, session_of_leg, side_of_leg, stream_of_leg};
use std::collections::BTreeSet;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Pair {
    session: u64,
    /// The place of the stream.
    pub(super) stream: usize,
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
    /// recording has just begun, and both are told of it in this stream.
    pub(super) fn place(&mut self, dialogue: &mut Dialogue, begun: Option<usize>) {
        let Some(session) = dialogue.session else {
            dialogue.pairs.clear();
            return;
        };
        let mut known = std::mem::take(&mut dialogue.pairs);
        known.retain(|pair| pair.session == session);
        let converted = dialogue.conversions.iter().map(|c| c.stream);
        let paired = known.iter().map(|pair| pair.stream);
        let streams: BTreeSet<usize> = paired.chain(converted).chain(begun).collect();
        for stream in streams {
            let at = known.iter().position(|pair| pair.stream == stream);
            let pair = at.map(|at| known.swap_remove(at));
            let placed = self.place_in(dialogue, (session, stream), pair, begun == Some(stream));
            dialogue.pairs.extend(placed);
        }
    }

    /// The same in one stream.
    fn place_in(
        &mut self,
        dialogue: &Dialogue,
        (session, stream): (u64, usize),
        known: Option<Pair>,
        begun: bool,
    ) -> Option<Pair> {
        let tells = begun && !self.settings.notice.is_empty();
        let wanted = dialogue.conversion(stream).map(|c| c.formats.clone());
        let bridges = wanted.is_some();
        let formats = match (wanted, tells, &known) {
            (Some(formats), ..) => Some(formats),
            (None, true, _) => dialogue.told(stream, self.settings.codings),
            (None, false, Some(pair)) => {
                let telling = pair.telling.iter().any(Option::is_some);
                let taped = dialogue.tapes.iter().any(|tape| tape.stream == stream);
                (telling && taped).then(|| pair.formats.clone())
            }
            (None, false, None) => None,
        };
        let Some(formats) = formats else {
            if known.is_some() {
                self.orders.extend(part(session, stream));
            }
            return None;
        };
        let fresh = known.is_none();
        let mut pair = known.unwrap_or_else(|| Pair {
            session,
            stream,
            formats: formats.clone(),
            bridges: false,
            telling: [None; 2],
        });
        if fresh || pair.formats != formats {
            for (side, format) in Side::BOTH.into_iter().zip(&formats) {
                self.orders.push(Order::Open {
                    session: leg_toward(session, stream, side),
                    format: format.clone(),
                    seed: self.rng.next_u64(),
                });
            }
            pair.formats = formats;
        }
        let before = std::mem::replace(&mut pair.bridges, bridges);
        if tells {
            let legs = Side::BOTH.map(|side| leg_toward(session, stream, side));
            pair.telling = legs.map(|leg| Some(self.tell(leg)));
        } else if bridges && !before {
            for side in Side::BOTH {
                if pair.telling.get(side.index()) == Some(&None) {
                    self.orders.push(bridge(session, stream, side));
                }
            }
        }
        Some(pair)
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

/// Both legs of a stream end.
fn part(session: u64, stream: usize) -> [Order; 2] {
    Side::BOTH.map(|side| Order::Close {
        session: leg_toward(session, stream, side),
    })
}

fn bridge(session: u64, stream: usize, side: Side) -> Order {
    Order::Do {
        session: leg_toward(session, stream, side),
        task: 0,
        what: Task::Bridge {
            with: leg_toward(session, stream, side.other()),
        },
    }
}

impl Ng {
    /// One side was told.
    pub(super) fn on_told(&mut self, session: u64, task: u32) {
        let Some(side) = side_of_leg(session) else {
            return;
        };
        let (session, stream) = (session_of_leg(session), stream_of_leg(session));
        let Some(dialogue) = self.dialogue_of(session) else {
            return;
        };
        let mut pairs = dialogue.pairs.iter_mut();
        let Some(pair) = pairs.find(|pair| pair.stream == stream) else {
            return;
        };
        match pair.telling.get_mut(side.index()) {
            Some(told) if *told == Some(task) => *told = None,
            _ => return,
        }
        if pair.bridges {
            return self.order(bridge(session, stream, side));
        }
        if pair.telling == [None; 2] {
            dialogue.pairs.retain(|pair| pair.stream != stream);
            part(session, stream)
                .into_iter()
                .for_each(|order| self.order(order));
        }
    }

    /// The studio has no room for a leg, or knows it no more.
    pub(super) fn on_leg_lost(&mut self, session: u64) {
        let (session, stream) = (session_of_leg(session), stream_of_leg(session));
        let Some(dialogue) = self.dialogue_of(session) else {
            return;
        };
        let at = dialogue.pairs.iter().position(|p| p.stream == stream);
        if let Some(pair) = at.map(|at| dialogue.pairs.swap_remove(at)) {
            if pair.bridges {
                tracing::warn!("a call that needs other codecs is not heard: too many of them");
            }
            part(session, stream)
                .into_iter()
                .for_each(|order| self.order(order));
        }
    }

    /// Media began anew, and with it a session: its legs are gone.
    pub(super) fn place_anew(&mut self, now: Instant, call_id: &[u8], dialogue: u64) {
        let found = self.dialogue_mut(call_id, dialogue);
        let pairs = found.map(|d| std::mem::take(&mut d.pairs));
        if pairs.is_some_and(|pairs| !pairs.is_empty()) {
            self.settle_tapes(now, call_id);
        }
    }
}
