//! A phone's own idea of transactions: what it sent and repeats, what it answered and answers
//! again.

use super::text::{self, Draft};
use super::{Alarm, PATIENCE, Phone, T1, T2};
use crate::base::Instant;
use crate::sim::net::Carrier;
use crate::sip::digest::{ClientCredentials, answer};
use crate::wire::sip::{HeaderName, Message};
use std::time::Duration;

/// A request under way.
#[derive(Debug)]
pub(super) struct ClientTx {
    pub(super) draft: Draft,
    pub(super) purpose: Purpose,
    branch: String,
    bytes: Vec<u8>,
    interval: Duration,
    give_up_at: Instant,
    provisional: bool,
    /// How often it was challenged.
    challenged: u8,
}

/// What the request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Register,
    Invite(u64),
    Reinvite(u64),
    Cancel(u64),
    Bye(u64),
}

/// A request that was answered.
#[derive(Debug)]
pub(super) struct Served {
    bytes: Vec<u8>,
    until: Instant,
}

/// How a request ended.
#[derive(Debug)]
pub(super) enum End<'a> {
    Final(&'a Message),
    Timeout,
}

impl Phone {
    /// Sends a request and repeats it until it is answered.
    pub(super) fn request(&mut self, draft: Draft, purpose: Purpose) -> String {
        let branch = format!("z9hG4bK{}", self.token());
        self.request_on(draft, purpose, branch.clone(), 0);
        branch
    }

    /// With a given branch: a CANCEL shares that of its INVITE.
    pub(super) fn request_on(
        &mut self,
        draft: Draft,
        purpose: Purpose,
        branch: String,
        challenged: u8,
    ) {
        let bytes = draft.render(self.transport(), self.address, &branch);
        self.send(bytes.clone());
        let key = format!("{branch} {}", draft.method);
        let tx = ClientTx {
            draft,
            purpose,
            branch,
            bytes,
            interval: T1,
            give_up_at: self.now + PATIENCE,
            provisional: false,
            challenged,
        };
        self.clients.insert(key.clone(), tx);
        let first = match self.carrier {
            Carrier::Datagram => T1,
            Carrier::Stream => PATIENCE,
        };
        self.arm(first, Alarm::Transaction(key));
    }

    pub(super) fn on_transaction_timer(&mut self, key: &str) {
        let now = self.now;
        let Some(tx) = self.clients.get_mut(key) else {
            return;
        };
        let invite = tx.draft.method == "INVITE";
        if invite && tx.provisional {
            return;
        }
        if now >= tx.give_up_at {
            if let Some(tx) = self.clients.remove(key) {
                self.on_end(&tx, End::Timeout);
            }
            return;
        }
        tx.interval = if tx.provisional && !invite {
            T2
        } else if invite {
            tx.interval * 2
        } else {
            (tx.interval * 2).min(T2)
        };
        let delay = tx.interval.min(tx.give_up_at.since(now));
        let bytes = tx.bytes.clone();
        if self.carrier == Carrier::Datagram {
            self.send(bytes);
        }
        self.arm(delay, Alarm::Transaction(key.into()));
    }

    pub(super) fn on_response(&mut self, message: &Message) {
        let (Ok(via), Ok(cseq)) = (message.top_via(), message.cseq()) else {
            return;
        };
        let branch = String::from_utf8_lossy(via.branch().unwrap_or_default()).into_owned();
        let method = String::from_utf8_lossy(cseq.method.as_bytes()).into_owned();
        let key = format!("{branch} {method}");
        if !self.clients.contains_key(&key) {
            self.on_late_response(&branch, message);
            return;
        }
        if message.status() < 200 {
            self.on_provisional(&key, message);
            return;
        }
        let Some(tx) = self.clients.remove(&key) else {
            return;
        };
        if method == "INVITE" && message.status() >= 300 {
            let ack = self.ack_of(&tx, message);
            self.acks.insert(branch, (ack.clone(), self.now + PATIENCE));
            self.send(ack);
        }
        if !self.answer_challenge(&tx, message) {
            self.on_end(&tx, End::Final(message));
        }
    }

    fn on_provisional(&mut self, key: &str, message: &Message) {
        let Some(tx) = self.clients.get_mut(key) else {
            return;
        };
        tx.provisional = true;
        if let Purpose::Invite(call) = tx.purpose {
            self.on_ringing(call, message);
        }
    }

    /// Repeated final responses: refusals are acknowledged again, answers reach their call.
    fn on_late_response(&mut self, branch: &str, message: &Message) {
        let now = self.now;
        self.acks.retain(|_, (_, until)| *until > now);
        if (200..300).contains(&message.status()) {
            self.on_repeated_answer(message);
        } else if message.status() >= 300
            && let Some((ack, _)) = self.acks.get(branch)
        {
            let ack = ack.clone();
            self.send(ack);
        }
    }

    fn ack_of(&self, tx: &ClientTx, response: &Message) -> Vec<u8> {
        let to = response.header(HeaderName::To).unwrap_or_default();
        let ack = Draft {
            method: "ACK",
            to: String::from_utf8_lossy(to).into_owned(),
            headers: Vec::new(),
            sdp: None,
            ..tx.draft.clone()
        };
        ack.render(self.transport(), self.address, &tx.branch)
    }

    /// Sends the request again with credentials, if it was challenged and makes sense.
    fn answer_challenge(&mut self, tx: &ClientTx, message: &Message) -> bool {
        let (asked, header) = match message.status() {
            401 => (HeaderName::WwwAuthenticate, "Authorization"),
            407 => (HeaderName::ProxyAuthenticate, "Proxy-Authorization"),
            _ => return false,
        };
        if tx.challenged >= 2 {
            return false;
        }
        let cnonce = self.token();
        let credentials = ClientCredentials {
            username: &self.account.user,
            password: self.account.password.as_bytes(),
        };
        let method = tx.draft.method.as_bytes();
        let uri = &tx.draft.uri;
        let value = message
            .challenges(asked)
            .flatten()
            .find_map(|challenge| answer(&challenge, &credentials, method, uri, 1, &cnonce).ok());
        let Some(value) = value else {
            return false;
        };
        let mut draft = tx.draft.clone();
        draft.cseq += 1;
        draft.headers.retain(|line| !line.starts_with(header));
        draft.headers.push(format!("{header}: {value}"));
        let branch = format!("z9hG4bK{}", self.token());
        self.on_authenticated(tx.purpose, &draft, &branch);
        self.request_on(draft, tx.purpose, branch, tx.challenged + 1);
        true
    }

    fn on_end(&mut self, tx: &ClientTx, end: End<'_>) {
        match tx.purpose {
            Purpose::Register => self.on_registered(&tx.draft, end),
            Purpose::Invite(call) => self.on_invite_end(call, end),
            Purpose::Reinvite(call) => self.on_reinvite_end(call, &tx.draft, end),
            Purpose::Cancel(call) => self.on_cancel_end(call),
            Purpose::Bye(call) => self.on_bye_end(call),
        }
    }

    /// Forgets a request; its final response will be a late one.
    pub(super) fn forget(&mut self, branch: &str, method: &str) {
        self.clients.remove(&format!("{branch} {method}"));
    }

    pub(super) fn has_client(&self, branch: &str, method: &str) -> bool {
        self.clients.contains_key(&format!("{branch} {method}"))
    }

    /// Whether an INVITE got a provisional response.
    pub(super) fn is_proceeding(&self, branch: &str) -> bool {
        self.clients
            .get(&format!("{branch} INVITE"))
            .is_some_and(|tx| tx.provisional)
    }

    /// Answers a request and remembers the answer for its repetitions.
    pub(super) fn reply(
        &mut self,
        request: &Message,
        status: u16,
        tag: &str,
        headers: &[String],
        sdp: Option<&str>,
    ) -> Vec<u8> {
        let bytes = text::response(request, status, tag, headers, sdp);
        let now = self.now;
        self.served.retain(|_, served| served.until > now);
        let served = Served {
            bytes: bytes.clone(),
            // A ringing phone may be asked again for as long as it rings.
            until: now + PATIENCE * 8,
        };
        self.served.insert(server_key(request), served);
        self.send(bytes.clone());
        bytes
    }

    /// Whether the request was answered before; then it is answered again.
    pub(super) fn is_repetition(&mut self, request: &Message) -> bool {
        let served = self.served.get(&server_key(request));
        let Some(bytes) = served.map(|served| served.bytes.clone()) else {
            return false;
        };
        self.send(bytes);
        true
    }
}

fn server_key(request: &Message) -> String {
    let branch = request.top_via().ok().and_then(|via| via.branch());
    format!(
        "{} {}",
        String::from_utf8_lossy(branch.unwrap_or_default()),
        request.method()
    )
}
