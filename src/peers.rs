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
/// `conformance::peers` holds a transport to it; in parentheses are the names of
/// its checks.
/// - The other side gives the request to its own service's
///   [`call`](crate::OperatorService::call) and sends back what that answers,
///   the error as it is (`the_request_arrives_as_it_was_sent`,
///   `an_error_comes_back_as_it_was`).
/// - The request is sent once (`a_request_is_sent_once`). An answer that was
///   lost is an error whose [outcome](OperatorError::outcome) is unknown
///   (`a_write_whose_answer_is_lost_has_an_unknown_outcome`); a write is not
///   sent again.
/// - Where nobody listens, that is the answer: the transport does not wait
///   without an end (`a_server_that_is_down_is_unreachable`,
///   `a_server_that_there_never_was_is_unreachable`).
/// - Requests do not wait for each other, nor get each other's answers
///   (`a_request_does_not_wait_for_another_one`,
///   `requests_at_once_get_their_own_answers`).
/// - Who leads is not its business: it sends where it is told
///   (`a_request_goes_where_it_is_sent`).
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
