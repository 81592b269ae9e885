//! Bencode, as the ng control protocol uses it: integers, byte strings, lists and dictionaries.
//! Read strictly, except that the keys of a dictionary may come in any order, as its clients send
//! them; of equal keys the first one counts. Written with sorted keys.

use std::fmt;

/// The most lists and dictionaries inside each other.
pub const DEPTH_MAX: usize = 8;
/// The most values in one document, keys included.
pub const VALUES_MAX: usize = 4096;

/// One value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// `i42e`.
    Integer(i64),
    /// `3:abc`; any bytes.
    Bytes(Vec<u8>),
    /// `l...e`.
    List(Vec<Value>),
    /// `d...e`.
    Dictionary(Dictionary),
}

/// Keys and values, in the order in which they came or were added.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dictionary(Vec<(Vec<u8>, Value)>);

/// Why a document could not be read: always the sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BencodeError {
    /// It ends in the middle of a value.
    Short,
    /// Something else than a value stands at this offset.
    BadValue(usize),
    /// A number is not in its shortest form, or too large.
    BadNumber(usize),
    /// More than [`DEPTH_MAX`] levels.
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    TooMany,
    /// Bytes follow the value.
    Trailing(usize),
}

impl fmt::Display for BencodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BencodeError::Short => write!(f, "the document ends within a value"),
            BencodeError::BadValue(at) => write!(f, "no value at offset {at}"),
            BencodeError::BadNumber(at) => write!(f, "malformed number at offset {at}"),
            BencodeError::TooDeep => write!(f, "more than {DEPTH_MAX} levels"),
            BencodeError::TooMany => write!(f, "more than {VALUES_MAX} values"),
            BencodeError::Trailing(at) => write!(f, "bytes after the document, at offset {at}"),
        }
    }
}

impl std::error::Error for BencodeError {}

impl Value {
    /// Reads one value that fills `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BencodeError> {
        let mut reader = Reader {
            bytes,
            at: 0,
            values: 0,
        };
        let value = reader.value(0)?;
        match reader.at == bytes.len() {
            true => Ok(value),
            false => Err(BencodeError::Trailing(reader.at)),
        }
    }

    /// Appends it to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Value::Integer(n) => out.extend_from_slice(format!("i{n}e").as_bytes()),
            Value::Bytes(bytes) => emit_bytes(bytes, out),
            Value::List(values) => {
                out.push(b'l');
                values.iter().for_each(|value| value.emit(out));
                out.push(b'e');
            }
            Value::Dictionary(dictionary) => dictionary.emit(out),
        }
    }

    /// The bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            Value::Integer(_) | Value::List(_) | Value::Dictionary(_) => None,
        }
    }

    /// The number; a string of digits counts, since some clients write those.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(n) => Some(*n),
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Value::List(_) | Value::Dictionary(_) => None,
        }
    }

    /// The members, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            Value::Integer(_) | Value::Bytes(_) | Value::Dictionary(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Bytes(text.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bytes(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value::Bytes(bytes.into())
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Value::Integer(n)
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Value {
    fn from(n: u16) -> Self {
        Value::Integer(i64::from(n))
    }
}

impl From<Dictionary> for Value {
    fn from(dictionary: Dictionary) -> Self {
        Value::Dictionary(dictionary)
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Self {
        Value::List(values)
    }
}

impl Dictionary {
    /// Without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        let mut entries = self.0.iter();
        entries.find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// Keys and values, in their order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// Adds a key; one that is there already keeps its value.
    pub fn add(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Value>) -> &mut Self {
        self.0.push((key.into(), value.into()));
        self
    }

    /// Appends it to `out`, with sorted keys, each once.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut sorted: Vec<&(Vec<u8>, Value)> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|later, earlier| later.0 == earlier.0);
        out.push(b'd');
        for (key, value) in sorted {
            emit_bytes(key, out);
            value.emit(out);
        }
        out.push(b'e');
    }
}

fn emit_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Result<u8, BencodeError> {
        self.bytes.get(self.at).copied().ok_or(BencodeError::Short)
    }

    fn value(&mut self, depth: usize) -> Result<Value, BencodeError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(BencodeError::TooMany);
        }
        match self.peek()? {
            b'i' => {
                self.at += 1;
                self.number(b'e').map(Value::Integer)
            }
            b'0'..=b'9' => self.string().map(Value::Bytes),
            b'l' | b'd' if depth >= DEPTH_MAX => Err(BencodeError::TooDeep),
            b'l' => self.list(depth).map(Value::List),
            b'd' => self.dictionary(depth).map(Value::Dictionary),
            _ => Err(BencodeError::BadValue(self.at)),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, BencodeError> {
        self.at += 1;
        let mut values = Vec::new();
        while self.peek()? != b'e' {
            values.push(self.value(depth + 1)?);
        }
        self.at += 1;
        Ok(values)
    }

    fn dictionary(&mut self, depth: usize) -> Result<Dictionary, BencodeError> {
        self.at += 1;
        let mut entries = Dictionary::new();
        while self.peek()? != b'e' {
            self.values += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(BencodeError::BadValue(self.at));
            }
            let key = self.string()?;
            entries.add(key, self.value(depth + 1)?);
        }
        self.at += 1;
        Ok(entries)
    }

    fn string(&mut self) -> Result<Vec<u8>, BencodeError> {
        let start = self.at;
        let length = self.number(b':')?;
        let length = usize::try_from(length).map_err(|_| BencodeError::BadNumber(start))?;
        let end = self.at.checked_add(length).ok_or(BencodeError::Short)?;
        let bytes = self.bytes.get(self.at..end).ok_or(BencodeError::Short)?;
        self.at = end;
        Ok(bytes.to_vec())
    }

    /// A number up to `end`, which is taken too.
    fn number(&mut self, end: u8) -> Result<i64, BencodeError> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let length = memchr::memchr(end, rest).ok_or(match rest.len() < 20 {
            true => BencodeError::Short,
            false => BencodeError::BadNumber(start),
        })?;
        let digits = rest.get(..length).unwrap_or_default();
        let bad = BencodeError::BadNumber(start);
        let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
        let shortest = match unsigned {
            [] => false,
            [b'0'] => digits.len() == 1,
            [first, ..] => *first != b'0' && unsigned.iter().all(u8::is_ascii_digit),
        };
        if !shortest {
            return Err(bad);
        }
        let text = std::str::from_utf8(digits).map_err(|_| bad)?;
        self.at = start + length + 1;
        text.parse().map_err(|_| bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn parse(text: &str) -> Result<Value, BencodeError> {
        Value::parse(text.as_bytes())
    }

    fn emit(value: &Value) -> String {
        let mut out = Vec::new();
        value.emit(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_of_every_kind() {
        assert_eq!(parse("i-42e"), Ok(Value::Integer(-42)));
        assert_eq!(parse("0:"), Ok(Value::Bytes(Vec::new())));
        assert_eq!(parse("le"), Ok(Value::List(Vec::new())));
        let text = "d7:command4:ping5:flagsl5:trusti7eee";
        let Ok(Value::Dictionary(d)) = parse(text) else {
            panic!()
        };
        assert_eq!(
            d.get(b"command").and_then(Value::as_bytes),
            Some(&b"ping"[..])
        );
        assert_eq!(d.get(b"flags").and_then(Value::as_list).unwrap().len(), 2);
        assert_eq!(d.get(b"none"), None);
        assert_eq!(emit(&Value::Dictionary(d)), text);
        assert_eq!(Value::from("12").as_integer(), Some(12));
    }

    #[test]
    fn keys_are_written_sorted_and_once() {
        let Ok(value) = parse("d1:bi1e1:ai2e1:bi3ee") else {
            panic!()
        };
        assert_eq!(emit(&value), "d1:ai2e1:bi1ee");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let cases = [
            ("", BencodeError::Short),
            ("i42", BencodeError::Short),
            ("5:abc", BencodeError::Short),
            ("l", BencodeError::Short),
            ("d1:a", BencodeError::Short),
            ("x", BencodeError::BadValue(0)),
            ("di1ei2ee", BencodeError::BadValue(1)),
            ("d1:ae", BencodeError::BadValue(4)),
            ("ie", BencodeError::BadNumber(1)),
            ("i-e", BencodeError::BadNumber(1)),
            ("i-0e", BencodeError::BadNumber(1)),
            ("i01e", BencodeError::BadNumber(1)),
            ("i+1e", BencodeError::BadNumber(1)),
            ("i9223372036854775808e", BencodeError::BadNumber(1)),
            ("01:a", BencodeError::BadNumber(0)),
            ("i1ei2e", BencodeError::Trailing(3)),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        let long = "9".repeat(30);
        assert_eq!(parse(&long), Err(BencodeError::BadNumber(0)));
        assert_eq!(parse("99999999999:a"), Err(BencodeError::Short));
    }

    #[test]
    fn bounds_hold() {
        let deep = |n| format!("{}{}", "l".repeat(n), "e".repeat(n));
        assert!(parse(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(parse(&deep(DEPTH_MAX + 1)), Err(BencodeError::TooDeep));
        assert_eq!(parse(&deep(100_000)), Err(BencodeError::TooDeep));
        let many = |n| format!("l{}e", "0:".repeat(n));
        assert!(parse(&many(VALUES_MAX - 1)).is_ok());
        assert_eq!(parse(&many(VALUES_MAX)), Err(BencodeError::TooMany));
    }

    fn any(rng: &mut Rng, depth: usize) -> Value {
        let kinds = if depth < 4 { 4 } else { 2 };
        match rng.below(kinds) {
            0 => Value::Integer(rng.next_u64() as i64),
            1 => {
                let length = rng.below(12);
                Value::Bytes((0..length).map(|_| rng.next_u64() as u8).collect())
            }
            2 => Value::List((0..rng.below(4)).map(|_| any(rng, depth + 1)).collect()),
            _ => {
                let mut d = Dictionary::new();
                for n in 0..rng.below(4) {
                    d.add(format!("k{n}"), any(rng, depth + 1));
                }
                d.into()
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_no_change_panics() {
        let mut rng = Rng::from_u64(7);
        for _ in 0..5_000 {
            let value = any(&mut rng, 0);
            let mut bytes = Vec::new();
            value.emit(&mut bytes);
            assert_eq!(Value::parse(&bytes), Ok(value));
            for _ in 0..4 {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(3) {
                    0 => bytes[at] = b"0123456789:eild-"[rng.below(16) as usize],
                    1 => bytes.insert(at, rng.next_u64() as u8),
                    _ => bytes.truncate(at.max(1)),
                }
                if let Ok(value) = Value::parse(&bytes) {
                    let mut again = Vec::new();
                    value.emit(&mut again);
                    assert!(Value::parse(&again).is_ok());
                }
            }
        }
    }
}
