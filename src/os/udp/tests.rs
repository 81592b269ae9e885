//! Batches over real sockets on loopback.

use super::*;
use std::net::Ipv6Addr;
use std::time::Duration;

fn on_runtime<F: Future>(f: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(f)
}

fn one(address: SocketAddr) -> UdpSocket {
    let fd = bind(address, 1).unwrap().remove(0);
    let socket = std::net::UdpSocket::from(fd);
    let local = socket.local_addr().unwrap();
    UdpSocket::new(socket.into(), local).unwrap()
}

async fn exchange(address: SocketAddr) {
    const COUNT: usize = 200;
    let mut a = one(address);
    let b = one(address);
    let (counters, mut calls, mut failed) = (Counters::default(), SendCalls::new(), Vec::new());
    for i in 0..COUNT {
        assert!(a.queue(
            b.local(),
            Bytes::from(format!("datagram {i}")),
            TransmitTag(1)
        ));
    }
    let mut batch = ReceiveBatch::new();
    let mut next = 0;
    let all = std::future::poll_fn(|cx| {
        a.flush(cx, &mut calls, &counters, &mut failed);
        loop {
            match b.poll_receive(cx, &mut batch) {
                Poll::Pending if next == COUNT => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(n) => {
                    for i in 0..n.unwrap() {
                        let (remote, bytes) = batch.datagram(i).unwrap();
                        assert_eq!(remote, a.local());
                        assert_eq!(bytes, format!("datagram {next}").as_bytes());
                        next += 1;
                    }
                }
            }
        }
    });
    tokio::time::timeout(Duration::from_secs(5), all)
        .await
        .unwrap();
    assert!(failed.is_empty());
    assert_eq!(counters.udp_sent.get(), COUNT as u64);
}

#[test]
fn batches_arrive_whole_and_in_order() {
    on_runtime(exchange(SocketAddr::from(([127, 0, 0, 1], 0))));
    on_runtime(exchange(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))));
}

#[test]
fn what_cannot_be_sent_is_reported_and_the_rest_leaves() {
    on_runtime(async {
        let mut a = one(SocketAddr::from(([127, 0, 0, 1], 0)));
        let to = a.local();
        let (counters, mut calls, mut failed) = (Counters::default(), SendCalls::new(), Vec::new());
        assert!(a.queue(to, Bytes::from_static(b"first"), TransmitTag(1)));
        assert!(a.queue(to, Bytes::from(vec![0; 70_000]), TransmitTag(2)));
        assert!(a.queue(to, Bytes::from_static(b"third"), TransmitTag(3)));
        std::future::poll_fn(|cx| {
            a.flush(cx, &mut calls, &counters, &mut failed);
            Poll::Ready(())
        })
        .await;
        assert_eq!(failed, [TransmitTag(2)]);
        assert_eq!(counters.udp_sent.get(), 2);
        assert!(a.is_flushed());
    });
}

#[test]
fn the_queue_is_bounded() {
    on_runtime(async {
        let mut a = one(SocketAddr::from(([127, 0, 0, 1], 0)));
        let to = a.local();
        let taken = (0..UNSENT_MAX + 5)
            .filter(|_| a.queue(to, Bytes::from_static(b"x"), TransmitTag(0)))
            .count();
        assert_eq!(taken, UNSENT_MAX);
    });
}

#[test]
fn workers_share_a_port() {
    let sockets = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 4).unwrap();
    let ports: Vec<u16> = sockets
        .into_iter()
        .map(|fd| std::net::UdpSocket::from(fd).local_addr().unwrap().port())
        .collect();
    assert_eq!(ports.len(), 4);
    assert!(ports.iter().all(|&p| p == ports[0] && p != 0));
}

#[test]
fn a_buffer_that_is_refused_is_asked_for_smaller() {
    // FreeBSD's default limit leaves 1 864 135 bytes.
    for (limit, got) in [
        (usize::MAX, 4 << 20),
        (1_864_135, 1 << 20),
        (1 << 17, 1 << 17),
    ] {
        let asked = std::cell::Cell::new(0);
        super::as_much_as_allowed(|bytes| {
            asked.set(bytes);
            match bytes <= limit {
                true => Ok(()),
                false => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            }
        });
        assert_eq!(asked.get(), got);
    }
}
