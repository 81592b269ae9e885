//! Frames that scapy built (`tests/relay/frames.py`) through the fast path: what leaves is, byte for
//! byte, what scapy builds from the new fields. `VOIP_FRAMES` names another file of them.

use std::net::SocketAddr;

use serde_json::Value;
use voip::base::Instant;
use voip::relay::frame::{
    Action, FlowSpec, FlowTable, Frame, Onward, RtcpPath, SsrcMap, Verdict, prepare,
};
use voip::relay::process;

const LINK: u16 = 3;
const BUFFER: usize = 2048;

fn address(vector: &Value, name: &str) -> SocketAddr {
    let text = vector[name].as_str().expect("a string");
    text.parse().expect("an address")
}

fn number<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_u64()?).ok()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().collect();
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(text, 16).expect("two digits")
    };
    digits.chunks(2).map(byte).collect()
}

fn spec(vector: &Value) -> FlowSpec {
    let rtcp = &vector["rtcp"];
    let ssrc = &vector["ssrc"];
    let types = vector["types"].as_array().expect("an array");
    let onward = Onward {
        link: LINK,
        source_mac: [2, 0, 0, 0, 0, 2],
        destination_mac: [2, 0, 0, 0, 0, 3],
        tag: number(&vector["tag"]),
        source: address(vector, "from"),
        destination: address(vector, "to"),
        rtcp: match (number(&rtcp[0]), number(&rtcp[1])) {
            (Some(source), Some(destination)) => RtcpPath::Ports {
                source,
                destination,
            },
            _ => RtcpPath::Same,
        },
        mtu: 1500,
        dscp: number(&vector["dscp"]),
        ssrc: number(&ssrc[0]).map(|sent| SsrcMap {
            sent,
            reported: number(&ssrc[1]).zip(number(&ssrc[2])),
        }),
        payload_types: types
            .iter()
            .filter_map(|pair| number(&pair[0]).zip(number(&pair[1])))
            .collect(),
        punted_types: 0,
        security: None,
    };
    FlowSpec {
        destination: address(vector, "destination"),
        source: address(vector, "source"),
        vlan: number(&vector["vlan"]),
        clock_rate: 8000,
        action: Action::Forward(Box::new(onward)),
    }
}

#[test]
fn what_leaves_is_what_scapy_builds() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/relay/frames.jsonl");
    let file = std::env::var("VOIP_FRAMES").unwrap_or_else(|_| own.into());
    let text = std::fs::read_to_string(&file).expect("the vectors are readable");
    let (mut forwarded, mut host) = (0, 0);
    for (n, line) in text.lines().enumerate() {
        let vector: Value = serde_json::from_str(line).expect("JSON");
        let came = bytes(vector["came"].as_str().expect("hex"));
        let mut table = FlowTable::new(4);
        table.install(spec(&vector)).expect("a sound flow");
        prepare(&came, &table);
        let mut buffer = came.clone();
        buffer.resize(BUFFER, 0xee);
        let mut frame = Frame::new(&mut buffer, came.len()).expect("it fits");
        let verdict = process(&mut frame, &mut table, Instant::from_millis(20));
        match vector["went"].as_str() {
            Some(went) => {
                assert_eq!(verdict, Verdict::Forward { link: LINK }, "line {}", n + 1);
                assert_eq!(frame.bytes(), bytes(went), "line {}: {line}", n + 1);
                forwarded += 1;
            }
            None => {
                assert_eq!(verdict, Verdict::Host, "line {}", n + 1);
                assert_eq!(frame.bytes(), came, "line {}", n + 1);
                host += 1;
            }
        }
    }
    assert!(forwarded >= 400 && host >= 16, "{forwarded}, {host}");
}
