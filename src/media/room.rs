//! Conference rooms, shared by all studios of a process.
//!
//! The members of a room are legs of several workers, none of which waits for another. Time is cut
//! into frames of [`FRAME_MS`] by the clock that all share. Each leg has one turn in each frame, by
//! its own deadline: it puts in what it heard in frame n and takes what all others put in during
//! frame n-1, so that everybody is heard one frame later, to the sample. The first turn in frame
//! n+1 closes frame n; who comes late for that is left out, counted, and goes on with the next.
//!
//! Who does not talk hears what all such hear. That is encoded once per frame and encoding, which
//! is what lets hundreds listen for the price of a copy. Who begins to talk goes on from the state
//! in which the common encoder was, so nothing clicks. The lock of a room is held for a copy, a
//! sum, or one such encoding; nothing is allocated in a frame.
//!
//! Not done here: clocks and deadlines, packets, who may come in (`pbx`).

use super::codec::{Codec, Encoder, Plugin};
use super::mixer::{Heard, Mixer, TalkChange};
use super::order::{RecordEnd, Sound};
use super::player::{Player, Stock};
use super::resample::Resampler;
use super::wav::Encoding;
use crate::base::Key;
use crate::wire::rtp::{Coding, Wishes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use super::mixer::{FRAME_MS, PARTICIPANTS_MAX, RATES};

/// Rooms of a process at a time.
pub const ROOMS_MAX: usize = 1_000;
/// Announcements of a room that wait for the one that sounds; more are left out.
const ANNOUNCEMENTS_MAX: usize = 4;
/// Samples of a frame at the highest rate of a room.
pub const SAMPLES_MAX: usize = 960;
/// The longest payload of a frame: that of linear samples at 44.1 kHz. Only that one is cut in two
/// on the way (IP fragments, as anybody's 20 ms of them are).
pub const PAYLOAD_MAX: usize = 1764;
/// How loud a member hears the others, in 4096ths: as they are.
pub const VOLUME_ONE: u16 = 1 << VOLUME_BITS;
/// The loudest: 12 dB more.
pub const VOLUME_MAX: u16 = 4 * VOLUME_ONE;
const VOLUME_BITS: u32 = 12;
/// Frames between two changes of who talks that are told, of one member: half a second.
const TOLD_EVERY: u64 = 25;

/// How a leg comes into a room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Join {
    /// The room's name.
    pub room: Box<str>,
    /// Its samples per second, one of [`RATES`], where it is not there yet.
    pub rate: u32,
    /// Whether the leg is not heard.
    pub muted: bool,
    /// Whether it does not hear.
    pub deafened: bool,
    /// How loud it hears the others, in 4096ths up to [`VOLUME_MAX`].
    pub volume: u16,
    /// What all hear when it comes; may be empty.
    pub arrival: Vec<Sound>,
    /// What those who stay hear when it goes; may be empty.
    pub farewell: Vec<Sound>,
    /// A recording of its name, which is said in place of both where it can be read.
    pub name: Option<Name>,
}

/// Who comes into a room, as a recording tells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Name {
    /// A file of the spool; the first five seconds of it are heard.
    pub file: Box<str>,
    /// What is said behind it when it comes.
    pub comes: Vec<Sound>,
    /// What is said behind it when it goes.
    pub goes: Vec<Sound>,
}

/// About a leg in a room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RoomOrder {
    /// Whether it is not heard.
    Mute(bool),
    /// Whether it does not hear.
    Deafen(bool),
    /// How loud it hears the others, in 4096ths up to [`VOLUME_MAX`].
    Volume(u16),
    /// All hear this: tones and built-in prompts; files and music are left out.
    Announce(Vec<Sound>),
    /// It alone hears this, over the others; the end is told as that of this task.
    Whisper(u32, Vec<Sound>),
    /// The room is recorded from now on, into a file of the spool with the encoding's extension,
    /// until [`RoomOrder::EndRecord`] or until nobody is there; not again if it is already. Once
    /// the file is as long as one may be, another follows it: of `a.wav` that is `a.2.wav`.
    /// [`RoomNews`] tell of them.
    Record(Box<str>, Encoding),
    /// The room is recorded no longer.
    EndRecord,
}

/// About the recording of a room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RoomNews {
    /// A file of it is over. If there is anything of it, it is whole and on the disk.
    Written {
        /// Its name.
        file: Box<str>,
        /// How long it is, milliseconds; nought: there is none.
        ms: u32,
        /// Why it ended.
        end: RecordEnd,
    },
    /// Nothing is recorded any more, though nobody said so and somebody is there.
    Ceased,
}

/// The samples of a room as payloads of one encoding.
#[derive(Debug)]
struct Coder {
    rate: u32,
    coding: Coding,
    resampler: Option<Resampler>,
    encoder: Encoder,
    plugin: Option<Plugin>,
}

impl Coder {
    fn new(rate: u32, coding: Coding, plugin: Option<Plugin>) -> Self {
        let codec = Codec::at(coding, rate);
        // Of those who hear the same some may use the copies, and all can do without.
        let wishes = Wishes {
            fec: true,
            ..Wishes::default()
        };
        Self {
            rate,
            coding,
            resampler: Resampler::new(rate, codec.sample_rate()),
            encoder: Encoder::wished(codec, wishes, plugin),
            plugin,
        }
    }

    /// Another in the same state, or as near to it as `past` brings it, which is what this one
    /// encoded last: the state of some encoders cannot be copied.
    fn twin(&self, past: &[i16]) -> Self {
        let mut twin = Self::new(self.rate, self.coding, self.plugin);
        twin.encode(past, &mut [0; PAYLOAD_MAX]);
        twin.follow(self);
        twin
    }

    fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let mut converted = [0; SAMPLES_MAX];
        let made = match &mut self.resampler {
            Some(resampler) => resampler.process(samples, &mut converted),
            None => 0,
        };
        let samples = converted.get(..made).unwrap_or_default();
        self.encoder.encode(samples, payload)
    }

    /// Becomes the same as another of its encoding, without taking memory.
    fn follow(&mut self, other: &Coder) {
        self.resampler.clone_from(&other.resampler);
        self.encoder.follow(&other.encoder);
    }
}

/// What all hear who do not talk, in one encoding.
#[derive(Debug)]
struct Common {
    /// The frame that `payload` holds, and how much of it.
    frame: u64,
    payload: [u8; PAYLOAD_MAX],
    length: usize,
    /// Before that frame, and behind it.
    before: Coder,
    behind: Coder,
}

/// One room.
#[derive(Debug)]
struct Room {
    rate: u32,
    mixer: Mixer,
    /// The frame that is being put together.
    frame: u64,
    common: [Option<Box<Common>>; Coding::KNOWN.len()],
    /// What all heard in the frame before the one that was closed last.
    past: Box<[i16]>,
    announcement: Option<Box<Player>>,
    announcements: VecDeque<Vec<Sound>>,
    /// Without a site's prompts: announcements are nobody's to ask a disk for.
    stock: Arc<Stock>,
    /// The place of what records it.
    recorder: Option<Key>,
    late: u64,
    plugin: Option<Plugin>,
}

impl Room {
    fn new(rate: u32, plugin: Option<Plugin>) -> Option<Self> {
        let mixer = Mixer::new(rate, PARTICIPANTS_MAX)?;
        Some(Self {
            rate,
            past: vec![0; mixer.frame_samples()].into_boxed_slice(),
            mixer,
            frame: 0,
            common: Default::default(),
            announcement: None,
            announcements: VecDeque::new(),
            stock: Arc::default(),
            recorder: None,
            late: 0,
            plugin,
        })
    }

    /// Closes what lies before `frame`.
    fn advance(&mut self, frame: u64) {
        if frame <= self.frame {
            return;
        }
        self.past.copy_from_slice(self.mixer.shared());
        self.mixer.finish_frame();
        self.mixer.begin_frame();
        if frame > self.frame + 1 {
            // Nobody came in the one before.
            self.mixer.finish_frame();
            self.mixer.begin_frame();
        }
        self.frame = frame;
        self.announce();
    }

    fn queue(&mut self, mut sounds: Vec<Sound>) {
        sounds.retain(|sound| !matches!(sound, Sound::File { .. } | Sound::Music));
        if !sounds.is_empty() && self.announcements.len() < ANNOUNCEMENTS_MAX {
            self.announcements.push_back(sounds);
        }
    }

    fn announce(&mut self) {
        if self.announcement.as_ref().is_none_or(|p| p.is_over()) {
            let next = self.announcements.pop_front();
            let (rate, stock) = (self.rate, &self.stock);
            let player = |sounds| Player::new(sounds, Some(1), rate, Arc::clone(stock));
            self.announcement = next.map(|sounds| Box::new(player(sounds)));
        }
        if let Some(player) = &mut self.announcement {
            let mut samples = [0; SAMPLES_MAX];
            let length = self.mixer.frame_samples();
            if let Some(samples) = samples.get_mut(..length) {
                player.fill(samples);
                self.mixer.announce(samples);
            }
        }
    }

    fn common(&mut self, coding: Coding) -> Option<&mut Common> {
        let (rate, plugin) = (self.rate, self.plugin);
        let place = Coding::KNOWN.iter().position(|c| *c == coding)?;
        let common = self.common.get_mut(place)?;
        Some(common.get_or_insert_with(|| {
            Box::new(Common {
                frame: 0,
                payload: [0; PAYLOAD_MAX],
                length: 0,
                before: Coder::new(rate, coding, plugin),
                behind: Coder::new(rate, coding, plugin),
            })
        }))
    }

    /// The payload of the frame that was closed last, for all who do not talk.
    fn encoded(&mut self, coding: Coding, out: &mut [u8]) -> usize {
        let frame = self.frame;
        // The common payload is made from a copy, as the mixer lies beside it.
        let mut shared = [0; SAMPLES_MAX];
        let length = self.mixer.frame_samples();
        let fresh = self.common(coding).is_some_and(|c| c.frame == frame);
        if let (false, Some(shared)) = (fresh, shared.get_mut(..length)) {
            shared.copy_from_slice(self.mixer.shared());
        }
        let Some(common) = self.common(coding) else {
            return 0;
        };
        if !fresh {
            common.before.follow(&common.behind);
            let samples = shared.get(..length).unwrap_or_default();
            common.length = common.behind.encode(samples, &mut common.payload);
            common.frame = frame;
        }
        let payload = common.payload.get(..common.length).unwrap_or_default();
        let count = payload.len().min(out.len());
        for (to, from) in out.iter_mut().zip(payload) {
            *to = *from;
        }
        count
    }

    /// An encoder in the state in which the common one was before what is heard in `frame`.
    fn own_coder(&mut self, frame: u64, coding: Coding) -> Coder {
        let (rate, plugin) = (self.rate, self.plugin);
        let past = std::mem::take(&mut self.past);
        let coder = match self.common(coding) {
            Some(common) if common.frame == frame => common.before.twin(&past),
            Some(common) => common.behind.twin(&past),
            None => Coder::new(rate, coding, plugin),
        };
        self.past = past;
        coder
    }
}

/// All rooms of a process, by name, with the codec that was loaded into it.
#[derive(Debug, Default)]
pub struct Rooms {
    plugin: Option<Plugin>,
    rooms: Mutex<BTreeMap<Box<str>, Arc<Mutex<Room>>>>,
}

/// A worker that panicked leaves a room as it was between two samples at worst.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rooms {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet; what a plugin writes and reads is heard in them and elsewhere.
    pub fn with(plugin: Option<Plugin>) -> Self {
        Self {
            plugin,
            ..Self::default()
        }
    }

    /// The codec that was loaded.
    pub fn plugin(&self) -> Option<Plugin> {
        self.plugin
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        locked(&self.rooms).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place in the room of that name, which is made at `rate` if it is not there. None where it,
    /// or the table, is full, or for a rate that is none of [`RATES`].
    pub fn join(self: &Arc<Self>, name: &str, rate: u32) -> Option<Seat> {
        let mut rooms = locked(&self.rooms);
        let room = match rooms.get(name) {
            Some(room) => Arc::clone(room),
            None if rooms.len() >= ROOMS_MAX => return None,
            None => {
                let room = Arc::new(Mutex::new(Room::new(rate, self.plugin)?));
                rooms.insert(name.into(), Arc::clone(&room));
                room
            }
        };
        let mut inside = locked(&room);
        let key = inside.mixer.join()?;
        Some(Seat::new(Arc::clone(self), name, &room, &inside, key))
    }
}

/// What became of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// So many bytes of payload were written.
    Payload(usize),
    /// Nothing is heard.
    Silence,
    /// The frame was closed already: what was said is lost, and nothing is heard.
    Late,
}

/// What a recorder's turn brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listened {
    /// The frame, maybe silent.
    Sound,
    /// The frame was closed already.
    Late,
    /// Nothing more is to be recorded.
    Over,
}

/// What the part of a turn under the lock brought.
enum Exchange {
    /// A payload that others get too.
    Common(usize),
    /// Samples of the member's own.
    Own,
    Silence,
    Late,
}

/// A member's place in a room; dropping it leaves.
#[derive(Debug)]
pub struct Seat {
    rooms: Arc<Rooms>,
    name: Box<str>,
    room: Arc<Mutex<Room>>,
    key: Key,
    rate: u32,
    /// Of the last turn.
    frame: u64,
    volume: u16,
    /// While the member hears what nobody else does.
    own: Option<Box<Coder>>,
    samples: Box<[i16]>,
    talks: bool,
    told: bool,
    told_at: u64,
    farewell: Vec<Sound>,
}

impl Seat {
    fn new(
        rooms: Arc<Rooms>,
        name: &str,
        room: &Arc<Mutex<Room>>,
        inside: &Room,
        key: Key,
    ) -> Self {
        Self {
            rooms,
            name: name.into(),
            room: Arc::clone(room),
            key,
            rate: inside.rate,
            frame: 0,
            volume: VOLUME_ONE,
            own: None,
            samples: vec![0; inside.mixer.frame_samples()].into_boxed_slice(),
            talks: false,
            told: false,
            told_at: 0,
            farewell: Vec::new(),
        }
    }

    /// A place for what records the room; `None` if it is recorded already, or full.
    pub fn record(&self) -> Option<Seat> {
        let mut inside = locked(&self.room);
        if inside.recorder.is_some() {
            return None;
        }
        let key = inside.mixer.join()?;
        inside.recorder = Some(key);
        Some(Seat::new(
            Arc::clone(&self.rooms),
            &self.name,
            &self.room,
            &inside,
            key,
        ))
    }

    /// The room is recorded no longer.
    pub fn end_record(&self) {
        locked(&self.room).recorder = None;
    }

    /// The room's name.
    pub fn room(&self) -> &str {
        &self.name
    }

    /// A recorder's turn in `frame`: what all say, a frame at the room's rate.
    pub fn listen(&mut self, frame: u64, samples: &mut [i16]) -> Listened {
        let goes_on = {
            let room = locked(&self.room);
            room.recorder == Some(self.key) && room.mixer.len() > 1
        };
        if !goes_on {
            return Listened::Over;
        }
        match self.exchange(frame, &[], (None, false), &mut []) {
            Exchange::Late => return Listened::Late,
            Exchange::Common(_) | Exchange::Own | Exchange::Silence => {}
        }
        for (to, from) in samples.iter_mut().zip(&self.samples) {
            *to = *from;
        }
        Listened::Sound
    }

    /// The room's rate.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples of a frame.
    pub fn frame_samples(&self) -> usize {
        self.samples.len()
    }

    /// Keeps the member from being heard, or no longer.
    pub fn set_muted(&mut self, muted: bool) {
        locked(&self.room).mixer.set_muted(self.key, muted);
    }

    /// Keeps the member from hearing, or no longer.
    pub fn set_deafened(&mut self, deafened: bool) {
        locked(&self.room).mixer.set_deafened(self.key, deafened);
    }

    /// How loud the member hears the others, in 4096ths up to [`VOLUME_MAX`].
    pub fn set_volume(&mut self, volume: u16) {
        self.volume = volume.min(VOLUME_MAX);
    }

    /// Lets all in the room hear this.
    pub fn announce(&self, sounds: Vec<Sound>) {
        locked(&self.room).queue(sounds);
    }

    /// What those who stay hear when the member leaves.
    pub fn set_farewell(&mut self, sounds: Vec<Sound>) {
        self.farewell = sounds;
    }

    /// How many turns of the room's members came too late, since it was made.
    pub fn late(&self) -> u64 {
        locked(&self.room).late
    }

    /// The member's turn in `frame`: puts in `said`, a frame at the room's rate or less, and writes
    /// what the member hears as a payload of `coding`, with what plays `over` it for this member
    /// alone. With `pauses`, silence is no payload. Frames count up; a frame that was closed
    /// already is [`Taken::Late`].
    pub fn turn(
        &mut self,
        frame: u64,
        said: &[i16],
        (coding, pauses): (Coding, bool),
        over: Option<&mut Player>,
        payload: &mut [u8],
    ) -> Taken {
        let plain = self.volume == VOLUME_ONE && over.is_none();
        let pauses = pauses && over.is_none();
        let common = plain.then_some(coding);
        match self.exchange(frame, said, (common, pauses), payload) {
            Exchange::Late => return Taken::Late,
            Exchange::Silence => return Taken::Silence,
            Exchange::Common(length) => return Taken::Payload(length),
            Exchange::Own => {}
        }
        if self.volume != VOLUME_ONE {
            amplify(&mut self.samples, self.volume);
        }
        if let Some(player) = over {
            play_over(player, &mut self.samples);
        }
        if self.own.as_ref().is_none_or(|own| own.coding != coding) {
            let coder = locked(&self.room).own_coder(frame, coding);
            self.own = Some(Box::new(coder));
        }
        let length = match &mut self.own {
            Some(own) => own.encode(&self.samples, payload),
            None => 0,
        };
        Taken::Payload(length)
    }

    /// The part of a turn under the lock. With a `coding` the common payload is taken where it says
    /// what the member hears.
    fn exchange(
        &mut self,
        frame: u64,
        said: &[i16],
        (coding, pauses): (Option<Coding>, bool),
        payload: &mut [u8],
    ) -> Exchange {
        let mut room = locked(&self.room);
        if frame < room.frame || frame <= self.frame {
            room.late += 1;
            return Exchange::Late;
        }
        self.frame = frame;
        room.advance(frame);
        let quiet = room.mixer.is_quiet();
        let output = room.mixer.output(self.key);
        let silent = pauses && matches!(output, Heard::Silence);
        let common = match (output, coding) {
            (Heard::Silence, _) if silent => None,
            (Heard::Shared(_), Some(coding)) => Some(coding),
            (Heard::Silence, Some(coding)) if quiet => Some(coding),
            (Heard::Silence, _) => {
                self.samples.fill(0);
                None
            }
            (Heard::Shared(samples) | Heard::Own(samples), _) => {
                self.samples.copy_from_slice(samples);
                None
            }
        };
        let exchange = match common {
            Some(coding) => {
                self.own = None;
                Exchange::Common(room.encoded(coding, payload))
            }
            None if silent => Exchange::Silence,
            None => Exchange::Own,
        };
        match room.mixer.input(self.key, said) {
            Some(TalkChange::Began) => self.talks = true,
            Some(TalkChange::Ended) => self.talks = false,
            None => {}
        }
        exchange
    }

    /// Whether the member began or ended to talk since this was last told, at most twice a second.
    pub fn talk_change(&mut self) -> Option<bool> {
        let due = self.frame >= self.told_at + TOLD_EVERY;
        if self.talks == self.told || !due {
            return None;
        }
        (self.told, self.told_at) = (self.talks, self.frame);
        Some(self.talks)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut rooms = locked(&self.rooms.rooms);
        let mut room = locked(&self.room);
        room.mixer.leave(self.key);
        room.recorder = room.recorder.filter(|key| *key != self.key);
        room.queue(std::mem::take(&mut self.farewell));
        if room.mixer.is_empty() {
            rooms.remove(&self.name);
        }
    }
}

fn amplify(samples: &mut [i16], volume: u16) {
    for sample in samples {
        let louder = (i32::from(*sample) * i32::from(volume)) >> VOLUME_BITS;
        *sample = louder.clamp(-32_768, 32_767) as i16;
    }
}

/// Speaks over what is heard, which is half as loud meanwhile.
fn play_over(player: &mut Player, samples: &mut [i16]) {
    let mut played = [0; SAMPLES_MAX];
    let Some(played) = played.get_mut(..samples.len()) else {
        return;
    };
    player.fill(played);
    for (sample, played) in samples.iter_mut().zip(played) {
        *sample = (*sample / 2).saturating_add(*played);
    }
}

#[cfg(test)]
mod tests;
