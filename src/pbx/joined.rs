//! Two legs that hear each other: a caller's, and that of whom its program called. Who holds the
//! other (RFC 3264 §8.4) lets it hear music.

use super::seat::OWN_TASKS;
use super::{Context, Output, Pbx};
use crate::base::Key;
use crate::media::order::TapeOrder;
use crate::media::{Order, Sound, Task};

/// What the studio does for legs that are joined; no program's number.
const JOINED: u32 = OWN_TASKS;

impl Pbx {
    /// Joins a leg with its other side, if both are open. Where that changes nothing, as when a
    /// session is refreshed, the studio goes on with what it has: sound and keys that are under
    /// way, and music.
    pub(super) fn join(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get(key) else {
            return;
        };
        let (caller, called) = match (&leg.seat, leg.caller) {
            (Some(seat), _) => (Some(key), seat.called),
            (None, caller) => (caller, Some(key)),
        };
        let (Some(caller), Some(called)) = (caller, called) else {
            return;
        };
        let sides = [caller, called].map(|key| {
            let leg = self.legs.get(key).filter(|leg| leg.opened);
            leg.and_then(|leg| Some((leg.session?, leg.talk.is_held())))
        });
        let [Some(caller_side), Some(called_side)] = sides else {
            return;
        };
        let seat = self.legs.get_mut(caller).and_then(|leg| leg.seat.as_mut());
        match seat {
            Some(seat) if seat.called == Some(called) => {
                if !seat.joins(JOINED, called, [caller_side, called_side]) {
                    return self.judge_taping(cx, caller);
                }
            }
            _ => return,
        }
        let taped = self.legs.get(caller).and_then(|leg| leg.seat.as_ref());
        if taped.is_some_and(|seat| seat.taping.is_on()) {
            // Another one maybe, after a transfer.
            let (session, what) = (caller_side.0, TapeOrder::With(called_side.0));
            self.outputs
                .push_back(Output::Media(Order::Tape { session, what }));
        }
        for (own, other) in [(caller_side, called_side), (called_side, caller_side)] {
            let what = match (own.1, other.1) {
                (false, false) => Task::Bridge { with: other.0 },
                (false, true) => Task::Play {
                    sounds: vec![Sound::Music],
                    rounds: None,
                    until_key: false,
                },
                (true, _) => Task::Rest,
            };
            self.outputs.push_back(Output::Media(Order::Do {
                session: own.0,
                task: JOINED,
                what,
            }));
        }
        self.judge_taping(cx, caller);
    }
}
