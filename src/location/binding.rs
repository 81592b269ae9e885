//! One contact of an address of record, compactly: its texts lie in one allocation, and the
//! address and the user agent are shared with others.

use crate::base::{Anchor, Flow, Instant, Transport};
use crate::store::{BindingRecord, Record, Touch};
use crate::wire::sip::{Scheme, Uri};
use std::sync::Arc;

/// How a request gets to a binding. A Path (RFC 3327), where there is one, comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Along the flow that registered it.
    Flow,
    /// That flow is gone; the contact's own address may be tried.
    Contact,
    /// The flow is gone, and the contact's address leads nowhere: wait for the next REGISTER.
    Nowhere,
}

/// A binding (RFC 3261 §10): where one phone of an address of record is found.
#[derive(Clone, Debug)]
pub struct Binding {
    pub(super) aor: Arc<str>,
    pub(super) user_agent: Arc<str>,
    /// Contact, Call-ID, instance, parameters, path, one after the other.
    text: Box<str>,
    /// Where each of them ends but the last.
    ends: [u16; 4],
    pub(super) q: u16,
    pub(super) reach: Reach,
    pub(super) behind_nat: bool,
    /// Read from disk and not heard of since.
    pub(super) restored: bool,
    pub(super) cseq: u32,
    pub(super) reg_id: u32,
    pub(super) serial: u64,
    pub(super) expires_at: Instant,
    registered_at_ms: u64,
    pub(super) flow: Flow,
}

/// What of a binding is text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Texts<'a> {
    pub(super) contact: &'a str,
    pub(super) call_id: &'a str,
    pub(super) instance: &'a str,
    pub(super) parameters: &'a str,
    /// Values separated by line feeds.
    pub(super) path: &'a str,
}

/// What of a binding is not text.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) aor: Arc<str>,
    pub(super) user_agent: Arc<str>,
    pub(super) q: u16,
    pub(super) reach: Reach,
    pub(super) behind_nat: bool,
    pub(super) restored: bool,
    pub(super) cseq: u32,
    pub(super) reg_id: u32,
    pub(super) serial: u64,
    pub(super) expires_at: Instant,
    pub(super) registered_at_ms: u64,
    pub(super) flow: Flow,
}

impl Binding {
    /// `None` if the texts together pass 65,535 bytes.
    pub(super) fn build(parts: Parts, texts: Texts<'_>) -> Option<Self> {
        let pieces = [
            texts.contact,
            texts.call_id,
            texts.instance,
            texts.parameters,
            texts.path,
        ];
        let length = pieces.iter().map(|p| p.len()).sum();
        if length > usize::from(u16::MAX) {
            return None;
        }
        let mut text = String::with_capacity(length);
        let mut ends = [0u16; 4];
        for (i, piece) in pieces.into_iter().enumerate() {
            text.push_str(piece);
            if let Some(end) = ends.get_mut(i) {
                *end = text.len() as u16;
            }
        }
        Some(Self {
            aor: parts.aor,
            user_agent: parts.user_agent,
            text: text.into_boxed_str(),
            ends,
            q: parts.q,
            reach: parts.reach,
            behind_nat: parts.behind_nat,
            restored: parts.restored,
            cseq: parts.cseq,
            reg_id: parts.reg_id,
            serial: parts.serial,
            expires_at: parts.expires_at,
            registered_at_ms: parts.registered_at_ms,
            flow: parts.flow,
        })
    }

    fn piece(&self, index: usize) -> &str {
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(0, |&e| usize::from(e)),
            None => 0,
        };
        let end = self
            .ends
            .get(index)
            .map_or(self.text.len(), |&e| usize::from(e));
        self.text.get(start..end).unwrap_or("")
    }

    pub(super) fn texts(&self) -> Texts<'_> {
        Texts {
            contact: self.contact(),
            call_id: self.call_id(),
            instance: self.instance(),
            parameters: self.parameters(),
            path: self.piece(4),
        }
    }

    /// The address of record, `user@domain`, canonical.
    pub fn aor(&self) -> &str {
        &self.aor
    }

    /// The address of record, shared.
    pub fn aor_shared(&self) -> &Arc<str> {
        &self.aor
    }

    /// The contact URI as the phone wrote it.
    pub fn contact(&self) -> &str {
        self.piece(0)
    }

    /// The contact as a Request-URI: without the headers that it may bear, which do not belong
    /// there (RFC 3261 §19.1.1).
    pub fn target(&self) -> &str {
        let contact = self.contact();
        // A user part may hold a question mark, too; behind it no `@` stands unescaped.
        let host = contact.rfind('@').unwrap_or(0);
        let headers = contact.get(host..).and_then(|rest| rest.find('?'));
        let end = headers.map_or(contact.len(), |at| host + at);
        contact.get(..end).unwrap_or(contact)
    }

    /// The Call-ID of the REGISTER that made it.
    pub fn call_id(&self) -> &str {
        self.piece(1)
    }

    /// `+sip.instance` without quotes and angles; empty without.
    pub fn instance(&self) -> &str {
        self.piece(2)
    }

    /// The Contact header's parameters but `expires` and `q`, as written: `;name=value;name`.
    pub fn parameters(&self) -> &str {
        self.piece(3)
    }

    /// The Path header's values, topmost first (RFC 3327).
    pub fn path(&self) -> impl Iterator<Item = &str> {
        self.piece(4).split('\n').filter(|p| !p.is_empty())
    }

    /// Whether requests go by a Path rather than along the flow.
    pub fn has_path(&self) -> bool {
        !self.piece(4).is_empty()
    }

    /// Whether a request gets there by any way.
    pub fn is_reachable(&self) -> bool {
        self.has_path() || self.reach != Reach::Nowhere
    }

    /// Preference in thousandths, 1000 where the phone gave none.
    pub fn q(&self) -> u16 {
        self.q
    }

    /// When it ends.
    pub fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// Seconds until it ends, rounded up: what a response and a listing show.
    pub fn expires_in(&self, now: Instant) -> u32 {
        let left = self.expires_at.since(now);
        u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    /// Milliseconds since 1970 of the first REGISTER.
    pub fn registered_at_ms(&self) -> u64 {
        self.registered_at_ms
    }

    /// The CSeq of the last REGISTER.
    pub fn cseq(&self) -> u32 {
        self.cseq
    }

    /// `reg-id` (RFC 5626); zero without.
    pub fn reg_id(&self) -> u32 {
        self.reg_id
    }

    /// The phone's User-Agent; empty without.
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }

    /// The path that the REGISTER came by.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// How to get there.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Whether the contact differed from the source.
    pub fn behind_nat(&self) -> bool {
        self.behind_nat
    }

    /// Names this state of the binding; a refresh that changes the time alone keeps it.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether a NAT on the way forgets it unless something passes.
    pub fn wants_pings(&self) -> bool {
        self.behind_nat && self.flow.transport == Transport::Udp && !self.has_path()
    }

    /// Whether it is an outbound registration (RFC 5626): named by instance and reg-id.
    pub fn is_outbound(&self) -> bool {
        self.reg_id != 0 && !self.instance().is_empty()
    }

    /// Whether the contact can be tried by its own address once the flow is gone.
    pub(super) fn reach_without_flow(&self) -> Reach {
        let web = matches!(self.flow.transport, Transport::Ws | Transport::Wss);
        if self.behind_nat || self.is_outbound() || web {
            Reach::Nowhere
        } else {
            Reach::Contact
        }
    }

    /// What names it within its address of record: the contact, or instance and reg-id.
    pub fn key(&self) -> Box<str> {
        if self.is_outbound() {
            format!("{};{}", self.instance(), self.reg_id).into_boxed_str()
        } else {
            self.contact().into()
        }
    }

    pub(super) fn same_key(&self, other: &Binding) -> bool {
        match (self.is_outbound(), other.is_outbound()) {
            (true, true) => self.instance() == other.instance() && self.reg_id == other.reg_id,
            (false, false) => self.contact() == other.contact(),
            (true, false) | (false, true) => false,
        }
    }

    /// For the store.
    pub fn record(&self, anchor: Anchor) -> BindingRecord {
        BindingRecord {
            aor: self.aor().into(),
            key: self.key(),
            contact: self.contact().into(),
            parameters: self.parameters().into(),
            q: self.q,
            expires_at_ms: anchor.unix_ms(self.expires_at),
            registered_at_ms: self.registered_at_ms,
            call_id: self.call_id().into(),
            cseq: self.cseq,
            path: self.path().map(Box::from).collect(),
            transport: self.flow.transport.uri_token().into(),
            local: self.flow.local.to_string().into_boxed_str(),
            received: self.flow.remote.to_string().into_boxed_str(),
            behind_nat: self.behind_nat,
            instance: self.instance().into(),
            reg_id: self.reg_id,
            user_agent: self.user_agent().into(),
            serial: self.serial,
        }
    }

    pub(super) fn put(&self, anchor: Anchor) -> Record {
        Record::PutBinding(Box::new(self.record(anchor)))
    }

    pub(super) fn deleted(&self) -> Record {
        Record::DeleteBinding {
            aor: self.aor().into(),
            key: self.key(),
        }
    }

    pub(super) fn touched(&self, anchor: Anchor) -> Record {
        Record::TouchBinding(Touch {
            serial: self.serial,
            expires_at_ms: anchor.unix_ms(self.expires_at),
            cseq: self.cseq,
        })
    }
}

/// How a fresh binding is reached: a phone that hides behind NAT, speaks outbound or came over a
/// connection along its flow; one that registered by datagram at the address it named, which is
/// the flow when it named its source.
pub(super) fn reach_at_first(contact: &str, flow: &Flow, by_flow: bool) -> Reach {
    if by_flow || flow.transport.is_reliable() {
        return Reach::Flow;
    }
    let Ok(uri) = Uri::parse(contact.as_bytes()) else {
        return Reach::Contact;
    };
    let transport = uri
        .transport()
        .map_or(Some(Transport::Udp), Transport::from_token);
    let is_source = uri.scheme() == Scheme::Sip
        && transport == Some(flow.transport)
        && uri.host().ip() == Some(flow.remote.ip().to_canonical())
        && uri.port().unwrap_or(flow.transport.default_port()) == flow.remote.port();
    if is_source {
        Reach::Flow
    } else {
        Reach::Contact
    }
}

/// URNs of instances differ by case in no place that matters (RFC 4122 §3, RFC 8141 §3.1).
pub(super) fn same_instance(one: &str, two: &str) -> bool {
    one.eq_ignore_ascii_case(two)
}
