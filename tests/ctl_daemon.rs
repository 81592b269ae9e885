//! `voipctl` against the real `voipd`, over UDP, TCP and TLS.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running voipd in a directory of its own; killed and removed at the end.
struct Voipd {
    dir: PathBuf,
    child: Child,
}

impl Voipd {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("voip-ctld-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["example.com".to_string()]).unwrap();
        std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        // The system chooses the ports; `status` tells them.
        let text = "[node]\ndomains = [\"example.com\"]\nstate_dir = \"state\"\nworkers = 2\n\
             [sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]\n\
             [sip.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\
             [rtp]\nrelay = \"always\"\nports = \"33000-33999\"\n";
        std::fs::write(dir.join("voip.toml"), text).unwrap();
        let child = Self::spawn(&dir);
        let voipd = Self { dir, child };
        voipd.wait();
        voipd
    }

    fn spawn(dir: &std::path::Path) -> Child {
        Command::new(env!("CARGO_BIN_EXE_voipd"))
            .arg("-f")
            .arg("-c")
            .arg(dir.join("voip.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait(&self) {
        let start = Instant::now();
        while self.run(&["status"]).0 != 0 {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "voipd does not start"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9`, and a new start on the same state.
    fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.dir);
        self.wait();
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_voipctl"))
            .arg("-c")
            .arg(self.dir.join("voip.toml"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut text = String::from_utf8(output.stdout).unwrap();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), text)
    }

    /// `127.0.0.1:PORT` of a transport.
    fn listener(&self, transport: &str) -> String {
        let status = self.ok(&["--json", "status"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let all = status["listen"].as_array().unwrap().iter();
        let mut own = all.filter_map(|l| l.as_str()?.strip_prefix(&format!("{transport}:")));
        own.next().unwrap().to_string()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    }
}

impl Drop for Voipd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// How many packets of ten caller and callee hear. The relay hears of the answer while the phones
/// do: on a busy machine the packets of the first milliseconds may come before.
fn heard(said: &str) -> Option<[u32; 2]> {
    let (_, rest) = said.split_once("the caller hears ")?;
    let (caller, rest) = rest.split_once(" of 10 packets, the callee ")?;
    let (callee, _) = rest.split_once(" of 10")?;
    Some([caller.parse().ok()?, callee.parse().ok()?])
}

#[test]
fn a_user_calls_over_every_transport() {
    let voipd = Voipd::start("probe");
    voipd.ok(&["user", "add", "100", "--password", "secret"]);
    let ca = voipd.dir.join("cert.pem");
    let ca = ca.to_str().unwrap();
    for transport in ["udp", "tcp", "tls"] {
        let said = voipd.ok(&[
            "probe",
            "sip:100@example.com",
            "--server",
            &voipd.listener(transport),
            "--transport",
            transport,
            "--ca",
            ca,
            "--password",
            "secret",
        ]);
        let heard = heard(&said).unwrap_or_else(|| panic!("{transport}: {said}"));
        assert!(
            heard.iter().all(|n| (8..=10).contains(n)),
            "{transport}: {said}"
        );
    }
    let (code, said) = voipd.run(&["ping", &format!("sips:{}", voipd.listener("tls"))]);
    assert!(code == 76 && said.contains("certificate"), "{code} {said}");
    let uri = format!("sip:{};transport=tcp", voipd.listener("tcp"));
    assert!(voipd.ok(&["ping", &uri]).starts_with("200 OK from"));
    let trace: serde_json::Value = serde_json::from_str(&voipd.ok(&["--json", "trace"])).unwrap();
    let invite = trace.as_array().unwrap().iter().find(|row| {
        row["first_line"].as_str().unwrap().starts_with("INVITE") && row["direction"] == "in"
    });
    let call_id = invite.unwrap()["call_id"].as_str().unwrap();
    let ladder = voipd.ok(&["trace", call_id, "--full"]);
    for line in [
        "|-- INVITE sip:100@example.com -",
        "200 OK (BYE)",
        "--- from udp:127.0.0.1:",
    ] {
        assert!(ladder.contains(line), "{line}: {ladder}");
    }
    assert!(
        !ladder.contains("response=\""),
        "credentials are not shown: {ladder}"
    );
    let status: serde_json::Value = serde_json::from_str(&voipd.ok(&["--json", "status"])).unwrap();
    assert_eq!(
        (&status["calls"], &status["registrations"]),
        (&0.into(), &0.into())
    );
    assert_eq!(status["shards"], 2);
    let cdrs: serde_json::Value = serde_json::from_str(&voipd.ok(&["--json", "cdr"])).unwrap();
    let cdrs = cdrs.as_array().unwrap();
    assert_eq!(cdrs.len(), 3, "{cdrs:#?}");
    for cdr in cdrs {
        assert_eq!(cdr["user"], "100@example.com", "{cdr}");
        assert_eq!((&cdr["status"], &cdr["way_out"]), (&200.into(), &"".into()));
    }
    assert!(cdrs.is_sorted_by(|newer, older| newer["end_ms"].as_u64() >= older["end_ms"].as_u64()));
}

#[test]
fn users_outlive_a_kill() {
    let mut voipd = Voipd::start("kill");
    voipd.ok(&[
        "user",
        "add",
        "100",
        "--password",
        "secret",
        "--display-name",
        "Ana",
    ]);
    voipd.ok(&["user", "add", "101", "--password", "secret"]);
    voipd.ok(&["user", "del", "101"]);
    voipd.ok(&["feature", "set", "100", "forward-no-answer", "102"]);
    voipd.kill_and_restart();
    let listed = voipd.ok(&["user", "list"]);
    assert!(
        listed.contains("100@example.com  Ana") && !listed.contains("101@"),
        "{listed}"
    );
    let shown = voipd.ok(&["feature", "show", "100"]);
    assert!(shown.contains("forward-no-answer     102"), "{shown}");
    let (code, said) = voipd.run(&["feature", "show", "101"]);
    assert_eq!(code, 67, "{said}");
    let (code, said) = voipd.run(&["hangup", "nothing"]);
    assert_eq!(code, 65, "{said}");
    let (code, said) = voipd.run(&["doctor"]);
    assert!(code == 0, "{code} {said}");
    assert!(
        said.contains("certificate and key belong together"),
        "{said}"
    );
}

#[test]
fn a_bad_file_changes_nothing() {
    let voipd = Voipd::start("reload");
    let file = voipd.dir.join("voip.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{good}colour = 5\n")).unwrap();
    let socket = voipd.dir.join("state/voip.sock");
    let reload = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_voipctl"))
            .args(arguments)
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap_or(-1), said)
    };
    let (code, said) = reload(&["-s", socket.to_str().unwrap(), "reload"]);
    assert!(
        code == 78 && said.contains("rtp.colour: is unknown"),
        "{code} {said}"
    );
    std::fs::write(&file, good).unwrap();
    voipd.ok(&["reload"]);
    voipd.ok(&["log", "warn"]);
}

#[test]
fn the_number_plan_says_where_a_number_leads() {
    let voipd = Voipd::start("plan");
    voipd.ok(&["user", "add", "100", "--password", "secret"]);
    let file = voipd.dir.join("voip.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str(
        "[numbers]\ncountry = \"34\"\nnational_digits = 9\ntimezone = \"Europe/Madrid\"\n\
        [[trunk]]\nname = \"itsp\"\nuri = \"sip:127.0.0.1:9\"\nprobe_s = 0\n\
        [[route]]\nname = \"night\"\nmatch = \"9XXXXXXXX\"\nhours = \"20:00-08:00\"\n\
        to = \"user:100\"\n\
        [[route]]\nname = \"day\"\nmatch = \"9XXXXXXXX\"\ncaller_id = \"+34915550100\"\n\
        to = [\"trunk:itsp\", \"e1:pstn\"]\n\
        [[route]]\nname = \"rest\"\nmatch = \"!\"\nfrom = \"user:*\"\nto = \"trunk:itsp\"\n",
    );
    std::fs::write(&file, text).unwrap();
    voipd.ok(&["reload"]);
    let test = |arguments: &[&str]| {
        let mut all = vec!["route", "test"];
        all.extend(arguments);
        voipd.ok(&all)
    };
    let day = test(&["915 550 101", "--from", "100", "--at", "2026-11-25 12:00"]);
    for line in [
        "915550101 from user:100@example.com at 2026-11-25T11:00:00Z",
        "it does not hold on Wednesday 2026-11-25 at 12:00 in Europe/Madrid",
        "route day: number 915550101 (+34915550101)",
        "caller's number +34915550100",
        "1. trunk:itsp, 25 s; next on timeout, 408, 430, 5xx",
        "2. e1:pstn",
    ] {
        assert!(day.contains(line), "{line}: {day}");
    }
    let night = test(&[
        "915550101",
        "--from",
        "trunk:itsp",
        "--at",
        "2026-11-25 23:00",
    ]);
    assert!(night.contains("1. user:100@example.com"), "{night}");
    let far = test(&["0044207946000", "--from", "user:100@example.com"]);
    assert!(far.contains("refused: 403 International calls"), "{far}");
    let none = test(&["200", "--from", "trunk:itsp"]);
    assert!(none.contains("no route: it rings that user"), "{none}");
    let json = test(&["915550101", "--from", "100", "--at", "12:00", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["decision"], "go");
    assert_eq!(json["steps"][0]["targets"][0], "trunk:itsp");
    assert_eq!(json["lines"][2]["verdict"], "taken");
    for (arguments, code, says) in [
        (
            ["915550101", "--from", "101", "--at", "12:00"],
            65,
            "there is no user 101",
        ),
        (
            ["915550101", "--from", "trunk:isp", "--at", "12:00"],
            65,
            "there is no trunk isp",
        ),
        (
            ["915550101", "--from", "100", "--at", "soon"],
            65,
            "\"soon\" is no time",
        ),
        (
            ["915550101", "--from", "x:1", "--at", "12:00"],
            65,
            "\"x:1\" is nobody who calls",
        ),
    ] {
        let mut all = vec!["route", "test"];
        all.extend(arguments);
        let (got, said) = voipd.run(&all);
        assert!(got == code && said.contains(says), "{got} {said}");
    }
}
