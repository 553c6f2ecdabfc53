//! The transport between servers, and the envelopes that it carries.

mod envelope;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::raft::LeaderHint;
use crate::types::DatacenterName;

pub(crate) use envelope::Forwarded;
#[cfg(feature = "peer-http")]
pub(crate) use envelope::too_old;
#[cfg(feature = "client")]
pub(crate) use envelope::write_wiped;
pub use envelope::{Envelope, EnvelopeReply};

/// The destination of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A server of the same datacenter, by its id and address in the Raft configuration:
    /// the leader, or for a diagnosis any server.
    Server(LeaderHint),
    /// Any reachable server of a datacenter.
    Datacenter(DatacenterName),
}

/// The reason why an envelope has no reply.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The request had no effect: no connection, a listener that rejects it, or a
    /// server that is too old.
    #[error("{0}")]
    NotSent(SendFailure),
    /// The envelope may have arrived, and there is no reply.
    #[error("{0}")]
    Lost(SendFailure),
    /// The transport has no address for the target.
    #[error("the transport does not know where the target listens")]
    NoPath,
}

/// A failure of the transport. Its reason names the server that was tried and does not
/// repeat the content of its answer.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct SendFailure {
    /// The reason.
    pub reason: String,
    /// The timeout, if it ran out.
    pub timed_out: Option<Duration>,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl SendFailure {
    /// Creates a failure with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        SendFailure {
            reason: reason.into(),
            timed_out: None,
            source: None,
        }
    }

    /// Marks the failure as a timeout.
    #[must_use]
    pub fn timed_out(mut self, after: Duration) -> Self {
        self.timed_out = Some(after);
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl SendError {
    /// Creates a [`NotSent`](SendError::NotSent) error with this reason.
    pub fn not_sent(reason: impl Into<String>) -> Self {
        SendError::NotSent(SendFailure::new(reason))
    }

    /// Creates a [`Lost`](SendError::Lost) error with this reason.
    pub fn lost(reason: impl Into<String>) -> Self {
        SendError::Lost(SendFailure::new(reason))
    }
}

/// The other servers and datacenters, over the server's own transport.
///
/// # Contract
/// The suite `cluster_operator_conformance::peers` checks it; the names of its checks
/// are in parentheses.
/// - The receiving server passes the envelope to its service's
///   [`answer`](crate::OperatorService::answer) and sends the reply back, both byte
///   for byte (`the_request_arrives_as_it_was_sent`,
///   `bytes_arrive_and_come_back_unchanged`).
/// - An envelope is sent once (`a_request_is_sent_once`). One whose reply was lost
///   is [`Lost`](SendError::Lost) (`a_lost_reply_is_reported_as_lost`); if it
///   [writes](Envelope::is_write), it is not sent again.
/// - If no server listens at the target, the call fails and does not wait forever (`a_server_that_is_down_is_unreachable`,
///   `an_unknown_address_is_unreachable`).
/// - Envelopes neither wait for each other nor receive each other's replies
///   (`a_request_does_not_wait_for_another_one`,
///   `requests_at_once_get_their_own_answers`).
/// - The transport does not look for the leader: it sends to the given target
///   (`a_request_goes_where_it_is_sent`).
#[async_trait]
pub trait Peers: Send + Sync {
    /// Returns the known datacenters, in any order, with or without the local one. The
    /// call is cheap and does not block.
    fn datacenters(&self) -> Vec<DatacenterName>;

    /// Sends an envelope and returns the reply. The service drops the future after
    /// `timeout`; the timeout inside the envelope is a little shorter.
    ///
    /// # Errors
    /// [`SendError`], which tells whether the envelope may have arrived.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo the request.
    async fn send(
        &self,
        target: &Target,
        envelope: Envelope,
        timeout: Duration,
    ) -> Result<EnvelopeReply, SendError>;
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        #[async_trait]
        impl<P: Peers + ?Sized> Peers for $pointer<P> {
            fn datacenters(&self) -> Vec<DatacenterName> {
                (**self).datacenters()
            }

            async fn send(
                &self,
                target: &Target,
                envelope: Envelope,
                timeout: Duration,
            ) -> Result<EnvelopeReply, SendError> {
                (**self).send(target, envelope, timeout).await
            }
        }
    )+};
}

forward!(Arc, Box);
