//! How a server reaches the other servers.

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

/// The server that an envelope is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A server of the same datacenter: the one that Raft named as the leader.
    Server(LeaderHint),
    /// Any server of a datacenter that can be reached.
    Datacenter(DatacenterName),
}

/// Why an envelope was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It has certainly not arrived, or the other side has certainly done nothing
    /// with it: no connection, a listener that refuses it, a server that is too old.
    #[error("{0}")]
    NotSent(SendFailure),
    /// It may have arrived, and there is no reply.
    #[error("{0}")]
    Lost(SendFailure),
    /// The transport does not know the target.
    #[error("the transport does not know where the target listens")]
    NoPath,
}

/// What went wrong between two servers, in the transport's words. They name the
/// server that was tried and do not repeat what it answered.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
#[non_exhaustive]
pub struct SendFailure {
    /// The words.
    pub reason: String,
    /// The time that was waited, if it was over.
    pub timed_out: Option<Duration>,
    /// What caused it.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl SendFailure {
    /// A failure in these words.
    pub fn new(reason: impl Into<String>) -> Self {
        SendFailure {
            reason: reason.into(),
            timed_out: None,
            source: None,
        }
    }

    /// Says that the time was over.
    #[must_use]
    pub fn timed_out(mut self, after: Duration) -> Self {
        self.timed_out = Some(after);
        self
    }

    /// Keeps what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl SendError {
    /// It has certainly not arrived.
    pub fn not_sent(reason: impl Into<String>) -> Self {
        SendError::NotSent(SendFailure::new(reason))
    }

    /// It may have arrived.
    pub fn lost(reason: impl Into<String>) -> Self {
        SendError::Lost(SendFailure::new(reason))
    }
}

/// The other servers and datacenters, over whatever transport the server has.
///
/// # Contract
/// The suite `cluster_operator_conformance::peers` checks it; the names of its checks
/// are in parentheses.
/// - The other side hands the envelope to its own service's
///   [`answer`](crate::OperatorService::answer) and sends the reply back, both byte
///   for byte (`the_request_arrives_as_it_was_sent`,
///   `bytes_arrive_and_come_back_unchanged`).
/// - An envelope is sent once (`a_request_is_sent_once`). One whose reply was lost
///   is [`Lost`](SendError::Lost) (`a_lost_reply_is_reported_as_lost`); if it
///   [writes](Envelope::is_write), it is not sent again.
/// - Where nobody listens, that is the answer: the transport does not wait without
///   end (`a_server_that_is_down_is_unreachable`,
///   `an_unknown_address_is_unreachable`).
/// - Envelopes do not wait for each other, nor get each other's replies
///   (`a_request_does_not_wait_for_another_one`,
///   `requests_at_once_get_their_own_answers`).
/// - Who leads is not its business: it sends where it is told
///   (`a_request_goes_where_it_is_sent`).
#[async_trait]
pub trait Peers: Send + Sync {
    /// The datacenters that are known, in any order, with or without the local
    /// one. Cheap and without waiting.
    fn datacenters(&self) -> Vec<DatacenterName>;

    /// Sends an envelope and returns the reply. The service gives up after
    /// `timeout` by itself and drops the future; the other side is told a little
    /// less in the envelope.
    ///
    /// # Errors
    /// [`SendError`] says whether the envelope may have arrived.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the envelope back.
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
