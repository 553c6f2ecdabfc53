//! A [`RaftBackend`] over a server of [openraft] 0.9.
//!
//! ```no_run
//! use cluster_operator::engine::openraft::{OpenraftBackend, basic_node};
//! use cluster_operator::{AllowAll, OperatorService};
//!
//! # fn doc(raft: openraft::Raft<TypeConfig>) -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "tokio")] {
//! let service = OperatorService::builder("dc1")
//!     // Or a closure that makes a `RaftServer` of your ids and nodes.
//!     .raft(OpenraftBackend::new(raft.clone(), basic_node))
//!     .authorizer(AllowAll)
//!     .build()?;
//! # }
//! # Ok(()) }
//! # use std::io::Cursor;
//! # openraft::declare_raft_types!(pub TypeConfig);
//! ```
//!
//! It works with any node type and over both of openraft's storage APIs. Whoever
//! calls it need not be in openraft's runtime.
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
//! A learner that is cut off does not notice, and names the last leader for good.
//!
//! # Removals
//! One at a time from each [`OpenraftBackend`] and its clones, and after any other
//! change to the membership is committed. A removal that was begun goes on when
//! its future is dropped, and when another change comes between its entries.
//!
//! Removing a voter takes two entries in the log: the old and the new voters
//! together, then the new ones. A leader that dies between the two leaves the
//! cluster with both; the server is then still listed as a voter. Removing it
//! again finishes what was begun. Removing another one does so first, and leaves
//! that server as a learner, to be removed as such. Since the program may be about
//! to finish a change of its own, it has as long for it as the others for an
//! election.
//!
//! What a leader had sent out when it lost the lead may be committed by the next
//! one: the error, [`NotLeader`](crate::ErrorKind::NotLeader) or
//! [`NoLeader`](crate::ErrorKind::NoLeader), then has the outcome
//! [`Unknown`](crate::Outcome::Unknown).
//!
//! An id or address that several nodes have names none of them:
//! [`InvalidRequest`](crate::ErrorKind::InvalidRequest). So it is with the address
//! of nodes that were only given ids.
//!
//! # What differs from hashicorp/raft
//! - A voter leaves by way of a joint configuration, so the index moves on twice.
//! - openraft compares no index, so the expected one is compared just before the
//!   change. A change that the program makes itself at that moment may come first.
//! - A removed server is not told. It stands for election in vain until it is
//!   shut down, and shows the old configuration to a stale read.
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
use ::openraft::{BasicNode, Raft, RaftTypeConfig};
use async_trait::async_trait;
use futures_util::lock::Mutex;

use crate::error::OperatorError;
use crate::raft::{
    Consistency, Leadership, PeerSelector, RaftBackend, RaftConfiguration, RaftServer,
};

/// A server as its node id and [`BasicNode`] tell it: the id as `Display` writes
/// it, and the address.
///
/// ```
/// use cluster_operator::RaftServer;
/// use cluster_operator::engine::openraft::basic_node;
/// use openraft::BasicNode;
///
/// let server = basic_node(&7, &BasicNode::new("10.0.0.7:8300"));
/// assert_eq!(server, RaftServer::voter("7", "10.0.0.7:8300"));
/// ```
pub fn basic_node<I: fmt::Display>(id: &I, node: &BasicNode) -> RaftServer {
    RaftServer::voter(id.to_string(), node.addr.as_str())
}

/// The Raft of a server that runs openraft. See the [module](self).
pub struct OpenraftBackend<C: RaftTypeConfig, F> {
    raft: Raft<C>,
    describe: Arc<F>,
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
    /// request is routed. A server that another one resembles in id or address
    /// cannot be removed by that.
    pub fn new(raft: Raft<C>, describe: F) -> Self {
        let config = raft.config();
        let lease = config.election_timeout_max + config.election_timeout_min;
        OpenraftBackend {
            lease: Duration::from_millis(lease),
            raft,
            describe: Arc::new(describe),
            turn: Arc::default(),
        }
    }
}

#[async_trait]
impl<C, F> RaftBackend for OpenraftBackend<C, F>
where
    C: RaftTypeConfig<Responder = OneshotResponder<C>>,
    F: Fn(&C::NodeId, &C::Node) -> RaftServer + Send + Sync + 'static,
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
                self.membership().await?;
                self.confirm_lead().await?;
                // Not what was read before: the lead may have been lost and won back
                // in between, and the log has what was committed meanwhile.
                let membership = self.membership().await?;
                Ok(self.latest(&membership))
            }
        }
    }

    /// # Errors
    /// Those of the trait, [`InvalidRequest`](crate::ErrorKind::InvalidRequest) for
    /// a name that several nodes have, and
    /// [`Backend`](crate::ErrorKind::Backend) when Raft has stopped.
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

/// Clones take turns with each other.
impl<C: RaftTypeConfig, F> Clone for OpenraftBackend<C, F> {
    fn clone(&self) -> Self {
        OpenraftBackend {
            raft: self.raft.clone(),
            describe: Arc::clone(&self.describe),
            turn: Arc::clone(&self.turn),
            lease: self.lease,
        }
    }
}

impl<C: RaftTypeConfig, F> fmt::Debug for OpenraftBackend<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenraftBackend")
            .field("node", &self.raft.metrics().borrow().id)
            .finish_non_exhaustive()
    }
}
