//! Which shard a message belongs to, and how it gets there from whatever thread received it.

use super::core::Input;
use super::inbox::{INBOX_MESSAGES_MAX, Inbox};
use super::ipc::Channel;
use super::post;
use super::stream::Receiver;
use crate::base::{ConnectionId, Flow, TransmitTag};
use crate::media::News;
use crate::ng::NG_SESSIONS;
use crate::relay::session_of_leg;
use crate::server::{MediaNews, POST_SESSION};
use crate::sip::detour::{self, Detours};
use crate::wire::sip::FrameError;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::mpsc;

/// What waits for a shard's worker.
#[derive(Debug)]
pub enum Work {
    /// For its core.
    Input(Input),
    /// The line to a new broker.
    Broker(Channel),
    /// The end.
    Stop,
}

/// The inboxes of all shards.
#[derive(Debug)]
pub struct Switch {
    inboxes: Vec<Inbox<Work>>,
    /// Who sends copies by e-mail, once there is somebody.
    post: OnceLock<mpsc::Sender<post::Answer>>,
    /// Who serves the ng protocol, once there is somebody.
    ng: OnceLock<mpsc::Sender<MediaNews>>,
    detours: Mutex<Detours>,
    /// Whether there is any.
    detoured: AtomicBool,
}

impl Switch {
    /// For `shards` shards, at least one.
    pub fn new(shards: usize) -> Self {
        Self {
            inboxes: (0..shards.max(1))
                .map(|_| Inbox::new(INBOX_MESSAGES_MAX))
                .collect(),
            post: OnceLock::new(),
            ng: OnceLock::new(),
            detours: Mutex::new(Detours::new(shards.max(1))),
            detoured: AtomicBool::new(false),
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.inboxes.len()
    }

    /// The shard that has a message's call; the first where it bears no Call-ID.
    pub fn shard_of(&self, message: &[u8]) -> usize {
        let straight = detour::straight(message, self.inboxes.len());
        // Without detours, as nearly always, nothing is locked. Who began one sees its own; another
        // thread's is seen once that thread has handed over the INVITE, which is before any answer.
        match straight {
            Some(shard) if !self.detoured.load(Ordering::Acquire) => shard,
            Some(_) | None => self.with_detours(|detours| detours.shard_of(message)),
        }
    }

    /// A call has taken its place in a shard that is not its Call-ID's, or is over there.
    pub fn detour(&self, call_id: &[u8], shard: usize, lasts: bool) {
        self.with_detours(|detours| match lasts {
            true => detours.stay(call_id, shard),
            false => detours.over(call_id),
        });
    }

    fn with_detours<R>(&self, act: impl FnOnce(&mut Detours) -> R) -> R {
        let mut detours = self.detours.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut detours);
        self.detoured.store(!detours.is_empty(), Ordering::Release);
        done
    }

    /// A shard's inbox.
    pub fn inbox(&self, shard: usize) -> Option<&Inbox<Work>> {
        self.inboxes.get(shard)
    }

    /// Tells one shard what it must not miss.
    pub fn tell(&self, shard: usize, input: Input) {
        if let Some(inbox) = self.inboxes.get(shard) {
            inbox.push_always(Work::Input(input));
        }
    }

    /// What media say, to the shard that they work for, to whom they read files, or to whom they
    /// relay for other proxies.
    pub fn news(&self, shard: usize, news: MediaNews) {
        match (news, self.post.get()) {
            (
                MediaNews::Studio(News::Filed {
                    session: POST_SESSION,
                    task,
                    outcome,
                }),
                Some(post),
            ) => {
                // One is asked for at a time: what does not fit nobody waits for.
                let _ = post.try_send((task, outcome));
            }
            (news, _) if NG_SESSIONS.contains(&session_of_leg(news.session())) => {
                // What does not fit is asked for again when it is missed.
                if let Some(ng) = self.ng.get() {
                    let _ = ng.try_send(news);
                }
            }
            (news, _) => self.tell(shard, Input::Media(news)),
        }
    }

    /// Who gets the answers to [`POST_SESSION`]'s orders from now on; the first who says so.
    pub fn set_post(&self, post: mpsc::Sender<post::Answer>) {
        let _ = self.post.set(post);
    }

    /// Who hears of the sessions of [`NG_SESSIONS`] from now on; the first who says so.
    pub fn set_ng(&self, ng: mpsc::Sender<MediaNews>) {
        let _ = self.ng.set(ng);
    }

    /// Tells every shard what it must not miss.
    pub fn tell_all(&self, input: impl Fn() -> Input) {
        for inbox in &self.inboxes {
            inbox.push_always(Work::Input(input()));
        }
    }

    /// Hands a shard the line to a new broker.
    pub fn set_broker(&self, shard: usize, line: Channel) {
        if let Some(inbox) = self.inboxes.get(shard) {
            inbox.push_always(Work::Broker(line));
        }
    }

    /// Ends all workers.
    pub fn stop(&self) {
        for inbox in &self.inboxes {
            inbox.push_always(Work::Stop);
        }
    }

    /// Messages that were dropped since their shard was too far behind.
    pub fn dropped(&self) -> u64 {
        self.inboxes.iter().map(Inbox::refused).sum()
    }
}

impl Receiver for Switch {
    fn proved(&self, flow: Flow, domains: Arc<[Box<str>]>) {
        self.tell_all(|| Input::Proved {
            flow,
            domains: Arc::clone(&domains),
        });
    }

    fn message(&self, flow: Flow, bytes: Bytes) {
        if let Some(inbox) = self.inboxes.get(self.shard_of(&bytes)) {
            inbox.push(Work::Input(Input::Message { flow, bytes }));
        }
    }

    fn unframeable(&self, flow: Flow, head: Bytes, error: FrameError) {
        self.tell(
            self.shard_of(&head),
            Input::Unframeable { flow, head, error },
        );
    }

    fn closed(&self, connection: ConnectionId) {
        self.tell_all(|| Input::ConnectionClosed { connection });
    }

    fn transmit_failed(&self, shard: usize, tag: TransmitTag) {
        self.tell(shard, Input::TransmitFailed { tag });
    }
}
