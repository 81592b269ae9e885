//! The Internet checksum (RFC 1071), whole and by what changed (RFC 1624).

/// A one's complement sum that has not been folded; 2^48 words fit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Sum(u64);

impl Sum {
    /// The sum that a checksum in a packet stands for.
    pub(super) fn of_checksum(checksum: u16) -> Self {
        Self(u64::from(!checksum))
    }

    /// A word came in.
    pub(super) fn add(&mut self, word: u16) {
        self.0 += u64::from(word);
    }

    /// A word went away: RFC 1624 equation 3 adds its complement, so that the sum never becomes
    /// the zero that only an all-zero packet has.
    pub(super) fn remove(&mut self, word: u16) {
        self.0 += u64::from(!word);
    }

    /// What another sum holds.
    pub(super) fn join(&mut self, other: Self) {
        self.0 += other.0;
    }

    /// Bytes from an even place on; an odd last one is the upper half of its word.
    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        let (wide, rest) = bytes.as_chunks::<4>();
        for chunk in wide {
            self.0 += u64::from(u32::from_be_bytes(*chunk));
        }
        let (words, odd) = rest.as_chunks::<2>();
        for word in words {
            self.add(u16::from_be_bytes(*word));
        }
        if let [last] = odd {
            self.add(u16::from_be_bytes([*last, 0]));
        }
    }

    /// Folded to 16 bits.
    pub(super) fn fold(self) -> u16 {
        let mut sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// As it stands in a header.
    pub(super) fn checksum(self) -> u16 {
        !self.fold()
    }

    /// As it stands in a UDP header, where zero means that there is none (RFC 768).
    pub(super) fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => u16::MAX,
            checksum => checksum,
        }
    }
}
