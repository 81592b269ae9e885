//! CESoPSN packets, and a session that hears them.

use voip::base::{Instant, Rng};
use voip::pri::cesopsn::{Input, Output, RtpSettings, Session, SessionSettings};
use voip::wire::cesopsn::{Encapsulation, Packet};

/// What is read is written the same, and a session that hears it keeps its bounds.
///
/// The bytes are datagrams, each behind its length (one byte, in steps of four) and the milliseconds
/// that pass before it (one byte).
pub fn cesopsn(bytes: &[u8]) {
    for encapsulation in [Encapsulation::Plain, Encapsulation::Rtp] {
        codec(bytes, encapsulation);
    }
    let rtp = RtpSettings {
        payload_type: 97,
        ssrc: 1,
        peer_ssrc: None,
    };
    for rtp in [None, Some(rtp)] {
        let settings = SessionSettings {
            rtp,
            ..SessionSettings::default()
        };
        session(bytes, settings);
    }
}

fn codec(bytes: &[u8], encapsulation: Encapsulation) {
    if let Ok(packet) = Packet::parse(bytes, encapsulation) {
        let mut out = Vec::new();
        packet.emit(&mut out);
        assert_eq!(Packet::parse(&out, encapsulation), Ok(packet));
        assert!(out.len() <= bytes.len(), "nothing is added");
    }
}

fn session(mut bytes: &[u8], settings: SessionSettings) {
    let mut now = Instant::ZERO;
    let mut rng = Rng::from_u64(1);
    let mut session = Session::new(settings, &mut rng, now).expect("the defaults are in range");
    let (mut units, mut passed) = (0, 0);
    while let [length, wait, rest @ ..] = bytes {
        let (datagram, rest) = rest.split_at((usize::from(*length) * 4).min(rest.len()));
        bytes = rest;
        session.handle_input(Input::Packet {
            now,
            bytes: datagram,
        });
        for _ in 0..*wait {
            passed += 1;
            now = Instant::from_millis(passed);
            session.handle_timeout(now);
            while let Some(output) = session.poll_output() {
                units += u64::from(matches!(output, Output::Unit(_)));
            }
        }
        assert!(session.waiting() <= 64, "the buffer is bounded");
    }
    assert_eq!(units, passed, "a unit each millisecond");
    assert_eq!(session.counters().undrained, 0);
}
