//! Stands between two sides that cannot talk directly: the call goes on to whom it was for,
//! with every codec that we know offered, and both hear each other through the studio. So do those
//! whose call is recorded (`taping`), or who may be transferred by us.

use super::program::{Account, Event, Led, Opening, Program, Reach, Scene};
use crate::config::RingBack;
use crate::media::Task;
use std::time::Duration;

/// How long the far side may ring: as long as the proxy lets it (timer C is shorter).
const RING: Duration = Duration::from_secs(300);

/// Two that were joined otherwise stay so until one hangs up.
#[derive(Debug)]
pub(super) struct Stay;

impl Program for Stay {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        if event == Event::Parted {
            scene.hang_up();
        }
    }
}

/// The number of its own sound.
const RING_BACK: u32 = 0;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Bridge {
    /// Whom the call is for: a SIP URI.
    to: Box<str>,
    /// The user who sends the call on, if it goes where the caller may not.
    by: Option<Box<str>>,
    /// What the caller hears while a phone rings; without, the tone that its own phone makes.
    ring_back: Option<RingBack>,
    /// Whether it hears that.
    rings: bool,
    /// Header lines for whom it calls.
    headers: Vec<(Box<str>, Box<str>)>,
    /// Where the caller is led if what it calls leads to a service of ours.
    led: Led,
}

impl Bridge {
    pub fn new(
        (to, by): (Box<str>, Option<Box<str>>),
        ring_back: Option<RingBack>,
        headers: Vec<(Box<str>, Box<str>)>,
        led: Led,
    ) -> Self {
        Self {
            to,
            by,
            ring_back,
            rings: false,
            headers,
            led,
        }
    }

    /// A phone rings. The sound needs the caller's media, and thus a 183 instead of a 180.
    fn ring(&mut self, scene: &mut Scene<'_>) {
        let Some(sound) = &self.ring_back else {
            return scene.ring();
        };
        if std::mem::replace(&mut self.rings, true) {
            return;
        }
        let sound = scene.voice.ringing(Some(sound));
        scene.early();
        let what = Task::Play {
            sounds: vec![sound],
            rounds: None,
            until_key: false,
        };
        scene.order(RING_BACK, what);
    }
}

impl Program for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn opening(&self) -> Opening {
        Opening::Wait
    }

    fn is_one_call(&self) -> bool {
        true
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => scene.connect(Reach {
                to: self.to.clone(),
                account: self.by.take().map_or(Account::Caller, Account::SentOn),
                caller_id: None,
                ring: RING,
                headers: std::mem::take(&mut self.headers),
                led: self.led,
            }),
            Event::Ringing => self.ring(scene),
            Event::Heard => scene.early(),
            Event::Joined => scene.answer(),
            Event::Refused(status) => scene.fail(status),
            Event::Parted => scene.hang_up(),
            Event::Done(_)
            | Event::Key(_)
            | Event::Measured(_)
            | Event::Talking(_)
            | Event::Told(_)
            | Event::Held(_)
            | Event::Referred(_)
            | Event::Recorded { .. }
            | Event::Filed { .. }
            | Event::Due(_)
            | Event::Left(_)
            | Event::Led
            | Event::Ended => {}
        }
    }
}
