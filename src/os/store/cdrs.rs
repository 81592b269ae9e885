//! Call detail records, read page by page.
//!
//! The newest are asked for most, and stand at the table's end; who asks for one user's looks
//! through everybody's. So one page looks at [`CDRS_LOOKED_AT_MAX`] rows and no more, whatever it
//! finds, and says where the next one begins: the writer, which alone has the database, is back at
//! its work within some milliseconds.

use super::schema;
use super::sqlite::cdr;
use crate::store::Cdr;
use rusqlite::{Connection, params};

/// Most records of one page.
pub const CDRS_PAGE_MAX: usize = 1000;

/// Rows that one page looks at.
pub const CDRS_LOOKED_AT_MAX: usize = 20_000;

/// Which records are wanted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CdrQuery {
    /// Only those on this account, `name@domain`.
    pub user: Option<Box<str>>,
    /// Only those of calls that ended at that time or later, in milliseconds since 1970.
    pub since_ms: u64,
    /// Only those before this place, which the page before gave.
    pub before: Option<i64>,
    /// At most so many, and never more than [`CDRS_PAGE_MAX`].
    pub limit: usize,
}

/// Some records.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct CdrPage {
    /// The newest first.
    pub rows: Vec<Cdr>,
    /// Where the next page begins; `None` if there is nothing more.
    pub next: Option<i64>,
}

pub(super) fn read(connection: &Connection, asked: &CdrQuery) -> rusqlite::Result<CdrPage> {
    let mut statement = connection.prepare_cached(schema::SELECT_CDRS)?;
    let before = asked.before.unwrap_or(i64::MAX);
    let most = CDRS_LOOKED_AT_MAX as i64;
    let mut rows = statement.query(params![before, most])?;
    let mut page = CdrPage::default();
    let (mut looked_at, mut old) = (0, 0);
    while let Some(row) = rows.next()? {
        let wanted = asked.limit.min(CDRS_PAGE_MAX);
        if page.rows.len() >= wanted {
            return Ok(page);
        }
        looked_at += 1;
        page.next = Some(row.get(23)?);
        let end_ms: i64 = row.get(7)?;
        if u64::try_from(end_ms).unwrap_or(0) < asked.since_ms {
            old += 1;
            continue;
        }
        let user = row.get_ref(3)?.as_str().unwrap_or_default();
        if asked.user.as_deref().is_none_or(|wanted| wanted == user) {
            page.rows.push(cdr(row)?);
        }
    }
    // Records are written within a second of their calls' ends: where a whole page is too old,
    // what stands before it is older still.
    if looked_at < CDRS_LOOKED_AT_MAX || old == looked_at {
        page.next = None;
    }
    Ok(page)
}
