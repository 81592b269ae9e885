use super::*;
use crate::media::jitter::{Config, PayloadTypes, Pull};

const START: Instant = Instant::from_millis(5_000_000);

fn ntp(now: Instant) -> u64 {
    ntp_of_unix_ms(1_790_000_000_000 + now.as_millis())
}

fn stream(seed: u64) -> RtpStream {
    RtpStream::new(START, 8000, "phone@192.0.2.1", Rng::from_u64(seed))
}

/// Sends 50 packets a second from `a` to `b`, and reports of both, with a delay of 30 and 50 ms.
/// `lose` says which packets do not arrive.
fn talk(a: &mut RtpStream, b: &mut RtpStream, seconds: u64, lose: impl Fn(u64) -> bool) {
    let mut report = Vec::new();
    // In order of arrival at each: time, to b, bytes.
    let mut under_way: Vec<(Instant, bool, Vec<u8>)> = Vec::new();
    for ms in 0..seconds * 1000 {
        let now = START + Duration::from_millis(ms);
        if ms % 20 == 0 {
            let header = a.send_audio(now, 0, 160, 160);
            if !lose(ms / 20) {
                let late = now + Duration::from_millis(30);
                assert_eq!(b.handle_rtp(late, &header, 160), Heard::Stream);
            }
        }
        for (from, to_b, delay) in [(&mut *a, true, 30), (&mut *b, false, 50)] {
            if from.poll_report(now, ntp(now), &mut report) {
                let at = now + Duration::from_millis(delay);
                under_way.push((at, to_b, report.clone()));
            }
        }
        under_way.retain(|(at, to_b, bytes)| {
            if *at == now {
                let to = if *to_b { &mut *b } else { &mut *a };
                assert_eq!(to.handle_rtcp(now, ntp(now), bytes), RtcpHeard::Report);
            }
            *at > now
        });
    }
}

#[test]
fn reports_tell_loss_and_round_trip() {
    let (mut a, mut b) = (stream(1), stream(2));
    talk(&mut a, &mut b, 60, |n| n % 10 == 5);
    let (sent, heard) = (a.stats(None), b.stats(None));
    assert_eq!((sent.packets_sent, sent.octets_sent), (3000, 480_000));
    assert_eq!((heard.packets_received, heard.lost), (2700, 300));
    assert_eq!(heard.jitter_us, 0);
    // A report may be five seconds old.
    let peer_lost = sent.peer_lost.unwrap();
    assert!((240..=300).contains(&peer_lost), "{peer_lost}");
    let fraction = sent.peer_fraction_lost.unwrap();
    assert!((23..=29).contains(&fraction), "{fraction}");
    let trip = sent.round_trip_us.unwrap();
    assert!((79_000..=81_000).contains(&trip), "{trip}");
    // b sends nothing but reports, which carry no time to measure against.
    assert_eq!(heard.round_trip_us, None);
}

#[test]
fn intervals_are_random_about_five_seconds() {
    let mut one = stream(3);
    let (mut out, mut sum, mut seen) = (Vec::new(), 0, Vec::new());
    let first = one.poll_timeout().since(START).as_millis();
    assert!((1026..=3080).contains(&first), "{first}");
    let mut now = one.poll_timeout();
    for _ in 0..500 {
        assert!(!one.poll_report(now - Duration::from_millis(1), 0, &mut out));
        assert!(one.poll_report(now, ntp(now), &mut out));
        assert!(out.len() <= REPORT_SIZE_MAX);
        let interval = one.poll_timeout().since(now).as_millis();
        assert!((2052..=6158).contains(&interval), "{interval}");
        sum += interval;
        seen.push(interval);
        now = one.poll_timeout();
    }
    // 5 s / 1.218.
    assert!((3900..=4300).contains(&(sum / 500)), "{}", sum / 500);
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 300);
}

#[test]
fn who_sends_makes_sender_reports_and_who_stopped_receiver_reports() {
    let mut one = stream(4);
    let mut out = Vec::new();
    one.poll_report(one.poll_timeout(), 0, &mut out);
    assert_eq!(
        rtcp::packets(&out).next().unwrap().kind,
        rtcp::RECEIVER_REPORT
    );
    let sent_at = one.poll_timeout();
    let header = one.send_audio(sent_at, 0, 160, 99);
    let now = sent_at + Duration::from_secs(2);
    assert!(one.poll_report(now, ntp(now), &mut out));
    let report = rtcp::packets(&out).next().unwrap();
    let info = report.sender().unwrap();
    assert_eq!((info.packets, info.octets, info.ntp), (1, 99, ntp(now)));
    assert_eq!(info.timestamp, header.timestamp.wrapping_add(16_000));
    let cname = rtcp::packets(&out).nth(1).unwrap().cname();
    assert_eq!(cname, Some((one.ssrc(), &b"phone@192.0.2.1"[..])));
    let kinds: Vec<_> = (0..3)
        .map(|_| {
            one.poll_report(one.poll_timeout(), 0, &mut out);
            rtcp::packets(&out).next().unwrap().kind
        })
        .collect();
    assert_eq!(kinds, [200, 201, 201]);
}

#[test]
fn numbers_timestamps_and_markers_follow_the_audio() {
    let mut one = stream(5);
    let first = one.send_audio(START, 8, 160, 160);
    let second = one.send_audio(START, 8, 160, 160);
    one.send_nothing(1600);
    let third = one.send_audio(START, 8, 160, 160);
    let event = one.send_event(START, 101, (true, third.timestamp), 160, 4);
    let fourth = one.send_audio(START, 8, 160, 160);
    let all = [first, second, third, event, fourth];
    let after = |header: &Header| header.timestamp.wrapping_sub(first.timestamp);
    assert_eq!(all.map(|h| after(&h)), [0, 160, 1920, 1920, 2240]);
    assert_eq!(all.map(|h| h.marker), [true, false, true, true, true]);
    assert_eq!(
        all.map(|h| h.sequence.wrapping_sub(first.sequence)),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(stream(5).ssrc(), one.ssrc());
    assert_ne!(stream(6).ssrc(), one.ssrc());
}

/// RFC 3711 §3.3.1: within ten minutes no wrap may be missed.
#[test]
fn the_first_number_is_far_from_its_wrap() {
    let firsts = (0..1000).map(|seed| stream(seed).send_audio(START, 0, 160, 160).sequence);
    let firsts: Vec<_> = firsts.collect();
    assert!(firsts.iter().all(|first| *first < 0x8000));
    let (least, most) = (firsts.iter().min(), firsts.iter().max());
    assert!(least.is_some_and(|least| *least < 1000) && most.is_some_and(|most| *most > 0x7c00));
}

#[test]
fn a_collision_changes_our_ssrc_and_says_goodbye_to_the_old() {
    let (mut one, mut out) = (stream(7), Vec::new());
    let old = one.ssrc();
    let header = Header {
        marker: false,
        payload_type: 0,
        sequence: 1,
        timestamp: 1,
        ssrc: old,
    };
    one.send_audio(START, 0, 160, 160);
    assert_eq!(one.handle_rtp(START, &header, 160), Heard::Collision);
    assert_ne!(one.ssrc(), old);
    assert_eq!(one.poll_timeout(), START);
    assert!(one.poll_report(START, 0, &mut out));
    let leaving: Vec<_> = rtcp::packets(&out).flat_map(|p| p.leaving()).collect();
    assert_eq!(leaving, [old]);
    let report = rtcp::packets(&out).next().unwrap();
    assert_eq!(report.reporter(), Some(one.ssrc()));
    assert_eq!(report.sender().map(|info| info.packets), Some(0));
    assert_eq!(one.handle_rtp(START, &header, 160), Heard::Stream);
    // Its packets come back whatever SSRC it takes: a loop, which is heard.
    for n in 0..20u16 {
        let header = Header {
            ssrc: one.ssrc(),
            sequence: n,
            ..header
        };
        one.handle_rtp(START, &header, 160);
    }
    let header = Header {
        ssrc: one.ssrc(),
        sequence: 20,
        ..header
    };
    assert_eq!(one.handle_rtp(START, &header, 160), Heard::Loop);
    assert_eq!(one.stats(None).ssrc_changes, 1);
}

#[test]
fn a_new_source_keeps_what_was_lost_and_bye_is_heard() {
    let (mut one, mut other, mut next) = (stream(8), stream(9), stream(10));
    for n in 0..10 {
        let header = other.send_audio(START, 0, 160, 160);
        if n != 4 {
            assert_eq!(one.handle_rtp(START, &header, 160), Heard::Stream);
        }
    }
    let heard = [(); 3].map(|()| {
        let header = next.send_audio(START, 0, 160, 160);
        one.handle_rtp(START, &header, 160)
    });
    assert_eq!(heard, [Heard::Unproven, Heard::Stream, Heard::Stream]);
    let stats = one.stats(None);
    assert_eq!((stats.lost, stats.ssrc_changes), (1, 1));
    let mut out = Vec::new();
    assert!(other.goodbye(START, 0, &mut out));
    assert_eq!(one.handle_rtcp(START, 0, &out), RtcpHeard::Report);
    assert!(next.goodbye(START, 0, &mut out));
    assert_eq!(one.handle_rtcp(START, 0, &out), RtcpHeard::Bye);
    assert_eq!(next.poll_timeout(), Instant::FAR_FUTURE);
}

/// The sources that our report is about.
fn reported_on(stream: &mut RtpStream) -> Vec<u32> {
    let mut out = Vec::new();
    assert!(stream.poll_report(stream.poll_timeout(), 0, &mut out));
    let report = rtcp::packets(&out).next().unwrap();
    report.reports().map(|block| block.ssrc).collect()
}

#[test]
fn who_was_never_heard_of_says_no_goodbye() {
    let (mut silent, mut reporter, mut out) = (stream(20), stream(21), Vec::new());
    assert!(!silent.goodbye(START, 0, &mut out));
    assert!(reporter.poll_report(reporter.poll_timeout(), 0, &mut out));
    assert!(reporter.goodbye(START, 0, &mut out));
    let kinds: Vec<_> = rtcp::packets(&out).map(|p| p.kind).collect();
    assert_eq!(kinds, [201, 202, 203]);
    let leaving: Vec<_> = rtcp::packets(&out).flat_map(|p| p.leaving()).collect();
    assert_eq!(leaving, [reporter.ssrc()]);
}

#[test]
fn who_left_is_reported_on_no_more_unless_it_comes_back() {
    let (mut one, mut other, mut out) = (stream(22), stream(23), Vec::new());
    let theirs = other.ssrc();
    let say = |other: &mut RtpStream, one: &mut RtpStream, ms: u64| {
        let now = START + Duration::from_millis(ms);
        one.handle_rtp(now, &other.send_audio(now, 0, 160, 160), 160)
    };
    assert_eq!(say(&mut other, &mut one, 0), Heard::Stream);
    assert_eq!(reported_on(&mut one), [theirs]);
    other.goodbye(START, 0, &mut out);
    assert_eq!(one.handle_rtcp(START, 0, &out), RtcpHeard::Bye);
    // One that was on the way.
    assert_eq!(say(&mut other, &mut one, 100), Heard::Stream);
    assert!(reported_on(&mut one).is_empty());
    // As phones that say goodbye on hold.
    assert_eq!(say(&mut other, &mut one, 900), Heard::Stream);
    assert_eq!(reported_on(&mut one), [theirs]);
    other.goodbye(START, 0, &mut out);
    one.handle_rtcp(START, 0, &out);
    // Another takes its place at once, and what was lost stays counted.
    let mut next = stream(24);
    assert_eq!(say(&mut next, &mut one, 1000), Heard::Stream);
    assert_eq!(reported_on(&mut one), [next.ssrc()]);
    assert_eq!(one.stats(None).ssrc_changes, 1);
}

#[test]
fn wraps_restarts_and_jitter_are_counted_as_the_rfc_wants() {
    let header = |sequence: u16| Header {
        marker: false,
        payload_type: 0,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 1,
    };
    let mut one = Reception::new(&header(65_533), 0);
    for sequence in [65_535, 65_534, 0, 2, 1, 5, 4] {
        assert_eq!(one.on_packet(&header(sequence), 0), Place::Fits);
    }
    assert_eq!(one.lost(), 1);
    let block = one.report(START);
    assert_eq!((block.lost, block.highest_sequence), (1, 0x1_0005));
    assert_eq!(block.fraction_lost, (256 / 9) as u8);
    assert_eq!(one.on_packet(&header(30_000), 0), Place::Jump);
    assert_eq!(one.on_packet(&header(6), 0), Place::Fits);
    assert_eq!(one.on_packet(&header(65_535 - 200), 0), Place::Jump);
    assert_eq!(one.on_packet(&header(65_535 - 199), 0), Place::Restart);
    assert_eq!(one.on_packet(&header(65_535 - 197), 0), Place::Fits);
    assert_eq!(one.lost(), 2);
    // Each transit differs by 40 units from the one before.
    let mut two = Reception::new(&header(0), 0);
    for n in 1..500 {
        two.on_packet(&header(n), u32::from(n) * 160 + u32::from(n % 2) * 40);
    }
    assert!((38..=40).contains(&two.jitter()), "{}", two.jitter());
}

#[test]
fn a_buffer_behind_the_stream_adds_its_statistics() {
    let (mut a, mut b) = (stream(11), stream(12));
    let mut buffer = JitterBuffer::new(Config::new(8000, 8000, PayloadTypes::of(&[0])));
    let (mut out, mut heard) = ([0; 1500], 0);
    for n in 0..500u64 {
        let now = START + Duration::from_millis(n * 20);
        let header = a.send_audio(now, 0, 160, 160);
        if b.handle_rtp(now, &header, 160) == Heard::Stream {
            let _ = buffer.put(now, &header, &[1; 160]);
        }
        heard += u64::from(matches!(buffer.pull(now, 0, &mut out), Pull::Packet { .. }));
    }
    assert_eq!(heard, 498);
    let stats = b.stats(Some(&buffer));
    assert!(
        (20_000..=40_000).contains(&stats.delay_us),
        "{}",
        stats.delay_us
    );
    assert_eq!((stats.late, stats.lost), (0, 0));
}

#[test]
fn garbage_changes_nothing_but_a_counter() {
    let (mut a, mut b) = (stream(13), stream(14));
    talk(&mut a, &mut b, 12, |_| false);
    for seed in 0..2000 {
        let mut rng = Rng::from_u64(seed);
        let mut bytes = vec![0; rng.below(200) as usize];
        rng.fill(&mut bytes);
        if rng.chance(3, 4) && bytes.len() > 4 {
            bytes[0] = 0x80 | (bytes[0] & 0x1f);
            bytes[1] = 200 + bytes[1] % 4;
            bytes[2] = 0;
            bytes[3] %= 50;
        }
        a.handle_rtcp(START, rng.next_u64(), &bytes);
    }
    assert!(a.stats(None).malformed > 400);
    assert_eq!(a.stats(None).collisions, 0);
}

#[test]
fn timestamps_go_on_as_time_does_behind_a_pause() {
    let mut one = stream(30);
    let at = |ms| START + Duration::from_millis(ms);
    let first = one.send_audio(at(0), 8, 160, 160);
    // Another task that begins at once, a little late, is no pause.
    one.resume(at(35), PAUSE_MIN);
    let second = one.send_audio(at(35), 8, 160, 160);
    one.resume(at(3035), PAUSE_MIN);
    let third = one.send_audio(at(3035), 8, 160, 160);
    let noise = one.send_noise(at(3055), 13, 160, 1);
    let fourth = one.send_audio(at(3075), 8, 160, 160);
    let all = [first, second, third, noise, fourth];
    let after = |header: &Header| header.timestamp.wrapping_sub(first.timestamp);
    assert_eq!(all.map(|h| after(&h)), [0, 160, 24_160, 24_320, 24_480]);
    assert_eq!(all.map(|h| h.marker), [true, false, true, false, true]);
    // What comes back by itself goes on in time, too.
    one.new_echo();
    let back = one.send_back(at(5075), &first, 160);
    assert_eq!(after(&back), 24_480 + 16_000);
}

/// RFC 7160 §4.1.
#[test]
fn another_clock_is_another_source() {
    let (mut one, mut other, mut out) = (stream(31), stream(32), Vec::new());
    let old = one.ssrc();
    // Nobody knows it yet.
    one.set_clock(START, 16_000);
    assert_eq!(one.ssrc(), old);
    one.send_audio(START, 0, 320, 320);
    one.handle_rtp(START, &other.send_audio(START, 0, 160, 160), 160);
    one.set_clock(START, 48_000);
    let now = START + Duration::from_millis(20);
    let header = one.send_audio(now, 111, 960, 60);
    assert_ne!(header.ssrc, old);
    assert!(header.marker);
    let report_at = now + Duration::from_secs(1);
    assert!(one.poll_report(report_at, ntp(report_at), &mut out));
    let leaving: Vec<_> = rtcp::packets(&out).flat_map(|p| p.leaving()).collect();
    assert_eq!(leaving, [old]);
    let info = rtcp::packets(&out).next().unwrap().sender().unwrap();
    assert_eq!(info.timestamp.wrapping_sub(header.timestamp), 48_000);
    assert_eq!(info.packets, 1);
    // That the far end's clock is another is no jitter.
    for n in 1..50u64 {
        let now = START + Duration::from_millis(n * 20);
        let header = other.send_audio(now, 111, 960, 60);
        assert_eq!(one.handle_rtp(now, &header, 60), Heard::Stream);
    }
    assert_eq!(one.stats(None).jitter_us, 0);
}
