//! The daemon's side of the control socket.

use crate::control::{Command, Failure, REQUEST_BYTES_MAX, Reply, Request, Response, VERSION};
use crate::os::sys;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Clients at a time; more are told to come back.
pub const CONNECTIONS_MAX: usize = 16;

/// How long a client may say nothing.
const IDLE: Duration = Duration::from_secs(300);

/// How long a command may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// How long a client may take to read a reply.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// A command, and where its reply goes.
#[derive(Debug)]
pub struct Asked {
    /// What the operator wants.
    pub command: Command,
    /// Takes the one reply; the client may be gone.
    pub reply: oneshot::Sender<Reply>,
}

/// A bound socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Binds `path`, in place of a socket that nobody answers any more. Must be called within a
    /// tokio runtime.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = listen(path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: path.to_path_buf(),
        })
    }

    /// Takes over a socket that [`listen`] made in another process, which removes its file.
    pub fn inherited(listener: StdListener) -> io::Result<Self> {
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: PathBuf::new(),
        })
    }

    /// Serves until the receiving end of `asks` is dropped.
    pub async fn run(self, asks: mpsc::Sender<Asked>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = asks.closed() => return,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors: others must close some first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let asks = asks.clone();
                    tokio::spawn(async move {
                        let _ = serve(stream, asks, Some(IDLE)).await;
                        drop(place);
                    });
                }
                Err(_) => drop(tokio::spawn(refuse(stream))),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds the socket file. Sets the mode between bind and listen, so that nobody else connects
/// before.
pub fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    if let Some(dir) = path.parent()
        && !dir.as_os_str().is_empty()
        && !dir.is_dir()
    {
        DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    }
    make_way(path)?;
    let address = SockAddr::unix(path).map_err(|_| {
        let problem = "the path is too long for a socket; shorten [admin] socket";
        io::Error::new(io::ErrorKind::InvalidInput, problem)
    })?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    socket.listen(CONNECTIONS_MAX as i32)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Removes a socket that a killed daemon left behind; nothing else.
fn make_way(path: &Path) -> io::Result<()> {
    let Ok(found) = path.symlink_metadata() else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        let problem = "is there, and is no socket; move it away";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
    }
    match StdStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(e) => Err(e),
        Ok(_) => {
            let problem = "another voipd answers there; stop it first";
            Err(io::Error::new(io::ErrorKind::AddrInUse, problem))
        }
    }
}

async fn refuse(mut stream: UnixStream) {
    let problem = format!("{CONNECTIONS_MAX} others are connected");
    let reply = Reply::failed(Failure::Unavailable, problem, "try again");
    let _ = send(&mut stream, reply).await;
}

/// Serves the other end of a [`super::Link`], which may stay silent, until it is gone. Inside a
/// runtime only.
pub async fn serve_link(stream: StdStream, asks: mpsc::Sender<Asked>) -> io::Result<()> {
    sys::set_nonblocking(&stream)?;
    serve(UnixStream::from_std(stream)?, asks, None).await
}

async fn serve(
    mut stream: UnixStream,
    asks: mpsc::Sender<Asked>,
    idle: Option<Duration>,
) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(REQUEST_BYTES_MAX as u64 + 1);
        let read = bounded.read_until(b'\n', &mut line);
        let read = match idle {
            Some(idle) => timeout(idle, read).await.unwrap_or(Ok(0))?,
            None => read.await?,
        };
        if read == 0 {
            return Ok(());
        }
        if line.len() > REQUEST_BYTES_MAX {
            let problem = format!("the line is longer than {REQUEST_BYTES_MAX} bytes");
            let reply = Reply::failed(Failure::BadCommand, problem, "");
            return send(&mut write, reply).await;
        }
        let reply = match understand(&line) {
            Ok(command) => ask(command, &asks).await,
            Err(reply) => reply,
        };
        send(&mut write, reply).await?;
    }
}

fn understand(line: &[u8]) -> Result<Command, Reply> {
    let request: Request = serde_json::from_slice(line).map_err(|e| {
        let problem = format!("the command is not understood: {e}");
        let remedy = "use the voipctl that belongs to this voipd";
        Reply::failed(Failure::BadCommand, problem, remedy)
    })?;
    if request.protocol != VERSION {
        let found = request.protocol;
        let problem = format!("the command is of version {found}, this voipd speaks {VERSION}");
        let remedy = "use the voipctl that belongs to this voipd";
        return Err(Reply::failed(Failure::BadCommand, problem, remedy));
    }
    Ok(request.command)
}

async fn ask(command: Command, asks: &mpsc::Sender<Asked>) -> Reply {
    let (reply, answer) = oneshot::channel();
    let answered = timeout(ANSWER_WITHIN, async {
        asks.send(Asked { command, reply }).await.ok()?;
        answer.await.ok()
    });
    match answered.await {
        Ok(Some(reply)) => reply,
        Ok(None) => Reply::failed(Failure::Unavailable, "the daemon is stopping", ""),
        Err(_) => {
            let problem = format!("no answer within {} s", ANSWER_WITHIN.as_secs());
            let remedy = "see voipctl status and the log";
            Reply::failed(Failure::Unavailable, problem, remedy)
        }
    }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), reply: Reply) -> io::Result<()> {
    let protocol = VERSION;
    let mut line = serde_json::to_vec(&Response { protocol, reply })?;
    line.push(b'\n');
    timeout(READ_WITHIN, write.write_all(&line)).await?
}
