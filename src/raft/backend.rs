//! The trait that a server's Raft implements.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{RaftView, Removal};
use crate::error::OperatorError;
use crate::types::ServerId;

/// The Raft of the server that the service runs in.
///
/// The service selects the server that a request names, keeps the last voter,
/// applies the quorum guard, chooses or refuses the target of a transfer, and
/// answers for a server that does not lead. A backend shows its view, and makes a
/// change safely.
///
/// # Contract
/// The suite `cluster_operator_conformance::raft_backend` checks it; the names of its
/// checks are in parentheses.
///
/// ## Views
/// - [`view`](RaftBackend::view) is this server's own view at one moment. It is
///   cheap and does not wait for other servers: it is called for every request,
///   and every 50 ms while the service waits for a leader.
/// - A leader that reaches no majority any more, or that was removed, does not
///   stay [`Local`](crate::Leadership::Local) for long, although nobody may be
///   able to tell it so.
/// - The [version](RaftView::version) grows with each change of the configuration,
///   and a change that was refused leaves configuration and version as they were.
/// - A Raft that has not started, and one that was stopped, still answers:
///   with [`Unknown`](crate::Leadership::Unknown) and the configuration that it
///   knows, which may be empty.
/// - Several groups in one process are several backends; nothing is shared between
///   them.
///
/// ## Timeouts
/// A call takes any timeout, from [`Duration::ZERO`] to [`Duration::MAX`].
///
/// ## Removal
/// Only entries that were written after the request arrived prove that a voter is
/// alive: what a leader remembers of a voter that has been dead for seconds looks
/// up to date. So [`remove_server`](RaftBackend::remove_server) goes in four steps:
///
/// 1. Compare term and version, and refuse while another change is uncommitted. A
///    joint configuration that is committed and that nobody finishes is finished
///    first, after a proof on the voters of its last set; if that removed the
///    server that was asked for, the answer is `Ok`, else a conflict with the new
///    version.
/// 2. Propose an entry that changes nothing. Go on when it is committed in this
///    term and held by as many of the voters that stay as the
///    [proof](crate::Proof) asks for. A leader that is removed does not count
///    among them. Unproven within the smaller of one election timeout and a
///    quarter of the call's timeout, the answer is
///    [`QuorumUnproven`](crate::ErrorKind::QuorumUnproven) and nothing is appended.
/// 3. Compare term and version again, at once before the change is appended.
/// 4. Answer `Ok` when a majority of the voters that stay holds the final entry. A
///    Raft in the manner of etcd commits a removal with the old majority, so its
///    success is later than its commit.
///
/// A failure up to step 3 has the outcome
/// [`NotApplied`](crate::Outcome::NotApplied), a later one
/// [`Unknown`](crate::Outcome::Unknown). After `Ok`, the leader's view shows the
/// change.
///
/// A window of about two round trips remains between the proof and the commit: a
/// voter that dies in it can leave the cluster without a majority.
/// [`Proof::Margin`](crate::Proof::Margin) closes it, where there are enough voters.
///
/// Source: the Raft thesis, sections 4.1 to 4.3, and trials with openraft 0.9 and
/// raft-rs 0.7, in which each step that was left out stranded clusters.
#[async_trait]
pub trait RaftBackend: Send + Sync {
    /// This server's own view, taken at one moment.
    ///
    /// # Errors
    /// What keeps the backend from knowing its own state.
    ///
    /// # Cancel safety
    /// It only reads; the future can be dropped.
    async fn view(&self) -> Result<RaftView, OperatorError>;

    /// A view that was taken after a majority confirmed that this server leads, in
    /// the same term and after the call began.
    ///
    /// # Errors
    /// - [`NotLeader`](crate::ErrorKind::NotLeader) or
    ///   [`NoLeader`](crate::ErrorKind::NoLeader) if it does not lead
    /// - [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if no majority
    ///   confirmed it within `timeout`, or one of the former
    ///
    /// All of them have the outcome [`NotApplied`](crate::Outcome::NotApplied).
    ///
    /// # Cancel safety
    /// It only reads; the future can be dropped.
    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError>;

    /// Removes a server, voter or not, from the configuration, as the
    /// [contract](RaftBackend#removal) says. A voter does not stay as a non-voter.
    /// The leader may be removed. Answers within [`Removal::timeout`].
    ///
    /// # Errors
    /// - [`Conflict`](crate::ErrorKind::Conflict) or
    ///   [`TermChanged`](crate::ErrorKind::TermChanged) if the view that it was
    ///   decided on is out of date
    /// - [`ChangeInProgress`](crate::ErrorKind::ChangeInProgress)
    /// - [`QuorumUnproven`](crate::ErrorKind::QuorumUnproven)
    /// - [`UnknownServer`](crate::ErrorKind::UnknownServer),
    ///   [`LastVoter`](crate::ErrorKind::LastVoter)
    /// - [`NotLeader`](crate::ErrorKind::NotLeader) or
    ///   [`NoLeader`](crate::ErrorKind::NoLeader)
    ///
    /// # Cancel safety
    /// Dropping the future leaves either the old or the new configuration, and does
    /// not stand in the way of the next change.
    async fn remove_server(&self, removal: &Removal) -> Result<(), OperatorError>;

    /// Hands the lead to this server, which is another voter. The service has
    /// chosen it, and has refused everybody else. Answers within `timeout`.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) by default.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the lead with the old or the new leader.
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

            async fn remove_server(&self, removal: &Removal) -> Result<(), OperatorError> {
                (**self).remove_server(removal).await
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
