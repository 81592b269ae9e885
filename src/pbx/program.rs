//! What services are made of: a program is told what happens to its caller, and says what follows.

use super::across::Meeting;
use super::rooms::{Address, Journey, Roster, Wish};
use super::voice::Voice;
use crate::base::{Instant, Rng};
pub(super) use crate::call::inside::Led;
use crate::config::{Config, PAGE_MEMBERS_MAX, RingBack};
use crate::feature::{self, Features, Guesser};
use crate::location::Location;
use crate::mailbox::Mailboxes;
use crate::media::file::{FileOrder, Filed};
use crate::media::room::{Join, RoomOrder};
use crate::media::{Figures, RecordEnd, Sound, Task};
use crate::store::{Directory, Record};
use crate::wire::sip::Uri;
use std::time::Duration;

/// Effects of one event; what comes behind them is dropped, as only a fault of ours makes so many.
const EFFECTS_MAX: usize = PAGE_MEMBERS_MAX + 64;

/// What the whole system knows, and every shard shares.
#[derive(Clone, Copy, Debug)]
pub struct House<'a> {
    /// The users.
    pub directory: &'a Directory,
    /// What they want to become of their calls.
    pub features: &'a Features,
    /// Whose phones are registered.
    pub location: &'a Location,
}

/// Who called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Caller {
    /// One of our users who proved to be so; the address of record.
    pub user: Option<Box<str>>,
    /// The trunk or the pool that it came from.
    pub way: Option<Box<str>>,
    /// The user part of the From, as the caller shows itself; empty if it hides.
    pub number: Box<str>,
    /// The display name; may be empty.
    pub name: Box<str>,
    /// The session of its media.
    pub session: u64,
    /// Its Call-ID and the far end's tag.
    pub dialog: (Box<[u8]>, Box<[u8]>),
}

/// How a program takes its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    /// The call is answered at once.
    Answer,
    /// Its sound comes before the call's final answer (183).
    Early,
    /// The program decides: [`Scene::ring`], [`Scene::early`], [`Scene::answer`], [`Scene::fail`].
    Wait,
}

/// On whose account a program calls, for what is allowed and what is limited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Account {
    /// The caller's, as the proxy let it in.
    Caller,
    /// The caller's; this user sends it on, who may go where the caller may not.
    SentOn(Box<str>),
    /// Ours: only users, groups and services of our own are reached.
    House,
    /// Ours, and routes lead out: where the operator wrote the number.
    Operator,
    /// This user's, if there is one; otherwise ours.
    User(Box<str>),
    /// The same for a call back, which nobody dialled: it reaches no emergency number.
    CalledBack(Box<str>),
    /// A trunk's or a pool's, by its name.
    Way(Box<str>),
}

/// Whom a program calls for its caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reach {
    /// A number or a user, as the account's phone would dial it, or a whole SIP URI.
    pub to: Box<str>,
    /// On whose account.
    pub account: Account,
    /// Number and name that the called side sees; without, the caller's own.
    pub caller_id: Option<(Box<str>, Box<str>)>,
    /// How long it may ring.
    pub ring: Duration,
    /// Header lines that the called phone gets, such as Alert-Info.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Whether another service may take the caller over, where the call leads to one.
    pub led: Led,
}

impl Caller {
    /// What it hears while a phone rings: what the phone's user chose, or the trunk that it came
    /// by.
    pub fn hears<'a>(
        &self,
        config: &'a Config,
        chosen: Option<&'a RingBack>,
    ) -> Option<&'a RingBack> {
        let by = |way: &str| config.trunks.iter().find(|trunk| *trunk.name == *way);
        let trunk = || self.way.as_deref().and_then(by);
        chosen.or_else(|| trunk()?.ring_back.as_ref())
    }

    /// On whose account it calls.
    pub fn account(&self) -> Account {
        match (&self.user, &self.way) {
            (Some(aor), _) => Account::User(aor.clone()),
            (None, Some(name)) => Account::Way(name.clone()),
            (None, None) => Account::House,
        }
    }
}

impl Caller {
    /// Whom a wrong PIN counts for: a user; somebody else by what is known of it, its number and
    /// how it came, and together with all who came so. One locks out nobody whose number it shows.
    pub fn guesser(&self) -> Guesser<'_> {
        let way = self.way.as_deref().unwrap_or_default();
        let caller = match (&self.user, way) {
            (Some(aor), _) => return Guesser::from(&**aor),
            (None, "") => format!("stranger {}", self.number),
            (None, way) => format!("{} by {way}", self.number),
        };
        Guesser {
            caller: caller.into(),
            way: Some(way),
        }
    }
}

/// What happened to a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// It is here: its sound can begin. Comes again when another caller takes the place of this
    /// one (RFC 3891), whom the studio does nothing for yet.
    Begin,
    /// A task is over.
    Done(u32),
    /// A key was pressed.
    Key(char),
    /// What was asked for by [`Scene::measure`].
    Measured(Figures),
    /// A recording ended; of one without any sound there is no file.
    Recorded {
        /// Which task it was.
        task: u32,
        /// How long it is, milliseconds.
        ms: u32,
        /// Why it ended.
        end: RecordEnd,
    },
    /// What became of [`Scene::file`].
    Filed {
        /// Its number.
        task: u32,
        /// What.
        outcome: Filed,
    },
    /// The time of [`Scene::after`] has passed.
    Due(u32),
    /// It began or ended to talk in a room.
    Talking(bool),
    /// Something is wanted of it as a member of a conference, or by whom it talks to.
    Told(Wish),
    /// It holds us, or does no more: it does not want to hear us now. Told of one who is joined
    /// with nobody.
    Held(bool),
    /// It asks that whom it talks to be transferred; told where [`Program::is_transferred`] says
    /// so.
    Referred(Box<Journey>),
    /// Whom [`Scene::connect`] calls is told of the call.
    Ringing,
    /// Whom it calls is heard before it answers.
    Heard,
    /// Whom it calls has answered: both hear each other, and what played has ended.
    Joined,
    /// Whom it calls does not answer, in this status; 408 if it rang too long.
    Refused(u16),
    /// Whom it called has hung up. The caller is still here.
    Parted,
    /// Whom it was joined with has left it to another: by a transfer that succeeded, or that was
    /// not waited for, or to a call that took its place, which is this user's if one of ours. The
    /// caller and the other are joined, or will be, without another [`Event::Joined`];
    /// [`Event::Parted`] tells when that is over.
    Left(Option<Box<str>>),
    /// Whom it calls is a service of ours, whose program takes it over; [`Event::Ended`] follows.
    Led,
    /// It is gone. Nothing can be said any more. Who asks for [`Event::Due`] now is told what the
    /// studio has still to say, until that time or [`Scene::hang_up`].
    Ended,
}

/// A call for nobody.
#[derive(Debug)]
pub(super) struct CallBack {
    pub reach: Reach,
    /// Who is called, as the program's caller.
    pub caller: Caller,
    pub program: Box<dyn Program>,
}

/// Programs are told apart by their names alone.
impl PartialEq for CallBack {
    fn eq(&self, other: &Self) -> bool {
        let names = [&self.program, &other.program].map(|program| program.name());
        (&self.reach, &self.caller, names[0]) == (&other.reach, &other.caller, names[1])
    }
}

/// What a program wants.
#[derive(PartialEq, Debug)]
pub(super) enum Effect {
    /// The studio does something else, under this number.
    Do(u32, Task),
    /// About its place in a room.
    Room(RoomOrder),
    /// Members of conferences are told something.
    Tell(Vec<Address>, Wish),
    /// It is in a room with another one, and recorded if one of the two is; or no more.
    Meet(Option<Meeting>),
    /// The caller is told how the transfer fares that it asked for: a final status ends that.
    Fares(u16),
    /// The way of the caller's sound is measured.
    Measure,
    /// Something is done with a file, under this number.
    File(u32, FileOrder),
    /// [`Event::Due`] of this number comes after a while, instead of one that was asked for before.
    After(Duration, u32),
    /// For the call's record.
    Note(Box<str>),
    /// For the store.
    Persist(Record),
    /// The caller is told that somebody's phone rings.
    Ring,
    /// The caller's call is opened before it is answered.
    Early,
    /// The caller's call is answered.
    Answer,
    /// Somebody is called for the caller.
    Connect(Box<Reach>),
    /// Somebody is called who comes into a room.
    Summon(Box<Reach>, Box<Join>),
    /// Somebody is called who finds a program there, whatever becomes of the caller.
    CallBack(Box<CallBack>),
    /// Who was called is let go.
    Disconnect,
    /// The timers of a program stop whose caller another one took over.
    Still,
    /// We hang up.
    HangUp,
    /// The call fails in this status; it is hung up if it was answered.
    Fail(u16),
}

/// What a program sees and can do, for the time of one event.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// The present.
    pub now: Instant,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// As the operator wrote it.
    pub config: &'a Config,
    /// Who is there.
    pub house: House<'a>,
    /// Whose messages there are.
    pub mailboxes: &'a Mailboxes,
    /// For what must not be guessed.
    pub rng: &'a mut Rng,
    /// In which language we speak.
    pub voice: Voice,
    /// Who is in which conference.
    pub rooms: &'a Roster,
    /// The shard of the call.
    pub shard: usize,
    /// Who called.
    pub caller: &'a Caller,
    /// What the user whose phone rings has callers hear meanwhile.
    pub ring_back: Option<&'a RingBack>,
    /// What is wanted so far.
    pub effects: Vec<Effect>,
    /// Who takes the caller over.
    pub next: Option<Box<dyn Program>>,
}

impl Scene<'_> {
    /// Says this, once; a key ends it if `until_key`. [`Event::Done`] tells of its end.
    pub fn play(&mut self, task: u32, sounds: Vec<Sound>, until_key: bool) {
        let what = Task::Play {
            sounds,
            rounds: Some(1),
            until_key,
        };
        self.order(task, what);
    }

    /// What the caller hears while a phone rings: what its user chose, or the trunk of the call.
    pub fn ringing(&self) -> Sound {
        self.voice
            .ringing(self.caller.hears(self.config, self.ring_back))
    }

    /// The studio does this from now on. The end of what it did before is not told.
    pub fn order(&mut self, task: u32, what: Task) {
        self.want(Effect::Do(task, what));
    }

    /// Something about the caller's place in a room.
    pub fn in_room(&mut self, what: RoomOrder) {
        self.want(Effect::Room(what));
    }

    /// Tells members of conferences something.
    pub fn tell(&mut self, whom: Vec<Address>, wish: Wish) {
        if !whom.is_empty() {
            self.want(Effect::Tell(whom, wish));
        }
    }

    /// It is in a room with another one, and is recorded if one of the two is. Called again for the
    /// same two, it changes nothing.
    pub fn meet(&mut self, meeting: Meeting) {
        self.want(Effect::Meet(Some(meeting)));
    }

    /// It leaves that room.
    pub fn part(&mut self) {
        self.want(Effect::Meet(None));
    }

    /// Tells the caller how the transfer fares that it asked for.
    pub fn fares(&mut self, status: u16) {
        self.want(Effect::Fares(status));
    }

    /// Where the caller is, for the others.
    pub fn address(&self) -> Address {
        Address {
            shard: self.shard,
            session: self.caller.session,
        }
    }

    /// Whether a user, `name@domain`, wants calls of this caller that ring several phones: as the
    /// proxy sees it, which leaves out of a list whoever does not.
    pub fn wants_calls(&self, aor: &str) -> bool {
        let number = &*self.caller.number;
        let uri = format!("{number}@{}", self.config.node.default_domain());
        let caller = feature::Caller {
            number,
            uri: &uri,
            anonymous: number.is_empty(),
        };
        self.house.features.rings_in_group(aor, caller)
    }

    /// Asks for [`Event::Measured`].
    pub fn measure(&mut self) {
        self.want(Effect::Measure);
    }

    /// Asks for something to be done with a file of the spool; [`Event::Filed`] tells what
    /// became of it.
    pub fn file(&mut self, task: u32, what: FileOrder) {
        self.want(Effect::File(task, what));
    }

    /// Asks for [`Event::Due`]; one timer of each number runs at a time.
    pub fn after(&mut self, wait: Duration, timer: u32) {
        self.want(Effect::After(wait, timer));
    }

    /// Adds to what the call's record says.
    pub fn note(&mut self, text: &str) {
        self.want(Effect::Note(text.into()));
    }

    /// Writes to the store.
    pub fn persist(&mut self, record: Record) {
        self.want(Effect::Persist(record));
    }

    /// Tells the caller, who was not answered yet, that somebody's phone rings.
    pub fn ring(&mut self) {
        self.want(Effect::Ring);
    }

    /// Opens the caller's sound before the call is answered.
    pub fn early(&mut self) {
        self.want(Effect::Early);
    }

    /// Answers the call.
    pub fn answer(&mut self) {
        self.want(Effect::Answer);
    }

    /// Calls somebody for the caller, instead of whom it calls now or is joined with.
    /// [`Event::Joined`] or [`Event::Refused`] tells how that ends.
    pub fn connect(&mut self, reach: Reach) {
        self.want(Effect::Connect(Box::new(reach)));
    }

    /// Calls somebody into a room, beside all whom it called so, at most
    /// [`PAGE_MEMBERS_MAX`](crate::config::PAGE_MEMBERS_MAX). They go when the caller goes.
    pub fn summon(&mut self, reach: Reach, join: Join) {
        self.want(Effect::Summon(Box::new(reach), Box::new(join)));
    }

    /// Calls somebody who finds a program there, as if it had called: also once the caller is
    /// gone, as long as this program waits for [`Event::Due`].
    pub fn call_back(&mut self, reach: Reach, caller: Caller, program: Box<dyn Program>) {
        self.want(Effect::CallBack(Box::new(CallBack {
            reach,
            caller,
            program,
        })));
    }

    /// Lets go whom it called.
    pub fn disconnect(&mut self) {
        self.want(Effect::Disconnect);
    }

    /// Another program takes the caller over; it begins.
    pub fn change(&mut self, program: Box<dyn Program>) {
        self.next = Some(program);
    }

    /// Ends the call.
    pub fn hang_up(&mut self) {
        self.want(Effect::HangUp);
    }

    /// Ends the call in this status, which tells the caller where it was not answered yet.
    pub fn fail(&mut self, status: u16) {
        self.want(Effect::Fail(status));
    }

    fn want(&mut self, effect: Effect) {
        if self.effects.len() < EFFECTS_MAX {
            self.effects.push(effect);
        }
    }
}

/// One service, with one caller.
pub(super) trait Program: std::fmt::Debug + Send {
    /// The user part of our Contact.
    fn name(&self) -> &'static str;

    /// How it takes its caller.
    fn opening(&self) -> Opening {
        Opening::Answer
    }

    /// Whether its caller may ask for a transfer of whom it talks to ([`Event::Referred`]).
    fn is_transferred(&self) -> bool {
        false
    }

    /// Whether the caller's call and the one that it makes are one to whoever reads the records.
    fn is_one_call(&self) -> bool {
        false
    }

    /// Something happened. The end of a task that is not the present one is not told.
    fn on(&mut self, scene: &mut Scene<'_>, event: Event);
}

/// The value of a parameter that the proxy wrote into a service's URI.
pub(super) fn parameter<'a>(uri: &'a Uri<'_>, name: &str) -> Option<&'a str> {
    std::str::from_utf8(uri.param(name)??).ok()
}
