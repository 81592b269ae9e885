//! The command line of `voipctl e1`.

use crate::os::e1::abi;
use crate::os::e1::mode::{ClockSource, Fault, Framing, Loop};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

/// A parser of the words of one of [`crate::os::e1::mode`]'s enums, which completes and lists them.
macro_rules! words {
    ($type:ty) => {
        PossibleValuesParser::new(<$type>::ALL.iter().map(|one| one.word()))
            // The parser lets no other word through.
            .map(|word| <$type>::from_word(&word).unwrap_or(<$type>::ALL[0]))
    };
}

fn number() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..i64::from(abi::SPANS_MAX))
}

fn depth() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(i64::from(abi::DEPTH_MIN)..=i64::from(abi::DEPTH_MAX))
}

/// What to do with E1 spans.
#[derive(Subcommand, Debug)]
pub enum E1Verb {
    /// List the spans, their alarms and who uses them.
    List,
    /// Make spans.
    #[command(subcommand)]
    Create(CreateVerb),
    /// Remove a span; of a pair, both.
    Destroy {
        /// The span's number.
        #[arg(value_parser = number())]
        span: u16,
    },
    /// Show one span: alarms, configuration, what waits.
    Show {
        /// The span's number.
        #[arg(value_parser = number())]
        span: u16,
    },
    /// Change a span's configuration; without options, show it.
    Config {
        /// The span's number.
        #[arg(value_parser = number())]
        span: u16,
        /// What to change.
        #[command(flatten)]
        change: ConfigArgs,
    },
    /// Show what a span counted.
    Counters {
        /// The span's number.
        #[arg(value_parser = number())]
        span: u16,
        /// Set all to zero once they are read.
        #[arg(long)]
        clear: bool,
    },
    /// Loop a span back, to find where a fault is.
    Loop {
        /// The span's number.
        #[arg(value_parser = number())]
        span: u16,
        /// local: what the user sends comes back; line: what the line brings goes back, bit by bit;
        /// payload: timeslots 1 to 31 go back.
        #[arg(value_parser = words!(Loop))]
        kind: Loop,
    },
    /// Spoil what a span sends (or, with slips, receives), to see what the far end makes of it.
    Inject {
        /// The span's number.
        #[arg(value_parser = number())]
        span: u16,
        /// What to spoil.
        #[arg(value_parser = words!(Fault))]
        fault: Fault,
        /// How many errors; for los, ais, rai, lfa, lmfa: milliseconds, or "forever". 0 ends it.
        #[arg(value_parser = amount)]
        amount: u32,
    },
    /// Print events as they come, until interrupted.
    Watch {
        /// Only this span's.
        #[arg(value_parser = number())]
        span: Option<u16>,
        /// End after so many.
        #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
}

/// What to make.
#[derive(Subcommand, Debug)]
pub enum CreateVerb {
    /// Two spans whose lines are crossed: for tests, without hardware.
    Pair {
        /// Its number; any that is free without.
        #[arg(long, value_name = "N", value_parser = number())]
        span: Option<u16>,
        /// The other one's number; any that is free without.
        #[arg(long, value_name = "N", value_parser = number())]
        peer: Option<u16>,
    },
    /// A span whose line is a program's, through /dev/e1/N.line.
    Line {
        /// Its number; any that is free without.
        #[arg(long, value_name = "N", value_parser = number())]
        span: Option<u16>,
    },
    /// A span over Ethernet (type 0xd00d), through a netgraph hook.
    #[command(
        long_about = "A span over Ethernet (type 0xd00d), through a netgraph hook.\n\n\
        Attach the interface first: kldload ng_ether; ifconfig em0 up; \
        ngctl mkpeer em0: e1shim orphans em0"
    )]
    Tdmoe(TdmoeArgs),
}

/// Of `create tdmoe`.
#[derive(Args, Debug)]
pub struct TdmoeArgs {
    /// The hook's name, as ngctl mkpeer named it: em0 in the example.
    #[arg(long, value_name = "HOOK", value_parser = hook)]
    pub port: String,
    /// The far end's Ethernet address.
    #[arg(long, value_name = "ADDRESS", value_parser = mac)]
    pub mac: [u8; 6],
    /// The number in the frames that tells several spans to one address apart.
    #[arg(long, default_value_t = 0)]
    pub subaddress: u16,
    /// Timeslots 1 to N travel; with 32 timeslot 0, too.
    #[arg(long, default_value_t = 31, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub channels: u16,
    /// Whose milliseconds it has: the module's own, or the far end's.
    #[arg(long, default_value = "internal", value_parser = words!(ClockSource))]
    pub clock: ClockSource,
    /// Its number; any that is free without.
    #[arg(long, value_name = "N", value_parser = number())]
    pub span: Option<u16>,
}

/// What `config` changes; it also empties the span's rings.
#[derive(Args, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ConfigArgs {
    /// What timeslot 0 carries: the user's octets, frame alignment, or that with CRC-4.
    #[arg(long, value_parser = words!(Framing))]
    pub framing: Option<Framing>,
    /// Milliseconds that wait for the reader.
    #[arg(long, value_name = "UNITS", value_parser = depth())]
    pub rx_depth: Option<u16>,
    /// Milliseconds that the writer may be ahead.
    #[arg(long, value_name = "UNITS", value_parser = depth())]
    pub tx_depth: Option<u16>,
    /// Octet sent when the writer is late, such as 0xd5.
    #[arg(long, value_name = "OCTET", value_parser = octet)]
    pub idle: Option<u8>,
    /// Bits Sa4 (0x10) to Sa8 (0x01) to send; 0x1f where unused.
    #[arg(long, value_name = "BITS", value_parser = sa_bits)]
    pub sa: Option<u8>,
}

fn octet(text: &str) -> Result<u8, String> {
    let parsed = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u8::from_str_radix(digits, 16),
        _ => text.parse(),
    };
    parsed.map_err(|_| "not a number from 0 to 255 (0x00 to 0xff)".into())
}

fn sa_bits(text: &str) -> Result<u8, String> {
    let bits = octet(text).ok().filter(|bits| *bits <= 0x1f);
    bits.ok_or_else(|| "not a number from 0x00 to 0x1f".into())
}

fn amount(text: &str) -> Result<u32, String> {
    match text {
        "forever" => Ok(abi::INJECT_FOREVER),
        // The largest number means for ever, and only the word says so.
        _ => text
            .parse()
            .ok()
            .filter(|n| *n != abi::INJECT_FOREVER)
            .ok_or_else(|| "neither a number nor \"forever\"".into()),
    }
}

fn hook(text: &str) -> Result<String, String> {
    let longest = abi::PORT_NAME - 1;
    // ng_message.h: names of hooks; a colon and a dot belong to netgraph's paths (netgraph(4)).
    let bad = |c: char| !c.is_ascii_graphic() || matches!(c, ':' | '.' | '[' | ']');
    match text {
        "" => Err("empty".into()),
        _ if text.len() > longest => Err(format!("longer than {longest} characters")),
        _ if text.contains(bad) => Err("not a hook's name".into()),
        _ => Ok(text.into()),
    }
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || "not an Ethernet address such as 02:00:5e:10:00:01".to_string();
    let mut address = [0; 6];
    let mut parts = text.split(':');
    for place in &mut address {
        let part = parts.next().filter(|p| matches!(p.len(), 1 | 2));
        let part = part.filter(|p| p.chars().all(|c| c.is_ascii_hexdigit()));
        *place = part
            .and_then(|p| u8::from_str_radix(p, 16).ok())
            .ok_or_else(wrong)?;
    }
    if parts.next().is_some() {
        return Err(wrong());
    }
    if address[0] & 1 != 0 || address == [0; 6] {
        return Err("an address of a group, or of nobody: name one station's".into());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_named() {
        assert_eq!(octet("0xD5"), Ok(0xd5));
        assert_eq!(octet("213"), Ok(213));
        for bad in ["", "0x", "0x+5", "256", "0x100", "-1", "d5"] {
            assert!(octet(bad).is_err(), "{bad}");
        }
        assert_eq!(sa_bits("0x1f"), Ok(0x1f));
        assert!(sa_bits("32").is_err());
        assert_eq!(amount("forever"), Ok(abi::INJECT_FOREVER));
        assert_eq!(amount("12"), Ok(12));
        for bad in ["4294967295", "4294967296", "-1", "ever", ""] {
            assert!(amount(bad).is_err(), "{bad}");
        }
        assert_eq!(mac("02:0:5E:10:00:01"), Ok([2, 0, 0x5e, 0x10, 0, 1]));
        for bad in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "02:00:5e:10:00:001",
            "02:00:5e:10:00:0g",
            "02:00:5e:10:00:+1",
            "03:00:5e:10:00:01",
            "ff:ff:ff:ff:ff:ff",
            "0:0:0:0:0:0",
        ] {
            assert!(mac(bad).is_err(), "{bad}");
        }
        assert_eq!(hook("em0"), Ok("em0".into()));
        assert_eq!(hook(&"x".repeat(31)), Ok("x".repeat(31)));
        for bad in ["", "em 0", "em0:", "ñ", &"x".repeat(32)] {
            assert!(hook(bad).is_err(), "{bad}");
        }
    }
}
