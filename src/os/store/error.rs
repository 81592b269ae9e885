//! What goes wrong with a database, in words that name the remedy.

use rusqlite::ErrorCode;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why the database cannot be opened, read or written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreError {
    /// The database file.
    pub file: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
    /// Whether waiting may help: the records are kept, and written later.
    pub passing: bool,
}

impl StoreError {
    pub(super) fn new(
        file: &Path,
        problem: impl Into<String>,
        remedy: impl Into<String>,
        passing: bool,
    ) -> Self {
        Self {
            file: file.to_path_buf(),
            problem: problem.into(),
            remedy: remedy.into(),
            passing,
        }
    }

    /// Puts what the journal of refreshes met into words.
    pub(super) fn from_journal(file: &Path, error: &std::io::Error) -> Self {
        let dir = file.parent().unwrap_or(Path::new(".")).display();
        match error.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => Self::new(
                file,
                "the disk is full",
                format!("make room on the file system of {dir}; nothing has to be restarted"),
                true,
            ),
            _ => Self::new(
                file,
                format!("the journal of refreshes fails ({error})"),
                format!("let the user of voipd own {dir} and what is inside; see the kernel's log"),
                true,
            ),
        }
    }

    /// Puts SQLite's answer into words.
    pub(super) fn from_sqlite(file: &Path, error: &rusqlite::Error) -> Self {
        let shown = file.display();
        let dir = file.parent().unwrap_or(Path::new(".")).display();
        let code = error.sqlite_error_code();
        let (problem, remedy, passing) = match code {
            Some(ErrorCode::DiskFull) => (
                "the disk is full".to_string(),
                format!("make room on the file system of {dir}; nothing has to be restarted"),
                true,
            ),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
                format!("the database is damaged ({error})"),
                recovery(file),
                false,
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
                "another program keeps the database locked".to_string(),
                format!("see who holds it: fuser {shown} (FreeBSD: fstat {shown})"),
                true,
            ),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => (
                format!("the database cannot be opened for writing ({error})"),
                format!("let the user of voipd own {dir} and what is inside"),
                true,
            ),
            Some(ErrorCode::SystemIoFailure) => (
                format!("the disk fails or is full ({error})"),
                format!("look at the free space of {dir} and into the kernel's log"),
                true,
            ),
            _ => (
                format!("the database does not answer as it should ({error})"),
                "restart voipd; if it stays, report it with this line".to_string(),
                true,
            ),
        };
        Self::new(file, problem, remedy, passing)
    }
}

/// The commands that save what can be read of a damaged database.
pub(super) fn recovery(file: &Path) -> String {
    let file = file.display();
    format!(
        "stop voipd, then save what can be read: mv {file} {file}.bad && sqlite3 {file}.bad \
         .recover | sqlite3 {file}; or put a backup in its place"
    )
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (problem, remedy) = (&self.problem, &self.remedy);
        write!(f, "{}: {problem}; {remedy}", self.file.display())
    }
}

impl std::error::Error for StoreError {}
