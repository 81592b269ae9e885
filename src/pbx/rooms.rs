//! Who is in which conference room. Members of one room are calls of several shards, so this is
//! shared by all of them under one lock, held for a look. Each member's entry is written by the
//! shard of its call alone; what others want of it ([`Wish`]) is brought there.
//!
//! Bounded: rooms by those of the configuration, members by the room's own limit, failed PINs by
//! [`FAILURES_MAX`].
//!
//! Not done here: sound (`media::room`), what members hear and press ([`super::conference`]).

use crate::config::{Conference, ModeratorLeaves};
pub use crate::feature::Address;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is wanted of a member, or of one who was parked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// It is not heard any more, or is again.
    Mute(bool),
    /// It does not hear any more, or does again.
    Deafen(bool),
    /// It is sent away.
    Kick,
    /// A moderator is here: it comes in.
    Enter,
    /// The moderator is gone: it waits for the next.
    Wait,
    /// The moderator is gone, and so it goes.
    Close,
    /// The operator ends the conference, or whom it talks to is gone.
    End,
    /// It was parked, and the one at this place has fetched it.
    Fetched(Address),
    /// The one whom it fetched, or to whom it is transferred, is at this place, and comes into
    /// their room.
    Met(Address),
    /// Of a shard: whoever talks to one end of a dialog shall meet somebody of another shard.
    Bring(Box<Bring>),
    /// There is nobody to be brought together with.
    Alone,
    /// Who would be is at a service of this URI, as the proxy wrote it: that takes it, too.
    Serve(Box<[u8]>),
    /// Another call has its place in the parking lot.
    Replaced,
    /// Whom it talks to holds it, or does no more.
    Held(bool),
    /// Whom it talks to transfers it.
    Go(Box<Journey>),
    /// The transfer fares so that it asked for.
    Fares(u16),
    /// Whom it talks to is at this place from now on.
    Moved(Address),
    /// The one whose room it is shall have both recorded, or no longer.
    Tape(bool),
    /// Both are recorded, into this file of the spool; or no longer.
    Taped(Option<Box<str>>),
    /// The room is recorded by it, or no longer.
    Record(bool),
}

/// A transfer in place of a dialog that may be another shard's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bring {
    /// Its Replaces value, unescaped.
    pub dialog: Box<str>,
    /// Who is transferred, and is told [`Wish::Met`], [`Wish::Serve`] or [`Wish::Alone`].
    pub whom: Address,
}

/// Where somebody is transferred to, who is joined with a leg of another shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Journey {
    /// A URI.
    pub to: Box<str>,
    /// A Replaces value, unescaped.
    pub replaces: Option<Box<str>>,
    /// The URI of who transfers.
    pub by: Option<Box<str>>,
    /// On whose account it goes: that user's.
    pub user: Option<Box<str>>,
}

/// One member, waiting or inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Names it in its room; counts up.
    pub id: u32,
    /// Where.
    pub address: Address,
    /// One of our users; the address of record.
    pub user: Option<Box<str>>,
    /// As it shows itself; may be empty.
    pub number: Box<str>,
    /// The display name; may be empty.
    pub name: Box<str>,
    /// Whether it typed the moderator's PIN.
    pub moderator: bool,
    /// Whether it waits for a moderator.
    pub waiting: bool,
    /// Whether it hears the room.
    pub inside: bool,
    /// Whether it is not heard.
    pub muted: bool,
    /// Whether it does not hear.
    pub deafened: bool,
    /// Whether it talks.
    pub talking: bool,
    /// When it came, in milliseconds since 1970.
    pub since_ms: u64,
}

/// One room with members.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// By their ids.
    pub members: Vec<Member>,
    /// Whether nobody else comes in but moderators.
    pub locked: bool,
    /// Whether what is said is recorded.
    pub recorded: bool,
    last_id: u32,
}

/// Why nobody comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// As many are inside as may be.
    Full,
    /// A moderator locked it.
    Locked,
}

/// What a new member finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its id.
    pub id: u32,
    /// How many others are there.
    pub others: u32,
    /// Whether it must wait for a moderator.
    pub waits: bool,
    /// Who waited for it, as it is the moderator.
    pub waited: Vec<Address>,
}

#[derive(Debug, Default)]
struct State {
    rooms: BTreeMap<Box<str>, Room>,
}

/// All rooms that have members.
#[derive(Debug, Default)]
pub struct Roster {
    state: Mutex<State>,
}

impl Roster {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A caller with the right PIN wants to come in. `member.id` and `member.waiting` are given
    /// here.
    pub fn enter(&self, config: &Conference, mut member: Member) -> Result<Entry, Refused> {
        let mut state = self.state();
        let known = state.rooms.get(&config.name);
        if known.is_some_and(|room| room.locked) && !member.moderator {
            return Err(Refused::Locked);
        }
        if known.map_or(0, |room| room.members.len()) >= config.members_max as usize {
            return Err(Refused::Full);
        }
        let room = state.rooms.entry(config.name.clone());
        let room = room.or_insert_with(|| Room {
            recorded: config.record,
            ..Room::default()
        });
        let waited = match member.moderator {
            true => room.waiting(),
            false => Vec::new(),
        };
        room.last_id = room.last_id.wrapping_add(1).max(1);
        member.id = room.last_id;
        member.waiting = config.wait_for_moderator && !member.moderator && room.moderators() == 0;
        let entry = Entry {
            id: member.id,
            others: room.members.len() as u32,
            waits: member.waiting,
            waited,
        };
        room.members.push(member);
        Ok(entry)
    }

    /// A member is gone. With the room's configuration, who must hear that no moderator is left,
    /// and what.
    pub fn leave(
        &self,
        name: &str,
        id: u32,
        config: Option<&Conference>,
    ) -> Option<(Vec<Address>, Wish)> {
        let mut state = self.state();
        let room = state.rooms.get_mut(name)?;
        let at = room.members.iter().position(|m| m.id == id)?;
        let gone = room.members.remove(at);
        if room.members.is_empty() {
            state.rooms.remove(name);
            return None;
        }
        let config = config.filter(|c| c.wait_for_moderator)?;
        if !gone.moderator || room.moderators() > 0 {
            return None;
        }
        let wish = match config.moderator_leaves {
            ModeratorLeaves::Wait => Wish::Wait,
            ModeratorLeaves::End => Wish::Close,
        };
        Some((room.addresses(), wish))
    }

    /// Changes what is known of a member.
    pub fn update(&self, name: &str, id: u32, change: impl FnOnce(&mut Member)) {
        let mut state = self.state();
        let room = state.rooms.get_mut(name);
        let member = room.and_then(|room| room.members.iter_mut().find(|m| m.id == id));
        if let Some(member) = member {
            change(member);
        }
    }

    /// Locks a room or opens it again; false if nobody is there.
    pub fn lock(&self, name: &str, locked: bool) -> bool {
        let mut state = self.state();
        let room = state.rooms.get_mut(name);
        room.map(|room| room.locked = locked).is_some()
    }

    /// Locks a room that is open, and opens one that is locked; what it is then.
    pub fn turn_lock(&self, name: &str) -> Option<bool> {
        let mut state = self.state();
        let room = state.rooms.get_mut(name)?;
        room.locked = !room.locked;
        Some(room.locked)
    }

    /// Records a room or ends that; whoever is inside is to do it. Where nobody is, whoever comes
    /// in first finds out.
    pub fn record(&self, name: &str, recorded: bool) -> Option<Address> {
        let mut state = self.state();
        let room = state.rooms.get_mut(name)?;
        room.recorded = recorded;
        let inside = room.members.iter().find(|m| m.inside);
        inside.map(|m| m.address)
    }

    /// Whether a room is recorded.
    pub fn is_recorded(&self, name: &str) -> bool {
        let state = self.state();
        state.rooms.get(name).is_some_and(|room| room.recorded)
    }

    /// Whoever came last of those who are no moderators.
    pub fn last(&self, name: &str) -> Option<Address> {
        let state = self.state();
        let members = &state.rooms.get(name)?.members;
        let mut others = members.iter().rev().filter(|m| !m.moderator);
        others.next().map(|m| m.address)
    }

    /// Where the members of a room are.
    pub fn addresses(&self, name: &str) -> Vec<Address> {
        let state = self.state();
        let room = state.rooms.get(name);
        room.map_or_else(Vec::new, Room::addresses)
    }

    /// One room as it is.
    pub fn room(&self, name: &str) -> Option<Room> {
        self.state().rooms.get(name).cloned()
    }

    /// How many members there are in all rooms, for checkers.
    pub fn members(&self) -> usize {
        let state = self.state();
        state.rooms.values().map(|room| room.members.len()).sum()
    }
}

impl Room {
    fn moderators(&self) -> usize {
        self.members.iter().filter(|m| m.moderator).count()
    }

    fn waiting(&self) -> Vec<Address> {
        let waiting = self.members.iter().filter(|m| m.waiting);
        waiting.map(|m| m.address).collect()
    }

    fn addresses(&self) -> Vec<Address> {
        self.members.iter().map(|m| m.address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(session: u64, moderator: bool) -> Member {
        let shard = session as usize % 3;
        Member {
            id: 0,
            address: Address { shard, session },
            user: None,
            number: "100".into(),
            name: "".into(),
            moderator,
            waiting: false,
            inside: false,
            muted: false,
            deafened: false,
            talking: false,
            since_ms: 0,
        }
    }

    fn config() -> Conference {
        Conference {
            name: "a".into(),
            members_max: 3,
            ..Conference::default()
        }
    }

    #[test]
    fn a_full_room_and_a_locked_one_are_closed() {
        let roster = Roster::new();
        let config = config();
        for others in 0..3 {
            let entry = roster.enter(&config, member(others, false)).unwrap();
            assert_eq!((u64::from(entry.others), entry.waits), (others, false));
        }
        assert_eq!(roster.enter(&config, member(3, true)), Err(Refused::Full));
        roster.leave("a", 2, Some(&config));
        assert!(roster.lock("a", true));
        assert_eq!(
            roster.enter(&config, member(4, false)),
            Err(Refused::Locked)
        );
        assert!(roster.enter(&config, member(5, true)).is_ok());
        assert_eq!(roster.last("a"), Some(member(2, false).address));
        // A room that all left is open again.
        for id in [1, 3, 4] {
            roster.leave("a", id, Some(&config));
        }
        assert_eq!((roster.room("a"), roster.members()), (None, 0));
        assert!(roster.enter(&config, member(6, false)).is_ok());
        assert!(!roster.lock("b", true));
    }

    #[test]
    fn whoever_is_inside_has_the_room_recorded() {
        let roster = Roster::new();
        let config = config();
        assert_eq!(roster.record("a", true), None);
        for session in 1..=2 {
            roster.enter(&config, member(session, false)).unwrap();
        }
        // Both are at the door.
        assert_eq!(roster.record("a", true), None);
        assert!(roster.is_recorded("a"));
        roster.update("a", 2, |m| m.inside = true);
        let second = member(2, false).address;
        assert_eq!(roster.record("a", false), Some(second));
        assert!(!roster.is_recorded("a"));
    }

    #[test]
    fn a_moderator_is_waited_for() {
        for (leaves, wish) in [
            (ModeratorLeaves::Wait, Wish::Wait),
            (ModeratorLeaves::End, Wish::Close),
        ] {
            let roster = Roster::new();
            let config = Conference {
                wait_for_moderator: true,
                moderator_leaves: leaves,
                members_max: 10,
                ..config()
            };
            assert!(roster.enter(&config, member(1, false)).unwrap().waits);
            let entry = roster.enter(&config, member(2, true)).unwrap();
            assert_eq!(entry.waited, [member(1, false).address]);
            roster.update("a", 1, |m| m.waiting = false);
            assert!(!roster.enter(&config, member(3, false)).unwrap().waits);
            let second = roster.enter(&config, member(4, true)).unwrap();
            assert_eq!(second.waited, []);
            assert_eq!(roster.leave("a", 2, Some(&config)), None);
            let told = roster.leave("a", 4, Some(&config)).unwrap();
            let others = [1, 3].map(|n| member(n, false).address);
            assert_eq!(told, (others.to_vec(), wish));
            assert_eq!(roster.leave("a", 3, Some(&config)), None);
            assert_eq!(roster.leave("a", 3, Some(&config)), None);
        }
    }
}
