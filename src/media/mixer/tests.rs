//! The room's sound, measured by each participant's own frequency.

use super::super::goertzel::amplitude;
use super::*;

const RATE: u32 = 8000;
const FRAME: usize = 160;

/// A participant's tone: 50 Hz apart, so that a frame holds whole periods of each.
fn tone(hz: u32, peak: f32, frame: usize) -> Vec<i16> {
    let angle = std::f32::consts::TAU * hz as f32 / RATE as f32;
    let value = |n: usize| (peak * (angle * n as f32).sin()).round() as i16;
    (frame * FRAME..(frame + 1) * FRAME).map(value).collect()
}

fn heard(mixer: &mut Mixer, key: Key) -> Vec<i16> {
    match mixer.output(key) {
        Heard::Silence => vec![0; FRAME],
        Heard::Shared(samples) | Heard::Own(samples) => samples.to_vec(),
    }
}

/// A room of so many, everybody of whom but the silent has sent three frames of an own tone.
fn room(count: u32, peak: f32, silent: &[u32]) -> (Mixer, Vec<Key>) {
    let mut mixer = Mixer::new(RATE, 100).unwrap();
    let keys: Vec<Key> = (0..count).map(|_| mixer.join().unwrap()).collect();
    for frame in 0..3 {
        mixer.begin_frame();
        for (key, n) in keys.iter().zip(0..) {
            let sound = match silent.contains(&n) {
                true => vec![3; FRAME],
                false => tone(400 + 100 * n, peak, frame),
            };
            let change = mixer.input(*key, &sound);
            let begins = frame == 0 && !silent.contains(&n);
            assert_eq!(change, begins.then_some(TalkChange::Began));
        }
        mixer.finish_frame();
    }
    (mixer, keys)
}

#[test]
fn each_hears_all_others_and_not_oneself() {
    let (mut mixer, keys) = room(8, 1500.0, &[]);
    for (key, n) in keys.iter().zip(0..) {
        assert!(matches!(mixer.output(*key), Heard::Own(_)));
        let sound = heard(&mut mixer, *key);
        for other in 0..8 {
            let level = amplitude(&sound, 400.0 + 100.0 * other as f32, RATE);
            let expected = if other == n { 0.0 } else { 1500.0 };
            assert!((level - expected).abs() < 10.0, "{n} {other} {level}");
        }
    }
}

#[test]
fn who_does_not_talk_hears_what_all_such_hear_and_adds_no_noise() {
    let (mut mixer, keys) = room(6, 1500.0, &[2, 4]);
    let first = mixer.output(keys[2]);
    let Heard::Shared(samples) = first else {
        panic!("{first:?}")
    };
    // Not even the constant of the silent ones.
    let sum: i32 = samples.iter().map(|s| i32::from(*s)).sum();
    assert!(sum.abs() < 80, "{sum}");
    let (at, samples) = (samples.as_ptr(), samples.to_vec());
    let Heard::Shared(other) = mixer.output(keys[4]) else {
        panic!("not shared")
    };
    assert_eq!((other.as_ptr(), other), (at, samples.as_slice()));
    for n in [0, 1, 3, 5] {
        let level = amplitude(&samples, 400.0 + 100.0 * n as f32, RATE);
        assert!((level - 1500.0).abs() < 10.0);
    }
}

#[test]
fn one_who_talks_alone_hears_silence_and_so_do_all_when_nobody_does() {
    let (mut mixer, keys) = room(3, 1500.0, &[0, 1]);
    assert_eq!(mixer.output(keys[2]), Heard::Silence);
    assert!(matches!(mixer.output(keys[0]), Heard::Shared(_)));
    let (mut mixer, keys) = room(3, 1500.0, &[0, 1, 2]);
    assert_eq!(mixer.finish_frame(), None);
    assert!(keys.iter().all(|key| mixer.output(*key) == Heard::Silence));
}

#[test]
fn mute_deafen_and_gain_do_what_they_say() {
    let (mut mixer, keys) = room(4, 1500.0, &[]);
    assert!(mixer.set_muted(keys[0], true));
    assert!(mixer.set_deafened(keys[1], true));
    assert!(mixer.set_gain(keys[2], GAIN_ONE * 2));
    for frame in 3..6 {
        mixer.begin_frame();
        for (key, n) in keys.iter().zip(0..) {
            assert_eq!(mixer.input(*key, &tone(400 + 100 * n, 1500.0, frame)), None);
        }
        mixer.finish_frame();
        let sound = heard(&mut mixer, keys[3]);
        let level = |n: u16| amplitude(&sound, f32::from(400 + 100 * n), RATE);
        if frame == 3 {
            // The muted voice fades out in this frame.
            assert!(level(0) > 500.0 && level(0) < 1000.0, "{}", level(0));
            assert!(sound[FRAME - 1].abs() < 6000);
        } else {
            assert!(level(0) < 10.0, "{}", level(0));
        }
        assert!((level(2) - 3000.0).abs() < 100.0 && (level(1) - 1500.0).abs() < 100.0);
        assert_eq!(mixer.output(keys[1]), Heard::Silence);
    }
    assert!(mixer.talks(keys[0]));
    assert!(matches!(mixer.output(keys[0]), Heard::Shared(_)));
}

#[test]
fn talk_ends_with_the_hang_over_and_whoever_leaves_is_gone() {
    let (mut mixer, keys) = room(2, 1500.0, &[]);
    let mut ended = Vec::new();
    for frame in 0..30 {
        mixer.begin_frame();
        if mixer.input(keys[0], &[]) == Some(TalkChange::Ended) {
            ended.push(frame);
        }
        mixer.input(keys[1], &tone(500, 1500.0, frame));
        mixer.finish_frame();
    }
    assert_eq!(ended, [super::super::activity::HANG_MS as usize / 20]);
    assert!(mixer.leave(keys[1]) && !mixer.leave(keys[1]));
    assert_eq!(mixer.output(keys[1]), Heard::Silence);
    assert_eq!(mixer.input(keys[1], &[1; 160]), None);
    assert!(!mixer.set_muted(keys[1], true) && !mixer.talks(keys[1]));
    let next = mixer.join().unwrap();
    assert_ne!(next, keys[1]);
    assert_eq!(mixer.len(), 2);
}

#[test]
fn a_hundred_that_shout_bend_and_do_not_wrap() {
    let mut mixer = Mixer::new(RATE, 200).unwrap();
    let keys: Vec<Key> = (0..100).map(|_| mixer.join().unwrap()).collect();
    for frame in 0..3 {
        mixer.begin_frame();
        for key in &keys {
            mixer.set_gain(*key, u16::MAX);
            mixer.input(*key, &tone(500, 32_000.0, frame));
            mixer.input(*key, &tone(700, 32_000.0, frame));
        }
        mixer.finish_frame();
    }
    for key in keys {
        let sound = heard(&mut mixer, key);
        for (sample, reference) in sound.iter().zip(tone(500, 32_000.0, 2)) {
            assert!(i32::from(*sample) * i32::from(reference) >= 0);
        }
        assert!(amplitude(&sound, 500.0, RATE) > 30_000.0);
    }
}

#[test]
fn the_limiter_rises_everywhere_and_is_straight_below_its_knee() {
    let mut last = i32::from(limited(-300_001));
    for value in -300_000..=300_000 {
        let out = i32::from(limited(value));
        assert!(out >= last && out - last <= 1, "{value}");
        assert!(value.abs() > KNEE || out == value);
        assert_eq!(out, -i32::from(limited(-value)));
        last = out;
    }
    assert!(limited(i32::MAX) > 32_700 && limited(i32::MIN) < -32_700);
}

#[test]
fn a_room_has_its_limits() {
    assert!(Mixer::new(44_100, 10).is_none());
    let mut mixer = Mixer::new(48_000, 100_000).unwrap();
    assert_eq!(mixer.frame_samples(), 960);
    let joined = std::iter::from_fn(|| mixer.join()).count();
    assert_eq!(joined, PARTICIPANTS_MAX);
    let mut small = Mixer::new(16_000, 2).unwrap();
    assert!(small.is_empty());
    let keys = [small.join(), small.join(), small.join()];
    assert!(keys[1].is_some() && keys[2].is_none());
}

#[test]
fn an_announcement_is_heard_by_all_even_in_silence() {
    let (mut mixer, keys) = room(3, 1500.0, &[0]);
    mixer.begin_frame();
    mixer.announce(&tone(1000, 2000.0, 0));
    mixer.input(keys[1], &tone(500, 1500.0, 3));
    mixer.finish_frame();
    for key in keys {
        let level = amplitude(&heard(&mut mixer, key), 1000.0, RATE);
        assert!((level - 2000.0).abs() < 20.0);
    }
}
