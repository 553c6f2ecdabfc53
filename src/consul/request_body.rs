//! The JSON bodies of requests, read by Go's rules.
//!
//! The case of a field's name does not count, the last one of several counts, and `null`
//! leaves a field alone. serde_json does the parsing; what is accepted is Go's. An error is
//! in words of our own in `Precise`, and in Go's words as far as clients of Consul are known
//! to see them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::dialect::BodyRules;
use super::go::{DurationError, GoDuration, parse_duration, parse_uint, quote_byte, told};
use super::rejection::{RELAY_FACTOR_RANGE, nearest};
use crate::acl::equal_fold;
use crate::autopilot::ValueChange;

/// The fields that a body may have, and what errors say about it.
pub(super) struct Schema {
    fields: &'static [(&'static str, Type)],
    /// Go's name of the struct.
    go: &'static str,
    /// What Consul writes before an error.
    prefix: &'static str,
    example: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Bool,
    Uint8,
    /// Go has two names for its unsigned 64 bits.
    Uint,
    Uint64,
    Duration,
}

/// A body that changes the keyring.
pub(super) const KEY_EXAMPLE: &str = r#"{"Key": "<16, 24 or 32 bytes in base64>"}"#;

/// A change of the keyring. The token is not used: it comes as a parameter or a header.
pub(super) fn keyring(rules: BodyRules) -> Schema {
    const FIELDS: &[(&str, Type)] = &[
        ("Key", Type::Text),
        ("Token", Type::Text),
        ("RelayFactor", Type::Uint8),
        ("LocalOnly", Type::Bool),
    ];
    Schema {
        fields: match rules {
            BodyRules::Loose => &FIELDS[..2],
            BodyRules::Strict | BodyRules::Whole => FIELDS,
        },
        go: "agent.keyringArgs",
        prefix: "Request decode failed: ",
        example: KEY_EXAMPLE,
    }
}

/// Autopilot's rules. The last three are of `Precise`.
pub(super) fn autopilot(rules: BodyRules) -> Schema {
    const FIELDS: &[(&str, Type)] = &[
        ("CleanupDeadServers", Type::Bool),
        ("LastContactThreshold", Type::Duration),
        ("MaxTrailingLogs", Type::Uint64),
        ("MinQuorum", Type::Uint),
        ("ServerStabilizationTime", Type::Duration),
        ("RedundancyZoneTag", Type::Text),
        ("DisableUpgradeMigration", Type::Bool),
        ("UpgradeVersionTag", Type::Text),
        ("CreateIndex", Type::Uint64),
        ("ModifyIndex", Type::Uint64),
        ("FailedHold", Type::Duration),
        ("IntendedSize", Type::Uint64),
        ("DryRun", Type::Bool),
    ];
    Schema {
        fields: match rules {
            BodyRules::Whole => FIELDS,
            BodyRules::Loose | BodyRules::Strict => &FIELDS[..10],
        },
        go: "api.AutopilotConfiguration",
        prefix: "Error parsing autopilot config: ",
        example: r#"{"CleanupDeadServers": true, "LastContactThreshold": "200ms"}"#,
    }
}

/// The fields of a body that were given.
pub(super) struct Fields(Vec<(&'static str, Value)>);

pub(super) enum Value {
    Null,
    Text(Zeroizing<String>),
    Bool(bool),
    Uint(u64),
    Duration(GoDuration),
}

impl Fields {
    fn take(&mut self, field: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| *name == field)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes the value of a field. A null counts as none.
    pub(super) fn value<T: FromValue>(&mut self, field: &str) -> Option<T> {
        self.take(field).and_then(T::from_value)
    }

    /// Takes the value of a field that a null resets.
    pub(super) fn change<T: FromValue>(&mut self, field: &str) -> ValueChange<T> {
        match self.take(field) {
            None => ValueChange::Keep,
            Some(value) => T::from_value(value).map_or(ValueChange::Reset, ValueChange::Set),
        }
    }
}

/// What a value can be taken as.
pub(super) trait FromValue: Sized {
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($variant:ident($type:ty)),+) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$variant(value) => Some(value),
                    _ => None,
                }
            }
        }
    )+};
}

from_value!(
    Text(Zeroizing<String>),
    Bool(bool),
    Uint(u64),
    Duration(GoDuration)
);

/// Reads a body.
///
/// # Errors
/// The text of the first mistake in the body.
pub(super) fn read(body: &[u8], schema: &Schema, rules: BodyRules) -> Result<Fields, String> {
    let copy;
    let text = match str::from_utf8(body) {
        Ok(text) => text,
        Err(_) => {
            copy = lossy(body);
            &copy
        }
    };
    let reader = Reader {
        body,
        text,
        schema,
        rules,
    };
    reader.fields().map_err(|error| match rules {
        BodyRules::Whole => error.precise,
        BodyRules::Loose | BodyRules::Strict => format!("{}{}", schema.prefix, error.go),
    })
}

/// What a body is that is not JSON, by its first bytes.
fn disguise(body: &[u8]) -> Option<&'static str> {
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

/// A mistake in a body, in both wordings.
struct BodyError {
    precise: String,
    go: String,
}

fn error(precise: impl Into<String>, go: impl Into<String>) -> BodyError {
    BodyError {
        precise: precise.into(),
        go: go.into(),
    }
}

struct Reader<'a> {
    body: &'a [u8],
    /// The body with replacement characters.
    text: &'a str,
    schema: &'a Schema,
    rules: BodyRules,
}

impl<'a> Reader<'a> {
    fn fields(&self) -> Result<Fields, BodyError> {
        let mut members = self.members()?;
        if self.rules == BodyRules::Loose {
            // A map of Go prefers the exact name.
            let is_exact = |name: &str| self.schema.fields.iter().any(|(field, _)| *field == name);
            members.sort_by_key(|(name, _)| is_exact(name));
        }
        let mut fields: Vec<(&str, Value)> = Vec::new();
        for (name, raw) in members {
            let mut known = self.schema.fields.iter();
            let known = known.find(|(field, _)| equal_fold(name.as_bytes(), field));
            let Some(&(field, wanted)) = known else {
                match self.rules {
                    BodyRules::Loose => continue,
                    BodyRules::Strict | BodyRules::Whole => return Err(self.unknown(&name)),
                }
            };
            let earlier = fields.iter().position(|(earlier, _)| *earlier == field);
            let value = self.value(field, wanted, raw)?;
            match (earlier, &value, self.rules) {
                (Some(_), _, BodyRules::Whole) => {
                    return Err(error(format!("{field:?} is given twice: send it once"), ""));
                }
                (_, Value::Null, BodyRules::Strict) => {}
                (Some(at), ..) => fields[at].1 = value,
                (None, ..) => fields.push((field, value)),
            }
        }
        Ok(Fields(fields))
    }

    /// The names and values of the object, undecoded.
    fn members(&self) -> Result<Vec<(Zeroizing<String>, &'a RawValue)>, BodyError> {
        let mut json = serde_json::Deserializer::from_str(self.text);
        let value = <&RawValue>::deserialize(&mut json).map_err(|error| self.malformed(&error))?;
        if self.rules == BodyRules::Whole && json.end().is_err() {
            let precise = "something follows the JSON value: send one object only";
            return Err(error(precise, ""));
        }
        match Kind::of(value) {
            Kind::Null => Ok(Vec::new()),
            Kind::Object => serde_json::Deserializer::from_str(value.get())
                .deserialize_map(Members)
                .map_err(|error| self.malformed(&error)),
            found => Err(error(
                format!(
                    "the JSON is {}: send an object such as {}",
                    found.precise(),
                    self.schema.example
                ),
                match self.rules {
                    BodyRules::Loose => format!("'' expected a map, got '{}'", found.loose()),
                    BodyRules::Strict | BodyRules::Whole => format!(
                        "json: cannot unmarshal {} into Go value of type {}",
                        found.go(),
                        self.schema.go
                    ),
                },
            )),
        }
    }

    /// Words a mistake that serde_json found.
    fn malformed(&self, found: &serde_json::Error) -> BodyError {
        let (text, example) = (self.text, self.schema.example);
        if text.trim_ascii().is_empty() {
            let precise = format!("the body is empty: send JSON such as {example}");
            return error(precise, "EOF");
        }
        let message = found.to_string();
        let place = PLACES.iter().find(|(start, _)| message.starts_with(start));
        let (start, place) = place.copied().unwrap_or_default();
        // serde_json counts lines from 1 and tells how many bytes of the line it has
        // read, with the one that it refuses unless that is a control character.
        let lines = text.split_inclusive('\n');
        let lines = lines.take(found.line().saturating_sub(1));
        let read = lines.map(str::len).sum::<usize>() + found.column();
        let offset = read.saturating_sub(usize::from(start != "control character"));
        let rest = text.as_bytes().get(offset..).unwrap_or_default();
        // A number that ends so may go on.
        let is_cut = found.is_eof()
            || matches!(rest, [b'-' | b'+' | b'.' | b'e' | b'E']) && start == "invalid number";
        let (precise, go) = match rest.first() {
            Some(byte) if !is_cut => {
                let byte = quote_byte(*byte);
                (
                    format!(
                        "the body is not JSON, because of {byte} at byte {offset}: send JSON such \
                         as {example}"
                    ),
                    format!("invalid character {byte} {place}"),
                )
            }
            _ => (
                format!("the JSON ends too early: send one whole object such as {example}"),
                "unexpected EOF".to_owned(),
            ),
        };
        let disguise = disguise(self.body).map(str::to_owned);
        error(disguise.unwrap_or(precise), go)
    }

    fn unknown(&self, name: &str) -> BodyError {
        let known: Vec<_> = self.schema.fields.iter().map(|(field, _)| *field).collect();
        let hint = match nearest(name, &known) {
            Some(nearest) => format!("did you mean {nearest:?}?"),
            None => format!("the fields are {}", known.join(", ")),
        };
        let name = told(" ", name);
        error(
            format!("unknown field{name}: {hint}"),
            format!("json: unknown field{name}"),
        )
    }

    fn value(&self, field: &'static str, wanted: Type, raw: &RawValue) -> Result<Value, BodyError> {
        let text = raw.get();
        match (wanted, Kind::of(raw)) {
            // In Consul these are pointers, and a null is their zero.
            (Type::Duration, Kind::Null) if self.rules == BodyRules::Strict => {
                Ok(Value::Duration(GoDuration(0)))
            }
            (_, Kind::Null) => Ok(Value::Null),
            (Type::Bool, Kind::Bool) => Ok(Value::Bool(text == "true")),
            (Type::Text, Kind::String) => Ok(Value::Text(decoded(text))),
            (Type::Duration, Kind::String | Kind::Number) => self.duration(field, raw),
            (Type::Uint8 | Type::Uint | Type::Uint64, Kind::Number) => {
                self.uint(field, wanted, text)
            }
            (_, found) => Err(match self.rules {
                BodyRules::Loose => error(
                    "",
                    format!(
                        "1 error(s) decoding:\n\n* '{field}' expected type '{}', got \
                         unconvertible type '{}'",
                        wanted.go(),
                        found.loose_type()
                    ),
                ),
                BodyRules::Strict | BodyRules::Whole => {
                    self.wrong_type(field, wanted, found.precise(), found.go())
                }
            }),
        }
    }

    fn uint(&self, field: &str, wanted: Type, text: &str) -> Result<Value, BodyError> {
        let is_small = wanted == Type::Uint8;
        let largest = if is_small { u8::MAX.into() } else { u64::MAX };
        let value = parse_uint(text).ok().filter(|value| *value <= largest);
        value.map(Value::Uint).ok_or_else(|| {
            let found = text.get(..40).unwrap_or(text);
            let error = self.wrong_type(field, wanted, found, &format!("number {text}"));
            let precise = if is_small && text.parse::<i128>().is_ok() {
                RELAY_FACTOR_RANGE.to_owned()
            } else if !is_small && text.bytes().all(|byte| byte.is_ascii_digit()) {
                format!("{field:?} is too large")
            } else {
                error.precise
            };
            BodyError { precise, ..error }
        })
    }

    fn wrong_type(&self, field: &str, wanted: Type, precise: &str, go: &str) -> BodyError {
        let name = self.schema.go.rsplit('.').next().unwrap_or_default();
        error(
            format!("{field:?} must be {}, not {precise}", wanted.precise()),
            format!(
                "json: cannot unmarshal {go} into Go struct field {name}.{field} of type {}",
                wanted.go()
            ),
        )
    }

    /// Consul's `ReadableDuration`: a text, whose escapes count for nothing in Consul, or a
    /// number of nanoseconds.
    fn duration(&self, field: &str, raw: &RawValue) -> Result<Value, BodyError> {
        let raw = raw.get();
        let (text, duration) = match raw.strip_prefix('"') {
            Some(quoted) => {
                let text = match self.rules {
                    BodyRules::Whole => decoded(raw),
                    _ => Zeroizing::new(quoted.strip_suffix('"').unwrap_or(quoted).to_owned()),
                };
                let duration = parse_duration(&text);
                (text, duration)
            }
            None => {
                let number: f64 = raw.parse().unwrap_or(f64::INFINITY);
                let limit = i64::MAX as f64;
                // An integer is exact, where a float may not be.
                let number = raw.parse().ok().or_else(|| match self.rules {
                    _ if (-limit..limit).contains(&number) => Some(number as i64),
                    // So Go converts it on most machines, whatever its sign.
                    BodyRules::Strict if number.is_finite() => Some(i64::MIN),
                    _ => None,
                });
                let duration = number.map(GoDuration).ok_or(DurationError::TooLong);
                (Zeroizing::new(raw.to_owned()), duration)
            }
        };
        duration.map(Value::Duration).map_err(|why| {
            let precise = match why {
                DurationError::TooLong if text.starts_with('-') => {
                    format!("{field:?} must not be negative")
                }
                DurationError::TooLong => format!("{field:?} is too large"),
                _ => {
                    let wanted = Type::Duration.precise();
                    format!("{field:?} must be {wanted}{}", told(", not ", &text))
                }
            };
            error(precise, why.go(&text))
        })
    }
}

/// What serde_json says of a byte that cannot stand where it does, and Go's words for
/// that place.
const PLACES: [(&str, &str); 9] = [
    ("expected value", "looking for beginning of value"),
    ("key must be", "looking for beginning of object key string"),
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("control character", "in string literal"),
    ("invalid escape", "in string escape code"),
    ("invalid number", "in numeric literal"),
    ("expected ident", "in literal"),
];

/// The kind of a JSON value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    fn of(value: &RawValue) -> Self {
        match value.get().as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    fn precise(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }

    fn go(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "bool",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }

    /// What mapstructure, which Consul 0.7 decodes with, calls a whole body.
    fn loose(self) -> &'static str {
        match self {
            Kind::Array => "slice",
            Kind::Number => "float64",
            kind => kind.go(),
        }
    }

    /// What it calls the type of a field.
    fn loose_type(self) -> &'static str {
        match self {
            Kind::Array => "[]interface {}",
            Kind::Object => "map[string]interface {}",
            kind => kind.loose(),
        }
    }
}

impl Type {
    fn precise(self) -> &'static str {
        match self {
            Type::Text => "a string",
            Type::Bool => "true or false",
            Type::Uint8 => "a whole number from 0 to 5",
            Type::Uint | Type::Uint64 => "a whole number from 0 on",
            Type::Duration => "a duration such as \"200ms\"",
        }
    }

    fn go(self) -> &'static str {
        match self {
            Type::Text => "string",
            Type::Bool => "bool",
            Type::Uint8 => "uint8",
            Type::Uint => "uint",
            Type::Uint64 => "uint64",
            Type::Duration => "api.ReadableDuration",
        }
    }
}

/// Collects the members of an object.
struct Members;

impl<'a> Visitor<'a> for Members {
    type Value = Vec<(Zeroizing<String>, &'a RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Text(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(members)
    }
}

/// A string in which half a surrogate pair is replaced, as Go does.
#[derive(Default)]
struct Text(Zeroizing<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(lossy(bytes)))
            }
        }

        // As bytes, since a `String` would refuse half a pair.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

/// Copies a text, with replacement characters for what is not UTF-8, as Go does. It may hold
/// a key, so the copy is made in one buffer, which does not move.
fn lossy(bytes: &[u8]) -> Zeroizing<String> {
    let most = char::REPLACEMENT_CHARACTER.len_utf8() * bytes.len();
    let mut text = Zeroizing::new(String::with_capacity(most));
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Decodes a string of a document that was parsed.
fn decoded(quoted: &str) -> Zeroizing<String> {
    serde_json::from_str::<Text>(quoted).unwrap_or_default().0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a change of the keyring in one line, or the error.
    fn keyring_args(body: &[u8], rules: BodyRules) -> String {
        let mut fields = match read(body, &keyring(rules), rules) {
            Ok(fields) => fields,
            Err(error) => return error.replace("Request decode failed: ", ""),
        };
        let mut text = |field| {
            let text: Option<Zeroizing<String>> = fields.value(field);
            text.unwrap_or_default().to_string()
        };
        let (key, token) = (text("Key"), text("Token"));
        let factor: u64 = fields.value("RelayFactor").unwrap_or_default();
        let local: bool = fields.value("LocalOnly").unwrap_or_default();
        format!("{key} {token} {factor} {local}")
    }

    fn strict(body: &str) -> String {
        keyring_args(body.as_bytes(), BodyRules::Strict)
    }

    fn threshold(value: &str) -> Result<i64, String> {
        let body = format!(r#"{{"LastContactThreshold":{value},"MinQuorum":1}}"#);
        let rules = BodyRules::Strict;
        let mut fields = read(body.as_bytes(), &autopilot(rules), rules)?;
        let threshold: GoDuration = fields.value("LastContactThreshold").unwrap();
        Ok(threshold.0)
    }

    #[test]
    fn last_field_of_a_folded_name_counts_and_null_does_not() {
        for (body, fields) in [
            (
                r#"{"kEY":"a","TOKEN":"b","relayfactor":255,"LocalOnly":true}"#,
                "a b 255 true",
            ),
            ("null", "  0 false"),
            ("{}", "  0 false"),
            (r#"{"Key":null}"#, "  0 false"),
            (r#"{"Key":"a","Key":null}"#, "a  0 false"),
            (r#"{"Key":"a","key":"b"}"#, "b  0 false"),
            (r#"{"key":"b","Key":"a"} rest"#, "a  0 false"),
            (r#"{"K\u0065y":"a\n\u00e9"}"#, "a\né  0 false"),
            ("{\"\u{212a}ey\":\"a\"}", "a  0 false"),
        ] {
            assert_eq!(strict(body), fields, "{body}");
        }
    }

    #[test]
    fn broken_characters_are_replaced() {
        for body in [
            &b"{\"Key\":\"a\xff\"}"[..],
            br#"{"Key":"a\ud800"}"#,
            br#"{"Key":"a\udc00\u0041"}"#,
        ] {
            let fields = keyring_args(body, BodyRules::Strict);
            assert!(fields.starts_with("a\u{fffd}"), "{body:?}");
        }
        assert_eq!(strict(r#"{"Key":"a\ud83d\ude00"}"#), "a😀  0 false");
    }

    #[test]
    fn lossy_copy_is_that_of_std_and_never_moves() {
        for bytes in [
            &b""[..],
            "aé😀".as_bytes(),
            b"\xff\xff\xff",
            b"a\xf0\x9f\x98",
            b"\xed\xa0\x80z",
        ] {
            let text = lossy(bytes);
            assert_eq!(*text, String::from_utf8_lossy(bytes));
            assert_eq!(text.capacity(), 3 * bytes.len(), "{bytes:?}");
        }
    }

    #[test]
    fn text_that_is_not_json_is_refused_in_gos_words() {
        for body in ["", " \n"] {
            assert_eq!(strict(body), "EOF");
        }
        for body in [
            "{",
            r#"{"Key":"a"#,
            r#"{"Key""#,
            "[[[[",
            "-",
            "1.",
            "1e",
            "1e+",
            "nul",
        ] {
            assert_eq!(strict(body), "unexpected EOF", "{body}");
        }
        for (body, character, place) in [
            ("Key=x", "K", "looking for beginning of value"),
            ("\0", r"\x00", "looking for beginning of value"),
            ("\u{feff}{}", "ï", "looking for beginning of value"),
            ("\n\n }", "}", "looking for beginning of value"),
            (r#"{"Key":}"#, "}", "looking for beginning of value"),
            (r#"{"Key"}"#, "}", "after object key"),
            (
                "{'a':1}",
                r"\'",
                "looking for beginning of object key string",
            ),
            (r#"{"Key":"a" 1}"#, "1", "after object key:value pair"),
            ("{\"Key\":\"a\nb\"}", r"\n", "in string literal"),
            (r#"{"Key":"\x"}"#, "x", "in string escape code"),
            ("[-x]", "x", "in numeric literal"),
            ("nope", "o", "in literal"),
        ] {
            let error = format!("invalid character '{character}' {place}");
            assert_eq!(strict(body), error, "{body:?}");
        }
    }

    #[test]
    fn text_that_may_be_a_secret_is_left_out() {
        for name in ["0eK8RjnsGC/+I1fJErQsBA==", "z90lFx3sZZLtTOkutXcwYg", "a b"] {
            assert_eq!(strict(&format!(r#"{{"{name}":1}}"#)), "json: unknown field");
        }
        let error = threshold(r#""0eK8RjnsGC/+I1fJErQsBA==""#).unwrap_err();
        assert!(error.ends_with(": time: unknown unit in duration"));
    }

    #[test]
    fn wrong_type_is_named_with_its_field() {
        for (body, found) in [("[1]", "array"), ("5", "number")] {
            let text = format!("json: cannot unmarshal {found} into Go value of type");
            assert_eq!(strict(body), format!("{text} agent.keyringArgs"));
        }
        for (body, found, field, wanted) in [
            (r#"{"key":true}"#, "bool", "Key", "string"),
            (r#"{"Key":1,"Key":"a"}"#, "number", "Key", "string"),
            (r#"{"RelayFactor":"5"}"#, "string", "RelayFactor", "uint8"),
            (
                r#"{"RelayFactor":300}"#,
                "number 300",
                "RelayFactor",
                "uint8",
            ),
            (
                r#"{"RelayFactor":1.0}"#,
                "number 1.0",
                "RelayFactor",
                "uint8",
            ),
        ] {
            let place = format!("keyringArgs.{field} of type {wanted}");
            let error = format!("json: cannot unmarshal {found} into Go struct field {place}");
            assert_eq!(strict(body), error, "{body}");
        }
        let first = r#"{"Extra":1,"Key":1}"#;
        assert_eq!(strict(first), r#"json: unknown field "Extra""#);
    }

    #[test]
    fn duration_is_a_text_or_a_number_of_nanoseconds() {
        for (value, nanoseconds) in [
            (r#""300ms""#, 300_000_000),
            ("2e8", 200_000_000),
            ("1.9", 1),
            ("-2000", -2000),
            ("9223372036854775807", i64::MAX),
            ("9223372036854775808", i64::MIN),
            ("-1e30", i64::MIN),
            ("null", 0),
        ] {
            assert_eq!(threshold(value), Ok(nanoseconds), "{value}");
        }
        for (value, error) in [
            (r#""abc""#, r#"time: invalid duration "abc""#),
            (r#""10""#, r#"time: missing unit in duration "10""#),
            ("1e400", r#"time: invalid duration "1e400""#),
        ] {
            let error = format!("Error parsing autopilot config: {error}");
            assert_eq!(threshold(value), Err(error));
        }
    }

    #[test]
    fn loose_body_is_read_as_mapstructure_reads_it() {
        for (body, result) in [
            (r#"{"Key":"a","Extra":{"Key":"b"}} x"#, "a  0 false"),
            (r#"{"Key":"a","key":"b"}"#, "a  0 false"),
            (r#"{"key":"b","KEY":"c","toKEN":"t"}"#, "c t 0 false"),
            (r#"{"Key":"a","Key":null,"RelayFactor":"x"}"#, "  0 false"),
            ("null", "  0 false"),
            ("[1]", "'' expected a map, got 'slice'"),
            (
                r#"{"Key":1}"#,
                "1 error(s) decoding:\n\n* 'Key' expected type 'string', got unconvertible type \
                 'float64'",
            ),
            (
                r#"{"key":[]}"#,
                "1 error(s) decoding:\n\n* 'Key' expected type 'string', got unconvertible type \
                 '[]interface {}'",
            ),
        ] {
            let read = keyring_args(body.as_bytes(), BodyRules::Loose);
            assert_eq!(read, result, "{body}");
        }
    }
}
