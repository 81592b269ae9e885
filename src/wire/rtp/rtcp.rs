//! RTCP (RFC 3550 §6): the packets of a compound, SR and RR, the CNAME of SDES, BYE.
//!
//! Not done here: other items of SDES; APP and feedback bodies are left as bytes.

/// The most packets of one compound that are read.
pub const PACKETS_MAX: usize = 32;

/// A sender report.
pub const SENDER_REPORT: u8 = 200;
/// A receiver report.
pub const RECEIVER_REPORT: u8 = 201;
/// A source's description.
pub const SOURCE_DESCRIPTION: u8 = 202;
/// A source leaves.
pub const BYE: u8 = 203;

/// One packet of a compound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// 200 SR, 201 RR, 202 SDES, 203 BYE, 204 APP, 205 RTPFB, 206 PSFB, 207 XR.
    pub kind: u8,
    /// Report count, source count or subtype.
    pub count: u8,
    /// After the first four bytes, padding included.
    pub body: &'a [u8],
}

/// The packets of a compound, up to the first one that is malformed.
pub fn packets(bytes: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let ([flags, kind, l0, l1], after) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
        let (body, after) = after.split_at_checked(length)?;
        rest = after;
        (flags >> 6 == 2).then_some(Packet {
            kind: *kind,
            count: flags & 0x1f,
            body,
        })
    })
    .take(PACKETS_MAX)
}

/// A report block: how its author receives one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    /// The source that the block is about.
    pub ssrc: u32,
    /// Lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the beginning; negative with duplicates. 24 bits.
    pub lost: i32,
    /// The highest sequence number, with the count of wraps above.
    pub highest_sequence: u32,
    /// In units of the timestamp.
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's NTP time.
    pub last_report: u32,
    /// Since then, in 65536ths of a second.
    pub delay: u32,
}

impl Packet<'_> {
    /// Who sent the report; `None` for other packets than SR and RR.
    pub fn reporter(&self) -> Option<u32> {
        matches!(self.kind, SENDER_REPORT | RECEIVER_REPORT).then_some(())?;
        self.body.first_chunk().map(|b| u32::from_be_bytes(*b))
    }

    /// The report blocks of an SR or RR; none for other packets.
    pub fn reports(&self) -> impl Iterator<Item = ReportBlock> {
        let start = match self.kind {
            SENDER_REPORT => 24,
            RECEIVER_REPORT => 4,
            _ => usize::MAX,
        };
        let blocks = self.body.get(start..).unwrap_or_default();
        let (blocks, _rest) = blocks.as_chunks::<24>();
        blocks
            .iter()
            .take(usize::from(self.count))
            .map(ReportBlock::parse)
    }
}

impl<'a> Packet<'a> {
    /// What an SR says of its sender; `None` for other packets.
    pub fn sender(&self) -> Option<SenderInfo> {
        (self.kind == SENDER_REPORT).then_some(())?;
        let (words, _) = self.body.get(4..24)?.as_chunks::<4>();
        let word = |n: usize| words.get(n).map_or(0, |w| u32::from_be_bytes(*w));
        Some(SenderInfo {
            ntp: (u64::from(word(0)) << 32) | u64::from(word(1)),
            timestamp: word(2),
            packets: word(3),
            octets: word(4),
        })
    }

    /// The sources that a BYE says leave; none for other packets.
    pub fn leaving(&self) -> impl Iterator<Item = u32> + use<'a> {
        let count = usize::from(self.count) * usize::from(self.kind == BYE);
        let (sources, _reason) = self.body.as_chunks::<4>();
        sources.iter().take(count).map(|b| u32::from_be_bytes(*b))
    }

    /// The CNAME of the first chunk of an SDES, with its source.
    pub fn cname(&self) -> Option<(u32, &'a [u8])> {
        (self.kind == SOURCE_DESCRIPTION && self.count > 0).then_some(())?;
        let (ssrc, mut items) = self.body.split_first_chunk::<4>()?;
        // An item has two bytes at least, so the body bounds the loop.
        loop {
            let ([kind, length], rest) = items.split_first_chunk::<2>()?;
            let (text, after) = rest.split_at_checked(usize::from(*length))?;
            match kind {
                0 => return None,
                1 => return Some((u32::from_be_bytes(*ssrc), text)),
                _ => items = after,
            }
        }
    }
}

/// What a sender report says of its sender (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderInfo {
    /// Seconds since 1900 in the upper half, their fraction below.
    pub ntp: u64,
    /// The same time in the units of the sender's RTP packets.
    pub timestamp: u32,
    /// Sent under this SSRC.
    pub packets: u32,
    /// Of payload, sent under this SSRC.
    pub octets: u32,
}

/// Appends a sender report of `reporter` with `blocks`, at most 31.
pub fn emit_sender_report(
    out: &mut Vec<u8>,
    reporter: u32,
    info: &SenderInfo,
    blocks: &[ReportBlock],
) {
    let count = blocks.len().min(31);
    out.extend([0x80 | count as u8, SENDER_REPORT]);
    out.extend((6 + 6 * count as u16).to_be_bytes());
    out.extend(reporter.to_be_bytes());
    out.extend(info.ntp.to_be_bytes());
    for word in [info.timestamp, info.packets, info.octets] {
        out.extend(word.to_be_bytes());
    }
    for block in blocks.iter().take(count) {
        out.extend(block.emit());
    }
}

/// Appends an SDES with one CNAME; its bytes past 255 are left out (§6.5.1).
pub fn emit_cname(out: &mut Vec<u8>, ssrc: u32, cname: &[u8]) {
    let cname = &cname[..cname.len().min(255)];
    // One zero at least ends the items, and zeros fill the last word.
    let items = (2 + cname.len() + 1).next_multiple_of(4);
    out.extend([0x81, SOURCE_DESCRIPTION]);
    out.extend((1 + items as u16 / 4).to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend([1, cname.len() as u8]);
    out.extend(cname);
    out.resize(out.len() + items - 2 - cname.len(), 0);
}

/// Appends a BYE without a reason.
pub fn emit_bye(out: &mut Vec<u8>, ssrc: u32) {
    out.extend([0x81, BYE, 0, 1]);
    out.extend(ssrc.to_be_bytes());
}

impl ReportBlock {
    fn parse(block: &[u8; 24]) -> Self {
        let (words, _) = block.as_chunks::<4>();
        let word = |n: usize| words.get(n).map_or(0, |w| u32::from_be_bytes(*w));
        Self {
            ssrc: word(0),
            fraction_lost: (word(1) >> 24) as u8,
            lost: ((word(1) << 8) as i32) >> 8,
            highest_sequence: word(2),
            jitter: word(3),
            last_report: word(4),
            delay: word(5),
        }
    }

    /// Writes the block.
    pub fn emit(&self) -> [u8; 24] {
        let loss = (u32::from(self.fraction_lost) << 24) | (self.lost as u32 & 0x00ff_ffff);
        let words = [
            self.ssrc,
            loss,
            self.highest_sequence,
            self.jitter,
            self.last_report,
            self.delay,
        ];
        let mut out = [0; 24];
        for (place, word) in out.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        out
    }
}

/// Writes a receiver report of `reporter` with `blocks`, at most 31.
pub fn emit_receiver_report(reporter: u32, blocks: &[ReportBlock]) -> Vec<u8> {
    let mut out = Vec::new();
    append_receiver_report(&mut out, reporter, blocks);
    out
}

/// Appends a receiver report of `reporter` with `blocks`, at most 31.
pub fn append_receiver_report(out: &mut Vec<u8>, reporter: u32, blocks: &[ReportBlock]) {
    let count = blocks.len().min(31);
    out.extend([0x80 | count as u8, RECEIVER_REPORT]);
    out.extend((1 + 6 * count as u16).to_be_bytes());
    out.extend(reporter.to_be_bytes());
    for block in blocks.iter().take(count) {
        out.extend(block.emit());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 7,
        fraction_lost: 128,
        lost: -3,
        highest_sequence: 0x0001_0002,
        jitter: 160,
        last_report: 5,
        delay: 6,
    };

    #[test]
    fn blocks_round_trip_in_a_compound() {
        let mut bytes = emit_receiver_report(1, &[BLOCK, BLOCK]);
        bytes.extend([0x81, BYE, 0, 1, 0, 0, 0, 1]);
        let all: Vec<_> = packets(&bytes).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].reporter(), Some(1));
        assert_eq!(all[0].reports().collect::<Vec<_>>(), [BLOCK, BLOCK]);
        assert_eq!((all[1].kind, all[1].reports().count()), (BYE, 0));
    }

    #[test]
    fn a_sender_report_has_its_blocks_after_the_sender() {
        let mut bytes = vec![0x81, SENDER_REPORT, 0, 12];
        bytes.extend([0; 24]);
        bytes.extend(BLOCK.emit());
        let packet = packets(&bytes).next().unwrap();
        assert_eq!(packet.reports().next(), Some(BLOCK));
    }

    #[test]
    fn sender_reports_descriptions_and_goodbyes_round_trip() {
        let info = SenderInfo {
            ntp: 0x0102_0304_0506_0708,
            timestamp: 9,
            packets: 10,
            octets: 11,
        };
        for length in 0..=300 {
            let cname = vec![b'x'; length];
            let mut bytes = Vec::new();
            emit_sender_report(&mut bytes, 1, &info, &[BLOCK]);
            emit_cname(&mut bytes, 1, &cname);
            emit_bye(&mut bytes, 1);
            let all: Vec<_> = packets(&bytes).collect();
            assert_eq!(all.len(), 3);
            assert_eq!((all[0].reporter(), all[0].sender()), (Some(1), Some(info)));
            assert_eq!(all[0].reports().collect::<Vec<_>>(), [BLOCK]);
            assert_eq!(all[1].cname(), Some((1, &cname[..length.min(255)])));
            assert_eq!((all[1].sender(), all[1].leaving().count()), (None, 0));
            assert_eq!(all[2].leaving().collect::<Vec<_>>(), [1]);
            assert_eq!(all[2].cname(), None);
        }
        // Another item first, and none at all.
        let body = [0, 0, 0, 7, 2, 1, b'n', 1, 2, b'c', b'n', 0];
        let mut packet = Packet {
            kind: SOURCE_DESCRIPTION,
            count: 1,
            body: &body,
        };
        assert_eq!(packet.cname(), Some((7, &b"cn"[..])));
        for length in 0..11 {
            packet.body = &body[..length];
            assert_eq!(packet.cname(), None);
        }
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let bytes = emit_receiver_report(1, &[BLOCK]);
        for length in 0..bytes.len() {
            assert_eq!(packets(&bytes[..length]).count(), 0);
        }
        let mut few = bytes.clone();
        few[0] = 0x80 | 31;
        assert_eq!(packets(&few).next().unwrap().reports().count(), 1);
    }
}
