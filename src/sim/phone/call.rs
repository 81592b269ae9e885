//! A phone's calls: what it plans, how it treats those who call, what came of each.

use super::text::{self, Way};
use super::{Alarm, Phone};
use crate::base::Instant;
use crate::sim::net::{Carrier, Packet};
use std::net::SocketAddr;
use std::time::Duration;

/// Time between two packets of audio: sparse, so that a minute of talk is cheap.
const TALK_EVERY: Duration = Duration::from_millis(500);
/// First media port; each call takes two.
const MEDIA_PORT: u16 = 20_000;
/// How long a phone waits for somebody to pick up.
const RING_MAX: Duration = Duration::from_secs(60);

/// A call to place.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// The URI to call.
    pub target: String,
    /// Stop calling after this, if nobody answered.
    pub give_up_after: Option<Duration>,
    /// Hang up so long after the answer; `None`: the other side does.
    pub talk: Option<Duration>,
    /// Put on hold so long after the answer, and take back later.
    pub hold_after: Option<Duration>,
    /// Keys to press so long after the answer.
    pub keys: Vec<(Duration, char)>,
}

/// How a phone treats a call that comes in.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Calls answered, in thousandths.
    pub answers: u64,
    /// Calls refused, in thousandths; the rest rings until the caller gives up.
    pub refuses: u64,
    /// What a refusal says.
    pub refusal: u16,
    /// Longest time of ringing before either, milliseconds.
    pub ring_ms_max: u64,
    /// Hang up so long after the answer; `None`: the caller does.
    pub talk: Option<Duration>,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            answers: 1000,
            refuses: 0,
            refusal: 486,
            ring_ms_max: 3000,
            talk: None,
        }
    }
}

/// What came of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered, and both sides knew.
    Talked,
    /// A final response above 299.
    Refused(u16),
    /// Nobody answered the request at all.
    Timeout,
    /// The caller gave up.
    Cancelled,
    /// An answer that came too late, or a second one: hung up at once.
    Surplus,
}

/// One side's account of a call.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// The Call-ID.
    pub call_id: String,
    /// Whether this side called.
    pub caller: bool,
    /// The URI of the other side, as it was called or as it said.
    pub with: String,
    /// When the call began here.
    pub begun_at: Instant,
    /// What came of it.
    pub outcome: Outcome,
    /// When the call was answered.
    pub answered_at: Option<Instant>,
    /// When the caller's CANCEL went out.
    pub given_up_at: Option<Instant>,
    /// When it ended.
    pub ended_at: Instant,
    /// Packets of audio sent.
    pub audio_sent: u32,
    /// Packets of audio heard.
    pub audio_heard: u32,
}

/// Where a call stands.
#[derive(Debug)]
pub(super) enum State {
    /// INVITE sent.
    Calling { branch: String, given_up: GivenUp },
    /// INVITE came; neither answered nor refused yet.
    Ringing { invite: Vec<u8> },
    /// A refusal waits for its ACK.
    Refusing { response: Vec<u8>, repeat: Repeat },
    /// A 200 waits for its ACK; the call counts as answered.
    Answering { response: Vec<u8>, repeat: Repeat },
    /// ACK sent or received.
    Established,
    /// BYE sent.
    Leaving,
    /// Over.
    Ended,
}

/// How far a caller got with giving up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GivenUp {
    No,
    /// CANCEL waits for a provisional response.
    Wanted,
    /// CANCEL sent.
    Said,
}

/// A response that is repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    pub(super) interval: Duration,
    pub(super) until: Instant,
}

/// One dialog, or one to be.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) call_id: String,
    pub(super) caller: bool,
    pub(super) begun_at: Instant,
    pub(super) state: State,
    pub(super) local: String,
    pub(super) local_tag: String,
    pub(super) remote: String,
    pub(super) remote_tag: Option<String>,
    pub(super) remote_target: String,
    pub(super) routes: Vec<String>,
    pub(super) cseq: u32,
    pub(super) remote_cseq: u32,
    pub(super) ack: Option<Vec<u8>>,
    pub(super) talk: Option<Duration>,
    pub(super) hold_after: Option<Duration>,
    pub(super) keys: Vec<(Duration, char)>,
    pub(super) media: Media,
    pub(super) answered_at: Option<Instant>,
    pub(super) given_up_at: Option<Instant>,
    /// Set when the end came before the report: what the report will say.
    pub(super) outcome: Outcome,
    /// Our re-INVITE is under way.
    pub(super) reinvite: bool,
    /// The answer to a re-INVITE, until its ACK comes.
    pub(super) again: Option<(Vec<u8>, Repeat)>,
}

/// A call's audio.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) local: SocketAddr,
    pub(super) peer: Option<SocketAddr>,
    pub(super) way: Way,
    pub(super) version: u32,
    /// Whether keys can be pressed.
    pub(super) events: bool,
    sequence: u16,
    sent: u32,
    heard: u32,
}

impl Media {
    fn new(local: SocketAddr) -> Self {
        Self {
            local,
            peer: None,
            way: Way::Both,
            version: 0,
            events: false,
            sequence: 0,
            sent: 0,
            heard: 0,
        }
    }

    pub(super) fn describe(&mut self) -> String {
        self.version += 1;
        text::describe(self.local, self.version, self.way, self.events)
    }
}

impl Call {
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, State::Ended)
    }

    pub(super) fn describe(&self) -> String {
        let state = match &self.state {
            State::Calling { given_up, .. } => format!("calling, given up: {given_up:?}"),
            State::Ringing { .. } => "ringing".into(),
            State::Refusing { .. } => "refusing".into(),
            State::Answering { .. } => "answering".into(),
            State::Established => "established".into(),
            State::Leaving => "leaving".into(),
            State::Ended => "ended".into(),
        };
        format!("{} {state}", self.call_id)
    }
}

impl Phone {
    pub(super) fn new_call(&mut self, call_id: String, caller: bool, state: State) -> Call {
        self.serial += 1;
        let id = self.serial;
        let port = MEDIA_PORT + (id % 20_000) as u16 * 2;
        let uri = self.account.uri();
        let local_tag = self.token();
        Call {
            id,
            call_id,
            caller,
            begun_at: self.now,
            state,
            local: uri,
            local_tag,
            remote: String::new(),
            remote_tag: None,
            remote_target: String::new(),
            routes: Vec::new(),
            cseq: 1,
            remote_cseq: 0,
            ack: None,
            talk: None,
            hold_after: None,
            keys: Vec::new(),
            media: Media::new(SocketAddr::new(self.address.ip(), port)),
            answered_at: None,
            given_up_at: None,
            outcome: Outcome::Talked,
            reinvite: false,
            again: None,
        }
    }

    /// The ringing is over: answers or refuses.
    pub(super) fn answer(&mut self, id: u64) {
        let draw = self.rng.below(1000);
        let habits = self.habits;
        if draw < habits.answers {
            self.accept(id);
        } else if draw < habits.answers + habits.refuses {
            self.refuse(id, habits.refusal, Outcome::Refused(habits.refusal));
        }
        // Else it rings on, until the caller gives up or the phone itself does.
        else {
            self.arm(RING_MAX, Alarm::HangUp(id));
        }
    }

    /// Both sides know that the call stands.
    pub(super) fn established(&mut self, id: u64) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.state = State::Established;
        call.answered_at.get_or_insert(now);
        let (talk, hold) = (call.talk, call.hold_after);
        let keys = std::mem::take(&mut call.keys);
        if let Some(talk) = talk {
            self.arm(talk, Alarm::HangUp(id));
        }
        if let Some(hold) = hold {
            self.arm(hold, Alarm::Hold(id));
        }
        for (after, key) in keys {
            self.arm(after, Alarm::Press(id, key));
        }
        self.arm(Duration::ZERO, Alarm::Talk(id));
    }

    /// Sends a packet of audio, and plans the next.
    pub(super) fn talk(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        match call.state {
            State::Established => {}
            State::Calling { .. }
            | State::Ringing { .. }
            | State::Refusing { .. }
            | State::Answering { .. }
            | State::Leaving
            | State::Ended => return,
        }
        if let (Some(peer), Way::Both | Way::SendOnly) = (call.media.peer, call.media.way) {
            let media = &mut call.media;
            media.sequence = media.sequence.wrapping_add(1);
            media.sent += 1;
            let packet = Packet {
                carrier: Carrier::Datagram,
                source: media.local,
                destination: peer,
                bytes: rtp(media.sequence, call.id as u32),
            };
            self.out.push_back(packet);
        }
        self.arm(TALK_EVERY, Alarm::Talk(id));
    }

    /// Presses a key: its packets are the first and the three last of RFC 4733 §2.5.1, at once.
    pub(super) fn press(&mut self, id: u64, key: char) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let (State::Established, Some(peer)) = (&call.state, call.media.peer) else {
            return;
        };
        let code = match key {
            '*' => 10,
            '#' => 11,
            digit => digit.to_digit(10).unwrap_or_default() as u8,
        };
        let media = &mut call.media;
        let timestamp = u32::from(media.sequence.wrapping_add(1)) * 160;
        for end in [false, true, true, true] {
            media.sequence = media.sequence.wrapping_add(1);
            let mut bytes = rtp(media.sequence, call.id as u32);
            bytes.truncate(12);
            bytes[1] = 101;
            bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
            let (volume, duration) = if end { (0x8a, 800_u16) } else { (0x0a, 160) };
            bytes.extend([code, volume]);
            bytes.extend(duration.to_be_bytes());
            self.out.push_back(Packet {
                carrier: Carrier::Datagram,
                source: media.local,
                destination: peer,
                bytes,
            });
        }
    }

    /// A packet came to a media port.
    pub(super) fn hear(&mut self, packet: &Packet) {
        let port = packet.destination.port();
        let call = self
            .calls
            .values_mut()
            .find(|call| call.media.local.port() == port && call.is_alive());
        if let Some(call) = call
            && packet.bytes.len() > 12
        {
            call.media.heard += 1;
        }
    }

    /// The call is over: writes its report.
    pub(super) fn ended(&mut self, id: u64, outcome: Outcome) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if !call.is_alive() {
            return;
        }
        call.state = State::Ended;
        let report = CallReport {
            call_id: call.call_id.clone(),
            caller: call.caller,
            with: call.remote.clone(),
            begun_at: call.begun_at,
            outcome,
            answered_at: call.answered_at,
            given_up_at: call.given_up_at,
            ended_at: now,
            audio_sent: call.media.sent,
            audio_heard: call.media.heard,
        };
        self.reports.push(report);
    }
}

/// G.711, 20 ms of nothing (RFC 3550 §5.1), shortened.
fn rtp(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0xff; 20]);
    packet
}
