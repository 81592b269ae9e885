//! The operator's commands, as far as a shard answers them.

use super::media::MediaOrder;
use super::route;
use super::signal::{Output, SignalCore};
use crate::base::Instant;
use crate::call::CallKey;
use crate::control::{
    BanRow, BlockRow, Command, Failure, ROWS_MAX, RegistrationRow, Reply, StatusRow, join_relayed,
    rfc3339,
};
use crate::location::Binding;
use crate::proxy::fraud::Block;
use crate::relay::MediaCommand;
use crate::store::EndCause;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a listing of calls waits for the relay's figures.
const FIGURES_WAIT: Duration = Duration::from_millis(500);

/// A listing of calls that waits for the relay's figures.
#[derive(Debug)]
pub(super) struct PendingCalls {
    id: u64,
    waiting: usize,
    until: Instant,
}

impl SignalCore {
    pub(super) fn on_command(&mut self, now: Instant, id: u64, command: Command) {
        let reply = match command {
            Command::Status => Reply::Status(Box::new(self.status(now))),
            Command::Registrations { filter, after } => {
                self.registrations(now, filter.as_deref(), after.as_deref())
            }
            Command::Calls => return self.calls_with_figures(now, id),
            Command::Hangup { id } => self.hangup(now, &id),
            Command::Bans => Reply::Bans {
                rows: self.bans(now),
            },
            Command::Trunks => Reply::Trunks {
                rows: self.trunks(now),
            },
            Command::Pools => Reply::Pools { rows: self.pools() },
            Command::PoolDrain { pool, member, on } => self.drain(&pool, &member, on),
            Command::Conferences { name } => self.conferences(name.as_deref()),
            Command::ConferenceRoom { name, change } => self.change_room(&name, change),
            Command::ConferenceMember {
                name,
                member,
                change,
            } => self.change_member(&name, member, change),
            Command::BanLift { source, user } => self.lift(now, source, user),
            Command::Blocks => self.blocked(now),
            Command::Parked => self.parked(),
            Command::Relayed => self.relayed(),
            Command::Queues { name } => self.queues(now, name.as_deref()),
            Command::QueueLogin { aor, queue, on } => self.queue_login(&aor, &queue, on),
            Command::QueuePause { aor, on } => self.queue_pause(&aor, on),
            Command::BlockLift { user } => self.lift_block(now, user),
            Command::Trace { call_id } => self.traced(call_id),
            Command::RouteTest {
                number,
                from,
                at,
                caller,
                method,
            } => {
                let asked = route::Asked {
                    number,
                    from,
                    at,
                    caller,
                    method,
                };
                self.route_test(now, &asked).unwrap_or_else(|failed| failed)
            }
            Command::Log { .. }
            | Command::Reload
            | Command::UserAdd { .. }
            | Command::UserImport { .. }
            | Command::UserDel { .. }
            | Command::UserPasswd { .. }
            | Command::UserShow { .. }
            | Command::UserList { .. }
            | Command::Cdrs { .. }
            | Command::FeatureShow { .. }
            | Command::FeatureSet { .. }
            | Command::FeatureClear { .. }
            | Command::MailboxList { .. }
            | Command::MailboxShow { .. }
            | Command::MailboxSet { .. }
            | Command::MailboxDeleteMessage { .. } => {
                Reply::failed(Failure::BadCommand, "not a shard's affair", "")
            }
        };
        self.outputs.push_back(Output::Reply { id, reply });
    }

    fn blocked(&self, now: Instant) -> Reply {
        let rows = self.blocks(now);
        Reply::Blocks { rows }
    }

    fn relayed(&self) -> Reply {
        let mut rows = Vec::new();
        let more = join_relayed(&mut rows, self.calls.relayed(ROWS_MAX + 1));
        Reply::Relayed { rows, more }
    }

    /// The messages of a call, by our name for it or its Call-ID; of all without.
    fn traced(&self, call_id: Option<String>) -> Reply {
        let named = call_id.as_deref().and_then(|c| self.calls.by_id(c));
        let call_id = named.and_then(|k| self.calls.call_id(k)).or(call_id);
        let call_id = call_id.as_deref().map(str::as_bytes);
        let rows = self.trace.rows(&self.anchor, call_id);
        Reply::Trace { rows }
    }

    fn shared_counters(&self) -> impl Iterator<Item = (String, u64)> + use<> {
        let fraud = self.guard.fraud().stats();
        let back = self.features.call_backs().stats();
        let shared = [
            ("fraud_refused", fraud.refused),
            ("fraud_blocked", fraud.blocked),
            ("call_backs", back.begun),
            ("call_backs_refused", back.refused),
            ("call_backs_proven", back.proven),
        ];
        let shared = shared.into_iter().filter(|(_, n)| *n > 0);
        shared.map(|(name, n)| (name.to_owned(), n))
    }

    fn status(&self, now: Instant) -> StatusRow {
        let stats = self.layer.stats();
        let mut counters = self.counters.row();
        // What all share is told once.
        let (trunks, pools, warnings) = match self.shard {
            0 => {
                let mut warnings = self.peer_warnings(now);
                warnings.extend(self.pbx_warnings());
                (self.trunks(now), self.pools(), warnings)
            }
            _ => Default::default(),
        };
        let extra = [
            ("retransmissions_in", stats.request_retransmissions_received),
            (
                "request_retransmissions_out",
                stats.request_retransmissions_sent,
            ),
            (
                "response_retransmissions_out",
                stats.response_retransmissions_sent,
            ),
            ("stray_responses", stats.stray_responses),
            ("cdrs_left_out", self.calls.refused_left_out()),
        ];
        counters
            .other
            .extend(extra.map(|(name, n)| (name.to_owned(), n)));
        // Shared by all shards, and added up over them.
        if self.shard == 0 {
            counters.other.extend(self.shared_counters());
        }
        StatusRow {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: now.since(self.started).as_secs(),
            domains: self
                .config
                .node
                .domains
                .iter()
                .map(|d| d.as_str().to_owned())
                .collect(),
            listen: self
                .config
                .sip
                .listen
                .iter()
                .map(|l| l.to_string())
                .collect(),
            shards: 1,
            users: self.directory.len() as u64,
            registrations: self.location.len() as u64,
            calls: self.calls.len() as u64,
            transactions: (stats.servers + stats.clients) as u64,
            bans: self.guard.len(now) as u64,
            blocks: self.guard.fraud().blocks(now).len() as u64,
            media_sessions: self.calls.media_sessions().len() as u64,
            counters,
            trunks,
            pools,
            warnings,
            ..StatusRow::default()
        }
    }

    fn registrations(&self, now: Instant, filter: Option<&str>, after: Option<&str>) -> Reply {
        let (filter, after) = (filter.unwrap_or_default(), after.unwrap_or_default());
        let (bindings, more) = self.location.list(filter, after, ROWS_MAX);
        let row = |binding: Arc<Binding>| RegistrationRow {
            aor: binding.aor().into(),
            contact: binding.contact().into(),
            received: binding.flow().remote.to_string(),
            transport: binding.flow().transport.uri_token().into(),
            expires_s: u64::from(binding.expires_in(now)),
            user_agent: binding.user_agent().into(),
            behind_nat: binding.behind_nat(),
        };
        Reply::Registrations {
            rows: bindings.into_iter().map(row).collect(),
            more,
        }
    }

    fn lift(&mut self, now: Instant, source: IpAddr, user: Option<String>) -> Reply {
        let user = user.map(|user| self.whole_name(user));
        let records = self.guard.lift(source, user.as_deref(), now);
        let whom = match user {
            Some(user) => format!("{user} from {source}"),
            None => source.to_string(),
        };
        if records.is_empty() {
            let remedy = "voipctl bans lists who is";
            return Reply::failed(Failure::NotFound, format!("{whom} is not shut out"), remedy);
        }
        self.outputs
            .extend(records.into_iter().map(Output::Persist));
        Reply::Done {
            message: format!("{whom} is let in again"),
        }
    }

    fn whole_name(&self, user: String) -> String {
        match user.contains('@') {
            true => user,
            false => format!("{user}@{}", self.config.node.default_domain()),
        }
    }

    fn blocks(&self, now: Instant) -> Vec<BlockRow> {
        let row = |block: Block| BlockRow {
            user: block.user.into(),
            since: rfc3339(block.since_ms),
            expires_s: block.until.since(now).as_secs(),
            reason: block.reason.into(),
        };
        self.guard
            .fraud()
            .blocks(now)
            .into_iter()
            .map(row)
            .collect()
    }

    fn lift_block(&self, now: Instant, user: String) -> Reply {
        let user = self.whole_name(user);
        match self.guard.fraud().lift(&user, now) {
            true => Reply::done(format!("{user} may call out again")),
            false => {
                let remedy = "voipctl blocks lists who is";
                Reply::failed(Failure::NotFound, format!("{user} is not blocked"), remedy)
            }
        }
    }

    fn bans(&self, now: Instant) -> Vec<BanRow> {
        let unix_ms = self.anchor.unix_ms(now);
        let row = |ban: crate::store::Ban| BanRow {
            source: ban.source.to_string(),
            user: ban.user.map(String::from),
            since: rfc3339(ban.since_ms),
            expires_s: ban.until_ms.saturating_sub(unix_ms) / 1000,
            reason: ban.reason.to_string(),
        };
        self.guard.list(now).into_iter().map(row).collect()
    }

    fn hangup(&mut self, now: Instant, id: &str) -> Reply {
        let found: Option<CallKey> = self.calls.by_id(id);
        match found.is_some_and(|key| self.calls.hangup(now, key, EndCause::Operator)) {
            true => Reply::Done {
                message: format!("call {id} is being ended"),
            },
            false => Reply::failed(
                Failure::NotFound,
                format!("no call {id}"),
                "list the calls: voipctl calls",
            ),
        }
    }

    fn calls_with_figures(&mut self, now: Instant, id: u64) {
        let sessions = self.calls.media_sessions();
        let pending = PendingCalls {
            id,
            waiting: sessions.len(),
            until: now + FIGURES_WAIT,
        };
        if sessions.is_empty() || self.pending.push(pending).is_err() {
            return self.reply_calls(id);
        }
        let ask = sessions
            .into_iter()
            .map(|session| Output::Media(MediaOrder::Relay(MediaCommand::Query { session })));
        self.outputs.extend(ask);
    }

    fn reply_calls(&mut self, id: u64) {
        let reply = Reply::Calls {
            rows: self.calls.rows(),
        };
        self.outputs.push_back(Output::Reply { id, reply });
    }

    /// One of the figures that a listing waits for came.
    pub(super) fn count_report(&mut self) {
        let done = self.pending.front_mut().is_some_and(|first| {
            first.waiting = first.waiting.saturating_sub(1);
            first.waiting == 0
        });
        if done && let Some(pending) = self.pending.pop() {
            self.reply_calls(pending.id);
        }
    }

    pub(super) fn pending_timeout(&self) -> Option<Instant> {
        self.pending.front().map(|p| p.until)
    }

    pub(super) fn handle_pending(&mut self, now: Instant) {
        while self.pending.front().is_some_and(|p| p.until <= now) {
            if let Some(pending) = self.pending.pop() {
                self.reply_calls(pending.id);
            }
        }
    }
}
