//! RTCP (RFC 3550 §6): the packets of a compound, and the report blocks of SR and RR.
//!
//! Not done here: SDES, APP and feedback bodies are left as bytes.

/// The most packets of one compound that are read.
pub const PACKETS_MAX: usize = 32;

/// A sender report.
pub const SENDER_REPORT: u8 = 200;
/// A receiver report.
pub const RECEIVER_REPORT: u8 = 201;
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
    let count = blocks.len().min(31);
    let words = 1 + 6 * count as u16;
    let mut out = vec![0x80 | count as u8, RECEIVER_REPORT];
    out.extend(words.to_be_bytes());
    out.extend(reporter.to_be_bytes());
    for block in blocks.iter().take(count) {
        out.extend(block.emit());
    }
    out
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
