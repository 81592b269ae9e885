//! kmod/e1shim/e1shim.h in Rust: sizes, constants, ioctl numbers, structures. Compiled everywhere;
//! `tests/e1_abi.rs` holds every field and constant of it against the header.

/// A field, as C's offsetof and sizeof see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// As in C.
    pub name: &'static str,
    /// In bytes.
    pub offset: usize,
    /// In bytes.
    pub size: usize,
}

/// A structure with all of its fields, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Structure {
    /// As in C, without `struct`.
    pub name: &'static str,
    /// In bytes.
    pub size: usize,
    /// Every one.
    pub fields: &'static [Field],
}

/// A structure of the header: fixed layout, no padding, and any bytes are a value of it.
///
/// # Safety
/// `repr(C)`, integers and arrays of integers only, no gap between fields.
#[allow(unsafe_code)]
pub unsafe trait Plain: Copy + Default {
    /// Its bytes, to be read and written by the kernel.
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the trait promises that every byte is initialised, and that any bytes are valid.
        unsafe { std::slice::from_raw_parts_mut((&raw mut *self).cast::<u8>(), size_of::<Self>()) }
    }

    /// From as many bytes as it has; `None` from more or fewer.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut value = Self::default();
        let place = value.bytes_mut();
        (bytes.len() == place.len()).then(|| place.copy_from_slice(bytes))?;
        Some(value)
    }
}

/// The argument of a request: it begins with a [`Head`].
pub trait Argument: Plain {
    /// The first eight bytes.
    fn head_mut(&mut self) -> &mut Head;
}

/// Makes the structures, and the list of them that the test reads: no field can be left out.
macro_rules! structures {
    ($($(#[$about:meta])* $c:literal $name:ident {
        $($(#[$field_about:meta])* $field:ident : $type:ty,)*
    })*) => {
        $(
            $(#[$about])*
            #[repr(C)]
            #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
            pub struct $name { $($(#[$field_about])* pub $field: $type,)* }

            const _: () = assert!(0 $(+ size_of::<$type>())* == size_of::<$name>(), "a gap");

            // SAFETY: integers and arrays of them, and the assertion above finds no gap.
            #[allow(unsafe_code)]
            unsafe impl Plain for $name {}
        )*

        /// Every structure of the header.
        pub const STRUCTURES: &[Structure] = &[$(Structure {
            name: $c,
            size: size_of::<$name>(),
            fields: &[$(Field {
                name: stringify!($field),
                offset: std::mem::offset_of!($name, $field),
                size: size_of::<$type>(),
            },)*],
        },)*];
    };
}

/// Makes the constants, and the list of them that the test reads.
macro_rules! constants {
    ($($(#[$about:meta])* $name:ident : $type:ty = $value:expr;)*) => {
        $($(#[$about])* pub const $name: $type = $value;)*

        /// Every constant of the header, with the name that it has there.
        pub const CONSTANTS: &[(&str, u64)] =
            &[$((concat!("E1_", stringify!($name)), $name as u64),)*];
    };
}

structures! {
    /// The first 8 bytes of every request.
    "e1_head" Head {
        /// [`ABI_VERSION`].
        version: u32,
        /// Which span.
        span: u16,
        /// 0.
        reserved: u16,
    }
    /// Argument of [`CREATE`].
    "e1_create" Create {
        /// In: the number wanted, or [`SPAN_ANY`]; out: the number.
        head: Head,
        /// BACKEND_*.
        backend: u32,
        /// Pair: the other span's number; else [`SPAN_ANY`].
        peer: u16,
        /// TDMoE: the address in the frame.
        subaddress: u16,
        /// TDMoE: where frames go and come from.
        mac: [u8; 6],
        /// TDMoE: 1 to 31: timeslots 1 to n; 32: timeslot 0 too.
        channels: u16,
        /// TDMoE: CLOCK_*.
        clock: u32,
        /// TDMoE: name of the netgraph hook, zero-filled.
        port: [u8; PORT_NAME],
    }
    /// Argument of [`DESTROY`].
    "e1_span" Span {
        /// Which.
        head: Head,
    }
    /// Argument of [`LIST`].
    "e1_list" List {
        /// The span is ignored.
        head: Head,
        /// Bit N: span N is there.
        present: u64,
        /// [`SPANS_MAX`] of the module.
        spans_max: u32,
        /// 10000 * major + 100 * minor.
        module_version: u32,
    }
    /// Argument of [`GET_CONFIG`] and [`SET_CONFIG`].
    "e1_config" Config {
        /// Which.
        head: Head,
        /// FRAMING_*.
        framing: u32,
        /// Units that wait for read(2).
        rx_depth: u16,
        /// Units that write(2) may be ahead.
        tx_depth: u16,
        /// Octet sent in timeslots 1 to 31 when the user is late.
        idle: u8,
        /// Sa4 (0x10) to Sa8 (0x01) to send.
        sa: u8,
        /// 0.
        reserved: u16,
        /// 0.
        reserved2: u32,
    }
    /// Argument of [`GET_STATUS`].
    "e1_status" Status {
        /// Which.
        head: Head,
        /// ALARM_* seen now.
        alarms: u32,
        /// Alarms that are sent now.
        sent: u32,
        /// LOOP_*.
        r#loop: u32,
        /// BACKEND_*.
        backend: u32,
        /// Pair: the other span; else [`SPAN_ANY`].
        peer: u16,
        /// Sa bits received last.
        sa: u8,
        /// 1: /dev/e1/N is open; 2: N.line is; 3: both.
        opened: u8,
        /// Units waiting for read(2).
        rx_fill: u16,
        /// Units waiting to be sent.
        tx_fill: u16,
        /// Units that the span's clock has passed.
        uptime_ms: u64,
    }
    /// Argument of [`GET_COUNTERS`].
    "e1_counters" Counters {
        /// Which.
        head: Head,
        /// In: 1: set all to 0 once they are read.
        clear: u32,
        /// 0.
        reserved: u32,
        /// Units from the line.
        rx_units: u64,
        /// Units to the line.
        tx_units: u64,
        /// Frame alignment words with a wrong bit, while aligned.
        fas: u64,
        /// Sub-multiframes with a wrong CRC-4.
        crc: u64,
        /// E bits received as 0.
        ebit: u64,
        /// Violations of the line code.
        code: u64,
        /// Units lost since read(2) came too late.
        slip_rx_delete: u64,
        /// Units given twice, or idle, since the line was late.
        slip_rx_repeat: u64,
        /// Idle units sent since write(2) came too late.
        slip_tx_idle: u64,
        /// Times that the alarm began.
        los: u64,
        /// Times that the alarm began.
        ais: u64,
        /// Times that the alarm began.
        rai: u64,
        /// Times that the alarm began.
        lfa: u64,
        /// Times that the alarm began.
        lmfa: u64,
        /// Milliseconds that the clock left out.
        clock_skip_ms: u64,
        /// TDMoE frames received.
        net_rx: u64,
        /// TDMoE frames handed to the network.
        net_tx: u64,
        /// TDMoE frames dropped: lying length, wrong form.
        net_bad: u64,
        /// Gaps in the sequence, in frames.
        net_lost: u64,
        /// TDMoE frames out of order, dropped.
        net_late: u64,
        /// TDMoE frames not sent; line: units that N.line did not read.
        net_tx_fail: u64,
    }
    /// Argument of [`SET_LOOP`].
    "e1_loop" Loop {
        /// Which.
        head: Head,
        /// LOOP_*.
        r#loop: u32,
        /// 0.
        reserved: u32,
    }
    /// Argument of [`INJECT`].
    "e1_inject" Inject {
        /// Which.
        head: Head,
        /// INJECT_*.
        kind: u32,
        /// Errors or milliseconds.
        amount: u32,
    }
    /// Argument of [`LINE_STATE`].
    "e1_line_state" LineState {
        /// Which.
        head: Head,
        /// 1: units written carry a signal; 0: the line is dead.
        signal: u32,
        /// Violations of the line code to add.
        code_errors: u32,
    }
    /// One event, as read(2) of /dev/e1/ctl gives it.
    "e1_event" Event {
        /// CLOCK_MONOTONIC.
        time_ns: u64,
        /// [`ABI_VERSION`].
        version: u32,
        /// Events lost to this reader just before this one.
        lost: u32,
        /// Which span.
        span: u16,
        /// EVENT_*.
        r#type: u16,
        /// Alarms of the span after the event.
        alarms: u32,
        /// See EVENT_*.
        value: u32,
        /// 0.
        reserved: u32,
    }
}

macro_rules! arguments {
    ($($name:ident)*) => {
        $(impl Argument for $name {
            fn head_mut(&mut self) -> &mut Head {
                &mut self.head
            }
        })*
    };
}

arguments! { Create Span List Config Status Counters Loop Inject LineState }

/// What <sys/ioccom.h> makes of _IOWR('E', number, type).
const fn iowr<T>(number: u64) -> u64 {
    0xc000_0000 | ((size_of::<T>() as u64) << 16) | 0x4500 | number
}

/// The length that a request's number carries (IOCPARM_LEN of <sys/ioccom.h>).
pub const fn argument_size(request: u64) -> usize {
    (request >> 16 & 0x1fff) as usize
}

constants! {
    /// Version of everything here.
    ABI_VERSION: u32 = 1;
    /// Frames of 125 microseconds in a unit.
    UNIT_FRAMES: usize = 8;
    /// Timeslots in a frame.
    TIMESLOTS: usize = 32;
    /// Bytes in a unit.
    UNIT_BYTES: usize = UNIT_FRAMES * TIMESLOTS;
    /// Spans are numbered from 0 to one less.
    SPANS_MAX: u16 = 32;
    /// Any free span; no peer.
    SPAN_ANY: u16 = 0xffff;
    /// Least units that a ring may hold.
    DEPTH_MIN: u16 = 2;
    /// Most units that a ring may hold.
    DEPTH_MAX: u16 = 256;
    /// What a ring holds when nobody asks.
    DEPTH_DEFAULT: u16 = 64;
    /// Events kept for readers.
    EVENTS_KEPT: usize = 256;
    /// Octet of idle timeslots when nobody asks.
    IDLE_DEFAULT: u8 = 0xd5;
    /// Bytes of a hook's name, with the closing zero.
    PORT_NAME: usize = 32;
    /// Two spans whose lines are crossed.
    BACKEND_PAIR: u32 = 1;
    /// A driver in userland.
    BACKEND_LINE: u32 = 2;
    /// TDM over Ethernet.
    BACKEND_TDMOE: u32 = 3;
    /// All timeslots are the user's.
    FRAMING_CLEAR: u32 = 0;
    /// Frame alignment word, no CRC-4.
    FRAMING_FAS: u32 = 1;
    /// Frame alignment and CRC-4 multiframe.
    FRAMING_CRC4: u32 = 2;
    /// TDMoE: the module's own milliseconds.
    CLOCK_INTERNAL: u32 = 0;
    /// TDMoE: each frame received moves the span on.
    CLOCK_LINE: u32 = 1;
    /// Loss of signal.
    ALARM_LOS: u32 = 0x01;
    /// Alarm indication signal.
    ALARM_AIS: u32 = 0x02;
    /// Remote alarm indication.
    ALARM_RAI: u32 = 0x04;
    /// Loss of frame alignment.
    ALARM_LFA: u32 = 0x08;
    /// Loss of CRC-4 multiframe alignment.
    ALARM_LMFA: u32 = 0x10;
    /// Every alarm.
    ALARM_ALL: u32 = 0x1f;
    /// No loop.
    LOOP_OFF: u32 = 0;
    /// What the user sends comes back to the user.
    LOOP_LOCAL: u32 = 1;
    /// What the line brings goes back, bit by bit.
    LOOP_LINE: u32 = 2;
    /// Timeslots 1 to 31 from the line go back.
    LOOP_PAYLOAD: u32 = 3;
    /// Wrong frame alignment words.
    INJECT_FAS: u32 = 1;
    /// Sub-multiframes with a wrong CRC-4.
    INJECT_CRC: u32 = 2;
    /// Violations of the line code.
    INJECT_CODE: u32 = 3;
    /// E bits sent as 0.
    INJECT_EBIT: u32 = 4;
    /// Units taken out of what is received.
    INJECT_SLIP_DELETE: u32 = 5;
    /// Units given twice in what is received.
    INJECT_SLIP_REPEAT: u32 = 6;
    /// No signal.
    INJECT_LOS: u32 = 16;
    /// All ones.
    INJECT_AIS: u32 = 17;
    /// The A bit set.
    INJECT_RAI: u32 = 18;
    /// Every frame alignment word wrong.
    INJECT_LFA: u32 = 19;
    /// Every multiframe alignment word wrong.
    INJECT_LMFA: u32 = 20;
    /// Never ends by itself.
    INJECT_FOREVER: u32 = 0xffff_ffff;
    /// Alarms changed: `value` is the bits that did.
    EVENT_ALARM: u16 = 1;
    /// Units were lost or repeated: `value` of them.
    EVENT_SLIP: u16 = 2;
    /// A span was made; `value` is its backend.
    EVENT_CREATE: u16 = 3;
    /// A span is gone.
    EVENT_DESTROY: u16 = 4;
    /// `value` milliseconds were left out.
    EVENT_CLOCK: u16 = 5;
    /// Makes a span, or two for a pair.
    CREATE: u64 = iowr::<Create>(1);
    /// Removes a span, or the pair.
    DESTROY: u64 = iowr::<Span>(2);
    /// Which spans are there.
    LIST: u64 = iowr::<List>(3);
    /// Reads the configuration.
    GET_CONFIG: u64 = iowr::<Config>(4);
    /// Changes the configuration; empties both rings.
    SET_CONFIG: u64 = iowr::<Config>(5);
    /// Reads alarms, loop, fill.
    GET_STATUS: u64 = iowr::<Status>(6);
    /// Reads the counters, and clears them if asked.
    GET_COUNTERS: u64 = iowr::<Counters>(7);
    /// Sets the loop.
    SET_LOOP: u64 = iowr::<Loop>(8);
    /// Spoils what is sent.
    INJECT: u64 = iowr::<Inject>(9);
    /// N.line only.
    LINE_STATE: u64 = iowr::<LineState>(10);
}
