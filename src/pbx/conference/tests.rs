//! The program alone.
