//! What the way out says of one call more: whether the peer takes it, and whether the limits of
//! `[fraud]` of the trunk do.

use super::context::Hold;
use super::egress::{Out, Peer};
use super::forking::UNREACHABLE;
use super::fraud::{self, Who};
use super::targets::Search;
use super::{Context, Proxy};
use crate::base::Key;
use crate::call::CallKey;
use std::sync::Arc;

impl Proxy {
    /// Takes a place among the calls of the peer that a target leads to.
    pub(super) fn admit_to_peer(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
    ) -> Result<(), u16> {
        let context = self.contexts.get_mut(key).ok_or(UNREACHABLE)?;
        let branch = context.branches.get_mut(index).ok_or(UNREACHABLE)?;
        let Some(out) = branch.target.out() else {
            return Ok(());
        };
        if !context.invite || branch.ticket.is_some() {
            return Ok(());
        }
        let out = Arc::clone(out);
        let call = context.call.filter(|call| cx.calls.lives(*call));
        let metered = self.meter(cx, call, &out);
        let admitted = metered.and_then(|metered| match out.peer.admit(cx.now) {
            Ok(ticket) => {
                if let (Some(call), Some(metered)) = (call, metered) {
                    let holds = self.holds.entry(call).or_default();
                    holds.push(Hold::Metered(metered));
                }
                Ok(ticket)
            }
            Err(refusal) => {
                tracing::warn!(peer = out.peer.name(), "gets no call: it {refusal}");
                if let Some(metered) = metered {
                    metered.never_began();
                }
                Err(out.peer.refused_note(refusal))
            }
        });
        let context = self.contexts.get_mut(key).ok_or(UNREACHABLE)?;
        let branch = context.branches.get_mut(index).ok_or(UNREACHABLE)?;
        match admitted {
            Ok(ticket) => {
                branch.ticket = ticket;
                Ok(())
            }
            Err(note) => {
                if let Some(ways) = context.call.and_then(|call| cx.calls.ways(call)) {
                    ways.add_note(&note);
                }
                branch.target.destinations.clear();
                branch.target.search = Search::Over;
                context.full = true;
                Err(UNREACHABLE)
            }
        }
    }

    /// Counts a call against the limits of the trunk that it leaves by, whoever makes it: once,
    /// however often it tries that trunk, and whether or not it came in by it. The note of a
    /// refusal is an error.
    fn meter(
        &self,
        cx: &Context<'_>,
        call: Option<CallKey>,
        out: &Out,
    ) -> Result<Option<fraud::Ticket>, String> {
        let (Peer::Trunk(trunk), Some(metered)) = (&out.peer, out.metered) else {
            return Ok(None);
        };
        let Some(call) = call else {
            return Ok(None);
        };
        let who = Who::Trunk(trunk.name());
        let mut holds = self.holds.get(&call).into_iter().flatten();
        if holds.any(|hold| hold.counts_for(who)) {
            return Ok(None);
        }
        let unix_ms = cx.anchor.unix_ms(cx.now);
        let fraud = cx.guard.fraud();
        let admitted = fraud.admit(who, None, metered.class, cx.now, unix_ms);
        let note = |refusal: fraud::Refusal| format!("{} of {}", refusal.note(), trunk.name());
        admitted.map(Some).map_err(note)
    }
}
