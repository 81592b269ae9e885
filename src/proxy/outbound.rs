//! Outbound registrations (RFC 5626 §6, §7): which REGISTER makes one, and what the answer says.
//! The rule that a new flow replaces the old one of the same instance and reg-id is the location
//! table's; the flow itself is kept there as the path by which the REGISTER came.

use crate::base::Flow;
use crate::wire::sip::{HeaderName, Message, NameAddr};
use std::time::Duration;

/// Seconds within which a phone that registers directly should be heard (RFC 5626 §4.4, §5.4).
pub const FLOW_TIMER_S: u32 = 120;

/// Greatest `reg-id` (RFC 5626 §11: 2^31 - 1).
const REG_ID_MAX: u32 = (1 << 31) - 1;

/// What one Contact and its request say about outbound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outbound {
    /// An ordinary registration.
    No,
    /// Named by instance and this reg-id.
    RegId(u32),
    /// The edge proxy that it came through does not keep flows: 439.
    FirstHopLacks,
}

/// RFC 5626 §6: outbound applies if the Contact bears instance and reg-id and the phone supports
/// it; through another proxy, only if the one next to the phone put `ob` into its Path.
pub fn of_contact(message: &Message, contact: &NameAddr<'_>, instance: &str) -> Outbound {
    let Some(reg_id) = contact.param("reg-id").flatten() else {
        return Outbound::No;
    };
    let number = std::str::from_utf8(reg_id)
        .ok()
        .and_then(|t| t.parse().ok());
    let Some(number) = number.filter(|n| (1..=REG_ID_MAX).contains(n)) else {
        return Outbound::No;
    };
    if instance.is_empty() || !message.has_token(HeaderName::Supported, "outbound") {
        return Outbound::No;
    }
    if message.vias().nth(1).is_some() && !first_hop_keeps_flows(message) {
        return Outbound::FirstHopLacks;
    }
    Outbound::RegId(number)
}

/// Each proxy puts its Path value on top: the last one is the phone's neighbour's.
fn first_hop_keeps_flows(message: &Message) -> bool {
    let Some(Ok(path)) = message.addresses(HeaderName::Path).last() else {
        return false;
    };
    path.uri().is_ok_and(|uri| uri.param("ob").is_some())
}

/// The value of Flow-Timer: told to a phone that registered directly over a connection which
/// outlives that time in silence.
pub fn flow_timer(flow: &Flow, has_path: bool, connection_idle: Duration) -> Option<u32> {
    let timer = Duration::from_secs(FLOW_TIMER_S.into());
    (!has_path && flow.connection.is_some() && connection_idle > timer).then_some(FLOW_TIMER_S)
}
