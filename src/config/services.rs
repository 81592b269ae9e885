//! `[services]`: what answers calls itself, and the codes that phones dial for it.

use crate::wire::rtp::Coding;
use std::path::PathBuf;

/// One service.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Service {
    /// Says back what it hears.
    Echo,
    /// Asks for a room of `[[conference]]`, and leads there.
    Conference,
    /// Double dialling.
    Disa,
    /// Agents log in at queues and leave them.
    QueueLogin,
    /// Parks calls: of whoever is transferred there.
    Park,
    /// Takes messages, and lets them be heard.
    Voicemail,
}

impl Service {
    /// All of them.
    pub const ALL: &'static [Service] = &[
        Service::Echo,
        Service::Conference,
        Service::Disa,
        Service::QueueLogin,
        Service::Park,
        Service::Voicemail,
    ];

    /// As the file writes it: the key of its code, and `service:echo` in a route.
    pub const fn name(self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Conference => "conference",
            Service::Disa => "disa",
            Service::QueueLogin => "queue_login",
            Service::Park => "park",
            Service::Voicemail => "voicemail",
        }
    }

    /// The service of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name() == name)
    }

    /// What phones dial for it if the file says nothing else.
    pub const fn default_code(self) -> &'static str {
        match self {
            Service::Echo => "*130",
            Service::Conference => "*125",
            Service::Disa => "*128",
            Service::QueueLogin => "*45",
            Service::Park => "*70",
            Service::Voicemail => "*123",
        }
    }
}

/// Who hears why a call fails. Strangers never do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announcements {
    /// The status alone says so.
    Nobody,
    /// Our users.
    Users,
    /// Also who calls by a trunk, a pool or a trusted peer, as another branch does.
    All,
}

impl Announcements {
    /// What stands in the file for all of them; the others are `false` and `true`.
    pub const ALL: &'static str = "all";
}

impl std::fmt::Display for Announcements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Announcements::Nobody => f.write_str("false"),
            Announcements::Users => f.write_str("true"),
            Announcements::All => write!(f, "\"{}\"", Self::ALL),
        }
    }
}

/// What is served by voice. A service without a code is reached by routes alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Services {
    /// Who hears why calls fail.
    pub announcements: Announcements,
    /// Whether phones without a common codec are brought together.
    pub transcoding: bool,
    /// The site's own prompts and music.
    pub prompts: Option<PathBuf>,
    /// The library that writes and reads G.729 (`src/media/codec/voip_codec.h`).
    pub g729_plugin: Option<PathBuf>,
    codes: Vec<(Service, Box<str>)>,
}

impl Default for Services {
    fn default() -> Self {
        let all = Service::ALL.iter();
        Self {
            announcements: Announcements::Nobody,
            transcoding: true,
            prompts: None,
            g729_plugin: None,
            codes: all.map(|s| (*s, s.default_code().into())).collect(),
        }
    }
}

impl Services {
    /// What calls that end here may be written in.
    pub fn codings(&self) -> &'static [Coding] {
        Coding::usable(self.g729_plugin.is_some())
    }

    /// The service that a dialled number is the code of.
    pub fn dialled(&self, number: &str) -> Option<Service> {
        let mut codes = self.codes.iter();
        codes.find(|(_, code)| **code == *number).map(|(s, _)| *s)
    }

    /// The code of a service; empty if it has none.
    pub fn code(&self, service: Service) -> &str {
        let mut codes = self.codes.iter();
        codes.find(|(s, _)| *s == service).map_or("", |(_, c)| c)
    }

    /// Gives a service another code, or takes it away.
    pub(super) fn set(&mut self, service: Service, code: &str) {
        self.codes.retain(|(s, _)| *s != service);
        if !code.is_empty() {
            self.codes.push((service, code.into()));
        }
    }
}
