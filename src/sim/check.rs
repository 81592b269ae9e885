//! What must hold: after each step, and once a world has come to rest.

use super::host::{Host, Load};
use super::net::Packet;
use super::phone::{CallReport, Outcome, Phone};
use crate::base::Instant;
use crate::wire::sip::{Message, Method};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Transactions that a world of a dozen phones may have at a time.
const TRANSACTIONS_MAX: usize = 2000;
/// DESIGN §5.
const PERSISTED_WITHIN: Duration = Duration::from_secs(1);
/// 64 * T1, and what the network may hold up.
const TRANSACTION_LIFE: Duration = Duration::from_secs(33);

/// How long an answer may have been under way when the server died: its call died with it.
const ANSWER_UNDER_WAY: Duration = Duration::from_secs(1);

/// A rule that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken(pub String);

/// The final responses that the server sent to one request.
#[derive(Debug)]
struct Finals {
    status: u16,
    first: Instant,
}

/// Watches the server's side of the wire.
#[derive(Debug, Default)]
pub struct Checker {
    finals: BTreeMap<(SocketAddr, String), Finals>,
}

impl Checker {
    /// The server sends `packet`.
    pub fn sent(&mut self, now: Instant, packet: &Packet) -> Result<(), Broken> {
        let Ok(message) = Message::parse(Bytes::copy_from_slice(&packet.bytes)) else {
            return Ok(());
        };
        if let Err(refusal) = message.validate() {
            return broken(format!("the server sent what it would refuse: {refusal:?}"));
        }
        if message.is_request() {
            return Ok(());
        }
        self.response(now, packet, &message)
    }

    /// One final response to a request, save for the 2xx of an INVITE; nothing after Terminated.
    fn response(&mut self, now: Instant, packet: &Packet, message: &Message) -> Result<(), Broken> {
        let (Ok(via), Ok(cseq)) = (message.top_via(), message.cseq()) else {
            return broken("a response without Via or CSeq".into());
        };
        let branch = String::from_utf8_lossy(via.branch().unwrap_or_default()).into_owned();
        let key = (packet.destination, format!("{branch} {}", cseq.method));
        let status = message.status();
        let Some(before) = self.finals.get(&key) else {
            if status >= 200 {
                let first = now;
                self.finals.insert(key, Finals { status, first });
            }
            return Ok(());
        };
        let what = format!("{} {}, {status}", key.1, packet.destination);
        if status < 200 {
            return broken(format!("{what} after the final {}", before.status));
        }
        if status != before.status {
            return broken(format!("{what} after another final {}", before.status));
        }
        let accepted = cseq.method == Method::Invite && status < 300;
        let repeatable = accepted || cseq.method != Method::Invite;
        // A repetition of a request may bring its answer again until Timer J, and starts nothing
        // after it; the two-hundred of a registrar without state may come at any time.
        let life = if cseq.method == Method::Register {
            Duration::MAX
        } else if repeatable {
            TRANSACTION_LIFE * 2
        } else {
            TRANSACTION_LIFE
        };
        if now.since(before.first) > life {
            return broken(format!("{what} after Terminated"));
        }
        Ok(())
    }

    /// The server was started again: what it answered in its earlier life does not bind it.
    pub fn restarted(&mut self) {
        self.finals.clear();
    }

    /// What was answered 200 more than a second ago survives the server's death.
    pub fn bindings(&self, now: Instant, host: &Host, phones: &[Phone]) -> Result<(), Broken> {
        for phone in phones.iter().filter(|phone| phone.is_registered(now)) {
            let account = phone.account();
            let aor = format!("{}@{}", account.user, account.domain);
            let old = phone
                .registered_at()
                .is_some_and(|at| now.since(at) > PERSISTED_WITHIN);
            let contact = phone.contact_uri();
            let bindings = host.location().lookup(&aor);
            if old && bindings.iter().all(|binding| binding.contact() != contact) {
                return broken(format!("the binding of {aor} did not survive"));
            }
        }
        Ok(())
    }

    /// After each step of the server.
    pub fn step(&self, host: &Host) -> Result<(), Broken> {
        let load = host.load();
        if load.transactions > TRANSACTIONS_MAX {
            return broken(format!("{} transactions", load.transactions));
        }
        if load.sessions != load.relayed {
            return broken(format!("sessions other than those of calls: {load:?}"));
        }
        if load.sockets > 2 * load.ports {
            return broken(format!("sockets of ports that no call holds: {load:?}"));
        }
        Ok(())
    }

    /// Once nothing moves any more.
    pub fn rest(&self, now: Instant, host: &Host, phones: &[Phone]) -> Result<(), Broken> {
        if host.load() != Load::default() {
            return broken(format!("left on the server: {:?}", host.load()));
        }
        for phone in phones.iter().filter(|phone| !phone.is_silent()) {
            if phone.calls_alive() > 0 {
                let calls = phone.describe_calls();
                return broken(format!("{} still has {calls}", phone.account().user));
            }
            if !phone.is_registered(now) {
                return broken(format!("{} is not registered", phone.account().user));
            }
        }
        Ok(())
    }

    /// One record per call, and none without: `since` leaves out calls of an earlier life.
    pub fn records(&self, since: Instant, host: &Host, phones: &[Phone]) -> Result<(), Broken> {
        let mut records: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
        for cdr in host.disk().cdrs() {
            let (count, answered) = records.entry(&cdr.call_id).or_default();
            *count += 1;
            *answered |= cdr.answer_ms.is_some();
        }
        if let Some((call, (count, _))) = records.iter().find(|(_, (count, _))| *count > 1) {
            return broken(format!("{count} records of {call}"));
        }
        let reports = phones.iter().flat_map(|phone| phone.reports());
        for report in reports.filter(|report| report.caller) {
            let found = records.get(report.call_id.as_str());
            let answered = matches!(report.outcome, Outcome::Talked);
            match found {
                None if answered && report.answered_at > Some(since + ANSWER_UNDER_WAY) => {
                    return broken(format!("no record of {report:?}"));
                }
                Some((_, false)) if answered => {
                    return broken(format!("the record denies the answer of {report:?}"));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

/// Whether the two sides of a call that stood for so long heard each other. For worlds whose
/// network loses little.
pub fn heard(phones: &[Phone], at_least: Duration) -> Result<(), Broken> {
    let reports: Vec<&CallReport> = phones.iter().flat_map(|phone| phone.reports()).collect();
    let of_call = |id: &str| {
        let id = id.to_owned();
        reports.iter().filter(move |other| other.call_id == id)
    };
    for report in &reports {
        let long = report
            .answered_at
            .is_some_and(|answered| report.ended_at.since(answered) >= at_least);
        let other = of_call(&report.call_id)
            .find(|other| other.caller != report.caller && other.outcome == Outcome::Talked);
        if let (Outcome::Talked, true, Some(other)) = (report.outcome, long, other)
            && other.audio_sent > 3
            && report.audio_heard == 0
        {
            return broken(format!("one-way audio: {report:?} of {other:?}"));
        }
    }
    Ok(())
}

/// Whether every phone stopped ringing soon after the caller gave up or somebody else answered: its
/// CANCEL came. For worlds where nobody dies.
pub fn stopped(phones: &[Phone], within: Duration) -> Result<(), Broken> {
    let reports = || phones.iter().flat_map(|phone| phone.reports());
    for caller in reports().filter(|report| report.caller) {
        let settled = match caller.outcome {
            Outcome::Talked => caller.answered_at,
            Outcome::Cancelled => caller.given_up_at,
            Outcome::Refused(_) | Outcome::Timeout | Outcome::Surplus => None,
        };
        let Some(settled) = settled else {
            continue;
        };
        let callees = reports().filter(|r| !r.caller && r.call_id == caller.call_id);
        for callee in callees {
            let rang_until = callee.answered_at.unwrap_or(callee.ended_at);
            if rang_until > settled + within {
                return broken(format!("rang on: {callee:?} though {caller:?}"));
            }
        }
    }
    Ok(())
}

/// A rule was broken.
pub(super) fn broken<T>(what: String) -> Result<T, Broken> {
    Err(Broken(what))
}
