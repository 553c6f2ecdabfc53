//! The cluster that a Raft check runs against.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::conformance::{Fixture, NotSupported};
use crate::name::{ServerAddress, ServerId};
use crate::raft::RaftBackend;

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

    /// Cuts a server off from all the others. It still runs, and its backend is
    /// still asked.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn isolate(&self, server: &ServerId) -> Result<(), NotSupported> {
        let _ = server;
        Err(NotSupported::new("the fixture cannot cut a server off"))
    }
}
