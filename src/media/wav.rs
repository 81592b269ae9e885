//! Sound in files: WAV, and the raw forms that prompts and recordings come in, told by the file's
//! extension. Bytes in, bytes out; whoever owns the files opens, seeks and writes them.
//!
//! A WAV file is RIFF (Microsoft's "Multimedia Programming Interface and Data Specifications 1.0",
//! 1991): chunks of an identifier, a length and so many bytes, padded to even. Read are PCM of 8
//! and 16 bits, A-law and u-law, of any chunk order; lengths that lie are cut to what is there. A
//! header as written here is read whole to the end of the file until its lengths are set, so that
//! a crash in the middle of a recording loses nothing that was written.

use super::codec::{Codec, Decoder, Encoder, g711};
use super::resample::RATES;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// Channels that a file may have; they become one.
pub const CHANNELS_MAX: u16 = 8;
/// Chunks that are looked at.
const CHUNKS_MAX: usize = 64;
/// Length fields of a file that is still being written: to the end, whatever that is.
const OPEN_LENGTH: u32 = u32::MAX;
/// The bytes of a header that is written here: RIFF, `fmt ` with its extension's length, `fact` and
/// `data`. All formats get the same, which keeps the offsets of the length fields the same.
pub const HEADER_SIZE: usize = 58;
/// The sound that fits, lest the RIFF length overflows.
pub const DATA_SIZE_MAX: u64 = u32::MAX as u64 - HEADER_SIZE as u64 - 1;

/// How samples are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Encoding {
    /// Unsigned bytes; 128 is silence.
    Pcm8,
    /// 16 bits, low byte first.
    Pcm16,
    /// G.711 A-law.
    Alaw,
    /// G.711 u-law.
    Ulaw,
    /// G.722 octets, raw files only.
    G722,
    /// GSM 06.10 frames of 33 bytes, raw files only.
    Gsm,
}

impl Encoding {
    /// The extension of a file that is recorded so: those that WAV files have not are raw.
    pub const fn extension(self) -> &'static str {
        match self {
            Encoding::Pcm8 | Encoding::Pcm16 | Encoding::Alaw | Encoding::Ulaw => "wav",
            Encoding::G722 => "g722",
            Encoding::Gsm => "gsm",
        }
    }
}

/// What a file's sound is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    /// How samples are written.
    pub encoding: Encoding,
    /// How many stand side by side: 1 to [`CHANNELS_MAX`]. None counts as one.
    pub channels: u16,
    /// Samples per second and channel.
    pub rate: u32,
}

impl Layout {
    /// One channel.
    pub fn mono(encoding: Encoding, rate: u32) -> Self {
        Self {
            encoding,
            channels: 1,
            rate,
        }
    }

    /// The smallest piece that can be read alone, in bytes, and its samples per channel.
    pub fn block(self) -> (usize, usize) {
        let channels = usize::from(self.channels.max(1));
        match self.encoding {
            Encoding::Pcm8 | Encoding::Alaw | Encoding::Ulaw => (channels, 1),
            Encoding::Pcm16 => (2 * channels, 1),
            Encoding::G722 => (1, 2),
            Encoding::Gsm => (33, 160),
        }
    }

    /// How long so many bytes sound.
    pub fn duration_ms(self, bytes: u64) -> u64 {
        let (size, samples) = self.block();
        let blocks = bytes / size as u64;
        blocks.saturating_mul(samples as u64 * 1000) / u64::from(self.rate.max(1))
    }

    /// The bytes of so many milliseconds, cut to whole blocks: where to jump to.
    pub fn offset(self, ms: u64) -> u64 {
        let (size, samples) = self.block();
        let wanted = ms.saturating_mul(u64::from(self.rate)) / 1000;
        (wanted / samples as u64).saturating_mul(size as u64)
    }
}

/// What a file is, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Its header tells.
    Wav,
    /// It has no header.
    Raw(Layout),
}

impl Kind {
    /// By the extension, without its dot. The names are Asterisk's, so that its sound files are
    /// read as they are.
    pub fn from_extension(extension: &str) -> Option<Self> {
        const RAW: [(&str, Encoding, u32); 14] = [
            ("alaw", Encoding::Alaw, 8000),
            ("al", Encoding::Alaw, 8000),
            ("alw", Encoding::Alaw, 8000),
            ("ulaw", Encoding::Ulaw, 8000),
            ("ul", Encoding::Ulaw, 8000),
            ("mu", Encoding::Ulaw, 8000),
            ("pcm", Encoding::Ulaw, 8000),
            ("g722", Encoding::G722, 16_000),
            ("gsm", Encoding::Gsm, 8000),
            ("sln", Encoding::Pcm16, 8000),
            ("sln16", Encoding::Pcm16, 16_000),
            ("sln24", Encoding::Pcm16, 24_000),
            ("sln32", Encoding::Pcm16, 32_000),
            ("sln48", Encoding::Pcm16, 48_000),
        ];
        // Asterisk's `.WAV` is GSM in a WAV file, packed otherwise: not read.
        if extension == "wav" {
            return Some(Self::Wav);
        }
        let mut all = RAW.iter();
        let (_, encoding, rate) = all.find(|(name, ..)| *name == extension)?;
        Some(Self::Raw(Layout::mono(*encoding, *rate)))
    }
}

// ---------------------------------------------------------------- read

/// Why a file is no sound that can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// It does not begin as a WAV file does.
    NotWav,
    /// It is a WAV file without a `fmt ` chunk that is whole.
    NoFormat,
    /// Without a `data` chunk.
    NoData,
    /// Its encoding (Microsoft's number) or bits per sample are not read here.
    Encoding {
        /// The format tag.
        tag: u16,
        /// Bits per sample.
        bits: u16,
    },
    /// No channel, or too many.
    Channels(u16),
    /// A rate that none of ours can be made of.
    Rate(u32),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REMEDY: &str = "convert it: sox IN -r 8000 -c 1 -b 16 -e signed-integer OUT.wav";
        match self {
            Self::NotWav => write!(f, "no WAV file (no RIFF header); {REMEDY}"),
            Self::NoFormat => write!(f, "the WAV file has no whole \"fmt \" chunk; {REMEDY}"),
            Self::NoData => write!(f, "the WAV file has no \"data\" chunk; {REMEDY}"),
            Self::Encoding { tag, bits } => write!(
                f,
                "WAV encoding {tag} of {bits} bits is not read (PCM of 8 and 16 bits, A-law and \
                 u-law are); {REMEDY}"
            ),
            Self::Channels(count) => write!(
                f,
                "the WAV file has {count} channels, 1 to {CHANNELS_MAX} are read; {REMEDY}"
            ),
            Self::Rate(rate) => write!(
                f,
                "the WAV file has {rate} samples per second; 8000, 16000, 24000, 32000, 44100 and \
                 48000 are read; {REMEDY}"
            ),
        }
    }
}

impl std::error::Error for Mistake {}

/// A WAV file's sound, and where it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wav {
    /// What it is made of.
    pub layout: Layout,
    /// The bytes of the sound within the file, cut to whole blocks.
    pub data: Range<u64>,
}

/// Chunks that often stand in such files.
const KNOWN: [&[u8; 4]; 5] = [b"fmt ", b"data", b"fact", b"LIST", b"bext"];
const PCM: u16 = 1;
const ALAW: u16 = 6;
const ULAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

impl Wav {
    /// Reads the header. `bytes` is the file's beginning, or all of it (a file whose `fmt ` comes
    /// behind the sound needs all), `file_size` how long the whole is.
    pub fn parse(bytes: &[u8], file_size: u64) -> Result<Self, Mistake> {
        let file_size = file_size.max(bytes.len() as u64);
        let begins = bytes.get(..4) == Some(b"RIFF") && bytes.get(8..12) == Some(b"WAVE");
        if !begins {
            return Err(Mistake::NotWav);
        }
        let (mut layout, mut data) = (None, None);
        let mut at = 12u64;
        for _ in 0..CHUNKS_MAX {
            if layout.is_some() && data.is_some() {
                break;
            }
            let Some((id, length)) = chunk(bytes, at) else {
                break;
            };
            let start = at + 8;
            let said = start + u64::from(length);
            match &id {
                b"fmt " => {
                    let from = bytes.get(start as usize..).unwrap_or_default();
                    let content = from.get(..length as usize).unwrap_or(from);
                    layout = Some(format(content)?);
                    at = said;
                }
                b"data" => {
                    let end = data_end(bytes, start, length, file_size);
                    data = Some(start..end);
                    at = end;
                }
                _ => at = said,
            }
            at += u64::from(is_padded(bytes, at));
        }
        let layout = layout.ok_or(Mistake::NoFormat)?;
        let data = data.ok_or(Mistake::NoData)?;
        let (block, _) = layout.block();
        let whole = (data.end - data.start) / block as u64 * block as u64;
        Ok(Self {
            layout,
            data: data.start..data.start + whole,
        })
    }
}

/// Identifier and length of the chunk at an offset.
fn chunk(bytes: &[u8], at: u64) -> Option<([u8; 4], u32)> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    Some((*id, u32::from_le_bytes(*length)))
}

/// Whether a chunk that ends there is followed by a byte of padding. Some writers leave it out:
/// then a chunk begins where it would be.
fn is_padded(bytes: &[u8], end: u64) -> bool {
    let begins = chunk(bytes, end).is_some_and(|(id, _)| KNOWN.contains(&&id));
    end & 1 == 1 && !begins
}

/// Where the sound ends: as the chunk says, unless it says more than there is, or nothing although
/// more than other chunks follow: then its writer did not come to set it.
fn data_end(bytes: &[u8], start: u64, length: u32, file_size: u64) -> u64 {
    let known = |id: [u8; 4]| id.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    let followed = chunk(bytes, start)
        .is_some_and(|(id, length)| known(id) && start + 8 + u64::from(length) <= file_size);
    match length {
        0 if !followed => file_size,
        length => (start + u64::from(length)).min(file_size),
    }
    .max(start)
}

fn format(content: &[u8]) -> Result<Layout, Mistake> {
    let u16_at = |at: usize| {
        let pair = content.get(at..)?.first_chunk::<2>()?;
        Some(u16::from_le_bytes(*pair))
    };
    let rate = content.get(4..).and_then(|c| c.first_chunk::<4>());
    let (Some(tag), Some(channels), Some(rate), Some(bits)) =
        (u16_at(0), u16_at(2), rate, u16_at(14))
    else {
        return Err(Mistake::NoFormat);
    };
    // The extensible form has the tag in the first bytes of its GUID.
    let tag = match tag {
        EXTENSIBLE => u16_at(24).ok_or(Mistake::NoFormat)?,
        tag => tag,
    };
    let encoding = match (tag, bits) {
        (PCM, 8) => Encoding::Pcm8,
        (PCM, 16) => Encoding::Pcm16,
        (ALAW, 8) => Encoding::Alaw,
        (ULAW, 8) => Encoding::Ulaw,
        _ => return Err(Mistake::Encoding { tag, bits }),
    };
    if channels == 0 || channels > CHANNELS_MAX {
        return Err(Mistake::Channels(channels));
    }
    let rate = u32::from_le_bytes(*rate);
    match rate {
        rate if RATES.contains(&rate) => Ok(Layout {
            encoding,
            channels,
            rate,
        }),
        rate => Err(Mistake::Rate(rate)),
    }
}

/// Reads a file's sound piece by piece, as one channel.
#[derive(Debug)]
pub struct Reader {
    layout: Layout,
    decoder: Option<Decoder>,
}

impl Reader {
    /// At the beginning, or behind a jump.
    pub fn new(layout: Layout) -> Self {
        let decoder = match layout.encoding {
            Encoding::G722 => Some(Decoder::new(Codec::G722)),
            Encoding::Gsm => Some(Decoder::new(Codec::Gsm)),
            Encoding::Pcm8 | Encoding::Pcm16 | Encoding::Alaw | Encoding::Ulaw => None,
        };
        Self { layout, decoder }
    }

    /// Reads as many whole blocks as `bytes` has and `samples` holds. Says how many bytes that took
    /// and how many samples it made; several channels become their mean.
    pub fn read(&mut self, bytes: &[u8], samples: &mut [i16]) -> (usize, usize) {
        let (size, made) = self.layout.block();
        let blocks = (bytes.len() / size).min(samples.len() / made);
        let (bytes, samples) = (&bytes[..blocks * size], &mut samples[..blocks * made]);
        if let Some(decoder) = &mut self.decoder {
            decoder.decode(bytes, samples);
            return (bytes.len(), samples.len());
        }
        let (encoding, channels) = (self.layout.encoding, self.layout.channels.max(1));
        let width = size / usize::from(channels);
        for (sample, block) in samples.iter_mut().zip(bytes.chunks_exact(size)) {
            let sum: i32 = block.chunks_exact(width).map(|s| value(encoding, s)).sum();
            *sample = (sum / i32::from(channels)) as i16;
        }
        (bytes.len(), samples.len())
    }
}

/// One sample of an encoding that remembers nothing.
fn value(encoding: Encoding, bytes: &[u8]) -> i32 {
    match (encoding, bytes) {
        (Encoding::Pcm16, [low, high]) => i32::from(i16::from_le_bytes([*low, *high])),
        (Encoding::Pcm8, [byte]) => (i32::from(*byte) - 128) << 8,
        (Encoding::Alaw, [byte]) => i32::from(g711::of_alaw(*byte)),
        (Encoding::Ulaw, [byte]) => i32::from(g711::of_ulaw(*byte)),
        _ => 0,
    }
}

// ---------------------------------------------------------------- written

/// Writes sound piece by piece.
#[derive(Debug)]
pub struct Writer {
    encoding: Encoding,
    encoder: Option<Encoder>,
}

impl Writer {
    /// At the beginning of a file.
    pub fn new(encoding: Encoding) -> Self {
        let encoder = match encoding {
            Encoding::G722 => Some(Encoder::new(Codec::G722)),
            Encoding::Gsm => Some(Encoder::new(Codec::Gsm)),
            Encoding::Pcm8 | Encoding::Pcm16 | Encoding::Alaw | Encoding::Ulaw => None,
        };
        Self { encoding, encoder }
    }

    /// The bytes that so many samples (of all channels together) become.
    pub fn size(&self, samples: usize) -> usize {
        match self.encoding {
            Encoding::Pcm8 | Encoding::Alaw | Encoding::Ulaw => samples,
            Encoding::Pcm16 => samples * 2,
            Encoding::G722 => Codec::G722.payload_len(samples),
            Encoding::Gsm => Codec::Gsm.payload_len(samples),
        }
    }

    /// Writes samples, which stand side by side where there are several channels; says how many
    /// bytes of `bytes` they took. What does not fit ([`Self::size`]) is not written.
    pub fn write(&mut self, samples: &[i16], bytes: &mut [u8]) -> usize {
        if let Some(encoder) = &mut self.encoder {
            return encoder.encode(samples, bytes);
        }
        match self.encoding {
            Encoding::Alaw => g711::alaw_encode(samples, bytes),
            Encoding::Ulaw => g711::ulaw_encode(samples, bytes),
            Encoding::Pcm8 => {
                for (byte, sample) in bytes.iter_mut().zip(samples) {
                    *byte = ((i32::from(*sample) >> 8) + 128) as u8;
                }
                samples.len().min(bytes.len())
            }
            _ => {
                let (places, _) = bytes.as_chunks_mut::<2>();
                for (place, sample) in places.iter_mut().zip(samples) {
                    *place = sample.to_le_bytes();
                }
                samples.len().min(places.len()) * 2
            }
        }
    }
}

/// The header of a WAV file. Without `data_size` its lengths say "to the end of the file"; so it is
/// written first, and [`lengths`] mends it when the sound is whole. None for an encoding or number
/// of channels that WAV files do not have here.
pub fn header(layout: Layout, data_size: Option<u64>) -> Option<[u8; HEADER_SIZE]> {
    let (tag, bits) = match layout.encoding {
        Encoding::Pcm8 => (PCM, 8u16),
        Encoding::Pcm16 => (PCM, 16),
        Encoding::Alaw => (ALAW, 8),
        Encoding::Ulaw => (ULAW, 8),
        Encoding::G722 | Encoding::Gsm => return None,
    };
    if layout.channels == 0 || layout.channels > CHANNELS_MAX {
        return None;
    }
    let block = layout.channels * bits / 8;
    let fields: [&[u8]; 15] = [
        b"RIFF",
        &OPEN_LENGTH.to_le_bytes(),
        b"WAVEfmt ",
        &18u32.to_le_bytes(),
        &tag.to_le_bytes(),
        &layout.channels.to_le_bytes(),
        &layout.rate.to_le_bytes(),
        &layout.rate.saturating_mul(block.into()).to_le_bytes(),
        &block.to_le_bytes(),
        &bits.to_le_bytes(),
        &[0, 0],
        b"fact\x04\0\0\0",
        &OPEN_LENGTH.to_le_bytes(),
        b"data",
        &OPEN_LENGTH.to_le_bytes(),
    ];
    let mut out = [0; HEADER_SIZE];
    let places = out.iter_mut();
    for (place, byte) in places.zip(fields.iter().flat_map(|field| field.iter())) {
        *place = *byte;
    }
    if let Some(size) = data_size {
        for (at, length) in lengths(layout, size) {
            out[at..at + 4].copy_from_slice(&length);
        }
    }
    Some(out)
}

/// What to write where, in a file that begins with [`header`], once `data_size` bytes of sound
/// follow it. A sound of an odd length is to be followed by one byte of padding.
pub fn lengths(layout: Layout, data_size: u64) -> [(usize, [u8; 4]); 3] {
    let size = data_size.min(DATA_SIZE_MAX) as u32;
    let (block, samples) = layout.block();
    let riff = HEADER_SIZE as u32 - 8 + size + (size & 1);
    let blocks = size / block as u32 * samples as u32;
    [
        (4, riff.to_le_bytes()),
        (46, blocks.to_le_bytes()),
        (54, size.to_le_bytes()),
    ]
}

/// Whether a file that begins with `bytes` was not finished by its writer: then [`lengths`] of what
/// follows the header mends it.
pub fn is_unfinished(bytes: &[u8]) -> bool {
    bytes.get(..4) == Some(b"RIFF") && bytes.get(54..58) == Some(&OPEN_LENGTH.to_le_bytes())
}

#[cfg(test)]
mod tests;
