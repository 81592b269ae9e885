//! Which program a call came here for.

use super::announce::{Announce, Confirm};
use super::bridge::Bridge;
use super::conference::Conference;
use super::echo::Echo;
use super::program::{Program, parameter};
use crate::call::inside;
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
        b"bridge" => {
            let to = inside::unescape(parameter(&uri, "to")?)?.into();
            Some(Box::new(Bridge { to }))
        }
        name => match Service::named(std::str::from_utf8(name).ok()?)? {
            Service::Echo => Some(Box::<Echo>::default()),
            Service::Conference => Some(Box::new(Conference::new(parameter(&uri, "room")))),
        },
    }
}
