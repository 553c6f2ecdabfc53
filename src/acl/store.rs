//! An authorizer in memory.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;

use super::builder::TokenStoreBuilder;
use super::load_error::{LoadError, LoadWarning};
use super::set::TokenSet;
use super::syntax::MAX_FILE_BYTES;
use super::token_file::TokenFile;
use super::{Access, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Token};

/// An authorizer that holds its tokens in memory.
///
/// The tokens come from code, from a file, or from both, and can be replaced while requests are
/// served: a request is decided by the old tokens or by the new ones, never by some of each. What
/// does not load changes nothing.
///
/// ```
/// use cluster_operator::acl::{
///     Access, AccessorId, AclError, Resource, Rule, Rules, TokenDefinition,
/// };
/// use cluster_operator::{Token, TokenStore};
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
/// let unknown = Token::new("guess");
/// assert_eq!(
///     store.check(Some(&unknown), Resource::Operator, Access::Read),
///     Err(AclError::UnknownToken)
/// );
/// # Ok::<(), cluster_operator::acl::LoadError>(())
/// ```
///
/// # Token files
/// A file is HCL if its name ends in `.hcl` and the feature `hcl` is on; otherwise it is JSON. A
/// policy is a block of rules or a text of them. A token is named by its accessor id:
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
///       "secret": "replace-me-6f0c9d8e-dashboard",
///       "description": "wall display",
///       "policies": ["dashboard"],
///       "expires": "2030-01-01T00:00:00Z"
///     },
///     "fbd5a4a3-3bd1-1b93-6bb5-6a4a4b9a3a2e": {
///       "secret": "replace-me-e05d77b1-break-glass",
///       "management": true
///     }
///   }
/// }
/// ```
///
/// Everything but a token's secret can be left out or null. Go's zero time is no expiry. What is
/// given twice or means nothing is refused, so that a mistake does not grant or take anything
/// silently. So is a secret that is blank, has white space or control characters, is a single
/// character, or is published in Consul's documentation. Descriptions are not kept.
///
/// # Secrets
/// Only a keyed hash of each secret is kept, and what was read of a file is wiped. An unknown
/// token is looked up with the same steps as a known one.
pub struct TokenStore {
    /// The tokens in force. There are several pointers to them, so that threads that decide at the
    /// same time do not wait for each other's cache line.
    current: [Slot; SLOTS],
    /// What was given in code; a reload adds the file to it.
    base: Mutex<TokenStoreBuilder>,
}

const SLOTS: usize = 8;

#[repr(align(128))]
struct Slot(RwLock<Arc<Loaded>>);

/// Tokens, and what was questionable about their file.
struct Loaded {
    set: TokenSet,
    warnings: Vec<LoadWarning>,
}

impl TokenStore {
    /// How many bytes a token file may have.
    pub const MAX_FILE_BYTES: usize = MAX_FILE_BYTES;

    /// Starts with no tokens and a default policy of deny.
    pub fn builder() -> TokenStoreBuilder {
        TokenStoreBuilder::new()
    }

    /// Loads everything from a file.
    ///
    /// It blocks while it reads; in async code, call it where blocking is allowed.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read or is refused.
    pub fn load_file(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        TokenStore::builder().load_file(path)
    }

    /// Replaces everything that came from a file by the content of this one. What was given in
    /// code stays.
    ///
    /// Write the new file beside the old one and rename it: half a file does not load. It blocks
    /// while it reads; in async code, call it where blocking is allowed.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read or is refused; then nothing has changed.
    pub fn reload_file(&self, path: impl AsRef<Path>) -> Result<(), LoadError> {
        // Held while loading, so that the later of two reloads wins.
        let base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(load(base.clone(), path.as_ref())?);
        Ok(())
    }

    /// Replaces everything, from code and from a file.
    ///
    /// # Errors
    /// [`LoadError`] if the new tokens are refused; then nothing has changed.
    pub fn replace(&self, mut builder: TokenStoreBuilder) -> Result<(), LoadError> {
        let loaded = assemble(&builder)?;
        builder.shrink();
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        *base = builder;
        self.put(loaded);
        Ok(())
    }

    /// The tokens of this moment, for several decisions that belong together.
    pub fn snapshot(&self) -> TokenSnapshot {
        TokenSnapshot(Arc::clone(&self.loaded()))
    }

    /// What is questionable about the file that was loaded last. Log it after each load.
    ///
    /// ```no_run
    /// # use cluster_operator::TokenStore;
    /// let store = TokenStore::load_file("acl.json")?;
    /// for warning in store.warnings() {
    ///     eprintln!("warning: {warning}");
    /// }
    /// # Ok::<(), cluster_operator::acl::LoadError>(())
    /// ```
    pub fn warnings(&self) -> Vec<LoadWarning> {
        self.loaded().warnings.clone()
    }

    /// Decides as [`authorize`](AclAuthorizer::authorize) does, without an `await` and without the
    /// identity. An empty token is none.
    ///
    /// # Errors
    /// [`AclError::Denied`] or [`AclError::UnknownToken`]; an expired token is unknown.
    pub fn check(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<(), AclError> {
        self.loaded().set.check(token, resource, access)
    }
}

impl TokenStoreBuilder {
    /// Builds the store.
    ///
    /// # Errors
    /// [`LoadError`] if policies and tokens do not fit together.
    pub fn build(self) -> Result<TokenStore, LoadError> {
        let loaded = assemble(&self)?;
        Ok(TokenStore::new(self, loaded))
    }

    /// Builds the store with the content of a file in addition, which may name policies that are
    /// defined here.
    ///
    /// It blocks while it reads; in async code, call it where blocking is allowed.
    ///
    /// # Errors
    /// [`LoadError`] if the file cannot be read or is refused, or if policies and tokens do not
    /// fit together.
    pub fn load_file(self, path: impl AsRef<Path>) -> Result<TokenStore, LoadError> {
        let loaded = load(self.clone(), path.as_ref())?;
        Ok(TokenStore::new(self, loaded))
    }
}

impl TokenStore {
    fn new(mut base: TokenStoreBuilder, loaded: Loaded) -> Self {
        base.shrink();
        let loaded = Arc::new(loaded);
        TokenStore {
            current: [(); SLOTS].map(|()| Slot(RwLock::new(Arc::clone(&loaded)))),
            base: Mutex::new(base),
        }
    }

    /// The tokens in force. A thread always reads the same pointer, so it never goes back to
    /// older tokens.
    fn loaded(&self) -> RwLockReadGuard<'_, Arc<Loaded>> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        let Slot(current) = &self.current[THREAD.with(|number| number % SLOTS)];
        current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the tokens in force, while `base` is locked.
    fn put(&self, loaded: Loaded) {
        let loaded = Arc::new(loaded);
        for Slot(current) in &self.current {
            *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&loaded);
        }
    }
}

fn assemble(builder: &TokenStoreBuilder) -> Result<Loaded, LoadError> {
    Ok(Loaded {
        set: builder.assemble()?,
        warnings: Vec::new(),
    })
}

fn load(mut builder: TokenStoreBuilder, path: &Path) -> Result<Loaded, LoadError> {
    let file = TokenFile::read(path)?;
    let warnings = file.add_to(&mut builder)?;
    let set = builder.assemble().map_err(|error| file.locate(error))?;
    Ok(Loaded { set, warnings })
}

impl fmt::Debug for TokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenStore")
            .field(&self.loaded().set)
            .finish()
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
        self.loaded().set.authorize(token, resource, access)
    }

    fn default_policy(&self) -> DefaultPolicy {
        self.loaded().set.default_policy()
    }
}

/// The tokens of a [`TokenStore`] at one moment, which a later reload does not change.
///
/// It is cheap to clone, and keeps its tokens in memory as long as it lives.
#[derive(Clone)]
pub struct TokenSnapshot(Arc<Loaded>);

impl TokenSnapshot {
    /// Decides as [`TokenStore::check`] does.
    ///
    /// # Errors
    /// As [`TokenStore::check`].
    pub fn check(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<(), AclError> {
        self.0.set.check(token, resource, access)
    }

    /// The policy that decides where no rule does.
    pub fn default_policy(&self) -> DefaultPolicy {
        self.0.set.default_policy()
    }

    /// The number of tokens, expired ones included.
    pub fn tokens(&self) -> usize {
        self.0.set.len()
    }
}

impl fmt::Debug for TokenSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenSnapshot").field(&self.0.set).finish()
    }
}
