//! Codecs that one side has and the other has not (`codec-transcode`, `codec-mask`): an offer shows
//! more, or others, than its author wrote, and where the answer takes one of those, legs of ours
//! write each side's sound as the other wants it ([`super::pair`]).
//!
//! The first stream of sound is converted, others pass as they are. The author's first codec that
//! we know, and that was not stripped, is what it gets; the reader's is the first of its answer. In
//! a later offer either side is shown what it used before, whatever the other writes by then.

use super::call::Dialogue;
use super::describe::{self, Added};
use super::flags::Codecs;
use super::pair::Conversion;
use super::record::{is_sound, speaks};
use crate::media::order::Format;
use crate::relay::Side;
use crate::wire::rtp::Coding;
use crate::wire::sdp::{Media, Sdp};

/// What stands in the formats of the first stream of sound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    pub(super) stream: usize,
    /// Which of the author's stay.
    pub(super) stays: Vec<bool>,
    pub(super) added: Vec<Added>,
}

/// The first dynamic payload types (RFC 3551 §3).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// The offer of `author` as the other side shall see it; `None` if it passes as it is. Names that
/// nobody knows here go to `notes`.
pub(super) fn offer(
    dialogue: &Dialogue,
    author: Side,
    sdp: &Sdp<'_>,
    (codecs, codings): (&Codecs, &[Coding]),
    notes: &mut Vec<String>,
) -> Option<Shown> {
    let stream = sdp.media.iter().position(is_sound)?;
    let media = sdp.media.get(stream)?;
    let used = dialogue.conversion.as_ref().filter(|c| c.stream == stream);
    let used = used.and_then(|c| c.formats.get(author.other().index()));
    if codecs.add.is_empty() && used.is_none() {
        return None;
    }
    let names: Vec<String> = media.codecs().map(|n| n.to_ascii_lowercase()).collect();
    let mut shown = Showing {
        stays: describe::filter(media, codecs),
        known: speaks(media, stream, codings),
        media,
        names,
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
    Some(Shown {
        stream,
        stays: shown.stays,
        added: shown.added,
    })
}

/// What an answer to such an offer becomes for who offered, and how sound is converted, if it is.
pub(super) fn answer(
    dialogue: &Dialogue,
    author: Side,
    sdp: &Sdp<'_>,
    codings: &[Coding],
) -> Result<Option<(Shown, Option<Conversion>)>, &'static str> {
    let Some(stream) = dialogue.shown else {
        return Ok(None);
    };
    let offer = Sdp::parse(&dialogue.party(author.other()).sdp).ok();
    let offered = offer.as_ref().and_then(|offer| offer.media.get(stream));
    let (Some(offered), Some(media)) = (offered, sdp.media.get(stream)) else {
        return Ok(None);
    };
    if !is_sound(media) {
        return Ok(None);
    }
    let codecs = &dialogue.codecs;
    let stays = describe::filter(offered, &codecs.without_mask());
    let numbers: Vec<&str> = types(offered).collect();
    let mut theirs = speaks(offered, stream, codings);
    theirs.retain(|f| {
        let mut kept = numbers.iter().zip(&stays).filter(|(_, stays)| **stays);
        // What all were stripped with and came back by its name.
        let back = codecs.add.iter().any(|name| names_coding(name, f.coding))
            && !codecs.takes_out(f.coding.name());
        back || kept.any(|(n, _)| n.parse() == Ok(f.payload_type))
    });
    let first = speaks(media, stream, codings).into_iter().next();
    let first = first.ok_or("the answer takes none of the codecs that were offered")?;
    let same = |f: &Format| (f.payload_type, f.coding) == (first.payload_type, first.coding);
    if theirs.iter().any(same) {
        let names = media.codecs().map(|name| name.to_ascii_lowercase());
        let each = types(media).zip(names).map(|(number, name)| {
            let sound = theirs.iter().any(|f| number.parse() == Ok(f.payload_type));
            let extra = name == "telephone-event" || name == "cn";
            sound || extra && numbers.contains(&number)
        });
        let plain = Shown {
            stream,
            stays: each.collect(),
            added: Vec::new(),
        };
        return Ok(Some((plain, None)));
    }
    let near = theirs.into_iter().next();
    let near = near.ok_or("no codec is left that the offerer and we have")?;
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
        stays: types(media).map(|_| false).collect(),
        added: [Some(sound), events].into_iter().flatten().collect(),
    };
    let formats = match author {
        Side::Caller => [first, near],
        Side::Called => [near, first],
    };
    Ok(Some((shown, Some(Conversion { stream, formats }))))
}

/// The payload types as they stand.
fn types<'a>(media: &Media<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let text = std::str::from_utf8(media.formats).unwrap_or_default();
    text.split(' ').filter(|format| !format.is_empty())
}

/// Whether `opus`, `opus/48000` or `opus/48000/2/...` names a coding; names are in small letters.
fn names_coding(text: &str, coding: Coding) -> bool {
    let mut parts = text.split('/');
    let name = parts.next().unwrap_or_default();
    let fits = |part: Option<&str>, value: u32| {
        part.is_none_or(|p| p.is_empty() || p.parse() == Ok(value))
    };
    name.eq_ignore_ascii_case(coding.name())
        && fits(parts.next(), coding.clock_rate())
        && fits(parts.next(), coding.channels().into())
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
    names: Vec<String>,
    stays: Vec<bool>,
    known: Vec<Format>,
    added: Vec<Added>,
    /// Their codings.
    codings: Vec<Coding>,
}

impl Showing<'_, '_> {
    /// What we cannot read cannot be converted: it is not shown (nor is comfort noise harmed).
    fn keep_known(&mut self) {
        let each = types(self.media).zip(&self.names).zip(&mut self.stays);
        for ((number, name), stays) in each {
            let known = self
                .known
                .iter()
                .any(|f| number.parse() == Ok(f.payload_type));
            *stays &= known || name == "telephone-event" || name == "cn";
        }
    }

    fn keep_events(&mut self) {
        for (name, stays) in self.names.iter().zip(&mut self.stays) {
            *stays |= name == "telephone-event";
        }
    }

    fn add(&mut self, coding: Coding, codecs: &Codecs, number: Option<u8>) {
        if self.codings.contains(&coding) {
            return;
        }
        let own = self.known.iter().find(|f| f.coding == coding);
        let own = own.map(|f| f.payload_type);
        let place = own.and_then(|own| types(self.media).position(|n| n.parse() == Ok(own)));
        if let Some(stays) = place.and_then(|at| self.stays.get_mut(at)) {
            // All were taken out, or this one by name: then it is another one of its kind.
            if *stays || !codecs.takes_out(coding.name()) {
                *stays = true;
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
        let shown = self.names.iter().zip(&self.stays);
        let mut events = shown.filter(|(name, stays)| **stays && *name == "telephone-event");
        let mut fitting = self.media.attributes("rtpmap").filter(|value| {
            let text = std::str::from_utf8(value).unwrap_or_default();
            let text = text.to_ascii_lowercase();
            text.ends_with(&format!("telephone-event/{clock}"))
        });
        if events.next().is_none() || fitting.next().is_some() {
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
