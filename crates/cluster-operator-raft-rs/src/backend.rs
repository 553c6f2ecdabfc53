//! A [`RaftBackend`] over a node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::raft::{
    ConfigVersion, LeaderHint, Leadership, LogPosition, PeerSelector, PendingChange, RaftMember,
    RaftView, Removal, ServerStatus,
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

    /// Waits until an entry of this term is committed, and so many of these servers hold
    /// it. `unproven` makes the error from the number that does.
    async fn prove(
        &self,
        at: LogPosition,
        servers: &[u64],
        needed: usize,
        gate: Duration,
        unproven: impl FnOnce(usize) -> ErrorKind,
    ) -> Result<()> {
        let leads = |state: &NodeState| state.leads() && state.term == at.term;
        let proven = |state: &NodeState| {
            state.committed.index >= at.index && state.holders(servers, at.index) >= needed
        };
        let over = |state: &NodeState| !leads(state) || proven(state);
        match self.until(Instant::now() + gate, over).await {
            Ok(state) if leads(&state) => Ok(()),
            Ok(state) => Err(not_leading(&state, at.term)),
            Err(state) => {
                let error = OperatorError::new(unproven(state.holders(servers, at.index)));
                Err(error.with_outcome(Outcome::NotApplied))
            }
        }
    }

    /// Waits until a majority of the voters that stay holds the configuration of this
    /// entry.
    async fn settle(&self, at: LogPosition, removal: &Removal, deadline: Instant) -> Result<()> {
        let held = |state: &NodeState| state.held.term == at.term && state.held.index >= at.index;
        // A leader that is being removed sees that too.
        let tracks = |state: &NodeState| state.leader == state.id && state.term == at.term;
        let over = |state: &NodeState| held(state) || !tracks(state);
        let error = match self.until(deadline, over).await {
            Ok(state) if held(&state) => return Ok(()),
            Ok(state) => not_leading(&state, at.term),
            Err(_) => late("a majority of the voters that stay", removal.timeout).into(),
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

    async fn remove_server(&self, removal: &Removal) -> Result<()> {
        let deadline = deadline(removal.timeout);
        let gate = self.gate(removal.timeout);

        let asked = removal.clone();
        let (plan, at) = self
            .call(move |core| {
                let plan = Plan::of(&asked, core.state())?;
                Ok((plan, core.propose(Vec::new()).map_err(dropped)?))
            })
            .await?;

        let needed = removal.proof.needed(plan.stayers.len());
        self.prove(at, &plan.stayers, needed, gate, |confirmed| {
            ErrorKind::QuorumUnproven {
                confirmed,
                // Of four voters two may hold it, but a third is needed to commit it.
                needed: needed.max(confirmed + 1),
                after: gate,
            }
        })
        .await?;

        let asked = removal.clone();
        let at = self
            .call(move |core| {
                let plan = Plan::of(&asked, core.state())?;
                core.propose_change(plan.change).map_err(dropped)
            })
            .await?;
        self.settle(at, removal, deadline).await?;
        // The current configuration may be a later one, with the server added again.
        if plan.removes {
            return Ok(());
        }
        let LogPosition { term, index } = at;
        Err(OperatorError::new(ErrorKind::Conflict {
            expected: removal.version,
            actual: ConfigVersion { term, index },
        }))
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
        self.prove(at, &[target], 1, gate, |_| late(&server, gate))
            .await?;

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

/// The change that a removal makes to the configuration in force.
struct Plan {
    change: ConfChangeV2,
    /// The voters that stay.
    stayers: Vec<u64>,
    /// Whether the server is removed by it. Otherwise it only ends the joint configuration
    /// of another change.
    removes: bool,
}

impl Plan {
    fn of(removal: &Removal, state: &NodeState) -> Result<Self> {
        let term = leading(state)?;
        if term != removal.term {
            return Err(OperatorError::new(ErrorKind::TermChanged {
                expected: removal.term,
                actual: term,
            }));
        }
        let configuration = &state.configuration;
        if configuration.version != removal.version {
            return Err(OperatorError::new(ErrorKind::Conflict {
                expected: removal.version,
                actual: configuration.version,
            }));
        }
        let server = find(state, &removal.id)?;
        // In a joint configuration, the voters of the last set.
        let last = &configuration.raft;
        let mut stayers = last.voters.clone();
        let mut change = ConfChangeV2::default();
        match state.change {
            Some(PendingChange::Joint) => {
                let stay = [&last.voters, &last.learners, &last.learners_next];
                let removes = !stay.iter().any(|ids| ids.contains(&server));
                // An empty change ends the joint configuration.
                return Ok(Plan {
                    change,
                    stayers,
                    removes,
                });
            }
            Some(_) => return Err(ErrorKind::ChangeInProgress.into()),
            None => {}
        }
        stayers.retain(|voter| *voter != server);
        if stayers.is_empty() {
            return Err(ErrorKind::LastVoter.into());
        }
        change.mut_changes().push(ConfChangeSingle {
            node_id: server,
            change_type: ConfChangeType::RemoveNode,
            ..ConfChangeSingle::default()
        });
        Ok(Plan {
            change,
            stayers,
            removes: true,
        })
    }
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
