//! /dev/e1/ctl for tests: answers as e1shim.h documents and kmod/e1shim does, errors included.
//! Lines do not run: alarms are what the test says.

use super::abi::{self, Argument, Plain};
use super::control::Ctl;
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// A span.
#[derive(Clone, Debug, Default)]
pub struct FakeSpan {
    pub create: abi::Create,
    pub config: abi::Config,
    pub status: abi::Status,
    pub counters: abi::Counters,
    /// What was injected, by kind.
    pub injected: BTreeMap<u32, u32>,
}

/// The module.
#[derive(Debug, Default)]
pub struct Fake {
    pub spans: BTreeMap<u16, FakeSpan>,
    pub events: VecDeque<abi::Event>,
    /// Opened for reading only.
    pub read_only: bool,
    /// Of another version than this program.
    pub other_version: bool,
    /// Of a time before this request.
    pub unknown: Option<u64>,
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// Runs `work` on the structure that `bytes` are.
fn with<A: Argument>(
    bytes: &mut [u8],
    work: impl FnOnce(&mut A) -> Result<(), i32>,
) -> Result<(), i32> {
    let mut argument = A::from_bytes(bytes).ok_or(libc::EINVAL)?;
    work(&mut argument)?;
    bytes.copy_from_slice(argument.bytes_mut());
    Ok(())
}

impl Ctl for Fake {
    fn ioctl(&mut self, request: u64, argument: &mut [u8]) -> io::Result<()> {
        self.answer(request, argument).map_err(errno)
    }

    fn read(&mut self, events: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        for place in events.chunks_exact_mut(size_of::<abi::Event>()) {
            let Some(mut event) = self.events.pop_front() else {
                break;
            };
            place.copy_from_slice(event.bytes_mut());
            count += place.len();
        }
        match count {
            0 => Err(errno(libc::EAGAIN)),
            count => Ok(count),
        }
    }
}

impl Fake {
    pub fn event(&mut self, span: u16, kind: u16, alarms: u32, value: u32) {
        self.events.push_back(abi::Event {
            time_ns: 1_500_000_000 + self.events.len() as u64,
            version: abi::ABI_VERSION,
            span,
            r#type: kind,
            alarms,
            value,
            ..abi::Event::default()
        });
    }

    fn answer(&mut self, request: u64, bytes: &mut [u8]) -> Result<(), i32> {
        let known = [
            abi::CREATE,
            abi::DESTROY,
            abi::LIST,
            abi::GET_CONFIG,
            abi::SET_CONFIG,
            abi::GET_STATUS,
            abi::GET_COUNTERS,
            abi::SET_LOOP,
            abi::INJECT,
        ];
        if !known.contains(&request) || self.unknown == Some(request) {
            return Err(libc::ENOTTY);
        }
        assert_eq!(bytes.len(), abi::argument_size(request));
        let head = abi::Head::from_bytes(&bytes[..size_of::<abi::Head>()]).unwrap();
        let version = abi::ABI_VERSION + u32::from(self.other_version);
        if head.version != version || head.reserved != 0 {
            return Err(libc::EINVAL);
        }
        match request {
            abi::LIST => with(bytes, |list: &mut abi::List| {
                list.present = self.spans.keys().map(|n| 1_u64 << n).sum();
                list.spans_max = abi::SPANS_MAX.into();
                list.module_version = 100;
                Ok(())
            }),
            abi::CREATE | abi::DESTROY if self.read_only => Err(libc::EBADF),
            abi::CREATE => with(bytes, |create: &mut abi::Create| self.create(create)),
            abi::DESTROY => self.destroy(head.span),
            _ => self.of_span(request, head.span, bytes),
        }
    }

    fn choose(&self, wanted: u16, other: u16) -> Result<u16, i32> {
        match wanted {
            abi::SPAN_ANY => (0..abi::SPANS_MAX)
                .find(|n| !self.spans.contains_key(n) && *n != other)
                .ok_or(libc::ENOSPC),
            wanted if wanted >= abi::SPANS_MAX => Err(libc::ENXIO),
            wanted if self.spans.contains_key(&wanted) => Err(libc::EEXIST),
            wanted => Ok(wanted),
        }
    }

    fn check(create: &abi::Create) -> Result<(), i32> {
        let pair = create.backend == abi::BACKEND_PAIR;
        let right = match create.backend {
            abi::BACKEND_PAIR | abi::BACKEND_LINE => {
                let plain = abi::Create {
                    head: create.head,
                    backend: create.backend,
                    peer: create.peer,
                    ..abi::Create::default()
                };
                *create == plain && (pair || create.peer == abi::SPAN_ANY)
            }
            abi::BACKEND_TDMOE => {
                create.peer == abi::SPAN_ANY
                    && create.mac[0] & 1 == 0
                    && create.mac != [0; 6]
                    && (1..=32).contains(&create.channels)
                    && create.clock <= abi::CLOCK_LINE
                    && create.port[0] != 0
                    && create.port[abi::PORT_NAME - 1] == 0
            }
            _ => false,
        };
        right.then_some(()).ok_or(libc::EINVAL)
    }

    fn create(&mut self, create: &mut abi::Create) -> Result<(), i32> {
        Self::check(create)?;
        let number = self.choose(create.head.span, create.peer)?;
        let pair = create.backend == abi::BACKEND_PAIR;
        let mut peer = abi::SPAN_ANY;
        if pair {
            if create.peer == number {
                return Err(libc::EINVAL);
            }
            peer = self.choose(create.peer, number)?;
        }
        let address = |c: &abi::Create| (c.port, c.mac, c.subaddress);
        let tdmoe = create.backend == abi::BACKEND_TDMOE;
        if tdmoe
            && self
                .spans
                .values()
                .any(|s| address(&s.create) == address(create))
        {
            return Err(libc::EEXIST);
        }
        self.add(number, peer, *create);
        if pair {
            self.add(peer, number, *create);
        }
        create.head.span = number;
        create.peer = peer;
        Ok(())
    }

    fn add(&mut self, number: u16, peer: u16, create: abi::Create) {
        let mut span = FakeSpan {
            create,
            ..FakeSpan::default()
        };
        span.config.framing = abi::FRAMING_CRC4;
        span.config.rx_depth = abi::DEPTH_DEFAULT;
        span.config.tx_depth = abi::DEPTH_DEFAULT;
        span.config.idle = abi::IDLE_DEFAULT;
        span.config.sa = 0x1f;
        span.status.backend = create.backend;
        span.status.peer = peer;
        span.status.alarms = abi::ALARM_LFA;
        self.spans.insert(number, span);
        self.event(number, abi::EVENT_CREATE, abi::ALARM_LFA, create.backend);
    }

    fn destroy(&mut self, number: u16) -> Result<(), i32> {
        let span = self.spans.get(&number).ok_or(libc::ENXIO)?;
        let peer = span.status.peer;
        let both = [number, peer];
        let open = |n: &u16| self.spans.get(n).is_some_and(|s| s.status.opened != 0);
        if both.iter().any(open) {
            return Err(libc::EBUSY);
        }
        for gone in both {
            if self.spans.remove(&gone).is_some() {
                self.event(gone, abi::EVENT_DESTROY, 0, 0);
            }
        }
        Ok(())
    }

    fn of_span(&mut self, request: u64, number: u16, bytes: &mut [u8]) -> Result<(), i32> {
        let span = self.spans.get(&number).ok_or(libc::ENXIO)?;
        let peer_loop = self.spans.get(&span.status.peer).map(|p| p.status.r#loop);
        let span = self.spans.get_mut(&number).ok_or(libc::ENXIO)?;
        match request {
            abi::GET_CONFIG => with(bytes, |config: &mut abi::Config| {
                let head = config.head;
                *config = abi::Config {
                    head,
                    ..span.config
                };
                Ok(())
            }),
            abi::SET_CONFIG => with(bytes, |config: &mut abi::Config| {
                let depth = abi::DEPTH_MIN..=abi::DEPTH_MAX;
                let right = config.framing <= abi::FRAMING_CRC4
                    && config.sa <= 0x1f
                    && depth.contains(&config.rx_depth)
                    && depth.contains(&config.tx_depth);
                match right {
                    false => Err(libc::EINVAL),
                    true if span.status.opened & 1 != 0 => Err(libc::EBUSY),
                    true => {
                        span.config = *config;
                        Ok(())
                    }
                }
            }),
            abi::GET_STATUS => with(bytes, |status: &mut abi::Status| {
                let head = status.head;
                *status = abi::Status {
                    head,
                    ..span.status
                };
                Ok(())
            }),
            abi::GET_COUNTERS => with(bytes, |counters: &mut abi::Counters| {
                if counters.clear > 1 || counters.reserved != 0 {
                    return Err(libc::EINVAL);
                }
                let (head, clear) = (counters.head, counters.clear);
                *counters = abi::Counters {
                    head,
                    clear,
                    ..span.counters
                };
                if clear == 1 {
                    span.counters = abi::Counters::default();
                }
                Ok(())
            }),
            abi::SET_LOOP => with(bytes, |argument: &mut abi::Loop| match argument.r#loop {
                kind if kind > abi::LOOP_PAYLOAD => Err(libc::EINVAL),
                kind if kind >= abi::LOOP_LINE && peer_loop.is_some_and(|p| p != abi::LOOP_OFF) => {
                    Err(libc::EBUSY)
                }
                kind => {
                    span.status.r#loop = kind;
                    Ok(())
                }
            }),
            _ => with(bytes, |argument: &mut abi::Inject| {
                let needs = match argument.kind {
                    abi::INJECT_FAS | abi::INJECT_RAI | abi::INJECT_LFA => abi::FRAMING_FAS,
                    abi::INJECT_CRC | abi::INJECT_EBIT | abi::INJECT_LMFA => abi::FRAMING_CRC4,
                    1..=6 | 16..=20 => abi::FRAMING_CLEAR,
                    _ => return Err(libc::EINVAL),
                };
                if span.config.framing < needs {
                    return Err(libc::EBUSY);
                }
                span.injected.insert(argument.kind, argument.amount);
                Ok(())
            }),
        }
    }
}
