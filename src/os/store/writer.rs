//! The thread that writes, and the handle by which everybody gives it records.

use super::cdrs::{CdrPage, CdrQuery};
use super::error::StoreError;
use super::pending::{PENDING_MAX, Pending};
use super::sqlite::Database;
use crate::store::Record;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the first record of a batch waits for others.
pub const BATCH_EVERY: Duration = Duration::from_millis(300);

/// Records of one transaction.
const TRANSACTION_RECORDS: usize = 20_000;

/// Between two tries while the disk does not take what we write.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Between two rounds of forgetting old call detail records.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Between two bounded deletions of one round.
const PRUNE_PAUSE: Duration = Duration::from_millis(500);

/// Between two looks whether refreshes should be copied from the journal to their rows.
const COPY_EVERY: Duration = Duration::from_secs(10);

/// Between two steps of that.
const COPY_PAUSE: Duration = Duration::from_millis(100);

/// Questions that wait for the writer; more are told to come back.
const QUESTIONS_MAX: usize = 16;

/// Somebody wants to read, which only the writer can: it alone has the database.
#[derive(Debug)]
struct Question {
    asked: CdrQuery,
    /// Takes the one answer; who asked may be gone.
    answer: mpsc::SyncSender<Result<CdrPage, StoreError>>,
}

/// How the store fares.
#[derive(Clone, Debug, Default)]
pub struct StoreStatus {
    /// Records that wait.
    pub waiting: usize,
    /// Records written since the start.
    pub written: u64,
    /// Records lost since the start, because too many waited.
    pub lost: u64,
    /// What is wrong now.
    pub trouble: Option<StoreError>,
}

#[derive(Debug, Default)]
struct State {
    pending: Pending,
    /// Records that the writer holds and has not committed.
    in_hand: usize,
    /// Counts records given; [`State::committed`] follows it.
    given: u64,
    committed: u64,
    /// Somebody waits: do not wait for others.
    hurry: bool,
    questions: VecDeque<Question>,
    closing: bool,
    /// Counts failed tries.
    failures: u64,
    status: StoreStatus,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    progress: Condvar,
    limit: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes records for the disk. Cheap to clone; [`Store::close`] once, at the end.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Store {
    /// Starts the writer of an open database.
    pub fn start(database: Database) -> std::io::Result<Self> {
        Self::start_with(database, PENDING_MAX)
    }

    pub(super) fn start_with(database: Database, limit: usize) -> std::io::Result<Self> {
        ignore_file_size_signal();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            limit,
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            database,
            prune_at: Instant::now() + BATCH_EVERY,
            copy_at: Instant::now() + COPY_EVERY,
        };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(|| writer.run())?;
        Ok(Self {
            shared,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Gives a record to the writer. Never waits for the disk; past [`PENDING_MAX`] the record is
    /// lost and counted.
    pub fn persist(&self, record: Record) {
        let mut state = self.shared.lock();
        if state.pending.push(record, self.shared.limit) {
            state.given += 1;
            if state.pending.len() == 1 {
                self.shared.work.notify_one();
            }
        } else {
            state.status.lost += 1;
            if state.status.lost == 1 {
                tracing::error!("the store is full of records that wait; newer ones are lost");
            }
        }
    }

    /// Waits until everything given before is committed; tells the trouble if it cannot be, or
    /// `Ok(false)` when `patience` ran out.
    pub fn flush(&self, patience: Duration) -> Result<bool, StoreError> {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        let (wanted, failures) = (state.given, state.failures);
        loop {
            if state.committed >= wanted {
                return Ok(true);
            }
            if state.failures > failures
                && let Some(trouble) = &state.status.trouble
            {
                return Err(trouble.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            state.hurry = true;
            self.shared.work.notify_one();
            let waited = self.shared.progress.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Reads call detail records, those included that were given before; `Ok(None)` when `patience`
    /// ran out, or too many ask. Blocks as [`Store::flush`] does.
    pub fn cdrs(&self, asked: CdrQuery, patience: Duration) -> Result<Option<CdrPage>, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        {
            let mut state = self.shared.lock();
            if state.closing || state.questions.len() >= QUESTIONS_MAX {
                return Ok(None);
            }
            state.questions.push_back(Question { asked, answer });
            state.hurry = true;
            self.shared.work.notify_one();
        }
        match answered.recv_timeout(patience) {
            Ok(page) => page.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// How it fares.
    pub fn status(&self) -> StoreStatus {
        let state = self.shared.lock();
        StoreStatus {
            waiting: state.pending.len() + state.in_hand,
            ..state.status.clone()
        }
    }

    /// Writes what waits, one try, and ends the thread. Records given afterwards are lost.
    pub fn close(&self) -> Result<(), StoreError> {
        {
            let mut state = self.shared.lock();
            state.closing = true;
            self.shared.work.notify_one();
        }
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        let state = self.shared.lock();
        match &state.status.trouble {
            Some(trouble) if state.in_hand > 0 => Err(trouble.clone()),
            _ => Ok(()),
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    database: Database,
    prune_at: Instant,
    copy_at: Instant,
}

impl Writer {
    fn run(mut self) {
        let mut batch = Pending::default();
        loop {
            let (given, closing) = self.collect(&mut batch);
            if !batch.is_empty() {
                self.write(&mut batch, given);
            }
            self.answer();
            if closing {
                if batch.is_empty() {
                    self.copy_all();
                }
                return;
            }
            if Instant::now() >= self.copy_at {
                self.copy();
            }
            if Instant::now() >= self.prune_at {
                self.prune();
            }
        }
    }

    /// Waits for records and adds them to those that failed before. Gives what was given so far.
    fn collect(&mut self, batch: &mut Pending) -> (u64, bool) {
        let retry = !batch.is_empty();
        let mut state = self.shared.lock();
        let wake = if retry {
            Instant::now() + RETRY_EVERY
        } else {
            self.prune_at.min(self.copy_at)
        };
        while !state.closing && !state.hurry && (retry || state.pending.is_empty()) {
            let left = wake.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = wait(&self.shared.work, state, left);
        }
        let full_at = Instant::now() + BATCH_EVERY;
        while !retry && !state.pending.is_empty() && !state.closing && !state.hurry {
            let left = full_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = wait(&self.shared.work, state, left);
        }
        state.hurry = false;
        let newer = std::mem::take(&mut state.pending);
        let lost = batch.absorb(newer, self.shared.limit);
        state.status.lost += lost;
        state.in_hand = batch.len();
        (state.given, state.closing)
    }

    fn write(&mut self, batch: &mut Pending, given: u64) {
        let mut done = 0;
        batch.sort();
        let result: Result<(), StoreError> = batch
            .records()
            .chunks(TRANSACTION_RECORDS)
            .try_for_each(|chunk| {
                self.database.apply(chunk.iter())?;
                done += chunk.len();
                Ok(())
            });
        batch.forget_first(done);
        let result = result.and_then(|()| {
            self.database.refresh(batch.touches())?;
            done += batch.touches().len();
            batch.forget_touches();
            Ok(())
        });
        let mut state = self.shared.lock();
        state.in_hand = batch.len();
        state.status.written += done as u64;
        match result {
            Ok(()) => {
                state.committed = given;
                if state.status.trouble.take().is_some() {
                    tracing::info!(records = done, "the store writes again");
                }
            }
            Err(trouble) => {
                state.failures += 1;
                let known = state.status.trouble.as_ref();
                if known.is_none_or(|t| t.problem != trouble.problem) {
                    tracing::error!(waiting = batch.len(), "{trouble}");
                }
                state.status.trouble = Some(trouble);
            }
        }
        self.shared.progress.notify_all();
    }

    /// Answers who asked, after what was given before them is on the disk.
    fn answer(&mut self) {
        let questions = std::mem::take(&mut self.shared.lock().questions);
        for question in questions {
            let page = self.database.cdrs(&question.asked);
            let _ = question.answer.try_send(page);
        }
    }

    /// One step of what brings the journal's refreshes home.
    fn copy(&mut self) {
        let pause = match self.database.copy_home(false) {
            Ok(true) => COPY_PAUSE,
            Ok(false) => COPY_EVERY,
            Err(trouble) => {
                tracing::warn!("{trouble}; refreshes stay in the journal meanwhile");
                COPY_EVERY
            }
        };
        self.copy_at = Instant::now() + pause;
    }

    /// At an orderly end: the database is whole without the journal, as a backup wants it.
    fn copy_all(&mut self) {
        loop {
            match self.database.copy_home(true) {
                Ok(true) => {}
                Ok(false) => return,
                Err(trouble) => {
                    tracing::warn!("{trouble}; the next start reads the journal");
                    return;
                }
            }
        }
    }

    fn prune(&mut self) {
        let pause = match self.database.prune() {
            Ok(true) => PRUNE_PAUSE,
            Ok(false) | Err(_) => PRUNE_EVERY,
        };
        self.prune_at = Instant::now() + pause;
    }
}

fn wait<'s>(
    condition: &Condvar,
    state: MutexGuard<'s, State>,
    time: Duration,
) -> MutexGuard<'s, State> {
    let waited = condition.wait_timeout(state, time);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

/// Past `RLIMIT_FSIZE` a write shall fail like one to a full disk, not kill the daemon.
#[allow(unsafe_code)]
fn ignore_file_size_signal() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: ignoring a signal runs no handler.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}
