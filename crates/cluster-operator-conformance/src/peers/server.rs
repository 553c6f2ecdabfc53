//! The fixture of the peers, and the server on the other side of the transport.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cluster_operator::OperatorService;
use cluster_operator::acl::AllowAll;
use cluster_operator::error::{ErrorKind, OperatorError};
use cluster_operator::operation::{Operation, OperatorReply, OperatorRequest};
use cluster_operator::peers::{Envelope, EnvelopeReply, Peers, SendError, Target};
use cluster_operator::raft::{Change, LeaderHint, Leadership, PeerSelector, RaftBackend, RaftView};
use cluster_operator::timer::{Sleep, Timer};
use cluster_operator::types::DatacenterName;

use crate::fixture::{Fixture, NotSupported, Stop, Trial};

/// The server that sends, and the servers that it can reach: none at first.
///
/// What a fixture cannot do, it leaves at the default, which is [`NotSupported`]; the
/// checks that need it are skipped.
#[allow(unused_variables)]
#[async_trait]
pub trait PeersFixture: Fixture {
    /// The transport under test, in the server that sends.
    fn peers(&self) -> Arc<dyn Peers>;

    /// Starts a server that hands every envelope to this service's
    /// [`answer`](OperatorService::answer), and makes it known to the server that sends.
    /// It is in this datacenter, and its target is [`Target::Datacenter`]; without one it
    /// is in the datacenter of the server that sends, and its target is
    /// [`Target::Server`].
    ///
    /// # Errors
    /// [`NotSupported`] if a server cannot be there.
    async fn serve(
        &self,
        datacenter: Option<DatacenterName>,
        service: OperatorService,
    ) -> Result<Target, NotSupported>;

    /// Stops a server, so that nobody listens there.
    async fn stop(&self, target: &Target) -> Result<(), NotSupported> {
        NotSupported::cannot("stop a server")
    }

    /// Loses the replies of a server, which still gets and executes every envelope.
    async fn lose_answers(&self, target: &Target) -> Result<(), NotSupported> {
        NotSupported::cannot("lose a reply")
    }

    /// Replaces every reply of a server, which still gets and executes every envelope.
    async fn replace_replies(&self, target: &Target, reply: Vec<u8>) -> Result<(), NotSupported> {
        NotSupported::cannot("replace a reply")
    }
}

pub(super) type Answer = Result<OperatorReply, OperatorError>;
pub(super) type Sent = Result<EnvelopeReply, SendError>;

/// A check in progress on a fixture's transport.
pub(super) type Transport<'a> = Trial<'a, dyn PeersFixture>;

impl Transport<'_> {
    /// Starts a server.
    pub(super) async fn start(&self, server: &Server) -> Result<Target, Stop> {
        let other = (server.datacenter != "dc1").then(|| server.datacenter.into());
        let target = self.fixture.serve(other, server.service()?).await?;
        self.step(format!("start {}", name(&target)));
        Ok(target)
    }

    pub(super) async fn stop(&self, target: &Target) -> Result<(), NotSupported> {
        self.step(format!("stop {}", name(target)));
        self.fixture.stop(target).await
    }

    pub(super) async fn lose_answers(&self, target: &Target) -> Result<(), NotSupported> {
        self.step(format!("lose the replies of {}", name(target)));
        self.fixture.lose_answers(target).await
    }

    pub(super) async fn replace_replies(
        &self,
        target: &Target,
        reply: Vec<u8>,
    ) -> Result<(), NotSupported> {
        let (name, size) = (name(target), reply.len());
        self.step(format!("replace the replies of {name} by {size} bytes"));
        self.fixture.replace_replies(target, reply).await
    }

    pub(super) async fn send(&self, target: &Target, request: OperatorRequest) -> Sent {
        let envelope = Envelope::new(request);
        let envelope = envelope.map_err(|error| SendError::not_sent(error.to_string()))?;
        self.send_within(self.timeout(), target, envelope).await
    }

    pub(super) async fn send_within(
        &self,
        timeout: Duration,
        target: &Target,
        envelope: Envelope,
    ) -> Sent {
        let size = envelope.as_bytes().len();
        let answer = self.fixture.peers().send(target, envelope, timeout).await;
        // No more than that: an error may contain the token.
        let shown = match &answer {
            Ok(reply) => format!("a reply of {} bytes", reply.as_bytes().len()),
            Err(SendError::NotSent(_)) => "NotSent".into(),
            Err(SendError::Lost(_)) => "Lost".into(),
            Err(SendError::NoPath) => "NoPath".into(),
        };
        self.step(format!("send {size} bytes to {}: {shown}", name(target)));
        answer
    }

    /// Sends a request that has to fail, and not to hang.
    pub(super) async fn fails(
        &self,
        target: &Target,
        request: OperatorRequest,
    ) -> Result<SendError, Stop> {
        match self.overdue(self.send(target, request)).await {
            Some(Err(error)) => Ok(error),
            other => Err(Stop::failed("an error", format!("{other:?}"))),
        }
    }
}

fn name(target: &Target) -> String {
    match target {
        Target::Server(leader) => format!("{} at {:?}", leader.id, leader.address.as_str()),
        Target::Datacenter(datacenter) => format!("datacenter {datacenter}"),
    }
}

pub(super) fn sealed(request: OperatorRequest) -> Result<Envelope, Stop> {
    let envelope = Envelope::new(request);
    envelope.map_err(|error| Stop::failed("an envelope", error.to_string()))
}

/// A server that records its requests. It does not lead, so its service forwards every
/// request, and the peers that it forwards to are this type again: here the whole
/// envelope can be seen.
///
/// Unless its answer is set, that names the server that it is asked to remove, and there
/// is none about one called `stuck`.
#[derive(Clone)]
pub(super) struct Server {
    datacenter: &'static str,
    answer: Arc<Mutex<Option<Answer>>>,
    asked: Arc<Mutex<Vec<Envelope>>>,
}

impl Server {
    /// A server in this datacenter. The one that sends is in `dc1`.
    pub(super) fn new(datacenter: &'static str) -> Self {
        Server {
            datacenter,
            answer: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// Sets the answer.
    pub(super) fn answer(&self, answer: Answer) {
        *lock(&self.answer) = Some(answer);
    }

    /// Takes the envelopes that have arrived since the last call.
    pub(super) fn take(&self) -> Vec<Envelope> {
        std::mem::take(&mut lock(&self.asked))
    }

    pub(super) fn service(&self) -> Result<OperatorService, Stop> {
        let service = OperatorService::builder(self.datacenter)
            .raft(self.clone())
            .authorizer(AllowAll)
            .peers(self.clone())
            .timer(StoppedClock(Instant::now()))
            .hop_limit(u8::MAX)
            .build();
        service.map_err(|error| Stop::failed("a service", error.to_string()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Peers for Server {
    fn datacenters(&self) -> Vec<DatacenterName> {
        Vec::new()
    }

    async fn send(&self, _: &Target, envelope: Envelope, _: Duration) -> Sent {
        let request = envelope.request();
        let request = request.map_err(|error| SendError::not_sent(error.to_string()))?;
        lock(&self.asked).push(envelope);
        let answer = lock(&self.answer).clone();
        let answer = match (answer, request.operation) {
            (Some(answer), _) => answer,
            (None, Operation::RemovePeer { server, .. }) => {
                if server == PeerSelector::Id("stuck".into()) {
                    return pending().await;
                }
                Err(OperatorError::invalid_request(server.to_string()))
            }
            (None, other) => Err(OperatorError::invalid_request(format!("{other:?}"))),
        };
        Ok(EnvelopeReply::new(&answer))
    }
}

#[async_trait]
impl RaftBackend for Server {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let mut view = RaftView::new("follower", Arc::default());
        view.leadership = Leadership::Remote(LeaderHint {
            id: "leader".into(),
            address: "leader".into(),
        });
        Ok(view)
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        Err(ErrorKind::NoLeader.into())
    }

    async fn change_membership(&self, _: &Change) -> Result<(), OperatorError> {
        Err(ErrorKind::NoLeader.into())
    }
}

/// A clock on which no time passes, so that envelopes hold the same timeout each time.
struct StoppedClock(Instant);

impl Timer for StoppedClock {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(pending())
    }

    fn now(&self) -> Instant {
        self.0
    }
}
