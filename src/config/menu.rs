//! What the file says about callers who are answered by a voice: menus, opening hours, queues,
//! double dialling.

use super::Line;
use std::fmt;
use std::time::Duration;

/// Menus, and queues.
pub const MENUS_MAX: usize = 1_000;
/// Prompts of one greeting.
pub const GREETINGS_MAX: usize = 8;
/// Keys of a telephone (RFC 4733 §3.2).
pub const KEYS: &str = "0123456789*#ABCD";

/// `[[menu]]`: an auto-attendant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Menu {
    /// Its name in targets and actions.
    pub name: Box<str>,
    /// The line of the file.
    pub line: Line,
    /// The numbers that it answers.
    pub numbers: Vec<Box<str>>,
    /// Prompts, of the catalogue or of the site, one after the other.
    pub greeting: Vec<Box<str>>,
    /// What each key does, in the order of [`KEYS`].
    pub keys: Vec<(char, Action)>,
    /// Whether the extension of a user or the number of a group can be dialled.
    pub extensions: bool,
    /// How long the next digit of an extension is waited for.
    pub digit: Duration,
    /// How long the first key is waited for.
    pub timeout: Duration,
    /// How long phones of an extension ring whose user did not say.
    pub ring: Duration,
    /// How often the caller may try again.
    pub retries: u8,
    /// What happens after the last try.
    pub then: Action,
    /// Whether a key cuts the greeting short.
    pub barge_in: bool,
    /// When it is open; always without.
    pub opening: Option<Opening>,
    /// What happens while it is not.
    pub closed: Action,
}

impl Default for Menu {
    fn default() -> Self {
        Self {
            name: "".into(),
            line: Line::default(),
            numbers: Vec::new(),
            greeting: Vec::new(),
            keys: Vec::new(),
            extensions: false,
            digit: Duration::from_millis(2500),
            timeout: Duration::from_secs(5),
            ring: Duration::from_secs(30),
            retries: 2,
            then: Action::HangUp,
            barge_in: true,
            opening: None,
            closed: Action::Say("menu-closed".into()),
        }
    }
}

/// The prompt that an action says.
fn said(action: &Action) -> Option<&str> {
    match action {
        Action::Say(prompt) => Some(prompt),
        Action::Extension(_)
        | Action::Group(_)
        | Action::Menu(_)
        | Action::Voicemail(_)
        | Action::Queue(_)
        | Action::Route(_)
        | Action::Directory
        | Action::Back
        | Action::Repeat
        | Action::HangUp => None,
    }
}

impl Queue {
    /// The prompts that it names.
    pub fn prompts(&self) -> impl Iterator<Item = &str> {
        let greeting = self.greeting.iter().map(|name| &**name);
        greeting.chain(said(&self.overflow))
    }
}

impl Menu {
    /// The prompts that it names.
    pub fn prompts(&self) -> impl Iterator<Item = &str> {
        let greeting = self.greeting.iter().map(|name| &**name);
        let keys = self.keys.iter().map(|(_, action)| action);
        let actions = keys.chain([&self.then, &self.closed]);
        greeting.chain(actions.filter_map(said))
    }

    /// What a key does.
    pub fn action(&self, key: char) -> Option<&Action> {
        let mut keys = self.keys.iter();
        keys.find(|(k, _)| *k == key).map(|(_, action)| action)
    }
}

/// What becomes of a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// `extension:201`: that user is called.
    Extension(Box<str>),
    /// `group:sales`: that group is called.
    Group(Box<str>),
    /// `menu:sales`
    Menu(Box<str>),
    /// `voicemail:201`: a message for that user.
    Voicemail(Box<str>),
    /// `queue:support`
    Queue(Box<str>),
    /// `route:+34915550100`: that number is called as the number plan says.
    Route(Box<str>),
    /// `say:menu-closed`: says this, and hangs up.
    Say(Box<str>),
    /// The directory by name.
    Directory,
    /// The menu before.
    Back,
    /// The same menu again.
    Repeat,
    /// Says goodbye.
    HangUp,
}

impl Action {
    /// Those without a target, by their words.
    pub(super) const WORDS: &'static [(&'static str, Action)] = &[
        ("directory", Action::Directory),
        ("back", Action::Back),
        ("repeat", Action::Repeat),
        ("hangup", Action::HangUp),
    ];
    /// Those with a target.
    pub(super) const KINDS: &'static [&'static str] = &[
        "extension",
        "group",
        "menu",
        "voicemail",
        "queue",
        "route",
        "say",
    ];
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Extension(user) => write!(f, "extension:{user}"),
            Action::Group(name) => write!(f, "group:{name}"),
            Action::Menu(name) => write!(f, "menu:{name}"),
            Action::Voicemail(user) => write!(f, "voicemail:{user}"),
            Action::Queue(name) => write!(f, "queue:{name}"),
            Action::Route(number) => write!(f, "route:{number}"),
            Action::Say(prompt) => write!(f, "say:{prompt}"),
            Action::Directory => f.write_str("directory"),
            Action::Back => f.write_str("back"),
            Action::Repeat => f.write_str("repeat"),
            Action::HangUp => f.write_str("hangup"),
        }
    }
}

/// When somebody is there: `open`, `holidays`, `timezone`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opening {
    /// Days of the week, Monday first, and minutes of the day, from and to; an interval that ends
    /// before it begins passes midnight and belongs to the day on which it began. All of the week
    /// where there are none.
    pub periods: Vec<Period>,
    /// Days on which nobody is there.
    pub holidays: Vec<Holiday>,
    /// IANA; that of `[numbers]` where it is empty.
    pub timezone: Box<str>,
}

/// `mon-fri 9:00-14:00,16:00-19:00`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Period {
    /// Monday first.
    pub days: [bool; 7],
    /// From and to; the whole day where there are none.
    pub minutes: Vec<(u16, u16)>,
}

/// `2026-12-25`, or `12-25` of every year.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holiday {
    /// Every one without.
    pub year: Option<i16>,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
}

impl fmt::Display for Holiday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(year) = self.year {
            write!(f, "{year:04}-")?;
        }
        write!(f, "{:02}-{:02}", self.month, self.day)
    }
}

/// `[[queue]]`: callers who wait for the next agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queue {
    /// Its name in targets and actions.
    pub name: Box<str>,
    /// The line of the file.
    pub line: Line,
    /// The numbers that it answers.
    pub numbers: Vec<Box<str>>,
    /// Prompts before the wait.
    pub greeting: Vec<Box<str>>,
    /// Users who are always its agents.
    pub agents: Vec<Box<str>>,
    /// Users who may become agents and leave again by code; `*`: any of ours.
    pub logins: Vec<Box<str>>,
    /// Who gets the next caller.
    pub strategy: QueueStrategy,
    /// How long an agent's phone rings.
    pub ring: Duration,
    /// How long an agent is left alone after a call.
    pub wrap_up: Duration,
    /// How often callers hear their place; never if it is zero.
    pub announce: Duration,
    /// How long a caller waits; for ever if it is zero.
    pub wait_max: Duration,
    /// How many wait.
    pub calls_max: u32,
    /// What becomes of those who wait too long, are too many, or find no agent logged in.
    pub overflow: Action,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            name: "".into(),
            line: Line::default(),
            numbers: Vec::new(),
            greeting: Vec::new(),
            agents: Vec::new(),
            logins: Vec::new(),
            strategy: QueueStrategy::RingAll,
            ring: Duration::from_secs(15),
            wrap_up: Duration::from_secs(10),
            announce: Duration::from_secs(45),
            wait_max: Duration::from_secs(600),
            calls_max: 50,
            overflow: Action::HangUp,
        }
    }
}

/// Who gets the next caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueStrategy {
    /// All who are free, together.
    RingAll,
    /// Who has been free longest.
    LongestIdle,
    /// Behind who was first last time.
    RoundRobin,
    /// Who has answered fewest.
    FewestCalls,
}

/// `[disa]`: double dialling. Off until somebody is let in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Disa {
    /// The numbers that it answers, beside the code of phones.
    pub numbers: Vec<Box<str>>,
    /// What lets a caller in; nobody without, save those who are trusted.
    pub pin: Pin,
    /// The user on whose account is called.
    pub user: Box<str>,
    /// Users who need no PIN.
    pub trusted: Vec<Box<str>>,
    /// Whoever calls from one of these numbers is called back there.
    pub call_back: Vec<Box<str>>,
}

impl Disa {
    /// Whether anybody is let in.
    pub fn is_on(&self) -> bool {
        !self.user.is_empty() && (!self.pin.is_empty() || !self.trusted.is_empty())
    }

    /// Whether a user, `name@domain`, needs no PIN; `domain` is of those who are named without.
    pub fn trusts(&self, aor: &str, domain: &str) -> bool {
        let (name, host) = aor.rsplit_once('@').unwrap_or((aor, domain));
        let mut trusted = self.trusted.iter();
        trusted.any(|user| **user == *aor || **user == *name && host == domain)
    }
}

/// Digits that nobody else should know.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pin(pub Box<str>);

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(..)")
    }
}

impl std::ops::Deref for Pin {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}
