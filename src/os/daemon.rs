//! What makes a program a daemon: it detaches once it serves, keeps a locked pid file, and gives up
//! root's rights and checks that they are gone.

use super::sys;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{self, Gid, Uid, User};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The longest reason that a child can give its parent.
const REASON_BYTES_MAX: u64 = 16 * 1024;
/// What the child says when it serves.
const SERVING: &[u8] = b"serving";

/// Something that keeps the daemon from starting, with its exit code (sysexits(3)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fatal {
    /// Why, and what to do.
    pub reason: String,
    /// The exit code.
    pub code: u8,
}

/// A bad command line.
pub const EX_USAGE: u8 = 64;
/// No such user.
pub const EX_NOUSER: u8 = 67;
/// Something that must be there is not.
pub const EX_UNAVAILABLE: u8 = 69;
/// We are at fault.
pub const EX_SOFTWARE: u8 = 70;
/// The system refuses something.
pub const EX_OSERR: u8 = 71;
/// A file cannot be made.
pub const EX_CANTCREAT: u8 = 73;
/// Not allowed.
pub const EX_NOPERM: u8 = 77;
/// The configuration has mistakes.
pub const EX_CONFIG: u8 = 78;

impl Fatal {
    /// With an exit code.
    pub fn new(code: u8, reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            code,
        }
    }
}

impl std::fmt::Display for Fatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Fatal {}

/// The pid file: locked as long as we live, so that a stale one is told from a living daemon's.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: Flock<File>,
}

impl PidFile {
    /// Locks the file, making it if need be. The pid is written by [`PidFile::write`].
    pub fn lock(path: &Path) -> Result<Self, Fatal> {
        let cannot = |e: &dyn std::fmt::Display| {
            let text = format!("pid file {}: {e}; choose another with -p", path.display());
            Fatal::new(EX_CANTCREAT, text)
        };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(|e| cannot(&e))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .map_err(|e| cannot(&e))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                file,
            }),
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut pid);
                Err(Fatal::new(
                    EX_UNAVAILABLE,
                    format!("already running as pid {}", pid.trim()),
                ))
            }
            Err((_, e)) => Err(cannot(&e)),
        }
    }

    /// Writes our pid.
    pub fn write(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }

    /// Removes the file; where the directory is not ours, leaves it empty.
    pub fn remove(self) {
        if std::fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

/// The child's way to tell the waiting parent how the start went.
#[derive(Debug)]
pub struct Detached {
    parent: File,
}

/// Which of the two processes goes on.
#[derive(Debug)]
pub enum Fork {
    /// The daemon to be.
    Child(Detached),
    /// The one that the shell waits for: to exit with this.
    Parent(Result<(), Fatal>),
}

/// Forks. The child goes on in a session of its own; the parent waits until the child serves, or
/// says why it cannot. Before any thread is started.
pub fn detach() -> io::Result<Fork> {
    // The roles are programs that the child starts: none of them may hold the pipe open.
    let (read, write): (OwnedFd, OwnedFd) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    if sys::fork()? {
        drop(read);
        unistd::setsid()?;
        return Ok(Fork::Child(Detached {
            parent: File::from(write),
        }));
    }
    drop(write);
    let mut said = Vec::new();
    File::from(read)
        .take(REASON_BYTES_MAX)
        .read_to_end(&mut said)?;
    if said == SERVING {
        return Ok(Fork::Parent(Ok(())));
    }
    let (code, reason) = match said.split_first() {
        Some((code, reason)) => (*code, String::from_utf8_lossy(reason).into_owned()),
        None => (EX_SOFTWARE, "died before it served".to_owned()),
    };
    Ok(Fork::Parent(Err(Fatal::new(code, reason))))
}

impl Detached {
    /// Lets the parent exit with success, and lets go of the terminal.
    pub fn serving(mut self) -> io::Result<()> {
        std::env::set_current_dir("/")?;
        let_go_of_terminal()?;
        self.parent.write_all(SERVING)
    }

    /// Lets the parent exit with the reason, which it alone writes.
    pub fn failed(mut self, why: &Fatal) {
        let _ = let_go_of_terminal();
        let _ = self.parent.write_all(&[why.code]);
        let _ = self.parent.write_all(why.reason.as_bytes());
    }
}

fn let_go_of_terminal() -> io::Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    unistd::dup2_stdin(&null)?;
    unistd::dup2_stdout(&null)?;
    unistd::dup2_stderr(&null)?;
    Ok(())
}

/// Raises the limit of open files to what the system allows this process. Returns the limit.
pub fn raise_file_limit() -> io::Result<libc::rlim_t> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// A user to run as. All of it is looked up at once: a process that has changed its root directory
/// finds no password and group files any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunAs {
    name: CString,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl RunAs {
    /// Looks the user up.
    pub fn find(name: &str) -> Result<Self, Fatal> {
        let nobody = |e: String| Fatal::new(EX_NOUSER, e);
        match User::from_name(name) {
            Ok(Some(user)) => {
                let name = CString::new(user.name).map_err(|e| nobody(e.to_string()))?;
                let groups = unistd::getgrouplist(&name, user.gid);
                Ok(Self {
                    groups: groups.map_err(|e| nobody(format!("groups of {name:?}: {e}")))?,
                    name,
                    uid: user.uid,
                    gid: user.gid,
                })
            }
            Ok(None) => Err(nobody(format!(
                "no user {name}; make it, or name another with -u"
            ))),
            Err(e) => Err(nobody(format!("user {name}: {e}"))),
        }
    }

    /// Gives a file or directory to the user.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        Ok(unistd::chown(path, Some(self.uid), Some(self.gid))?)
    }

    /// Gives up root's rights for good, and checks that they are gone: hastd does the same, since
    /// each of these calls has failed silently somewhere.
    pub fn become_user(&self) -> Result<(), Fatal> {
        let cannot = |what: &str| {
            let text = format!("cannot run as {}: {what}", self.name.to_string_lossy());
            Fatal::new(EX_NOPERM, text)
        };
        if unistd::geteuid() == self.uid && unistd::getegid() == self.gid {
            return Ok(());
        }
        if !unistd::geteuid().is_root() {
            return Err(cannot("start as root, or leave -u out"));
        }
        unistd::setgroups(&self.groups).map_err(|e| cannot(e.desc()))?;
        unistd::setgid(self.gid).map_err(|e| cannot(e.desc()))?;
        unistd::setuid(self.uid).map_err(|e| cannot(e.desc()))?;

        let uids = [unistd::getuid(), unistd::geteuid()];
        let gids = [unistd::getgid(), unistd::getegid()];
        if uids != [self.uid; 2] || gids != [self.gid; 2] {
            return Err(cannot("user or group did not change"));
        }
        let groups = unistd::getgroups().map_err(|e| cannot(e.desc()))?;
        if !self.gid.as_raw().eq(&0) && groups.iter().any(|g| g.as_raw() == 0) {
            return Err(cannot("still in root's group"));
        }
        if !self.uid.is_root() && unistd::setuid(Uid::from_raw(0)).is_ok() {
            return Err(cannot("root's rights can be taken back"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_pid_file_names_who_runs() {
        let dir = std::env::temp_dir().join(format!("voip-pid-{}", std::process::id()));
        let path = dir.join("run/voip.pid");
        let mut first = PidFile::lock(&path).unwrap();
        first.write().unwrap();
        let refused = PidFile::lock(&path).unwrap_err();
        assert_eq!(
            refused.reason,
            format!("already running as pid {}", std::process::id())
        );
        assert_eq!(refused.code, EX_UNAVAILABLE);
        first.remove();
        assert!(!path.exists());
        drop(PidFile::lock(&path).unwrap());
        // A stale file that nobody holds is taken over.
        PidFile::lock(&path).unwrap().remove();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_unknown_user_is_said() {
        let error = RunAs::find("nobody-has-this-name").unwrap_err();
        assert_eq!(error.code, EX_NOUSER);
    }
}
