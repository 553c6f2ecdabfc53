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
/// `conformance::raft_backend` holds a backend to it; in parentheses are the names
/// of its checks.
/// - [`leadership`](RaftBackend::leadership) is this server's own view, cheap
///   and without waiting: it is asked for every request. A hint is the leader's
///   id and address as the configuration has them
///   (`a_hint_is_the_leaders_id_and_address`), and without a majority there is
///   no leader (`without_a_majority_nobody_leads`).
/// - A leader that reaches no majority any more, or that was removed, is not
///   [`Local`](Leadership::Local) for long, although nobody may be able to tell
///   it so (`a_leader_without_a_majority_leads_no_more`,
///   `a_leader_that_is_cut_off_leads_no_more`, `a_removed_leader_leads_no_more`).
/// - A server that does not lead answers everything but a stale read with
///   [`NotLeader`](crate::ErrorKind::NotLeader), or with
///   [`NoLeader`](crate::ErrorKind::NoLeader) if it knows of none; the service
///   sends the request on (`a_follower_removes_nothing`,
///   `without_a_leader_a_read_is_refused`).
/// - A server is what a [`PeerSelector`] matches byte for byte; any text can be
///   asked for (`a_server_is_matched_byte_for_byte`,
///   `odd_names_are_unknown_servers`).
/// - The index grows with each change of the configuration, and a refused or
///   failed change leaves both as they were
///   (`the_index_grows_with_each_removal`).
/// - A voter is left, also where two removals meet
///   (`the_last_voter_is_never_removed`, `removals_at_once_leave_a_voter`).
/// - An error says in its [`outcome`](OperatorError::outcome) whether the change
///   happened: never `NotApplied` for one that may yet be committed
///   (`not_applied_is_said_only_of_what_did_not_happen`).
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
    /// Dropping the future leaves either the old or the new configuration
    /// (`a_dropped_removal_happens_whole_or_not_at_all`).
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
