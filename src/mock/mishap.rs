//! What a test lets go wrong in a Raft cluster, and what it can see of it
//! afterwards.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{FaultId, MockClock};
use crate::error::Outcome;
use crate::raft::{PendingChange, RaftConfiguration};
use crate::types::ServerId;

/// A server that was removed, and the configuration before and after, with the
/// liveness that the leader saw at that moment.
///
/// ```
/// use cluster_operator::mock::MockRaft;
/// use cluster_operator::{RaftBackend, Removal};
///
/// # futures_executor::block_on(async {
/// let raft = MockRaft::voters(["alice", "bob", "carol"]);
/// let timeout = std::time::Duration::from_secs(10);
/// let removal = Removal::new("bob", &raft.view().await?, timeout);
/// raft.remove_server(&removal).await?;
/// let changes = raft.changes();
/// assert_eq!(changes[0].removed, "bob");
/// assert_eq!(changes[0].before.servers.len(), 3);
/// # Ok::<(), cluster_operator::OperatorError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaftChange {
    /// Who was removed.
    pub removed: ServerId,
    /// The configuration before.
    pub before: RaftConfiguration,
    /// The configuration after.
    pub after: RaftConfiguration,
}

#[derive(Debug, Default)]
pub(super) struct Mishaps {
    /// Who takes whom for the leader.
    pub(super) stale_hints: BTreeMap<ServerId, ServerId>,
    /// At which of the leader's next calls it loses the lead.
    pub(super) lose_lead_in: Vec<(FaultId, u64)>,
    /// How the next removals end.
    pub(super) failed_removals: VecDeque<(FaultId, Outcome)>,
    /// Who is lost in the middle of the next removal.
    pub(super) to_lose: Vec<(FaultId, ServerId)>,
    /// Who was, and reaches nobody.
    pub(super) lost: Vec<(FaultId, ServerId)>,
    /// Whose removal is not finished.
    pub(super) unfinished: Option<(FaultId, ServerId, PendingChange)>,
    /// How long each call takes.
    pub(super) slow: Option<(MockClock, Duration)>,
}

impl Mishaps {
    /// Whether the leader is to lose the lead at this call.
    pub(super) fn loses_lead(&mut self) -> bool {
        let mut loses = false;
        self.lose_lead_in.retain_mut(|(_, left)| {
            *left -= 1;
            loses |= *left == 0;
            *left > 0
        });
        loses
    }

    /// Loses the servers that a removal is to lose.
    pub(super) fn lose_servers(&mut self) {
        self.lost.append(&mut self.to_lose);
    }

    pub(super) fn is_lost(&self, server: Option<&ServerId>) -> bool {
        self.lost.iter().any(|(_, lost)| Some(lost) == server)
    }

    /// Forgets what one fault was to bring, or has brought.
    pub(super) fn forget(&mut self, fault: FaultId) {
        self.lose_lead_in.retain(|(by, _)| *by != fault);
        self.failed_removals.retain(|(by, _)| *by != fault);
        self.to_lose.retain(|(by, _)| *by != fault);
        self.lost.retain(|(by, _)| *by != fault);
        self.unfinished.take_if(|(by, _, _)| *by == fault);
    }
}
