//! Paging: what the caller says is heard by many phones, which answer by themselves.
//!
//! ```text
//!   Ready? (a tone, while phones answer) --Done--> Speaking --hangs up--> all are let go
//! ```
//! Each phone is a call of its own, as one INVITE has one answer; all meet in a media room, where
//! only the caller is heard unless the page goes both ways. Who has a call already, wants no calls,
//! or has no phone is left out.

use super::program::{Account, Event, Led, Program, Reach, Scene};
use crate::media::Task;
use crate::media::room::{Join, VOLUME_ONE};
use crate::wire::sip::HeaderName;
use std::time::Duration;

/// Tasks.
const WORDS: u32 = 0;
const JOIN: u32 = 1;
/// Samples per second of the room.
const RATE: u32 = 16_000;
/// How long a phone may take to answer by itself; one that does not know how stops ringing then.
const RING: Duration = Duration::from_secs(10);
/// Pauses of a quarter of a second before the tone after which the caller speaks.
const PAUSES: usize = 4;

/// The one who speaks.
#[derive(Debug)]
pub(super) struct Page {
    name: Box<str>,
    room: Box<str>,
    /// Whether phones ring for it, or no one could.
    doing: Doing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    Beginning,
    Ready,
    Speaking,
    Leaving,
}

impl Page {
    /// To the phones of a paging group.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            room: "".into(),
            doing: Doing::Beginning,
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        let at = scene.address();
        self.room = format!("page:{}:{}", at.shard, at.session).into();
        let Some(page) = scene.config.page(&self.name) else {
            // The configuration was read again just now.
            return self.last_words(scene);
        };
        let own = scene.caller.user.as_deref();
        let members = page.members.iter().map(|m| scene.config.whole_user(m));
        let members = members.filter(|aor| Some(&**aor) != own);
        let members: Vec<Box<str>> = members.collect();
        let features = scene.house.features;
        let free = members.iter().filter(|aor| {
            let user = scene.house.directory.get(aor);
            let may = user.is_some_and(|user| !user.disabled) && scene.wants_calls(aor);
            may && scene.house.location.reaches(aor) && features.calls_of(aor) == 0
        });
        let free: Vec<Box<str>> = free.cloned().collect();
        let (name, two_way) = (&page.name, page.two_way);
        scene.note(&format!(
            "page {name}: {} of {} phones",
            free.len(),
            members.len()
        ));
        if free.is_empty() {
            return self.last_words(scene);
        }
        for aor in &free {
            let reach = reach(scene, aor);
            scene.summon(reach, join(&self.room, !two_way));
        }
        let voice = scene.voice;
        let mut sounds = vec![voice.pause(); PAUSES];
        sounds.push(voice.beep());
        scene.play(WORDS, sounds, false);
        self.doing = Doing::Ready;
    }

    fn speak(&mut self, scene: &mut Scene<'_>) {
        let join = join(&self.room, false);
        scene.order(JOIN, Task::Join(Box::new(join)));
        self.doing = Doing::Speaking;
    }

    fn last_words(&mut self, scene: &mut Scene<'_>) {
        let voice = scene.voice;
        scene.play(
            WORDS,
            vec![voice.pause(), voice.prompt("call-unavailable")],
            false,
        );
        self.doing = Doing::Leaving;
    }
}

impl Program for Page {
    fn name(&self) -> &'static str {
        "page"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match (self.doing, event) {
            (Doing::Beginning, Event::Begin) => self.begin(scene),
            // Another caller has this place.
            (Doing::Ready | Doing::Speaking, Event::Begin) | (Doing::Ready, Event::Done(WORDS)) => {
                self.speak(scene);
            }
            (Doing::Speaking, Event::Done(JOIN)) | (Doing::Leaving, Event::Done(WORDS)) => {
                scene.hang_up();
            }
            _ => {}
        }
    }
}

/// A phone that is spoken to. It goes when the one goes who called it.
#[derive(Debug)]
pub(super) struct Guest {
    pub join: Join,
}

impl Program for Guest {
    fn name(&self) -> &'static str {
        "page"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => scene.order(JOIN, Task::Join(Box::new(self.join.clone()))),
            Event::Done(JOIN) => scene.hang_up(),
            _ => {}
        }
    }
}

fn join(room: &str, muted: bool) -> Join {
    Join {
        room: room.into(),
        rate: RATE,
        muted,
        deafened: false,
        volume: VOLUME_ONE,
        arrival: Vec::new(),
        farewell: Vec::new(),
        name: None,
    }
}

/// A member's phones, asked to answer by themselves in the two ways that nearly all know; which
/// phones know which is told in `proxy::forward`, which asks the same of a phone that picks up.
fn reach(scene: &Scene<'_>, aor: &str) -> Reach {
    let domain = scene.config.node.default_domain();
    let header = |name: HeaderName, value: &str| -> (Box<str>, Box<str>) {
        (
            name.as_str().into(),
            format!("<sip:page@{domain}>;{value}").into(),
        )
    };
    Reach {
        // With a bar it is a list: what members forward is not followed, and who wants no calls is
        // not called.
        to: format!("{aor}|").into(),
        account: Account::House,
        caller_id: None,
        ring: RING,
        headers: vec![
            header(HeaderName::CallInfo, "answer-after=0"),
            header(HeaderName::AlertInfo, "info=alert-autoanswer;delay=0"),
        ],
        led: Led::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Effect;
    use super::super::stage::{Stage, spoken};
    use super::*;
    use crate::config::Config;
    use crate::feature::Change;
    use crate::store::{Ha1, User};
    use std::path::Path;

    fn stage(two_way: bool) -> Stage<Page> {
        let text = format!(
            "[node]\ndomains = [\"example.com\"]\n[[page]]\nname = \"hall\"\nnumber = \"*50\"\n\
            members = [\"100\", \"200\", \"300\", \"400\", \"500\", \"600\", \"700\"]\n\
            two_way = {two_way}\n"
        );
        let mut stage = Stage::new(Page::new("hall"));
        stage.config = Config::parse(&text, Path::new("voip.toml")).unwrap();
        for name in ["100", "200", "300", "500", "600", "700"] {
            let user = User {
                username: name.into(),
                domain: "example.com".into(),
                display_name: "".into(),
                ha1: Ha1::of(name, "example.com", "secret"),
                disabled: name == "500",
            };
            stage.house.directory.put(user).unwrap();
        }
        for name in ["200", "300", "500", "600"] {
            stage.house.register(&format!("{name}@example.com"));
        }
        let features = &stage.house.features;
        features
            .change("600@example.com", &Change::Dnd(true))
            .unwrap();
        stage.caller.user = Some("100@example.com".into());
        stage
    }

    fn summoned(effects: &[Effect]) -> Vec<(&str, &Join)> {
        let summoned = effects.iter().filter_map(|effect| match effect {
            Effect::Summon(reach, join) => Some((&*reach.to, &**join)),
            _ => None,
        });
        summoned.collect()
    }

    #[test]
    fn those_who_are_free_are_called_and_listen() {
        let mut stage = stage(false);
        stage.house.features.watch(["300@example.com"].into_iter());
        let engaged = stage.house.features.engage("300@example.com");
        let effects = stage.tell(Event::Begin);
        // 100 speaks, 300 talks, 400 is nobody, 500 is shut, 600 wants no calls, 700 has no phone.
        let [(to, join)] = summoned(&effects)[..] else {
            panic!("{effects:?}")
        };
        assert_eq!((to, join.muted), ("200@example.com|", true));
        // The record counts those who are rung.
        let note = Effect::Note("page hall: 1 of 6 phones".into());
        assert!(effects.contains(&note), "{effects:?}");
        drop(engaged);
        let speaks = stage.tell(Event::Done(WORDS));
        let [Effect::Do(JOIN, Task::Join(own))] = &speaks[..] else {
            panic!("{speaks:?}")
        };
        assert_eq!((&own.room, own.muted), (&join.room, false));
        let mut guest = Guest { join: join.clone() };
        let listens = stage.of(&mut guest, Event::Begin);
        assert_eq!(
            listens,
            [Effect::Do(JOIN, Task::Join(Box::new(join.clone())))]
        );
    }

    #[test]
    fn phones_are_asked_to_answer_by_themselves_and_may_talk() {
        let mut stage = stage(true);
        let effects = stage.tell(Event::Begin);
        assert_eq!(summoned(&effects).len(), 2);
        assert!(summoned(&effects).iter().all(|(_, join)| !join.muted));
        let Some(Effect::Summon(reach, _)) =
            effects.iter().find(|e| matches!(e, Effect::Summon(..)))
        else {
            panic!("{effects:?}")
        };
        let lines: Vec<String> = reach
            .headers
            .iter()
            .map(|(n, v)| format!("{n}: {v}"))
            .collect();
        assert_eq!(
            lines,
            [
                "Call-Info: <sip:page@example.com>;answer-after=0",
                "Alert-Info: <sip:page@example.com>;info=alert-autoanswer;delay=0"
            ]
        );
    }

    #[test]
    fn a_page_to_nobody_says_so() {
        let mut stage = stage(false);
        for name in ["200", "300"] {
            stage.house.directory.remove(&format!("{name}@example.com"));
        }
        assert_eq!(spoken(&stage.tell(Event::Begin)), ["call-unavailable"]);
        assert_eq!(stage.tell(Event::Done(WORDS)), [Effect::HangUp]);
    }
}
