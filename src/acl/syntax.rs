//! The tree that policies and token files are read into, from HCL and JSON alike.
//!
//! A text in the tree is a part of the source and is decoded where it is needed, so that reading
//! makes no copy of a secret. A place is an offset into the source, and becomes a line and a
//! column only in an error.

use std::fmt;

use zeroize::Zeroizing;

/// The place of something in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Position {
    /// The line, from one.
    pub line: usize,
    /// The column in the line, in characters, from one.
    pub column: usize,
}

impl Position {
    /// The place of the byte at this offset.
    pub(super) fn of(at: usize, text: &str) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// How many blocks and lists may stand in each other.
pub(super) const MAX_DEPTH: usize = 64;

/// How many labels a block may have.
pub(super) const MAX_LABELS: usize = 256;

/// Why a text cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: usize,
    pub(super) problem: Problem,
}

/// What is wrong with the text. It quotes nothing of it.
#[cfg_attr(
    not(feature = "hcl"),
    allow(dead_code, reason = "some of it only HCL has")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    Malformed(&'static str),
    TooDeep,
    TooManyLabels,
}

pub(super) fn malformed<T>(at: usize, problem: &'static str) -> Result<T, SyntaxError> {
    Err(SyntaxError {
        at,
        problem: Problem::Malformed(problem),
    })
}

/// Counts the blocks and lists around the place that is being read.
#[derive(Default)]
pub(super) struct Depth(usize);

impl Depth {
    pub(super) fn enter(&mut self, at: usize) -> Result<(), SyntaxError> {
        self.0 += 1;
        if self.0 > MAX_DEPTH {
            return Err(SyntaxError {
                at,
                problem: Problem::TooDeep,
            });
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.0 -= 1;
    }
}

/// An attribute, or a block with its labels.
pub(super) struct Item<'a> {
    pub(super) name: Text<'a>,
    pub(super) labels: Vec<Text<'a>>,
    pub(super) value: Value<'a>,
}

pub(super) struct Value<'a> {
    pub(super) at: usize,
    pub(super) content: Content<'a>,
}

pub(super) enum Content<'a> {
    Text(Text<'a>),
    Number(&'a str),
    Bool(bool),
    Null,
    List(Vec<Value<'a>>),
    Object(Vec<Item<'a>>),
}

/// A name, a label or a quoted value, as it stands in the source.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) at: usize,
    /// Without quotes; a heredoc from its `<<` to the end of its last line.
    pub(super) raw: &'a str,
    pub(super) notation: Notation,
}

/// How a text is written.
#[cfg_attr(
    not(feature = "hcl"),
    allow(dead_code, reason = "some of it only HCL has")
)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    Bare,
    Hcl,
    Heredoc,
    /// JSON as in RFC 8259.
    Json,
    /// JSON as far as Consul reads it too.
    ConsulJson,
}

impl Text<'_> {
    /// The bytes that the text stands for, which need not be UTF-8; `None` where an escape stands
    /// for nothing.
    pub(super) fn decode(&self) -> Option<Zeroizing<Vec<u8>>> {
        match self.notation {
            Notation::Bare => Some(Zeroizing::new(self.raw.as_bytes().to_vec())),
            Notation::Heredoc => heredoc(self.raw),
            _ => unescape(self.raw, self.notation),
        }
    }
}

fn unescape(raw: &str, notation: Notation) -> Option<Zeroizing<Vec<u8>>> {
    // No escape is shorter than what it stands for, so the buffer never moves.
    let mut out = Zeroizing::new(Vec::with_capacity(raw.len()));
    let mut rest = raw;
    while !rest.is_empty() {
        if notation == Notation::Hcl && rest.starts_with("${") {
            let end = interpolation(rest)?;
            out.extend_from_slice(&rest.as_bytes()[..end]);
            rest = &rest[end..];
            continue;
        }
        let Some(escaped) = rest.strip_prefix('\\') else {
            let mut marks = rest.char_indices().skip(1);
            let end = marks.find(|(_, letter)| matches!(letter, '\\' | '$'));
            let end = end.map_or(rest.len(), |(at, _)| at);
            out.extend_from_slice(&rest.as_bytes()[..end]);
            rest = &rest[end..];
            continue;
        };
        let letter = escaped.chars().next()?;
        let used = match letter {
            'u' | 'U' => {
                let count = if letter == 'u' { 4 } else { 8 };
                let mut used = 1 + count;
                let mut code = digits(escaped, 1, count, 16)?;
                // JSON writes a character beyond the first 65,536 as two; Consul fails on it.
                if notation == Notation::Json && (0xd800..0xdc00).contains(&code) {
                    let second = escaped.get(used..)?.strip_prefix("\\u")?;
                    let low = digits(second, 0, 4, 16)?.checked_sub(0xdc00)?;
                    code = 0x10000 + ((code - 0xd800) << 10) + low;
                    used += 6;
                }
                let decoded = match char::from_u32(code) {
                    Some(decoded) => decoded,
                    // Go counts in signed numbers and replaces what is no character.
                    None if notation == Notation::Hcl && !(0x110000..1 << 31).contains(&code) => {
                        char::REPLACEMENT_CHARACTER
                    }
                    None => return None,
                };
                out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
                used
            }
            'x' => {
                out.push(u8::try_from(digits(escaped, 1, 2, 16)?).ok()?);
                3
            }
            '0'..='7' => {
                out.push(u8::try_from(digits(escaped, 0, 3, 8)?).ok()?);
                3
            }
            _ => {
                out.push(match letter {
                    'a' => 0x07,
                    'b' => 0x08,
                    't' => b'\t',
                    'n' => b'\n',
                    'v' => 0x0b,
                    'f' => 0x0c,
                    'r' => b'\r',
                    '"' | '\\' | '/' => u8::try_from(letter).ok()?,
                    _ => return None,
                });
                1
            }
        };
        rest = escaped.get(used..)?;
    }
    Some(out)
}

fn digits(text: &str, from: usize, count: usize, radix: u32) -> Option<u32> {
    let digits = text.get(from..from + count)?;
    let all = digits.chars().all(|digit| digit.is_digit(radix));
    all.then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()
}

/// The length of the `${..}` at the start of the text, in which nothing is escaped.
fn interpolation(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, letter) in text.char_indices().skip(2) {
        match letter {
            '{' => open += 1,
            '}' => open -= 1,
            char::REPLACEMENT_CHARACTER => return None,
            _ => {}
        }
        if open == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The lines of a heredoc. A mark after `<<-` takes its own indentation from all lines, if all
/// have it. What stands before the mark in the last line belongs to the text otherwise.
fn heredoc(raw: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(raw.replace("\r\n", "\n"));
    let (head, body) = text.split_once('\n')?;
    let (body, last) = match body.strip_suffix('\n')?.rsplit_once('\n') {
        Some((body, last)) => (body, last),
        None => ("", body.strip_suffix('\n')?),
    };
    let lines = || {
        body.split_inclusive('\n')
            .chain((!body.is_empty()).then_some("\n"))
    };
    let head = head.strip_prefix("<<")?;
    let mark = head.trim_start_matches('-').len();
    let indent = last.get(..last.len().checked_sub(mark)?)?;
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let indented = head.starts_with('-');
    if indented
        && body
            .split('\n')
            .all(|line| body.is_empty() || line.starts_with(indent))
    {
        for line in lines() {
            out.extend_from_slice(line.strip_prefix(indent).unwrap_or(line).as_bytes());
        }
        return Some(out);
    }
    for line in lines() {
        out.extend_from_slice(line.as_bytes());
    }
    out.extend_from_slice(indent.as_bytes());
    while indented && matches!(out.last(), Some(b' ' | b'\t')) {
        out.pop();
    }
    Some(out)
}

/// Which of the names a misspelt one probably stands for.
pub(super) fn nearest(
    name: &[u8],
    names: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    let name = std::str::from_utf8(name).ok()?;
    let name: Vec<char> = name.chars().take(40).flat_map(char::to_lowercase).collect();
    names
        .into_iter()
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(4))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be inserted, removed or replaced to make one from the other.
fn distance(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (line, wanted) in to.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, found) in from.iter().enumerate() {
            let replaced = diagonal + usize::from(*found != wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[from.len()]
}
