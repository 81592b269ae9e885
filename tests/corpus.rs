//! Replays every corpus file of the fuzz targets, and a seeded storm of mutations of the torture
//! messages, through what the targets check.

use std::path::{Path, PathBuf};

use voip::base::Rng;

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
}

fn replay(target: &str, check: fn(&[u8])) {
    let files = files(&format!("fuzz/corpus/{target}"));
    assert!(!files.is_empty(), "the corpus of {target} is there");
    for path in files {
        println!("{}", path.display());
        check(&std::fs::read(&path).expect("readable"));
    }
}

#[test]
fn message_corpus() {
    replay("message", fuzz::message);
}

#[test]
fn uri_corpus() {
    replay("uri", fuzz::uri);
}

#[test]
fn sdp_corpus() {
    replay("sdp", fuzz::sdp);
}

#[test]
fn stun_corpus() {
    replay("stun", fuzz::stun);
}

#[test]
fn cesopsn_corpus() {
    replay("cesopsn", fuzz::cesopsn);
}

#[test]
fn ng_corpus() {
    replay("ng", fuzz::ng);
    let mut rng = Rng::from_u64(2223);
    for file in files("fuzz/corpus/ng") {
        let whole = std::fs::read(file).expect("readable");
        for round in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..1 + round % 8 {
                mutate(&mut bytes, std::slice::from_ref(&whole), &mut rng);
            }
            fuzz::ng(&bytes);
        }
    }
}

#[test]
fn frame_corpus() {
    replay("frame", fuzz::frame);
}

#[test]
fn relay_corpus() {
    replay("relay", fuzz::relay);
}

#[test]
fn signal_core_corpus() {
    replay("signal_core", fuzz::signal_core);
}

/// The messages that mutations start from.
fn seeds() -> Vec<Vec<u8>> {
    let folders = [
        "tests/data/rfc4475",
        "tests/data/rfc5118",
        "tests/data/deck",
    ];
    let paths = folders.iter().flat_map(|folder| files(folder));
    let messages = paths.filter(|path| path.extension().is_some_and(|end| end == "dat"));
    messages
        .map(|path| std::fs::read(path).expect("readable"))
        .collect()
}

/// Each byte of each message becomes each of the bytes that mean something to the parser.
#[test]
fn no_single_byte_breaks_the_parser() {
    const MEANINGFUL: &[u8] = b"\0\r\n\t \",;:<>@[]%*\\=/?9A\xff";
    for seed in seeds().iter().filter(|seed| seed.len() < 500) {
        for at in 0..seed.len() {
            let mut bytes = seed.clone();
            for byte in MEANINGFUL {
                bytes[at] = *byte;
                light(&bytes);
            }
        }
    }
}

/// The full checks cost too much for a million messages in a debug build.
fn light(bytes: &[u8]) {
    use voip::wire::sip::{Edit, Message};
    if let Ok(message) = Message::parse(bytes::Bytes::copy_from_slice(bytes))
        && message.validate().is_ok()
    {
        let out = Message::parse(Edit::new(&message).render()).expect("renders");
        assert_eq!(out.validate(), Ok(()));
    }
}

#[test]
fn no_mutation_breaks_what_must_hold() {
    const ROUNDS: usize = 20;
    let seeds = seeds();
    let mut rng = Rng::from_u64(4475);
    for round in 0..ROUNDS {
        for seed in &seeds {
            let mut bytes = seed.clone();
            for _ in 0..1 + round % 8 {
                mutate(&mut bytes, &seeds, &mut rng);
            }
            fuzz::message(&bytes);
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    if bytes.is_empty() {
        bytes.push(0);
    }
    let at = rng.below(bytes.len() as u64) as usize;
    let length = (rng.below(40) as usize).min(bytes.len() - at);
    match rng.below(6) {
        0 => bytes[at] = rng.below(256) as u8,
        1 => drop(bytes.drain(at..at + length)),
        2 => {
            let copy = bytes[at..at + length].to_vec();
            bytes.splice(at..at, copy);
        }
        3 => bytes.truncate(at),
        4 => bytes.insert(at, b"\r\n\t \",;:<>@[]%*\\=/?"[rng.below(19) as usize]),
        _ => {
            let other = &seeds[rng.below(seeds.len() as u64) as usize];
            let from = rng.below(other.len() as u64) as usize;
            let end = (from + 60).min(other.len());
            bytes.splice(at..at + length, other[from..end].iter().copied());
        }
    }
}
