//! The machines beside the RFC's figures, then the layer around them, under virtual time.

use super::client_invite::{self, ClientInvite};
use super::client_other::{self, ClientOther};
use super::server_invite::{self, ServerInvite};
use super::server_other::{self, ServerOther};
use super::step::{Pace, Step, Tell, Wake};
use super::*;
use crate::base::{ConnectionId, Transport};
use crate::wire::sip::HeaderName;
use std::net::SocketAddr;
use std::time::Duration;

const T1: u64 = 500;
const T4: u64 = 5000;
const LONG: u64 = 32_000;

fn request(method: &str, branch: &str, extra: &str) -> Bytes {
    Bytes::from(format!(
        "{method} sip:bob@example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1:5062;branch={branch}{extra}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=a1\r\n\
         To: <sip:bob@example.com>\r\n\
         Call-ID: c1@192.0.2.1\r\n\
         CSeq: 7 {method}\r\n\
         Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n\
         Content-Length: 0\r\n\r\n"
    ))
}

fn reply(to: &[u8], status: u16) -> Bytes {
    let message = Message::parse(Bytes::copy_from_slice(to)).unwrap();
    crate::wire::sip::ResponseBuilder::new(&message, status)
        .to_tag("b1")
        .render()
}

fn message(bytes: &Bytes) -> Message {
    Message::parse(bytes.clone()).unwrap()
}

fn pace(ms: u64, reliable: bool) -> Pace {
    Pace::new(Instant::from_millis(ms), &Settings::default(), reliable)
}

fn in_ms(ms: u64) -> Wake {
    Wake::In(Duration::from_millis(ms))
}

/// What is sent, told and armed, in short.
fn short(step: &Step) -> (&'static str, Tell, Wake) {
    let sent = match step.transmit.as_deref() {
        None => "",
        Some(bytes) => match bytes.split(|&b| b == b' ').next() {
            Some(b"INVITE") => "INVITE",
            Some(b"ACK") => "ACK",
            Some(b"OPTIONS") => "OPTIONS",
            Some(b"SIP/2.0") => match &bytes[8..11] {
                b"100" => "100",
                b"180" => "180",
                b"200" => "200",
                b"486" => "486",
                _ => "other status",
            },
            _ => "other",
        },
    };
    (sent, step.tell, step.wake)
}

mod machines {
    use super::*;

    /// What was before, what happens, whether the transport is reliable, what follows, the state.
    type Row<'a, B, H> = (&'a [B], H, bool, (&'a str, Tell, Wake), &'a str);

    fn name(state: &ClientInvite) -> &'static str {
        match state {
            ClientInvite::Calling { .. } => "Calling",
            ClientInvite::Proceeding { .. } => "Proceeding",
            ClientInvite::Completed { .. } => "Completed",
            ClientInvite::Accepted => "Accepted",
        }
    }

    /// A machine in the state that these responses lead to.
    fn client_invite(responses: &[u16], reliable: bool) -> ClientInvite {
        let invite = request("INVITE", "z9hG4bK1", "");
        let (mut machine, _) = ClientInvite::start(invite.clone(), &pace(0, reliable));
        for status in responses {
            let response = message(&reply(&invite, *status));
            machine.handle(
                &pace(0, reliable),
                client_invite::Input::Response(&response),
            );
        }
        machine
    }

    /// RFC 3261 figure 5 with RFC 6026 figure 1: each state, each event.
    #[test]
    fn client_invite_table() {
        use Tell::*;
        use Wake::*;
        let long = in_ms(LONG);
        let quiet = ("", Nothing, Keep);
        // Happening: 0 is a timer, 1 a transport error, else a response of that status.
        let rows: &[Row<'_, u16, u16>] = &[
            (&[], 180, false, ("", Response, Never), "Proceeding"),
            (&[], 200, false, ("", Response, long), "Accepted"),
            (&[], 486, false, ("ACK", Response, long), "Completed"),
            (&[], 486, true, ("ACK", Response, End), "Completed"),
            (&[], 0, false, ("INVITE", Nothing, in_ms(1000)), "Calling"),
            (&[], 1, false, ("", TransportError, End), "Calling"),
            (&[180], 183, false, ("", Response, Keep), "Proceeding"),
            (&[180], 200, false, ("", Response, long), "Accepted"),
            (&[180], 486, false, ("ACK", Response, long), "Completed"),
            (&[180], 0, false, ("", Nothing, Never), "Proceeding"),
            (&[180], 1, false, quiet, "Proceeding"),
            (&[486], 486, false, ("ACK", Nothing, Keep), "Completed"),
            (&[486], 180, false, quiet, "Completed"),
            (&[486], 200, false, quiet, "Completed"),
            (&[486], 0, false, ("", Nothing, End), "Completed"),
            (&[486], 1, false, ("", Nothing, End), "Completed"),
            (&[200], 200, false, ("", Response, Keep), "Accepted"),
            (&[200], 180, false, quiet, "Accepted"),
            (&[200], 486, false, quiet, "Accepted"),
            (&[200], 0, false, ("", Nothing, End), "Accepted"),
            (&[200], 1, false, quiet, "Accepted"),
        ];
        let invite = request("INVITE", "z9hG4bK1", "");
        for (before, event, reliable, expected, after) in rows {
            let mut machine = client_invite(before, *reliable);
            let pace = pace(T1, *reliable);
            let step = match event {
                0 => machine.handle(&pace, client_invite::Input::Timer),
                1 => machine.handle(&pace, client_invite::Input::TransportError),
                status => {
                    let response = message(&reply(&invite, *status));
                    machine.handle(&pace, client_invite::Input::Response(&response))
                }
            };
            let row = format!("{before:?} then {event}");
            assert_eq!(short(&step), *expected, "{row}");
            assert_eq!(name(&machine), *after, "{row}");
        }
        let mut machine = client_invite(&[], false);
        let step = machine.handle(&pace(LONG, false), client_invite::Input::Timer);
        assert_eq!(short(&step), ("", Timeout, End), "Timer B");
    }

    /// RFC 3261 figure 6.
    #[test]
    fn client_other_table() {
        use Tell::*;
        use Wake::*;
        use client_other::Input;
        let name = |state: &ClientOther| match state {
            ClientOther::Trying(_) => "Trying",
            ClientOther::Proceeding(_) => "Proceeding",
            ClientOther::Completed => "Completed",
        };
        let quiet = ("", Nothing, Keep);
        let got = |status| Input::Response { status };
        let rows: &[Row<'_, u16, Input>] = &[
            (&[], got(100), false, ("", Response, Keep), "Proceeding"),
            (&[], got(200), false, ("", Response, in_ms(T4)), "Completed"),
            (&[], got(404), true, ("", Response, End), "Completed"),
            (
                &[],
                Input::Timer,
                false,
                ("OPTIONS", Nothing, in_ms(1000)),
                "Trying",
            ),
            (
                &[],
                Input::TransportError,
                false,
                ("", TransportError, End),
                "Trying",
            ),
            (&[100], got(183), false, ("", Response, Keep), "Proceeding"),
            (
                &[100],
                got(200),
                false,
                ("", Response, in_ms(T4)),
                "Completed",
            ),
            (
                &[100],
                Input::Timer,
                false,
                ("OPTIONS", Nothing, in_ms(4000)),
                "Proceeding",
            ),
            (
                &[100],
                Input::TransportError,
                false,
                ("", TransportError, End),
                "Proceeding",
            ),
            (&[200], got(200), false, quiet, "Completed"),
            (&[200], got(100), false, quiet, "Completed"),
            (&[200], Input::Timer, false, ("", Nothing, End), "Completed"),
            (&[200], Input::TransportError, false, quiet, "Completed"),
        ];
        for (before, event, reliable, expected, after) in rows {
            let options = request("OPTIONS", "z9hG4bK1", "");
            let (mut machine, _) = ClientOther::start(options, &pace(0, *reliable));
            for status in *before {
                machine.handle(&pace(0, *reliable), got(*status));
            }
            let step = machine.handle(&pace(T1, *reliable), *event);
            let row = format!("{before:?} then {event:?}");
            assert_eq!(short(&step), *expected, "{row}");
            assert_eq!(name(&machine), *after, "{row}");
        }
        for before in [&[][..], &[100]] {
            let options = request("OPTIONS", "z9hG4bK1", "");
            let (mut machine, _) = ClientOther::start(options, &pace(0, false));
            for status in before {
                machine.handle(&pace(0, false), got(*status));
            }
            let step = machine.handle(&pace(LONG, false), Input::Timer);
            assert_eq!(short(&step), ("", Timeout, End), "Timer F");
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Happening {
        Repeated,
        Ack,
        Respond(u16),
        Timer,
        Late,
        Error,
    }

    /// RFC 3261 figure 7 with RFC 6026 figure 2.
    #[test]
    fn server_invite_table() {
        use Happening::*;
        use Tell::{AckMissing, Nothing};
        use Wake::*;
        let name = |state: &ServerInvite| match state {
            ServerInvite::Proceeding { .. } => "Proceeding",
            ServerInvite::Completed { .. } => "Completed",
            ServerInvite::Confirmed => "Confirmed",
            ServerInvite::Accepted { .. } => "Accepted",
        };
        let (quiet, long) = (("", Nothing, Keep), in_ms(LONG));
        let (p, c, f, a) = ("Proceeding", "Completed", "Confirmed", "Accepted");
        let ringing: &[Happening] = &[Respond(180)];
        let refused: &[Happening] = &[Respond(486)];
        let confirmed: &[Happening] = &[Respond(486), Ack];
        let answered: &[Happening] = &[Respond(200)];
        let rows: &[Row<'_, Happening, Happening>] = &[
            (&[], Repeated, false, ("100", Nothing, Never), p),
            (&[], Timer, false, ("100", Nothing, Never), p),
            (&[], Respond(180), false, ("180", Nothing, Never), p),
            (&[], Respond(200), false, ("200", Nothing, long), a),
            (&[], Respond(486), false, ("486", Nothing, in_ms(T1)), c),
            (&[], Respond(486), true, ("486", Nothing, long), c),
            (&[], Ack, false, quiet, p),
            (&[], Error, false, quiet, p),
            (ringing, Repeated, false, ("180", Nothing, Never), p),
            (ringing, Respond(200), false, ("200", Nothing, long), a),
            (ringing, Respond(486), false, ("486", Nothing, in_ms(T1)), c),
            (refused, Repeated, false, ("486", Nothing, Keep), c),
            (refused, Timer, false, ("486", Nothing, in_ms(1000)), c),
            (refused, Late, false, ("", AckMissing, End), c),
            (refused, Ack, false, ("", Nothing, in_ms(T4)), f),
            (refused, Ack, true, ("", Nothing, End), f),
            (refused, Respond(200), false, quiet, c),
            (refused, Error, false, ("", AckMissing, End), c),
            (confirmed, Repeated, false, quiet, f),
            (confirmed, Ack, false, quiet, f),
            (confirmed, Respond(200), false, quiet, f),
            (confirmed, Timer, false, ("", Nothing, End), f),
            (confirmed, Error, false, quiet, f),
            (answered, Repeated, false, quiet, a),
            (answered, Respond(200), false, ("200", Nothing, Keep), a),
            (answered, Respond(486), false, quiet, a),
            (answered, Respond(180), false, quiet, a),
            (answered, Ack, false, ("", Tell::Ack, Keep), a),
            (answered, Timer, false, ("", Nothing, End), a),
            (answered, Error, false, quiet, a),
        ];
        let invite = request("INVITE", "z9hG4bK1", "");
        let feed = |machine: &mut ServerInvite, at: u64, reliable: bool, event: Happening| {
            let (at, input) = match event {
                Repeated => (at, server_invite::Input::Repeated),
                Ack => (at, server_invite::Input::Ack),
                Respond(status) => {
                    let response = reply(&invite, status);
                    (at, server_invite::Input::Respond { status, response })
                }
                Timer => (at, server_invite::Input::Timer),
                Late => (LONG, server_invite::Input::Timer),
                Error => (at, server_invite::Input::TransportError),
            };
            machine.handle(&pace(at, reliable), input)
        };
        for (before, event, reliable, expected, after) in rows {
            let (mut machine, _) = ServerInvite::start(invite.clone());
            for earlier in *before {
                feed(&mut machine, 0, *reliable, *earlier);
            }
            let step = feed(&mut machine, T1, *reliable, *event);
            let row = format!("{before:?} then {event:?}");
            assert_eq!(short(&step), *expected, "{row}");
            assert_eq!(name(&machine), *after, "{row}");
        }
    }

    /// RFC 3261 figure 8.
    #[test]
    fn server_other_table() {
        use Happening::*;
        use Tell::Nothing;
        use Wake::*;
        let name = |state: &ServerOther| match state {
            ServerOther::Trying { .. } => "Trying",
            ServerOther::Proceeding { .. } => "Proceeding",
            ServerOther::Completed { .. } => "Completed",
        };
        let (quiet, long) = (("", Nothing, Keep), in_ms(LONG));
        let rows: &[Row<'_, u16, Happening>] = &[
            (&[], Repeated, false, quiet, "Trying"),
            (
                &[],
                Respond(180),
                false,
                ("180", Nothing, Keep),
                "Proceeding",
            ),
            (
                &[],
                Respond(200),
                false,
                ("200", Nothing, long),
                "Completed",
            ),
            (
                &[],
                Respond(200),
                true,
                ("200", Nothing, in_ms(T1)),
                "Completed",
            ),
            (&[], Timer, false, ("", Nothing, End), "Trying"),
            (&[], Error, false, quiet, "Trying"),
            (
                &[180],
                Repeated,
                false,
                ("180", Nothing, Keep),
                "Proceeding",
            ),
            (
                &[180],
                Respond(200),
                false,
                ("200", Nothing, long),
                "Completed",
            ),
            (&[180], Timer, false, ("", Nothing, End), "Proceeding"),
            (&[200], Repeated, false, ("200", Nothing, Keep), "Completed"),
            (&[200], Respond(486), false, quiet, "Completed"),
            (&[200], Timer, false, ("", Nothing, End), "Completed"),
            (&[200], Error, false, quiet, "Completed"),
        ];
        let options = request("OPTIONS", "z9hG4bK1", "");
        for (before, event, reliable, expected, after) in rows {
            let pace = pace(0, *reliable);
            let (mut machine, _) = ServerOther::start(options.clone(), &pace);
            let mut respond = |status| {
                let response = reply(&options, status);
                machine.handle(&pace, server_other::Input::Respond { status, response })
            };
            for status in *before {
                respond(*status);
            }
            let step = match event {
                Respond(status) => respond(*status),
                Repeated => machine.handle(&pace, server_other::Input::Repeated),
                Timer | Late => machine.handle(&pace, server_other::Input::Timer),
                Error | Ack => machine.handle(&pace, server_other::Input::TransportError),
            };
            let row = format!("{before:?} then {event:?}");
            assert_eq!(short(&step), *expected, "{row}");
            assert_eq!(name(&machine), *after, "{row}");
        }
    }
}

/// A layer, a clock, and what came out of it.
struct Rig {
    layer: TransactionLayer,
    now: u64,
    start: u64,
}

fn flow(transport: Transport) -> Flow {
    Flow {
        transport,
        local: "192.0.2.9:5060".parse().unwrap(),
        remote: "192.0.2.1:5062".parse().unwrap(),
        connection: transport.is_reliable().then_some(ConnectionId(4)),
    }
}

fn peer(transport: Transport) -> Destination {
    Destination::Address {
        transport,
        remote: "192.0.2.2:5060".parse().unwrap(),
        tls_name: None,
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self {
            layer: TransactionLayer::new(settings, Rng::from_u64(1)),
            now: 1_000_000,
            start: 1_000_000,
        }
    }

    fn at(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    fn get(&mut self, bytes: &Bytes) {
        self.get_by(flow(Transport::Udp), bytes);
    }

    fn get_by(&mut self, flow: Flow, bytes: &Bytes) {
        self.layer.receive(self.at(), flow, message(bytes));
    }

    fn send(&mut self, bytes: Bytes, transport: Transport) -> ClientKey {
        self.layer
            .send_request(self.at(), bytes, peer(transport), 77)
            .unwrap()
    }

    fn respond(&mut self, server: ServerKey, request: &Bytes, status: u16) {
        self.layer
            .respond(self.at(), server, reply(request, status));
    }

    /// First lines of what is sent.
    fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.layer.poll_transmit())
            .map(|t| first_line(&t.bytes))
            .collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.layer.poll_event()).collect()
    }

    /// The key of the one request that came.
    fn server(&mut self) -> ServerKey {
        match self.events().as_slice() {
            [Event::Request { server, .. }] => *server,
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass and notes when something was sent, in milliseconds since the start.
    fn pass(&mut self, ms: u64) -> Vec<(u64, String)> {
        let until = self.now + ms;
        let mut out = Vec::new();
        while let Some(next) = self.layer.poll_timeout().map(Instant::as_millis)
            && next <= until
        {
            self.now = self.now.max(next);
            self.layer.handle_timeout(self.at());
            let since = self.now - self.start;
            out.extend(self.sent().into_iter().map(|line| (since, line)));
        }
        self.now = until;
        out
    }

    fn counts(&self) -> (usize, usize) {
        let stats = self.layer.stats();
        (stats.servers, stats.clients)
    }
}

fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|&b| b == b'\r').next().unwrap();
    let text = String::from_utf8_lossy(line);
    let mut words = text.split(' ');
    match words.next() {
        Some("SIP/2.0") => words.next().unwrap().into(),
        other => other.unwrap().into(),
    }
}

fn times(sent: &[(u64, String)]) -> Vec<u64> {
    sent.iter().map(|(at, _)| *at).collect()
}

fn statuses(events: &[Event]) -> Vec<u16> {
    events
        .iter()
        .map(|event| match event {
            Event::Response {
                message, context, ..
            } => {
                assert_eq!(*context, 77);
                message.status()
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn timers_a_and_b() {
    let mut rig = Rig::new();
    rig.send(request("INVITE", "z9hG4bKx", ""), Transport::Udp);
    assert_eq!(rig.sent(), ["INVITE"]);
    let sent = rig.pass(LONG - 1);
    assert_eq!(times(&sent), [500, 1500, 3500, 7500, 15_500, 31_500]);
    assert!(rig.events().is_empty());
    assert!(rig.pass(1).is_empty());
    assert!(matches!(
        rig.events().as_slice(),
        [Event::Failed {
            why: Failure::Timeout,
            context: 77,
            ..
        }]
    ));
    assert_eq!(rig.counts(), (0, 0));
    assert_eq!(rig.layer.timers_armed(), 0);
}

#[test]
fn timers_e_and_f() {
    let mut rig = Rig::new();
    rig.send(request("OPTIONS", "z9hG4bKx", ""), Transport::Udp);
    let sent = rig.pass(LONG);
    assert_eq!(
        times(&sent[1..]),
        [
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert!(matches!(
        rig.events().as_slice(),
        [Event::Failed {
            why: Failure::Timeout,
            ..
        }]
    ));
    assert_eq!(rig.counts(), (0, 0));
}

#[test]
fn timer_e_goes_on_at_t2_after_a_provisional_response() {
    let mut rig = Rig::new();
    let options = request("OPTIONS", "z9hG4bKx", "");
    rig.send(options.clone(), Transport::Udp);
    rig.get(&reply(&options, 100));
    rig.sent();
    assert_eq!(times(&rig.pass(10_000)), [500, 4500, 8500]);
}

#[test]
fn reliable_transports_send_once() {
    for method in ["INVITE", "OPTIONS"] {
        let mut rig = Rig::new();
        rig.send(request(method, "z9hG4bKx", ""), Transport::Tcp);
        assert_eq!(rig.sent().len(), 1);
        assert!(rig.pass(LONG).is_empty());
        assert_eq!(rig.events().len(), 1, "Timer B or F");
        assert_eq!(rig.counts(), (0, 0));
    }
}

/// Inside the shard nothing is lost, whatever the transport that the path looks like.
#[test]
fn what_goes_inside_is_sent_once_and_soon_forgotten() {
    let outside = flow(Transport::Udp);
    let inside = Flow::internal(&outside, outside.local);
    for method in ["INVITE", "BYE"] {
        let mut rig = Rig::new();
        let sent = rig.layer.send_request(
            rig.at(),
            request(method, "z9hG4bKx", ""),
            Destination::Flow(inside),
            77,
        );
        assert!(sent.is_ok());
        assert_eq!(rig.sent().len(), 1);
        assert!(rig.pass(LONG).is_empty());
        assert_eq!(rig.events().len(), 1, "Timer B or F");
    }
    let mut rig = Rig::new();
    let bye = request("BYE", "z9hG4bKx", "");
    rig.get_by(inside, &bye);
    let server = rig.server();
    rig.respond(server, &bye, 200);
    rig.pass(1000);
    assert_eq!(rig.counts(), (0, 0));
}

#[test]
fn timers_g_and_h() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    rig.get(&invite);
    let server = rig.server();
    rig.respond(server, &invite, 486);
    let sent = rig.pass(LONG);
    assert_eq!(
        times(&sent[1..]),
        [
            500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500
        ]
    );
    assert!(matches!(rig.events().as_slice(), [Event::AckMissing { server: s }] if *s == server));
    assert_eq!(rig.counts(), (0, 0));
}

#[test]
fn trying_comes_by_itself() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    rig.get(&invite);
    assert_eq!(rig.pass(199), []);
    assert_eq!(rig.pass(1), [(200, "100".to_string())]);
    assert_eq!(rig.pass(60_000), []);
    let mut prompt = Rig::new();
    prompt.get(&invite);
    let server = prompt.server();
    prompt.respond(server, &invite, 180);
    prompt.sent();
    assert_eq!(prompt.pass(60_000), []);
    prompt.get(&invite);
    assert_eq!(prompt.sent(), ["180"]);
    assert!(prompt.events().is_empty());
    // No 100 for what is not an INVITE (RFC 3261 §17.2.2); and it ends unanswered.
    let mut other = Rig::new();
    other.get(&request("OPTIONS", "z9hG4bKx", ""));
    assert_eq!(other.pass(LONG), []);
    assert_eq!(other.counts(), (0, 0));
}

#[test]
fn refused_invite_is_acknowledged_and_absorbed() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    rig.get(&invite);
    let server = rig.server();
    rig.respond(server, &invite, 486);
    rig.get(&invite);
    assert_eq!(rig.sent(), ["486", "486"]);
    let ack = request("ACK", "z9hG4bKx", "");
    rig.get(&ack);
    rig.get(&ack);
    rig.get(&invite);
    assert!(rig.sent().is_empty() && rig.events().is_empty());
    assert_eq!(rig.pass(T4 - 1), []);
    assert_eq!(rig.counts(), (1, 0));
    rig.pass(1);
    assert_eq!(rig.counts(), (0, 0));
}

#[test]
fn answered_invite_passes_acks_and_more_answers() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    rig.get(&invite);
    let server = rig.server();
    rig.respond(server, &invite, 200);
    rig.respond(server, &invite, 200);
    rig.respond(server, &invite, 500);
    rig.get(&invite);
    assert_eq!(rig.sent(), ["200", "200"]);
    // A 2xx's ACK has a branch of its own; some senders repeat the INVITE's.
    rig.get(&request("ACK", "z9hG4bKother", ""));
    rig.get(&request("ACK", "z9hG4bKx", ""));
    let events = rig.events();
    assert!(events.iter().all(|e| matches!(e, Event::Ack { .. })) && events.len() == 2);
    assert!(rig.layer.request(server).is_none());
    rig.pass(LONG);
    assert_eq!(rig.counts(), (0, 0));
    rig.respond(server, &invite, 200);
    assert!(rig.sent().is_empty(), "nothing is sent after Terminated");
}

#[test]
fn late_answers_reach_the_user() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    rig.send(invite.clone(), Transport::Udp);
    rig.get(&reply(&invite, 180));
    rig.get(&reply(&invite, 200));
    rig.pass(10_000);
    rig.get(&reply(&invite, 200));
    rig.get(&reply(&invite, 486));
    rig.get(&reply(&invite, 180));
    assert_eq!(statuses(&rig.events()), [180, 200, 200]);
    rig.pass(LONG);
    assert_eq!(rig.counts(), (0, 0));
    rig.get(&reply(&invite, 200));
    assert!(matches!(
        rig.events().as_slice(),
        [Event::StrayResponse { .. }]
    ));
}

#[test]
fn ack_of_a_refusal() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", ";rport");
    rig.send(invite.clone(), Transport::Udp);
    rig.layer.poll_transmit();
    rig.get(&reply(&invite, 486));
    let ack = message(&rig.layer.poll_transmit().unwrap().bytes);
    assert_eq!(ack.method(), crate::wire::sip::Method::Ack);
    assert_eq!(ack.request_uri(), b"sip:bob@example.com");
    assert_eq!(ack.vias().count(), 1);
    let via: &[u8] = b"SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKx;rport";
    assert_eq!(ack.top_via().unwrap().as_bytes(), via);
    assert_eq!(ack.to().unwrap().tag(), Some(&b"b1"[..]));
    assert_eq!(ack.from().unwrap().tag(), Some(&b"a1"[..]));
    assert_eq!(ack.cseq().unwrap().number, 7);
    let routes: Vec<&[u8]> = ack.values(HeaderName::Route).collect();
    assert_eq!(
        routes,
        [b"<sip:p1.example.com;lr>", b"<sip:p2.example.com;lr>"]
    );
    assert_eq!(ack.validate(), Ok(()));
    rig.get(&reply(&invite, 486));
    assert_eq!(rig.sent(), ["ACK"]);
    assert_eq!(statuses(&rig.events()), [486]);
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    let client = rig.send(invite.clone(), Transport::Udp);
    let reason = Bytes::from_static(b"SIP;cause=200;text=\"Call completed elsewhere\"");
    rig.layer.cancel(rig.at(), client, Some(reason.clone()));
    assert_eq!(rig.sent(), ["INVITE"]);
    rig.get(&reply(&invite, 180));
    let cancel = rig.layer.poll_transmit().unwrap();
    let cancel = message(&cancel.bytes);
    assert_eq!(cancel.method(), crate::wire::sip::Method::Cancel);
    assert_eq!(cancel.top_via().unwrap().branch(), Some(&b"z9hG4bKx"[..]));
    assert_eq!(cancel.to().unwrap().tag(), None);
    assert_eq!(cancel.header_by_str("Reason"), Some(&reason[..]));
    assert_eq!(cancel.validate(), Ok(()));
    // Once is enough.
    rig.layer.cancel(rig.at(), client, None);
    assert!(rig.sent().is_empty());
    rig.get(&reply(cancel.bytes(), 200));
    rig.get(&reply(&invite, 487));
    assert_eq!(statuses(&rig.events()), [180, 487], "CANCEL's 200 is ours");
    assert_eq!(rig.sent(), ["ACK"]);
    rig.pass(LONG);
    assert_eq!(rig.counts(), (0, 0));
}

#[test]
fn cancel_loses_against_an_answer() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    let client = rig.send(invite.clone(), Transport::Udp);
    rig.layer.cancel(rig.at(), client, None);
    rig.get(&reply(&invite, 200));
    assert_eq!(statuses(&rig.events()), [200]);
    assert_eq!(rig.sent(), ["INVITE"]);
    rig.layer.cancel(rig.at(), client, None);
    assert!(rig.sent().is_empty());
}

#[test]
fn cancelled_without_a_final_response_ends_after_64_t1() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    let client = rig.send(invite.clone(), Transport::Udp);
    rig.get(&reply(&invite, 180));
    rig.pass(100_000);
    rig.events();
    rig.layer.cancel(rig.at(), client, None);
    rig.pass(LONG);
    assert!(matches!(
        rig.events().as_slice(),
        [Event::Failed {
            why: Failure::Timeout,
            ..
        }]
    ));
    assert_eq!(rig.counts(), (0, 0), "the CANCEL itself timed out silently");
}

#[test]
fn cancel_finds_its_invite() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    let cancel = request("CANCEL", "z9hG4bKx", "");
    rig.get(&invite);
    let server = rig.server();
    rig.get(&cancel);
    rig.get(&cancel);
    assert_eq!(rig.sent(), ["200", "200"]);
    let events = rig.events();
    assert!(
        matches!(events.as_slice(), [Event::Cancelled { server: s, .. }] if *s == server),
        "once: {events:?}"
    );
    rig.respond(server, &invite, 487);
    assert_eq!(rig.sent(), ["487"]);
}

#[test]
fn cancel_after_the_final_response_changes_nothing() {
    for status in [200, 486] {
        let mut rig = Rig::new();
        let invite = request("INVITE", "z9hG4bKx", "");
        rig.get(&invite);
        let server = rig.server();
        rig.respond(server, &invite, status);
        rig.get(&request("CANCEL", "z9hG4bKx", ""));
        assert!(rig.events().is_empty());
        assert_eq!(rig.sent(), [status.to_string(), "200".to_string()]);
    }
}

#[test]
fn cancel_without_invite_is_the_users() {
    let mut rig = Rig::new();
    let cancel = request("CANCEL", "z9hG4bKx", "");
    rig.get(&cancel);
    let server = match rig.events().as_slice() {
        [Event::StrayCancel { server, .. }] => *server,
        other => panic!("{other:?}"),
    };
    rig.respond(server, &cancel, 481);
    assert_eq!(rig.sent(), ["481"]);
}

/// §17.2.3: what else than the branch must be equal.
#[test]
fn what_tells_transactions_apart() {
    let mut rig = Rig::new();
    let invite = request("INVITE", "z9hG4bKx", "");
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8(invite.to_vec()).unwrap();
        assert!(text.contains(from));
        Bytes::from(text.replace(from, to))
    };
    rig.get(&invite);
    rig.server();
    for other in [
        changed("z9hG4bKx", "z9hG4bKy"),
        changed("192.0.2.1:5062;", "192.0.2.3:5062;"),
        changed("192.0.2.1:5062;", "192.0.2.1;"),
        changed("INVITE", "OPTIONS"),
    ] {
        rig.get(&other);
        rig.server();
    }
    for same in [
        changed("CSeq: 7", "CSeq: 8"),
        changed("bob", "carol"),
        changed("branch", "BRANCH"),
    ] {
        rig.get(&same);
        assert!(rig.events().is_empty());
    }
    assert_eq!(rig.layer.stats().requests_received, 5);
    assert_eq!(rig.layer.stats().request_retransmissions_received, 3);
}

#[test]
fn rfc_2543_requests_match_by_their_headers() {
    for branch in ["1", "z9hG4bK", ""] {
        let mut rig = Rig::new();
        let via = |bytes: Bytes| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            Bytes::from(match branch {
                "" => text.replace(";branch=", ""),
                _ => text,
            })
        };
        let invite = via(request("INVITE", branch, ""));
        rig.get(&invite);
        let server = rig.server();
        rig.get(&invite);
        assert_eq!(rig.sent(), ["100"]);
        rig.respond(server, &invite, 486);
        let ack = via(request("ACK", branch, ""));
        rig.get(&ack);
        assert!(
            matches!(rig.events().as_slice(), [Event::Ack { .. }]),
            "an ACK with another To tag"
        );
        let text = String::from_utf8(ack.to_vec()).unwrap();
        let tagged = text.replace("To: <sip:bob@example.com>", "$0;tag=b1");
        let tagged = tagged.replace("$0", "To: <sip:bob@example.com>");
        rig.get(&Bytes::from(tagged));
        assert!(rig.events().is_empty());
        rig.sent();
        assert_eq!(rig.pass(LONG), [], "Timer G has ended");
        rig.get(&via(request("INVITE", branch, "")));
        let server = rig.server();
        rig.get(&via(request("CANCEL", branch, "")));
        assert!(matches!(
            rig.events().as_slice(),
            [Event::Cancelled { server: s, .. }] if *s == server
        ));
    }
}

#[test]
fn responses_go_back_as_18_2_2_says() {
    let from = |remote: &str, transport| Flow {
        remote: remote.parse().unwrap(),
        ..flow(transport)
    };
    let udp = Transport::Udp;
    let rows = [
        // Same address and port as sent-by: nothing to add.
        ("", from("192.0.2.1:5062", udp), "192.0.2.1:5062", ""),
        // Another port without rport: back to sent-by's port.
        ("", from("192.0.2.1:7777", udp), "192.0.2.1:5062", ""),
        // Another address: received, sent-by's port.
        (
            "",
            from("198.51.100.7:7777", udp),
            "198.51.100.7:5062",
            ";received=198.51.100.7",
        ),
        (
            ";rport",
            from("198.51.100.7:7777", udp),
            "198.51.100.7:7777",
            ";received=198.51.100.7;rport=7777",
        ),
        (
            ";rport",
            from("192.0.2.1:5062", udp),
            "192.0.2.1:5062",
            ";received=192.0.2.1;rport=5062",
        ),
        // What a sender claims of itself does not count.
        (
            ";rport=1;received=203.0.113.99;x=\"a;rport\"",
            from("198.51.100.7:7777", udp),
            "198.51.100.7:7777",
            ";x=\"a;rport\";received=198.51.100.7;rport=7777",
        ),
        (
            ";rport",
            from("[::ffff:198.51.100.7]:7777", udp),
            "[::ffff:198.51.100.7]:7777",
            ";received=198.51.100.7;rport=7777",
        ),
        (
            ";rport",
            from("[2001:db8::7]:7777", udp),
            "[2001:db8::7]:7777",
            ";received=2001:db8::7;rport=7777",
        ),
        (
            "",
            from("198.51.100.7:7777", Transport::Tcp),
            "198.51.100.7:7777",
            ";received=198.51.100.7",
        ),
    ];
    for (extra, flow, expected, added) in rows {
        let mut rig = Rig::new();
        let options = request("OPTIONS", "z9hG4bKx", extra);
        rig.get_by(flow, &options);
        let server = rig.server();
        // As local answers come: the Via as in the request.
        rig.respond(server, &options, 200);
        let transmit = rig.layer.poll_transmit().unwrap();
        let remote: SocketAddr = expected.parse().unwrap();
        assert_eq!(
            transmit.destination,
            Destination::Flow(Flow { remote, ..flow })
        );
        let response = message(&transmit.bytes);
        let via = String::from_utf8_lossy(response.top_via().unwrap().as_bytes()).into_owned();
        let plain = "SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKx";
        if extra.contains("received") {
            // A Via that says `received` is taken for one that was stamped on the way out.
            assert!(via.starts_with(plain));
        } else {
            assert_eq!(via, format!("{plain}{added}"));
        }
        // As forwarded ones come: stamped on the way out.
        let stamped = stamp_top_via(&message(&options), &flow);
        let value = stamped.map(|value| String::from_utf8(value).unwrap());
        let value = value.unwrap_or_else(|| plain.to_string());
        assert_eq!(value, format!("{plain}{added}"));
    }
}

/// The top Via may be folded, joined to the next by a comma, in compact form, or hold quotes.
#[test]
fn responses_are_stamped_however_their_via_is_written() {
    let via = "SIP/2.0/UDP h.example.com;branch=z9hG4bKx";
    let rows = [
        ("Via: $, SIP/2.0/UDP other", "Via: $+, SIP/2.0/UDP other"),
        (
            "v:$\r\nVia: SIP/2.0/UDP other",
            "v:$+\r\nVia: SIP/2.0/UDP other",
        ),
        ("VIA : $\r\n ;x=y", "VIA : $\r\n ;x=y+"),
        (
            "Via: $;x=\"a,b;c\\\"\" , SIP/2.0/UDP o",
            "Via: $;x=\"a,b;c\\\"\"+ , SIP/2.0/UDP o",
        ),
        ("Via: $;received=192.0.2.7", "Via: $;received=192.0.2.7"),
        ("X: y\r\nvia: $", "X: y\r\nvia: $+"),
        ("X: y", "X: y"),
    ];
    let flow = flow(Transport::Udp);
    for (before, after) in rows {
        let write = |headers: &str| {
            let headers = headers
                .replace('$', via)
                .replace('+', ";received=192.0.2.1");
            Bytes::from(format!("SIP/2.0 200 OK\r\n{headers}\r\nCall-ID: 1\r\n\r\n"))
        };
        let got = via::stamp_response(write(before), &flow);
        assert_eq!(got, write(after), "{before}");
    }
}

#[test]
fn a_dead_connection_is_replaced_once() {
    for (transport, method) in [
        (Transport::Tcp, "OPTIONS"),
        (Transport::Tcp, "INVITE"),
        (Transport::Tls, "INVITE"),
    ] {
        let mut rig = Rig::new();
        let bytes = request(method, "z9hG4bKx", "");
        rig.get_by(flow(transport), &bytes);
        let server = rig.server();
        rig.respond(server, &bytes, 200);
        let first = rig.layer.poll_transmit().unwrap();
        assert_eq!(first.destination, Destination::Flow(flow(transport)));
        rig.layer.transmit_failed(rig.at(), first.tag);
        let second = rig.layer.poll_transmit().unwrap();
        assert_eq!(
            second.destination,
            Destination::Address {
                transport,
                remote: "192.0.2.1:5062".parse().unwrap(),
                tls_name: None,
            }
        );
        assert_eq!(second.bytes, first.bytes);
        rig.layer.transmit_failed(rig.at(), second.tag);
        assert!(rig.sent().is_empty());
        rig.pass(LONG);
        assert_eq!(rig.counts(), (0, 0));
    }
    let mut rig = Rig::new();
    let options = request("OPTIONS", "z9hG4bKx", "");
    rig.get_by(flow(Transport::Ws), &options);
    let server = rig.server();
    rig.respond(server, &options, 200);
    let tag = rig.layer.poll_transmit().unwrap().tag;
    rig.layer.transmit_failed(rig.at(), tag);
    assert!(rig.sent().is_empty(), "a browser accepts no connections");
}

#[test]
fn a_request_that_cannot_be_sent_fails_at_once() {
    for method in ["INVITE", "OPTIONS"] {
        let mut rig = Rig::new();
        rig.send(request(method, "z9hG4bKx", ""), Transport::Tcp);
        let tag = rig.layer.poll_transmit().unwrap().tag;
        rig.layer.transmit_failed(rig.at(), tag);
        rig.layer.transmit_failed(rig.at(), tag);
        assert!(matches!(
            rig.events().as_slice(),
            [Event::Failed {
                why: Failure::Transport,
                ..
            }]
        ));
        assert_eq!(rig.counts(), (0, 0));
    }
}

#[test]
fn full_tables_answer_503_without_state() {
    let mut rig = Rig::with(Settings {
        server_max: 32,
        client_max: 1,
        ..Settings::default()
    });
    let options = |n: usize| request("OPTIONS", &format!("z9hG4bK{n}"), ";rport");
    for n in 0..30 {
        rig.get(&options(n));
    }
    assert!(rig.sent().is_empty());
    assert_eq!(rig.events().len(), 30);
    rig.get(&options(30));
    let refusal = rig.layer.poll_transmit().unwrap();
    rig.get(&options(30));
    let again = rig.layer.poll_transmit().unwrap();
    assert_eq!(refusal.bytes, again.bytes, "the same To tag each time");
    let refusal = message(&refusal.bytes);
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusal.header_by_str("Retry-After"), Some(&b"5"[..]));
    assert!(refusal.top_via().unwrap().received().is_some());
    assert!(rig.events().is_empty());
    // What ends a call still has room.
    rig.get(&request("BYE", "z9hG4bKbye", ""));
    assert_eq!(rig.events().len(), 1);
    assert_eq!(rig.layer.stats().refused_overload, 2);
    rig.send(options(1), Transport::Udp);
    let full = rig
        .layer
        .send_request(rig.at(), options(2), peer(Transport::Udp), 0);
    assert_eq!(full, Err(SendError::Overload));
    rig.pass(LONG);
    assert_eq!(rig.counts(), (0, 0));
}

#[test]
fn nonsense_from_the_user_is_refused() {
    let mut rig = Rig::new();
    for bytes in [
        &b""[..],
        b"INVITE",
        b"INVITE sip:a SIP/2.0\r\nVia: x\r\n\r\n",
    ] {
        let sent =
            rig.layer
                .send_request(rig.at(), Bytes::from_static(bytes), peer(Transport::Udp), 0);
        assert_eq!(sent, Err(SendError::Malformed));
    }
    rig.get(&request("OPTIONS", "z9hG4bKx", ""));
    let server = rig.server();
    for bytes in [
        &b""[..],
        b"SIP/2.0 ",
        b"SIP/2.0 999 X\r\n\r\n",
        b"SIP/2.0 2x0",
    ] {
        rig.layer
            .respond(rig.at(), server, Bytes::from_static(bytes));
    }
    assert!(rig.sent().is_empty());
}

#[test]
fn branches_differ() {
    let mut rig = Rig::new();
    let mut all: Vec<_> = (0..1000).map(|_| rig.layer.new_branch()).collect();
    assert!(all.iter().all(|b| b.starts_with(b"z9hG4bK")));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 1000);
}

/// Whatever happens in whatever order, every transaction ends and leaves nothing behind.
#[test]
fn random_histories_end() {
    for seed in 0..300 {
        let mut rng = Rng::from_u64(seed);
        let mut rig = Rig::new();
        let mut servers = Vec::new();
        let mut clients = Vec::new();
        let mut tags = Vec::new();
        for _ in 0..120 {
            let method = ["INVITE", "OPTIONS", "ACK", "CANCEL", "BYE"][rng.below(5) as usize];
            let branch = format!("z9hG4bK{}", rng.below(6));
            let bytes = request(method, &branch, ["", ";rport"][rng.below(2) as usize]);
            let transport = [Transport::Udp, Transport::Tcp][rng.below(2) as usize];
            let status = [100, 180, 200, 302, 486, 603][rng.below(6) as usize];
            match rng.below(8) {
                0 | 1 => rig.get_by(flow(transport), &bytes),
                2 => {
                    let branch = String::from_utf8(rig.layer.new_branch().to_vec()).unwrap();
                    let bytes = request(["INVITE", "BYE"][rng.below(2) as usize], &branch, "");
                    clients.push((rig.send(bytes.clone(), transport), bytes));
                }
                3 => {
                    if let Some((server, request)) = pick(&mut rng, &servers) {
                        rig.respond(server, &request, status);
                    }
                }
                4 => {
                    if let Some((_, request)) = pick(&mut rng, &clients) {
                        rig.get(&reply(&request, status));
                    }
                }
                5 => {
                    if let Some((client, _)) = pick(&mut rng, &clients) {
                        match rng.below(4) {
                            0 => rig.layer.abandon(client),
                            _ => rig.layer.cancel(rig.at(), client, None),
                        }
                    }
                }
                6 => {
                    if let Some(tag) = pick(&mut rng, &tags)
                        && rng.chance(1, 4)
                    {
                        rig.layer.transmit_failed(rig.at(), tag);
                    }
                }
                _ => {
                    rig.pass(rng.below(20_000));
                }
            }
            for event in rig.events() {
                if let Event::Request {
                    server, message, ..
                } = event
                {
                    servers.push((server, message.bytes().clone()));
                }
            }
            tags.extend(std::iter::from_fn(|| rig.layer.poll_transmit()).map(|t| t.tag));
        }
        for (server, request) in &servers {
            rig.respond(*server, request, 500);
        }
        for (client, _) in &clients {
            rig.layer.cancel(rig.at(), *client, None);
        }
        rig.pass(2 * LONG + T4);
        assert_eq!(rig.counts(), (0, 0), "seed {seed}");
        assert_eq!(rig.layer.timers_armed(), 0, "seed {seed}");
        assert!(rig.layer.by_request.is_empty() && rig.layer.by_branch.is_empty());
    }
}

fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> Option<T> {
    from.get(rng.below(from.len() as u64) as usize).cloned()
}

/// Four transactions of a call and their places in the tables stay far below 12 KB.
#[test]
fn a_transaction_is_small() {
    assert!(size_of::<Server>() <= 256, "{}", size_of::<Server>());
    assert!(size_of::<Client>() <= 256, "{}", size_of::<Client>());
}
