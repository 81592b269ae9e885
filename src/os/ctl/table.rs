//! Aligned columns for people.

/// Rows under a heading; columns as wide as their widest cell, numbers to the right.
#[derive(Debug)]
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&'static str]) -> Self {
        Self {
            heading: heading.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|c| printable(&c)).collect();
        self.rows.push(cells);
    }

    /// The whole, each line ended; what `nothing` says when there is no row.
    pub(super) fn render(&self, nothing: &str) -> String {
        if self.rows.is_empty() {
            return format!("{nothing}\n");
        }
        let columns = self.heading.len();
        let width = |i: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(i));
            let widest = cells.map(|c| c.chars().count()).max().unwrap_or(0);
            widest.max(self.heading.get(i).map_or(0, |h| h.chars().count()))
        };
        let numeric = |i: usize| {
            let mut cells = self.rows.iter().filter_map(|r| r.get(i)).peekable();
            cells.peek().is_some() && cells.all(|c| c == "-" || c.parse::<f64>().is_ok())
        };
        let layout: Vec<(usize, bool)> = (0..columns).map(|i| (width(i), numeric(i))).collect();
        let heading = self.heading.iter().map(|h| h.to_string()).collect();
        let lines = std::iter::once(&heading).chain(&self.rows);
        lines.map(|row| line(row, &layout)).collect()
    }
}

fn line(row: &[String], layout: &[(usize, bool)]) -> String {
    let mut text = String::new();
    for (cell, (width, right)) in row.iter().zip(layout) {
        let cell = if *right {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        };
        text.push_str(&cell);
        text.push_str("  ");
    }
    format!("{}\n", text.trim_end())
}

/// What phones send must not move the operator's cursor.
pub(super) fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '?' } else { c };
    let text: String = text.chars().map(safe).collect();
    if text.is_empty() { "-".into() } else { text }
}

/// `3d 02:07:09`, `02:07:09`.
pub(super) fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days > 0 {
        format!("{days}d {clock}")
    } else {
        clock
    }
}
