//! JSON in the layout of Go's `encoding/json`.
//!
//! Consul's replies are compact, or indented by four spaces for `?pretty`, and
//! escape what HTML could misread. The Consul dialects agree with it to the byte.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};

/// Writes a value, with a line break at its end if it is pretty. `size` is about
/// how long the text is in bytes.
pub(super) fn to_vec(value: &impl Serialize, size: usize, pretty: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(size);
    let written = if pretty {
        let layout = GoLayout(PrettyFormatter::with_indent(b"    "));
        value.serialize(&mut Serializer::with_formatter(&mut out, layout))
    } else {
        let layout = GoLayout(CompactFormatter);
        value.serialize(&mut Serializer::with_formatter(&mut out, layout))
    };
    // Memory takes everything, and no reply has a key that is not a string.
    debug_assert!(written.is_ok(), "{written:?}");
    if pretty {
        out.push(b'\n');
    }
    out
}

/// Adds Go's escapes to another layout.
struct GoLayout<F>(F);

macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty)?)),* $(,)?) => {$(
        #[inline]
        fn $name<W: ?Sized + Write>(
            &mut self,
            writer: &mut W,
            $($argument: $type)?
        ) -> io::Result<()> {
            self.0.$name(writer, $($argument)?)
        }
    )*};
}

impl<F: Formatter> Formatter for GoLayout<F> {
    forward! {
        begin_array(), end_array(), begin_array_value(first: bool), end_array_value(),
        begin_object(), end_object(), begin_object_key(first: bool), begin_object_value(),
        end_object_value(),
    }

    #[inline]
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment
            .bytes()
            .any(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2))
        {
            write_escaped(writer, fragment)
        } else {
            writer.write_all(fragment.as_bytes())
        }
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Backspace => writer.write_all(br"\u0008"),
            CharEscape::FormFeed => writer.write_all(br"\u000c"),
            other => self.0.write_char_escape(writer, other),
        }
    }
}

/// Writes a fragment in which some character may need an escape of Go's.
#[cold]
fn write_escaped<W: ?Sized + Write>(writer: &mut W, mut fragment: &str) -> io::Result<()> {
    // U+2028 and U+2029 end a line in JavaScript, but not in JSON.
    while let Some(at) = fragment.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        let (plain, rest) = fragment.split_at(at);
        writer.write_all(plain.as_bytes())?;
        let mut rest = rest.chars();
        if let Some(special) = rest.next() {
            write!(writer, "\\u{:04x}", u32::from(special))?;
        }
        fragment = rest.as_str();
    }
    writer.write_all(fragment.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    fn string(text: &str) -> String {
        String::from_utf8(to_vec(&text, 0, false)).unwrap()
    }

    #[test]
    fn pretty_text_is_indented_by_four_spaces() {
        let value = json!({"List": [{"A": 1}, null], "None": [], "Nothing": {}});
        let want = [
            "{",
            "    \"List\": [",
            "        {",
            "            \"A\": 1",
            "        },",
            "        null",
            "    ],",
            "    \"None\": [],",
            "    \"Nothing\": {}",
            "}",
            "",
        ];
        assert_eq!(to_vec(&value, 0, true), want.join("\n").into_bytes());
        let compact = r#"{"List":[{"A":1},null],"None":[],"Nothing":{}}"#;
        assert_eq!(to_vec(&value, 0, false), compact.as_bytes());
    }

    #[test]
    fn strings_and_keys_are_escaped_as_go_does() {
        assert_eq!(string("plain é 日 😀 \u{7f}"), "\"plain é 日 😀 \u{7f}\"");
        assert_eq!(string("a\"b\\c/"), r#""a\"b\\c/""#);
        assert_eq!(string("<a href='x'>&"), r#""\u003ca href='x'\u003e\u0026""#);
        assert_eq!(
            string("\0\x01\x08\t\n\x0b\x0c\r\x1f"),
            r#""\u0000\u0001\u0008\t\n\u000b\u000c\r\u001f""#,
        );
        assert_eq!(
            string("a\u{2027}\u{2028}\u{2029}\u{202a}€"),
            "\"a\u{2027}\\u2028\\u2029\u{202a}€\"",
        );
        let key = to_vec(&json!({"a<b": 5}), 0, false);
        assert_eq!(key, br#"{"a\u003cb":5}"#);
    }

    proptest! {
        #[test]
        fn every_string_is_read_back(text in any::<String>()) {
            let json = to_vec(&text, 0, false);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }
}
