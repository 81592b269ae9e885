//! Forks at random: phones that ring, answer, refuse, say nothing or answer late, a caller that gives
//! up at any time, datagrams that are repeated. Whatever happens: the caller gets one final answer
//! (or several 2xx), each 2xx of a phone reaches the caller, each phone's INVITE ends, and nothing
//! is left in the tables. A failure names its seed.

use crate::world::{Peer, World, req};
use std::time::Duration;
use voip::base::{Instant, Rng};
use voip::wire::sip::{Message, Method};

const SEEDS: u64 = 300;

#[derive(Default)]
struct Phone {
    invite: Option<Message>,
    /// When the INVITE came, until the phone said anything.
    silent_since: Option<Instant>,
    /// Its final status, zero while it has none.
    status: u16,
}

struct Run {
    w: World,
    rng: Rng,
    caller: Peer,
    peers: Vec<Peer>,
    phones: Vec<Phone>,
    finals: Vec<u16>,
    accepted_at: Option<Instant>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::from_u64(seed);
        let caller = Peer::udp("203.0.113.1:5060");
        let mut w = World::new();
        let count = 1 + rng.below(5);
        let peer = |n| Peer::udp(&format!("203.0.113.{}:5060", 20 + n));
        let peers: Vec<Peer> = (0..count).map(peer).collect();
        for peer in &peers {
            let q = [";q=1.0", ";q=0.5", ";q=0.2"][rng.below(3) as usize];
            w.register("200", peer, q);
        }
        let phones = peers.iter().map(|_| Phone::default()).collect();
        Self {
            w,
            rng,
            caller,
            peers,
            phones,
            finals: Vec::new(),
            accepted_at: None,
        }
    }

    fn collect(&mut self) {
        while let Some(sent) = self.w.sent.pop_front() {
            let to = sent.destination.remote();
            if to == self.caller.flow.remote {
                self.on_caller(&sent.message);
            } else {
                let n = self.peers.iter().position(|p| p.flow.remote == to).unwrap();
                self.on_phone(n, sent.message);
            }
        }
    }

    fn on_caller(&mut self, message: &Message) {
        let status = message.status();
        if message.method() != Method::Invite || status < 200 {
            return;
        }
        if status < 300 {
            self.accepted_at.get_or_insert(self.w.now);
        }
        let repeated = status >= 300 && self.finals.contains(&status);
        if !repeated {
            self.finals.push(status);
        }
        if status >= 300 {
            let tag = String::from_utf8(message.to().unwrap().tag().unwrap().to_vec()).unwrap();
            let mut ack = req("ACK", "sip:200@example.com");
            (ack.to_tag, ack.branch, ack.cseq) = (&tag, "z9hG4bKa1p", 2);
            self.w.send(&self.caller, &ack);
        }
    }

    fn on_phone(&mut self, n: usize, message: Message) {
        let peer = self.peers[n];
        match message.method() {
            Method::Invite => {
                let first = self.phones[n].invite.is_none();
                self.phones[n].invite.get_or_insert(message);
                if first {
                    self.phones[n].silent_since = Some(self.w.now);
                }
                if first && self.rng.chance(2, 3) {
                    self.say(n, 180);
                }
            }
            Method::Cancel => {
                self.w.answer(&peer, &message, 200, "c");
                let ringing = self.phones[n].status == 0;
                // Now and then the phone is answered while the CANCEL is on its way.
                let status = if self.rng.chance(1, 8) { 200 } else { 487 };
                if ringing {
                    self.say(n, status);
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, n: usize, status: u16) {
        let peer = self.peers[n];
        let phone = &mut self.phones[n];
        let Some(invite) = phone.invite.clone() else {
            return;
        };
        phone.silent_since = None;
        if status >= 200 {
            phone.status = status;
        }
        let times = if self.rng.chance(1, 4) { 2 } else { 1 };
        for _ in 0..times {
            self.w.answer(&peer, &invite, status, &format!("t{n}"));
        }
    }

    fn step(&mut self) {
        let n = self.rng.below(self.phones.len() as u64) as usize;
        let waiting = self.phones[n].invite.is_some() && self.phones[n].status == 0;
        // Past Timers B and M an answer comes too late to be known (RFC 6026 §7.3).
        let late = [self.phones[n].silent_since, self.accepted_at]
            .into_iter()
            .flatten()
            .any(|at| self.w.now.since(at) > Duration::from_secs(30));
        let statuses = [180, 183, 200, 486, 503, 603, 404, 302];
        if waiting && !late && self.rng.chance(1, 3) {
            let status = statuses[self.rng.below(statuses.len() as u64) as usize];
            self.say(n, status);
        } else if self.rng.chance(1, 40) {
            let mut cancel = req("CANCEL", "sip:200@example.com");
            (cancel.branch, cancel.cseq) = ("z9hG4bKa1p", 2);
            self.w.send(&self.caller, &cancel);
        } else {
            let ms = self.rng.below(4000);
            self.w.wait(Duration::from_millis(ms));
        }
        self.collect();
    }
}

fn run(seed: u64) {
    let mut r = Run::new(seed);
    let (caller, invite) = (r.caller, req("INVITE", "sip:200@example.com"));
    r.w.send_proven(&caller, &invite, "100");
    r.collect();
    for _ in 0..60 {
        r.step();
    }
    // What nobody answered ends by itself.
    for _ in 0..100 {
        r.w.wait_s(10);
        r.collect();
    }
    let answered = r.phones.iter().filter(|p| p.status == 200).count();
    let refused = r.finals.iter().filter(|s| **s >= 300).count();
    let accepted = r.finals.iter().filter(|s| **s < 300).count();
    match answered {
        0 => assert_eq!((refused, accepted), (1, 0), "seed {seed}: {:?}", r.finals),
        n => {
            assert!(accepted >= n, "seed {seed}: {n} answered, {:?}", r.finals);
            assert_eq!(refused, 0, "seed {seed}: {:?}", r.finals);
        }
    }
    assert_eq!(r.w.core.load().0, 0, "seed {seed}: transactions left");
    let calls = r.w.core.load().1;
    assert_eq!(calls, usize::from(answered > 0), "seed {seed}: calls left");
}

#[test]
fn forks_at_random() {
    for seed in 0..SEEDS {
        run(seed);
    }
}
