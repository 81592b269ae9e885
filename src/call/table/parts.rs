//! Calls that are parts of others: a bridge calls on behalf of whom it answered, and both are one
//! call to whoever reads the records. The part gets none of its own; the whole's tells of both.

use super::{CallKey, CallTable};
use crate::base::Flow;
use crate::call::inside;
use crate::call::state::{Call, State};
use crate::store::EndCause;
use crate::wire::sip::{HeaderName, Message};

/// Parts that a call may have at a time: a bridge makes a second one only once the first failed.
const PARTS_MAX: usize = 4;

/// How a call and its parts hang together.
#[derive(Debug, Default)]
pub(in crate::call) struct Kin {
    /// What it is a part of.
    pub whole: Option<CallKey>,
    /// Its parts that have still to end.
    parts: Vec<CallKey>,
    /// Whether it ended and its record waits for them.
    waits: bool,
    /// Why a part of it ended, where that says more than who hung up.
    cause: Option<EndCause>,
}

impl Kin {
    /// Why the call ended, if a part of it knows better.
    pub fn cause(&self, own: EndCause) -> EndCause {
        self.cause.unwrap_or(own)
    }
}

impl CallTable {
    /// What an INVITE of a service says that its call is a part of.
    pub(super) fn whole_of(&self, request: &Message, flow: &Flow) -> Option<CallKey> {
        let value = request.header(HeaderName::XVoipAccount)?;
        let whole = inside::part_of(value).filter(|_| flow.is_internal());
        let whole = CallKey::from_u64(whole?);
        self.lives(whole).then_some(whole)
    }

    /// A call begins as a part of another.
    pub(super) fn hang_on(&mut self, key: CallKey, whole: Option<CallKey>) {
        let Some(whole) = whole else { return };
        let Some(kin) = self.calls.get_mut(whole.0).map(|call| &mut call.kin) else {
            return;
        };
        if kin.parts.len() >= PARTS_MAX {
            return;
        }
        kin.parts.push(key);
        if let Some(call) = self.calls.get_mut(key.0) {
            call.kin.whole = Some(whole);
        }
    }

    /// Whether the record of a call that ended has to wait for a part. One that lives on, since
    /// somebody else took the call's place, is a call of its own from now on.
    pub(super) fn waits_for_parts(&mut self, key: CallKey) -> bool {
        let Some(call) = self.calls.get_mut(key.0) else {
            return false;
        };
        let mut parts = std::mem::take(&mut call.kin.parts);
        parts.retain(|part| match self.calls.get_mut(part.0) {
            Some(part) if matches!(part.state, State::Answered { .. }) => {
                part.kin.whole = None;
                false
            }
            Some(_) => true,
            None => false,
        });
        let Some(call) = self.calls.get_mut(key.0) else {
            return false;
        };
        call.kin.waits = !parts.is_empty();
        call.kin.parts = parts;
        if call.kin.waits
            && let Some(timer) = call.timer.take()
        {
            self.timers.cancel(timer);
        }
        call.kin.waits
    }

    /// A part is over: what is known of it goes to the whole's record. `false` if there is none
    /// any more.
    pub(super) fn absorbed(&mut self, key: CallKey, part: &Call) -> bool {
        let State::Ended {
            answer_ms, cause, ..
        } = part.state
        else {
            return false;
        };
        let Some(whole) = part.kin.whole else {
            return false;
        };
        let Some(call) = self.calls.get_mut(whole.0) else {
            return false;
        };
        call.kin.parts.retain(|other| *other != key);
        call.ways.way_out = part.ways.way_out.clone();
        call.ways.learn(&part.ways);
        if answer_ms.is_some() {
            call.ways.add_note("bridged");
            call.codecs = format!("{}/{}", call.codecs, part.codecs).into();
            if let (Some(own), Some(theirs)) = (&mut call.stats, &part.stats) {
                own[1] = theirs[1];
            }
        }
        call.kin.cause = match cause {
            EndCause::MediaTimeout
            | EndCause::MediaFailed
            | EndCause::Operator
            | EndCause::TooLong
            | EndCause::Shutdown => Some(cause),
            EndCause::CallerHungUp
            | EndCause::CalleeHungUp
            | EndCause::Cancelled
            | EndCause::Refused => call.kin.cause,
        };
        if call.kin.waits {
            self.record(whole);
        }
        true
    }

    /// A part was refused before it began: the whole's record says why. `false` if it is no part.
    pub(super) fn absorbs_refusal(&mut self, request: &Message, flow: &Flow, note: &str) -> bool {
        let whole = self.whole_of(request, flow);
        let call = whole.and_then(|whole| self.calls.get_mut(whole.0));
        if let Some(call) = call {
            call.ways.add_note(note);
            return true;
        }
        false
    }
}
