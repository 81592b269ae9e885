//! The relay's figures as the operator reads them, and what they mean in words.

use crate::control::LegRow;
use crate::relay::{DropReason, LegStats, mean_opinion_score};
use crate::store::CdrLeg;
use std::time::Duration;

/// A side that was heard before is called silent after this.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// Who told of noise in place of sound may send nothing for so long: those that we know tell anew
/// within seconds.
const DESCRIBED_MAX: Duration = Duration::from_secs(30);

/// What comes so soon behind a goodbye was on the way already.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// Loss above this, in percent, is said.
const LOSS_SAID_PERCENT: u64 = 5;

fn jitter_ms(stats: &LegStats) -> f64 {
    f64::from(stats.jitter_us) / 1000.0
}

/// Caller and callee, as rows; `codec` as listings name it.
pub(super) fn legs(stats: &[LegStats; 2], codec: &str) -> Vec<LegRow> {
    let row = |(leg, side): (&LegStats, &str)| LegRow {
        side: side.into(),
        packets_in: leg.packets_in,
        packets_out: leg.packets_out,
        lost: leg.lost,
        jitter_ms: jitter_ms(leg),
        mos: mean_opinion_score(codec, leg.packets_in, leg.lost, jitter_ms(leg), 0.0),
        remote: leg.source.map(|s| s.to_string()).unwrap_or_default(),
        silent_ms: leg.silent_for.map(|d| d.as_millis() as u64),
    };
    stats.iter().zip(["caller", "callee"]).map(row).collect()
}

/// One side for the call detail record.
pub(super) fn cdr_leg(leg: &LegStats) -> CdrLeg {
    CdrLeg {
        packets_in: leg.packets_in,
        packets_out: leg.packets_out,
        lost: leg.lost,
        jitter_ms: jitter_ms(leg),
    }
}

/// Whether a side that was heard is silent, and has not said that it would be.
fn is_unexpected(leg: &LegStats) -> bool {
    let Some(silent) = leg.silent_for else {
        return false;
    };
    let limit = match leg.describes_silence {
        true => DESCRIBED_MAX,
        false => SILENT_AFTER,
    };
    let has_left = leg.left_for.is_some_and(|left| left <= silent + STRAGGLERS);
    silent > limit && !has_left
}

/// Why audio is one-way, in plain words; empty when all is well.
pub(super) fn verdict(stats: &[LegStats; 2]) -> String {
    let mut said = Vec::new();
    let mute = stats.each_ref().map(|l| l.sends_nothing());
    if mute == [true, true] {
        said.push("neither side sends anything: a firewall before us, or both muted".to_owned());
    }
    for (index, side) in ["caller", "callee"].into_iter().enumerate() {
        let (leg, only) = (&stats[index], mute[index] && !mute[1 - index]);
        if only {
            let stray = leg.dropped_total();
            said.push(match stray {
                0 => format!("the {side}'s side sends nothing"),
                n => format!(
                    "the {side}'s side sends nothing that is its own: {n} packets on its ports \
                     came from elsewhere or were unusable"
                ),
            });
        } else if leg.should_send && is_unexpected(leg) {
            let seconds = leg.silent_for.unwrap_or_default().as_secs();
            let silent = format!("the {side}'s side has been silent for {seconds} s");
            // Counted from ten seconds of silence on, where the system was told of the peer.
            said.push(match leg.dropped[DropReason::Stray.index()] {
                0 => silent,
                n => format!(
                    "{silent}: {n} packets on its ports came from elsewhere, as when a NAT gives a \
                     phone another port"
                ),
            });
        }
        let expected = leg.packets_in + leg.lost;
        if expected > 100 && leg.lost * 100 > expected * LOSS_SAID_PERCENT {
            let percent = leg.lost * 100 / expected;
            said.push(format!(
                "{percent} % of the packets from the {side} are lost before us"
            ));
        }
    }
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(packets_in: u64) -> LegStats {
        LegStats {
            packets_in,
            should_send: true,
            ..LegStats::default()
        }
    }

    #[test]
    fn names_the_side_that_sends_nothing() {
        assert_eq!(
            verdict(&[leg(500), leg(0)]),
            "the callee's side sends nothing"
        );
        assert_eq!(
            verdict(&[leg(0), leg(9)]),
            "the caller's side sends nothing"
        );
        assert!(verdict(&[leg(0), leg(0)]).starts_with("neither side"));
        assert_eq!(verdict(&[leg(5), leg(5)]), "");
    }

    #[test]
    fn a_held_side_is_not_blamed() {
        let held = LegStats {
            should_send: false,
            ..leg(0)
        };
        assert_eq!(verdict(&[leg(500), held]), "");
    }

    #[test]
    fn who_tells_of_noise_or_says_goodbye_is_not_one_way() {
        let silent = |seconds| LegStats {
            silent_for: Some(Duration::from_secs(seconds)),
            ..leg(900)
        };
        let noise = |seconds| LegStats {
            describes_silence: true,
            ..silent(seconds)
        };
        let gone = |ms| LegStats {
            left_for: Some(Duration::from_millis(ms)),
            ..silent(14)
        };
        assert_eq!(verdict(&[noise(14), leg(900)]), "");
        assert!(verdict(&[noise(31), leg(900)]).contains("silent for 31 s"));
        // One packet more was under way.
        assert_eq!(verdict(&[gone(14_300), leg(900)]), "");
        // It went on, and fell silent without a word.
        assert!(verdict(&[gone(20_000), leg(900)]).contains("silent for 14 s"));
    }

    #[test]
    fn who_fell_silent_may_speak_from_elsewhere() {
        let mut silent = LegStats {
            silent_for: Some(Duration::from_secs(14)),
            ..leg(500)
        };
        let plain = "the caller's side has been silent for 14 s";
        assert_eq!(verdict(&[silent, leg(900)]), plain);
        silent.dropped[DropReason::Stray.index()] = 200;
        let said = verdict(&[silent, leg(900)]);
        assert!(
            said.starts_with(plain) && said.contains("200 packets"),
            "{said}"
        );
    }

    #[test]
    fn loss_is_said_in_percent() {
        let lossy = LegStats {
            lost: 100,
            ..leg(900)
        };
        assert!(verdict(&[lossy, leg(900)]).contains("10 % of the packets from the caller"));
    }
}
