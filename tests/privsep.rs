//! The daemon as several processes: each is confined, each may die alone, and none believes what is
//! not of the protocol.

use md5::{Digest, Md5};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use voip::os::ipc::{Channel, Hello, PROTOCOL, Role, ToMonitor, ToRole};
use voip::os::role::MONITOR_FD;
use voip::os::sys;

const PATIENCE: Duration = Duration::from_secs(20);

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

/// A daemon in a folder of its own; killed if the test fails before it ends by itself.
struct Daemon {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Daemon {
    fn start(name: &str, workers: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("voip-ps-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let token = folder.join("web.token");
        fs::write(&token, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let text = format!(
            "[node]\ndomains = [\"voip.test\"]\nstate_dir = \"state\"\nworkers = {workers}\n\
             [sip]\nlisten = [\"udp:127.0.0.1:{port}\", \"tcp:127.0.0.1:{port}\"]\n\
             [admin]\nweb = \"127.0.0.1:0\"\ntoken_file = \"web.token\"\n"
        );
        fs::write(folder.join("voip.toml"), text).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_voipd"))
            .args(["-f", "--processes", "-c"])
            .arg(folder.join("voip.toml"))
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Self {
            folder,
            port,
            child,
        };
        wait_until("it serves", || daemon.log().contains("listening on tcp"));
        daemon
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    fn server(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn signal(&self, name: &str, pid: u32) {
        let pid = pid.to_string();
        let done = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// The process of a role.
    fn pid(&self, role: Role) -> u32 {
        let parent = self.child.id().to_string();
        let listed = Command::new("ps")
            .args(["ax", "-o", "ppid=", "-o", "pid=", "-o", "args="])
            .output();
        let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
        let name = format!("voipd: {}", role.name());
        let mut all = listed.lines().map(|line| line.split_whitespace());
        let pid = all.find_map(|mut words| {
            let ours = words.next() == Some(parent.as_str());
            let pid = words.next()?;
            let args = words.collect::<Vec<_>>().join(" ");
            (ours && args.contains(&name)).then(|| pid.parse().unwrap())
        });
        pid.unwrap_or_else(|| panic!("no {name} of {parent} among {listed}"))
    }

    fn kill(&self, role: Role) {
        let before = self.pid(role);
        let served = self.log().matches("serves again").count();
        self.signal("KILL", before);
        wait_until("it serves again", || {
            self.log().matches("serves again").count() > served
        });
        assert_ne!(self.pid(role), before);
    }

    fn ctl(&self, words: &[&str]) -> String {
        let done = Command::new(env!("CARGO_BIN_EXE_voipctl"))
            .arg("-c")
            .arg(self.folder.join("voip.toml"))
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{words:?}: {said} {complaint}");
        said
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
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

/// A phone that asks and is answered.
struct Phone {
    socket: UdpSocket,
    sequence: u32,
}

impl Phone {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = Some(Duration::from_millis(500));
        socket.set_read_timeout(patience).unwrap();
        Self {
            socket,
            sequence: 0,
        }
    }

    /// Sends, and again until something comes, as RFC 3261 §17.1.2 has it.
    fn ask(&mut self, server: SocketAddr, method: &str, more: &str) -> String {
        self.sequence += 1;
        let (own, n) = (self.socket.local_addr().unwrap(), self.sequence);
        let text = format!(
            "{method} sip:voip.test SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{n}{};rport\r\n\
             From: <sip:100@voip.test>;tag=1\r\nTo: <sip:100@voip.test>\r\nCall-ID: {}\r\n\
             CSeq: {n} {method}\r\nMax-Forwards: 70\r\nContact: <sip:100@{own}>\r\n{more}\
             Content-Length: 0\r\n\r\n",
            own.port(),
            own.port(),
        );
        let mut space = [0; 4000];
        for _ in 0..10 {
            self.socket.send_to(text.as_bytes(), server).unwrap();
            while let Ok((n, _)) = self.socket.recv_from(&mut space) {
                let answer = String::from_utf8_lossy(&space[..n]).into_owned();
                if answer.contains(&format!("CSeq: {} {method}", self.sequence)) {
                    return answer;
                }
            }
        }
        panic!("{method} was not answered");
    }

    /// Registers with a password (RFC 7616, MD5 as of RFC 2617 without qop).
    fn register(&mut self, server: SocketAddr, password: &str) {
        let refused = self.ask(server, "REGISTER", "");
        assert!(refused.starts_with("SIP/2.0 401 "), "{refused}");
        let challenge = refused.lines().find(|line| line.contains("MD5")).unwrap();
        let nonce = challenge
            .split("nonce=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let hash = |text: String| {
            let hash = Md5::digest(text.as_bytes());
            hash.iter().map(|b| format!("{b:02x}")).collect::<String>()
        };
        let ha1 = hash(format!("100:voip.test:{password}"));
        let ha2 = hash("REGISTER:sip:voip.test".to_owned());
        let response = hash(format!("{ha1}:{nonce}:00000001:abc:auth:{ha2}"));
        let header = format!(
            "Authorization: Digest username=\"100\", realm=\"voip.test\", nonce=\"{nonce}\", \
             uri=\"sip:voip.test\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\", \
             response=\"{response}\"\r\n"
        );
        let done = self.ask(server, "REGISTER", &header);
        assert!(done.starts_with("SIP/2.0 200 "), "{done}");
    }
}

#[test]
fn a_role_cannot_do_what_is_not_its_task() {
    let daemon = Daemon::start("probe", 1);
    daemon.signal("USR1", daemon.child.id());
    wait_until("all roles tried", || {
        daemon.log().matches("tried to start a program").count() == Role::ALL.len()
    });
    let log = daemon.log();
    let refused = |role: Role, what: &str| {
        let start = format!("{} tried to {what}: ", role.name());
        let line = log.split(&start).nth(1).unwrap().lines().next().unwrap();
        // Where net's root is an empty folder, there is nothing to open.
        let refusals = ["ot permitted", "denied", "No such file"];
        refusals.iter().any(|refusal| line.contains(refusal))
    };
    for role in Role::ALL {
        for what in ["open a file", "make a file", "start a program"] {
            assert!(refused(role, what), "{role:?} {what}: {log}");
        }
        // The broker's task is what the others may not.
        let broker = role == Role::Net;
        for what in ["bind", "connect", "send to an address"] {
            assert_eq!(refused(role, what), !broker, "{role:?} {what}: {log}");
        }
    }
    assert!(!std::path::Path::new("/tmp/voipd-probe").exists());
}

#[test]
fn each_role_may_die_and_phones_stay_registered() {
    for workers in [1, 3] {
        let daemon = Daemon::start(&format!("life-{workers}"), workers);
        fs::write(daemon.folder.join("pw"), "secret\n").unwrap();
        let added = Command::new(env!("CARGO_BIN_EXE_voipctl"))
            .arg("-c")
            .arg(daemon.folder.join("voip.toml"))
            .args(["user", "add", "100", "--password-stdin"])
            .stdin(fs::File::open(daemon.folder.join("pw")).unwrap())
            .stdout(Stdio::null())
            .status();
        assert!(added.unwrap().success());
        let mut phone = Phone::new();
        phone.register(daemon.server(), "secret");
        let bound = format!("sip:100@{}", phone.socket.local_addr().unwrap());
        daemon.ctl(&["feature", "set", "100", "forward-busy", "200"]);
        // What was answered 200 is on the disk within a second.
        std::thread::sleep(Duration::from_secs(1));
        for role in [Role::Net, Role::Media, Role::Signal, Role::Web, Role::Net] {
            daemon.kill(role);
            let answer = phone.ask(daemon.server(), "OPTIONS", "");
            assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
            let shown = daemon.ctl(&["registrations"]);
            assert!(shown.contains(&bound), "after {role:?}: {shown}");
            let shown = daemon.ctl(&["feature", "show", "100"]);
            assert!(
                shown.contains("forward-busy          200"),
                "after {role:?}: {shown}"
            );
        }
        assert!(daemon.ctl(&["reload"]).contains("read again"));
        let status = daemon.ctl(&["status"]);
        assert!(
            status.contains(&format!("process {}", daemon.child.id())),
            "{status}"
        );
        end_of(daemon);
    }
}

fn end_of(mut daemon: Daemon) {
    daemon.signal("TERM", daemon.child.id());
    wait_until("it ends", || daemon.child.try_wait().unwrap().is_some());
    assert!(daemon.child.wait().unwrap().success());
    for file in ["voip.pid", "voip.sock"] {
        assert!(!daemon.folder.join("state").join(file).exists(), "{file}");
    }
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let daemon = Daemon::start("reload", 1);
    fs::write(daemon.folder.join("voip.toml"), "[sip]\nlissten = []\n").unwrap();
    daemon.signal("HUP", daemon.child.id());
    wait_until("it is told", || daemon.log().contains("sip.lissten"));
    assert!(daemon.log().contains("the configuration stays as it was"));
    let answer = Phone::new().ask(daemon.server(), "OPTIONS", "");
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
}

#[test]
fn no_process_outlives_the_monitor() {
    let mut daemon = Daemon::start("orphans", 2);
    let roles = Role::ALL.map(|role| daemon.pid(role));
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    // A process that is dead and not yet buried by init has no command line any more.
    wait_until("the roles end", || {
        let gone = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty())
        };
        roles.iter().all(gone)
    });
}

/// Starts a role as the monitor does, and gives our end of its pair.
fn role(name: &str) -> (Channel, Child) {
    let (ours, theirs) = Channel::pair().unwrap();
    ours.set_timeout(PATIENCE).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voipd"));
    command.args(["--role", name]).stderr(Stdio::piped());
    sys::give(&mut command, theirs.as_raw_fd(), MONITOR_FD);
    (ours, command.spawn().unwrap())
}

fn ends_saying(child: Child, what: &str) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(what), "{said}");
}

#[test]
fn another_version_is_refused_at_the_start() {
    for which in Role::ALL {
        let (channel, child) = role(which.name());
        let (hello, _) = channel.receive::<ToMonitor>().unwrap();
        assert!(matches!(hello, ToMonitor::Hello(h) if h == Hello::new(which)));
        let other = Hello {
            protocol: PROTOCOL + 1,
            ..Hello::new(which)
        };
        channel.send(&ToRole::Hello(other), &[]).unwrap();
        let (failed, _) = channel.receive::<ToMonitor>().unwrap();
        assert!(matches!(failed, ToMonitor::Failed(_, why) if why.contains("restart voipd")));
        ends_saying(child, "messages of version");
    }
}

#[test]
fn a_malformed_message_ends_the_role() {
    for bytes in [&[0xff; 40][..], &[0], &vec![1; 200_000]] {
        let (channel, child) = role("net");
        channel.receive::<ToMonitor>().unwrap();
        channel
            .send(&ToRole::Hello(Hello::new(Role::Net)), &[])
            .unwrap();
        channel.send_bytes(bytes, &[]).unwrap();
        ends_saying(child, "malformed message");
    }
    let (channel, child) = role("media");
    channel
        .send(&ToRole::Hello(Hello::new(Role::Media)), &[])
        .unwrap();
    channel.send(&ToRole::Probe, &[]).unwrap();
    ends_saying(child, "malformed message: unexpected");
}

#[test]
fn a_role_is_not_started_by_hand() {
    for name in ["net", "king"] {
        let child = Command::new(env!("CARGO_BIN_EXE_voipd"))
            .args(["--role", name])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        ends_saying(child, "its own processes");
    }
}

/// A shell waits for the start, not for the daemon: no role holds on to what the start waits for,
/// nor to the terminal. (Seen on FreeBSD 14: `service voip start` never came back.) On Linux a
/// daemon stays in the foreground.
#[test]
#[cfg(target_os = "freebsd")]
fn a_start_returns_while_the_roles_serve() {
    let folder = std::env::temp_dir().join(format!("voip-ps-start-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let (config, pid) = (folder.join("voip.toml"), folder.join("voip.pid"));
    let text = "[node]\ndomains = [\"voip.test\"]\nstate_dir = \"state\"\n\
                [sip]\nlisten = [\"udp:127.0.0.1:0\"]\n";
    fs::write(&config, text).unwrap();
    let mut start = Command::new(env!("CARGO_BIN_EXE_voipd"))
        .args(["--processes", "-c"])
        .arg(&config)
        .arg("-p")
        .arg(&pid)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ended = None;
    let end = Instant::now() + PATIENCE;
    while ended.is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
        ended = start.try_wait().unwrap();
    }
    let served = fs::read_to_string(&pid).unwrap_or_default();
    let kill = |pid: &str| Command::new("kill").arg(pid.trim()).status();
    if ended.is_none() {
        let _ = start.kill();
    }
    // Its end of file means that nobody has the other end any more.
    let mut stderr = start.stderr.take().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut said = String::new();
        let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
        let _ = tell.send(said);
    });
    let said = told.recv_timeout(Duration::from_secs(5));
    kill(&served).unwrap();
    wait_until("it ends", || !pid.exists());
    fs::remove_dir_all(&folder).unwrap();
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert_eq!(said.as_deref(), Ok(""));
}
