//! One call: its parties, how far it is, its dialogs, and what is known of its media. Data and what
//! can be told from it; `table` decides.

use super::fork::{Dialog, Forks};
use super::leg::Leg;
use super::media::{Described, Media};
use super::table::Kin;
use super::ways::Ways;
use crate::base::{Flow, TimerId};
use crate::relay::{LegStats, MediaCommand, Side};
use crate::store::EndCause;
use crate::wire::sip::{HeaderName, Message, Method, RequestBuilder};
use bytes::Bytes;

/// Our BYEs start this far above the CSeq seen, so that a request in flight does not collide.
const CSEQ_LEAP: u32 = 10;

/// A BYE of ours to one side (the operator's, or because the media fell silent).
#[derive(Clone, Debug)]
pub struct Bye {
    /// The request without a Via, which the sender adds.
    pub request: Bytes,
    /// The path to that side's neighbour.
    pub flow: Flow,
}

/// How far a call is.
#[derive(Debug)]
pub(super) enum State {
    Calling {
        ringing: bool,
    },
    Answered {
        answer_ms: u64,
    },
    Ended {
        answer_ms: Option<u64>,
        end_ms: u64,
        cause: EndCause,
        status: u16,
    },
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub kin: Kin,
    pub call_id: Box<[u8]>,
    pub to_uri: Box<str>,
    pub from_uri: Box<str>,
    pub user: Option<Box<str>>,
    /// Which of our users answered, where that was told: see [`CallTable::answered_by`].
    ///
    /// [`CallTable::answered_by`]: super::CallTable::answered_by
    pub answerer: Box<str>,
    pub ways: Ways,
    pub start_ms: u64,
    pub status: u16,
    pub state: State,
    /// The caller, and the callee of the dialog that record and media follow.
    pub legs: [Leg; 2],
    /// Whether the caller acknowledged that dialog's answer.
    pub acknowledged: bool,
    /// The other dialogs of the fork.
    pub forks: Forks,
    /// When and why the call ended, should it turn out that nobody took the dialog that was left.
    pub ended_before: Option<(u64, EndCause)>,
    pub media: Option<Box<Media>>,
    /// Media goes past the relay, though another branch of the fork had been promised it.
    pub direct: bool,
    pub stats: Option<Box<[LegStats; 2]>>,
    pub codecs: Box<str>,
    /// Whether a description went from the caller's side already.
    pub offered: bool,
    pub timer: Option<TimerId>,
}

impl Call {
    /// The side whose tag is in From: the author of a request, the reader of a response.
    pub fn author(&self, message: &Message) -> Side {
        let from = message.from_tag().unwrap_or_default();
        if *from == *self.legs[0].tag {
            Side::Caller
        } else {
            Side::Called
        }
    }

    /// The tag of the dialog's callee, as far as it is known.
    pub fn callee_tag<'m>(&self, message: &'m Message) -> &'m [u8] {
        let callee = match self.author(message) {
            Side::Caller => message.to_tag(),
            Side::Called => message.from_tag(),
        };
        callee.unwrap_or_default()
    }

    /// Whether a message belongs to an answered dialog that record and media do not follow.
    pub fn is_aside(&self, message: &Message) -> bool {
        let dialog = self.forks.get(self.callee_tag(message));
        dialog.is_some_and(|d| d.answered)
    }

    /// Both sides of a message's dialog.
    pub fn legs_of(&self, message: &Message) -> [&Leg; 2] {
        let aside = self.forks.get(self.callee_tag(message));
        let callee = aside.filter(|d| d.answered).map(|d| &d.leg);
        [&self.legs[0], callee.unwrap_or(&self.legs[1])]
    }

    /// A 2xx to a request that refreshes targets went by: its author's new target holds, and the
    /// answer may name another one of its own.
    pub fn target_confirmed(&mut self, answer: &Message) {
        let side = self.author(answer);
        let tag = self.callee_tag(answer);
        let callee = match self.forks.get_mut(tag) {
            Some(dialog) => &mut dialog.leg,
            None => &mut self.legs[1],
        };
        if *callee.tag != *tag {
            return;
        }
        match side {
            Side::Called => callee.confirm_target(),
            Side::Caller => callee.learn_target(answer),
        }
        match side {
            Side::Called => self.legs[0].learn_target(answer),
            Side::Caller => self.legs[0].confirm_target(),
        }
    }

    /// Record and media follow another dialog from now on; the one before is kept aside if `keep`.
    pub fn follow(&mut self, other: Dialog, keep: bool) -> Option<MediaCommand> {
        let media = self.media.as_ref().filter(|_| !self.direct);
        let before = Dialog {
            leg: std::mem::replace(&mut self.legs[1], other.leg),
            answered: true,
            acknowledged: self.acknowledged,
            media: media.map(|m| Box::new(m.fork())),
            codecs: std::mem::replace(&mut self.codecs, other.codecs),
        };
        if keep && let Some(place) = self.forks.enter(&before.leg.tag) {
            *place = before;
        }
        self.acknowledged = other.acknowledged;
        let own = self.media.as_mut()?;
        self.direct = other.media.is_none();
        other.media.and_then(|media| own.follow(*media))
    }

    pub fn codecs_of(&mut self, described: &Described<'_>) {
        if let Some(codecs) = described.codecs() {
            self.codecs = codecs;
            self.offered |= described.message.is_request();
        }
    }

    /// A BYE to every side of every dialog that was answered, in the other side's name.
    pub fn byes(&self) -> Vec<Bye> {
        let caller = &self.legs[0];
        let others = self.forks.answered().map(|d| &d.leg);
        let callees = [&self.legs[1]].into_iter().chain(others);
        callees
            .flat_map(|callee| [self.bye(caller, callee), self.bye(callee, caller)])
            .flatten()
            .collect()
    }

    /// RFC 3261 §12.2.1.1, §15.1.1.
    fn bye(&self, target: &Leg, sender: &Leg) -> Option<Bye> {
        let flow = target.flow?;
        if target.target.is_empty() {
            return None;
        }
        let mut request = RequestBuilder::new(Method::Bye, target.target.to_vec())
            .max_forwards(70)
            .header(HeaderName::From, sender.address.to_vec())
            .header(HeaderName::To, target.address.to_vec())
            .header(HeaderName::CallId, self.call_id.to_vec())
            .cseq(sender.cseq.saturating_add(CSEQ_LEAP));
        for route in &target.routes {
            request = request.header(HeaderName::Route, route.to_vec());
        }
        Some(Bye {
            request: request.render(),
            flow,
        })
    }
}

/// RFC 3261 §12.2, RFC 3311 §5, RFC 6665 §4.4.1, RFC 3515 §2.2.
pub(super) fn refreshes_target(method: Method<'_>) -> bool {
    matches!(
        method,
        Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer
    )
}
