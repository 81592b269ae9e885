//! What is known of a call: its participants, told apart by tags, their last descriptions, and our
//! ports toward them.

use super::codecs::Codecs;
use super::flags::{Options, RtcpMux};
use super::ice::Ice;
use super::pair::{Conversion, Pair};
use super::record::{self, Recording, Tape};
use super::request::Request;
use super::secure::{self, Stream};
use crate::base::{Instant, TimerId};
use crate::relay::{Blocked, Learning, LegSpec, Side, anchor};
use crate::wire::sdp::{Media, Sdp};
use std::net::IpAddr;

/// The most dialogues of one call: branches of forks. Groups of fifty phones ring at once.
pub const DIALOGUES_MAX: usize = 64;
/// The most tags that one side of a dialogue had: forks beyond us that answered in turn.
pub const TAGS_MAX: usize = 8;

/// One side of a dialogue.
#[derive(Clone, Debug)]
pub struct Party {
    /// Its tags, the latest last; none before it answered.
    pub tags: Vec<Box<[u8]>>,
    /// What the client calls it.
    pub label: Box<[u8]>,
    /// When it was first heard of.
    pub created: Instant,
    /// The address that our ports toward it are bound to.
    pub bind: IpAddr,
    /// The address that it is told.
    pub shown: IpAddr,
    /// Our ports toward it, one entry per media section that there ever was.
    pub ports: Vec<Option<u16>>,
    /// Its last description; empty before it wrote one.
    pub sdp: Vec<u8>,
    /// Whether each section shares its port with RTCP, as agreed with it.
    pub muxed: Vec<bool>,
    /// Whether RTCP on the same port was offered to it, by section.
    pub mux_offered: Vec<bool>,
    /// Whom its ports listen to beside what its description says.
    pub hearing: Hearing,
    /// Its keys, one entry per media section that there ever was.
    pub streams: Vec<Stream>,
    /// What ICE needs, where it is spoken with it.
    pub ice: Option<Ice>,
    /// Its last offer's ICE is not taken up.
    pub without_ice: bool,
    /// What of it is blocked.
    pub blocking: Blocking,
}

/// What is sent that goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Blocking {
    /// Media, but for events of keys.
    pub media: bool,
    /// Events of keys.
    pub events: bool,
}

/// Whom the ports toward a party listen to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Hearing {
    /// A host that is as plausible as the description's.
    pub signalling: Option<IpAddr>,
    /// Whether the party is behind a NAT: others may prove themselves in the first seconds.
    pub behind_nat: bool,
    /// The host to send to in place of the description's.
    pub instead: Option<IpAddr>,
    /// When it may turn out to be elsewhere.
    pub learning: Learning,
}

impl Hearing {
    /// What the source of the message says about a description.
    pub fn of(sdp: &Sdp<'_>, options: &Options) -> Self {
        let received = options.received_from;
        let described = sdp
            .media
            .iter()
            .find_map(|m| m.rtp_address())
            .map(|a| a.ip());
        if let (true, Some(host)) = (options.sip_source, received) {
            return Self {
                signalling: Some(host),
                behind_nat: true,
                instead: Some(host),
                learning: options.learning,
            };
        }
        // An address of the inside that the message did not come from: there is a NAT, or a proxy
        // of the same network. Until packets tell, the description is believed unless it names
        // what cannot be reached from where the message came from.
        let inside = described.filter(|host| !is_global(*host) && Some(*host) != received);
        let outside = received.filter(|host| is_global(*host));
        Self {
            signalling: match inside {
                Some(host) => outside.or(Some(host)),
                None => received,
            },
            behind_nat: inside.is_some(),
            instead: None,
            learning: options.learning,
        }
    }
}

/// Whether an address means the same everywhere.
fn is_global(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

impl Party {
    /// Nobody yet.
    pub fn new(now: Instant, (bind, shown): (IpAddr, IpAddr)) -> Self {
        Self {
            tags: Vec::new(),
            label: Box::default(),
            created: now,
            bind,
            shown,
            ports: Vec::new(),
            sdp: Vec::new(),
            muxed: Vec::new(),
            mux_offered: Vec::new(),
            hearing: Hearing::default(),
            streams: Vec::new(),
            ice: None,
            without_ice: false,
            blocking: Blocking::default(),
        }
    }

    /// Whether a tag is one of its.
    pub fn is(&self, tag: &[u8]) -> bool {
        self.tags.iter().any(|t| **t == *tag)
    }

    /// The tag that it goes by now; empty before it has one.
    pub fn tag(&self) -> &[u8] {
        self.tags.last().map_or(b"", |tag| tag)
    }

    /// It goes by this tag from now on.
    pub fn go_by(&mut self, tag: &[u8]) {
        if tag.is_empty() {
            return;
        }
        self.tags.retain(|t| **t != *tag);
        if self.tags.len() >= TAGS_MAX {
            self.tags.remove(0);
        }
        self.tags.push(tag.into());
    }
}

/// Two parties that hear each other.
#[derive(Clone, Debug)]
pub struct Dialogue {
    /// Unique among all dialogues.
    pub id: u64,
    /// The relay's session, while there is one.
    pub session: Option<u64>,
    /// The branch that the client named when it began.
    pub branch: Box<[u8]>,
    /// Who offered first, and the other.
    pub parties: [Party; 2],
    /// What the last offer asked for as to RTCP.
    pub mux: RtcpMux,
    /// And as to formats.
    pub codecs: Codecs,
    /// Who made it.
    pub offerer: Side,
    /// Whether it waits for its answer.
    pub pending: bool,
    /// Whether it is recorded, as its call is.
    pub recording: Recording,
    /// What is written of it, one for each stream of sound.
    pub tapes: Vec<Tape>,
    /// The streams whose formats the last offer's reader was shown otherwise.
    pub shown: Vec<usize>,
    /// How one side's sound becomes the other's, in streams where they have no format in common.
    pub conversions: Vec<Conversion>,
    /// Legs of ours between the two, by streams.
    pub pairs: Vec<Pair>,
    /// When it ends, after it was deleted.
    pub ending: Option<TimerId>,
    /// When it is looked at again.
    pub watch: Option<TimerId>,
    /// When a request was last about it.
    pub touched: Instant,
    /// How many descriptions it took.
    pub exchanges: u64,
}

impl Dialogue {
    /// Takes back the last description, if none came since `before`; whether it did. What is being
    /// done with the dialogue meanwhile goes on.
    pub fn take_back(&mut self, before: Dialogue) -> bool {
        if self.exchanges != before.exchanges + 1 {
            return false;
        }
        let now = std::mem::replace(self, before);
        for (party, now) in self.parties.iter_mut().zip(&now.parties) {
            party.blocking = now.blocking;
        }
        self.session = now.session;
        self.recording = now.recording;
        self.tapes = now.tapes;
        self.pairs = now.pairs;
        (self.ending, self.watch) = (now.ending, now.watch);
        self.touched = now.touched;
        true
    }

    /// One side.
    pub fn party(&self, side: Side) -> &Party {
        let [caller, called] = &self.parties;
        match side {
            Side::Caller => caller,
            Side::Called => called,
        }
    }

    /// One side.
    pub fn party_mut(&mut self, side: Side) -> &mut Party {
        let [caller, called] = &mut self.parties;
        match side {
            Side::Caller => caller,
            Side::Called => called,
        }
    }

    /// Whether both sides have described themselves.
    pub fn is_answered(&self) -> bool {
        self.parties.iter().all(|party| !party.sdp.is_empty())
    }

    /// Whether nobody answered yet.
    pub fn is_dangling(&self) -> bool {
        self.party(Side::Called).tags.is_empty()
    }

    /// Whether this side has an offer to answer.
    fn waits_for(&self, side: Side) -> bool {
        self.pending && self.offerer != side
    }

    /// The side that has this tag.
    pub fn side_of(&self, tag: &[u8]) -> Option<Side> {
        Side::BOTH
            .into_iter()
            .find(|side| self.party(*side).is(tag))
    }

    /// All our ports.
    pub fn ports(&self) -> Vec<u16> {
        let all = self.parties.iter().flat_map(|party| &party.ports);
        all.copied().flatten().collect()
    }

    /// How many media sections there ever were.
    pub fn streams(&self) -> usize {
        let each = self.parties.iter().map(|party| party.ports.len());
        each.max().unwrap_or(0)
    }

    /// How a stream is converted, if it is.
    pub fn conversion(&self, stream: usize) -> Option<&Conversion> {
        self.conversions.iter().find(|c| c.stream == stream)
    }

    /// What the relay shall do; `None` while nobody has described a stream. `blocking` is that of
    /// the whole call.
    pub fn legs(&self, blocking: Blocking) -> Option<[LegSpec; 2]> {
        let [caller, called] = &self.parties;
        let mut legs = match (Sdp::parse(&caller.sdp), Sdp::parse(&called.sdp)) {
            (Ok(a), Ok(b)) => {
                let mut legs = [leg(caller, &a), leg(called, &b)];
                // A stream that one side has just offered has its ports before it is answered: its
                // reader is told of them, so they must be ours then.
                let [first, second] = &mut legs;
                grow(first, unanswered(caller, &b), self.waits_for(Side::Caller));
                grow(second, unanswered(called, &a), self.waits_for(Side::Called));
                legs
            }
            (Ok(a), Err(_)) => [leg(caller, &a), unanswered(called, &a)],
            (Err(_), Ok(b)) => [unanswered(caller, &b), leg(called, &b)],
            (Err(_), Err(_)) => return None,
        };
        let count = legs.iter().map(|leg| leg.media.len()).max().unwrap_or(0);
        for (leg, party) in legs.iter_mut().zip(&self.parties) {
            leg.media.resize(count, None);
            leg.ice = party.ice.as_ref().map(|ice| Box::new(ice.ours));
            block(leg, party, blocking);
        }
        secure::lock(&mut legs, &self.parties);
        record::mark(self, &mut legs);
        Some(legs)
    }
}

/// Adds the streams that a side's own description does not know yet; with `again` those, too, that
/// it refused.
fn grow(leg: &mut LegSpec, offered: LegSpec, again: bool) {
    let known = leg.media.len();
    if again {
        for (place, spec) in leg.media.iter_mut().zip(&offered.media) {
            *place = place.or(*spec);
        }
    }
    leg.media.extend(offered.media.into_iter().skip(known));
}

fn vantage(party: &Party) -> anchor::Vantage {
    anchor::Vantage {
        bind: party.bind,
        signalling: party.hearing.signalling,
        behind_nat: party.hearing.behind_nat,
        learning: party.hearing.learning,
        local: false,
    }
}

fn leg(party: &Party, sdp: &Sdp<'_>) -> LegSpec {
    let mut leg = anchor::leg(sdp, &party.ports, &party.muxed, vantage(party));
    if let Some(host) = party.hearing.instead {
        for spec in leg.media.iter_mut().flatten() {
            for address in [&mut spec.peer, &mut spec.peer_rtcp].into_iter().flatten() {
                address.set_ip(host);
            }
        }
    }
    leg
}

/// Says what of a party's packets goes no further.
fn block(leg: &mut LegSpec, party: &Party, all: Blocking) {
    let media = all.media || party.blocking.media;
    let events = all.events || party.blocking.events;
    if !media && !events {
        return;
    }
    let Ok(sdp) = Sdp::parse(&party.sdp) else {
        return;
    };
    for (spec, section) in leg.media.iter_mut().zip(&sdp.media) {
        if let Some(spec) = spec {
            spec.blocked = Blocked {
                media,
                events,
                event_type: event_type(section),
            };
        }
    }
}

/// The payload type of events of keys.
fn event_type(media: &Media<'_>) -> Option<u8> {
    media.attributes("rtpmap").find_map(|value| {
        let text = std::str::from_utf8(value).ok()?;
        let (number, encoding) = text.split_once(' ')?;
        let name = encoding.trim().split('/').next()?;
        name.eq_ignore_ascii_case("telephone-event")
            .then(|| number.parse().ok())?
    })
}

fn unanswered(party: &Party, offer: &Sdp<'_>) -> LegSpec {
    anchor::unanswered(offer, &party.ports, vantage(party))
}

/// All dialogues of one Call-ID.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it began.
    pub created: Instant,
    /// When a request was last about it.
    pub last_signal: Instant,
    /// What of everybody is blocked.
    pub blocking: Blocking,
    /// Whether it is recorded.
    pub recording: Recording,
    /// Its dialogues, oldest first.
    pub dialogues: Vec<Dialogue>,
}

impl Call {
    /// Without dialogues.
    pub fn new(now: Instant) -> Self {
        Self {
            created: now,
            last_signal: now,
            blocking: Blocking::default(),
            recording: Recording::Off,
            dialogues: Vec::new(),
        }
    }

    /// The dialogue that an offer is about, and the side that makes it.
    pub fn of_offer(&self, request: &Request) -> Option<(usize, Side)> {
        let (from, to) = (&*request.from_tag, &*request.to_tag);
        let mut all = self.dialogues.iter().enumerate();
        if !to.is_empty() {
            let both = all.clone().find_map(|(at, d)| {
                let side = d.side_of(from)?;
                d.party(side.other()).is(to).then_some((at, side))
            });
            if both.is_some() {
                return both;
            }
        }
        // One that nobody answered; for the next branch of a serial fork, the latest.
        let is = |d: &Dialogue| d.party(Side::Caller).is(from) && *d.branch == *request.via_branch;
        let dangling = all.clone().find(|(_, d)| is(d) && d.is_dangling());
        let found = dangling.or_else(|| all.rfind(|(_, d)| to.is_empty() && is(d)));
        found.map(|(at, _)| (at, Side::Caller))
    }

    /// The dialogue that an answer is about, and the side that answers.
    pub fn of_answer(&self, request: &Request) -> Option<(usize, Side)> {
        let (from, to) = (&*request.from_tag, &*request.to_tag);
        let all = || self.dialogues.iter().enumerate();
        let pair = all().find_map(|(at, d)| {
            let side = d.side_of(from)?;
            d.party(side.other()).is(to).then_some((at, side.other()))
        });
        // Forks that the client tells apart by branches, then whoever has not been answered, then
        // forks beyond the client: the latest to answer is heard.
        let offered = |d: &Dialogue| d.party(Side::Caller).is(from);
        let branch = |d: &Dialogue| !d.branch.is_empty() && *d.branch == *request.via_branch;
        let find = |is: &dyn Fn(&Dialogue) -> bool| {
            let found = all().find(|(_, d)| offered(d) && is(d));
            found.map(|(at, _)| (at, Side::Called))
        };
        pair.or_else(|| find(&|d| branch(d)))
            .or_else(|| find(&|d| d.is_dangling()))
            .or_else(|| find(&|d| d.branch.is_empty() || request.via_branch.is_empty()))
    }

    /// The dialogues that a request without a description names, by their places.
    ///
    /// A client that tells forks apart by branches names that of the message which it has at hand,
    /// and a BYE's is not the INVITE's. So the first of these that finds anything counts: without a
    /// To tag the branch, then the From tag; with one both tags (of several dialogues those of the
    /// branch, if there are any), then the To tag, the branch, and the From tag's dialogue if it
    /// has one alone and nobody answered. Without a From tag all are meant.
    pub fn matching(&self, request: &Request) -> Vec<usize> {
        let (from, to) = (&*request.from_tag, &*request.to_tag);
        let branch = &*request.via_branch;
        let of = |is: &dyn Fn(&Dialogue) -> bool| -> Vec<usize> {
            let found = self.dialogues.iter().enumerate().filter(|(_, d)| is(d));
            found.map(|(at, _)| at).collect()
        };
        let branched = |d: &Dialogue| !d.branch.is_empty() && *d.branch == *branch;
        if from.is_empty() {
            return of(&|_| true);
        }
        if to.is_empty() {
            let found = of(&branched);
            return match found.is_empty() {
                true => of(&|d| d.side_of(from).is_some()),
                false => found,
            };
        }
        let pair = |d: &Dialogue| {
            let side = d.side_of(from);
            side.is_some_and(|side| d.party(side.other()).is(to))
        };
        let found = [
            of(&|d| pair(d) && branched(d)),
            of(&pair),
            of(&|d| d.side_of(to).is_some()),
            of(&branched),
        ];
        let found = found.into_iter().find(|found| !found.is_empty());
        found.unwrap_or_else(|| {
            let own = of(&|d| d.side_of(from).is_some());
            let dangling = of(&|d| d.side_of(from).is_some() && d.is_dangling());
            match own.len() {
                1 => dangling,
                _ => Vec::new(),
            }
        })
    }
}

/// What an answering side accepts of RTCP on one port, and what the offering side hears of it, by
/// section.
pub fn agree_on_mux(dialogue: &mut Dialogue, answerer: Side) {
    let mux = dialogue.mux;
    let offered = dialogue.party(answerer.other()).sdp.clone();
    let answered = dialogue.party(answerer).sdp.clone();
    let (Ok(offer), Ok(answer)) = (Sdp::parse(&offered), Sdp::parse(&answered)) else {
        return;
    };
    let pairs = offer.media.iter().zip(&answer.media).enumerate();
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for (at, (offered, answered)) in pairs {
        let to_answerer = dialogue.party(answerer).mux_offered.get(at).copied();
        let agreed = answered.rtcp_mux && to_answerer.unwrap_or(false);
        far.push(agreed);
        near.push(
            offered.rtcp_mux
                && match (mux.reject, mux.accept || mux.demux) {
                    (true, _) => false,
                    (false, true) => true,
                    (false, false) => agreed,
                },
        );
    }
    dialogue.party_mut(answerer).muxed = far;
    dialogue.party_mut(answerer.other()).muxed = near;
}

/// Whether RTCP on one port is offered onward.
pub fn offers_mux(mux: &RtcpMux, offered: bool) -> bool {
    mux.offer || mux.require || offered && !mux.demux
}
