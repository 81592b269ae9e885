//! Against a daemon that reads as contrib/blocklist/lib/bl.c does (bl_recv).

#![allow(unsafe_code)]

use super::*;
use nix::sys::socket::{ControlMessageOwned, SockaddrStorage, getsockname, recvmsg};
use std::net::SocketAddr;
use std::path::Path;

/// One datagram, as bl_recv takes it apart.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Read {
    kind: u32,
    source: IpAddr,
    text: String,
    /// Where the descriptor beside it is bound.
    door: SocketAddr,
}

struct Fake {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Fake {
    fn at(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        sys::set_nonblocking(&socket).unwrap();
        Self {
            socket,
            path: path.into(),
        }
    }

    fn new(name: &str) -> Self {
        let name = format!("voip-bl-{name}-{}.sock", std::process::id());
        Self::at(&std::env::temp_dir().join(name))
    }

    fn read(&self) -> Option<Read> {
        let mut bytes = [0; 512];
        let mut control = nix::cmsg_space!(std::os::fd::RawFd);
        let (length, fd) = {
            let mut parts = [io::IoSliceMut::new(&mut bytes)];
            let got = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                MsgFlags::empty(),
            );
            let got = got.ok()?;
            let fds = got.cmsgs().unwrap().find_map(|c| match c {
                ControlMessageOwned::ScmRights(fds) => Some(fds),
                _ => None,
            });
            let fds = fds.expect("a descriptor: without it the message is not taken");
            assert_eq!(fds.len(), 1);
            (got.bytes, fds[0])
        };
        let bound: SockaddrStorage = getsockname(fd).unwrap();
        nix::unistd::close(fd).unwrap();
        let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((number(0) as usize, number(4)), (length, BL_VERSION));
        let storage = &bytes[16..16 + STORAGE_BYTES];
        let (source, size) = parse(storage);
        assert_eq!(number(12), size);
        let door = match bound.as_sockaddr_in() {
            Some(v4) => SocketAddr::from((v4.ip(), v4.port())),
            None => {
                let v6 = bound.as_sockaddr_in6().unwrap();
                SocketAddr::from((v6.ip(), v6.port()))
            }
        };
        // conf_addr_set aborts the daemon otherwise.
        assert_eq!(source.is_ipv4(), door.is_ipv4());
        Some(Read {
            kind: number(8),
            source,
            text: String::from_utf8(bytes[16 + STORAGE_BYTES..length].to_vec()).unwrap(),
            door,
        })
    }

    fn all(&self) -> Vec<Read> {
        std::iter::from_fn(|| self.read()).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// By the system's own reading of the structure.
fn parse(storage: &[u8]) -> (IpAddr, u32) {
    let fill = |to: &mut socket2::SockAddrStorage| {
        assert!(to.size_of() as usize == storage.len());
        // SAFETY: as many bytes as the structure has, each of which may have any value.
        let place = std::ptr::from_mut(to).cast::<u8>();
        unsafe { place.copy_from_nonoverlapping(storage.as_ptr(), storage.len()) };
    };
    let mut whole = socket2::SockAddrStorage::zeroed();
    fill(&mut whole);
    // SAFETY: it was filled, and no more than its length is told.
    let address = unsafe { socket2::SockAddr::new(whole, 28) };
    let address = address.as_socket().unwrap();
    assert_eq!(address.port(), 0);
    let size = if address.is_ipv4() { 16 } else { 28 };
    (address.ip(), size)
}

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("voip.toml")).unwrap()
}

fn at(fake: &Fake, more: &str) -> Config {
    config(&format!(
        "[guard]\nblocklist = \"{}\"\n{more}",
        fake.path.display()
    ))
}

fn bound() -> Vec<Bound> {
    [
        (crate::base::Transport::Udp, "127.0.0.1:0"),
        (crate::base::Transport::Tcp, "127.0.0.1:0"),
        (crate::base::Transport::Udp, "[::1]:0"),
    ]
    .into_iter()
    .map(|(transport, at)| Bound::bind(transport, at.parse().unwrap(), 1).unwrap())
    .collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn each_listener_of_the_family_is_shown() {
    let (fake, bound) = (Fake::new("doors"), bound());
    let mut blocklist = Blocklist::new(&at(&fake, ""), &bound).unwrap();
    blocklist.tell(Notice::Ban(ip("203.0.113.9")));
    let read = fake.all();
    let expected = |kind, source: &str, door: &Bound| Read {
        kind,
        source: ip(source),
        text: "voipd: too many wrong passwords".into(),
        door: door.address,
    };
    assert_eq!(
        read,
        [
            expected(3, "203.0.113.9", &bound[0]),
            expected(3, "203.0.113.9", &bound[1]),
        ]
    );
    blocklist.tell(Notice::Lift(ip("2001:db8:1:2::")));
    assert_eq!(fake.all(), [expected(2, "2001:db8:1:2::", &bound[2])]);
}

#[test]
fn a_daemon_that_is_full_or_started_anew_hears_all_of_the_ban() {
    let (fake, bound) = (Fake::new("full"), bound());
    let mut blocklist = Blocklist::new(&at(&fake, ""), &bound).unwrap();
    let many = 40u8;
    for n in 0..many {
        blocklist.tell(Notice::Ban(ip(&format!("203.0.113.{n}"))));
    }
    let mut read = fake.all();
    // It reads, and we look: to the end, in order, none twice.
    for _ in 0..many {
        blocklist.look();
        read.extend(fake.all());
    }
    let sources: Vec<_> = read.iter().map(|r| r.source).collect();
    let expected: Vec<_> = (0..many)
        .flat_map(|n| [ip(&format!("203.0.113.{n}")); 2])
        .collect();
    assert_eq!(sources, expected);

    let path = fake.path.clone();
    drop(fake);
    blocklist.tell(Notice::Ban(ip("198.51.100.1")));
    blocklist.tell(Notice::Ban(ip("198.51.100.2")));
    assert!(blocklist.waiting.is_empty());
    let anew = Fake::at(&path);
    blocklist.tell(Notice::Ban(ip("198.51.100.3")));
    let sources: Vec<_> = anew.all().iter().map(|r| r.source).collect();
    assert_eq!(sources, [ip("198.51.100.3"); 2]);
}

#[test]
fn what_signal_asks_for_is_held_against_the_configuration() {
    let (fake, bound) = (Fake::new("policy"), bound());
    let more = "exempt = [\"192.0.2.0/24\"]\n[sip]\ntrusted = [\"198.51.100.7\"]\n";
    let mut blocklist = Blocklist::new(&at(&fake, more), &bound).unwrap();
    for never in [
        "192.0.2.9",
        "198.51.100.7",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ] {
        blocklist.tell(Notice::Ban(ip(never)));
        assert_eq!(fake.all(), [], "{never}");
    }
    // Who became exempt can still be let in.
    blocklist.tell(Notice::Lift(ip("192.0.2.9")));
    assert_eq!(fake.all().len(), 2);

    for n in 0..2 * BUDGET {
        blocklist.tell(Notice::Ban(IpAddr::from(std::net::Ipv4Addr::from(
            0xcb00_0000 + n,
        ))));
        if n + 1 < BUDGET {
            assert_eq!(fake.all().len(), 2, "{n}");
        } else {
            assert_eq!(fake.all(), [], "{n}");
        }
    }
    blocklist.look();
    blocklist.tell(Notice::Ban(ip("203.0.113.9")));
    assert_eq!(fake.all().len(), 2);

    blocklist.configure(&config("[guard]\nblocklist = \"off\"\n"));
    blocklist.tell(Notice::Ban(ip("203.0.113.10")));
    assert_eq!(fake.all(), []);
}

#[test]
fn waiting_notices_are_bounded() {
    let (fake, bound) = (Fake::new("bound"), bound());
    let mut blocklist = Blocklist::new(&at(&fake, ""), &bound).unwrap();
    for n in 0..4 * WAITING_MAX as u32 {
        blocklist.tell(Notice::Ban(IpAddr::from(std::net::Ipv4Addr::from(
            0xcb00_0000 + n,
        ))));
        blocklist.budget = BUDGET;
    }
    assert!(blocklist.waiting.len() <= WAITING_MAX && !blocklist.waiting.is_empty());
}
