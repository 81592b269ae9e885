//! How the daemon's processes speak with each other: one typed message per packet of a
//! SOCK_SEQPACKET pair (unix(4), unix(7)), written by postcard, with descriptors beside it
//! (SCM_RIGHTS). Sizes and counts are bounded; what does not fit the types is malformed.
//!
//! Each packet is sent with MSG_EOR: FreeBSD ends a record there, Linux ends one with each call.

#![allow(unsafe_code)]

mod message;

pub use message::*;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// The longest message in bytes: a batch of datagrams, one of which may have 65 507 bytes.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// A batch is sent before it outgrows this, so that one more datagram always fits.
pub const BATCH_BYTES: usize = 48 * 1024;
/// The most descriptors of one message.
pub const DESCRIPTORS_MAX: usize = 32;
/// Room for more than a system ever passes with one message (Linux: SCM_MAX_FD, 253; FreeBSD: what
/// fits into a cluster of 2048 bytes), so that none is lost unseen, and open.
const DESCRIPTORS_ROOM: usize = 512;
/// What the system may hold for a pair; FreeBSD refuses messages that are longer (EMSGSIZE).
pub const SOCKET_BUFFER_BYTES: usize = 1 << 20;

/// Why nothing was received.
#[derive(Debug)]
pub enum IpcError {
    /// The other side is gone.
    Closed,
    /// The other side does not keep to the types. It or we have a fault: the role ends.
    Malformed(&'static str),
    /// The system refuses.
    System(io::Error),
}

impl fmt::Display for IpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpcError::Closed => f.write_str("the other process is gone"),
            IpcError::Malformed(what) => write!(f, "malformed message: {what}"),
            IpcError::System(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IpcError {}

impl From<io::Error> for IpcError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => IpcError::Closed,
            _ => IpcError::System(error),
        }
    }
}

/// One end of a pair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends of a new pair, blocking, not inherited by programs that are executed.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (one, two) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        for fd in [&one, &two] {
            let socket = socket2::SockRef::from(fd);
            // Linux cuts what is too large, FreeBSD's limit is kern.ipc.maxsockbuf (2 MB).
            socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
            socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        }
        Ok((Channel(one), Channel(two)))
    }

    /// Takes over a descriptor that must be such a socket.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Channel(fd)
    }

    /// Another descriptor of the same end.
    pub fn try_clone(&self) -> io::Result<Channel> {
        Ok(Channel(self.0.try_clone()?))
    }

    /// The descriptor.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Whether calls return at once.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        socket2::SockRef::from(&self.0).set_nonblocking(on)
    }

    /// How long a blocking call may wait.
    pub fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        let socket = socket2::SockRef::from(&self.0);
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))
    }

    /// Sends one message with its descriptors.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = encode(message)?;
        self.send_bytes(&bytes, fds)
    }

    /// Sends one encoded message.
    pub fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let flags = libc::MSG_EOR | libc::MSG_NOSIGNAL;
        if fds.is_empty() {
            // Without an address and without sendmsg: what a sandbox lets through.
            // SAFETY: the bytes outlive the call, which reads them only.
            let n = unsafe {
                libc::send(
                    self.0.as_raw_fd(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                    flags,
                )
            };
            return if n < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(())
            };
        }
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let vectors = [IoSlice::new(bytes)];
        let flags = MsgFlags::MSG_EOR | MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(self.0.as_raw_fd(), &vectors, &rights, flags, None)?;
        Ok(())
    }

    /// Receives one message into `buffer`; its length, and the descriptors beside it.
    pub fn receive_bytes(&self, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), IpcError> {
        let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_ROOM]);
        let mut vectors = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = self.0.as_raw_fd();
        let message =
            recvmsg::<()>(fd, &mut vectors, Some(&mut space), flags).map_err(io::Error::from)?;
        let mut fds = Vec::new();
        // Taken over first, so that they are closed whatever else is wrong.
        let broken = match message.cmsgs() {
            Ok(all) => {
                for control in all {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        // SAFETY: the system has just made these descriptors for us.
                        fds.extend(raw.iter().map(|&fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                false
            }
            Err(_) => true,
        };
        if broken || fds.len() > DESCRIPTORS_MAX {
            return Err(IpcError::Malformed("too many descriptors"));
        }
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(IpcError::Malformed("too long"));
        }
        match message.bytes {
            0 if fds.is_empty() => Err(IpcError::Closed),
            0 => Err(IpcError::Malformed("empty")),
            n => Ok((n, fds)),
        }
    }

    /// Receives one message, with any number of descriptors up to [`DESCRIPTORS_MAX`].
    pub fn receive<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), IpcError> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let (n, fds) = self.receive_bytes(&mut buffer)?;
        let message = decode(buffer.get(..n).unwrap_or_default())?;
        Ok((message, fds))
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One message as bytes.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_extend(message, Vec::new()).map_err(io::Error::other)?;
    match bytes.len() {
        0..=MESSAGE_BYTES_MAX => Ok(bytes),
        n => Err(io::Error::other(format!("a message of {n} bytes"))),
    }
}

/// One message from bytes, all of them.
pub fn decode<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, IpcError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(IpcError::Malformed("bytes after the end")),
        Err(_) => Err(IpcError::Malformed("not of the type")),
    }
}

/// An end of a pair within a runtime.
#[derive(Debug)]
pub struct AsyncChannel {
    fd: AsyncFd<Channel>,
}

impl AsyncChannel {
    /// Takes over an end. Inside a runtime only.
    pub fn new(channel: Channel) -> io::Result<Self> {
        channel.set_nonblocking(true)?;
        // SAFETY: a `Channel` always names the same open file, and nobody takes it out.
        let fd = unsafe { AsyncFd::register(channel) }?;
        Ok(Self { fd })
    }

    /// Sends when there is room.
    pub async fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = encode(message)?;
        loop {
            let mut guard = self.fd.writable().await?;
            match guard.try_io(|channel| channel.get_ref().send_bytes(&bytes, fds)) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Waits for one message; its length in `buffer`, and its descriptors.
    pub async fn receive_bytes(
        &self,
        buffer: &mut [u8],
    ) -> Result<(usize, Vec<OwnedFd>), IpcError> {
        loop {
            let mut guard = self.fd.readable().await?;
            match guard.get_inner().receive_bytes(buffer) {
                Err(IpcError::System(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                }
                Err(IpcError::System(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Waits for one message and its descriptors.
    pub async fn receive<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), IpcError> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let (n, fds) = self.receive_bytes(&mut buffer).await?;
        Ok((decode(buffer.get(..n).unwrap_or_default())?, fds))
    }

    /// The end itself.
    pub fn get(&self) -> &AsyncFd<Channel> {
        &self.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair that rather fails than waits for ever.
    fn pair() -> io::Result<(Channel, Channel)> {
        let (one, two) = Channel::pair()?;
        one.set_timeout(Duration::from_secs(5))?;
        two.set_timeout(Duration::from_secs(5))?;
        Ok((one, two))
    }

    #[test]
    fn a_message_brings_its_descriptors() {
        let (one, two) = pair().unwrap();
        let (gift, peer) = pair().unwrap();
        one.send(&ToRole::Stop, &[gift.as_fd()]).unwrap();
        let (message, fds) = two.receive::<ToRole>().unwrap();
        assert!(matches!(message, ToRole::Stop));
        assert_eq!(fds.len(), 1);
        drop((gift, fds));
        assert!(matches!(peer.receive::<ToRole>(), Err(IpcError::Closed)));
    }

    #[test]
    fn what_is_not_of_the_type_is_malformed() {
        let (one, two) = pair().unwrap();
        for bytes in [&[250, 1, 2][..], &[]] {
            let mut long = encode(&ToRole::Stop).unwrap();
            long.extend(bytes);
            let bytes = if bytes.is_empty() {
                &[0xff; 9][..]
            } else {
                &long
            };
            one.send_bytes(bytes, &[]).unwrap();
            let error = two.receive::<ToRole>().unwrap_err();
            assert!(matches!(error, IpcError::Malformed(_)), "{error}");
        }
    }

    #[test]
    fn too_many_descriptors_and_too_many_bytes_are_malformed() {
        let (one, two) = pair().unwrap();
        let (gift, peer) = pair().unwrap();
        let many = vec![gift.as_fd(); DESCRIPTORS_MAX + 8];
        one.send(&ToRole::Stop, &many).unwrap();
        let error = two.receive::<ToRole>().unwrap_err();
        assert!(matches!(error, IpcError::Malformed("too many descriptors")));
        drop(gift);
        // None of them was kept.
        assert!(matches!(peer.receive::<ToRole>(), Err(IpcError::Closed)));
        one.send_bytes(&vec![0; MESSAGE_BYTES_MAX + 1], &[])
            .unwrap();
        let error = two.receive::<ToRole>().unwrap_err();
        assert!(matches!(error, IpcError::Malformed("too long")), "{error}");
    }
}
