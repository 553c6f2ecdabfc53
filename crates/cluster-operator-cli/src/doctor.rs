//! The command that looks for everything that is wrong.

use std::io::Write;

use cluster_operator::ServerId;
use cluster_operator::diagnosis::{DatacenterState, Diagnosis, Finding, FindingKind, Severity};

use crate::connection::Servers;
use crate::exit::Failure;
use crate::output::{self, BAD, GOOD, WARNING, safe, styled};

pub(crate) async fn run(servers: &Servers, json: bool) -> Result<(), Failure> {
    let (diagnosis, unseen) = servers.diagnose().await?;
    if json {
        let mut value = serde_json::to_value(&diagnosis).map_err(std::io::Error::from)?;
        if let Some(unseen) = unseen {
            value["Unverified"] = unseen.into();
        }
        output::json(&value)?;
    } else {
        print(&diagnosis, unseen)?;
    }
    if diagnosis.is_healthy() {
        return Ok(());
    }
    let wrong = diagnosis.findings.iter();
    let wrong = wrong
        .filter(|finding| finding.severity != Severity::Info)
        .count();
    Err(Failure::refused(format!("{wrong} findings need attention")))
}

fn print(diagnosis: &Diagnosis, unseen: Option<&str>) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    for datacenter in &diagnosis.datacenters {
        let name = safe(datacenter.name.as_str());
        if let Some(error) = &datacenter.error {
            writeln!(out, "{name}: {}", styled(BAD, safe(error)))?;
            continue;
        }
        let leader = match &datacenter.leader {
            Some(leader) => format!("{} leads", safe(title(datacenter, leader))),
            None => styled(BAD, "no leader"),
        };
        writeln!(
            out,
            "{name}: {leader}; {} voters, {} may fail",
            datacenter.voters, datacenter.failure_tolerance
        )?;
    }
    let rings = diagnosis.rings.len();
    let nodes: usize = diagnosis.rings.iter().map(|ring| ring.nodes).sum();
    writeln!(out, "{rings} rings with {nodes} nodes")?;
    for finding in &diagnosis.findings {
        let (style, word) = match finding.severity {
            Severity::Critical => (BAD, "critical"),
            Severity::Warning => (WARNING, "warning"),
            Severity::Info => (GOOD, "info"),
        };
        let place = finding.datacenter.as_ref().map(|name| format!("{name}: "));
        let place = place.unwrap_or_default();
        let message = safe(&format!("{place}{}", finding.message));
        writeln!(out, "\n{} {message}", styled(style, format!("{word}:")))?;
        writeln!(out, "  {}", safe(&finding.next_step))?;
        if let Some(command) = command(finding) {
            writeln!(out, "  $ cluster-operator {}", safe(&command))?;
        }
    }
    if let Some(unseen) = unseen {
        writeln!(out, "\n{}", styled(WARNING, format!("note: {unseen}")))?;
    }
    if diagnosis.is_healthy() {
        writeln!(out, "\n{}", styled(GOOD, "nothing is wrong"))?;
    }
    Ok(())
}

/// A server's name, or its id.
fn title<'a>(datacenter: &'a DatacenterState, id: &'a ServerId) -> &'a str {
    let mut servers = datacenter.servers.iter();
    let server = servers.find(|server| server.id == *id);
    let name = server.and_then(|server| server.name.as_ref());
    name.map_or(id.as_str(), |name| name.as_str())
}

/// The command that repairs it, or that shows more.
fn command(finding: &Finding) -> Option<String> {
    let subject = finding.subject.as_deref().map(quoted);
    let datacenter = finding.datacenter.as_ref();
    let datacenter = datacenter.map(|name| format!("-datacenter {} ", quoted(name.as_str())));
    let place = datacenter.unwrap_or_default();
    Some(match finding.kind {
        FindingKind::DeadVoter | FindingKind::DeadServer | FindingKind::RaftNotInGossip => {
            format!("{place}raft plan {}", subject?)
        }
        FindingKind::NoLeader | FindingKind::LongestLog | FindingKind::TwoLeaders => {
            format!("{place}raft list -stale")
        }
        FindingKind::KeyNotEverywhere | FindingKind::PrimaryDiffers => {
            "keyring rotate --key-file FILE".into()
        }
        FindingKind::RingTruncated | FindingKind::NodeError => "keyring list".into(),
        FindingKind::AutopilotDryRun
        | FindingKind::AutopilotStopped
        | FindingKind::AutopilotWaits
        | FindingKind::NoSpare
        | FindingKind::DetectorDisputed => format!("{place}autopilot state"),
        _ => return None,
    })
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
