//! What a server refuses, and with which answer (RFC 3261 §8.2, §16.3, §18.3; RFC 4475).
//!
//! A good message costs a few bit tests and the four views that are needed anyway.

use super::{
    CSeq, Contacts, HeaderError, HeaderName, Host, Message, Method, Scheme, Uri, UriError,
};

/// What was wrong while cutting the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    BareCr,
    Unended,
    BadHeaderLine,
    UriSpaces,
    StartLineSpaces,
    BadContentLength,
    ShortBody,
}

/// What to do with a bad message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A request to be answered with this status and reason phrase.
    Answer { status: u16, reason: &'static str },
    /// A response, an ACK, or a request that no answer could find: count it, say nothing.
    Drop { reason: &'static str },
}

impl Refusal {
    /// The status to answer with; `None` when the message is dropped.
    pub fn status(&self) -> Option<u16> {
        match self {
            Refusal::Answer { status, .. } => Some(*status),
            Refusal::Drop { .. } => None,
        }
    }

    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Answer { reason, .. } | Refusal::Drop { reason } => reason,
        }
    }
}

type Refused = (u16, &'static str);

const SINGLE: [(HeaderName, &str); 9] = [
    (HeaderName::From, "Repeated From"),
    (HeaderName::To, "Repeated To"),
    (HeaderName::CallId, "Repeated Call-ID"),
    (HeaderName::CSeq, "Repeated CSeq"),
    (HeaderName::MaxForwards, "Repeated Max-Forwards"),
    (HeaderName::ContentLength, "Repeated Content-Length"),
    (HeaderName::ContentType, "Repeated Content-Type"),
    (HeaderName::Expires, "Repeated Expires"),
    (HeaderName::Event, "Repeated Event"),
];

const MANDATORY: [(HeaderName, &str); 5] = [
    (HeaderName::Via, "Missing Via"),
    (HeaderName::From, "Missing From"),
    (HeaderName::To, "Missing To"),
    (HeaderName::CallId, "Missing Call-ID"),
    (HeaderName::CSeq, "Missing CSeq"),
];

const fn mask<const N: usize>(names: &[(HeaderName, &str); N]) -> u128 {
    let mut bits = 0;
    let mut at = 0;
    while at < N {
        bits |= names[at].0.bit();
        at += 1;
    }
    bits
}

const SINGLE_MASK: u128 = mask(&SINGLE);
const MANDATORY_MASK: u128 = mask(&MANDATORY);

impl Message {
    /// Whether the message may be worked on. Call it right after `parse`.
    pub fn validate(&self) -> Result<(), Refusal> {
        let checked = self.check();
        let Err((status, reason)) = checked else {
            return Ok(());
        };
        let silent =
            !self.is_request() || self.method() == Method::Ack || !self.has(HeaderName::Via);
        Err(match silent {
            true => Refusal::Drop { reason },
            false => Refusal::Answer { status, reason },
        })
    }

    fn check(&self) -> Result<(), Refused> {
        if self.version != super::message::Version::Two {
            return Err((505, "Version Not Supported"));
        }
        if let Some(fault) = self.fault {
            return Err((400, fault.reason()));
        }
        if self.seen & MANDATORY_MASK != MANDATORY_MASK {
            return Err((400, first(&MANDATORY, !self.seen)));
        }
        if self.repeated & SINGLE_MASK != 0 {
            return Err((400, first(&SINGLE, self.repeated)));
        }
        self.top_via().map_err(malformed)?;
        self.from().map_err(malformed)?;
        self.to().map_err(malformed)?;
        let cseq = self.cseq().map_err(malformed)?;
        if self.call_id().is_empty() {
            return Err((400, "Empty Call-ID"));
        }
        self.max_forwards().map_err(malformed)?;
        match self.is_request() {
            true => self.check_request(&cseq),
            false => self.check_next_hop(),
        }
    }

    fn check_request(&self, cseq: &CSeq<'_>) -> Result<(), Refused> {
        if cseq.method != self.method() {
            return Err(match self.method() {
                // RFC 4475 §3.1.2.18 prefers 501 where the method is unknown.
                Method::Other(_) => (501, "Not Implemented"),
                _ => (400, "CSeq Method Does Not Match"),
            });
        }
        if let Contacts::List(contacts) = self.contacts().map_err(malformed)? {
            for contact in contacts {
                contact.map_err(malformed)?;
            }
        }
        self.check_request_uri()
    }

    /// RFC 4475 §3.3.10: a response that would go on to a broadcast address is dropped.
    fn check_next_hop(&self) -> Result<(), Refused> {
        for via in self.vias().skip(1) {
            let via = via.map_err(malformed)?;
            if matches!(via.host(), Host::V4(host) if host.is_broadcast() || host.is_multicast()) {
                return Err((400, "Via Names a Broadcast Address"));
            }
        }
        Ok(())
    }

    fn check_request_uri(&self) -> Result<(), Refused> {
        if self.request_uri().starts_with(b"<") {
            return Err((400, "Angle Brackets Around Request-URI"));
        }
        match Uri::parse(self.request_uri()) {
            // RFC 3261 §19.1.1: headers are not allowed here.
            Ok(uri) if uri.headers().next().is_some() => Err((400, "Headers in Request-URI")),
            Ok(uri) => match uri.scheme() {
                Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Urn => Ok(()),
                Scheme::Other(_) => Err((416, "Unsupported URI Scheme")),
            },
            Err(UriError::Scheme) => Err((400, "Bad Request-URI Scheme")),
            Err(UriError::User) => Err((400, "Bad Request-URI User")),
            Err(UriError::Host) => Err((400, "Bad Request-URI Host")),
            Err(UriError::Port) => Err((400, "Bad Request-URI Port")),
            Err(UriError::Character) => Err((400, "Bad Character in Request-URI")),
        }
    }
}

impl Fault {
    fn reason(self) -> &'static str {
        match self {
            Fault::BareCr => "CR Without LF",
            Fault::Unended => "Headers Do Not End",
            Fault::BadHeaderLine => "Malformed Header Line",
            Fault::UriSpaces => "White Space in Request-URI",
            Fault::StartLineSpaces => "White Space in Request-Line",
            Fault::BadContentLength => "Malformed Content-Length",
            Fault::ShortBody => "Body Shorter Than Content-Length",
        }
    }
}

/// The phrase of the first name whose bit is set.
fn first(names: &[(HeaderName, &'static str)], bits: u128) -> &'static str {
    let found = names.iter().find(|(name, _)| bits & name.bit() != 0);
    found.map_or("Bad Request", |(_, phrase)| phrase)
}

fn malformed(error: HeaderError) -> Refused {
    let phrase = match error.name() {
        HeaderName::Via => "Malformed Via",
        HeaderName::From => "Malformed From",
        HeaderName::To => "Malformed To",
        HeaderName::CSeq => "Malformed CSeq",
        HeaderName::Contact => "Malformed Contact",
        HeaderName::MaxForwards => "Malformed Max-Forwards",
        _ => "Malformed Header",
    };
    (400, phrase)
}
