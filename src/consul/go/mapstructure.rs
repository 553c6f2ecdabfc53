//! How Consul 0.7.3 reads a body: `encoding/json` into a map, and
//! `mapstructure` from there into a struct.
//!
//! Unlike [`unmarshal`](super::unmarshal) it ignores unknown members, and its
//! errors name Go's types: `1 error(s) decoding:\n\n* 'Key' expected type
//! 'string', got unconvertible type 'float64'`.

use super::fold::equal_fold;
use super::json::{Document, Member, Value};

/// Decodes `document` into fields that are strings, all of them. A field that
/// the document does not set is `None`.
pub(crate) fn decode<const N: usize>(
    document: &Document<'_>,
    fields: [&str; N],
) -> Result<[Option<String>; N], String> {
    // In a map each number is a float64, used or not.
    if let Some(number) = document.oversized_number() {
        return Err(format!(
            "json: cannot unmarshal number {number} into Go value of type float64",
        ));
    }
    let kind = match document.value() {
        Value::Object => None,
        Value::Null => return Ok([const { None }; N]),
        Value::Array => Some("slice"),
        Value::String(_) => Some("string"),
        Value::Number(_) => Some("float64"),
        Value::Bool(_) => Some("bool"),
    };
    if let Some(kind) = kind {
        return Err(format!("'' expected a map, got '{kind}'"));
    }
    let mut errors = Vec::new();
    let values = fields.map(|field| {
        find(document, field).and_then(|member| match string(&member.value()) {
            Ok(text) => text,
            Err(go_type) => {
                errors.push(format!(
                    "* '{field}' expected type 'string', got unconvertible type '{go_type}'",
                ));
                None
            }
        })
    });
    if errors.is_empty() {
        return Ok(values);
    }
    errors.sort();
    Err(format!(
        "{} error(s) decoding:\n\n{}",
        errors.len(),
        errors.join("\n"),
    ))
}

/// The member that sets `field`: the last one of exactly that name, else the
/// last one whose name differs in case only. Go takes any of the latter, as the
/// order of its map falls out.
fn find<'a>(document: &'a Document<'_>, field: &str) -> Option<Member<'a>> {
    let members = || document.members().rev();
    members()
        .find(|member| member.name() == field)
        .or_else(|| members().find(|member| equal_fold(&member.name(), field)))
}

/// The string that `value` sets, if any, or the Go type that it has instead.
fn string(value: &Value<'_>) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(literal) => Ok(Some(literal.text().into_owned())),
        Value::Bool(_) => Err("bool"),
        Value::Number(_) => Err("float64"),
        Value::Array => Err("[]interface {}"),
        Value::Object => Err("map[string]interface {}"),
    }
}

#[cfg(test)]
mod tests {
    use super::decode;
    use crate::consul::go::json::Document;

    /// The fields in one line, or the error.
    fn keyring(body: &str) -> String {
        Document::decode(body.as_bytes())
            .and_then(|document| decode(&document, ["Key", "Token"]))
            .map(|values| {
                values
                    .map(|value| value.unwrap_or("-".to_owned()))
                    .join(" ")
            })
            .unwrap_or_else(|error| error)
    }

    #[test]
    fn unknown_members_are_ignored() {
        assert_eq!(keyring(r#"{"Key":"a","Extra":{"Key":"b"}} x"#), "a -");
        assert_eq!(keyring("{}"), "- -");
    }

    #[test]
    fn null_sets_nothing() {
        assert_eq!(keyring("null"), "- -");
        assert_eq!(keyring(r#"{"Key":null}"#), "- -");
        assert_eq!(keyring(r#"{"Key":"a","Key":null}"#), "- -");
    }

    #[test]
    fn the_last_of_one_name_wins_and_an_exact_name_beats_a_folded_one() {
        assert_eq!(keyring(r#"{"Key":"a","Key":"b"}"#), "b -");
        assert_eq!(keyring(r#"{"Key":"a","key":"b"}"#), "a -");
        assert_eq!(keyring(r#"{"key":"a","KEY":"b"}"#), "b -");
        assert_eq!(keyring(r#"{"toKEN":"t"}"#), "- t");
        assert_eq!(keyring(r#"{"Key":null,"key":"b"}"#), "- -");
    }

    #[test]
    fn a_wrong_type_is_named_as_go_names_it() {
        for (value, go_type) in [
            ("5", "float64"),
            ("true", "bool"),
            ("[]", "[]interface {}"),
            ("{}", "map[string]interface {}"),
        ] {
            assert_eq!(
                keyring(&format!("{{\"key\":{value}}}")),
                format!(
                    "1 error(s) decoding:\n\n* 'Key' expected type 'string', \
                     got unconvertible type '{go_type}'"
                ),
            );
        }
    }

    #[test]
    fn several_errors_are_counted_and_sorted() {
        assert_eq!(
            keyring(r#"{"Token":1,"Key":true}"#),
            "2 error(s) decoding:\n\n\
             * 'Key' expected type 'string', got unconvertible type 'bool'\n\
             * 'Token' expected type 'string', got unconvertible type 'float64'",
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for (body, kind) in [
            ("[1]", "slice"),
            ("\"x\"", "string"),
            ("1", "float64"),
            ("true", "bool"),
        ] {
            assert_eq!(keyring(body), format!("'' expected a map, got '{kind}'"));
        }
    }

    #[test]
    fn a_number_beyond_float64_spoils_the_body_wherever_it_is() {
        assert_eq!(
            keyring(r#"{"Key":"a","Extra":[1e999]}"#),
            "json: cannot unmarshal number 1e999 into Go value of type float64",
        );
    }
}
