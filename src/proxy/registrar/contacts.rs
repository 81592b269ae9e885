//! Reading Contact and Path of a REGISTER (RFC 3261 §10.3 steps 6 and 7, RFC 3327 §5.3).

use super::{Refused, Registration, refused};
use crate::location::ContactUpdate;
use crate::proxy::nat;
use crate::proxy::outbound::{self, Outbound};
use crate::wire::sip::{Addresses, HeaderName, Host, Message, NameAddr, Param, Scheme, Uri};
use smallvec::SmallVec;
use std::ops::Range;

/// Most contacts of one REGISTER.
pub const CONTACTS_MAX: usize = 32;
/// Longest contact URI, in bytes.
pub const CONTACT_BYTES_MAX: usize = 1024;
/// Longest header parameters of one contact, in bytes.
pub const PARAMETER_BYTES_MAX: usize = 2048;
/// Longest Path of one REGISTER, all values together, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;

/// What an expiry that cannot be read means (RFC 3261 §20.10).
const EXPIRES_MALFORMED_S: u32 = 3600;
/// Nobody is told that an interval of an hour is too brief (RFC 3261 §10.3 step 7).
const EXPIRES_TOO_BRIEF_S: u32 = 3600;
/// RFC 3261 §16.6: a contact without q is as good as one with 1.
const Q_DEFAULT: u16 = 1000;

/// A Contact as read; its parameters stand in a buffer that all contacts share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Draft<'m> {
    contact: ContactUpdate<'m>,
    parameters: Range<usize>,
}

impl<'m> Draft<'m> {
    pub(super) fn update<'a>(&self, parameters: &'a str) -> ContactUpdate<'a>
    where
        'm: 'a,
    {
        ContactUpdate {
            parameters: parameters.get(self.parameters.clone()).unwrap_or(""),
            ..self.contact
        }
    }
}

pub(super) fn read<'m>(
    r: &Registration<'m>,
    list: Addresses<'m>,
    has_path: bool,
    parameters: &mut String,
) -> Result<SmallVec<[Draft<'m>; 2]>, Refused> {
    let mut drafts: SmallVec<[Draft<'m>; 2]> = SmallVec::new();
    let malformed = || refused(400, "Malformed Contact");
    for contact in list {
        if drafts.len() >= CONTACTS_MAX {
            return Err(refused(403, "Too Many Contacts"));
        }
        let contact = contact.map_err(|_| malformed())?;
        let uri = contact.uri().map_err(|_| malformed())?;
        let text = std::str::from_utf8(contact.uri_bytes()).map_err(|_| malformed())?;
        if text.len() > CONTACT_BYTES_MAX {
            return Err(refused(400, "Contact Too Long"));
        }
        check_target(r, &uri)?;
        let start = parameters.len();
        let read = read_parameters(&contact, parameters)?;
        if parameters.len() - start > PARAMETER_BYTES_MAX {
            return Err(refused(400, "Contact Too Long"));
        }
        let reg_id = match outbound::of_contact(r.message, &contact, read.instance) {
            Outbound::No => 0,
            Outbound::RegId(id) => id,
            Outbound::FirstHopLacks => {
                return Err(refused(439, "First Hop Lacks Outbound Support"));
            }
        };
        let via = r.message.top_via().ok();
        drafts.push(Draft {
            contact: ContactUpdate {
                uri: text,
                parameters: "",
                q: read.q,
                expires: interval(r, read.expires)?,
                instance: read.instance,
                reg_id,
                behind_nat: !has_path && nat::contact_behind_nat(&uri, via.as_ref(), r.flow),
            },
            parameters: start..parameters.len(),
        });
    }
    // RFC 5626 §6: an outbound flow is one contact's.
    let flows = drafts
        .iter()
        .filter(|d| d.contact.reg_id > 0 && d.contact.expires > 0);
    if flows.count() > 1 {
        return Err(refused(400, "More Than One Contact With reg-id"));
    }
    Ok(drafts)
}

/// RFC 5627 §5.1: a GRUU of ours cannot be a contact; requests would go round for ever.
fn check_target(r: &Registration<'_>, uri: &Uri<'_>) -> Result<(), Refused> {
    if !matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) || uri.param("gr").is_none() {
        return Ok(());
    }
    let Host::Name(name) = uri.host() else {
        return Ok(());
    };
    let ours = std::str::from_utf8(name).is_ok_and(|n| r.config.node.domain_of(n).is_some());
    match ours {
        true => Err(refused(403, "Contact Is a GRUU")),
        false => Ok(()),
    }
}

struct Parameters<'m> {
    q: u16,
    expires: Option<u32>,
    instance: &'m str,
}

/// Takes what the registrar understands; what should be handed out again is appended to `out`.
fn read_parameters<'m>(
    contact: &NameAddr<'m>,
    out: &mut String,
) -> Result<Parameters<'m>, Refused> {
    let mut read = Parameters {
        q: Q_DEFAULT,
        expires: None,
        instance: "",
    };
    for param in contact.params() {
        let is = |name: &[u8]| param.name.eq_ignore_ascii_case(name);
        if is(b"expires") {
            read.expires = Some(
                contact
                    .expires()
                    .ok()
                    .flatten()
                    .unwrap_or(EXPIRES_MALFORMED_S),
            );
        } else if is(b"q") {
            let q = contact.q().map_err(|_| refused(400, "Malformed q"))?;
            read.q = q.unwrap_or(Q_DEFAULT);
        } else if is(b"pub-gruu") || is(b"temp-gruu") {
            // Ours to give.
        } else {
            if is(b"+sip.instance") {
                read.instance = instance(&param);
            }
            keep(contact, &param, out);
        }
    }
    Ok(read)
}

fn instance<'m>(param: &Param<'m>) -> &'m str {
    let text = param.value.and_then(|v| std::str::from_utf8(v).ok());
    let bare = text.and_then(|t| t.trim().strip_prefix('<')?.strip_suffix('>'));
    bare.unwrap_or("")
}

/// Appends a parameter as it was written. One that is not UTF-8 is left out.
fn keep(contact: &NameAddr<'_>, param: &Param<'_>, out: &mut String) {
    let Ok(name) = std::str::from_utf8(param.name) else {
        return;
    };
    let Some(value) = param.value else {
        out.push(';');
        out.push_str(name);
        return;
    };
    let Ok(value_text) = std::str::from_utf8(value) else {
        return;
    };
    let whole = contact.as_bytes();
    let offset = (value.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    let before = offset.checked_sub(1).and_then(|at| whole.get(at));
    let quote = if before == Some(&b'"') { "\"" } else { "" };
    for piece in [";", name, "=", quote, value_text, quote] {
        out.push_str(piece);
    }
}

/// The seconds that a contact lives: its own wish, the request's, or ours, within bounds.
fn interval(r: &Registration<'_>, wish: Option<u32>) -> Result<u32, Refused> {
    let limits = &r.config.limits;
    let header = || match r.message.expires() {
        Ok(seconds) => seconds,
        Err(_) => Some(EXPIRES_MALFORMED_S),
    };
    let seconds = wish.or_else(header).unwrap_or(limits.expires_default_s);
    if seconds == 0 {
        return Ok(0);
    }
    let least = limits.expires_min_s;
    if seconds < least && seconds < EXPIRES_TOO_BRIEF_S {
        let brief = refused(423, "Interval Too Brief");
        return Err(brief.with(HeaderName::MinExpires, least.to_string()));
    }
    Ok(seconds.min(limits.expires_max_s))
}

/// Path's values into `out`, separated by line feeds.
pub(super) fn read_path(r: &Registration<'_>, out: &mut String) -> Result<(), Refused> {
    out.clear();
    if !r.message.has(HeaderName::Path) {
        return Ok(());
    }
    check_path_is_wanted(r)?;
    let malformed = || refused(400, "Malformed Path");
    for value in r.message.addresses(HeaderName::Path) {
        let value = value.map_err(|_| malformed())?;
        value.uri().map_err(|_| malformed())?;
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| malformed())?;
        if text.contains(['\r', '\n']) {
            return Err(malformed());
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(text);
        if out.len() > PATH_BYTES_MAX {
            return Err(refused(400, "Path Too Long"));
        }
    }
    Ok(())
}

/// RFC 3327 §5.3 recommends to refuse a Path that the phone did not say to support; a trusted
/// edge proxy knows what it does.
fn check_path_is_wanted(r: &Registration<'_>) -> Result<(), Refused> {
    if supports(r.message, "path") || r.config.sip.trusts(r.flow.remote.ip()) {
        return Ok(());
    }
    Err(refused(420, "Path Not Supported by the Phone").with(HeaderName::Unsupported, "path"))
}

pub(super) fn supports(message: &Message, extension: &str) -> bool {
    message.has_token(HeaderName::Supported, extension)
        || message.has_token(HeaderName::Require, extension)
}
