//! What the server sends to far ends: CSeq rises within a dialog (RFC 3261 §12.2.1.1), an ACK bears
//! the number of its INVITE, and where a trunk hides its inside nothing of that leaves.

use super::check::Broken;
use super::net::Packet;
use crate::wire::sip::{HeaderName, Message, Method};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// One side of a dialog, or of one to be: whom it is with, its Call-ID, our tag.
type Side = (SocketAddr, Vec<u8>, Vec<u8>);

#[derive(Debug, Default)]
struct Sequence {
    last: u32,
    /// Whether that was a BYE: one from the other side of the server may cross one of its own.
    over: bool,
    invites: BTreeSet<u32>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Book {
    /// Far ends, and whether the inside is hidden from them.
    far_ends: BTreeMap<SocketAddr, bool>,
    /// What would give the inside away: addresses and Call-IDs, as text.
    inside: Vec<String>,
    /// Far ends that the server found by name, before it was started again: what users send there
    /// in dialogs of its earlier life passes until it found them again.
    lost: BTreeSet<SocketAddr>,
    sequences: BTreeMap<Side, Sequence>,
    branches: BTreeSet<Vec<u8>>,
}

impl Book {
    /// A far end.
    pub fn add_far_end(&mut self, address: SocketAddr, hides: bool) {
        self.far_ends.insert(address, hides);
    }

    /// Something that no far end from which the inside is hidden may see.
    pub fn add_inside(&mut self, text: String) {
        self.inside.push(text);
    }

    /// The server was started again; these far ends it knows by a name.
    pub fn restarted<'a>(&mut self, named: impl Iterator<Item = &'a SocketAddr>) {
        self.lost.extend(named);
    }

    /// The server sends `packet`.
    pub fn sent(&mut self, packet: &Packet) -> Result<(), Broken> {
        let Some(hides) = self.far_ends.get(&packet.destination).copied() else {
            return Ok(());
        };
        let Ok(message) = Message::parse(Bytes::copy_from_slice(&packet.bytes)) else {
            return Ok(());
        };
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        let excused = message.is_request() && in_dialog && self.lost.contains(&packet.destination);
        if hides && !excused {
            self.hidden(packet, &message)?;
        }
        if message.is_request() {
            self.sequence(packet, &message)?;
        }
        Ok(())
    }

    fn hidden(&self, packet: &Packet, message: &Message) -> Result<(), Broken> {
        let text = String::from_utf8_lossy(&packet.bytes);
        let own = packet.destination.ip().to_string();
        let told = |found: &&String| **found != own && text.contains(found.as_str());
        if let Some(found) = self.inside.iter().find(told) {
            return Err(Broken(format!(
                "{found} leaves the inside: {packet}\n{text}"
            )));
        }
        let request = message.is_request();
        let vias = message.values(HeaderName::Via).count();
        if request && vias != 1 {
            return Err(Broken(format!("{vias} Via: {packet}\n{text}")));
        }
        if request && message.has(HeaderName::RecordRoute) {
            return Err(Broken(format!("Record-Route: {packet}\n{text}")));
        }
        Ok(())
    }

    fn sequence(&mut self, packet: &Packet, message: &Message) -> Result<(), Broken> {
        let (Ok(cseq), Ok(via), Ok(from)) = (message.cseq(), message.top_via(), message.from())
        else {
            return Err(Broken(format!("no CSeq, Via or From: {packet}")));
        };
        let side = (
            packet.destination,
            message.call_id().to_vec(),
            from.tag().unwrap_or_default().to_vec(),
        );
        let mut branch = via.branch().unwrap_or_default().to_vec();
        branch.extend(cseq.method.as_bytes());
        let known = self.sequences.entry(side).or_default();
        if cseq.method == Method::Ack {
            if !known.invites.is_empty() && !known.invites.contains(&cseq.number) {
                return Err(Broken(format!("an ACK for no INVITE: {packet}")));
            }
            return Ok(());
        }
        if cseq.method == Method::Cancel || !self.branches.insert(branch) {
            return Ok(());
        }
        let crosses = known.over && cseq.method == Method::Bye && cseq.number < known.last;
        if cseq.number <= known.last && !crosses {
            let last = known.last;
            return Err(Broken(format!("CSeq after {last}: {packet}")));
        }
        known.last = known.last.max(cseq.number);
        known.over = cseq.method == Method::Bye;
        if cseq.method == Method::Invite {
            known.invites.insert(cseq.number);
        }
        Ok(())
    }
}
