//! F7, feature `sim`: a whole world from one seed. The real [`crate::server::SignalCore`] and
//! [`crate::relay::Relay`], simulated phones, a network that loses, doubles and delays, NATs, and a
//! clock that jumps from event to event: a 32-second timer costs microseconds.
//!
//! | file | what |
//! | --- | --- |
//! | `net`, `nat` | packets under way; address and port dependent NATs |
//! | `phone` | independent user agents |
//! | `registrar` | a registrar of another, to which trunks register |
//! | `gate` | far ends of trunks and members of pools, with all their mishaps |
//! | `host`, `disk`, `zone` | the server's shards, relays, what it persisted, the DNS it asks |
//! | `files` | the spool: what recordings are written to, and what a crash leaves of it |
//! | `mail` | what callers were told of their messages, and what must be true of it |
//! | `world` | the clock, and who gets what when |
//! | `check`, `book` | what must hold after each step and at the end, and toward far ends |
//! | `story` | random users, phones, calls and mishaps from a seed |
//! | `routes` | the same with trunks and pools, and which calls must not be lost |

pub mod book;
pub mod check;
pub mod disk;
pub mod files;
pub mod gate;
pub mod host;
pub mod mail;
pub mod nat;
pub mod net;
pub mod phone;
pub mod registrar;
pub mod routes;
pub mod story;
pub mod world;
pub mod zone;
