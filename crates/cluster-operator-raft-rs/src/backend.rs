//! A [`RaftBackend`] over a node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::raft::{
    Change, ChangeKind, ConfigVersion, LeaderHint, Leadership, LogPosition, PeerSelector,
    PendingChange, RaftMember, RaftView, ServerStatus,
};
use cluster_operator::{ErrorKind, OperatorError, Outcome, RaftBackend, ServerId};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
use tokio::time::{Instant, timeout_at};

use crate::node::{Core, Node, NodeState};

/// Thirty years.
const FAR_FUTURE: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

type Result<T> = std::result::Result<T, OperatorError>;

/// A [`RaftBackend`] over a [`Node`].
///
/// The version of its views is that of the configuration in force: the last one that was
/// applied. While another one is in the log, the leader's view shows
/// [`Uncommitted`](PendingChange::Uncommitted).
#[derive(Debug, Clone)]
pub struct RaftRsBackend {
    node: Node,
}

impl RaftRsBackend {
    /// Creates the backend of a node.
    pub fn new(node: Node) -> Self {
        RaftRsBackend { node }
    }

    /// Runs a call in the node's loop.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Core) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // A stopped node does not lead, and has dropped the call.
        let answer = self.node.call(call).await;
        answer.unwrap_or_else(|| Err(ErrorKind::NoLeader.into()))
    }

    /// Waits until the node's state is as wanted. The error is the state at the deadline,
    /// or the last one of a stopped node.
    async fn until(
        &self,
        deadline: Instant,
        wanted: impl FnMut(&NodeState) -> bool,
    ) -> std::result::Result<NodeState, NodeState> {
        let mut state = self.node.state();
        if let Ok(Ok(wanted)) = timeout_at(deadline, state.wait_for(wanted)).await {
            return Ok(wanted.clone());
        }
        Err(state.borrow().clone())
    }

    /// The time for a proof.
    fn gate(&self, timeout: Duration) -> Duration {
        self.node.election_timeout().min(timeout / 4)
    }

    /// Waits until an entry of this term is committed, and the servers that have to hold
    /// it do. `unproven` makes the error from the state at the end.
    async fn prove(
        &self,
        at: LogPosition,
        gate: Duration,
        is_held: impl Fn(&NodeState) -> bool,
        unproven: impl FnOnce(&NodeState) -> ErrorKind,
    ) -> Result<()> {
        let leads = |state: &NodeState| state.leads() && state.term == at.term;
        let proven = |state: &NodeState| state.committed.index >= at.index && is_held(state);
        let over = |state: &NodeState| !leads(state) || proven(state);
        match self.until(Instant::now() + gate, over).await {
            Ok(state) if leads(&state) => Ok(()),
            Ok(state) => Err(not_leading(&state, at.term)),
            Err(state) => {
                let error = OperatorError::new(unproven(&state));
                Err(error.with_outcome(Outcome::NotApplied))
            }
        }
    }

    /// Changes the configuration in the four steps of the trait's contract.
    async fn change(&self, asked: &Change) -> Result<()> {
        let deadline = deadline(asked.timeout);
        let gate = self.gate(asked.timeout);

        let request = asked.clone();
        let (plan, at) = self
            .call(move |core| {
                let plan = Plan::of(&request, core.state())?;
                Ok((plan, core.propose(Vec::new()).map_err(dropped)?))
            })
            .await?;

        let needed = asked.proof.needed(plan.voters.len());
        let holders = |state: &NodeState| state.holders(&plan.voters, at.index);
        let is_caught_up = |state: &NodeState| {
            plan.added
                .is_none_or(|id| state.holders(&[id], at.index) > 0)
        };
        self.prove(
            at,
            gate,
            |state| holders(state) >= needed && is_caught_up(state),
            |state| match plan.added {
                Some(id) if holders(state) >= needed && !is_caught_up(state) => {
                    let id = id.to_string().into();
                    ErrorKind::NotCaughtUp { id, after: gate }
                }
                _ => ErrorKind::QuorumUnproven {
                    confirmed: holders(state),
                    // Of four voters two may hold it, but a third is needed to commit it.
                    needed: needed.max(holders(state) + 1),
                    after: gate,
                },
            },
        )
        .await?;

        let request = asked.clone();
        let (joint, at) = self
            .call(move |core| {
                let plan = Plan::of(&request, core.state())?;
                // The node leaves a joint configuration that it enters by itself.
                let joint = plan.change.changes.len() > 1;
                Ok((joint, core.propose_change(plan.change).map_err(dropped)?))
            })
            .await?;
        let last = LogPosition {
            index: at.index + u64::from(joint),
            ..at
        };
        self.settle(last, asked.timeout, deadline).await?;
        // The current configuration may be a later one, with the server added again.
        if plan.is_asked {
            return Ok(());
        }
        let LogPosition { term, index } = at;
        Err(OperatorError::new(ErrorKind::Conflict {
            expected: asked.version,
            actual: ConfigVersion { term, index },
        }))
    }

    /// Waits until a majority of its voters holds the configuration of this entry, or of a
    /// later one.
    async fn settle(&self, at: LogPosition, timeout: Duration, deadline: Instant) -> Result<()> {
        let held = |state: &NodeState| state.held.term == at.term && state.held.index >= at.index;
        // A leader that is being removed sees that too.
        let tracks = |state: &NodeState| state.leader == state.id && state.term == at.term;
        let over = |state: &NodeState| held(state) || !tracks(state);
        let error = match self.until(deadline, over).await {
            Ok(state) if held(&state) => return Ok(()),
            Ok(state) => not_leading(&state, at.term),
            Err(_) => late("a majority of the voters", timeout).into(),
        };
        Err(error.with_outcome(Outcome::Unknown))
    }
}

#[async_trait]
impl RaftBackend for RaftRsBackend {
    async fn view(&self) -> Result<RaftView> {
        Ok(view(&self.node.state().borrow()))
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView> {
        let deadline = deadline(timeout);
        let late = |_| {
            let error = OperatorError::new(late("a majority of the voters", timeout));
            error.with_outcome(Outcome::NotApplied)
        };
        let able = |state: &NodeState| !state.leads() || state.committed.term == state.term;
        self.until(deadline, able).await.map_err(late)?;
        let (term, number) = self
            .call(|core| Ok((leading(core.state())?, core.confirm())))
            .await?;
        let leads = |state: &NodeState| state.leads() && state.term == term;
        let over = |state: &NodeState| !leads(state) || state.confirmed >= number;
        let state = self.until(deadline, over).await.map_err(late)?;
        if leads(&state) {
            Ok(view(&state))
        } else {
            Err(not_leader(&state))
        }
    }

    async fn change_membership(&self, change: &Change) -> Result<()> {
        self.change(change).await
    }

    async fn transfer_leadership(&self, to: &ServerId, timeout: Duration) -> Result<()> {
        let deadline = deadline(timeout);
        let gate = self.gate(timeout);

        let server = to.clone();
        let (target, at) = self
            .call(move |core| {
                let target = target(core.state(), &server)?;
                Ok((target, core.propose(Vec::new()).map_err(dropped)?))
            })
            .await?;
        // raft accepts no writes until the target leads or one election timeout has
        // passed, so the target has to be up.
        let server = format!("server {to}");
        let is_up = |state: &NodeState| state.holders(&[target], at.index) > 0;
        self.prove(at, gate, is_up, |_| late(&server, gate)).await?;

        self.call(move |core| {
            let term = leading(core.state())?;
            if term != at.term {
                return Err(not_leading(core.state(), at.term));
            }
            core.transfer(target);
            Ok(())
        })
        .await?;
        let over = |state: &NodeState| state.term > at.term && state.leader != raft::INVALID_ID;
        match self.until(deadline, over).await {
            Ok(state) if state.leader == target => Ok(()),
            Ok(state) => {
                let leader = state.leader.to_string().into();
                Err(ErrorKind::TransferredElsewhere { leader }.into())
            }
            Err(_) => Err(late(&server, timeout).into()),
        }
    }
}

/// The change to the configuration in force.
struct Plan {
    change: ConfChangeV2,
    /// The voters after the change.
    voters: Vec<u64>,
    /// The new voter, which has to hold the whole log.
    added: Option<u64>,
    /// Whether the change is the one that was asked for. Otherwise it only ends the joint
    /// configuration of another change.
    is_asked: bool,
}

impl Plan {
    fn of(asked: &Change, state: &NodeState) -> Result<Self> {
        let term = leading(state)?;
        if term != asked.term {
            return Err(OperatorError::new(ErrorKind::TermChanged {
                expected: asked.term,
                actual: term,
            }));
        }
        let configuration = &state.configuration;
        if configuration.version != asked.version {
            return Err(OperatorError::new(ErrorKind::Conflict {
                expected: asked.version,
                actual: configuration.version,
            }));
        }
        let (old, new) = match &asked.kind {
            ChangeKind::Remove { id } => (Some(id), None),
            ChangeKind::Replace { id, with } => (Some(id), Some(with)),
            ChangeKind::Promote { id } => (None, Some(id)),
            _ => return Err(asked.unsupported()),
        };
        let find = |id: Option<&ServerId>| id.map(|id| find(state, id)).transpose();
        let (removed, added) = (find(old)?, find(new)?);
        // In a joint configuration, the voters of the last set.
        let last = &configuration.raft;
        match state.change {
            Some(PendingChange::Joint) => {
                let stay = [&last.voters, &last.learners, &last.learners_next];
                let stays = |id| stay.iter().any(|ids| ids.contains(&id));
                let asked_for = changed(&last.voters_outgoing, removed, added);
                return Ok(Plan {
                    // An empty change ends the joint configuration.
                    change: ConfChangeV2::default(),
                    voters: last.voters.clone(),
                    added: None,
                    is_asked: !removed.is_some_and(stays)
                        && (added.is_none() || same(&last.voters, &asked_for)),
                });
            }
            Some(_) => return Err(ErrorKind::ChangeInProgress.into()),
            None => {}
        }
        let votes = |server: Option<u64>| server.is_some_and(|id| last.voters.contains(&id));
        match (old, new) {
            (Some(id), Some(_)) if !votes(removed) => {
                return Err(ErrorKind::NothingToReplace { id: id.clone() }.into());
            }
            (_, Some(id)) if votes(added) => {
                return Err(ErrorKind::AlreadyVoter { id: id.clone() }.into());
            }
            _ => {}
        }
        let voters = changed(&last.voters, removed, added);
        if voters.is_empty() {
            return Err(ErrorKind::LastVoter.into());
        }
        let added_node = added.map(|id| (id, ConfChangeType::AddNode));
        let removed_node = removed.map(|id| (id, ConfChangeType::RemoveNode));
        let changes = added_node.into_iter().chain(removed_node);
        let changes = changes.map(|(node_id, change_type)| ConfChangeSingle {
            node_id,
            change_type,
            ..ConfChangeSingle::default()
        });
        Ok(Plan {
            // With two changes, raft goes through a joint configuration.
            change: ConfChangeV2 {
                changes: changes.collect::<Vec<_>>().into(),
                ..ConfChangeV2::default()
            },
            voters,
            added,
            is_asked: true,
        })
    }
}

/// The voters without one, and with another one.
fn changed(voters: &[u64], removed: Option<u64>, added: Option<u64>) -> Vec<u64> {
    let rest = voters.iter().copied().filter(|id| Some(*id) != removed);
    rest.chain(added).collect()
}

/// Whether two sets of voters are equal, in whatever order.
fn same(one: &[u64], other: &[u64]) -> bool {
    one.len() == other.len() && one.iter().all(|voter| other.contains(voter))
}

/// The server with this id. Ids are compared as text: `01` is not `1`.
fn find(state: &NodeState, id: &ServerId) -> Result<u64> {
    let number = id.as_str().parse().ok();
    let number = number.filter(|_| state.configuration.membership.get(id).is_some());
    number.ok_or_else(|| ErrorKind::UnknownServer(PeerSelector::Id(id.clone())).into())
}

/// The target of a transfer.
fn target(state: &NodeState, id: &ServerId) -> Result<u64> {
    leading(state)?;
    let target = find(state, id)?;
    if target == state.id {
        return Err(ErrorKind::AlreadyLeader { id: id.clone() }.into());
    }
    if !state.configuration.raft.voters.contains(&target) {
        return Err(ErrorKind::NotVoter { id: id.clone() }.into());
    }
    Ok(target)
}

/// The term in which this server leads.
fn leading(state: &NodeState) -> Result<u64> {
    if state.leads() {
        Ok(state.term)
    } else {
        Err(not_leader(state))
    }
}

/// The error of a server that does not lead in this term.
fn not_leading(state: &NodeState, term: u64) -> OperatorError {
    if state.leads() {
        return OperatorError::new(ErrorKind::TermChanged {
            expected: term,
            actual: state.term,
        });
    }
    not_leader(state)
}

/// The error of a server that does not lead, or has not led without a break.
fn not_leader(state: &NodeState) -> OperatorError {
    match leadership(state) {
        Leadership::Remote(hint) => OperatorError::new(ErrorKind::NotLeader { leader: Some(hint) }),
        Leadership::Local | Leadership::Unknown => ErrorKind::NoLeader.into(),
    }
}

fn dropped(error: raft::Error) -> OperatorError {
    let reason = "the leader accepts no writes at the moment: try again".into();
    OperatorError::new(ErrorKind::Unavailable { reason }).with_source(error)
}

/// The end of a call, at most thirty years away.
fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + FAR_FUTURE)
}

fn late(target: &str, after: Duration) -> ErrorKind {
    ErrorKind::DeadlineExceeded {
        target: target.into(),
        after,
    }
}

fn leadership(state: &NodeState) -> Leadership {
    if state.leads() {
        return Leadership::Local;
    }
    // A removed server hears of no leader, and a removed leader is about to step down.
    let own = state.member(state.id);
    match own.and_then(|_| state.member(state.leader)) {
        Some(leader) => Leadership::Remote(LeaderHint {
            id: leader.id.clone(),
            address: leader.address.clone(),
        }),
        None => Leadership::Unknown,
    }
}

fn view(state: &NodeState) -> RaftView {
    let configuration = &state.configuration;
    let mut view = RaftView::new(state.id.to_string(), Arc::clone(&configuration.membership));
    view.leadership = leadership(state);
    view.term = state.term;
    view.version = configuration.version;
    view.change = state.change;
    if state.leads() {
        view.leading_for = state.leading_since.map(|since| since.elapsed());
    }
    let servers = configuration.membership.servers.iter();
    view.status = servers.map(|server| status(state, server)).collect();
    view
}

fn status(state: &NodeState, server: &RaftMember) -> ServerStatus {
    let mut status = ServerStatus::default();
    let id = server.id.as_str().parse().ok();
    let Some(progress) = id.and_then(|id: u64| state.progress.get(&id)) else {
        return status;
    };
    // A new leader knows nothing of the others until they answer.
    status.last_log = Some(progress.matched).filter(|matched| matched.index > 0);
    status.last_contact = if id == Some(state.id) {
        Some(Duration::ZERO)
    } else {
        progress.seen.map(|seen| seen.elapsed())
    };
    status
}
