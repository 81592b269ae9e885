//! Who gets a call.
use super::{config, member, pool};
use crate::base::Instant;
use crate::config::Algorithm;
use crate::peer::{Keys, Peers, Pool, Refusal};
use std::collections::BTreeMap;
use std::sync::Arc;

const ALL: [Algorithm; 7] = [
    Algorithm::CallId,
    Algorithm::FromUri,
    Algorithm::ToUri,
    Algorithm::RequestUri,
    Algorithm::RoundRobin,
    Algorithm::Weight,
    Algorithm::FewestCalls,
];
const HASHES: [Algorithm; 4] = [
    Algorithm::CallId,
    Algorithm::FromUri,
    Algorithm::ToUri,
    Algorithm::RequestUri,
];
const CALLS: usize = 6000;

fn made(algorithm: Algorithm, members: &[(&str, u16)]) -> (Peers, Arc<Pool>) {
    let members = members.iter().map(|(uri, weight)| member(uri, *weight));
    let pools = vec![pool("p", algorithm, members.collect())];
    let peers = Peers::new(&config(Vec::new(), pools), [7; 32]);
    let pool = peers.pool("p").expect("it is there");
    (peers, pool)
}

fn first(pool: &Pool, n: usize) -> Option<String> {
    order(pool, n).into_iter().next()
}

fn order(pool: &Pool, n: usize) -> Vec<String> {
    let call_id = format!("call-{n}@192.0.2.9");
    let from = format!("sip:{n}@example.com");
    let to = format!("sip:+34{n}@example.com;user=phone");
    let request_uri = format!("sip:9{n}@example.com");
    let chosen = pool.choose(&Keys {
        call_id: call_id.as_bytes(),
        from_uri: from.as_bytes(),
        to_uri: to.as_bytes(),
        request_uri: request_uri.as_bytes(),
    });
    chosen.iter().map(|m| m.uri().to_owned()).collect()
}

fn shares(pool: &Pool) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for n in 0..CALLS {
        *shares
            .entry(first(pool, n).expect("one is up"))
            .or_default() += 1;
    }
    shares
}

const THREE: [(&str, u16); 3] = [("sip:a", 1), ("sip:b", 1), ("sip:c", 1)];
const WEIGHTED: [(&str, u16); 3] = [("sip:a", 1), ("sip:b", 2), ("sip:c", 3)];

#[test]
fn hashes_spread_by_weight() {
    for algorithm in HASHES {
        let (_peers, pool) = made(algorithm, &WEIGHTED);
        let shares = shares(&pool);
        for (uri, weight) in WEIGHTED {
            let wanted = CALLS * usize::from(weight) / 6;
            let got = shares[uri];
            assert!(got.abs_diff(wanted) < 200, "{algorithm:?} {uri} {got}");
        }
    }
}

#[test]
fn who_leaves_moves_its_own_calls_only_and_gets_them_back() {
    for algorithm in HASHES {
        let (_peers, pool) = made(algorithm, &WEIGHTED);
        let before: Vec<_> = (0..CALLS).map(|n| order(&pool, n)).collect();
        let lost = Arc::clone(&pool.members()[1]);
        lost.standing().failed_probe(Instant::ZERO, "x");
        lost.standing().failed_probe(Instant::ZERO, "x");
        for (n, before) in before.iter().enumerate() {
            let mut wanted = before.clone();
            wanted.retain(|uri| uri != lost.uri());
            assert_eq!(order(&pool, n), wanted, "the order of failover stays");
        }
        lost.standing().answered_probe(Instant::ZERO);
        let after: Vec<_> = (0..CALLS).map(|n| order(&pool, n)).collect();
        assert_eq!(before, after);
    }
}

#[test]
fn a_new_member_takes_its_share_from_all_and_moves_nothing_else() {
    let (peers, pool) = made(Algorithm::CallId, &THREE);
    let before: Vec<_> = (0..CALLS).map(|n| first(&pool, n)).collect();
    let mut members: Vec<_> = THREE.iter().map(|(uri, w)| member(uri, *w)).collect();
    members.insert(0, member("sip:new", 1));
    let pools = vec![super::pool("p", Algorithm::CallId, members)];
    peers.configure(&config(Vec::new(), pools));
    let mut moved = 0_usize;
    for (n, before) in before.iter().enumerate() {
        let now = first(&pool, n);
        if now != *before {
            assert_eq!(now.as_deref(), Some("sip:new"));
            moved += 1;
        }
    }
    assert!(moved.abs_diff(CALLS / 4) < 200, "{moved}");
}

#[test]
fn the_uri_counts_not_how_it_is_written() {
    let (_peers, pool) = made(Algorithm::FromUri, &THREE);
    let of = |from: &str| {
        let keys = Keys {
            call_id: b"x",
            from_uri: from.as_bytes(),
            to_uri: b"sip:t",
            request_uri: b"sip:t",
        };
        pool.choose(&keys)[0].uri().to_owned()
    };
    for n in 0..200 {
        let plain = of(&format!("sip:{n}@example.com"));
        assert_eq!(
            plain,
            of(&format!("sips:{n}@EXAMPLE.com:5060;transport=tls"))
        );
    }
}

/// A member that died and is not known to be dead yet: the others share what was its own, whatever
/// the algorithm; once it lives it is back.
#[test]
fn a_doubtful_member_comes_last_and_the_others_share_evenly() {
    let (_peers, pool) = made(Algorithm::RoundRobin, &THREE);
    pool.members()[1].suspect();
    let mut chosen_first = std::collections::BTreeMap::new();
    for n in 0..300 {
        let chosen = order(&pool, n);
        assert_eq!((chosen.len(), &*chosen[2]), (3, "sip:b"));
        *chosen_first.entry(chosen[0].clone()).or_insert(0) += 1;
    }
    let even = [("sip:a".to_owned(), 150), ("sip:c".to_owned(), 150)];
    assert_eq!(chosen_first, even.into());
}

/// Nobody knows yet that a member died: its calls fail over to all the others alike.
#[test]
fn the_calls_of_a_dead_member_are_shared() {
    let (_peers, pool) = made(Algorithm::RoundRobin, &THREE);
    let mut landed = std::collections::BTreeMap::new();
    for n in 0..600 {
        let living = order(&pool, n).into_iter().find(|uri| uri != "sip:b");
        *landed.entry(living.expect("two live")).or_insert(0) += 1;
    }
    let even = [("sip:a".to_owned(), 300), ("sip:c".to_owned(), 300)];
    assert_eq!(landed, even.into());
}

#[test]
fn round_robin_goes_around() {
    let (_peers, pool) = made(Algorithm::RoundRobin, &THREE);
    let turns: Vec<_> = (0..6).filter_map(|n| first(&pool, n)).collect();
    assert_eq!(
        turns,
        ["sip:a", "sip:b", "sip:c", "sip:a", "sip:b", "sip:c"]
    );
    assert_eq!(order(&pool, 0), ["sip:a", "sip:b", "sip:c"]);
    assert_eq!(order(&pool, 0), ["sip:b", "sip:c", "sip:a"]);
}

#[test]
fn weight_is_exact_and_smooth() {
    let (_peers, pool) = made(Algorithm::Weight, &WEIGHTED);
    for _ in 0..50 {
        let turns: Vec<_> = (0..6).filter_map(|n| first(&pool, n)).collect();
        for (uri, weight) in WEIGHTED {
            let got = turns.iter().filter(|turn| **turn == *uri).count();
            assert_eq!(got, usize::from(weight), "{turns:?}");
        }
        let in_a_row = turns.windows(2).filter(|w| w[0] == w[1]).count();
        assert!(in_a_row <= 1, "{turns:?}");
    }
    let lost = Arc::clone(&pool.members()[2]);
    lost.standing().failed_probe(Instant::ZERO, "x");
    lost.standing().failed_probe(Instant::ZERO, "x");
    let shares = shares(&pool);
    assert_eq!(shares["sip:b"], 2 * shares["sip:a"]);
    lost.standing().answered_probe(Instant::ZERO);
    // Nothing is made up for afterwards.
    let turns: Vec<_> = (0..6).filter_map(|n| first(&pool, n)).collect();
    let of_lost = turns.iter().filter(|turn| **turn == lost.uri()).count();
    assert!((2..=4).contains(&of_lost), "{turns:?}");
}

#[test]
fn fewest_calls_counts_the_tickets_by_share() {
    let (_peers, pool) = made(Algorithm::FewestCalls, &WEIGHTED);
    let mut tickets = Vec::new();
    for n in 0..60 {
        let chosen = pool.choose(&Keys {
            call_id: format!("{n}").as_bytes(),
            from_uri: b"",
            to_uri: b"",
            request_uri: b"",
        });
        tickets.push((chosen[0].uri().to_owned(), chosen[0].admit(Instant::ZERO)));
    }
    let calls: Vec<_> = pool.members().iter().map(|m| m.calls()).collect();
    assert_eq!(calls, [10, 20, 30]);
    tickets.retain(|(uri, _)| uri != "sip:b");
    assert_eq!(order(&pool, 1)[0], "sip:b", "its calls ended");
}

#[test]
fn weight_zero_waits_for_the_others_to_fail() {
    for algorithm in ALL {
        let (_peers, pool) = made(algorithm, &[("sip:spare", 0), ("sip:a", 1), ("sip:b", 5)]);
        for n in 0..50 {
            let order = order(&pool, n);
            assert_eq!(order.len(), 3);
            assert_eq!(order[2], "sip:spare", "{algorithm:?}");
        }
        for name in ["sip:a", "sip:b"] {
            let members = pool.members();
            let member = members.iter().find(|m| m.uri() == name).expect("there");
            member.standing().failed_probe(Instant::ZERO, "x");
            member.standing().failed_probe(Instant::ZERO, "x");
        }
        assert_eq!(order(&pool, 1), ["sip:spare"]);
        pool.members()[0]
            .standing()
            .failed_probe(Instant::ZERO, "x");
        pool.members()[0]
            .standing()
            .failed_probe(Instant::ZERO, "x");
        assert_eq!(order(&pool, 1), [""; 0], "nobody is up");
    }
}

#[test]
fn a_drained_member_keeps_its_calls_and_gets_no_new_ones() {
    let (peers, pool) = made(Algorithm::RoundRobin, &THREE);
    let member = Arc::clone(&pool.members()[0]);
    let ticket = member.admit(Instant::ZERO).expect("room");
    assert!(pool.drain("sip:a", true));
    assert!(!pool.drain("sip:nobody", true));
    assert!((0..20).all(|n| !order(&pool, n).contains(&"sip:a".to_owned())));
    assert_eq!(member.admit(Instant::ZERO).err(), Some(Refusal::Draining));
    assert_eq!(member.calls(), 1);
    // A reload that changes its weight keeps it drained, and its calls.
    let members = vec![member_of(5), super::member("sip:b", 1)];
    let pools = vec![super::pool("p", Algorithm::RoundRobin, members)];
    peers.configure(&config(Vec::new(), pools));
    let kept = Arc::clone(&pool.members()[0]);
    assert!(Arc::ptr_eq(&kept, &member));
    assert_eq!((kept.weight(), kept.calls()), (5, 1));
    assert_eq!(order(&pool, 0), ["sip:b"]);
    drop(ticket);
    assert_eq!(kept.calls(), 0);
    assert!(pool.drain("sip:a", false));
    assert_eq!(order(&pool, 0).len(), 2);
}

fn member_of(weight: u16) -> crate::config::Member {
    super::member("sip:a", weight)
}

#[test]
fn a_full_member_is_passed_over() {
    let mut full = super::member("sip:a", 1);
    full.calls_max = 1;
    let pools = vec![super::pool(
        "p",
        Algorithm::RoundRobin,
        vec![full, super::member("sip:b", 1)],
    )];
    let peers = Peers::new(&config(Vec::new(), pools), [7; 32]);
    let pool = peers.pool("p").expect("there");
    let ticket = pool.members()[0].admit(Instant::ZERO).expect("room");
    assert!((0..9).all(|n| order(&pool, n) == ["sip:b"]));
    let refused = pool.members()[0].admit(Instant::ZERO);
    assert_eq!(refused.err(), Some(Refusal::CallsMax));
    drop(ticket);
    assert_eq!(order(&pool, 0).len(), 2);
}

#[test]
fn a_large_pool_offers_a_bounded_list() {
    let members = (0..1000).map(|n| member(&format!("sip:m{n}"), 1));
    let pools = vec![super::pool("p", Algorithm::CallId, members.collect())];
    let peers = Peers::new(&config(Vec::new(), pools), [7; 32]);
    let pool = peers.pool("p").expect("there");
    assert_eq!(order(&pool, 3).len(), crate::peer::CHOICES_MAX);
}
