//! The tokens that requests are decided by.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::secret::{Digest, Key};
use super::{Access, AccessorId, AclError, DefaultPolicy, Identity, Resource, Rules, Token};

/// The clock that expiry is checked by.
pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Tokens by the digests of their secrets.
pub(crate) struct TokenSet {
    key: Key,
    tokens: HashMap<Digest, Entry>,
    anonymous: Rules,
    default_policy: DefaultPolicy,
    clock: Clock,
}

/// What a set knows of a token.
pub(crate) struct Entry {
    pub(crate) accessor: Arc<str>,
    pub(crate) rules: Rules,
    pub(crate) expires: Option<SystemTime>,
}

impl TokenSet {
    pub(super) fn new(key: Key, clock: Clock) -> Self {
        TokenSet {
            key,
            tokens: HashMap::new(),
            anonymous: Rules::new(),
            default_policy: DefaultPolicy::Deny,
            clock,
        }
    }

    /// Sets the rules of a request without a token, and the policy where no rule decides.
    pub(crate) fn with_defaults(mut self, anonymous: Rules, default: DefaultPolicy) -> Self {
        self.anonymous = anonymous;
        self.default_policy = default;
        self
    }

    pub(super) fn reserve(&mut self, tokens: usize) {
        self.tokens.reserve(tokens);
    }

    /// Adds a token, and returns the one that had this secret.
    pub(super) fn insert(&mut self, digest: Digest, entry: Entry) -> Option<Entry> {
        self.tokens.insert(digest, entry)
    }

    pub(super) fn contains(&self, secret: &str) -> bool {
        self.tokens.contains_key(&self.key.digest(secret))
    }

    /// Decides without building the identity, which only some callers need.
    pub(super) fn check(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<(), AclError> {
        self.decide(token, resource, access).map(drop)
    }

    pub(crate) fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        self.decide(token, resource, access).map(identity)
    }

    fn decide(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Option<&Entry>, AclError> {
        let entry = match token.map(Token::expose) {
            None | Some("") => None,
            Some(secret) => {
                let found = self.tokens.get(&self.key.digest(secret));
                let valid = found.filter(|entry| !self.is_expired(entry));
                Some(valid.ok_or(AclError::UnknownToken)?)
            }
        };
        let rules = entry.map_or(self.anonymous, |entry| entry.rules);
        if rules.allow(resource, access, self.default_policy) {
            Ok(entry)
        } else {
            Err(AclError::Denied {
                identity: identity(entry),
            })
        }
    }

    fn is_expired(&self, entry: &Entry) -> bool {
        entry.expires.is_some_and(|time| (self.clock)() >= time)
    }

    pub(crate) fn default_policy(&self) -> DefaultPolicy {
        self.default_policy
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }
}

fn identity(entry: Option<&Entry>) -> Identity {
    match entry {
        Some(entry) => Identity::Accessor(AccessorId::new(&*entry.accessor)),
        None => Identity::Anonymous,
    }
}

impl fmt::Debug for TokenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSet")
            .field("tokens", &self.len())
            .field("default_policy", &self.default_policy)
            .finish_non_exhaustive()
    }
}

/// What the simulated authorizer changes in place.
#[cfg(feature = "mock")]
impl TokenSet {
    pub(crate) fn empty(default: DefaultPolicy) -> Self {
        TokenSet::new(Key::random(), Arc::new(SystemTime::now)).with_defaults(Rules::new(), default)
    }

    pub(crate) fn add(&mut self, secret: &Token, accessor: &AccessorId, rules: Rules) {
        let entry = Entry {
            accessor: accessor.as_str().into(),
            rules,
            expires: None,
        };
        self.insert(self.key.digest(secret.expose()), entry);
    }

    pub(crate) fn remove(&mut self, secret: &Token) {
        self.tokens.remove(&self.key.digest(secret.expose()));
    }

    pub(crate) fn anonymous_mut(&mut self) -> &mut Rules {
        &mut self.anonymous
    }
}
