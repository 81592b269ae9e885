//! Next hops for a process that may not ask the kernel: capability mode refuses sysctl(3)'s list of
//! neighbours and connect(2). It asks the monitor, by one packet each way; the monitor parses what
//! its kernel says, and nothing of the network.

use crate::os::fast::{Hops, NextHop};
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

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    number: u32,
    to: IpAddr,
    from: Option<IpAddr>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    number: u32,
    hop: NextHop,
}

/// Answers questions until the other end is gone. Blocks: it wants a thread.
pub fn serve(channel: &Channel, hops: &mut dyn Hops) {
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
        let hop = hops.hop(question.to, question.from);
        let number = question.number;
        if channel.send(&Answer { number, hop }, &[]).is_err() {
            return;
        }
    }
}

/// The asking end, which all workers share.
#[derive(Clone, Debug)]
pub struct Asker(Arc<Mutex<Line>>);

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
        Ok(Self(Arc::new(Mutex::new(Line { channel, number }))))
    }
}

impl Line {
    fn ask(&mut self, to: IpAddr, from: Option<IpAddr>) -> Result<NextHop, IpcError> {
        self.number = self.number.wrapping_add(1);
        let number = self.number;
        let question = Question { number, to, from };
        let sent = self.channel.send(&question, &[]);
        sent.map_err(IpcError::System)?;
        for _ in 0..LATE_MAX {
            let (answer, _): (Answer, _) = self.channel.receive()?;
            if answer.number == number {
                return Ok(answer.hop);
            }
        }
        Ok(NextHop::Unknown)
    }
}

impl Hops for Asker {
    fn hop(&mut self, to: IpAddr, from: Option<IpAddr>) -> NextHop {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.ask(to, from).unwrap_or(NextHop::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fast::Hop;

    #[derive(Debug)]
    struct Known(Duration);

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
    }

    #[test]
    fn questions_are_answered_until_the_other_end_goes() {
        let (ours, theirs) = Channel::pair().unwrap();
        let server = std::thread::spawn(move || serve(&theirs, &mut Known(Duration::ZERO)));
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
        std::thread::spawn(move || serve(&theirs, &mut Known(Duration::ZERO)));
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
