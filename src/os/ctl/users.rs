//! `voipctl user`.

use super::super::control::users::{split_aor, verifier};
use super::access::{Access, UserLink};
use super::args::UserVerb;
use super::csv;
use super::failure::{Failure, exit};
use super::output::Output;
use super::secret;
use super::table::Table;
use crate::control::{Command, IMPORT_USERS_MAX, NewUser, Reply, UserRow};
use std::io::Read;
use std::path::Path;

/// Longest CSV file, in bytes.
const CSV_BYTES_MAX: u64 = 512 << 20;

/// Mistakes of a CSV file that are shown.
const MISTAKES_SHOWN: usize = 20;

pub(super) fn run(verb: UserVerb, access: &Access, output: Output) -> Result<(), Failure> {
    let mut link = access.users()?;
    match verb {
        UserVerb::Add {
            user,
            display_name,
            generate,
            password,
        } => {
            let aor = whole(&user, &mut link)?;
            let password = if generate {
                secret::generate()?
            } else {
                secret::ask(&password, &aor, true)?
            };
            let user = new_user(&aor, &display_name, &password)?;
            let reply = link.ask(Command::UserAdd { user })?;
            match generate {
                false => done(reply, output),
                true => generated(&aor, &password, output),
            }
        }
        UserVerb::Del { user } => {
            let aor = whole(&user, &mut link)?;
            done(link.ask(Command::UserDel { aor })?, output)
        }
        UserVerb::Passwd { user, password } => {
            let aor = whole(&user, &mut link)?;
            // Before the question: nobody likes to type a password for nothing.
            link.ask(Command::UserShow { aor: aor.clone() })?;
            let password = secret::ask(&password, &aor, true)?;
            let verifier = new_user(&aor, "", &password)?.verifier;
            done(link.ask(Command::UserPasswd { aor, verifier })?, output)
        }
        UserVerb::Show { user } => {
            let aor = whole(&user, &mut link)?;
            match link.ask(Command::UserShow { aor })? {
                Reply::Users { rows, .. } => show(rows, output),
                other => Err(Failure::unexpected(&other)),
            }
        }
        UserVerb::List { filter } => list(&mut link, filter, output),
        UserVerb::Import { file } => import(&mut link, &file, output),
    }
}

fn done(reply: Reply, output: Output) -> Result<(), Failure> {
    match reply {
        Reply::Done { message } => output.done(&message),
        other => Err(Failure::unexpected(&other)),
    }
}

fn generated(aor: &str, password: &str, output: Output) -> Result<(), Failure> {
    if output.json {
        return output.value(&serde_json::json!({ "aor": aor, "password": password }));
    }
    output.text(&format!("{aor} is added; its password is {password}\n"))
}

/// `NAME@DOMAIN` of what was typed, which may be `NAME` or a SIP URI.
pub(super) fn whole(typed: &str, link: &mut UserLink) -> Result<String, Failure> {
    let name = typed.strip_prefix("sip:").unwrap_or(typed);
    if name.contains('@') {
        return Ok(name.to_string());
    }
    Ok(format!("{name}@{}", link.default_domain()?))
}

fn new_user(aor: &str, display_name: &str, password: &str) -> Result<NewUser, Failure> {
    let (name, domain) = split_aor(aor).map_err(|e| Failure::new(exit::DATAERR, e))?;
    Ok(NewUser {
        aor: format!("{name}@{domain}"),
        display_name: display_name.to_string(),
        verifier: verifier(name, &domain, password),
    })
}

fn show(rows: Vec<UserRow>, output: Output) -> Result<(), Failure> {
    let Some(user) = rows.into_iter().next() else {
        return Err(Failure::new(exit::NOUSER, "there is no such user"));
    };
    if output.json {
        return output.value(&user);
    }
    output.text(&table(std::slice::from_ref(&user)))
}

fn list(link: &mut UserLink, filter: Option<String>, output: Output) -> Result<(), Failure> {
    let mut all: Vec<UserRow> = Vec::new();
    loop {
        let after = all.last().map(|u| u.aor.clone());
        let filter = filter.clone();
        match link.ask(Command::UserList { filter, after })? {
            Reply::Users { rows, more } => {
                let more = more && !rows.is_empty();
                all.extend(rows);
                if !more {
                    break;
                }
            }
            other => return Err(Failure::unexpected(&other)),
        }
    }
    if output.json {
        return output.rows(&all);
    }
    output.text(&table(&all))
}

fn table(users: &[UserRow]) -> String {
    let mut table = Table::new(&["USER", "NAME", "STATE"]);
    for user in users {
        let state = if user.disabled { "disabled" } else { "enabled" };
        table.row([user.aor.clone(), user.display_name.clone(), state.into()]);
    }
    table.render("there are no users; voipctl user add NAME makes one")
}

fn import(link: &mut UserLink, file: &Path, output: Output) -> Result<(), Failure> {
    let text = read(file)?;
    let domain = link.default_domain()?;
    let lines = csv::users(&text).map_err(|mistakes| wrong_lines(file, &mistakes))?;
    let mut users = Vec::with_capacity(lines.len());
    let mut mistakes = Vec::new();
    for line in lines {
        let aor = match (&line.domain, line.username.contains('@')) {
            (_, true) => line.username.clone(),
            (Some(domain), false) => format!("{}@{domain}", line.username),
            (None, false) => format!("{}@{domain}", line.username),
        };
        match new_user(&aor, &line.display_name, &line.password) {
            Ok(user) => users.push(user),
            Err(e) => mistakes.push(format!("line {}: {}", line.line, e.text)),
        }
    }
    if !mistakes.is_empty() {
        return Err(wrong_lines(file, &mistakes));
    }
    let (mut added, mut replaced, mut refused) = (0, 0, Vec::new());
    while !users.is_empty() {
        let rest = users.split_off(users.len().min(IMPORT_USERS_MAX));
        let batch = std::mem::replace(&mut users, rest);
        let reply = link.ask(Command::UserImport { users: batch });
        match reply.map_err(|failure| cut_short(failure, added + replaced))? {
            Reply::Imported {
                added: a,
                replaced: r,
                refused: no,
            } => {
                added += a;
                replaced += r;
                refused.extend(no);
            }
            other => return Err(Failure::unexpected(&other)),
        }
    }
    report(added, replaced, &refused, output)
}

/// A failure in the middle says how far it came: importing the file again is harmless.
fn cut_short(failure: Failure, done: u64) -> Failure {
    let text = failure.text;
    let note = format!("{text}\n{done} users were imported before; import the file again then");
    Failure::new(failure.code, note)
}

fn report(added: u64, replaced: u64, refused: &[String], output: Output) -> Result<(), Failure> {
    if output.json {
        output.value(&serde_json::json!({
            "added": added, "replaced": replaced, "refused": refused,
        }))?;
    } else {
        output.text(&format!("{added} added, {replaced} replaced\n"))?;
    }
    if refused.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = refused
        .iter()
        .take(MISTAKES_SHOWN)
        .map(String::as_str)
        .collect();
    let text = format!("{} refused\n{}", refused.len(), shown.join("\n"));
    Err(Failure::new(exit::DATAERR, text))
}

fn wrong_lines(file: &Path, mistakes: &[String]) -> Failure {
    let shown: Vec<&str> = mistakes
        .iter()
        .take(MISTAKES_SHOWN)
        .map(String::as_str)
        .collect();
    let text = format!(
        "{}: nothing is imported, {} mistakes\n{}",
        file.display(),
        mistakes.len(),
        shown.join("\n")
    );
    Failure::new(exit::DATAERR, text)
}

fn read(file: &Path) -> Result<String, Failure> {
    let fail = |e: std::io::Error| Failure::new(exit::NOINPUT, format!("{}: {e}", file.display()));
    let mut text = String::new();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(fail)?)
    };
    let limited = &mut source.take(CSV_BYTES_MAX);
    limited.read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}
