//! How participants hear each other, by the sources (RFC 3550 §3) that they send as: `SSRC` in the
//! replies to `query` and `delete`, in the units of rtpengine: tenths of a mean opinion score,
//! milliseconds of jitter, percent of loss.
//!
//! The entry of a source says how the participant behind it hears: in the words of its reports
//! (RFC 3550 §6.4) where it sends such, else by what came to us for it, of which there is one
//! sample alone. The score is that of the E-model, see [`Heard::score`].
//!
//! `MOS progression` shows at most some twenty reports of the whole time, as far apart as
//! `interval` says, in seconds. Round trips are in microseconds: `round-trip time leg` between us
//! and the participant, `round-trip time` between it and the other one; zero where its reports do
//! not let them be known.

use super::stats::Row;
use crate::base::{Anchor, Instant};
use crate::relay::{Heard, Hears, RoundTrip, StreamStats};
use crate::wire::bencode::{Dictionary, Value};
use std::time::Duration;

/// The entries of a participant's sources; `streams` are its figures and those of whom it hears;
/// `whole`: with how it went.
pub(super) fn sources(
    rows: &[Row],
    streams: &[[StreamStats; 2]],
    when: (Instant, &Anchor),
    whole: bool,
) -> Dictionary {
    let mut out = Dictionary::new();
    for row in rows {
        let Some([own, other]) = streams.get(row.stream) else {
            continue;
        };
        let (Some(ssrc), Some(hears)) = (own.ssrc, heard(own, other)) else {
            continue;
        };
        let codec = row.codec.as_deref().unwrap_or_default();
        if let Some(entry) = entry(codec, &hears, when, whole) {
            out.add(ssrc.to_string(), entry);
        }
    }
    out
}

/// What a participant says of how it hears, or what came for it.
fn heard(own: &StreamStats, other: &StreamStats) -> Option<Hears> {
    if own.hears.reports > 0 {
        return Some(own.hears.clone());
    }
    if other.packets_in == 0 {
        return None;
    }
    let fraction = 256 * other.lost / (other.packets_in + other.lost);
    let fraction = u8::try_from(fraction).unwrap_or(u8::MAX);
    let sample = Heard {
        fraction,
        jitter_us: other.jitter_us,
        round_trip: RoundTrip::default(),
        ago: Duration::ZERO,
    };
    Some(Hears {
        reports: 1,
        fractions: u64::from(fraction),
        jitter_us: u64::from(other.jitter_us),
        lost: i32::try_from(other.lost).unwrap_or(i32::MAX),
        extremes: Some([sample; 2]),
        ..Hears::default()
    })
}

fn entry(
    codec: &str,
    hears: &Hears,
    (now, anchor): (Instant, &Anchor),
    whole: bool,
) -> Option<Dictionary> {
    let [worst, best] = hears.extremes?;
    let one = |heard: &Heard| {
        let mut out = figures_of(score(codec, heard), heard);
        out.add("reported at", anchor.unix_seconds(now - heard.ago));
        out
    };
    let mean = mean(hears);
    // That of the means; between the extremes, as the mean of all would be.
    let (low, high) = (score(codec, &worst), score(codec, &best));
    let score = score(codec, &mean).clamp(low.min(high), high.max(low));
    let mut average = figures_of(score, &mean);
    average.add("samples", u64::from(hears.reports));
    let mut out = Dictionary::new();
    out.add("cumulative loss", i64::from(hears.lost))
        .add("average MOS", average)
        .add("lowest MOS", one(&worst))
        .add("highest MOS", one(&best));
    let both = hears.progression.first().zip(hears.progression.last());
    if let Some((first, last)) = both.filter(|_| whole) {
        let between = hears.progression.len().saturating_sub(1).max(1);
        let span = first.ago.saturating_sub(last.ago).as_secs();
        let entries = hears.progression.iter().map(|heard| one(heard).into());
        let mut progression = Dictionary::new();
        progression
            .add("interval", span / between as u64)
            .add("entries", entries.collect::<Vec<Value>>());
        out.add("MOS progression", progression);
    }
    Some(out)
}

/// As if it were one report.
fn mean(hears: &Hears) -> Heard {
    let reports = u64::from(hears.reports).max(1);
    let [leg_us, whole_us] = [hears.legs, hears.wholes].map(|m| m.mean_us() as u32);
    Heard {
        fraction: u8::try_from(hears.fractions / reports).unwrap_or(u8::MAX),
        jitter_us: u32::try_from(hears.jitter_us / reports).unwrap_or(u32::MAX),
        round_trip: RoundTrip { leg_us, whole_us },
        ago: Duration::ZERO,
    }
}

/// In tenths.
fn score(codec: &str, heard: &Heard) -> u64 {
    // To the next tenth below, as rtpengine has it; a hundredth is not lost on the way.
    (heard.score(codec) * 100.0).round() as u64 / 10
}

fn figures_of(score: u64, heard: &Heard) -> Dictionary {
    let mut out = Dictionary::new();
    out.add("MOS", score)
        .add("round-trip time", u64::from(heard.round_trip.whole_us))
        .add("round-trip time leg", u64::from(heard.round_trip.leg_us))
        .add("jitter", u64::from(heard.jitter_us) / 1000)
        .add("packet loss", u64::from(heard.fraction) * 100 / 256);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Mean;

    fn number(entry: &Dictionary, path: [&str; 2]) -> i64 {
        let Some(Value::Dictionary(inner)) = entry.get(path[0].as_bytes()) else {
            panic!("{path:?} {entry:?}")
        };
        inner
            .get(path[1].as_bytes())
            .and_then(Value::as_integer)
            .unwrap()
    }

    fn of(own: StreamStats, other: StreamStats) -> Option<Dictionary> {
        let hears = heard(&own, &other)?;
        let anchor = Anchor {
            instant: Instant::ZERO,
            unix_ms: 1_700_000_000_000,
        };
        entry(
            "PCMU",
            &hears,
            (Instant::from_millis(60_000), &anchor),
            true,
        )
    }

    #[test]
    fn reports_count_more_than_what_came_to_us() {
        let heard = |fraction, jitter_us, seconds| Heard {
            fraction,
            jitter_us,
            round_trip: RoundTrip {
                leg_us: 20_000,
                whole_us: 1000 * u32::from(fraction),
            },
            ago: Duration::from_secs(seconds),
        };
        let own = StreamStats {
            hears: Hears {
                reports: 4,
                fractions: 64 + 32,
                jitter_us: 4000 + 8000,
                lost: -2,
                extremes: Some([heard(64, 8000, 20), heard(0, 1500, 10)]),
                legs: Mean {
                    sum_us: 60_000,
                    count: 3,
                },
                wholes: Mean {
                    sum_us: 64_000,
                    count: 1,
                },
                progression: vec![heard(32, 0, 30), heard(64, 8000, 20), heard(0, 1500, 10)],
            },
            ..StreamStats::default()
        };
        let other = StreamStats {
            packets_in: 100,
            lost: 100,
            ..StreamStats::default()
        };
        let entry = of(own, other.clone()).unwrap();
        assert_eq!(
            entry.get(b"cumulative loss").and_then(Value::as_integer),
            Some(-2)
        );
        let at = |kind, what| number(&entry, [kind, what]);
        assert_eq!(at("lowest MOS", "packet loss"), 25);
        assert_eq!(at("lowest MOS", "jitter"), 8);
        assert_eq!(at("lowest MOS", "reported at"), 1_700_000_040);
        assert_eq!(at("highest MOS", "packet loss"), 0);
        assert_eq!(at("highest MOS", "jitter"), 1);
        assert_eq!(at("average MOS", "packet loss"), 9);
        assert_eq!(at("average MOS", "jitter"), 3);
        assert_eq!(at("average MOS", "samples"), 4);
        let scores = ["lowest MOS", "average MOS", "highest MOS"].map(|kind| at(kind, "MOS"));
        assert!(scores.is_sorted() && scores[0] < scores[2], "{scores:?}");
        assert_eq!(scores[2], 44);
        let trips = ["lowest MOS", "average MOS", "highest MOS"]
            .map(|kind| (at(kind, "round-trip time"), at(kind, "round-trip time leg")));
        assert_eq!(trips, [(64_000, 20_000), (64_000, 20_000), (0, 20_000)]);
        assert_eq!(at("MOS progression", "interval"), 10);
        let Some(Value::Dictionary(progression)) = entry.get(b"MOS progression") else {
            panic!("{entry:?}")
        };
        let Some(Value::List(entries)) = progression.get(b"entries") else {
            panic!("{progression:?}")
        };
        let each = entries.iter().map(|entry| match entry {
            Value::Dictionary(one) => {
                let number = |key: &[u8]| one.get(key).and_then(Value::as_integer).unwrap();
                (number(b"reported at"), number(b"packet loss"))
            }
            other => panic!("{other:?}"),
        });
        let start = 1_700_000_030;
        let expected = [(start, 12), (start + 10, 25), (start + 20, 0)];
        assert_eq!(each.collect::<Vec<_>>(), expected);
        // Who says nothing hears what came for it.
        let silent = of(StreamStats::default(), other).unwrap();
        assert_eq!(number(&silent, ["average MOS", "packet loss"]), 50);
        assert_eq!(number(&silent, ["average MOS", "samples"]), 1);
        assert_eq!(
            number(&silent, ["lowest MOS", "reported at"]),
            1_700_000_060
        );
        assert_eq!(of(StreamStats::default(), StreamStats::default()), None);
    }
}
