//! Who may do what.

use std::sync::Arc;

use super::Token;
use crate::error::{ErrorKind, OperatorError};
use crate::types::{Access, DefaultPolicy, Identity, Resource};
use async_trait::async_trait;

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
/// `cluster_operator_conformance::acl_authorizer` holds an authorizer to it; in
/// parentheses are the names of its checks.
/// - No token means the anonymous one (`anonymous_rules_apply_without_a_token`).
/// - Write implies read (`rules_decide_under_default_deny`); deny and read hold
///   whatever the default is (`rules_decide_under_default_allow`).
/// - What a token that is unknown would be allowed does not matter: it is
///   [`UnknownToken`](AclError::UnknownToken), also under a default of allow
///   (`default_allow_does_not_cover_unknown_tokens`).
/// - A decision, a denial too, names the token by its
///   [`AccessorId`](super::AccessorId), always the same one, unless tokens have no such ids (`a_denial_tells_whose_token_it_is`).
///   Who shows the id instead of the secret shows a token that is unknown
///   (`an_accessor_id_is_no_secret`).
/// - An answer does not depend on other requests
///   (`an_answer_does_not_depend_on_other_questions`).
/// - The secret is not logged, not kept, and no part of it put into an error
///   (`no_secret_is_in_an_error`).
/// - Where it cannot be told what a token allows, nothing is allowed
///   (`lost_source_is_unavailable`).
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
