use super::*;
use crate::base::Rng;
use std::time::Duration;

const MS: u64 = 1_000_000;

fn config() -> Config {
    Config::new(8000, 8000, PayloadTypes::of(&[0, 13]))
}

fn header(sequence: u16, timestamp: u32) -> Header {
    Header {
        marker: false,
        payload_type: 0,
        sequence,
        timestamp,
        ssrc: 1,
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000_000 + ms)
}

/// Packet `n` of a stream of 20 ms PCMU, whose number wraps early and whose payload names it.
fn put(buffer: &mut JitterBuffer, ms: u64, n: u32) -> Result<(), Refusal> {
    let timestamp = (u32::MAX - 1000).wrapping_add(n * 160);
    let mut payload = [0; 160];
    payload[150..154].copy_from_slice(&n.to_be_bytes());
    buffer.put(
        at(ms),
        &header(65_530u16.wrapping_add(n as u16), timestamp),
        &payload,
    )
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Packet(u32),
    Seam(u32),
    Lost(u32),
    Nothing,
}
use Heard::{Lost, Nothing, Packet, Seam};

fn pull(buffer: &mut JitterBuffer, ms: u64) -> Heard {
    let mut out = [0; PAYLOAD_MAX];
    match buffer.pull(at(ms), 0, &mut out) {
        Pull::Packet { length, seam, .. } => {
            let n = match length {
                160 => u32::from_be_bytes(*out[150..].first_chunk().unwrap()),
                _ => length as u32,
            };
            if seam { Seam(n) } else { Packet(n) }
        }
        Pull::Lost { units, .. } => Lost(units),
        Pull::Nothing => Nothing,
    }
}

/// A steady stream: packet n is put at 20 n, the tick comes 5 ms later.
fn steady(buffer: &mut JitterBuffer, packets: std::ops::Range<u32>) -> Vec<Heard> {
    packets
        .map(|n| {
            put(buffer, u64::from(n) * 20, n).unwrap();
            pull(buffer, u64::from(n) * 20 + 5)
        })
        .collect()
}

#[test]
fn a_steady_stream_starts_after_the_initial_delay_and_plays_on() {
    let mut buffer = JitterBuffer::new(config());
    let heard = steady(&mut buffer, 0..40);
    assert_eq!(heard[..4], [Nothing, Nothing, Seam(0), Packet(1)]);
    assert!(
        (4..40).all(|n| heard[n] == Packet(n as u32 - 2)),
        "{heard:?}"
    );
    assert_eq!(buffer.delay_ms(), 40);
    assert_eq!(buffer.held_us_mean(), 45_000);
}

#[test]
fn reordered_packets_play_in_order_and_duplicates_once() {
    let mut buffer = JitterBuffer::new(config());
    let mut heard = Vec::new();
    for (tick, numbers) in [
        &[1u32][..],
        &[0],
        &[3, 3],
        &[2, 2],
        &[5],
        &[4, 0],
        &[6],
        &[7],
    ]
    .iter()
    .enumerate()
    {
        for n in *numbers {
            let _ = put(&mut buffer, tick as u64 * 20, *n);
        }
        heard.push(pull(&mut buffer, tick as u64 * 20 + 5));
    }
    let played: Vec<_> = heard.iter().filter(|h| **h != Nothing).collect();
    assert_eq!(played[..3], [&Seam(0), &Packet(1), &Packet(2)], "{heard:?}");
    assert_eq!(buffer.stats().refused(Refusal::Duplicate), 3);
    assert_eq!(buffer.stats().reordered, 3);
    assert_eq!(buffer.stats().refused(Refusal::Late), 0);
}

#[test]
fn a_lost_packet_is_concealed_once_and_time_goes_on() {
    let mut buffer = JitterBuffer::new(config());
    steady(&mut buffer, 0..10);
    assert_eq!(pull(&mut buffer, 205), Packet(8));
    put(&mut buffer, 220, 11).unwrap();
    assert_eq!(pull(&mut buffer, 225), Packet(9));
    put(&mut buffer, 240, 12).unwrap();
    assert_eq!(pull(&mut buffer, 245), Lost(160));
    assert_eq!(put(&mut buffer, 250, 10), Err(Refusal::Late));
    put(&mut buffer, 260, 13).unwrap();
    assert_eq!(pull(&mut buffer, 265), Seam(11));
    assert_eq!(put(&mut buffer, 270, 11), Err(Refusal::Duplicate));
    assert_eq!(pull(&mut buffer, 285), Packet(12));
    assert_eq!(buffer.stats().concealed, 1);
}

#[test]
fn an_outage_is_concealed_shortly_then_silent_then_heard_again() {
    let mut buffer = JitterBuffer::new(config());
    steady(&mut buffer, 0..10);
    let heard: Vec<_> = (10..20).map(|n| pull(&mut buffer, n * 20 + 5)).collect();
    assert_eq!(heard[..2], [Packet(8), Packet(9)]);
    assert_eq!(heard[2..7], [Lost(160); 5]);
    assert_eq!(heard[7..], [Nothing; 3]);
    let heard = steady(&mut buffer, 20..30);
    assert_eq!(heard[..4], [Nothing, Nothing, Seam(20), Packet(21)]);
}

#[test]
fn two_in_a_hundred_may_be_late_before_the_delay_rises_for_them() {
    let mut buffer = JitterBuffer::new(config());
    steady(&mut buffer, 0..300);
    let before = buffer.delay_ms();
    // Four packets are held up until the last of them comes.
    for n in 300..304u64 {
        pull(&mut buffer, n * 20 + 5);
    }
    let results: Vec<_> = (300..304).map(|n| put(&mut buffer, 6070, n)).collect();
    let late = Err(Refusal::Late);
    assert_eq!(results, [late, late, Ok(()), Ok(())]);
    assert!(
        before < 10 && buffer.delay_ms() == 30,
        "{before}, {}",
        buffer.delay_ms()
    );
    assert_eq!(pull(&mut buffer, 6085), Seam(302));
    assert_eq!(pull(&mut buffer, 6105), Packet(303));
}

#[test]
fn silence_between_spurts_is_no_loss() {
    let mut buffer = JitterBuffer::new(config());
    steady(&mut buffer, 0..10);
    // The number goes on, the timestamp counts the pause of 60 s.
    let base = header(
        65_530u16.wrapping_add(10),
        (u32::MAX - 1000).wrapping_add(3010 * 160),
    );
    let noise = Header {
        payload_type: 13,
        timestamp: (u32::MAX - 1000).wrapping_add(1600),
        ..base
    };
    let mut config = config();
    config.comfort = Some(13);
    buffer.config = config;
    buffer.put(at(200), &noise, &[40]).unwrap();
    let mut out = [0; PAYLOAD_MAX];
    assert_eq!(pull(&mut buffer, 205), Packet(8));
    assert_eq!(pull(&mut buffer, 225), Packet(9));
    let noise = buffer.pull(at(245), 0, &mut out);
    assert!(
        matches!(
            noise,
            Pull::Packet {
                payload_type: 13,
                length: 1,
                ..
            }
        ),
        "{noise:?}"
    );
    assert!((13..3010).all(|n| pull(&mut buffer, n * 20 + 5) == Nothing));
    let talk = Header {
        marker: true,
        sequence: base.sequence.wrapping_add(1),
        ..base
    };
    buffer.put(at(60_200), &talk, &[7; 160]).unwrap();
    assert_eq!(pull(&mut buffer, 60_205), Nothing);
    assert_eq!(pull(&mut buffer, 60_225), Nothing);
    assert_eq!(pull(&mut buffer, 60_245), Seam(0x0707_0707));
    assert_eq!((buffer.stats().concealed, buffer.stats().restarts), (0, 0));
}

#[test]
fn a_gap_of_a_minute_with_any_numbering_is_survived() {
    for (number, timestamp) in [(3010, 3010), (10, 10), (40_000, 77), (10, 3010)] {
        let mut buffer = JitterBuffer::new(config());
        steady(&mut buffer, 0..10);
        for n in 10..3010 {
            pull(&mut buffer, n * 20 + 5);
        }
        let heard: Vec<_> = (0..20u32)
            .map(|n| {
                let now = at(60_200 + u64::from(n) * 20);
                let head = header(
                    65_530u16.wrapping_add(number).wrapping_add(n as u16),
                    (u32::MAX - 1000).wrapping_add((timestamp + n) * 160),
                );
                buffer.put(now, &head, &[n as u8; 160]).unwrap();
                pull(&mut buffer, 60_205 + u64::from(n) * 20)
            })
            .collect();
        assert_eq!(heard[..4], [Nothing, Nothing, Seam(0), Packet(0x0101_0101)]);
        assert!(
            heard[4..].iter().all(|h| matches!(h, Packet(_))),
            "{heard:?}"
        );
    }
}

#[test]
fn a_jump_of_the_senders_clock_costs_little() {
    for jump in [1_000_000u32, 0u32.wrapping_sub(1_000_000)] {
        let mut buffer = JitterBuffer::new(config());
        steady(&mut buffer, 0..10);
        let mut heard = Vec::new();
        for n in 10..40u32 {
            let head = header(
                65_530u16.wrapping_add(n as u16),
                (u32::MAX - 1000).wrapping_add(n * 160).wrapping_add(jump),
            );
            let _ = buffer.put(at(u64::from(n) * 20), &head, &[1; 160]);
            heard.push(pull(&mut buffer, u64::from(n) * 20 + 5));
        }
        let packets = heard.iter().filter(|h| matches!(h, Packet(_) | Seam(_)));
        assert!(packets.count() >= 25, "{heard:?}");
        assert!(
            heard[6..].iter().all(|h| matches!(h, Packet(_))),
            "{heard:?}"
        );
        assert_eq!(buffer.stats().restarts, 1);
        assert_eq!(buffer.stats().refused(Refusal::Unproven), 1);
    }
}

#[test]
fn a_new_source_must_prove_itself_and_a_stray_packet_changes_nothing() {
    let mut buffer = JitterBuffer::new(config());
    steady(&mut buffer, 0..10);
    for n in 10..20 {
        let stray = Header {
            ssrc: 99,
            ..header(n, 5)
        };
        assert_eq!(buffer.put(at(0), &stray, &[1; 160]), Err(Refusal::Unproven));
        put(&mut buffer, u64::from(n) * 20, n.into()).unwrap();
        let heard = pull(&mut buffer, u64::from(n) * 20 + 5);
        assert_eq!(heard, Packet(u32::from(n) - 2));
    }
    assert_eq!(buffer.stats().ssrc_changes, 0);
    for n in 0..10u16 {
        let other = Header {
            ssrc: 2,
            ..header(n, u32::from(n) * 160)
        };
        let result = buffer.put(at(400 + u64::from(n) * 20), &other, &[2; 160]);
        assert_eq!(result.is_err(), n == 0);
        pull(&mut buffer, 405 + u64::from(n) * 20);
    }
    assert_eq!(pull(&mut buffer, 605), Packet(0x0202_0202));
    assert_eq!(buffer.stats().ssrc_changes, 1);
}

#[test]
fn what_does_not_belong_is_refused_and_counted() {
    let mut buffer = JitterBuffer::new(Config {
        payload_max: 480,
        ..config()
    });
    let wrong = Header {
        payload_type: 8,
        ..header(1, 0)
    };
    assert_eq!(
        buffer.put(at(0), &wrong, &[0; 160]),
        Err(Refusal::WrongType)
    );
    assert_eq!(
        buffer.put(at(0), &header(1, 0), &[0; 481]),
        Err(Refusal::Oversized)
    );
    assert_eq!(buffer.put(at(0), &header(1, 0), &[0; 480]), Ok(()));
    assert_eq!(buffer.put(at(0), &header(2, 480), &[]), Ok(()));
    let mut full = 0;
    for n in 3..60 {
        let result = buffer.put(at(0), &header(n, u32::from(n) * 10), &[0; 480]);
        full += u64::from(result == Err(Refusal::Full));
    }
    assert!(full > 0);
    let counted = Refusal::ALL.map(|reason| buffer.stats().refused(reason));
    assert_eq!(counted, [1, 1, 0, 0, 0, full]);
    // All memory comes back.
    buffer.flush();
    assert_eq!(buffer.pool.free_count, buffer.pool.next.len());
}

#[test]
fn telephone_events_in_between_are_not_missed() {
    let mut buffer = JitterBuffer::new(config());
    steady(&mut buffer, 0..10);
    let mut heard = Vec::new();
    for n in 10..20u32 {
        let event = Header {
            payload_type: 101,
            ..header(
                65_530u16.wrapping_add(n as u16),
                (u32::MAX - 1000).wrapping_add(1600),
            )
        };
        buffer.put_other(at(u64::from(n) * 20), &event).unwrap();
        heard.push(pull(&mut buffer, u64::from(n) * 20 + 5));
    }
    assert_eq!(heard[..2], [Packet(8), Packet(9)]);
    assert!(heard[2..].iter().all(|h| *h == Nothing), "{heard:?}");
    let heard = steady(&mut buffer, 20..30);
    assert_eq!(heard[..3], [Nothing, Nothing, Seam(20)]);
    assert_eq!(buffer.stats().concealed, 0);
}

// ---------------------------------------------------------------- bad networks

#[derive(Clone, Copy)]
struct Network {
    base_us: u64,
    /// Each packet is later by up to this.
    spread_us: u64,
    /// One in so many packets begins a spike of that height, which drains as a queue does.
    spike_one_in: u64,
    spike_us: u64,
    /// One in so many begins a burst of loss, which ends with one in two.
    loss_one_in: u64,
    /// The sender's clock runs faster by so many millionths.
    skew_ppm: i64,
}

struct Outcome {
    sent: u64,
    delivered: u64,
    late: u64,
    played: u64,
    /// From the sender to the loudspeaker, without the network's least delay.
    delay_ms_mean: f64,
    delay_ms_end: f64,
    stats: JitterStats,
}

struct Traffic {
    clock: u32,
    ptime_ms: u64,
    seconds: u64,
}

/// Runs a stream over a network and plays it by 20 ms ticks, as a session does.
fn run(seed: u64, network: Network, traffic: &Traffic) -> Outcome {
    let mut rng = Rng::from_u64(seed);
    let Traffic {
        clock,
        ptime_ms,
        seconds,
    } = *traffic;
    let step = u64::from(clock) * ptime_ms / 1000;
    let first = (rng.next_u64() as u16, rng.next_u64() as u32);
    let count = seconds * 1000 / ptime_ms;
    let mut packets = Vec::new();
    // The sender's ticks are not ours.
    let phase_us = rng.below(20_000);
    let (mut queue_us, mut losing) = (0u64, false);
    for n in 0..count {
        let ideal_us = n * ptime_ms * 1000;
        let skew_us = ideal_us as i64 * network.skew_ppm / 1_000_000;
        let sent_us = (phase_us + ideal_us).saturating_add_signed(-skew_us);
        if network.spike_one_in > 0 && rng.chance(1, network.spike_one_in) {
            queue_us += network.spike_us;
        }
        let delay = network.base_us + rng.below(network.spread_us + 1) + queue_us;
        queue_us = queue_us.saturating_sub(ptime_ms * 1000);
        losing = match losing {
            true => !rng.chance(1, 2),
            false => network.loss_one_in > 0 && rng.chance(1, network.loss_one_in),
        };
        if !losing {
            packets.push((sent_us + delay, n, sent_us));
        }
    }
    packets.sort_unstable();
    let types = PayloadTypes::of(&[96]);
    let mut buffer = JitterBuffer::new(Config::new(clock, clock * 2, types));
    let mut out = [0; PAYLOAD_MAX];
    let (mut queued, mut played, mut delay_us, mut delay_us_end) = (0u64, 0u64, 0u64, 0u64);
    let tick = u64::from(clock) / 50;
    let mut arrived = packets.iter().peekable();
    for tick_us in (0..seconds * 1_000_000 + 1_000_000).step_by(20_000) {
        while let Some((at, n, sent_us)) = arrived.next_if(|(at, ..)| *at <= tick_us) {
            let head = Header {
                payload_type: 96,
                ..header(
                    first.0.wrapping_add(*n as u16),
                    first.1.wrapping_add((n * step) as u32),
                )
            };
            let now = Instant::from_nanos(at * 1000);
            let _ = buffer.put(now, &head, &sent_us.to_be_bytes());
        }
        while queued < tick {
            let now = Instant::from_nanos(tick_us * 1000);
            match buffer.pull(now, queued as u32, &mut out) {
                Pull::Packet { length, .. } => {
                    assert_eq!(length, 8);
                    let sent_us = u64::from_be_bytes(*out.first_chunk().unwrap());
                    let heard_us = tick_us + queued * 1_000_000 / u64::from(clock);
                    let delay = heard_us - sent_us - network.base_us;
                    (played, delay_us, delay_us_end) = (played + 1, delay_us + delay, delay);
                    queued += step;
                }
                Pull::Lost { units, .. } => {
                    assert!(units > 0 && u64::from(units) <= step);
                    queued += u64::from(units);
                }
                Pull::Nothing => queued = tick,
            }
        }
        queued -= tick;
    }
    let stats = *buffer.stats();
    assert_eq!(
        buffer.pool.free_count,
        buffer.pool.next.len(),
        "memory leaks"
    );
    Outcome {
        sent: count,
        delivered: packets.len() as u64,
        late: stats.refused(Refusal::Late),
        played,
        delay_ms_mean: delay_us as f64 / played.max(1) as f64 / 1000.0,
        delay_ms_end: delay_us_end as f64 / 1000.0,
        stats,
    }
}

const GOOD: Network = Network {
    base_us: 30_000,
    spread_us: 2_000,
    spike_one_in: 0,
    spike_us: 0,
    loss_one_in: 0,
    skew_ppm: 0,
};

const G711: Traffic = Traffic {
    clock: 8000,
    ptime_ms: 20,
    seconds: 120,
};

fn permille(part: u64, of: u64) -> u64 {
    part * 1000 / of.max(1)
}

#[test]
fn a_good_network_costs_little_delay_and_no_packet() {
    for seed in 0..8 {
        let outcome = run(seed, GOOD, &G711);
        assert_eq!(outcome.late, 0);
        assert_eq!(outcome.played + outcome.stats.skipped, outcome.sent);
        assert!(outcome.stats.skipped <= 3, "{:?}", outcome.stats);
        assert!(outcome.delay_ms_mean < 45.0, "{}", outcome.delay_ms_mean);
    }
}

#[test]
fn spread_is_covered_and_not_much_more() {
    for seed in 0..8 {
        let network = Network {
            spread_us: 60_000,
            ..GOOD
        };
        let outcome = run(seed, network, &G711);
        let late = permille(outcome.late, outcome.delivered);
        assert!(late <= 5, "late {late}");
        assert!(outcome.stats.reordered > 500);
        assert!(
            (55.0..110.0).contains(&outcome.delay_ms_mean),
            "{}",
            outcome.delay_ms_mean
        );
    }
}

#[test]
fn spikes_raise_the_delay_at_once_and_it_comes_down_again() {
    for seed in 0..8 {
        let network = Network {
            spike_one_in: 1000,
            spike_us: 200_000,
            ..GOOD
        };
        let outcome = run(seed, network, &G711);
        let late = permille(outcome.late, outcome.delivered);
        assert!(late <= 10, "late {late}");
        assert!(outcome.delay_ms_mean < 160.0, "{}", outcome.delay_ms_mean);
    }
}

#[test]
fn bursts_of_loss_are_concealed_and_cost_nothing_else() {
    for seed in 0..8 {
        let network = Network {
            loss_one_in: 60,
            spread_us: 15_000,
            ..GOOD
        };
        let outcome = run(seed, network, &G711);
        let lost = outcome.sent - outcome.delivered;
        assert!(permille(lost, outcome.sent) > 20);
        assert!(
            permille(outcome.late, outcome.delivered) <= 5,
            "{}",
            outcome.late
        );
        let ghosts = outcome.stats.concealed.abs_diff(lost);
        assert!(permille(ghosts, outcome.sent) <= 5, "{ghosts} of {lost}");
        assert!(outcome.delay_ms_mean < 65.0, "{}", outcome.delay_ms_mean);
    }
}

#[test]
fn skewed_clocks_neither_drain_nor_fill_the_buffer() {
    for skew_ppm in [-200, 200] {
        let network = Network { skew_ppm, ..GOOD };
        let long = Traffic {
            seconds: 1200,
            ..G711
        };
        let outcome = run(3, network, &long);
        // 200 ppm of 1200 s are 240 ms: twelve packets.
        assert!(outcome.delay_ms_end < 60.0, "{}", outcome.delay_ms_end);
        assert!(outcome.delay_ms_mean < 50.0, "{}", outcome.delay_ms_mean);
        assert!(
            permille(outcome.late, outcome.delivered) <= 2,
            "{}",
            outcome.late
        );
        let mended = outcome.stats.skipped + outcome.stats.stretched + outcome.stats.concealed;
        assert!((8..=40).contains(&mended), "{:?}", outcome.stats);
    }
}

#[test]
fn any_packet_time_and_clock_plays_whole() {
    for clock in [8000, 16_000, 48_000] {
        for ptime_ms in [10, 20, 30, 40, 60] {
            let traffic = Traffic {
                clock,
                ptime_ms,
                seconds: 60,
            };
            let network = Network {
                spread_us: 25_000,
                ..GOOD
            };
            let outcome = run(clock.into(), network, &traffic);
            let missed = permille(outcome.sent - outcome.played, outcome.sent);
            assert!(
                missed <= 25,
                "{clock} Hz {ptime_ms} ms: {missed} {:?}",
                outcome.stats
            );
            assert!(
                outcome.delay_ms_mean < 60.0 + ptime_ms as f64 * 1.5,
                "{clock} Hz {ptime_ms} ms: {}",
                outcome.delay_ms_mean
            );
        }
    }
}

#[test]
fn any_packets_in_any_order_keep_the_invariants() {
    for seed in 0..300 {
        let mut rng = Rng::from_u64(seed);
        let mut buffer = JitterBuffer::new(config());
        let mut out = [0; PAYLOAD_MAX];
        let (mut now, mut head) = (Instant::from_nanos(rng.below(1 << 50)), header(0, 0));
        for _ in 0..2000 {
            now += Duration::from_nanos(rng.below(40 * MS));
            if rng.chance(1, 200) {
                now += Duration::from_secs(rng.below(100_000));
            }
            match rng.below(12) {
                0 => head.sequence = rng.next_u64() as u16,
                1 => head.timestamp = rng.next_u64() as u32,
                2 => head.ssrc = rng.below(3) as u32,
                3 => {
                    head.sequence = head
                        .sequence
                        .wrapping_add((rng.below(130) as u16).wrapping_sub(65))
                }
                _ => {
                    head.sequence = head.sequence.wrapping_add(1);
                    head.timestamp = head.timestamp.wrapping_add(160);
                }
            }
            head.marker = rng.chance(1, 20);
            match rng.below(8) {
                0 => {
                    let _ = buffer.put_other(now, &head);
                }
                _ => {
                    let length = rng.below(400) as usize;
                    let _ = buffer.put(now, &head, &vec![0; length]);
                }
            }
            if rng.chance(2, 3) {
                let pulled = buffer.pull(now, rng.below(160) as u32, &mut out);
                if let Pull::Lost { units, .. } = pulled {
                    assert!((1..=960).contains(&units), "{units}");
                }
            }
            let used: usize = buffer
                .slots
                .iter()
                .filter_map(|slot| match slot {
                    Slot::Audio(audio) => Some(usize::from(audio.length).div_ceil(BLOCK)),
                    _ => None,
                })
                .sum();
            assert_eq!(buffer.pool.free_count + used, buffer.pool.next.len());
            assert!(buffer.delay_ms() <= 500, "{}", buffer.delay_ms());
        }
    }
}

/// Descriptions of noise that follow each other say nothing about how long packets of sound are: the
/// first words behind them are not late.
#[test]
fn updates_of_comfort_noise_are_no_packet_time() {
    let mut config = config();
    config.comfort = Some(13);
    config.accepted = PayloadTypes::of(&[0, 13]);
    config.delay_ms_initial = 5;
    let mut buffer = JitterBuffer::new(config);
    let header = |sequence, ms: u64, payload_type, marker| Header {
        marker,
        payload_type,
        sequence,
        timestamp: ms as u32 * 8,
        ssrc: 1,
    };
    let (mut sequence, mut played) = (0, 0);
    for ms in (0..4000u64).step_by(20) {
        let talks = !(1000..2000).contains(&ms);
        if talks {
            let header = header(sequence, ms, 0, ms == 2000);
            buffer.put(at(ms), &header, &[7; 160]).unwrap();
        } else if ms % 100 == 0 {
            buffer
                .put(at(ms), &header(sequence, ms, 13, false), &[40])
                .unwrap();
        }
        sequence += u16::from(talks || ms % 100 == 0);
        let mut out = [0; PAYLOAD_MAX];
        let pulled = buffer.pull(at(ms + 5), 0, &mut out);
        played += u32::from(matches!(pulled, Pull::Packet { length: 160, .. }));
    }
    assert!(played >= 148, "{played}: {:?}", buffer.stats());
    assert_eq!(buffer.stats().refused, [0; REFUSALS]);
}
