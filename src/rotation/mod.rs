//! Replaces the gossip key of a whole federation, step by step, and repairs a node that
//! was left behind.

mod repair;
mod rings;
mod state;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::keyring::{GossipKey, KeyChange, Pool};
use crate::operation::{KeyringReply, RingOutcome};
use crate::service::{Caller, OperatorService};
use crate::types::{DatacenterName, NodeName};

pub use repair::{Repair, repair};
pub use rings::{RingMembers, Rings, ServiceRings};
pub use state::{RingState, RotationError, RotationFault, RotationStep, Unverified};

/// Makes `new_key` the only key of every ring of the federation.
///
/// This is [`rotate_with`] over a service, with the default options and without
/// progress: it refuses while a node is down.
///
/// # Errors
/// As [`rotate_with`].
///
/// # Cancel safety
/// As [`rotate_with`].
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
/// assert_eq!(federation.keys("carol", &Pool::Lan), [new_key]);
/// # });
/// ```
pub async fn rotate(
    service: &OperatorService,
    caller: &Caller,
    new_key: GossipKey,
) -> Result<Rotation, RotationError> {
    let rings = ServiceRings::new(service, caller);
    let options = RotationOptions::default();
    rotate_with(&rings, &new_key, &options, |_| {}).await
}

/// Makes `new_key` the only key of every ring of the federation, and reports each step
/// and each change of a ring to `progress`.
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
/// Two rotations to different keys at the same time can end each other, but neither
/// removes a key before all nodes have stopped using it.
///
/// # The point of no return
/// is the use of the new key, not the removal of the old ones. A member that is down
/// at that moment comes back with the old key only and cannot rejoin, even while the
/// others still have that key. [`RotationError::is_past_return`] tells whether a
/// rotation that ended early has passed it.
///
/// # Nodes that are down
/// A member that gossip has declared failed is not asked, and no listing counts it.
/// [`RotationOptions::absent`] decides what happens then. It is checked with each
/// listing, also right before the new key is used and before each old key is removed.
/// The failed members are known from backends that name them with
/// [`Answers::absent`](crate::keyring::Answers::absent), from the members of Consul's
/// agents, and from [`RotationOptions::expect`].
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
/// use cluster_operator::GossipKey;
/// use cluster_operator::mock::MockFederation;
/// use cluster_operator::rotation::{
///     Absent, RotationEvent, RotationOptions, ServiceRings, rotate_with,
/// };
/// use cluster_operator::service::Caller;
///
/// let federation = MockFederation::builder().datacenter("dc1", ["alice", "bob"]).build();
/// federation.stop("bob");
///
/// let rings = ServiceRings::new(&federation.service("alice"), &Caller::anonymous());
/// let new_key = GossipKey::from_bytes(&[7; 32]).unwrap();
/// let options = RotationOptions::default().absent(Absent::LeaveBehind);
/// let rotation = rotate_with(&rings, &new_key, &options, |event| match event {
///     RotationEvent::Step(step) => println!("{step}"),
///     RotationEvent::Ring(ring) => println!("  {ring}"),
///     _ => {}
/// });
/// let rotation = rotation.await.unwrap();
/// let left: Vec<_> = rotation.left_behind().map(|(_, node)| node.as_str()).collect();
/// assert_eq!(left, ["bob.dc1", "bob"]); // in the WAN and in the LAN
/// # });
/// ```
pub async fn rotate_with(
    rings: &dyn Rings,
    new_key: &GossipKey,
    options: &RotationOptions,
    progress: impl FnMut(RotationEvent<'_>) + Send,
) -> Result<Rotation, RotationError> {
    let mut rotating = Rotating {
        watched: Watched::new(rings, new_key, progress),
        options,
        before: Vec::new(),
        members_known: None,
        past_return: false,
    };
    rotating.run().await
}

/// The options of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct RotationOptions {
    absent: Absent,
    expected: Vec<ExpectedRing>,
}

/// The policy for members that gossip has declared failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// End the rotation.
    Refuse,
    /// Wait for at most this time, in total, until every node is up and every ring
    /// confirms the step; then end the rotation. It waits for silent nodes and for
    /// unreachable rings too.
    Wait(Duration),
    /// Leave them behind with their old keys, and name them in
    /// [`Rotation::left_behind`]. Each one has to be [repaired](repair()) before it can
    /// rejoin.
    LeaveBehind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ExpectedRing {
    datacenter: DatacenterName,
    pool: Pool,
    nodes: Vec<NodeName>,
}

/// Refuses while a node is down, and expects nothing.
impl Default for RotationOptions {
    fn default() -> Self {
        RotationOptions {
            absent: Absent::Refuse,
            expected: Vec::new(),
        }
    }
}

impl RotationOptions {
    /// Sets the policy for members that gossip has declared failed.
    pub fn absent(mut self, policy: Absent) -> Self {
        self.absent = policy;
        self
    }

    /// Adds a ring that has to be there with these nodes, also if gossip does not know
    /// them (any more). If a listing does not name the nodes, their number is compared.
    pub fn expect<N: Into<NodeName>>(
        mut self,
        datacenter: impl Into<DatacenterName>,
        pool: Pool,
        nodes: impl IntoIterator<Item = N>,
    ) -> Self {
        self.expected.push(ExpectedRing {
            datacenter: datacenter.into(),
            pool,
            nodes: nodes.into_iter().map(Into::into).collect(),
        });
        self
    }

    fn expected(&self, datacenter: &DatacenterName, pool: &Pool) -> Option<&ExpectedRing> {
        let mut expected = self.expected.iter();
        expected.find(|ring| (&ring.datacenter, &ring.pool) == (datacenter, pool))
    }
}

/// The progress of a rotation or of a repair. It contains no key.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum RotationEvent<'a> {
    /// A step begins.
    Step(RotationStep),
    /// A ring was listed, and its state is not the last one that was reported.
    Ring(&'a RingState),
    /// A step was not confirmed. It is tried again until the time is over.
    Waiting {
        /// The error of the last try.
        error: &'a RotationError,
        /// The time that is left.
        left: Duration,
    },
}

/// A completed rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// The number of old keys that were removed.
    pub removed: usize,
    /// The rings, each with the new key alone.
    pub rings: Vec<RingState>,
    /// The facts that the rings could not show.
    pub unverified: Vec<Unverified>,
}

impl Rotation {
    /// Returns the members that gossip had declared failed, so that they still have
    /// their old keys, each with its ring.
    pub fn left_behind(&self) -> impl Iterator<Item = (&RingState, &NodeName)> {
        let rings = self.rings.iter();
        rings.flat_map(|ring| ring.absent.iter().map(move |node| (ring, node)))
    }
}

/// The rings, and the receiver of the progress.
struct Watched<'a, P> {
    rings: &'a dyn Rings,
    new_key: &'a GossipKey,
    progress: P,
    /// The states that were reported last.
    shown: Vec<RingState>,
}

impl<'a, P: FnMut(RotationEvent<'_>) + Send> Watched<'a, P> {
    fn new(rings: &'a dyn Rings, new_key: &'a GossipKey, progress: P) -> Self {
        Watched {
            rings,
            new_key,
            progress,
            shown: Vec::new(),
        }
    }

    fn begin(&mut self, step: RotationStep) {
        (self.progress)(RotationEvent::Step(step));
    }

    fn states(&self, reply: &KeyringReply) -> Vec<RingState> {
        let rings = reply.rings.iter();
        rings
            .map(|ring| RingState::new(ring, Some(self.new_key)))
            .collect()
    }

    /// Reports the rings that have changed.
    fn show(&mut self, rings: &[RingState]) {
        for ring in rings {
            if !self.shown.contains(ring) {
                (self.progress)(RotationEvent::Ring(ring));
            }
        }
        self.shown = rings.to_vec();
    }

    /// Returns the keys in a reply other than the new one.
    fn old_keys(&self, reply: &KeyringReply) -> BTreeSet<GossipKey> {
        let reports = reply.rings.iter().filter_map(|ring| ring.report.as_ref());
        let keys = reports.flat_map(|report| report.keys.iter().map(|(key, _)| key));
        keys.filter(|key| *key != self.new_key).cloned().collect()
    }
}

struct Rotating<'a, P> {
    watched: Watched<'a, P>,
    options: &'a RotationOptions,
    /// The rings as they were first listed.
    before: Vec<RingState>,
    /// The rings whose failed members the gossip named; `None` if the listings name
    /// them.
    members_known: Option<Vec<(DatacenterName, Pool)>>,
    /// True if a node may use the new key since some try of this rotation.
    past_return: bool,
}

/// The time between two tries while a rotation waits.
const PAUSE: Duration = Duration::from_secs(1);

impl<P: FnMut(RotationEvent<'_>) + Send> Rotating<'_, P> {
    async fn run(&mut self) -> Result<Rotation, RotationError> {
        let timer = self.watched.rings.timer();
        let wait = match self.options.absent {
            Absent::Wait(time) => time,
            Absent::Refuse | Absent::LeaveBehind => Duration::ZERO,
        };
        let began = timer.now();
        loop {
            let error = match self.attempt().await {
                Ok(rotation) => return Ok(rotation),
                Err(error) => error.after(self.past_return),
            };
            self.past_return = error.is_past_return();
            let left = wait.saturating_sub(timer.now().saturating_duration_since(began));
            if left.is_zero() || !error.is_temporary() {
                return Err(error);
            }
            (self.watched.progress)(RotationEvent::Waiting {
                error: &error,
                left,
            });
            timer.sleep(PAUSE.min(left)).await;
        }
    }

    async fn attempt(&mut self) -> Result<Rotation, RotationError> {
        use RotationStep::{Install, Look, Remove, Use, VerifyInstall, VerifyRemove, VerifyUse};

        let new_key = self.watched.new_key.clone();
        let (listed, _) = self.list(Look).await?;
        if !listed.iter().all(RingState::has_new_key) {
            self.change(Install, KeyChange::Install(new_key.clone()))
                .await?;
        }
        let (installed, _) = self.list(VerifyInstall).await?;
        expect(VerifyInstall, &installed, RingState::has_new_key)?;

        if !installed.iter().all(RingState::is_known_to_use_new_key) {
            self.change(Use, KeyChange::Use(new_key)).await?;
        }
        let (used, old) = self.list(VerifyUse).await?;
        let uses = |ring: &RingState| ring.has_new_key() && ring.uses_new_key();
        expect(VerifyUse, &used, uses)?;

        for (at, key) in old.iter().enumerate() {
            if at > 0 {
                let (rings, _) = self.list(Remove).await?;
                expect(Remove, &rings, uses)?;
            }
            self.change(Remove, KeyChange::Remove(key.clone())).await?;
        }
        let (rings, _) = self.list(VerifyRemove).await?;
        let removed = |ring: &RingState| ring.has_new_key() && ring.old_keys.is_empty();
        expect(VerifyRemove, &rings, removed)?;
        Ok(Rotation {
            removed: old.len(),
            unverified: self.unverified(&rings),
            rings,
        })
    }

    /// Lists all rings and returns the old keys too. Each ring has to answer in full,
    /// and none of those before may be missing.
    async fn list(
        &mut self,
        step: RotationStep,
    ) -> Result<(Vec<RingState>, BTreeSet<GossipKey>), RotationError> {
        self.watched.begin(step);
        let (reply, mut rings) = self.ask(step, None).await?;
        let members = self.watched.rings.members().await;
        let members = members.map_err(|error| RotationError::refused(step, error))?;
        self.members_known = members.as_ref().map(|_| Vec::new());
        for ring in &mut rings {
            let mut known = members.iter().flatten();
            let Some(known) = known.find(|known| ring.is(&known.datacenter, &known.pool)) else {
                continue;
            };
            ring.add_absent(known.failed.iter().cloned());
            // A token that may not read all nodes sees only some members.
            if known.alive.len() >= ring.nodes {
                let name = (ring.datacenter.clone(), ring.pool.clone());
                self.members_known.get_or_insert_default().push(name);
            }
        }
        self.watched.show(&rings);
        self.past_return |= rings.iter().any(RingState::may_use_new_key);
        if step == RotationStep::Look {
            self.remember(&rings);
        }
        let old = self.watched.old_keys(&reply);
        self.confirm(step, &reply, rings).map(|rings| (rings, old))
    }

    async fn change(&mut self, step: RotationStep, change: KeyChange) -> Result<(), RotationError> {
        self.watched.begin(step);
        let (reply, rings) = self.ask(step, Some(&change)).await?;
        if reply.rings.is_empty() {
            return Ok(());
        }
        self.confirm(step, &reply, rings).map(drop)
    }

    /// Makes a change, or lists the keys.
    async fn ask(
        &self,
        step: RotationStep,
        change: Option<&KeyChange>,
    ) -> Result<(KeyringReply, Vec<RingState>), RotationError> {
        let reply = match change {
            Some(change) => self.watched.rings.change(change).await,
            None => self.watched.rings.list().await,
        };
        let reply = reply.map_err(|error| RotationError::refused(step, error))?;
        let mut rings = self.watched.states(&reply);
        for (ring, outcome) in rings.iter_mut().zip(&reply.rings) {
            let expected = self.options.expected(&ring.datacenter, &ring.pool);
            if let Some(report) = &outcome.report
                && report.asked.len() == report.nodes
            {
                let nodes = expected.into_iter().flat_map(|ring| &ring.nodes);
                let missing = nodes.filter(|node| !report.asked.contains(node));
                ring.add_absent(missing.cloned());
            }
        }
        Ok((reply, rings))
    }

    /// Keeps the rings of the first listing. A later one, after a wait, does not lower
    /// the number of nodes: one that was given up meanwhile has to come back.
    fn remember(&mut self, rings: &[RingState]) {
        for ring in rings {
            let mut before = self.before.iter_mut();
            match before.find(|before| before.is(&ring.datacenter, &ring.pool)) {
                Some(before) => before.nodes = before.nodes.max(ring.nodes),
                None => self.before.push(ring.clone()),
            }
        }
    }

    fn confirm(
        &self,
        step: RotationStep,
        reply: &KeyringReply,
        rings: Vec<RingState>,
    ) -> Result<Vec<RingState>, RotationError> {
        // A truncated listing does not show which keys are left, and one without rings
        // shows nothing.
        let confirmed = !rings.is_empty()
            && reply.rings.iter().all(RingOutcome::is_confirmed)
            && rings.iter().all(|ring| ring.truncated == 0);
        let unconfirmed = (!confirmed).then_some(RotationFault::Unconfirmed);
        let reason = self.absent(&rings).or(self.missing(&rings)).or(unconfirmed);
        match reason {
            None => Ok(rings),
            Some(reason) => Err(RotationError::new(step, rings, reason)),
        }
    }

    fn absent(&self, rings: &[RingState]) -> Option<RotationFault> {
        if self.options.absent == Absent::LeaveBehind {
            return None;
        }
        let ring = rings.iter().find(|ring| !ring.absent.is_empty())?;
        let (datacenter, pool) = (ring.datacenter.clone(), ring.pool.clone());
        let node = ring.absent.first()?.clone();
        Some(RotationFault::NodeAbsent(datacenter, pool, node))
    }

    /// Returns what is missing of the rings that were there at the beginning or that are
    /// expected.
    fn missing(&self, rings: &[RingState]) -> Option<RotationFault> {
        let leaves_behind = self.options.absent == Absent::LeaveBehind;
        let listed = |datacenter, pool| rings.iter().find(|ring| ring.is(datacenter, pool));
        let expected = self.options.expected.iter().map(|ring| {
            let nodes = if leaves_behind { 0 } else { ring.nodes.len() };
            let now = listed(&ring.datacenter, &ring.pool);
            (&ring.datacenter, &ring.pool, nodes, now)
        });
        // The WAN that several servers list alike has the datacenter of the first one.
        let wan = || rings.iter().find(|ring| ring.pool == Pool::Wan);
        let before = self.before.iter().map(|ring| {
            let now = listed(&ring.datacenter, &ring.pool);
            let now = now.or_else(|| wan().filter(|_| ring.pool == Pool::Wan));
            (&ring.datacenter, &ring.pool, ring.nodes, now)
        });
        before
            .chain(expected)
            .find_map(|(datacenter, pool, nodes, now)| {
                let fault = match now {
                    None => RotationFault::RingLost,
                    Some(now) if now.error.is_none() && now.nodes < nodes => {
                        RotationFault::NodeLost
                    }
                    Some(_) => return None,
                };
                Some(fault(datacenter.clone(), pool.clone()))
            })
    }

    fn unverified(&self, rings: &[RingState]) -> Vec<Unverified> {
        let mut unverified = Vec::new();
        for ring in rings {
            let (datacenter, pool) = (&ring.datacenter, &ring.pool);
            if ring.using_new_key.is_none() {
                unverified.push(Unverified::Primary(datacenter.clone(), pool.clone()));
            }
            if let Some(known) = &self.members_known
                && self.options.expected(datacenter, pool).is_none()
                && !known.iter().any(|(known, of)| ring.is(known, of))
            {
                unverified.push(Unverified::Members(datacenter.clone(), pool.clone()));
            }
        }
        unverified
    }
}

fn expect(
    step: RotationStep,
    rings: &[RingState],
    holds: impl Fn(&RingState) -> bool,
) -> Result<(), RotationError> {
    if rings.iter().all(holds) {
        return Ok(());
    }
    let reason = RotationFault::Unconfirmed;
    Err(RotationError::new(step, rings.to_vec(), reason))
}
