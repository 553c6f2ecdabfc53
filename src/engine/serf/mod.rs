//! A [`KeyringBackend`] over a pool of the serf crate.

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

    /// Refuses what serf would take on and never answer, or panic at.
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
