//! Tokens that are decided by.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::accessor::Accessor;
use super::secret::SecretHasher;
use super::table::{Found, TokenTable};
use crate::acl::{Access, AclError, DefaultPolicy, Identity, Resource, Rules, Token};

/// Tells the time.
pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// One set of tokens. It does not change.
pub(super) struct TokenSet {
    pub(super) hasher: SecretHasher,
    pub(super) table: TokenTable,
    pub(super) anonymous: Allowed,
    pub(super) default_policy: DefaultPolicy,
    pub(super) clock: Clock,
}

/// The seconds since 1970 at which what never expires does.
pub(super) const NEVER: u64 = u64::MAX;

impl TokenSet {
    pub(super) fn check(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<(), AclError> {
        self.decide(token, resource, access).map(drop)
    }

    pub(super) fn identify(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        self.decide(token, resource, access).map(identity)
    }

    /// Whose token it is. The id is not built, or even looked at, for those who do
    /// not need it: it stands far away in memory.
    fn decide(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Option<&Accessor>, AclError> {
        let (allowed, accessor) = match token.map(Token::expose) {
            None | Some("") => (self.anonymous, None),
            Some(secret) => {
                let found = self
                    .table
                    .find(self.hasher.digest(secret))
                    .filter(|found| !self.is_expired(found))
                    .ok_or(AclError::UnknownToken)?;
                (found.allowed, Some(&found.detail.accessor))
            }
        };
        if allowed.includes(resource, access) {
            return Ok(accessor);
        }
        Err(AclError::Denied {
            identity: identity(accessor),
        })
    }

    fn is_expired(&self, found: &Found<'_>) -> bool {
        // Most tokens do not expire, and to ask for the time is not for nothing.
        found.expires && seconds(&(self.clock)()) >= found.detail.expires
    }

    pub(super) fn default_policy(&self) -> DefaultPolicy {
        self.default_policy
    }

    pub(super) fn tokens(&self) -> usize {
        self.table.len()
    }

    pub(super) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("tokens", &self.tokens())
            .field("default_policy", &self.default_policy)
            .finish_non_exhaustive()
    }
}

fn identity(accessor: Option<&Accessor>) -> Identity {
    match accessor {
        Some(accessor) => Identity::Accessor(accessor.to_id()),
        None => Identity::Anonymous,
    }
}

/// The whole seconds since 1970; none before.
pub(super) fn seconds(time: &SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The accesses that are allowed, decided once for all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed(u8);

impl Allowed {
    const MASK: u8 = 0b1111;

    /// Of a management token.
    pub(super) const ALL: Allowed = Allowed(Allowed::MASK);

    pub(super) fn by(rules: Rules, default: DefaultPolicy) -> Self {
        let mut allowed = 0;
        for resource in [Resource::Operator, Resource::Keyring] {
            for access in [Access::Read, Access::Write] {
                if rules.allow(resource, access, default) {
                    allowed |= Allowed::bit(resource, access);
                }
            }
        }
        Allowed(allowed)
    }

    /// At most the lowest four.
    pub(super) fn bits(self) -> u8 {
        self.0
    }

    /// The lowest four of many.
    pub(super) fn from_bits(bits: u64) -> Self {
        Allowed(bits as u8 & Allowed::MASK)
    }

    fn includes(self, resource: Resource, access: Access) -> bool {
        self.0 & Allowed::bit(resource, access) != 0
    }

    fn bit(resource: Resource, access: Access) -> u8 {
        let read = match resource {
            Resource::Operator => 0b0001,
            Resource::Keyring => 0b0100,
        };
        match access {
            Access::Read => read,
            Access::Write => read << 1,
        }
    }
}
