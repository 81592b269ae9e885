//! REGISTER for a domain of ours (RFC 3261 §10.3): who sends it is found out here, what becomes of
//! it is the registrar's affair.

use super::admission::{self, Proof, Reject, Role, aor_of, own_domain};
use super::registrar::{Registrant, Registration};
use super::{Context, Proxy};
use crate::base::Flow;
use crate::sip::transaction::ServerKey;
use crate::wire::sip::{Message, Uri};

impl Proxy {
    /// Answers a REGISTER. `uri` is the Request-URI, of a domain of ours.
    pub(super) fn register(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        flow: &Flow,
        message: &Message,
        uri: &Uri<'_>,
    ) -> Result<(), Reject> {
        let to = message.to().ok().and_then(|to| to.uri().ok());
        let domain = to.and_then(|to| own_domain(cx, &to));
        let aor = to.zip(domain).and_then(|(to, domain)| aor_of(&to, domain));
        // The realm is To's domain: that is where the user's password is known.
        let realm: Box<str> = domain
            .or_else(|| own_domain(cx, uri))
            .unwrap_or_else(|| cx.config.node.default_domain())
            .into();
        let proven;
        let registrant = if cx.config.sip.trusts(flow.remote.ip()) {
            Registrant::Trusted
        } else {
            let stale = match admission::prove(cx, message, flow, &realm, Role::Server) {
                Proof::Of(user) => {
                    proven = format!("{}@{}", user.username, user.domain);
                    None
                }
                Proof::Missing | Proof::Wrong => {
                    proven = String::new();
                    Some(false)
                }
                Proof::Stale => {
                    proven = String::new();
                    Some(true)
                }
            };
            if let Some(stale) = stale {
                let response = admission::challenge(cx, message, Role::Server, &realm, stale);
                cx.layer.respond(cx.now, server, response);
                return Ok(());
            }
            Registrant::User(&proven)
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
        cx.outputs.records.extend(outcome.records);
        cx.layer.respond(cx.now, server, outcome.response);
        Ok(())
    }
}
