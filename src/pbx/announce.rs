//! What is said about a call: why it fails, as early media before it does; that something was done.

use super::program::{Event, Opening, Program, Scene};
use crate::media::tone::Tone;

/// How long the tone before an announcement sounds, in milliseconds: the special information tone
/// once, congestion a few times.
const TONE_MS: u32 = 1_000;
/// Prompts that one confirmation may have.
const CONFIRMED_MAX: usize = 4;

/// To hear why a call fails, before it fails in this status.
#[derive(Debug)]
pub(super) struct Announce {
    pub status: u16,
}

/// To hear that something was done: the prompts that say so, joined by `+`.
#[derive(Debug)]
pub(super) struct Confirm {
    pub prompts: Box<str>,
}

impl Program for Announce {
    fn name(&self) -> &'static str {
        "announce"
    }

    fn opening(&self) -> Opening {
        Opening::Early
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => {
                let voice = scene.voice;
                let (tone, names) = announcement(self.status);
                let mut words = vec![
                    voice.pause(),
                    voice.tone(tone, Some(TONE_MS)),
                    voice.pause(),
                ];
                words.extend(voice.prompts(names));
                scene.play(0, words, false);
            }
            Event::Done(_) => scene.fail(self.status),
            _ => {}
        }
    }
}

impl Program for Confirm {
    fn name(&self) -> &'static str {
        "confirm"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => {
                let voice = scene.voice;
                let names = self.prompts.split('+').take(CONFIRMED_MAX);
                let mut words = vec![voice.pause(), voice.tone(Tone::Confirm, None)];
                words.extend(voice.prompts(names));
                words.push(voice.pause());
                scene.play(0, words, false);
            }
            Event::Done(_) => scene.hang_up(),
            _ => {}
        }
    }
}

/// The tone and the prompts of a status. A number that is none gets the special information tone
/// (ITU-T E.180 §7), a way that is closed the congestion tone.
fn announcement(status: u16) -> (Tone, &'static [&'static str]) {
    match status {
        403 => (Tone::SpecialInformation, &["call-not-allowed"]),
        404 | 410 | 484 | 604 => (Tone::SpecialInformation, &["ss-noservice"]),
        408 => (Tone::SpecialInformation, &["number-not-answering"]),
        480 => (Tone::SpecialInformation, &["call-unavailable"]),
        _ => (
            Tone::Congestion,
            &["all-circuits-busy-now", "please-try-call-later"],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Effect;
    use super::super::stage::{Stage, spoken};
    use super::*;

    #[test]
    fn every_status_is_said_and_then_told() {
        for status in 400..700 {
            let mut stage = Stage::new(Announce { status });
            assert!(!spoken(&stage.tell(Event::Begin)).is_empty(), "{status}");
            assert_eq!(stage.tell(Event::Key('1')), []);
            assert_eq!(stage.tell(Event::Done(0)), [Effect::Fail(status)]);
        }
    }

    #[test]
    fn a_confirmation_ends_the_call() {
        let prompts = "do-not-disturb+activated".into();
        let mut stage = Stage::new(Confirm { prompts });
        let said = stage.tell(Event::Begin);
        assert_eq!(spoken(&said), ["do-not-disturb", "activated"]);
        assert_eq!(stage.tell(Event::Done(0)), [Effect::HangUp]);
    }
}
