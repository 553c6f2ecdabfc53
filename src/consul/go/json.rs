//! The first JSON value of a body, as Go's `json.NewDecoder(r).Decode` takes it.
//!
//! Only the outermost object is taken apart: no body that Consul's operator
//! endpoints accept has anything deeper. What lies deeper is checked and
//! skipped.

use super::scanner::{self, Scan, scan};
use super::unescape::unescape;
use std::borrow::Cow;

/// The first JSON value of a body.
///
/// It borrows the body and decodes nothing before it is asked: a string may be a
/// secret, and each copy of one would have to be wiped. For the same reason
/// neither this nor its parts can be printed.
pub(crate) struct Document<'a>(Scan<'a>);

/// A member of the outermost object.
pub(crate) struct Member<'a>(&'a scanner::Member<'a>);

/// A value, as far as it is taken apart.
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// The literal as it stands in the body.
    Number(&'a str),
    String(Literal<'a>),
    Array,
    Object,
}

/// What stands between the quotes of a string.
#[derive(Clone, Copy)]
pub(crate) struct Literal<'a>(&'a [u8]);

impl<'a> Document<'a> {
    /// Decodes the first value of `input`, or says what Go would say.
    pub(crate) fn decode(input: &'a [u8]) -> Result<Self, String> {
        scan(input).map(Document)
    }

    /// The value itself.
    pub(crate) fn value(&self) -> Value<'a> {
        Value::of(self.0.value)
    }

    /// The members of the object that the value is, in order and with
    /// duplicates; none if the value is no object.
    pub(crate) fn members(&self) -> impl DoubleEndedIterator<Item = Member<'_>> {
        self.0.members.iter().map(Member)
    }

    /// Whether something other than white space follows the value.
    pub(crate) fn trailing(&self) -> bool {
        self.0.trailing
    }

    /// The first number anywhere in the value that a `float64` cannot hold.
    pub(super) fn oversized_number(&self) -> Option<&'a str> {
        self.0.oversized_number
    }
}

impl<'a> Member<'a> {
    /// The decoded name.
    pub(crate) fn name(&self) -> Cow<'a, str> {
        unescape(self.0.name)
    }

    /// The value.
    pub(crate) fn value(&self) -> Value<'a> {
        Value::of(self.0.value)
    }

    /// The value as it stands in the body, quotes and brackets included.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.0.value
    }
}

impl<'a> Value<'a> {
    /// Tells a text that the scanner let through by its first byte.
    fn of(raw: &'a [u8]) -> Self {
        match raw {
            [b'{', ..] => Value::Object,
            [b'[', ..] => Value::Array,
            [b'"', literal @ .., b'"'] => Value::String(Literal(literal)),
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            b"null" => Value::Null,
            // Numbers are ASCII, so this never falls back.
            number => Value::Number(std::str::from_utf8(number).unwrap_or_default()),
        }
    }
}

impl<'a> Literal<'a> {
    /// The decoded text.
    pub(crate) fn text(self) -> Cow<'a, str> {
        unescape(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Document, Value};

    fn shown(value: &Value<'_>) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Bool(bool) => bool.to_string(),
            Value::Number(text) => format!("number {text}"),
            Value::String(literal) => format!("string {}", literal.text()),
            Value::Array => "array".to_owned(),
            Value::Object => "object".to_owned(),
        }
    }

    #[test]
    fn each_kind_of_value_is_told_apart() {
        for (input, want) in [
            (" null", "null"),
            ("true", "true"),
            ("false", "false"),
            ("-1.50e3 ", "number -1.50e3"),
            (r#""a\nb""#, "string a\nb"),
            (r#""""#, "string "),
            ("[1]", "array"),
            ("{}", "object"),
        ] {
            let document = Document::decode(input.as_bytes()).ok().unwrap();
            assert_eq!(shown(&document.value()), want);
        }
    }

    #[test]
    fn members_are_decoded_in_order_with_duplicates() {
        let input = br#"{"Key":"a","\u004bey": "b" ,"Other":{"x":[1]}} x"#;
        let document = Document::decode(input).ok().unwrap();
        let members: Vec<_> = document
            .members()
            .map(|member| format!("{}={}", member.name(), shown(&member.value())))
            .collect();
        assert_eq!(members, ["Key=string a", "Key=string b", "Other=object"]);
        let raw: Vec<_> = document.members().map(|member| member.raw()).collect();
        assert_eq!(raw, [&br#""a""#[..], br#""b""#, br#"{"x":[1]}"#]);
        assert!(document.trailing());
    }

    #[test]
    fn a_body_that_is_no_json_is_refused_in_gos_words() {
        assert_eq!(Document::decode(b"").err().unwrap(), "EOF");
        assert_eq!(
            Document::decode(b"x").err().unwrap(),
            "invalid character 'x' looking for beginning of value",
        );
    }
}
