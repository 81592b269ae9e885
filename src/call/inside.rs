//! What proxy and services tell each other on the path inside the shard, beside SIP itself: on
//! whose account a service calls, and texts within URIs.

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

/// What stands before the account of a call that is a part of another one.
const PART: &str = "part ";

/// What a call is booked on: its account, and the session of the media side of the call that it is
/// a part of.
pub fn booked(account: &Account, whole: Option<u64>) -> String {
    match whole {
        Some(whole) => format!("{PART}{whole} {account}"),
        None => account.to_string(),
    }
}

/// What a call is a part of, by what [`booked`] wrote.
pub fn part_of(text: &[u8]) -> Option<u64> {
    split(std::str::from_utf8(text).ok()?).0
}

/// The whole, and the account.
fn split(text: &str) -> (Option<u64>, &str) {
    let part = text.strip_prefix(PART);
    let part = part.and_then(|rest| rest.split_once(' '));
    match part.and_then(|(whole, account)| Some((whole.parse().ok()?, account))) {
        Some((whole, account)) => (Some(whole), account),
        None => (None, text),
    }
}

impl Account {
    /// Reads what [`booked`] or [`Account`]'s `Display` wrote.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (_, text) = split(std::str::from_utf8(text).ok()?);
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
            let text = booked(&account, Some(u64::MAX));
            assert_eq!(part_of(text.as_bytes()), Some(u64::MAX));
            assert_eq!(Account::parse(text.as_bytes()), Some(account));
        }
        for text in [
            "",
            "user",
            "root",
            "house of cards",
            "\u{fe}",
            "part 1",
            "part x house",
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
