//! What a forwarded request tells of its way: History-Info (RFC 7044) and Diversion (RFC 5806),
//! kept in step as RFC 7544 maps one to the other.
//!
//! Not done here: leaving them out toward peers that must not know, which is for whoever sends.

use super::Why;
use super::decide::bare;
use crate::wire::sip::{HeaderName, Message, NameAddr};

/// Entries of either header that are read and passed on: as many as forwardings make that a call
/// may have, and those of the hops between them.
const ENTRIES_MAX: usize = 32;

/// A counter of a peer's that says more than this says nonsense.
const COUNTER_MAX: u32 = 1000;

impl Why {
    /// `diversion-reason` (RFC 5806 §6).
    pub fn diversion(self) -> &'static str {
        match self {
            Why::Always => "unconditional",
            Why::Busy => "user-busy",
            Why::NoAnswer => "no-answer",
            Why::Unregistered => "unavailable",
            Why::Deflected => "deflection",
        }
    }

    /// The `cause` parameter of the URI to which it goes (RFC 4458 §2, RFC 7544 §5).
    pub fn cause(self) -> u16 {
        match self {
            Why::Always => 302,
            Why::Busy => 486,
            Why::NoAnswer => 408,
            Why::Unregistered => 503,
            Why::Deflected => 480,
        }
    }
}

/// Causes that RFC 4458 §2 gives for a call that was sent elsewhere.
const CAUSES: [&[u8]; 7] = [b"302", b"404", b"408", b"480", b"486", b"487", b"503"];

/// The Diversion headers of a request, the last one to divert first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diversions {
    values: Vec<String>,
    count: u32,
}

impl Diversions {
    /// Those of a request. What cannot be read is left out.
    pub fn of(request: &Message) -> Self {
        let mut found = Self::default();
        for value in request.values(HeaderName::Diversion).take(ENTRIES_MAX) {
            let Ok(entry) = NameAddr::parse(value) else {
                continue;
            };
            // RFC 5806 §6: an entry stands for as many diversions as its counter says.
            let counter = entry.param("counter").flatten().and_then(decimal);
            found.count += counter.unwrap_or(1).clamp(1, COUNTER_MAX);
            found.values.push(text(value));
        }
        found
    }

    /// How many diversions they tell of.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The user `name@domain` diverts.
    pub fn divert(&mut self, aor: &str, why: Why) {
        let value = format!(
            "<sip:{aor}>;reason={};counter=1;privacy=off",
            why.diversion()
        );
        self.values.insert(0, value);
        self.values.truncate(ENTRIES_MAX);
        self.count = self.count.saturating_add(1);
    }

    /// The values of the headers, one for each line, in order.
    pub fn values(&self) -> &[String] {
        &self.values
    }
}

/// One hi-entry.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    /// As it goes on the wire.
    value: String,
    /// Where it says the request went, `user@host`.
    target: String,
    index: String,
    /// Whether it says that a call was sent elsewhere.
    diverted: bool,
}

/// The History-Info headers of a request, the oldest entry first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    entries: Vec<Entry>,
}

impl History {
    /// Those of a request. Entries without an index, which must have one, are left out.
    pub fn of(request: &Message) -> Self {
        Self::of_values(request.values(HeaderName::HistoryInfo))
    }

    /// Of the headers' values, the oldest first.
    pub fn of_values<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let entry = |value| {
            let entry = NameAddr::parse(value).ok()?;
            let index = entry.param("index").flatten().filter(|i| is_index(i))?;
            let uri = entry.uri().ok();
            let cause = uri.and_then(|uri| uri.param("cause").flatten());
            Some(Entry {
                value: text(value),
                target: bare(&text(entry.uri_bytes())).into(),
                index: text(index),
                diverted: cause.is_some_and(|cause| CAUSES.contains(&cause)),
            })
        };
        Self {
            entries: values.take(ENTRIES_MAX).filter_map(entry).collect(),
        }
    }

    /// How many times they say that the call was sent elsewhere: RFC 7544 §5 counts the causes.
    pub fn diverted(&self) -> usize {
        self.entries.iter().filter(|e| e.diverted).count()
    }

    /// The request comes with `uri` as its Request-URI. Where the last entry does not tell of it,
    /// it gets one (RFC 7044 §9.1): the first of all, or one whose index ends in zero, which says
    /// that a hop before us wrote none (§10.3).
    pub fn arrive(&mut self, uri: &str) {
        match self.entries.last() {
            None => self.push(uri, "", "1".into(), "", false),
            Some(last) if same(&last.target, bare(uri)) => {}
            Some(last) => {
                let index = format!("{}.0", last.index);
                self.push(uri, "", index, "", false);
            }
        }
    }

    /// The request goes on to `uri`, on behalf of the user who was the last target: one level
    /// deeper than the last entry (RFC 7044 §10.3), marked `mp` with that entry's index (§10.4).
    pub fn divert(&mut self, uri: &str, why: Why) {
        let parent = self.entries.last().map_or("1", |last| &last.index);
        let (index, mp) = (format!("{parent}.1"), format!(";mp={parent}"));
        let cause = format!(";cause={}", why.cause());
        self.push(uri, &cause, index, &mp, true);
    }

    /// The request goes to `uri`, who picks up the call of the user who was the last target. That
    /// user sent it nowhere: there is no cause, and it is no diversion.
    pub fn pick_up(&mut self, uri: &str) {
        let parent = self.entries.last().map_or("1", |last| &last.index);
        let (index, mp) = (format!("{parent}.1"), format!(";mp={parent}"));
        self.push(uri, "", index, &mp, false);
    }

    fn push(&mut self, uri: &str, parameter: &str, index: String, behind: &str, diverted: bool) {
        if self.entries.len() >= ENTRIES_MAX {
            return;
        }
        // Parameters stand before the headers that a URI may carry.
        let (front, headers) = uri.split_at(uri.find('?').unwrap_or(uri.len()));
        let value = format!("<{front}{parameter}{headers}>;index={index}{behind}");
        self.entries.push(Entry {
            value,
            target: bare(uri).into(),
            index,
            diverted,
        });
    }

    /// The values of the headers, one for each line, in order.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.value)
    }
}

/// Whether two `user@host` mean one target. Parameters of their URIs do not count: `cause` and
/// `Reason` are ours or another's marks on it.
fn same(a: &str, b: &str) -> bool {
    match (a.rsplit_once('@'), b.rsplit_once('@')) {
        (Some((a, host_a)), Some((b, host_b))) => a == b && host_a.eq_ignore_ascii_case(host_b),
        (None, None) => a.eq_ignore_ascii_case(b),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// `1*DIGIT *(DOT 1*DIGIT)`, of a length that is no nonsense.
fn is_index(text: &[u8]) -> bool {
    text.len() <= 4 * ENTRIES_MAX
        && text
            .split(|b| *b == b'.')
            .all(|level| !level.is_empty() && level.iter().all(u8::is_ascii_digit))
}

fn decimal(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Folded lines are joined; the bytes of a header are text nearly always.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(&crate::wire::sip::unfold(value)).into_owned()
}
