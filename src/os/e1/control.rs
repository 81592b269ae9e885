//! The requests of e1shim(4), typed, over whatever carries them: /dev/e1/ctl on FreeBSD, a stand-in
//! in tests. Requests and errors are those of e1shim.h.

use super::abi::{self, Argument, Head, Plain};
use super::mode::{Fault, Loop};
use std::io;

/// Something that answers as /dev/e1/ctl (or, but for making and removing, /dev/e1/N) does.
pub trait Ctl {
    /// ioctl(2). `argument` is as long as the request's number says, and is written to.
    fn ioctl(&mut self, request: u64, argument: &mut [u8]) -> io::Result<()>;

    /// read(2): events, as many whole ones as fit; waits for one, unless it is non-blocking.
    fn read(&mut self, events: &mut [u8]) -> io::Result<usize>;
}

impl<C: Ctl + ?Sized> Ctl for Box<C> {
    fn ioctl(&mut self, request: u64, argument: &mut [u8]) -> io::Result<()> {
        (**self).ioctl(request, argument)
    }

    fn read(&mut self, events: &mut [u8]) -> io::Result<usize> {
        (**self).read(events)
    }
}

impl<C: Ctl + ?Sized> Ctl for &mut C {
    fn ioctl(&mut self, request: u64, argument: &mut [u8]) -> io::Result<()> {
        (**self).ioctl(request, argument)
    }

    fn read(&mut self, events: &mut [u8]) -> io::Result<usize> {
        (**self).read(events)
    }
}

/// Events that are read at once.
const EVENTS_AT_ONCE: usize = 32;

/// Bytes of one event.
pub const EVENT_BYTES: usize = size_of::<abi::Event>();

/// The module's requests.
#[derive(Debug)]
pub struct Control<C>(pub C);

impl<C: Ctl> Control<C> {
    fn request<A: Argument>(&mut self, request: u64, span: u16, argument: A) -> io::Result<A> {
        assert_eq!(abi::argument_size(request), size_of::<A>(), "our mistake");
        let mut argument = argument;
        *argument.head_mut() = Head {
            version: abi::ABI_VERSION,
            span,
            reserved: 0,
        };
        self.0.ioctl(request, argument.bytes_mut())?;
        Ok(argument)
    }

    /// Which spans there are, and the module's version.
    pub fn list(&mut self) -> io::Result<abi::List> {
        self.request(abi::LIST, 0, abi::List::default())
    }

    /// Makes the span `number`, or any with [`abi::SPAN_ANY`]; its number and its peer's are in the
    /// answer.
    pub fn create(&mut self, number: u16, wanted: abi::Create) -> io::Result<abi::Create> {
        self.request(abi::CREATE, number, wanted)
    }

    /// Removes a span; of a pair, both.
    pub fn destroy(&mut self, span: u16) -> io::Result<()> {
        let argument = abi::Span::default();
        self.request(abi::DESTROY, span, argument).map(drop)
    }

    /// Framing, rings, idle octet, Sa bits.
    pub fn config(&mut self, span: u16) -> io::Result<abi::Config> {
        self.request(abi::GET_CONFIG, span, abi::Config::default())
    }

    /// Changes all of them, and empties the rings.
    pub fn set_config(&mut self, span: u16, config: abi::Config) -> io::Result<()> {
        self.request(abi::SET_CONFIG, span, config).map(drop)
    }

    /// Alarms, loop, backend, fill of the rings.
    pub fn status(&mut self, span: u16) -> io::Result<abi::Status> {
        self.request(abi::GET_STATUS, span, abi::Status::default())
    }

    /// What was counted; afterwards all is zero, with `clear`.
    pub fn counters(&mut self, span: u16, clear: bool) -> io::Result<abi::Counters> {
        let argument = abi::Counters {
            clear: clear.into(),
            ..abi::Counters::default()
        };
        self.request(abi::GET_COUNTERS, span, argument)
    }

    /// Sets the loop.
    pub fn set_loop(&mut self, span: u16, kind: Loop) -> io::Result<()> {
        let argument = abi::Loop {
            r#loop: kind.number(),
            ..abi::Loop::default()
        };
        self.request(abi::SET_LOOP, span, argument).map(drop)
    }

    /// Spoils what is sent, or what is received with slips.
    pub fn inject(&mut self, span: u16, fault: Fault, amount: u32) -> io::Result<()> {
        let argument = abi::Inject {
            kind: fault.number(),
            amount,
            ..abi::Inject::default()
        };
        self.request(abi::INJECT, span, argument).map(drop)
    }

    /// What a unit written to N.line cannot say; on N.line only.
    pub fn line_state(&mut self, span: u16, signal: bool, code_errors: u32) -> io::Result<()> {
        let argument = abi::LineState {
            signal: signal.into(),
            code_errors,
            ..abi::LineState::default()
        };
        self.request(abi::LINE_STATE, span, argument).map(drop)
    }

    /// The events that wait, at least one where reading waits. None at the end.
    pub fn events(&mut self) -> io::Result<Vec<abi::Event>> {
        let mut bytes = [0; EVENTS_AT_ONCE * EVENT_BYTES];
        let count = self.0.read(&mut bytes)?;
        let read = bytes.get(..count).unwrap_or(&bytes);
        let events: Vec<abi::Event> = read
            .chunks_exact(EVENT_BYTES)
            .filter_map(abi::Event::from_bytes)
            .collect();
        match events.iter().all(|e| e.version == abi::ABI_VERSION) {
            true => Ok(events),
            false => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }
}
