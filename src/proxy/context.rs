//! The response context (RFC 3261 §16.7): one request that came in, the branches it went out on,
//! and the best answer so far. Data and choices only; `forking` and `responses` act on it.

use super::dial::Forwarding;
use super::fraud;
use super::targets::{Place, Target, same_step};
use crate::base::{Flow, Instant, Key, TimerId};
use crate::call::CallKey;
use crate::feature;
use crate::peer::Ticket;
use crate::sip::locate::LocateId;
use crate::sip::transaction::{ClientKey, ServerKey, TransactionLayer};
use crate::wire::sip::{HeaderName, Message};
use smallvec::SmallVec;

/// Challenges of all branches that one 401 or 407 hands back (RFC 3261 §16.7 step 7).
const CHALLENGES_MAX: usize = 16;

/// On whose account a request goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    /// One of our users proved to be so; the address of record.
    User(Box<str>),
    /// A peer of `[sip] trusted`.
    Trusted,
    /// A trunk, by its name.
    Trunk(Box<str>),
    /// A member of a pool that is believed; the pool's name.
    Pool(Box<str>),
    /// A stranger, let in because the target is one of ours and `guests` allows it.
    Guest,
    /// A service of ours: what is outside is out of its reach.
    House,
    /// A service of ours, where the operator wrote the number.
    Operator,
    /// Whoever takes part in a dialog that came about through us.
    InDialog,
}

impl Caller {
    /// The user on whose account it goes.
    pub fn user(&self) -> Option<&str> {
        match self {
            Caller::User(aor) => Some(aor),
            Caller::Trusted
            | Caller::Trunk(_)
            | Caller::Pool(_)
            | Caller::Guest
            | Caller::House
            | Caller::Operator
            | Caller::InDialog => None,
        }
    }
}

/// What admission and §16.4 found out about the request; the same for all its branches.
#[derive(Debug)]
pub(super) struct Inbound {
    /// How it came.
    pub flow: Flow,
    /// On whose account.
    pub caller: Caller,
    /// The Request-URI after §16.4, where that is not the message's own.
    pub uri: Option<Box<[u8]>>,
    /// How many Route values at the top were ours.
    pub pops: usize,
    /// The Route set that replaces the message's, where a strict router stood before us.
    pub routes: Option<Vec<Box<[u8]>>>,
    /// What our Route's token says: the flow toward the other side.
    pub via_flow: Option<Flow>,
    /// To be written into the copies.
    pub max_forwards: u8,
    /// How many branches may be open at once (RFC 5393 §5).
    pub breadth: u16,
    /// Recognises the same request when it comes again (RFC 5393 §4.2).
    pub loop_hash: u64,
    /// Whether we stay on the dialog's path.
    pub record_route: bool,
    /// Whether a flow token must lead back to the caller.
    pub caller_flow: bool,
    /// Whether the source differs from what the caller believes its address to be.
    pub caller_nat: bool,
    /// The border that it came over.
    pub border: Option<Key>,
    /// What its call will hold: its place among the calls of the peer that it came from, and what
    /// it counts against.
    pub holds: Vec<Hold>,
}

/// Where a branch stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BranchState {
    /// Waits for the addresses of its next hop.
    Locating(LocateId),
    /// The request is out.
    Calling {
        /// Its transaction.
        client: ClientKey,
    },
    /// CANCEL is out or waits for a provisional response.
    Cancelling {
        /// Its transaction.
        client: ClientKey,
    },
    /// A 2xx came; it may be repeated, as others of its own fork may follow.
    Answered {
        /// Its transaction.
        client: ClientKey,
    },
    /// It has its final answer, or will get none.
    Done,
}

/// One way that the request went.
#[derive(Debug)]
pub(super) struct Branch {
    /// Where to.
    pub target: Target,
    /// How far it got.
    pub state: BranchState,
    /// Timer C, or after CANCEL the end of patience (RFC 3261 §9.1); INVITE only. Of a way out
    /// where nobody was heard, the time to try another.
    pub deadline: Instant,
    /// Whether nothing was heard of it yet.
    pub silent: bool,
    /// Whether there was nothing else to try when it had been silent for long.
    pub is_last_hope: bool,
    /// How often the far end's challenge was answered.
    pub challenges: u8,
    /// Its place among the calls of the peer that it went to.
    pub ticket: Option<Ticket>,
}

impl Branch {
    /// Whether an answer may still come.
    pub fn is_open(&self) -> bool {
        match self.state {
            BranchState::Locating(_)
            | BranchState::Calling { .. }
            | BranchState::Cancelling { .. } => true,
            BranchState::Answered { .. } | BranchState::Done => false,
        }
    }

    /// Its client transaction while that lives.
    pub fn client(&self) -> Option<ClientKey> {
        match self.state {
            BranchState::Calling { client }
            | BranchState::Cancelling { client }
            | BranchState::Answered { client } => Some(client),
            BranchState::Locating(_) | BranchState::Done => None,
        }
    }
}

/// What may still happen to the request as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Everything.
    Open {
        /// When the branches have rung long enough and the next group's turn comes.
        group_ends: Option<Instant>,
    },
    /// The caller gave up: no new branches, and 487 at the end.
    Cancelled,
    /// Somebody said 6xx: no new branches.
    Declined,
    /// A 2xx went upstream: more of them may follow until then (RFC 6026 §7.2).
    Answered {
        /// The end of the context.
        until: Instant,
    },
}

/// The best final answer so far.
#[derive(Debug, Default)]
pub(super) enum Best {
    /// None came.
    #[default]
    Nothing,
    /// Ours, for a branch that got none.
    Local(u16),
    /// A branch's.
    Received(Box<Message>),
    /// A service of ours, to which a service that calls leads its caller.
    Led(Box<Target>),
}

impl Best {
    /// Its status; zero for none.
    pub fn status(&self) -> u16 {
        match self {
            Best::Nothing => 0,
            Best::Local(status) => *status,
            Best::Received(message) => message.status(),
            Best::Led(_) => 302,
        }
    }
}

/// What a call holds as long as it lasts.
#[derive(Debug)]
pub(super) enum Hold {
    /// A place among the calls of a trunk or of a member of a pool.
    Peer(Ticket),
    /// A call on somebody's account.
    Account(fraud::Ticket),
    /// A call that counts against the limits of a trunk that it was sent to.
    Metered(fraud::Ticket),
    /// The user who makes it. Never looked at: it counts as long as it is there.
    Caller(#[expect(dead_code, reason = "its end is what counts")] feature::Engaged),
    /// The user who took it. Neither is this.
    Callee(#[expect(dead_code, reason = "its end is what counts")] feature::Engaged),
}

impl Hold {
    /// Whether it counts against that account.
    pub fn counts_for(&self, who: fraud::Who<'_>) -> bool {
        match self {
            Hold::Account(ticket) | Hold::Metered(ticket) => ticket.is_of(who),
            Hold::Peer(_) | Hold::Caller(_) | Hold::Callee(_) => false,
        }
    }

    /// Whether it stays once somebody answered there: of the trunks that were tried, one did.
    pub fn stays_at(&self, place: &Place) -> bool {
        match (self, place) {
            (Hold::Metered(ticket), Place::Out(out)) => {
                ticket.is_of(fraud::Who::Trunk(out.peer.name()))
            }
            // What is said within a call changes nothing of it.
            (Hold::Metered(_), Place::AsRequested) => true,
            (Hold::Metered(_), Place::Binding(_) | Place::Service(_)) => false,
            (Hold::Peer(_) | Hold::Account(_) | Hold::Caller(_) | Hold::Callee(_), _) => true,
        }
    }

    /// Somebody answered.
    pub fn answered(&mut self, now: Instant) {
        match self {
            Hold::Peer(ticket) => ticket.answered(),
            Hold::Account(ticket) | Hold::Metered(ticket) => ticket.answered(now),
            Hold::Caller(_) | Hold::Callee(_) => {}
        }
    }
}

/// How the branches of the current step fared.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Outcome {
    /// Whether one failed in a way that lets the next step begin.
    pub goes_on: bool,
    /// Whether they rang as long as they may.
    pub timed_out: bool,
}

/// All about one proxied request.
#[derive(Debug)]
pub(super) struct ResponseContext {
    /// The transaction to answer.
    pub server: ServerKey,
    /// Whether it is an INVITE: Timer C, CANCEL and several 2xx are theirs only.
    pub invite: bool,
    /// The call that it begins or belongs to.
    pub call: Option<CallKey>,
    /// What all branches share.
    pub inbound: Inbound,
    /// Targets not tried yet, the next ones last.
    pub waiting: Vec<Target>,
    /// All branches, open or done; a branch keeps its place.
    pub branches: SmallVec<[Branch; 1]>,
    /// The answer if nothing better comes.
    pub best: Best,
    /// Challenges of the branches, for a 401 or 407.
    pub challenges: Vec<(HeaderName, Box<[u8]>)>,
    /// What may still happen.
    pub phase: Phase,
    /// Of the branches that were asked last.
    pub outcome: Outcome,
    /// Whether a phone rang.
    pub rang: bool,
    /// Whether a peer had no room for the call: then the caller may try again later.
    pub full: bool,
    /// The request, once it was answered and where a border needs it for further answers.
    pub answered: Option<Box<Message>>,
    /// What becomes of the call if the phones fail.
    pub forwarding: Option<Box<Forwarding>>,
    /// Where a phone itself sent it.
    pub deflected: Option<Box<str>>,
    /// Armed for the earliest deadline, or earlier.
    pub timer: Option<(TimerId, Instant)>,
}

impl ResponseContext {
    /// The request; behind its final response, while a border needs it.
    pub fn request(&self, layer: &TransactionLayer) -> Option<Message> {
        let kept = || self.answered.as_deref().cloned();
        layer.request(self.server).or_else(kept)
    }

    /// It is about to be answered 2xx. The layer forgets it then, but the 2xx may be repeated, and
    /// another may come (RFC 3261 §13.3.1.4): they cross the border like the first.
    pub fn keep_request(&mut self, layer: &TransactionLayer) {
        let crosses = self.branches.iter().any(|b| b.target.border.is_some());
        if self.invite && self.answered.is_none() && (crosses || self.inbound.border.is_some()) {
            self.answered = layer.request(self.server).map(Box::new);
        }
    }

    /// When something is due; `None` while nothing but answers is waited for.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Answered { until } => Some(until),
            Phase::Open { group_ends } => {
                self.branch_deadline().into_iter().chain(group_ends).min()
            }
            Phase::Cancelled | Phase::Declined => self.branch_deadline(),
        }
    }

    fn branch_deadline(&self) -> Option<Instant> {
        let calling = |b: &&Branch| matches!(b.state, BranchState::Calling { .. });
        let open = self.branches.iter().filter(calling);
        open.map(|b| b.deadline)
            .min()
            .filter(|at| *at < Instant::FAR_FUTURE)
    }

    /// The place of the branch that `client` serves.
    pub fn branch_of(&self, client: ClientKey) -> Option<usize> {
        self.branches
            .iter()
            .position(|b| b.client() == Some(client))
    }

    /// Whether any branch may still answer.
    pub fn has_open_branch(&self) -> bool {
        self.branches.iter().any(Branch::is_open)
    }

    /// Whether a branch is waited for. Where the caller is led elsewhere, one that was given up and
    /// never heard of is not.
    pub fn waits(&self) -> bool {
        let led = matches!(self.best, Best::Led(_));
        self.branches
            .iter()
            .any(|b| b.is_open() && !(led && b.silent))
    }

    /// Whether any branch may still answer that was not given up.
    pub fn has_undecided_branch(&self) -> bool {
        let given_up = |b: &Branch| matches!(b.state, BranchState::Cancelling { .. });
        self.branches.iter().any(|b| b.is_open() && !given_up(b))
    }

    /// Whether there are targets left whose turn comes after how the last ones fared.
    pub fn wants_next_group(&mut self) -> bool {
        let Some(next) = self.waiting.last() else {
            return false;
        };
        let rank = next.rank;
        let hunts = |b: &Branch| b.target.hunts && same_step(b.target.rank, rank);
        let goes_on = self.outcome.goes_on || self.branches.last().is_none_or(hunts);
        if !goes_on {
            self.waiting.clear();
        }
        goes_on
    }

    /// A branch is done, in this status of its own or ours.
    pub fn branch_ended(&mut self, index: usize, status: u16, timeout: bool) {
        self.branch_failed(index, status, timeout);
        if let Some(branch) = self.branches.get_mut(index) {
            branch.state = BranchState::Done;
        }
    }

    /// A branch got no answer, and is done with ours.
    pub fn branch_unanswered(&mut self, index: usize, status: u16) {
        self.branch_ended(index, status, status == 408);
        if !self.branches.get(index).is_some_and(|b| b.target.picks_up) {
            self.consider(Best::Local(status));
        }
    }

    /// A branch failed, whatever may still come of it.
    pub fn branch_failed(&mut self, index: usize, status: u16, timeout: bool) {
        let Some(branch) = self.branches.get(index).filter(|b| !b.target.picks_up) else {
            return;
        };
        let step = branch.target.step.as_ref();
        self.outcome.goes_on |= step.is_none_or(|step| step.goes_on(status, timeout));
    }

    /// The step's time is over.
    pub fn rang_too_long(&mut self) {
        self.outcome.timed_out = true;
        for index in 0..self.branches.len() {
            let calling = |b: &Branch| matches!(b.state, BranchState::Calling { .. });
            if self.branches.get(index).is_some_and(calling) {
                self.branch_failed(index, 408, true);
            }
        }
    }

    /// Takes a branch's final answer into account (RFC 3261 §16.7 steps 4 to 7).
    pub fn consider(&mut self, candidate: Best) {
        if let Best::Received(message) = &candidate {
            self.collect_challenges(message);
        }
        let (new, old) = (candidate.status(), self.best.status());
        if rank(new, &candidate) < rank(old, &self.best) {
            self.best = candidate;
        }
    }

    fn collect_challenges(&mut self, message: &Message) {
        if !matches!(message.status(), 401 | 407) {
            return;
        }
        for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
            for line in message.lines(name) {
                if self.challenges.len() < CHALLENGES_MAX {
                    self.challenges.push((name, line.into()));
                }
            }
        }
    }
}

/// Lower is better: 6xx, then the lowest class; in 4xx those that tell the caller how to try again
/// (§16.7 step 6); a branch's own answer before one that we made up.
fn rank(status: u16, best: &Best) -> u16 {
    let class = match status {
        0 => return u16::MAX,
        600..=699 => 0,
        300..=399 => 100,
        401 | 407 => 200,
        415 | 420 | 484 => 201,
        // What we brought about ourselves tells the caller least.
        487 => 289,
        408 => 290,
        400..=499 => 210,
        503 => 390,
        500..=599 => 300,
        _ => 400,
    };
    class + u16::from(matches!(best, Best::Local(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call's context lives for 32 seconds behind its 2xx.
    #[test]
    fn contexts_are_small() {
        let size = std::mem::size_of::<ResponseContext>();
        assert!(size <= 736, "{size} bytes");
    }
}
