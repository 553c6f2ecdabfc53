//! How a server reaches the other servers.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::OperatorError;
use crate::name::DatacenterName;
use crate::raft::LeaderHint;
use crate::reply::OperatorReply;
use crate::request::OperatorRequest;

/// To whom a request is handed on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A server of the same datacenter: the one that Raft named as the leader.
    Server(LeaderHint),
    /// Any server of a datacenter that can be reached.
    Datacenter(DatacenterName),
}

/// The other servers and datacenters, over whatever transport the server has.
///
/// # Contract
/// - The other side gives the request to its own service's
///   [`call`](crate::OperatorService::call) and sends back what that answers,
///   the error as it is.
/// - The request is sent once. An answer that was lost is an error whose
///   [outcome](OperatorError::outcome) is unknown; a write is not sent again.
/// - Who leads is not its business: it sends where it is told.
#[async_trait]
pub trait Peers: Send + Sync {
    /// The datacenters that are known, in any order, with or without the local
    /// one. Cheap and without waiting.
    fn datacenters(&self) -> Vec<DatacenterName>;

    /// Sends a request and returns the answer. The service gives up after
    /// `deadline` by itself and drops the future; a transport may use it to
    /// tell the other side.
    ///
    /// # Errors
    /// - the other side's error
    /// - [`Unreachable`](crate::ErrorKind::Unreachable), with the outcome
    ///   unknown if the request may have arrived
    /// - [`NoPathToDatacenter`](crate::ErrorKind::NoPathToDatacenter) for one
    ///   that it does not know
    ///
    /// # Cancel safety
    /// Dropping the future does not take the request back.
    async fn send(
        &self,
        target: &Target,
        request: OperatorRequest,
        deadline: Duration,
    ) -> Result<OperatorReply, OperatorError>;
}
