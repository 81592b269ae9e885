//! The services without a proxy: a caller's messages, and what comes back.

use super::*;
use crate::base::{Anchor, Transport};
use crate::call::{CallSettings, CallTable, CallerInfo, MediaPolicy};
use crate::config::Relay;
use crate::media::Task;
use crate::relay::PortPool;
use std::time::Duration;

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8\r\n";

struct World {
    pbx: Pbx,
    config: Config,
    calls: CallTable,
    rooms: Roster,
    rng: Rng,
    now: Instant,
    flow: Flow,
}

impl World {
    fn new() -> Self {
        let config = Config::default();
        let settings = CallSettings {
            shard: 0,
            calls_max: 10,
            anchor: Anchor {
                instant: Instant::ZERO,
                unix_ms: 0,
            },
            media: MediaPolicy {
                relay: Relay::Nat,
                addresses: Default::default(),
            },
            duration_max: Duration::from_secs(3600),
        };
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.7:5060".parse().unwrap(),
            connection: None,
        };
        Self {
            pbx: Pbx::new(&config),
            config,
            rooms: Roster::new(),
            calls: CallTable::new(settings, PortPool::new(20_000, 20_099, 0, 1)),
            rng: Rng::from_u64(1),
            now: Instant::ZERO,
            flow,
        }
    }

    fn request(&self, method: &str, to_tag: &str, cseq: u32, body: &str) -> Message {
        let to = match to_tag {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let content = match body {
            "" => String::new(),
            _ => "Content-Type: application/sdp\r\n".to_owned(),
        };
        let text = format!(
            "{method} sip:echo@example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{method}{cseq}\r\n\
             Record-Route: <sip:token2@192.0.2.1;lr>, <sip:token1@192.0.2.1;lr>\r\n\
             From: <sip:a@example.com>;tag=a\r\nTo: <sip:*130@example.com>{to}\r\n\
             Contact: <sip:a@192.0.2.7>\r\nCall-ID: c\r\nCSeq: {cseq} {method}\r\n\
             {content}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Message::parse(text.into()).unwrap()
    }

    fn send(&mut self, message: &Message) {
        let inside = Flow::internal(&self.flow, self.flow.local);
        let bytes = message.bytes().clone();
        self.with(|pbx, cx| pbx.on_message(cx, &inside, bytes));
    }

    fn with(&mut self, act: impl FnOnce(&mut Pbx, &mut Context<'_>)) {
        let house = super::stage::Household::default();
        let mut cx = Context {
            now: self.now,
            anchor: Anchor {
                instant: Instant::ZERO,
                unix_ms: 0,
            },
            shard: (0, 1),
            config: &self.config,
            house: house.lend(),
            mailboxes: &Mailboxes::new(),
            calls: &self.calls,
            rooms: &self.rooms,
            rng: &mut self.rng,
        };
        act(&mut self.pbx, &mut cx);
    }

    /// A call that the proxy has let in.
    fn call(&mut self, body: &str) -> Message {
        let invite = self.request("INVITE", "", 1, body);
        let info = CallerInfo::default();
        self.calls
            .begin(self.now, &invite, &self.flow, info)
            .unwrap();
        self.send(&invite);
        self.messages().remove(0)
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.pbx.poll_output()).collect()
    }

    fn messages(&mut self) -> Vec<Message> {
        let messages = self
            .outputs()
            .into_iter()
            .filter_map(|output| match output {
                Output::Message { bytes, .. } => Some(Message::parse(bytes).unwrap()),
                Output::Media(_)
                | Output::Note { .. }
                | Output::Persist(_)
                | Output::Detour { .. }
                | Output::Tell(..) => None,
            });
        messages.collect()
    }

    fn orders(&mut self) -> Vec<Order> {
        let orders = self
            .outputs()
            .into_iter()
            .filter_map(|output| match output {
                Output::Message { .. }
                | Output::Note { .. }
                | Output::Persist(_)
                | Output::Detour { .. }
                | Output::Tell(..) => None,
                Output::Media(order) => Some(order),
            });
        orders.collect()
    }

    /// Lets time pass; the statuses or methods of what was sent, and when.
    fn pass(&mut self, until: Duration) -> Vec<(u64, String)> {
        let mut seen = Vec::new();
        while let Some(due) = self
            .pbx
            .poll_timeout()
            .filter(|at| *at <= Instant::ZERO + until)
        {
            self.now = due;
            self.with(|pbx, cx| pbx.handle_timeout(cx));
            let sent = self.messages();
            seen.extend(
                sent.iter()
                    .map(|m| (due.as_millis(), m.method().to_string())),
            );
        }
        seen
    }
}

fn tag(answer: &Message) -> String {
    String::from_utf8(to_tag(answer).to_vec()).unwrap()
}

#[test]
fn a_call_is_answered_and_echoed_until_it_ends() {
    let mut world = World::new();
    let invite = world.request("INVITE", "", 1, OFFER);
    let info = CallerInfo::default();
    world
        .calls
        .begin(world.now, &invite, &world.flow, info)
        .unwrap();
    world.send(&invite);
    let (mut answers, mut orders) = (Vec::new(), Vec::new());
    for output in world.outputs() {
        match output {
            Output::Message { bytes, .. } => answers.push(Message::parse(bytes).unwrap()),
            Output::Media(order) => orders.push(order),
            Output::Note { .. } | Output::Persist(_) | Output::Detour { .. } | Output::Tell(..) => {
                panic!("{output:?}")
            }
        }
    }
    let [answer] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(answer.status(), 200);
    let routes: Vec<&[u8]> = answer.values(HeaderName::RecordRoute).collect();
    assert_eq!(routes.len(), 2);
    assert_eq!(
        answer.header(HeaderName::Contact),
        Some(&b"<sip:echo@192.0.2.1:5060;transport=udp>"[..])
    );
    assert!(
        matches!(
            &orders[..],
            [
                Order::Open { .. },
                Order::Do {
                    what: Task::Play { .. },
                    ..
                }
            ]
        ),
        "{orders:?}"
    );
    let tag = tag(answer);
    world.send(&world.request("ACK", &tag, 1, ""));
    assert_eq!(world.pass(Duration::from_secs(100)), []);
    assert_eq!(world.pbx.len(), 1);
    world.send(&world.request("BYE", &tag, 2, ""));
    let outputs = world.outputs();
    assert!(matches!(
        &outputs[..],
        [Output::Message { .. }, Output::Media(Order::Close { .. })]
    ));
    assert!(world.pbx.is_empty());
    // What comes later belongs to nothing.
    world.send(&world.request("BYE", &tag, 3, ""));
    assert_eq!(world.messages()[0].status(), 481);
}

#[test]
fn an_answer_is_repeated_until_its_ack_and_then_given_up() {
    let mut world = World::new();
    let answer = world.call(OFFER);
    let seen = world.pass(Duration::from_secs(40));
    let times: Vec<u64> = seen.iter().map(|(at, _)| *at).collect();
    assert_eq!(
        times,
        [
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500, 32_000
        ]
    );
    assert_eq!(seen.last().unwrap().1, "BYE");
    assert_eq!(answer.status(), 200);
    assert!(world.pbx.is_empty());
}

#[test]
fn an_invite_without_offer_gets_ours_and_its_answer_comes_in_the_ack() {
    let mut world = World::new();
    let answer = world.call("");
    assert!(answer.body().starts_with(b"v=0\r\n"));
    let tag = tag(&answer);
    world.send(&world.request("ACK", &tag, 1, OFFER));
    assert!(matches!(
        &world.orders()[..],
        [Order::Open { .. }, Order::Do { .. }]
    ));
    // An ACK that brings none ends the call.
    let mut world = World::new();
    let answer = world.call("");
    let tag = self::tag(&answer);
    world.send(&world.request("ACK", &tag, 1, ""));
    let bye = world.messages().remove(0);
    assert_eq!(bye.method(), Method::Bye);
    let routes: Vec<&[u8]> = bye.values(HeaderName::Route).collect();
    assert_eq!(
        routes,
        [
            &b"<sip:token2@192.0.2.1;lr>"[..],
            b"<sip:token1@192.0.2.1;lr>"
        ]
    );
    assert_eq!(bye.request_uri(), b"sip:a@192.0.2.7");
}

#[test]
fn holding_and_resuming_turns_the_sound_off_and_on() {
    let mut world = World::new();
    let tag = tag(&world.call(OFFER));
    world.send(&world.request("ACK", &tag, 1, ""));
    let _ = world.outputs();
    for (cseq, direction, sends) in [(2, "sendonly", false), (3, "sendrecv", true)] {
        let offer = format!("{OFFER}a={direction}\r\n");
        world.send(&world.request("INVITE", &tag, cseq, &offer));
        let outputs = world.outputs();
        let [
            Output::Message { bytes, .. },
            Output::Media(Order::Open { format, .. }),
        ] = &outputs[..]
        else {
            panic!("{outputs:?}")
        };
        assert_eq!(format.sends, sends);
        assert_eq!(Message::parse(bytes.clone()).unwrap().status(), 200);
        world.send(&world.request("ACK", &tag, cseq, ""));
    }
    // An UPDATE needs no ACK.
    world.send(&world.request("UPDATE", &tag, 4, OFFER));
    assert_eq!(world.messages()[0].status(), 200);
    assert_eq!(world.pass(Duration::from_secs(60)), []);
}

fn announcement(world: &mut World) -> Message {
    let invite = world.request("INVITE", "", 1, OFFER);
    let info = CallerInfo::default();
    world
        .calls
        .begin(world.now, &invite, &world.flow, info)
        .unwrap();
    let bytes = String::from_utf8(invite.bytes().to_vec()).unwrap();
    let uri = "sip:announce@example.com;cause=404";
    let bytes = bytes.replacen("sip:echo@example.com", uri, 1);
    Message::parse(bytes.into()).unwrap()
}

#[test]
fn an_announcement_is_early_and_ends_in_its_status() {
    let mut world = World::new();
    let invite = announcement(&mut world);
    world.send(&invite);
    let outputs = world.outputs();
    let [
        Output::Message { bytes, .. },
        Output::Media(Order::Open { session, .. }),
        Output::Media(Order::Do { task, what, .. }),
    ] = &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    let early = Message::parse(bytes.clone()).unwrap();
    assert_eq!(early.status(), 183);
    assert!(
        matches!(
            what,
            Task::Play {
                rounds: Some(1),
                ..
            }
        ),
        "{what:?}"
    );
    // Nothing is repeated, and nothing ends it but what was said.
    assert_eq!(world.pass(Duration::from_secs(60)), []);
    let (session, task) = (*session, *task);
    world.with(|pbx, cx| {
        pbx.on_news(
            cx,
            &News::Done {
                session,
                task,
                played_ms: 0,
            },
        )
    });
    let failed = world.messages().remove(0);
    assert_eq!((failed.status(), tag(&failed)), (404, tag(&early)));
    assert!(world.pbx.is_empty());
}

#[test]
fn who_gives_up_in_an_announcement_is_let_go() {
    let mut world = World::new();
    let invite = announcement(&mut world);
    world.send(&invite);
    let _ = world.outputs();
    let cancel = world.request("CANCEL", "", 1, "");
    // Of another branch.
    world.send(&cancel);
    assert_eq!(world.messages()[0].status(), 481);
    let bytes = String::from_utf8(cancel.bytes().to_vec()).unwrap();
    let bytes = bytes.replacen("z9hG4bKCANCEL1", "z9hG4bKINVITE1", 1);
    world.send(&Message::parse(bytes.into()).unwrap());
    let answers: Vec<(u16, String)> = world
        .messages()
        .iter()
        .map(|m| (m.status(), m.cseq().unwrap().method.to_string()))
        .collect();
    let expected = [(200, "CANCEL".to_owned()), (487, "INVITE".to_owned())];
    assert_eq!(answers, expected);
    assert!(world.pbx.is_empty());
}

/// The statuses and methods of what was sent, in order.
fn outline(world: &mut World) -> Vec<(u16, String)> {
    let messages = world.messages();
    let outline = messages.iter().map(|m| {
        let status = if m.is_request() { 0 } else { m.status() };
        (status, m.cseq().unwrap().method.to_string())
    });
    outline.collect()
}

/// RFC 3261 §15 and RFC 3311 §5.2: what may happen before the answer.
#[test]
fn an_early_dialog_is_updated_and_ended_by_its_own_rules() {
    let begin = || {
        let mut world = World::new();
        let invite = announcement(&mut world);
        world.send(&invite);
        let session = world.orders()[0].session();
        (world, session)
    };
    let (mut world, session) = begin();
    let tag = {
        let key = world.pbx.by_session[&session];
        let name = world.pbx.legs.get(key).unwrap().dialog.name();
        String::from_utf8(name.1.to_vec()).unwrap()
    };
    // What an unreliable 183 says answers no offer yet (RFC 3262 §5, RFC 3311 §5.2).
    world.send(&world.request("UPDATE", &tag, 2, OFFER));
    assert_eq!(outline(&mut world), [(500, "UPDATE".to_owned())]);
    world.send(&world.request("BYE", &tag, 3, ""));
    let expected = [(200, "BYE".to_owned()), (487, "INVITE".to_owned())];
    assert_eq!(outline(&mut world), expected);
    assert!(world.pbx.is_empty());
    // A studio that is gone: no BYE, but an end of the INVITE.
    let (mut world, session) = begin();
    world.with(|pbx, cx| pbx.on_news(cx, &News::Failed { session }));
    assert_eq!(outline(&mut world), [(500, "INVITE".to_owned())]);
    assert!(world.pbx.is_empty());
}

#[test]
fn what_cannot_be_served_is_refused() {
    let mut world = World::new();
    let refused = world.call("v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nt=0 0\r\n");
    assert_eq!(refused.status(), 488);
    assert!(world.pbx.is_empty());
    let mut unknown = world.request("INVITE", "", 1, OFFER).bytes().to_vec();
    unknown.splice(7..15, *b"sip:nope");
    let inside = Flow::internal(&world.flow, world.flow.local);
    world.with(|pbx, cx| pbx.on_message(cx, &inside, unknown.into()));
    assert_eq!(world.messages()[0].status(), 404);
    world.send(&world.request("MESSAGE", "x", 1, ""));
    assert_eq!(world.messages()[0].status(), 481);
    world.with(|pbx, cx| pbx.on_message(cx, &inside, Bytes::from_static(b"garbage")));
    assert!(world.outputs().is_empty());
}

#[test]
fn programs_that_lead_in_a_circle_hang_up() {
    let text = "[[menu]]\nname = \"main\"\ngreeting = \"goodbye\"\nthen = \"hangup\"\n\
        open = \"mon 0:00-0:01\"\nclosed = \"queue:nobody\"\n\
        [[queue]]\nname = \"nobody\"\nlogins = [\"*\"]\noverflow = \"menu:main\"\n";
    let mut world = World::new();
    world.config = Config::parse(text, std::path::Path::new("voip.toml")).unwrap();
    let invite = world.request("INVITE", "", 1, OFFER);
    let invite = String::from_utf8(invite.bytes().to_vec()).unwrap();
    let invite = invite.replacen("sip:echo@example.com", "sip:menu@example.com;name=main", 1);
    let invite = Message::parse(invite.into()).unwrap();
    let info = CallerInfo::default();
    world
        .calls
        .begin(world.now, &invite, &world.flow, info)
        .unwrap();
    world.send(&invite);
    let sent = world.messages();
    let methods: Vec<String> = sent.iter().map(|m| m.method().to_string()).collect();
    assert_eq!(
        methods.last().map(String::as_str),
        Some("BYE"),
        "{methods:?}"
    );
    assert!(world.pbx.is_empty());
}

/// Somebody of another shard is transferred to whom a service serves here: it is told which service
/// that is, and the place here is given up.
#[test]
fn who_is_at_a_service_brings_others_of_other_shards_there() {
    let mut world = World::new();
    let answer = world.call(OFFER);
    let ours = tag(&answer);
    let ack = world.request("ACK", &ours, 1, "");
    world.send(&ack);
    world.outputs();
    let whom = Address {
        shard: 1,
        session: 9,
    };
    let bring = |to_tag: &str| {
        let dialog = format!("c;to-tag={to_tag};from-tag=a").into();
        Wish::Bring(Box::new(rooms::Bring { dialog, whom }))
    };
    let told = |world: &mut World, wish: Wish| {
        world.with(|pbx, cx| pbx.on_wish(cx, 0, wish));
        let outputs = world.outputs();
        let byes = outputs.iter().filter(
            |output| matches!(output, Output::Message { bytes, .. } if bytes.starts_with(b"BYE ")),
        );
        let byes = byes.count();
        let told = outputs.into_iter().find_map(|output| match output {
            Output::Tell(whom, wish) => Some((whom, wish)),
            _ => None,
        });
        (told, byes)
    };
    let nobody = told(&mut world, bring("nobody"));
    assert_eq!(nobody, (Some((whom, Wish::Alone)), 0));
    let service = b"sip:echo@example.com".as_slice().into();
    let found = told(&mut world, bring(&ours));
    assert_eq!(found, (Some((whom, Wish::Serve(service))), 1));
    assert!(world.pbx.is_empty());
}
