//! The names of formats: `a=rtpmap`, else the static payload types of RFC 3551 §6.

use super::{Media, number, split};
use crate::wire::rtp::clock_rate;

/// Static payload types (RFC 3551 tables 4 and 5).
const STATIC: [(u16, &str); 24] = [
    (0, "PCMU"),
    (3, "GSM"),
    (4, "G723"),
    (5, "DVI4"),
    (6, "DVI4"),
    (7, "LPC"),
    (8, "PCMA"),
    (9, "G722"),
    (10, "L16"),
    (11, "L16"),
    (12, "QCELP"),
    (13, "CN"),
    (14, "MPA"),
    (15, "G728"),
    (16, "DVI4"),
    (17, "DVI4"),
    (18, "G729"),
    (25, "CelB"),
    (26, "JPEG"),
    (28, "nv"),
    (31, "H261"),
    (32, "MPV"),
    (33, "MP2T"),
    (34, "H263"),
];

impl<'a> Media<'a> {
    /// The names of the formats in order of preference, as `a=rtpmap` spells them; a format that
    /// nothing names appears as it stands on the `m=` line. Odd bytes become U+FFFD.
    pub fn codecs(&self) -> impl Iterator<Item = String> {
        self.formats
            .split(|b| *b == b' ')
            .filter(|format| !format.is_empty())
            .map(|format| self.codec(format))
    }

    /// The clock of the first format in Hz, as `a=rtpmap` or RFC 3551 §6 says.
    pub fn clock_rate(&self) -> Option<u32> {
        let first = self.formats.split(|b| *b == b' ').next()?;
        let mapped = self.attributes("rtpmap").find_map(|value| {
            let (payload_type, encoding) = split(value, b' ');
            let (_name, clock) = split(encoding.trim_ascii(), b'/');
            let (clock, _channels) = split(clock, b'/');
            let clock = std::str::from_utf8(clock).ok()?.parse().ok()?;
            (payload_type == first).then_some(clock)
        });
        let payload_type = number(first).and_then(|n| u8::try_from(n).ok())?;
        mapped.or((payload_type < 96).then(|| clock_rate(payload_type)))
    }

    fn codec(&self, format: &[u8]) -> String {
        if !self.is_rtp() {
            return String::from_utf8_lossy(format).into_owned();
        }
        let mapped = self.attributes("rtpmap").find_map(|value| {
            let (payload_type, encoding) = split(value, b' ');
            let (name, _clock) = split(encoding.trim_ascii(), b'/');
            (payload_type == format && !name.is_empty()).then_some(name)
        });
        if let Some(name) = mapped {
            return String::from_utf8_lossy(name).into_owned();
        }
        let known = number(format).and_then(|n| STATIC.iter().find(|(pt, _)| *pt == n));
        match known {
            Some((_, name)) => (*name).to_owned(),
            None => String::from_utf8_lossy(format).into_owned(),
        }
    }
}
