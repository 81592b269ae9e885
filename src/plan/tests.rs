use super::*;
use crate::base::Rng;
use crate::config::{self, Config, Hours, Match, NumberFormat, Route};
use std::path::Path;

/// A configuration of this text, which must be without mistakes.
fn config(text: &str) -> Config {
    let text = format!("[node]\ndomains = [\"example.com\"]\n{text}");
    let config = Config::parse(&text, Path::new("voip.toml"));
    config.unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn plan(text: &str) -> Plan {
    Plan::compile(&config(text))
}

const TRUNKS: &str = "[[trunk]]\nname = \"itsp\"\nuri = \"sip:a.example.net\"\n\
    [[trunk]]\nname = \"backup\"\nuri = \"sip:b.example.net\"\n\
    [[pool]]\nname = \"gates\"\nmembers = [\"sip:192.0.2.11\"]\n";
const SPAIN: &str = "[numbers]\ncountry = \"34\"\nnational_digits = 9\n\
    premium = [\"80[367]XXXXXX\", \"+4490.\"]\nemergency = [\"112\"]\n\
    timezone = \"Europe/Madrid\"\n";

/// A call of user 100 on Wednesday, 2026-11-25 at 12:00 UTC.
fn call(number: &str) -> Query<'_> {
    Query {
        number,
        source: Source::User("100@example.com"),
        caller: "100",
        address: "203.0.113.9".parse().unwrap(),
        method: Method::Invite,
        unix_ms: unix_ms("2026-11-25T12:00:00Z"),
    }
}

fn unix_ms(text: &str) -> u64 {
    let at: jiff::Timestamp = text.parse().unwrap();
    at.as_millisecond() as u64
}

fn way(plan: &Plan, query: &Query<'_>) -> Way {
    match plan.decide(query) {
        Decision::Go(way) => *way,
        other => panic!("{}: {other:?}", query.number),
    }
}

/// The decision in one line: `route number target,target / target`.
fn said(plan: &Plan, query: &Query<'_>) -> String {
    let way = match plan.decide(query) {
        Decision::None => return "none".into(),
        Decision::Refuse { status, .. } => return status.to_string(),
        Decision::Go(way) => way,
    };
    let step = |step: &Step| {
        let targets: Vec<String> = step.targets.iter().map(Target::to_string).collect();
        let number = step.instead.as_ref().map(|n| format!("({})", n.text));
        format!("{}{}", targets.join(","), number.unwrap_or_default())
    };
    let steps: Vec<String> = way.steps.iter().map(step).collect();
    format!("{} {} {}", way.route, way.number, steps.join(" / "))
}

#[test]
fn the_first_route_that_matches_decides() {
    let text = format!(
        "{TRUNKS}\
        [[route]]\nname = \"madrid\"\nmatch = \"91XXXXXXX\"\nto = [\"trunk:itsp\", \"e1:pstn\"]\n\
        [[route]]\nname = \"spain\"\nmatch = \"9.\"\nto = [[\"trunk:itsp\", \"pool:gates\"]]\n\
        [[route]]\nname = \"short\"\nmatch = \"2XX\"\nstrip = 1\nprefix = \"1\"\nto = \"user:*\"\n\
        [[route]]\nname = \"uri\"\nmatch = \"*#.\"\nto = \"sip:gate.example.net;transport=tcp\"\n\
        [[route]]\nname = \"whole\"\nmatch = \"5\"\nto = \"sips:bob@example.org\"\n\
        [[route]]\nname = \"no\"\nmatch = \"900!\"\nfrom = [\"trunk:itsp\"]\nrefuse = 404\n\
        [[route]]\nname = \"any\"\nmatch = \"25.\"\nto = \"user:*\"\n\
        [[route]]\nname = \"area\"\nregex = '(\\d)8(\\d*)'\nreplace = \"7$2$1\"\nto = \"user:*\"\n"
    );
    let plan = plan(&text);
    for (number, wanted) in [
        ("915550100", "madrid 915550100 trunk:itsp / e1:pstn"),
        ("9155501000", "spain 9155501000 trunk:itsp,pool:gates"),
        ("9", "none"),
        ("234", "short 134 user:134@example.com"),
        (
            "*#1#",
            "uri *#1# sip:*%231%23@gate.example.net;transport=tcp",
        ),
        ("5", "whole 5 sips:bob@example.org"),
        ("1823", "area 7231 user:7231@example.com"),
        ("18", "area 71 user:71@example.com"),
        ("2@a", "none"),
        (
            "25@b.example",
            "any 25@b.example user:25@b.example@example.com",
        ),
        ("alice", "none"),
        ("", "none"),
    ] {
        assert_eq!(said(&plan, &call(number)), wanted, "{number}");
    }
    let trunk = |name| Query {
        source: Source::Trunk(name),
        ..call("900")
    };
    assert_eq!(said(&plan, &trunk("itsp")), "404");
    assert_eq!(said(&plan, &trunk("backup")), "none");
    assert!(!plan.is_empty() && Plan::compile(&Config::default()).is_empty());
}

#[test]
fn a_route_is_for_those_whom_it_names() {
    let text = format!(
        "{TRUNKS}[[group]]\nname = \"sales\"\nmembers = [\"100\", \"101\"]\n\
        [[route]]\nname = \"u\"\nmatch = \"1\"\nfrom = \"user:100\"\nto = \"user:1\"\n\
        [[route]]\nname = \"g\"\nmatch = \"2\"\nfrom = \"group:sales\"\nto = \"user:1\"\n\
        [[route]]\nname = \"t\"\nmatch = \"3\"\nfrom = \"trunk:itsp\"\nto = \"user:1\"\n\
        [[route]]\nname = \"p\"\nmatch = \"4\"\nfrom = \"pool:gates\"\nto = \"user:1\"\n\
        [[route]]\nname = \"a\"\nmatch = \"5\"\nfrom = \"address:203.0.113.0/24\"\nto = \"user:1\"\n\
        [[route]]\nname = \"any\"\nmatch = \"6\"\nfrom = \"user:*\"\nto = \"user:1\"\n\
        [[route]]\nname = \"out\"\nmatch = \"7\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"in\"\nmatch = \"8\"\nto = \"user:1\"\n\
        [[route]]\nname = \"m\"\nmatch = \"9\"\nmethods = [\"MESSAGE\"]\nto = \"user:1\"\n"
    );
    let plan = plan(&text);
    let here = "203.0.113.9";
    let there = "198.51.100.9";
    for (source, address, wanted) in [
        (Source::User("100@example.com"), here, "12 567 8"),
        (Source::User("101@example.com"), there, "2 67 8"),
        (Source::User("100@example.net"), there, "67 8"),
        (Source::Trunk("itsp"), there, "3 8"),
        (Source::Trunk("backup"), here, "5 8"),
        (Source::Pool("gates"), there, "4 7 8"),
        (Source::Operator, there, "7 8"),
        (Source::Other, there, "8"),
        (Source::Other, here, "5 8"),
    ] {
        for number in ["1", "2", "3", "4", "5", "6", "7", "8", "9"] {
            let query = Query {
                source,
                address: address.parse().unwrap(),
                ..call(number)
            };
            let went = matches!(plan.decide(&query), Decision::Go(_));
            assert_eq!(went, wanted.contains(number), "{source:?} {number}");
        }
    }
    let with = |method| Query {
        method,
        ..call("9")
    };
    assert!(matches!(
        plan.decide(&with(Method::Message)),
        Decision::Go(_)
    ));
    assert_eq!(plan.decide(&with(Method::Subscribe)), Decision::None);
    let options = Query {
        method: Method::Options,
        ..call("8")
    };
    assert_eq!(plan.decide(&options), Decision::None);
}

#[test]
fn hours_days_and_dates() {
    let plan = plan(
        "[numbers]\ntimezone = \"Europe/Madrid\"\n\
        [[route]]\nmatch = \"1\"\ndays = \"mon-fri\"\nhours = \"09:00-18:00\"\nto = \"user:1\"\n\
        [[route]]\nmatch = \"2\"\ndays = \"fri\"\nhours = \"22:00-06:00\"\nto = \"user:1\"\n\
        [[route]]\nmatch = \"3\"\ndates = [\"2026-12-25\"]\nto = \"user:1\"\n\
        [[route]]\nmatch = \"4\"\nnot_dates = [\"2026-12-25\"]\nhours = \"22:00-24:00\"\nto = \"user:1\"\n\
        [[route]]\nmatch = \"5\"\nhours = \"02:00-03:00\"\nto = \"user:1\"\n\
        [[route]]\nmatch = \"6\"\nhours = \"09:00-18:00\"\ntimezone = \"America/New_York\"\nto = \"user:1\"\n\
        [[route]]\nmatch = \"7\"\ndates = [\"2026-12-25\"]\nhours = \"22:00-02:00\"\nto = \"user:1\"\n",
    );
    for (number, at, holds) in [
        // Madrid is an hour before UTC in winter.
        ("1", "2026-11-25T07:59:59Z", false),
        ("1", "2026-11-25T08:00:00Z", true),
        ("1", "2026-11-25T16:59:59Z", true),
        ("1", "2026-11-25T17:00:00Z", false),
        // Two in summer.
        ("1", "2026-07-01T06:59:59Z", false),
        ("1", "2026-07-01T07:00:00Z", true),
        // A Saturday.
        ("1", "2026-11-28T12:00:00Z", false),
        // Friday night lasts into Saturday, and Thursday's into Friday is none.
        ("2", "2026-11-27T20:59:59Z", false),
        ("2", "2026-11-27T21:00:00Z", true),
        ("2", "2026-11-28T04:59:59Z", true),
        ("2", "2026-11-28T05:00:00Z", false),
        ("2", "2026-11-27T03:00:00Z", false),
        ("2", "2026-11-28T21:30:00Z", false),
        ("3", "2026-12-24T22:59:59Z", false),
        ("3", "2026-12-24T23:00:00Z", true),
        ("3", "2026-12-25T22:59:59Z", true),
        ("3", "2026-12-25T23:00:00Z", false),
        ("4", "2026-12-25T22:00:00Z", false),
        ("4", "2026-12-26T22:59:59Z", true),
        ("4", "2026-12-26T23:00:00Z", false),
        // The hour that spring takes is not there, that of autumn is there twice.
        ("5", "2026-03-29T00:59:59Z", false),
        ("5", "2026-03-29T01:00:00Z", false),
        ("5", "2026-10-25T00:00:00Z", true),
        ("5", "2026-10-25T00:59:59Z", true),
        ("5", "2026-10-25T01:30:00Z", true),
        ("5", "2026-10-25T02:00:00Z", false),
        ("6", "2026-11-25T14:00:00Z", true),
        ("6", "2026-11-25T13:59:59Z", false),
        ("7", "2026-12-25T00:30:00Z", false),
        ("7", "2026-12-26T00:30:00Z", true),
        ("7", "2026-12-26T01:00:00Z", false),
    ] {
        let query = Query {
            unix_ms: unix_ms(at),
            ..call(number)
        };
        let went = matches!(plan.decide(&query), Decision::Go(_));
        assert_eq!(went, holds, "{number} at {at}");
    }
}

#[test]
fn numbers_in_e164() {
    let rules = |text: &str| NumberRules::new(&config(text));
    let spain = rules(
        "[numbers]\ncountry = \"34\"\nnational_digits = 9\nemergency = [\"112\"]\n\
        [[route]]\nmatch = \"112\"\nto = \"e1:pstn\"\n",
    );
    let germany = rules(
        "[numbers]\ncountry = \"49\"\narea = \"30\"\nnational = \"0\"\n\
        national_digits = \"6-11\"\nlocal_digits = \"5-8\"\n",
    );
    let america = rules(
        "[numbers]\ncountry = \"1\"\ninternational = \"011\"\nnational = \"1\"\n\
        national_digits = 10\nlocal_digits = 10\n",
    );
    let nowhere = rules("");
    for (rules, number, e164, class) in [
        (&spain, "915550100", Some("34915550100"), None),
        (&spain, "+34915550100", Some("34915550100"), None),
        (&spain, "0034915550100", Some("34915550100"), None),
        (
            &spain,
            "00442079460000",
            Some("442079460000"),
            Some(Class::International),
        ),
        (&spain, "91555010", None, None),
        (&spain, "100", None, None),
        (&spain, "112", None, None),
        (&spain, "alice", None, None),
        (&spain, "+0123", None, Some(Class::International)),
        (
            &spain,
            "+1234567890123456",
            None,
            Some(Class::International),
        ),
        (&spain, "+44abc", None, Some(Class::International)),
        (&spain, "00", None, Some(Class::International)),
        (&germany, "0301234567", Some("49301234567"), None),
        (&germany, "1234567", Some("49301234567"), None),
        (
            &germany,
            "0012025550100",
            Some("12025550100"),
            Some(Class::International),
        ),
        (&germany, "123", None, None),
        (&america, "12025550100", Some("12025550100"), None),
        (&america, "2025550100", Some("12025550100"), None),
        (
            &america,
            "01134915550100",
            Some("34915550100"),
            Some(Class::International),
        ),
        (&america, "0034915550100", None, None),
        (&nowhere, "915550100", None, None),
        (
            &nowhere,
            "0034915550100",
            Some("34915550100"),
            Some(Class::International),
        ),
        (
            &nowhere,
            "+34915550100",
            Some("34915550100"),
            Some(Class::International),
        ),
    ] {
        assert_eq!(rules.e164(number).as_deref(), e164, "{number}");
        assert_eq!(rules.class(number), class, "{number}");
    }
}

#[test]
fn numbers_as_trunks_write_them() {
    let germany = NumberRules::new(&config(
        "[numbers]\ncountry = \"49\"\narea = \"30\"\nnational = \"0\"\n\
        national_digits = \"6-11\"\nlocal_digits = \"5-8\"\n",
    ));
    use NumberFormat::{AsIs, Digits, National, Plus};
    for (number, format, wanted) in [
        ("1234567", AsIs, "1234567"),
        ("1234567", Plus, "+49301234567"),
        ("1234567", Digits, "49301234567"),
        ("1234567", National, "0301234567"),
        ("0044207946", Plus, "+44207946"),
        ("+44207946", National, "0044207946"),
        ("123", Plus, "123"),
        ("alice", National, "alice"),
    ] {
        let e164 = germany.e164(number);
        let written = germany.write(number, e164.as_deref(), format);
        assert_eq!(written, wanted, "{number} {format}");
        if let Some(e164) = e164.filter(|_| format != AsIs) {
            assert_eq!(germany.read(&written, format), Some(e164), "{written}");
        }
    }
    let spain = "[numbers]\ncountry = \"34\"\nnational_digits = 9\nemergency = [\"112\"]\n\
        [[trunk]]\nname = \"t\"\nuri = \"sip:192.0.2.1\"\n\
        [[route]]\nname = \"e\"\nmatch = \"112\"\nto = [\"trunk:t\"]\n";
    let spain = NumberRules::new(&config(spain));
    for (number, wanted) in [("+34112", "0034112"), ("+34915550199", "915550199")] {
        let e164 = spain.e164(number);
        assert_eq!(spain.write(number, e164.as_deref(), National), wanted);
    }
    assert_eq!(germany.read("911", Digits), None);
    assert_eq!(
        germany.read("+49301234567", Digits).as_deref(),
        Some("49301234567")
    );
    for (user, wanted) in [
        ("+34 (91) 555-01.00", "+34915550100"),
        ("mary-ann", "mary-ann"),
        ("john.doe", "john.doe"),
        ("a-1", "a-1"),
        ("*72", "*72"),
        ("---", "---"),
    ] {
        assert_eq!(dialled(user), wanted);
    }
}

#[test]
fn what_costs_more_wants_a_word() {
    let text = format!(
        "{SPAIN}{TRUNKS}\
        [[route]]\nname = \"help\"\nmatch = \"112\"\nrefuse = 403\n\
        [[route]]\nname = \"sos\"\nmatch = \"11X\"\nprefix = \"9\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"boss\"\nmatch = \"0044.\"\nfrom = \"user:100\"\nallow = \"international\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"cut\"\nmatch = \"0045.\"\nstrip = 2\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"inside\"\nmatch = \"0046.\"\nreplace = \"200\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"did\"\nmatch = \"+33.\"\nto = \"user:100\"\n\
        [[route]]\nname = \"nine\"\nmatch = \"9.\"\nstrip = 1\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"rest\"\nregex = '\\+?[0-8]\\d+'\nto = \"trunk:itsp\"\n"
    );
    let plan = plan(&text);
    for (number, wanted) in [
        ("112", "sos 112 trunk:itsp"),
        ("113", "sos 9113 trunk:itsp"),
        ("0044207946000", "boss 0044207946000 trunk:itsp"),
        // Premium as well, which is not allowed.
        ("00449012", "403"),
        ("004512", "403"),
        ("004612", "inside 200 trunk:itsp"),
        ("+33123", "did +33123 user:100@example.com"),
        ("9112", "nine 112 trunk:itsp"),
        ("9915550100", "nine 915550100 trunk:itsp"),
        ("9806123456", "403"),
        ("900442", "403"),
        ("806123456", "403"),
        ("+34806123456", "403"),
        ("0034806123456", "403"),
        ("34806123456", "rest 34806123456 trunk:itsp"),
        ("611222333", "rest 611222333 trunk:itsp"),
        ("+34611222333", "rest +34611222333 trunk:itsp"),
        ("+1202", "403"),
    ] {
        assert_eq!(said(&plan, &call(number)), wanted, "{number}");
    }
    assert!(way(&plan, &call("112")).emergency && way(&plan, &call("9112")).emergency);
    assert_eq!(
        way(&plan, &call("+33123")).class,
        Some(Class::International)
    );
    let other = Query {
        source: Source::User("101@example.com"),
        ..call("0044207946000")
    };
    assert_eq!(said(&plan, &other), "403");
}

#[test]
fn the_caller_and_the_headers() {
    let text = format!(
        "{SPAIN}{TRUNKS}[[route]]\nmatch = \"6.\"\ncaller_id = \"+3491555$\"\n\
        caller_name = \"Main\"\nanonymous = true\nadd_headers = {{ X-A = \"1\" }}\n\
        remove_headers = [\"Subject\"]\nredirect = true\nring_s = 7\nnext_on = [\"404\", \"5xx\"]\n\
        to = \"trunk:itsp\"\n[[route]]\nmatch = \"112\"\nto = \"trunk:itsp\"\n"
    );
    let plan = plan(&text);
    let way = way(&plan, &call("611222333"));
    assert_eq!(way.caller.number.as_deref(), Some("+3491555100"));
    assert_eq!(way.caller.name.as_deref(), Some("Main"));
    assert!(way.caller.anonymous && way.redirect && !way.emergency);
    assert_eq!(way.e164.as_deref(), Some("34611222333"));
    assert_eq!(way.add_headers[..], [("X-A".into(), "1".into())]);
    assert_eq!(way.remove_headers[..], ["Subject".into()]);
    let step = &way.steps[0];
    assert_eq!(step.ring, Duration::from_secs(7));
    assert!(step.goes_on(404, false) && step.goes_on(503, false));
    assert!(!step.goes_on(408, true) && !step.goes_on(486, false));
    let unknown = Query {
        caller: "",
        ..call("611222333")
    };
    assert_eq!(self::way(&plan, &unknown).caller.number, None);
}

#[test]
fn a_number_may_lead_to_another() {
    let text = format!(
        "{SPAIN}{TRUNKS}[[group]]\nname = \"sales\"\nnumber = \"600\"\nmembers = [\"100\"]\n\
        [[route]]\nname = \"one\"\nmatch = \"1\"\ncaller_name = \"Outer\"\nto = \"number:915550100\"\n\
        [[route]]\nname = \"out\"\nmatch = \"9.\"\ncaller_id = \"7\"\nto = [\"trunk:itsp\", \"trunk:backup\"]\n\
        [[route]]\nname = \"two\"\nmatch = \"2\"\nto = [\"user:100\", \"number:915550101\", \"number:600\", \"number:77\"]\n\
        [[route]]\nname = \"far\"\nmatch = \"3\"\nto = \"number:0044207946\"\n\
        [[route]]\nname = \"abroad\"\nmatch = \"00.\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"some\"\nmatch = \"4\"\nto = [\"user:100\", \"number:0044207946\"]\n\
        [[route]]\nname = \"user\"\nmatch = \"5\"\nto = \"number:bob\"\n\
        [[route]]\nmatch = \"112\"\nto = \"trunk:itsp\"\n"
    );
    let plan = plan(&text);
    for (number, wanted) in [
        ("1", "out 915550100 trunk:itsp / trunk:backup"),
        (
            "2",
            "two 2 user:100@example.com / trunk:itsp(915550101) / trunk:backup(915550101) / \
            group:sales(600) / user:77@example.com(77)",
        ),
        ("3", "403"),
        ("4", "some 4 user:100@example.com"),
        ("5", "user bob user:bob@example.com"),
        ("600", "group:sales 600 group:sales"),
    ] {
        assert_eq!(said(&plan, &call(number)), wanted, "{number}");
    }
    let way = way(&plan, &call("1"));
    assert_eq!(way.caller.name.as_deref(), Some("Outer"));
    assert_eq!(way.caller.number.as_deref(), Some("7"));
}

/// A circle that is sure is a mistake of the file; these depend on the hour.
#[test]
fn a_circle_ends() {
    let each = |n: usize| {
        let others = (1..=16).filter(|m| *m != n);
        let all: Vec<String> = others.map(|m| format!("\"number:8{m:02}\"")).collect();
        let all = all.join(", ");
        format!("[[route]]\nmatch = \"8{n:02}\"\nhours = \"00:00-23:{n:02}\"\nto = [{all}]\n")
    };
    let text: String = (1..=16).map(each).collect();
    assert_eq!(said(&plan(&text), &call("801")), "482");
    let one = "[[route]]\nmatch = \"1\"\nhours = \"00:00-23:00\"\nto = \"number:2\"\n\
        [[route]]\nmatch = \"2\"\nto = [\"user:2\", \"number:1\"]\n";
    let way = way(&plan(one), &call("2"));
    assert!((2..=32).contains(&way.steps.len()), "{}", way.steps.len());
}

#[test]
fn moments_as_people_write_them() {
    let now = unix_ms("2026-11-25T23:30:00Z");
    let read = |text: &str| moment(text, "Europe/Madrid", now);
    for (text, wanted) in [
        ("2026-12-25T10:00:00Z", "2026-12-25T10:00:00Z"),
        ("2026-12-25T10:00:00+02:00", "2026-12-25T08:00:00Z"),
        ("2026-12-25T10:00", "2026-12-25T09:00:00Z"),
        ("2026-07-01 10:00", "2026-07-01T08:00:00Z"),
        // Today there is the 26th already.
        ("09:15", "2026-11-26T08:15:00Z"),
        ("2026-12-25", "2026-12-24T23:00:00Z"),
    ] {
        assert_eq!(read(text), Some(unix_ms(wanted)), "{text}");
    }
    for bad in ["", "soon", "25:00", "1969-01-01T00:00:00Z", "2026-13-01"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

// ---------------------------------------------------------------- against a naive scan

/// Whether a pattern takes a number, letter by letter.
fn takes(pattern: &str, number: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(first) = rest.next() else {
        return number.is_empty();
    };
    let mut digits = number.chars();
    let digit = digits.next();
    let is = |from: char, to: char| digit.is_some_and(|d| (from..=to).contains(&d));
    let (holds, rest) = match first {
        '!' => return true,
        '.' => return !number.is_empty(),
        'X' => (is('0', '9'), rest.as_str()),
        'Z' => (is('1', '9'), rest.as_str()),
        'N' => (is('2', '9'), rest.as_str()),
        '[' => {
            let (inside, behind) = rest.as_str().split_once(']').unwrap();
            let mut ends = inside.split('-').map(|t| t.chars().next().unwrap());
            let from = ends.next().unwrap();
            (is(from, ends.next().unwrap_or(from)), behind)
        }
        c => (digit == Some(c), rest.as_str()),
    };
    holds && takes(rest, digits.as_str())
}

fn random_pattern(rng: &mut Rng) -> String {
    let mut text = String::new();
    for _ in 0..rng.below(5) {
        match rng.below(8) {
            0 => text.push('X'),
            1 => text.push('Z'),
            2 => text.push('N'),
            3 => text.push_str("[1-2]"),
            _ => text.push(char::from(b'0' + rng.below(4) as u8)),
        }
    }
    match rng.below(4) {
        0 => text.push('.'),
        1 => text.push('!'),
        _ if text.is_empty() => text.push('X'),
        _ => {}
    }
    text
}

/// A regex that takes what a pattern takes.
fn as_regex(pattern: &str) -> String {
    let text = pattern.replace('X', "[0-9]").replace('Z', "[1-9]");
    let text = text.replace('N', "[2-9]");
    match (text.strip_suffix('.'), text.strip_suffix('!')) {
        (Some(head), _) => format!("{head}.+"),
        (_, Some(head)) => format!("{head}.*"),
        _ => text,
    }
}

fn random_route(rng: &mut Rng, at: usize) -> (Route, String) {
    let pattern = random_pattern(rng);
    let mut from = Vec::new();
    for _ in 0..rng.below(3) {
        from.push(match rng.below(6) {
            0 => config::Source::User(format!("{}", 100 + rng.below(3)).into()),
            1 => config::Source::User("*".into()),
            2 => config::Source::Group(if rng.chance(1, 2) { "a" } else { "b" }.into()),
            3 => config::Source::Trunk("itsp".into()),
            4 => config::Source::Pool("gates".into()),
            _ => config::Source::Address(config::IpNet::parse("192.0.2.0/24").unwrap()),
        });
    }
    let hours = rng.chance(1, 4).then(|| Hours {
        days: std::array::from_fn(|_| rng.chance(2, 3)),
        minutes: Vec::new(),
        timezone: "".into(),
        dates: Vec::new(),
        not_dates: Vec::new(),
    });
    let target = match rng.chance(1, 3) {
        true => config::Target::Trunk("itsp".into()),
        false => config::Target::User("*".into()),
    };
    let matches = match rng.chance(1, 5) {
        true => Match::Regex(as_regex(&pattern).into()),
        false => Match::Digits(pattern.clone().into()),
    };
    let route = Route {
        name: format!("r{at}").into(),
        matches,
        from,
        hours,
        methods: match rng.chance(1, 6) {
            true => vec!["MESSAGE".into()],
            false => Vec::new(),
        },
        to: vec![vec![target]],
        ..Route::default()
    };
    (route, pattern)
}

fn naive_source(config: &Config, route: &Route, query: &Query<'_>) -> bool {
    let outside = route
        .to
        .iter()
        .flatten()
        .any(|t| matches!(t, config::Target::Trunk(_)));
    if route.from.is_empty() {
        return !outside || matches!(query.source, Source::User(_) | Source::Pool(_));
    }
    let user = match query.source {
        Source::User(user) => user.split('@').next(),
        _ => None,
    };
    route.from.iter().any(|source| match source {
        config::Source::User(name) => user.is_some_and(|u| **name == *"*" || **name == *u),
        config::Source::Group(name) => {
            let group = config.groups.iter().find(|g| g.name == *name).unwrap();
            user.is_some_and(|u| group.members.iter().any(|m| **m == *u))
        }
        config::Source::Trunk(name) => query.source == Source::Trunk(name),
        config::Source::Pool(name) => query.source == Source::Pool(name),
        config::Source::Address(net) => net.contains(query.address),
    })
}

#[test]
fn the_plan_decides_as_a_scan_of_the_routes_does() {
    let mut rng = Rng::from_u64(4);
    let (mut routed, mut seen) = (0, 0);
    for _ in 0..250 {
        let count = 1 + rng.below(40) as usize;
        let made: Vec<(Route, String)> = (0..count).map(|at| random_route(&mut rng, at)).collect();
        let mut config = config(
            "[[group]]\nname = \"a\"\nmembers = [\"100\", \"101\"]\n\
            [[group]]\nname = \"b\"\nmembers = [\"101\"]\n",
        );
        config.routes = made.iter().map(|(route, _)| route.clone()).collect();
        let plan = Plan::compile(&config);
        for _ in 0..60 {
            let number = random_number(&mut rng);
            let (query, day) = random_query(&mut rng, &number);
            let wanted = made.iter().find(|(route, pattern)| {
                let method = match query.method {
                    Method::Invite => route.methods.is_empty(),
                    _ => true,
                };
                takes(pattern, &number)
                    && method
                    && naive_source(&config, route, &query)
                    && route.hours.as_ref().is_none_or(|h| h.days[day])
            });
            let taken = match plan.decide(&query) {
                Decision::None => None,
                Decision::Go(way) => Some(way.route.to_string()),
                // International, or nothing left to be called.
                Decision::Refuse { .. } => {
                    assert!(wanted.is_some());
                    continue;
                }
            };
            assert_eq!(
                taken.as_deref(),
                wanted.map(|(r, _)| &*r.name),
                "{query:?} {config}"
            );
            let explained = plan.explain(&query);
            let said = explained.iter().find(|line| line.verdict == Verdict::Taken);
            assert_eq!(said.map(|line| &*line.route), taken.as_deref());
            routed += usize::from(taken.is_some());
            seen += 1;
        }
    }
    assert!(routed > seen / 4 && routed < seen, "{routed} of {seen}");
}

/// A random question, on one of the days of a week that begins with a Monday.
fn random_query<'a>(rng: &mut Rng, number: &'a str) -> (Query<'a>, usize) {
    let sources = [
        Source::User("100@example.com"),
        Source::User("101@example.com"),
        Source::User("102@example.com"),
        Source::Trunk("itsp"),
        Source::Pool("gates"),
        Source::Other,
    ];
    let day = rng.below(7);
    let near = rng.chance(1, 2);
    let query = Query {
        source: sources[rng.below(6) as usize],
        address: if near { "192.0.2.9" } else { "203.0.113.9" }
            .parse()
            .unwrap(),
        method: match rng.chance(1, 2) {
            true => Method::Invite,
            false => Method::Message,
        },
        unix_ms: unix_ms("2026-11-23T12:00:00Z") + day * 86_400_000,
        ..call(number)
    };
    (query, day as usize)
}

fn random_number(rng: &mut Rng) -> String {
    let digits = (0..rng.below(7)).map(|_| char::from(b'0' + rng.below(5) as u8));
    digits.collect()
}

/// What the file's reader calls a route that never matches is none that anything takes.
#[test]
fn a_route_that_is_said_never_to_match_never_does() {
    let mut rng = Rng::from_u64(5);
    let groups = "[[group]]\nname = \"a\"\nmembers = [\"100\", \"101\"]\n\
        [[group]]\nname = \"b\"\nmembers = [\"101\"]\n";
    let mut said = 0;
    for _ in 0..200 {
        let count = 2 + rng.below(20) as usize;
        let made: Vec<(Route, String)> = (0..count).map(|at| random_route(&mut rng, at)).collect();
        let mut config = config(&format!("{TRUNKS}{groups}"));
        config.routes = made.iter().map(|(route, _)| route.clone()).collect();
        for route in &mut config.routes {
            route.from.dedup();
        }
        let text = config.to_string();
        let Err(mistakes) = Config::parse(&text, Path::new("voip.toml")) else {
            continue;
        };
        let never: Vec<usize> = mistakes
            .0
            .iter()
            .filter(|m| m.problem.starts_with("never matches"))
            .map(|m| {
                text.lines()
                    .take(m.line)
                    .filter(|l| *l == "[[route]]")
                    .count()
                    - 1
            })
            .collect();
        said += never.len();
        let plan = Plan::compile(&config);
        for _ in 0..100 {
            let number = random_number(&mut rng);
            let (query, _) = random_query(&mut rng, &number);
            let lines = plan.explain(&query);
            let taken = lines.iter().find(|l| l.verdict == Verdict::Taken);
            let taken = taken.map(|line| &*line.route);
            for at in &never {
                assert_ne!(taken, Some(&*config.routes[*at].name), "{query:?}\n{text}");
            }
        }
    }
    assert!(said > 100, "{said}");
}

#[test]
fn an_explanation_names_what_kept_each_route_off() {
    let text = format!(
        "{SPAIN}{TRUNKS}[[group]]\nname = \"sales\"\nmembers = [\"101\"]\n\
        [[route]]\nname = \"a\"\nmatch = \"8.\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"b\"\nmatch = \"00.\"\nfrom = [\"group:sales\", \"trunk:itsp\"]\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"c\"\nmatch = \"00.\"\nhours = \"20:00-22:00\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"d\"\nregex = '00\\d+'\nmethods = \"MESSAGE\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"e\"\nmatch = \"0044.\"\nto = \"trunk:itsp\"\n\
        [[route]]\nname = \"f\"\nmatch = \"112\"\nto = \"trunk:itsp\"\n"
    );
    let plan = plan(&text);
    let lines = plan.explain(&call("00442079460000"));
    let shown: Vec<String> = lines
        .iter()
        .map(|l| format!("{:?} {} {}", l.verdict, l.route, l.why))
        .collect();
    let wanted = [
        "Note  00442079460000 is +442079460000, international",
        "Passed a \"8.\" does not match 00442079460000",
        "Passed b \"00.\" matches, but it is for group:sales, trunk:itsp, not for user:100@example.com",
        "Passed c \"00.\" matches, but it does not hold on Wednesday 2026-11-25 at 13:00 in Europe/Madrid",
        "Passed d regex \"00\\d+\" matches, but it is not for INVITE",
        "Taken e \"0044.\" matches 00442079460000",
        "Note  international numbers are refused: the route does not allow them; add allow = [\"international\"] if they should pass",
    ];
    assert_eq!(shown, wanted);
    assert!(
        lines
            .iter()
            .filter(|l| l.verdict == Verdict::Taken)
            .all(|l| l.line > 10)
    );
    let none = plan.explain(&call("777"));
    assert!(none.last().unwrap().why.starts_with("no route takes it"));
}
