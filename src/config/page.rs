//! `[[page]]`: a number by which many phones are spoken to at once.

use super::parse::File;
use super::parse_dialing::{dialled, user};
use super::print::{list, plain, text};
use super::reader::Section;
use super::{Config, PEERS_MAX};
use std::fmt::{self, Formatter};

pub(super) const PAGE: &[&str] = &["name", "number", "members", "two_way", "callers"];

/// Phones of one page: each is a call of its own.
pub const PAGE_MEMBERS_MAX: usize = 100;

/// One paging group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Its name in records.
    pub name: Box<str>,
    /// The number by which it is called.
    pub number: Box<str>,
    /// Whose phones speak: users, `100` or `100@example.com`.
    pub members: Vec<Box<str>>,
    /// Whether they are heard, too.
    pub two_way: bool,
    /// Who may call it: users; all of the house without any.
    pub callers: Vec<Box<str>>,
}

impl Config {
    /// The paging group of a name.
    pub fn page(&self, name: &str) -> Option<&Page> {
        self.pages.iter().find(|page| *page.name == *name)
    }

    /// The paging group that a number leads to.
    pub fn page_dialled(&self, number: &str) -> Option<&Page> {
        self.pages.iter().find(|page| *page.number == *number)
    }

    /// The address of record of a user whom the file names.
    pub fn whole_user(&self, user: &str) -> Box<str> {
        match user.contains('@') {
            true => user.into(),
            false => format!("{user}@{}", self.node.default_domain()).into(),
        }
    }
}

impl<'d> File<'_, '_, 'd> {
    pub(super) fn pages(&mut self, config: &Config) -> Vec<Page> {
        let mut pages: Vec<Page> = Vec::new();
        let mut names = Vec::new();
        for section in self.tables("page", PEERS_MAX) {
            let name = self.name(section, &names, "hall");
            names.extend(name.clone());
            let number = self.page_number(section, &pages, config);
            let mut page = Page {
                members: self.users_of(section, "members", (config, false)),
                callers: self.users_of(section, "callers", (config, false)),
                two_way: self.truth(section, "two_way", false),
                ..Page::default()
            };
            if let Some(entry) = section.get("members") {
                let remedy = "name whose phones speak: members = [\"100\", \"101\"]";
                self.empty_list(entry, remedy);
                if page.members.len() > PAGE_MEMBERS_MAX {
                    let problem = format!("has {} members", page.members.len());
                    let remedy = format!("write at most {PAGE_MEMBERS_MAX}");
                    self.reader.note_entry(entry, problem, &remedy);
                    page.members.truncate(PAGE_MEMBERS_MAX);
                }
            } else {
                let remedy = "name whose phones speak: members = [\"100\", \"101\"]";
                self.reader.missing(section, "members", remedy);
            }
            if let (Some(name), Some(number)) = (name, number) {
                (page.name, page.number) = (name, number);
                pages.push(page);
            }
        }
        pages
    }

    /// Users; `*` for all of them where `any`.
    pub(super) fn users_of(
        &mut self,
        section: Section<'d>,
        key: &'static str,
        (config, any): (&Config, bool),
    ) -> Vec<Box<str>> {
        let mut users: Vec<Box<str>> = Vec::new();
        let Some(entry) = section.get(key) else {
            return users;
        };
        for text in self.reader.texts(entry).unwrap_or_default() {
            match user(text.text, &config.node, any) {
                Ok(user) if users.iter().any(|known| **known == *user) => {
                    self.note(text, format!("\"{user}\" is named twice"), "take one out");
                }
                Ok(user) => users.push(user.into()),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        users
    }

    fn page_number(
        &mut self,
        section: Section<'d>,
        pages: &[Page],
        config: &Config,
    ) -> Option<Box<str>> {
        let Some(entry) = section.get("number") else {
            let remedy = "write the number by which it is called: number = \"*50\"";
            self.reader.missing(section, "number", remedy);
            return None;
        };
        let text = self.reader.text(entry)?;
        if let Err((problem, remedy)) = dialled(text.text) {
            self.note(text, problem, remedy);
            return None;
        }
        let number = text.text;
        let of = |kind: &str, name: &str| format!("{kind} {name}");
        let page = pages.iter().find(|p| *p.number == *number);
        let group = config.groups.iter();
        let group = group.clone().find(|g| g.number.as_deref() == Some(number));
        let room = config.conference_dialled(number);
        let service = config.services.dialled(number);
        let slot = config.parking.is_slot(number);
        let owner = page
            .map(|page| of("page", &page.name))
            .or_else(|| group.map(|group| of("group", &group.name)))
            .or_else(|| room.map(|room| of("conference", &room.name)))
            .or_else(|| service.map(|service| of("[services]", service.name())))
            .or_else(|| slot.then(|| "a slot of [parking]".into()));
        if let Some(owner) = owner {
            let problem = format!("\"{number}\" is the number of {owner} already");
            self.note(text, problem, "give it another number");
            return None;
        }
        Some(number.into())
    }
}

pub(super) fn print(f: &mut Formatter<'_>, page: &Page) -> fmt::Result {
    writeln!(f, "\n[[page]]")?;
    text(f, "name", &page.name)?;
    text(f, "number", &page.number)?;
    list(f, "members", &page.members)?;
    plain(f, "two_way", page.two_way)?;
    if !page.callers.is_empty() {
        list(f, "callers", &page.callers)?;
    }
    Ok(())
}
