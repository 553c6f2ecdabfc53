//! The cluster that a Raft check runs against.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::fixture::{Fixture, NotSupported};
use cluster_operator::raft::{PendingChange, RaftBackend};
use cluster_operator::types::{ServerAddress, ServerId};

/// The servers that a check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Servers {
    /// How many with a vote; at least one.
    pub voters: usize,
    /// How many without.
    pub nonvoters: usize,
}

impl Servers {
    /// So many with a vote, and none without.
    pub const fn voters(voters: usize) -> Self {
        Servers {
            voters,
            nonvoters: 0,
        }
    }

    /// The same and so many without a vote.
    #[must_use]
    pub const fn and_nonvoters(mut self, nonvoters: usize) -> Self {
        self.nonvoters = nonvoters;
        self
    }
}

/// One server of the cluster.
#[derive(Clone)]
pub struct Member {
    /// Its id, as its backend tells it.
    pub id: ServerId,
    /// Its Raft address, as its backend tells it.
    pub address: ServerAddress,
    /// The backend under test, as it runs in this server.
    pub backend: Arc<dyn RaftBackend>,
}

impl Member {
    /// A server of the cluster.
    pub fn new(
        id: impl Into<ServerId>,
        address: impl Into<ServerAddress>,
        backend: impl RaftBackend + 'static,
    ) -> Self {
        Member {
            id: id.into(),
            address: address.into(),
            backend: Arc::new(backend),
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A cluster of the servers that were wanted, all of them up, with its backends.
///
/// It need not have a leader yet: a check waits for one. What a fixture cannot
/// do, it leaves at the default; the checks that need it are then skipped.
///
/// The checks give a call a twelfth of the [deadline](Fixture::deadline) as its
/// timeout, which should be at least eight election timeouts.
#[async_trait]
pub trait RaftFixture: Fixture {
    /// The servers: first those with a vote, then those without. As many as were
    /// wanted: each check looks at that first.
    fn members(&self) -> Vec<Member>;

    /// Stops a server for good: it neither votes nor answers. Returns once
    /// nothing of it runs.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn stop(&self, server: &ServerId) -> Result<(), NotSupported> {
        let _ = server;
        Err(NotSupported::new("the fixture cannot stop a server"))
    }

    /// Cuts a server off from all the others, at once. It still runs, and its
    /// backend is still asked.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn isolate(&self, server: &ServerId) -> Result<(), NotSupported> {
        let _ = server;
        Err(NotSupported::new("the fixture cannot cut a server off"))
    }

    /// Loses a server in the middle of the next change of the configuration: cuts
    /// it off, or stops it, once a leader has appended the entry, and before that
    /// entry reaches this server, or any other one if this server is the leader.
    /// Returns at once, before that.
    ///
    /// Where the servers of a fixture talk over links of its own, the link watches
    /// for the entry.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn lose_at_change(&self, server: &ServerId) -> Result<(), NotSupported> {
        let _ = server;
        Err(NotSupported::new(
            "the fixture cannot lose a server in the middle of a change",
        ))
    }

    /// Ends what [`isolate`](RaftFixture::isolate) or
    /// [`lose_at_change`](RaftFixture::lose_at_change) has done to a server.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn reconnect(&self, server: &ServerId) -> Result<(), NotSupported> {
        let _ = server;
        Err(NotSupported::new("the fixture cannot reconnect a server"))
    }

    /// Leaves the removal of a server unfinished, without the backend under test:
    /// [`Uncommitted`](PendingChange::Uncommitted), with the entry appended and
    /// the other servers cut off, or [`Joint`](PendingChange::Joint), with the
    /// joint configuration committed and nobody who ends it.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn leave_unfinished(
        &self,
        removal: &ServerId,
        at: PendingChange,
    ) -> Result<(), NotSupported> {
        let _ = (removal, at);
        Err(NotSupported::new(
            "the fixture cannot leave a change unfinished",
        ))
    }

    /// Proposes an entry that changes no configuration, through the leader, and
    /// says whether it was committed. It may also take as long as it likes.
    ///
    /// # Errors
    /// [`NotSupported`] by default. The checks then take a leader that confirms its
    /// lead for a cluster that takes writes.
    async fn write(&self) -> Result<bool, NotSupported> {
        Err(NotSupported::new("the fixture cannot write"))
    }
}
