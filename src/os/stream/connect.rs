//! Connections that we open because something is to be sent where none leads yet. The messages wait
//! in the outbox meanwhile; if it comes to nothing, their senders are told.

use super::{CONNECT_MAX, Connection, Context, Slot, accept, pump};
use crate::base::{Flow, Transport};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Starts the connection's task.
pub(super) fn spawn(context: Context, connection: Arc<Connection>, slot: Slot) {
    tokio::spawn(async move {
        let remote = connection.remote;
        let opened = match tokio::time::timeout(CONNECT_MAX, open(&context, &connection)).await {
            Ok(opened) => opened,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        match opened {
            Ok(Opened::Plain(flow, stream)) => {
                context.connections.counters.connected.one();
                pump::run(&context, &connection, flow, stream).await;
            }
            Ok(Opened::Tls(flow, stream)) => {
                context.connections.counters.connected.one();
                pump::run(&context, &connection, flow, *stream).await;
            }
            Err(error) => {
                context.connections.counters.connect_failed.one();
                tracing::debug!(%remote, %error, "cannot connect");
                context.finish(&connection, []);
            }
        }
        drop(slot);
    });
}

enum Opened {
    Plain(Flow, TcpStream),
    Tls(Flow, Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn open(context: &Context, connection: &Connection) -> io::Result<Opened> {
    if matches!(connection.transport, Transport::Ws | Transport::Wss) {
        // RFC 7118 §5: a WebSocket client is reached over the connection that it opened, only.
        return Err(io::Error::other("a WebSocket peer cannot be called back"));
    }
    let stream = context.net.connect(connection.remote).await?;
    accept::tune(&stream);
    let flow = Flow {
        transport: connection.transport,
        local: stream.local_addr()?,
        remote: connection.remote,
        connection: Some(connection.id),
    };
    if !connection.transport.is_secure() {
        return Ok(Opened::Plain(flow, stream));
    }
    let (connector, name) = context
        .tls
        .connector(connection.tls_name.as_deref(), connection.remote.ip())?;
    let stream = connector.connect(name, stream).await?;
    Ok(Opened::Tls(flow, Box::new(stream)))
}
