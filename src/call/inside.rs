//! What proxy and services tell each other on the path inside the shard, beside SIP itself: on
//! whose account a service calls, and texts within URIs.

/// On whose account a service calls: the value of `X-Voip-Account`, which is read on the path
/// inside only and never sent on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Account {
    /// A user's; the address of record.
    User(Box<str>),
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
            Account::Way(name) => write!(f, "way {name}"),
            Account::House => f.write_str("house"),
            Account::Operator => f.write_str("operator"),
        }
    }
}

impl Account {
    /// Reads what [`Account`]'s `Display` wrote.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        match text.split_once(' ') {
            Some(("user", aor)) => Some(Account::User(aor.into())),
            Some(("way", name)) => Some(Account::Way(name.into())),
            None if text == "house" => Some(Account::House),
            None if text == "operator" => Some(Account::Operator),
            _ => None,
        }
    }
}

/// A text as part of a URI (RFC 3261 §25.1): everything but letters, digits and a few marks that
/// mean nothing anywhere is escaped.
pub fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => {
                escaped.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// What [`escape`] made; `None` if it is no such text.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_as_they_were_written() {
        for account in [
            Account::User("ana@example.com".into()),
            Account::Way("itsp".into()),
            Account::House,
            Account::Operator,
        ] {
            let text = account.to_string();
            assert_eq!(Account::parse(text.as_bytes()), Some(account));
        }
        for text in ["", "user", "root", "house of cards", "\u{fe}"] {
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
