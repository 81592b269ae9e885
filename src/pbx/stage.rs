//! A program alone, for the tests of programs.

use super::program::{Caller, Effect, Event, House, Program, Scene};
use super::rooms::Roster;
use super::voice::Voice;
use crate::base::{Anchor, Flow, Instant, Rng, Transport};
use crate::config::{Config, Locale, RingBack};
use crate::feature::Features;
use crate::location::{Clock, ContactUpdate, Limits, Location, Requested, Update};
use crate::mailbox::Mailboxes;
use crate::media::room::RoomOrder;
use crate::media::{Sound, Task, prompts};
use crate::store::Directory;
use std::sync::Arc;

/// What a whole system would share.
pub(super) struct Household {
    pub directory: Directory,
    pub features: Features,
    pub location: Location,
}

impl Default for Household {
    fn default() -> Self {
        Self {
            directory: Directory::default(),
            features: Features::default(),
            location: Location::new(Limits::default()),
        }
    }
}

impl Household {
    pub fn lend(&self) -> House<'_> {
        House {
            directory: &self.directory,
            features: &self.features,
            location: &self.location,
        }
    }

    /// A phone of the user is there.
    pub fn register(&self, aor: &str) {
        let contact = ContactUpdate {
            uri: &format!("sip:{}@198.51.100.7", aor.split('@').next().unwrap()),
            parameters: "",
            q: 1000,
            expires: 3600,
            instance: "",
            reg_id: 0,
            behind_nat: false,
        };
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.10:5060".parse().unwrap(),
            remote: "198.51.100.7:5060".parse().unwrap(),
            connection: None,
        };
        let update = Update {
            aor,
            call_id: aor,
            cseq: 1,
            flow,
            path: "",
            user_agent: "",
            requested: Requested::Contacts(&[contact]),
        };
        let anchor = Anchor {
            instant: Instant::ZERO,
            unix_ms: 1_790_000_000_000,
        };
        let now = Instant::ZERO;
        self.location
            .update(Clock { now, anchor }, &update)
            .unwrap();
    }
}

pub(super) struct Stage<P> {
    pub program: P,
    pub config: Config,
    pub rooms: Arc<Roster>,
    pub shard: usize,
    pub caller: Caller,
    /// What the user whose phone rings has chosen.
    pub ring_back: Option<RingBack>,
    pub mailboxes: Mailboxes,
    pub now: Instant,
    pub unix_ms: u64,
    pub rng: Rng,
    pub house: Arc<Household>,
    pub locale: Locale,
    /// Who took the caller over.
    pub next: Option<Box<dyn Program>>,
}

macro_rules! scene {
    ($stage:expr) => {
        Scene {
            now: $stage.now,
            unix_ms: $stage.unix_ms,
            config: &$stage.config,
            house: $stage.house.lend(),
            rooms: &$stage.rooms,
            shard: $stage.shard,
            mailboxes: &$stage.mailboxes,
            rng: &mut $stage.rng,
            voice: Voice::of($stage.locale),
            caller: &$stage.caller,
            ring_back: $stage.ring_back.as_ref(),
            effects: Vec::new(),
            next: None,
        }
    };
}

impl<P: Program> Stage<P> {
    pub fn new(program: P) -> Self {
        Self {
            program,
            config: Config::default(),
            rooms: Arc::new(Roster::new()),
            shard: 0,
            caller: Caller::default(),
            ring_back: None,
            mailboxes: Mailboxes::new(),
            now: Instant::ZERO,
            unix_ms: 1_790_000_000_000,
            rng: Rng::from_u64(1),
            house: Arc::default(),
            locale: Locale::Es,
            next: None,
        }
    }

    /// Tells it something; what it wants.
    pub fn tell(&mut self, event: Event) -> Vec<Effect> {
        let mut scene = scene!(self);
        self.program.on(&mut scene, event);
        self.next = scene.next;
        scene.effects
    }

    /// Tells another program something, with the same caller; what that wants.
    pub fn of(&mut self, program: &mut dyn Program, event: Event) -> Vec<Effect> {
        let mut scene = scene!(self);
        program.on(&mut scene, event);
        scene.effects
    }
}

/// The names of all prompts that the effects say, each of which must exist.
pub(super) fn spoken(effects: &[Effect]) -> Vec<&str> {
    let mut names = Vec::new();
    for effect in effects {
        let (Effect::Do(_, Task::Play { sounds, .. })
        | Effect::Room(RoomOrder::Whisper(_, sounds))) = effect
        else {
            continue;
        };
        for sound in sounds {
            if let Sound::Prompt { language, name } = sound {
                assert!(prompts::find(*language, name).is_some(), "{name}");
                names.push(&**name);
            }
        }
    }
    names
}
