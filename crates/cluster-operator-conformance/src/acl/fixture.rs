//! The authorizer that an ACL check runs against.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Fixture, NotSupported};
use cluster_operator::acl::{AclAuthorizer, DefaultPolicy, Resource, Rule, Token};

/// What a token's rules say; of the rest, the default policy decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRules {
    /// About [`Resource::Operator`].
    pub operator: Option<Rule>,
    /// About [`Resource::Keyring`].
    pub keyring: Option<Rule>,
}

impl TokenRules {
    /// No rules.
    pub const NONE: TokenRules = TokenRules {
        operator: None,
        keyring: None,
    };

    /// A rule about operators alone.
    pub const fn operator(rule: Rule) -> Self {
        TokenRules {
            operator: Some(rule),
            keyring: None,
        }
    }

    /// A rule about keyrings alone.
    pub const fn keyring(rule: Rule) -> Self {
        TokenRules {
            operator: None,
            keyring: Some(rule),
        }
    }

    /// The rule about a resource.
    pub fn about(&self, resource: Resource) -> Option<Rule> {
        match resource {
            Resource::Operator => self.operator,
            Resource::Keyring => self.keyring,
            _ => None,
        }
    }
}

/// The authorizer that a check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acl {
    /// What holds where no rule says anything.
    pub default_policy: DefaultPolicy,
    /// The tokens that it knows, by their rules. The secrets are the fixture's
    /// to choose.
    pub tokens: &'static [TokenRules],
    /// What whoever shows no token may do.
    pub anonymous: TokenRules,
}

impl Acl {
    /// These tokens, and nothing for whoever shows none.
    pub const fn new(default_policy: DefaultPolicy, tokens: &'static [TokenRules]) -> Self {
        Acl {
            default_policy,
            tokens,
            anonymous: TokenRules::NONE,
        }
    }

    /// The same with rules for whoever shows no token.
    #[must_use]
    pub const fn with_anonymous(mut self, rules: TokenRules) -> Self {
        self.anonymous = rules;
        self
    }
}

/// An authorizer that knows the tokens that were wanted.
///
/// What a fixture cannot do, it leaves at the default; the checks that need it
/// are then skipped.
#[async_trait]
pub trait AclFixture: Fixture {
    /// The authorizer under test.
    fn authorizer(&self) -> Arc<dyn AclAuthorizer>;

    /// The tokens that it knows, in the order in which they were wanted.
    ///
    /// No text that the authorizer writes may have a part of a secret in it, eight
    /// letters in a row. So that none is there by chance, each has at least 16
    /// letters, 8 different ones among them, as a random UUID has; another fixture
    /// is not tried. Nor may a secret share a part with an accessor id, which a
    /// denial shows.
    fn tokens(&self) -> Vec<Token>;

    /// Takes a token back. The authorizer may take its time to notice.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn revoke(&self, token: &Token) -> Result<(), NotSupported> {
        let _ = token;
        Err(NotSupported::new("the fixture cannot take a token back"))
    }

    /// Makes it impossible to tell what a token allows: the authorizer loses
    /// whatever it asks. It has not been asked before.
    ///
    /// # Errors
    /// [`NotSupported`] by default, as for one that asks nobody.
    async fn lose_source(&self) -> Result<(), NotSupported> {
        Err(NotSupported::new("the authorizer asks nobody else"))
    }
}
