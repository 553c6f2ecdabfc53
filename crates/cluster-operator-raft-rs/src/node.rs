//! A Raft node over [`RawNode`]: a task that ticks, steps, persists, sends and applies.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cluster_operator::ServerAddress;
use cluster_operator::raft::{
    ConfigVersion, LogPosition, Membership, PendingChange, RaftMember, Suffrage,
};
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message};
use raft::storage::MemStorage;
use raft::{Error, GetEntriesContext, INVALID_ID, RawNode, StateRole};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

const HEARTBEAT_TICKS: u32 = 2;
const ELECTION_TICKS: u32 = 10;
/// The capacity for messages and calls that wait for the node. Further messages are lost.
const INBOX: usize = 1024;

/// Carries messages to the other servers.
pub trait Transport: Send + 'static {
    /// Sends a message to the server `message.to`. It returns at once, and the
    /// message may be lost.
    fn send(&self, message: Message);
}

/// The parameters of a node. Each server of a new cluster gets the same voters and
/// learners.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The server's own id, not 0.
    pub id: u64,
    /// The voters of a new cluster.
    pub voters: Vec<u64>,
    /// The servers of a new cluster that do not vote.
    pub learners: Vec<u64>,
    /// The address of each server; Raft's own configuration holds ids only.
    pub addresses: BTreeMap<u64, ServerAddress>,
    /// Raft's unit of time: a heartbeat is sent every 2 ticks, and an election timeout is
    /// 10 to 20 ticks.
    pub tick: Duration,
}

/// A configuration that is in force: its entry was applied.
#[derive(Debug)]
pub struct Configuration {
    /// The position of the entry that holds it.
    pub version: ConfigVersion,
    /// The configuration as Raft has it.
    pub raft: ConfState,
    /// The configuration as an operator sees it.
    pub membership: Arc<Membership>,
}

/// What the leader knows of a server, and each server of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// The last entry that it is known to hold.
    pub matched: LogPosition,
    /// The time of its last message.
    pub seen: Option<Instant>,
}

/// The state that a node publishes after each turn of its loop.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// The server's own id.
    pub id: u64,
    /// Its term.
    pub term: u64,
    /// The leader of this term; its own id if it leads, 0 if no leader is known.
    pub leader: u64,
    /// The time at which it was elected.
    pub leading_since: Option<Instant>,
    /// The last committed entry.
    pub committed: LogPosition,
    /// The configuration in force.
    pub configuration: Arc<Configuration>,
    /// The unfinished change of the configuration.
    pub change: Option<PendingChange>,
    /// What the leader knows of the servers, and each server of itself.
    pub progress: BTreeMap<u64, Progress>,
    /// The last configuration whose entry a majority of its own voters holds, as this
    /// server has seen as the leader.
    pub held: ConfigVersion,
    /// The number of the last confirmation of its lead by a majority.
    pub confirmed: u64,
}

impl NodeState {
    /// Whether this server leads. One that has lost its vote does not, although raft
    /// would let it.
    pub fn leads(&self) -> bool {
        self.leader == self.id && self.member(self.id).is_some_and(RaftMember::is_voter)
    }

    /// The member of the configuration with this id.
    pub fn member(&self, id: u64) -> Option<&RaftMember> {
        let membership = &self.configuration.membership;
        membership.get(&id.to_string().into())
    }

    /// The number of these servers that hold the entry.
    pub fn holders(&self, servers: &[u64], index: u64) -> usize {
        let holds = |id: &&u64| {
            let progress = self.progress.get(id);
            progress.is_some_and(|progress| progress.matched.index >= index)
        };
        servers.iter().filter(holds).count()
    }
}

type Apply = Box<dyn FnMut(&[u8]) + Send>;
type Call = Box<dyn FnOnce(&mut Core) + Send>;

enum Input {
    Message(Message),
    Call(Call),
    Stop,
}

/// A server's Raft. Clones are the same node.
#[derive(Clone)]
pub struct Node {
    inbox: mpsc::Sender<Input>,
    state: watch::Receiver<NodeState>,
    election_timeout: Duration,
}

impl Node {
    /// Starts a server of a new cluster, with an empty log in memory. `apply` gets
    /// each committed write.
    ///
    /// # Errors
    /// [`ConfigInvalid`](Error::ConfigInvalid) for an id or a tick of 0.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        config: NodeConfig,
        transport: impl Transport,
        apply: impl FnMut(&[u8]) + Send + 'static,
    ) -> raft::Result<Self> {
        let tick = config.tick;
        if tick.is_zero() {
            return Err(Error::ConfigInvalid(
                "the tick is zero: set a longer one".into(),
            ));
        }
        let (inbox, inputs) = mpsc::channel(INBOX);
        let (core, state) = Core::new(config, Box::new(transport), Box::new(apply))?;
        tokio::spawn(run(core, inputs, tick));
        Ok(Node {
            inbox,
            state,
            election_timeout: tick * ELECTION_TICKS,
        })
    }

    /// Receives a message of another server. It is lost if the node is overloaded.
    pub fn receive(&self, message: Message) {
        // Raft sends a lost message again.
        let _ = self.inbox.try_send(Input::Message(message));
    }

    /// Appends a write, if this server leads, and returns whether it was committed:
    /// `false` if that is not known, since it has lost the lead.
    ///
    /// # Errors
    /// [`ProposalDropped`](Error::ProposalDropped) if nothing was appended.
    pub async fn write(&self, data: Vec<u8>) -> raft::Result<bool> {
        let at = self.call(move |core| core.propose(data)).await;
        let at = at.ok_or(Error::ProposalDropped)??;
        // In the same term no other leader can have replaced the entry.
        let committed =
            |state: &NodeState| state.term == at.term && state.committed.index >= at.index;
        let leads = |state: &NodeState| state.term == at.term && state.leader == state.id;
        let mut state = self.state.clone();
        let over = state.wait_for(|state| committed(state) || !leads(state));
        Ok(over.await.is_ok_and(|state| committed(&state)))
    }

    /// Appends a change of the configuration, if this server leads, without a proof that
    /// the cluster survives it.
    ///
    /// # Errors
    /// [`ProposalDropped`](Error::ProposalDropped) if nothing was appended, for example
    /// while another change is pending.
    pub async fn change(&self, change: ConfChangeV2) -> raft::Result<LogPosition> {
        let appended = self.call(move |core| core.propose_change(change)).await;
        appended.ok_or(Error::ProposalDropped)?
    }

    /// Stops the node, and returns once nothing of it runs.
    pub async fn stop(&self) {
        // An error means that it has stopped.
        let _ = self.inbox.send(Input::Stop).await;
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
    }

    /// Runs a call in the node's loop, between two turns, unless its future was dropped
    /// by then. `None` if the node has stopped.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let call: Call = Box::new(move |core| {
            if !reply.is_closed() {
                let _ = reply.send(call(core));
            }
        });
        self.inbox.send(Input::Call(call)).await.ok()?;
        answer.await.ok()
    }

    /// The published state. Once the node has stopped, this is closed and shows no
    /// leader.
    pub fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }

    /// The shortest time without a leader after which a server stands for election.
    pub fn election_timeout(&self) -> Duration {
        self.election_timeout
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

async fn run(mut core: Core, mut inputs: mpsc::Receiver<Input>, tick: Duration) {
    let mut ticks = tokio::time::interval(tick);
    // After a pause, messages come before elections.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            input = inputs.recv() => match input {
                Some(Input::Message(message)) => core.receive(message),
                Some(Input::Call(call)) => call(&mut core),
                Some(Input::Stop) | None => return,
            },
            _ = ticks.tick() => {
                core.raw.tick();
            }
        }
        core.turn();
    }
}

/// The state that the loop owns.
pub(crate) struct Core {
    raw: RawNode<MemStorage>,
    transport: Box<dyn Transport>,
    apply: Apply,
    addresses: BTreeMap<u64, ServerAddress>,
    seen: BTreeMap<u64, Instant>,
    /// Whether the last proposed change removes this server's vote.
    leaving: bool,
    /// The number of the last confirmation that was asked for.
    asked: u64,
    state: NodeState,
    publisher: watch::Sender<NodeState>,
}

impl Core {
    fn new(
        config: NodeConfig,
        transport: Box<dyn Transport>,
        apply: Apply,
    ) -> raft::Result<(Self, watch::Receiver<NodeState>)> {
        let raft = raft::Config {
            id: config.id,
            election_tick: ELECTION_TICKS as usize,
            heartbeat_tick: HEARTBEAT_TICKS as usize,
            max_size_per_msg: 1 << 20,
            // A leader that is cut off steps down, and a server that comes back does not
            // depose the leader.
            check_quorum: true,
            pre_vote: true,
            ..raft::Config::default()
        };
        raft.validate()?;
        let members = ConfState::from((config.voters, config.learners));
        let storage = MemStorage::new_with_conf_state(members.clone());
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let configuration = configuration(ConfigVersion::default(), members, &config.addresses);
        let state = NodeState {
            id: config.id,
            term: 0,
            leader: INVALID_ID,
            leading_since: None,
            committed: LogPosition::default(),
            configuration: Arc::new(configuration),
            change: None,
            progress: BTreeMap::new(),
            held: ConfigVersion::default(),
            confirmed: 0,
        };
        let (publisher, receiver) = watch::channel(state.clone());
        let core = Core {
            raw: RawNode::new(&raft, storage, &logger)?,
            transport,
            apply,
            addresses: config.addresses,
            seen: BTreeMap::new(),
            leaving: false,
            asked: 0,
            state,
            publisher,
        };
        Ok((core, receiver))
    }

    /// The state after the last turn, which is the present one during a call.
    pub(crate) fn state(&self) -> &NodeState {
        &self.state
    }

    fn receive(&mut self, message: Message) {
        if self.raw.raft.prs().get(message.from).is_some() {
            self.seen.insert(message.from, Instant::now());
        }
        // Errors come from the sender, such as a server that was removed.
        let _ = self.raw.step(message);
    }

    /// Appends a write. An empty one changes nothing.
    pub(crate) fn propose(&mut self, data: Vec<u8>) -> raft::Result<LogPosition> {
        let raft = &self.raw.raft;
        // raft forwards a follower's proposal, whose position would stay unknown. Behind
        // its own removal a leader could not commit it: raft panics there.
        if raft.state != StateRole::Leader || self.leaving && raft.has_pending_conf() {
            return Err(Error::ProposalDropped);
        }
        self.raw.propose(Vec::new(), data)?;
        Ok(self.last())
    }

    /// Appends a change of the configuration.
    pub(crate) fn propose_change(&mut self, change: ConfChangeV2) -> raft::Result<LogPosition> {
        // raft would append an empty entry instead and return no error, as it does while
        // a joint configuration is in force.
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || raft.has_pending_conf() {
            return Err(Error::ProposalDropped);
        }
        let leaving = self.is_unseated_by(&change);
        self.raw.propose_conf_change(Vec::new(), change)?;
        let at = self.last();
        if self.raw.raft.pending_conf_index != at.index {
            return Err(Error::ProposalDropped);
        }
        self.leaving = leaving;
        Ok(at)
    }

    /// Whether the change removes this server's vote.
    fn is_unseated_by(&self, change: &ConfChangeV2) -> bool {
        let id = self.raw.raft.id;
        if change.leave_joint() {
            return !self.state.configuration.raft.voters.contains(&id);
        }
        let mut changes = change.changes.iter();
        changes.any(|one| one.node_id == id && one.get_change_type() != ConfChangeType::AddNode)
    }

    /// Asks a majority to confirm that this server leads, in a term in which it has
    /// committed an entry: before that, raft drops the request without an error.
    pub(crate) fn confirm(&mut self) -> u64 {
        self.asked += 1;
        self.raw.read_index(self.asked.to_be_bytes().to_vec());
        self.asked
    }

    /// Transfers the lead to another voter.
    pub(crate) fn transfer(&mut self, to: u64) {
        self.raw.transfer_leader(to);
    }

    fn last(&self) -> LogPosition {
        self.position(self.raw.raft.raft_log.last_index())
    }

    fn position(&self, index: u64) -> LogPosition {
        LogPosition {
            term: self.raw.raft.raft_log.term(index).unwrap_or_default(),
            index,
        }
    }

    /// Processes the results of a tick, a message or a call, and publishes the state.
    fn turn(&mut self) {
        self.process();
        if self.raw.raft.state == StateRole::Leader {
            self.note_held();
            self.step_down_without_a_vote();
            self.process();
        }
        self.publish();
    }

    fn process(&mut self) {
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            // There are no snapshots: the log is not compacted.
            self.send(ready.take_messages());
            let mut committed = ready.take_committed_entries();
            for read in ready.take_read_states() {
                if let Ok(number) = read.request_ctx.as_slice().try_into() {
                    self.state.confirmed = u64::from_be_bytes(number);
                }
            }
            // A log on disk would be written here, before the answers are sent. The storage
            // accepts these entries, since they follow the existing ones.
            let _ = self.raw.store().wl().append(ready.entries());
            if let Some(hard) = ready.hs() {
                self.raw.store().wl().set_hardstate(hard.clone());
            }
            self.send(ready.take_persisted_messages());
            let mut light = self.raw.advance_append(ready);
            if let Some(commit) = light.commit_index() {
                self.raw.store().wl().mut_hard_state().commit = commit;
            }
            self.send(light.take_messages());
            // After `advance_append`: raft panics if a leader that is no member learns that
            // its own entries are on disk.
            committed.append(&mut light.take_committed_entries());
            for entry in &committed {
                self.apply(entry);
            }
            self.raw.advance_apply();
        }
    }

    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            self.transport.send(message);
        }
    }

    fn apply(&mut self, entry: &Entry) {
        if entry.get_entry_type() == EntryType::EntryNormal {
            if !entry.data.is_empty() {
                (self.apply)(&entry.data);
            }
            return;
        }
        let mut change = ConfChangeV2::default();
        let change = change
            .merge_from_bytes(&entry.data)
            .map_err(Error::from)
            .and_then(|()| self.raw.apply_conf_change(&change));
        // Every server rejects the same changes.
        let Ok(members) = change else { return };
        self.raw.store().wl().set_conf_state(members.clone());
        let version = ConfigVersion {
            term: entry.term,
            index: entry.index,
        };
        self.state.configuration = Arc::new(configuration(version, members, &self.addresses));
    }

    /// Records the configuration in force once a majority of its voters holds it. The
    /// majority that has committed it is one of the former configuration.
    fn note_held(&mut self) {
        let configuration = &self.state.configuration;
        let voters = &configuration.raft.voters;
        let holds = |id: &&u64| {
            let progress = self.raw.raft.prs().get(**id);
            progress.is_some_and(|progress| progress.matched >= configuration.version.index)
        };
        if voters.iter().filter(holds).count() > voters.len() / 2 {
            self.state.held = configuration.version;
        }
    }

    /// Makes a leader that has lost its vote step down, which raft never does: it would
    /// send heartbeats, reject every write and prevent an election forever. It stays until
    /// a majority of the voters knows of the change, and transfers the lead to one of them.
    ///
    /// If there is an uncommitted entry behind its removal, it steps down at once: raft
    /// panics if a leader that is no member commits one. It still answers requests for its
    /// vote, so the others can learn of the change without it.
    fn step_down_without_a_vote(&mut self) {
        let NodeState {
            id, configuration, ..
        } = &self.state;
        let voters = &configuration.raft.voters;
        if voters.contains(id) || configuration.raft.voters_outgoing.contains(id) {
            return;
        }
        let index = configuration.version.index;
        let raft = &mut self.raw.raft;
        let knows = |progress: &raft::Progress| progress.committed_index >= index;
        let progress = voters
            .iter()
            .filter_map(|id| Some((*id, raft.prs().get(*id)?)));
        let told: Vec<_> = progress.filter(|(_, progress)| knows(progress)).collect();
        let successor = told.iter().max_by_key(|(_, progress)| progress.matched);
        let successor = successor.filter(|_| told.len() > voters.len() / 2);
        let successor = successor.map(|(successor, _)| *successor);
        if let Some(successor) = successor {
            raft.send_timeout_now(successor);
        }
        let log = &raft.raft_log;
        if successor.is_some() || log.last_index() > log.committed {
            raft.become_follower(raft.term, INVALID_ID);
        }
    }

    /// The unfinished change of the configuration.
    fn unfinished(&self) -> Option<PendingChange> {
        let raft = &self.raw.raft;
        let log = &raft.raft_log;
        // A new leader counts its whole log as pending, so look for a change.
        if raft.has_pending_conf() {
            let context = GetEntriesContext::empty(false);
            let unapplied = log.slice(log.applied + 1, log.last_index() + 1, None, context);
            let is_change = |entry: &Entry| entry.get_entry_type() != EntryType::EntryNormal;
            if unapplied.map_or(true, |entries| entries.iter().any(is_change)) {
                return Some(PendingChange::Uncommitted);
            }
        }
        let members = &self.state.configuration.raft;
        (!members.voters_outgoing.is_empty()).then_some(PendingChange::Joint)
    }

    fn publish(&mut self) {
        let raft = &self.raw.raft;
        let leads = raft.state == StateRole::Leader;
        let known = |id: u64, matched: u64| {
            let seen = self.seen.get(&id).copied();
            let matched = self.position(matched);
            (id, Progress { matched, seen })
        };
        let progress = if leads {
            let servers = raft.prs().iter();
            servers.map(|(id, one)| known(*id, one.matched)).collect()
        } else {
            BTreeMap::from([known(raft.id, raft.raft_log.last_index())])
        };
        let began = self.state.leading_since;
        let began = began.filter(|_| self.state.term == raft.term);
        self.state = NodeState {
            id: raft.id,
            term: raft.term,
            leader: raft.leader_id,
            leading_since: leads.then(|| began.unwrap_or_else(Instant::now)),
            committed: self.position(raft.raft_log.committed),
            configuration: Arc::clone(&self.state.configuration),
            change: self.unfinished(),
            progress,
            held: self.state.held,
            confirmed: self.state.confirmed,
        };
        self.publisher.send_replace(self.state.clone());
    }
}

/// However the node ends, its state does not show it as a leader.
impl Drop for Core {
    fn drop(&mut self) {
        self.state.leader = INVALID_ID;
        self.publisher.send_replace(self.state.clone());
    }
}

/// The configuration as an operator sees it, in the order of the ids: raft has no order.
fn configuration(
    version: ConfigVersion,
    raft: ConfState,
    addresses: &BTreeMap<u64, ServerAddress>,
) -> Configuration {
    let voters = raft.voters.iter().chain(&raft.voters_outgoing);
    let learners = raft.learners.iter();
    let mut servers: BTreeMap<u64, Suffrage> =
        learners.map(|id| (*id, Suffrage::Nonvoter)).collect();
    // In a joint configuration, the voters of both sets vote.
    servers.extend(voters.map(|id| (*id, Suffrage::Voter)));
    let members = servers.into_iter().map(|(id, suffrage)| RaftMember {
        id: id.to_string().into(),
        address: addresses.get(&id).cloned().unwrap_or_else(|| "".into()),
        suffrage,
    });
    Configuration {
        version,
        membership: Arc::new(Membership::new(members)),
        raft,
    }
}
