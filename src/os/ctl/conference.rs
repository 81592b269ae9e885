//! `voipctl conference`.

use super::access::Access;
use super::args::{ConferenceMemberArgs, ConferenceVerb};
use super::failure::Failure;
use super::output::Output;
use super::simple;
use super::table::Table;
use crate::control::{
    Command, ConferenceMemberRow, ConferenceRow, MemberChange, Reply, RoomChange,
};

pub(super) fn run(verb: ConferenceVerb, access: &Access, output: Output) -> Result<(), Failure> {
    let member = |ConferenceMemberArgs { room, member }, change| Command::ConferenceMember {
        name: room,
        member,
        change,
    };
    let room = |name, change| Command::ConferenceRoom { name, change };
    let command = match verb {
        ConferenceVerb::List => return list(access, output),
        ConferenceVerb::Show { room } => return show(access, room, output),
        ConferenceVerb::Mute(args) => member(args, MemberChange::Mute),
        ConferenceVerb::Unmute(args) => member(args, MemberChange::Unmute),
        ConferenceVerb::Deafen(args) => member(args, MemberChange::Deafen),
        ConferenceVerb::Undeafen(args) => member(args, MemberChange::Undeafen),
        ConferenceVerb::Kick(args) => member(args, MemberChange::Kick),
        ConferenceVerb::Lock { room: name } => room(name, RoomChange::Lock),
        ConferenceVerb::Unlock { room: name } => room(name, RoomChange::Unlock),
        ConferenceVerb::Record { room: name } => room(name, RoomChange::Record),
        ConferenceVerb::EndRecord { room: name } => room(name, RoomChange::EndRecord),
        ConferenceVerb::End { room: name } => room(name, RoomChange::End),
    };
    simple(access, command, output)
}

fn list(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = ask(access, None)?;
    if output.json {
        return output.rows(&rows);
    }
    output.text(&list_text(&rows))
}

fn show(access: &Access, room: String, output: Output) -> Result<(), Failure> {
    let rows = ask(access, Some(room))?;
    if output.json {
        return output.rows(&rows);
    }
    let text: String = rows.iter().map(show_text).collect();
    output.text(&text)
}

fn ask(access: &Access, name: Option<String>) -> Result<Vec<ConferenceRow>, Failure> {
    match access.ask(Command::Conferences { name })? {
        Reply::Conferences { rows } => Ok(rows),
        other => Err(Failure::unexpected(&other)),
    }
}

pub(super) fn list_text(rows: &[ConferenceRow]) -> String {
    let mut table = Table::new(&[
        "ROOM", "NUMBER", "MEMBERS", "WAITING", "TALKING", "LOCKED", "RECORDED",
    ]);
    for row in rows {
        let count = |is: fn(&ConferenceMemberRow) -> bool| {
            let members = row.members.iter().filter(|m| is(m));
            members.count().to_string()
        };
        table.row([
            row.name.clone(),
            row.number.clone(),
            format!("{} of {}", row.members.len(), row.members_max),
            count(|m| m.waiting),
            count(|m| m.talking),
            yes(row.locked),
            yes(row.recorded),
        ]);
    }
    table.render("the configuration has no [[conference]]")
}

pub(super) fn show_text(row: &ConferenceRow) -> String {
    let mut table = Table::new(&["MEMBER", "NUMBER", "NAME", "USER", "SINCE", "STATE"]);
    for m in &row.members {
        let state = [
            (m.moderator, "moderator"),
            (m.waiting, "waiting"),
            (m.muted, "muted"),
            (m.deafened, "deafened"),
            (m.talking, "talking"),
        ];
        let state = state.into_iter().filter(|(is, _)| *is);
        let state: Vec<&str> = state.map(|(_, word)| word).collect();
        table.row([
            m.id.to_string(),
            m.number.clone(),
            m.display_name.clone(),
            m.user.clone().unwrap_or_default(),
            m.since.clone(),
            state.join(", "),
        ]);
    }
    table.render(&format!("nobody is in {}", row.name))
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}
