//! Rooms whose members take their turns in any order that several workers may have.

use super::super::codec::Decoder;
use super::super::goertzel::amplitude;
use super::super::tone::{Country, Tone};
use super::*;
use crate::base::Rng;

/// What a member says in a frame: a tone of its own that never ends, far from full scale, so that
/// nothing bends and sums are exact.
fn voice(member: usize, frame: u64, length: usize, rate: u32) -> Vec<i16> {
    let hz = 300.0 + 130.0 * member as f64;
    let at = |n: usize| (frame as usize * length + n) as f64 / f64::from(rate);
    let value = |n| (1500.0 * (std::f64::consts::TAU * hz * at(n)).sin()) as i16;
    (0..length).map(value).collect()
}

/// One turn, with what the member hears as samples.
fn heard(seat: &mut Seat, frame: u64, said: &[i16]) -> Option<Vec<i16>> {
    match seat.exchange(frame, said, (None, false), &mut []) {
        Exchange::Late => None,
        Exchange::Own => Some(seat.samples.to_vec()),
        Exchange::Common(_) | Exchange::Silence => panic!("no payload was asked for"),
    }
}

fn sum<'a>(parts: impl Iterator<Item = &'a Vec<i16>>, length: usize) -> Vec<i16> {
    let mut sum = vec![0; length];
    for part in parts {
        for (sum, sample) in sum.iter_mut().zip(part) {
            *sum += *sample;
        }
    }
    sum
}

fn shuffle(order: &mut [usize], rng: &mut Rng) {
    for n in (1..order.len()).rev() {
        order.swap(n, rng.below(n as u64 + 1) as usize);
    }
}

/// Frames behind which a voice is not faded in any more.
const SETTLED: u64 = 2;

#[test]
fn each_hears_the_sum_of_the_others_one_frame_later() {
    for rate in RATES {
        for seed in 0..20 {
            let mut rng = Rng::from_u64(seed);
            let rooms = Arc::new(Rooms::new());
            let count = 2 + rng.below(7) as usize;
            let mut seats: Vec<Seat> = (0..count).map(|_| rooms.join("a", rate).unwrap()).collect();
            let length = seats[0].frame_samples();
            let first = 1 + rng.below(1 << 40);
            let mut said: Vec<Vec<i16>> = Vec::new();
            for frame in first..first + 30 {
                let mut order: Vec<usize> = (0..count).collect();
                shuffle(&mut order, &mut rng);
                let before = std::mem::take(&mut said);
                said = (0..count).map(|m| voice(m, frame, length, rate)).collect();
                for member in order {
                    let got = heard(&mut seats[member], frame, &said[member]).unwrap();
                    if frame > first + SETTLED {
                        let others = before.iter().enumerate();
                        let others = others.filter(|(m, _)| *m != member).map(|(_, v)| v);
                        assert_eq!(got, sum(others, length), "seed {seed} frame {frame}");
                    }
                }
            }
            assert_eq!(seats[0].late(), 0);
        }
    }
}

/// Two or three workers, each with some of the members, whose clocks wander within a frame: turns of
/// frame n+1 mix with those of frame n, and whoever is behind by then is left out.
#[test]
fn workers_that_come_when_they_like_never_repeat_or_mix_frames() {
    const RATE: u32 = 8000;
    for seed in 0..200 {
        let mut rng = Rng::from_u64(seed);
        let rooms = Arc::new(Rooms::new());
        let (workers, count) = (2 + rng.below(2) as usize, 6);
        let mut seats: Vec<Seat> = (0..count).map(|_| rooms.join("a", RATE).unwrap()).collect();
        let length = seats[0].frame_samples();
        let mut at = vec![10u64; workers];
        // By frame: what went in.
        let mut parts: BTreeMap<u64, Vec<(usize, Vec<i16>)>> = BTreeMap::new();
        let mut open = 0;
        let mut lates = 0;
        while at.iter().any(|f| *f < 60) {
            let worker = rng.below(workers as u64) as usize;
            // Nobody is further ahead than his clock: two frames before the slowest at most.
            let slowest = at.iter().min().copied().unwrap();
            if at[worker] > slowest + 1 {
                continue;
            }
            let frame = at[worker];
            at[worker] += 1;
            for member in (0..count).filter(|m| m % workers == worker) {
                let said = voice(member, frame, length, RATE);
                match heard(&mut seats[member], frame, &said) {
                    None => {
                        assert!(frame < open, "seed {seed}: frame {frame} was still open");
                        lates += 1;
                    }
                    Some(got) => {
                        open = open.max(frame);
                        // Whoever paused may fade in or out: such frames are not compared.
                        let steady = |f: u64| parts.get(&f).is_some_and(|p| p.len() == count);
                        if (3..=4).all(|back| steady(frame - back)) && steady(frame - 2) {
                            let before = parts.get(&(frame - 1)).cloned().unwrap_or_default();
                            let others = before.iter().filter(|(m, _)| *m != member);
                            let expected = sum(others.map(|(_, v)| v), length);
                            assert_eq!(got, expected, "seed {seed} frame {frame} {member}");
                        }
                        parts.entry(frame).or_default().push((member, said));
                    }
                }
            }
        }
        assert_eq!(seats[0].late(), lates, "seed {seed}");
    }
}

#[test]
fn a_late_worker_loses_its_frame_and_goes_on() {
    let rooms = Arc::new(Rooms::new());
    let mut a = rooms.join("a", 8000).unwrap();
    let mut b = rooms.join("a", 8000).unwrap();
    let length = a.frame_samples();
    for frame in 1..10 {
        heard(&mut a, frame, &voice(0, frame, length, 8000)).unwrap();
        heard(&mut b, frame, &voice(1, frame, length, 8000)).unwrap();
    }
    // b sleeps over three frames, and comes with the first of them.
    for frame in 10..13 {
        heard(&mut a, frame, &voice(0, frame, length, 8000)).unwrap();
    }
    assert_eq!(heard(&mut b, 10, &voice(1, 10, length, 8000)), None);
    assert_eq!(b.late(), 1);
    let got = heard(&mut b, 12, &voice(1, 12, length, 8000)).unwrap();
    assert_eq!(got, voice(0, 11, length, 8000));
    // The same frame twice, and the clock backwards.
    assert_eq!(heard(&mut b, 12, &[]), None);
    assert_eq!(heard(&mut b, 11, &[]), None);
    // A frame in which nobody came at all.
    let got = heard(&mut b, 20, &voice(1, 20, length, 8000)).unwrap();
    assert_eq!(got, vec![0; length]);
}

#[test]
fn who_joins_or_leaves_in_the_middle_disturbs_nobody() {
    for seed in 0..100 {
        let mut rng = Rng::from_u64(seed);
        let rooms = Arc::new(Rooms::new());
        let mut stay: Vec<Seat> = (0..2).map(|_| rooms.join("a", 16_000).unwrap()).collect();
        let mut guest: Option<(Seat, u64)> = None;
        let length = stay[0].frame_samples();
        let mut last_part = None;
        for frame in 1..80 {
            let part = last_part.take();
            if rng.below(6) == 0 {
                guest = match guest {
                    Some(_) => None,
                    None => Some((rooms.join("a", 16_000).unwrap(), frame)),
                };
            }
            for (member, seat) in stay.iter_mut().enumerate() {
                let said = voice(member, frame, length, 16_000);
                let got = heard(seat, frame, &said).unwrap();
                if frame <= 1 + SETTLED {
                    continue;
                }
                // Of a guest, the frame before: faded in the first, and to the sample then on.
                let other = voice(1 - member, frame - 1, length, 16_000);
                match &part {
                    None => assert_eq!(got, other, "seed {seed} frame {frame}"),
                    Some((said, first)) if !first => {
                        let both = sum([&other, said].into_iter(), length);
                        assert_eq!(got, both, "seed {seed} frame {frame}");
                    }
                    Some(_) => assert_ne!(got, other),
                }
            }
            if let Some((seat, joined)) = &mut guest {
                let said = voice(4, frame, length, 16_000);
                heard(seat, frame, &said).unwrap();
                last_part = Some((said, *joined == frame));
            }
        }
    }
}

#[test]
fn muted_and_deafened_members_are_so() {
    let rooms = Arc::new(Rooms::new());
    let mut seats: Vec<Seat> = (0..3).map(|_| rooms.join("a", 8000).unwrap()).collect();
    seats[0].set_muted(true);
    seats[1].set_deafened(true);
    let length = seats[0].frame_samples();
    let mut got = Vec::new();
    let mut changes = 0;
    for frame in 1..60 {
        got = (0..3)
            .map(|m| heard(&mut seats[m], frame, &voice(m, frame, length, 8000)).unwrap())
            .collect();
        changes += seats[0].talk_change().map_or(0, |talks| {
            assert!(talks);
            1
        });
    }
    let before = |m| voice(m, 58, length, 8000);
    assert_eq!(got[0], sum([before(1), before(2)].iter(), length));
    assert_eq!(got[1], vec![0; length]);
    assert_eq!(got[2], before(1));
    // It is told that the muted one talks, once.
    assert_eq!(changes, 1);
}

/// A member's way to hear by a codec.
struct Phone {
    seat: Seat,
    coding: Coding,
    decoder: Decoder,
    heard: Vec<i16>,
}

impl Phone {
    fn new(rooms: &Arc<Rooms>, rate: u32, coding: Coding) -> Self {
        Self {
            seat: rooms.join("a", rate).unwrap(),
            coding,
            decoder: Decoder::new(coding.into()),
            heard: Vec::new(),
        }
    }

    fn turn(&mut self, frame: u64, said: &[i16], over: Option<&mut Player>) -> Vec<u8> {
        let mut payload = [0; PAYLOAD_MAX];
        let taken = self
            .seat
            .turn(frame, said, (self.coding, false), over, &mut payload);
        let Taken::Payload(length) = taken else {
            panic!("late")
        };
        let mut samples = [0; 320];
        let count = self.decoder.decode(&payload[..length], &mut samples);
        assert_eq!(count, Codec::from(self.coding).samples(FRAME_MS));
        self.heard.extend_from_slice(&samples[..count]);
        payload[..length].to_vec()
    }

    fn level(&self, hz: f32) -> f32 {
        let rate = Codec::from(self.coding).sample_rate();
        let second = &self.heard[self.heard.len() - rate as usize / 2..];
        amplitude(second, hz, rate)
    }
}

#[test]
fn all_rates_and_encodings_hear_each_other() {
    for rate in RATES {
        let rooms = Arc::new(Rooms::new());
        let codings = [Coding::Pcma, Coding::Pcmu, Coding::G722, Coding::Gsm];
        let mut phones: Vec<Phone> = codings
            .iter()
            .map(|coding| Phone::new(&rooms, rate, *coding))
            .collect();
        // Listeners, two of each.
        for coding in codings.iter().chain(&codings) {
            phones.push(Phone::new(&rooms, rate, *coding));
        }
        let length = phones[0].seat.frame_samples();
        for frame in 1..100 {
            let mut payloads = Vec::new();
            for (member, phone) in phones.iter_mut().enumerate() {
                let said = match member {
                    0..4 => voice(member, frame, length, rate),
                    _ => vec![2; length],
                };
                payloads.push(phone.turn(frame, &said, None));
            }
            for n in 4..8 {
                assert_eq!(
                    payloads[n],
                    payloads[n + 4],
                    "listeners of one encoding differ"
                );
            }
        }
        for (member, phone) in phones.iter().enumerate() {
            for other in 0..4 {
                let level = phone.level(300.0 + 130.0 * other as f32);
                match member == other {
                    true => assert!(level < 100.0, "{rate} {member} hears itself: {level}"),
                    false => assert!(level > 900.0, "{rate} {member} {other}: {level}"),
                }
            }
        }
    }
}

/// Who begins to talk hears on from where the common encoder was: its own decoder sees no seam.
#[test]
fn the_common_payload_and_the_own_one_follow_without_a_seam() {
    let rooms = Arc::new(Rooms::new());
    let mut talker = Phone::new(&rooms, 16_000, Coding::G722);
    let mut other = Phone::new(&rooms, 16_000, Coding::G722);
    let mut listener = Phone::new(&rooms, 16_000, Coding::G722);
    let length = talker.seat.frame_samples();
    for frame in 1..50 {
        talker.turn(frame, &voice(0, frame, length, 16_000), None);
        let says = match frame {
            20.. => voice(5, frame, length, 16_000),
            _ => vec![0; length],
        };
        other.turn(frame, &says, None);
        listener.turn(frame, &vec![0; length], None);
    }
    // The other heard the talker all the time; the listener both, from frame 21 on.
    let from = 16 * 320;
    let (a, b) = (
        &other.heard[from..20 * 320],
        &listener.heard[from..20 * 320],
    );
    assert_eq!(a, b);
    let window = &other.heard[20 * 320..24 * 320];
    let level = amplitude(window, 300.0, 16_000);
    assert!((1300.0..1700.0).contains(&level), "{level}");
    let own = amplitude(window, 950.0, 16_000);
    assert!(own < 60.0, "{own}");
}

#[test]
fn what_is_announced_all_hear_and_what_is_said_to_one_no_other() {
    let rooms = Arc::new(Rooms::new());
    let mut phones: Vec<Phone> = (0..3)
        .map(|_| Phone::new(&rooms, 8000, Coding::Pcma))
        .collect();
    let length = phones[0].seat.frame_samples();
    let tone = |tone| Sound::Tone {
        country: Country::Es,
        tone,
        ms: Some(600),
    };
    phones[0].seat.announce(vec![tone(Tone::Dial)]);
    for frame in 1..26 {
        for phone in &mut phones {
            phone.turn(frame, &vec![0; length], None);
        }
    }
    // Spain's dial tone: 425 Hz.
    for phone in &phones {
        assert!(phone.level(425.0) > 500.0, "{}", phone.level(425.0));
        assert!(!phone.seat.talks);
    }
    for frame in 26..60 {
        for phone in &mut phones {
            phone.turn(frame, &vec![0; length], None);
        }
    }
    assert!(phones[0].level(425.0) < 10.0);
    let mut player = Player::new(vec![tone(Tone::Dial)], Some(1), 8000, Arc::default());
    for frame in 60..86 {
        let (first, others) = phones.split_first_mut().unwrap();
        first.turn(frame, &vec![0; length], Some(&mut player));
        for phone in others {
            phone.turn(frame, &vec![0; length], None);
        }
    }
    assert!(phones[0].level(425.0) > 500.0);
    assert!(phones[1].level(425.0) < 10.0);
}

#[test]
fn the_volume_of_one_is_nobody_elses() {
    let rooms = Arc::new(Rooms::new());
    let mut phones: Vec<Phone> = (0..3)
        .map(|_| Phone::new(&rooms, 8000, Coding::Pcmu))
        .collect();
    phones[1].seat.set_volume(VOLUME_ONE * 2);
    let length = phones[0].seat.frame_samples();
    for frame in 1..60 {
        for (member, phone) in phones.iter_mut().enumerate() {
            let said = match member {
                0 => voice(0, frame, length, 8000),
                _ => vec![0; length],
            };
            phone.turn(frame, &said, None);
        }
    }
    let (loud, plain) = (phones[1].level(300.0), phones[2].level(300.0));
    assert!((loud / plain - 2.0).abs() < 0.05, "{loud} {plain}");
}

#[test]
fn rooms_and_their_members_are_bounded() {
    let rooms = Arc::new(Rooms::new());
    assert!(rooms.join("a", 44_100).is_none());
    assert!(rooms.is_empty());
    let mut seats: Vec<Seat> = (0..PARTICIPANTS_MAX)
        .map(|_| rooms.join("a", 8000).unwrap())
        .collect();
    assert!(rooms.join("a", 8000).is_none());
    seats.pop();
    // A room keeps its rate while somebody is inside.
    assert_eq!(rooms.join("a", 48_000).unwrap().rate(), 8000);
    let more: Vec<Seat> = (1..ROOMS_MAX)
        .map(|n| rooms.join(&n.to_string(), 8000).unwrap())
        .collect();
    assert!(rooms.join("one more", 8000).is_none());
    drop(seats);
    assert_eq!(rooms.len(), ROOMS_MAX - 1);
    drop(more);
    assert!(rooms.is_empty());
    assert_eq!(rooms.join("a", 48_000).unwrap().rate(), 48_000);
}
