//! voip: a phone system in one daemon, for FreeBSD and Linux.
//!
//! # One crate, eight floors
//! A module uses only modules on strictly lower floors, never a sibling; `tests/floors.rs` checks
//! that. Everything below the top floor is pure: no socket, file, thread, clock or random source.
//!
//! | floor | modules | what they are |
//! | --- | --- | --- |
//! | F0 | `base` | instants, timers, slabs, queues, flows, the seeded random generator |
//! | F1 | `wire` | bytes to values and back: SIP, SDP, RTP, RTCP, STUN, CESoPSN |
//! | | `srtp` | RTP and RTCP encrypted in place; keys in SDP |
//! | F2 | `config`, `control`, `store` | the file, the operator's commands, the records |
//! | F3 | `sip`, `location`, `pri`, `relay` | SIP; bindings; spans; RTP |
//! | | `media` | what begins and ends here: sound |
//! | | `plan`, `feature`, `mailbox` | numbers; call features; voicemail's index |
//! | F4 | `call`, `peer` | calls and their legs, from INVITE to call detail record; trunks, pools |
//! | F5 | `proxy`, `pbx` | registrar, routing, forking; services that answer calls |
//! | | `ng` | the relay for other proxies, by the ng protocol |
//! | F6 | `server`, `web` | `SignalCore` and `MediaCore`: the whole, composed; the HTTP interface |
//! | F7 | `os`, `sim` | the real world, and the simulated one |
//!
//! # Four verbs
//! Every core speaks `handle_input`, `poll_output`, `poll_timeout`, `handle_timeout`, and does no
//! I/O. After each change the caller drains `poll_output` until it says `None`. So `sim` runs the
//! same server as `os` does, under a virtual clock, and one seed replays every failure.
//!
//! # Shards
//! One worker per core, each with a [`server::SignalCore`] of its own. A message belongs to the
//! shard that the hash of its Call-ID names, so a call never leaves its shard and no lock guards
//! it. What shards share (the location table, the users and their call features) has locks of its
//! own.

pub mod base;
pub mod call;
pub mod config;
pub mod control;
pub mod feature;
pub mod location;
pub mod mailbox;
pub mod media;
pub mod ng;
pub mod os;
pub mod pbx;
pub mod peer;
pub mod plan;
pub mod pri;
pub mod proxy;
pub mod relay;
pub mod server;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sip;
pub mod srtp;
pub mod store;
pub mod web;
pub mod wire;
