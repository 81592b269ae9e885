//! Signal's end of a shard's line to its relay. It remembers what each session is made of: when
//! media was restarted the sessions are opened anew there, and their calls go on after a moment of
//! silence, with counters from zero. Those with SRTP keys of ours end: how far a key was used is
//! gone with the process, and to begin it anew would make the same key stream again (RFC 3711
//! §9.1).

use crate::media::News;
use crate::os::ipc::{AsyncChannel, Channel, Commands, Events, IpcError};
use crate::os::switch::Switch;
use crate::relay::{Failure, LegSpec, LegStats, MediaCommand, MediaEvent};
use crate::server::{MediaNews, MediaOrder};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Commands of one message.
const COMMANDS_PER_MESSAGE: usize = 16;

/// The sessions that media should have, at most as many as calls; `None` once it was told to end
/// one.
#[derive(Debug, Default)]
struct Sessions(Mutex<BTreeMap<u64, Option<[LegSpec; 2]>>>);

impl Sessions {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, Option<[LegSpec; 2]>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn on_command(&self, command: &MediaCommand) {
        self.with(|all| match command {
            MediaCommand::Open { session, legs } | MediaCommand::Update { session, legs } => {
                all.insert(*session, Some(legs.clone()));
            }
            MediaCommand::Close { session } => {
                all.insert(*session, None);
            }
            MediaCommand::Query { .. } => {}
        });
    }

    fn on_event(&self, event: &MediaEvent) {
        match event {
            MediaEvent::Closed { session, .. } | MediaEvent::Failed { session, .. } => {
                self.with(|all| all.remove(session));
            }
            // Who hears that a session is unchanged says what it shall be, or ends it.
            MediaEvent::Opened { .. }
            | MediaEvent::Unchanged { .. }
            | MediaEvent::Timeout { .. }
            | MediaEvent::Report { .. } => {}
        }
    }

    /// Media begins anew: what to open there, and what to tell of sessions that were ending.
    fn restart(&self) -> (Vec<MediaCommand>, Vec<MediaEvent>) {
        self.with(|all| {
            let (mut open, mut ended) = (Vec::new(), Vec::new());
            let keyed = |leg: &LegSpec| leg.keys.iter().any(Option::is_some);
            all.retain(|&session, legs| match legs {
                Some(legs) if legs.iter().any(keyed) => {
                    let reason = Failure::Unknown;
                    ended.push(MediaEvent::Failed { session, reason });
                    false
                }
                Some(legs) => {
                    let legs = legs.clone();
                    open.push(MediaCommand::Open { session, legs });
                    true
                }
                None => {
                    let legs = Box::new([LegStats::default(); 2]);
                    let streams = Vec::new();
                    ended.push(MediaEvent::Closed {
                        session,
                        legs,
                        streams,
                    });
                    false
                }
            });
            (open, ended)
        })
    }
}

/// Carries commands and events of one shard, over each line of `lines` in turn.
pub async fn run(
    shard: usize,
    mut commands: mpsc::Receiver<MediaOrder>,
    mut lines: mpsc::Receiver<Channel>,
    switch: Arc<Switch>,
) {
    let sessions = Arc::new(Sessions::default());
    let mut line: Option<Arc<AsyncChannel>> = None;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            new = lines.recv() => {
                let Some(new) = new else { return };
                let new = match AsyncChannel::new(new) {
                    Ok(new) => Arc::new(new),
                    Err(error) => {
                        tracing::error!("no line to media: {error}");
                        continue;
                    }
                };
                let (open, ended) = sessions.restart();
                for event in ended {
                    // A recording of theirs may be waited for.
                    let lost = News::Failed { session: event.session() };
                    switch.news(shard, MediaNews::Relay(event));
                    switch.news(shard, MediaNews::Studio(lost));
                }
                let all = (Arc::clone(&sessions), Arc::clone(&switch));
                tokio::spawn(hear(shard, Arc::clone(&new), all.0, all.1));
                // What callers of services heard is forgotten with the process.
                for session in ended_here(&open) {
                    let lost = News::Failed { session };
                    switch.news(shard, MediaNews::Studio(lost));
                }
                let open = open.into_iter().map(MediaOrder::Relay).collect();
                line = send(&new, open).await.then_some(new);
            }
            n = commands.recv_many(&mut batch, COMMANDS_PER_MESSAGE), if line.is_some() => {
                if n == 0 {
                    return;
                }
                for order in &batch {
                    if let MediaOrder::Relay(command) = order {
                        sessions.on_command(command);
                    }
                }
                let batch = std::mem::take(&mut batch);
                if let Some(to) = &line
                    && !send(to, batch).await
                {
                    // The new line brings what this one lost.
                    line = None;
                }
            }
        }
    }
}

/// The sessions one side of which is ourselves.
fn ended_here(open: &[MediaCommand]) -> Vec<u64> {
    let local = open.iter().filter_map(|command| match command {
        MediaCommand::Open { session, legs } if legs.iter().any(|leg| leg.local) => Some(*session),
        _ => None,
    });
    local.collect()
}

async fn send(line: &AsyncChannel, commands: Vec<MediaOrder>) -> bool {
    let mut commands = commands.into_iter();
    loop {
        let part: Vec<_> = commands.by_ref().take(COMMANDS_PER_MESSAGE).collect();
        if part.is_empty() {
            return true;
        }
        if let Err(error) = line.send(&Commands(part), &[]).await {
            tracing::debug!("media is gone: {error}");
            return false;
        }
    }
}

async fn hear(shard: usize, line: Arc<AsyncChannel>, sessions: Arc<Sessions>, switch: Arc<Switch>) {
    loop {
        match line.receive::<Events>().await {
            Ok((Events(events), _)) => {
                for event in events {
                    if let MediaNews::Relay(event) = &event {
                        sessions.on_event(event);
                    }
                    switch.news(shard, event);
                }
            }
            Err(IpcError::Closed) => return,
            Err(error) => {
                tracing::error!("from media: {error}");
                std::process::exit(i32::from(crate::os::daemon::EX_SOFTWARE));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Learning;
    use crate::srtp::Keys;

    #[test]
    fn a_new_media_process_gets_the_sessions_that_go_on() {
        let leg = |local| LegSpec {
            bind: [127, 0, 0, 1].into(),
            signalling: None,
            behind_nat: false,
            learning: Learning::Early,
            local,
            media: Vec::new(),
            keys: Vec::new(),
            ice: None,
        };
        let sessions = Sessions::default();
        for session in 1..=4 {
            let legs = [leg(false), leg(session == 4)];
            sessions.on_command(&MediaCommand::Open { session, legs });
        }
        let legs = Box::new([LegStats::default(); 2]);
        let streams = Vec::new();
        sessions.on_event(&MediaEvent::Closed {
            session: 1,
            legs,
            streams,
        });
        sessions.on_command(&MediaCommand::Close { session: 2 });
        let (open, ended) = sessions.restart();
        let names: Vec<u64> = open.iter().map(MediaCommand::session).collect();
        assert_eq!(names, [3, 4]);
        assert_eq!(ended_here(&open), [4]);
        assert_eq!(
            ended.iter().map(MediaEvent::session).collect::<Vec<_>>(),
            [2]
        );
        assert_eq!(sessions.restart().1, []);
        // A key may not be begun anew.
        let mut legs = [leg(false), leg(false)];
        legs[1].keys = vec![Some(Keys::default())];
        let session = 5;
        sessions.on_command(&MediaCommand::Open { session, legs });
        let reason = Failure::Unknown;
        let (open, ended) = sessions.restart();
        assert_eq!(open.len(), 2);
        assert_eq!(ended, [MediaEvent::Failed { session, reason }]);
    }
}
