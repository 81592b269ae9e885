//! F7: the only floor that touches the world: sockets, clocks, threads, files, random numbers.
//!
//! - `worker` drives one core per thread; `udp`, `stream`, `tls`, `ws` carry its messages, `dns`
//!   answers its questions, `clock` tells it the time.
//! - `daemon` detaches, drops rights and keeps the pid file; `log` writes to standard error.

pub mod blocklist;
mod certificate;
pub mod clock;
mod codec_plugin;
pub mod control;
pub mod core;
pub mod counters;
pub mod ctl;
pub mod daemon;
pub mod demo;
pub mod dns;
pub mod doorbell;
pub mod e1;
pub mod fast;
#[cfg(target_os = "freebsd")]
pub mod freebsd;
pub mod inbox;
pub mod interfaces;
pub mod ipc;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod log;
pub mod netmap;
pub mod ng;
pub mod node;
pub mod pin;
pub mod post;
pub mod privsep;
pub mod relay;
pub mod role;
pub mod sandbox;
pub mod secrets;
pub mod service;
pub mod settings;
pub mod spool;
pub mod store;
pub mod stream;
pub mod switch;
pub mod sys;
pub mod tls;
pub mod udp;
pub mod web;
pub mod worker;
pub mod ws;
pub mod zone;
