//! `voipctl` run as people run it: against no daemon, against a daemon's control socket with canned
//! replies, and against a small SIP server that this test is.

use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use voip::control::{
    self, BanRow, CallRow, CallState, LegRow, MemberRow, PoolRow, RegistrationRow, Reply,
    StatusRow, TraceDirection, TraceRow, TrunkRow,
};
use voip::feature::Features;
use voip::mailbox::Mailboxes;
use voip::os::control::{Asked, Server, Tables, cdrs, users};
use voip::os::settings;
use voip::os::store::{Database, Store};
use voip::store::{Cdr, CdrLeg, Directory, EndCause, Record};

/// A directory of its own with a configuration; removed at the end.
struct Site {
    dir: PathBuf,
}

impl Site {
    fn new(name: &str) -> Self {
        Self::with(name, "")
    }

    fn with(name: &str, more: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("voip-ctl-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let text = format!(
            "[node]\ndomains = [\"example.com\"]\nstate_dir = \"state\"\n\
             [sip]\nlisten = [\"udp:127.0.0.1:0\"]\n{more}"
        );
        std::fs::write(dir.join("voip.toml"), text).unwrap();
        Self { dir }
    }

    fn config(&self) -> PathBuf {
        self.dir.join("voip.toml")
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Outcome {
        let config = self.config();
        let mut all = vec!["-c", config.to_str().unwrap()];
        all.extend(arguments);
        voipctl(&all, input)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[derive(Debug)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Outcome {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!((self.code, &*self.err), (0, ""), "{}", self.out);
        self.out
    }

    #[track_caller]
    fn fails(self, code: i32, said: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(said), "{self:?}");
        self
    }

    #[track_caller]
    fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }
}

fn voipctl(arguments: &[&str], input: &str) -> Outcome {
    voipctl_at("Europe/Madrid", arguments, input)
}

/// On a host of that time zone.
fn voipctl_at(zone: &str, arguments: &[&str], input: &str) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_voipctl"))
        .args(arguments)
        .env("TZ", zone)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A daemon as far as its control socket goes: users for real, the rest canned.
struct Daemon {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    fn start(site: &Site) -> Self {
        let config = settings::load(&site.config()).unwrap();
        let mut database = Database::open(&config.store).unwrap();
        let (directory, features) = (Directory::new(), Features::new());
        let mailboxes = Mailboxes::new();
        let loaded = database.load().unwrap();
        features.load(loaded.features, loaded.features_revision_max);
        mailboxes.load(loaded.mailboxes, loaded.messages);
        for user in loaded.users {
            directory.put(user).unwrap();
        }
        let store = Store::start(database).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::bind(&config.admin.socket).unwrap();
                let (asks, mut asked) = mpsc::channel::<Asked>(4);
                ready.send(()).unwrap();
                let answer = async {
                    while let Some(Asked { command, reply }) = asked.recv().await {
                        let said = {
                            let tables = Tables {
                                directory: &directory,
                                features: &features,
                                mailboxes: &mailboxes,
                                mail: &config.voicemail,
                            };
                            users::answer(&command, &config.node, tables, &store)
                        }
                        .or_else(|| cdrs::answer(&command, &config, &store));
                        let _ = reply.send(said.unwrap_or_else(|| canned(command)));
                    }
                };
                tokio::select! {
                    () = server.run(asks) => {}
                    () = answer => {}
                    _ = stopped => {}
                }
            });
            store.close().unwrap();
        });
        is_ready.recv().unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn registration(n: usize) -> RegistrationRow {
    RegistrationRow {
        aor: format!("{n}@example.com"),
        contact: format!("sip:{n}@10.0.0.2:5060"),
        received: "198.51.100.7:40000".into(),
        transport: "udp".into(),
        expires_s: 3599,
        user_agent: "Phone/1.0".into(),
        behind_nat: true,
    }
}

fn ban(user: Option<&str>) -> BanRow {
    BanRow {
        source: "203.0.113.5".into(),
        user: user.map(Into::into),
        since: "2026-11-22T22:31:10Z".into(),
        expires_s: 3000,
        reason: "20 wrong passwords".into(),
    }
}

fn canned(command: control::Command) -> Reply {
    use control::Command as C;
    match command {
        C::Status => Reply::Status(Box::new(StatusRow {
            version: "9.9.9".into(),
            uptime_s: 90_061,
            domains: vec!["example.com".into()],
            warnings: vec!["the disk is full; make room".into()],
            ..StatusRow::default()
        })),
        C::Registrations { after, .. } => Reply::Registrations {
            rows: vec![registration(if after.is_some() { 101 } else { 100 })],
            more: after.is_none(),
        },
        C::Calls => Reply::Calls {
            rows: vec![CallRow {
                id: "c1".into(),
                from: "sip:100@example.com".into(),
                to: "sip:101@example.com".into(),
                state: CallState::Up,
                since_ms: 1_795_386_670_000,
                since: "2026-11-22T22:31:10Z".into(),
                codec: "PCMA".into(),
                legs: vec![LegRow::default(), LegRow::default()],
                verdict: "the callee's side sends nothing".into(),
            }],
        },
        C::Hangup { id } if id == "c1" => Reply::done("c1 is hung up"),
        C::Hangup { id } => Reply::failed(control::Failure::NotFound, format!("no call {id}"), ""),
        C::Trunks => Reply::Trunks {
            rows: vec![TrunkRow {
                name: "itsp".into(),
                state: "up".into(),
                registration: "registered".into(),
                registered_until: Some("2026-11-22T22:31:10Z".into()),
                ..TrunkRow::default()
            }],
        },
        C::Pools => Reply::Pools {
            rows: vec![PoolRow {
                name: "pbx".into(),
                algorithm: "call-id".into(),
                members: vec![MemberRow {
                    uri: "sip:192.0.2.11".into(),
                    state: "up".into(),
                    ..MemberRow::default()
                }],
            }],
        },
        C::PoolDrain { pool, member, on } if pool == "pbx" => Reply::done(format!("{member} {on}")),
        C::PoolDrain { pool, .. } => {
            let remedy = "list them: voipctl pools";
            Reply::failed(
                control::Failure::NotFound,
                format!("no pool {pool}"),
                remedy,
            )
        }
        C::Bans => Reply::Bans {
            rows: [None, Some("101@example.com")].map(ban).into(),
        },
        C::BanLift { source, user } => {
            let whom = user.map_or_else(|| source.to_string(), |u| format!("{u} from {source}"));
            Reply::done(format!("{whom} may come in again"))
        }
        C::Blocks => Reply::Blocks {
            rows: vec![control::BlockRow {
                user: "100@example.com".into(),
                since: "2026-11-22T22:31:10Z".into(),
                expires_s: 3599,
                reason: "Too Many Calls A Minute".into(),
            }],
        },
        C::BlockLift { user } => Reply::done(format!("{user} may call out again")),
        C::Trace { .. } => Reply::Trace {
            rows: vec![TraceRow {
                at_ms: 1_795_386_670_000,
                order: 1,
                direction: TraceDirection::In,
                transport: "udp".into(),
                local: "192.0.2.1:5060".into(),
                remote: "198.51.100.7:40000".into(),
                call_id: "a84b4c76e66710".into(),
                cseq: "1 INVITE".into(),
                first_line: "INVITE sip:101@example.com SIP/2.0".into(),
                text: "INVITE sip:101@example.com SIP/2.0\r\n\r\n".into(),
            }],
        },
        C::Log { level } => Reply::done(format!("logging {level}")),
        C::Reload => {
            let problem = "voip.toml:2:1: node.domain: is unknown";
            Reply::failed(control::Failure::BadConfig, problem, "nothing was changed")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn check_names_mistakes() {
    let site = Site::new("check");
    assert!(
        site.run(&["check"])
            .ok()
            .ends_with("voip.toml is in order\n")
    );
    let printed = site.run(&["check", "--print"]).ok();
    assert!(printed.contains("\n[timers]\nt1_ms = 500\n"), "{printed}");
    assert!(
        printed.contains("timezone = \"Europe/Madrid\"\n"),
        "{printed}"
    );
    let dated = site.dir.join("dated.toml");
    std::fs::write(&dated, "[recording]\nusers = [\"100\"]\n").unwrap();
    for (zone, doubts) in [("Europe/Madrid", 0), ("CET-1CEST", 1)] {
        let checked = voipctl_at(zone, &["check", dated.to_str().unwrap()], "");
        assert_eq!(checked.err.lines().count(), doubts, "{}", checked.err);
        assert!(checked.code == 0 && checked.out.ends_with("dated.toml is in order\n"));
    }
    let bad = site.dir.join("bad.toml");
    std::fs::write(
        &bad,
        "[node]\ndomain = 5\n[sip.tls]\ncertificate = \"no\"\n",
    )
    .unwrap();
    let said = voipctl(&["check", bad.to_str().unwrap()], "").fails(78, "2 mistakes\n");
    assert!(
        said.err
            .contains("bad.toml:2:1: node.domain: is unknown; did you mean")
    );
    std::fs::write(
        &bad,
        "[sip.tls]\ncertificate = \"no.pem\"\nkey = \"no.key\"\n",
    )
    .unwrap();
    voipctl(&["check", bad.to_str().unwrap()], "").fails(78, "no.key cannot be read");
    voipctl(&["check", "/nowhere/voip.toml"], "").fails(66, "/nowhere/voip.toml");
}

#[test]
fn wrong_usage() {
    voipctl(&["frobnicate"], "").fails(64, "unrecognized subcommand");
    voipctl(&[], "").fails(64, "Usage");
    voipctl(&["log", "loud"], "").fails(64, "possible values");
    assert!(voipctl(&["--version"], "").ok().starts_with("voipctl "));
    assert!(
        voipctl(&["user", "add", "--help"], "")
            .ok()
            .contains("shows in ps")
    );
}

/// Without the kernel module there is one sentence with the remedy, and wrong usage comes first.
#[test]
fn e1_without_the_module() {
    for line in [
        &["e1", "list"][..],
        &["e1", "watch"],
        &["--json", "e1", "show", "1"],
    ] {
        let said = voipctl(line, "")
            .fails(69, "kldload e1shim")
            .fails(69, "voip-e1-kmod");
        assert_eq!((said.err.lines().count(), &*said.out), (1, ""), "{said:?}");
    }
    voipctl(&["e1", "create", "pair", "--span", "1", "--peer", "1"], "")
        .fails(64, "different numbers");
    voipctl(&["e1", "loop", "1", "round"], "").fails(64, "payload");
    assert!(
        voipctl(&["e1", "create", "tdmoe", "--help"], "")
            .ok()
            .contains("ngctl mkpeer")
    );
}

#[test]
fn without_a_daemon() {
    let site = Site::new("without");
    site.run(&["status"]).fails(69, "no voipd answers at");
    site.run(&["registrations"])
        .fails(69, "no voipd answers at");
    voipctl(&["-s", "/nowhere.sock", "user", "list"], "").fails(69, "/nowhere.sock");
}

#[test]
fn users_without_a_daemon() {
    users_life(&Site::new("offline"));
}

#[test]
fn users_with_a_daemon() {
    let site = Site::new("online");
    let daemon = Daemon::start(&site);
    users_life(&site);
    // Nobody reaches past it for the file.
    let lock = Database::open(&settings::load(&site.config()).unwrap().store);
    assert!(lock.unwrap_err().problem.contains("another voipd"));
    drop(daemon);
    assert!(site.run(&["user", "list"]).ok().contains("101@example.com"));
}

#[test]
fn features_without_a_daemon() {
    features_life(&Site::new("features-offline"));
}

#[test]
fn features_with_a_daemon() {
    let site = Site::new("features-online");
    let daemon = Daemon::start(&site);
    features_life(&site);
    drop(daemon);
    let shown = site.run(&["--json", "feature", "show", "100"]).json();
    assert_eq!(shown["forward_busy"], "200");
}

fn features_life(site: &Site) {
    site.run(&["feature", "show", "100"])
        .fails(67, "there is no user");
    site.run(&["user", "add", "100", "--password", "x"]).ok();
    let shown = |words: &[&str]| site.run(words).ok();
    assert_eq!(
        shown(&["feature", "show", "100"]),
        "100@example.com has no call features on\n"
    );
    shown(&["feature", "set", "100", "forward-busy", "200"]);
    shown(&["feature", "set", "100@example.com", "ring-seconds", "25"]);
    shown(&["feature", "set", "sip:100@example.com", "block", "900*"]);
    assert_eq!(
        shown(&["feature", "set", "100", "speed-07", "+34 915 550 100"]),
        "forward-busy          200\n\
         ring-seconds          25\n\
         block                 900*\n\
         speed-07              +34915550100\n"
    );
    site.run(&["feature", "set", "100", "forward-always", "100"])
        .fails(65, "Cannot Forward to Oneself");
    site.run(&["feature", "set", "100", "forward", "200"])
        .fails(65, "There Are forward-always");
    site.run(&["feature", "set", "100", "dnd"])
        .fails(64, "VALUE");
    site.run(&["feature", "clear", "100", "speed-08"])
        .fails(65, "No Speed Dial 08");
    shown(&["feature", "clear", "100", "block", "900*"]);
    shown(&["feature", "clear", "100", "speed"]);
    let json = site.run(&["--json", "feature", "show", "100"]).json();
    assert_eq!(
        (&json["blocked"], &json["forward_always"], &json["dnd"]),
        (
            &serde_json::json!([]),
            &serde_json::Value::Null,
            &false.into()
        )
    );
    assert_eq!(json["ring_seconds"], 25);
}

/// The record of the call that ended that many minutes after `from_ms`.
fn record(from_ms: u64, minute: u64) -> Record {
    let end_ms = from_ms + minute * 60_000;
    let user = ["100@example.com", "101@example.com"][minute as usize % 2];
    let answered = minute % 3 != 2;
    let (cause, status) = match answered {
        true => (EndCause::CalleeHungUp, 200),
        false => (EndCause::Refused, 403),
    };
    let note = if answered {
        ""
    } else {
        "fraud: calls_per_minute"
    };
    Record::Cdr(Box::new(Cdr {
        call_id: format!("c{minute}").into(),
        from: "100@example.com".into(),
        to: "915550199@example.com".into(),
        user: user.into(),
        source: "192.0.2.1:5060".into(),
        way_in: "".into(),
        way_out: "itsp".into(),
        route: "out".into(),
        note: note.into(),
        start_ms: end_ms - 30_000,
        answer_ms: answered.then_some(end_ms - 20_000),
        end_ms,
        status,
        cause,
        codecs: "PCMA".into(),
        legs: answered.then(|| [CdrLeg::default(), CdrLeg::default()]),
    }))
}

#[test]
fn calls_that_are_over_with_and_without_a_daemon() {
    let site = Site::new("cdr");
    assert_eq!(site.run(&["cdr"]).ok(), "there are no such calls\n");
    let settings = settings::load(&site.config()).unwrap().store;
    // Of the last day: older ones go one day.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let from_ms = (now.as_secs() - 86_400) * 1000;
    let records: Vec<Record> = (0..1030).map(|n| record(from_ms, n)).collect();
    Database::open(&settings)
        .unwrap()
        .apply(records.iter())
        .unwrap();
    cdr_life(&site, from_ms);
    let _daemon = Daemon::start(&site);
    cdr_life(&site, from_ms);
}

fn cdr_life(site: &Site, from_ms: u64) {
    let ids = |arguments: &[&str]| -> Vec<String> {
        let rows = site.run(&[&["--json", "cdr"], arguments].concat()).json();
        let rows = rows.as_array().unwrap().iter();
        rows.map(|r| r["call_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let newest =
        |n: u64| -> Vec<String> { (1030 - n..1030).rev().map(|n| format!("c{n}")).collect() };
    assert_eq!(ids(&[]), newest(20));
    assert_eq!(ids(&["--last", "1025"]), newest(1025), "two pages");
    assert_eq!(ids(&["--last", "2", "--user", "100"]), ["c1028", "c1026"]);
    let since = control::rfc3339(from_ms + 1027 * 60_000);
    assert_eq!(ids(&["--since", &since]), newest(3));
    let rows = site.run(&["--json", "cdr", "--last", "2"]).json();
    let mut names: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    names.sort();
    let expected = "answer_ms call_id cause codecs end_ms from legs note route seconds source start \
                    start_ms status to user way_in way_out";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        (rows[0]["seconds"].as_u64(), &rows[0]["way_out"]),
        (Some(20), &"itsp".into())
    );
    assert!(rows[1]["answer_ms"].is_null(), "{rows}");
    assert_eq!(rows[1]["note"], "fraud: calls_per_minute");
    let shown = site.run(&["cdr", "--last", "2"]).ok();
    assert!(
        shown.starts_with("START ") && shown.contains("fraud: calls_per_minute"),
        "{shown}"
    );
    site.run(&["cdr", "--last", "0"]).fails(64, "--last");
    site.run(&["cdr", "--since", "soon"])
        .fails(65, "\"soon\" is no time");
}

#[test]
fn the_codes_are_listed_without_a_daemon() {
    let listed = voipctl(&["feature", "codes"], "").ok();
    assert!(listed.contains("*72   NUMBER"), "{listed}");
    let json = voipctl(&["--json", "feature", "codes"], "").json();
    let count = json["codes"].as_array().unwrap().len();
    assert_eq!(count, voip::feature::CODES.len());
}

/// What people read is what phones can dial: README's table is that of the program.
#[test]
fn the_readme_lists_every_code() {
    let readme = include_str!("../README.md");
    for row in voip::feature::CODES {
        let dialled = [row.code, row.argument.as_str()].join(" ");
        let line = format!("| `{}` | {} |", dialled.trim_end(), row.meaning);
        assert!(readme.contains(&line), "README.md lacks: {line}");
    }
}

fn users_life(site: &Site) {
    let add = [
        "user",
        "add",
        "100",
        "--display-name",
        "Ana Ñ",
        "--password-stdin",
    ];
    assert_eq!(
        site.run_with(&add, "secret\n").ok(),
        "100@example.com is added\n"
    );
    site.run_with(&add, "secret\n")
        .fails(65, "there is a user 100@example.com");
    site.run_with(&["user", "add", "102"], "")
        .fails(64, "--password-stdin");
    site.run_with(&["user", "add", "102", "--password-stdin"], "\n")
        .fails(65, "is empty");
    site.run(&["user", "add", "1@example.net", "--password", "x"])
        .fails(65, "is not ours");
    let made = site
        .run(&["--json", "user", "add", "sip:101@example.com", "--generate"])
        .json();
    assert_eq!(made["password"].as_str().unwrap().len(), 16);
    let listed = site.run(&["user", "list"]).ok();
    assert_eq!(
        listed,
        "USER             NAME   STATE\n\
         100@example.com  Ana Ñ  enabled\n\
         101@example.com  -      enabled\n"
    );
    let shown = site.run(&["--json", "user", "show", "100"]).json();
    assert_eq!(shown["display_name"], "Ana Ñ");
    let passwd = ["user", "passwd", "100", "--password-stdin"];
    assert!(
        site.run_with(&passwd, "other\n")
            .ok()
            .contains("another password")
    );
    site.run(&["user", "passwd", "105", "--password", "x"])
        .fails(67, "there is no user");
    assert_eq!(
        site.run(&["user", "del", "100"]).ok(),
        "100@example.com is deleted\n"
    );
    site.run(&["user", "show", "100"])
        .fails(67, "there is no user");
    let json = site.run(&["--json", "user", "list", "101"]).json();
    assert_eq!(json.as_array().unwrap().len(), 1);
    let csv = "username,password,display_name\n101,new,Ben\n200,\"a,b\",\"Eva\"\n";
    let import = ["user", "import", "-"];
    assert_eq!(site.run_with(&import, csv).ok(), "1 added, 1 replaced\n");
    site.run_with(&import, "300,x\n301\na b,x\n")
        .fails(65, "line 2: no password");
    site.run_with(&import, "300,x\na b,x\n")
        .fails(65, "nothing is imported");
    site.run(&["user", "show", "300"])
        .fails(67, "there is no user");
}

/// Fewer without the optimizer.
const MANY: usize = if cfg!(debug_assertions) {
    20_000
} else {
    100_000
};

#[test]
fn a_hundred_thousand_users_in_seconds() {
    let site = Site::new("import");
    let file = site.dir.join("users.csv");
    let mut text = String::from("username,password\n");
    for n in 0..MANY {
        text.push_str(&format!("u{n},secret{n}\n"));
    }
    std::fs::write(&file, text).unwrap();
    let start = Instant::now();
    let said = site.run(&["user", "import", file.to_str().unwrap()]).ok();
    assert_eq!(said, format!("{MANY} added, 0 replaced\n"));
    let offline = start.elapsed();
    let start = Instant::now();
    let listed = site.run(&["user", "list"]).ok();
    assert_eq!(listed.lines().count(), MANY + 1);
    let list = start.elapsed();
    let daemon = Daemon::start(&site);
    let start = Instant::now();
    let said = site.run(&["user", "import", file.to_str().unwrap()]).ok();
    assert_eq!(said, format!("0 added, {MANY} replaced\n"));
    println!(
        "offline {offline:?}, list {list:?}, daemon {:?}",
        start.elapsed()
    );
    assert!(offline + start.elapsed() < Duration::from_secs(120));
    drop(daemon);
}

#[test]
fn listings() {
    let site = Site::new("listings");
    let _daemon = Daemon::start(&site);
    let status = site.run(&["status"]).ok();
    assert!(status.contains("9.9.9, up 1d 01:01:01"), "{status}");
    assert!(
        status.contains("WARNING        the disk is full"),
        "{status}"
    );
    assert_eq!(
        site.run(&["--json", "status"]).json()["domains"][0],
        "example.com"
    );

    let rows = site.run(&["--json", "registrations"]).json();
    assert_eq!(rows.as_array().unwrap().len(), 2, "two pages");
    for name in [
        "aor",
        "contact",
        "received",
        "transport",
        "expires_s",
        "user_agent",
    ] {
        assert!(!rows[1][name].is_null(), "{name}");
    }
    assert!(
        site.run(&["registrations"])
            .ok()
            .contains("101@example.com")
    );

    let rows = site.run(&["--json", "calls"]).json();
    for name in [
        "id", "from", "to", "state", "since", "codec", "legs", "verdict",
    ] {
        assert!(!rows[0][name].is_null(), "{name}");
    }
    for name in ["packets_in", "packets_out", "lost", "jitter_ms"] {
        assert!(!rows[0]["legs"][1][name].is_null(), "{name}");
    }
    assert!(
        site.run(&["calls"])
            .ok()
            .contains("! the callee's side sends nothing")
    );
    let trunks = site.run(&["trunks"]).ok();
    assert!(trunks.contains("until 2026-11-22T22:31:10Z"), "{trunks}");
    let trunks = site.run(&["--json", "trunks"]).json();
    assert_eq!(trunks[0]["registration"], "registered");
    assert!(trunks[0]["answer_seizure_percent"].is_null(), "{trunks}");
    assert!(site.run(&["pools"]).ok().contains("sip:192.0.2.11"));
    let pools = site.run(&["--json", "pools"]).json();
    assert_eq!(pools[0]["members"][0]["draining"], false);
    for (verb, on) in [("drain", true), ("undrain", false)] {
        let said = site.run(&["pool", verb, "pbx", "sip:192.0.2.11"]).ok();
        assert_eq!(said, format!("sip:192.0.2.11 {on}\n"));
    }
    site.run(&["pool", "drain", "x", "y"])
        .fails(65, "no pool x; list them");
    voipctl(&["pool", "drain", "pbx"], "").fails(64, "MEMBER");
    let bans = site.run(&["bans"]).ok();
    assert!(bans.contains("20 wrong passwords"), "{bans}");
    assert!(bans.contains("203.0.113.5  any"), "{bans}");
    assert!(bans.contains("203.0.113.5  101@example.com"), "{bans}");
    let bans = site.run(&["--json", "bans"]).json();
    assert_eq!(bans[0]["source"], "203.0.113.5");
    assert!(bans[0]["user"].is_null(), "{bans}");
    assert_eq!(bans[1]["user"], "101@example.com");
    let lifted = site.run(&["bans", "lift", "203.0.113.5"]).ok();
    assert_eq!(lifted, "203.0.113.5 may come in again\n");
    let lifted = site.run(&["bans", "lift", "203.0.113.5", "101"]).ok();
    assert_eq!(lifted, "101 from 203.0.113.5 may come in again\n");
    let blocks = site.run(&["blocks"]).ok();
    assert!(blocks.contains("100@example.com"), "{blocks}");
    assert!(blocks.contains("Too Many Calls A Minute"), "{blocks}");
    let blocks = site.run(&["--json", "blocks"]).json();
    assert_eq!(blocks[0]["expires_s"], 3599);
    let lifted = site.run(&["blocks", "lift", "100"]).ok();
    assert_eq!(lifted, "100 may call out again\n");
    assert_eq!(site.run(&["hangup", "c1"]).ok(), "c1 is hung up\n");
    site.run(&["hangup", "c2"]).fails(65, "no call c2");
    assert_eq!(site.run(&["log", "debug"]).ok(), "logging debug\n");
    site.run(&["reload"])
        .fails(78, "node.domain: is unknown; nothing was changed");
    let ladder = site.run(&["trace", "a84b4c76e66710"]).ok();
    assert!(
        ladder.contains("|-- INVITE sip:101@example.com -"),
        "{ladder}"
    );
    assert!(site.run(&["trace"]).ok().contains("a84b4c76e66710"));
    assert_eq!(site.run(&["--json", "trace"]).json()[0]["direction"], "in");
}

#[test]
fn completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            voipctl(&["completions", shell], "")
                .ok()
                .contains("registrations")
        );
    }
    let site = Site::new("man");
    let dir = site.dir.join("man");
    voipctl(&["man", dir.to_str().unwrap()], "").ok();
    for page in [
        "voipctl.1",
        "voipctl-user-import.1",
        "voipctl-doctor.1",
        "voipctl-e1-inject.1",
    ] {
        assert!(dir.join(page).metadata().unwrap().len() > 200, "{page}");
    }
    voipctl(&["man", "/dev/null/man"], "").fails(73, "/dev/null/man");
}

#[test]
fn the_doctor_finds_who_took_the_port() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let site = Site::new("doctor");
    let text = format!(
        "[node]\ndomains = [\"localhost\"]\nstate_dir = \"{}\"\n\
         [sip]\nlisten = [\"udp:127.0.0.1:{port}\", \"tcp:127.0.0.1:0\", \"udp:192.0.2.77:0\"]\n",
        site.dir.join("state").display()
    );
    std::fs::write(site.config(), text).unwrap();
    let said = site.run(&["doctor"]);
    assert_eq!(said.code, 69, "{said:?}");
    assert!(
        said.out.contains("taken by another program"),
        "{}",
        said.out
    );
    assert!(said.out.contains(&format!(":{port}'")) || cfg!(not(target_os = "linux")));
    assert!(
        said.out.contains("192.0.2.77 is no address of this host"),
        "{}",
        said.out
    );
    let rows: serde_json::Value =
        serde_json::from_str(&site.run(&["--json", "doctor"]).out).unwrap();
    let bad = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["outcome"] == "bad");
    assert_eq!(bad.count(), 2);
}

/// What the small SIP server does with requests.
type Handler = fn(&str, &mut Vec<(String, std::net::SocketAddr)>, std::net::SocketAddr);

/// A SIP server on UDP for as long as it lives.
struct SipServer {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SipServer {
    fn start(handle: Handler) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let port = socket.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((n, source)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                let mut out = Vec::new();
                handle(&text, &mut out, source);
                for (message, to) in out {
                    socket.send_to(message.as_bytes(), to).unwrap();
                }
            }
        });
        Self {
            port,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for SipServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lines<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    let is = |line: &&str| {
        line.split(':')
            .next()
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
    };
    head.lines().filter(is).collect()
}

fn answer(request: &str, status: &str, more: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "From", "Call-ID", "CSeq"] {
        for line in lines(request, name) {
            text.push_str(&format!("{line}\r\n"));
        }
    }
    let to = lines(request, "To").join("");
    let tag = if to.contains("tag=") { "" } else { ";tag=srv" };
    text.push_str(&format!("{to}{tag}\r\n{more}Content-Length: 0\r\n\r\n"));
    text
}

#[test]
fn ping_shows_the_round_trip() {
    let server = SipServer::start(|request, out, source| {
        let more = "Server: test/1\r\nAllow: INVITE, ACK\r\n";
        let seen =
            answer(request, "200 OK", more).replace(";rport", ";received=203.0.113.9;rport=7");
        out.push((seen, source));
    });
    let uri = format!("sip:127.0.0.1:{}", server.port);
    let said = voipctl(&["ping", "-n", "2", &uri], "").ok();
    assert!(said.starts_with("200 OK from 127.0.0.1:"), "{said}");
    assert!(
        said.contains("test/1, allows INVITE, ACK, sees us as 203.0.113.9:7"),
        "{said}"
    );
    assert!(said.contains("2 sent, 2 answered"), "{said}");
    let rows = voipctl(&["--json", "ping", &uri], "").json();
    assert_eq!(
        (&rows[0]["status"], &rows[0]["server"]),
        (&200.into(), &"test/1".into())
    );
}

#[test]
fn ping_without_an_answer() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("sip:100@127.0.0.1:{}", silent.local_addr().unwrap().port());
    voipctl(&["ping", "-t", "1", &uri], "").fails(69, "does not answer OPTIONS within 1 s");
    silent
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut buffer = [0; 2000];
    let mut count = 0;
    while silent.recv(&mut buffer).is_ok() {
        count += 1;
    }
    assert_eq!(count, 2, "sent at 0 and 500 ms");
    let server = SipServer::start(|_, out, source| out.push(("hello".into(), source)));
    let uri = format!("127.0.0.1:{}", server.port);
    voipctl(&["ping", &uri], "").fails(76, "rsip cannot read what came");
    voipctl(&["ping", "sip:127.0.0.1:1;transport=tcp"], "").fails(69, "127.0.0.1:1");
    voipctl(&["ping", "sip:host name"], "").fails(65, "is no SIP URI");
    voipctl(&["ping", "sip:127.0.0.1;transport=sctp"], "").fails(65, "udp, tcp and tls");
}

/// A registrar and proxy for one phone behind it, which is the phone that calls.
fn registrar(
    request: &str,
    out: &mut Vec<(String, std::net::SocketAddr)>,
    from: std::net::SocketAddr,
) {
    let challenge = |name: &str| {
        let md5 = "Digest realm=\"example.com\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"";
        let sha = "Digest realm=\"example.com\", nonce=\"n2\", algorithm=SHA-256, qop=\"auth\"";
        format!("{name}: {sha}\r\n{name}: {md5}\r\n")
    };
    let first = request.lines().next().unwrap_or_default();
    let right = |line: &str| {
        let credentials = lines(request, line).join("");
        !credentials.is_empty() && is_right(&credentials, first.split(' ').next().unwrap())
    };
    let ours = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKproxy";
    if first.starts_with("SIP/2.0") {
        let back = request.replacen(&format!("{ours}\r\n"), "", 1);
        out.push((back, from));
    } else if first.starts_with("REGISTER") {
        out.push(match right("Authorization") {
            true => (answer(request, "200 OK", ""), from),
            false => (
                answer(request, "401 Unauthorized", &challenge("WWW-Authenticate")),
                from,
            ),
        });
    } else if first.starts_with("INVITE") && !right("Proxy-Authorization") {
        let challenge = challenge("Proxy-Authenticate");
        out.push((
            answer(request, "407 Proxy Authentication Required", &challenge),
            from,
        ));
    } else if !(first.starts_with("ACK") && request.contains(";tag=srv")) {
        if first.starts_with("INVITE") {
            out.push((answer(request, "100 Trying", ""), from));
        }
        let head = format!("\r\n{ours}\r\nRecord-Route: <sip:127.0.0.1;lr>\r\n");
        out.push((request.replacen("\r\n", &head, 1), from));
    }
}

fn is_right(credentials: &str, method: &str) -> bool {
    let field = |name: &str| {
        let (_, rest) = credentials.split_once(&format!("{name}="))?;
        Some(
            rest.trim_start_matches('"')
                .split(['"', ','])
                .next()?
                .to_string(),
        )
    };
    let md5 = |text: String| voip_md5(&text);
    let ha1 = md5("100:example.com:secret".into());
    let ha2 = md5(format!("{method}:{}", field("uri").unwrap()));
    let (nonce, cnonce) = (field("nonce").unwrap(), field("cnonce").unwrap());
    let wanted = md5(format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"));
    field("response") == Some(wanted)
}

fn voip_md5(text: &str) -> String {
    use md5::Digest;
    let digest = md5::Md5::digest(text.as_bytes());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn probe_registers_calls_and_hangs_up() {
    let server = SipServer::start(registrar);
    let at = format!("127.0.0.1:{}", server.port);
    let probe = [
        "probe",
        "sip:100@example.com",
        "--server",
        &at,
        "--password-stdin",
    ];
    let said = voipctl(&probe, "secret\n").ok();
    let steps: Vec<String> = said
        .lines()
        .map(|l| l.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let wanted = [
        "REGISTER 401",
        "REGISTER 200",
        "INVITE 407",
        "INVITE 100",
        "INVITE 180",
        "INVITE 200",
        "MEDIA the",
        "BYE 200",
        "UNREGISTER 401",
        "UNREGISTER 200",
    ];
    assert_eq!(steps, wanted, "{said}");
    assert!(
        said.contains("the caller hears 10 of 10 packets, the callee 10 of 10"),
        "{said}"
    );
    let rows = voipctl(
        &[&["--json"], &probe[..], &["--register-only"]].concat(),
        "secret\n",
    )
    .json();
    assert_eq!(rows[1]["result"], "200 OK");
    voipctl(&probe, "wrong\n").fails(77, "the password is wrong");
    voipctl(&["probe", "sip:example.com", "--password", "x"], "").fails(65, "names no user");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let site = Site::new("head");
    let status = Command::new("sh")
        .arg("-c")
        .arg("\"$0\" -c \"$1\" check --print | head -1; exit 0")
        .args([Path::new(env!("CARGO_BIN_EXE_voipctl")), &site.config()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stderr), "");
}
