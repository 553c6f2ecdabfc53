//! The driver, on a simulated Raft and a virtual clock.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::acl::Access;
use cluster_operator::autopilot::{
    AutopilotBackend, AutopilotConfiguration, AutopilotState, Detected, Detection, FailureDetector,
    Reason, Settings,
};
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::mock::{MockAutopilot, MockClock, MockRaft};
use cluster_operator::observer::{Ended, Ending, Observer, Source, Started};
use cluster_operator::raft::{Change, ChangeKind, RaftBackend, RaftServer, RaftView, ServerStatus};
use cluster_operator::service::{Autopilot, Caller, Tick};
use cluster_operator::{
    AllowAll, NodeName, OperatorService, OperatorServiceBuilder, ServerId, Timer,
};
use futures_util::future::select;

use crate::support::{HOLD, raft, settings};

type Hook = Box<dyn FnOnce(&Lab) + Send>;

/// A cluster whose servers die and come back as the test says.
#[derive(Clone)]
struct Lab {
    raft: MockRaft,
    clock: MockClock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The dead servers, and since when.
    dead: BTreeMap<String, Duration>,
    /// What the failure detector says, true or not.
    lies: BTreeMap<String, Option<Detection>>,
    cannot_replace: bool,
    before_confirmation: Option<Hook>,
    before_change: Option<Hook>,
    /// True while no majority confirms that the leader leads.
    unconfirmed: bool,
    /// The call that never ends.
    stuck: Option<&'static str>,
    audit: Vec<String>,
}

impl Lab {
    fn new(voters: &str, spares: &str) -> Self {
        Lab {
            raft: raft(voters, spares),
            clock: MockClock::new(),
            state: Arc::default(),
        }
    }

    fn state<T>(&self, visit: impl FnOnce(&mut State) -> T) -> T {
        visit(&mut self.state.lock().unwrap())
    }

    fn kill(&self, id: &str) {
        self.raft.stop(id);
        let now = self.clock.now();
        self.state(|state| state.dead.insert(id.into(), now));
    }

    fn revive(&self, id: &str) {
        self.raft.restart(id);
        self.state(|state| state.dead.remove(id));
    }

    fn lie(&self, id: &str, status: Option<Detected>) {
        let lasted = Duration::from_secs(86_400);
        let lie = status.map(|status| Detection { status, lasted });
        self.state(|state| state.lies.insert(id.into(), lie));
    }

    fn builder(&self) -> OperatorServiceBuilder {
        OperatorService::builder("dc1")
            .raft(self.clone())
            .autopilot(self.clone())
            .authorizer(AllowAll)
            .timer(self.clock.clone())
            .observer(self.clone())
    }

    fn service(&self) -> OperatorService {
        self.builder().build().unwrap()
    }

    fn autopilot(&self, settings: Settings) -> Autopilot {
        Autopilot::new(&self.service(), self.clone(), settings)
    }

    fn run_hook(&self, take: impl FnOnce(&mut State) -> Option<Hook>) {
        if let Some(hook) = self.state(take) {
            hook(self);
        }
    }

    fn voters(&self) -> String {
        let servers = self.raft.latest().servers;
        let voters = servers.iter().filter(|server| server.is_voter());
        voters.map(|voter| voter.id.as_str()).collect()
    }

    fn tick(&self, autopilot: &mut Autopilot) -> Result<Tick, OperatorError> {
        self.clock.run(autopilot.tick())
    }

    /// Ticks every ten seconds until this much has passed.
    fn run(&self, autopilot: &mut Autopilot, seconds: u64) {
        let end = self.clock.now() + Duration::from_secs(seconds);
        while self.clock.now() < end {
            let _ = self.tick(autopilot);
            self.clock.advance(Duration::from_secs(10));
        }
    }

    /// Never ends if this is the call that is stuck.
    async fn call(&self, name: &str) {
        if self.state(|state| state.stuck == Some(name)) {
            std::future::pending().await
        }
    }

    fn audit(&self) -> Vec<String> {
        self.state(|state| state.audit.clone())
    }
}

#[async_trait]
impl RaftBackend for Lab {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        self.call("view").await;
        let mut view = self.raft.view().await?;
        let now = self.clock.now();
        let ids = view.membership.servers.iter().map(|member| &member.id);
        let dead = |id: &ServerId| self.state(|state| state.dead.get(id.as_str()).copied());
        for (id, status) in ids.zip(&mut view.status) {
            let silence =
                dead(id).map_or(Duration::ZERO, |since| now - since + Duration::from_secs(1));
            *status = std::mem::take(status).with_last_contact(silence);
            // The failure detector is asked instead.
            status.alive = ServerStatus::unknown().alive;
        }
        Ok(view)
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        self.run_hook(|state| state.before_confirmation.take());
        self.call("confirmed_view").await;
        if self.state(|state| state.unconfirmed) {
            return Err(ErrorKind::NoLeader.into());
        }
        self.raft.confirmed_view(timeout).await?;
        self.view().await
    }

    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        self.call("change_membership").await;
        match change.kind {
            ChangeKind::Remove { .. } => self.run_hook(|state| state.before_change.take()),
            ChangeKind::Replace { .. } if self.state(|state| state.cannot_replace) => {
                return Err(change.unsupported());
            }
            _ => {}
        }
        self.raft.change_membership(change).await
    }
}

#[async_trait]
impl FailureDetector for Lab {
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        self.call("detect").await;
        let now = self.clock.now();
        let servers = self.raft.latest().servers;
        let mut detected = BTreeMap::new();
        self.state(|state| {
            for server in servers {
                let id = server.id.as_str();
                let truth = match state.dead.get(id) {
                    Some(since) => Detection {
                        status: Detected::Failed,
                        lasted: now - *since,
                    },
                    None => Detection {
                        status: Detected::Alive,
                        lasted: now,
                    },
                };
                let said = state.lies.get(id).copied().unwrap_or(Some(truth));
                if let Some(said) = said {
                    detected.insert(NodeName::new(id), said);
                }
            }
        });
        Ok(detected)
    }
}

#[async_trait]
impl AutopilotBackend for Lab {
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        self.call("configuration").await;
        MockAutopilot::new(&self.raft).configuration().await
    }

    async fn set_configuration(
        &self,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        let own = MockAutopilot::new(&self.raft);
        own.set_configuration(configuration, expected_index).await
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        MockAutopilot::new(&self.raft).state().await
    }
}

impl Observer for Lab {
    fn ended(&self, started: &Started<'_>, end: &Ended<'_>) {
        if started.access == Access::Read {
            return;
        }
        assert_eq!(started.source, Source::Autopilot);
        let reason = started.reason.unwrap();
        let line = match end.ending {
            Ending::Succeeded => format!("{}: {reason}", started.operation),
            ending => format!("{}: {reason}: {ending}", started.operation),
        };
        self.state(|state| state.audit.push(line));
    }
}

#[test]
fn dead_server_is_removed_and_observed() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(settings(5, 0));
    lab.run(&mut autopilot, 60);
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abcde");
    lab.run(&mut autopilot, 10);
    assert_eq!(lab.voters(), "abcd");
    let line = "remove-peer: remove e: failed for 180 s of 180, 4 healthy voters of 4 remain";
    assert_eq!(lab.audit(), [line]);
}

#[test]
fn run_ticks_on_the_services_timer() {
    let lab = Lab::new("abcde", "");
    lab.kill("e");
    let mut ticks = 0;
    let run = lab.autopilot(settings(5, 0)).run(|_| ticks += 1);
    let end = lab.clock.sleep(Duration::from_secs(600));
    lab.clock.run(async {
        select(pin!(run), end).await;
    });
    assert_eq!(lab.voters(), "abcd");
    assert!((60..80).contains(&ticks), "{ticks}");
}

#[test]
fn dry_run_changes_nothing() {
    let lab = Lab::new("abcde", "");
    let settings = Settings::new(5, AutopilotConfiguration::default()).unwrap();
    let mut autopilot = lab.autopilot(settings);
    lab.kill("e");
    lab.run(&mut autopilot, 2 * HOLD);
    let tick = lab.tick(&mut autopilot).unwrap();
    assert_eq!(*tick.decision.action.unwrap().id(), "e");
    assert!(tick.result.is_none());
    assert_eq!(lab.voters(), "abcde");
    assert_eq!(lab.audit(), [""; 0]);
}

#[test]
fn frozen_server_stays_a_voter() {
    let lab = Lab::new("abc", "");
    let mut autopilot = lab.autopilot(settings(3, 2));
    lab.run(&mut autopilot, 60);
    for _ in 0..10 {
        lab.kill("c");
        lab.run(&mut autopilot, 30);
        lab.revive("c");
        lab.run(&mut autopilot, 60);
    }
    assert_eq!(lab.voters(), "abc");
}

#[test]
fn killed_server_of_three_is_replaced_by_a_spare() {
    let lab = Lab::new("abc", "s");
    let mut autopilot = lab.autopilot(settings(3, 0));
    lab.kill("s");
    lab.kill("c");
    lab.run(&mut autopilot, HOLD / 2);
    lab.revive("s");
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abs");
    assert_eq!(lab.raft.latest().servers.len(), 3);
}

#[test]
fn spare_is_promoted_first_if_replacing_is_unsupported() {
    let lab = Lab::new("abc", "s");
    lab.state(|state| state.cannot_replace = true);
    let mut autopilot = lab.autopilot(settings(3, 0));
    lab.run(&mut autopilot, 60);
    lab.kill("c");
    lab.run(&mut autopilot, HOLD + 60);
    assert_eq!(lab.voters(), "abs");
    let audit = lab.audit();
    let names: Vec<_> = audit
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(names, ["replace-peer", "promote-peer", "remove-peer"]);
}

#[test]
fn lying_detector_removes_nobody_that_answers() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(settings(5, 3));
    for id in ["a", "b", "c", "d", "e"] {
        lab.lie(id, Some(Detected::Failed));
    }
    lab.run(&mut autopilot, 20 * HOLD);
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn detector_that_knows_nobody_removes_nobody() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(settings(5, 3));
    lab.kill("e");
    lab.lie("e", None);
    lab.run(&mut autopilot, 20 * HOLD);
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn server_that_comes_back_before_the_confirmation_stays() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    lab.state(|state| state.before_confirmation = Some(Box::new(|lab: &Lab| lab.revive("e"))));
    let tick = lab.tick(&mut autopilot).unwrap();
    assert!(tick.decision.action.is_none() && tick.result.is_none());
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn lost_leadership_stops_it_before_the_confirmation() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let elect = |lab: &Lab| assert!(lab.raft.elect("b"));
    lab.state(|state| state.before_confirmation = Some(Box::new(elect)));
    let lost = lab.tick(&mut autopilot).unwrap_err();
    assert!(matches!(lost.kind(), ErrorKind::NotLeader { .. }));
    let tick = lab.tick(&mut autopilot).unwrap();
    assert_eq!(tick.decision.refusals[0].reason, Reason::NotLeader);
    // It observes the whole hold again after it was elected again.
    assert!(lab.raft.elect("a"));
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abcde");
    lab.run(&mut autopilot, 10);
    assert_eq!(lab.voters(), "abcd");
}

#[test]
fn spare_that_broke_before_a_failed_confirmation_is_unstable() {
    let lab = Lab::new("abcde", "s");
    let mut autopilot = lab.autopilot(settings(5, 0));
    let configuration = AutopilotConfiguration {
        server_stabilization_time: Duration::from_secs(60),
        ..AutopilotConfiguration::default()
    };
    futures_executor::block_on(lab.set_configuration(configuration, None)).unwrap();
    lab.kill("e");
    lab.kill("s");
    lab.run(&mut autopilot, 150);
    lab.revive("s");
    lab.run(&mut autopilot, 30);
    // It breaks for a moment. The removal of e is decided on, and not confirmed.
    lab.kill("s");
    lab.state(|state| state.unconfirmed = true);
    assert!(lab.tick(&mut autopilot).is_err());
    lab.revive("s");
    lab.state(|state| state.unconfirmed = false);
    lab.clock.advance(Duration::from_secs(10));
    let tick = lab.tick(&mut autopilot).unwrap();
    let coming = Reason::SpareComing { with: "s".into() };
    let mut refusals = tick.decision.refusals.iter();
    assert!(refusals.any(|it| it.reason == coming));
    lab.run(&mut autopilot, 60);
    assert_eq!(lab.voters(), "abcde");
    lab.run(&mut autopilot, 10);
    assert_eq!(lab.voters(), "abcds");
}

#[test]
fn tick_takes_the_deadline_at_most() {
    for stuck in ["configuration", "view", "detect", "confirmed_view"] {
        let lab = Lab::new("abcde", "");
        let service = lab.service();
        let mut autopilot = Autopilot::new(&service, lab.clone(), settings(5, 0));
        lab.kill("e");
        lab.run(&mut autopilot, HOLD);
        lab.state(|state| state.stuck = Some(stuck));
        let began = lab.clock.now();
        let late = lab.tick(&mut autopilot).unwrap_err();
        assert_eq!(late.kind().name(), "deadline-exceeded", "{stuck}");
        assert_eq!(late.outcome(), Outcome::NotApplied, "{stuck}");
        assert_eq!(lab.clock.now() - began, Duration::from_secs(10), "{stuck}");
        lab.state(|state| state.stuck = None);
        let anyone = Caller::anonymous();
        let state = lab.clock.run(service.autopilot_state(&anyone)).unwrap();
        assert_eq!(state.autopilot.unwrap().blocked.unwrap().rule, "input");
        assert_eq!(lab.voters(), "abcde");
    }
}

#[test]
fn late_input_is_shown_as_the_reason_until_the_next_tick_ends() {
    let lab = Lab::new("abc", "");
    let service = lab.builder().deadline(Duration::from_secs(30));
    let service = service.build().unwrap();
    lab.state(|state| state.stuck = Some("detect"));
    let run = Autopilot::new(&service, lab.clone(), settings(3, 0)).run(|_| {});
    let anyone = Caller::anonymous();
    let read = async {
        lab.clock.sleep(Duration::from_secs(31)).await;
        // The next tick begins at second 40, and ends at second 70.
        for second in 31..120 {
            let state = service.autopilot_state(&anyone).await.unwrap();
            let blocked = state.autopilot.unwrap().blocked.unwrap();
            assert_eq!(blocked.rule, "input", "{second} s: {}", blocked.reason);
            lab.clock.sleep(Duration::from_secs(1)).await;
        }
    };
    lab.clock.run(async {
        select(pin!(run), pin!(read)).await;
    });
}

#[test]
fn change_has_the_time_that_the_inputs_leave() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let slow = |lab: &Lab| lab.clock.advance(Duration::from_secs(8));
    lab.state(|state| {
        state.before_confirmation = Some(Box::new(slow));
        state.stuck = Some("change_membership");
    });
    let began = lab.clock.now();
    let late = lab
        .tick(&mut autopilot)
        .unwrap()
        .result
        .unwrap()
        .unwrap_err();
    assert_eq!(late.outcome(), Outcome::Unknown);
    assert_eq!(lab.clock.now() - began, Duration::from_secs(10));
}

#[test]
fn new_term_after_the_confirmation_stops_the_change() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let elect = |lab: &Lab| assert!(lab.raft.elect("b") && lab.raft.elect("a"));
    lab.state(|state| state.before_change = Some(Box::new(elect)));
    let tick = lab.tick(&mut autopilot).unwrap();
    let error = tick.result.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TermChanged { .. }));
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn pause_begins_when_a_slow_change_has_ended() {
    let lab = Lab::new("abcdefg", "");
    let mut autopilot = lab.autopilot(settings(7, 4));
    let configuration = AutopilotConfiguration {
        min_quorum: 4,
        ..AutopilotConfiguration::default()
    };
    let switch = MockAutopilot::new(&lab.raft);
    futures_executor::block_on(switch.set_configuration(configuration, None)).unwrap();
    lab.kill("f");
    lab.kill("g");
    lab.run(&mut autopilot, HOLD);
    let slow = |lab: &Lab| lab.clock.advance(Duration::from_secs(8));
    lab.state(|state| state.before_change = Some(Box::new(slow)));
    assert!(lab.tick(&mut autopilot).unwrap().result.unwrap().is_ok());
    lab.clock.advance(Duration::from_secs(9));
    let tick = lab.tick(&mut autopilot).unwrap();
    let (lasted, needed) = (Duration::from_secs(9), Duration::from_secs(10));
    let paused = Reason::Paused { lasted, needed };
    assert_eq!(tick.decision.refusals[0].reason, paused);
    lab.clock.advance(Duration::from_secs(1));
    lab.tick(&mut autopilot).unwrap();
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn next_tick_comes_when_the_pause_after_a_slow_change_is_over() {
    let lab = Lab::new("abcde", "");
    lab.kill("e");
    let slow = |lab: &Lab| lab.clock.advance(Duration::from_secs(8));
    lab.state(|state| state.before_change = Some(Box::new(slow)));
    let mut paused = 0;
    let run = lab.autopilot(settings(5, 0)).run(|tick| {
        let refusals = tick.as_ref().unwrap().decision.refusals.iter();
        let paused_now = refusals.filter(|it| matches!(it.reason, Reason::Paused { .. }));
        paused += paused_now.count();
    });
    let end = lab.clock.sleep(Duration::from_secs(600));
    lab.clock.run(async {
        select(pin!(run), end).await;
    });
    assert_eq!(lab.voters(), "abcd");
    assert_eq!(paused, 0);
}

#[test]
fn other_change_after_the_confirmation_stops_the_change() {
    let lab = Lab::new("abcde", "s");
    let mut autopilot = lab.autopilot(settings(5, 0));
    lab.kill("s");
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let other = |lab: &Lab| {
        let view = futures_executor::block_on(lab.raft.view()).unwrap();
        let removal = Change::remove("s", &view, Duration::from_secs(1));
        futures_executor::block_on(lab.raft.change_membership(&removal)).unwrap();
    };
    lab.state(|state| state.before_change = Some(Box::new(other)));
    let tick = lab.tick(&mut autopilot).unwrap();
    let error = tick.result.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Conflict { .. }));
    assert_eq!(lab.voters(), "abcde");
}

#[test]
fn cleanup_that_is_switched_off_stops_it_within_a_tick() {
    let lab = Lab::new("abcde", "");
    let mut autopilot = lab.autopilot(settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let configuration = AutopilotConfiguration {
        cleanup_dead_servers: false,
        ..AutopilotConfiguration::default()
    };
    let switch = MockAutopilot::new(&lab.raft);
    futures_executor::block_on(switch.set_configuration(configuration, None)).unwrap();
    lab.run(&mut autopilot, HOLD);
    assert_eq!(lab.voters(), "abcde");
    let tick = lab.tick(&mut autopilot).unwrap();
    assert_eq!(tick.decision.refusals[0].reason, Reason::CleanupOff);
}

#[test]
fn servers_of_one_name_are_unknown_to_the_detector() {
    let server = |id: &str, name: &str| {
        RaftServer::voter(id, id)
            .with_name(name)
            .with_alive(true)
            .with_last_index(0)
    };
    let twins = [server("d", "twin"), server("twin", "twin")];
    let others = ["a", "b", "c"].map(|id| server(id, id));
    let lab = Lab {
        raft: MockRaft::new(others.into_iter().chain(twins)),
        ..Lab::new("", "")
    };
    lab.kill("twin");
    let mut autopilot = lab.autopilot(settings(5, 3));
    lab.run(&mut autopilot, 10 * HOLD);
    assert_eq!(lab.voters(), "abcdtwin");
}
