//! voipctl's side of the control socket.

use crate::control::{Command, Reply, Request, Response, VERSION};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reply is waited for; longer than the daemon lets a command take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest reply that is read, in bytes.
const REPLY_BYTES_MAX: u64 = 256 << 20;

/// Why there is no reply.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers at the socket.
    NotRunning(PathBuf),
    /// We may not open it.
    Forbidden(PathBuf),
    /// The connection broke, or the daemon took too long.
    Broken(io::Error),
    /// What came is no reply of our version.
    NotUnderstood(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NotRunning(path) => write!(
                f,
                "no voipd answers at {}; start it (service voip start), or name its socket with -s",
                path.display()
            ),
            ClientError::Forbidden(path) => write!(
                f,
                "{} may be opened by the group of voipd only; use sudo or doas, or join the group",
                path.display()
            ),
            ClientError::Broken(e) => write!(f, "voipd does not answer: {e}; see its log"),
            ClientError::NotUnderstood(what) => write!(
                f,
                "voipd answered what this voipctl does not know ({what}); use the one that \
                 belongs to it"
            ),
        }
    }
}

impl std::error::Error for ClientError {}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket `path`.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(path.to_path_buf())
            }
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(path.to_path_buf()),
            _ => ClientError::Broken(e),
        })?;
        let patience = Some(PATIENCE);
        stream
            .set_read_timeout(patience)
            .and_then(|()| stream.set_write_timeout(patience))
            .map_err(ClientError::Broken)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a command and waits for its reply.
    pub fn ask(&mut self, command: Command) -> Result<Reply, ClientError> {
        let protocol = VERSION;
        let mut line = serde_json::to_vec(&Request { protocol, command })
            .map_err(|e| ClientError::NotUnderstood(e.to_string()))?;
        line.push(b'\n');
        let stream = self.stream.get_mut();
        stream.write_all(&line).map_err(ClientError::Broken)?;
        let mut answer = Vec::new();
        (&mut self.stream)
            .take(REPLY_BYTES_MAX)
            .read_until(b'\n', &mut answer)
            .map_err(ClientError::Broken)?;
        if answer.is_empty() {
            let gone = io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection");
            return Err(ClientError::Broken(gone));
        }
        let response: Response = serde_json::from_slice(&answer)
            .map_err(|e| ClientError::NotUnderstood(e.to_string()))?;
        if response.protocol != VERSION {
            let what = format!("version {}, not {VERSION}", response.protocol);
            return Err(ClientError::NotUnderstood(what));
        }
        Ok(response.reply)
    }
}
