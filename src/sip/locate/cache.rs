//! Answers by question, for as long as they hold.

use super::plan::Outcome;
use super::{DnsAnswer, DnsQuestion};
use crate::base::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Answers kept.
pub(super) const ANSWERS_MAX: usize = 4096;
/// No answer is kept longer.
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// No denial is kept longer (RFC 2308 §5 recommends hours; a phone system wants to recover).
const DENIAL_TTL_MAX: Duration = Duration::from_secs(300);
/// A resolver in trouble is not asked the same more often.
const FAILURE_TTL: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Kept {
    outcome: Outcome,
    until: Instant,
    /// Tells the entry in `order` that counts.
    serial: u64,
}

/// At most [`ANSWERS_MAX`] answers; the oldest goes first.
#[derive(Debug, Default)]
pub(super) struct Cache {
    kept: BTreeMap<DnsQuestion, Kept>,
    order: VecDeque<(u64, DnsQuestion)>,
    serial: u64,
}

impl Cache {
    pub(super) fn get(&self, now: Instant, question: &DnsQuestion) -> Option<Outcome> {
        let kept = self.kept.get(question)?;
        (kept.until > now).then(|| kept.outcome.clone())
    }

    /// Keeps an answer and gives it in the form that plans are made of.
    pub(super) fn put(
        &mut self,
        now: Instant,
        question: &DnsQuestion,
        answer: DnsAnswer,
    ) -> Outcome {
        let (outcome, ttl) = match answer {
            DnsAnswer::Found { records, ttl } => (Outcome::Found(records.into()), ttl.min(TTL_MAX)),
            DnsAnswer::NotFound { ttl } => (Outcome::NotFound, ttl.min(DENIAL_TTL_MAX)),
            DnsAnswer::Failed => (Outcome::Failed, FAILURE_TTL),
        };
        self.serial += 1;
        let kept = Kept {
            outcome: outcome.clone(),
            until: now + ttl,
            serial: self.serial,
        };
        self.kept.insert(question.clone(), kept);
        self.order.push_back((self.serial, question.clone()));
        while self.kept.len() > ANSWERS_MAX || self.order.len() > 2 * ANSWERS_MAX {
            self.drop_oldest();
        }
        outcome
    }

    fn drop_oldest(&mut self) {
        if let Some((serial, question)) = self.order.pop_front()
            && self.kept.get(&question).is_some_and(|k| k.serial == serial)
        {
            self.kept.remove(&question);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}
