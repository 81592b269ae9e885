//! One trunk: what the file says about it, and how it stands.

use super::standing::{Bounds, Problem, Refusal, Standing, State, Ticket};
use crate::base::Instant;
use crate::config;
use crate::sip::digest::ClientCredentials;
use crate::wire::sip::{Host, Uri};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Service-Route values of a registrar that count.
pub const SERVICE_ROUTES_MAX: usize = 8;

/// A password: never shown.
#[derive(Clone)]
pub(super) struct Password(pub Arc<[u8]>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Who we are there.
#[derive(Clone, Debug)]
pub struct Credentials {
    username: Box<str>,
    password: Password,
}

impl Credentials {
    /// A name and its password.
    pub fn new(username: &str, password: Arc<[u8]>) -> Self {
        let username = username.into();
        Self {
            username,
            password: Password(password),
        }
    }

    /// For [`crate::sip::digest::answer`].
    pub fn client(&self) -> ClientCredentials<'_> {
        ClientCredentials {
            username: &self.username,
            password: &self.password.0,
        }
    }
}

/// How far the registration is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// Nobody asks for it.
    Unwanted,
    /// No answer yet.
    Trying,
    /// In force until then.
    Until(Instant),
    /// Refused, or nobody answered; tried again.
    Failed,
}

#[derive(Debug)]
struct Registration {
    registered: Registered,
    since: Instant,
    service_route: Arc<[Box<str>]>,
    path: Arc<[Box<str>]>,
}

/// A trunk; shared by all shards. See the module's text.
#[derive(Debug)]
pub struct Trunk {
    name: Box<str>,
    /// The parameter of our Contact that calls to it bear.
    line: Box<str>,
    config: RwLock<Arc<config::Trunk>>,
    password: RwLock<Option<Password>>,
    registration: RwLock<Registration>,
    standing: Arc<Standing>,
    suspicions: Arc<AtomicU64>,
}

fn read<T: Clone>(lock: &RwLock<T>) -> T {
    lock.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write<T>(lock: &RwLock<T>, value: T) {
    *lock.write().unwrap_or_else(PoisonError::into_inner) = value;
}

impl Trunk {
    pub(super) fn new(
        config: &config::Trunk,
        line: Box<str>,
        password: Option<Password>,
        suspicions: Arc<AtomicU64>,
    ) -> Self {
        let registered = match config.register {
            true => Registered::Trying,
            false => Registered::Unwanted,
        };
        Self {
            name: config.name.clone(),
            line,
            password: RwLock::new(password),
            registration: RwLock::new(Registration {
                registered,
                since: Instant::ZERO,
                service_route: Arc::default(),
                path: Arc::default(),
            }),
            standing: Arc::new(Standing::new(first_state(config.probe_s))),
            config: RwLock::new(Arc::new(config.clone())),
            suspicions,
        }
    }

    /// Takes what the file says now; calls go on.
    pub(super) fn configure(&self, config: &config::Trunk) {
        let old = self.config();
        if *old == *config {
            return;
        }
        let is_elsewhere = old.uri != config.uri || old.outbound_proxy != config.outbound_proxy;
        if is_elsewhere || (old.probe_s == 0) != (config.probe_s == 0) {
            self.standing.reset(first_state(config.probe_s));
        }
        let is_another = is_elsewhere
            || old.username != config.username
            || old.auth_username != config.auth_username
            || old.domain != config.domain;
        match (old.register, config.register) {
            (true, true) if is_another => {
                self.set_registered(Instant::ZERO, Registered::Trying);
                self.set_routes(Vec::new(), Vec::new());
            }
            (false, true) => self.set_registered(Instant::ZERO, Registered::Trying),
            (true, false) => {
                self.set_registered(Instant::ZERO, Registered::Unwanted);
                self.set_routes(Vec::new(), Vec::new());
            }
            (true, true) | (false, false) => {}
        }
        write(&self.config, Arc::new(config.clone()));
    }

    pub(super) fn set_password(&self, password: Option<Password>) {
        write(&self.password, password);
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the file says.
    pub fn config(&self) -> Arc<config::Trunk> {
        read(&self.config)
    }

    /// The domain of From, and of the registration: `domain`, or the host of `uri`.
    pub fn domain(&self) -> String {
        let config = self.config();
        match (&config.domain, Uri::parse(config.uri.as_bytes())) {
            (Some(domain), _) => domain.to_string(),
            (None, Ok(uri)) => match uri.host() {
                Host::Name(name) => String::from_utf8_lossy(name).to_ascii_lowercase(),
                host @ (Host::V4(_) | Host::V6(_)) => host.to_string(),
            },
            (None, Err(_)) => String::new(),
        }
    }

    /// The account, if the file names one and the password is known.
    pub fn credentials(&self) -> Option<Credentials> {
        let config = self.config();
        let username = config.auth_username.as_ref().or(config.username.as_ref())?;
        Some(Credentials {
            username: username.clone(),
            password: read(&self.password)?,
        })
    }

    /// The value of the parameter `line` of our Contact there: calls to it are the trunk's. Nobody
    /// guesses it, and a restart keeps it, so that the registrar does not see two phones.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Whether calls may go there.
    pub fn is_up(&self, now: Instant) -> bool {
        self.state(now) != State::Down
    }

    /// Down too where the registration that the file asks for failed and none is in force: the
    /// peer would refuse the call.
    pub fn state(&self, now: Instant) -> State {
        let registered = match self.registered() {
            Registered::Unwanted => State::Up,
            Registered::Trying => State::Probing,
            Registered::Until(until) if until > now => State::Up,
            Registered::Until(_) | Registered::Failed => State::Down,
        };
        match (self.standing.state(), registered) {
            (State::Down, _) | (_, State::Down) => State::Down,
            (State::Probing, _) | (_, State::Probing) => State::Probing,
            (State::Up, State::Up) => State::Up,
        }
    }

    /// Since when the state is what it is; the origin means: since the start.
    pub fn since(&self, now: Instant) -> Instant {
        let registration = self.registration.read();
        let registration = registration.unwrap_or_else(PoisonError::into_inner);
        let since = match registration.registered {
            Registered::Until(until) if until <= now => until,
            _ => registration.since,
        };
        since.max(self.standing.since())
    }

    /// A call that we send there. The ticket stays with the call.
    pub fn admit(&self, now: Instant) -> Result<Ticket, Refusal> {
        if !self.is_up(now) {
            return Err(Refusal::Down);
        }
        self.standing.admit(now, self.bounds())
    }

    /// A call that comes from there; also while we believe it to be down.
    pub fn admit_inbound(&self, now: Instant) -> Result<Ticket, Refusal> {
        let ticket = self.standing.admit(now, self.bounds())?;
        Ok(ticket.into_inbound())
    }

    fn bounds(&self) -> Bounds {
        let config = self.config();
        Bounds {
            calls_max: config.calls_max,
            calls_per_second: config.calls_per_second,
        }
    }

    /// A call heard nothing, or could not be sent: it is asked at once whether it lives.
    pub fn suspect(&self) {
        if self.config().probe_s > 0 && self.standing.suspect() {
            self.suspicions.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Calls that are there now, both directions.
    pub fn calls(&self) -> u32 {
        self.standing.calls()
    }

    /// Of the calls that went there: how many were answered, and how many were not.
    pub fn outcomes(&self) -> (u64, u64) {
        self.standing.outcomes()
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<Problem> {
        self.standing.last_error()
    }

    /// How far the registration is.
    pub fn registered(&self) -> Registered {
        let registration = self.registration.read();
        let registration = registration.unwrap_or_else(PoisonError::into_inner);
        registration.registered
    }

    /// Route values for requests that we send there: the Service-Route of the registration
    /// (RFC 3608 §5), the next hop first; else the outbound proxy; else none.
    pub fn service_route(&self) -> Arc<[Box<str>]> {
        let learned = self.registration.read();
        let learned = learned.unwrap_or_else(PoisonError::into_inner);
        if !learned.service_route.is_empty() {
            return Arc::clone(&learned.service_route);
        }
        drop(learned);
        let config = self.config();
        let proxy = config.outbound_proxy.as_ref();
        proxy
            .map(|proxy| proxy.value().into())
            .into_iter()
            .collect()
    }

    /// The Path by which the registrar reaches us (RFC 3327 §5.3), as it said in its answer.
    pub fn path(&self) -> Arc<[Box<str>]> {
        let registration = self.registration.read();
        let registration = registration.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&registration.path)
    }

    pub(super) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Its registration is tried from now on.
    pub(super) fn begin(&self, now: Instant) {
        let registration = self.registration.write();
        let mut registration = registration.unwrap_or_else(PoisonError::into_inner);
        registration.since = registration.since.max(now);
    }

    pub(super) fn set_registered(&self, now: Instant, registered: Registered) {
        let registration = self.registration.write();
        let mut registration = registration.unwrap_or_else(PoisonError::into_inner);
        let is_same =
            std::mem::discriminant(&registration.registered) == std::mem::discriminant(&registered);
        if !is_same {
            registration.since = now;
        }
        registration.registered = registered;
    }

    pub(super) fn set_routes(&self, mut service_route: Vec<Box<str>>, mut path: Vec<Box<str>>) {
        service_route.truncate(SERVICE_ROUTES_MAX);
        path.truncate(SERVICE_ROUTES_MAX);
        let registration = self.registration.write();
        let mut registration = registration.unwrap_or_else(PoisonError::into_inner);
        registration.service_route = service_route.into();
        registration.path = path.into();
    }
}

/// Who is not asked counts as up.
pub(super) fn first_state(probe_s: u32) -> State {
    match probe_s {
        0 => State::Up,
        _ => State::Probing,
    }
}
