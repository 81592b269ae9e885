//! Parking: a call waits in a slot with music, and whoever of the house dials the slot has it.
//!
//! ```text
//!   who parks by hand:       Announcing --Done--> Waiting
//!   who was transferred:     Waiting --time is up--> Calling --answer--> Talking
//!                               ^---- nobody answers ---'
//!   from all but Talking:    Told(Fetched) --> across     Told(Replaced) --> hung up
//! ```
//! A phone parks in three ways. Blindly: it refers its far end to the code, which calls here and
//! waits at once; the one who parked is called back when the time is up, or at once if no slot is
//! free, so that no call is lost. With a consultation: its user dials the code, hears the slot, and
//! completes the transfer, by which the far end takes this place (RFC 3891). Or it refers its far
//! end to a slot that is free, as keys of phones for one slot each do.
//!
//! Who parks, who waits and who fetches are calls of three Call-IDs, so of three shards mostly. The
//! slot is what all know: it stands in the [`Lot`], and its call is taken out by the shard that
//! fetches, under the lot's lock, so two that dial at once cannot both have it. An INVITE with
//! Replaces takes the slot, not the leg, for the same reason: the shard of the leg that it replaces
//! need not be its own.
//!
//! [`Lot`]: crate::feature::Lot

use super::across::Across;
use super::program::{Account, Event, Led, Program, Reach, Scene};
use super::rooms::Wish;
use super::transfer::aor_of;
use crate::base::Instant;
use crate::feature::{Address, Parked};
use crate::media::{Sound, Task};
use std::time::Duration;

/// Tasks.
const WORDS: u32 = 0;
const MUSIC: u32 = 1;
/// Timers.
const PATIENCE: u32 = 0;
/// How often the time may be up before a call that nobody wants is hung up.
const TIMES_MAX: u32 = 10;
/// How often the slot is said.
const SAID: usize = 2;
/// How long a fetched call may need to come from its shard.
const MEETING_WAIT: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    Beginning,
    /// The one who parks hears the slot.
    Announcing,
    /// With music.
    Waiting,
    /// The one who parked is called back.
    Calling,
    Talking,
    /// Hears the last words, or is another program's.
    Leaving,
}

/// A call that is parked.
#[derive(Debug)]
pub(super) struct Park {
    /// Who parks it, as a message named it: a URI or an address of record.
    by: Option<Box<str>>,
    /// The only slot that will do.
    wanted: Option<Box<str>>,
    /// The slot of the call whose place it takes.
    takes: Option<Box<str>>,
    /// Where it is.
    slot: Option<Box<str>>,
    parker: Option<Box<str>>,
    doing: Doing,
    since: Instant,
    times: u32,
}

impl Park {
    /// In any slot; `by` whom, if it was transferred here.
    pub fn new(by: Option<Box<str>>) -> Self {
        Self {
            by,
            wanted: None,
            takes: None,
            slot: None,
            parker: None,
            doing: Doing::Beginning,
            since: Instant::ZERO,
            times: 0,
        }
    }

    /// In this slot alone.
    pub fn only(slot: Box<str>, by: Option<Box<str>>) -> Self {
        Self {
            wanted: Some(slot),
            ..Self::new(by)
        }
    }

    /// In the slot of a call whose place it takes.
    pub fn taking(slot: Box<str>, by: Option<Box<str>>) -> Self {
        Self {
            takes: Some(slot),
            ..Self::new(by)
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        self.since = scene.now;
        self.parker = self.by.as_deref().and_then(|by| user_of(scene, by));
        if let Some(slot) = self.takes.take() {
            let parked = self.parked(scene, false);
            // Otherwise somebody fetched the parker a moment ago: a slot of one's own, then.
            if let Some(old) = scene.house.features.lot().replace(&slot, parked) {
                scene.tell(vec![old.at], Wish::Replaced);
                return self.wait_in(scene, slot);
            }
        }
        let lot = scene.house.features.lot();
        let user = scene.caller.user.clone();
        if self.parker.is_none()
            && let Some(user) = &user
        {
            self.parker = lot.referred(user, scene.now);
        }
        let provisional = self.parker.is_none() && self.by.is_none() && user.is_some();
        if provisional {
            self.parker = user;
        }
        let domain = scene.config.node.default_domain();
        let free = |slot: &String| {
            let wanted = self.wanted.as_deref().is_none_or(|wanted| wanted == slot);
            let user = format!("{slot}@{domain}");
            wanted && scene.house.directory.get(&user).is_none()
        };
        let slots = scene.config.parking.slots().filter(free);
        let slot = lot.park(slots, self.parked(scene, provisional));
        match slot {
            Some(slot) if provisional => self.announce(scene, slot),
            Some(slot) => self.wait_in(scene, slot),
            None if provisional || self.parker.is_none() => {
                scene.note("parking: no slot is free");
                self.last_words(scene, &["all-circuits-busy-now", "please-try-call-later"]);
            }
            None => {
                scene.note("parking: no slot is free");
                self.music(scene);
                self.call_back(scene);
            }
        }
    }

    fn parked(&self, scene: &Scene<'_>, provisional: bool) -> Parked {
        let caller = scene.caller;
        Parked {
            at: scene.address(),
            dialog: caller.dialog.clone(),
            parker: self.parker.clone(),
            provisional,
            user: caller.user.clone(),
            number: caller.number.clone(),
            name: caller.name.clone(),
            since_ms: scene.unix_ms,
        }
    }

    fn announce(&mut self, scene: &mut Scene<'_>, slot: Box<str>) {
        let voice = scene.voice;
        let mut words = Vec::new();
        for _ in 0..SAID {
            words.extend([voice.pause(), voice.prompt("park-slot")]);
            words.extend(voice.digits(&slot));
            words.push(voice.pause());
        }
        scene.play(WORDS, words, false);
        scene.note(&format!("parking: slot {slot}"));
        self.slot = Some(slot);
        self.patience(scene);
        self.doing = Doing::Announcing;
    }

    fn wait_in(&mut self, scene: &mut Scene<'_>, slot: Box<str>) {
        let by = self.parker.as_deref().unwrap_or("somebody");
        scene.note(&format!("parked in {slot} by {by}"));
        self.slot = Some(slot);
        self.patience(scene);
        self.music(scene);
    }

    fn patience(&self, scene: &mut Scene<'_>) {
        let wait = Duration::from_secs(scene.config.parking.timeout_s.into());
        scene.after(wait, PATIENCE);
    }

    fn music(&mut self, scene: &mut Scene<'_>) {
        let what = Task::Play {
            sounds: vec![Sound::Music],
            rounds: None,
            until_key: false,
        };
        scene.order(MUSIC, what);
        self.doing = Doing::Waiting;
    }

    /// The time is up.
    fn call_back(&mut self, scene: &mut Scene<'_>) {
        self.times += 1;
        if self.times > TIMES_MAX {
            self.free(scene);
            scene.note("parking: nobody wanted the call");
            return self.last_words(scene, &["please-try-call-later"]);
        }
        // A parker who waits in the slot itself cannot be called, and nobody else is known.
        let parker = self.parker.clone();
        let Some(parker) = parker.filter(|p| Some(p) != scene.caller.user.as_ref()) else {
            return self.patience(scene);
        };
        scene.connect(Reach {
            // With a bar it is a list: forwarding and voicemail are not for a call of one's own.
            to: format!("{parker}|").into(),
            account: Account::House,
            caller_id: None,
            ring: Duration::from_secs(scene.config.parking.ring_s.into()),
            headers: Vec::new(),
            led: Led::Nowhere,
        });
        self.doing = Doing::Calling;
    }

    fn joined(&mut self, scene: &mut Scene<'_>) {
        self.free(scene);
        let waited = scene.now.since(self.since).as_secs();
        let parker = self.parker.as_deref().unwrap_or_default();
        scene.note(&format!(
            "parking: {parker} took it when called back, {waited} s"
        ));
        self.doing = Doing::Talking;
    }

    fn refused(&mut self, scene: &mut Scene<'_>) {
        self.music(scene);
        if self.slot.is_none() {
            // It was full; meanwhile one may have become free.
            let domain = scene.config.node.default_domain();
            let free = |slot: &String| {
                let user = format!("{slot}@{domain}");
                scene.house.directory.get(&user).is_none()
            };
            let slots = scene.config.parking.slots().filter(free);
            let slot = scene
                .house
                .features
                .lot()
                .park(slots, self.parked(scene, false));
            if let Some(slot) = slot {
                return self.wait_in(scene, slot);
            }
        }
        self.patience(scene);
    }

    fn fetched(&mut self, scene: &mut Scene<'_>, by: Address) {
        let waited = scene.now.since(self.since).as_secs();
        let slot = self.slot.take().unwrap_or_default();
        scene.note(&format!("parking: fetched from {slot} after {waited} s"));
        if self.doing == Doing::Calling {
            scene.disconnect();
        }
        let own = scene.address();
        scene.tell(vec![by], Wish::Met(own));
        self.doing = Doing::Leaving;
        scene.change(Box::new(Across::new(own, by)));
    }

    fn free(&mut self, scene: &Scene<'_>) {
        if let Some(slot) = self.slot.take() {
            scene.house.features.lot().leave(&slot, scene.address());
        }
    }

    fn last_words(&mut self, scene: &mut Scene<'_>, words: &[&str]) {
        say_last(scene, words);
        self.doing = Doing::Leaving;
    }
}

impl Program for Park {
    fn name(&self) -> &'static str {
        "park"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match (self.doing, event) {
            (Doing::Beginning, Event::Begin) => self.begin(scene),
            // Another caller has this place.
            (Doing::Announcing | Doing::Waiting, Event::Begin) => {
                self.takes = self.slot.take();
                self.begin(scene);
            }
            (Doing::Announcing, Event::Done(WORDS)) => self.music(scene),
            (Doing::Announcing | Doing::Waiting, Event::Due(PATIENCE)) => self.call_back(scene),
            (Doing::Calling, Event::Joined) => self.joined(scene),
            (Doing::Calling, Event::Refused(_)) => self.refused(scene),
            (
                Doing::Announcing | Doing::Waiting | Doing::Calling,
                Event::Told(Wish::Fetched(by)),
            ) => self.fetched(scene, by),
            // It was called back a moment before, or is gone.
            (Doing::Talking | Doing::Leaving, Event::Told(Wish::Fetched(by))) => {
                scene.tell(vec![by], Wish::End);
            }
            (_, Event::Told(Wish::Replaced)) => {
                self.slot = None;
                scene.hang_up();
            }
            (Doing::Talking, Event::Parted) | (Doing::Leaving, Event::Done(WORDS)) => {
                scene.hang_up();
            }
            (_, Event::Ended) => self.free(scene),
            _ => {}
        }
    }
}

/// Somebody who dialled a slot.
#[derive(Debug)]
pub(super) struct Fetch {
    slot: Box<str>,
    /// Who transferred it there, if it was: then it parks where nobody waits.
    by: Option<Box<str>>,
    /// The one who was taken out, until it comes.
    awaited: Option<Address>,
}

impl Fetch {
    pub fn new(slot: Box<str>, by: Option<Box<str>>) -> Self {
        Self {
            slot,
            by,
            awaited: None,
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        let lot = scene.house.features.lot();
        if let Some(parked) = lot.fetch(&self.slot) {
            // What stands behind a semicolon is another note.
            let who = parked.user.as_deref().unwrap_or(&parked.number);
            let who = who.replace(';', ",");
            scene.note(&format!("parking: fetches {who} from {}", self.slot));
            let own = scene.address();
            scene.tell(vec![parked.at], Wish::Fetched(own));
            scene.after(MEETING_WAIT, PATIENCE);
            self.awaited = Some(parked.at);
            return;
        }
        let user = scene.caller.user.as_deref();
        let referred = user.and_then(|user| lot.referred(user, scene.now));
        let by = self.by.take().or(referred);
        if by.is_some() {
            let park = Park::only(self.slot.clone(), by);
            return scene.change(Box::new(park));
        }
        say_last(scene, &["pbx-invalidpark"]);
    }
}

impl Program for Fetch {
    fn name(&self) -> &'static str {
        "parked"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin if self.awaited.is_none() => self.begin(scene),
            Event::Told(Wish::Met(at)) if self.awaited == Some(at) => {
                self.awaited = None;
                scene.change(Box::new(Across::new(at, at)));
            }
            // It hung up, or was called back, in the same moment.
            Event::Told(Wish::End) if self.awaited.is_some() => {
                self.awaited = None;
                say_last(scene, &["pbx-invalidpark"]);
            }
            // It may come yet, and must not find nobody.
            Event::Due(PATIENCE) if self.awaited.is_some() => {
                say_last(scene, &["pbx-invalidpark"]);
            }
            Event::Done(WORDS) => scene.hang_up(),
            Event::Ended => {
                let awaited = self.awaited.take();
                scene.tell(awaited.into_iter().collect(), Wish::End);
            }
            _ => {}
        }
    }
}

fn say_last(scene: &mut Scene<'_>, words: &[&str]) {
    let voice = scene.voice;
    let mut sounds = vec![voice.pause()];
    sounds.extend(voice.prompts(words));
    sounds.push(voice.pause());
    scene.play(WORDS, sounds, false);
}

/// The user of ours that a URI or an address of record means. Phones name themselves by the host
/// that they have, so the name counts where the whole is nobody's.
fn user_of(scene: &Scene<'_>, by: &str) -> Option<Box<str>> {
    let aor = match by.starts_with("sip") && by.contains(':') {
        true => aor_of(by),
        false => by.into(),
    };
    let directory = scene.house.directory;
    if directory.get(&aor).is_some() {
        return Some(aor);
    }
    let (user, _) = aor.split_once('@')?;
    let aor = format!("{user}@{}", scene.config.node.default_domain());
    directory.get(&aor).is_some().then(|| aor.into())
}

#[cfg(test)]
mod tests;
