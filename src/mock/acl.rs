//! An authorizer with a list of tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::lock;
use crate::acl::{Access, AccessorId, AclAuthorizer, AclError, DefaultPolicy, Resource, Token};

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
    ) -> Result<(), AclError> {
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
        if allowed {
            Ok(())
        } else {
            Err(AclError::Denied { accessor })
        }
    }

    fn default_policy(&self) -> DefaultPolicy {
        self.default_policy
    }
}
