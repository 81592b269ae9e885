//! The shard as a whole, message by message.
