//! What users want to become of calls, on the disk.

use super::*;
use crate::store::{FeatureRecord, Settings};

fn features(aor: &str, revision: u64, settings: Settings) -> Record {
    Record::PutFeatures(Box::new(FeatureRecord {
        aor: aor.into(),
        settings,
        revision,
    }))
}

fn all_on() -> Settings {
    Settings {
        forward_always: Some("+34915550100".into()),
        forward_busy: Some("sip:200@example.org".into()),
        forward_no_answer: Some("300".into()),
        forward_unregistered: Some("*123".into()),
        ring_s: Some(25),
        ring_back: Some("music".into()),
        dnd: true,
        reject_anonymous: true,
        blocked: vec!["900*".into(), "@ñ.example".into()],
        speed: [(0, "200".into()), (99, "sip:a\"'@b".into())].into(),
        queues: vec!["support".into()],
        queue_pause: true,
    }
}

fn dnd() -> Settings {
    Settings {
        dnd: true,
        ..Settings::default()
    }
}

fn put_users(database: &mut Database) {
    let records = [1, 2, 3].map(|n| Record::PutUser(Box::new(user(n))));
    database.apply(records.iter()).unwrap();
}

/// `aor revision` of each.
fn held(loaded: &Loaded) -> Vec<String> {
    let rows = loaded.features.iter();
    rows.map(|f| format!("{} {}", f.aor, f.revision)).collect()
}

#[test]
fn features_come_back() {
    let dir = Dir::new("features");
    let mut database = Database::open(&dir.settings()).unwrap();
    put_users(&mut database);
    let records = [
        features("1@example.com", 1, all_on()),
        features("2@example.com", 2, dnd()),
        features("3@example.com", 3, dnd()),
        features("3@example.com", 4, Settings::default()),
        features("9@example.com", 5, dnd()),
    ];
    database.apply(records.iter()).unwrap();
    drop(database);
    let mut database = Database::open(&dir.settings()).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!(loaded.features_revision_max, 5);
    assert_eq!(loaded.features[0].settings, all_on());
    // Those with nothing on, and those of nobody, are swept out at a start.
    let again = held(&database.load().unwrap());
    assert_eq!(again, ["1@example.com 1", "2@example.com 2"]);
}

#[test]
fn the_later_change_wins_whichever_is_written_first() {
    let dir = Dir::new("revisions");
    let mut database = Database::open(&dir.settings()).unwrap();
    put_users(&mut database);
    let (older, newer) = (
        features("1@example.com", 7, dnd()),
        features("1@example.com", 8, all_on()),
    );
    database.apply([&newer].into_iter()).unwrap();
    database.apply([&older].into_iter()).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!(held(&loaded), ["1@example.com 8"]);
    assert_eq!(loaded.features[0].settings, all_on());
    drop(database);
    // The same while both wait for one batch, and what a deleted user leaves behind.
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    store.persist(features("2@example.com", 10, all_on()));
    store.persist(features("2@example.com", 9, dnd()));
    store.persist(features("1@example.com", 12, Settings::default()));
    store.persist(features("1@example.com", 11, all_on()));
    assert_eq!(store.status().waiting, 2);
    store.close().unwrap();
    let mut database = Database::open(&dir.settings()).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!(held(&loaded), ["1@example.com 12", "2@example.com 10"]);
    assert!(loaded.features[0].settings.is_empty());
    assert_eq!(loaded.features[1].settings, all_on());
}

#[test]
fn a_row_that_cannot_be_read_costs_its_user_alone() {
    let dir = Dir::new("unreadable");
    let mut database = Database::open(&dir.settings()).unwrap();
    put_users(&mut database);
    let records = [features("2@example.com", 2, dnd())];
    database.apply(records.iter()).unwrap();
    let by_hand = "INSERT INTO features VALUES ('1@example.com', '{\"dnd\":\"yes\"}', 9),
        ('3@example.com', '{\"a later key\":1,\"dnd\":true}', 3)";
    database.connection().execute(by_hand, []).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!(held(&loaded), ["2@example.com 2", "3@example.com 3"]);
    assert_eq!(loaded.features_revision_max, 9);
    assert!(loaded.features[1].settings.dnd);
}

#[test]
fn a_database_without_features_is_brought_up() {
    let dir = Dir::new("migrate-features");
    std::fs::create_dir_all(&dir.0).unwrap();
    let old = rusqlite::Connection::open(dir.0.join("voip.db")).unwrap();
    for sql in &schema::MIGRATIONS[..3] {
        old.execute_batch(sql).unwrap();
    }
    old.pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    old.pragma_update(None, "user_version", 3).unwrap();
    let hash = "INSERT INTO users VALUES ('1', 'example.com', '', zeroblob(16), zeroblob(32), 0)";
    old.execute(hash, []).unwrap();
    drop(old);
    let mut database = Database::open(&dir.settings()).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!((loaded.users.len(), loaded.features.len()), (1, 0));
    let on = features("1@example.com", 1, dnd());
    database.apply([&on].into_iter()).unwrap();
    drop(database);
    let mut database = Database::open(&dir.settings()).unwrap();
    assert_eq!(held(&database.load().unwrap()), ["1@example.com 1"]);
}

/// The child of the test below.
#[test]
fn child_of_features() {
    let Some(dir) = std::env::var_os("VOIP_STORE_CHILD") else {
        return;
    };
    let mut database = Database::open(&settings(Path::new(&dir))).unwrap();
    put_users(&mut database);
    let store = Store::start(database).unwrap();
    for revision in 1.. {
        store.persist(features("1@example.com", revision, all_on()));
        println!("\ngiven {revision} {}", unix_ms());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Killed with -9: what a second had passed over is there, and the row is whole.
#[test]
fn features_outlive_a_killed_process() {
    use std::io::{BufRead, BufReader};
    let dir = Dir::new("features-killed");
    let mut child = start_child(&dir, "features::child_of_features", "");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut given: Vec<(u64, i64)> = Vec::new();
    for line in lines.map_while(Result::ok) {
        let mut words = line.split(' ');
        if words.next() != Some("given") {
            continue;
        }
        let mut number = || words.next().unwrap().parse::<i64>().unwrap();
        given.push((number() as u64, number()));
        // However slow the machine is, more than a second lies between the first and the last.
        if given.last().unwrap().1 > given[0].1 + 1500 {
            break;
        }
    }
    child.kill().unwrap();
    let killed_at = unix_ms();
    child.wait().unwrap();
    let old_enough = given.iter().filter(|(_, at)| *at < killed_at - 1000);
    let safe = old_enough.map(|(revision, _)| *revision).max().unwrap();
    let loaded = Database::open(&dir.settings()).unwrap().load().unwrap();
    assert!(loaded.features_revision_max >= safe, "{safe}: {loaded:?}");
    assert_eq!(loaded.features[0].settings, all_on());
}
