//! F6: the cores, composed. The files beside this one join the build when the proxy lands: see
//! `signal.rs` for what they expect of `proxy`, `location`, `sip` and `relay`.
