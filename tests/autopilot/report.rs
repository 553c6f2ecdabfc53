//! What the service shows of autopilot: over HTTP in each dialect, and in a diagnosis.

use std::time::{Duration, SystemTime};

use cluster_operator::autopilot::{AutopilotConfiguration, HealthTracker};
use cluster_operator::consul::{Dialect, Request, Wire};
use cluster_operator::diagnosis::{Finding, FindingKind, Severity};
use cluster_operator::error::{ErrorKind, OperatorError};
use cluster_operator::mock::MockPeers;
use cluster_operator::peers::Target;
use cluster_operator::raft::{LeaderHint, RaftBackend, ServerStatus};
use cluster_operator::service::Caller;
use cluster_operator::{OperatorService, Timer};
use futures_util::future::{join, select};
use serde_json::{Value, json};

use crate::lab::{CONSUL, Lab, dry};
use crate::support::{HOLD, settings};

/// The error of a change that no majority confirms.
fn unproven() -> ErrorKind {
    ErrorKind::QuorumUnproven {
        confirmed: 2,
        needed: 3,
        after: Duration::from_secs(2),
    }
}

#[test]
fn blocking_rule_is_shown_with_its_numbers_until_the_removal() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(5, 0));
    lab.run(&mut autopilot, 60);
    let report = &lab.shown(&service)["Autopilot"];
    assert_eq!(report["Blocked"], Value::Null);
    assert_eq!(report["Servers"], json!({}));
    assert_eq!(
        (&report["Voters"], &report["IntendedSize"]),
        (&json!(5), &json!(5))
    );

    lab.kill("e");
    lab.run(&mut autopilot, 100);
    let state = lab.shown(&service);
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

    lab.run(&mut autopilot, 100);
    let report = &lab.shown(&service)["Autopilot"];
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
        let state = lab.read(&service, dialect, "state");
        assert!(state.get("Autopilot").is_none());
        assert!(state["Servers"]["a"].get("Health").is_none());
    }
}

#[test]
fn missing_spare_is_named_as_the_way_out() {
    let lab = Lab::new("abc", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(3, 0));
    lab.kill("c");
    lab.run(&mut autopilot, HOLD + 20);
    let blocked = &lab.shown(&service)["Autopilot"]["Blocked"];
    assert_eq!(blocked["Rule"], "min-quorum");
    assert_eq!(blocked["Server"], "c");
    let text = blocked["Reason"].as_str().unwrap();
    let reason = "2 voters would remain, below MinQuorum 3: add a spare";
    assert!(text.contains(reason), "{text}");
}

#[test]
fn dry_run_lists_a_repeated_action_once() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, dry(5));
    lab.kill("e");
    lab.run(&mut autopilot, 3 * HOLD);
    let report = &lab.shown(&service)["Autopilot"];
    let actions = report["Actions"].as_array().unwrap();
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert_eq!(actions[0]["Result"], "dry-run");
    let decided = report["Decided"].as_str().unwrap();
    assert!(decided.starts_with("remove e: failed for 5"), "{decided}");
    assert_eq!(report["Blocked"], Value::Null);
    // The hold ends while the cluster is left alone, and begins anew.
    lab.revive("e");
    lab.run(&mut autopilot, 60);
    lab.kill("e");
    lab.run(&mut autopilot, 3 * HOLD);
    let report = &lab.shown(&service)["Autopilot"];
    assert_eq!(report["Actions"].as_array().unwrap().len(), 2);
}

#[test]
fn failed_action_is_listed_with_its_error() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(5, 3));
    lab.kill("e");
    lab.fail("change_membership", unproven());
    lab.run(&mut autopilot, HOLD + 20);
    let actions = &lab.shown(&service)["Autopilot"]["Actions"];
    assert_eq!(actions[0]["Kind"], "remove");
    assert_eq!(actions[0]["Result"], "not-applied");
    let error = actions[0]["Error"].as_str().unwrap();
    assert!(error.starts_with("only 2 of the voters"), "{error}");
    lab.mend("change_membership");
    lab.run(&mut autopilot, 20);
    let actions = &lab.shown(&service)["Autopilot"]["Actions"];
    assert_eq!(actions[0]["Result"], "applied");
    assert_eq!(actions[1]["Result"], "not-applied");
}

#[test]
fn action_that_fails_again_and_again_is_one() {
    let lab = Lab::new("abcdefg", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(7, 4));
    let body = r#"{"MinQuorum":4}"#;
    assert_eq!(lab.put(&service, Dialect::Precise, body).0, 200);
    lab.kill("g");
    lab.run(&mut autopilot, HOLD + 20);
    lab.kill("f");
    lab.fail("change_membership", unproven());
    lab.run(&mut autopilot, HOLD + 300);
    let report = &lab.shown(&service)["Autopilot"];
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
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(5, 0));
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    lab.state(|state| state.slow = true);
    let result = async |after| {
        lab.clock.sleep(Duration::from_secs(after)).await;
        let state = service.autopilot_state(&Caller::anonymous()).await.unwrap();
        state.autopilot.unwrap().actions[0].result.name()
    };
    // Its future is dropped in the middle: nobody can tell.
    let dropped = async {
        select(
            Box::pin(autopilot.tick()),
            lab.clock.sleep(Duration::from_secs(2)),
        )
        .await;
    };
    let (running, ()) = lab.clock.run(join(result(1), dropped));
    assert_eq!(running, "running");
    assert_eq!(lab.clock.run(result(0)), "unknown");
    lab.clock.advance(Duration::from_secs(10));
    let (running, _) = lab.clock.run(join(result(1), autopilot.tick()));
    assert_eq!(running, "running");
    assert_eq!(lab.clock.run(result(0)), "applied");
}

#[test]
fn reason_of_a_voter_that_blocks_the_next_change_is_shown() {
    let lab = Lab::new("abcdefg", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(7, 0));
    lab.kill("f");
    lab.run(&mut autopilot, 100);
    lab.kill("g");
    lab.run(&mut autopilot, 100);
    let report = &lab.shown(&service)["Autopilot"];
    assert_eq!(report["Actions"][0]["Server"], "f");
    assert_eq!(report["Blocked"]["Rule"], "one-change");
    assert_eq!(report["Blocked"]["Server"], "g");
    assert_eq!(report["Servers"]["g"]["Rule"], "hold");
    assert_eq!(report["Servers"]["g"]["Reason"], "failed for 90 s of 180");
}

#[test]
fn old_report_is_not_shown_as_current() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(5, 0));
    let blocked = || lab.shown(&service)["Autopilot"]["Blocked"].clone();
    // Before the first look.
    assert_eq!(blocked()["Rule"], "late");
    lab.kill("e");
    lab.run(&mut autopilot, 60);
    assert_eq!(blocked()["Rule"], "hold");
    // It does not tick any more.
    lab.clock.advance(Duration::from_secs(60));
    let late = blocked();
    assert_eq!(late["Rule"], "late");
    let text = late["Reason"].as_str().unwrap();
    assert!(text.starts_with("its last look was 70 s ago"), "{text}");
    assert_eq!(lab.shown(&service)["Autopilot"]["Servers"], json!({}));
    lab.run(&mut autopilot, 10);
    assert_eq!(blocked()["Rule"], "hold");
    // A new term.
    assert!(lab.raft.elect("b") && lab.raft.elect("a"));
    assert_eq!(blocked()["Rule"], "late");
    // Another leader.
    assert!(lab.raft.elect("b"));
    let stale = lab.read(&service, Dialect::Precise, "state?stale");
    assert!(stale.get("Autopilot").is_none(), "{stale}");
    assert!(lab.raft.elect("a"));
    drop(autopilot);
    assert!(lab.shown(&service).get("Autopilot").is_none());
}

#[test]
fn failed_look_of_a_follower_is_not_one_of_the_leader() {
    let lab = Lab::new("abc", "").at("b");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(3, 0));
    lab.fail("detect", OperatorError::backend("the gossip is gone"));
    lab.run(&mut autopilot, 10);
    assert!(lab.raft.elect("b"));
    let report = &lab.shown(&service)["Autopilot"];
    assert_eq!(report["Blocked"]["Rule"], "late");
    assert_eq!(report["LastCheck"], Value::Null);
    lab.run(&mut autopilot, 10);
    let report = &lab.shown(&service)["Autopilot"];
    assert_eq!(report["Blocked"]["Rule"], "input");
    // While not even the term can be read, it counts as the last one.
    lab.fail("view", OperatorError::backend("the log is gone"));
    lab.run(&mut autopilot, 10);
    lab.mend("view");
    let blocked = &lab.shown(&service)["Autopilot"]["Blocked"];
    assert_eq!(blocked["Rule"], "input");
    let text = blocked["Reason"].as_str().unwrap();
    assert!(text.contains("the log is gone"), "{text}");
}

#[test]
fn stale_state_does_not_need_the_raft() {
    let lab = Lab::new("abc", "");
    let service = lab.service();
    lab.fail("view", OperatorError::backend("the log is gone"));
    let check = || {
        for dialect in [Dialect::Precise].into_iter().chain(CONSUL) {
            let response = lab.ask(&service, dialect, "GET", "state?stale", "");
            assert_eq!(response.status, 200);
            let state: Value = serde_json::from_slice(&response.body).unwrap();
            assert!(state.get("Autopilot").is_none(), "{state}");
        }
    };
    check();
    let _autopilot = lab.autopilot(&service, dry(3));
    check();
}

#[test]
fn detector_that_fails_is_the_reason_and_what_was_seen_stays() {
    let lab = Lab::new("abc", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(3, 0));
    let body = r#"{"IntendedSize":7}"#;
    assert_eq!(lab.put(&service, Dialect::Precise, body).0, 200);
    lab.kill("c");
    lab.run(&mut autopilot, 100);
    lab.fail("detect", OperatorError::backend("the gossip is gone"));
    lab.run(&mut autopilot, 10);
    let report = &lab.shown(&service)["Autopilot"];
    assert_eq!(report["Blocked"]["Rule"], "input");
    let text = report["Blocked"]["Reason"].as_str().unwrap();
    assert!(text.contains("the gossip is gone"), "{text}");
    assert_eq!(report["Servers"], json!({}));
    assert_eq!(report["IntendedSize"], 7);
    lab.mend("detect");
    lab.run(&mut autopilot, 10);
    let server = &lab.shown(&service)["Autopilot"]["Servers"]["c"];
    assert_eq!(
        (&server["Rule"], &server["Lasted"]),
        (&json!("hold"), &json!("2m0s"))
    );
}

#[test]
fn server_that_the_detector_does_not_know_is_named() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, settings(5, 0));
    lab.lie("e", None);
    lab.kill("e");
    lab.run(&mut autopilot, HOLD);
    let report = &lab.shown(&service)["Autopilot"];
    assert_eq!(report["Servers"]["e"]["Rule"], "known");
    assert_eq!(report["Blocked"]["Rule"], "known");
}

#[test]
fn health_of_a_joining_server_and_of_one_without_data_is_shown() {
    let lab = Lab::new("abc", "s");
    let service = lab.service();
    let mut tracker = HealthTracker::new();
    let mut judge = |unknown: &str| {
        let mut view = futures_executor::block_on(lab.view()).unwrap();
        for (member, status) in view.membership.servers.iter().zip(&mut view.status) {
            if unknown.contains(member.id.as_str()) {
                *status = ServerStatus::unknown();
            }
        }
        let rules = AutopilotConfiguration::default();
        let health = tracker.observe(&view, &rules, SystemTime::now());
        lab.state(|state| state.health = health);
    };
    let health = |dialect| {
        let response = lab.ask(&service, dialect, "GET", "health", "");
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
        judge(ids);
        assert_eq!(health(Dialect::Precise), (status, words.to_owned()));
        for dialect in CONSUL {
            assert_eq!(health(dialect), (status, "- - - -".to_owned()));
        }
    }
}

#[test]
fn diagnosis_carries_what_autopilot_would_do() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let found = || {
        let anyone = Caller::anonymous();
        let diagnosis = lab.clock.run(service.diagnose(&anyone)).unwrap();
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
    let mut autopilot = lab.autopilot(&service, dry(5));
    lab.run(&mut autopilot, 60);
    assert_eq!(found(), []);
    lab.kill("e");
    lab.run(&mut autopilot, 100);
    let waits = "autopilot leaves e alone for now: failed for 90 s of 180";
    assert_eq!(found(), [finding(AutopilotWaits, Info, Some("e"), waits)]);
    lab.run(&mut autopilot, 90);
    let would = "autopilot is in a dry run, and would remove e: failed for 180 s of 180, \
                 4 healthy voters of 4 remain";
    assert_eq!(found(), [finding(AutopilotDryRun, Warning, None, would)]);
    let body = r#"{"IntendedSize":5,"MinQuorum":5}"#;
    assert_eq!(lab.put(&service, Dialect::Precise, body).0, 200);
    lab.run(&mut autopilot, 10);
    let none = "no spare can take the place of e: dead, but 4 voters would remain, below \
                MinQuorum 5: add a spare, which takes its place";
    assert_eq!(found(), [finding(NoSpare, Warning, Some("e"), none)]);
    // The detector forgets it.
    lab.lie("e", None);
    lab.run(&mut autopilot, 20);
    let unknown = "autopilot does not touch e: the failure detector does not know it: remove it \
                   by hand if it is dead";
    assert_eq!(
        found(),
        [finding(DetectorDisputed, Info, Some("e"), unknown)]
    );
    lab.clock.advance(Duration::from_secs(600));
    let [(AutopilotStopped, Warning, None, late)] = &found()[..] else {
        panic!("{:?}", found());
    };
    assert!(late.contains("its last look was 610 s ago"), "{late}");
}

#[test]
fn diagnosis_names_contradictory_settings() {
    let lab = Lab::new("abc", "");
    let service = lab.service();
    assert_eq!(
        lab.put(&service, Dialect::Precise, r#"{"MinQuorum":5}"#).0,
        200
    );
    let mut autopilot = lab.autopilot(&service, dry(3));
    lab.run(&mut autopilot, 10);
    let stopped = finding(&lab, &service, FindingKind::AutopilotStopped);
    let message = "autopilot acts on nothing: MinQuorum 5 is above the intended size 3: lower it";
    assert_eq!(stopped.unwrap().message, message);
}

#[test]
fn diagnosis_tells_to_start_a_waiting_server_only_if_down() {
    let lab = Lab::new("abc", "de");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, dry(5));
    lab.run(&mut autopilot, 60);
    let waits = finding(&lab, &service, FindingKind::AutopilotWaits).unwrap();
    let message = "autopilot leaves e alone for now: the change of d comes first";
    assert_eq!(waits.message, message);
    let next = "start it if it is down; autopilot/state shows when it is looked at again";
    assert_eq!(waits.next_step, next);
}

#[test]
fn diagnosis_names_the_action_that_fails_every_time() {
    let lab = Lab::new("abcde", "");
    let leader = lab.service();
    let follower = follower(&lab, &leader);
    let mut autopilot = lab.autopilot(&leader, settings(5, 0));
    lab.kill("e");
    lab.fail("change_membership", unproven());
    lab.run(&mut autopilot, HOLD + 60);
    let check = |stopped: Option<Finding>| {
        let stopped = stopped.unwrap();
        assert_eq!(stopped.subject.as_deref(), Some("e"));
        let message = "autopilot failed to act (remove e: failed for 230 s of 180, 4 healthy \
                       voters of 4 remain): only 2 of the voters";
        assert!(stopped.message.starts_with(message), "{stopped:?}");
    };
    for service in [&leader, &follower] {
        check(finding(&lab, service, FindingKind::AutopilotStopped));
    }
    // Also while it is repeated.
    lab.mend("change_membership");
    lab.state(|state| state.slow = true);
    let anyone = Caller::anonymous();
    let during = async {
        lab.clock.sleep(Duration::from_secs(1)).await;
        leader.diagnose(&anyone).await.unwrap().findings
    };
    let (during, _) = lab.clock.run(join(during, autopilot.tick()));
    let mut during = during.into_iter();
    check(during.find(|it| it.kind == FindingKind::AutopilotStopped));
    for service in [&leader, &follower] {
        let stopped = finding(&lab, service, FindingKind::AutopilotStopped);
        assert_eq!(stopped, None);
    }
}

/// The first finding of a kind.
fn finding(lab: &Lab, service: &OperatorService, kind: FindingKind) -> Option<Finding> {
    let anyone = Caller::anonymous();
    let diagnosis = lab.clock.run(service.diagnose(&anyone)).unwrap();
    let mut findings = diagnosis.findings.into_iter();
    findings.find(|finding| finding.kind == kind)
}

/// The service of b, which reaches the leader.
fn follower(lab: &Lab, leader: &OperatorService) -> OperatorService {
    let hint = LeaderHint {
        id: "a".into(),
        address: "a".into(),
    };
    let peers = MockPeers::new().with_service(Target::Server(hint), leader.clone());
    lab.at("b").builder().peers(peers).build().unwrap()
}

#[test]
fn follower_forwards_settings_and_diagnoses_the_leaders_autopilot() {
    let lab = Lab::new("abcde", "");
    let leader = lab.service();
    let mut autopilot = lab.autopilot(&leader, dry(5));
    let follower = follower(&lab, &leader);
    for (dialect, body) in [
        (Dialect::Precise, r#"{"FailedHold":"1m","IntendedSize":7}"#),
        (Dialect::Consul1_17, r#"{"CleanupDeadServers":true}"#),
    ] {
        assert_eq!(lab.put(&follower, dialect, body).0, 200);
    }
    let shown = lab.read(&follower, Dialect::Precise, "configuration");
    assert_eq!(shown["FailedHold"], "1m0s");
    let (status, text) = lab.put(&follower, Dialect::Precise, r#"{"IntendedSize":0}"#);
    assert_eq!(
        (status, text.contains("the intended size is 0")),
        (400, true)
    );

    lab.kill("e");
    lab.run(&mut autopilot, 120);
    assert_eq!(lab.shown(&follower)["Autopilot"]["IntendedSize"], 7);
    let request = Request {
        method: "GET",
        path: "/v1/operator/diagnosis",
        query: None,
        headers: &[],
        body: Default::default(),
    };
    let wire = Wire::new(Dialect::Precise);
    let response = lab.clock.run(wire.serve(&follower, request));
    let diagnosis: Value = serde_json::from_slice(&response.body).unwrap();
    let findings = diagnosis["Findings"].as_array().unwrap().iter();
    let kinds: Vec<_> = findings.map(|it| it["Kind"].as_str().unwrap()).collect();
    // With seven intended, the removal would leave fewer than MinQuorum.
    assert!(kinds.contains(&"no-spare"), "{kinds:?}");
    assert!(!kinds.contains(&"autopilot-dry-run"), "{kinds:?}");
}
