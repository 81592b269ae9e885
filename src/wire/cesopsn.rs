//! CESoPSN packets (RFC 5086) as UDP carries them: the control word of §4.3, before it the fixed
//! RTP header of §4.4 where both ends agreed on one, behind it the timeslots' octets.
//!
//! ```text
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |0 0 0 0|L|R| M |FRG|    LEN    |        sequence number        |
//! ```
//!
//! What the payload means (which timeslots, how many frames) is the session's (`pri::cesopsn`).
//! Not done here: packets of trunk-specific services with CAS (§5.4), whose signalling packets and
//! fragments are told from data and refused.

use super::rtp::{HEADER_SIZE, Header};

/// Octets of the control word.
pub const WORD_SIZE: usize = 4;

/// A packet of at least so many octets, headers included, has LEN 0 (§4.3).
pub const LENGTH_LIMIT: usize = 64;

/// What the sender's end of the line is like: the L bit and the M bits (§4.3, table 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Attachment {
    /// L 0, M 00: the octets are good.
    #[default]
    Normal,
    /// L 0, M 10: the octets are good, and the line's far end says that it does not hear (RDI).
    RemoteDefect,
    /// L 1, M 00: the octets mean nothing, and may be left out.
    Invalid,
}

/// Whether a fixed RTP header stands before the control word; both ends are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulation {
    /// No.
    Plain,
    /// Yes.
    Rtp,
}

impl Encapsulation {
    /// Octets before the payload.
    pub const fn header_size(self) -> usize {
        match self {
            Encapsulation::Plain => WORD_SIZE,
            Encapsulation::Rtp => HEADER_SIZE + WORD_SIZE,
        }
    }
}

/// What the RTP header says beyond the sequence number, which is the control word's (§4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpFields {
    /// 0 to 127; from the dynamic range.
    pub payload_type: u8,
    /// In units of a clock that is a multiple of 8 kHz.
    pub timestamp: u32,
    /// Tells misconnected senders.
    pub ssrc: u32,
}

/// Why a datagram is no packet of ours. All are dropped and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Shorter than the headers.
    Short,
    /// An RTP header with another version, padding, extension, CSRCs or marker (§4.4), or with
    /// another sequence number than the control word.
    Rtp,
    /// Bits 0 to 3 are not zero: an associated channel (RFC 4385 §5), or no control word at all.
    Nibble,
    /// A combination of L and M that is reserved (§4.3: dropped in silence).
    Reserved,
    /// L 0, M 11: signalling of a service with CAS.
    Signalling,
    /// The FRG bits are not zero.
    Fragment,
    /// LEN is less than the headers, more than the datagram, or not 0 in a long one.
    Length,
    /// No octets, though L does not say that they are left out.
    Empty,
}

/// A packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// L and M.
    pub attachment: Attachment,
    /// R: the sender is in the packet loss state: it does not hear us.
    pub packet_loss: bool,
    /// Counts packets; both in the control word and in the RTP header.
    pub sequence: u16,
    /// With [`Encapsulation::Rtp`].
    pub rtp: Option<RtpFields>,
    /// Frames of timeslots.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads the payload of a UDP datagram.
    pub fn parse(bytes: &'a [u8], encapsulation: Encapsulation) -> Result<Self, Malformed> {
        let (rtp, rest) = match encapsulation {
            Encapsulation::Plain => (None, bytes),
            Encapsulation::Rtp => {
                let (header, rest) = rtp_header(bytes)?;
                (Some(header), rest)
            }
        };
        let (word, rest) = rest
            .split_first_chunk::<WORD_SIZE>()
            .ok_or(Malformed::Short)?;
        let [flags, lengths, s0, s1] = *word;
        let sequence = u16::from_be_bytes([s0, s1]);
        if rtp.is_some_and(|header| header.sequence != sequence) {
            return Err(Malformed::Rtp);
        }
        if flags & 0xf0 != 0 {
            return Err(Malformed::Nibble);
        }
        let attachment = match flags & 0x0b {
            0x0 => Attachment::Normal,
            0x2 => Attachment::RemoteDefect,
            0x8 => Attachment::Invalid,
            0x3 => return Err(Malformed::Signalling),
            _ => return Err(Malformed::Reserved),
        };
        if lengths & 0xc0 != 0 {
            return Err(Malformed::Fragment);
        }
        let payload = within_length(bytes.len(), rest, usize::from(lengths & 0x3f))?;
        if payload.is_empty() && attachment != Attachment::Invalid {
            return Err(Malformed::Empty);
        }
        Ok(Self {
            attachment,
            packet_loss: flags & 0x04 != 0,
            sequence,
            rtp: rtp.map(|header| RtpFields {
                payload_type: header.payload_type,
                timestamp: header.timestamp,
                ssrc: header.ssrc,
            }),
            payload,
        })
    }

    /// Appends the packet to `out`. LEN is written where the packet is short, as §4.3 allows, so
    /// that padding can be told from payload.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let encapsulation = match self.rtp {
            Some(_) => Encapsulation::Rtp,
            None => Encapsulation::Plain,
        };
        if let Some(rtp) = self.rtp {
            let header = Header {
                marker: false,
                payload_type: rtp.payload_type,
                sequence: self.sequence,
                timestamp: rtp.timestamp,
                ssrc: rtp.ssrc,
            };
            out.extend(header.emit());
        }
        let size = encapsulation.header_size() + self.payload.len();
        let length = match size < LENGTH_LIMIT {
            true => size as u8,
            false => 0,
        };
        let attachment = match self.attachment {
            Attachment::Normal => 0x0,
            Attachment::RemoteDefect => 0x2,
            Attachment::Invalid => 0x8,
        };
        let [s0, s1] = self.sequence.to_be_bytes();
        let flags = attachment | (u8::from(self.packet_loss) << 2);
        out.extend([flags, length, s0, s1]);
        out.extend(self.payload);
    }
}

/// The fixed RTP header, of which §4.4 wants version 2 and no padding, extension, CSRCs or marker.
fn rtp_header(bytes: &[u8]) -> Result<(Header, &[u8]), Malformed> {
    let (header, rest) = bytes
        .split_at_checked(HEADER_SIZE)
        .ok_or(Malformed::Short)?;
    let fields = Header::parse(header).ok_or(Malformed::Rtp)?;
    match header {
        [0x80, ..] if !fields.marker => Ok((fields, rest)),
        _ => Err(Malformed::Rtp),
    }
}

/// What LEN leaves of `rest`, in a datagram of `size` octets.
fn within_length(size: usize, rest: &[u8], length: usize) -> Result<&[u8], Malformed> {
    if length == 0 {
        return Ok(rest);
    }
    if size >= LENGTH_LIMIT {
        return Err(Malformed::Length);
    }
    let headers = size - rest.len();
    let payload = length.checked_sub(headers).ok_or(Malformed::Length)?;
    rest.get(..payload).ok_or(Malformed::Length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn emitted(packet: &Packet<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        packet.emit(&mut out);
        out
    }

    #[test]
    fn the_word_is_laid_out_as_the_figure_shows() {
        let payload = [0x11; 31 * 8];
        let mut packet = Packet {
            attachment: Attachment::Normal,
            packet_loss: false,
            sequence: 0xa1b2,
            rtp: None,
            payload: &payload,
        };
        assert_eq!(emitted(&packet)[..4], [0x00, 0x00, 0xa1, 0xb2]);
        packet.packet_loss = true;
        packet.attachment = Attachment::RemoteDefect;
        assert_eq!(emitted(&packet)[..4], [0x06, 0x00, 0xa1, 0xb2]);
        packet.attachment = Attachment::Invalid;
        packet.packet_loss = false;
        packet.payload = &[];
        assert_eq!(emitted(&packet), [0x08, 0x04, 0xa1, 0xb2]);
        // One timeslot for 8 ms: 64 octets with the header are not fewer than 64.
        packet.payload = &payload[..60];
        assert_eq!(emitted(&packet)[1], 0);
        packet.payload = &payload[..59];
        assert_eq!(emitted(&packet)[1], 63);
        packet.rtp = Some(RtpFields {
            payload_type: 97,
            timestamp: 0x0102_0304,
            ssrc: 0x0a0b_0c0d,
        });
        packet.payload = &payload[..8];
        let bytes = emitted(&packet);
        let header = [
            0x80, 97, 0xa1, 0xb2, 1, 2, 3, 4, 10, 11, 12, 13, 8, 24, 0xa1, 0xb2,
        ];
        assert_eq!(bytes[..16], header);
    }

    #[test]
    fn each_fault_has_its_name() {
        let plain = |bytes: &[u8]| Packet::parse(bytes, Encapsulation::Plain).unwrap_err();
        assert_eq!(plain(&[]), Malformed::Short);
        assert_eq!(plain(&[0, 0, 0]), Malformed::Short);
        assert_eq!(plain(&[0x10, 0, 0, 0, 1]), Malformed::Nibble);
        for reserved in [0x01, 0x09, 0x0a, 0x0b, 0x0d] {
            assert_eq!(plain(&[reserved, 0, 0, 0, 1]), Malformed::Reserved);
        }
        assert_eq!(plain(&[0x03, 0, 0, 0, 1]), Malformed::Signalling);
        assert_eq!(plain(&[0, 0x40, 0, 0, 1]), Malformed::Fragment);
        assert_eq!(plain(&[0, 0x80, 0, 0, 1]), Malformed::Fragment);
        assert_eq!(plain(&[0, 3, 0, 0, 1]), Malformed::Length);
        assert_eq!(plain(&[0, 6, 0, 0, 1]), Malformed::Length);
        assert_eq!(plain(&[0, 4, 0, 0, 1]), Malformed::Empty);
        assert_eq!(plain(&[0, 0, 0, 0]), Malformed::Empty);
        let mut long = [0; 64];
        long[1] = 63;
        assert_eq!(plain(&long), Malformed::Length);
        let padded = Packet::parse(&[0, 5, 0, 7, 0xaa, 0, 0], Encapsulation::Plain).unwrap();
        assert_eq!((padded.payload, padded.sequence), (&[0xaa][..], 7));
        let rtp = |bytes: &[u8]| Packet::parse(bytes, Encapsulation::Rtp).unwrap_err();
        let whole = [0x80, 97, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1];
        assert!(Packet::parse(&whole, Encapsulation::Rtp).is_ok());
        for (at, byte) in [
            (0, 0x40),
            (0, 0xa0),
            (0, 0x90),
            (0, 0x81),
            (1, 0xe1),
            (3, 8),
        ] {
            let mut bytes = whole;
            bytes[at] = byte;
            assert_eq!(rtp(&bytes), Malformed::Rtp, "octet {at} {byte:#x}");
        }
        assert_eq!(rtp(&whole[..11]), Malformed::Short);
        assert_eq!(rtp(&whole[..15]), Malformed::Short);
    }

    fn attachments() -> impl Strategy<Value = Attachment> {
        prop_oneof![
            Just(Attachment::Normal),
            Just(Attachment::RemoteDefect),
            Just(Attachment::Invalid),
        ]
    }

    fn rtp_fields() -> impl Strategy<Value = RtpFields> {
        (0u8..128, any::<u32>(), any::<u32>()).prop_map(|(payload_type, timestamp, ssrc)| {
            RtpFields {
                payload_type,
                timestamp,
                ssrc,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_emitted_reads_the_same(
            attachment in attachments(),
            packet_loss: bool,
            sequence: u16,
            rtp in proptest::option::of(rtp_fields()),
            payload in proptest::collection::vec(any::<u8>(), 1..400),
        ) {
            let packet = Packet { attachment, packet_loss, sequence, rtp, payload: &payload };
            let kind = if rtp.is_some() { Encapsulation::Rtp } else { Encapsulation::Plain };
            let bytes = emitted(&packet);
            prop_assert_eq!(Packet::parse(&bytes, kind), Ok(packet));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..90),
            small in 0u8..16,
        ) {
            // The first octet decides most: half of the tries have one that can be right.
            let mut likely = bytes.clone();
            if let Some(first) = likely.first_mut() {
                *first = small;
            }
            for bytes in [&bytes, &likely] {
                for kind in [Encapsulation::Plain, Encapsulation::Rtp] {
                    if let Ok(packet) = Packet::parse(bytes, kind) {
                        let again = emitted(&packet);
                        prop_assert!(again.len() <= bytes.len());
                        prop_assert_eq!(Packet::parse(&again, kind), Ok(packet));
                    }
                }
            }
        }
    }
}
