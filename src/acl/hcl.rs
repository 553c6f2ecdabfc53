//! HCL as a serde format, as far as rules and token files need it.
//!
//! An attribute is a member of a map; a block is one whose value is a map under
//! each of its labels, so that `token "a" { .. }` reads as `{"token": {"a": ..}}`
//! does. Blocks of the same name are members of the same name. Nothing is
//! evaluated: a string that refers to something is no string.

use std::fmt;
use std::ops::Range;

use hcl_edit::Span;
use hcl_edit::expr::{Expression, ObjectKey};
use hcl_edit::structure::{BlockLabel, Body, Structure};
use hcl_edit::template::Element;
use hcl_edit::visit_mut::{VisitMut, visit_element_mut, visit_expr_mut};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use zeroize::Zeroize;

use super::Position;

/// Why a text is not read. It holds nothing of the text.
#[derive(Debug)]
pub(super) enum HclError {
    /// It is no HCL, in the parser's words.
    Syntax(Position, String),
    /// The value that stands there is refused.
    Value(Position),
}

pub(super) fn read<'de, S: DeserializeSeed<'de>>(
    text: &str,
    seed: S,
) -> Result<S::Value, HclError> {
    let mut body = hcl_edit::parser::parse_body(text).map_err(|error| {
        let place = error.location();
        HclError::Syntax(
            Position::new(place.line(), place.column()),
            error.message().to_owned(),
        )
    })?;
    let read = seed.deserialize(BodyDeserializer(&body));
    Wipe.visit_body_mut(&mut body);
    read.map_err(|refused| HclError::Value(position(text, refused.at)))
}

fn position(text: &str, at: usize) -> Position {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Position::new(line, column)
}

/// Wipes every string that the parser has copied out of the text.
struct Wipe;

impl VisitMut for Wipe {
    fn visit_expr_mut(&mut self, node: &mut Expression) {
        if let Expression::String(text) = node {
            text.value_mut().zeroize();
        }
        visit_expr_mut(self, node);
    }

    fn visit_element_mut(&mut self, node: &mut Element) {
        if let Element::Literal(text) = node {
            text.value_mut().zeroize();
        }
        visit_element_mut(self, node);
    }
}

/// A refused value. Serde's message is dropped, since it may quote the value.
#[derive(Debug)]
struct Refused {
    at: usize,
}

impl Refused {
    const NOWHERE: usize = usize::MAX;

    /// The innermost place that is known stays.
    fn within(mut self, span: Option<Range<usize>>) -> Self {
        if self.at == Self::NOWHERE {
            self.at = span.map_or(Self::NOWHERE, |span| span.start);
        }
        self
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Refused { at: Self::NOWHERE }
    }
}

#[derive(Clone, Copy)]
struct BodyDeserializer<'a>(&'a Body);

impl<'de> Deserializer<'de> for BodyDeserializer<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(BodyAccess {
            structures: self.0.iter(),
            next: None,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct BodyAccess<'a> {
    structures: hcl_edit::structure::Iter<'a>,
    next: Option<&'a Structure>,
}

impl<'de> MapAccess<'de> for BodyAccess<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Refused> {
        self.next = self.structures.next();
        let Some(structure) = self.next else {
            return Ok(None);
        };
        let name = match structure {
            Structure::Attribute(attribute) => attribute.key.as_str(),
            Structure::Block(block) => block.ident.as_str(),
        };
        seed.deserialize(name.into_deserializer())
            .map(Some)
            .map_err(|error: Refused| error.within(structure.span()))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        let (read, span) = match self.next.take() {
            Some(Structure::Attribute(attribute)) => (
                seed.deserialize(ExpressionDeserializer(&attribute.value)),
                attribute.value.span(),
            ),
            Some(Structure::Block(block)) => (
                seed.deserialize(BlockDeserializer {
                    labels: &block.labels,
                    body: &block.body,
                }),
                block.span(),
            ),
            None => return Err(Refused::custom("a value without a key")),
        };
        read.map_err(|error| error.within(span))
    }
}

/// What stands behind a block's name.
#[derive(Clone, Copy)]
struct BlockDeserializer<'a> {
    labels: &'a [BlockLabel],
    body: &'a Body,
}

impl<'de> Deserializer<'de> for BlockDeserializer<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.labels.split_first() {
            Some((label, labels)) => {
                let body = self.body;
                visitor.visit_map(MapDeserializer::new(std::iter::once((
                    label.as_str(),
                    BlockDeserializer { labels, body },
                ))))
            }
            None => BodyDeserializer(self.body).deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

impl IntoDeserializer<'_, Refused> for BlockDeserializer<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[derive(Clone, Copy)]
struct ExpressionDeserializer<'a>(&'a Expression);

impl<'de> Deserializer<'de> for ExpressionDeserializer<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let read = match self.0 {
            Expression::Null(_) => visitor.visit_unit(),
            Expression::Bool(value) => visitor.visit_bool(*value.value()),
            Expression::Number(number) => match number.value().as_i64() {
                Some(number) => visitor.visit_i64(number),
                None => visitor.visit_f64(number.value().as_f64().unwrap_or(f64::NAN)),
            },
            Expression::String(text) => visitor.visit_str(text.value()),
            Expression::HeredocTemplate(heredoc) => match heredoc.template.as_single_element() {
                Some(Element::Literal(text)) => visitor.visit_str(text.value()),
                None if heredoc.template.is_empty() => visitor.visit_str(""),
                _ => Err(unevaluated()),
            },
            Expression::Parenthesis(inner) => {
                ExpressionDeserializer(inner.inner()).deserialize_any(visitor)
            }
            Expression::Array(array) => visitor.visit_seq(SeqDeserializer::new(
                array.iter().map(ExpressionDeserializer),
            )),
            Expression::Object(object) => object
                .iter()
                .map(|(key, value)| {
                    let name = match key {
                        ObjectKey::Ident(ident) => Some(ident.as_str()),
                        ObjectKey::Expression(expression) => expression.as_str(),
                    };
                    name.map(|name| (name, ExpressionDeserializer(value.expr())))
                })
                .collect::<Option<Vec<_>>>()
                .ok_or_else(unevaluated)
                .and_then(|members| visitor.visit_map(MapDeserializer::new(members.into_iter()))),
            _ => Err(unevaluated()),
        };
        read.map_err(|error| error.within(self.0.span()))
    }

    /// Does not look into it: a rule of another resource may say what it likes.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}

impl IntoDeserializer<'_, Refused> for ExpressionDeserializer<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn unevaluated() -> Refused {
    Refused::custom("expressions are not evaluated")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        read(text, std::marker::PhantomData::<serde_json::Value>).unwrap()
    }

    #[test]
    fn a_block_is_a_map_under_its_labels() {
        assert_eq!(
            json("a \"b\" c {\n d = [1, \"x\", true, null]\n}"),
            serde_json::json!({"a": {"b": {"c": {"d": [1, "x", true, null]}}}})
        );
    }

    #[test]
    fn a_heredoc_is_a_string() {
        assert_eq!(
            json("a = <<EOT\nx\nEOT\nb = <<EOT\nEOT\n"),
            serde_json::json!({"a": "x\n", "b": ""})
        );
    }

    #[test]
    fn a_refused_value_has_its_place() {
        let text = "a = {\n  é = [1, upper(\"x\")]\n}";
        match read(text, std::marker::PhantomData::<serde_json::Value>) {
            Err(HclError::Value(at)) => assert_eq!(at, Position::new(2, 11)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_string_is_left_of_what_was_read() {
        /// Looks for a letter in what the parser has copied.
        #[derive(Default)]
        struct Strings(Vec<String>);

        impl VisitMut for Strings {
            fn visit_expr_mut(&mut self, node: &mut Expression) {
                if let Expression::String(text) = node {
                    self.0.push(text.value().clone());
                }
                visit_expr_mut(self, node);
            }

            fn visit_element_mut(&mut self, node: &mut Element) {
                if let Element::Literal(text) = node {
                    self.0.push(text.value().clone());
                }
                visit_element_mut(self, node);
            }
        }

        let text = "a = \"x\"\nb = [(\"x\"), {\"x\" = upper(\"x\")}]\nc = <<EOT\nx\nEOT\n\
                    d \"e\" {\n f = \"x${g}x\"\n}\n";
        let mut body = hcl_edit::parser::parse_body(text).unwrap();
        let strings = |body: &mut Body| {
            let mut strings = Strings::default();
            strings.visit_body_mut(body);
            strings.0
        };
        assert_eq!(strings(&mut body), ["x", "x", "x", "x\n", "x", "x"]);
        Wipe.visit_body_mut(&mut body);
        assert_eq!(strings(&mut body), [""; 6]);
    }

    #[test]
    fn the_parser_bounds_how_deep_it_goes() {
        let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
        let read = read(&deep, std::marker::PhantomData::<serde_json::Value>);
        assert!(matches!(read, Err(HclError::Syntax(..))));
    }
}
