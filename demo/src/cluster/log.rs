//! Raft's log and vote, which are synced to disk before Raft relies on them.

use std::fmt::Debug;
use std::ops::RangeBounds;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    Entry, LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote,
};
use redb::ReadableTable;

use super::store::{ENTRIES, STATE, Store, put};
use super::types::{NodeId, TypeConfig};

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// The log in a [`Store`]. Clones read the same log.
///
/// openraft calls one writing method at a time, and each waits for the disk, so the
/// writes are in the order of the calls.
#[derive(Debug, Clone)]
pub struct Log {
    store: Store,
}

impl Log {
    /// Creates the log in this store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError<NodeId>> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        let entries = self.store.read(move |transaction| {
            let mut entries = Vec::new();
            for item in transaction.open_table(ENTRIES)?.range(range)? {
                let (_, json) = item?;
                entries.push(serde_json::from_slice(json.value())?);
            }
            Ok(entries)
        });
        Ok(entries.await.map_err(|e| StorageIOError::read_logs(&e))?)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError<NodeId>> {
        let state = self.store.read(|transaction| {
            let last_purged_log_id: Option<LogId<NodeId>> = transaction
                .open_table(STATE)?
                .get(PURGED)?
                .map(|json| serde_json::from_slice(json.value()))
                .transpose()?;
            let last = transaction
                .open_table(ENTRIES)?
                .last()?
                .map(|(_, json)| serde_json::from_slice::<Entry<TypeConfig>>(json.value()))
                .transpose()?;
            Ok(LogState {
                last_purged_log_id,
                last_log_id: last.map(|entry| entry.log_id).or(last_purged_log_id),
            })
        });
        Ok(state.await.map_err(|e| StorageIOError::read_logs(&e))?)
    }

    async fn save_vote(&mut self, vote: &Vote<NodeId>) -> Result<(), StorageError<NodeId>> {
        let vote = *vote;
        let saved = self
            .store
            .write(move |transaction| put(transaction, VOTE, &vote));
        Ok(saved.await.map_err(|e| StorageIOError::write_vote(&e))?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<NodeId>>, StorageError<NodeId>> {
        let vote = self.store.get(VOTE).await;
        Ok(vote.map_err(|e| StorageIOError::read_vote(&e))?)
    }

    // With this value a restarted server applies its entries without waiting for the
    // leader. It is only an optimization, so it is not synced to disk.
    async fn save_committed(
        &mut self,
        committed: Option<LogId<NodeId>>,
    ) -> Result<(), StorageError<NodeId>> {
        let saved = self
            .store
            .write_lazily(move |transaction| put(transaction, COMMITTED, &committed));
        Ok(saved.await.map_err(|e| StorageIOError::write(&e))?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<NodeId>>, StorageError<NodeId>> {
        let committed = self.store.get::<Option<LogId<NodeId>>>(COMMITTED).await;
        Ok(committed.map_err(|e| StorageIOError::read(&e))?.flatten())
    }

    // The callback tells Raft that the entries are on disk, or that the write failed.
    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError<NodeId>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let written = self.store.write(move |transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            for entry in &entries {
                let json = serde_json::to_vec(entry)?;
                table.insert(entry.log_id.index, json.as_slice())?;
            }
            Ok(())
        });
        match written.await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                let failure = StorageIOError::write_logs(&error);
                callback.log_io_completed(Err(error));
                Err(failure.into())
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId<NodeId>) -> Result<(), StorageError<NodeId>> {
        let truncated = self.store.write(move |transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            table.retain_in(log_id.index.., |_, _| false)?;
            Ok(())
        });
        Ok(truncated
            .await
            .map_err(|e| StorageIOError::write_logs(&e))?)
    }

    // The mark and the entries change in one transaction, so that the log never has a
    // gap or an unknown start.
    async fn purge(&mut self, log_id: LogId<NodeId>) -> Result<(), StorageError<NodeId>> {
        let purged = self.store.write(move |transaction| {
            put(transaction, PURGED, &log_id)?;
            let mut table = transaction.open_table(ENTRIES)?;
            table.retain_in(..=log_id.index, |_, _| false)?;
            Ok(())
        });
        Ok(purged.await.map_err(|e| StorageIOError::write_logs(&e))?)
    }
}
