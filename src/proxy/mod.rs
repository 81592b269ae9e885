//! F5: what becomes of a request (RFC 3261 §10 and §16).

pub mod gruu;
pub mod guard;
pub mod keepalive;
pub mod nat;
pub mod outbound;
pub mod registrar;
