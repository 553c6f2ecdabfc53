//! Autopilot's settings and what it shows, over HTTP in each dialect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::autopilot::{
    AutopilotBackend, AutopilotConfiguration, AutopilotState, Detected, Detection, DriverChange,
    FailureDetector, HealthTracker, Settings, ValueChange,
};
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::diagnosis::{Finding, FindingKind, Severity};
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::mock::{MockAutopilot, MockClock, MockPeers, MockRaft};
use cluster_operator::peers::Target;
use cluster_operator::raft::{Change, ChangeKind, LeaderHint, RaftBackend, RaftView};
use cluster_operator::service::{Autopilot, Caller};
use cluster_operator::{AllowAll, NodeName, OperatorService, Timer};
use futures_util::future::{join, select};
use serde_json::{Value, json};

use crate::support::{HOLD, raft, settings};

const CONSUL: [Dialect; 2] = [Dialect::Consul1_17, Dialect::Consul1_10];

/// A server of a simulated cluster, whose servers die when the test says so.
#[derive(Clone)]
struct Site {
    raft: MockRaft,
    clock: MockClock,
    /// The dead servers, and since when.
    dead: Arc<Mutex<BTreeMap<String, Duration>>>,
    /// The servers that the failure detector does not know.
    unknown: Arc<Mutex<BTreeSet<String>>>,
    /// True while no removal can be proven.
    unproven: Arc<AtomicBool>,
    /// True while the failure detector cannot be read.
    deaf: Arc<AtomicBool>,
    /// True while the Raft cannot be read.
    blind: Arc<AtomicBool>,
    /// True while each change takes five seconds.
    slow: Arc<AtomicBool>,
}

impl Site {
    /// The leader `a` of these voters, with spares.
    fn new(voters: &str, spares: &str) -> Self {
        Site {
            raft: raft(voters, spares),
            clock: MockClock::new(),
            dead: Arc::default(),
            unknown: Arc::default(),
            unproven: Arc::default(),
            deaf: Arc::default(),
            blind: Arc::default(),
            slow: Arc::default(),
        }
    }

    /// Another server of the same cluster.
    fn at(&self, id: &str) -> Self {
        Site {
            raft: self.raft.at(id),
            ..self.clone()
        }
    }

    fn service(&self) -> OperatorService {
        let service = OperatorService::builder("dc1")
            .raft(self.clone())
            .autopilot(MockAutopilot::new(&self.raft))
            .authorizer(AllowAll)
            .timer(self.clock.clone());
        service.build().unwrap()
    }

    fn autopilot(&self, service: &OperatorService, settings: Settings) -> Autopilot {
        Autopilot::new(service, self.clone(), settings)
    }

    fn kill(&self, id: &str) {
        self.raft.stop(id);
        let now = self.clock.now();
        self.dead.lock().unwrap().insert(id.into(), now);
    }

    /// Ticks every ten seconds until this much has passed.
    fn run(&self, autopilot: &mut Autopilot, seconds: u64) {
        for _ in 0..seconds / 10 {
            let _ = self.clock.run(autopilot.tick());
            self.clock.advance(Duration::from_secs(10));
        }
    }

    fn ask(
        &self,
        service: &OperatorService,
        dialect: Dialect,
        method: &str,
        target: &str,
        body: &str,
    ) -> Response {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let request = Request {
            method,
            path: &format!("/v1/operator/autopilot/{path}"),
            query,
            headers: &[],
            body: body.as_bytes().to_vec().into(),
        };
        self.clock.run(Wire::new(dialect).serve(service, request))
    }

    fn read(&self, service: &OperatorService, dialect: Dialect, target: &str) -> Value {
        let response = self.ask(service, dialect, "GET", target, "");
        serde_json::from_slice(&response.body).unwrap()
    }

    fn state(&self, service: &OperatorService) -> Value {
        self.read(service, Dialect::Precise, "state")
    }

    /// Changes the configuration. Returns the status and the text.
    fn put(&self, service: &OperatorService, dialect: Dialect, body: &str) -> (u16, String) {
        let response = self.ask(service, dialect, "PUT", "configuration", body);
        (
            response.status,
            String::from_utf8(response.body.to_vec()).unwrap(),
        )
    }
}

#[async_trait]
impl RaftBackend for Site {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        if self.blind.load(Relaxed) {
            return Err(OperatorError::backend("the log is gone"));
        }
        let mut view = self.raft.view().await?;
        let ids = view.membership.servers.iter().map(|member| &member.id);
        for (id, status) in ids.zip(&mut view.status) {
            let dead = self.dead.lock().unwrap().get(id.as_str()).copied();
            let silence = dead.map(|since| self.clock.now() - since + Duration::from_secs(1));
            *status = std::mem::take(status).with_last_contact(silence.unwrap_or_default());
        }
        Ok(view)
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        self.raft.confirmed_view(timeout).await?;
        self.view().await
    }

    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        let removes = matches!(change.kind, ChangeKind::Remove { .. });
        if removes && self.unproven.load(Relaxed) {
            return Err(OperatorError::new(ErrorKind::QuorumUnproven {
                confirmed: 2,
                needed: 3,
                after: change.timeout,
            }));
        }
        if self.slow.load(Relaxed) {
            self.clock.sleep(Duration::from_secs(5)).await;
        }
        self.raft.change_membership(change).await
    }
}

#[async_trait]
impl FailureDetector for Site {
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        if self.deaf.load(Relaxed) {
            return Err(OperatorError::backend("the gossip is gone"));
        }
        let now = self.clock.now();
        let (dead, unknown) = (self.dead.lock().unwrap(), self.unknown.lock().unwrap());
        let servers = self.raft.latest().servers.into_iter();
        let known = servers.filter(|server| !unknown.contains(server.id.as_str()));
        let detected = known.map(|server| {
            let (status, since) = match dead.get(server.id.as_str()) {
                Some(since) => (Detected::Failed, *since),
                None => (Detected::Alive, Duration::ZERO),
            };
            let lasted = now - since;
            (
                NodeName::new(server.id.as_str()),
                Detection { status, lasted },
            )
        });
        Ok(detected.collect())
    }
}

/// The embedder's settings of a dry run.
fn dry(intended: usize) -> Settings {
    Settings::new(intended, AutopilotConfiguration::default()).unwrap()
}

#[test]
fn settings_in_force_are_shown_on_each_server() {
    let site = Site::new("abcde", "");
    let follower = site.at("b");
    let (leads, follows) = (site.service(), follower.service());
    let _leads = site.autopilot(&leads, dry(5));
    let _follows = follower.autopilot(&follows, dry(5));
    for (service, target) in [(&leads, "configuration"), (&follows, "configuration?stale")] {
        let shown = site.read(service, Dialect::Precise, target);
        assert_eq!(shown["FailedHold"], "3m0s");
        assert_eq!(shown["IntendedSize"], 5);
        assert_eq!(shown["DryRun"], true);
    }
    for dialect in CONSUL {
        let shown = site.read(&leads, dialect, "configuration");
        assert_eq!(shown.as_object().unwrap().len(), 10, "{shown}");
    }
}

#[test]
fn put_sets_keeps_and_resets_what_consul_lacks() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, dry(5));
    let done = (200, "true".to_owned());
    let put = |dialect, body: &str| assert_eq!(site.put(&service, dialect, body), done);
    let shown = || {
        let shown = site.read(&service, Dialect::Precise, "configuration");
        let named = ["FailedHold", "IntendedSize", "DryRun", "MaxTrailingLogs"];
        Value::from_iter(named.map(|name| shown[name].clone()))
    };
    let body = r#"{"FailedHold":"1m","IntendedSize":3,"DryRun":false,"MaxTrailingLogs":7}"#;
    put(Dialect::Precise, body);
    assert_eq!(shown(), json!(["1m0s", 3, false, 7]));
    site.run(&mut autopilot, 20);
    let report = &site.state(&service)["Autopilot"];
    assert_eq!(report["FailedHold"], "1m0s");
    assert_eq!(report["DryRun"], false);

    // A client that knows nothing of them keeps them.
    put(Dialect::Precise, r#"{"MaxTrailingLogs":8}"#);
    assert_eq!(shown(), json!(["1m0s", 3, false, 8]));
    for (dialect, logs) in CONSUL.into_iter().zip([9, 10]) {
        put(
            dialect,
            &format!(r#"{{"CleanupDeadServers":true,"MaxTrailingLogs":{logs}}}"#),
        );
        assert_eq!(shown(), json!(["1m0s", 3, false, logs]));
    }
    put(Dialect::Precise, r#"{"failedhold":null,"DryRun":true}"#);
    assert_eq!(shown(), json!(["3m0s", 3, true, 250]));
    put(Dialect::Precise, r#"{"IntendedSize":null,"DryRun":null}"#);
    assert_eq!(shown(), json!(["3m0s", 5, true, 250]));
}

#[test]
fn consul_dialects_know_no_other_setting() {
    let site = Site::new("abc", "");
    let service = site.service();
    let _autopilot = site.autopilot(&service, dry(3));
    for dialect in CONSUL {
        for name in ["FailedHold", "IntendedSize", "DryRun"] {
            let body = format!(r#"{{"{name}":null}}"#);
            let (status, text) = site.put(&service, dialect, &body);
            assert_eq!(status, 400);
            let unknown = format!(r#"json: unknown field "{name}""#);
            assert!(text.contains(&unknown), "{text}");
        }
    }
}

#[test]
fn nonsense_is_refused_with_the_way_out() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let _autopilot = site.autopilot(&service, dry(5));
    let before = site.read(&service, Dialect::Precise, "configuration");
    for (body, reason) in [
        (
            r#"{"FaildHold":"1m"}"#,
            r#"unknown field "FaildHold": did you mean "FailedHold"?"#,
        ),
        (
            r#"{"MinQuorums":3}"#,
            r#"unknown field "MinQuorums": did you mean "MinQuorum"?"#,
        ),
        (
            r#"{"FailedHold":"-1m"}"#,
            r#""FailedHold" must not be negative"#,
        ),
        (
            r#"{"IntendedSize":-5}"#,
            r#""IntendedSize" must be a whole number from 0 on, not -5"#,
        ),
        (
            r#"{"DryRun":"yes"}"#,
            r#""DryRun" must be true or false, not a string"#,
        ),
        (
            r#"{"FailedHold":"soon"}"#,
            r#""FailedHold" must be a duration such as "200ms", not "soon""#,
        ),
        (
            r#"{"IntendedSize":0}"#,
            "the intended size is 0: give the number of voters that the cluster should have",
        ),
        (
            r#"{"IntendedSize":3,"MinQuorum":4}"#,
            "MinQuorum 4 is above the intended size 3: lower it",
        ),
        (
            r#"{"MinQuorum":99}"#,
            "MinQuorum 99 is above the intended size 5: lower it",
        ),
        (
            r#"{"FailedHold":"9s"}"#,
            "a hold of 9s is too short: give 10 s at least",
        ),
        (
            r#"{"FailedHold":"2h"}"#,
            "the hold of 7200s is longer than the window of 3600s: shorten the hold",
        ),
    ] {
        let (status, text) = site.put(&service, Dialect::Precise, body);
        assert_eq!((status, text.as_str()), (400, reason), "{body}");
    }
    // A Consul server would take this one, and autopilot would stop.
    for (dialect, begin) in CONSUL.into_iter().zip(["", "Bad request: "]) {
        let refused = site.put(&service, dialect, r#"{"MinQuorum":6}"#);
        let text = format!("{begin}MinQuorum 6 is above the intended size 5: lower it");
        assert_eq!(refused, (400, text));
    }
    let after = site.read(&service, Dialect::Precise, "configuration");
    assert_eq!(after, before);
}

#[test]
fn contradiction_between_two_changes_is_refused() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let _autopilot = site.autopilot(&service, dry(5));
    let put = |body| site.put(&service, Dialect::Precise, body);
    assert_eq!(put(r#"{"IntendedSize":7}"#).0, 200);
    assert_eq!(put(r#"{"MinQuorum":7}"#).0, 200);
    let (status, text) = put(r#"{"IntendedSize":null,"MinQuorum":7}"#);
    assert_eq!(
        (status, text.contains("above the intended size 5")),
        (400, true)
    );
    assert_eq!(put(r#"{"IntendedSize":null}"#).0, 200);
}

#[test]
fn without_an_autopilot_the_settings_are_neither_shown_nor_taken() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let taken = || {
        for body in [r#"{"DryRun":true}"#, r#"{"FailedHold":null}"#] {
            let (status, text) = site.put(&service, Dialect::Precise, body);
            assert_eq!(status, 400);
            assert!(
                text.starts_with("no autopilot runs on the leader"),
                "{text}"
            );
        }
        let shown = site.read(&service, Dialect::Precise, "configuration");
        assert_eq!(shown.as_object().unwrap().len(), 10, "{shown}");
        assert!(site.state(&service).get("Autopilot").is_none());
        // Nothing is checked that no autopilot acts on.
        for dialect in CONSUL {
            assert_eq!(site.put(&service, dialect, r#"{"MinQuorum":99}"#).0, 200);
        }
    };
    taken();
    let autopilot = site.autopilot(&service, dry(5));
    assert_eq!(
        site.put(&service, Dialect::Precise, r#"{"FailedHold":"1m"}"#)
            .0,
        200
    );
    drop(autopilot);
    taken();
    // What was set is kept for the next one.
    let _autopilot = site.autopilot(&service, dry(5));
    let shown = site.read(&service, Dialect::Precise, "configuration");
    assert_eq!(shown["FailedHold"], "1m0s");
}

#[test]
fn later_autopilot_of_a_service_takes_the_place_of_the_first() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let mut first = site.autopilot(&service, dry(5));
    let mut second = site.autopilot(&service, dry(3));
    let refused = site.clock.run(first.tick()).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidRequest { .. }));
    assert!(site.clock.run(second.tick()).is_ok());
    drop(first);
    let shown = site.read(&service, Dialect::Precise, "configuration");
    assert_eq!(shown["IntendedSize"], 3);
}

#[test]
fn service_and_wire_agree_on_a_change() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let _autopilot = site.autopilot(&service, dry(5));
    let anyone = Caller::anonymous();
    let read = || {
        site.clock
            .run(service.autopilot_configuration(&anyone))
            .unwrap()
    };
    assert_eq!(read().failed_hold, Some(Duration::from_secs(HOLD)));
    let configuration = AutopilotConfiguration {
        dry_run: Some(false),
        ..AutopilotConfiguration::default()
    };
    let set = service.set_autopilot_configuration(&anyone, configuration.clone(), None);
    assert!(site.clock.run(set).unwrap());
    assert_eq!(read().dry_run, Some(false));
    let index = read().modify_index;
    let change = DriverChange {
        dry_run: ValueChange::Reset,
        ..DriverChange::default()
    };
    for (expected, changed) in [(index + 1, false), (index, true), (index, false)] {
        let change = change.clone();
        let set = service.change_autopilot(&anyone, configuration.clone(), change, Some(expected));
        assert_eq!(site.clock.run(set), Ok(changed));
    }
    assert_eq!(read().dry_run, Some(true));
    let nonsense = DriverChange {
        intended_size: ValueChange::Set(0),
        ..DriverChange::default()
    };
    let set = service.change_autopilot(&anyone, configuration, nonsense, None);
    let refused = site.clock.run(set).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidRequest { .. }));
}

#[test]
fn stored_contradiction_stops_it_and_shows_why() {
    let site = Site::new("abcde", "");
    site.kill("e");
    let service = site.service();
    // As after a restart with other code.
    assert_eq!(
        site.put(&service, Dialect::Precise, r#"{"MinQuorum":5}"#).0,
        200
    );
    let mut autopilot = site.autopilot(&service, settings(3, 0));
    site.run(&mut autopilot, 2 * HOLD);
    assert_eq!(site.raft.latest().servers.len(), 5);
    let report = &site.state(&service)["Autopilot"];
    let blocked = json!({
        "Rule": "settings",
        "Reason": "MinQuorum 5 is above the intended size 3: lower it",
        "Server": null,
    });
    assert_eq!(report["Blocked"], blocked);
    assert_eq!(report["IntendedSize"], 3);
}

#[test]
fn blocking_rule_is_shown_with_its_numbers_until_the_removal() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(5, 0));
    site.run(&mut autopilot, 60);
    let report = &site.state(&service)["Autopilot"];
    assert_eq!(report["Blocked"], Value::Null);
    assert_eq!(report["Servers"], json!({}));
    assert_eq!(
        (&report["Voters"], &report["IntendedSize"]),
        (&json!(5), &json!(5))
    );

    site.kill("e");
    site.run(&mut autopilot, 100);
    let state = site.state(&service);
    let report = &state["Autopilot"];
    // The last look was ten seconds ago.
    assert_eq!(report["Blocked"]["Rule"], "hold");
    assert_eq!(report["Blocked"]["Reason"], "failed for 90 s of 180");
    let server = &report["Servers"]["e"];
    assert_eq!(server["Rule"], "hold");
    assert_eq!(server["Lasted"], "1m40s");
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait = time(&server["NextCheck"]).duration_since(time(&report["LastCheck"]));
    assert_eq!(wait.as_secs(), 90);
    assert_eq!(state["Servers"]["e"]["Health"], "unhealthy");
    assert_eq!(state["Servers"]["a"]["Health"], "healthy");

    site.run(&mut autopilot, 100);
    let report = &site.state(&service)["Autopilot"];
    let actions = report["Actions"].as_array().unwrap();
    assert_eq!(actions.len(), 1);
    let action = &actions[0];
    assert_eq!(
        (&action["Kind"], &action["Server"]),
        (&json!("remove"), &json!("e"))
    );
    assert_eq!(
        (&action["Result"], &action["Error"]),
        (&json!("applied"), &Value::Null)
    );
    let reason = "remove e: failed for 180 s of 180, 4 healthy voters of 4 remain";
    assert_eq!(action["Reason"], reason);

    for dialect in CONSUL {
        let state = site.read(&service, dialect, "state");
        assert!(state.get("Autopilot").is_none());
        assert!(state["Servers"]["a"].get("Health").is_none());
    }
}

#[test]
fn missing_spare_is_named_as_the_way_out() {
    let site = Site::new("abc", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(3, 0));
    site.kill("c");
    site.run(&mut autopilot, HOLD + 20);
    let blocked = &site.state(&service)["Autopilot"]["Blocked"];
    assert_eq!(blocked["Rule"], "min-quorum");
    assert_eq!(blocked["Server"], "c");
    let text = blocked["Reason"].as_str().unwrap();
    let reason = "2 voters would remain, below MinQuorum 3: add a spare";
    assert!(text.contains(reason), "{text}");
}

#[test]
fn dry_run_lists_a_repeated_action_once() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, dry(5));
    site.kill("e");
    site.run(&mut autopilot, 3 * HOLD);
    let report = &site.state(&service)["Autopilot"];
    let actions = report["Actions"].as_array().unwrap();
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert_eq!(actions[0]["Result"], "dry-run");
    let decided = report["Decided"].as_str().unwrap();
    assert!(decided.starts_with("remove e: failed for 5"), "{decided}");
    assert_eq!(report["Blocked"], Value::Null);
    // The hold ends while the cluster is left alone, and begins anew.
    site.raft.restart("e");
    site.dead.lock().unwrap().clear();
    site.run(&mut autopilot, 60);
    site.kill("e");
    site.run(&mut autopilot, 3 * HOLD);
    let report = &site.state(&service)["Autopilot"];
    assert_eq!(report["Actions"].as_array().unwrap().len(), 2);
}

#[test]
fn failed_action_is_listed_with_its_error() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(5, 3));
    site.kill("e");
    site.unproven.store(true, Relaxed);
    site.run(&mut autopilot, HOLD + 20);
    let actions = &site.state(&service)["Autopilot"]["Actions"];
    assert_eq!(actions[0]["Kind"], "remove");
    assert_eq!(actions[0]["Result"], "not-applied");
    let error = actions[0]["Error"].as_str().unwrap();
    assert!(error.starts_with("only 2 of the voters"), "{error}");
    site.unproven.store(false, Relaxed);
    site.run(&mut autopilot, 20);
    let actions = &site.state(&service)["Autopilot"]["Actions"];
    assert_eq!(actions[0]["Result"], "applied");
    assert_eq!(actions[1]["Result"], "not-applied");
}

#[test]
fn action_that_fails_again_and_again_is_one() {
    let site = Site::new("abcdefg", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(7, 4));
    let body = r#"{"MinQuorum":4}"#;
    assert_eq!(site.put(&service, Dialect::Precise, body).0, 200);
    site.kill("g");
    site.run(&mut autopilot, HOLD + 20);
    site.kill("f");
    site.unproven.store(true, Relaxed);
    site.run(&mut autopilot, HOLD + 300);
    let report = &site.state(&service)["Autopilot"];
    let actions = report["Actions"].as_array().unwrap().iter();
    let actions = actions.map(|it| (it["Server"].as_str(), it["Result"].as_str()));
    let failed = (Some("f"), Some("not-applied"));
    let removed = (Some("g"), Some("applied"));
    assert_eq!(actions.collect::<Vec<_>>(), [failed, removed]);
    // The last attempt was ten seconds ago.
    assert_eq!(report["Actions"][0]["Time"], report["LastCheck"]);
}

#[test]
fn action_is_shown_as_running_until_it_ends() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(5, 0));
    site.kill("e");
    site.run(&mut autopilot, HOLD);
    site.slow.store(true, Relaxed);
    let result = async |after| {
        site.clock.sleep(Duration::from_secs(after)).await;
        let state = service.autopilot_state(&Caller::anonymous()).await.unwrap();
        state.autopilot.unwrap().actions[0].result.name()
    };
    // Its future is dropped in the middle: nobody can tell.
    let dropped = async {
        select(
            Box::pin(autopilot.tick()),
            site.clock.sleep(Duration::from_secs(2)),
        )
        .await;
    };
    let (running, ()) = site.clock.run(join(result(1), dropped));
    assert_eq!(running, "running");
    assert_eq!(site.clock.run(result(0)), "unknown");
    site.clock.advance(Duration::from_secs(10));
    let (running, _) = site.clock.run(join(result(1), autopilot.tick()));
    assert_eq!(running, "running");
    assert_eq!(site.clock.run(result(0)), "applied");
}

#[test]
fn reason_of_a_voter_that_blocks_the_next_change_is_shown() {
    let site = Site::new("abcdefg", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(7, 0));
    site.kill("f");
    site.run(&mut autopilot, 100);
    site.kill("g");
    site.run(&mut autopilot, 100);
    let report = &site.state(&service)["Autopilot"];
    assert_eq!(report["Actions"][0]["Server"], "f");
    assert_eq!(report["Blocked"]["Rule"], "one-change");
    assert_eq!(report["Blocked"]["Server"], "g");
    assert_eq!(report["Servers"]["g"]["Rule"], "hold");
    assert_eq!(report["Servers"]["g"]["Reason"], "failed for 90 s of 180");
}

#[test]
fn old_report_is_not_shown_as_current() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(5, 0));
    let blocked = || site.state(&service)["Autopilot"]["Blocked"].clone();
    // Before the first look.
    assert_eq!(blocked()["Rule"], "late");
    site.kill("e");
    site.run(&mut autopilot, 60);
    assert_eq!(blocked()["Rule"], "hold");
    // It does not tick any more.
    site.clock.advance(Duration::from_secs(60));
    let late = blocked();
    assert_eq!(late["Rule"], "late");
    let text = late["Reason"].as_str().unwrap();
    assert!(text.starts_with("its last look was 70 s ago"), "{text}");
    assert_eq!(site.state(&service)["Autopilot"]["Servers"], json!({}));
    site.run(&mut autopilot, 10);
    assert_eq!(blocked()["Rule"], "hold");
    // A new term.
    assert!(site.raft.elect("b") && site.raft.elect("a"));
    assert_eq!(blocked()["Rule"], "late");
    // Another leader.
    assert!(site.raft.elect("b"));
    let stale = site.read(&service, Dialect::Precise, "state?stale");
    assert!(stale.get("Autopilot").is_none(), "{stale}");
    assert!(site.raft.elect("a"));
    drop(autopilot);
    assert!(site.state(&service).get("Autopilot").is_none());
}

#[test]
fn failed_look_of_a_follower_is_not_one_of_the_leader() {
    let site = Site::new("abc", "").at("b");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(3, 0));
    site.deaf.store(true, Relaxed);
    site.run(&mut autopilot, 10);
    assert!(site.raft.elect("b"));
    let report = &site.state(&service)["Autopilot"];
    assert_eq!(report["Blocked"]["Rule"], "late");
    assert_eq!(report["LastCheck"], Value::Null);
    site.run(&mut autopilot, 10);
    let report = &site.state(&service)["Autopilot"];
    assert_eq!(report["Blocked"]["Rule"], "input");
    // While not even the term can be read, it counts as the last one.
    site.blind.store(true, Relaxed);
    site.run(&mut autopilot, 10);
    site.blind.store(false, Relaxed);
    let blocked = &site.state(&service)["Autopilot"]["Blocked"];
    assert_eq!(blocked["Rule"], "input");
    let text = blocked["Reason"].as_str().unwrap();
    assert!(text.contains("the log is gone"), "{text}");
}

#[test]
fn stale_state_does_not_need_the_raft() {
    let site = Site::new("abc", "");
    let service = site.service();
    site.blind.store(true, Relaxed);
    let check = || {
        for dialect in [Dialect::Precise].into_iter().chain(CONSUL) {
            let response = site.ask(&service, dialect, "GET", "state?stale", "");
            assert_eq!(response.status, 200);
            let state: Value = serde_json::from_slice(&response.body).unwrap();
            assert!(state.get("Autopilot").is_none(), "{state}");
        }
    };
    check();
    let _autopilot = site.autopilot(&service, dry(3));
    check();
}

#[test]
fn detector_that_fails_is_the_reason_and_what_was_seen_stays() {
    let site = Site::new("abc", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(3, 0));
    let body = r#"{"IntendedSize":7}"#;
    assert_eq!(site.put(&service, Dialect::Precise, body).0, 200);
    site.kill("c");
    site.run(&mut autopilot, 100);
    site.deaf.store(true, Relaxed);
    site.run(&mut autopilot, 10);
    let report = &site.state(&service)["Autopilot"];
    assert_eq!(report["Blocked"]["Rule"], "input");
    let text = report["Blocked"]["Reason"].as_str().unwrap();
    assert!(text.contains("the gossip is gone"), "{text}");
    assert_eq!(report["Servers"], json!({}));
    assert_eq!(report["IntendedSize"], 7);
    site.deaf.store(false, Relaxed);
    site.run(&mut autopilot, 10);
    let server = &site.state(&service)["Autopilot"]["Servers"]["c"];
    assert_eq!(
        (&server["Rule"], &server["Lasted"]),
        (&json!("hold"), &json!("2m0s"))
    );
}

#[test]
fn server_that_the_detector_does_not_know_is_named() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, settings(5, 0));
    site.unknown.lock().unwrap().insert("e".into());
    site.kill("e");
    site.run(&mut autopilot, HOLD);
    let report = &site.state(&service)["Autopilot"];
    assert_eq!(report["Servers"]["e"]["Rule"], "known");
    assert_eq!(report["Blocked"]["Rule"], "known");
}

/// An autopilot that judges the servers by the views of a Raft.
struct Judging(Site, Mutex<HealthTracker>);

#[async_trait]
impl AutopilotBackend for Judging {
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        Ok(AutopilotConfiguration::default())
    }

    async fn set_configuration(
        &self,
        _: AutopilotConfiguration,
        _: Option<u64>,
    ) -> Result<bool, OperatorError> {
        Ok(false)
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        let mut view = self.0.view().await?;
        for (member, status) in view.membership.servers.iter().zip(&mut view.status) {
            if self.0.unknown.lock().unwrap().contains(member.id.as_str()) {
                *status = Default::default();
            }
        }
        let mut tracker = self.1.lock().unwrap();
        let rules = AutopilotConfiguration::default();
        let state = tracker.observe(&view, &rules, std::time::SystemTime::now());
        state.ok_or_else(|| ErrorKind::NoLeader.into())
    }
}

#[test]
fn health_of_a_joining_server_and_of_one_without_data_is_shown() {
    let site = Site::new("abc", "s");
    let service = OperatorService::builder("dc1")
        .raft(site.clone())
        .autopilot(Judging(site.clone(), Mutex::default()))
        .authorizer(AllowAll)
        .timer(site.clock.clone())
        .build()
        .unwrap();
    let unknown = |ids: &str| {
        let ids = ids.chars().map(String::from).collect();
        *site.unknown.lock().unwrap() = ids;
    };
    let health = |dialect| {
        let response = site.ask(&service, dialect, "GET", "health", "");
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        let servers = body["Servers"].as_array().unwrap().iter();
        let words = servers.map(|server| server["Health"].as_str().unwrap_or("-").to_owned());
        (response.status, words.collect::<Vec<_>>().join(" "))
    };
    for (ids, status, words) in [
        ("s", 200, "healthy healthy healthy joining"),
        ("bs", 429, "healthy unknown healthy joining"),
        ("", 200, "healthy healthy healthy healthy"),
        ("s", 429, "healthy healthy healthy unknown"),
    ] {
        unknown(ids);
        assert_eq!(health(Dialect::Precise), (status, words.to_owned()));
        for dialect in CONSUL {
            assert_eq!(health(dialect), (status, "- - - -".to_owned()));
        }
    }
}

#[test]
fn diagnosis_carries_what_autopilot_would_do() {
    let site = Site::new("abcde", "");
    let service = site.service();
    let found = || {
        let anyone = Caller::anonymous();
        let diagnosis = site.clock.run(service.diagnose(&anyone)).unwrap();
        let findings = diagnosis.findings.into_iter();
        let own = findings
            .filter(|it| it.message.contains("autopilot") || it.kind == FindingKind::NoSpare);
        let own = own.map(|it| (it.kind, it.severity, it.subject, it.message));
        own.collect::<Vec<_>>()
    };
    use FindingKind::{
        AutopilotDryRun, AutopilotStopped, AutopilotWaits, DetectorDisputed, NoSpare,
    };
    use Severity::{Info, Warning};
    let finding = |kind, severity, subject: Option<&str>, message: &str| {
        (
            kind,
            severity,
            subject.map(String::from),
            message.to_owned(),
        )
    };
    let mut autopilot = site.autopilot(&service, dry(5));
    site.run(&mut autopilot, 60);
    assert_eq!(found(), []);
    site.kill("e");
    site.run(&mut autopilot, 100);
    let waits = "autopilot leaves e alone for now: failed for 90 s of 180";
    assert_eq!(found(), [finding(AutopilotWaits, Info, Some("e"), waits)]);
    site.run(&mut autopilot, 90);
    let would = "autopilot is in a dry run, and would remove e: failed for 180 s of 180, \
                 4 healthy voters of 4 remain";
    assert_eq!(found(), [finding(AutopilotDryRun, Warning, None, would)]);
    let body = r#"{"IntendedSize":5,"MinQuorum":5}"#;
    assert_eq!(site.put(&service, Dialect::Precise, body).0, 200);
    site.run(&mut autopilot, 10);
    let none = "no spare can take the place of e: dead, but 4 voters would remain, below \
                MinQuorum 5: add a spare, which takes its place";
    assert_eq!(found(), [finding(NoSpare, Warning, Some("e"), none)]);
    // The detector forgets it.
    site.unknown.lock().unwrap().insert("e".into());
    site.run(&mut autopilot, 20);
    let unknown = "autopilot does not touch e: the failure detector does not know it: remove it \
                   by hand if it is dead";
    assert_eq!(
        found(),
        [finding(DetectorDisputed, Info, Some("e"), unknown)]
    );
    site.clock.advance(Duration::from_secs(600));
    let [(AutopilotStopped, Warning, None, late)] = &found()[..] else {
        panic!("{:?}", found());
    };
    assert!(late.contains("its last look was 610 s ago"), "{late}");
}

#[test]
fn diagnosis_names_contradictory_settings() {
    let site = Site::new("abc", "");
    let service = site.service();
    assert_eq!(
        site.put(&service, Dialect::Precise, r#"{"MinQuorum":5}"#).0,
        200
    );
    let mut autopilot = site.autopilot(&service, dry(3));
    site.run(&mut autopilot, 10);
    let stopped = finding(&site, &service, FindingKind::AutopilotStopped);
    let message = "autopilot acts on nothing: MinQuorum 5 is above the intended size 3: lower it";
    assert_eq!(stopped.unwrap().message, message);
}

#[test]
fn diagnosis_does_not_tell_to_start_a_spare_that_is_up() {
    let site = Site::new("abc", "de");
    let service = site.service();
    let mut autopilot = site.autopilot(&service, dry(5));
    site.run(&mut autopilot, 60);
    let waits = finding(&site, &service, FindingKind::AutopilotWaits).unwrap();
    let message = "autopilot leaves e alone for now: the change of d comes first";
    assert_eq!(waits.message, message);
    let next = "start it if it is down; autopilot/state shows when it is looked at again";
    assert_eq!(waits.next_step, next);
}

#[test]
fn diagnosis_names_the_action_that_fails_every_time() {
    let site = Site::new("abcde", "");
    let leader = site.service();
    let follower = follower(&site, &leader);
    let mut autopilot = site.autopilot(&leader, settings(5, 0));
    site.kill("e");
    site.unproven.store(true, Relaxed);
    site.run(&mut autopilot, HOLD + 60);
    let check = |stopped: Option<Finding>| {
        let stopped = stopped.unwrap();
        assert_eq!(stopped.subject.as_deref(), Some("e"));
        let message = "autopilot failed to act (remove e: failed for 230 s of 180, 4 healthy \
                       voters of 4 remain): only 2 of the voters";
        assert!(stopped.message.starts_with(message), "{stopped:?}");
    };
    for service in [&leader, &follower] {
        check(finding(&site, service, FindingKind::AutopilotStopped));
    }
    // Also while it is repeated.
    site.unproven.store(false, Relaxed);
    site.slow.store(true, Relaxed);
    let anyone = Caller::anonymous();
    let during = async {
        site.clock.sleep(Duration::from_secs(1)).await;
        leader.diagnose(&anyone).await.unwrap().findings
    };
    let (during, _) = site.clock.run(join(during, autopilot.tick()));
    let mut during = during.into_iter();
    check(during.find(|it| it.kind == FindingKind::AutopilotStopped));
    for service in [&leader, &follower] {
        let stopped = finding(&site, service, FindingKind::AutopilotStopped);
        assert_eq!(stopped, None);
    }
}

/// The first finding of a kind.
fn finding(site: &Site, service: &OperatorService, kind: FindingKind) -> Option<Finding> {
    let anyone = Caller::anonymous();
    let diagnosis = site.clock.run(service.diagnose(&anyone)).unwrap();
    let mut findings = diagnosis.findings.into_iter();
    findings.find(|finding| finding.kind == kind)
}

/// The service of b, which reaches the leader.
fn follower(site: &Site, leader: &OperatorService) -> OperatorService {
    let hint = LeaderHint {
        id: "a".into(),
        address: "a".into(),
    };
    OperatorService::builder("dc1")
        .raft(site.at("b"))
        .autopilot(MockAutopilot::new(&site.raft.at("b")))
        .peers(MockPeers::new().with_service(Target::Server(hint), leader.clone()))
        .authorizer(AllowAll)
        .timer(site.clock.clone())
        .build()
        .unwrap()
}

#[test]
fn follower_forwards_settings_and_diagnoses_the_leaders_autopilot() {
    let site = Site::new("abcde", "");
    let leader = site.service();
    let mut autopilot = site.autopilot(&leader, dry(5));
    let follower = follower(&site, &leader);
    for (dialect, body) in [
        (Dialect::Precise, r#"{"FailedHold":"1m","IntendedSize":7}"#),
        (Dialect::Consul1_17, r#"{"CleanupDeadServers":true}"#),
    ] {
        assert_eq!(site.put(&follower, dialect, body).0, 200);
    }
    let shown = site.read(&follower, Dialect::Precise, "configuration");
    assert_eq!(shown["FailedHold"], "1m0s");
    let (status, text) = site.put(&follower, Dialect::Precise, r#"{"IntendedSize":0}"#);
    assert_eq!(
        (status, text.contains("the intended size is 0")),
        (400, true)
    );

    site.kill("e");
    site.run(&mut autopilot, 120);
    assert_eq!(site.state(&follower)["Autopilot"]["IntendedSize"], 7);
    let request = Request {
        method: "GET",
        path: "/v1/operator/diagnosis",
        query: None,
        headers: &[],
        body: Default::default(),
    };
    let wire = Wire::new(Dialect::Precise);
    let response = site.clock.run(wire.serve(&follower, request));
    let diagnosis: Value = serde_json::from_slice(&response.body).unwrap();
    let findings = diagnosis["Findings"].as_array().unwrap().iter();
    let kinds: Vec<_> = findings.map(|it| it["Kind"].as_str().unwrap()).collect();
    // With seven intended, the removal would leave fewer than MinQuorum.
    assert!(kinds.contains(&"no-spare"), "{kinds:?}");
    assert!(!kinds.contains(&"autopilot-dry-run"), "{kinds:?}");
}

#[test]
fn change_that_others_interrupt_keeps_their_settings() {
    /// Another operator who sets the dry run just before each of the first changes.
    struct Interrupted {
        own: MockAutopilot,
        times: Mutex<u64>,
    }

    #[async_trait]
    impl AutopilotBackend for Interrupted {
        async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
            self.own.configuration().await
        }

        async fn set_configuration(
            &self,
            configuration: AutopilotConfiguration,
            expected_index: Option<u64>,
        ) -> Result<bool, OperatorError> {
            let left = self.times.lock().unwrap().checked_sub(1);
            if let Some(left) = left {
                *self.times.lock().unwrap() = left;
                let mut other = self.own.configuration().await?;
                other.dry_run = Some(false);
                self.own.set_configuration(other, None).await?;
            }
            self.own
                .set_configuration(configuration, expected_index)
                .await
        }

        async fn state(&self) -> Result<AutopilotState, OperatorError> {
            self.own.state().await
        }
    }

    for (times, dialect, status) in [
        (1, Dialect::Consul1_17, 200),
        (3, Dialect::Consul1_17, 200),
        (4, Dialect::Consul1_17, 500),
        (4, Dialect::Precise, 503),
    ] {
        let site = Site::new("abc", "");
        let own = MockAutopilot::new(&site.raft);
        let times = Mutex::new(times);
        let service = OperatorService::builder("dc1")
            .raft(site.clone())
            .autopilot(Interrupted { own, times })
            .authorizer(AllowAll)
            .timer(site.clock.clone())
            .build()
            .unwrap();
        let _autopilot = site.autopilot(&service, dry(3));
        // Consul answers false only to a request with an index, and clients ignore it.
        let (answered, text) = site.put(&service, dialect, r#"{"MaxTrailingLogs":9}"#);
        assert_eq!(answered, status, "{text}");
        let refused =
            "others changed autopilot's configuration at the same time, 4 times: repeat it";
        assert_eq!(text, if status == 200 { "true" } else { refused });
        let shown = site.read(&service, Dialect::Precise, "configuration");
        assert_eq!(shown["DryRun"], false);
        let logs = if status == 200 { 9 } else { 250 };
        assert_eq!(shown["MaxTrailingLogs"], logs);
    }
}

#[test]
fn change_that_others_interrupt_and_that_is_late_is_not_applied() {
    /// A backend whose configuration others have always changed, and which can be read once.
    struct Stuck(MockAutopilot, AtomicBool);

    #[async_trait]
    impl AutopilotBackend for Stuck {
        async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
            if self.1.swap(true, Relaxed) {
                std::future::pending::<()>().await;
            }
            self.0.configuration().await
        }

        async fn set_configuration(
            &self,
            _: AutopilotConfiguration,
            _: Option<u64>,
        ) -> Result<bool, OperatorError> {
            Ok(false)
        }

        async fn state(&self) -> Result<AutopilotState, OperatorError> {
            self.0.state().await
        }
    }

    let site = Site::new("abc", "");
    let own = MockAutopilot::new(&site.raft);
    let service = OperatorService::builder("dc1")
        .raft(site.clone())
        .autopilot(Stuck(own, AtomicBool::new(false)))
        .authorizer(AllowAll)
        .timer(site.clock.clone())
        .build()
        .unwrap();
    let _autopilot = site.autopilot(&service, dry(3));
    let anyone = Caller::anonymous();
    let configuration = AutopilotConfiguration::default();
    let set = service.set_autopilot_configuration(&anyone, configuration, None);
    let late = site.clock.run(set).unwrap_err();
    assert_eq!(late.kind().name(), "deadline-exceeded");
    assert_eq!(late.outcome(), Outcome::NotApplied);
}
