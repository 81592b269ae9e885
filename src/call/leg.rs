//! One side of a call, as much of the dialog as a request of our own needs (RFC 3261 §12.2.1.1).

use super::media::Circumstances;
use crate::base::Flow;
use crate::wire::sip::{HeaderName, Message, NameAddr, Uri};

/// How many Record-Route values of one side are kept; a dialog with more cannot be ended by us.
const ROUTES_MAX: usize = 16;

/// What is known of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Leg {
    /// The From or To value with its tag, as this side writes itself.
    pub address: Box<[u8]>,
    /// The tag alone.
    pub tag: Box<[u8]>,
    /// The remote target: the URI of the last Contact.
    pub target: Box<[u8]>,
    /// The target that a request of this side announced and that no 2xx confirmed yet: a refused
    /// refresh changes nothing (RFC 3261 §12.2.1.2, §14.1).
    pub announced: Box<[u8]>,
    /// The proxies between us and this side, nearest first.
    pub routes: Box<[Box<[u8]>]>,
    /// The highest CSeq this side used.
    pub cseq: u32,
    /// The path to the neighbour on this side.
    pub flow: Option<Flow>,
    /// Whether this side's addresses cannot be believed.
    pub behind_nat: bool,
}

impl Leg {
    /// The caller's side, from the INVITE as it came in: its Record-Routes lie between us and it.
    pub fn of_request(invite: &Message, flow: &Flow, behind_nat: bool) -> Leg {
        let mut leg = Leg {
            flow: Some(*flow),
            behind_nat,
            ..Leg::default()
        };
        leg.tag = invite.from_tag().unwrap_or_default().into();
        leg.address = invite.header(HeaderName::From).unwrap_or_default().into();
        leg.cseq = invite.cseq().map(|c| c.number).unwrap_or(0);
        leg.learn_target(invite);
        leg.routes = invite
            .values(HeaderName::RecordRoute)
            .take(ROUTES_MAX)
            .map(Box::from)
            .collect();
        leg
    }

    /// The callee's side, from the 2xx as it came in. Its Record-Routes name the callee's
    /// neighbour first and ours somewhere below; `ours` recognises our own.
    pub fn of_answer(
        answer: &Message,
        flow: &Flow,
        behind_nat: bool,
        ours: &dyn Fn(&[u8]) -> bool,
    ) -> Leg {
        let mut leg = Leg {
            flow: Some(*flow),
            behind_nat,
            ..Leg::default()
        };
        leg.tag = answer.to_tag().unwrap_or_default().into();
        leg.address = answer.header(HeaderName::To).unwrap_or_default().into();
        leg.learn_target(answer);
        let mut routes: Vec<Box<[u8]>> = answer
            .values(HeaderName::RecordRoute)
            .take_while(|value| !ours(value))
            .take(ROUTES_MAX)
            .map(Box::from)
            .collect();
        routes.reverse();
        leg.routes = routes.into();
        leg
    }

    /// What matters of it when a body passes.
    pub fn circumstances(&self) -> Circumstances {
        Circumstances {
            signalling: self.flow.map(|f| f.remote.ip()),
            behind_nat: self.behind_nat,
            local: self.flow.is_some_and(|f| f.is_internal()),
        }
    }

    /// A target refresh request of this side is under way.
    pub fn announce_target(&mut self, message: &Message) {
        if let Some(Ok(contact)) = message.addresses(HeaderName::Contact).next() {
            self.announced = contact.uri_bytes().into();
        }
    }

    /// That request was answered by a 2xx.
    pub fn confirm_target(&mut self) {
        if !self.announced.is_empty() {
            self.target = std::mem::take(&mut self.announced);
        }
    }

    /// Whether the next hop of a request is this side's: the proxy nearest to it on its route set,
    /// or its target itself.
    pub fn is_reached_by(&self, route: Option<&[u8]>, target: &Uri<'_>) -> bool {
        let named = |written: &[u8], uri: &Uri<'_>| {
            Uri::parse(written).is_ok_and(|written| same_place(&written, uri))
        };
        match route {
            Some(route) => self.routes.first().is_some_and(|own| {
                let (own, route) = (NameAddr::parse(own), NameAddr::parse(route));
                let route = route.as_ref().ok().and_then(|r| r.uri().ok());
                own.is_ok_and(|own| route.is_some_and(|route| named(own.uri_bytes(), &route)))
            }),
            // Who names no target, though RFC 3261 §8.1.1.8 asks for one, has it where it is.
            None if self.target.is_empty() => self.flow.is_some_and(|flow| {
                let port = target.port().unwrap_or(flow.transport.default_port());
                target.host().ip() == Some(flow.remote.ip()) && port == flow.remote.port()
            }),
            None => named(&self.target, target) || named(&self.announced, target),
        }
    }

    /// Takes the Contact of a 2xx (RFC 3261 §12.2).
    pub fn learn_target(&mut self, message: &Message) {
        if let Some(Ok(contact)) = message.addresses(HeaderName::Contact).next() {
            self.target = contact.uri_bytes().into();
        }
    }
}

/// Whether two URIs name the same user at the same host and port. Parameters do not count, nor
/// whether the usual port is written: phones leave them out, or add them.
fn same_place(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    same_host(a, b) && a.user_unescaped() == b.user_unescaped()
}

/// The same whoever the user is: a request to either goes to the same peer.
pub fn same_host(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    a.scheme() == b.scheme()
        && a.host().matches(&b.host())
        && a.port().unwrap_or(5060) == b.port().unwrap_or(5060)
}
