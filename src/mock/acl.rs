//! An authorizer whose tokens change, and which can be made unavailable.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::clock::lock;
pub use crate::acl::Rule as Grant;
use crate::acl::{
    Access, AccessorId, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Rules, Token,
    TokenSet,
};

/// A token of a [`MockAcl`]. The default policy decides where it has no rule.
#[derive(Debug, Clone)]
pub struct MockToken {
    secret: Token,
    accessor: Option<AccessorId>,
    rules: Rules,
}

impl MockToken {
    /// Creates a token without rules. Any secret will do.
    pub fn new(secret: impl Into<String>) -> Self {
        MockToken {
            secret: Token::new(secret),
            accessor: None,
            rules: Rules::new(),
        }
    }

    /// Creates a token that allows everything.
    pub fn management(secret: impl Into<String>) -> Self {
        MockToken::new(secret)
            .with(Resource::Operator, Grant::Write)
            .with(Resource::Keyring, Grant::Write)
    }

    /// Sets the rule about a resource.
    #[must_use]
    pub fn with(mut self, resource: Resource, grant: Grant) -> Self {
        self.rules = self.rules.with(resource, grant);
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
/// use cluster_operator::acl::{Access, AclError, DefaultPolicy, Resource};
/// use cluster_operator::{AclAuthorizer, Token};
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
pub struct MockAcl(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    tokens: TokenSet,
    /// The number of tokens that there have been.
    numbered: usize,
    unavailable: Option<String>,
}

impl MockAcl {
    /// Creates an authorizer without tokens.
    pub fn new(default_policy: DefaultPolicy) -> Self {
        MockAcl(Arc::new(Mutex::new(State {
            tokens: TokenSet::empty(default_policy),
            numbered: 0,
            unavailable: None,
        })))
    }

    /// Adds a token.
    #[must_use]
    pub fn with_token(self, token: MockToken) -> Self {
        self.add(token);
        self
    }

    /// Sets a rule for requests without a token.
    #[must_use]
    pub fn with_anonymous(self, resource: Resource, grant: Grant) -> Self {
        let mut state = lock(&self.0);
        let anonymous = state.tokens.anonymous_mut();
        *anonymous = anonymous.with(resource, grant);
        drop(state);
        self
    }

    /// Adds a token, in place of one with the same secret.
    pub fn add(&self, token: MockToken) {
        let mut state = lock(&self.0);
        state.numbered += 1;
        let accessor = token.accessor.unwrap_or_else(|| {
            AccessorId::new(format!("acce5500-0000-4000-8000-{:012x}", state.numbered))
        });
        state.tokens.add(&token.secret, &accessor, token.rules);
    }

    /// Removes a token.
    pub fn revoke(&self, secret: &Token) {
        lock(&self.0).tokens.remove(secret);
    }

    /// Makes every decision fail for this reason.
    pub fn set_unavailable(&self, reason: impl Into<String>) {
        lock(&self.0).unavailable = Some(reason.into());
    }

    /// Makes decisions possible again.
    pub fn set_available(&self) {
        lock(&self.0).unavailable = None;
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
        let state = lock(&self.0);
        match state.unavailable.clone() {
            Some(reason) => Err(AclError::Unavailable { reason }),
            None => state.tokens.authorize(token, resource, access),
        }
    }

    fn default_policy(&self) -> DefaultPolicy {
        lock(&self.0).tokens.default_policy()
    }
}
