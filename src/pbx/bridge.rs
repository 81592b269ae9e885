//! Stands between two sides that cannot talk directly: the call goes on to whom it was for,
//! with every codec that we know offered, and both hear each other through the studio.

use super::program::{Account, Event, Opening, Program, Reach, Scene};
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

/// See the module's text.
#[derive(Debug)]
pub(super) struct Bridge {
    /// Whom the call is for: a SIP URI.
    pub to: Box<str>,
}

impl Program for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn opening(&self) -> Opening {
        Opening::Wait
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => scene.connect(Reach {
                to: self.to.clone(),
                account: Account::Caller,
                caller_id: None,
                ring: RING,
                headers: Vec::new(),
            }),
            Event::Ringing => scene.ring(),
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
            | Event::Ended => {}
        }
    }
}
