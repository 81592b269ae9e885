//! Users of a CSV file (RFC 4180: quotes, doubled quotes inside them, line breaks inside them).

/// The columns of a file without a heading, in order.
const COLUMNS: [&str; 4] = ["username", "password", "display_name", "domain"];

/// Fields of one line that are read.
const FIELDS_MAX: usize = 64;

/// A user of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) line: usize,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) display_name: String,
    pub(super) domain: Option<String>,
}

/// Reads all lines, or names those that are wrong.
pub(super) fn users(text: &str) -> Result<Vec<Line>, Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut mistakes = Vec::new();
    let mut columns: Vec<String> = COLUMNS.map(str::to_string).to_vec();
    let mut users = Vec::new();
    for (i, record) in records(text).enumerate() {
        let (line, fields) = match record {
            Ok(record) => record,
            Err(mistake) => {
                mistakes.push(mistake);
                break;
            }
        };
        let lower: Vec<String> = fields
            .iter()
            .map(|f| f.trim().to_ascii_lowercase())
            .collect();
        if i == 0 && lower.iter().any(|f| f == "username") {
            let unknown = lower.iter().find(|f| !COLUMNS.contains(&f.as_str()));
            if let Some(unknown) = unknown {
                let known = COLUMNS.join(", ");
                mistakes.push(format!(
                    "line {line}: column \"{unknown}\" is none of {known}"
                ));
                break;
            }
            columns = lower;
            continue;
        }
        match user(line, &columns, &fields) {
            Ok(user) => users.push(user),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() {
        Ok(users)
    } else {
        Err(mistakes)
    }
}

fn user(line: usize, columns: &[String], fields: &[String]) -> Result<Line, String> {
    if fields.len() > columns.len() {
        let (found, known) = (fields.len(), columns.len());
        return Err(format!("line {line}: {found} fields in {known} columns"));
    }
    let field = |name: &str| {
        let column = columns.iter().position(|c| c == name)?;
        fields.get(column).filter(|f| !f.is_empty())
    };
    let wanted = |name: &str| field(name).ok_or_else(|| format!("line {line}: no {name}"));
    Ok(Line {
        line,
        username: wanted("username")?.trim().to_string(),
        password: wanted("password")?.to_string(),
        display_name: field("display_name").cloned().unwrap_or_default(),
        domain: field("domain").map(|d| d.trim().to_string()),
    })
}

type Record = (usize, Vec<String>);

/// The records with the number of their first line; empty lines are skipped.
fn records(text: &str) -> impl Iterator<Item = Result<Record, String>> + '_ {
    let mut rest = text;
    let mut line = 1;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let (first, record) = (line, record(&mut rest, &mut line));
            match record {
                Ok(fields) if fields.iter().all(|f| f.trim().is_empty()) => {}
                Ok(fields) => return Some(Ok((first, fields))),
                Err(problem) => {
                    rest = "";
                    return Some(Err(format!("line {first}: {problem}")));
                }
            }
        }
    })
}

fn record(rest: &mut &str, line: &mut usize) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    loop {
        if fields.len() >= FIELDS_MAX {
            return Err("has too many fields");
        }
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted).ok_or("has a quote without end")?
        } else {
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            (field.strip_suffix('\r').unwrap_or(field).to_string(), after)
        };
        *line += field.matches('\n').count();
        fields.push(field);
        let after = after.strip_prefix('\r').unwrap_or(after);
        if let Some(next) = after.strip_prefix(',') {
            *rest = next;
            continue;
        }
        if !after.is_empty() && !after.starts_with('\n') {
            return Err("goes on behind a quote");
        }
        *rest = after.strip_prefix('\n').unwrap_or(after);
        *line += 1;
        return Ok(fields);
    }
}

/// A field whose opening quote is taken, and what stands behind its closing one.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Some((field, after)),
        }
    }
}
