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

    /// One object.
    pub(super) fn value(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value);
        let text = text.map_err(|e| Failure::new(exit::SOFTWARE, e.to_string()))?;
        self.text(&format!("{text}\n"))
    }

    /// A list, one row per line.
    pub(super) fn rows<T: Serialize>(self, rows: &[T]) -> Result<(), Failure> {
        let mut text = String::from("[");
        for (i, row) in rows.iter().enumerate() {
            let row = serde_json::to_string(row);
            let row = row.map_err(|e| Failure::new(exit::SOFTWARE, e.to_string()))?;
            text.push_str(if i == 0 { "\n" } else { ",\n" });
            text.push_str(&row);
        }
        text.push_str(if rows.is_empty() { "]\n" } else { "\n]\n" });
        self.text(&text)
    }
}
