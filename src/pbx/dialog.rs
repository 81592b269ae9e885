//! One dialog (RFC 3261 §12), from either side: its names, its route set, the numbers of its
//! requests.

use super::{Name, Refusal};
use crate::base::{Flow, Rng};
use crate::wire::sip::{HeaderName, Message, Method, NameAddr, RequestBuilder, ResponseBuilder};

/// Record-Route values that a dialog may have; the proxy's own are among them.
const ROUTES_MAX: usize = 32;

/// Whom an INVITE of ours calls, and as whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parties {
    /// Names the dialog; of this shard.
    pub call_id: Box<[u8]>,
    /// The Request-URI.
    pub uri: Box<str>,
    /// The From, without a tag.
    pub from: Box<str>,
}

#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// The way to the proxy.
    pub flow: Flow,
    call_id: Box<[u8]>,
    tag: Box<[u8]>,
    /// Our address with our tag, the From of our requests.
    local: Box<[u8]>,
    /// The far end's, the To of our requests.
    remote: Box<[u8]>,
    /// The far end's Contact.
    target: Box<[u8]>,
    /// From us to the far end.
    routes: Box<[Box<[u8]>]>,
    contact: Box<str>,
    /// The number of our last request.
    cseq: u32,
    /// Of the far end's.
    heard: Option<u32>,
    /// Whether the far end knows UPDATE.
    update: bool,
    /// Whether the Call-ID is of our making.
    ours: bool,
}

impl Dialog {
    /// That an INVITE makes here, once it is answered. `name` is the user part of our Contact.
    pub fn of_invite(
        invite: &Message,
        flow: &Flow,
        name: &str,
        rng: &mut Rng,
    ) -> Result<Self, Refusal> {
        let tag = rng.token::<10>();
        let malformed = (400, "Malformed From Or To");
        let to = invite.header(HeaderName::To).ok_or(malformed)?;
        let from = invite.header(HeaderName::From).ok_or(malformed)?;
        let target = contact_of(invite).ok_or((400, "Missing Contact"))?;
        let routes = invite.values(HeaderName::RecordRoute).take(ROUTES_MAX);
        Ok(Self {
            flow: *flow,
            call_id: invite.call_id().into(),
            tag: tag.as_slice().into(),
            local: [to, b";tag=", &tag].concat().into(),
            remote: from.into(),
            target,
            routes: routes.map(Box::from).collect(),
            contact: contact(name, flow),
            // §12.2.1.1: our numbers begin where we like.
            cseq: 1,
            heard: invite.cseq().ok().map(|cseq| cseq.number),
            update: invite.has_token(HeaderName::Allow, "UPDATE"),
            ours: false,
        })
    }

    /// That an INVITE of ours makes, once it is answered.
    pub fn toward(parties: &Parties, flow: &Flow, name: &str, rng: &mut Rng) -> Self {
        let tag = rng.token::<10>();
        let local = [parties.from.as_bytes(), b";tag=", &tag].concat();
        Self {
            flow: *flow,
            call_id: parties.call_id.clone(),
            tag: tag.as_slice().into(),
            local: local.into(),
            remote: format!("<{}>", parties.uri).into_bytes().into(),
            target: parties.uri.as_bytes().into(),
            routes: [].into(),
            contact: contact(name, flow),
            cseq: 0,
            heard: None,
            update: false,
            ours: true,
        }
    }

    /// Call-ID and our tag.
    pub fn name(&self) -> Name {
        (self.call_id.clone(), self.tag.clone())
    }

    pub fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// An answer to our INVITE names the far end (§12.1.2).
    pub fn learn(&mut self, response: &Message) {
        if !self.is_with(response) {
            // Another one, whose numbers are its own.
            self.heard = None;
        }
        if let Some(to) = response.header(HeaderName::To) {
            self.remote = to.into();
        }
        self.retarget(response);
        self.update |= response.has_token(HeaderName::Allow, "UPDATE");
        let mut routes: Vec<Box<[u8]>> = response
            .values(HeaderName::RecordRoute)
            .take(ROUTES_MAX)
            .map(Box::from)
            .collect();
        routes.reverse();
        self.routes = routes.into();
    }

    /// Whether an answer is of the far end that we know. Its tag tells (§12): the rest of To it may
    /// write as it likes.
    pub fn is_with(&self, response: &Message) -> bool {
        self.far_tag().as_deref() == Some(super::to_tag(response))
    }

    /// Whether a request is of the far end that we know. One that has no tag is of the time before
    /// RFC 3261 (§12.1.1).
    pub fn is_from(&self, request: &Message) -> bool {
        self.far_tag().as_deref() == request.from_tag()
    }

    /// Whether we made the Call-ID (RFC 3261 §14.1).
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// Whether the far end knows UPDATE (RFC 3311).
    pub fn knows_update(&self) -> bool {
        self.update
    }

    /// The far end's tag.
    pub fn far_tag(&self) -> Option<Box<[u8]>> {
        let address = NameAddr::parse(&self.remote).ok()?;
        address.tag().map(Box::from)
    }

    /// The far end's URI.
    pub fn far_uri(&self) -> Option<String> {
        let address = NameAddr::parse(&self.remote).ok()?;
        String::from_utf8(address.uri_bytes().to_vec()).ok()
    }

    /// Takes a request of the far end, unless a later one was there before (§12.2.2).
    pub fn hear(&mut self, request: &Message) -> bool {
        let number = request.cseq().ok().map(|cseq| cseq.number);
        if number < self.heard {
            return false;
        }
        self.heard = number;
        true
    }

    /// The far end moved, as target refresh requests and their answers say (§12.2.1.2).
    pub fn retarget(&mut self, message: &Message) {
        if let Some(target) = contact_of(message) {
            self.target = target;
        }
    }

    /// A Via for a request of ours.
    pub fn new_via(&self, rng: &mut Rng) -> Box<str> {
        let branch = rng.token::<16>();
        let branch = String::from_utf8_lossy(&branch);
        let (token, address) = (self.flow.transport.via_token(), self.flow.remote);
        format!("SIP/2.0/{token} {address};branch=z9hG4bK{branch};rport").into()
    }

    /// The number that the next request has; it is used up by this.
    pub fn next_number(&mut self) -> u32 {
        self.cseq += 1;
        self.cseq
    }

    /// A request of ours of this number.
    pub fn request<'a>(
        &'a self,
        method: Method<'a>,
        number: u32,
        via: &'a str,
    ) -> RequestBuilder<'a> {
        let mut request = RequestBuilder::new(method, &*self.target)
            .via(via)
            .max_forwards(70)
            .from(&*self.local)
            .to(&*self.remote)
            .call_id(&*self.call_id)
            .cseq(number);
        for route in &self.routes {
            request = request.header(HeaderName::Route, &**route);
        }
        request
    }

    /// An answer of ours.
    pub fn response<'a>(&'a self, request: &'a Message, status: u16) -> ResponseBuilder<'a> {
        let response = ResponseBuilder::new(request, status).to_tag(&*self.tag);
        match request.method() {
            Method::Invite | Method::Update if status < 300 => response
                .record_route()
                .header(HeaderName::Contact, &*self.contact)
                .header(HeaderName::Allow, super::ALLOW)
                .header(HeaderName::Supported, super::SUPPORTED),
            Method::Refer => response.header(HeaderName::Contact, &*self.contact),
            _ => response,
        }
    }

    /// Our Contact.
    pub fn contact(&self) -> &str {
        &self.contact
    }
}

fn contact_of(message: &Message) -> Option<Box<[u8]>> {
    let first = message.addresses(HeaderName::Contact).next()?;
    Some(first.ok()?.uri_bytes().into())
}

/// Our Contact: what the proxy calls itself, since it is the way to us.
fn contact(name: &str, flow: &Flow) -> Box<str> {
    let transport = flow.transport.uri_token();
    format!("<sip:{name}@{};transport={transport}>", flow.remote).into()
}
