//! Reads HCL 1, the language of Consul's policies, as Consul reads it.
//!
//! ```text
//! file    = { item [ "," ] } .
//! item    = name "=" value                 an attribute
//!         | name { name } block .          a block with labels
//! name    = identifier | string .
//! block   = "{" { item [ "," ] } "}" .
//! value   = string | heredoc | number | "true" | "false" | list | block .
//! list    = "[" { value "," } [ value ] "]" .
//! heredoc = "<<" [ "-" ] mark newline { line } mark newline .
//! ```
//!
//! White space and line breaks mean nothing outside of strings. Comments are `#` and `//` to the
//! end of the line, and `/* */`. An identifier consists of letters, digits, `_`, `-` and `.`. In a
//! string, `${` begins a part that ends with its brace and may hold quotes and line breaks;
//! nothing is evaluated. Each character is read once; depth and labels are bounded.
//!
//! Two things are read more strictly than by Consul, which takes an attribute without a value at
//! the end of the text, and an unfinished value before two closing braces, for nothing.

use super::syntax::{
    Content, Depth, Item, MAX_LABELS, Notation, Problem, SyntaxError, Text, Value, malformed,
};

/// Reads a whole text.
pub(super) fn parse(text: &str) -> Result<Vec<Item<'_>>, SyntaxError> {
    if let Some(at) = text.find(['\0', '\u{e123}']) {
        return malformed(at, "a character that HCL does not allow: remove it");
    }
    let mut reader = Reader {
        text,
        at: 0,
        depth: Depth::default(),
    };
    reader.items(None)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: Depth,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.text[self.at..].chars().nth(1)
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn skip_while(&mut self, accept: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(|letter| !accept(letter)).unwrap_or(rest.len());
    }

    /// Skips white space and comments, and shows what follows.
    fn skip(&mut self) -> Result<Option<char>, SyntaxError> {
        loop {
            self.skip_while(|letter| matches!(letter, ' ' | '\t' | '\r' | '\n'));
            match (self.peek(), self.peek_second()) {
                (Some('#'), _) | (Some('/'), Some('/')) => self.skip_while(|letter| letter != '\n'),
                (Some('/'), Some('*')) => {
                    let Some(end) = self.text[self.at + 2..].find("*/") else {
                        return malformed(self.at, "the comment does not end: close it with */");
                    };
                    self.at += end + 4;
                }
                (Some('/'), _) => {
                    return malformed(self.at, "a comment begins with #, // or /*");
                }
                (next, _) => return Ok(next),
            }
        }
    }

    /// Reads items up to the end of the block that opened at `open`, or of the text.
    fn items(&mut self, open: Option<usize>) -> Result<Vec<Item<'a>>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match (self.skip()?, open) {
                (Some('}'), Some(_)) => {
                    self.at += 1;
                    return Ok(items);
                }
                (None, None) => return Ok(items),
                (None, Some(open)) => {
                    return malformed(open, "the block does not end: close it with }");
                }
                _ => items.push(self.item()?),
            }
            if self.skip()? == Some(',') {
                self.at += 1;
            }
        }
    }

    fn item(&mut self) -> Result<Item<'a>, SyntaxError> {
        let Some(name) = self.name()? else {
            return malformed(self.at, self.unexpected());
        };
        let mut labels = Vec::new();
        while let Some(label) = self.name()? {
            labels.push(label);
            if labels.len() > MAX_LABELS {
                return Err(SyntaxError {
                    at: label.at,
                    problem: Problem::TooManyLabels,
                });
            }
        }
        let value = match self.peek() {
            Some('=') if labels.is_empty() => {
                self.at += 1;
                self.skip()?;
                self.value()?
            }
            Some('=') => return malformed(self.at, "a name with labels needs a block, not ="),
            Some('{') => self.block()?,
            None => return malformed(name.at, "the name has no value: give it one"),
            Some(_) => return malformed(self.at, self.unexpected()),
        };
        Ok(Item {
            name,
            labels,
            value,
        })
    }

    fn name(&mut self) -> Result<Option<Text<'a>>, SyntaxError> {
        match self.skip()? {
            Some('"') => self.string().map(Some),
            Some(letter) if is_letter(letter) => {
                let name = self.identifier();
                if matches!(name.raw, "true" | "false") {
                    return malformed(name.at, "true and false are no names: quote them");
                }
                Ok(Some(name))
            }
            _ => Ok(None),
        }
    }

    fn identifier(&mut self) -> Text<'a> {
        let at = self.at;
        self.skip_while(|letter| {
            is_letter(letter) || letter.is_ascii_digit() || matches!(letter, '-' | '.')
        });
        self.text(at, at, self.at, Notation::Bare)
    }

    fn text(&self, at: usize, from: usize, to: usize, notation: Notation) -> Text<'a> {
        Text {
            at,
            raw: &self.text[from..to],
            notation,
        }
    }

    /// Reads a value; white space is skipped already.
    fn value(&mut self) -> Result<Value<'a>, SyntaxError> {
        let at = self.at;
        let content = match (self.peek(), self.peek_second()) {
            (Some('"'), _) => Content::Text(self.string()?),
            (Some('<'), _) => Content::Text(self.heredoc()?),
            (Some('{'), _) => return self.block(),
            (Some('['), _) => self.list()?,
            (Some('0'..='9'), _) | (Some('-' | '.'), Some('0'..='9')) => {
                self.number()?;
                Content::Number(&self.text[at..self.at])
            }
            (Some(letter), _) if is_letter(letter) => match self.identifier().raw {
                "true" => Content::Bool(true),
                "false" => Content::Bool(false),
                _ => return malformed(at, "nothing is evaluated: put the value in quotes"),
            },
            (None | Some('}' | ',' | ']'), _) => return malformed(at, MISSING),
            _ => return malformed(at, self.unexpected()),
        };
        Ok(Value { at, content })
    }

    fn block(&mut self) -> Result<Value<'a>, SyntaxError> {
        let at = self.at;
        self.depth.enter(at)?;
        self.at += 1;
        let items = self.items(Some(at))?;
        self.depth.leave();
        Ok(Value {
            at,
            content: Content::Object(items),
        })
    }

    fn list(&mut self) -> Result<Content<'a>, SyntaxError> {
        let open = self.at;
        self.depth.enter(open)?;
        self.at += 1;
        let mut values = Vec::new();
        let mut comma = false;
        loop {
            match self.skip()? {
                Some(']') => {
                    self.at += 1;
                    self.depth.leave();
                    return Ok(Content::List(values));
                }
                Some(',') => {
                    self.at += 1;
                    comma = false;
                }
                None => return malformed(open, "the list does not end: close it with ]"),
                Some(_) if comma => return malformed(self.at, "expected a comma or ]"),
                Some('}') => return malformed(self.at, "the list does not end: close it with ]"),
                Some(_) => {
                    let value = self.value()?;
                    // Consul asks for no comma after a list in a list.
                    comma = !matches!(value.content, Content::List(_));
                    values.push(value);
                }
            }
        }
    }

    fn string(&mut self) -> Result<Text<'a>, SyntaxError> {
        let at = self.at;
        self.at += 1;
        let mut braces = 0_usize;
        loop {
            match self.next() {
                Some('"') if braces == 0 => {
                    return Ok(self.text(at, at + 1, self.at - 1, Notation::Hcl));
                }
                Some('\n') if braces == 0 => {
                    return malformed(at, "the string does not end in its line: close it with \"");
                }
                None => return malformed(at, "the string does not end: close it with \""),
                Some('$') if braces == 0 && self.peek() == Some('{') => {
                    self.at += 1;
                    braces = 1;
                }
                Some('{') if braces > 0 => braces += 1,
                Some('}') if braces > 0 => braces -= 1,
                Some('\\') => self.escape()?,
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        let at = self.at;
        let (digits, radix) = match self.next() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '"') => return Ok(()),
            Some('0'..='7') => (2, 8),
            Some('x') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            _ => {
                return malformed(
                    at - 1,
                    "no escape is written so: write \\\\ for a backslash",
                );
            }
        };
        for _ in 0..digits {
            if !self.next().is_some_and(|digit| digit.is_digit(radix)) {
                return malformed(at - 1, "the escape has too few digits");
            }
        }
        Ok(())
    }

    fn heredoc(&mut self) -> Result<Text<'a>, SyntaxError> {
        let at = self.at;
        self.at += 1;
        if self.next() != Some('<') {
            return malformed(at, "a heredoc begins with <<");
        }
        let from = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        self.skip_while(|letter| is_letter(letter) || letter.is_ascii_digit());
        let head = &self.text[from..self.at];
        let mark = head.trim_start_matches('-');
        if self.peek() == Some('\r') {
            self.at += 1;
        }
        if mark.is_empty() || self.next() != Some('\n') {
            return malformed(at, "after << stands a word, and then a line break");
        }
        loop {
            let Some(len) = self.text[self.at..].find('\n') else {
                return malformed(at, "the heredoc does not end: repeat its word in a line");
            };
            let line = &self.text[self.at..self.at + len];
            self.at += len + 1;
            let line = line.strip_suffix('\r').unwrap_or(line);
            let word = line.trim_start_matches([' ', '\t', '\r', '\u{b}', '\u{c}']);
            let rest = word.strip_prefix(mark);
            // The length counts with the `-`: after `<<-` the mark has to be indented.
            if line.len() >= head.len()
                && rest.is_some_and(|rest| rest.chars().all(|letter| letter == '\r'))
            {
                return Ok(self.text(at, at, self.at, Notation::Heredoc));
            }
        }
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let at = self.at;
        if self.peek() == Some('-') {
            self.at += 1;
        }
        let digits = self.at;
        if self.peek() == Some('.') {
            self.at += 1;
            self.skip_while(|digit| digit.is_ascii_digit());
            // Consul ends a number such as `.5e3` behind its letter.
            if let Some('e' | 'E') = self.peek() {
                self.at += 1;
            }
            return Ok(());
        }
        if let (Some('0'), Some('x' | 'X')) = (self.peek(), self.peek_second()) {
            self.at += 2;
            self.skip_while(|digit| digit.is_ascii_hexdigit());
            if self.at == digits + 2 {
                return malformed(at, "the number has no digits");
            }
            return Ok(());
        }
        self.skip_while(|digit| digit.is_ascii_digit());
        let whole = &self.text[digits..self.at];
        match self.peek() {
            Some('e' | 'E') => self.exponent(),
            Some('.') => {
                self.at += 1;
                self.skip_while(|digit| digit.is_ascii_digit());
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
        if first.is_some_and(|digit| digit.is_ascii_digit()) {
            self.skip_while(|digit| digit.is_ascii_digit());
        }
    }

    /// What is wrong with a character that nothing begins with.
    fn unexpected(&self) -> &'static str {
        match self.peek() {
            Some(':') => "write = between a name and its value, not :",
            Some(';') => "no ; is needed: remove it",
            Some('\'' | '`') => "a string stands in double quotes",
            Some('\u{feff}') => "a byte order mark: save the text without it",
            Some('}') => "no block is open here: remove the brace",
            Some('=') => "no name stands before the =",
            Some('{') => "no name stands before the brace",
            _ => "expected a name, with = and a value or with a block",
        }
    }
}

const MISSING: &str = "the value is missing: write one in quotes";

/// Letters as Go's `unicode` counts them. Rust's `is_alphabetic` has a few vowel signs more.
fn is_letter(letter: char) -> bool {
    letter == '_' || letter.is_alphabetic() && !letter.is_numeric()
}
