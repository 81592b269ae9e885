use super::*;
use crate::base::{Instant, Rng};
use crate::pri::{Alarm, Alarms, Timeslots, UNIT_BYTES, Unit};
use crate::wire::cesopsn::{Attachment, Encapsulation, Packet};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn ms(n: u64) -> Instant {
    Instant::from_millis(n)
}

/// What a network does to datagrams.
#[derive(Clone, Copy)]
struct Network {
    loss_per_mille: u64,
    duplicate_per_mille: u64,
    delay_us: u64,
    /// Each datagram is late by up to as much more, and so overtakes others.
    jitter_us: u64,
    /// So many come later than any buffer waits.
    strays_per_mille: u64,
}

const PERFECT: Network = Network {
    loss_per_mille: 0,
    duplicate_per_mille: 0,
    delay_us: 300,
    jitter_us: 0,
    strays_per_mille: 0,
};

/// One end: sends numbered units, and checks what it hears.
struct End {
    session: Session,
    /// Parts per million that its clock is too fast.
    fast_ppm: i64,
    sent: u64,
    timeslots: Timeslots,
    /// Numbers of the units heard, in their order.
    heard: Vec<u64>,
    idle: u64,
    alarms: Vec<Alarms>,
}

/// Unit `number` of the pattern: the number itself in the first four octets of each frame, noise
/// that follows from it in the others.
fn pattern(number: u64, timeslots: Timeslots) -> Unit {
    let octet =
        |i: usize| ((number * 256 + i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    let mut noise = Unit::new(std::array::from_fn::<u8, UNIT_BYTES, _>(octet));
    for (i, timeslot) in timeslots.iter().enumerate().take(4) {
        noise.set_timeslot(timeslot, [(number >> (8 * i)) as u8; 8]);
    }
    let mut unit = Unit::filled(0xd5);
    for timeslot in timeslots.iter() {
        unit.set_timeslot(timeslot, noise.timeslot(timeslot));
    }
    unit
}

impl End {
    fn new(settings: SessionSettings, seed: u64, fast_ppm: i64) -> Self {
        let mut rng = Rng::from_u64(seed);
        Self {
            session: Session::new(settings, &mut rng, Instant::ZERO).unwrap(),
            fast_ppm,
            sent: 0,
            timeslots: settings.timeslots,
            heard: Vec::new(),
            idle: 0,
            alarms: Vec::new(),
        }
    }

    /// What this end's clock shows when the world's shows `now`.
    fn local(&self, now: Instant) -> Instant {
        let ns = now.as_nanos() as i128;
        Instant::from_nanos((ns + ns * i128::from(self.fast_ppm) / 1_000_000) as u64)
    }

    /// When the world's clock shows what this end waits for.
    fn due(&self) -> Instant {
        let ns = self.session.poll_timeout().as_nanos() as i128;
        let world = ns * 1_000_000 / (1_000_000 + i128::from(self.fast_ppm));
        Instant::from_nanos(world as u64 + 1)
    }

    fn hear(&mut self, unit: &Unit) {
        if *unit == Unit::filled(0xd5) {
            self.idle += 1;
            return;
        }
        let octet = |t| u64::from(unit.timeslot(t)[0]);
        let first = self.timeslots.iter().enumerate().take(4);
        let number = first.fold(0, |n, (i, t)| n | (octet(t) << (8 * i)));
        assert_eq!(
            *unit,
            pattern(number, self.timeslots),
            "unit {number} is whole"
        );
        if let Some(last) = self.heard.last() {
            assert!(number > *last, "{number} after {last}");
        }
        self.heard.push(number);
    }

    /// Drains the session; what it sends.
    fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Packet(bytes) => packets.push(bytes),
                Output::Alarms(alarms) => self.alarms.push(alarms),
                Output::Unit(unit) => {
                    self.hear(&unit);
                    self.sent += 1;
                    let unit = pattern(self.sent, self.timeslots);
                    self.session.handle_input(Input::Unit { now, unit: &unit });
                }
            }
        }
        packets
    }
}

struct World {
    now: Instant,
    rng: Rng,
    network: Network,
    ends: [End; 2],
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    order: u64,
    /// Sequence numbers of datagrams that end 1 never got.
    dropped: BTreeSet<u16>,
}

impl World {
    fn new(settings: SessionSettings, network: Network, seed: u64) -> Self {
        Self {
            now: Instant::ZERO,
            rng: Rng::from_u64(seed),
            network,
            ends: [
                End::new(settings, seed + 1_000, 0),
                End::new(settings, seed + 2_000, 0),
            ],
            flying: BTreeMap::new(),
            order: 0,
            dropped: BTreeSet::new(),
        }
    }

    fn send(&mut self, to: usize, bytes: Vec<u8>) {
        let Network {
            loss_per_mille,
            duplicate_per_mille,
            delay_us,
            jitter_us,
            strays_per_mille,
        } = self.network;
        if self.rng.chance(loss_per_mille, 1000) {
            if to == 1 {
                let at = bytes.len().min(4);
                self.dropped
                    .insert(u16::from_be_bytes([bytes[at - 2], bytes[at - 1]]));
            }
            return;
        }
        let copies = 1 + u64::from(self.rng.chance(duplicate_per_mille, 1000));
        for _ in 0..copies {
            let mut us = delay_us + self.rng.below(jitter_us + 1);
            if self.rng.chance(strays_per_mille, 1000) {
                us += 50_000;
            }
            self.order += 1;
            let key = (self.now + Duration::from_micros(us), self.order);
            self.flying.insert(key, (to, bytes.clone()));
        }
    }

    fn run(&mut self, until: Instant) {
        while self.now < until {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let due = self.ends[0].due().min(self.ends[1].due());
            if let Some(at) = arrival.filter(|at| *at <= due) {
                self.now = self.now.max(at);
                let ((..), (to, bytes)) = self.flying.pop_first().unwrap();
                let end = &mut self.ends[to];
                let now = end.local(self.now);
                end.session
                    .handle_input(Input::Packet { now, bytes: &bytes });
            } else {
                self.now = self.now.max(due);
            }
            for from in 0..2 {
                let end = &mut self.ends[from];
                let now = end.local(self.now);
                if end.due() <= self.now {
                    end.session.handle_timeout(now);
                }
                for bytes in end.drain(now) {
                    self.send(1 - from, bytes);
                }
            }
            for end in &self.ends {
                assert!(end.session.waiting() <= 64, "the buffer is bounded");
            }
        }
    }
}

fn consecutive(heard: &[u64]) -> bool {
    heard.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

#[test]
fn every_timeslot_crosses_unharmed() {
    let rtp = RtpSettings {
        payload_type: 97,
        ssrc: 7,
        peer_ssrc: Some(7),
    };
    let few = Timeslots::from_bits(0x0001_0006);
    for (timeslots, units_per_packet, rtp) in [
        (Timeslots::BEARING, 1, None),
        (Timeslots::BEARING, 5, Some(rtp)),
        (Timeslots::ALL, 1, Some(rtp)),
        (few, 4, None),
        (few, 8, Some(rtp)),
    ] {
        let settings = SessionSettings {
            timeslots,
            units_per_packet,
            rtp,
            ..SessionSettings::default()
        };
        let mut world = World::new(settings, PERFECT, units_per_packet as u64);
        world.run(ms(1_500));
        for end in &world.ends {
            assert!(consecutive(&end.heard), "nothing is missing");
            assert!(end.heard.len() > 1_450, "{}", end.heard.len());
            assert_eq!(end.heard[0], 1);
            assert_eq!(end.alarms, []);
            let c = end.session.counters();
            assert_eq!(c.reception, ReceptionCounters::default());
            assert_eq!((c.malformed, c.undrained), (0, 0));
            assert_eq!(c.substituted_ms, end.idle);
        }
    }
}

#[test]
fn what_the_network_loses_is_replaced_and_counted_and_nothing_else() {
    let network = Network {
        loss_per_mille: 20,
        duplicate_per_mille: 20,
        delay_us: 2_000,
        jitter_us: 6_000,
        strays_per_mille: 0,
    };
    for seed in 0..6 {
        let mut world = World::new(SessionSettings::default(), network, seed);
        // Where sequence numbers wrap: they do, for some seeds.
        world.run(ms(3_000));
        let end = &world.ends[1];
        let c = end.session.counters();
        let r = c.reception;
        assert!(r.reordered > 100 && r.duplicate > 5, "{r:?}");
        assert_eq!((r.stray, r.losses, r.overrun), (0, 0, 0), "{r:?}");
        // Every hole is a datagram that the network lost.
        let heard: BTreeSet<u64> = end.heard.iter().copied().collect();
        let (first, last) = (end.heard[0], *end.heard.last().unwrap());
        let missing = (first..=last).filter(|n| !heard.contains(n)).count() as u64;
        assert_eq!(missing, r.lost, "seed {seed}");
        assert!(missing <= world.dropped.len() as u64);
        assert!(missing + 15 >= world.dropped.len() as u64, "seed {seed}");
        assert!(last > 2_900 && c.substituted_ms < 250, "seed {seed}: {c:?}");
        assert_eq!(end.alarms, []);
    }
}

#[test]
fn what_comes_too_late_is_lost_and_the_rest_is_not() {
    let network = Network {
        jitter_us: 4_000,
        strays_per_mille: 10,
        ..PERFECT
    };
    for seed in 0..6 {
        let mut world = World::new(SessionSettings::default(), network, seed);
        world.run(ms(2_000));
        let r = world.ends[1].session.counters().reception;
        assert!(r.late >= 5, "{r:?}");
        // Each was given up when its time came; a few still fly.
        assert!(r.lost >= r.late && r.lost <= r.late + 5, "{r:?}");
        let expected = 2_000 - 20 - r.lost as usize;
        assert!(world.ends[1].heard.len() > expected, "{r:?}");
    }
}

#[test]
fn a_line_that_is_cut_is_told_to_both_ends_and_heals() {
    let settings = SessionSettings::default();
    let mut world = World::new(settings, PERFECT, 3);
    world.run(ms(500));
    // Nothing reaches end 1; what it sends reaches end 0.
    world.flying.retain(|_, (to, _)| *to == 0);
    let until = ms(1_500);
    while world.now < until {
        let soon = world.now + Duration::from_millis(1);
        world.run(soon);
        world.flying.retain(|_, (to, _)| *to == 0);
    }
    assert_eq!(world.ends[1].alarms, [Alarm::Los.into()]);
    assert_eq!(world.ends[0].alarms, [Alarm::Rai.into()], "R is heard");
    assert!(consecutive(&world.ends[0].heard), "the other way goes on");
    world.run(ms(2_000));
    assert_eq!(world.ends[1].alarms, [Alarm::Los.into(), Alarms::NONE]);
    assert_eq!(world.ends[0].alarms, [Alarm::Rai.into(), Alarms::NONE]);
    let c = world.ends[1].session.counters().reception;
    assert_eq!(c.losses, 1);
    let heard = &world.ends[1].heard;
    let holes = heard.windows(2).filter(|p| p[1] != p[0] + 1).count();
    assert_eq!(holes, 1);
}

#[test]
fn without_a_far_end_there_is_no_signal() {
    let mut end = End::new(SessionSettings::default(), 1, 0);
    let mut packets = Vec::new();
    for n in 1..=1_100 {
        end.session.handle_timeout(ms(n));
        packets.extend(end.drain(ms(n)));
    }
    assert_eq!(end.alarms, [Alarm::Los.into()]);
    assert_eq!((end.idle, end.heard.len()), (1_100, 0));
    let marked = |bytes: &Vec<u8>| {
        Packet::parse(bytes, Encapsulation::Plain)
            .unwrap()
            .packet_loss
    };
    assert!(!marked(&packets[10]) && marked(&packets[1_090]));
}

/// The far end's clock is too fast or too slow by far more than any is: it slips, by single
/// packets, and nothing else happens.
#[test]
fn clocks_that_differ_slip() {
    for (ppm, seed) in [(4_000, 1), (-4_000, 2), (100, 3)] {
        let mut world = World::new(SessionSettings::default(), PERFECT, seed);
        world.ends[0].fast_ppm = ppm;
        world.run(ms(12_000));
        let r = world.ends[1].session.counters().reception;
        assert_eq!((r.losses, r.stray), (0, 0), "{ppm}: {r:?}");
        let holes = r.lost + r.overrun;
        if ppm.abs() == 4_000 {
            let wanted = 12_000 * ppm.unsigned_abs() / 1_000_000;
            let slipped = if ppm > 0 { r.overrun } else { r.underrun };
            // Less what the buffer took up.
            assert!(slipped <= wanted && slipped + 32 >= wanted, "{ppm}: {r:?}");
            assert!(slipped > 12, "{ppm}: {r:?}");
        }
        let heard = &world.ends[1].heard;
        let jumps = heard.windows(2).filter(|p| p[1] != p[0] + 1).count() as u64;
        assert!(jumps <= holes, "{ppm}: {jumps} {r:?}");
        assert_eq!(world.ends[1].alarms, []);
    }
}

#[test]
fn a_far_end_that_starts_again_is_heard_again() {
    let mut world = World::new(SessionSettings::default(), PERFECT, 5);
    world.run(ms(300));
    for seed in 6..30 {
        let before = world.ends[1].heard.len();
        world.ends[0] = End {
            sent: world.ends[0].sent,
            ..End::new(SessionSettings::default(), seed, 0)
        };
        // Its clock begins now.
        let now = world.now;
        world.ends[0].session =
            Session::new(SessionSettings::default(), &mut Rng::from_u64(seed), now).unwrap();
        world.run(now + Duration::from_millis(200));
        assert!(world.ends[1].heard.len() > before + 140, "seed {seed}");
    }
}

fn packet(sequence: u16, attachment: Attachment, packet_loss: bool) -> Vec<u8> {
    let payload = [sequence as u8; 248];
    let packet = Packet {
        attachment,
        packet_loss,
        sequence,
        rtp: None,
        payload: &payload,
    };
    let mut bytes = Vec::new();
    packet.emit(&mut bytes);
    bytes
}

/// Gives a session one packet each millisecond, and what it plays.
fn feed(packets: impl IntoIterator<Item = Vec<u8>>) -> (Session, Vec<Alarms>, Vec<u8>) {
    let mut rng = Rng::from_u64(1);
    let mut session = Session::new(SessionSettings::default(), &mut rng, ms(0)).unwrap();
    let (mut alarms, mut octets) = (Vec::new(), Vec::new());
    for (n, bytes) in packets.into_iter().enumerate() {
        let now = ms(n as u64 + 1);
        session.handle_input(Input::Packet { now, bytes: &bytes });
        session.handle_timeout(now);
        while let Some(output) = session.poll_output() {
            match output {
                Output::Alarms(now) => alarms.push(now),
                Output::Unit(unit) => octets.push(unit.bytes()[1]),
                Output::Packet(_) => {}
            }
        }
    }
    (session, alarms, octets)
}

#[test]
fn the_bits_are_alarms_once_they_last() {
    use Attachment::{Invalid, Normal, RemoteDefect};
    let bits = |n: u16| match n {
        20 => (RemoteDefect, false),
        30 => (Normal, true),
        40..60 => (RemoteDefect, false),
        60..80 => (Normal, true),
        // L hides what the others say, and its octets are not played.
        100..120 => (Invalid, true),
        _ => (Normal, false),
    };
    let packets = (0..200).map(|n| packet(n, bits(n).0, bits(n).1));
    let (_, alarms, octets) = feed(packets);
    let rai: Alarms = Alarm::Rai.into();
    let ais: Alarms = Alarm::Ais.into();
    assert_eq!(alarms, [rai, Alarms::NONE, ais, Alarms::NONE]);
    assert!(octets.contains(&99) && octets.contains(&120));
    assert!(!(100..120).any(|n| octets.contains(&n)));
    assert!(octets.contains(&0xd5));
}

#[test]
fn the_lines_alarms_are_told_to_the_far_end() {
    let mut end = End::new(SessionSettings::default(), 1, 0);
    for (alarms, wanted, payload) in [
        (Alarm::Los.into(), Attachment::Invalid, 0),
        (Alarm::Ais.into(), Attachment::Invalid, 0),
        (Alarm::Lfa.into(), Attachment::Invalid, 0),
        (Alarm::Rai.into(), Attachment::RemoteDefect, 248),
        (Alarm::Lmfa.into(), Attachment::Normal, 248),
        (Alarms::NONE, Attachment::Normal, 248),
    ] {
        let now = ms(1);
        end.session.handle_input(Input::Attachment { now, alarms });
        let unit = pattern(9, Timeslots::BEARING);
        end.session.handle_input(Input::Unit { now, unit: &unit });
        let bytes = end.drain(now).remove(0);
        let packet = Packet::parse(&bytes, Encapsulation::Plain).unwrap();
        assert_eq!((packet.attachment, packet.payload.len()), (wanted, payload));
    }
}

#[test]
fn rtp_of_another_sender_is_stray_and_of_another_type_malformed() {
    let settings = |payload_type, ssrc, peer_ssrc| SessionSettings {
        rtp: Some(RtpSettings {
            payload_type,
            ssrc,
            peer_ssrc,
        }),
        ..SessionSettings::default()
    };
    let mut receiver = End::new(settings(97, 1, Some(2)), 1, 0);
    for (payload_type, ssrc, malformed, stray) in [(97, 2, 0, 0), (98, 2, 1, 0), (97, 3, 1, 1)] {
        let mut sender = End::new(settings(payload_type, ssrc, None), 2, 0);
        let now = ms(1);
        let unit = pattern(1, Timeslots::BEARING);
        sender
            .session
            .handle_input(Input::Unit { now, unit: &unit });
        let bytes = sender.drain(now).remove(0);
        receiver
            .session
            .handle_input(Input::Packet { now, bytes: &bytes });
        let c = receiver.session.counters();
        assert_eq!((c.malformed, c.reception.stray), (malformed, stray));
    }
}

#[test]
fn the_timestamp_counts_frames() {
    let settings = SessionSettings {
        units_per_packet: 2,
        rtp: Some(RtpSettings {
            payload_type: 97,
            ssrc: 1,
            peer_ssrc: None,
        }),
        ..SessionSettings::default()
    };
    let mut end = End::new(settings, 1, 0);
    let mut read = || {
        let unit = pattern(1, Timeslots::BEARING);
        let now = ms(1);
        end.session.handle_input(Input::Unit { now, unit: &unit });
        assert_eq!(end.drain(now).len(), 0, "half a packet");
        end.session.handle_input(Input::Unit { now, unit: &unit });
        let bytes = end.drain(now).remove(0);
        let packet = Packet::parse(&bytes, Encapsulation::Rtp).unwrap();
        (packet.sequence, packet.rtp.unwrap().timestamp)
    };
    let (first, second) = (read(), read());
    assert_eq!(second.0, first.0.wrapping_add(1));
    assert_eq!(second.1, first.1.wrapping_add(16));
}

#[test]
fn noise_is_counted_and_harms_nothing() {
    let mut rng = Rng::from_u64(11);
    let noise = (0..3_000).map(|n| {
        let mut bytes = match n % 3 {
            0 => packet(rng.next_u64() as u16, Attachment::Normal, false),
            1 => packet(n as u16, Attachment::Normal, true),
            _ => vec![0; rng.below(400) as usize],
        };
        if n % 3 != 1 && !bytes.is_empty() {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        bytes
    });
    let (session, _, octets) = feed(noise.collect::<Vec<_>>());
    let c = session.counters();
    assert_eq!(octets.len(), 3_000, "a unit each millisecond");
    assert!(c.malformed > 500, "{c:?}");
    assert!(c.rx_packets > 1_000, "{c:?}");
}

#[test]
fn a_session_catches_up_so_far_and_no_farther() {
    let mut rng = Rng::from_u64(1);
    let mut session = Session::new(SessionSettings::default(), &mut rng, ms(0)).unwrap();
    session.handle_timeout(ms(1_000));
    let mut units = 0;
    while let Some(output) = session.poll_output() {
        units += usize::from(matches!(output, Output::Unit(_)));
    }
    assert_eq!(units, crate::pri::CATCH_UP_MAX);
    let skipped = 1_000 - crate::pri::CATCH_UP_MAX as u64;
    assert_eq!(session.counters().clock_skip_ms, skipped);
    assert_eq!(session.poll_timeout(), ms(1_001));
}

#[test]
fn settings_out_of_range_are_named() {
    let bad = |change: fn(&mut SessionSettings)| {
        let mut settings = SessionSettings::default();
        change(&mut settings);
        Session::new(settings, &mut Rng::from_u64(1), ms(0))
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(
        bad(|s| s.timeslots = Timeslots::from_bits(0)),
        SettingsError::Timeslots,
    );
    assert_eq!(bad(|s| s.units_per_packet = 6), SettingsError::Timeslots);
    assert_eq!(
        bad(|s| s.units_per_packet = 0),
        SettingsError::UnitsPerPacket
    );
    assert_eq!(
        bad(|s| s.jitter = Duration::from_millis(501)),
        SettingsError::Jitter
    );
    assert_eq!(bad(|s| s.loss_after = 0), SettingsError::LossAfter);
    assert_eq!(bad(|s| s.recover_after = 256), SettingsError::RecoverAfter);
    assert_eq!(
        bad(|s| {
            s.rtp = Some(RtpSettings {
                payload_type: 8,
                ssrc: 0,
                peer_ssrc: None,
            })
        }),
        SettingsError::PayloadType
    );
}
