//! `[voicemail]`: how messages are taken, kept, and told of.

use std::fmt;
use std::path::PathBuf;

/// `[voicemail]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voicemail {
    /// Whether calls that nobody takes fall to voicemail, of users of whom nobody said otherwise.
    /// No without the table, so that a failed call stays one; yes with it.
    pub enabled: bool,
    /// Seconds that phones ring before, where the user set no time of his own.
    pub ring_s: u32,
    /// Seconds that a message must have to be kept.
    pub message_min_s: u32,
    /// Seconds after which no more is recorded.
    pub message_max_s: u32,
    /// Seconds of silence that end a message; zero: none does.
    pub silence_s: u32,
    /// Most messages of a mailbox.
    pub messages_max: u32,
    /// Whether the owner's own phone is asked for the PIN, too, where one is set.
    pub ask_pin: bool,
    /// So many wrong PINs in a row lock the mailbox.
    pub pin_tries: u32,
    /// Seconds that it is locked.
    pub lock_s: u32,
    /// The sender of copies by e-mail.
    pub email_from: Option<Box<str>>,
    /// The server that takes them.
    pub smtp: Option<Smtp>,
}

impl Default for Voicemail {
    fn default() -> Self {
        Self {
            enabled: false,
            ring_s: 20,
            message_min_s: 2,
            message_max_s: 300,
            silence_s: 10,
            messages_max: 100,
            ask_pin: false,
            pin_tries: 5,
            lock_s: 900,
            email_from: None,
            smtp: None,
        }
    }
}

/// Where mail is handed in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Smtp {
    /// Whether TLS comes first (RFC 8314); otherwise STARTTLS is used where it is offered.
    pub tls: bool,
    /// The server.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// Whom we say to be; mail is handed in without a name otherwise.
    pub user: Option<Box<str>>,
    /// What proves it.
    pub password_file: Option<PathBuf>,
}

impl Smtp {
    /// Reads `smtp://host[:port]` or `smtps://host[:port]`; says in words what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("is no URL of a mail server")?;
        let (tls, usual) = match scheme {
            "smtp" => (false, 25),
            "smtps" => (true, 465),
            _ => return Err("is neither smtp nor smtps"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err("has a user in it; write smtp_user and smtp_password_file");
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port: u16 = port.parse().map_err(|_| "has no port of 1 to 65535")?;
                (host, port)
            }
            _ => (rest, usual),
        };
        let host = super::Domain::parse(host).map_err(|_| "names no host")?;
        if port == 0 {
            return Err("has no port of 1 to 65535");
        }
        Ok(Self {
            tls,
            host: host.as_str().into(),
            port,
            user: None,
            password_file: None,
        })
    }
}

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "smtps" } else { "smtp" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}
