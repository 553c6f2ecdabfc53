//! Why tokens do not load.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::acl::{AccessorId, Position, RulesError};

/// Why tokens do not load.
///
/// It names accessor ids and policies, which are no secrets, and quotes nothing
/// else of a file: a secret may stand in the wrong place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is neither JSON nor HCL, or not of the form of a token file.
    #[error("cannot load {}: {position}: {problem}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where. In JSON this is the end of what is wrong.
        position: Position,
        /// What is wrong there.
        problem: String,
    },
    /// The file is HCL, and that is not compiled in.
    #[error("cannot load {}: write it in JSON, or turn on the feature `hcl`", path.display())]
    HclDisabled {
        /// Which file.
        path: PathBuf,
    },
    /// The rules of a policy are refused.
    #[error("the policy {policy:?} has no valid rules")]
    InvalidRules {
        /// Which policy.
        policy: String,
        /// What is wrong. The place is one in the file, or in the text if the
        /// rules are given as a text.
        source: RulesError,
    },
    /// Two policies have the same name.
    #[error("the policy {policy:?} is given twice: name the second otherwise or remove it")]
    DuplicatePolicy {
        /// The name.
        policy: String,
    },
    /// A token has a policy that is not defined.
    #[error(fmt = unknown_policy)]
    UnknownPolicy {
        /// Its name.
        policy: String,
        /// Whose it is; `None` for the anonymous token.
        accessor: Option<AccessorId>,
    },
    /// A token has no accessor id.
    #[error("a token has an empty accessor id: give it one to speak of it by")]
    EmptyAccessor,
    /// Two tokens have the same accessor id.
    #[error("two tokens have the accessor id {accessor}: give each its own")]
    DuplicateAccessor {
        /// The id.
        accessor: AccessorId,
    },
    /// A token has no secret.
    #[error("the token {accessor} has no secret: give it one that nobody can guess")]
    NoSecret {
        /// Which token.
        accessor: AccessorId,
    },
    /// Two tokens have the same secret.
    #[error("the tokens {accessor} and {other} have the same secret: give each its own")]
    DuplicateSecret {
        /// One of them.
        accessor: AccessorId,
        /// The other one.
        other: AccessorId,
    },
    /// A management token has policies, which would mean nothing.
    #[error("the management token {accessor} has policies: it may do everything, so remove them")]
    ManagementWithPolicies {
        /// Which token.
        accessor: AccessorId,
    },
}

fn unknown_policy(
    policy: &str,
    accessor: &Option<AccessorId>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match accessor {
        Some(accessor) => write!(f, "the token {accessor}")?,
        None => f.write_str("the anonymous token")?,
    }
    write!(
        f,
        " has the policy {policy:?}, which is not defined: define it or correct the name"
    )
}
