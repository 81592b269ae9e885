use super::*;
use crate::config::{Config, Node, Voicemail};
use crate::control::{Command, Failure, NewUser, REQUEST_BYTES_MAX, Reply, StatusRow};
use crate::feature::Features;
use crate::mailbox::Mailboxes;
use crate::store::{Directory, Record};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;
use tokio::sync::mpsc;

struct Daemon {
    path: PathBuf,
    thread: Option<std::thread::JoinHandle<()>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

/// A server that answers each command with its name.
fn daemon(name: &str) -> Daemon {
    let path = std::env::temp_dir().join(format!("voip-ctl-{name}-{}.sock", std::process::id()));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let at = path.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = Server::bind(&at).unwrap();
            let (asks, mut asked) = mpsc::channel::<Asked>(4);
            ready.send(()).unwrap();
            let answer = async {
                while let Some(Asked { command, reply }) = asked.recv().await {
                    let _ = reply.send(Reply::done(format!("{command:?}")));
                }
            };
            tokio::select! {
                () = server.run(asks) => {}
                () = answer => {}
                _ = stopped => {}
            }
        });
    });
    is_ready.recv().unwrap();
    Daemon {
        path,
        thread: Some(thread),
        stop: Some(stop),
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

fn message(reply: Reply) -> String {
    match reply {
        Reply::Done { message } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_commands_over_one_connection() {
    let daemon = daemon("many");
    let mut client = Client::connect(&daemon.path).unwrap();
    assert_eq!(message(client.ask(Command::Status).unwrap()), "Status");
    let id = "x\ny".to_string();
    let hangup = client.ask(Command::Hangup { id }).unwrap();
    assert_eq!(message(hangup), "Hangup { id: \"x\\ny\" }");
    let mode = daemon.path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let path = daemon.path.clone();
    drop(daemon);
    assert!(!path.exists());
    assert!(client.ask(Command::Status).is_err());
}

#[test]
fn nonsense_is_answered_and_the_connection_stays() {
    let daemon = daemon("nonsense");
    let mut stream = UnixStream::connect(&daemon.path).unwrap();
    let lines = [
        "hello",
        "{}",
        r#"{"protocol":1,"command":"explode"}"#,
        r#"{"protocol":2,"command":"status"}"#,
        r#"{"protocol":1,"command":"hangup"}"#,
        "\u{0}\u{1}",
        r#"{"protocol":1,"command":"status"}"#,
    ];
    for line in lines {
        stream.write_all(line.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
    }
    let answers: Vec<String> = BufReader::new(stream)
        .lines()
        .take(lines.len())
        .map(Result::unwrap)
        .collect();
    for bad in &answers[..6] {
        assert!(bad.contains(r#""kind":"bad_command""#), "{bad}");
    }
    assert!(answers[3].contains("version 2"), "{}", answers[3]);
    assert_eq!(
        answers[6],
        r#"{"protocol":1,"reply":"done","message":"Status"}"#
    );
}

#[test]
fn a_line_without_end_is_cut() {
    let daemon = daemon("endless");
    let mut stream = UnixStream::connect(&daemon.path).unwrap();
    let _ = stream.write_all(&vec![b'x'; REQUEST_BYTES_MAX + 10]);
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert!(answer.contains("longer than"), "{answer}");
}

#[test]
fn clients_beyond_the_bound_are_told() {
    let daemon = daemon("crowd");
    let ask = |client: &mut Client| client.ask(Command::Status);
    let mut crowd: Vec<Client> = (0..CONNECTIONS_MAX)
        .map(|_| Client::connect(&daemon.path).unwrap())
        .collect();
    for client in &mut crowd {
        ask(client).unwrap();
    }
    let stream = UnixStream::connect(&daemon.path).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert!(answer.contains("others are connected"), "{answer}");
    assert!(ask(&mut crowd[0]).is_ok());
}

#[test]
fn a_dead_socket_makes_way_a_living_one_does_not() {
    let daemon = daemon("alive");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let error = Server::bind(&daemon.path).unwrap_err().to_string();
    assert!(error.contains("another voipd"), "{error}");

    let dead = daemon.path.with_extension("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(dead.exists());
    assert!(matches!(
        Client::connect(&dead),
        Err(ClientError::NotRunning(_))
    ));
    let server = Server::bind(&dead).unwrap();
    drop(server);

    std::fs::write(&dead, "a file of somebody").unwrap();
    let error = Server::bind(&dead).unwrap_err().to_string();
    assert!(error.contains("no socket"), "{error}");
    assert!(dead.exists());
    std::fs::remove_file(&dead).unwrap();

    let long = std::env::temp_dir().join("x".repeat(200));
    let error = Server::bind(&long).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

fn node() -> Node {
    let text = "[node]\ndomains = [\"example.com\"]\n";
    Config::parse(text, "voip.toml".as_ref()).unwrap().node
}

fn new_user(aor: &str) -> NewUser {
    let (name, domain) = aor.split_once('@').unwrap_or((aor, ""));
    NewUser {
        aor: aor.into(),
        display_name: "Ana".into(),
        verifier: users::verifier(name, domain, "secret"),
    }
}

static MAIL: LazyLock<Voicemail> = LazyLock::new(Voicemail::default);

fn tables<'a>(
    directory: &'a Directory,
    features: &'a Features,
    mailboxes: &'a Mailboxes,
) -> Tables<'a> {
    Tables {
        directory,
        features,
        mailboxes,
        mail: &MAIL,
    }
}

#[test]
fn a_users_life() {
    let (node, directory, features) = (node(), Directory::new(), Features::new());
    let mailboxes = Mailboxes::new();
    let mut kept = Vec::new();
    let mut run = |command: Command| {
        let keep = |r| kept.push(r);
        users::execute(
            &command,
            &node,
            tables(&directory, &features, &mailboxes),
            keep,
        )
        .unwrap()
    };
    let user = new_user("100@example.com");
    let add = Command::UserAdd { user };
    assert_eq!(message(run(add.clone())), "100@example.com is added");
    let kind = |reply: Reply| match reply {
        Reply::Failed { kind, .. } => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(run(add)), Failure::Exists);
    for bad in [
        "100@example.net",
        "100",
        "@example.com",
        "a b@example.com",
        "a:b@example.com",
    ] {
        let user = new_user(bad);
        assert_eq!(
            kind(run(Command::UserAdd { user })),
            Failure::BadCommand,
            "{bad}"
        );
    }
    let aor = "100@EXAMPLE.com".to_string();
    let verifier = users::verifier("100", "example.com", "another");
    let passwd = Command::UserPasswd {
        aor: aor.clone(),
        verifier,
    };
    assert_eq!(message(run(passwd)), "100@example.com has another password");
    let show = Command::UserShow { aor: aor.clone() };
    assert!(matches!(run(show), Reply::Users { rows, .. } if rows[0].display_name == "Ana"));
    let del = Command::UserDel { aor };
    assert_eq!(message(run(del.clone())), "100@example.com is deleted");
    assert_eq!(kind(run(del)), Failure::NotFound);
    assert!(
        users::execute(
            &Command::Status,
            &node,
            tables(&directory, &features, &mailboxes),
            drop
        )
        .is_none()
    );
    assert!(matches!(
        kept[..],
        [
            Record::PutUser(_),
            Record::PutUser(_),
            Record::DeleteUser { .. }
        ]
    ));
}

#[test]
fn features_are_set_shown_and_end_with_their_user() {
    let (node, directory, features) = (node(), Directory::new(), Features::new());
    let mailboxes = Mailboxes::new();
    let mut kept = Vec::new();
    let mut run = |command: Command| {
        let keep = |r| kept.push(r);
        users::execute(
            &command,
            &node,
            tables(&directory, &features, &mailboxes),
            keep,
        )
        .unwrap()
    };
    let aor = || "100@EXAMPLE.com".to_string();
    let set = |key: &str, value: &str| Command::FeatureSet {
        aor: aor(),
        key: key.into(),
        value: value.into(),
    };
    let kind = |reply: Reply| match reply {
        Reply::Failed { kind, .. } => kind,
        other => panic!("{other:?}"),
    };
    let row = |reply: Reply| match reply {
        Reply::Features { row } => *row,
        other => panic!("{other:?}"),
    };
    let nobody = kind(run(Command::FeatureShow { aor: aor() }));
    assert_eq!(nobody, Failure::NotFound);
    assert_eq!(kind(run(set("dnd", "on"))), Failure::NotFound);
    let user = new_user("100@example.com");
    run(Command::UserAdd { user });
    assert_eq!(kind(run(set("dnd", "perhaps"))), Failure::BadCommand);
    assert_eq!(kind(run(set("forward-always", "100"))), Failure::BadCommand);
    assert!(row(run(set("dnd", "on"))).dnd);
    let speed = row(run(set("speed-07", "+34 915 550 100"))).speed;
    assert_eq!(speed["07"], "+34915550100");
    let shown = row(run(Command::FeatureShow { aor: aor() }));
    assert!(shown.dnd && shown.aor == "100@example.com");
    let clear = Command::FeatureClear {
        aor: aor(),
        key: "dnd".into(),
        value: None,
    };
    let left = row(run(clear));
    assert!(!left.dnd && left.speed.len() == 1);
    run(Command::UserDel { aor: aor() });
    let user = new_user("100@example.com");
    run(Command::UserAdd { user });
    let anew = row(run(Command::FeatureShow { aor: aor() }));
    assert!(anew.speed.is_empty());
    let revisions = kept.iter().filter_map(|record| match record {
        Record::PutFeatures(f) => Some((f.revision, f.settings.is_empty())),
        _ => None,
    });
    let revisions: Vec<_> = revisions.collect();
    assert_eq!(revisions, [(1, false), (2, false), (3, false), (4, true)]);
}

#[test]
fn imports_add_and_replace() {
    let (node, directory, features) = (node(), Directory::new(), Features::new());
    let mailboxes = Mailboxes::new();
    let users = [
        "1@example.com",
        "2@example.com",
        "1@example.com",
        "1@example.net",
    ];
    let users = users.map(new_user).to_vec();
    let reply = users::execute(
        &Command::UserImport { users },
        &node,
        tables(&directory, &features, &mailboxes),
        drop,
    )
    .unwrap();
    let Reply::Imported {
        added,
        replaced,
        refused,
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert_eq!((added, replaced, refused.len()), (2, 1, 1));
    assert!(refused[0].contains("ours are example.com"), "{refused:?}");
}

#[test]
fn the_wire_is_as_documented() {
    let command = Command::Registrations {
        filter: Some("100@".into()),
        after: None,
    };
    let request = crate::control::Request {
        protocol: 1,
        command,
    };
    let text = r#"{"protocol":1,"command":"registrations","filter":"100@"}"#;
    assert_eq!(serde_json::to_string(&request).unwrap(), text);
    let status = Reply::Status(Box::default());
    let text = serde_json::to_string(&status).unwrap();
    assert!(
        text.starts_with(r#"{"reply":"status","version":"""#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), status);
    let _ = StatusRow::default();
}
