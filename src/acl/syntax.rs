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

/// How many bytes a token file may have.
pub(super) const MAX_FILE_BYTES: usize = 32 << 20;

/// How many blocks and lists may stand in each other.
pub(super) const MAX_DEPTH: usize = 64;

/// How many labels a block may have.
pub(super) const MAX_LABELS: usize = 256;

/// Why a text cannot be read as HCL or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxProblem {
    /// It is malformed. The text says what is wrong and what to do, and quotes nothing.
    #[error("{0}")]
    Malformed(&'static str),
    /// It is nested deeper than [`Rules::MAX_DEPTH`](super::Rules::MAX_DEPTH).
    #[error("blocks and lists are nested at most {MAX_DEPTH} deep: remove some")]
    TooDeep,
    /// A block has more labels than [`Rules::MAX_LABELS`](super::Rules::MAX_LABELS).
    #[error("a block has at most {MAX_LABELS} labels: remove some")]
    TooManyLabels,
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
    /// Without quotes; a heredoc with the lines of its mark.
    pub(super) raw: &'a str,
    pub(super) notation: Notation,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            Notation::Heredoc => self.heredoc(),
            _ => self.unescape(),
        }
    }

    /// The lines of a heredoc, and without the `-` what stands before its mark. Consul would take
    /// the indentation away as well; no rule is the worse for it.
    fn heredoc(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (head, rest) = self.raw.split_once('\n')?;
        let rest = rest.strip_suffix('\n')?;
        let (lines, last) = rest.split_at(rest.rfind('\n').map_or(0, |end| end + 1));
        let mut out = Zeroizing::new(lines.as_bytes().to_vec());
        if !head.starts_with("<<-") {
            let mark = head.trim_start_matches('<').trim_end();
            out.extend_from_slice(last.trim_end().strip_suffix(mark)?.as_bytes());
        }
        Some(out)
    }

    fn unescape(&self) -> Option<Zeroizing<Vec<u8>>> {
        // No escape is shorter than what it stands for, so the buffer never moves.
        let mut out = Zeroizing::new(Vec::with_capacity(self.raw.len()));
        let mut rest = self.raw;
        while !rest.is_empty() {
            let used = if self.notation == Notation::Hcl && rest.starts_with("${") {
                interpolation(rest)?
            } else if let Some(escaped) = rest.strip_prefix('\\') {
                1 + unescape_one(escaped, self.notation, &mut out)?
            } else {
                let mut marks = rest.char_indices().skip(1);
                let end = marks.find(|(_, letter)| matches!(letter, '\\' | '$'));
                end.map_or(rest.len(), |(at, _)| at)
            };
            if !rest.starts_with('\\') {
                out.extend_from_slice(&rest.as_bytes()[..used]);
            }
            rest = rest.get(used..)?;
        }
        Some(out)
    }
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

/// Decodes what stands after a backslash, and returns its length.
fn unescape_one(text: &str, notation: Notation, out: &mut Vec<u8>) -> Option<usize> {
    let digits = |from: usize, count: usize, radix| {
        let digits = text.get(from..from + count)?;
        u32::from_str_radix(digits, radix).ok()
    };
    let letter = text.chars().next()?;
    let byte = match letter {
        'u' | 'U' => {
            let mut used = if letter == 'u' { 5 } else { 9 };
            let mut code = digits(1, used - 1, 16)?;
            // JSON writes a character beyond the first 65,536 as two, on which Consul fails.
            if notation == Notation::Json
                && (0xd800..0xdc00).contains(&code)
                && text.get(used..used + 2)? == "\\u"
            {
                let low = digits(used + 2, 4, 16)?.checked_sub(0xdc00)?;
                code = 0x10000 + ((code - 0xd800) << 10) + low;
                used += 6;
            }
            // In HCL, Go counts in signed numbers and replaces what is no character.
            let replaced = notation == Notation::Hcl && !(0x11_0000..1 << 31).contains(&code);
            let replacement = replaced.then_some(char::REPLACEMENT_CHARACTER);
            let decoded = char::from_u32(code).or(replacement)?;
            out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(used);
        }
        'x' => {
            out.push(u8::try_from(digits(1, 2, 16)?).ok()?);
            return Some(3);
        }
        '0'..='7' => {
            out.push(u8::try_from(digits(0, 3, 8)?).ok()?);
            return Some(3);
        }
        'a' => 0x07,
        'b' => 0x08,
        't' => b'\t',
        'n' => b'\n',
        'v' => 0x0b,
        'f' => 0x0c,
        'r' => b'\r',
        '"' | '\\' | '/' => u8::try_from(letter).ok()?,
        _ => return None,
    };
    out.push(byte);
    Some(1)
}

/// Compares a name with an ASCII one as Go's `strings.EqualFold` does, by which Consul finds its
/// fields. To ignore `Operator = "deny"` would be to grant what Consul denies.
pub(crate) fn equal_fold(name: &[u8], ascii: &str) -> bool {
    if name.is_ascii() {
        return name.eq_ignore_ascii_case(ascii.as_bytes());
    }
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let folded = name.chars().map(|letter| match letter {
        // The only letters beyond ASCII that fold into it: the Kelvin sign and the long s.
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        letter => letter.to_ascii_lowercase(),
    });
    folded.eq(ascii.chars().map(|letter| letter.to_ascii_lowercase()))
}

/// Which of the names a misspelt one probably stands for.
pub(super) fn nearest(
    name: &[u8],
    names: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    let name = std::str::from_utf8(name).ok()?;
    let name: String = name.chars().take(40).flat_map(char::to_lowercase).collect();
    names
        .into_iter()
        .map(|candidate| (strsim::levenshtein(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(4))
        .min()
        .map(|(_, candidate)| candidate)
}
