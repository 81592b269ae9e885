//! The operator's commands: those of the process are carried out here, the others go to the shards,
//! whose replies are made one.

use crate::control::{Failure, Reply};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Commands that wait for shards at a time.
pub const WAITING_MAX: usize = 64;
/// A shard that has not answered by then is left out.
pub const SHARD_ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How the replies of several shards become one; told what came, and how many did not.
type Finish = Box<dyn FnOnce(Reply) -> Reply + Send>;

struct Waiting {
    missing: usize,
    replies: Vec<Reply>,
    since: Instant,
    to: oneshot::Sender<Reply>,
    finish: Finish,
}

/// The commands that wait for shards.
#[derive(Default)]
pub struct Replies {
    waiting: Mutex<HashMap<u64, Waiting>>,
    next: AtomicU64,
}

impl std::fmt::Debug for Replies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replies").finish_non_exhaustive()
    }
}

impl Replies {
    /// Expects the replies of `shards` shards; gives the id to send with the command. When there
    /// are too many commands already the client is told so, and there is no id.
    pub fn expect(
        &self,
        shards: usize,
        to: oneshot::Sender<Reply>,
        finish: impl FnOnce(Reply) -> Reply + Send + 'static,
    ) -> Option<u64> {
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX {
            drop(waiting);
            let problem = "too many commands are under way";
            let _ = to.send(Reply::failed(Failure::Unavailable, problem, "try again"));
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Waiting {
            missing: shards,
            replies: Vec::with_capacity(shards),
            since: Instant::now(),
            to,
            finish: Box::new(finish),
        };
        waiting.insert(id, entry);
        Some(id)
    }

    /// A shard replies.
    pub fn reply(&self, id: u64, reply: Reply) {
        let mut all = self.lock();
        let Some(waiting) = all.get_mut(&id) else {
            return;
        };
        waiting.replies.push(reply);
        waiting.missing = waiting.missing.saturating_sub(1);
        if waiting.missing == 0
            && let Some(done) = all.remove(&id)
        {
            drop(all);
            finish(done);
        }
    }

    /// Answers the commands that have waited for too long, with what came.
    pub fn give_up(&self) {
        let mut all = self.lock();
        let mut late: Vec<u64> = all
            .iter()
            .filter(|(_, w)| w.since.elapsed() > SHARD_ANSWERS_WITHIN)
            .map(|(id, _)| *id)
            .collect();
        late.sort_unstable();
        let late: Vec<Waiting> = late.iter().filter_map(|id| all.remove(id)).collect();
        drop(all);
        for mut waiting in late {
            if waiting.replies.is_empty() {
                let problem = "the shards do not answer";
                let reply = Reply::failed(Failure::Unavailable, problem, "try again");
                waiting.replies.push(reply);
            }
            finish(waiting);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn finish(waiting: Waiting) {
    let reply = (waiting.finish)(Reply::merge(waiting.replies));
    // The client may be gone.
    let _ = waiting.to.send(reply);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_shard_completes_a_command() {
        let replies = Replies::default();
        let (to, mut from) = oneshot::channel();
        let id = replies.expect(2, to, |reply| reply).unwrap();
        let missing = Reply::failed(Failure::NotFound, "no call", "");
        replies.reply(id, missing);
        assert!(from.try_recv().is_err());
        replies.reply(id, Reply::done("gone"));
        assert_eq!(from.try_recv(), Ok(Reply::done("gone")));
        replies.reply(id, Reply::done("late"));
    }

    #[test]
    fn too_many_are_told_to_come_back() {
        let replies = Replies::default();
        for _ in 0..WAITING_MAX {
            let (to, _) = oneshot::channel();
            assert!(replies.expect(1, to, |reply| reply).is_some());
        }
        let (to, mut from) = oneshot::channel();
        assert!(replies.expect(1, to, |reply| reply).is_none());
        assert!(matches!(
            from.try_recv(),
            Ok(Reply::Failed {
                kind: Failure::Unavailable,
                ..
            })
        ));
    }
}
