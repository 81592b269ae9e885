//! Passwords: from standard input, from a prompt without echo, or made up.

use super::args::PasswordArgs;
use super::failure::{Failure, exit};
use nix::sys::signal::{SigSet, Signal};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::fd::AsRawFd;

/// Longest password, in bytes.
const BYTES_MAX: usize = 256;

/// Gets a password for `whom`; `twice` to be sure of what was typed.
pub(super) fn ask(args: &PasswordArgs, whom: &str, twice: bool) -> Result<String, Failure> {
    let password = if let Some(password) = &args.password {
        password.clone()
    } else if args.password_stdin {
        let mut line = String::new();
        io::stdin()
            .lock()
            .take(BYTES_MAX as u64 + 2)
            .read_line(&mut line)
            .map_err(|e| Failure::new(exit::NOINPUT, format!("standard input: {e}")))?;
        line.trim_end_matches(['\r', '\n']).to_string()
    } else {
        prompt_twice(whom, twice)?
    };
    if password.is_empty() {
        return Err(Failure::new(exit::DATAERR, "the password is empty"));
    }
    if password.len() > BYTES_MAX || password.chars().any(char::is_control) {
        let text = format!("the password has control characters or more than {BYTES_MAX} bytes");
        return Err(Failure::new(exit::DATAERR, text));
    }
    Ok(password)
}

fn prompt_twice(whom: &str, twice: bool) -> Result<String, Failure> {
    let no_terminal = || {
        let text = "there is no terminal to ask for the password; give it by --password-stdin";
        Failure::new(exit::USAGE, text)
    };
    if !io::stdin().is_terminal() {
        return Err(no_terminal());
    }
    let mut options = OpenOptions::new();
    let terminal = options.read(true).write(true).open("/dev/tty");
    let mut terminal = terminal.map_err(|_| no_terminal())?;
    let first = prompt(&mut terminal, &format!("password of {whom}: "))?;
    if twice && prompt(&mut terminal, "the same again: ")? != first {
        return Err(Failure::new(exit::DATAERR, "the two are not the same"));
    }
    Ok(first)
}

fn prompt(terminal: &mut File, question: &str) -> Result<String, Failure> {
    let fail = |e: io::Error| Failure::new(exit::IOERR, format!("terminal: {e}"));
    terminal.write_all(question.as_bytes()).map_err(fail)?;
    let quiet = Quiet::new(terminal).map_err(fail)?;
    let mut line = String::new();
    let read = BufReader::new(&*terminal).read_line(&mut line);
    drop(quiet);
    let _ = terminal.write_all(b"\n");
    read.map_err(fail)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}

/// The terminal without echo, until dropped. Signals wait so long, lest the echo stays off.
struct Quiet {
    descriptor: i32,
    before: libc::termios,
    signals: SigSet,
}

impl Quiet {
    #[allow(unsafe_code)]
    fn new(terminal: &File) -> io::Result<Self> {
        let descriptor = terminal.as_raw_fd();
        // SAFETY: termios is plain data that tcgetattr fills; the descriptor is open.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        if unsafe { libc::tcgetattr(descriptor, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let waiting = [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGTSTP,
        ];
        let signals: SigSet = waiting.into_iter().collect();
        signals.thread_block()?;
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        // SAFETY: as above.
        if unsafe { libc::tcsetattr(descriptor, libc::TCSAFLUSH, &raw const silent) } != 0 {
            let error = io::Error::last_os_error();
            let _ = signals.thread_unblock();
            return Err(error);
        }
        Ok(Self {
            descriptor,
            before,
            signals,
        })
    }
}

impl Drop for Quiet {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the file outlives this guard; termios is plain data.
        unsafe { libc::tcsetattr(self.descriptor, libc::TCSAFLUSH, &raw const self.before) };
        let _ = self.signals.thread_unblock();
    }
}

/// 16 characters of 32 that are not mistaken for each other: 80 bits.
pub(super) fn generate() -> Result<String, Failure> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes: [u8; 16] = random()?;
    let letter = |b: u8| LETTERS.get(usize::from(b & 31)).copied().map(char::from);
    Ok(bytes.into_iter().filter_map(letter).collect())
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| Failure::new(exit::OSERR, format!("/dev/urandom: {e}")))?;
    Ok(bytes)
}
