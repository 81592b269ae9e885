//! What one REGISTER does to an address of record (RFC 3261 §10.3 steps 6 and 7): either all of
//! it or nothing. First every contact is checked against the bindings there are, then all change.

use super::Location;
use super::binding::{Binding, Parts, Reach, Texts, reach_at_first, same_instance};
use crate::base::{Anchor, Flow, Instant};
use crate::store::Record;
use crate::wire::sip::Uri;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Bindings, the best first.
pub type Bindings = SmallVec<[Arc<Binding>; 4]>;

/// One Contact of a REGISTER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContactUpdate<'a> {
    /// As the phone wrote it.
    pub uri: &'a str,
    /// Header parameters to hand out again: `;name=value;name`.
    pub parameters: &'a str,
    /// In thousandths.
    pub q: u16,
    /// Seconds to live; zero removes.
    pub expires: u32,
    /// `+sip.instance` without quotes and angles; empty without.
    pub instance: &'a str,
    /// RFC 5626; zero where outbound is not in use.
    pub reg_id: u32,
    /// Whether the contact differed from the source.
    pub behind_nat: bool,
}

impl ContactUpdate<'_> {
    fn is_outbound(&self) -> bool {
        self.reg_id != 0 && !self.instance.is_empty()
    }

    /// RFC 5626 §6: instance and reg-id name an outbound binding; else the URI does, compared by
    /// RFC 3261 §19.1.4.
    fn names(&self, binding: &Binding) -> bool {
        if self.is_outbound() {
            return binding.reg_id == self.reg_id
                && same_instance(binding.instance(), self.instance);
        }
        same_uri(self.uri, binding.contact())
    }

    fn same_as(&self, other: &ContactUpdate<'_>) -> bool {
        match (self.is_outbound(), other.is_outbound()) {
            (true, true) => {
                self.reg_id == other.reg_id && same_instance(self.instance, other.instance)
            }
            (false, false) => same_uri(self.uri, other.uri),
            (true, false) | (false, true) => false,
        }
    }
}

fn same_uri(one: &str, two: &str) -> bool {
    one == two
        || match (Uri::parse(one.as_bytes()), Uri::parse(two.as_bytes())) {
            (Ok(one), Ok(two)) => one.matches(&two),
            _ => false,
        }
}

/// What a REGISTER asks for.
#[derive(Clone, Copy, Debug)]
pub enum Requested<'a> {
    /// No Contact: tell what there is.
    Fetch,
    /// `Contact: *` with expiry zero: remove all.
    RemoveAll,
    /// These contacts.
    Contacts(&'a [ContactUpdate<'a>]),
}

/// One REGISTER as the location table sees it.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The address of record, canonical.
    pub aor: &'a str,
    /// Of the request.
    pub call_id: &'a str,
    /// Of the request.
    pub cseq: u32,
    /// How it came.
    pub flow: Flow,
    /// The Path values, topmost first, separated by line feeds; empty without.
    pub path: &'a str,
    /// Empty without.
    pub user_agent: &'a str,
    /// What to do.
    pub requested: Requested<'a>,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct Updated {
    /// All bindings that the address of record has now.
    pub bindings: Bindings,
    /// What the store should write.
    pub records: SmallVec<[Record; 2]>,
    /// The bindings that are new or changed in more than time.
    pub placed: Bindings,
}

/// Why nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateError {
    /// The peer: an older request of the same Call-ID came late (RFC 3261 §10.3).
    OutOfOrder,
    /// The peer: more contacts than one address of record may have.
    TooManyContacts,
    /// We: the table is full.
    Full,
    /// The peer: a contact with more text than is kept.
    TooLong,
}

/// When, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The instant.
    pub now: Instant,
    /// Its relation to the calendar.
    pub anchor: Anchor,
}

/// What making a binding needs besides its contact.
pub(super) struct Means<'a> {
    pub(super) clock: Clock,
    pub(super) update: &'a Update<'a>,
    pub(super) aor: &'a Arc<str>,
    pub(super) location: &'a Location,
}

/// The bindings that `update` names, or why it may not go on. One element per contact.
pub(super) fn check(
    bindings: &[Arc<Binding>],
    update: &Update<'_>,
) -> Result<SmallVec<[Option<usize>; 4]>, UpdateError> {
    let mut found = SmallVec::new();
    match update.requested {
        Requested::Fetch => {}
        Requested::RemoveAll => {
            if bindings.iter().any(|b| is_late(b, update)) {
                return Err(UpdateError::OutOfOrder);
            }
        }
        Requested::Contacts(contacts) => {
            for contact in contacts {
                let at = bindings.iter().position(|b| contact.names(b));
                if at
                    .and_then(|i| bindings.get(i))
                    .is_some_and(|b| is_late(b, update))
                {
                    return Err(UpdateError::OutOfOrder);
                }
                found.push(at);
            }
        }
    }
    Ok(found)
}

/// RFC 3261 §10.3 step 7: within one Call-ID, only a higher CSeq may change a binding.
fn is_late(binding: &Binding, update: &Update<'_>) -> bool {
    binding.call_id() == update.call_id && update.cseq < binding.cseq
}

/// Whether the very request was worked on before: a retransmission, which changes nothing and gets
/// the same answer, since the registrar keeps no transactions. After our restart a phone may repeat
/// the request whose answer it never saw: that one counts as new.
pub(super) fn is_retransmission(binding: &Binding, call_id: &str, cseq: u32) -> bool {
    binding.cseq == cseq && !binding.restored && binding.call_id() == call_id
}

/// Whether a later contact of the same request names the same binding: that one holds.
pub(super) fn is_repeated(contacts: &[ContactUpdate<'_>], index: usize) -> bool {
    let mut later = contacts.iter().skip(index + 1);
    contacts
        .get(index)
        .is_some_and(|contact| later.any(|l| l.same_as(contact)))
}

/// Phones that learn their public address from our first answer name it from then on, and look as
/// if no NAT were there. The binding that showed it, of the same Call-ID and source, is still here.
pub(super) fn was_behind_nat(bindings: &[Arc<Binding>], update: &Update<'_>) -> bool {
    let source = update.flow.remote.ip();
    update.path.is_empty()
        && bindings
            .iter()
            .any(|b| b.behind_nat && b.flow.remote.ip() == source && b.call_id() == update.call_id)
}

/// How many bindings there will be.
pub(super) fn count_after(
    bindings: &[Arc<Binding>],
    found: &[Option<usize>],
    contacts: &[ContactUpdate<'_>],
) -> usize {
    let mut count = bindings.len();
    for (index, contact) in contacts.iter().enumerate() {
        if is_repeated(contacts, index) {
            continue;
        }
        match (found.get(index).copied().flatten(), contact.expires) {
            (Some(_), 0) => count = count.saturating_sub(1),
            (None, 1..) => count += 1,
            (Some(_), 1..) | (None, 0) => {}
        }
    }
    count
}

/// The hot path: one contact that refreshes its binding and changes nothing but the time.
pub(super) fn touch(
    binding: &mut Arc<Binding>,
    contact: &ContactUpdate<'_>,
    m: &Means<'_>,
) -> bool {
    let b = &**binding;
    let texts = Texts {
        contact: contact.uri,
        call_id: m.update.call_id,
        instance: contact.instance,
        parameters: contact.parameters,
        path: m.update.path,
    };
    // After a restart the first refresh is a change: the table hears of the phone anew.
    let same = contact.expires > 0
        && !b.restored
        && b.texts() == texts
        && b.flow == m.update.flow
        && b.reach != Reach::Nowhere
        && b.q == contact.q
        && b.reg_id == contact.reg_id
        && (b.behind_nat || !contact.behind_nat)
        && *b.user_agent == *m.update.user_agent;
    if same {
        let binding = Arc::make_mut(binding);
        binding.cseq = m.update.cseq;
        binding.expires_at = m.clock.now + Duration::from_secs(contact.expires.into());
    }
    same
}

/// A binding out of a contact; `old` is the one that it replaces.
pub(super) fn make(
    contact: &ContactUpdate<'_>,
    old: Option<&Binding>,
    m: &Means<'_>,
) -> Result<Arc<Binding>, UpdateError> {
    let parts = Parts {
        aor: m.aor.clone(),
        user_agent: match old {
            Some(old) if *old.user_agent == *m.update.user_agent => old.user_agent.clone(),
            Some(_) | None => m.location.agents.get(m.update.user_agent),
        },
        q: contact.q,
        reach: reach_at_first(
            contact.uri,
            &m.update.flow,
            contact.behind_nat || contact.is_outbound(),
        ),
        behind_nat: contact.behind_nat,
        restored: false,
        cseq: m.update.cseq,
        reg_id: contact.reg_id,
        serial: m.location.next_serial(),
        expires_at: m.clock.now + Duration::from_secs(contact.expires.into()),
        registered_at_ms: old.map_or_else(
            || m.clock.anchor.unix_ms(m.clock.now),
            Binding::registered_at_ms,
        ),
        flow: m.update.flow,
    };
    let texts = Texts {
        contact: contact.uri,
        call_id: m.update.call_id,
        instance: contact.instance,
        parameters: contact.parameters,
        path: m.update.path,
    };
    Binding::build(parts, texts)
        .map(Arc::new)
        .ok_or(UpdateError::TooLong)
}

/// Higher q first; among equals the one registered last.
pub(super) fn order(bindings: &mut [Arc<Binding>]) {
    bindings.sort_by(|a, b| b.q.cmp(&a.q).then(b.serial.cmp(&a.serial)));
}
