//! Identities between sides that trust each other more or less (RFC 3323, RFC 3325, and the draft
//! that Remote-Party-ID comes from, which phones and gateways still speak).
//!
//! What a stranger asserts of itself is taken out. What a trusted peer asserts goes whole to those
//! we trust, and to all others unless privacy is asked for. A user who proved to be so is asserted
//! by us toward trusted peers. Of RFC 3323, a proxy can do `id` and the
//! part of `user` that does not touch the dialog; `header` and `session` need a back-to-back agent:
//! asked for critically, they are refused rather than promised.

use super::context::Caller;
use crate::wire::sip::{Edit, HeaderName, Message};

/// What the next hop is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reader {
    /// Of `[sip] trusted`.
    Trusted,
    /// A phone that registered here.
    User,
    /// Anybody else.
    Stranger,
}

/// Who says what a message asserts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Author<'a> {
    /// Of `[sip] trusted`.
    Trusted,
    /// A user who proved it: the address of record.
    User(&'a str),
    /// Anybody else.
    Stranger,
}

impl<'a> Author<'a> {
    /// Of a request that was let in.
    pub(super) fn of(caller: &'a Caller, source_trusted: bool) -> Self {
        match caller {
            _ if source_trusted => Author::Trusted,
            Caller::User(aor) => Author::User(aor),
            Caller::Trusted
            | Caller::Trunk(_)
            | Caller::Pool(_)
            | Caller::House
            | Caller::Operator => Author::Trusted,
            Caller::Guest | Caller::InDialog => Author::Stranger,
        }
    }
}

/// Headers that tell about the person and that no dialog needs (RFC 3323 §5.3, `user`).
const PERSONAL: [HeaderName; 6] = [
    HeaderName::Subject,
    HeaderName::CallInfo,
    HeaderName::Organization,
    HeaderName::UserAgent,
    HeaderName::ReplyTo,
    HeaderName::InReplyTo,
];

/// The tokens of a Privacy header (RFC 3323 §4.2), semicolons between them.
fn asks(message: &Message, token: &str) -> bool {
    message.lines(HeaderName::Privacy).any(|line| {
        line.split(|&b| b == b';' || b == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// Whether the request asks critically for privacy that we cannot give (RFC 3323 §5).
pub(super) fn impossible(message: &Message) -> bool {
    message.has(HeaderName::Privacy)
        && asks(message, "critical")
        && (asks(message, "header") || asks(message, "session"))
}

/// Whether the identity must stay hidden, by whichever header says so.
pub(super) fn is_private(message: &Message) -> bool {
    asks(message, "id")
        || asks(message, "user")
        || message.values(HeaderName::RemotePartyId).any(|value| {
            let lower = value.to_ascii_lowercase();
            memchr::memmem::find(&lower, b"privacy=full").is_some()
                || memchr::memmem::find(&lower, b"privacy=uri").is_some()
        })
}

/// The edits for a message that goes from `author` to `reader`.
pub(super) fn edit<'m>(
    edit: &mut Edit<'m>,
    message: &'m Message,
    author: Author<'_>,
    reader: Reader,
) {
    assert_identity(edit, message, author, reader);
    if message.has(HeaderName::Privacy) && reader != Reader::Trusted && asks(message, "user") {
        for name in PERSONAL {
            edit.remove(name);
        }
    }
}

fn assert_identity<'m>(
    edit: &mut Edit<'m>,
    message: &'m Message,
    author: Author<'_>,
    reader: Reader,
) {
    let asserted =
        message.has(HeaderName::PAssertedIdentity) || message.has(HeaderName::RemotePartyId);
    if message.has(HeaderName::PPreferredIdentity) {
        edit.remove(HeaderName::PPreferredIdentity);
    }
    let keeps = match (author, reader) {
        (Author::Trusted, Reader::Trusted) => true,
        (Author::Trusted, Reader::User | Reader::Stranger) => asserted && !is_private(message),
        (Author::User(_) | Author::Stranger, _) => false,
    };
    if asserted && !keeps {
        edit.remove(HeaderName::PAssertedIdentity);
        edit.remove(HeaderName::RemotePartyId);
    }
    if let (Author::User(aor), Reader::Trusted, true) = (author, reader, message.is_request()) {
        edit.append(
            HeaderName::PAssertedIdentity,
            format!("<sip:{}>", escape(aor)),
        );
    }
}

/// An address of record as a URI: what the user part may not hold is escaped (RFC 3261 §25.1).
fn escape(aor: &str) -> String {
    let (user, domain) = aor.rsplit_once('@').unwrap_or((aor, ""));
    let mut out = String::with_capacity(aor.len() + 8);
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out.push('@');
    out.push_str(domain);
    out
}
