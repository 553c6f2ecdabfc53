//! Makes one server the only one of its cluster, when a majority is lost for good.
//!
//! Raft cannot do it: removing the lost servers needs the majority that is gone. So the
//! configuration is written into the log of a stopped server.
//!
//! This gives up what Raft promises. Changes that the lost servers had acknowledged are
//! lost if this log does not hold them, and changes that were never acknowledged may
//! take effect. Two things keep a server of the old cluster, which was forgotten or
//! comes back, from doing more harm:
//! - The recovered server takes a new number. The others know only its old one, so that
//!   it refuses their calls, and they can neither outvote nor overwrite it.
//! - The new entry has a term of its own, so that no entry of the old cluster has the
//!   same position.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster_operator::raft::LogPosition;
use cluster_operator_openraft::log_position;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::{
    CommittedLeaderId, Entry, EntryPayload, LogId, Membership, StorageError, StorageHelper, Vote,
};
use tokio::net::TcpStream;

use super::log::Log;
use super::machine::Machine;
use super::store::{self, Store};
use super::types::{Node, NodeId};

/// How long another server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The data of a stopped server, which can become the only one of its cluster.
#[derive(Debug)]
pub struct Survivor {
    log: Log,
    vote: Vote<NodeId>,
    last: LogId<NodeId>,
    committed: u64,
    voters: BTreeMap<NodeId, Node>,
    node: Node,
}

/// The reason why a server cannot become the only one.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The folder has no log.
    #[error("{} has no Raft log: check the folder", .0.display())]
    NoLog(PathBuf),
    /// The log cannot be opened.
    #[error("the Raft log cannot be opened: stop the server first")]
    Open(#[source] io::Error),
    /// The server's new number cannot be stored.
    #[error("the server's new number cannot be stored")]
    Number(#[source] io::Error),
    /// The log cannot be read or written.
    #[error("the Raft log cannot be used")]
    Storage(#[from] StorageError<NodeId>),
    /// The log is empty.
    #[error("the server has never been in a cluster: start it with the others")]
    NoCluster,
    /// The log belongs to a server that had no vote.
    #[error("{name} is not a voter in its last configuration: recover one of {voters}")]
    NoVoter {
        /// The server.
        name: String,
        /// The names of the voters.
        voters: String,
    },
    /// The server is the only voter.
    #[error("{0} is the only voter of its last configuration: start it")]
    Alone(String),
    /// Another server accepts connections.
    #[error("{name} answers at {address}: stop all other servers first")]
    Running {
        /// The server.
        name: String,
        /// Its Raft address.
        address: SocketAddr,
    },
    /// The log is not as it was when it was looked at.
    #[error("the last entry is {last}, not {expected}: compare the servers again")]
    Moved {
        /// The position of the last entry.
        last: LogPosition,
        /// The expected one.
        expected: String,
    },
}

impl Survivor {
    /// Opens the data of the stopped server with this name, and changes nothing.
    ///
    /// # Errors
    /// The server still runs, its log cannot be read, or it cannot be recovered because
    /// it is not one of several voters.
    pub async fn open(data: &Path, name: &str) -> Result<Self, RecoveryError> {
        let file = data.join(store::FILE);
        if !file.is_file() {
            return Err(RecoveryError::NoLog(data.to_owned()));
        }
        let store = Store::open(&file).map_err(RecoveryError::Open)?;
        let machine = Machine::open(store.clone()).await;
        let mut machine = machine.map_err(RecoveryError::Open)?;
        let mut log = Log::new(store);

        // The restored machine is as old as its snapshot. The log after it may change the
        // configuration.
        let (applied, _) = machine.applied_state().await?;
        let mut storage = StorageHelper::new(&mut log, &mut machine);
        let membership = storage.get_membership().await?;
        let vote = log.read_vote().await?.unwrap_or_default();
        let last = log.get_log_state().await?.last_log_id.max(applied);
        let last = last.ok_or(RecoveryError::NoCluster)?;
        let committed = log.read_committed().await?.max(applied);

        let membership = membership.effective().membership().clone();
        let mut voters = BTreeMap::new();
        for id in membership.voter_ids() {
            if let Some(node) = membership.get_node(&id) {
                voters.insert(id, node.clone());
            }
        }
        let own = voters.values().find(|node| node.name == name);
        let Some(node) = own.cloned() else {
            return Err(RecoveryError::NoVoter {
                name: name.to_owned(),
                voters: names(&voters),
            });
        };
        if voters.len() == 1 {
            return Err(RecoveryError::Alone(node.name));
        }
        Ok(Self {
            log,
            vote,
            last,
            committed: committed.map_or(0, |id| log_position(&id).index),
            voters,
            node,
        })
    }

    /// Returns the position of the last entry, as the cluster has shown it to operators.
    /// The log with the largest one holds the most.
    pub fn position(&self) -> LogPosition {
        log_position(&self.last)
    }

    /// Returns the index up to which the server knows that entries are committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Returns the names of the voters of the last configuration.
    pub fn voters(&self) -> String {
        names(&self.voters)
    }

    /// Makes this server, with a number that no server has had, the only one of its
    /// cluster: appends this configuration to its log. The server then has to start with
    /// this number. The other servers have to begin again with empty folders.
    ///
    /// `store_number` stores the number where the server finds it when it starts. It has
    /// to be on disk when the call returns, because the log that is written next names
    /// only this number. After a crash in between, a start does no harm and the recovery
    /// can be repeated, because the log does not know the number yet.
    ///
    /// # Errors
    /// The last entry is not at the expected position, or another voter still runs:
    /// nothing is changed. The log cannot be written: repeat the call.
    pub async fn become_only_server(
        mut self,
        expected: &str,
        id: NodeId,
        store_number: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), RecoveryError> {
        let last = self.position();
        if last.to_string() != expected {
            let expected = expected.to_owned();
            return Err(RecoveryError::Moved { last, expected });
        }
        for other in self.voters.values().filter(|other| **other != self.node) {
            let connect = TcpStream::connect(other.raft);
            if let Ok(Ok(_)) = tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
                return Err(RecoveryError::Running {
                    name: other.name.clone(),
                    address: other.raft,
                });
            }
        }
        let term = self.vote.leader_id.term.max(last.term) + 1;
        store_number().map_err(RecoveryError::Number)?;
        // The vote comes first, because no entry may be newer than it.
        self.log.save_vote(&Vote::new(term, id)).await?;
        let voters = vec![BTreeSet::from([id])];
        let nodes = BTreeMap::from([(id, self.node)]);
        let entry = Entry {
            log_id: LogId::new(CommittedLeaderId::new(term, id), self.last.index + 1),
            payload: EntryPayload::Membership(Membership::new(voters, nodes)),
        };
        self.log.blocking_append([entry]).await?;
        Ok(())
    }
}

fn names(voters: &BTreeMap<NodeId, Node>) -> String {
    let names: Vec<_> = voters.values().map(|node| node.name.as_str()).collect();
    names.join(", ")
}
