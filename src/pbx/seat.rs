//! A caller's place: the program that serves it, what the program waits for, and whom it called for
//! the caller.

use super::Timer;
use super::program::{Caller, Effect, Event, Program, Reach, Scene};
use super::taping::Taping;
use super::voice::Voice;
use crate::base::{Instant, Key, TimerId, TimerTable};
use crate::config::RingBack;
use crate::media::room::RoomOrder;
use crate::store::Record;
use smallvec::SmallVec;

/// Timers that a program may have at a time.
const TIMERS_MAX: usize = 8;
/// Tasks from here on are not the program's: who is joined, who waits for a transfer.
pub(super) const OWN_TASKS: u32 = u32::MAX - 15;
/// Programs that take a caller over from each other in one go.
const CHANGES_MAX: usize = 8;
/// Services that a caller is led to by calls of those before: a user may forward to the very menu
/// that calls the user.
const LED_MAX: u8 = 16;

/// A timer of a program.
#[derive(Debug)]
struct Alarm {
    number: u32,
    at: Instant,
    timer: TimerId,
}

/// Two sessions that are joined, the caller's first; each holds the other or does not.
pub(super) type Sides = [(u64, bool); 2];

#[derive(Debug)]
pub(super) struct Seat {
    program: Box<dyn Program>,
    /// The URI by which the proxy named it, where it did.
    pub service: Option<Box<[u8]>>,
    caller: Caller,
    /// The program's, by its numbers.
    timers: SmallVec<[Alarm; 2]>,
    /// What the studio does for the caller, as the program numbers it.
    task: u32,
    /// With whom the studio joined the caller last, both sessions, and which of them hold.
    joined: Option<(Key, Sides)>,
    begun: bool,
    /// Whether the caller holds us, as the program knows it.
    held: bool,
    /// Nobody is there any more; the program waits for the studio.
    over: bool,
    /// The leg of whom the program called.
    pub called: Option<Key>,
    /// What the user whose phone rang first has the caller hear.
    pub ring_back: Option<RingBack>,
    /// What is recorded of both.
    pub taping: Taping,
    /// How often the caller was led to another service.
    led: u8,
    /// The legs of whom the program called into a room.
    pub guests: Vec<Key>,
    /// The leg that asked for a transfer, until that is settled.
    pub transferor: Option<Key>,
    /// The call that settles it, unless a leg of another shard is found for it first.
    pub elsewhere: Option<Box<Reach>>,
}

impl Seat {
    pub fn new(program: Box<dyn Program>, caller: Caller) -> Self {
        Self {
            program,
            service: None,
            caller,
            timers: SmallVec::new(),
            task: 0,
            joined: None,
            begun: false,
            held: false,
            over: false,
            called: None,
            ring_back: None,
            guests: Vec::new(),
            taping: Taping::default(),
            led: 0,
            transferor: None,
            elsewhere: None,
        }
    }

    pub fn program(&self) -> &dyn Program {
        &*self.program
    }

    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The session of one whom we called is known.
    pub fn settle(&mut self, session: u64) {
        self.caller.session = session;
    }

    /// Whether the program has still to begin.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// The caller holds us, or does not; whether that is news for the program.
    pub fn is_held(&mut self, held: bool) -> bool {
        let known = std::mem::replace(&mut self.held, held);
        let alone = self.called.is_none() && self.transferor.is_none();
        self.begun && alone && known != held
    }

    /// Whether the caller may be led to another service once more; counts it.
    pub fn may_be_led(&mut self) -> bool {
        let may = self.led < LED_MAX;
        self.led = self.led.saturating_add(1);
        may
    }

    /// Another program has the caller, and begins as the first did.
    pub fn begin_anew(&mut self, program: Box<dyn Program>) {
        self.hand_over(program);
        self.begun = false;
    }

    /// Another program has the caller, and still has to begin.
    pub fn hand_over(&mut self, program: Box<dyn Program>) {
        self.program = program;
    }

    /// The studio does something that is not the program's.
    pub fn interrupt(&mut self, task: u32) {
        self.task = task;
    }

    /// The studio is to join the caller with that leg, as that task; whether it does not do just
    /// that already.
    pub fn joins(&mut self, task: u32, called: Key, sides: Sides) -> bool {
        let wanted = Some((called, sides));
        let known = self.task == task && self.joined == wanted;
        (self.task, self.joined) = (task, wanted);
        !known
    }

    /// Whether the studio does this now.
    pub fn does(&self, task: u32) -> bool {
        self.task == task
    }

    /// Tells the program what happened; what it wants. The end of what was cut short is nothing to
    /// it.
    pub fn tell(&mut self, cx: &mut super::Context<'_>, event: Event) -> Vec<Effect> {
        if let Event::Done(task) = event
            && (task != self.task || task >= OWN_TASKS)
        {
            return Vec::new();
        }
        let (mut event, mut wanted) = (event, Vec::new());
        let mut changes = 0;
        loop {
            let mut scene = Scene {
                now: cx.now,
                unix_ms: cx.anchor.unix_ms(cx.now),
                config: cx.config,
                house: cx.house,
                mailboxes: cx.mailboxes,
                rng: cx.rng,
                voice: Voice::of(cx.config.node.locale),
                rooms: cx.rooms,
                shard: cx.shard.0,
                caller: &self.caller,
                ring_back: self.ring_back.as_ref(),
                effects: Vec::new(),
                next: None,
            };
            self.program.on(&mut scene, event);
            wanted.append(&mut scene.effects);
            let Some(next) = scene.next.filter(|_| !self.over) else {
                break;
            };
            self.program = next;
            wanted.push(Effect::Still);
            event = Event::Begin;
            changes += 1;
            if changes >= CHANGES_MAX {
                // They send the caller round in a circle: a menu that is closed, a queue of nobody.
                tracing::warn!(program = self.program.name(), "programs lead in a circle");
                wanted.push(Effect::HangUp);
                break;
            }
        }
        for effect in &wanted {
            if let Effect::Do(task, _) | Effect::Room(RoomOrder::Whisper(task, _)) = effect {
                self.task = *task;
            }
        }
        wanted
    }

    /// Nobody is there any more.
    pub fn over(&mut self) {
        self.over = true;
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether nothing will wake it any more.
    pub fn is_idle(&self) -> bool {
        self.over && self.timers.is_empty()
    }

    /// What it is woken for first.
    pub fn alarm(&self) -> Option<u32> {
        let first = self.timers.iter().min_by_key(|alarm| alarm.at);
        first.map(|alarm| alarm.number)
    }

    /// The program wants to be told when this time has passed.
    pub fn wake(&mut self, (at, number): (Instant, u32), timers: &mut TimerTable<Timer>, key: Key) {
        self.woken(number, timers);
        if self.timers.len() < TIMERS_MAX {
            let timer = timers.arm(at, Timer::Program(key, number));
            self.timers.push(Alarm { number, at, timer });
        }
    }

    /// Another caller sits here now, on the leg `key`: one who hears the program alone, and not
    /// somebody who was called (`joined`), is told of by another [`Event::Begin`], as the studio
    /// knows nothing yet of this leg.
    pub fn moved(
        &mut self,
        (caller, joined): (Caller, bool),
        timers: &mut TimerTable<Timer>,
        key: Key,
    ) {
        self.caller = caller;
        // What was recorded ends with the leg that it was recorded of.
        self.taping = self.taping.next();
        self.begun = joined || self.transferor.is_some();
        for alarm in &mut self.timers {
            timers.cancel(alarm.timer);
            alarm.timer = timers.arm(alarm.at, Timer::Program(key, alarm.number));
        }
    }

    /// A timer of the program is over.
    pub fn woken(&mut self, number: u32, timers: &mut TimerTable<Timer>) {
        if let Some(at) = self.timers.iter().position(|a| a.number == number) {
            timers.cancel(self.timers.swap_remove(at).timer);
        }
    }

    /// The program ends, since its caller goes another way: what it still wants written.
    pub fn dismiss(
        &mut self,
        cx: &mut super::Context<'_>,
        timers: &mut TimerTable<Timer>,
    ) -> impl Iterator<Item = Record> + use<> {
        self.silence(timers);
        let wanted = self.tell(cx, Event::Ended).into_iter();
        wanted.filter_map(|effect| match effect {
            Effect::Persist(record) => Some(record),
            _ => None,
        })
    }

    /// No timer of the program runs any more.
    pub fn silence(&mut self, timers: &mut TimerTable<Timer>) {
        for alarm in self.timers.drain(..) {
            timers.cancel(alarm.timer);
        }
    }
}
