//! F3: the number plan. Compiles `[[route]]` with `[numbers]` and `[[group]]`, and decides where a
//! dialled number leads, and why. Pure: who asks brings the time.
//!
//! The first route that matches decides. Its place is not found by trying one after the other: the
//! routes stand in one index of patterns for each source that they name, and only those are asked
//! for more than the number that could come before the best so far.

mod compile;
mod decide;
mod explain;
mod number;
mod rule;
#[cfg(test)]
mod tests;
mod time;

pub use compile::Plan;
pub use explain::{EXPLAINED_MAX, Explained, Verdict};
pub use number::{NumberRules, dialled};
pub use time::{is_open, local_time, moment};

use crate::config::{Class, FailureKind, Service};
use crate::wire::sip::Method;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The user part of the Request-URI, unescaped, without visual separators.
    pub number: &'a str,
    /// Who calls.
    pub source: Source<'a>,
    /// The caller's own number: the user of its identity.
    pub caller: &'a str,
    /// The source address.
    pub address: IpAddr,
    /// The method.
    pub method: Method<'a>,
    /// Milliseconds since 1970, UTC.
    pub unix_ms: u64,
}

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source<'a> {
    /// One of our users, as `name@domain`.
    User(&'a str),
    /// A trunk, by its name.
    Trunk(&'a str),
    /// A member of a pool, by the pool's name.
    Pool(&'a str),
    /// The operator, who wrote the number into the file.
    Operator,
    /// Anybody else: a trusted peer, or a guest.
    Other,
}

/// Where a number leads.
#[derive(Clone, PartialEq, Debug)]
pub enum Decision {
    /// No route matches: it is a user of ours, or nobody.
    None,
    /// It must not pass.
    Refuse {
        /// The status.
        status: u16,
        /// Says why.
        reason: &'static str,
        /// The route that refuses it; `None` if none of them is to blame alone.
        route: Option<Arc<str>>,
    },
    /// It goes there.
    Go(Box<Way>),
}

/// A way out.
#[derive(Clone, PartialEq, Debug)]
pub struct Way {
    /// The route's name.
    pub route: Arc<str>,
    /// The number after the route's edits.
    pub number: Box<str>,
    /// In E.164 without the plus, if `[numbers]` lets it be known.
    pub e164: Option<Box<str>>,
    /// What it is.
    pub class: Option<Class>,
    /// Whether it is an emergency number: no limit holds it up.
    pub emergency: bool,
    /// What becomes of the caller's identity.
    pub caller: CallerEdit,
    /// Headers for what leaves.
    pub add_headers: Arc<[(Box<str>, Box<str>)]>,
    /// Headers not for what leaves.
    pub remove_headers: Arc<[Box<str>]>,
    /// In order.
    pub steps: SmallVec<[Step; 2]>,
    /// Whether the caller is sent there by a 302 instead.
    pub redirect: bool,
    /// Whether the call is recorded.
    pub record: bool,
}

impl Way {
    /// Straight to somewhere, without a route.
    fn straight(number: &str, target: Target) -> Self {
        let step = Step {
            targets: SmallVec::from_iter([target]),
            ring: Duration::ZERO,
            next_on: Arc::from([]),
            instead: None,
        };
        Self {
            route: Arc::from(""),
            number: number.into(),
            e164: None,
            class: None,
            emergency: false,
            caller: CallerEdit::default(),
            add_headers: Arc::from([]),
            remove_headers: Arc::from([]),
            steps: SmallVec::from_iter([step]),
            redirect: false,
            record: false,
        }
    }

    /// To users, `name@domain`, together.
    pub fn to_users(users: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut way = Self::straight("", Target::Uri("".into()));
        for step in &mut way.steps {
            step.targets.clear();
        }
        let users = users.into_iter().map(Target::User);
        if let Some(step) = way.steps.first_mut() {
            step.targets.extend(users);
        }
        way
    }

    /// To a group that a number of its own calls.
    pub fn to_group(group: &str, number: &str) -> Self {
        Self::straight(number, Target::Group(group.into()))
    }

    /// To a URI that a user forwards to.
    pub fn to_uri(uri: &str) -> Self {
        Self::straight("", Target::Uri(uri.into()))
    }
}

/// What becomes of the caller's identity.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallerEdit {
    /// The number instead.
    pub number: Option<Box<str>>,
    /// The name instead.
    pub name: Option<Box<str>>,
    /// Whether it is withheld.
    pub anonymous: bool,
}

/// Targets that ring together.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Who.
    pub targets: SmallVec<[Target; 2]>,
    /// How long, unless it is the last.
    pub ring: Duration,
    /// What lets the next step begin.
    pub next_on: Arc<[FailureKind]>,
    /// The number of these targets, where `number:` led to another route in the middle of the way;
    /// [`Way::number`] without.
    pub instead: Option<Box<Number>>,
}

/// A number that leaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Number {
    /// As the route made it.
    pub text: Box<str>,
    /// In E.164 without the plus, if `[numbers]` lets it be known.
    pub e164: Option<Box<str>>,
}

/// One target; the names are those of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A user, as `name@domain`.
    User(Box<str>),
    /// A group.
    Group(Box<str>),
    /// A room.
    Conference(Box<str>),
    /// A trunk.
    Trunk(Box<str>),
    /// A pool.
    Pool(Box<str>),
    /// A service of ours.
    Service(Service),
    /// A menu.
    Menu(Box<str>),
    /// A queue.
    Queue(Box<str>),
    /// A line.
    Line(Box<str>),
    /// A URI, whole.
    Uri(Box<str>),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::User(name) => write!(f, "user:{name}"),
            Target::Group(name) => write!(f, "group:{name}"),
            Target::Conference(name) => write!(f, "conference:{name}"),
            Target::Trunk(name) => write!(f, "trunk:{name}"),
            Target::Pool(name) => write!(f, "pool:{name}"),
            Target::Service(service) => write!(f, "service:{}", service.name()),
            Target::Menu(name) => write!(f, "menu:{name}"),
            Target::Queue(name) => write!(f, "queue:{name}"),
            Target::Line(name) => write!(f, "e1:{name}"),
            Target::Uri(uri) => f.write_str(uri),
        }
    }
}

impl Step {
    /// Whether a failure of this step lets the next one begin. `timeout` says that it rang too
    /// long, or that nothing was heard.
    pub fn goes_on(&self, status: u16, timeout: bool) -> bool {
        self.next_on.iter().any(|kind| match *kind {
            FailureKind::Timeout => timeout,
            FailureKind::Status(wanted) => wanted == status,
            FailureKind::Class(class) => u16::from(class) == status / 100,
        })
    }
}
