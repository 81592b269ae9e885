//! The client side: answering a challenge (RFC 7616 §3.4, RFC 3261 §22.2, §22.3).

use super::hash::{Algorithm, Count, ResponseInput, response};
use crate::wire::sip::{Challenge, unescape_quoted};

/// Who we are to the server that asks.
#[derive(Clone, Copy, Debug)]
pub struct ClientCredentials<'a> {
    /// The user name.
    pub username: &'a str,
    /// The password.
    pub password: &'a [u8],
}

/// Why a challenge cannot be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerError {
    /// Not Digest, or without realm or nonce.
    Malformed,
    /// An algorithm or `qop` that we do not speak: take another of the challenges.
    Unsupported,
}

/// The value of an Authorization or Proxy-Authorization header. `count` is one for the first use of
/// a nonce and grows by one with each; `cnonce` is random.
pub fn answer(
    challenge: &Challenge<'_>,
    credentials: &ClientCredentials<'_>,
    method: &[u8],
    uri: &str,
    count: u32,
    cnonce: &str,
) -> Result<String, AnswerError> {
    let (Some(realm), Some(nonce), true) =
        (challenge.realm(), challenge.nonce(), challenge.is_digest())
    else {
        return Err(AnswerError::Malformed);
    };
    let algorithm = Algorithm::from_token(challenge.algorithm()).ok_or(AnswerError::Unsupported)?;
    let with_qop = match challenge.qop() {
        None => false,
        Some(offer) => {
            let mut offers = offer.split(|&b| b == b',');
            if !offers.any(|o| o.trim_ascii().eq_ignore_ascii_case(b"auth")) {
                return Err(AnswerError::Unsupported);
            }
            true
        }
    };
    let username = credentials.username.as_bytes();
    let secret = algorithm.hex(&[username, &unescape_quoted(realm), credentials.password]);
    let nc = format!("{count:08x}");
    let hex = response(
        algorithm,
        secret.as_bytes(),
        &ResponseInput {
            method,
            uri: uri.as_bytes(),
            nonce,
            count: with_qop.then_some(Count {
                nc: nc.as_bytes(),
                cnonce: cnonce.as_bytes(),
                qop: b"auth",
            }),
        },
    );
    let mut out = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{}\"",
        credentials
            .username
            .replace('\\', "\\\\")
            .replace('"', "\\\""),
        String::from_utf8_lossy(realm),
        String::from_utf8_lossy(nonce),
        hex.as_str(),
    );
    if challenge.algorithm().is_some() {
        out.push_str(", algorithm=");
        out.push_str(algorithm.token());
    }
    if let Some(opaque) = challenge.opaque() {
        out.push_str(&format!(", opaque=\"{}\"", String::from_utf8_lossy(opaque)));
    }
    if with_qop {
        out.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
    }
    Ok(out)
}
