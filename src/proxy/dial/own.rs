//! Numbers that something of ours answers, before any route is asked: codes of services, slots of
//! the parking lot, numbers of paging groups, rooms, menus and queues.

use crate::config::{Conference, Config, Page, Queue, Service};
use crate::plan::{Plan, Target};
use std::fmt;

/// What answers a number.
#[derive(Clone, Copy, Debug)]
pub enum Own<'a> {
    /// The login of an agent at the queue of this number or name.
    QueueLogin(&'a str),
    /// A service, by its code.
    Service(Service),
    /// A slot of the parking lot.
    Slot(&'a str),
    /// A paging group.
    Page(&'a Page),
    /// A room.
    Room(&'a Conference),
    /// A menu, a queue, or double dialling.
    Named(&'a Target),
}

/// Who dials.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Somebody of the house: rooms, slots and pages are for those. Trunks and strangers get to
    /// rooms by a route alone.
    pub house: bool,
    /// A stranger, for whom no service is.
    pub guest: bool,
    /// Somebody of the house has sent the call here (Referred-By, RFC 3892).
    pub referred: bool,
}

impl<'a> Own<'a> {
    /// What answers a number for such a caller. `is_anothers` tells whether a slot's number leads
    /// elsewhere: to the user whose extension it is or, as long as nobody waits there, by a route.
    /// Slots are there unasked, and take nothing from a house that has other plans for 701.
    pub fn find(
        (config, plan): (&'a Config, &'a Plan),
        who: Standing,
        number: &'a str,
        is_anothers: impl FnOnce(&str) -> bool,
    ) -> Option<Self> {
        if let Some(queue) = login(config, number).filter(|_| !who.guest) {
            return Some(Own::QueueLogin(queue));
        }
        let coded = config.services.dialled(number);
        let coded = coded.filter(|service| match service {
            Service::Conference => who.house,
            // From outside somebody of the house must have referred the call here.
            Service::Park => who.house || !who.guest && who.referred,
            _ => !who.guest,
        });
        if let Some(service) = coded {
            return Some(Own::Service(service));
        }
        if who.house {
            let parks = !config.services.code(Service::Park).is_empty();
            if parks && config.parking.is_slot(number) && !is_anothers(number) {
                return Some(Own::Slot(number));
            }
            let page = config.page_dialled(number).map(Own::Page);
            let found = page.or_else(|| config.conference_dialled(number).map(Own::Room));
            if found.is_some() {
                return found;
            }
        }
        let named = plan.answers(number)?;
        (!who.guest || !matches!(named, Target::Service(_))).then_some(Own::Named(named))
    }
}

/// As a route would name it.
impl fmt::Display for Own<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Own::QueueLogin(queue) => write!(f, "{}:{queue}", Service::QueueLogin.name()),
            Own::Service(service) => write!(f, "service:{}", service.name()),
            Own::Slot(slot) => write!(f, "slot:{slot}"),
            Own::Page(page) => write!(f, "page:{}", page.name),
            Own::Room(room) => write!(f, "conference:{}", room.name),
            Own::Named(target) => target.fmt(f),
        }
    }
}

/// The queue that an agent dials behind the code for it, by number or name.
fn login<'n>(config: &Config, number: &'n str) -> Option<&'n str> {
    let code = Some(config.services.code(Service::QueueLogin)).filter(|code| !code.is_empty());
    let dialled = number.strip_prefix(code?)?;
    let dialled = dialled.strip_prefix('*').unwrap_or(dialled);
    let is_it =
        |queue: &Queue| *queue.name == *dialled || queue.numbers.iter().any(|n| **n == *dialled);
    config.queues.iter().any(is_it).then_some(dialled)
}
