//! What the transports count. One set for all shards: relaxed additions, most of them once per
//! batch or per connection.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of the transports; each only grows.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl Counters {
            /// Every counter with its name, in a fixed order.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Datagrams received.
    udp_received,
    /// Datagrams sent.
    udp_sent,
    /// Datagrams that the system refused to send.
    udp_send_failed,
    /// Datagrams dropped since the socket's send buffer and our queue behind it were full.
    udp_send_dropped,
    /// Datagrams that were neither SIP, nor STUN, nor a keepalive.
    udp_garbage,
    /// Keepalive datagrams (CRLF, or empty).
    udp_keepalives,
    /// STUN Binding requests answered.
    stun_answered,
    /// Connections accepted.
    accepted,
    /// Connections refused since there are too many altogether.
    refused_total,
    /// Connections refused since there are too many from one source.
    refused_source,
    /// Connections opened by us.
    connected,
    /// Connections that we tried in vain to open.
    connect_failed,
    /// Handshakes of TLS or WebSocket that failed or took too long.
    handshake_failed,
    /// Connections closed since nothing was heard for long.
    closed_idle,
    /// Connections closed since a message was begun and not completed in time.
    closed_half_message,
    /// Connections closed since the peer reads too slowly.
    closed_slow_reader,
    /// Connections closed since what came could not be cut into messages.
    closed_unframeable,
    /// Stream pings (CRLFCRLF, WebSocket ping) answered.
    stream_pings,
    /// Questions to the DNS.
    dns_questions,
    /// Questions to the DNS refused since too many were under way.
    dns_refused,
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        if n != 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
