//! SipHash-2-4 with 128 bits of output (Aumasson, Bernstein 2012 and the reference code's
//! `SIPHASH_128`): a keyed function whose outputs nobody without the key can predict or make
//! collide. Small inputs cost a few dozen nanoseconds.

/// A hash under way.
#[derive(Clone, Debug)]
pub(super) struct SipHasher {
    v: [u64; 4],
    tail: u64,
    len: u64,
}

impl SipHasher {
    /// Starts under a key of 128 bits.
    pub(super) fn new(key: [u64; 2]) -> Self {
        Self {
            v: [
                key[0] ^ 0x736f_6d65_7073_6575,
                key[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
                key[0] ^ 0x6c79_6765_6e65_7261,
                key[1] ^ 0x7465_6462_7974_6573,
            ],
            tail: 0,
            len: 0,
        }
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        let filled = (self.len & 7) as usize;
        self.len = self.len.wrapping_add(bytes.len() as u64);
        if filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(8 - filled));
            for (i, &b) in head.iter().enumerate() {
                self.tail |= u64::from(b) << (8 * (filled + i));
            }
            if filled + head.len() < 8 {
                return;
            }
            let word = self.tail;
            self.absorb(word);
            self.tail = 0;
            bytes = rest;
        }
        let mut words = bytes.chunks_exact(8);
        for chunk in &mut words {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.absorb(u64::from_le_bytes(word));
        }
        for (i, &b) in words.remainder().iter().enumerate() {
            self.tail |= u64::from(b) << (8 * i);
        }
    }

    /// Adds bytes and a mark of where they end, so that `("ab", "c")` is not `("a", "bc")`.
    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.write(bytes);
        self.write(&(bytes.len() as u32).to_le_bytes());
    }

    /// Like [`SipHasher::part`], letters taken in lower case.
    pub(super) fn part_ignoring_case(&mut self, bytes: &[u8]) {
        let mut buffer = [0; 64];
        for chunk in bytes.chunks(64) {
            for (to, from) in buffer.iter_mut().zip(chunk) {
                *to = from.to_ascii_lowercase();
            }
            self.write(buffer.get(..chunk.len()).unwrap_or_default());
        }
        self.write(&(bytes.len() as u32).to_le_bytes());
    }

    /// The 128 bits.
    pub(super) fn finish(mut self) -> [u64; 2] {
        let last = self.tail | (self.len << 56);
        self.absorb(last);
        self.v[2] ^= 0xee;
        self.rounds(4);
        let first = self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3];
        self.v[1] ^= 0xdd;
        self.rounds(4);
        [first, self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]]
    }

    fn absorb(&mut self, word: u64) {
        self.v[3] ^= word;
        self.rounds(2);
        self.v[0] ^= word;
    }

    #[inline]
    fn rounds(&mut self, n: usize) {
        let [mut a, mut b, mut c, mut d] = self.v;
        for _ in 0..n {
            a = a.wrapping_add(b);
            b = b.rotate_left(13) ^ a;
            a = a.rotate_left(32);
            c = c.wrapping_add(d);
            d = d.rotate_left(16) ^ c;
            a = a.wrapping_add(d);
            d = d.rotate_left(21) ^ a;
            c = c.wrapping_add(b);
            b = b.rotate_left(17) ^ c;
            c = c.rotate_left(32);
        }
        self.v = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::SipHasher;

    fn reference(input: &[u8]) -> [u8; 16] {
        let mut h = SipHasher::new([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        h.write(input);
        let [a, b] = h.finish();
        let mut out = [0; 16];
        out[..8].copy_from_slice(&a.to_le_bytes());
        out[8..].copy_from_slice(&b.to_le_bytes());
        out
    }

    /// The first rows of `vectors_sip128` in the reference code.
    #[test]
    fn reference_vectors() {
        let rows: [[u8; 16]; 3] = [
            [
                0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55,
                0x02, 0x93,
            ],
            [
                0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22,
                0xfc, 0x45,
            ],
            [
                0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde, 0xf6, 0x0a,
                0xff, 0xe4,
            ],
        ];
        for (n, row) in rows.iter().enumerate() {
            let input: Vec<u8> = (0..n as u8).collect();
            assert_eq!(&reference(&input), row, "{n} bytes");
        }
    }

    #[test]
    fn pieces_do_not_matter() {
        let input: Vec<u8> = (0..40).collect();
        for cut in 0..40 {
            let mut h = SipHasher::new([1, 2]);
            h.write(&input[..cut]);
            h.write(&input[cut..]);
            let mut whole = SipHasher::new([1, 2]);
            whole.write(&input);
            assert_eq!(h.finish(), whole.finish(), "cut at {cut}");
        }
    }
}
