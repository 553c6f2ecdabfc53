#![doc = include_str!("../README.md")]
//!
//! # Starting serf
//! Start serf with [`start`]. A program that calls serf's constructors by itself has to
//! avoid three defects of serf-core 0.5.2 and memberlist-core 0.8.5:
//!
//! - **A pool that stays split.** Serf starts memberlist, which listens at once, and only
//!   then lets it announce members. A member that joins in between is never in serf's table,
//!   since memberlist announces a living member once: `Serf::members` lacks it, and no
//!   query waits for it. Joining again does not help. It happens when servers start
//!   at the same moment on busy machines. So start serf with a random key that no other
//!   member has; when the constructor has returned, insert the pool's keys into
//!   `memberlist().keyring()`, use the primary, and remove the random key.
//! - **A partition that does not heal.** Memberlist forgets a member that has been dead for
//!   `gossip_to_the_dead_time` (15 to 60 s by default), and then its index of the other
//!   members can be wrong. A later message about one of them panics, and with it ends for
//!   good the task that handles packets, or the one that reconnects. So set this time
//!   to more than `reconnect_timeout`, after which serf gives a member up (24 h).
//! - **A dead member that stays alive in serf's table.** The task in which memberlist tells
//!   serf of a death has aborted itself by then, and ends if it has to wait, for instance
//!   since somebody reads `Serf::members` at that moment. Serf does not try to reconnect then.
//!   So compare the tables now and then, and tell serf by `notify_leave` of the delegate
//!   of `memberlist()`.
//!
//! The longer time of the second one has side effects:
//!
//! - A dead member keeps its name, and one that returns under that name at another address is
//!   refused. `dead_node_reclaim_time` allows it after that time; by default it never does.
//!   Until then, both seem to have the same name, and serf would turn off the one at the new
//!   address: set `enable_id_conflict_resolution` to false.
//! - Gossip goes to the dead members too. If most of a pool is dead, a query may miss a
//!   living one: set `retransmit_mult` to 8 or more.
//!
//! A partition heals when a member reconnects to one that it has found dead, which it tries
//! about every `reconnect_interval` (30 s by default).
//!
//! # Who is asked
//! The members that memberlist considers alive, including those that have announced to
//! leave but have not left. A node that has just died is asked until the pool notices, and
//! is silent. Serf's table of members is not used, since it can be wrong: it lacks those of a
//! pool that stays split, and memberlist sometimes does not tell it of a death.
//!
//! A node is also silent if it and the others cannot read each other: it lacks the key
//! that they encrypt with, or encrypts with one that they have removed. So a node that
//! lacks the key to use may be silent instead of failing with
//! [`KeyNotInstalled`](cluster_operator::keyring::NodeFailure::KeyNotInstalled). This server's own
//! node is changed last, so that it can still read the others.
//!
//! Gossip does not promise to reach every node. Each node forwards a query as often as
//! `retransmit_mult` says in a pool of up to 9 nodes: 8 times with [`start`]. By default it
//! is four times in a LAN or WAN, and twice with `MemberlistOptions::local()`, so that a pool
//! of four can miss a node. The call can be repeated.
//!
//! # How long it takes
//! A call ends when all living members have answered, after some rounds of gossip.
//! It does not wait for a silent member that is found dead in the meantime, and names
//! it. Otherwise it ends after [`GossipQuery::timeout`], which the service takes from
//! [`keyring_deadline`](cluster_operator::OperatorServiceBuilder::keyring_deadline). Serf's own
//! query timeout is not used. A query is open for at most a minute, since serf keeps
//! it in memory for that long.
//!
//! Calls on one [`SerfKeyring`] run one after another, in the order of their arrival:
//! two queries that serf starts at the same moment can get the same number, and then one
//! never ends. Listings that arrive while another call runs are all answered by one
//! query after it. So a change waits for two queries at most, beside other changes,
//! however many listings run. A call whose turn does not come within its timeout has
//! asked no node.
//!
//! # What differs from Serf in Go
//! - The queries are those of the key manager, but this crate sends them, since the serf
//!   crate's key manager neither names the nodes that succeeded nor stops waiting for
//!   dead ones. Therefore an `EventProducer` of this server's own member shows them, and
//!   the payload of a change contains the key: do not log the payload of a query whose
//!   name begins with `_serf_`. The other nodes' events do not show them.
//! - A node whose keyring file cannot be written fails with
//!   [`Other`](cluster_operator::keyring::NodeFailure::Other), although its ring has changed.
//! - The serf crate writes the keyring file and never reads it. [`start`] does.
//! - The serf crate does not wipe its keys from memory, and memberlist logs every
//!   message that it has decrypted, keys and all, at the level `trace`.
//! - A node reads encrypted gossip only if it encrypts its own. So encryption
//!   cannot be introduced into a pool that runs without it.
//!
//! # Cancel safety
//! A node does at once what it is asked, or not at all. A change whose future was dropped
//! can still reach nodes for some rounds of gossip, even after the next change: list the
//! keys before you undo it.

mod detector;
mod query;
mod ring;
mod start;
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
use self::ring::DelegateOf;
use cluster_operator::error::{OperatorError, Outcome};
use cluster_operator::keyring::{GossipQuery, KeyChange, KeyringBackend, Pool, RelayFactor};

pub use self::detector::SerfDetector;
pub use self::start::{StartError, start};

/// The longest time for which a query is open.
const LONGEST: Duration = Duration::from_secs(60);

/// The keyring of a gossip pool that the serf crate runs.
///
/// One for each pool, over a running [`Serf`] of any transport and delegate. A node's
/// name is its id as `Display` writes it. See the [crate documentation](crate).
pub struct SerfKeyring<T, D = DefaultDelegate<T>>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    pool: Pool,
    serf: Serf<T, D>,
    keyring_file: Option<PathBuf>,
    /// Held by the call that runs.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The listings that wait for their turn.
    waiting: Arc<Mutex<Option<Waiting>>>,
}

/// Listings that one query will answer. The error is a text, since each of them returns
/// it.
type Listing = BoxFuture<'static, Result<(), String>>;

struct Waiting {
    /// Weak, since a listing that is not polled any more would never end its turn.
    listing: WeakShared<Listing>,
    callers: Vec<Caller>,
}

/// A caller of a listing.
struct Caller {
    query: GossipQuery,
    ends: Instant,
}

impl<T, D> SerfKeyring<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    /// Creates the backend of `pool`, of which `serf` is this server's member.
    ///
    /// `keyring_file` is the file of `Options::with_keyring_file`. The changes of this
    /// server's own ring are written there; without it, the node would start again with
    /// old keys.
    pub fn new(pool: Pool, serf: Serf<T, D>, keyring_file: Option<PathBuf>) -> Self {
        SerfKeyring {
            pool,
            serf,
            keyring_file,
            turn: Arc::default(),
            waiting: Arc::default(),
        }
    }

    /// The error of a call that has sent nothing.
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

    /// Joins the listing that waits for its turn, or starts a new one.
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

/// Waits for its turn, and lists for all callers that wait by then.
async fn list<T: Transport, D: DelegateOf<T>>(
    serf: Serf<T, D>,
    turn: Arc<tokio::sync::Mutex<()>>,
    waiting: Arc<Mutex<Option<Waiting>>>,
) -> Result<(), String> {
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
        // After the others have answered, which may be with keys that this node loses.
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
