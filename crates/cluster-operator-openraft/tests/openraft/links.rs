//! Raft's calls, and those of a leadership transfer, in one process, over links that can
//! be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use cluster_operator_openraft::{TransferChannel, TransferReply, TransferRequest};
use openraft::error::{Fatal, InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};

use crate::cluster::{Node, NodeId, Raft, TypeConfig};

type Append = AppendEntriesRequest<TypeConfig>;
/// Decides whether a request of a transfer to this server is lost.
type Loses = Box<dyn FnMut(NodeId, &TransferRequest<NodeId>) -> bool + Send>;

/// Cuts a server off at the first message of a kind.
struct Fuse {
    matches: Box<dyn Fn(&Append) -> bool + Send>,
    target: Fused,
}

#[derive(Clone, Copy, PartialEq)]
enum Fused {
    /// Its sender, before it is sent.
    Sender,
    /// Its sender, after it has arrived and before it is answered.
    SenderAfterwards,
    /// This server, before it receives it.
    Receiver(NodeId),
}

/// The links between the servers of a cluster. Clones are the same links.
#[derive(Clone, Default)]
pub(crate) struct Links(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    rafts: BTreeMap<NodeId, Raft>,
    cut: BTreeSet<NodeId>,
    fuse: Option<Fuse>,
    loses: Option<Loses>,
}

impl Links {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn connect(&self, id: NodeId, raft: Raft) {
        self.state().rafts.insert(id, raft);
    }

    pub(crate) fn disconnect(&self, id: NodeId) {
        self.state().rafts.remove(&id);
    }

    /// Cuts a server off from all the others.
    pub(crate) fn cut(&self, id: NodeId) {
        self.state().cut.insert(id);
    }

    /// Undoes the cut of a server, also one that is still to come.
    pub(crate) fn reconnect(&self, id: NodeId) {
        let mut state = self.state();
        state.cut.remove(&id);
        state.fuse = None;
    }

    /// Undoes all cuts.
    pub(crate) fn mend(&self) {
        self.state().cut.clear();
    }

    pub(crate) fn is_cut(&self, id: NodeId) -> bool {
        self.state().cut.contains(&id)
    }

    /// Whether a server runs and is not cut off.
    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        let state = self.state();
        state.rafts.contains_key(&id) && !state.cut.contains(&id)
    }

    /// Cuts off the next server that is about to send such entries.
    pub(crate) fn cut_before(&self, matches: impl Fn(&Append) -> bool + Send + 'static) {
        self.set_fuse(Fused::Sender, matches);
    }

    /// Cuts off the next server that has sent such entries to one other, before it
    /// has the answer.
    pub(crate) fn cut_after(&self, matches: impl Fn(&Append) -> bool + Send + 'static) {
        self.set_fuse(Fused::SenderAfterwards, matches);
    }

    /// Cuts this server off when it is to receive such entries.
    pub(crate) fn cut_receiver(
        &self,
        id: NodeId,
        matches: impl Fn(&Append) -> bool + Send + 'static,
    ) {
        self.set_fuse(Fused::Receiver(id), matches);
    }

    /// Loses these requests of leadership transfers from now on.
    pub(crate) fn lose(
        &self,
        loses: impl FnMut(NodeId, &TransferRequest<NodeId>) -> bool + Send + 'static,
    ) {
        self.state().loses = Some(Box::new(loses));
    }

    fn set_fuse(&self, target: Fused, matches: impl Fn(&Append) -> bool + Send + 'static) {
        self.state().fuse = Some(Fuse {
            matches: Box::new(matches),
            target,
        });
    }

    fn is_open(&self, from: NodeId, to: NodeId) -> bool {
        let state = self.state();
        !state.cut.contains(&from) && !state.cut.contains(&to)
    }

    /// Whether this is the message at which this server is cut off.
    fn blows(&self, rpc: &Append, target: Fused) -> bool {
        let mut state = self.state();
        let fuse = state
            .fuse
            .take_if(|fuse| fuse.target == target && (fuse.matches)(rpc));
        fuse.is_some()
    }

    /// The links as one server sees them.
    pub(crate) fn of(&self, from: NodeId) -> Ends {
        Ends {
            links: self.clone(),
            from,
        }
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

/// One server's ends of its links.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    links: Links,
    from: NodeId,
}

impl RaftNetworkFactory<TypeConfig> for Ends {
    type Network = Link;

    async fn new_client(&mut self, to: NodeId, _: &Node) -> Link {
        Link {
            links: self.links.clone(),
            from: self.from,
            to,
        }
    }
}

#[async_trait]
impl TransferChannel<TypeConfig> for Ends {
    async fn send(
        &self,
        to: &NodeId,
        _: &Node,
        request: TransferRequest<NodeId>,
    ) -> Result<TransferReply<NodeId>, Box<dyn Error + Send + Sync>> {
        // Taken out, so that it can use the links.
        let loses = self.links.state().loses.take();
        if let Some(mut loses) = loses {
            let lost = loses(*to, &request);
            self.links.state().loses.get_or_insert(loses);
            if lost {
                return Err("lost".into());
            }
        }
        let link = Link {
            links: self.links.clone(),
            from: self.from,
            to: *to,
        };
        let served = link.call(async |raft| request.serve(&raft).await.map_err(RaftError::from));
        let served: Result<_, RPCError<NodeId, Node, RaftError<NodeId>>> = served.await;
        Ok(served?)
    }
}

/// The way from one server to another.
#[derive(Debug)]
pub(crate) struct Link {
    links: Links,
    from: NodeId,
    to: NodeId,
}

impl Link {
    async fn call<A, E: std::error::Error>(
        &self,
        call: impl AsyncFnOnce(Raft) -> Result<A, RaftError<NodeId, E>>,
    ) -> Result<A, RPCError<NodeId, Node, RaftError<NodeId, E>>> {
        let gone = || RPCError::Unreachable(Unreachable::new(&io::Error::other("no link")));
        let raft = self.links.state().rafts.get(&self.to).cloned();
        let raft = raft
            .filter(|_| self.links.is_open(self.from, self.to))
            .ok_or_else(gone)?;
        let answer = call(raft).await;
        // The answer takes the same way back.
        if !self.links.is_open(self.from, self.to) {
            return Err(gone());
        }
        match answer {
            Err(RaftError::Fatal(Fatal::Stopped)) => Err(gone()),
            answer => answer.map_err(|e| RPCError::RemoteError(RemoteError::new(self.to, e))),
        }
    }
}

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        rpc: Append,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RPCError<NodeId, Node, RaftError<NodeId>>> {
        let to = self.links.state().rafts.get(&self.to).cloned();
        if self.links.blows(&rpc, Fused::Sender) {
            self.links.cut(self.from);
        }
        if self.links.blows(&rpc, Fused::Receiver(self.to)) {
            self.links.cut(self.to);
        }
        if let Some(to) = to.filter(|_| self.links.blows(&rpc, Fused::SenderAfterwards)) {
            self.links.cut(self.from);
            // It arrives, and the sender does not learn of it.
            let _ = to.append_entries(rpc.clone()).await;
        }
        self.call(async |raft| raft.append_entries(rpc).await).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        _: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RPCError<NodeId, Node, RaftError<NodeId>>> {
        self.call(async |raft| raft.vote(rpc).await).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<NodeId>,
        RPCError<NodeId, Node, RaftError<NodeId, InstallSnapshotError>>,
    > {
        self.call(async |raft| raft.install_snapshot(rpc).await)
            .await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(50)))
    }
}
