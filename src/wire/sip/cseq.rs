//! CSeq (RFC 3261 §20.16): a number below 2^31 and a method.

use super::{HeaderError, HeaderName, Method, scan};

/// RFC 3261 §8.1.1.5: "The sequence number value MUST be expressible as a 32-bit unsigned integer
/// and MUST be less than 2**31."
const NUMBER_LIMIT: u32 = 1 << 31;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    pub number: u32,
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, HeaderError> {
        let (digits, rest) = scan::take_while(scan::trim(value), |byte| byte.is_ascii_digit());
        let token = scan::trim_start(rest);
        let number = scan::decimal(digits).filter(|number| *number < NUMBER_LIMIT);
        match (number, Method::parse(token)) {
            (Some(number), Some(method)) if token.len() < rest.len() => Ok(CSeq { number, method }),
            _ => Err(HeaderError::Malformed(HeaderName::CSeq)),
        }
    }
}
