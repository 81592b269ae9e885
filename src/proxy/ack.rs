//! The ACK of a 2xx: a request without a transaction, forwarded once along its Route (RFC 3261
//! §16.11, §13.2.2.4). It cannot be answered, so what may not pass is dropped.

use super::context::{Caller, Inbound};
use super::forking::{Found, Hop, locate, next_hop, offer};
use super::loops::{self, MAX_FORWARDS_DEFAULT};
use super::onward::{Crossing, Onward};
use super::targets::Target;
use super::{Context, LOCATING_MAX, Proxy, Waiting, indialog, nat};
use crate::base::{Destination, Flow};
use crate::call::{CallKey, Toward};
use crate::wire::sip::{Message, Uri};

/// An ACK whose next hop is being looked for.
#[derive(Debug)]
pub(super) struct Held {
    message: Message,
    inbound: Inbound,
    call: Option<CallKey>,
    target: Target,
}

impl Proxy {
    /// An ACK that belongs to no INVITE transaction of ours.
    pub(super) fn on_ack(&mut self, cx: &mut Context<'_>, flow: &Flow, message: Message) {
        let Some(mut held) = self.examine_ack(cx, flow, message) else {
            self.stats.stray_acks += 1;
            return;
        };
        match next_hop(&mut held.target, &held.inbound, &held.message) {
            Hop::Flow(flow) => self.send_ack(cx, &held, Some(Destination::Flow(flow))),
            Hop::Uri(uri) => match locate(cx, &uri) {
                Found::Ready(found) => self.send_ack(cx, &held, found.into_iter().next()),
                Found::Pending(id) if self.located.len() < LOCATING_MAX => {
                    self.located.insert(id, Waiting::Ack(Box::new(held)));
                }
                Found::Pending(_) | Found::Nothing => self.stats.stray_acks += 1,
            },
            Hop::Service | Hop::Nowhere => self.stats.stray_acks += 1,
        }
    }

    /// Only an ACK of a dialog that came about through us passes: anything else would make us a
    /// relay for datagrams.
    fn examine_ack(&mut self, cx: &mut Context<'_>, flow: &Flow, message: Message) -> Option<Held> {
        let border = self.borders.of_far(&message);
        let message = self.unveiled(border, message)?;
        let loop_hash = loops::loop_hash(&message, self.loop_key);
        let (own, repaired) = self.preprocess(cx, &message).ok()?;
        let call = cx.calls.find(&message);
        let max_forwards = match message.max_forwards().ok()? {
            None => MAX_FORWARDS_DEFAULT,
            Some(hops) => hops.checked_sub(1)?,
        };
        if loops::is_loop(&message, loop_hash) {
            return None;
        }
        let uri = repaired
            .uri
            .as_deref()
            .unwrap_or_else(|| message.request_uri());
        let uri = Uri::parse(uri).ok()?;
        if border.is_none()
            && !cx.config.sip.trusts(flow.remote.ip())
            && !indialog::vouches(cx, &message, &uri, &own, &repaired, call)
            && !indialog::vouches_for_ack(cx, &message, flow, &own)
        {
            return None;
        }
        let via_flow = indialog::current_flow(cx, &message, &uri, &own).ok()?;
        let destined = self.destined(cx, &message, &uri, &own, &repaired).ok()?;
        let mut target = self.targets(cx, &uri, destined).ok()?.pop()?;
        target.border = self.borders.of_near(&message);
        let inbound = Inbound {
            flow: *flow,
            caller: Caller::InDialog,
            uri: repaired.uri,
            pops: own.count,
            routes: repaired.routes,
            via_flow,
            max_forwards,
            breadth: loops::max_breadth(&message)?,
            loop_hash,
            record_route: false,
            caller_flow: false,
            caller_nat: nat::request_behind_nat(&message, flow),
            border,
            holds: Vec::new(),
        };
        if let Some(call) = call {
            cx.calls.on_in_dialog(cx.now, call, &message, flow);
        }
        Some(Held {
            message,
            inbound,
            call,
            target,
        })
    }

    /// Sends the copy.
    pub(super) fn send_ack(
        &mut self,
        cx: &mut Context<'_>,
        held: &Held,
        destination: Option<Destination>,
    ) {
        let Some(destination) = destination else {
            self.stats.stray_acks += 1;
            return;
        };
        let (message, inbound) = (&held.message, &held.inbound);
        let unknown = held.call.is_none() && held.target.border.is_none();
        if unknown && cx.peers.hides_from(&destination) {
            // Of a dialog that a restart forgot: it bears another name there.
            self.stats.stray_acks += 1;
            return;
        }
        let toward = Toward {
            address: Some(destination.remote().ip()),
            behind_nat: held.target.behind_nat(),
            relay: false,
            local: destination.is_internal(),
        };
        let body = offer(cx, held.call, message, inbound, toward);
        let copy = Onward {
            message,
            inbound,
            binding: held.target.binding().map(|b| &**b),
            out: None,
            service: None,
            marks: None,
            breadth: inbound.breadth,
            body: body.unwrap_or_default(),
        };
        let named = self.borders.named_dialogs(message);
        let border = held.target.border.and_then(|key| self.borders.get_mut(key));
        let crossing = border.map(|border| Crossing { border, named });
        match copy.render(cx, &self.mint, &destination, crossing) {
            Some(bytes) => cx.layer.send_stateless(bytes, destination),
            None => self.stats.stray_acks += 1,
        }
    }
}
