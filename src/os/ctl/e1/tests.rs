//! The verbs against a stand-in of the module, parsed from a command line as people write it.

use super::super::args::{Cli, Verb};
use super::*;
use crate::os::e1::fake::Fake;
use clap::Parser;
use serde_json::{Value, json};

type Module = Control<Fake>;

fn module() -> Module {
    Control(Fake::default())
}

#[track_caller]
fn verb(line: &str) -> E1Verb {
    let words = ["voipctl", "e1"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).map(|cli| cli.verb) {
        Ok(Verb::E1(verb)) => verb,
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
fn said(module: &mut Module, line: &str) -> Said {
    match carry_out(verb(line), module) {
        Ok(said) => said,
        Err(failure) => panic!("{line}: {failure:?}"),
    }
}

#[track_caller]
fn text(module: &mut Module, line: &str) -> String {
    said(module, line).text
}

#[track_caller]
fn json(module: &mut Module, line: &str) -> Value {
    serde_json::from_str(&said(module, line).json).unwrap()
}

#[track_caller]
fn fails(module: &mut Module, line: &str, code: u8, words: &str) {
    let failure = carry_out(verb(line), module).unwrap_err();
    assert_eq!(failure.code, code, "{line}: {failure:?}");
    assert!(failure.text.contains(words), "{line}: {failure:?}");
    assert!(!failure.text.contains('\n'), "one sentence: {failure:?}");
}

#[track_caller]
fn usage(line: &str, words: &str) {
    let all = ["voipctl", "e1"].into_iter().chain(line.split_whitespace());
    let error = Cli::try_parse_from(all).unwrap_err().to_string();
    assert!(error.contains(words), "{line}: {error}");
}

#[test]
fn spans_are_made_listed_and_removed() {
    let m = &mut module();
    assert_eq!(
        text(m, "list"),
        "there are no spans; voipctl e1 create makes some\n"
    );
    assert_eq!(json(m, "list"), json!([]));
    assert_eq!(
        text(m, "create pair"),
        "made spans 0 and 1: /dev/e1/0, /dev/e1/1\n"
    );
    assert_eq!(
        json(m, "create line --span 5"),
        json!({"span": 5, "peer": null, "backend": "line"})
    );
    let tdmoe = "create tdmoe --port em0 --mac 02:00:5e:10:00:01 --subaddress 7 --channels 32 \
        --clock line --span 9";
    assert_eq!(text(m, tdmoe), "made span 9: /dev/e1/9\n");
    let made = &m.0.spans[&9].create;
    assert_eq!(made.mac, [2, 0, 0x5e, 0x10, 0, 1]);
    assert_eq!((made.subaddress, made.channels), (7, 32));
    assert_eq!(made.clock, abi::CLOCK_LINE);
    assert_eq!(&made.port[..4], b"em0\0");
    m.0.spans.get_mut(&0).unwrap().status.alarms = 0;
    m.0.spans.get_mut(&0).unwrap().status.opened = 1;
    m.0.spans.get_mut(&5).unwrap().status.opened = 3;
    m.0.spans.get_mut(&5).unwrap().status.alarms = abi::ALARM_LOS | abi::ALARM_LMFA;
    m.0.spans.get_mut(&5).unwrap().status.uptime_ms = 90_061_000;
    assert_eq!(
        text(m, "list"),
        "SPAN  BACKEND  PEER  FRAMING  ALARMS    LOOP  OPEN        UP\n\
         \x20  0  pair        1  crc4     none      off   span        00:00:00\n\
         \x20  1  pair        0  crc4     LFA       off   nobody      00:00:00\n\
         \x20  5  line        -  crc4     LOS LMFA  off   span, line  1d 01:01:01\n\
         \x20  9  tdmoe       -  crc4     LFA       off   nobody      00:00:00\n"
    );
    let listed = json(m, "list");
    assert_eq!(listed[2]["alarms"], json!(["los", "lmfa"]));
    assert_eq!(listed[2]["line_open"], json!(true));
    fails(m, "destroy 1", 75, "fstat /dev/e1/1");
    m.0.spans.get_mut(&0).unwrap().status.opened = 0;
    assert_eq!(
        text(m, "destroy 1"),
        "span 1 is gone; of a pair, both are\n"
    );
    assert_eq!(m.0.spans.keys().copied().collect::<Vec<_>>(), [5, 9]);
    fails(m, "destroy 1", 65, "there is no span 1; voipctl e1 list");
}

#[test]
fn what_cannot_be_made_is_said_with_the_remedy() {
    let m = &mut module();
    text(m, "create pair --span 3 --peer 4");
    fails(m, "create line --span 3", 65, "span 3 is there already");
    fails(
        m,
        "create pair --span 6 --peer 4",
        65,
        "span 6 or 4 is there already",
    );
    fails(m, "create pair --span 6 --peer 6", 64, "different numbers");
    let tdmoe = "create tdmoe --port em0 --mac 02:00:5e:10:00:01";
    text(m, tdmoe);
    fails(m, tdmoe, 65, "this port, address and subaddress is there");
    text(m, &format!("{tdmoe} --subaddress 1"));
    fails(
        m,
        &format!("{tdmoe} --span 3"),
        65,
        "span 3 is there already, or a span with this port",
    );
    while m.0.spans.len() < 32 {
        text(m, "create line");
    }
    fails(m, "create line", 75, "no span number is free");
    fails(m, "create pair", 75, "voipctl e1 destroy N");
    m.0.read_only = true;
    fails(m, "create line", 77, "be root");
    fails(m, "destroy 3", 77, "be root");
}

#[test]
fn a_module_of_another_version_is_told() {
    let m = &mut module();
    text(m, "create pair");
    m.0.other_version = true;
    for line in [
        "list",
        "show 0",
        "counters 0",
        "loop 0 off",
        "create line",
        "config 0",
    ] {
        fails(m, line, 69, "voip-e1-kmod of one version");
    }
    m.0.other_version = false;
    m.0.unknown = Some(abi::INJECT);
    fails(m, "inject 0 crc 1", 69, "older than this voipctl");
}

#[test]
fn one_span_is_shown_and_configured() {
    let m = &mut module();
    text(m, "create pair");
    let span = m.0.spans.get_mut(&1).unwrap();
    span.status.alarms = abi::ALARM_RAI;
    span.status.sent = abi::ALARM_AIS;
    span.status.sa = 0x1b;
    span.status.rx_fill = 12;
    let shown = text(m, "show 1");
    for line in [
        "backend    pair, crossed with span 0",
        "alarms     RAI",
        "sends      AIS",
        "to read    12 of 64 units",
        "Sa heard   0x1b",
        "framing    crc4",
        "idle       0xd5",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line}\n{shown}");
    }
    assert_eq!(
        json(m, "show 1"),
        json!({
            "span": 1, "backend": "pair", "peer": 0, "alarms": ["rai"], "sent": ["ais"],
            "loop": "off", "open": false, "line_open": false, "uptime_ms": 0, "rx_fill": 12,
            "tx_fill": 0, "sa_received": 27,
            "config": {
                "framing": "crc4", "rx_depth": 64, "tx_depth": 64, "idle": 213, "sa": 31
            }
        })
    );
    let changed = json(m, "config 1 --framing fas --rx-depth 2 --idle 0x55 --sa 0");
    let wanted = json!({"framing": "fas", "rx_depth": 2, "tx_depth": 64, "idle": 85, "sa": 0});
    assert_eq!(changed, wanted);
    assert_eq!(json(m, "config 1"), wanted);
    m.0.spans.get_mut(&1).unwrap().status.opened = 1;
    assert_eq!(json(m, "config 1"), wanted, "to look is always allowed");
    fails(
        m,
        "config 1 --tx-depth 8",
        75,
        "who has it open configures it",
    );
    fails(m, "config 7", 65, "there is no span 7");
    fails(m, "show 7", 65, "there is no span 7");
    // What a later module may say is shown as it is.
    m.0.spans.get_mut(&0).unwrap().status.backend = 9;
    assert_eq!(json(m, "show 0")["backend"], "9");
}

#[test]
fn counters_have_the_headers_names() {
    let m = &mut module();
    text(m, "create line --span 2");
    let counters = &mut m.0.spans.get_mut(&2).unwrap().counters;
    counters.crc = 9;
    counters.net_tx_fail = u64::MAX;
    let read = json(m, "counters 2 --clear");
    assert_eq!(read["crc"], 9);
    assert_eq!(read["net_tx_fail"], u64::MAX);
    let header = abi::STRUCTURES.iter().find(|s| s.name == "e1_counters");
    let fields = header.unwrap().fields.iter().map(|f| f.name);
    let fields: Vec<_> = fields
        .filter(|f| !["head", "clear", "reserved"].contains(f))
        .collect();
    for field in &fields {
        assert!(read[field].is_u64(), "{field}");
    }
    assert_eq!(
        read.as_object().unwrap().len(),
        fields.len() + 1,
        "and span"
    );
    let after = text(m, "counters 2");
    assert!(
        after.contains("crc                 0  CRC-4 blocks received wrong\n"),
        "{after}"
    );
    fails(m, "counters 3", 65, "there is no span 3");
}

#[test]
fn loops_and_faults() {
    let m = &mut module();
    text(m, "create pair");
    assert_eq!(text(m, "loop 0 line"), "loop of span 0: line\n");
    fails(m, "loop 1 payload", 75, "two would face each other");
    text(m, "loop 1 local");
    fails(m, "loop 0 payload", 75, "off");
    text(m, "loop 1 off");
    text(m, "loop 0 payload");
    fails(m, "loop 8 off", 65, "there is no span 8");
    assert_eq!(text(m, "inject 0 crc 9"), "span 0: crc 9 times\n");
    assert_eq!(text(m, "inject 0 los 500"), "span 0: los for 500 ms\n");
    assert_eq!(text(m, "inject 0 los 0"), "span 0: los ended\n");
    let forever = text(m, "inject 0 lmfa forever");
    assert_eq!(forever, "span 0: lmfa until it is ended with amount 0\n");
    let injected = &m.0.spans[&0].injected;
    assert_eq!(injected[&abi::INJECT_CRC], 9);
    assert_eq!(injected[&abi::INJECT_LMFA], abi::INJECT_FOREVER);
    fails(m, "inject 0 slip-delete forever", 64, "number of errors");
    text(m, "config 0 --framing fas");
    fails(
        m,
        "inject 0 ebit 1",
        75,
        "voipctl e1 config 0 --framing crc4",
    );
    text(m, "inject 0 rai forever");
    text(m, "config 0 --framing clear");
    fails(m, "inject 0 rai 1", 75, "--framing fas");
    text(m, "inject 0 ais 10");
}

#[test]
fn every_fault_that_busy_names_is_healed_by_what_it_says() {
    for fault in Fault::ALL {
        for framing in ["clear", "fas", "crc4"] {
            let m = &mut module();
            text(m, "create pair");
            text(m, &format!("config 0 --framing {framing}"));
            let line = format!("inject 0 {} 1", fault.word());
            if let Err(failure) = carry_out(verb(&line), m) {
                let remedy = failure.text.split("voipctl e1 ").last().unwrap();
                text(m, remedy);
                text(m, &line);
            }
        }
    }
}

#[test]
fn events_are_printed_as_they_come() {
    let m = &mut module();
    text(m, "create pair");
    m.0.event(
        1,
        abi::EVENT_ALARM,
        abi::ALARM_LOS,
        abi::ALARM_LOS | abi::ALARM_LFA,
    );
    m.0.event(0, abi::EVENT_SLIP, 0, 3);
    m.0.event(1, abi::EVENT_CLOCK, 0, 20);
    m.0.event(1, 77, 0, 1);
    text(m, "destroy 0");
    m.0.events[4].lost = 2;
    let mut texts = Vec::new();
    let mut rows: Vec<Value> = Vec::new();
    watch(m, Some(1), Some(5), |said| {
        texts.push(said.text.clone());
        assert_eq!(said.json.lines().count(), 1, "one line each");
        rows.push(serde_json::from_str(&said.json).unwrap());
        Ok(true)
    })
    .unwrap();
    assert_eq!(
        texts,
        [
            "1.500 span 1 made: pair\n",
            "1.500 span 1 alarms: LOS\n",
            "2 events were lost\n1.500 span 1 clock: 20 ms left out\n",
            "1.500 span 1 event 77 (1)\n",
            "1.500 span 1 removed\n",
        ]
    );
    assert_eq!(
        rows[1],
        json!({
            "time_ns": 1_500_000_002_u64, "span": 1, "event": "alarm", "alarms": ["los"],
            "changed": ["los", "lfa"], "value": 9, "lost": 0
        })
    );
    // A reader that went away ends it, as an error does.
    m.0.event(3, abi::EVENT_DESTROY, 0, 0);
    m.0.event(3, abi::EVENT_DESTROY, 0, 0);
    let mut count = 0;
    watch(m, None, None, |_| {
        count += 1;
        Ok(false)
    })
    .unwrap();
    assert_eq!(count, 1);
    m.0.events.clear();
    assert_eq!(watch(m, None, None, |_| Ok(true)).unwrap_err().code, 71);
}

#[test]
fn why_the_module_cannot_be_reached() {
    let said = |number| refusal::not_opened(&io::Error::from_raw_os_error(number));
    let missing = said(libc::ENOENT);
    assert_eq!(missing.code, 69);
    assert!(missing.text.contains("kldload e1shim"), "{missing:?}");
    assert!(missing.text.contains("voip-e1-kmod"), "{missing:?}");
    assert_eq!(said(libc::EACCES).code, 77);
    assert_eq!(said(libc::ENXIO).code, 75);
    assert_eq!(said(libc::EIO).code, 71);
    for line in ["list", "watch", "show 1"] {
        #[cfg(not(target_os = "freebsd"))]
        {
            let failure = open(&verb(line)).map(|_| ()).unwrap_err();
            assert_eq!(failure.code, 69);
            assert!(failure.text.contains("FreeBSD's"), "{failure:?}");
        }
        let _ = line;
    }
}

#[test]
fn wrong_words_are_named() {
    usage("show 32", "0..32");
    usage("show x", "invalid");
    usage("loop 0 round", "payload");
    usage("inject 0 noise 1", "slip-repeat");
    usage("inject 0 crc x", "forever");
    usage("config 0 --framing e1", "crc4");
    usage("config 0 --rx-depth 1", "2..=256");
    usage("config 0 --idle 256", "0x00 to 0xff");
    usage("create tdmoe --mac 02:00:5e:10:00:01", "--port");
    usage(
        "create tdmoe --port em0 --mac 01:00:5e:10:00:01",
        "one station",
    );
    usage(
        "create tdmoe --port em0 --mac 2:0:0:0:0:1 --channels 33",
        "1..=32",
    );
    usage("watch -n 0", "1..");
    usage("frob", "unrecognized");
}
