//! The plan of a removal, and the quorum guard that decides by it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ConfigVersion, ServerAddress, ServerId};

/// The rule by which the service rejects removals of voters. The removal of the last
/// voter is always rejected.
///
/// A server whose state is unknown counts as alive. Otherwise a backend without
/// failure detection could remove no voter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum QuorumGuard {
    /// Rejects no removal. The backend still proves that a majority of the voters that
    /// stay is alive.
    Off,
    /// Rejects the removal of a live voter if the cluster has a majority now and would
    /// lose it.
    #[default]
    Quorum,
    /// Rejects a removal if the failure of one more voter would then cost the
    /// majority. The backend proves the same. With three voters or fewer, it rejects
    /// every removal. A replacement keeps the number of voters and needs the proof of a
    /// majority only.
    Margin,
}

impl QuorumGuard {
    /// Returns the name: `off`, `quorum` or `margin`.
    pub fn name(self) -> &'static str {
        match self {
            QuorumGuard::Off => "off",
            QuorumGuard::Quorum => "quorum",
            QuorumGuard::Margin => "margin",
        }
    }
}

/// Returns the majority of this number of voters.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Returns the number of voters that survive the failure of one of them as a majority.
pub(crate) fn margin(voters: usize) -> usize {
    majority(voters) + 1
}

/// The effect of a removal on the quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RemovalVerdict {
    /// The cluster tolerates as many failures as before, or more.
    Safe,
    /// The cluster keeps its quorum and tolerates fewer failures than before.
    ReducesTolerance,
    /// The effect depends on voters whose health is unknown.
    UnknownHealth,
    /// Fewer of the voters that stay would be alive than a majority.
    LosesQuorum,
    /// The server is the last voter.
    LastVoter,
}

impl RemovalVerdict {
    /// Returns the name, such as `reduces-tolerance`.
    pub fn name(self) -> &'static str {
        match self {
            RemovalVerdict::Safe => "safe",
            RemovalVerdict::ReducesTolerance => "reduces-tolerance",
            RemovalVerdict::UnknownHealth => "unknown-health",
            RemovalVerdict::LosesQuorum => "loses-quorum",
            RemovalVerdict::LastVoter => "last-voter",
        }
    }
}

/// The voters of a configuration, counted. A voter of unknown health counts as alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct VoterCount {
    /// The number of voters.
    pub voters: usize,
    /// The number of voters that a majority needs.
    pub quorum: usize,
    /// The number of voters that are alive.
    pub alive: usize,
    /// The number of voters that can fail before the majority is lost.
    pub failure_tolerance: usize,
}

/// The effect of the removal of a server on the quorum, as the leader sees the cluster at
/// one moment.
///
/// [`RemovalPlan::new`] and the service make plans; a plan that another server sent has
/// the same guarantees, because everything that can be counted is counted here. It
/// serializes as the JSON of `GET /v1/operator/raft/removal-plan`.
///
/// ```
/// use cluster_operator::raft::{
///     Membership, PeerSelector, QuorumGuard, RaftMember, RaftView, RemovalPlan, RemovalVerdict,
///     ServerStatus,
/// };
///
/// let voters = ["a", "b", "c"].map(|name| RaftMember::voter(name, name));
/// let mut view = RaftView::new("a", Membership::new(voters).into());
/// view.status = vec![ServerStatus::unknown().with_alive(true); 3];
/// let c = PeerSelector::Id("c".into());
/// let plan = RemovalPlan::new(&view, &c, QuorumGuard::Quorum)?;
/// assert_eq!(plan.verdict(), RemovalVerdict::ReducesTolerance);
/// assert_eq!(plan.before().failure_tolerance, 1);
/// assert_eq!(plan.after().failure_tolerance, 0);
/// # Ok::<(), cluster_operator::OperatorError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovalPlan {
    pub(crate) id: ServerId,
    pub(crate) address: ServerAddress,
    pub(crate) leads: bool,
    pub(crate) version: ConfigVersion,
    pub(crate) term: u64,
    pub(crate) guard: QuorumGuard,
    pub(crate) healthy: Vec<ServerId>,
    pub(crate) unhealthy: Vec<ServerId>,
    pub(crate) unknown: Vec<ServerId>,
    pub(crate) replacements: Vec<ServerId>,
}

impl RemovalPlan {
    /// Returns the id of the server that would be removed.
    pub fn id(&self) -> &ServerId {
        &self.id
    }

    /// Returns its Raft address.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Returns true if it is a voter.
    pub fn is_voter(&self) -> bool {
        self.voters().any(|(id, _)| *id == self.id)
    }

    /// Returns true if it is the leader.
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Returns the version of the configuration that the plan is valid for.
    pub fn version(&self) -> ConfigVersion {
        self.version
    }

    /// Returns the leader's term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Returns the quorum guard of the leader's service.
    pub fn guard(&self) -> QuorumGuard {
        self.guard
    }

    /// Returns the voters that are alive, before the removal.
    pub fn healthy(&self) -> &[ServerId] {
        &self.healthy
    }

    /// Returns the voters that are not alive, before the removal.
    pub fn unhealthy(&self) -> &[ServerId] {
        &self.unhealthy
    }

    /// Returns the voters of which it is unknown whether they are alive, before the
    /// removal.
    pub fn unknown(&self) -> &[ServerId] {
        &self.unknown
    }

    /// Returns the voters before the removal, and whether each is alive, if known.
    fn voters(&self) -> impl Iterator<Item = (&ServerId, Option<bool>)> {
        let healthy = self.healthy.iter().map(|id| (id, Some(true)));
        let unhealthy = self.unhealthy.iter().map(|id| (id, Some(false)));
        let unknown = self.unknown.iter().map(|id| (id, None));
        healthy.chain(unhealthy).chain(unknown)
    }

    /// Returns the voters after the removal.
    fn stayers(&self) -> impl Iterator<Item = (&ServerId, Option<bool>)> {
        self.voters().filter(|(id, _)| **id != self.id)
    }

    /// Counts the voters before the removal.
    pub fn before(&self) -> VoterCount {
        count(self.voters(), true)
    }

    /// Counts the voters after the removal.
    pub fn after(&self) -> VoterCount {
        count(self.stayers(), true)
    }

    /// Returns the effect on the quorum.
    pub fn verdict(&self) -> RemovalVerdict {
        let best = self.verdict_if(true);
        let worst = self.verdict_if(false);
        match best {
            RemovalVerdict::Safe | RemovalVerdict::ReducesTolerance if best != worst => {
                RemovalVerdict::UnknownHealth
            }
            _ => best,
        }
    }

    /// Returns the effect if the voters of unknown health are all alive, or all dead.
    fn verdict_if(&self, unknown_are_alive: bool) -> RemovalVerdict {
        let before = count(self.voters(), unknown_are_alive);
        let after = count(self.stayers(), unknown_are_alive);
        if !self.is_voter() {
            RemovalVerdict::Safe
        } else if after.voters == 0 {
            RemovalVerdict::LastVoter
        } else if after.alive < after.quorum {
            RemovalVerdict::LosesQuorum
        } else if after.failure_tolerance < before.failure_tolerance {
            RemovalVerdict::ReducesTolerance
        } else {
            RemovalVerdict::Safe
        }
    }

    /// Returns false if the service would reject the removal by its arithmetic. A
    /// removal that it allows can still fail to be proven.
    pub fn is_allowed(&self) -> bool {
        self.verdict() != RemovalVerdict::LastVoter && self.needed_alive() <= self.after().alive
    }

    /// Returns the number of voters that stay and that the quorum guard requires to be
    /// alive.
    pub(crate) fn needed_alive(&self) -> usize {
        let (before, after) = (self.before(), self.after());
        let removes_live = self
            .voters()
            .any(|(id, alive)| *id == self.id && alive != Some(false));
        match self.guard {
            _ if !self.is_voter() => 0,
            QuorumGuard::Quorum if removes_live && before.alive >= before.quorum => after.quorum,
            QuorumGuard::Off | QuorumGuard::Quorum => 0,
            QuorumGuard::Margin => margin(after.voters),
        }
    }

    /// Returns the servers without a vote that could take the voter's place in one
    /// change, which keeps the failure tolerance. Empty if the server has no vote.
    ///
    /// They are named whether or not the backend supports replacements, which only the
    /// answer to one tells.
    pub fn replacements(&self) -> &[ServerId] {
        &self.replacements
    }

    /// Returns the ways around a rejection, to be appended to its reason. One is a
    /// replacement, which some backends do not support.
    pub(crate) fn ways_around(&self) -> String {
        let with = self.replacements.first();
        if self.verdict() == RemovalVerdict::LastVoter {
            return match with {
                Some(with) => format!(": replace it with {with} in one change"),
                None => ": add another voter first".into(),
            };
        }
        let replace = with.map(|with| format!("replace it with {with} in one change, or "));
        let after = self.after();
        let forced = if after.alive < after.quorum {
            "force the removal if more of them are alive than is known"
        } else {
            "force the removal past the quorum guard"
        };
        format!("; or {}{forced}", replace.unwrap_or_default())
    }
}

/// Counts voters, each of which is alive, is not, or is unknown.
pub(crate) fn count<'a>(
    voters: impl Iterator<Item = (&'a ServerId, Option<bool>)>,
    unknown_are_alive: bool,
) -> VoterCount {
    let (mut all, mut alive) = (0, 0);
    for (_, health) in voters {
        all += 1;
        alive += usize::from(health.unwrap_or(unknown_are_alive));
    }
    let quorum = majority(all);
    VoterCount {
        voters: all,
        quorum,
        alive,
        failure_tolerance: alive.saturating_sub(quorum),
    }
}

impl Serialize for RemovalPlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// What can be counted is written too, for a reader without this library.
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Written<'a> {
            #[serde(rename = "ID")]
            id: &'a ServerId,
            address: &'a ServerAddress,
            voter: bool,
            leader: bool,
            version: String,
            term: u64,
            verdict: &'static str,
            quorum_guard: &'static str,
            allowed: bool,
            before: VoterCount,
            after: VoterCount,
            healthy: &'a [ServerId],
            unhealthy: &'a [ServerId],
            unknown: &'a [ServerId],
            replacements: &'a [ServerId],
        }
        let written = Written {
            id: &self.id,
            address: &self.address,
            voter: self.is_voter(),
            leader: self.leads,
            version: self.version.to_string(),
            term: self.term,
            verdict: self.verdict().name(),
            quorum_guard: self.guard.name(),
            allowed: self.is_allowed(),
            before: self.before(),
            after: self.after(),
            healthy: &self.healthy,
            unhealthy: &self.unhealthy,
            unknown: &self.unknown,
            replacements: &self.replacements,
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RemovalPlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Read {
            #[serde(rename = "ID")]
            id: ServerId,
            address: ServerAddress,
            leader: bool,
            version: String,
            term: u64,
            quorum_guard: QuorumGuard,
            healthy: Vec<ServerId>,
            unhealthy: Vec<ServerId>,
            unknown: Vec<ServerId>,
            replacements: Vec<ServerId>,
        }
        let read = Read::deserialize(deserializer)?;
        Ok(RemovalPlan {
            id: read.id,
            address: read.address,
            leads: read.leader,
            version: read.version.parse().map_err(serde::de::Error::custom)?,
            term: read.term,
            guard: read.quorum_guard,
            healthy: read.healthy,
            unhealthy: read.unhealthy,
            unknown: read.unknown,
            replacements: read.replacements,
        })
    }
}
