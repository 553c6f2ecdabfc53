//! An autopilot that acts on a cluster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cluster_operator::autopilot::{
    AutopilotConfiguration, AutopilotSetting, Detected, Detection, FailureDetector, Settings,
};
use cluster_operator::service::Autopilot;
use cluster_operator::{AllowAll, AutopilotBackend, NodeName, OperatorError, OperatorService};

use crate::cluster::NodeId;
use crate::servers::{Cluster, Elections, ids, node, soon, until, voters};

/// A detector that knows when one server died.
struct Detector {
    dead: NodeId,
    died: Instant,
}

#[async_trait]
impl FailureDetector for Detector {
    async fn detect(&self) -> Result<BTreeMap<NodeName, Detection>, OperatorError> {
        let lasted = self.died.elapsed();
        let detection = |id| Detection {
            status: if id == self.dead {
                Detected::Failed
            } else {
                Detected::Alive
            },
            lasted,
        };
        let nodes = (1..=4).map(|id| (NodeName::from(node(id).name), detection(id)));
        Ok(nodes.collect())
    }
}

#[tokio::test]
async fn driven_autopilot_replaces_a_dead_voter_with_a_spare() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let dead = cluster.followers_of(leader)[0];
    let contacts = cluster.servers[&leader].contacts.clone();
    let raft = cluster.backend(leader).clone().with_contacts(contacts);
    let service = OperatorService::builder("dc1")
        .raft(raft)
        .authorizer(AllowAll);
    let service = service.build().unwrap();
    let configuration = AutopilotConfiguration {
        last_contact_threshold: Duration::from_secs(5),
        ..AutopilotConfiguration::default()
    };
    let settings = Settings::new(3, configuration).unwrap().acting();
    let settings = settings.with_hold(Settings::SHORTEST_HOLD).unwrap();
    let settings = settings.with_pause(Duration::from_secs(1));
    cluster.stop(dead).await;
    let died = Instant::now();
    let autopilot = Autopilot::new(&service, Detector { dead, died }, settings);
    let autopilot = tokio::spawn(autopilot.run(|tick| println!("{tick:?}")));

    until("the replacement", async || {
        let view = cluster.view(leader).await;
        voters(&view).contains(&4).then_some(())
    })
    .await;
    assert!(died.elapsed() >= Settings::SHORTEST_HOLD);
    until("the end of the change", async || {
        let view = cluster.view(leader).await;
        (view.change.is_none() && !ids(&view).contains(&dead)).then_some(())
    })
    .await;
    cluster.write(leader).await;
    autopilot.abort();
    for id in (1..=4).filter(|id| *id != dead) {
        cluster.stop(id).await;
    }
}

#[tokio::test]
async fn settings_of_a_driven_autopilot_have_an_effect() {
    let cluster = Cluster::start(1, 0, Elections::Never).await;
    let server = &cluster.servers[&1];
    let autopilot = server.autopilot(|_| None).driven();
    let defaults = autopilot.defaults();
    assert!(defaults.cleanup_dead_servers);
    assert_eq!(defaults.server_stabilization_time, Duration::from_secs(10));
    let inert = AutopilotSetting::ALL.into_iter();
    let inert: Vec<_> = inert.filter(|it| !autopilot.acts_on(*it)).collect();
    assert_eq!(
        inert,
        [
            AutopilotSetting::RedundancyZoneTag,
            AutopilotSetting::DisableUpgradeMigration,
            AutopilotSetting::UpgradeVersionTag,
        ]
    );

    // What Consul lacks is replicated with the rest.
    cluster.leader().await;
    let configuration = AutopilotConfiguration {
        failed_hold: Some(Duration::from_secs(60)),
        intended_size: Some(5),
        dry_run: Some(false),
        ..defaults
    };
    let set = autopilot.set_configuration(configuration.clone(), Some(0));
    assert_eq!(soon("a change", set).await, Ok(true));
    let stored = soon("the configuration", autopilot.configuration()).await;
    let stored = stored.unwrap();
    assert!(stored.modify_index > 0);
    let (create_index, modify_index) = (stored.create_index, stored.modify_index);
    let expected = AutopilotConfiguration {
        create_index,
        modify_index,
        ..configuration
    };
    assert_eq!(stored, expected);
    cluster.close().await;
}
