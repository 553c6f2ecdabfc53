//! Tokens and their policies, kept in memory.

mod accessor;
mod builder;
mod error;
mod file;
mod format;
mod policies;
mod secret;
mod set;
mod table;
mod timestamp;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;

pub use builder::{TokenDefinition, TokenStoreBuilder};
pub use error::LoadError;
use set::TokenSet;

use super::{Access, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Token};

/// An authorizer that knows its tokens by heart.
///
/// They come from code, from a file, or from both, and can be replaced while
/// requests are served: a request is decided by the old tokens or by the new
/// ones, never by some of each. What fails to load changes nothing.
///
/// ```
/// use cluster_operator::{
///     Access, AccessorId, AclError, Resource, Rule, Rules, Token, TokenDefinition, TokenStore,
/// };
///
/// let dashboard = Rules::new().with(Resource::Operator, Rule::Read);
/// let store = TokenStore::builder()
///     .policy("dashboard", dashboard)
///     .token(
///         TokenDefinition::new(AccessorId::new("6a1253d2"), Token::new("s3cr3t"))
///             .with_policy("dashboard"),
///     )
///     .build()?;
///
/// let token = Token::new("s3cr3t");
/// assert!(store.check(Some(&token), Resource::Operator, Access::Read).is_ok());
/// assert!(matches!(
///     store.check(Some(&token), Resource::Operator, Access::Write),
///     Err(AclError::Denied { .. })
/// ));
/// let stranger = Token::new("guess");
/// assert_eq!(
///     store.check(Some(&stranger), Resource::Operator, Access::Read),
///     Err(AclError::UnknownToken)
/// );
/// # Ok::<(), cluster_operator::LoadError>(())
/// ```
///
/// # Token files
/// A file is JSON, or HCL if its name ends in `.hcl` and feature `hcl` is on.
/// A policy is a block of rules or a text of them; a token is named by its
/// accessor id:
///
/// ```json
/// {
///   "default_policy": "deny",
///   "anonymous": ["dashboard"],
///   "policy": {
///     "dashboard": { "operator": "read" },
///     "on-call": { "operator": "write", "keyring": "read" }
///   },
///   "token": {
///     "6a1253d2-1785-24fd-91c2-f8e78c745511": {
///       "secret": "b852fbe7-fba0-1ebe-cae4-8553c5cf703b",
///       "description": "wall display",
///       "policies": ["dashboard"],
///       "expires": "2030-01-01T00:00:00Z"
///     },
///     "fbd5a4a3-3bd1-1b93-6bb5-6a4a4b9a3a2e": {
///       "secret": "2ddd902c-6cd6-5959-722a-093ba2e84029",
///       "management": true
///     }
///   }
/// }
/// ```
///
/// Everything but a token's secret can be left out. What is given twice, or has
/// no meaning, is refused, so that a mistake does not grant or take anything
/// silently. Descriptions are for the reader of the file and are not kept.
///
/// # Secrets
/// Only a keyed hash of each secret is kept, and what was read of a file is
/// wiped. Two copies escape: of a secret that is written with escapes, and of an
/// HCL file that fails to parse. An unknown token is looked for with the same
/// steps as a known one; only after that does a denial fetch whose it is.
pub struct TokenStore {
    current: ArcSwap<TokenSet>,
    /// What the code gave; a reload adds the file to it.
    base: Mutex<TokenStoreBuilder>,
}

impl TokenStore {
    /// Starts with no tokens and a default of deny.
    pub fn builder() -> TokenStoreBuilder {
        TokenStoreBuilder::new()
    }

    /// Takes everything from a file.
    ///
    /// It reads the file before it returns; in async code, call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read or makes no sense.
    pub fn load_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        TokenStore::builder().load_file(path)
    }

    fn new(mut base: TokenStoreBuilder, set: TokenSet) -> Self {
        base.shrink();
        TokenStore {
            current: ArcSwap::from_pointee(set),
            base: Mutex::new(base),
        }
    }

    /// Replaces everything that came from a file by what this one says. What the
    /// code gave stays.
    ///
    /// Write the new file beside the old one and rename it: half a file does not
    /// load. It reads the file before it returns; in async code, call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read or makes no sense; then nothing
    /// has changed.
    pub fn reload_file(&self, path: impl AsRef<Path>) -> Result<(), LoadError> {
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let set = base.clone().read_file(path.as_ref())?.assemble()?;
        // Under the lock, so that the later of two reloads wins.
        self.current.store(Arc::new(set));
        Ok(())
    }

    /// Replaces everything, the file's as well as the code's.
    ///
    /// # Errors
    /// [`LoadError`] if the new tokens make no sense; then nothing has changed.
    pub fn replace(&self, mut builder: TokenStoreBuilder) -> Result<(), LoadError> {
        let set = builder.assemble()?;
        builder.shrink();
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        *base = builder;
        self.current.store(Arc::new(set));
        Ok(())
    }

    /// The tokens as they are now, for several questions that belong together.
    /// A later reload does not change them.
    pub fn snapshot(&self) -> TokenSnapshot {
        TokenSnapshot(self.current.load_full())
    }

    /// Decides as [`authorize`](AclAuthorizer::authorize) does, without waiting
    /// for anything and without saying whose token it is. An empty token is none.
    ///
    /// # Errors
    /// [`AclError::Denied`] or [`AclError::UnknownToken`]; an expired token is
    /// unknown.
    pub fn check(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<(), AclError> {
        self.current.load().check(token, resource, access)
    }
}

impl fmt::Debug for TokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current.load().describe("TokenStore", f)
    }
}

#[async_trait]
impl AclAuthorizer for TokenStore {
    async fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        self.current.load().identify(token, resource, access)
    }

    fn default_policy(&self) -> DefaultPolicy {
        self.current.load().default_policy()
    }
}

/// The tokens of a [`TokenStore`] at one moment.
///
/// Cheap to clone. It keeps its tokens in memory as long as it lives.
#[derive(Clone)]
pub struct TokenSnapshot(Arc<TokenSet>);

impl TokenSnapshot {
    /// As [`TokenStore::check`].
    ///
    /// # Errors
    /// As [`TokenStore::check`].
    pub fn check(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<(), AclError> {
        self.0.check(token, resource, access)
    }

    /// What holds where no rule says anything.
    pub fn default_policy(&self) -> DefaultPolicy {
        self.0.default_policy()
    }

    /// How many tokens there are, expired ones included.
    pub fn tokens(&self) -> usize {
        self.0.tokens()
    }
}

impl fmt::Debug for TokenSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("TokenSnapshot", f)
    }
}
