//! Errors of a request's JSON body, in Go's words and in words of our own.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::dialect::BodyRules;
use super::go::{DurationError, quote_byte, told};
use super::rejection::{RELAY_FACTOR_RANGE, nearest};

/// Why a body cannot be read.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{}", self.go())]
pub(super) enum BodyError {
    Empty,
    /// The text ends before the value does.
    Cut,
    /// This byte cannot stand here.
    Syntax {
        found: u8,
        offset: usize,
        /// Where it stands, in Go's words.
        place: Cow<'static, str>,
    },
    /// Something follows the value.
    Trailing,
    NotObject {
        found: Kind,
        /// Go's name of the struct.
        go: &'static str,
    },
    UnknownField {
        name: String,
        known: &'static [&'static str],
    },
    /// The field is given twice, in whatever case.
    Repeated(&'static str),
    /// A number that a float of 64 bits cannot hold.
    Float(String),
    WrongType {
        found: Kind,
        /// A number that does not fit.
        number: Option<String>,
        /// Go's names of the struct, the field and its type.
        go: &'static str,
        field: &'static str,
        wanted: &'static str,
    },
    Duration {
        field: &'static str,
        text: String,
        error: DurationError,
    },
    /// Something else than JSON, and what to do about it.
    Disguised(&'static str),
    /// What only a defect of this library can cause.
    Other(String),
}

/// The kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl serde::de::Error for BodyError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        BodyError::Other(message.to_string())
    }
}

impl Kind {
    pub(super) fn of(value: &RawValue) -> Self {
        match value.get().as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    fn described(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "bool",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }
}

/// What a body is that is not JSON, by its first bytes.
pub(super) fn disguise(body: &[u8]) -> Option<&'static str> {
    match body {
        [0xef, 0xbb, 0xbf, ..] => Some("the body begins with a byte order mark: send it without"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'{', ..] | [b'{', 0, ..] => {
            Some("the body is in UTF-16: send it in UTF-8")
        }
        [0x1f, 0x8b, ..] => Some("the body is compressed: send it as it is"),
        [b'-', b'-', ..] => Some("the body is a form: send JSON"),
        _ => {
            let (name, value) = body.split_at(body.iter().position(|byte| *byte == b'=')?);
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.%+".contains(byte);
            // A bare key in base64 may end in an equals sign, too.
            let is_padding = value.trim_ascii().iter().all(|byte| *byte == b'=');
            let is_form = !is_padding && !name.is_empty() && name.iter().all(is_name);
            is_form.then_some("the body is a form: send JSON")
        }
    }
}

/// What serde_json says of a byte that cannot stand where it does, and Go's words for
/// that place.
const PLACES: [(&str, &str); 8] = [
    ("expected value", "looking for beginning of value"),
    ("key must be", "looking for beginning of object key string"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
    ("invalid number", "in numeric literal"),
];

/// Finds a mistake that serde_json found in `text`, which is `body` with replacement
/// characters for what is not UTF-8.
pub(super) fn syntax(body: &[u8], text: &str, error: &serde_json::Error) -> BodyError {
    if text.trim_ascii().is_empty() {
        return BodyError::Empty;
    }
    let message = error.to_string();
    let place = PLACES.iter().find(|(start, _)| message.starts_with(start));
    // serde_json counts lines from 1 and tells how many bytes of the line it has
    // read, with the one that it refuses unless that is a control character.
    let lines = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1));
    let read = lines.map(str::len).sum::<usize>() + error.column();
    let offset = match place {
        Some(("control character", _)) => read,
        _ => read.saturating_sub(1),
    };
    let is_last = offset + 1 == text.len();
    let place = match place {
        Some((_, place)) => Cow::Borrowed(*place),
        None => literal(text.get(..offset).unwrap_or_default()).unwrap_or(message.into()),
    };
    let offset = offset_in(body, offset);
    match body.get(offset) {
        Some(b'-' | b'+' | b'.' | b'e' | b'E') if is_last => BodyError::Cut,
        Some(&found) if !error.is_eof() => BodyError::Syntax {
            found,
            offset,
            place,
        },
        _ => BodyError::Cut,
    }
}

/// Go's words for the place behind the beginning of `null`, `true` or `false`.
fn literal(before: &str) -> Option<Cow<'static, str>> {
    let begun = before.rsplit(|c: char| !c.is_ascii_lowercase()).next()?;
    let begins = |literal: &&str| !begun.is_empty() && literal.starts_with(begun);
    let literal = ["null", "true", "false"].into_iter().find(begins)?;
    let expected = literal[begun.len()..].chars().next()?;
    Some(format!("in literal {literal} (expecting '{expected}')").into())
}

/// The offset in `body` of a byte of its copy with replacement characters.
fn offset_in(body: &[u8], offset: usize) -> usize {
    let (mut copied, mut at) = (0, 0);
    for chunk in body.utf8_chunks() {
        let valid = chunk.valid().len();
        if offset < copied + valid {
            break;
        }
        let replaced = match chunk.invalid() {
            [] => 0,
            _ => char::REPLACEMENT_CHARACTER.len_utf8(),
        };
        if offset < copied + valid + replaced {
            return at + valid;
        }
        copied += valid + replaced;
        at += valid + chunk.invalid().len();
    }
    at + (offset - copied)
}

/// Writes the errors of a body in the words of a dialect.
pub(super) fn text(errors: &[BodyError], example: &str, rules: BodyRules) -> String {
    let [first, ..] = errors else {
        return String::new();
    };
    match (rules, first) {
        (BodyRules::Whole, error) => error.precise(example),
        (BodyRules::Loose, BodyError::WrongType { .. }) => {
            let mut lines: Vec<_> = errors.iter().map(BodyError::mapstructure).collect();
            lines.sort();
            lines.dedup();
            let count = lines.len();
            format!("{count} error(s) decoding:\n\n{}", lines.join("\n"))
        }
        (BodyRules::Loose, error @ BodyError::NotObject { .. }) => error.mapstructure(),
        (_, error) => error.go(),
    }
}

impl BodyError {
    /// Words of our own.
    fn precise(&self, example: &str) -> String {
        match self {
            BodyError::Empty => format!("the body is empty: send JSON such as {example}"),
            BodyError::Cut => {
                format!("the JSON ends too early: send one whole object such as {example}")
            }
            BodyError::Syntax { found, offset, .. } => {
                let found = quote_byte(*found);
                format!(
                    "the body is not JSON, because of {found} at byte {offset}: send JSON such as {example}"
                )
            }
            BodyError::Trailing => "something follows the JSON value: send one object only".into(),
            BodyError::NotObject { found, .. } => {
                format!(
                    "the JSON is {}: send an object such as {example}",
                    found.described()
                )
            }
            BodyError::UnknownField { name, known } => {
                let what = format!("unknown field{}", told(" ", name));
                match nearest(name, known) {
                    Some(nearest) => format!("{what}: did you mean {nearest:?}?"),
                    None => format!("{what}: the fields are {}", known.join(", ")),
                }
            }
            BodyError::Repeated(field) => format!("{field:?} is given twice: send it once"),
            BodyError::WrongType {
                number: Some(number),
                wanted: "uint8",
                ..
            } if number.parse::<i128>().is_ok() => RELAY_FACTOR_RANGE.into(),
            BodyError::WrongType {
                number: Some(number),
                field,
                wanted: "uint" | "uint64",
                ..
            } if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{field:?} is too large")
            }
            BodyError::WrongType {
                found,
                number,
                field,
                wanted,
                ..
            } => {
                let wanted = match *wanted {
                    "string" => "a string",
                    "bool" => "true or false",
                    "uint8" => "a whole number from 0 to 5",
                    "api.ReadableDuration" => "a duration such as \"200ms\"",
                    _ => "a whole number from 0 on",
                };
                let found = match number {
                    Some(number) => number.get(..40).unwrap_or(number),
                    None => found.described(),
                };
                format!("{field:?} must be {wanted}, not {found}")
            }
            BodyError::Duration {
                field,
                text,
                error: DurationError::TooLong,
            } => {
                if text.starts_with('-') {
                    format!("{field:?} must not be negative")
                } else {
                    format!("{field:?} is too large")
                }
            }
            BodyError::Duration { field, text, .. } => {
                format!(
                    "{field:?} must be a duration such as \"200ms\"{}",
                    told(", not ", text)
                )
            }
            BodyError::Disguised(what) => (*what).to_owned(),
            // Of the other dialects.
            BodyError::Float(_) => self.go(),
            BodyError::Other(message) => message.clone(),
        }
    }

    /// The words of Go's `encoding/json`.
    fn go(&self) -> String {
        match self {
            BodyError::Empty => "EOF".into(),
            BodyError::Cut => "unexpected EOF".into(),
            BodyError::Syntax { found, place, .. } => {
                format!("invalid character {} {place}", quote_byte(*found))
            }
            BodyError::Trailing => "something follows the JSON value".into(),
            BodyError::NotObject { found, go } => {
                let found = found.name();
                format!("json: cannot unmarshal {found} into Go value of type {go}")
            }
            BodyError::UnknownField { name, .. } => {
                format!("json: unknown field{}", told(" ", name))
            }
            BodyError::WrongType {
                found,
                number,
                go,
                field,
                wanted,
            } => {
                let found = match number {
                    Some(number) => format!("number {number}"),
                    None => found.name().to_owned(),
                };
                let go = go.rsplit('.').next().unwrap_or(go);
                format!(
                    "json: cannot unmarshal {found} into Go struct field {go}.{field} of type \
                     {wanted}"
                )
            }
            BodyError::Duration { text, error, .. } => error.go(text),
            BodyError::Float(number) => {
                format!("json: cannot unmarshal number {number} into Go value of type float64")
            }
            // Of `Precise`.
            BodyError::Repeated(_) => self.precise(""),
            BodyError::Disguised(what) => (*what).to_owned(),
            BodyError::Other(message) => message.clone(),
        }
    }

    /// The words of mapstructure, which Consul 0.7 decodes with.
    fn mapstructure(&self) -> String {
        match self {
            BodyError::NotObject { found, .. } => {
                let found = match found {
                    Kind::Array => "slice",
                    Kind::Number => "float64",
                    found => found.name(),
                };
                format!("'' expected a map, got '{found}'")
            }
            BodyError::WrongType {
                found,
                field,
                wanted,
                ..
            } => {
                let found = match found {
                    Kind::Array => "[]interface {}",
                    Kind::Object => "map[string]interface {}",
                    Kind::Number => "float64",
                    found => found.name(),
                };
                format!("* '{field}' expected type '{wanted}', got unconvertible type '{found}'")
            }
            error => error.go(),
        }
    }
}
