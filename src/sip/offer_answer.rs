//! Offer and answer (RFC 3264) for a leg whose sound begins and ends here: what an offer becomes,
//! and what both sides agreed on. One stream of sound is taken; all others are refused.
//!
//! Sound may be secure by keys in the descriptions (SDES, RFC 4568). An offer of ours is either
//! secure or in the clear: who wants the other refuses it, and is asked once more.
//!
//! Comfort noise (RFC 3389) is agreed on where the far end's description names it; no first offer
//! of ours does (`media::comfort` says why), and a later one does if the session has it.
//!
//! Not done here: ports and addresses, which the relay puts in on the way (`call`); DTLS.

use crate::srtp::{Crypto, MasterKey, Profile};
use crate::wire::rtp::{COMFORT_NOISE, Coding, Wishes};
use crate::wire::sdp::{Direction, Media, Sdp};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Stands where the relay writes its own port: the discard protocol's.
const PORT: u16 = 9;
/// What we send in one packet where nothing else is asked (RFC 3551 §4.2).
const PACKET_MS: u8 = 20;
/// The packets that we make, in milliseconds.
const PACKET_MS_RANGE: std::ops::RangeInclusive<u8> = 10..=60;
/// The payload types of telephone events in our own offers: one for each clock of the sound beside
/// them (RFC 4733 §2.2), the usual one first.
const EVENTS: [(u32, u8); 4] = [(8_000, 101), (48_000, 102), (16_000, 103), (44_100, 104)];
/// The clock of events that are taken beside sound of another one, too, in Hz.
const EVENTS_CLOCK: u32 = 8_000;
/// The clock of comfort noise without a description, in Hz (RFC 3389 §4).
const NOISE_CLOCK: u32 = 8_000;
/// Payload types that mean what a description says (RFC 3551 §6).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;
/// Ways to write sound beside the one that was agreed on that are listened to.
pub const ALSO_MAX: usize = 3;
/// Formats of a stream whose payload types are kept.
const FORMATS_MAX: usize = 128;
/// What we ask of encoders of Opus: the copies of what may be lost are used, and peaks of one party
/// do not fill the line (RFC 7587 §6.1). We send one channel, at telephones' bandwidth or that of a
/// room.
const OPUS: &str = "useinbandfec=1;maxaveragebitrate=64000;stereo=0;sprop-stereo=0";
/// No frames of comfort noise, which is not what a description without this says (RFC 4856 §2.1.9).
const G729: &str = "annexb=no";

/// Keys of both sides; `a=crypto` values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    /// Of what we send.
    pub ours: Crypto,
    /// Of what we hear.
    pub theirs: Crypto,
}

/// What both sides agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// The place of the stream.
    pub stream: u8,
    /// How sound is written.
    pub coding: Coding,
    /// The payload type that stands for it.
    pub payload_type: u8,
    /// Other ways in which the far end may write sound at any time, of the same clock: those that
    /// its answer to an offer of ours names behind the first (RFC 3264 §7). An answer of ours names
    /// one.
    pub also: [Option<(u8, Coding)>; ALSO_MAX],
    /// That of telephone events (RFC 4733).
    pub events: Option<u8>,
    /// Their clock in Hz: that of the sound, unless the far end has events of 8 kHz alone.
    pub events_clock: u32,
    /// That of comfort noise of the sound's clock (RFC 3389).
    pub comfort: Option<u8>,
    /// Milliseconds of sound that the far end wants in a packet.
    pub packet_ms: u8,
    /// What else the far end asks of our sound.
    pub wishes: Wishes,
    /// What we do.
    pub direction: Direction,
    /// Where the stream is secure.
    pub keys: Option<Keys>,
    /// What later offers have to keep.
    pub lines: Lines,
}

/// What a format of a stream of sound means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Meaning {
    Sound(Coding),
    /// Telephone events of this clock in Hz.
    Events(u32),
    /// Comfort noise of this clock in Hz.
    Noise(u32),
    /// Something that we do not know.
    Other,
}

/// The lines of a session as the far end described them last. An offer of ours has as many, in
/// their order, and payload types go on to mean what they mean (RFC 3264 §8, §8.3.2). Without lines
/// nothing was described yet.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Lines {
    /// As they refuse their stream; `None` stands for the stream of sound.
    each: Box<[Option<Box<str>>]>,
    /// The protocol of the stream of sound.
    protocol: Box<str>,
    /// What its payload types mean.
    mapped: Box<[(u8, Meaning)]>,
}

impl Lines {
    /// Of a description whose sound is the stream at that place.
    fn of(theirs: &Sdp<'_>, stream: u8) -> Self {
        let stream = usize::from(stream);
        let line = |(at, media): (usize, &Media<'_>)| (at != stream).then(|| refused(media).into());
        let sound = theirs.media.get(stream);
        let protocol = sound.map(|media| String::from_utf8_lossy(media.protocol).into());
        Self {
            each: theirs.media.iter().enumerate().map(line).collect(),
            protocol: protocol.unwrap_or_default(),
            mapped: sound.map(meanings).unwrap_or_default(),
        }
    }

    fn maps(&self, meaning: Meaning) -> bool {
        self.mapped.iter().any(|(_, known)| *known == meaning)
    }

    /// The payload type of a format in an offer of ours that uses those already: the one that it
    /// has; our own, if nothing else has that; any other. `None` where all are taken.
    fn number(&self, meaning: Meaning, own: u8, used: &[(Meaning, u8)]) -> Option<u8> {
        let known = self.mapped.iter().find(|(_, known)| *known == meaning);
        let is_free = |number: &u8| {
            let mapped = self.mapped.iter().any(|(known, _)| known == number);
            !mapped && used.iter().all(|(_, other)| other != number)
        };
        let free = || std::iter::once(own).chain(DYNAMIC).find(is_free);
        known.map(|(number, _)| *number).or_else(free)
    }
}

/// The line of a stream that is refused.
fn refused(media: &Media<'_>) -> String {
    let text = String::from_utf8_lossy;
    let (kind, protocol) = (text(media.kind), text(media.protocol));
    format!("m={kind} 0 {protocol} {}\r\n", text(media.formats))
}

/// What the payload types of a stream mean.
fn meanings(media: &Media<'_>) -> Box<[(u8, Meaning)]> {
    let each = formats(media).take(FORMATS_MAX).map(|format| {
        let events = format.events_clock().map(Meaning::Events);
        let noise = || format.noise_clock().map(Meaning::Noise);
        let sound = || format.coding().map(Meaning::Sound);
        let meaning = events.or_else(noise).or_else(sound);
        (format.number, meaning.unwrap_or(Meaning::Other))
    });
    each.collect()
}

/// Why there is no agreement; 488 (RFC 3261 §21.4.26).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disagreement {
    /// The description cannot be read.
    Unreadable,
    /// It has no stream of sound in the clear, or with a key in the description.
    NoSound,
    /// No encoding in common.
    NoCoding,
}

impl Disagreement {
    /// As a reason phrase.
    pub const fn reason(self) -> &'static str {
        match self {
            Disagreement::Unreadable => "Unreadable Session Description",
            Disagreement::NoSound => "No RTP Audio Offered With Keys Known Here",
            Disagreement::NoCoding => "No Codec In Common",
        }
    }
}

/// Who describes: the `o=` line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Names the session for its life.
    pub id: u32,
    /// Grows by one with each new description (RFC 3264 §8).
    pub version: u32,
    /// Our address.
    pub address: IpAddr,
}

/// The answer to an offer (RFC 3264 §6): the same streams in the same order, all refused but the
/// first of sound, secure ones before those in the clear; of its formats the first that we know
/// too, in the offerer's order. `key` makes our key for a suite: the same as long as a dialog keeps
/// the suite.
pub fn answer(
    offer: &[u8],
    codings: &[Coding],
    origin: Origin,
    key: impl FnOnce(Profile) -> MasterKey,
) -> Result<(Vec<u8>, Agreed), Disagreement> {
    let offer = Sdp::parse(offer).map_err(|_| Disagreement::Unreadable)?;
    let mut agreed = match agree(&offer, codings, true) {
        Ok(agreed) => agreed,
        Err(_) => agree(&offer, codings, false)?,
    };
    agreed.lines = Lines::of(&offer, agreed.stream);
    agreed.also = Default::default();
    if let Some(keys) = &mut agreed.keys {
        keys.ours = Crypto {
            tag: keys.theirs.tag,
            master: key(keys.theirs.master.profile()),
            lifetime: None,
            mki: None,
        };
    }
    let mut text = head(origin);
    let events = agreed
        .events
        .map(|n| (Meaning::Events(agreed.events_clock), n));
    let clock = agreed.coding.clock_rate();
    let noise = agreed.comfort.map(|n| (Meaning::Noise(clock), n));
    let sound = (Meaning::Sound(agreed.coding), agreed.payload_type);
    let formats = std::iter::once(sound).chain(noise).chain(events);
    let formats: Vec<_> = formats.collect();
    for line in &agreed.lines.each {
        match line {
            Some(refused) => text.push_str(refused),
            None => Section {
                protocol: &agreed.lines.protocol,
                formats: &formats,
                packet_ms: agreed.packet_ms,
                direction: agreed.direction,
                crypto: agreed.keys.as_ref().map(|keys| &keys.ours),
            }
            .write(&mut text),
        }
    }
    Ok((text.into_bytes(), agreed))
}

/// Whether an offer has a stream of sound in one of these codings that we could take.
pub fn is_heard(offer: &[u8], codings: &[Coding]) -> bool {
    Sdp::parse(offer).is_ok_and(|offer| {
        let mut both = [true, false].into_iter();
        both.any(|secure| agree(&offer, codings, secure).is_ok())
    })
}

/// An offer of our own: one stream of sound, secure where there is a key, in its place among the
/// lines that the session has.
pub fn offer(
    codings: &[Coding],
    origin: Origin,
    direction: Direction,
    key: Option<&MasterKey>,
    lines: &Lines,
) -> Vec<u8> {
    let mut text = head(origin);
    // Formats of one stream share their packets' length (RFC 8866 §6.4).
    let Some(most) = codings.iter().map(|coding| coding.packet_ms_max()).min() else {
        return text.into_bytes();
    };
    let crypto = key.map(own_crypto);
    let protocol = match (&*lines.protocol, &crypto) {
        ("", Some(_)) => "RTP/SAVP",
        ("", None) => "RTP/AVP",
        (known, _) => known,
    };
    let section = Section {
        protocol,
        formats: &offered(codings, lines),
        packet_ms: PACKET_MS.min(most),
        direction,
        crypto: crypto.as_ref(),
    };
    if lines.each.is_empty() {
        section.write(&mut text);
    }
    for line in &lines.each {
        match line {
            Some(refused) => text.push_str(refused),
            None => section.write(&mut text),
        }
    }
    text.into_bytes()
}

/// The formats of an offer of ours, with their payload types: these codings; comfort noise of their
/// clocks that the far end told of; telephone events of their clocks, or of clocks that it told of.
fn offered(codings: &[Coding], lines: &Lines) -> Vec<(Meaning, u8)> {
    let used = |clock| codings.iter().any(|c| c.clock_rate() == clock);
    let events = EVENTS.map(|(clock, own)| (Meaning::Events(clock), own));
    let events = events.into_iter().filter(|(meaning, _)| match meaning {
        Meaning::Events(clock) => used(*clock) || lines.maps(*meaning),
        Meaning::Sound(_) | Meaning::Noise(_) | Meaning::Other => false,
    });
    let noises = lines.mapped.iter().copied().filter_map(|(own, meaning)| {
        let is_ours = matches!(meaning, Meaning::Noise(clock) if used(clock));
        is_ours.then_some((meaning, own))
    });
    let sound = codings
        .iter()
        .map(|c| (Meaning::Sound(*c), c.payload_type()));
    let mut formats = Vec::new();
    for (meaning, own) in sound.chain(noises).chain(events) {
        let twice = formats.iter().any(|(known, _)| *known == meaning);
        if !twice && let Some(number) = lines.number(meaning, own, &formats) {
            formats.push((meaning, number));
        }
    }
    formats
}

/// What an answer to an offer of ours agrees on; `key` is the offer's. An answer names formats of
/// the offer only (RFC 3264 §6.1).
pub fn accepted(
    answer: &[u8],
    codings: &[Coding],
    key: Option<&MasterKey>,
) -> Result<Agreed, Disagreement> {
    let answer = Sdp::parse(answer).map_err(|_| Disagreement::Unreadable)?;
    let mut agreed = agree(&answer, codings, key.is_some())?;
    agreed.lines = Lines::of(&answer, agreed.stream);
    if let (Some(keys), Some(key)) = (&mut agreed.keys, key) {
        keys.ours = own_crypto(key);
    }
    Ok(agreed)
}

/// The one key of an offer of ours (RFC 4568 §5.1.1).
fn own_crypto(key: &MasterKey) -> Crypto {
    Crypto {
        tag: 1,
        master: key.clone(),
        lifetime: None,
        mki: None,
    }
}

/// The first stream of sound, secure or in the clear, that both sides can use. Its direction is the
/// other side's, seen from ours; so are, for now, its keys. Without lines yet.
fn agree(theirs: &Sdp<'_>, codings: &[Coding], secure: bool) -> Result<Agreed, Disagreement> {
    let mut found = Err(Disagreement::NoSound);
    for (at, media) in theirs.media.iter().enumerate() {
        let fits = media.is_rtp() && media.is_secure_rtp() == secure && media.port != 0;
        if !fits || media.kind != b"audio" {
            continue;
        }
        let keys = match secure {
            true => match key_of(media) {
                Some(theirs) => Some(Keys {
                    ours: theirs.clone(),
                    theirs,
                }),
                None => continue,
            },
            false => None,
        };
        found = Err(Disagreement::NoCoding);
        let mut known = formats(media).filter_map(|f| Some((f.number, f.coding()?)));
        let usable = known.find(|(_, coding)| codings.contains(coding));
        let others = known.filter(|(_, coding)| codings.contains(coding));
        let others: Vec<_> = others.collect();
        let (Some((payload_type, coding)), Ok(stream)) = (usable, u8::try_from(at)) else {
            continue;
        };
        let direction = media.effective_direction();
        let (events, events_clock) = events(media, coding.clock_rate());
        return Ok(Agreed {
            stream,
            coding,
            payload_type,
            also: also(coding, &others),
            events,
            events_clock,
            comfort: noise(media, coding),
            packet_ms: packet_ms(media).min(coding.packet_ms_max()),
            wishes: wishes(media, payload_type),
            direction: Direction::new(direction.receives(), direction.sends()),
            keys,
            lines: Lines::default(),
        });
    }
    found
}

/// The ways of a description to write sound that may take the place of this one at any time: of the
/// same clock, which timestamps go on by.
fn also(chosen: Coding, others: &[(u8, Coding)]) -> [Option<(u8, Coding)>; ALSO_MAX] {
    let same = |(_, coding): &&(u8, Coding)| coding.clock_rate() == chosen.clock_rate();
    let mut found = [None; ALSO_MAX];
    for (place, other) in found.iter_mut().zip(others.iter().filter(same)) {
        *place = Some(*other);
    }
    found
}

/// The first key whose suite and parameters we can use (RFC 4568 §5.1.2).
fn key_of(media: &Media<'_>) -> Option<Crypto> {
    let mut offered = media.attributes("crypto");
    offered.find_map(|value| Crypto::parse(std::str::from_utf8(value).ok()?).ok())
}

/// A format of a stream that we know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readable {
    /// Its payload type.
    pub payload_type: u8,
    /// How sound is written.
    pub coding: Coding,
    /// The payload type of telephone events beside it (RFC 4733).
    pub events: Option<u8>,
    /// Their clock in Hz.
    pub events_clock: u32,
    /// Milliseconds of sound that are wanted in a packet.
    pub packet_ms: u8,
    /// What else is asked of our sound.
    pub wishes: Wishes,
}

/// The formats of a stream in these codings, in its order.
pub fn readable(media: &Media<'_>, codings: &[Coding]) -> Vec<Readable> {
    let known = formats(media).filter_map(|f| Some((f.number, f.coding()?)));
    let usable = known.filter(|(_, coding)| codings.contains(coding));
    let each = usable.map(|(payload_type, coding)| {
        let (events, events_clock) = events(media, coding.clock_rate());
        Readable {
            payload_type,
            coding,
            events,
            events_clock,
            packet_ms: packet_ms(media).min(coding.packet_ms_max()),
            wishes: wishes(media, payload_type),
        }
    });
    each.collect()
}

/// One format of a stream.
struct Format<'a> {
    number: u8,
    /// Name, clock and channels, as `a=rtpmap` says.
    mapped: Option<(&'a [u8], u32, u8)>,
}

impl Format<'_> {
    fn coding(&self) -> Option<Coding> {
        match self.mapped {
            Some((name, clock, channels)) => Coding::named(name, clock, channels),
            None => Coding::of_static(self.number),
        }
    }

    /// The clock in Hz, if it is of telephone events.
    fn events_clock(&self) -> Option<u32> {
        let (name, clock, channels) = self.mapped?;
        let is_event = name.eq_ignore_ascii_case(b"telephone-event") && channels == 1;
        is_event.then_some(clock)
    }

    /// The clock in Hz, if it is of comfort noise.
    fn noise_clock(&self) -> Option<u32> {
        match self.mapped {
            Some((name, clock, channels)) => {
                let is_noise = name.eq_ignore_ascii_case(b"CN") && channels == 1;
                is_noise.then_some(clock)
            }
            None => (self.number == COMFORT_NOISE).then_some(NOISE_CLOCK),
        }
    }
}

fn formats<'m>(media: &'m Media<'m>) -> impl Iterator<Item = Format<'m>> {
    let numbers = media.formats.split(|b| *b == b' ');
    numbers.filter_map(|text| {
        let number = std::str::from_utf8(text).ok()?.parse().ok()?;
        let mapped = media.attributes("rtpmap");
        let mapped = mapped.filter_map(|value| rtpmap(value, text)).next();
        (number < 128).then_some(Format { number, mapped })
    })
}

/// `8 PCMA/8000` for the payload type `8`; one channel where it names none.
fn rtpmap<'a>(value: &'a [u8], payload_type: &[u8]) -> Option<(&'a [u8], u32, u8)> {
    let at = value.iter().position(|b| *b == b' ')?;
    let (number, rest) = value.split_at_checked(at)?;
    let mut parts = rest.trim_ascii().split(|b| *b == b'/');
    let (name, clock) = (parts.next()?, parts.next()?);
    let channels = parts.next().unwrap_or(b"1");
    let channels = std::str::from_utf8(channels).ok()?.parse().ok()?;
    let clock = std::str::from_utf8(clock).ok()?.parse().ok()?;
    (number == payload_type).then_some((name, clock, channels))
}

/// Telephone events beside sound of that clock, and their own: the same (RFC 4733 §2.2), or that
/// of telephones, which is all that some phones name beside Opus.
fn events(media: &Media<'_>, clock: u32) -> (Option<u8>, u32) {
    let of = |clock| {
        let mut each = formats(media);
        let found = each.find(|format| format.events_clock() == Some(clock))?;
        Some((Some(found.number), clock))
    };
    of(clock)
        .or_else(|| of(EVENTS_CLOCK))
        .unwrap_or((None, clock))
}

/// Comfort noise beside sound of that coding: of the same clock (RFC 3389 §4), but none beside
/// G.729, which has its own.
fn noise(media: &Media<'_>, coding: Coding) -> Option<u8> {
    let clock = (coding != Coding::G729).then_some(coding.clock_rate())?;
    let found = formats(media).find(|format| format.noise_clock() == Some(clock));
    found.map(|format| format.number)
}

/// What `a=fmtp` of a format asks of what we send (RFC 7587 §6.1); formats without such words ask
/// nothing.
fn wishes(media: &Media<'_>, payload_type: u8) -> Wishes {
    let mut wishes = Wishes::default();
    let mut ours = media.attributes("fmtp").filter_map(|value| {
        let (number, words) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        (number.parse() == Ok(payload_type)).then_some(words)
    });
    for word in ours.next().unwrap_or_default().split(';') {
        let (name, value) = word.split_once('=').unwrap_or_default();
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("useinbandfec") {
            wishes.fec = value == "1";
        } else if name.eq_ignore_ascii_case("maxaveragebitrate") {
            wishes.bits_per_second_max = value.parse().unwrap_or(0);
        }
    }
    wishes
}

fn packet_ms(media: &Media<'_>) -> u8 {
    let asked = media.attributes("ptime").next();
    let asked = asked.and_then(|text| std::str::from_utf8(text).ok()?.parse::<u8>().ok());
    let tens = asked.map(|ms| ms / 10 * 10);
    tens.filter(|ms| PACKET_MS_RANGE.contains(ms))
        .unwrap_or(PACKET_MS)
}

fn head(origin: Origin) -> String {
    let Origin {
        id,
        version,
        address,
    } = origin;
    let family = match address {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    };
    format!(
        "v=0\r\no=- {id} {version} IN {family} {address}\r\ns=-\r\n\
         c=IN {family} {address}\r\nt=0 0\r\n"
    )
}

/// A stream of sound of ours.
struct Section<'a> {
    protocol: &'a str,
    /// Codings first, then comfort noise and telephone events.
    formats: &'a [(Meaning, u8)],
    packet_ms: u8,
    direction: Direction,
    crypto: Option<&'a Crypto>,
}

impl Section<'_> {
    fn write(&self, text: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(text, "m=audio {PORT} {}", self.protocol);
        for (_, number) in self.formats {
            let _ = write!(text, " {number}");
        }
        text.push_str("\r\n");
        for (meaning, number) in self.formats {
            match meaning {
                Meaning::Sound(coding) => write_coding(text, *coding, *number),
                Meaning::Events(clock) => {
                    let _ = write!(text, "a=rtpmap:{number} telephone-event/{clock}\r\n");
                    let _ = write!(text, "a=fmtp:{number} 0-15\r\n");
                }
                Meaning::Noise(clock) => {
                    let _ = write!(text, "a=rtpmap:{number} CN/{clock}\r\n");
                }
                Meaning::Other => {}
            }
        }
        let direction = match (self.direction.sends(), self.direction.receives()) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        };
        if let Some(crypto) = self.crypto {
            let _ = write!(text, "a=crypto:{crypto}\r\n");
        }
        let _ = write!(text, "a=ptime:{}\r\na={direction}\r\n", self.packet_ms);
    }
}

fn write_coding(text: &mut String, coding: Coding, number: u8) {
    let (name, clock) = (coding.name(), coding.clock_rate());
    // Writing to a String cannot fail.
    let _ = write!(text, "a=rtpmap:{number} {name}/{clock}");
    if coding.channels() > 1 {
        let _ = write!(text, "/{}\r\na=fmtp:{number} {OPUS}", coding.channels());
    }
    if coding == Coding::G729 {
        let _ = write!(text, "\r\na=fmtp:{number} {G729}");
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin {
        id: 7,
        version: 1,
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    };

    fn offered(media: &str) -> Vec<u8> {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n";
        format!("{head}{media}").into_bytes()
    }

    fn key(profile: Profile) -> MasterKey {
        MasterKey::generate(profile, |bytes| bytes.fill(7))
    }

    fn answered(media: &str) -> (String, Agreed) {
        let (text, agreed) = answer(&offered(media), Coding::ALL, ORIGIN, key).unwrap();
        let text = String::from_utf8(text).unwrap();
        Sdp::parse(text.as_bytes()).unwrap();
        (text, agreed)
    }

    #[test]
    fn g729_is_taken_with_its_plugin_and_without_comfort_noise() {
        let media = "m=audio 4000 RTP/AVP 18 0\r\na=fmtp:18 annexb=yes\r\n";
        let (text, agreed) = answered(media);
        assert_eq!(agreed.coding, Coding::Pcmu, "{text}");
        let with = answer(&offered(media), Coding::usable(true), ORIGIN, key).unwrap();
        let text = String::from_utf8(with.0).unwrap();
        assert_eq!((with.1.coding, with.1.payload_type), (Coding::G729, 18));
        let lines = "a=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=ptime:20\r\n";
        assert!(text.contains(lines), "{text}");
        let alone = "m=audio 4000 RTP/AVP 18\r\n";
        assert!(!is_heard(&offered(alone), Coding::usable(false)));
        assert!(is_heard(&offered(alone), Coding::usable(true)));
    }

    /// RFC 3264 §7: who offered is ready for each format of the answer.
    #[test]
    fn an_answer_may_name_several_ways_to_write() {
        let theirs = offered(
            "m=audio 4000 RTP/AVP 9 96 8 0 101\r\na=rtpmap:96 L16/16000\r\n\
             a=rtpmap:101 telephone-event/8000\r\n",
        );
        let agreed = accepted(&theirs, Coding::ALL, None).unwrap();
        assert_eq!((agreed.coding, agreed.payload_type), (Coding::G722, 9));
        // Of another clock is the second.
        let also = [Some((8, Coding::Pcma)), Some((0, Coding::Pcmu)), None];
        assert_eq!(agreed.also, also);
        // An answer of ours names one, so there is nothing else to come.
        let (_, agreed) = answer(&theirs, Coding::ALL, ORIGIN, key).unwrap();
        assert_eq!(agreed.also, [None; ALSO_MAX]);
    }

    /// RFC 3389 §4: of the sound's clock, by the static type of 8 kHz or a dynamic one.
    #[test]
    fn comfort_noise_is_answered_and_kept_but_not_offered() {
        let (text, agreed) = answered("m=audio 4000 RTP/AVP 0 13 101\r\n");
        assert_eq!(agreed.comfort, Some(13));
        assert!(text.contains("m=audio 9 RTP/AVP 0 13\r\n"), "{text}");
        assert!(text.contains("a=rtpmap:13 CN/8000\r\n"), "{text}");
        let direction = Direction::SendRecv;
        let again = offer(
            &[Coding::Pcmu, Coding::Pcma],
            ORIGIN,
            direction,
            None,
            &agreed.lines,
        );
        let again = String::from_utf8(again).unwrap();
        assert!(again.contains("m=audio 9 RTP/AVP 0 8 13 96\r\n"), "{again}");
        let none = Lines::default();
        let first = offer(Coding::OFFERED, ORIGIN, direction, None, &none);
        assert!(!String::from_utf8(first).unwrap().contains("CN/"));

        let wide = "m=audio 4000 RTP/AVP 96 0 13 97\r\na=rtpmap:96 L16/16000\r\n\
            a=rtpmap:97 cn/16000\r\n";
        let (text, agreed) = answered(wide);
        assert_eq!(agreed.comfort, Some(97));
        assert!(text.contains("m=audio 9 RTP/AVP 96 97\r\n"), "{text}");
        assert!(text.contains("a=rtpmap:97 CN/16000\r\n"), "{text}");
        // Another clock, and a 13 that is something else.
        for other in [
            "m=audio 4000 RTP/AVP 0 97\r\na=rtpmap:97 CN/16000\r\n",
            "m=audio 4000 RTP/AVP 0 13\r\na=rtpmap:13 iLBC/8000\r\n",
            "m=audio 4000 RTP/AVP 0\r\n",
        ] {
            let (text, agreed) = answered(other);
            assert_eq!(agreed.comfort, None, "{text}");
            assert!(text.contains("m=audio 9 RTP/AVP 0\r\n"), "{text}");
        }
        let g729 = offered("m=audio 4000 RTP/AVP 18 13\r\n");
        let (_, agreed) = answer(&g729, Coding::usable(true), ORIGIN, key).unwrap();
        assert_eq!(agreed.comfort, None);
    }

    #[test]
    fn packets_fit_into_a_frame() {
        let asked = |ptime: &str| {
            let media = format!("m=audio 4000 RTP/AVP 11\r\n{ptime}");
            let (text, agreed) = answered(&media);
            assert!(text.contains("a=ptime:10\r\n"), "{text}");
            agreed.packet_ms
        };
        assert_eq!([asked(""), asked("a=ptime:20\r\n")], [10, 10]);
        for (codings, ptime) in [
            (&[Coding::Linear44, Coding::Pcma][..], "a=ptime:10\r\n"),
            (&[Coding::Linear16, Coding::Pcma], "a=ptime:20\r\n"),
        ] {
            let text = offer(
                codings,
                ORIGIN,
                Direction::SendRecv,
                None,
                &Lines::default(),
            );
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(ptime), "{text}");
        }
        for linear in [Coding::Linear8, Coding::Linear16, Coding::Linear44] {
            let samples = linear.clock_rate() * u32::from(linear.packet_ms_max()) / 1000;
            assert!(samples * 2 <= 1440, "{linear:?}");
        }
    }

    #[test]
    fn the_offerers_order_decides() {
        let (text, agreed) = answered(
            "m=audio 4000 RTP/AVP 111 0 8 96\r\na=rtpmap:111 iLBC/8000\r\n\
             a=rtpmap:96 telephone-event/8000\r\na=ptime:30\r\n",
        );
        assert_eq!((agreed.coding, agreed.payload_type), (Coding::Pcmu, 0));
        assert_eq!((agreed.events, agreed.packet_ms), (Some(96), 30));
        assert!(text.contains("m=audio 9 RTP/AVP 0 96\r\na=rtpmap:0 PCMU/8000\r\n"));
        assert!(text.contains("a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\n"));
        assert!(text.contains("a=ptime:30\r\na=sendrecv\r\n"));
    }

    #[test]
    fn numbers_mean_what_rtpmap_says() {
        // 8 is mapped to something else, and A-law has a dynamic number.
        let (text, agreed) = answered(
            "m=audio 4000 RTP/AVP 8 97\r\na=rtpmap:8 iLBC/8000\r\na=rtpmap:97 pcma/8000/1\r\n",
        );
        assert_eq!((agreed.coding, agreed.payload_type), (Coding::Pcma, 97));
        assert_eq!(agreed.events, None);
        assert!(text.contains("a=rtpmap:97 PCMA/8000\r\n"));
    }

    #[test]
    fn linear_samples_are_taken_at_their_clock_with_one_channel() {
        let (text, agreed) = answered(
            "m=audio 4000 RTP/AVP 10 96 97 101 102\r\na=rtpmap:96 L16/16000/2\r\n\
             a=rtpmap:97 L16/16000\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=rtpmap:102 telephone-event/16000\r\n",
        );
        assert_eq!((agreed.coding, agreed.payload_type), (Coding::Linear16, 97));
        assert_eq!(agreed.events, Some(102));
        assert!(text.contains("m=audio 9 RTP/AVP 97 102\r\na=rtpmap:97 L16/16000\r\n"));
        assert!(text.contains("a=rtpmap:102 telephone-event/16000\r\n"));
        let (text, agreed) = answered("m=audio 4000 RTP/AVP 11\r\n");
        assert_eq!((agreed.coding, agreed.payload_type), (Coding::Linear44, 11));
        assert!(text.contains("a=rtpmap:11 L16/44100\r\n"), "{text}");
        let stereo = offered("m=audio 4000 RTP/AVP 10\r\n");
        let refused = answer(&stereo, Coding::ALL, ORIGIN, key).unwrap_err();
        assert_eq!(refused, Disagreement::NoCoding);
    }

    #[cfg(feature = "opus")]
    #[test]
    fn opus_is_offered_and_taken_with_what_the_far_end_asks() {
        let ours = offer(
            Coding::OFFERED,
            ORIGIN,
            Direction::SendRecv,
            None,
            &Lines::default(),
        );
        let text = String::from_utf8(ours.clone()).unwrap();
        assert!(
            text.contains("m=audio 9 RTP/AVP 8 0 9 111 3 101 102\r\n"),
            "{text}"
        );
        assert!(
            text.contains("a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1;"),
            "{text}"
        );
        assert!(
            text.contains("a=rtpmap:102 telephone-event/48000\r\n"),
            "{text}"
        );
        let (theirs, _) = answer(&ours, &[Coding::Opus], ORIGIN, key).unwrap();
        let agreed = accepted(&theirs, Coding::ALL, None).unwrap();
        assert_eq!((agreed.coding, agreed.events), (Coding::Opus, Some(102)));
        assert!(agreed.wishes.fec);

        let (text, agreed) = answered(
            "m=audio 4000 RTP/AVP 96 0\r\na=rtpmap:96 opus/48000/2\r\n\
             a=fmtp:96 minptime=10; useinbandfec=1; maxaveragebitrate=20000\r\n",
        );
        assert_eq!((agreed.coding, agreed.payload_type), (Coding::Opus, 96));
        let wishes = Wishes {
            fec: true,
            bits_per_second_max: 20_000,
        };
        assert_eq!(agreed.wishes, wishes);
        assert!(
            text.contains("a=rtpmap:96 opus/48000/2\r\na=fmtp:96 "),
            "{text}"
        );
        // RFC 7587 §7: always with two channels, and nothing is asked by default.
        let (_, agreed) = answered("m=audio 4000 RTP/AVP 96 0\r\na=rtpmap:96 opus/48000\r\n");
        assert_eq!(agreed.coding, Coding::Pcmu);
        let (_, agreed) = answered("m=audio 4000 RTP/AVP 96 0\r\na=rtpmap:96 opus/48000/2\r\n");
        assert_eq!(agreed.wishes, Wishes::default());
    }

    /// Some phones name events of 8 kHz alone, whatever the sound's clock is.
    #[test]
    fn events_of_telephones_are_taken_beside_any_sound() {
        let map = "a=rtpmap:97 L16/16000\r\na=rtpmap:101 telephone-event/8000\r\n";
        let (text, agreed) = answered(&format!("m=audio 4000 RTP/AVP 97 101\r\n{map}"));
        assert_eq!(agreed.coding, Coding::Linear16);
        assert_eq!((agreed.events, agreed.events_clock), (Some(101), 8_000));
        assert!(text.contains("m=audio 9 RTP/AVP 97 101\r\n"), "{text}");
        assert!(text.contains("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"));
        // They stay in a later offer of ours.
        let direction = Direction::SendRecv;
        let ours = offer(&[Coding::Linear16], ORIGIN, direction, None, &agreed.lines);
        let ours = String::from_utf8(ours).unwrap();
        assert!(
            ours.contains("a=rtpmap:101 telephone-event/8000\r\n"),
            "{ours}"
        );
        // Of both those of the sound's clock, as the RFC wants it.
        let both = "m=audio 4000 RTP/AVP 97 101 102\r\na=rtpmap:102 telephone-event/16000\r\n";
        let (_, agreed) = answered(&format!("{both}{map}"));
        assert_eq!((agreed.events, agreed.events_clock), (Some(102), 16_000));
    }

    #[cfg(feature = "opus")]
    #[test]
    fn opus_with_events_of_telephones_has_keys() {
        let (text, agreed) = answered(
            "m=audio 4000 RTP/AVP 96 8 101\r\na=rtpmap:96 opus/48000/2\r\n\
             a=rtpmap:101 telephone-event/8000\r\n",
        );
        assert_eq!((agreed.coding, agreed.payload_type), (Coding::Opus, 96));
        assert_eq!((agreed.events, agreed.events_clock), (Some(101), 8_000));
        assert!(text.contains("m=audio 9 RTP/AVP 96 101\r\n"), "{text}");
    }

    /// RFC 3264 §8: as many lines, each in its place; §8.3.2: payload types mean what they meant.
    #[test]
    fn a_later_offer_keeps_lines_and_payload_types() {
        let audio = "m=audio 4000 RTP/AVPF 97 98 101 0\r\na=rtpmap:97 PCMA/8000\r\n\
            a=rtpmap:98 telephone-event/8000\r\na=rtpmap:101 iLBC/8000\r\n\
            a=rtpmap:0 GSM/8000\r\n";
        let video = "m=video 5000 RTP/AVP 99\r\n";
        for (offered, wanted) in [
            (
                format!("{audio}{video}"),
                ["m=audio 9 RTP/AVPF 97 96 0 98", "m=video 0 RTP/AVP 99"],
            ),
            (
                format!("{video}{audio}"),
                ["m=video 0 RTP/AVP 99", "m=audio 9 RTP/AVPF 97 96 0 98"],
            ),
        ] {
            let (_, agreed) = answered(&offered);
            let codings = [Coding::Pcma, Coding::Pcmu, Coding::Gsm];
            let direction = Direction::SendRecv;
            let ours = offer(&codings, ORIGIN, direction, None, &agreed.lines);
            let text = String::from_utf8(ours.clone()).unwrap();
            let sections: Vec<&str> = text.lines().filter(|l| l.starts_with("m=")).collect();
            assert_eq!(sections, wanted);
            for map in ["97 PCMA", "96 PCMU", "0 GSM", "98 telephone-event"] {
                let line = format!("a=rtpmap:{map}/8000\r\n");
                assert!(text.contains(&line), "{map}: {text}");
            }
            // Its answer names the same stream, and what comes of that keeps the lines, too.
            let (theirs, _) = answer(&ours, &codings, ORIGIN, key).unwrap();
            let again = accepted(&theirs, &codings, None).unwrap();
            assert_eq!((again.stream, again.payload_type), (agreed.stream, 97));
            let ours = offer(&codings[..1], ORIGIN, direction, None, &again.lines);
            let text = String::from_utf8(ours).unwrap();
            assert_eq!(text.lines().filter(|l| l.starts_with("m=")).count(), 2);
            assert!(text.contains("m=audio 9 RTP/AVPF 97 98\r\n"), "{text}");
        }
    }

    #[test]
    fn directions_turn_around() {
        for (theirs, ours) in [
            ("sendrecv", "sendrecv"),
            ("sendonly", "recvonly"),
            ("recvonly", "sendonly"),
            ("inactive", "inactive"),
        ] {
            let (text, _) = answered(&format!("m=audio 4000 RTP/AVP 8\r\na={theirs}\r\n"));
            assert!(text.contains(&format!("a={ours}\r\n")), "{theirs}: {text}");
        }
        // The old way to hold (RFC 3264 §8.4).
        let (text, _) = answered("m=audio 4000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n");
        assert!(text.contains("a=recvonly\r\n"), "{text}");
    }

    #[test]
    fn other_streams_are_refused_in_their_place() {
        let (text, agreed) = answered(
            "m=video 5000 RTP/AVP 99\r\nm=audio 0 RTP/AVP 8\r\nm=audio 4000 RTP/SAVP 8\r\n\
             m=audio 4002 RTP/AVP 8\r\nm=image 6000 udptl t38\r\n",
        );
        assert_eq!(agreed.stream, 3);
        let sections: Vec<&str> = text.lines().filter(|l| l.starts_with("m=")).collect();
        assert_eq!(
            sections,
            [
                "m=video 0 RTP/AVP 99",
                "m=audio 0 RTP/AVP 8",
                "m=audio 0 RTP/SAVP 8",
                "m=audio 9 RTP/AVP 8",
                "m=image 0 udptl t38",
            ]
        );
    }

    /// RFC 4568 §5.1.2, §7.1.1: the first suite that we know, under its tag, with a key of ours.
    #[test]
    fn a_secure_stream_is_taken_before_one_in_the_clear() {
        let inline = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
        let offer = format!(
            "m=audio 4000 RTP/AVP 8\r\nm=audio 4002 RTP/SAVP 8\r\n\
             a=crypto:1 F8_128_HMAC_SHA1_80 inline:{inline}\r\n\
             a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:{inline}|2^20\r\n"
        );
        let (text, agreed) = answered(&offer);
        assert_eq!(agreed.stream, 1);
        let keys = agreed.keys.unwrap();
        assert_eq!((keys.theirs.tag, keys.ours.tag), (4, 4));
        assert_eq!(keys.ours.master, key(Profile::AesCm128HmacSha1_80));
        assert!(
            text.contains("m=audio 0 RTP/AVP 8\r\nm=audio 9 RTP/SAVP 8\r\n"),
            "{text}"
        );
        let line = format!("a=crypto:{}\r\n", keys.ours);
        assert!(text.contains(&line) && !text.contains(inline), "{text}");
    }

    #[test]
    fn disagreements_are_told_apart() {
        let refuse = |media: &str| answer(&offered(media), Coding::ALL, ORIGIN, key).unwrap_err();
        assert_eq!(refuse("m=video 5000 RTP/AVP 99\r\n"), Disagreement::NoSound);
        assert_eq!(refuse("m=audio 5000 RTP/SAVP 8\r\n"), Disagreement::NoSound);
        assert_eq!(
            refuse("m=audio 5000 RTP/AVP 18\r\n"),
            Disagreement::NoCoding
        );
        assert_eq!(
            answer(b"hello", Coding::ALL, ORIGIN, key).unwrap_err(),
            Disagreement::Unreadable
        );
    }

    #[test]
    fn an_offer_of_ours_is_answered_and_read() {
        let ours = offer(
            Coding::ALL,
            ORIGIN,
            Direction::SendRecv,
            None,
            &Lines::default(),
        );
        let (theirs, seen) = answer(&ours, &[Coding::Pcmu], ORIGIN, key).unwrap();
        let agreed = accepted(&theirs, Coding::ALL, None).unwrap();
        assert_eq!((agreed.coding, agreed.events), (Coding::Pcmu, Some(101)));
        assert_eq!(seen.coding, agreed.coding);
    }

    #[test]
    fn a_secure_offer_of_ours_is_answered_with_a_key() {
        let own = key(Profile::AesCm128HmacSha1_80);
        let ours = offer(
            Coding::ALL,
            ORIGIN,
            Direction::SendRecv,
            Some(&own),
            &Lines::default(),
        );
        let text = String::from_utf8(ours.clone()).unwrap();
        assert!(text.contains("m=audio 9 RTP/SAVP 8 "), "{text}");
        let other = |profile| MasterKey::generate(profile, |bytes| bytes.fill(9));
        let (theirs, seen) = answer(&ours, &[Coding::Pcmu], ORIGIN, other).unwrap();
        let agreed = accepted(&theirs, Coding::ALL, Some(&own)).unwrap();
        let (mine, seen) = (agreed.keys.unwrap(), seen.keys.unwrap());
        assert_eq!(
            (&mine.ours.master, &mine.theirs.master),
            (&seen.theirs.master, &seen.ours.master)
        );
        assert_eq!(mine.ours.master, own);
        // An answer in the clear is none.
        let (clear, _) = answer(
            &offered("m=audio 4000 RTP/AVP 0\r\n"),
            Coding::ALL,
            ORIGIN,
            key,
        )
        .unwrap();
        assert!(accepted(&clear, Coding::ALL, Some(&own)).is_err());
    }
}
