//! Autopilot's health and thresholds, on server processes that are killed.

use std::time::Duration;

use cluster_operator::autopilot::{DriverChange, RaftRole};

use crate::datacenter::{Datacenter, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_is_shown_as_failed_and_thresholds_stay() {
    let mut datacenter = Datacenter::start(9, 3).await;
    let [leader, asked, killed] = datacenter.by_role().await.try_into().unwrap();
    let client = datacenter.client(&asked);
    datacenter.healthy(&asked, 3).await;

    let mut configuration = client.autopilot_configuration().await.unwrap();
    configuration.last_contact_threshold = Duration::from_secs(2);
    for is_first in [true, false] {
        let set = client.change_autopilot(&configuration, DriverChange::default(), Some(0));
        assert_eq!(set.await.unwrap(), is_first);
    }
    let first = client.autopilot_configuration().await.unwrap();
    assert_eq!(first.last_contact_threshold, Duration::from_secs(2));

    datacenter.server_mut(&killed).kill();
    eventually("an unhealthy cluster", || async {
        let health = client.autopilot_health().await;
        let health = health.map_err(|error| error.to_string())?;
        let mut unhealthy = health.servers.iter().filter(|server| !server.healthy);
        match (unhealthy.next(), unhealthy.next()) {
            (Some(server), None)
                if server.name.as_str() == killed
                    && server.node_status == "failed"
                    && health.failure_tolerance == 0 =>
            {
                Ok(())
            }
            _ => Err(format!("{health:?}")),
        }
    })
    .await;

    datacenter.restart(&killed).await;
    datacenter.healthy(&asked, 3).await;
    datacenter.server_mut(&leader).kill();
    let second = eventually("the configuration of a new leader", || async {
        let state = client.autopilot_state().await;
        let state = state.map_err(|error| error.to_string())?;
        let mut servers = state.servers.iter();
        if servers.any(|it| it.role == RaftRole::Leader && it.name.as_str() == leader) {
            return Err("the old leader".into());
        }
        let configuration = client.autopilot_configuration().await;
        configuration.map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(second, first);
}
