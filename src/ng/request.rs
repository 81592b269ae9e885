//! What a client asks for: the command, whom it is about, and the options that change how a
//! description is written or whom a port listens to.
//!
//! Options that ask for nothing beyond what is done anyway are taken in silence. Those that ask
//! for something that is not done here, and those that nobody knows, are noted, for the log.

use super::flags::Options;
use crate::wire::bencode::{Dictionary, Value};
use std::net::IpAddr;

/// The longest Call-ID, tag, branch or label.
pub const NAME_BYTES_MAX: usize = 512;

/// The commands that are carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Whether somebody is there.
    Ping,
    /// A side of a call offers.
    Offer,
    /// A side of a call answers.
    Answer,
    /// A call, or a branch of it, is over.
    Delete,
    /// What is known of a call.
    Query,
    /// Which calls there are.
    List,
    /// Sums over all calls.
    Statistics,
    /// Packets of a side, or of both, go no further.
    BlockMedia,
    /// They do again.
    UnblockMedia,
    /// Events of keys (RFC 4733) go no further.
    BlockDtmf,
    /// They do again.
    UnblockDtmf,
    /// Both sides are written to a file.
    StartRecording,
    /// They are not any more.
    StopRecording,
    /// What is said is left out until the next start.
    PauseRecording,
}

impl Command {
    /// All, with their names in the protocol and in listings.
    pub const ALL: [(Command, &'static str, &'static str); 14] = [
        (Command::Ping, "ping", "ng_ping"),
        (Command::Offer, "offer", "ng_offer"),
        (Command::Answer, "answer", "ng_answer"),
        (Command::Delete, "delete", "ng_delete"),
        (Command::Query, "query", "ng_query"),
        (Command::List, "list", "ng_list"),
        (Command::Statistics, "statistics", "ng_statistics"),
        (Command::BlockMedia, "block media", "ng_block_media"),
        (Command::UnblockMedia, "unblock media", "ng_unblock_media"),
        (Command::BlockDtmf, "block DTMF", "ng_block_dtmf"),
        (Command::UnblockDtmf, "unblock DTMF", "ng_unblock_dtmf"),
        (
            Command::StartRecording,
            "start recording",
            "ng_start_recording",
        ),
        (
            Command::StopRecording,
            "stop recording",
            "ng_stop_recording",
        ),
        (
            Command::PauseRecording,
            "pause recording",
            "ng_pause_recording",
        ),
    ];

    /// The place in [`Command::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Commands of the protocol that are not carried out.
const NOT_HERE: [&str; 14] = [
    "start forwarding",
    "stop forwarding",
    "silence media",
    "unsilence media",
    "play media",
    "stop media",
    "play DTMF",
    "publish",
    "subscribe request",
    "subscribe answer",
    "unsubscribe",
    "connect",
    "transform",
    "cli",
];

/// One request, read.
#[derive(Clone, Debug)]
pub struct Request {
    /// What shall be done.
    pub command: Command,
    /// The Call-ID; empty where it is missing.
    pub call_id: Box<[u8]>,
    /// The From tag of the message that it is about; empty where it is missing.
    pub from_tag: Box<[u8]>,
    /// The To tag; empty where there is none yet.
    pub to_tag: Box<[u8]>,
    /// The branch of the Via, where the client tells forks apart by it; else empty.
    pub via_branch: Box<[u8]>,
    /// What the client calls the participant; else empty.
    pub label: Box<[u8]>,
    /// A description, with offers and answers.
    pub sdp: Option<Vec<u8>>,
    /// Seconds that a call stays after it was deleted, if the client says.
    pub delete_delay: Option<i64>,
    /// How many calls to list.
    pub limit: i64,
    /// The address that selects a participant.
    pub address: Option<IpAddr>,
    /// The rest.
    pub options: Options,
}

/// Why a request is refused at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// In the words of the protocol.
    Said(&'static str),
    /// A command of the protocol that is not carried out.
    NotHere(&'static str),
}

impl Request {
    /// Reads a dictionary.
    pub fn parse(dictionary: &Dictionary) -> Result<Self, Refusal> {
        let said = Refusal::Said;
        let name = dictionary.get(b"command").and_then(Value::as_bytes);
        let name = name.ok_or(said("Dictionary contains no key \"command\""))?;
        let known = Command::ALL.iter().find(|(_, n, _)| n.as_bytes() == name);
        let Some(&(command, ..)) = known else {
            let not_here = NOT_HERE.iter().find(|n| n.as_bytes() == name);
            return Err(not_here.map_or(said("Unrecognized command"), |n| Refusal::NotHere(n)));
        };
        let mut request = Self {
            command,
            call_id: Box::default(),
            from_tag: Box::default(),
            to_tag: Box::default(),
            via_branch: Box::default(),
            label: Box::default(),
            sdp: None,
            delete_delay: None,
            limit: 32,
            address: None,
            options: Options::default(),
        };
        let mut string = None;
        for (key, value) in dictionary.entries() {
            let key = String::from_utf8_lossy(key).replace([' ', '_'], "-");
            match &*key {
                "rtpp-flags" => string = string.or(value.as_bytes()),
                key => request.on_key(key, value)?,
            }
        }
        if let Some(flags) = string {
            request.on_rtpp_flags(&String::from_utf8_lossy(flags))?;
        }
        request.check()?;
        Ok(request)
    }

    /// Takes one key.
    pub(super) fn on_key(&mut self, key: &str, value: &Value) -> Result<(), Refusal> {
        match key.to_ascii_lowercase().as_str() {
            "command" => {}
            "call-id" => name(&mut self.call_id, value)?,
            "from-tag" => name(&mut self.from_tag, value)?,
            "to-tag" => name(&mut self.to_tag, value)?,
            "via-branch" => name(&mut self.via_branch, value)?,
            "label" | "from-label" => name(&mut self.label, value)?,
            "sdp" => {
                if self.sdp.is_none() {
                    self.sdp = value.as_bytes().map(<[u8]>::to_vec);
                }
            }
            "delete-delay" => self.delete_delay = value.as_integer(),
            "limit" => self.limit = value.as_integer().unwrap_or(self.limit),
            "address" => self.address = ip(value),
            _ => self.options.on_key(key, value),
        }
        Ok(())
    }

    /// Whether what the command needs is there.
    fn check(&self) -> Result<(), Refusal> {
        let missing = match self.command {
            Command::Ping | Command::List | Command::Statistics => return Ok(()),
            Command::Offer | Command::Answer if self.sdp.is_none() => "No SDP body in message",
            _ if self.call_id.is_empty() => "No call-id in message",
            Command::Offer | Command::Answer if self.from_tag.is_empty() => {
                "No from-tag in message"
            }
            Command::Answer if self.to_tag.is_empty() => "No to-tag in message",
            Command::Offer
            | Command::Answer
            | Command::Delete
            | Command::Query
            | Command::BlockMedia
            | Command::UnblockMedia
            | Command::BlockDtmf
            | Command::UnblockDtmf
            | Command::StartRecording
            | Command::StopRecording
            | Command::PauseRecording => return Ok(()),
        };
        Err(Refusal::Said(missing))
    }
}

fn name(place: &mut Box<[u8]>, value: &Value) -> Result<(), Refusal> {
    let bytes = value.as_bytes().unwrap_or_default();
    if bytes.len() > NAME_BYTES_MAX {
        return Err(Refusal::Said("Call-ID, tag, branch or label too long"));
    }
    if place.is_empty() {
        *place = bytes.into();
    }
    Ok(())
}

/// An address that a value names.
pub(super) fn ip(value: &Value) -> Option<IpAddr> {
    let text = std::str::from_utf8(value.as_bytes()?).ok()?;
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    bare.unwrap_or(text).parse().ok()
}
