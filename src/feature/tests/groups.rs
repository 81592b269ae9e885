//! Hunting and picking up.

use super::super::*;
use crate::config::{Group, PEERS_MAX, Strategy};
use std::cell::Cell;
use std::time::Duration;

fn group(name: &str, members: &[&str], strategy: Strategy) -> Group {
    Group {
        name: name.into(),
        number: Some(format!("6{name}").into()),
        members: members.iter().map(|m| (*m).into()).collect(),
        strategy,
        ring: Duration::from_secs(15),
    }
}

fn hunt(features: &Features, groups: &[Group]) -> Hunt {
    Hunt::new(groups, "example.com", features)
}

/// `1+2 3`: first 1 and 2 together, then 3.
fn order(hunt: &Hunt, name: &str, skip: &[&str], calls: impl Fn(&str) -> u32) -> String {
    let name_of = |aor: &str| aor.split('@').next().unwrap_or_default().to_owned();
    let steps = hunt.order(name, |aor| skip.contains(&name_of(aor).as_str()), calls);
    let steps = steps.iter().map(|step| {
        let names: Vec<String> = step.iter().map(|m| name_of(m)).collect();
        names.join("+")
    });
    steps.collect::<Vec<_>>().join(" ")
}

const MEMBERS: [&str; 3] = ["1", "2", "3"];

#[test]
fn members_ring_in_the_order_of_their_group() {
    let features = Features::new();
    let groups = [
        group("all", &MEMBERS, Strategy::All),
        group("ordered", &MEMBERS, Strategy::Ordered),
        group("turn", &MEMBERS, Strategy::RoundRobin),
        group("fewest", &MEMBERS, Strategy::FewestCalls),
        group("nobody", &[], Strategy::RoundRobin),
        group("twice", &["1", "1@Example.com", "2"], Strategy::Ordered),
    ];
    let hunt = hunt(&features, &groups);
    let none = |_: &str| 0;
    assert_eq!(order(&hunt, "all", &[], none), "1+2+3");
    assert_eq!(order(&hunt, "all", &["2"], none), "1+3");
    assert_eq!(order(&hunt, "all", &MEMBERS, none), "");
    assert_eq!(order(&hunt, "ordered", &[], none), "1 2 3");
    assert_eq!(order(&hunt, "ordered", &["1"], none), "2 3");
    for turn in ["1 2 3", "2 3 1", "3 1 2", "1 2 3"] {
        assert_eq!(order(&hunt, "turn", &[], none), turn);
    }
    // Whoever is left out keeps the place.
    assert_eq!(order(&hunt, "turn", &["2"], none), "3 1");
    assert_eq!(order(&hunt, "turn", &[], none), "3 1 2");
    let calls = |aor: &str| match aor {
        "1@example.com" => 2,
        "3@example.com" => 1,
        _ => 1,
    };
    assert_eq!(order(&hunt, "fewest", &[], calls), "2 3 1");
    assert_eq!(order(&hunt, "nobody", &[], none), "");
    assert_eq!(order(&hunt, "twice", &[], none), "1 2");
    assert_eq!(order(&hunt, "unknown", &[], none), "");
    assert_eq!(hunt.by_number("6turn"), Some("turn"));
    assert_eq!(hunt.by_number("600"), None);
    assert_eq!(hunt.ring("all"), Some(Duration::from_secs(15)));
    assert_eq!(hunt.ring("unknown"), None);
}

#[test]
fn a_reload_and_another_shard_go_on_with_the_turn() {
    let features = Features::new();
    let groups = [group("turn", &MEMBERS, Strategy::RoundRobin)];
    let first = hunt(&features, &groups);
    let second = hunt(&features, &groups);
    let none = |_: &str| 0;
    assert_eq!(order(&first, "turn", &[], none), "1 2 3");
    assert_eq!(order(&second, "turn", &[], none), "2 3 1");
    drop((first, second));
    let longer = [group("turn", &["1", "2", "3", "4"], Strategy::RoundRobin)];
    assert_eq!(
        order(&hunt(&features, &longer), "turn", &[], none),
        "3 4 1 2"
    );
}

#[test]
fn names_of_older_files_are_forgotten() {
    let features = Features::new();
    for n in 0..3 * PEERS_MAX {
        let name = n.to_string();
        let hunt = hunt(&features, &[group(&name, &MEMBERS, Strategy::RoundRobin)]);
        assert_eq!(order(&hunt, &name, &[], |_| 0), "1 2 3");
    }
}

#[test]
fn only_the_fewest_calls_are_counted() {
    let features = Features::new();
    let groups = [
        group("ordered", &MEMBERS, Strategy::Ordered),
        group("fewest", &MEMBERS, Strategy::FewestCalls),
    ];
    let hunt = hunt(&features, &groups);
    let asked = Cell::new(0);
    let calls = |_: &str| {
        asked.set(asked.get() + 1);
        0
    };
    order(&hunt, "ordered", &[], calls);
    assert_eq!(asked.get(), 0);
    order(&hunt, "fewest", &["2"], calls);
    assert_eq!(asked.get(), 2);
}

#[test]
fn members_who_want_no_calls_are_not_rung_for_the_group() {
    let features = Features::new();
    let set = |who: &str, change: Change| {
        features
            .change(&format!("{who}@example.com"), &change)
            .unwrap();
    };
    set("1", Change::Dnd(true));
    set("2", Change::ForwardAlways(Some("9".into())));
    set("3", Change::ForwardBusy(Some("9".into())));
    set("4", Change::Block("200".into()));
    let caller = Caller {
        number: "200",
        uri: "200@example.com",
        anonymous: false,
    };
    let rings = |who: &str| features.rings_in_group(&format!("{who}@example.com"), caller);
    assert_eq!(
        ["1", "2", "3", "4", "5"].map(rings),
        [false, false, true, false, true]
    );
}

#[test]
fn members_of_one_group_answer_for_each_other() {
    let features = Features::new();
    let groups = [
        group("a", &["1", "2"], Strategy::All),
        group("b", &["2", "3", "4@example.org"], Strategy::All),
    ];
    let hunt = hunt(&features, &groups);
    let aor = |who: &str| match who.contains('@') {
        true => who.to_owned(),
        false => format!("{who}@example.com"),
    };
    let may = |who: &str, whom: &str| hunt.may_pick_up(&aor(who), &aor(whom));
    assert!(may("1", "2") && may("2", "1") && may("2", "3") && may("3", "4@example.org"));
    assert!(!may("1", "3") && !may("3", "1") && !may("1", "1"));
    assert!(!may("1", "4@example.org") && !may("3", "4") && !may("5", "1") && !may("1", "5"));
    let ringing = [aor("3"), aor("5"), aor("2"), aor("1")];
    let pick = |who: &str| hunt.pick(&aor(who), ringing.iter().map(String::as_str));
    assert_eq!(pick("1"), Some(2));
    assert_eq!(pick("2"), Some(0));
    assert_eq!(pick("4@example.org"), Some(0));
    assert_eq!(pick("5"), None);
}
