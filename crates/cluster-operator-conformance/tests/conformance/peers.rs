//! The simulated peers under the suite for peers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::mock::{MockClock, MockPeers};
use cluster_operator::peers::{EnvelopeReply, SendError, Target};
use cluster_operator::raft::LeaderHint;
use cluster_operator::{DatacenterName, Envelope, OperatorService, Peers, Timer};
use cluster_operator_conformance::peers::PeersFixture;
use cluster_operator_conformance::{Fixture, NotSupported};

pub(crate) type Sent = Result<EnvelopeReply, SendError>;

pub(crate) struct Simulated {
    clock: MockClock,
    peers: Faulty,
    /// The transport that is tested.
    tested: Arc<dyn Peers>,
    servers: AtomicUsize,
}

/// The simulated peers, and what is wrong with some of the servers.
#[derive(Clone, Default)]
pub(crate) struct Faulty {
    peers: MockPeers,
    faults: Arc<Mutex<Vec<(Target, Fault)>>>,
}

#[derive(Clone)]
enum Fault {
    Down,
    LosesReplies,
    Replies(Vec<u8>),
}

impl Faulty {
    fn set(&self, target: &Target, fault: Fault) {
        self.faults.lock().unwrap().push((target.clone(), fault));
    }

    /// The latest one.
    fn fault(&self, target: &Target) -> Option<Fault> {
        let faults = self.faults.lock().unwrap();
        let mut faults = faults.iter().rev();
        let found = faults.find(|(at, _)| at == target)?;
        Some(found.1.clone())
    }
}

#[async_trait]
impl Peers for Faulty {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.peers.datacenters()
    }

    async fn send(&self, target: &Target, envelope: Envelope, timeout: Duration) -> Sent {
        let fault = self.fault(target);
        if let Some(Fault::Down) = fault {
            return Err(SendError::not_sent("nobody listens there"));
        }
        let reply = self.peers.send(target, envelope, timeout).await?;
        match fault {
            Some(Fault::LosesReplies) => Err(SendError::lost("the connection was reset")),
            Some(Fault::Replies(bytes)) => Ok(EnvelopeReply::from_bytes(bytes)),
            _ => Ok(reply),
        }
    }
}

impl Simulated {
    pub(crate) fn new(clock: &MockClock) -> Self {
        Simulated::with_peers(clock, |peers| peers)
    }

    /// Tests the transport that `tested` makes of the peers.
    pub(crate) fn with_peers<P: Peers + 'static>(
        clock: &MockClock,
        tested: impl FnOnce(Faulty) -> P,
    ) -> Self {
        let peers = Faulty::default();
        Simulated {
            clock: clock.clone(),
            tested: Arc::new(tested(peers.clone())),
            peers,
            servers: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Fixture for Simulated {
    fn timer(&self) -> &dyn Timer {
        &self.clock
    }
}

#[async_trait]
impl PeersFixture for Simulated {
    fn peers(&self) -> Arc<dyn Peers> {
        Arc::clone(&self.tested)
    }

    async fn serve(
        &self,
        datacenter: Option<DatacenterName>,
        service: OperatorService,
    ) -> Result<Target, NotSupported> {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let target = match datacenter {
            None => Target::Server(LeaderHint {
                id: format!("server-{number}").into(),
                address: format!("10.0.0.{number}:8300").into(),
            }),
            Some(datacenter) => Target::Datacenter(datacenter),
        };
        self.peers.peers.add_service(target.clone(), service);
        Ok(target)
    }

    async fn stop(&self, target: &Target) -> Result<(), NotSupported> {
        self.peers.set(target, Fault::Down);
        Ok(())
    }

    async fn lose_answers(&self, target: &Target) -> Result<(), NotSupported> {
        self.peers.set(target, Fault::LosesReplies);
        Ok(())
    }

    async fn replace_replies(&self, target: &Target, reply: Vec<u8>) -> Result<(), NotSupported> {
        self.peers.set(target, Fault::Replies(reply));
        Ok(())
    }
}

#[test]
fn mock_passes() {
    let clock = MockClock::new();
    let peers = async |()| Ok(Simulated::new(&clock));
    clock
        .run(cluster_operator_conformance::peers(peers))
        .assert_complete();
}
