//! Bans reach blocklistd(8), from one process and from several: a phone with a wrong password, the
//! real voipd, and a socket that reads as contrib/blocklist/lib/bl.c does (bl_recv).

use md5::{Digest, Md5};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, getsockname, recvmsg};
use std::fs;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// bl.h, bl_type_t.
const BL_DELETE: u32 = 2;
const BL_ABUSE: u32 = 3;

/// A daemon in a folder of its own, beside the socket where blocklistd would listen.
struct Site {
    folder: PathBuf,
    blocklistd: UnixDatagram,
    child: Child,
}

impl Site {
    fn start(name: &str, more: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("voip-bd-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("blocklistd.sock");
        let blocklistd = UnixDatagram::bind(&socket).unwrap();
        blocklistd.set_read_timeout(Some(PATIENCE)).unwrap();
        let text = format!(
            "[node]\ndomains = [\"voip.test\"]\nstate_dir = \"state\"\nworkers = 2\n\
             [sip]\nlisten = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\"]\n\
             [guard]\nslow_after = 1\nban_after = 2\nblocklist = \"{}\"\n",
            socket.display()
        );
        fs::write(folder.join("voip.toml"), text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_voipd"))
            .arg("-f")
            .args(more)
            .arg("-c")
            .arg(folder.join("voip.toml"))
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            folder,
            blocklistd,
            child,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// The listener of a transport, once there is one.
    fn listener(&self, transport: &str) -> SocketAddr {
        let (start, before) = (Instant::now(), format!("listening on {transport}:"));
        loop {
            let log = self.log();
            let address = log
                .split(&before)
                .nth(1)
                .and_then(|rest| rest.lines().next());
            if let Some(address) = address.and_then(|a| a.trim().parse().ok()) {
                return address;
            }
            assert!(start.elapsed() < PATIENCE, "no {transport}: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ctl(&self, words: &[&str]) {
        let done = Command::new(env!("CARGO_BIN_EXE_voipctl"))
            .arg("-c")
            .arg(self.folder.join("voip.toml"))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{words:?}: {said}");
    }

    /// The next message: what it says, of whom, and the listener whose descriptor it brings.
    fn hear(&self) -> (u32, Ipv4Addr, SocketAddr) {
        let mut bytes = [0; 512];
        let mut control = nix::cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let fd = self.blocklistd.as_raw_fd();
        let got = recvmsg::<()>(fd, &mut parts, Some(&mut control), MsgFlags::empty());
        let got = got.unwrap_or_else(|e| panic!("{e}: {}", self.log()));
        let fds = got.cmsgs().unwrap().find_map(|c| match c {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let (length, door) = (got.bytes, fds.expect("a descriptor")[0]);
        let bound: SockaddrIn = getsockname(door).unwrap();
        nix::unistd::close(door).unwrap();
        let number = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        // bl_message_t: length, version, type, length of the address, sockaddr_storage, text.
        assert_eq!((number(0) as usize, number(4), number(12)), (length, 1, 16));
        assert!(bytes[144..length].starts_with(b"voipd: "));
        let family = match cfg!(target_os = "freebsd") {
            true => u16::from(bytes[17]),
            false => u16::from_ne_bytes([bytes[16], bytes[17]]),
        };
        assert_eq!(i32::from(family), nix::libc::AF_INET);
        let ip = Ipv4Addr::new(bytes[20], bytes[21], bytes[22], bytes[23]);
        (number(8), ip, SocketAddr::from((bound.ip(), bound.port())))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The roles end with the monitor, by themselves.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn register(own: SocketAddr, sequence: u32, header: &str) -> String {
    format!(
        "REGISTER sip:voip.test SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{sequence};rport\r\n\
         From: <sip:100@voip.test>;tag=1\r\nTo: <sip:100@voip.test>\r\nCall-ID: guess{sequence}\r\n\
         CSeq: {sequence} REGISTER\r\nMax-Forwards: 70\r\nContact: <sip:100@{own}>\r\n{header}\
         Content-Length: 0\r\n\r\n"
    )
}

/// Proves with a wrong password, over and over, until blocklistd hears of it or time is up.
fn guess(site: &Site, server: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Some(Duration::from_millis(300));
    socket.set_read_timeout(patience).unwrap();
    let own = socket.local_addr().unwrap();
    let (start, mut header, mut space) = (Instant::now(), String::new(), [0; 4000]);
    for sequence in 1.. {
        let text = register(own, sequence, &header);
        socket.send_to(text.as_bytes(), server).unwrap();
        if let Ok(n) = socket.recv(&mut space) {
            let answer = String::from_utf8_lossy(&space[..n]).into_owned();
            assert!(!answer.starts_with("SIP/2.0 200"), "{answer}");
            if let Some(nonce) = answer.split("nonce=\"").nth(1) {
                header = proof(nonce.split('"').next().unwrap());
            }
        }
        if site.log().contains("banned") {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{}", site.log());
    }
}

/// RFC 7616, MD5, of a password that nobody has.
fn proof(nonce: &str) -> String {
    let hash = |text: &str| {
        let hash = Md5::digest(text.as_bytes());
        hash.iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let (ha1, ha2) = (hash("100:voip.test:wrong"), hash("REGISTER:sip:voip.test"));
    let response = hash(&format!("{ha1}:{nonce}:00000001:abc:auth:{ha2}"));
    format!(
        "Authorization: Digest username=\"100\", realm=\"voip.test\", nonce=\"{nonce}\", \
         uri=\"sip:voip.test\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\", \
         response=\"{response}\"\r\n"
    )
}

fn a_ban_and_its_end_are_heard(name: &str, more: &[&str]) {
    let site = Site::start(name, more);
    let (udp, tcp) = (site.listener("udp"), site.listener("tcp"));
    guess(&site, udp);
    let source = Ipv4Addr::LOCALHOST;
    for door in [udp, tcp] {
        assert_eq!(site.hear(), (BL_ABUSE, source, door));
    }
    site.ctl(&["bans", "lift", "127.0.0.1"]);
    for door in [udp, tcp] {
        assert_eq!(site.hear(), (BL_DELETE, source, door));
    }
}

#[test]
fn one_process_tells_blocklistd() {
    a_ban_and_its_end_are_heard("one", &[]);
}

#[test]
fn the_monitor_tells_blocklistd_for_signal() {
    a_ban_and_its_end_are_heard("many", &["--processes"]);
}
