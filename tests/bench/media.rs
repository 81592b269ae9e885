//! What sound costs: nanoseconds of processor per frame of 20 ms for each codec and rate
//! conversion, for a tone and the DTMF detector, and microseconds per frame of a conference of 500
//! at three rates, of whom few or all talk; `share` is the part of one core that the mixing takes.
//! `conference` is the same with G.722 decoded for all and encoded for the talkers and once for all
//! others; `calls` how many calls one core recodes, both ways, without packets and jitter buffers.
//!
//! Run: `cargo bench --bench media`. Prints `metric value unit`, one a line.

mod cpu;

use cpu::cpu;
use std::hint::black_box;
use std::time::Duration;
use voip::base::{Key, Rng};
use voip::media::codec::{Codec, Decoder, Encoder};
use voip::media::mixer::{Heard, Mixer};
use voip::media::resample::Resampler;
use voip::media::tone::{Country, Tone, ToneGenerator};
use voip::media::{dtmf, goertzel, tone};

const ROUNDS: usize = 5;
const PARTICIPANTS: usize = 500;
const FRAME_MS: u32 = 20;

/// The best of some rounds of `times`, in nanoseconds per time.
fn measure(times: usize, mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let started = cpu();
        for _ in 0..times {
            work();
        }
        best = best.min(cpu() - started);
    }
    best.as_nanos() as f64 / times as f64
}

/// Noise whose loudness and colour change, so that codecs adapt and predictors are used.
fn sound(samples: usize, rng: &mut Rng) -> Vec<i16> {
    let mut last = 0.0;
    let mut out = Vec::with_capacity(samples);
    for n in 0..samples {
        let loud = 1000.0 + 8000.0 * ((n as f64 / 3000.0).sin() + 1.0);
        last = 0.9 * last + 0.1 * (rng.below(65_536) as f64 - 32_768.0) / 32_768.0;
        out.push((last * loud * 3.0).clamp(-32_768.0, 32_767.0) as i16);
    }
    out
}

fn codecs(times: usize, rng: &mut Rng) {
    let all = [
        Codec::Pcmu,
        Codec::Pcma,
        Codec::G722,
        Codec::Gsm,
        Codec::L16 { rate: 16_000 },
    ];
    for codec in all {
        let name = codec.name().to_ascii_lowercase();
        let frame = codec.samples(FRAME_MS);
        let input = sound(frame * 50, rng);
        let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
        let mut payload = vec![0; codec.payload_len(frame)];
        let mut frames = input.chunks_exact(frame).cycle();
        let ns = measure(times, || {
            let samples = frames.next().expect("it cycles");
            encoder.encode(black_box(samples), black_box(&mut payload));
        });
        println!("encode.{name} {ns:.0} ns");
        let mut coded = vec![0; codec.payload_len(input.len())];
        encoder.encode(&input, &mut coded);
        let mut payloads = coded.chunks_exact(payload.len()).cycle();
        let mut samples = vec![0; frame];
        let ns = measure(times, || {
            let payload = payloads.next().expect("it cycles");
            decoder.decode(black_box(payload), black_box(&mut samples));
        });
        println!("decode.{name} {ns:.0} ns");
    }
}

fn rates(times: usize, rng: &mut Rng) {
    for (from, to) in [
        (8000, 16_000),
        (16_000, 8000),
        (8000, 48_000),
        (48_000, 8000),
        (16_000, 48_000),
        (48_000, 16_000),
    ] {
        let mut resampler = Resampler::new(from, to).expect("a known rate");
        let input = sound((from * FRAME_MS / 1000) as usize, rng);
        let mut output = vec![0; resampler.output_len_max(input.len())];
        let ns = measure(times, || {
            resampler.process(black_box(&input), black_box(&mut output));
        });
        println!("resample.{from}.{to} {ns:.0} ns");
    }
}

fn tones(times: usize, rng: &mut Rng) {
    for rate in [8000, 16_000] {
        let mut frame = sound((rate * FRAME_MS / 1000) as usize, rng);
        let mut detector = dtmf::Detector::new(rate);
        let ns = measure(times, || {
            detector.push(black_box(&frame), |event| {
                black_box(event);
            });
        });
        println!("dtmf.detect.{rate} {ns:.0} ns");
        let pattern = Country::Gb.pattern(Tone::Dial);
        let mut generator = ToneGenerator::new(pattern, rate, tone::LEVEL_DBM0);
        let ns = measure(times, || {
            generator.fill(black_box(&mut frame));
        });
        assert!(goertzel::amplitude(&frame, 350.0, rate) > 100.0);
        println!("tone.{rate} {ns:.0} ns");
    }
}

/// One frame of a room: everybody sends, everybody hears.
fn frame(mixer: &mut Mixer, keys: &[Key], talkers: usize, talk: &[i16], hiss: &[i16]) {
    mixer.begin_frame();
    for (n, key) in keys.iter().enumerate() {
        mixer.input(*key, black_box(if n < talkers { talk } else { hiss }));
    }
    black_box(mixer.finish_frame());
    for key in keys {
        match mixer.output(*key) {
            Heard::Silence => {}
            Heard::Shared(samples) | Heard::Own(samples) => {
                black_box(samples);
            }
        }
    }
}

fn rooms(times: usize, rng: &mut Rng) {
    for rate in [8000, 16_000, 48_000] {
        for talkers in [5, PARTICIPANTS] {
            let mut mixer = Mixer::new(rate, PARTICIPANTS).expect("a known rate");
            let keys: Vec<Key> = (0..PARTICIPANTS).filter_map(|_| mixer.join()).collect();
            assert_eq!(keys.len(), PARTICIPANTS);
            let talk = sound(mixer.frame_samples(), rng);
            let hiss: Vec<i16> = talk.iter().map(|s| s / 2048).collect();
            let ns = measure(times, || frame(&mut mixer, &keys, talkers, &talk, &hiss));
            let loud = keys.iter().filter(|key| mixer.talks(**key)).count();
            assert_eq!(loud, talkers);
            println!("room.{PARTICIPANTS}.{rate}.{talkers} {:.0} us", ns / 1e3);
            let share = ns / (f64::from(FRAME_MS) * 1e6) * 100.0;
            println!("room.{PARTICIPANTS}.{rate}.{talkers}.share {share:.1} %");
        }
    }
}

/// A room at 16 kHz with its codec: what comes is decoded, what is heard encoded.
fn conference(times: usize, rng: &mut Rng) {
    const TALKERS: usize = 5;
    let mut mixer = Mixer::new(16_000, PARTICIPANTS).expect("a known rate");
    let keys: Vec<Key> = (0..PARTICIPANTS).filter_map(|_| mixer.join()).collect();
    let frame = mixer.frame_samples();
    let mut decoders = Vec::from_iter((0..PARTICIPANTS).map(|_| Decoder::new(Codec::G722)));
    let mut encoders = Vec::from_iter((0..=PARTICIPANTS).map(|_| Encoder::new(Codec::G722)));
    let mut coded = [vec![0; frame / 2], vec![0; frame / 2]];
    let talk = sound(frame, rng);
    let hiss: Vec<i16> = talk.iter().map(|s| s / 2048).collect();
    for (samples, payload) in [talk, hiss].iter().zip(&mut coded) {
        Encoder::new(Codec::G722).encode(samples, payload);
    }
    let (mut samples, mut payload) = (vec![0; frame], vec![0; frame / 2]);
    let ns = measure(times, || {
        mixer.begin_frame();
        for (n, (key, decoder)) in keys.iter().zip(&mut decoders).enumerate() {
            decoder.decode(&coded[usize::from(n >= TALKERS)], &mut samples);
            mixer.input(*key, &samples);
        }
        if let Some(shared) = mixer.finish_frame() {
            encoders[PARTICIPANTS].encode(shared, &mut payload);
        }
        for (key, encoder) in keys.iter().zip(&mut encoders) {
            if let Heard::Own(own) = mixer.output(*key) {
                encoder.encode(own, &mut payload);
            }
        }
        black_box(&payload);
    });
    let share = ns / (f64::from(FRAME_MS) * 1e6) * 100.0;
    println!("conference.{PARTICIPANTS}.g722.share {share:.1} %");
}

/// One direction of a call: decoded, its rate converted, encoded.
fn recode(times: usize, from: Codec, to: Codec, rng: &mut Rng) -> f64 {
    let input = sound(from.samples(FRAME_MS) * 50, rng);
    let mut coded = vec![0; from.payload_len(input.len())];
    Encoder::new(from).encode(&input, &mut coded);
    let mut payloads = coded
        .chunks_exact(from.payload_len(from.samples(FRAME_MS)))
        .cycle();
    let (mut decoder, mut encoder) = (Decoder::new(from), Encoder::new(to));
    let mut resampler = Resampler::new(from.sample_rate(), to.sample_rate()).expect("a known rate");
    let mut samples = vec![0; from.samples(FRAME_MS)];
    let mut converted = vec![0; to.samples(FRAME_MS)];
    let mut payload = vec![0; to.payload_len(converted.len())];
    measure(times, || {
        let count = decoder.decode(payloads.next().expect("it cycles"), &mut samples);
        let count = resampler.process(&samples[..count], &mut converted);
        encoder.encode(&converted[..count], &mut payload);
        black_box(&payload);
    })
}

fn calls(times: usize, rng: &mut Rng) {
    for (one, other) in [
        (Codec::Pcmu, Codec::Pcma),
        (Codec::G722, Codec::Pcmu),
        (Codec::Gsm, Codec::Pcma),
    ] {
        let ns = recode(times, one, other, rng) + recode(times, other, one, rng);
        let calls = f64::from(FRAME_MS) * 1e6 / ns;
        let names = format!("{}.{}", one.name(), other.name()).to_ascii_lowercase();
        println!("calls.{names} {calls:.0} calls");
    }
}

fn main() {
    let mut rng = Rng::from_u64(7);
    // `cargo test` runs benches once, to see that they do.
    let quick = std::env::args().any(|a| a == "--test");
    let times = if quick { 2 } else { 5000 };
    codecs(times, &mut rng);
    rates(times, &mut rng);
    tones(times, &mut rng);
    calls(times, &mut rng);
    rooms(if quick { 1 } else { 100 }, &mut rng);
    conference(if quick { 1 } else { 100 }, &mut rng);
}
