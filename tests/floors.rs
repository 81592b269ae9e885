//! The rules of the house, read off the source: who may use whom, and how long things may be.
//!
//! `src/lib.rs` draws the floors. This test reads every file of `src/` with a small lexer of its
//! own (no macro is expanded, no type is known) and says each place that breaks a rule:
//!
//! - a module uses only modules of strictly lower floors, never a sibling;
//! - below the top floor there is no clock, socket, file, thread, process or random source;
//! - `unsafe` stands in `os/` only;
//! - a file opens with `//!`, has at most 1000 lines, functions of at most 70, lines of at most
//!   100 columns (none of that holds for tests);
//! - a `HashMap` is looked up, never walked, unless the function then sorts what it found.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 1000;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// The top-level modules, lowest floor first. Those of the last are the only impure ones, and of
/// these only `os` touches the world: `sim` replays from a seed.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["wire", "srtp"],
    &["config", "control", "store"],
    &[
        "sip", "location", "pri", "media", "relay", "plan", "feature", "mailbox",
    ],
    &["call", "peer"],
    &["proxy", "pbx", "ng"],
    &["server", "web"],
    &["os", "sim"],
];

/// Paths that only `os` and the programs may name. An exact `std::time` or `std::net` counts too:
/// whoever imports the module could name the clock or the socket unseen.
const IMPURE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::ToSocketAddrs",
    "std::thread",
    "std::fs",
    "std::process",
    "std::env",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
    "tokio",
    "tokio_rustls",
    "tokio_tungstenite",
    "hickory_resolver",
    "rusqlite",
    "socket2",
    "nix",
    "libc",
    "rand",
    "getrandom",
    "fastrand",
    "mio",
    "polling",
];
const IMPURE_EXACT: &[&str] = &[
    "std::time",
    "std::net",
    "std::time::*",
    "std::net::*",
    "std::*",
];

/// The methods that walk a map.
const WALKS: &[&str] = &[
    "iter",
    "iter_mut",
    "into_iter",
    "keys",
    "into_keys",
    "values",
    "values_mut",
    "into_values",
    "drain",
    "retain",
    "extract_if",
];

// ---------------------------------------------------------------- tokens

#[derive(Clone, PartialEq, Eq, Debug)]
struct Token {
    text: String,
    line: usize,
}

/// Cuts Rust source into identifiers, `::` and single punctuation marks. Comments vanish, a string
/// or character literal becomes `"`, a lifetime becomes `'`.
fn lex(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer {
        chars,
        at: 0,
        line: 1,
        tokens: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn bump(&mut self) {
        if self.peek(0) == '\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn push(&mut self, text: impl Into<String>, line: usize) {
        self.tokens.push(Token {
            text: text.into(),
            line,
        });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.skip_while(|c| c != '\n'),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(line),
            ('\'', _) => self.quote(line),
            (':', ':') => {
                self.at += 2;
                self.push("::", line);
            }
            (c, _) if c.is_whitespace() => self.bump(),
            (c, _) if c.is_alphanumeric() || c == '_' => self.word(line),
            (c, _) => {
                self.bump();
                self.push(c, line);
            }
        }
    }

    fn skip_while(&mut self, test: impl Fn(char) -> bool) {
        while self.at < self.chars.len() && test(self.peek(0)) {
            self.bump();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.at += 2;
                }
                ('*', '/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.bump(),
            }
        }
    }

    fn word(&mut self, line: usize) {
        let start = self.at;
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let text: String = self.chars[start..self.at].iter().collect();
        let prefix = matches!(text.as_str(), "r" | "b" | "br" | "c" | "cr");
        match self.peek(0) {
            '"' if prefix && text.contains('r') => self.raw_string(line),
            '"' if prefix => self.string(line),
            '\'' if text == "b" => self.quote(line),
            '#' if prefix && text.contains('r') && matches!(self.peek(1), '"' | '#') => {
                self.raw_string(line);
            }
            // A raw identifier: r#type.
            '#' if text == "r" => {
                self.bump();
                self.word(line);
            }
            _ => self.push(text, line),
        }
    }

    fn raw_string(&mut self, line: usize) {
        let mut hashes = 0;
        while self.peek(0) == '#' {
            hashes += 1;
            self.bump();
        }
        self.bump();
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#') {
                self.at += 1 + hashes;
                break;
            }
            self.bump();
        }
        self.push('"', line);
    }

    fn string(&mut self, line: usize) {
        self.bump();
        while self.at < self.chars.len() && self.peek(0) != '"' {
            if self.peek(0) == '\\' {
                self.bump();
            }
            self.bump();
        }
        self.bump();
        self.push('"', line);
    }

    /// A character literal or a lifetime.
    fn quote(&mut self, line: usize) {
        if self.peek(1) == '\\' {
            self.at += 3;
            self.skip_while(|c| c != '\'');
            self.bump();
            self.push('"', line);
        } else if self.peek(2) == '\'' {
            self.at += 3;
            self.push('"', line);
        } else {
            self.bump();
            self.skip_while(|c| c.is_alphanumeric() || c == '_');
            self.push('\'', line);
        }
    }
}

fn is_word(token: &Token) -> bool {
    token
        .text
        .starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The index of the bracket that closes the one at `open`, or the end.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index;
                }
            }
            _ => {}
        }
    }
    tokens.len().saturating_sub(1)
}

// ---------------------------------------------------------------- one file

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rule {
    Floor,
    Impure,
    Unsafe,
    Header,
    FileLength,
    FunctionLength,
    LineLength,
    MapWalk,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Finding {
    file: PathBuf,
    line: usize,
    rule: Rule,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {:?}: {}",
            self.file.display(),
            self.line,
            self.rule,
            self.what
        )
    }
}

/// One file of `src/`, cut into tokens, with what each of them is inside of.
struct File {
    /// Relative to `src/`.
    path: PathBuf,
    source: String,
    tokens: Vec<Token>,
    /// Whether the whole file is compiled for tests only.
    test_file: bool,
    /// Whether token `i` is compiled for tests only.
    test: Vec<bool>,
    /// How many modules below the crate's root token `i` stands.
    depth: Vec<usize>,
}

impl File {
    fn new(path: &Path, source: String, test_file: bool) -> Self {
        let tokens = lex(&source);
        let mut test = vec![test_file; tokens.len()];
        for (from, to) in test_items(&tokens) {
            test[from..=to].fill(true);
        }
        let mut depth = vec![module_depth(path); tokens.len()];
        for index in 0..tokens.len().saturating_sub(2) {
            let inline = tokens[index].text == "mod" && tokens[index + 2].text == "{";
            if inline && is_word(&tokens[index + 1]) {
                let end = closing(&tokens, index + 2);
                depth[index + 2..=end]
                    .iter_mut()
                    .for_each(|depth| *depth += 1);
            }
        }
        File {
            path: path.to_owned(),
            source,
            tokens,
            test_file,
            test,
            depth,
        }
    }

    fn is_program(&self) -> bool {
        self.path.starts_with("bin") || self.path == Path::new("main.rs")
    }

    /// The top-level module that the file belongs to; none for the crate's root and the programs.
    fn module(&self) -> Option<String> {
        let first = self.path.components().next()?.as_os_str().to_str()?;
        let module = first.trim_end_matches(".rs");
        (!self.is_program() && module != "lib").then(|| module.to_owned())
    }

    fn finding(&self, line: usize, rule: Rule, what: impl Into<String>) -> Finding {
        Finding {
            file: Path::new("src").join(&self.path),
            line,
            rule,
            what: what.into(),
        }
    }

    fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.check_lengths(&mut findings);
        self.check_functions(&mut findings);
        self.check_words(&mut findings);
        self.check_paths(&mut findings);
        self.check_maps(&mut findings);
        findings
    }

    fn check_lengths(&self, findings: &mut Vec<Finding>) {
        if self.test_file {
            return;
        }
        if !self.source.starts_with("//!") {
            findings.push(self.finding(1, Rule::Header, "does not open with //!"));
        }
        for (index, line) in self.source.lines().enumerate() {
            let columns = line.chars().count();
            if columns > LINE_COLUMNS_MAX {
                let what = format!("{columns} columns, at most {LINE_COLUMNS_MAX}");
                findings.push(self.finding(index + 1, Rule::LineLength, what));
            }
        }
        let tests: BTreeSet<usize> = test_items(&self.tokens)
            .into_iter()
            .flat_map(|(from, to)| self.tokens[from].line..=self.tokens[to].line)
            .collect();
        let lines = self.source.lines().count() - tests.len().min(self.source.lines().count());
        if lines > FILE_LINES_MAX {
            let what = format!("{lines} lines without tests, at most {FILE_LINES_MAX}");
            findings.push(self.finding(1, Rule::FileLength, what));
        }
    }

    fn check_functions(&self, findings: &mut Vec<Finding>) {
        for index in 0..self.tokens.len().saturating_sub(1) {
            let name = &self.tokens[index + 1];
            if self.tokens[index].text != "fn" || !is_word(name) || self.test[index] {
                continue;
            }
            let Some(body) = function_body(&self.tokens, index) else {
                continue;
            };
            let first = self.tokens[index].line;
            let lines = self.tokens[closing(&self.tokens, body)].line - first + 1;
            if lines > FUNCTION_LINES_MAX {
                let what = format!(
                    "fn {}: {lines} lines, at most {FUNCTION_LINES_MAX}",
                    name.text
                );
                findings.push(self.finding(first, Rule::FunctionLength, what));
            }
        }
    }

    fn check_words(&self, findings: &mut Vec<Finding>) {
        let os = self.module().as_deref() == Some("os");
        for (index, token) in self.tokens.iter().enumerate() {
            if token.text == "unsafe" && !os {
                findings.push(self.finding(token.line, Rule::Unsafe, "unsafe outside os/"));
            }
            let prints = matches!(
                token.text.as_str(),
                "println" | "eprintln" | "print" | "eprint"
            );
            let macro_call = self
                .tokens
                .get(index + 1)
                .is_some_and(|next| next.text == "!");
            if prints && macro_call && self.must_be_pure(index) {
                let what = format!("{}! below the top floor", token.text);
                findings.push(self.finding(token.line, Rule::Impure, what));
            }
        }
    }

    fn must_be_pure(&self, index: usize) -> bool {
        !self.test[index] && self.module().is_some_and(|module| module != "os")
    }

    fn check_paths(&self, findings: &mut Vec<Finding>) {
        for (index, path) in paths(&self.tokens) {
            let line = self.tokens[index].line;
            if let Some(used) = self.used_module(index, &path) {
                self.check_floor(line, &used, findings);
            }
            if !self.must_be_pure(index) {
                continue;
            }
            let text = path.join("::").replacen("core::", "std::", 1);
            let below = |impure: &&&str| {
                text.strip_prefix(**impure)
                    .is_some_and(|r| r.is_empty() || r.starts_with("::"))
            };
            // `rand` and the like count only where the name heads a path.
            let heads = path.len() > 1 || self.is_import(index);
            let impure = IMPURE.iter().find(below).filter(|_| heads).is_some();
            if impure || IMPURE_EXACT.contains(&text.as_str()) {
                let what = format!("{text} below the top floor");
                findings.push(self.finding(line, Rule::Impure, what));
            }
        }
    }

    /// Whether the path at `index` is a `use` of its own, or one of a `use {a, b}` group.
    fn is_import(&self, index: usize) -> bool {
        let start = self.tokens[..index]
            .iter()
            .rposition(|t| matches!(t.text.as_str(), ";" | "}"));
        self.tokens[start.map_or(0, |start| start + 1)..index]
            .iter()
            .any(|t| t.text == "use")
    }

    /// The top-level module that a path names, by `crate::` or by enough `super::`.
    fn used_module(&self, index: usize, path: &[String]) -> Option<String> {
        let ups = path
            .iter()
            .take_while(|part| *part == "super" || *part == "self")
            .count();
        let supers = path
            .iter()
            .take(ups)
            .filter(|part| *part == "super")
            .count();
        if path[0] == "crate" {
            path.get(1).cloned()
        } else if supers > 0 && supers >= self.depth[index] {
            path.get(ups).cloned()
        } else {
            None
        }
    }

    fn check_floor(&self, line: usize, used: &str, findings: &mut Vec<Finding>) {
        let Some(own) = self.module() else { return };
        // What is no module is an item of the crate's root, or a macro.
        let (Some(from), Some(to)) = (floor(&own), floor(used)) else {
            return;
        };
        if own != used && to >= from {
            let way = if to == from { "sideways" } else { "upward" };
            let what = format!("{own} (F{from}) uses {used} (F{to}): {way}");
            findings.push(self.finding(line, Rule::Floor, what));
        }
    }

    fn check_maps(&self, findings: &mut Vec<Finding>) {
        let maps = map_names(&self.tokens);
        for index in 0..self.tokens.len() {
            let token = &self.tokens[index];
            if self.test[index] || !maps.contains(&token.text) {
                continue;
            }
            let after = |n: usize| self.tokens.get(index + n).map_or("", |t| t.text.as_str());
            let called = after(1) == "." && after(3) == "(" && WALKS.contains(&after(2));
            let looped = after(1) == "{" && self.is_loop_head(index);
            if (called || looped) && !self.sorts_after(index) {
                let what = format!("walks the HashMap {}", token.text);
                findings.push(self.finding(token.line, Rule::MapWalk, what));
            }
        }
    }

    /// Whether the function around `index` sorts after it, so that the map's order cannot leak.
    fn sorts_after(&self, index: usize) -> bool {
        let function = (0..index).rev().find_map(|at| {
            let body =
                (self.tokens[at].text == "fn").then(|| function_body(&self.tokens, at))??;
            Some(closing(&self.tokens, body)).filter(|end| (body..*end).contains(&index))
        });
        let end = function.unwrap_or(index);
        self.tokens[index..=end]
            .iter()
            .any(|t| t.text.contains("sort"))
    }

    /// Whether the tokens before `index` read `in`, `in &`, `in &mut self.` and so on.
    fn is_loop_head(&self, index: usize) -> bool {
        self.tokens[..index]
            .iter()
            .rev()
            .find(|t| !matches!(t.text.as_str(), "&" | "mut" | "self" | "."))
            .is_some_and(|t| t.text == "in")
    }
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// How many modules below the crate's root a file's own items are: 0 for `lib.rs`, 1 for
/// `base/mod.rs`, 2 for `base/slab.rs`.
fn module_depth(path: &Path) -> usize {
    let parts = path.components().count();
    match path.file_name().and_then(|name| name.to_str()) {
        Some("mod.rs" | "lib.rs" | "main.rs") => parts - 1,
        _ => parts,
    }
}

/// The spans of the items behind `#[cfg(test)]` (and of `#[test]` functions).
fn test_items(tokens: &[Token]) -> Vec<(usize, usize)> {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|t| t.text == text);
    let mut index = 0;
    while index < tokens.len() {
        let gate = ["#", "[", "cfg", "(", "test", ")", "]"];
        let mark = ["#", "[", "test", "]"];
        let starts = |words: &[&str]| words.iter().enumerate().all(|(n, w)| is(index + n, w));
        if !starts(&gate) && !starts(&mark) {
            index += 1;
            continue;
        }
        let start = index;
        while is(index, "#") {
            index = closing(tokens, index + 1) + 1;
        }
        while index < tokens.len() && !is(index, ";") && !is(index, "{") {
            index = match tokens[index].text.as_str() {
                "(" | "[" => closing(tokens, index) + 1,
                _ => index + 1,
            };
        }
        let end = if is(index, "{") {
            closing(tokens, index)
        } else {
            index
        };
        spans.push((start, end.min(tokens.len() - 1)));
        index = end + 1;
    }
    spans
}

/// The names of the modules that a file declares for tests only: `#[cfg(test)] mod tests;`.
fn test_modules(tokens: &[Token]) -> Vec<String> {
    test_items(tokens)
        .into_iter()
        .filter(|(from, to)| to - from > 2 && tokens[*to].text == ";")
        .filter(|(_, to)| tokens[to - 2].text == "mod")
        .map(|(_, to)| tokens[to - 1].text.clone())
        .collect()
}

/// The `{` that opens the body of the function whose `fn` stands at `index`; none for a
/// declaration.
fn function_body(tokens: &[Token], mut index: usize) -> Option<usize> {
    while let Some(token) = tokens.get(index) {
        match token.text.as_str() {
            "{" => return Some(index),
            ";" => return None,
            "(" | "[" => index = closing(tokens, index) + 1,
            _ => index += 1,
        }
    }
    None
}

/// Every path in the tokens, with the groups of `use` spelt out, and the index of its last part.
fn paths(tokens: &[Token]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let inside = index > 0 && matches!(tokens[index - 1].text.as_str(), "::" | ".");
        if is_word(&tokens[index]) && !inside {
            index = path_tree(tokens, index, Vec::new(), &mut found);
        } else {
            index += 1;
        }
    }
    found
}

/// Reads `a::b`, `a::{b, c::d}` or `a::*` at `index`; returns the index behind it.
fn path_tree(
    tokens: &[Token],
    mut index: usize,
    mut prefix: Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|t| t.text == text);
    loop {
        prefix.push(tokens[index].text.clone());
        let last = index;
        index += 1;
        if !is(index, "::") {
            found.push((last, prefix));
            return index;
        }
        index += 1;
        if is(index, "{") {
            let end = closing(tokens, index);
            index += 1;
            while index < end {
                let starts = is_word(&tokens[index]) || is(index, "*");
                let renamed = is(index, "as");
                index = match (starts, renamed) {
                    (true, false) => path_tree(tokens, index, prefix.clone(), found),
                    // The new name of `a as b` is no path.
                    (_, true) => index + 2,
                    _ => index + 1,
                };
            }
            return end + 1;
        }
        if !(is(index, "*") || tokens.get(index).is_some_and(is_word)) {
            found.push((last, prefix));
            return index;
        }
    }
}

/// The names of fields, variables and arguments that are declared as a `HashMap` or `HashSet`,
/// also inside a lock or an `Arc`.
fn map_names(tokens: &[Token]) -> BTreeSet<String> {
    let wrappers = [
        "Mutex",
        "RwLock",
        "Arc",
        "Rc",
        "RefCell",
        "Box",
        "Option",
        "mut",
        "std",
        "collections",
        "sync",
        "<",
        "&",
        "::",
        "'",
    ];
    let mut names = BTreeSet::new();
    for (index, token) in tokens.iter().enumerate() {
        if token.text != "HashMap" && token.text != "HashSet" {
            continue;
        }
        let before = tokens[..index]
            .iter()
            .rposition(|t| !wrappers.contains(&t.text.as_str()));
        let Some(colon) = before.filter(|at| *at > 0) else {
            continue;
        };
        let declares = matches!(tokens[colon].text.as_str(), ":" | "=");
        if declares && is_word(&tokens[colon - 1]) {
            names.insert(tokens[colon - 1].text.clone());
        }
    }
    names
}

// ---------------------------------------------------------------- the tree

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Reads all files below `src`, and knows which of them are tests: those that another file
/// declares behind `#[cfg(test)]`, and what lies in a folder of that name.
fn read_tree(src: &Path) -> Vec<File> {
    let mut names = Vec::new();
    source_files(src, &mut names);
    let sources: Vec<(PathBuf, String)> = names
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            (path.strip_prefix(src).expect("below src").to_owned(), text)
        })
        .collect();
    let mut tests: Vec<PathBuf> = Vec::new();
    for (path, text) in &sources {
        let folder = match path.file_name().and_then(|name| name.to_str()) {
            Some("mod.rs" | "lib.rs" | "main.rs") => path.parent().map(Path::to_owned),
            _ => Some(path.with_extension("")),
        };
        let folder = folder.unwrap_or_default();
        tests.extend(
            test_modules(&lex(text))
                .into_iter()
                .map(|name| folder.join(name)),
        );
    }
    sources
        .into_iter()
        .map(|(path, text)| {
            let stem = path.with_extension("");
            let test = tests
                .iter()
                .any(|test| stem == *test || path.starts_with(test));
            File::new(&path, text, test)
        })
        .collect()
}

#[test]
fn the_source_keeps_the_rules_of_the_house() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = read_tree(&src);
    assert!(files.len() > 10, "src/ was not found whole");
    let mut findings: Vec<Finding> = files.iter().flat_map(File::check).collect();
    findings.sort();
    let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(
        list.is_empty(),
        "{} places break a rule:\n{}",
        list.len(),
        list.join("\n")
    );
}

#[test]
fn every_module_has_a_floor() {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let tokens = lex(&fs::read_to_string(lib).expect("src/lib.rs"));
    for pair in tokens.windows(3) {
        if pair[0].text == "mod" && is_word(&pair[1]) && pair[2].text == ";" {
            let name = &pair[1].text;
            assert!(
                floor(name).is_some(),
                "give `{name}` a floor in tests/floors.rs"
            );
        }
    }
}

// ---------------------------------------------------------------- the rules, tried

/// What the rules say of one file, without the rule about its first line.
fn broken(path: &str, source: &str) -> Vec<(Rule, usize)> {
    let file = File::new(Path::new(path), source.to_owned(), false);
    let mut found: Vec<_> = file.check().into_iter().map(|f| (f.rule, f.line)).collect();
    found.retain(|(rule, _)| *rule != Rule::Header);
    found
}

#[test]
fn an_upward_use_is_found_however_it_is_written() {
    let up = vec![(Rule::Floor, 1)];
    assert_eq!(
        broken("wire/sip/mod.rs", "use crate::sip::transaction;"),
        up
    );
    assert_eq!(
        broken("wire/sip/mod.rs", "use crate::{base::Rng, sip::digest};"),
        up
    );
    assert_eq!(broken("wire/mod.rs", "fn f() { crate::os::run(); }"), up);
    assert_eq!(broken("wire/mod.rs", "use super::server;"), up);
    assert_eq!(
        broken("wire/uri.rs", "use super::super::server::SignalCore;"),
        up
    );
    assert_eq!(
        broken(
            "wire/uri.rs",
            "mod inner { use super::super::super::call::Call; }"
        ),
        up
    );
    assert_eq!(broken("wire/uri.rs", "pub(in crate::call) fn f() {}"), up);
    assert_eq!(
        broken("base/mod.rs", "use crate::{\n    wire::{sip, sdp},\n};").len(),
        2
    );
}

#[test]
fn a_sideways_use_is_found() {
    assert_eq!(
        broken("sip/mod.rs", "use crate::location::Binding;"),
        [(Rule::Floor, 1)]
    );
    assert_eq!(
        broken("sim/mod.rs", "use crate::os::udp;"),
        [(Rule::Floor, 1)]
    );
}

#[test]
fn a_downward_use_and_ones_own_module_are_fine() {
    assert_eq!(
        broken(
            "sip/digest.rs",
            "use crate::wire::sip::Message; use super::layer;"
        ),
        []
    );
    assert_eq!(
        broken("sip/digest.rs", "use crate::sip::transaction::Event;"),
        []
    );
    assert_eq!(broken("sip/a/b.rs", "use super::super::proxy;"), []);
    assert_eq!(
        broken("bin/voipd.rs", "use voip::os; use std::time::Instant;"),
        []
    );
    assert_eq!(
        broken("base/rng.rs", "mod tests { use super::super::base; }"),
        []
    );
}

#[test]
fn words_in_comments_and_literals_do_not_count() {
    let source = "// use crate::os;\n/* crate::os::x /* unsafe */ */\nconst A: &str = \"crate::os\";\n\
        const B: &str = r#\"unsafe \" crate::os\"#; const C: char = '\"'; const D: u8 = b'\\'';\n\
        fn f<'a>(x: &'a str) -> &'a str { x }";
    assert_eq!(broken("base/mod.rs", source), []);
}

#[test]
fn clocks_sockets_files_threads_and_chance_are_found_below_the_top_floor() {
    for bad in [
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "use std::time;",
        "use std::net::{IpAddr, UdpSocket};",
        "use std::{net::TcpListener, sync::Arc};",
        "use tokio::sync::mpsc;",
        "use std::net::*;",
        "use rand;",
        "fn f() { std::thread::spawn(f); }",
        "fn f() { let _ = std::fs::read(\"x\"); }",
        "fn f() { let x: u8 = rand::random(); }",
        "fn f() { println!(\"x\"); }",
        "fn f() { std::process::exit(1); }",
    ] {
        assert_eq!(broken("sip/mod.rs", bad), [(Rule::Impure, 1)], "{bad}");
        assert_eq!(broken("sim/mod.rs", bad), [(Rule::Impure, 1)], "{bad}");
        assert_eq!(broken("os/mod.rs", bad), [], "{bad}");
        assert_eq!(
            broken(
                "sip/mod.rs",
                &format!("#[cfg(test)]\nmod tests {{ {bad} }}")
            ),
            []
        );
    }
    for good in [
        "use std::time::Duration;",
        "use std::net::{IpAddr, SocketAddr};",
        "use crate::base::Instant;",
        "use rand_chacha::ChaCha8Rng;",
        "fn f(rand: u32) -> u32 { rand }",
        "use std::io::Write;",
    ] {
        assert_eq!(broken("sip/mod.rs", good), [], "{good}");
    }
}

#[test]
fn unsafe_is_found_outside_os_even_in_tests() {
    assert_eq!(
        broken("wire/mod.rs", "fn f() { unsafe { g() } }"),
        [(Rule::Unsafe, 1)]
    );
    let test = "#[cfg(test)]\nmod tests { fn f() { unsafe { g() } } }";
    assert_eq!(broken("wire/mod.rs", test), [(Rule::Unsafe, 2)]);
    assert_eq!(broken("os/udp.rs", "fn f() { unsafe { g() } }"), []);
}

#[test]
fn long_functions_lines_and_files_are_found_but_not_in_tests() {
    let body = "    g();\n".repeat(FUNCTION_LINES_MAX);
    let long = format!("fn f(a: [u8; 2])\nwhere\n    u8: Copy,\n{{\n{body}}}\n");
    assert_eq!(broken("wire/mod.rs", &long), [(Rule::FunctionLength, 1)]);
    let test = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
    assert_eq!(broken("wire/mod.rs", &test), []);
    assert_eq!(
        broken("wire/mod.rs", "trait T { fn f(&self); }\nfn g() {}\n"),
        []
    );
    let wide = format!("// {}\n", "é".repeat(LINE_COLUMNS_MAX - 2));
    assert_eq!(broken("wire/mod.rs", &wide), [(Rule::LineLength, 1)]);
    let lines = "const A: u8 = 1;\n".repeat(FILE_LINES_MAX);
    assert_eq!(broken("wire/mod.rs", &lines), []);
    assert_eq!(
        broken("wire/mod.rs", &format!("{lines}\n{test}")),
        [(Rule::FileLength, 1)]
    );
    assert_eq!(
        broken("wire/mod.rs", &format!("{}{test}", &lines[17..])),
        []
    );
}

#[test]
fn a_file_without_its_first_words_is_found() {
    let file = File::new(Path::new("wire/a.rs"), "use std::fmt;\n".to_owned(), false);
    assert_eq!(file.check()[0].rule, Rule::Header);
}

#[test]
fn a_walk_over_a_hash_map_is_found() {
    let declare = "struct S { calls: HashMap<u8, u8>, names: Mutex<HashMap<u8, u8>> }\n";
    for bad in [
        "fn f(s: &S) { for _ in &s.calls {} s.calls.keys(); }",
        "impl S { fn f(&self) { for (k, v) in &self.calls {} } }",
        "impl S { fn f(&mut self) { self.calls.retain(|_, _| true); } }",
        "fn f() { let mut seen = HashSet::new(); seen.drain(); }",
        "fn f() { let seen: std::collections::HashSet<u8> = g(); for x in seen {} }",
    ] {
        let found = broken("os/mod.rs", &format!("{declare}{bad}"));
        assert!(found.contains(&(Rule::MapWalk, 2)), "{bad}: {found:?}");
    }
    for good in [
        "impl S { fn f(&self) { self.calls.get(&1); self.list.iter(); } }",
        "impl S { fn f(&self) { let mut all = self.calls.values().collect(); all.sort(); } }",
    ] {
        assert_eq!(
            broken("os/mod.rs", &format!("{declare}{good}")),
            [],
            "{good}"
        );
    }
}

#[test]
fn files_declared_for_tests_are_known() {
    let tokens = lex("mod a; #[cfg(test)]\nmod tests; #[cfg(test)] #[path = \"x\"] mod more;");
    assert_eq!(test_modules(&tokens), ["tests", "more"]);
}
