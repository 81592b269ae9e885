//! The location table against a simple model, and each rule by itself.

use super::*;
use crate::base::{Anchor, Rng};
use std::collections::BTreeMap;
use std::time::Duration;

fn anchor() -> Anchor {
    Anchor {
        instant: Instant::from_millis(1_000_000),
        unix_ms: 1_700_000_000_000,
    }
}

fn clock(ms: u64) -> Clock {
    Clock {
        now: Instant::from_millis(1_000_000 + ms),
        anchor: anchor(),
    }
}

fn udp(remote: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: remote.parse().unwrap(),
        connection: None,
    }
}

fn tcp(remote: &str, connection: u64) -> Flow {
    Flow {
        transport: Transport::Tcp,
        connection: Some(ConnectionId(connection)),
        ..udp(remote)
    }
}

fn contact(uri: &str, expires: u32) -> ContactUpdate<'_> {
    ContactUpdate {
        uri,
        parameters: "",
        q: 1000,
        expires,
        instance: "",
        reg_id: 0,
        behind_nat: false,
    }
}

fn update<'a>(call_id: &'a str, cseq: u32, contacts: &'a [ContactUpdate<'a>]) -> Update<'a> {
    Update {
        aor: "100@example.com",
        call_id,
        cseq,
        flow: udp("198.51.100.7:5060"),
        path: "",
        user_agent: "phone",
        requested: Requested::Contacts(contacts),
    }
}

const AOR: &str = "100@example.com";

fn contacts_of(location: &Location) -> Vec<String> {
    let bindings = location.lookup(AOR);
    bindings.iter().map(|b| b.contact().to_owned()).collect()
}

#[test]
fn refresh_is_a_small_record_and_keeps_the_serial() {
    let l = Location::new(Limits::default());
    let c = [contact("sip:100@198.51.100.7", 60)];
    let first = l.update(clock(0), &update("a", 1, &c)).unwrap();
    assert!(matches!(first.records[..], [Record::PutBinding(_)]));
    assert_eq!(first.placed.len(), 1);
    let serial = first.bindings[0].serial();
    drop(first);
    let again = l.update(clock(30_000), &update("a", 2, &c)).unwrap();
    assert!(again.placed.is_empty());
    let [Record::TouchBinding(touch)] = &again.records[..] else {
        panic!("{:?}", again.records);
    };
    assert_eq!((touch.serial, touch.cseq), (serial, 2));
    assert_eq!(touch.expires_at_ms, 1_700_000_090_000);
    assert_eq!(again.bindings[0].serial(), serial);
    assert_eq!(again.bindings[0].expires_in(clock(30_000).now), 60);
}

#[test]
fn whoever_holds_a_binding_sees_it_unchanged() {
    let l = Location::new(Limits::default());
    let c = [contact("sip:100@198.51.100.7", 60)];
    let held = l.update(clock(0), &update("a", 1, &c)).unwrap().bindings;
    l.update(clock(30_000), &update("a", 2, &c)).unwrap();
    assert_eq!(held[0].cseq(), 1);
    assert_eq!(l.lookup(AOR)[0].cseq(), 2);
}

#[test]
fn a_cseq_that_is_not_higher_within_one_call_id_changes_nothing() {
    let l = Location::new(Limits::default());
    let one = contact("sip:1@10.0.0.1", 60);
    let two = contact("sip:2@10.0.0.2", 60);
    l.update(clock(0), &update("a", 5, &[one])).unwrap();
    let late = l.update(clock(1), &update("a", 4, &[two, one]));
    assert_eq!(late.unwrap_err(), UpdateError::OutOfOrder);
    let repeated = l.update(clock(1), &update("a", 5, &[two, one])).unwrap();
    assert!(repeated.records.is_empty() && repeated.bindings.len() == 1);
    assert_eq!(contacts_of(&l), ["sip:1@10.0.0.1"]);
    let all = Update {
        requested: Requested::RemoveAll,
        ..update("a", 4, &[])
    };
    assert_eq!(
        l.update(clock(1), &all).unwrap_err(),
        UpdateError::OutOfOrder
    );
    // Another Call-ID is another order.
    l.update(clock(1), &update("b", 1, &[contact("sip:1@10.0.0.1", 0)]))
        .unwrap();
    assert!(l.is_empty());
    l.expire(clock(60_000).now);
    assert_eq!(l.next_expiry(), None);
}

#[test]
fn contacts_are_compared_as_uris() {
    let l = Location::new(Limits::default());
    l.update(
        clock(0),
        &update("a", 1, &[contact("sip:bob@Phone.example", 60)]),
    )
    .unwrap();
    let again = [contact("sip:bob@phone.EXAMPLE;x=1", 60)];
    let again = update("a", 2, &again);
    let updated = l.update(clock(1), &again).unwrap();
    assert_eq!(contacts_of(&l), ["sip:bob@phone.EXAMPLE;x=1"]);
    // The key is the text, so the old record goes.
    assert!(matches!(
        updated.records[..],
        [Record::DeleteBinding { .. }, Record::PutBinding(_)]
    ));
    l.update(
        clock(2),
        &update("a", 3, &[contact("sip:BOB@phone.example", 60)]),
    )
    .unwrap();
    assert_eq!(l.len(), 2);
}

#[test]
fn a_target_bears_no_headers() {
    let l = Location::new(Limits::default());
    for (uri, target) in [
        ("sip:a@x?Route=%3Csip:y%3E", "sip:a@x"),
        ("sip:a?b@x;p?h=v", "sip:a?b@x;p"),
        ("sip:x:5060?h=v", "sip:x:5060"),
        ("sip:a?b@x", "sip:a?b@x"),
    ] {
        let updated = l
            .update(clock(0), &update(uri, 1, &[contact(uri, 60)]))
            .unwrap();
        assert_eq!(updated.placed[0].target(), target);
        assert_eq!(updated.placed[0].contact(), uri);
    }
}

#[test]
fn order_is_by_q_then_by_age() {
    let l = Location::new(Limits::default());
    let low = ContactUpdate {
        q: 300,
        ..contact("sip:low@a", 60)
    };
    let high = contact("sip:high@a", 60);
    l.update(clock(0), &update("a", 1, &[low, high])).unwrap();
    l.update(clock(0), &update("a", 2, &[contact("sip:new@a", 60)]))
        .unwrap();
    assert_eq!(contacts_of(&l), ["sip:new@a", "sip:high@a", "sip:low@a"]);
}

#[test]
fn one_address_of_record_has_so_many_contacts() {
    let l = Location::new(Limits {
        contacts_per_aor: 2,
        contacts: 3,
    });
    let [a, b, c] = ["sip:a@x", "sip:b@x", "sip:c@x"].map(|u| contact(u, 60));
    let too_many = l.update(clock(0), &update("a", 1, &[a, b, c]));
    assert_eq!(too_many.unwrap_err(), UpdateError::TooManyContacts);
    assert!(l.is_empty());
    l.update(clock(0), &update("a", 2, &[a, b])).unwrap();
    // One goes, one comes: still two.
    l.update(clock(0), &update("a", 3, &[contact("sip:a@x", 0), c]))
        .unwrap();
    assert_eq!(l.len(), 2);
    // The same named twice is one.
    l.update(clock(0), &update("a", 4, &[c, c, b])).unwrap();
    assert_eq!(l.len(), 2);
    let other = [contact("sip:o@x", 60), contact("sip:p@x", 60)];
    let other = Update {
        aor: "101@example.com",
        ..update("b", 1, &other)
    };
    assert_eq!(l.update(clock(0), &other).unwrap_err(), UpdateError::Full);
    assert_eq!(l.len(), 2);
}

#[test]
fn what_nobody_reaches_gives_way() {
    let l = Location::new(Limits {
        contacts_per_aor: 1,
        contacts: 10,
    });
    let first = l
        .update(clock(0), &update("a", 1, &[contact("sip:a@x", 60)]))
        .unwrap();
    l.set_reach(AOR, first.bindings[0].serial(), Reach::Nowhere);
    let second = l
        .update(clock(0), &update("b", 1, &[contact("sip:b@x", 60)]))
        .unwrap();
    assert_eq!(contacts_of(&l), ["sip:b@x"]);
    assert_eq!(second.records.len(), 2);
    // A refresh over the same flow makes it reachable again.
    l.set_reach(AOR, second.bindings[0].serial(), Reach::Nowhere);
    l.update(clock(1), &update("b", 2, &[contact("sip:b@x", 60)]))
        .unwrap();
    assert_eq!(l.lookup(AOR)[0].reach(), Reach::Contact);
}

#[test]
fn outbound_flows_are_named_by_instance_and_reg_id() {
    let l = Location::new(Limits::default());
    let flow = |uri, reg_id| ContactUpdate {
        instance: "urn:uuid:0000-1",
        reg_id,
        ..contact(uri, 60)
    };
    l.update(clock(0), &update("a", 1, &[flow("sip:1@x", 1)]))
        .unwrap();
    l.update(clock(0), &update("b", 1, &[flow("sip:1@x", 2)]))
        .unwrap();
    assert_eq!(l.len(), 2);
    let moved = ContactUpdate {
        instance: "URN:UUID:0000-1",
        ..flow("sip:1@y", 1)
    };
    let updated = l.update(clock(0), &update("c", 1, &[moved])).unwrap();
    assert_eq!(l.len(), 2);
    assert_eq!(
        updated
            .bindings
            .iter()
            .filter(|b| b.contact() == "sip:1@y")
            .count(),
        1
    );
    assert_eq!(l.lookup_instance(AOR, "urn:uuid:0000-1").len(), 2);
    assert!(l.lookup_instance(AOR, "urn:uuid:other").is_empty());
}

#[test]
fn a_closed_connection_takes_what_only_it_reached() {
    let l = Location::new(Limits::default());
    let over = |connection, uri, nat| {
        let c = [ContactUpdate {
            behind_nat: nat,
            ..contact(uri, 60)
        }];
        let u = update("a", 1, &c);
        let u = Update {
            flow: tcp("198.51.100.7:40000", connection),
            call_id: uri,
            ..u
        };
        l.update(clock(0), &u).unwrap();
    };
    over(7, "sip:open@198.51.100.7:5060;transport=tcp", false);
    over(7, "sip:nat@10.0.0.1:5060;transport=tcp", true);
    over(8, "sip:other@10.0.0.2:5060;transport=tcp", true);
    let records = l.connection_closed(ConnectionId(7));
    assert_eq!(records.len(), 1);
    let reach: BTreeMap<String, Reach> = l
        .lookup(AOR)
        .iter()
        .map(|b| (b.contact().chars().skip(4).take(4).collect(), b.reach()))
        .collect();
    assert_eq!(
        reach.into_iter().collect::<Vec<_>>(),
        [
            ("open".into(), Reach::Contact),
            ("othe".into(), Reach::Flow)
        ]
    );
    assert!(l.connection_closed(ConnectionId(7)).is_empty());
    assert_eq!(l.connection_closed(ConnectionId(8)).len(), 1);
    assert_eq!(l.len(), 1);
}

#[test]
fn restart_brings_back_what_did_not_end() {
    let l = Location::new(Limits::default());
    let nat = ContactUpdate {
        behind_nat: true,
        ..contact("sip:n@10.0.0.9", 60)
    };
    let record = |flow, c: ContactUpdate<'_>, call_id| {
        let c = [c];
        let u = Update {
            flow,
            path: "<sip:a;lr>\n<sip:b;lr>",
            ..update(call_id, 9, &c)
        };
        let updated = l.update(clock(0), &u).unwrap();
        updated.placed[0].record(anchor())
    };
    let records = [
        record(udp("198.51.100.7:4000"), nat, "a"),
        record(
            tcp("198.51.100.7:4000", 3),
            ContactUpdate {
                uri: "sip:t@10.0.0.9",
                ..nat
            },
            "b",
        ),
        record(
            tcp("198.51.100.7:4000", 3),
            contact("sip:o@198.51.100.7", 60),
            "c",
        ),
        record(
            udp("198.51.100.7:5060"),
            contact("sip:e@198.51.100.7", 5),
            "d",
        ),
    ];
    let later = Location::new(Limits::default());
    let restored = records.clone().map(|r| later.restore(clock(10_000), &r));
    assert_eq!(restored, [true, true, true, false]);
    assert!(!later.restore(clock(10_000), &records[0]), "twice");
    let mut reach: Vec<_> = later
        .lookup(AOR)
        .iter()
        .map(|b| (b.contact().to_owned(), b.reach(), b.path().count()))
        .collect();
    reach.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        reach,
        [
            ("sip:n@10.0.0.9".into(), Reach::Flow, 2),
            ("sip:o@198.51.100.7".into(), Reach::Contact, 2),
            ("sip:t@10.0.0.9".into(), Reach::Nowhere, 2),
        ]
    );
    for record in &records[..3] {
        let binding = later.lookup(AOR);
        let binding = binding
            .iter()
            .find(|b| *b.contact() == *record.contact)
            .unwrap();
        assert_eq!(binding.record(anchor()), *record);
    }
    // The phone never saw the answer and asks again, byte for byte.
    let c = [nat];
    let again = Update {
        flow: udp("198.51.100.7:4000"),
        ..update("a", 9, &c)
    };
    later.update(clock(11_000), &again).unwrap();
    let repeated = later.update(clock(12_000), &again).unwrap();
    assert!(repeated.records.is_empty() && !repeated.bindings.is_empty());
    let bad = BindingRecord {
        received: "nowhere".into(),
        ..records[0].clone()
    };
    assert!(!later.restore(clock(0), &bad));
}

#[test]
fn those_behind_nat_are_handed_out_once() {
    let l = Location::new(Limits::default());
    let nat = [ContactUpdate {
        behind_nat: true,
        ..contact("sip:n@10.0.0.9", 60)
    }];
    l.update(clock(0), &update("a", 1, &nat)).unwrap();
    l.update(clock(0), &update("b", 1, &[contact("sip:open@x", 60)]))
        .unwrap();
    assert_eq!(l.take_fresh().len(), 1);
    l.update(clock(0), &update("a", 2, &nat)).unwrap();
    assert!(l.take_fresh().is_empty());
    // A phone that came back from another address is new.
    let moved = Update {
        flow: udp("203.0.113.9:999"),
        ..update("a", 3, &nat)
    };
    l.update(clock(0), &moved).unwrap();
    assert_eq!(l.take_fresh().len(), 1);
    assert!(l.restored_behind_nat(0, 1).is_empty());
    let later = Location::new(Limits::default());
    assert!(later.restore(clock(0), &l.lookup(AOR)[0].record(anchor())));
    let of_shards = (0..4).map(|s| later.restored_behind_nat(s, 4).len());
    assert_eq!(of_shards.sum::<usize>(), 1);
}

#[test]
fn a_phone_that_learnt_its_address_is_still_behind_its_nat() {
    let l = Location::new(Limits::default());
    let nat = |uri| ContactUpdate {
        behind_nat: true,
        ..contact(uri, 60)
    };
    l.update(clock(0), &update("a", 1, &[nat("sip:n@10.0.0.9")]))
        .unwrap();
    // As pjsip does: the old contact goes, the one it learnt from rport comes.
    let learnt = contact("sip:n@198.51.100.7:5060", 60);
    let both = [contact("sip:n@10.0.0.9", 0), learnt];
    let updated = l.update(clock(0), &update("a", 2, &both)).unwrap();
    assert_eq!(updated.bindings.len(), 1);
    assert!(updated.bindings[0].behind_nat());
    let again = l.update(clock(1), &update("a", 3, &[learnt])).unwrap();
    assert!(matches!(again.records[..], [Record::TouchBinding(_)]));
    assert!(again.bindings[0].behind_nat());
    // From another network, or another phone, it is not.
    let c = [contact("sip:n@203.0.113.9", 60)];
    let moved = Update {
        flow: udp("203.0.113.9:5060"),
        ..update("a", 4, &c)
    };
    assert!(!l.update(clock(2), &moved).unwrap().placed[0].behind_nat());
    let other = [contact("sip:o@198.51.100.7:5062", 60)];
    let other = update("b", 1, &other);
    assert!(!l.update(clock(2), &other).unwrap().placed[0].behind_nat());
}

#[test]
fn listing_goes_by_pages() {
    let l = Location::new(Limits::default());
    for n in 0..10 {
        let aor = format!("{n}@example.com");
        let c = [contact("sip:a@x", 60), contact("sip:b@x", 60)];
        l.update(
            clock(0),
            &Update {
                aor: &aor,
                ..update("a", 1, &c)
            },
        )
        .unwrap();
    }
    let mut after = String::new();
    let mut seen = Vec::new();
    loop {
        let (rows, more) = l.list("", &after, 5);
        assert!(rows.len() == 4 || !more);
        after = rows.last().unwrap().aor().to_owned();
        seen.extend(rows.iter().map(|b| b.aor().to_owned()));
        if !more {
            break;
        }
    }
    assert!(seen.is_sorted());
    assert_eq!(seen.len(), 20);
    assert_eq!(l.list("7@", "", 100).0.len(), 2);
    assert_eq!(
        l.list("", "", 1).0.len(),
        2,
        "an address of record is not torn apart"
    );
}

#[test]
fn expiry_works_in_batches() {
    let l = Location::new(Limits::default());
    for n in 0..EXPIRE_BATCH + 100 {
        let aor = format!("{n}@example.com");
        let c = [contact("sip:a@x", 60)];
        l.update(
            clock(0),
            &Update {
                aor: &aor,
                ..update("a", 1, &c)
            },
        )
        .unwrap();
    }
    let due = l.next_expiry().unwrap();
    assert_eq!(due, clock(60_000).now);
    assert!(l.expire(due - Duration::from_nanos(1)).is_empty());
    assert_eq!(l.expire(due).len(), EXPIRE_BATCH);
    assert_eq!(l.next_expiry(), Some(due));
    assert_eq!(l.expire(due).len(), 100);
    assert_eq!((l.next_expiry(), l.len()), (None, 0));
}

/// What the table should do, without care for speed.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    uri: String,
    call_id: String,
    cseq: u32,
    q: u16,
    expires_ms: u64,
    order: u64,
    fresh: bool,
}

type Model = BTreeMap<String, Vec<Known>>;
type Disk = BTreeMap<(String, String), BindingRecord>;

fn write_to(disk: &mut Disk, record: &Record) {
    match record {
        Record::PutBinding(b) => {
            disk.insert((b.aor.to_string(), b.key.to_string()), *b.clone());
        }
        Record::TouchBinding(touch) => {
            let mut all = disk.values_mut();
            let b = all.find(|b| b.serial == touch.serial).unwrap();
            assert!(b.cseq < touch.cseq, "the journal would take it for done");
            (b.expires_at_ms, b.cseq) = (touch.expires_at_ms, touch.cseq);
        }
        Record::DeleteBinding { aor, key } => {
            assert!(disk.remove(&(aor.to_string(), key.to_string())).is_some());
        }
        other => panic!("{other:?}"),
    }
}

/// The model's answer to one REGISTER; false if it is refused.
fn model_update(
    known: &mut Vec<Known>,
    call_id: &str,
    cseq: u32,
    contacts: Option<&[(String, u16, u32)]>,
    now_ms: u64,
    order: &mut u64,
) -> bool {
    let late = |k: &Known| k.call_id == call_id && cseq < k.cseq;
    if known
        .iter()
        .any(|k| k.call_id == call_id && cseq == k.cseq && k.fresh)
    {
        return true;
    }
    let Some(contacts) = contacts else {
        if known.iter().any(late) {
            return false;
        }
        known.clear();
        return true;
    };
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    if contacts
        .iter()
        .any(|(uri, ..)| known.iter().any(|k| same(&k.uri, uri) && late(k)))
    {
        return false;
    }
    let mut next = known.clone();
    for (index, (uri, q, expires)) in contacts.iter().enumerate() {
        if contacts[index + 1..]
            .iter()
            .any(|(later, ..)| same(later, uri))
        {
            continue;
        }
        let old = next.iter().find(|k| same(&k.uri, uri)).cloned();
        next.retain(|k| !same(&k.uri, uri));
        if *expires == 0 {
            continue;
        }
        let touched = old.filter(|o| {
            contacts.len() == 1 && o.uri == *uri && o.call_id == call_id && o.q == *q && o.fresh
        });
        *order += 1;
        next.push(Known {
            uri: uri.clone(),
            call_id: call_id.to_owned(),
            cseq,
            q: *q,
            expires_ms: now_ms + u64::from(*expires) * 1000,
            order: touched.map_or(*order, |o| o.order),
            fresh: true,
        });
    }
    if next.len() > 4 && next.len() > known.len() {
        return false;
    }
    next.sort_by(|a, b| b.q.cmp(&a.q).then(b.order.cmp(&a.order)));
    *known = next;
    true
}

#[test]
fn agrees_with_the_model() {
    for seed in 0..150 {
        let mut rng = Rng::from_u64(seed);
        let limits = Limits {
            contacts_per_aor: 4,
            contacts: 1000,
        };
        let mut l = Location::new(limits);
        let (mut model, mut disk) = (Model::new(), Disk::new());
        let (mut now, mut order) = (0, 0);
        for step in 0..150 {
            let aor = format!("{}@example.com", rng.below(3));
            let known = model.entry(aor.clone()).or_default();
            match rng.below(12) {
                0 => now += rng.below(40_000),
                1 => {
                    // The process dies and comes back.
                    l = Location::new(limits);
                    for record in disk.values() {
                        l.restore(clock(now), record);
                    }
                    let at = anchor().unix_ms(clock(now).now);
                    disk.retain(|_, r| r.expires_at_ms > at);
                    for known in model.values_mut() {
                        known.retain(|k| k.expires_ms > now);
                        known.iter_mut().for_each(|k| k.fresh = false);
                    }
                    // Order among equals is not on the disk.
                    for (aor, known) in &mut model {
                        for k in known.iter_mut() {
                            let bindings = l.lookup(aor);
                            let b = bindings.iter().find(|b| b.contact() == k.uri).unwrap();
                            k.order = b.serial();
                            order = order.max(b.serial());
                        }
                        known.sort_by(|a, b| b.q.cmp(&a.q).then(b.order.cmp(&a.order)));
                    }
                    // Serials go on above.
                    order += 1_000_000;
                }
                _ => {
                    let call_id = ["a", "b"][rng.below(2) as usize];
                    let cseq = 1 + rng.below(20) as u32 + step / 4;
                    let all = rng.chance(1, 15);
                    let contacts: Vec<(String, u16, u32)> = (0..1 + rng.below(3))
                        .map(|_| {
                            let host = ["h1", "H1", "h2", "h3", "h4"][rng.below(5) as usize];
                            let q = [1000, 500][rng.below(2) as usize];
                            (format!("sip:u@{host}"), q, rng.below(4) as u32 * 15)
                        })
                        .collect();
                    let asked: Vec<ContactUpdate<'_>> = contacts
                        .iter()
                        .map(|(uri, q, expires)| ContactUpdate {
                            q: *q,
                            ..contact(uri, *expires)
                        })
                        .collect();
                    let requested = match all {
                        true => Requested::RemoveAll,
                        false => Requested::Contacts(&asked),
                    };
                    let u = Update {
                        aor: &aor,
                        requested,
                        ..update(call_id, cseq, &[])
                    };
                    let asked = (!all).then_some(&contacts[..]);
                    let expected = model_update(known, call_id, cseq, asked, now, &mut order);
                    let result = l.update(clock(now), &u);
                    assert_eq!(
                        result.is_ok(),
                        expected,
                        "seed {seed} step {step} {result:?}"
                    );
                    for record in result.iter().flat_map(|u| &u.records) {
                        write_to(&mut disk, record);
                    }
                }
            }
            for record in l.expire(clock(now).now) {
                write_to(&mut disk, &record);
            }
            let mut total = 0;
            for (aor, known) in &mut model {
                known.retain(|k| k.expires_ms > now);
                total += known.len();
                let bindings = l.lookup(aor);
                let got: Vec<_> = bindings
                    .iter()
                    .map(|b| (b.contact(), b.cseq(), b.q()))
                    .collect();
                let want: Vec<_> = known.iter().map(|k| (&*k.uri, k.cseq, k.q)).collect();
                assert_eq!(got, want, "seed {seed} step {step}");
                for b in &bindings {
                    let stored = &disk[&(aor.clone(), b.key().to_string())];
                    assert_eq!(*stored, b.record(anchor()), "seed {seed} step {step}");
                }
            }
            assert_eq!(
                (l.len(), disk.len()),
                (total, total),
                "seed {seed} step {step}"
            );
            let first = model.values().flatten().map(|k| k.expires_ms).min();
            let next = l.next_expiry();
            assert!(first.is_none_or(|ms| next.is_some_and(|at| at <= clock(ms).now)));
        }
    }
}

#[test]
fn shards_share_it() {
    let l = Location::new(Limits {
        contacts_per_aor: 10,
        contacts: 100_000,
    });
    std::thread::scope(|scope| {
        for shard in 0..4u64 {
            let l = &l;
            scope.spawn(move || {
                let mut rng = Rng::from_u64(shard);
                for n in 1..3000 {
                    let aor = format!("{}@example.com", rng.below(50));
                    let uri = format!("sip:{shard}@x");
                    let call_id = format!("{shard}");
                    let c = [contact(&uri, rng.below(3) as u32)];
                    let u = Update {
                        aor: &aor,
                        flow: tcp("198.51.100.7:4000", rng.below(20)),
                        ..update(&call_id, n, &c)
                    };
                    l.update(clock(u64::from(n)), &u).unwrap();
                    if rng.chance(1, 20) {
                        l.connection_closed(ConnectionId(rng.below(20)));
                    }
                    l.expire(clock(u64::from(n)).now);
                }
            });
        }
    });
    while l.next_expiry().is_some() {
        l.expire(clock(10_000_000).now);
    }
    assert!(l.is_empty());
    assert!((0..20).all(|c| l.connection_closed(ConnectionId(c)).is_empty()));
}
