//! What the checks do with a transport, recorded step by step, and the server on its
//! other side.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{PeersFixture, Place};
use crate::fixture::{NotSupported, Stop, Trial, Verdict};
use cluster_operator::OperatorService;
use cluster_operator::acl::AllowAll;
use cluster_operator::error::{ErrorKind, OperatorError};
use cluster_operator::operation::{OperatorReply, OperatorRequest};
use cluster_operator::peers::{Envelope, EnvelopeReply, Peers, SendError, Target};
use cluster_operator::raft::{LeaderHint, Leadership, RaftBackend, RaftView, Removal};
use cluster_operator::timer::{Sleep, Timer};
use cluster_operator::types::DatacenterName;

pub(super) type Answer = Result<OperatorReply, OperatorError>;
pub(super) type Sent = Result<EnvelopeReply, SendError>;

/// A check in progress on a fixture's transport.
pub(super) type Transport<'a> = Trial<'a, dyn PeersFixture>;

/// There is nothing to wait for.
pub(super) async fn ready((): (), _: Transport<'_>) -> Verdict {
    Ok(())
}

impl Transport<'_> {
    /// Starts a server in the datacenter of the server that asks.
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
        let text = reply[..reply.len().min(40)].escape_ascii();
        let size = reply.len();
        self.step(format!(
            "replace the replies of {} by {size} bytes: {text}",
            name(target)
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
        // No more than that: an error may tell the token.
        let told = match &answer {
            Ok(reply) => format!("a reply of {} bytes", reply.as_bytes().len()),
            Err(SendError::NotSent(_)) => "NotSent".into(),
            Err(SendError::Lost(_)) => "Lost".into(),
            Err(SendError::NoPath) => "NoPath".into(),
        };
        self.step(format!("send {size} bytes to {}: {told}", name(target)));
        answer
    }
}

fn name(target: &Target) -> String {
    match target {
        Target::Server(leader) => format!("{} at {:?}", leader.id, leader.address.as_str()),
        Target::Datacenter(datacenter) => format!("datacenter {datacenter}"),
    }
}

/// Makes the answer; `None` to leave the request unanswered.
type Answerer = Arc<dyn Fn(&OperatorRequest) -> Option<Answer> + Send + Sync>;

/// A server that records what it is asked. It does not lead, so its service forwards
/// every request, and the peers that it forwards to are this again: here the envelope
/// is seen whole.
#[derive(Clone)]
pub(super) struct Server {
    answerer: Arc<Mutex<Answerer>>,
    asked: Arc<Mutex<Vec<Envelope>>>,
}

impl Server {
    pub(super) fn new(
        answerer: impl Fn(&OperatorRequest) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Server {
            answerer: Arc::new(Mutex::new(Arc::new(answerer))),
            asked: Arc::default(),
        }
    }

    /// A server that always answers the same.
    pub(super) fn answering(answer: Answer) -> Self {
        Server::new(move |_| Some(answer.clone()))
    }

    /// Changes what it always answers.
    pub(super) fn answer(&self, answer: Answer) {
        *lock(&self.answerer) = Arc::new(move |_| Some(answer.clone()));
    }

    /// What has arrived since the last time.
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

    /// The envelope in which it forwards this request.
    pub(super) async fn forwarded(
        &self,
        datacenter: &str,
        request: OperatorRequest,
    ) -> Result<Envelope, Stop> {
        let envelope = sealed(request)?;
        self.service(datacenter)?.answer(&envelope).await;
        let forwarded = self.take().pop();
        forwarded.ok_or_else(|| Stop::failed("a service that forwards", "none"))
    }
}

pub(super) fn sealed(request: OperatorRequest) -> Result<Envelope, Stop> {
    let envelope = Envelope::new(request);
    envelope.map_err(|error| Stop::failed("an envelope", error.to_string()))
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
        let request = envelope
            .request()
            .map_err(|error| SendError::not_sent(error.to_string()))?;
        let answerer = Arc::clone(&lock(&self.answerer));
        let answer = answerer(&request);
        lock(&self.asked).push(envelope);
        match answer {
            Some(answer) => Ok(EnvelopeReply::new(&answer)),
            None => pending().await,
        }
    }
}

/// A Raft that takes another server for the leader.
struct Follower;

fn leader() -> LeaderHint {
    LeaderHint {
        id: "leader".into(),
        address: "leader".into(),
    }
}

fn not_leader() -> OperatorError {
    let leader = Some(leader());
    ErrorKind::NotLeader { leader }.into()
}

#[async_trait]
impl RaftBackend for Follower {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let mut view = RaftView::new("follower", Arc::default());
        view.leadership = Leadership::Remote(leader());
        Ok(view)
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        Err(not_leader())
    }

    async fn remove_server(&self, _: &Removal) -> Result<(), OperatorError> {
        Err(not_leader())
    }
}

/// The deadlines are the checks' own, and envelopes hold the same timeout each time.
struct StoppedClock(Instant);

impl Timer for StoppedClock {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(pending())
    }

    fn now(&self) -> Instant {
        self.0
    }
}
