//! `rtpp-flags`: the flags of a script as they stand there, in one string, which Kamailio from 6.0
//! sends unread where the script gives its functions a second argument. All that the proxy's module
//! makes of such a string otherwise is made here: keys of the dictionary, and members of its lists.
//!
//! ```text
//! flags = [ item { ' ' item } ]
//! item  = flag | key '=' value
//! value = word | '[' [ value { ' ' value } ] ']' | '[' item { ' ' item } ']'
//! ```
//! With such a string the client names no To tag of its own accord: one counts in `delete` and
//! `query` only if the string asks for it.

use super::request::{Command, Refusal, Request};
use crate::wire::bencode::{DEPTH_MAX, Dictionary, VALUES_MAX, Value};

/// Which Via the module shall take the branch from. It does so by its function's argument; here
/// nobody sees the message.
const VIAS: [&str; 9] = [
    "1",
    "2",
    "auto",
    "extra",
    "next",
    "auto-next",
    "next-auto",
    "auto-extra",
    "extra-auto",
];

/// Keys whose value is a list; where a word stands there it is a member.
const LISTS: [&str; 6] = ["replace", "rtcp-mux", "SDES", "OSRTP", "flags", "supports"];

/// One item: a flag has no value.
type Item = (String, Option<Value>);

/// Reads a string. What is not closed ends with it.
fn parse(text: &str) -> Vec<Item> {
    let mut reader = Reader {
        rest: text,
        left: VALUES_MAX,
    };
    let mut items = Vec::new();
    while let Some(item) = reader.item(0) {
        items.push(item);
    }
    items
}

struct Reader<'a> {
    rest: &'a str,
    /// How many more values there may be.
    left: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, what: char) {
        self.rest = self.rest.trim_start_matches(what);
    }

    /// Up to one of `ends`.
    fn word(&mut self, ends: &[char]) -> &'a str {
        let at = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(at);
        self.rest = rest;
        word
    }

    fn takes(&mut self, what: char) -> bool {
        let rest = self.rest.strip_prefix(what);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// At depth zero a `]` is a sign like any other.
    fn item(&mut self, depth: usize) -> Option<Item> {
        self.skip(' ');
        self.left = self.left.checked_sub(1)?;
        let key = match depth {
            0 => self.word(&[' ', '=']),
            _ => self.word(&[' ', '=', ']']),
        };
        let valued = self.takes('=');
        if key.is_empty() && !valued {
            return None;
        }
        let value = match valued {
            true => self.value(depth),
            false => None,
        };
        Some((key.to_owned(), value))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        if depth < DEPTH_MAX && self.takes('[') {
            return Some(self.members(depth + 1));
        }
        let word = match depth {
            0 => self.word(&[' ']),
            _ => self.word(&[' ', ']']),
        };
        (!word.is_empty()).then(|| word.into())
    }

    /// A list, or a dictionary if its first member is a key.
    fn members(&mut self, depth: usize) -> Value {
        self.skip(' ');
        let first = self.rest.find(['=', ' ', ']', '[']);
        let keyed = first.is_some_and(|at| self.rest[at..].starts_with('='));
        let (mut list, mut dictionary) = (Vec::new(), Dictionary::new());
        while !self.rest.is_empty() && self.left > 0 {
            self.skip(' ');
            if self.takes(']') {
                break;
            }
            if keyed {
                if let Some((key, value)) = self.item(depth) {
                    dictionary.add(key, value.unwrap_or(Value::Bytes(Vec::new())));
                }
            } else if let Some(value) = self.value(depth) {
                list.push(value);
            } else {
                break;
            }
        }
        match keyed {
            true => dictionary.into(),
            false => list.into(),
        }
    }
}

/// The transport protocol that single words add up to.
#[derive(Default)]
struct Transport {
    named: bool,
    secure: bool,
    feedback: bool,
    dtls: bool,
}

impl Transport {
    /// Whether a flag is part of it.
    fn takes(&mut self, flag: &str) -> bool {
        let whole = |secure, feedback, dtls| Self {
            named: true,
            secure,
            feedback,
            dtls,
        };
        match flag {
            "RTP" => (self.secure, self.dtls) = (false, false),
            "AVP" => self.feedback = false,
            "SRTP" => self.secure = true,
            "AVPF" => self.feedback = true,
            "DTLS" => self.dtls = true,
            "RTP/AVP" => *self = whole(false, false, false),
            "RTP/AVPF" => *self = whole(false, true, false),
            "RTP/SAVP" => *self = whole(true, false, false),
            "RTP/SAVPF" => *self = whole(true, true, false),
            "UDP/TLS/RTP/SAVP" => *self = whole(true, false, true),
            "UDP/TLS/RTP/SAVPF" => *self = whole(true, true, true),
            _ => return false,
        }
        self.named = true;
        true
    }

    fn name(&self) -> &'static str {
        match (self.dtls, self.secure, self.feedback) {
            (false, false, false) => "RTP/AVP",
            (false, false, true) => "RTP/AVPF",
            (false, true, false) => "RTP/SAVP",
            (false, true, true) => "RTP/SAVPF",
            (true, _, false) => "UDP/TLS/RTP/SAVP",
            (true, _, true) => "UDP/TLS/RTP/SAVPF",
        }
    }
}

impl Request {
    /// Takes the flags of a string, which count more than what the dictionary says beside it.
    pub(super) fn on_rtpp_flags(&mut self, text: &str) -> Result<(), Refusal> {
        let (mut transport, mut interfaces) = (Transport::default(), Vec::new());
        let mut asks_for_to_tag = false;
        for (key, value) in parse(text) {
            let Some(value) = value else {
                match &*key {
                    "to-tag" | "to_tag" => asks_for_to_tag = true,
                    "internal" | "external" => interfaces.push(Value::from(&*key)),
                    flag if transport.takes(flag) => {}
                    flag => self.options.on_flag(flag),
                }
                continue;
            };
            match &*key.replace('_', "-") {
                "call-id" | "from-tag" | "to-tag" => {
                    asks_for_to_tag |= key.starts_with("to");
                    self.rename(&key.replace('_', "-"), &value)?;
                }
                "via-branch" => self.on_via_branch(&value)?,
                "direction" if value.as_bytes().is_some() => interfaces.push(value),
                "rtpp-flags" | "command" | "sdp" => {
                    self.options.note(format!("unknown flag \"{key}\""));
                }
                key => self.on_item(key, value)?,
            }
        }
        if transport.named {
            self.on_key("transport-protocol", &transport.name().into())?;
        }
        if !interfaces.is_empty() {
            self.on_key("direction", &interfaces.into())?;
        }
        // With a string the module does not say where the message came from.
        if self.options.sip_source && self.options.received_from.is_none() {
            let text = "SIP-source-address does nothing without received-from=";
            self.options.note(text.to_owned());
        }
        if !asks_for_to_tag && matches!(self.command, Command::Delete | Command::Query) {
            self.to_tag = Box::default();
        }
        Ok(())
    }

    /// `key=value`: an option that is also a flag when it stands with a hyphen, or a key.
    fn on_item(&mut self, key: &str, value: Value) -> Result<(), Refusal> {
        let word = value.as_bytes().map(String::from_utf8_lossy);
        let list = key
            .strip_prefix("codec-")
            .filter(|l| super::codecs::List::of(l).is_some());
        match (word, list) {
            (Some(word), Some(list)) => self.options.on_flag(&format!("codec-{list}-{word}")),
            (Some(word), None) if key == "transcode" => {
                self.options.on_flag(&format!("transcode-{word}"));
            }
            (Some(_), None) if LISTS.contains(&key) => {
                self.on_key(key, &vec![value].into())?;
            }
            _ => self.on_key(key, &value)?,
        }
        Ok(())
    }

    fn rename(&mut self, key: &str, value: &Value) -> Result<(), Refusal> {
        let place = match key {
            "call-id" => &mut self.call_id,
            "from-tag" => &mut self.from_tag,
            _ => &mut self.to_tag,
        };
        *place = Box::default();
        self.on_key(key, value)
    }

    fn on_via_branch(&mut self, value: &Value) -> Result<(), Refusal> {
        let word = value.as_bytes().map(String::from_utf8_lossy);
        let word = word.unwrap_or_default();
        if !VIAS.contains(&&*word) {
            self.via_branch = Box::default();
            return self.on_key("via-branch", value);
        }
        if self.via_branch.is_empty() {
            let text = format!("via-branch={word} among flags: give it as an argument of its own");
            self.options.note(text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ng::flags::{Family, IceWish, Options};
    use crate::relay::Learning;

    /// A request with its options in a dictionary.
    fn request(command: &str, keys: &[(&str, Value)]) -> Request {
        let mut dictionary = Dictionary::new();
        dictionary
            .add("command", command)
            .add("call-id", "c")
            .add("from-tag", "a")
            .add("to-tag", "b")
            .add("sdp", "v=0");
        for (key, value) in keys {
            dictionary.add(*key, value.clone());
        }
        Request::parse(&dictionary).unwrap()
    }

    fn flags(text: &str) -> Request {
        request("offer", &[("rtpp-flags", text.into())])
    }

    fn list(words: &[&str]) -> Value {
        words
            .iter()
            .map(|w| Value::from(*w))
            .collect::<Vec<_>>()
            .into()
    }

    fn dictionary(entries: &[(&str, Value)]) -> Value {
        let mut out = Dictionary::new();
        for (key, value) in entries {
            out.add(*key, value.clone());
        }
        out.into()
    }

    #[test]
    fn capitals_make_no_difference() {
        let cases = [
            "SIP-source-address received-from=192.0.2.9 ICE=force SDES-no-AES_CM_128_HMAC_SHA1_80",
            "no-rtcp-attribute reject-ICE trickle-ICE OSRTP-accept codec-strip-PCMU label=x",
        ];
        for text in cases {
            let lower = text.replace("SIP-", "sip-").replace("ICE", "ice");
            let lower = lower.replace("SDES-", "sdes-").replace("OSRTP", "osrtp");
            let upper = text.replace("rtcp-attribute", "RTCP-attribute");
            for other in [lower, upper] {
                let (one, other) = (flags(text), flags(&other));
                assert_eq!(one.options, other.options, "{text}");
                assert_eq!(one.options.notes, Vec::<String>::new(), "{text}");
            }
        }
        let named = request(
            "offer",
            &[("Via-Branch", "z".into()), ("ice", "remove".into())],
        );
        assert_eq!(*named.via_branch, *b"z");
        assert_eq!(named.options.ice, IceWish::Remove);
    }

    /// The strings of Kamailio's and rtpengine's documentation, and the keys that the module makes
    /// of them where it reads them itself.
    #[test]
    fn a_string_says_the_same_as_the_keys_of_the_module() {
        let cases: &[(&str, &[(&str, Value)])] = &[
            (
                "replace-origin replace-session-connection strict-source label=callee \
                 OSRTP-accept transport-protocol=RTP/AVP address-family=IP4",
                &[
                    ("replace", list(&["origin", "session-connection"])),
                    ("flags", list(&["strict-source", "OSRTP-accept"])),
                    ("label", "callee".into()),
                    ("transport-protocol", "RTP/AVP".into()),
                    ("address-family", "IP4".into()),
                ],
            ),
            (
                "via-branch=z OSRTP=[accept] \
                 codec=[transcode=[PCMA PCMU] accept=[AMR-WB AMR] strip=[EVS]]",
                &[
                    ("via-branch", "z".into()),
                    ("OSRTP", list(&["accept"])),
                    (
                        "codec",
                        dictionary(&[
                            ("transcode", list(&["PCMA", "PCMU"])),
                            ("accept", list(&["AMR-WB", "AMR"])),
                            ("strip", list(&["EVS"])),
                        ]),
                    ),
                ],
            ),
            (
                "codec-mask=all codec-transcode=PCMU codec-transcode=PCMA",
                &[(
                    "codec",
                    dictionary(&[
                        ("mask", list(&["all"])),
                        ("transcode", list(&["PCMU", "PCMA"])),
                    ]),
                )],
            ),
            (
                "codec-mask=opus codec-accept=opus codec-strip=PCMU transcode=PCMU \
                 codec-strip-G722 transcode-GSM",
                &[(
                    "codec",
                    dictionary(&[
                        ("mask", list(&["opus"])),
                        ("accept", list(&["opus"])),
                        ("strip", list(&["PCMU", "G722"])),
                        ("transcode", list(&["PCMU", "GSM"])),
                    ]),
                )],
            ),
            (
                "SRTP AVPF SDES-off ICE=remove rtcp-mux-demux rtcp-mux=accept",
                &[
                    ("transport-protocol", "RTP/SAVPF".into()),
                    ("SDES", list(&["off"])),
                    ("ICE", "remove".into()),
                    ("rtcp-mux", list(&["demux", "accept"])),
                ],
            ),
            (
                "direction=priv direction=pub trust-address media-address=192.0.2.7",
                &[
                    ("direction", list(&["priv", "pub"])),
                    ("flags", list(&["trust-address"])),
                    ("media-address", "192.0.2.7".into()),
                ],
            ),
            (
                "internal external SIP-source-address received-from=192.0.2.9",
                &[
                    ("direction", list(&["internal", "external"])),
                    ("flags", list(&["SIP-source-address"])),
                    ("received-from", list(&["IP4", "192.0.2.9"])),
                ],
            ),
            (
                "UDP/TLS/RTP/SAVPF asymmetric",
                &[
                    ("transport-protocol", "UDP/TLS/RTP/SAVPF".into()),
                    ("flags", list(&["asymmetric"])),
                ],
            ),
            (
                "media-handover single-codec record-call=on metadata=x",
                &[
                    ("flags", list(&["media-handover", "single-codec"])),
                    ("record-call", "on".into()),
                ],
            ),
        ];
        for (text, keys) in cases {
            let (string, module) = (flags(text), request("offer", keys));
            assert_eq!(string.options, module.options, "{text}");
            assert_eq!(string.label, module.label, "{text}");
            assert_eq!(string.via_branch, module.via_branch, "{text}");
            assert_eq!(string.options.notes, Vec::<String>::new(), "{text}");
        }
        // The comparison above would hold if nothing at all were read.
        let options = flags("asymmetric address-family=IP6 replace-origin").options;
        let read = (
            options.learning,
            options.address_family,
            options.replace_origin,
        );
        assert_eq!(read, (Learning::Never, Some(Family::V6), true));
    }

    #[test]
    fn what_is_unknown_or_not_done_is_named() {
        let notes = |text: &str| flags(text).options.notes;
        assert_eq!(notes("frobnicate"), ["unknown flag \"frobnicate\""]);
        assert_eq!(notes("frobnicate=yes"), ["unknown key \"frobnicate\""]);
        assert_eq!(notes("T.38=decode"), ["T.38 is not done"]);
        assert_eq!(notes("template=mine"), ["template=mine is not done"]);
        assert_eq!(notes("rtpp-flags=x").len(), 1);
        assert_eq!(notes("SIP-source-address").len(), 1);
        // It names a Via, which is not to be seen from here.
        assert_eq!(notes("via-branch=auto-next").len(), 1);
        let branch = [
            ("via-branch", "z".into()),
            ("rtpp-flags", "via-branch=auto".into()),
        ];
        let both = request("offer", &branch);
        assert_eq!(
            (&*both.via_branch, both.options.notes.len()),
            (&b"z"[..], 0)
        );
        assert_eq!(flags("").options, Options::default());
    }

    #[test]
    fn names_in_the_string_count_more() {
        let text = "call-id=other from-tag=x to-tag=y";
        for command in ["offer", "delete"] {
            let request = request(command, &[("rtpp-flags", text.into())]);
            let names = [&request.call_id, &request.from_tag, &request.to_tag];
            assert_eq!(names.map(|n| &**n), [&b"other"[..], b"x", b"y"]);
        }
        // The module sends the To tag in any case; it is meant only where it is asked for.
        let to = |text: &str| request("delete", &[("rtpp_flags", text.into())]).to_tag;
        assert_eq!((&*to("fatal"), &*to("fatal to-tag")), (&b""[..], &b"b"[..]));
        assert_eq!(&*request("delete", &[]).to_tag, b"b");
        let delayed = request("delete", &[("rtpp-flags", "delete-delay=7".into())]);
        assert_eq!(delayed.delete_delay, Some(7));
        let long = "x".repeat(crate::ng::request::NAME_BYTES_MAX + 1);
        let mut dictionary = Dictionary::new();
        dictionary
            .add("command", "query")
            .add("rtpp-flags", &*format!("call-id={long}"));
        assert!(Request::parse(&dictionary).is_err());
    }

    #[test]
    fn lists_and_dictionaries_nest() {
        let value = |text: &str| parse(&format!("k={text}")).remove(0).1.unwrap();
        assert_eq!(value("word"), "word".into());
        assert_eq!(value("[]"), list(&[]));
        assert_eq!(value("[ a  b ]"), list(&["a", "b"]));
        assert_eq!(
            value("[[a b] [c]]"),
            vec![list(&["a", "b"]), list(&["c"])].into()
        );
        assert_eq!(
            value("[a=[b=c d=[e f]] g=h]"),
            dictionary(&[
                (
                    "a",
                    dictionary(&[("b", "c".into()), ("d", list(&["e", "f"]))])
                ),
                ("g", "h".into()),
            ])
        );
        let items = parse("a=[b c] d e=f");
        let keys: Vec<_> = items.iter().map(|(key, _)| &**key).collect();
        assert_eq!(keys, ["a", "d", "e"]);
    }

    #[test]
    fn nothing_makes_it_fail_or_go_on_for_ever() {
        let mut rng = crate::base::Rng::from_u64(5);
        for round in 0..20_000 {
            let length = rng.below(40);
            let sign = |_| ['[', ']', '=', ' ', 'a', '-', 'é'][rng.below(7) as usize];
            let text: String = (0..length).map(sign).collect();
            let request = flags(&text);
            assert!(
                request.options.notes.len() <= crate::ng::flags::NOTES_MAX,
                "{round} {text}"
            );
        }
        for text in [
            "[".repeat(5000),
            "a=".to_owned() + &"[".repeat(5000),
            "a ".repeat(50_000),
        ] {
            flags(&text);
        }
        assert!(parse(&"a ".repeat(50_000)).len() <= VALUES_MAX);
    }
}
