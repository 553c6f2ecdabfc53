//! A simulated datacenter under the Raft suite.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::mock::{Fault, FaultId, MockClock, MockFederation, MockRaft};
use cluster_operator::raft::PendingChange;
use cluster_operator::{RaftBackend, ServerId, Timer};
use cluster_operator_conformance::raft::{CHECKS, Member, RaftFixture, Servers};
use cluster_operator_conformance::{CheckResult, Fixture, NotSupported};

pub(crate) struct Datacenter {
    clock: MockClock,
    pub(crate) federation: MockFederation,
    members: Vec<Member>,
    /// The faults of each server that was cut off.
    cut: Mutex<Vec<(ServerId, FaultId)>>,
    /// The time that a write takes.
    pub(crate) write: Duration,
}

impl Datacenter {
    pub(crate) fn new(clock: &MockClock, wanted: Servers) -> Self {
        let voters = (0..wanted.voters).map(|number| format!("voter-{number}"));
        let nonvoters = (0..wanted.nonvoters).map(|number| format!("nonvoter-{number}"));
        let federation = MockFederation::builder()
            .datacenter("dc1", voters.chain(nonvoters.clone()))
            .nonvoters(nonvoters)
            .clock(clock)
            .build();
        let datacenter = Datacenter {
            clock: clock.clone(),
            federation,
            members: Vec::new(),
            cut: Mutex::default(),
            write: Duration::ZERO,
        };
        datacenter.with_backends(|raft| raft)
    }

    /// Tests the backends that `backend` makes of the servers' Rafts.
    pub(crate) fn with_backends<B: RaftBackend + 'static>(
        mut self,
        backend: impl Fn(MockRaft) -> B,
    ) -> Self {
        let servers = self.federation.servers("dc1").into_iter();
        let rafts = servers.map(|server| self.federation.raft(server));
        let members = rafts.map(|raft| {
            let address = raft.address().unwrap();
            Member::new(raft.id().clone(), address, backend(raft))
        });
        self.members = members.collect();
        self
    }

    /// The name of the server with this id.
    fn name(&self, id: &ServerId) -> String {
        let servers = self.federation.servers("dc1");
        let mut names = servers.iter().map(|name| name.as_str());
        let named = names.find(|name| self.federation.raft(*name).id() == id);
        named.unwrap().into()
    }
}

#[async_trait]
impl Fixture for Datacenter {
    fn timer(&self) -> &dyn Timer {
        &self.clock
    }
}

#[async_trait]
impl RaftFixture for Datacenter {
    fn members(&self) -> Vec<Member> {
        self.members.clone()
    }

    async fn stop(&self, server: &ServerId) -> Result<(), NotSupported> {
        self.federation.stop(self.name(server));
        Ok(())
    }

    async fn isolate(&self, server: &ServerId) -> Result<(), NotSupported> {
        let name = self.name(server);
        let mut others = self.federation.servers("dc1");
        others.retain(|other| other.as_str() != name);
        let fault = self.federation.inject(Fault::partition([name], others));
        self.cut.lock().unwrap().push((server.clone(), fault));
        Ok(())
    }

    async fn lose_at_change(&self, server: &ServerId) -> Result<(), NotSupported> {
        let fault = Fault::lose_at_change(self.name(server));
        let fault = self.federation.inject(fault);
        self.cut.lock().unwrap().push((server.clone(), fault));
        Ok(())
    }

    async fn reconnect(&self, server: &ServerId) -> Result<(), NotSupported> {
        for (_, fault) in self
            .cut
            .lock()
            .unwrap()
            .extract_if(.., |(id, _)| id == server)
        {
            self.federation.heal(fault);
        }
        Ok(())
    }

    async fn leave_unfinished(
        &self,
        removal: &ServerId,
        at: PendingChange,
    ) -> Result<(), NotSupported> {
        let fault = Fault::unfinished_removal(self.name(removal), at);
        self.federation.inject(fault);
        Ok(())
    }

    async fn write(&self) -> Result<bool, NotSupported> {
        self.clock.sleep(self.write).await;
        Ok(self.federation.leader("dc1").is_some())
    }
}

#[test]
fn mock_passes() {
    let clock = MockClock::new();
    let cluster = async |wanted| Ok(Datacenter::new(&clock, wanted));
    clock
        .run(cluster_operator_conformance::raft_backend(cluster))
        .assert_complete();
}

#[test]
fn fixture_of_other_servers_fails() {
    let clock = MockClock::new();
    let number = CHECKS[0].wanted.voters + CHECKS[0].wanted.nonvoters;
    let stubborn = async |_| Ok(Datacenter::new(&clock, CHECKS[0].wanted));
    let report = clock.run(cluster_operator_conformance::raft_backend(stubborn));
    assert!(report.passed().count() > 0, "{report}");
    for (check, checked) in CHECKS.iter().zip(report.checks()) {
        let wanted = check.wanted.voters + check.wanted.nonvoters;
        match &checked.result {
            CheckResult::Failed { expected, seen } if wanted != number => {
                assert!(expected.contains("a fixture of"), "{report}");
                assert!(seen.contains("a fixture of"), "{report}");
            }
            _ => assert_eq!(wanted, number, "{report}"),
        }
    }
}
