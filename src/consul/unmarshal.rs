//! JSON bodies of requests, read into derived structs by Go's rules.
//!
//! The case of a field's name does not count, the last one of several counts, and
//! `null` leaves a field alone. serde_json does the parsing; what is accepted, and
//! the texts that clients of Consul see, are Go's.

use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::body_error::{BodyError, Kind, disguise, syntax};
use super::dialect::BodyRules;
use super::go::{self, DurationError, GoDuration};

/// Reads a body.
///
/// # Errors
/// The errors, in the order of the document: the first one, or for a body that is
/// read loosely each one of a field.
pub(super) fn read<T: DeserializeOwned>(
    body: &[u8],
    rules: BodyRules,
) -> Result<T, Vec<BodyError>> {
    // Go replaces what is not UTF-8. The copy may hold a key.
    let text = match String::from_utf8_lossy(body) {
        Cow::Borrowed(text) => Ok(text),
        Cow::Owned(text) => Err(Zeroizing::new(text)),
    };
    let text: &str = match &text {
        Ok(text) => text,
        Err(copy) => copy,
    };
    let (value, members) = document(body, text, rules).map_err(|error| {
        let disguise = disguise(body).filter(|_| rules == BodyRules::Whole);
        vec![disguise.map_or(error, BodyError::Disguised)]
    })?;
    let mut object = Object {
        kind: Kind::of(value),
        members: &members,
        rules,
    };
    let errors: Vec<_> = match object.kind {
        // Each member by itself, since a wrong one that a later one replaces is wrong
        // all the same.
        Kind::Object => (0..members.len())
            .filter_map(|at| {
                object.members = &members[at..=at];
                T::deserialize(object).err()
            })
            .collect(),
        _ => Vec::new(),
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    object.members = &members;
    T::deserialize(object).map_err(|error| vec![error])
}

/// The names and the values of an object, undecoded.
type Members<'a> = Vec<(Zeroizing<String>, &'a RawValue)>;

/// The first value of a text, with its members if it is an object.
fn document<'a>(
    body: &[u8],
    text: &'a str,
    rules: BodyRules,
) -> Result<(&'a RawValue, Members<'a>), BodyError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = <&RawValue>::deserialize(&mut json).map_err(|error| syntax(body, text, &error))?;
    if rules == BodyRules::Whole && json.end().is_err() {
        return Err(BodyError::Trailing);
    }
    let mut members = Vec::new();
    if Kind::of(value) == Kind::Object {
        let mut json = serde_json::Deserializer::from_str(value.get());
        json.deserialize_map(MembersVisitor(&mut members))
            .map_err(|error| syntax(body, text, &error))?;
    }
    // mapstructure gets the numbers as floats.
    let is_too_large = |value: &&RawValue| {
        Kind::of(value) == Kind::Number && value.get().parse().is_ok_and(f64::is_infinite)
    };
    let mut values = members.iter().map(|(_, value)| *value).chain([value]);
    match values.find(is_too_large) {
        Some(number) if rules == BodyRules::Loose => Err(BodyError::Float(number.get().to_owned())),
        _ => Ok((value, members)),
    }
}

/// Collects members.
struct MembersVisitor<'m, 'a>(&'m mut Members<'a>);

impl<'a> Visitor<'a> for MembersVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Text(name), value)) = map.next_entry()? {
            self.0.push((name, value));
        }
        Ok(())
    }
}

/// A string in which half a surrogate pair is replaced, as Go does.
struct Text(Zeroizing<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text.to_owned())))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(
                    String::from_utf8_lossy(bytes).into_owned(),
                )))
            }
        }

        // As bytes, since a `String` would refuse half a pair.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

/// The fields that are pointers in Consul.
const POINTERS: [&str; 2] = ["LastContactThreshold", "ServerStabilizationTime"];

/// The fields that Consul does not know. A null means something in them.
const ADDITIONS: [&str; 3] = ["FailedHold", "IntendedSize", "DryRun"];

/// A JSON value as a struct's deserializer.
#[derive(Clone, Copy)]
struct Object<'a> {
    kind: Kind,
    members: &'a [(Zeroizing<String>, &'a RawValue)],
    rules: BodyRules,
}

impl<'a> Object<'a> {
    /// The member that sets a field: the last one of its name that is not null. A map
    /// of Go prefers the exact name and keeps a null, and a null is the zero of a pointer.
    fn member(&self, field: &str) -> Option<&'a RawValue> {
        let named = |exact: bool| {
            self.members
                .iter()
                .rev()
                .filter(move |(name, _)| {
                    if exact {
                        **name == field
                    } else {
                        equal_fold(name, field)
                    }
                })
                .map(|(_, value)| *value)
        };
        let is_null = |value: &&RawValue| Kind::of(value) == Kind::Null;
        match self.rules {
            BodyRules::Strict if POINTERS.contains(&field) => return named(false).next(),
            BodyRules::Whole if ADDITIONS.contains(&field) => return named(false).next(),
            BodyRules::Loose => named(true).chain(named(false)).next(),
            _ => named(false).find(|value| !is_null(value)),
        }
        .filter(|value| !is_null(value))
    }
}

impl<'de> Deserializer<'de> for Object<'de> {
    type Error = BodyError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        visitor.visit_unit()
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        go: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        if !matches!(self.kind, Kind::Object | Kind::Null) {
            let found = self.kind;
            return Err(BodyError::NotObject { found, go });
        }
        let takes = |field: &str| self.rules == BodyRules::Whole || !ADDITIONS.contains(&field);
        let is_known = |name: &str| {
            let mut fields = fields.iter().filter(|field| takes(field));
            fields.any(|field| equal_fold(name, field))
        };
        let unknown = self.members.iter().find(|(name, _)| !is_known(name));
        if let Some((name, _)) = unknown.filter(|_| self.rules != BodyRules::Loose) {
            return Err(BodyError::UnknownField {
                name: name.to_string(),
                known: fields,
            });
        }
        let is_repeated = |field: &&&str| {
            let named = |(name, _): &&(Zeroizing<String>, _)| equal_fold(name, field);
            self.members.iter().filter(named).nth(1).is_some()
        };
        let repeated = fields.iter().find(is_repeated);
        if let Some(field) = repeated.filter(|_| self.rules == BodyRules::Whole) {
            return Err(BodyError::Repeated(field));
        }
        let values = fields.iter().filter_map(|field| {
            let raw = self.member(field)?;
            let value = Value {
                raw,
                go,
                field,
                wanted: None,
                rules: self.rules,
            };
            Some((BorrowedStrDeserializer::new(field), value))
        });
        visitor.visit_map(MapDeserializer::new(values))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
        ignored_any
    }
}

/// Tells whether a name is the ASCII `field` but for case, as Go's
/// `strings.EqualFold`. Two other characters fold to ASCII: the Kelvin sign and the
/// long s.
fn equal_fold(name: &str, field: &str) -> bool {
    let folded = name.chars().map(|c| match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        _ => c.to_ascii_lowercase(),
    });
    folded.eq(field.chars().map(|c| c.to_ascii_lowercase()))
}

/// The value of a field.
struct Value<'a> {
    raw: &'a RawValue,
    go: &'static str,
    field: &'static str,
    /// Go's name of the type, where Rust's says less.
    wanted: Option<&'static str>,
    rules: BodyRules,
}

impl Value<'_> {
    fn wrong(&self, wanted: &'static str) -> BodyError {
        BodyError::WrongType {
            found: Kind::of(self.raw),
            number: None,
            go: self.go,
            field: self.field,
            wanted: self.wanted.unwrap_or(wanted),
        }
    }

    /// A number of this type that is at most so large.
    fn uint(&self, wanted: &'static str, largest: u64) -> Result<u64, BodyError> {
        let mut error = self.wrong(wanted);
        let text = self.raw.get();
        let value = go::parse_uint(text).ok().filter(|value| *value <= largest);
        if let (Kind::Number, BodyError::WrongType { number, .. }) =
            (Kind::of(self.raw), &mut error)
        {
            *number = Some(text.to_owned());
        }
        value.ok_or(error)
    }

    /// A string.
    fn string(&self) -> Result<Zeroizing<String>, BodyError> {
        let text = serde_json::from_str::<Text>(self.raw.get());
        text.map(|Text(text)| text)
            .map_err(|_| self.wrong("string"))
    }

    /// Consul's `ReadableDuration`: a text, whose escapes count for nothing in Consul, or a
    /// number of nanoseconds.
    fn duration(&self) -> Result<i64, BodyError> {
        let text = self.raw.get();
        let error = |text: &str, error| BodyError::Duration {
            field: self.field,
            text: text.to_owned(),
            error,
        };
        match Kind::of(self.raw) {
            Kind::String => {
                let text = match self.rules {
                    BodyRules::Whole => self.string()?,
                    _ => Zeroizing::new(text[1..text.len() - 1].to_owned()),
                };
                let duration = go::parse_duration(&text);
                duration
                    .map(|duration| duration.0)
                    .map_err(|why| error(&text, why))
            }
            Kind::Number => {
                let value: f64 = text.parse().unwrap_or(f64::INFINITY);
                let limit = i64::MAX as f64;
                // An integer is exact, where a float may not be.
                let value = text.parse().ok().or_else(|| {
                    match self.rules {
                        _ if (-limit..limit).contains(&value) => Some(value as i64),
                        // So Go converts it on most machines, whatever its sign.
                        BodyRules::Strict if value.is_finite() => Some(i64::MIN),
                        _ => None,
                    }
                });
                value.ok_or_else(|| error(text, DurationError::TooLong))
            }
            Kind::Null => Ok(0),
            _ => Err(self.wrong("api.ReadableDuration")),
        }
    }
}

impl<'a> IntoDeserializer<'a, BodyError> for Value<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = BodyError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match Kind::of(self.raw) {
            Kind::Bool => visitor.visit_bool(self.raw.get() == "true"),
            _ => Err(self.wrong("bool")),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        visitor.visit_u64(self.uint("uint8", u64::from(u8::MAX))?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        visitor.visit_u64(self.uint("uint64", u64::MAX)?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        visitor.visit_str(&self.string()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        // Other nulls do not get here.
        match Kind::of(self.raw) {
            Kind::Null if ADDITIONS.contains(&self.field) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        wanted: &'static str,
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        self.wanted = Some(wanted);
        if wanted == GoDuration::NAME {
            return visitor.visit_i64(self.duration()?);
        }
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u16 u32 u128 f32 f64 char str bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::body::{AutopilotRules, KeyringArgs, OldKeyringArgs};
    use crate::consul::body_error::text;

    const STRICT: BodyRules = BodyRules::Strict;

    /// The fields in one line, or the error.
    fn keyring(body: &[u8]) -> String {
        match read::<KeyringArgs>(body, STRICT) {
            Ok(args) => format!(
                "{} {} {} {}",
                *args.key.0, *args.token.0, args.relay_factor, args.local_only
            ),
            Err(errors) => text(&errors, "", STRICT),
        }
    }

    fn old_keyring(body: &str) -> String {
        match read::<OldKeyringArgs>(body.as_bytes(), BodyRules::Loose) {
            Ok(args) => format!("{} {}", *args.key.0, *args.token.0),
            Err(errors) => text(&errors, "", BodyRules::Loose),
        }
    }

    fn autopilot(body: &str) -> String {
        match read::<AutopilotRules>(body.as_bytes(), STRICT) {
            Ok(rules) => {
                let nanoseconds = rules.last_contact_threshold.map(|threshold| threshold.0);
                let quorum = rules.min_quorum.map(|quorum| quorum.0);
                format!("{nanoseconds:?} {quorum:?}")
            }
            Err(errors) => text(&errors, "", STRICT),
        }
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
            assert_eq!(keyring(body.as_bytes()), fields, "{body}");
        }
    }

    #[test]
    fn broken_characters_are_replaced() {
        for body in [
            &b"{\"Key\":\"a\xff\"}"[..],
            br#"{"Key":"a\ud800"}"#,
            br#"{"Key":"a\udc00\u0041"}"#,
        ] {
            assert!(keyring(body).starts_with("a\u{fffd}"), "{body:?}");
        }
        assert_eq!(keyring(br#"{"Key":"a\ud83d\ude00"}"#), "a😀  0 false");
    }

    #[test]
    fn text_that_is_not_json_is_refused_in_gos_words() {
        let begin = "looking for beginning of value";
        for (body, error) in [
            ("", "EOF".to_owned()),
            (" \n", "EOF".to_owned()),
            ("{", "unexpected EOF".to_owned()),
            (r#"{"Key":"#, "unexpected EOF".to_owned()),
            (r#"{"Key":"a"#, "unexpected EOF".to_owned()),
            (r#"{"Extra":1,"Key""#, "unexpected EOF".to_owned()),
            ("[[[[[[[[[[[[", "unexpected EOF".to_owned()),
            ("-", "unexpected EOF".to_owned()),
            ("1.", "unexpected EOF".to_owned()),
            ("nul", "unexpected EOF".to_owned()),
            ("x", format!("invalid character 'x' {begin}")),
            ("Key=x", format!("invalid character 'K' {begin}")),
            ("\0", format!("invalid character '\\x00' {begin}")),
            ("\u{feff}{}", format!("invalid character 'ï' {begin}")),
            ("// c\n{}", format!("invalid character '/' {begin}")),
            ("\n\n }", format!("invalid character '}}' {begin}")),
            (r#"{"Key":}"#, format!("invalid character '}}' {begin}")),
            (
                r#"{"Key"}"#,
                "invalid character '}' after object key".to_owned(),
            ),
            (
                "{'Key':'x'}",
                "invalid character '\\'' looking for beginning of object key string".to_owned(),
            ),
            (
                r#"{"Key":"a" 1}"#,
                "invalid character '1' after object key:value pair".to_owned(),
            ),
            (
                "{\"Key\":\"a\nb\"}",
                "invalid character '\\n' in string literal".to_owned(),
            ),
            (
                r#"{"Key":"\x"}"#,
                "invalid character 'x' in string escape code".to_owned(),
            ),
            (
                "[-x]",
                "invalid character 'x' in numeric literal".to_owned(),
            ),
            (
                "nope",
                "invalid character 'o' in literal null (expecting 'u')".to_owned(),
            ),
            (
                r#"{"Key":trux}"#,
                "invalid character 'x' in literal true (expecting 'e')".to_owned(),
            ),
            (
                "[fAlse]",
                "invalid character 'A' in literal false (expecting 'a')".to_owned(),
            ),
        ] {
            assert_eq!(keyring(body.as_bytes()), error, "{body:?}");
        }
    }

    #[test]
    fn byte_that_is_not_utf8_is_named_as_it_came() {
        for (body, byte) in [
            (&b"\xff"[..], "'ÿ'"),
            (b"\xf0\x9f{", "'ð'"),
            (b"{\"\xff\xff\":\xe9}", "'é'"),
            (b"{\"\xff\":1 x", "'x'"),
        ] {
            let text = keyring(body);
            assert!(
                text.starts_with(&format!("invalid character {byte}")),
                "{text}"
            );
        }
        let error = read::<KeyringArgs>(b"{\"\xff\xff\":x}", BodyRules::Whole).err();
        let text = text(&error.unwrap(), "", BodyRules::Whole);
        assert!(text.contains("'x' at byte 6"), "{text}");
    }

    #[test]
    fn text_that_may_be_a_secret_is_left_out() {
        for name in ["0eK8RjnsGC/+I1fJErQsBA==", "z90lFx3sZZLtTOkutXcwYg", "a b"] {
            let body = format!(r#"{{"{name}":1}}"#);
            assert_eq!(keyring(body.as_bytes()), "json: unknown field");
        }
        let secret = r#"{"LastContactThreshold":"0eK8RjnsGC/+I1fJErQsBA=="}"#;
        assert_eq!(autopilot(secret), "time: unknown unit in duration");
    }

    #[test]
    fn wrong_type_is_named_with_its_field() {
        let value = "json: cannot unmarshal";
        let field = "into Go struct field keyringArgs";
        for (body, error) in [
            (
                "[1]",
                format!("{value} array into Go value of type agent.keyringArgs"),
            ),
            (
                "5",
                format!("{value} number into Go value of type agent.keyringArgs"),
            ),
            (
                r#"{"key":true}"#,
                format!("{value} bool {field}.Key of type string"),
            ),
            (
                r#"{"K\u0065y":{}}"#,
                format!("{value} object {field}.Key of type string"),
            ),
            (
                r#"{"RelayFactor":"5"}"#,
                format!("{value} string {field}.RelayFactor of type uint8"),
            ),
            (
                r#"{"RelayFactor":300}"#,
                format!("{value} number 300 {field}.RelayFactor of type uint8"),
            ),
            (
                r#"{"RelayFactor":1.0}"#,
                format!("{value} number 1.0 {field}.RelayFactor of type uint8"),
            ),
            (
                r#"{"Key":1,"Key":"a"}"#,
                format!("{value} number {field}.Key of type string"),
            ),
            (
                r#"{"Extra":1,"Key":1}"#,
                r#"json: unknown field "Extra""#.to_owned(),
            ),
        ] {
            assert_eq!(keyring(body.as_bytes()), error, "{body}");
        }
        assert_eq!(
            autopilot(r#"{"MinQuorum":-1,"CleanupDeadServers":0}"#),
            format!(
                "{value} number -1 into Go struct field AutopilotConfiguration.MinQuorum of type uint"
            ),
        );
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
            let body = format!(r#"{{"LastContactThreshold":{value}}}"#);
            assert_eq!(autopilot(&body), format!("Some({nanoseconds}) None"));
        }
        for (value, error) in [
            (r#""abc""#, r#"time: invalid duration "abc""#),
            (r#""10""#, r#"time: missing unit in duration "10""#),
            ("1e400", r#"time: invalid duration "1e400""#),
        ] {
            let body = format!(r#"{{"LastContactThreshold":{value},"MinQuorum":1}}"#);
            assert_eq!(autopilot(&body), error);
        }
    }

    #[test]
    fn loose_body_is_read_as_mapstructure_reads_it() {
        let wrong = |field, found| {
            format!("* '{field}' expected type 'string', got unconvertible type '{found}'")
        };
        for (body, result) in [
            (r#"{"Key":"a","Extra":{"Key":"b"}} x"#, "a ".to_owned()),
            (r#"{"Key":"a","key":"b"}"#, "a ".to_owned()),
            (r#"{"key":"b","KEY":"c","toKEN":"t"}"#, "c t".to_owned()),
            (r#"{"Key":"a","Key":null}"#, " ".to_owned()),
            ("null", " ".to_owned()),
            (
                r#"{"Extra":-1e999}"#,
                "json: cannot unmarshal number -1e999 into Go value of type float64".to_owned(),
            ),
            ("[1]", "'' expected a map, got 'slice'".to_owned()),
            ("1", "'' expected a map, got 'float64'".to_owned()),
            (
                r#"{"key":[]}"#,
                format!("1 error(s) decoding:\n\n{}", wrong("Key", "[]interface {}")),
            ),
            (
                r#"{"Token":1,"Key":true}"#,
                format!(
                    "2 error(s) decoding:\n\n{}\n{}",
                    wrong("Key", "bool"),
                    wrong("Token", "float64")
                ),
            ),
        ] {
            assert_eq!(old_keyring(body), result, "{body}");
        }
    }
}
