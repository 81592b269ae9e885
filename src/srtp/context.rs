//! The state of one direction under one master key (RFC 3711 §3.2): roll-over counters, replay
//! lists, the key's lifetime; and the packets' layouts (§3.1, §3.4; RFC 7714 §8.2, §9.2).

use super::transform::{Forged, GCM_TAG, Purpose, Session};
use super::{MasterKey, Mki, Profile, RTCP_PACKETS_MAX, RTP_PACKETS_MAX};
use std::fmt;

/// The most sources of one direction whose replay lists are whole: a phone has one, and changes it
/// when it is transferred or put on hold. Of more the one that is idle longest retires.
pub const SOURCES_MAX: usize = 16;
/// The most sources of one direction that are remembered after they retired. None is ever
/// forgotten, since it would begin anew under the same key (RFC 3711 §9.1); so there are no more.
pub const RETIRED_MAX: usize = 496;
/// The most that protection adds to a packet: GCM's tag, SRTCP's word, MKI.
pub const OVERHEAD_MAX: usize = GCM_TAG + 4 + Mki::LENGTH_MAX;
/// Fixed header of RTP.
const RTP_HEADER: usize = 12;
/// What stays clear of RTCP.
const RTCP_HEADER: usize = 8;
/// The word with the E bit and the index (§3.4).
const WORD: usize = 4;
/// Says in the word that the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// Why a packet was refused. None of these changes any state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SrtpError {
    /// Too short, or lengths that lie: the peer's fault, or not SRTP at all.
    Malformed,
    /// Not made with this key, or changed on the way.
    Forged,
    /// Came before, or is too old to tell. When sending: this number was used before.
    Replayed,
    /// SRTCP that is not encrypted, although encryption was agreed on.
    Clear,
    /// The key's lifetime is over: agree on a new one.
    KeyExpired,
    /// More than [`SOURCES_MAX`] and [`RETIRED_MAX`] sources under one key: agree on a new one.
    TooManySources,
    /// There is no key for this direction yet.
    NoKey,
    /// The caller's buffer has no room for [`OVERHEAD_MAX`] bytes more.
    NoRoom,
}

impl From<Forged> for SrtpError {
    fn from(_: Forged) -> Self {
        Self::Forged
    }
}

/// A replay list (§3.3.2).
#[derive(Clone, Copy, Default, Debug)]
struct Window {
    highest: u64,
    /// Bit n: `highest - n` came. Zero before the first packet.
    seen: u128,
}

impl Window {
    fn is_fresh(&self, index: u64) -> bool {
        if self.seen == 0 || index > self.highest {
            return true;
        }
        let behind = self.highest - index;
        behind < 128 && self.seen >> behind & 1 == 0
    }

    fn note(&mut self, index: u64) {
        if self.seen != 0 && index <= self.highest {
            let behind = self.highest - index;
            self.seen |= if behind < 128 { 1 << behind } else { 0 };
            return;
        }
        let ahead = index - if self.seen == 0 { index } else { self.highest };
        self.seen = if ahead < 128 { self.seen << ahead } else { 0 } | 1;
        self.highest = index;
    }

    /// The index that a sequence number most likely means (§3.3.1); none before the stream's
    /// beginning.
    fn guess(&self, sequence: u16) -> Option<u64> {
        if self.seen == 0 {
            return Some(u64::from(sequence));
        }
        let roll_over = self.highest >> 16;
        let last = self.highest & 0xffff;
        let sequence = u64::from(sequence);
        let guessed = if last < 0x8000 && sequence > last + 0x8000 {
            roll_over.checked_sub(1)?
        } else if last >= 0x8000 && sequence < last - 0x8000 {
            roll_over + 1
        } else {
            roll_over
        };
        Some((guessed << 16) | sequence)
    }

    /// The highest index, if there was any.
    fn end(&self) -> Option<u64> {
        (self.seen != 0).then_some(self.highest)
    }

    /// All up to an index came: what is not above it never comes again.
    fn closed(end: Option<u64>) -> Self {
        Self {
            highest: end.unwrap_or(0),
            seen: if end.is_some() { u128::MAX } else { 0 },
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    rtp: Window,
    rtcp: Window,
    /// The packet of the context that was its last.
    used: u64,
}

/// A source of which only the ends of its replay lists are kept. It may go on above them: there
/// neither was an index used before (RFC 3711 §9.1) nor did a packet come (§3.3.2).
#[derive(Clone, Copy, Debug)]
struct Retired {
    ssrc: u32,
    rtp: Option<u64>,
    rtcp: Option<u64>,
}

impl Source {
    fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            rtp: Window::default(),
            rtcp: Window::default(),
            used: 0,
        }
    }

    fn retire(&self) -> Retired {
        Retired {
            ssrc: self.ssrc,
            rtp: self.rtp.end(),
            rtcp: self.rtcp.end(),
        }
    }
}

impl From<Retired> for Source {
    fn from(retired: Retired) -> Self {
        Self {
            ssrc: retired.ssrc,
            rtp: Window::closed(retired.rtp),
            rtcp: Window::closed(retired.rtcp),
            used: 0,
        }
    }
}

/// Both directions' common part.
struct Context {
    profile: Profile,
    rtp: Session,
    rtcp: Session,
    mki: Option<Mki>,
    sources: [Option<Source>; SOURCES_MAX],
    retired: Vec<Retired>,
    /// Packets so far.
    used: u64,
    rtp_left: u64,
    rtcp_left: u64,
}

impl Context {
    fn new(master: &MasterKey, mki: Option<Mki>, lifetime: Option<u64>) -> Self {
        let sessions = [Purpose::Rtp, Purpose::Rtcp].map(|purpose| Session::new(master, purpose));
        let [Some(rtp), Some(rtcp)] = sessions else {
            unreachable!("a master key has the lengths of its profile");
        };
        let lifetime = lifetime.unwrap_or(RTP_PACKETS_MAX);
        Self {
            profile: master.profile(),
            rtp,
            rtcp,
            mki,
            sources: [None; SOURCES_MAX],
            retired: Vec::new(),
            used: 0,
            rtp_left: lifetime.min(RTP_PACKETS_MAX),
            rtcp_left: lifetime.min(RTCP_PACKETS_MAX),
        }
    }

    /// The state of a source, and its place if it has one.
    fn source(&self, ssrc: u32) -> Result<(Option<usize>, Source), SrtpError> {
        for (place, known) in self.sources.iter().enumerate() {
            match known {
                Some(source) if source.ssrc == ssrc => return Ok((Some(place), *source)),
                Some(_) => {}
                // Places do not become free again, so the free ones are the last.
                None => return Ok((Some(place), Source::new(ssrc))),
            }
        }
        match self.retired.iter().find(|retired| retired.ssrc == ssrc) {
            Some(retired) => Ok((None, (*retired).into())),
            None if self.retired.len() < RETIRED_MAX => Ok((None, Source::new(ssrc))),
            None => Err(SrtpError::TooManySources),
        }
    }

    /// A packet of a source was made or proved genuine. Without a place the source gets that of the
    /// one that is idle longest.
    fn keep(&mut self, place: Option<usize>, mut source: Source) {
        self.used += 1;
        source.used = self.used;
        let place = place.unwrap_or_else(|| {
            self.retired.retain(|retired| retired.ssrc != source.ssrc);
            let used = |place: &usize| self.sources[*place].map_or(0, |source| source.used);
            let idle = (0..SOURCES_MAX).min_by_key(used).unwrap_or(0);
            self.retired
                .extend(self.sources[idle].map(|source| source.retire()));
            idle
        });
        self.sources[place] = Some(source);
    }

    fn mki_length(&self) -> usize {
        self.mki.map_or(0, |mki| mki.length)
    }

    /// Writes the MKI at `at`; returns where it ends.
    fn write_mki(&self, buffer: &mut [u8], at: usize) -> usize {
        let Some(mki) = self.mki else { return at };
        let (bytes, from) = mki.bytes();
        buffer[at..at + mki.length].copy_from_slice(&bytes[from..]);
        at + mki.length
    }

    fn check_mki(&self, found: &[u8]) -> Result<(), SrtpError> {
        let wanted = self.mki.map(|mki| mki.bytes());
        let same = wanted.is_none_or(|(bytes, from)| bytes[from..] == *found);
        if same { Ok(()) } else { Err(SrtpError::Forged) }
    }
}

/// Protects what is sent under one master key.
pub struct Protector {
    context: Context,
    rtcp_index: u32,
}

impl fmt::Debug for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protector({})", self.context.profile.name())
    }
}

impl Protector {
    /// `lifetime` is the most packets under the key, SRTP and SRTCP apart.
    /// Keep it as long as the key stays, through re-INVITEs too: another one under the same key
    /// would encrypt twice with the same keystream.
    pub fn new(master: &MasterKey, mki: Option<Mki>, lifetime: Option<u64>) -> Self {
        Self {
            context: Context::new(master, mki, lifetime),
            rtcp_index: 0,
        }
    }

    /// Protects the RTP packet in the first `length` bytes of `buffer`; returns its new length.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let context = &mut self.context;
        if buffer.len() < length.saturating_add(OVERHEAD_MAX) {
            return Err(SrtpError::NoRoom);
        }
        let packet = Rtp::parse(&buffer[..length])?;
        let (place, mut source) = context.source(packet.ssrc)?;
        let index = source.rtp.guess(packet.sequence);
        let index = index.filter(|index| source.rtp.is_fresh(*index));
        let index = index.ok_or(SrtpError::Replayed)?;
        if context.rtp_left == 0 || index >= RTP_PACKETS_MAX {
            return Err(SrtpError::KeyExpired);
        }
        let (clear, data) = buffer[..length].split_at_mut(packet.payload);
        let end = if context.rtp.is_gcm() {
            let sealed = context.rtp.seal((packet.ssrc, index), clear, data);
            let tag = sealed.ok_or(SrtpError::Malformed)?;
            buffer[length..length + GCM_TAG].copy_from_slice(&tag);
            context.write_mki(buffer, length + GCM_TAG)
        } else {
            context.rtp.apply(packet.ssrc, index, data);
            let at = context.write_mki(buffer, length);
            let (packet, rest) = buffer.split_at_mut(at);
            let tag = &mut rest[..context.profile.rtp_tag_length()];
            let roll_over = ((index >> 16) as u32).to_be_bytes();
            context.rtp.sign([&packet[..length], &roll_over], tag);
            at + tag.len()
        };
        source.rtp.note(index);
        context.keep(place, source);
        context.rtp_left -= 1;
        Ok(end)
    }

    /// Protects the RTCP compound in the first `length` bytes of `buffer`; returns its new length.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let context = &mut self.context;
        if buffer.len() < length.saturating_add(OVERHEAD_MAX) {
            return Err(SrtpError::NoRoom);
        }
        let ssrc = rtcp_source(&buffer[..length])?;
        if context.rtcp_left == 0 {
            return Err(SrtpError::KeyExpired);
        }
        let index = u64::from(self.rtcp_index);
        let word = (ENCRYPTED | self.rtcp_index).to_be_bytes();
        let (clear, data) = buffer[..length].split_at_mut(RTCP_HEADER);
        let end = if context.rtcp.is_gcm() {
            let clear = rtcp_clear(clear, word);
            let sealed = context.rtcp.seal((ssrc, index), &clear, data);
            let tag = sealed.ok_or(SrtpError::Malformed)?;
            let at = length + GCM_TAG;
            buffer[length..at].copy_from_slice(&tag);
            buffer[at..at + WORD].copy_from_slice(&word);
            context.write_mki(buffer, at + WORD)
        } else {
            context.rtcp.apply(ssrc, index, data);
            let signed = length + WORD;
            buffer[length..signed].copy_from_slice(&word);
            let at = context.write_mki(buffer, signed);
            let (packet, rest) = buffer.split_at_mut(at);
            let tag = &mut rest[..context.profile.rtcp_tag_length()];
            context.rtcp.sign([&packet[..signed], &[]], tag);
            at + tag.len()
        };
        // The lifetime ends before the 31 bits do.
        self.rtcp_index = self.rtcp_index.wrapping_add(1) & !ENCRYPTED;
        context.rtcp_left -= 1;
        Ok(end)
    }

    #[cfg(test)]
    pub(super) fn with_sessions(profile: Profile, sessions: [Session; 2], rtcp_index: u32) -> Self {
        let master = MasterKey::generate(profile, |_| {});
        let mut one = Self::new(&master, None, None);
        let [rtp, rtcp] = sessions;
        (one.context.rtp, one.context.rtcp) = (rtp, rtcp);
        one.rtcp_index = rtcp_index;
        one
    }
}

/// Checks and decrypts what comes under one master key.
pub struct Unprotector {
    context: Context,
    /// How far sources had come under the peer's key of before.
    before: Vec<Retired>,
}

impl fmt::Debug for Unprotector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unprotector({})", self.context.profile.name())
    }
}

impl Unprotector {
    /// `lifetime` is the most packets under the key, SRTP and SRTCP apart.
    pub fn new(master: &MasterKey, mki: Option<Mki>, lifetime: Option<u64>) -> Self {
        Self {
            context: Context::new(master, mki, lifetime),
            before: Vec::new(),
        }
    }

    /// The peer had another key before. A source that goes on under the new one may keep its
    /// roll-over counter (RFC 3711 §3.3.1) or begin at zero (RFC 4568 §7.1.4); peers do either.
    pub fn follow(&mut self, old: &Unprotector) {
        let known = old.context.sources.iter().flatten().map(Source::retire);
        let ends: Vec<Retired> = known.filter(|end| end.rtp.is_some()).collect();
        let is_new = |end: &&Retired| ends.iter().all(|known| known.ssrc != end.ssrc);
        let older: Vec<Retired> = old.before.iter().filter(is_new).copied().collect();
        self.before = ends.into_iter().chain(older).take(SOURCES_MAX).collect();
    }

    /// Makes RTP of an SRTP packet in place; returns its length.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let tail = self.context.profile.rtp_tag_length() + self.context.mki_length();
        let length = packet.len().checked_sub(tail).ok_or(SrtpError::Malformed)?;
        let header = Rtp::parse(&packet[..length])?;
        let (place, mut source) = self.context.source(header.ssrc)?;
        let index = source.rtp.guess(header.sequence);
        let index = index.filter(|index| source.rtp.is_fresh(*index));
        let mut index = index.ok_or(SrtpError::Replayed)?;
        match self.open_rtp(packet, (length, &header), index) {
            Err(SrtpError::Forged) if source.rtp.end().is_none() => {
                index = self.kept(&header).ok_or(SrtpError::Forged)?;
                self.open_rtp(packet, (length, &header), index)?;
            }
            opened => opened?,
        }
        let context = &mut self.context;
        source.rtp.note(index);
        context.keep(place, source);
        context.rtp_left -= 1;
        Ok(length)
    }

    /// What the sequence number means where the source kept its roll-over counter.
    fn kept(&self, header: &Rtp) -> Option<u64> {
        let end = self.before.iter().find(|end| end.ssrc == header.ssrc)?;
        let index = Window::closed(end.rtp).guess(header.sequence)?;
        (index > u64::from(u16::MAX)).then_some(index)
    }

    /// Checks and decrypts the packet whose tail is behind `length`. One that is forged stays as it
    /// is.
    fn open_rtp(
        &self,
        packet: &mut [u8],
        (length, header): (usize, &Rtp),
        index: u64,
    ) -> Result<(), SrtpError> {
        let context = &self.context;
        if context.rtp_left == 0 || index >= RTP_PACKETS_MAX {
            return Err(SrtpError::KeyExpired);
        }
        let (content, tail) = packet.split_at_mut(length);
        if context.rtp.is_gcm() {
            let (tag, mki) = tail.split_first_chunk().ok_or(SrtpError::Malformed)?;
            context.check_mki(mki)?;
            let (clear, data) = content.split_at_mut(header.payload);
            context.rtp.open((header.ssrc, index), clear, data, tag)?;
        } else {
            let (mki, tag) = tail.split_at(context.mki_length());
            context.check_mki(mki)?;
            let roll_over = ((index >> 16) as u32).to_be_bytes();
            context.rtp.verify([content, &roll_over], tag)?;
            let data = &mut content[header.payload..];
            context.rtp.apply(header.ssrc, index, data);
        }
        Ok(())
    }

    /// Makes RTCP of an SRTCP packet in place; returns its length.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let context = &mut self.context;
        let tail = context.profile.rtcp_tag_length() + context.mki_length() + WORD;
        let length = packet.len().checked_sub(tail).ok_or(SrtpError::Malformed)?;
        let ssrc = rtcp_source(&packet[..length])?;
        let gcm = context.rtcp.is_gcm();
        let at = length + if gcm { GCM_TAG } else { 0 };
        let (before, after) = packet.split_at_mut(at);
        let (word, after) = after
            .split_first_chunk::<WORD>()
            .ok_or(SrtpError::Malformed)?;
        let value = u32::from_be_bytes(*word);
        if value & ENCRYPTED == 0 {
            return Err(SrtpError::Clear);
        }
        let index = u64::from(value & !ENCRYPTED);
        let (place, mut source) = context.source(ssrc)?;
        if !source.rtcp.is_fresh(index) {
            return Err(SrtpError::Replayed);
        }
        if context.rtcp_left == 0 {
            return Err(SrtpError::KeyExpired);
        }
        let (content, tag) = before.split_at_mut(length);
        if gcm {
            context.check_mki(after)?;
            let tag = tag.first_chunk().ok_or(SrtpError::Malformed)?;
            let (clear, data) = content.split_at_mut(RTCP_HEADER);
            let clear = rtcp_clear(clear, *word);
            context.rtcp.open((ssrc, index), &clear, data, tag)?;
        } else {
            let (mki, tag) = after.split_at(context.mki_length());
            context.check_mki(mki)?;
            context.rtcp.verify([content, word], tag)?;
            context.rtcp.apply(ssrc, index, &mut content[RTCP_HEADER..]);
        }
        source.rtcp.note(index);
        context.keep(place, source);
        context.rtcp_left -= 1;
        Ok(length)
    }

    #[cfg(test)]
    pub(super) fn with_sessions(profile: Profile, sessions: [Session; 2]) -> Self {
        let master = MasterKey::generate(profile, |_| {});
        let mut one = Self::new(&master, None, None);
        let [rtp, rtcp] = sessions;
        (one.context.rtp, one.context.rtcp) = (rtp, rtcp);
        one
    }
}

/// What SRTP needs of an RTP packet, whose padding may be encrypted.
struct Rtp {
    ssrc: u32,
    sequence: u16,
    /// Where header, CSRCs and extension end.
    payload: usize,
}

impl Rtp {
    fn parse(bytes: &[u8]) -> Result<Self, SrtpError> {
        let header = bytes
            .first_chunk::<RTP_HEADER>()
            .ok_or(SrtpError::Malformed)?;
        let [flags, _, q0, q1, _, _, _, _, s0, s1, s2, s3] = *header;
        if flags >> 6 != 2 {
            return Err(SrtpError::Malformed);
        }
        let mut payload = RTP_HEADER + usize::from(flags & 0x0f) * 4;
        if flags & 0x10 != 0 {
            let rest = bytes.get(payload..).ok_or(SrtpError::Malformed)?;
            let [_, _, l0, l1] = *rest.first_chunk().ok_or(SrtpError::Malformed)?;
            payload += 4 + usize::from(u16::from_be_bytes([l0, l1])) * 4;
        }
        if payload > bytes.len() {
            return Err(SrtpError::Malformed);
        }
        Ok(Self {
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            sequence: u16::from_be_bytes([q0, q1]),
            payload,
        })
    }
}

fn rtcp_source(bytes: &[u8]) -> Result<u32, SrtpError> {
    match bytes.first_chunk::<RTCP_HEADER>() {
        Some([128..=191, _, _, _, s0, s1, s2, s3]) => Ok(u32::from_be_bytes([*s0, *s1, *s2, *s3])),
        _ => Err(SrtpError::Malformed),
    }
}

/// What GCM authenticates of SRTCP besides what it encrypts (RFC 7714 §9.2).
fn rtcp_clear(header: &[u8], word: [u8; WORD]) -> [u8; RTCP_HEADER + WORD] {
    let mut clear = [0; RTCP_HEADER + WORD];
    clear[..RTCP_HEADER].copy_from_slice(&header[..RTCP_HEADER]);
    clear[RTCP_HEADER..].copy_from_slice(&word);
    clear
}
