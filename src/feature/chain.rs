//! What keeps forwardings from running in circles.
//!
//! Two nets. When a forwarding is set, the forwardings of every call behind its target are
//! followed, and one that leads back is refused. What depends on the hour (busy, no answer) cannot
//! be told then, so each call carries a [`Chain`]: no user twice, at most [`FORWARDINGS_MAX`] in
//! all, those of other systems included as far as the request tells of them.

use super::decide::bare;
use super::{Diversions, History, Refusal};
use crate::wire::sip::Message;
use smallvec::SmallVec;

/// Forwardings of one call. RFC 5806 and RFC 7044 leave the number to the operator; eight is more
/// than people set up on purpose.
pub const FORWARDINGS_MAX: usize = 8;

/// The users through whom one call went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    seen: SmallVec<[Box<str>; 2]>,
    /// Forwardings elsewhere, before the call came here.
    before: usize,
}

impl Chain {
    /// Of a call to `aor` that comes from nowhere else.
    pub fn new(aor: &str) -> Self {
        Self {
            seen: SmallVec::from_iter([aor.into()]),
            before: 0,
        }
    }

    /// Of a call to `aor`, after what the request tells of its way here.
    pub fn of_request(aor: &str, request: &Message) -> Self {
        let told = Diversions::of(request)
            .count()
            .max(History::of(request).diverted());
        Self {
            before: told,
            ..Self::new(aor)
        }
    }

    /// How many forwardings there were.
    pub fn len(&self) -> usize {
        self.before + self.seen.len() - 1
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Goes on to the user `aor`, or to a number or URI as [`target_aor`] writes it. On a refusal
    /// nothing is forwarded any more: the caller gets what the last user's phones said, or where
    /// they said nothing, the refusal.
    pub fn step(&mut self, aor: &str) -> Result<(), Refusal> {
        if self.seen.iter().any(|seen| **seen == *aor) {
            return Err(Refusal::new(482, "Forwarding Runs in a Circle"));
        }
        if self.len() >= FORWARDINGS_MAX {
            return Err(Refusal::new(483, "Forwarded Too Often"));
        }
        self.seen.push(aor.into());
        Ok(())
    }
}

/// `name@host` of what a call is forwarded to: a number belongs to the domain of the user who
/// forwards. The host in lower case.
pub fn target_aor(aor: &str, to: &str) -> String {
    let domain = aor.rsplit_once('@').map_or("", |(_, domain)| domain);
    let to = bare(to);
    match to.rsplit_once('@') {
        Some((name, host)) => format!("{name}@{}", host.to_ascii_lowercase()),
        None => format!("{to}@{domain}"),
    }
}

/// Refuses a target that is the user, or from which all calls come back. `always` tells where all
/// calls of another user go.
pub(super) fn check_target<'t>(
    aor: &str,
    to: &str,
    always: impl Fn(&str) -> Option<&'t str>,
) -> Result<(), Refusal> {
    let mut at = target_aor(aor, to);
    if at == aor {
        return Err(Refusal::new(403, "Cannot Forward to Oneself"));
    }
    for _ in 0..FORWARDINGS_MAX {
        let Some(next) = always(&at) else {
            return Ok(());
        };
        let next = target_aor(&at, next);
        if next == aor {
            let name = at.split('@').next().unwrap_or_default();
            let reason = format!("Forwarding Runs in a Circle: {name} Forwards Here");
            return Err(Refusal::new(482, reason));
        }
        at = next;
    }
    Err(Refusal::new(483, "Forwarded Too Often Behind That Number"))
}
