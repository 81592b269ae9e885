//! STUN
