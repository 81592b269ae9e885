//! What the operator reads: `tracing` events on standard error, or in syslog once we are detached.
//! The level changes while the daemon runs.

use crate::config::LogLevel;
use std::io::{self, Write};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// Changes the level.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Where events go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Standard error, with times and, on a terminal, colours.
    StandardError,
    /// syslog(3), which adds times by itself.
    Syslog,
}

/// Our own events from `level` on; of the libraries below us only what may need the operator.
fn filter(level: LogLevel) -> EnvFilter {
    let library = match level {
        LogLevel::Error => "error",
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug => "warn",
        LogLevel::Trace => "debug",
    };
    EnvFilter::new(format!(
        "{library},voip={level},voipd={level}",
        level = level.as_str()
    ))
}

impl Log {
    /// Starts logging, once per process; a second start leaves the first in force.
    pub fn start(target: Target, level: LogLevel) -> Self {
        let (filter, handle) = reload::Layer::new(filter(level));
        let registry = tracing_subscriber::registry().with(filter);
        let _ = match target {
            Target::StandardError => {
                let colours = io::IsTerminal::is_terminal(&io::stderr());
                let lines = fmt::layer()
                    .with_writer(io::stderr)
                    .with_ansi(colours)
                    .with_target(false);
                registry.with(lines).try_init()
            }
            Target::Syslog => {
                // Standard error is /dev/null there.
                std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
                let lines = fmt::layer()
                    .with_writer(Syslog)
                    .with_ansi(false)
                    .with_target(false)
                    .with_level(false)
                    .without_time();
                registry.with(lines).try_init()
            }
        };
        Self { filter: handle }
    }

    /// Logs from `level` on.
    pub fn set(&self, level: LogLevel) {
        if self.filter.reload(filter(level)).is_err() {
            tracing::error!("the log's level cannot be changed any more");
        }
    }
}

/// Makes a line for each event.
#[derive(Clone, Copy, Debug)]
struct Syslog;

/// Gathers one event and hands it over at its end.
#[derive(Debug)]
struct Line {
    priority: libc::c_int,
    text: Vec<u8>,
}

impl MakeWriter<'_> for Syslog {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line {
            priority: libc::LOG_INFO,
            text: Vec::new(),
        }
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> Line {
        let priority = match *meta.level() {
            Level::ERROR => libc::LOG_ERR,
            Level::WARN => libc::LOG_WARNING,
            Level::INFO => libc::LOG_INFO,
            _ => libc::LOG_DEBUG,
        };
        Line {
            priority,
            text: Vec::new(),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        super::sys::syslog(self.priority, self.text.trim_ascii());
    }
}
