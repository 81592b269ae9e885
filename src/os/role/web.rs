//! The process that speaks HTTP with administrators. It holds its listener and a line to signal,
//! and can ask along it what `voipctl` can, no more.

use super::{Boot, Roots, collect, enter, ipc, on_common, runtime};
use crate::os::control::Link;
use crate::os::daemon::{EX_OSERR, EX_SOFTWARE, Fatal};
use crate::os::ipc::{
    AsyncChannel, Channel, IpcError, Line, Role, Settings, ToMonitor, ToRole, decode,
};
use crate::os::web::Web;
use std::os::unix::net::UnixStream;

/// Serves to the end.
pub(super) fn run(boot: Boot) -> Result<(), Fatal> {
    boot.drop_rights()?;
    let runtime = runtime()?;
    enter(Role::Web, &Roots::default())?;
    runtime.block_on(attend(boot))
}

async fn attend(boot: Boot) -> Result<(), Fatal> {
    let Boot {
        channel,
        settings,
        log,
        control,
        lines,
        ..
    } = boot;
    let missing = |what| Fatal::new(EX_SOFTWARE, format!("no {what} was given"));
    let token = settings.token.ok_or_else(|| missing("token"))?;
    let listener = control.ok_or_else(|| missing("listener"))?;
    let web = Web::new(&token, Link::default());
    let monitor = AsyncChannel::new(channel).map_err(ipc)?;
    for (line, channel) in lines {
        connect(&web, line, channel).await.map_err(ipc)?;
    }
    let serving = tokio::spawn(std::sync::Arc::clone(&web).run(listener.into()));
    monitor.send(&ToMonitor::Ready, &[]).await.map_err(ipc)?;
    tokio::select! {
        ended = attend_monitor(&web, &monitor, &log) => ended,
        ended = serving => {
            let why = match ended {
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(never)) => match never {},
                Err(error) => error.to_string(),
            };
            Err(Fatal::new(EX_OSERR, format!("HTTP: {why}")))
        }
    }
}

async fn attend_monitor(
    web: &Web,
    monitor: &AsyncChannel,
    log: &crate::os::log::Log,
) -> Result<(), Fatal> {
    let mut parts = Vec::new();
    loop {
        let (message, fds) = monitor.receive::<ToRole>().await.map_err(ipc)?;
        match message {
            ToRole::Stop => return Ok(()),
            ToRole::Line(line) => {
                let channel = super::line(fds)?;
                connect(web, line, channel).await.map_err(ipc)?;
            }
            ToRole::Settings { last, bytes, .. } => {
                collect(&mut parts, bytes)?;
                if last {
                    let settings: Settings = decode(&std::mem::take(&mut parts)).map_err(ipc)?;
                    web.set_token(&settings.token.unwrap_or_default());
                }
            }
            message => on_common(monitor, message, log).await.map_err(ipc)?,
        }
    }
}

async fn connect(web: &Web, line: Line, channel: Channel) -> Result<(), IpcError> {
    if line != Line::Operator {
        return Err(IpcError::Malformed("a line of others"));
    }
    let stream = UnixStream::from(channel.into_fd());
    Ok(web.link().set(stream).await?)
}
