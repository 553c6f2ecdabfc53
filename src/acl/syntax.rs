//! Reads rules and token files, in JSON and HCL alike.
//!
//! Both go through serde. Its error messages quote the input, which may be a
//! secret in the wrong place, so none of them is shown: what is wrong is put
//! into a [`Verdict`] beside, and serde's error serves for its position only.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Error};

/// Where something stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Position {
    /// The line, from one.
    pub line: usize,
    /// The column in it, from one.
    pub column: usize,
}

impl Position {
    pub(super) fn new(line: usize, column: usize) -> Self {
        Position {
            line: line.max(1),
            column: column.max(1),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What the visitors found wrong, and what they were looking for.
pub(super) struct Verdict<F> {
    fault: RefCell<Option<F>>,
    expected: Cell<&'static str>,
}

impl<F> Verdict<F> {
    /// Nothing is wrong yet.
    pub(super) fn none(expected: &'static str) -> Self {
        Verdict {
            fault: RefCell::new(None),
            expected: Cell::new(expected),
        }
    }

    /// Notes what is wrong. The error only stops the parser.
    pub(super) fn refuse<E: Error>(&self, fault: F) -> E {
        self.note(fault);
        E::custom("refused")
    }

    /// Notes what is wrong where the parser is stopped already.
    pub(super) fn note(&self, fault: F) {
        self.fault.replace(Some(fault));
    }

    /// Notes what has to come next, for the case that something else does.
    pub(super) fn expect(&self, what: &'static str) {
        self.expected.set(what);
    }

    pub(super) fn take(&self) -> Option<F> {
        self.fault.take()
    }

    fn problem(&self) -> Problem<F> {
        match self.take() {
            Some(fault) => Problem::Fault(fault),
            None => Problem::Syntax(format!("expected {}", self.expected.get())),
        }
    }
}

/// What is wrong with a text.
#[derive(Debug)]
pub(super) enum Problem<F> {
    /// It is not what was expected, in words that quote nothing of it.
    Syntax(String),
    /// A visitor refused it.
    Fault(F),
}

/// Reads a whole text as JSON.
pub(super) fn read_json<'de, S, F>(
    text: &'de [u8],
    seed: S,
    verdict: &Verdict<F>,
) -> Result<S::Value, (Position, Problem<F>)>
where
    S: DeserializeSeed<'de>,
{
    let mut json = serde_json::Deserializer::from_slice(text);
    seed.deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| {
            let position = Position::new(error.line(), error.column());
            let problem = if error.is_data() {
                verdict.problem()
            } else {
                // These messages are constants, apart from the position.
                let message = error.to_string();
                let words = message.split(" at line ").next().unwrap_or_default();
                Problem::Syntax(words.to_owned())
            };
            (position, problem)
        })
}

/// Reads a whole text as HCL.
#[cfg(feature = "hcl")]
pub(super) fn read_hcl<'de, S, F>(
    text: &str,
    seed: S,
    verdict: &Verdict<F>,
) -> Result<S::Value, (Position, Problem<F>)>
where
    S: DeserializeSeed<'de>,
{
    super::hcl::read(text, seed).map_err(|error| match error {
        super::hcl::HclError::Syntax(position, words) => (position, Problem::Syntax(words)),
        super::hcl::HclError::Value(position) => (position, verdict.problem()),
    })
}
