//! `[recording]`: whose calls are kept as sound.

use super::parse::File;
use super::print::{list, plain, text};
use super::{Config, Group};
use std::fmt::{self, Formatter};

pub(super) const RECORDING: &[&str] = &["users", "on_demand", "keys", "notice", "max_s"];

/// Keys in a row that begin and end a recording.
const KEYS: std::ops::RangeInclusive<usize> = 2..=4;
/// The longest recording, as long as media write one file.
const LENGTH_S_MAX: u64 = 7200;

/// `[recording]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    /// The users all of whose calls are recorded: `100` or `100@example.com`, or `*` for all.
    pub users: Vec<Box<str>>,
    /// Those who may record a call by keys, in the midst of it.
    pub on_demand: Vec<Box<str>>,
    /// The keys that begin that, and end it.
    pub keys: Box<str>,
    /// Whether both are told before they talk, or when it begins.
    pub notice: bool,
    /// The longest, seconds.
    pub max_s: u32,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            on_demand: Vec::new(),
            keys: "*1".into(),
            notice: true,
            max_s: LENGTH_S_MAX as u32,
        }
    }
}

/// How a call is recorded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Recorded {
    /// By keys, if one of the two wants that.
    OnDemand,
    /// From its beginning.
    Always,
}

impl Recorded {
    /// The word in the URI of the bridge.
    pub const fn as_str(self) -> &'static str {
        match self {
            Recorded::OnDemand => "keys",
            Recorded::Always => "all",
        }
    }

    /// What [`Recorded::as_str`] wrote.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Recorded::OnDemand, Recorded::Always];
        all.into_iter().find(|way| way.as_str() == word)
    }
}

impl Config {
    /// Whether any call may be recorded.
    pub fn records(&self) -> bool {
        let recording = &self.recording;
        !recording.users.is_empty()
            || !recording.on_demand.is_empty()
            || self.routes.iter().any(|route| route.record)
    }

    /// How calls of a user, `name@domain`, are recorded.
    pub fn recorded(&self, aor: &str) -> Option<Recorded> {
        let named = |users: &[Box<str>]| {
            let mut users = users.iter();
            users.any(|user| **user == *"*" || *self.whole_user(user) == *aor)
        };
        match () {
            () if named(&self.recording.users) => Some(Recorded::Always),
            () if named(&self.recording.on_demand) => Some(Recorded::OnDemand),
            () => None,
        }
    }
}

impl Config {
    /// How calls to a group are recorded: as those of the member who is recorded most.
    pub fn recorded_group(&self, group: &Group) -> Option<Recorded> {
        let members = group.members.iter();
        let whole = members.map(|member| self.whole_user(member));
        whole.filter_map(|aor| self.recorded(&aor)).max()
    }
}

impl File<'_, '_, '_> {
    pub(super) fn recording(&mut self, config: &Config) -> Recording {
        let section = self.section("recording");
        let mut recording = Recording {
            users: self.users_of(section, "users", (config, true)),
            on_demand: self.users_of(section, "on_demand", (config, true)),
            notice: self.truth(section, "notice", true),
            ..Recording::default()
        };
        if let Some(entry) = section.get("keys")
            && let Some(keys) = self.reader.text(entry)
        {
            let key = |b: u8| b.is_ascii_digit() || b"*#".contains(&b);
            let fits = KEYS.contains(&keys.text.len()) && keys.text.bytes().all(key);
            // Without a star or a hash whoever types a number to a machine would record it.
            if fits && keys.text.contains(['*', '#']) {
                recording.keys = keys.text.into();
            } else {
                let problem = format!("\"{}\" are no keys to record by", keys.text);
                self.note(
                    keys,
                    problem,
                    "write two to four with * or #, such as \"*1\"",
                );
            }
        }
        self.set_u32(
            &mut recording.max_s,
            section.get("max_s"),
            10..=LENGTH_S_MAX,
        );
        recording
    }
}

pub(super) fn print(f: &mut Formatter<'_>, recording: &Recording) -> fmt::Result {
    writeln!(f, "\n[recording]")?;
    list(f, "users", &recording.users)?;
    list(f, "on_demand", &recording.on_demand)?;
    text(f, "keys", &recording.keys)?;
    plain(f, "notice", recording.notice)?;
    plain(f, "max_s", recording.max_s)
}
