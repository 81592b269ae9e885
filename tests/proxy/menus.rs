//! Where calls of menus lead: to phones, to mailboxes, to other services of ours. And where users
//! forward to numbers that services answer.

use crate::services::{prompts_said, said, within};
use crate::world::{Peer, World, header, req};
use voip::control::{Command, Reply};
use voip::feature::Change;
use voip::media::tone::{Country, Tone};
use voip::media::{News, Order, Sound, Task};
use voip::server::{Input, MediaNews, MediaOrder};
use voip::store::Record;
use voip::wire::sip::{HeaderName, Message, Method};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

const CONFIG: &str = r#"
[[group]]
name = "sales"
number = "800"
members = ["200", "300", "400"]
strategy = "ordered"
[[menu]]
name = "main"
numbers = ["5000"]
greeting = "menu-welcome"
keys = { 1 = "extension:200", 2 = "group:sales", 3 = "route:650", 4 = "extension:500" }
ring_s = 12
[[menu]]
name = "round"
numbers = ["5001"]
greeting = "menu-welcome"
then = "hangup"
open = "mon 0:00-0:01"
closed = "extension:300"
[[queue]]
name = "support"
numbers = ["650"]
greeting = "queue-thankyou"
agents = ["400"]
[[conference]]
name = "board"
number = "8000"
[[page]]
name = "hall"
number = "8500"
members = ["400"]
callers = ["200"]
"#;
const MAIL: &str = "[voicemail]\nring_s = 15\n";
const RECORDED: &str = "[recording]\nusers = [\"200\"]\n";

struct House {
    w: World,
    caller: Peer,
    phones: [Peer; 3],
}

impl House {
    /// 200, 300 and 400 are registered, 500 is not; 100 calls.
    fn with(more: &str) -> Self {
        let mut w = World::with(&format!("{CONFIG}{more}"));
        let phones = ["192.0.2.21:5060", "192.0.2.22:5060", "192.0.2.23:5060"].map(Peer::udp);
        for (user, phone) in ["200", "300", "400"].iter().zip(&phones) {
            w.register(user, phone, "");
            w.wait_s(4);
            while !w.sent.is_empty() {
                let notify = w.take(phone);
                w.answer(phone, &notify, 200, "n");
            }
        }
        let caller = Peer::udp("192.0.2.20:5062");
        Self { w, caller, phones }
    }

    fn wants(&mut self, user: &str, change: Change) {
        let aor = format!("{user}@example.com");
        self.w.core.features().change(&aor, &change).unwrap();
    }

    fn call(&mut self, number: &str) {
        let uri = format!("sip:{number}@example.com");
        let contact = format!("Contact: {}", self.caller.contact("100"));
        let mut invite = req("INVITE", &uri).extra(&contact);
        (invite.to, invite.body) = (&uri, OFFER);
        self.w.send_proven(&self.caller, &invite, "100");
    }

    /// The final answer to the caller, acknowledged.
    fn told(&mut self) -> Message {
        loop {
            let answer = self.w.take(&self.caller.clone());
            if answer.status() >= 300 {
                return answer;
            }
            if answer.status() >= 200 {
                let (mut tag, mut uri) = Default::default();
                let ack = within("ACK", &answer, &mut tag, &mut uri);
                self.w.send(&self.caller, &ack);
                return answer;
            }
        }
    }

    /// The menu, and a key.
    fn choose(&mut self, key: char) {
        self.call("5000");
        assert_eq!(self.told().status(), 200);
        assert_eq!(self.said(), ["menu-welcome"]);
        let session = self.session();
        let news = News::Key { session, key };
        self.w.input(Input::Media(MediaNews::Studio(news)));
    }

    fn session(&self) -> u64 {
        let found = self.w.orders.iter().rev().find_map(|order| match order {
            MediaOrder::Studio(Order::Do { session, .. }) => Some(*session),
            _ => None,
        });
        found.unwrap()
    }

    fn said(&self) -> Vec<String> {
        prompts_said(&self.w)
    }

    fn invited(&mut self, phone: usize) -> Message {
        let invite = self.w.take(&self.phones[phone].clone());
        assert_eq!(invite.method(), Method::Invite);
        invite
    }

    fn says(&mut self, phone: usize, invite: &Message, status: u16) {
        let peer = self.phones[phone];
        self.w.answer(&peer, invite, status, &format!("t{phone}"));
        if status >= 300 {
            // Its CANCEL may have been repeated.
            while self.w.take(&peer).method() != Method::Ack {}
        }
    }

    /// It rang too long.
    fn cancelled(&mut self, phone: usize, invite: &Message) {
        let peer = self.phones[phone];
        let mut cancel = self.w.take(&peer);
        // The INVITE may have been repeated.
        while cancel.method() == Method::Invite {
            cancel = self.w.take(&peer);
        }
        assert_eq!(cancel.method(), Method::Cancel);
        self.w.answer(&peer, &cancel, 200, "c");
        self.says(phone, invite, 487);
    }

    /// Status and way out of each record.
    fn recorded(&mut self) -> Vec<(u16, String)> {
        let records = std::mem::take(&mut self.w.records).into_iter();
        let records = records.filter_map(|record| match record {
            Record::Cdr(cdr) => Some((cdr.status, cdr.way_out.to_string())),
            _ => None,
        });
        records.collect()
    }
}

fn to(number: &str) -> Option<Box<str>> {
    Some(number.into())
}

fn mailbox(user: &str, state: &str) -> Vec<String> {
    let digits = user.chars().map(|digit| format!("digits/{digit}"));
    let name = ["vm-theperson".to_owned()].into_iter().chain(digits);
    name.chain([state.into(), "vm-intro".into()]).collect()
}

#[test]
fn an_extension_without_a_phone_has_a_mailbox() {
    let mut h = House::with(MAIL);
    h.choose('4');
    assert_eq!(h.said(), mailbox("500", "vm-isunavail"));
    assert_eq!(h.recorded(), [(302, "service:voicemail".into())]);
    // And where there is none, the caller hears so.
    let mut h = House::with("");
    h.choose('4');
    assert_eq!(h.said(), ["number-not-answering"]);
}

/// The same as a caller without a menu hears: the choice of whose phone rings, also of a member of a
/// group, and after a forwarding.
#[test]
fn callers_of_a_menu_hear_what_the_user_chose_while_phones_ring() {
    for (key, forwards, rings) in [('1', false, 0), ('2', false, 0), ('1', true, 1)] {
        let mut h = House::with("");
        h.wants("200", Change::RingBack(to("music")));
        let mut sound = Sound::Music;
        if forwards {
            h.wants("200", Change::ForwardAlways(to("300")));
            h.wants("300", Change::RingBack(to("tone:us")));
            let (country, tone) = (Country::Us, Tone::RingBack);
            let ms = None;
            sound = Sound::Tone { country, tone, ms };
        }
        h.choose(key);
        // The words before are over.
        said(&mut h.w);
        let invite = h.invited(rings);
        h.says(rings, &invite, 180);
        let orders = h.w.orders.len();
        h.says(rings, &invite, 180);
        assert_eq!(h.w.orders.len(), orders, "{:?}", h.w.orders);
        let last = h.w.orders.iter().rev().find_map(|order| match order {
            MediaOrder::Studio(Order::Do { what, .. }) => Some(what),
            _ => None,
        });
        let Some(Task::Play {
            sounds,
            rounds: None,
            ..
        }) = last
        else {
            panic!("{:?}", h.w.orders);
        };
        assert_eq!(sounds[..], [sound], "{key} {forwards}");
    }
}

#[test]
fn an_extension_rings_as_long_as_the_menu_says() {
    for (mail, said) in [
        (MAIL, mailbox("200", "vm-isunavail")),
        ("", vec!["number-not-answering".to_owned()]),
    ] {
        let mut h = House::with(mail);
        h.choose('1');
        let invite = h.invited(0);
        h.says(0, &invite, 180);
        h.w.wait_s(11);
        h.w.nothing();
        h.w.wait_s(2);
        h.cancelled(0, &invite);
        assert_eq!(h.said(), said);
    }
    // As the user says, who knows better.
    let mut h = House::with(MAIL);
    h.wants("200", Change::RingSeconds(Some(60)));
    h.choose('1');
    let invite = h.invited(0);
    h.says(0, &invite, 180);
    h.w.wait_s(59);
    h.w.nothing();
    h.w.wait_s(2);
    h.cancelled(0, &invite);
    assert_eq!(h.said(), mailbox("200", "vm-isunavail"));
}

#[test]
fn a_phone_that_is_dead_holds_nobody_up() {
    let mut h = House::with(MAIL);
    h.choose('1');
    h.w.wait_s(13);
    assert_eq!(h.said(), mailbox("200", "vm-isunavail"));
}

#[test]
fn who_is_busy_or_declines_has_a_mailbox_and_who_shuts_out_has_none() {
    for status in [486, 600, 603] {
        let mut h = House::with(MAIL);
        h.choose('1');
        let invite = h.invited(0);
        h.says(0, &invite, status);
        assert_eq!(h.said(), mailbox("200", "vm-isonphone"), "{status}");
    }
    let mut h = House::with(MAIL);
    h.wants("200", Change::Dnd(true));
    h.choose('1');
    assert_eq!(h.said(), mailbox("200", "vm-isonphone"));
    let mut h = House::with(MAIL);
    h.wants("200", Change::Block("100".into()));
    h.choose('1');
    assert_eq!(h.said(), ["call-declined"]);
}

#[test]
fn an_extension_that_forwards_is_followed() {
    let mut h = House::with(MAIL);
    h.wants("200", Change::ForwardNoAnswer(to("300")));
    h.choose('1');
    let first = h.invited(0);
    h.says(0, &first, 180);
    h.w.wait_s(21);
    h.cancelled(0, &first);
    let second = h.invited(1);
    h.says(1, &second, 180);
    h.w.wait_s(13);
    h.cancelled(1, &second);
    assert_eq!(h.said(), mailbox("300", "vm-isunavail"));
}

#[test]
fn each_member_of_a_group_has_its_turn() {
    let mut h = House::with(MAIL);
    h.choose('2');
    for phone in 0..2 {
        let invite = h.invited(phone);
        h.says(phone, &invite, 180);
        h.w.wait_s(21);
        h.cancelled(phone, &invite);
    }
    let third = h.invited(2);
    h.says(2, &third, 180);
    h.w.sent.clear();
    h.w.wait_s(25);
    h.w.nothing();
    // No mailbox is a group's.
    h.says(2, &third, 486);
    assert_eq!(h.said(), ["call-busy"]);
}

#[test]
fn a_call_that_leads_to_a_queue_waits_there() {
    let mut h = House::with("");
    h.choose('3');
    assert_eq!(h.said(), ["queue-thankyou"]);
    assert_eq!(h.recorded(), [(302, "queue:support".into())]);
    // So does one of an extension that forwards there, at once or later.
    let mut h = House::with("");
    h.wants("200", Change::ForwardAlways(to("650")));
    h.choose('1');
    assert_eq!(h.said(), ["queue-thankyou"]);
    let mut h = House::with(MAIL);
    h.wants("200", Change::ForwardBusy(to("sip:650@example.com")));
    h.choose('1');
    let invite = h.invited(0);
    h.says(0, &invite, 486);
    assert_eq!(h.said(), ["queue-thankyou"]);
}

#[test]
fn a_circle_comes_to_an_end() {
    let mut h = House::with("");
    h.wants("300", Change::ForwardAlways(to("5001")));
    h.call("5001");
    assert_eq!(h.told().status(), 200);
    assert_eq!(h.said(), ["all-circuits-busy-now"]);
    let led = h.recorded().len();
    assert!((2..40).contains(&led), "{led}");
}

/// Where a caller is led is ours to say.
#[test]
fn no_phone_leads_the_caller_into_a_service() {
    let mut h = House::with(MAIL);
    h.choose('1');
    let invite = h.invited(0);
    let phone = h.phones[0];
    let lie = "sip:conference@example.com;room=board";
    let headers = [(HeaderName::XVoipAccount, lie)];
    h.w.answer_with(&phone, &invite, 302, "t", &headers);
    assert_eq!(h.said(), ["all-circuits-busy-now"]);
}

/// The file knows no users: the daemon says who is none of those that it names.
#[test]
fn status_tells_of_users_that_nobody_is() {
    let lost = "[[menu]]\nname = \"lost\"\nnumbers = [\"5002\"]\ngreeting = \"menu-welcome\"\n\
        keys = { 1 = \"voicemail:666\" }\nthen = \"extension:200\"\n\
        [[page]]\nname = \"all\"\nnumber = \"8501\"\nmembers = [\"200\", \"666\"]\n";
    let mut h = House::with(&format!("{lost}{MAIL}"));
    let warnings = |w: &mut World| match w.command(Command::Status) {
        Reply::Status(row) => row.warnings,
        other => panic!("{other:?}"),
    };
    let absent = "666@example.com is no user: voipctl user add 666@example.com, or change \
        [[menu]] lost, key 1; [[page]] all, members";
    assert_eq!(warnings(&mut h.w), [absent]);
    // Who is led there is told, and loses no message.
    h.call("5002");
    assert_eq!(h.told().status(), 200);
    let session = h.session();
    let news = News::Key { session, key: '1' };
    h.w.input(Input::Media(MediaNews::Studio(news)));
    assert_eq!(h.said(), ["vm-nobox", "goodbye"]);
    // Addresses without a server that takes mail.
    let mailboxes = h.w.core.mailboxes();
    mailboxes.update("200@example.com", |m| m.email = "a@example.org".into());
    let told = warnings(&mut h.w);
    assert_eq!(told.len(), 2);
    assert!(
        told[1].starts_with("1 mailboxes have an e-mail address"),
        "{told:?}"
    );
}

#[test]
fn users_forward_to_numbers_that_services_answer() {
    for (number, service) in [
        ("650", "sip:queue@"),
        ("5000", "sip:menu@"),
        ("8000", "sip:conference@"),
        ("sip:650@example.com", "sip:queue@"),
    ] {
        for change in [Change::ForwardAlways, Change::ForwardBusy] {
            let mut h = House::with(MAIL);
            h.wants("200", change(to(number)));
            h.call("200");
            if h.w
                .sent
                .iter()
                .any(|s| s.destination.remote() == h.phones[0].flow.remote)
            {
                let invite = h.invited(0);
                h.says(0, &invite, 486);
            }
            let answer = h.told();
            assert_eq!(answer.status(), 200, "{number}");
            let contact = header(&answer, HeaderName::Contact);
            assert!(contact.contains(service), "{number}: {contact}");
        }
    }
    // A paging group, where the user may call it.
    for (user, status) in [("200", None), ("300", Some(403))] {
        let mut h = House::with("");
        h.wants(user, Change::ForwardAlways(to("8500")));
        h.call(user);
        match status {
            None => assert_eq!(h.invited(2).method(), Method::Invite),
            Some(status) => assert_eq!(h.told().status(), status),
        }
    }
    // No code is dialled so.
    let mut h = House::with("");
    h.wants("200", Change::ForwardAlways(to("*130")));
    h.call("200");
    assert_eq!(h.told().status(), 404);
}

/// What stands between two phones gives way, too, and the caller is answered by what takes its
/// place.
#[test]
fn a_bridge_gives_way_to_a_service() {
    let mut h = House::with(RECORDED);
    h.wants("200", Change::ForwardAlways(to("650")));
    h.call("200");
    assert_eq!(h.told().status(), 200);
    assert_eq!(h.said(), ["queue-thankyou"]);
    // One that plays while a phone rings, to the mailbox.
    let mut h = House::with(MAIL);
    h.wants("300", Change::RingBack(to("music")));
    h.call("300");
    let invite = h.invited(1);
    h.says(1, &invite, 180);
    h.says(1, &invite, 486);
    assert_eq!(h.told().status(), 200);
    assert_eq!(h.said(), mailbox("300", "vm-isonphone"));
}
