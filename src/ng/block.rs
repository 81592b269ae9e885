//! `block media`, `block DTMF` and their opposites: what a participant, or everybody in a call,
//! sends in vain.

use super::call::{Blocking, Call};
use super::core::{Client, Ng};
use super::request::{Command, Request};
use crate::base::Instant;
use crate::relay::Side;
use crate::wire::bencode::Dictionary;
use crate::wire::sdp::{Media, Sdp};

/// Whom a request is about.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Chosen {
    /// The whole call.
    Everybody,
    /// Sides of dialogues, by the places of these.
    Parties(Vec<(usize, Side)>),
}

impl Ng {
    pub(super) fn block(&mut self, now: Instant, client: Client, request: &Request) {
        let Some(call) = self.calls.get_mut(&request.call_id) else {
            return self.refuse(&client, "Unknown call-id");
        };
        let chosen = match chosen(call, request) {
            Ok(chosen) => chosen,
            Err(reason) => return self.refuse(&client, reason),
        };
        let apply = |blocking: &mut Blocking| match request.command {
            Command::BlockMedia => blocking.media = true,
            Command::UnblockMedia => blocking.media = false,
            Command::BlockDtmf => blocking.events = true,
            _ => blocking.events = false,
        };
        let undoes = matches!(
            request.command,
            Command::UnblockMedia | Command::UnblockDtmf
        );
        let parties = match chosen {
            Chosen::Everybody => {
                apply(&mut call.blocking);
                let all = call.dialogues.len();
                let each = (0..all).flat_map(|at| Side::BOTH.map(|side| (at, side)));
                let all = undoes && request.options.all;
                each.filter(|_| all).collect()
            }
            Chosen::Parties(parties) => parties,
        };
        for (at, side) in parties {
            if let Some(dialogue) = call.dialogues.get_mut(at) {
                apply(&mut dialogue.party_mut(side).blocking);
            }
        }
        call.last_signal = now;
        self.tell_anew(&request.call_id);
        self.reply(&client, Dictionary::new());
    }
}

fn chosen(call: &Call, request: &Request) -> Result<Chosen, &'static str> {
    if request.options.all {
        return Ok(Chosen::Everybody);
    }
    let all = call.dialogues.iter().enumerate();
    let each =
        all.flat_map(|(at, dialogue)| Side::BOTH.map(|side| (at, side, dialogue.party(side))));
    let (label, address, tag) = (&request.label, request.address, &request.from_tag);
    let describes = |sdp: &[u8]| {
        let sdp = Sdp::parse(sdp).ok();
        let media = sdp.as_ref().map(|sdp| &sdp.media[..]).unwrap_or_default();
        let mut hosts = media.iter().filter_map(Media::rtp_address);
        hosts.any(|host| Some(host.ip()) == address)
    };
    let parties: Vec<(usize, Side)> = each
        .filter(|(.., party)| match (label.is_empty(), address) {
            (false, _) => *party.label == **label,
            (true, Some(_)) => describes(&party.sdp),
            (true, None) => party.is(tag),
        })
        .map(|(at, side, _)| (at, side))
        .collect();
    match (label.is_empty(), address.is_none(), tag.is_empty()) {
        (true, true, true) => Ok(Chosen::Everybody),
        _ if !parties.is_empty() => Ok(Chosen::Parties(parties)),
        (false, ..) => Err("No monologue matching the given label"),
        (true, false, _) => Err("Failed to match address to any tag"),
        (true, true, false) => Err("From-tag given, but no such tag exists"),
    }
}
