//! The operator's commands about conferences. What is known of them all shards share, so any one
//! answers; what is wanted of a member goes to the shard of its call.

use super::signal::SignalCore;
use crate::config::Conference;
use crate::control::{
    ConferenceMemberRow, ConferenceRow, Failure, MemberChange, Reply, RoomChange, rfc3339,
};
use crate::pbx::rooms::{Address, Member, Wish};

const HOW_TO_LIST: &str = "voipctl conference list";

impl SignalCore {
    /// One room, or all of them by their names.
    pub(super) fn conferences(&self, name: Option<&str>) -> Reply {
        let wanted = |room: &&Conference| name.is_none_or(|name| *room.name == *name);
        let rooms = self.config.conferences.iter().filter(wanted);
        let mut rows: Vec<ConferenceRow> = rooms.map(|room| self.conference_row(room)).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        match name {
            Some(name) if rows.is_empty() => no_room(name),
            _ => Reply::Conferences { rows },
        }
    }

    fn conference_row(&self, config: &Conference) -> ConferenceRow {
        let room = self.rooms.room(&config.name).unwrap_or_default();
        ConferenceRow {
            name: config.name.to_string(),
            number: config.number.as_deref().unwrap_or_default().into(),
            members_max: config.members_max,
            locked: room.locked,
            recorded: room.recorded,
            members: room.members.into_iter().map(member_row).collect(),
        }
    }

    pub(super) fn change_room(&mut self, name: &str, change: RoomChange) -> Reply {
        let members = self.rooms.addresses(name);
        if members.is_empty() {
            let problem = format!("nobody is in conference {name}");
            return Reply::failed(Failure::NotFound, problem, HOW_TO_LIST);
        }
        let done = match change {
            RoomChange::Lock | RoomChange::Unlock => {
                let locked = change == RoomChange::Lock;
                self.rooms.lock(name, locked);
                if locked { "locked" } else { "open" }
            }
            RoomChange::Record | RoomChange::EndRecord => {
                let recorded = change == RoomChange::Record;
                if let Some(member) = self.rooms.record(name, recorded) {
                    self.tell_member(member, Wish::Record(recorded));
                }
                if recorded { "recorded" } else { "not recorded" }
            }
            RoomChange::End => {
                for member in members {
                    self.tell_member(member, Wish::End);
                }
                "being ended"
            }
        };
        Reply::done(format!("conference {name} is {done}"))
    }

    pub(super) fn change_member(&mut self, name: &str, id: u32, change: MemberChange) -> Reply {
        let Some(member) = self.conference_member(name, id) else {
            let problem = format!("conference {name} has no member {id}");
            let remedy = format!("voipctl conference show {name}");
            return Reply::failed(Failure::NotFound, problem, remedy);
        };
        let (wish, done) = match change {
            MemberChange::Mute => (Wish::Mute(true), "muted"),
            MemberChange::Unmute => (Wish::Mute(false), "heard again"),
            MemberChange::Deafen => (Wish::Deafen(true), "deafened"),
            MemberChange::Undeafen => (Wish::Deafen(false), "hearing again"),
            MemberChange::Kick => (Wish::Kick, "sent away"),
        };
        self.tell_member(member, wish);
        Reply::done(format!("member {id} of {name} is {done}"))
    }

    fn conference_member(&self, name: &str, id: u32) -> Option<Address> {
        let room = self.rooms.room(name)?;
        let mut members = room.members.iter();
        members.find(|m| m.id == id).map(|m| m.address)
    }
}

fn no_room(name: &str) -> Reply {
    let problem = format!("there is no conference {name}");
    Reply::failed(Failure::NotFound, problem, HOW_TO_LIST)
}

fn member_row(member: Member) -> ConferenceMemberRow {
    ConferenceMemberRow {
        id: member.id,
        user: member.user.map(String::from),
        number: member.number.into(),
        display_name: member.name.into(),
        moderator: member.moderator,
        waiting: member.waiting,
        muted: member.muted,
        deafened: member.deafened,
        talking: member.talking,
        since_ms: member.since_ms,
        since: rfc3339(member.since_ms),
    }
}
