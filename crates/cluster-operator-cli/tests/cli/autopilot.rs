//! The commands about autopilot.

use std::collections::BTreeMap;

use async_trait::async_trait;
use cluster_operator::autopilot::{
    AutopilotConfiguration, Detected, Detection, FailureDetector, Settings,
};
use cluster_operator::service::Autopilot;
use cluster_operator::{NodeName, OperatorError};

use expect_test::expect;
use serde_json::{Value, json};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn autopilot_is_shown_and_set() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "autopilot get").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    expect![[r#"
        Setting                    Value
        cleanup-dead-servers       true
        last-contact-threshold     200ms
        max-trailing-logs          250
        min-quorum                 0
        server-stabilization-time  10s
        redundancy-zone-tag
        disable-upgrade-migration  false
        upgrade-version-tag
    "#]]
    .assert_eq(&ended.out);
    let ended = ask(
        &alice,
        "autopilot set -max-trailing-logs=7 -min-quorum 3 --json",
    )
    .await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let set = ended.json();
    assert_eq!(
        (&set["MaxTrailingLogs"], &set["MinQuorum"]),
        (&7.into(), &3.into())
    );
    assert_eq!(set["CleanupDeadServers"], true);
    // The change is made, also if nobody reads of it.
    let mut set = command(&alice);
    set.args(["autopilot", "set", "--min-quorum=2"]);
    assert_eq!(run_unread(&mut set).await, 0);
    let ended = ask(&alice, "autopilot set").await;
    assert_eq!(ended.code, 2, "{ended:?}");

    let ended = ask(&alice, "autopilot health").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.ends_with("1 servers may fail\n"), "{ended:?}");
    federation.stop("carol");
    let ended = ask(&alice, "autopilot health").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.contains("failed"), "{ended:?}");
}

/// A detector for which carol has failed long ago.
struct CarolFailed;

#[async_trait]
impl FailureDetector for CarolFailed {
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        let lasted = Settings::SHORTEST_HOLD;
        let detected = ["alice", "bob", "carol"].map(|name| {
            let status = match name {
                "carol" => Detected::Failed,
                _ => Detected::Alive,
            };
            (NodeName::new(name), Detection { status, lasted })
        });
        Ok(detected.into())
    }
}

fn watched(federation: &MockFederation) -> Autopilot {
    let settings = Settings::new(3, AutopilotConfiguration::default()).unwrap();
    Autopilot::new(&federation.service("alice"), CarolFailed, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_running_autopilot_are_set_and_reset() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "autopilot set --dry-run=false").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.err.contains("no autopilot runs on the leader"),
        "{ended:?}"
    );

    let _autopilot = watched(&federation);
    let set = async |flags: &str| ask(&alice, &format!("autopilot set-config {flags}")).await;
    let ended = set("-failed-hold 60s -intended-size=5 -dry-run=false -json").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let shown = ended.json();
    assert_eq!(shown["FailedHold"], "1m0s");
    assert_eq!(
        (&shown["IntendedSize"], &shown["DryRun"]),
        (&5.into(), &false.into())
    );
    // What is not named stays, also where it is the default that is shown.
    let ended = set("--intended-size default --dry-run true --max-trailing-logs 9").await;
    let rows = "failed-hold                1m0s\n\
                intended-size              3\n\
                dry-run                    true\n";
    assert!(ended.out.ends_with(rows), "{ended:?}");
    let ended = set("--failed-hold default").await;
    assert!(
        ended.out.contains("failed-hold                3m0s"),
        "{ended:?}"
    );
    for (flags, code, text) in [
        (
            "--min-quorum 4",
            1,
            "MinQuorum 4 is above the intended size 3",
        ),
        ("--failed-hold 1s", 1, "a hold of 1s is too short"),
        ("--failed-hold soon", 2, "\"soon\" is not a time"),
        ("--intended-size -3", 2, "intended-size"),
        ("--dry-run=maybe", 2, "write true or false"),
    ] {
        let ended = set(flags).await;
        assert_eq!(ended.code, code, "{flags}: {ended:?}");
        assert!(ended.err.contains(text), "{flags}: {ended:?}");
    }
}

/// Consul has an autopilot of its own, which reports nothing.
const NO_REPORT: &str = "the server shows no report of an autopilot of this library\n";

#[tokio::test(flavor = "multi_thread")]
async fn state_tells_whether_an_autopilot_reports() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "autopilot state").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.ends_with(NO_REPORT), "{ended:?}");

    let mut autopilot = watched(&federation);
    autopilot.tick().await.unwrap();
    let ended = ask(&alice, "autopilot state").await;
    let text = "autopilot is in a dry run: 3 voters of 3 intended, hold 3m0s\nlast look 2";
    assert!(ended.out.contains(text), "{ended:?}");
    assert!(
        ended.out.ends_with("no action since it started\n"),
        "{ended:?}"
    );
    let json = ask(&alice, "autopilot state --json").await.json();
    assert_eq!(json["Servers"][0]["Health"], "healthy");
    assert_eq!(json["Autopilot"]["DryRun"], true);
    assert_eq!(json["Autopilot"]["FailedHold"], "3m0s");

    // Servers of Consul have a state without a report.
    let consul = serve(&federation, "alice", Dialect::Consul1_17).await;
    let ended = ask(&consul, "autopilot state").await;
    assert!(ended.out.contains("carol"), "{ended:?}");
    assert!(ended.out.ends_with(NO_REPORT), "{ended:?}");
    let ended = ask(&consul, "autopilot set --dry-run=false").await;
    assert_eq!(ended.code, 1, "{ended:?}");
}

/// A server's state, as it is sent.
fn state(leader: bool, health: &str) -> Value {
    let id = if leader { "a" } else { "c" };
    json!({
        "ID": id,
        "Name": if leader { "alice" } else { "carol" },
        "Address": "10.0.0.1:8300",
        "NodeStatus": "alive",
        "Version": "1.17.0",
        "LastContact": "0s",
        "LastTerm": 2,
        "LastIndex": 9,
        "Healthy": health == "healthy",
        "StableSince": "2026-01-02T03:04:05.678Z",
        "ReadReplica": false,
        "Status": if leader { "leader" } else { "voter" },
        "Meta": null,
        "NodeType": "voter",
        "Health": health,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn state_shows_the_rule_that_blocks_and_the_last_actions() {
    let action = |kind: &str, reason: &str, result: &str, error: Option<&str>| {
        json!({
            "Time": "2026-01-02T03:04:05.678Z",
            "Kind": kind,
            "Server": "e",
            "ReplacedBy": null,
            "Reason": reason,
            "Result": result,
            "Error": error,
        })
    };
    let reason = "dead, but 2 voters would remain, below MinQuorum 3: add a spare";
    let time = "2026-01-02T03:04:15Z";
    let body = json!({
        "Healthy": false,
        "FailureTolerance": 0,
        "OptimisticFailureTolerance": 0,
        "Servers": {"a": state(true, "healthy"), "c": state(false, "unknown")},
        "Leader": "a",
        "Voters": ["a", "c"],
        "Autopilot": {
            "DryRun": false,
            "IntendedSize": 3,
            "Voters": 3,
            "FailedHold": "3m0s",
            "LastCheck": "2026-01-02T03:04:05.678Z",
            "NextCheck": time,
            "Decided": "remove e: failed for 190 s of 180",
            "Blocked": {"Rule": "min-quorum", "Reason": reason, "Server": "c"},
            "Servers": {
                "c": {"Rule": "min-quorum", "Reason": reason, "Lasted": "95.5s", "NextCheck": time},
            },
            "Actions": [
                action("remove", "remove e: failed for 190 s of 180", "running", None),
                action("juggle", "juggle e", "half-done", None),
                action("remove", "remove e: failed for 180 s of 180", "not-applied", Some("late\n")),
                action("remove", "remove e: failed for 190 s of 180", "applied", None),
            ],
        },
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes = Router::new().fallback(async move || axum::Json(body.clone()));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let ended = ask(&address, "autopilot state").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    expect![[r#"
        Node   ID  Role    Healthy  Rule        For    Next look             Reason
        alice  a   leader  yes
        carol  c   voter   unknown  min-quorum  1m35s  2026-01-02T03:04:15Z  dead, but 2 voters would remain, below MinQuorum 3: add a spare

        autopilot acts: 3 voters of 3 intended, hold 3m0s
        last look 2026-01-02T03:04:05Z, next 2026-01-02T03:04:15Z
        it decided to remove e: failed for 190 s of 180 (running)
        blocked by min-quorum: carol: dead, but 2 voters would remain, below MinQuorum 3: add a spare

        Time                  Result       Action                             Error
        2026-01-02T03:04:05Z  running      remove e: failed for 190 s of 180
        2026-01-02T03:04:05Z  unknown      juggle e
        2026-01-02T03:04:05Z  not-applied  remove e: failed for 180 s of 180  late
        2026-01-02T03:04:05Z  applied      remove e: failed for 190 s of 180
    "#]]
    .assert_eq(&ended.out);
    let json = ask(&address, "autopilot state --json").await.json();
    assert_eq!(json["Autopilot"]["Actions"][0]["Result"], "running");
    assert_eq!(json["Autopilot"]["Actions"][1]["Kind"], "other");
    assert_eq!(json["Autopilot"]["Actions"][1]["Result"], "unknown");
    assert_eq!(json["Autopilot"]["Blocked"]["Server"], "c");
    assert_eq!(json["Autopilot"]["Servers"]["c"]["Lasted"], "1m35.5s");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_contradictory_settings_with_the_command() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    // As before a restart with other code.
    let ended = ask(&alice, "autopilot set --min-quorum 5").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let mut autopilot = watched(&federation);
    assert!(autopilot.tick().await.is_err());
    let ended = ask(&alice, "doctor").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let finding = "warning: dc1: autopilot acts on nothing: MinQuorum 5 is above the intended \
                   size 3: lower it\n  change the configuration of autopilot, or the settings of \
                   the program\n  $ cluster-operator -datacenter dc1 autopilot state\n";
    assert!(ended.out.contains(finding), "{ended:?}");
}
