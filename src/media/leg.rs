//! One leg that ends here: its stream, what it says, and what it hears.

use super::bridge::{Bridged, Said, Way};
use super::codec::{Codec, Encoder};
use super::comfort::{self, Description, HANG_MS, Pause, Saying};
use super::dtmf::Digit;
use super::ear::{self, Ear, noise_type};
use super::event::{EventReceiver, KeyChange};
use super::file::{FileAnswer, FileFailure, FileWish, Ticket};
use super::inband::InBand;
use super::meeting::Meeting;
use super::order::{Figures, Format, News, RecordEnd, SOUNDS_MAX, Sound, Task};
use super::player::{Player, Stock};
use super::record::{self, Limits, Recorder};
use super::room::{self, RoomNews, RoomOrder, Rooms, Taken};
use super::secure::Secure;
use super::stream::{Heard, PAUSE_MIN, RtpStream};
use crate::base::{Instant, Rng, TimerId};
use crate::wire::rtp::{HEADER_SIZE, Header, Packet};
use std::sync::Arc;
use std::time::Duration;

/// What we call ourselves in reports; nothing in it tells who calls (RFC 7022 §4.2).
const CNAME: &str = "voip";
/// Behind the present by more than this, what plays goes on from the present.
const LATE_MAX: Duration = Duration::from_millis(200);
/// Silence of a leg that has nothing to do is told of so much later: mostly it is soon given
/// something to say.
const HUSH: Duration = Duration::from_millis(100);
/// How often such silence is told of.
const HUSH_EVERY: Duration = Duration::from_millis(comfort::UPDATE_MS as u64);

/// For so long at least the far end writes in one way.
const WRITTEN_MIN: Duration = Duration::from_millis(100);

/// Samples of one packet: 60 ms (`sip::offer_answer`) at 48 kHz.
const SAMPLES_MAX: usize = 2880;

/// What a leg does.
#[derive(Debug)]
enum Doing {
    Resting,
    Echoing,
    Playing(Box<Playing>),
    Recording(Box<Recording>),
    Bridged(Box<Bridged>),
    Meeting(Box<Meeting>),
}

#[derive(Debug)]
struct Playing {
    player: Player,
    encoder: Encoder,
    /// When the next packet leaves.
    due: Instant,
    /// Whether a key ends it.
    until_key: bool,
    /// Samples that were said.
    said: u64,
}

#[derive(Debug)]
struct Recording {
    /// What is said before.
    beep: Option<Playing>,
    ear: Ear,
    recorder: Recorder,
    /// When the next frame is taken.
    due: Instant,
    until_key: bool,
}

/// A recorder that goes on without its leg, and what it is the task of.
#[derive(Debug)]
pub(super) struct Left {
    pub session: u64,
    pub task: u32,
    /// Of a room that is recorded, its name.
    pub room: Option<Box<str>>,
    pub recorder: Recorder,
    /// The question that waits for the disk.
    pub asked: Option<Ticket>,
    /// The disk had no time, and is asked again later.
    pub rests: bool,
}

impl Left {
    /// What is told of its end.
    pub fn news(&self, ms: u32, end: RecordEnd) -> News {
        let session = self.session;
        match &self.room {
            Some(room) => News::Room {
                session,
                room: room.clone(),
                what: RoomNews::Written {
                    file: self.recorder.name().into(),
                    ms,
                    end,
                },
            },
            None => News::Recorded {
                session,
                task: self.task,
                ms,
                end,
            },
        }
    }
}

/// One leg.
#[derive(Debug)]
pub(super) struct Leg {
    pub session: u64,
    pub format: Format,
    /// How the far end writes now, without the secrets, and since when.
    theirs: Format,
    written: Instant,
    pub timer: Option<TimerId>,
    /// When that is due.
    pub armed: Instant,
    stream: RtpStream,
    keys: EventReceiver,
    /// Keys as tones, where events were not agreed on.
    tones: Option<Box<InBand>>,
    /// Whether an event was heard: then tones are none.
    has_events: bool,
    secure: Option<Box<Secure>>,
    task: u32,
    doing: Doing,
    /// Silence in what plays, or in its room.
    pause: Pause,
    /// When silence is told of that nothing plays in.
    hush: Instant,
    asked: Option<Ticket>,
    skipped: u32,
}

/// What became of a leg's turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// A packet was written.
    Spoke,
    /// Its task is over.
    Done { task: u32, played_ms: u32 },
    /// Its recording is over, as far as the leg is concerned.
    Recorded,
    /// There was nothing to do.
    Idle,
}

/// A key, and whether it sounds in the leg's speech.
pub(super) type Pressed = (KeyChange, bool);

impl Leg {
    pub fn new(now: Instant, session: u64, format: Format, seed: u64) -> Self {
        let clock = format.coding.clock_rate();
        let keys = format.keys.clone();
        let mut leg = Self {
            session,
            theirs: format.bare(),
            written: now,
            format,
            timer: None,
            armed: Instant::FAR_FUTURE,
            stream: RtpStream::new(now, clock, CNAME, Rng::from_u64(seed)),
            keys: EventReceiver::new(),
            tones: None,
            has_events: false,
            secure: None,
            task: 0,
            doing: Doing::Resting,
            pause: Pause::default(),
            hush: now,
            asked: None,
            skipped: 0,
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
    pub fn reformat(&mut self, now: Instant, format: Format) {
        self.stream.set_clock(now, format.coding.clock_rate());
        let changed = (format.coding, format.wishes) != (self.format.coding, self.format.wishes);
        match &mut self.doing {
            Doing::Playing(playing) if changed => playing.reformat(&format),
            Doing::Recording(recording) => {
                if let Some(beep) = recording.beep.as_mut().filter(|_| changed) {
                    beep.reformat(&format);
                }
            }
            Doing::Playing(_)
            | Doing::Meeting(_)
            | Doing::Bridged(_)
            | Doing::Resting
            | Doing::Echoing => {}
        }
        self.secure = Secure::renewed(self.secure.take(), format.keys.as_ref());
        self.format = format;
        let written = self.theirs.payload_type;
        self.hear_in(
            now,
            match self.format.coding_of(written) {
                Some(coding) if coding == self.theirs.coding => written,
                _ => self.format.payload_type,
            },
        );
    }

    /// The far end writes so from now on; nothing where that was not agreed on.
    fn hear_in(&mut self, now: Instant, payload_type: u8) {
        let Some(coding) = self.format.coding_of(payload_type) else {
            return;
        };
        self.written = now;
        self.theirs = Format {
            coding,
            payload_type,
            ..self.format.bare()
        };
        match &mut self.doing {
            Doing::Recording(recording) if !recording.ear.fits(&self.theirs) => {
                recording.ear = Ear::new(&self.theirs, record::RATE);
            }
            Doing::Meeting(meeting) => meeting.reformat(&self.theirs),
            // The other leg's packets find out.
            Doing::Recording(_)
            | Doing::Playing(_)
            | Doing::Bridged(_)
            | Doing::Resting
            | Doing::Echoing => {}
        }
    }

    /// How the far end writes, without the secrets.
    pub fn theirs(&self) -> Format {
        self.theirs.bare()
    }

    /// It does this from now on. A recording that it did ends, and is handed over.
    pub fn begin(
        &mut self,
        now: Instant,
        task: u32,
        what: Task,
        (stock, rooms): (&Arc<Stock>, &Arc<Rooms>),
    ) -> Option<Left> {
        let left = self.leave();
        self.task = task;
        self.doing = match what {
            Task::Rest => Doing::Resting,
            Task::Echo => Doing::Echoing,
            Task::Play {
                sounds,
                rounds,
                until_key,
            } => {
                let playing = self.playing(now, sounds, rounds, stock);
                Doing::Playing(Box::new(Playing {
                    until_key,
                    ..playing
                }))
            }
            Task::Record {
                file,
                max_ms,
                silence_ms,
                until_key,
                beep,
            } => {
                let sounds = beep.into_iter().collect::<Vec<_>>();
                let beep = self.playing(now, sounds, Some(1), stock);
                Doing::Recording(Box::new(Recording {
                    beep: Some(beep),
                    ear: Ear::new(&self.theirs, record::RATE),
                    recorder: Recorder::new(file, Limits { max_ms, silence_ms }),
                    due: now,
                    until_key,
                }))
            }
            Task::Bridge { with } => Doing::Bridged(Box::new(Bridged::new(with))),
            Task::Join(join) => {
                match Meeting::join(now, self.session, &self.theirs, *join, (rooms, stock)) {
                    Some(meeting) => Doing::Meeting(Box::new(meeting)),
                    // What has nothing to say is over at its first turn.
                    None => {
                        let nothing = self.playing(now, Vec::new(), Some(1), stock);
                        Doing::Playing(Box::new(nothing))
                    }
                }
            }
        };
        self.stream.new_echo();
        self.stream.resume(now, PAUSE_MIN);
        self.pause.end();
        self.hush = now + HUSH;
        left
    }

    fn playing(
        &self,
        now: Instant,
        mut sounds: Vec<Sound>,
        rounds: Option<u16>,
        stock: &Arc<Stock>,
    ) -> Playing {
        sounds.truncate(SOUNDS_MAX);
        let codec = Codec::from(self.format.coding);
        Playing {
            player: Player::new(sounds, rounds, codec.sample_rate(), Arc::clone(stock)),
            encoder: Encoder::wished(codec, self.format.wishes, self.format.plugin),
            due: now,
            until_key: false,
            said: 0,
        }
    }

    /// Something about its place in a room.
    pub fn in_room(&mut self, what: RoomOrder) {
        if let Doing::Meeting(meeting) = &mut self.doing {
            // What was asked for the whisper before is nothing to the next.
            if matches!(what, RoomOrder::Whisper(..)) && !meeting.is_named() {
                self.asked = None;
            }
            meeting.order(what);
        }
    }

    /// A place for what records its room; none without, or if it is recorded already.
    pub fn record_room(&self) -> Option<room::Seat> {
        match &self.doing {
            Doing::Meeting(meeting) => meeting.record(),
            _ => None,
        }
    }

    /// What signalling must hear of its turn in a room.
    pub fn news(&mut self) -> Option<News> {
        match &mut self.doing {
            Doing::Meeting(meeting) => meeting.news(self.session),
            _ => None,
        }
    }

    /// Ends what it does; of a recording the rest goes on without it.
    pub fn leave(&mut self) -> Option<Left> {
        let asked = self.asked.take();
        match std::mem::replace(&mut self.doing, Doing::Resting) {
            Doing::Recording(recording) => {
                let mut recorder = recording.recorder;
                recorder.close(RecordEnd::Closed);
                Some(Left {
                    session: self.session,
                    task: self.task,
                    room: None,
                    recorder,
                    asked,
                    rests: false,
                })
            }
            Doing::Resting
            | Doing::Echoing
            | Doing::Playing(_)
            | Doing::Bridged(_)
            | Doing::Meeting(_) => None,
        }
    }

    /// When it wants to speak, to hear, or to report.
    pub fn due(&self) -> Instant {
        let report = self.stream.poll_timeout();
        match &self.doing {
            Doing::Playing(playing) => playing.due.min(report),
            Doing::Recording(recording) => match &recording.beep {
                Some(beep) => beep.due.min(recording.due).min(report),
                None => recording.due.min(report),
            },
            Doing::Bridged(bridged) => match &bridged.convert {
                Some(convert) => convert.due.min(report),
                None => report,
            },
            Doing::Meeting(meeting) => meeting.due().min(report),
            Doing::Resting if self.tells_of_silence() => self.hush.min(report),
            Doing::Resting | Doing::Echoing => report,
        }
    }

    /// Whether silence of ours is described. Not before anything was said: many phones end their
    /// ringing tone at the first packet.
    fn tells_of_silence(&self) -> bool {
        self.format.comfort.is_some() && self.format.sends && self.stream.has_spoken()
    }

    /// The session that it is bridged with.
    pub fn partner(&self) -> Option<u64> {
        match &self.doing {
            Doing::Bridged(bridged) => Some(bridged.with),
            Doing::Resting
            | Doing::Echoing
            | Doing::Playing(_)
            | Doing::Recording(_)
            | Doing::Meeting(_) => None,
        }
    }

    /// Whether packets of this type belong to what was agreed on; comfort noise always does.
    pub fn knows(&self, payload_type: u8) -> bool {
        self.format.coding_of(payload_type).is_some()
            || Some(payload_type) == self.format.events
            || Some(payload_type) == noise_type(&self.format)
    }

    /// Sounds that it left out because of their files, since this was asked last.
    pub fn take_skipped(&mut self) -> u32 {
        std::mem::take(&mut self.skipped)
    }

    /// The other leg of its bridge is gone.
    pub fn lose_partner(&mut self, now: Instant) -> Turn {
        self.rest(now)
    }

    /// What hears for a recording, or a room.
    fn ear(&mut self) -> Option<&mut Ear> {
        match &mut self.doing {
            Doing::Recording(recording) => Some(&mut recording.ear),
            Doing::Meeting(meeting) => Some(meeting.ear()),
            Doing::Resting | Doing::Echoing | Doing::Playing(_) | Doing::Bridged(_) => None,
        }
    }

    // ------------------------------------------------------------ in

    /// A packet of sound, or of a key, came. What goes back at once stands in `out`; what was
    /// pressed and released goes to `pressed`. What the packet is stands in the second place.
    pub fn hear(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
        pressed: &mut Vec<Pressed>,
    ) -> (Turn, Heard) {
        let header = packet.header();
        let length = packet.payload().len();
        let heard = self.stream.handle_rtp(now, &header, length);
        // Not with each packet, as each time somebody has to listen anew.
        if heard == Heard::Stream
            && header.payload_type != self.theirs.payload_type
            && now.since(self.written) >= WRITTEN_MIN
        {
            self.hear_in(now, header.payload_type);
        }
        // A jitter buffer judges for itself whether a jump is one.
        if matches!(heard, Heard::Stream | Heard::Unproven)
            && let Some(ear) = self.ear()
        {
            ear.put(now, &header, packet.payload());
        }
        if heard != Heard::Stream {
            return (Turn::Idle, heard);
        }
        self.hear_keys(now, &header, packet.payload(), pressed);
        let is_key = Some(header.payload_type) == self.format.events;
        let down = |(change, _): &Pressed| matches!(change, KeyChange::Pressed { .. });
        if pressed.iter().any(down) {
            match self.hear_key(now) {
                Turn::Idle => {}
                turn => return (turn, heard),
            }
        }
        let is_sound = self.format.coding_of(header.payload_type).is_some()
            || Some(header.payload_type) == self.format.comfort;
        let turn = match &self.doing {
            Doing::Echoing if is_key || is_sound => {
                if !self.format.sends {
                    return (Turn::Idle, heard);
                }
                let ours = self.stream.send_back(now, &header, length);
                out.clear();
                out.extend_from_slice(&ours.emit());
                out.extend_from_slice(packet.payload());
                Turn::Spoke
            }
            _ => Turn::Idle,
        };
        (turn, heard)
    }

    /// A key went down: what a key ends is over.
    pub fn hear_key(&mut self, now: Instant) -> Turn {
        match &mut self.doing {
            Doing::Playing(playing) if playing.until_key => self.rest(now),
            Doing::Recording(recording) if recording.until_key => {
                recording.recorder.close(RecordEnd::Key);
                Turn::Recorded
            }
            _ => Turn::Idle,
        }
    }

    fn hear_keys(
        &mut self,
        now: Instant,
        header: &Header,
        payload: &[u8],
        pressed: &mut Vec<Pressed>,
    ) {
        if Some(header.payload_type) == self.format.events {
            self.has_events = true;
            self.tones = None;
            self.keys.handle_packet(now, header, payload);
            while let Some(change) = self.keys.poll_change() {
                pressed.push((change, false));
            }
            return;
        }
        if self.format.events.is_some() || self.has_events {
            return;
        }
        let format = &self.theirs;
        let tones = self.tones.take().filter(|tones| tones.fits(format));
        let mut tones = tones.unwrap_or_else(|| Box::new(InBand::new(format)));
        tones.hear(header, payload, |change| pressed.push((change, true)));
        self.tones = Some(tones);
    }

    /// How the way from the far end fares.
    pub fn measure(&self) -> Figures {
        let ear = match &self.doing {
            Doing::Recording(recording) => Some(recording.ear.buffer()),
            Doing::Meeting(meeting) => Some(meeting.buffer()),
            Doing::Resting | Doing::Echoing | Doing::Playing(_) | Doing::Bridged(_) => None,
        };
        let stats = self.stream.stats(ear);
        let small = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        let expected = stats.packets_received.saturating_add(stats.lost).max(1);
        let lost = stats.lost.saturating_add(stats.late);
        Figures {
            lost_permille: small(lost.saturating_mul(1000) / expected),
            jitter_ms: small((u64::from(stats.jitter_us) + 500) / 1000),
            round_trip_ms: stats
                .round_trip_us
                .map(|us| small(u64::from(us).div_ceil(1000))),
        }
    }

    /// A report came, or a BYE, which the stream takes note of: whether the call is over is for
    /// signalling to say.
    pub fn hear_report(&mut self, now: Instant, ntp: u64, packet: &[u8]) {
        let _ = self.stream.handle_rtcp(now, ntp, packet);
    }

    /// A report of ours, if one is due, into `out`.
    pub fn report(&mut self, now: Instant, ntp: u64, out: &mut Vec<u8>) -> bool {
        self.stream.poll_report(now, ntp, out)
    }

    /// Its last report, with a BYE (RFC 3550 §6.6), as it leaves; whether there is one.
    pub fn farewell(&mut self, now: Instant, ntp: u64, out: &mut Vec<u8>) -> bool {
        self.stream.goodbye(now, ntp, out) && self.seal(out, true)
    }

    // ------------------------------------------------------------ the other leg of a bridge

    /// A packet of the other leg came, whose format is `theirs`; `proven`: of its stream. What
    /// leaves at once stands in `out`.
    pub fn relay(
        &mut self,
        now: Instant,
        (theirs, proven): (&Format, bool),
        packet: &Packet<'_>,
        out: &mut Vec<u8>,
    ) -> Turn {
        let Doing::Bridged(bridged) = &mut self.doing else {
            return Turn::Idle;
        };
        let header = packet.header();
        let converted = bridged.convert.is_some();
        match bridged.way(now, theirs, &self.format, header.payload_type) {
            Way::Through(payload_type) => {
                if converted {
                    // Our numbers went their own way meanwhile.
                    self.stream.new_echo();
                }
                if !self.format.sends || !proven {
                    return Turn::Idle;
                }
                let theirs = Header {
                    payload_type,
                    ..header
                };
                let ours = self.stream.send_back(now, &theirs, packet.payload().len());
                out.clear();
                out.extend_from_slice(&ours.emit());
                out.extend_from_slice(packet.payload());
                Turn::Spoke
            }
            Way::Heard => {
                if let Some(convert) = &mut bridged.convert {
                    convert.put(now, &header, packet.payload());
                }
                Turn::Idle
            }
            Way::Nowhere => Turn::Idle,
        }
    }

    /// A key of the other leg changed.
    pub fn relay_key(&mut self, (change, sounds): Pressed) {
        if let Doing::Bridged(bridged) = &mut self.doing
            && let Some(convert) = &mut bridged.convert
        {
            convert.key(change, sounds);
        }
    }

    /// A key of the other leg, whose format is `theirs`, that came beside its sound.
    pub fn press(&mut self, now: Instant, theirs: &Format, key: char) {
        if let Doing::Bridged(bridged) = &mut self.doing
            && let Some(digit) = Digit::from_char(key)
        {
            bridged.press(now, theirs, &self.format, digit);
        }
    }

    // ------------------------------------------------------------ files

    /// What it wants of the disk, if nothing is asked already.
    pub fn poll_wish(&mut self) -> Option<FileWish> {
        if self.asked.is_some() {
            return None;
        }
        match &mut self.doing {
            Doing::Playing(playing) => playing.player.poll_wish(),
            Doing::Recording(recording) => match &recording.beep {
                Some(beep) => beep.player.poll_wish(),
                None => recording.recorder.poll_wish(),
            },
            Doing::Meeting(meeting) => meeting.reader()?.poll_wish(),
            Doing::Resting | Doing::Echoing | Doing::Bridged(_) => None,
        }
    }

    /// It was asked.
    pub fn asked(&mut self, ticket: Ticket) {
        self.asked = Some(ticket);
        match &mut self.doing {
            Doing::Playing(playing) => playing.player.asked(ticket),
            Doing::Recording(recording) => {
                if let Some(beep) = &mut recording.beep {
                    beep.player.asked(ticket);
                }
            }
            Doing::Meeting(meeting) => {
                if let Some(player) = meeting.reader() {
                    player.asked(ticket);
                }
            }
            Doing::Resting | Doing::Echoing | Doing::Bridged(_) => {}
        }
    }

    /// The disk answered.
    pub fn handle_answer(
        &mut self,
        ticket: Ticket,
        answer: Result<FileAnswer, FileFailure>,
    ) -> Turn {
        if self.asked != Some(ticket) {
            return Turn::Idle;
        }
        self.asked = None;
        match &mut self.doing {
            Doing::Playing(playing) => {
                let before = playing.player.skipped();
                playing.player.handle_answer(ticket, answer);
                self.skipped += playing.player.skipped() - before;
            }
            Doing::Recording(recording) => match &mut recording.beep {
                Some(beep) => beep.player.handle_answer(ticket, answer),
                None => recording.recorder.handle_answer(answer.map(drop)),
            },
            Doing::Meeting(meeting) => {
                if let Some(player) = meeting.reader() {
                    player.handle_answer(ticket, answer);
                    meeting.on_read();
                }
            }
            Doing::Resting | Doing::Echoing | Doing::Bridged(_) => {}
        }
        self.look_at_recorder()
    }

    fn look_at_recorder(&self) -> Turn {
        match &self.doing {
            Doing::Recording(recording) if recording.recorder.has_ended() => Turn::Recorded,
            _ => Turn::Idle,
        }
    }

    // ------------------------------------------------------------ out

    /// What is due: the next packet of what it says, into `out`; the next frame of what it records.
    pub fn speak(&mut self, now: Instant, out: &mut Vec<u8>) -> Turn {
        let mut voice = Voice {
            now,
            format: &self.format,
            stream: &mut self.stream,
            pause: &mut self.pause,
        };
        match &mut self.doing {
            Doing::Resting => self.hush(now, out),
            Doing::Echoing => Turn::Idle,
            Doing::Playing(playing) => {
                if playing.due > now {
                    return Turn::Idle;
                }
                if playing.player.is_over() {
                    return self.rest(now);
                }
                playing.speak(&mut voice, out)
            }
            Doing::Recording(recording) => {
                let beeps = recording.beep.is_some();
                match recording.turn(&mut voice, out) {
                    Turn::Idle if recording.recorder.has_ended() => Turn::Recorded,
                    Turn::Idle if !beeps => self.hush(now, out),
                    turn => turn,
                }
            }
            Doing::Meeting(meeting) if meeting.due() <= now => meet(meeting, &mut voice, out),
            Doing::Meeting(_) => Turn::Idle,
            Doing::Bridged(bridged) => match &mut bridged.convert {
                Some(convert) if convert.due <= now => translate(convert, &mut voice, out),
                _ => Turn::Idle,
            },
        }
    }

    /// Tells of silence that nothing plays in, if it is time for that.
    fn hush(&mut self, now: Instant, out: &mut Vec<u8>) -> Turn {
        if self.hush > now {
            return Turn::Idle;
        }
        self.hush = now + HUSH_EVERY;
        let Some(payload_type) = self.format.comfort.filter(|_| self.tells_of_silence()) else {
            return Turn::Idle;
        };
        self.stream.resume(now, Duration::ZERO);
        let noise = Description::white(0);
        let noise = noise.bytes();
        // The time until the next packet passes by itself.
        let header = self.stream.send_noise(now, payload_type, 0, noise.len());
        out.clear();
        out.extend_from_slice(&header.emit());
        out.extend_from_slice(noise);
        Turn::Spoke
    }

    fn rest(&mut self, now: Instant) -> Turn {
        let rate = u64::from(Codec::from(self.format.coding).sample_rate());
        let said = match &self.doing {
            Doing::Playing(playing) => playing.said,
            _ => 0,
        };
        let played_ms = u32::try_from(said * 1000 / rate.max(1)).unwrap_or(u32::MAX);
        self.doing = Doing::Resting;
        self.hush = now + HUSH;
        self.asked = None;
        Turn::Done {
            task: self.task,
            played_ms,
        }
    }
}

impl Playing {
    fn reformat(&mut self, format: &Format) {
        self.encoder = Encoder::wished(format.coding.into(), format.wishes, format.plugin);
        self.player
            .set_rate(Codec::from(format.coding).sample_rate());
    }

    fn speak(&mut self, voice: &mut Voice<'_>, out: &mut Vec<u8>) -> Turn {
        let (now, format) = (voice.now, voice.format);
        if now.since(self.due) > LATE_MAX {
            self.due = now;
        }
        let codec = Codec::from(format.coding);
        let ms = codec.ptime_ms(format.packet_ms.into());
        self.due += Duration::from_millis(ms.into());
        let mut samples = [0; SAMPLES_MAX];
        let count = codec.samples(ms);
        let Some(samples) = samples.get_mut(..count) else {
            return Turn::Idle;
        };
        self.said += self.player.fill(samples) as u64;
        let step = codec.ticks(ms);
        if !format.sends {
            voice.stream.send_nothing(step);
            return Turn::Idle;
        }
        let silent = format.comfort.is_some() && samples.iter().all(|sample| *sample == 0);
        if let Some(turn) = voice.be_silent(silent, (ms, HANG_MS), step, out) {
            return turn;
        }
        out.clear();
        out.resize(HEADER_SIZE + codec.payload_len(count), 0);
        let payload = out.get_mut(HEADER_SIZE..).unwrap_or_default();
        let length = self.encoder.encode(samples, payload);
        voice.say((step, Said::Sound(length)), out)
    }
}

impl Recording {
    fn turn(&mut self, voice: &mut Voice<'_>, out: &mut Vec<u8>) -> Turn {
        let now = voice.now;
        if self.beep.as_ref().is_some_and(|b| b.player.is_over()) {
            self.beep = None;
        }
        if self.due <= now {
            if now.since(self.due) > LATE_MAX {
                self.due = now;
            }
            let mut frame = [0; record::FRAME];
            let heard = self.ear.frame(self.due, &mut frame);
            self.due += Duration::from_millis(record::FRAME_MS.into());
            if self.beep.is_none() {
                match heard {
                    ear::Heard::Sound => self.recorder.push(&frame),
                    ear::Heard::Nothing => self.recorder.push_noise(&frame),
                };
            }
        }
        match &mut self.beep {
            Some(beep) if beep.due <= now => beep.speak(voice, out),
            _ => Turn::Idle,
        }
    }
}

/// By what a leg says something.
struct Voice<'a> {
    now: Instant,
    format: &'a Format,
    stream: &'a mut RtpStream,
    pause: &'a mut Pause,
}

impl Voice<'_> {
    /// A frame of `step` units and so many milliseconds is silent, or not; what stands for it,
    /// unless it is to be sent as it is.
    fn be_silent(
        &mut self,
        silent: bool,
        (ms, hang_ms): (u32, u32),
        step: u32,
        out: &mut Vec<u8>,
    ) -> Option<Turn> {
        if !silent {
            self.pause.end();
            return None;
        }
        match self.pause.step(ms, hang_ms) {
            Saying::Sound => None,
            Saying::Nothing => Some(self.say((step, Said::Nothing), out)),
            Saying::Noise => {
                let noise = Description::white(0);
                out.clear();
                out.resize(HEADER_SIZE, 0);
                out.extend_from_slice(noise.bytes());
                Some(self.say((step, Said::Noise(noise.bytes().len())), out))
            }
        }
    }

    /// Sends what stands in `out`, behind its header's place.
    fn say(&mut self, (step, said): (u32, Said), out: &mut Vec<u8>) -> Turn {
        let (now, stream) = (self.now, &mut *self.stream);
        // What was late was not caught up with.
        stream.resume(now, 2 * LATE_MAX);
        let (header, length) = match (said, self.format.comfort) {
            (Said::Sound(length @ 1..), _) => {
                let payload_type = self.format.payload_type;
                (stream.send_audio(now, payload_type, step, length), length)
            }
            (Said::Noise(length @ 1..), Some(payload_type)) => {
                (stream.send_noise(now, payload_type, step, length), length)
            }
            (Said::Sound(_) | Said::Noise(_) | Said::Nothing, _) => {
                stream.send_nothing(step);
                return Turn::Idle;
            }
        };
        out.truncate(HEADER_SIZE + length);
        if let Some(place) = out.get_mut(..HEADER_SIZE) {
            place.copy_from_slice(&header.emit());
        }
        Turn::Spoke
    }
}

/// The turn of one in a room.
fn meet(meeting: &mut Meeting, voice: &mut Voice<'_>, out: &mut Vec<u8>) -> Turn {
    let (now, format) = (voice.now, voice.format);
    let step = Codec::from(format.coding).ticks(room::FRAME_MS);
    let skipped = meeting.skip(now);
    if skipped > 0 {
        voice.stream.send_nothing(step.wrapping_mul(skipped));
    }
    out.resize(HEADER_SIZE + room::PAYLOAD_MAX, 0);
    let payload = out.get_mut(HEADER_SIZE..).unwrap_or_default();
    let taken = meeting.turn(now, format, format.sends, payload);
    let silent = taken == Taken::Silence && format.sends;
    if let Some(turn) = voice.be_silent(silent, (room::FRAME_MS, 0), step, out) {
        return turn;
    }
    let said = match taken {
        Taken::Payload(length) if format.sends => Said::Sound(length),
        Taken::Payload(_) | Taken::Silence | Taken::Late => Said::Nothing,
    };
    voice.say((step, said), out)
}

/// The next packet of a bridged leg whose other side writes otherwise.
fn translate(
    convert: &mut super::bridge::Convert,
    voice: &mut Voice<'_>,
    out: &mut Vec<u8>,
) -> Turn {
    let (now, format) = (voice.now, voice.format);
    let codec = convert.codec();
    let ms = codec.ptime_ms(format.packet_ms.into());
    let (count, step) = (codec.samples(ms), codec.ticks(ms));
    let length = codec.payload_len(count).max(comfort::PAYLOAD_MAX);
    let mut samples = [0; SAMPLES_MAX];
    let Some(samples) = samples.get_mut(..count) else {
        return Turn::Idle;
    };
    out.clear();
    out.resize(HEADER_SIZE + length, 0);
    let payload = out.get_mut(HEADER_SIZE..).unwrap_or_default();
    let said = convert.say(samples, payload);
    convert.advance(now, ms, LATE_MAX);
    if !format.sends {
        voice.stream.send_nothing(step);
        return Turn::Idle;
    }
    voice.stream.resume(now, 2 * LATE_MAX);
    let timestamp = voice.stream.timestamp();
    let event = convert.events.as_mut().and_then(|events| {
        let units = events.clock() * ms / 1000;
        events.poll_packet(timestamp, units)
    });
    if let (Some(packet), Some(payload_type)) = (event, format.events) {
        let place = (packet.marker, packet.timestamp);
        let body = packet.event.emit();
        let stream = &mut voice.stream;
        let header = stream.send_event(now, payload_type, place, step, body.len());
        out.clear();
        out.extend_from_slice(&header.emit());
        out.extend_from_slice(&body);
        return Turn::Spoke;
    }
    voice.say((step, said), out)
}
