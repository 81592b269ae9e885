//! OPTIONS to this server itself, outside of a dialog (RFC 3261 §11): peers ask it all day long
//! whether we live. Answered without a server transaction (§8.2.7): the same request gets the same
//! answer, its tag too (§8.2.6.2), since the tag is made of the request. An ITSP may ask the
//! Contact that we registered at it just as well: we are the user agent there.

use super::admission::own_domain;
use super::routing::{ALLOW, has_to_tag};
use super::{Context, Proxy};
use crate::base::{Flow, hash64};
use crate::wire::sip::{HeaderName, Message, Method, ResponseBuilder, Uri};
use bytes::Bytes;

/// The extensions of the registrar and the proxy.
const SUPPORTED: &str = "path, outbound, gruu";

/// The 200 (RFC 3261 §11.2).
pub(super) fn answer(message: &Message, tag: &[u8]) -> Bytes {
    ResponseBuilder::new(message, 200)
        .to_tag(tag)
        .header(HeaderName::Allow, ALLOW)
        .header(HeaderName::Accept, "application/sdp")
        .header(HeaderName::AcceptEncoding, "identity")
        .header(HeaderName::AcceptLanguage, "en")
        .header(HeaderName::Supported, SUPPORTED)
        .render()
}

impl Proxy {
    /// Answers an OPTIONS for us without a transaction, and says whether it was one. What has a
    /// Route or names a user is somebody else's, or must be looked at more closely.
    pub(super) fn on_probe(
        &mut self,
        cx: &mut Context<'_>,
        flow: &Flow,
        message: &Message,
    ) -> bool {
        let plain = message.method() == Method::Options
            && !message.has(HeaderName::Route)
            && !message.has(HeaderName::ProxyRequire)
            && !has_to_tag(message);
        // Without a user it is for the server; with the user of a registration, for the agent that
        // registered there.
        let ours = |uri: Uri<'_>| {
            uri.param("maddr").is_none()
                && own_domain(cx, &uri).is_some()
                && (uri.user().is_none() || cx.peers.is_for_line(message))
        };
        if !plain || !Uri::parse(message.request_uri()).is_ok_and(ours) {
            return false;
        }
        self.stats.requests += 1;
        let response = answer(message, &self.tag_of(message));
        cx.layer.respond_stateless(flow, message, response);
        true
    }

    /// A To tag that is the same for a retransmission, and that nobody else can make.
    pub(super) fn tag_of(&self, message: &Message) -> Vec<u8> {
        let via = message.values(HeaderName::Via).next().unwrap_or_default();
        let from = message.header(HeaderName::From).unwrap_or_default();
        let key = self.loop_key.to_le_bytes();
        let of = [&key, message.call_id(), b"\n", from, b"\n", via].concat();
        format!("{:016x}", hash64(&of)).into_bytes()
    }
}
