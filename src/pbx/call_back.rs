//! Double dialling by a call back, `[disa] call_back`: whoever calls by a trunk or a pool from a
//! number of that list is refused as busy, so that the call costs nothing, and called at that
//! number a moment later. There the PIN is asked for, as ever: a caller's number can be forged,
//! and then somebody's phone rings who knows of nothing. So a number is called once at a time, and
//! rests ever longer until the PIN is given (`feature::CallBacks`).

use super::disa::{Disa, account, is_locked};
use super::program::{Account, Caller, Event, Led, Opening, Program, Reach, Scene};
use crate::config::{Config, Disa as Rules};
use crate::feature::{NotNow, Pass};
use crate::plan::NumberRules;
use std::time::Duration;

/// Until the caller's phone is free again.
const WAIT: Duration = Duration::from_secs(5);
/// How long it rings.
const RING: Duration = Duration::from_secs(40);
/// The call's place is kept until it was answered or not.
const KEPT: Duration = Duration::from_secs(60);

/// Timers.
const CALL: u32 = 0;
const END: u32 = 1;

/// See the module's text.
#[derive(Debug)]
pub(super) struct CallBack {
    rules: Rules,
    /// As the list has it: that is what is called.
    number: Box<str>,
    /// It is called.
    pass: Option<Pass>,
}

impl CallBack {
    /// The number of the list that a caller shows, in whatever form. Phones of ours, which dial the
    /// code, and strangers without a trunk are not called back.
    pub fn listed<'a>(config: &'a Config, caller: &Caller) -> Option<&'a str> {
        let list = &config.disa.call_back;
        let from_outside = caller.user.is_none() && caller.way.is_some();
        if list.is_empty() || caller.number.is_empty() || !from_outside {
            return None;
        }
        let rules = NumberRules::new(config);
        let whole = rules.e164(&caller.number);
        let mut list = list.iter().map(|number| &**number);
        list.find(|&number| {
            *number == *caller.number || whole.is_some() && rules.e164(number) == whole
        })
    }

    pub fn new(rules: &Rules, number: &str) -> Self {
        Self {
            rules: rules.clone(),
            number: number.into(),
            pass: None,
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        let number = &self.number;
        let calls = scene.house.features.call_backs();
        let begun = calls.begin(number, is_locked(scene, number), scene.now);
        let why_not = match begun {
            Ok(pass) => {
                self.pass = Some(pass);
                scene.note(&format!("call back: {number}"));
                return scene.fail(486);
            }
            Err(NotNow::UnderWay) => "one is under way".to_owned(),
            Err(NotNow::Rests(rest)) => {
                let minutes = rest.as_secs().div_ceil(60);
                format!("rests {minutes} min more without the PIN")
            }
            Err(NotNow::Full) => "too many are under way".to_owned(),
            Err(NotNow::Locked) => "locked out after wrong PINs".to_owned(),
        };
        // The records, which are bounded, tell it: a caller may try on and on.
        tracing::debug!(%number, %why_not, "not called back for double dialling");
        scene.note(&format!("no call back: {why_not}"));
        scene.fail(486);
    }

    fn call(&mut self, scene: &mut Scene<'_>) {
        let account = account(&self.rules, scene);
        let own = account.split('@').next().unwrap_or_default().into();
        let (Some(disa), Some(pass)) = (Disa::new(&self.rules), self.pass.take()) else {
            return;
        };
        pass.goes_on(scene.now);
        let reach = Reach {
            to: self.number.clone(),
            caller_id: Some((own, "".into())),
            account: Account::CalledBack(account),
            ring: RING,
            headers: Vec::new(),
            led: Led::Nowhere,
        };
        let caller = Caller {
            number: self.number.clone(),
            ..Caller::default()
        };
        tracing::info!(number = %self.number, "calls back for double dialling");
        scene.call_back(reach, caller, Box::new(disa.called_back(pass)));
        scene.after(KEPT, END);
    }
}

impl Program for CallBack {
    fn name(&self) -> &'static str {
        "disa"
    }

    fn opening(&self) -> Opening {
        Opening::Wait
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => self.begin(scene),
            Event::Ended if self.pass.is_some() => scene.after(WAIT, CALL),
            Event::Due(CALL) => self.call(scene),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Effect;
    use super::super::stage::Stage;
    use super::*;
    use std::path::Path;

    const TEXT: &str = "[node]\ndomains = [\"example.com\"]\n\
        [numbers]\ncountry = \"34\"\nnational_digits = 9\n[disa]\npin = \"482913\"\n\
        user = \"100\"\nnumbers = [\"915550100\"]\ncall_back = [\"600123456\", \"+4930123456\"]\n";

    fn config() -> Config {
        Config::parse(TEXT, Path::new("voip.toml")).unwrap_or_else(|m| panic!("{m}"))
    }

    fn caller(number: &str) -> Caller {
        Caller {
            number: number.into(),
            way: Some("itsp".into()),
            ..Caller::default()
        }
    }

    fn stage() -> Stage<CallBack> {
        let config = config();
        let mut stage = Stage::new(CallBack::new(&config.disa, "600123456"));
        stage.config = config;
        stage.caller = caller("+34600123456");
        stage
    }

    #[test]
    fn a_number_is_known_in_each_of_its_forms() {
        let config = config();
        let listed = |number| CallBack::listed(&config, &caller(number));
        for form in ["600123456", "+34600123456", "0034600123456"] {
            assert_eq!(listed(form), Some("600123456"), "{form}");
        }
        assert_eq!(listed("+4930123456"), Some("+4930123456"));
        for other in ["", "600123457", "123456", "+34915550100"] {
            assert_eq!(listed(other), None, "{other}");
        }
    }

    #[test]
    fn phones_of_ours_and_strangers_are_not_called_back() {
        let config = config();
        let ours = Caller {
            user: Some("201@example.com".into()),
            ..caller("600123456")
        };
        let stranger = Caller {
            way: None,
            ..caller("600123456")
        };
        for caller in [ours, stranger] {
            assert_eq!(CallBack::listed(&config, &caller), None, "{caller:?}");
        }
    }

    /// What the record says of a call that comes now.
    fn noted(stage: &mut Stage<CallBack>) -> String {
        stage.program = CallBack::new(&stage.config.disa, "600123456");
        let effects = stage.tell(Event::Begin);
        assert!(effects.contains(&Effect::Fail(486)), "{effects:?}");
        let mut notes = effects.into_iter().filter_map(|effect| match effect {
            Effect::Note(text) => Some(text.to_string()),
            _ => None,
        });
        notes.next().unwrap()
    }

    /// The call back that follows, with the program that its callee finds.
    fn called(stage: &mut Stage<CallBack>) -> Box<super::super::program::CallBack> {
        assert_eq!(stage.tell(Event::Ended), [Effect::After(WAIT, CALL)]);
        let mut effects = stage.tell(Event::Due(CALL)).into_iter();
        match (effects.next(), effects.next()) {
            (Some(Effect::CallBack(back)), Some(Effect::After(KEPT, END))) => back,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_caller_is_refused_and_called_back_once_at_a_time() {
        let mut stage = stage();
        assert_eq!(noted(&mut stage), "call back: 600123456");
        let back = called(&mut stage);
        assert_eq!(&*back.reach.to, "600123456");
        let account = Account::CalledBack("100@example.com".into());
        assert_eq!(back.reach.account, account);
        assert_eq!(&*back.caller.number, "600123456");
        assert_eq!(stage.tell(Event::Due(END)), []);
        // It calls again while it talks, for however long.
        stage.now += Duration::from_secs(7200);
        assert_eq!(noted(&mut stage), "no call back: one is under way");
        assert_eq!(stage.tell(Event::Ended), []);
        // The call back ends without the PIN.
        drop(back);
        stage.now += Duration::from_secs(7200);
        assert_eq!(noted(&mut stage), "call back: 600123456");
        drop(called(&mut stage));
        assert_eq!(
            noted(&mut stage),
            "no call back: rests 2 min more without the PIN"
        );
    }

    #[test]
    fn who_is_locked_out_is_not_called_back() {
        let mut stage = stage();
        let pins = stage.house.features.pins();
        let patience = crate::feature::Patience {
            caller: 3,
            way: u32::MAX,
            door: 5,
            window: Duration::from_secs(3600),
        };
        for _ in 0..10 {
            pins.wrong("disa", "600123456", stage.now, patience);
        }
        assert_eq!(
            noted(&mut stage),
            "no call back: locked out after wrong PINs"
        );
        assert_eq!(stage.tell(Event::Ended), []);
    }
}
