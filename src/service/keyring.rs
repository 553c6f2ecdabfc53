//! Keyring operations: every ring of the federation at once.

use futures_util::future::{join, join_all};

use super::route::budget;
use super::{Inner, mismatched};
use crate::acl::Access;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{InvalidKey, KeyringBackend, NodeFailure, Pool, RelayFactor, RingReport};
use crate::name::DatacenterName;
use crate::peers::Target;
use crate::reply::{KeyringReply, OperatorReply, RingOutcome};
use crate::request::{
    KeyFault, KeyringAction, KeyringScope, KeyringWrite, Operation, OperatorRequest,
};
use crate::time::Deadline;

/// What all parts of one keyring operation have in common.
struct Fan<'a> {
    request: &'a OperatorRequest,
    deadline: Deadline<'a>,
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
        let fan = Fan {
            request,
            deadline: Deadline::new(&*self.timer, budget),
        };
        let decision = self.authorize(request.token.as_ref(), request.operation.permission());
        fan.bound(|| "the authorizer".into(), decision)
            .await
            .map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        if self.rings.is_empty() {
            return Err(OperatorError::unsupported("gossip"));
        }
        if scope == KeyringScope::LocalOnly && *action != KeyringAction::List {
            return Err(OperatorError::invalid_request(
                "local-only can only be set for list requests",
            ));
        }
        let local = self
            .rings
            .iter()
            .filter(|ring| scope == KeyringScope::Federation || ring.pool() != Pool::Wan)
            .map(|ring| self.ring(&**ring, action, relay, &fan));
        let remote = match scope {
            KeyringScope::Federation => self.other_datacenters(),
            KeyringScope::LocalOnly | KeyringScope::Remote => Vec::new(),
        };
        let remote = remote
            .into_iter()
            .map(|datacenter| self.remote_rings(datacenter, &fan));
        let (local, remote) = join(join_all(local), join_all(remote)).await;
        let rings = local.into_iter().chain(remote.into_iter().flatten());
        Ok(OperatorReply::Keyring(KeyringReply {
            rings: rings.collect(),
        }))
    }

    async fn ring(
        &self,
        ring: &dyn KeyringBackend,
        action: &KeyringAction,
        relay: RelayFactor,
        fan: &Fan<'_>,
    ) -> RingOutcome {
        let pool = ring.pool();
        let result = fan
            .bound(|| format!("the {pool} pool"), ask(ring, action, relay))
            .await;
        RingOutcome {
            datacenter: self.datacenter.clone(),
            pool,
            result,
        }
    }

    /// The rings of another datacenter, as one of its servers tells them.
    async fn remote_rings(&self, datacenter: DatacenterName, fan: &Fan<'_>) -> Vec<RingOutcome> {
        let mut request = fan.request.clone();
        if let Operation::Keyring { scope, .. } = &mut request.operation {
            *scope = KeyringScope::Remote;
        }
        let target = Target::Datacenter(datacenter.clone());
        let answer = self.forward(&target, &request, fan.deadline.after());
        let result = fan
            .bound(|| format!("datacenter {datacenter}"), answer)
            .await;
        let error = match result {
            Ok(OperatorReply::Keyring(mut reply)) => {
                // Each datacenter speaks for itself, and only this server for the
                // WAN: no ring is told twice.
                reply
                    .rings
                    .retain(|ring| ring.datacenter == datacenter && ring.pool != Pool::Wan);
                reply.rings.sort_by(|a, b| a.pool.cmp(&b.pool));
                reply.rings.dedup_by(|a, b| a.pool == b.pool);
                if !reply.rings.is_empty() {
                    return reply.rings;
                }
                mismatched()
            }
            Ok(_) => mismatched(),
            Err(error) => error,
        };
        vec![RingOutcome {
            datacenter,
            pool: Pool::Lan,
            result: Err(error),
        }]
    }

    fn other_datacenters(&self) -> Vec<DatacenterName> {
        let mut datacenters = self.peers.datacenters();
        datacenters.retain(|datacenter| *datacenter != self.datacenter);
        datacenters.sort();
        datacenters.dedup();
        datacenters
    }
}

impl Fan<'_> {
    /// The work's result, or that it came too late.
    async fn bound<T>(
        &self,
        target: impl FnOnce() -> String,
        work: impl Future<Output = Result<T, OperatorError>>,
    ) -> Result<T, OperatorError> {
        self.deadline.bound(work).await.unwrap_or_else(|| {
            let outcome = match self.request.operation.permission().1 {
                Access::Read => Outcome::NotApplied,
                Access::Write => Outcome::Unknown,
            };
            let target = target();
            let after = self.deadline.after();
            let error = OperatorError::new(ErrorKind::DeadlineExceeded { target, after });
            Err(error.with_outcome(outcome))
        })
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
