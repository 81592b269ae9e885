use super::*;
use crate::control::{
    Command, Failure, MemberRow, PoolRow, RelayDriverRow, RelayQueueRow, Reply, StatusRow, TrunkRow,
};

fn request<'a>(method: &'a str, path: &'a str, query: &'a str, body: &'a str) -> HttpRequest<'a> {
    HttpRequest {
        method,
        path,
        query,
        body: body.as_bytes(),
    }
}

fn get(path: &str, query: &str) -> Result<Wanted, Answer> {
    route(&request("GET", path, query, ""))
}

#[test]
fn requests_become_commands() {
    assert_eq!(get("/healthz", ""), Ok(Wanted::Health));
    assert_eq!(get("/metrics", ""), Ok(Wanted::Metrics));
    for (path, wanted) in [("trunks", Command::Trunks), ("pools", Command::Pools)] {
        assert_eq!(
            get(&format!("/api/v1/{path}"), ""),
            Ok(Wanted::Command(wanted))
        );
    }
    let registrations = |filter: Option<&str>, after: Option<&str>| {
        Ok(Wanted::Command(Command::Registrations {
            filter: filter.map(Into::into),
            after: after.map(Into::into),
        }))
    };
    assert_eq!(get("/api/v1/registrations", ""), registrations(None, None));
    assert_eq!(
        get("/api/v1/registrations", "filter=100%40&after="),
        registrations(Some("100@"), None)
    );
    let hangup = route(&request("DELETE", "/api/v1/calls/a%2Fb", "", ""));
    let id = "a/b".to_owned();
    assert_eq!(hangup, Ok(Wanted::Command(Command::Hangup { id })));
    let source = "2001:db8::1".parse().unwrap();
    for (query, user) in [
        ("", None),
        ("user=100@a.test", Some("100@a.test".to_owned())),
    ] {
        let lift = route(&request("DELETE", "/api/v1/bans/2001:db8::1", query, ""));
        assert_eq!(lift, Ok(Wanted::Command(Command::BanLift { source, user })));
    }
}

#[test]
fn call_records_are_asked_for_page_by_page() {
    let asked = |query| get("/api/v1/cdrs", query);
    let all = Command::Cdrs {
        user: None,
        since: None,
        before: None,
        limit: None,
    };
    assert_eq!(asked("").unwrap(), Wanted::Command(all));
    let some = Command::Cdrs {
        user: Some("100@example.com".into()),
        since: Some("10:00".into()),
        before: Some(77),
        limit: Some(5),
    };
    let query = "user=100%40example.com&since=10%3A00&before=77&limit=5";
    assert_eq!(asked(query).unwrap(), Wanted::Command(some));
    for query in ["limit=-1", "limit=many", "before=x", "last=5"] {
        assert_eq!(asked(query).unwrap_err().status, 400, "{query}");
    }
}

#[test]
fn a_password_becomes_a_verifier() {
    let body = r#"{"password": "secret", "display_name": "Desk"}"#;
    let put = route(&request("PUT", "/api/v1/users/100@EXAMPLE.com", "", body));
    let Ok(Wanted::Command(Command::UserImport { users })) = put else {
        panic!("{put:?}");
    };
    assert_eq!(users[0].aor, "100@example.com");
    assert_eq!(users[0].display_name, "Desk");
    // echo -n 100:example.com:secret | md5sum
    assert_eq!(users[0].verifier.md5, "1fbc291a2675605e5996e579443b3791");
}

#[test]
fn what_makes_no_sense_is_refused_with_the_remedy() {
    for (method, path, query, body, status) in [
        ("GET", "/", "", "", 404),
        ("GET", "/api/v1/", "", "", 404),
        ("GET", "/api/v1/nonsense", "", "", 404),
        ("GET", "/api/v1/status/x", "", "", 404),
        ("POST", "/api/v1/status", "", "", 405),
        ("GET", "/api/v1/reload", "", "", 405),
        ("PATCH", "/api/v1/users/100@example.com", "", "", 405),
        ("GET", "/api/v1/registrations", "fliter=100", "", 400),
        ("DELETE", "/api/v1/bans/nobody", "", "", 400),
        ("DELETE", "/api/v1/calls/", "", "", 400),
        ("DELETE", "/api/v1/calls/%ff", "", "", 400),
        ("DELETE", "/api/v1/calls/a/b", "", "", 400),
        ("PUT", "/api/v1/users/100", "", r#"{"password": "x"}"#, 400),
        ("PUT", "/api/v1/users/100@a", "", "", 400),
        ("PUT", "/api/v1/users/100@a", "", r#"{"password": ""}"#, 400),
        (
            "PUT",
            "/api/v1/users/100@a",
            "",
            r#"{"password": "x", "admin": true}"#,
            400,
        ),
    ] {
        let refused = route(&request(method, path, query, body)).unwrap_err();
        assert_eq!(refused.status, status, "{method} {path}?{query} {body}");
        assert_eq!(refused.allow.is_some(), status == 405);
        let said: serde_json::Value = serde_json::from_slice(&refused.body).unwrap();
        assert!(said["problem"].is_string() && said["remedy"].is_string());
    }
}

#[test]
fn failures_say_whose_fault_it_is() {
    for (kind, status) in [
        (Failure::NotFound, 404),
        (Failure::Exists, 409),
        (Failure::BadCommand, 400),
        (Failure::BadConfig, 422),
        (Failure::Full, 507),
        (Failure::Store, 507),
        (Failure::Unavailable, 503),
    ] {
        let wanted = Wanted::Command(Command::Calls);
        let answer = Answer::of(&wanted, Reply::failed(kind, "no", "yes"));
        assert_eq!(answer.status, status);
    }
    let refused = Reply::Imported {
        added: 0,
        replaced: 0,
        refused: vec!["100@x: not our domain".into()],
    };
    assert_eq!(
        Answer::of(&Wanted::Command(Command::Status), refused).status,
        400
    );
}

#[test]
fn a_scrape_has_every_counter() {
    let mut row = StatusRow {
        version: "1.2".into(),
        calls: 7,
        ..StatusRow::default()
    };
    row.trunks.push(TrunkRow {
        name: "itsp".into(),
        state: "down".into(),
        registration: "failed".into(),
        calls: 2,
        answered: 5,
        ..TrunkRow::default()
    });
    row.pools.push(PoolRow {
        name: "pbx".into(),
        members: vec![MemberRow {
            uri: "sip:a".into(),
            state: "up".into(),
            draining: true,
            unanswered: 4,
            ..MemberRow::default()
        }],
        ..PoolRow::default()
    });
    row.ng_sessions = 6;
    row.relay.push(RelayDriverRow {
        name: "xdp:eth0".into(),
        up: true,
        flows: 2,
        received: 50,
        sent: 40,
        punted: 3,
        drops: [("stray".to_owned(), 7)].into(),
        queues: vec![RelayQueueRow {
            room: 2048,
            ring_full: 6,
            sent: 40,
            ..RelayQueueRow::default()
        }],
        ..RelayDriverRow::default()
    });
    row.counters.other.insert("fast_path_flows".into(), 2);
    row.counters.messages_in = 42;
    row.counters.requests.insert("INVITE".into(), 3);
    row.counters.drops.insert("with \"quotes\"".into(), 1);
    let answer = Answer::of(&Wanted::Metrics, Reply::Status(Box::new(row)));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "voip_build_info{version=\"1.2\"} 1",
        "voip_calls 7",
        "voip_ng_sessions 6",
        "voip_trunk_up{trunk=\"itsp\"} 0",
        "voip_trunk_registered{trunk=\"itsp\"} 0",
        "voip_trunk_calls{trunk=\"itsp\"} 2",
        "voip_trunk_seizures_total{trunk=\"itsp\",outcome=\"answered\"} 5",
        "voip_pool_member_up{pool=\"pbx\",member=\"sip:a\"} 1",
        "voip_pool_member_draining{pool=\"pbx\",member=\"sip:a\"} 1",
        "voip_pool_member_calls{pool=\"pbx\",member=\"sip:a\"} 0",
        "voip_pool_member_seizures_total{pool=\"pbx\",member=\"sip:a\",outcome=\"unanswered\"} 4",
        "voip_messages_total{direction=\"in\"} 42",
        "voip_relay_driver_up{driver=\"xdp:eth0\"} 1",
        "voip_relay_streams{driver=\"xdp:eth0\"} 2",
        "voip_relay_packets_total{driver=\"xdp:eth0\",direction=\"in\"} 50",
        "voip_relay_packets_total{driver=\"xdp:eth0\",direction=\"out\"} 40",
        "voip_relay_punted_total{driver=\"xdp:eth0\"} 3",
        "voip_relay_drops_total{driver=\"xdp:eth0\",reason=\"stray\"} 7",
        "voip_relay_queue_room{driver=\"xdp:eth0\",queue=\"0\"} 2048",
        "voip_relay_queue_frames_total{driver=\"xdp:eth0\",queue=\"0\",direction=\"out\"} 40",
        "voip_relay_queue_drops_total{driver=\"xdp:eth0\",queue=\"0\",reason=\"ring_full\"} 6",
        "voip_requests_total{method=\"INVITE\"} 3",
        "voip_drops_total{reason=\"with \\\"quotes\\\"\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
    assert!(
        !text.contains("fast_path_flows"),
        "a gauge among counters: {text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn only_the_token_opens() {
    let token = b"0123456789abcdef";
    assert!(is_authorized(Some(b"Bearer 0123456789abcdef"), token));
    assert!(is_authorized(Some(b"bearer  0123456789abcdef"), token));
    for wrong in [
        &b"Bearer 0123456789abcdee"[..],
        b"Bearer 0123456789abcde",
        b"Bearer 0123456789abcdef0",
        b"Basic 0123456789abcdef",
        b"Bearer ",
        b"Bearer",
        b"",
    ] {
        assert!(!is_authorized(Some(wrong), token));
    }
    assert!(!is_authorized(None, token));
    assert!(!is_authorized(Some(b"Bearer "), b""));
    assert!(token_of("short\n").unwrap_err().contains("openssl rand"));
    assert_eq!(
        token_of("0123456789abcdef\n").as_deref(),
        Ok("0123456789abcdef")
    );
}
