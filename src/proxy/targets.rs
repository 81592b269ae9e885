//! From the Request-URI to targets (RFC 3261 §16.5): who is registered, in which order to ask, and
//! which flows of one phone stand for each other (RFC 5626 §7).

use super::dial::Marks;
use super::egress::Out;
use super::privacy::Reader;
use crate::base::{Destination, Key, Transport};
use crate::location::{Binding, Reach};
use crate::plan::Step;
use crate::wire::sip::Uri;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where a target is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Where Request-URI and Route say, or the token of our own Route.
    AsRequested,
    /// At a phone that registered here.
    Binding(Arc<Binding>),
    /// Where a route leads: a trunk, a member of a pool, a URI.
    Out(Arc<Out>),
    /// A service of our own; its URI.
    Service(Arc<[u8]>),
}

/// How far the search for addresses of the next hop went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Search {
    /// Nothing was looked for yet.
    Fresh,
    /// The flow was tried; the contact's own address is left.
    FlowTried,
    /// What was found stands in the destinations.
    Over,
}

/// One target, with what is left to try for it.
#[derive(Debug)]
pub(super) struct Target {
    /// Where it is.
    pub place: Place,
    /// Those of the same rank are asked at once, those of the highest first: see [`rank`].
    pub rank: u32,
    /// The step of the route that led here.
    pub step: Option<Arc<Step>>,
    /// Whether any failure lets the next target of the same step try: phones and members of groups
    /// do, members of a pool only where the step says so.
    pub hunts: bool,
    /// What it tells of forwardings.
    pub marks: Option<Arc<Marks>>,
    /// The border that it is behind, once the request went there.
    pub border: Option<Key>,
    /// Other flows of the same phone, the next one last.
    pub spare: Vec<Arc<Binding>>,
    /// Addresses of the next hop that were not tried yet (RFC 3263 §4.3).
    pub destinations: VecDeque<Destination>,
    /// Where the request went last.
    pub current: Option<Destination>,
    /// How far the search went.
    pub search: Search,
    /// Whether the body that went there was ours.
    pub relayed: bool,
    /// Its share of the breadth (RFC 5393 §5.3.3).
    pub breadth: u16,
    /// Whether a request too big for UDP was tried over TCP.
    pub tried_tcp: bool,
    /// Whether it is a phone that picks up the call, whose failure changes nothing.
    pub picks_up: bool,
}

impl Target {
    /// A target with nothing tried yet.
    pub fn new(place: Place, rank: u32) -> Self {
        Self {
            place,
            rank,
            step: None,
            hunts: true,
            marks: None,
            border: None,
            spare: Vec::new(),
            destinations: VecDeque::new(),
            current: None,
            search: Search::Fresh,
            relayed: false,
            breadth: 1,
            tried_tcp: false,
            picks_up: false,
        }
    }

    /// Its preference among those of its step, in thousandths.
    pub fn q(&self) -> u16 {
        u16::try_from(self.rank & ((1 << RANK_Q_BITS) - 1)).unwrap_or(0)
    }

    /// The binding that is being tried.
    pub fn binding(&self) -> Option<&Arc<Binding>> {
        match &self.place {
            Place::Binding(binding) => Some(binding),
            Place::AsRequested | Place::Out(_) | Place::Service(_) => None,
        }
    }

    /// Where a route leads, if that is what is being tried.
    pub fn out(&self) -> Option<&Arc<Out>> {
        match &self.place {
            Place::Out(out) => Some(out),
            Place::AsRequested | Place::Binding(_) | Place::Service(_) => None,
        }
    }

    /// The URI of the service that is being tried.
    pub fn service(&self) -> Option<&Arc<[u8]>> {
        match &self.place {
            Place::Service(uri) => Some(uri),
            Place::AsRequested | Place::Binding(_) | Place::Out(_) => None,
        }
    }

    /// How the call's record names it, where it is neither a phone nor what was asked for.
    pub fn way_out(&self) -> Box<str> {
        match &self.place {
            Place::Out(out) => out.label(),
            Place::Service(uri) => {
                let user = String::from_utf8_lossy(service_name(uri));
                let uri = Uri::parse(uri).ok();
                // A menu or a queue.
                match uri.as_ref().and_then(|uri| uri.param("name")).flatten() {
                    Some(name) => format!("{user}:{}", String::from_utf8_lossy(name)).into(),
                    None => format!("service:{user}").into(),
                }
            }
            Place::AsRequested | Place::Binding(_) => "".into(),
        }
    }

    /// Whether what it asserts is believed (RFC 3325).
    pub fn is_believed(&self) -> bool {
        self.out().is_some_and(|out| out.reader == Reader::Trusted)
    }

    /// The same target by the addresses that were not tried yet, as a branch of its own.
    pub fn take_rest(&mut self) -> Option<Self> {
        if self.destinations.is_empty() {
            return None;
        }
        let mut rest = Self::new(self.place.clone(), self.rank);
        rest.step = self.step.clone();
        rest.hunts = self.hunts;
        rest.marks = self.marks.clone();
        rest.destinations = std::mem::take(&mut self.destinations);
        rest.search = Search::Over;
        rest.breadth = self.breadth;
        Some(rest)
    }

    /// Whether its reader is known to sit behind a NAT.
    pub fn behind_nat(&self) -> bool {
        self.binding().is_some_and(|b| b.behind_nat())
    }

    /// Turns to the next flow of the same phone; `false` if there is none.
    pub fn next_flow(&mut self) -> bool {
        let Some(binding) = self.spare.pop() else {
            return false;
        };
        self.place = Place::Binding(binding);
        self.search = Search::Fresh;
        self.destinations.clear();
        true
    }
}

/// The name of a service, as its URI bears it.
pub(super) fn service_name(uri: &[u8]) -> &[u8] {
    let uri = Uri::parse(uri).ok();
    uri.and_then(|uri| uri.user()).unwrap_or_default()
}

/// The rank of a target with preference `q`, in thousandths, of the step behind which `later` more
/// steps follow.
pub(super) fn rank(later: usize, q: u16) -> u32 {
    let later = u32::try_from(later).unwrap_or(u32::MAX >> RANK_Q_BITS);
    (later << RANK_Q_BITS) | u32::from(q)
}

/// Whether two ranks are of the same step.
pub(super) fn same_step(a: u32, b: u32) -> bool {
    a >> RANK_Q_BITS == b >> RANK_Q_BITS
}

/// What a preference needs.
const RANK_Q_BITS: u32 = 10;

/// Whether a `sips` request may go along a binding: every hop from us on is TLS.
fn is_secure(binding: &Binding) -> bool {
    let transport = binding.flow().transport;
    match binding.reach() {
        Reach::Flow => transport.is_secure(),
        Reach::Contact => transport == Transport::Tls,
        Reach::Nowhere => false,
    }
}

/// Targets from bindings: the flows of one instance become one target, tried one after the other,
/// the newest first; at most `max` targets, the most preferred; ordered so that the next ones
/// stand last. `secure` keeps what cannot carry `sips`.
pub(super) fn from_bindings(
    bindings: impl IntoIterator<Item = Arc<Binding>>,
    secure: bool,
    max: usize,
) -> Vec<Target> {
    let mut usable: SmallVec<[Arc<Binding>; 4]> = bindings
        .into_iter()
        .filter(|b| b.is_reachable())
        .filter(|b| !secure || is_secure(b))
        .collect();
    if let (1, Some(only)) = (usable.len(), usable.first()) {
        let q = only.q();
        return vec![Target::new(Place::Binding(only.clone()), rank(0, q))];
    }
    // Newest first among equals, so that the first of an instance is the one to try first.
    usable.sort_by_key(|b| (std::cmp::Reverse(b.q()), std::cmp::Reverse(b.serial())));
    let mut targets: Vec<Target> = Vec::new();
    for binding in usable {
        let twin = targets.iter().position(|t| {
            t.binding().is_some_and(|other| {
                binding.is_outbound()
                    && other.is_outbound()
                    && other.instance() == binding.instance()
            })
        });
        if let Some(target) = twin.and_then(|at| targets.get_mut(at)) {
            target.spare.insert(0, binding);
        } else if targets.len() < max {
            let q = binding.q();
            targets.push(Target::new(Place::Binding(binding), rank(0, q)));
        }
    }
    targets.reverse();
    targets
}
