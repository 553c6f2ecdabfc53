//! The record of when each server last answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::openraft::error::{
    Fatal, InstallSnapshotError, RPCError, RaftError, ReplicationClosed, StreamingError,
};
use ::openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use ::openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    SnapshotResponse, VoteRequest, VoteResponse,
};
use ::openraft::{OptionalSend, RaftTypeConfig, Snapshot, Vote};

/// One server's record of when each other server last answered it.
///
/// openraft's metrics do not contain it: in them, a server that has died looks up to date
/// until the next entry is written. Give [`network`](Contacts::network) to `Raft::new`, and
/// the record to [`OpenraftAutopilot::new`](crate::OpenraftAutopilot::new).
///
/// Clones share the record. Each `Raft` needs its own.
///
/// ```
/// use cluster_operator_openraft::Contacts;
/// use openraft::{Config, Raft, RaftNetworkFactory, RaftTypeConfig};
/// use openraft::storage::{RaftLogStorage, RaftStateMachine};
/// # use std::sync::Arc;
///
/// async fn start<C: RaftTypeConfig>(
///     id: C::NodeId,
///     network: impl RaftNetworkFactory<C>,
///     log: impl RaftLogStorage<C>,
///     machine: impl RaftStateMachine<C>,
/// ) -> Result<(Raft<C>, Contacts<C>), Box<dyn std::error::Error>> {
///     let contacts = Contacts::new();
///     let config = Arc::new(Config::default().validate()?);
///     let raft = Raft::new(id, config, contacts.network(network), log, machine).await?;
///     Ok((raft, contacts))
/// }
/// ```
pub struct Contacts<C: RaftTypeConfig>(Arc<Mutex<BTreeMap<C::NodeId, Instant>>>);

impl<C: RaftTypeConfig> Contacts<C> {
    /// Creates an empty record.
    pub fn new() -> Self {
        Contacts(Arc::default())
    }

    /// Wraps a network so that the answers that it receives are recorded.
    pub fn network<F>(&self, network: F) -> ContactNetwork<C, F> {
        ContactNetwork {
            contacts: self.clone(),
            network,
        }
    }

    /// Returns the time since a server last answered, if it ever has.
    pub fn elapsed(&self, id: &C::NodeId) -> Option<Duration> {
        self.lock().get(id).map(Instant::elapsed)
    }

    fn record(&self, id: &C::NodeId) {
        self.lock().insert(id.clone(), Instant::now());
    }

    // No holder of the lock can panic half way through a change.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<C::NodeId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: RaftTypeConfig> Default for Contacts<C> {
    fn default() -> Self {
        Contacts::new()
    }
}

impl<C: RaftTypeConfig> Clone for Contacts<C> {
    fn clone(&self) -> Self {
        Contacts(Arc::clone(&self.0))
    }
}

impl<C: RaftTypeConfig> fmt::Debug for Contacts<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Contacts").field(&self.lock()).finish()
    }
}

/// A network that records the answers that it receives. See [`Contacts::network`].
pub struct ContactNetwork<C: RaftTypeConfig, F> {
    contacts: Contacts<C>,
    network: F,
}

impl<C: RaftTypeConfig, F> fmt::Debug for ContactNetwork<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContactNetwork").finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig, F: RaftNetworkFactory<C>> RaftNetworkFactory<C> for ContactNetwork<C, F> {
    type Network = ContactLink<C, F::Network>;

    async fn new_client(&mut self, target: C::NodeId, node: &C::Node) -> Self::Network {
        ContactLink {
            contacts: self.contacts.clone(),
            link: self.network.new_client(target.clone(), node).await,
            target,
        }
    }
}

/// The connection to one server in a [`ContactNetwork`].
pub struct ContactLink<C: RaftTypeConfig, N> {
    contacts: Contacts<C>,
    target: C::NodeId,
    link: N,
}

impl<C: RaftTypeConfig, N> ContactLink<C, N> {
    /// Records an answer, which is not an error.
    fn note<T, E>(&self, answer: Result<T, E>) -> Result<T, E> {
        if answer.is_ok() {
            self.contacts.record(&self.target);
        }
        answer
    }
}

impl<C: RaftTypeConfig, N> fmt::Debug for ContactLink<C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContactLink")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig, N: RaftNetwork<C>> RaftNetwork<C> for ContactLink<C, N> {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C::NodeId>, RPCError<C::NodeId, C::Node, RaftError<C::NodeId>>>
    {
        let answer = self.link.append_entries(rpc, option).await;
        self.note(answer)
    }

    // Deprecated with openraft's feature `generic-snapshot-data`.
    #[allow(deprecated)]
    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<C>,
        option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<C::NodeId>,
        RPCError<C::NodeId, C::Node, RaftError<C::NodeId, InstallSnapshotError>>,
    > {
        let answer = self.link.install_snapshot(rpc, option).await;
        self.note(answer)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C::NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<C::NodeId>, RPCError<C::NodeId, C::Node, RaftError<C::NodeId>>> {
        let answer = self.link.vote(rpc, option).await;
        self.note(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<C::NodeId>,
        snapshot: Snapshot<C>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<C::NodeId>, StreamingError<C, Fatal<C::NodeId>>> {
        // While it lasts, heartbeats are sent over another connection.
        let answer = self
            .link
            .full_snapshot(vote, snapshot, cancel, option)
            .await;
        self.note(answer)
    }

    fn backoff(&self) -> Backoff {
        self.link.backoff()
    }
}
