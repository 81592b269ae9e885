//! SRTP between us and a party, by keys in the descriptions (SDES, RFC 4568): who gets which
//! attributes, and which keys hold.
//!
//! ```text
//!   offered as   passed on as   to the reader         to the author, when answered
//!   plain        plain          as it stands          as it stands
//!   plain        SRTP           keys of ours          plain
//!   SRTP         plain          no keys               a key of ours for one of its suites
//!   SRTP         SRTP           the author's keys,    as it stands if the reader took one of
//!                               and ours for other    the author's, else a key of ours
//!                               suites
//! ```
//! A call that is recorded has keys of ours on both sides: to the reader ours alone.
//!
//! A party whose answer is plain although it was offered SRTP is plain. Toward a party each suite
//! has one key for as long as the dialogue lasts, unless somebody else is called instead.
//!
//! Not done here: DTLS, whose packets pass as they come.

use super::call::{Dialogue, Party};
use super::flags::Options;
use super::record::Recording;
use super::sdes::{self, Sdes};
use crate::base::Rng;
use crate::relay::{LegSpec, MediaKind, Side};
use crate::srtp::{Crypto, Keys, MasterKey, Profile};
use crate::wire::sdp::{Media, Sdp};
use std::borrow::Cow;

type Refused = Cow<'static, str>;

const NO_SUITE: &str = "no a=crypto with a suite that can be used";
const NOTHING_TO_OFFER: &str = "SRTP without DTLS needs SDES, and its flags leave no crypto suite";

/// How the packets of a transport protocol look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Plain,
    /// With keys in the description.
    Sdes,
    /// With keys from a handshake.
    Dtls,
    Other,
}

impl Kind {
    fn of(protocol: &[u8]) -> Self {
        match &*protocol.to_ascii_uppercase() {
            b"RTP/AVP" | b"RTP/AVPF" => Kind::Plain,
            b"RTP/SAVP" | b"RTP/SAVPF" => Kind::Sdes,
            b"UDP/TLS/RTP/SAVP" | b"UDP/TLS/RTP/SAVPF" => Kind::Dtls,
            _ => Kind::Other,
        }
    }
}

/// What a party was offered of a stream.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
enum Offered {
    /// What the other party offered.
    #[default]
    AsItStands,
    /// RTP, although the other party offered SRTP.
    Plain,
    /// Our keys.
    Ours(Vec<Crypto>),
    /// Our keys beside those of the other party, which have other suites.
    Both(Vec<Crypto>),
}

/// One stream between us and a party.
#[derive(Clone, Default, Debug)]
pub struct Stream {
    /// Our keys toward it, one for each suite that there was need of.
    own: Vec<MasterKey>,
    offered: Offered,
    /// The keys that hold, where they are ours.
    keys: Option<Keys>,
    /// Whether an answer has said so.
    settled: bool,
}

impl Stream {
    /// Our attribute of a suite.
    fn crypto(&mut self, tag: u32, profile: Profile, sdes: &Sdes, rng: &mut Rng) -> Crypto {
        let known = self.own.iter().find(|key| key.profile() == profile);
        let master = known.cloned().unwrap_or_else(|| {
            let key = MasterKey::generate(profile, |bytes| rng.fill(bytes));
            self.own.push(key.clone());
            key
        });
        Crypto {
            tag,
            master,
            lifetime: sdes.lifetime(),
            mki: None,
        }
    }

    /// The keys with which an offer of the party's is taken.
    fn take(&mut self, offer: &Media<'_>, sdes: &Sdes, rng: &mut Rng) -> Result<Keys, Refused> {
        let used = self.keys.as_ref().and_then(|keys| keys.theirs.as_ref());
        let used = used.map(|crypto| crypto.master.profile());
        let theirs = sdes.choose(offer, used);
        let theirs = theirs.ok_or(NO_SUITE)?;
        let ours = self.crypto(theirs.tag, theirs.master.profile(), sdes, rng);
        Ok(Keys {
            ours: Some(ours),
            theirs: Some(theirs),
        })
    }

    /// Our attributes in an offer to the party.
    fn offer(
        &mut self,
        first: u32,
        suites: Vec<Profile>,
        sdes: &Sdes,
        rng: &mut Rng,
    ) -> Vec<Crypto> {
        let tagged = (first..).zip(suites);
        let all = tagged.map(|(tag, profile)| self.crypto(tag, profile, sdes, rng));
        all.collect()
    }

    /// Whether what the party sends and gets is under keys of ours.
    pub(super) fn is_ours(&self) -> bool {
        self.keys.is_some()
    }

    /// Who answers an offer may be somebody else than before: then the keys are others, too.
    pub(super) fn forget(&mut self, answered: bool) {
        self.settled = false;
        self.keys = None;
        if answered {
            self.own.clear();
        }
    }
}

/// The `a=crypto` of a section as its reader shall see them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attributes {
    /// The author's.
    AsTheyStand,
    /// Those of the author's of which it says so, by their places, and these.
    Some(Vec<bool>, Vec<Crypto>),
    /// These instead, and nothing that speaks of DTLS.
    Ours(Vec<Crypto>),
}

/// A section as its reader shall see it.
pub struct Passage {
    /// The transport protocol.
    pub protocol: Box<[u8]>,
    /// Its keys.
    pub attributes: Attributes,
}

impl Passage {
    fn new(protocol: &[u8], attributes: Attributes) -> Self {
        Self {
            protocol: protocol.into(),
            attributes,
        }
    }
}

/// Takes the keys of a description of `author` into the dialogue; how each section shall be read
/// by the other side.
pub fn agree(
    dialogue: &mut Dialogue,
    author: Side,
    sdp: &Sdp<'_>,
    (options, answers): (&Options, bool),
    rng: &mut Rng,
) -> Result<Vec<Passage>, Refused> {
    let offer = match answers {
        true => dialogue.party(author.other()).sdp.clone(),
        false => Vec::new(),
    };
    let offer = Sdp::parse(&offer).ok();
    let recorded = dialogue.recording != Recording::Off || !dialogue.shown.is_empty();
    let [caller, called] = &mut dialogue.parties;
    let (author, reader) = match author {
        Side::Caller => (caller, called),
        Side::Called => (called, caller),
    };
    for party in [&mut *author, &mut *reader] {
        if party.streams.len() < sdp.media.len() {
            party.streams.resize_with(sdp.media.len(), Stream::default);
        }
    }
    let streams = author.streams.iter_mut().zip(&mut reader.streams);
    let each = sdp.media.iter().zip(streams).enumerate();
    let each = each.map(|(at, (media, (from, to)))| {
        let offered = offer.as_ref().and_then(|offer| offer.media.get(at));
        let mut pair = Pair {
            media,
            from,
            to,
            options,
            recorded,
            rng,
        };
        match answers {
            true => pair.answer(offered),
            false => pair.offer(),
        }
    });
    each.collect()
}

/// One section, and its stream between us and its author, and its reader.
struct Pair<'a, 'm> {
    media: &'a Media<'m>,
    from: &'a mut Stream,
    to: &'a mut Stream,
    options: &'a Options,
    /// Whether we must be able to read it.
    recorded: bool,
    rng: &'a mut Rng,
}

impl Pair<'_, '_> {
    fn offer(&mut self) -> Result<Passage, Refused> {
        let (media, options) = (self.media, self.options);
        self.to.offered = Offered::AsItStands;
        // Of a stream that flows the keys stay until the answer says which others hold.
        let settled = self.from.settled && self.to.settled;
        if media.port == 0 || !media.is_rtp() {
            if !settled {
                (self.from.keys, self.to.keys) = (None, None);
            }
            return Ok(Passage::new(media.protocol, Attributes::AsTheyStand));
        }
        let wanted = options.transport.as_deref().map(str::as_bytes);
        let wanted = wanted.unwrap_or(media.protocol);
        let (mut from, mut to) = (None, None);
        let attributes = match (Kind::of(media.protocol), Kind::of(wanted)) {
            (Kind::Plain, Kind::Sdes) => {
                to = Some(Keys::default());
                Attributes::Ours(self.offer_ours()?)
            }
            (Kind::Sdes, Kind::Plain) => {
                let keys = self.from.take(media, &options.sdes, self.rng)?;
                from = Some(keys);
                self.to.offered = Offered::Plain;
                Attributes::Ours(Vec::new())
            }
            // What passed under the author's keys could not be recorded.
            (Kind::Sdes, Kind::Sdes) if self.recorded && !options.sdes.offered().is_empty() => {
                Attributes::Ours(self.offer_ours()?)
            }
            (Kind::Sdes, Kind::Sdes) | (Kind::Dtls, Kind::Dtls) => self.pass()?,
            (a, b) if a == b && same_protocol(media.protocol, wanted) => Attributes::AsTheyStand,
            _ => return Err(untranslated(wanted, media.protocol)),
        };
        if !settled {
            (self.from.keys, self.to.keys) = (from, to);
        }
        Ok(Passage::new(wanted, attributes))
    }

    /// Our keys for a party that is offered no others.
    fn offer_ours(&mut self) -> Result<Vec<Crypto>, Refused> {
        let sdes = &self.options.sdes;
        let suites = sdes.offered();
        if suites.is_empty() {
            return Err(NOTHING_TO_OFFER.into());
        }
        let lines = self.to.offer(1, suites, sdes, self.rng);
        self.to.offered = Offered::Ours(lines.clone());
        Ok(lines)
    }

    /// The keys of an offer that stays SRTP: those of the author that may pass; ours for suites
    /// that it does not name, if it offers one that we can translate to.
    fn pass(&mut self) -> Result<Attributes, Refused> {
        let (media, sdes) = (self.media, &self.options.sdes);
        let passing = sdes.passing(media);
        let handshake = media.dtls || Kind::of(media.protocol) == Kind::Dtls;
        let passes = passing.contains(&true);
        let ours = match handshake || sdes.no_new || sdes::cryptos(media).next().is_none() {
            true => Vec::new(),
            false => {
                let named = sdes::suites(media);
                let others = sdes.offered().into_iter();
                others.filter(|p| !named.contains(&p.name())).collect()
            }
        };
        match (passing.is_empty(), passes || handshake || !ours.is_empty()) {
            (true, _) => return Ok(Attributes::AsTheyStand),
            (false, true) => {}
            (false, false) if sdes.off => return Err(NOTHING_TO_OFFER.into()),
            (false, false) => return Err("the SDES flags leave no a=crypto of the offer".into()),
        }
        let lines = self.to.offer(sdes::next_tag(media), ours, sdes, self.rng);
        if !lines.is_empty() {
            self.to.offered = Offered::Both(lines.clone());
        }
        Ok(Attributes::Some(passing, lines))
    }

    fn answer(&mut self, offered: Option<&Media<'_>>) -> Result<Passage, Refused> {
        let media = self.media;
        let (kind, offered_kind) = (
            Kind::of(media.protocol),
            offered.map(|offered| Kind::of(offered.protocol)),
        );
        let same = offered.filter(|offered| same_protocol(offered.protocol, media.protocol));
        let protocol = same.map_or(media.protocol, |offered| offered.protocol);
        if media.port == 0 || !media.is_rtp() {
            (self.from.keys, self.to.keys) = (None, None);
            let as_offered = offered.map_or(protocol, |offered| offered.protocol);
            let gone = matches!(self.from.offered, Offered::Plain | Offered::Ours(_));
            return Ok(match gone {
                true => Passage::new(as_offered, Attributes::Ours(Vec::new())),
                false => Passage::new(protocol, Attributes::AsTheyStand),
            });
        }
        let from = match (&self.from.offered, kind) {
            (Offered::Ours(lines), Kind::Sdes) => {
                let accepted = accepted(lines, media);
                Some(accepted.ok_or("the answer takes none of the keys that were offered")?)
            }
            (Offered::Both(lines), Kind::Sdes) => accepted(lines, media),
            (Offered::Plain | Offered::Ours(_) | Offered::Both(_), Kind::Plain)
            | (Offered::AsItStands, _) => None,
            (Offered::Plain | Offered::Ours(_) | Offered::Both(_), _) => {
                return Err("the answer's transport protocol is not what was offered".into());
            }
        };
        let translates = from.is_some() || kind == Kind::Plain;
        let (to, passage) = match (offered, offered_kind) {
            (Some(offered), Some(Kind::Sdes)) if translates => {
                let keys = self.to.take(offered, &self.options.sdes, self.rng)?;
                let line = keys.ours.iter().cloned().collect();
                let passage = Passage::new(offered.protocol, Attributes::Ours(line));
                (Some(keys), passage)
            }
            (Some(offered), _) if from.is_some() => {
                let none = Attributes::Ours(Vec::new());
                (None, Passage::new(offered.protocol, none))
            }
            _ => (None, Passage::new(protocol, Attributes::AsTheyStand)),
        };
        (self.from.keys, self.to.keys) = (from, to);
        (self.from.settled, self.to.settled) = (true, true);
        Ok(passage)
    }
}

/// What an answer takes of our offer (RFC 4568 §5.1.3): the suite tells, whatever became of the
/// tag, since each was offered once.
fn accepted(offered: &[Crypto], answer: &Media<'_>) -> Option<Keys> {
    let suite = |crypto: &Crypto| crypto.master.profile();
    sdes::cryptos(answer).find_map(|theirs| {
        let mut same = offered.iter().filter(|ours| suite(ours) == suite(&theirs));
        let ours = same.next()?;
        Some(Keys {
            ours: Some(ours.clone()),
            theirs: Some(theirs),
        })
    })
}

/// Whether two protocols differ in nothing but the profile for feedback (RFC 4585, RFC 5124).
fn same_protocol(a: &[u8], b: &[u8]) -> bool {
    let base = |protocol: &[u8]| {
        let text = protocol.to_ascii_uppercase();
        text.strip_suffix(b"F").map(<[u8]>::to_vec).unwrap_or(text)
    };
    base(a) == base(b)
}

fn untranslated(wanted: &[u8], protocol: &[u8]) -> Refused {
    format!(
        "transport-protocol {} for {}: SRTP is translated by SDES only, without DTLS",
        String::from_utf8_lossy(wanted),
        String::from_utf8_lossy(protocol)
    )
    .into()
}

/// Gives the relay the keys of both sides. A stream with a key of ours on either is RTP within.
pub fn lock(legs: &mut [LegSpec; 2], parties: &[Party; 2]) {
    let ours = |at: usize| {
        let mut keys = parties.iter().filter_map(|p| p.streams.get(at));
        keys.any(|stream| stream.keys.is_some())
    };
    for (leg, party) in legs.iter_mut().zip(parties) {
        let mut keys: Vec<Option<Keys>> = Vec::new();
        for (at, spec) in leg.media.iter_mut().enumerate() {
            let Some(spec) = spec.as_mut().filter(|s| s.kind != MediaKind::Udptl) else {
                continue;
            };
            if ours(at) {
                spec.kind = MediaKind::Rtp;
            }
            let held = party.streams.get(at).and_then(|s| s.keys.clone());
            if held.is_some() {
                keys.resize(at, None);
                keys.push(held);
            }
        }
        leg.keys = keys;
    }
}
