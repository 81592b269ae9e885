use super::*;
use crate::store::{EmailCopy, Folder};
use std::path::Path;

fn config(locale: &str) -> Config {
    let text = format!(
        "[node]\ndomains = [\"example.com\"]\nlocale = \"{locale}\"\n\
         [numbers]\ntimezone = \"Europe/Madrid\"\n\
         [voicemail]\nemail_from = \"pbx@example.com\"\nsmtp = \"smtp://mail.example.com\"\n"
    );
    Config::parse(&text, Path::new("voip.toml")).unwrap()
}

fn message(number: &str, name: &str) -> MessageRecord {
    MessageRecord {
        id: 42,
        mailbox: "201@example.com".into(),
        folder: Folder::New,
        file: "voicemail/201@example.com/0000000042.wav".into(),
        number: number.into(),
        name: name.into(),
        // 2026-11-26 07:30 UTC.
        received_ms: 1_795_678_200_000,
        duration_ms: 61_200,
        email: EmailCopy::Waiting,
        revision: 7,
    }
}

fn letter(locale: &str, message: &MessageRecord, sound: Option<Vec<u8>>) -> String {
    let config = config(locale);
    let letter = write(
        &config,
        "ana@example.org",
        message,
        sound,
        1_795_678_260_000,
    )
    .unwrap();
    assert_eq!(letter.envelope.to().len(), 1);
    assert_eq!(letter.envelope.to()[0].to_string(), "ana@example.org");
    String::from_utf8(letter.bytes).unwrap()
}

/// The header lines before the first empty line, unfolded.
fn headers(letter: &str) -> Vec<String> {
    let head = letter.split("\r\n\r\n").next().unwrap();
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    unfolded.split("\r\n").map(str::to_owned).collect()
}

#[test]
fn it_says_who_when_and_how_long_and_carries_the_sound() {
    let sound: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let text = letter("en", &message("200", "Ana"), Some(sound.clone()));
    let heads = headers(&text);
    for line in [
        "From: pbx@example.com",
        "To: ana@example.org",
        "Subject: Voice message from Ana (200) (1:02)",
        "Message-ID: <voicemail.42.1795678200000@example.com>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
    ] {
        assert!(heads.iter().any(|h| h == line), "{line} in {heads:?}");
    }
    for line in [
        "There is a voice message in the mailbox 201@example.com.\r\n",
        "From:   Ana (200)\r\n",
        "Date:   2026-11-26 08:30\r\n",
        "Length: 1:02\r\n",
        "heard with *123.\r\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(
        text.contains("filename=\"message-2026-11-26-08-30.wav\""),
        "{text}"
    );
    assert!(text.contains("Content-Type: audio/wav\r\n"));
    // The sound comes out as it went in.
    let encoded = "Content-Transfer-Encoding: base64\r\n\r\n";
    let body = text.split(encoded).nth(1).expect(&text);
    let body: String = body.split("--=_").next().unwrap().split("\r\n").collect();
    assert_eq!(unbase64(&body), sound);
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 998));
}

fn unbase64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
    for byte in text.bytes().filter(|b| *b != b'=') {
        let value = alphabet.iter().position(|a| *a == byte).unwrap();
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

#[test]
fn it_speaks_the_language_of_the_house() {
    let text = letter("es", &message("", ""), None);
    let subject = headers(&text)
        .into_iter()
        .find(|h| h.starts_with("Subject: "));
    assert!(subject.unwrap().contains("=?utf-8?"), "encoded: {text}");
    assert!(text.contains("demasiado largo"), "{text}");
    assert!(!text.contains("audio/wav"));
}

/// A caller's name is what a stranger chose: whatever is in it, there is one recipient, the same
/// headers, and the same parts as for any other name.
#[test]
fn a_name_adds_no_header_no_part_and_no_recipient() {
    let names = |text: &str| {
        let heads = headers(text).into_iter();
        let names = heads.map(|h| h.split(':').next().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let sound = || Some(vec![1, 2, 3]);
    let wanted = names(&letter("en", &message("200", "Ana"), sound()));
    let boundary = "--=_voicemail-42-1795678200000";
    for name in [
        "x\r\nBcc: all@example.net",
        "x\r\n\r\n<b>body</b>",
        "x\nBcc: all@example.net",
        "x\rBcc: all@example.net",
        "x\u{85}Bcc: y\u{2028}Bcc: z\u{2029}",
        "\"Ana\" <ana@example.net>, all@example.net",
        "=?utf-8?q?=0D=0ABcc:_all=40example.net?=",
        &format!("\r\n{boundary}\r\nContent-Type: text/html\r\n\r\nx"),
        &format!("{boundary}--"),
        &"ñ".repeat(64),
        &"a".repeat(128),
        &"a b ".repeat(32),
        "\u{202e}gnp.exe",
    ] {
        for message in [
            message("200", name),
            message(name, "Ana"),
            message(name, ""),
        ] {
            let text = letter("en", &message, sound());
            assert_eq!(names(&text), wanted, "{name:?}: {text}");
            let parts = text.lines().filter(|l| l.starts_with(boundary)).count();
            assert_eq!(parts, 3, "{name:?}: {text}");
            assert!(!text.contains("\r\nBcc") && text.is_ascii(), "{text}");
        }
    }
}

#[test]
fn what_is_no_address_gets_no_letter() {
    let config = config("en");
    for to in [
        "",
        "ana",
        "ana@example.org\r\nBcc: x@y.z",
        "a b@example.org",
        "a@b, c@d",
    ] {
        let outcome = write(&config, to, &message("200", ""), None, 0);
        assert!(outcome.is_err(), "{to:?}");
    }
}
