//! The proxy (RFC 3261 §16) message by message: one shard under a virtual clock, phones made of the
//! test's own text. Each file holds one of the RFC's subjects.

mod admission;
mod bridge;
mod call_back;
mod cost;
mod dialogs;
mod features;
mod forking;
mod legs;
mod menus;
mod mwi;
mod paging;
mod parking;
mod privacy;
mod queues;
mod random;
mod recording;
mod records;
mod routing;
mod services;
mod transfers;
mod trunks;
mod voicemail;
mod world;
