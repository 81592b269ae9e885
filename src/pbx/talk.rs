//! What both ends of a leg agree to say and hear: offers and answers (RFC 3264), with the keys of
//! secure streams (RFC 4568).

use super::Refusal;
use crate::base::Rng;
use crate::media::{Format, Keys};
use crate::sip::offer_answer::{self, Agreed, Lines, Origin};
use crate::srtp::{MasterKey, Profile};
use crate::wire::rtp::Coding;
use crate::wire::sdp::Direction;
use std::net::IpAddr;

#[derive(Debug)]
pub(super) struct Talk {
    /// What we write and read.
    codings: &'static [Coding],
    origin: Origin,
    /// Whether the answer to our offer is still to come.
    offered: bool,
    agreed: Option<Agreed>,
    /// Ours, once a secure stream was offered.
    key: Option<MasterKey>,
    /// Whether keys reach the far end by signalling where it has no events.
    keys_apart: bool,
}

impl Talk {
    /// Nothing is agreed on; one of these codings may be.
    pub fn new(address: IpAddr, codings: &'static [Coding], rng: &mut Rng) -> Self {
        Self {
            codings,
            origin: Origin {
                id: (rng.next_u64() >> 33) as u32,
                version: 0,
                address,
            },
            offered: false,
            agreed: None,
            key: None,
            keys_apart: false,
        }
    }

    /// The answer to an offer, or an offer of ours where there is none.
    pub fn describe(&mut self, offer: &[u8], rng: &mut Rng) -> Result<Vec<u8>, Refusal> {
        if offer.is_empty() {
            let secure = self.is_secure();
            let codings = preferring(self.coding(), self.codings);
            return Ok(self.offer(&codings, secure, rng));
        }
        self.origin.version = self.origin.version.wrapping_add(1);
        let known = &mut self.key;
        let key = |profile| own_key(known, profile, rng).clone();
        let answer = offer_answer::answer(offer, self.codings, self.origin, key);
        let (body, agreed) = answer.map_err(|why| (488, why.reason()))?;
        self.agreed = Some(agreed);
        Ok(body)
    }

    /// An offer of ours, the preferred coding first; once something is agreed on, with the lines
    /// that the session has (RFC 3264 §8).
    pub fn offer(&mut self, codings: &[Coding], secure: bool, rng: &mut Rng) -> Vec<u8> {
        self.origin.version = self.origin.version.wrapping_add(1);
        self.offered = true;
        let key = match secure {
            true => Some(&*own_key(&mut self.key, Profile::AesCm128HmacSha1_80, rng)),
            false => {
                self.key = None;
                None
            }
        };
        let none = Lines::default();
        let lines = self.agreed.as_ref().map_or(&none, |agreed| &agreed.lines);
        offer_answer::offer(codings, self.origin, Direction::SendRecv, key, lines)
    }

    /// Whether sound is secure.
    pub fn is_secure(&self) -> bool {
        self.agreed
            .as_ref()
            .is_some_and(|agreed| agreed.keys.is_some())
    }

    /// Whether the answer to our offer is still to come.
    pub fn is_offered(&self) -> bool {
        self.offered
    }

    /// The answer to our offer may come; whether it did, and agrees.
    pub fn accept(&mut self, answer: &[u8]) -> bool {
        if !std::mem::take(&mut self.offered) {
            return false;
        }
        let key = self.key.as_ref();
        self.agreed = offer_answer::accepted(answer, self.codings, key).ok();
        self.agreed.is_some()
    }

    /// The answer to our offer comes before the call's (RFC 3261 §13.2.1); it may come again, or
    /// be another phone's. Whether it agrees.
    pub fn accept_early(&mut self, answer: &[u8]) -> bool {
        match offer_answer::accepted(answer, self.codings, self.key.as_ref()) {
            Ok(agreed) => self.agreed = Some(agreed),
            Err(_) => return false,
        }
        true
    }

    /// What is agreed on now.
    pub fn agreed(&self) -> Option<Agreed> {
        self.agreed.clone()
    }

    /// What one of several far ends had agreed to holds.
    pub fn recall(&mut self, agreed: Agreed) {
        self.agreed = Some(agreed);
    }

    /// The call's answer comes, with the answer to our offer unless that came before.
    pub fn conclude(&mut self, answer: &[u8]) {
        self.withdraw();
        if !answer.is_empty() {
            let key = self.key.as_ref();
            self.agreed = offer_answer::accepted(answer, self.codings, key).ok();
        }
    }

    /// Our offer was refused: what was agreed on before holds (RFC 3264 §8).
    pub fn withdraw(&mut self) {
        self.offered = false;
    }

    /// Whether there is something that both ends can hear.
    pub fn agrees(&self) -> bool {
        self.agreed.is_some()
    }

    /// Keys reach the far end by signalling where it has no events, or do not.
    pub fn take_keys_apart(&mut self, apart: bool) {
        self.keys_apart = apart;
    }

    /// Whether they do.
    pub fn takes_keys_apart(&self) -> bool {
        self.keys_apart && self.agrees() && !self.has_events()
    }

    /// Whether the far end has telephone events.
    pub fn has_events(&self) -> bool {
        let agreed = self.agreed.as_ref();
        agreed.is_some_and(|agreed| agreed.events.is_some())
    }

    /// How sound is written.
    pub fn coding(&self) -> Option<Coding> {
        self.agreed.as_ref().map(|agreed| agreed.coding)
    }

    /// Whether the far end holds us: it does not want to hear us now.
    pub fn is_held(&self) -> bool {
        let agreed = self.agreed.as_ref();
        agreed.is_some_and(|agreed| !agreed.direction.sends())
    }

    /// For the studio.
    pub fn format(&self) -> Option<Format> {
        let agreed = self.agreed.as_ref()?;
        Some(Format {
            stream: agreed.stream,
            coding: agreed.coding,
            payload_type: agreed.payload_type,
            events: agreed.events,
            events_clock: agreed.events_clock,
            also: agreed.also,
            comfort: agreed.comfort,
            keys_apart: self.takes_keys_apart(),
            packet_ms: agreed.packet_ms,
            wishes: agreed.wishes,
            sends: agreed.direction.sends(),
            plugin: None,
            keys: agreed.keys.as_ref().map(|keys| Keys {
                ours: keys.ours.to_string().into(),
                theirs: keys.theirs.to_string().into(),
            }),
        })
    }
}

/// What is offered of these, this one first.
pub(super) fn preferring(first: Option<Coding>, codings: &[Coding]) -> Vec<Coding> {
    let offered = |c: &Coding| Coding::OFFERED.contains(c) || *c == Coding::G729;
    let others = codings.iter().copied().filter(offered);
    let others = others.filter(|coding| Some(*coding) != first);
    first.into_iter().chain(others).collect()
}

/// Our key for a suite: the same as long as the suite stays.
fn own_key<'k>(
    known: &'k mut Option<MasterKey>,
    profile: Profile,
    rng: &mut Rng,
) -> &'k mut MasterKey {
    let key = known.take().filter(|key| key.profile() == profile);
    let fresh = || MasterKey::generate(profile, |bytes| rng.fill(bytes));
    known.insert(key.unwrap_or_else(fresh))
}
