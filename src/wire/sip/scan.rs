//! The scanner's small parts (RFC 3261 §25.1): white space, tokens, quoted strings, numbers,
//! parameters, comma lists. They work on bytes, since SIP values need not be UTF-8.

use std::borrow::Cow;

/// Linear white space as it stands in a stored value: a fold keeps its line end.
pub(super) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub(super) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    bytes
}

pub(super) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

const TOKEN: [bool; 256] = letters_digits_and(b"-.!%*_+`'~");
/// What the value of a parameter without quotes may hold.
const VALUE: [bool; 256] = all_but(b" \t\r\n;,\"<>");
/// Names with an underscore are not in the grammar, but are in use.
const HOST: [bool; 256] = letters_digits_and(b"-._");

const fn letters_digits_and(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut index = 0;
    while index < 256 {
        table[index] = (index as u8).is_ascii_alphanumeric();
        index += 1;
    }
    let mut index = 0;
    while index < marks.len() {
        table[marks[index] as usize] = true;
        index += 1;
    }
    table
}

const fn all_but(marks: &[u8]) -> [bool; 256] {
    let mut table = [true; 256];
    let mut index = 0;
    while index < marks.len() {
        table[marks[index] as usize] = false;
        index += 1;
    }
    table
}

/// Where `byte` first stands. What is looked for is mostly so near that a call of memchr would cost
/// more than the bytes before it.
pub(super) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (near, far) = split(bytes, 16);
    match near.iter().position(|b| *b == byte) {
        None if !far.is_empty() => memchr::memchr(byte, far).map(|at| near.len() + at),
        found => found,
    }
}

pub(super) fn is_host_byte(byte: u8) -> bool {
    HOST[usize::from(byte)]
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Splits at `at`, which must lie within `bytes`; beyond the end the rest is empty.
pub(super) fn split(bytes: &[u8], at: usize) -> (&[u8], &[u8]) {
    bytes.split_at(at.min(bytes.len()))
}

/// Splits in front of the first byte that does not satisfy `inside`.
pub(super) fn take_while(bytes: &[u8], inside: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| !inside(*byte))
        .unwrap_or(bytes.len());
    split(bytes, end)
}

/// `1*DIGIT` as a number; `None` when empty, not digits, or above `u32`.
pub(super) fn decimal(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() {
        return None;
    }
    let mut number: u32 = 0;
    for byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_add(u32::from(byte - b'0'))?;
    }
    Some(number)
}

/// At the byte behind an opening quote: the inner bytes and what follows the closing quote.
pub(super) fn quoted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some((bytes.get(..at)?, bytes.get(at + 1..)?)),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The text of a quoted string's inner bytes, with `\x` made `x`.
pub fn unescape_quoted(inner: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => text.extend(bytes.next()),
            _ => text.push(*byte),
        }
    }
    Cow::Owned(text)
}

/// A header value with each fold (RFC 3261 §7.3.1) replaced by one space.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut text = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        let (head, tail) = split(rest, at);
        text.extend_from_slice(trim_end(head));
        text.push(b' ');
        rest = trim_start(tail);
    }
    text.extend_from_slice(rest);
    Cow::Owned(text)
}

/// Where the first comma outside quotes and angle brackets stands, if any.
pub(super) fn comma(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b',', bytes)?;
    let mut in_angle = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b',' if !in_angle => return Some(at),
            b'"' if !in_angle => {
                let rest = bytes.get(at + 1..)?;
                at += quoted(rest)?.0.len() + 1;
            }
            b'<' => in_angle = true,
            b'>' => in_angle = false,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The first element of a comma list, trimmed, and what follows the comma (`None` at the end).
pub(super) fn first_element(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match comma(bytes) {
        None => (trim(bytes), None),
        Some(at) => {
            let (head, tail) = split(bytes, at);
            (trim(head), Some(trim(tail.get(1..).unwrap_or_default())))
        }
    }
}

/// One `;name` or `;name=value`. A quoted value comes without its quotes, escapes kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    pub name: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The `;`-separated parameters of a header value.
#[derive(Debug, Clone)]
pub struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Params<'a> {
        Params { rest }
    }

    /// The value of parameter `name`, case-insensitive: `Some(None)` when it stands without one.
    pub fn find(mut self, name: &str) -> Option<Option<&'a [u8]>> {
        self.find_map(|param| {
            param
                .name
                .eq_ignore_ascii_case(name.as_bytes())
                .then_some(param.value)
        })
    }

    /// The tag of a From or To (RFC 3261 §20.20).
    pub(super) fn tag(self) -> Option<&'a [u8]> {
        self.find("tag").flatten().filter(|tag| !tag.is_empty())
    }

    /// Whether the whole text is a well-formed parameter list.
    pub(super) fn well_formed(rest: &[u8]) -> bool {
        let mut rest = rest;
        loop {
            match param_step(rest) {
                Ok(Some((_, tail))) => rest = tail,
                Ok(None) => return true,
                Err(()) => return false,
            }
        }
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let (param, rest) = param_step(self.rest).ok().flatten()?;
        self.rest = rest;
        Some(param)
    }
}

type Step<'a> = Result<Option<(Param<'a>, &'a [u8])>, ()>;

fn param_step(bytes: &[u8]) -> Step<'_> {
    match scan_separator(bytes) {
        None => Err(()),
        Some([]) => Ok(None),
        Some(rest) => param_body(rest).map(Some),
    }
}

/// Behind the `;` of the next parameter; empty at the end, `None` where something else stands.
fn scan_separator(bytes: &[u8]) -> Option<&[u8]> {
    let rest = trim_start(bytes);
    if rest.is_empty() {
        return Some(rest);
    }
    // An empty parameter (";;") is malformed: RFC 4475 §3.1.2.1.
    Some(trim_start(rest.strip_prefix(b";")?)).filter(|rest| !rest.is_empty())
}

fn param_body(bytes: &[u8]) -> Result<(Param<'_>, &[u8]), ()> {
    let (name, rest) = take_while(bytes, is_token_byte);
    if name.is_empty() {
        return Err(());
    }
    let after = trim_start(rest);
    let [b'=', tail @ ..] = after else {
        return match after.first() {
            None | Some(b';') => Ok((Param { name, value: None }, after)),
            Some(_) => Err(()),
        };
    };
    let tail = trim_start(tail);
    let (value, rest) = match tail {
        [b'"', inner @ ..] => quoted(inner).ok_or(())?,
        _ => take_while(tail, |byte| VALUE[usize::from(byte)]),
    };
    let rest = trim_start(rest);
    match rest.first() {
        None | Some(b';') => Ok((
            Param {
                name,
                value: Some(value),
            },
            rest,
        )),
        Some(_) => Err(()),
    }
}
