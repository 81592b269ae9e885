//! Takes values out of TOML and notes every mistake with its place. Knows no key by itself.

use super::mistake::{Mistake, Mistakes};
use std::ops::{Range, RangeInclusive};
use toml_edit::{Item, TableLike, Value};

/// Where a value stands and what it is.
#[derive(Clone, Copy)]
pub(super) struct Entry<'d> {
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    item: &'d Item,
}

impl<'d> Entry<'d> {
    /// Its text, if it is one.
    pub(super) fn as_text(self) -> Option<&'d str> {
        self.item.as_str()
    }

    fn name(&self) -> String {
        format!("{}.{}", self.table, self.key)
    }

    /// Whether it is a list without entries.
    pub(super) fn is_empty_list(&self) -> bool {
        self.item.as_array().is_some_and(|list| list.is_empty())
    }
}

/// A string and its place.
#[derive(Clone)]
pub(super) struct Text<'d> {
    pub(super) text: &'d str,
    pub(super) span: Option<Range<usize>>,
    pub(super) name: String,
}

/// A table that may be absent.
#[derive(Clone, Copy)]
pub(super) struct Section<'d> {
    name: &'static str,
    table: Option<&'d dyn TableLike>,
    /// Where it begins, if it is one of a list.
    start: Option<usize>,
}

impl<'d> Section<'d> {
    pub(super) fn new(name: &'static str, table: Option<&'d dyn TableLike>) -> Self {
        let start = None;
        Self { name, table, start }
    }

    /// The tables of a list, `[[name]]`; what is no table is left out.
    pub(super) fn list(name: &'static str, item: &'d Item) -> Vec<Section<'d>> {
        let section = |table: &'d dyn TableLike, span: Option<Range<usize>>| Section {
            name,
            table: Some(table),
            start: span.map(|span| span.start),
        };
        if let Some(tables) = item.as_array_of_tables() {
            return tables.iter().map(|t| section(t, t.span())).collect();
        }
        let values = item.as_array().into_iter().flatten();
        values
            .filter_map(|v| Some(section(v.as_inline_table()?, v.span())))
            .collect()
    }

    /// Where a mistake of the whole table stands.
    pub(super) fn span(&self) -> Option<Range<usize>> {
        self.start.map(|start| start..start)
    }

    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Entry<'d>> {
        let item = self.table?.get(key).filter(|item| !item.is_none())?;
        Some(Entry {
            table: self.name,
            key,
            item,
        })
    }
}

/// Collects mistakes.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    file: String,
    mistakes: Vec<Mistake>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, file: String) -> Self {
        let behind = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(behind).collect(),
            file,
            mistakes: Vec::new(),
        }
    }

    /// The mistakes in the order of lines, or none.
    pub(super) fn finish(mut self) -> Result<(), Mistakes> {
        self.mistakes.sort();
        self.mistakes.dedup();
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(Mistakes(self.mistakes))
        }
    }

    /// Notes a mistake that begins at `span`.
    pub(super) fn note(
        &mut self,
        span: Option<Range<usize>>,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (line, column) = span.map_or((0, 0), |s| self.place(s.start));
        self.mistakes.push(Mistake {
            file: self.file.clone(),
            line,
            column,
            key: key.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// Notes a mistake of a whole value.
    pub(super) fn note_entry(
        &mut self,
        entry: Entry<'_>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(entry.item.span(), entry.name(), problem, remedy);
    }

    fn place(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..offset).unwrap_or_default();
        (line, column.chars().count() + 1)
    }

    /// The line of a table of a list.
    pub(super) fn line(&self, section: Section<'_>) -> usize {
        section.start.map_or(0, |start| self.place(start).0)
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&mut self, section: Section<'_>, key: &str, remedy: &str) {
        let name = format!("{}.{key}", section.name);
        self.note(section.span(), name, "is missing", remedy);
    }

    /// A string.
    pub(super) fn text<'d>(&mut self, entry: Entry<'d>) -> Option<Text<'d>> {
        match entry.item.as_str() {
            Some(text) => Some(Text {
                text,
                span: entry.item.span(),
                name: entry.name(),
            }),
            None => {
                let found = kind(entry.item);
                self.note_entry(entry, format!("is {found}"), "write it in quotes");
                None
            }
        }
    }

    /// Where it stands.
    pub(super) fn span(&self, entry: Entry<'_>) -> Option<Range<usize>> {
        entry.item.span()
    }

    /// Whether it is a string.
    pub(super) fn is_text(&self, entry: Entry<'_>) -> bool {
        entry.item.is_str()
    }

    /// A list of strings; what is no string is left out and noted.
    pub(super) fn texts<'d>(&mut self, entry: Entry<'d>) -> Option<Vec<Text<'d>>> {
        let Some(list) = entry.item.as_array() else {
            let found = kind(entry.item);
            let problem = format!("is {found} where a list is wanted");
            let remedy = match entry.item.as_str() {
                Some(s) => format!("write {} = [\"{s}\"]", entry.key),
                None => format!("write {} = [\"...\"]", entry.key),
            };
            self.note_entry(entry, problem, remedy);
            return None;
        };
        let mut texts = Vec::new();
        for (i, value) in list.iter().enumerate() {
            let name = format!("{}[{i}]", entry.name());
            match value.as_str() {
                Some(text) => texts.push(Text {
                    text,
                    span: value.span(),
                    name,
                }),
                None => {
                    let problem = format!("is {}", value_kind(value));
                    self.note(value.span(), name, problem, "write it in quotes");
                }
            }
        }
        Some(texts)
    }

    /// A list of strings, or one alone.
    pub(super) fn texts_or_one<'d>(&mut self, entry: Entry<'d>) -> Vec<Text<'d>> {
        if self.is_text(entry) {
            return self.text(entry).into_iter().collect();
        }
        self.texts(entry).unwrap_or_default()
    }

    /// A list of strings and of lists of strings, or one string alone.
    pub(super) fn steps<'d>(&mut self, entry: Entry<'d>) -> Vec<Vec<Text<'d>>> {
        let Some(list) = entry.item.as_array() else {
            return self
                .texts_or_one(entry)
                .into_iter()
                .map(|t| vec![t])
                .collect();
        };
        let mut steps = Vec::new();
        for (i, step) in list.iter().enumerate() {
            let name = format!("{}[{i}]", entry.name());
            let one = std::slice::from_ref(step).iter();
            let inner: Vec<&Value> = match step.as_array() {
                Some(inner) => inner.iter().collect(),
                None => one.collect(),
            };
            if inner.is_empty() {
                let remedy = "name targets in it, or take it out";
                self.note(step.span(), name.clone(), "is empty", remedy);
            }
            let mut texts = Vec::new();
            for value in inner {
                match value.as_str() {
                    Some(text) => texts.push(Text {
                        text,
                        span: value.span(),
                        name: name.clone(),
                    }),
                    None => {
                        let problem = format!("is {}", value_kind(value));
                        self.note(value.span(), name.clone(), problem, "write it in quotes");
                    }
                }
            }
            steps.push(texts);
        }
        steps
    }

    /// A list of dates, with or without quotes, each as it is written; or one alone.
    pub(super) fn dates(&mut self, entry: Entry<'_>) -> Vec<(String, Option<Range<usize>>)> {
        let one = entry.item.as_value().filter(|v| !v.is_array());
        let list = entry.item.as_array().into_iter().flatten();
        let mut dates = Vec::new();
        for value in one.into_iter().chain(list) {
            match value {
                Value::String(text) => dates.push((text.value().clone(), value.span())),
                Value::Datetime(date) => dates.push((date.value().to_string(), value.span())),
                other => {
                    let problem = format!("is {} where a date is wanted", value_kind(other));
                    self.note(other.span(), entry.name(), problem, "write \"2026-12-25\"");
                }
            }
        }
        dates
    }

    /// An inline table of strings.
    pub(super) fn pairs<'d>(
        &mut self,
        entry: Entry<'d>,
        example: &str,
    ) -> Vec<(&'d str, Text<'d>)> {
        let Some(table) = entry.item.as_table_like() else {
            let problem = format!("is {} where a table is wanted", kind(entry.item));
            let remedy = format!("write {example}");
            self.note_entry(entry, problem, remedy);
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (key, item) in table.iter() {
            let name = format!("{}.{key}", entry.name());
            match item.as_str() {
                Some(text) => {
                    let span = item.span();
                    pairs.push((key, Text { text, span, name }));
                }
                None => {
                    let problem = format!("is {}", kind(item));
                    self.note(item.span(), name, problem, "write it in quotes");
                }
            }
        }
        pairs
    }

    /// Whether it is a whole number.
    pub(super) fn is_number(&self, entry: Entry<'_>) -> bool {
        entry.item.is_integer()
    }

    /// A whole number within `range`.
    pub(super) fn number(&mut self, entry: Entry<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let number = entry.item.as_integer();
        match number {
            Some(n) if u64::try_from(n).is_ok_and(|n| range.contains(&n)) => u64::try_from(n).ok(),
            _ => {
                let problem = match number {
                    Some(n) => format!("is {n}"),
                    None => format!("is {}", kind(entry.item)),
                };
                let remedy = format!("write a number from {} to {}", range.start(), range.end());
                self.note_entry(entry, problem, remedy);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, entry: Entry<'_>) -> Option<bool> {
        let truth = entry.item.as_bool();
        if truth.is_none() {
            let problem = format!("is {}", kind(entry.item));
            self.note_entry(entry, problem, "write true or false, without quotes");
        }
        truth
    }

    /// True, false, or a word.
    pub(super) fn truth_or(&mut self, entry: Entry<'_>, word: &str) -> Option<Result<bool, ()>> {
        match entry.item.as_str() {
            Some(text) if text == word => Some(Err(())),
            Some(_) => {
                let problem = "is neither true nor false".to_owned();
                let remedy = format!("write true or false, without quotes, or \"{word}\"");
                self.note_entry(entry, problem, remedy);
                None
            }
            None => self.truth(entry).map(Ok),
        }
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&mut self, entry: Entry<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(entry)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let remedy = match nearest(text.text, names.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write \"{}\"", names.join("\" or \"")),
        };
        let problem = format!("\"{}\" is unknown", text.text);
        self.note(text.span, text.name, problem, remedy);
        None
    }
}

/// What an item is, with its article.
fn kind(item: &Item) -> &'static str {
    match item {
        Item::None => "nothing",
        Item::Value(value) => value_kind(value),
        Item::Table(_) => "a table",
        Item::ArrayOfTables(_) => "a list of tables",
    }
}

fn value_kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}

/// The word that a typing mistake may have been meant to be.
pub fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .map(|k| (distance(&word.to_ascii_lowercase(), k), k))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut d = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d = d.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = d;
        }
    }
    rows[a.len()][b.len()]
}
