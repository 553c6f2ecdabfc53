//! A JSON writer that writes what Go's `encoding/json` writes.
//!
//! Consul's replies are compact, or indented by four spaces for `?pretty`, and
//! escape what could be taken for HTML. serde_json does neither of the last two
//! by itself, and the Consul dialects have to agree to the byte.

use bytes::{BufMut, BytesMut};

const INDENT: &[u8] = b"    ";

/// Writes one JSON value to the end of a buffer.
///
/// The caller sees to it that brackets are balanced and that each member of an
/// object is a key and one value; commas, colons and white space come by
/// themselves.
pub(crate) struct JsonWriter<'a> {
    out: &'a mut BytesMut,
    pretty: bool,
    depth: usize,
    /// What stands right before the next thing to be written.
    last: Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Nothing, or an opening bracket.
    Opening,
    Key,
    Value,
}

impl<'a> JsonWriter<'a> {
    /// Writes without white space as `json.Marshal` does, or pretty as
    /// `json.MarshalIndent` with four spaces. Neither adds a newline at the end.
    pub(crate) fn new(out: &'a mut BytesMut, pretty: bool) -> Self {
        JsonWriter {
            out,
            pretty,
            depth: 0,
            last: Last::Opening,
        }
    }

    pub(crate) fn begin_object(&mut self) {
        self.begin(b'{');
    }

    pub(crate) fn end_object(&mut self) {
        self.end(b'}');
    }

    pub(crate) fn begin_array(&mut self) {
        self.begin(b'[');
    }

    pub(crate) fn end_array(&mut self) {
        self.end(b']');
    }

    /// Begins a member of an object; its value is written next.
    pub(crate) fn key(&mut self, name: &str) {
        self.separate();
        self.quoted(name);
        self.out.put_u8(b':');
        if self.pretty {
            self.out.put_u8(b' ');
        }
        self.last = Last::Key;
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.separate();
        self.quoted(text);
        self.last = Last::Value;
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.literal(if value { b"true" } else { b"false" });
    }

    pub(crate) fn null(&mut self) {
        self.literal(b"null");
    }

    pub(crate) fn u64(&mut self, value: u64) {
        let mut magnitude = value;
        // Twenty digits, filled from the end.
        let mut buffer = [0; 20];
        let mut start = buffer.len();
        loop {
            start -= 1;
            buffer[start] = b'0' + (magnitude % 10) as u8;
            magnitude /= 10;
            if magnitude == 0 {
                break;
            }
        }
        self.literal(&buffer[start..]);
    }

    fn literal(&mut self, text: &[u8]) {
        self.separate();
        self.out.extend_from_slice(text);
        self.last = Last::Value;
    }

    fn begin(&mut self, bracket: u8) {
        self.separate();
        self.out.put_u8(bracket);
        self.depth += 1;
        self.last = Last::Opening;
    }

    fn end(&mut self, bracket: u8) {
        self.depth = self.depth.saturating_sub(1);
        if self.last != Last::Opening {
            self.new_line();
        }
        self.out.put_u8(bracket);
        self.last = Last::Value;
    }

    /// Writes what belongs between the last thing and the next one.
    fn separate(&mut self) {
        if self.last == Last::Value {
            self.out.put_u8(b',');
        }
        if self.last != Last::Key && self.depth > 0 {
            self.new_line();
        }
    }

    fn new_line(&mut self) {
        if self.pretty {
            self.out.put_u8(b'\n');
            for _ in 0..self.depth {
                self.out.extend_from_slice(INDENT);
            }
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.reserve(text.len() + 2);
        self.out.put_u8(b'"');
        let bytes = text.as_bytes();
        // Everything before this has been written.
        let mut written = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if !NEEDS_CARE[usize::from(*byte)] {
                continue;
            }
            let Some((escape, length)) = escape(&bytes[at..]) else {
                continue;
            };
            self.out.extend_from_slice(&bytes[written..at]);
            match escape {
                Escape::Short(letter) => self.out.extend_from_slice(&[b'\\', letter]),
                Escape::Unicode(unit) => self.unicode(unit),
            }
            written = at + length;
        }
        self.out.extend_from_slice(&bytes[written..]);
        self.out.put_u8(b'"');
    }

    fn unicode(&mut self, unit: u16) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |shift: u16| DIGITS[usize::from(unit >> shift & 0xf)];
        self.out
            .extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
    }
}

enum Escape {
    /// A backslash and this letter.
    Short(u8),
    /// `\uXXXX`
    Unicode(u16),
}

/// The bytes at which a character that Go escapes may begin.
const NEEDS_CARE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    // The first byte of U+2028 and U+2029, and of many that are not escaped.
    table[0xe2] = true;
    table
};

/// How the character that `text` begins with is escaped, and its length in
/// bytes; `None` if it is written as it is.
fn escape(text: &[u8]) -> Option<(Escape, usize)> {
    Some(match text {
        // Two line ends to JavaScript, which JSON allows in a string.
        [0xe2, 0x80, 0xa8, ..] => (Escape::Unicode(0x2028), 3),
        [0xe2, 0x80, 0xa9, ..] => (Escape::Unicode(0x2029), 3),
        [byte @ (b'"' | b'\\'), ..] => (Escape::Short(*byte), 1),
        [b'\n', ..] => (Escape::Short(b'n'), 1),
        [b'\r', ..] => (Escape::Short(b'r'), 1),
        [b'\t', ..] => (Escape::Short(b't'), 1),
        [byte @ (b'<' | b'>' | b'&' | ..0x20), ..] => (Escape::Unicode(u16::from(*byte)), 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::JsonWriter;
    use crate::wire::go::json::{Document, Value};
    use bytes::BytesMut;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn written(pretty: bool, write: impl FnOnce(&mut JsonWriter<'_>)) -> String {
        let mut out = BytesMut::new();
        write(&mut JsonWriter::new(&mut out, pretty));
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn string(text: &str) -> String {
        written(false, |json| json.string(text))
    }

    fn configuration(json: &mut JsonWriter<'_>) {
        json.begin_object();
        json.key("Servers");
        json.begin_array();
        json.begin_object();
        json.key("Node");
        json.string("alice");
        json.key("Leader");
        json.bool(true);
        json.end_object();
        json.null();
        json.end_array();
        json.key("None");
        json.begin_array();
        json.end_array();
        json.key("Nothing");
        json.begin_object();
        json.end_object();
        json.key("Index");
        json.u64(0);
        json.end_object();
    }

    #[test]
    fn compact_json_has_no_white_space() {
        assert_eq!(
            written(false, configuration),
            r#"{"Servers":[{"Node":"alice","Leader":true},null],"None":[],"Nothing":{},"Index":0}"#,
        );
    }

    #[test]
    fn pretty_json_is_indented_by_four_spaces_and_keeps_empty_brackets_together() {
        let want = [
            "{",
            "    \"Servers\": [",
            "        {",
            "            \"Node\": \"alice\",",
            "            \"Leader\": true",
            "        },",
            "        null",
            "    ],",
            "    \"None\": [],",
            "    \"Nothing\": {},",
            "    \"Index\": 0",
            "}",
        ];
        assert_eq!(written(true, configuration), want.join("\n"));
    }

    #[test]
    fn a_lone_value_stands_alone() {
        assert_eq!(written(true, |json| json.bool(false)), "false");
        assert_eq!(written(true, |json| json.null()), "null");
        assert_eq!(written(true, |json| json.string("")), r#""""#);
        let empty = |json: &mut JsonWriter<'_>| {
            json.begin_array();
            json.end_array();
        };
        assert_eq!(written(true, empty), "[]");
    }

    #[test]
    fn integers_are_written_in_full() {
        for value in [0, 1, 9, 10, 12_345, u64::MAX] {
            assert_eq!(written(false, |json| json.u64(value)), value.to_string());
        }
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
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
    }

    #[test]
    fn keys_are_escaped_too() {
        let member = |json: &mut JsonWriter<'_>| {
            json.begin_object();
            json.key("a<b");
            json.u64(5);
            json.end_object();
        };
        assert_eq!(written(false, member), r#"{"a\u003cb":5}"#);
    }

    proptest! {
        #[test]
        fn every_string_is_read_back(text in any::<String>()) {
            let json = string(&text);
            let document = Document::decode(json.as_bytes());
            prop_assert!(document.is_ok());
            if let Ok(document) = document
                && let Value::String(literal) = document.value()
            {
                prop_assert_eq!(literal.text(), text);
            }
        }
    }
}
