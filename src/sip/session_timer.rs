//! Session timers (RFC 4028): how long a session lasts unless it is refreshed, and who refreshes
//! it.
//!
//! ```text
//!   agreed --refresh (re-INVITE, UPDATE), by whoever does it--> agreed anew
//!     +-- half the interval, refreshed by us: a refresh of ours is due   (§10)
//!     +-- the interval less min(32 s, a third), refreshed by the far end: BYE
//! ```

use crate::wire::sip::{HeaderName, Message, Method};
use std::time::Duration;

/// The shortest interval that anybody may ask for (§5).
pub const INTERVAL_MIN: Duration = Duration::from_secs(90);
/// The longest that is kept; who asks for more is refreshed more often.
pub const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// Before the end of the interval, at most (§10).
const EARLIER: Duration = Duration::from_secs(32);

/// What both ends agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionTimer {
    /// How long the session lasts from the last refresh.
    pub interval: Duration,
    /// Whether we refresh it.
    pub ours: bool,
}

/// The interval is too short: 422 with [`INTERVAL_MIN`] as Min-SE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooShort;

impl SessionTimer {
    /// When something is due after a refresh: ours, or the session's end.
    pub fn due(self) -> Duration {
        match self.ours {
            true => self.interval / 2,
            false => self.interval - EARLIER.min(self.interval / 3),
        }
    }

    /// The Session-Expires value of a response to the far end's request: the one who asked is the
    /// `uac`.
    pub fn in_response(self) -> String {
        let refresher = if self.ours { "uas" } else { "uac" };
        format!("{};refresher={refresher}", self.interval.as_secs())
    }

    /// The Session-Expires value of a refresh of ours.
    pub fn in_request(self) -> String {
        let refresher = if self.ours { "uac" } else { "uas" };
        format!("{};refresher={refresher}", self.interval.as_secs())
    }
}

/// What becomes of the timer that a request asks for (§9): nothing without Session-Expires. Who
/// does not know timers leaves the refreshing to us (table 2).
pub fn asked(request: &Message) -> Result<Option<SessionTimer>, TooShort> {
    if !matches!(request.method(), Method::Invite | Method::Update) {
        return Ok(None);
    }
    let Some((interval, refresher)) = expires(request) else {
        return Ok(None);
    };
    if interval < INTERVAL_MIN {
        return Err(TooShort);
    }
    let knows = request.has_token(HeaderName::Supported, "timer");
    Ok(Some(SessionTimer {
        interval: interval.min(INTERVAL_MAX),
        ours: !knows || refresher == Some(Refresher::Uas),
    }))
}

/// What the answer to a request of ours agreed on (§7.2).
pub fn agreed(response: &Message) -> Option<SessionTimer> {
    let (interval, refresher) = expires(response)?;
    Some(SessionTimer {
        interval: interval.clamp(INTERVAL_MIN, INTERVAL_MAX),
        ours: refresher != Some(Refresher::Uas),
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refresher {
    Uac,
    Uas,
}

fn expires(message: &Message) -> Option<(Duration, Option<Refresher>)> {
    let value = std::str::from_utf8(message.header(HeaderName::SessionExpires)?).ok()?;
    let mut parts = value.split(';').map(str::trim);
    let seconds: u32 = parts.next()?.parse().ok()?;
    let refresher = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("refresher");
        match value.trim() {
            uac if named && uac.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            uas if named && uas.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        }
    });
    Some((Duration::from_secs(seconds.into()), refresher))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(lines: &str) -> Message {
        let text = format!(
            "INVITE sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.into()).unwrap()
    }

    fn timer(seconds: u64, ours: bool) -> SessionTimer {
        SessionTimer {
            interval: Duration::from_secs(seconds),
            ours,
        }
    }

    #[test]
    fn who_asks_decides_who_refreshes() {
        let asked = |lines: &str| asked(&invite(lines));
        assert_eq!(asked(""), Ok(None));
        let knows = "Supported: replaces, timer\r\n";
        for (value, ours) in [
            ("1800", false),
            ("1800;refresher=uac", false),
            ("1800 ; Refresher=UAS", true),
        ] {
            let lines = format!("{knows}Session-Expires: {value}\r\n");
            assert_eq!(asked(&lines), Ok(Some(timer(1800, ours))), "{value}");
        }
        // A proxy wanted it (table 2).
        assert_eq!(asked("x: 90;refresher=uac\r\n"), Ok(Some(timer(90, true))));
        assert_eq!(asked("Session-Expires: 89\r\n"), Err(TooShort));
        assert_eq!(asked("Session-Expires: soon\r\n"), Ok(None));
        assert_eq!(asked("x: 4000000000\r\n"), Ok(Some(timer(86_400, true))));
    }

    #[test]
    fn answers_tell_what_was_agreed_on() {
        let answer = |value: &str| {
            let text = format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
                 From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>;tag=b\r\n\
                 Call-ID: c\r\nCSeq: 1 INVITE\r\nSession-Expires: {value}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            agreed(&Message::parse(text.into()).unwrap())
        };
        assert_eq!(answer("1800;refresher=uas"), Some(timer(1800, false)));
        assert_eq!(answer("1800;refresher=uac"), Some(timer(1800, true)));
        assert_eq!(answer("10"), Some(timer(90, true)));
        assert_eq!(timer(90, false).in_response(), "90;refresher=uac");
        assert_eq!(timer(90, true).in_request(), "90;refresher=uac");
    }

    #[test]
    fn what_is_due_comes_in_time() {
        assert_eq!(timer(1800, true).due(), Duration::from_secs(900));
        assert_eq!(timer(1800, false).due(), Duration::from_secs(1768));
        assert_eq!(timer(90, false).due(), Duration::from_secs(60));
    }
}
