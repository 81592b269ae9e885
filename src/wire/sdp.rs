//! SDP (RFC 8866).
