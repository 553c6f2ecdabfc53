//! Other servers, with answers that the test gives.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt};

use super::clock::lock;
use crate::error::OperatorError;
use crate::operation::{OperatorReply, OperatorRequest};
use crate::peers::{Envelope, EnvelopeReply, Peers, SendError, Target};
use crate::service::OperatorService;
use crate::types::DatacenterName;

type Answerer = Arc<dyn Fn(Envelope) -> BoxFuture<'static, EnvelopeReply> + Send + Sync>;

/// [`Peers`] for the tests of one service. Each target is another service or a
/// closure; any other server is unreachable, and to any other datacenter there is no
/// path. Clones share everything, so that a test can inspect what was sent, and add
/// targets after the service is built.
///
/// Services that are each other's targets are never freed.
///
/// ```
/// use cluster_operator::mock::{MockPeers, MockRaft};
/// use cluster_operator::peers::Target;
/// use cluster_operator::raft::Consistency;
/// use cluster_operator::service::Caller;
/// use cluster_operator::{AllowAll, ErrorKind, OperatorError, OperatorService};
///
/// # #[cfg(feature = "tokio")]
/// # futures_executor::block_on(async {
/// let dc2 = Target::Datacenter("dc2".into());
/// let peers = MockPeers::new().with_answer(dc2.clone(), |_| async {
///     Err(OperatorError::new(ErrorKind::NoLeader))
/// });
/// let service = OperatorService::builder("dc1")
///     .raft(MockRaft::voters(["alice"]))
///     .authorizer(AllowAll)
///     .peers(peers.clone())
///     .build()?;
///
/// let caller = Caller::anonymous().in_datacenter("dc2");
/// let error = service.raft_configuration(&caller, Consistency::Default).await.unwrap_err();
/// assert_eq!(error.kind(), &ErrorKind::NoLeader);
/// assert_eq!(peers.sent()[0].target, dc2);
/// # Ok::<(), cluster_operator::service::BuildError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct MockPeers {
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    answerers: Vec<(Target, Answerer)>,
    sent: Vec<Sent>,
}

/// A request that was sent to another server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sent {
    /// The server or datacenter that it was sent to.
    pub target: Target,
    /// The request.
    pub request: OperatorRequest,
    /// The number of times that it was forwarded, including this one.
    pub hops: u8,
    /// The timeout that was sent with it.
    pub timeout: Option<Duration>,
}

impl MockPeers {
    /// Creates peers without targets.
    pub fn new() -> Self {
        MockPeers::default()
    }

    /// Adds a service as a target, or replaces the target.
    #[must_use]
    pub fn with_service(self, target: Target, service: OperatorService) -> Self {
        self.add_service(target, service);
        self
    }

    /// Adds a target that the closure answers for, or replaces the target. A pending
    /// future never answers.
    #[must_use]
    pub fn with_answer<F>(
        self,
        target: Target,
        answer: impl Fn(OperatorRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<OperatorReply, OperatorError>> + Send + 'static,
    {
        let answerer = move |envelope: Envelope| match envelope.open() {
            Ok(forwarded) => {
                let answer = answer(forwarded.request);
                answer.map(|result| EnvelopeReply::new(&result)).boxed()
            }
            Err(error) => std::future::ready(EnvelopeReply::new(&Err(error))).boxed(),
        };
        self.add(target, Arc::new(answerer));
        self
    }

    /// Adds a service as a target, or replaces the target, after the peers were
    /// passed to a service.
    pub fn add_service(&self, target: Target, service: OperatorService) {
        let answer = move |envelope: Envelope| {
            let service = service.clone();
            async move { service.answer(&envelope).await }.boxed()
        };
        self.add(target, Arc::new(answer));
    }

    /// Returns the requests that were sent, in order.
    pub fn sent(&self) -> Vec<Sent> {
        lock(&self.known).sent.clone()
    }

    fn add(&self, target: Target, answerer: Answerer) {
        let mut known = lock(&self.known);
        known.answerers.retain(|(named, _)| *named != target);
        known.answerers.push((target, answerer));
    }
}

#[async_trait]
impl Peers for MockPeers {
    fn datacenters(&self) -> Vec<DatacenterName> {
        let known = lock(&self.known);
        let targets = known.answerers.iter().map(|(target, _)| target);
        targets
            .filter_map(|target| match target {
                Target::Datacenter(datacenter) => Some(datacenter.clone()),
                Target::Server(_) => None,
            })
            .collect()
    }

    async fn send(
        &self,
        target: &Target,
        envelope: Envelope,
        _: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        let answerer = {
            let mut known = lock(&self.known);
            if let Ok(forwarded) = envelope.open() {
                known.sent.push(Sent {
                    target: target.clone(),
                    request: forwarded.request,
                    hops: forwarded.hops,
                    timeout: forwarded.timeout,
                });
            }
            let mut answerers = known.answerers.iter();
            let named = answerers.find(|(named, _)| named == target);
            named.map(|(_, answerer)| Arc::clone(answerer))
        };
        match (answerer, target) {
            (Some(answerer), _) => Ok(answerer(envelope).await),
            (None, Target::Server(_)) => Err(SendError::not_sent("connection refused")),
            (None, Target::Datacenter(_)) => Err(SendError::NoPath),
        }
    }
}

impl fmt::Debug for MockPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = lock(&self.known);
        let targets: Vec<_> = known.answerers.iter().map(|(target, _)| target).collect();
        f.debug_struct("MockPeers")
            .field("targets", &targets)
            .field("sent", &known.sent)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::error::Outcome;
    use crate::operation::Operation;
    use crate::peers::Forwarded;
    use crate::raft::{Consistency, LeaderHint};

    fn send(peers: &MockPeers, target: &Target) -> Result<EnvelopeReply, SendError> {
        let request = OperatorRequest::new(Operation::RaftConfiguration(Consistency::Stale));
        let envelope = Envelope::seal(&Forwarded::from(request)).unwrap();
        block_on(peers.send(target, envelope, Duration::from_secs(1)))
    }

    #[test]
    fn call_to_an_unknown_target_fails_and_is_counted() {
        let peers = MockPeers::new();
        let server = Target::Server(LeaderHint {
            id: "alice".into(),
            address: "127.0.0.1:8300".into(),
        });
        let error = send(&peers, &server).unwrap_err();
        assert!(matches!(error, SendError::NotSent(_)));
        let error = send(&peers, &Target::Datacenter("dc9".into())).unwrap_err();
        assert!(matches!(error, SendError::NoPath));
        let sent = peers.sent();
        assert_eq!((sent.len(), &sent[0].target), (2, &server));
    }

    #[test]
    fn target_that_is_added_again_is_replaced() {
        let dc2 = || Target::Datacenter("dc2".into());
        let peers = MockPeers::new()
            .with_answer(dc2(), |_| async { Ok(OperatorReply::PeerRemoved) })
            .with_answer(dc2(), |_| async {
                Ok(OperatorReply::LeadershipTransferred)
            });
        let answer = send(&peers.clone(), &dc2()).unwrap();
        let answer = answer.result(Outcome::Unknown);
        assert_eq!(answer, Ok(OperatorReply::LeadershipTransferred));
        assert_eq!(peers.datacenters(), ["dc2"]);
        assert_eq!(peers.sent()[0].target, dc2());
    }
}
