//! The steps of a rotation, the state of each ring, and the reasons for an early end.
//!
//! Nothing here contains a key.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{GossipKey, NodeMessage, Pool, RingReport};
use crate::operation::RingOutcome;
use crate::types::{DatacenterName, NodeName};

/// A step of a rotation or of a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RotationStep {
    /// Lists the rings; nothing has changed.
    Look,
    /// Installs the new key.
    Install,
    /// Verifies that every node has it.
    VerifyInstall,
    /// Uses the new key. This is the point of no return.
    Use,
    /// Verifies that it is every node's primary.
    VerifyUse,
    /// Removes the old keys.
    Remove,
    /// Verifies that they are gone.
    VerifyRemove,
}

impl RotationStep {
    /// All steps, in order.
    pub const ALL: [RotationStep; 7] = [
        RotationStep::Look,
        RotationStep::Install,
        RotationStep::VerifyInstall,
        RotationStep::Use,
        RotationStep::VerifyUse,
        RotationStep::Remove,
        RotationStep::VerifyRemove,
    ];
}

impl fmt::Display for RotationStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RotationStep::Look => "listing the rings",
            RotationStep::Install => "installing the new key",
            RotationStep::VerifyInstall => "verifying that every node has the new key",
            RotationStep::Use => "using the new key",
            RotationStep::VerifyUse => "verifying that every node uses the new key",
            RotationStep::Remove => "removing the old keys",
            RotationStep::VerifyRemove => "verifying that the old keys are gone",
        })
    }
}

/// The state of a ring during a rotation. It names old keys by their fingerprints.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingState {
    /// The ring's datacenter.
    pub datacenter: DatacenterName,
    /// The ring's pool.
    pub pool: Pool,
    /// The number of its nodes that gossip does not declare failed.
    pub nodes: usize,
    /// The number of nodes that answered.
    pub responses: usize,
    /// The number of nodes that answered with a failure.
    pub errors: usize,
    /// The number of nodes that have the new key.
    pub with_new_key: usize,
    /// The number of nodes that encrypt with it; `None` if the ring does not report it.
    pub using_new_key: Option<usize>,
    /// The [fingerprints](GossipKey::fingerprint) of the other keys, and the number of
    /// nodes that have each.
    pub old_keys: BTreeMap<String, usize>,
    /// The number of nodes that listed only some of their keys.
    pub truncated: usize,
    /// The nodes that have not answered, a hundred of them at most.
    pub silent: Vec<NodeName>,
    /// The members that gossip has declared failed, so that they were not asked, and
    /// the expected nodes that are not members; a hundred of them at most.
    pub absent: Vec<NodeName>,
    /// The messages of single nodes.
    pub messages: BTreeMap<NodeName, NodeMessage>,
    /// The error of the call to the ring.
    pub error: Option<OperatorError>,
}

impl RingState {
    /// Without a new key, all keys are old ones.
    pub(super) fn new(ring: &RingOutcome, new_key: Option<&GossipKey>) -> Self {
        let report = ring.report.clone().unwrap_or_default();
        let old_keys = report.keys.iter().filter(|(key, _)| Some(*key) != new_key);
        let old_keys = old_keys.map(|(key, count)| (key.fingerprint(), count));
        let tells_primaries = !report.primary_keys.is_empty();
        RingState {
            datacenter: ring.datacenter.clone(),
            pool: ring.pool.clone(),
            nodes: report.nodes,
            responses: report.responses,
            errors: report.errors,
            with_new_key: new_key.map_or(0, |key| report.keys.get(key)),
            using_new_key: new_key
                .filter(|_| tells_primaries)
                .map(|key| report.primary_keys.get(key)),
            old_keys: old_keys.collect(),
            truncated: report.truncated,
            silent: report.silent,
            absent: report.absent,
            messages: report.messages,
            error: ring.error.clone(),
        }
    }

    /// Returns true if every node has the new key.
    pub fn has_new_key(&self) -> bool {
        self.error.is_none() && self.with_new_key == self.nodes
    }

    pub(super) fn uses_new_key(&self) -> bool {
        self.using_new_key.is_none_or(|using| using == self.nodes)
    }

    pub(super) fn is_known_to_use_new_key(&self) -> bool {
        self.using_new_key == Some(self.nodes)
    }

    pub(super) fn may_use_new_key(&self) -> bool {
        self.using_new_key.is_some_and(|using| using > 0)
    }

    pub(super) fn is(&self, datacenter: &DatacenterName, pool: &Pool) -> bool {
        (&self.datacenter, &self.pool) == (datacenter, pool)
    }

    /// Adds nodes that are absent.
    pub(super) fn add_absent(&mut self, nodes: impl IntoIterator<Item = NodeName>) {
        self.absent.extend(nodes);
        self.absent.sort_unstable();
        self.absent.dedup();
        self.absent.truncate(RingReport::NAMED);
    }
}

impl fmt::Display for RingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.datacenter, self.pool)?;
        if let Some(error) = &self.error {
            write!(f, "{error}")?;
            if self.nodes == 0 {
                return Ok(());
            }
            f.write_str("; ")?;
        }
        let nodes = self.nodes;
        write!(f, "{} of {nodes} nodes answered", self.responses)?;
        write!(f, ", {} have the new key", self.with_new_key)?;
        if let Some(using) = self.using_new_key {
            write!(f, ", {using} use it")?;
        }
        for (fingerprint, count) in &self.old_keys {
            write!(f, ", {count} have the old key {fingerprint}")?;
        }
        for node in &self.silent {
            write!(f, "; {node} is silent")?;
        }
        for node in &self.absent {
            write!(f, "; {node} has failed and was not asked")?;
        }
        for (node, message) in &self.messages {
            match message {
                NodeMessage::Failed(failure) => write!(f, "; {node}: {failure}")?,
                NodeMessage::Truncated { shown, total } => {
                    write!(f, "; {node} listed {shown} of its {total} keys")?;
                }
                NodeMessage::Note(note) => write!(f, "; {node}: {note}")?,
            }
        }
        Ok(())
    }
}

/// Something that the rings could not show, so that it was not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unverified {
    /// The ring does not report primary keys, as on Consul 0.7. Every node has confirmed
    /// that it uses the new key.
    #[error("the ring {0} ({1}) does not show which key its nodes use")]
    Primary(DatacenterName, Pool),
    /// No asked server knows the members of the ring. One that had failed before the
    /// rotation may be left behind.
    #[error(
        "no server named the members of the ring {0} ({1}): ask a server of that datacenter too, \
         with a token that may read its nodes"
    )]
    Members(DatacenterName, Pool),
}

/// A rotation or a repair that ended early. Running it again continues from there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationError {
    /// The step that was not confirmed.
    pub step: RotationStep,
    /// The rings as the step left them: each ring's answer to the change or to the
    /// listing. Empty if no ring was asked, or if what each one did is not known.
    pub rings: Vec<RingState>,
    /// The reason why the step was not confirmed.
    pub reason: RotationFault,
    past_return: bool,
}

/// The reason why a rotation or a repair ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationFault {
    /// The step failed as a whole.
    #[error(transparent)]
    Refused(OperatorError),
    /// Some ring did not confirm the step.
    #[error("not every node of every ring confirmed it")]
    Unconfirmed,
    /// A ring that was there at the beginning, or that is expected, is missing.
    #[error("the ring {0} ({1}) is missing")]
    RingLost(DatacenterName, Pool),
    /// A ring has fewer nodes than at the beginning, or than are expected. The lost one
    /// may come back with the old key.
    #[error("a node has left the ring {0} ({1})")]
    NodeLost(DatacenterName, Pool),
    /// Gossip has declared a member failed, or an expected node is not a member. It
    /// would come back with the old key.
    #[error(
        "node {2} of the ring {0} ({1}) has failed and would be left behind with the old key: \
         start it, or remove it from the gossip"
    )]
    NodeAbsent(DatacenterName, Pool, NodeName),
    /// The other servers do not all have the same key alone, so it is not clear which one
    /// the repaired node needs, nor which ones can be removed.
    #[error(
        "the other servers do not all have the same key alone: complete their rotation, or remove \
         the other keys"
    )]
    KeyUnclear,
}

impl RotationError {
    pub(super) fn new(step: RotationStep, rings: Vec<RingState>, reason: RotationFault) -> Self {
        let refused = match &reason {
            RotationFault::Refused(error) => error.outcome() == Outcome::NotApplied,
            _ => false,
        };
        let past_return = step > RotationStep::Use
            || (step == RotationStep::Use && !refused)
            || rings.iter().any(RingState::may_use_new_key);
        RotationError {
            step,
            rings,
            reason,
            past_return,
        }
    }

    pub(super) fn refused(step: RotationStep, error: OperatorError) -> Self {
        RotationError::new(step, Vec::new(), RotationFault::Refused(error))
    }

    /// Notes what an earlier step has shown.
    pub(super) fn after(mut self, past_return: bool) -> Self {
        self.past_return |= past_return;
        self
    }

    /// Returns true if a node may use the new key already. From then on a node without
    /// it cannot rejoin, even while the others still have the old key, so that the
    /// rotation has to be completed. What an earlier try of this call has shown counts
    /// too.
    pub fn is_past_return(&self) -> bool {
        self.past_return
    }

    /// Returns true if the same step may succeed later without a change of the request.
    pub(super) fn is_temporary(&self) -> bool {
        match &self.reason {
            RotationFault::Refused(error) => !is_permanent(error),
            RotationFault::KeyUnclear => false,
            _ => true,
        }
    }
}

/// Returns true if a later call with the same token would fail too.
pub(super) fn is_permanent(error: &OperatorError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied { .. }
            | ErrorKind::UnknownToken
            | ErrorKind::InvalidRequest { .. }
            | ErrorKind::InvalidKey(_)
            | ErrorKind::EncryptionOff
            | ErrorKind::Unsupported { .. }
            | ErrorKind::IncompatibleServer { .. }
    )
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped at {}: {}", self.step, self.reason)?;
        for ring in &self.rings {
            write!(f, "\n  {ring}")?;
        }
        if self.past_return {
            f.write_str("\nthe new key is in use, so a node without it cannot rejoin")?;
        }
        f.write_str("\nrepair what is wrong and run it again: it continues from here")
    }
}

impl std::error::Error for RotationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            RotationFault::Refused(error) => Some(error),
            _ => None,
        }
    }
}
