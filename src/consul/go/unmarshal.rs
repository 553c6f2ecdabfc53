//! Go's `json.Decoder` with `DisallowUnknownFields`, into a flat struct.
//!
//! Consul 1.10 and later read every operator body so, and put Go's error behind
//! `Request decode failed: ` or `Error parsing autopilot config: `.

use super::duration::parse_duration_bytes;
use super::fold::equal_fold;
use super::json::{Document, Member, Value};
use super::number::{parse_float, parse_uint};
use super::quote::quote;

/// A struct as Go names it in errors, with its fields.
pub(crate) struct Struct<const N: usize> {
    /// The name of the package, as in `agent.keyringArgs`.
    pub(crate) package: &'static str,
    /// The name within the package.
    pub(crate) name: &'static str,
    /// The fields, whose positions are those of the values that are returned.
    pub(crate) fields: [(&'static str, GoType); N],
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GoType {
    String,
    Bool,
    Uint8,
    Uint,
    Uint64,
    /// A pointer to Consul's `api.ReadableDuration`, which takes a duration's
    /// text or a number of nanoseconds.
    Duration,
}

/// The value of a field. It cannot be printed: a string may be a secret.
pub(crate) enum Field {
    String(String),
    Bool(bool),
    /// The value of any of the unsigned types.
    Uint(u64),
    /// In nanoseconds.
    Duration(i64),
}

/// Decodes `document` into the fields of `target`. A field that the document
/// does not set is `None`.
pub(crate) fn unmarshal<const N: usize>(
    document: &Document<'_>,
    target: &Struct<N>,
) -> Result<[Option<Field>; N], String> {
    let mut values = [const { None }; N];
    match document.value() {
        Value::Object => {}
        Value::Null => return Ok(values),
        other => {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type {}.{}",
                describe(&other),
                target.package,
                target.name,
            ));
        }
    }
    // An error of the value's type does not end the decoding: the first one is
    // returned at the end, unless a duration, which does end it, fails first.
    let mut saved = None;
    for member in document.members() {
        let name = member.name();
        let field = target
            .fields
            .iter()
            .zip(&mut values)
            .find(|((field, _), _)| equal_fold(&name, field));
        let Some(((field, go_type), value)) = field else {
            saved.get_or_insert_with(|| format!("json: unknown field {}", quote(&name)));
            continue;
        };
        match go_type.decode(&member) {
            Ok(Some(decoded)) => *value = Some(decoded),
            Ok(None) => {}
            Err(Failure::Mismatch(got)) => {
                saved.get_or_insert_with(|| {
                    format!(
                        "json: cannot unmarshal {got} into Go struct field {}.{field} of type {}",
                        target.name,
                        go_type.name(),
                    )
                });
            }
            Err(Failure::Duration(text)) => return Err(text),
        }
    }
    saved.map_or(Ok(values), Err)
}

enum Failure {
    /// The value is of another type, which is described here.
    Mismatch(String),
    /// `ReadableDuration` refused the value, in these words.
    Duration(String),
}

impl GoType {
    /// The decoded value, or `None` if it leaves the field alone.
    fn decode(self, member: &Member<'_>) -> Result<Option<Field>, Failure> {
        if self == GoType::Duration {
            return duration(member).map(Some).map_err(Failure::Duration);
        }
        let value = member.value();
        let decoded = match (self, &value) {
            (_, Value::Null) => return Ok(None),
            (GoType::String, Value::String(literal)) => {
                Some(Field::String(literal.text().into_owned()))
            }
            (GoType::Bool, Value::Bool(value)) => Some(Field::Bool(*value)),
            (GoType::Uint8 | GoType::Uint | GoType::Uint64, Value::Number(text)) => {
                // A number of the wrong size is quoted; one where no number
                // belongs is not.
                let value = parse_uint(text)
                    .ok()
                    .filter(|value| *value <= self.largest());
                let value = value.ok_or_else(|| Failure::Mismatch(format!("number {text}")))?;
                Some(Field::Uint(value))
            }
            _ => None,
        };
        match decoded {
            Some(field) => Ok(Some(field)),
            None => Err(Failure::Mismatch(describe(&value).to_owned())),
        }
    }

    fn largest(self) -> u64 {
        match self {
            GoType::Uint8 => u64::from(u8::MAX),
            _ => u64::MAX,
        }
    }

    fn name(self) -> &'static str {
        match self {
            GoType::String => "string",
            GoType::Bool => "bool",
            GoType::Uint8 => "uint8",
            GoType::Uint => "uint",
            GoType::Uint64 => "uint64",
            GoType::Duration => "api.ReadableDuration",
        }
    }
}

/// `ReadableDuration.UnmarshalJSON`, which is given the text as it stands in the
/// body: it strips the quotes of a string and leaves its escapes.
fn duration(member: &Member<'_>) -> Result<Field, String> {
    let nanoseconds = match member.raw() {
        // The pointer becomes nil, and Consul reads a nil duration as zero. That
        // is not the same as leaving a field with a default alone.
        b"null" => 0,
        [b'"', text @ .., b'"'] => parse_duration_bytes(text)?,
        text => truncate(parse_float(text)?),
    };
    Ok(Field::Duration(nanoseconds))
}

/// Go's conversion of a float to an int64 on amd64, where everything that does
/// not fit becomes the smallest number.
fn truncate(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// What Go calls a value that it cannot use. It never prints a string.
fn describe(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array => "array",
        Value::Object => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, GoType, Struct, unmarshal};
    use crate::consul::go::json::Document;

    const KEYRING: Struct<4> = Struct {
        package: "agent",
        name: "keyringArgs",
        fields: [
            ("Key", GoType::String),
            ("Token", GoType::String),
            ("RelayFactor", GoType::Uint8),
            ("LocalOnly", GoType::Bool),
        ],
    };

    const AUTOPILOT: Struct<3> = Struct {
        package: "api",
        name: "AutopilotConfiguration",
        fields: [
            ("LastContactThreshold", GoType::Duration),
            ("MaxTrailingLogs", GoType::Uint64),
            ("MinQuorum", GoType::Uint),
        ],
    };

    /// The fields in one line, or the error.
    fn decode<const N: usize>(target: &Struct<N>, body: &str) -> Result<String, String> {
        let values = unmarshal(&Document::decode(body.as_bytes())?, target)?;
        let shown = values.map(|value| match value {
            None => "-".to_owned(),
            Some(Field::String(text)) => text,
            Some(Field::Bool(value)) => value.to_string(),
            Some(Field::Uint(value)) => value.to_string(),
            Some(Field::Duration(value)) => format!("{value}ns"),
        });
        Ok(shown.join(" "))
    }

    fn keyring(body: &str) -> String {
        decode(&KEYRING, body).unwrap_or_else(|error| error)
    }

    fn autopilot(body: &str) -> String {
        decode(&AUTOPILOT, body).unwrap_or_else(|error| error)
    }

    #[test]
    fn fields_are_set_whatever_the_case_of_their_names() {
        assert_eq!(
            keyring(r#"{"kEY":"a","TOKEN":"b","relayfactor":255,"LocalOnly":true}"#),
            "a b 255 true",
        );
    }

    #[test]
    fn null_leaves_a_field_alone_and_sets_nothing_at_the_top() {
        assert_eq!(keyring("null"), "- - - -");
        assert_eq!(keyring("{}"), "- - - -");
        assert_eq!(keyring(r#"{"Key":null}"#), "- - - -");
        assert_eq!(keyring(r#"{"Key":"a","Key":null}"#), "a - - -");
    }

    #[test]
    fn the_last_of_a_fields_members_wins() {
        assert_eq!(keyring(r#"{"Key":"a","key":"b"}"#), "b - - -");
        assert_eq!(keyring(r#"{"key":"b","Key":"a"} garbage"#), "a - - -");
    }

    #[test]
    fn an_unknown_field_is_named() {
        assert_eq!(keyring(r#"{"Extra":1}"#), r#"json: unknown field "Extra""#);
        assert_eq!(
            keyring(r#"{"a\"\u00ad":1}"#),
            r#"json: unknown field "a\"\u00ad""#,
        );
    }

    #[test]
    fn a_wrong_type_is_named_with_its_field() {
        for (body, got, field) in [
            (r#"{"Key":1}"#, "number", "Key of type string"),
            (r#"{"key":true}"#, "bool", "Key of type string"),
            (r#"{"Key":[1]}"#, "array", "Key of type string"),
            (r#"{"Key":{"a":1}}"#, "object", "Key of type string"),
            (
                r#"{"RelayFactor":"5"}"#,
                "string",
                "RelayFactor of type uint8",
            ),
            (
                r#"{"RelayFactor":300}"#,
                "number 300",
                "RelayFactor of type uint8",
            ),
            (
                r#"{"RelayFactor":-1}"#,
                "number -1",
                "RelayFactor of type uint8",
            ),
            (
                r#"{"RelayFactor":1.0}"#,
                "number 1.0",
                "RelayFactor of type uint8",
            ),
            (r#"{"LocalOnly":0}"#, "number", "LocalOnly of type bool"),
        ] {
            assert_eq!(
                keyring(body),
                format!("json: cannot unmarshal {got} into Go struct field keyringArgs.{field}"),
            );
        }
        assert_eq!(
            autopilot(r#"{"MinQuorum":1e2}"#),
            "json: cannot unmarshal number 1e2 into Go struct field \
             AutopilotConfiguration.MinQuorum of type uint",
        );
    }

    #[test]
    fn what_is_no_object_is_refused_by_the_name_of_the_struct() {
        for (body, got) in [
            ("[1]", "array"),
            ("\"x\"", "string"),
            ("1", "number"),
            ("true", "bool"),
        ] {
            assert_eq!(
                keyring(body),
                format!("json: cannot unmarshal {got} into Go value of type agent.keyringArgs"),
            );
        }
    }

    #[test]
    fn the_first_error_is_returned_unless_the_body_is_malformed() {
        assert_eq!(
            keyring(r#"{"Extra":1,"Key":1}"#),
            r#"json: unknown field "Extra""#,
        );
        assert_eq!(keyring(r#"{"Extra":1,"Key""#), "unexpected EOF");
    }

    #[test]
    fn a_duration_is_a_text_or_a_number_of_nanoseconds() {
        assert_eq!(
            autopilot(r#"{"LastContactThreshold":"300ms","MaxTrailingLogs":500}"#),
            "300000000ns 500 -",
        );
        assert_eq!(
            autopilot(r#"{"LastContactThreshold":2e8}"#),
            "200000000ns - -"
        );
        assert_eq!(autopilot(r#"{"LastContactThreshold":1.9}"#), "1ns - -");
        assert_eq!(
            autopilot(r#"{"LastContactThreshold":1e300}"#),
            format!("{}ns - -", i64::MIN),
        );
        assert_eq!(autopilot(r#"{"LastContactThreshold":null}"#), "0ns - -");
    }

    #[test]
    fn a_bad_duration_ends_the_decoding_in_its_own_words() {
        for (value, error) in [
            (r#""abc""#, r#"time: invalid duration "abc""#),
            (r#""10""#, r#"time: missing unit in duration "10""#),
            (
                r#""1\u0073""#,
                r#"time: unknown unit "\\u" in duration "1\\u0073""#,
            ),
            (
                "true",
                r#"strconv.ParseFloat: parsing "true": invalid syntax"#,
            ),
            (
                r#"[ 1 ]"#,
                r#"strconv.ParseFloat: parsing "[ 1 ]": invalid syntax"#,
            ),
        ] {
            let body = format!("{{\"Extra\":1,\"LastContactThreshold\":{value},\"MinQuorum\":-1}}");
            assert_eq!(autopilot(&body), error);
        }
    }
}
