//! The configuration of an autopilot that does not act on all settings.

use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::autopilot::{AutopilotConfiguration, AutopilotSetting, AutopilotState};
use cluster_operator::consul::Dialect;
use cluster_operator::mock::{MockAutopilot, MockRaft};
use cluster_operator::{AllowAll, AutopilotBackend, OperatorError, OperatorService};

use crate::support::{Never, ask};

/// An autopilot that acts on the two thresholds only.
struct Watching(MockAutopilot);

#[async_trait]
impl AutopilotBackend for Watching {
    fn defaults(&self) -> AutopilotConfiguration {
        AutopilotConfiguration {
            cleanup_dead_servers: false,
            last_contact_threshold: Duration::from_secs(1),
            server_stabilization_time: Duration::ZERO,
            disable_upgrade_migration: true,
            upgrade_version_tag: "build".into(),
            ..AutopilotConfiguration::default()
        }
    }

    fn acts_on(&self, setting: AutopilotSetting) -> bool {
        matches!(
            setting,
            AutopilotSetting::LastContactThreshold | AutopilotSetting::MaxTrailingLogs
        )
    }

    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        let configuration = self.0.configuration().await?;
        Ok(match configuration {
            unchanged if unchanged.modify_index == unchanged.create_index => self.defaults(),
            changed => changed,
        })
    }

    async fn set_configuration(
        &self,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        self.0
            .set_configuration(configuration, expected_index)
            .await
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        self.0.state().await
    }
}

fn watching() -> OperatorService {
    let raft = MockRaft::voters(["alice", "bob", "carol"]);
    OperatorService::builder("dc1")
        .autopilot(Watching(MockAutopilot::new(&raft)))
        .raft(raft)
        .authorizer(AllowAll)
        .timer(Never)
        .build()
        .unwrap()
}

const TARGET: &str = "autopilot/configuration";

#[test]
fn fetched_configuration_can_be_sent_back() {
    for dialect in [Dialect::Precise, Dialect::Consul1_10] {
        let service = watching();
        let read = || ask("GET", TARGET).dialect(dialect).send(&service);
        let fetched = read().text().to_owned();
        let put = ask("PUT", TARGET).dialect(dialect).body(fetched);
        assert_eq!(put.send(&service).text(), "true");
        let json = read().json();
        assert_eq!(json["LastContactThreshold"], "1s");
        assert_eq!(json["UpgradeVersionTag"], "build");
        assert!(json["ModifyIndex"].as_u64() > Some(0));
        let put = ask("PUT", TARGET)
            .dialect(dialect)
            .body(read().text().to_owned());
        assert_eq!(put.send(&service).text(), "true");
    }
}

#[test]
fn omitted_settings_have_the_backends_defaults() {
    let service = watching();
    let put = ask("PUT", TARGET).body(r#"{"MaxTrailingLogs":7}"#);
    assert_eq!(put.send(&service).text(), "true");
    let json = ask("GET", TARGET).send(&service).json();
    assert_eq!(json["MaxTrailingLogs"], 7);
    assert_eq!(json["LastContactThreshold"], "1s");
    assert_eq!(json["CleanupDeadServers"], false);
    assert_eq!(json["ServerStabilizationTime"], "0s");
    assert_eq!(json["DisableUpgradeMigration"], true);
    assert_eq!(json["UpgradeVersionTag"], "build");
}

#[test]
fn setting_without_effect_is_refused_by_name() {
    let service = watching();
    for (body, refused) in [
        (
            r#"{"CleanupDeadServers":true}"#,
            "CleanupDeadServers other than false",
        ),
        (r#"{"MinQuorum":3}"#, "MinQuorum other than 0"),
        (
            r#"{"ServerStabilizationTime":"10s"}"#,
            "ServerStabilizationTime other than 0s",
        ),
        (
            r#"{"RedundancyZoneTag":"zone"}"#,
            "RedundancyZoneTag other than \"\"",
        ),
        (
            r#"{"DisableUpgradeMigration":false}"#,
            "DisableUpgradeMigration other than true",
        ),
        (
            r#"{"UpgradeVersionTag":"version"}"#,
            "UpgradeVersionTag other than \"build\"",
        ),
        (
            r#"{"MinQuorum":3,"CleanupDeadServers":true}"#,
            "CleanupDeadServers other than false or MinQuorum other than 0",
        ),
    ] {
        let answer = ask("PUT", TARGET).body(body).send(&service);
        let text = format!("an autopilot with {refused} is not supported by this server");
        assert_eq!(answer.error(), (501, text.as_str()));
    }
    let json = ask("GET", TARGET).send(&service).json();
    assert_eq!(json["ModifyIndex"], 0);
}

#[test]
fn threshold_that_has_an_effect_can_be_set() {
    let service = watching();
    let body = r#"{"LastContactThreshold":"3s","MaxTrailingLogs":9,"MinQuorum":0}"#;
    let answer = ask("PUT", TARGET).body(body).send(&service);
    assert_eq!(answer.text(), "true");
    let json = ask("GET", TARGET).send(&service).json();
    assert_eq!(json["LastContactThreshold"], "3s");
}
