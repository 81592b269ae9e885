//! F7, feature `sim`: a whole world from one seed. The real [`crate::server::SignalCore`] and
//! [`crate::relay::Relay`], simulated phones, a network that loses, doubles and delays, NATs, and a
//! clock that jumps from event to event: a 32-second timer costs microseconds.
//!
//! | file | what |
//! | --- | --- |
//! | `net`, `nat` | packets under way; address and port dependent NATs |
//! | `phone` | independent user agents |
//! | `registrar` | a registrar of another, to which trunks register |
//! | `host`, `disk` | the server's shards, relays and what it persisted |
//! | `world` | the clock, and who gets what when |
//! | `check` | what must hold after each step and at the end |
//! | `story` | random users, phones, calls and mishaps from a seed |

pub mod check;
pub mod disk;
pub mod host;
pub mod nat;
pub mod net;
pub mod phone;
pub mod registrar;
pub mod story;
pub mod world;
