//! A line that is UDP: CESoPSN (RFC 5086) to one far end, on a connected socket, so that the system
//! drops what others send. The session keeps the time ([`crate::pri::Clocking::Line`] for the
//! span).

use super::port::{Brought, Line};
use crate::base::Instant;
use crate::os::sys;
use crate::pri::Unit;
use crate::pri::cesopsn::{Input, Output, Session};
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use tokio::io::unix::AsyncFd;

/// Longer than any packet, so that longer datagrams are cut and counted as malformed.
const DATAGRAM_MAX: usize = 2048;

/// Datagrams between two looks at the clock.
const DATAGRAMS_MAX: usize = 64;

/// What such a line counted, beside its session.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct UdpCounters {
    /// Packets that the system did not take: no room, no route.
    pub send_failed: u64,
    /// Times that the far end's host said that nobody listens there.
    pub refused: u64,
}

/// One end of a pseudowire.
#[derive(Debug)]
pub struct CesopsnLine {
    socket: AsyncFd<UdpSocket>,
    session: Session,
    counters: UdpCounters,
}

impl CesopsnLine {
    /// Takes over a connected socket. Inside a runtime only.
    #[allow(unsafe_code)]
    pub fn new(socket: UdpSocket, session: Session) -> io::Result<Self> {
        socket.peer_addr()?;
        sys::set_nonblocking(&socket)?;
        Ok(Self {
            // SAFETY: a `UdpSocket` always names the same open file, and nobody takes it out.
            socket: unsafe { AsyncFd::register(socket) }?,
            session,
            counters: UdpCounters::default(),
        })
    }

    /// The session, for its counters and for the alarms of a line that is behind the span.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// What was counted.
    pub fn counters(&self) -> UdpCounters {
        self.counters
    }

    fn drain(&mut self) -> Option<Brought> {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Packet(bytes) => self.transmit(&bytes),
                Output::Unit(unit) => return Some(Brought::Unit(unit)),
                Output::Alarms(alarms) => return Some(Brought::Alarms(alarms)),
            }
        }
        None
    }

    /// A packet that is not sent is one that the network lost.
    fn transmit(&mut self, bytes: &[u8]) {
        match self.socket.get_ref().send(bytes) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.counters.refused += 1;
            }
            Err(_) => self.counters.send_failed += 1,
            Ok(_) => {}
        }
    }
}

impl Line for CesopsnLine {
    fn receive(&mut self, now: Instant) -> io::Result<Option<Brought>> {
        let mut bytes = [0; DATAGRAM_MAX];
        for _ in 0..DATAGRAMS_MAX {
            if let Some(brought) = self.drain() {
                return Ok(Some(brought));
            }
            match self.socket.get_ref().recv(&mut bytes) {
                Ok(count) => {
                    let bytes = bytes.get(..count).unwrap_or(&bytes);
                    self.session.handle_input(Input::Packet { now, bytes });
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    self.counters.refused += 1;
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => break,
                    _ => return Err(error),
                },
            }
        }
        if self.session.poll_timeout() <= now {
            self.session.handle_timeout(now);
        }
        Ok(self.drain())
    }

    fn send(&mut self, now: Instant, unit: &Unit) -> io::Result<()> {
        self.session.handle_input(Input::Unit { now, unit });
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        Some(self.session.poll_timeout())
    }

    async fn ready(&mut self) -> io::Result<()> {
        // Cleared before what waits is read; what a flood leaves behind waits for the next
        // millisecond, which comes anyway.
        self.socket.readable().await?.clear_ready();
        Ok(())
    }
}
