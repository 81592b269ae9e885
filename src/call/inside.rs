//! What proxy and services tell each other on the path inside the shard, beside SIP itself: on
//! whose account a service calls, where its caller is led instead, and texts within URIs.
//!
//! A call of a service that leads to another one, or to a mailbox, would have both its ends here.
//! It is answered 302 with that service's URI in `X-Voip-Account`, which nobody else's answer
//! keeps on its way here, and the caller's program gives way to the one of the URI. In the same
//! header stands what the user of a phone that rings has callers hear.

use crate::wire::sip::{self, escaped};

/// On whose account a service calls: the value of `X-Voip-Account`, which is read on the path
/// inside only and never sent on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Account {
    /// A user's; the address of record.
    User(Box<str>),
    /// The same for a call back, which nobody dialled: no emergency number is reached.
    CalledBack(Box<str>),
    /// A trunk's or a pool's, by its name.
    Way(Box<str>),
    /// Ours: nothing outside is reached.
    House,
    /// Ours, where the operator wrote the number: routes lead out.
    Operator,
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Account::User(aor) => write!(f, "user {aor}"),
            Account::CalledBack(aor) => write!(f, "back {aor}"),
            Account::Way(name) => write!(f, "way {name}"),
            Account::House => f.write_str("house"),
            Account::Operator => f.write_str("operator"),
        }
    }
}

/// What becomes of a service's call that another service of ours takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Led {
    /// It fails.
    #[default]
    Nowhere,
    /// The caller is led to services, but to no mailbox: somebody else sees to that.
    Services,
    /// To mailboxes, too, as any caller. Where the user did not say how long phones ring, it is so
    /// many seconds; as the configuration has it for all calls, without.
    Mail(Option<u16>),
}

impl Led {
    /// How long phones ring where their user did not say.
    pub fn ring_s(self) -> Option<u16> {
        match self {
            Led::Mail(seconds) => seconds,
            Led::Nowhere | Led::Services => None,
        }
    }

    /// Reads what [`booked`] wrote.
    pub fn parse(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).unwrap_or_default();
        Parts::of(text).led
    }
}

/// What stands before the account of a call that is a part of another one.
const PART: &str = "part ";
/// And of one whose caller is led elsewhere: `led services `, `led mail `, `led mail/30 `.
const LED: &str = "led ";

/// And of one that a user sends on, who need not be the caller: `by 400%40example.com `.
const BY: &str = "by ";

/// What a call is booked on: its account, the session of the media side of the call that it is a
/// part of, where its caller is led, and the user (`name@domain`) who sends it on.
pub fn booked(account: &Account, whole: Option<u64>, led: Led, by: Option<&str>) -> String {
    let part = whole.map_or_else(String::new, |whole| format!("{PART}{whole} "));
    let led = match led {
        Led::Nowhere => String::new(),
        Led::Services => format!("{LED}services "),
        Led::Mail(None) => format!("{LED}mail "),
        Led::Mail(Some(seconds)) => format!("{LED}mail/{seconds} "),
    };
    let by = by.map_or_else(String::new, |by| format!("{BY}{} ", escape(by)));
    format!("{part}{led}{by}{account}")
}

/// What a call is a part of, by what [`booked`] wrote.
pub fn part_of(text: &[u8]) -> Option<u64> {
    Parts::of(std::str::from_utf8(text).ok()?).whole
}

/// Who sends a call on, by what [`booked`] wrote.
pub fn sent_on_by(text: &[u8]) -> Option<String> {
    unescape(Parts::of(std::str::from_utf8(text).ok()?).by?)
}

/// What [`booked`] wrote, taken apart.
struct Parts<'t> {
    whole: Option<u64>,
    led: Led,
    by: Option<&'t str>,
    account: &'t str,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Self {
        let word = |text: &'t str, front: &str| text.strip_prefix(front)?.split_once(' ');
        let part = word(text, PART).and_then(|(whole, rest)| Some((whole.parse().ok()?, rest)));
        let (whole, text) = match part {
            Some((whole, rest)) => (Some(whole), rest),
            None => (None, text),
        };
        let led = word(text, LED).and_then(|(how, rest)| {
            let led = match how.split_once('/') {
                None if how == "services" => Led::Services,
                None if how == "mail" => Led::Mail(None),
                Some(("mail", seconds)) => Led::Mail(Some(seconds.parse().ok()?)),
                _ => return None,
            };
            Some((led, rest))
        });
        let (led, text) = led.unwrap_or((Led::Nowhere, text));
        let (by, account) = match word(text, BY) {
            Some((by, rest)) => (Some(by), rest),
            None => (None, text),
        };
        Self {
            whole,
            led,
            by,
            account,
        }
    }
}

impl Account {
    /// Reads what [`booked`] or [`Account`]'s `Display` wrote.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = Parts::of(std::str::from_utf8(text).ok()?).account;
        match text.split_once(' ') {
            Some(("user", aor)) => Some(Account::User(aor.into())),
            Some(("back", aor)) => Some(Account::CalledBack(aor.into())),
            Some(("way", name)) => Some(Account::Way(name.into())),
            None if text == "house" => Some(Account::House),
            None if text == "operator" => Some(Account::Operator),
            _ => None,
        }
    }
}

/// What stands before what callers hear while a phone rings.
const HEARS: &str = "hears ";

/// What the caller of a service's call hears while a phone rings, where its user chose that: in the
/// 180 that the service gets.
pub fn hears(sound: &str) -> String {
    format!("{HEARS}{sound}")
}

/// What [`hears`] wrote.
pub fn heard(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()?.strip_prefix(HEARS)
}

/// What stands in our texts as it is: marks that mean nothing anywhere in a URI.
const PLAIN: &[u8] = b"-_.*";

/// A text as part of a URI.
pub fn escape(text: &str) -> String {
    escaped(text, PLAIN)
}

/// What [`escape`] made; `None` if it is no such text.
pub fn unescape(escaped: &str) -> Option<String> {
    sip::unescape(escaped.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_as_they_were_written() {
        for account in [
            Account::User("ana@example.com".into()),
            Account::CalledBack("ana@example.com".into()),
            Account::Way("itsp".into()),
            Account::House,
            Account::Operator,
        ] {
            let text = account.to_string();
            assert_eq!(Account::parse(text.as_bytes()), Some(account.clone()));
            assert_eq!(part_of(text.as_bytes()), None);
            assert_eq!(Led::parse(text.as_bytes()), Led::Nowhere);
            for led in [
                Led::Nowhere,
                Led::Services,
                Led::Mail(None),
                Led::Mail(Some(30)),
            ] {
                for (whole, by) in [
                    (None, None),
                    (Some(u64::MAX), None),
                    (None, Some("a b@example.com")),
                    (Some(1), Some("400@example.com")),
                ] {
                    let text = booked(&account, whole, led, by);
                    assert_eq!(part_of(text.as_bytes()), whole, "{text}");
                    assert_eq!(Led::parse(text.as_bytes()), led, "{text}");
                    assert_eq!(sent_on_by(text.as_bytes()).as_deref(), by, "{text}");
                    let read = Account::parse(text.as_bytes());
                    assert_eq!(read.as_ref(), Some(&account), "{text}");
                }
            }
        }
        for text in [
            "",
            "user",
            "root",
            "house of cards",
            "\u{fe}",
            "part 1",
            "part x house",
            "led house",
            "led mail/x house",
            "led astray house",
        ] {
            assert_eq!(Account::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn texts_pass_through_uris() {
        for text in ["", "sip:+34 91@example.com;x=1", "ñandú", "*45#", "%"] {
            let escaped = escape(text);
            assert!(
                escaped
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.*%".contains(&b))
            );
            assert_eq!(unescape(&escaped).as_deref(), Some(text));
        }
        for text in ["%", "%4", "%zz", "%FF"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
