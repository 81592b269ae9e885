//! What a client asks of keys in descriptions (SDES, RFC 4568): the members of `SDES`, also spelled
//! as flags (`SDES-off`, `SDES-no-AES_CM_128_HMAC_SHA1_32`, ...), and what that leaves of the
//! suites.

use crate::srtp::{Crypto, Profile};
use crate::wire::sdp::Media;

/// The most suites that one list names.
pub const SUITES_MAX: usize = 32;
/// The longest name that is kept; no suite's is longer.
const NAME_BYTES_MAX: usize = 64;
/// What `SDES-lifetime` says in each attribute of ours: as many packets as SRTCP may send under a
/// key (RFC 3711 §9.2).
const LIFETIME: u64 = crate::srtp::RTCP_PACKETS_MAX;

/// Names of crypto suites, also of such as we do not have.
type Suites = Vec<Box<str>>;

/// The options.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sdes {
    /// No keys are offered.
    pub off: bool,
    /// None of ours is offered to who would otherwise get those of the author.
    pub no_new: bool,
    /// Our attributes name a lifetime.
    lifetime: bool,
    /// These suites are not used.
    without: Suites,
    /// Nor are others than these, if there are any; it counts more than `without`.
    only: Suites,
    /// These are offered first.
    order: Suites,
    /// These are preferred where the offer leaves us the choice.
    preferred: Suites,
}

impl Sdes {
    /// Takes one member; what to note of it, if it asks for what is not done or unknown.
    pub(super) fn on_member(&mut self, member: &str) -> Option<String> {
        let suites = |text: &str| -> Suites {
            let names = text.split(';').filter(|name| !name.is_empty());
            let short = names.filter(|name| name.len() <= NAME_BYTES_MAX);
            short.take(SUITES_MAX).map(Box::from).collect()
        };
        match member {
            "off" | "no" | "disable" | "disabled" => self.off = true,
            "nonew" => self.no_new = true,
            "lifetime" => self.lifetime = true,
            // The padding of base64 is always written, a suite always kept while it is offered, and
            // nothing leaves unencrypted or unauthenticated.
            "" | "on" | "yes" | "enable" | "enabled" | "pad" | "static" | "encrypted_srtp"
            | "encrypted_srtcp" | "authenticated_srtp" => {}
            "unencrypted_srtp" | "unencrypted_srtcp" | "unauthenticated_srtp" => {
                return Some(format!("SDES-{member} is not done"));
            }
            member => {
                if let Some(name) = member.strip_prefix("no-") {
                    add(&mut self.without, suites(name));
                } else if let Some(name) = member.strip_prefix("only-") {
                    add(&mut self.only, suites(name));
                } else if let Some(list) = member.strip_prefix("order:") {
                    add(&mut self.order, suites(list));
                } else if let Some(list) = member.strip_prefix("offerer_pref:") {
                    add(&mut self.preferred, suites(list));
                } else {
                    return Some(format!("unknown flag \"SDES-{member}\""));
                }
            }
        }
        None
    }

    /// Whether a suite may be used.
    fn permits(&self, name: &str) -> bool {
        let is = |suites: &Suites| suites.iter().any(|s| **s == *name);
        match self.only.is_empty() {
            true => !is(&self.without),
            false => is(&self.only),
        }
    }

    /// The suites that we offer, the preferred first.
    pub fn offered(&self) -> Vec<Profile> {
        let mut all: Vec<Profile> = match self.off {
            true => Vec::new(),
            false => Profile::ALL.to_vec(),
        };
        all.retain(|profile| self.permits(profile.name()));
        let named = |p: &Profile| self.order.iter().position(|s| **s == *p.name());
        all.sort_by_key(|profile| named(profile).unwrap_or(SUITES_MAX));
        all
    }

    /// For how many packets our keys are.
    pub fn lifetime(&self) -> Option<u64> {
        self.lifetime.then_some(LIFETIME)
    }

    /// Which attributes of a section may go on to who reads it, in their order.
    pub fn passing(&self, media: &Media<'_>) -> Vec<bool> {
        let passes = |value: &[u8]| {
            let mut words = value.split(|b| *b == b' ').skip(1);
            let suite = String::from_utf8_lossy(words.next().unwrap_or_default());
            !self.off && self.permits(&suite)
        };
        media.attributes("crypto").map(passes).collect()
    }

    /// The attribute of an offer that we take: of the suite that is in use already, else of one
    /// that the client prefers, else the first that we can use (RFC 4568 §5.1.2).
    ///
    /// Where none is permitted the others are as good as none: what may not be used toward one side
    /// is often all that the other has.
    pub fn choose(&self, offer: &Media<'_>, used: Option<Profile>) -> Option<Crypto> {
        let mut usable: Vec<Crypto> = cryptos(offer).collect();
        let permitted = |crypto: &Crypto| self.permits(crypto.master.profile().name());
        if usable.iter().any(permitted) {
            usable.retain(permitted);
        }
        let of = |name: &str| usable.iter().find(|c| c.master.profile().name() == name);
        let known = used.and_then(|profile| of(profile.name()));
        let preferred = || self.preferred.iter().find_map(|name| of(name));
        known.or_else(preferred).or(usable.first()).cloned()
    }
}

/// The suites that a section names, with those that we do not have.
pub fn suites<'m>(media: &'m Media<'_>) -> Vec<&'m str> {
    let values = media.attributes("crypto");
    let suites = values.filter_map(|value| std::str::from_utf8(value).ok()?.split(' ').nth(1));
    suites.collect()
}

/// A tag from which on a section has none (RFC 4568 §9.1: up to nine digits).
pub fn next_tag(media: &Media<'_>) -> u32 {
    let values = media.attributes("crypto");
    let tags = values.filter_map(|value| std::str::from_utf8(value).ok()?.split(' ').next());
    let highest = tags.filter_map(|tag| tag.parse::<u32>().ok()).max();
    match highest.unwrap_or(0) {
        tag @ ..999_999_000 => tag + 1,
        _ => 1,
    }
}

/// The attributes of a section that we can use.
pub fn cryptos<'m>(media: &'m Media<'_>) -> impl Iterator<Item = Crypto> + 'm {
    let values = media.attributes("crypto");
    values.filter_map(|value| Crypto::parse(std::str::from_utf8(value).ok()?).ok())
}

fn add(suites: &mut Suites, more: Suites) {
    suites.extend(more);
    suites.truncate(SUITES_MAX);
}
