//! The commands about autopilot.

use cluster_operator::autopilot::{AutopilotConfiguration, DriverChange};

use crate::connection::Servers;
use crate::exit::Failure;
use crate::flags::{Autopilot, Settings};
use crate::output::{self, Table, safe};
use crate::state;

pub(crate) async fn run(command: Autopilot, servers: &Servers, json: bool) -> Result<(), Failure> {
    match command {
        Autopilot::Get => {
            let configuration = read(servers).await?;
            show(&configuration, json)
        }
        Autopilot::Set(settings) => {
            // Those that are not named stay as they are.
            let change = DriverChange {
                failed_hold: settings.failed_hold.unwrap_or_default(),
                intended_size: settings.intended_size.unwrap_or_default(),
                dry_run: settings.dry_run.unwrap_or_default(),
            };
            let configuration = changed(read(servers).await?, settings);
            let expected = configuration.modify_index;
            let client = servers.current();
            let set = client
                .change_autopilot(&configuration, change, Some(expected))
                .await?;
            if !set {
                return Err(Failure::refused(
                    "somebody else has changed the settings in the meantime: look, then try again",
                ));
            }
            // The change is made, whatever becomes of this read and of the output.
            let _ = show(&read(servers).await.unwrap_or(configuration), json);
            Ok(())
        }
        Autopilot::Health => health(servers, json).await,
        Autopilot::State => state::state(servers, json).await,
    }
}

async fn read(servers: &Servers) -> Result<AutopilotConfiguration, Failure> {
    let read = servers.read(async |client| client.autopilot_configuration().await);
    Ok(read.await?)
}

fn changed(
    mut configuration: AutopilotConfiguration,
    settings: Settings,
) -> AutopilotConfiguration {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(
        &mut configuration.cleanup_dead_servers,
        settings.cleanup_dead_servers,
    );
    set(
        &mut configuration.last_contact_threshold,
        settings.last_contact_threshold,
    );
    set(
        &mut configuration.max_trailing_logs,
        settings.max_trailing_logs,
    );
    set(&mut configuration.min_quorum, settings.min_quorum);
    set(
        &mut configuration.server_stabilization_time,
        settings.server_stabilization_time,
    );
    set(
        &mut configuration.redundancy_zone_tag,
        settings.redundancy_zone_tag,
    );
    set(
        &mut configuration.disable_upgrade_migration,
        settings.disable_upgrade_migration,
    );
    set(
        &mut configuration.upgrade_version_tag,
        settings.upgrade_version_tag,
    );
    configuration
}

fn show(configuration: &AutopilotConfiguration, json: bool) -> Result<(), Failure> {
    if json {
        let mut shown = serde_json::json!({
            "CleanupDeadServers": configuration.cleanup_dead_servers,
            "LastContactThreshold": output::duration(configuration.last_contact_threshold),
            "MaxTrailingLogs": configuration.max_trailing_logs,
            "MinQuorum": configuration.min_quorum,
            "ServerStabilizationTime": output::duration(configuration.server_stabilization_time),
            "RedundancyZoneTag": configuration.redundancy_zone_tag,
            "DisableUpgradeMigration": configuration.disable_upgrade_migration,
            "UpgradeVersionTag": configuration.upgrade_version_tag,
            "CreateIndex": configuration.create_index,
            "ModifyIndex": configuration.modify_index,
        });
        if let Some(hold) = configuration.failed_hold {
            shown["FailedHold"] = output::duration(hold).into();
        }
        if let Some(size) = configuration.intended_size {
            shown["IntendedSize"] = size.into();
        }
        if let Some(dry_run) = configuration.dry_run {
            shown["DryRun"] = dry_run.into();
        }
        return Ok(output::json(&shown)?);
    }
    let mut table = Table::new(["Setting", "Value"]);
    let mut row = |name: &str, value: String| table.row([name.into(), value]);
    row(
        "cleanup-dead-servers",
        configuration.cleanup_dead_servers.to_string(),
    );
    row(
        "last-contact-threshold",
        output::duration(configuration.last_contact_threshold),
    );
    row(
        "max-trailing-logs",
        configuration.max_trailing_logs.to_string(),
    );
    row("min-quorum", configuration.min_quorum.to_string());
    row(
        "server-stabilization-time",
        output::duration(configuration.server_stabilization_time),
    );
    row(
        "redundancy-zone-tag",
        safe(&configuration.redundancy_zone_tag),
    );
    row(
        "disable-upgrade-migration",
        configuration.disable_upgrade_migration.to_string(),
    );
    row(
        "upgrade-version-tag",
        safe(&configuration.upgrade_version_tag),
    );
    if let Some(hold) = configuration.failed_hold {
        row("failed-hold", output::duration(hold));
    }
    if let Some(size) = configuration.intended_size {
        row("intended-size", size.to_string());
    }
    if let Some(dry_run) = configuration.dry_run {
        row("dry-run", dry_run.to_string());
    }
    Ok(table.print()?)
}

async fn health(servers: &Servers, json: bool) -> Result<(), Failure> {
    let health = servers
        .read(async |client| client.autopilot_health().await)
        .await?;
    if json {
        let servers = health.servers.iter().map(state::server_in_json);
        output::json(&serde_json::json!({
            "Healthy": health.healthy,
            "FailureTolerance": health.failure_tolerance,
            "Servers": servers.collect::<Vec<_>>(),
        }))?;
    } else {
        let mut table = Table::new([
            "Node", "ID", "Address", "Status", "Healthy", "Role", "Contact", "Log",
        ]);
        for server in &health.servers {
            table.row([
                safe(server.name.as_str()),
                safe(server.id.as_str()),
                safe(server.address.as_str()),
                safe(&server.node_status),
                state::health(server),
                state::role(server.role).into(),
                output::duration(server.last_contact),
                server.last_index.to_string(),
            ]);
        }
        table.print()?;
        let may_fail = health.failure_tolerance;
        output::line(format!("{may_fail} servers may fail"))?;
    }
    match health.healthy {
        true => Ok(()),
        false => Err(Failure::refused("not all servers are healthy")),
    }
}
