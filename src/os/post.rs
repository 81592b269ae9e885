//! Copies of messages by e-mail: a task beside the shards that takes one message after the other
//! that waits for it, reads its sound through media's disk, and hands it to the mail server.
//!
//! What waits stands in the messages' own rows ([`EmailCopy`]), so a restart goes on with it. A
//! server that cannot be reached or refuses us is tried again after a while, ever longer, and
//! nothing else until then; a letter that it does not take now is tried again by itself; one that
//! it never takes, or that is two days old, is given up and told in the log. The message itself
//! stays in its mailbox whatever happens here.
//!
//! A crash between the server's last word and our note of it sends a letter twice; it has the same
//! Message-ID then.

mod letter;
mod smtp;

use super::dns::Dns;
use super::privsep::client::Net;
use super::secrets::Secrets;
use super::store::Store;
use super::tls::Tls;
use crate::config::{Config, Smtp};
use crate::mailbox::Mailboxes;
use crate::media::Order;
use crate::media::file::{FileFailure, FileOrder, Filed};
use crate::server::{MediaOrder, POST_SESSION};
use crate::store::{EmailCopy, MessageRecord};
use smtp::{Account, Failure};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

/// How often it is looked what waits.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two tries, the first and every further one; the last counts from then on.
const PAUSES: [Duration; 7] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(1800),
    Duration::from_secs(3600),
];
/// A copy that is so old is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(48 * 3600);
/// Letters that were not taken and have a time of their own; of more, all are tried with the rest.
const PUT_OFF_MAX: usize = 10_000;
/// Bytes that are read at a time: a message between processes holds more than that.
const PIECE_BYTES: u32 = 32 * 1024;
/// How long the disk may take for a piece.
const PIECE_WITHIN: Duration = Duration::from_secs(20);
/// Answers of the disk that wait; one is asked for at a time.
const ANSWERS_MAX: usize = 16;

/// What the disk says to a question of ours.
pub type Answer = (u32, Filed);

/// What may change while it works.
#[derive(Clone)]
pub struct Mailing {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// What proves `[voicemail] smtp_user`.
    pub password: Option<Vec<u8>>,
}

impl std::fmt::Debug for Mailing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailing").finish_non_exhaustive()
    }
}

impl Mailing {
    /// Of what was read.
    pub fn new(config: &Arc<Config>, secrets: &Secrets) -> Self {
        Self {
            config: Arc::clone(config),
            password: secrets.smtp().map(<[u8]>::to_vec),
        }
    }
}

/// What it counts.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
}

impl Counts {
    /// For `voipctl status`, with what waits.
    pub fn list(&self, mailboxes: &Mailboxes) -> [(&'static str, u64); 4] {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("email_sent", count(&self.sent)),
            ("email_failed", count(&self.failed)),
            ("email_retried", count(&self.retried)),
            ("email_waiting", mailboxes.copies_waiting() as u64),
        ]
    }
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The way to the disk: questions go out as orders to media, answers come back by the switch.
pub struct Reader {
    order: Box<dyn Fn(MediaOrder) + Send + Sync>,
    answers: mpsc::Receiver<Answer>,
    task: u32,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

/// The channel that answers come by.
pub fn answers() -> (mpsc::Sender<Answer>, mpsc::Receiver<Answer>) {
    mpsc::channel(ANSWERS_MAX)
}

impl Reader {
    /// `order` gives an order to some media worker.
    pub fn new(
        order: Box<dyn Fn(MediaOrder) + Send + Sync>,
        answers: mpsc::Receiver<Answer>,
    ) -> Self {
        Self {
            order,
            answers,
            task: 0,
        }
    }

    async fn piece(&mut self, path: &str, at: u64) -> Result<Vec<u8>, FileFailure> {
        self.task = self.task.wrapping_add(1);
        let (task, path) = (self.task, path.into());
        (self.order)(MediaOrder::Studio(Order::Files {
            session: POST_SESSION,
            task,
            what: FileOrder::Read {
                path,
                at,
                length: PIECE_BYTES,
            },
        }));
        loop {
            match timeout(PIECE_WITHIN, self.answers.recv()).await {
                // An answer that came too late for a question of before.
                Ok(Some((other, _))) if other != task => {}
                Ok(Some((_, Filed::Bytes(bytes)))) => return Ok(bytes),
                Ok(Some((_, Filed::Failed(failure)))) => return Err(failure),
                // Media is being restarted, or the disk is behind.
                Ok(Some(_) | None) | Err(_) => return Err(FileFailure::Busy),
            }
        }
    }

    /// All of a file; `None` if it is too long for a letter.
    async fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, FileFailure> {
        let mut all = Vec::new();
        while (all.len() as u64) <= letter::SOUND_BYTES_MAX {
            let piece = self.piece(path, all.len() as u64).await?;
            let last = piece.len() < PIECE_BYTES as usize;
            all.extend(piece);
            if last {
                return Ok(Some(all));
            }
        }
        Ok(None)
    }
}

/// Whom it works for and with.
#[derive(Debug)]
pub struct Post {
    /// What waits.
    pub mailboxes: Arc<Mailboxes>,
    /// Where outcomes are kept.
    pub store: Store,
    /// Connects.
    pub net: Net,
    /// Judges the server.
    pub tls: Arc<Tls>,
    /// Finds the server.
    pub dns: Dns,
    /// Reads the sound.
    pub reader: Reader,
    /// What is counted.
    pub counts: Arc<Counts>,
}

/// When what is tried again.
#[derive(Debug, Default)]
struct Patience {
    /// Tries that the server failed in a row, and until when it is left alone.
    server: (usize, Option<Instant>),
    /// What was said last.
    why: Option<Failure>,
    letters: BTreeMap<u64, (usize, Instant)>,
}

fn pause(tries: usize) -> Duration {
    let last = PAUSES.len() - 1;
    PAUSES.get(tries.min(last)).copied().unwrap_or_default()
}

impl Patience {
    fn is_paused(&self) -> bool {
        self.server.1.is_some_and(|until| until > Instant::now())
    }

    fn is_due(&self, id: u64) -> bool {
        let own = self.letters.get(&id);
        own.is_none_or(|(_, at)| *at <= Instant::now())
    }

    fn server_failed(&mut self) -> Duration {
        let wait = pause(self.server.0);
        self.server = (self.server.0 + 1, Some(Instant::now() + wait));
        wait
    }

    fn put_off(&mut self, id: u64) -> Duration {
        if self.letters.len() >= PUT_OFF_MAX {
            self.letters.clear();
        }
        let tries = self.letters.get(&id).map_or(0, |(tries, _)| *tries);
        let wait = pause(tries);
        self.letters.insert(id, (tries + 1, Instant::now() + wait));
        wait
    }
}

impl Post {
    /// Works until it is dropped. Inside a runtime only.
    pub async fn run(mut self, mut setup: watch::Receiver<Mailing>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut patience = Patience::default();
        loop {
            tokio::select! {
                _ = look.tick() => {}
                changed = setup.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Whatever was wrong may be right now.
                    patience = Patience::default();
                }
            }
            let now = setup.borrow_and_update().clone();
            let Some(smtp) = now.config.voicemail.smtp.clone() else {
                continue;
            };
            while !patience.is_paused()
                && !setup.has_changed().unwrap_or(true)
                && let Some(message) = self.mailboxes.next_copy(|id| patience.is_due(id))
            {
                self.copy(&now, &smtp, &message, &mut patience).await;
            }
        }
    }

    async fn copy(
        &mut self,
        setup: &Mailing,
        smtp: &Smtp,
        message: &MessageRecord,
        patience: &mut Patience,
    ) {
        let (id, mailbox) = (message.id, &*message.mailbox);
        let outcome = match is_too_old(message) {
            true => Err(Failure::Refused("it waited for two days".into())),
            false => self.send(setup, smtp, message).await,
        };
        match outcome {
            Ok(()) => {
                patience.letters.remove(&id);
                patience.server = (0, None);
                if patience.why.take().is_some() {
                    tracing::info!("[voicemail] smtp: {smtp} takes e-mail again");
                }
                one(&self.counts.sent);
                tracing::debug!(mailbox, id, "a copy was sent by e-mail");
                self.settle(message, EmailCopy::Sent);
            }
            Err(Failure::Refused(why)) => {
                patience.letters.remove(&id);
                one(&self.counts.failed);
                tracing::error!(
                    mailbox,
                    id,
                    "no copy by e-mail, and none will be tried again: {why}; the message is in its \
                     mailbox (voipctl mailbox set {mailbox} email ... changes the address)"
                );
                self.settle(message, EmailCopy::Failed);
            }
            Err(Failure::Later(why)) => {
                one(&self.counts.retried);
                let wait = patience.put_off(id).as_secs();
                tracing::warn!(
                    mailbox,
                    id,
                    "no copy by e-mail yet, again in {wait} s: {why}"
                );
            }
            Err(failure @ Failure::Server(_)) => {
                one(&self.counts.retried);
                let wait = patience.server_failed().as_secs();
                if patience.why.as_ref() == Some(&failure) {
                    tracing::debug!("{smtp}: {failure}; again in {wait} s");
                } else {
                    tracing::error!(
                        "[voicemail] smtp: {smtp}: {failure}; copies wait, and are tried again, \
                         first in {wait} s"
                    );
                }
                patience.why = Some(failure);
            }
        }
    }

    fn settle(&self, message: &MessageRecord, outcome: EmailCopy) {
        let record = self.mailboxes.copied(&message.mailbox, message.id, outcome);
        if let Some(record) = record {
            self.store.persist(record);
        }
    }

    async fn send(
        &mut self,
        setup: &Mailing,
        smtp: &Smtp,
        message: &MessageRecord,
    ) -> Result<(), Failure> {
        let to = self.mailboxes.mailbox(&message.mailbox).email;
        if to.is_empty() {
            return Err(Failure::Refused(
                "the mailbox has no address any more".into(),
            ));
        }
        let sound = match self.reader.read(&message.file).await {
            Ok(sound) => sound,
            Err(FileFailure::Busy | FileFailure::Disk) => {
                return Err(Failure::Later("its sound cannot be read now".into()));
            }
            Err(failure @ (FileFailure::Missing | FileFailure::Broken | FileFailure::BadName)) => {
                return Err(Failure::Refused(format!("{}: {failure}", message.file)));
            }
        };
        let letter = letter::write(&setup.config, &to, message, sound, unix_ms());
        let letter = letter.map_err(Failure::Refused)?;
        let addresses = self.addresses(smtp).await;
        let account = Account {
            smtp,
            addresses: &addresses,
            password: setup.password.as_deref(),
            hello: setup.config.node.default_domain(),
        };
        smtp::deliver(&self.net, &self.tls, account, &letter).await
    }

    /// Where the server is. The DNS knows nothing of this host.
    async fn addresses(&self, smtp: &Smtp) -> Vec<SocketAddr> {
        let host = smtp.host.trim_matches(['[', ']']);
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) if host.eq_ignore_ascii_case("localhost") => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Err(_) => self.dns.addresses(host).await,
        };
        let with_port = found.into_iter().map(|ip| SocketAddr::new(ip, smtp.port));
        with_port.collect()
    }
}

fn is_too_old(message: &MessageRecord) -> bool {
    let age = unix_ms().saturating_sub(message.received_ms);
    Duration::from_millis(age) > GIVE_UP_AFTER
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
