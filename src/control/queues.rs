//! The rows of queues.

use serde::{Deserialize, Serialize};

/// One queue.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueRow {
    /// Its name in the file.
    pub name: String,
    /// The numbers that it answers.
    pub numbers: Vec<String>,
    /// As the file has it, `longest-idle`.
    pub strategy: String,
    /// Callers who wait now, or ring at an agent.
    pub waiting: u64,
    /// How many may.
    pub calls_max: u64,
    /// How long the first of them has waited, seconds.
    pub longest_s: u64,
    /// Callers who talk to an agent now.
    pub talking: u64,
    /// Callers who were answered since the start.
    pub answered: u64,
    /// Callers who hung up before, since the start.
    pub abandoned: u64,
    /// Callers who were sent elsewhere, since the start.
    pub overflowed: u64,
    /// How long those who were answered waited on average, seconds.
    pub waited_s: u64,
    /// How long they talked on average, seconds.
    pub talked_s: u64,
    /// In the order of the file, then those who logged in.
    pub agents: Vec<AgentRow>,
}

/// One agent of a queue.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AgentRow {
    /// `name@domain`
    pub aor: String,
    /// `free`, `ringing`, `talking`, `resting` (after a call, or one that was not answered), `busy`
    /// with another call, `absent` without a phone that is registered or where it wants no calls,
    /// `pause`.
    pub state: String,
    /// Whether the file names it; it has logged in otherwise.
    pub fixed: bool,
    /// Calls of this queue that it has taken since the start.
    pub taken: u64,
}
