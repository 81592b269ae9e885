//! The limits of accounts: exact at their bounds, over midnight, and against a naive model.

use super::*;
use proptest::prelude::*;

/// 18:30 of some day.
const START_UNIX_MS: u64 = 19_000 * DAY_MS + 18 * 3_600_000 + 1_800_000;
const START_MS: u64 = 5_000_000;

fn settings() -> Settings {
    Settings {
        user: Limits {
            calls_max: 3,
            calls_per_minute: 5,
            minutes_per_day: 100,
            costly_minutes_per_day: 20,
        },
        trunk: Limits {
            minutes_per_day: 200,
            ..Limits::default()
        },
        prefixes: vec![("882".into(), 2), ("88".into(), 5)],
        block: Duration::from_secs(600),
        exempt: vec!["free@x".into()],
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(START_MS + ms)
}

fn minutes(n: u64) -> u64 {
    n * 60_000
}

const ALICE: Who<'static> = Who::User("alice@x");

fn ask(fraud: &Arc<Fraud>, who: Who<'_>, number: &str, ms: u64) -> Result<Ticket, Refusal> {
    let class = (!number.starts_with("34")).then_some(Class::International);
    fraud.admit(who, Some(number), class, at(ms), START_UNIX_MS + ms)
}

fn refused(fraud: &Arc<Fraud>, who: Who<'_>, number: &str, ms: u64) -> (u16, &'static str, bool) {
    let refusal = ask(fraud, who, number, ms).expect_err("admitted");
    (refusal.status, refusal.reason, refusal.block)
}

/// A call of so many milliseconds.
fn talk(fraud: &Arc<Fraud>, who: Who<'_>, number: &str, ms: u64, for_ms: u64) {
    let mut ticket = ask(fraud, who, number, ms).expect("refused");
    ticket.answered(at(ms));
    ticket.ended(at(ms + for_ms));
}

#[test]
fn calls_at_a_time_are_refused_and_block_nobody() {
    let fraud = Fraud::new(settings());
    let first = ask(&fraud, ALICE, "34911", 0).unwrap();
    let _second = ask(&fraud, ALICE, "34911", 0).unwrap();
    let _third = ask(&fraud, ALICE, "34911", 0).unwrap();
    let busy = (403, "Too Many Calls At A Time", false);
    assert_eq!(refused(&fraud, ALICE, "34911", 1), busy);
    assert!(ask(&fraud, Who::User("bob@x"), "34911", 1).is_ok());
    drop(first);
    assert!(ask(&fraud, ALICE, "34911", 2).is_ok());
    assert!(fraud.blocks(at(3)).is_empty());
}

#[test]
fn the_sixth_call_of_a_minute_blocks_until_the_time_is_over_or_lifted() {
    let fraud = Fraud::new(settings());
    for n in 0..5 {
        ask(&fraud, ALICE, "34911", n * 1000).unwrap();
    }
    let fast = (403, "Too Many Calls A Minute", true);
    assert_eq!(refused(&fraud, ALICE, "34911", 59_999), fast);
    let blocked = (403, "Outgoing Calls Are Blocked", true);
    assert_eq!(refused(&fraud, ALICE, "34911", 59_999 + 599_999), blocked);
    let [block] = &fraud.blocks(at(60_000))[..] else {
        panic!("one block");
    };
    assert_eq!(
        (&*block.user, block.since_ms),
        ("alice@x", START_UNIX_MS + 59_999)
    );
    assert!(ask(&fraud, ALICE, "34911", 59_999 + 600_000).is_ok());
    assert!(fraud.blocks(at(59_999 + 600_000)).is_empty());
    assert!(!fraud.lift("alice@x", at(700_000)));
    // Exactly a minute later the first no longer counts.
    let fraud = Fraud::new(settings());
    for n in 0..5 {
        ask(&fraud, ALICE, "34911", n * 1000).unwrap();
    }
    assert!(ask(&fraud, ALICE, "34911", 60_000).is_ok());
    assert_eq!(refused(&fraud, ALICE, "34911", 60_000), fast);
    assert!(fraud.lift("alice@x", at(60_001)));
    assert!(ask(&fraud, ALICE, "34911", 60_001).is_ok());
    assert_eq!((fraud.stats().refused, fraud.stats().blocked), (1, 1));
}

#[test]
fn minutes_end_exactly_at_their_limit_and_begin_anew_at_midnight() {
    let fraud = Fraud::new(settings());
    talk(&fraud, ALICE, "331", 0, minutes(20) - 1);
    talk(&fraud, ALICE, "331", minutes(30), 1);
    let over = (403, "International Minutes Of The Day Used Up", true);
    assert_eq!(refused(&fraud, ALICE, "331", minutes(60)), over);
    assert!(fraud.lift("alice@x", at(minutes(60))));
    talk(&fraud, ALICE, "331", minutes(60), minutes(20));
    // National calls go on once the block is over, to their own limit.
    assert_eq!(refused(&fraud, ALICE, "331", minutes(90)), over);
    talk(&fraud, ALICE, "34911", minutes(101), minutes(80));
    let all = (403, "Minutes Of The Day Used Up", true);
    assert_eq!(refused(&fraud, ALICE, "34911", minutes(200)), all);
    // Midnight is after five hours and a half.
    assert_eq!(refused(&fraud, ALICE, "331", minutes(330) - 1), all);
    assert!(fraud.lift("alice@x", at(minutes(330) - 1)));
    talk(&fraud, ALICE, "331", minutes(330), minutes(20));
    assert_eq!(refused(&fraud, ALICE, "331", minutes(350)), over);
}

#[test]
fn calls_that_last_count_and_only_with_what_lies_behind_midnight() {
    let fraud = Fraud::new(settings());
    let mut ticket = ask(&fraud, ALICE, "331", minutes(300)).unwrap();
    ticket.answered(at(minutes(311)));
    ticket.answered(at(minutes(312)));
    // 19 minutes before midnight, and 19 after.
    assert!(ask(&fraud, ALICE, "331", minutes(330) - 1).is_ok());
    assert!(ask(&fraud, ALICE, "331", minutes(349)).is_ok());
    let over = (403, "International Minutes Of The Day Used Up", true);
    assert_eq!(refused(&fraud, ALICE, "331", minutes(350)), over);
    ticket.ended(at(minutes(350)));
    assert!(fraud.lift("alice@x", at(minutes(350))));
    talk(&fraud, ALICE, "331", minutes(350), minutes(19));
    assert!(ask(&fraud, ALICE, "331", minutes(375)).is_ok());
}

#[test]
fn prefixes_have_minutes_of_their_own_and_the_longer_counts_for_the_shorter() {
    let fraud = Fraud::new(settings());
    talk(&fraud, ALICE, "882123", 0, minutes(2));
    let over = (403, "Minutes Of The Day To This Prefix Used Up", true);
    assert_eq!(refused(&fraud, ALICE, "882456", minutes(3)), over);
    talk(&fraud, ALICE, "88155", minutes(14), minutes(3));
    assert_eq!(refused(&fraud, ALICE, "88155", minutes(20)), over);
    talk(&fraud, ALICE, "331", minutes(31), minutes(1));
    talk(
        &fraud,
        Who::User("bob@x"),
        "882123",
        minutes(31),
        minutes(1),
    );
}

#[test]
fn trunks_are_refused_and_never_blocked_and_the_exempt_are_neither() {
    let fraud = Fraud::new(settings());
    let trunk = Who::Trunk("itsp");
    talk(&fraud, trunk, "331", 0, minutes(200));
    let over = (503, "Minutes Of The Day Used Up", false);
    assert_eq!(refused(&fraud, trunk, "331", minutes(201)), over);
    assert!(ask(&fraud, Who::User("itsp"), "331", minutes(201)).is_ok());
    assert!(fraud.blocks(at(minutes(201))).is_empty());
    let tickets: Vec<_> = (0..100)
        .map(|_| ask(&fraud, Who::User("free@x"), "8821", 0).unwrap())
        .collect();
    assert_eq!(tickets.len(), 100);
}

#[test]
fn a_limit_of_zero_is_none() {
    let fraud = Fraud::new(Settings::default());
    let tickets: Vec<_> = (0..1000)
        .map(|_| ask(&fraud, ALICE, "8821", 0).unwrap())
        .collect();
    drop(tickets);
    talk(&fraud, ALICE, "8821", 0, DAY_MS / 4);
    assert!(ask(&fraud, ALICE, "8821", DAY_MS / 4).is_ok());
    fraud.configure(settings());
    let all = (403, "Minutes Of The Day Used Up", false);
    // Without a time to block for, one call is refused.
    fraud.configure(Settings {
        block: Duration::ZERO,
        ..settings()
    });
    talk(&fraud, ALICE, "34911", DAY_MS / 4, minutes(100));
    assert_eq!(
        refused(&fraud, ALICE, "34911", DAY_MS / 4 + minutes(100)),
        all
    );
    assert_eq!(fraud.stats().blocked, 0);
}

#[test]
fn the_table_is_bounded_and_gives_up_the_idle_alone() {
    let fraud = Fraud::with_accounts(settings(), PARTS);
    let name = |n: u32| format!("u{n}@x");
    let mut busy = Vec::new();
    for n in 0..10_000 {
        if let Ok(ticket) = ask(&fraud, Who::User(&name(n)), "34911", 0) {
            busy.push(ticket);
        }
    }
    assert_eq!(busy.len(), PARTS, "one in each part");
    let full = (503, "Too Many Accounts", false);
    assert_eq!(refused(&fraud, Who::User("new@x"), "34911", 1), full);
    drop(busy);
    // Their last minute counts for a minute.
    assert_eq!(refused(&fraud, Who::User("new@x"), "34911", 59_999), full);
    assert!(ask(&fraud, Who::User("new@x"), "34911", 60_000).is_ok());
}

#[test]
fn a_calendar_that_jumps_loses_no_call_and_counts_none_twice() {
    let fraud = Fraud::new(settings());
    let admit =
        |ms, unix_ms| fraud.admit(ALICE, Some("331"), Some(Class::Premium), at(ms), unix_ms);
    let mut long = admit(0, START_UNIX_MS).unwrap();
    long.answered(at(0));
    // Six hours forward over midnight, while the call has lasted for ten minutes.
    let jump = 6 * 3_600_000;
    assert!(admit(minutes(10), START_UNIX_MS + minutes(10) + jump).is_ok());
    assert!(admit(minutes(29), START_UNIX_MS + minutes(29) + jump).is_ok());
    let over = admit(minutes(30), START_UNIX_MS + minutes(30) + jump);
    assert!(over.is_err());
    long.ended(at(minutes(30)));
    // And back.
    assert!(fraud.lift("alice@x", at(minutes(30))));
    assert!(admit(minutes(31), START_UNIX_MS + minutes(31)).is_ok());
    let account = fraud.part("u:alice@x");
    let account = account.get("u:alice@x").unwrap();
    assert_eq!(
        (account.all.lasting, account.all.since_ms, account.calls),
        (0, 0, 0)
    );
}

/// One call of the model.
struct Call {
    user: usize,
    number: &'static str,
    begun: u64,
    answered: Option<u64>,
    ended: Option<u64>,
}

/// Looks through every call that ever was.
#[derive(Default)]
struct Model {
    calls: Vec<Call>,
    blocked_until: [u64; 2],
    forgiven: [u64; 2],
}

impl Model {
    fn minutes_ms(&self, user: usize, now: u64, counts: impl Fn(&Call) -> bool) -> u64 {
        let midnight = now.saturating_sub((START_UNIX_MS + now) % DAY_MS);
        let from = midnight.max(self.forgiven[user]);
        let of_user = self.calls.iter().filter(|c| c.user == user && counts(c));
        let part = |c: &Call| match c.answered {
            Some(answered) => c.ended.unwrap_or(now).saturating_sub(answered.max(from)),
            None => 0,
        };
        of_user.map(part).sum()
    }

    fn admit(&mut self, user: usize, number: &'static str, now: u64) -> Option<Limit> {
        let of_user = || self.calls.iter().filter(|c| c.user == user);
        let costly = |c: &Call| !c.number.starts_with("34");
        let forgiven = self.forgiven[user];
        let recent = |c: &&Call| c.begun + 60_000 > now && (forgiven == 0 || c.begun >= forgiven);
        if of_user().filter(|c| c.ended.is_none()).count() >= 3 {
            return Some(Limit::Calls);
        }
        if of_user().filter(recent).count() >= 5 {
            return Some(Limit::PerMinute);
        }
        if self.minutes_ms(user, now, |_| true) >= minutes(100) {
            return Some(Limit::Minutes);
        }
        if !number.starts_with("34") && self.minutes_ms(user, now, costly) >= minutes(20) {
            return Some(Limit::Costly);
        }
        let over = |prefix: &str, most| {
            let to = |c: &Call| c.number.starts_with(prefix);
            number.starts_with(prefix) && self.minutes_ms(user, now, to) >= minutes(most)
        };
        if over("882", 2) || over("88", 5) {
            return Some(Limit::Prefix);
        }
        self.calls.push(Call {
            user,
            number,
            begun: now,
            answered: None,
            ended: None,
        });
        None
    }
}

const NUMBERS: [&str; 4] = ["34911", "331", "88210", "88155"];
const USERS: [&str; 2] = ["alice@x", "bob@x"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Calls, answers, ends and pardons in any order, over several midnights: admitted and refused,
    /// and for what reason, as by a model that looks through every call that ever was.
    #[test]
    fn limits_keep_to_a_naive_model(
        steps in prop::collection::vec((0_u8..8, 0_usize..2, 0_usize..4, 0_u64..1000), 1..150),
    ) {
        let fraud = Fraud::new(settings());
        let mut model = Model::default();
        let mut tickets: Vec<Option<Ticket>> = Vec::new();
        let mut now = 0;
        for (what, user, pick, more) in steps {
            // From within a second to most of an hour.
            now += if what % 2 == 0 { more } else { more * 3000 };
            match what {
                0..=3 => {
                    let got = ask(&fraud, Who::User(USERS[user]), NUMBERS[pick], now);
                    if now < model.blocked_until[user] {
                        prop_assert_eq!(got.unwrap_err().reason, "Outgoing Calls Are Blocked");
                        continue;
                    }
                    let limit = model.admit(user, NUMBERS[pick], now);
                    let reason = got.as_ref().err().map(|r| r.reason);
                    prop_assert_eq!(reason, limit.map(Limit::reason));
                    if limit.is_some_and(Limit::blocks) {
                        model.blocked_until[user] = now + 600_000;
                    }
                    tickets.extend(got.ok().map(Some));
                }
                4 | 5 => {
                    let open = |n: &usize| model.calls[*n].ended.is_none();
                    if let Some(n) = (0..tickets.len()).filter(open).nth(pick) {
                        tickets[n].as_mut().unwrap().answered(at(now));
                        let answered = &mut model.calls[n].answered;
                        *answered = answered.or(Some(now));
                    }
                }
                6 => {
                    let open = |n: &usize| model.calls[*n].ended.is_none();
                    if let Some(n) = (0..tickets.len()).filter(open).nth(pick) {
                        tickets[n].take().unwrap().ended(at(now));
                        model.calls[n].ended = Some(now);
                    }
                }
                _ => {
                    let blocked = now < model.blocked_until[user];
                    prop_assert_eq!(fraud.lift(USERS[user], at(now)), blocked);
                    if blocked {
                        model.blocked_until[user] = 0;
                        model.forgiven[user] = now;
                    }
                }
            }
        }
    }
}
