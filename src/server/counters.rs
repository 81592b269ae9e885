//! What is counted in one shard, by names that the operator reads.

use crate::control;
use crate::wire::sip::Method;
use std::collections::BTreeMap;

/// The methods that are counted by name; all others count together.
const METHODS: [(Method<'static>, &str); 14] = [
    (Method::Invite, "INVITE"),
    (Method::Ack, "ACK"),
    (Method::Bye, "BYE"),
    (Method::Cancel, "CANCEL"),
    (Method::Register, "REGISTER"),
    (Method::Options, "OPTIONS"),
    (Method::Prack, "PRACK"),
    (Method::Update, "UPDATE"),
    (Method::Info, "INFO"),
    (Method::Subscribe, "SUBSCRIBE"),
    (Method::Notify, "NOTIFY"),
    (Method::Refer, "REFER"),
    (Method::Message, "MESSAGE"),
    (Method::Publish, "PUBLISH"),
];

/// Why a message was dropped before any transaction saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Drop {
    /// Its source is banned, or slowed.
    Guarded,
    /// Its source sends too much.
    Flood,
    /// Its sender says to be a scanner.
    Scanner,
    /// An OPTIONS of a stranger.
    Probe,
    /// It is no SIP.
    NotSip,
    /// It is bad, and the RFC forbids an answer.
    Invalid,
}

const DROPS: [(Drop, &str); 6] = [
    (Drop::Guarded, "guarded"),
    (Drop::Flood, "flood"),
    (Drop::Scanner, "scanner"),
    (Drop::Probe, "probe"),
    (Drop::NotSip, "not_sip"),
    (Drop::Invalid, "invalid"),
];

/// The first final status, and how many there are.
const FINAL: usize = 200;
const FINALS: usize = 500;

/// Numbers only go up.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub messages_in: u64,
    pub messages_out: u64,
    requests: [u64; METHODS.len()],
    other_requests: u64,
    drops: [u64; DROPS.len()],
    /// Final answers that left, by status from [`FINAL`] on.
    responses: Vec<u64>,
    /// Requests refused as malformed, by hundreds of the status.
    pub refused: u64,
}

impl Counters {
    pub fn request(&mut self, method: Method<'_>) {
        match METHODS.iter().position(|(m, _)| *m == method) {
            Some(at) => self.requests[at] += 1,
            None => self.other_requests += 1,
        }
    }

    /// Something leaves: counted if it is a final answer, each time it is sent.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.messages_out += 1;
        let status = bytes
            .strip_prefix(b"SIP/2.0 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        let Some(place) = status.and_then(|s| s.checked_sub(FINAL)) else {
            return;
        };
        self.responses.resize(FINALS, 0);
        if let Some(count) = self.responses.get_mut(place) {
            *count += 1;
        }
    }

    fn responses(&self) -> BTreeMap<String, u64> {
        let all = (FINAL..).zip(&self.responses);
        let some = all.filter(|(_, n)| **n > 0);
        some.map(|(status, n)| (status.to_string(), *n)).collect()
    }

    pub fn dropped(&mut self, why: Drop) {
        self.drops[why as usize] += 1;
    }

    pub fn row(&self) -> control::Counters {
        let named = |pairs: &mut dyn Iterator<Item = (&str, u64)>| -> BTreeMap<String, u64> {
            pairs
                .filter(|(_, n)| *n > 0)
                .map(|(name, n)| (name.to_owned(), n))
                .collect()
        };
        let others = [("other", self.other_requests)];
        let mut requests = METHODS
            .iter()
            .zip(self.requests)
            .map(|((_, name), n)| (*name, n));
        let mut requests = named(&mut requests);
        requests.extend(named(&mut others.into_iter()));
        control::Counters {
            messages_in: self.messages_in,
            messages_out: self.messages_out,
            requests,
            responses: self.responses(),
            drops: named(
                &mut DROPS
                    .iter()
                    .map(|(d, name)| (*name, self.drops[*d as usize])),
            ),
            other: named(&mut [("refused_as_malformed", self.refused)].into_iter()),
        }
    }
}
