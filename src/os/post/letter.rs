//! The copy of a message as an e-mail (RFC 5322, RFC 2045 to 2047): text in the house's language,
//! and the sound as an attachment. What a caller says of itself is told, and is never more than
//! words: no header, no part and no address is made of it.

use crate::config::{Config, Locale, Service};
use crate::plan::local_time;
use crate::store::MessageRecord;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest sound that is attached: half an hour. Servers take seldom more than this.
pub const SOUND_BYTES_MAX: u64 = 16 << 20;

/// A letter, and who it goes to and comes from.
#[derive(Clone, Debug)]
pub struct Letter {
    /// For the server.
    pub envelope: Envelope,
    /// What it carries.
    pub bytes: Vec<u8>,
}

/// RFC 3834 §5: nobody's holidays answer it.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

/// Writes the letter about a message to its owner. `sound` is the WAV file; without, it says that
/// it is too long to be sent. Fails if an address cannot be one.
pub fn write(
    config: &Config,
    to: &str,
    message: &MessageRecord,
    sound: Option<Vec<u8>>,
    now_ms: u64,
) -> Result<Letter, String> {
    let from = config.voicemail.email_from.as_deref().unwrap_or_default();
    let from = address(from)?;
    let to = address(to)?;
    let text = Text::of(config, message, sound.is_some());
    // No line of either encoding has "=_" (RFC 2045 §6.7).
    let boundary = format!("=_voicemail-{}-{}", message.id, message.received_ms);
    // The same for each try: readers that get a letter twice show it once.
    let id = format!(
        "<voicemail.{}.{}@{}>",
        message.id,
        message.received_ms,
        from.domain()
    );
    let mut parts = MultiPart::mixed().boundary(boundary).singlepart(
        SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            .body(text.body),
    );
    if let Some(sound) = sound {
        let name = format!("{}.wav", text.file);
        let kind = ContentType::parse("audio/wav").map_err(|e| e.to_string())?;
        parts = parts.singlepart(Attachment::new(name).body(sound, kind));
    }
    let letter = Message::builder()
        .from(Mailbox::new(None, from))
        .to(Mailbox::new(None, to))
        .date(at(now_ms))
        .message_id(Some(id))
        .subject(text.subject)
        .header(AutoSubmitted)
        .multipart(parts)
        .map_err(|e| e.to_string())?;
    Ok(Letter {
        envelope: letter.envelope().clone(),
        bytes: letter.formatted(),
    })
}

fn address(text: &str) -> Result<Address, String> {
    text.parse()
        .map_err(|e| format!("{text:?} is no address of e-mail: {e}"))
}

fn at(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}

/// What it says.
struct Text {
    subject: String,
    body: String,
    /// The attachment's name, without extension.
    file: String,
}

/// One line of nothing but what can be seen.
fn plain(text: &str) -> String {
    let seen = |c: char| match c {
        '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => false,
        '\u{2066}'..='\u{2069}' => false,
        c => !c.is_control(),
    };
    let seen: String = text.chars().filter(|c| seen(*c)).collect();
    seen.trim().to_owned()
}

impl Text {
    fn of(config: &Config, message: &MessageRecord, attached: bool) -> Self {
        let time = local_time(message.received_ms, &config.numbers.timezone);
        let time = time.strftime("%Y-%m-%d %H:%M").to_string();
        let seconds = message.duration_ms.div_ceil(1000);
        let length = format!("{}:{:02}", seconds / 60, seconds % 60);
        let locale = config.node.locale;
        let caller = caller(locale, message);
        let code = config.services.code(Service::Voicemail);
        let code = (!code.is_empty()).then_some(code);
        let mailbox = &*message.mailbox;
        let file = time.replace([' ', ':'], "-");
        match locale {
            Locale::Es => Self {
                subject: format!("Mensaje de voz de {caller} ({length})"),
                body: format!(
                    "Hay un mensaje de voz en el buzón {mailbox}.\r\n\r\n\
                     De:       {caller}\r\nFecha:    {time}\r\nDuración: {length}\r\n\r\n{}{}",
                    match attached {
                        true => "El mensaje va adjunto.\r\n",
                        false => "El mensaje es demasiado largo para ir adjunto.\r\n",
                    },
                    code.map_or_else(String::new, |code| format!(
                        "Por teléfono se escucha con {code}.\r\n"
                    ))
                ),
                file: format!("mensaje-{file}"),
            },
            Locale::En => Self {
                subject: format!("Voice message from {caller} ({length})"),
                body: format!(
                    "There is a voice message in the mailbox {mailbox}.\r\n\r\n\
                     From:   {caller}\r\nDate:   {time}\r\nLength: {length}\r\n\r\n{}{}",
                    match attached {
                        true => "The message is attached.\r\n",
                        false => "The message is too long to be attached.\r\n",
                    },
                    code.map_or_else(String::new, |code| format!(
                        "By telephone it is heard with {code}.\r\n"
                    ))
                ),
                file: format!("message-{file}"),
            },
        }
    }
}

fn caller(locale: Locale, message: &MessageRecord) -> String {
    let (number, name) = (plain(&message.number), plain(&message.name));
    match (number.is_empty(), name.is_empty()) {
        (false, false) if number == name => number,
        (false, false) => format!("{name} ({number})"),
        (false, true) => number,
        (true, false) => name,
        (true, true) => match locale {
            Locale::Es => "un número desconocido".into(),
            Locale::En => "an unknown number".into(),
        },
    }
}

#[cfg(test)]
mod tests;
