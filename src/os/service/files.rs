//! The files of a start: configuration, certificates, directories, the secret.

use crate::base::Rng;
use crate::config::{Config, DEFAULT_FILE};
use crate::os::daemon::{EX_CANTCREAT, EX_CONFIG, EX_OSERR, Fatal, RunAs};
use crate::os::secrets::Secrets;
use crate::os::settings::{self, SettingsError};
use crate::os::tls::{Tls, TlsFiles};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Below `state_dir`: what signs nonces and flow tokens.
const SECRET_FILE: &str = "secret";

/// Reads and checks the configuration, and that the files it names can be read.
pub fn read_config(path: &Path) -> Result<Config, Fatal> {
    settings::load(path).map_err(|e| {
        let hint = match &e {
            SettingsError::Unreadable(_, cause)
                if cause.kind() == io::ErrorKind::NotFound && path == Path::new(DEFAULT_FILE) =>
            {
                "; an empty file is a whole configuration; to try: voipd demo"
            }
            SettingsError::Unreadable(..) | SettingsError::Mistakes(_) => "",
        };
        Fatal::new(EX_CONFIG, format!("{e}{hint}"))
    })
}

/// The files of `[sip.tls]`.
pub(in crate::os) fn tls_files(config: &Config) -> TlsFiles {
    let Some(tls) = &config.sip.tls else {
        return TlsFiles::default();
    };
    TlsFiles {
        identity: Some((tls.certificate.clone(), tls.key.clone())),
        roots: tls.roots.clone(),
        asks: config.trunks.iter().any(|t| t.certificate_name.is_some()),
    }
}

/// Loads certificates and keys.
pub(in crate::os) fn load_tls(config: &Config) -> Result<Tls, Fatal> {
    Tls::load(&tls_files(config)).map_err(|e| Fatal::new(EX_CONFIG, format!("[sip.tls] {e}")))
}

/// The token of the HTTP interface, where there is one.
pub(in crate::os) fn web_token(config: &Config) -> Result<Option<String>, Fatal> {
    let file = config.admin.web.as_ref().map(|web| &web.token_file);
    file.map(|file| crate::os::web::read_token(file))
        .transpose()
        .map_err(|e| Fatal::new(EX_CONFIG, e))
}

/// The passwords of trunks.
pub(in crate::os) fn secrets(config: &Config) -> Result<Secrets, Fatal> {
    Secrets::read(config).map_err(|e| Fatal::new(EX_CONFIG, e))
}

/// Makes the directories of state, control socket and recordings, and gives them to the user we
/// become.
pub(in crate::os) fn make_directories(config: &Config, user: Option<&RunAs>) -> Result<(), Fatal> {
    let store = config.store.file.parent();
    let socket = config.admin.socket.parent();
    let spool = Some(config.spool.directory.as_path());
    let state = Some(config.node.state_dir.as_path());
    let key = "[node] state_dir";
    let all = [
        (state, key),
        (store, key),
        (socket, key),
        (spool, "[spool] directory"),
    ];
    for (dir, key) in all {
        let Some(dir) = dir else {
            continue;
        };
        let cannot = |e: io::Error| {
            let text = format!("{}: {e}; make the directory, or set {key}", dir.display());
            Fatal::new(EX_CANTCREAT, text)
        };
        if dir.as_os_str().is_empty() || dir.is_dir() {
            continue;
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(dir)
            .map_err(cannot)?;
        if let Some(user) = user {
            user.own(dir).map_err(cannot)?;
        }
    }
    Ok(())
}

/// Bytes that nobody can guess.
pub(in crate::os) fn entropy() -> Result<[u8; 32], Fatal> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut seed))
        .map_err(|e| Fatal::new(EX_OSERR, format!("/dev/urandom: {e}")))?;
    Ok(seed)
}

/// The secret of earlier runs, or a new one: nonces and flow tokens outlive a restart.
pub(in crate::os) fn secret(state_dir: &Path, rng: &mut Rng) -> Result<[u8; 32], Fatal> {
    let path = state_dir.join(SECRET_FILE);
    let mut secret = [0; 32];
    if File::open(&path)
        .and_then(|mut f| f.read_exact(&mut secret))
        .is_ok()
    {
        return Ok(secret);
    }
    rng.fill(&mut secret);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut f| f.write_all(&secret).and_then(|()| f.sync_all()));
    written.map_err(|e| {
        let text = format!("{}: {e}; make state_dir writable", path.display());
        Fatal::new(EX_CANTCREAT, text)
    })?;
    Ok(secret)
}
