//! A slow Raft passes too: the suite asks for nothing at once that an engine with sockets
//! and elections cannot do at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::mock::{Fault, MockClock, MockRaft};
use cluster_operator::raft::{Change, Leadership, RaftView};
use cluster_operator::{OperatorError, RaftBackend, Timer};
use cluster_operator_conformance::raft::Servers;

use crate::raft::Datacenter;

/// The time that a call takes.
const CALL: Duration = Duration::from_millis(150);
/// The time after which a server notices a change.
const LAG: Duration = Duration::from_millis(700);

/// A value that a server sees some time after it has changed.
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
    view: Mutex<Late<RaftView>>,
}

impl Slow {
    fn new(real: MockRaft, clock: &MockClock) -> Self {
        let nothing = RaftView::new(real.id().clone(), Arc::default());
        Slow {
            clock: clock.clone(),
            view: Mutex::new(Late::new(nothing)),
            real,
        }
    }
}

#[async_trait]
impl RaftBackend for Slow {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let real = self.real.view().await?;
        let mut view = self.view.lock().unwrap();
        if real.leadership == Leadership::Local {
            *view = Late::new(real);
            return Ok(view.seen.clone());
        }
        Ok(view.see(real, self.clock.now()))
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        self.real.confirmed_view(timeout).await
    }

    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        self.real.change_membership(change).await?;
        self.clock.sleep(CALL).await;
        Ok(())
    }
}

fn slow(clock: &MockClock, wanted: Servers) -> Datacenter {
    let mut datacenter = Datacenter::new(clock, wanted);
    datacenter.federation.inject(Fault::slow_raft("dc1", CALL));
    datacenter.write = CALL;
    datacenter.with_backends(|real| Slow::new(real, clock))
}

#[test]
fn slow_raft_passes() {
    let clock = MockClock::new();
    let cluster = async |wanted| Ok(slow(&clock, wanted));
    let report = clock.run(cluster_operator_conformance::raft_backend(cluster));
    report.assert();
    // It does not implement the transfer of the lead.
    let skipped: Vec<_> = report.skipped().map(|check| check.name).collect();
    assert_eq!(skipped.len(), 2, "{report}");
}
