//! An authorizer with a list of tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::clock::lock;
use crate::acl::{
    Access, AccessorId, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Token,
};

/// What a token's rules say of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grant {
    /// It may look.
    Read,
    /// It may change, and look.
    Write,
    /// It may do nothing.
    Deny,
}

/// A token that a [`MockAcl`] knows. Of what its rules do not mention, the
/// default policy decides.
#[derive(Debug, Clone)]
pub struct MockToken {
    secret: Token,
    accessor: Option<AccessorId>,
    management: bool,
    grants: BTreeMap<Resource, Grant>,
}

impl MockToken {
    /// A token without rules.
    pub fn new(secret: impl Into<String>) -> Self {
        MockToken {
            secret: Token::new(secret),
            accessor: None,
            management: false,
            grants: BTreeMap::new(),
        }
    }

    /// A token that may do everything.
    pub fn management(secret: impl Into<String>) -> Self {
        MockToken {
            management: true,
            ..MockToken::new(secret)
        }
    }

    /// Adds a rule, in place of one for the same resource.
    #[must_use]
    pub fn with(mut self, resource: Resource, grant: Grant) -> Self {
        self.grants.insert(resource, grant);
        self
    }

    /// Sets the accessor id. Default: a UUID with the number of the token in it.
    #[must_use]
    pub fn with_accessor(mut self, accessor: AccessorId) -> Self {
        self.accessor = Some(accessor);
        self
    }
}

/// An [`AclAuthorizer`] in memory. Clones share the tokens.
///
/// ```
/// use cluster_operator::mock::{Grant, MockAcl, MockToken};
/// use cluster_operator::{Access, AclAuthorizer, AclError, DefaultPolicy, Resource, Token};
///
/// # futures_executor::block_on(async {
/// let acl = MockAcl::new(DefaultPolicy::Deny)
///     .with_token(MockToken::new("reader").with(Resource::Keyring, Grant::Read))
///     .with_token(MockToken::management("root"));
///
/// let reader = Token::new("reader");
/// acl.authorize(Some(&reader), Resource::Keyring, Access::Read).await?;
/// let written = acl.authorize(Some(&reader), Resource::Keyring, Access::Write).await;
/// assert!(matches!(written, Err(AclError::Denied { .. })));
/// # Ok::<(), AclError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MockAcl {
    default_policy: DefaultPolicy,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    tokens: Vec<MockToken>,
    /// How many tokens there have been.
    numbered: usize,
    anonymous: BTreeMap<Resource, Grant>,
    unavailable: Option<String>,
}

impl MockAcl {
    /// An authorizer without tokens. Everyone without one is anonymous.
    pub fn new(default_policy: DefaultPolicy) -> Self {
        MockAcl {
            default_policy,
            known: Arc::default(),
        }
    }

    /// Adds a token.
    #[must_use]
    pub fn with_token(self, token: MockToken) -> Self {
        self.add(token);
        self
    }

    /// Adds a rule for whoever shows no token.
    #[must_use]
    pub fn with_anonymous(self, resource: Resource, grant: Grant) -> Self {
        lock(&self.known).anonymous.insert(resource, grant);
        self
    }

    /// Adds a token, in place of one with the same secret.
    pub fn add(&self, mut token: MockToken) {
        let mut known = lock(&self.known);
        known.numbered += 1;
        let number = known.numbered;
        token.accessor.get_or_insert_with(|| {
            AccessorId::new(format!("acce5500-0000-4000-8000-{number:012x}"))
        });
        known.tokens.retain(|held| held.secret != token.secret);
        known.tokens.push(token);
    }

    /// Forgets a token.
    pub fn revoke(&self, secret: &Token) {
        lock(&self.known)
            .tokens
            .retain(|token| token.secret != *secret);
    }

    /// Makes it unable to decide, for this reason.
    pub fn set_unavailable(&self, reason: impl Into<String>) {
        lock(&self.known).unavailable = Some(reason.into());
    }

    /// Makes it able to decide again.
    pub fn set_available(&self) {
        lock(&self.known).unavailable = None;
    }
}

impl Known {
    /// The rule for the resource, if there is one, and whose it is.
    fn grant(
        &self,
        token: Option<&Token>,
        resource: Resource,
    ) -> Result<(Option<Grant>, Option<AccessorId>), AclError> {
        let Some(secret) = token else {
            return Ok((self.anonymous.get(&resource).copied(), None));
        };
        let token = self
            .tokens
            .iter()
            .find(|token| token.secret == *secret)
            .ok_or(AclError::UnknownToken)?;
        let grant = match token.management {
            true => Some(Grant::Write),
            false => token.grants.get(&resource).copied(),
        };
        Ok((grant, token.accessor.clone()))
    }
}

#[async_trait]
impl AclAuthorizer for MockAcl {
    async fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        let known = lock(&self.known);
        if let Some(reason) = known.unavailable.clone() {
            return Err(AclError::Unavailable { reason });
        }
        let (grant, accessor) = known.grant(token, resource)?;
        let allowed = match grant {
            Some(Grant::Write) => true,
            Some(Grant::Read) => access == Access::Read,
            Some(Grant::Deny) => false,
            None => self.default_policy == DefaultPolicy::Allow,
        };
        let identity = match accessor {
            Some(accessor) => Identity::Accessor(accessor),
            None => Identity::Anonymous,
        };
        if allowed {
            Ok(identity)
        } else {
            Err(AclError::Denied { identity })
        }
    }

    fn default_policy(&self) -> DefaultPolicy {
        self.default_policy
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;

    fn may(acl: &MockAcl, token: Option<&str>, access: Access) -> Result<(), AclError> {
        let token = token.map(Token::new);
        block_on(acl.authorize(token.as_ref(), Resource::Operator, access)).map(drop)
    }

    #[test]
    fn a_rule_decides_before_the_default_policy() {
        for default in [DefaultPolicy::Allow, DefaultPolicy::Deny] {
            let by_default = default == DefaultPolicy::Allow;
            for (grant, read, write) in [
                (Some(Grant::Read), true, false),
                (Some(Grant::Write), true, true),
                (Some(Grant::Deny), false, false),
                (None, by_default, by_default),
            ] {
                let mut token = MockToken::new("t").with(Resource::Keyring, Grant::Deny);
                let mut acl = MockAcl::new(default);
                if let Some(grant) = grant {
                    token = token.with(Resource::Operator, grant);
                    acl = acl.with_anonymous(Resource::Operator, grant);
                }
                acl.add(token);
                for token in [Some("t"), None] {
                    assert_eq!(may(&acl, token, Access::Read).is_ok(), read);
                    assert_eq!(may(&acl, token, Access::Write).is_ok(), write);
                }
            }
        }
    }

    #[test]
    fn an_unknown_token_is_unknown_under_any_default() {
        for default in [DefaultPolicy::Allow, DefaultPolicy::Deny] {
            let acl = MockAcl::new(default).with_token(MockToken::management("root"));
            assert_eq!(may(&acl, Some("root"), Access::Write), Ok(()));
            let unknown = may(&acl, Some("roo"), Access::Read);
            assert_eq!(unknown, Err(AclError::UnknownToken));
        }
    }

    #[test]
    fn a_denial_names_the_accessor_and_not_the_secret() {
        let acl = MockAcl::new(DefaultPolicy::Deny)
            .with_token(MockToken::new("secret-1"))
            .with_token(MockToken::new("secret-2").with_accessor(AccessorId::new("named")));
        let denied = |accessor: Option<&str>| AclError::Denied {
            identity: match accessor {
                Some(id) => Identity::Accessor(AccessorId::new(id)),
                None => Identity::Anonymous,
            },
        };
        let first = "acce5500-0000-4000-8000-000000000001";
        for (token, accessor) in [
            (Some("secret-1"), Some(first)),
            (Some("secret-2"), Some("named")),
            (None, None),
        ] {
            assert_eq!(may(&acl, token, Access::Read), Err(denied(accessor)));
        }
        assert!(!format!("{acl:?}").contains("secret-"));
    }
}
