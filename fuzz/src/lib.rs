//! What must hold for any bytes: one function per fuzz target. `tests/corpus.rs` of the main
//! package includes this file and replays the corpus through it.

mod sip;

pub use sip::{message, uri};
