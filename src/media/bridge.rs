//! What a leg says of another one that it is bridged with.
//!
//! Where both sides write sound alike and tell keys alike, the other's packets go out as they came,
//! under our own numbers: gaps stay gaps, so that the far end conceals for itself. Otherwise the
//! other is heard ([`Ear`]) and its sound written anew by a clock of our own; keys that it tells as
//! events (RFC 4733) become tones for a side that has none, and tones become events. Keys that come
//! by signalling (INFO) become what our side has. A side that has no events may get keys by
//! signalling, too: no tones are made for it then.
//!
//! Noise that the other describes (RFC 3389) is described to a side that understands it, and is
//! sound for one that does not. Who falls silent without a word is noise as well, where that can be
//! told.

use super::activity::{Activity, mean_square};
use super::codec::{Codec, Encoder};
use super::comfort::{Description, Pause, Saying};
use super::dtmf::{Digit, Generator, LEVEL_DBM0};
use super::ear::{Ear, Heard, noise_type};
use super::event::{EventSender, KEY_MS, KeyChange};
use super::order::Format;
use crate::base::Instant;
use crate::wire::rtp::{Header, Wishes};
use std::collections::VecDeque;
use std::time::Duration;

/// Keys that wait to be said as tones; more are lost.
const TONES_MAX: usize = 64;
/// Between two tones, milliseconds.
const PAUSE_MS: u32 = 80;
/// After so many frames of nothing none are sent until somebody speaks again.
const QUIET_MAX: u32 = 25;

/// Who says nothing may have lost packets, for so long behind what is concealed; milliseconds.
const LOSS_MS: u32 = 100;
/// Frames for which noise is measured, milliseconds: as packets usually are.
const FRAME_MS: u32 = 20;

/// How the other's packets become ours.
#[derive(Debug)]
pub(super) struct Bridged {
    /// The other leg's session.
    pub with: u64,
    /// Where the other's packets cannot go out as they came.
    pub convert: Option<Box<Convert>>,
    /// Whether the other tells keys beside its sound, or noise that our side does not understand:
    /// those are ours to say, and between packets that go out as they came there is no place for
    /// any.
    anew: bool,
}

/// What becomes of a packet of the other leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// It goes out as it came, with this payload type.
    Through(u8),
    /// It is heard.
    Heard,
    /// It is none of the other's formats.
    Nowhere,
}

impl Bridged {
    pub fn new(with: u64) -> Self {
        Self {
            with,
            convert: None,
            anew: false,
        }
    }

    /// The way of a packet from the other leg, whose format is `theirs`, to ours.
    pub fn way(&mut self, now: Instant, theirs: &Format, ours: &Format, payload_type: u8) -> Way {
        let alike = theirs.coding == ours.coding && events_of(theirs) == events_of(ours);
        let is_noise = Some(payload_type) == noise_type(theirs);
        self.anew |= is_noise && ours.comfort.is_none();
        if alike && !self.anew {
            self.convert = None;
            return match (payload_type, ours.events, ours.comfort) {
                (t, _, _) if t == theirs.payload_type => Way::Through(ours.payload_type),
                (t, Some(events), _) if Some(t) == theirs.events => Way::Through(events),
                (_, _, Some(comfort)) if is_noise => Way::Through(comfort),
                _ => Way::Nowhere,
            };
        }
        self.converted(now, theirs, ours);
        Way::Heard
    }

    fn converted(&mut self, now: Instant, theirs: &Format, ours: &Format) -> &mut Convert {
        let known = self.convert.take().filter(|known| known.fits(theirs, ours));
        let fresh = || Box::new(Convert::new(now, theirs, ours));
        let convert = self.convert.insert(known.unwrap_or_else(fresh));
        convert.apart = ours.keys_apart;
        convert
    }

    /// The other tells a key beside its sound. From then on its sound is written anew.
    pub fn press(&mut self, now: Instant, theirs: &Format, ours: &Format, digit: Digit) {
        self.anew = true;
        let code = digit.code();
        let convert = self.converted(now, theirs, ours);
        convert.key(KeyChange::Pressed { code }, false);
    }
}

/// The clock of a leg's telephone events, if it has any.
fn events_of(format: &Format) -> Option<u32> {
    format.events.map(|_| format.events_clock)
}

/// How what the other leg says is written: with no more of a choice than its sound is worth.
fn spoken(theirs: &Format, ours: &Format) -> Codec {
    let best = Codec::at(theirs.coding, u32::MAX).sample_rate();
    Codec::at(ours.coding, best)
}

/// The other leg's sound, written anew.
#[derive(Debug)]
pub(super) struct Convert {
    pub ear: Ear,
    codec: Codec,
    encoder: Encoder,
    wishes: Wishes,
    /// When the next packet leaves.
    pub due: Instant,
    /// Keys as events, where our side has them.
    pub events: Option<EventSender>,
    /// Whether keys reach our side beside its sound.
    apart: bool,
    tones: VecDeque<Digit>,
    tone: Option<Generator>,
    /// While the other's key sounds, which leaves as an event.
    muted: bool,
    quiet: u32,
    /// Whether noise can be described to our side.
    describes: bool,
    pause: Pause,
    /// The other's noise, as far as it was heard.
    around: Activity,
}

/// What [`Convert::say`] made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// So many bytes of sound.
    Sound(usize),
    /// So many bytes that describe noise.
    Noise(usize),
    /// There is nothing to say.
    Nothing,
}

impl Convert {
    fn new(now: Instant, theirs: &Format, ours: &Format) -> Self {
        let codec = spoken(theirs, ours);
        let events = events_of(ours).map(EventSender::new);
        Self {
            ear: Ear::new(theirs, codec.sample_rate()),
            codec,
            encoder: Encoder::wished(codec, ours.wishes, ours.plugin),
            wishes: ours.wishes,
            due: now,
            events,
            apart: ours.keys_apart,
            tones: VecDeque::new(),
            tone: None,
            muted: false,
            quiet: 0,
            describes: ours.comfort.is_some(),
            pause: Pause::default(),
            around: Activity::new(FRAME_MS),
        }
    }

    fn fits(&self, theirs: &Format, ours: &Format) -> bool {
        let events = self.events.as_ref().map(EventSender::clock) == events_of(ours);
        let asked = self.wishes == ours.wishes && self.codec == spoken(theirs, ours);
        let noise = self.describes == ours.comfort.is_some();
        self.ear.fits(theirs) && asked && events && noise
    }

    /// How its sound is written.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// A packet of the other leg.
    pub fn put(&mut self, now: Instant, header: &Header, payload: &[u8]) {
        self.ear.put(now, header, payload);
    }

    /// A key of the other leg changed; `sounds` says that it is in the sound too.
    pub fn key(&mut self, change: KeyChange, sounds: bool) {
        match (change, &mut self.events) {
            (KeyChange::Pressed { code }, Some(events)) => {
                self.muted = sounds;
                // Of more keys than anybody presses some are lost.
                let _ = events.press(code, KEY_MS);
            }
            (KeyChange::Pressed { code }, None) => {
                if let Some(digit) = Digit::from_code(code)
                    && !sounds
                    && !self.apart
                    && self.tones.len() < TONES_MAX
                {
                    self.tones.push_back(digit);
                }
            }
            (KeyChange::Released { .. }, _) => self.muted = false,
        }
    }

    /// Makes the next frame of so many samples, and writes it, or what stands for it, into
    /// `payload`.
    pub fn say(&mut self, samples: &mut [i16], payload: &mut [u8]) -> Said {
        let heard = self.ear.frame(self.due, samples);
        if self.muted {
            samples.fill(0);
        }
        if self.tone.is_none()
            && let Some(digit) = self.tones.pop_front()
        {
            let rate = self.codec.sample_rate();
            self.tone = Some(Generator::new(digit, rate, KEY_MS, PAUSE_MS, LEVEL_DBM0));
        }
        let sounds = self.tone.is_some();
        if let Some(tone) = &mut self.tone {
            tone.fill(samples);
            if tone.is_over() {
                self.tone = None;
            }
        }
        if heard == Heard::Nothing && !sounds {
            if let Some(said) = self.be_quiet(samples.len(), payload) {
                return said;
            }
        } else {
            self.quiet = 0;
            self.pause.end();
            if self.describes && heard == Heard::Sound {
                self.around.push(mean_square(samples));
            }
        }
        match self.encoder.encode(samples, payload) {
            0 => Said::Nothing,
            length => Said::Sound(length),
        }
    }

    /// A frame in which the other says nothing; what stands for it, unless its samples do.
    fn be_quiet(&mut self, samples: usize, payload: &mut [u8]) -> Option<Said> {
        let described = self.ear.described(self.codec.sample_rate());
        if !self.describes {
            // Noise that is described goes on as long as it does.
            self.quiet = match described {
                Some(_) => 0,
                None => self.quiet.saturating_add(1),
            };
            return (self.quiet > QUIET_MAX).then_some(Said::Nothing);
        }
        let ms = samples * 1000 / self.codec.sample_rate().max(1) as usize;
        let hang_ms = match described {
            Some(_) => 0,
            None => LOSS_MS,
        };
        match self.pause.step(ms as u32, hang_ms) {
            Saying::Sound => None,
            Saying::Nothing => Some(Said::Nothing),
            Saying::Noise => {
                let white = || Description::white(self.around.noise());
                let told = described.unwrap_or_else(white);
                for (to, from) in payload.iter_mut().zip(told.bytes()) {
                    *to = *from;
                }
                Some(Said::Noise(told.bytes().len().min(payload.len())))
            }
        }
    }

    /// The next packet leaves so much later; not in a burst after a pause of ours.
    pub fn advance(&mut self, now: Instant, ms: u32, late_max: Duration) {
        if now.since(self.due) > late_max {
            self.due = now;
        }
        self.due += Duration::from_millis(ms.into());
    }
}
