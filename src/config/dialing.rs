//! What the file says about calls that leave the registrar: numbers, routes, trunks, pools, groups.

use super::{IpNet, RingBack, Service, ServiceRoute};
use std::path::PathBuf;
use std::time::Duration;

/// Most digits of a number in E.164 (ITU-T E.164 §6.1).
const E164_DIGITS_MAX: usize = 15;
/// Routes of one plan.
pub const ROUTES_MAX: usize = 100_000;
/// Trunks, pools and groups, of each kind.
pub const PEERS_MAX: usize = 1_000;
/// Members of one pool or group.
pub const MEMBERS_MAX: usize = 1_000;
/// Steps of one route, and targets of one step.
pub const STEPS_MAX: usize = 16;
/// Entries of the other lists of one route: sources, intervals, dates, headers, failures.
pub const CONDITIONS_MAX: usize = 100;

/// `[numbers]`: how people here write numbers (ITU-T E.164).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// The country code, `34`. Numbers are left as they are dialled without.
    pub country: Box<str>,
    /// The area code that a local number lacks, `91`; empty where local numbers are complete.
    pub area: Box<str>,
    /// What is dialled before a number of another country, `00`.
    pub international: Box<str>,
    /// What is dialled before a national number, `0`; empty where nothing is.
    pub national: Box<str>,
    /// How many digits a national number has without its prefix, least and most.
    pub national_digits: (u8, u8),
    /// How many digits a local number has, least and most; zero where local numbers do not exist.
    pub local_digits: (u8, u8),
    /// Patterns of numbers that cost the caller more, as dialled or in E.164.
    pub premium: Vec<Box<str>>,
    /// Numbers that always pass as they are, `112`.
    pub emergency: Vec<Box<str>>,
    /// The time zone of what names none (IANA), `Europe/Madrid`: routes, menus, what is said and
    /// written of days and hours. Empty in a file that names none, until
    /// [`Config::with_timezone`](super::Config::with_timezone), and then UTC's.
    pub timezone: Box<str>,
}

impl Numbers {
    /// Whether a number always passes as it is.
    pub fn is_emergency(&self, number: &str) -> bool {
        self.emergency.iter().any(|n| **n == *number)
    }

    /// A number as it is dialled here, in E.164 without the plus; `None` where it cannot be known:
    /// short numbers, names, emergency numbers.
    pub fn e164(&self, number: &str) -> Option<Box<str>> {
        if let Some(digits) = number.strip_prefix('+') {
            return e164(digits);
        }
        if self.is_emergency(number) || !is_digits(number) {
            return None;
        }
        if !self.international.is_empty()
            && let Some(digits) = number.strip_prefix(&*self.international)
        {
            return e164(digits);
        }
        if self.country.is_empty() {
            return None;
        }
        let within = |digits: &str, (least, most): (u8, u8)| {
            most > 0 && (usize::from(least)..=usize::from(most)).contains(&digits.len())
        };
        if let Some(digits) = number.strip_prefix(&*self.national)
            && within(digits, self.national_digits)
        {
            return e164(&format!("{}{digits}", self.country));
        }
        if within(number, self.local_digits) {
            return e164(&format!("{}{}{number}", self.country, self.area));
        }
        None
    }

    /// Whether both are one number, in whatever forms.
    pub(super) fn same(&self, one: &str, other: &str) -> bool {
        let whole = self.e164(one);
        one == other || whole.is_some() && whole == self.e164(other)
    }

    /// The emergency number that a number is but for what stands before: a country code, a prefix.
    pub(super) fn emergency_within<'n>(&self, number: &'n str) -> Option<&'n str> {
        let rests = [number.strip_prefix('+'), Some(number)];
        let rests = rests.into_iter().flatten().flat_map(|digits| {
            let abroad = digits.strip_prefix(&*self.international);
            let abroad = abroad.unwrap_or(digits);
            let home = abroad.strip_prefix(&*self.country).unwrap_or(abroad);
            let national = home.strip_prefix(&*self.national).unwrap_or(home);
            [digits, abroad, home, national]
        });
        rests.into_iter().find(|rest| self.is_emergency(rest))
    }
}

/// A number of E.164: 1 to 15 digits, the first of which is no zero (no country code begins so).
pub fn e164(digits: &str) -> Option<Box<str>> {
    let fits = (1..=E164_DIGITS_MAX).contains(&digits.len());
    let valid = fits && is_digits(digits) && !digits.starts_with('0');
    valid.then(|| digits.into())
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

impl Default for Numbers {
    /// Without a country, what is dialled with `+` or `00` counts as another country's: refused
    /// until a route allows it, so that no default lets anybody call there.
    fn default() -> Self {
        Self {
            country: "".into(),
            area: "".into(),
            international: "00".into(),
            national: "".into(),
            national_digits: (0, 0),
            local_digits: (0, 0),
            premium: Vec::new(),
            emergency: Vec::new(),
            timezone: "".into(),
        }
    }
}

/// `[[route]]`: the first that matches decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// For `voipctl route test` and the log; `route-N` by its place where the file names none.
    pub name: Box<str>,
    /// The line of the file, for the same.
    pub line: Line,
    /// What is dialled.
    pub matches: Match,
    /// Who calls: any of these. Where there are none: anybody, if the route leads inside; our users
    /// and pools alone if it leads outside ([`Route::leads_outside`]), since no default lets a
    /// stranger or a trunk call out.
    pub from: Vec<Source>,
    /// Which methods; INVITE, MESSAGE and SUBSCRIBE alike where there are none.
    pub methods: Vec<Box<str>>,
    /// When; always where there is none.
    pub hours: Option<Hours>,
    /// Digits taken off the front.
    pub strip: u8,
    /// Digits put in front, after that.
    pub prefix: Box<str>,
    /// The number instead; `$1` to `$9` are what the parentheses of a regex matched.
    pub replace: Option<Box<str>>,
    /// The caller's number instead of its own; `$` is its own one, `+34$` puts digits before it.
    pub caller_id: Option<Box<str>>,
    /// The caller's name instead of its own.
    pub caller_name: Option<Box<str>>,
    /// Whether the caller's number is withheld (RFC 3323 `Privacy: id`, RFC 3325 §9.3).
    pub anonymous: bool,
    /// Headers added to what leaves, `("X-Site", "hq")`.
    pub add_headers: Vec<(Box<str>, Box<str>)>,
    /// Headers taken out of what leaves.
    pub remove_headers: Vec<Box<str>>,
    /// The ways out, tried in order; the targets of one step ring together.
    pub to: Vec<Vec<Target>>,
    /// How long each step may ring; the last one is left to the callee and Timer C.
    pub ring: Duration,
    /// Which failures let the next step begin.
    pub next_on: Vec<FailureKind>,
    /// Whether the caller is sent there by a 302 instead (RFC 3261 §8.3).
    pub redirect: bool,
    /// Whether its calls are recorded.
    pub record: bool,
    /// What the callers of this route may call beyond the ordinary.
    pub allow: Vec<Class>,
    /// The answer, where the route refuses instead of leading somewhere (`refuse = 403`).
    pub refuse: Option<u16>,
}

/// A line of the file. Where something stands makes no difference to what it is: two are equal
/// whatever the line, so that a comment more is no change of the configuration.
#[derive(Clone, Copy, Eq, Debug, Default)]
pub struct Line(pub usize);

impl PartialEq for Line {
    fn eq(&self, _: &Line) -> bool {
        true
    }
}

impl Route {
    /// Whether a way of it leaves the house.
    pub fn leads_outside(&self) -> bool {
        self.to.iter().flatten().any(Target::is_outside)
    }
}

/// What a route's dialled number must look like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Match {
    /// `X` 0-9, `Z` 1-9, `N` 2-9, `[1-5]`, `.` one or more of anything, `!` anything, also nothing.
    Digits(Box<str>),
    /// A regular expression over the whole number.
    Regex(Box<str>),
}

/// Where a call comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// `user:100`, or `user:100@example.com`; `user:*` is any of ours.
    User(Box<str>),
    /// `group:sales`: a user who is a member of it.
    Group(Box<str>),
    /// `trunk:itsp`
    Trunk(Box<str>),
    /// `pool:asterisk`
    Pool(Box<str>),
    /// `address:192.0.2.0/24`
    Address(IpNet),
}

/// `days = "mon-fri"`, `hours = "09:00-18:00"`, `timezone = "Europe/Madrid"`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hours {
    /// Monday first.
    pub days: [bool; 7],
    /// Minutes of the day, from and to; an interval that ends before it begins passes midnight, and
    /// belongs to the day on which it began.
    pub minutes: Vec<(u16, u16)>,
    /// IANA; that of `[numbers]` where it is empty.
    pub timezone: Box<str>,
    /// Dates on which it does not hold, or alone holds: `not_dates`, `dates`, as `YYYY-MM-DD`.
    pub dates: Vec<(i16, u8, u8)>,
    /// See `dates`.
    pub not_dates: Vec<(i16, u8, u8)>,
}

/// One way out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// `user:100`; `user:*` is the user of the number as it was edited.
    User(Box<str>),
    /// `group:sales`
    Group(Box<str>),
    /// `conference:board`
    Conference(Box<str>),
    /// `trunk:itsp`
    Trunk(Box<str>),
    /// `pool:asterisk`
    Pool(Box<str>),
    /// `service:voicemail`
    Service(Service),
    /// `menu:main`
    Menu(Box<str>),
    /// `queue:support`
    Queue(Box<str>),
    /// `e1:pstn`
    Line(Box<str>),
    /// `number:200`: looked up in the plan again.
    Number(Box<str>),
    /// `sip:gate.example.net`; the number is put before an `@` where it names no user.
    Uri(Box<str>),
}

impl Target {
    /// Whether it leaves the house. What `number:` leads to is judged where it leads.
    pub fn is_outside(&self) -> bool {
        match self {
            Target::Trunk(_) | Target::Pool(_) | Target::Line(_) | Target::Uri(_) => true,
            Target::User(_)
            | Target::Group(_)
            | Target::Conference(_)
            | Target::Service(_)
            | Target::Menu(_)
            | Target::Queue(_)
            | Target::Number(_) => false,
        }
    }
}

/// What lets the next step begin where a route does not say: nothing was heard or it rang too long
/// (also as 408, from a proxy behind), the way there broke (430, RFC 5626 §11.6), or the system
/// there failed. Not 480, 486, 603 and the like: those are the callee's own words (RFC 3261
/// §21.4.18), and another way to the same callee would not change them.
pub const NEXT_ON: &[FailureKind] = &[
    FailureKind::Timeout,
    FailureKind::Status(408),
    FailureKind::Status(430),
    FailureKind::Class(5),
];

/// What went wrong with a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureKind {
    /// It rang too long, or nothing was heard at all.
    Timeout,
    /// A status, `404`.
    Status(u16),
    /// A class, `5xx`.
    Class(u8),
}

/// What is dialled, as far as it matters for who may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Another country.
    International,
    /// Costs more than a call.
    Premium,
}

/// `[[trunk]]`: another system to which we are a client, a peer, or both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trunk {
    /// Its name in targets and listings.
    pub name: Box<str>,
    /// Where calls go: a `sip:` or `sips:` URI without user (RFC 3263 finds the hosts).
    pub uri: Box<str>,
    /// A proxy that everything goes through first.
    pub outbound_proxy: Option<ServiceRoute>,
    /// The account there: the user of From and Contact, and of digest.
    pub username: Option<Box<str>>,
    /// The user of digest where it is another.
    pub auth_username: Option<Box<str>>,
    /// Holds the password.
    pub password_file: Option<PathBuf>,
    /// The domain of From and of the registration; the host of `uri` where it is not named.
    pub domain: Option<Box<str>>,
    /// Whether we register there.
    pub register: bool,
    /// Seconds that a registration is asked for.
    pub expires_s: u32,
    /// Addresses that its calls come from; those of `uri` count in any case.
    pub addresses: Vec<IpNet>,
    /// The SIP domain that its certificate proves when it connects to us by TLS (RFC 5922 §7.1), in
    /// lower case.
    pub certificate_name: Option<Box<str>>,
    /// Calls at a time, both directions; zero: no limit.
    pub calls_max: u32,
    /// New calls a second; zero: no limit.
    pub calls_per_second: u32,
    /// Seconds between OPTIONS; zero: it counts as up.
    pub probe_s: u32,
    /// How it writes numbers.
    pub numbers: NumberFormat,
    /// Where it wants the caller's number.
    pub identity: Identity,
    /// What its callers hear while somebody here is rung.
    pub ring_back: Option<RingBack>,
    /// Who transfers its calls.
    pub transfer: Transfer,
    /// Whether what is inside stays inside: Via, Record-Route, Contact, Call-ID.
    pub hide_topology: bool,
    /// Headers added to what leaves.
    pub add_headers: Vec<(Box<str>, Box<str>)>,
    /// Headers taken out of what leaves.
    pub remove_headers: Vec<Box<str>>,
}

/// How a trunk writes numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberFormat {
    /// As the route made them.
    AsIs,
    /// `+34915550100`
    Plus,
    /// `34915550100`
    Digits,
    /// `0034915550100`, `915550100` within the country.
    National,
}

/// Who transfers a trunk's calls, when a phone here asks for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// The far end, by the REFER that it gets.
    Refer,
    /// We do: its calls go through a bridge from their beginning.
    Bridge,
}

/// Where a trunk wants the caller's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// In From.
    From,
    /// In P-Asserted-Identity (RFC 3325), From being the account.
    Asserted,
    /// In Remote-Party-ID, From being the account.
    RemoteParty,
    /// In P-Preferred-Identity (RFC 3325), From being the account.
    Preferred,
}

/// `[[pool]]`: media servers or gateways that do the same work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Its name in targets and listings.
    pub name: Box<str>,
    /// Who gets the next call.
    pub algorithm: Algorithm,
    /// Who is in it.
    pub members: Vec<Member>,
    /// Seconds between OPTIONS; zero: all count as up.
    pub probe_s: u32,
    /// As for a trunk; off by default.
    pub hide_topology: bool,
    /// Whether its members are believed without digest, with the identity that they assert.
    pub trusted: bool,
}

/// One member of a pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// A `sip:` or `sips:` URI without user.
    pub uri: Box<str>,
    /// Its share; zero: only when the others are down.
    pub weight: u16,
    /// Calls at a time; zero: no limit.
    pub calls_max: u32,
}

/// Who of a pool gets the next call; in parentheses the numbers of Kamailio's dispatcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// Hash of Call-ID (0).
    CallId,
    /// Hash of the From URI (1).
    FromUri,
    /// Hash of the To URI (2).
    ToUri,
    /// Hash of the Request-URI (3).
    RequestUri,
    /// One after the other (4).
    RoundRobin,
    /// By weight (9).
    Weight,
    /// The one with fewest calls (10).
    FewestCalls,
}

/// `[[group]]`: users that answer for each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its name in targets and conditions.
    pub name: Box<str>,
    /// The number by which users call it, if they can.
    pub number: Option<Box<str>>,
    /// Users, `100` or `100@example.com`.
    pub members: Vec<Box<str>>,
    /// In which order they ring.
    pub strategy: Strategy,
    /// How long one of them rings before the next.
    pub ring: Duration,
}

/// In which order the members of a group ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// All together.
    All,
    /// As written.
    Ordered,
    /// As written, beginning behind the one who was first last time.
    RoundRobin,
    /// Who has fewest calls first.
    FewestCalls,
}
