mod cdrs;
mod features;
mod mailboxes;

use super::sqlite::unix_ms;
use super::*;
use crate::config;
use crate::store::{Ban, BindingRecord, Cdr, CdrLeg, EndCause, Ha1, Record, Touch, User};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("voip-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn settings(&self) -> config::Store {
        settings(&self.0)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings(dir: &Path) -> config::Store {
    config::Store {
        file: dir.join("voip.db"),
        ..config::Store::default()
    }
}

fn user(n: usize) -> User {
    User {
        username: n.to_string().into(),
        domain: "example.com".into(),
        display_name: "Ana".into(),
        ha1: Ha1::of(&n.to_string(), "example.com", "secret"),
        disabled: n % 2 == 1,
    }
}

fn binding(n: usize) -> BindingRecord {
    BindingRecord {
        aor: format!("{n}@example.com").into(),
        key: "sip:1@192.0.2.1:5060".into(),
        contact: "sip:1@192.0.2.1:5060;ob".into(),
        parameters: ";audio".into(),
        q: 700,
        expires_at_ms: unix_ms() as u64 + 3_600_000,
        registered_at_ms: unix_ms() as u64,
        call_id: format!("call-{n}").into(),
        cseq: 4_000_000_000,
        path: ["<sip:a;lr>".into(), "<sip:b,c;lr>".into()].into(),
        transport: "tcp".into(),
        local: "192.0.2.9:5060".into(),
        received: "203.0.113.1:40000".into(),
        behind_nat: true,
        instance: "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6".into(),
        reg_id: 1,
        user_agent: "Phone/1.0 ñ".into(),
        serial: n as u64 + 1,
    }
}

fn cdr(n: u64, end_ms: u64) -> Cdr {
    Cdr {
        call_id: n.to_string().into(),
        from: "sip:100@example.com".into(),
        to: "sip:101@example.com".into(),
        user: "100@example.com".into(),
        source: "192.0.2.1:5060".into(),
        way_in: "".into(),
        way_out: "itsp".into(),
        route: "out".into(),
        note: "forwarded by 200: no-answer".into(),
        start_ms: end_ms.saturating_sub(1000),
        answer_ms: Some(end_ms.saturating_sub(500)),
        end_ms,
        status: 200,
        cause: EndCause::CalleeHungUp,
        codecs: "PCMA".into(),
        legs: Some([
            CdrLeg {
                packets_in: 10,
                packets_out: 9,
                lost: 1,
                jitter_ms: 1.5,
            },
            CdrLeg::default(),
        ]),
    }
}

fn ban(until_ms: u64) -> Ban {
    Ban {
        source: "2001:db8::1".parse().unwrap(),
        user: None,
        since_ms: 1,
        until_ms,
        reason: "20 wrong passwords".into(),
    }
}

fn ban_of(user: &str, until_ms: u64) -> Ban {
    Ban {
        user: Some(user.into()),
        ..ban(until_ms)
    }
}

fn newest(database: &Database, limit: usize) -> Vec<Cdr> {
    let asked = CdrQuery {
        limit,
        ..CdrQuery::default()
    };
    database.cdrs(&asked).unwrap().rows
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn everything_comes_back() {
    let dir = Dir::new("everything");
    let mut database = Database::open(&dir.settings()).unwrap();
    let far = unix_ms() as u64 + 1_000_000;
    let mut old = binding(2);
    old.expires_at_ms = unix_ms() as u64 - 1;
    let records = [
        Record::PutUser(Box::new(user(1))),
        Record::PutUser(Box::new(user(2))),
        Record::DeleteUser {
            username: "2".into(),
            domain: "example.com".into(),
        },
        Record::PutBinding(Box::new(binding(1))),
        Record::PutBinding(Box::new(old)),
        Record::Cdr(Box::new(cdr(1, far))),
        Record::PutBan(ban(far)),
        Record::PutBan(ban_of("100@example.com", far)),
        Record::PutBan(ban_of("200@example.com", far)),
        Record::DeleteBan {
            source: ban(far).source,
            user: Some("200@example.com".into()),
        },
    ];
    database.apply(records.iter()).unwrap();
    drop(database);
    let mut database = Database::open(&dir.settings()).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!(loaded.users, [user(1)]);
    assert_eq!(loaded.bindings.len(), 1);
    let (found, given) = (&loaded.bindings[0], binding(1));
    assert_eq!(
        (&found.path, &found.user_agent),
        (&given.path, &given.user_agent)
    );
    assert_eq!((found.cseq, found.q, found.reg_id), (4_000_000_000, 700, 1));
    assert_eq!(loaded.bans, [ban(far), ban_of("100@example.com", far)]);
    assert_eq!(newest(&database, 10), [cdr(1, far)]);
}

#[test]
fn only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new("mode");
    let _database = Database::open(&dir.settings()).unwrap();
    for name in ["voip.db", "voip.db.lock", "voip.db-wal"] {
        let mode = dir.0.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn one_process_at_a_time() {
    let dir = Dir::new("lock");
    let database = Database::open(&dir.settings()).unwrap();
    let error = Database::open(&dir.settings()).unwrap_err();
    assert!(error.problem.contains("another"), "{error}");
    drop(database);
    Database::open(&dir.settings()).unwrap();
}

#[test]
fn a_batch_is_there_within_a_second() {
    let dir = Dir::new("second");
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    for n in 0..1000 {
        store.persist(Record::PutBinding(Box::new(binding(n % 100))));
    }
    assert!(store.status().waiting <= 100);
    std::thread::sleep(Duration::from_secs(1));
    let other = rusqlite::Connection::open(dir.0.join("voip.db")).unwrap();
    let count = "SELECT count(*) FROM bindings";
    let rows: i64 = other.query_row(count, [], |r| r.get(0)).unwrap();
    assert_eq!((rows, store.status().waiting), (100, 0));
    store.close().unwrap();
}

#[test]
fn closing_writes_what_waits() {
    let dir = Dir::new("close");
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    store.persist(Record::PutUser(Box::new(user(1))));
    store.close().unwrap();
    let mut database = Database::open(&dir.settings()).unwrap();
    assert_eq!(database.load().unwrap().users.len(), 1);
}

#[test]
fn flushing_does_not_wait_for_the_batch() {
    let dir = Dir::new("flush");
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    assert_eq!(store.flush(PATIENCE), Ok(true));
    store.persist(Record::PutUser(Box::new(user(1))));
    assert_eq!(store.flush(PATIENCE), Ok(true));
    assert_eq!(store.status().written, 1);
    store.close().unwrap();
}

#[test]
fn a_hundred_thousand_in_seconds() {
    let dir = Dir::new("many");
    let many = if cfg!(debug_assertions) {
        20_000
    } else {
        100_000
    };
    let start = Instant::now();
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    for n in 0..many {
        store.persist(Record::PutBinding(Box::new(binding(n))));
        store.persist(Record::PutUser(Box::new(user(n))));
    }
    assert_eq!(store.flush(Duration::from_secs(120)), Ok(true));
    let written = start.elapsed();
    store.close().unwrap();
    drop(store);
    let start = Instant::now();
    let loaded = Database::open(&dir.settings()).unwrap().load().unwrap();
    assert_eq!((loaded.users.len(), loaded.bindings.len()), (many, many));
    println!("written in {written:?}, loaded in {:?}", start.elapsed());
}

/// The refresh with this CSeq above the one that [`binding`] has.
fn touch(serial: u64, later: u32) -> Touch {
    Touch {
        serial,
        expires_at_ms: u64::from(later) + 9_000_000_000_000,
        cseq: binding(0).cseq + later,
    }
}

fn put(n: usize, serial: u64) -> Record {
    Record::PutBinding(Box::new(BindingRecord {
        serial,
        ..binding(n)
    }))
}

/// Who is bound, and by how much later a refresh.
fn refreshed(loaded: &Loaded) -> Vec<(String, u32)> {
    let later = |b: &BindingRecord| b.cseq - binding(0).cseq;
    let all = loaded.bindings.iter();
    all.map(|b| (b.aor.to_string(), later(b))).collect()
}

#[test]
fn a_touch_changes_times_wherever_the_binding_is() {
    let dir = Dir::new("touch");
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    let delete = |n| Record::DeleteBinding {
        aor: binding(n).aor,
        key: binding(n).key,
    };
    let persist_touch = |serial, later| store.persist(Record::TouchBinding(touch(serial, later)));
    store.persist(put(1, 1));
    persist_touch(1, 7); // still waits
    store.persist(put(2, 2));
    store.persist(put(3, 3));
    store.persist(put(4, 4));
    assert_eq!(store.flush(PATIENCE), Ok(true));
    persist_touch(2, 7); // on the disk
    persist_touch(2, 8);
    store.persist(delete(3));
    persist_touch(3, 8); // gone
    persist_touch(5, 8); // never there
    persist_touch(4, 9); // to be replaced by another state of the binding
    assert_eq!(store.flush(PATIENCE), Ok(true));
    store.persist(put(4, 6));
    store.close().unwrap();
    drop(store);
    let expected = [("1", 7), ("2", 8), ("4", 0)].map(|(n, l)| (format!("{n}@example.com"), l));
    // An orderly end leaves nothing in the journal.
    for name in ["voip.db-refresh-a", "voip.db-refresh-b"] {
        assert_eq!(std::fs::read(dir.0.join(name)).unwrap(), b"");
    }
    let loaded = Database::open(&dir.settings()).unwrap().load().unwrap();
    assert_eq!(refreshed(&loaded), expected);
    assert_eq!(loaded.bindings[1].expires_at_ms, 9_000_000_000_008);
}

#[test]
fn a_start_reads_the_journal_of_a_process_that_died() {
    let dir = Dir::new("journal");
    let now = unix_ms();
    let mut dying = Database::open(&dir.settings()).unwrap();
    let mut old = binding(1);
    old.expires_at_ms = now as u64 - 1;
    let records = [Record::PutBinding(Box::new(old)), put(2, 3), put(7, 8)];
    dying.apply(records.iter()).unwrap();
    dying
        .refresh(&[touch(2, 1), touch(3, 1), touch(3, 2)])
        .unwrap();
    dying.refresh(&[touch(40, 1), touch(8, 5)]).unwrap();
    // The binding came anew with a lower CSeq than what the journal has of the one before.
    dying.apply([put(7, 9)].iter()).unwrap();
    drop(dying);
    for round in 0..2 {
        let mut database = Database::open(&dir.settings()).unwrap();
        let loaded = database.load().unwrap();
        let expected = [("1", 1), ("2", 2), ("7", 0)].map(|(n, l)| (format!("{n}@example.com"), l));
        assert_eq!(refreshed(&loaded), expected, "start {round}");
        // As long as the journal knows a serial it is in use.
        assert_eq!(loaded.serial_max, if round == 0 { 40 } else { 9 });
    }
}

#[test]
fn refreshes_go_home_in_steps_while_others_come() {
    let dir = Dir::new("homeward");
    let mut database = Database::open(&dir.settings()).unwrap();
    let many: Vec<Record> = (0..12_000).map(|n| put(n, n as u64 + 1)).collect();
    database.apply(many.iter()).unwrap();
    let all = |later| -> Vec<Touch> { (1..=12_000).map(|n| touch(n, later)).collect() };
    database.refresh(&all(1)).unwrap();
    assert_eq!(database.copy_home(false), Ok(false), "young and small");
    assert_eq!(database.copy_home(true), Ok(true));
    // Newer ones come between two steps; the older must not win.
    database.refresh(&[touch(5, 3), touch(11_999, 3)]).unwrap();
    while database.copy_home(false).unwrap() {}
    let rows = |database: &Database, cseq: u32| -> i64 {
        let sql = "SELECT count(*) FROM bindings WHERE cseq = ?";
        let c = database.connection();
        c.query_row(sql, [cseq], |r| r.get(0)).unwrap()
    };
    assert_eq!(rows(&database, touch(0, 1).cseq), 12_000);
    while database.copy_home(true).unwrap() {}
    assert_eq!(rows(&database, touch(0, 3).cseq), 2);
    assert_eq!(rows(&database, touch(0, 1).cseq), 11_998);
}

#[test]
fn a_database_of_the_version_before_is_brought_up() {
    let dir = Dir::new("migrate");
    std::fs::create_dir_all(&dir.0).unwrap();
    let old = rusqlite::Connection::open(dir.0.join("voip.db")).unwrap();
    old.execute_batch(schema::MIGRATIONS[0]).unwrap();
    old.pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    for n in 0..3 {
        old.execute(
            "INSERT INTO bindings VALUES (?, 'k', 'sip:a@b', '', 1000, 9000000000000, 1, 'c', 1,
             '[]', 'udp', '192.0.2.9:5060', '192.0.2.1:5060', 0, '', 0, '')",
            [format!("{n}@example.com")],
        )
        .unwrap();
    }
    old.execute(
        "INSERT INTO bans VALUES ('2001:db8::1', 1, 9000000000000, '20 wrong passwords')",
        [],
    )
    .unwrap();
    drop(old);
    let mut database = Database::open(&dir.settings()).unwrap();
    let until_ms = 9_000_000_000_000;
    let more = Record::PutBan(ban_of("100@example.com", until_ms));
    database.apply([&more].into_iter()).unwrap();
    let loaded = database.load().unwrap();
    let bans = [ban(until_ms), ban_of("100@example.com", until_ms)];
    assert_eq!(loaded.bans, bans);
    let mut serials: Vec<u64> = loaded.bindings.iter().map(|b| b.serial).collect();
    serials.sort_unstable();
    assert_eq!(serials, [1, 2, 3]);
}

#[test]
fn each_cause_has_a_word_of_its_own() {
    let dir = Dir::new("causes");
    let mut database = Database::open(&dir.settings()).unwrap();
    let causes = [
        EndCause::CallerHungUp,
        EndCause::CalleeHungUp,
        EndCause::Cancelled,
        EndCause::Refused,
        EndCause::MediaTimeout,
        EndCause::MediaFailed,
        EndCause::Operator,
        EndCause::TooLong,
        EndCause::Shutdown,
    ];
    let with = |cause| Record::Cdr(Box::new(Cdr { cause, ..cdr(1, 1) }));
    database.apply(causes.map(with).iter()).unwrap();
    let read = newest(&database, 20);
    let read: Vec<EndCause> = read.iter().rev().map(|c| c.cause).collect();
    assert_eq!(read, causes);
}

#[test]
fn a_full_disk_is_said_and_waited_out() {
    let dir = Dir::new("full");
    let database = Database::open(&dir.settings()).unwrap();
    let pages = |database: &Database, n: i64| {
        let c = database.connection();
        c.pragma_update_and_check(None, "max_page_count", n, |r| r.get::<_, i64>(0))
            .unwrap();
    };
    pages(&database, 40);
    let mut database = database;
    let many: Vec<Record> = (0..2000)
        .map(|n| Record::PutBinding(Box::new(binding(n))))
        .collect();
    let error = database.apply(many.iter()).unwrap_err();
    assert_eq!(error.problem, "the disk is full");
    assert!(
        error.passing && error.remedy.contains("make room"),
        "{error}"
    );
    assert!(database.load().unwrap().bindings.is_empty(), "all or none");
    pages(&database, 100_000);
    database.apply(many.iter()).unwrap();
    assert_eq!(database.load().unwrap().bindings.len(), 2000);
}

#[test]
fn the_writer_outlives_a_full_disk() {
    let dir = Dir::new("outlives");
    let database = Database::open(&dir.settings()).unwrap();
    database
        .connection()
        .pragma_update_and_check(None, "max_page_count", 20, |r| r.get::<_, i64>(0))
        .unwrap();
    let store = Store::start_with(database, 500).unwrap();
    for n in 0..600 {
        store.persist(Record::PutBinding(Box::new(binding(n))));
    }
    let trouble = store.flush(PATIENCE).unwrap_err();
    assert_eq!(trouble.problem, "the disk is full");
    let status = store.status();
    assert_eq!((status.waiting, status.lost), (500, 100));
    // Calls go on: newer states of what waits are taken, and nothing blocks.
    store.persist(Record::DeleteBinding {
        aor: "1@example.com".into(),
        key: binding(1).key,
    });
    for n in 2..480 {
        let (aor, key) = (binding(n).aor, binding(n).key);
        store.persist(Record::DeleteBinding { aor, key });
    }
    // What fits now is written, and the trouble is over.
    assert_eq!(store.flush(PATIENCE), Ok(true));
    assert!(store.status().trouble.is_none());
    store.close().unwrap();
    let loaded = Database::open(&dir.settings()).unwrap().load().unwrap();
    assert_eq!(loaded.bindings.len(), 21);
}

#[test]
fn a_damaged_file_is_left_alone() {
    let dir = Dir::new("damaged");
    let file = dir.settings().file;
    drop(Database::open(&dir.settings()).unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    for b in &mut bytes[4096..] {
        *b = 0xa5;
    }
    std::fs::write(&file, &bytes).unwrap();
    let error = Database::open(&dir.settings()).unwrap_err();
    assert!(error.problem.contains("damaged"), "{error}");
    assert!(error.remedy.contains(".recover"), "{error}");
    assert!(std::fs::read(&file).unwrap() == bytes);

    std::fs::write(
        &file,
        "This is a letter, and no database at all.".repeat(200),
    )
    .unwrap();
    let error = Database::open(&dir.settings()).unwrap_err();
    assert!(
        error.problem.contains("damaged") && !error.passing,
        "{error}"
    );
}

#[test]
fn damage_that_shows_later_does_not_stop_the_writer() {
    let dir = Dir::new("later");
    let mut database = Database::open(&dir.settings()).unwrap();
    let many: Vec<Record> = (0..500)
        .map(|n| Record::PutBinding(Box::new(binding(n))))
        .collect();
    database.apply(many.iter()).unwrap();
    drop(database);
    let file = dir.settings().file;
    let database = Database::open(&dir.settings()).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    for b in &mut bytes[4096..] {
        *b = 0xa5;
    }
    std::fs::write(&file, &bytes).unwrap();
    let forget = "PRAGMA shrink_memory"; // SQLite's cache would hide the damage
    database.connection().execute_batch(forget).unwrap();
    let store = Store::start(database).unwrap();
    store.persist(Record::PutBinding(Box::new(binding(1))));
    let trouble = store.flush(PATIENCE).unwrap_err();
    assert!(trouble.problem.contains("damaged"), "{trouble}");
    assert_eq!(store.status().waiting, 1);
    assert!(store.close().is_err());
}

#[test]
fn a_later_version_is_refused() {
    let dir = Dir::new("newer");
    let database = Database::open(&dir.settings()).unwrap();
    database
        .connection()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    drop(database);
    let error = Database::open(&dir.settings()).unwrap_err();
    assert!(
        error.problem.contains("later version (schema 99"),
        "{error}"
    );
}

#[test]
fn a_foreign_database_is_refused() {
    let dir = Dir::new("foreign");
    std::fs::create_dir_all(&dir.0).unwrap();
    let other = rusqlite::Connection::open(dir.settings().file).unwrap();
    other
        .execute_batch("CREATE TABLE songs (title TEXT)")
        .unwrap();
    drop(other);
    let error = Database::open(&dir.settings()).unwrap_err();
    assert!(error.problem.contains("another program"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_made() {
    let error = Database::open(&settings(Path::new("/dev/null/voip"))).unwrap_err();
    assert!(error.remedy.contains("own"), "{error}");
}

#[test]
fn old_call_records_go() {
    let dir = Dir::new("prune");
    let settings = config::Store {
        cdr_days: 1,
        cdr_rows_max: 1000,
        ..dir.settings()
    };
    let mut database = Database::open(&settings).unwrap();
    let day = 86_400_000;
    let records: Vec<Record> = (0..1500)
        .map(|n| Record::Cdr(Box::new(cdr(n, if n < 100 { day } else { 3 * day }))))
        .collect();
    database.apply(records.iter()).unwrap();
    assert!(!database.prune_at(3 * day as i64 + 1000).unwrap());
    let rows = "SELECT count(*) FROM cdrs";
    let left = database.connection().query_row(rows, [], |r| r.get(0));
    assert_eq!(left, Ok(1000));
    assert_eq!(&*newest(&database, 1)[0].call_id, "1499");
}

/// The child of the tests below: this very program, told by its environment what to do.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("VOIP_STORE_CHILD") else {
        return;
    };
    let store = Store::start(Database::open(&settings(Path::new(&dir))).unwrap()).unwrap();
    for n in 0.. {
        store.persist(Record::PutBinding(Box::new(binding(n))));
        store.persist(Record::Cdr(Box::new(cdr(n as u64, unix_ms() as u64))));
        if n % 20 == 0 {
            let trouble = store.status().trouble.map(|t| t.problem);
            println!("\ngiven {n} {} {trouble:?}", unix_ms());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs one test of this file as a program of its own.
fn start_child(dir: &Dir, test: &str, shell: &str) -> std::process::Child {
    let program = std::env::current_exe().unwrap();
    Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{shell} exec \"$0\" --exact os::store::tests::{test} --nocapture"
        ))
        .arg(program)
        .env("VOIP_STORE_CHILD", &dir.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads the child's lines for a while, kills it and gives what it said.
fn kill_after(mut child: std::process::Child, time: Duration) -> (Vec<String>, i64) {
    use std::io::Read;
    std::thread::sleep(time);
    child.kill().unwrap();
    let killed_at = unix_ms();
    child.wait().unwrap();
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let given = said.lines().filter(|l| l.starts_with("given "));
    (given.map(str::to_string).collect(), killed_at)
}

#[test]
fn a_killed_process_loses_at_most_a_second() {
    let dir = Dir::new("killed");
    let (said, killed_at) = kill_after(start_child(&dir, "child", ""), Duration::from_millis(2500));
    let safe = said
        .iter()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let n: usize = words.next()?.parse().ok()?;
            let at: i64 = words.next()?.parse().ok()?;
            (at < killed_at - 1000).then_some(n)
        })
        .max()
        .unwrap();
    assert!(safe > 100, "{safe}");
    let mut database = Database::open(&dir.settings()).unwrap();
    let loaded = database.load().unwrap();
    let rows = "SELECT count(*) FROM cdrs";
    let cdrs = database.connection().query_row(rows, [], |r| r.get(0));
    let cdrs = usize::try_from(cdrs.unwrap_or(0i64)).unwrap();
    assert!(
        loaded.bindings.len() > safe,
        "{} of {safe}",
        loaded.bindings.len()
    );
    assert!(cdrs > safe, "{cdrs} of {safe}");
}

#[test]
fn a_limited_file_size_is_a_full_disk() {
    let dir = Dir::new("fsize");
    let child = start_child(&dir, "child", "ulimit -f 1000;");
    let (said, _) = kill_after(child, Duration::from_millis(4000));
    let last = said.last().unwrap();
    assert!(last.contains("full"), "{last}");
    // What was written before is sound.
    let loaded = Database::open(&dir.settings()).unwrap().load().unwrap();
    assert!(!loaded.bindings.is_empty());
}

/// What a refresh costs the writer: `cargo test --release --lib os::store::tests::cost -- --ignored
/// --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_refreshes() {
    use nix::sys::resource::{UsageWho, getrusage};
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
        seconds(usage.user_time()) + seconds(usage.system_time())
    };
    let bindings = 10_000;
    let dir = Dir::new("cost");
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    for n in 0..bindings {
        store.persist(Record::PutBinding(Box::new(binding(n))));
    }
    store.flush(PATIENCE).unwrap();
    for rate in [5_000, 20_000] {
        let (cpu_before, start, mut n) = (cpu(), Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(5) {
            for _ in 0..rate / 100 {
                n += 1;
                store.persist(Record::TouchBinding(Touch {
                    serial: binding(n * 7919 % bindings).serial,
                    expires_at_ms: unix_ms() as u64 + 3_600_000,
                    cseq: n as u32,
                }));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        store.flush(PATIENCE).unwrap();
        let (seconds, each) = (cpu() - cpu_before, 1e6 / n as f64);
        println!("{n} refreshes: {:.2} us of CPU each", seconds * each);
    }
    store.close().unwrap();
}
