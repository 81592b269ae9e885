//! How `voipctl` fails: a sentence on standard error and an exit code of sysexits(3).

use super::super::control::ClientError;
use super::super::settings::SettingsError;
use super::super::store::StoreError;
use crate::control::{self, Reply};
use std::io;

/// Exit codes of sysexits(3).
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// What the user gave is wrong.
    pub const DATAERR: u8 = 65;
    /// A file to be read is not there.
    pub const NOINPUT: u8 = 66;
    /// No such user.
    pub const NOUSER: u8 = 67;
    /// No such host.
    pub const NOHOST: u8 = 68;
    /// The service does not run.
    pub const UNAVAILABLE: u8 = 69;
    /// A fault of ours.
    pub const SOFTWARE: u8 = 70;
    /// The system refuses something that it should not.
    pub const OSERR: u8 = 71;
    /// A file cannot be made.
    pub const CANTCREAT: u8 = 73;
    /// Reading or writing failed.
    pub const IOERR: u8 = 74;
    /// Try again later.
    pub const TEMPFAIL: u8 = 75;
    /// The peer misbehaved.
    pub const PROTOCOL: u8 = 76;
    /// Not permitted.
    pub const NOPERM: u8 = 77;
    /// The configuration has mistakes.
    pub const CONFIG: u8 = 78;
}

/// What is said, and the exit code. An empty text: it was said already.
#[derive(Debug)]
pub struct Failure {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(code: u8, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// Of a reply that is no answer to the question.
    pub(super) fn unexpected(reply: &Reply) -> Self {
        let text = format!("voipd answered something else than was asked: {reply:?}");
        let short = text.chars().take(300).collect::<String>();
        Self::new(exit::PROTOCOL, short)
    }

    /// Of a reply that says no.
    pub(super) fn refused(kind: control::Failure, problem: &str, remedy: &str) -> Self {
        let code = match kind {
            control::Failure::NotFound
            | control::Failure::Exists
            | control::Failure::BadCommand => exit::DATAERR,
            control::Failure::BadConfig => exit::CONFIG,
            control::Failure::Full | control::Failure::Unavailable => exit::TEMPFAIL,
            control::Failure::Store => exit::IOERR,
        };
        let text = if remedy.is_empty() {
            problem.to_string()
        } else {
            format!("{problem}; {remedy}")
        };
        Self::new(code, text)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::NotRunning(_) => exit::UNAVAILABLE,
            ClientError::Forbidden(_) => exit::NOPERM,
            ClientError::Broken(_) => exit::IOERR,
            ClientError::NotUnderstood(_) => exit::PROTOCOL,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        match &error {
            SettingsError::Unreadable(_, e) => {
                let code = match e.kind() {
                    io::ErrorKind::PermissionDenied => exit::NOPERM,
                    _ => exit::NOINPUT,
                };
                Self::new(code, error.to_string())
            }
            SettingsError::Mistakes(mistakes) => {
                let count = mistakes.0.len();
                let s = if count == 1 { "" } else { "s" };
                Self::new(exit::CONFIG, format!("{count} mistake{s}\n{mistakes}"))
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = if error.passing {
            exit::TEMPFAIL
        } else {
            exit::IOERR
        };
        Self::new(code, error.to_string())
    }
}
