//! Keys of those who are joined. The studio carries them as events (RFC 4733) and tones; what
//! comes by INFO comes here, and goes out so to who sends its own that way and has no events: a
//! tone would be nothing to it.

use super::{Context, Output, Pbx};
use crate::base::{Key, Rng};
use crate::media::Order;
use crate::media::event::KEY_MS;
use crate::wire::rtp::event;
use crate::wire::sip::{Message, Method};
use bytes::Bytes;
use std::collections::VecDeque;

/// Keys that wait for the answer to the one before; more are lost.
const WAITING_MAX: usize = 64;

/// How a far end writes keys into an INFO. Nobody ever wrote a standard for either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `application/dtmf-relay`: `Signal=5`, and a duration.
    Relay,
    /// `application/dtmf`: the sign.
    Sign,
}

/// Keys for one far end by INFO.
#[derive(Debug, Default)]
pub(super) struct InfoKeys {
    /// How it sends its own; nothing before it sent one, or where it refused one of ours.
    kind: Option<Kind>,
    refused: bool,
    /// The number of the INFO that is under way, and its key.
    sent: Option<(u32, char)>,
    waiting: VecDeque<char>,
}

impl InfoKeys {
    /// It sent a key so; whether that is news.
    fn learn(&mut self, kind: Kind) -> bool {
        !self.refused && self.kind.replace(kind) != Some(kind)
    }

    /// The next key, unless one is under way.
    fn next(&mut self) -> Option<(char, Kind)> {
        let kind = self.kind.filter(|_| self.sent.is_none())?;
        Some((self.waiting.pop_front()?, kind))
    }

    /// What was not taken, the oldest first, once it refused one.
    fn refuse(&mut self) -> Vec<char> {
        self.kind = None;
        self.refused = true;
        let sent = self.sent.take().map(|(_, key)| key);
        sent.into_iter().chain(self.waiting.drain(..)).collect()
    }
}

impl Pbx {
    /// Keys by INFO: `application/dtmf-relay` (`Signal=5`) and `application/dtmf` (the key alone).
    /// Who is joined with the far end hears them, and so does the program; what a key ends in the
    /// studio is over.
    pub(super) fn on_info(&mut self, cx: &mut Context<'_>, key: Key, info: &Message) {
        let Some((pressed, kind)) = key_of(info) else {
            return;
        };
        if let Some(leg) = self.legs.get_mut(key)
            && leg.info.learn(kind)
        {
            leg.talk.take_keys_apart(true);
            // The studio is to say none as tones from now on.
            if leg.opened {
                self.open(cx, key);
            }
        }
        let own = self.legs.get(key).filter(|leg| leg.opened);
        if let Some(session) = own.and_then(|leg| leg.session) {
            // Before what the program wants because of it.
            self.outputs
                .push_back(Output::Media(Order::Heard { session }));
        }
        if !self.inform(cx, key, pressed) {
            self.press(self.other(key), pressed);
        }
        self.on_key(cx, key, pressed);
    }

    /// A key came by events, which the studio passes on to who has such, or as a tone.
    pub(super) fn on_event_key(&mut self, cx: &mut Context<'_>, key: Key, pressed: char) {
        let leg = self.legs.get(key);
        // One that is in the sound is there already.
        if leg.is_some_and(|leg| leg.talk.has_events()) {
            self.inform(cx, key, pressed);
        }
        self.on_key(cx, key, pressed);
    }

    /// Sends the key of a leg to whom it is joined with, by INFO where keys go so; whether they do.
    fn inform(&mut self, cx: &mut Context<'_>, from: Key, pressed: char) -> bool {
        let Some(other) = self.other(from) else {
            return false;
        };
        let leg = self.legs.get_mut(other);
        let Some(leg) = leg.filter(|leg| leg.talk.takes_keys_apart()) else {
            return false;
        };
        if leg.info.waiting.len() < WAITING_MAX {
            leg.info.waiting.push_back(pressed);
        }
        self.send_info(cx, other);
        true
    }

    /// The next key of a far end, if the one before was answered: they are to come in order.
    fn send_info(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let Some((pressed, kind)) = leg.info.next() else {
            return;
        };
        let (number, bytes) = leg.info_of(pressed, kind, cx.rng);
        leg.info.sent = Some((number, pressed));
        let flow = leg.dialog.flow;
        self.send(flow, bytes);
    }

    /// An INFO of ours was answered. Who refuses it gets that key and all others as tones.
    pub(super) fn on_info_answer(&mut self, cx: &mut Context<'_>, key: Key, response: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let number = response.cseq().ok().map(|cseq| cseq.number);
        let is_it = leg.info.sent.is_some_and(|(sent, _)| Some(sent) == number);
        if !is_it || response.status() < 200 {
            return;
        }
        if response.status() < 300 {
            leg.info.sent = None;
            return self.send_info(cx, key);
        }
        let lost = leg.info.refuse();
        leg.talk.take_keys_apart(false);
        if leg.opened {
            self.open(cx, key);
        }
        for pressed in lost {
            self.press(Some(key), pressed);
        }
    }

    /// The studio says the key to this leg.
    fn press(&mut self, to: Option<Key>, key: char) {
        let leg = to.and_then(|to| self.legs.get(to));
        if let Some(session) = leg.and_then(|leg| leg.session) {
            let press = Order::Press { session, key };
            self.outputs.push_back(Output::Media(press));
        }
    }
}

impl super::leg::Leg {
    /// An INFO with a key, and its number.
    fn info_of(&mut self, key: char, kind: Kind, rng: &mut Rng) -> (u32, Bytes) {
        let (via, number) = (self.dialog.new_via(rng), self.dialog.next_number());
        let request = self.dialog.request(Method::Info, number, &via);
        let request = match kind {
            Kind::Relay => {
                let body = format!("Signal={key}\r\nDuration={KEY_MS}\r\n");
                request.body("application/dtmf-relay", body.into_bytes())
            }
            Kind::Sign => request.body("application/dtmf", key.to_string().into_bytes()),
        };
        (number, request.render())
    }
}

/// The key of an INFO: by its sign, or by its number among telephone events (RFC 4733 §3.2). The
/// hook flash (16) is none.
fn key_of(info: &Message) -> Option<(char, Kind)> {
    let form = info.content_type()?.to_ascii_lowercase();
    let body = std::str::from_utf8(info.body()).ok()?;
    let (text, kind) = if form.starts_with(b"application/dtmf-relay") {
        let mut lines = body.lines().filter_map(|line| line.split_once('='));
        let signal = lines.find(|(name, _)| name.trim().eq_ignore_ascii_case("signal"))?;
        (signal.1.trim(), Kind::Relay)
    } else if form.starts_with(b"application/dtmf") {
        (body.trim(), Kind::Sign)
    } else {
        return None;
    };
    let key = event::key(match text.as_bytes() {
        [sign] => event::code(char::from(*sign))?,
        _ => text.parse().ok()?,
    })?;
    Some((key, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(kind: &str, body: &str) -> Option<char> {
        let text = format!(
            "INFO sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@example.com>;tag=a\r\nTo: <sip:b@example.com>;tag=b\r\n\
             Call-ID: c\r\nCSeq: 2 INFO\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        key_of(&Message::parse(text.into()).unwrap()).map(|(key, _)| key)
    }

    #[test]
    fn keys_come_by_info() {
        let relay = "application/dtmf-relay";
        assert_eq!(info(relay, "Signal=5\r\nDuration=160\r\n"), Some('5'));
        assert_eq!(info(relay, "Duration=160\r\nsignal= #\r\n"), Some('#'));
        for (number, key) in (10..16).zip("*#ABCD".chars()) {
            assert_eq!(info(relay, &format!("Signal={number}\r\n")), Some(key));
        }
        assert_eq!(info(relay, "Signal=d\r\n"), Some('D'));
        assert_eq!(info("Application/DTMF", "7"), Some('7'));
        assert_eq!(info("application/dtmf", "11\r\n"), Some('#'));
        for (kind, body) in [
            (relay, "Signal=\r\n"),
            (relay, "Signal=hello\r\n"),
            (relay, "Signal=16\r\n"),
            (relay, "Signal=é\r\n"),
            (relay, "5"),
            ("application/dtmf", ""),
            ("application/dtmf", "E"),
            ("text/plain", "5"),
        ] {
            assert_eq!(info(kind, body), None, "{kind} {body:?}");
        }
    }
}
