//! Recording of two who are joined, `[recording]`, whatever program brought them together: a bridge
//! that stands in a call for this alone, a menu, a queue, a call back from the parking lot. They
//! are recorded from when they talk, if the way in asks for that, one of the two is a user whose
//! calls are recorded, or the call took a route that records; or by keys of one of them.
//!
//! Two of different shards meet in a room (`across`), which is recorded as a conference is: by the
//! one whose room it is, for itself or because the other tells it to.

use super::across::Meeting;
use super::leg::Leg;
use super::rooms::Wish;
use super::seat::OWN_TASKS;
use super::voice::Voice;
use super::{Context, Output, Pbx};
use crate::base::{Instant, Key};
use crate::config::Recorded;
use crate::media::file::recording_of;
use crate::media::order::TapeOrder;
use crate::media::room::RoomOrder;
use crate::media::wav::Encoding;
use crate::media::{News, Order, RecordEnd, Sound, Task};
use crate::plan::local_time;
use std::time::Duration;

/// What the studio does for it; no program's numbers.
const NOTICE: u32 = OWN_TASKS + 2;
const TAPE: u32 = OWN_TASKS + 3;
/// Keys that come later than this do not belong to those before.
const KEYS_WAIT: Duration = Duration::from_secs(2);

/// What a seat knows of the recording of its caller and whom it is joined with.
#[derive(Debug, Default)]
pub(super) struct Taping {
    /// What the way in asks for, whoever answers.
    asked: Option<Recorded>,
    /// How the two who are joined are recorded, and whom the caller is joined with.
    how: Option<Recorded>,
    with: Option<Key>,
    /// In which room, with whom, it is instead.
    meeting: Option<Meeting>,
    /// The file into which they are recorded now.
    file: Option<Box<str>>,
    /// What the caller and the other pressed lately, and when.
    pressed: [(String, Instant); 2],
}

impl Taping {
    /// What the way in asks for.
    pub fn of(asked: Option<Recorded>) -> Self {
        Self {
            asked,
            ..Self::default()
        }
    }

    /// For the next two of the same call.
    pub fn next(&self) -> Self {
        Self::of(self.asked)
    }

    /// Whether the two are recorded now.
    pub fn is_on(&self) -> bool {
        self.file.is_some()
    }

    /// A key of one of the two, the caller being the first: whether it is the last of a row that
    /// begins the recording, or ends it.
    fn presses(&mut self, now: Instant, (side, key): (usize, char), row: &str) -> bool {
        let Some((typed, last)) = self.pressed.get_mut(side) else {
            return false;
        };
        if now.since(*last) > KEYS_WAIT {
            typed.clear();
        }
        *last = now;
        typed.push(key);
        if typed.ends_with(row) {
            typed.clear();
            return true;
        }
        // As many as may still become the row.
        let from = typed.len().saturating_sub(row.len().saturating_sub(1));
        typed.drain(..from);
        false
    }
}

impl Pbx {
    /// Two may have been joined: if they talk, they are recorded from now on where that is wanted.
    /// Called again for the same two, it changes nothing.
    pub(super) fn judge_taping(&mut self, cx: &mut Context<'_>, caller: Key) {
        let talks = |leg: &Leg| leg.opened && leg.sent.is_none() && leg.branch().is_none();
        let Some(leg) = self.legs.get(caller).filter(|leg| talks(leg)) else {
            return;
        };
        let Some((seat, called)) = leg
            .seat
            .as_ref()
            .and_then(|seat| Some((seat, seat.called?)))
        else {
            return;
        };
        if seat.taping.with == Some(called) {
            return;
        }
        let Some(other) = self.legs.get(called).filter(|leg| talks(leg)) else {
            return;
        };
        let ends = recorded(cx, leg).max(recorded(cx, other));
        let how = seat.taping.asked.max(ends);
        let seat = self.legs.get_mut(caller).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return };
        (seat.taping.how, seat.taping.with) = (how, Some(called));
        if how == Some(Recorded::Always) && !seat.taping.is_on() {
            self.tape(cx, caller);
        }
    }

    /// From now on both are recorded, and told so. The record of the caller's call names the file.
    fn tape(&mut self, cx: &mut Context<'_>, caller: Key) {
        let Some([session, with]) = self.sessions(caller) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(caller) else {
            return;
        };
        let (call_id, _) = leg.dialog.name();
        let Some(seat) = leg.seat.as_mut() else {
            return;
        };
        let file = file_of(cx, &call_id);
        seat.taping.file = Some(file.clone());
        let text = format!("recorded: {file}").into();
        self.outputs.push_back(Output::Note { session, text });
        let what = TapeOrder::Start {
            task: TAPE,
            with,
            file,
            max_ms: cx.config.recording.max_s.saturating_mul(1000),
        };
        let tape = Order::Tape { session, what };
        self.outputs.push_back(Output::Media(tape));
        self.notice(cx, caller, words(true));
    }

    /// They are recorded no more, if they were.
    pub(super) fn untape(&mut self, caller: Key) {
        let Some(leg) = self.legs.get_mut(caller) else {
            return;
        };
        let (session, seat) = (leg.session, leg.seat.as_mut());
        let Some((session, seat)) = session.zip(seat) else {
            return;
        };
        let (file, meeting) = (seat.taping.file.take(), seat.taping.meeting.take());
        let stop = match (file, meeting) {
            (None, _) => return,
            (Some(_), None) => {
                let what = TapeOrder::Stop;
                Order::Tape { session, what }
            }
            // Somebody else's affair, unless the room is its own.
            (Some(_), Some(meeting)) if !meeting.hosts => return,
            (Some(_), Some(_)) => {
                let what = RoomOrder::EndRecord;
                Order::Room { session, what }
            }
        };
        self.outputs.push_back(Output::Media(stop));
    }

    /// It is in a room with another one from now on, or no more.
    pub(super) fn meet_in_room(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        meeting: Option<Meeting>,
    ) {
        let Some(leg) = self.legs.get(key) else {
            return;
        };
        let ends = recorded(cx, leg);
        let seat = self.legs.get_mut(key).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat.filter(|seat| seat.taping.meeting != meeting) else {
            return;
        };
        if meeting.is_none() {
            return self.untape(key);
        }
        let taping = &mut seat.taping;
        (taping.meeting, taping.with) = (meeting, None);
        taping.how = taping.asked.max(ends);
        if taping.how == Some(Recorded::Always) {
            self.tape_room(cx, key, true);
        }
    }

    /// Who is in a room with another one is recorded with it from now on, or no longer; both are
    /// told.
    fn tape_room(&mut self, cx: &mut Context<'_>, key: Key, on: bool) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let (call_id, _) = leg.dialog.name();
        let (session, seat) = (leg.session, leg.seat.as_mut());
        let Some((session, seat)) = session.zip(seat) else {
            return;
        };
        let taping = &mut seat.taping;
        let Some(Meeting { other, hosts }) = taping.meeting.clone() else {
            return;
        };
        if !hosts {
            return self.outputs.push_back(Output::Tell(other, Wish::Tape(on)));
        }
        let mut orders = Vec::new();
        if on != taping.is_on() {
            taping.file = on.then(|| file_of(cx, &call_id));
            // A file of who had this place before ends.
            orders.push(RoomOrder::EndRecord);
            if let Some(file) = &taping.file {
                orders.push(RoomOrder::Record(file.clone(), Encoding::Alaw));
            }
            if cx.config.recording.notice {
                orders.push(RoomOrder::Announce(notice_of(cx, words(on))));
            }
        }
        let file = taping.file.clone();
        if let Some(file) = file.as_deref().filter(|_| !orders.is_empty()) {
            let text = format!("recorded: {file}").into();
            self.outputs.push_back(Output::Note { session, text });
        }
        let orders = orders.into_iter().map(|what| Order::Room { session, what });
        self.outputs.extend(orders.map(Output::Media));
        self.outputs
            .push_back(Output::Tell(other, Wish::Taped(file)));
    }

    /// What is told of the recording of a room is no program's affair; `false` if it is something
    /// else.
    pub(super) fn on_tape_wish(&mut self, cx: &mut Context<'_>, key: Key, wish: &Wish) -> bool {
        let leg = self.legs.get_mut(key);
        let met = leg.and_then(|leg| {
            let taping = &mut leg.seat.as_mut()?.taping;
            Some((leg.session?, taping.meeting.as_ref()?.hosts, taping))
        });
        match (wish, met) {
            (Wish::Tape(on), Some((_, true, _))) => self.tape_room(cx, key, *on),
            (Wish::Taped(file), Some((session, hosts, taping))) => {
                let text = match file {
                    _ if taping.file == *file => return true,
                    Some(file) => format!("recorded: {file}"),
                    // The log says why, and what to do.
                    None if hosts => "recording: it could not be written".to_owned(),
                    None => String::new(),
                };
                taping.file.clone_from(file);
                if !text.is_empty() {
                    let text = text.into();
                    self.outputs.push_back(Output::Note { session, text });
                }
            }
            (Wish::Tape(_) | Wish::Taped(_), _) => {}
            _ => return false,
        }
        true
    }

    /// Both hear this instead of each other, where they are to be told; then they are joined again.
    fn notice(&mut self, cx: &Context<'_>, caller: Key, words: &[&str]) {
        let Some(sessions) = self.sessions(caller).filter(|_| cx.config.recording.notice) else {
            return;
        };
        let seat = self.legs.get_mut(caller).and_then(|leg| leg.seat.as_mut());
        if let Some(seat) = seat {
            seat.interrupt(NOTICE);
        }
        let sounds = notice_of(cx, words);
        for session in sessions {
            let what = Task::Play {
                sounds: sounds.clone(),
                rounds: Some(1),
                until_key: false,
            };
            self.outputs.push_back(Output::Media(Order::Do {
                session,
                task: NOTICE,
                what,
            }));
        }
    }

    /// What the studio says of a recording is no program's affair; `false` if it speaks of
    /// something else.
    pub(super) fn on_tape_news(&mut self, cx: &mut Context<'_>, key: Key, news: &News) -> bool {
        match news {
            News::Done { task: NOTICE, .. } => {
                let seat = self.legs.get(key).and_then(|leg| leg.seat.as_ref());
                if seat.is_some_and(|seat| seat.does(NOTICE)) {
                    self.join(cx, key);
                }
                true
            }
            News::Recorded {
                task: TAPE, end, ..
            } => {
                self.on_tape_end(key, *end);
                true
            }
            News::Failed { .. }
            | News::Done { .. }
            | News::Key { .. }
            | News::Measured { .. }
            | News::Talking { .. }
            | News::Room { .. }
            | News::Recorded { .. }
            | News::Filed { .. } => false,
        }
    }

    fn on_tape_end(&mut self, key: Key, end: RecordEnd) {
        let text = match end {
            // The log says why, and what to do.
            RecordEnd::Failed => "recording: it could not be written",
            RecordEnd::Behind => "recording: it ended, as the disk did not answer",
            RecordEnd::Limit => "recording: as long as it may be",
            RecordEnd::Key | RecordEnd::Silence | RecordEnd::Closed => return,
        };
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if let Some(seat) = leg.seat.as_mut() {
            seat.taping.file = None;
        }
        if let Some(session) = leg.session {
            let text = text.into();
            self.outputs.push_back(Output::Note { session, text });
        }
    }

    /// A key of one who may be joined: in a row with others it may begin the recording, or end it.
    pub(super) fn on_tape_key(&mut self, cx: &mut Context<'_>, key: Key, pressed: char) {
        let leg = self.legs.get(key);
        let place = leg.map(|leg| (leg.seat.is_some(), leg.caller));
        let (caller, side) = match place {
            Some((true, _)) => (key, 0),
            Some((false, Some(caller))) => (caller, 1),
            Some((false, None)) | None => return,
        };
        let seat = self.legs.get_mut(caller).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return };
        let called = seat.called.filter(|_| seat.transferor.is_none());
        let taping = &mut seat.taping;
        let talks = taping.meeting.is_some() || called.is_some() && taping.with == called;
        if !talks || taping.how != Some(Recorded::OnDemand) {
            return;
        }
        if !taping.presses(cx.now, (side, pressed), &cx.config.recording.keys) {
            return;
        }
        let on = !taping.is_on();
        match on {
            _ if taping.meeting.is_some() => self.tape_room(cx, caller, on),
            true => self.tape(cx, caller),
            false => {
                self.untape(caller);
                self.notice(cx, caller, words(false));
            }
        }
    }

    /// The sessions of a caller and of whom it is joined with, if both are heard.
    fn sessions(&self, caller: Key) -> Option<[u64; 2]> {
        let open = |key: Key| {
            let leg = self.legs.get(key).filter(|leg| leg.opened)?;
            leg.session
        };
        let called = self.legs.get(caller)?.seat.as_ref()?.called?;
        Some([open(caller)?, open(called)?])
    }
}

/// The file of a recording that begins now, in the call of this Call-ID.
fn file_of(cx: &mut Context<'_>, call_id: &[u8]) -> Box<str> {
    let begun = local_time(cx.anchor.unix_ms(cx.now), &cx.config.numbers.timezone);
    let day = begun.strftime("%Y/%m/%d").to_string();
    recording_of(&day, call_id, &cx.rng.token::<8>())
}

/// What both are told of a recording that begins, or ends.
fn words(on: bool) -> &'static [&'static str] {
    match on {
        true => &["call-is-recorded"],
        false => &["call-recording", "de-activated"],
    }
}

fn notice_of(cx: &Context<'_>, words: &[&str]) -> Vec<Sound> {
    let voice = Voice::of(cx.config.node.locale);
    let mut sounds = vec![voice.pause()];
    sounds.extend(voice.prompts(words));
    sounds
}

/// How the calls of one end are recorded: of the user on whose account its call goes, of the one
/// who answered, and of whom we called, be that a user or a group.
fn recorded(cx: &Context<'_>, leg: &Leg) -> Option<Recorded> {
    let session = leg.session?;
    if cx.calls.takes_recorded_route(session) {
        return Some(Recorded::Always);
    }
    let ours = |aor: &&str| cx.house.directory.get(aor).is_some();
    let reached = Some(&*leg.reached).filter(ours);
    let users = [
        cx.calls.account_of(session).0,
        cx.calls.answerer_of(session),
        reached,
    ];
    let own = users.into_iter().flatten();
    let own = own.filter_map(|aor| cx.config.recorded(aor)).max();
    let number = leg.reached.split('@').next().unwrap_or_default();
    let mut groups = cx.config.groups.iter();
    let group = groups.find(|group| group.number.as_deref() == Some(number));
    own.max(group.and_then(|group| cx.config.recorded_group(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_side_in_a_row_count() {
        let mut taping = Taping::of(Some(Recorded::OnDemand));
        let mut now = Instant::from_millis(1000);
        let mut press = |now, side, keys: &str, row: &str| {
            let keys = keys.chars();
            let done = keys.map(|key| taping.presses(now, (side, key), row));
            done.collect::<Vec<bool>>()
        };
        // One from each is no row.
        assert_eq!(press(now, 0, "*", "*1"), [false]);
        assert_eq!(press(now, 1, "1", "*1"), [false]);
        // Nor is one that comes too late.
        now += KEYS_WAIT + Duration::from_millis(1);
        assert_eq!(press(now, 0, "1", "*1"), [false]);
        assert_eq!(press(now, 1, "7**1", "*1"), [false, false, false, true]);
        // Each row begins anew.
        assert_eq!(press(now, 1, "1*1", "*1"), [false, false, true]);
        assert_eq!(
            press(now, 0, "***1#", "**1#"),
            [false, false, false, false, true]
        );
    }

    #[test]
    fn keys_that_are_no_row_are_forgotten() {
        let mut taping = Taping::default();
        for _ in 0..1000 {
            assert!(!taping.presses(Instant::ZERO, (0, '*'), "**1#"));
        }
        assert!(taping.pressed[0].0.len() < 4);
        assert!(!taping.presses(Instant::ZERO, (2, '*'), "*"));
    }
}
