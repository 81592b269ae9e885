//! The dialogs of a call beside the one that its record and its media follow. An INVITE that forks
//! makes an early dialog with everybody who rings, and may be answered more than once; then the
//! caller keeps one of the answers and ends the others by BYE, in whatever order they reached it
//! (RFC 3261 §13.2.2.4, §16.7 step 5).

use super::leg::Leg;
use super::media::Media;

/// Dialogs of one call beside the first; of more than that the oldest are forgotten.
pub(super) const FORKS_MAX: usize = 8;

/// One dialog with one callee.
#[derive(Debug, Default)]
pub(super) struct Dialog {
    /// The callee's side.
    pub leg: Leg,
    /// Whether a 2xx came of it.
    pub answered: bool,
    /// Whether the caller acknowledged that.
    pub acknowledged: bool,
    /// What was agreed about media in it, if that passes through us.
    pub media: Option<Box<Media>>,
    /// Of its answer.
    pub codecs: Box<str>,
}

/// The others, oldest first.
#[derive(Debug, Default)]
pub(super) struct Forks(Vec<Dialog>);

impl Forks {
    /// The dialog with this callee.
    pub fn get(&self, tag: &[u8]) -> Option<&Dialog> {
        self.0.iter().find(|d| *d.leg.tag == *tag)
    }

    /// The dialog with this callee.
    pub fn get_mut(&mut self, tag: &[u8]) -> Option<&mut Dialog> {
        self.0.iter_mut().find(|d| *d.leg.tag == *tag)
    }

    /// The dialog with this callee, made if there is none.
    pub fn enter(&mut self, tag: &[u8]) -> Option<&mut Dialog> {
        if self.get(tag).is_none() {
            if self.0.len() >= FORKS_MAX {
                let early = self.0.iter().position(|d| !d.answered);
                self.0.remove(early.unwrap_or(0));
            }
            let leg = Leg {
                tag: tag.into(),
                ..Leg::default()
            };
            self.0.push(Dialog {
                leg,
                ..Dialog::default()
            });
        }
        self.get_mut(tag)
    }

    /// Forgets one.
    pub fn remove(&mut self, tag: &[u8]) -> Option<Dialog> {
        let at = self.0.iter().position(|d| *d.leg.tag == *tag)?;
        Some(self.0.remove(at))
    }

    /// Keeps only what was answered.
    pub fn forget_early(&mut self) {
        self.0.retain(|d| d.answered);
    }

    /// Takes out the dialog that lives on when the first one ended: one that the caller
    /// acknowledged, or else one whose acknowledgement may still come.
    pub fn take_living(&mut self) -> Option<Dialog> {
        let acknowledged = self.0.iter().position(|d| d.answered && d.acknowledged);
        let at = acknowledged.or_else(|| self.0.iter().position(|d| d.answered))?;
        Some(self.0.remove(at))
    }

    /// Those that were answered.
    pub fn answered(&self) -> impl Iterator<Item = &Dialog> {
        self.0.iter().filter(|d| d.answered)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
