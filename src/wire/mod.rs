//! F1: bytes to values and back, without state. Untrusted bytes enter through `parse` only.

pub mod bencode;
pub mod cesopsn;
pub mod ice;
pub mod rtp;
pub mod sdp;
pub mod sip;
pub mod stun;
