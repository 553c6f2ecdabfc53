//! Collects tokens and policies, and checks that they fit together.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::load_error::{LoadError, LoadErrorKind, Origin};
use super::set::{Clock, Digest, Entry, Key, SecretFault, TokenSet, check_secret};
use super::{AccessorId, DefaultPolicy, Rules, Token};

/// A token for a [`TokenStore`](super::TokenStore): its secret, and what it allows.
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
    /// Creates a token without policies: the default policy decides.
    pub fn new(accessor: AccessorId, secret: Token) -> Self {
        TokenDefinition {
            accessor,
            secret,
            policies: Vec::new(),
            management: false,
            expires: None,
        }
    }

    /// Creates a token that allows everything.
    pub fn management(accessor: AccessorId, secret: Token) -> Self {
        TokenDefinition {
            management: true,
            ..TokenDefinition::new(accessor, secret)
        }
    }

    /// Adds a policy.
    pub fn with_policy(mut self, name: impl Into<String>) -> Self {
        self.policies.push(name.into());
        self
    }

    /// Sets the time from which on the token is unknown.
    pub fn expiring_at(mut self, time: SystemTime) -> Self {
        self.expires = Some(time);
        self
    }
}

/// Builds a [`TokenStore`](super::TokenStore).
///
/// Mistakes are reported by [`build`](Self::build) and [`load_file`](Self::load_file). Secrets are
/// hashed at once and not kept.
///
/// ```no_run
/// use cluster_operator::acl::{AccessorId, TokenDefinition};
/// use cluster_operator::{Token, TokenStore};
///
/// // Everybody's tokens are in the file; this one works even if the file does not load again.
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
    key: Key,
    default_policy: Option<DefaultPolicy>,
    anonymous: Vec<usize>,
    policies: Vec<Policy>,
    policy_numbers: HashMap<Arc<str>, usize>,
    /// A million tokens have few different sets of policies.
    sets: HashSet<PolicySet>,
    tokens: Vec<Hashed>,
    clock: Clock,
}

/// The numbers of a token's policies.
type PolicySet = Arc<[usize]>;

/// A policy, which tokens may name before it is defined.
#[derive(Clone)]
struct Policy {
    rules: Option<Rules>,
    /// Where it was named first.
    named: Origin,
    /// Where it was defined again.
    repeated: Option<Origin>,
}

/// A token whose secret is gone.
#[derive(Clone)]
struct Hashed {
    accessor: Arc<str>,
    digest: Digest,
    expires: Option<SystemTime>,
    policies: PolicySet,
    management: bool,
    fault: Option<SecretFault>,
    /// The offset in the file, if it came from one.
    at: Option<u32>,
}

/// A token as it is defined. Nothing of it has been checked.
pub(super) struct NewToken<'a> {
    pub(super) accessor: &'a str,
    pub(super) secret: &'a str,
    pub(super) policies: &'a [(String, Origin)],
    pub(super) management: bool,
    pub(super) expires: Option<SystemTime>,
    /// The offset in the file, if it came from one.
    pub(super) at: Option<u32>,
}

impl TokenStoreBuilder {
    pub(super) fn new() -> Self {
        TokenStoreBuilder {
            key: Key::random(),
            default_policy: None,
            anonymous: Vec::new(),
            policies: Vec::new(),
            policy_numbers: HashMap::new(),
            sets: HashSet::new(),
            tokens: Vec::new(),
            clock: Arc::new(SystemTime::now),
        }
    }

    /// Sets the policy that decides where no rule does. Default: deny. It is an error to set it
    /// here and in the file.
    pub fn default_policy(mut self, policy: DefaultPolicy) -> Self {
        self.default_policy = Some(policy);
        self
    }

    /// Defines a policy.
    pub fn policy(mut self, name: impl AsRef<str>, rules: Rules) -> Self {
        let name = name.as_ref();
        self.define(name, rules, Origin::Code(format!("policy {name:?}")));
        self
    }

    /// Gives a policy to requests without a token.
    pub fn anonymous_policy(mut self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        let origin = Origin::Code(format!("policy {name:?} of the anonymous token"));
        self.give_anonymous(name, &origin);
        self
    }

    /// Adds a token.
    pub fn token(mut self, token: TokenDefinition) -> Self {
        let origin = |name| Origin::Code(format!("policy {name:?} of token {}", token.accessor));
        let policies: Vec<_> = token
            .policies
            .iter()
            .map(|name| (name.clone(), origin(name)))
            .collect();
        self.add(NewToken {
            accessor: token.accessor.as_str(),
            secret: token.secret.expose(),
            policies: &policies,
            management: token.management,
            expires: token.expires,
            at: None,
        });
        self
    }

    /// Replaces [`SystemTime::now`], for tests.
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }

    /// Sets the default policy, unless it is set already.
    pub(super) fn set_default_policy(&mut self, policy: DefaultPolicy) -> bool {
        self.default_policy.replace(policy).is_none()
    }

    pub(super) fn give_anonymous(&mut self, name: &str, origin: &Origin) {
        let number = self.number(name, origin);
        self.anonymous.push(number);
    }

    pub(super) fn define(&mut self, name: &str, rules: Rules, origin: Origin) {
        let number = self.number(name, &origin);
        let policy = &mut self.policies[number];
        if policy.rules.replace(rules).is_some() {
            policy.repeated.get_or_insert(origin);
        }
    }

    pub(super) fn add(&mut self, token: NewToken<'_>) {
        let mut numbers: Vec<usize> = token
            .policies
            .iter()
            .map(|(name, origin)| self.number(name, origin))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let policies = match self.sets.get(&*numbers) {
            Some(set) => set.clone(),
            None => {
                let set = PolicySet::from(numbers);
                self.sets.insert(set.clone());
                set
            }
        };
        self.tokens.push(Hashed {
            accessor: token.accessor.into(),
            digest: self.key.digest(token.secret),
            expires: token.expires,
            policies,
            management: token.management,
            fault: check_secret(token.secret),
            at: token.at,
        });
    }

    fn number(&mut self, name: &str, origin: &Origin) -> usize {
        if let Some(number) = self.policy_numbers.get(name) {
            return *number;
        }
        let number = self.policies.len();
        self.policies.push(Policy {
            rules: None,
            named: origin.clone(),
            repeated: None,
        });
        self.policy_numbers.insert(name.into(), number);
        number
    }

    /// Gives back the memory that is held in reserve, before the builder is kept for long.
    pub(super) fn shrink(&mut self) {
        self.tokens.shrink_to_fit();
    }

    /// Checks that everything fits together, and makes a set of it.
    pub(super) fn assemble(&self) -> Result<TokenSet, LoadError> {
        let mut rules = Vec::with_capacity(self.policies.len());
        for policy in &self.policies {
            let (kind, origin) = match (policy.rules, &policy.repeated) {
                (Some(defined), None) => {
                    rules.push(defined);
                    continue;
                }
                (_, Some(repeated)) => (LoadErrorKind::DuplicatePolicy, repeated),
                (None, None) => (LoadErrorKind::UnknownPolicy, &policy.named),
            };
            return Err(LoadError::new(kind, Some(origin.clone())));
        }
        let merged = |numbers: &[usize]| {
            let rules = numbers.iter().map(|number| rules[*number]);
            rules.fold(Rules::new(), Rules::merge)
        };
        let default_policy = self.default_policy.unwrap_or_default();
        let mut set = TokenSet::new(self.key.clone(), self.clock.clone())
            .with_defaults(merged(&self.anonymous), default_policy);
        set.reserve(self.tokens.len());
        let mut accessors = HashSet::with_capacity(self.tokens.len());
        for token in &self.tokens {
            let entry = Entry {
                accessor: token.accessor.clone(),
                rules: if token.management {
                    Rules::management()
                } else {
                    merged(&token.policies)
                },
                expires: token.expires,
            };
            let kind = if token.accessor.is_empty() {
                LoadErrorKind::EmptyAccessor
            } else if !accessors.insert(&token.accessor) {
                LoadErrorKind::DuplicateAccessor
            } else if let Some(fault) = token.fault {
                LoadErrorKind::UnusableSecret(fault)
            } else if token.management && !token.policies.is_empty() {
                LoadErrorKind::ManagementWithPolicies
            } else if set.insert(token.digest, entry).is_some() {
                LoadErrorKind::DuplicateSecret
            } else {
                continue;
            };
            return Err(token.error(kind));
        }
        // In code, the types tell the two apart.
        let mut from_file = self.tokens.iter().filter(|token| token.at.is_some());
        match from_file.find(|token| set.contains(&token.accessor)) {
            Some(token) => Err(token.error(LoadErrorKind::AccessorIsSecret)),
            None => Ok(set),
        }
    }
}

impl Hashed {
    fn error(&self, kind: LoadErrorKind) -> LoadError {
        let origin = match self.at {
            Some(at) => Origin::File(at as usize),
            None => Origin::Code(format!("token {}", self.accessor)),
        };
        LoadError::new(kind, Some(origin))
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
