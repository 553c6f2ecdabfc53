//! What a server's Raft has to be able to do.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Consistency, PeerSelector, RaftConfiguration};
use crate::error::OperatorError;
use crate::name::{ServerAddress, ServerId};

/// Where a follower believes the leader to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaderHint {
    /// The leader's id.
    pub id: ServerId,
    /// The leader's Raft address.
    pub address: ServerAddress,
}

/// Who leads, in the view of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// This server does.
    Local,
    /// Another one does.
    Elsewhere(LeaderHint),
    /// Nobody is known to.
    None,
}

/// The Raft of the server that the service runs in.
///
/// # Contract
/// - [`leadership`](RaftBackend::leadership) is this server's own view, cheap
///   and without waiting: it is asked for every request.
/// - A server that does not lead answers everything but a stale read with
///   [`NotLeader`](crate::ErrorKind::NotLeader) or
///   [`NoLeader`](crate::ErrorKind::NoLeader); the service sends the request on.
/// - The index grows with each change of the configuration, and a refused or
///   failed change leaves both as they were.
/// - An error says in its [`outcome`](OperatorError::outcome) whether the change
///   happened: never `NotApplied` for one that may yet be committed.
#[async_trait]
pub trait RaftBackend: Send + Sync {
    /// Who leads, in this server's view.
    fn leadership(&self) -> Leadership;

    /// The latest configuration, committed or not.
    ///
    /// A stale read answers from this server's view, whoever leads; a
    /// consistent one after the leader has made sure that it leads.
    ///
    /// # Errors
    /// [`NotLeader`](crate::ErrorKind::NotLeader) or
    /// [`NoLeader`](crate::ErrorKind::NoLeader) unless stale.
    ///
    /// # Cancel safety
    /// It reads only; the future can be dropped.
    async fn configuration(
        &self,
        consistency: Consistency,
    ) -> Result<RaftConfiguration, OperatorError>;

    /// Removes a server, voter or not, from the configuration; a voter does not
    /// stay as a non-voter. The leader may be removed. Returns when the new
    /// configuration is committed.
    ///
    /// With `expected_index`, nothing changes unless that is the index of the
    /// latest configuration.
    ///
    /// # Errors
    /// - [`UnknownServer`](crate::ErrorKind::UnknownServer)
    /// - [`LastVoter`](crate::ErrorKind::LastVoter)
    /// - [`Conflict`](crate::ErrorKind::Conflict)
    /// - [`NotLeader`](crate::ErrorKind::NotLeader) or
    ///   [`NoLeader`](crate::ErrorKind::NoLeader)
    ///
    /// # Cancel safety
    /// Dropping the future leaves either the old or the new configuration.
    async fn remove_server(
        &self,
        server: &PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<(), OperatorError>;

    /// Hands the lead to this voter, or to whichever is best suited.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) by default,
    /// [`UnknownServer`](crate::ErrorKind::UnknownServer) for one that is not in
    /// the configuration.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the lead with the old or the new leader.
    async fn transfer_leadership(&self, to: Option<&ServerId>) -> Result<(), OperatorError> {
        let _ = to;
        Err(OperatorError::unsupported("leadership transfer"))
    }
}
