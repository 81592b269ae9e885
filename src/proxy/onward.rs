//! The copy of a request for one destination: who we are toward it, Record-Route, and what a route
//! or a border makes of it.

use super::border::{Border, NamedDialogs};
use super::context::{Caller, Inbound};
use super::dial::Marks;
use super::egress::Out;
use super::forward::{self, Copy, Veil};
use super::privacy::{Author, Reader};
use super::record_route::{self, Side};
use super::token::TokenMint;
use super::{Context, indialog, loops};
use crate::base::{Destination, Flow, Transport};
use crate::location::Binding;
use crate::sip::listeners::SentBy;
use crate::wire::sip::{HeaderName, Message};
use bytes::Bytes;
use smallvec::SmallVec;

/// What a copy is made of, whoever sends it.
pub(super) struct Onward<'a> {
    pub message: &'a Message,
    pub inbound: &'a Inbound,
    pub binding: Option<&'a Binding>,
    pub out: Option<&'a Out>,
    /// The URI of a service of ours.
    pub service: Option<&'a [u8]>,
    pub marks: Option<&'a Marks>,
    pub breadth: u16,
    pub body: Option<Bytes>,
}

/// The border that a copy crosses.
pub(super) struct Crossing<'a> {
    pub border: &'a mut Border,
    pub named: NamedDialogs,
}

impl Onward<'_> {
    /// The copy for one destination; `None` if we have no listener for that transport and family.
    pub fn render(
        &self,
        cx: &mut Context<'_>,
        mint: &TokenMint,
        destination: &Destination,
        crossing: Option<Crossing<'_>>,
    ) -> Option<Bytes> {
        let (message, inbound) = (self.message, self.inbound);
        let sent_by = our_name(cx, destination)?;
        let mut branch = loops::Branch::from_slice(&cx.layer.new_branch());
        loops::mark_branch(&mut branch, inbound.loop_hash);
        let record_routes = if inbound.record_route {
            self.record_routes(cx, mint, destination, &sent_by)?
        } else {
            SmallVec::new()
        };
        let routes = self.out.iter().flat_map(|out| out.routes.iter());
        let path: SmallVec<[&str; 2]> = match self.binding {
            Some(binding) => binding.path().collect(),
            None => routes.map(|r| &**r).collect(),
        };
        let source_trusted = cx.config.sip.trusts(inbound.flow.remote.ip());
        let reader = match self.binding {
            _ if cx.config.sip.trusts(destination.remote().ip()) => Reader::Trusted,
            Some(_) => Reader::User,
            None if self.service.is_some() => Reader::Trusted,
            None => self.out.map_or(Reader::Stranger, |out| out.reader),
        };
        let target = self.binding.map(|b| b.target().as_bytes());
        let one = message
            .lines(HeaderName::ProxyAuthorization)
            .nth(1)
            .is_none();
        let copy = Copy {
            destination,
            sent_by: &sent_by,
            branch: &branch,
            uri: target
                .or(self.service)
                .or_else(|| self.out.map(|out| &*out.uri)),
            path: &path,
            breadth: self.breadth,
            record_routes: &record_routes,
            author: Author::of(&inbound.caller, source_trusted),
            reader,
            consume_credentials: one && matches!(inbound.caller, Caller::User(_)),
            body: self.body.clone(),
            out: self.out,
            marks: self.marks,
        };
        let veil = crossing.map(|crossing| Veil {
            border: crossing.border,
            named: crossing.named,
            cnonce: cx.rng.token::<16>(),
        });
        Some(forward::render(message, inbound, &copy, veil))
    }

    /// Our Record-Route values toward a destination, the inside's on the way there.
    pub fn own_record_routes(
        &self,
        cx: &Context<'_>,
        mint: &TokenMint,
        destination: &Destination,
    ) -> Option<SmallVec<[Vec<u8>; 2]>> {
        self.record_routes(cx, mint, destination, &our_name(cx, destination)?)
    }

    /// The Record-Route values, in the order in which they are to be prepended.
    fn record_routes(
        &self,
        cx: &Context<'_>,
        mint: &TokenMint,
        destination: &Destination,
        sent_by: &SentBy,
    ) -> Option<SmallVec<[Vec<u8>; 2]>> {
        let flow = &self.inbound.flow;
        let caller_name = our_name(cx, &Destination::Flow(*flow))?;
        let caller_phone = match &self.inbound.caller {
            Caller::User(user) if self.inbound.caller_flow => indialog::phone_at(cx, user, flow),
            _ => None,
        };
        let caller = Side {
            transport: flow.transport,
            sent_by: &caller_name,
            flow: self.inbound.caller_flow.then_some(*flow),
            phone: caller_phone,
        };
        let only_by_flow = |f: &Flow| {
            let nat = self
                .binding
                .is_some_and(|b| b.behind_nat() || b.is_outbound());
            nat || f.transport.is_reliable() || f.is_internal()
        };
        let callee = Side {
            transport: destination.transport(),
            sent_by,
            flow: match destination {
                Destination::Flow(f) if only_by_flow(f) => Some(*f),
                Destination::Flow(_) | Destination::Address { .. } => None,
            },
            phone: self.binding.map(indialog::phone_of),
        };
        let target = self.binding.map(|b| b.target().as_bytes());
        let uri = target
            .or(self.service)
            .or_else(|| self.out.map(|out| &*out.uri))
            .or(self.inbound.uri.as_deref())
            .unwrap_or_else(|| self.message.request_uri());
        let secure = uri
            .get(..5)
            .is_some_and(|s| s.eq_ignore_ascii_case(b"sips:"));
        let call_id = self.message.call_id();
        Some(record_route::values(
            mint, call_id, secure, &caller, &callee,
        ))
    }
}

/// How we call ourselves toward a destination.
pub(super) fn our_name(cx: &Context<'_>, destination: &Destination) -> Option<SentBy> {
    match destination {
        Destination::Flow(f) => cx.listeners.sent_by_of(f.transport, f.local, f.remote),
        Destination::Address {
            transport, remote, ..
        } => cx.listeners.sent_by(*transport, *remote),
    }
}

/// The same peer by TCP, where a request is too big for UDP (RFC 3261 §18.1.1) and no flow binds
/// it. Should TCP fail, UDP is tried after all.
pub(super) fn too_big_for(
    cx: &Context<'_>,
    destination: &Destination,
    length: usize,
) -> Option<Destination> {
    let Destination::Address {
        transport: Transport::Udp,
        remote,
        ..
    } = destination
    else {
        return None;
    };
    let big = length > cx.config.sip.udp_bytes_max && cx.listeners.speaks(Transport::Tcp);
    big.then_some(Destination::Address {
        transport: Transport::Tcp,
        remote: *remote,
        tls_name: None,
    })
}
