//! A conference's sound: each hears all others and not oneself.
//!
//! All that talk are summed in 32 bits once per frame of 20 ms; who talks hears the sum less the
//! own part, and all who do not talk hear the same sum, so that their caller encodes it once. Who
//! is silent costs one look at the frame's energy and adds no noise. Sums beyond 16 bits bend
//! softly below full scale.
//!
//! Per frame: [`Mixer::begin_frame`], [`Mixer::input`] for each that sent something, then
//! [`Mixer::finish_frame`], then [`Mixer::output`] for each. The next frame may begin before all
//! have heard this one: what was finished stays until the next is, and each has to hear it before
//! putting in more, which takes the place of the own part. Memory is taken when somebody joins.

use super::activity::{Activity, mean_square};
use crate::base::{Key, Slab};

/// The length of a frame.
pub const FRAME_MS: u32 = 20;
/// The most that one room holds: a thousand, and what records them. 65,536 full-scale parties would
/// fit into 32 bits.
pub const PARTICIPANTS_MAX: usize = 1001;
/// A gain of one.
pub const GAIN_ONE: u16 = 1 << GAIN_BITS;
/// The highest gain: 12 dB.
pub const GAIN_MAX: u16 = 4 * GAIN_ONE;
const GAIN_BITS: u32 = 12;

/// Where the limiter begins to bend: 2.5 dB below full scale.
const KNEE: i32 = 24_576;
/// What is left between there and full scale.
const BEND: i32 = 32_767 - KNEE;

/// The rates at which a room can be, in Hz.
pub const RATES: [u32; 3] = [8000, 16_000, 48_000];

/// Someone began or ended to talk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TalkChange {
    /// From this frame on.
    Began,
    /// The hang-over is over.
    Ended,
}

/// What a participant hears in this frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard<'a> {
    /// Nothing: nobody else talks, or the participant is deafened.
    Silence,
    /// What all hear who do not talk: the same samples for each of them.
    Shared(&'a [i16]),
    /// The sum less the own part.
    Own(&'a [i16]),
}

/// Whether a participant's sound is in the sum of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Out,
    In,
    /// It was in the frame before, and fades out in this one.
    Fading,
}

#[derive(Debug)]
struct Participant {
    gain: u16,
    muted: bool,
    deafened: bool,
    activity: Activity,
    /// The frame that was last put in, and whether it was in the sum.
    frame: u64,
    part: Part,
    /// What was in the sum.
    own: Box<[i16]>,
}

/// One room.
#[derive(Debug)]
pub struct Mixer {
    participants: Slab<Participant>,
    frame_samples: usize,
    frame: u64,
    /// Parts of this frame's sum.
    parts: usize,
    sum: Box<[i32]>,
    /// The frame that was finished last, its parts, and its sum.
    done_frame: u64,
    done_parts: usize,
    done: Box<[i32]>,
    shared: Box<[i16]>,
    own: Box<[i16]>,
}

impl Mixer {
    /// An empty room at `rate` Hz, one of [`RATES`], for at most `participants_max` and never more
    /// than [`PARTICIPANTS_MAX`].
    pub fn new(rate: u32, participants_max: usize) -> Option<Self> {
        if !RATES.contains(&rate) {
            return None;
        }
        let frame_samples = (rate * FRAME_MS / 1000) as usize;
        Some(Self {
            participants: Slab::new(participants_max.min(PARTICIPANTS_MAX)),
            frame_samples,
            frame: 1,
            parts: 0,
            sum: vec![0; frame_samples].into_boxed_slice(),
            done_frame: 0,
            done_parts: 0,
            done: vec![0; frame_samples].into_boxed_slice(),
            shared: vec![0; frame_samples].into_boxed_slice(),
            own: vec![0; frame_samples].into_boxed_slice(),
        })
    }

    /// Samples of a frame.
    pub fn frame_samples(&self) -> usize {
        self.frame_samples
    }

    /// How many are in the room.
    pub fn len(&self) -> usize {
        self.participants.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.participants.is_empty()
    }

    /// Lets one more in; none when the room is full.
    pub fn join(&mut self) -> Option<Key> {
        let participant = Participant {
            gain: GAIN_ONE,
            muted: false,
            deafened: false,
            activity: Activity::new(FRAME_MS),
            frame: 0,
            part: Part::Out,
            own: vec![0; self.frame_samples].into_boxed_slice(),
        };
        self.participants.insert(participant).ok()
    }

    /// Lets one go; false if nobody has that key. What was said in this frame stays in it.
    pub fn leave(&mut self, key: Key) -> bool {
        self.participants.remove(key).is_some()
    }

    /// Keeps a participant from being heard, or no longer; false if nobody has that key.
    pub fn set_muted(&mut self, key: Key, muted: bool) -> bool {
        let found = self.participants.get_mut(key);
        found.map(|p| p.muted = muted).is_some()
    }

    /// Keeps a participant from hearing, or no longer; false if nobody has that key.
    pub fn set_deafened(&mut self, key: Key, deafened: bool) -> bool {
        let found = self.participants.get_mut(key);
        found.map(|p| p.deafened = deafened).is_some()
    }

    /// How loud others hear a participant, in 4096ths up to [`GAIN_MAX`]; false if nobody has that
    /// key.
    pub fn set_gain(&mut self, key: Key, gain: u16) -> bool {
        let found = self.participants.get_mut(key);
        found.map(|p| p.gain = gain.min(GAIN_MAX)).is_some()
    }

    /// Whether a participant talks; a muted one may, unheard.
    pub fn talks(&self, key: Key) -> bool {
        let found = self.participants.get(key);
        found.is_some_and(|p| p.activity.talks())
    }

    /// Begins the next frame.
    pub fn begin_frame(&mut self) {
        self.frame += 1;
        self.sum.fill(0);
        self.parts = 0;
    }

    /// Puts in what a participant sent: a frame, a shorter one, or nothing. Says whether it thereby
    /// began or ended to talk, muted or not. Once per frame and participant: a second time is
    /// ignored.
    pub fn input(&mut self, key: Key, samples: &[i16]) -> Option<TalkChange> {
        let samples = samples.get(..self.frame_samples).unwrap_or(samples);
        let participant = self.participants.get_mut(key)?;
        if participant.frame == self.frame {
            return None;
        }
        let before = participant.activity.talks();
        let talks = participant.activity.push(mean_square(samples));
        let was_in = participant.part == Part::In && participant.frame + 1 == self.frame;
        participant.frame = self.frame;
        participant.part = match (talks && !participant.muted, was_in) {
            (true, _) => Part::In,
            (false, true) => Part::Fading,
            (false, false) => Part::Out,
        };
        if participant.part != Part::Out {
            participant.take(samples, was_in);
            for (sum, own) in self.sum.iter_mut().zip(&participant.own) {
                *sum += i32::from(*own);
            }
            self.parts += 1;
        }
        match (before, talks) {
            (false, true) => Some(TalkChange::Began),
            (true, false) => Some(TalkChange::Ended),
            (true, true) | (false, false) => None,
        }
    }

    /// Puts in what all shall hear, such as a tone when somebody joins.
    pub fn announce(&mut self, samples: &[i16]) {
        for (sum, sample) in self.sum.iter_mut().zip(samples) {
            *sum += i32::from(*sample);
        }
        self.parts += 1;
    }

    /// Ends the frame, and gives what all hear who do not talk, and a recorder: none in silence.
    pub fn finish_frame(&mut self) -> Option<&[i16]> {
        (self.done_frame, self.done_parts) = (self.frame, self.parts);
        std::mem::swap(&mut self.sum, &mut self.done);
        if self.done_parts == 0 {
            self.shared.fill(0);
            return None;
        }
        for (shared, sum) in self.shared.iter_mut().zip(&self.done) {
            *shared = (*sum).clamp(-32_768, 32_767) as i16;
        }
        bend(&mut self.shared, |at| self.done[at]);
        Some(&self.shared)
    }

    /// What [`Mixer::finish_frame`] gave last; silent samples where it gave none.
    pub fn shared(&self) -> &[i16] {
        &self.shared
    }

    /// Whether nobody is heard in the frame that was finished last.
    pub fn is_quiet(&self) -> bool {
        self.done_parts == 0
    }

    /// What a participant hears of the frame that was finished last; nothing if nobody has that
    /// key, or if it put in more since.
    pub fn output(&mut self, key: Key) -> Heard<'_> {
        let Some(participant) = self.participants.get(key) else {
            return Heard::Silence;
        };
        let late = participant.frame > self.done_frame;
        if participant.deafened || self.done_parts == 0 || late {
            return Heard::Silence;
        }
        if participant.frame != self.done_frame || participant.part == Part::Out {
            return Heard::Shared(&self.shared);
        }
        if self.done_parts == 1 {
            return Heard::Silence;
        }
        let others = self.done.iter().zip(&participant.own);
        for (out, (sum, own)) in self.own.iter_mut().zip(others) {
            *out = (sum - i32::from(*own)).clamp(-32_768, 32_767) as i16;
        }
        bend(&mut self.own, |at| {
            self.done[at] - i32::from(participant.own[at])
        });
        Heard::Own(&self.own)
    }
}

impl Participant {
    /// Keeps the part of the sum: with the gain, faded in at the beginning and out at the end.
    fn take(&mut self, samples: &[i16], was_in: bool) {
        let (own, rest) = self.own.split_at_mut(samples.len());
        rest.fill(0);
        own.copy_from_slice(samples);
        if self.gain != GAIN_ONE {
            for sample in own.iter_mut() {
                let louder = (i32::from(*sample) * i32::from(self.gain)) >> GAIN_BITS;
                *sample = louder.clamp(-32_768, 32_767) as i16;
            }
        }
        let length = own.len() as i32;
        if self.part == Part::Fading {
            for (sample, left) in own.iter_mut().rev().zip(0..) {
                *sample = (i32::from(*sample) * left / length) as i16;
            }
        } else if !was_in {
            // Short enough to leave the first sound of a word.
            let fade = length / 8;
            for (sample, at) in own.iter_mut().zip(0..fade) {
                *sample = (i32::from(*sample) * at / fade) as i16;
            }
        }
    }
}

/// Bends the peaks of a frame if it has any: `exact` gives a sample before it was cut to 16 bits.
fn bend(samples: &mut [i16], exact: impl Fn(usize) -> i32) {
    let peak = samples.iter().fold(0, |peak, s| s.unsigned_abs().max(peak));
    if i32::from(peak) <= KNEE {
        return;
    }
    for (at, sample) in samples.iter_mut().enumerate() {
        *sample = limited(exact(at));
    }
}

/// Straight up to the knee, then ever flatter towards full scale: x + knee -> knee + x b / (x + b),
/// whose slope is one at the knee.
fn limited(value: i32) -> i16 {
    let size = value.unsigned_abs().min(1 << 30) as i32;
    if size <= KNEE {
        return value as i16;
    }
    let over = i64::from(size - KNEE);
    let bent = KNEE + (over * i64::from(BEND) / (over + i64::from(BEND))) as i32;
    (if value < 0 { -bent } else { bent }) as i16
}

#[cfg(test)]
mod tests;
