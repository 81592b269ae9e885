//! The options of an offer or answer.

use super::codecs::{Codecs, List};
use super::record::Recording;
use super::request::ip;
use super::sdes::Sdes;
use crate::relay::Learning;
use crate::wire::bencode::Value;
use std::net::IpAddr;

/// The most notes that one request gives rise to.
pub const NOTES_MAX: usize = 16;
/// The longest note.
const NOTE_CHARS_MAX: usize = 80;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How a written description names the port of RTCP (RFC 3605).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RtcpAttribute {
    /// By its number.
    #[default]
    Port,
    /// With the address.
    Full,
    /// Not at all.
    Absent,
}

/// What is said of RTCP on the port of RTP (RFC 5761) other than what the sides say themselves.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RtcpMux {
    /// Offered in any case.
    pub offer: bool,
    /// Offered without a port of its own to fall back to.
    pub require: bool,
    /// Accepted from the offering side, and not offered to the other.
    pub demux: bool,
    /// Accepted from the offering side, whatever the other answers.
    pub accept: bool,
    /// Not accepted from the offering side.
    pub reject: bool,
}

/// Whether a description's reader shall see candidates of ours (RFC 8839).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum IceWish {
    /// Where the offer's author speaks ICE.
    #[default]
    Pass,
    /// In any case.
    Force,
    /// In none.
    Remove,
}

/// What a request asks for beside its command.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Media are expected where the message came from, not where the description says.
    pub sip_source: bool,
    /// When the author may turn out to be elsewhere than its description says.
    pub learning: Learning,
    /// The address in `o=` is replaced.
    pub replace_origin: bool,
    /// The address in the session's `c=` is replaced, even if no section needs it.
    pub replace_session_connection: bool,
    /// Null addresses are replaced too.
    pub replace_zero_address: bool,
    /// Direction attributes stay as they stand.
    pub original_sendrecv: bool,
    /// How RTCP is named.
    pub rtcp_attribute: RtcpAttribute,
    /// Descriptions that we wrote ourselves are left alone.
    pub loop_protect: bool,
    /// The client knows the result `load limit`.
    pub knows_load_limit: bool,
    /// Errors of `delete` are errors.
    pub fatal: bool,
    /// `unblock` undoes what was blocked for single participants, too.
    pub all: bool,
    /// Whether the call shall be recorded, if it says.
    pub record: Option<Recording>,
    /// A recording that stops may go on later.
    pub pause: bool,
    /// The transport protocol that the reader shall see; in capitals.
    pub transport: Option<String>,
    /// The address that the reader shall see.
    pub media_address: Option<IpAddr>,
    /// The family of the address that the reader shall see.
    pub address_family: Option<Family>,
    /// Where the message came from.
    pub received_from: Option<IpAddr>,
    /// The interfaces toward the author and toward the reader.
    pub direction: Option<[String; 2]>,
    /// RTCP on the port of RTP.
    pub rtcp_mux: RtcpMux,
    /// Formats.
    pub codecs: Codecs,
    /// Candidates of ours.
    pub ice: IceWish,
    /// The author of an offer shall go on without ICE.
    pub ice_rejected: bool,
    /// Keys in descriptions.
    pub sdes: Sdes,
    /// What the log shall say, once each.
    pub notes: Vec<String>,
}

/// Flags that ask for what is done in any case, or for what makes no difference here.
const TAKEN_IN_SILENCE: [&str; 20] = [
    "trust-address",
    "symmetric",
    "strict-source",
    "port-latching",
    "no-port-latching",
    "no-redis-update",
    "debug",
    "debugging",
    "reset",
    "unidirectional",
    "directional",
    "trickle-ICE",
    "reuse-codecs",
    "no-codec-renegotiation",
    "allow-transcoding",
    "pad-crypto",
    "early-media",
    "fragment",
    "no-jitter-buffer",
    "allow-no-codec-media",
];

/// Flags that ask for what is not done.
const NOT_DONE: [&str; 14] = [
    "discard-recording",
    "exclude-recording",
    "generate-mid",
    "strip-extmap",
    "inject-DTMF",
    "detect-DTMF",
    "generate-RTCP",
    "RTCP-mirror",
    "pierce-NAT",
    "NAT-wait",
    "SIPREC",
    "mirror-RTCP",
    "all-mirror",
    "symmetric-codecs",
];

/// Keys whose value makes no difference here.
const KEYS_TAKEN_IN_SILENCE: [&str; 14] = [
    "set-label",
    "to-label",
    "from-tags",
    "metadata",
    "DTLS",
    "DTLS-reverse",
    "DTLS-fingerprint",
    "ICE-lite",
    "database-id",
    "call-id-alias",
    // Of the message that a description came in, which we need not know.
    "sip-message-type",
    "SIP-message-type",
    "sip-code",
    "SIP-code",
];

/// Flags that are told apart by their spelling here, beside the lists above.
const FLAGS: [&str; 12] = [
    "SIP-source-address",
    "asymmetric",
    "media-handover",
    "original-sendrecv",
    "no-rtcp-attribute",
    "full-rtcp-attribute",
    "loop-protect",
    "single-codec",
    "always-transcode",
    "reject-ICE",
    "ICE-reject",
    "record-call",
];

/// Keys that are not all lower case.
const KEYS: [&str; 7] = [
    "SDES",
    "OSRTP",
    "ICE",
    "TOS",
    "T.38",
    "generate-RTCP",
    "supports",
];

/// Some clients write all in lower case, or more in capitals; that makes no difference. Others'
/// names, such as codecs, stay as they stand.
fn spelled<'a>(word: &'a str, lists: &[&[&'static str]]) -> &'a str {
    let mut known = lists.iter().flat_map(|list| list.iter());
    let found = known.find(|known| known.eq_ignore_ascii_case(word));
    found.copied().unwrap_or(word)
}

impl Options {
    /// Takes one key of a request.
    pub(super) fn on_key(&mut self, key: &str, value: &Value) {
        let lists: [&[&str]; 2] = [&KEYS, &KEYS_TAKEN_IN_SILENCE];
        let lower = key.to_ascii_lowercase();
        match spelled(&lower, &lists) {
            "flags" => self.each(value, Self::on_flag),
            "replace" => self.each(value, Self::on_replace),
            "rtcp-mux" => self.each(value, Self::on_rtcp_mux),
            "supports" => self.each(value, Self::on_supports),
            "codec" => self.on_codec(value),
            "OSRTP" => match value.as_list() {
                Some(_) => self.each(value, Self::on_osrtp),
                None => self.on_osrtp(&shown(value)),
            },
            "SDES" => match value.as_list() {
                Some(_) => self.each(value, Self::on_sdes),
                None => self.on_sdes(&shown(value)),
            },
            "direction" => self.direction = pair(value),
            "received-from" => self.received_from = received_from(value),
            "media-address" => self.media_address = ip(value),
            "address-family" => match value.as_bytes() {
                Some(b"IP4") => self.address_family = Some(Family::V4),
                Some(b"IP6") => self.address_family = Some(Family::V6),
                _ => self.note(format!("address-family={}", shown(value))),
            },
            "transport-protocol" => {
                let text = shown(value).to_ascii_uppercase();
                // An answer goes to the offering side as that side offered, in any case.
                self.transport = (text != "ACCEPT").then_some(text);
            }
            "ICE" => match value.as_list() {
                Some(_) => self.each(value, Self::on_ice),
                None => self.on_ice(&shown(value)),
            },
            "all" => self.all = shown(value) != "none",
            "from-interface" => self.on_interface(0, value),
            "to-interface" => self.on_interface(1, value),
            key if KEYS_TAKEN_IN_SILENCE.contains(&key) => {}
            "record-call" => self.on_record(&shown(value)),
            "pause" => self.pause = is_yes(&shown(value)),
            "output-destination" => self.not_done(key),
            "template" => self.not_done(&format!("template={}", shown(value))),
            "TOS" | "T.38" | "ptime" | "ptime-reverse" | "repacketize" | "generate-RTCP"
            | "drop-traffic" | "media-echo" | "interface" | "volume" | "recording-file"
            | "recording-dir" | "recording-pattern" => self.not_done(key),
            key => self.note(format!("unknown key \"{key}\"")),
        }
    }

    fn each(&mut self, value: &Value, act: fn(&mut Self, &str)) {
        for member in value.as_list().unwrap_or_default() {
            let text = shown(member).replace(' ', "-");
            act(self, &text);
        }
    }

    /// Takes one flag.
    pub(super) fn on_flag(&mut self, flag: &str) {
        match spelled(flag, &[&FLAGS, &TAKEN_IN_SILENCE, &NOT_DONE]) {
            "SIP-source-address" => self.sip_source = true,
            "asymmetric" => self.learning = Learning::Never,
            "media-handover" => self.learning = Learning::Always,
            "original-sendrecv" => self.original_sendrecv = true,
            "no-rtcp-attribute" => self.rtcp_attribute = RtcpAttribute::Absent,
            "full-rtcp-attribute" => self.rtcp_attribute = RtcpAttribute::Full,
            "loop-protect" => self.loop_protect = true,
            "single-codec" => self.codecs.single = true,
            "always-transcode" => self.codecs.push(List::Accept, "all"),
            "fatal" => self.fatal = true,
            "all" => self.all = true,
            "reject-ICE" | "ICE-reject" => self.ice_rejected = true,
            "record-call" => self.record = Some(Recording::On),
            "pause" => self.pause = true,
            flag if TAKEN_IN_SILENCE.contains(&flag) => {}
            flag if NOT_DONE.contains(&flag) => self.not_done(flag),
            flag => self.on_prefixed(flag),
        }
    }

    /// Flags that stand for a member of another list.
    fn on_prefixed(&mut self, flag: &str) {
        let split = |prefix: &str| {
            let (start, rest) = flag.split_at_checked(prefix.len())?;
            start.eq_ignore_ascii_case(prefix).then_some(rest)
        };
        if let Some(rest) = split("replace-") {
            self.on_replace(rest);
        } else if let Some(rest) = split("rtcp-mux-") {
            self.on_rtcp_mux(rest);
        } else if let Some(codec) = split("transcode-") {
            self.codecs.push(List::Transcode, &unescaped(codec));
        } else if let Some((list, codec)) = split("codec-").and_then(listed) {
            self.codecs.push(list, &unescaped(codec));
        } else if let Some(member) = split("SDES-") {
            self.on_sdes(member);
        } else if let Some(member) = split("OSRTP-") {
            self.on_osrtp(member);
        } else {
            self.note(format!("unknown flag \"{flag}\""));
        }
    }

    fn on_ice(&mut self, member: &str) {
        match member {
            "remove" => self.ice = IceWish::Remove,
            "force" => self.ice = IceWish::Force,
            "default" => self.ice = IceWish::Pass,
            // A lite agent takes no candidates that come later.
            "trickle" => {}
            member => self.not_done(&format!("ICE={member}")),
        }
    }

    /// The interface toward the author (0) or toward the reader (1).
    fn on_interface(&mut self, place: usize, value: &Value) {
        let both = self.direction.get_or_insert_default();
        if let Some(name) = both.get_mut(place) {
            *name = shown(value);
        }
    }

    fn on_record(&mut self, text: &str) {
        match text {
            text if is_yes(text) => self.record = Some(Recording::On),
            "no" | "off" => self.record = Some(Recording::Off),
            text => self.note(format!("record-call={text}")),
        }
    }

    fn on_replace(&mut self, what: &str) {
        match what {
            "origin" => self.replace_origin = true,
            "session-connection" => self.replace_session_connection = true,
            "zero-address" => self.replace_zero_address = true,
            "SDP-version"
            | "sdp-version"
            | "username"
            | "session-name"
            | "force-increment-sdp-ver" => {
                self.not_done(&format!("replace-{what}"));
            }
            what => self.note(format!("unknown flag \"replace-{what}\"")),
        }
    }

    fn on_sdes(&mut self, member: &str) {
        if let Some(note) = self.sdes.on_member(member) {
            self.note(note);
        }
    }

    /// SRTP that is offered as RTP (RFC 8643). What the peers do of it passes.
    fn on_osrtp(&mut self, member: &str) {
        if member.starts_with("offer") {
            self.not_done(&format!("OSRTP-{member}"));
        }
    }

    fn on_supports(&mut self, what: &str) {
        self.knows_load_limit |= what == "load-limit";
    }

    fn on_rtcp_mux(&mut self, what: &str) {
        let mux = &mut self.rtcp_mux;
        match what {
            "offer" => mux.offer = true,
            "require" => mux.require = true,
            "demux" => mux.demux = true,
            "accept" => mux.accept = true,
            "reject" => mux.reject = true,
            what => self.note(format!("unknown flag \"rtcp-mux-{what}\"")),
        }
    }

    fn on_codec(&mut self, value: &Value) {
        let Value::Dictionary(lists) = value else {
            return;
        };
        for (kind, codecs) in lists.entries() {
            let known = List::ALL.iter().find(|(_, name)| name.as_bytes() == kind);
            let Some((list, _)) = known else {
                let kind = String::from_utf8_lossy(kind).into_owned();
                self.not_done(&format!("codec-{kind}"));
                continue;
            };
            for codec in codecs.as_list().unwrap_or_default() {
                self.codecs.push(*list, &unescaped(&shown(codec)));
            }
        }
    }

    fn not_done(&mut self, what: &str) {
        self.note(format!("{what} is not done"));
    }

    /// Notes something for the log.
    pub(super) fn note(&mut self, mut text: String) {
        if let Some((at, _)) = text.char_indices().nth(NOTE_CHARS_MAX) {
            text.truncate(at);
        }
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }
}

fn is_yes(text: &str) -> bool {
    ["yes", "on"].contains(&text)
}

/// The list and the codec of `accept-PCMA` and the like.
fn listed(flag: &str) -> Option<(List, &str)> {
    List::ALL.iter().find_map(|(list, name)| {
        let codec = flag.strip_prefix(name)?.strip_prefix('-')?;
        Some((*list, codec))
    })
}

/// Scripts that cannot write `=` write `--`.
fn unescaped(codec: &str) -> String {
    codec.replace("--", "=")
}

/// The text of a value; odd bytes become U+FFFD.
fn shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Integer(n) => n.to_string(),
        Value::List(_) | Value::Dictionary(_) => String::new(),
    }
}

fn pair(value: &Value) -> Option<[String; 2]> {
    match value.as_list()? {
        [one] => Some([shown(one), shown(one)]),
        [from, to, ..] => Some([shown(from), shown(to)]),
        [] => None,
    }
}

fn received_from(value: &Value) -> Option<IpAddr> {
    match value {
        Value::List(members) => members.last().and_then(ip),
        Value::Bytes(_) | Value::Integer(_) | Value::Dictionary(_) => ip(value),
    }
}
