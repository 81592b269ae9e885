//! The names of files below the spool: `voicemail/USER@DOMAIN/ID.wav`, and beside them the
//! greetings `unavail.wav`, `busy.wav`, `greet.wav`, as Asterisk calls them.

use crate::base::hash64;
use crate::store::Greeting;
use std::fmt::Write as _;

/// The folder of all mailboxes, below the spool.
pub const MAIL_FOLDER: &str = "voicemail";

/// Longest name of a mailbox's folder, in bytes: what names of files may have
/// (`media::file::NAME_BYTES_MAX`), less the rest of the path.
const FOLDER_BYTES_MAX: usize = 150;

/// What a file of a mailbox is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileName {
    /// A message.
    Message(u64),
    /// A greeting in use.
    Greeting(Greeting),
    /// A greeting that is being recorded.
    Take,
    /// None of ours.
    Other,
}

impl FileName {
    /// Reads the last part of a path.
    pub fn of(name: &str) -> Self {
        let Some(stem) = name.strip_suffix(".wav") else {
            return FileName::Other;
        };
        if stem.ends_with("-take") {
            return FileName::Take;
        }
        if let Some(greeting) = Greeting::ALL.into_iter().find(|g| g.as_str() == stem) {
            return FileName::Greeting(greeting);
        }
        let digits = !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_digit());
        let id = stem.parse().ok().filter(|_| digits);
        id.map_or(FileName::Other, FileName::Message)
    }

    pub(super) fn of_message(aor: &str, id: u64) -> String {
        format!("{}/{id:010}.wav", folder_of(aor))
    }
}

/// The folder of a user's mailbox. What a user's name may have and a file's should not is written
/// as `+2F`; a name beyond measure by its hash.
pub fn folder_of(aor: &str) -> String {
    let mut name = String::with_capacity(aor.len());
    for byte in aor.bytes() {
        match byte {
            b'.' if name.is_empty() => name.push_str("+2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' => {
                name.push(char::from(byte));
            }
            _ => drop(write!(name, "+{byte:02X}")),
        }
    }
    if name.len() > FOLDER_BYTES_MAX {
        name = format!("long-{:016x}", hash64(aor.as_bytes()));
    }
    format!("{MAIL_FOLDER}/{name}")
}

/// Where a greeting in use lies.
pub fn greeting_file(aor: &str, greeting: Greeting) -> Box<str> {
    format!("{}/{}.wav", folder_of(aor), greeting.as_str()).into()
}

/// Where a greeting is recorded before its owner is content.
pub fn take_of_greeting(aor: &str, greeting: Greeting) -> Box<str> {
    format!("{}/{}-take.wav", folder_of(aor), greeting.as_str()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let aor = "200@example.com";
        let file = FileName::of_message(aor, 42);
        assert_eq!(file, "voicemail/200@example.com/0000000042.wav");
        let last = |path: &str| FileName::of(path.rsplit('/').next().unwrap());
        assert_eq!(last(&file), FileName::Message(42));
        for greeting in Greeting::ALL {
            let kept = greeting_file(aor, greeting);
            assert_eq!(last(&kept), FileName::Greeting(greeting));
            assert_eq!(last(&take_of_greeting(aor, greeting)), FileName::Take);
        }
        for other in ["", ".wav", "a.wav", "1.wav.part", "1.gsm", "+1.wav"] {
            assert_eq!(FileName::of(other), FileName::Other, "{other}");
        }
    }

    /// No user's name leads out of the folder, nor two names into one.
    #[test]
    fn no_name_leads_astray() {
        for aor in [
            "../x@a",
            "a/b@c",
            "..@a",
            ".@a",
            "a\0b@c",
            "ñ@a",
            "+2F@a",
            ".hidden@a",
        ] {
            let folder = folder_of(aor);
            let parts: Vec<&str> = folder.split('/').collect();
            assert!(matches!(parts[..], ["voicemail", name] if !name.starts_with('.')));
        }
        assert_ne!(folder_of("a/b@c"), folder_of("a+2Fb@c"));
        let long = "n".repeat(300);
        let two = [format!("{long}@a"), format!("{long}@b")].map(|aor| folder_of(&aor));
        assert!(two[0] != two[1] && two[0].len() < 220);
    }
}
