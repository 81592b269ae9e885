//! Codecs that one side has and the other has not (`codec-transcode`, `codec-mask`), or that it
//! shall use in any case (`codec-accept`, `codec-consume`): an offer shows more, or others, than
//! its author wrote, and where the answer takes another than the author gets, legs of ours write
//! each side's sound as the other wants it ([`super::pair`]).
//!
//! Each stream of sound is converted by itself. The author gets its first codec that is accepted;
//! without one what the answer takes, or else its first codec that we know, and that was not
//! stripped. The reader's is the first of its answer. In a later offer either side is shown what it
//! used before, whatever the other writes by then.

use super::call::Dialogue;
use super::codecs::{self, Codecs, encodings, is_extra, names_coding};
use super::describe::Added;
use super::pair::Conversion;
use super::record::{is_sound, speaks};
use crate::media::order::Format;
use crate::relay::Side;
use crate::wire::rtp::Coding;
use crate::wire::sdp::{Media, Sdp};

/// What stands in the formats of a stream of sound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    pub(super) stream: usize,
    /// Which of the author's stay, as places in its list.
    pub(super) places: Vec<usize>,
    pub(super) added: Vec<Added>,
}

/// The first dynamic payload types (RFC 3551 §3).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// The streams of an offer of `author` as the other side shall see them; those are absent that pass
/// as they are. Names that nobody knows here go to `notes`.
pub(super) fn offer(
    dialogue: &Dialogue,
    author: Side,
    sdp: &Sdp<'_>,
    (codecs, codings): (&Codecs, &[Coding]),
    notes: &mut Vec<String>,
) -> Vec<Shown> {
    let in_vain = codecs.set_in_vain(codings);
    notes.extend(in_vain.map(|name| format!("codec-set-{name}: no codec with a bit rate here")));
    let sounds = sdp.media.iter().enumerate().filter(|(_, m)| is_sound(m));
    let each = sounds.filter_map(|(stream, media)| {
        let used = dialogue.conversion(stream);
        let used = used.and_then(|c| c.formats.get(author.other().index()));
        show((stream, media), used, (codecs, codings), notes)
    });
    each.collect()
}

/// One stream of an offer; what its reader used before is among what it is shown.
fn show(
    (stream, media): (usize, &Media<'_>),
    used: Option<&Format>,
    (codecs, codings): (&Codecs, &[Coding]),
    notes: &mut Vec<String>,
) -> Option<Shown> {
    if codecs.add.is_empty() && used.is_none() {
        return codecs.accepts().then(|| Shown {
            stream,
            places: codecs.passing(media),
            added: Vec::new(),
        });
    }
    let mut shown = Showing {
        encodings: encodings(media),
        places: codecs.shown(media),
        known: speaks(media, stream, codings),
        media,
        added: Vec::new(),
        codings: Vec::new(),
    };
    let number = |coding| used.filter(|u| u.coding == coding).map(|u| u.payload_type);
    shown.keep_known();
    for name in &codecs.add {
        if name.starts_with("telephone-event") {
            shown.keep_events();
        } else if let Some(coding) = codings.iter().find(|c| names_coding(name, **c)) {
            shown.add(*coding, codecs, number(*coding));
        } else {
            notes.push(format!("transcode-{name}: this codec is not known here"));
        }
    }
    if let Some(used) = used {
        shown.add(used.coding, codecs, Some(used.payload_type));
    }
    if shown.places.is_empty() && shown.added.is_empty() {
        shown.places = (0..shown.encodings.len()).collect();
    }
    Some(Shown {
        stream,
        places: shown.places,
        added: shown.added,
    })
}

/// What the streams of an answer to such an offer become for who offered, and how sound is
/// converted, where it is.
pub(super) fn answer(
    dialogue: &Dialogue,
    author: Side,
    sdp: &Sdp<'_>,
    codings: &[Coding],
) -> Result<Vec<(Shown, Option<Conversion>)>, &'static str> {
    let offer = Sdp::parse(&dialogue.party(author.other()).sdp).ok();
    let each = dialogue.shown.iter().filter_map(|stream| {
        let offered = offer.as_ref()?.media.get(*stream)?;
        let media = sdp.media.get(*stream)?;
        let asked = (&dialogue.codecs, codings);
        agree(*stream, (offered, media), author, asked).transpose()
    });
    each.collect()
}

/// One stream of an offer and its answer by `author`.
fn agree(
    stream: usize,
    (offered, media): (&Media<'_>, &Media<'_>),
    author: Side,
    (codecs, codings): (&Codecs, &[Coding]),
) -> Result<Option<(Shown, Option<Conversion>)>, &'static str> {
    if !is_sound(media) || codecs.add.is_empty() && !begins_known(media, stream, codings) {
        return Ok(None);
    }
    let offerer = Offerer::new(offered, stream, codecs, codings);
    let mut far = speaks(media, stream, codings).into_iter().next();
    if let Some(far) = &mut far {
        let most = codecs.bits_per_second_onward(far.coding);
        bound(far, most);
    }
    let far = far.ok_or("the answer takes none of the codecs that were offered")?;
    let same = |f: &&Format| (f.payload_type, f.coding) == (far.payload_type, far.coding);
    let taken = offerer.formats.iter().find(same);
    let near = offerer
        .accepted
        .as_ref()
        .or(taken)
        .or(offerer.formats.first());
    let near = near.ok_or("no codec is left that the offerer and we have")?;
    let keys_alike = !offerer.has_events || near.events.is_none() || far.events.is_some();
    if same(&near) && keys_alike {
        let plain = Shown {
            stream,
            places: offerer.shared(offered, media),
            added: Vec::new(),
        };
        return Ok(Some((plain, None)));
    }
    let events = near.events.map(|number| Added {
        payload_type: number,
        lines: lines_of(offered, number),
        is_event: true,
    });
    let sound = Added {
        payload_type: near.payload_type,
        lines: vec![map(near.payload_type, near.coding)],
        is_event: false,
    };
    let shown = Shown {
        stream,
        places: Vec::new(),
        added: [Some(sound), events].into_iter().flatten().collect(),
    };
    let formats = match author {
        Side::Caller => [far, near.clone()],
        Side::Called => [near.clone(), far],
    };
    Ok(Some((shown, Some(Conversion { stream, formats }))))
}

/// Whether we can read the sound that a section names first.
fn begins_known(media: &Media<'_>, stream: usize, codings: &[Coding]) -> bool {
    let mut each = types(media).zip(encodings(media));
    let first = each.find(|(_, encoding)| !is_extra(encoding));
    let known = speaks(media, stream, codings);
    first.is_some_and(|(number, _)| {
        let mut known = known.iter();
        known.any(|f| number.parse() == Ok(f.payload_type))
    })
}

/// What the author of an offer may use.
struct Offerer {
    /// Of the codecs that we know, in the order of its wishes.
    formats: Vec<Format>,
    /// Which of them it uses whatever the answer takes.
    accepted: Option<Format>,
    /// Whether it gets events of keys whatever the answer takes.
    has_events: bool,
    /// Whether what we cannot read may pass: nothing was added or accepted.
    unread: bool,
}

impl Offerer {
    fn new(offered: &Media<'_>, stream: usize, codecs: &Codecs, codings: &[Coding]) -> Self {
        let numbers: Vec<&str> = types(offered).collect();
        let known = speaks(offered, stream, codings);
        let usable = codecs.usable(offered);
        let is_usable = |number: u8| {
            let mut usable = usable.iter().filter_map(|at| numbers.get(*at));
            usable.any(|n| n.parse() == Ok(number))
        };
        let of = |at: &usize| {
            let number = numbers.get(*at)?.parse::<u8>().ok()?;
            let mut format = known.iter().find(|f| f.payload_type == number)?.clone();
            let most = codecs.bits_per_second(format.coding);
            bound(&mut format, most);
            format.events = format.events.filter(|number| is_usable(*number));
            Some(format)
        };
        let accepted = codecs.accepted(offered, &usable);
        let encodings = encodings(offered);
        let events = |at: &usize| {
            let encoding = encodings.get(*at);
            encoding.is_some_and(|e| e.starts_with("telephone-event"))
        };
        Self {
            formats: usable.iter().filter_map(of).collect(),
            has_events: accepted.iter().any(events),
            unread: accepted.is_empty() && codecs.add.is_empty(),
            accepted: accepted.iter().find_map(of),
        }
    }

    /// What of an answer it is told, where the answer takes what it uses.
    fn shared(&self, offered: &Media<'_>, media: &Media<'_>) -> Vec<usize> {
        let numbers: Vec<&str> = types(offered).collect();
        let uses = |f: &&Format| {
            let accepted = self.accepted.as_ref();
            accepted.is_none_or(|a| a.payload_type == f.payload_type)
        };
        let stays = |(number, encoding): (&str, String)| {
            let mut uses = self.formats.iter().filter(uses);
            let sound = uses.any(|f| number.parse() == Ok(f.payload_type));
            sound || (self.unread || is_extra(&encoding)) && numbers.contains(&number)
        };
        let each = types(media).zip(encodings(media)).enumerate();
        let stay = each.filter_map(|(at, format)| stays(format).then_some(at));
        stay.collect()
    }
}

/// Writes a format with so many bits at the most.
fn bound(format: &mut Format, bits_per_second: Option<u32>) {
    let most = &mut format.wishes.bits_per_second_max;
    match (bits_per_second, *most) {
        (None, _) => {}
        (Some(bits), 0) => *most = bits,
        (Some(bits), own) => *most = bits.min(own),
    }
}

/// The payload types as they stand.
fn types<'a>(media: &Media<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let text = std::str::from_utf8(media.formats).unwrap_or_default();
    text.split(' ').filter(|format| !format.is_empty())
}

/// The value of `a=rtpmap`.
fn map(payload_type: u8, coding: Coding) -> String {
    let (name, clock) = (coding.name(), coding.clock_rate());
    match coding.channels() {
        1 => format!("rtpmap:{payload_type} {name}/{clock}"),
        channels => format!("rtpmap:{payload_type} {name}/{clock}/{channels}"),
    }
}

/// What a section says of a payload type.
fn lines_of(media: &Media<'_>, payload_type: u8) -> Vec<String> {
    let start = format!("{payload_type} ");
    let each = ["rtpmap", "fmtp"].into_iter().flat_map(|name| {
        let values = media
            .attributes(name)
            .filter_map(|v| std::str::from_utf8(v).ok());
        let own = values.filter(|v| v.starts_with(&start));
        own.map(|v| format!("{name}:{v}")).collect::<Vec<_>>()
    });
    each.collect()
}

/// An offer's formats, on their way to the reader.
struct Showing<'a, 'm> {
    media: &'a Media<'m>,
    encodings: Vec<String>,
    /// Which stay.
    places: Vec<usize>,
    known: Vec<Format>,
    added: Vec<Added>,
    /// Their codings.
    codings: Vec<Coding>,
}

impl Showing<'_, '_> {
    /// What we cannot read cannot be converted: it is not shown (nor is comfort noise harmed).
    fn keep_known(&mut self) {
        let known: Vec<bool> = types(self.media)
            .map(|n| self.known.iter().any(|f| n.parse() == Ok(f.payload_type)))
            .collect();
        let encodings = &self.encodings;
        self.places.retain(|at| {
            let extra = encodings.get(*at).is_some_and(|e| is_extra(e));
            extra || known.get(*at).is_some_and(|known| *known)
        });
    }

    fn keep_events(&mut self) {
        for at in 0..self.encodings.len() {
            if self.is_events(&at) {
                self.keep(at);
            }
        }
    }

    fn is_events(&self, at: &usize) -> bool {
        let encoding = self.encodings.get(*at);
        encoding.is_some_and(|e| e.starts_with("telephone-event"))
    }

    fn keep(&mut self, at: usize) {
        if !self.places.contains(&at) {
            let encodings = &self.encodings;
            let extra = |at: &usize| encodings.get(*at).is_some_and(|e| is_extra(e));
            codecs::insert(&mut self.places, at, extra);
        }
    }

    fn add(&mut self, coding: Coding, codecs: &Codecs, number: Option<u8>) {
        if self.codings.contains(&coding) {
            return;
        }
        let own = self.known.iter().find(|f| f.coding == coding);
        let own = own.map(|f| f.payload_type);
        let place = own.and_then(|own| types(self.media).position(|n| n.parse() == Ok(own)));
        if let Some(at) = place {
            // All were taken out, or this one by name: then it is another one of its kind.
            if self.places.contains(&at) || !codecs.takes_out(coding.name()) {
                self.keep(at);
                return;
            }
        }
        let free = match coding.is_static() {
            true => Some(coding.payload_type()),
            false => number.filter(|n| !self.has(*n)).or_else(|| self.free()),
        };
        let Some(payload_type) = free.filter(|n| !self.has_added(*n)) else {
            return;
        };
        self.codings.push(coding);
        self.added.push(Added {
            payload_type,
            lines: vec![map(payload_type, coding)],
            is_event: false,
        });
        self.add_events(coding.clock_rate());
    }

    /// Events go by the clock of the sound beside them (RFC 4733 §2.2).
    fn add_events(&mut self, clock: u32) {
        let events = self.places.iter().any(|at| self.is_events(at));
        let mut fitting = self.media.attributes("rtpmap").filter(|value| {
            let text = std::str::from_utf8(value).unwrap_or_default();
            let text = text.to_ascii_lowercase();
            text.ends_with(&format!("telephone-event/{clock}"))
        });
        if !events || fitting.next().is_some() {
            return;
        }
        let Some(payload_type) = self.free() else {
            return;
        };
        let map = format!("rtpmap:{payload_type} telephone-event/{clock}");
        self.added.push(Added {
            payload_type,
            lines: vec![map, format!("fmtp:{payload_type} 0-15")],
            is_event: true,
        });
    }

    fn has(&self, payload_type: u8) -> bool {
        types(self.media).any(|n| n.parse() == Ok(payload_type)) || self.has_added(payload_type)
    }

    fn has_added(&self, payload_type: u8) -> bool {
        self.added.iter().any(|a| a.payload_type == payload_type)
    }

    fn free(&self) -> Option<u8> {
        DYNAMIC.into_iter().find(|n| !self.has(*n))
    }
}
