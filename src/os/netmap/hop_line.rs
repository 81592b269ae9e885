//! Next hops for a process that may not ask the kernel: capability mode refuses sysctl(3)'s list of
//! neighbours and connect(2). It asks the monitor, by one packet each way; the monitor parses what
//! its kernel says, and nothing of the network. It asks as well what changed, and is told a number
//! that is another one then.

use crate::os::fast::{Changed, Hops, NextHop};
use crate::os::ipc::{Channel, IpcError};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long an answer is waited for: a call stays on sockets without it.
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(100);
/// Answers to questions of before that are passed over.
const LATE_MAX: usize = 64;
/// After a question for changes that was not answered so many are not asked: each would cost a
/// worker [`ANSWERED_WITHIN`].
const RESTS: u8 = 50;

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    number: u32,
    about: About,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum About {
    Hop { to: IpAddr, from: Option<IpAddr> },
    Changes,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    number: u32,
    said: Said,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Said {
    Hop(NextHop),
    /// How often something changed.
    Changes(u32),
}

/// Answers questions until the other end is gone. Blocks: it wants a thread.
pub fn serve(channel: &Channel, hops: &mut dyn Hops) {
    let mut changes = 0_u32;
    loop {
        let question: Question = match channel.receive() {
            Ok((question, _)) => question,
            Err(IpcError::System(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(IpcError::Closed) => return,
            Err(error) => {
                tracing::error!("from media: {error}");
                return;
            }
        };
        let said = match question.about {
            About::Hop { to, from } => Said::Hop(hops.hop(to, from)),
            About::Changes => {
                changes = changes.wrapping_add(u32::from(!hops.changes().is_empty()));
                Said::Changes(changes)
            }
        };
        let number = question.number;
        if channel.send(&Answer { number, said }, &[]).is_err() {
            return;
        }
    }
}

/// The asking end. Its clones, one for each worker, share the line.
#[derive(Clone, Debug)]
pub struct Asker {
    line: Arc<Mutex<Line>>,
    /// The number of changes that it knows.
    changes: Option<u32>,
    /// So many questions for changes are not asked.
    rests: u8,
}

#[derive(Debug)]
struct Line {
    channel: Channel,
    number: u32,
}

impl Asker {
    /// By this end of a pair.
    pub fn new(channel: Channel) -> io::Result<Self> {
        channel.set_timeout(ANSWERED_WITHIN)?;
        let number = 0;
        Ok(Self {
            line: Arc::new(Mutex::new(Line { channel, number })),
            changes: None,
            rests: 0,
        })
    }

    fn ask(&self, about: About) -> Option<Said> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.ask(about).ok().flatten()
    }
}

impl Line {
    fn ask(&mut self, about: About) -> Result<Option<Said>, IpcError> {
        self.number = self.number.wrapping_add(1);
        let number = self.number;
        let question = Question { number, about };
        let sent = self.channel.send(&question, &[]);
        sent.map_err(IpcError::System)?;
        for _ in 0..LATE_MAX {
            let (answer, _): (Answer, _) = self.channel.receive()?;
            if answer.number == number {
                return Ok(Some(answer.said));
            }
        }
        Ok(None)
    }
}

impl Hops for Asker {
    fn hop(&mut self, to: IpAddr, from: Option<IpAddr>) -> NextHop {
        match self.ask(About::Hop { to, from }) {
            Some(Said::Hop(hop)) => hop,
            Some(Said::Changes(_)) | None => NextHop::Unknown,
        }
    }

    fn changes(&mut self) -> Vec<Changed> {
        if self.rests > 0 {
            self.rests -= 1;
            return Vec::new();
        }
        let Some(Said::Changes(changes)) = self.ask(About::Changes) else {
            self.rests = RESTS;
            return Vec::new();
        };
        let known = self.changes.replace(changes);
        match known.is_some_and(|known| known != changes) {
            true => vec![Changed::All],
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fast::Hop;

    #[derive(Debug)]
    struct Known(Duration, Arc<Mutex<u32>>);

    impl Hops for Known {
        fn hop(&mut self, to: IpAddr, from: Option<IpAddr>) -> NextHop {
            std::thread::sleep(self.0);
            if to.is_ipv6() {
                return NextHop::Elsewhere;
            }
            NextHop::Known(Hop {
                link: 0,
                hardware_address: [2, 0, 0, 0, 0, 9],
                source: from.unwrap_or("192.0.2.1".parse().unwrap()),
                mtu: 1492,
                vlan: None,
            })
        }

        fn changes(&mut self) -> Vec<Changed> {
            let mut left = self.1.lock().unwrap();
            let changed = (*left > 0).then_some(Changed::All);
            *left = left.saturating_sub(1);
            changed.into_iter().collect()
        }
    }

    #[test]
    fn each_worker_hears_that_something_changed() {
        let (ours, theirs) = Channel::pair().unwrap();
        let left = Arc::new(Mutex::new(0));
        let mut known = Known(Duration::ZERO, Arc::clone(&left));
        std::thread::spawn(move || serve(&theirs, &mut known));
        let mut one = Asker::new(ours).unwrap();
        let mut other = one.clone();
        assert_eq!((one.changes(), other.changes()), (vec![], vec![]));
        *left.lock().unwrap() = 1;
        let all = || vec![Changed::All];
        assert_eq!((one.changes(), other.changes()), (all(), all()));
        assert_eq!((one.changes(), other.changes()), (vec![], vec![]));
    }

    #[test]
    fn a_monitor_that_is_slow_is_asked_for_changes_rarely() {
        let (ours, _theirs) = Channel::pair().unwrap();
        let mut asker = Asker::new(ours).unwrap();
        let start = std::time::Instant::now();
        for _ in 0..40 {
            assert_eq!(asker.changes(), []);
        }
        assert!(start.elapsed() < 3 * ANSWERED_WITHIN);
    }

    #[test]
    fn questions_are_answered_until_the_other_end_goes() {
        let (ours, theirs) = Channel::pair().unwrap();
        let server =
            std::thread::spawn(move || serve(&theirs, &mut Known(Duration::ZERO, Arc::default())));
        let mut asker = Asker::new(ours).unwrap();
        let mut another = asker.clone();
        for _ in 0..3 {
            let from = "192.0.2.2".parse().unwrap();
            let hop = asker.hop("198.51.100.1".parse().unwrap(), Some(from));
            let hop = hop.known().unwrap();
            assert_eq!(
                (hop.mtu, hop.hardware_address[5], hop.source),
                (1492, 9, from)
            );
            let hop = another.hop("2001:db8::1".parse().unwrap(), None);
            assert_eq!(hop, NextHop::Elsewhere);
        }
        drop((asker, another));
        server.join().unwrap();
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_next() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut asker = Asker::new(ours).unwrap();
        // Nobody answers in time, so the call stays on sockets.
        let hop = asker.hop("198.51.100.1".parse().unwrap(), None);
        assert_eq!(hop, NextHop::Unknown);
        std::thread::spawn(move || serve(&theirs, &mut Known(Duration::ZERO, Arc::default())));
        // The first question's answer comes now, and is another one's.
        let hop = asker.hop("2001:db8::1".parse().unwrap(), None);
        assert_eq!(hop, NextHop::Elsewhere);
        let hop = asker.hop("198.51.100.1".parse().unwrap(), None);
        assert!(hop.known().is_some());
    }

    #[test]
    fn a_monitor_that_is_gone_leaves_calls_on_sockets() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut asker = Asker::new(ours).unwrap();
        drop(theirs);
        let hop = asker.hop("198.51.100.1".parse().unwrap(), None);
        assert_eq!(hop, NextHop::Unknown);
    }
}
