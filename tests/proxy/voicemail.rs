//! Falling to voicemail, message by message.

use crate::services::prompts_said;
use crate::world::{Peer, World, header, req, text, values};
use voip::control::{Command, Reply};
use voip::feature::Change;
use voip::media::RecordEnd;
use voip::media::file::{FileOrder, Filed};
use voip::media::{News, Order};
use voip::server::{Input, MediaNews, MediaOrder};
use voip::store::{Folder, Record};
use voip::wire::sip::{HeaderName, Message, Method};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

const ON: &str = "[voicemail]\nring_s = 15\n";

struct House {
    w: World,
    caller: Peer,
    phone: Peer,
    calls: u32,
}

impl House {
    /// 200 is registered, 300 is not; 100 calls.
    fn with(config: &str) -> Self {
        let mut w = World::with(config);
        let phone = Peer::udp("192.0.2.21:5060");
        w.register("200", &phone, "");
        // A phone that did not ask is told of its messages all the same.
        w.wait_s(4);
        while w
            .sent
            .iter()
            .any(|sent| sent.message.method() == Method::Notify)
        {
            let notify = w.take(&phone);
            w.answer(&phone, &notify, 200, "n");
        }
        Self {
            w,
            caller: Peer::udp("192.0.2.20:5062"),
            phone,
            calls: 0,
        }
    }

    fn new() -> Self {
        Self::with(ON)
    }

    fn wants(&mut self, user: &str, change: Change) {
        let aor = format!("{user}@example.com");
        self.w.core.features().change(&aor, &change).unwrap();
    }

    fn call_as(&mut self, user: &str, number: &str) {
        self.calls += 1;
        let uri = format!("sip:{number}@example.com");
        let (call_id, branch) = (
            format!("call-{}", self.calls),
            format!("z9hG4bKv{}", self.calls),
        );
        let contact = format!("Contact: {}", self.caller.contact(user));
        let mut invite = req("INVITE", &uri).extra(&contact);
        let from = format!("sip:{user}@example.com");
        (invite.to, invite.call_id, invite.branch) = (&uri, &call_id, &branch);
        invite.from = &from;
        invite.body = OFFER;
        self.w.send_proven(&self.caller, &invite, user);
    }

    fn call(&mut self, number: &str) {
        self.call_as("100", number);
    }

    /// The caller's next final answer.
    fn told(&mut self) -> u16 {
        self.final_answer().status()
    }

    fn final_answer(&mut self) -> Message {
        loop {
            let answer = self.w.take(&self.caller.clone());
            if answer.status() >= 200 {
                return answer;
            }
        }
    }

    fn invited(&mut self) -> Message {
        let invite = self.w.take(&self.phone.clone());
        assert_eq!(invite.method(), Method::Invite);
        invite
    }

    fn phone_says(&mut self, invite: &Message, status: u16) {
        let phone = self.phone;
        self.w.answer(&phone, invite, status, "t");
        if status >= 300 {
            assert_eq!(self.w.take(&phone).method(), Method::Ack);
        }
    }

    fn said(&self) -> Vec<String> {
        prompts_said(&self.w)
    }

    fn task(&self) -> (u64, u32) {
        let found = self.w.orders.iter().rev().find_map(|order| match order {
            MediaOrder::Studio(Order::Do { session, task, .. }) => Some((*session, *task)),
            _ => None,
        });
        found.unwrap()
    }

    /// The sessions in which the studio was told of a key.
    fn ended_by_keys(&self) -> Vec<u64> {
        let told = self.w.orders.iter().filter_map(|order| match order {
            MediaOrder::Studio(Order::Heard { session }) => Some(*session),
            _ => None,
        });
        told.collect()
    }

    fn news(&mut self, news: News) {
        self.w.input(Input::Media(MediaNews::Studio(news)));
    }

    fn done(&mut self) {
        let (session, task) = self.task();
        let played_ms = 0;
        self.news(News::Done {
            session,
            task,
            played_ms,
        });
    }
}

const AWAY: [&str; 6] = [
    "vm-theperson",
    "digits/2",
    "digits/0",
    "digits/0",
    "vm-isunavail",
    "vm-intro",
];

#[test]
fn a_phone_that_does_not_answer_falls_after_its_time() {
    let mut h = House::new();
    h.call("200");
    let invite = h.invited();
    h.w.answer(&h.phone.clone(), &invite, 180, "t");
    h.w.wait_s(14);
    let ringing = h.w.take(&h.caller.clone()).status();
    assert!(matches!(ringing, 100 | 180));
    h.w.wait_s(2);
    assert_eq!(h.w.take(&h.phone.clone()).method(), Method::Cancel);
    let answer = h.final_answer();
    assert_eq!(answer.status(), 200);
    let contact = header(&answer, HeaderName::Contact);
    assert!(contact.contains("sip:voicemail@"), "{contact}");
    assert_eq!(h.said(), AWAY);
}

#[test]
fn every_way_not_to_take_a_call_falls() {
    for (status, state) in [
        (486, "vm-isonphone"),
        (600, "vm-isonphone"),
        (603, "vm-isonphone"),
        (480, "vm-isonphone"),
        (404, "vm-isunavail"),
        (503, "vm-isunavail"),
    ] {
        let mut h = House::new();
        h.call("200");
        let invite = h.invited();
        h.phone_says(&invite, status);
        assert_eq!(h.told(), 200, "{status}");
        assert_eq!(h.said()[4], state, "{status}");
    }
    let mut h = House::new();
    h.call("300");
    assert_eq!(h.told(), 200);
    assert_eq!(h.said()[1], "digits/3");
    h.wants("200", Change::Dnd(true));
    h.call("200");
    assert_eq!(h.told(), 200);
    assert_eq!(h.said()[4], "vm-isonphone");
}

/// A challenge and a description that does not fit are the caller's affair.
#[test]
fn what_the_caller_can_mend_goes_back() {
    for status in [420, 483, 491] {
        let mut h = House::new();
        h.call("200");
        let invite = h.invited();
        h.phone_says(&invite, status);
        assert_eq!(h.told(), status);
    }
}

#[test]
fn nobody_falls_who_should_not() {
    // Without the table, or by the user's own word.
    for config in ["", "[voicemail]\nenabled = false\n"] {
        let mut h = House::with(config);
        h.call("200");
        let invite = h.invited();
        h.phone_says(&invite, 486);
        assert_eq!(h.told(), 486, "{config}");
        h.call("300");
        assert_eq!(h.told(), 480, "{config}");
    }
    // Nobody's number; oneself; a caller that is shut out.
    let mut h = House::new();
    h.call("777");
    assert_eq!(h.told(), 404);
    h.call_as("200", "200");
    let invite = h.invited();
    h.phone_says(&invite, 486);
    assert_eq!(h.told(), 486);
    h.wants("200", Change::Block("100".into()));
    h.call("200");
    assert_eq!(h.told(), 603);
}

#[test]
fn a_single_user_may_have_it() {
    let mut h = House::with("");
    let set = Command::MailboxSet {
        aor: "200@example.com".into(),
        key: "enabled".into(),
        value: "on".into(),
    };
    // The process answers that, not a shard; the table is the same.
    assert!(matches!(h.w.command(set), Reply::Failed { .. }));
    let changed = h.w.core.mailboxes().update("200@example.com", |m| {
        m.enabled = Some(true);
    });
    assert!(changed.is_some());
    h.call("200");
    let invite = h.invited();
    h.phone_says(&invite, 486);
    assert_eq!(h.told(), 200);
}

#[test]
fn the_users_own_forwarding_comes_before() {
    let mut h = House::new();
    h.wants("200", Change::ForwardBusy(Some("300".into())));
    h.call("200");
    let invite = h.invited();
    h.phone_says(&invite, 486);
    // 300 has no phone: it is 300's mailbox that takes the call.
    assert_eq!(h.told(), 200);
    assert_eq!(h.said()[1], "digits/3");
    // A number that leads nowhere: the user's own.
    h.wants("200", Change::ForwardBusy(Some("777".into())));
    h.call("200");
    let invite = h.invited();
    h.phone_says(&invite, 486);
    assert_eq!(h.told(), 200);
    assert_eq!(h.said()[1], "digits/2");
    h.wants("200", Change::ForwardAlways(Some("777".into())));
    h.call("200");
    assert_eq!(h.told(), 200);
    assert_eq!(h.said()[1], "digits/2");
}

#[test]
fn voicemail_comes_before_an_announcement() {
    let mut h = House::with("[voicemail]\n[services]\nannouncements = true\n");
    h.call("300");
    let answer = h.final_answer();
    assert_eq!(answer.status(), 200, "no 183 with an announcement");
    h.call("777");
    let told = h.w.take(&h.caller.clone());
    let told = match told.status() {
        100 => h.w.take(&h.caller.clone()),
        _ => told,
    };
    assert_eq!(told.status(), 183);
}

#[test]
fn who_gives_up_while_it_rings_leaves_nothing() {
    let mut h = House::new();
    h.call("200");
    let invite = h.invited();
    h.w.answer(&h.phone.clone(), &invite, 180, "t");
    let mut cancel = req("CANCEL", "sip:200@example.com");
    (cancel.to, cancel.call_id, cancel.branch) = ("sip:200@example.com", "call-1", "z9hG4bKv1p");
    (cancel.cseq, cancel.from_tag) = (2, "f1");
    h.w.send(&h.caller.clone(), &cancel);
    h.w.wait_s(1);
    let phone = h.phone;
    assert_eq!(h.w.take(&phone).method(), Method::Cancel);
    h.w.answer(&phone, &invite, 487, "t");
    h.w.wait_s(60);
    assert_eq!(h.w.core.callers(), 0);
}

/// From the ringing phone to the row in the store, and to the call's record.
#[test]
fn a_message_is_left_and_recorded() {
    let mut h = House::new();
    h.call("300");
    let answer = h.final_answer();
    let to_tag = text(answer.to().unwrap().tag().unwrap());
    let contact = answer.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let routes = values(&answer, HeaderName::RecordRoute);
    let send = |h: &mut House, method: &str, cseq| {
        let mut request = req(method, &uri);
        (request.to, request.to_tag) = ("sip:300@example.com", &to_tag);
        (request.call_id, request.cseq) = ("call-1", cseq);
        let branch = format!("z9hG4bKin{cseq}{method}");
        request.branch = &branch;
        for route in routes.iter().rev() {
            request = request.extra(&format!("Route: {route}"));
        }
        h.w.send(&h.caller.clone(), &request);
    };
    send(&mut h, "ACK", 2);
    h.done();
    h.done();
    let (session, task) = h.task();
    let rows = |h: &House| -> Vec<Folder> {
        let records = h.w.records.iter().filter_map(|record| match record {
            Record::PutMessage(message) => Some(message.folder),
            _ => None,
        });
        records.collect()
    };
    assert_eq!(rows(&h), [Folder::Recording]);
    // The caller hangs up: the studio tells the rest afterwards.
    send(&mut h, "BYE", 3);
    assert_eq!(h.told(), 200);
    assert_eq!(rows(&h), [Folder::Recording]);
    let (ms, end) = (6_000, RecordEnd::Closed);
    h.news(News::Recorded {
        session,
        task,
        ms,
        end,
    });
    assert_eq!(rows(&h), [Folder::Recording, Folder::New]);
    let messages =
        h.w.core
            .mailboxes()
            .messages("300@example.com", Folder::New);
    assert_eq!(
        (&*messages[0].number, messages[0].duration_ms),
        ("100", 6_000)
    );
    h.w.wait_s(60);
    let cdr = h.w.records.iter().find_map(|record| match record {
        Record::Cdr(cdr) => Some(cdr),
        _ => None,
    });
    assert_eq!(&*cdr.unwrap().way_out, "service:voicemail");
    h.w.wait_s(60);
    h.w.nothing();
    assert_eq!(h.w.core.load(), (0, 0));
}

/// 100's phone sends keys by INFO: it ends its message by one, and gives a PIN by others.
#[test]
fn keys_by_info_serve_as_well_as_any() {
    let mut h = House::new();
    h.call("300");
    let mut dialog = Dialog::of(&h.final_answer(), "call-1");
    dialog.send(&mut h, "ACK", "");
    h.done();
    h.done();
    let (session, task) = h.task();
    assert!(h.ended_by_keys().is_empty());
    dialog.press(&mut h, "#");
    // The studio hears of it, and says what became of the recording.
    assert_eq!(h.ended_by_keys(), [session]);
    let (ms, end) = (6_000, RecordEnd::Key);
    h.news(News::Recorded {
        session,
        task,
        ms,
        end,
    });
    assert_eq!(h.said(), ["vm-review"]);
    dialog.press(&mut h, "1");
    assert_eq!(h.said(), ["vm-msgsaved", "goodbye"]);
    dialog.send(&mut h, "BYE", "");
    assert_eq!(h.told(), 200);

    let pin = voip::store::PinHash::of("2468", [7; 16]);
    assert!(pin.is_some());
    let mailboxes = h.w.core.mailboxes();
    mailboxes.update("300@example.com", |m| m.pin = pin.clone());
    h.call("300");
    let mut dialog = Dialog::of(&h.final_answer(), "call-2");
    dialog.send(&mut h, "ACK", "");
    dialog.press(&mut h, "*");
    assert_eq!(h.said(), ["vm-password"]);
    dialog.press(&mut h, "2468#");
    assert_eq!(h.said()[..2], ["vm-youhave", "digits/1"]);
}

/// A caller's side of a call to 300.
struct Dialog {
    call_id: &'static str,
    uri: String,
    to_tag: String,
    routes: Vec<String>,
    cseq: u32,
}

impl Dialog {
    fn of(answer: &Message, call_id: &'static str) -> Self {
        let contact = answer.addresses(HeaderName::Contact).next().unwrap();
        Self {
            call_id,
            uri: text(contact.unwrap().uri_bytes()),
            to_tag: text(answer.to().unwrap().tag().unwrap()),
            routes: values(answer, HeaderName::RecordRoute),
            cseq: answer.cseq().unwrap().number,
        }
    }

    fn send(&mut self, h: &mut House, method: &str, lines_and_body: &str) {
        self.cseq += u32::from(method != "ACK");
        let branch = format!("z9hG4bK{}{}{method}", self.call_id, self.cseq);
        let mut request = req(method, &self.uri);
        (request.to, request.to_tag) = ("sip:300@example.com", &self.to_tag);
        (request.call_id, request.cseq) = (self.call_id, self.cseq);
        request.branch = &branch;
        for route in self.routes.iter().rev() {
            request = request.extra(&format!("Route: {route}"));
        }
        let bytes = request.text(&h.caller);
        let bytes = match lines_and_body {
            "" => bytes,
            more => bytes.replace("Content-Length: 0\r\n\r\n", more),
        };
        h.w.from(&h.caller.clone(), bytes);
    }

    fn press(&mut self, h: &mut House, keys: &str) {
        for key in keys.chars() {
            let body = format!("Signal={key}\r\nDuration=160\r\n");
            let kind = "Content-Type: application/dtmf-relay";
            let more = format!("{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            self.send(h, "INFO", &more);
            assert_eq!(h.told(), 200);
        }
    }
}

/// The media process dies in the middle of a recording: the caller is hung up, and what is on the
/// disk becomes a message as soon as a new one can make it whole.
#[test]
fn a_studio_that_dies_leaves_what_was_said() {
    let mut h = House::new();
    h.call("300");
    let answer = h.final_answer();
    let to_tag = text(answer.to().unwrap().tag().unwrap());
    let contact = answer.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let mut ack = req("ACK", &uri);
    (ack.to, ack.to_tag) = ("sip:300@example.com", &to_tag);
    (ack.call_id, ack.cseq, ack.branch) = ("call-1", 2, "z9hG4bKinACK");
    for route in values(&answer, HeaderName::RecordRoute).iter().rev() {
        ack = ack.extra(&format!("Route: {route}"));
    }
    h.w.send(&h.caller.clone(), &ack);
    h.done();
    h.done();
    let (session, _) = h.task();
    let asked = |h: &House| {
        let orders = h.w.orders.iter().rev();
        let mut files = orders.filter_map(|order| match order {
            MediaOrder::Studio(Order::Files { task, what, .. }) => Some((*task, what.clone())),
            _ => None,
        });
        files.next()
    };
    assert_eq!(asked(&h), None);
    h.news(News::Failed { session });
    let bye = h.w.take(&h.caller.clone());
    assert_eq!(bye.method(), Method::Bye);
    let caller = h.caller;
    h.w.answer(&caller, &bye, 200, "b");
    let Some((task, FileOrder::Salvage { .. })) = asked(&h) else {
        panic!("nobody looks for what was said: {:?}", asked(&h));
    };
    let outcome = Filed::Salvaged { ms: 4_000 };
    h.news(News::Filed {
        session,
        task,
        outcome,
    });
    let aor = "300@example.com";
    let messages = h.w.core.mailboxes().messages(aor, Folder::New);
    assert_eq!(messages[0].duration_ms, 4_000);
    h.w.wait_s(120);
    h.w.nothing();
    assert_eq!(h.w.core.load(), (0, 0));
    assert_eq!(h.w.core.callers(), 0);
}

#[test]
fn the_code_opens_ones_own_mailbox() {
    let mut h = House::new();
    h.call("*123");
    assert_eq!(h.told(), 200);
    assert_eq!(h.said()[..2], ["vm-youhaveno", "vm-messages"]);
}
