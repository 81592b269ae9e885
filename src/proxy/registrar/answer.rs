//! The 200 to a REGISTER (RFC 3261 §10.3 step 8): all contacts there are now.

use super::contacts::supports;
use super::{Registrar, Registration};
use crate::base::Instant;
use crate::location::{Binding, Bindings, Updated};
use crate::proxy::gruu::GruuMint;
use crate::proxy::outbound;
use crate::wire::sip::{HeaderName, ResponseBuilder};
use bytes::Bytes;
use smallvec::SmallVec;
use std::io::Write;

/// What may be sent to us and through us.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, \
                         SUBSCRIBE, NOTIFY, REFER, MESSAGE, PUBLISH";
const SUPPORTED: &str = "path, outbound, gruu";

impl Registrar {
    pub(super) fn accept(&mut self, r: &Registration<'_>, updated: &Updated) -> Bytes {
        let gruus = supports(r.message, "gruu").then_some(&self.gruus);
        let ends = write_contacts(&updated.bindings, r.now, gruus, &mut self.lines);
        let mut builder = ResponseBuilder::new(r.message, 200).to_tag(r.to_tag);
        let mut start = 0;
        for end in ends {
            builder = builder.header(
                HeaderName::Contact,
                self.lines.get(start..end).unwrap_or_default(),
            );
            start = end;
        }
        for path in self.path.split('\n').filter(|p| !p.is_empty()) {
            builder = builder.header(HeaderName::Path, path);
        }
        for route in &self.service_routes {
            builder = builder.header(HeaderName::ServiceRoute, route);
        }
        // RFC 5626 §6: says that the flow was taken as one.
        let flows = updated.bindings.iter().filter(|b| b.is_outbound());
        let of_this =
            |b: &Binding| b.call_id().as_bytes() == r.message.call_id() && b.flow() == r.flow;
        if flows.clone().any(|b| of_this(b)) {
            builder = builder.header(HeaderName::Require, "outbound");
            let idle = r.config.timers.connection_idle;
            if let Some(seconds) = outbound::flow_timer(r.flow, !self.path.is_empty(), idle) {
                builder = builder.header(HeaderName::FlowTimer, seconds.to_string());
            }
        }
        builder
            .header(HeaderName::Supported, SUPPORTED)
            .header(HeaderName::Allow, ALLOW)
            .header(HeaderName::Date, self.date.at(r.anchor.unix_seconds(r.now)))
            .render()
    }
}

/// Writes a Contact value per binding into `out`; gives their ends.
fn write_contacts(
    bindings: &Bindings,
    now: Instant,
    gruus: Option<&GruuMint>,
    out: &mut Vec<u8>,
) -> SmallVec<[usize; 4]> {
    out.clear();
    let mut ends = SmallVec::new();
    for binding in bindings {
        out.push(b'<');
        out.extend_from_slice(binding.contact().as_bytes());
        out.extend_from_slice(b">;expires=");
        put_number(binding.expires_in(now), out);
        if binding.q() < 1000 {
            out.extend_from_slice(b";q=0.");
            let q = binding.q();
            for digit in [q / 100, q / 10 % 10, q % 10] {
                out.push(b'0' + digit as u8);
            }
        }
        out.extend_from_slice(binding.parameters().as_bytes());
        if let Some(gruus) = gruus
            && !binding.instance().is_empty()
        {
            write_gruus(gruus, binding, out);
        }
        ends.push(out.len());
    }
    ends
}

/// RFC 5627 §5.2.
fn write_gruus(gruus: &GruuMint, binding: &Binding, out: &mut Vec<u8>) {
    out.extend_from_slice(b";pub-gruu=\"");
    gruus.write_public(binding, out);
    out.push(b'"');
    let before = out.len();
    out.extend_from_slice(b";temp-gruu=\"");
    match gruus.write_temporary(binding, out) {
        true => out.push(b'"'),
        false => out.truncate(before),
    }
}

fn put_number(number: u32, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{number}");
}

/// RFC 3261 §20.17, made once a second.
#[derive(Debug, Default)]
pub(super) struct Date {
    second: Option<u64>,
    text: String,
}

impl Date {
    pub(super) fn at(&mut self, second: u64) -> &str {
        if self.second != Some(second) {
            self.text = rfc1123(second);
            self.second = Some(second);
        }
        &self.text
    }
}

/// `Sun, 22 Nov 2026 22:54:26 GMT`
fn rfc1123(unix_seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
    ];
    let (days, rest) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Years that begin with March, in eras of 400 years: the leap day comes last.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    format!(
        "{}, {date:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[(month % 12) as usize],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::rfc1123;

    #[test]
    fn dates() {
        assert_eq!(rfc1123(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(rfc1123(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(rfc1123(1_795_388_066), "Sun, 22 Nov 2026 22:54:26 GMT");
        assert_eq!(rfc1123(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
    }
}
