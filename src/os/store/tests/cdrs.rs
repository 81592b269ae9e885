//! Call detail records: read page by page, and brought up from databases that know less of them.

use super::*;

fn of(user: &str, n: u64, end_ms: u64) -> Cdr {
    Cdr {
        user: user.into(),
        ..cdr(n, end_ms)
    }
}

fn put(database: &mut Database, cdrs: Vec<Cdr>) {
    let records: Vec<Record> = cdrs.into_iter().map(|c| Record::Cdr(Box::new(c))).collect();
    database.apply(records.iter()).unwrap();
}

/// The Call-IDs of all pages, and how many pages there were.
fn all(database: &Database, asked: &CdrQuery) -> (Vec<String>, usize) {
    let (mut found, mut asked, mut pages) = (Vec::new(), asked.clone(), 0);
    loop {
        let page = database.cdrs(&asked).unwrap();
        assert!(page.rows.len() <= asked.limit.min(CDRS_PAGE_MAX));
        found.extend(page.rows.iter().map(|c| c.call_id.to_string()));
        pages += 1;
        match page.next {
            Some(next) => asked.before = Some(next),
            None => return (found, pages),
        }
    }
}

#[test]
fn a_database_that_knows_nothing_of_ways_is_brought_up() {
    let dir = Dir::new("migrate-cdrs");
    std::fs::create_dir_all(&dir.0).unwrap();
    let old = rusqlite::Connection::open(dir.0.join("voip.db")).unwrap();
    for sql in &schema::MIGRATIONS[..4] {
        old.execute_batch(sql).unwrap();
    }
    old.pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    old.pragma_update(None, "user_version", 4).unwrap();
    let row = "INSERT INTO cdrs VALUES (7, '1', 'sip:100@example.com', 'sip:101@example.com',
        '100@example.com', '192.0.2.1:5060', 8000, 8500, 9000, 200, 'callee_hung_up', 'PCMA',
        10, 9, 1, 1.5, 0, 0, 0, 0.0)";
    old.execute(row, []).unwrap();
    drop(old);
    let mut database = Database::open(&dir.settings()).unwrap();
    let known = Cdr {
        way_out: "".into(),
        route: "".into(),
        note: "".into(),
        ..cdr(1, 9000)
    };
    assert_eq!(newest(&database, 10), std::slice::from_ref(&known));
    put(&mut database, vec![cdr(2, 9500)]);
    drop(database);
    let database = Database::open(&dir.settings()).unwrap();
    assert_eq!(newest(&database, 10), [cdr(2, 9500), known]);
    let version = database
        .connection()
        .pragma_query_value(None, "user_version", |r| r.get::<_, i64>(0));
    assert_eq!(version, Ok(schema::VERSION));
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition() {
    let dir = Dir::new("cdr-pages");
    let mut database = Database::open(&dir.settings()).unwrap();
    assert_eq!(newest(&database, 10), []);
    put(&mut database, (0..25).map(|n| cdr(n, 1000 + n)).collect());
    let asked = CdrQuery {
        limit: 10,
        ..CdrQuery::default()
    };
    let (found, _) = all(&database, &asked);
    let expected: Vec<String> = (0..25).rev().map(|n| n.to_string()).collect();
    assert_eq!(found, expected);
    let (found, _) = all(
        &database,
        &CdrQuery {
            since_ms: 1020,
            ..asked.clone()
        },
    );
    assert_eq!(found, expected[..5]);
    let none = CdrQuery { limit: 0, ..asked };
    assert!(database.cdrs(&none).unwrap().rows.is_empty());
}

#[test]
fn a_page_looks_at_so_many_rows_and_no_more() {
    let dir = Dir::new("cdr-bounded");
    let mut database = Database::open(&dir.settings()).unwrap();
    let many = CDRS_LOOKED_AT_MAX as u64 + 100;
    let rows = std::iter::once(of("rare@example.com", 0, 1000));
    let rows = rows.chain((1..=many).map(|n| cdr(n, 1000 + n)));
    put(&mut database, rows.collect());
    let asked = CdrQuery {
        user: Some("rare@example.com".into()),
        limit: 10,
        ..CdrQuery::default()
    };
    let first = database.cdrs(&asked).unwrap();
    assert!(first.rows.is_empty() && first.next.is_some());
    assert_eq!(all(&database, &asked), (vec!["0".into()], 2));
    // Nothing that is too old is looked for behind a page of nothing else.
    let asked = CdrQuery {
        since_ms: 1_000_000,
        ..asked
    };
    assert_eq!(all(&database, &asked), (vec![], 1));
    let asked = CdrQuery {
        limit: usize::MAX,
        ..CdrQuery::default()
    };
    assert_eq!(database.cdrs(&asked).unwrap().rows.len(), CDRS_PAGE_MAX);
}

#[test]
fn the_writer_answers_with_what_was_given_before() {
    let dir = Dir::new("cdr-writer");
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    let asked = CdrQuery {
        limit: 10,
        ..CdrQuery::default()
    };
    for n in 1..=5 {
        store.persist(Record::Cdr(Box::new(cdr(n, 1000 + n))));
        let page = store.cdrs(asked.clone(), PATIENCE).unwrap().unwrap();
        assert_eq!(page.rows[0].call_id.parse(), Ok(n));
        assert_eq!((page.rows.len() as u64, page.next), (n, None));
    }
    store.close().unwrap();
    assert_eq!(store.cdrs(asked, PATIENCE), Ok(None), "nobody answers");
}
