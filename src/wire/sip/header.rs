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
    XVoipAccount "X-Voip-Account",
}

const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;

/// Length and three letters, in no case: no two known names share a slot, or this does not compile.
const fn slot(text: &[u8]) -> usize {
    let length = text.len();
    if length == 0 {
        return 0;
    }
    let first = (text[0] | 0x20) as usize;
    let middle = (text[length / 2] | 0x20) as usize;
    let last = (text[length - 1] | 0x20) as usize;
    (length * 43 + first * 57 + last * 50 + middle * 54) % SLOTS
}

/// For each slot, the number of the name that is there.
const TABLE: [u8; SLOTS] = {
    let mut table = [EMPTY; SLOTS];
    let mut number = 0;
    while number < TEXTS.len() {
        let slot = slot(TEXTS[number].as_bytes());
        assert!(
            table[slot] == EMPTY,
            "two names in one slot: choose other factors"
        );
        table[slot] = number as u8;
        number += 1;
    }
    table
};

impl HeaderName {
    /// The name that `text` is, in any case or as compact form; `Other` when unknown.
    pub fn lookup(text: &[u8]) -> HeaderName {
        if let [letter] = text {
            return HeaderName::from_compact(letter.to_ascii_lowercase());
        }
        let number = TABLE
            .get(slot(text))
            .copied()
            .map_or(usize::MAX, usize::from);
        match (TEXTS.get(number), NAMES.get(number)) {
            (Some(known), Some(name)) if same_name(known.as_bytes(), text) => *name,
            _ => HeaderName::Other,
        }
    }

    pub(super) const fn bit(self) -> u128 {
        match self {
            HeaderName::Other => 0,
            _ => 1 << self as u8,
        }
    }
}

/// Most peers write a name as the RFC does: compare that first.
fn same_name(known: &[u8], text: &[u8]) -> bool {
    known == text || known.eq_ignore_ascii_case(text)
}
