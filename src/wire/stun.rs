//! STUN (RFC 8489), binding only.
