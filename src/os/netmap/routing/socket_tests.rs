//! A kernel behind a pair of sockets, which answers late, to all, and says other things as well.

use super::super::tests::{Message, on_link};
use super::*;
use socket2::{Domain, Socket, Type};
use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::thread::JoinHandle;

/// The socket, and how many reads shall fail with which error.
#[derive(Debug)]
struct Flaky(Socket, Cell<Option<i32>>);

impl AsFd for Flaky {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for &Flaky {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.1.take() {
            Some(number) => Err(io::Error::from_raw_os_error(number)),
            None => (&self.0).read(bytes),
        }
    }
}

impl Write for &Flaky {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pair() -> (RouteSocket<Flaky>, Socket) {
    let (ours, kernels) = Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut socket = RouteSocket::new(Flaky(ours, Cell::new(None)));
    // However slow the machine is.
    socket.patience = Duration::from_secs(20);
    (socket, kernels)
}

fn pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

/// The number of the next question.
fn asked(kernel: &Socket) -> i32 {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let mut kernel: &Socket = kernel;
    let length = kernel.read(&mut bytes).unwrap();
    assert_eq!(length, 152 + 16 + 56);
    i32::from_ne_bytes(bytes[20..24].try_into().unwrap())
}

fn say(kernel: &Socket, message: &Message) {
    kernel.send(&message.bytes()).unwrap();
}

fn answer(sequence: i32, pid: i32) -> Message {
    Message {
        sequence,
        pid,
        ..on_link()
    }
}

fn to() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

/// The kernel's thread of netisr: it answers so much later, between other messages.
fn later(kernel: Socket, time: Duration) -> JoinHandle<Socket> {
    std::thread::spawn(move || {
        let number = asked(&kernel);
        std::thread::sleep(time);
        // Another's question of the same number, and ours of before.
        say(&kernel, &answer(number, pid() + 1));
        say(&kernel, &answer(number - 1, pid()));
        std::thread::sleep(time);
        say(&kernel, &answer(number, pid()));
        kernel
    })
}

#[test]
fn an_answer_that_comes_after_the_write_is_waited_for() {
    let (mut socket, kernel) = pair();
    let kernel = later(kernel, Duration::from_millis(3));
    let found = socket.way(to()).unwrap().unwrap();
    assert_eq!(found.interface, 3);
    kernel.join().unwrap();
}

#[test]
fn no_two_sockets_of_a_process_ask_by_the_same_number() {
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let (mut socket, kernel) = pair();
        socket.patience = Duration::ZERO;
        for _ in 0..3 {
            socket.way(to()).unwrap_err();
            numbers.push(asked(&kernel));
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 6);
}

#[test]
fn a_signal_and_lost_messages_do_not_end_the_wait() {
    for number in [libc::EINTR, libc::ENOBUFS] {
        let (mut socket, kernel) = pair();
        socket.socket.1.set(Some(number));
        let kernel = later(kernel, Duration::from_millis(2));
        assert!(socket.way(to()).unwrap().is_some(), "{number}");
        kernel.join().unwrap();
    }
}

#[test]
fn a_kernel_that_does_not_answer_is_not_waited_for_long() {
    let (mut socket, kernel) = pair();
    socket.patience = ANSWERED_WITHIN;
    let began = std::time::Instant::now();
    let said = socket.way(to()).unwrap_err();
    assert_eq!(said.kind(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() >= ANSWERED_WITHIN);
    // What comes too late is not the next one's answer.
    let first = asked(&kernel);
    say(&kernel, &answer(first, pid()));
    socket.patience = Duration::from_secs(20);
    let kernel = later(kernel, Duration::from_millis(1));
    assert!(socket.way(to()).unwrap().is_some());
    kernel.join().unwrap();
}

/// A message of this type, with flags of a route.
fn of_kind(kind: u8, flags: u32) -> Message {
    Message {
        kind,
        flags,
        ..on_link()
    }
}

#[test]
fn what_next_hops_depend_on_is_a_change() {
    let (mut socket, kernel) = pair();
    assert_eq!(socket.changed(), Change::Nothing);
    // Answers to others, RTM_LOSING, RTM_MISS, RTM_LOCK, groups, RTM_IEEE80211.
    for kind in [4, 5, 7, 8, 0xf, 0x10, 0x12] {
        say(&kernel, &of_kind(kind, 1));
        assert_eq!(socket.changed(), Change::Nothing, "{kind}");
    }
    for kind in [1, 2, 3, 6, 0xc, 0xd, 0xe, 0x11] {
        say(&kernel, &of_kind(kind, 1));
        assert_eq!(socket.changed(), Change::Tables, "{kind}");
        assert_eq!(socket.changed(), Change::Nothing, "{kind}");
    }
    // RTM_IFANNOUNCE is 24 bytes long, and has no struct rt_msghdr.
    let mut short = of_kind(0x11, 1).bytes();
    short.truncate(24);
    kernel.send(&short).unwrap();
    assert_eq!(socket.changed(), Change::Tables);
    for kind in [1, 2] {
        say(&kernel, &of_kind(kind, 0x405));
        assert_eq!(socket.changed(), Change::Neighbours, "{kind}");
    }
    // The greater one is told, whichever came first.
    say(&kernel, &of_kind(3, 1));
    say(&kernel, &of_kind(1, 0x405));
    assert_eq!(socket.changed(), Change::Tables);
    // Of another version nothing is known.
    let mut old = of_kind(1, 1).bytes();
    old[2] = 4;
    kernel.send(&old).unwrap();
    assert_eq!(socket.changed(), Change::Nothing);
}

#[test]
fn what_comes_before_an_answer_is_a_change_and_the_answers_of_others_are_none() {
    let (mut socket, kernel) = pair();
    let kernel = later(kernel, Duration::from_millis(1));
    assert!(socket.way(to()).unwrap().is_some());
    assert_eq!(socket.changed(), Change::Nothing);
    let kernel = kernel.join().unwrap();
    say(&kernel, &of_kind(2, 1));
    let kernel = later(kernel, Duration::from_millis(1));
    assert!(socket.way(to()).unwrap().is_some());
    assert_eq!(socket.changed(), Change::Tables);
    kernel.join().unwrap();
}

#[test]
fn lost_messages_are_a_change() {
    let (mut socket, _kernel) = pair();
    socket.socket.1.set(Some(libc::ENOBUFS));
    assert_eq!(socket.changed(), Change::Tables);
    assert_eq!(socket.changed(), Change::Nothing);
}
