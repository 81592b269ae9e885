//! What a border changes in the messages that cross it.

use super::{Border, Borders};
use crate::call::Side;
use crate::wire::sip::{Edit, HeaderName, Message, Method, NameAddr};
use bytes::Bytes;
use smallvec::SmallVec;

/// Headers that only the inside understands.
const INSIDE_ONLY: [HeaderName; 3] = [
    HeaderName::MaxBreadth,
    HeaderName::Path,
    HeaderName::ServiceRoute,
];
/// Headers whose value names a dialog (RFC 3891, RFC 3911, RFC 4538).
const NAMES_A_DIALOG: [HeaderName; 3] = [
    HeaderName::Replaces,
    HeaderName::Join,
    HeaderName::TargetDialog,
];

/// An address without its header parameters: display name and URI in brackets.
pub(in crate::proxy) fn address_of(address: &NameAddr<'_>) -> Vec<u8> {
    let (whole, uri) = (address.as_bytes(), address.uri_bytes());
    let end = memchr::memchr(b'>', whole.get(offset(whole, uri)..).unwrap_or_default());
    match end {
        // The bracket behind the URI, which holds none itself.
        Some(end) => whole
            .get(..=offset(whole, uri) + end)
            .unwrap_or_default()
            .into(),
        None => [b"<", uri, b">"].concat(),
    }
}

/// Where a part of a slice begins.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// An address with a tag, if there is one.
fn with_tag(address: &[u8], tag: Option<&[u8]>) -> Vec<u8> {
    match tag {
        Some(tag) => [address, b";tag=", tag].concat(),
        None => address.to_vec(),
    }
}

/// The URI of the first Contact; empty without one.
pub(super) fn contact_of(message: &Message) -> &[u8] {
    match message.addresses(HeaderName::Contact).next() {
        Some(Ok(contact)) => contact.uri_bytes(),
        _ => b"",
    }
}

fn tag_of(address: Result<NameAddr<'_>, impl Sized>) -> Option<&[u8]> {
    address.ok().and_then(|a| a.tag())
}

/// Which headers of a request name the caller and the callee.
fn parties(author: Side) -> (HeaderName, HeaderName) {
    match author {
        Side::Caller => (HeaderName::From, HeaderName::To),
        Side::Called => (HeaderName::To, HeaderName::From),
    }
}

impl Border {
    /// Turns the copy of a request of the inside into one of ours. `via` is our own Via value,
    /// `named` what [`Borders::named_dialogs`] says of the request.
    pub fn veil_request<'m>(
        &mut self,
        edit: &mut Edit<'m>,
        message: &'m Message,
        via: Vec<u8>,
        named: NamedDialogs,
    ) {
        let outer = &self.outer;
        let (caller, callee) = parties(self.far.other());
        let tag = |name| match name {
            HeaderName::From => tag_of(message.from()),
            _ => tag_of(message.to()),
        };
        edit.set(caller, with_tag(outer.party(Side::Caller), tag(caller)));
        edit.set(callee, with_tag(outer.party(Side::Called), tag(callee)));
        let cseq = self.outer_cseq(message);
        let method = message.method();
        let value = [cseq.to_string().as_bytes(), b" ", method.as_bytes()].concat();
        edit.set(HeaderName::CSeq, value);
        if let Some(value) = self.outer_rack(message) {
            edit.set(HeaderName::RAck, value);
        }
        if !self.hides {
            return;
        }
        edit.set(HeaderName::Via, via);
        edit.set(HeaderName::CallId, self.outer.call_id.to_vec());
        edit.remove(HeaderName::RecordRoute);
        if message.has(HeaderName::Contact) {
            edit.set(HeaderName::Contact, self.contact.to_vec());
        }
        for name in INSIDE_ONLY {
            edit.remove(name);
        }
        for (name, value) in named {
            match value {
                Some(value) => edit.set(name, value),
                None => edit.remove(name),
            };
        }
    }

    /// The CSeq that a request of the inside has outside.
    fn outer_cseq(&mut self, message: &Message) -> u32 {
        let inner = message.cseq().map_or(1, |c| c.number);
        let outer = inner.saturating_add(self.cseq_ahead);
        match message.method() {
            Method::Ack if self.invite.0 == inner => self.invite.1,
            Method::Invite => {
                self.invite = (inner, outer);
                outer
            }
            _ => outer,
        }
    }

    /// RFC 3262 §7.2: a PRACK names the CSeq of its INVITE.
    fn outer_rack(&self, message: &Message) -> Option<Vec<u8>> {
        let value = message.header(HeaderName::RAck)?;
        let mut words = value
            .split(u8::is_ascii_whitespace)
            .filter(|w| !w.is_empty());
        let (rseq, cseq, method) = (words.next()?, words.next()?, words.next()?);
        let cseq: u32 = std::str::from_utf8(cseq).ok()?.parse().ok()?;
        let outer = match cseq == self.invite.0 {
            true => self.invite.1,
            false => cseq.saturating_add(self.cseq_ahead),
        };
        Some([rseq, b" ", outer.to_string().as_bytes(), b" ", method].concat())
    }

    /// The answer of the far end as the inside would have got it from a proxy, our own Via still on
    /// top. `request` is what it answers, as it came from the inside.
    pub fn unveil_response(&mut self, response: &Message, request: &Message) -> Bytes {
        let tag = tag_of(response.to());
        if let Some(tag) = tag {
            self.learn_far(tag);
        }
        let mut edit = Edit::new(response);
        copy(&mut edit, request, HeaderName::From);
        copy(&mut edit, request, HeaderName::CSeq);
        let to = match request.to() {
            Ok(to) => address_of(&to),
            Err(_) => self.inner.party(Side::Called).to_vec(),
        };
        edit.set(HeaderName::To, with_tag(&to, tag));
        if self.hides {
            copy(&mut edit, request, HeaderName::CallId);
            for line in request.lines(HeaderName::Via) {
                edit.append(HeaderName::Via, line.to_vec());
            }
            if tag_of(request.to()).is_none() && (101..300).contains(&response.status()) {
                let routes = self.near.first().map_or(&[][..], |n| &n.routes);
                for route in routes {
                    edit.append(HeaderName::RecordRoute, route.to_vec());
                }
            }
        }
        edit.render()
    }

    /// A request of the far end in the dialog, as the inside would have got it from a proxy.
    pub fn unveil_request(&self, message: &Message) -> Bytes {
        let (from, to) = (tag_of(message.from()), tag_of(message.to()));
        let inner = &self.inner;
        let (caller, callee) = parties(self.far);
        let tag = |name| match name {
            HeaderName::From => from,
            _ => to,
        };
        let mut edit = Edit::new(message);
        edit.set(caller, with_tag(inner.party(Side::Caller), tag(caller)));
        edit.set(callee, with_tag(inner.party(Side::Called), tag(callee)));
        if self.hides {
            edit.set(HeaderName::CallId, inner.call_id.to_vec());
            if let Some(near) = to.and_then(|to| self.near(to)) {
                edit.set_request_uri(near.target.to_vec());
                edit.remove(HeaderName::Route);
                for route in near.routes.iter().rev() {
                    edit.prepend(HeaderName::Route, route.to_vec());
                }
            }
        }
        edit.render()
    }

    /// Turns an answer of the inside, our own Via taken off, into one of ours. `request` is what
    /// it answers, as the far end wrote it.
    pub fn veil_response<'m>(
        &mut self,
        edit: &mut Edit<'m>,
        response: &'m Message,
        request: &Message,
    ) {
        let tag = tag_of(response.to());
        self.learn_answer(response, request);
        copy(edit, request, HeaderName::From);
        copy(edit, request, HeaderName::CSeq);
        let to = match request.to() {
            Ok(to) => address_of(&to),
            Err(_) => self.outer.party(Side::Called).to_vec(),
        };
        edit.set(HeaderName::To, with_tag(&to, tag));
        if !self.hides {
            return;
        }
        copy(edit, request, HeaderName::CallId);
        edit.remove(HeaderName::RecordRoute);
        for line in request.lines(HeaderName::RecordRoute) {
            edit.append(HeaderName::RecordRoute, line.to_vec());
        }
        if response.has(HeaderName::Contact) {
            match response.status() {
                300..400 => edit.remove(HeaderName::Contact),
                _ => edit.set(HeaderName::Contact, self.contact.to_vec()),
            };
        }
        for name in INSIDE_ONLY {
            edit.remove(name);
        }
    }

    /// Learns the dialog that an answer of the inside makes, or where it moved.
    fn learn_answer(&mut self, response: &Message, request: &Message) {
        let Some(tag) = tag_of(response.to()) else {
            return;
        };
        let target = contact_of(response);
        if !(101..300).contains(&response.status()) || target.is_empty() {
            return;
        }
        if tag_of(request.to()).is_some() {
            return self.move_near(tag, target);
        }
        // The caller's route set is the answer's Record-Route backwards (RFC 3261 §12.1.2), and
        // begins with what lies between the far end and us: that is popped before it gets here.
        let theirs = request.values(HeaderName::RecordRoute).count();
        let mut routes: Vec<Box<[u8]>> = response
            .values(HeaderName::RecordRoute)
            .map(Box::from)
            .collect();
        routes.reverse();
        let routes = routes.split_off(theirs.min(routes.len()));
        self.learn_near(tag, target, routes);
    }

    /// The inside's target for an answer that the far end confirmed.
    pub fn confirm(&mut self, request: &Message, status: u16) {
        if (200..300).contains(&status)
            && let Some(tag) = tag_of(request.from())
        {
            self.move_near(tag, contact_of(request));
        }
    }
}

fn copy<'m>(edit: &mut Edit<'m>, from: &Message, name: HeaderName) {
    if let Some(value) = from.header(name) {
        edit.set(name, value.to_vec());
    }
}

/// Headers that name another dialog, with their values for the outside; `None` for a dialog that is
/// not known there.
pub(in crate::proxy) type NamedDialogs = SmallVec<[(HeaderName, Option<Vec<u8>>); 1]>;

impl Borders {
    /// The other dialogs that a request of the inside names.
    pub fn named_dialogs(&self, message: &Message) -> NamedDialogs {
        let outside = |value: &[u8]| {
            let end = memchr::memchr(b';', value).unwrap_or(value.len());
            let (call_id, rest) = value.split_at_checked(end)?;
            let outer = self.outer_call_id(call_id.trim_ascii())?;
            Some([outer, rest].concat())
        };
        let named = |name| Some((name, outside(message.header(name)?)));
        NAMES_A_DIALOG.into_iter().filter_map(named).collect()
    }
}
