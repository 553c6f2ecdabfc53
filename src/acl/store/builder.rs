//! Puts a token store together.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::TokenStore;
use super::accessor::Accessor;
use super::error::LoadError;
use super::policies::{Policies, PolicySet};
use super::secret::{SecretDigest, SecretHasher};
use super::set::{Allowed, Clock, NEVER, TokenSet, seconds};
use super::table::{Detail, Entry, TokenTable};
use crate::acl::{AccessorId, DefaultPolicy, Rules, Token};

/// A token for a [`TokenStore`]: its secret, and what it has.
#[derive(Debug)]
#[must_use = "a token does nothing until a builder takes it"]
pub struct TokenDefinition {
    accessor: AccessorId,
    secret: Token,
    policies: Vec<String>,
    management: bool,
    expires: Option<SystemTime>,
}

impl TokenDefinition {
    /// A token without policies: the default policy holds for it.
    pub fn new(accessor: AccessorId, secret: Token) -> Self {
        TokenDefinition {
            accessor,
            secret,
            policies: Vec::new(),
            management: false,
            expires: None,
        }
    }

    /// A token that may do everything.
    pub fn management(accessor: AccessorId, secret: Token) -> Self {
        TokenDefinition {
            management: true,
            ..TokenDefinition::new(accessor, secret)
        }
    }

    /// The same with one policy more.
    pub fn with_policy(mut self, name: impl Into<String>) -> Self {
        self.policies.push(name.into());
        self
    }

    /// The same, unknown from this time on. The time is cut to the second.
    pub fn expiring_at(mut self, time: SystemTime) -> Self {
        self.expires = Some(time);
        self
    }
}

/// Builds a [`TokenStore`].
///
/// What makes no sense is told by [`build`](TokenStoreBuilder::build) or
/// [`load_file`](TokenStoreBuilder::load_file). Secrets are hashed at once and
/// not kept.
///
/// ```no_run
/// use cluster_operator::{AccessorId, Token, TokenDefinition, TokenStore};
///
/// // The file holds everybody's tokens; this one works without it being right.
/// let secret = Token::new(std::env::var("BREAK_GLASS_TOKEN")?);
/// let store = TokenStore::builder()
///     .token(TokenDefinition::management(AccessorId::new("break-glass"), secret))
///     .load_file("acl.json")?;
/// store.reload_file("acl.json")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct TokenStoreBuilder {
    hasher: SecretHasher,
    pub(super) default_policy: Option<DefaultPolicy>,
    anonymous: Vec<PolicySet>,
    pub(super) policies: Policies,
    tokens: Vec<HashedToken>,
    clock: Clock,
}

/// A token whose secret is gone.
#[derive(Clone)]
pub(super) struct HashedToken {
    pub(super) accessor: Accessor,
    /// `None` if it has no secret.
    pub(super) digest: Option<SecretDigest>,
    /// Seconds since 1970.
    pub(super) expires: u64,
    pub(super) policies: PolicySet,
    pub(super) management: bool,
}

impl TokenStoreBuilder {
    pub(super) fn new() -> Self {
        TokenStoreBuilder {
            hasher: SecretHasher::new(),
            default_policy: None,
            anonymous: Vec::new(),
            policies: Policies::default(),
            tokens: Vec::new(),
            clock: Arc::new(SystemTime::now),
        }
    }

    /// What holds where no rule says anything; deny if neither this nor the file
    /// says. To say it here and in the file is an error.
    pub fn default_policy(mut self, policy: DefaultPolicy) -> Self {
        self.default_policy = Some(policy);
        self
    }

    /// Defines a policy.
    pub fn policy(mut self, name: impl AsRef<str>, rules: Rules) -> Self {
        self.policies.define(name.as_ref(), rules);
        self
    }

    /// Gives a policy to the anonymous token, which is everyone without one.
    pub fn anonymous_policy(mut self, name: impl AsRef<str>) -> Self {
        self.give_anonymous([name.as_ref()]);
        self
    }

    pub(super) fn give_anonymous<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let set = self.policies.set(names);
        self.anonymous.push(set);
    }

    /// Adds a token.
    pub fn token(mut self, token: TokenDefinition) -> Self {
        let token = HashedToken {
            accessor: Accessor::new(token.accessor.as_str()),
            digest: self.digest(token.secret.expose()),
            expires: token.expires.as_ref().map_or(NEVER, seconds),
            policies: self.policies.set(token.policies.iter().map(String::as_str)),
            management: token.management,
        };
        self.push(token);
        self
    }

    pub(super) fn push(&mut self, token: HashedToken) {
        self.tokens.push(token);
    }

    /// Gives back what memory it has in reserve, before it is kept for long.
    pub(super) fn shrink(&mut self) {
        self.tokens.shrink_to_fit();
    }

    /// Hashes a secret. An empty one is none.
    pub(super) fn digest(&self, secret: &str) -> Option<SecretDigest> {
        (!secret.is_empty()).then(|| self.hasher.digest(secret))
    }

    /// Tells the time in place of [`SystemTime::now`], for tests.
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Builds the store.
    ///
    /// # Errors
    /// [`LoadError`] if policies and tokens do not fit together.
    pub fn build(self) -> Result<TokenStore, LoadError> {
        let set = self.assemble()?;
        Ok(TokenStore::new(self, set))
    }

    /// Builds the store with what the file says besides. The file may refer to
    /// policies that are defined here.
    ///
    /// It reads the file before it returns; in async code, call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read, or if policies and tokens do
    /// not fit together.
    pub fn load_file(self, path: impl AsRef<Path>) -> Result<TokenStore, LoadError> {
        let set = self.clone().read_file(path.as_ref())?.assemble()?;
        Ok(TokenStore::new(self, set))
    }

    pub(super) fn assemble(&self) -> Result<TokenSet, LoadError> {
        if let Some(policy) = self.policies.duplicate() {
            return Err(LoadError::DuplicatePolicy {
                policy: policy.to_owned(),
            });
        }
        let default_policy = self.default_policy.unwrap_or_default();
        let mut anonymous = Rules::new();
        for set in &self.anonymous {
            anonymous = anonymous.merge(self.merged(*set, None)?);
        }
        self.check_accessors()?;
        let mut entries = Vec::with_capacity(self.tokens.len());
        for token in &self.tokens {
            let id = || token.accessor.to_id();
            let digest = token
                .digest
                .ok_or_else(|| LoadError::NoSecret { accessor: id() })?;
            let allowed = if !token.management {
                Allowed::by(self.merged(token.policies, Some(token))?, default_policy)
            } else if self.policies.is_empty(token.policies) {
                Allowed::ALL
            } else {
                return Err(LoadError::ManagementWithPolicies { accessor: id() });
            };
            entries.push(Entry {
                digest,
                allowed,
                detail: Detail {
                    accessor: token.accessor.clone(),
                    expires: token.expires,
                },
            });
        }
        entries.sort_unstable_by_key(|entry| entry.digest);
        if let Some(pair) = entries
            .windows(2)
            .find(|pair| pair[0].digest == pair[1].digest)
        {
            return Err(LoadError::DuplicateSecret {
                accessor: pair[0].detail.accessor.to_id(),
                other: pair[1].detail.accessor.to_id(),
            });
        }
        Ok(TokenSet {
            hasher: self.hasher.clone(),
            table: TokenTable::new(entries),
            anonymous: Allowed::by(anonymous, default_policy),
            default_policy,
            clock: self.clock.clone(),
        })
    }

    fn merged(&self, set: PolicySet, whose: Option<&HashedToken>) -> Result<Rules, LoadError> {
        self.policies
            .merged(set)
            .map_err(|policy| LoadError::UnknownPolicy {
                policy: policy.to_owned(),
                accessor: whose.map(|token| token.accessor.to_id()),
            })
    }

    fn check_accessors(&self) -> Result<(), LoadError> {
        let mut seen = HashSet::with_capacity(self.tokens.len());
        for token in &self.tokens {
            if token.accessor.is_empty() {
                return Err(LoadError::EmptyAccessor);
            }
            if !seen.insert(&token.accessor) {
                return Err(LoadError::DuplicateAccessor {
                    accessor: token.accessor.to_id(),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TokenStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenStoreBuilder")
            .field("tokens", &self.tokens.len())
            .field("default_policy", &self.default_policy)
            .finish_non_exhaustive()
    }
}
