//! The commands about autopilot.

use std::time::{Duration, SystemTime};

use cluster_operator::ServerId;
use cluster_operator::autopilot::{
    ActionResult, AutopilotConfiguration, AutopilotReport, AutopilotServer, AutopilotState,
    DriverChange, RaftRole, ServerHealth,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::connection::Servers;
use crate::exit::Failure;
use crate::flags::{Autopilot, Settings};
use crate::output::{self, BAD, GOOD, Table, WARNING, safe, styled};

pub(crate) async fn run(command: Autopilot, servers: &Servers, json: bool) -> Result<(), Failure> {
    match command {
        Autopilot::Get => show(&read(servers).await?, json),
        Autopilot::Set(settings) => {
            let mut configuration = read(servers).await?;
            let change = apply(settings, &mut configuration);
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
        Autopilot::State => state(servers, json).await,
    }
}

async fn read(servers: &Servers) -> Result<AutopilotConfiguration, Failure> {
    let read = servers.read(async |client| client.autopilot_configuration().await);
    Ok(read.await?)
}

/// Changes the settings that are named, and returns the change of those that Consul lacks.
fn apply(settings: Settings, it: &mut AutopilotConfiguration) -> DriverChange {
    fn set<T>(field: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *field = value;
        }
    }
    set(&mut it.cleanup_dead_servers, settings.cleanup_dead_servers);
    set(
        &mut it.last_contact_threshold,
        settings.last_contact_threshold,
    );
    set(&mut it.max_trailing_logs, settings.max_trailing_logs);
    set(&mut it.min_quorum, settings.min_quorum);
    set(
        &mut it.server_stabilization_time,
        settings.server_stabilization_time,
    );
    set(&mut it.redundancy_zone_tag, settings.redundancy_zone_tag);
    set(
        &mut it.disable_upgrade_migration,
        settings.disable_upgrade_migration,
    );
    set(&mut it.upgrade_version_tag, settings.upgrade_version_tag);
    DriverChange {
        failed_hold: settings.failed_hold.unwrap_or_default(),
        intended_size: settings.intended_size.unwrap_or_default(),
        dry_run: settings.dry_run.unwrap_or_default(),
    }
}

/// The settings in the order of the table. The last three are shown only where an autopilot
/// of the library runs.
const SETTINGS: [&str; 11] = [
    "CleanupDeadServers",
    "LastContactThreshold",
    "MaxTrailingLogs",
    "MinQuorum",
    "ServerStabilizationTime",
    "RedundancyZoneTag",
    "DisableUpgradeMigration",
    "UpgradeVersionTag",
    "FailedHold",
    "IntendedSize",
    "DryRun",
];

fn show(configuration: &AutopilotConfiguration, json: bool) -> Result<(), Failure> {
    let mut shown = json!({
        "CleanupDeadServers": configuration.cleanup_dead_servers,
        "LastContactThreshold": output::duration(configuration.last_contact_threshold),
        "MaxTrailingLogs": configuration.max_trailing_logs,
        "MinQuorum": configuration.min_quorum,
        "ServerStabilizationTime": output::duration(configuration.server_stabilization_time),
        "RedundancyZoneTag": configuration.redundancy_zone_tag,
        "DisableUpgradeMigration": configuration.disable_upgrade_migration,
        "UpgradeVersionTag": configuration.upgrade_version_tag,
        "FailedHold": configuration.failed_hold.map(output::duration),
        "IntendedSize": configuration.intended_size,
        "DryRun": configuration.dry_run,
        "CreateIndex": configuration.create_index,
        "ModifyIndex": configuration.modify_index,
    });
    if let Value::Object(shown) = &mut shown {
        shown.retain(|_, value| !value.is_null());
    }
    if json {
        return Ok(output::json(&shown)?);
    }
    let mut table = Table::new(["Setting", "Value"]);
    for name in SETTINGS {
        match shown.get(name) {
            Some(Value::String(text)) => table.row([flag(name), safe(text)]),
            Some(value) => table.row([flag(name), value.to_string()]),
            None => {}
        }
    }
    Ok(table.print()?)
}

/// Returns the flag of a setting: `--min-quorum` sets `MinQuorum`.
fn flag(name: &str) -> String {
    let mut flag = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !flag.is_empty() {
            flag.push('-');
        }
        flag.push(letter.to_ascii_lowercase());
    }
    flag
}

async fn health(servers: &Servers, json: bool) -> Result<(), Failure> {
    let health = servers
        .read(async |client| client.autopilot_health().await)
        .await?;
    if json {
        let servers = health.servers.iter().map(server_in_json);
        output::json(&json!({
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
                healthy(server),
                role(server.role).into(),
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

async fn state(servers: &Servers, json: bool) -> Result<(), Failure> {
    let state = servers
        .read(async |client| client.autopilot_state().await)
        .await?;
    if json {
        return Ok(output::json(&in_json(&state))?);
    }
    print_servers(&state)?;
    match &state.autopilot {
        Some(report) => print_report(&state, report)?,
        // Consul has one of its own, and its dialects leave the report out.
        None => output::line("\nthe server shows no report of an autopilot of this library")?,
    }
    Ok(())
}

/// The health in a word.
fn healthy(server: &AutopilotServer) -> String {
    match server.health {
        Some(ServerHealth::Joining) => styled(WARNING, "joining"),
        Some(ServerHealth::Unknown) => styled(WARNING, "unknown"),
        _ if server.healthy => styled(GOOD, "yes"),
        _ => styled(BAD, "no"),
    }
}

fn role(role: RaftRole) -> &'static str {
    match role {
        RaftRole::Leader => "leader",
        RaftRole::Voter => "voter",
        RaftRole::Nonvoter => "non-voter",
    }
}

fn print_servers(state: &AutopilotState) -> Result<(), Failure> {
    let mut table = Table::new([
        "Node",
        "ID",
        "Role",
        "Healthy",
        "Rule",
        "For",
        "Next look",
        "Reason",
    ]);
    for server in &state.servers {
        let report = state.autopilot.as_ref();
        let why = report.and_then(|report| report.servers.get(&server.id));
        let [rule, lasted, next, reason] = match why {
            Some(why) => [
                safe(&why.rule),
                output::duration(Duration::from_secs(why.lasted.as_secs())),
                moment(why.next_check),
                safe(&why.reason),
            ],
            None => Default::default(),
        };
        table.row([
            safe(server.name.as_str()),
            safe(server.id.as_str()),
            role(server.role).into(),
            healthy(server),
            rule,
            lasted,
            next,
            reason,
        ]);
    }
    Ok(table.print()?)
}

fn print_report(state: &AutopilotState, report: &AutopilotReport) -> Result<(), Failure> {
    let acts = match report.dry_run {
        true => styled(WARNING, "is in a dry run"),
        false => styled(GOOD, "acts"),
    };
    let (voters, intended) = (report.voters, report.intended_size);
    let hold = output::duration(report.failed_hold);
    output::line(format!(
        "\nautopilot {acts}: {voters} voters of {intended} intended, hold {hold}"
    ))?;
    if let (Some(last), Some(next)) = (report.last_check, report.next_check) {
        output::line(format!("last look {}, next {}", moment(last), moment(next)))?;
    }
    if let Some(action) = &report.decided {
        let would = match report.dry_run {
            true => "would",
            false => "decided to",
        };
        // The action of this decision is the newest one, if it was executed.
        let newest = report.actions.first().filter(|it| it.reason == *action);
        let result = newest.filter(|it| it.result != ActionResult::DryRun);
        let result = result.map(|it| format!(" ({})", it.result.name()));
        let text = format!("it {would} {}{}", safe(action), result.unwrap_or_default());
        output::line(styled(WARNING, text))?;
    }
    if let Some(blocked) = &report.blocked {
        let server = blocked.server.as_ref().map(|id| title(state, id) + ": ");
        let (rule, reason) = (safe(&blocked.rule), safe(&blocked.reason));
        let text = format!("blocked by {rule}: {}{reason}", server.unwrap_or_default());
        output::line(styled(WARNING, text))?;
    }
    if report.actions.is_empty() {
        output::line("no action since it started")?;
        return Ok(());
    }
    output::line("")?;
    let mut table = Table::new(["Time", "Result", "Action", "Error"]);
    for action in &report.actions {
        let style = match action.result {
            ActionResult::Applied => GOOD,
            ActionResult::DryRun | ActionResult::Running => WARNING,
            _ => BAD,
        };
        table.row([
            moment(action.time),
            styled(style, action.result.name()),
            safe(&action.reason),
            safe(action.error.as_deref().unwrap_or_default()),
        ]);
    }
    Ok(table.print()?)
}

/// The name of a server, or its id.
fn title(state: &AutopilotState, id: &ServerId) -> String {
    let mut servers = state.servers.iter();
    let named = servers.find(|server| server.id == *id && !server.name.as_str().is_empty());
    safe(named.map_or(id.as_str(), |server| server.name.as_str()))
}

/// A moment in whole seconds, as RFC 3339 writes it.
fn moment(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(second)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

fn server_in_json(server: &AutopilotServer) -> Value {
    json!({
        "ID": server.id,
        "Name": server.name,
        "Address": server.address,
        "Status": server.node_status,
        "Version": server.version,
        "Healthy": server.healthy,
        "Health": server.health,
        "Role": role(server.role),
        "LastContact": output::duration(server.last_contact),
        "LastTerm": server.last_term,
        "LastIndex": server.last_index,
        "StableSince": moment(server.stable_since),
    })
}

fn in_json(state: &AutopilotState) -> Value {
    let servers = state.servers.iter().map(server_in_json);
    json!({
        "Healthy": state.healthy,
        "FailureTolerance": state.failure_tolerance,
        "OptimisticFailureTolerance": state.optimistic_failure_tolerance,
        "Leader": state.leader,
        "Voters": state.voters,
        "Servers": servers.collect::<Vec<_>>(),
        "Autopilot": state.autopilot.as_ref().map(report_in_json),
    })
}

fn report_in_json(report: &AutopilotReport) -> Value {
    let servers = report.servers.iter().map(|(id, server)| {
        let server = json!({
            "Rule": server.rule,
            "Reason": server.reason,
            "Lasted": output::duration(server.lasted),
            "NextCheck": moment(server.next_check),
        });
        (id.to_string(), server)
    });
    let actions = report.actions.iter().map(|action| {
        json!({
            "Time": moment(action.time),
            "Kind": action.kind,
            "Server": action.server,
            "ReplacedBy": action.replaced_by,
            "Reason": action.reason,
            "Result": action.result,
            "Error": action.error,
        })
    });
    let blocked = report.blocked.as_ref().map(|blocked| {
        json!({
            "Rule": blocked.rule,
            "Reason": blocked.reason,
            "Server": blocked.server,
        })
    });
    json!({
        "DryRun": report.dry_run,
        "IntendedSize": report.intended_size,
        "Voters": report.voters,
        "FailedHold": output::duration(report.failed_hold),
        "LastCheck": report.last_check.map(moment),
        "NextCheck": report.next_check.map(moment),
        "Decided": report.decided,
        "Blocked": blocked,
        "Servers": servers.collect::<serde_json::Map<_, _>>(),
        "Actions": actions.collect::<Vec<_>>(),
    })
}
