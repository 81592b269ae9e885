//! Texts within URIs: what may not stand there as it is becomes `%XX` (RFC 3261 §25.1, `escaped`).

/// What stands in a user part as it is, beside letters and digits (`unreserved`,
/// `user-unreserved`).
pub const USER: &[u8] = b"-_.!~*'()&=+$,;?/";

/// Appends a text: what is neither a letter, a digit, nor in `plain` is escaped.
pub fn escape(text: &[u8], plain: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(byte);
        } else {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.push(b'%');
            out.extend_from_slice(&digits);
        }
    }
}

/// A text with what is neither a letter, a digit, nor in `plain` escaped.
pub fn escaped(text: &str, plain: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len() + 8);
    escape(text.as_bytes(), plain, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// What [`escape`] made of a text; `None` if it made it of none.
pub fn unescape(escaped: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}
