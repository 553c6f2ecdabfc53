//! Access control: the token of a request, the rules of policies, and authorizers.

mod builder;
mod hcl;
mod load_error;
mod policy;
mod rules;
mod set;
mod store;
mod syntax;
pub mod token;
mod token_file;

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{ErrorKind, OperatorError};

pub use crate::types::{Access, AccessorId, DefaultPolicy, Identity, Resource};
pub use builder::{TokenDefinition, TokenStoreBuilder};
pub use load_error::{LoadError, LoadErrorKind, LoadWarning};
pub use policy::{RulesError, RulesErrorKind};
pub use rules::{Rule, Rules};
pub use set::SecretFault;
#[cfg(feature = "mock")]
pub(crate) use set::TokenSet;
pub use store::{TokenSnapshot, TokenStore};
pub(crate) use syntax::equal_fold;
pub use syntax::{Position, SyntaxProblem};
pub use token::Token;

/// Why an authorizer did not allow something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AclError {
    /// The token is known and does not allow it.
    #[error("permission denied")]
    Denied {
        /// The owner of the token.
        identity: Identity,
    },
    /// The token is unknown.
    #[error("the token is not known")]
    UnknownToken,
    /// The authorizer is unavailable.
    #[error("{reason}")]
    Unavailable {
        /// The cause, for the operator. It must not contain the token.
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
/// The service calls it in the server that serves the operation, after routing and before any
/// lookup.
///
/// # Contract
/// `cluster_operator_conformance::acl_authorizer` tests it; the names of its checks are in
/// parentheses.
/// - A request without a token has the anonymous token's rules
///   (`anonymous_rules_apply_without_a_token`).
/// - Write implies read (`rules_decide_under_default_deny`). Deny and read hold under any default
///   policy (`rules_decide_under_default_allow`).
/// - An unknown token is [`UnknownToken`](AclError::UnknownToken), also under a default policy of
///   allow (`default_allow_does_not_cover_unknown_tokens`).
/// - Decisions and denials name the token by its [`AccessorId`], which does not
///   change, unless tokens have no such ids (`a_denial_tells_whose_token_it_is`). The id is no
///   secret: presented as a token, it is unknown (`an_accessor_id_is_no_secret`).
/// - A decision does not depend on other requests
///   (`an_answer_does_not_depend_on_other_questions`).
/// - The secret is not logged or kept, and no part of it is in an error (`no_secret_is_in_an_error`).
/// - Nothing is allowed while the rules of a token cannot be found out
///   (`lost_source_is_unavailable`).
#[async_trait]
pub trait AclAuthorizer: Send + Sync {
    /// Decides whether the token allows this access to the resource, and returns its owner.
    ///
    /// # Errors
    /// [`AclError`] if the token does not allow it, or if that cannot be found out.
    ///
    /// # Cancel safety
    /// The future changes nothing and can be dropped.
    async fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError>;

    /// The policy that decides where no rule does. Consul 1.10 sends it in a header of every
    /// response.
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

/// Allows everything to everyone, as Consul does with ACLs disabled.
///
/// Everyone who reaches the endpoints can then read the gossip keys and remove servers. No builder
/// uses it by default.
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
