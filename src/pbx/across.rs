//! Two legs that talk although they may be of different shards: a call that was parked, and who
//! fetched it; or two ends that a transfer brings together.
//!
//! A bridge (`joined`) needs both legs in one shard and in one media worker, and the Call-IDs that
//! decide both are the phones' own. So these two meet in a media room of their own, as members of a
//! conference do, which works from any worker to any other. What else two that are bridged can do
//! is told from shard to shard: who holds lets the other hear music; who transfers sends the other
//! away, which calls from its own shard and is bridged there; who hangs up takes the other along.
//! Keys are heard as tones where the phone sends them as such; events (RFC 4733) end here.

use super::program::{Account, Event, Led, Program, Reach, Scene};
use super::rooms::{Journey, Wish};
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

/// See the module's text.
#[derive(Debug)]
pub(super) struct Across {
    room: Box<str>,
    /// The other, while both are in the room.
    other: Option<Address>,
    /// Whether the phone rings to which it is transferred.
    rings: bool,
}

impl Across {
    /// In the room of the one at `host`, with `other`.
    pub fn new(host: Address, other: Address) -> Self {
        // No room of the configuration has a colon in its name.
        let room = format!("parked:{}:{}", host.shard, host.session).into();
        let other = Some(other);
        Self {
            room,
            other,
            rings: false,
        }
    }

    fn join(&self, scene: &mut Scene<'_>) {
        let join = Join {
            room: self.room.clone(),
            rate: RATE,
            muted: false,
            deafened: false,
            volume: VOLUME_ONE,
            arrival: Vec::new(),
            farewell: Vec::new(),
            name: None,
        };
        scene.order(JOIN, Task::Join(Box::new(join)));
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

    /// The other transfers it.
    fn go(&mut self, scene: &mut Scene<'_>, journey: Journey) {
        self.other = None;
        self.rings = false;
        Self::play(scene, Sound::Music);
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
            led: Led::Nowhere,
        });
    }
}

impl Program for Across {
    fn name(&self) -> &'static str {
        "parked"
    }

    fn is_transferred(&self) -> bool {
        self.other.is_some()
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin if self.other.is_some() => self.join(scene),
            // The room is gone, as only a studio that was restarted, or too many rooms, do.
            Event::Done(JOIN) => scene.hang_up(),
            Event::Held(held) => self.tell(scene, Wish::Held(held)),
            Event::Told(Wish::Held(true)) if self.other.is_some() => {
                Self::play(scene, Sound::Music);
            }
            Event::Told(Wish::Held(false)) if self.other.is_some() => self.join(scene),
            Event::Told(Wish::End) if self.other.take().is_some() => scene.hang_up(),
            Event::Told(Wish::Go(journey)) if self.other.is_some() => self.go(scene, *journey),
            Event::Referred(mut journey) => {
                journey.user = scene.caller.user.clone();
                self.tell(scene, Wish::Go(journey));
                self.other = None;
                scene.hang_up();
            }
            Event::Ringing if !std::mem::replace(&mut self.rings, true) => {
                let ringing = scene.ringing();
                Self::play(scene, ringing);
            }
            Event::Refused(_) | Event::Parted => scene.hang_up(),
            Event::Ended => {
                self.tell(scene, Wish::End);
                self.other = None;
            }
            _ => {}
        }
    }
}
