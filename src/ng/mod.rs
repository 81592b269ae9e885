//! F5: the ng control protocol of rtpengine, by which SIP proxies (Kamailio, OpenSIPS) drive an
//! RTP relay, as a machine without sockets.
//!
//! A proxy sends each session description that passes it as `offer` or `answer`, and gets back one
//! that points to us; `delete` ends the call. A request is a datagram of a cookie and a dictionary
//! ([`message`]); the same cookie again gets the same reply again ([`cache`]).
//!
//! ```text
//! datagram -> Request -> Call, Dialogue -> MediaCommand -> relay
//!                                                            |
//!    reply <- description with our ports <- MediaEvent <-----'
//! ```
//! A reply waits until the relay has the ports; where it cannot have them others are tried.
//!
//! Between RTP and SRTP the relay translates where the client wants it ([`secure`]): keys come and
//! go in the descriptions (SDES, RFC 4568), and nowhere else; neither the log nor an answer to
//! `query` shows one.
//!
//! Both sides of a call can be written to a file ([`record`]), by the studio.
//!
//! Where one side has a codec that the other has not, the studio writes each side's sound as the
//! other wants it ([`transcode`], [`pair`]).
//!
//! Not done here: DTLS, a full ICE agent (`ice` answers checks and makes none),
//! playing, forwarding. Whoever asks for these gets an error, or, where the call goes on
//! without, the log says so once.

mod block;
mod cache;
mod call;
mod codecs;
mod core;
mod describe;
mod exchange;
mod flags;
mod ice;
#[cfg(test)]
mod ice_tests;
mod message;
mod pair;
mod quality;
mod record;
#[cfg(test)]
mod record_tests;
mod request;
mod rtpp;
mod sdes;
mod secure;
#[cfg(test)]
mod srtp_tests;
mod stats;
#[cfg(test)]
mod tests;
mod transcode;
#[cfg(test)]
mod transcode_tests;

pub use self::core::Ng;
pub use request::Command;

use crate::base::Anchor;
use crate::call::Addresses;
use crate::config::IpNet;
use crate::media::{Order, Sound};
use crate::relay::MediaCommand;
use crate::store::Record;
use crate::wire::rtp::Coding;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The sessions of the relay that are ours. Those of calls are counted from one and never come so
/// far; the highest bits are the relays' own.
pub const NG_SESSIONS: RangeInclusive<u64> = 1 << 47..=(1 << 48) - 2;

/// An address of ours with a name, by which clients choose it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// As in `direction`.
    pub name: Box<str>,
    /// What ports are bound to.
    pub bind: IpAddr,
    /// What descriptions name.
    pub shown: IpAddr,
}

/// What a [`Ng`] goes by.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Our addresses.
    pub addresses: Addresses,
    /// Those with names; where there are any, no other is used.
    pub interfaces: Vec<Interface>,
    /// Who is answered.
    pub allow: Vec<IpNet>,
    /// The most calls at a time.
    pub calls_max: usize,
    /// Ties the clock to the calendar.
    pub anchor: Anchor,
    /// For how long a call stays after it was deleted, unless the client says.
    pub delete_delay: Duration,
    /// A call of which nothing is heard for so long is over, be it on hold or never answered.
    pub idle: Duration,
    /// What marks descriptions that we wrote.
    pub mark: Box<str>,
    /// What we can read and write.
    pub codings: &'static [Coding],
    /// The longest recording, milliseconds.
    pub recording_max_ms: u32,
    /// Whose days recordings are sorted by.
    pub timezone: Box<str>,
    /// What both sides hear when a recording begins; nothing, if it is empty.
    pub notice: Vec<Sound>,
}

/// What was counted since the start.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// Requests, by [`Command::index`].
    pub commands: [u64; Command::ALL.len()],
    /// Requests that were answered with an error.
    pub errors: u64,
    /// Datagrams that came again.
    pub repeated: u64,
    /// Datagrams from elsewhere than where they may come from.
    pub refused: u64,
    /// Datagrams that are not of the protocol.
    pub malformed: u64,
    /// Calls that began.
    pub began: u64,
    /// Calls that ended.
    pub ended: u64,
    /// Dialogues that ended since nothing was heard of them.
    pub timeouts: u64,
    /// Recordings that began.
    pub recordings: u64,
    /// Those that could not be written, or not whole.
    pub recordings_failed: u64,
}

impl Counts {
    /// Every count with the name by which listings show it.
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        let commands = Command::ALL.iter().zip(self.commands);
        let mut list: Vec<_> = commands.map(|((.., shown), n)| (*shown, n)).collect();
        list.extend([
            ("ng_errors", self.errors),
            ("ng_repeated", self.repeated),
            ("ng_refused", self.refused),
            ("ng_malformed", self.malformed),
            ("ng_calls_began", self.began),
            ("ng_calls_ended", self.ended),
            ("ng_timeouts", self.timeouts),
            ("ng_recordings", self.recordings),
            ("ng_recordings_failed", self.recordings_failed),
        ]);
        list
    }
}

/// What the machine wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send this.
    Reply {
        /// Whom.
        to: SocketAddr,
        /// What.
        datagram: Vec<u8>,
    },
    /// Tell the relay.
    Media(MediaCommand),
    /// Tell the studio, behind what the relay was told.
    Studio(Order),
    /// Keep this.
    Persist(Record),
}
