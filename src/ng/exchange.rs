//! Offers and answers: what they change in a call, and what their reader gets to see.

use super::call::{self, Call, DIALOGUES_MAX, Dialogue, Hearing, Party};
use super::codecs::{self, Codecs};
use super::core::Ng;
use super::describe::{self, Section, Writing};
use super::flags::{Family, Options};
use super::ice;
use super::record::Recording;
use super::request::{Command, Request};
use super::secure::{self, Passage};
use super::transcode::{self, Shown};
use crate::base::Instant;
use crate::relay::{LegSpec, Side, anchor};
use crate::wire::sdp::{Media, Sdp};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// As many calls as may be; clients try another relay then.
pub(super) const LOAD_LIMIT: &str = "Parallel session limit reached";
pub(super) const NO_PORTS: &str = "Ran out of ports";

/// What an offer or answer leads to.
pub(super) struct Prepared {
    /// For the reader.
    pub(super) sdp: Vec<u8>,
    /// The dialogue that the relay must hear of, and what.
    pub(super) relayed: Option<(u64, [LegSpec; 2])>,
    /// What that was before, if it was known.
    pub(super) before: Option<Box<Dialogue>>,
}

type Refused = Cow<'static, str>;

impl Ng {
    /// Takes an offer or answer into its call.
    pub(super) fn exchange(
        &mut self,
        now: Instant,
        request: &Request,
    ) -> Result<Prepared, Refused> {
        let body = request.sdp.as_deref().unwrap_or_default();
        let sdp = Sdp::parse(body).map_err(|error| {
            tracing::debug!("ng: {error}");
            Cow::Borrowed("Failed to parse SDP")
        })?;
        let options = &request.options;
        if options.loop_protect && describe::is_marked(&sdp, &self.settings.mark) {
            return Ok(Prepared {
                sdp: body.to_vec(),
                relayed: None,
                before: None,
            });
        }
        let known = self.calls.contains_key(&request.call_id);
        match request.command {
            Command::Answer if !known => return Err("Unknown call-id".into()),
            _ if !known && self.calls.len() >= self.settings.calls_max => {
                return Err(LOAD_LIMIT.into());
            }
            _ => {}
        }
        let taken = self.calls.remove(&request.call_id);
        let mut call = taken.unwrap_or_else(|| Call::new(now));
        let placed = self.place(now, &mut call, request, &sdp);
        if placed.is_ok() {
            call.last_signal = now;
            self.counts.began += u64::from(!known);
        }
        if !call.dialogues.is_empty() {
            self.calls.insert(request.call_id.clone(), call);
        }
        let prepared = placed?;
        if let Some((dialogue, _)) = &prepared.relayed {
            self.watch(now, &request.call_id, *dialogue);
        }
        Ok(prepared)
    }

    /// Finds the dialogue, or begins it, and changes a copy that takes its place if all went well.
    fn place(
        &mut self,
        now: Instant,
        call: &mut Call,
        request: &Request,
        sdp: &Sdp<'_>,
    ) -> Result<Prepared, Refused> {
        let answers = request.command == Command::Answer;
        let found = match answers {
            true => call.of_answer(request),
            false => call.of_offer(request),
        };
        let (before, mut after, author) = match found {
            Some((at, author)) => {
                let dialogue = call.dialogues.get(at).cloned();
                let after = dialogue.ok_or("Invalid dialogue association")?;
                (after.ports(), after, author)
            }
            None if answers => return Err("Invalid dialogue association".into()),
            None if call.dialogues.len() >= DIALOGUES_MAX => {
                return Err("too many branches of one call".into());
            }
            None => (
                Vec::new(),
                self.begin_dialogue(now, request, sdp),
                Side::Caller,
            ),
        };
        let recording = request.options.record.unwrap_or(call.recording);
        after.recording = recording;
        let ending = after.ending.take();
        let changed = self.change(now, &mut after, author, (request, sdp));
        let changed = changed.and_then(|sdp| {
            let legs = after.legs(call.blocking);
            Ok((sdp, legs.ok_or("Incomplete SDP specification")?))
        });
        let (sdp, legs) = match changed {
            Ok(changed) => changed,
            Err(reason) => {
                let new = after.ports().into_iter().filter(|p| !before.contains(p));
                new.for_each(|port| self.pool.release(port));
                return Err(reason);
            }
        };
        if let Some(ending) = ending {
            self.timers.cancel(ending);
        }
        after.exchanges += 1;
        let relayed = Some((after.id, legs));
        let before = match found.and_then(|(at, _)| call.dialogues.get_mut(at)) {
            Some(place) => Some(Box::new(std::mem::replace(place, after))),
            None => {
                call.dialogues.push(after);
                None
            }
        };
        call.record(recording);
        Ok(Prepared {
            sdp,
            relayed,
            before,
        })
    }

    fn begin_dialogue(&mut self, now: Instant, request: &Request, sdp: &Sdp<'_>) -> Dialogue {
        let described = sdp.media.iter().find_map(Media::rtp_address);
        let near = described.map(|a| a.ip()).or(request.options.received_from);
        let family = match near {
            Some(IpAddr::V6(_)) => Family::V6,
            Some(IpAddr::V4(_)) | None => Family::V4,
        };
        let [toward_author, toward_reader] = match &request.options.direction {
            Some([from, to]) => [Some(&**from), Some(&**to)],
            None => [None, None],
        };
        let caller = self.address(near, family, toward_author);
        // The names of old chose a family, where no interface is named so.
        let far = match (
            self.settings.interfaces.is_empty(),
            toward_author,
            toward_reader,
        ) {
            (true, Some("internal"), Some("external")) => Family::V6,
            (true, Some("external"), Some("internal")) => Family::V4,
            _ => family,
        };
        let far = request.options.address_family.unwrap_or(far);
        let called = self.address(None, far, toward_reader);
        Dialogue {
            id: self.name_dialogue(),
            session: None,
            branch: request.via_branch.clone(),
            parties: [Party::new(now, caller), Party::new(now, called)],
            mux: request.options.rtcp_mux,
            codecs: request.options.codecs.clone(),
            offerer: Side::Caller,
            pending: false,
            recording: Recording::Off,
            tapes: Vec::new(),
            shown: Vec::new(),
            conversions: Vec::new(),
            pairs: Vec::new(),
            ending: None,
            watch: None,
            touched: now,
            exchanges: 0,
        }
    }

    /// The address to bind and the one to show, toward a peer that may be known.
    fn address(
        &self,
        peer: Option<IpAddr>,
        family: Family,
        name: Option<&str>,
    ) -> (IpAddr, IpAddr) {
        let fits = |ip: IpAddr| ip.is_ipv4() == (family == Family::V4);
        let interfaces = self.settings.interfaces.iter().filter(|i| fits(i.bind));
        let named = interfaces.clone().find(|i| Some(&*i.name) == name);
        if let Some(interface) = named.or_else(|| interfaces.clone().next()) {
            return (interface.bind, interface.shown);
        }
        let unknown = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let peer = peer.filter(|ip| fits(*ip)).unwrap_or(unknown);
        self.settings.addresses.toward(peer)
    }

    /// Applies a description of `author`; gives what the other side reads.
    fn change(
        &mut self,
        now: Instant,
        dialogue: &mut Dialogue,
        author: Side,
        (request, sdp): (&Request, &Sdp<'_>),
    ) -> Result<Vec<u8>, Refused> {
        let (options, reader) = (&request.options, author.other());
        let answers = request.command == Command::Answer;
        let (author_tag, reader_tag) = match answers {
            true => (&request.to_tag, &request.from_tag),
            false => (&request.from_tag, &request.to_tag),
        };
        if let Some(shown) = options.media_address {
            self.show(dialogue.party_mut(reader), shown);
        }
        let party = dialogue.party_mut(author);
        if party.tags.is_empty() {
            party.created = now;
        }
        party.go_by(author_tag);
        party.sdp = sdp.bytes.to_vec();
        party.hearing = Hearing::of(sdp, options);
        if !request.label.is_empty() {
            party.label = request.label.clone();
        }
        if !answers && reader_tag.is_empty() {
            // Whoever was tried before is not heard any more.
            let reader = dialogue.party_mut(reader);
            let answered = !reader.sdp.is_empty();
            reader.streams.iter_mut().for_each(|s| s.forget(answered));
            reader.sdp = Vec::new();
            reader.muxed = Vec::new();
            reader.ice = None;
            dialogue.conversions.clear();
        }
        dialogue.party_mut(reader).go_by(reader_tag);
        dialogue.touched = now;
        dialogue.pending = !answers;
        if answers {
            call::agree_on_mux(dialogue, author);
        } else {
            dialogue.offerer = author;
            dialogue.mux = options.rtcp_mux;
            dialogue.codecs = options.codecs.clone();
            let offered = sdp
                .media
                .iter()
                .map(|m| call::offers_mux(&options.rtcp_mux, m.rtcp_mux));
            dialogue.party_mut(reader).mux_offered = offered.collect();
        }
        let shown = self.shown(dialogue, author, (request, sdp))?;
        for side in Side::BOTH {
            if !anchor::reserve(&mut self.pool, sdp, &mut dialogue.party_mut(side).ports) {
                return Err(NO_PORTS.into());
            }
        }
        ice::agree(dialogue, author, sdp, (options, answers), &mut self.rng);
        let asked = (options, answers);
        let passages = secure::agree(dialogue, author, sdp, asked, &mut self.rng)?;
        let sections = sections(dialogue, reader, (sdp, passages, shown), asked);
        let writing = self.writing(dialogue.party(reader), &sections, options);
        Ok(describe::write(sdp, &writing))
    }

    /// The formats of streams of sound, where their reader is shown others than their author wrote.
    fn shown(
        &mut self,
        dialogue: &mut Dialogue,
        author: Side,
        (request, sdp): (&Request, &Sdp<'_>),
    ) -> Result<Vec<Shown>, Refused> {
        let codings = self.settings.codings;
        if request.command == Command::Answer {
            let answer = transcode::answer(dialogue, author, sdp, codings)?;
            let (shown, conversions): (Vec<_>, Vec<_>) = answer.into_iter().unzip();
            dialogue.conversions = conversions.into_iter().flatten().collect();
            return Ok(shown);
        }
        let mut notes = Vec::new();
        let asked = (&request.options.codecs, codings);
        let shown = transcode::offer(dialogue, author, sdp, asked, &mut notes);
        dialogue.shown = shown.iter().map(|shown| shown.stream).collect();
        for note in notes {
            self.note(note);
        }
        Ok(shown)
    }

    /// The client says which address of ours a party shall see.
    fn show(&self, party: &mut Party, shown: IpAddr) {
        let addresses = &self.settings.addresses;
        // Ports that are bound stay where they are.
        let moves = party.ports.iter().all(Option::is_none);
        if moves && addresses.interfaces.iter().any(|(ip, _)| *ip == shown) {
            party.bind = shown;
        } else if moves && party.bind.is_ipv4() != shown.is_ipv4() {
            party.bind = addresses.toward(shown).0;
        }
        party.shown = shown;
    }

    fn writing<'a>(
        &'a self,
        reader: &'a Party,
        sections: &'a [Option<Section>],
        options: &Options,
    ) -> Writing<'a> {
        Writing {
            address: reader.shown,
            sections,
            origin: options.replace_origin,
            session_connection: options.replace_session_connection,
            zero_address: options.replace_zero_address,
            keep_direction: options.original_sendrecv,
            rtcp_attribute: options.rtcp_attribute,
            ice: reader.ice.as_ref().map(|ice| &ice.ours),
            mark: options.loop_protect.then_some(&*self.settings.mark),
        }
    }
}

/// The sections as `reader` shall see them.
fn sections(
    dialogue: &Dialogue,
    reader: Side,
    (sdp, passages, shown): (&Sdp<'_>, Vec<Passage>, Vec<Shown>),
    (options, answers): (&Options, bool),
) -> Vec<Option<Section>> {
    let party = dialogue.party(reader);
    let own = match answers {
        true => options.codecs.of_answer(),
        false => options.codecs.clone(),
    };
    // What was not offered is not answered either.
    let offer = answers.then(|| Sdp::parse(&dialogue.party(reader).sdp).ok());
    let offer = offer.flatten();
    let offered = |at: usize| {
        let media = offer.as_ref()?.media.get(at)?;
        Some((media, &dialogue.codecs))
    };
    let each = sdp.media.iter().zip(passages).enumerate();
    let each = each.map(|(at, (media, passage))| {
        if !(media.is_rtp() || media.is_udptl()) {
            return None;
        }
        let (formats, added) = match shown.iter().find(|shown| shown.stream == at) {
            Some(shown) => (shown.places.clone(), shown.added.clone()),
            None => (passing(media, &own, offered(at)), Vec::new()),
        };
        let formats = match answers && own.single {
            true => only(media, formats),
            false => formats,
        };
        let port = party.ports.get(at).copied().flatten();
        let port = port
            .filter(|_| media.port != 0 && !(formats.is_empty() && added.is_empty()))
            .unwrap_or(0);
        let flag = |list: &[bool]| list.get(at).copied().unwrap_or(false);
        let (mux, shared) = match answers {
            true => (flag(&party.muxed), flag(&party.muxed)),
            // Where it was agreed before there is no other port.
            false => (
                flag(&party.mux_offered),
                options.rtcp_mux.require || flag(&party.mux_offered) && flag(&party.muxed),
            ),
        };
        let rtcp = if shared { port } else { port | 1 };
        Some(Section {
            port,
            rtcp: media.is_rtp().then_some(rtcp),
            mux: mux && media.is_rtp(),
            protocol: passage.protocol,
            keys: passage.attributes,
            formats,
            added,
        })
    });
    each.collect()
}

/// Which formats of a section pass: what `own` leaves, and of an answer what was shown of the
/// offer.
fn passing(media: &Media<'_>, own: &Codecs, offered: Option<(&Media<'_>, &Codecs)>) -> Vec<usize> {
    if !media.is_rtp() {
        return (0..codecs::formats(media).count()).collect();
    }
    let mut places = own.passing(media);
    // Where nothing was left of the offer, all of it was shown.
    if let Some((offer, codecs)) = offered
        && !codecs.shown(offer).is_empty()
    {
        let left = codecs.shown(media);
        places.retain(|at| left.contains(at));
    }
    places
}

/// Of formats the first of sound, and events of keys.
fn only(media: &Media<'_>, mut places: Vec<usize>) -> Vec<usize> {
    let encodings = codecs::encodings(media);
    let is_extra = |at: &usize| encodings.get(*at).is_some_and(|e| codecs::is_extra(e));
    let first = places.iter().find(|at| !is_extra(at)).copied();
    places.retain(|at| is_extra(at) || Some(*at) == first);
    places
}
