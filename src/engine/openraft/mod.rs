//! A [`RaftBackend`] over a server of [openraft](::openraft) 0.9.
//!
//! ```no_run
//! use cluster_operator::engine::openraft::OpenraftBackend;
//! use cluster_operator::{AllowAll, OperatorService, RaftServer};
//! use openraft::BasicNode;
//!
//! # fn doc(raft: openraft::Raft<TypeConfig>) -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "tokio")] {
//! // An id, an address and, where the node or gossip knows it, a name.
//! fn describe(id: &u64, node: &BasicNode) -> RaftServer {
//!     RaftServer::voter(id.to_string(), node.addr.as_str())
//! }
//!
//! let service = OperatorService::builder("dc1")
//!     .raft(OpenraftBackend::new(raft.clone(), describe))
//!     .authorizer(AllowAll)
//!     .build()?;
//! # }
//! # Ok(()) }
//! # use std::io::Cursor;
//! # openraft::declare_raft_types!(pub TypeConfig);
//! ```
//!
//! # What it shows
//! The *effective* membership, which is the latest in the log, committed or not,
//! in the order of the node ids. Its index is 0 until somebody has changed what
//! `Raft::initialize` wrote. While two configurations are in force at once, a
//! server votes that votes in either of them.
//!
//! A leader tells the last log index of every server that has confirmed one; a
//! follower its own alone.
//!
//! A read that is not stale asks Raft's core, and sees what was done before it. A
//! stale one takes the metrics, answers at once, and also when Raft has stopped.
//!
//! # Who leads
//! openraft's leader stays leader for ever when it is cut off from the others.
//! Here it is one as long as a majority has acknowledged it within
//! `election_timeout_max + election_timeout_min`, before which the others can
//! elect nobody else; from then on it answers
//! [`NoLeader`](crate::ErrorKind::NoLeader), and so does a new leader until a
//! majority has acknowledged it once. That needs openraft's ticks and heartbeats,
//! which are on by default.
//!
//! # Removals
//! One at a time from each [`OpenraftBackend`], and after any other change to the
//! membership is committed. A removal that was begun goes on when its future is
//! dropped.
//!
//! Removing a voter takes two entries in the log: the old and the new voters
//! together, then the new ones. A leader that dies between the two leaves the
//! cluster with both. The server is then still listed, and removing it again, or
//! any other one, finishes the first removal too.
//!
//! What a leader had sent out when it lost the lead may be committed by the next
//! one: the error, [`NotLeader`](crate::ErrorKind::NotLeader) or
//! [`NoLeader`](crate::ErrorKind::NoLeader), then has the outcome
//! [`Unknown`](crate::Outcome::Unknown).
//!
//! # What it cannot do
//! - Hand the lead over: openraft 0.9 has nothing for it.
//! - Tell whether a server is up: the closure sets
//!   [`alive`](crate::RaftServer::alive) if gossip knows it. Else the quorum
//!   guard takes every server for live.
//! - Work with openraft's feature `singlethreaded`, or with another responder
//!   than `OneshotResponder`, which is the default.

mod removal;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::openraft::raft::responder::OneshotResponder;
use ::openraft::{Raft, RaftTypeConfig};
use async_trait::async_trait;
use futures_util::lock::Mutex;

use crate::error::OperatorError;
use crate::raft::{
    Consistency, Leadership, PeerSelector, RaftBackend, RaftConfiguration, RaftServer,
};

/// The Raft of a server that runs openraft. See the [module](self).
pub struct OpenraftBackend<C: RaftTypeConfig, F> {
    raft: Raft<C>,
    describe: F,
    /// One removal at a time, so that none sees another between its two entries.
    turn: Arc<Mutex<()>>,
    /// How long a leader is one without hearing from a majority.
    lease: Duration,
}

impl<C, F> OpenraftBackend<C, F>
where
    C: RaftTypeConfig,
    F: Fn(&C::NodeId, &C::Node) -> RaftServer + Send + Sync,
{
    /// The backend of the server that `raft` runs.
    ///
    /// `describe` tells a server's id and address from what openraft holds of it,
    /// and its name, protocol version and liveness if it knows them. Suffrage,
    /// leader and last index are set here. It is called for every server of the
    /// configuration, for every read and removal and, on a follower, whenever a
    /// request is routed; two servers must differ in id and address.
    pub fn new(raft: Raft<C>, describe: F) -> Self {
        let config = raft.config();
        let lease = config.election_timeout_max + config.election_timeout_min;
        OpenraftBackend {
            lease: Duration::from_millis(lease),
            raft,
            describe,
            turn: Arc::default(),
        }
    }
}

#[async_trait]
impl<C, F> RaftBackend for OpenraftBackend<C, F>
where
    C: RaftTypeConfig<Responder = OneshotResponder<C>>,
    F: Fn(&C::NodeId, &C::Node) -> RaftServer + Send + Sync,
{
    fn leadership(&self) -> Leadership {
        self.view_of_leadership()
    }

    /// # Errors
    /// Those of the trait; [`Backend`](crate::ErrorKind::Backend) when Raft has
    /// stopped, unless stale.
    async fn configuration(
        &self,
        consistency: Consistency,
    ) -> Result<RaftConfiguration, OperatorError> {
        match consistency {
            Consistency::Stale => Ok(self.stale()),
            Consistency::Default => {
                let membership = self.membership().await?;
                Ok(self.latest(&membership))
            }
            Consistency::Consistent => {
                // What was the latest when the read came in: a majority that then
                // still has no other leader knows of no later one.
                let membership = self.membership().await?;
                self.confirm_lead().await?;
                Ok(self.latest(&membership))
            }
        }
    }

    /// # Errors
    /// Those of the trait; [`Backend`](crate::ErrorKind::Backend) when Raft has
    /// stopped, or when the membership was changed by somebody else between the
    /// two entries of the removal.
    ///
    /// # Cancel safety
    /// A removal that was begun goes on, and the next one waits for it.
    async fn remove_server(
        &self,
        server: &PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<(), OperatorError> {
        self.remove(server, expected_index).await
    }
}

impl<C: RaftTypeConfig, F> fmt::Debug for OpenraftBackend<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenraftBackend")
            .field("node", &self.raft.metrics().borrow().id)
            .finish_non_exhaustive()
    }
}
