//! F1: bytes to values and back. No state, no clock, no socket.
//!
//! Each protocol is a folder or file of its own and knows none of the others.

pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod stun;
