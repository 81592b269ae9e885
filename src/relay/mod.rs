//! F3: relays RTP between the two sides of a call (RFC 3550), as a machine without sockets.
//!
//! The signalling side picks ports from its [`PortPool`], points both session descriptions to them
//! ([`anchor`]), and tells the media side with a [`MediaCommand`]. The media side feeds packets to
//! [`Relay::process`] and sends what the [`Verdict`] says.
//!
//! # Whom a port listens to
//! Each port learns where its peer really sends from (symmetric RTP, RFC 4961) only in a short
//! window after it was opened or updated, and only from sources that make sense; then source
//! and SSRC are locked, and packets from elsewhere are dropped and counted.
//!
//! # The fast path
//! Where a driver has the network card's rings, whole Ethernet frames go through [`frame`]. Streams
//! begin on sockets; once both peers are settled the relay asks for a flow ([`FlowOrder`]), and
//! takes it back before anything changes.
//!
//! # SRTP
//! Streams under keys of ours ([`LegSpec::keys`]) are decrypted as they come and encrypted as they
//! leave. A packet must be genuine before anything is learned from it. Sockets and fast path share
//! what is kept under a key ([`crate::srtp::Shared`]): either goes on where the other was.
//!
//! Not done here: sockets (`os::relay`), choosing ports for a call (`call`), agreeing on keys
//! (`ng`).

pub mod anchor;
mod channel;
mod command;
mod core;
mod datagram;
pub mod frame;
mod latch;
mod offload;
mod pool;
mod quality;
mod receiver;
mod reports;
mod session;
mod stats;

pub use self::channel::Lane;
pub use self::core::{Relay, RelaySettings, Verdict};
pub use command::{
    BindError, Blocked, Direction, Failure, Learning, LegSpec, MediaCommand, MediaEvent, MediaKind,
    MediaSpec, Side, Silent, SocketAction,
};
pub use datagram::Datagram;
pub use frame::process;
pub use offload::{FlowNews, FlowOrder, Stream};
pub use pool::PortPool;
pub use quality::mean_opinion_score;
pub use stats::{DROP_REASONS, DropReason, Heard, Hears, LegStats, Mean, RoundTrip, StreamStats};

/// Where the sides stand in the names of legs of ours that are put between the two sides of a
/// session: above what sessions are counted by.
const LEG_BITS: [u64; 2] = [1 << 48, 1 << 49];
/// Above them stands the stream.
const STREAM_SHIFT: u32 = 50;
const STREAM_BITS: u64 = (STREAMS_MAX as u64 - 1) << STREAM_SHIFT;
const _: () = assert!(STREAMS_MAX.is_power_of_two() && STREAMS_MAX <= 64);

/// The name of what is heard of one stream of a session, both sides of it. That of the first is the
/// session's.
pub const fn tap_of(session: u64, stream: usize) -> u64 {
    session | (stream as u64) << STREAM_SHIFT & STREAM_BITS
}

/// The name of our leg toward one side of a stream, where legs of ours stand between the two.
pub const fn leg_toward(session: u64, stream: usize, side: Side) -> u64 {
    let [caller, called] = LEG_BITS;
    match side {
        Side::Caller => tap_of(session, stream) | caller,
        Side::Called => tap_of(session, stream) | called,
    }
}

/// All names of a session with so many streams.
pub fn legs_of(session: u64, streams: usize) -> impl Iterator<Item = u64> {
    (0..streams.min(STREAMS_MAX)).flat_map(move |stream| {
        let [caller, called] = Side::BOTH.map(|side| leg_toward(session, stream, side));
        [caller, called, tap_of(session, stream)]
    })
}

/// The session that a leg belongs to; of any other name itself.
pub const fn session_of_leg(leg: u64) -> u64 {
    let [caller, called] = LEG_BITS;
    leg & !(caller | called | STREAM_BITS)
}

/// The stream of a leg.
pub const fn stream_of_leg(leg: u64) -> usize {
    ((leg & STREAM_BITS) >> STREAM_SHIFT) as usize
}

/// The side that a leg faces, if that is the name of one.
pub const fn side_of_leg(leg: u64) -> Option<Side> {
    let [caller, called] = LEG_BITS;
    match (leg & caller != 0, leg & called != 0) {
        (true, false) => Some(Side::Caller),
        (false, true) => Some(Side::Called),
        (false, false) | (true, true) => None,
    }
}

/// The most streams of one session that are relayed; as many as a description may hold.
pub const STREAMS_MAX: usize = crate::wire::sdp::MEDIA_MAX;

#[cfg(test)]
mod learning_tests;
#[cfg(test)]
mod srtp_tests;
#[cfg(test)]
mod tap_tests;
#[cfg(test)]
mod tests;
