//! JSON in the layout of Go's `encoding/json`.
//!
//! Consul's replies are compact, or indented by four spaces for `?pretty`, and escape
//! what HTML could misread. The Consul dialects agree with it to the byte. serde_json's
//! `Formatter` could do the same, at twice the time: it writes each piece by itself.

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer,
};
use serde_json::Error;

/// Writes a value, with a line break at its end if it is pretty. `size` is about how
/// long the text is in bytes.
pub(super) fn to_vec(value: &impl Serialize, size: usize, pretty: bool) -> Vec<u8> {
    let mut json = Json {
        out: Vec::with_capacity(size),
        pretty,
        depth: 0,
    };
    let written = value.serialize(&mut json);
    debug_assert!(written.is_ok(), "{written:?}");
    if pretty {
        json.out.push(b'\n');
    }
    json.out
}

/// A text that grows, as a serializer of what bodies hold.
struct Json {
    out: Vec<u8>,
    pretty: bool,
    depth: usize,
}

impl Json {
    fn string(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.out.reserve(bytes.len() + 2);
        self.out.push(b'"');
        if is_plain(bytes) {
            self.out.extend_from_slice(bytes);
        } else {
            self.escaped(text);
        }
        self.out.push(b'"');
    }

    #[cold]
    fn escaped(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '"' | '\\' => self.out.extend([b'\\', c as u8]),
                '\n' => self.out.extend(br"\n"),
                '\r' => self.out.extend(br"\r"),
                '\t' => self.out.extend(br"\t"),
                // U+2028 and U+2029 end a line in JavaScript, but not in JSON.
                ..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    let escape = format!("\\u{:04x}", u32::from(c));
                    self.out.extend_from_slice(escape.as_bytes());
                }
                c => {
                    let mut buffer = [0; 4];
                    let bytes = c.encode_utf8(&mut buffer).as_bytes();
                    self.out.extend_from_slice(bytes);
                }
            }
        }
    }

    fn begin(&mut self, bracket: u8) -> Compound<'_> {
        self.out.push(bracket);
        self.depth += 1;
        Compound {
            json: self,
            is_empty: true,
        }
    }

    #[cold]
    fn new_line(&mut self) {
        self.out.push(b'\n');
        self.out.resize(self.out.len() + 4 * self.depth, b' ');
    }
}

/// Tells whether a text is ASCII that is written as it is, as nearly every one is.
///
/// It looks at eight bytes at once, which the compiler turns into a few instructions.
/// The last eight overlap the ones before.
fn is_plain(text: &[u8]) -> bool {
    let plain = |byte: &u8| {
        // Controls and, as negative numbers, all that is not ASCII.
        ((*byte as i8) >= 0x20)
            & (*byte != b'"')
            & (*byte != b'\\')
            & (*byte != b'&')
            & (*byte != b'<')
            & (*byte != b'>')
    };
    let eight = |bytes: &[u8; 8]| bytes.iter().fold(true, |all, byte| all & plain(byte));
    match text.last_chunk::<8>() {
        Some(last) => text.as_chunks::<8>().0.iter().all(eight) && eight(last),
        None => text.iter().all(plain),
    }
}

/// An array or an object that is being written.
struct Compound<'a> {
    json: &'a mut Json,
    is_empty: bool,
}

impl Compound<'_> {
    /// Writes what stands before an element or a key.
    #[inline]
    fn separate(&mut self) {
        if !self.is_empty {
            self.json.out.push(b',');
        }
        self.is_empty = false;
        if self.json.pretty {
            self.json.new_line();
        }
    }

    #[inline]
    fn colon(&mut self) {
        self.json.out.push(b':');
        if self.json.pretty {
            self.json.out.push(b' ');
        }
    }

    fn close(self, bracket: u8) {
        self.json.depth -= 1;
        if self.json.pretty && !self.is_empty {
            self.json.new_line();
        }
        self.json.out.push(bracket);
    }
}

impl SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.separate();
        value.serialize(&mut *self.json)
    }

    fn end(self) -> Result<(), Error> {
        self.close(b']');
        Ok(())
    }
}

impl SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Error> {
        self.separate();
        // Every key is a string.
        key.serialize(&mut *self.json)?;
        self.colon();
        Ok(())
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.json)
    }

    fn end(self) -> Result<(), Error> {
        self.close(b'}');
        Ok(())
    }
}

impl SerializeStruct for Compound<'_> {
    type Ok = ();
    type Error = Error;

    /// The name of a field needs no escapes.
    #[inline]
    fn serialize_field<T: ?Sized + Serialize>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.separate();
        self.json.out.push(b'"');
        self.json.out.extend_from_slice(name.as_bytes());
        self.json.out.push(b'"');
        self.colon();
        value.serialize(&mut *self.json)
    }

    fn end(self) -> Result<(), Error> {
        self.close(b'}');
        Ok(())
    }
}

/// What no body holds.
macro_rules! no_body_holds {
    ($($name:ident($($type:ty),*) $(-> $ok:ty)?),* $(,)?) => {$(
        fn $name(self, $(_: $type),*) -> Result<no_body_holds!(@ $($ok)?), Error> {
            Err(Error::custom("no body holds this"))
        }
    )*};
    (@) => { () };
    (@ $ok:ty) => { $ok };
}

impl<'a> Serializer for &'a mut Json {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.string(text);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        let mut digits = itoa::Buffer::new();
        self.out.extend_from_slice(digits.format(value).as_bytes());
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.string(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'a>, Error> {
        Ok(self.begin(b'['))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'a>, Error> {
        Ok(self.begin(b'{'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Compound<'a>, Error> {
        Ok(self.begin(b'{'))
    }

    no_body_holds! {
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_f32(f32),
        serialize_f64(f64), serialize_char(char), serialize_bytes(&[u8]),
        serialize_unit_struct(&'static str),
        serialize_tuple(usize) -> Self::SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeTupleVariant,
        serialize_struct_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeStructVariant,
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::custom("no body holds this"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde::Serialize;

    use super::to_vec;

    fn string(text: &str) -> String {
        String::from_utf8(to_vec(&text, 0, false)).unwrap()
    }

    #[derive(Serialize)]
    struct Nested<'a> {
        #[serde(rename = "List")]
        list: Vec<Option<BTreeMap<&'a str, u64>>>,
        #[serde(rename = "None")]
        none: Vec<bool>,
        #[serde(rename = "Nothing")]
        nothing: BTreeMap<&'a str, bool>,
        #[serde(rename = "True")]
        flag: bool,
    }

    #[test]
    fn pretty_text_is_indented_by_four_spaces() {
        let value = Nested {
            list: vec![Some(BTreeMap::from([("A", 1)])), None],
            none: Vec::new(),
            nothing: BTreeMap::new(),
            flag: true,
        };
        let want = [
            "{",
            "    \"List\": [",
            "        {",
            "            \"A\": 1",
            "        },",
            "        null",
            "    ],",
            "    \"None\": [],",
            "    \"Nothing\": {},",
            "    \"True\": true",
            "}",
            "",
        ];
        assert_eq!(to_vec(&value, 0, true), want.join("\n").into_bytes());
        let compact = r#"{"List":[{"A":1},null],"None":[],"Nothing":{},"True":true}"#;
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
        let key = to_vec(&BTreeMap::from([("a<b", 5u64)]), 0, false);
        assert_eq!(key, br#"{"a\u003cb":5}"#);
    }

    #[test]
    fn character_is_escaped_at_any_place_of_any_text() {
        for c in ['"', '\\', '&', '<', '>', '\0', '\x1f', '\u{2028}', ' ', 'é'] {
            let alone = string(&c.to_string());
            let escaped = &alone[1..alone.len() - 1];
            for length in 0..20 {
                for at in 0..=length {
                    let (before, after) = ("a".repeat(at), "b".repeat(length - at));
                    let text = string(&format!("{before}{c}{after}"));
                    assert_eq!(text, format!("\"{before}{escaped}{after}\""));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_string_is_read_back(text in any::<String>()) {
            let json = to_vec(&text, 0, false);
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
        }
    }
}
