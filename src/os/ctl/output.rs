//! Standard output, for people or for programs.

use super::failure::{Failure, exit};
use serde::Serialize;
use std::io::{self, Write};

/// Which of the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Prints text. A reader that went away (`| head`) is no failure.
    pub(super) fn text(self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(exit::IOERR, format!("standard output: {e}")))
            }
            _ => Ok(()),
        }
    }

    /// A sentence, or an object with it.
    pub(super) fn done(self, message: &str) -> Result<(), Failure> {
        if self.json {
            self.value(&serde_json::json!({ "message": message }))
        } else {
            self.text(&format!("{message}\n"))
        }
    }

    /// Text that is one of many; false when its reader went away.
    pub(super) fn while_read(self, text: &str) -> Result<bool, Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(e) => Err(Failure::new(exit::IOERR, format!("standard output: {e}"))),
        }
    }

    /// One object.
    pub(super) fn value(self, value: &impl Serialize) -> Result<(), Failure> {
        self.text(&Self::value_text(value)?)
    }

    /// A list, one row per line.
    pub(super) fn rows<T: Serialize>(self, rows: &[T]) -> Result<(), Failure> {
        self.text(&Self::rows_text(rows)?)
    }

    /// One object as text.
    pub(super) fn value_text(value: &impl Serialize) -> Result<String, Failure> {
        let text = serde_json::to_string_pretty(value);
        let text = text.map_err(|e| Failure::new(exit::SOFTWARE, e.to_string()))?;
        Ok(format!("{text}\n"))
    }

    /// One object in one line.
    pub(super) fn line_text(value: &impl Serialize) -> Result<String, Failure> {
        let text = serde_json::to_string(value);
        let text = text.map_err(|e| Failure::new(exit::SOFTWARE, e.to_string()))?;
        Ok(format!("{text}\n"))
    }

    /// A list as text.
    pub(super) fn rows_text<T: Serialize>(rows: &[T]) -> Result<String, Failure> {
        let mut text = String::from("[");
        for (i, row) in rows.iter().enumerate() {
            let row = serde_json::to_string(row);
            let row = row.map_err(|e| Failure::new(exit::SOFTWARE, e.to_string()))?;
            text.push_str(if i == 0 { "\n" } else { ",\n" });
            text.push_str(&row);
        }
        text.push_str(if rows.is_empty() { "]\n" } else { "\n]\n" });
        Ok(text)
    }
}
