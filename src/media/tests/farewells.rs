//! What a leg says last: its BYE.

use super::*;
use crate::wire::rtp::rtcp;

fn open(studio: &mut Studio, format: Format, what: Task) {
    let (now, session) = (Instant::ZERO, 7);
    let open = Order::Open {
        session,
        format,
        seed: 5,
    };
    studio.handle_order(now, open);
    let begin = Order::Do {
        session,
        task: 1,
        what,
    };
    studio.handle_order(now, begin);
}

fn close(studio: &mut Studio, ms: u64) -> Option<Farewell> {
    let now = Instant::from_millis(ms);
    studio.handle_order(now, Order::Close { session: 7 });
    let farewell = studio.poll_farewell();
    assert_eq!(studio.poll_farewell(), None);
    farewell
}

fn dial_tone() -> Task {
    Task::Play {
        sounds: vec![beep(10_000)],
        rounds: None,
        until_key: false,
    }
}

#[test]
fn a_leg_that_closes_says_goodbye_in_a_compound() {
    let mut studio = Studio::new(4, ANCHOR);
    open(&mut studio, format(), dial_tone());
    let packets = run(&mut studio, 3000);
    let ssrc = Packet::new_checked(&packets[0].1).unwrap().header().ssrc;
    let farewell = close(&mut studio, 3000).unwrap();
    assert_eq!((farewell.session, farewell.stream), (7, 0));
    let compound: Vec<_> = rtcp::packets(&farewell.packet).collect();
    let kinds: Vec<_> = compound.iter().map(|p| p.kind).collect();
    // A sender report, as sound left just now (RFC 3550 §6.4).
    assert_eq!(kinds, [200, 202, 203]);
    assert_eq!(compound[0].reporter(), Some(ssrc));
    let sent = compound[0].sender().map(|info| info.packets);
    assert_eq!(sent, Some(packets.len() as u32));
    assert_eq!(compound[1].cname().map(|(of, _)| of), Some(ssrc));
    assert!(compound[2].leaving().eq([ssrc]));
    // Once: it is gone.
    assert_eq!(close(&mut studio, 3001), None);
}

#[test]
fn a_leg_that_said_nothing_has_nothing_to_take_back() {
    let mut studio = Studio::new(4, ANCHOR);
    open(&mut studio, format(), Task::Rest);
    assert_eq!(close(&mut studio, 10), None);
}

#[test]
fn the_goodbye_of_a_secure_leg_is_srtcp() {
    let key = |fill: u8| Crypto {
        tag: 1,
        master: MasterKey::generate(Profile::AesCm128HmacSha1_80, |bytes| bytes.fill(fill)),
        lifetime: None,
        mki: None,
    };
    let ours = key(1);
    let keys = Keys {
        ours: ours.to_string().into(),
        theirs: key(2).to_string().into(),
    };
    let format = Format {
        keys: Some(keys),
        ..format()
    };
    let mut studio = Studio::new(4, ANCHOR);
    open(&mut studio, format, dial_tone());
    run(&mut studio, 100);
    let mut packet = close(&mut studio, 100).unwrap().packet;
    // All but the first eight bytes is encrypted (RFC 3711 §3.4).
    assert!(rtcp::packets(&packet).all(|p| p.kind != rtcp::BYE));
    let mut far = Unprotector::new(&ours.master, None, None);
    let length = far.unprotect_rtcp(&mut packet).unwrap();
    let kinds: Vec<_> = rtcp::packets(&packet[..length]).map(|p| p.kind).collect();
    assert_eq!(kinds, [200, 202, 203]);
}
