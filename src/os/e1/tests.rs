use super::control::{Control, Ctl};
use super::device::DeviceLine;
use super::fake::Fake;
use super::mode::{Fault, Loop};
use super::pair::{PairLine, pair};
use super::port::{Line, Port};
use super::udp::CesopsnLine;
use super::{abi, abi::Plain};
use crate::base::{Instant, Rng};
use crate::pri::cesopsn::{RtpSettings, Session, SessionSettings};
use crate::pri::{
    Alarm, Alarms, Clocking, Event, IDLE, Span, SpanSettings, State, Timeslot, Timeslots, Unit,
};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

fn ms(n: u64) -> Instant {
    Instant::from_millis(n)
}

/// Octet `n` of what an end sends in a timeslot: never idle, and told by all of them.
fn octet(seed: u64, timeslot: Timeslot, n: u64) -> u8 {
    let mixed = (seed << 40 | u64::from(timeslot.number()) << 32 | n)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    match (mixed >> 56) as u8 {
        IDLE => 0,
        other => other,
    }
}

/// A caller on every timeslot of a port: sends its pattern, checks the far end's.
struct Caller<L> {
    port: Port<L>,
    timeslots: Timeslots,
    seed: u64,
    sent: [u64; 32],
    heard: [u64; 32],
    events: Vec<Event>,
}

impl<L: Line> Caller<L> {
    fn new(line: L, clocking: Clocking, timeslots: Timeslots, seed: u64) -> Self {
        let settings = SpanSettings {
            clocking,
            start: 4,
            ..SpanSettings::default()
        };
        let mut span = Span::new(settings, Instant::ZERO).unwrap();
        for timeslot in timeslots.iter() {
            span.open(timeslot, IDLE).unwrap();
        }
        Self {
            port: Port::new(span, line),
            timeslots,
            seed,
            sent: [0; 32],
            heard: [0; 32],
            events: Vec::new(),
        }
    }

    fn step(&mut self, now: Instant) {
        for timeslot in self.timeslots.iter() {
            let sent = &mut self.sent[timeslot.index()];
            // A few milliseconds ahead, so that none is late.
            while self.port.span().room(timeslot) > 512 - 64 {
                let next: [u8; 8] =
                    std::array::from_fn(|i| octet(self.seed, timeslot, *sent + i as u64));
                assert_eq!(self.port.span().send(timeslot, &next), Ok(8));
                *sent += 8;
            }
        }
        self.port.pump(now).unwrap();
        while let Some(event) = self.port.poll_event() {
            self.events.push(event);
        }
    }

    /// Every octet since the first that is not idle is the next of the far end's pattern.
    fn check(&mut self, far_seed: u64) {
        for timeslot in self.timeslots.iter() {
            let mut octets = [0; 64];
            let heard = &mut self.heard[timeslot.index()];
            loop {
                let count = self.port.span().receive(timeslot, &mut octets).unwrap();
                if count == 0 {
                    break;
                }
                for got in &octets[..count] {
                    if *heard == 0 && *got == IDLE {
                        continue;
                    }
                    let wanted = octet(far_seed, timeslot, *heard);
                    assert_eq!(*got, wanted, "timeslot {timeslot} octet {heard}");
                    *heard += 1;
                }
            }
        }
    }

    fn least_heard(&self) -> u64 {
        let heard = self.timeslots.iter().map(|t| self.heard[t.index()]);
        heard.min().unwrap()
    }
}

/// Two callers talk for `time_ms` of a time that is only counted.
fn converse<L: Line>(
    a: &mut Caller<L>,
    b: &mut Caller<L>,
    time_ms: u64,
    // Called with who has just spoken.
    mut crossed: impl FnMut(&mut Caller<L>),
) {
    for n in 1..=time_ms {
        a.step(ms(n));
        crossed(a);
        b.step(ms(n));
        crossed(b);
        let (seed_a, seed_b) = (a.seed, b.seed);
        a.check(seed_b);
        b.check(seed_a);
    }
    for caller in [a, b] {
        let c = caller.port.span().counters();
        let lost = (
            c.slip_delete,
            c.slip_repeat,
            c.channel_delete,
            c.channel_idle,
        );
        assert_eq!(lost, (0, 0, 0, 0), "{c:?}");
        assert_eq!((c.clock_skip_ms, c.undrained), (0, 0));
        assert!(caller.port.span().in_service());
        let most = time_ms * 8;
        let least = caller.least_heard();
        assert!(least <= most && least + 30 * 8 > most, "{least} of {most}");
    }
}

#[tokio::test]
async fn every_timeslot_crosses_a_unix_socket() {
    for seed in [1, 2, 3] {
        let (one, two) = pair().unwrap();
        let line = |end| PairLine::new(end).unwrap();
        let mut a = Caller::new(line(one), Clocking::Own, Timeslots::BEARING, seed);
        let mut b = Caller::new(line(two), Clocking::Own, Timeslots::BEARING, seed + 100);
        converse(&mut a, &mut b, 1_500, |_| {});
        assert_eq!((&a.events, &b.events), (&vec![], &vec![]));
        assert_eq!(a.port.line().counters(), Default::default());
    }
}

#[tokio::test]
async fn a_socket_whose_far_end_sleeps_fills_and_one_that_is_closed_ends() {
    let (one, two) = pair().unwrap();
    let mut a = Caller::new(
        PairLine::new(one).unwrap(),
        Clocking::Own,
        Timeslots::BEARING,
        1,
    );
    for n in 1..=3_000 {
        a.step(ms(n));
    }
    assert!(a.port.line().counters().refused > 1_000);
    let los = |e: &Event| matches!(e, Event::Alarms { alarms, .. } if *alarms == Alarm::Los.into());
    assert_eq!(a.events.iter().filter(|e| los(e)).count(), 1);
    // What is no unit is counted.
    nix::unistd::write(&two, &[0; 255]).unwrap();
    nix::unistd::write(&two, &[0; 300]).unwrap();
    a.step(ms(3_001));
    assert_eq!(a.port.line().counters().malformed, 2);
    drop(two);
    a.step(ms(3_002));
    assert_eq!(a.port.span().state(), State::Gone);
    assert_eq!(a.events.last(), Some(&Event::Gone { at: ms(3_002) }));
}

/// Waits until the kernel delivered something: loopback may be late on a loaded machine.
fn delivered(fd: &impl AsFd) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut wanted = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut wanted, PollTimeout::from(30_000_u16)).unwrap();
    assert_eq!(ready, 1, "nothing came");
}

fn udp_pair() -> (UdpSocket, UdpSocket) {
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let two = UdpSocket::bind("127.0.0.1:0").unwrap();
    one.connect(two.local_addr().unwrap()).unwrap();
    two.connect(one.local_addr().unwrap()).unwrap();
    (one, two)
}

fn cesopsn(socket: UdpSocket, settings: SessionSettings, seed: u64) -> CesopsnLine {
    let session = Session::new(settings, &mut Rng::from_u64(seed), Instant::ZERO).unwrap();
    CesopsnLine::new(socket, session).unwrap()
}

#[tokio::test]
async fn every_timeslot_crosses_udp() {
    let rtp = RtpSettings {
        payload_type: 97,
        ssrc: 5,
        peer_ssrc: Some(5),
    };
    for (timeslots, units_per_packet, rtp, seed) in [
        (Timeslots::BEARING, 1, None, 1),
        (Timeslots::from_bits(0x0001_00f0), 4, Some(rtp), 2),
    ] {
        let settings = SessionSettings {
            timeslots,
            units_per_packet,
            rtp,
            ..SessionSettings::default()
        };
        let (one, two) = udp_pair();
        let watched = [one.try_clone().unwrap(), two.try_clone().unwrap()];
        let line = |socket, seed| cesopsn(socket, settings, seed);
        let mut a = Caller::new(line(one, seed), Clocking::Line, timeslots, seed);
        let mut b = Caller::new(line(two, seed + 9), Clocking::Line, timeslots, seed + 100);
        let mut sent = [0; 2];
        converse(&mut a, &mut b, 1_500, |speaker| {
            let to = usize::from(speaker.seed < 100);
            let packets = speaker.port.line().session().counters().tx_packets;
            if packets > sent[to] {
                delivered(&watched[to]);
            }
            sent[to] = packets;
        });
        for caller in [&mut a, &mut b] {
            assert_eq!(caller.events, []);
            let c = caller.port.line().session().counters();
            assert_eq!(c.reception, Default::default());
            assert_eq!(c.malformed, 0);
            assert_eq!(caller.port.line().counters(), Default::default());
        }
    }
}

#[tokio::test]
async fn strangers_and_noise_on_udp_are_dropped_and_an_absent_far_end_is_told() {
    let (one, two) = udp_pair();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = one.local_addr().unwrap();
    stranger.send_to(&[0; 252], to).unwrap();
    let watched = one.try_clone().unwrap();
    let line = cesopsn(one, SessionSettings::default(), 1);
    let mut a = Caller::new(line, Clocking::Line, Timeslots::BEARING, 1);
    two.send(b"noise").unwrap();
    delivered(&watched);
    a.step(ms(1));
    let c = a.port.line().session().counters();
    assert_eq!(
        (c.malformed, c.rx_packets),
        (1, 0),
        "the stranger is not heard"
    );
    for n in 2..=1_100 {
        a.step(ms(n));
    }
    assert!(a.port.span().alarms().contains(Alarm::Los));
    assert!(a.port.line().session().counters().tx_packets > 1_000);
    // Nobody listens there any more: counted, and no end.
    drop(two);
    let mut n = 1_100;
    while a.port.line().counters().refused == 0 {
        n += 1;
        assert!(n < 100_000, "ECONNREFUSED never came");
        a.step(ms(n));
    }
    assert_ne!(a.port.span().state(), State::Gone);
}

/// A port that waits by itself hears what comes.
#[tokio::test]
async fn a_port_steps_when_the_line_or_the_clock_is_ready() {
    let clock = crate::os::clock::Clock::new();
    let (one, two) = pair().unwrap();
    let settings = SpanSettings {
        clocking: Clocking::Line,
        ..SpanSettings::default()
    };
    let span = Span::new(settings, clock.now()).unwrap();
    let mut port = Port::new(span, PairLine::new(one).unwrap());
    for n in 1..=200_u64 {
        nix::unistd::write(&two, Unit::filled(n as u8).bytes()).unwrap();
        while port.span().counters().rx_units < n {
            port.step(&clock).await.unwrap();
        }
    }
    assert_eq!(port.span().counters().tx_units, 200);
    // Silence wakes it, too.
    while !port.span().alarms().contains(Alarm::Los) {
        port.step(&clock).await.unwrap();
    }
    drop(two);
    while port.span().state() != State::Gone {
        port.step(&clock).await.unwrap();
    }
}

/// /dev/e1/ctl as far as one user of a span needs it.
struct OneSpan {
    events: OwnedFd,
    alarms: Arc<AtomicU32>,
}

impl AsRawFd for OneSpan {
    fn as_raw_fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }
}

impl Ctl for OneSpan {
    fn ioctl(&mut self, request: u64, argument: &mut [u8]) -> io::Result<()> {
        assert_eq!(request, abi::GET_STATUS);
        let mut status = abi::Status::from_bytes(argument).unwrap();
        assert_eq!((status.head.version, status.head.span), (1, 7));
        status.alarms = self.alarms.load(Ordering::Relaxed);
        argument.copy_from_slice(status.bytes_mut());
        Ok(())
    }

    fn read(&mut self, events: &mut [u8]) -> io::Result<usize> {
        nix::unistd::read(&self.events, events).map_err(io::Error::from)
    }
}

#[tokio::test]
async fn a_device_gives_units_and_the_alarms_of_its_span() {
    let (ours, device) = pair().unwrap();
    let (events, module) = pair().unwrap();
    let alarms = Arc::new(AtomicU32::new(abi::ALARM_LFA));
    let control = OneSpan {
        events,
        alarms: alarms.clone(),
    };
    let line = DeviceLine::new(7, ours, control).unwrap();
    let mut a = Caller::new(line, Clocking::Line, Timeslots::BEARING, 1);
    a.step(ms(1));
    assert_eq!(
        a.port.span().alarms(),
        Alarm::Lfa.into(),
        "as it was opened"
    );
    let tell = |span, kind: u16, alarms, lost| {
        let mut event = abi::Event {
            version: abi::ABI_VERSION,
            span,
            r#type: kind,
            alarms,
            lost,
            ..abi::Event::default()
        };
        nix::unistd::write(&module, event.bytes_mut()).unwrap();
    };
    tell(6, abi::EVENT_ALARM, abi::ALARM_LOS, 0);
    tell(7, abi::EVENT_SLIP, abi::ALARM_AIS, 0);
    tell(7, abi::EVENT_ALARM, 0, 0);
    a.step(ms(2));
    assert_eq!(
        a.port.span().alarms(),
        Alarms::NONE,
        "its own, and only alarms"
    );
    // Events were lost: the module is asked.
    alarms.store(abi::ALARM_RAI, Ordering::Relaxed);
    tell(3, abi::EVENT_SLIP, 0, 5);
    a.step(ms(3));
    assert_eq!(a.port.span().alarms(), Alarm::Rai.into());
    // Several units are read at once, as the device gives them, and each asks for one.
    let mut many = Vec::new();
    for n in 0..16 {
        many.extend(Unit::filled(n).bytes());
    }
    nix::unistd::write(&device, &many).unwrap();
    a.step(ms(4));
    let c = a.port.span().counters();
    assert_eq!((c.rx_units, c.tx_units), (16, 16));
    let mut unit = [0; 256];
    for n in 0..16 {
        assert_eq!(nix::unistd::read(&device, &mut unit).unwrap(), 256);
        let timeslot = Timeslot::new(5).unwrap();
        let sent = Unit::new(unit).timeslot(timeslot);
        let wanted: [u8; 8] = std::array::from_fn(|i| octet(1, timeslot, n * 8 + i as u64));
        // The caller is as far ahead as eight units.
        assert!(n >= 8 || sent == wanted, "unit {n}");
    }
    nix::unistd::write(&device, &[0; 300]).unwrap();
    a.step(ms(5));
    assert_eq!(a.port.line().counters().malformed, 1);
    tell(7, abi::EVENT_DESTROY, 0, 0);
    a.step(ms(6));
    assert_eq!(a.port.span().state(), State::Gone);
}

#[test]
fn requests_are_what_the_header_says() {
    let mut control = Control(Fake::default());
    let pair = abi::Create {
        backend: abi::BACKEND_PAIR,
        peer: abi::SPAN_ANY,
        ..abi::Create::default()
    };
    let made = control.create(abi::SPAN_ANY, pair).unwrap();
    assert_eq!((made.head.span, made.peer), (0, 1));
    let list = control.list().unwrap();
    assert_eq!((list.present, list.spans_max), (3, 32));
    let mut config = control.config(1).unwrap();
    assert_eq!(config.framing, abi::FRAMING_CRC4);
    config.rx_depth = 128;
    control.set_config(1, config).unwrap();
    assert_eq!(control.config(1).unwrap().rx_depth, 128);
    control.set_loop(0, Loop::Line).unwrap();
    assert_eq!(control.status(0).unwrap().r#loop, abi::LOOP_LINE);
    control.inject(1, Fault::Crc, 9).unwrap();
    assert_eq!(control.0.spans[&1].injected[&abi::INJECT_CRC], 9);
    control.0.spans.get_mut(&0).unwrap().counters.crc = 9;
    assert_eq!(control.counters(0, true).unwrap().crc, 9);
    assert_eq!(control.counters(0, false).unwrap().crc, 0);
    let error = control.line_state(0, true, 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
    control.destroy(1).unwrap();
    let events = control.events().unwrap();
    let kinds: Vec<_> = events.iter().map(|e| (e.span, e.r#type)).collect();
    assert_eq!(kinds, [(0, 3), (1, 3), (1, 4), (0, 4)]);
    let error = control.events().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    control.0.event(0, abi::EVENT_ALARM, 0, 0);
    control.0.events[0].version = 2;
    let error = control.events().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}
