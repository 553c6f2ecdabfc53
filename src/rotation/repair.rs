//! The repair of a node that a rotation left behind.

use std::collections::BTreeSet;

use super::state::is_permanent;
use super::{
    RingState, Rings, RotationError, RotationEvent, RotationFault, RotationStep, Watched, expect,
};
use crate::keyring::{GossipKey, KeyChange};
use crate::operation::KeyringReply;

/// A completed repair.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// The [fingerprint](GossipKey::fingerprint) of the key that the node has now.
    pub fingerprint: String,
    /// False if the node had that key alone, so that nothing was changed.
    pub changed: bool,
    /// The rings of the node's datacenter, as the node lists them.
    pub rings: Vec<RingState>,
}

/// Gives a node that was left behind by a rotation the key of the others, so that it
/// can rejoin.
///
/// `node` are the rings as the left-behind node itself is asked for them, at its own
/// address; `others` as any other server is. The key is the one that all nodes have alone
/// that the other server asks itself, in its own datacenter and in the WAN. So the caller
/// needs none. One of these nodes may have an old key too, since a node whose repair was
/// interrupted has one.
///
/// The steps are those of a rotation: install the key, use it, remove the others, and
/// verify each step in the node's own listing. As long as the node has the old key,
/// the other members do not understand it, so only the answers that arrive count:
/// its own, at least. Only keys that were in its first listing are removed. The others
/// have made the changes already and stay as they are.
///
/// The node rejoins its pools by itself; on Consul that took up to 25 s. Then a listing
/// at another server counts it.
///
/// # Errors
/// [`RotationError`] with [`KeyUnclear`](RotationFault::KeyUnclear) if the others do
/// not have one key alone, as during a rotation; with
/// [`Unconfirmed`](RotationFault::Unconfirmed) also if one of their rings has not
/// answered; and as for a rotation. Running it again continues.
///
/// # Cancel safety
/// Dropping the future leaves the node in a state from which it can be repaired.
///
/// ```
/// # #[cfg(all(feature = "mock", feature = "tokio"))]
/// # futures_executor::block_on(async {
/// use cluster_operator::mock::MockFederation;
/// use cluster_operator::rotation::{
///     Absent, RotationOptions, ServiceRings, repair, rotate_with,
/// };
/// use cluster_operator::service::Caller;
/// use cluster_operator::{GossipKey, Pool};
///
/// let federation = MockFederation::builder().datacenter("dc1", ["alice", "bob"]).build();
/// let rings = |server| ServiceRings::new(&federation.service(server), &Caller::anonymous());
/// let new_key = GossipKey::from_bytes(&[7; 32]).unwrap();
///
/// federation.stop("bob");
/// let options = RotationOptions::default().absent(Absent::LeaveBehind);
/// rotate_with(&rings("alice"), &new_key, &options, |_| {}).await.unwrap();
/// federation.restart("bob"); // with the old key
///
/// let repair = repair(&rings("bob"), &rings("alice"), |_| {}).await.unwrap();
/// assert!(repair.changed);
/// assert_eq!(federation.keys("bob", &Pool::Lan), [new_key]);
/// # });
/// ```
pub async fn repair(
    node: &dyn Rings,
    others: &dyn Rings,
    mut progress: impl FnMut(RotationEvent<'_>) + Send,
) -> Result<Repair, RotationError> {
    use RotationStep::{Install, Look, Remove, Use, VerifyInstall, VerifyRemove, VerifyUse};

    progress(RotationEvent::Step(Look));
    let listed = others.list().await;
    let listed = own_rings(listed.map_err(|error| RotationError::refused(Look, error))?);
    let key = key_in_use(&listed).map_err(|reason| {
        let rings = listed.rings.iter();
        let rings = rings.map(|ring| RingState::new(ring, None)).collect();
        RotationError::new(Look, rings, reason)
    })?;
    let mut repairing = Watched::new(node, &key, progress);

    let (mut rings, before) = repairing.list_own(Look).await?;
    expect(Look, &rings, RingState::has_answers)?;
    let mut changed = false;
    if !rings.iter().all(RingState::is_installed_where_answered) {
        changed = true;
        let install = KeyChange::Install(key.clone());
        repairing.try_change(Install, &install).await?;
        (rings, _) = repairing.list_own(VerifyInstall).await?;
        expect(
            VerifyInstall,
            &rings,
            RingState::is_installed_where_answered,
        )?;
    }
    if !rings
        .iter()
        .all(RingState::is_known_to_be_used_where_answered)
    {
        changed = true;
        repairing
            .try_change(Use, &KeyChange::Use(key.clone()))
            .await?;
    }
    let (used, old) = repairing.list_own(VerifyUse).await?;
    expect(VerifyUse, &used, RingState::is_used_where_answered)?;
    // The others' keys are listed too by now: a rotation may have begun.
    for old in old.intersection(&before).cloned() {
        changed = true;
        repairing
            .try_change(Remove, &KeyChange::Remove(old))
            .await?;
    }
    let (rings, _) = repairing.list_own(VerifyRemove).await?;
    let is_repaired = |ring: &RingState| ring.is_used_where_answered() && ring.old_keys.is_empty();
    expect(VerifyRemove, &rings, is_repaired)?;
    Ok(Repair {
        fingerprint: key.fingerprint(),
        changed,
        rings,
    })
}

/// Keeps the rings of the asked server's datacenter, which comes first. Those of another
/// one are listed by any server there, and it may be the one that was left behind.
fn own_rings(mut reply: KeyringReply) -> KeyringReply {
    if let Some(own) = reply.rings.first().map(|ring| ring.datacenter.clone()) {
        reply.rings.retain(|ring| ring.datacenter == own);
    }
    reply
}

/// Returns the key that every node which answered has alone, the same in all rings.
///
/// # Errors
/// `Unconfirmed` if no node of some ring answered, and `KeyUnclear` if there are others.
fn key_in_use(reply: &KeyringReply) -> Result<GossipKey, RotationFault> {
    let mut used = BTreeSet::new();
    let mut others = false;
    for ring in &reply.rings {
        let report = ring.report.as_ref();
        let report = report.filter(|report| !report.keys.is_empty());
        let report = report.ok_or(RotationFault::Unconfirmed)?;
        let primaries = if report.primary_keys.is_empty() {
            &report.keys
        } else {
            &report.primary_keys
        };
        used.extend(primaries.iter().map(|(key, _)| key));
        // A node whose repair was interrupted has its old key still. A key on several
        // nodes, or on all, is that of a rotation.
        let answered = report.responses.saturating_sub(report.errors);
        let mut unused = report.keys.iter().filter(|(key, _)| !used.contains(key));
        others |= report.truncated > 0 || unused.any(|(_, nodes)| nodes > 1 || nodes >= answered);
    }
    let mut used = used.into_iter();
    match (used.next(), used.next()) {
        (None, _) => Err(RotationFault::Unconfirmed),
        (Some(key), None) if !others => Ok(key.clone()),
        _ => Err(RotationFault::KeyUnclear),
    }
}

impl<P: FnMut(RotationEvent<'_>) + Send> Watched<'_, P> {
    /// Lists the rings of the node's own datacenter, and their other keys.
    async fn list_own(
        &mut self,
        step: RotationStep,
    ) -> Result<(Vec<RingState>, BTreeSet<GossipKey>), RotationError> {
        self.begin(step);
        let reply = self.rings.list().await;
        let reply = own_rings(reply.map_err(|error| RotationError::refused(step, error))?);
        let rings = self.states(&reply);
        self.show(&rings);
        let old = self.old_keys(&reply);
        if rings.is_empty() {
            let reason = RotationFault::Unconfirmed;
            return Err(RotationError::new(step, rings, reason));
        }
        Ok((rings, old))
    }

    /// Makes a change. Members that do not understand the node are silent, so the
    /// listing that follows decides.
    async fn try_change(
        &mut self,
        step: RotationStep,
        change: &KeyChange,
    ) -> Result<(), RotationError> {
        self.begin(step);
        match self.rings.change(change).await {
            Err(error) if is_permanent(&error) => Err(RotationError::refused(step, error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The state of a ring in which some members cannot answer.
impl RingState {
    fn answered(&self) -> usize {
        self.responses.saturating_sub(self.errors)
    }

    fn has_answers(&self) -> bool {
        self.answered() > 0 && self.truncated == 0
    }

    fn is_installed_where_answered(&self) -> bool {
        self.has_answers() && self.with_new_key == self.answered()
    }

    fn is_used_where_answered(&self) -> bool {
        let using = self.using_new_key;
        self.is_installed_where_answered() && using.is_none_or(|using| using == self.answered())
    }

    fn is_known_to_be_used_where_answered(&self) -> bool {
        self.using_new_key.is_some() && self.is_used_where_answered()
    }
}
