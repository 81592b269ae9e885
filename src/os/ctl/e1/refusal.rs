//! What e1shim(4) refuses, in words, each with its remedy.

use super::super::failure::{Failure, exit};
use crate::os::e1::mode::{Fault, Framing};
use std::io;

/// What the module was asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// To list the spans.
    List,
    /// To make the span of this number, or any, and its peer.
    Create {
        span: Option<u16>,
        peer: Option<u16>,
        tdmoe: bool,
    },
    /// To remove a span.
    Destroy(u16),
    /// What a span is like, or counted.
    Look(u16),
    /// To change its configuration.
    Config(u16),
    /// To loop it back.
    Loop(u16),
    /// To spoil it.
    Inject(u16, Fault),
    /// For events.
    Watch,
}

impl Asked {
    fn span(self) -> Option<u16> {
        match self {
            Asked::List | Asked::Watch => None,
            Asked::Create { span, .. } => span,
            Asked::Destroy(span)
            | Asked::Look(span)
            | Asked::Config(span)
            | Asked::Loop(span)
            | Asked::Inject(span, _) => Some(span),
        }
    }
}

/// Why /dev/e1/ctl cannot be opened.
#[cfg(any(target_os = "freebsd", test))]
pub(super) fn not_opened(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            exit::UNAVAILABLE,
            "there is no /dev/e1/ctl: the kernel module e1shim is not loaded; kldload e1shim \
            (of the package voip-e1-kmod), and e1shim_load=\"YES\" in /boot/loader.conf for the \
            next boot",
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            exit::NOPERM,
            "/dev/e1/ctl may not be opened: be root, or let devfs.rules(5) give you the device",
        ),
        _ if error.raw_os_error() == Some(libc::ENXIO) => Failure::new(
            exit::TEMPFAIL,
            "the kernel module e1shim is just being unloaded; kldload e1shim, and try again",
        ),
        _ => Failure::new(exit::OSERR, format!("/dev/e1/ctl: {error}")),
    }
}

/// Why a request was refused: e1shim.h lists the errors.
pub(super) fn refused(error: &io::Error, asked: Asked) -> Failure {
    let number = asked.span().map_or("?".into(), |span| span.to_string());
    match error.raw_os_error() {
        Some(libc::EINVAL) => Failure::new(
            exit::UNAVAILABLE,
            "the kernel module e1shim does not take the request: it and this voipctl are of \
            different versions; install voip and voip-e1-kmod of one version, then kldunload \
            e1shim and kldload e1shim",
        ),
        Some(libc::ENOTTY) => Failure::new(
            exit::UNAVAILABLE,
            "the kernel module e1shim has no such request: it is older than this voipctl; \
            install the voip-e1-kmod that belongs to it, then kldunload e1shim and kldload e1shim",
        ),
        Some(libc::ENXIO) => Failure::new(
            exit::DATAERR,
            format!("there is no span {number}; voipctl e1 list shows those that are there"),
        ),
        Some(libc::EBUSY) => busy(asked, &number),
        Some(libc::EEXIST) => Failure::new(exit::DATAERR, exists(asked)),
        Some(libc::ENOSPC) => Failure::new(
            exit::TEMPFAIL,
            "no span number is free; voipctl e1 list shows them, voipctl e1 destroy N frees one",
        ),
        Some(libc::EBADF) => Failure::new(
            exit::NOPERM,
            "making and removing spans needs write permission on /dev/e1/ctl: be root",
        ),
        _ => Failure::new(exit::OSERR, format!("e1shim: {error}")),
    }
}

fn busy(asked: Asked, number: &str) -> Failure {
    let text = match asked {
        Asked::Destroy(_) => format!(
            "span {number} is in use: stop who has it open, which fstat /dev/e1/{number} names \
            (of a pair, the other span's, too)"
        ),
        Asked::Config(_) => format!(
            "/dev/e1/{number} is open, and who has it open configures it: stop that first; fstat \
            /dev/e1/{number} names it"
        ),
        Asked::Loop(_) => format!(
            "the span at the other end of span {number} has a loop, and two would face each \
            other: voipctl e1 loop its number off"
        ),
        Asked::Inject(_, fault) => {
            let needs = match fault.needs() {
                Framing::Crc4 => "crc4",
                Framing::Fas | Framing::Clear => "fas",
            };
            format!(
                "span {number} is framed without what {} spoils: voipctl e1 config {number} \
                --framing {needs}",
                fault.word()
            )
        }
        Asked::List | Asked::Create { .. } | Asked::Look(_) | Asked::Watch => {
            format!("span {number} is busy; try again")
        }
    };
    Failure::new(exit::TEMPFAIL, text)
}

fn exists(asked: Asked) -> String {
    let Asked::Create { span, peer, tdmoe } = asked else {
        return "it is there already".into();
    };
    let numbers = match (span, peer) {
        (Some(span), Some(peer)) => Some(format!("span {span} or {peer} is there already")),
        (Some(one), None) | (None, Some(one)) => Some(format!("span {one} is there already")),
        (None, None) => None,
    };
    let address = tdmoe.then(|| "a span with this port, address and subaddress is".to_string());
    let what = match (numbers, address) {
        (Some(numbers), Some(address)) => format!("{numbers}, or {address}"),
        (Some(one), None) => one,
        (None, Some(address)) => format!("{address} there already"),
        (None, None) => "it is there already".into(),
    };
    format!("{what}; voipctl e1 list shows them")
}
