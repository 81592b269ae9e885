//! `voipd demo`: everything below one folder, on loopback, without root: two users with random
//! passwords, printed as any softphone wants them.

use super::daemon::{EX_CANTCREAT, Fatal};
use super::service::Options;
use crate::base::Rng;
use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The port that phones expect.
const PORT: u16 = 5060;
/// Where browsers connect.
const WEB_PORT: u16 = 8088;
/// Ports tried before we give up.
const PORTS_TRIED: u16 = 100;
/// The names of the two users.
const USERS: [&str; 2] = ["100", "200"];
/// Letters of a password: 5 bits each.
const PASSWORD_LETTERS: usize = 16;

/// Prepares the folder, or takes what an earlier run left there, and says on standard output how to
/// connect. `rng` makes the passwords.
pub fn prepare(dir: &Path, rng: &mut Rng) -> Result<Options, Fatal> {
    let cannot = |e: io::Error| Fatal::new(EX_CANTCREAT, format!("{}: {e}", dir.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(cannot)?;
    let dir = dir.canonicalize().map_err(cannot)?;
    let file = dir.join("voip.toml");
    if !file.exists() {
        let text = configuration(&dir)?;
        private(&file, &text).map_err(cannot)?;
    }
    let accounts = dir.join("accounts.txt");
    let users = match std::fs::read_to_string(&accounts) {
        Ok(text) => read_accounts(&text),
        Err(_) => {
            let users = make_users(rng);
            let lines: String = users.iter().map(|(n, p)| format!("{n} {p}\n")).collect();
            private(&accounts, &lines).map_err(cannot)?;
            users
        }
    };
    let config = super::service::read_config(&file)?;
    let shown = announcement(&dir, &config, &users);
    // A closed pipe is no reason not to run.
    let _ = io::stdout().write_all(shown.as_bytes());
    Ok(Options {
        config: file,
        foreground: true,
        users,
        ..Options::default()
    })
}

fn make_users(rng: &mut Rng) -> Vec<(String, String)> {
    let mut password = || {
        let letters = rng.token::<PASSWORD_LETTERS>();
        letters.iter().map(|&b| char::from(b)).collect()
    };
    USERS.map(|name| (name.to_owned(), password())).into()
}

fn read_accounts(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs
        .map(|(name, password)| (name.to_owned(), password.to_owned()))
        .collect()
}

/// Only we may read it.
fn private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

fn configuration(dir: &Path) -> Result<String, Fatal> {
    let free = |port: &u16| {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
            && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    };
    let first_free = |from: u16| {
        let found = (from..from.saturating_add(PORTS_TRIED)).find(free);
        found.ok_or_else(|| Fatal::new(EX_CANTCREAT, format!("no free port from {from} on")))
    };
    let (port, web) = (first_free(PORT)?, first_free(WEB_PORT)?);
    Ok(format!(
        "# Made by: voipd demo. Change it as you like; it is read again at the next start.\n\
         [node]\n\
         domains = [\"127.0.0.1\"]\n\
         aliases = [\"localhost\"]\n\
         state_dir = {dir:?}\n\
         workers = 1\n\n\
         [sip]\n\
         listen = [\"udp:127.0.0.1:{port}\", \"tcp:127.0.0.1:{port}\", \"ws:127.0.0.1:{web}\"]\n\n\
         [guard]\n\
         exempt = [\"127.0.0.0/8\"]\n\n\
         # Calls that nobody takes fall to voicemail; *123 plays what was left.\n\
         [voicemail]\n\
         ring_s = 10\n",
        dir = dir.display().to_string(),
    ))
}

fn announcement(dir: &Path, config: &crate::config::Config, users: &[(String, String)]) -> String {
    let domain = config.node.default_domain();
    let mut text = String::new();
    let _ = writeln!(text, "voip demo in {}", dir.display());
    for listen in &config.sip.listen {
        let _ = writeln!(text, "  {listen}");
    }
    let server = config.sip.listen.first().map(|l| l.addr.to_string());
    let server = server.unwrap_or_default();
    for (name, password) in users {
        let _ = write!(
            text,
            "\nAccount {name}\n  address   sip:{name}@{domain}\n  user      {name}\n  \
             password  {password}\n  server    {server}\n"
        );
    }
    let socket = config.admin.socket.display();
    let _ = write!(
        text,
        "\nPut one account into each of two softphones and call the other's name.\n\
         Let it ring, or call a phone that is off: after the tone you leave a message, which\n\
         its owner hears by *123.\n\
         Watch with: voipctl -s {socket} registrations\nEnd with Ctrl-C.\n\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_finds_the_same_accounts() {
        let dir = std::env::temp_dir().join(format!("voip-demo-{}", std::process::id()));
        let first = prepare(&dir, &mut Rng::from_u64(1)).unwrap();
        let second = prepare(&dir, &mut Rng::from_u64(2)).unwrap();
        assert_eq!(first.users, second.users);
        assert_eq!(first.users.len(), 2);
        assert_ne!(first.users[0].1, first.users[1].1);
        assert!(first.config.ends_with("voip.toml"));
        let config = crate::os::service::read_config(&first.config).unwrap();
        assert!(config.voicemail.enabled);
        assert!(
            config
                .spool
                .directory
                .starts_with(dir.canonicalize().unwrap())
                || !cfg!(target_os = "linux")
        );
        std::fs::remove_dir_all(dir).unwrap();
    }
}
