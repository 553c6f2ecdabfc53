//! Reads HCL 1, the language of Consul's policies, and JSON.
//!
//! ```text
//! file    = { item [ "," ] } .
//! item    = name "=" value                 an attribute
//!         | name { name } block .          a block with labels
//! name    = identifier | string .
//! block   = "{" { item [ "," ] } "}" .
//! value   = string | heredoc | number | "true" | "false" | list | block .
//! list    = "[" { value "," } [ value ] "]" .
//! heredoc = "<<" [ "-" ] mark newline { line newline } mark newline .
//! ```
//!
//! White space and line breaks mean nothing outside of strings. Comments are `#` and `//` to the
//! end of the line, and `/* */`. An identifier consists of letters, digits, `_`, `-` and `.`. In a
//! string, `${` begins a part that ends with its brace and may hold quotes and line breaks;
//! nothing is evaluated. Where Consul's reader takes an unfinished value for nothing (at the end of
//! the text, and before two closing braces), this one refuses the text.
//!
//! JSON is read as in RFC 8259, and in policies with a comma behind the last item. Consul's reader
//! is laxer still: where a comma is missing, and behind the last brace or a nested list, it ignores
//! the rest. Such a policy means less than it seems to, so it is refused.
//!
//! Each character is read once. Depth and labels are bounded.

use serde::de::IgnoredAny;

use super::syntax::{Content, Item, MAX_DEPTH, MAX_LABELS, Notation, SyntaxProblem, Text, Value};

/// Why a text cannot be read, and where.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: usize,
    pub(super) problem: SyntaxProblem,
}

type Read<T> = Result<T, SyntaxError>;

fn malformed<T>(at: usize, problem: &'static str) -> Read<T> {
    let problem = SyntaxProblem::Malformed(problem);
    Err(SyntaxError { at, problem })
}

/// Reads a whole text, which in JSON has to be an object.
pub(super) fn parse(text: &str, notation: Notation) -> Read<Vec<Item<'_>>> {
    let mut reader = Reader {
        text,
        at: 0,
        notation,
        depth: 0,
    };
    if !reader.is_json() {
        return match text.find(['\0', '\u{e123}']) {
            Some(at) => malformed(at, "a character that HCL does not allow: remove it"),
            None => reader.items(None),
        };
    }
    if reader.skip()? != Some('{') {
        return malformed(reader.at, "expected an object in braces");
    }
    let object = reader.block()?;
    match (reader.skip()?, object.content) {
        (None, Content::Object(items)) => Ok(items),
        _ => malformed(
            reader.at,
            "the text goes on behind its last brace: remove that",
        ),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    notation: Notation,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn is_json(&self) -> bool {
        matches!(self.notation, Notation::Json | Notation::ConsulJson)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.rest().chars().nth(1)
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn skip_while(&mut self, accept: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        let len = rest.find(|letter| !accept(letter)).unwrap_or(rest.len());
        self.at += len;
        len
    }

    fn skip_digits(&mut self) -> usize {
        self.skip_while(|digit| digit.is_ascii_digit())
    }

    /// Skips white space and comments, and shows what follows.
    fn skip(&mut self) -> Read<Option<char>> {
        loop {
            self.skip_while(|letter| matches!(letter, ' ' | '\t' | '\r' | '\n'));
            match (self.peek(), self.peek_second()) {
                (next, _) if self.is_json() => return Ok(next),
                (Some('#'), _) | (Some('/'), Some('/')) => {
                    self.skip_while(|letter| letter != '\n');
                }
                (Some('/'), Some('*')) => match self.rest()[2..].find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return malformed(self.at, "the comment does not end: write */"),
                },
                (Some('/'), _) => return malformed(self.at, "a comment begins with #, // or /*"),
                (next, _) => return Ok(next),
            }
        }
    }

    fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        let (at, problem) = (self.at, SyntaxProblem::TooDeep);
        if self.depth > MAX_DEPTH {
            return Err(SyntaxError { at, problem });
        }
        self.at += 1;
        Ok(())
    }

    /// Reads items up to the end of the block that opened at `open`, or of the text.
    fn items(&mut self, open: Option<usize>) -> Read<Vec<Item<'a>>> {
        let mut items = Vec::new();
        let mut comma = false;
        loop {
            match (self.skip()?, open) {
                (Some('}'), Some(_)) if !(comma && self.notation == Notation::Json) => {
                    self.at += 1;
                    return Ok(items);
                }
                (None, None) => return Ok(items),
                (None, Some(open)) => return malformed(open, "the brace is not closed: write }"),
                _ if self.is_json() && !comma && !items.is_empty() => {
                    return malformed(self.at, "expected a comma or }");
                }
                _ => items.push(self.item()?),
            }
            comma = self.skip()? == Some(',');
            self.at += usize::from(comma);
        }
    }

    fn item(&mut self) -> Read<Item<'a>> {
        let Some(name) = self.name()? else {
            return malformed(self.at, self.unexpected());
        };
        let mut labels = Vec::new();
        while !self.is_json() {
            let Some(label) = self.name()? else {
                break;
            };
            labels.push(label);
            if labels.len() > MAX_LABELS {
                let (at, problem) = (label.at, SyntaxProblem::TooManyLabels);
                return Err(SyntaxError { at, problem });
            }
        }
        let value = match (self.skip()?, self.is_json()) {
            (Some(':'), true) | (Some('='), false) if labels.is_empty() => {
                self.at += 1;
                self.value()?
            }
            (Some('='), false) => {
                return malformed(self.at, "a name with labels needs a block, not =");
            }
            (Some('{'), false) => self.block()?,
            (None, false) => return malformed(name.at, "the name has no value: give it one"),
            (_, true) => {
                return malformed(self.at, "expected a colon between the name and its value");
            }
            (_, false) => return malformed(self.at, self.unexpected()),
        };
        Ok(Item {
            name,
            labels,
            value,
        })
    }

    fn name(&mut self) -> Read<Option<Text<'a>>> {
        match self.skip()? {
            Some('"') => self.string().map(Some),
            Some(letter) if is_letter(letter) && !self.is_json() => {
                let name = self.identifier();
                match name.raw {
                    "true" | "false" => malformed(name.at, "true and false are no names"),
                    _ => Ok(Some(name)),
                }
            }
            _ => Ok(None),
        }
    }

    fn identifier(&mut self) -> Text<'a> {
        let at = self.at;
        self.skip_while(|letter| is_letter(letter) || is_digit(letter) || "-.".contains(letter));
        self.text(at, at, Notation::Bare)
    }

    /// The text from `from` up to here.
    fn text(&self, at: usize, from: usize, notation: Notation) -> Text<'a> {
        let raw = &self.text[from..self.at];
        Text { at, raw, notation }
    }

    fn value(&mut self) -> Read<Value<'a>> {
        self.skip()?;
        let at = self.at;
        let content = match (self.peek(), self.peek_second()) {
            (Some('"'), _) => Content::Text(self.string()?),
            (Some('<'), _) if !self.is_json() => Content::Text(self.heredoc()?),
            (Some('{'), _) => return self.block(),
            (Some('['), _) => self.list()?,
            (Some('0'..='9'), _) | (Some('-' | '.'), Some('0'..='9')) => {
                self.number()?;
                Content::Number(&self.text[at..self.at])
            }
            (Some(letter), _) if is_letter(letter) => match self.identifier().raw {
                "true" => Content::Bool(true),
                "false" => Content::Bool(false),
                "null" if self.is_json() => Content::Null,
                _ => return malformed(at, "nothing is evaluated: put the value in quotes"),
            },
            (None | Some('}' | ',' | ']'), _) => {
                return malformed(at, "the value is missing: write one in quotes");
            }
            _ => return malformed(at, self.unexpected()),
        };
        Ok(Value { at, content })
    }

    fn block(&mut self) -> Read<Value<'a>> {
        let at = self.at;
        self.enter()?;
        let content = Content::Object(self.items(Some(at))?);
        self.depth -= 1;
        Ok(Value { at, content })
    }

    fn list(&mut self) -> Read<Content<'a>> {
        const UNCLOSED: &str = "the list is not closed: write ]";
        let open = self.at;
        self.enter()?;
        let mut values = Vec::<Value<'a>>::new();
        // In HCL, commas may stand anywhere between values, and none is needed after a list.
        let (mut comma, mut wants_comma) = (false, false);
        loop {
            match self.skip()? {
                Some(']') if !(comma && self.notation == Notation::Json) => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(Content::List(values));
                }
                Some(',') if wants_comma || !self.is_json() => {
                    self.at += 1;
                    (comma, wants_comma) = (true, false);
                }
                None => return malformed(open, UNCLOSED),
                Some('}') if !self.is_json() => return malformed(self.at, UNCLOSED),
                Some(_) if wants_comma => return malformed(self.at, "expected a comma or ]"),
                Some(_) => {
                    let value = self.value()?;
                    let is_list = matches!(value.content, Content::List(_));
                    if self.notation == Notation::ConsulJson
                        && (is_list || matches!(value.content, Content::Null))
                    {
                        return malformed(value.at, "Consul reads no list and no null in a list");
                    }
                    (comma, wants_comma) = (false, self.is_json() || !is_list);
                    values.push(value);
                }
            }
        }
    }

    fn string(&mut self) -> Read<Text<'a>> {
        const UNCLOSED: &str = "the string does not end in its line: close it with \"";
        let at = self.at;
        self.at += 1;
        let mut braces = 0_usize;
        loop {
            match self.next() {
                Some('"') if braces == 0 => {
                    let text = Text {
                        at,
                        raw: &self.text[at + 1..self.at - 1],
                        notation: self.notation,
                    };
                    return Ok(text);
                }
                Some('\n') if braces == 0 => return malformed(at, UNCLOSED),
                None => return malformed(at, UNCLOSED),
                Some('\\') => self.escape()?,
                Some(letter) if self.is_json() => {
                    if letter < ' ' {
                        return malformed(self.at - 1, "a control character: write an escape");
                    }
                }
                Some('$') if braces == 0 && self.peek() == Some('{') => {
                    self.at += 1;
                    braces = 1;
                }
                Some('{') if braces > 0 => braces += 1,
                Some('}') if braces > 0 => braces -= 1,
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) -> Read<()> {
        let at = self.at - 1;
        let (digits, radix) = match (self.next(), self.is_json()) {
            (Some('b' | 'f' | 'n' | 'r' | 't' | '\\' | '"'), _) => return Ok(()),
            (Some('u'), _) => (4, 16),
            (Some('a' | 'v'), false) => return Ok(()),
            (Some('0'..='7'), false) => (2, 8),
            (Some('x'), false) => (2, 16),
            (Some('U'), false) => (8, 16),
            (Some('/'), true) if self.notation == Notation::Json => return Ok(()),
            _ => return malformed(at, "no escape is written so: write \\\\ for a backslash"),
        };
        for _ in 0..digits {
            if !self.next().is_some_and(|digit| digit.is_digit(radix)) {
                return malformed(at, "the escape has too few digits");
            }
        }
        Ok(())
    }

    fn heredoc(&mut self) -> Read<Text<'a>> {
        let at = self.at;
        if !self.rest().starts_with("<<") {
            return malformed(at, "a heredoc begins with <<");
        }
        let dash = usize::from(self.rest().starts_with("<<-"));
        let from = at + 2 + dash;
        self.at = from;
        self.skip_while(|letter| is_letter(letter) || is_digit(letter));
        let mark = &self.text[from..self.at];
        self.at += usize::from(self.peek() == Some('\r'));
        if mark.is_empty() || self.next() != Some('\n') {
            return malformed(at, "after << stands a word, and then a line break");
        }
        loop {
            let Some(len) = self.rest().find('\n') else {
                return malformed(at, "the heredoc does not end: repeat its word in a line");
            };
            let line = &self.rest()[..len];
            self.at += len + 1;
            let line = line.strip_suffix('\r').unwrap_or(line);
            let word = line.trim_start_matches([' ', '\t', '\r', '\u{b}', '\u{c}']);
            let rest = word.strip_prefix(mark);
            // Consul counts the `-`: after `<<-` the mark has to be indented.
            if line.len() >= mark.len() + dash
                && rest.is_some_and(|it| it.trim_matches('\r').is_empty())
            {
                return Ok(self.text(at, at, Notation::Heredoc));
            }
        }
    }

    fn number(&mut self) -> Read<()> {
        let at = self.at;
        self.at += usize::from(self.peek() == Some('-'));
        if self.is_json() {
            return self.json_number(at);
        }
        let digits = self.at;
        if self.peek() == Some('.') {
            self.at += 1;
            self.skip_digits();
            // Consul ends a number such as `.5e3` behind its letter.
            self.at += usize::from(matches!(self.peek(), Some('e' | 'E')));
            return Ok(());
        }
        if let (Some('0'), Some('x' | 'X')) = (self.peek(), self.peek_second()) {
            self.at += 2;
            return match self.skip_while(|digit| digit.is_ascii_hexdigit()) {
                0 => malformed(at, "the number has no digits"),
                _ => Ok(()),
            };
        }
        self.skip_digits();
        let whole = &self.text[digits..self.at];
        match self.peek() {
            Some('e' | 'E') => self.exponent(),
            Some('.') => {
                self.at += 1;
                self.skip_digits();
                if let Some('e' | 'E') = self.peek() {
                    self.exponent();
                }
            }
            // An octal number, of which Consul does not check the first digit.
            _ if whole.starts_with('0') && whole.chars().skip(2).any(|digit| digit >= '8') => {
                return malformed(at, "a number that begins with 0 is octal");
            }
            _ => {}
        }
        Ok(())
    }

    /// Consul takes the character after `e` for a part of the number, whatever it is.
    fn exponent(&mut self) {
        self.at += 1;
        let mut first = self.next();
        if let Some('+' | '-') = first {
            first = self.next();
        }
        if first.is_some_and(is_digit) {
            self.skip_digits();
        }
    }

    fn json_number(&mut self, at: usize) -> Read<()> {
        self.skip_while(|letter| matches!(letter, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        match serde_json::from_str::<IgnoredAny>(&self.text[at..self.at]) {
            Ok(_) => Ok(()),
            Err(_) => malformed(at, "no number is written so in JSON"),
        }
    }

    /// What is wrong with a character that nothing begins with.
    fn unexpected(&self) -> &'static str {
        match self.peek() {
            Some('\'' | '`') => "a string stands in double quotes",
            _ if self.is_json() => "expected a name or a value in double quotes",
            Some(':') => "write = between a name and its value, not :",
            Some(';') => "no ; is needed: remove it",
            Some('}') => "no block is open here: remove the brace",
            Some('=' | '{') => "no name stands before this",
            _ => "expected a name, with = and a value or with a block",
        }
    }
}

/// Letters as Go's `unicode` counts them; Rust's `is_alphabetic` has a few vowel signs more.
fn is_letter(letter: char) -> bool {
    letter == '_' || letter.is_alphabetic() && !letter.is_numeric()
}

fn is_digit(letter: char) -> bool {
    letter.is_ascii_digit()
}
