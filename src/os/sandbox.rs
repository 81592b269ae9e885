//! What each role may still do once it has what it needs: Capsicum on FreeBSD; seccomp(2) and
//! landlock(7) on Linux. What is refused fails with an error (ECAPMODE, EPERM, EACCES): a fault is
//! seen in the log, and the probe can try.

#![allow(unsafe_code)]

#[cfg(target_os = "freebsd")]
#[path = "sandbox/freebsd.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "sandbox/linux.rs"]
mod system;

use super::ipc::{Probed, Role};
use super::spool::Roots;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Confines this process to what its role needs: for good, and for all threads that are started
/// later. Before any other thread.
///
/// Media reads and writes what it is given; signal and web accept connections, too. The broker
/// keeps the right to make, bind and connect sockets: that is its task. It may not open files, nor
/// start programs. Media opens, makes, renames and removes files below its spool, and opens those
/// below the site's prompts, by the descriptors in `roots`; the others get none. FreeBSD's
/// capability mode forbids bind and connect, so there its walls are the user and the empty root
/// directory.
pub fn enter(role: Role, roots: &Roots) -> io::Result<()> {
    system::enter(role, roots)
}

/// Takes the rights that its kind does not need from a descriptor that the broker gave.
pub fn confine(fd: BorrowedFd<'_>) -> io::Result<()> {
    system::confine(fd)
}

/// Where the broker's root directory is, if it is there and nobody else can write it.
const EMPTY: &str = "/var/empty";

/// Makes an empty directory the root. Only root can; a daemon that was started without root's
/// rights has none to lose, and goes on.
pub fn empty_root() -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    if Path::new(EMPTY).is_dir() {
        std::env::set_current_dir(EMPTY)?;
        nix::unistd::chroot(".")?;
    } else {
        empty_root_of_our_own()?;
    }
    std::env::set_current_dir("/")
}

/// Debian has no empty directory. We make one, and remove it once we are in it: nothing can be made
/// there any more. By its name it cannot be found from below the new root, so it is removed
/// relative to its parent, which is not let go of until then.
fn empty_root_of_our_own() -> io::Result<()> {
    let parent = std::fs::File::open(std::env::temp_dir())?;
    let name = format!("voipd-empty-{}", std::process::id());
    let remove = || {
        nix::unistd::unlinkat(
            &parent,
            name.as_str(),
            nix::unistd::UnlinkatFlags::RemoveDir,
        )
    };
    // One that a broker of our number left behind, killed on its way.
    let _ = remove();
    let path = std::env::temp_dir().join(&name);
    std::fs::DirBuilder::new().mode(0o555).create(&path)?;
    std::env::set_current_dir(&path)?;
    nix::unistd::chroot(".")?;
    Ok(remove()?)
}

type Try = fn(SocketAddr) -> io::Result<()>;

/// Tries what a role has no business to do, and tells what the system said.
pub fn probe() -> Vec<Probed> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let tries: [(&str, Try); 6] = [
        ("open a file", |_| {
            std::fs::File::open("/etc/passwd").map(drop)
        }),
        ("make a file", |_| {
            std::fs::File::create("/tmp/voipd-probe").map(drop)
        }),
        ("bind", |any| system::bind((any.ip(), 0).into())),
        ("connect", system::connect),
        ("send to an address", system::send_to),
        ("start a program", |_| {
            std::process::Command::new("/bin/true").spawn().map(drop)
        }),
    ];
    let told = tries.into_iter().map(|(what, act)| Probed {
        what: what.to_owned(),
        refused: act(any)
            .err()
            .map(|e| e.raw_os_error().unwrap_or(libc::EIO)),
    });
    told.collect()
}
