//! The torture messages of RFC 4475 at the whole signalling core, as datagram and on a stream: the
//! columns `udp` and `tcp` of `tests/data/rfc4475/expect.tsv`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use voip::wire::sip::Message;

#[allow(dead_code)]
#[path = "../fuzz/src/core.rs"]
mod core;

/// What the parser refuses with; any other final status came from further in.
const REFUSALS: [u16; 5] = [400, 416, 501, 505, 513];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/rfc4475")
        .join(name)
}

fn finals(sent: &[Bytes]) -> Vec<u16> {
    let messages = sent
        .iter()
        .filter_map(|bytes| Message::parse(bytes.clone()).ok());
    messages
        .map(|message| message.status())
        .filter(|status| *status >= 200)
        .collect()
}

fn fits(expected: &str, finals: &[u16]) -> bool {
    match expected {
        "none" => finals.is_empty(),
        "answer" => !finals.is_empty() && !finals.iter().any(|status| REFUSALS.contains(status)),
        list => {
            let mut allowed = list
                .split(',')
                .map(|status| status.parse::<u16>().expect("status"));
            finals
                .first()
                .is_some_and(|first| allowed.any(|status| status == *first))
        }
    }
}

#[test]
fn every_message_gets_its_answer() {
    let table = std::fs::read_to_string(path("expect.tsv")).expect("table");
    let mut wrong = Vec::new();
    for row in table.lines().skip(1) {
        let row: Vec<_> = row.split('\t').collect();
        let bytes = std::fs::read(path(&format!("{}.dat", row[0]))).expect("message");
        for (stream, expected) in [(false, row[4]), (true, row[5])] {
            let finals = finals(&core::answers(&bytes, stream));
            if !fits(expected, &finals) {
                let how = if stream { "tcp" } else { "udp" };
                wrong.push(format!("{} {how}: {expected}, got {finals:?}", row[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
