//! Two legs that hear each other.

use super::*;
use crate::base::Rng;
use crate::media::codec::{Codec, Decoder, Encoder};
use crate::media::dtmf::{Detector, Digit, Event as Tone, Generator, LEVEL_DBM0};
use crate::media::event::{EventReceiver, EventSender, KeyChange};
use crate::media::goertzel::amplitude;
use crate::wire::rtp::event::key as key_of;

const HZ: f32 = 440.0;

fn of(coding: Coding, events: Option<u8>) -> Format {
    Format {
        events,
        ..Format::plain(coding, coding.payload_type())
    }
}

/// A far end: says a tone or keys, and hears.
struct Phone {
    format: Format,
    codec: Codec,
    encoder: Encoder,
    decoder: Decoder,
    header: Header,
    at: usize,
    keys: EventSender,
    tones: Vec<Generator>,
    heard: Vec<i16>,
    packets: Vec<Header>,
    receiver: EventReceiver,
    events: String,
    /// How long each of them was held, in units of their clock.
    held: Vec<u32>,
}

impl Phone {
    fn new(format: Format) -> Self {
        let codec = Codec::from(format.coding);
        Self {
            codec,
            encoder: Encoder::new(codec),
            decoder: Decoder::new(codec),
            header: Header {
                marker: true,
                payload_type: format.payload_type,
                sequence: 65_000,
                timestamp: 4_294_900_000,
                ssrc: format.coding as u32 + 100,
            },
            at: 0,
            keys: EventSender::new(format.events_clock),
            tones: Vec::new(),
            heard: Vec::new(),
            packets: Vec::new(),
            receiver: EventReceiver::new(),
            events: String::new(),
            held: Vec::new(),
            format,
        }
    }

    fn press(&mut self, key: char) {
        let digit = Digit::from_char(key).unwrap();
        match self.format.events {
            Some(_) => self.keys.press(digit.code(), 120).unwrap(),
            None => {
                let rate = self.codec.sample_rate();
                self.tones
                    .push(Generator::new(digit, rate, 120, 100, LEVEL_DBM0));
            }
        }
    }

    fn speak(&mut self) -> Vec<u8> {
        let mut samples = vec![0; self.codec.samples(20)];
        let rate = self.codec.sample_rate() as f32;
        for sample in &mut samples {
            let angle = std::f32::consts::TAU * HZ * self.at as f32 / rate;
            *sample = (8000.0 * angle.sin()) as i16;
            self.at += 1;
        }
        if let Some(tone) = self.tones.first_mut() {
            tone.fill(&mut samples);
            if tone.is_over() {
                self.tones.remove(0);
            }
        }
        let mut body = vec![0; self.codec.payload_len(samples.len())];
        let length = self.encoder.encode(&samples, &mut body);
        body.truncate(length);
        let step = self.codec.ticks(20);
        let mut header = self.header;
        let units = self.format.events_clock / 50;
        let event = self.keys.poll_packet(header.timestamp, units);
        if let (Some(event), Some(payload_type)) = (event, self.format.events) {
            header.marker = event.marker;
            header.timestamp = event.timestamp;
            header.payload_type = payload_type;
            body = event.event.emit().to_vec();
        }
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(step);
        self.header.marker = false;
        [&header.emit()[..], &body].concat()
    }

    fn hear(&mut self, now: Instant, bytes: &[u8]) {
        let packet = Packet::new_checked(bytes).unwrap();
        let header = packet.header();
        self.packets.push(header);
        if Some(header.payload_type) == self.format.events {
            self.receiver.handle_packet(now, &header, packet.payload());
            while let Some(change) = self.receiver.poll_change() {
                match change {
                    KeyChange::Pressed { code } => self.events.push(key_of(code).unwrap()),
                    KeyChange::Released { units, .. } => self.held.push(units),
                }
            }
            return;
        }
        assert_eq!(header.payload_type, self.format.payload_type);
        let mut samples = [0; 2000];
        let count = self.decoder.decode(packet.payload(), &mut samples);
        self.heard.extend(&samples[..count]);
    }

    fn tones(&self) -> String {
        let mut detector = Detector::new(self.codec.sample_rate());
        let mut keys = String::new();
        detector.push(&self.heard, |event| {
            if let Tone::Began(digit) = event {
                keys.push(digit.as_char());
            }
        });
        keys
    }
}

struct Call {
    studio: Studio,
    phones: [Phone; 2],
    now: Instant,
    news: Vec<News>,
    /// One packet in so many is lost.
    lost: u64,
    rng: Rng,
}

impl Call {
    fn new(a: Format, b: Format) -> Self {
        let mut call = Self {
            studio: Studio::new(8, ANCHOR),
            phones: [Phone::new(a.clone()), Phone::new(b.clone())],
            now: Instant::from_millis(5000),
            news: Vec::new(),
            lost: 0,
            rng: Rng::from_u64(1),
        };
        for (session, format) in [(1, a), (2, b)] {
            let seed = session;
            call.order(Order::Open {
                session,
                format,
                seed,
            });
        }
        call.bridge(1, 2);
        call.bridge(2, 1);
        call
    }

    fn order(&mut self, order: Order) {
        self.studio.handle_order(self.now, order);
    }

    fn bridge(&mut self, session: u64, with: u64) {
        let what = Task::Bridge { with };
        let task = session as u32;
        self.order(Order::Do {
            session,
            task,
            what,
        });
    }

    fn run(&mut self, frames: usize) {
        for _ in 0..frames {
            let mut sent = Sent::default();
            for (at, session) in [(0, 1), (1, 2)] {
                let mut bytes = self.phones[at].speak();
                if self.lost == 0 || !self.rng.chance(1, self.lost) {
                    self.studio
                        .handle_rtp(self.now, session, 0, &mut bytes, &mut sent);
                }
            }
            self.now += std::time::Duration::from_millis(20);
            self.studio.handle_timeout(self.now, &mut sent);
            for (session, bytes) in sent.0 {
                self.phones[session as usize - 1].hear(self.now, &bytes);
            }
            while let Some(news) = self.studio.poll_news() {
                self.news.push(news);
            }
        }
    }

    fn told(&self, session: u64) -> String {
        let of = |news: &News| match news {
            News::Key { session: s, key } if *s == session => Some(*key),
            _ => None,
        };
        self.news.iter().filter_map(of).collect()
    }
}

/// The largest second difference of a sound, and what a tone of ours has by itself, twice over, with
/// a tenth of its loudness for the codec's noise: what is beyond is a click.
fn clicks(phone: &Phone, sound: &[i16]) -> (f32, f32) {
    let angle = std::f32::consts::TAU * HZ / phone.codec.sample_rate() as f32;
    let bent = |w: &[i16]| (f32::from(w[0]) - 2.0 * f32::from(w[1]) + f32::from(w[2])).abs();
    let most = sound.windows(3).map(bent).fold(0.0, f32::max);
    (most, 8000.0 * (2.0 * angle * angle + 0.1))
}

fn level(phone: &Phone) -> f32 {
    let rate = phone.codec.sample_rate();
    let from = phone.heard.len() - rate as usize / 5;
    20.0 * (amplitude(&phone.heard[from..], HZ, rate) / 8000.0).log10()
}

#[test]
fn every_coding_hears_every_other_within_a_decibel() {
    for a in Coding::ALL {
        for b in Coding::ALL {
            let mut call = Call::new(of(*a, Some(101)), of(*b, Some(96)));
            call.run(60);
            for phone in &call.phones {
                let change = level(phone);
                assert!(change.abs() < 1.0, "{a:?} {b:?}: {change} dB");
                let settled = &phone.heard[phone.heard.len() / 4..];
                let (bent, most) = clicks(phone, settled);
                assert!(bent < most, "{a:?} {b:?}: a click of {bent}, beyond {most}");
                // What the detector would find: ten milliseconds cut out.
                let (first, second) = settled.split_at(settled.len() / 2);
                let cut = second.get(phone.codec.samples(10)..).unwrap();
                let (bent, most) = clicks(phone, &[first, cut].concat());
                assert!(bent > most, "{a:?} {b:?}: {bent} of {most}");
                let ms = phone.codec.ptime_ms(20);
                // A constant flow of packets, one after the other.
                let pairs = phone.packets.windows(2);
                for pair in pairs.skip(5) {
                    let step = pair[1].sequence.wrapping_sub(pair[0].sequence);
                    let units = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
                    let expected = match a == b {
                        true => phone.codec.ticks(20),
                        false => phone.codec.ticks(ms),
                    };
                    assert_eq!((step, units), (1, expected), "{a:?} {b:?}");
                }
                assert!(phone.packets.len() >= 57, "{}", phone.packets.len());
            }
        }
    }
}

#[test]
fn gaps_go_across_where_nothing_is_converted() {
    let mut call = Call::new(of(Coding::Pcma, Some(101)), of(Coding::Pcma, Some(96)));
    call.lost = 5;
    call.run(200);
    for phone in &call.phones {
        let first = phone.packets[0];
        assert!(first.marker);
        let last = phone.packets.last().unwrap();
        let span = last.sequence.wrapping_sub(first.sequence);
        assert!(span >= 190 && phone.packets.len() < 190, "{span}");
        for packet in &phone.packets {
            let n = packet.sequence.wrapping_sub(first.sequence);
            let units = packet.timestamp.wrapping_sub(first.timestamp);
            assert_eq!(units, u32::from(n) * 160);
            assert_eq!(packet.ssrc, first.ssrc);
        }
    }
}

#[test]
fn loss_is_concealed_where_it_is_converted() {
    let mut call = Call::new(of(Coding::Pcmu, Some(101)), of(Coding::G722, Some(96)));
    call.lost = 20;
    call.run(400);
    for phone in &call.phones {
        assert!(phone.packets.len() >= 395, "{}", phone.packets.len());
    }
}

#[test]
fn keys_arrive_whatever_each_side_has() {
    let codings = [Coding::Pcma, Coding::Pcmu, Coding::G722];
    for (a, b) in codings.iter().flat_map(|a| codings.map(|b| (*a, b))) {
        for (ours, theirs) in [
            (Some(101), Some(96)),
            (Some(101), None),
            (None, Some(96)),
            (None, None),
        ] {
            let mut call = Call::new(of(a, ours), of(b, theirs));
            call.run(50);
            for key in "159*#D0".chars() {
                call.phones[0].press(key);
            }
            call.run(150);
            assert_eq!(call.told(1), "159*#D0", "{a:?} {ours:?} {b:?} {theirs:?}");
            assert_eq!(call.told(2), "");
            let heard = match theirs {
                Some(_) => call.phones[1].events.clone(),
                None => call.phones[1].tones(),
            };
            assert_eq!(heard, "159*#D0", "{a:?} {ours:?} {b:?} {theirs:?}");
            if theirs.is_some() && ours.is_none() {
                // Not twice.
                assert_eq!(call.phones[1].tones(), "");
            }
        }
    }
}

/// As with Opus beside events of 8 kHz.
#[test]
fn keys_of_another_clock_than_the_sound_arrive_by_it() {
    let at = |coding, events_clock| Format {
        events_clock,
        ..of(coding, Some(101))
    };
    for (a, b) in [
        (at(Coding::Linear16, 8_000), at(Coding::Linear16, 16_000)),
        (at(Coding::Linear16, 16_000), at(Coding::Linear16, 8_000)),
        (at(Coding::Linear16, 8_000), at(Coding::Linear16, 8_000)),
        (at(Coding::Pcma, 8_000), at(Coding::Linear16, 8_000)),
        (at(Coding::Linear16, 8_000), at(Coding::Pcmu, 8_000)),
    ] {
        let clock = b.events_clock;
        let mut call = Call::new(a, b);
        call.run(50);
        for key in "159*#D0".chars() {
            call.phones[0].press(key);
        }
        call.run(150);
        assert_eq!(call.told(1), "159*#D0");
        assert_eq!(call.phones[1].events, "159*#D0");
        for units in &call.phones[1].held {
            let ms = units * 1000 / clock;
            assert!((100..=120).contains(&ms), "{ms} ms at {clock} Hz");
        }
    }
}

#[test]
fn keys_that_come_by_signalling_arrive() {
    for (coding, theirs) in [
        (Coding::Pcma, Some(96)),
        (Coding::Pcma, None),
        (Coding::G722, Some(96)),
        (Coding::G722, None),
    ] {
        let events = Some(101).filter(|_| theirs.is_some());
        let mut call = Call::new(of(Coding::Pcma, events), of(coding, theirs));
        call.run(50);
        for key in "159*#D0".chars() {
            call.order(Order::Press { session: 2, key });
        }
        call.run(150);
        let heard = match theirs {
            Some(_) => call.phones[1].events.clone(),
            None => call.phones[1].tones(),
        };
        assert_eq!(heard, "159*#D0", "{coding:?} {theirs:?}");
        // The sound goes on, and other keys find their way.
        call.run(50);
        assert!(level(&call.phones[1]).abs() < 1.0, "{coding:?} {theirs:?}");
        call.phones[0].press('7');
        call.run(50);
        if theirs.is_some() {
            assert_eq!(call.phones[1].events, "159*#D07", "{coding:?}");
        }
        assert_eq!(call.phones[0].events, "");
    }
    // Who is not bridged has nobody to say it for.
    let mut call = Call::new(of(Coding::Pcma, None), of(Coding::Pcma, None));
    let (session, what) = (2, Task::Rest);
    let task = 9;
    call.order(Order::Do {
        session,
        task,
        what,
    });
    call.order(Order::Press { session, key: '1' });
    call.run(50);
    assert!(call.phones[1].packets.is_empty());
}

/// The far end gets keys by signalling, which is not the studio's affair.
#[test]
fn keys_that_go_apart_are_no_tones() {
    let mut apart = of(Coding::G722, None);
    apart.keys_apart = true;
    let mut call = Call::new(of(Coding::Pcma, Some(101)), apart);
    call.run(50);
    for key in "15".chars() {
        call.phones[0].press(key);
        call.run(20);
    }
    call.run(50);
    assert_eq!(call.phones[1].tones(), "");
    assert!(level(&call.phones[1]).abs() < 1.0);
    // Until it refuses them.
    let (session, seed, format) = (2, 9, of(Coding::G722, None));
    call.order(Order::Open {
        session,
        format,
        seed,
    });
    call.phones[0].press('7');
    call.run(50);
    assert_eq!(call.phones[1].tones(), "7");
}

#[test]
fn both_must_want_it_and_the_end_of_one_is_told_to_the_other() {
    for b in [Coding::Pcma, Coding::G722] {
        let mut call = Call::new(of(Coding::Pcma, Some(101)), of(b, Some(101)));
        call.run(50);
        // The second hears music; the first still wants the bridge.
        let what = Task::Play {
            sounds: vec![Sound::Music],
            rounds: None,
            until_key: false,
        };
        call.order(Order::Do {
            session: 2,
            task: 7,
            what,
        });
        call.phones.iter_mut().for_each(|p| p.packets.clear());
        call.run(100);
        // But for what was in the jitter buffer, and its concealment.
        assert!(
            call.phones[0].packets.len() < 45,
            "{}",
            call.phones[0].packets.len()
        );
        assert!(call.phones[1].packets.len() > 95);
        assert!(level(&call.phones[1]) < -10.0);
        call.bridge(2, 1);
        call.run(100);
        assert!(level(&call.phones[0]).abs() < 1.0 && level(&call.phones[1]).abs() < 1.0);
        call.order(Order::Close { session: 2 });
        call.run(1);
        let done = News::Done {
            session: 1,
            task: 1,
            played_ms: 0,
        };
        assert_eq!(call.news, [done]);
        assert_eq!(call.studio.legs(), 1);
    }
}

/// As a refresh of the session does: the same format once more.
#[test]
fn keys_that_wait_outlive_a_format_that_is_told_again() {
    for theirs in [Some(96), None] {
        let formats = [of(Coding::Pcma, None), of(Coding::G722, theirs)];
        let mut call = Call::new(formats[0].clone(), formats[1].clone());
        call.run(50);
        for key in "159*#D0".chars() {
            call.order(Order::Press { session: 2, key });
        }
        for _ in 0..15 {
            call.run(10);
            for (session, format) in (1..).zip(formats.clone()) {
                let seed = 9;
                call.order(Order::Open {
                    session,
                    format,
                    seed,
                });
            }
        }
        let heard = match theirs {
            Some(_) => call.phones[1].events.clone(),
            None => call.phones[1].tones(),
        };
        assert_eq!(heard, "159*#D0", "{theirs:?}");
    }
}

#[test]
fn a_new_format_in_the_middle_changes_the_way() {
    let mut call = Call::new(of(Coding::Pcma, Some(101)), of(Coding::Pcma, Some(101)));
    for coding in [Coding::G722, Coding::Pcma, Coding::Pcmu] {
        call.run(60);
        let format = of(coding, Some(101));
        let before = call.phones[1].packets.last().unwrap().sequence;
        call.phones[1] = Phone::new(format.clone());
        let (session, seed) = (2, 9);
        call.order(Order::Open {
            session,
            format,
            seed,
        });
        call.run(60);
        for phone in &call.phones {
            assert!(level(phone).abs() < 1.0, "{coding:?}");
        }
        // Our numbers go on.
        let after = call.phones[1].packets[0].sequence;
        assert!(
            (1..4).contains(&after.wrapping_sub(before)),
            "{before} {after}"
        );
    }
}

#[test]
fn on_hold_nothing_is_sent() {
    for b in [Coding::Pcma, Coding::G722] {
        let mut call = Call::new(of(Coding::Pcma, Some(101)), of(b, Some(101)));
        call.run(20);
        let format = Format {
            sends: false,
            ..of(Coding::Pcma, Some(101))
        };
        let (session, seed) = (1, 1);
        call.order(Order::Open {
            session,
            format,
            seed,
        });
        call.phones.iter_mut().for_each(|p| p.packets.clear());
        call.run(50);
        assert!(call.phones[0].packets.is_empty());
        assert!(call.phones[1].packets.len() >= 48);
    }
}

/// An answer that names several ways to write lets the far end change between them (RFC 3264 §7),
/// as Asterisk does that passes on what somebody else says.
#[test]
fn a_side_that_writes_otherwise_in_the_middle_is_heard() {
    let mut studio = Studio::new(4, ANCHOR);
    let several = Format {
        also: [Some((0, Coding::Pcmu)), None, None],
        ..of(Coding::Pcma, None)
    };
    let mut writer = [Coding::Pcma, Coding::Pcmu].map(|coding| Phone::new(of(coding, None)));
    let mut listener = Phone::new(of(Coding::G722, None));
    for (session, format) in [(7, several), (8, listener.format.clone())] {
        let seed = session;
        let open = Order::Open {
            session,
            format,
            seed,
        };
        studio.handle_order(Instant::ZERO, open);
        let begin = Order::Do {
            session,
            task: 1,
            what: Task::Bridge { with: 15 - session },
        };
        studio.handle_order(Instant::ZERO, begin);
    }
    for ms in (0..4000u64).step_by(20) {
        let now = Instant::from_millis(ms);
        let mut sent = Sent::default();
        let place = usize::from((ms / 1000) % 2 == 1);
        let mut bytes = writer[place].speak();
        let number = (ms / 20) as u16;
        bytes[2..4].copy_from_slice(&number.to_be_bytes());
        bytes[4..8].copy_from_slice(&(ms as u32 * 8).to_be_bytes());
        bytes[8..12].copy_from_slice(&9u32.to_be_bytes());
        studio.handle_rtp(now, 7, 0, &mut bytes, &mut sent);
        studio.handle_timeout(now, &mut sent);
        for (_, bytes) in sent.0.iter().filter(|(session, _)| *session == 8) {
            listener.hear(now, bytes);
        }
    }
    assert_eq!(studio.counters().wrong_type, 0);
    for second in 0..4 {
        let from = second * 16_000 + 6000;
        let level = amplitude(&listener.heard[from..from + 8000], HZ, 16_000);
        assert!((7000.0..9000.0).contains(&level), "{second}: {level}");
    }
}
