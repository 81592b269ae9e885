//! The daemon as a process: what it says at its start, how it reloads, and how it ends.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("voip-daemon-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Killed if the test fails before it ends by itself.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free, and not one of `[rtp] ports`: FreeBSD hands those out, too.
fn free_port() -> u16 {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        if !(16384..=32767).contains(&port) {
            return port;
        }
    }
}

fn voipd(words: &[&str], config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_voipd"))
        .arg("-c")
        .arg(config)
        .args(words)
        .output()
        .unwrap()
}

fn start(config: &Path) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_voipd"))
        .arg("-f")
        .arg("-c")
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Running(child)
}

fn options(server: SocketAddr, call_id: &str) -> Option<String> {
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let own = phone.local_addr().unwrap();
    let text = format!(
        "OPTIONS sip:voip.test SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{call_id};rport\r\n\
         From: <sip:a@voip.test>;tag=1\r\nTo: <sip:voip.test>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    phone.send_to(text.as_bytes(), server).unwrap();
    let mut space = [0; 4000];
    let (n, _) = phone.recv_from(&mut space).ok()?;
    Some(String::from_utf8_lossy(&space[..n]).into_owned())
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

fn config(port: u16, workers: usize) -> String {
    format!(
        "[node]\ndomains = [\"voip.test\"]\nstate_dir = \"state\"\nworkers = {workers}\n\
         [sip]\nlisten = [\"udp:127.0.0.1:{port}\", \"tcp:127.0.0.1:{port}\"]\n"
    )
}

#[test]
fn mistakes_are_named_and_nothing_starts() {
    let folder = Folder::new("mistakes");
    let good = folder.write("good.toml", &config(free_port(), 1));
    let checked = voipd(&["-t"], &good);
    assert!(checked.status.success(), "{checked:?}");
    assert!(!folder.0.join("state").exists());

    let bad = folder.write("bad.toml", "[sip]\nlissten = []\n");
    for words in [&["-t"][..], &[]] {
        let refused = voipd(words, &bad);
        assert_eq!(refused.status.code(), Some(78));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("bad.toml:2:1: sip.lissten"), "{said}");
    }
    // What has days and hours and no time zone is in order, and doubtful.
    let text = format!("{}[voicemail]\n", config(free_port(), 1));
    let dated = folder.write("dated.toml", &text);
    for (zone, doubtful) in [("Europe/Madrid", false), ("CET-1CEST", true)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voipd"));
        let checked = command.env("TZ", zone).arg("-t").arg("-c").arg(&dated);
        let checked = checked.output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
        let said = String::from_utf8(checked.stderr).unwrap();
        let warning = "warning: no time zone is known: the dates of voicemail are in UTC";
        assert_eq!(said.contains(warning), doubtful, "{said}");
    }
    assert_eq!(voipd(&["-q"], &good).status.code(), Some(64));
    let nobody = voipd(&["-u", "no-such-user-here"], &good);
    assert_eq!(nobody.status.code(), Some(67));
}

#[test]
fn it_serves_reloads_and_ends_with_one_shard_and_with_four() {
    for workers in [1, 4] {
        let folder = Folder::new(&format!("life-{workers}"));
        let port = free_port();
        let file = folder.write("voip.toml", &config(port, workers));
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let mut running = start(&file);
        wait_until("it serves", || options(server, "first").is_some());
        for i in 0..20 {
            let answer = options(server, &format!("call-{i}")).unwrap();
            assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        }
        // It is written once all is ready, which may be after the first answers.
        let pid = running.0.id().to_string();
        let written = || fs::read_to_string(folder.0.join("state/voip.pid")).unwrap();
        wait_until("its process is told", || written().trim() == pid);

        let second = voipd(&["-f"], &file);
        assert_eq!(second.status.code(), Some(69));
        let said = String::from_utf8(second.stderr).unwrap();
        assert!(
            said.contains(&format!("already running as pid {pid}")),
            "{said}"
        );

        folder.write("voip.toml", "[node]\nworkers = \"many\"\n");
        signal(&running.0, "HUP");
        std::thread::sleep(Duration::from_millis(200));
        assert!(
            options(server, "still")
                .unwrap()
                .starts_with("SIP/2.0 200 ")
        );

        signal(&running.0, "TERM");
        wait_until("it ends", || running.0.try_wait().unwrap().is_some());
        assert!(running.0.wait().unwrap().success());
        let mut log = String::new();
        let _ = running.0.stderr.take().unwrap().read_to_string(&mut log);
        assert!(log.contains("the configuration stays as it was"), "{log}");
        assert!(!folder.0.join("state/voip.pid").exists());
        assert!(!folder.0.join("state/voip.sock").exists());
    }
}

#[test]
fn a_port_that_is_taken_is_said() {
    let folder = Folder::new("taken");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for workers in [1, 4] {
        let file = folder.write("voip.toml", &config(port, workers));
        let refused = voipd(&["-f"], &file);
        assert_eq!(refused.status.code(), Some(69));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.contains(&format!("cannot listen on udp:127.0.0.1:{port}")),
            "{said}"
        );
    }
}
