//! From the configuration to the plan.

use super::rule::{Rule, Shared, Sources, Who, whole_user};
use super::time::Zones;
use super::{NumberRules, Query, Source, Target};
use crate::config::{Config, Index, Service};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// Where each number leads.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) rules: Vec<Rule>,
    pub(super) numbers: NumberRules,
    pub(super) zones: Zones,
    pub(super) groups: Vec<PlanGroup>,
    /// Of a group's number, its place.
    pub(super) group_numbers: HashMap<Box<str>, u32>,
    /// The groups of each user, `name@domain`.
    memberships: HashMap<Box<str>, SmallVec<[u32; 4]>>,
    /// What answers a number of its own, before all routes.
    answered: HashMap<Box<str>, Target>,
    indexes: Indexes,
    pub(super) domain: Box<str>,
}

#[derive(Clone, Debug)]
pub(super) struct PlanGroup {
    pub(super) name: Box<str>,
    pub(super) route: Arc<str>,
}

/// The rules by the sources that may use them; one that several may is in several.
#[derive(Clone, Debug, Default)]
struct Indexes {
    all: Index,
    ours: Index,
    any_user: Index,
    /// Those that name an address beside or instead of others.
    addresses: Index,
    users: HashMap<Box<str>, Index>,
    of_group: HashMap<u32, Index>,
    trunks: HashMap<Box<str>, Index>,
    pools: HashMap<Box<str>, Index>,
}

impl Plan {
    /// Makes the plan of a configuration that was found to be without mistakes, after
    /// [`Config::with_host_name`].
    pub fn compile(config: &Config) -> Plan {
        let mut zones = Zones::default();
        let mut shared = Shared::default();
        let made = config.routes.iter();
        let rules: Vec<Rule> = made
            .filter_map(|route| Rule::new(route, config, &mut zones, &mut shared))
            .collect();
        let numbers = NumberRules::new(config);
        let mut indexes = Indexes::default();
        for (at, rule) in rules.iter().enumerate() {
            indexes.insert(at as u32, rule);
        }
        let mut memberships: HashMap<Box<str>, SmallVec<[u32; 4]>> = HashMap::new();
        let mut group_numbers = HashMap::new();
        for (at, group) in config.groups.iter().enumerate() {
            for member in &group.members {
                let groups = memberships.entry(whole_user(member, config)).or_default();
                groups.push(at as u32);
            }
            if let Some(number) = &group.number {
                group_numbers.insert(number.clone(), at as u32);
            }
        }
        let named = |group: &crate::config::Group| PlanGroup {
            name: group.name.clone(),
            route: format!("group:{}", group.name).into(),
        };
        Plan {
            rules,
            zones,
            groups: config.groups.iter().map(named).collect(),
            group_numbers,
            memberships,
            answered: answered(config, &numbers),
            numbers,
            indexes,
            domain: config.node.default_domain().into(),
        }
    }

    /// Whether no number leads anywhere but to the user of that name.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.group_numbers.is_empty()
    }

    /// The menu or queue that a number is the own one of: asked before routes are.
    pub fn answers(&self, number: &str) -> Option<&Target> {
        if self.answered.is_empty() {
            return None;
        }
        let e164 = || Some(format!("+{}", self.numbers.e164(number)?));
        let answered = self.answered.get(number);
        answered.or_else(|| self.answered.get(&*e164()?))
    }

    /// What is known of numbers.
    pub fn numbers(&self) -> &NumberRules {
        &self.numbers
    }

    /// The groups that who asks is in.
    pub(super) fn groups_of(&self, source: Source<'_>) -> &[u32] {
        match source {
            Source::User(user) => self.memberships.get(user).map_or(&[], |groups| groups),
            Source::Trunk(_) | Source::Pool(_) | Source::Operator | Source::Other => &[],
        }
    }

    /// The first rule that takes the number and of which `holds` says that it is for this call.
    /// `holds` is asked in no order.
    pub(super) fn first(
        &self,
        query: &Query<'_>,
        number: &str,
        holds: &mut dyn FnMut(&Rule) -> bool,
    ) -> Option<&Rule> {
        let all = &self.indexes;
        let mut below = u32::MAX;
        let mut look = |index: Option<&Index>| {
            if let Some(index) = index {
                index.matching(number.as_bytes(), &mut below, &mut |at| {
                    self.rules.get(at as usize).is_some_and(&mut *holds)
                });
            }
        };
        look(Some(&all.all));
        match query.source {
            Source::User(user) => {
                look(Some(&all.ours));
                look(Some(&all.any_user));
                look(all.users.get(user));
                for group in self.groups_of(query.source) {
                    look(all.of_group.get(group));
                }
            }
            Source::Pool(pool) => {
                look(Some(&all.ours));
                look(all.pools.get(pool));
            }
            Source::Trunk(trunk) => look(all.trunks.get(trunk)),
            Source::Operator => look(Some(&all.ours)),
            Source::Other => {}
        }
        look(Some(&all.addresses));
        self.rules.get(below as usize)
    }
}

/// By the number as it is written, and in E.164 where that is known: trunks may write it otherwise.
fn answered(config: &Config, numbers: &NumberRules) -> HashMap<Box<str>, Target> {
    let menus = config.menus.iter();
    let menus = menus.map(|m| (&m.numbers, Target::Menu(m.name.clone())));
    let queues = config.queues.iter();
    let queues = queues.map(|q| (&q.numbers, Target::Queue(q.name.clone())));
    let mut answered = HashMap::new();
    let disa = (&config.disa.numbers, Target::Service(Service::Disa));
    for (own, target) in menus.chain(queues).chain([disa]) {
        for number in own {
            if let Some(e164) = numbers.e164(number) {
                answered.insert(format!("+{e164}").into(), target.clone());
            }
            answered.insert(number.clone(), target.clone());
        }
    }
    answered
}

impl Indexes {
    fn insert(&mut self, at: u32, rule: &Rule) {
        let put = |index: &mut Index| {
            for pattern in rule.matcher.patterns() {
                index.insert(at, pattern.clone());
            }
        };
        let sources = match &rule.sources {
            Sources::All => return put(&mut self.all),
            Sources::Ours => return put(&mut self.ours),
            Sources::Some(sources) => sources,
        };
        // Several networks are one entry.
        if sources.iter().any(|s| matches!(s, Who::Address(_))) {
            put(&mut self.addresses);
        }
        for source in sources {
            match source {
                Who::User(name) => put(self.users.entry(name.clone()).or_default()),
                Who::AnyUser => put(&mut self.any_user),
                Who::Group(group) => put(self.of_group.entry(*group).or_default()),
                Who::Trunk(name) => put(self.trunks.entry(name.clone()).or_default()),
                Who::Pool(name) => put(self.pools.entry(name.clone()).or_default()),
                Who::Address(_) => {}
            }
        }
    }
}
