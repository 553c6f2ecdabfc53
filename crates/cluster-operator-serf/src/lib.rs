//! A [`KeyringBackend`] over a pool of the [serf crate](::serf).
//!
//! That crate is under the MPL-2.0, unlike this one and its other dependencies.
//!
//! ```
//! use cluster_operator::{AllowAll, Caller, KeyringScope, OperatorService, Pool};
//! use cluster_operator_serf::SerfKeyring;
//! use serf::net::NetTransportOptions;
//! use serf::tokio::{TokioNetTransport, TokioSocketAddrResolver, TokioTcp};
//! use serf::types::{EncryptionAlgorithm, SecretKey, SmolStr};
//! use serf::{MemberlistOptions, Options, Serf};
//!
//! // An id that is cheap to clone: a `SmolStr`, not a `String`.
//! type Transport = TokioNetTransport<SmolStr, TokioSocketAddrResolver, TokioTcp>;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut transport = NetTransportOptions::new("alice".into());
//! transport.add_bind_address("127.0.0.1:0".parse()?);
//!
//! // Without any one of the first three, every node answers that encryption is
//! // off. Without the fourth, gossip in clear text is accepted.
//! let encrypted = MemberlistOptions::lan()
//!     .with_encryption_algo(EncryptionAlgorithm::default())
//!     .with_primary_key(SecretKey::random_aes256())
//!     .with_gossip_verify_outgoing(true)
//!     .with_gossip_verify_incoming(true);
//! let options = Options::new().with_memberlist_options(encrypted);
//! let lan = Serf::<Transport>::new(transport, options).await?;
//!
//! let service = OperatorService::builder("dc1")
//!     .keyring(SerfKeyring::new(Pool::Lan, lan.clone(), None))
//!     .authorizer(AllowAll)
//!     .build()?;
//! let listed = service
//!     .list_keys(&Caller::anonymous(), KeyringScope::Federation)
//!     .await?;
//! assert_eq!(listed.rings[0].report.as_ref().unwrap().nodes, 1);
//! # lan.shutdown().await?;
//! # Ok(()) }
//! ```
//!
//! # Who is asked
//! The members that serf holds for alive, including those that have announced to
//! leave but have not left. A node that died a moment ago counts until the pool has
//! found out, and is silent.
//!
//! A node is also silent if it and the others cannot read each other: it lacks the
//! key that they encrypt with, or encrypts with one that they have removed. Where
//! some nodes lack a key, using it may therefore leave them silent instead of
//! failing with [`KeyNotInstalled`](cluster_operator::NodeFailure::KeyNotInstalled). This
//! server's own node is changed last, so that it can still read the others.
//!
//! And gossip does not promise to reach every node. Each passes a query on as often
//! as `retransmit_mult` says, four times in a LAN or WAN of up to 9; with
//! `MemberlistOptions::local()` twice, so that a pool of four can miss one. The call
//! can be made again.
//!
//! # How long it takes
//! A call ends when all living members have answered, after some rounds of gossip.
//! It does not wait for a silent member that serf finds dead meanwhile, and names
//! it. Otherwise it ends with [`GossipQuery::timeout`], which the service takes from
//! [`keyring_deadline`](cluster_operator::OperatorServiceBuilder::keyring_deadline). Serf's own
//! query timeout is not used. A query is open for at most a minute, since serf keeps
//! it in memory for that long.
//!
//! Calls on one [`SerfKeyring`] take turns, in the order in which they come: of two
//! queries that serf starts at the same moment, both can get the same number, and
//! then one never ends. Listings share turns: those that arrive while another call
//! is under way are all answered by one query, which starts after it. So however
//! many listings run, a change waits for two queries at most, beside other changes.
//! A call whose turn does not come within its timeout has asked nobody.
//!
//! # What differs from Serf in Go
//! - The queries are those of the key manager, but they are sent from here, since
//!   the crate's key manager neither names the nodes that succeeded nor stops
//!   waiting for dead ones. The price: an `EventProducer` of this server's own member
//!   shows them, and the payload of a change holds the key. Do not log the payload of
//!   a query whose name begins with `_serf_`. The other nodes' events show nothing.
//! - A node whose keyring file cannot be written fails with
//!   [`Other`](cluster_operator::NodeFailure::Other), and its ring has changed all the same.
//! - The crate writes the keyring file and never reads it. Whoever starts a node
//!   reads it and gives the keys to `MemberlistOptions::with_primary_key`, the
//!   first of them, and `with_secret_keys`.
//! - The crate does not wipe its keys from memory, and memberlist logs every
//!   message that it has decrypted, keys and all, at the level `trace`.
//! - A node reads encrypted gossip only if it encrypts its own. So encryption
//!   cannot be introduced into a pool that runs without it.
//!
//! # Cancel safety
//! A node does what it is asked at once or not at all. A change whose future was
//! dropped can still reach nodes for some rounds of gossip, even after the next one:
//! list the keys before you ask for its opposite.

mod query;
mod ring;
mod wording;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::serf::delegate::Delegate;
use ::serf::transport::Transport;
use ::serf::types::SecretKey;
use ::serf::{DefaultDelegate, Serf};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use self::query::{Audience, Request, check_running, within};
use cluster_operator::error::{OperatorError, Outcome};
use cluster_operator::keyring::{GossipQuery, KeyChange, KeyringBackend, Pool, RelayFactor};

/// The longest time for which a query is open.
const LONGEST: Duration = Duration::from_secs(60);

/// The keyring of a gossip pool that the serf crate runs.
///
/// One for each pool, over a running [`Serf`] of any transport and delegate. A
/// node's name is its id as `Display` writes it. See the [module](self).
pub struct SerfKeyring<T, D = DefaultDelegate<T>>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    pool: Pool,
    serf: Serf<T, D>,
    keyring_file: Option<PathBuf>,
    /// One query at a time, first come, first served.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The listings that wait for their turn.
    waiting: Arc<Mutex<Option<Waiting>>>,
}

/// Listings that one query will answer. Why it could not be sent is a text, since
/// each of them returns it.
type Listing = BoxFuture<'static, Result<(), String>>;

struct Waiting {
    /// Does not keep the listing alive: one that nobody polls any more would never
    /// give its turn back.
    listing: WeakShared<Listing>,
    callers: Vec<Caller>,
}

/// One of the callers of a listing.
struct Caller {
    query: GossipQuery,
    ends: Instant,
}

impl<T, D> SerfKeyring<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    /// Operates the keyring of `pool`, of which `serf` is this server's member.
    ///
    /// `keyring_file` is the file that `serf` was given with
    /// `Options::with_keyring_file`. The changes that are asked of this server are
    /// written there too; without it, its node would start again with old keys.
    pub fn new(pool: Pool, serf: Serf<T, D>, keyring_file: Option<PathBuf>) -> Self {
        SerfKeyring {
            pool,
            serf,
            keyring_file,
            turn: Arc::default(),
            waiting: Arc::default(),
        }
    }

    /// Nothing was sent to the pool.
    fn unasked(&self, why: impl fmt::Display) -> OperatorError {
        OperatorError::backend(format!("cannot ask the {} pool: {why}", self.pool))
            .with_outcome(Outcome::NotApplied)
    }

    fn out_of_turn(&self, timeout: Duration) -> OperatorError {
        self.unasked(format!(
            "earlier calls took longer than {} ms: try again",
            timeout.as_millis()
        ))
    }

    /// Joins the listing that waits for its turn, or starts to wait with a new one.
    fn join(&self, query: &GossipQuery) -> Shared<Listing> {
        let caller = Caller {
            query: query.clone(),
            ends: Instant::now() + query.timeout.min(LONGEST),
        };
        let mut waiting = lock(&self.waiting);
        if let Some(Waiting { listing, callers }) = &mut *waiting
            && let Some(listing) = listing.upgrade()
        {
            callers.push(caller);
            return listing;
        }
        let listing = list(
            self.serf.clone(),
            Arc::clone(&self.turn),
            Arc::clone(&self.waiting),
        );
        let listing = listing.boxed().shared();
        *waiting = listing.downgrade().map(|listing| Waiting {
            listing,
            callers: vec![caller],
        });
        listing
    }
}

/// Takes a turn and lists for all that wait by then.
async fn list<T, D>(
    serf: Serf<T, D>,
    turn: Arc<tokio::sync::Mutex<()>>,
    waiting: Arc<Mutex<Option<Waiting>>>,
) -> Result<(), String>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    let _turn = turn.lock_owned().await;
    let callers = lock(&waiting).take().map(|waiting| waiting.callers);
    let now = Instant::now();
    let mut timeout = Duration::ZERO;
    let mut relay = RelayFactor::default();
    let mut audience = Vec::new();
    for Caller { query, ends } in callers.into_iter().flatten() {
        let left = ends.saturating_duration_since(now);
        if left.is_zero() {
            continue;
        }
        timeout = timeout.max(left);
        if query.relay.get() > relay.get() {
            relay = query.relay;
        }
        audience.push(query.answers);
    }
    check_running(&serf)?;
    let audience = Audience(audience);
    audience
        .ask(&serf, Request::list(&serf), relay, timeout)
        .await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl<T, D> KeyringBackend for SerfKeyring<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        let listing = self.join(query);
        match within::<T, _>(query.timeout.min(LONGEST), listing).await {
            Some(listed) => listed.map_err(|why| self.unasked(why)),
            None if query.answers.report().is_some() => Ok(()),
            None => Err(self.out_of_turn(query.timeout)),
        }
    }

    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        let timeout = query.timeout.min(LONGEST);
        let ends = Instant::now() + timeout;
        let key = SecretKey::try_from(change.key().as_bytes())
            .map_err(|error| self.unasked(error).with_source(error))?;
        let request = Request::change(change, key).map_err(|why| self.unasked(why))?;
        let turn = within::<T, _>(timeout, self.turn.lock()).await;
        let left = ends.saturating_duration_since(Instant::now());
        if turn.is_none() || left.is_zero() {
            return Err(self.out_of_turn(timeout));
        }
        check_running(&self.serf).map_err(|why| self.unasked(why))?;
        let audience = Audience(vec![query.answers.clone()]);
        audience
            .ask(&self.serf, request, query.relay, left)
            .await
            .map_err(|why| self.unasked(why))?;
        // Now that the others have answered: they may do so with keys that this node
        // is about to lose.
        let done = ring::change(&self.serf, change, key, self.keyring_file.as_deref());
        audience.answered_here(&self.serf, done);
        audience.joined(&self.serf).await;
        Ok(())
    }
}

impl<T, D> fmt::Debug for SerfKeyring<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerfKeyring")
            .field("pool", &self.pool)
            .field("node", self.serf.local_id())
            .finish_non_exhaustive()
    }
}
