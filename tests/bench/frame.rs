//! What the fast path costs: nanoseconds of processor per frame for 10,000 flows, of G.711's 172
//! bytes above UDP, warm and cold.
//!
//! `warm`: the frames of 64 flows over and over, so that all is in the nearest caches.
//! `spread`: all flows in a random order, again and again: each flow is met after all the others.
//! `cold`: the same after 64 MiB of other memory went through the caches, each flow once.
//! `prepared`: as a driver does it, which calls `prepare` for all 64 frames of a batch first.
//! A driver's ring has few buffers, which the card writes: here each frame of a batch is copied into
//! one of 64 buffers, and what the copying alone costs is taken off and shown as `copy`.
//!
//! Run: `cargo bench --bench frame`. Prints `metric value unit`, one a line.

mod cpu;

use cpu::cpu;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;
use voip::base::{Instant, Rng};
use voip::relay::frame::{
    Action, FlowSpec, FlowTable, Frame, Onward, RtcpPath, Security, SsrcMap, Verdict, prepare,
};
use voip::relay::process;
use voip::srtp::{Crypto, Keys, MasterKey, Profile, Shared};

const FLOWS: usize = 10_000;
const ROUNDS: usize = 15;
/// G.711 of 20 ms: Ethernet, IPv4, UDP, RTP, 160 bytes.
const FRAME: usize = 14 + 20 + 8 + 12 + 160;
const BUFFER: usize = 2048;
/// Frames that a driver takes from its ring at a time.
const BATCH: usize = 64;
const EVICTED: usize = 64 << 20;

/// How packets go on.
#[derive(Clone, Copy)]
enum Kind {
    V4,
    V6,
    Renumbered,
    /// RTP becomes SRTP, as most phones speak it.
    Sealed,
}

impl Kind {
    const ALL: [(Kind, &str); 3] = [
        (Kind::V4, "ipv4"),
        (Kind::V6, "ipv4_to_ipv6"),
        (Kind::Renumbered, "ipv4_ssrc_type"),
    ];

    fn onward(self, flow: usize) -> Onward {
        let (ours, peer) = match self {
            Kind::V4 | Kind::Renumbered | Kind::Sealed => {
                ([203, 0, 113, 2].into(), [198, 51, 100, 9].into())
            }
            Kind::V6 => (
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
                [0x2001, 0xdb8, 9, 0, 0, 0, 0, 5].into(),
            ),
        };
        let special = matches!(self, Kind::Renumbered);
        Onward {
            link: 0,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            tag: None,
            source: SocketAddr::new(ours, port(flow)),
            destination: SocketAddr::new(peer, 1024 + flow as u16),
            rtcp: RtcpPath::Same,
            mtu: 1500,
            dscp: Some(46),
            ssrc: special.then_some(SsrcMap {
                sent: flow as u32,
                reported: None,
            }),
            payload_types: vec![(0, 8); usize::from(special)],
            punted_types: 0,
            security: matches!(self, Kind::Sealed).then(|| Box::new(security(flow))),
        }
    }
}

/// A key of its own for each flow.
fn security(flow: usize) -> Security {
    let mut rng = Rng::from_u64(flow as u64);
    let master = MasterKey::generate(Profile::AesCm128HmacSha1_80, |bytes| rng.fill(bytes));
    let ours = Crypto {
        tag: 1,
        master,
        lifetime: None,
        mki: None,
    };
    let toward = Shared::default();
    toward.renew(&Keys {
        ours: Some(ours),
        theirs: None,
    });
    Security {
        from: None,
        toward: Some(toward),
    }
}

fn port(flow: usize) -> u16 {
    16_384 + flow as u16
}

fn table(kind: Kind) -> FlowTable {
    let mut table = FlowTable::new(32_768);
    for flow in 0..FLOWS {
        let spec = FlowSpec {
            destination: SocketAddr::from(([203, 0, 113, 1], port(flow))),
            source: SocketAddr::from(([192, 0, 2, 7], 4000)),
            vlan: None,
            clock_rate: 0,
            action: Action::Forward(Box::new(kind.onward(flow))),
        };
        table.install(spec).expect("room");
    }
    table
}

/// The first packet of a flow; what makes it one of another is its port, and with it the checksum,
/// which the path carries on as it came.
fn frame() -> [u8; FRAME] {
    let mut out = [0x5a; FRAME];
    out[..14].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0]);
    let ip = [
        0x45, 0, 0, 200, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 7, 203, 0, 113, 1,
    ];
    out[14..34].copy_from_slice(&ip);
    let sum: u32 = ip
        .chunks(2)
        .map(|w| u32::from(w[0]) * 256 + u32::from(w[1]))
        .sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    out[24..26].copy_from_slice(&sum.to_be_bytes());
    out[34..42].copy_from_slice(&[0x0f, 0xa0, 0, 0, 0, 180, 0x77, 0x77]);
    out[42..54].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    out
}

/// One packet each of the flows in this order.
struct Run {
    template: [u8; FRAME],
    buffers: Vec<u8>,
    sequence: u16,
    prepares: bool,
}

impl Run {
    fn new() -> Self {
        Self {
            template: frame(),
            buffers: vec![0; BUFFER * BATCH],
            sequence: 0,
            prepares: false,
        }
    }

    fn time(&mut self, order: &[u16], mut table: Option<&mut FlowTable>) -> Duration {
        self.sequence = self.sequence.wrapping_add(1);
        let now = Instant::from_millis(20 * u64::from(self.sequence));
        let timestamp = u32::from(self.sequence) * 160;
        self.template[44..46].copy_from_slice(&self.sequence.to_be_bytes());
        self.template[46..50].copy_from_slice(&timestamp.to_be_bytes());
        let started = cpu();
        for batch in order.chunks(BATCH) {
            for (flow, buffer) in batch.iter().zip(self.buffers.chunks_mut(BUFFER)) {
                buffer[..FRAME].copy_from_slice(&self.template);
                buffer[36..38].copy_from_slice(&port(usize::from(*flow)).to_be_bytes());
                black_box(&buffer);
            }
            let Some(table) = &mut table else { continue };
            for (_, buffer) in batch.iter().zip(self.buffers.chunks(BUFFER)) {
                if self.prepares {
                    prepare(&buffer[..FRAME], table);
                }
            }
            for (_, buffer) in batch.iter().zip(self.buffers.chunks_mut(BUFFER)) {
                let mut frame = Frame::new(buffer, FRAME).expect("it fits");
                let verdict = process(&mut frame, table, now);
                assert_eq!(verdict, Verdict::Forward { link: 0 });
            }
        }
        cpu() - started
    }

    /// The median of some rounds, in nanoseconds per frame.
    fn median(
        &mut self,
        order: &[u16],
        mut table: Option<&mut FlowTable>,
        mut before: impl FnMut(),
    ) -> f64 {
        let mut times: Vec<Duration> = (0..ROUNDS)
            .map(|_| {
                before();
                self.time(order, table.as_deref_mut())
            })
            .collect();
        times.sort();
        times[ROUNDS / 2].as_nanos() as f64 / order.len() as f64
    }
}

fn main() {
    let mut rng = Rng::from_u64(1);
    let mut spread: Vec<u16> = (0..FLOWS as u16).collect();
    for n in (1..FLOWS).rev() {
        spread.swap(n, rng.below(n as u64 + 1) as usize);
    }
    let warm: Vec<u16> = (0..FLOWS).map(|n| spread[n % 64]).collect();
    let mut other = vec![1u8; EVICTED];
    let mut evict = move || {
        for line in other.chunks_mut(64) {
            line[0] = line[0].wrapping_add(1);
        }
        black_box(&other);
    };
    let mut run = Run::new();
    let copy = run.median(&spread, None, || {});
    let copy_cold = run.median(&spread, None, &mut evict);
    println!("frame_copy {copy:.1} ns");
    println!("frame_copy_cold {copy_cold:.1} ns");
    for (kind, name) in Kind::ALL {
        let mut table = table(kind);
        run.prepares = false;
        let first = run.median(&warm, Some(&mut table), || {});
        println!("frame_{name}_warm {:.1} ns", first - copy);
        let all = run.median(&spread, Some(&mut table), || {});
        println!("frame_{name}_spread {:.1} ns", all - copy);
        let cold = run.median(&spread, Some(&mut table), &mut evict);
        println!("frame_{name}_cold {:.1} ns", cold - copy_cold);
        run.prepares = true;
        let all = run.median(&spread, Some(&mut table), || {});
        println!("frame_{name}_spread_prepared {:.1} ns", all - copy);
        let cold = run.median(&spread, Some(&mut table), &mut evict);
        println!("frame_{name}_cold_prepared {:.1} ns", cold - copy_cold);
    }
    // No number comes twice in a round, and nobody summed the payload (RFC 768: zero).
    let mut table = table(Kind::Sealed);
    run.template[40..42].fill(0);
    let all = run.median(&spread, Some(&mut table), || {});
    println!("frame_ipv4_srtp_spread_prepared {:.1} ns", all - copy);
}
