//! A Raft that takes its time passes too: nothing is so at once that an engine
//! with sockets and elections cannot have at once.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::conformance::raft::{Member, RaftFixture, Servers};
use cluster_operator::conformance::{self, Fixture, NotSupported};
use cluster_operator::mock::{Fault, MockClock, MockRaft};
use cluster_operator::{
    Consistency, Leadership, OperatorError, PeerSelector, RaftBackend, RaftConfiguration, ServerId,
    Timer,
};

use crate::raft::Datacenter;

/// How long a call takes.
const CALL: Duration = Duration::from_millis(150);
/// How long a server does not notice that something has changed.
const LAG: Duration = Duration::from_millis(700);

/// What a server sees of something that changes, some time later.
struct Late<T> {
    seen: T,
    changed: Option<Duration>,
}

impl<T: Clone + PartialEq> Late<T> {
    fn new(seen: T) -> Self {
        Late {
            seen,
            changed: None,
        }
    }

    fn see(&mut self, real: T, now: Duration) -> T {
        if real == self.seen {
            self.changed = None;
        } else if now >= *self.changed.get_or_insert(now) + LAG {
            self.seen = real;
            self.changed = None;
        }
        self.seen.clone()
    }
}

struct Slow {
    real: MockRaft,
    clock: MockClock,
    leadership: Mutex<Late<Leadership>>,
    view: Mutex<Late<RaftConfiguration>>,
}

impl Slow {
    fn new(real: MockRaft, clock: &MockClock) -> Self {
        Slow {
            clock: clock.clone(),
            leadership: Mutex::new(Late::new(Leadership::None)),
            view: Mutex::new(Late::new(real.latest())),
            real,
        }
    }
}

#[async_trait]
impl RaftBackend for Slow {
    fn leadership(&self) -> Leadership {
        let mut leadership = self.leadership.lock().unwrap();
        leadership.see(self.real.leadership(), self.clock.now())
    }

    async fn configuration(
        &self,
        consistency: Consistency,
    ) -> Result<RaftConfiguration, OperatorError> {
        let read = self.real.configuration(consistency).await?;
        if self.real.leadership() == Leadership::Local {
            return Ok(read);
        }
        Ok(self.view.lock().unwrap().see(read, self.clock.now()))
    }

    async fn remove_server(
        &self,
        server: &PeerSelector,
        expected: Option<u64>,
    ) -> Result<(), OperatorError> {
        self.real.remove_server(server, expected).await?;
        self.clock.sleep(CALL).await;
        Ok(())
    }
}

struct SlowDatacenter {
    sound: Datacenter,
    /// Made once: what a server has noticed belongs to it.
    members: Vec<Member>,
}

impl SlowDatacenter {
    fn new(clock: &MockClock, wanted: Servers) -> Self {
        let sound = Datacenter::new(clock, wanted);
        sound.federation.inject(Fault::slow_raft("dc1", CALL));
        SlowDatacenter {
            members: sound.members_with(|real| Slow::new(real, clock)),
            sound,
        }
    }
}

#[async_trait]
impl Fixture for SlowDatacenter {
    fn timer(&self) -> &dyn Timer {
        self.sound.timer()
    }
}

#[async_trait]
impl RaftFixture for SlowDatacenter {
    fn members(&self) -> Vec<Member> {
        self.members.clone()
    }

    async fn stop(&self, server: &ServerId) -> Result<(), NotSupported> {
        self.sound.stop(server).await
    }

    async fn isolate(&self, server: &ServerId) -> Result<(), NotSupported> {
        self.sound.isolate(server).await
    }
}

#[test]
fn a_raft_that_takes_its_time_passes() {
    let clock = MockClock::new();
    let cluster = async |wanted| Ok(SlowDatacenter::new(&clock, wanted));
    let report = clock.run(conformance::raft_backend(cluster));
    report.assert();
    // It has left the transfer of the lead at the default.
    let skipped: Vec<_> = report.skipped().map(|check| check.name).collect();
    assert_eq!(skipped.len(), 5, "{report}");
}
