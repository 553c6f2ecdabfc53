//! Autopilot's settings over HTTP, in each dialect.

use std::time::Duration;

use cluster_operator::autopilot::{AutopilotConfiguration, DriverChange, ValueChange};
use cluster_operator::consul::Dialect;
use cluster_operator::error::{ErrorKind, Outcome};
use cluster_operator::service::Caller;
use serde_json::{Value, json};

use crate::lab::{CONSUL, Hook, Lab, dry};
use crate::support::{HOLD, settings};

#[test]
fn settings_in_force_are_shown_on_each_server() {
    let lab = Lab::new("abcde", "");
    let follower = lab.at("b");
    let (leads, follows) = (lab.service(), follower.service());
    let _leads = lab.autopilot(&leads, dry(5));
    let _follows = follower.autopilot(&follows, dry(5));
    for (service, target) in [(&leads, "configuration"), (&follows, "configuration?stale")] {
        let shown = lab.read(service, Dialect::Precise, target);
        assert_eq!(shown["FailedHold"], "3m0s");
        assert_eq!(shown["IntendedSize"], 5);
        assert_eq!(shown["DryRun"], true);
    }
    for dialect in CONSUL {
        let shown = lab.read(&leads, dialect, "configuration");
        assert_eq!(shown.as_object().unwrap().len(), 10, "{shown}");
    }
}

#[test]
fn put_sets_keeps_and_resets_what_consul_lacks() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let mut autopilot = lab.autopilot(&service, dry(5));
    let done = (200, "true".to_owned());
    let put = |dialect, body: &str| assert_eq!(lab.put(&service, dialect, body), done);
    let shown = || {
        let shown = lab.read(&service, Dialect::Precise, "configuration");
        let named = ["FailedHold", "IntendedSize", "DryRun", "MaxTrailingLogs"];
        Value::from_iter(named.map(|name| shown[name].clone()))
    };
    let body = r#"{"FailedHold":"1m","IntendedSize":3,"DryRun":false,"MaxTrailingLogs":7}"#;
    put(Dialect::Precise, body);
    assert_eq!(shown(), json!(["1m0s", 3, false, 7]));
    lab.run(&mut autopilot, 20);
    let report = &lab.shown(&service)["Autopilot"];
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
    let lab = Lab::new("abc", "");
    let service = lab.service();
    let _autopilot = lab.autopilot(&service, dry(3));
    for dialect in CONSUL {
        for name in ["FailedHold", "IntendedSize", "DryRun"] {
            let body = format!(r#"{{"{name}":null}}"#);
            let (status, text) = lab.put(&service, dialect, &body);
            assert_eq!(status, 400);
            let unknown = format!(r#"json: unknown field "{name}""#);
            assert!(text.contains(&unknown), "{text}");
        }
    }
}

#[test]
fn nonsense_is_refused_with_the_way_out() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let _autopilot = lab.autopilot(&service, dry(5));
    let before = lab.read(&service, Dialect::Precise, "configuration");
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
        let (status, text) = lab.put(&service, Dialect::Precise, body);
        assert_eq!((status, text.as_str()), (400, reason), "{body}");
    }
    // A Consul server would take this one, and autopilot would stop.
    for (dialect, begin) in CONSUL.into_iter().zip(["", "Bad request: "]) {
        let refused = lab.put(&service, dialect, r#"{"MinQuorum":6}"#);
        let text = format!("{begin}MinQuorum 6 is above the intended size 5: lower it");
        assert_eq!(refused, (400, text));
    }
    let after = lab.read(&service, Dialect::Precise, "configuration");
    assert_eq!(after, before);
}

#[test]
fn contradiction_between_two_changes_is_refused() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let _autopilot = lab.autopilot(&service, dry(5));
    let put = |body| lab.put(&service, Dialect::Precise, body);
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
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let taken = || {
        for body in [r#"{"DryRun":true}"#, r#"{"FailedHold":null}"#] {
            let (status, text) = lab.put(&service, Dialect::Precise, body);
            assert_eq!(status, 400);
            assert!(
                text.starts_with("no autopilot runs on the leader"),
                "{text}"
            );
        }
        let shown = lab.read(&service, Dialect::Precise, "configuration");
        assert_eq!(shown.as_object().unwrap().len(), 10, "{shown}");
        assert!(lab.shown(&service).get("Autopilot").is_none());
        // Nothing is checked that no autopilot acts on.
        for dialect in CONSUL {
            assert_eq!(lab.put(&service, dialect, r#"{"MinQuorum":99}"#).0, 200);
        }
    };
    taken();
    let autopilot = lab.autopilot(&service, dry(5));
    assert_eq!(
        lab.put(&service, Dialect::Precise, r#"{"FailedHold":"1m"}"#)
            .0,
        200
    );
    drop(autopilot);
    taken();
    // What was set is kept for the next one.
    let _autopilot = lab.autopilot(&service, dry(5));
    let shown = lab.read(&service, Dialect::Precise, "configuration");
    assert_eq!(shown["FailedHold"], "1m0s");
}

#[test]
fn later_autopilot_of_a_service_takes_the_place_of_the_first() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let mut first = lab.autopilot(&service, dry(5));
    let mut second = lab.autopilot(&service, dry(3));
    let refused = lab.clock.run(first.tick()).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidRequest { .. }));
    assert!(lab.clock.run(second.tick()).is_ok());
    drop(first);
    let shown = lab.read(&service, Dialect::Precise, "configuration");
    assert_eq!(shown["IntendedSize"], 3);
}

#[test]
fn service_and_wire_agree_on_a_change() {
    let lab = Lab::new("abcde", "");
    let service = lab.service();
    let _autopilot = lab.autopilot(&service, dry(5));
    let anyone = Caller::anonymous();
    let read = || {
        lab.clock
            .run(service.autopilot_configuration(&anyone))
            .unwrap()
    };
    assert_eq!(read().failed_hold, Some(Duration::from_secs(HOLD)));
    let configuration = AutopilotConfiguration {
        dry_run: Some(false),
        ..AutopilotConfiguration::default()
    };
    let set = service.set_autopilot_configuration(&anyone, configuration.clone(), None);
    assert!(lab.clock.run(set).unwrap());
    assert_eq!(read().dry_run, Some(false));
    let index = read().modify_index;
    let change = DriverChange {
        dry_run: ValueChange::Reset,
        ..DriverChange::default()
    };
    for (expected, changed) in [(index + 1, false), (index, true), (index, false)] {
        let change = change.clone();
        let set = service.change_autopilot(&anyone, configuration.clone(), change, Some(expected));
        assert_eq!(lab.clock.run(set), Ok(changed));
    }
    assert_eq!(read().dry_run, Some(true));
    let nonsense = DriverChange {
        intended_size: ValueChange::Set(0),
        ..DriverChange::default()
    };
    let set = service.change_autopilot(&anyone, configuration, nonsense, None);
    let refused = lab.clock.run(set).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::InvalidRequest { .. }));
}

#[test]
fn stored_contradiction_stops_it_and_shows_why() {
    let lab = Lab::new("abcde", "");
    lab.kill("e");
    let service = lab.service();
    // As after a restart with other code.
    assert_eq!(
        lab.put(&service, Dialect::Precise, r#"{"MinQuorum":5}"#).0,
        200
    );
    let mut autopilot = lab.autopilot(&service, settings(3, 0));
    lab.run(&mut autopilot, 2 * HOLD);
    assert_eq!(lab.raft.latest().servers.len(), 5);
    let report = &lab.shown(&service)["Autopilot"];
    let blocked = json!({
        "Rule": "settings",
        "Reason": "MinQuorum 5 is above the intended size 3: lower it",
        "Server": null,
    });
    assert_eq!(report["Blocked"], blocked);
    assert_eq!(report["IntendedSize"], 3);
}

#[test]
fn change_that_others_interrupt_keeps_their_settings() {
    for (times, dialect, status) in [
        (1, Dialect::Consul1_17, 200),
        (3, Dialect::Consul1_17, 200),
        (4, Dialect::Consul1_17, 500),
        (4, Dialect::Precise, 503),
    ] {
        let lab = Lab::new("abc", "");
        let service = lab.service();
        // Another operator sets the dry run just before each of the first changes.
        let interrupt = |lab: &Lab| lab.configure(|it| it.dry_run = Some(false));
        let hooks = (0..times).map(|_| Box::new(interrupt) as Hook);
        lab.state(|state| state.before_setting = hooks.collect());
        let _autopilot = lab.autopilot(&service, dry(3));
        // Consul answers false only to a request with an index, and clients ignore it.
        let (answered, text) = lab.put(&service, dialect, r#"{"MaxTrailingLogs":9}"#);
        assert_eq!(answered, status, "{text}");
        let refused =
            "others changed autopilot's configuration at the same time, 4 times: repeat it";
        assert_eq!(text, if status == 200 { "true" } else { refused });
        let shown = lab.read(&service, Dialect::Precise, "configuration");
        assert_eq!(shown["DryRun"], false);
        let logs = if status == 200 { 9 } else { 250 };
        assert_eq!(shown["MaxTrailingLogs"], logs);
    }
}

#[test]
fn change_that_others_interrupt_and_that_is_late_is_not_applied() {
    let lab = Lab::new("abc", "");
    let service = lab.service();
    let interrupt = |lab: &Lab| {
        lab.configure(|_| {});
        // The configuration cannot be read again.
        lab.state(|state| state.stuck = Some("configuration"));
    };
    lab.state(|state| state.before_setting = vec![Box::new(interrupt)]);
    let _autopilot = lab.autopilot(&service, dry(3));
    let anyone = Caller::anonymous();
    let configuration = AutopilotConfiguration::default();
    let set = service.set_autopilot_configuration(&anyone, configuration, None);
    let late = lab.clock.run(set).unwrap_err();
    assert_eq!(late.kind().name(), "deadline-exceeded");
    assert_eq!(late.outcome(), Outcome::NotApplied);
}
