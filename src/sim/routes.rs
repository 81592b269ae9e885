//! Random stories with trunks and a pool: calls out by routes with several ways, calls in to
//! numbers of ours and on to others, and far ends that die, come back, refuse, are slow, or die
//! once they ring; names that fail and move; a server that is started again.
//!
//! What no story may break, beside the rules of `check` and `book`: a call is answered if at least
//! one way of its route worked the whole time of its set-up ([`Setting::works`] says what that
//! means), and each call has one record.

use super::check::{Broken, broken};
use super::gate::{Gate, Mood};
use super::host::Host;
use super::nat::Nat;
use super::net::{Carrier, Weather};
use super::phone::{Account, CallPlan, CallReport, Habits, Outcome, Phone};
use super::registrar::Manners;
use super::story::{DOMAIN, SERVER};
use super::world::{Mishap, World};
use crate::base::{Instant, Rng};
use crate::config::Config;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The name that trunk `c` goes to.
const NAME: &str = "c.example.net";
/// When the last call is placed.
const CALLS_UNTIL_MS: u64 = 60_000;
/// When all that was broken is mended, and the weather is calm.
const MENDED: Instant = Instant::from_millis(75_000);
/// When stories come to their end: the longest set-up is over.
const END: Instant = Instant::from_millis(165_000);
/// Timer C and the longest call, with room for what they set off.
const PATIENCE: Duration = Duration::from_secs(500);
/// What was away counts as working so long after it came back: a probe every ten seconds finds
/// out, two if one of them was lost, and then it must be registered anew.
const BACK_AFTER: Duration = Duration::from_secs(45);
/// Phones refresh their registration so often, and it may take a while.
const REGISTERED_AFTER: Duration = Duration::from_secs(65);
/// A call that stood so long must have been heard.
const HEARD_AFTER: Duration = Duration::from_secs(5);

/// Far ends: two trunks, two hosts of a name, three members.
const GATES: usize = 7;
const A: usize = 0;
const B: usize = 1;
const HOSTS: [usize; 2] = [2, 3];
const MEMBERS: [usize; 3] = [4, 5, 6];

/// What a story came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Calls whose route had a way that worked.
    pub owed: usize,
    /// Of these, calls some way of which did not.
    pub saved: usize,
    /// Calls in that must have been answered.
    pub owed_in: usize,
    /// Packets sent.
    pub packets: u64,
}

/// Tells the story of `seed`, and writes down what was delivered if so.
pub fn tell(seed: u64, shards: usize, detail: bool) -> (Result<Told, Broken>, Vec<String>) {
    let mut rng = Rng::from_u64(seed);
    let setting = Setting::draw(&mut rng);
    let config = match Config::parse(&setting.file(false), Path::new("voip.toml")) {
        Ok(config) => config,
        Err(mistakes) => return (broken(format!("{mistakes:?}")), Vec::new()),
    };
    let mut host = Host::new(SERVER, config, shards, rng.fork());
    host.set_secret("a", "right");
    host.zone().delay = Duration::from_millis(rng.below(40));
    let mut world = World::new(host, setting.weather, rng.fork());
    setting.people(&mut world, &mut rng);
    setting.far_ends(&mut world, &mut rng);
    setting.calls(&mut world, &mut rng);
    setting.mishaps(&mut world, &mut rng);
    if detail {
        world.record();
    }
    let told = setting.run(&mut world);
    let mut log = world.log().to_vec();
    if detail {
        log.insert(0, setting.file(false));
    }
    (told, log)
}

/// A way of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// The trunk that registers, and that believes nobody without digest.
    A,
    /// The trunk of an address.
    B,
    /// The trunk of a name.
    C,
    /// The pool.
    P,
}

impl Way {
    fn target(self) -> &'static str {
        match self {
            Way::A => "\"trunk:a\"",
            Way::B => "\"trunk:b\"",
            Way::C => "\"trunk:c\"",
            Way::P => "\"pool:p\"",
        }
    }
}

/// Something that happens to a far end, and until when.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    gate: usize,
    mood: Mood,
    from: Instant,
    to: Instant,
}

/// Where the name leads, since when; and when it leads nowhere.
#[derive(Clone, Debug, Default)]
struct Naming {
    versions: Vec<(Instant, Vec<usize>)>,
    fails: Option<(Instant, Instant)>,
}

#[derive(Debug)]
struct Setting {
    weather: Weather,
    phones: usize,
    /// Numbers `7N..` go by the ways of `routes[N]`, the targets of one step together.
    routes: Vec<Vec<Vec<Way>>>,
    algorithm: &'static str,
    no_reply_s: u64,
    ring_s: u64,
    /// Seconds between probes, of b, c and the pool.
    probes: [u64; 3],
    /// Of b, c and the pool; a always hides.
    hides: [bool; 3],
    /// Calls that b carries; zero: any number.
    b_calls_max: u32,
    troubles: Vec<Trouble>,
    naming: Naming,
    restart: Option<Instant>,
}

impl Setting {
    fn draw(rng: &mut Rng) -> Self {
        let weather = match rng.chance(1, 2) {
            true => Weather::CALM,
            false => Weather {
                loss: rng.below(30),
                doubled: rng.below(120),
                delay_ms_min: 1 + rng.below(20),
                delay_ms_max: 21 + rng.below(150),
            },
        };
        let algorithms = [
            "call-id",
            "from-uri",
            "to-uri",
            "request-uri",
            "round-robin",
            "weight",
            "fewest-calls",
        ];
        let mut setting = Self {
            weather,
            phones: 2 + rng.below(3) as usize,
            routes: (0..3).map(|n| draw_route(n, rng)).collect(),
            algorithm: algorithms[rng.below(algorithms.len() as u64) as usize],
            no_reply_s: 4 + rng.below(4),
            ring_s: 8 + rng.below(4),
            probes: std::array::from_fn(|_| rng.below(3) * 5),
            hides: std::array::from_fn(|_| rng.chance(1, 2)),
            b_calls_max: if rng.chance(1, 5) { 1 } else { 0 },
            troubles: Vec::new(),
            naming: Naming::default(),
            restart: None,
        };
        for _ in 0..rng.below(7) {
            let trouble = setting.draw_trouble(rng);
            let overlaps = |t: &Trouble| {
                t.gate == trouble.gate && t.from <= trouble.to && trouble.from <= t.to
            };
            if !setting.troubles.iter().any(overlaps) {
                setting.troubles.push(trouble);
            }
        }
        setting.naming = Naming::draw(rng);
        let when = Instant::from_millis(10_000 + rng.below(CALLS_UNTIL_MS));
        setting.restart = rng.chance(1, 6).then_some(when);
        setting
    }

    fn draw_trouble(&self, rng: &mut Rng) -> Trouble {
        let from = Instant::from_millis(3_000 + rng.below(CALLS_UNTIL_MS));
        let mood = match rng.below(6) {
            0..2 => Mood::Dead,
            2 => Mood::Busy { honest: true },
            3 => Mood::Busy { honest: false },
            4 => Mood::Slow((self.no_reply_s + 1 + rng.below(8)) * 1000),
            _ => Mood::Trap,
        };
        Trouble {
            gate: rng.below(GATES as u64) as usize,
            mood,
            from,
            to: from + Duration::from_millis(1_000 + rng.below(40_000)),
        }
    }

    /// What the operator wrote; at the end without registration and probes.
    fn file(&self, quiet: bool) -> String {
        let Self {
            no_reply_s,
            ring_s,
            algorithm,
            probes: [probe_b, probe_c, probe_p],
            hides: [hide_b, hide_c, hide_p],
            b_calls_max,
            ..
        } = self;
        let every = |probe_s: &u64| if quiet { 0 } else { *probe_s };
        let (probe_b, probe_c, probe_p) = (every(probe_b), every(probe_c), every(probe_p));
        let (registers, probe_a) = (!quiet, every(&10));
        let member = |n: &usize| format!("\"sip:{}\"", gate_address(*n));
        let members: Vec<String> = MEMBERS.iter().map(member).collect();
        let members = members.join(", ");
        let (a, b) = (gate_address(A), gate_address(B));
        let ip = SERVER;
        let mut file = format!(
            "[node]\ndomains = [\"{DOMAIN}\"]\n[sip]\nlisten = [\"udp:{ip}\", \"tcp:{ip}\"]\n\
             [timers]\nno_reply_s = {no_reply_s}\ncall_max_s = 150\n\
             [fraud]\ncalls_max = 0\ncalls_per_minute = 0\n\
             [[trunk]]\nname = \"a\"\nuri = \"sip:{a}\"\ndomain = \"a.example.net\"\n\
             username = \"acct\"\npassword_file = \"a\"\nregister = {registers}\n\
             probe_s = {probe_a}\nhide_topology = true\n\
             [[trunk]]\nname = \"b\"\nuri = \"sip:{b}\"\nprobe_s = {probe_b}\n\
             hide_topology = {hide_b}\ncalls_max = {b_calls_max}\n\
             [[trunk]]\nname = \"c\"\nuri = \"sip:{NAME}\"\nprobe_s = {probe_c}\n\
             hide_topology = {hide_c}\n\
             [[pool]]\nname = \"p\"\nalgorithm = \"{algorithm}\"\nmembers = [{members}]\n\
             probe_s = {probe_p}\nhide_topology = {hide_p}\ntrusted = true\n"
        );
        for (n, steps) in self.routes.iter().enumerate() {
            let steps: Vec<String> = steps.iter().map(|step| step_text(step)).collect();
            file.push_str(&format!(
                "[[route]]\nmatch = \"7{n}XX\"\nfrom = [\"user:*\", \"trunk:b\", \"pool:p\"]\n\
                 to = [{}]\nring_s = {ring_s}\n",
                steps.join(", ")
            ));
        }
        for n in 0..self.phones {
            file.push_str(&format!(
                "[[route]]\nmatch = \"555{n}\"\nfrom = [\"trunk:a\", \"trunk:b\", \"trunk:c\", \
                 \"pool:p\"]\nto = \"user:u{n}\"\n"
            ));
        }
        file
    }

    fn people(&self, world: &mut World, rng: &mut Rng) {
        for n in 0..self.phones {
            let account = Account {
                user: format!("u{n}"),
                domain: DOMAIN.into(),
                password: format!("secret {n}"),
            };
            // Addresses of one length: none is the beginning of another.
            let last = 100 + n as u8;
            let public = IpAddr::V4(Ipv4Addr::new(203, 0, 113, last));
            let address = match rng.chance(1, 3) {
                true => {
                    let inside = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
                    let lifetime = Duration::from_secs(90);
                    world.net.add_nat(Nat::new(public, vec![inside], lifetime));
                    world.book.add_inside(inside.to_string());
                    inside
                }
                false => public,
            };
            world.book.add_inside(public.to_string());
            let carrier = match rng.chance(1, 4) {
                true => Carrier::Stream,
                false => Carrier::Datagram,
            };
            let address = SocketAddr::new(address, 5060);
            let mut phone = Phone::new(account, address, SERVER, carrier, rng.fork());
            phone.set_habits(habits(rng));
            phone.register_at(Instant::from_millis(100 + rng.below(1500)));
            world.add_phone(phone);
        }
    }

    fn far_ends(&self, world: &mut World, rng: &mut Rng) {
        for n in 0..GATES {
            let manners = Manners {
                user: if n == A { "acct" } else { "gate" }.into(),
                domain: if n == A { "a.example.net" } else { DOMAIN }.into(),
                password: "right".into(),
                sha256: rng.chance(1, 2),
                expires_min_s: 60,
                expires_max_s: 120 + rng.below(1000) as u32,
                nonce_lifetime: Duration::from_secs(1 + rng.below(60)),
            };
            let address = gate_address(n);
            let mut gate = Gate::new(address, SERVER, manners, n == A, rng.fork());
            gate.set_habits(habits(rng));
            let [hide_b, hide_c, hide_p] = self.hides;
            let hides = match n {
                A => true,
                B => hide_b,
                2 | 3 => hide_c,
                _ => hide_p,
            };
            world.add_gate(gate, hides);
            world.book.add_inside(address.ip().to_string());
        }
        for (n, (at, hosts)) in self.naming.versions.iter().enumerate() {
            let hosts: Vec<SocketAddr> = hosts.iter().map(|n| gate_address(*n)).collect();
            if n == 0 {
                world.host.zone().point(NAME, &hosts);
            }
            world.names.push((NAME.into(), hosts));
            world.plan(*at, Mishap::Point(n));
        }
    }

    fn calls(&self, world: &mut World, rng: &mut Rng) {
        for phone in 0..self.phones {
            for _ in 0..1 + rng.below(5) {
                let plan = self.out_plan(rng);
                world.phones[phone].call_at(call_time(rng), plan);
            }
        }
        for gate in 0..GATES {
            for _ in 0..rng.below(3) {
                let number = match gate == B && rng.chance(1, 3) {
                    true => format!("7{}00", rng.below(self.routes.len() as u64)),
                    false => format!("555{}", rng.below(self.phones as u64)),
                };
                let plan = call_plan(number, None, rng);
                world.gates[gate].call_at(call_time(rng), plan);
            }
        }
    }

    /// The last but one digit of the number says whether the caller may give up.
    fn out_plan(&self, rng: &mut Rng) -> CallPlan {
        let route = rng.below(self.routes.len() as u64);
        let hasty = rng.chance(1, 5);
        let give_up = hasty.then(|| Duration::from_millis(rng.below(20_000)));
        call_plan(format!("7{route}{}0", u8::from(hasty)), give_up, rng)
    }

    fn mishaps(&self, world: &mut World, rng: &mut Rng) {
        for trouble in &self.troubles {
            let Trouble {
                gate,
                mood,
                from,
                to,
            } = *trouble;
            world.plan(from, Mishap::Turn(gate, mood));
            // Between the two a trap may have sprung: it is dead then, and comes back as well.
            world.plan(to, Mishap::Turn(gate, Mood::Well));
        }
        if let Some((from, to)) = self.naming.fails {
            world.plan(from, Mishap::Dns { fails: true });
            world.plan(to, Mishap::Dns { fails: false });
        }
        if let Some(at) = self.restart {
            world.plan(at, Mishap::Restart);
        }
        for gate in 0..GATES {
            world.plan(MENDED, Mishap::Turn(gate, Mood::Well));
        }
        world.plan(MENDED, Mishap::Dns { fails: false });
        world.plan(MENDED, Mishap::Calm);
        let _ = rng;
    }

    fn run(&self, world: &mut World) -> Result<Told, Broken> {
        world.run_until(END)?;
        // From now on nobody is asked and registered any more: then nothing moves at last.
        let quiet = Config::parse(&self.file(true), Path::new("voip.toml"));
        let quiet = quiet.map_err(|mistakes| Broken(format!("{mistakes:?}")))?;
        world.host.configure(world.now, quiet);
        world.settle(PATIENCE)?;
        let mut told = Told {
            packets: world.net.stats().sent,
            ..Told::default()
        };
        let phones = world.phones.iter().map(|phone| (None, phone.reports()));
        let calls: Vec<_> = phones
            .flat_map(|(who, reports)| reports.iter().map(move |r| (who, r)))
            .chain(
                world
                    .gates
                    .iter()
                    .enumerate()
                    .flat_map(|(n, gate)| gate.reports().map(move |report| (Some(n), report))),
            )
            .filter(|(_, report)| report.caller)
            .collect();
        for (who, report) in &calls {
            let answered =
                |r: &CallReport| r.call_id == report.call_id && r.outcome == Outcome::Talked;
            let answered = calls.iter().any(|(_, r)| answered(r));
            self.judge(world, *who, report, answered, &mut told)?;
        }
        self.records(world, &calls)?;
        Ok(told)
    }

    fn judge(
        &self,
        world: &World,
        who: Option<usize>,
        report: &CallReport,
        answered: bool,
        told: &mut Told,
    ) -> Result<(), Broken> {
        let from = report.begun_at;
        let to = report.answered_at.unwrap_or(report.ended_at);
        let restarted = self
            .restart
            .is_some_and(|at| at + Duration::from_secs(1) >= from && at <= to);
        let caller_works = who.is_none_or(|n| {
            (n == A || n == B && self.b_calls_max == 0 || MEMBERS.contains(&n))
                && world.gates[n].was(from, to, |mood| mood == Mood::Well)
        });
        let number = report.with.trim_start_matches("sip:").as_bytes();
        if restarted || !caller_works {
            return Ok(());
        }
        let owed = match number {
            [b'5', _, _, phone, ..] => {
                let owed = self.is_reachable(world, usize::from(phone - b'0'), from);
                told.owed_in += usize::from(owed);
                owed
            }
            [b'7', route, b'0', ..] => {
                let route = &self.routes[usize::from(route - b'0')];
                let ways = || route.iter().flatten();
                // The way by which it came leads nowhere else.
                let works = |way: &&Way| self.works(world, **way, from, to);
                let count = ways().filter(works).count();
                told.owed += usize::from(count > 0);
                told.saved += usize::from(count > 0 && count < ways().count());
                count > 0
            }
            _ => false,
        };
        if owed && !answered {
            return broken(format!("lost: {report:?}"));
        }
        let stood = report.ended_at.since(to) > HEARD_AFTER;
        let all_well = world
            .gates
            .iter()
            .all(|gate| gate.was(from, report.ended_at, |mood| mood == Mood::Well));
        let quiet = self.restart.is_none_or(|at| at > report.ended_at);
        if report.outcome == Outcome::Talked
            && stood
            && all_well
            && quiet
            && report.audio_sent > 3
            && report.audio_heard == 0
        {
            return broken(format!("nothing was heard: {report:?}"));
        }
        Ok(())
    }

    /// Whether calls reach this phone: one behind a NAT whose connection the server lost with its
    /// life must register first.
    fn is_reachable(&self, world: &World, phone: usize, from: Instant) -> bool {
        let phone = &world.phones[phone];
        let by_connection = phone.contact_uri().contains("transport=tcp")
            && phone.address().ip().to_string().starts_with("10.");
        let restarted = |at| at <= from && from.since(at) < REGISTERED_AFTER;
        !by_connection || !self.restart.is_some_and(restarted)
    }

    /// Whether a call by this way, under way in that time, comes to somebody who answers. Where
    /// one of several hosts or members does not, the next one is asked; but not once it rang: so a
    /// host of a name that rings and dies takes the whole way with it.
    fn works(&self, world: &World, way: Way, from: Instant, to: Instant) -> bool {
        let since = Instant::from_millis(
            from.as_millis()
                .saturating_sub(u64::try_from(BACK_AFTER.as_millis()).unwrap_or(u64::MAX)),
        );
        let well = |n: &usize| world.gates[*n].was(since, to, |mood| mood == Mood::Well);
        match way {
            Way::A => well(&A),
            Way::B => self.b_calls_max == 0 && well(&B),
            Way::P => MEMBERS.iter().any(well),
            Way::C => {
                let fails = self.naming.fails;
                let names = fails.is_none_or(|(f, t)| t < since || f > to);
                let trap = |n: &usize| {
                    let rings = |mood| !matches!(mood, Mood::Trap);
                    !world.gates[*n].was(since, to, rings)
                };
                let listed = |n: &usize| self.naming.leads_to(*n, since, to);
                names && HOSTS.iter().any(|n| well(n) && listed(n)) && !HOSTS.iter().any(trap)
            }
        }
    }

    /// One record of each call that the server took, whatever came of it.
    fn records(&self, world: &World, calls: &[(Option<usize>, &CallReport)]) -> Result<(), Broken> {
        let mut records: BTreeMap<&str, usize> = BTreeMap::new();
        for cdr in world.host.disk().cdrs() {
            *records.entry(&cdr.call_id).or_default() += 1;
        }
        for (who, report) in calls {
            let count = records.get(report.call_id.as_str()).copied().unwrap_or(0);
            // What the disk had not taken yet is lost with the process.
            let on_disk = report.ended_at + Duration::from_secs(1);
            let lived_on = self
                .restart
                .is_none_or(|at| at > on_disk || at < report.begun_at);
            let heard = match report.outcome {
                Outcome::Talked => true,
                Outcome::Refused(status) => ![401, 403, 407].contains(&status) && who.is_none(),
                Outcome::Timeout | Outcome::Cancelled | Outcome::Surplus => false,
            };
            if count > 1 || (heard && lived_on && count != 1) {
                return broken(format!("{count} records of {report:?}"));
            }
        }
        Ok(())
    }
}

impl Naming {
    fn draw(rng: &mut Rng) -> Self {
        let lists: [&[usize]; 4] = [&[2], &[3], &[2, 3], &[3, 2]];
        let mut version = |at| (at, lists[rng.below(4) as usize].to_vec());
        let mut versions = vec![version(Instant::ZERO)];
        let second = version(Instant::ZERO).1;
        if rng.chance(1, 3) {
            let at = Instant::from_millis(5_000 + rng.below(CALLS_UNTIL_MS));
            versions.push((at, second));
        }
        let from = Instant::from_millis(5_000 + rng.below(CALLS_UNTIL_MS));
        let to = from + Duration::from_millis(rng.below(40_000));
        Self {
            versions,
            fails: rng.chance(1, 4).then_some((from, to)),
        }
    }

    /// Whether it led there the whole time.
    fn leads_to(&self, gate: usize, from: Instant, to: Instant) -> bool {
        self.versions.iter().enumerate().all(|(n, (since, hosts))| {
            let until = self
                .versions
                .get(n + 1)
                .map_or(Instant::FAR_FUTURE, |v| v.0);
            until < from || *since > to || hosts.contains(&gate)
        })
    }
}

fn gate_address(n: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 100 + n as u8)), 5060)
}

/// The first route is that of the books; the others are any.
fn draw_route(n: usize, rng: &mut Rng) -> Vec<Vec<Way>> {
    if n == 0 {
        return vec![vec![Way::A], vec![Way::B], vec![Way::P]];
    }
    let mut left = vec![Way::A, Way::B, Way::C, Way::P];
    let mut steps: Vec<Vec<Way>> = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let way = left.remove(rng.below(left.len() as u64) as usize);
        match steps.last_mut() {
            Some(step) if rng.chance(1, 5) => step.push(way),
            Some(_) | None => steps.push(vec![way]),
        }
    }
    steps
}

fn step_text(step: &[Way]) -> String {
    let targets: Vec<&str> = step.iter().map(|way| way.target()).collect();
    match targets.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}

fn call_time(rng: &mut Rng) -> Instant {
    Instant::from_millis(5_000 + rng.below(CALLS_UNTIL_MS - 5_000))
}

fn call_plan(number: String, give_up_after: Option<Duration>, rng: &mut Rng) -> CallPlan {
    let ms = Duration::from_millis;
    CallPlan {
        target: format!("sip:{number}@{DOMAIN}"),
        give_up_after,
        talk: rng.chance(4, 5).then(|| ms(200 + rng.below(15_000))),
        hold_after: rng.chance(1, 4).then(|| ms(500 + rng.below(4000))),
        keys: Vec::new(),
    }
}

/// Everybody answers, sooner than a step ends.
fn habits(rng: &mut Rng) -> Habits {
    Habits {
        ring_ms_max: 100 + rng.below(3000),
        talk: rng
            .chance(1, 2)
            .then(|| Duration::from_millis(500 + rng.below(12_000))),
        ..Habits::default()
    }
}
