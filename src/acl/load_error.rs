//! Why tokens and policies do not load.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::policy::RulesError;
use super::secret::SecretFault;
use super::syntax::{MAX_DEPTH, MAX_LABELS, Position, Problem};
use super::{AccessorId, TokenStore};

/// The error of tokens that do not load, with the place of the mistake.
///
/// What came from a file is named by its line and column. Nothing of a file is quoted but names
/// that are almost those of attributes: any other text may be a secret in the wrong place.
#[derive(Debug)]
pub struct LoadError {
    // Boxed, so that a result is small.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: LoadErrorKind,
    place: Option<Place>,
}

/// What an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A file, or a place in it.
    File(PathBuf, Option<Position>),
    /// A token that was defined in code.
    Token(AccessorId),
    /// A policy that was defined in code.
    Policy(String),
    /// The anonymous token's policies that were given in code.
    Anonymous,
}

impl LoadError {
    pub(super) fn new(kind: LoadErrorKind, place: Option<Place>) -> Self {
        LoadError {
            inner: Box::new(Inner { kind, place }),
        }
    }

    /// What is wrong.
    pub fn kind(&self) -> &LoadErrorKind {
        &self.inner.kind
    }

    /// The file that does not load; `None` for what was given in code.
    pub fn path(&self) -> Option<&Path> {
        match &self.inner.place {
            Some(Place::File(path, _)) => Some(path),
            _ => None,
        }
    }

    /// The place in the file.
    pub fn position(&self) -> Option<Position> {
        match self.inner.place {
            Some(Place::File(_, position)) => position,
            _ => None,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.place {
            Some(Place::File(path, None)) => write!(f, "cannot load {}: ", path.display())?,
            Some(Place::File(path, Some(position))) => {
                write!(f, "cannot load {}: {position}: ", path.display())?;
            }
            Some(Place::Token(accessor)) => write!(f, "token {accessor}: ")?,
            Some(Place::Policy(name)) => write!(f, "policy {name:?}: ")?,
            Some(Place::Anonymous) => f.write_str("anonymous token: ")?,
            None => {}
        }
        self.inner.kind.fmt(f)
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.inner.kind)
    }
}

/// Why tokens do not load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadErrorKind {
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// The path names a directory, a pipe or a device.
    #[error("it is not a regular file: give the path of one")]
    NotAFile,
    /// The file is larger than [`TokenStore::MAX_FILE_BYTES`].
    #[error(
        "a token file has at most {} bytes: split it",
        TokenStore::MAX_FILE_BYTES
    )]
    TooLarge,
    /// The file is neither JSON nor HCL.
    #[error("{problem}")]
    Syntax {
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// Blocks and lists are nested deeper than [`Rules::MAX_DEPTH`](super::Rules::MAX_DEPTH).
    #[error("blocks and lists are nested at most {MAX_DEPTH} deep: remove some")]
    TooDeep,
    /// A block has more labels than [`Rules::MAX_LABELS`](super::Rules::MAX_LABELS).
    #[error("a block has at most {MAX_LABELS} labels: remove some")]
    TooManyLabels,
    /// The file is HCL, and that is not compiled in.
    #[error("it is HCL: write it in JSON, or turn on the feature `hcl`")]
    HclDisabled,
    /// An attribute has a name that means nothing.
    #[error(fmt = unknown_attribute)]
    UnknownAttribute {
        /// The name, if it is almost a known one.
        name: Option<String>,
        /// The attribute that is probably meant.
        nearest: Option<&'static str>,
        /// The attributes that there are.
        expected: &'static str,
    },
    /// An attribute has a value of the wrong kind.
    #[error("{attribute} needs {expected}")]
    InvalidAttribute {
        /// The attribute.
        attribute: &'static str,
        /// What it needs.
        expected: &'static str,
    },
    /// An attribute is given twice, or in the file and in code.
    #[error("{attribute} is given twice: give it once")]
    RepeatedAttribute {
        /// The attribute.
        attribute: &'static str,
    },
    /// The rules of a policy are refused. The source's place is one in the file, or in the text if
    /// the rules are given as a text.
    #[error("the policy has invalid rules")]
    InvalidRules(#[source] RulesError),
    /// Two policies have the same name.
    #[error("a second policy has this name: rename or remove it")]
    DuplicatePolicy,
    /// A token has a policy that is not defined.
    #[error(fmt = unknown_policy)]
    UnknownPolicy {
        /// The name of the policy, unless it came from a file.
        policy: Option<String>,
    },
    /// A token has no accessor id.
    #[error("the token has an empty accessor id: give it one, by which logs name it")]
    EmptyAccessor,
    /// Two tokens have the same accessor id.
    #[error("a second token has this accessor id: give each its own")]
    DuplicateAccessor,
    /// The accessor id of a token in a file, which logs show, is the secret of a token.
    #[error("the accessor id, which logs show, is a token's secret: give the token another id")]
    AccessorIsSecret,
    /// A token has no secret.
    #[error("the token has no secret: give it one that nobody can guess")]
    NoSecret,
    /// A token has a secret that nobody can present, or that everybody knows.
    #[error("the secret {0}")]
    UnusableSecret(SecretFault),
    /// Two tokens have the same secret.
    #[error("a second token has this secret: give each its own")]
    DuplicateSecret,
    /// A management token has policies, which would mean nothing.
    #[error("the management token has policies: it may do everything, so remove them")]
    ManagementWithPolicies,
}

impl From<Problem> for LoadErrorKind {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Malformed(problem) => LoadErrorKind::Syntax { problem },
            Problem::TooDeep => LoadErrorKind::TooDeep,
            Problem::TooManyLabels => LoadErrorKind::TooManyLabels,
        }
    }
}

fn unknown_attribute(
    name: &Option<String>,
    nearest: &Option<&'static str>,
    expected: &&'static str,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match name {
        Some(name) => write!(f, "{name:?} is no attribute here")?,
        None => f.write_str("no attribute here has this name")?,
    }
    match nearest {
        Some(nearest) => write!(f, ": write {nearest:?}"),
        None => write!(f, ": use {expected}"),
    }
}

fn unknown_policy(policy: &Option<String>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match policy {
        Some(policy) => write!(f, "the policy {policy:?}")?,
        None => f.write_str("the policy that is named here")?,
    }
    f.write_str(" is not defined: define it or correct the name")
}

/// What is questionable about tokens that did load.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadWarning {
    /// Every user of the machine may read or replace the secrets in the file.
    OpenToAll {
        /// The file.
        path: PathBuf,
    },
    /// A secret was not replaced since the example was copied.
    ExampleSecret {
        /// The file.
        path: PathBuf,
        /// Where the secret stands.
        position: Position,
    },
}

impl fmt::Display for LoadWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadWarning::OpenToAll { path } => write!(
                f,
                "every user can read or change {}: take their permissions away (chmod o-rwx)",
                path.display()
            ),
            LoadWarning::ExampleSecret { path, position } => write!(
                f,
                "{}: {position}: the secret is that of the published example: replace it",
                path.display()
            ),
        }
    }
}
