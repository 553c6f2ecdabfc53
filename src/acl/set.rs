//! The tokens that requests are decided by, their secrets, and what no secret may be.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

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

/// Half of the SHA-256 hash of a key and a secret.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 16]);

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// A random key, under which all secrets of a store are hashed.
///
/// Without it nobody can choose a token by its digest, and the time of a look-up teaches nothing
/// about the secrets that are known. It comes from `RandomState`, which std seeds with 128 bits of
/// the operating system's randomness.
#[derive(Clone)]
pub(super) struct Key(Zeroizing<[u8; 16]>);

impl Key {
    pub(super) fn random() -> Self {
        let seed = RandomState::new();
        let mut key = Zeroizing::new([0; 16]);
        for (half, bytes) in key.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&seed.hash_one(half).to_ne_bytes());
        }
        Key(key)
    }

    pub(super) fn digest(&self, secret: &str) -> Digest {
        let hash = Sha256::new()
            .chain_update(*self.0)
            .chain_update(secret)
            .finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Digest(half)
    }
}

/// Why a secret is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFault {
    /// It is empty or blank.
    #[error("is blank: give one that nobody can guess, such as a UUID")]
    Blank,
    /// White space or an invisible character surrounds it or stands in it. No header can carry a
    /// line break, and `Authorization: Bearer` carries no space.
    #[error("has white space: trim it, or take one without")]
    Whitespace,
    /// A control character stands in it.
    #[error("has a control character, which no header can carry: remove it")]
    Control,
    /// It has a single character.
    #[error("is a single character: give one that nobody can guess, such as a UUID")]
    TooShort,
    /// It is a placeholder for a template, such as `${TOKEN}`, which nothing has replaced.
    #[error("is a placeholder that was not replaced: put the secret itself there")]
    Placeholder,
    /// It is published as an example, so that everybody knows it.
    #[error("is a published example: give one that nobody can guess, such as a new UUID")]
    Published,
}

/// Secrets in Consul's documentation, and in this library's.
const PUBLISHED: [&str; 10] = [
    "86cddfb9-2760-d947-358d-a2811156bf31",
    "e7024f9c-f016-02dd-6217-daedbffb86ac",
    "527347d3-9653-07dc-adc0-598b8f2b0f4d",
    "45a3bd52-07c7-47a4-52fd-0745e0cfe967",
    "8b1247ef-d172-4f99-b050-4dbe5d3df0cb",
    "adf4238a-882b-9ddc-4a9d-5b6758e4159e",
    "00000000-0000-0000-0000-000000000000",
    "b852fbe7-fba0-1ebe-cae4-8553c5cf703b",
    "b1gs33cr3t",
    // The anonymous token's.
    "anonymous",
];

/// Checks that a secret can be presented, and that it is not one that everybody knows.
pub(super) fn check_secret(secret: &str) -> Option<SecretFault> {
    let is_space =
        |letter: char| letter.is_whitespace() || matches!(letter, '\u{200b}' | '\u{feff}');
    if secret.chars().all(is_space) {
        Some(SecretFault::Blank)
    } else if secret.chars().any(is_space) {
        Some(SecretFault::Whitespace)
    } else if secret.chars().any(char::is_control) {
        Some(SecretFault::Control)
    } else if secret.chars().nth(1).is_none() {
        Some(SecretFault::TooShort)
    } else if secret.contains("${") || secret.contains("{{") {
        Some(SecretFault::Placeholder)
    } else if PUBLISHED
        .iter()
        .any(|known| known.eq_ignore_ascii_case(secret))
    {
        Some(SecretFault::Published)
    } else {
        None
    }
}
