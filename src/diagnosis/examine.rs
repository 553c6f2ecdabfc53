//! The observations of a federation, and the findings in them.

use super::rings::Gossip;
use super::{AskedServer, Diagnosis, Finding, FindingKind, Severity};
use crate::error::{ErrorKind, KeyringReply, OperatorError};
use crate::types::{DatacenterName, QuorumGuard};

/// The answers of the servers and of the rings.
pub(crate) struct Observations {
    /// The datacenters, that of the asked server first.
    pub(crate) datacenters: Vec<ObservedDatacenter>,
    /// The rings; `None` if the server has no gossip.
    pub(crate) rings: Option<Result<KeyringReply, OperatorError>>,
    /// The quorum guard of the service that asked, which the others are taken to have too.
    pub(crate) guard: QuorumGuard,
}

/// The servers of a datacenter, each with its own view.
pub(crate) struct ObservedDatacenter {
    pub(crate) name: DatacenterName,
    pub(crate) servers: Result<Vec<AskedServer>, OperatorError>,
}

impl Observations {
    /// Returns the state of the federation, and what is wrong with it.
    pub(crate) fn examine(self) -> Diagnosis {
        let mut findings = Findings::default();
        if self.datacenters.is_empty() && self.rings.is_none() {
            findings.add(
                (Severity::Critical, FindingKind::DatacenterUnreachable),
                None,
                None,
                "no server was asked",
                "name the servers of the federation",
            );
        }
        let gossip = Gossip::new(self.rings.as_ref());
        let datacenters = self.datacenters.iter();
        let datacenters = datacenters
            .map(|datacenter| super::raft::examine(datacenter, self.guard, &gossip, &mut findings))
            .collect();
        let rings = super::rings::examine(self.rings, &mut findings);
        let mut findings = findings.0;
        findings.sort_by_key(|finding| finding.severity);
        Diagnosis {
            findings,
            datacenters,
            rings,
        }
    }
}

/// The findings so far.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding of a datacenter.
    pub(super) fn add(
        &mut self,
        (severity, kind): (Severity, FindingKind),
        datacenter: Option<&DatacenterName>,
        subject: Option<&str>,
        message: impl Into<String>,
        next_step: impl Into<String>,
    ) {
        self.0.push(Finding {
            severity,
            kind,
            datacenter: datacenter.cloned(),
            subject: subject.map(str::to_owned),
            message: message.into(),
            next_step: next_step.into(),
        });
    }
}

/// Returns true if a server was not reached, or did not answer in time.
pub(super) fn is_unreachable(error: &OperatorError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unreachable { .. }
            | ErrorKind::DeadlineExceeded { .. }
            | ErrorKind::NoPathToDatacenter { .. }
    )
}

/// Joins names for a sentence: ten of them at most.
pub(super) fn names<T: AsRef<str>>(names: &[T]) -> String {
    const NAMED: usize = 10;
    let named: Vec<_> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let mut text = named.join(", ");
    if let more @ 1.. = names.len().saturating_sub(NAMED) {
        text += &format!(" and {more} more");
    }
    text
}
