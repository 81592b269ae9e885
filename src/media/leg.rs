//! One leg that ends here: its stream, what it says, and what it hears.

use super::codec::{Codec, Encoder};
use super::event::{EventReceiver, KeyChange};
use super::order::{Figures, Format, SOUNDS_MAX, Task};
use super::player::Player;
use super::secure::Secure;
use super::stream::{Heard, RtpStream};
use crate::base::{Instant, Rng, TimerId};
use crate::wire::rtp::event::key;
use crate::wire::rtp::{HEADER_SIZE, Packet};
use std::time::Duration;

/// What we call ourselves in reports; nothing in it tells who calls (RFC 7022 §4.2).
const CNAME: &str = "voip";
/// Behind the present by more than this, what plays goes on from the present.
const LATE_MAX: Duration = Duration::from_millis(200);

/// Samples of one packet: 60 ms (`sip::offer_answer`) at 16 kHz.
const SAMPLES_MAX: usize = 960;

/// What a leg does.
#[derive(Debug)]
enum Doing {
    Resting,
    Echoing,
    Playing(Box<Playing>),
}

#[derive(Debug)]
struct Playing {
    player: Player,
    encoder: Encoder,
    /// When the next packet leaves.
    due: Instant,
    /// Whether a key ends it.
    until_key: bool,
}

/// One leg.
#[derive(Debug)]
pub(super) struct Leg {
    pub session: u64,
    pub format: Format,
    pub timer: Option<TimerId>,
    stream: RtpStream,
    keys: EventReceiver,
    secure: Option<Box<Secure>>,
    task: u32,
    doing: Doing,
}

/// What became of a leg's turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// A packet was written.
    Spoke,
    /// Its task is over.
    Done { task: u32 },
    /// There was nothing to do.
    Idle,
}

impl Leg {
    pub fn new(now: Instant, session: u64, format: Format, seed: u64) -> Self {
        let clock = format.coding.clock_rate();
        let keys = format.keys.clone();
        let mut leg = Self {
            session,
            format,
            timer: None,
            stream: RtpStream::new(now, clock, CNAME, Rng::from_u64(seed)),
            keys: EventReceiver::new(),
            secure: None,
            task: 0,
            doing: Doing::Resting,
        };
        leg.secure = Secure::renewed(None, keys.as_ref());
        leg
    }

    /// A packet as it came, in the clear; `None` if it is none of this leg's.
    pub fn open<'p>(&mut self, packet: &'p mut [u8], rtcp: bool) -> Option<&'p [u8]> {
        match &mut self.secure {
            Some(secure) => secure.open(packet, rtcp),
            None => Some(packet),
        }
    }

    /// A packet as it leaves; whether it may.
    pub fn seal(&mut self, packet: &mut Vec<u8>, rtcp: bool) -> bool {
        match &mut self.secure {
            Some(secure) => secure.seal(packet, rtcp),
            None => true,
        }
    }

    /// Another format was agreed on; what plays goes on in it.
    pub fn reformat(&mut self, format: Format) {
        if let Doing::Playing(playing) = &mut self.doing
            && format.coding != self.format.coding
        {
            playing.encoder = Encoder::new(format.coding.into());
            playing
                .player
                .set_rate(Codec::from(format.coding).sample_rate());
        }
        self.secure = Secure::renewed(self.secure.take(), format.keys.as_ref());
        self.format = format;
    }

    /// It does this from now on.
    pub fn begin(&mut self, now: Instant, task: u32, what: Task) {
        self.task = task;
        self.doing = match what {
            Task::Rest | Task::Bridge { .. } | Task::Record { .. } => Doing::Resting,
            Task::Echo => Doing::Echoing,
            Task::Play {
                mut sounds,
                rounds,
                until_key,
            } => {
                sounds.truncate(SOUNDS_MAX);
                let codec = Codec::from(self.format.coding);
                Doing::Playing(Box::new(Playing {
                    player: Player::new(sounds, rounds, codec.sample_rate()),
                    encoder: Encoder::new(codec),
                    due: now,
                    until_key,
                }))
            }
        };
        self.stream.new_echo();
    }

    /// When it wants to speak, or report.
    pub fn due(&self) -> Instant {
        let report = self.stream.poll_timeout();
        match &self.doing {
            Doing::Playing(playing) => playing.due.min(report),
            Doing::Resting | Doing::Echoing => report,
        }
    }

    /// A packet of sound, or of a key, came. What goes back at once stands in `out`; keys that were
    /// pressed go to `pressed`.
    pub fn hear(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        pressed: &mut impl FnMut(char),
    ) -> Turn {
        let header = packet.header();
        let length = packet.payload().len();
        if self.stream.handle_rtp(now, &header, length) != Heard::Stream {
            return Turn::Idle;
        }
        let is_key = Some(header.payload_type) == self.format.events;
        let mut key_ends = false;
        if is_key {
            self.keys.handle_packet(now, &header, packet.payload());
            while let Some(change) = self.keys.poll_change() {
                if let KeyChange::Pressed { code } = change
                    && let Some(key) = key(code)
                {
                    pressed(key);
                    key_ends = true;
                }
            }
        }
        match &self.doing {
            Doing::Playing(playing) if playing.until_key && key_ends => self.rest(),
            Doing::Echoing if is_key || header.payload_type == self.format.payload_type => {
                if !self.format.sends {
                    return Turn::Idle;
                }
                let ours = self.stream.send_back(now, &header, length);
                out.clear();
                out.extend_from_slice(&ours.emit());
                out.extend_from_slice(packet.payload());
                Turn::Spoke
            }
            _ => Turn::Idle,
        }
    }

    /// How the way from the far end fares.
    pub fn measure(&self) -> Figures {
        let stats = self.stream.stats(None);
        let small = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        let expected = stats.packets_received.saturating_add(stats.lost).max(1);
        Figures {
            lost_permille: small(stats.lost.saturating_mul(1000) / expected),
            jitter_ms: small((u64::from(stats.jitter_us) + 500) / 1000),
            round_trip_ms: stats
                .round_trip_us
                .map(|us| small(u64::from(us).div_ceil(1000))),
        }
    }

    /// A report came.
    pub fn hear_report(&mut self, now: Instant, ntp: u64, packet: &[u8]) {
        let _ = self.stream.handle_rtcp(now, ntp, packet);
    }

    /// A report of ours, if one is due, into `out`.
    pub fn report(&mut self, now: Instant, ntp: u64, out: &mut Vec<u8>) -> bool {
        self.stream.poll_report(now, ntp, out)
    }

    /// The next packet of what plays, if one is due, into `out`.
    pub fn speak(&mut self, now: Instant, out: &mut Vec<u8>) -> Turn {
        let Doing::Playing(playing) = &mut self.doing else {
            return Turn::Idle;
        };
        if playing.due > now {
            return Turn::Idle;
        }
        if playing.player.is_over() {
            return self.rest();
        }
        if now.since(playing.due) > LATE_MAX {
            playing.due = now;
        }
        let codec = Codec::from(self.format.coding);
        let ms = codec.ptime_ms(self.format.packet_ms.into());
        playing.due += Duration::from_millis(ms.into());
        let mut samples = [0; SAMPLES_MAX];
        let count = codec.samples(ms);
        let Some(samples) = samples.get_mut(..count) else {
            return Turn::Idle;
        };
        playing.player.fill(samples);
        let step = codec.ticks(ms);
        if !self.format.sends {
            self.stream.send_nothing(step);
            return Turn::Idle;
        }
        let length = codec.payload_len(count);
        let payload_type = self.format.payload_type;
        let header = self.stream.send_audio(now, payload_type, step, length);
        out.clear();
        out.extend_from_slice(&header.emit());
        out.resize(HEADER_SIZE + length, 0);
        if let Some(payload) = out.get_mut(HEADER_SIZE..) {
            playing.encoder.encode(samples, payload);
        }
        Turn::Spoke
    }

    fn rest(&mut self) -> Turn {
        self.doing = Doing::Resting;
        Turn::Done { task: self.task }
    }
}
