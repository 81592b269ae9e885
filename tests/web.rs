//! The HTTP interface of a running daemon, as one process and as several: who may ask, what comes
//! back, and what a client that misbehaves gets.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Daemon {
    folder: PathBuf,
    web: SocketAddr,
    child: Child,
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("voip-web-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn write_token(folder: &std::path::Path, token: &str, mode: u32) {
    let file = folder.join("web.token");
    fs::write(&file, format!("{token}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes the configuration; where HTTP will listen.
fn configure(folder: &std::path::Path) -> SocketAddr {
    // Not one of `[rtp] ports`, which FreeBSD hands out, too.
    let sip = std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap())
        .map(|socket| socket.local_addr().unwrap())
        .find(|address| !(16384..=32767).contains(&address.port()))
        .unwrap();
    let web = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let text = format!(
        "[node]\ndomains = [\"voip.test\"]\nstate_dir = \"state\"\nworkers = 2\n[sip]\n\
         listen = [\"udp:{sip}\"]\n[admin]\nweb = \"{web}\"\ntoken_file = \"web.token\"\n"
    );
    fs::write(folder.join("voip.toml"), text).unwrap();
    web
}

impl Daemon {
    fn start(name: &str, flags: &[&str]) -> Self {
        let folder = folder(name);
        let web = configure(&folder);
        write_token(&folder, TOKEN, 0o600);
        let child = Command::new(env!("CARGO_BIN_EXE_voipd"))
            .args(["-f", "-c"])
            .arg(folder.join("voip.toml"))
            .args(flags)
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let daemon = Self { folder, web, child };
        wait_until("it serves", || daemon.try_get("/healthz", "").is_some());
        daemon
    }

    /// Sends a request as it stands, and reads to the end of the connection.
    fn raw(&self, request: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.web).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        // A server that closes while we still write may reset the connection; what came counts.
        let _ = stream.read_to_string(&mut answer);
        (!answer.is_empty()).then_some(answer)
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Option<String> {
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.web,
            body.len()
        ))
    }

    fn try_get(&self, path: &str, token: &str) -> Option<String> {
        self.ask("GET", path, token, "")
    }

    fn expect(&self, status: u16, method: &str, path: &str, body: &str) -> String {
        let answer = self.ask(method, path, TOKEN, body).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {path}: {answer}"
        );
        answer
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let done = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal("TERM");
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn serves(daemon: &Daemon) {
    for path in ["/metrics", "/api/v1/status", "/api/v1/users/1@voip.test"] {
        for token in ["", "wrong", &TOKEN[1..]] {
            let answer = daemon.try_get(path, token).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 401 "),
                "{path} {token}: {answer}"
            );
            assert!(answer.to_lowercase().contains("www-authenticate: bearer"));
        }
    }
    let body = r#"{"password": "secret", "display_name": "Desk"}"#;
    daemon.expect(404, "GET", "/api/v1/users/100@voip.test", "");
    daemon.expect(201, "PUT", "/api/v1/users/100@voip.test", body);
    daemon.expect(200, "PUT", "/api/v1/users/100@voip.test", body);
    daemon.expect(400, "PUT", "/api/v1/users/100@elsewhere.test", body);
    let shown = daemon.expect(200, "GET", "/api/v1/users/100@voip.test", "");
    assert!(
        shown.contains("\"display_name\":\"Desk\"") && !shown.contains("secret"),
        "{shown}"
    );
    daemon.expect(404, "DELETE", "/api/v1/calls/none", "");
    daemon.expect(404, "DELETE", "/api/v1/bans/192.0.2.1", "");
    daemon.expect(200, "POST", "/api/v1/reload", "");
    let metrics = daemon.expect(200, "GET", "/metrics", "");
    assert!(metrics.contains("\nvoip_users 1\n"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    daemon.expect(200, "DELETE", "/api/v1/users/100@voip.test", "");
    daemon.expect(413, "PUT", "/api/v1/users/1@voip.test", &"x".repeat(70_000));
    let bad = daemon.raw("NONSENSE\r\n\r\n").unwrap();
    assert!(bad.starts_with("HTTP/1.1 400 "), "{bad}");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(40_000));
    let refused = daemon.raw(&long).unwrap_or_default();
    assert!(!refused.starts_with("HTTP/1.1 2"), "{refused}");
}

fn takes_another_token(daemon: &Daemon) {
    let new = "fedcba9876543210fedcba9876543210";
    write_token(&daemon.folder, new, 0o600);
    daemon.signal("HUP");
    wait_until("the new token opens", || {
        let answer = daemon.try_get("/api/v1/status", new).unwrap();
        answer.starts_with("HTTP/1.1 200 ")
    });
    let answer = daemon.try_get("/api/v1/status", TOKEN).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn one_process() {
    let daemon = Daemon::start("one", &[]);
    serves(&daemon);
    takes_another_token(&daemon);
}

#[test]
fn several_processes() {
    let daemon = Daemon::start("several", &["--processes"]);
    serves(&daemon);
    let killed = Command::new("pkill")
        .args([
            "-KILL",
            "-P",
            &daemon.child.id().to_string(),
            "-f",
            "voipd: signal",
        ])
        .status();
    assert!(killed.unwrap().success());
    wait_until("signal answers again", || {
        let answer = daemon.try_get("/api/v1/status", TOKEN);
        answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    });
    takes_another_token(&daemon);
}

fn checked(folder: &std::path::Path) -> Output {
    let mut voipd = Command::new(env!("CARGO_BIN_EXE_voipd"));
    voipd.arg("-t").arg("-c").arg(folder.join("voip.toml"));
    voipd.output().unwrap()
}

#[test]
fn a_token_that_protects_nothing_is_refused() {
    let folder = folder("token");
    configure(&folder);
    let refused = |what: &str| {
        let output = checked(&folder);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(what), "{what} in {said}");
    };
    refused("openssl rand -hex 32");
    write_token(&folder, "short", 0o600);
    refused("at least 16");
    write_token(&folder, TOKEN, 0o644);
    refused("chmod o-rwx");
    write_token(&folder, TOKEN, 0o600);
    assert!(checked(&folder).status.success());
    let _ = fs::remove_dir_all(&folder);
}
