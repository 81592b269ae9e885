//! Double dialling, `[disa]`: after a PIN, or from a phone that needs none, a second dial tone and
//! a call on the account of the company's user, under its limits.

use super::program::{Account, Event, Led, Program, Reach, Scene};
use crate::config::Disa as Rules;
use crate::feature::{Pass, Patience, is_pin};
use crate::media::tone::Tone;
use crate::media::{Sound, Task};
use std::time::Duration;

/// What PINs are counted for.
const DOOR: &str = "disa";
/// PINs that one call may try.
const TRIES_MAX: u32 = 3;
/// Numbers that one call may dial.
const CALLS_MAX: u32 = 10;
/// Digits of a PIN or number.
const DIGITS_MAX: usize = 32;
/// For the first digit, and for the next.
const FIRST: Duration = Duration::from_secs(15);
const NEXT: Duration = Duration::from_secs(4);
const RING: Duration = Duration::from_secs(60);

const WORDS: u32 = 0;
const TONE: u32 = 1;
const REST: u32 = 2;
const DIGIT: u32 = 0;
const HELD_BACK: u32 = 1;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Disa {
    rules: Rules,
    tries: u32,
    calls: u32,
    doing: Doing,
    /// Who was called back for this.
    pass: Option<Pass>,
}

#[derive(Debug)]
enum Doing {
    Beginning,
    Pin(String),
    /// A wrong PIN is answered late.
    HeldBack,
    Number(String),
    Calling,
    Ringing,
    Talking,
    /// Says why not; whether it may dial again.
    Saying {
        again: bool,
    },
}

impl Disa {
    /// Where `[disa]` lets somebody in.
    pub fn new(rules: &Rules) -> Option<Self> {
        rules.is_on().then(|| Self {
            rules: rules.clone(),
            tries: 0,
            calls: 0,
            doing: Doing::Beginning,
            pass: None,
        })
    }

    /// For somebody who is called back.
    pub fn called_back(self, pass: Pass) -> Self {
        Self {
            pass: Some(pass),
            ..self
        }
    }

    fn say(&mut self, scene: &mut Scene<'_>, names: &[&str], again: bool) {
        let mut words = vec![scene.voice.pause()];
        words.extend(scene.voice.prompts(names));
        scene.play(WORDS, words, false);
        self.doing = Doing::Saying { again };
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        let own = scene.caller.user.as_deref();
        if own.is_some_and(|aor| self.rules.trusts(aor, scene.config.node.default_domain())) {
            return self.dial_tone(scene);
        }
        if self.rules.pin.is_empty() {
            return self.say(scene, &["call-not-allowed"], false);
        }
        self.ask(scene);
    }

    fn ask(&mut self, scene: &mut Scene<'_>) {
        let who = who(scene);
        if is_locked(scene, &who) {
            tracing::warn!(caller = %who, "locked out of double dialling after wrong PINs");
            return self.say(scene, &["vm-locked"], false);
        }
        let words = vec![scene.voice.pause(), scene.voice.prompt("vm-password")];
        scene.play(WORDS, words, true);
        scene.after(FIRST, DIGIT);
        self.doing = Doing::Pin(String::new());
    }

    fn check(&mut self, scene: &mut Scene<'_>, entered: &str) {
        let (who, patience) = (who(scene), patience(scene));
        let pins = scene.house.features.pins();
        // A lock that came in the meantime holds for a right PIN, too: nothing is learned from it.
        let locked = pins.is_locked(DOOR, &*who, scene.now, patience);
        if is_pin(entered, &self.rules.pin) && !locked {
            pins.right(DOOR, &who);
            if let Some(pass) = &self.pass {
                pass.proven();
            }
            return self.dial_tone(scene);
        }
        self.tries += 1;
        let slow = pins.wrong(DOOR, &*who, scene.now, patience);
        tracing::warn!(caller = %who, tries = self.tries, "wrong PIN for double dialling");
        scene.order(REST, Task::Rest);
        scene.after(slow, HELD_BACK);
        self.doing = Doing::HeldBack;
    }

    fn dial_tone(&mut self, scene: &mut Scene<'_>) {
        let tone = scene.voice.tone(Tone::Dial, None);
        sound(scene, tone);
        scene.after(FIRST, DIGIT);
        self.doing = Doing::Number(String::new());
    }

    fn call(&mut self, scene: &mut Scene<'_>, number: &str) {
        self.calls += 1;
        if self.calls > CALLS_MAX {
            return self.say(scene, &["goodbye"], false);
        }
        let account = account(&self.rules, scene);
        let own = account.split('@').next().unwrap_or_default();
        scene.order(REST, Task::Rest);
        scene.connect(Reach {
            to: number.into(),
            caller_id: Some((own.into(), "".into())),
            account: Account::User(account),
            ring: RING,
            headers: Vec::new(),
            led: Led::Mail(None),
        });
        self.doing = Doing::Calling;
    }

    fn on_key(&mut self, scene: &mut Scene<'_>, key: char) {
        let (Doing::Pin(entered) | Doing::Number(entered)) = &mut self.doing else {
            return;
        };
        let mut entered = std::mem::take(entered);
        let whole = match key {
            '#' => true,
            // Once more from the beginning.
            '*' => {
                entered.clear();
                false
            }
            digit if digit.is_ascii_digit() => {
                entered.push(digit);
                entered.len() >= DIGITS_MAX
            }
            _ => false,
        };
        scene.order(REST, Task::Rest);
        match (&self.doing, whole) {
            (Doing::Pin(_), true) => self.check(scene, &entered),
            (_, true) if entered.is_empty() => self.dial_tone(scene),
            (_, true) => self.call(scene, &entered),
            (_, false) => {
                scene.after(if entered.is_empty() { FIRST } else { NEXT }, DIGIT);
                self.doing = match self.doing {
                    Doing::Pin(_) => Doing::Pin(entered),
                    _ => Doing::Number(entered),
                };
            }
        }
    }

    fn on_due(&mut self, scene: &mut Scene<'_>, timer: u32) {
        match (&mut self.doing, timer) {
            (Doing::HeldBack, HELD_BACK) if self.tries >= TRIES_MAX => {
                self.say(scene, &["vm-incorrect", "goodbye"], false);
            }
            (Doing::HeldBack, HELD_BACK) => self.say(scene, &["vm-incorrect"], true),
            (Doing::Pin(entered), DIGIT) if !entered.is_empty() => {
                let entered = std::mem::take(entered);
                self.check(scene, &entered);
            }
            (Doing::Number(entered), DIGIT) if !entered.is_empty() => {
                let entered = std::mem::take(entered);
                self.call(scene, &entered);
            }
            (Doing::Pin(_) | Doing::Number(_), DIGIT) => self.say(scene, &["goodbye"], false),
            _ => {}
        }
    }

    fn refused(&mut self, scene: &mut Scene<'_>, status: u16) {
        let why = match status {
            486 | 600 => "call-busy",
            403 => "call-not-allowed",
            404 | 410 | 484 | 604 => "ss-noservice",
            408 | 480 | 487 | 603 => "number-not-answering",
            _ => "all-circuits-busy-now",
        };
        self.say(scene, &[why], true);
    }
}

impl Program for Disa {
    fn name(&self) -> &'static str {
        "disa"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        if let Some(pass) = &self.pass {
            pass.goes_on(scene.now);
        }
        match (&self.doing, event) {
            // Another caller has this place, and waits for whom the one before called.
            (Doing::Calling | Doing::Talking, Event::Begin) => {}
            (_, Event::Begin) => self.begin(scene),
            (_, Event::Key(key)) => self.on_key(scene, key),
            (_, Event::Due(timer)) => self.on_due(scene, timer),
            (Doing::Saying { again: false }, Event::Done(WORDS)) => scene.hang_up(),
            // Still in front of the door, or already behind it.
            (Doing::Saying { again: true }, Event::Done(WORDS)) => match self.calls {
                0 => self.ask(scene),
                _ => self.dial_tone(scene),
            },
            // Who listens to the question to its end has the whole time then.
            (Doing::Pin(entered), Event::Done(WORDS)) if entered.is_empty() => {
                scene.after(FIRST, DIGIT);
            }
            (Doing::Calling, Event::Ringing) => {
                let ringing = scene.ringing();
                sound(scene, ringing);
                self.doing = Doing::Ringing;
            }
            (Doing::Calling | Doing::Ringing, Event::Heard | Event::Joined) => {
                self.doing = Doing::Talking;
            }
            (Doing::Calling | Doing::Ringing | Doing::Talking, Event::Refused(status)) => {
                self.refused(scene, status);
            }
            (Doing::Calling | Doing::Ringing | Doing::Talking, Event::Parted) => scene.hang_up(),
            _ => {}
        }
    }
}

fn sound(scene: &mut Scene<'_>, sound: Sound) {
    let what = Task::Play {
        sounds: vec![sound],
        rounds: None,
        until_key: true,
    };
    scene.order(TONE, what);
}

/// The user on whose account is called, `name@domain`.
pub(super) fn account(rules: &Rules, scene: &Scene<'_>) -> Box<str> {
    match rules.user.contains('@') {
        true => rules.user.clone(),
        false => format!("{}@{}", rules.user, scene.config.node.default_domain()).into(),
    }
}

/// Whether wrong PINs have locked somebody out.
pub(super) fn is_locked(scene: &Scene<'_>, who: &str) -> bool {
    let pins = scene.house.features.pins();
    pins.is_locked(DOOR, who, scene.now, patience(scene))
}

/// Whom wrong PINs count for: a user, or a number. One that a stranger shows locks out nobody who
/// has it in truth.
fn who(scene: &Scene<'_>) -> Box<str> {
    let caller = scene.caller;
    match (&caller.user, &caller.way) {
        (Some(user), _) => user.clone(),
        (None, Some(_)) => caller.number.clone(),
        (None, None) => format!("stranger {}", caller.number).into(),
    }
}

/// As much as wrong passwords get.
fn patience(scene: &Scene<'_>) -> Patience {
    let guard = &scene.config.guard;
    Patience {
        caller: guard.slow_after,
        way: guard.ban_after,
        door: guard.ban_after,
        window: Duration::from_secs(u64::from(guard.ban_s.max(guard.window_s))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Effect;
    use super::super::stage::{Stage, spoken};
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    const TEXT: &str = "[node]\ndomains = [\"example.com\"]\n[disa]\npin = \"482913\"\n\
        user = \"100\"\ntrusted = [\"201\"]\n";

    fn stage(text: &str, user: Option<&str>) -> Stage<Disa> {
        let config = Config::parse(text, Path::new("voip.toml")).unwrap_or_else(|m| panic!("{m}"));
        let mut stage = Stage::new(Disa::new(&config.disa).unwrap());
        stage.config = config;
        stage.caller.user = user.map(Box::from);
        stage.caller.number = "600123456".into();
        stage
    }

    fn press(stage: &mut Stage<Disa>, keys: &str) -> Vec<Effect> {
        let keys = keys.chars();
        keys.flat_map(|key| stage.tell(Event::Key(key))).collect()
    }

    fn reach(effects: &[Effect]) -> Option<&Reach> {
        effects.iter().find_map(|effect| match effect {
            Effect::Connect(reach) => Some(&**reach),
            _ => None,
        })
    }

    fn hears(effects: &[Effect], wanted: Tone) -> bool {
        effects.iter().any(|effect| match effect {
            Effect::Do(TONE, Task::Play { sounds, .. }) => {
                let is = |s: &Sound| matches!(s, Sound::Tone { tone, .. } if *tone == wanted);
                sounds.iter().any(is)
            }
            _ => false,
        })
    }

    #[test]
    fn the_right_pin_gets_a_dial_tone_and_the_companys_account() {
        let mut stage = stage(TEXT, None);
        assert_eq!(spoken(&stage.tell(Event::Begin)), ["vm-password"]);
        let tone = press(&mut stage, "482913#");
        assert!(hears(&tone, Tone::Dial), "{tone:?}");
        press(&mut stage, "91555");
        let effects = press(&mut stage, "0199#");
        let reach = reach(&effects).unwrap();
        assert_eq!(&*reach.to, "915550199");
        assert_eq!(reach.account, Account::User("100@example.com".into()));
        assert_eq!(reach.caller_id, Some(("100".into(), "".into())));
        assert!(hears(&stage.tell(Event::Ringing), Tone::RingBack));
        assert_eq!(stage.tell(Event::Ringing), [], "it rings already");
        assert_eq!(stage.tell(Event::Joined), []);
        assert_eq!(stage.tell(Event::Parted), [Effect::HangUp]);
    }

    #[test]
    fn a_number_ends_by_itself_and_a_failure_is_told() {
        let mut stage = stage(TEXT, Some("201@example.com"));
        assert!(hears(&stage.tell(Event::Begin), Tone::Dial));
        // A star begins anew; other keys dial no code of the account.
        let effects = press(&mut stage, "55*A112");
        assert_eq!(reach(&effects), None);
        let effects = stage.tell(Event::Due(DIGIT));
        assert_eq!(&*reach(&effects).unwrap().to, "112");
        assert_eq!(
            spoken(&stage.tell(Event::Refused(403))),
            ["call-not-allowed"]
        );
        assert!(hears(&stage.tell(Event::Done(WORDS)), Tone::Dial));
        assert_eq!(spoken(&stage.tell(Event::Due(DIGIT))), ["goodbye"]);
        assert_eq!(stage.tell(Event::Done(WORDS)), [Effect::HangUp]);
    }

    #[test]
    fn the_time_for_a_pin_begins_behind_the_question() {
        let mut stage = stage(TEXT, None);
        stage.tell(Event::Begin);
        assert_eq!(
            stage.tell(Event::Done(WORDS)),
            [Effect::After(FIRST, DIGIT)]
        );
        // With a digit there the time of the next runs.
        press(&mut stage, "4");
        assert_eq!(stage.tell(Event::Done(WORDS)), []);
    }

    #[test]
    fn wrong_pins_are_slowed_down_and_locked_out() {
        let text = format!("{TEXT}[guard]\nslow_after = 4\n");
        let mut stage = stage(&text, Some("202@example.com"));
        stage.tell(Event::Begin);
        let mut waits = Vec::new();
        for n in 1..=3 {
            let effects = press(&mut stage, "000000#");
            assert_eq!(reach(&effects), None);
            waits.extend(effects.iter().filter_map(|effect| match effect {
                Effect::After(wait, HELD_BACK) => Some(wait.as_secs()),
                _ => None,
            }));
            // Nothing that is pressed meanwhile counts.
            assert_eq!(press(&mut stage, "482913#"), []);
            let told = stage.tell(Event::Due(HELD_BACK));
            assert_eq!(spoken(&told)[0], "vm-incorrect");
            let next = stage.tell(Event::Done(WORDS));
            match n {
                3 => assert_eq!(next, [Effect::HangUp]),
                _ => assert_eq!(spoken(&next), ["vm-password"]),
            }
        }
        assert_eq!(waits, [1, 2, 4]);
        // The next call has one try left, and then the right PIN does not help any more.
        stage.program = Disa::new(&stage.config.disa).unwrap();
        assert_eq!(spoken(&stage.tell(Event::Begin)), ["vm-password"]);
        press(&mut stage, "1#");
        stage.program = Disa::new(&stage.config.disa).unwrap();
        assert_eq!(spoken(&stage.tell(Event::Begin)), ["vm-locked"]);
        assert_eq!(stage.tell(Event::Done(WORDS)), [Effect::HangUp]);
    }

    #[test]
    fn it_is_off_until_the_file_says_more() {
        assert!(Disa::new(&Rules::default()).is_none());
        // Without a PIN only those who are trusted get in.
        let text = TEXT.replace("pin = \"482913\"\n", "");
        for (user, said) in [(None, true), (Some("202@example.com"), true)] {
            let mut stage = stage(&text, user);
            let effects = stage.tell(Event::Begin);
            assert_eq!(!spoken(&effects).is_empty(), said);
            assert_eq!(stage.tell(Event::Done(WORDS)), [Effect::HangUp]);
        }
        let mut stage = stage(&text, Some("201@example.com"));
        assert!(hears(&stage.tell(Event::Begin), Tone::Dial));
    }
}
