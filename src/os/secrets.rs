//! The passwords of trunks and of the mail server, out of their files.

use crate::config::Config;
use crate::peer::Peers;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a password.
const PASSWORD_BYTES_MAX: u64 = 1024;

/// Passwords.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Secrets {
    /// By trunk.
    trunks: Vec<(String, Vec<u8>)>,
    /// Of `[voicemail] smtp_user`.
    smtp: Option<Vec<u8>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets(of {} trunks)", self.trunks.len())
    }
}

impl Secrets {
    /// Reads every `password_file`; the first that cannot be used is told with the remedy.
    pub fn read(config: &Config) -> Result<Self, String> {
        let named = config.trunks.iter().filter_map(|trunk| {
            let file = trunk.password_file.as_ref()?;
            Some((&trunk.name, file))
        });
        let read = named.map(|(name, file)| match read_password(file) {
            Ok(password) => Ok((name.to_string(), password)),
            Err(problem) => Err(format!(
                "[[trunk]] \"{name}\" password_file {}: {problem}",
                file.display()
            )),
        });
        let trunks = read.collect::<Result<_, _>>()?;
        let smtp = config.voicemail.smtp.as_ref();
        let smtp = smtp.and_then(|smtp| smtp.password_file.as_ref());
        let smtp = match smtp.map(|file| (file, read_password(file))) {
            None => None,
            Some((_, Ok(password))) => Some(password),
            Some((file, Err(problem))) => {
                return Err(format!(
                    "[voicemail] smtp_password_file {}: {problem}",
                    file.display()
                ));
            }
        };
        Ok(Self { trunks, smtp })
    }

    /// What proves `[voicemail] smtp_user`.
    pub fn smtp(&self) -> Option<&[u8]> {
        self.smtp.as_deref()
    }

    /// The trunks and pools of a start, with their passwords. `key` is the node's own secret.
    pub fn peers(&self, config: &Config, key: [u8; 32]) -> Arc<Peers> {
        let peers = Peers::new(config, key);
        self.give(config, &peers);
        Arc::new(peers)
    }

    /// Gives each trunk its password, and takes it from those that have none any more.
    pub fn give(&self, config: &Config, peers: &Peers) {
        for trunk in &config.trunks {
            let found = self.trunks.iter().find(|(name, _)| **name == *trunk.name);
            let password = found.map(|(_, password)| password.clone());
            peers.set_secret(&trunk.name, password);
        }
    }
}

/// The password, without the end of its line.
fn read_password(path: &Path) -> Result<Vec<u8>, String> {
    let open = || -> io::Result<(u32, Vec<u8>)> {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut text = Vec::new();
        file.take(PASSWORD_BYTES_MAX + 1).read_to_end(&mut text)?;
        Ok((mode, text))
    };
    let shown = path.display();
    let (mode, mut text) = open().map_err(|e| {
        format!(
            "{e}; write the password into it: (umask 077; cat > {shown}), readable by the user \
             that voipd runs as"
        )
    })?;
    if mode & 0o007 != 0 {
        return Err(format!("everybody may read it; chmod o-rwx {shown}"));
    }
    if text.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(format!(
            "holds more than {PASSWORD_BYTES_MAX} bytes; it holds the password alone"
        ));
    }
    while let Some(b'\n' | b'\r') = text.last() {
        text.pop();
    }
    if text.is_empty() {
        return Err("is empty; write the password into it".into());
    }
    if text.iter().any(|byte| byte.is_ascii_control()) {
        return Err("holds more than one line; it holds the password alone".into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(text: &[u8], mode: u32) -> Result<Vec<u8>, String> {
        let path = std::env::temp_dir().join(format!(
            "voip-secret-{}-{}-{mode:o}",
            std::process::id(),
            crate::base::hash64(text)
        ));
        fs::write(&path, text).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        let got = read_password(&path);
        fs::remove_file(&path).expect("there");
        got
    }

    #[test]
    fn the_end_of_the_line_is_no_part_of_it() {
        assert_eq!(file(b"s3 cret\n", 0o600), Ok(b"s3 cret".to_vec()));
        assert_eq!(file(b"s3cret\r\n", 0o640), Ok(b"s3cret".to_vec()));
        assert_eq!(file(b" s3cret ", 0o600), Ok(b" s3cret ".to_vec()));
    }

    #[test]
    fn what_cannot_be_used_is_told_with_the_remedy() {
        for (text, mode, words) in [
            (&b"x\n"[..], 0o644, "chmod o-rwx"),
            (b"\n", 0o600, "write the password"),
            (b"one\ntwo\n", 0o600, "more than one line"),
            (&[b'x'; 1025], 0o600, "more than 1024 bytes"),
        ] {
            let problem = file(text, mode).expect_err("refused");
            assert!(problem.contains(words), "{problem}");
        }
        let problem = read_password(Path::new("/nonexistent/itsp.secret")).expect_err("refused");
        assert!(problem.contains("umask 077"), "{problem}");
    }
}
