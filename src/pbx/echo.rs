//! The echo test: says back what it hears; on `#` tells what became of it on the way.

use super::program::{Event, Program, Scene};
use crate::media::say::Gender;
use crate::media::{Figures, Task};

/// The introduction, which any key cuts short; the echo, until `#`; what was measured.
const INTRODUCTION: u32 = 0;
const ECHO: u32 = 1;
const RESULT: u32 = 2;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Echo {
    task: u32,
}

impl Program for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match (self.task, event) {
            (_, Event::Begin) => {
                let voice = scene.voice;
                let words = vec![voice.pause(), voice.prompt("demo-echotest"), voice.beep()];
                scene.play(INTRODUCTION, words, true);
            }
            (INTRODUCTION, Event::Done(_)) => {
                self.task = ECHO;
                scene.order(ECHO, Task::Echo);
            }
            (ECHO, Event::Key('#')) => scene.measure(),
            (ECHO, Event::Measured(figures)) => {
                self.task = RESULT;
                tell(scene, figures);
            }
            (RESULT, Event::Done(_)) => scene.hang_up(),
            _ => {}
        }
    }
}

fn tell(scene: &mut Scene<'_>, figures: Figures) {
    let voice = scene.voice;
    let delay = figures.round_trip_ms.map(|ms| ("echo-delay", ms));
    let told = [
        ("echo-loss", figures.lost_permille),
        ("echo-jitter", figures.jitter_ms),
    ];
    let mut words = vec![voice.pause()];
    for (name, figure) in told.into_iter().chain(delay) {
        words.push(voice.prompt(name));
        words.extend(voice.number(figure.into(), Gender::Alone));
        words.push(voice.pause());
    }
    words.push(voice.prompt("demo-echodone"));
    scene.play(RESULT, words, false);
}

#[cfg(test)]
mod tests {
    use super::super::program::Effect;
    use super::super::stage::{Stage, spoken};
    use super::*;

    #[test]
    fn an_echo_test_is_introduced_measured_and_ended() {
        let mut stage = Stage::new(Echo::default());
        let effects = stage.tell(Event::Begin);
        assert_eq!(spoken(&effects), ["demo-echotest"]);
        assert_eq!(stage.tell(Event::Done(0)), [Effect::Do(ECHO, Task::Echo)]);
        assert_eq!(stage.tell(Event::Key('5')), []);
        assert_eq!(stage.tell(Event::Key('#')), [Effect::Measure]);
        let told = stage.tell(Event::Measured(Figures {
            lost_permille: 21,
            jitter_ms: 3,
            round_trip_ms: None,
        }));
        assert_eq!(
            spoken(&told),
            [
                "echo-loss",
                "digits/21",
                "echo-jitter",
                "digits/3",
                "demo-echodone"
            ]
        );
        assert_eq!(stage.tell(Event::Done(2)), [Effect::HangUp]);
    }
}
