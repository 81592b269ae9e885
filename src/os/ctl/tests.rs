use super::*;
use crate::control::{
    CallRow, CallState, LegRow, MemberRow, PoolRow, RegistrationRow, TraceDirection, TraceRow,
    TrunkRow,
};

fn users(text: &str) -> Result<Vec<csv::Line>, Vec<String>> {
    csv::users(text)
}

#[test]
fn csv_with_and_without_a_heading() {
    let plain = users("100,secret\r\n101,\"a,\"\"b\",\"Ana\nÑ\",example.net\n\n102,x,\n").unwrap();
    assert_eq!(plain.len(), 3);
    assert_eq!((plain[0].line, plain[1].line, plain[2].line), (1, 2, 5));
    assert_eq!(plain[1].password, "a,\"b");
    assert_eq!(plain[1].display_name, "Ana\nÑ");
    assert_eq!(plain[1].domain.as_deref(), Some("example.net"));
    assert_eq!(plain[2].display_name, "");
    let named = users("\u{feff}Password, USERNAME\nsecret,100").unwrap();
    assert_eq!(
        (&*named[0].username, &*named[0].password),
        ("100", "secret")
    );
    assert_eq!(users("").unwrap(), []);
}

#[test]
fn csv_names_every_wrong_line() {
    let wrong = users("100,secret\n,x\n101\n1,2,3,4,5\n").unwrap_err();
    assert_eq!(
        wrong,
        [
            "line 2: no username",
            "line 3: no password",
            "line 4: 5 fields in 4 columns"
        ]
    );
    let cases = [
        (
            "username,secret\n1,2",
            "line 1: column \"secret\" is none of",
        ),
        ("1,\"2\n3,4\n", "line 1: has a quote without end"),
        ("1,2\n3,\"4\"5\n", "line 2: goes on behind a quote"),
    ];
    for (text, said) in cases {
        let wrong = users(text).unwrap_err();
        assert!(wrong.iter().any(|w| w.starts_with(said)), "{wrong:?}");
    }
    assert!(users(&",".repeat(100)).is_err());
}

#[test]
fn tables_align() {
    let mut table = table::Table::new(&["NAME", "N"]);
    assert_eq!(table.render("nothing"), "nothing\n");
    table.row(["ñandú".into(), "7".into()]);
    table.row(["a".into(), "1234".into()]);
    table.row(["\u{1b}[2J".into(), "-".into()]);
    let wanted = "NAME      N\nñandú     7\na      1234\n?[2J      -\n";
    assert_eq!(table.render(""), wanted);
    assert_eq!(table::duration(3 * 86_400 + 7_629), "3d 02:07:09");
}

fn message(at_ms: u64, out: bool, remote: &str, cseq: &str, line: &str) -> TraceRow {
    TraceRow {
        at_ms: 1_795_386_670_000 + at_ms,
        order: 0,
        direction: if out {
            TraceDirection::Out
        } else {
            TraceDirection::In
        },
        transport: "udp".into(),
        local: "192.0.2.1:5060".into(),
        remote: remote.into(),
        call_id: "a84b4c76e66710".into(),
        cseq: cseq.into(),
        first_line: line.into(),
        text: format!("{line}\r\nCSeq: {cseq}\r\n\r\n"),
    }
}

fn call() -> Vec<TraceRow> {
    let (a, b) = ("198.51.100.7:40000", "[2001:db8::5]:5060");
    let invite = "INVITE sip:101@example.com SIP/2.0";
    vec![
        message(0, false, a, "1 INVITE", invite),
        message(
            1,
            true,
            a,
            "1 INVITE",
            "SIP/2.0 407 Proxy Authentication Required",
        ),
        message(30, false, a, "2 INVITE", invite),
        message(
            31,
            true,
            b,
            "2 INVITE",
            "INVITE sip:101@[2001:db8::5]:5060 SIP/2.0",
        ),
        message(1500, false, b, "2 INVITE", "SIP/2.0 180 Ringing"),
        message(1500, true, a, "2 INVITE", "SIP/2.0 180 Ringing"),
        message(
            4000,
            true,
            "203.0.113.9:5060",
            "2 INVITE",
            "CANCEL sip:1@203.0.113.9 SIP/2.0",
        ),
    ]
}

#[test]
fn the_ladder_of_a_call() {
    let drawn = ladder::ladder(&call(), false);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ctl/ladder.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &drawn).unwrap();
    }
    let wanted = std::fs::read_to_string(file).unwrap();
    assert_eq!(drawn, wanted, "\n{drawn}");
    let full = ladder::ladder(&call(), true);
    assert!(full.contains("\n--- from udp:[2001:db8::5]:5060\nSIP/2.0 180 Ringing\n"));
    let overview = ladder::overview(&call());
    assert!(
        overview.contains("7  INVITE sip:101@example.com"),
        "{overview}"
    );
    assert_eq!(ladder::ladder(&[], true), "");
}

#[test]
fn calls_say_why_audio_is_one_way() {
    let row = CallRow {
        id: "k3".into(),
        from: "sip:100@example.com".into(),
        to: "sip:101@example.com".into(),
        state: CallState::Up,
        since_ms: 0,
        since: "2026-11-22T22:31:10Z".into(),
        codec: "PCMA".into(),
        legs: vec![
            LegRow {
                side: "caller".into(),
                packets_in: 100,
                packets_out: 0,
                lost: 2,
                jitter_ms: 1.25,
                mos: Some(4.38),
                remote: "198.51.100.7:4000".into(),
                silent_ms: Some(20),
            },
            LegRow {
                side: "callee".into(),
                silent_ms: Some(2000),
                ..LegRow::default()
            },
        ],
        verdict: "the callee's side sends nothing".into(),
    };
    let text = listing::calls_text(&[row]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("ID  FROM"), "{text}");
    assert!(
        lines[1].starts_with("k3  sip:100@example.com  sip:101@example.com  up"),
        "{text}"
    );
    let caller = "    caller: 100 packets in, 0 out, 2 lost, jitter 1.2 ms, MOS 4.4, \
                  from 198.51.100.7:4000";
    assert_eq!(lines[2], caller);
    assert!(lines[3].ends_with("silent for 2 s"), "{text}");
    assert_eq!(lines[4], "    ! the callee's side sends nothing");
    assert_eq!(listing::calls_text(&[]), "there are no calls\n");
}

#[test]
fn registrations_in_columns() {
    let row = RegistrationRow {
        aor: "100@example.com".into(),
        contact: "sip:100@10.0.0.2:5060".into(),
        received: "198.51.100.7:40000".into(),
        transport: "udp".into(),
        expires_s: 3599,
        user_agent: "Evil\r\n\u{7}Phone".into(),
        behind_nat: true,
    };
    let text = listing::registrations_text(&[row]);
    assert!(
        text.ends_with("udp  yes     3599  Evil???Phone\n"),
        "{text}"
    );
}

#[test]
fn uris_of_every_kind() {
    let shown = |text: &str| sip::uri(text).map(|u| u.to_string()).map_err(|f| f.text);
    assert_eq!(shown("example.com").unwrap(), "sip:example.com");
    assert_eq!(
        shown("sip:100@192.0.2.1:5080").unwrap(),
        "sip:100@192.0.2.1:5080"
    );
    assert_eq!(
        shown("sip:100@[2001:db8::1]:5080").unwrap(),
        "sip:100@[2001:db8::1]:5080"
    );
    let kind = |text: &str| sip::transport(&sip::uri(text).unwrap()).unwrap();
    assert_eq!(kind("sips:100@example.com"), sip::Kind::Tls);
    assert_eq!(kind("sip:example.com;transport=tls"), sip::Kind::Tls);
    assert_eq!(kind("sip:example.com"), sip::Kind::Udp);
    let address = |text: &str, server: Option<&str>| {
        sip::address(&sip::uri(text).unwrap(), server, sip::Kind::Udp)
            .map(|a| a.to_string())
            .unwrap()
    };
    assert_eq!(address("sip:100@127.0.0.1", None), "127.0.0.1:5060");
    assert_eq!(address("sip:100@127.0.0.1:5080", None), "127.0.0.1:5080");
    assert_eq!(address("sip:[::1]", None), "[::1]:5060");
    assert_eq!(address("sip:[::1]:5080", None), "[::1]:5080");
    assert_eq!(
        address("sip:1@example.com", Some("127.0.0.1")),
        "127.0.0.1:5060"
    );
    assert_eq!(
        address("sip:1@example.com", Some("[::1]:5070")),
        "[::1]:5070"
    );
    assert_eq!(address("sip:1@example.com", Some("::1")), "[::1]:5060");
    assert_eq!(
        sip::tag("\"A ;tag=no\" <sip:a;tag=no@b>;x=1;tag=yes"),
        Some("yes")
    );
    assert_eq!(sip::tag("<sip:a@b>"), None);
}

#[test]
fn every_verb_has_help_and_passwords_a_warning() {
    let mut command = Cli::command();
    command.build();
    for verb in command.get_subcommands() {
        assert!(verb.get_about().is_some(), "{}", verb.get_name());
    }
    command.debug_assert();
    let page = ["voipctl", "user", "add", "--help"];
    let help = Cli::try_parse_from(page).unwrap_err().to_string();
    assert!(help.contains("shows in ps"), "{help}");
}

#[test]
fn trunks_and_pools_as_people_read_them() {
    let row = TrunkRow {
        name: "itsp".into(),
        state: "down".into(),
        since: "2026-11-22T22:31:10Z".into(),
        registration: "failed".into(),
        calls: 2,
        calls_max: 30,
        answered: 3,
        unanswered: 1,
        answer_seizure_percent: Some(75),
        last_error: Some("403 Forbidden: check username and password_file".into()),
        last_error_at: Some("2026-11-22T22:31:11Z".into()),
        ..TrunkRow::default()
    };
    let text = peers::trunks_text(&[row]);
    let (_, line) = text.split_once('\n').unwrap();
    let cells: Vec<&str> = line.split("  ").map(str::trim).collect();
    let cells: Vec<&str> = cells.into_iter().filter(|c| !c.is_empty()).collect();
    assert_eq!(
        cells,
        [
            "itsp",
            "down",
            "2026-11-22T22:31:10Z",
            "2 of 30",
            "75%",
            "failed",
            "403 Forbidden: check username and password_file (2026-11-22T22:31:11Z)"
        ]
    );
    let pool = PoolRow {
        name: "pbx".into(),
        algorithm: "call-id".into(),
        members: vec![MemberRow {
            uri: "sip:192.0.2.11".into(),
            weight: 2,
            state: "up".into(),
            draining: true,
            calls: 7,
            ..MemberRow::default()
        }],
    };
    let text = peers::pools_text(&[pool]);
    assert!(text.contains("pbx (call-id)  sip:192.0.2.11"), "{text}");
    assert!(text.contains("up, draining"), "{text}");
    assert!(peers::pools_text(&[]).contains("no [[pool]]"));
}
