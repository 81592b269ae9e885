//! Which streams a fast path carries: those between two peers that are settled, of which nothing
//! needs a look inside. Their ports stay bound, so that each packet that the fast path leaves
//! alone, and each stream that found no place there, goes on by sockets.
//!
//! ```text
//!              both peers locked          Installed
//!   Sockets ------- Install ----> Asked ------------> Carried --. Query, Counted, now and then
//!      ^  ^                        | |                  |  ^----'
//!      |  '------- Refused --------' '---- Remove ------+ the session changes or ends, or
//!      |                                                v Elsewhere: the receiver has moved
//!      '------------------- Removed ---------------- Leaving
//! ```
//! What the fast path counted is part of a side's figures: what it told last while it carries, and
//! what it told at the end. A session that ends is closed when all its flows have told.

use super::command::Side;
use super::frame;
use super::frame::{FlowStats, Security};
use super::stats::{DropReason, LegStats};
use crate::base::Key;
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How often a stream is looked at that may come onto the fast path.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// After so many looks it is looked at as rarely as one that is there.
pub(super) const RETRIES_MAX: u8 = 10;
/// How often a flow is asked what it counted, if silence need not be known sooner.
pub(super) const POLL: Duration = Duration::from_secs(5);

/// What the driver of the fast path must do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FlowOrder {
    /// Carry a stream; answered by [`FlowNews::Installed`] or [`FlowNews::Refused`].
    Install(Stream),
    /// Tell what a flow counted, by [`FlowNews::Counted`].
    Query {
        /// Our port.
        port: u16,
    },
    /// Let go; always answered by [`FlowNews::Removed`], even where nothing was installed.
    Remove {
        /// Our port.
        port: u16,
    },
}

/// One direction of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Our address that the sender knows; unspecified if the port is bound to all.
    pub bind: IpAddr,
    /// Our port that the sender knows.
    pub port: u16,
    /// The sender.
    pub source: SocketAddr,
    /// Our address toward the receiver; unspecified if the port is bound to all.
    pub onward_bind: IpAddr,
    /// Our port toward the receiver.
    pub onward_port: u16,
    /// The receiver.
    pub destination: SocketAddr,
    /// The clock of dynamic payload types, in Hz.
    pub clock_rate: u32,
    /// Whether RTCP comes by the same port: it is for the relay.
    pub has_rtcp: bool,
    /// What takes SRTP off and puts it on; neither, where it is SRTP of which the peers alone have
    /// the keys.
    pub security: Option<Security>,
}

/// What the driver says about the flow of one port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowNews {
    /// The fast path carries it.
    Installed,
    /// It stays on sockets, for now.
    Refused,
    /// What it counted so far.
    Counted(FlowStats),
    /// Packets to the receiver do not leave by the card any more, or not by a way that is known:
    /// the flow shall go, for sockets find theirs.
    Elsewhere,
    /// It is gone; what it counted, if it was there.
    Removed(Option<FlowStats>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Asked,
    Carried,
    Leaving,
}

/// The flow of one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortFlow {
    pub(super) session: Key,
    pub(super) side: Side,
    pub(super) state: State,
    /// What it told last.
    pub(super) told: FlowStats,
}

/// The flows of one worker's ports. Orders, news and looks come here; packets do not.
#[derive(Debug, Default)]
pub(super) struct FastPath {
    /// By our port.
    flows: BTreeMap<u16, PortFlow>,
    orders: VecDeque<FlowOrder>,
}

impl FastPath {
    pub(super) fn get(&self, port: u16) -> Option<&PortFlow> {
        self.flows.get(&port)
    }

    pub(super) fn poll_order(&mut self) -> Option<FlowOrder> {
        self.orders.pop_front()
    }

    /// Asks for a stream to be carried; its port must have no flow.
    pub(super) fn install(&mut self, stream: Stream, session: Key, side: Side) {
        let told = FlowStats::default();
        let state = State::Asked;
        let flow = PortFlow {
            session,
            side,
            state,
            told,
        };
        self.flows.insert(stream.port, flow);
        self.orders.push_back(FlowOrder::Install(stream));
    }

    pub(super) fn query(&mut self, port: u16) {
        self.orders.push_back(FlowOrder::Query { port });
    }

    /// Asks for the flow of a port to go; whether there is one that will tell.
    pub(super) fn leave(&mut self, port: u16) -> bool {
        let Some(flow) = self.flows.get_mut(&port) else {
            return false;
        };
        if flow.state != State::Leaving {
            flow.state = State::Leaving;
            self.orders.push_back(FlowOrder::Remove { port });
        }
        true
    }

    /// Takes what the driver says. Gives the flow if it is gone, with its last figures in it.
    pub(super) fn on_news(&mut self, port: u16, news: FlowNews) -> Option<PortFlow> {
        let Entry::Occupied(mut place) = self.flows.entry(port) else {
            return None;
        };
        let flow = place.get_mut();
        match (news, flow.state) {
            (FlowNews::Installed, State::Asked) => flow.state = State::Carried,
            (FlowNews::Refused, State::Asked) => return Some(place.remove()),
            (FlowNews::Counted(stats), State::Carried | State::Leaving) => flow.told = stats,
            (FlowNews::Removed(stats), State::Leaving) => {
                flow.told = stats.unwrap_or(flow.told);
                return Some(place.remove());
            }
            // The driver's own order has it that these come too late.
            (
                FlowNews::Installed
                | FlowNews::Refused
                | FlowNews::Counted(_)
                | FlowNews::Elsewhere,
                _,
            )
            | (FlowNews::Removed(_), State::Asked | State::Carried) => {}
        }
        None
    }

    /// The driver is gone: the flow of each port, with what it told last.
    pub(super) fn into_flows(self) -> BTreeMap<u16, PortFlow> {
        self.flows
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }
}

/// Adds what a flow counted to the figures of the side that sends and of the one that receives.
pub(super) fn add(stats: &FlowStats, sender: &mut LegStats, receiver: &mut LegStats) {
    sender.packets_in += stats.packets;
    sender.bytes_in += stats.bytes;
    sender.lost += stats.lost;
    sender.ssrc_changes = sender.ssrc_changes.saturating_add(stats.ssrc_changes);
    for reason in frame::DropReason::ALL {
        let count = stats.dropped.get(reason.index()).copied().unwrap_or(0);
        let place = sender.dropped.get_mut(counted_as(reason).index());
        if let Some(place) = place {
            *place += u64::from(count);
        }
    }
    receiver.packets_out += stats.packets;
    receiver.bytes_out += stats.bytes;
}

/// The reason of the same meaning that sockets' packets have.
fn counted_as(reason: frame::DropReason) -> DropReason {
    match reason {
        frame::DropReason::Stray => DropReason::Stray,
        frame::DropReason::Inactive => DropReason::Inactive,
        frame::DropReason::Malformed | frame::DropReason::Expired | frame::DropReason::Checksum => {
            DropReason::Malformed
        }
        frame::DropReason::Srtp => DropReason::Srtp,
        frame::DropReason::NoRoom => DropReason::SendFailed,
    }
}

#[cfg(test)]
mod tests;
