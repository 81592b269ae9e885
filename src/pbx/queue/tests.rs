use super::super::program::Effect;
use super::super::stage::{Stage, spoken};
use super::*;
use crate::feature::{Change, Doing as Agent};
use std::path::Path;

const TEXT: &str = "[node]\ndomains = [\"example.com\"]\n\
    [[queue]]\nname = \"support\"\nagents = [\"201\", \"202\"]\nlogins = [\"203\"]\n\
    strategy = \"round-robin\"\nannounce_s = 30\nwait_max_s = 60\ncalls_max = 2\n\
    overflow = \"say:please-try-call-later\"\n";

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("voip.toml")).unwrap_or_else(|m| panic!("{m}"))
}

fn stage(text: &str) -> Stage<Queueing> {
    let config = config(text);
    let mut stage = Stage::new(Queueing::new(&config, "support").unwrap());
    stage.config = config;
    stage.now = Instant::from_millis(1_000_000);
    let agents = ["201@example.com", "202@example.com"];
    stage.house.features.watch(agents.into_iter());
    for agent in agents {
        stage.house.register(agent);
    }
    stage
}

/// Time passes, second by second; the effects of the last.
fn pass(stage: &mut Stage<Queueing>, seconds: u64) -> Vec<Effect> {
    let mut last = Vec::new();
    for _ in 0..seconds {
        stage.now += TICKS;
        last = stage.tell(Event::Due(TICK));
    }
    last
}

fn rung(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Connect(reach) => Some(&*reach.to),
        _ => None,
    })
}

fn notes(effects: &[Effect]) -> Vec<&str> {
    let notes = effects.iter().filter_map(|effect| match effect {
        Effect::Note(text) => Some(&**text),
        _ => None,
    });
    notes.collect()
}

fn hears_music(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Do(MUSIC, Task::Play { sounds, rounds, .. }) => {
            *sounds == [Sound::Music] && rounds.is_none()
        }
        _ => false,
    })
}

/// Both agents are taken by others.
fn engaged(stage: &Stage<Queueing>) -> Vec<crate::feature::Engaged> {
    let agents = ["201@example.com", "202@example.com"];
    let busy = agents.map(|aor| stage.house.features.engage(aor).unwrap());
    busy.into()
}

#[test]
fn a_caller_hears_music_and_gets_an_agent() {
    let mut stage = stage(TEXT);
    let effects = stage.tell(Event::Begin);
    assert!(hears_music(&effects), "{effects:?}");
    assert_eq!(notes(&effects), ["queue support: place 1"]);
    assert_eq!(rung(&pass(&mut stage, 1)), Some("201@example.com|"));
    // Nobody takes it: the next one, and the music goes on.
    assert!(hears_music(&stage.tell(Event::Refused(408))));
    assert_eq!(rung(&pass(&mut stage, 1)), Some("202@example.com|"));
    stage.now += Duration::from_secs(3);
    assert_eq!(
        notes(&stage.tell(Event::Joined)),
        ["queue support: waited 5 s, agent 202@example.com"]
    );
    let queues = stage.house.features.queues();
    let agent = |now| queues.agent("support", "202@example.com", now);
    assert_eq!(agent(stage.now), (Agent::Talking, 1));
    let (queues, now) = (Arc::clone(queues), stage.now);
    assert_eq!(stage.tell(Event::Parted), [Effect::HangUp]);
    let agent = |now| queues.agent("support", "202@example.com", now).0;
    assert_eq!(agent(now), Agent::Resting);
    assert_eq!(agent(now + Duration::from_secs(10)), Agent::Free);
    let figures = queues.figures("support", now);
    assert_eq!(
        (figures.answered, figures.waited_ms, figures.talking),
        (1, 5000, 0)
    );
}

#[test]
fn places_and_the_time_are_told() {
    let mut stage = stage(TEXT);
    let busy = engaged(&stage);
    let queues = Arc::clone(stage.house.features.queues());
    let other = queues.enter("support", 9, stage.now).unwrap();
    stage.tell(Event::Begin);
    assert_eq!(rung(&pass(&mut stage, 29)), None);
    let told = pass(&mut stage, 1);
    assert_eq!(
        spoken(&told),
        [
            "queue-thereare",
            "digits/2",
            "queue-callswaiting",
            "queue-thankyou"
        ]
    );
    // The turn may come meanwhile, and the music does afterwards.
    assert!(hears_music(&stage.tell(Event::Done(WORDS))));
    drop(other);
    drop(busy);
    assert_eq!(rung(&pass(&mut stage, 1)), Some("201@example.com|"));
    stage.tell(Event::Joined);
    stage.now += Duration::from_secs(130);
    stage.tell(Event::Ended);
    // The next one is told what calls take.
    let mut next = Stage::new(Queueing::new(&stage.config, "support").unwrap());
    (next.now, next.config, next.house) = (stage.now, stage.config, stage.house);
    let busy = engaged(&next);
    next.tell(Event::Begin);
    let told = pass(&mut next, 30);
    assert_eq!(
        spoken(&told),
        [
            "queue-youarenext",
            "queue-holdtime",
            "digits/3",
            "minutes",
            "queue-thankyou"
        ]
    );
    drop(busy);
}

#[test]
fn the_music_goes_on_where_an_agent_rings_before_the_announcement_is_over() {
    let mut stage = stage(TEXT);
    let busy = engaged(&stage);
    stage.tell(Event::Begin);
    assert!(!spoken(&pass(&mut stage, 30)).is_empty());
    drop(busy);
    // It is said to its end.
    let rings = pass(&mut stage, 1);
    assert_eq!(rung(&rings), Some("201@example.com|"));
    assert!(!hears_music(&rings));
    assert!(hears_music(&stage.tell(Event::Done(WORDS))));
    stage.tell(Event::Joined);
    assert_eq!(stage.tell(Event::Done(WORDS)), []);
}

#[test]
fn who_waits_too_long_is_sent_elsewhere() {
    let mut stage = stage(TEXT);
    let _busy = engaged(&stage);
    stage.tell(Event::Begin);
    let effects = pass(&mut stage, 60);
    assert_eq!(
        notes(&effects),
        ["queue support: waited too long after 60 s"]
    );
    assert_eq!(stage.next.as_ref().map(|next| next.name()), Some("menu"));
    let figures = stage.house.features.queues().figures("support", stage.now);
    assert_eq!(
        (figures.waiting, figures.overflowed, figures.abandoned),
        (0, 1, 0)
    );
}

#[test]
fn a_full_queue_and_one_without_agents_overflow_at_once() {
    let mut stage = stage(TEXT);
    let queues = Arc::clone(stage.house.features.queues());
    let others = [1, 2].map(|_| queues.enter("support", 9, stage.now).unwrap());
    assert_eq!(
        notes(&stage.tell(Event::Begin)),
        ["queue support: full after 0 s"]
    );
    assert!(stage.next.is_some());
    drop(others);

    // All have a pause; the one who logged in came back.
    let mut stage = super::tests::stage(TEXT);
    for user in ["201@example.com", "202@example.com", "203@example.com"] {
        let change = Change::QueuePause(true);
        stage.house.features.change(user, &change).unwrap();
    }
    assert_eq!(
        notes(&stage.tell(Event::Begin)),
        ["queue support: no agent after 0 s"]
    );
    let mut stage = super::tests::stage(&TEXT.replace("\"201\", \"202\"", "\"299\""));
    stage.program.queue.agents.clear();
    let change = Change::Queue("support".into(), true);
    // Not one who may not.
    stage
        .house
        .features
        .change("204@example.com", &change)
        .unwrap();
    stage
        .house
        .features
        .change("203@example.com", &change)
        .unwrap();
    stage.house.register("203@example.com");
    stage.tell(Event::Begin);
    assert_eq!(rung(&pass(&mut stage, 1)), Some("203@example.com|"));
}

#[test]
fn agents_without_a_phone_are_not_there() {
    let away = |stage: &Stage<Queueing>, user: &str| {
        stage.house.location.remove(&format!("{user}@example.com"));
    };
    let mut stage = stage(TEXT);
    for user in ["201", "202"] {
        away(&stage, user);
    }
    let told = notes(&stage.tell(Event::Begin)).join(" ");
    assert_eq!(told, "queue support: no agent after 0 s");
    assert!(stage.next.is_some());

    // One is enough, and nobody else is rung.
    let mut stage = super::tests::stage(TEXT);
    away(&stage, "201");
    stage.tell(Event::Begin);
    assert_eq!(rung(&pass(&mut stage, 1)), Some("202@example.com|"));
    assert!(hears_music(&stage.tell(Event::Refused(408))));

    // Who waits stays for a moment, and where one talks who will be back.
    let call = stage.house.features.engage("201@example.com");
    away(&stage, "202");
    assert_eq!(notes(&pass(&mut stage, 20)), [""; 0]);
    drop(call);
    assert_eq!(notes(&pass(&mut stage, 14)), [""; 0]);
    stage.house.register("201@example.com");
    assert_eq!(rung(&pass(&mut stage, 1)), Some("201@example.com|"));
    stage.tell(Event::Refused(480));
    away(&stage, "201");
    assert_eq!(notes(&pass(&mut stage, 14)), [""; 0]);
    let told = notes(&pass(&mut stage, 1)).join(" ");
    assert_eq!(told, "queue support: no agent after 51 s");
    assert!(stage.next.is_some());
}

#[test]
fn agents_who_want_no_calls_are_not_there() {
    let mut stage = stage(TEXT);
    let wants = |stage: &Stage<Queueing>, user: &str, change| {
        let user = format!("{user}@example.com");
        stage.house.features.change(&user, &change).unwrap();
    };
    wants(&stage, "201", Change::Dnd(true));
    wants(&stage, "202", Change::Block("600".into()));
    stage.caller.number = "600".into();
    let told = notes(&stage.tell(Event::Begin)).join(" ");
    assert_eq!(told, "queue support: no agent after 0 s");
    // Another caller is welcome.
    let mut stage = super::tests::stage(TEXT);
    wants(&stage, "201", Change::Dnd(true));
    wants(&stage, "202", Change::Block("600".into()));
    stage.caller.number = "700".into();
    stage.tell(Event::Begin);
    assert_eq!(rung(&pass(&mut stage, 1)), Some("202@example.com|"));
}

#[test]
fn an_agent_who_transfers_its_caller_is_done_with_it() {
    for (left, done) in [
        (Event::Left(None), true),
        (Event::Left(Some("300@example.com".into())), true),
        // Another phone of its own.
        (Event::Left(Some("201@example.com".into())), false),
    ] {
        let mut stage = stage(TEXT);
        stage.tell(Event::Begin);
        assert!(rung(&pass(&mut stage, 1)).is_some());
        stage.tell(Event::Joined);
        stage.now += Duration::from_secs(20);
        assert_eq!(stage.tell(left.clone()), []);
        let queues = Arc::clone(stage.house.features.queues());
        let agent = |now| queues.agent("support", "201@example.com", now).0;
        let figures = queues.figures("support", stage.now);
        let wanted = match done {
            true => (Agent::Resting, 0, 20_000),
            false => (Agent::Talking, 1, 0),
        };
        let found = (agent(stage.now), figures.talking, figures.talked_ms);
        assert_eq!(found, wanted, "{left:?}");
        // Once over it is not over again, however long the two talk.
        stage.now += Duration::from_secs(60);
        assert_eq!(stage.tell(Event::Parted), [Effect::HangUp]);
        let wanted = match done {
            true => (Agent::Free, 20_000),
            false => (Agent::Resting, 80_000),
        };
        let talked = queues.figures("support", stage.now).talked_ms;
        assert_eq!((agent(stage.now), talked), wanted, "{left:?}");
    }
}

#[test]
fn who_hangs_up_gives_its_place_back() {
    let mut stage = stage(TEXT);
    stage.tell(Event::Begin);
    assert!(rung(&pass(&mut stage, 1)).is_some());
    stage.tell(Event::Ended);
    let queues = stage.house.features.queues();
    let figures = queues.figures("support", stage.now);
    assert_eq!((figures.waiting, figures.abandoned), (0, 1));
    let agent = queues.agent("support", "201@example.com", stage.now);
    assert_eq!(agent, (Agent::Free, 0));
}

#[test]
fn all_ring_together_and_who_answered_is_found() {
    let text = TEXT.replace("round-robin", "ring-all");
    let mut stage = stage(&text);
    stage.tell(Event::Begin);
    let effects = pass(&mut stage, 1);
    assert_eq!(rung(&effects), Some("201@example.com|202@example.com|"));
    let _call = stage.house.features.engage("202@example.com").unwrap();
    assert_eq!(
        notes(&stage.tell(Event::Joined)),
        ["queue support: waited 1 s, agent 202@example.com"]
    );
}

#[test]
fn it_greets_where_the_file_says_so() {
    let text = TEXT.replace("announce_s", "greeting = \"menu-welcome\"\nannounce_s");
    let mut stage = stage(&text);
    assert_eq!(spoken(&stage.tell(Event::Begin)), ["menu-welcome"]);
    assert!(hears_music(&stage.tell(Event::Done(WORDS))));
}
