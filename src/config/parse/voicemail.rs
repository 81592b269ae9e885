//! `[voicemail]`.

use super::File;
use crate::config::{Smtp, Voicemail};

pub(super) const KEYS: &[&str] = &[
    "enabled",
    "ring_s",
    "message_min_s",
    "message_max_s",
    "silence_s",
    "messages_max",
    "ask_pin",
    "pin_tries",
    "lock_s",
    "email_from",
    "smtp",
    "smtp_user",
    "smtp_password_file",
];

impl File<'_, '_, '_> {
    pub(super) fn voicemail(&mut self) -> Voicemail {
        let section = self.section("voicemail");
        let mut mail = Voicemail {
            enabled: section.is_present(),
            ..Voicemail::default()
        };
        for (flag, key) in [
            (&mut mail.enabled, "enabled"),
            (&mut mail.ask_pin, "ask_pin"),
        ] {
            if let Some(entry) = section.get(key) {
                *flag = self.reader.truth(entry).unwrap_or(*flag);
            }
        }
        for (target, key, range) in [
            (&mut mail.ring_s, "ring_s", 5..=180),
            (&mut mail.message_min_s, "message_min_s", 1..=60),
            (&mut mail.message_max_s, "message_max_s", 5..=3600),
            (&mut mail.silence_s, "silence_s", 0..=600),
            (&mut mail.messages_max, "messages_max", 1..=1000),
            (&mut mail.pin_tries, "pin_tries", 1..=100),
            (&mut mail.lock_s, "lock_s", 1..=86_400),
        ] {
            self.set_u32(target, section.get(key), range);
        }
        if mail.message_min_s >= mail.message_max_s
            && let Some(entry) = section
                .get("message_max_s")
                .or(section.get("message_min_s"))
        {
            let problem = "the longest message is no longer than the shortest";
            self.reader
                .note_entry(entry, problem, "write a greater message_max_s");
        }
        self.mail_server(&mut mail);
        mail
    }

    fn mail_server(&mut self, mail: &mut Voicemail) {
        let section = self.section("voicemail");
        if let Some(entry) = section.get("email_from")
            && let Some(text) = self.reader.text(entry)
        {
            match is_address(text.text) {
                true => mail.email_from = Some(text.text.into()),
                false => {
                    let problem = format!("\"{}\" is no address of e-mail", text.text);
                    self.note(text, problem, "write one such as \"pbx@example.com\"");
                }
            }
        }
        if let Some(entry) = section.get("smtp")
            && let Some(text) = self.reader.text(entry)
        {
            match Smtp::parse(text.text) {
                Ok(smtp) => mail.smtp = Some(smtp),
                Err(why) => {
                    let problem = format!("\"{}\" {why}", text.text);
                    self.note(
                        text,
                        problem,
                        "write one such as \"smtp://mail.example.com\"",
                    );
                }
            }
        }
        let (user, file) = (section.get("smtp_user"), section.get("smtp_password_file"));
        if let (Some(entry), None) = (user.or(file), section.get("smtp")) {
            let problem = "is of no use without a server";
            self.reader.note_entry(entry, problem, "add smtp");
        }
        if let (Some(entry), None) | (None, Some(entry)) = (user, file) {
            let remedy = "write both, or none for a server that takes mail from this host";
            self.reader.note_entry(
                entry,
                "needs the other of smtp_user and smtp_password_file",
                remedy,
            );
        }
        let user = user.and_then(|entry| self.reader.text(entry));
        let file = self.path(file, self.base);
        if let Some(smtp) = &mut mail.smtp {
            smtp.user = user.map(|text| text.text.into());
            smtp.password_file = file;
        }
        if let (Some(entry), None, None) = (
            section.get("smtp"),
            &mail.email_from,
            section.get("email_from"),
        ) {
            let remedy = "add email_from, the sender of the copies";
            self.reader.note_entry(entry, "has no sender", remedy);
        }
    }
}

/// `name@host`, without what would need quoting (RFC 5321 §4.1.2).
pub(in crate::config) fn is_address(text: &str) -> bool {
    let Some((name, host)) = text.rsplit_once('@') else {
        return false;
    };
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(atom)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && crate::config::Domain::parse(host).is_ok()
}
