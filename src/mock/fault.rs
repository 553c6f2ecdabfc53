//! What can go wrong.

use std::fmt;
use std::time::Duration;

use super::Calls;
use crate::error::Outcome;
use crate::keyring::{GossipKey, Pool};
use crate::raft::PendingChange;
use crate::types::{DatacenterName, NodeName};

/// Something that goes wrong, from when it is
/// [injected](super::MockFederation::inject) until it is
/// [healed](super::MockFederation::heal).
///
/// ```
/// use cluster_operator::mock::{Calls, Fault, MockClock, MockFederation};
/// use cluster_operator::{Caller, Consistency, Outcome, PeerSelector};
///
/// let clock = MockClock::new();
/// let federation = MockFederation::builder()
///     .datacenter("dc1", ["alice", "bob", "carol"])
///     .clock(&clock)
///     .build();
/// let carol = PeerSelector::Id(federation.raft("carol").id().clone());
/// let bob = federation.service("bob");
///
/// // The leader does what bob hands on to her, and bob never hears of it.
/// let lost = federation.inject(Fault::lose_answer(Calls::all().to("alice")));
/// let error = clock.run(bob.remove_peer(&Caller::anonymous(), carol, None)).unwrap_err();
/// assert_eq!(error.outcome(), Outcome::Unknown);
/// assert_eq!(federation.configuration("dc1").servers.len(), 2);
/// federation.heal(lost);
/// ```
#[derive(Debug, Clone)]
pub struct Fault(pub(super) Kind);

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Stop(NodeName),
    Pause(NodeName),
    Partition(Vec<NodeName>, Vec<NodeName>),
    Silence(DatacenterName),
    Call(Calls, CallFault),
    Node(NodeName, Pool, NodeFault),
    LoseLead(DatacenterName, u64),
    StaleHint(NodeName, NodeName),
    FailRemoval(DatacenterName, Outcome),
    LoseAtRemoval(NodeName),
    UnfinishedRemoval(NodeName, PendingChange),
    SlowRaft(DatacenterName, Duration),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum CallFault {
    Refuse,
    LoseRequest,
    LoseAnswer,
    Reset,
    Garble,
    Delay(Duration),
    Duplicate(Duration),
}

/// How one node of a gossip pool misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeFault {
    /// It answers nothing, and changes nothing.
    Silent,
    /// It answers, and changes what it is to, only after this time. Needs a
    /// [clock](super::MockFederationBuilder::clock).
    Late(Duration),
    /// It says that it does not change its keys, and does not.
    Refuses,
    /// It says that it changes its keys, and does not.
    Lies,
    /// It does what it is asked twice, and answers twice.
    AnswersTwice,
    /// It lists this key alone, whatever it holds.
    ListsOther(GossipKey),
    /// It lists only so many of its keys, as if no more fitted into the answer.
    ListsFirst(usize),
}

impl Fault {
    /// The server is down.
    pub fn stop(server: impl Into<NodeName>) -> Self {
        Fault(Kind::Stop(server.into()))
    }

    /// The server takes calls and answers none, not even those that it has
    /// begun with. It answers them once the fault is healed, also those for
    /// which nobody waits any more; without a
    /// [clock](super::MockFederationBuilder::clock), only those for which
    /// someone does. It neither votes nor gossips, and once gossip has noticed,
    /// calls from other datacenters go to others.
    ///
    /// A call of its own service ends with that service's deadline, as if the
    /// client's patience had ended.
    pub fn pause(server: impl Into<NodeName>) -> Self {
        Fault(Kind::Pause(server.into()))
    }

    /// Nothing passes between the two groups: no calls, no Raft, no gossip.
    /// Servers of the same group, and those of none, are as before.
    pub fn partition<A: Into<NodeName>, B: Into<NodeName>>(
        group: impl IntoIterator<Item = A>,
        other: impl IntoIterator<Item = B>,
    ) -> Self {
        let group = group.into_iter().map(Into::into).collect();
        Fault(Kind::Partition(
            group,
            other.into_iter().map(Into::into).collect(),
        ))
    }

    /// No call from elsewhere arrives in this datacenter, and nobody says so;
    /// those that are on their way neither. The way out is open, and so is that
    /// of gossip over the WAN: to close both, make a
    /// [partition](Fault::partition).
    pub fn silent_datacenter(datacenter: impl Into<DatacenterName>) -> Self {
        Fault(Kind::Silence(datacenter.into()))
    }

    /// The calls fail at once, before anything is sent.
    pub fn refuse(calls: Calls) -> Self {
        Fault(Kind::Call(calls, CallFault::Refuse))
    }

    /// The requests are lost on their way. The caller gets no answer.
    pub fn lose_request(calls: Calls) -> Self {
        Fault(Kind::Call(calls, CallFault::LoseRequest))
    }

    /// The requests are done, and the answers are lost.
    pub fn lose_answer(calls: Calls) -> Self {
        Fault(Kind::Call(calls, CallFault::LoseAnswer))
    }

    /// The requests are done, and then the connection breaks: the caller knows
    /// that it will get no answer, and not whether it was done.
    pub fn reset(calls: Calls) -> Self {
        Fault(Kind::Call(calls, CallFault::Reset))
    }

    /// The requests are done, and the answers make no sense: rings are told
    /// twice and in the name of other datacenters, and what is no keyring's
    /// answer belongs to another request. The service of this crate sorts a
    /// keyring's answer out, so that its caller sees nothing of it.
    pub fn garble(calls: Calls) -> Self {
        Fault(Kind::Call(calls, CallFault::Garble))
    }

    /// The requests take this long to arrive; several delays add up. Needs a
    /// [clock](super::MockFederationBuilder::clock).
    pub fn delay(calls: Calls, delay: Duration) -> Self {
        Fault(Kind::Call(calls, CallFault::Delay(delay)))
    }

    /// Each request arrives a second time so long after the first, unless there
    /// is no way then. The answer to the second goes nowhere. Needs a
    /// [clock](super::MockFederationBuilder::clock).
    pub fn duplicate(calls: Calls, after: Duration) -> Self {
        Fault(Kind::Call(calls, CallFault::Duplicate(after)))
    }

    /// A server's node of a pool misbehaves. Of several such faults the latest
    /// holds.
    pub fn node(server: impl Into<NodeName>, pool: Pool, fault: NodeFault) -> Self {
        Fault(Kind::Node(server.into(), pool, fault))
    }

    /// The datacenter's leader loses the lead to another server just before it
    /// executes something: at the first call of its Raft, between routing and
    /// execution. Reading autopilot's rules and state is no such call. Where
    /// nobody else can lead, nothing is lost.
    pub fn lose_lead(datacenter: impl Into<DatacenterName>) -> Self {
        Fault::lose_lead_at(datacenter, 1)
    }

    /// The same at the `nth` call of the leader's Raft. The second one of a
    /// removal is between the check and the change.
    ///
    /// # Panics
    /// If it is 0.
    pub fn lose_lead_at(datacenter: impl Into<DatacenterName>, nth: u64) -> Self {
        assert!(nth > 0, "calls are counted from 1");
        Fault(Kind::LoseLead(datacenter.into(), nth))
    }

    /// The server takes another one of its datacenter for the leader, which may
    /// be itself.
    pub fn stale_hint(server: impl Into<NodeName>, leader: impl Into<NodeName>) -> Self {
        Fault(Kind::StaleHint(server.into(), leader.into()))
    }

    /// The datacenter's next removal ends in an error of this outcome. It is
    /// done unless the outcome is
    /// [`NotApplied`](Outcome::NotApplied). Several of these are for so many
    /// removals, in their order.
    pub fn fail_removal(datacenter: impl Into<DatacenterName>, outcome: Outcome) -> Self {
        Fault(Kind::FailRemoval(datacenter.into(), outcome))
    }

    /// The server is cut off from the others' Raft in the middle of the next removal
    /// in its datacenter: after the proof, and before anybody else has the entry if
    /// it leads, or it has the entry itself if it does not.
    ///
    /// If the other voters that stay are a majority, the removal is done. If they
    /// are none, nobody leads until this is healed, and it is done then. If the
    /// leader is lost, the next one overwrites the entry. Where it is not done, its
    /// outcome is [`Unknown`](Outcome::Unknown).
    pub fn lose_at_removal(server: impl Into<NodeName>) -> Self {
        Fault(Kind::LoseAtRemoval(server.into()))
    }

    /// A removal of this server, by somebody else, is not finished.
    ///
    /// While it is uncommitted, removals are refused with
    /// [`ChangeInProgress`](crate::ErrorKind::ChangeInProgress), and once that is
    /// healed, it has come to nothing. A joint configuration is ended by the next
    /// removal. Views show the change, and the servers before it.
    pub fn unfinished_removal(server: impl Into<NodeName>, at: PendingChange) -> Self {
        Fault(Kind::UnfinishedRemoval(server.into(), at))
    }

    /// Every call of the Rafts of a datacenter takes this long, those of
    /// autopilot too; several of these add up. Needs a
    /// [clock](super::MockFederationBuilder::clock).
    pub fn slow_raft(datacenter: impl Into<DatacenterName>, delay: Duration) -> Self {
        Fault(Kind::SlowRaft(datacenter.into(), delay))
    }

    /// Whether it makes no sense without a clock.
    pub(super) fn takes_time(&self) -> bool {
        matches!(
            self.0,
            Kind::Call(_, CallFault::Delay(_) | CallFault::Duplicate(_))
                | Kind::Node(_, _, NodeFault::Late(_))
                | Kind::SlowRaft(..)
        )
    }
}

/// As a transcript tells it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Stop(server) => write!(f, "{server} is down"),
            Kind::Pause(server) => write!(f, "{server} is paused"),
            Kind::Partition(group, other) => {
                write!(f, "nothing passes between {group:?} and {other:?}")
            }
            Kind::Silence(datacenter) => write!(f, "{datacenter} is silent"),
            Kind::Call(calls, fault) => write!(f, "{fault} {calls}"),
            Kind::Node(server, pool, fault) => {
                write!(f, "the node of {server} ({pool}): {fault:?}")
            }
            Kind::LoseLead(datacenter, nth) => {
                write!(
                    f,
                    "the leader of {datacenter} loses the lead at call {nth} of its Raft"
                )
            }
            Kind::StaleHint(server, leader) => write!(f, "{server} takes {leader} for the leader"),
            Kind::FailRemoval(datacenter, outcome) => {
                write!(f, "the next removal in {datacenter} fails: {outcome:?}")
            }
            Kind::LoseAtRemoval(server) => {
                write!(f, "{server} is lost in the middle of the next removal")
            }
            Kind::UnfinishedRemoval(server, at) => {
                write!(f, "the removal of {server} is unfinished: {at:?}")
            }
            Kind::SlowRaft(datacenter, delay) => {
                write!(f, "the Rafts of {datacenter} take {delay:?}")
            }
        }
    }
}

impl fmt::Display for CallFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallFault::Refuse => f.write_str("refused:"),
            CallFault::LoseRequest => f.write_str("request lost:"),
            CallFault::LoseAnswer => f.write_str("answer lost:"),
            CallFault::Reset => f.write_str("connection reset after it was done:"),
            CallFault::Garble => f.write_str("answer garbled:"),
            CallFault::Delay(delay) => write!(f, "delayed by {delay:?}:"),
            CallFault::Duplicate(after) => write!(f, "again after {after:?}:"),
        }
    }
}
