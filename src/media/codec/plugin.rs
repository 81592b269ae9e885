//! A codec that others wrote, loaded at the start: G.729 (RFC 3551 §4.5.6), at 8 kHz, ten octets
//! for each 10 ms. Here is what it must do, and how frames become packets; who loads it is `os`.
//!
//! Whoever has no plugin, or gets no memory from it, writes nothing and hears nothing.

use std::fmt::{self, Debug, Formatter};

/// Samples of a frame: 10 ms.
pub const FRAME_SAMPLES: usize = 80;
/// Octets of a frame.
pub const FRAME_SIZE: usize = 10;

/// What was loaded.
pub trait Library: Debug + Send + Sync {
    /// An encoder at its start; none without memory.
    fn encoder(&self) -> Option<Box<dyn EncodesFrames>>;
    /// A decoder at its start; none without memory.
    fn decoder(&self) -> Option<Box<dyn DecodesFrames>>;
}

/// Frames of samples to octets.
pub trait EncodesFrames: Debug + Send {
    /// Encodes one frame; whether it did.
    fn encode(&mut self, samples: &[i16; FRAME_SAMPLES], frame: &mut [u8; FRAME_SIZE]) -> bool;
}

/// Octets to frames of samples.
pub trait DecodesFrames: Debug + Send {
    /// Decodes one frame; whether it did.
    fn decode(&mut self, frame: &[u8; FRAME_SIZE], samples: &mut [i16; FRAME_SAMPLES]) -> bool;
    /// Makes up a frame that is lost; whether it did.
    fn conceal(&mut self, samples: &mut [i16; FRAME_SAMPLES]) -> bool;
}

/// The plugin of the process, which stays to its end.
#[derive(Clone, Copy)]
pub struct Plugin(&'static dyn Library);

impl Plugin {
    /// What was loaded.
    pub const fn new(library: &'static dyn Library) -> Self {
        Self(library)
    }
}

impl Debug for Plugin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(self.0, f)
    }
}

/// There is one at most.
impl PartialEq for Plugin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Plugin {}

/// Samples to payload.
#[derive(Debug)]
pub struct Encoder(Option<Box<dyn EncodesFrames>>);

impl Encoder {
    /// At its start.
    pub fn new(plugin: Option<Plugin>) -> Self {
        Self(plugin.and_then(|plugin| plugin.0.encoder()))
    }

    /// Encodes frames as far as they fit; a last one that is not full is filled with silence.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let Some(encoder) = &mut self.0 else { return 0 };
        let (places, _) = payload.as_chunks_mut::<FRAME_SIZE>();
        let mut written = 0;
        for (piece, place) in samples.chunks(FRAME_SAMPLES).zip(places) {
            let mut frame = [0; FRAME_SAMPLES];
            for (to, from) in frame.iter_mut().zip(piece) {
                *to = *from;
            }
            if !encoder.encode(&frame, place) {
                break;
            }
            written += FRAME_SIZE;
        }
        written
    }
}

/// Payload to samples.
#[derive(Debug)]
pub struct Decoder(Option<Box<dyn DecodesFrames>>);

impl Decoder {
    /// At its start.
    pub fn new(plugin: Option<Plugin>) -> Self {
        Self(plugin.and_then(|plugin| plugin.0.decoder()))
    }

    /// Decodes whole frames as far as they fit. A rest is none: two octets would be comfort noise
    /// (Annex B), which was not agreed on.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        let Some(decoder) = &mut self.0 else { return 0 };
        let (frames, _) = payload.as_chunks::<FRAME_SIZE>();
        let (places, _) = samples.as_chunks_mut::<FRAME_SAMPLES>();
        let mut made = 0;
        for (frame, place) in frames.iter().zip(places) {
            if !decoder.decode(frame, place) {
                break;
            }
            made += FRAME_SAMPLES;
        }
        made
    }

    /// Makes up what is lost: whole frames of it, or nothing.
    pub fn conceal(&mut self, samples: &mut [i16]) -> bool {
        let Some(decoder) = &mut self.0 else {
            return false;
        };
        match samples.as_chunks_mut::<FRAME_SAMPLES>() {
            (places, []) => places.iter_mut().all(|place| decoder.conceal(place)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, Decoder as AnyDecoder, Encoder as AnyEncoder};
    use super::*;
    use crate::wire::rtp::{Coding, Wishes};

    /// A frame is its first sample, high octet first, and its number.
    #[derive(Debug)]
    struct Toy;

    #[derive(Debug)]
    struct Counts(u8);

    impl Library for Toy {
        fn encoder(&self) -> Option<Box<dyn EncodesFrames>> {
            Some(Box::new(Counts(0)))
        }

        fn decoder(&self) -> Option<Box<dyn DecodesFrames>> {
            Some(Box::new(Counts(0)))
        }
    }

    impl EncodesFrames for Counts {
        fn encode(&mut self, samples: &[i16; FRAME_SAMPLES], frame: &mut [u8; FRAME_SIZE]) -> bool {
            let [high, low] = samples[0].to_be_bytes();
            *frame = [high, low, self.0, 0, 0, 0, 0, 0, 0, samples[79] as u8];
            self.0 += 1;
            true
        }
    }

    impl DecodesFrames for Counts {
        fn decode(&mut self, frame: &[u8; FRAME_SIZE], samples: &mut [i16; FRAME_SAMPLES]) -> bool {
            *samples = [i16::from_be_bytes([frame[0], frame[1]]); FRAME_SAMPLES];
            frame[2] != 255
        }

        fn conceal(&mut self, samples: &mut [i16; FRAME_SAMPLES]) -> bool {
            *samples = [7; FRAME_SAMPLES];
            true
        }
    }

    const PLUGIN: Option<Plugin> = Some(Plugin::new(&Toy));

    #[test]
    fn frames_fill_packets() {
        let codec = Codec::from(Coding::G729);
        assert_eq!((codec.samples(20), codec.ticks(20)), (160, 160));
        assert_eq!(
            (codec.payload_len(160), codec.payload_samples(20)),
            (20, 160)
        );
        assert_eq!((codec.ptime_ms(25), codec.ptime_ms(5)), (20, 10));
        let mut encoder = AnyEncoder::wished(codec, Wishes::default(), PLUGIN);
        let mut samples = [300; 170];
        samples[80..].fill(-2);
        let mut payload = [0; 64];
        assert_eq!(encoder.encode(&samples, &mut payload), 30);
        assert_eq!(payload[..3], [1, 44, 0]);
        assert_eq!(payload[10..13], [255, 254, 1]);
        assert_eq!(
            (payload[22], payload[29]),
            (2, 0),
            "the third is filled with silence"
        );
        assert_eq!(
            encoder.encode(&samples, &mut [0; 19]),
            10,
            "what does not fit is left"
        );

        let mut decoder = AnyDecoder::by(codec, PLUGIN);
        let mut heard = [0; 400];
        assert_eq!(decoder.decode(&payload[..22], &mut heard), 160);
        assert_eq!((heard[79], heard[80], heard[160]), (300, -2, 0));
        assert_eq!(decoder.decode(&payload[..30], &mut [0; 100]), 80);
        payload[12] = 255;
        assert_eq!(
            decoder.decode(&payload[..30], &mut heard),
            80,
            "one is broken"
        );
    }

    #[test]
    fn what_is_lost_is_made_up_in_whole_frames() {
        let mut decoder = AnyDecoder::by(Codec::G729, PLUGIN);
        let mut place = [0; 160];
        assert!(decoder.conceal(&mut place));
        assert_eq!(place, [7; 160]);
        assert!(!decoder.conceal(&mut place[..100]));
        assert!(!AnyDecoder::new(Codec::Pcma).conceal(&mut place));
    }

    #[test]
    fn without_a_plugin_all_is_silent() {
        let mut payload = [0; 20];
        assert_eq!(
            AnyEncoder::new(Codec::G729).encode(&[1; 160], &mut payload),
            0
        );
        let mut decoder = AnyDecoder::new(Codec::G729);
        assert_eq!(decoder.decode(&payload, &mut [0; 160]), 0);
        assert!(!decoder.conceal(&mut [0; 160]));
    }
}
