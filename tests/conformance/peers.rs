//! The simulated peers under the suite for peers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cluster_operator::conformance::peers::{PeersFixture, Place};
use cluster_operator::conformance::{self, Fixture, NotSupported};
use cluster_operator::mock::{MockClock, MockPeers};
use cluster_operator::{
    ErrorKind, LeaderHint, OperatorError, OperatorService, Outcome, Peers, Target, Timer,
};

pub(crate) struct Simulated {
    clock: MockClock,
    pub(crate) peers: MockPeers,
    servers: AtomicUsize,
    services: Mutex<Vec<(Target, OperatorService)>>,
}

impl Simulated {
    pub(crate) fn new(clock: &MockClock) -> Self {
        Simulated {
            clock: clock.clone(),
            peers: MockPeers::new(),
            servers: AtomicUsize::new(0),
            services: Mutex::default(),
        }
    }

    /// Lets a server end every request in this error, after having done it if
    /// `serves` says so.
    fn fail(&self, target: &Target, serves: bool, error: OperatorError) {
        let services = self.services.lock().unwrap();
        let (_, service) = services.iter().find(|(named, _)| named == target).unwrap();
        let service = service.clone();
        // With an answer in place of the same one's, as `MockPeers` has it.
        drop(
            self.peers
                .clone()
                .with_answer(target.clone(), move |request| {
                    let (service, error) = (service.clone(), error.clone());
                    async move {
                        if serves {
                            drop(service.call(request).await);
                        }
                        Err(error)
                    }
                }),
        );
    }
}

fn unreachable(reason: &str) -> OperatorError {
    OperatorError::new(ErrorKind::Unreachable {
        target: "server".into(),
        reason: reason.into(),
    })
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
        Arc::new(self.peers.clone())
    }

    async fn serve(&self, place: Place, service: OperatorService) -> Result<Target, NotSupported> {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let target = match place {
            Place::Here => Target::Server(LeaderHint {
                id: format!("server-{number}").into(),
                address: format!("10.0.0.{number}:8300").into(),
            }),
            Place::Datacenter(datacenter) => Target::Datacenter(datacenter),
            other => return Err(NotSupported::new(format!("no place such as {other:?}"))),
        };
        self.peers.add_service(target.clone(), service.clone());
        self.services
            .lock()
            .unwrap()
            .push((target.clone(), service));
        Ok(target)
    }

    async fn stop(&self, target: &Target) -> Result<(), NotSupported> {
        self.fail(target, false, unreachable("nobody listens there"));
        Ok(())
    }

    async fn lose_answers(&self, target: &Target) -> Result<(), NotSupported> {
        let reset = unreachable("the connection was reset").with_outcome(Outcome::Unknown);
        self.fail(target, true, reset);
        Ok(())
    }
}

#[test]
fn the_mock_keeps_the_rules_of_peers() {
    let clock = MockClock::new();
    let peers = async || Ok(Simulated::new(&clock));
    clock.run(conformance::peers(peers)).assert_complete();
}

mod one_by_one {
    use super::*;

    thread_local! {
        /// The clock of the test that this thread runs.
        static CLOCK: MockClock = MockClock::new();
    }

    conformance::peers_tests! {
        factory = async || Ok(Simulated::new(&CLOCK.with(Clone::clone))),
        block_on = |test| CLOCK.with(Clone::clone).run(test),
    }
}
