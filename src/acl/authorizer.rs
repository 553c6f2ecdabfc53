//! Who may do what.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Token;
use crate::error::{ErrorKind, OperatorError};

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

/// Why an authorizer did not allow something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AclError {
    /// The token is known and does not allow it.
    #[error("permission denied")]
    Denied {
        /// Whose token it is.
        identity: Identity,
    },
    /// Nobody has this token.
    #[error("the token is not known")]
    UnknownToken,
    /// It cannot be told now.
    #[error("{reason}")]
    Unavailable {
        /// Why not, for the operator. It must not contain the token.
        reason: String,
    },
}

impl AclError {
    pub(crate) fn into_operator_error(self, resource: Resource, access: Access) -> OperatorError {
        let kind = match self {
            AclError::Denied { identity } => ErrorKind::PermissionDenied {
                resource,
                access,
                identity,
            },
            AclError::UnknownToken => ErrorKind::UnknownToken,
            AclError::Unavailable { reason } => ErrorKind::AuthorizerUnavailable { reason },
        };
        OperatorError::new(kind)
    }
}

/// Decides whether a token allows an operation.
///
/// The service asks it in the server that serves the operation, after routing
/// and before any lookup.
///
/// # Contract
/// `conformance::acl_authorizer` holds an authorizer to it; in parentheses are
/// the names of its checks.
/// - No token means the anonymous one
///   (`who_shows_no_token_has_the_anonymous_rules`).
/// - Write implies read (`a_write_rule_allows_to_read_too`); deny and read hold
///   whatever the default is (`a_deny_rule_denies_what_the_default_allows`).
/// - What a token that is unknown would be allowed does not matter: it is
///   [`UnknownToken`](AclError::UnknownToken), also under a default of allow
///   (`a_token_that_nobody_has_is_unknown_where_the_default_allows`).
/// - A decision, a denial too, names the token by its [`AccessorId`], always the
///   same one, unless tokens have no such ids (`a_denial_tells_whose_token_it_is`).
///   Who shows the id instead of the secret shows a token that is unknown
///   (`an_accessor_id_is_no_secret`).
/// - An answer does not depend on earlier requests
///   (`an_answer_does_not_depend_on_earlier_ones`).
/// - The secret is not logged, not kept, and no part of it put into an error
///   (`no_secret_is_in_an_error`).
/// - Where it cannot be told what a token allows, nothing is allowed
///   (`what_cannot_be_told_is_unavailable`).
#[async_trait]
pub trait AclAuthorizer: Send + Sync {
    /// Decides whether the token allows this access to the resource, and says whose
    /// token it is.
    ///
    /// # Errors
    /// [`AclError`] if it does not, or if that cannot be told.
    ///
    /// # Cancel safety
    /// It decides only; the future can be dropped.
    async fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError>;

    /// What holds where no rule says anything. Consul 1.10 tells it in a header
    /// of every response.
    fn default_policy(&self) -> DefaultPolicy {
        DefaultPolicy::Deny
    }
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        #[async_trait]
        impl<A: AclAuthorizer + ?Sized> AclAuthorizer for $pointer<A> {
            async fn authorize(
                &self,
                token: Option<&Token>,
                resource: Resource,
                access: Access,
            ) -> Result<Identity, AclError> {
                (**self).authorize(token, resource, access).await
            }

            fn default_policy(&self) -> DefaultPolicy {
                (**self).default_policy()
            }
        }
    )+};
}

forward!(Arc, Box);

/// Allows everything to everyone, as a Consul with ACLs off does.
///
/// Whoever reaches the endpoints can then read the gossip keys and remove
/// servers. It has to be named; no builder takes it by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

#[async_trait]
impl AclAuthorizer for AllowAll {
    async fn authorize(
        &self,
        _: Option<&Token>,
        _: Resource,
        _: Access,
    ) -> Result<Identity, AclError> {
        Ok(Identity::AclsOff)
    }

    fn default_policy(&self) -> DefaultPolicy {
        DefaultPolicy::Allow
    }
}
