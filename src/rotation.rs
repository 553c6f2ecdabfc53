//! Replaces the gossip key of a whole federation, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::error::OperatorError;
use crate::keyring::{GossipKey, NodeMessage, Pool};
use crate::operation::{KeyringReply, KeyringScope, RingOutcome};
use crate::service::{Caller, OperatorService};
use crate::types::{DatacenterName, NodeName};

/// Makes `new_key` the only key of every ring of the federation.
///
/// The steps are: list all rings; install the key; verify that every node of every
/// ring has it; use it; verify that it is every node's primary; remove the other keys;
/// verify that they are gone. The first step that is not confirmed by every node of
/// every ring ends the rotation, so no ring uses a key that one of its nodes lacks,
/// and no node loses the key that it encrypts with.
///
/// Running it again continues from the state of the rings; once all have the new key
/// alone, it changes nothing. A ring that disappears meanwhile, or that loses a node,
/// ends it too: what is not listed cannot be confirmed.
///
/// Rings whose backend does not report primaries count as using the key once every
/// node has confirmed to use it.
///
/// Two rotations to different keys at the same time can end each other, but neither
/// removes a key before all nodes have stopped using it.
///
/// # Nodes that are down
/// A member that gossip has already declared failed is not asked. It keeps its old
/// keys and cannot rejoin once the others use the new one, even while they still hold
/// the old one. [`Rotation::left_behind`] names such members; to repair one, install,
/// use and remove the keys at its own address. [`rotate_if_complete`] refuses instead.
///
/// # Errors
/// [`RotationError`] names the step at which it ended and the state of each ring.
///
/// # Cancel safety
/// Dropping the future ends the rotation in a state from which it can continue.
///
/// ```
/// # #[cfg(all(feature = "mock", feature = "tokio"))]
/// # futures_executor::block_on(async {
/// use cluster_operator::mock::MockFederation;
/// use cluster_operator::rotation::rotate;
/// use cluster_operator::service::Caller;
/// use cluster_operator::{GossipKey, Pool};
///
/// let federation = MockFederation::builder()
///     .datacenter("dc1", ["alice", "bob"])
///     .datacenter("dc2", ["carol"])
///     .build();
/// let new_key = GossipKey::from_bytes(&[7; 32]).unwrap();
///
/// let alice = federation.service("alice");
/// let rotation = rotate(&alice, &Caller::anonymous(), new_key.clone()).await.unwrap();
/// assert_eq!(rotation.removed, 1);
/// assert_eq!(rotation.left_behind().count(), 0);
/// assert_eq!(federation.keys("carol", &Pool::Lan), [new_key]);
/// # });
/// ```
pub async fn rotate(
    service: &OperatorService,
    caller: &Caller,
    new_key: GossipKey,
) -> Result<Rotation, RotationError> {
    run(service, caller, new_key, false).await
}

/// Rotates as [`rotate`] does, but refuses while gossip has declared a member of a ring
/// failed: before it changes anything, before the new key is used, and before each old
/// key is removed.
///
/// It sees the failed members of backends that name them with
/// [`Answers::absent`](crate::keyring::Answers::absent).
///
/// # Errors
/// [`RotationError`] with [`RotationFault::NodeAbsent`] for such a member, otherwise as
/// for [`rotate`].
///
/// # Cancel safety
/// As for [`rotate`].
pub async fn rotate_if_complete(
    service: &OperatorService,
    caller: &Caller,
    new_key: GossipKey,
) -> Result<Rotation, RotationError> {
    run(service, caller, new_key, true).await
}

async fn run(
    service: &OperatorService,
    caller: &Caller,
    new_key: GossipKey,
    refuses_absent: bool,
) -> Result<Rotation, RotationError> {
    let rotating = Rotating {
        service,
        caller,
        new_key,
        refuses_absent,
    };
    rotating.run().await
}

/// A completed rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The number of old keys that were removed.
    pub removed: usize,
    /// The rings, each with the new key alone.
    pub rings: Vec<RingState>,
}

impl Rotation {
    /// Returns the members that gossip had declared failed, so that they still have
    /// their old keys, each with its ring.
    pub fn left_behind(&self) -> impl Iterator<Item = (&RingState, &NodeName)> {
        let rings = self.rings.iter();
        rings.flat_map(|ring| ring.absent.iter().map(move |node| (ring, node)))
    }
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RotationStep {
    /// Lists the rings; nothing has changed.
    Look,
    /// Installs the new key.
    Install,
    /// Verifies that every node has it.
    VerifyInstall,
    /// Uses the new key.
    Use,
    /// Verifies that it is every node's primary.
    VerifyUse,
    /// Removes the old keys.
    Remove,
    /// Verifies that they are gone.
    VerifyRemove,
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

/// The state of a ring during a rotation.
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
    /// The number of nodes that have the new key.
    pub with_new_key: usize,
    /// The number of nodes that encrypt with it; `None` if the ring does not report it.
    pub using_new_key: Option<usize>,
    /// The other keys, and the number of nodes that have each.
    pub old_keys: BTreeMap<GossipKey, usize>,
    /// The number of nodes that listed only some of their keys.
    pub truncated: usize,
    /// The nodes that have not answered, a hundred of them at most.
    pub silent: Vec<NodeName>,
    /// The members that gossip has declared failed, so that they were not asked, a
    /// hundred of them at most.
    pub absent: Vec<NodeName>,
    /// The messages of single nodes.
    pub messages: BTreeMap<NodeName, NodeMessage>,
    /// Why the ring could not be asked.
    pub error: Option<OperatorError>,
}

impl RingState {
    fn new(ring: &RingOutcome, new_key: &GossipKey) -> Self {
        let report = ring.report.clone().unwrap_or_default();
        let old_keys = report.keys.iter().filter(|(key, _)| *key != new_key);
        let old_keys = old_keys.map(|(key, count)| (key.clone(), count));
        let tells_primaries = !report.primary_keys.is_empty();
        RingState {
            datacenter: ring.datacenter.clone(),
            pool: ring.pool.clone(),
            nodes: report.nodes,
            responses: report.responses,
            with_new_key: report.keys.get(new_key),
            using_new_key: tells_primaries.then(|| report.primary_keys.get(new_key)),
            old_keys: old_keys.collect(),
            truncated: report.truncated,
            silent: report.silent,
            absent: report.absent,
            messages: report.messages,
            error: ring.error.clone(),
        }
    }

    /// Tells whether every node has the new key.
    pub fn has_new_key(&self) -> bool {
        self.error.is_none() && self.with_new_key == self.nodes
    }

    fn uses_new_key(&self) -> bool {
        self.using_new_key.is_none_or(|using| using == self.nodes)
    }

    fn is_known_to_use_new_key(&self) -> bool {
        self.using_new_key == Some(self.nodes)
    }

    fn is(&self, other: &RingState) -> bool {
        (&self.datacenter, &self.pool) == (&other.datacenter, &other.pool)
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
        for (key, count) in &self.old_keys {
            write!(f, ", {count} have the old key {}", key.fingerprint())?;
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

/// A rotation that ended early. Running it again continues from there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationError {
    /// The step that was not confirmed.
    pub step: RotationStep,
    /// The rings as the step left them: each ring's answer to the change or to the
    /// listing. Empty if no ring was asked.
    pub rings: Vec<RingState>,
    /// Why the step was not confirmed.
    pub reason: RotationFault,
}

/// Why a rotation ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationFault {
    /// The service refused the step.
    #[error(transparent)]
    Refused(OperatorError),
    /// Some ring did not confirm the step.
    #[error("not every node of every ring confirmed it")]
    Unconfirmed,
    /// A ring that was there at the beginning is missing.
    #[error("the ring {0} ({1}) is missing")]
    RingLost(DatacenterName, Pool),
    /// A ring has fewer nodes than at the beginning. The lost one may come back
    /// with the old key.
    #[error("a node has left the ring {0} ({1})")]
    NodeLost(DatacenterName, Pool),
    /// Gossip has declared a member failed. It would come back with the old key.
    /// Only [`rotate_if_complete`] refuses for it.
    #[error(
        "node {2} of the ring {0} ({1}) has failed and would be left behind with the old key: \
         start it, or remove it from the gossip"
    )]
    NodeAbsent(DatacenterName, Pool, NodeName),
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rotation stopped at {}: {}", self.step, self.reason)?;
        for ring in &self.rings {
            write!(f, "\n  {ring}")?;
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

struct Rotating<'a> {
    service: &'a OperatorService,
    caller: &'a Caller,
    new_key: GossipKey,
    /// Members that gossip has declared failed end the rotation.
    refuses_absent: bool,
}

impl Rotating<'_> {
    async fn run(&self) -> Result<Rotation, RotationError> {
        use RotationStep::{Install, Look, Remove, Use, VerifyInstall, VerifyRemove, VerifyUse};

        let (service, caller) = (self.service, self.caller);
        let before = self.list(Look, &[]).await?;
        if !before.iter().all(RingState::has_new_key) {
            let reply = service.install_key(caller, self.new_key.clone()).await;
            self.confirm(Install, reply, &before)?;
        }
        let installed = self.list(VerifyInstall, &before).await?;
        expect(VerifyInstall, &installed, RingState::has_new_key)?;

        if !installed.iter().all(RingState::is_known_to_use_new_key) {
            let reply = service.use_key(caller, self.new_key.clone()).await;
            self.confirm(Use, reply, &before)?;
        }
        let used = self.list(VerifyUse, &before).await?;
        let uses = |ring: &RingState| ring.has_new_key() && ring.uses_new_key();
        expect(VerifyUse, &used, uses)?;

        let old = used.iter().flat_map(|ring| ring.old_keys.keys().cloned());
        let old: BTreeSet<_> = old.collect();
        for key in &old {
            let reply = service.remove_key(caller, key.clone()).await;
            self.confirm(Remove, reply, &before)?;
        }
        let rings = self.list(VerifyRemove, &before).await?;
        let removed = |ring: &RingState| ring.has_new_key() && ring.old_keys.is_empty();
        expect(VerifyRemove, &rings, removed)?;
        Ok(Rotation {
            removed: old.len(),
            rings,
        })
    }

    /// Lists all rings; each has to answer in full, and none of those before may be
    /// missing.
    async fn list(
        &self,
        step: RotationStep,
        before: &[RingState],
    ) -> Result<Vec<RingState>, RotationError> {
        let scope = KeyringScope::Federation;
        let reply = self.service.list_keys(self.caller, scope).await;
        self.confirm(step, reply, before)
    }

    fn confirm(
        &self,
        step: RotationStep,
        reply: Result<KeyringReply, OperatorError>,
        before: &[RingState],
    ) -> Result<Vec<RingState>, RotationError> {
        let reply = reply.or_else(OperatorError::into_reply);
        let reply = reply.map_err(|error| RotationError {
            step,
            rings: Vec::new(),
            reason: RotationFault::Refused(error),
        })?;
        let rings = reply.rings.iter();
        let rings: Vec<_> = rings
            .map(|ring| RingState::new(ring, &self.new_key))
            .collect();
        let missing = before.iter().find_map(|ring| missing(ring, &rings));
        // A truncated listing does not show which keys are left.
        let confirmed = reply.rings.iter().all(RingOutcome::is_confirmed)
            && rings.iter().all(|ring| ring.truncated == 0);
        let unconfirmed = (!confirmed).then_some(RotationFault::Unconfirmed);
        let reason = self.absent(&rings).or(missing).or(unconfirmed);
        match reason {
            None => Ok(rings),
            Some(reason) => Err(RotationError {
                step,
                rings,
                reason,
            }),
        }
    }

    fn absent(&self, rings: &[RingState]) -> Option<RotationFault> {
        let ring = rings.iter().find(|ring| !ring.absent.is_empty())?;
        let node = ring.absent.first().filter(|_| self.refuses_absent)?.clone();
        let (datacenter, pool) = (ring.datacenter.clone(), ring.pool.clone());
        Some(RotationFault::NodeAbsent(datacenter, pool, node))
    }
}

/// Returns what is missing now of a ring that was there at the beginning.
fn missing(before: &RingState, rings: &[RingState]) -> Option<RotationFault> {
    let (datacenter, pool) = (before.datacenter.clone(), before.pool.clone());
    match rings.iter().find(|now| now.is(before)) {
        None => Some(RotationFault::RingLost(datacenter, pool)),
        Some(now) if now.error.is_none() && now.nodes < before.nodes => {
            Some(RotationFault::NodeLost(datacenter, pool))
        }
        Some(_) => None,
    }
}

fn expect(
    step: RotationStep,
    rings: &[RingState],
    holds: impl Fn(&RingState) -> bool,
) -> Result<(), RotationError> {
    match rings.iter().all(holds) {
        true => Ok(()),
        false => Err(RotationError {
            step,
            rings: rings.to_vec(),
            reason: RotationFault::Unconfirmed,
        }),
    }
}
