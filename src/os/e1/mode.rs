//! The words for what the module knows by number: as the operator types them, and as JSON has them.

use super::abi;
use crate::pri::Alarms;

/// Makes an enum whose variants have a word and a number of e1shim.h.
macro_rules! words {
    ($($(#[$about:meta])* $name:ident: $type:ty {
        $($(#[$variant_about:meta])* $variant:ident = $word:literal, $number:path;)*
    })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$variant_about])* $variant,)* }

        impl $name {
            /// Every one.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// Its word.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// Its number in e1shim.h.
            pub const fn number(self) -> $type {
                match self { $($name::$variant => $number,)* }
            }

            /// `None` for a word that is none of them.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.word() == word)
            }

            /// `None` for a number that this program does not know.
            pub fn from_number(number: $type) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.number() == number)
            }
        }
    )*};
}

words! {
    /// What stands behind a span's line.
    Backend: u32 {
        /// Another span.
        Pair = "pair", abi::BACKEND_PAIR;
        /// A program.
        Line = "line", abi::BACKEND_LINE;
        /// TDM over Ethernet.
        Tdmoe = "tdmoe", abi::BACKEND_TDMOE;
    }
    /// What timeslot 0 carries.
    Framing: u32 {
        /// The user's octets.
        Clear = "clear", abi::FRAMING_CLEAR;
        /// The frame alignment word.
        Fas = "fas", abi::FRAMING_FAS;
        /// That, and CRC-4.
        Crc4 = "crc4", abi::FRAMING_CRC4;
    }
    /// Whose milliseconds a TDMoE span has.
    ClockSource: u32 {
        /// The module's.
        Internal = "internal", abi::CLOCK_INTERNAL;
        /// The far end's.
        Line = "line", abi::CLOCK_LINE;
    }
    /// What comes back.
    Loop: u32 {
        /// Nothing.
        Off = "off", abi::LOOP_OFF;
        /// To the user.
        Local = "local", abi::LOOP_LOCAL;
        /// To the line, whole.
        Line = "line", abi::LOOP_LINE;
        /// To the line, without timeslot 0.
        Payload = "payload", abi::LOOP_PAYLOAD;
    }
    /// What can be spoilt.
    Fault: u32 {
        /// Frame alignment words.
        Fas = "fas", abi::INJECT_FAS;
        /// CRC-4 blocks.
        Crc = "crc", abi::INJECT_CRC;
        /// The line code.
        Code = "code", abi::INJECT_CODE;
        /// E bits.
        Ebit = "ebit", abi::INJECT_EBIT;
        /// Units taken out.
        SlipDelete = "slip-delete", abi::INJECT_SLIP_DELETE;
        /// Units given twice.
        SlipRepeat = "slip-repeat", abi::INJECT_SLIP_REPEAT;
        /// No signal.
        Los = "los", abi::INJECT_LOS;
        /// All ones.
        Ais = "ais", abi::INJECT_AIS;
        /// The A bit.
        Rai = "rai", abi::INJECT_RAI;
        /// All frame alignment words.
        Lfa = "lfa", abi::INJECT_LFA;
        /// All multiframe alignment words.
        Lmfa = "lmfa", abi::INJECT_LMFA;
    }
    /// What an event tells.
    EventKind: u16 {
        /// Alarms changed.
        Alarm = "alarm", abi::EVENT_ALARM;
        /// Units were lost or repeated.
        Slip = "slip", abi::EVENT_SLIP;
        /// A span was made.
        Create = "create", abi::EVENT_CREATE;
        /// A span is gone.
        Destroy = "destroy", abi::EVENT_DESTROY;
        /// The clock left milliseconds out.
        Clock = "clock", abi::EVENT_CLOCK;
    }
}

impl Fault {
    /// Whether its amount is milliseconds, and may be for ever; else a number of errors.
    pub const fn lasts(self) -> bool {
        match self {
            Fault::Los | Fault::Ais | Fault::Rai | Fault::Lfa | Fault::Lmfa => true,
            Fault::Fas | Fault::Crc | Fault::Code | Fault::Ebit => false,
            Fault::SlipDelete | Fault::SlipRepeat => false,
        }
    }

    /// The least framing that has what it spoils.
    pub const fn needs(self) -> Framing {
        match self {
            Fault::Fas | Fault::Rai | Fault::Lfa => Framing::Fas,
            Fault::Crc | Fault::Ebit | Fault::Lmfa => Framing::Crc4,
            Fault::Code | Fault::Los | Fault::Ais | Fault::SlipDelete | Fault::SlipRepeat => {
                Framing::Clear
            }
        }
    }
}

/// The word of a number, or the number itself where a later module has more.
pub fn word_or_number(word: Option<&'static str>, number: impl Into<u64>) -> String {
    word.map_or_else(|| number.into().to_string(), str::to_string)
}

/// Alarms in small letters, as JSON has them.
pub fn alarm_words(bits: u32) -> Vec<String> {
    let alarms = Alarms::from_bits(bits);
    alarms.iter().map(|a| a.name().to_lowercase()).collect()
}
