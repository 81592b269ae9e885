//! Early dialogs of an INVITE of ours: a fork has several (RFC 3261 §12.1.2), and each numbers its
//! reliable answers for itself (RFC 3262 §4).

use crate::sip::offer_answer::Agreed;

/// Early dialogs of one INVITE. What others say reliably is not acknowledged, and so not said for
/// long.
const FORKS_MAX: usize = 16;

/// One far end that answered provisionally.
#[derive(Debug)]
struct Early {
    tag: Box<[u8]>,
    /// Of its last reliable answer; nought before the first.
    rseq: u32,
    /// What was agreed on for good before its 2xx (RFC 3262 §5).
    agreed: Option<Agreed>,
}

/// All far ends of one INVITE that answered reliably.
#[derive(Debug, Default)]
pub(super) struct Forks(Vec<Early>);

impl Forks {
    /// Takes the number of a reliable answer. `false` if it was there before, or one before it is
    /// missing: then the far end repeats both.
    pub fn take(&mut self, tag: &[u8], rseq: u32) -> bool {
        if let Some(early) = self.0.iter_mut().find(|early| *early.tag == *tag) {
            let next = early.rseq.checked_add(1) == Some(rseq);
            if next {
                early.rseq = rseq;
            }
            return next;
        }
        let room = self.0.len() < FORKS_MAX;
        if room {
            self.0.push(Early {
                tag: tag.into(),
                rseq,
                agreed: None,
            });
        }
        room
    }

    /// The offer was answered reliably by this one.
    pub fn settle(&mut self, tag: &[u8], agreed: Option<Agreed>) {
        if let Some(early) = self.0.iter_mut().find(|early| *early.tag == *tag) {
            early.agreed = agreed;
        }
    }

    /// What was agreed on with this one for good.
    pub fn settled(&self, tag: &[u8]) -> Option<&Agreed> {
        let early = self.0.iter().find(|early| *early.tag == *tag)?;
        early.agreed.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_far_end_counts_for_itself() {
        let mut forks = Forks::default();
        assert!(forks.take(b"a", 7));
        assert!(!forks.take(b"a", 7), "again");
        assert!(!forks.take(b"a", 9), "8 is missing");
        assert!(forks.take(b"b", 3), "another one begins where it likes");
        assert!(forks.take(b"a", 8));
        assert!(forks.take(b"b", 4));
    }

    #[test]
    fn of_too_many_the_last_are_not_heard() {
        let mut forks = Forks::default();
        for n in 0..FORKS_MAX {
            assert!(forks.take(n.to_string().as_bytes(), 1));
        }
        assert!(!forks.take(b"one more", 1));
        assert!(forks.take(b"0", 2));
    }
}
