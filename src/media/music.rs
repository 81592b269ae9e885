//! What those hear who wait: a calm piece of our own that begins anew when it ends. It is worked
//! out note by note; no recording is part of it, and nobody's rights.

use super::codec::g711;
use std::f64::consts::TAU;

/// The rate that it is made at.
pub const RATE: u32 = 8000;

/// Half a second for a note.
const NOTE: usize = RATE as usize / 2;
/// Notes of one bar.
const BAR: usize = 8;
/// Each bar's chord, as half tones above the A of 110 Hz: its bass and four notes. In the key of C:
/// the first, sixth, fourth and fifth degree, then the same with a turn at the end.
const BARS: [[i32; 5]; 8] = [
    [3, 15, 19, 22, 27],
    [0, 12, 15, 19, 24],
    [8, 15, 20, 24, 27],
    [10, 14, 17, 22, 26],
    [3, 15, 19, 22, 31],
    [0, 12, 15, 19, 27],
    [5, 12, 17, 20, 24],
    [10, 14, 17, 22, 29],
];
/// Up and down through the four notes.
const FIGURE: [usize; BAR] = [1, 2, 3, 4, 3, 2, 3, 2];
/// The piece's length in samples: 32 seconds.
pub const LENGTH: usize = BARS.len() * BAR * NOTE;
/// The loudest moment, some 12 dB below full scale.
const PEAK: f64 = 8000.0;
/// A note rises within 15 ms, and falls to a third within the time here, in seconds.
const RISE: f64 = 0.015;
const FALL: f64 = 0.7;
const BASS_FALL: f64 = 2.2;
/// A note is worked out for so long; what is left of it then is 35 dB below its beginning.
const HEARD: f64 = 4.0;

/// The piece, as A-law. What sounds on at its end goes into its beginning: no seam is heard.
pub fn compose() -> Box<[u8]> {
    let mut sound = vec![0.0; LENGTH];
    for (bar, chord) in BARS.iter().enumerate() {
        let [bass, ..] = *chord;
        strike(&mut sound, bar * BAR * NOTE, bass, 0.8, BASS_FALL);
        for (note, which) in FIGURE.into_iter().enumerate() {
            let tone = chord.get(which).copied().unwrap_or(bass);
            let weight = if note == 0 { 1.0 } else { 0.75 };
            strike(&mut sound, (bar * BAR + note) * NOTE, tone, weight, FALL);
        }
    }
    let peak = sound.iter().fold(1.0, |most: f64, s| most.max(s.abs()));
    let samples: Vec<i16> = sound.iter().map(|s| (s / peak * PEAK) as i16).collect();
    let mut bytes = vec![0; LENGTH];
    g711::alaw_encode(&samples, &mut bytes);
    bytes.into_boxed_slice()
}

/// Adds a note: its tone, and less of the two above it.
fn strike(sound: &mut [f64], at: usize, half_tones: i32, weight: f64, fall: f64) {
    let hz = 110.0 * 2f64.powf(f64::from(half_tones) / 12.0);
    let rate = f64::from(RATE);
    for n in 0..(HEARD * rate) as usize {
        let time = n as f64 / rate;
        let loud = (time / RISE).min(1.0) * (-time / fall).exp() * weight;
        // The end of the piece's last notes, before they are cut.
        let loud = loud * ((HEARD - time) / 0.2).min(1.0);
        let angle = TAU * hz * time;
        let tone = angle.sin() + 0.3 * (2.0 * angle).sin() + 0.1 * (3.0 * angle).sin();
        if let Some(place) = sound.get_mut((at + n) % LENGTH) {
            *place += tone * loud;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::goertzel::amplitude;
    use super::*;

    #[test]
    fn it_has_its_notes_no_silence_and_no_seam() {
        let bytes = compose();
        let mut samples = vec![0; LENGTH];
        g711::alaw_decode(&bytes, &mut samples);
        for (n, piece) in samples.chunks(RATE as usize / 4).enumerate() {
            let power: f64 = piece.iter().map(|s| f64::from(*s).powi(2)).sum();
            let loud = (power / piece.len() as f64).sqrt();
            assert!((500.0..6000.0).contains(&loud), "{n}: {loud}");
        }
        // The first chord: C of 130.8 and 261.6 Hz, no C sharp between them.
        let first = &samples[..RATE as usize / 2];
        let level = |hz| amplitude(first, hz, RATE);
        assert!(
            level(261.6) > 10.0 * level(311.1),
            "{} {}",
            level(261.6),
            level(311.1)
        );
        assert!(level(130.8) > 1000.0);
        // From the end to the beginning it steps no wider than elsewhere.
        let step = |a: i16, b: i16| (i32::from(a) - i32::from(b)).abs();
        let widest = samples.windows(2).map(|w| step(w[0], w[1])).max().unwrap();
        assert!(step(samples[LENGTH - 1], samples[0]) <= widest);
    }
}
