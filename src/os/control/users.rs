//! Commands about users, their call features and mailboxes, carried out on the tables in memory and
//! told to the store.

use super::Tables;
use crate::config::Node;
use crate::control::{
    Command, Failure, IMPORT_USERS_MAX, NewUser, Reply, USER_ROWS_MAX, UserRow, Verifier,
};
use crate::os::store::Store;
use crate::store::{Directory, Ha1, Record, User};
use std::time::Duration;

/// Longest user part and display name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// How long the disk is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries out a command about users in a running daemon and waits until the change is on the disk;
/// `None` if it is about something else. Blocks: not for a thread that serves the network.
pub fn answer(command: &Command, node: &Node, tables: Tables<'_>, store: &Store) -> Option<Reply> {
    let mut changed = false;
    let reply = execute(command, node, tables, |record| {
        changed = true;
        store.persist(record);
    })?;
    if !changed {
        return Some(reply);
    }
    Some(match store.flush(PATIENCE) {
        Ok(true) => reply,
        Ok(false) => Reply::failed(
            Failure::Store,
            "the change is in memory, but not yet on the disk",
            "see voipctl status; it is written as soon as the disk takes it",
        ),
        Err(trouble) => Reply::failed(
            Failure::Store,
            format!(
                "the change is in memory, but not on the disk: {}",
                trouble.problem
            ),
            trouble.remedy,
        ),
    })
}

/// Carries out a command about users; `None` if it is about something else. What must be kept goes
/// to `keep`.
pub fn execute(
    command: &Command,
    node: &Node,
    tables: Tables<'_>,
    mut keep: impl FnMut(Record),
) -> Option<Reply> {
    let Tables {
        directory,
        features,
        ..
    } = tables;
    let result = match command {
        Command::UserAdd { user } => add(user, node, directory, &mut keep),
        Command::UserImport { users } => import(users, node, directory, &mut keep),
        Command::UserDel { aor } => del(aor, tables, &mut keep),
        Command::UserPasswd { aor, verifier } => passwd(aor, verifier, directory, &mut keep),
        Command::UserShow { aor } => find(aor, directory).map(|u| Reply::Users {
            rows: vec![row(&u)],
            more: false,
        }),
        Command::UserList { filter, after } => Ok(list(filter, after, directory)),
        Command::FeatureShow { .. } | Command::FeatureSet { .. } | Command::FeatureClear { .. } => {
            return super::features::execute(command, directory, features, &mut keep);
        }
        Command::MailboxList { .. }
        | Command::MailboxShow { .. }
        | Command::MailboxSet { .. }
        | Command::MailboxDeleteMessage { .. } => {
            return super::mailboxes::execute(command, tables, &mut keep);
        }
        Command::Status
        | Command::Registrations { .. }
        | Command::Calls
        | Command::Hangup { .. }
        | Command::Trunks
        | Command::Pools
        | Command::PoolDrain { .. }
        | Command::Bans
        | Command::BanLift { .. }
        | Command::Trace { .. }
        | Command::RouteTest { .. }
        | Command::Log { .. }
        | Command::Conferences { .. }
        | Command::ConferenceRoom { .. }
        | Command::ConferenceMember { .. }
        | Command::Blocks
        | Command::Parked
        | Command::Relayed
        | Command::Queues { .. }
        | Command::QueueLogin { .. }
        | Command::QueuePause { .. }
        | Command::BlockLift { .. }
        | Command::Cdrs { .. }
        | Command::Reload => return None,
    };
    Some(result.unwrap_or_else(|failed| failed))
}

/// What digest needs of a password, for the wire.
pub fn verifier(username: &str, domain: &str, password: &str) -> Verifier {
    let (md5, sha256) = Ha1::of(username, domain, password).to_hex();
    Verifier { md5, sha256 }
}

/// Takes `name@domain` apart; the domain in lower case. Says in words what is wrong with it.
pub fn split_aor(aor: &str) -> Result<(&str, String), String> {
    let Some((name, domain)) = aor.rsplit_once('@') else {
        return Err(format!("\"{aor}\" has no domain"));
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("\"{aor}\" has a name that is empty or too long"));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,/".contains(&b);
    if let Some(bad) = name.chars().find(|c| !u8::try_from(*c).is_ok_and(allowed)) {
        return Err(format!("\"{aor}\" has {bad:?} in its name"));
    }
    Ok((name, domain.to_ascii_lowercase()))
}

type Outcome = Result<Reply, Reply>;

fn add(new: &NewUser, node: &Node, directory: &Directory, keep: &mut dyn FnMut(Record)) -> Outcome {
    let user = user_of(new, node).map_err(bad)?;
    let aor = user.aor();
    if directory.get(&aor).is_some() {
        let remedy = format!("voipctl user passwd {aor} gives another password");
        let problem = format!("there is a user {aor}");
        return Err(Reply::failed(Failure::Exists, problem, remedy));
    }
    put(user, directory, keep)?;
    Ok(Reply::done(format!("{aor} is added")))
}

fn put(user: User, directory: &Directory, keep: &mut dyn FnMut(Record)) -> Result<(), Reply> {
    directory.put(user.clone()).map_err(|_| {
        let problem = format!("there are {} users, as many as fit", directory.len());
        Reply::failed(Failure::Full, problem, "delete some first")
    })?;
    keep(Record::PutUser(Box::new(user)));
    Ok(())
}

fn import(
    users: &[NewUser],
    node: &Node,
    directory: &Directory,
    keep: &mut dyn FnMut(Record),
) -> Outcome {
    if users.len() > IMPORT_USERS_MAX {
        let problem = format!(
            "{} users at once, {IMPORT_USERS_MAX} are taken",
            users.len()
        );
        return Err(bad(problem));
    }
    let (mut added, mut replaced, mut refused) = (0, 0, Vec::new());
    for new in users {
        match user_of(new, node) {
            Ok(mut user) => {
                let old = directory.get(&user.aor());
                user.disabled = old.as_ref().is_some_and(|u| u.disabled);
                put(user, directory, keep)?;
                *if old.is_some() {
                    &mut replaced
                } else {
                    &mut added
                } += 1;
            }
            Err(problem) => refused.push(problem),
        }
    }
    Ok(Reply::Imported {
        added,
        replaced,
        refused,
    })
}

fn del(aor: &str, tables: Tables<'_>, keep: &mut dyn FnMut(Record)) -> Outcome {
    let Tables {
        directory,
        features,
        mailboxes,
        ..
    } = tables;
    let user = find(aor, directory)?;
    directory.remove(&user.aor());
    keep(Record::DeleteUser {
        username: user.username.clone(),
        domain: user.domain.clone(),
    });
    if let Some(record) = features.remove(&user.aor()) {
        keep(Record::PutFeatures(Box::new(record)));
    }
    mailboxes
        .forget(&user.aor())
        .into_iter()
        .for_each(&mut *keep);
    Ok(Reply::done(format!("{} is deleted", user.aor())))
}

fn passwd(
    aor: &str,
    verifier: &Verifier,
    directory: &Directory,
    keep: &mut dyn FnMut(Record),
) -> Outcome {
    let old = find(aor, directory)?;
    let user = User {
        ha1: ha1_of(verifier).map_err(bad)?,
        ..(*old).clone()
    };
    put(user, directory, keep)?;
    Ok(Reply::done(format!("{} has another password", old.aor())))
}

fn list(filter: &Option<String>, after: &Option<String>, directory: &Directory) -> Reply {
    let filter = filter.as_deref().unwrap_or_default();
    let mut users = directory.page(filter, after.as_deref(), USER_ROWS_MAX + 1);
    let more = users.len() > USER_ROWS_MAX;
    users.truncate(USER_ROWS_MAX);
    Reply::Users {
        rows: users.iter().map(|u| row(u)).collect(),
        more,
    }
}

pub(super) fn find(aor: &str, directory: &Directory) -> Result<std::sync::Arc<User>, Reply> {
    let (name, domain) = split_aor(aor).map_err(bad)?;
    let aor = format!("{name}@{domain}");
    directory.get(&aor).ok_or_else(|| {
        let remedy = "voipctl user list shows all";
        Reply::failed(Failure::NotFound, format!("there is no user {aor}"), remedy)
    })
}

fn user_of(new: &NewUser, node: &Node) -> Result<User, String> {
    let (name, domain) = split_aor(&new.aor)?;
    if !node.domains.iter().any(|d| d.as_str() == domain) {
        let ours: Vec<&str> = node.domains.iter().map(|d| d.as_str()).collect();
        return Err(format!(
            "\"{}\": the domain is not ours; ours are {}",
            new.aor,
            ours.join(", ")
        ));
    }
    let display = new.display_name.trim();
    if display.len() > NAME_BYTES_MAX || display.chars().any(char::is_control) {
        return Err(format!(
            "\"{}\" has a display name that is too long or has control characters",
            new.aor
        ));
    }
    Ok(User {
        username: name.into(),
        domain: domain.into(),
        display_name: display.into(),
        ha1: ha1_of(&new.verifier)?,
        disabled: false,
    })
}

fn ha1_of(verifier: &Verifier) -> Result<Ha1, String> {
    Ha1::from_hex(&verifier.md5, &verifier.sha256).ok_or_else(|| "the verifier is no hash".into())
}

fn bad(problem: String) -> Reply {
    Reply::failed(Failure::BadCommand, problem, "")
}

fn row(user: &User) -> UserRow {
    UserRow {
        aor: user.aor(),
        username: user.username.to_string(),
        domain: user.domain.to_string(),
        display_name: user.display_name.to_string(),
        disabled: user.disabled,
    }
}
