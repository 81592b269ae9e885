//! Files as they should be, and as they are.

use super::*;

fn ramp(samples: usize) -> Vec<i16> {
    (0..samples)
        .map(|n| (n as i32 * 97 % 60_001 - 30_000) as i16)
        .collect()
}

/// A file of chunks, with the RIFF length as it should be.
fn file(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut out = b"RIFF\0\0\0\0WAVE".to_vec();
    for (id, content) in chunks {
        out.extend(*id);
        out.extend((content.len() as u32).to_le_bytes());
        out.extend(*content);
        out.resize(out.len().next_multiple_of(2), 0);
    }
    let length = out.len() as u32 - 8;
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out
}

fn fmt(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut out = Vec::new();
    out.extend(tag.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(block)).to_le_bytes());
    out.extend(block.to_le_bytes());
    out.extend(bits.to_le_bytes());
    out
}

fn parse(bytes: &[u8]) -> Result<Wav, Mistake> {
    Wav::parse(bytes, bytes.len() as u64)
}

const WAV_ENCODINGS: [Encoding; 4] = [
    Encoding::Pcm8,
    Encoding::Pcm16,
    Encoding::Alaw,
    Encoding::Ulaw,
];

#[test]
fn what_is_written_is_read_finished_or_not() {
    for encoding in WAV_ENCODINGS {
        let layout = Layout::mono(encoding, 8000);
        let samples = ramp(1601);
        let mut writer = Writer::new(encoding);
        let mut sound = vec![0; writer.size(samples.len())];
        assert_eq!(writer.write(&samples, &mut sound), sound.len());
        let open = [&header(layout, None).unwrap()[..], &sound].concat();
        assert!(is_unfinished(&open));
        let mut done = open.clone();
        for (at, length) in lengths(layout, sound.len() as u64) {
            done[at..at + 4].copy_from_slice(&length);
        }
        assert!(!is_unfinished(&done));
        assert_eq!(
            done[..HEADER_SIZE],
            header(layout, Some(sound.len() as u64)).unwrap()
        );
        for bytes in [&open, &done] {
            let wav = parse(bytes).unwrap();
            assert_eq!(wav.layout, layout);
            assert_eq!(wav.data, 58..58 + sound.len() as u64);
            let mut back = vec![0; samples.len()];
            let mut reader = Reader::new(layout);
            assert_eq!(
                reader.read(&bytes[58..], &mut back),
                (sound.len(), samples.len())
            );
            for (a, b) in back.iter().zip(&samples) {
                assert!(
                    (i32::from(*a) - i32::from(*b)).abs() <= 1024,
                    "{encoding:?} {a} {b}"
                );
            }
        }
        // The header alone is enough, if the file's size is told.
        let wav = Wav::parse(&open[..HEADER_SIZE], 10_058).unwrap();
        assert_eq!(wav.data.end - wav.data.start, 10_000);
    }
}

/// `sox -n -r 8000 -b 16 -c 1 -D t.wav synth 0.001 sine 1000` (8 samples), read byte by byte; and
/// the same with `-e a-law -b 8`.
#[test]
fn files_that_sox_writes_are_read() {
    const PCM: &[u8] = &[
        0x52, 0x49, 0x46, 0x46, 0x34, 0x00, 0x00, 0x00, 0x57, 0x41, 0x56, 0x45, 0x66, 0x6d, 0x74,
        0x20, 0x10, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01, 0x00, 0x40, 0x1f, 0x00, 0x00, 0x80, 0x3e,
        0x00, 0x00, 0x02, 0x00, 0x10, 0x00, 0x64, 0x61, 0x74, 0x61, 0x10, 0x00, 0x00, 0x00, 0x4b,
        0x07, 0xdd, 0x3e, 0x91, 0x5a, 0xb0, 0x3f, 0x00, 0x00, 0x50, 0xc0, 0x71, 0xa5, 0x20, 0xc1,
    ];
    const ALAW_FILE: &[u8] = &[
        0x52, 0x49, 0x46, 0x46, 0x3a, 0x00, 0x00, 0x00, 0x57, 0x41, 0x56, 0x45, 0x66, 0x6d, 0x74,
        0x20, 0x12, 0x00, 0x00, 0x00, 0x06, 0x00, 0x01, 0x00, 0x40, 0x1f, 0x00, 0x00, 0x40, 0x1f,
        0x00, 0x00, 0x01, 0x00, 0x08, 0x00, 0x00, 0x00, 0x66, 0x61, 0x63, 0x74, 0x04, 0x00, 0x00,
        0x00, 0x08, 0x00, 0x00, 0x00, 0x64, 0x61, 0x74, 0x61, 0x08, 0x00, 0x00, 0x00, 0xe8, 0xba,
        0xa3, 0xba, 0xd5, 0x3a, 0x23, 0x3a,
    ];
    let wav = parse(PCM).unwrap();
    assert_eq!(
        (wav.layout, wav.data.clone()),
        (Layout::mono(Encoding::Pcm16, 8000), 44..60)
    );
    let mut samples = [0; 20];
    let (_, count) = Reader::new(wav.layout).read(&PCM[44..], &mut samples);
    let expected = [1867, 16093, 23185, 16304, 0, -16304, -23183, -16096];
    assert_eq!(samples[..count], expected);
    let wav = parse(ALAW_FILE).unwrap();
    assert_eq!(
        (wav.layout, wav.data.clone()),
        (Layout::mono(Encoding::Alaw, 8000), 58..66)
    );
    let (_, count) = Reader::new(wav.layout).read(&ALAW_FILE[58..], &mut samples);
    for (a, b) in samples[..count].iter().zip(expected) {
        assert!((i32::from(*a) - i32::from(b)).abs() < 700, "{a} {b}");
    }
}

#[test]
fn chunks_may_come_in_any_order_and_lengths_may_lie() {
    let sound = [1, 0, 2, 0, 3, 0];
    let format = fmt(PCM, 1, 16_000, 16);
    for order in [
        file(&[
            (b"LIST", b"odd"),
            (b"fmt ", &format),
            (b"fact", &[0; 4]),
            (b"data", &sound),
        ]),
        file(&[(b"data", &sound), (b"LIST", b"x"), (b"fmt ", &format)]),
        file(&[
            (b"fmt ", &format),
            (b"data", &sound),
            (b"LIST", b"trailing"),
        ]),
    ] {
        let wav = parse(&order).unwrap();
        assert_eq!(wav.layout, Layout::mono(Encoding::Pcm16, 16_000));
        assert_eq!(order[wav.data.start as usize..wav.data.end as usize], sound);
    }
    let whole = file(&[(b"fmt ", &format), (b"data", &sound)]);
    for length in [0u32, 7, 1000, 0x7fff_ffff, u32::MAX] {
        let mut lying = whole.clone();
        lying[4..8].copy_from_slice(&length.to_le_bytes());
        lying[40..44].copy_from_slice(&length.to_le_bytes());
        assert_eq!(parse(&lying).unwrap().data, 44..50, "{length}");
    }
    // Less than there is: the rest is something else. An odd byte is no sample.
    let mut short = whole.clone();
    short[40..44].copy_from_slice(&5u32.to_le_bytes());
    assert_eq!(parse(&short).unwrap().data, 44..48);
    // Nothing, and other chunks behind it: no sound, rather than a list of names as noise.
    let none = file(&[
        (b"fmt ", &format),
        (b"data", &[]),
        (b"LIST", b"INFOsomething"),
    ]);
    assert!(parse(&none).unwrap().data.is_empty());
    // Cut anywhere, it is read or refused.
    for end in 0..whole.len() {
        let cut = whole[..end].to_vec();
        assert_eq!(parse(&cut).is_ok(), end >= 44, "{end}");
    }
}

#[test]
fn other_files_are_refused_with_the_remedy() {
    let with = |format: &[u8]| parse(&file(&[(b"fmt ", format), (b"data", &[0; 8])]));
    for (result, mistake) in [
        (parse(b"OggS"), Mistake::NotWav),
        (parse(b""), Mistake::NotWav),
        (parse(&file(&[(b"data", &[0; 8])])), Mistake::NoFormat),
        (
            parse(&file(&[(b"fmt ", &fmt(PCM, 1, 8000, 16))])),
            Mistake::NoData,
        ),
        (with(&[1, 0, 1]), Mistake::NoFormat),
        (
            with(&fmt(0x31, 1, 8000, 0)),
            Mistake::Encoding { tag: 0x31, bits: 0 },
        ),
        (
            with(&fmt(PCM, 1, 8000, 24)),
            Mistake::Encoding { tag: PCM, bits: 24 },
        ),
        (with(&fmt(PCM, 0, 8000, 16)), Mistake::Channels(0)),
        (with(&fmt(PCM, 9, 8000, 16)), Mistake::Channels(9)),
        (with(&fmt(PCM, 1, 22_050, 16)), Mistake::Rate(22_050)),
    ] {
        assert_eq!(result, Err(mistake));
        assert!(mistake.to_string().contains("sox IN"));
    }
    let mut extensible = fmt(EXTENSIBLE, 2, 48_000, 16);
    extensible.extend([22, 0, 16, 0, 3, 0, 0, 0, 1, 0]);
    assert_eq!(with(&extensible).unwrap().layout.encoding, Encoding::Pcm16);
    assert_eq!(with(&extensible[..20]), Err(Mistake::NoFormat));
}

#[test]
fn chunks_of_odd_length_may_lack_their_padding() {
    let format = fmt(PCM, 1, 44_100, 16);
    let chunks = [
        (&b"LIST"[..], &[7u8; 9][..]),
        (b"fmt ", &format),
        (b"data", &[5; 8]),
    ];
    for padded in [true, false] {
        let mut bytes = b"RIFF\0\0\0\0WAVE".to_vec();
        for (id, content) in chunks {
            bytes.extend(id);
            bytes.extend((content.len() as u32).to_le_bytes());
            bytes.extend(content);
            if padded && content.len() % 2 == 1 {
                bytes.push(0);
            }
        }
        let wav = parse(&bytes).unwrap();
        assert_eq!(wav.layout, Layout::mono(Encoding::Pcm16, 44_100));
        assert_eq!(wav.data, bytes.len() as u64 - 8..bytes.len() as u64);
    }
}

#[test]
fn any_bytes_are_survived() {
    let mut rng = crate::base::Rng::from_u64(8);
    let good = file(&[
        (b"LIST", &[7; 9]),
        (b"fmt ", &fmt(PCM, 2, 8000, 16)),
        (b"data", &[5; 64]),
    ]);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + rng.below(6) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
        let size = bytes.len() as u64;
        if let Ok(wav) = Wav::parse(&bytes, size) {
            assert!(wav.data.start <= wav.data.end && wav.data.end <= size);
            let sound = &bytes[wav.data.start as usize..wav.data.end as usize];
            let mut samples = [0; 100];
            let (read, _) = Reader::new(wav.layout).read(sound, &mut samples);
            assert!(read <= sound.len());
        }
    }
}

#[test]
fn channels_become_their_mean() {
    let layout = Layout {
        encoding: Encoding::Pcm16,
        channels: 2,
        rate: 8000,
    };
    let mut bytes = [0; 8];
    Writer::new(Encoding::Pcm16).write(&[i16::MAX, i16::MAX, 1000, -3000], &mut bytes);
    let mut samples = [0; 9];
    assert_eq!(Reader::new(layout).read(&bytes, &mut samples), (8, 2));
    assert_eq!(samples[..2], [i16::MAX, -1000]);
    assert_eq!(Reader::new(layout).read(&bytes[..7], &mut samples), (4, 1));
    let written = header(layout, Some(8)).unwrap();
    assert_eq!(
        parse(&[&written[..], &bytes].concat()).unwrap().layout,
        layout
    );
}

#[test]
fn extensions_tell_raw_files_and_these_are_read_piece_by_piece() {
    for (extension, encoding, rate) in [
        ("alaw", Encoding::Alaw, 8000),
        ("ulaw", Encoding::Ulaw, 8000),
        ("g722", Encoding::G722, 16_000),
        ("gsm", Encoding::Gsm, 8000),
        ("sln", Encoding::Pcm16, 8000),
        ("sln16", Encoding::Pcm16, 16_000),
        ("sln48", Encoding::Pcm16, 48_000),
    ] {
        let layout = Layout::mono(encoding, rate);
        assert_eq!(Kind::from_extension(extension), Some(Kind::Raw(layout)));
        let samples = ramp(rate as usize / 5);
        let mut writer = Writer::new(encoding);
        let mut bytes = vec![0; writer.size(samples.len())];
        assert_eq!(writer.write(&samples, &mut bytes), bytes.len());
        assert_eq!(layout.duration_ms(bytes.len() as u64), 200);
        assert_eq!(layout.offset(100), bytes.len() as u64 / 2);
        let read_all = |piece: usize| {
            let (mut reader, mut at, mut out) = (Reader::new(layout), 0, Vec::<i16>::new());
            while at < bytes.len() {
                let mut room = [0; 333];
                let end = (at + piece).min(bytes.len());
                let (taken, made) = reader.read(&bytes[at..end], &mut room);
                assert!(taken > 0);
                at += taken;
                out.extend(&room[..made]);
            }
            out
        };
        assert_eq!(read_all(50).len(), samples.len());
        assert_eq!(read_all(50), read_all(170), "{extension}");
    }
    assert_eq!(Kind::from_extension("wav"), Some(Kind::Wav));
    for unknown in ["WAV", "mp3", "g729", ""] {
        assert_eq!(Kind::from_extension(unknown), None);
    }
    assert_eq!(header(Layout::mono(Encoding::Gsm, 8000), None), None);
}
