//! What only FreeBSD has.

pub mod e1;
