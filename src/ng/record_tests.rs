//! Recordings: what the studio is told, and that the stream comes back from it.

use super::tests::*;
use super::*;
use crate::base::Rng;
use crate::media::Task;
use crate::media::file::{FileOrder, is_name};
use crate::media::order::{Format, News, RecordEnd, TapeOrder};
use crate::relay::{
    MediaEvent, Side, leg_toward, session_of_leg, side_of_leg, stream_of_leg, tap_of,
};
use crate::srtp::{Crypto, MasterKey, Profile};
use crate::store::{EndCause, Record};
use crate::wire::bencode::Value;
use crate::wire::sdp::Sdp;

const A: &str = "198.51.100.10:4000";
const B: &str = "198.51.100.20:5000";

fn named() -> Vec<(&'static str, Value)> {
    dialogue("call", "", "")
}

/// What the studio was told since the last time.
fn told(h: &mut Harness) -> Vec<TapeOrder> {
    let orders = h.orders.drain(..).map(|order| match order {
        Order::Tape { what, .. } => what,
        other => panic!("{other:?}"),
    });
    orders.collect()
}

fn begun(orders: &[TapeOrder]) -> (u32, Box<str>, [Vec<Format>; 2]) {
    match orders {
        [
            TapeOrder::Tap {
                task,
                file,
                formats,
                max_ms: 7_200_000,
            },
        ] => (*task, file.clone(), formats.clone()),
        other => panic!("{other:?}"),
    }
}

fn types(formats: &[Vec<Format>; 2]) -> [Vec<(u8, Option<u8>)>; 2] {
    formats.clone().map(|side| {
        let each = side.iter().map(|f| (f.payload_type, f.events));
        each.collect()
    })
}

/// Our ports toward the caller and the called.
fn talking(h: &mut Harness, more: &[(&str, Value)]) -> (u16, u16) {
    let toward_b = port(&sdp(&h.offer(more)));
    (port(&sdp(&h.answer(&[]))), toward_b)
}

#[test]
fn a_call_is_heard_here_while_it_is_recorded() {
    let mut h = Harness::new(8);
    let (toward_a, toward_b) = talking(&mut h, &[]);
    assert!(!h.heard(toward_a, A, 1) && !h.heard(toward_b, B, 1));
    let reply = h.request("start recording", &named());
    assert_eq!(reply.entries().count(), 1, "{reply:?}");
    let (_, file, formats) = begun(&told(&mut h));
    // The night of the 14th in London is the 14th in Madrid, too.
    assert!(file.starts_with("recordings/2023/11/14/call-"), "{file}");
    // Each may use what the other asked for, and what it named itself.
    let mu_law = (0, Some(101));
    let both = vec![mu_law, (8, Some(101))];
    assert_eq!(types(&formats), [both.clone(), both]);
    assert!(h.heard(toward_a, A, 2) && h.heard(toward_b, B, 2));
    assert_eq!(h.ng.rows()[0].recording, &*file);
    // Again is no more.
    h.request("start recording", &named());
    assert!(told(&mut h).is_empty());
    h.request("stop recording", &named());
    assert_eq!(told(&mut h), [TapeOrder::Stop]);
    assert!(!h.heard(toward_a, A, 3) && !h.heard(toward_b, B, 3));
    assert_eq!(h.ng.rows()[0].recording, "");
    h.request("stop recording", &named());
    assert!(told(&mut h).is_empty());
    h.request("start recording", &named());
    let (_, other, _) = begun(&told(&mut h));
    assert_ne!(file, other);
    h.delete(0);
    assert!(h.is_empty() && h.ng.counts().recordings == 2);
}

#[test]
fn record_call_begins_with_the_answer_and_ends_with_the_call() {
    let mut h = Harness::new(8);
    let on = [("record call", Value::from("on"))];
    h.offer(&on);
    assert!(told(&mut h).is_empty());
    h.answer(&[]);
    let (task, file, formats) = begun(&told(&mut h));
    // Another codec, the same file.
    let wide = ANSWER.replace("RTP/AVP 0 101", "RTP/AVP 9 101");
    let again = [&dialogue("call", "b", "a")[..], &[("sdp", (&*wide).into())]].concat();
    sdp(&h.request("offer", &again));
    let (same_task, same_file, wider) = begun(&told(&mut h));
    assert_eq!((same_task, &same_file), (task, &file));
    assert_ne!(formats, wider);
    assert!(types(&wider)[0].contains(&(9, Some(101))));
    // A call that is over but kept is recorded no more, unless it goes on.
    h.delete(30);
    assert_eq!(told(&mut h), [TapeOrder::Stop]);
    h.offer(&[]);
    h.answer(&[]);
    let orders = told(&mut h);
    assert_ne!(begun(&orders[..1]).1, file);
    let off = [("record call", Value::from("off"))];
    h.offer(&off);
    assert_eq!(told(&mut h).last(), Some(&TapeOrder::Stop));
    // As a flag, too.
    h.delete(0);
    h.offer(&[("flags", list(&["record call"]))]);
    h.answer(&[]);
    begun(&told(&mut h));
}

#[test]
fn a_pause_keeps_the_file() {
    let mut h = Harness::new(8);
    talking(&mut h, &[]);
    h.request("pause recording", &named());
    assert!(told(&mut h).is_empty());
    h.request("start recording", &named());
    begun(&told(&mut h));
    let pause = [&named()[..], &[("flags", list(&["pause"]))]].concat();
    let key = [&named()[..], &[("pause", "yes".into())]].concat();
    for (command, more) in [
        ("pause recording", named()),
        ("stop recording", pause),
        ("stop recording", key),
    ] {
        h.request(command, &more);
        assert_eq!(told(&mut h), [TapeOrder::Pause(true)], "{command}");
        h.request("start recording", &named());
        assert_eq!(told(&mut h), [TapeOrder::Pause(false)], "{command}");
    }
}

#[test]
fn each_branch_has_a_file_whose_name_leads_nowhere() {
    let mut h = Harness::new(16);
    let nasty = "../../../etc/passwd\n\0;x";
    let long = "y".repeat(500);
    for call_id in [nasty, &long] {
        for (branch, tag) in [("z1", "b"), ("z2", "c")] {
            let more = [
                ("via-branch", Value::from(branch)),
                ("record-call", "yes".into()),
            ];
            let offer = [
                &dialogue(call_id, "a", "")[..],
                &[("sdp", OFFER.into())],
                &more,
            ];
            sdp(&h.request("offer", &offer.concat()));
            let answer = [
                &dialogue(call_id, "a", tag)[..],
                &[("sdp", ANSWER.into())],
                &more,
            ];
            sdp(&h.request("answer", &answer.concat()));
            let (_, file, _) = begun(&told(&mut h));
            assert!(is_name(&file) && file.split('/').count() == 5, "{file}");
        }
    }
}

#[test]
fn what_ended_by_itself_begins_again_only_if_told() {
    let mut h = Harness::new(8);
    let (toward_a, _) = talking(&mut h, &[("record-call", "on".into())]);
    for end in [RecordEnd::Limit, RecordEnd::Failed] {
        let (task, ..) = begun(&told(&mut h));
        assert!(h.heard(toward_a, A, 1));
        let session = *NG_SESSIONS.start();
        h.ng.handle_studio(
            h.now,
            News::Recorded {
                session,
                task,
                ms: 0,
                end,
            },
        );
        h.drive();
        assert!(!h.heard(toward_a, A, 2));
        h.offer(&[("to-tag", "b".into())]);
        h.answer(&[]);
        assert!(told(&mut h).is_empty() && !h.heard(toward_a, A, 3));
        h.request("start recording", &named());
        assert!(h.heard(toward_a, A, 4));
    }
    assert_eq!(h.ng.counts().recordings_failed, 1);
}

#[test]
fn media_that_begin_anew_write_another_file() {
    let mut h = Harness::new(8);
    talking(&mut h, &[("record-call", "on".into())]);
    let (_, first, _) = begun(&told(&mut h));
    let session = *NG_SESSIONS.start();
    h.ng.handle_media(h.now, MediaEvent::Opened { session });
    h.drive();
    let Some(Order::Files { what, .. }) = h.orders.first().cloned() else {
        panic!("{:?}", h.orders)
    };
    let file = first.clone();
    assert_eq!(what, FileOrder::Salvage { file });
    h.orders.remove(0);
    let (_, second, _) = begun(&told(&mut h));
    assert_ne!(first, second);
}

#[test]
fn what_cannot_be_read_is_not_recorded() {
    let mut h = Harness::new(8);
    let unknown = |body: &str| {
        body.replace("RTP/AVP 0 8 101", "RTP/AVP 97")
            .replace("RTP/AVP 0 101", "RTP/AVP 97")
            + "a=rtpmap:97 speex/16000\r\n"
    };
    // A codec that we do not know is silence in the file: the other side may well be readable.
    let fax = |body: &str| {
        body.replace("m=audio", "m=image")
            .replace("RTP/AVP", "udptl")
    };
    for (change, refused) in [(&unknown as &dyn Fn(&str) -> String, false), (&fax, true)] {
        let offer = [
            &dialogue("call", "a", "")[..],
            &[("sdp", (&*change(OFFER)).into())],
        ];
        sdp(&h.request("offer", &offer.concat()));
        let answer = [
            &dialogue("call", "a", "b")[..],
            &[("sdp", (&*change(ANSWER)).into())],
        ];
        sdp(&h.request("answer", &answer.concat()));
        let reply = h.request("start recording", &named());
        match refused {
            true => assert!(error(&reply).contains("nothing can be recorded")),
            false => assert_eq!(reply.entries().count(), 1),
        }
        told(&mut h);
        h.delete(0);
    }
}

/// A description made secure by a key, and the key.
fn secure(body: &str, seed: u64) -> String {
    let mut rng = Rng::from_u64(seed);
    let master = MasterKey::generate(Profile::AesCm128HmacSha1_80, |bytes| rng.fill(bytes));
    let crypto = Crypto {
        tag: 1,
        master,
        lifetime: None,
        mki: None,
    };
    body.replace("RTP/AVP", "RTP/SAVP") + &format!("a=crypto:{crypto}\r\n")
}

fn ask(h: &mut Harness, command: &str, body: &str, more: &[(&str, Value)]) -> String {
    let to = if command == "answer" { "b" } else { "" };
    let all = [
        &dialogue("call", "a", to)[..],
        &[("sdp", body.into())],
        more,
    ];
    sdp(&h.request(command, &all.concat()))
}

#[test]
fn secure_calls_are_recorded_under_keys_of_ours() {
    // Under their own keys they cannot be.
    let mut h = Harness::new(8);
    ask(&mut h, "offer", &secure(OFFER, 1), &[]);
    ask(&mut h, "answer", &secure(ANSWER, 2), &[]);
    let refused = error(&h.request("start recording", &named()));
    assert!(refused.contains("keys are the peers' own"), "{refused}");
    assert!(told(&mut h).is_empty());
    // Asked for in the offer, the keys are ours.
    let mut h = Harness::new(8);
    let on = [("record-call", Value::from("on"))];
    let offered = ask(&mut h, "offer", &secure(OFFER, 1), &on);
    let lines = |body: &str| -> Vec<String> {
        let sdp = Sdp::parse(body.as_bytes()).unwrap();
        let values = sdp.media[0].attributes("crypto");
        values
            .map(|v| String::from_utf8(v.to_vec()).unwrap())
            .collect()
    };
    let theirs = lines(&secure(OFFER, 1));
    assert!(!lines(&offered).is_empty() && !lines(&offered).contains(&theirs[0]));
    let answered = ask(&mut h, "answer", &secure(ANSWER, 2), &[]);
    assert_ne!(lines(&answered), lines(&secure(ANSWER, 2)));
    begun(&told(&mut h));
    let call = &h.ng.calls[&b"call"[..]];
    let legs = call.dialogues[0].legs(call.blocking).unwrap();
    for leg in &legs {
        assert!(leg.media[0].unwrap().tapped && leg.keys[0].is_some());
    }
}

/// What the studio was told of legs since the last time: the side, and what in a word.
fn legs_told(h: &mut Harness) -> Vec<(Side, &'static str)> {
    let orders = h.orders.drain(..).filter_map(|order| {
        let side = side_of_leg(order.session())?;
        assert_eq!(session_of_leg(order.session()), *NG_SESSIONS.start());
        let what = match order {
            Order::Open { .. } => "open",
            Order::Do {
                what: Task::Play { .. },
                ..
            } => "play",
            Order::Close { .. } => "close",
            other => panic!("{other:?}"),
        };
        Some((side, what))
    });
    orders.collect()
}

fn each(what: &[&'static str]) -> Vec<(Side, &'static str)> {
    let pairs = what.iter().flat_map(|w| Side::BOTH.map(|side| (side, *w)));
    pairs.collect()
}

/// Tells a leg's tasks of the last `play` to be done.
fn done(h: &mut Harness, orders: &[Order], side: Side) {
    let session = leg_toward(*NG_SESSIONS.start(), 0, side);
    let task = orders.iter().find_map(|order| match order {
        Order::Do {
            session: s, task, ..
        } if *s == session => Some(*task),
        _ => None,
    });
    h.done(session, task.unwrap());
}

#[test]
fn both_are_told_and_then_left_alone() {
    let mut settings = settings();
    settings.notice = vec![crate::media::Sound::Silence { ms: 250 }];
    let mut h = Harness::with(settings, 8);
    talking(&mut h, &[]);
    h.request("start recording", &named());
    let orders = h.orders.clone();
    assert_eq!(legs_told(&mut h), each(&["open", "play"]));
    let format = |side: Side| {
        let name = leg_toward(*NG_SESSIONS.start(), 0, side);
        orders.iter().find_map(|order| match order {
            Order::Open {
                session, format, ..
            } if *session == name => Some(format.clone()),
            _ => None,
        })
    };
    for side in Side::BOTH {
        let format = format(side).unwrap();
        assert_eq!((format.payload_type, format.sends), (0, true));
    }
    // News of before are nothing; each side's end is; the last one's ends it.
    done(&mut h, &orders, Side::Called);
    done(&mut h, &orders, Side::Called);
    assert!(h.orders.is_empty());
    done(&mut h, &orders, Side::Caller);
    assert_eq!(legs_told(&mut h), each(&["close"]));
    // A pause that ends, or a re-INVITE, is nothing to tell of.
    h.request("pause recording", &named());
    h.request("start recording", &named());
    h.offer(&[("to-tag", "b".into())]);
    h.answer(&[]);
    assert!(legs_told(&mut h).is_empty());
    // What stops in the midst of it is told no further.
    h.request("stop recording", &named());
    h.request("start recording", &named());
    assert_eq!(legs_told(&mut h), each(&["open", "play"]));
    h.request("stop recording", &named());
    assert_eq!(legs_told(&mut h), each(&["close"]));
    // The studio may have no room.
    h.request("start recording", &named());
    legs_told(&mut h);
    let session = leg_toward(*NG_SESSIONS.start(), 0, Side::Called);
    h.ng.handle_studio(h.now, News::Failed { session });
    h.drive();
    assert_eq!(legs_told(&mut h), each(&["close"]));
}

/// The records so far: tags, the file that it names, why it ended, and how long it was.
fn records(h: &mut Harness) -> Vec<(String, String, EndCause, u64)> {
    let each = h.kept.drain(..).map(|record| match record {
        Record::Cdr(cdr) => {
            assert_eq!((&*cdr.call_id, &*cdr.way_in), ("call", "ng"));
            let file = cdr.note.strip_prefix("recorded: ").unwrap().into();
            let talked = cdr.end_ms - cdr.answer_ms.unwrap();
            (format!("{} {}", cdr.from, cdr.to), file, cdr.cause, talked)
        }
        other => panic!("{other:?}"),
    });
    each.collect()
}

#[test]
fn what_was_recorded_leaves_a_record() {
    let mut h = Harness::new(8);
    talking(&mut h, &[]);
    let record = |h: &mut Harness, ends: &[(&'static str, Value)], ms, end| {
        h.request("start recording", &named());
        let (task, file, _) = begun(&told(h));
        match ends {
            [] => {}
            ends => drop(h.request("delete", ends)),
        }
        let session = *NG_SESSIONS.start();
        let news = News::Recorded {
            session,
            task,
            ms,
            end,
        };
        h.ng.handle_studio(h.now, news);
        h.drive();
        told(h);
        let records = records(h);
        records
            .into_iter()
            .map(|(tags, named, cause, ms)| {
                assert_eq!(named, *file);
                (tags, cause, ms)
            })
            .collect::<Vec<_>>()
    };
    let both = || "a b".to_owned();
    let closed = RecordEnd::Closed;
    assert_eq!(record(&mut h, &[], 0, closed), []);
    let stopped = [(both(), EndCause::Operator, 400)];
    assert_eq!(record(&mut h, &[], 400, closed), stopped);
    let long = [(both(), EndCause::TooLong, 7_200_000)];
    h.now += Duration::from_secs(9000);
    assert_eq!(record(&mut h, &[], 7_200_000, RecordEnd::Limit), long);
    // Whoever hung up is named first; what is still under way is not waited for.
    let by = |tags: (&str, &str), delay: i64| {
        [
            &dialogue("call", tags.0, tags.1)[..],
            &[("delete delay", delay.into())],
        ]
        .concat()
    };
    let hung_up = [(both(), EndCause::CalleeHungUp, 400)];
    assert_eq!(record(&mut h, &by(("b", "a"), 30), 400, closed), hung_up);
    talking(&mut h, &[]);
    let hung_up = [(both(), EndCause::CallerHungUp, 400)];
    assert_eq!(record(&mut h, &by(("a", "b"), 0), 400, closed), hung_up);
}

#[test]
fn a_stop_of_the_daemon_leaves_records() {
    let mut h = Harness::new(8);
    talking(&mut h, &[]);
    h.request("start recording", &named());
    let (first, _, _) = begun(&told(&mut h));
    // One that ended before keeps its cause.
    h.request("stop recording", &named());
    told(&mut h);
    h.request("start recording", &named());
    let (second, _, _) = begun(&told(&mut h));
    h.ng.shut_down(h.now);
    h.drive();
    assert_eq!(told(&mut h), [TapeOrder::Stop]);
    for task in [first, second] {
        assert!(h.ng.records());
        let news = News::Recorded {
            session: *NG_SESSIONS.start(),
            task,
            ms: 400,
            end: RecordEnd::Closed,
        };
        h.ng.handle_studio(h.now, news);
        h.drive();
    }
    assert!(!h.ng.records() && told(&mut h).is_empty());
    let causes: Vec<_> = records(&mut h).into_iter().map(|(.., c, _)| c).collect();
    assert_eq!(causes, [EndCause::Operator, EndCause::Shutdown]);
}

/// The answer or offer of one side, with two streams of sound.
fn two(h: &mut Harness, command: &str, tags: (&str, &str), body: &str) -> Vec<u16> {
    let body = [("sdp", Value::from(body))];
    let all = [&dialogue("call", tags.0, tags.1)[..], &body].concat();
    let told = sdp(&h.request(command, &all));
    let told = Sdp::parse(told.as_bytes()).unwrap();
    told.media.iter().map(|media| media.port).collect()
}

/// Which streams the studio was told something about, and what.
fn told_of(h: &mut Harness) -> Vec<(usize, TapeOrder)> {
    let orders = h.orders.drain(..).filter_map(|order| match order {
        Order::Tape { session, what } => {
            assert_eq!(session_of_leg(session), *NG_SESSIONS.start());
            Some((stream_of_leg(session), what))
        }
        _ => None,
    });
    orders.collect()
}

#[test]
fn each_stream_of_sound_has_a_file_of_its_own() {
    let mut h = Harness::new(8);
    two(&mut h, "offer", ("a", ""), &twice(OFFER));
    two(&mut h, "answer", ("a", "b"), &twice(ANSWER));
    h.request("start recording", &named());
    let taps = told_of(&mut h);
    let mut files = Vec::new();
    let mut tasks = Vec::new();
    for (at, (stream, what)) in taps.iter().enumerate() {
        let TapeOrder::Tap {
            task,
            file,
            formats,
            ..
        } = what
        else {
            panic!("{what:?}")
        };
        let each = formats.iter().flatten();
        assert!(*stream == at && each.clone().all(|f| usize::from(f.stream) == at));
        files.push(file.to_string());
        tasks.push(*task);
    }
    assert!(files.len() == 2 && files[0] != files[1] && tasks[0] != tasks[1]);
    assert_eq!(h.ng.rows()[0].recording, files.join(" "));
    // One may be as long as it may be before the other.
    let news = |task, end| News::Recorded {
        session: tap_of(*NG_SESSIONS.start(), 1),
        task,
        ms: 400,
        end,
    };
    h.ng.handle_studio(h.now, news(tasks[1], RecordEnd::Limit));
    h.drive();
    assert!(told_of(&mut h).is_empty());
    assert_eq!(h.ng.rows()[0].recording, files[0]);
    h.request("start recording", &named());
    let again = told_of(&mut h);
    assert!(
        matches!(again[..], [(1, TapeOrder::Tap { .. })]),
        "{again:?}"
    );
    h.request("pause recording", &named());
    let pause = TapeOrder::Pause(true);
    assert_eq!(told_of(&mut h), [(0, pause.clone()), (1, pause)]);
    // The second stream ends.
    let gone = twice(OFFER).replace("audio 4010", "audio 0");
    two(&mut h, "offer", ("a", "b"), &gone);
    assert_eq!(told_of(&mut h), [(1, TapeOrder::Stop)]);
    h.delete(0);
    h.ng.handle_studio(h.now, news(tasks[0], RecordEnd::Closed));
    h.drive();
    let kept = records(&mut h);
    let causes: Vec<_> = kept.iter().map(|(_, f, c, _)| (f.as_str(), *c)).collect();
    let ended = [
        (files[1].as_str(), EndCause::TooLong),
        (files[0].as_str(), EndCause::CallerHungUp),
    ];
    assert_eq!(causes, ended);
}

#[test]
fn both_are_told_once_however_many_streams_there_are() {
    let mut settings = settings();
    settings.notice = vec![crate::media::Sound::Silence { ms: 250 }];
    let mut h = Harness::with(settings, 8);
    two(&mut h, "offer", ("a", ""), OFFER);
    two(&mut h, "answer", ("a", "b"), ANSWER);
    two(&mut h, "offer", ("a", "b"), &twice(OFFER));
    let ports = two(&mut h, "answer", ("a", "b"), &twice(ANSWER));
    h.request("start recording", &named());
    let orders = h.orders.clone();
    let legs = orders
        .iter()
        .map(Order::session)
        .filter(|s| side_of_leg(*s).is_some());
    assert!(legs.clone().count() == 4 && legs.clone().all(|leg| stream_of_leg(leg) == 0));
    done(&mut h, &orders, Side::Caller);
    done(&mut h, &orders, Side::Called);
    // Both streams are heard here.
    assert!(h.heard(ports[0], A, 1) && h.heard(ports[1], "198.51.100.10:4010", 1));
    // One that comes later is nothing to tell of.
    two(
        &mut h,
        "offer",
        ("a", "b"),
        &twice(OFFER).replace("audio 4010", "audio 0"),
    );
    two(
        &mut h,
        "answer",
        ("a", "b"),
        &twice(ANSWER).replace("audio 5010", "audio 0"),
    );
    h.orders.clear();
    two(&mut h, "offer", ("a", "b"), &twice(OFFER));
    two(&mut h, "answer", ("a", "b"), &twice(ANSWER));
    let again = told_of(&mut h);
    assert!(
        matches!(again[..], [(1, TapeOrder::Tap { .. })]),
        "{again:?}"
    );
}
