//! The legs that end here. Packets come in by [`Studio::handle_rtp`], what the legs say leaves by
//! an [`Outlet`]; what plays moves by absolute deadlines. What a leg says last, its BYE, is taken
//! by [`Studio::poll_farewell`]. What is asked of the disk is taken by [`Studio::poll_file`], and
//! answered by [`Studio::handle_file`] some time later.

use super::codec::Plugin;
use super::event::KeyChange;
use super::file::{FileAnswer, FileAsk, FileFailure, FileNews, FileWish, Filed};
use super::leg::{Left, Leg, Pressed, Turn};
use super::library::{Asker, Library};
use super::minutes::Minutes;
use super::order::{Format, News, Order, RecordEnd, SOUNDS_MAX, TapeOrder};
use super::record::{Limits, Recorder};
use super::room::{RoomNews, RoomOrder, Rooms};
use super::stream::{Heard, ntp_of_unix_ms};
use super::tape::Tape;
use super::wav::Encoding;
use crate::base::{Anchor, Instant, Key, Slab, TimerTable};
use crate::wire::rtp::Packet;
use crate::wire::rtp::event::key as key_of;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The longest payload that is looked at: as much as a datagram holds without fragments.
const PAYLOAD_MAX: usize = super::jitter::PAYLOAD_MAX;

/// News that wait for the driver, which drains them after each call; more are dropped.
const NEWS_MAX: usize = 4_096;

/// Last reports that wait for the driver, which takes them after each order; more are not sent.
const FAREWELLS_MAX: usize = 64;

/// Legs that have their turn in one [`Studio::handle_timeout`]; the others' turn comes at once
/// behind it.
const TURNS_MAX: usize = 4_096;

/// When a disk that had no time for a recording without its leg is asked again.
const REST: Duration = Duration::from_millis(100);

/// Takes what the studio sends.
pub trait Outlet {
    /// A packet of sound.
    fn rtp(&mut self, session: u64, stream: usize, packet: &[u8]);
    /// A report.
    fn rtcp(&mut self, session: u64, stream: usize, packet: &[u8]);
}

/// The last report of a leg that has ended, with its BYE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Farewell {
    /// Whose.
    pub session: u64,
    /// In which of its streams.
    pub stream: usize,
    /// RTCP, as it leaves.
    pub packet: Vec<u8>,
}

/// What was not heard, and why.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StudioCounters {
    /// Packets for no leg of ours, or not for its stream.
    pub strays: u64,
    /// What is no RTP, or was not made with the leg's key.
    pub malformed: u64,
    /// Payloads too large to be sound of one packet.
    pub oversized: u64,
    /// Payload types that were not agreed on.
    pub wrong_type: u64,
    /// Packets of another source or numbering that nothing confirmed yet.
    pub unproven: u64,
    /// Sounds that were left out because their files are missing or broken.
    pub skipped: u64,
}

/// Whose time has come.
#[derive(Clone, Copy, Debug)]
enum Due {
    Leg(Key),
    /// A tape, by its session on the left.
    Tape(u64),
    /// A recording without its leg, by its number: the disk is asked again.
    Left(u64),
}

/// The legs of one media worker, at most as many as its relay has sessions.
#[derive(Debug)]
pub struct Studio {
    anchor: Anchor,
    legs: Slab<Box<Leg>>,
    legs_max: usize,
    by_session: HashMap<u64, Key>,
    timers: TimerTable<Due>,
    /// Recordings of conversations, by the session on the left; at most as many as legs.
    pub(super) tapes: BTreeMap<u64, Box<Tape>>,
    /// Which of them a session is on.
    pub(super) taped: HashMap<u64, u64>,
    library: Library,
    rooms: Arc<Rooms>,
    /// What records rooms, by the number of its recorder in the library.
    minutes: BTreeMap<u64, Minutes>,
    minutes_timers: TimerTable<u64>,
    /// The longest file of a room, milliseconds; nought: as long as any recording may be.
    pub(super) minutes_ms_max: u32,
    news: VecDeque<News>,
    farewells: VecDeque<Farewell>,
    counters: StudioCounters,
    packet: Vec<u8>,
    pressed: Vec<Pressed>,
}

impl Studio {
    /// Without legs; at most `legs_max`. `anchor` ties the clock to the calendar, for reports.
    pub fn new(legs_max: usize, anchor: Anchor) -> Self {
        Self {
            anchor,
            legs: Slab::new(legs_max),
            legs_max,
            by_session: HashMap::new(),
            timers: TimerTable::new(),
            tapes: BTreeMap::new(),
            taped: HashMap::new(),
            library: Library::default(),
            rooms: Arc::default(),
            minutes: BTreeMap::new(),
            minutes_timers: TimerTable::new(),
            minutes_ms_max: 0,
            news: VecDeque::new(),
            farewells: VecDeque::new(),
            counters: StudioCounters::default(),
            packet: Vec::new(),
            pressed: Vec::new(),
        }
    }

    /// Its legs meet those of other studios in these rooms.
    pub fn share(&mut self, rooms: Arc<Rooms>) {
        self.rooms = rooms;
    }

    /// How many legs there are.
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Whether there is a leg of that session and stream.
    pub fn has_leg(&self, session: u64, stream: usize) -> bool {
        let key = self.by_session.get(&session);
        let leg = key.and_then(|key| self.legs.get(*key));
        leg.is_some_and(|leg| usize::from(leg.format.stream) == stream)
    }

    /// Recordings whose legs are gone, and which are not on the disk yet.
    pub fn recordings_left(&self) -> usize {
        self.library.left_count()
    }

    /// What was not heard.
    pub fn counters(&self) -> StudioCounters {
        self.counters
    }

    /// Carries out an order. Afterwards drain [`Studio::poll_farewell`], [`Studio::poll_news`] and
    /// [`Studio::poll_file`].
    pub fn handle_order(&mut self, now: Instant, order: Order) {
        let session = order.session();
        let known = self.by_session.get(&session).copied();
        let plugin = self.rooms.plugin();
        match (order, known) {
            (Order::Open { format, .. }, Some(key)) => {
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.reformat(now, Format { plugin, ..format });
                    self.arm(key);
                }
            }
            (Order::Open { format, seed, .. }, None) => {
                self.open(now, session, Format { plugin, ..format }, seed);
            }
            (Order::Do { task, what, .. }, Some(key)) => {
                let with = (&self.library.stock, &self.rooms);
                let leg = self.legs.get_mut(key);
                let left = leg.and_then(|leg| leg.begin(now, task, what, with));
                self.leave(now, left);
                self.serve(now, key);
                self.arm(key);
            }
            (
                Order::Room {
                    what: RoomOrder::Record(file, encoding),
                    ..
                },
                Some(key),
            ) => self.record_room(now, key, (file, encoding)),
            (Order::Room { what, .. }, Some(key)) => {
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.in_room(what);
                }
                self.serve(now, key);
            }
            (Order::Tape { what, .. }, leg) => self.on_tape(now, (session, leg), what),
            (Order::Measure { .. }, Some(key)) => {
                if let Some(figures) = self.legs.get(key).map(|leg| leg.measure()) {
                    self.tell(News::Measured { session, figures });
                }
            }
            (Order::Press { key: pressed, .. }, Some(key)) => self.press(now, key, pressed),
            (Order::Heard { .. }, Some(key)) => {
                if let Some(turn) = self.legs.get_mut(key).map(|leg| leg.hear_key(now)) {
                    self.on_turn(now, key, turn);
                }
            }
            (
                Order::Do { .. }
                | Order::Room { .. }
                | Order::Measure { .. }
                | Order::Press { .. }
                | Order::Heard { .. },
                None,
            ) => {
                self.tell(News::Failed { session });
            }
            (Order::Close { .. }, Some(key)) => self.close(now, session, key),
            (Order::Close { .. }, None) => self.untape(now, session),
            (Order::Files { task, what, .. }, _) => {
                let asker = Asker::Owner { session, task };
                let (_, answer) = self.library.ask(now, asker, FileWish::Order(what));
                if let Some(answer) = answer {
                    self.tell_owner(session, task, answer);
                }
            }
        }
    }

    fn record_room(&mut self, now: Instant, key: Key, file: (Box<str>, Encoding)) {
        let leg = self.legs.get(key);
        let Some((session, seat)) = leg.and_then(|leg| Some((leg.session, leg.record_room()?)))
        else {
            return;
        };
        if let Some(mut minutes) = Minutes::new(now, seat, session, file) {
            let number = self.begin_minutes(&mut minutes);
            self.go_on(number, minutes);
        }
    }

    /// Begins the next file of a room; its number in the library.
    fn begin_minutes(&mut self, minutes: &mut Minutes) -> Option<u64> {
        let limits = Limits {
            max_ms: self.minutes_ms_max,
            silence_ms: 0,
        };
        self.adopt(Left {
            session: minutes.session,
            task: 0,
            room: Some(minutes.room().into()),
            recorder: Recorder::of(minutes.next_file(), minutes.layout, limits),
            asked: None,
            rests: false,
        })
    }

    /// What records a room waits for its next turn; without a recorder it is over.
    fn go_on(&mut self, number: Option<u64>, minutes: Minutes) {
        match number {
            Some(number) => {
                self.minutes_timers.arm(minutes.due(), number);
                self.minutes.insert(number, minutes);
            }
            None => self.tell(News::Room {
                session: minutes.session,
                room: minutes.room().into(),
                what: RoomNews::Ceased,
            }),
        }
    }

    /// The turns of what records rooms.
    fn write_minutes(&mut self, now: Instant) {
        for _ in 0..TURNS_MAX {
            let Some((_, number)) = self.minutes_timers.pop_due(now) else {
                return;
            };
            let Some(mut minutes) = self.minutes.remove(&number) else {
                continue;
            };
            let wanted = minutes.turn(now);
            let number = self.write_down(now, number, &mut minutes);
            if wanted {
                self.go_on(number, minutes);
            } else if let Some(left) = number.and_then(|number| self.library.left(number)) {
                left.recorder.close(RecordEnd::Closed);
            }
            if let Some(number) = number {
                self.serve_left(now, number);
            }
        }
    }

    /// Writes what a room said; the number of the recorder that goes on, if any does.
    fn write_down(&mut self, now: Instant, number: u64, minutes: &mut Minutes) -> Option<u64> {
        let mut number = number;
        loop {
            match self.library.left(number)?.recorder.end() {
                None => {}
                // As long as a file may be.
                Some(RecordEnd::Limit) => {
                    self.serve_left(now, number);
                    number = self.begin_minutes(minutes)?;
                }
                // The disk took no more of it.
                Some(_) => {
                    self.serve_left(now, number);
                    return None;
                }
            }
            let left = self.library.left(number)?;
            let is_one = minutes.frame(|frame| {
                // Whether it takes more is asked above.
                left.recorder.push(frame);
            });
            if !is_one {
                return Some(number);
            }
        }
    }

    /// A key that a leg is to say of whom it is bridged with.
    fn press(&mut self, now: Instant, key: Key, pressed: char) {
        let with = self.legs.get(key).and_then(|leg| leg.partner());
        let with = with.and_then(|with| self.by_session.get(&with));
        let theirs = with.and_then(|with| Some(self.legs.get(*with)?.theirs()));
        if let (Some(theirs), Some(leg)) = (theirs, self.legs.get_mut(key)) {
            leg.press(now, &theirs, pressed);
            self.arm(key);
        }
    }

    fn open(&mut self, now: Instant, session: u64, format: Format, seed: u64) {
        let leg = Box::new(Leg::new(now, session, format, seed));
        match self.legs.insert(leg) {
            Ok(key) => {
                self.by_session.insert(session, key);
                self.arm(key);
            }
            Err(_) => self.tell(News::Failed { session }),
        }
    }

    fn close(&mut self, now: Instant, session: u64, key: Key) {
        self.by_session.remove(&session);
        self.untape(now, session);
        let Some(mut leg) = self.legs.remove(key) else {
            return;
        };
        if let Some(timer) = leg.timer {
            self.timers.cancel(timer);
        }
        let partner = leg.partner();
        self.part(now, &mut leg);
        self.leave(now, leg.leave());
        if let Some(with) = partner
            && let Some(key) = self.by_session.get(&with).copied()
            && let Some(other) = self.legs.get_mut(key)
            && other.partner() == Some(session)
        {
            let turn = other.lose_partner(now);
            self.on_turn(now, key, turn);
            self.arm(key);
        }
    }

    /// A leg that ends says so.
    fn part(&mut self, now: Instant, leg: &mut Leg) {
        let mut packet = Vec::new();
        if self.farewells.len() < FAREWELLS_MAX && leg.farewell(now, self.ntp(now), &mut packet) {
            self.farewells.push_back(Farewell {
                session: leg.session,
                stream: leg.format.stream.into(),
                packet,
            });
        }
    }

    fn arm(&mut self, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if let Some(timer) = leg.timer.take() {
            self.timers.cancel(timer);
        }
        leg.armed = leg.due();
        leg.timer = Some(self.timers.arm(leg.armed, Due::Leg(key)));
    }

    /// What a turn means beside its packet.
    fn on_turn(&mut self, now: Instant, key: Key, turn: Turn) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let session = leg.session;
        match turn {
            Turn::Done { task, played_ms } => self.tell(News::Done {
                session,
                task,
                played_ms,
            }),
            Turn::Recorded => {
                let left = leg.leave();
                self.leave(now, left);
            }
            Turn::Spoke | Turn::Idle => {}
        }
    }

    // ------------------------------------------------------------ in

    /// A packet of sound came for a leg.
    pub fn handle_rtp(
        &mut self,
        now: Instant,
        session: u64,
        stream: usize,
        packet: &mut [u8],
        outlet: &mut impl Outlet,
    ) {
        let key = self.by_session.get(&session).copied();
        let leg = key.and_then(|key| Some((key, self.legs.get_mut(key)?)));
        let Some((key, leg)) = leg.filter(|(_, leg)| stream == usize::from(leg.format.stream))
        else {
            self.counters.strays += 1;
            return;
        };
        let clear = leg.open(packet, false);
        let Some(packet) = clear.and_then(Packet::new_checked) else {
            self.counters.malformed += 1;
            return;
        };
        if packet.payload().len() > PAYLOAD_MAX {
            self.counters.oversized += 1;
            return;
        }
        let known = leg.knows(packet.header().payload_type);
        self.counters.wrong_type += u64::from(!known);
        self.pressed.clear();
        let (turn, heard) = leg.hear(now, &packet, &mut self.packet, &mut self.pressed);
        self.counters.unproven += u64::from(heard == Heard::Unproven);
        if turn == Turn::Spoke && leg.seal(&mut self.packet, false) {
            outlet.rtp(session, stream, &self.packet);
        }
        let heard_format = leg.theirs();
        let across = leg.partner().map(|with| (with, leg.theirs()));
        let news = &mut self.news;
        for (change, _) in &self.pressed {
            if let KeyChange::Pressed { code } = change
                && let Some(key) = key_of(*code)
                && news.len() < NEWS_MAX
            {
                news.push_back(News::Key { session, key });
            }
        }
        if matches!(heard, Heard::Stream | Heard::Unproven)
            && let Some(tape) = self.taped.get(&session)
            && let Some(tape) = self.tapes.get_mut(tape)
        {
            let (header, payload) = (packet.header(), packet.payload());
            tape.put(now, (session, &heard_format), &header, payload);
        }
        if let Some((with, format)) = across
            && matches!(heard, Heard::Stream | Heard::Unproven)
        {
            let proven = heard == Heard::Stream;
            self.cross(now, (session, with), (&format, proven), &packet, outlet);
        }
        if turn != Turn::Idle && turn != Turn::Spoke {
            self.on_turn(now, key, turn);
        }
    }

    /// A packet of a bridged leg goes to the other.
    fn cross(
        &mut self,
        now: Instant,
        (from, with): (u64, u64),
        theirs: (&Format, bool),
        packet: &Packet<'_>,
        outlet: &mut impl Outlet,
    ) {
        let key = self.by_session.get(&with).copied();
        let leg = key.and_then(|key| Some((key, self.legs.get_mut(key)?)));
        let Some((key, leg)) = leg.filter(|(_, leg)| leg.partner() == Some(from)) else {
            return;
        };
        let turn = leg.relay(now, theirs, packet, &mut self.packet);
        for pressed in &self.pressed {
            leg.relay_key(*pressed);
        }
        if turn == Turn::Spoke && leg.seal(&mut self.packet, false) {
            outlet.rtp(with, leg.format.stream.into(), &self.packet);
        }
        if leg.due() < leg.armed {
            self.arm(key);
        }
    }

    /// A report came for a leg.
    pub fn handle_rtcp(&mut self, now: Instant, session: u64, stream: usize, packet: &mut [u8]) {
        let ntp = self.ntp(now);
        let key = self.by_session.get(&session);
        let Some(leg) = key.and_then(|key| self.legs.get_mut(*key)) else {
            return;
        };
        if stream == usize::from(leg.format.stream)
            && let Some(packet) = leg.open(packet, true)
        {
            leg.hear_report(now, ntp, packet);
        }
    }

    // ------------------------------------------------------------ files

    /// What must be asked of the disk; each is answered by [`Studio::handle_file`].
    pub fn poll_file(&mut self) -> Option<FileAsk> {
        self.library.poll_ask()
    }

    /// The disk says something. Afterwards drain [`Studio::poll_news`] and [`Studio::poll_file`].
    pub fn handle_file(&mut self, now: Instant, news: FileNews) {
        match news {
            FileNews::Roots { spool, prompts } => self.library.set_roots(spool, prompts),
            FileNews::Answer { ticket, what } => match self.library.on_answer(now, ticket, &what) {
                Some(Asker::Leg(key)) => {
                    if let Some(leg) = self.legs.get_mut(key) {
                        let turn = leg.handle_answer(ticket, what);
                        self.counters.skipped += u64::from(leg.take_skipped());
                        self.on_turn(now, key, turn);
                        self.serve(now, key);
                    }
                }
                Some(Asker::Tape(session)) => {
                    if let Some(tape) = self.tapes.get_mut(&session)
                        && tape.asked == Some(ticket)
                    {
                        tape.asked = None;
                        tape.recorder.handle_answer(what.map(drop));
                    }
                    self.serve_tape(now, session);
                }
                Some(Asker::Left(number)) => {
                    if let Some(left) = self.library.left(number) {
                        left.asked = None;
                    }
                    self.answer_left(now, number, what);
                    self.serve_left(now, number);
                }
                Some(Asker::Owner { session, task }) => self.tell_owner(session, task, what),
                None => {}
            },
        }
    }

    fn tell_owner(&mut self, session: u64, task: u32, answer: Result<FileAnswer, FileFailure>) {
        let outcome = match answer {
            Ok(FileAnswer::Filed(filed)) => filed,
            Ok(_) => Filed::Done,
            Err(failure) => Filed::Failed(failure),
        };
        self.tell(News::Filed {
            session,
            task,
            outcome,
        });
    }

    /// Asks what a leg wants of the disk.
    fn serve(&mut self, now: Instant, key: Key) {
        // Of a list of sounds each may be known not to be there.
        for _ in 0..=SOUNDS_MAX {
            let Some(leg) = self.legs.get_mut(key) else {
                return;
            };
            let Some(wish) = leg.poll_wish() else {
                return;
            };
            let (ticket, answer) = self.library.ask(now, Asker::Leg(key), wish);
            leg.asked(ticket);
            let Some(answer) = answer else {
                return;
            };
            let busy = answer == Err(FileFailure::Busy);
            let turn = leg.handle_answer(ticket, answer);
            self.counters.skipped += u64::from(leg.take_skipped());
            self.on_turn(now, key, turn);
            if busy {
                return;
            }
        }
    }

    /// A recording goes on without its leg.
    fn leave(&mut self, now: Instant, left: Option<Left>) {
        let Some(left) = left else {
            return;
        };
        if let Some(number) = self.adopt(left) {
            self.serve_left(now, number);
        }
    }

    /// Takes a recorder over from its leg; its number in the library.
    fn adopt(&mut self, left: Left) -> Option<u64> {
        let refused = match self.library.leave(left) {
            Ok(number) => return Some(number),
            Err(refused) => refused,
        };
        // What is on the disk can be salvaged.
        self.tell(refused.news(0, RecordEnd::Failed));
        None
    }

    fn serve_left(&mut self, now: Instant, number: u64) {
        // An append, the finish, and the outcome.
        for _ in 0..4 {
            let Some(left) = self.library.left(number) else {
                return;
            };
            if left.asked.is_some() || left.rests {
                return;
            }
            if let Some((ms, end)) = left.recorder.outcome() {
                let news = left.news(ms, end);
                self.library.forget(number);
                return self.tell(news);
            }
            let Some(wish) = left.recorder.poll_wish() else {
                continue;
            };
            let (ticket, answer) = self.library.ask(now, Asker::Left(number), wish);
            match (answer, self.library.left(number)) {
                (Some(answer), _) => self.answer_left(now, number, answer),
                (None, Some(left)) => left.asked = Some(ticket),
                (None, None) => return,
            }
        }
    }

    /// What the disk says to a recording without its leg, which nothing else would wake.
    fn answer_left(&mut self, now: Instant, number: u64, answer: Result<FileAnswer, FileFailure>) {
        let Some(left) = self.library.left(number) else {
            return;
        };
        if answer == Err(FileFailure::Busy) && !left.rests {
            left.rests = true;
            self.timers.arm(now + REST, Due::Left(number));
        }
        left.recorder.handle_answer(answer.map(drop));
    }

    /// A recording without its leg has waited for the disk to have time.
    fn ask_again(&mut self, now: Instant, number: u64) {
        if let Some(left) = self.library.left(number) {
            left.rests = false;
        }
        self.serve_left(now, number);
    }

    // ------------------------------------------------------------ conversations on tape

    /// Something about the recording of a leg, or of a session that passes by.
    fn on_tape(&mut self, now: Instant, (session, leg): (u64, Option<Key>), what: TapeOrder) {
        let known = leg.is_some() || self.tapes.contains_key(&session);
        match what {
            what if known => self.tape(now, session, what),
            TapeOrder::Tap { .. } if self.tapes.len() < self.legs_max => {
                self.tape(now, session, what);
            }
            TapeOrder::Tap { task, .. } => self.tell(News::Recorded {
                session,
                task,
                ms: 0,
                end: RecordEnd::Failed,
            }),
            TapeOrder::Start { .. }
            | TapeOrder::With(_)
            | TapeOrder::Pause(_)
            | TapeOrder::Stop => self.tell(News::Failed { session }),
        }
    }

    /// A packet of a session passes by: of its left side (0) or its right one (1). Nothing where
    /// it is not recorded.
    pub fn overhear(&mut self, now: Instant, session: u64, place: (usize, usize), packet: &[u8]) {
        if let Some(tape) = self.tapes.get_mut(&session)
            && let Some(packet) = Packet::new_checked(packet)
            && packet.payload().len() <= PAYLOAD_MAX
        {
            tape.overhear(now, place, &packet.header(), packet.payload());
        }
    }

    fn tape(&mut self, now: Instant, session: u64, what: TapeOrder) {
        let plugin = self.rooms.plugin();
        let known = self.tapes.get_mut(&session);
        match (what, known) {
            (TapeOrder::Tap { formats, .. }, Some(tape)) => {
                tape.learn(formats.map(|side| with_plugin(side, plugin)));
            }
            (
                TapeOrder::Tap {
                    task,
                    file,
                    max_ms,
                    formats,
                },
                None,
            ) => {
                let mut tape = Tape::new(now, task, [session; 2], (file, max_ms));
                tape.learn(formats.map(|side| with_plugin(side, plugin)));
                tape.timer = Some(self.timers.arm(tape.due, Due::Tape(session)));
                self.tapes.insert(session, Box::new(tape));
            }
            (TapeOrder::Pause(paused), Some(tape)) => tape.paused = paused,
            (TapeOrder::Start { with, .. } | TapeOrder::With(with), Some(tape)) => {
                self.taped.remove(&tape.sides[1]);
                tape.turn_to(with);
                self.taped.insert(with, session);
            }
            (
                TapeOrder::Start {
                    task,
                    with,
                    file,
                    max_ms,
                },
                None,
            ) => {
                let mut tape = Tape::new(now, task, [session, with], (file, max_ms));
                tape.timer = Some(self.timers.arm(tape.due, Due::Tape(session)));
                self.tapes.insert(session, Box::new(tape));
                self.taped.insert(session, session);
                self.taped.insert(with, session);
            }
            (TapeOrder::With(_) | TapeOrder::Pause(_) | TapeOrder::Stop, None) => {}
            (TapeOrder::Stop, Some(_)) => self.untape(now, session),
        }
    }

    /// The recording of a conversation ends, if its left side goes or it is told so.
    fn untape(&mut self, now: Instant, session: u64) {
        let Some(tape) = self.tapes.remove(&session) else {
            return;
        };
        for side in tape.sides {
            if self.taped.get(&side) == Some(&session) {
                self.taped.remove(&side);
            }
        }
        if let Some(timer) = tape.timer {
            self.timers.cancel(timer);
        }
        let left = tape.leave();
        self.leave(now, Some(left));
    }

    fn turn_tape(&mut self, now: Instant, session: u64) {
        let Some(tape) = self.tapes.get_mut(&session) else {
            return;
        };
        tape.timer = None;
        if !tape.turn(now) {
            return self.untape(now, session);
        }
        let due = tape.due;
        tape.timer = Some(self.timers.arm(due, Due::Tape(session)));
        self.serve_tape(now, session);
    }

    fn serve_tape(&mut self, now: Instant, session: u64) {
        let Some(tape) = self.tapes.get_mut(&session) else {
            return;
        };
        if tape.asked.is_none()
            && let Some(wish) = tape.recorder.poll_wish()
        {
            let (ticket, answer) = self.library.ask(now, Asker::Tape(session), wish);
            match answer {
                Some(answer) => tape.recorder.handle_answer(answer.map(drop)),
                None => tape.asked = Some(ticket),
            }
        }
        if tape.recorder.has_ended() {
            self.untape(now, session);
        }
    }

    // ------------------------------------------------------------ out

    /// What a leg that has ended says last; to be sent before its ports go.
    pub fn poll_farewell(&mut self) -> Option<Farewell> {
        self.farewells.pop_front()
    }

    /// What signalling must hear.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When to call [`Studio::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let minutes = self.minutes_timers.next();
        self.timers.next().into_iter().chain(minutes).min()
    }

    /// Time passed: what plays goes on, and reports leave.
    pub fn handle_timeout(&mut self, now: Instant, outlet: &mut impl Outlet) {
        self.write_minutes(now);
        let ntp = self.ntp(now);
        for _ in 0..TURNS_MAX {
            let key = match self.timers.pop_due(now) {
                Some((_, Due::Leg(key))) => key,
                Some((_, Due::Tape(session))) => {
                    self.turn_tape(now, session);
                    continue;
                }
                Some((_, Due::Left(number))) => {
                    self.ask_again(now, number);
                    continue;
                }
                None => return,
            };
            let Some(leg) = self.legs.get_mut(key) else {
                continue;
            };
            leg.timer = None;
            let (session, stream) = (leg.session, usize::from(leg.format.stream));
            if leg.report(now, ntp, &mut self.packet) && leg.seal(&mut self.packet, true) {
                outlet.rtcp(session, stream, &self.packet);
            }
            match leg.speak(now, &mut self.packet) {
                Turn::Spoke => {
                    if leg.seal(&mut self.packet, false) {
                        outlet.rtp(session, stream, &self.packet);
                    }
                }
                turn => self.on_turn(now, key, turn),
            }
            while let Some(news) = self.legs.get_mut(key).and_then(|leg| leg.news()) {
                self.tell(news);
            }
            self.serve(now, key);
            self.arm(key);
        }
    }

    fn ntp(&self, now: Instant) -> u64 {
        ntp_of_unix_ms(self.anchor.unix_ms(now))
    }

    fn tell(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push_back(news);
        }
    }
}

fn with_plugin(formats: Vec<Format>, plugin: Option<Plugin>) -> Vec<Format> {
    let each = formats.into_iter();
    each.map(|format| Format { plugin, ..format }).collect()
}
