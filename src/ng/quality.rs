//! How participants hear each other, by the sources (RFC 3550 §3) that they send as: `SSRC` in the
//! replies to `query` and `delete`, in the units of rtpengine: tenths of a mean opinion score,
//! milliseconds of jitter, percent of loss.
//!
//! The entry of a source says how the participant behind it hears: in the words of its reports
//! (RFC 3550 §6.4) where it sends such, else by what came to us for it, of which there is one
//! sample alone. The score is that of the E-model, see [`mean_opinion_score`].
//!
//! Not known here: round-trip times, which are zero, and how the score changed in between.

use super::stats::Row;
use crate::base::{Anchor, Instant};
use crate::relay::{Heard, Hears, StreamStats, mean_opinion_score};
use crate::wire::bencode::Dictionary;
use std::time::Duration;

/// The entries of a participant's sources; `streams` are its figures and those of whom it hears.
pub(super) fn sources(
    rows: &[Row],
    streams: &[[StreamStats; 2]],
    when: (Instant, &Anchor),
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
        if let Some(entry) = entry(codec, &hears, when) {
            out.add(ssrc.to_string(), entry);
        }
    }
    out
}

/// What a participant says of how it hears, or what came for it.
fn heard(own: &StreamStats, other: &StreamStats) -> Option<Hears> {
    if own.hears.reports > 0 {
        return Some(own.hears);
    }
    if other.packets_in == 0 {
        return None;
    }
    let fraction = 256 * other.lost / (other.packets_in + other.lost);
    let fraction = u8::try_from(fraction).unwrap_or(u8::MAX);
    let sample = Heard {
        fraction,
        jitter_us: other.jitter_us,
        ago: Duration::ZERO,
    };
    Some(Hears {
        reports: 1,
        fractions: u64::from(fraction),
        jitter_us: u64::from(other.jitter_us),
        lost: i32::try_from(other.lost).unwrap_or(i32::MAX),
        extremes: Some([sample; 2]),
    })
}

fn entry(codec: &str, hears: &Hears, (now, anchor): (Instant, &Anchor)) -> Option<Dictionary> {
    let [worst, best] = hears.extremes?;
    let reports = u64::from(hears.reports);
    let one = |heard: &Heard| {
        let figures = (u64::from(heard.fraction), u64::from(heard.jitter_us));
        let mut out = figures_of(score(codec, figures), figures);
        out.add("reported at", anchor.unix_seconds(now - heard.ago));
        out
    };
    let score_of = |heard: &Heard| {
        score(
            codec,
            (u64::from(heard.fraction), u64::from(heard.jitter_us)),
        )
    };
    let mean = (hears.fractions / reports, hears.jitter_us / reports);
    // That of the means; between the extremes, as the mean of all would be.
    let (low, high) = (score_of(&worst), score_of(&best));
    let score = score(codec, mean).clamp(low.min(high), high.max(low));
    let mut average = figures_of(score, mean);
    average.add("samples", reports);
    let mut out = Dictionary::new();
    out.add("cumulative loss", i64::from(hears.lost))
        .add("average MOS", average)
        .add("lowest MOS", one(&worst))
        .add("highest MOS", one(&best));
    Some(out)
}

/// In tenths, of 256ths lost and microseconds of jitter.
fn score(codec: &str, (fraction, jitter_us): (u64, u64)) -> u64 {
    let lost = fraction.min(255);
    let score = mean_opinion_score(codec, 256 - lost, lost, jitter_us as f64 / 1000.0);
    // To the next tenth below, as rtpengine has it; a hundredth is not lost on the way.
    (score.unwrap_or(1.0) * 100.0).round() as u64 / 10
}

fn figures_of(score: u64, (fraction, jitter_us): (u64, u64)) -> Dictionary {
    let mut out = Dictionary::new();
    out.add("MOS", score)
        .add("round-trip time", 0_i64)
        .add("round-trip time leg", 0_i64)
        .add("jitter", jitter_us / 1000)
        .add("packet loss", fraction * 100 / 256);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bencode::Value;

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
        entry("PCMU", &hears, (Instant::from_millis(60_000), &anchor))
    }

    #[test]
    fn reports_count_more_than_what_came_to_us() {
        let heard = |fraction, jitter_us, seconds| Heard {
            fraction,
            jitter_us,
            ago: Duration::from_secs(seconds),
        };
        let own = StreamStats {
            hears: Hears {
                reports: 4,
                fractions: 64 + 32,
                jitter_us: 4000 + 8000,
                lost: -2,
                extremes: Some([heard(64, 8000, 20), heard(0, 1500, 10)]),
            },
            ..StreamStats::default()
        };
        let other = StreamStats {
            packets_in: 100,
            lost: 100,
            ..StreamStats::default()
        };
        let entry = of(own, other).unwrap();
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
