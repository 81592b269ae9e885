//! What a dialled number must look like, made ready to be tried: digit patterns as rows of
//! character sets, and an index that finds those of many patterns that match without a look at the
//! others. Also says whether one pattern takes everything that another does.

use super::Match;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::literal::{ExtractKind, Extractor};

/// Longest pattern, in positions.
pub const PATTERN_POSITIONS_MAX: usize = 64;

/// Longest regular expression, in bytes.
pub const REGEX_BYTES_MAX: usize = 512;

/// Largest compiled regular expression, in bytes.
const REGEX_SIZE_MAX: usize = 256 << 10;

/// Patterns of one leaf of the index before it is split: each is looked at where the leaf is
/// reached, and lies elsewhere in memory.
const LEAF_MAX: usize = 1;

/// Characters of ASCII; the others match nothing but `.` and `!`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Set(u128);

impl Set {
    fn of(byte: u8) -> Set {
        Set(1u128.checked_shl(u32::from(byte)).unwrap_or(0))
    }

    fn range(from: u8, to: u8) -> Set {
        Set((from..=to).fold(0, |bits, byte| bits | Set::of(byte).0))
    }

    fn holds(self, byte: u8) -> bool {
        self.0 & Set::of(byte).0 != 0
    }

    fn includes(self, other: Set) -> bool {
        other.0 & !self.0 == 0
    }

    /// The character of a set of one.
    fn single(self) -> Option<u8> {
        (self.0.count_ones() == 1).then(|| self.0.trailing_zeros() as u8)
    }
}

/// What may follow the positions of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tail {
    /// Nothing.
    None,
    /// `.`: at least one character.
    Some,
    /// `!`: anything, also nothing.
    Any,
}

/// A digit pattern: `X` 0-9, `Z` 1-9, `N` 2-9, `[1-5]`; at its end `.` one or more of anything, `!`
/// anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    sets: Box<[Set]>,
    tail: Tail,
}

impl Pattern {
    /// Reads a pattern; says the problem and the remedy.
    pub fn parse(text: &str) -> Result<Pattern, (String, &'static str)> {
        let wrong = |what: String, remedy| Err((format!("\"{text}\" {what}"), remedy));
        if text.is_empty() {
            return wrong("is empty".into(), "write one such as \"9XXXXXXXX\"");
        }
        let mut sets = Vec::new();
        let mut tail = Tail::None;
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if tail != Tail::None {
                let remedy = "end the pattern with . or !, or write a regex";
                return wrong("goes on behind . or !".into(), remedy);
            }
            match c {
                'X' => sets.push(Set::range(b'0', b'9')),
                'Z' => sets.push(Set::range(b'1', b'9')),
                'N' => sets.push(Set::range(b'2', b'9')),
                '.' => tail = Tail::Some,
                '!' => tail = Tail::Any,
                '[' => {
                    let (inside, behind) = match rest.as_str().split_once(']') {
                        Some(parts) => parts,
                        None => return wrong("has a [ without ]".into(), "close it: \"[1-5]\""),
                    };
                    match set(inside) {
                        Ok(set) => sets.push(set),
                        Err(what) => return wrong(what, "write a set such as \"[1-5]\""),
                    }
                    rest = behind.chars();
                }
                '_' if sets.is_empty() => {
                    return wrong("begins with _".into(), "take the _ out");
                }
                c if is_dialled(c) => sets.push(Set::of(c as u8)),
                c => {
                    let remedy = "write digits, letters, + * # and X Z N [1-5] . ! alone";
                    return wrong(format!("has {c:?}, which nobody dials"), remedy);
                }
            }
        }
        if sets.len() > PATTERN_POSITIONS_MAX {
            let what = format!("has more than {PATTERN_POSITIONS_MAX} positions");
            return wrong(what, "end it earlier, with . or !");
        }
        let sets = sets.into();
        Ok(Pattern { sets, tail })
    }

    /// Whether `number` is one of those meant.
    pub fn matches(&self, number: &[u8]) -> bool {
        self.matches_behind(0, number)
    }

    /// The same, where the first `known` positions are known to match.
    fn matches_behind(&self, known: usize, number: &[u8]) -> bool {
        let positions = self.sets.len();
        let length = match self.tail {
            Tail::None => number.len() == positions,
            Tail::Some => number.len() > positions,
            Tail::Any => number.len() >= positions,
        };
        let pairs = self.sets.iter().zip(number).skip(known);
        length && pairs.into_iter().all(|(set, b)| set.holds(*b))
    }

    /// Whether it takes every number that `other` takes.
    pub fn includes(&self, other: &Pattern) -> bool {
        let (mine, its) = (self.sets.len(), other.sets.len());
        let lengths = match self.tail {
            Tail::None => other.tail == Tail::None && mine == its,
            Tail::Some => its > mine || its == mine && other.tail == Tail::Some,
            Tail::Any => its >= mine,
        };
        lengths
            && self
                .sets
                .iter()
                .zip(&other.sets)
                .all(|(a, b)| a.includes(*b))
    }

    /// How many characters the shortest number has, and whether there are longer ones.
    pub fn least(&self) -> (usize, bool) {
        let some = usize::from(self.tail == Tail::Some);
        (self.sets.len() + some, self.tail != Tail::None)
    }

    /// The number, where only one is meant.
    pub fn only(&self) -> Option<String> {
        let one = |set: &Set| set.single().map(char::from);
        let text: Option<String> = self.sets.iter().map(one).collect();
        text.filter(|_| self.tail == Tail::None)
    }

    /// What begins with `prefix`.
    fn beginning_with(prefix: &[u8]) -> Pattern {
        let ascii = prefix.iter().take_while(|b| b.is_ascii());
        let sets = ascii.take(PATTERN_POSITIONS_MAX).map(|b| Set::of(*b));
        Pattern {
            sets: sets.collect(),
            tail: Tail::Any,
        }
    }

    fn everything() -> Pattern {
        Self::beginning_with(b"")
    }
}

/// Whether a character may stand for itself in a pattern or a number.
pub(super) fn is_dialled(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+*#-_~".contains(c)
}

/// What stands between brackets.
fn set(inside: &str) -> Result<Set, String> {
    let mut bits = 0;
    let mut chars = inside.chars().peekable();
    while let Some(from) = chars.next() {
        let dash = chars.peek() == Some(&'-');
        let to = match dash {
            true => {
                chars.next();
                chars
                    .next()
                    .ok_or_else(|| format!("has a - without end in [{inside}]"))?
            }
            false => from,
        };
        let may = |c: char| is_dialled(c) || c == '.';
        if !may(from) || !may(to) {
            return Err(format!("has a character in [{inside}] that nobody dials"));
        }
        if from > to {
            return Err(format!("has a range backwards in [{inside}]"));
        }
        bits |= Set::range(from as u8, to as u8).0;
    }
    match bits {
        0 => Err("has empty brackets".into()),
        bits => Ok(Set(bits)),
    }
}

/// A [`Match`], ready to be tried.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// Of a pattern.
    Digits(Pattern),
    /// Of a regular expression, with what all that match begin with.
    Regex(Regex, Vec<Pattern>),
}

impl Matcher {
    /// Makes one ready; says the problem and the remedy.
    pub fn new(matches: &Match) -> Result<Matcher, (String, &'static str)> {
        match matches {
            Match::Digits(text) => Pattern::parse(text).map(Matcher::Digits),
            Match::Regex(text) => regex(text),
        }
    }

    /// Whether `number` is one of those meant.
    pub fn matches(&self, number: &[u8]) -> bool {
        match self {
            Matcher::Digits(pattern) => pattern.matches(number),
            Matcher::Regex(regex, _) => regex.is_match(number),
        }
    }

    /// Patterns that together take at least all that it takes.
    pub fn patterns(&self) -> &[Pattern] {
        match self {
            Matcher::Digits(pattern) => std::slice::from_ref(pattern),
            Matcher::Regex(_, prefixes) => prefixes,
        }
    }

    /// How many pairs of parentheses there are.
    pub fn groups(&self) -> usize {
        match self {
            Matcher::Digits(_) => 0,
            Matcher::Regex(regex, _) => regex.captures_len().saturating_sub(1),
        }
    }
}

/// Compiles a regular expression so that it is over the whole number.
fn regex(text: &str) -> Result<Matcher, (String, &'static str)> {
    const REMEDY: &str = "write one such as \"00(1|44)[0-9]+\", in single quotes if it has \\";
    if text.is_empty() || text.len() > REGEX_BYTES_MAX {
        let problem = format!(
            "is {} bytes long, from 1 to {REGEX_BYTES_MAX} are read",
            text.len()
        );
        return Err((problem, REMEDY));
    }
    let problem = |error: &dyn std::fmt::Display| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        let last = last.strip_prefix("error: ").unwrap_or(last);
        (
            format!("\"{text}\" is no regular expression: {last}"),
            REMEDY,
        )
    };
    let mut parser = regex_syntax::ParserBuilder::new();
    let parser = parser.unicode(false).utf8(false).nest_limit(50);
    let hir = parser.build().parse(text).map_err(|e| problem(&e))?;
    let whole = format!("\\A(?:{text})\\z");
    let mut builder = RegexBuilder::new(&whole);
    let builder = builder.unicode(false).size_limit(REGEX_SIZE_MAX);
    let builder = builder.dfa_size_limit(REGEX_SIZE_MAX).nest_limit(60);
    let regex = builder.build().map_err(|e| problem(&e))?;
    let mut extractor = Extractor::new();
    let prefixes = extractor.kind(ExtractKind::Prefix).extract(&hir);
    let prefixes = match prefixes.literals() {
        Some(literals) => literals
            .iter()
            .map(|l| Pattern::beginning_with(l.as_bytes()))
            .collect(),
        None => vec![Pattern::everything()],
    };
    Ok(Matcher::Regex(regex, prefixes))
}

/// Many patterns, each with a number of the caller's: found by walking what they share.
#[derive(Clone, Debug)]
pub struct Index {
    entries: Vec<(u32, Pattern)>,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    /// The lowest of the numbers below.
    least: u32,
    /// Whether those that go on have been handed to children.
    split: bool,
    /// Entries that end here, and in a leaf those that go on.
    entries: Vec<u32>,
    /// Children by a character, ordered.
    singles: Vec<(u8, u32)>,
    /// Children by several characters.
    sets: Vec<(Set, u32)>,
}

impl Node {
    const EMPTY: Node = Node {
        least: u32::MAX,
        split: false,
        entries: Vec::new(),
        singles: Vec::new(),
        sets: Vec::new(),
    };
}

impl Default for Index {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            nodes: vec![Node::EMPTY],
        }
    }
}

impl Index {
    /// Adds a pattern.
    pub fn insert(&mut self, number: u32, pattern: Pattern) {
        let entry = self.entries.len() as u32;
        self.entries.push((number, pattern));
        self.put(0, 0, entry);
    }

    fn put(&mut self, mut node: usize, mut depth: usize, entry: u32) {
        let number = self.entries[entry as usize].0;
        loop {
            self.nodes[node].least = self.nodes[node].least.min(number);
            let set = self.entries[entry as usize].1.sets.get(depth).copied();
            let (Some(set), true) = (set, self.nodes[node].split) else {
                break;
            };
            node = self.child(node, set);
            depth += 1;
        }
        self.nodes[node].entries.push(entry);
        let going_on = |e: &u32| self.entries[*e as usize].1.sets.len() > depth;
        let here = &self.nodes[node];
        if here.split || here.entries.iter().filter(|e| going_on(e)).count() <= LEAF_MAX {
            return;
        }
        let (on, ending) = here.entries.iter().copied().partition(going_on);
        self.nodes[node].split = true;
        self.nodes[node].entries = ending;
        let on: Vec<u32> = on;
        for entry in on {
            self.put(node, depth, entry);
        }
    }

    /// The child of a node by a set, made if there is none.
    fn child(&mut self, node: usize, set: Set) -> usize {
        let new = self.nodes.len() as u32;
        let here = &mut self.nodes[node];
        let child = match set.single() {
            Some(byte) => match here.singles.binary_search_by_key(&byte, |(b, _)| *b) {
                Ok(at) => here.singles[at].1,
                Err(at) => {
                    here.singles.insert(at, (byte, new));
                    new
                }
            },
            None => match here.sets.iter().find(|(s, _)| *s == set) {
                Some((_, child)) => *child,
                None => {
                    here.sets.push((set, new));
                    new
                }
            },
        };
        if child == new {
            self.nodes.push(Node::EMPTY);
        }
        child as usize
    }

    /// Tells the numbers below `below` of the patterns that match, in no order, some of them twice.
    /// Where `seen` says true, that number becomes `below`. So what it is at the end is the lowest
    /// for which `seen` said so.
    pub fn matching(&self, number: &[u8], below: &mut u32, seen: &mut dyn FnMut(u32) -> bool) {
        self.walk(0, number, number, below, seen);
    }

    fn walk(
        &self,
        node: u32,
        number: &[u8],
        rest: &[u8],
        below: &mut u32,
        seen: &mut dyn FnMut(u32) -> bool,
    ) {
        let Some(node) = self.nodes.get(node as usize) else {
            return;
        };
        if node.least >= *below {
            return;
        }
        for entry in &node.entries {
            if let Some((id, pattern)) = self.entries.get(*entry as usize)
                && id < below
                && pattern.matches_behind(number.len() - rest.len(), number)
                && seen(*id)
            {
                *below = *id;
            }
        }
        let Some((byte, rest)) = rest.split_first() else {
            return;
        };
        if let Ok(at) = node.singles.binary_search_by_key(byte, |(b, _)| *b)
            && let Some((_, child)) = node.singles.get(at)
        {
            self.walk(*child, number, rest, below, seen);
        }
        for (set, child) in &node.sets {
            if set.holds(*byte) {
                self.walk(*child, number, rest, below, seen);
            }
        }
    }

    /// Tells the numbers of the patterns that take everything that `pattern` takes, in no order,
    /// until `seen` says that it is enough.
    pub fn including(&self, pattern: &Pattern, seen: &mut dyn FnMut(u32) -> bool) {
        let mut open = vec![(0u32, 0usize)];
        while let Some((node, depth)) = open.pop() {
            let Some(node) = self.nodes.get(node as usize) else {
                continue;
            };
            for entry in &node.entries {
                if let Some((id, other)) = self.entries.get(*entry as usize)
                    && other.includes(pattern)
                    && seen(*id)
                {
                    return;
                }
            }
            let Some(set) = pattern.sets.get(depth) else {
                continue;
            };
            let single = set.single();
            let singles = node.singles.iter().filter(|(b, _)| Some(*b) == single);
            open.extend(singles.map(|(_, child)| (*child, depth + 1)));
            let sets = node.sets.iter().filter(|(s, _)| s.includes(*set));
            open.extend(sets.map(|(_, child)| (*child, depth + 1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_take_what_they_say() {
        for (text, yes, no) in [
            (
                "9XX",
                &["900", "999"][..],
                &["90", "9000", "9a0", "800"][..],
            ),
            ("Z", &["1", "9"], &["0", ""]),
            ("N", &["2", "9"], &["0", "1"]),
            ("[1-35]X", &["10", "35", "59"], &["40", "60", "1"]),
            ("00.", &["001", "00a", "00\u{e9}"], &["00", "0", "010"]),
            ("00!", &["00", "001"], &["0", "01"]),
            ("!", &["", "1", "alice"], &[]),
            (".", &["1", "\u{e9}"], &[""]),
            ("*72X", &["*720"], &["*72", "#720"]),
            ("alice", &["alice"], &["Alice", "bob"]),
            ("[X]1", &["X1"], &["11"]),
        ] {
            let pattern = pattern(text);
            for number in yes {
                assert!(pattern.matches(number.as_bytes()), "{text} {number}");
            }
            for number in no {
                assert!(!pattern.matches(number.as_bytes()), "{text} {number}");
            }
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for text in [
            "", "9.1", "[1-", "[]", "[5-1]", "_9X", "9 1", "9(1)", "[1-]", "\u{e9}",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse(&"X".repeat(PATTERN_POSITIONS_MAX)).is_ok());
        assert!(Pattern::parse(&"X".repeat(PATTERN_POSITIONS_MAX + 1)).is_err());
    }

    #[test]
    fn one_pattern_takes_all_of_another() {
        for (a, b) in [
            ("X", "5"),
            ("XX", "N1"),
            ("9.", "9X"),
            ("9.", "91."),
            ("9.", "9."),
            ("9!", "9"),
            ("9!", "9."),
            ("!", "!"),
            ("!", "."),
            ("[1-5]", "[2-3]"),
            (".", "9!"),
        ] {
            assert!(pattern(a).includes(&pattern(b)), "{a} {b}");
        }
        for (a, b) in [
            ("5", "X"),
            ("9.", "9!"),
            ("9.", "9"),
            (".", "!"),
            ("X", "XX"),
            ("XX", "X"),
            ("X", "X!"),
            ("9X.", "9."),
            ("Z", "N0"),
            ("N", "Z"),
        ] {
            assert!(!pattern(a).includes(&pattern(b)), "{a} {b}");
        }
    }

    #[test]
    fn regular_expressions_are_over_the_whole_number() {
        let regex = |text: &str| Matcher::new(&Match::Regex(text.into())).unwrap();
        let m = regex("00(1|44)[0-9]+|112");
        for (number, wanted) in [("0044123", true), ("x0044123", false), ("1123", false)] {
            assert_eq!(m.matches(number.as_bytes()), wanted, "{number}");
        }
        assert!(regex("112").matches(b"112") && !regex("112").matches(b"1120"));
        assert_eq!(m.groups(), 1);
        for number in ["0017", "00440", "1125"] {
            let begins = |p: &&Pattern| p.matches(number.as_bytes());
            assert_eq!(m.patterns().iter().filter(begins).count(), 1, "{number}");
        }
        assert!(!m.patterns().iter().any(|p| p.matches(b"00331")));
        for bad in ["", "(", "a)(b", "[0-9", "\\", "(?P<x"] {
            assert!(Matcher::new(&Match::Regex(bad.into())).is_err(), "{bad}");
        }
        let large = Match::Regex("([0-9]{500}){500}".into());
        assert!(Matcher::new(&large).is_err());
    }

    const PATTERN: &str = r"([0-3XZN]|\[[0-2][3]?\]|\[0-2\]){0,4}[.!]?";

    proptest! {
        /// The index tells what a look at each pattern tells.
        #[test]
        fn the_index_finds_what_a_scan_finds(
            texts in proptest::collection::vec(PATTERN, 1..60),
            numbers in proptest::collection::vec("[0-4]{0,6}", 1..8),
        ) {
            let patterns: Vec<Pattern> =
                texts.iter().filter_map(|t| Pattern::parse(t).ok()).collect();
            let mut index = Index::default();
            for (id, pattern) in patterns.iter().enumerate() {
                index.insert(id as u32, pattern.clone());
            }
            let ids = |test: &dyn Fn(&Pattern) -> bool| -> Vec<u32> {
                let all = patterns.iter().enumerate().filter(|(_, p)| test(p));
                all.map(|(id, _)| id as u32).collect()
            };
            for number in &numbers {
                let mut found = Vec::new();
                index.matching(number.as_bytes(), &mut u32::MAX.clone(), &mut |id| {
                    found.push(id);
                    false
                });
                found.sort_unstable();
                prop_assert_eq!(found, ids(&|p| p.matches(number.as_bytes())));
                let mut first = u32::MAX;
                index.matching(number.as_bytes(), &mut first, &mut |_| true);
                let first = Some(first).filter(|f| *f < u32::MAX);
                let wanted = ids(&|p| p.matches(number.as_bytes())).first().copied();
                prop_assert_eq!(first, wanted);
            }
            for pattern in &patterns {
                let mut found = Vec::new();
                index.including(pattern, &mut |id| {
                    found.push(id);
                    false
                });
                found.sort_unstable();
                prop_assert_eq!(found, ids(&|p| p.includes(pattern)));
            }
        }

        /// Where one pattern is said to take all of another, no number tells otherwise, and where
        /// it is not, some number does.
        #[test]
        fn inclusion_is_exact(a in PATTERN, b in PATTERN) {
            let (Ok(a), Ok(b)) = (Pattern::parse(&a), Pattern::parse(&b)) else {
                return Ok(());
            };
            let alphabet = b"0123456789a";
            let mut numbers: Vec<Vec<u8>> = vec![Vec::new()];
            let mut all = numbers.clone();
            for _ in 0..6 {
                let longer = |n: &Vec<u8>| {
                    alphabet.iter().map(|c| [n.as_slice(), &[*c]].concat()).collect::<Vec<_>>()
                };
                // Only what b can still match matters.
                numbers = numbers.iter().flat_map(longer).filter(|n| {
                    let head = b.sets.iter().zip(n.iter());
                    head.clone().all(|(s, c)| s.holds(*c)) && n.len() <= b.sets.len() + 2
                }).collect();
                numbers.truncate(3000);
                all.extend(numbers.iter().cloned());
            }
            let escapes = all.iter().any(|n| b.matches(n) && !a.matches(n));
            if a.includes(&b) {
                prop_assert!(!escapes);
            } else if all.len() < 3000 {
                prop_assert!(escapes, "{a:?} {b:?}");
            }
        }
    }
}
