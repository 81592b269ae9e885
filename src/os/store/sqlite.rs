//! One open database: made, migrated, read whole at the start, written in batches.

use super::cdrs::{CdrPage, CdrQuery};
use super::error::{StoreError, recovery};
use super::journal::{Journal, Touches};
use super::mailbox;
use super::schema::{self, APPLICATION_ID, MIGRATIONS, VERSION};
use crate::config;
use crate::store::{
    Ban, BindingRecord, Cdr, CdrLeg, EndCause, FeatureRecord, Ha1, MailboxRecord, MessageRecord,
    Record, Touch, User,
};
use rusqlite::{Connection, OpenFlags, Row, Transaction, params};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often, and how long between, a lock that somebody has is tried again: a second in all.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Databases up to this size are checked whole when they are opened; of larger ones what is read.
const CHECKED_BYTES_MAX: u64 = 64 << 20;

/// Call detail records deleted in one transaction, so that none takes long.
const PRUNE_ROWS: i64 = 5_000;

/// Refreshes that are copied from the journal to their rows in one transaction, so that what was
/// answered meanwhile does not wait long.
const COPY_ROWS: usize = 5_000;

/// The WAL is cut back to this size after a checkpoint.
const WAL_BYTES: i64 = 64 << 20;

/// Pages of the WAL after which they are copied home. More than SQLite's own choice: refreshes
/// touch the same pages again and again, and each is copied once.
const WAL_PAGES: i64 = 4096;

/// How long another program's lock is waited for.
const BUSY: Duration = Duration::from_secs(2);

/// What a start needs.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every user.
    pub users: Vec<User>,
    /// The bindings that have not run out.
    pub bindings: Vec<BindingRecord>,
    /// The bans that have not run out.
    pub bans: Vec<Ban>,
    /// The call features of users.
    pub features: Vec<FeatureRecord>,
    /// No revision of features above it is on the disk.
    pub features_revision_max: u64,
    /// The mailboxes of users.
    pub mailboxes: Vec<MailboxRecord>,
    /// The messages in them, the oldest first.
    pub messages: Vec<MessageRecord>,
    /// No serial above it is in use anywhere on the disk.
    pub serial_max: u64,
}

/// An open database. While it lives no other process of ours opens it; programs that only read,
/// such as an accounting job, may.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    settings: config::Store,
    journal: Journal,
    /// What the journal held when it was opened, until [`Database::load`] has dealt with it.
    found: Touches,
    /// Touches under way from the journal to their rows, the next one last.
    homeward: Vec<Touch>,
    /// Held for its advisory lock.
    _lock: File,
}

impl Database {
    /// Opens the database, making it and its directory (mode 0750, the file 0600: it holds what
    /// digest needs of the passwords) if there is none, and brings it to today's version.
    pub fn open(settings: &config::Store) -> Result<Self, StoreError> {
        let file = settings.file.as_path();
        let lock = claim(file)?;
        let fail = |e: rusqlite::Error| StoreError::from_sqlite(file, &e);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(fail)?;
        connection.busy_timeout(BUSY).map_err(fail)?;
        let (journal, found) =
            Journal::open(file).map_err(|e| StoreError::from_journal(file, &e))?;
        let mut database = Self {
            connection,
            settings: settings.clone(),
            journal,
            found,
            homeward: Vec::new(),
            _lock: lock,
        };
        database.recognise()?;
        database.set_up().map_err(fail)?;
        database.migrate().map_err(fail)?;
        database.check()?;
        Ok(database)
    }

    /// Sees that nothing is opened any more: the write-ahead log and its directory are open after
    /// one write that reached the disk, and an exclusive lock (sqlite.org/pragma.html,
    /// locking_mode) needs no file of shared memory. Other programs cannot read meanwhile.
    pub fn seal(&self) -> Result<(), StoreError> {
        let seal = || {
            let c = &self.connection;
            c.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
            let id = i64::from(APPLICATION_ID);
            c.pragma_update(None, "application_id", id)?;
            c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        seal().map_err(|e| StoreError::from_sqlite(self.file(), &e))
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.settings.file
    }

    /// Refuses a database of somebody else, or of a later voip.
    fn recognise(&self) -> Result<(), StoreError> {
        let file = self.file();
        let fail = |e: rusqlite::Error| StoreError::from_sqlite(file, &e);
        let pragma = |name| self.connection.pragma_query_value(None, name, |r| r.get(0));
        let application: i64 = pragma("application_id").map_err(fail)?;
        let version: i64 = pragma("user_version").map_err(fail)?;
        let count = "SELECT count(*) FROM sqlite_master";
        let tables: i64 = self
            .connection
            .query_row(count, [], |r| r.get(0))
            .map_err(fail)?;
        if tables > 0 && application != i64::from(APPLICATION_ID) {
            let problem = "is a database of another program";
            let remedy = "name another file in [store] url";
            return Err(StoreError::new(file, problem, remedy, false));
        }
        if version > VERSION {
            let problem =
                format!("was made by a later version (schema {version}; this knows {VERSION})");
            let remedy = "install that version of voip again, or put back the backup made before";
            return Err(StoreError::new(file, problem, remedy, false));
        }
        Ok(())
    }

    fn set_up(&self) -> rusqlite::Result<()> {
        let c = &self.connection;
        c.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        c.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES, |_| Ok(()))?;
        c.pragma_update_and_check(None, "wal_autocheckpoint", WAL_PAGES, |_| Ok(()))?;
        c.pragma_update(None, "temp_store", "MEMORY")?;
        c.pragma_update(None, "cache_size", -16_384)?;
        c.set_prepared_statement_cache_capacity(32);
        self.wait_for_disk(false)
    }

    /// Whether the next commits wait for the disk, over what the configuration says.
    fn wait_for_disk(&self, always: bool) -> rusqlite::Result<()> {
        let full = always || self.settings.durability == config::Durability::Power;
        let word = if full { "FULL" } else { "NORMAL" };
        self.connection.pragma_update(None, "synchronous", word)
    }

    fn migrate(&mut self) -> rusqlite::Result<()> {
        let found: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |r| r.get(0))?;
        for (version, sql) in (1..).zip(MIGRATIONS).filter(|(v, _)| *v > found) {
            let transaction = self.connection.transaction()?;
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        let file = self.file();
        let size = file.metadata().map_or(0, |m| m.len());
        if size > CHECKED_BYTES_MAX {
            return Ok(());
        }
        let answer: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
            .map_err(|e| StoreError::from_sqlite(file, &e))?;
        if answer == "ok" {
            return Ok(());
        }
        let problem = format!("the database is damaged ({answer})");
        Err(StoreError::new(file, problem, recovery(file), false))
    }

    /// Reads what a start needs, and forgets what ran out while nobody looked.
    pub fn load(&mut self) -> Result<Loaded, StoreError> {
        self.load_at(unix_ms())
            .map_err(|e| StoreError::from_sqlite(self.file(), &e))
    }

    pub(super) fn load_at(&mut self, now_ms: i64) -> rusqlite::Result<Loaded> {
        let touches = std::mem::take(&mut self.found);
        let c = &self.connection;
        let users = c
            .prepare(schema::SELECT_USERS)?
            .query_map([], user)?
            .collect::<Result<_, _>>()?;
        let (features, features_revision_max) = load_features(c)?;
        let (mailboxes, messages) = mailbox::load(c)?;
        let mut bindings: Vec<BindingRecord> = c
            .prepare(schema::SELECT_BINDINGS)?
            .query_map([], binding)?
            .collect::<Result<_, _>>()?;
        let serials = bindings.iter().map(|b| b.serial);
        let serial_max = serials.chain(touches.keys().copied()).max().unwrap_or(0);
        for binding in &mut bindings {
            if let Some(touch) = touches.get(&binding.serial)
                && touch.cseq > binding.cseq
            {
                binding.expires_at_ms = touch.expires_at_ms;
                binding.cseq = touch.cseq;
            }
        }
        bindings.retain(|b| signed(b.expires_at_ms) > now_ms);
        let bans = c
            .prepare(schema::SELECT_BANS)?
            .query_map([now_ms], ban)?
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        // A full disk must not keep the daemon from starting: what ran out was not loaded anyway,
        // and the journal stays until its touches are home.
        let _ = c.execute(schema::DELETE_OLD_BANS, [now_ms]);
        let _ = c.execute(schema::DELETE_IDLE_FEATURES, []);
        mailbox::sweep(c);
        let touches: Vec<Touch> = touches.into_values().collect();
        if self.touch_rows(&touches, true).is_ok() {
            let _ = self
                .connection
                .execute(schema::DELETE_OLD_BINDINGS, [now_ms]);
            if let Err(error) = self.journal.clear() {
                tracing::warn!(%error, "the journal of refreshes cannot be emptied");
            }
        }
        Ok(Loaded {
            users,
            bindings,
            bans,
            features,
            features_revision_max,
            mailboxes,
            messages,
            serial_max,
        })
    }

    /// Appends refreshes to the journal: they survive what a commit survives.
    pub fn refresh(&mut self, touches: &[Touch]) -> Result<(), StoreError> {
        if touches.is_empty() {
            return Ok(());
        }
        let sync = self.settings.durability == config::Durability::Power;
        let appended = self.journal.append(touches, sync);
        appended.map_err(|e| StoreError::from_journal(&self.settings.file, &e))
    }

    /// Copies some of what the journal holds to its rows, where a file of it is due. Says whether
    /// there is more.
    pub fn copy_home(&mut self, at_once: bool) -> Result<bool, StoreError> {
        let file = self.settings.file.clone();
        let journal_fails = |e: std::io::Error| StoreError::from_journal(&file, &e);
        if self.homeward.is_empty() {
            let Some(due) = self.journal.take_due(at_once).map_err(journal_fails)? else {
                return Ok(false);
            };
            self.homeward = due.into_values().collect();
            // Neighbours by serial were registered together, and often lie together.
            self.homeward.sort_unstable_by_key(|t| t.serial);
        }
        let rest = self.homeward.len().saturating_sub(COPY_ROWS);
        let some = self.homeward.split_off(rest);
        let done = self.touch_rows(&some, rest == 0);
        if let Err(error) = done {
            // From the start again, once there is room.
            self.homeward.clear();
            return Err(StoreError::from_sqlite(&file, &error));
        }
        if rest == 0 {
            self.journal.copied().map_err(journal_fails)?;
        }
        Ok(true)
    }

    /// With `sync` waits for the disk: before the journal forgets what the rows have.
    fn touch_rows(&mut self, touches: &[Touch], sync: bool) -> rusqlite::Result<()> {
        if touches.is_empty() {
            return Ok(());
        }
        self.wait_for_disk(sync)?;
        let transaction = self.connection.transaction()?;
        for touch in touches {
            touch_row(&transaction, touch)?;
        }
        transaction.commit()?;
        self.wait_for_disk(false)
    }

    /// Writes records in one transaction: all of them or, on an error, none.
    pub fn apply<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record> + Clone,
    ) -> Result<(), StoreError> {
        self.apply_raw(records)
            .map_err(|e| StoreError::from_sqlite(self.file(), &e))
    }

    fn apply_raw<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record> + Clone,
    ) -> rusqlite::Result<()> {
        let typed = |r: &Record| {
            let user = matches!(r, Record::PutUser(_) | Record::DeleteUser { .. });
            user || matches!(r, Record::PutFeatures(_) | Record::PutMailbox(_))
        };
        let by_operator = records.clone().any(typed);
        if by_operator {
            self.wait_for_disk(true)?;
        }
        let result = self.commit(records);
        if by_operator {
            self.wait_for_disk(false)?;
        }
        result
    }

    fn commit<'r>(&mut self, records: impl Iterator<Item = &'r Record>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for record in records {
            write(&transaction, record)?;
        }
        transaction.commit()
    }

    /// Deletes call detail records that the configuration does not keep: a bounded number. Says
    /// whether there may be more.
    pub fn prune(&mut self) -> Result<bool, StoreError> {
        self.prune_at(unix_ms())
            .map_err(|e| StoreError::from_sqlite(self.file(), &e))
    }

    pub(super) fn prune_at(&mut self, now_ms: i64) -> rusqlite::Result<bool> {
        let c = &self.connection;
        let mut more = false;
        if self.settings.cdr_days > 0 {
            let oldest = now_ms - i64::from(self.settings.cdr_days) * 86_400_000;
            let n = c.execute(schema::DELETE_OLD_CDRS, [oldest, PRUNE_ROWS])?;
            more |= n as i64 == PRUNE_ROWS;
        }
        let keep = i64::try_from(self.settings.cdr_rows_max).unwrap_or(i64::MAX);
        let n = c.execute(schema::DELETE_SURPLUS_CDRS, [keep, PRUNE_ROWS])?;
        Ok(more || n as i64 == PRUNE_ROWS)
    }

    /// Some call detail records, the newest first.
    pub fn cdrs(&self, asked: &CdrQuery) -> Result<CdrPage, StoreError> {
        super::cdrs::read(&self.connection, asked)
            .map_err(|e| StoreError::from_sqlite(self.file(), &e))
    }

    /// Lets tests limit the file's size.
    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Takes the lock; waits a moment for who has it. A voipd that is just ending lets go, and so does
/// a child of this process between fork(2) and execve(2), which closes its copy of the lock.
fn lock_soon(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    lock.try_lock()
}

/// Makes directory and file where they are missing, and takes the lock beside the file.
fn claim(file: &Path) -> Result<File, StoreError> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let fail = |what: &Path, e: std::io::Error| {
        let problem = format!("{} cannot be made or opened: {e}", what.display());
        let remedy = format!("let the user of voipd own {}", dir.display());
        StoreError::new(file, problem, remedy, false)
    };
    if !dir.as_os_str().is_empty() && !dir.is_dir() {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o750).create(dir);
        made.map_err(|e| fail(dir, e))?;
    }
    let open = |path: &Path| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        options.open(path).map_err(|e| fail(path, e))
    };
    let beside = lock_file(file);
    let lock = open(&beside)?;
    match lock_soon(&lock) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let problem = "another voipd or voipctl works with this database";
            let remedy = "use its control socket (voipctl -s SOCKET), or stop it";
            return Err(StoreError::new(file, problem, remedy, false));
        }
        Err(TryLockError::Error(e)) => return Err(fail(&beside, e)),
    }
    // Not through SQLite, which would make it readable for everybody that the umask lets.
    open(file)?;
    Ok(lock)
}

fn lock_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

pub(super) fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

fn write(t: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    match record {
        Record::PutBinding(b) => put_binding(t, b),
        Record::TouchBinding(touch) => touch_row(t, touch),
        Record::DeleteBinding { aor, key } => t
            .prepare_cached(schema::DELETE_BINDING)?
            .execute(params![aor, key])
            .map(drop),
        Record::Cdr(cdr) => put_cdr(t, cdr),
        Record::PutBan(ban) => t
            .prepare_cached(schema::PUT_BAN)?
            .execute(params![
                ban.source.to_string(),
                ban.user.as_deref().unwrap_or_default(),
                signed(ban.since_ms),
                signed(ban.until_ms),
                ban.reason
            ])
            .map(drop),
        Record::DeleteBan { source, user } => t
            .prepare_cached(schema::DELETE_BAN)?
            .execute(params![
                source.to_string(),
                user.as_deref().unwrap_or_default()
            ])
            .map(drop),
        Record::PutUser(u) => t
            .prepare_cached(schema::PUT_USER)?
            .execute(params![
                u.username,
                u.domain,
                u.display_name,
                &u.ha1.md5[..],
                &u.ha1.sha256[..],
                u.disabled
            ])
            .map(drop),
        Record::DeleteUser { username, domain } => t
            .prepare_cached(schema::DELETE_USER)?
            .execute(params![username, domain])
            .map(drop),
        Record::PutFeatures(f) => put_features(t, f),
        Record::PutMailbox(m) => mailbox::put(t, m),
        Record::PutMessage(m) => mailbox::put_message(t, m),
    }
}

fn touch_row(t: &Transaction<'_>, touch: &Touch) -> rusqlite::Result<()> {
    t.prepare_cached(schema::TOUCH_BINDING)?
        .execute(params![
            signed(touch.expires_at_ms),
            touch.cseq,
            signed(touch.serial)
        ])
        .map(drop)
}

fn put_features(t: &Transaction<'_>, f: &FeatureRecord) -> rusqlite::Result<()> {
    let settings = serde_json::to_string(&f.settings).unwrap_or_else(|_| "{}".into());
    t.prepare_cached(schema::PUT_FEATURES)?
        .execute(params![f.aor, settings, signed(f.revision)])
        .map(drop)
}

/// Every user's features, and the greatest revision. A row that cannot be read, since somebody
/// wrote it by hand, costs its user the features and not everybody the daemon.
fn load_features(c: &Connection) -> rusqlite::Result<(Vec<FeatureRecord>, u64)> {
    let (mut features, mut revision_max) = (Vec::new(), 0);
    let mut statement = c.prepare(schema::SELECT_FEATURES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (aor, text): (Box<str>, String) = (row.get(0)?, row.get(1)?);
        let revision = unsigned(row, 2)?;
        revision_max = revision_max.max(revision);
        match serde_json::from_str(&text) {
            Ok(settings) => features.push(FeatureRecord {
                aor,
                settings,
                revision,
            }),
            Err(error) => tracing::error!(
                user = %aor, %error,
                "the call features in the store cannot be read and are off; set them again"
            ),
        }
    }
    Ok((features, revision_max))
}

fn put_binding(t: &Transaction<'_>, b: &BindingRecord) -> rusqlite::Result<()> {
    let path = serde_json::to_string(&b.path).unwrap_or_else(|_| "[]".into());
    t.prepare_cached(schema::PUT_BINDING)?
        .execute(params![
            b.aor,
            b.key,
            b.contact,
            b.parameters,
            b.q,
            signed(b.expires_at_ms),
            signed(b.registered_at_ms),
            b.call_id,
            b.cseq,
            path,
            b.transport,
            b.local,
            b.received,
            b.behind_nat,
            b.instance,
            b.reg_id,
            b.user_agent,
            signed(b.serial)
        ])
        .map(drop)
}

fn put_cdr(t: &Transaction<'_>, c: &Cdr) -> rusqlite::Result<()> {
    let leg = |i: usize| c.legs.as_ref().and_then(|legs| legs.get(i));
    let count = |i, f: fn(&CdrLeg) -> u64| leg(i).map(|l| signed(f(l)));
    t.prepare_cached(schema::PUT_CDR)?
        .execute(params![
            c.call_id,
            c.from,
            c.to,
            c.user,
            c.source,
            signed(c.start_ms),
            c.answer_ms.map(signed),
            signed(c.end_ms),
            c.status,
            c.cause.as_str(),
            c.codecs,
            count(0, |l| l.packets_in),
            count(0, |l| l.packets_out),
            count(0, |l| l.lost),
            leg(0).map(|l| l.jitter_ms),
            count(1, |l| l.packets_in),
            count(1, |l| l.packets_out),
            count(1, |l| l.lost),
            leg(1).map(|l| l.jitter_ms),
            c.way_in,
            c.way_out,
            c.route,
            c.note,
        ])
        .map(drop)
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        username: row.get(0)?,
        domain: row.get(1)?,
        display_name: row.get(2)?,
        ha1: Ha1 {
            md5: row.get(3)?,
            sha256: row.get(4)?,
        },
        disabled: row.get(5)?,
    })
}

fn binding(row: &Row<'_>) -> rusqlite::Result<BindingRecord> {
    let path: String = row.get(9)?;
    Ok(BindingRecord {
        aor: row.get(0)?,
        key: row.get(1)?,
        contact: row.get(2)?,
        parameters: row.get(3)?,
        q: row.get(4)?,
        expires_at_ms: unsigned(row, 5)?,
        registered_at_ms: unsigned(row, 6)?,
        call_id: row.get(7)?,
        cseq: row.get(8)?,
        path: serde_json::from_str(&path).unwrap_or_default(),
        transport: row.get(10)?,
        local: row.get(11)?,
        received: row.get(12)?,
        behind_nat: row.get(13)?,
        instance: row.get(14)?,
        reg_id: row.get(15)?,
        user_agent: row.get(16)?,
        serial: unsigned(row, 17)?,
    })
}

/// `None` where somebody wrote no address into the source.
fn ban(row: &Row<'_>) -> rusqlite::Result<Option<Ban>> {
    let source: String = row.get(0)?;
    let Ok(source) = source.parse() else {
        return Ok(None);
    };
    let user: Box<str> = row.get(1)?;
    Ok(Some(Ban {
        source,
        user: Some(user).filter(|user| !user.is_empty()),
        since_ms: unsigned(row, 2)?,
        until_ms: unsigned(row, 3)?,
        reason: row.get(4)?,
    }))
}

pub(super) fn cdr(row: &Row<'_>) -> rusqlite::Result<Cdr> {
    let cause: String = row.get(9)?;
    Ok(Cdr {
        call_id: row.get(0)?,
        from: row.get(1)?,
        to: row.get(2)?,
        user: row.get(3)?,
        source: row.get(4)?,
        way_in: row.get(19)?,
        way_out: row.get(20)?,
        route: row.get(21)?,
        note: row.get(22)?,
        start_ms: unsigned(row, 5)?,
        answer_ms: row.get::<_, Option<i64>>(6)?.map(|ms| ms.max(0) as u64),
        end_ms: unsigned(row, 7)?,
        status: row.get(8)?,
        cause: EndCause::from_word(&cause).unwrap_or(EndCause::Shutdown),
        codecs: row.get(10)?,
        legs: match (leg(row, 11)?, leg(row, 15)?) {
            (Some(caller), Some(callee)) => Some([caller, callee]),
            _ => None,
        },
    })
}

fn leg(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<CdrLeg>> {
    if row.get::<_, Option<i64>>(first)?.is_none() {
        return Ok(None);
    }
    Ok(Some(CdrLeg {
        packets_in: unsigned(row, first)?,
        packets_out: unsigned(row, first + 1)?,
        lost: unsigned(row, first + 2)?,
        jitter_ms: row.get(first + 3)?,
    }))
}

/// SQLite's integers have a sign.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let n: i64 = row.get(index)?;
    Ok(u64::try_from(n).unwrap_or(0))
}
