//! `start recording`, `stop recording`, `pause recording`, and `record-call` of an offer or answer:
//! both sides of each dialogue of a call in one file, who offered first on the left, for as long as
//! they have a stream of sound that we can read; of several such streams each in its own.
//!
//! ```text
//!   start, record-call=on          answered         stop, delete, limit, disk
//!   ---------------------> On ------------------> a file ---------------------> whole
//!                           '-- pause --> Paused: the file waits for the next start
//! ```
//! While it is recorded a stream passes over sockets, where the studio hears it; afterwards it may
//! go by the fast path again. What passes under keys that only the peers have cannot be heard.
//!
//! The file's name is ours: what a client says of names, directories and patterns is not taken.

use super::call::{Call, Dialogue};
use super::core::{Client, Ng};
use super::request::{Command, Request};
use super::{Output, Settings};
use crate::base::{Instant, Rng};
use crate::media::file::{FileOrder, recording_of};
use crate::media::order::{Format, News, Order, RecordEnd, TAPPED_FORMATS_MAX, TapeOrder};
use crate::plan::local_time;
use crate::relay::{MediaKind, Side, side_of_leg, tap_of};
use crate::sip::offer_answer::readable;
use crate::store::{Cdr, EndCause, Record};
use crate::wire::bencode::Dictionary;
use crate::wire::rtp::{Coding, Wishes};
use crate::wire::sdp::{Media, Sdp};

/// Recordings whose end is waited for; of more the oldest are not heard of any more.
const RECORDINGS_MAX: usize = 65_536;
const UNREADABLE: &str =
    "nothing can be recorded: no stream of sound in a known codec, or its keys are the peers' own";

/// Whether a call is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Recording {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
    /// What is said is left out.
    Paused,
}

/// What the studio was asked to write of one stream of a dialogue.
#[derive(Clone, Debug)]
pub struct Tape {
    pub(super) task: u32,
    session: u64,
    /// The place of the stream.
    pub(super) stream: usize,
    /// Its name below the spool.
    pub file: Box<str>,
    formats: [Vec<Format>; 2],
    paused: bool,
    /// It ended by itself: as long as it may be, or the disk refused.
    over: bool,
}

/// A file that is being written, by the number of its task.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    call_id: Box<[u8]>,
    dialogue: u64,
    file: Box<str>,
    /// Of both sides.
    tags: [Box<[u8]>; 2],
    /// When it began.
    unix_ms: u64,
    /// Why it ended, or will, unless it says so itself.
    pub(super) cause: EndCause,
}

impl Begun {
    /// What `voipctl recording list` shows of a file that has so much sound and ended then. Of URIs
    /// the protocol knows nothing: tags stand in their place.
    fn record(&self, ms: u32, end_ms: u64, cause: EndCause) -> Record {
        let text = |bytes: &[u8]| -> Box<str> { String::from_utf8_lossy(bytes).into() };
        let [from, to] = &self.tags;
        Record::Cdr(Box::new(Cdr {
            call_id: text(&self.call_id),
            from: text(from),
            to: text(to),
            user: "".into(),
            source: "".into(),
            way_in: "ng".into(),
            way_out: "".into(),
            route: "".into(),
            note: format!("recorded: {}", self.file).into(),
            start_ms: self.unix_ms.min(end_ms),
            answer_ms: Some(end_ms.saturating_sub(ms.into())),
            end_ms,
            status: 200,
            cause,
            codecs: "".into(),
            legs: None,
        }))
    }
}

impl Dialogue {
    /// The streams that are recorded.
    pub(super) fn recorded(&self) -> Vec<usize> {
        if self.recording == Recording::Off || self.ending.is_some() {
            return Vec::new();
        }
        let over = |at: &usize| self.tapes.iter().any(|t| t.over && t.stream == *at);
        let sounds = self.sounds().into_iter();
        sounds.filter(|at| !over(at)).collect()
    }

    /// How both sides are told something in a stream: by what they named first.
    pub(super) fn told(&self, stream: usize, codings: &[Coding]) -> Option<[Format; 2]> {
        let first = |side| {
            let sdp = Sdp::parse(&self.party(side).sdp).ok()?;
            let media = sdp.media.get(stream)?;
            speaks(media, stream, codings).into_iter().next()
        };
        Some([first(Side::Caller)?, first(Side::Called)?])
    }

    /// The files that are being written of it, below the spool.
    pub(super) fn recording_files(&self) -> impl Iterator<Item = &str> {
        let tapes = self.tapes.iter().filter(|tape| !tape.over);
        tapes.map(|tape| &*tape.file)
    }

    /// Why it is over, if who has this tag said so.
    pub(super) fn hung_up(&self, from_tag: &[u8]) -> EndCause {
        match (self.is_answered(), self.side_of(from_tag)) {
            (false, _) => EndCause::Cancelled,
            (true, Some(Side::Called)) => EndCause::CalleeHungUp,
            (true, Some(Side::Caller) | None) => EndCause::CallerHungUp,
        }
    }

    fn tags(&self) -> [Box<[u8]>; 2] {
        Side::BOTH.map(|side| self.party(side).tag().into())
    }

    /// Whether it is answered, and nothing of it can be heard.
    fn is_unreadable(&self) -> bool {
        self.is_answered() && self.sounds().is_empty()
    }

    /// The streams of sound of which we can read what both sides send; at most as many as a
    /// description may hold.
    fn sounds(&self) -> Vec<usize> {
        let [caller, called] = &self.parties;
        let (Ok(one), Ok(other)) = (Sdp::parse(&caller.sdp), Sdp::parse(&called.sdp)) else {
            return Vec::new();
        };
        let pairs = one.media.iter().zip(&other.media).enumerate();
        pairs
            .filter(|(at, (one, other))| {
                let ours = self
                    .parties
                    .iter()
                    .any(|party| party.streams.get(*at).is_some_and(|s| s.is_ours()));
                let clear = !one.is_secure_rtp() && !other.is_secure_rtp();
                is_sound(one) && is_sound(other) && (clear || ours)
            })
            .map(|(at, _)| at)
            .collect()
    }

    /// How both sides may write what they send.
    fn formats(&self, stream: usize, codings: &[Coding]) -> [Vec<Format>; 2] {
        Side::BOTH.map(|side| {
            // A side sends what the other asked for (RFC 3264 §6.1), or what it named itself; where
            // we stand between them it knows nothing of the other.
            let of = |side| {
                let sdp = Sdp::parse(&self.party(side).sdp).ok();
                let media = sdp.as_ref().and_then(|sdp| sdp.media.get(stream));
                let known = media.map(|media| speaks(media, stream, codings));
                known.unwrap_or_default()
            };
            let others = match self.conversion(stream) {
                Some(_) => Vec::new(),
                None => of(side.other()),
            };
            let mut known: Vec<Format> = Vec::new();
            for format in others.into_iter().chain(of(side)) {
                let named = known.iter().any(|f| f.payload_type == format.payload_type);
                if !named && known.len() < TAPPED_FORMATS_MAX {
                    // What it asks of our sound, and when, changes nothing of its own.
                    known.push(Format {
                        packet_ms: 20,
                        wishes: Wishes::default(),
                        sends: false,
                        ..format
                    });
                }
            }
            known
        })
    }
}

/// Whether a section is a stream of sound that is not refused.
pub(super) fn is_sound(media: &Media<'_>) -> bool {
    media.port != 0 && media.is_rtp() && media.kind == b"audio"
}

/// How a side that wrote a section may be spoken to, in its order.
pub(super) fn speaks(media: &Media<'_>, stream: usize, codings: &[Coding]) -> Vec<Format> {
    let each = readable(media, codings).into_iter().map(|known| Format {
        stream: u8::try_from(stream).unwrap_or(u8::MAX),
        events: known.events,
        events_clock: known.events_clock,
        packet_ms: known.packet_ms,
        wishes: known.wishes,
        sends: media.effective_direction().receives(),
        // What passes by is told as it was.
        ..Format::plain(known.coding, known.payload_type)
    });
    each.collect()
}

/// What is on its way from a call to the studio.
pub(super) struct Desk<'a> {
    pub(super) settings: &'a Settings,
    pub(super) rng: &'a mut Rng,
    /// The last task's number.
    next: &'a mut u32,
    now: Instant,
    pub(super) orders: Vec<Order>,
    begun: Vec<(u32, Begun)>,
}

impl Desk<'_> {
    /// Brings what is written of a dialogue in line with what shall be. If that has begun, the
    /// stream in which both are told so.
    fn settle(&mut self, call_id: &[u8], dialogue: &mut Dialogue) -> Option<usize> {
        let wanted = match dialogue.session {
            Some(_) => dialogue.recorded(),
            None => Vec::new(),
        };
        let session = dialogue.session;
        let mut tapes = std::mem::take(&mut dialogue.tapes);
        let runs = |tape: &Tape| !tape.over && Some(tape.session) == session;
        let knows = tapes.iter().any(runs);
        for tape in tapes.iter().filter(|tape| !tape.over) {
            if !wanted.contains(&tape.stream) {
                self.order(tape, TapeOrder::Stop);
            }
        }
        // Those of another session ended with it.
        tapes.retain(|tape| tape.over || runs(tape) && wanted.contains(&tape.stream));
        let mut begun = None;
        for (session, stream) in session.iter().flat_map(|s| wanted.iter().map(|w| (*s, *w))) {
            let formats = dialogue.formats(stream, self.settings.codings);
            let paused = dialogue.recording == Recording::Paused;
            let at = tapes.iter().position(|t| t.stream == stream && runs(t));
            let mut tape = match at.map(|at| tapes.swap_remove(at)) {
                Some(mut tape) => {
                    if tape.formats != formats {
                        tape.formats = formats;
                        self.tap(&tape);
                    }
                    tape
                }
                None => {
                    begun = begun.or(Some(stream));
                    self.begin(call_id, (dialogue, session, stream), formats)
                }
            };
            if tape.paused != paused {
                tape.paused = paused;
                self.order(&tape, TapeOrder::Pause(paused));
            }
            tapes.push(tape);
        }
        tapes.sort_by_key(|tape| tape.stream);
        dialogue.tapes = tapes;
        begun.filter(|_| !knows)
    }

    fn begin(
        &mut self,
        call_id: &[u8],
        (dialogue, session, stream): (&Dialogue, u64, usize),
        formats: [Vec<Format>; 2],
    ) -> Tape {
        let task = self.number();
        let unix_ms = self.settings.anchor.unix_ms(self.now);
        let day = local_time(unix_ms, &self.settings.timezone).strftime("%Y/%m/%d");
        let own = self.rng.token::<8>();
        let tape = Tape {
            task,
            session,
            stream,
            file: recording_of(&day.to_string(), call_id, &own),
            formats,
            paused: false,
            over: false,
        };
        self.tap(&tape);
        let begun = Begun {
            call_id: call_id.into(),
            dialogue: dialogue.id,
            file: tape.file.clone(),
            tags: dialogue.tags(),
            unix_ms,
            cause: EndCause::Operator,
        };
        self.begun.push((tape.task, begun));
        tape
    }

    /// The next task's number.
    pub(super) fn number(&mut self) -> u32 {
        *self.next = self.next.wrapping_add(1);
        *self.next
    }

    fn tap(&mut self, tape: &Tape) {
        let what = TapeOrder::Tap {
            task: tape.task,
            file: tape.file.clone(),
            max_ms: self.settings.recording_max_ms,
            formats: tape.formats.clone(),
        };
        self.order(tape, what);
    }

    fn order(&mut self, tape: &Tape, what: TapeOrder) {
        let session = tap_of(tape.session, tape.stream);
        self.orders.push(Order::Tape { session, what });
    }
}

impl Ng {
    /// `start recording` and its opposites.
    pub(super) fn record(&mut self, now: Instant, client: Client, request: &Request) {
        let Some(call) = self.calls.get_mut(&request.call_id) else {
            return self.refuse(&client, "Unknown call-id");
        };
        let pauses = request.command == Command::PauseRecording || request.options.pause;
        let recording = match (request.command, pauses, call.recording) {
            (Command::StartRecording, ..) => Recording::On,
            // What is not recorded cannot wait.
            (_, true, Recording::On | Recording::Paused) => Recording::Paused,
            (_, true | false, _) => Recording::Off,
        };
        if recording == Recording::On && call.dialogues.iter().all(Dialogue::is_unreadable) {
            return self.refuse(&client, UNREADABLE);
        }
        if request.command == Command::StartRecording {
            // One that ended by itself may begin again.
            for dialogue in &mut call.dialogues {
                dialogue.tapes.retain(|tape| !tape.over);
            }
        }
        call.last_signal = now;
        call.record(recording);
        self.tell_anew(&request.call_id);
        self.settle_tapes(now, &request.call_id);
        self.reply(&client, Dictionary::new());
    }

    /// Brings what is written of a call in line with what shall be.
    pub(super) fn settle_tapes(&mut self, now: Instant, call_id: &[u8]) {
        let Some(call) = self.calls.get_mut(call_id) else {
            return;
        };
        for dialogue in &call.dialogues {
            for tape in &dialogue.tapes {
                if let Some(begun) = self.recordings.get_mut(&tape.task) {
                    begun.tags = dialogue.tags();
                }
            }
        }
        let mut desk = Desk {
            settings: &self.settings,
            rng: &mut self.rng,
            next: &mut self.next_tape,
            now,
            orders: Vec::new(),
            begun: Vec::new(),
        };
        for dialogue in &mut call.dialogues {
            let begins = desk.settle(call_id, dialogue);
            desk.place(dialogue, begins);
        }
        let unheard =
            call.recording == Recording::On && call.dialogues.iter().any(Dialogue::is_unreadable);
        let Desk { orders, begun, .. } = desk;
        for (task, begun) in begun {
            let shown = String::from_utf8_lossy(call_id);
            tracing::info!("call {shown} is recorded: {}", begun.file);
            self.counts.recordings += 1;
            if self.recordings.len() >= RECORDINGS_MAX {
                self.recordings.pop_first();
            }
            self.recordings.insert(task, begun);
        }
        for order in orders {
            self.order(order);
        }
        if unheard {
            self.note(format!("record-call: {UNREADABLE}"));
        }
    }

    /// The studio says something of a session of [`super::NG_SESSIONS`].
    pub fn handle_studio(&mut self, now: Instant, news: News) {
        let (task, ms, end) = match news {
            News::Recorded { task, ms, end, .. } => (task, ms, end),
            News::Done { session, task, .. } => return self.on_told(session, task),
            News::Failed { session } if side_of_leg(session).is_some() => {
                return self.on_leg_lost(session);
            }
            News::Filed { .. }
            | News::Key { .. }
            | News::Measured { .. }
            | News::Failed { .. }
            | News::Room { .. }
            | News::Talking { .. } => return,
        };
        let Some(begun) = self.recordings.remove(&task) else {
            return;
        };
        let cause = match end {
            RecordEnd::Limit => EndCause::TooLong,
            RecordEnd::Failed
            | RecordEnd::Behind
            | RecordEnd::Key
            | RecordEnd::Silence
            | RecordEnd::Closed => begun.cause,
        };
        if ms > 0 {
            let record = begun.record(ms, self.settings.anchor.unix_ms(now), cause);
            self.outputs.push_back(Output::Persist(record));
        }
        let Begun {
            call_id,
            dialogue,
            file,
            ..
        } = begun;
        let shown = String::from_utf8_lossy(&call_id);
        match end {
            RecordEnd::Failed => {
                self.counts.recordings_failed += 1;
                tracing::warn!("call {shown}: {file} could not be written, or not all of it");
            }
            RecordEnd::Behind => {
                self.counts.recordings_failed += 1;
                tracing::warn!(
                    "call {shown}: {file} ended after {} s, as the disk did not answer in time",
                    ms / 1000
                );
            }
            RecordEnd::Key | RecordEnd::Silence | RecordEnd::Limit | RecordEnd::Closed => {
                tracing::info!("call {shown}: {file} is whole, {} s", ms / 1000);
            }
        }
        let found = self.dialogue_mut(&call_id, dialogue);
        let mut tapes = found.into_iter().flat_map(|dialogue| &mut dialogue.tapes);
        if let Some(tape) = tapes.find(|tape| tape.task == task) {
            tape.over = true;
            self.tell_anew(&call_id);
            self.settle_tapes(now, &call_id);
        }
    }

    /// Media began anew, and with it a session: what was being written broke off. It becomes whole
    /// as far as it came, and another file begins.
    pub(super) fn tape_anew(&mut self, now: Instant, call_id: &[u8], dialogue: u64) {
        let found = self.dialogue_mut(call_id, dialogue);
        let Some(dialogue) = found else {
            return;
        };
        let broken: Vec<Tape> = dialogue.tapes.extract_if(.., |tape| !tape.over).collect();
        for tape in &broken {
            self.salvage(now, call_id, tape);
        }
        if !broken.is_empty() {
            self.settle_tapes(now, call_id);
        }
    }

    fn salvage(&mut self, now: Instant, call_id: &[u8], tape: &Tape) {
        if let Some(begun) = self.recordings.remove(&tape.task) {
            let end_ms = self.settings.anchor.unix_ms(now);
            let ms = u32::try_from(end_ms.saturating_sub(begun.unix_ms)).unwrap_or(u32::MAX);
            let record = begun.record(ms, end_ms, EndCause::MediaFailed);
            self.outputs.push_back(Output::Persist(record));
        }
        let shown = String::from_utf8_lossy(call_id);
        tracing::warn!("call {shown}: {} breaks off: media began anew", tape.file);
        let order = Order::Files {
            session: tape.session,
            task: tape.task,
            what: FileOrder::Salvage {
                file: tape.file.clone(),
            },
        };
        self.order(order);
    }

    /// A dialogue is over: so is what is written of it.
    pub(super) fn recorded_until(&mut self, dialogue: &Dialogue, cause: EndCause) {
        let tapes = dialogue.tapes.iter();
        for tape in tapes.filter(|tape| dialogue.ending.is_none() && !tape.over) {
            if let Some(begun) = self.recordings.get_mut(&tape.task) {
                begun.cause = cause;
            }
        }
    }

    /// The daemon stops: what is being written ends, and nothing else begins. The studio says when
    /// each is whole; [`Ng::records`] until it has.
    pub fn shut_down(&mut self, now: Instant) {
        let ids: Vec<Box<[u8]>> = self.calls.keys().cloned().collect();
        for id in ids {
            let Some(mut call) = self.calls.remove(&id) else {
                continue;
            };
            for dialogue in &call.dialogues {
                self.recorded_until(dialogue, EndCause::Shutdown);
            }
            call.record(Recording::Off);
            self.calls.insert(id.clone(), call);
            self.settle_tapes(now, &id);
        }
    }

    /// Whether a file is not whole yet.
    pub fn records(&self) -> bool {
        !self.recordings.is_empty()
    }

    pub(super) fn order(&mut self, order: Order) {
        self.outputs.push_back(Output::Studio(order));
    }

    /// Whose session it is.
    pub(super) fn dialogue_of(&mut self, session: u64) -> Option<&mut Dialogue> {
        let (call_id, id) = self.dialogue_by(session)?;
        self.dialogue_mut(&call_id, id)
    }
}

impl Call {
    /// From now on it is recorded, or not.
    pub(super) fn record(&mut self, recording: Recording) {
        self.recording = recording;
        for dialogue in &mut self.dialogues {
            dialogue.recording = recording;
        }
    }
}

/// Marks the streams that are heard here.
pub(super) fn mark(dialogue: &Dialogue, legs: &mut [crate::relay::LegSpec; 2]) {
    let converted = dialogue.conversions.iter().map(|c| c.stream);
    for stream in dialogue.recorded().into_iter().chain(converted) {
        for leg in &mut *legs {
            if let Some(Some(spec)) = leg.media.get_mut(stream) {
                spec.tapped = spec.kind == MediaKind::Rtp;
            }
        }
    }
}
