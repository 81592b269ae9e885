//! Double dialling by a call back, `[disa] call_back`: whoever calls from a number of that list is
//! refused as busy, so that the call costs nothing, and called at that number a moment later. There
//! the PIN is asked for, as ever: a caller's number can be forged, and then somebody's phone rings
//! who knows of nothing, once a minute at most.

use super::disa::{Disa, account, is_locked};
use super::program::{Account, Caller, Event, Opening, Program, Reach, Scene};
use crate::config::{Config, Disa as Rules};
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
    /// Whether it is called at all.
    calls: bool,
}

impl CallBack {
    /// The number of the list that a caller shows, in whatever form.
    pub fn listed<'a>(config: &'a Config, caller: &str) -> Option<&'a str> {
        let list = &config.disa.call_back;
        if list.is_empty() || caller.is_empty() {
            return None;
        }
        let rules = NumberRules::new(config);
        let whole = rules.e164(caller);
        let mut list = list.iter().map(|number| &**number);
        list.find(|number| *number == caller || whole.is_some() && rules.e164(number) == whole)
    }

    pub fn new(rules: &Rules, number: &str) -> Self {
        Self {
            rules: rules.clone(),
            number: number.into(),
            calls: false,
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        // A listed number is outside: phones of ours dial the code.
        let outside = scene.caller.user.is_none();
        let calls = scene.house.features.call_backs();
        self.calls =
            outside && !is_locked(scene, &self.number) && calls.begin(&self.number, scene.now);
        match self.calls {
            true => scene.note(&format!("call back: {}", self.number)),
            false => scene.note("call back: not now"),
        }
        scene.fail(486);
    }

    fn call(&self, scene: &mut Scene<'_>) {
        let account = account(&self.rules, scene);
        let own = account.split('@').next().unwrap_or_default().into();
        let Some(disa) = Disa::new(&self.rules) else {
            return;
        };
        let reach = Reach {
            to: self.number.clone(),
            caller_id: Some((own, "".into())),
            account: Account::User(account),
            ring: RING,
            headers: Vec::new(),
        };
        let caller = Caller {
            number: self.number.clone(),
            ..Caller::default()
        };
        tracing::info!(number = %self.number, "calls back for double dialling");
        scene.call_back(reach, caller, Box::new(disa));
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
            Event::Ended if self.calls => scene.after(WAIT, CALL),
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

    fn stage() -> Stage<CallBack> {
        let config = config();
        let mut stage = Stage::new(CallBack::new(&config.disa, "600123456"));
        stage.config = config;
        stage.caller.number = "+34600123456".into();
        stage
    }

    #[test]
    fn a_number_is_known_in_each_of_its_forms() {
        let config = config();
        let listed = |number| CallBack::listed(&config, number);
        for form in ["600123456", "+34600123456", "0034600123456"] {
            assert_eq!(listed(form), Some("600123456"), "{form}");
        }
        assert_eq!(listed("+4930123456"), Some("+4930123456"));
        for other in ["", "600123457", "123456", "+34915550100"] {
            assert_eq!(listed(other), None, "{other}");
        }
    }

    #[test]
    fn a_caller_is_refused_and_called_back_once_a_minute() {
        let mut stage = stage();
        let effects = stage.tell(Event::Begin);
        assert!(effects.contains(&Effect::Fail(486)), "{effects:?}");
        assert_eq!(stage.tell(Event::Ended), [Effect::After(WAIT, CALL)]);
        let effects = stage.tell(Event::Due(CALL));
        let [Effect::CallBack(back), Effect::After(KEPT, END)] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(&*back.reach.to, "600123456");
        assert_eq!(back.reach.account, Account::User("100@example.com".into()));
        assert_eq!(&*back.caller.number, "600123456");
        assert_eq!(stage.tell(Event::Due(END)), []);
        // It calls again at once.
        stage.program = CallBack::new(&stage.config.disa, "600123456");
        assert!(stage.tell(Event::Begin).contains(&Effect::Fail(486)));
        assert_eq!(stage.tell(Event::Ended), []);
    }

    #[test]
    fn phones_of_ours_are_not_called_back() {
        let mut stage = stage();
        stage.caller.user = Some("201@example.com".into());
        assert!(stage.tell(Event::Begin).contains(&Effect::Fail(486)));
        assert_eq!(stage.tell(Event::Ended), []);
    }
}
