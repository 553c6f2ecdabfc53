//! Reads JSON into the tree of HCL, with the place of every value.
//!
//! It holds to RFC 8259. Consul's reader is laxer: it takes commas too many or too few, and
//! ignores what stands behind the text's last brace or a nested list. Such a policy means less
//! than it seems to, so it is refused.

use super::syntax::{Content, Depth, Item, Notation, SyntaxError, Text, Value, malformed};

/// Reads a whole text, which has to be an object.
pub(super) fn parse(text: &str, notation: Notation) -> Result<Vec<Item<'_>>, SyntaxError> {
    let mut reader = Reader {
        text,
        at: 0,
        notation,
        depth: Depth::default(),
    };
    reader.skip();
    if reader.peek() != Some(b'{') {
        return malformed(reader.at, "expected an object in braces");
    }
    let items = reader.object()?;
    reader.skip();
    match reader.peek() {
        None => Ok(items),
        Some(_) => malformed(
            reader.at,
            "the text goes on behind its last brace: remove that",
        ),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    notation: Notation,
    depth: Depth,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes the byte if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Result<Value<'a>, SyntaxError> {
        self.skip();
        let at = self.at;
        let content = match self.peek() {
            Some(b'"') => Content::Text(self.string()?),
            Some(b'{') => Content::Object(self.object()?),
            Some(b'[') => Content::List(self.list()?),
            Some(b'-' | b'0'..=b'9') => Content::Number(self.number()?),
            Some(b'a'..=b'z' | b'A'..=b'Z') => {
                while let Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_') = self.peek() {
                    self.at += 1;
                }
                match &self.text[at..self.at] {
                    "true" => Content::Bool(true),
                    "false" => Content::Bool(false),
                    "null" => Content::Null,
                    _ => return malformed(at, "a text stands in double quotes"),
                }
            }
            Some(b'\'') => return malformed(at, "a text stands in double quotes"),
            _ => return malformed(at, "the value is missing"),
        };
        Ok(Value { at, content })
    }

    fn object(&mut self) -> Result<Vec<Item<'a>>, SyntaxError> {
        let open = self.at;
        self.depth.enter(open)?;
        self.at += 1;
        let mut items = Vec::new();
        self.skip();
        if !self.take(b'}') {
            loop {
                self.skip();
                if self.peek() != Some(b'"') {
                    return malformed(self.at, "expected a name in double quotes");
                }
                let name = self.string()?;
                self.skip();
                if !self.take(b':') {
                    return malformed(self.at, "expected a colon between the name and its value");
                }
                items.push(Item {
                    name,
                    labels: Vec::new(),
                    value: self.value()?,
                });
                self.skip();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return self.unfinished(open, "expected a comma or }");
                }
            }
        }
        self.depth.leave();
        Ok(items)
    }

    fn list(&mut self) -> Result<Vec<Value<'a>>, SyntaxError> {
        let open = self.at;
        self.depth.enter(open)?;
        self.at += 1;
        let mut values = Vec::new();
        self.skip();
        if !self.take(b']') {
            loop {
                let value = self.value()?;
                if self.notation == Notation::ConsulJson
                    && matches!(value.content, Content::List(_) | Content::Null)
                {
                    return malformed(value.at, "Consul reads no list and no null in a list");
                }
                values.push(value);
                self.skip();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return self.unfinished(open, "expected a comma or ]");
                }
            }
        }
        self.depth.leave();
        Ok(values)
    }

    fn unfinished<T>(&self, open: usize, problem: &'static str) -> Result<T, SyntaxError> {
        match self.peek() {
            None => malformed(open, "the bracket is not closed"),
            Some(_) => malformed(self.at, problem),
        }
    }

    fn string(&mut self) -> Result<Text<'a>, SyntaxError> {
        let at = self.at;
        self.at += 1;
        loop {
            let here = self.at;
            self.at += 1;
            match self.text.as_bytes().get(here) {
                Some(b'"') => {
                    return Ok(Text {
                        at,
                        raw: &self.text[at + 1..here],
                        notation: self.notation,
                    });
                }
                None => return malformed(at, "the text does not end: close it with \""),
                Some(0..0x20) => {
                    return malformed(here, "a control character: write it as an escape");
                }
                Some(b'\\') => self.escape(here)?,
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, at: usize) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'/') if self.notation == Notation::Json => self.at += 1,
            Some(b'u') => {
                let digits = self.text.as_bytes().get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return malformed(at, "the escape \\u needs four digits");
                }
                self.at += 5;
            }
            Some(b'/') => return malformed(at, "Consul does not read \\/: write / alone"),
            _ => return malformed(at, "JSON has no such escape: write \\\\ for a backslash"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<&'a str, SyntaxError> {
        let at = self.at;
        self.take(b'-');
        // A number begins with one zero, or with another digit and any that follow.
        let mut valid = self.take(b'0') || self.digits();
        if self.take(b'.') {
            valid &= self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            valid &= self.digits();
        }
        if valid {
            Ok(&self.text[at..self.at])
        } else {
            malformed(at, "no number is written so in JSON")
        }
    }

    fn digits(&mut self) -> bool {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at > from
    }
}
