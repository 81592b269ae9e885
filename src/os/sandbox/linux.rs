//! Linux: a seccomp(2) filter that answers EPERM, over landlock(7) where the kernel has it.
//!
//! The filter names what is refused, since SQLite, TLS and the runtime use much of the rest.
//! Capability mode's rule on addresses is kept so: `connect` and `bind` are refused, `sendto` where
//! its pointer to an address is not null. What `sendmsg` and `sendmmsg` point to a filter cannot
//! see, so `sendmmsg` is refused, and `sendmsg` everywhere but on descriptor 3, the pair with the
//! monitor, which passes descriptors and takes no address (unix(7)); nothing may close that
//! descriptor or put another in its place.

use crate::media::file::Root;
use crate::os::ipc::Role;
use crate::os::spool::Roots;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// The pair with the monitor.
const MONITOR_FD: u64 = crate::os::role::MONITOR_FD as u64;

/// Refused to every role: files, programs, other processes, the machine, and io_uring, by which
/// any call can be made past a filter.
const NOBODY: &[libc::c_long] = &[
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchownat,
    libc::SYS_fchmodat,
    libc::SYS_truncate,
    libc::SYS_setxattr,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_memfd_create,
    libc::SYS_mq_open,
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
];

/// Refused to every role without directories of its own; media's are walled in by landlock, where
/// the kernel has it.
const NOT_FILES: &[libc::c_long] = &[libc::SYS_openat, libc::SYS_mkdirat, libc::SYS_renameat2];
#[cfg(target_arch = "x86_64")]
const NOT_FILES_OLD: &[libc::c_long] = &[libc::SYS_renameat];
#[cfg(not(target_arch = "x86_64"))]
const NOT_FILES_OLD: &[libc::c_long] = &[];

/// Older names of the same, which newer machines lack.
#[cfg(target_arch = "x86_64")]
const NOBODY_OLD: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_rename,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
];
#[cfg(not(target_arch = "x86_64"))]
const NOBODY_OLD: &[libc::c_long] = &[];

/// Refused to those that parse what comes from the network: sockets are the broker's.
const NOT_PARSERS: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_sendmmsg,
    libc::SYS_dup3,
    libc::SYS_close_range,
];
#[cfg(target_arch = "x86_64")]
const NOT_PARSERS_OLD: &[libc::c_long] = &[libc::SYS_dup2];
#[cfg(not(target_arch = "x86_64"))]
const NOT_PARSERS_OLD: &[libc::c_long] = &[];

pub(super) fn enter(role: Role, roots: &Roots) -> io::Result<()> {
    restrict_files(role, roots)?;
    let files = roots.iter().next().is_some();
    let program: BpfProgram = filter(role, files)?.try_into().map_err(io::Error::other)?;
    // Sets no_new_privs first; threads started later inherit both.
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

fn filter(role: Role, files: bool) -> io::Result<SeccompFilter> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut refuse = |calls: &[libc::c_long]| {
        rules.extend(calls.iter().map(|&call| (call, Vec::new())));
    };
    refuse(NOBODY);
    refuse(NOBODY_OLD);
    if !files {
        refuse(NOT_FILES);
        refuse(NOT_FILES_OLD);
    }
    if role != Role::Net {
        refuse(NOT_PARSERS);
        refuse(NOT_PARSERS_OLD);
        let addressed = when(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
        let elsewhere = when(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, MONITOR_FD)?;
        let monitor = when(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, MONITOR_FD)?;
        rules.insert(libc::SYS_sendto, vec![addressed]);
        rules.insert(libc::SYS_sendmsg, vec![elsewhere]);
        rules.insert(libc::SYS_close, vec![monitor]);
    }
    let machine = std::env::consts::ARCH
        .try_into()
        .map_err(io::Error::other)?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, machine).map_err(io::Error::other)
}

fn when(
    argument: u8,
    width: SeccompCmpArgLen,
    compare: SeccompCmpOp,
    value: u64,
) -> io::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, width, compare, value);
    let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
    rule.map_err(io::Error::other)
}

/// No file by its name but below the roots, and no TCP port: what is open stays open. A kernel
/// without landlock leaves it to the filter.
fn restrict_files(role: Role, roots: &Roots) -> io::Result<()> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset
        .handle_access(AccessFs::from_all(ABI::V5))
        .map_err(io::Error::other)?;
    let ruleset = match role {
        Role::Net => ruleset,
        Role::Media | Role::Signal | Role::Web => ruleset
            .handle_access(AccessNet::from_all(ABI::V5))
            .map_err(io::Error::other)?,
    };
    let mut created = ruleset.create().map_err(io::Error::other)?;
    for (root, fd) in roots.iter() {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let access = match root {
            Root::Prompts => read,
            Root::Spool => {
                read | AccessFs::WriteFile
                    | AccessFs::Truncate
                    | AccessFs::MakeReg
                    | AccessFs::MakeDir
                    | AccessFs::RemoveFile
                    | AccessFs::Refer
            }
        };
        let rule = PathBeneath::new(fd, access);
        created = created.add_rule(rule).map_err(io::Error::other)?;
    }
    let status = created.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        match roots.iter().next() {
            None => {
                tracing::debug!("this kernel has no landlock; the seccomp filter stands alone");
            }
            Some(_) => tracing::warn!(
                "this kernel has no landlock: media could open files outside [spool] directory \
                 that its user may; Linux 5.13 with landlock in its list of security modules \
                 keeps it inside"
            ),
        }
    }
    Ok(())
}

/// A filter knows no rights of single descriptors.
pub(super) fn confine(_: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

/// The three that follow only the probe uses.
pub(super) fn bind(to: SocketAddr) -> io::Result<()> {
    let socket = inherited_or_new()?;
    socket.bind(&SockAddr::from(to))
}

pub(super) fn connect(to: SocketAddr) -> io::Result<()> {
    let socket = inherited_or_new()?;
    socket.connect(&SockAddr::from(to))
}

pub(super) fn send_to(to: SocketAddr) -> io::Result<()> {
    let socket = inherited_or_new()?;
    socket.send_to(b"probe", &SockAddr::from(to)).map(drop)
}

/// A parser may make no socket; then the refusal of the call itself is what is asked for.
fn inherited_or_new() -> io::Result<Socket> {
    if let Ok(socket) = Socket::new(Domain::IPV4, Type::DGRAM, None) {
        return Ok(socket);
    }
    // One end of a pair stands for a socket that the role holds.
    Socket::pair(Domain::UNIX, Type::DGRAM, None).map(|(one, _)| one)
}
