//! How speech sounds, estimated from what a relay sees of it: the E-model (ITU-T G.107) in the
//! short form that leaves all but delay, codec and loss at their default values.
//!
//! R = 93.2 - Id - Ie,eff, and a mean opinion score between 1 and 4.5 from R (G.107 Annex B). The
//! delay is a guess: a packet, a listener's buffer of twice the jitter, and half of the round trip
//! where that is known. Loss is taken as random. Wideband codecs are judged as if they were narrow,
//! on whose scale nothing is better than G.711.

/// R without any impairment but the default ones (G.107 §7.2).
const R_BEST: f64 = 93.2;
/// Milliseconds of sound in a packet, nearly everywhere.
const PACKET_MS: f64 = 20.0;

/// What a codec costs: its equipment impairment factor, and its robustness against loss (ITU-T
/// G.113 Appendix I).
#[derive(Clone, Copy, PartialEq, Debug)]
struct Impairment {
    ie: f64,
    bpl: f64,
}

impl Impairment {
    /// Of an encoding's name (RFC 3551); one that is not known here counts as G.711 with
    /// concealment.
    fn of(codec: &str) -> Self {
        let (ie, bpl) = match codec.to_ascii_uppercase().as_str() {
            "GSM" => (20.0, 43.0),
            "G729" => (11.0, 19.0),
            "G723" => (15.0, 16.1),
            "ILBC" => (11.0, 32.0),
            _ => (0.0, 25.1),
        };
        Self { ie, bpl }
    }
}

/// The mean opinion score of one direction, 1.0 (bad) to 4.41 (as good as a telephone is), to two
/// places; `None` if nothing came. `codec` is an encoding's name, or several with commas between,
/// of which the first counts. `round_trip_ms` is zero where it is not known.
pub fn mean_opinion_score(
    codec: &str,
    packets: u64,
    lost: u64,
    jitter_ms: f64,
    round_trip_ms: f64,
) -> Option<f64> {
    if packets == 0 {
        return None;
    }
    let first = codec.split(',').next().unwrap_or_default().trim();
    let Impairment { ie, bpl } = Impairment::of(first);
    let loss_percent = 100.0 * lost as f64 / (packets + lost) as f64;
    let ie_effective = ie + (95.0 - ie) * loss_percent / (loss_percent + bpl);
    let delay_ms = PACKET_MS + 2.0 * jitter_ms.max(0.0) + round_trip_ms.max(0.0) / 2.0;
    // G.107 §7.4 for small talker echo, in the linear form that is common in monitoring.
    let id = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let r = (R_BEST - id - ie_effective).clamp(0.0, 100.0);
    let score = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    Some((score.clamp(1.0, 4.5) * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(codec: &str, lost: u64, jitter_ms: f64) -> f64 {
        mean_opinion_score(codec, 10_000 - lost, lost, jitter_ms, 0.0).unwrap()
    }

    #[test]
    fn known_values_of_the_e_model() {
        // G.107 Annex B: R = 92.72 with 20 ms is 4.40; G.729A without loss is around 4.1, GSM
        // full rate around 3.7.
        assert_eq!(score("PCMA", 0, 0.0), 4.4);
        assert!((4.0..4.2).contains(&score("G729", 0, 0.0)));
        assert!((3.6..3.8).contains(&score("GSM", 0, 0.0)));
        // A packet in twenty of G.711 with concealment costs 15.8 of R.
        assert!((3.8..4.0).contains(&score("PCMU", 500, 0.0)));
    }

    #[test]
    fn more_loss_or_jitter_is_never_better() {
        for codec in ["PCMU", "G729", "gsm", "opus", ""] {
            let mut last = 5.0;
            for lost in (0..10_000).step_by(100) {
                let now = score(codec, lost, 5.0);
                assert!(now <= last && now >= 1.0, "{codec} {lost}: {last} {now}");
                last = now;
            }
            assert!(score(codec, 0, 200.0) < score(codec, 0, 1.0), "{codec}");
        }
    }

    #[test]
    fn a_long_way_is_heard() {
        let score = |ms| mean_opinion_score("PCMA", 1, 0, 0.0, ms).unwrap();
        // G.107: 150 ms one way is hardly noticed, 400 ms is.
        assert_eq!(score(0.0), 4.4);
        assert!((4.2..4.4).contains(&score(300.0)));
        assert!((2.7..3.1).contains(&score(800.0)));
    }

    #[test]
    fn silence_has_no_score_and_the_first_codec_counts() {
        assert_eq!(mean_opinion_score("PCMU", 0, 0, 0.0, 0.0), None);
        assert_eq!(mean_opinion_score("PCMU", 0, 50, 0.0, 0.0), None);
        assert_eq!(
            score("G729, telephone-event", 0, 0.0),
            score("G729", 0, 0.0)
        );
        assert!(mean_opinion_score("PCMU", 1, u64::MAX - 1, f64::NAN, f64::NAN).unwrap() >= 1.0);
    }
}
