//! Resources, kinds of access, and identities.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A resource that an operation reads or writes, named as in Consul's rules.
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

/// The kind of access that an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Reads the resource.
    Read,
    /// Changes the resource. Write access includes read access.
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

/// The decision where no rule applies.
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

/// The public identifier of a token. It is not a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessorId(String);

impl AccessorId {
    /// Creates an id from any text.
    pub fn new(id: impl Into<String>) -> Self {
        AccessorId(id.into())
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity that was authorized or denied, for audits. It is not a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Identity {
    /// Access control is off, so no token was required.
    AclsOff,
    /// The request had no token, so the anonymous token was used.
    Anonymous,
    /// The owner of the token with this accessor id.
    Accessor(AccessorId),
    /// The owner of a token without an accessor id.
    Unnamed,
}

impl Identity {
    /// Returns the accessor id, if the token has one.
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
