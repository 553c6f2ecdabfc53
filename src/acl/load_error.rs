//! Why tokens do not load.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::policy::RulesError;
use super::set::SecretFault;
use super::syntax::{MAX_FILE_BYTES, Position, SyntaxProblem};

/// The error of tokens that do not load, with the place of the mistake.
///
/// What came from a file is named by its line and column. Nothing of a file is quoted but names
/// that are almost those of attributes: any other text may be a secret in the wrong place.
#[derive(Debug)]
pub struct LoadError {
    kind: Box<LoadErrorKind>,
    path: Option<PathBuf>,
    position: Option<Position>,
    origin: Option<Origin>,
}

/// What an error is about, before the file and the line are known.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// The offset in the file that is being read.
    File(usize),
    /// What was given in code, for people.
    Code(String),
}

impl LoadError {
    pub(super) fn new(kind: LoadErrorKind, origin: Option<Origin>) -> Self {
        LoadError {
            kind: Box::new(kind),
            path: None,
            position: None,
            origin,
        }
    }

    pub(super) fn at<T>(at: usize, kind: LoadErrorKind) -> Result<T, Self> {
        Err(LoadError::new(kind, Some(Origin::File(at))))
    }

    pub(super) fn in_file(mut self, path: &Path, text: &str) -> Self {
        match self.origin {
            Some(Origin::Code(_)) => return self,
            Some(Origin::File(at)) => self.position = Some(Position::of(at, text)),
            None => {}
        }
        self.path = Some(path.to_owned());
        self
    }

    /// What is wrong.
    pub fn kind(&self) -> &LoadErrorKind {
        &self.kind
    }

    /// The file that does not load; `None` for what was given in code.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The place in the file.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "cannot load {}: ", path.display())?;
        }
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        if let Some(Origin::Code(subject)) = &self.origin {
            write!(f, "{subject}: ")?;
        }
        self.kind.fmt(f)
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.kind)
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
    /// The file is larger than [`TokenStore::MAX_FILE_BYTES`](super::TokenStore::MAX_FILE_BYTES).
    #[error("a token file has at most {MAX_FILE_BYTES} bytes: split it")]
    TooLarge,
    /// The file is neither JSON nor HCL, or nested too deep.
    #[error("{0}")]
    Syntax(SyntaxProblem),
    /// The file is HCL, and that is not compiled in.
    #[error("it is HCL: write it in JSON, or turn on the feature `hcl`")]
    HclDisabled,
    /// An attribute has a name that means nothing.
    #[error("{} is no attribute here: use {expected}", .name.as_deref().unwrap_or("this"))]
    UnknownAttribute {
        /// The name in quotes, if it is almost a known one.
        name: Option<String>,
        /// The attribute that is probably meant, or all that there are.
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
    /// The rules of a policy are refused. The rules' place is one in the file, or in the text if the
    /// rules are given as a text.
    #[error("the policy has invalid rules: {0}")]
    InvalidRules(RulesError),
    /// Two policies have the same name.
    #[error("a second policy has this name: rename or remove it")]
    DuplicatePolicy,
    /// A token has a policy that is not defined.
    #[error("the policy is not defined: define it or correct the name")]
    UnknownPolicy,
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

/// What is questionable about tokens that did load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadWarning {
    /// Every user of the machine may read or replace the secrets in the file.
    #[error("every user can read or change {}: make it private (chmod o-rwx)", .0.display())]
    OpenToAll(PathBuf),
    /// A secret was not replaced since the example was copied.
    #[error("{}: {}: the secret is that of the published example: replace it", .0.display(), .1)]
    ExampleSecret(PathBuf, Position),
}
