//! Codecs that one side has and the other has not: what each side reads, and what the studio does.

use super::tests::*;
use super::*;
use crate::media::Task;
use crate::media::order::Format;
use crate::relay::{Side, leg_toward, side_of_leg, stream_of_leg};
use crate::wire::bencode::{Dictionary, Value};
use crate::wire::sdp::Sdp;

const A: &str = "198.51.100.10:4000";
const B: &str = "198.51.100.20:5000";

/// An answer in these formats.
fn in_formats(formats: &str) -> String {
    let mut body = ANSWER.split("m=audio").next().unwrap().to_owned();
    body += &format!("m=audio 5000 RTP/AVP {formats}\r\n");
    for (number, map) in [
        ("0", "PCMU/8000"),
        ("8", "PCMA/8000"),
        ("9", "G722/8000"),
        ("101", "telephone-event/8000"),
    ] {
        if formats.split(' ').any(|f| f == number) {
            body += &format!("a=rtpmap:{number} {map}\r\n");
        }
    }
    body
}

fn codec(lists: &[(&str, &[&str])]) -> (&'static str, Value) {
    let mut all = Dictionary::new();
    for (key, names) in lists {
        all.add(*key, list(names));
    }
    ("codec", all.into())
}

/// The formats that the first section names, and how they are mapped.
fn formats(body: &str) -> (String, Vec<String>) {
    let sdp = Sdp::parse(body.as_bytes()).unwrap();
    let media = &sdp.media[0];
    let text = |v: &[u8]| String::from_utf8(v.to_vec()).unwrap();
    (
        text(media.formats),
        media.attributes("rtpmap").map(text).collect(),
    )
}

fn ask(
    h: &mut Harness,
    command: &str,
    (from, to): (&str, &str),
    body: &str,
    more: &[(&str, Value)],
) -> String {
    let all = [
        &dialogue("call", from, to)[..],
        &[("sdp", body.into())],
        more,
    ];
    sdp(&h.request(command, &all.concat()))
}

/// Offers as rtpengine 10.5 writes them on, and the answers that its reader may give.
#[test]
fn offers_show_what_is_asked_for() {
    type Case<'a> = (&'a [(&'a str, &'a [&'a str])], &'a str, &'a str, &'a str);
    let cases: [Case<'_>; 9] = [
        (&[("transcode", &["G722"])], "0 8 9 101", "9 101", "0 101"),
        (
            &[("transcode", &["G722"])],
            "0 8 9 101",
            "0 8 101",
            "0 8 101",
        ),
        (&[("transcode", &["G722"])], "0 8 9 101", "8 9 101", "8 101"),
        (
            &[
                ("mask", &["all"]),
                ("transcode", &["G722", "telephone-event"]),
            ],
            "9 101",
            "9 101",
            "0 101",
        ),
        (
            &[("strip", &["all"]), ("transcode", &["PCMA"])],
            "8",
            "8",
            "8",
        ),
        (
            &[("transcode", &["nonsense"])],
            "0 8 101",
            "0 8 101",
            "0 8 101",
        ),
        (&[("transcode", &["PCMA"])], "0 8 101", "8 101", "8 101"),
        (
            &[("mask", &["PCMU"]), ("transcode", &["G722"])],
            "8 9 101",
            "9 101",
            "0 101",
        ),
        (
            &[("strip", &["PCMU"]), ("transcode", &["G722"])],
            "8 9 101",
            "9 101",
            "8 101",
        ),
    ];
    for (lists, offered, answer, answered) in cases {
        for as_flags in [false, true] {
            let mut h = Harness::new(8);
            let flags: Vec<String> = lists
                .iter()
                .flat_map(|(key, names)| names.iter().map(move |n| format!("codec-{key}-{n}")))
                .collect();
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let more = match as_flags {
                true => ("flags", list(&flags)),
                false => codec(lists),
            };
            // A script gives the same flags with the answer.
            let more = [more];
            let shown = ask(&mut h, "offer", ("a", ""), OFFER, &more);
            assert_eq!(formats(&shown).0, offered, "{lists:?}");
            let back = ask(&mut h, "answer", ("a", "b"), &in_formats(answer), &more);
            let (numbers, maps) = formats(&back);
            assert_eq!(numbers, answered, "{lists:?} {answer}");
            let named = maps.iter().map(|m| m.split(' ').next().unwrap());
            assert!(named.eq(numbers.split(' ')), "{back}");
        }
    }
}

#[cfg(feature = "opus")]
#[test]
fn what_has_no_number_of_its_own_gets_a_free_one() {
    let mut h = Harness::new(8);
    let taken = OFFER.replace("8 101", "8 96 101") + "a=rtpmap:96 speex/16000\r\n";
    let shown = ask(
        &mut h,
        "offer",
        ("a", ""),
        &taken,
        &[codec(&[("transcode", &["opus"])])],
    );
    let (numbers, maps) = formats(&shown);
    // What we cannot read goes.
    assert_eq!(numbers, "0 8 97 98 101");
    let wanted = ["97 opus/48000/2", "98 telephone-event/48000"];
    assert!(
        wanted.iter().all(|w| maps.iter().any(|m| m == w)),
        "{maps:?}"
    );
}

/// The legs that were opened since the last time, and the sides that were bridged.
fn legs(h: &mut Harness) -> (Vec<(Side, Format)>, Vec<Side>, usize) {
    let (mut opened, mut bridged, mut closed) = (Vec::new(), Vec::new(), 0);
    for order in h.orders.drain(..) {
        let side = side_of_leg(order.session()).unwrap();
        match order {
            Order::Open { format, .. } => opened.push((side, format)),
            Order::Do {
                session,
                what: Task::Bridge { with },
                ..
            } => {
                assert_eq!(with, leg_toward(session_of(session), 0, side.other()));
                bridged.push(side);
            }
            Order::Close { .. } => closed += 1,
            other => panic!("{other:?}"),
        }
    }
    (opened, bridged, closed)
}

fn session_of(leg: u64) -> u64 {
    crate::relay::session_of_leg(leg)
}

const WIDE: &[(&str, &[&str])] = &[("transcode", &["G722"])];

#[test]
fn legs_stand_between_sides_with_other_codecs() {
    let mut h = Harness::new(8);
    let more = [codec(WIDE)];
    let toward_b = port(&ask(&mut h, "offer", ("a", ""), OFFER, &more));
    assert!(h.orders.is_empty());
    let toward_a = port(&ask(
        &mut h,
        "answer",
        ("a", "b"),
        &in_formats("9 101"),
        &[],
    ));
    let (opened, bridged, closed) = legs(&mut h);
    assert_eq!((bridged, closed), (Side::BOTH.to_vec(), 0));
    let numbers: Vec<_> = opened
        .iter()
        .map(|(side, f)| (*side, f.payload_type, f.events, f.sends))
        .collect();
    assert_eq!(
        numbers,
        [
            (Side::Caller, 0, Some(101), true),
            (Side::Called, 9, Some(101), true)
        ]
    );
    assert!(h.heard(toward_a, A, 1) && h.heard(toward_b, B, 1));
    // The called holds, and is held: who offers shows the other what that used before.
    let held = in_formats("9 101") + "a=sendonly\r\n";
    let shown = ask(&mut h, "offer", ("b", "a"), &held, &[]);
    assert_eq!(formats(&shown).0, "9 0 101");
    assert!(legs(&mut h).0.is_empty());
    let answer = OFFER.replace("0 8 101", "0 101") + "a=recvonly\r\n";
    let back = ask(&mut h, "answer", ("b", "a"), &answer, &[]);
    assert_eq!(formats(&back).0, "9 101");
    let (opened, bridged, closed) = legs(&mut h);
    assert!(bridged.is_empty() && closed == 0);
    let sends: Vec<_> = opened.iter().map(|(side, f)| (*side, f.sends)).collect();
    assert_eq!(sends, [(Side::Caller, true), (Side::Called, false)]);
    // Once both have the same, nothing stands between them.
    ask(&mut h, "offer", ("a", "b"), OFFER, &more);
    ask(&mut h, "answer", ("a", "b"), &in_formats("0 101"), &[]);
    assert_eq!(legs(&mut h).2, 2);
    assert!(!h.heard(toward_a, A, 2) && !h.heard(toward_b, B, 2));
    h.delete(0);
    assert!(h.is_empty());
}

#[test]
fn who_offers_uses_what_is_accepted_whatever_the_answer_takes() {
    type Legs = Option<[(u8, Option<u8>); 2]>;
    let keys = Some(101);
    let mulaw = &[codec(&[("accept", &["PCMU"])])][..];
    let always = &[("flags", list(&["always-transcode"]))][..];
    let cases: [(&[_], &str, &str, Legs); 6] = [
        (mulaw, "8 101", "0 101", Some([(0, keys), (8, keys)])),
        (mulaw, "0 8 101", "0 101", None),
        (mulaw, "0", "0", None),
        // Keys become tones, and tones keys.
        (always, "0", "0 101", Some([(0, keys), (0, None)])),
        (always, "8 0 101", "0 101", Some([(0, keys), (8, keys)])),
        (always, "0 8 101", "0 101", None),
    ];
    for (asked, formats_of_b, told, wanted) in cases {
        let mut h = Harness::new(8);
        let shown = ask(&mut h, "offer", ("a", ""), OFFER, asked);
        assert_eq!(formats(&shown).0, "0 8 101");
        let back = ask(
            &mut h,
            "answer",
            ("a", "b"),
            &in_formats(formats_of_b),
            asked,
        );
        assert_eq!(formats(&back).0, told, "{asked:?} {formats_of_b}");
        let (opened, ..) = legs(&mut h);
        let opened: Vec<_> = opened
            .iter()
            .map(|(_, f)| (f.payload_type, f.events))
            .collect();
        assert_eq!(
            opened,
            wanted.map_or(Vec::new(), Vec::from),
            "{formats_of_b}"
        );
    }
}

#[test]
fn what_we_cannot_read_passes_where_nothing_is_added() {
    let mut h = Harness::new(8);
    let offer = OFFER.replace("0 8 101", "97 8 101") + "a=rtpmap:97 speex/16000\r\n";
    let asked = [codec(&[("accept", &["all"])])];
    let shown = ask(&mut h, "offer", ("a", ""), &offer, &asked);
    assert_eq!(formats(&shown).0, "97 8 101");
    let speex = in_formats("97 101") + "a=rtpmap:97 speex/16000\r\n";
    let back = ask(&mut h, "answer", ("a", "b"), &speex, &asked);
    assert_eq!(formats(&back).0, "97 101");
    assert!(h.orders.is_empty());
    // What is accepted was not offered.
    let mut h = Harness::new(8);
    let asked = [codec(&[("accept", &["G722"])])];
    ask(&mut h, "offer", ("a", ""), &offer, &asked);
    let both = in_formats("8 97 101") + "a=rtpmap:97 speex/16000\r\n";
    let back = ask(&mut h, "answer", ("a", "b"), &both, &asked);
    assert_eq!(formats(&back).0, "8 97 101");
    assert!(h.orders.is_empty());
}

#[cfg(feature = "opus")]
#[test]
fn bit_rates_are_bounded_as_the_script_says() {
    let mut h = Harness::new(8);
    let offer = OFFER.replace("0 8 101", "96 101") + "a=rtpmap:96 opus/48000/2\r\n";
    let asked = [codec(&[
        ("transcode", &["PCMU"]),
        ("set", &["opus/48000/2/20000"]),
    ])];
    ask(&mut h, "offer", ("a", ""), &offer, &asked);
    ask(&mut h, "answer", ("a", "b"), &in_formats("0 101"), &asked);
    let (opened, ..) = legs(&mut h);
    assert_eq!(opened[0].1.wishes.bits_per_second_max, 20_000);
}

#[test]
fn a_call_with_other_codecs_is_recorded_too() {
    let mut settings = settings();
    settings.notice = vec![crate::media::Sound::Silence { ms: 250 }];
    let mut h = Harness::with(settings, 8);
    ask(&mut h, "offer", ("a", ""), OFFER, &[codec(WIDE)]);
    ask(&mut h, "answer", ("a", "b"), &in_formats("9 101"), &[]);
    legs(&mut h);
    h.request("start recording", &dialogue("call", "", ""));
    let played: Vec<(u64, u32)> = h
        .orders
        .iter()
        .filter_map(|order| match order {
            Order::Do {
                session,
                task,
                what: Task::Play { .. },
            } => Some((*session, *task)),
            _ => None,
        })
        .collect();
    let tape = h.orders.iter().find_map(|order| match order {
        Order::Tape {
            what: crate::media::order::TapeOrder::Tap { formats, .. },
            ..
        } => Some(formats.clone()),
        _ => None,
    });
    let heard = tape
        .unwrap()
        .map(|side| side.iter().map(|f| f.payload_type).collect::<Vec<_>>());
    assert_eq!(heard, [vec![0, 8], vec![9]]);
    h.orders.clear();
    for (session, task) in played {
        h.done(session, task);
    }
    assert_eq!(legs(&mut h), (Vec::new(), Side::BOTH.to_vec(), 0));
    h.request("stop recording", &dialogue("call", "", ""));
    h.orders
        .retain(|order| !matches!(order, Order::Tape { .. }));
    assert_eq!(legs(&mut h), (Vec::new(), Vec::new(), 0));
}

#[test]
fn what_cannot_be_taken_is_refused() {
    let mut h = Harness::new(8);
    ask(&mut h, "offer", ("a", ""), OFFER, &[codec(WIDE)]);
    let unknown = in_formats("97") + "a=rtpmap:97 speex/16000\r\n";
    let all = [
        &dialogue("call", "a", "b")[..],
        &[("sdp", (&*unknown).into())],
    ];
    let refused = error(&h.request("answer", &all.concat()));
    assert!(refused.contains("none of the codecs"), "{refused}");
    // A stream that is refused is none.
    let none = in_formats("9").replace("m=audio 5000", "m=audio 0");
    ask(&mut h, "answer", ("a", "b"), &none, &[]);
    assert!(h.orders.is_empty());
    h.delete(0);
    // Fax has no codecs.
    let fax = OFFER
        .replace("m=audio", "m=image")
        .replace("RTP/AVP", "udptl");
    ask(&mut h, "offer", ("a", ""), &fax, &[codec(WIDE)]);
}

#[test]
fn media_that_begin_anew_get_the_legs_again() {
    let mut h = Harness::new(8);
    ask(&mut h, "offer", ("a", ""), OFFER, &[codec(WIDE)]);
    ask(&mut h, "answer", ("a", "b"), &in_formats("9 101"), &[]);
    let before = legs(&mut h);
    let session = *NG_SESSIONS.start();
    h.ng.handle_media(h.now, crate::relay::MediaEvent::Opened { session });
    h.drive();
    assert_eq!(legs(&mut h), before);
    // A serial fork: whoever is called next has its own codecs.
    ask(&mut h, "offer", ("a", ""), OFFER, &[codec(WIDE)]);
    assert_eq!(legs(&mut h).2, 2);
    ask(&mut h, "answer", ("a", "c"), &in_formats("0 101"), &[]);
    assert_eq!(legs(&mut h), (Vec::new(), Vec::new(), 0));
}

/// The formats that each section names.
fn each_formats(body: &str) -> Vec<String> {
    let sdp = Sdp::parse(body.as_bytes()).unwrap();
    let text = |v: &[u8]| String::from_utf8(v.to_vec()).unwrap();
    sdp.media.iter().map(|media| text(media.formats)).collect()
}

/// The legs that were opened, bridged and closed, by streams.
fn streams_of_legs(h: &mut Harness) -> [Vec<(usize, Side)>; 3] {
    let mut told = [const { Vec::new() }; 3];
    for order in h.orders.drain(..) {
        let leg = order.session();
        let place = match order {
            Order::Open { format, .. } => {
                assert_eq!(usize::from(format.stream), stream_of_leg(leg));
                0
            }
            Order::Do {
                what: Task::Bridge { with },
                ..
            } => {
                assert_eq!(stream_of_leg(with), stream_of_leg(leg));
                1
            }
            Order::Close { .. } => 2,
            other => panic!("{other:?}"),
        };
        told[place].push((stream_of_leg(leg), side_of_leg(leg).unwrap()));
    }
    told
}

#[test]
fn each_stream_of_sound_is_converted_by_itself() {
    let mut h = Harness::new(8);
    let more = [codec(WIDE)];
    let shown = ask(&mut h, "offer", ("a", ""), &twice(OFFER), &more);
    assert_eq!(each_formats(&shown), ["0 8 9 101", "0 8 9 101"]);
    // The first has a codec in common, the second not.
    let (_, wide) = in_formats("9 101")
        .split_once("m=audio 5000")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let plain_and_wide = format!("{}m=audio 5010{wide}", in_formats("0 101"));
    let back = ask(&mut h, "answer", ("a", "b"), &plain_and_wide, &[]);
    assert_eq!(each_formats(&back), ["0 101", "0 101"]);
    let both = |stream| Side::BOTH.map(|side| (stream, side)).to_vec();
    assert_eq!(streams_of_legs(&mut h), [both(1), both(1), Vec::new()]);
    // In a later offer neither.
    let shown = ask(&mut h, "offer", ("a", "b"), &twice(OFFER), &more);
    assert_eq!(each_formats(&shown), ["0 8 9 101", "0 8 9 101"]);
    let both_wide = twice(&in_formats("9 101"));
    let back = ask(&mut h, "answer", ("a", "b"), &both_wide, &[]);
    assert_eq!(each_formats(&back), ["0 101", "0 101"]);
    assert_eq!(streams_of_legs(&mut h), [both(0), both(0), Vec::new()]);
    // The studio has no room for one: the other goes on.
    let session = leg_toward(*NG_SESSIONS.start(), 1, Side::Called);
    h.ng.handle_studio(h.now, crate::media::News::Failed { session });
    h.drive();
    assert_eq!(streams_of_legs(&mut h), [Vec::new(), Vec::new(), both(1)]);
    // One without any codec that was offered refuses the whole answer, as with one stream.
    let none = twice(&in_formats("9 101")).replace("5010 RTP/AVP 9 101", "5010 RTP/AVP 97");
    let all = [
        &dialogue("call", "a", "b")[..],
        &[("sdp", none.as_str().into())],
    ]
    .concat();
    let refused = error(&h.request("answer", &all));
    assert!(refused.contains("none of the codecs"), "{refused}");
}
