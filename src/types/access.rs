//! What a token allows, and whose it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an operation touches, as Consul's rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Resource {
    /// The Raft configuration and autopilot.
    Operator,
    /// The gossip encryption keys.
    Keyring,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Operator => "operator",
            Resource::Keyring => "keyring",
        })
    }
}

/// In which way an operation touches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// It looks.
    Read,
    /// It changes. Whoever may write may read.
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
        })
    }
}

/// What holds where no rule says anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultPolicy {
    /// Everything is allowed.
    Allow,
    /// Nothing is allowed.
    #[default]
    Deny,
}

impl fmt::Display for DefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DefaultPolicy::Allow => "allow",
            DefaultPolicy::Deny => "deny",
        })
    }
}

/// The public name of a token, by which people speak of it. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessorId(String);

impl AccessorId {
    /// Takes the id as it is.
    pub fn new(id: impl Into<String>) -> Self {
        AccessorId(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who was authorized or denied, for audits. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Identity {
    /// Access control is off: nobody was asked for a token.
    AclsOff,
    /// The request had no token, so the anonymous one was used.
    Anonymous,
    /// The owner of the token with this accessor id.
    Accessor(AccessorId),
    /// The owner of a token that has no public name.
    Unnamed,
}

impl Identity {
    /// The accessor id, if the token has one.
    pub fn accessor(&self) -> Option<&AccessorId> {
        match self {
            Identity::Accessor(id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::AclsOff => f.write_str("ACLs off"),
            Identity::Anonymous => f.write_str("anonymous"),
            Identity::Accessor(id) => id.fmt(f),
            Identity::Unnamed => f.write_str("unnamed token"),
        }
    }
}
