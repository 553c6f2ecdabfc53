//! Replaces the gossip key of a whole federation, step by step.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::OperatorError;
use crate::keyring::{GossipKey, NodeMessage, Pool};
use crate::operation::KeyringScope;
use crate::operation::{KeyringReply, RingOutcome};
use crate::service::{Caller, OperatorService};
use crate::types::{DatacenterName, NodeName};

/// Makes `new_key` the only key of every ring of the federation.
///
/// The steps are: look at all rings; install the key; see that every node of
/// every ring has it; use it; see that it is every node's primary; remove the
/// other keys; see that they are gone. The first step that is not confirmed by
/// every node of every ring ends the rotation, so no ring uses a key that one of
/// its nodes lacks, and no node loses the key that it encrypts with.
///
/// Running it again goes on from wherever the rings are; once all have the new
/// key alone, it changes nothing. A ring that vanishes on the way, or that loses
/// a node, ends it too: what cannot be seen cannot be confirmed.
///
/// Rings whose backend does not tell primaries count as using the key once every
/// node has confirmed to use it.
///
/// Two rotations to different keys at the same time can end each other, but
/// neither removes a key before all nodes have left it.
///
/// # Errors
/// [`RotationError`] says at which step it ended and in which state each ring
/// is.
///
/// # Cancel safety
/// Dropping the future ends the rotation between two states that can be gone on
/// from.
///
/// ```
/// # #[cfg(all(feature = "mock", feature = "tokio"))]
/// # futures_executor::block_on(async {
/// use cluster_operator::mock::MockFederation;
/// use cluster_operator::rotation::rotate;
/// use cluster_operator::{Caller, GossipKey, Pool};
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
/// assert_eq!(federation.keys("carol", &Pool::Lan), [new_key]);
/// # });
/// ```
pub async fn rotate(
    service: &OperatorService,
    caller: &Caller,
    new_key: GossipKey,
) -> Result<Rotation, RotationError> {
    let rotating = Rotating {
        service,
        caller,
        new_key,
    };
    let before = rotating.look(RotationStep::Look, None).await?;
    if !before.iter().all(|ring| ring.has_new_key()) {
        let reply = service.install_key(caller, rotating.new_key.clone()).await;
        rotating.confirm(RotationStep::Install, reply, &before)?;
    }
    let installed = rotating
        .look(RotationStep::VerifyInstall, Some(&before))
        .await?;
    rotating.expect(
        RotationStep::VerifyInstall,
        &installed,
        RingState::has_new_key,
    )?;

    if !installed.iter().all(RingState::is_known_to_use_new_key) {
        let reply = service.use_key(caller, rotating.new_key.clone()).await;
        rotating.confirm(RotationStep::Use, reply, &before)?;
    }
    let used = rotating
        .look(RotationStep::VerifyUse, Some(&before))
        .await?;
    rotating.expect(RotationStep::VerifyUse, &used, |ring| {
        ring.has_new_key() && ring.uses_new_key()
    })?;

    let old: std::collections::BTreeSet<_> = used
        .iter()
        .flat_map(|ring| ring.old_keys.keys().cloned())
        .collect();
    for key in &old {
        let reply = service.remove_key(caller, key.clone()).await;
        rotating.confirm(RotationStep::Remove, reply, &before)?;
    }
    let rings = rotating
        .look(RotationStep::VerifyRemove, Some(&before))
        .await?;
    rotating.expect(RotationStep::VerifyRemove, &rings, |ring| {
        ring.has_new_key() && ring.old_keys.is_empty()
    })?;
    Ok(Rotation {
        removed: old.len(),
        rings,
    })
}

/// A rotation that has reached its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// How many old keys were removed.
    pub removed: usize,
    /// The rings, each with the new key alone.
    pub rings: Vec<RingState>,
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RotationStep {
    /// Look at the rings; nothing has changed.
    Look,
    /// Install the new key.
    Install,
    /// See that every node has it.
    VerifyInstall,
    /// Use the new key.
    Use,
    /// See that it is every node's primary.
    VerifyUse,
    /// Remove the old keys.
    Remove,
    /// See that they are gone.
    VerifyRemove,
}

impl fmt::Display for RotationStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RotationStep::Look => "looking at the rings",
            RotationStep::Install => "installing the new key",
            RotationStep::VerifyInstall => "seeing that every node has the new key",
            RotationStep::Use => "using the new key",
            RotationStep::VerifyUse => "seeing that every node uses the new key",
            RotationStep::Remove => "removing the old keys",
            RotationStep::VerifyRemove => "seeing that the old keys are gone",
        })
    }
}

/// What is known of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingState {
    /// The ring's datacenter.
    pub datacenter: DatacenterName,
    /// The ring's pool.
    pub pool: Pool,
    /// How many nodes it has.
    pub nodes: usize,
    /// How many of them answered.
    pub responses: usize,
    /// How many have the new key.
    pub with_new_key: usize,
    /// How many encrypt with it; `None` if the ring does not tell.
    pub using_new_key: Option<usize>,
    /// The other keys, and how many nodes have each.
    pub old_keys: BTreeMap<GossipKey, usize>,
    /// How many listed only some of their keys.
    pub truncated: usize,
    /// The nodes that have not answered, a hundred of them at the most.
    pub silent: Vec<NodeName>,
    /// What single nodes had to say.
    pub messages: BTreeMap<NodeName, NodeMessage>,
    /// Why the ring could not be asked.
    pub error: Option<OperatorError>,
}

impl RingState {
    fn new(ring: &RingOutcome, new_key: &GossipKey) -> Self {
        let mut state = RingState {
            datacenter: ring.datacenter.clone(),
            pool: ring.pool.clone(),
            nodes: 0,
            responses: 0,
            with_new_key: 0,
            using_new_key: None,
            old_keys: BTreeMap::new(),
            truncated: 0,
            silent: Vec::new(),
            messages: BTreeMap::new(),
            error: None,
        };
        state.error.clone_from(&ring.error);
        if let Some(report) = &ring.report {
            state.nodes = report.nodes;
            state.responses = report.responses;
            state.with_new_key = report.keys.get(new_key);
            state.using_new_key =
                (!report.primary_keys.is_empty()).then(|| report.primary_keys.get(new_key));
            state.old_keys = report
                .keys
                .iter()
                .filter(|(key, _)| *key != new_key)
                .map(|(key, count)| (key.clone(), count))
                .collect();
            state.truncated = report.truncated;
            state.silent.clone_from(&report.silent);
            state.messages.clone_from(&report.messages);
        }
        state
    }

    /// Whether every node has the new key.
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

/// A rotation that ended early. Running it again goes on from there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationError {
    /// The step that was not confirmed.
    pub step: RotationStep,
    /// The rings as the step left them: for a change each ring's answer to it,
    /// for a look what it saw. Empty if no ring was asked.
    pub rings: Vec<RingState>,
    /// What went wrong.
    pub reason: RotationFault,
}

/// What ended a rotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationFault {
    /// The service refused.
    #[error(transparent)]
    Refused(OperatorError),
    /// Some ring did not confirm the step.
    #[error("not every node of every ring confirmed it")]
    Unconfirmed,
    /// A ring that was there at the beginning is not.
    #[error("a ring has vanished: {0} ({1})")]
    RingLost(DatacenterName, Pool),
    /// A ring has fewer nodes than at the beginning. The lost one may come back
    /// with the old key.
    #[error("a node has left the ring {0} ({1})")]
    NodeLost(DatacenterName, Pool),
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rotation stopped at {}: {}", self.step, self.reason)?;
        for ring in &self.rings {
            write!(f, "\n  {ring}")?;
        }
        f.write_str("\nrepair what is wrong and run it again: it goes on from here")
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
}

impl Rotating<'_> {
    /// Lists all rings; each has to answer in full, and none that was there
    /// before may be missing.
    async fn look(
        &self,
        step: RotationStep,
        before: Option<&[RingState]>,
    ) -> Result<Vec<RingState>, RotationError> {
        let reply = self
            .service
            .list_keys(self.caller, KeyringScope::Federation)
            .await;
        self.confirm(step, reply, before.unwrap_or_default())
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
        let stop = |reason| RotationError {
            step,
            rings: rings.clone(),
            reason,
        };
        for ring in before {
            let (datacenter, pool) = (ring.datacenter.clone(), ring.pool.clone());
            match rings.iter().find(|now| now.is(ring)) {
                None => return Err(stop(RotationFault::RingLost(datacenter, pool))),
                Some(now) if now.error.is_none() && now.nodes < ring.nodes => {
                    return Err(stop(RotationFault::NodeLost(datacenter, pool)));
                }
                Some(_) => {}
            }
        }
        // A listing that was cut short does not show which keys are left.
        let is_cut = |ring: &RingState| ring.truncated > 0;
        match reply.rings.iter().all(RingOutcome::is_confirmed) && !rings.iter().any(is_cut) {
            true => Ok(rings),
            false => Err(stop(RotationFault::Unconfirmed)),
        }
    }

    fn expect(
        &self,
        step: RotationStep,
        rings: &[RingState],
        holds: impl Fn(&RingState) -> bool,
    ) -> Result<(), RotationError> {
        if rings.iter().all(holds) {
            return Ok(());
        }
        Err(RotationError {
            step,
            rings: rings.to_vec(),
            reason: RotationFault::Unconfirmed,
        })
    }
}
