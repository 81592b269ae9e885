//! The codecs against what others make of the same sound. The expected bytes and sums come from
//! these commands, where `t.raw` holds the 16,000 samples of [`signal`], low byte first:
//!
//! ```text
//! sox -D -t raw -r 8000 -e signed -b 16 -c 1 t.raw -t gsm t.gsm
//! sox -D -t gsm t.gsm -t raw -e signed -b 16 t.gsm.raw
//! sox -D -t al -r 8000 -c 1 bytes -t raw -e signed -b 16 al.raw   # bytes: 0 to 255; -t ul too
//! g722demo -enc t.raw t.cod; g722demo -dec -mode 1 t.cod t.g722.raw   # of the ITU's G.191 tools
//! ```
//!
//! Seen once, since those files are the ITU's: G.722's `inpsp.bin`, `codspw.cod`, `outsp1.bin` and
//! G.711's `sweep.src`, `sweep-r.a`, `sweep-r.u`, `sweep-r.rea`, `sweep-r.reu` come out bit for bit.

use super::*;

/// Two seconds of something that has pitch, noise, silence and clipping, the same everywhere.
fn signal(length: usize) -> Vec<i16> {
    let mut noise = 12_345u32;
    let mut sample = |at: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (noise >> 16) as i32 - 32_768;
        let period = 60 + (at / 400) % 40;
        let saw = (at % period) as i32 * 40_000 / period as i32 - 20_000;
        let loudness = [0, 1, 4, 12, 24, 9, 2, 30][at / 900 % 8];
        let value = (saw * 3 + noise) * loudness / 64;
        value.clamp(-32_768, 32_767) as i16
    };
    (0..length).map(&mut sample).collect()
}

/// FNV-1a of 64 bits: enough to tell that two sequences are the same.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn fnv_samples(samples: &[i16]) -> u64 {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    fnv(&bytes)
}

/// Encoded and decoded in packets of so many samples.
fn through(codec: Codec, samples: &[i16], packet: usize) -> (Vec<u8>, Vec<i16>) {
    let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
    let (mut coded, mut decoded) = (Vec::new(), Vec::new());
    for frame in samples.chunks(packet) {
        let mut payload = vec![0; codec.payload_len(frame.len())];
        assert_eq!(encoder.encode(frame, &mut payload), payload.len());
        let mut out = vec![0; codec.payload_samples(payload.len())];
        assert_eq!(decoder.decode(&payload, &mut out), out.len());
        coded.extend(payload);
        decoded.extend(out);
    }
    (coded, decoded)
}

#[test]
fn gsm_gives_the_bits_that_another_implementation_gives() {
    const FRAME_13: [u8; gsm::FRAME_SIZE] = [
        218, 34, 146, 161, 154, 190, 147, 8, 218, 78, 55, 91, 131, 79, 213, 31, 118, 2, 236, 184,
        143, 26, 38, 171, 215, 236, 131, 81, 201, 4, 137, 195, 92,
    ];
    for packet in [160, 320, 1600] {
        let (coded, decoded) = through(Codec::Gsm, &signal(16_000), packet);
        assert_eq!(coded[13 * 33..14 * 33], FRAME_13);
        assert_eq!(fnv(&coded), 0x6f98_09bc_ab08_7e3f);
        assert_eq!(fnv_samples(&decoded), 0xd13d_b81b_212a_3d0d);
    }
}

#[test]
fn g722_gives_the_bits_that_the_itu_program_gives() {
    const OCTETS_1400: [u8; 32] = [
        92, 152, 153, 218, 212, 231, 108, 121, 179, 215, 41, 43, 202, 76, 253, 14, 61, 60, 77, 244,
        88, 26, 253, 21, 61, 126, 115, 149, 114, 85, 111, 23,
    ];
    for packet in [2, 160, 320, 3200] {
        let (coded, decoded) = through(Codec::G722, &signal(16_000), packet);
        assert_eq!(coded[1400..1432], OCTETS_1400);
        assert_eq!(fnv(&coded), 0x6bf5_364f_4c84_758d);
        assert_eq!(fnv_samples(&decoded), 0x4764_4255_46d9_0647);
    }
}

#[test]
fn g711_decodes_as_others_do() {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut samples = vec![0; 256];
    assert_eq!(Decoder::Pcma.decode(&bytes, &mut samples), 256);
    assert_eq!(fnv_samples(&samples), 0x693a_40ca_62a3_d2a5);
    assert_eq!(Decoder::Pcmu.decode(&bytes, &mut samples), 256);
    assert_eq!(fnv_samples(&samples), 0xb91e_65d6_8481_a1a8);
}

#[test]
fn g711_encodes_to_the_nearest_value_and_keeps_what_was_decoded() {
    for code in 0..=255 {
        assert_eq!(g711::alaw(g711::of_alaw(code)), code);
        let again = g711::ulaw(g711::of_ulaw(code));
        // u-law has two noughts.
        assert!(again == code || code == 0x7f && again == 0xff, "{code}");
    }
    for sample in i16::MIN..=i16::MAX {
        let size = i32::from(sample).abs();
        // Half a step of the sample's segment, and the bits that the law never sees.
        let step = |floor: i32| ((size + 132).max(floor)).ilog2();
        let error = i32::from(g711::of_ulaw(g711::ulaw(sample))) - i32::from(sample);
        let clipped = (size - 32_124).max(0);
        assert!(
            error.abs() <= (1 << step(132)) / 32 + 4 + clipped,
            "{sample} {error}"
        );
        let error = i32::from(g711::of_alaw(g711::alaw(sample))) - i32::from(sample);
        let clipped = (size - 32_256).max(0);
        let half_step = (1 << size.max(256).ilog2()) / 32 + 1;
        assert!(error.abs() <= half_step + clipped, "{sample} {error}");
    }
}

#[test]
fn l16_is_in_network_order_and_loses_nothing() {
    let codec = Codec::L16 { rate: 16_000 };
    let (coded, decoded) = through(codec, &signal(2000), 320);
    assert_eq!(decoded, signal(2000));
    let expected: Vec<u8> = signal(2000).iter().flat_map(|s| s.to_be_bytes()).collect();
    assert_eq!(coded, expected);
}

const ALL: [Codec; 5] = [
    Codec::Pcmu,
    Codec::Pcma,
    Codec::G722,
    Codec::Gsm,
    Codec::L16 { rate: 8000 },
];

#[test]
fn any_payload_into_any_room_is_survived() {
    let mut rng = crate::base::Rng::from_u64(3);
    for codec in ALL {
        let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
        for _ in 0..400 {
            let mut payload = vec![0; rng.below(400) as usize];
            rng.fill(&mut payload);
            if rng.chance(1, 2)
                && let Some(first) = payload.first_mut()
            {
                *first = 0xd0 | *first & 15;
            }
            let mut samples = vec![0; rng.below(800) as usize];
            let count = decoder.decode(&payload, &mut samples);
            assert!(count <= samples.len() && count <= codec.payload_samples(payload.len()));
            let mut payload = vec![0; rng.below(400) as usize];
            let count = encoder.encode(&samples, &mut payload);
            assert!(count <= payload.len() && count <= codec.payload_len(samples.len()));
        }
    }
}

#[test]
fn full_scale_noise_and_square_waves_overflow_nothing() {
    let mut rng = crate::base::Rng::from_u64(4);
    let mut wild: Vec<i16> = (0..16_000).map(|_| rng.next_u64() as i16).collect();
    for period in [2, 3, 7, 40, 91, 160, 333] {
        wild.extend((0..3200).map(|at| {
            if at / period % 2 == 0 {
                i16::MIN
            } else {
                i16::MAX
            }
        }));
    }
    wild.extend([i16::MIN; 1600]);
    wild.extend([i16::MAX; 1600]);
    for codec in ALL {
        let (_, decoded) = through(codec, &wild, 160);
        assert_eq!(decoded.len(), wild.len());
    }
}

#[test]
fn a_gsm_frame_without_its_signature_is_silence() {
    let mut samples = [7; gsm::FRAME_SAMPLES];
    let mut decoder = Decoder::new(Codec::Gsm);
    assert_eq!(decoder.decode(&[0x5a; 40], &mut samples), 160);
    assert_eq!(samples, [0; 160]);
    assert_eq!(decoder.decode(&[0xd5; 32], &mut samples), 0);
}

#[test]
fn sizes_and_packet_times_are_those_of_rfc_3551() {
    assert_eq!((Codec::G722.ticks(20), Codec::G722.samples(20)), (160, 320));
    assert_eq!(Codec::G722.payload_len(320), 160);
    assert_eq!(Codec::Gsm.payload_len(160), 33);
    assert_eq!(Codec::Gsm.payload_samples(66), 320);
    assert_eq!(
        (Codec::Gsm.ptime_ms(30), Codec::Pcmu.ptime_ms(35)),
        (20, 30)
    );
    assert_eq!(
        (Codec::Gsm.ptime_ms(0), Codec::Pcmu.ptime_ms(999)),
        (20, 200)
    );
    // No packet of ours is larger than an Ethernet frame.
    for (coding, ms) in [
        (Coding::Linear8, 60),
        (Coding::Linear16, 40),
        (Coding::Linear44, 10),
    ] {
        let codec = Codec::from(coding);
        assert_eq!(codec.ptime_ms(60), ms);
        assert!(codec.payload_len(codec.samples(ms)) <= 1440);
        assert_eq!(codec.ticks(10), codec.sample_rate() / 100);
    }
}

#[test]
fn every_coding_has_its_codec() {
    for coding in Coding::ALL {
        for rate in [8000, 16_000, 44_100, 48_000, u32::MAX] {
            let codec = Codec::at(*coding, rate);
            assert_eq!(codec.clock_rate(), coding.clock_rate());
            assert_eq!(codec.name(), coding.name());
        }
    }
}

#[cfg(feature = "opus")]
mod opus {
    use super::super::opus::{BYTES_PER_SECOND_MAX, RATES};
    use super::super::*;
    use crate::base::Rng;
    use crate::media::goertzel::amplitude;

    fn tone(hz: f64, rate: u32, ms: u32) -> Vec<i16> {
        let angle = std::f64::consts::TAU * hz / f64::from(rate);
        let value = |n| (8000.0 * (angle * f64::from(n)).sin()) as i16;
        (0..rate * ms / 1000).map(value).collect()
    }

    fn packets(codec: Codec, sound: &[i16], wishes: Wishes) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::wished(codec, wishes, None);
        let frames = sound.chunks_exact(codec.samples(20));
        frames
            .map(|frame| {
                let mut payload = vec![0; codec.payload_len(frame.len())];
                let length = encoder.encode(frame, &mut payload);
                assert!((1..=160).contains(&length), "{length}");
                payload.truncate(length);
                payload
            })
            .collect()
    }

    #[test]
    fn a_tone_passes_between_any_two_rates() {
        for from in RATES {
            let packets = packets(
                Codec::Opus { rate: from },
                &tone(440.0, from, 1000),
                Wishes::default(),
            );
            for to in RATES {
                let codec = Codec::Opus { rate: to };
                let mut decoder = Decoder::new(codec);
                let mut sound = Vec::new();
                for packet in &packets {
                    let mut samples = vec![0; codec.payload_samples(packet.len())];
                    let made = decoder.decode(packet, &mut samples);
                    assert_eq!(made, codec.samples(20));
                    sound.extend_from_slice(&samples[..made]);
                }
                let settled = &sound[to as usize / 2..][..to as usize / 10 * 4];
                let level = 20.0 * (amplitude(settled, 440.0, to) / 8000.0).log10();
                assert!(level.abs() < 1.0, "{from} {to}: {level} dB");
            }
        }
    }

    #[test]
    fn a_copy_restores_what_was_lost_where_it_was_asked_for() {
        // A glide, which goes on nowhere as it was.
        let codec = Codec::Opus { rate: 16_000 };
        let mut phase = 0.0f64;
        let sound: Vec<i16> = (0..32_000)
            .map(|n| {
                let hz = 300.0 + 500.0 * (f64::from(n) / 1600.0).sin().abs();
                phase += std::f64::consts::TAU * hz / 16_000.0;
                (8000.0 * phase.sin()) as i16
            })
            .collect();
        let wishes = Wishes {
            fec: true,
            bits_per_second_max: 0,
        };
        let packets = packets(codec, &sound, wishes);
        // The energy of the difference to what is heard without losses.
        let error = |copies: bool| {
            let (mut whole, mut torn) = (Decoder::new(codec), Decoder::new(codec));
            let (mut expected, mut heard) = ([0; 320], [0; 320]);
            let mut sum = 0.0;
            for (n, packet) in packets.iter().enumerate() {
                assert_eq!(whole.decode(packet, &mut expected), 320);
                if n % 5 == 4 {
                    let following = packets.get(n + 1).map_or(&[][..], Vec::as_slice);
                    if !(copies && torn.restore(following, &mut heard)) {
                        heard.fill(0);
                    }
                    let pairs = expected.iter().zip(&heard);
                    sum += pairs
                        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                        .sum::<f64>();
                } else {
                    assert_eq!(torn.decode(packet, &mut heard), 320);
                }
            }
            sum
        };
        let (with, without) = (error(true), error(false));
        assert!(with < 0.3 * without, "{with} {without}");
    }

    #[test]
    fn the_far_end_limits_the_bits() {
        let codec = Codec::Opus { rate: 48_000 };
        let mut rng = Rng::from_u64(5);
        let noise: Vec<i16> = (0..96_000).map(|_| rng.next_u64() as i16 / 4).collect();
        let bits = |most| {
            let wishes = Wishes {
                fec: false,
                bits_per_second_max: most,
            };
            let packets = packets(codec, &noise, wishes);
            packets.iter().map(Vec::len).sum::<usize>() * 8 / 2
        };
        assert!(bits(0) <= BYTES_PER_SECOND_MAX as usize * 8);
        let few = bits(12_000);
        assert!((6_000..=13_200).contains(&few), "{few} bit/s");
    }

    #[test]
    fn any_packet_into_any_room_is_survived() {
        let mut rng = Rng::from_u64(6);
        for rate in RATES {
            let codec = Codec::Opus { rate };
            let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
            for _ in 0..300 {
                let mut payload = vec![0; rng.below(400) as usize];
                rng.fill(&mut payload);
                let mut samples = vec![0; rng.below(6000) as usize];
                let count = decoder.decode(&payload, &mut samples);
                assert!(count <= samples.len() && count <= codec.payload_samples(payload.len()));
                decoder.restore(&payload, &mut samples);
                let mut payload = vec![0; rng.below(400) as usize];
                assert!(encoder.encode(&samples, &mut payload) <= payload.len());
            }
        }
    }
}
