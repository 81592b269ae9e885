//! Datagrams of the ng protocol: a cookie, a space, and a dictionary in bencode or JSON. The reply
//! bears the same cookie and is written the same way.

use crate::wire::bencode::{DEPTH_MAX, Dictionary, VALUES_MAX, Value};

/// The longest cookie.
pub const COOKIE_BYTES_MAX: usize = 256;

/// How a dictionary is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// As bencode.
    Bencode,
    /// As a JSON object (RFC 8259).
    Json,
}

/// Splits a datagram into cookie and document; `None` is not the protocol at all.
pub fn split(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', datagram)?;
    let (cookie, rest) = datagram.split_at_checked(at)?;
    let well_formed = !cookie.is_empty() && cookie.len() <= COOKIE_BYTES_MAX;
    well_formed.then(|| (cookie, rest.get(1..).unwrap_or_default()))
}

/// Reads a document; the format to answer in comes with it, the reason without.
pub fn parse(document: &[u8]) -> (Format, Result<Dictionary, &'static str>) {
    match document.first() {
        None => (Format::Bencode, Err("Invalid data (no payload)")),
        Some(b'd') => {
            let dictionary = match Value::parse(document) {
                Ok(Value::Dictionary(dictionary)) => Ok(dictionary),
                Ok(_) | Err(_) => Err("Could not decode bencode dictionary"),
            };
            (Format::Bencode, dictionary)
        }
        Some(b'{') => (Format::Json, from_json(document)),
        Some(_) => (Format::Bencode, Err("Invalid NG data format")),
    }
}

/// The datagram that answers.
pub fn emit(cookie: &[u8], format: Format, reply: &Dictionary) -> Vec<u8> {
    let mut out = cookie.to_vec();
    out.push(b' ');
    match format {
        Format::Bencode => reply.emit(&mut out),
        Format::Json => {
            let json = to_json(&Value::Dictionary(reply.clone()));
            out.extend_from_slice(json.to_string().as_bytes());
        }
    }
    out
}

fn from_json(document: &[u8]) -> Result<Dictionary, &'static str> {
    let json: serde_json::Value =
        serde_json::from_slice(document).map_err(|_| "Failed to parse JSON document")?;
    let mut values = 0;
    match value_of(json, 0, &mut values) {
        Some(Value::Dictionary(dictionary)) => Ok(dictionary),
        Some(_) | None => Err("Could not decode bencode dictionary"),
    }
}

/// `None` for what bencode cannot say: fractions, truth values, null; and beyond its bounds.
fn value_of(json: serde_json::Value, depth: usize, values: &mut usize) -> Option<Value> {
    *values += 1;
    if *values > VALUES_MAX || depth > DEPTH_MAX {
        return None;
    }
    match json {
        serde_json::Value::Number(n) => n.as_i64().map(Value::Integer),
        serde_json::Value::String(text) => Some(Value::Bytes(text.into_bytes())),
        serde_json::Value::Array(list) => {
            let list = list.into_iter().map(|v| value_of(v, depth + 1, values));
            list.collect::<Option<Vec<_>>>().map(Value::List)
        }
        serde_json::Value::Object(object) => {
            let mut dictionary = Dictionary::new();
            for (key, value) in object {
                *values += 1;
                dictionary.add(key, value_of(value, depth + 1, values)?);
            }
            Some(Value::Dictionary(dictionary))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) => None,
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match value {
        Value::Integer(n) => (*n).into(),
        Value::Bytes(bytes) => text(bytes).into(),
        Value::List(values) => values.iter().map(to_json).collect(),
        Value::Dictionary(dictionary) => {
            let entries = dictionary.entries();
            entries
                .map(|(key, value)| (text(key), to_json(value)))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_comes_first() {
        assert_eq!(split(b"1_2 de"), Some((&b"1_2"[..], &b"de"[..])));
        assert_eq!(split(b"1_2 "), Some((&b"1_2"[..], &b""[..])));
        assert_eq!(split(b" de"), None);
        assert_eq!(split(b"de"), None);
        assert_eq!(split(&[b"x".repeat(300), b" de".to_vec()].concat()), None);
    }

    #[test]
    fn json_says_the_same_as_bencode() {
        let (format, json) = parse(br#"{"command":"offer","flags":["a",7],"n":{"k":"v"}}"#);
        assert_eq!(format, Format::Json);
        let json = json.unwrap();
        let bencode = b"d7:command5:offer5:flagsl1:ai7ee1:nd1:k1:vee";
        let (format, same) = parse(bencode);
        assert_eq!((format, same.as_ref()), (Format::Bencode, Ok(&json)));
        assert_eq!(
            emit(b"c", Format::Bencode, &json),
            [b"c ", &bencode[..]].concat()
        );
        let out = emit(b"c", Format::Json, &json);
        assert_eq!(parse(split(&out).unwrap().1), (Format::Json, Ok(json)));
    }

    #[test]
    fn what_cannot_be_read_has_a_reason() {
        for (document, reason) in [
            ("", "Invalid data (no payload)"),
            ("d3:abc", "Could not decode bencode dictionary"),
            ("d1:ai1eee", "Could not decode bencode dictionary"),
            ("{", "Failed to parse JSON document"),
            (r#"{"a":1.5}"#, "Could not decode bencode dictionary"),
            (r#"{"a":null}"#, "Could not decode bencode dictionary"),
            ("ping", "Invalid NG data format"),
        ] {
            assert_eq!(parse(document.as_bytes()).1, Err(reason), "{document}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(9), "}".repeat(9));
        assert!(parse(deep.as_bytes()).1.is_err());
    }
}
