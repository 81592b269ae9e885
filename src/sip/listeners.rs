//! (comes)
