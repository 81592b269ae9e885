//! Random stories: a seed decides who there is, what they do, how bad the network is, and what goes
//! wrong. The same seed tells the same story.

use super::check::{Broken, heard, stopped};
use super::host::Host;
use super::nat::Nat;
use super::net::{Carrier, Weather};
use super::phone::{Account, CallPlan, CallReport, Habits, Phone};
use super::world::{Mishap, World};
use crate::base::{Instant, Rng};
use crate::config::{Config, Domain, Relay};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The domain of every story.
pub const DOMAIN: &str = "example.com";
/// Where the server sits.
pub const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5060);
/// When the last call is placed.
const CALLS_UNTIL_MS: u64 = 60_000;
/// When the weather turns calm, and stories come to their end.
const END: Instant = Instant::from_millis(90_000);
/// Timer C and the longest call, with room for what they set off.
const PATIENCE: Duration = Duration::from_secs(500);
/// A call that stood so long must have been heard.
const HEARD_AFTER: Duration = Duration::from_secs(6);

/// A phone stops ringing so soon after its call was settled, if nothing is lost.
const QUIET_AFTER: Duration = Duration::from_millis(100);
/// The same with losses: a CANCEL is repeated for 64 * T1, and so is what it brings.
const QUIET_AFTER_LOSS: Duration = Duration::from_secs(66);

/// What a story came to.
#[derive(Debug)]
pub struct Told {
    /// What each phone says of its calls, in order.
    pub reports: Vec<Vec<CallReport>>,
    /// Steps of the world.
    pub steps: u64,
    /// Packets sent.
    pub packets: u64,
}

/// Whether a story may have bad weather and mishaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// Anything goes.
    Stormy,
    /// Nothing is lost and nobody dies: what happens does not depend on chance in the network.
    Calm,
}

/// Tells the story of `seed` with so many shards.
pub fn tell(seed: u64, shards: usize, mood: Mood) -> Result<Told, Broken> {
    told(seed, shards, mood, false).0
}

/// The same, and what was delivered, a line per packet.
pub fn tell_in_detail(seed: u64, shards: usize, mood: Mood) -> (Result<Told, Broken>, Vec<String>) {
    told(seed, shards, mood, true)
}

fn told(seed: u64, shards: usize, mood: Mood, detail: bool) -> (Result<Told, Broken>, Vec<String>) {
    let mut rng = Rng::from_u64(seed);
    let mut setting = Setting::draw(&mut rng, mood);
    let host = Host::new(SERVER, setting.config(), shards, rng.fork());
    let mut world = World::new(host, setting.weather, rng.fork());
    setting.people(&mut world, &mut rng);
    setting.mishaps(&mut world, &mut rng);
    world.plan(END, Mishap::Calm);
    if detail {
        world.record();
    }
    let end = run(&mut world, &setting);
    (end, world.log().to_vec())
}

fn run(world: &mut World, setting: &Setting) -> Result<Told, Broken> {
    world.run_until(END)?;
    world.settle(PATIENCE)?;
    if !setting.restart && !setting.silence {
        let calm = setting.weather == Weather::CALM;
        stopped(
            &world.phones,
            if calm { QUIET_AFTER } else { QUIET_AFTER_LOSS },
        )?;
    }
    if setting.audible() {
        heard(&world.phones, HEARD_AFTER)?;
    }
    Ok(Told {
        reports: world.phones.iter().map(|p| p.reports().to_vec()).collect(),
        steps: world.steps(),
        packets: world.net.stats().sent,
    })
}

#[derive(Debug)]
struct Setting {
    weather: Weather,
    relay: Relay,
    phones: usize,
    accounts: usize,
    restart: bool,
    silence: bool,
}

impl Setting {
    fn draw(rng: &mut Rng, mood: Mood) -> Self {
        let phones = 3 + rng.below(4) as usize;
        let stormy = mood == Mood::Stormy;
        let weather = if stormy && rng.chance(3, 4) {
            Weather {
                loss: rng.below(120),
                doubled: rng.below(120),
                delay_ms_min: 1 + rng.below(40),
                delay_ms_max: 41 + rng.below(400),
            }
        } else {
            Weather::CALM
        };
        Self {
            weather,
            relay: if rng.chance(1, 4) {
                Relay::Always
            } else {
                Relay::Nat
            },
            phones,
            // Where there are fewer accounts than phones, some calls fork.
            accounts: phones - rng.below(2) as usize,
            restart: stormy && rng.chance(1, 7),
            silence: stormy && rng.chance(1, 7),
        }
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.node.domains = Domain::parse(DOMAIN).into_iter().collect();
        config.rtp.relay = self.relay;
        config.sip.keepalive_s = 60;
        config.timers.call_max = Duration::from_secs(150);
        config
    }

    fn audible(&self) -> bool {
        self.weather.loss <= 50 && !self.restart && !self.silence
    }

    fn people(&mut self, world: &mut World, rng: &mut Rng) {
        for n in 0..self.phones {
            let account = Account {
                user: format!("u{}", n % self.accounts),
                domain: DOMAIN.into(),
                password: format!("secret {n}", n = n % self.accounts),
            };
            let host = 2 + n as u8;
            let address = if rng.chance(1, 3) {
                let inside = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host));
                let public = IpAddr::V4(Ipv4Addr::new(203, 0, 113, host));
                let lifetime = Duration::from_secs(90);
                world.net.add_nat(Nat::new(public, vec![inside], lifetime));
                inside
            } else {
                IpAddr::V4(Ipv4Addr::new(198, 51, 100, host))
            };
            let carrier = if rng.chance(1, 4) {
                Carrier::Stream
            } else {
                Carrier::Datagram
            };
            let address = SocketAddr::new(address, 5060);
            let mut phone = Phone::new(account, address, SERVER, carrier, rng.fork());
            phone.set_habits(habits(rng));
            phone.register_at(Instant::from_millis(100 + rng.below(2000)));
            for _ in 0..rng.below(4) {
                let at = Instant::from_millis(5000 + rng.below(CALLS_UNTIL_MS - 5000));
                phone.call_at(at, self.plan(rng));
            }
            world.add_phone(phone);
        }
    }

    fn plan(&self, rng: &mut Rng) -> CallPlan {
        let ms = Duration::from_millis;
        let user = if rng.chance(1, 12) {
            "nobody".into()
        } else {
            format!("u{}", rng.below(self.accounts as u64))
        };
        CallPlan {
            target: format!("sip:{user}@{DOMAIN}"),
            give_up_after: rng.chance(1, 4).then(|| ms(rng.below(6000))),
            talk: rng.chance(4, 5).then(|| ms(200 + rng.below(15_000))),
            hold_after: rng.chance(1, 4).then(|| ms(500 + rng.below(4000))),
            keys: Vec::new(),
        }
    }

    fn mishaps(&self, world: &mut World, rng: &mut Rng) {
        let when = Instant::from_millis(8000 + rng.below(CALLS_UNTIL_MS));
        if self.restart {
            world.plan(when, Mishap::Restart);
        }
        if self.silence {
            let who = rng.below(self.phones as u64) as usize;
            world.plan(when, Mishap::Silence(who));
        }
    }
}

fn habits(rng: &mut Rng) -> Habits {
    let refusal = [486, 480, 603, 404][rng.below(4) as usize];
    Habits {
        answers: 750,
        refuses: 180,
        refusal,
        ring_ms_max: 200 + rng.below(6000),
        talk: rng
            .chance(1, 3)
            .then(|| Duration::from_millis(500 + rng.below(12_000))),
    }
}
