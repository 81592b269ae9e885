//! Which program a call came here for.

use super::announce::{Announce, Confirm};
use super::echo::Echo;
use super::program::{Program, parameter};
use crate::config::Service;
use crate::wire::sip::{Message, Uri};

/// The program that a Request-URI names, as the proxy wrote it.
pub(super) fn program_of(invite: &Message) -> Option<Box<dyn Program>> {
    let uri = Uri::parse(invite.request_uri()).ok()?;
    match uri.user()? {
        b"announce" => {
            let status = parameter(&uri, "cause")?.parse().ok()?;
            (400..700).contains(&status).then_some(())?;
            Some(Box::new(Announce { status }))
        }
        b"confirm" => {
            let prompts = parameter(&uri, "play")?.into();
            Some(Box::new(Confirm { prompts }))
        }
        name => match Service::named(std::str::from_utf8(name).ok()?)? {
            Service::Echo => Some(Box::<Echo>::default()),
        },
    }
}
