//! The trait for a server's Raft.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Change, RaftView};
use crate::error::OperatorError;
use crate::types::ServerId;

/// The Raft of the server that the service runs in.
///
/// The service selects the server that a request names, protects the last voter,
/// applies the quorum guard, chooses or rejects the target of a leadership transfer,
/// and answers for a server that is not the leader. A backend provides its view and
/// makes changes safely.
///
/// # Contract
/// The suite `cluster_operator_conformance::raft_backend` checks it.
///
/// ## Views
/// - [`view`](RaftBackend::view) is this server's own view at one moment. It is
///   cheap and does not wait for other servers: the service calls it for every
///   request, and every 50 ms while it waits for a leader.
/// - A leader that has lost contact to a majority, or that was removed, does not
///   stay [`Local`](crate::raft::Leadership::Local) for long, even if no other server can
///   reach it.
/// - The [version](RaftView::version) grows with each change of the configuration. A
///   rejected change leaves the configuration and the version unchanged.
/// - A Raft that has not started or was stopped still returns a view, with
///   [`Unknown`](crate::raft::Leadership::Unknown) and the configuration that it knows,
///   which may be empty.
/// - Each Raft group in a process has its own backend, and the backends share no
///   state.
///
/// ## Timeouts
/// A call accepts any timeout, from [`Duration::ZERO`] to [`Duration::MAX`].
///
/// ## Removal
/// Only entries that were written after the request arrived prove that a voter is
/// alive: a leader's own data about a voter that died seconds ago looks up to date.
/// A [removal](crate::raft::ChangeKind::Remove) therefore has four steps:
///
/// 1. Compare the term and the version, and return an error while another change is
///    uncommitted. If a joint configuration is committed and its change is not in
///    progress any more, finish it first, after a proof on the voters of its last
///    set. If that removes the requested server, return `Ok`, otherwise a conflict
///    with the new version.
/// 2. Propose an entry that changes nothing. Continue when it is committed in this
///    term and held by as many of the voters that stay as the
///    [proof](crate::raft::Proof) requires. A leader that is being removed does not count
///    as one of them. If the proof does not succeed within the smaller of one
///    election timeout and a quarter of the call's timeout, return
///    [`QuorumUnproven`](crate::ErrorKind::QuorumUnproven) and append nothing.
/// 3. Compare the term and the version again, immediately before the change is
///    appended.
/// 4. Return `Ok` when a majority of the voters that stay holds the final entry. A
///    Raft like etcd's commits a removal with the old majority, so it succeeds later
///    than it commits. A voter that is removed does not stay as a server without a vote.
///
/// A failure up to step 3 has the outcome
/// [`NotApplied`](crate::Outcome::NotApplied), a later one
/// [`Unknown`](crate::Outcome::Unknown). After `Ok`, the leader's view shows the
/// change.
///
/// A window of about two round trips remains between the proof and the commit. A
/// voter that dies within it can leave the cluster without a majority.
/// [`Proof::Margin`](crate::raft::Proof::Margin) closes the window if there are enough
/// voters.
///
/// ## Replacement
/// A [replacement](crate::raft::ChangeKind::Replace) removes a voter and makes a server
/// without a vote a voter in its place, in one change. There is never a configuration
/// with one voter less or more than before, so the cluster tolerates as many failures
/// as before, also in the window between the proof and the commit. The steps are those
/// of a removal, with these differences:
///
/// 1. The new voter must be a server without a vote, and the old one a voter. If a joint
///    configuration is committed and its change is not in progress any more, finish it
///    first. If that makes exactly the requested change, return `Ok`, otherwise a
///    conflict with the new version.
/// 2. The proof is made on the voters after the change: the old voter does not count,
///    the new one does. In addition, the new voter itself must hold the entry, and so
///    the whole log. If it does not, return
///    [`NotCaughtUp`](crate::ErrorKind::NotCaughtUp) and append nothing.
/// 3. The change replaces the set of voters at once, for example as one joint
///    configuration. Do not add the new voter first or remove the old one first.
/// 4. Return `Ok` when a majority of the new voters holds the final entry, and no joint
///    configuration is in force any more. The old voter is not in the configuration, not
///    even as a server without a vote.
///
/// A backend that cannot change two servers at once answers that it is
/// [unsupported](Change::unsupported). Do not emulate the change with two.
///
/// ## Promotion
/// A [promotion](crate::raft::ChangeKind::Promote) makes a server without a vote a voter.
/// The steps are those of a removal, with these differences:
///
/// 1. The server must be in the configuration, without a vote. If a joint configuration is
///    committed and its change is not in progress any more, finish it first. If that makes
///    exactly the requested change, return `Ok`, otherwise a conflict with the new version.
/// 2. The proof is made on the voters after the change. The new voter counts, and must
///    itself hold the entry, and so the whole log. If it does not, return
///    [`NotCaughtUp`](crate::ErrorKind::NotCaughtUp) and append nothing.
/// 4. Return `Ok` when a majority of the new voters holds the final entry, and no joint
///    configuration is in force any more.
///
/// Source: the Raft thesis, sections 4.1 to 4.3, and experiments with openraft 0.9
/// and raft-rs 0.7, in which leaving out any of the steps left clusters without a
/// leader. A replacement in one change never did.
#[async_trait]
pub trait RaftBackend: Send + Sync {
    /// Returns this server's own view at one moment.
    ///
    /// # Errors
    /// The backend cannot read its own state.
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    async fn view(&self) -> Result<RaftView, OperatorError>;

    /// Returns a view that was taken after a majority confirmed, after the call began,
    /// that this server is the leader in the view's term.
    ///
    /// # Errors
    /// - [`NotLeader`](crate::ErrorKind::NotLeader) or
    ///   [`NoLeader`](crate::ErrorKind::NoLeader) if it is not the leader
    /// - [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded), or one of the above,
    ///   if no majority confirmed it within `timeout`
    ///
    /// All of them have the outcome [`NotApplied`](crate::Outcome::NotApplied).
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError>;

    /// Changes the configuration, as described in the contract: makes a
    /// [removal](RaftBackend#removal), a [replacement](RaftBackend#replacement) or a
    /// [promotion](RaftBackend#promotion). The leader can be removed and replaced too.
    /// Returns within [`Change::timeout`].
    ///
    /// ```
    /// use cluster_operator::OperatorError;
    /// use cluster_operator::raft::{Change, ChangeKind};
    ///
    /// async fn change_membership(change: &Change) -> Result<(), OperatorError> {
    ///     match &change.kind {
    ///         ChangeKind::Remove { id } => todo!("remove {id}"),
    ///         _ => Err(change.unsupported()),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if the backend does not make changes
    ///   of this kind: create it with [`Change::unsupported`]
    /// - [`Conflict`](crate::ErrorKind::Conflict) or
    ///   [`TermChanged`](crate::ErrorKind::TermChanged) if the view that the change is
    ///   based on is out of date
    /// - [`ChangeInProgress`](crate::ErrorKind::ChangeInProgress)
    /// - [`QuorumUnproven`](crate::ErrorKind::QuorumUnproven)
    /// - [`UnknownServer`](crate::ErrorKind::UnknownServer)
    /// - [`NotLeader`](crate::ErrorKind::NotLeader) or
    ///   [`NoLeader`](crate::ErrorKind::NoLeader)
    /// - removal: [`LastVoter`](crate::ErrorKind::LastVoter)
    /// - replacement: [`NothingToReplace`](crate::ErrorKind::NothingToReplace) if the old
    ///   server has no vote
    /// - replacement and promotion: [`AlreadyVoter`](crate::ErrorKind::AlreadyVoter) if the
    ///   new voter has a vote, and [`NotCaughtUp`](crate::ErrorKind::NotCaughtUp) if it does
    ///   not have the whole log
    ///
    /// # Cancel safety
    /// Dropping the future leaves either the old or the new configuration, and does
    /// not block the next change.
    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError>;

    /// Transfers leadership to this server. The service has checked that it is another
    /// voter. Returns within `timeout`.
    ///
    /// `Ok` means that the target was seen leading in a later term. While writes are held
    /// back for it, they wait for the smaller of one election timeout and a quarter of
    /// `timeout` before this server gives up its leadership.
    ///
    /// # Errors
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) by default
    /// - [`TransferredElsewhere`](crate::ErrorKind::TransferredElsewhere) if another server
    ///   leads in a later term. Its outcome, [`NotApplied`](crate::Outcome::NotApplied),
    ///   means that the target does not lead; another election has taken place.
    /// - Any other error with the outcome [`NotApplied`](crate::Outcome::NotApplied) if this
    ///   server has not given up its leadership
    /// - An error with the outcome [`Unknown`](crate::Outcome::Unknown) if it has, and no
    ///   leader is known yet
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old or the new leader in place, not a cluster
    /// without one.
    async fn transfer_leadership(
        &self,
        to: &ServerId,
        timeout: Duration,
    ) -> Result<(), OperatorError> {
        let _ = (to, timeout);
        Err(OperatorError::unsupported("leadership transfer"))
    }
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        #[async_trait]
        impl<T: RaftBackend + ?Sized> RaftBackend for $pointer<T> {
            async fn view(&self) -> Result<RaftView, OperatorError> {
                (**self).view().await
            }

            async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
                (**self).confirmed_view(timeout).await
            }

            async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
                (**self).change_membership(change).await
            }

            async fn transfer_leadership(
                &self,
                to: &ServerId,
                timeout: Duration,
            ) -> Result<(), OperatorError> {
                (**self).transfer_leadership(to, timeout).await
            }
        }
    )+};
}

forward!(Arc, Box);
