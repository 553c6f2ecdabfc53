//! Keyring operations on all rings of the federation at once.

use std::time::Duration;

use super::raft::Progress;
use super::{Inner, deadline_exceeded, mismatched};
use crate::error::{OperatorError, Outcome};
use crate::keyring::{GossipQuery, KeyChange, KeyringBackend, Pool, RelayFactor, RingReport};
use crate::operation::{
    KeyringAction, KeyringReply, KeyringScope, Operation, OperatorReply, RingOutcome,
};
use crate::peers::{Envelope, Forwarded, Target};
use crate::timer::Budget;
use crate::types::{DatacenterName, cut_name};

/// The largest number of rings that is accepted from another datacenter.
const RINGS: usize = 256;

/// A part of a keyring operation.
enum Part<'a> {
    /// A ring of this server, and the query with its answers.
    Ring(&'a dyn KeyringBackend, GossipQuery),
    /// All rings of another datacenter except the WAN ring, and the envelope for it.
    Datacenter(DatacenterName, Result<Envelope, OperatorError>),
}

impl Inner {
    pub(super) async fn keyring(
        &self,
        call: &Forwarded,
        action: &KeyringAction,
        scope: KeyringScope,
        relay: RelayFactor,
        progress: &Progress,
    ) -> Result<OperatorReply, OperatorError> {
        let budget = self.budget(self.keyring_deadline, call);
        let mut deadline = budget.deadline();
        let request = &call.request;
        let (token, permission) = (request.token.as_ref(), request.operation.permission());
        let caller = self.authorize_within(budget, &mut deadline, token, permission);
        let _ = progress.identity.set(caller.await?);
        if self.rings.is_empty() {
            return Err(OperatorError::unsupported("gossip"));
        }
        if scope == KeyringScope::LocalOnly && *action != KeyringAction::List {
            return Err(OperatorError::invalid_request(
                "local-only can only be set for list requests",
            ));
        }
        let parts = self.parts(call, scope, relay, budget);
        if parts.is_empty() && scope == KeyringScope::Remote {
            return Err(OperatorError::unsupported("gossip inside this datacenter"));
        }
        progress.begin();
        let asked = parts.iter().map(async |part| match part {
            Part::Ring(ring, query) => {
                let result = ask(*ring, action, query).await;
                vec![self.outcome(*ring, query, result)]
            }
            Part::Datacenter(datacenter, envelope) => {
                let operation = &request.operation;
                self.remote_rings(datacenter, envelope, operation, budget.left())
                    .await
            }
        });
        let answers = deadline.bound_all(asked).await;
        let rings = std::iter::zip(&parts, answers).flat_map(|(part, answer)| {
            answer.unwrap_or_else(|| vec![self.part_timed_out(part, call, budget.whole())])
        });
        let reply = KeyringReply {
            rings: rings.collect(),
        };
        let reply = match action {
            KeyringAction::List => reply.listed(),
            _ => reply.confirmed(),
        };
        reply.map(OperatorReply::Keyring)
    }

    /// Returns the parts of the operation, in the order of the reply.
    fn parts(
        &self,
        call: &Forwarded,
        scope: KeyringScope,
        relay: RelayFactor,
        budget: Budget<'_>,
    ) -> Vec<Part<'_>> {
        let rings = self.rings.iter().map(|ring| &**ring);
        let rings =
            rings.filter(|ring| scope == KeyringScope::Federation || *ring.pool() != Pool::Wan);
        let timeout = budget.share();
        let query = || GossipQuery::new(timeout).with_relay(relay);
        let mut parts: Vec<_> = rings.map(|ring| Part::Ring(ring, query())).collect();
        let datacenters = match scope {
            KeyringScope::Federation => self.other_datacenters(),
            KeyringScope::LocalOnly | KeyringScope::Remote => Vec::new(),
        };
        if !datacenters.is_empty() {
            // All datacenters receive the same envelope, with one request id.
            let mut call = call.clone();
            if let Operation::Keyring { scope, .. } = &mut call.request.operation {
                *scope = KeyringScope::Remote;
            }
            let envelope = self.envelope(call, false, budget);
            let asked = datacenters.into_iter();
            parts.extend(asked.map(|name| Part::Datacenter(name, envelope.clone())));
        }
        parts
    }

    /// Returns the outcome of a ring, also if the call failed.
    fn outcome(
        &self,
        ring: &dyn KeyringBackend,
        query: &GossipQuery,
        result: Result<(), OperatorError>,
    ) -> RingOutcome {
        // In a pool without nodes, no node was asked.
        let report = query.answers.report().filter(|report| report.nodes > 0);
        let error = match (&report, result.err()) {
            (Some(_), error) => error,
            (None, error) => {
                let error = error.unwrap_or_else(|| OperatorError::backend("no node was asked"));
                Some(error.with_outcome(Outcome::NotApplied))
            }
        };
        RingOutcome {
            datacenter: self.datacenter.clone(),
            pool: ring.pool().clone(),
            report,
            error,
        }
    }

    /// Returns the outcome of a part that did not end within the budget.
    fn part_timed_out(&self, part: &Part<'_>, call: &Forwarded, budget: Duration) -> RingOutcome {
        let outcome = call.request.operation.unanswered();
        match part {
            Part::Ring(ring, query) => {
                let target = format!("the {} pool", ring.pool());
                self.outcome(
                    *ring,
                    query,
                    Err(deadline_exceeded(target, budget, outcome)),
                )
            }
            Part::Datacenter(datacenter, _) => {
                let target = format!("datacenter {datacenter}");
                unreported(
                    datacenter.clone(),
                    deadline_exceeded(target, budget, outcome),
                )
            }
        }
    }

    /// Returns the rings of another datacenter, as one of its servers reports them.
    async fn remote_rings(
        &self,
        datacenter: &DatacenterName,
        envelope: &Result<Envelope, OperatorError>,
        operation: &Operation,
        budget: Duration,
    ) -> Vec<RingOutcome> {
        let target = Target::Datacenter(datacenter.clone());
        let answer = match envelope {
            Ok(envelope) => {
                self.send(&target, envelope.clone(), operation, budget)
                    .await
            }
            Err(error) => Err(error.clone()),
        };
        // An error can hold the outcomes of the rings too.
        let reply = match answer {
            Ok(OperatorReply::Keyring(reply)) => Ok(reply),
            Ok(_) => Ok(KeyringReply::default()),
            Err(error) => error.into_reply(),
        };
        let mut rings = match reply {
            Ok(reply) => reply.rings,
            Err(error) => return vec![unreported(datacenter.clone(), error.bounded())],
        };
        let unread = operation.unanswered();
        if rings.len() > RINGS {
            let error = OperatorError::invalid_reply(format!(
                "it reports {} rings, and at most {RINGS} are accepted from a datacenter",
                rings.len()
            ));
            return vec![unreported(datacenter.clone(), error.with_outcome(unread))];
        }
        // A datacenter reports only its own rings, and the WAN ring is this server's to
        // report, so that no ring is reported twice.
        rings.retain(|ring| ring.datacenter == *datacenter && ring.pool != Pool::Wan);
        rings.sort_by(|a, b| a.pool.cmp(&b.pool));
        rings.dedup_by(|a, b| a.pool == b.pool);
        if rings.is_empty() {
            return vec![unreported(
                datacenter.clone(),
                mismatched().with_outcome(unread),
            )];
        }
        let rings = rings.into_iter();
        rings.map(|ring| accepted(ring, unread)).collect()
    }

    pub(super) fn other_datacenters(&self) -> Vec<DatacenterName> {
        let mut datacenters = self.peers.datacenters();
        datacenters.retain(|datacenter| *datacenter != self.datacenter);
        datacenters.sort();
        datacenters.dedup();
        datacenters
    }
}

/// Checks the outcome of a ring of another server and limits its size. An inconsistent
/// one becomes an invalid reply with the outcome `unread`.
fn accepted(ring: RingOutcome, unread: Outcome) -> RingOutcome {
    let RingOutcome {
        datacenter,
        pool,
        report,
        error,
    } = ring;
    let pool = match pool {
        Pool::Segment(name) => Pool::Segment(cut_name(name)),
        pool => pool,
    };
    let error = error.map(|error| error.bounded().forwarded());
    let report = match (report.map(RingReport::accepted), &error) {
        (Some(Some(report)), _) => Some(report),
        (None, Some(_)) => None,
        (Some(None), _) | (None, None) => {
            let error = OperatorError::invalid_reply(
                "a ring's report does not add up: check that all servers run the same version",
            );
            return RingOutcome::failed(datacenter, pool, error.with_outcome(unread));
        }
    };
    RingOutcome {
        datacenter,
        pool,
        report,
        error,
    }
}

async fn ask(
    ring: &dyn KeyringBackend,
    action: &KeyringAction,
    query: &GossipQuery,
) -> Result<(), OperatorError> {
    let change = match action {
        KeyringAction::List => return ring.list(query).await,
        KeyringAction::Install(key) => KeyChange::Install(key.clone()),
        KeyringAction::Use(key) => KeyChange::Use(key.clone()),
        KeyringAction::Remove(key) => KeyChange::Remove(key.clone()),
    };
    ring.change(&change, query).await
}

/// The outcome of a datacenter that did not report its rings.
fn unreported(datacenter: DatacenterName, error: OperatorError) -> RingOutcome {
    RingOutcome::failed(datacenter, Pool::Lan, error)
}
