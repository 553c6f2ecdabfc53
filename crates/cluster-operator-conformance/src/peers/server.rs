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
use cluster_operator::raft::{
    LeaderHint, Leadership, PeerSelector, RaftBackend, RaftView, Removal,
};
use cluster_operator::timer::{Sleep, Timer};
use cluster_operator::types::DatacenterName;

use crate::fixture::{Fixture, NotSupported, Stop, Trial};

/// The place of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The datacenter of the server that sends.
    Here,
    /// Another datacenter.
    Datacenter(DatacenterName),
}

/// The server that sends, and the servers that it can reach: none at first.
///
/// What a fixture cannot do, it leaves at the default, which is [`NotSupported`]; the
/// checks that need it are skipped.
#[async_trait]
pub trait PeersFixture: Fixture {
    /// The transport under test, in the server that sends.
    fn peers(&self) -> Arc<dyn Peers>;

    /// Starts a server that hands every envelope to this service's
    /// [`answer`](OperatorService::answer), and makes it known to the server that sends.
    /// Returns its target: [`Target::Server`] for one that is here, or
    /// [`Target::Datacenter`] with the name of the place.
    ///
    /// # Errors
    /// [`NotSupported`] if servers cannot be in such a place.
    async fn serve(&self, place: Place, service: OperatorService) -> Result<Target, NotSupported>;

    /// Stops a server, so that nobody listens there.
    async fn stop(&self, target: &Target) -> Result<(), NotSupported> {
        let _ = target;
        Err(NotSupported::new("the fixture cannot stop a server"))
    }

    /// Loses the replies of a server, which still gets and executes every envelope.
    async fn lose_answers(&self, target: &Target) -> Result<(), NotSupported> {
        let _ = target;
        Err(NotSupported::new("the fixture cannot lose a reply"))
    }

    /// Replaces every reply of a server, which still gets and executes every envelope.
    async fn replace_replies(&self, target: &Target, reply: Vec<u8>) -> Result<(), NotSupported> {
        let _ = (target, reply);
        Err(NotSupported::new("the fixture cannot replace a reply"))
    }
}

pub(super) type Answer = Result<OperatorReply, OperatorError>;
pub(super) type Sent = Result<EnvelopeReply, SendError>;

/// A check in progress on a fixture's transport.
pub(super) type Transport<'a> = Trial<'a, dyn PeersFixture>;

impl Transport<'_> {
    /// Starts a server in the datacenter of the one that sends.
    pub(super) async fn here(&self, server: &Server) -> Result<Target, Stop> {
        self.serve(Place::Here, server.service("dc1")?).await
    }

    /// Starts a server in another datacenter.
    pub(super) async fn there(&self, server: &Server, datacenter: &str) -> Result<Target, Stop> {
        let place = Place::Datacenter(datacenter.into());
        self.serve(place, server.service(datacenter)?).await
    }

    async fn serve(&self, place: Place, service: OperatorService) -> Result<Target, Stop> {
        let target = self.fixture.serve(place, service).await?;
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
        let text = reply[..size.min(40)].escape_ascii();
        self.step(format!(
            "replace the replies of {name} by {size} bytes: {text}"
        ));
        self.fixture.replace_replies(target, reply).await
    }

    pub(super) async fn send(&self, target: &Target, request: OperatorRequest) -> Sent {
        match Envelope::new(request) {
            Ok(envelope) => self.send_envelope(target, envelope).await,
            Err(error) => Err(SendError::not_sent(error.to_string())),
        }
    }

    pub(super) async fn send_envelope(&self, target: &Target, envelope: Envelope) -> Sent {
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
#[derive(Clone)]
pub(super) struct Server {
    answer: Arc<Mutex<Option<Answer>>>,
    asked: Arc<Mutex<Vec<Envelope>>>,
}

impl Server {
    /// A server whose answer is always this one.
    pub(super) fn answering(answer: Answer) -> Self {
        Server {
            answer: Arc::new(Mutex::new(Some(answer))),
            asked: Arc::default(),
        }
    }

    /// A server whose answer names the server that it is asked to remove. It never
    /// answers for one called `stuck`.
    pub(super) fn echo() -> Self {
        Server {
            answer: Arc::default(),
            asked: Arc::default(),
        }
    }

    /// Replaces the answer.
    pub(super) fn answer(&self, answer: Answer) {
        *lock(&self.answer) = Some(answer);
    }

    /// Takes the envelopes that have arrived since the last call.
    pub(super) fn take(&self) -> Vec<Envelope> {
        std::mem::take(&mut lock(&self.asked))
    }

    /// Its service, in this datacenter.
    pub(super) fn service(&self, datacenter: &str) -> Result<OperatorService, Stop> {
        let service = OperatorService::builder(datacenter)
            .raft(Follower)
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

/// A Raft whose leader is another server.
struct Follower;

impl Follower {
    fn leader() -> LeaderHint {
        LeaderHint {
            id: "leader".into(),
            address: "leader".into(),
        }
    }

    fn not_leader() -> OperatorError {
        let leader = Some(Follower::leader());
        ErrorKind::NotLeader { leader }.into()
    }
}

#[async_trait]
impl RaftBackend for Follower {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let mut view = RaftView::new("follower", Arc::default());
        view.leadership = Leadership::Remote(Follower::leader());
        Ok(view)
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        Err(Follower::not_leader())
    }

    async fn remove_server(&self, _: &Removal) -> Result<(), OperatorError> {
        Err(Follower::not_leader())
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
