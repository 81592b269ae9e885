//! What call detail records say of a call's way, and of calls that were refused before they began.

use crate::world::{Peer, TRUSTED, World, req};
use voip::control::{Command, Reply};
use voip::feature::Change;
use voip::store::{Cdr, EndCause, Record};
use voip::wire::sip::{Message, Method};

const ITSP: &str = "203.0.113.1:5060";
const BACKUP: &str = "203.0.113.2:5060";
const MEMBER: &str = "203.0.113.5:5060";
const PHONE: &str = "192.0.2.20:5062";
const CALLEE: &str = "192.0.2.21:5060";

const CONFIG: &str = r#"
[numbers]
country = "34"
international = "00"
national_digits = 9
[fraud]
calls_per_minute = 3
[[trunk]]
name = "itsp"
uri = "sip:203.0.113.1"
probe_s = 0
[[trunk]]
name = "backup"
uri = "sip:203.0.113.2"
probe_s = 0
calls_max = 1
[[pool]]
name = "pbx"
algorithm = "round-robin"
members = ["sip:203.0.113.5"]
probe_s = 0
[[route]]
name = "out"
match = "9XXXXXXXX"
from = "user:*"
to = ["trunk:itsp", "trunk:backup"]
[[route]]
name = "world"
match = "00!"
from = "user:*"
to = "trunk:itsp"
[[route]]
name = "branch"
match = "7XX"
from = "user:*"
to = ["pool:pbx"]
[[route]]
name = "in"
match = "+34915550100"
from = ["trunk:itsp", "trunk:backup"]
to = ["user:200"]
"#;

/// A world and how many calls there were.
struct House {
    w: World,
    calls: u32,
}

impl House {
    fn new() -> Self {
        Self::with(CONFIG)
    }

    fn with(config: &str) -> Self {
        let mut w = World::with(config);
        w.register("200", &Peer::udp(CALLEE), "");
        Self { w, calls: 0 }
    }

    /// A new call; a user's is proven.
    fn call(&mut self, from: &Peer, user: Option<&str>, number: &str) {
        // Nobody acknowledges what earlier calls got: it is sent again.
        self.w.sent.clear();
        self.calls += 1;
        let uri = format!("sip:{number}@example.com");
        let call_id = format!("call-{}", self.calls);
        let branch = format!("z9hG4bKc{}", self.calls);
        let author = match user {
            Some(user) => format!("sip:{user}@example.com"),
            None => "sip:+34600000001@elsewhere.example".to_owned(),
        };
        let contact = format!("Contact: {}", from.contact("x"));
        let mut request = req("INVITE", &uri);
        (request.to, request.from) = (&uri, &author);
        (request.call_id, request.branch) = (&call_id, &branch);
        let request = request.extra(&contact);
        match user {
            Some(user) => self.w.send_proven(from, &request, user),
            None => self.w.send(from, &request),
        }
    }

    fn by_phone(&mut self, number: &str) {
        self.call(&Peer::udp(PHONE), Some("100"), number);
    }

    /// The next final answer.
    fn outcome(&mut self, at: &Peer) -> u16 {
        loop {
            match self.w.take(at) {
                message if message.is_request() || message.status() < 200 => {}
                message => return message.status(),
            }
        }
    }

    fn take(&mut self, at: &str) -> Message {
        let invite = self.w.take(&Peer::udp(at));
        assert_eq!(invite.method(), Method::Invite, "{invite:?}");
        invite
    }

    fn answers(&mut self, at: &str, status: u16) {
        let invite = self.take(at);
        self.w.answer(&Peer::udp(at), &invite, status, "far");
    }

    /// Ends all calls, and gives the records since the last time.
    fn records(&mut self) -> Vec<Cdr> {
        let Reply::Calls { rows } = self.w.command(Command::Calls) else {
            panic!("no calls");
        };
        for row in rows {
            self.w.command(Command::Hangup { id: row.id });
        }
        self.w.sent.clear();
        let records = std::mem::take(&mut self.w.records).into_iter();
        let cdrs = records.filter_map(|record| match record {
            Record::Cdr(cdr) => Some(*cdr),
            _ => None,
        });
        cdrs.collect()
    }

    /// How many refused calls got no record, as the operator sees it.
    fn left_out(&mut self) -> u64 {
        let Reply::Status(status) = self.w.command(Command::Status) else {
            panic!("no status");
        };
        status.counters.other["cdrs_left_out"]
    }

    fn record(&mut self) -> Cdr {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }
}

/// `way in > route > way out: note`
fn ways(cdr: &Cdr) -> String {
    format!(
        "{} > {} > {}: {}",
        cdr.way_in, cdr.route, cdr.way_out, cdr.note
    )
}

#[test]
fn the_way_out_is_the_one_that_answered() {
    let mut h = House::new();
    h.by_phone("915550199");
    h.answers(ITSP, 503);
    h.w.take(&Peer::udp(ITSP));
    h.answers(BACKUP, 200);
    let record = h.record();
    assert_eq!(ways(&record), " > out > backup: ");
    assert_eq!(&*record.user, "100@example.com");
    assert_eq!((record.status, record.cause), (200, EndCause::Operator));
    h.by_phone("700");
    h.answers(MEMBER, 200);
    assert_eq!(ways(&h.record()), " > branch > pbx sip:203.0.113.5: ");
    // To a phone there is none.
    h.by_phone("200");
    h.answers(CALLEE, 200);
    assert_eq!(ways(&h.record()), " >  > : ");
}

#[test]
fn or_the_one_that_was_tried_last() {
    let mut h = House::new();
    h.by_phone("915550199");
    h.answers(ITSP, 503);
    h.w.take(&Peer::udp(ITSP));
    h.answers(BACKUP, 486);
    let record = h.record();
    assert_eq!(ways(&record), " > out > backup: ");
    assert_eq!((record.status, record.cause), (486, EndCause::Refused));
    // The backup has room for one call.
    h.call(&Peer::udp(BACKUP), None, "+34915550100");
    h.answers(CALLEE, 200);
    h.by_phone("915550199");
    h.answers(ITSP, 503);
    let records = h.records();
    assert_eq!(ways(&records[0]), " > out > itsp: trunk backup full");
    assert_eq!(ways(&records[1]), "backup > in > : ");
}

#[test]
fn calls_that_come_in_say_from_where() {
    let mut h = House::new();
    let backup = Peer::udp(BACKUP);
    h.call(&backup, None, "+34915550100");
    h.answers(CALLEE, 486);
    let record = h.record();
    assert_eq!(ways(&record), "backup > in > : ");
    assert_eq!(&*record.user, "");
    h.call(&backup, None, "+34915550100");
    h.call(&backup, None, "+34915550100");
    let refused = h.record_of_refused();
    assert_eq!(ways(&refused), "backup > in > : trunk backup full");
    assert_eq!((refused.status, refused.cause), (503, EndCause::Refused));
    h.records();
    // What no route gives it.
    h.call(&backup, None, "+34915550177");
    let refused = h.record();
    assert_eq!((&*refused.way_in, refused.status), ("backup", 404));
    assert_eq!(&*refused.note, "Not Found");
}

impl House {
    /// The record that is there though its call never began.
    fn record_of_refused(&mut self) -> Cdr {
        let found = self.w.records.iter().find_map(|record| match record {
            Record::Cdr(cdr) => Some(Cdr::clone(cdr)),
            _ => None,
        });
        found.expect("a record")
    }
}

#[test]
fn limits_and_the_plan_leave_a_note() {
    let mut h = House::new();
    let phone = Peer::udp(PHONE);
    h.by_phone("0044207946000");
    assert_eq!(h.outcome(&phone), 403);
    let record = h.record();
    assert_eq!(
        ways(&record),
        " > world > : plan: International calls are not allowed"
    );
    assert_eq!((record.status, record.cause), (403, EndCause::Refused));
    assert_eq!((&*record.user, &*record.source), ("100@example.com", PHONE));
    assert_eq!(&*record.to, "0044207946000@example.com");
    assert_eq!(record.start_ms, record.end_ms);
    for _ in 0..3 {
        h.by_phone("915550199");
        h.answers(ITSP, 200);
    }
    assert_eq!(h.records().len(), 3);
    for note in ["fraud: calls_per_minute", "blocked", "blocked"] {
        h.by_phone("915550199");
        assert_eq!(h.outcome(&phone), 403);
        assert_eq!(ways(&h.record()), format!(" > out > : {note}"));
        h.w.wait_s(1);
    }
}

#[test]
fn a_limit_that_does_not_block_is_named_each_time() {
    let mut h = House::with(&CONFIG.replace("calls_per_minute = 3", "calls_max = 1"));
    let phone = Peer::udp(PHONE);
    h.by_phone("915550199");
    h.answers(ITSP, 200);
    for _ in 0..2 {
        h.by_phone("915550199");
        assert_eq!(h.outcome(&phone), 403);
        assert_eq!(ways(&h.record_of_refused()), " > out > : fraud: calls_max");
        h.w.records.clear();
    }
    assert_eq!(ways(&h.record()), " > out > itsp: ", "the call that is up");
    h.by_phone("915550199");
    h.answers(ITSP, 200);
}

#[test]
fn a_flood_of_refused_calls_leaves_few_records_and_their_number() {
    let mut h = House::new();
    let phone = Peer::udp(PHONE);
    for _ in 0..47 {
        h.by_phone("0044207946000");
        assert_eq!(h.outcome(&phone), 403);
    }
    let other = Peer::udp("192.0.2.30:5060");
    h.call(&other, Some("300"), "0044207946000");
    let records = h.records();
    assert_eq!(records.len(), 31, "thirty of the one, one of the other");
    assert_eq!(h.left_out(), 17);
    h.w.wait_s(60);
    h.by_phone("0044207946000");
    let note = "plan: International calls are not allowed; 17 more were refused and left out";
    assert_eq!(&*h.record().note, note);
    h.by_phone("0044207946000");
    assert!(!h.record().note.contains("left out"));
    assert_eq!(h.left_out(), 17);
}

#[test]
fn strangers_get_no_record() {
    let mut h = House::new();
    let stranger = Peer::udp("198.18.0.1:5060");
    h.call(&stranger, None, "200");
    assert_eq!(h.outcome(&stranger), 403);
    h.call(&Peer::udp(TRUSTED), None, "999");
    assert_eq!(h.records(), []);
}

#[test]
fn who_forwarded_it_and_why() {
    let mut h = House::new();
    let forward = |h: &House, key: &str, to: &str| {
        let change = Change::set(key, to).unwrap();
        h.w.core
            .features()
            .change("200@example.com", &change)
            .unwrap();
    };
    forward(&h, "forward-busy", "915550177");
    h.by_phone("200");
    h.answers(CALLEE, 486);
    h.w.take(&Peer::udp(CALLEE));
    h.answers(ITSP, 200);
    assert_eq!(ways(&h.record()), " > out > itsp: forwarded by 200: busy");
    forward(&h, "forward-always", "0044207946000");
    h.by_phone("200");
    let note = "forwarded by 200: always; plan: International calls are not allowed";
    let record = h.record();
    assert_eq!((&*record.note, record.status), (note, 403));
    // The call had begun, and could not go on.
    let change = Change::clear("forward-always", None).unwrap();
    let features = h.w.core.features();
    features.change("200@example.com", &change).unwrap();
    forward(&h, "forward-busy", "0044207946000");
    h.by_phone("200");
    h.answers(CALLEE, 486);
    let record = h.record();
    let note = "forwarded by 200: busy; plan: International calls are not allowed";
    assert_eq!((&*record.note, record.status), (note, 486));
}
