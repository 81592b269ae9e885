//! E1 spans: the kernel module e1shim(4), and what stands in for it elsewhere.
//!
//! - [`abi`] is the module's header in Rust, [`control`] its requests, [`mode`] their words;
//! - [`port`] drives a [`crate::pri::Span`] over a [`port::Line`]: [`device`] is the module's
//!   device, [`pair`] a Unix socket, [`udp`] CESoPSN (RFC 5086).
//!
//! What needs FreeBSD is in `os::freebsd::e1`: opening the devices and ioctl(2). The rest is
//! compiled, and tested, everywhere.

pub mod abi;
pub mod control;
pub mod device;
#[cfg(test)]
pub mod fake;
pub mod mode;
pub mod pair;
pub mod port;
pub mod udp;

#[cfg(test)]
mod tests;
