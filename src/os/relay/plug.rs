//! The ports of one relay: bound, connected and sent from by us, or by the broker for us. Once a
//! port's peer is settled it is connected: the system looks up no route for its packets any more,
//! and they need no broker.

use super::idle::IdlePorts;
use super::poller::Poller;
use super::{LINE, Port};
use crate::base::Instant;
use crate::os::ipc::{Channel, DESCRIPTORS_MAX, PortAnswer, PortRequest};
use crate::os::privsep::client::{Connected, PortLine};
use crate::relay::Relay;
use crate::server::Carrier;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Of every so many packets that come one has the loss of its port looked at: a call's is known
/// within seconds, for a system call in hundreds. A prime, lest it fall in step with the ports.
const PACKETS_PER_LOOK: u8 = 61;

/// A bound port and another descriptor of it.
pub type Bound = (u16, OwnedFd);

/// Whether a port can be disconnected and stay bound. FreeBSD forgets the local address, so ports
/// of ours are not connected there: they could serve no other session afterwards.
const CONNECTS: bool = cfg!(target_os = "linux");

#[derive(Debug)]
struct Slot {
    port: Port,
    address: SocketAddr,
    session: u64,
    /// Where it is connected.
    connected: Option<SocketAddr>,
    /// Whether it was tried to.
    asked: bool,
}

#[derive(Debug)]
pub(super) struct Plug {
    slots: Vec<Option<Slot>>,
    /// Ports of sessions that ended; with a broker there are none, for it knows what is bound.
    idle: Option<Arc<IdlePorts>>,
    line: Option<PortLine>,
    /// Packets that left.
    sent: u64,
    /// Packets that the system dropped before we had them.
    lost: u64,
    /// How many packets came since that was looked at.
    unlooked: u8,
}

impl Plug {
    /// Without idle ports, a broker binds and connects.
    pub(super) fn new(idle: Option<Arc<IdlePorts>>) -> Self {
        Self {
            slots: (0..=u16::MAX).map(|_| None).collect(),
            idle,
            line: None,
            sent: 0,
            lost: 0,
            unlooked: 0,
        }
    }

    /// How many packets left.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many packets the system dropped, as far as was looked.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// A packet came to a port. The loss of those that are given back is known anyway.
    pub(super) fn count(&mut self, number: u16) {
        self.unlooked += 1;
        if self.unlooked >= PACKETS_PER_LOOK {
            self.unlooked = 0;
            let lost = self.port(number).map_or(0, Port::lost);
            self.lost += lost;
        }
    }

    fn slot(&self, number: u16) -> Option<&Slot> {
        self.slots.get(usize::from(number))?.as_ref()
    }

    fn slot_mut(&mut self, number: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(number))?.as_mut()
    }

    pub(super) fn port(&self, number: u16) -> Option<&Port> {
        self.slot(number).map(|slot| &slot.port)
    }

    /// The session that has the port.
    pub(super) fn holder(&self, number: u16) -> Option<u64> {
        self.slot(number).map(|slot| slot.session)
    }

    /// Every bound port, for a new broker.
    pub(super) fn bound(&self) -> Vec<Bound> {
        let slots = self.slots.iter().flatten();
        let all = slots.filter_map(|s| Some((s.address.port(), s.port.try_clone_fd().ok()?)));
        all.collect()
    }

    /// Talks to a new broker from now on.
    pub(super) fn set_line(&mut self, line: Channel, poller: &Poller) -> io::Result<()> {
        self.line = None;
        let line = PortLine::new(line)?;
        poller.add(line.raw(), LINE)?;
        self.line = Some(line);
        for slot in self.slots.iter_mut().flatten() {
            slot.asked = false;
        }
        Ok(())
    }

    /// Takes what the broker said.
    pub(super) fn on_line(&mut self) {
        while let Some(line) = &mut self.line {
            match line.receive() {
                Ok(None) => return,
                Ok(Some((PortAnswer::Connected(port, to, done), _))) => {
                    self.on_connected((port, to, done));
                }
                // The answer to a question that we gave up; its descriptors are closed.
                Ok(Some((PortAnswer::Bound(_), _))) => {}
                Err(error) => {
                    tracing::warn!("the broker is gone: {error}");
                    self.line = None;
                }
            }
        }
    }

    fn on_connected(&mut self, (number, to, done): Connected) {
        if let Some(slot) = self.slot_mut(number)
            && slot.asked
        {
            slot.asked = false;
            slot.connected = done.then_some(to);
        }
    }

    /// Binds; what could not be, and why.
    pub(super) fn bind(
        &mut self,
        wanted: &[SocketAddr],
        session: u64,
        poller: &Poller,
    ) -> Vec<(SocketAddr, io::Error)> {
        let mut failed = Vec::new();
        for part in wanted.chunks(DESCRIPTORS_MAX) {
            let made = self.make(part, poller);
            for (&address, port) in part.iter().zip(made) {
                match port {
                    Ok(port) => self.put(port, address, session),
                    Err(error) => failed.push((address, error)),
                }
            }
        }
        failed
    }

    fn put(&mut self, port: Port, address: SocketAddr, session: u64) {
        if let Some(place) = self.slots.get_mut(usize::from(address.port())) {
            *place = Some(Slot {
                port,
                address,
                session,
                connected: None,
                asked: false,
            });
        }
    }

    /// A port of each address, in the poller.
    fn make(&mut self, wanted: &[SocketAddr], poller: &Poller) -> Vec<io::Result<Port>> {
        if let Some(idle) = &self.idle {
            let each = wanted.iter().map(|&address| bind(address, idle, poller));
            return each.collect();
        }
        let asked = match &mut self.line {
            Some(line) => line.bind(wanted),
            None => Err(io::Error::other("the broker is being restarted")),
        };
        match asked {
            Ok((bound, meanwhile)) => {
                meanwhile.into_iter().for_each(|c| self.on_connected(c));
                let ports = bound.into_iter().zip(wanted);
                let ports = ports.map(|(fd, &to)| added(Port::from_fd(fd?), to, poller));
                ports.collect()
            }
            Err(error) => {
                let text = error.to_string();
                let each = wanted.iter().map(|_| Err(io::Error::other(text.clone())));
                each.collect()
            }
        }
    }

    pub(super) fn release(&mut self, now: Instant, number: u16, poller: &Poller) {
        let slot = self.take_out(number);
        if let (Some(idle), Some(slot)) = (&self.idle, slot) {
            if slot.connected.is_some() {
                slot.port.disconnect();
            }
            idle.put(now, slot.port, slot.address, poller);
        }
        self.tell(&PortRequest::Release(number));
    }

    fn take_out(&mut self, number: u16) -> Option<Slot> {
        let slot = self.slots.get_mut(usize::from(number))?.take()?;
        self.lost += slot.port.lost();
        Some(slot)
    }

    /// Drops what came for a port that no session has.
    pub(super) fn discard(&self, number: u16) {
        if let Some(idle) = &self.idle {
            idle.discard(number);
        }
    }

    fn tell(&self, request: &PortRequest<'_>) {
        if let Some(line) = &self.line
            && let Err(error) = line.ask(request)
        {
            tracing::debug!("the broker does not listen: {error}");
        }
    }

    /// Takes packets from anybody until the next command about the port. Not on FreeBSD, where it
    /// would have to be bound anew.
    pub(super) fn listen(&mut self, number: u16) {
        let Some(slot) = self.slot_mut(number).filter(|_| CONNECTS) else {
            return;
        };
        if slot.connected.take().is_some() {
            // So that it is not connected again by what is sent there.
            slot.asked = true;
            self.disconnect(number);
        }
    }

    /// Linux keeps a local address that was bound (connect(2), AF_UNSPEC).
    fn disconnect(&self, number: u16) {
        match self.port(number).filter(|_| self.idle.is_some()) {
            Some(ours) => ours.disconnect(),
            None => self.tell(&PortRequest::Disconnect(number)),
        }
    }

    /// After a command about a port: takes packets from anybody again, unless its peer is still
    /// settled.
    pub(super) fn unlatch(&mut self, number: u16, locked: Option<SocketAddr>, poller: &Poller) {
        let Some(slot) = self.slot_mut(number) else {
            return;
        };
        let stays = locked.is_some() && slot.connected == locked;
        if stays || slot.connected.is_none() && !slot.asked {
            return;
        }
        slot.connected = None;
        slot.asked = false;
        if CONNECTS {
            return self.disconnect(number);
        }
        // FreeBSD forgets it (udp_disconnect in sys/netinet/udp_usrreq.c sets INADDR_ANY), so the
        // port is bound anew.
        let (address, session) = (slot.address, slot.session);
        self.take_out(number);
        self.tell(&PortRequest::Release(number));
        for (address, error) in self.bind(&[address], session, poller) {
            tracing::warn!("cannot bind media port {address} again: {error}");
        }
    }

    /// Sends; `locked` tells whether the port's peer is settled.
    pub(super) fn send(
        &mut self,
        number: u16,
        to: SocketAddr,
        packet: &[u8],
        locked: impl FnOnce() -> Option<SocketAddr>,
    ) -> bool {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(number)) else {
            return false;
        };
        if slot.connected == Some(to) {
            // An error may be that of an earlier packet (ICMP), which is taken off by it.
            let sent = slot.port.send_connected(packet);
            return sent.or_else(|_| slot.port.send_connected(packet)).is_ok();
        }
        if self.idle.is_some() {
            if CONNECTS && !slot.asked && locked() == Some(to) {
                slot.asked = true;
                slot.connected = slot.port.connect(to).ok().map(|()| to);
            }
            return slot.port.send(to, packet).is_ok();
        }
        let Some(line) = &self.line else {
            return false;
        };
        let sent = line.send_packet(number, to, packet).is_ok();
        if !slot.asked && slot.connected.is_none() && locked() == Some(to) {
            slot.asked = line.ask(&PortRequest::Connect(number, to)).is_ok();
        }
        sent
    }
}

impl Carrier for Plug {
    fn carry(&mut self, relay: &Relay, from_port: u16, to: SocketAddr, packet: &[u8]) -> bool {
        let sent = self.send(from_port, to, packet, || relay.locked_peer(from_port));
        self.sent += u64::from(sent);
        sent
    }
}

/// Binds, unless the port is bound already.
fn bind(address: SocketAddr, idle: &IdlePorts, poller: &Poller) -> io::Result<Port> {
    if let Some(port) = idle.take(address, poller) {
        return Ok(port);
    }
    let port = Port::bind(address).or_else(|error| match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS) if idle.clear() => Port::bind(address),
        _ => Err(error),
    });
    let port = added(port?, address, poller)?;
    idle.bound();
    Ok(port)
}

fn added(port: Port, address: SocketAddr, poller: &Poller) -> io::Result<Port> {
    poller.add(port.raw(), u32::from(address.port()))?;
    Ok(port)
}
