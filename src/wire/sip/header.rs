//! Header names (RFC 3261 §7.3, §20 and the SIP parameters registry), known by number.
//!
//! A name is found by its length and its letters, case-insensitive; the compact forms are names of
//! one letter. A name that is not in the table is `Other` and keeps its bytes in the message.

/// One header line of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: HeaderName,
    /// As it came, `v` for a compact Via.
    pub raw_name: &'a [u8],
    /// Trimmed; a folded value keeps its line ends (see [`super::unfold`]).
    pub value: &'a [u8],
}

/// What is wrong with a header that was asked for. The peer is at fault in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    Missing(HeaderName),
    Malformed(HeaderName),
}

impl HeaderError {
    pub fn name(&self) -> HeaderName {
        match self {
            HeaderError::Missing(name) | HeaderError::Malformed(name) => *name,
        }
    }
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HeaderError::Missing(name) => write!(f, "no {} header", name.as_str()),
            HeaderError::Malformed(name) => write!(f, "malformed {} header", name.as_str()),
        }
    }
}

impl std::error::Error for HeaderError {}

macro_rules! header_names {
    ($($variant:ident $name:literal $($compact:literal)?,)*) => {
        /// A known header name, or `Other`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderName { $($variant,)* Other }

        const NAMES: &[HeaderName] = &[$(HeaderName::$variant,)*];
        const TEXTS: &[&str] = &[$($name,)*];

        impl HeaderName {
            /// The full name; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self { $(HeaderName::$variant => $name,)* HeaderName::Other => "" }
            }

            const fn from_compact(letter: u8) -> HeaderName {
                match letter {
                    $($($compact => HeaderName::$variant,)?)*
                    _ => HeaderName::Other,
                }
            }
        }
    };
}

header_names! {
    Via "Via" b'v',
    From "From" b'f',
    To "To" b't',
    CallId "Call-ID" b'i',
    CSeq "CSeq",
    Contact "Contact" b'm',
    MaxForwards "Max-Forwards",
    ContentLength "Content-Length" b'l',
    ContentType "Content-Type" b'c',
    Route "Route",
    RecordRoute "Record-Route",
    Accept "Accept",
    AcceptContact "Accept-Contact" b'a',
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" b'u',
    AnswerMode "Answer-Mode",
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallInfo "Call-Info",
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" b'e',
    ContentLanguage "Content-Language",
    Date "Date",
    Diversion "Diversion",
    Encryption "Encryption",
    ErrorInfo "Error-Info",
    Event "Event" b'o',
    Expires "Expires",
    FlowTimer "Flow-Timer",
    Geolocation "Geolocation",
    HistoryInfo "History-Info",
    Identity "Identity" b'y',
    IdentityInfo "Identity-Info" b'n',
    InReplyTo "In-Reply-To",
    InfoPackage "Info-Package",
    Join "Join",
    MaxBreadth "Max-Breadth",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    Organization "Organization",
    PAccessNetworkInfo "P-Access-Network-Info",
    PAssertedIdentity "P-Asserted-Identity",
    PAssociatedUri "P-Associated-URI",
    PCalledPartyId "P-Called-Party-ID",
    PChargingVector "P-Charging-Vector",
    PEarlyMedia "P-Early-Media",
    PPreferredIdentity "P-Preferred-Identity",
    Path "Path",
    Priority "Priority",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    RSeq "RSeq",
    Reason "Reason",
    RecvInfo "Recv-Info",
    ReferSub "Refer-Sub",
    ReferTo "Refer-To" b'r',
    ReferredBy "Referred-By" b'b',
    RejectContact "Reject-Contact" b'j',
    RemotePartyId "Remote-Party-ID",
    Replaces "Replaces",
    ReplyTo "Reply-To",
    RequestDisposition "Request-Disposition" b'd',
    Require "Require",
    RetryAfter "Retry-After",
    SecurityClient "Security-Client",
    SecurityServer "Security-Server",
    SecurityVerify "Security-Verify",
    Server "Server",
    ServiceRoute "Service-Route",
    SessionExpires "Session-Expires" b'x',
    SessionId "Session-ID",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    Subject "Subject" b's',
    SubscriptionState "Subscription-State",
    Supported "Supported" b'k',
    TargetDialog "Target-Dialog",
    Timestamp "Timestamp",
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    UserToUser "User-to-User",
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

/// Longest known name, and the most names of one length.
const LENGTH_MAX: usize = 24;
const BUCKET_MAX: usize = 16;
const NONE: u8 = u8::MAX;

/// For each length, the numbers of the names that have it.
const BY_LENGTH: [[u8; BUCKET_MAX]; LENGTH_MAX] = {
    let mut buckets = [[NONE; BUCKET_MAX]; LENGTH_MAX];
    let mut number = 0;
    while number < TEXTS.len() {
        let bucket = &mut buckets[TEXTS[number].len()];
        let mut at = 0;
        while bucket[at] != NONE {
            at += 1;
        }
        bucket[at] = number as u8;
        number += 1;
    }
    buckets
};

impl HeaderName {
    /// The name that `text` is, in any case or as compact form; `Other` when unknown.
    pub fn lookup(text: &[u8]) -> HeaderName {
        if let [letter] = text {
            return HeaderName::from_compact(letter.to_ascii_lowercase());
        }
        let Some(bucket) = BY_LENGTH.get(text.len()) else {
            return HeaderName::Other;
        };
        for number in bucket.iter().map(|number| usize::from(*number)) {
            let Some(name) = TEXTS.get(number) else {
                return HeaderName::Other;
            };
            if name.as_bytes().eq_ignore_ascii_case(text) {
                return NAMES.get(number).copied().unwrap_or(HeaderName::Other);
            }
        }
        HeaderName::Other
    }

    pub(super) const fn bit(self) -> u128 {
        match self {
            HeaderName::Other => 0,
            _ => 1 << self as u8,
        }
    }
}
