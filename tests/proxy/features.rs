//! Call features and groups, message by message.

use crate::world::{Peer, World, header, req, text, values};
use voip::feature::Change;
use voip::wire::sip::{HeaderName, Message, Method};

const CALLER: &str = "192.0.2.20:5062";

const GROUPS: &str = r#"
[[group]]
name = "sales"
number = "800"
members = ["200", "300"]
strategy = "ordered"
ring_s = 10
[[group]]
name = "all"
number = "801"
members = ["200", "300"]
strategy = "all"
[[group]]
name = "least"
number = "802"
members = ["200", "300"]
strategy = "fewest-calls"
"#;

struct House {
    w: World,
    caller: Peer,
    phones: [Peer; 3],
    calls: u32,
}

impl House {
    /// 200, 300 and 400 are registered; 100 calls.
    fn new() -> Self {
        let mut w = World::with(GROUPS);
        let phones = [2, 3, 4].map(|n| Peer::udp(&format!("192.0.2.{n}1:5060")));
        for (n, phone) in phones.iter().enumerate() {
            w.register(&format!("{}00", n + 2), phone, "");
        }
        Self {
            w,
            caller: Peer::udp(CALLER),
            phones,
            calls: 0,
        }
    }

    fn wants(&mut self, user: &str, change: Change) {
        let aor = format!("{user}@example.com");
        self.w.core.features().change(&aor, &change).unwrap();
    }

    fn call_with(&mut self, number: &str, extra: &str) {
        self.calls += 1;
        let uri = format!("sip:{number}@example.com");
        let (call_id, branch) = (
            format!("call-{}", self.calls),
            format!("z9hG4bKf{}", self.calls),
        );
        let contact = format!("Contact: {}", self.caller.contact("100"));
        let mut request = req("INVITE", &uri);
        (request.to, request.call_id, request.branch) = (&uri, &call_id, &branch);
        let mut request = request.extra(&contact);
        if !extra.is_empty() {
            request = request.extra(extra);
        }
        self.w.send_proven(&self.caller, &request, "100");
    }

    fn call(&mut self, number: &str) {
        self.call_with(number, "");
    }

    fn invite(&mut self, phone: usize) -> Message {
        let invite = self.w.take(&self.phones[phone].clone());
        assert_eq!(invite.method(), Method::Invite);
        invite
    }

    /// The caller's next answer that is no 100.
    fn told(&mut self) -> u16 {
        loop {
            let status = self.w.status(&self.caller.clone());
            if status != 100 {
                return status;
            }
        }
    }

    fn answer(&mut self, phone: usize, invite: &Message, status: u16) {
        let peer = self.phones[phone];
        self.w.answer(&peer, invite, status, &format!("t{phone}"));
        if status >= 300 {
            assert_eq!(self.w.take(&peer).method(), Method::Ack);
        }
    }
}

fn to(number: &str) -> Option<Box<str>> {
    Some(number.into())
}

#[test]
fn forward_always_tells_of_its_way() {
    let mut h = House::new();
    h.wants("200", Change::ForwardAlways(to("300")));
    h.call("200");
    let invite = h.invite(1);
    let diversion = header(&invite, HeaderName::Diversion);
    assert!(diversion.contains("sip:200@example.com"), "{diversion}");
    assert!(diversion.contains("unconditional"), "{diversion}");
    let history = values(&invite, HeaderName::HistoryInfo);
    assert_eq!(history.len(), 2, "{history:?}");
    assert!(history[1].contains("300@example.com"), "{history:?}");
    h.answer(1, &invite, 200);
    assert_eq!(h.told(), 200);
    h.w.nothing();
}

#[test]
fn busy_no_answer_and_absence_go_where_the_user_wants() {
    let mut h = House::new();
    h.wants("200", Change::ForwardBusy(to("300")));
    h.wants("200", Change::ForwardNoAnswer(to("400")));
    h.call("200");
    let invite = h.invite(0);
    h.answer(0, &invite, 486);
    let forwarded = h.invite(1);
    assert!(header(&forwarded, HeaderName::Diversion).contains("user-busy"));
    h.answer(1, &forwarded, 200);
    assert_eq!(h.told(), 200);
    // A phone whose user declines is busy.
    h.call("200");
    let invite = h.invite(0);
    h.answer(0, &invite, 603);
    h.invite(1);
    h.w.sent.clear();
    // It rings for 20 seconds.
    h.call("200");
    let invite = h.invite(0);
    h.answer(0, &invite, 180);
    assert_eq!(h.told(), 180);
    // The one before that was abandoned still repeats its INVITE to 300.
    h.w.wait_s(19);
    let phone = h.phones[0];
    let to_phone = |w: &World| {
        w.sent
            .iter()
            .any(|s| s.destination.remote() == phone.flow.remote)
    };
    assert!(!to_phone(&h.w));
    h.w.wait_s(2);
    assert_eq!(h.w.take(&phone).method(), Method::Cancel);
    let forwarded = h.invite(2);
    assert!(header(&forwarded, HeaderName::Diversion).contains("no-answer"));
    h.answer(2, &forwarded, 200);
    assert_eq!(h.told(), 200);
    h.w.sent.clear();
    // 500 has no phone.
    h.wants("500", Change::ForwardUnregistered(to("400")));
    h.call("500");
    h.invite(2);
}

#[test]
fn a_call_that_rang_as_long_as_the_user_wants_was_not_answered() {
    let mut h = House::new();
    h.wants("200", Change::RingSeconds(Some(10)));
    h.call("200");
    let invite = h.invite(0);
    h.answer(0, &invite, 180);
    assert_eq!(h.told(), 180);
    h.w.wait_for_something(15);
    h.cancelled(0, &invite);
    assert_eq!(h.told(), 480, "not 487: the caller cancelled nothing");
}

#[test]
fn who_does_not_want_to_be_disturbed_is_not() {
    let mut h = House::new();
    h.wants("200", Change::Dnd(true));
    h.call("200");
    assert_eq!(h.told(), 480);
    h.wants("300", Change::RejectAnonymous(true));
    h.call_with("300", "Privacy: id");
    assert_eq!(h.told(), 433);
    h.wants("300", Change::Block("100".into()));
    h.call("300");
    assert_eq!(h.told(), 603);
    h.w.nothing();
}

#[test]
fn circles_end() {
    let mut h = House::new();
    h.wants("200", Change::ForwardBusy(to("300")));
    h.wants("300", Change::ForwardBusy(to("200")));
    h.call("200");
    let invite = h.invite(0);
    h.answer(0, &invite, 486);
    let invite = h.invite(1);
    h.answer(1, &invite, 486);
    assert_eq!(h.told(), 486);
    h.w.nothing();
    h.w.wait_s(100);
    assert_eq!(h.w.core.load(), (0, 0));
}

#[test]
fn a_phone_may_send_its_call_elsewhere() {
    let mut h = House::new();
    // Only a user who has features is followed here; others' 302 goes to the caller.
    h.wants("200", Change::RingSeconds(Some(60)));
    h.call("200");
    let invite = h.invite(0);
    let phone = h.phones[0];
    let contact = [(HeaderName::Contact, "<sip:300@example.com>")];
    h.w.answer_with(&phone, &invite, 302, "t", &contact);
    assert_eq!(h.w.take(&phone).method(), Method::Ack);
    let forwarded = h.invite(1);
    assert!(header(&forwarded, HeaderName::Diversion).contains("deflection"));
}

#[test]
fn codes_and_speed_dials_are_dialled() {
    let mut h = House::new();
    h.call("*72300");
    assert_eq!(h.told(), 480, "carried out, and said so on the display");
    let settings = h.w.core.features().settings("100@example.com").unwrap();
    assert_eq!(settings.forward_always.as_deref(), Some("300"));
    assert!(
        h.w.records
            .iter()
            .any(|r| matches!(r, voip::store::Record::PutFeatures(_))),
        "kept"
    );
    h.call("*73");
    assert_eq!(h.told(), 480);
    h.wants("100", Change::Speed(7, to("400")));
    h.call("*007");
    h.invite(2);
}

#[test]
fn groups_ring_as_they_are_told() {
    let mut h = House::new();
    h.call("800");
    let first = h.invite(0);
    h.w.nothing();
    h.answer(0, &first, 180);
    assert_eq!(h.told(), 180);
    h.w.wait_s(11);
    let phone = h.phones[0];
    assert_eq!(h.w.take(&phone).method(), Method::Cancel);
    let second = h.invite(1);
    h.answer(1, &second, 200);
    assert_eq!(h.told(), 200);
    h.w.sent.clear();
    h.call("801");
    h.invite(0);
    h.invite(1);
    h.w.sent.clear();
    // 200 is away, 300 is asked at once.
    h.wants("200", Change::Dnd(true));
    h.call("800");
    h.invite(1);
    h.w.nothing();
}

#[test]
fn who_has_fewest_calls_rings_first() {
    let mut h = House::new();
    h.call("200");
    let invite = h.invite(0);
    h.answer(0, &invite, 200);
    assert_eq!(h.told(), 200);
    h.call("802");
    let invite = h.invite(1);
    h.answer(1, &invite, 486);
    h.invite(0);
}

#[test]
fn a_call_that_one_makes_counts_from_its_beginning() {
    let mut h = House::new();
    let calls = |h: &House| h.w.core.features().calls_of("200@example.com");
    let (phone, uri) = (h.phones[0], "sip:400@example.com");
    let own = format!("Contact: {}", phone.contact("200"));
    let mut invite = req("INVITE", uri).extra(&own);
    (invite.from, invite.to) = ("sip:200@example.com", uri);
    (invite.call_id, invite.branch) = ("out", "z9hG4bKout");
    h.w.send_proven(&phone, &invite, "200");
    let there = h.invite(2);
    h.answer(2, &there, 180);
    assert_eq!(calls(&h), 1);
    h.w.sent.clear();
    h.call("802");
    let first = h.invite(1);
    h.answer(1, &first, 180);
    let to = |n: usize| h.phones[n].flow.remote;
    assert!(h.w.sent.iter().all(|s| s.destination.remote() != to(0)));
    h.w.sent.clear();
    // A call to 200 itself goes its way as ever.
    h.call("200");
    h.invite(0);
    h.w.sent.clear();
    h.answer(2, &there, 486);
    assert_eq!(calls(&h), 0);
}

impl House {
    /// A user dials from the own phone; gives what it is told.
    fn dial(&mut self, phone: usize, number: &str) -> (u16, String) {
        let user = format!("{}00", phone + 2);
        self.dial_from(self.phones[phone], &user, number)
    }

    fn dial_from(&mut self, peer: Peer, user: &str, number: &str) -> (u16, String) {
        self.calls += 1;
        let (uri, from) = (
            format!("sip:{number}@example.com"),
            format!("sip:{user}@example.com"),
        );
        let (call_id, branch) = (
            format!("code-{}", self.calls),
            format!("z9hG4bKc{}", self.calls),
        );
        let contact = format!("Contact: {}", peer.contact(user));
        let mut request = req("INVITE", &uri);
        (request.from, request.to) = (&from, &uri);
        (request.call_id, request.branch) = (&call_id, &branch);
        let request = request.extra(&contact);
        self.w.send_proven(&peer, &request, user);
        let answer = loop {
            let answer = self.w.take(&peer);
            match answer.status() {
                100 => {}
                0 => panic!("{answer:?}"),
                _ => break answer,
            }
        };
        let tag = text(answer.to().unwrap().tag().unwrap());
        let branch = format!("{branch}p");
        let mut ack = req("ACK", &uri);
        (ack.from, ack.to, ack.to_tag) = (&from, &uri, &tag);
        (ack.call_id, ack.branch, ack.cseq) = (&call_id, &branch, 2);
        self.w.send(&peer, &ack);
        (answer.status(), text(answer.reason()))
    }

    /// 100 calls, and it rings at these.
    fn ring(&mut self, number: &str, phones: &[usize]) -> Vec<Message> {
        self.call(number);
        let invites: Vec<Message> = phones.iter().map(|phone| self.invite(*phone)).collect();
        for (phone, invite) in phones.iter().zip(&invites) {
            self.answer(*phone, invite, 180);
            assert_eq!(self.told(), 180);
        }
        invites
    }

    fn cancelled(&mut self, phone: usize, invite: &Message) -> Message {
        let peer = self.phones[phone];
        let cancel = self.w.take(&peer);
        assert_eq!(cancel.method(), Method::Cancel);
        self.w.answer(&peer, &cancel, 200, "");
        self.w.answer(&peer, invite, 487, &format!("t{phone}"));
        assert_eq!(self.w.take(&peer).method(), Method::Ack);
        cancel
    }
}

const NOBODY: &str = "No Call Rings In Your Groups";

#[test]
fn a_call_is_picked_up_by_code() {
    for code in ["*8", "*8200", "**200"] {
        let mut h = House::new();
        let ringing = h.ring("200", &[0]);
        let told = h.dial(1, code);
        assert_eq!(told, (480, "Picking Up 200".into()), "{code}");
        // The call's own INVITE, to the phone that dialled.
        let invite = h.invite(1);
        h.w.nothing();
        assert_eq!(invite.call_id(), ringing[0].call_id());
        assert_eq!(text(invite.request_uri()), "sip:300@192.0.2.31:5060");
        let call_info = values(&invite, HeaderName::CallInfo);
        assert_eq!(call_info, ["<sip:200@example.com>;answer-after=0"]);
        let alert = values(&invite, HeaderName::AlertInfo);
        assert_eq!(
            alert,
            ["<sip:200@example.com>;info=alert-autoanswer;delay=0"]
        );
        let history = values(&invite, HeaderName::HistoryInfo);
        assert_eq!(
            history,
            [
                "<sip:200@example.com>;index=1",
                "<sip:300@example.com>;index=1.1;mp=1"
            ]
        );
        assert!(!invite.has(HeaderName::Diversion), "200 sent it nowhere");
        h.answer(1, &invite, 200);
        assert_eq!(h.told(), 200);
        let cancel = h.cancelled(0, &ringing[0]);
        let reason = header(&cancel, HeaderName::Reason);
        assert_eq!(reason, "SIP;cause=200;text=\"Call completed elsewhere\"");
        h.w.nothing();
        // It rings no more.
        assert_eq!(h.dial(2, "*8").0, 403, "in no group");
        assert_eq!(h.dial(1, "*8"), (404, NOBODY.into()));
        assert_eq!(h.w.core.features().ringing(), 0);
    }
}

#[test]
fn nobody_elses_call_is_picked_up() {
    let mut h = House::new();
    h.ring("400", &[2]);
    h.ring("200", &[0]);
    // 400 is in no group: neither may it, nor may others pick up there.
    let told = h.dial(2, "**200");
    assert_eq!(told, (403, "Pickup Is For Members Of Groups".into()));
    let told = h.dial(1, "**400");
    assert_eq!(told, (403, "You Are In No Group With 400".into()));
    // Nor does anybody learn who is there.
    let told = h.dial(1, "**999");
    assert_eq!(told, (403, "You Are In No Group With 999".into()));
    assert_eq!(h.dial(1, "**2%0d%0a00"), (404, "No Such Extension".into()));
    let stranger = Peer::udp("192.0.2.77:5060");
    let told = h.dial_from(stranger, "300", "*8");
    assert_eq!(told, (403, "Register This Phone To Pick Up Calls".into()));
    h.w.nothing();
    assert_eq!(h.dial(1, "*8"), (480, "Picking Up 200".into()));
}

#[test]
fn a_phone_must_ring_first_and_the_own_is_answered() {
    let mut h = House::new();
    h.call("200");
    let invite = h.invite(0);
    assert_eq!(
        h.dial(1, "*8"),
        (404, NOBODY.into()),
        "it does not ring yet"
    );
    assert_eq!(h.dial(1, "**200"), (404, "No Call Rings At 200".into()));
    h.answer(0, &invite, 183);
    assert_eq!(h.told(), 183);
    // A group's call rings at both: a second INVITE there would be a loop.
    let both = h.ring("801", &[0, 1]);
    let told = h.dial(1, "**801");
    assert_eq!(told, (480, "Picking Up 200".into()), "the other call");
    assert_eq!(h.invite(1).call_id(), invite.call_id());
    assert_ne!(invite.call_id(), both[0].call_id());
    for code in ["*8", "**200", "**801"] {
        let told = h.dial(1, code);
        assert_eq!(told, (480, "It Rings At Your Own Phone".into()), "{code}");
    }
    h.w.nothing();
}

#[test]
fn the_longest_ringing_is_first_and_each_is_picked_up_by_one() {
    let mut h = House::new();
    let first = h.ring("200", &[0]);
    let second = h.ring("200", &[0]);
    assert_eq!(h.dial(1, "*8").0, 480);
    let invite = h.invite(1);
    assert_eq!(invite.call_id(), first[0].call_id());
    assert_eq!(h.dial(1, "*8").0, 480);
    let other = h.invite(1);
    assert_eq!(other.call_id(), second[0].call_id());
    assert_eq!(h.dial(1, "*8"), (404, NOBODY.into()), "both are taken");
    // Whoever gives up lets others try.
    h.answer(1, &other, 603);
    h.w.nothing();
    assert_eq!(h.dial(1, "*8").0, 480);
    assert_eq!(h.invite(1).call_id(), second[0].call_id());
}

#[test]
fn a_phone_that_does_not_answer_harms_nobody() {
    for silent in [false, true] {
        let mut h = House::new();
        let ringing = h.ring("200", &[0]);
        assert_eq!(h.dial(1, "*8").0, 480);
        let invite = h.invite(1);
        if !silent {
            h.answer(1, &invite, 180);
            assert_eq!(h.told(), 180);
        }
        h.w.wait_s(9);
        h.w.sent.clear();
        assert_eq!(h.dial(1, "*8"), (404, NOBODY.into()));
        h.w.wait_s(1);
        if !silent {
            h.cancelled(1, &invite);
        }
        // Nothing else happened, and the one who was called answers.
        h.w.wait_s(30);
        h.w.sent.clear();
        assert_eq!(h.dial(1, "**200").0, 480);
        let again = h.invite(1);
        h.answer(1, &again, 486);
        h.answer(0, &ringing[0], 200);
        assert_eq!(h.told(), 200);
        assert_eq!(h.dial(1, "*8"), (404, NOBODY.into()));
    }
}

#[test]
fn a_call_ends_as_it_would_have_without_the_pickup() {
    // The one who is called is busy while another picks up, and that one does not.
    let mut h = House::new();
    h.wants("200", Change::ForwardBusy(to("400")));
    let ringing = h.ring("200", &[0]);
    assert_eq!(h.dial(1, "*8").0, 480);
    let picker = h.invite(1);
    h.answer(0, &ringing[0], 486);
    h.w.nothing();
    h.answer(1, &picker, 603);
    let forwarded = h.invite(2);
    assert!(header(&forwarded, HeaderName::Diversion).contains("user-busy"));
    h.answer(2, &forwarded, 486);
    assert_eq!(h.told(), 486, "not the 603 of the one who picked up");
    // The caller gives up meanwhile.
    let ringing = h.ring("200", &[0]);
    assert_eq!(h.dial(1, "*8").0, 480);
    let picker = h.invite(1);
    h.answer(1, &picker, 180);
    assert_eq!(h.told(), 180);
    let uri = "sip:200@example.com";
    let (call_id, branch) = (
        text(ringing[0].call_id()),
        format!("z9hG4bKf{}p", h.calls - 1),
    );
    let mut cancel = req("CANCEL", uri);
    (cancel.to, cancel.call_id, cancel.branch) = (uri, &call_id, &branch);
    cancel.cseq = 2;
    let caller = h.caller;
    h.w.send(&caller, &cancel);
    assert_eq!(h.told(), 200);
    h.cancelled(0, &ringing[0]);
    h.cancelled(1, &picker);
    assert_eq!(h.told(), 487);
    h.w.nothing();
    h.w.wait_s(100);
    assert_eq!(h.w.core.load(), (0, 0));
    assert_eq!(h.w.core.features().ringing(), 0);
}

#[test]
fn a_step_of_a_group_waits_for_whoever_picks_up() {
    let mut h = House::new();
    // 200 for ten seconds, then 300.
    let ringing = h.ring("800", &[0]);
    h.w.wait_s(8);
    assert_eq!(h.dial(1, "*8").0, 480);
    let picker = h.invite(1);
    h.answer(1, &picker, 180);
    assert_eq!(h.told(), 180);
    h.w.wait_s(5);
    h.w.nothing();
    h.answer(1, &picker, 200);
    assert_eq!(h.told(), 200);
    h.cancelled(0, &ringing[0]);
    h.w.nothing();
}
