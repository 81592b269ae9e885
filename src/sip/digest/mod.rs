//! Digest access authentication: RFC 7616 with RFC 8760, as RFC 3261 §22 uses it.
//!
//! The server side, [`Authenticator`], keeps no table of nonces: a nonce verifies itself (`nonce`).
//! What it keeps is a cache of fixed size that knows which nonce counts were used (`replay`). The
//! client side is [`answer`]. MD5 and SHA-256 with `qop=auth`; not `auth-int`, not `-sess`, no
//! `userhash`.

mod client;
mod hash;
mod nonce;
mod replay;
mod server;

#[cfg(test)]
mod tests;

pub use client::{AnswerError, ClientCredentials, answer};
pub use hash::{Algorithm, ha1};
pub use replay::Replays;
pub use server::{Authenticator, NONCE_LIFETIME_SECONDS, Subject, Verdict};
