//! A server on the other side, which writes down what it is asked.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{PeersFixture, Place};
use crate::acl::AllowAll;
use crate::conformance::verdict::Stop;
use crate::error::OperatorError;
use crate::keyring::{GossipKey, KeyringBackend, NodeFailure, Pool, RelayFactor, RingReport};
use crate::name::DatacenterName;
use crate::peers::{Peers, Target};
use crate::raft::{
    Consistency, LeaderHint, Leadership, PeerSelector, RaftBackend, RaftConfiguration,
};
use crate::reply::OperatorReply;
use crate::request::OperatorRequest;
use crate::service::OperatorService;
use crate::time::{Sleep, Timer};

pub(super) type Answer = Result<OperatorReply, OperatorError>;

/// What it answers; `None` if it never does.
type Answerer = Arc<dyn Fn(&OperatorRequest) -> Option<Answer> + Send + Sync>;

/// The server. It does not lead, so its service hands every request on, and what
/// it is handed on to is this again: here the request is seen whole.
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

    /// One that always answers the same.
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

    /// Forgets what has arrived, and says what that was.
    pub(super) fn take(&self) -> Vec<OperatorRequest> {
        std::mem::take(&mut lock(&self.asked))
    }

    /// Its service, in this datacenter.
    pub(super) fn service(&self, datacenter: &str) -> Result<OperatorService, Stop> {
        let service = OperatorService::builder(datacenter)
            .raft(self.clone())
            .keyring(self.clone())
            .authorizer(AllowAll)
            .peers(self.clone())
            .timer(Standstill)
            .hop_limit(u8::MAX)
            .build();
        service.map_err(|error| Stop::failed("a service", error.to_string()))
    }

    /// Starts it here.
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

#[async_trait]
impl RaftBackend for Far {
    fn leadership(&self) -> Leadership {
        Leadership::Elsewhere(LeaderHint {
            id: "far".into(),
            address: "far".into(),
        })
    }

    async fn configuration(&self, _: Consistency) -> Result<RaftConfiguration, OperatorError> {
        Err(OperatorError::unsupported("Raft"))
    }

    async fn remove_server(&self, _: &PeerSelector, _: Option<u64>) -> Result<(), OperatorError> {
        Err(OperatorError::unsupported("Raft"))
    }
}

#[async_trait]
impl Peers for Far {
    fn datacenters(&self) -> Vec<DatacenterName> {
        Vec::new()
    }

    async fn send(&self, _: &Target, request: OperatorRequest, _: Duration) -> Answer {
        let answerer = Arc::clone(&lock(&self.answerer));
        let answer = answerer(&request);
        lock(&self.asked).push(request);
        match answer {
            Some(answer) => answer,
            None => pending().await,
        }
    }
}

/// A ring that reports what it is asked.
#[async_trait]
impl KeyringBackend for Far {
    fn pool(&self) -> Pool {
        Pool::Lan
    }

    async fn list(&self, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Ok(RingReport::new(0))
    }

    async fn install(
        &self,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError> {
        let mut report = RingReport::new(usize::from(u8::from(relay)));
        report.holds(std::slice::from_ref(key));
        Ok(report)
    }

    async fn use_key(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
        Err(OperatorError::backend("the ring is \"gone\""))
    }

    async fn remove(&self, _: &GossipKey, _: RelayFactor) -> Result<RingReport, OperatorError> {
        let mut report = RingReport::new(2);
        report.failed("alice".into(), NodeFailure::PrimaryKey);
        report.done();
        Ok(report)
    }
}

/// A clock that stands still: the deadlines are the checks' own.
struct Standstill;

impl Timer for Standstill {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(pending())
    }
}
