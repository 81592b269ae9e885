//! F3: SIP's own machinery between bytes and decisions.
//!
//! | module | what | source |
//! | --- | --- | --- |
//! | [`transaction`] | state machines, matching, response routing | RFC 3261 §17, §18.2, RFC 6026 |
//! | [`digest`] | challenges and answers | RFC 7616, RFC 8760 |
//! | [`locate`] | from a URI to the addresses to try, asking DNS | RFC 3263, RFC 2782 |
//! | [`offer_answer`] | descriptions of sound that begins and ends here | RFC 3264 |
//! | [`session_timer`] | how long a session lasts, and who refreshes it | RFC 4028 |
//! | [`detour`] | which shard a message goes to | RFC 3891 |
//! | [`listeners`] | which addresses are ours and what we write into Via | RFC 3261 §18.1.1 |
//!
//! All pure: time, randomness and answers from DNS come in as arguments.

pub mod detour;
pub mod digest;
pub mod listeners;
pub mod locate;
pub mod offer_answer;
pub mod session_timer;
mod siphash;
pub mod transaction;
