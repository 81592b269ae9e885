//! A line over packets: CESoPSN, basic service of N timeslots (RFC 5086 §5.2, §6). One end of one
//! pseudowire, without a socket: [`crate::wire::cesopsn`] reads and writes the packets.
//!
//! ```text
//!               enough packets in a row            `loss_after` lost in a row
//! Intermediate ------------------------> Normal ------------------------------> PacketLoss
//!      |                                   ^  '-----------------------------------'  ^
//!      |                                       `recover_after` in a row, and enough  |
//!      '-- `intermediate` passed ----------------------------------------------------'
//! ```
//! In `Normal` the buffer is played, a packet that is missing is replaced by idle (§6.2.2). In the
//! other two the line gets idle. In `PacketLoss` our packets carry R, and the line has LOS.
//!
//! Who plays is our clock. There is no clock recovery (§6.2.2 leaves the method open): where the
//! far end's clock differs, the buffer slips by a packet, and that is counted.
//!
//! | in the packet | for the line here | from the line here |
//! | --- | --- | --- |
//! | L | AIS; idle instead of the octets | LOS, AIS or LFA |
//! | M 10 (RDI) | RAI | RAI |
//! | R | RAI | set by us in `PacketLoss` |

mod reception;
mod session;
mod settings;

pub use reception::ReceptionCounters;
pub use session::{Input, Output, Session, SessionCounters};
pub use settings::{RtpSettings, SessionSettings, SettingsError};

/// Packets in a row that must say the same before an alarm changes for it: G.775 asks 2 to 5 for
/// the remote alarm, and one packet can be forged.
pub const ALARM_PACKETS: u8 = 3;

#[cfg(test)]
mod tests;
