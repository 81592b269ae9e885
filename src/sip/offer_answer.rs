//! Offer and answer (RFC 3264) for a leg whose sound begins and ends here: what an offer becomes,
//! and what both sides agreed on. One stream of sound is taken; all others are refused.
//!
//! Sound may be secure by keys in the descriptions (SDES, RFC 4568). An offer of ours is either
//! secure or in the clear: who wants the other refuses it, and is asked once more.
//!
//! Not done here: ports and addresses, which the relay puts in on the way (`call`); DTLS.

use crate::srtp::{Crypto, MasterKey, Profile};
use crate::wire::rtp::{Coding, Wishes};
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
    /// That of telephone events (RFC 4733).
    pub events: Option<u8>,
    /// Milliseconds of sound that the far end wants in a packet.
    pub packet_ms: u8,
    /// What else the far end asks of our sound.
    pub wishes: Wishes,
    /// What we do.
    pub direction: Direction,
    /// Where the stream is secure.
    pub keys: Option<Keys>,
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
    if let Some(keys) = &mut agreed.keys {
        keys.ours = Crypto {
            tag: keys.theirs.tag,
            master: key(keys.theirs.master.profile()),
            lifetime: None,
            mki: None,
        };
    }
    let mut text = head(origin);
    for (at, media) in offer.media.iter().enumerate() {
        let kind = String::from_utf8_lossy(media.kind);
        let protocol = String::from_utf8_lossy(media.protocol);
        if at == usize::from(agreed.stream) {
            let events: Vec<_> = agreed.events.into_iter().collect();
            let events = events.iter().map(|n| (agreed.coding.clock_rate(), *n));
            section(&mut text, &protocol, &agreed, (&[agreed.coding], events));
        } else {
            let formats = String::from_utf8_lossy(media.formats);
            // Writing to a String cannot fail.
            let _ = write!(text, "m={kind} 0 {protocol} {formats}\r\n");
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

/// An offer of our own: one stream of sound, secure where there is a key.
pub fn offer(
    codings: &[Coding],
    origin: Origin,
    direction: Direction,
    key: Option<&MasterKey>,
) -> Vec<u8> {
    let mut text = head(origin);
    // Formats of one stream share their packets' length (RFC 8866 §6.4).
    let fits = codings.iter().map(|coding| coding.packet_ms_max()).min();
    if let (Some(&first), Some(most)) = (codings.first(), fits) {
        let crypto = key.map(own_crypto);
        let protocol = if crypto.is_some() {
            "RTP/SAVP"
        } else {
            "RTP/AVP"
        };
        let ours = Agreed {
            stream: 0,
            coding: first,
            payload_type: first.payload_type(),
            events: None,
            packet_ms: PACKET_MS.min(most),
            wishes: Wishes::default(),
            direction,
            keys: crypto.map(|ours| Keys {
                theirs: ours.clone(),
                ours,
            }),
        };
        let clock_used = |clock| codings.iter().any(|c| c.clock_rate() == clock);
        let events = EVENTS.into_iter().filter(|(clock, _)| clock_used(*clock));
        section(&mut text, protocol, &ours, (codings, events));
    }
    text.into_bytes()
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
/// other side's, seen from ours; so are, for now, its keys.
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
        let (Some((payload_type, coding)), Ok(stream)) = (usable, u8::try_from(at)) else {
            continue;
        };
        let direction = media.effective_direction();
        return Ok(Agreed {
            stream,
            coding,
            payload_type,
            events: events(media, coding.clock_rate()),
            packet_ms: packet_ms(media).min(coding.packet_ms_max()),
            wishes: wishes(media, payload_type),
            direction: Direction::new(direction.receives(), direction.sends()),
            keys,
        });
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
    /// Milliseconds of sound that are wanted in a packet.
    pub packet_ms: u8,
    /// What else is asked of our sound.
    pub wishes: Wishes,
}

/// The formats of a stream in these codings, in its order.
pub fn readable(media: &Media<'_>, codings: &[Coding]) -> Vec<Readable> {
    let known = formats(media).filter_map(|f| Some((f.number, f.coding()?)));
    let usable = known.filter(|(_, coding)| codings.contains(coding));
    let each = usable.map(|(payload_type, coding)| Readable {
        payload_type,
        coding,
        events: events(media, coding.clock_rate()),
        packet_ms: packet_ms(media).min(coding.packet_ms_max()),
        wishes: wishes(media, payload_type),
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

/// Telephone events at the clock of the sound beside them (RFC 4733 §2.2).
fn events(media: &Media<'_>, clock: u32) -> Option<u8> {
    let mut named = formats(media).filter(|f| {
        f.mapped.is_some_and(|(name, rate, channels)| {
            name.eq_ignore_ascii_case(b"telephone-event") && (rate, channels) == (clock, 1)
        })
    });
    named.next().map(|f| f.number)
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

/// A stream of sound; `events` are the payload types of telephone events, with their clocks.
fn section(
    text: &mut String,
    protocol: &str,
    ours: &Agreed,
    (codings, events): (&[Coding], impl Iterator<Item = (u32, u8)> + Clone),
) {
    let number = |c: Coding| match c == ours.coding {
        true => ours.payload_type,
        false => c.payload_type(),
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "m=audio {PORT} {protocol}");
    let numbers = codings.iter().map(|c| number(*c));
    for format in numbers.chain(events.clone().map(|(_, n)| n)) {
        let _ = write!(text, " {format}");
    }
    text.push_str("\r\n");
    for coding in codings {
        let (name, clock) = (coding.name(), coding.clock_rate());
        let _ = write!(text, "a=rtpmap:{} {name}/{clock}", number(*coding));
        if coding.channels() > 1 {
            let _ = write!(text, "/{}\r\n", coding.channels());
            let _ = write!(text, "a=fmtp:{} {OPUS}", number(*coding));
        }
        if *coding == Coding::G729 {
            let _ = write!(text, "\r\na=fmtp:{} {G729}", number(*coding));
        }
        text.push_str("\r\n");
    }
    for (clock, format) in events {
        let _ = write!(text, "a=rtpmap:{format} telephone-event/{clock}\r\n");
        let _ = write!(text, "a=fmtp:{format} 0-15\r\n");
    }
    let direction = match (ours.direction.sends(), ours.direction.receives()) {
        (true, true) => "sendrecv",
        (true, false) => "sendonly",
        (false, true) => "recvonly",
        (false, false) => "inactive",
    };
    if let Some(keys) = &ours.keys {
        let _ = write!(text, "a=crypto:{}\r\n", keys.ours);
    }
    let _ = write!(text, "a=ptime:{}\r\na={direction}\r\n", ours.packet_ms);
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
            let text = offer(codings, ORIGIN, Direction::SendRecv, None);
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
        let ours = offer(Coding::OFFERED, ORIGIN, Direction::SendRecv, None);
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
        let ours = offer(Coding::ALL, ORIGIN, Direction::SendRecv, None);
        let (theirs, seen) = answer(&ours, &[Coding::Pcmu], ORIGIN, key).unwrap();
        let agreed = accepted(&theirs, Coding::ALL, None).unwrap();
        assert_eq!((agreed.coding, agreed.events), (Coding::Pcmu, Some(101)));
        assert_eq!(seen.coding, agreed.coding);
    }

    #[test]
    fn a_secure_offer_of_ours_is_answered_with_a_key() {
        let own = key(Profile::AesCm128HmacSha1_80);
        let ours = offer(Coding::ALL, ORIGIN, Direction::SendRecv, Some(&own));
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
