//! The names by which commands set and clear features.

use super::{Change, Refusal};

/// Every key, what is given with it, and what it does.
pub const KEYS: &[(&str, &str, &str)] = &[
    ("forward-always", "NUMBER|URI", "where every call goes"),
    (
        "forward-busy",
        "NUMBER|URI",
        "where calls go when the user is busy",
    ),
    (
        "forward-no-answer",
        "NUMBER|URI",
        "where calls go when nobody answers",
    ),
    (
        "forward-unregistered",
        "NUMBER|URI",
        "where calls go when no phone is registered",
    ),
    (
        "ring-seconds",
        "SECONDS",
        "how long phones ring before nobody answers",
    ),
    (
        "ringback",
        "music|tone:CC|PROMPT",
        "what callers hear while the phones ring",
    ),
    ("dnd", "on|off", "do not disturb"),
    (
        "reject-anonymous",
        "on|off",
        "whether anonymous callers are refused",
    ),
    (
        "block",
        "PATTERN",
        "refuse a caller: NUMBER, BEGINNING*, NAME@HOST or @HOST",
    ),
    ("speed-NN", "NUMBER|URI", "what the short code NN dials"),
];

impl Change {
    /// What `feature set USER KEY VALUE` means.
    pub fn set(key: &str, value: &str) -> Result<Self, Refusal> {
        let key = named(key);
        let to = || Some(value.into());
        Ok(match key.as_str() {
            "forward-always" => Change::ForwardAlways(to()),
            "forward-busy" => Change::ForwardBusy(to()),
            "forward-no-answer" => Change::ForwardNoAnswer(to()),
            "forward-unregistered" => Change::ForwardUnregistered(to()),
            "ring-seconds" => {
                let seconds = value.parse();
                let no_number =
                    |_| Refusal::new(400, format!("\"{value}\" Is No Number of Seconds"));
                Change::RingSeconds(Some(seconds.map_err(no_number)?))
            }
            "ringback" => Change::RingBack(to()),
            "dnd" => Change::Dnd(switch(value)?),
            "reject-anonymous" => Change::RejectAnonymous(switch(value)?),
            "block" => Change::Block(value.into()),
            other => Change::Speed(speed(other)?, to()),
        })
    }

    /// What `feature clear USER KEY [VALUE]` means: `block` without a value ends all of the black
    /// list, `speed` all speed dials, `all` everything.
    pub fn clear(key: &str, value: Option<&str>) -> Result<Self, Refusal> {
        let key = named(key);
        if let Some(value) = value {
            return match key.as_str() {
                "block" => Ok(Change::Unblock(value.into())),
                _ => Err(Refusal::new(400, format!("Clearing {key} Takes No Value"))),
            };
        }
        Ok(match key.as_str() {
            "forward-always" => Change::ForwardAlways(None),
            "forward-busy" => Change::ForwardBusy(None),
            "forward-no-answer" => Change::ForwardNoAnswer(None),
            "forward-unregistered" => Change::ForwardUnregistered(None),
            "ring-seconds" => Change::RingSeconds(None),
            "ringback" => Change::RingBack(None),
            "dnd" => Change::Dnd(false),
            "reject-anonymous" => Change::RejectAnonymous(false),
            "block" => Change::UnblockAll,
            "speed" => Change::SpeedForgetAll,
            "all" => Change::Clear,
            other => Change::Speed(speed(other)?, None),
        })
    }
}

/// As rows of `--json` name it, or as commands do.
fn named(key: &str) -> String {
    key.to_ascii_lowercase().replace('_', "-")
}

fn switch(value: &str) -> Result<bool, Refusal> {
    match value {
        "on" | "yes" | "true" => Ok(true),
        "off" | "no" | "false" => Ok(false),
        _ => Err(Refusal::new(
            400,
            format!("\"{value}\" Is Neither on nor off"),
        )),
    }
}

/// `speed-07`
fn speed(key: &str) -> Result<u8, Refusal> {
    let Some(digits) = key.strip_prefix("speed-") else {
        let keys: Vec<&str> = KEYS.iter().map(|(key, ..)| *key).collect();
        let reason = format!("No Feature \"{key}\"; There Are {}", keys.join(", "));
        return Err(Refusal::new(400, reason));
    };
    let good = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| good);
    number.ok_or_else(|| Refusal::new(400, "Speed Dials Are speed-00 to speed-99"))
}
