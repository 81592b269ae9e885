//! Call features and groups, message by message.

use crate::world::{Peer, World, header, req, values};
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
