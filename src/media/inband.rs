//! Keys as tones in what a leg hears, where telephone events were not agreed on. Packets are taken
//! as they come: a tone lasts several of them, and nobody waits for a jitter buffer then.

use super::codec::{Codec, Decoder};
use super::dtmf::{Detector, Event};
use super::event::KeyChange;
use super::order::Format;
use crate::wire::rtp::Header;

/// Samples of one packet that are listened to: 90 ms at 16 kHz; 120 ms of Opus at 8 kHz.
const SAMPLES_MAX: usize = 1440;

/// Enough for tones below 1.7 kHz, where the codec leaves a choice.
const RATE: u32 = 8000;

/// Listens to one leg.
#[derive(Debug)]
pub(super) struct InBand {
    codec: Codec,
    payload_type: u8,
    decoder: Decoder,
    detector: Detector,
    /// SSRC and number of the last packet.
    last: Option<(u32, u16)>,
}

impl InBand {
    /// For a leg of that format.
    pub fn new(format: &Format) -> Self {
        let codec = Codec::at(format.coding, RATE);
        Self {
            codec,
            payload_type: format.payload_type,
            decoder: Decoder::by(codec, format.plugin),
            detector: Detector::new(codec.sample_rate()),
            last: None,
        }
    }

    /// Whether it understands that format.
    pub fn fits(&self, format: &Format) -> bool {
        self.codec == Codec::at(format.coding, RATE) && self.payload_type == format.payload_type
    }

    /// A packet came; what it tells of keys.
    pub fn hear(&mut self, header: &Header, payload: &[u8], mut change: impl FnMut(KeyChange)) {
        if header.payload_type != self.payload_type {
            return;
        }
        if let Some((ssrc, sequence)) = self.last
            && ssrc == header.ssrc
            && header.sequence.wrapping_sub(sequence) as i16 <= 0
        {
            // What comes behind its turn would cut the tone.
            return;
        }
        self.last = Some((header.ssrc, header.sequence));
        let mut samples = [0; SAMPLES_MAX];
        let count = self.decoder.decode(payload, &mut samples);
        let heard = samples.get(..count).unwrap_or_default();
        let units_per_ms = self.codec.clock_rate() / 1000;
        self.detector.push(heard, |event| {
            change(match event {
                Event::Began(digit) => KeyChange::Pressed { code: digit.code() },
                Event::Ended { digit, duration_ms } => KeyChange::Released {
                    code: digit.code(),
                    units: duration_ms * units_per_ms,
                },
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::Encoder;
    use super::super::dtmf::{Digit, Generator, LEVEL_DBM0};
    use super::*;
    use crate::wire::rtp::Coding;

    #[test]
    fn a_number_is_heard_in_every_codec_that_carries_tones_and_through_loss() {
        for (coding, lost) in [
            (Coding::Pcma, 0),
            (Coding::Pcmu, 0),
            (Coding::G722, 0),
            (Coding::Pcma, 9),
        ] {
            let format = Format::plain(coding, coding.payload_type());
            let codec = Codec::from(coding);
            let mut ear = InBand::new(&format);
            let mut encoder = Encoder::new(codec);
            let (mut pressed, mut released) = (String::new(), 0);
            let mut header = Header {
                marker: false,
                payload_type: format.payload_type,
                sequence: 65_500,
                timestamp: 0,
                ssrc: 1,
            };
            for key in "0123456789*#ABCD".chars() {
                let digit = Digit::from_char(key).unwrap();
                let rate = codec.sample_rate();
                let mut tone = Generator::new(digit, rate, 120, 100, LEVEL_DBM0);
                while !tone.is_over() {
                    let mut samples = vec![0; codec.samples(20)];
                    tone.fill(&mut samples);
                    let mut payload = vec![0; codec.payload_len(samples.len())];
                    encoder.encode(&samples, &mut payload);
                    header.sequence = header.sequence.wrapping_add(1);
                    if lost > 0 && header.sequence.is_multiple_of(lost) {
                        continue;
                    }
                    // The second time is too late.
                    for _ in 0..2 {
                        ear.hear(&header, &payload, |change| match change {
                            KeyChange::Pressed { code } => {
                                pressed.push(Digit::from_code(code).unwrap().as_char());
                            }
                            KeyChange::Released { units, .. } => {
                                assert!((400..1300).contains(&units), "{units}");
                                released += 1;
                            }
                        });
                    }
                }
            }
            assert_eq!(
                (&*pressed, released),
                ("0123456789*#ABCD", 16),
                "{coding:?}"
            );
        }
    }
}
