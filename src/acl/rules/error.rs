//! Why rules are refused.

use std::fmt;

use crate::acl::{Position, Resource};

/// Why rules are refused.
///
/// Where Consul has words for it, these are Consul's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// It is neither HCL nor JSON, or no set of rules.
    #[error("Failed to parse ACL rules: {position}: {problem}")]
    Syntax {
        /// Where.
        position: Position,
        /// What is wrong there. It quotes nothing of the text.
        problem: String,
    },
    /// A rule has a value that is none of the three.
    #[error(fmt = invalid_rule)]
    InvalidRule {
        /// What the rule is about.
        resource: Resource,
        /// Its value; `None` if the rules came with secrets, as in a token
        /// file, where a value may be one in the wrong place.
        value: Option<String>,
        /// Where the value stands. In JSON this is its end.
        position: Position,
    },
    /// A resource has two rules.
    #[error("duplicate rule at {position}: give one rule about {resource}")]
    DuplicateRule {
        /// Which resource.
        resource: Resource,
        /// Where the second rule stands.
        position: Position,
    },
    /// The rules are not JSON, and HCL is not compiled in.
    #[error("the rules are not JSON: write them in JSON, or turn on the feature `hcl`")]
    HclDisabled,
}

impl RulesError {
    /// The same without what the text says.
    pub(in crate::acl) fn without_value(mut self) -> Self {
        if let RulesError::InvalidRule { value, .. } = &mut self {
            *value = None;
        }
        self
    }
}

fn invalid_rule(
    resource: &Resource,
    value: &Option<String>,
    position: &Position,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "Invalid {resource} policy")?;
    if let Some(value) = value {
        write!(f, ": {value}")?;
    }
    write!(f, " at {position}: give \"read\", \"write\" or \"deny\"")
}
