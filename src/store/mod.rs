//! F2: the records that outlive the process, and the users in memory. How they reach a disk is the
//! top floor's affair (`os::store`).

mod directory;
mod mailbox;
mod pin;
mod record;
mod settings;

pub use directory::{Directory, DirectoryFull, USERS_MAX};
pub use mailbox::{EmailCopy, Folder, Greeting, Greetings, Mailbox, MailboxRecord, MessageRecord};
pub use pin::{PIN_DIGITS_MAX, PIN_DIGITS_MIN, PinHash};
pub use record::{Ban, BindingRecord, Cdr, CdrLeg, EndCause, Ha1, Record, Touch, User};
pub use settings::{BLOCKED_MAX, FeatureRecord, QUEUES_MAX, SPEED_MAX, Settings};
