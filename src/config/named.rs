//! Users whom menus, queues, groups and paging groups name. The file knows nobody, so that whether
//! they are there is asked by who knows the users.

use super::{Action, Config};

impl Config {
    /// Where each user is named, as `[[menu]] sales, key 3`, and who it is, `name@domain`.
    pub fn named_users(&self) -> Vec<(String, Box<str>)> {
        let mut named = Vec::new();
        let mut add = |place: String, user: &str| named.push((place, self.whole_user(user)));
        for menu in self.menus.iter() {
            let place = |part: &str| format!("[[menu]] {}, {part}", menu.name);
            let keys = menu.keys.iter();
            let keys = keys.map(|(key, action)| (format!("key {key}"), action));
            let others = [("then", &menu.then), ("closed", &menu.closed)];
            let others = others.map(|(part, action)| (part.to_owned(), action));
            for (part, action) in keys.chain(others) {
                let user = action.user().into_iter();
                user.for_each(|user| add(place(&part), user));
            }
        }
        for queue in self.queues.iter() {
            let place = |part: &str| format!("[[queue]] {}, {part}", queue.name);
            let logins = queue.logins.iter().filter(|user| ***user != *"*");
            queue.agents.iter().for_each(|u| add(place("agents"), u));
            logins.for_each(|user| add(place("logins"), user));
            let overflow = queue.overflow.user().into_iter();
            overflow.for_each(|user| add(place("overflow"), user));
        }
        for group in &self.groups {
            let place = || format!("[[group]] {}, members", group.name);
            group.members.iter().for_each(|user| add(place(), user));
        }
        for page in &self.pages {
            let place = |part: &str| format!("[[page]] {}, {part}", page.name);
            page.members.iter().for_each(|u| add(place("members"), u));
            page.callers.iter().for_each(|u| add(place("callers"), u));
        }
        named
    }
}

impl Action {
    /// The user whom it names.
    fn user(&self) -> Option<&str> {
        match self {
            Action::Extension(user) | Action::Voicemail(user) => Some(user),
            Action::Group(_)
            | Action::Menu(_)
            | Action::Queue(_)
            | Action::Route(_)
            | Action::Say(_)
            | Action::Directory
            | Action::Back
            | Action::Repeat
            | Action::HangUp => None,
        }
    }
}
