//! A [`KeyringBackend`] over a pool of the [serf crate](::serf).
//!
//! That crate is under the MPL-2.0, unlike this one and the rest of what it is
//! built from; only the feature `serf` brings it in.
//!
//! ```
//! use cluster_operator::engine::serf::SerfKeyring;
//! use cluster_operator::{AllowAll, Caller, KeyringScope, OperatorService, Pool};
//! use serf::net::NetTransportOptions;
//! use serf::tokio::{TokioNetTransport, TokioSocketAddrResolver, TokioTcp};
//! use serf::types::{EncryptionAlgorithm, SecretKey, SmolStr};
//! use serf::{MemberlistOptions, Options, Serf};
//!
//! // An id that is cheap to clone: a `SmolStr`, and no `String`.
//! type Transport = TokioNetTransport<SmolStr, TokioSocketAddrResolver, TokioTcp>;
//!
//! # #[cfg(feature = "tokio")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut transport = NetTransportOptions::new("alice".into());
//! transport.add_bind_address("127.0.0.1:0".parse()?);
//!
//! // Without any one of the first three, every node answers that encryption is
//! // off. Without the fourth, gossip in clear text is let in.
//! let encrypted = MemberlistOptions::lan()
//!     .with_encryption_algo(EncryptionAlgorithm::default())
//!     .with_primary_key(SecretKey::random_aes256())
//!     .with_gossip_verify_outgoing(true)
//!     .with_gossip_verify_incoming(true);
//! let options = Options::new().with_memberlist_options(encrypted);
//! let lan = Serf::<Transport>::new(transport, options).await?;
//!
//! let service = OperatorService::builder("dc1")
//!     .keyring(SerfKeyring::new(Pool::Lan, lan.clone()))
//!     .authorizer(AllowAll)
//!     .build()?;
//! let rings = service
//!     .list_keys(&Caller::anonymous(), KeyringScope::Federation)
//!     .await?
//!     .confirmed()?
//!     .rings;
//! assert_eq!(rings[0].result.as_ref().unwrap().nodes, 1);
//! # lan.shutdown().await?;
//! # Ok(()) }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! # Who is asked
//! The members that serf holds for alive, those that have announced to leave but
//! have not left among them. A node that died a moment ago counts until the pool
//! has found out, and is silent.
//!
//! So is one that cannot hear the others, or that they cannot hear: that lacks
//! the key which they encrypt with, or encrypts with one that they have removed.
//! Where some nodes have a key and some do not, using it may therefore leave the
//! latter silent instead of failing with
//! [`KeyNotInstalled`](crate::NodeFailure::KeyNotInstalled).
//!
//! And gossip does not promise to reach every node. Each hands a query on as
//! often as `retransmit_mult` says, four times in a LAN or WAN of up to 9; with
//! `MemberlistOptions::local()` twice, so that a pool of four can miss one. The
//! call can be made again.
//!
//! # How long it takes
//! A call is over as soon as all members have answered, which takes some rounds
//! of gossip. Otherwise it waits until serf ends the query. That is after
//! `gossip_interval × query_timeout_mult × ⌈log10(members + 1)⌉`, as
//! [`Serf::default_query_timeout`] tells:
//!
//! | members | LAN defaults | WAN defaults |
//! |---|---|---|
//! | up to 9 | 3.2 s | 8 s |
//! | up to 99 | 6.4 s | 16 s |
//!
//! A listing waits so long for a silent node only. A change does also while serf
//! remembers a member that has failed or left, for a day by default: its key
//! manager waits for all that it remembers, and does not tell before. So give
//! [`keyring_deadline`](crate::OperatorServiceBuilder::keyring_deadline), 5 s by
//! default, more than a second over that time, or make the query shorter with
//! serf's `Options::with_query_timeout_mult`; else the report is lost when one
//! node is silent.
//!
//! Calls on one [`SerfKeyring`] take turns. The service's deadline counts while
//! they wait.
//!
//! # What differs from Serf in Go
//! - A listing is a query named `_serf_list_keys`, as the crate's key manager
//!   sends it, but it is sent from here. The key manager counts a key twice on a
//!   node that was told to install its own primary, has no relay factor for a
//!   listing, and never answers some of several listings at once. The price: the
//!   events of this server's own member show that query. No event shows a key.
//! - A node whose keyring file cannot be written fails with
//!   [`Other`](crate::NodeFailure::Other), and its ring has changed all the same.
//! - The crate writes the keyring file and never reads it. Whoever starts a node
//!   reads it and gives the keys to `MemberlistOptions::with_primary_key`, the
//!   first of them, and `with_secret_keys`.
//! - The crate does not wipe its keys from memory, and memberlist logs every
//!   message that it has decrypted, keys and all, at the level `trace`.
//! - A node reads encrypted gossip only if it encrypts its own. So encryption
//!   cannot be brought into a pool that runs without it.
//! - Of a change, the key manager does not name the nodes that made it. If a
//!   member that was taken for dead answers, it may stand for a living one that
//!   is silent. A listing has every node by name.
//!
//! # Cancel safety
//! A node does what it is asked at once or not at all. A change that was given
//! up can still reach nodes for some rounds of gossip, even after the next one:
//! look at the ring before its opposite is asked for.

mod gather;
mod wording;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use ::serf::agnostic::RuntimeLite;
use ::serf::delegate::Delegate;
use ::serf::key_manager::{KeyRequestOptions, KeyResponse};
use ::serf::transport::Transport;
use ::serf::types::{MemberStatus, SecretKey};
use ::serf::{DefaultDelegate, Serf, SerfState};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use futures_util::lock::Mutex;

use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{GossipKey, KeyringBackend, NodeMessage, Pool, RelayFactor, RingReport};
use crate::name::NodeName;

/// How long after the end of its query the key manager may take to say so.
const GRACE: Duration = Duration::from_secs(1);

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
    /// One call at a time. Of two queries that serf starts at the same moment,
    /// both can get the same number, and then one never ends; and it stops to
    /// gossip once more of them are queued than fit into a packet.
    turn: Mutex<()>,
}

/// A change to every node's ring.
#[derive(Clone, Copy)]
enum Change {
    Install,
    Use,
    Remove,
}

impl<T, D> SerfKeyring<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    /// The keyring of `pool`, which `serf` is this server's member of.
    pub fn new(pool: Pool, serf: Serf<T, D>) -> Self {
        SerfKeyring {
            pool,
            serf,
            turn: Mutex::new(()),
        }
    }

    /// A member that has left would wait for answers that nobody sends.
    fn check_running(&self) -> Result<(), OperatorError> {
        match self.serf.state() {
            SerfState::Alive => Ok(()),
            state => Err(self.failed(format!("this server's member is {state}: start it again"))),
        }
    }

    /// Nothing was sent to the pool.
    fn failed(&self, why: impl fmt::Display) -> OperatorError {
        OperatorError::backend(format!("cannot ask the {} pool: {why}", self.pool))
            .with_outcome(Outcome::NotApplied)
    }

    /// The members that are not known to be dead, as memberlist has it: one that
    /// has announced to leave still gossips.
    async fn living(&self) -> HashSet<T::Id> {
        let members = self.serf.members().await;
        members
            .iter()
            .filter(|member| matches!(member.status(), MemberStatus::Alive | MemberStatus::Leaving))
            .map(|member| member.node().id().clone())
            .collect()
    }

    async fn change(
        &self,
        change: Change,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError> {
        let key = SecretKey::try_from(key.as_bytes())
            .map_err(|error| self.failed(error).with_source(error))?;
        let _turn = self.turn.lock().await;
        self.check_running()?;
        let options = Some(KeyRequestOptions {
            relay_factor: relay.get(),
        });
        let before = self.living().await;
        let patience = self.serf.default_query_timeout().await + GRACE;
        let manager = self.serf.key_manager();
        let work = async {
            match change {
                Change::Install => manager.install_key(key, options).await,
                Change::Use => manager.use_key(key, options).await,
                Change::Remove => manager.remove_key(key, options).await,
            }
        };
        let Some(response) = within::<T, _>(patience, work).await else {
            return Err(OperatorError::new(ErrorKind::DeadlineExceeded {
                target: format!("the {} pool", self.pool),
                after: patience,
            }));
        };
        let response = response.map_err(|error| {
            let why = wording::without_keys(&error.to_string());
            self.failed(why).with_source(error)
        })?;
        // Who came or went while the nodes were asked counts too, so that nobody
        // who may lack the change is left out.
        let mut asked = self.living().await;
        asked.extend(before);
        Ok(changed(&asked, &response))
    }
}

/// The report of a change.
///
/// The key manager counts all members, the dead ones too, and does not name
/// those that succeeded. At most the living are taken to be among them.
fn changed<I>(asked: &HashSet<I>, response: &KeyResponse<I>) -> RingReport
where
    I: fmt::Display + Eq + std::hash::Hash,
{
    let mut report = RingReport::new(asked.len());
    let told = response.messages().iter();
    for (node, words) in told.filter(|(node, _)| asked.contains(*node)) {
        let node = name(node);
        if response.num_err() > 0 {
            report.failed(node, wording::failure(words));
        } else {
            let note = NodeMessage::Note(wording::without_keys(words));
            report.messages.insert(node, note);
        }
    }
    let done = response.num_resp().saturating_sub(response.num_err());
    for _ in 0..done.min(report.nodes - report.errors) {
        report.done();
    }
    report
}

fn name(id: &impl fmt::Display) -> NodeName {
    NodeName::new(id.to_string())
}

/// The work's output, or `None` if it takes longer on the pool's own runtime.
async fn within<T: Transport, F: Future>(patience: Duration, work: F) -> Option<F::Output> {
    let sleep = pin!(<T::Runtime as RuntimeLite>::sleep(patience));
    match select(pin!(work), sleep).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

#[async_trait]
impl<T, D> KeyringBackend for SerfKeyring<T, D>
where
    T: Transport,
    D: Delegate<Id = T::Id, Address = T::ResolvedAddress>,
{
    fn pool(&self) -> Pool {
        self.pool.clone()
    }

    async fn list(&self, relay: RelayFactor) -> Result<RingReport, OperatorError> {
        self.gather(relay).await
    }

    async fn install(
        &self,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError> {
        self.change(Change::Install, key, relay).await
    }

    async fn use_key(
        &self,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError> {
        self.change(Change::Use, key, relay).await
    }

    async fn remove(
        &self,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError> {
        self.change(Change::Remove, key, relay).await
    }

    /// # Errors
    /// Serf is writing its list of members at this very moment. Ask again.
    fn members(&self) -> Result<Vec<NodeName>, OperatorError> {
        self.check_running()?;
        let living = self
            .living()
            .now_or_never()
            .ok_or_else(|| self.failed("its list of members is changing: ask again"))?;
        Ok(living.iter().map(name).collect())
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
