//! RTP packets (RFC 3550 §5.1): a view over bytes, and what else may come to an RTP port (RFC
//! 7983).
//!
//! Not done here: statistics (`relay`), payload formats, SRTP.

mod coding;
pub mod event;
pub mod rtcp;

pub use coding::{Coding, Wishes};

/// The fixed header's length in bytes.
pub const HEADER_SIZE: usize = 12;

/// The static payload type of comfort noise at 8 kHz (RFC 3389 §4).
pub const COMFORT_NOISE: u8 = 13;

/// The DSCP of voice: Expedited Forwarding (RFC 3246), as RFC 4594 §4.1 has it.
pub const EXPEDITED_FORWARDING: u8 = 46;

/// What a datagram on a media port is, by its first bytes (RFC 7983 §7, RFC 5761 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// RTP; the header is not checked any further.
    Rtp,
    /// RTCP: packet types 192 to 223.
    Rtcp,
    /// STUN: a first byte from 0 to 3 and the magic cookie.
    Stun,
    /// A DTLS record: a first byte from 20 to 63.
    Dtls,
    /// None of these.
    Other,
}

/// Tells what a datagram is.
pub fn classify(bytes: &[u8]) -> Class {
    match bytes {
        [128..=191, 192..=223, _, _, _, _, _, _, ..] => Class::Rtcp,
        [128..=191, ..] if bytes.len() >= HEADER_SIZE => Class::Rtp,
        [0..=3, ..] if super::stun::is_stun(bytes) => Class::Stun,
        [20..=63, ..] if bytes.len() > HEADER_SIZE => Class::Dtls,
        _ => Class::Other,
    }
}

/// An RTP packet whose header and lengths are consistent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    header: &'a [u8; HEADER_SIZE],
    extension: Option<(u16, &'a [u8])>,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version, CSRC list, extension and padding (RFC 3550 A.1).
    pub fn new_checked(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_SIZE>()?;
        let [flags, ..] = header;
        if flags >> 6 != 2 {
            return None;
        }
        let mut rest = rest.get(usize::from(flags & 0x0f) * 4..)?;
        let mut extension = None;
        if flags & 0x10 != 0 {
            let ([p0, p1, l0, l1], after) = rest.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
            let (content, after) = after.split_at_checked(length)?;
            extension = Some((u16::from_be_bytes([*p0, *p1]), content));
            rest = after;
        }
        if flags & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            let length = rest.len().checked_sub(padding).filter(|_| padding > 0)?;
            rest = rest.get(..length)?;
        }
        Some(Self {
            header,
            extension,
            payload: rest,
        })
    }

    /// The fixed header.
    pub fn header(&self) -> Header {
        Header::of(self.header)
    }

    /// The profile's number and the content of the extension, if there is one.
    pub fn extension(&self) -> Option<(u16, &'a [u8])> {
        self.extension
    }

    /// What is left without padding.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// The fields of the fixed header that a relay reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// In units of the format's clock.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Reads the fixed header; `None` if there is none or its version is not 2.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_SIZE>()?;
        let [flags, ..] = header;
        (flags >> 6 == 2).then(|| Self::of(header))
    }

    fn of(header: &[u8; HEADER_SIZE]) -> Self {
        let [_, mark, q0, q1, t0, t1, t2, t3, s0, s1, s2, s3] = *header;
        Self {
            marker: mark & 0x80 != 0,
            payload_type: mark & 0x7f,
            sequence: u16::from_be_bytes([q0, q1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
        }
    }

    /// Writes a header without CSRCs, extension and padding.
    pub fn emit(&self) -> [u8; HEADER_SIZE] {
        let mark = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        let [q0, q1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [s0, s1, s2, s3] = self.ssrc.to_be_bytes();
        [0x80, mark, q0, q1, t0, t1, t2, t3, s0, s1, s2, s3]
    }
}

/// The clock of a static payload type in Hz (RFC 3551 §6); dynamic ones are taken as 8000.
pub const fn clock_rate(payload_type: u8) -> u32 {
    match payload_type {
        6 => 16_000,
        10 | 11 => 44_100,
        14 | 25..=34 => 90_000,
        16 => 11_025,
        17 => 22_050,
        _ => 8_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        marker: true,
        payload_type: 8,
        sequence: 0xfffe,
        timestamp: 0x0102_0304,
        ssrc: 0xdead_beef,
    };

    #[test]
    fn header_round_trips() {
        let bytes = HEADER.emit();
        assert_eq!(Header::parse(&bytes), Some(HEADER));
        assert_eq!(Header::parse(&bytes[..11]), None);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!((packet.header(), packet.payload()), (HEADER, &[][..]));
    }

    #[test]
    fn csrc_extension_and_padding_are_cut() {
        let mut bytes = HEADER.emit().to_vec();
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        bytes.extend([0; 8]); // two CSRCs
        bytes.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]);
        bytes.extend(b"speech");
        bytes.extend([0, 0, 3]);
        let packet = Packet::new_checked(&bytes).unwrap();
        assert_eq!(packet.extension(), Some((0xbede, &[9, 9, 9, 9][..])));
        assert_eq!(packet.payload(), b"speech");
        for length in 0..HEADER_SIZE + 8 + 8 {
            assert_eq!(Packet::new_checked(&bytes[..length]), None, "{length}");
        }
        *bytes.last_mut().unwrap() = 200;
        assert_eq!(Packet::new_checked(&bytes), None);
        *bytes.last_mut().unwrap() = 0;
        assert_eq!(Packet::new_checked(&bytes), None);
    }

    #[test]
    fn datagrams_are_told_apart() {
        let mut rtp = HEADER.emit();
        assert_eq!(classify(&rtp), Class::Rtp);
        rtp[1] = 200;
        assert_eq!(classify(&rtp), Class::Rtcp);
        rtp[1] = 0x80 | 101;
        assert_eq!(classify(&rtp), Class::Rtp);
        assert_eq!(classify(&rtp[..5]), Class::Other);
        assert_eq!(classify(&[22; 40]), Class::Dtls);
        assert_eq!(classify(&[0; 40]), Class::Other);
        assert_eq!(classify(b""), Class::Other);
    }
}
