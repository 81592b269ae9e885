use super::*;
use crate::base::{Instant, Rng};
use std::time::Duration;

fn ms(n: u64) -> Instant {
    Instant::from_millis(n)
}

fn slot(n: u8) -> Timeslot {
    Timeslot::new(n).unwrap()
}

/// A unit whose every octet tells its number, timeslot and frame.
fn unit(number: u64) -> Unit {
    let octet = |i: usize| (number as usize * 31 + (i % 32) * 7 + i / 32) as u8;
    Unit::new(std::array::from_fn(octet))
}

fn drain(span: &mut Span) -> (Vec<Unit>, Vec<Event>) {
    let (mut units, mut events) = (Vec::new(), Vec::new());
    while let Some(output) = span.poll_output() {
        match output {
            Output::Transmit(unit) => units.push(unit),
            Output::Event(event) => events.push(event),
        }
    }
    (units, events)
}

fn own(depth: usize, start: usize) -> SpanSettings {
    SpanSettings {
        clocking: Clocking::Own,
        depth,
        start,
        ..SpanSettings::default()
    }
}

#[test]
fn a_unit_is_eight_frames_of_32_timeslots() {
    let mut unit = Unit::filled(0);
    unit.set_timeslot(Timeslot::D_CHANNEL, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(unit.bytes()[16], 1);
    assert_eq!(unit.bytes()[7 * 32 + 16], 8);
    assert_eq!(unit.timeslot(slot(16)), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(unit.timeslot(slot(15)), [0; 8]);
    assert_eq!(Unit::from_slice(&[0; 255]), None);
    assert_eq!(Timeslot::new(32), None);
    assert_eq!(Timeslots::BEARING.len(), 31);
    let set: Timeslots = [slot(3), slot(31)].into_iter().collect();
    assert_eq!(set.iter().collect::<Vec<_>>(), [slot(3), slot(31)]);
}

#[test]
fn alarms_are_a_set() {
    let some = Alarms::from_bits(0xffff_fff5);
    assert_eq!(some.bits(), 0x15, "unknown bits are left out");
    assert_eq!(some.to_string(), "LOS RAI LMFA");
    assert_eq!(Alarms::NONE.to_string(), "none");
    assert_eq!(some.changed(Alarm::Los.into()).to_string(), "RAI LMFA");
}

#[test]
fn each_unit_of_the_line_asks_for_one() {
    let mut span = Span::new(SpanSettings::default(), ms(0)).unwrap();
    span.open(Timeslot::D_CHANNEL, 0x7e).unwrap();
    assert_eq!(
        span.open(Timeslot::D_CHANNEL, 0),
        Err(ChannelError::Open),
        "one caller at a time"
    );
    assert_eq!(span.send(Timeslot::D_CHANNEL, b"abcdefghij"), Ok(10));
    for n in 1..=3 {
        let unit = unit(n);
        span.handle_input(Input::Unit {
            now: ms(n),
            unit: &unit,
        });
        let (out, events) = drain(&mut span);
        let expected: [&[u8; 8]; 3] = [b"abcdefgh", b"ij~~~~~~", b"~~~~~~~~"];
        assert_eq!(
            &out[0].timeslot(Timeslot::D_CHANNEL),
            expected[n as usize - 1]
        );
        assert_eq!(out[0].timeslot(slot(1)), [IDLE; 8]);
        assert_eq!(out.len(), 1);
        // What it sent late is told once a second.
        assert_eq!(events.len(), usize::from(n == 2));
    }
    let mut octets = [0; 24];
    assert_eq!(span.receive(Timeslot::D_CHANNEL, &mut octets), Ok(24));
    for n in 1..=3 {
        let at = (n as usize - 1) * 8;
        assert_eq!(octets[at..at + 8], unit(n).timeslot(Timeslot::D_CHANNEL));
    }
    let counted = span.channel_counters(Timeslot::D_CHANNEL).unwrap();
    assert_eq!(counted.idle_octets, 14);
    assert_eq!(span.counters().channel_idle, 2);
    assert!(span.in_service());
    span.close(Timeslot::D_CHANNEL).unwrap();
    assert_eq!(
        span.receive(Timeslot::D_CHANNEL, &mut octets),
        Err(ChannelError::Closed)
    );
}

#[test]
fn a_caller_who_does_not_read_loses_the_oldest() {
    let settings = SpanSettings {
        channel_ms: 4,
        ..SpanSettings::default()
    };
    let mut span = Span::new(settings, ms(0)).unwrap();
    span.open(slot(1), IDLE).unwrap();
    assert_eq!(span.send(slot(1), &[1; 100]), Ok(32), "room for 4 ms");
    for n in 1..=10 {
        let unit = unit(n);
        span.handle_input(Input::Unit {
            now: ms(n),
            unit: &unit,
        });
        drain(&mut span);
        assert!(span.available(slot(1)) <= 32);
    }
    let mut octets = [0; 100];
    assert_eq!(span.receive(slot(1), &mut octets), Ok(32));
    assert_eq!(octets[..8], unit(7).timeslot(slot(1)));
    assert_eq!(
        span.channel_counters(slot(1)).unwrap().deleted_octets,
        6 * 8
    );
    assert_eq!(span.counters().channel_delete, 6);
}

#[test]
fn silence_is_a_loss_of_signal_and_ends_with_a_unit() {
    let mut span = Span::new(SpanSettings::default(), ms(0)).unwrap();
    assert_eq!(span.state(), State::Starting { since: ms(0) });
    assert_eq!(span.poll_timeout(), Some((ms(100), Reason::Silence)));
    span.handle_timeout(ms(99));
    assert_eq!(drain(&mut span).1, []);
    span.handle_timeout(ms(100));
    let began = Event::Alarms {
        at: ms(100),
        alarms: Alarm::Los.into(),
        changed: Alarm::Los.into(),
    };
    assert_eq!(drain(&mut span).1, [began]);
    assert_eq!(span.poll_timeout(), None);
    span.handle_input(Input::Unit {
        now: ms(150),
        unit: &unit(1),
    });
    let ended = Event::Alarms {
        at: ms(150),
        alarms: Alarms::NONE,
        changed: Alarm::Los.into(),
    };
    assert_eq!(drain(&mut span).1, [ended]);
    assert_eq!(span.poll_timeout(), Some((ms(250), Reason::Silence)));
    assert_eq!(span.counters().begun, [1, 0, 0, 0, 0]);
}

#[test]
fn the_lines_alarms_are_events() {
    let mut span = Span::new(SpanSettings::default(), ms(0)).unwrap();
    span.handle_input(Input::Unit {
        now: ms(1),
        unit: &unit(1),
    });
    drain(&mut span);
    let both = Alarms::NONE.with(Alarm::Rai, true).with(Alarm::Lmfa, true);
    for _ in 0..2 {
        span.handle_input(Input::Alarms {
            now: ms(2),
            alarms: both,
        });
    }
    let told = Event::Alarms {
        at: ms(2),
        alarms: both,
        changed: both,
    };
    assert_eq!(drain(&mut span).1, [told], "told once");
    assert!(!span.in_service());
    span.handle_input(Input::Gone { now: ms(3) });
    let (_, events) = drain(&mut span);
    assert_eq!(events.last(), Some(&Event::Gone { at: ms(3) }));
    assert!(span.alarms().contains(Alarm::Los));
    span.handle_input(Input::Unit {
        now: ms(4),
        unit: &unit(4),
    });
    span.handle_timeout(ms(5000));
    assert_eq!(drain(&mut span), (vec![], vec![]), "for good");
    assert_eq!(span.poll_timeout(), None);
}

#[test]
fn our_clock_plays_what_waits_and_slips_where_clocks_differ() {
    let mut span = Span::new(own(8, 2), ms(0)).unwrap();
    span.open(slot(9), IDLE).unwrap();
    let mut octets = [0; 8];
    let mut tick = |span: &mut Span, n: u64| {
        span.handle_timeout(ms(n));
        let (units, events) = drain(span);
        assert_eq!(units.len(), 1, "one unit each millisecond");
        assert_eq!(span.receive(slot(9), &mut octets), Ok(8));
        (octets, events)
    };
    // One waits: not enough to begin.
    span.handle_input(Input::Unit {
        now: ms(0),
        unit: &unit(1),
    });
    assert_eq!(tick(&mut span, 1).0, [IDLE; 8]);
    span.handle_input(Input::Unit {
        now: ms(1),
        unit: &unit(2),
    });
    assert_eq!(tick(&mut span, 2).0, unit(1).timeslot(slot(9)));
    assert_eq!(tick(&mut span, 3).0, unit(2).timeslot(slot(9)));
    let (late, events) = tick(&mut span, 4);
    assert_eq!(late, unit(2).timeslot(slot(9)), "the last again");
    assert_eq!(
        events,
        [Event::Slips {
            at: ms(4),
            count: 1
        }]
    );
    for n in 3..=12 {
        let unit = unit(n);
        span.handle_input(Input::Unit {
            now: ms(4),
            unit: &unit,
        });
    }
    assert_eq!(span.counters().slip_delete, 2, "8 of 10 fit");
    assert_eq!(tick(&mut span, 5).0, unit(5).timeslot(slot(9)));
    assert_eq!(span.counters().slip_repeat, 1);
    // A second later the rest is told.
    assert_eq!(span.poll_timeout().map(|(at, _)| at), Some(ms(6)));
    for n in 6..1004 {
        assert_eq!(
            tick(&mut span, n).1.iter().filter(|e| is_slips(e)).count(),
            0
        );
    }
    let (_, events) = tick(&mut span, 1004);
    assert_eq!(events.iter().filter(|e| is_slips(e)).count(), 1);
}

fn is_slips(event: &Event) -> bool {
    matches!(event, Event::Slips { .. })
}

#[test]
fn a_clock_that_is_not_served_catches_up_so_far_and_no_farther() {
    let mut span = Span::new(own(4, 1), ms(0)).unwrap();
    span.handle_timeout(ms(CATCH_UP_MAX as u64));
    assert_eq!(drain(&mut span).0.len(), CATCH_UP_MAX);
    assert_eq!(span.counters().clock_skip_ms, 0);
    span.handle_timeout(ms(1_000));
    let (units, events) = drain(&mut span);
    assert_eq!(units.len(), CATCH_UP_MAX);
    let skipped_ms = 1_000 - 2 * CATCH_UP_MAX as u64;
    assert!(events.contains(&Event::Clock {
        at: ms(1_000),
        skipped_ms
    }));
    assert_eq!(span.counters().clock_skip_ms, skipped_ms);
    assert_eq!(
        span.poll_timeout(),
        Some((ms(1_001), Reason::Millisecond)),
        "in step again"
    );
}

#[test]
fn who_does_not_drain_makes_nothing_grow() {
    let mut span = Span::new(SpanSettings::default(), ms(0)).unwrap();
    for n in 1..1_000 {
        span.handle_input(Input::Unit {
            now: ms(n),
            unit: &unit(n),
        });
    }
    assert!(drain(&mut span).0.len() <= 4 * CATCH_UP_MAX);
    assert!(span.counters().undrained > 0);
}

#[test]
fn settings_out_of_range_are_named() {
    let bad = |change: fn(&mut SpanSettings)| {
        let mut settings = SpanSettings::default();
        change(&mut settings);
        Span::new(settings, ms(0)).map(|_| ()).unwrap_err()
    };
    assert_eq!(bad(|s| s.depth = 0), SpanError::Depth);
    assert_eq!(bad(|s| s.depth = 257), SpanError::Depth);
    assert_eq!(bad(|s| s.start = 65), SpanError::Start);
    assert_eq!(bad(|s| s.start = 0), SpanError::Start);
    assert_eq!(bad(|s| s.channel_ms = 1001), SpanError::ChannelMs);
    assert_eq!(
        bad(|s| s.silence = Duration::from_millis(1)),
        SpanError::Silence
    );
}

/// Two spans with clocks of their own, each the other's line, for two simulated seconds.
#[test]
fn two_clocks_that_agree_lose_nothing() {
    for seed in 0..4 {
        let mut rng = Rng::from_u64(seed);
        let mut a = Span::new(own(16, 4), ms(0)).unwrap();
        let mut b = Span::new(own(16, 4), Instant::from_nanos(rng.below(1_000_000))).unwrap();
        for timeslot in Timeslots::BEARING.iter() {
            a.open(timeslot, IDLE).unwrap();
            b.open(timeslot, IDLE).unwrap();
        }
        let mut sent = Vec::new();
        let mut got = vec![Vec::new(); TIMESLOTS];
        while a.counters().tx_units < 2_000 {
            for timeslot in Timeslots::BEARING.iter() {
                // In time, with a little in reserve.
                while a.available(timeslot) >= 8 {
                    a.receive(timeslot, &mut [0; 8]).unwrap();
                }
                while a.room(timeslot) > 512 - 32 {
                    let octet = (a.counters().tx_units as u8).wrapping_mul(3) ^ timeslot.number();
                    a.send(timeslot, &[octet; 8]).unwrap();
                    if timeslot == slot(7) {
                        sent.extend([octet; 8]);
                    }
                }
            }
            let next = a.poll_timeout().unwrap().0.min(b.poll_timeout().unwrap().0);
            for a_speaks in [true, false] {
                let (from, to) = if a_speaks {
                    (&mut a, &mut b)
                } else {
                    (&mut b, &mut a)
                };
                from.handle_timeout(next);
                for unit in drain(from).0 {
                    to.handle_input(Input::Unit {
                        now: next,
                        unit: &unit,
                    });
                }
                drain(to);
            }
            for timeslot in Timeslots::BEARING.iter() {
                let mut octets = [0; 64];
                let n = b.receive(timeslot, &mut octets).unwrap();
                got[timeslot.index()].extend_from_slice(&octets[..n]);
            }
        }
        let heard = &got[7];
        let begin = heard.iter().position(|o| *o != IDLE).unwrap();
        let heard = &heard[begin..];
        assert!(heard.len() > 1_900 * 8, "seed {seed}");
        assert_eq!(heard[..], sent[..heard.len()], "seed {seed}");
        for span in [&a, &b] {
            let c = span.counters();
            assert_eq!((c.slip_delete, c.slip_repeat, c.channel_idle), (0, 0, 0));
        }
    }
}
