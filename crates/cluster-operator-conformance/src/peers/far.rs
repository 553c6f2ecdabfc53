//! A server on the other side, which records what it is asked.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{PeersFixture, Place};
use crate::verdict::Stop;
use cluster_operator::OperatorService;
use cluster_operator::acl::AllowAll;
use cluster_operator::error::{ErrorKind, OperatorError};
use cluster_operator::keyring::{
    GossipQuery, KeyChange, KeyringBackend, NodeFailure, NodeKeys, Pool,
};
use cluster_operator::operation::OperatorReply;
use cluster_operator::operation::OperatorRequest;
use cluster_operator::peers::{Envelope, EnvelopeReply, Peers, SendError, Target};
use cluster_operator::raft::{LeaderHint, Leadership, RaftBackend, RaftView, Removal};
use cluster_operator::timer::{Sleep, Timer};
use cluster_operator::types::{DatacenterName, NodeName};

pub(super) type Answer = Result<OperatorReply, OperatorError>;

/// Makes the answer; `None` to leave the request unanswered.
type Answerer = Arc<dyn Fn(&OperatorRequest) -> Option<Answer> + Send + Sync>;

/// The server. It does not lead, so its service forwards every request, and the
/// peers that it forwards to are this again: here the request is seen whole.
#[derive(Clone)]
pub(super) struct Far {
    answerer: Arc<Mutex<Answerer>>,
    asked: Arc<Mutex<Vec<OperatorRequest>>>,
}

impl Far {
    pub(super) fn new(
        answerer: impl Fn(&OperatorRequest) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Far {
            answerer: Arc::new(Mutex::new(Arc::new(answerer))),
            asked: Arc::default(),
        }
    }

    /// A server that always answers the same.
    pub(super) fn answering(answer: Answer) -> Self {
        Far::new(move |_| Some(answer.clone()))
    }

    /// Changes what it always answers.
    pub(super) fn answer(&self, answer: Answer) {
        *lock(&self.answerer) = Arc::new(move |_| Some(answer.clone()));
    }

    /// What has arrived so far.
    pub(super) fn asked(&self) -> Vec<OperatorRequest> {
        lock(&self.asked).clone()
    }

    /// What has arrived since the last time.
    pub(super) fn take(&self) -> Vec<OperatorRequest> {
        std::mem::take(&mut lock(&self.asked))
    }

    /// Its service, in this datacenter.
    pub(super) fn service(&self, datacenter: &str) -> Result<OperatorService, Stop> {
        let leader = LeaderHint {
            id: "far".into(),
            address: "far".into(),
        };
        let service = OperatorService::builder(datacenter)
            .raft(Follower(leader))
            .keyring(self.clone())
            .authorizer(AllowAll)
            .peers(self.clone())
            .timer(Standstill)
            .hop_limit(u8::MAX)
            .build();
        service.map_err(|error| Stop::failed("a service", error.to_string()))
    }

    /// Starts it in the datacenter of the server that asks.
    pub(super) async fn here(&self, peers: &dyn PeersFixture) -> Result<Target, Stop> {
        let service = self.service("dc1")?;
        Ok(peers.serve(Place::Here, service).await?)
    }

    /// Starts it in another datacenter.
    pub(super) async fn there(
        &self,
        peers: &dyn PeersFixture,
        datacenter: &str,
    ) -> Result<Target, Stop> {
        let service = self.service(datacenter)?;
        let place = Place::Datacenter(datacenter.into());
        Ok(peers.serve(place, service).await?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The service of a server that asks through the peers under test, and takes this
/// server for its leader.
pub(super) fn asking(
    peers: &dyn PeersFixture,
    leader: &LeaderHint,
) -> Result<OperatorService, Stop> {
    let service = OperatorService::builder("dc1")
        .raft(Follower(leader.clone()))
        .authorizer(AllowAll)
        .peers(peers.peers())
        .timer(Standstill)
        .build();
    service.map_err(|error| Stop::failed("a service", error.to_string()))
}

/// A Raft that takes another server for the leader.
struct Follower(LeaderHint);

#[async_trait]
impl RaftBackend for Follower {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let mut view = RaftView::new("follower", Arc::default());
        view.leadership = Leadership::Remote(self.0.clone());
        Ok(view)
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        Err(self.not_leader())
    }

    async fn remove_server(&self, _: &Removal) -> Result<(), OperatorError> {
        Err(self.not_leader())
    }
}

impl Follower {
    fn not_leader(&self) -> OperatorError {
        let leader = Some(self.0.clone());
        ErrorKind::NotLeader { leader }.into()
    }
}

#[async_trait]
impl Peers for Far {
    fn datacenters(&self) -> Vec<DatacenterName> {
        Vec::new()
    }

    async fn send(
        &self,
        _: &Target,
        envelope: Envelope,
        _: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        let call = envelope
            .request()
            .map_err(|error| SendError::not_sent(error.to_string()))?;
        let answerer = Arc::clone(&lock(&self.answerer));
        let answer = answerer(&call);
        lock(&self.asked).push(call);
        match answer {
            Some(answer) => Ok(EnvelopeReply::new(&answer)),
            None => pending().await,
        }
    }
}

/// A ring that reports what it is asked.
#[async_trait]
impl KeyringBackend for Far {
    fn pool(&self) -> &Pool {
        &Pool::Lan
    }

    async fn list(&self, query: &GossipQuery) -> Result<(), OperatorError> {
        query.answers.asking(["alice".into()]);
        Ok(())
    }

    async fn change(&self, change: &KeyChange, query: &GossipQuery) -> Result<(), OperatorError> {
        let [alice, bob] = ["alice", "bob"].map(NodeName::from);
        query.answers.asking([alice.clone(), bob.clone()]);
        match change {
            KeyChange::Install(key) => {
                let relay = format!("relay {}", query.relay.get());
                let keys = NodeKeys::ring([key.clone()]).with_note(relay);
                query.answers.answered(&alice, Ok(keys));
            }
            KeyChange::Use(_) => return Err(OperatorError::backend("the ring is \"gone\"")),
            KeyChange::Remove(_) => {
                let refused = Err(NodeFailure::PrimaryKey);
                query.answers.answered(&alice, refused);
                query.answers.answered(&bob, Ok(NodeKeys::done()));
            }
        }
        Ok(())
    }
}

/// A clock that stands still: the deadlines are the checks' own.
struct Standstill;

impl Timer for Standstill {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(pending())
    }
}
