//! The codes that phones dial.
//!
//! They are the vertical service codes of North America's telephone networks (*60, *72 to *79,
//! *87, *90 to *93) where one exists for the feature, as other SIP systems took them over, so
//! that phones, sheets of paper and fingers know them already.

use super::{Change, Refusal};
use crate::store::Settings;

/// What stands behind a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// Nothing.
    None,
    /// A number.
    Number,
    /// An extension.
    Extension,
    /// An extension, or nothing.
    MaybeExtension,
    /// Two digits.
    Short,
    /// Two digits, then a number.
    ShortAndNumber,
}

impl Argument {
    /// As the table shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Argument::None => "",
            Argument::Number => "NUMBER",
            Argument::Extension => "EXTENSION",
            Argument::MaybeExtension => "[EXTENSION]",
            Argument::Short => "NN",
            Argument::ShortAndNumber => "NN NUMBER",
        }
    }
}

/// One code.
#[derive(Clone, Copy, Debug)]
pub struct CodeRow {
    /// `*72`
    pub code: &'static str,
    /// What is dialled behind it.
    pub argument: Argument,
    /// What it does.
    pub meaning: &'static str,
    does: Does,
}

#[derive(Clone, Copy, Debug)]
enum Does {
    Forward(fn(Option<Box<str>>) -> Change),
    Cancel(fn(Option<Box<str>>) -> Change),
    Switch(fn(bool) -> Change, bool),
    List(fn(Box<str>) -> Change),
    SpeedSet,
    SpeedForget,
    SpeedUse,
    Pickup,
}

const fn row(code: &'static str, argument: Argument, does: Does, meaning: &'static str) -> CodeRow {
    CodeRow {
        code,
        argument,
        meaning,
        does,
    }
}

/// Every code. Where one begins like another, the longer stands first.
pub const CODES: &[CodeRow] = {
    use Argument as A;
    use Does::{Cancel, Forward, List, Pickup, SpeedForget, SpeedSet, SpeedUse, Switch};
    &[
        row(
            "*72",
            A::Number,
            Forward(Change::ForwardAlways),
            "forward every call",
        ),
        row(
            "*73",
            A::None,
            Cancel(Change::ForwardAlways),
            "forward every call: off",
        ),
        row(
            "*90",
            A::Number,
            Forward(Change::ForwardBusy),
            "forward when busy",
        ),
        row(
            "*91",
            A::None,
            Cancel(Change::ForwardBusy),
            "forward when busy: off",
        ),
        row(
            "*92",
            A::Number,
            Forward(Change::ForwardNoAnswer),
            "forward when nobody answers",
        ),
        row(
            "*93",
            A::None,
            Cancel(Change::ForwardNoAnswer),
            "forward when nobody answers: off",
        ),
        row(
            "*94",
            A::Number,
            Forward(Change::ForwardUnregistered),
            "forward when not registered",
        ),
        row(
            "*95",
            A::None,
            Cancel(Change::ForwardUnregistered),
            "forward when not registered: off",
        ),
        row("*78", A::None, Switch(Change::Dnd, true), "do not disturb"),
        row(
            "*79",
            A::None,
            Switch(Change::Dnd, false),
            "do not disturb: off",
        ),
        row(
            "*77",
            A::None,
            Switch(Change::RejectAnonymous, true),
            "refuse anonymous callers",
        ),
        row(
            "*87",
            A::None,
            Switch(Change::RejectAnonymous, false),
            "refuse anonymous callers: off",
        ),
        row("*60", A::Number, List(Change::Block), "refuse a caller"),
        row(
            "*61",
            A::Number,
            List(Change::Unblock),
            "let that caller in again",
        ),
        row("*75", A::ShortAndNumber, SpeedSet, "set a speed dial"),
        row("*76", A::Short, SpeedForget, "forget a speed dial"),
        row("*0", A::Short, SpeedUse, "call a speed dial"),
        row(
            "**",
            A::Extension,
            Pickup,
            "pick up the call that rings there",
        ),
        row(
            "*8",
            A::MaybeExtension,
            Pickup,
            "pick up a call that rings in one's group, or there",
        ),
    ]
};

/// What somebody dialled who may use codes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Dialled {
    /// A speed dial: this number, or `sip:` or `sips:` URI, is called. It is not read as a code
    /// again.
    Number(Box<str>),
    /// A code.
    Code(Code),
    /// A code that lacks something.
    Wrong(Refusal),
    /// A number like any other.
    Other,
}

/// A code that can be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Code {
    /// Changes what the user wants.
    Set(Change),
    /// Picks up the call that rings at an extension, or without one any in the user's groups.
    Pickup(Option<Box<str>>),
}

impl Code {
    /// What it did, by the names of prompts: of what, and what became of it.
    pub fn prompts(&self) -> (Option<&'static str>, &'static str) {
        let switched = |is_on| if is_on { "activated" } else { "de-activated" };
        let Code::Set(change) = self else {
            return (None, "activated");
        };
        match change {
            Change::ForwardAlways(to) => (Some("call-fwd-unconditional"), switched(to.is_some())),
            Change::ForwardBusy(to) => (Some("call-fwd-on-busy"), switched(to.is_some())),
            Change::ForwardNoAnswer(to) => (Some("call-fwd-no-ans"), switched(to.is_some())),
            Change::ForwardUnregistered(to) => (Some("call-fwd-offline"), switched(to.is_some())),
            Change::Dnd(is_on) => (Some("do-not-disturb"), switched(*is_on)),
            Change::RejectAnonymous(is_on) => (Some("anonymous-rejection"), switched(*is_on)),
            Change::Speed(_, Some(_)) | Change::Block(_) => (None, "number-stored"),
            Change::Speed(_, None) | Change::SpeedForgetAll => (None, "number-removed"),
            Change::Unblock(_) | Change::UnblockAll => (None, "number-removed"),
            Change::RingBack(Some(_)) | Change::RingSeconds(_) => (None, "activated"),
            Change::RingBack(None) => (None, "de-activated"),
            Change::Queue(_, true) => (None, "agent-loginok"),
            Change::Queue(_, false) => (None, "agent-loggedoff"),
            Change::QueuePause(is_on) => (None, switched(*is_on)),
            Change::Clear => (None, "de-activated"),
        }
    }

    /// What it did, for a display.
    pub fn done(&self) -> String {
        let forward = |what: &str, to: &Option<Box<str>>| match to {
            Some(to) => format!("{what} Forwarded To {to}"),
            None => format!("{what} Not Forwarded"),
        };
        let switch = |what: &str, on: bool| format!("{what} {}", if on { "On" } else { "Off" });
        let Code::Set(change) = self else {
            return "Call Picked Up".into();
        };
        match change {
            Change::ForwardAlways(to) => forward("Calls", to),
            Change::ForwardBusy(to) => forward("Calls When Busy", to),
            Change::ForwardNoAnswer(to) => forward("Unanswered Calls", to),
            Change::ForwardUnregistered(to) => forward("Calls Without A Phone", to),
            Change::RingSeconds(_) => "Ringing Time Set".into(),
            Change::RingBack(Some(sound)) => format!("Callers Hear {sound}"),
            Change::RingBack(None) => "Callers Hear Their Own Tone".into(),
            Change::Dnd(on) => switch("Do Not Disturb", *on),
            Change::RejectAnonymous(on) => switch("Anonymous Call Rejection", *on),
            Change::Block(who) => format!("{who} Is Blocked"),
            Change::Unblock(who) => format!("{who} Is Let In"),
            Change::UnblockAll => "Nobody Is Blocked".into(),
            Change::Speed(code, Some(to)) => format!("Speed Dial {code:02} Is {to}"),
            Change::Speed(code, None) => format!("Speed Dial {code:02} Is Free"),
            Change::SpeedForgetAll => "Speed Dials Are Free".into(),
            Change::Queue(name, on) => switch(&format!("Queue {name}"), *on),
            Change::QueuePause(on) => switch("Pause", *on),
            Change::Clear => "All Call Features Off".into(),
        }
    }
}

/// What a user dials: `number` is the user part of the Request-URI, unescaped. A `#` at the end,
/// as some phones leave it, and a `*` between a code and what follows do not count.
pub fn dialled(settings: Option<&Settings>, number: &str) -> Dialled {
    if !number.starts_with('*') {
        return Dialled::Other;
    }
    let number = number.strip_suffix('#').unwrap_or(number);
    let found = CODES.iter().find_map(|row| {
        let behind = number.strip_prefix(row.code)?;
        (row.argument != Argument::None || behind.is_empty()).then_some((row, behind))
    });
    match found {
        Some((row, behind)) => row.read(settings, behind),
        None => Dialled::Other,
    }
}

impl CodeRow {
    fn read(&self, settings: Option<&Settings>, behind: &str) -> Dialled {
        let set = |change| Dialled::Code(Code::Set(change));
        let argument = behind.strip_prefix('*').unwrap_or(behind);
        match self.does {
            Does::Forward(_) | Does::List(_) if argument.is_empty() => self.lacks("a Number"),
            Does::Forward(change) => set(change(Some(argument.into()))),
            Does::Cancel(change) => set(change(None)),
            Does::Switch(change, on) => set(change(on)),
            Does::List(change) => set(change(argument.into())),
            Does::SpeedSet => match short(argument) {
                Some((code, number)) => match number.strip_prefix('*').unwrap_or(number) {
                    "" => self.lacks("Two Digits and a Number"),
                    number => set(Change::Speed(code, Some(number.into()))),
                },
                None => self.lacks("Two Digits and a Number"),
            },
            Does::SpeedForget => match short(argument) {
                Some((code, "")) => set(Change::Speed(code, None)),
                _ => self.lacks("Two Digits"),
            },
            Does::SpeedUse => match short(behind) {
                Some((code, "")) => match settings.and_then(|s| s.speed.get(&code)) {
                    Some(to) => Dialled::Number(to.clone()),
                    None => Dialled::Wrong(Refusal::new(404, format!("No Speed Dial {code:02}"))),
                },
                None if behind.len() < 2 => self.lacks("Two Digits"),
                Some(_) | None => Dialled::Other,
            },
            Does::Pickup if behind.is_empty() && self.argument == Argument::Extension => {
                self.lacks("an Extension")
            }
            Does::Pickup => {
                let extension = Some(argument).filter(|e| !e.is_empty());
                Dialled::Code(Code::Pickup(extension.map(Box::from)))
            }
        }
    }

    /// 484 lets a gateway that dials digit by digit send more (RFC 3578 §2).
    fn lacks(&self, what: &str) -> Dialled {
        Dialled::Wrong(Refusal::new(
            484,
            format!("Dial {what} Behind {}", self.code),
        ))
    }
}

/// Two digits, and what follows.
fn short(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let all = digits.bytes().all(|b| b.is_ascii_digit());
    all.then(|| digits.parse().ok())
        .flatten()
        .map(|n| (n, rest))
}
