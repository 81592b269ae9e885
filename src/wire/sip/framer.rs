//! Cutting a stream into messages (RFC 3261 §18.3) and keepalives (RFC 5626 §3.5.1).

use bytes::{Buf, Bytes, BytesMut};

use super::message::MESSAGE_MAX;
use super::parse::{Line, Lines, name_and_value};
use super::{HeaderName, scan};

/// One thing a stream brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One whole message, body included.
    Message(Bytes),
    /// CRLF CRLF between messages: answer with one CRLF.
    Ping,
    /// One CRLF between messages: the answer to our ping.
    Pong,
}

/// Why the stream cannot be cut any further. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Above [`MESSAGE_MAX`] bytes: 513.
    TooLarge,
    /// Not a number, or two that differ: 400.
    BadContentLength,
    /// A message on a stream without Content-Length (§18.3): 400.
    NoContentLength,
}

impl FrameError {
    /// Status and reason phrase of the answer, before the connection is closed.
    pub fn answer(&self) -> (u16, &'static str) {
        match self {
            FrameError::TooLarge => (513, "Message Too Large"),
            FrameError::BadContentLength => (400, "Malformed Content-Length"),
            FrameError::NoContentLength => (400, "Missing Content-Length"),
        }
    }
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.answer().1)
    }
}

impl std::error::Error for FrameError {}

/// The bytes of one stream that wait for the rest of their message.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Header lines before this offset were seen and did not end the headers.
    scanned: usize,
    content_length: Option<usize>,
    /// The last frame was a pong.
    ponged: bool,
    failed: Option<FrameError>,
}

impl Framer {
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Takes what the stream brought. Drain `next` before the next push: so the buffer holds at
    /// most one message and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Whether half a message waits for its rest.
    pub fn pending(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The bytes that wait; after an error the head of the message that could not be cut.
    pub fn head(&self) -> &[u8] {
        &self.buffer
    }

    /// The next frame; `None` when more bytes are needed. An error stays.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let frame = self.step();
        if let Err(error) = frame {
            self.failed = Some(error);
        }
        frame
    }

    fn step(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.scanned == 0 {
            match self.buffer.as_ref() {
                [b'\r', b'\n', b'\r', b'\n', ..] => return Ok(Some(self.skip(4, Frame::Ping))),
                [] | [b'\r'] | [b'\r', b'\n', b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] => {
                    // Half a ping, when it comes in two reads, looks like a pong first.
                    let frame = if self.ponged {
                        Frame::Ping
                    } else {
                        Frame::Pong
                    };
                    self.ponged = !self.ponged;
                    return Ok(Some(self.skip(2, frame)));
                }
                _ => {}
            }
        }
        let Some(body_start) = self.headers_end()? else {
            return match self.buffer.len() > MESSAGE_MAX {
                true => Err(FrameError::TooLarge),
                false => Ok(None),
            };
        };
        let length = self.content_length.ok_or(FrameError::NoContentLength)?;
        let end = body_start.saturating_add(length);
        if end > MESSAGE_MAX {
            return Err(FrameError::TooLarge);
        }
        if self.buffer.len() < end {
            return Ok(None);
        }
        self.scanned = 0;
        self.content_length = None;
        self.ponged = false;
        Ok(Some(Frame::Message(self.buffer.split_to(end).freeze())))
    }

    fn skip(&mut self, count: usize, frame: Frame) -> Frame {
        self.buffer.advance(count);
        frame
    }

    /// Where the body starts, once the empty line came. Each line is looked at once.
    fn headers_end(&mut self) -> Result<Option<usize>, FrameError> {
        let mut lines = Lines::new(&self.buffer, self.scanned);
        let mut content_length = self.content_length;
        let mut scanned = self.scanned;
        let mut end = None;
        while let Some(line) = lines.next().filter(|line| line.ended) {
            if line.start == line.end {
                end = Some(line.next);
                break;
            }
            if is_content_length(&self.buffer, &line) {
                let Some(value_end) = lines.behind_folds(&line) else {
                    break;
                };
                let length = length_of(&self.buffer, line.start, value_end)?;
                if content_length.is_some_and(|before| before != length) {
                    return Err(FrameError::BadContentLength);
                }
                content_length = Some(length);
            }
            scanned = lines.at;
        }
        self.scanned = scanned;
        self.content_length = content_length;
        Ok(end)
    }
}

fn is_content_length(buffer: &[u8], line: &Line) -> bool {
    let text = buffer.get(line.start..line.end).unwrap_or_default();
    matches!(text.first(), Some(b'C' | b'c' | b'L' | b'l'))
        && name_and_value(text)
            .is_some_and(|(name, _)| HeaderName::lookup(name) == HeaderName::ContentLength)
}

/// The number in a Content-Length line, folds included.
fn length_of(buffer: &[u8], start: usize, end: usize) -> Result<usize, FrameError> {
    let value = buffer
        .get(start..end)
        .and_then(name_and_value)
        .map(|(_, value)| value);
    let length = value.map(scan::trim).and_then(scan::decimal);
    length
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(FrameError::BadContentLength)
}
