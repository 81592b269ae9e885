//! The ng protocol under whatever a client sends.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use voip::base::{Anchor, Instant, Rng};
use voip::call::Addresses;
use voip::config::IpNet;
use voip::media::Order;
use voip::media::file::is_name;
use voip::media::order::{TAPPED_FORMATS_MAX, TapeOrder};
use voip::ng::{Ng, Output, Settings};
use voip::relay::{PortPool, Relay, RelaySettings, SocketAction};
use voip::wire::bencode::Value;
use voip::wire::rtp::Coding;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const PAIRS: usize = 50;

/// Datagrams, cut at zero bytes, two seconds between them: each is answered at most once, with the
/// cookie that it bore; in the end no call is left and every port is free.
pub fn ng(bytes: &[u8]) {
    if let Ok(value) = Value::parse(bytes) {
        let mut out = Vec::new();
        value.emit(&mut out);
        let again = Value::parse(&out).expect("what was written can be read");
        let mut twice = Vec::new();
        again.emit(&mut twice);
        assert_eq!(out, twice);
    }
    let settings = Settings {
        addresses: Addresses {
            default_v4: Some(Ipv4Addr::new(203, 0, 113, 1)),
            interfaces: vec![(OURS, 24)],
            ..Addresses::default()
        },
        interfaces: Vec::new(),
        allow: vec![IpNet::parse("127.0.0.0/8").expect("sound")],
        calls_max: 4,
        anchor: Anchor::default(),
        delete_delay: Duration::from_secs(1),
        idle: Duration::from_secs(60),
        mark: "mark".into(),
        codings: Coding::usable(true),
        recording_max_ms: 60_000,
        timezone: "".into(),
        notice: Vec::new(),
    };
    let pool = PortPool::new(10_000, 10_000 + 2 * PAIRS as u16 - 1, 0, 1);
    let mut ng = Ng::new(Instant::ZERO, settings, pool, Rng::from_u64(1));
    let mut relay = Relay::new(RelaySettings::default());
    let mut now = Instant::from_millis(1);
    let mut bound = 0;
    let client = "127.0.0.1:9".parse().expect("sound");
    for datagram in bytes.split(|b| *b == 0).take(64) {
        ng.handle_datagram(now, client, datagram);
        let replies = drive(&mut ng, &mut relay, now, &mut bound);
        assert!(replies.len() <= 1);
        for reply in replies {
            let cookie = datagram.split(|b| *b == b' ').next();
            assert!(reply.starts_with(cookie.unwrap_or_default()));
        }
        now += Duration::from_secs(2);
        ng.handle_timeout(now);
        drive(&mut ng, &mut relay, now, &mut bound);
    }
    for _ in 0..200 {
        now += Duration::from_secs(60);
        relay.handle_timeout(now);
        ng.handle_timeout(now);
        drive(&mut ng, &mut relay, now, &mut bound);
    }
    assert_eq!((ng.calls(), relay.sessions(), bound), (0, 0, 0));
    assert_eq!(ng.ports_free(), PAIRS);
}

fn drive(ng: &mut Ng, relay: &mut Relay, now: Instant, bound: &mut i32) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    loop {
        while let Some(action) = relay.poll_socket() {
            *bound += match action {
                SocketAction::Bind(_) => 1,
                SocketAction::Unbind(_) => -1,
                SocketAction::Listen(_) => 0,
            };
        }
        if let Some(event) = relay.poll_event() {
            ng.handle_media(now, event);
            continue;
        }
        match ng.poll_output() {
            Some(Output::Reply { datagram, .. }) => replies.push(datagram),
            Some(Output::Media(command)) => relay.handle_command(now, command),
            Some(Output::Studio(Order::Tape {
                what: TapeOrder::Tap { file, formats, .. },
                ..
            })) => {
                assert!(is_name(&file) && formats.iter().all(|f| f.len() <= TAPPED_FORMATS_MAX));
            }
            Some(Output::Studio(_) | Output::Persist(_)) => {}
            None => return replies,
        }
    }
}
