//! The replicated state, which is a table and autopilot's configuration, and its
//! snapshots.
//!
//! The state is in memory. A restarted server restores it, and the Raft
//! configuration, from the last snapshot and the log after it, which are on disk.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cluster_operator::autopilot::{AutopilotChange, AutopilotConfiguration};
use cluster_operator_openraft::{AutopilotStore, log_position};
use openraft::storage::RaftStateMachine;
use openraft::{
    Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageError, StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};

use super::store::{Store, get, put};
use super::types::{Node, NodeId, Reply, Request, TypeConfig};

const SNAPSHOT: &str = "snapshot";

/// The state machine. Clones share the state.
#[derive(Debug, Clone)]
pub struct Machine {
    store: Store,
    state: Arc<RwLock<State>>,
}

/// The applied state.
#[derive(Debug, Clone, Default)]
struct State {
    last_applied: Option<LogId<NodeId>>,
    membership: StoredMembership<NodeId, Node>,
    data: Data,
}

/// The data of a snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Data {
    table: BTreeMap<String, String>,
    /// `None` before the first change.
    autopilot: Option<AutopilotConfiguration>,
}

/// A snapshot on disk. Its data is sent between servers unchanged.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    meta: SnapshotMeta<NodeId, Node>,
    data: String,
}

impl Machine {
    /// Restores the state machine from the last snapshot. Raft then applies the log
    /// after it.
    ///
    /// # Errors
    /// The snapshot cannot be read.
    pub async fn open(store: Store) -> io::Result<Self> {
        let state = match store.get::<Saved>(SNAPSHOT).await? {
            None => State::default(),
            Some(saved) => State::restore(&saved.meta, saved.data.as_bytes())?,
        };
        let state = Arc::new(RwLock::new(state));
        Ok(Self { store, state })
    }

    /// Returns this server's value of a key, which may be older than the leader's.
    pub fn get(&self, key: &str) -> Option<String> {
        self.state().data.table.get(key).cloned()
    }

    /// Returns this server's copy of autopilot's configuration.
    pub fn autopilot(&self) -> Autopilot {
        Autopilot(Arc::clone(&self.state))
    }

    /// Replaces the stored snapshot, unless that one is newer: one can be built here
    /// while the leader sends another.
    async fn keep(&self, meta: &SnapshotMeta<NodeId, Node>, data: String) -> io::Result<()> {
        let saved = Saved {
            meta: meta.clone(),
            data,
        };
        self.store
            .write(
                move |transaction| match get::<Saved>(transaction, SNAPSHOT)? {
                    Some(kept) if kept.meta.last_log_id > saved.meta.last_log_id => Ok(()),
                    _ => put(transaction, SNAPSHOT, &saved),
                },
            )
            .await
    }

    // No holder of the lock can panic half way through a change.
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn restore(meta: &SnapshotMeta<NodeId, Node>, data: &[u8]) -> io::Result<Self> {
        Ok(Self {
            last_applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            data: serde_json::from_slice(data)?,
        })
    }

    fn apply(&mut self, entry: Entry<TypeConfig>) -> Reply {
        self.last_applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank | EntryPayload::Normal(Request::Noop) => Reply::Done,
            EntryPayload::Normal(Request::Set { key, value }) => {
                Reply::Previous(self.data.table.insert(key, value))
            }
            EntryPayload::Normal(Request::Remove { key }) => {
                Reply::Previous(self.data.table.remove(&key))
            }
            EntryPayload::Normal(Request::SetAutopilot(change)) => {
                let index = log_position(&entry.log_id).index;
                Reply::AutopilotSet(change.apply(&mut self.data.autopilot, index))
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Reply::Done
            }
        }
    }
}

/// Autopilot's configuration in the applied state. It does not keep the database open.
#[derive(Debug, Clone)]
pub struct Autopilot(Arc<RwLock<State>>);

impl AutopilotStore<TypeConfig> for Autopilot {
    fn configuration(&self) -> Option<AutopilotConfiguration> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        state.data.autopilot.clone()
    }

    fn command(&self, change: AutopilotChange) -> Request {
        Request::SetAutopilot(change)
    }

    fn is_made(&self, reply: &Reply) -> bool {
        *reply == Reply::AutopilotSet(true)
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError<NodeId>> {
        // Cloned, so that the lock is not held during the write to disk.
        let state = self.state().clone();
        let meta = SnapshotMeta {
            last_log_id: state.last_applied,
            last_membership: state.membership,
            // The state up to an entry is the same on every server, so the entry
            // identifies the snapshot.
            snapshot_id: state
                .last_applied
                .map_or_else(|| "empty".to_owned(), |id| id.to_string()),
        };
        let failed = |e: io::Error| StorageIOError::write_snapshot(Some(meta.signature()), &e);
        let data = serde_json::to_string(&state.data).map_err(|e| failed(e.into()))?;
        self.keep(&meta, data.clone()).await.map_err(failed)?;
        Ok(Snapshot {
            snapshot: Box::new(Cursor::new(data.into_bytes())),
            meta,
        })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, Node>), StorageError<NodeId>> {
        let state = self.state();
        Ok((state.last_applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Reply>, StorageError<NodeId>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut state = self.state_mut();
        Ok(entries
            .into_iter()
            .map(|entry| state.apply(entry))
            .collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(
        &mut self,
    ) -> Result<Box<Cursor<Vec<u8>>>, StorageError<NodeId>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, Node>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<NodeId>> {
        let failed = |e: io::Error| StorageIOError::write_snapshot(Some(meta.signature()), &e);
        let data = String::from_utf8(snapshot.into_inner())
            .map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        let state = State::restore(meta, data.as_bytes()).map_err(failed)?;
        // Written to disk first, so that no reader sees a table that a crash would undo.
        self.keep(meta, data).await.map_err(failed)?;
        *self.state_mut() = state;
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<TypeConfig>>, StorageError<NodeId>> {
        let saved = self.store.get::<Saved>(SNAPSHOT).await;
        let saved = saved.map_err(|e| StorageIOError::read_snapshot(None, &e))?;
        Ok(saved.map(|saved| Snapshot {
            meta: saved.meta,
            snapshot: Box::new(Cursor::new(saved.data.into_bytes())),
        }))
    }
}
