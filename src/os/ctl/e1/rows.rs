//! What `voipctl e1` shows, for people and for programs.

use super::super::failure::Failure;
use super::super::output::Output;
use super::super::table::{Table, duration};
use crate::os::e1::abi;
use crate::os::e1::mode::{Backend, EventKind, Framing, Loop, alarm_words, word_or_number};
use serde::Serialize;
use std::fmt::Write;

/// What a verb has to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) json: String,
}

impl Said {
    pub(super) fn value(text: String, value: &impl Serialize) -> Result<Self, Failure> {
        let json = Output::value_text(value)?;
        Ok(Self { text, json })
    }

    pub(super) fn rows<T: Serialize>(text: String, rows: &[T]) -> Result<Self, Failure> {
        let json = Output::rows_text(rows)?;
        Ok(Self { text, json })
    }

    pub(super) fn done(message: String) -> Result<Self, Failure> {
        let value = serde_json::json!({ "message": message });
        Self::value(format!("{message}\n"), &value)
    }
}

/// A span's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct ConfigRow {
    pub(super) framing: String,
    pub(super) rx_depth: u16,
    pub(super) tx_depth: u16,
    pub(super) idle: u8,
    pub(super) sa: u8,
}

impl From<&abi::Config> for ConfigRow {
    fn from(c: &abi::Config) -> Self {
        let framing = Framing::from_number(c.framing).map(Framing::word);
        Self {
            framing: word_or_number(framing, c.framing),
            rx_depth: c.rx_depth,
            tx_depth: c.tx_depth,
            idle: c.idle,
            sa: c.sa,
        }
    }
}

/// A span.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct SpanRow {
    pub(super) span: u16,
    pub(super) backend: String,
    /// Of a pair.
    pub(super) peer: Option<u16>,
    pub(super) alarms: Vec<String>,
    /// Alarms that it sends.
    pub(super) sent: Vec<String>,
    pub(super) r#loop: String,
    /// /dev/e1/N is open.
    pub(super) open: bool,
    /// /dev/e1/N.line is open.
    pub(super) line_open: bool,
    pub(super) uptime_ms: u64,
    pub(super) rx_fill: u16,
    pub(super) tx_fill: u16,
    pub(super) sa_received: u8,
    pub(super) config: ConfigRow,
}

impl SpanRow {
    pub(super) fn new(span: u16, status: &abi::Status, config: &abi::Config) -> Self {
        let backend = Backend::from_number(status.backend).map(Backend::word);
        let kind = Loop::from_number(status.r#loop).map(Loop::word);
        Self {
            span,
            backend: word_or_number(backend, status.backend),
            peer: Some(status.peer).filter(|peer| *peer != abi::SPAN_ANY),
            alarms: alarm_words(status.alarms),
            sent: alarm_words(status.sent),
            r#loop: word_or_number(kind, status.r#loop),
            open: status.opened & 1 != 0,
            line_open: status.opened & 2 != 0,
            uptime_ms: status.uptime_ms,
            rx_fill: status.rx_fill,
            tx_fill: status.tx_fill,
            sa_received: status.sa,
            config: config.into(),
        }
    }

    fn users(&self) -> &'static str {
        match (self.open, self.line_open) {
            (false, false) => "nobody",
            (true, false) => "span",
            (false, true) => "line",
            (true, true) => "span, line",
        }
    }

    fn uptime(&self) -> String {
        duration(self.uptime_ms / 1000)
    }
}

fn alarms_text(words: &[String]) -> String {
    match words.is_empty() {
        true => "none".into(),
        false => words.join(" ").to_uppercase(),
    }
}

pub(super) fn list(rows: &[SpanRow]) -> Result<Said, Failure> {
    let mut table = Table::new(&[
        "SPAN", "BACKEND", "PEER", "FRAMING", "ALARMS", "LOOP", "OPEN", "UP",
    ]);
    for row in rows {
        table.row([
            row.span.to_string(),
            row.backend.clone(),
            row.peer.map_or("-".into(), |peer| peer.to_string()),
            row.config.framing.clone(),
            alarms_text(&row.alarms),
            row.r#loop.clone(),
            row.users().into(),
            row.uptime(),
        ]);
    }
    let nothing = "there are no spans; voipctl e1 create makes some";
    Said::rows(table.render(nothing), rows)
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<10} {value}");
}

pub(super) fn show(row: &SpanRow) -> Result<Said, Failure> {
    let mut text = String::new();
    let mut say = |name: &str, value: String| line(&mut text, name, &value);
    let backend = match row.peer {
        Some(peer) => format!("{}, crossed with span {peer}", row.backend),
        None => row.backend.clone(),
    };
    say("span", row.span.to_string());
    say("backend", backend);
    say("alarms", alarms_text(&row.alarms));
    say("sends", alarms_text(&row.sent));
    say("loop", row.r#loop.clone());
    say("open by", row.users().into());
    say("up", row.uptime());
    let (rx, tx) = (&row.config.rx_depth, &row.config.tx_depth);
    say("to read", format!("{} of {rx} units", row.rx_fill));
    say("to send", format!("{} of {tx} units", row.tx_fill));
    say("Sa heard", format!("{:#04x}", row.sa_received));
    text.push_str(&config_text(&row.config));
    Said::value(text, row)
}

fn config_text(row: &ConfigRow) -> String {
    let mut text = String::new();
    line(&mut text, "framing", &row.framing);
    line(&mut text, "rx depth", &row.rx_depth.to_string());
    line(&mut text, "tx depth", &row.tx_depth.to_string());
    line(&mut text, "idle", &format!("{:#04x}", row.idle));
    line(&mut text, "Sa sent", &format!("{:#04x}", row.sa));
    text
}

pub(super) fn config(row: &ConfigRow) -> Result<Said, Failure> {
    Said::value(config_text(row), row)
}

/// What was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct MadeRow {
    pub(super) span: u16,
    pub(super) peer: Option<u16>,
    pub(super) backend: String,
}

pub(super) fn made(row: &MadeRow) -> Result<Said, Failure> {
    let n = row.span;
    let text = match row.peer {
        Some(peer) => format!("made spans {n} and {peer}: /dev/e1/{n}, /dev/e1/{peer}\n"),
        None if row.backend == Backend::Line.word() => {
            format!("made span {n}: /dev/e1/{n}, its line /dev/e1/{n}.line\n")
        }
        None => format!("made span {n}: /dev/e1/{n}\n"),
    };
    Said::value(text, row)
}

/// Makes the row of counters with every name that the header has, and what people read.
macro_rules! counters {
    ($($field:ident: $about:literal,)*) => {
        /// What a span counted.
        #[derive(Clone, PartialEq, Eq, Debug, Serialize)]
        pub(super) struct CountersRow {
            pub(super) span: u16,
            $(pub(super) $field: u64,)*
        }

        impl CountersRow {
            pub(super) fn new(span: u16, c: &abi::Counters) -> Self {
                Self { span, $($field: c.$field,)* }
            }

            fn named(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$((stringify!($field), self.$field, $about),)*]
            }
        }
    };
}

counters! {
    rx_units: "milliseconds from the line",
    tx_units: "milliseconds to the line",
    fas: "wrong frame alignment words",
    crc: "CRC-4 blocks received wrong",
    ebit: "CRC-4 blocks that the far end received wrong",
    code: "violations of the line code",
    slip_rx_delete: "milliseconds lost: the reader was late",
    slip_rx_repeat: "milliseconds repeated: the line was late",
    slip_tx_idle: "milliseconds of idle sent: the writer was late",
    los: "times that the signal was lost",
    ais: "times that all ones came",
    rai: "times that the far end did not hear",
    lfa: "times that frame alignment was lost",
    lmfa: "times that multiframe alignment was lost",
    clock_skip_ms: "milliseconds that the clock left out",
    net_rx: "TDMoE frames received",
    net_tx: "TDMoE frames sent",
    net_bad: "TDMoE frames of a wrong form",
    net_lost: "TDMoE frames missing",
    net_late: "TDMoE frames out of order",
    net_tx_fail: "TDMoE frames not sent, or units that the line's program did not read",
}

pub(super) fn counters(row: &CountersRow) -> Result<Said, Failure> {
    let mut table = Table::new(&["COUNTER", "COUNT", "MEANS"]);
    for (name, count, about) in row.named() {
        table.row([name.into(), count.to_string(), about.into()]);
    }
    Said::value(table.render(""), row)
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct EventRow {
    /// Since the machine started.
    pub(super) time_ns: u64,
    pub(super) span: u16,
    pub(super) event: String,
    pub(super) alarms: Vec<String>,
    /// Of `alarm`: those that changed.
    pub(super) changed: Vec<String>,
    pub(super) value: u32,
    /// Events that were lost just before.
    pub(super) lost: u32,
}

impl From<&abi::Event> for EventRow {
    fn from(e: &abi::Event) -> Self {
        let kind = EventKind::from_number(e.r#type);
        let changed = match kind {
            Some(EventKind::Alarm) => alarm_words(e.value),
            Some(_) | None => Vec::new(),
        };
        Self {
            time_ns: e.time_ns,
            span: e.span,
            event: word_or_number(kind.map(EventKind::word), e.r#type),
            alarms: alarm_words(e.alarms),
            changed,
            value: e.value,
            lost: e.lost,
        }
    }
}

/// One line, in JSON too.
pub(super) fn event(event: &abi::Event) -> Result<Said, Failure> {
    let row = EventRow::from(event);
    let mut text = String::new();
    if row.lost > 0 {
        let _ = writeln!(text, "{} events were lost", row.lost);
    }
    let what = match EventKind::from_number(event.r#type) {
        Some(EventKind::Alarm) => format!("alarms: {}", alarms_text(&row.alarms)),
        Some(EventKind::Slip) => format!("slips: {} ms lost or repeated", row.value),
        Some(EventKind::Create) => {
            let backend = Backend::from_number(row.value).map(Backend::word);
            format!("made: {}", word_or_number(backend, row.value))
        }
        Some(EventKind::Destroy) => "removed".into(),
        Some(EventKind::Clock) => format!("clock: {} ms left out", row.value),
        None => format!("event {} ({})", row.event, row.value),
    };
    let (s, ms) = (row.time_ns / 1_000_000_000, row.time_ns / 1_000_000 % 1_000);
    let _ = writeln!(text, "{s}.{ms:03} span {} {what}", row.span);
    let json = Output::line_text(&row)?;
    Ok(Said { text, json })
}
