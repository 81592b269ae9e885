//! The library, its catalogue and its manifest agree, and the files are what they should be.

use super::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const CATALOGUE: &str = include_str!("catalogue.toml");
const MANIFEST: &str = include_str!("manifest");

const LANGUAGES: [(Language, &str); 2] = [(Language::Es, "es"), (Language::En, "en")];
/// All files together, in bytes: the program carries them.
const SIZE_MAX: usize = 1_600_000;

/// Name and language to text.
fn texts() -> BTreeMap<(String, String), String> {
    let catalogue: toml::Table = CATALOGUE.parse().expect("catalogue.toml");
    let mut found = BTreeMap::new();
    for (_, section) in &catalogue {
        for (name, texts) in section.as_table().expect("a section") {
            for (language, text) in texts.as_table().expect("texts by language") {
                let text = text.as_str().expect("a text").to_owned();
                let twice = found.insert((name.clone(), language.clone()), text);
                assert_eq!(twice, None, "{name} stands in the catalogue twice");
            }
        }
    }
    found
}

/// The first eight bytes of SHA-256, as make writes them.
fn hash(data: &[u8]) -> String {
    let digest = Sha256::digest(data);
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn every_prompt() -> impl Iterator<Item = (&'static str, &'static str, &'static [u8])> {
    names().flat_map(|name| {
        LANGUAGES.map(|(language, code)| {
            let frames = find(language, name).unwrap_or_else(|| panic!("{name} is not found"));
            (code, name, frames)
        })
    })
}

/// The loudest block of a frame, as the coder wrote it: xmaxc of each of four, 6 bits, 11 after
/// the block's begin; 56 bits a block, the first after 40 (GSM 06.10 §1.7, Table 1.1).
fn loudest(frame: &[u8]) -> u8 {
    let bit = |at: usize| frame[at / 8] >> (7 - at % 8) & 1;
    let xmaxc = |block: usize| {
        let begin = 40 + 56 * block + 11;
        (begin..begin + 6).fold(0, |value, at| value << 1 | bit(at))
    };
    (0..4).map(xmaxc).max().unwrap_or(0)
}

#[test]
fn the_table_is_sorted_and_each_name_is_found() {
    let all: Vec<_> = names().collect();
    assert!(all.len() > 150, "{} prompts", all.len());
    assert!(all.is_sorted_by(|a, b| a < b));
    for (_, name, frames) in every_prompt() {
        assert!(!frames.is_empty(), "{name}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    for name in [
        "",
        "digits/",
        "digits/31",
        "zzz",
        "VM-YOUHAVE",
        "es/vm-youhave",
    ] {
        assert_eq!(find(Language::Es, name), None, "{name}");
    }
}

#[test]
fn the_languages_are_not_mixed_up() {
    for name in ["digits/1", "vm-youhave", "call-busy", "demo-echotest"] {
        assert_ne!(find(Language::Es, name), find(Language::En, name), "{name}");
    }
    assert_eq!(Language::from(Locale::Es), Language::Es);
    assert_eq!(Language::from(Locale::En), Language::En);
}

#[test]
fn the_catalogue_has_what_the_library_has() {
    let mut texts = texts();
    for (language, name, _) in every_prompt() {
        let text = texts.remove(&(name.to_owned(), language.to_owned()));
        assert!(
            text.is_some_and(|text| !text.trim().is_empty()),
            "{language}/{name} has no text"
        );
    }
    assert!(texts.is_empty(), "without audio, run make: {texts:?}");
}

#[test]
fn every_prompt_is_whole_frames_of_speech() {
    for (language, name, frames) in every_prompt() {
        let at = format!("{language}/{name}");
        let (chunks, rest) = frames.as_chunks::<FRAME_BYTES>();
        assert!(rest.is_empty(), "{at} ends within a frame");
        assert!(chunks.iter().all(|frame| frame[0] >> 4 == 0xd), "{at}");
        let length = length_ms(frames);
        assert!((150..=15_000).contains(&length), "{at} lasts {length} ms");
        // 24 stands for a block whose samples reach 256 to 287: far above any noise.
        let loud = chunks.iter().filter(|frame| loudest(*frame) >= 24).count();
        assert!(loud * 4 >= chunks.len(), "{at}: {loud} frames of sound");
        assert!(loud >= 3, "{at}: {loud} frames of sound");
    }
}

#[test]
fn lengths_are_told_in_whole_frames() {
    assert_eq!(length_ms(&[]), 0);
    assert_eq!(length_ms(&[0xd0; FRAME_BYTES - 1]), 0);
    assert_eq!(length_ms(&[0xd0; FRAME_BYTES * 50 + 1]), 1000);
    assert_eq!(FRAME_SAMPLES, 8 * FRAME_MS as usize);
}

#[test]
fn the_files_were_made_from_these_texts() {
    let texts = texts();
    let mut recipes = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for line in MANIFEST.lines().filter(|line| !line.starts_with('#')) {
        if let Some(recipe) = line.strip_prefix("recipe ") {
            let (language, recipe) = recipe.split_once(' ').expect("language and recipe");
            recipes.insert(language, recipe);
        } else {
            let fields: Vec<_> = line.split(' ').collect();
            let [language, name, text, frames, sound] = fields[..] else {
                panic!("{line:?} in the manifest");
            };
            lines.insert((language, name), (text, frames, sound));
        }
    }
    for (language, name, frames) in every_prompt() {
        let line = lines.remove(&(language, name));
        let (text_hash, count, sound) = line.unwrap_or_else(|| panic!("{language}/{name}"));
        let text = &texts[&(name.to_owned(), language.to_owned())];
        let spoken = hash(format!("{}\n{text}", recipes[language]).as_bytes());
        assert_eq!(text_hash, spoken, "{language}/{name} changed, run make");
        assert_eq!(count, (frames.len() / FRAME_BYTES).to_string());
        assert_eq!(
            sound,
            hash(frames),
            "{language}/{name} is not what make made"
        );
    }
    assert!(lines.is_empty(), "not in the library: {lines:?}");
}

#[test]
fn other_words_sound_otherwise() {
    let texts = texts();
    let mut heard: BTreeMap<(&str, &[u8]), &String> = BTreeMap::new();
    for (language, name, frames) in every_prompt() {
        let text = &texts[&(name.to_owned(), language.to_owned())];
        if let Some(other) = heard.insert((language, frames), text) {
            assert_eq!(other, text, "{language}/{name}");
        }
    }
}

#[test]
fn the_program_carries_no_more_than_it_may() {
    let size: usize = every_prompt().map(|(_, _, frames)| frames.len()).sum();
    assert!(size < SIZE_MAX, "{size} bytes");
}
