//! Who the ends of a call are, for services that have its session of the media side.

use super::{CallKey, CallTable};

impl CallTable {
    /// On whose account the call of a session goes: the user, and the trunk or pool it came from.
    pub fn account_of(&self, session: u64) -> (Option<&str>, Option<&str>) {
        let call = self.calls.get(CallKey::from_u64(session).0);
        let way = call.map(|call| &*call.ways.way_in);
        (
            call.and_then(|call| call.user.as_deref()),
            way.filter(|way| !way.is_empty()),
        )
    }

    /// One of our users, `name@domain`, answered a call: of several phones that rang, this one's.
    /// The first to do so counts.
    pub fn answered_by(&mut self, key: CallKey, aor: &str) {
        if let Some(call) = self.calls.get_mut(key.0)
            && call.answerer.is_empty()
        {
            call.answerer = aor.into();
        }
    }

    /// Which of our users answered the call of a session, where one did and that was told.
    pub fn answerer_of(&self, session: u64) -> Option<&str> {
        let call = self.calls.get(CallKey::from_u64(session).0)?;
        Some(&*call.answerer).filter(|aor| !aor.is_empty())
    }

    /// Whether the call of a session took a route that records its calls.
    pub fn takes_recorded_route(&self, session: u64) -> bool {
        let call = self.calls.get(CallKey::from_u64(session).0);
        call.is_some_and(|call| call.ways.record)
    }
}
