//! SIP on the wire (RFC 3261 §7, §19, §20, §25), in two tiers.
//!
//! First tier: [`Message::parse`] cuts the bytes into start line, header index and body; it copies
//! nothing and, up to 32 headers, allocates nothing. Second tier: typed views ([`Uri`],
//! [`NameAddr`], [`Via`], [`CSeq`], [`Credentials`]) that borrow from the message and are made
//! when asked for. A message is forwarded by an [`Edit`], rendered once; what is not edited goes
//! out as it came, unknown headers and bytes that are not UTF-8 included.
//!
//! [`Message::validate`] says what a server must refuse, and how. [`Framer`] cuts streams.
//! Nothing here keeps state beyond one message or one stream's bytes.

mod address;
mod auth;
mod build;
mod cseq;
mod edit;
mod escape;
mod framer;
mod header;
mod message;
mod method;
mod parse;
mod scan;
mod status;
mod uri;
mod validate;
mod via;

#[cfg(test)]
mod tests;

pub use address::NameAddr;
pub use auth::{Challenge, Credentials};
pub use build::{RequestBuilder, ResponseBuilder};
pub use cseq::CSeq;
pub use edit::{Edit, Value};
pub use escape::{USER, escape, escaped, unescape};
pub use framer::{Frame, FrameError, Framer};
pub use header::{Header, HeaderError, HeaderName};
pub use message::{Addresses, Contacts, HEADERS_MAX, MESSAGE_MAX, Message};
pub use method::Method;
pub use parse::{ParseError, peek_call_id, peek_replaces};
pub use scan::{Param, Params, unescape_quoted, unfold};
pub use status::default_reason;
pub use uri::{Host, Scheme, Uri, UriError};
pub use validate::Refusal;
pub use via::Via;
