//! A standing line to the daemon's commands, for the HTTP interface: the same protocol as on the
//! control socket, along one end of a pair.

use crate::control::{Command, Failure, Reply, Request, Response, VERSION};
use crate::os::sys;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Longer than the daemon lets a command take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Longest reply that is read, in bytes.
const REPLY_BYTES_MAX: u64 = 64 << 20;

/// One command at a time goes along it.
#[derive(Debug, Default)]
pub struct Link(Mutex<Option<Line>>);

#[derive(Debug)]
struct Line {
    stream: BufReader<UnixStream>,
    /// Replies that come too late for whoever asked.
    late: usize,
    /// The reply that is being read.
    reply: Vec<u8>,
}

impl Link {
    /// Along another pair from now on. Inside a runtime only.
    pub async fn set(&self, stream: StdStream) -> io::Result<()> {
        sys::set_nonblocking(&stream)?;
        let line = Line {
            stream: BufReader::new(UnixStream::from_std(stream)?),
            late: 0,
            reply: Vec::new(),
        };
        *self.0.lock().await = Some(line);
        Ok(())
    }

    /// Asks, and waits for the reply.
    pub async fn ask(&self, command: Command) -> Reply {
        let mut place = self.0.lock().await;
        let Some(line) = place.as_mut() else {
            return unavailable("the process that would know is being restarted");
        };
        match timeout(ANSWER_WITHIN, line.exchange(command)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                *place = None;
                unavailable(&format!("the process that would know is gone: {error}"))
            }
            Err(_) => unavailable("the daemon does not answer"),
        }
    }
}

fn unavailable(problem: &str) -> Reply {
    Reply::failed(Failure::Unavailable, problem, "try again; see the log")
}

impl Line {
    async fn exchange(&mut self, command: Command) -> io::Result<Reply> {
        while self.late > 0 {
            self.read().await?;
        }
        let protocol = VERSION;
        let mut line = serde_json::to_vec(&Request { protocol, command })?;
        line.push(b'\n');
        // Whoever stops waiting leaves a reply behind. A line is far shorter than the socket's
        // buffer, so it goes as a whole.
        self.late = 1;
        self.stream.get_mut().write_all(&line).await?;
        let answer = self.read().await?;
        let response: Response = serde_json::from_slice(&answer)?;
        Ok(response.reply)
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let room = REPLY_BYTES_MAX.saturating_sub(self.reply.len() as u64);
        let mut bounded = (&mut self.stream).take(room);
        bounded.read_until(b'\n', &mut self.reply).await?;
        if self.reply.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.late = self.late.saturating_sub(1);
        Ok(std::mem::take(&mut self.reply))
    }
}
