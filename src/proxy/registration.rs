//! REGISTER for a domain of ours (RFC 3261 §10.3): who sends it is found out here, what becomes of
//! it is the registrar's affair.
//!
//! The registrar answers without a server transaction (RFC 3261 §8.2.7): a retransmission is known
//! by its Call-ID and CSeq, changes nothing, and gets the same answer. So 32 seconds of responses
//! (Timer J) need not be kept for every phone.

use super::admission::{self, Proof, Reject, Role, aor_of, own_domain};
use super::registrar::{Registrant, Registration};
use super::routing::has_to_tag;
use super::{Context, Proxy};
use crate::base::Flow;
use crate::sip::transaction::ServerKey;
use crate::store::{Record, User};
use crate::wire::sip::{HeaderName, Message, Method, Uri};
use bytes::Bytes;

/// Who a REGISTER's sender turned out to be.
enum Sender {
    /// A peer that is believed.
    Trusted,
    /// This address of record.
    User(String),
    /// Not known yet: it must prove itself, with `stale` as the challenge says.
    Unknown { stale: bool },
}

fn address(user: &User) -> String {
    format!("{}@{}", user.username, user.domain)
}

impl Proxy {
    /// Answers a REGISTER for one of our domains, or an OPTIONS for us, without a transaction, and
    /// says whether it was one: all other requests want a transaction.
    pub fn on_stateless(&mut self, cx: &mut Context<'_>, flow: &Flow, message: &Message) -> bool {
        if message.method() == Method::Options {
            return self.on_probe(cx, flow, message);
        }
        let plain = message.method() == Method::Register
            && message.header(HeaderName::Route).is_none()
            && message.header(HeaderName::ProxyRequire).is_none()
            && !has_to_tag(message);
        if !plain {
            return false;
        }
        let Ok(uri) = Uri::parse(message.request_uri()) else {
            return false;
        };
        if own_domain(cx, &uri).is_none() {
            return false;
        }
        self.stats.requests += 1;
        let response = self.registration(cx, flow, message, &uri);
        cx.layer.respond_stateless(flow, message, response);
        true
    }

    /// Answers a REGISTER that came with a transaction. `uri` is the Request-URI, of a domain of
    /// ours.
    pub(super) fn register(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        flow: &Flow,
        message: &Message,
        uri: &Uri<'_>,
    ) -> Result<(), Reject> {
        let response = self.registration(cx, flow, message, uri);
        cx.layer.respond(cx.now, server, response);
        Ok(())
    }

    fn registration(
        &mut self,
        cx: &mut Context<'_>,
        flow: &Flow,
        message: &Message,
        uri: &Uri<'_>,
    ) -> Bytes {
        let to = message.to().ok().and_then(|to| to.uri().ok());
        let domain = to.and_then(|to| own_domain(cx, &to));
        let aor = to.zip(domain).and_then(|(to, domain)| aor_of(&to, domain));
        // The realm is To's domain: that is where the user's password is known.
        let realm: Box<str> = domain
            .or_else(|| own_domain(cx, uri))
            .unwrap_or_else(|| cx.config.node.default_domain())
            .into();
        let sender = sender(cx, flow, message, &realm);
        let registrant = match &sender {
            Sender::Trusted => Registrant::Trusted,
            Sender::User(user) => Registrant::User(user),
            Sender::Unknown { stale } => {
                return admission::challenge(cx, message, Role::Server, &realm, *stale);
            }
        };
        let tag = cx.rng.token::<10>();
        let outcome = self.registrar.handle(&Registration {
            now: cx.now,
            anchor: cx.anchor,
            location: cx.location,
            directory: cx.directory,
            config: cx.config,
            message,
            flow,
            aor: aor.as_deref(),
            registrant,
            to_tag: &tag,
        });
        for record in &outcome.records {
            if let Record::PutBinding(binding) = record {
                self.mwi.registered(cx, &binding.aor, binding.serial);
            }
        }
        cx.outputs.records.extend(outcome.records);
        outcome.response
    }
}

fn sender(cx: &mut Context<'_>, flow: &Flow, message: &Message, realm: &str) -> Sender {
    if cx.config.sip.trusts(flow.remote.ip()) {
        return Sender::Trusted;
    }
    match admission::prove(cx, message, flow, realm, Role::Server) {
        Proof::Of(user) => Sender::User(address(&user)),
        // Counts that were used before are a replay, unless the registrar knows the very request:
        // then it changes nothing.
        Proof::Replayed(user) => {
            let aor = address(&user);
            let call_id = std::str::from_utf8(message.call_id()).unwrap_or_default();
            let cseq = message.cseq().map_or(0, |c| c.number);
            match cx.location.has_seen(&aor, call_id, cseq) {
                true => Sender::User(aor),
                false => Sender::Unknown { stale: true },
            }
        }
        Proof::Stale => Sender::Unknown { stale: true },
        Proof::Missing | Proof::Wrong => Sender::Unknown { stale: false },
    }
}
