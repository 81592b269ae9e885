//! A program alone, for the tests of programs.

use super::program::{Caller, Effect, Event, Program, Scene};
use super::voice::Voice;
use crate::base::{Instant, Rng};
use crate::config::{Config, Locale};
use crate::mailbox::Mailboxes;
use crate::media::{Sound, Task, prompts};

pub(super) struct Stage<P> {
    pub program: P,
    pub config: Config,
    pub caller: Caller,
    pub mailboxes: Mailboxes,
    pub now: Instant,
    pub unix_ms: u64,
    pub rng: Rng,
    pub locale: Locale,
}

macro_rules! scene {
    ($stage:expr) => {
        Scene {
            now: $stage.now,
            unix_ms: $stage.unix_ms,
            config: &$stage.config,
            mailboxes: &$stage.mailboxes,
            rng: &mut $stage.rng,
            voice: Voice::of($stage.locale),
            caller: &$stage.caller,
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
            caller: Caller::default(),
            mailboxes: Mailboxes::new(),
            now: Instant::ZERO,
            unix_ms: 1_790_000_000_000,
            rng: Rng::from_u64(1),
            locale: Locale::Es,
        }
    }

    /// Tells it something; what it wants.
    pub fn tell(&mut self, event: Event) -> Vec<Effect> {
        let mut scene = scene!(self);
        self.program.on(&mut scene, event);
        scene.effects
    }

    /// Tells it something; who takes its caller over then.
    pub fn change(&mut self, event: Event) -> Option<Box<dyn Program>> {
        let mut scene = scene!(self);
        self.program.on(&mut scene, event);
        scene.next
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
        let Effect::Do(_, Task::Play { sounds, .. }) = effect else {
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
