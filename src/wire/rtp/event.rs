//! The payload of telephone events (RFC 4733 §2.3), and the keys among them (§3.2).
//!
//! Not done here: what a row of such packets means (`media`); tones (§4).

/// The payload's length in bytes.
pub const PAYLOAD_SIZE: usize = 4;
/// The hook flash, after the sixteen keys.
pub const FLASH: u8 = 16;
/// The keys in the order of their codes.
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

/// One report of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What happened: 0 to 15 are keys, 16 is the hook flash.
    pub code: u8,
    /// Whether the event is over.
    pub end: bool,
    /// In dBm0 below zero, 0 to 63.
    pub volume: u8,
    /// Since the packet's timestamp, in its units.
    pub duration: u16,
}

impl Event {
    /// Reads a payload; the reserved bit and what follows the four bytes are ignored (§2.3.3).
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [code, flags, d0, d1] = *payload.first_chunk::<PAYLOAD_SIZE>()?;
        Some(Self {
            code,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([d0, d1]),
        })
    }

    /// Writes the payload; a volume below -63 dBm0 becomes that.
    pub fn emit(&self) -> [u8; PAYLOAD_SIZE] {
        let [d0, d1] = self.duration.to_be_bytes();
        let flags = (u8::from(self.end) << 7) | self.volume.min(63);
        [self.code, flags, d0, d1]
    }
}

/// The character on the key, as SIP's INFO and dial plans write it; none for other events.
pub fn key(code: u8) -> Option<char> {
    KEYS.get(usize::from(code)).copied().map(char::from)
}

/// The code of a key's character, in either case.
pub fn code(key: char) -> Option<u8> {
    let key = key.to_ascii_uppercase();
    let place = KEYS.iter().position(|k| char::from(*k) == key)?;
    u8::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_is_read_and_written() {
        // RFC 4733 §2.5.1.4, figure 4's shape: digit 1, end, volume 7, duration 1600.
        let bytes = [1, 0x87, 0x06, 0x40];
        let event = Event {
            code: 1,
            end: true,
            volume: 7,
            duration: 1600,
        };
        assert_eq!(Event::parse(&bytes), Some(event));
        assert_eq!(event.emit(), bytes);
        assert_eq!(Event::parse(&[1, 0xc7, 0x06, 0x40, 9]), Some(event));
        assert_eq!(Event::parse(&bytes[..3]), None);
        let quiet = Event {
            volume: 200,
            ..event
        };
        assert_eq!(quiet.emit()[1], 0xbf);
    }

    #[test]
    fn keys_have_their_codes() {
        for value in 0..16 {
            assert_eq!(key(value).and_then(code), Some(value));
        }
        assert_eq!(
            (code('*'), code('#'), code('d')),
            (Some(10), Some(11), Some(15))
        );
        assert_eq!((key(FLASH), code('x'), code('é')), (None, None, None));
    }
}
