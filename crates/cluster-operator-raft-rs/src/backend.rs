//! The node as a [`RaftBackend`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::{
    ErrorKind, LeaderHint, Leadership, LogPosition, OperatorError, Outcome, PeerSelector,
    PendingChange, Proof, RaftBackend, RaftMember, RaftView, Removal, ServerId, ServerStatus,
};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
use tokio::time::{Instant, timeout_at};

use crate::node::{Core, Node, NodeState};

type Result<T> = std::result::Result<T, OperatorError>;

/// A [`RaftBackend`] over a [`Node`].
///
/// The version of its views is the one of the configuration in force, which is the
/// last one that was applied. While another one is in the log, the leader's view
/// says [`Uncommitted`](PendingChange::Uncommitted).
#[derive(Debug, Clone)]
pub struct RaftRsBackend {
    node: Node,
}

impl RaftRsBackend {
    /// Wraps a node.
    pub fn new(node: Node) -> Self {
        RaftRsBackend { node }
    }

    /// Runs a call on the node's loop.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Core) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // A node that has stopped leads no more, and has dropped the call.
        let answer = self.node.call(call).await;
        answer.unwrap_or_else(|| Err(ErrorKind::NoLeader.into()))
    }

    /// Waits until the node's state is as wanted, and returns the last one. A
    /// state at the deadline, or of a node that has stopped, is not as wanted.
    async fn until(&self, deadline: Instant, wanted: impl FnMut(&NodeState) -> bool) -> Waited {
        let mut state = self.node.state();
        let waited = timeout_at(deadline, state.wait_for(wanted)).await;
        match waited.map(|state| state.map(|state| state.clone())) {
            Ok(Ok(state)) => Waited::Wanted(state),
            Ok(Err(_)) => Waited::Stopped,
            Err(_) => Waited::Late(state.borrow().clone()),
        }
    }

    /// When a proof has to be there.
    fn gate(&self, timeout: Duration) -> Duration {
        self.node.election_timeout().min(timeout / 4)
    }

    /// Waits until an entry of this term is committed, and so many of these servers
    /// hold it. If not, the error says how many do.
    async fn proven(
        &self,
        at: LogPosition,
        servers: &[u64],
        needed: usize,
        deadline: Instant,
    ) -> std::result::Result<(), Unproven> {
        let leads = |state: &NodeState| state.leads() && state.term == at.term;
        let proven = |state: &NodeState| {
            state.committed.index >= at.index && state.holders(servers, at.index) >= needed
        };
        let over = |state: &NodeState| !leads(state) || proven(state);
        match self.until(deadline, over).await {
            Waited::Wanted(state) if leads(&state) => Ok(()),
            Waited::Wanted(state) => Err(Unproven::Deposed(not_leading(&state, at.term))),
            Waited::Late(state) => Err(Unproven::By(state.holders(servers, at.index))),
            Waited::Stopped => Err(Unproven::Deposed(ErrorKind::NoLeader.into())),
        }
    }

    /// Waits until a majority of the voters that stay holds the configuration that
    /// this entry has brought into force.
    async fn settled(&self, at: LogPosition, removal: &Removal, deadline: Instant) -> Result<()> {
        let held = |state: &NodeState| state.held.term == at.term && state.held.index >= at.index;
        // Also a leader that is on its way out finds that out.
        let tracks = |state: &NodeState| state.leader == state.id && state.term == at.term;
        let over = |state: &NodeState| held(state) || !tracks(state);
        let error = match self.until(deadline, over).await {
            Waited::Wanted(state) if held(&state) => return Ok(()),
            Waited::Wanted(state) => not_leading(&state, at.term),
            Waited::Late(_) => late("a majority of the voters that stay", removal.timeout),
            Waited::Stopped => ErrorKind::NoLeader.into(),
        };
        Err(error.with_outcome(Outcome::Unknown))
    }
}

enum Waited {
    Wanted(NodeState),
    Late(NodeState),
    Stopped,
}

enum Unproven {
    /// So many servers hold the entry, or it is not committed.
    By(usize),
    Deposed(OperatorError),
}

#[async_trait]
impl RaftBackend for RaftRsBackend {
    async fn view(&self) -> Result<RaftView> {
        let state = self.node.state();
        let mut view = view(&state.borrow());
        if state.has_changed().is_err() {
            // It has stopped.
            view.leadership = Leadership::Unknown;
            view.leading_for = None;
        }
        Ok(view)
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView> {
        let deadline = Instant::now() + timeout;
        let can = |state: &NodeState| !state.leads() || state.committed.term == state.term;
        let late = || late("a majority of the voters", timeout).with_outcome(Outcome::NotApplied);
        match self.until(deadline, can).await {
            Waited::Wanted(_) => {}
            Waited::Late(_) => return Err(late()),
            Waited::Stopped => return Err(ErrorKind::NoLeader.into()),
        }
        let (term, number) = self
            .call(|core| {
                let term = leading(core.state())?;
                Ok((term, core.confirm()))
            })
            .await?;
        let leads = |state: &NodeState| state.leads() && state.term == term;
        let over = |state: &NodeState| !leads(state) || state.confirmed >= number;
        match self.until(deadline, over).await {
            Waited::Wanted(state) if leads(&state) => Ok(view(&state)),
            Waited::Wanted(state) => Err(not_leading(&state, term)),
            Waited::Late(_) => Err(late()),
            Waited::Stopped => Err(ErrorKind::NoLeader.into()),
        }
    }

    async fn remove_server(&self, removal: &Removal) -> Result<()> {
        let deadline = Instant::now() + removal.timeout;
        let gate = self.gate(removal.timeout);

        let asked = removal.clone();
        let (plan, at) = self
            .call(move |core| {
                let plan = Plan::of(&asked, core.state())?;
                Ok((plan, core.propose(Vec::new()).map_err(dropped)?))
            })
            .await?;

        let needed = removal.proof.needed(plan.stayers.len());
        let proof = self.proven(at, &plan.stayers, needed, Instant::now() + gate);
        proof.await.map_err(|unproven| match unproven {
            Unproven::Deposed(error) => error,
            Unproven::By(confirmed) => OperatorError::new(ErrorKind::QuorumUnproven {
                confirmed,
                needed,
                after: gate,
            }),
        })?;

        let asked = removal.clone();
        let at = self
            .call(move |core| {
                let plan = Plan::of(&asked, core.state())?;
                core.propose_change(plan.change).map_err(dropped)
            })
            .await?;
        self.settled(at, removal, deadline).await?;

        let state = self.node.state();
        let configuration = Arc::clone(&state.borrow().configuration);
        if configuration.membership.get(&removal.id).is_some() {
            // What was finished is the change of somebody else.
            return Err(OperatorError::new(ErrorKind::Conflict {
                expected: removal.version,
                actual: configuration.version,
            }));
        }
        Ok(())
    }

    async fn transfer_leadership(&self, to: &ServerId, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let gate = self.gate(timeout);

        let server = to.clone();
        let (target, at) = self
            .call(move |core| {
                let target = target(core.state(), &server)?;
                Ok((target, core.propose(Vec::new()).map_err(dropped)?))
            })
            .await?;
        // raft takes no writes until the target leads or one election timeout has
        // passed, so it has to be up.
        let needed = Proof::Majority.needed(1);
        let target_alone = [target];
        let proof = self.proven(at, &target_alone, needed, Instant::now() + gate);
        proof.await.map_err(|unproven| match unproven {
            Unproven::Deposed(error) => error,
            Unproven::By(_) => {
                late(&format!("server {to}"), gate).with_outcome(Outcome::NotApplied)
            }
        })?;

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
            Waited::Wanted(state) if state.leader == target => Ok(()),
            Waited::Wanted(state) => {
                let leader = state.leader;
                let message = format!("server {leader} leads now, not {to}: transfer it again");
                Err(OperatorError::backend(message))
            }
            Waited::Late(_) => Err(late(&format!("server {to}"), timeout)),
            Waited::Stopped => Err(OperatorError::backend("this server has stopped")),
        }
    }
}

/// What a removal comes to in the configuration in force.
struct Plan {
    change: ConfChangeV2,
    /// The voters that stay.
    stayers: Vec<u64>,
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
        // In a joint configuration, those of the last set.
        let mut stayers = configuration.raft.voters.clone();
        let mut change = ConfChangeV2::default();
        match state.change {
            // An empty change ends it.
            Some(PendingChange::Joint) => return Ok(Plan { change, stayers }),
            Some(_) => return Err(ErrorKind::ChangeInProgress.into()),
            None => {}
        }
        let server = find(state, &removal.id)?;
        stayers.retain(|voter| *voter != server);
        if stayers.is_empty() {
            return Err(ErrorKind::LastVoter.into());
        }
        change.mut_changes().push(ConfChangeSingle {
            node_id: server,
            change_type: ConfChangeType::RemoveNode,
            ..ConfChangeSingle::default()
        });
        Ok(Plan { change, stayers })
    }
}

/// The server with this id. Ids are compared as text: `01` is not `1`.
fn find(state: &NodeState, id: &ServerId) -> Result<u64> {
    let number = id.as_str().parse().ok();
    let number = number.filter(|_| state.configuration.membership.get(id).is_some());
    number.ok_or_else(|| ErrorKind::UnknownServer(PeerSelector::Id(id.clone())).into())
}

/// The server that is to lead.
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
        Err(not_leading(state, state.term))
    }
}

/// Why this server does not lead in this term.
fn not_leading(state: &NodeState, term: u64) -> OperatorError {
    match leadership(state) {
        Leadership::Local => OperatorError::new(ErrorKind::TermChanged {
            expected: term,
            actual: state.term,
        }),
        Leadership::Remote(hint) => OperatorError::new(ErrorKind::NotLeader { leader: Some(hint) }),
        Leadership::Unknown => ErrorKind::NoLeader.into(),
    }
}

fn dropped(error: raft::Error) -> OperatorError {
    let reason = "the leader takes no writes at this moment, try again".into();
    OperatorError::new(ErrorKind::Unavailable { reason }).with_source(error)
}

fn late(target: &str, after: Duration) -> OperatorError {
    OperatorError::new(ErrorKind::DeadlineExceeded {
        target: target.into(),
        after,
    })
}

fn leadership(state: &NodeState) -> Leadership {
    if state.leads() {
        return Leadership::Local;
    }
    // A server that was removed hears of no leader, and a leader that was removed
    // is on its way out.
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
