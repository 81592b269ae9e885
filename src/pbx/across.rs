//! Two legs that talk although they may be of different shards: a call that was parked, and who
//! fetched it; or two ends that a transfer brings together.
//!
//! A bridge (`joined`) needs both legs in one shard and in one media worker, and the Call-IDs that
//! decide both are the phones' own. So these two meet in a media room of their own, as members of a
//! conference do, which works from any worker to any other. What else two that are bridged can do
//! is told from shard to shard: who holds lets the other hear music; who transfers sends the other
//! away, which calls from its own shard and is bridged there, or comes back; who hangs up takes the
//! other along. Keys are heard as tones where the phone sends them as such; events (RFC 4733) end
//! here.
//!
//! ```text
//!   who transfers:  Together --Referred--> Waiting --Told(Fares 2xx)--> hung up
//!                      ^------Told(Fares 3xx..6xx)---'
//!   who goes:       Together --Told(Go)--> Going --Joined--> Gone
//!                      ^---------Refused-----'
//! ```

use super::program::{Account, Event, Program, Reach, Scene};
use super::rooms::{Journey, Wish};
use super::transfer::led;
use crate::feature::Address;
use crate::media::room::{Join, VOLUME_ONE};
use crate::media::{Sound, Task};
use crate::wire::sip::HeaderName;
use std::time::Duration;

const JOIN: u32 = 0;
const MUSIC: u32 = 1;
/// Samples per second of the room: as much as a phone's codec has.
const RATE: u32 = 16_000;
/// How long the phone may ring to which it is transferred.
const RING: Duration = Duration::from_secs(120);
/// How the rooms are called, before shard and session of their host. No room of the configuration
/// has a colon in its name.
const ROOM: &str = "parked:";

/// Who it is with, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Meeting {
    /// The other.
    pub other: Address,
    /// Whether the room is its own.
    pub hosts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    Together,
    /// The other goes where it was sent, and says how that fares.
    Waiting,
    /// The other sent it away.
    Going,
    /// The other is gone.
    Gone,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Across {
    host: Address,
    /// Where it was when it was asked last.
    own: Option<Address>,
    hosts: bool,
    /// The other, until it is gone.
    other: Option<Address>,
    doing: Doing,
    /// Whether the other holds it.
    held: bool,
    /// Whether the phone rings to which it is transferred.
    rings: bool,
}

impl Across {
    /// In the room of the one at `host`, with `other`.
    pub fn new(host: Address, other: Address) -> Self {
        Self {
            host,
            own: None,
            hosts: false,
            other: Some(other),
            doing: Doing::Together,
            held: false,
            rings: false,
        }
    }

    /// It is here, or another caller has its place, whom the other does not know yet.
    fn begin(&mut self, scene: &mut Scene<'_>) {
        let own = scene.address();
        match self.own.replace(own) {
            None => self.hosts = self.host == own,
            Some(before) if before != own => self.tell(scene, Wish::Moved(own)),
            Some(_) => {}
        }
        match self.doing {
            Doing::Together | Doing::Waiting => self.be_together(scene),
            Doing::Going | Doing::Gone => {}
        }
    }

    fn be_together(&self, scene: &mut Scene<'_>) {
        if self.held {
            return Self::play(scene, Sound::Music);
        }
        let join = Join {
            room: format!("{ROOM}{}:{}", self.host.shard, self.host.session).into(),
            rate: RATE,
            muted: false,
            deafened: false,
            volume: VOLUME_ONE,
            arrival: Vec::new(),
            farewell: Vec::new(),
            name: None,
        };
        scene.order(JOIN, Task::Join(Box::new(join)));
        if self.doing == Doing::Together {
            self.meet(scene);
        }
    }

    fn meet(&self, scene: &mut Scene<'_>) {
        if let Some(other) = self.other {
            let hosts = self.hosts;
            scene.meet(Meeting { other, hosts });
        }
    }

    fn play(scene: &mut Scene<'_>, sound: Sound) {
        let what = Task::Play {
            sounds: vec![sound],
            rounds: None,
            until_key: false,
        };
        scene.order(MUSIC, what);
    }

    fn tell(&self, scene: &mut Scene<'_>, wish: Wish) {
        scene.tell(self.other.into_iter().collect(), wish);
    }

    fn hold(&mut self, scene: &mut Scene<'_>, held: bool) {
        self.held = held;
        match self.doing {
            Doing::Together | Doing::Waiting => self.be_together(scene),
            Doing::Going | Doing::Gone => {}
        }
    }

    /// The other transfers it.
    fn go(&mut self, scene: &mut Scene<'_>, journey: Journey) {
        self.doing = Doing::Going;
        scene.part();
        self.rings = false;
        Self::play(scene, Sound::Music);
        let led = led(journey.replaces.as_deref());
        let name_of = |header: HeaderName| header.as_str().into();
        let mut headers = Vec::new();
        if let Some(replaces) = journey.replaces {
            headers.push((name_of(HeaderName::Replaces), replaces));
        }
        if let Some(by) = journey.by {
            headers.push((name_of(HeaderName::ReferredBy), format!("<{by}>").into()));
        }
        // What stands behind a semicolon is another note.
        let to = journey.to.replace(';', ",");
        scene.note(&format!("transferred to {to}"));
        scene.connect(Reach {
            to: journey.to,
            account: journey.user.map_or(Account::House, Account::User),
            caller_id: None,
            ring: RING,
            headers,
            led,
        });
    }

    /// Its transfer came to an end: who sent it away is let go.
    fn gone(&mut self, scene: &mut Scene<'_>) {
        self.tell(scene, Wish::Fares(200));
        self.other = None;
        self.doing = Doing::Gone;
    }

    /// Its transfer failed: it comes back, if the other is there.
    fn refused(&mut self, scene: &mut Scene<'_>, status: u16) {
        if self.other.is_none() {
            return scene.hang_up();
        }
        self.tell(scene, Wish::Fares(status));
        self.doing = Doing::Together;
        self.be_together(scene);
    }

    /// The other says how its transfer fares.
    fn fares(&mut self, scene: &mut Scene<'_>, status: u16) {
        scene.fares(status);
        match status {
            ..200 => {}
            200..300 => {
                (self.other, self.doing) = (None, Doing::Gone);
                scene.hang_up();
            }
            300.. => {
                self.doing = Doing::Together;
                self.meet(scene);
            }
        }
    }

    /// The other hung up; it does not wait for how the transfer fares that it asked for.
    fn end(&mut self, scene: &mut Scene<'_>) {
        self.other = None;
        match std::mem::replace(&mut self.doing, Doing::Gone) {
            Doing::Going => self.doing = Doing::Going,
            Doing::Waiting => {
                scene.fares(487);
                scene.hang_up();
            }
            Doing::Together | Doing::Gone => scene.hang_up(),
        }
    }
}

/// The host of a room in which two of different shards talk, by the room's name.
pub(super) fn host_of(room: &str) -> Option<Address> {
    let (shard, session) = room.strip_prefix(ROOM)?.split_once(':')?;
    Some(Address {
        shard: shard.parse().ok()?,
        session: session.parse().ok()?,
    })
}

impl Program for Across {
    fn name(&self) -> &'static str {
        "parked"
    }

    fn is_transferred(&self) -> bool {
        self.other.is_some() && self.doing == Doing::Together
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match (self.doing, event) {
            (_, Event::Begin) => self.begin(scene),
            // The room is gone, as only a studio that was restarted, or too many rooms, do.
            (_, Event::Done(JOIN)) => scene.hang_up(),
            (_, Event::Held(held)) => self.tell(scene, Wish::Held(held)),
            (_, Event::Told(Wish::Held(held))) => self.hold(scene, held),
            (_, Event::Told(Wish::Moved(at))) => {
                self.other = self.other.map(|_| at);
                if self.doing == Doing::Together && !self.held {
                    self.meet(scene);
                }
            }
            (_, Event::Told(Wish::End)) if self.other.is_some() => self.end(scene),
            (Doing::Together, Event::Told(Wish::Go(journey))) => self.go(scene, *journey),
            // Both send each other away at once.
            (Doing::Waiting, Event::Told(Wish::Go(_))) => self.tell(scene, Wish::Fares(491)),
            (Doing::Waiting, Event::Told(Wish::Fares(status))) => self.fares(scene, status),
            (Doing::Together, Event::Referred(mut journey)) => {
                journey.user = scene.caller.user.clone();
                self.tell(scene, Wish::Go(journey));
                scene.part();
                self.doing = Doing::Waiting;
            }
            (Doing::Going, Event::Ringing) if !std::mem::replace(&mut self.rings, true) => {
                let ringing = scene.ringing();
                Self::play(scene, ringing);
                self.tell(scene, Wish::Fares(180));
            }
            (Doing::Going, Event::Heard) => self.tell(scene, Wish::Fares(183)),
            (Doing::Going, Event::Joined | Event::Led) => self.gone(scene),
            (Doing::Going, Event::Refused(status)) => self.refused(scene, status),
            (_, Event::Refused(_) | Event::Parted) => scene.hang_up(),
            (_, Event::Ended) => {
                self.tell(scene, Wish::End);
                self.other = None;
            }
            _ => {}
        }
    }
}
