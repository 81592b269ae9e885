//! Agents log in at queues and leave them, by code: `*45` for all that the user may, with the
//! number or name of one behind it for that one.

use super::program::{Event, Program, Scene};
use super::queue::may_log_in;
use crate::feature::Change;
use crate::store::Record;

/// See the module's text.
#[derive(Debug)]
pub(super) struct QueueLogin {
    /// What was dialled behind the code.
    pub queue: Option<Box<str>>,
}

impl QueueLogin {
    /// The queues that are meant and allowed.
    fn queues(&self, scene: &Scene<'_>, aor: &str) -> Vec<Box<str>> {
        let domain = scene.config.node.default_domain();
        let meant = |queue: &crate::config::Queue| {
            self.queue
                .as_ref()
                .is_none_or(|wanted| queue.name == *wanted || queue.numbers.contains(wanted))
        };
        let queues = scene.config.queues.iter();
        let queues = queues.filter(|queue| meant(queue) && may_log_in(queue, aor, domain));
        queues.map(|queue| queue.name.clone()).collect()
    }

    /// Says what became of it.
    fn toggle(&self, scene: &mut Scene<'_>) -> &'static str {
        let Some(aor) = scene.caller.user.clone() else {
            return "call-not-allowed";
        };
        let queues = self.queues(scene, &aor);
        if queues.is_empty() {
            return "call-not-allowed";
        }
        let features = scene.house.features;
        let settings = features.settings(&aor).unwrap_or_default();
        // Whoever is logged in at one of several leaves them all.
        let on = !queues.iter().any(|queue| settings.queues.contains(queue));
        for queue in queues {
            match features.change(&aor, &Change::Queue(queue, on)) {
                Ok(record) => scene.persist(Record::PutFeatures(Box::new(record))),
                Err(refusal) => {
                    tracing::warn!(agent = %aor, %refusal, "an agent could not log in");
                    return "not-accepted";
                }
            }
        }
        if on {
            "agent-loginok"
        } else {
            "agent-loggedoff"
        }
    }
}

impl Program for QueueLogin {
    fn name(&self) -> &'static str {
        "queue_login"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => {
                let said = self.toggle(scene);
                let voice = scene.voice;
                scene.play(
                    0,
                    vec![voice.pause(), voice.prompt(said), voice.pause()],
                    false,
                );
            }
            Event::Done(_) => scene.hang_up(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Effect;
    use super::super::stage::{Stage, spoken};
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    const TEXT: &str = "[node]\ndomains = [\"example.com\"]\n\
        [[queue]]\nname = \"support\"\nnumbers = \"650\"\nlogins = [\"*\"]\n\
        [[queue]]\nname = \"sales\"\nlogins = [\"201\"]\n\
        [[queue]]\nname = \"closed\"\nagents = [\"201\"]\n";

    fn stage(user: Option<&str>, queue: Option<&str>) -> Stage<QueueLogin> {
        let mut stage = Stage::new(QueueLogin {
            queue: queue.map(Box::from),
        });
        stage.config = Config::parse(TEXT, Path::new("voip.toml")).unwrap();
        stage.caller.user = user.map(Box::from);
        stage
    }

    fn kept(effects: &[Effect]) -> usize {
        let kept = |e: &&Effect| matches!(e, Effect::Persist(Record::PutFeatures(_)));
        effects.iter().filter(kept).count()
    }

    #[test]
    fn a_code_logs_in_and_out_and_is_kept() {
        let mut stage = stage(Some("201@example.com"), None);
        let features = |stage: &Stage<QueueLogin>, queue| stage.house.features.agents(queue, &[]);
        let effects = stage.tell(Event::Begin);
        assert_eq!(
            (spoken(&effects), kept(&effects)),
            (vec!["agent-loginok"], 2)
        );
        assert_eq!(features(&stage, "support"), ["201@example.com".into()]);
        assert_eq!(features(&stage, "sales"), ["201@example.com".into()]);
        assert_eq!(features(&stage, "closed"), []);
        assert_eq!(stage.tell(Event::Done(0)), [Effect::HangUp]);
        let effects = stage.tell(Event::Begin);
        assert_eq!(
            (spoken(&effects), kept(&effects)),
            (vec!["agent-loggedoff"], 2)
        );
        assert_eq!(features(&stage, "support"), []);
    }

    #[test]
    fn one_queue_is_meant_by_number_or_name_and_must_be_allowed() {
        for (user, queue, said) in [
            (Some("202@example.com"), "650", "agent-loginok"),
            (Some("202@example.com"), "support", "agent-loginok"),
            (Some("202@example.com"), "sales", "call-not-allowed"),
            (Some("201@example.com"), "closed", "call-not-allowed"),
            (None, "650", "call-not-allowed"),
        ] {
            let mut stage = stage(user, Some(queue));
            assert_eq!(
                spoken(&stage.tell(Event::Begin)),
                [said],
                "{user:?} {queue}"
            );
        }
    }
}
