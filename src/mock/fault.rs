//! Faults that a test injects, and the list of those in effect.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;

use crate::error::Outcome;
use crate::keyring::{GossipKey, Pool};
use crate::raft::PendingChange;
use crate::types::{DatacenterName, NodeName, ServerId};

/// A fault, in effect from when it is
/// [injected](super::MockFederation::inject) until it is
/// [healed](super::MockFederation::heal).
///
/// ```
/// use cluster_operator::mock::{Calls, Fault, MockClock, MockFederation};
/// use cluster_operator::raft::{Consistency, PeerSelector};
/// use cluster_operator::service::Caller;
/// use cluster_operator::Outcome;
///
/// let clock = MockClock::new();
/// let federation = MockFederation::builder()
///     .datacenter("dc1", ["alice", "bob", "carol"])
///     .clock(&clock)
///     .build();
/// let carol = PeerSelector::Id(federation.raft("carol").id().clone());
/// let bob = federation.service("bob");
///
/// // The leader executes what bob forwards to it, and bob gets no answer.
/// let lost = federation.inject(Fault::lose_answer(Calls::all().to("alice")));
/// let error = clock.run(bob.remove_peer(&Caller::anonymous(), carol, None)).unwrap_err();
/// assert_eq!(error.outcome(), Outcome::Unknown);
/// assert_eq!(federation.configuration("dc1").servers.len(), 2);
/// federation.heal(lost);
/// ```
#[derive(Debug, Clone)]
pub struct Fault {
    pub(super) kind: FaultKind,
    /// Describes the fault in a transcript.
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FaultKind {
    Stop(NodeName),
    Pause(NodeName),
    Partition(Vec<NodeName>, Vec<NodeName>),
    SilentDatacenter(DatacenterName),
    Call(Calls, CallFault),
    Node(NodeName, Pool, NodeFault),
    StaleHint(NodeName, NodeName),
    /// Concerns one server of a Raft cluster.
    Member(NodeName, RaftFault),
    /// Concerns a whole Raft cluster.
    Cluster(DatacenterName, RaftFault),
}

/// A fault of a Raft cluster or of one of its servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RaftFault {
    /// Each call takes this long.
    Slow(Duration),
    /// The leader loses the leadership at so many calls from now.
    LoseLeadIn(u64),
    /// The next change has this outcome.
    FailChange(Outcome),
    /// The server believes that this one leads.
    StaleHint(ServerId),
    /// The server is cut off in the middle of the next change.
    LoseAtChange,
    /// The server is cut off.
    Lost,
    /// The removal of the server is unfinished.
    Unfinished(PendingChange),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallFault {
    Refuse,
    LoseRequest,
    LoseAnswer,
    Reset,
    Garble,
    Delay(Duration),
    Duplicate(Duration),
}

/// A fault of one node of a gossip pool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeFault {
    /// The node does not answer, and changes nothing.
    Silent,
    /// The node makes changes and answers only after this time. Needs a
    /// [clock](super::MockFederationBuilder::clock).
    Late(Duration),
    /// The node refuses to change its keys.
    Refuses,
    /// The node reports changes that it does not make.
    Lies,
    /// The node lists this key only, whatever it holds.
    ListsOther(GossipKey),
    /// The node lists only so many of its keys, as if no more fitted into the
    /// answer.
    ListsFirst(usize),
}

impl Fault {
    /// The server is down.
    pub fn stop(server: impl Into<NodeName>) -> Self {
        let server = server.into();
        Fault::new(format!("{server} is down"), FaultKind::Stop(server))
    }

    /// The server accepts calls but answers none, not even those that it has begun.
    /// It answers them once the fault is healed, even if the caller has given up;
    /// without a [clock](super::MockFederationBuilder::clock), only if the caller
    /// still waits. Meanwhile it neither votes nor gossips, and once gossip has
    /// noticed, calls from other datacenters go to other servers.
    ///
    /// A call of its own service ends with that service's deadline, as if the
    /// client had timed out.
    pub fn pause(server: impl Into<NodeName>) -> Self {
        let server = server.into();
        Fault::new(format!("{server} is paused"), FaultKind::Pause(server))
    }

    /// No call, Raft message or gossip passes between the two groups. Within a
    /// group, and for servers of neither, nothing changes.
    pub fn partition<A: Into<NodeName>, B: Into<NodeName>>(
        group: impl IntoIterator<Item = A>,
        other: impl IntoIterator<Item = B>,
    ) -> Self {
        let group: Vec<NodeName> = group.into_iter().map(Into::into).collect();
        let other: Vec<NodeName> = other.into_iter().map(Into::into).collect();
        let text = format!("a partition between {group:?} and {other:?}");
        Fault::new(text, FaultKind::Partition(group, other))
    }

    /// Calls from other datacenters do not arrive in this one, including those in
    /// transit, and the callers get no error. Calls out of it, and gossip over the
    /// WAN, still work: use a [partition](Fault::partition) to cut those too.
    pub fn silent_datacenter(datacenter: impl Into<DatacenterName>) -> Self {
        let datacenter = datacenter.into();
        let text = format!("{datacenter} is silent");
        Fault::new(text, FaultKind::SilentDatacenter(datacenter))
    }

    /// The calls fail at once, before anything is sent.
    pub fn refuse(calls: Calls) -> Self {
        Fault::of_calls("refused", calls, CallFault::Refuse)
    }

    /// The requests are lost in transit. The caller gets no answer.
    pub fn lose_request(calls: Calls) -> Self {
        Fault::of_calls("request lost", calls, CallFault::LoseRequest)
    }

    /// The requests are executed, and the answers are lost.
    pub fn lose_answer(calls: Calls) -> Self {
        Fault::of_calls("answer lost", calls, CallFault::LoseAnswer)
    }

    /// The requests are executed, then the connection breaks: the caller learns
    /// that no answer will come, but not whether the request was executed.
    pub fn reset(calls: Calls) -> Self {
        Fault::of_calls("connection reset", calls, CallFault::Reset)
    }

    /// The requests are executed, and the answers are wrong: rings appear twice
    /// and under the names of other datacenters, and any other request is answered
    /// with an empty list of rings. The service corrects the answer to a keyring
    /// request, so that its caller does not notice.
    pub fn garble(calls: Calls) -> Self {
        Fault::of_calls("answer garbled", calls, CallFault::Garble)
    }

    /// The requests arrive after this delay. Several delays add up. Needs a
    /// [clock](super::MockFederationBuilder::clock).
    pub fn delay(calls: Calls, delay: Duration) -> Self {
        let what = format!("delayed by {delay:?}");
        Fault::of_calls(&what, calls, CallFault::Delay(delay))
    }

    /// Each request arrives a second time, so long after the first, if the server
    /// can be reached then. The second answer is discarded. Needs a
    /// [clock](super::MockFederationBuilder::clock).
    pub fn duplicate(calls: Calls, after: Duration) -> Self {
        let what = format!("repeated after {after:?}");
        Fault::of_calls(&what, calls, CallFault::Duplicate(after))
    }

    /// A server's node in a gossip pool has a fault. Of several, the latest one
    /// counts.
    pub fn node(server: impl Into<NodeName>, pool: Pool, fault: NodeFault) -> Self {
        let server = server.into();
        let text = format!("the node of {server} ({pool}): {fault:?}");
        Fault::new(text, FaultKind::Node(server, pool, fault))
    }

    /// The datacenter's leader loses the leadership to another server at the `nth`
    /// call of its Raft from now: with 1 between routing and execution, with 2 between
    /// the check and the change of a removal. Reading the configuration or the state
    /// of autopilot does not count as a call. If nobody else can lead, the leader
    /// stays.
    ///
    /// # Panics
    /// If `nth` is 0.
    pub fn lose_lead_at(datacenter: impl Into<DatacenterName>, nth: u64) -> Self {
        assert!(nth > 0, "calls are counted from 1");
        let datacenter = datacenter.into();
        let text =
            format!("the leader of {datacenter} loses the leadership at call {nth} of its Raft");
        Fault::new(
            text,
            FaultKind::Cluster(datacenter, RaftFault::LoseLeadIn(nth)),
        )
    }

    /// The server believes that this server of its datacenter leads, which may be
    /// itself.
    pub fn stale_hint(server: impl Into<NodeName>, leader: impl Into<NodeName>) -> Self {
        let (server, leader) = (server.into(), leader.into());
        let text = format!("{server} believes that {leader} leads");
        Fault::new(text, FaultKind::StaleHint(server, leader))
    }

    /// The datacenter's next removal, replacement or promotion fails with this outcome; it
    /// is made unless the outcome is [`NotApplied`](Outcome::NotApplied). Several such
    /// faults affect as many changes, in order.
    pub fn fail_change(datacenter: impl Into<DatacenterName>, outcome: Outcome) -> Self {
        let datacenter = datacenter.into();
        let text = format!("the next change in {datacenter} fails: {outcome:?}");
        Fault::new(
            text,
            FaultKind::Cluster(datacenter, RaftFault::FailChange(outcome)),
        )
    }

    /// The server is cut off from the others' Raft in the middle of the next removal,
    /// replacement or promotion in its datacenter: after the proof, and before it has the
    /// entry, or, if it leads, before any other server has.
    ///
    /// If the other voters after the change are a majority, it succeeds. If they are not,
    /// there is no leader until the fault is healed, and the change is finished then. If
    /// the leader is cut off, the next leader overwrites the entry. The outcome of a
    /// change that does not succeed is [`Unknown`](Outcome::Unknown).
    pub fn lose_at_change(server: impl Into<NodeName>) -> Self {
        let server = server.into();
        let text = format!("{server} is lost in the middle of the next change");
        Fault::new(text, FaultKind::Member(server, RaftFault::LoseAtChange))
    }

    /// Another operator's removal of this server is unfinished.
    ///
    /// If it is uncommitted, removals fail with
    /// [`ChangeInProgress`](crate::ErrorKind::ChangeInProgress) until the fault is
    /// healed, which discards it. If it is a joint configuration, the next removal
    /// finishes it. Views show the change and the servers before it.
    pub fn unfinished_removal(server: impl Into<NodeName>, at: PendingChange) -> Self {
        let server = server.into();
        let text = format!("the removal of {server} is unfinished: {at:?}");
        Fault::new(text, FaultKind::Member(server, RaftFault::Unfinished(at)))
    }

    /// Every call of the datacenter's Raft and autopilot takes this long. Several
    /// such faults add up. Needs a [clock](super::MockFederationBuilder::clock).
    pub fn slow_raft(datacenter: impl Into<DatacenterName>, delay: Duration) -> Self {
        let datacenter = datacenter.into();
        let text = format!("Raft calls in {datacenter} take {delay:?}");
        Fault::new(text, FaultKind::Cluster(datacenter, RaftFault::Slow(delay)))
    }

    fn new(text: String, kind: FaultKind) -> Self {
        Fault { kind, text }
    }

    fn of_calls(what: &str, calls: Calls, fault: CallFault) -> Self {
        Fault::new(format!("{what}: {calls}"), FaultKind::Call(calls, fault))
    }

    /// Returns whether the fault needs a clock.
    pub(super) fn takes_time(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Call(_, CallFault::Delay(_) | CallFault::Duplicate(_))
                | FaultKind::Node(_, _, NodeFault::Late(_))
                | FaultKind::Cluster(_, RaftFault::Slow(_))
        )
    }
}

/// As shown in a transcript.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The calls between servers that a [`Fault`] affects.
///
/// `Calls::all().from("alice").to("bob").nth(3)` is the third call from alice to bob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    pub(super) from: Option<NodeName>,
    pub(super) to: Option<NodeName>,
    which: Which,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Which {
    #[default]
    All,
    Nth(u64),
    OneIn(u64),
}

impl Calls {
    /// Selects all calls between servers.
    pub fn all() -> Self {
        Calls::default()
    }

    /// Keeps only the calls that this server makes.
    #[must_use]
    pub fn from(mut self, server: impl Into<NodeName>) -> Self {
        self.from = Some(server.into());
        self
    }

    /// Keeps only the calls that this server receives.
    #[must_use]
    pub fn to(mut self, server: impl Into<NodeName>) -> Self {
        self.to = Some(server.into());
        self
    }

    /// Keeps only the `nth` of these calls, counted from 1 when the fault is
    /// injected.
    ///
    /// # Panics
    /// If `nth` is 0.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        assert!(nth > 0, "calls are counted from 1");
        self.which = Which::Nth(nth);
        self
    }

    /// Keeps one in so many of these calls on average, chosen by the
    /// [seed](super::MockFederationBuilder::seed) of the federation.
    ///
    /// # Panics
    /// If `times` is 0.
    #[must_use]
    pub fn one_in(mut self, times: u64) -> Self {
        assert!(times > 0, "one call in 0 is none");
        self.which = Which::OneIn(times);
        self
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.which {
            Which::All => f.write_str("every call")?,
            Which::Nth(nth) => write!(f, "call number {nth}")?,
            Which::OneIn(times) => write!(f, "one call in {times}")?,
        }
        if let Some(from) = &self.from {
            write!(f, " from {from}")?;
        }
        match &self.to {
            Some(to) => write!(f, " to {to}"),
            None => Ok(()),
        }
    }
}

/// Identifies an injected fault. No two federations share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(u64);

impl FaultId {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        FaultId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The faults in effect.
#[derive(Debug)]
pub(super) struct ActiveFaults {
    /// Each with the number of calls that it could have affected so far.
    faults: BTreeMap<FaultId, (Fault, u64)>,
    rng: Rng,
}

impl ActiveFaults {
    pub(super) fn new(seed: u64) -> Self {
        ActiveFaults {
            faults: BTreeMap::new(),
            rng: Rng::with_seed(seed),
        }
    }

    pub(super) fn add(&mut self, id: FaultId, fault: Fault) {
        self.faults.insert(id, (fault, 0));
    }

    pub(super) fn remove(&mut self, id: FaultId) -> Option<Fault> {
        self.faults.remove(&id).map(|(fault, _)| fault)
    }

    pub(super) fn ids(&self) -> Vec<FaultId> {
        self.faults.keys().copied().collect()
    }

    pub(super) fn contains(&self, kind: &FaultKind) -> bool {
        self.faults.values().any(|(fault, _)| fault.kind == *kind)
    }

    /// The faults of a call, which is counted.
    pub(super) fn of_call(&mut self, from: &NodeName, to: &NodeName) -> Vec<CallFault> {
        let is = |wanted: &Option<NodeName>, name| wanted.as_ref().is_none_or(|it| it == name);
        let mut found = Vec::new();
        for (fault, seen) in self.faults.values_mut() {
            let FaultKind::Call(calls, fault) = &fault.kind else {
                continue;
            };
            if !(is(&calls.from, from) && is(&calls.to, to)) {
                continue;
            }
            *seen += 1;
            let affected = match calls.which {
                Which::All => true,
                Which::Nth(nth) => *seen == nth,
                Which::OneIn(times) => self.rng.u64(..times) == 0,
            };
            if affected {
                found.push(*fault);
            }
        }
        found
    }

    /// Returns whether a partition separates two servers.
    pub(super) fn separate(&self, one: &NodeName, other: &NodeName) -> bool {
        self.faults.values().any(|(fault, _)| match &fault.kind {
            FaultKind::Partition(group, rest) => {
                group.contains(one) && rest.contains(other)
                    || group.contains(other) && rest.contains(one)
            }
            _ => false,
        })
    }
}
