//! Keyring operations: every ring of the federation at once.

use std::time::Duration;

use super::route::budget;
use super::{Inner, mismatched};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{InvalidKey, KeyringBackend, NodeFailure, Pool, RelayFactor, RingReport};
use crate::name::DatacenterName;
use crate::peers::Target;
use crate::reply::{KeyringReply, OperatorReply, RingOutcome};
use crate::request::{
    KeyFault, KeyringAction, KeyringScope, KeyringWrite, Operation, OperatorRequest,
};
use crate::time::Deadline;

/// One of the things that a keyring operation asks.
enum Part<'a> {
    Ring(&'a dyn KeyringBackend),
    /// All that another datacenter has, but the WAN's.
    Datacenter(DatacenterName),
}

impl Inner {
    pub(super) async fn keyring(
        &self,
        request: &OperatorRequest,
        action: &KeyringAction,
        scope: KeyringScope,
        relay: RelayFactor,
    ) -> Result<OperatorReply, OperatorError> {
        let budget = budget(self.keyring_deadline, request);
        let mut deadline = Deadline::new(&*self.timer, budget);
        let decision = self.authorize(request.token.as_ref(), request.operation.permission());
        deadline.bound(decision).await.unwrap_or_else(|| {
            Err(too_late(
                "the authorizer".into(),
                budget,
                Outcome::NotApplied,
            ))
        })?;
        if self.rings.is_empty() {
            return Err(OperatorError::unsupported("gossip"));
        }
        if scope == KeyringScope::LocalOnly && *action != KeyringAction::List {
            return Err(OperatorError::invalid_request(
                "local-only can only be set for list requests",
            ));
        }
        let parts = self.parts(scope);
        let asked = parts.iter().map(async |part| match part {
            Part::Ring(ring) => vec![self.outcome(*ring, ask(*ring, action, relay).await)],
            Part::Datacenter(datacenter) => self.remote_rings(datacenter, request, budget).await,
        });
        let answers = deadline.bound_all(asked).await;
        let rings = std::iter::zip(&parts, answers).flat_map(|(part, answer)| {
            answer.unwrap_or_else(|| vec![self.late(part, request, budget)])
        });
        Ok(OperatorReply::Keyring(KeyringReply {
            rings: rings.collect(),
        }))
    }

    /// In the order of the reply.
    fn parts(&self, scope: KeyringScope) -> Vec<Part<'_>> {
        let rings = self.rings.iter().map(|ring| &**ring);
        let rings =
            rings.filter(|ring| scope == KeyringScope::Federation || ring.pool() != Pool::Wan);
        let datacenters = match scope {
            KeyringScope::Federation => self.other_datacenters(),
            KeyringScope::LocalOnly | KeyringScope::Remote => Vec::new(),
        };
        let datacenters = datacenters.into_iter().map(Part::Datacenter);
        rings.map(Part::Ring).chain(datacenters).collect()
    }

    fn outcome(
        &self,
        ring: &dyn KeyringBackend,
        result: Result<RingReport, OperatorError>,
    ) -> RingOutcome {
        RingOutcome {
            datacenter: self.datacenter.clone(),
            pool: ring.pool(),
            result,
        }
    }

    fn late(&self, part: &Part<'_>, request: &OperatorRequest, budget: Duration) -> RingOutcome {
        let outcome = request.operation.unanswered();
        match part {
            Part::Ring(ring) => {
                let target = format!("the {} pool", ring.pool());
                self.outcome(*ring, Err(too_late(target, budget, outcome)))
            }
            Part::Datacenter(datacenter) => {
                let target = format!("datacenter {datacenter}");
                unasked(datacenter.clone(), too_late(target, budget, outcome))
            }
        }
    }

    /// The rings of another datacenter, as one of its servers tells them.
    async fn remote_rings(
        &self,
        datacenter: &DatacenterName,
        request: &OperatorRequest,
        budget: Duration,
    ) -> Vec<RingOutcome> {
        let mut request = request.clone();
        if let Operation::Keyring { scope, .. } = &mut request.operation {
            *scope = KeyringScope::Remote;
        }
        let target = Target::Datacenter(datacenter.clone());
        let error = match self.forward(&target, &request, budget).await {
            Ok(reply) => {
                let mut rings = match reply {
                    OperatorReply::Keyring(reply) => reply.rings,
                    _ => Vec::new(),
                };
                // Each datacenter speaks for itself, and only this server for the
                // WAN: no ring is told twice.
                rings.retain(|ring| ring.datacenter == *datacenter && ring.pool != Pool::Wan);
                rings.sort_by(|a, b| a.pool.cmp(&b.pool));
                rings.dedup_by(|a, b| a.pool == b.pool);
                if !rings.is_empty() {
                    return rings;
                }
                mismatched().with_outcome(request.operation.unanswered())
            }
            Err(error) => error,
        };
        vec![unasked(datacenter.clone(), error)]
    }

    fn other_datacenters(&self) -> Vec<DatacenterName> {
        let mut datacenters = self.peers.datacenters();
        datacenters.retain(|datacenter| *datacenter != self.datacenter);
        datacenters.sort();
        datacenters.dedup();
        datacenters
    }
}

async fn ask(
    ring: &dyn KeyringBackend,
    action: &KeyringAction,
    relay: RelayFactor,
) -> Result<RingReport, OperatorError> {
    match action {
        KeyringAction::List => ring.list(relay).await,
        KeyringAction::Install(key) => ring.install(key, relay).await,
        KeyringAction::Use(key) => ring.use_key(key, relay).await,
        KeyringAction::Remove(key) => ring.remove(key, relay).await,
        KeyringAction::Rehearse { write, fault } => rehearse(ring, *write, *fault, relay).await,
    }
}

/// What a ring would have answered to a key that is none, as memberlist's nodes
/// would: only installing looks at the size, and only after it was seen that
/// there is a ring at all.
async fn rehearse(
    ring: &dyn KeyringBackend,
    write: KeyringWrite,
    fault: KeyFault,
    relay: RelayFactor,
) -> Result<RingReport, OperatorError> {
    let size = match fault {
        KeyFault::Invalid(size @ InvalidKey::Size { .. }) => size,
        KeyFault::Invalid(invalid) => return Err(invalid.into()),
        KeyFault::TooLong { .. } => return Err(OperatorError::invalid_request(fault.to_string())),
    };
    let listed = ring.list(relay).await?;
    if listed
        .failures()
        .any(|(_, failure)| *failure == NodeFailure::EncryptionOff)
    {
        return Ok(listed);
    }
    let members = ring.members().map_err(|_| OperatorError::from(size))?;
    let mut report = RingReport::new(members.len());
    for node in members {
        match write {
            KeyringWrite::Install => report.failed(node, NodeFailure::KeySize),
            KeyringWrite::Use => report.failed(node, NodeFailure::KeyNotInstalled),
            KeyringWrite::Remove => report.done(),
        }
    }
    // Who is silent now would have been silent then. The listing does not tell
    // which ones, so the messages name all.
    report.responses = report.responses.min(listed.responses);
    report.errors = report.errors.min(listed.responses);
    Ok(report)
}

/// Stands for all rings of a datacenter that could not be asked for them.
fn unasked(datacenter: DatacenterName, error: OperatorError) -> RingOutcome {
    RingOutcome {
        datacenter,
        pool: Pool::Lan,
        result: Err(error),
    }
}

fn too_late(target: String, after: Duration, outcome: Outcome) -> OperatorError {
    OperatorError::new(ErrorKind::DeadlineExceeded { target, after }).with_outcome(outcome)
}
