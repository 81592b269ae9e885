//! Trunks and pools as the operator sees them.

use super::signal::SignalCore;
use crate::base::Instant;
use crate::config::Algorithm;
use crate::control::{Failure, MemberRow, PoolRow, Reply, TrunkRow, rfc3339};
use crate::peer::{Member, Problem, Registered, State, Trunk};

/// As the file writes it.
const fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::CallId => "call-id",
        Algorithm::FromUri => "from-uri",
        Algorithm::ToUri => "to-uri",
        Algorithm::RequestUri => "request-uri",
        Algorithm::RoundRobin => "round-robin",
        Algorithm::Weight => "weight",
        Algorithm::FewestCalls => "fewest-calls",
    }
}

fn percent((answered, unanswered): (u64, u64)) -> Option<u32> {
    let all = answered.saturating_add(unanswered);
    let percent = answered.saturating_mul(100).checked_div(all)?;
    u32::try_from(percent).ok()
}

impl SignalCore {
    /// Before the first change: since the start.
    fn since_ms(&self, since: Instant) -> u64 {
        self.anchor.unix_ms(since.max(self.started))
    }

    fn at(&self, at: Instant) -> String {
        rfc3339(self.anchor.unix_ms(at))
    }

    pub(super) fn trunks(&self, now: Instant) -> Vec<TrunkRow> {
        let trunks = self.peers.trunks();
        trunks.iter().map(|trunk| self.trunk(now, trunk)).collect()
    }

    fn trunk(&self, now: Instant, trunk: &Trunk) -> TrunkRow {
        let config = trunk.config();
        let (registration, until) = match trunk.registered() {
            Registered::Unwanted => ("none", None),
            Registered::Trying => ("trying", None),
            Registered::Until(until) if until > now => ("registered", Some(self.at(until))),
            Registered::Until(_) | Registered::Failed => ("failed", None),
        };
        let since_ms = self.since_ms(trunk.since(now));
        let (last_error, last_error_at) = self.problem(trunk.last_error());
        TrunkRow {
            name: trunk.name().into(),
            uri: config.uri.to_string(),
            state: trunk.state(now).as_str().into(),
            since: rfc3339(since_ms),
            since_ms,
            registration: registration.into(),
            registered_until: until,
            calls: trunk.calls(),
            calls_max: config.calls_max,
            answered: trunk.outcomes().0,
            unanswered: trunk.outcomes().1,
            answer_seizure_percent: percent(trunk.outcomes()),
            last_error,
            last_error_at,
        }
    }

    fn problem(&self, problem: Option<Problem>) -> (Option<String>, Option<String>) {
        match problem {
            Some(problem) => (Some(problem.text.into()), Some(self.at(problem.at))),
            None => (None, None),
        }
    }

    pub(super) fn pools(&self) -> Vec<PoolRow> {
        let row = |pool: &crate::peer::Pool| PoolRow {
            name: pool.name().into(),
            algorithm: algorithm(pool.config().algorithm).into(),
            members: pool.members().iter().map(|m| self.member(m)).collect(),
        };
        self.peers.pools().iter().map(|pool| row(pool)).collect()
    }

    fn member(&self, member: &Member) -> MemberRow {
        let since_ms = self.since_ms(member.since());
        let (last_error, last_error_at) = self.problem(member.last_error());
        MemberRow {
            uri: member.uri().into(),
            weight: member.weight(),
            state: member.state().as_str().into(),
            draining: member.is_draining(),
            since: rfc3339(since_ms),
            since_ms,
            calls: member.calls(),
            calls_max: member.calls_max(),
            answered: member.outcomes().0,
            unanswered: member.outcomes().1,
            answer_seizure_percent: percent(member.outcomes()),
            last_error,
            last_error_at,
        }
    }

    pub(super) fn drain(&self, pool: &str, member: &str, on: bool) -> Reply {
        let remedy = "list them: voipctl pools";
        let Some(found) = self.peers.pool(pool) else {
            return Reply::failed(Failure::NotFound, format!("no pool {pool}"), remedy);
        };
        // As the file has it, or without the scheme.
        let full = format!("sip:{member}");
        let members = found.members();
        let named = members.iter().find(|m| [member, &*full].contains(&m.uri()));
        let Some(named) = named else {
            let problem = format!("pool {pool} has no member {member}");
            return Reply::failed(Failure::NotFound, problem, remedy);
        };
        found.drain(named.uri(), on);
        let uri = named.uri();
        Reply::done(match (on, named.calls()) {
            (false, _) => format!("{uri} of pool {pool} gets calls again"),
            (true, 0) => format!("{uri} of pool {pool} gets no new calls; it has none"),
            (true, calls) => format!(
                "{uri} of pool {pool} gets no new calls; {calls} are left there (until voipd \
                 restarts, or: voipctl pool undrain {pool} {uri})"
            ),
        })
    }

    /// What needs the operator.
    pub(super) fn peer_warnings(&self, now: Instant) -> Vec<String> {
        let mut warnings = Vec::new();
        for trunk in self.peers.trunks() {
            if trunk.state(now) == State::Down {
                let why = trunk
                    .last_error()
                    .map_or_else(String::new, |problem| format!(": {}", problem.text));
                warnings.push(format!("trunk {} is down{why}", trunk.name()));
            }
        }
        for pool in self.peers.pools() {
            let members = pool.members();
            if members.iter().all(|m| m.state() == State::Down) {
                let text = format!(
                    "pool {} has no member that is up: voipctl pools",
                    pool.name()
                );
                warnings.push(text);
            }
        }
        warnings
    }
}
