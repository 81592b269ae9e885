//! What needs the operator now, beside peers: users whom the file names and nobody is, and copies
//! of messages that no server takes.

use super::signal::SignalCore;
use std::collections::BTreeMap;

/// Users whom the file names and nobody is, that are told of by name.
const ABSENT_MAX: usize = 20;

impl SignalCore {
    /// For `voipctl status`.
    pub(super) fn pbx_warnings(&self) -> Vec<String> {
        let mut warnings = self.absent_users();
        let addresses = self.mailboxes.addresses();
        if addresses > 0 && self.config.voicemail.smtp.is_none() {
            warnings.push(format!(
                "{addresses} mailboxes have an e-mail address, and no copies are sent: [voicemail] \
                 smtp names no server"
            ));
        }
        warnings
    }

    fn absent_users(&self) -> Vec<String> {
        let mut absent: BTreeMap<Box<str>, Vec<String>> = BTreeMap::new();
        for (place, user) in self.config.named_users() {
            if self.directory.get(&user).is_none_or(|user| user.disabled) {
                absent.entry(user).or_default().push(place);
            }
        }
        let more = absent.len().saturating_sub(ABSENT_MAX);
        let told = absent.iter().take(ABSENT_MAX).map(|(user, places)| {
            let places = places.join("; ");
            match self.directory.get(user) {
                Some(_) => format!("{user} is disabled, and named by {places}"),
                None => format!("{user} is no user: voipctl user add {user}, or change {places}"),
            }
        });
        let more = (more > 0).then(|| format!("{more} more users that voip.toml names are none"));
        told.chain(more).collect()
    }
}
