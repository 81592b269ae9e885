//! What only FreeBSD has.

pub mod e1;
pub mod interface;
pub mod netmap;
pub mod routes;
