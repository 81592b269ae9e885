//! What a running daemon keeps for the relay of other proxies: how it is set up, what it counted,
//! and the way to its calls.

use crate::base::{Anchor, Rng};
use crate::call::Addresses;
use crate::config::Config;
use crate::control::{Failure, Reply};
use crate::ng::Settings;
use crate::os::ng;
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// What the ng protocol is served with.
pub(super) struct NgServing {
    addresses: Addresses,
    mark: String,
    settings: watch::Sender<Settings>,
    seen: ng::Seen,
    /// The way to the task, once there is one.
    asks: OnceLock<mpsc::Sender<ng::Ask>>,
    rng: Mutex<Rng>,
}

impl NgServing {
    pub(super) fn new(
        config: &Config,
        addresses: Addresses,
        anchor: Anchor,
        rng: &mut Rng,
    ) -> Self {
        let token = rng.token::<16>();
        let mark = String::from_utf8_lossy(&token).into_owned();
        let settings = ng::settings(config, &addresses, anchor, &mark);
        Self {
            addresses,
            mark,
            settings: watch::Sender::new(settings),
            seen: ng::Seen::default(),
            asks: OnceLock::new(),
            rng: Mutex::new(rng.fork()),
        }
    }

    pub(super) fn renew(&self, config: &Config, anchor: Anchor) {
        let settings = ng::settings(config, &self.addresses, anchor, &self.mark);
        self.settings.send_replace(settings);
    }

    /// What is asked of the task, for it.
    pub(super) fn asks(&self) -> mpsc::Receiver<ng::Ask> {
        let (ask, asks) = mpsc::channel(ng::ASKS_MAX);
        let _ = self.asks.set(ask);
        asks
    }

    /// What the task makes keys with.
    pub(super) fn rng(&self) -> Rng {
        self.rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fork()
    }

    /// What the task goes by, now and later.
    pub(super) fn settings(&self) -> watch::Receiver<Settings> {
        self.settings.subscribe()
    }

    /// Where the task shows what it counts.
    pub(super) fn seen(&self) -> ng::Seen {
        self.seen.clone()
    }

    /// Adds the calls of the task to what `shards` reply, if they reply with calls, and sends that
    /// on to `reply`.
    pub(super) fn add_to(&self, shards: oneshot::Receiver<Reply>, reply: oneshot::Sender<Reply>) {
        let (rows, ours) = oneshot::channel();
        let asked = match self.asks.get() {
            Some(task) => task.try_send(ng::Ask::Rows(rows)).is_ok(),
            // The protocol is off.
            None => true,
        };
        tokio::spawn(async move {
            let of_shards = match shards.await {
                Ok(of_shards) if asked => of_shards,
                Ok(_) => {
                    let problem = "too many ask for the calls of the ng protocol";
                    Reply::failed(Failure::Unavailable, problem, "try again")
                }
                Err(_) => return,
            };
            let rows = ours.await.unwrap_or_default();
            // The client may be gone.
            let _ = reply.send(match of_shards {
                Reply::Relayed { .. } => {
                    let ng = Reply::Relayed { rows, more: false };
                    Reply::merge(vec![of_shards, ng])
                }
                failed => failed,
            });
        });
    }

    /// Has the task end what it records, and waits for that.
    pub(super) async fn end(&self) {
        let (whole, heard) = oneshot::channel();
        if let Some(task) = self.asks.get()
            && task.send(ng::Ask::End(whole)).await.is_ok()
        {
            // It says so by letting go.
            let _ = heard.await;
        }
    }

    /// Counters, where it is on.
    pub(super) fn list(&self, config: &Config) -> Vec<(&'static str, u64)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match config.rtp.ng {
            Some(_) => seen.counts.list(),
            None => Vec::new(),
        }
    }

    /// How many sessions the relay has for others now.
    pub(super) fn sessions(&self) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sessions
    }
}
