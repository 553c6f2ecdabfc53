//! The findings of the autopilot that acts on a datacenter.

use std::time::Duration;

use super::FindingKind::{
    AutopilotDryRun, AutopilotStopped, AutopilotWaits, DetectorDisputed, NoSpare,
};
use super::Severity::{Info, Warning};
use super::examine::Findings;
use super::servers::Raft;
use crate::autopilot::{ActionResult, AutopilotReport, ReportedServer};
use crate::types::ServerId;

/// The time from which a dispute about a server is worth a finding.
const DISPUTE: Duration = Duration::from_secs(10);

impl Raft<'_> {
    /// Finds what the leader's autopilot would do or could not do, and why it does nothing.
    pub(super) fn find_autopilot(&self, findings: &mut Findings) {
        let Some(report) = &self.reference.autopilot else {
            return;
        };
        let at = Some(self.name);
        if let Some(action) = report.decided.as_ref().filter(|_| report.dry_run) {
            let message = format!("autopilot is in a dry run, and would {action}");
            let next = "set DryRun to false to let it act, or make the change yourself";
            findings.add((Warning, AutopilotDryRun), at, None, message, next);
        }
        self.find_failure(report, findings);
        self.find_stop(report, findings);
        for (id, server) in &report.servers {
            self.find_reason(id, server, findings);
        }
    }

    /// Finds that the action that an autopilot decided on has failed.
    fn find_failure(&self, report: &AutopilotReport, findings: &mut Findings) {
        let mut actions = report.actions.iter();
        let newest = actions.find(|action| action.result != ActionResult::Running);
        let decided = newest.filter(|action| report.decided.as_ref() == Some(&action.reason));
        if let Some(action) = decided
            && let Some(error) = &action.error
        {
            let message = format!("autopilot failed to act ({}): {error}", action.reason);
            let next = match action.result {
                ActionResult::Unknown => "see whether the change was made; autopilot looks again",
                _ => "do what the error says, or make the change yourself; autopilot tries again",
            };
            let (at, subject) = (Some(self.name), Some(action.server.as_str()));
            findings.add((Warning, AutopilotStopped), at, subject, message, next);
        }
    }

    /// Finds what keeps an autopilot from all changes.
    fn find_stop(&self, report: &AutopilotReport, findings: &mut Findings) {
        let Some(blocked) = report.blocked.as_ref().filter(|it| it.server.is_none()) else {
            return;
        };
        let reason = &blocked.reason;
        let (kind, message, next) = match blocked.rule.as_str() {
            // A new leader looks soon.
            "late" if report.last_check.is_none() => return,
            "settings" => (
                (Warning, AutopilotStopped),
                format!("autopilot acts on nothing: {reason}"),
                "change the configuration of autopilot, or the settings of the program",
            ),
            "input" | "late" => (
                (Warning, AutopilotStopped),
                format!("autopilot acts on nothing: {reason}"),
                "look into the log of the leader",
            ),
            _ if report.servers.is_empty() => return,
            _ => (
                (Info, AutopilotWaits),
                format!("autopilot changes nothing now: {reason}"),
                "look again in a few seconds",
            ),
        };
        findings.add(kind, Some(self.name), None, message, next);
    }

    /// Finds what keeps an autopilot from a change of a server.
    fn find_reason(&self, id: &ServerId, server: &ReportedServer, findings: &mut Findings) {
        let (name, reason) = (self.title(id), &server.reason);
        let (kind, message, next) = match server.rule.as_str() {
            "min-quorum" => (
                (Warning, NoSpare),
                format!("no spare can take the place of {name}: {reason}"),
                "add a server as the message says, or remove this one as raft/removal-plan shows",
            ),
            "known" | "agreement" if server.lasted >= DISPUTE => (
                (Info, DetectorDisputed),
                format!("autopilot does not touch {name}: {reason}"),
                "see whether it is up; if it is gone for good, remove it as raft/removal-plan shows",
            ),
            "hold" | "one-change" | "cleanup" | "window" | "majority" | "replace-first" => (
                (Info, AutopilotWaits),
                format!("autopilot leaves {name} alone for now: {reason}"),
                "start it if it is down; autopilot/state shows when it is looked at again",
            ),
            _ => return,
        };
        let subject = Some(id.as_str());
        findings.add(kind, Some(self.name), subject, message, next);
    }
}
