//! The servers that a check of peers runs against.

use std::sync::Arc;

use async_trait::async_trait;

use crate::fixture::{Fixture, NotSupported};
use cluster_operator::OperatorService;
use cluster_operator::peers::{Peers, Target};
use cluster_operator::types::DatacenterName;

/// Where a server stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In the datacenter of the server that asks.
    Here,
    /// In another one.
    Datacenter(DatacenterName),
}

/// The server that asks, and the servers that it can ask.
///
/// At first there are none of those. What a fixture cannot do, it leaves at the
/// default; the checks that need it are then skipped.
#[async_trait]
pub trait PeersFixture: Fixture {
    /// The peers under test, as the server has them that asks.
    fn peers(&self) -> Arc<dyn Peers>;

    /// Starts a server that gives every envelope to this service's
    /// [`answer`](OperatorService::answer), and makes it known to the server that
    /// asks. Returns the target by which that names it: [`Target::Server`] for one
    /// that is here, [`Target::Datacenter`] for another datacenter, with the name
    /// that the place has.
    ///
    /// # Errors
    /// [`NotSupported`] if servers cannot be in such a place.
    async fn serve(&self, place: Place, service: OperatorService) -> Result<Target, NotSupported>;

    /// Stops a server: nobody listens there any more.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn stop(&self, target: &Target) -> Result<(), NotSupported> {
        let _ = target;
        Err(NotSupported::new("the fixture cannot stop a server"))
    }

    /// Loses the replies of a server: it still gets every envelope, and does what
    /// that says.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn lose_answers(&self, target: &Target) -> Result<(), NotSupported> {
        let _ = target;
        Err(NotSupported::new("the fixture cannot lose a reply"))
    }

    /// Replaces every reply of a server by these bytes: it still gets every
    /// envelope, and does what that says.
    ///
    /// # Errors
    /// [`NotSupported`] by default.
    async fn replace_replies(&self, target: &Target, reply: Vec<u8>) -> Result<(), NotSupported> {
        let _ = (target, reply);
        Err(NotSupported::new("the fixture cannot replace a reply"))
    }
}
