//! What clients are told of calls: query, delete, list, statistics.

use super::call::{Blocking, Call, Dialogue, Party};
use super::core::{Client, Ng, Timer, Work};
use super::quality;
use super::request::{Command, Request};
use crate::base::{Anchor, Instant};
use crate::control::{ROWS_MAX, RelayedRow, rfc3339};
use crate::relay::{LegStats, MediaKind, Side, StreamStats};
use crate::store::EndCause;
use crate::wire::bencode::{Dictionary, Value};
use crate::wire::sdp::{Direction, Media, Sdp};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// The most calls that one list names: so many fit in a datagram.
pub const LIST_MAX: usize = 1000;
/// So many bytes of participants fit in a datagram with the rest.
const TOLD_BYTES_MAX: usize = 44_000;
const NOT_FOUND: &str = "Call-ID not found or tags didn't match";

/// One media section of one party.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The place of the stream.
    pub(super) stream: usize,
    kind: Vec<u8>,
    protocol: Vec<u8>,
    pub(super) codec: Option<String>,
    port: u16,
    rtcp_port: Option<u16>,
    peer: Option<SocketAddr>,
    peer_rtcp: Option<SocketAddr>,
    direction: Direction,
    secure: bool,
}

#[derive(Clone, Debug)]
struct Member {
    /// Whose counters are its.
    part: usize,
    side: Side,
    /// The dialogue's number, where there is no tag.
    dialogue: u64,
    tag: Box<[u8]>,
    other_tag: Box<[u8]>,
    branch: Box<[u8]>,
    label: Box<[u8]>,
    created: Instant,
    local: std::net::IpAddr,
    rows: Vec<Row>,
}

/// A call as it was when somebody asked; the relay's counters are added as they come.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    created: Instant,
    last_signal: Instant,
    members: Vec<Member>,
    figures: Vec<Option<Figures>>,
}

/// What the relay counted of a dialogue.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) legs: Box<[LegStats; 2]>,
    pub(super) streams: Vec<[StreamStats; 2]>,
}

impl Snapshot {
    fn of(call: &Call, places: &[usize]) -> Self {
        let chosen = places.iter().filter_map(|at| call.dialogues.get(*at));
        let members = chosen
            .enumerate()
            .flat_map(|(part, dialogue)| Side::BOTH.map(|side| member(part, dialogue, side)));
        Self {
            created: call.created,
            last_signal: call.last_signal,
            members: members.collect(),
            figures: vec![None; places.len()],
        }
    }

    /// The counters of one dialogue came.
    pub(super) fn add(&mut self, part: usize, figures: Option<Figures>) {
        if let Some(place) = self.figures.get_mut(part) {
            *place = figures;
        }
    }

    /// The counters of a participant, and by streams those of it and of whom it hears.
    fn counted(&self, member: &Member) -> (LegStats, Vec<[StreamStats; 2]>) {
        let Some(figures) = self.figures.get(member.part).and_then(Option::as_ref) else {
            return Default::default();
        };
        let [caller, called] = *figures.legs;
        let streams = figures.streams.iter();
        match member.side {
            Side::Caller => (caller, streams.cloned().collect()),
            Side::Called => {
                let turned = streams.map(|[a, b]| [b.clone(), a.clone()]);
                (called, turned.collect())
            }
        }
    }

    /// The reply. Of more participants than fit those whose calls were answered come first.
    pub(super) fn render(&self, now: Instant, anchor: &Anchor) -> Dictionary {
        let (mut tags, mut sources) = (Dictionary::new(), Dictionary::new());
        let (mut named, mut room) = (BTreeSet::new(), TOLD_BYTES_MAX);
        let mut sums = LegStats::default();
        let (answered, others): (Vec<_>, Vec<_>) = self.members.iter().partition(|m| m.answered());
        for member in answered.into_iter().chain(others) {
            let (leg, streams) = self.counted(member);
            sums.packets_in += leg.packets_in;
            sums.bytes_in += leg.bytes_in;
            sums.rtcp_in += leg.rtcp_in;
            sums.rtcp_bytes_in += leg.rtcp_bytes_in;
            for (sum, n) in sums.dropped.iter_mut().zip(leg.dropped) {
                *sum += n;
            }
            let key = match member.tag.is_empty() {
                true => format!("<untagged {}>", member.dialogue).into_bytes(),
                false => member.tag.to_vec(),
            };
            if !named.insert(key.clone()) {
                continue;
            }
            let rendered = member.render((&leg, &streams), now, anchor);
            let mut heard = quality::sources(&member.rows, &streams, (now, anchor), true);
            if bytes(&rendered) + bytes(&heard) > room {
                heard = quality::sources(&member.rows, &streams, (now, anchor), false);
            }
            let Some(left) = room.checked_sub(bytes(&rendered) + bytes(&heard)) else {
                continue;
            };
            room = left;
            tags.add(key, rendered);
            for (ssrc, entry) in heard.entries() {
                sources.add(ssrc.to_vec(), entry.clone());
            }
        }
        let mut totals = Dictionary::new();
        let rtp = (sums.packets_in, sums.bytes_in, sums.dropped_total());
        let rtcp = (sums.rtcp_in, sums.rtcp_bytes_in, 0);
        totals.add("RTP", counts(rtp)).add("RTCP", counts(rtcp));
        let mut reply = Dictionary::new();
        reply
            .add("created", anchor.unix_seconds(self.created))
            .add("created_us", anchor.unix_ms(self.created) % 1000 * 1000)
            .add("last signal", anchor.unix_seconds(self.last_signal))
            .add("SSRC", sources)
            .add("tags", tags)
            .add("totals", totals);
        reply
    }
}

/// How long it is when it is sent.
fn bytes(part: &Dictionary) -> usize {
    let mut out = Vec::new();
    part.emit(&mut out);
    out.len()
}

fn member(part: usize, dialogue: &Dialogue, side: Side) -> Member {
    let party = dialogue.party(side);
    Member {
        part,
        side,
        dialogue: dialogue.id,
        tag: party.tag().into(),
        other_tag: dialogue.party(side.other()).tag().into(),
        branch: match side {
            Side::Caller => Box::default(),
            Side::Called => dialogue.branch.clone(),
        },
        label: party.label.clone(),
        created: party.created,
        local: party.bind,
        rows: rows(dialogue, party, side),
    }
}

fn rows(dialogue: &Dialogue, party: &Party, side: Side) -> Vec<Row> {
    let Some(legs) = dialogue.legs(Blocking::default()) else {
        return Vec::new();
    };
    let [caller, called] = legs;
    let leg = match side {
        Side::Caller => caller,
        Side::Called => called,
    };
    let described = [&party.sdp, &dialogue.party(side.other()).sdp];
    let sdp = described.into_iter().find_map(|sdp| Sdp::parse(sdp).ok());
    let media = sdp.as_ref().map(|sdp| &sdp.media[..]).unwrap_or_default();
    let each = leg.media.iter().zip(media).enumerate();
    let rows = each.filter_map(|(at, (spec, media))| {
        let spec = (*spec)?;
        Some(Row {
            stream: at,
            kind: media.kind.to_vec(),
            protocol: media.protocol.to_vec(),
            codec: media.codecs().next(),
            port: spec.port,
            rtcp_port: spec.rtcp_port,
            peer: spec.peer,
            peer_rtcp: spec.peer_rtcp,
            direction: spec.direction,
            secure: spec.kind == MediaKind::SecureRtp,
        })
    });
    rows.collect()
}

impl Member {
    fn answered(&self) -> bool {
        !self.tag.is_empty() && !self.other_tag.is_empty()
    }

    fn render(
        &self,
        (leg, streams): (&LegStats, &[[StreamStats; 2]]),
        now: Instant,
        anchor: &Anchor,
    ) -> Dictionary {
        let mut out = Dictionary::new();
        out.add("tag", &*self.tag)
            .add("created", anchor.unix_seconds(self.created))
            .add("in dialogue with", &*self.other_tag);
        for (key, value) in [("via-branch", &self.branch), ("label", &self.label)] {
            if !value.is_empty() {
                out.add(key, &**value);
            }
        }
        let mut relation = Dictionary::new();
        relation
            .add("tag", &*self.other_tag)
            .add("type", "offer/answer");
        let relation = Value::from(vec![Value::from(relation)]);
        out.add("subscriptions", relation.clone())
            .add("subscribers", relation);
        let own = |at: usize| {
            streams
                .get(at)
                .map(|[own, _]| own.clone())
                .unwrap_or_default()
        };
        let first = self.rows.first().map(|row| row.stream);
        let rows = self.rows.iter().map(|row| {
            let mut stats = own(row.stream);
            if Some(row.stream) == first {
                // What ports that are gone counted stands with the first section.
                let others = self.rows.iter().skip(1).map(|row| own(row.stream));
                complete(&mut stats, leg, others);
            }
            Value::from(row.render(self.local, &stats, (now, anchor)))
        });
        out.add("medias", rows.collect::<Vec<_>>());
        out
    }
}

impl Row {
    fn render(
        &self,
        local: std::net::IpAddr,
        stats: &StreamStats,
        (now, anchor): (Instant, &Anchor),
    ) -> Dictionary {
        let last = stats.silent_for.map(|time| anchor.unix_seconds(now - time));
        let stream = |port: u16, peer: Option<SocketAddr>, source: Option<SocketAddr>| {
            let mut out = Dictionary::new();
            out.add("local port", port)
                .add("local address", &*local.to_string())
                .add("family", family(local))
                .add("endpoint", endpoint(source.or(peer)))
                .add("advertised endpoint", endpoint(peer))
                .add("last packet", last.unwrap_or(0));
            out
        };
        let known = |yes: bool, text: &'static str| yes.then_some(Value::from(text));
        let flags = |names: [Option<Value>; 4]| names.into_iter().flatten().collect::<Vec<_>>();
        let mut rtp = stream(self.port, self.peer, stats.source);
        let filled = known(self.peer.is_some(), "filled");
        let confirmed = known(stats.source.is_some(), "confirmed");
        let strict = Some("strict source address".into());
        rtp.add(
            "flags",
            flags([Some("RTP".into()), filled, confirmed, strict]),
        )
        .add(
            "stats",
            counts((stats.packets_in, stats.bytes_in, stats.dropped)),
        );
        if let Some(ssrc) = stats.ssrc {
            rtp.add("SSRC", u64::from(ssrc));
        }
        let mut streams = vec![Value::from(rtp)];
        if let Some(port) = self.rtcp_port {
            let mut rtcp = stream(port, self.peer_rtcp, None);
            rtcp.add("flags", vec![Value::from("RTCP")])
                .add("stats", counts((stats.rtcp_in, stats.rtcp_bytes_in, 0)));
            streams.push(rtcp.into());
        }
        let mut out = Dictionary::new();
        out.add("index", self.stream as u64 + 1)
            .add("type", &*self.kind)
            .add("protocol", &*self.protocol)
            .add("streams", streams);
        if let Some(codec) = &self.codec {
            out.add("codec", &**codec);
        }
        let shared = known(self.rtcp_port.is_none(), "rtcp-mux");
        let send = known(self.direction.receives(), "send");
        let receive = known(self.direction.sends(), "recv");
        let mut marks = flags([Some("initialized".into()), send, receive, shared]);
        marks.extend(known(self.secure, "passthrough"));
        out.add("flags", marks);
        out
    }
}

/// Adds to the figures of a stream what its side counted beside all streams.
fn complete(stats: &mut StreamStats, leg: &LegStats, others: impl Iterator<Item = StreamStats>) {
    let mut left = *leg;
    let mut dropped = leg.dropped_total();
    for other in others {
        left.packets_in = left.packets_in.saturating_sub(other.packets_in);
        left.bytes_in = left.bytes_in.saturating_sub(other.bytes_in);
        left.rtcp_in = left.rtcp_in.saturating_sub(other.rtcp_in);
        left.rtcp_bytes_in = left.rtcp_bytes_in.saturating_sub(other.rtcp_bytes_in);
        dropped = dropped.saturating_sub(other.dropped);
    }
    (stats.packets_in, stats.bytes_in) = (left.packets_in, left.bytes_in);
    (stats.rtcp_in, stats.rtcp_bytes_in) = (left.rtcp_in, left.rtcp_bytes_in);
    stats.dropped = dropped;
    stats.silent_for = stats.silent_for.or(leg.silent_for);
    stats.source = stats.source.or(leg.source);
}

fn counts((packets, bytes, errors): (u64, u64, u64)) -> Dictionary {
    let mut out = Dictionary::new();
    out.add("packets", packets)
        .add("bytes", bytes)
        .add("errors", errors);
    out
}

fn family(address: std::net::IpAddr) -> &'static str {
    match address {
        std::net::IpAddr::V4(_) => "IPv4",
        std::net::IpAddr::V6(_) => "IPv6",
    }
}

fn endpoint(address: Option<SocketAddr>) -> Dictionary {
    let mut out = Dictionary::new();
    if let Some(address) = address {
        out.add("family", family(address.ip()))
            .add("address", &*address.ip().to_string())
            .add("port", address.port());
    }
    out
}

impl Ng {
    pub(super) fn query(&mut self, now: Instant, client: Client, request: &Request) {
        let Some(call) = self.calls.get(&request.call_id) else {
            return self.refuse(&client, "Unknown call-id");
        };
        let places = call.matching(request);
        self.tell_of(now, client, request, &places);
    }

    /// Answers with a snapshot of the dialogues at `places`, once the relay has told its counters.
    fn tell_of(&mut self, now: Instant, client: Client, request: &Request, places: &[usize]) {
        let Some(call) = self.calls.get(&request.call_id) else {
            return;
        };
        let snapshot = Snapshot::of(call, places);
        let chosen = places.iter().filter_map(|at| call.dialogues.get(*at));
        let sessions: Vec<_> = chosen.map(|d| d.session).enumerate().collect();
        let asked: Vec<_> = sessions
            .iter()
            .filter_map(|(n, s)| Some((*n, (*s)?)))
            .collect();
        if asked.is_empty() {
            let told = snapshot.render(now, &self.settings.anchor);
            return self.reply(&client, told);
        }
        let work = Work::Tell(Box::new(snapshot));
        let job = self.begin(now, Some(client), work, asked.len());
        for (part, session) in asked {
            self.ask(session, job.map(|key| (key, part)));
        }
    }

    pub(super) fn delete(&mut self, now: Instant, client: Client, request: &Request) {
        let found = self.calls.get(&request.call_id);
        let places = found.map(|call| call.matching(request)).unwrap_or_default();
        let Some(call) = found.filter(|_| !places.is_empty()) else {
            if request.options.fatal {
                return self.refuse(&client, NOT_FOUND);
            }
            let mut reply = Dictionary::new();
            reply.add("warning", NOT_FOUND);
            return self.reply(&client, reply);
        };
        let delay = match request.delete_delay.map(u64::try_from) {
            Some(Ok(seconds)) => Duration::from_secs(seconds),
            Some(Err(_)) | None => self.settings.delete_delay,
        };
        let chosen = places.iter().filter_map(|at| call.dialogues.get(*at));
        let ids: Vec<_> = chosen
            .map(|d| (d.id, d.hung_up(&request.from_tag)))
            .collect();
        if !delay.is_zero() {
            for (id, cause) in ids {
                self.end_later(now + delay, &request.call_id, (id, cause));
            }
            self.settle_tapes(now, &request.call_id);
            return self.tell_of(now, client, request, &places);
        }
        let snapshot = Snapshot::of(call, &places);
        let work = Work::Tell(Box::new(snapshot));
        let job = self.begin(now, Some(client), work, ids.len());
        for (part, id) in ids.into_iter().enumerate() {
            self.end(now, &request.call_id, id, job.map(|key| (key, part)));
        }
    }

    fn end_later(&mut self, at: Instant, call_id: &[u8], (id, cause): (u64, EndCause)) {
        let timer = Timer::Ending {
            call_id: call_id.into(),
            dialogue: id,
        };
        let timer = self.timers.arm(at, timer);
        let found = self.calls.get_mut(call_id);
        let Some(dialogue) = found.and_then(|c| c.dialogues.iter_mut().find(|d| d.id == id)) else {
            return;
        };
        if let Some(old) = dialogue.ending.replace(timer) {
            self.timers.cancel(old);
        }
        for task in dialogue.tapes.iter().map(|tape| tape.task) {
            if let Some(begun) = self.recordings.get_mut(&task) {
                begun.cause = cause;
            }
        }
    }

    /// The calls as the operator sees them, by Call-ID, at most one more than [`ROWS_MAX`].
    pub fn rows(&self) -> Vec<RelayedRow> {
        let calls = self.calls.iter();
        let each = calls.flat_map(|(id, call)| call.dialogues.iter().map(move |d| (id, call, d)));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let rows = each.take(ROWS_MAX + 1).map(|(id, call, dialogue)| {
            let side = |side| {
                let party = dialogue.party(side);
                let sdp = Sdp::parse(&party.sdp).ok();
                let media = sdp.and_then(|sdp| sdp.media.iter().find_map(Media::rtp_address));
                let media = media.map(|address| address.to_string());
                (text(party.tag()), media.unwrap_or_default())
            };
            let (from_tag, from_media) = side(Side::Caller);
            let (to_tag, to_media) = side(Side::Called);
            let state = match (dialogue.ending, dialogue.is_answered()) {
                (Some(_), _) => "ending",
                (None, true) => "answered",
                (None, false) => "offered",
            };
            let since_ms = self.settings.anchor.unix_ms(call.created);
            RelayedRow {
                by: "ng".into(),
                call_id: text(id),
                from_tag,
                to_tag,
                state: state.into(),
                from_media,
                to_media,
                ports: dialogue.ports(),
                since_ms,
                since: rfc3339(since_ms),
                recording: dialogue.recording_files().collect::<Vec<_>>().join(" "),
            }
        });
        rows.collect()
    }

    pub(super) fn list(&self, limit: i64) -> Dictionary {
        let limit = usize::try_from(limit).unwrap_or(0).min(LIST_MAX);
        let calls = self.calls.keys().take(limit).map(|id| Value::from(&**id));
        let mut reply = Dictionary::new();
        reply.add("calls", calls.collect::<Vec<_>>());
        reply
    }

    pub(super) fn statistics(&self, now: Instant) -> Dictionary {
        let calls = self.calls.len() as u64;
        let dialogues = self.calls.values().flat_map(|call| &call.dialogues);
        let transcoded: usize = dialogues.map(|d| d.conversions.len()).sum();
        let mut current = Dictionary::new();
        current
            .add("sessionsown", calls)
            .add("sessionsforeign", 0_i64)
            .add("sessionstotal", calls)
            .add("transcodedmedia", transcoded as u64);
        let mut total = Dictionary::new();
        total
            .add("uptime", &*now.since(self.started).as_secs().to_string())
            .add("managedsessions", self.counts.ended)
            .add("timeoutsessions", self.counts.timeouts);
        let mut control = Dictionary::new();
        for (command, ..) in Command::ALL {
            let count = self.counts.commands.get(command.index());
            let key = format!("total{}count", short_name(command));
            control.add(key, count.copied().unwrap_or(0));
        }
        control.add("totalerrorcount", self.counts.errors);
        let mut statistics = Dictionary::new();
        statistics
            .add("currentstatistics", current)
            .add("totalstatistics", total)
            .add("controlstatistics", control);
        let mut reply = Dictionary::new();
        reply.add("statistics", statistics);
        reply
    }
}

/// As the keys of rtpengine's statistics shorten a command.
fn short_name(command: Command) -> &'static str {
    match command {
        Command::Ping => "ping",
        Command::Offer => "offer",
        Command::Answer => "answer",
        Command::Delete => "delete",
        Command::Query => "query",
        Command::List => "list",
        Command::Statistics => "stats",
        Command::BlockMedia => "blkmedia",
        Command::UnblockMedia => "unblkmedia",
        Command::BlockDtmf => "blkdtmf",
        Command::UnblockDtmf => "unblkdtmf",
        Command::StartRecording => "startrec",
        Command::StopRecording => "stoprec",
        Command::PauseRecording => "pauserec",
    }
}
