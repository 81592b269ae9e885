//! Which formats of a section go on to its reader, in which order, and which its author may go on
//! using whatever the reader takes: the lists of `codec` in an offer or answer.
//!
//! | list | reader | author |
//! | --- | --- | --- |
//! | `strip` | is not shown it | may not use it |
//! | `mask` | is not shown it | may use it |
//! | `consume` | is not shown it | uses it, whatever the answer takes |
//! | `accept` | is shown it | uses it, whatever the answer takes |
//! | `except` | is shown it although `all` are taken out | |
//! | `offer` | is shown it whatever takes it out, in this order | |
//! | `transcode` | is shown it, whether the author has it or not | |

use crate::wire::rtp::Coding;
use crate::wire::sdp::Media;

/// The most codecs that one list names.
const CODECS_MAX: usize = 64;

/// See the module's text; names are in small letters.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Codecs {
    strip: Vec<String>,
    mask: Vec<String>,
    consume: Vec<String>,
    accept: Vec<String>,
    except: Vec<String>,
    offer: Vec<String>,
    /// `transcode`.
    pub add: Vec<String>,
    /// Bit rates of what is written for the author.
    set: Vec<String>,
    /// Of an answer only the first, and events of keys.
    pub single: bool,
}

/// One of the lists, as the client names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    /// `strip`.
    Strip,
    /// `mask`.
    Mask,
    /// `consume`.
    Consume,
    /// `accept`.
    Accept,
    /// `except`.
    Except,
    /// `offer`.
    Offer,
    /// `transcode`.
    Transcode,
    /// `set`.
    Set,
}

impl List {
    /// All, with their names.
    pub const ALL: [(List, &'static str); 8] = [
        (List::Strip, "strip"),
        (List::Mask, "mask"),
        (List::Consume, "consume"),
        (List::Accept, "accept"),
        (List::Except, "except"),
        (List::Offer, "offer"),
        (List::Transcode, "transcode"),
        (List::Set, "set"),
    ];

    /// The list of that name.
    pub fn of(name: &str) -> Option<Self> {
        let known = Self::ALL.iter().find(|(_, n)| *n == name);
        known.map(|(list, _)| *list)
    }
}

impl Codecs {
    /// Takes a codec into a list.
    pub(super) fn push(&mut self, list: List, codec: &str) {
        let list = match list {
            List::Strip => &mut self.strip,
            List::Mask => &mut self.mask,
            List::Consume => &mut self.consume,
            List::Accept => &mut self.accept,
            List::Except => &mut self.except,
            List::Offer => &mut self.offer,
            List::Transcode => &mut self.add,
            List::Set => &mut self.set,
        };
        if list.len() < CODECS_MAX {
            list.push(codec.to_ascii_lowercase());
        }
    }

    /// What of it counts in an answer.
    pub(super) fn of_answer(&self) -> Self {
        Self {
            strip: self.strip.clone(),
            except: self.except.clone(),
            offer: self.offer.clone(),
            single: self.single,
            ..Self::default()
        }
    }

    /// Whether a codec is taken out by its name, or all are, whatever is added.
    pub(super) fn takes_out(&self, name: &str) -> bool {
        let mut out = self.out();
        out.any(|s| {
            let first = s.split('/').next().unwrap_or_default();
            s == "full" || first.eq_ignore_ascii_case(name)
        })
    }

    fn out(&self) -> impl Iterator<Item = &String> + Clone {
        let lists = [&self.strip, &self.consume, &self.mask];
        lists.into_iter().flatten()
    }

    /// What of an author's section its reader is shown, as places in its list and in the order of
    /// the reader's; `transcode` does nothing yet.
    pub(super) fn shown(&self, media: &Media<'_>) -> Vec<usize> {
        let encodings = encodings(media);
        let mut places = self.stay(self.out(), &encodings);
        restore(&self.offer, &encodings, &mut places);
        places
    }

    /// The same for whoever goes by the section as it is: where nothing is left, all is.
    pub(super) fn passing(&self, media: &Media<'_>) -> Vec<usize> {
        let places = self.shown(media);
        match places.is_empty() {
            true => (0..encodings(media).len()).collect(),
            false => places,
        }
    }

    /// What the author of an offer may go on using. Where nothing is left, all is.
    pub(super) fn usable(&self, media: &Media<'_>) -> Vec<usize> {
        let encodings = encodings(media);
        let mut places = self.stay(self.strip.iter(), &encodings);
        restore(&self.offer, &encodings, &mut places);
        if !self.strip.iter().any(|s| s == "full") {
            restore(&self.add, &encodings, &mut places);
        }
        if places.is_empty() {
            places = (0..encodings.len()).collect();
        }
        restore(&self.consume, &encodings, &mut places);
        places
    }

    /// Of these places of an offer those that its author uses whatever the answer takes.
    pub(super) fn accepted(&self, media: &Media<'_>, places: &[usize]) -> Vec<usize> {
        let encodings = encodings(media);
        let is = |at: &&usize| {
            let encoding = encodings.get(**at);
            let mut wanted = self.accept.iter().chain(&self.consume);
            encoding.is_some_and(|e| wanted.any(|s| is_all(s) || names(s, e)))
        };
        places.iter().filter(is).copied().collect()
    }

    /// Whether the author of an offer uses some of it whatever the answer takes.
    pub(super) fn accepts(&self) -> bool {
        !self.accept.is_empty() || !self.consume.is_empty()
    }

    /// The most bits per second that a codec is written with for the offering side.
    pub(super) fn bits_per_second(&self, coding: Coding) -> Option<u32> {
        bits_per_second(&self.set, coding)
    }

    /// The same for the other side: `transcode` says it.
    pub(super) fn bits_per_second_onward(&self, coding: Coding) -> Option<u32> {
        bits_per_second(&self.add, coding)
    }

    /// What `set` names that has no bit rate here.
    pub(super) fn set_in_vain(&self, codings: &[Coding]) -> impl Iterator<Item = &str> {
        let in_vain = |s: &&String| {
            let mut known = codings.iter();
            !known.any(|c| names_coding(s, *c) && c.has_bit_rates())
        };
        self.set.iter().filter(in_vain).map(String::as_str)
    }

    fn stay<'a>(
        &self,
        out: impl Iterator<Item = &'a String> + Clone,
        encodings: &[String],
    ) -> Vec<usize> {
        let except = |e: &str| self.except.iter().any(|s| names(s, e));
        let stays = |e: &str| {
            let mut out = out.clone();
            !out.any(|s| match is_all(s) {
                true => !except(e),
                false => names(s, e),
            })
        };
        let each = encodings.iter().enumerate();
        each.filter(|(_, e)| stays(e)).map(|(at, _)| at).collect()
    }
}

fn is_all(spec: &str) -> bool {
    spec == "all" || spec == "full"
}

/// Has what was taken out come back in the order of `list`, sound before what goes beside it.
fn restore(list: &[String], encodings: &[String], places: &mut Vec<usize>) {
    let of = |at: &usize| encodings.get(*at).map(String::as_str).unwrap_or_default();
    for spec in list {
        if places.iter().any(|at| names(spec, of(at))) {
            continue;
        }
        for at in (0..encodings.len()).filter(|at| names(spec, of(at))) {
            insert(places, at, |at| is_extra(of(at)));
        }
    }
}

/// Sound goes before what goes beside it, which goes last.
pub(super) fn insert(places: &mut Vec<usize>, at: usize, is_extra: impl Fn(&usize) -> bool) {
    let end = places.len();
    let before = match is_extra(&at) {
        true => end,
        false => places.iter().position(&is_extra).unwrap_or(end),
    };
    places.insert(before, at);
}

/// Whether an encoding goes beside sound: events of keys (RFC 4733), comfort noise (RFC 3389).
pub(super) fn is_extra(encoding: &str) -> bool {
    let name = encoding.split('/').next().unwrap_or_default();
    ["telephone-event", "cn"].contains(&name)
}

/// How each format of a section is written, in small letters.
pub(super) fn encodings(media: &Media<'_>) -> Vec<String> {
    let names: Vec<String> = media.codecs().collect();
    let encodings = formats(media).zip(&names).map(|(format, name)| {
        let mapped = media.attributes("rtpmap").find_map(|value| {
            let at = memchr::memchr(b' ', value).unwrap_or(value.len());
            let (payload_type, encoding) = value.split_at_checked(at)?;
            (payload_type == format).then(|| String::from_utf8_lossy(encoding.trim_ascii()))
        });
        mapped.map_or_else(|| name.to_ascii_lowercase(), |m| m.to_ascii_lowercase())
    });
    encodings.collect()
}

/// The payload types of a section as they stand.
pub(super) fn formats<'a>(media: &Media<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    media
        .formats
        .split(|b| *b == b' ')
        .filter(|f| !f.is_empty())
}

/// Whether `opus` or `opus/48000` or `opus/48000/2` names this encoding.
fn names(spec: &str, encoding: &str) -> bool {
    let name = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
    // One channel is what nothing says.
    let spec = match spec.matches('/').count() {
        2 => spec.strip_suffix("/1").unwrap_or(spec),
        _ => spec,
    };
    match encoding.strip_prefix(spec) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => true,
        // A static payload type that no rtpmap spells out.
        _ => !encoding.contains('/') && name(spec) == encoding,
    }
}

/// Whether `opus`, `opus/48000` or `opus/48000/2/...` names a coding.
pub(super) fn names_coding(text: &str, coding: Coding) -> bool {
    let mut parts = text.split('/');
    let name = parts.next().unwrap_or_default();
    let fits = |part: Option<&str>, value: u32| {
        part.is_none_or(|p| p.is_empty() || p.parse() == Ok(value))
    };
    name.eq_ignore_ascii_case(coding.name())
        && fits(parts.next(), coding.clock_rate())
        && fits(parts.next(), coding.channels().into())
}

/// The fourth part of the first member that names a coding.
fn bits_per_second(list: &[String], coding: Coding) -> Option<u32> {
    let said = list.iter().filter(|s| names_coding(s, coding));
    let mut bits = said.filter_map(|s| s.split('/').nth(3)?.parse().ok());
    bits.find(|bits| *bits > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sdp::Sdp;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n\
        t=0 0\r\nm=audio 4000 RTP/AVP 0 8 9 101\r\na=rtpmap:101 telephone-event/8000\r\n";

    fn codecs(lists: &[(List, &str)]) -> Codecs {
        let mut codecs = Codecs::default();
        lists
            .iter()
            .for_each(|(list, name)| codecs.push(*list, name));
        codecs
    }

    #[test]
    fn what_is_taken_out_comes_back_as_each_list_says() {
        use List::*;
        let sdp = Sdp::parse(OFFER.as_bytes()).unwrap();
        let media = &sdp.media[0];
        // What the reader is shown, what the author may use, and what it uses in any case.
        type Case<'a> = (&'a [(List, &'a str)], &'a [usize], &'a [usize], &'a [usize]);
        let cases: [Case<'_>; 12] = [
            (&[], &[0, 1, 2, 3], &[0, 1, 2, 3], &[]),
            (&[(Strip, "PCMU")], &[1, 2, 3], &[1, 2, 3], &[]),
            (&[(Mask, "PCMU")], &[1, 2, 3], &[0, 1, 2, 3], &[]),
            (&[(Consume, "PCMU")], &[1, 2, 3], &[0, 1, 2, 3], &[0]),
            (
                &[(Accept, "PCMA/8000/1")],
                &[0, 1, 2, 3],
                &[0, 1, 2, 3],
                &[1],
            ),
            (
                &[(Accept, "all")],
                &[0, 1, 2, 3],
                &[0, 1, 2, 3],
                &[0, 1, 2, 3],
            ),
            // By name nothing is excepted.
            (
                &[(Strip, "PCMU"), (Except, "PCMU")],
                &[1, 2, 3],
                &[1, 2, 3],
                &[],
            ),
            (&[(Strip, "all"), (Except, "PCMA")], &[1], &[1], &[]),
            (
                &[(Strip, "PCMU"), (Offer, "PCMU")],
                &[1, 2, 0, 3],
                &[1, 2, 0, 3],
                &[],
            ),
            (
                &[
                    (Strip, "all"),
                    (Offer, "G722"),
                    (Offer, "telephone-event"),
                    (Offer, "PCMU"),
                ],
                &[2, 0, 3],
                &[2, 0, 3],
                &[],
            ),
            (&[(Strip, "all")], &[], &[0, 1, 2, 3], &[]),
            (
                &[(Strip, "all"), (Except, "PCMA"), (Consume, "PCMU")],
                &[1],
                &[1, 0],
                &[0],
            ),
        ];
        for (lists, shown, usable, accepted) in cases {
            let codecs = codecs(lists);
            assert_eq!(codecs.shown(media), shown, "{lists:?}");
            let places = codecs.usable(media);
            assert_eq!(places, usable, "{lists:?}");
            assert_eq!(codecs.accepted(media, &places), accepted, "{lists:?}");
        }
        assert_eq!(codecs(&[(Strip, "all")]).passing(media), [0, 1, 2, 3]);
    }

    #[cfg(feature = "opus")]
    #[test]
    fn bit_rates_are_those_of_a_codec_that_has_some() {
        let set = [
            "opus/48000/1/9000",
            "opus/48000/2/20000",
            "AMR/8000/1/7400",
            "PCMU/8000/1/1",
        ];
        let set = set.map(|name| (List::Set, name));
        let codecs = codecs(&set);
        assert_eq!(codecs.bits_per_second(Coding::Opus), Some(20_000));
        assert_eq!(codecs.bits_per_second_onward(Coding::Opus), None);
        let vain: Vec<_> = codecs.set_in_vain(Coding::ALL).collect();
        assert_eq!(
            vain,
            ["opus/48000/1/9000", "amr/8000/1/7400", "pcmu/8000/1/1"]
        );
    }
}
