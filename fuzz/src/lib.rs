//! What must hold for any bytes: one function per fuzz target. `tests/corpus.rs` of the main
//! package includes this file and replays the corpus through it.

pub mod core;

mod frame;
mod media;
mod ng;
mod pri;
mod relay;
mod sip;

pub use self::core::signal_core;
pub use frame::frame;
pub use media::{sdp, stun};
pub use ng::ng;
pub use pri::cesopsn;
pub use relay::relay;
pub use sip::{message, uri};
