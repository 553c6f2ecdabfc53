//! The database for Raft's log and snapshot, in a file or in memory.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use redb::backends::InMemoryBackend;
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The name of the file in a server's data folder.
pub const FILE: &str = "raft.redb";
/// Log entries in JSON, by index.
pub const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// Single values in JSON, by name.
pub const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

/// An error inside a transaction, of the database or of JSON.
pub type TransactionError = Box<dyn std::error::Error + Send + Sync>;

/// One server's database. Clones share it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Database>);

impl Store {
    /// Opens or creates the database in a file. Committed data survives a crash.
    ///
    /// # Errors
    /// The file is not a database, or another process has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_tables(Database::create(path).map_err(io::Error::other)?)
    }

    /// Creates a database in memory, which is dropped with its last clone.
    ///
    /// # Errors
    /// The database's error.
    pub fn in_memory() -> io::Result<Self> {
        let database = Database::builder().create_with_backend(InMemoryBackend::default());
        Self::with_tables(database.map_err(io::Error::other)?)
    }

    // Creates the tables, because reading a missing table is an error.
    fn with_tables(database: Database) -> io::Result<Self> {
        let store = Self(Arc::new(database));
        write(&store.0, Durability::Immediate, |transaction| {
            transaction.open_table(ENTRIES)?;
            transaction.open_table(STATE)?;
            Ok(())
        })?;
        Ok(store)
    }

    /// Returns a weak reference, which shows whether the database is still in use.
    pub fn downgrade(&self) -> Weak<Database> {
        Arc::downgrade(&self.0)
    }

    /// Reads in a transaction, on a thread that may block.
    ///
    /// # Errors
    /// The error of `read`.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, TransactionError> + Send + 'static,
    ) -> io::Result<T> {
        let database = self.0.clone();
        let result = tokio::task::spawn_blocking(move || read(&database.begin_read()?));
        result.await?.map_err(io::Error::other)
    }

    /// Writes in one transaction, which is synced to disk when the call returns.
    ///
    /// # Errors
    /// The error of `change` or of the disk.
    ///
    /// # Cancel safety
    /// If the future is dropped, the transaction may still be committed as a whole.
    pub async fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), TransactionError> + Send + 'static,
    ) -> io::Result<()> {
        let database = self.0.clone();
        let result =
            tokio::task::spawn_blocking(move || write(&database, Durability::Immediate, change));
        result.await?
    }

    /// Writes as [`write`](Self::write), but syncs only with the next `write`: for data
    /// that may be lost in a crash.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn write_lazily(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), TransactionError> + Send + 'static,
    ) -> io::Result<()> {
        let database = self.0.clone();
        let result =
            tokio::task::spawn_blocking(move || write(&database, Durability::None, change));
        result.await?
    }

    /// Reads a single value.
    ///
    /// # Errors
    /// The database cannot be read, or the value is not a `T`.
    pub async fn get<T: DeserializeOwned + Send + 'static>(
        &self,
        name: &'static str,
    ) -> io::Result<Option<T>> {
        self.read(move |transaction| {
            let value = transaction.open_table(STATE)?.get(name)?;
            Ok(value
                .map(|json| serde_json::from_slice(json.value()))
                .transpose()?)
        })
        .await
    }
}

/// Reads a single value within a transaction.
///
/// # Errors
/// As for [`Store::get`].
pub fn get<T: DeserializeOwned>(
    transaction: &WriteTransaction,
    name: &str,
) -> Result<Option<T>, TransactionError> {
    let table = transaction.open_table(STATE)?;
    let value = table.get(name)?;
    Ok(value
        .map(|json| serde_json::from_slice(json.value()))
        .transpose()?)
}

/// Sets a single value within a transaction.
///
/// # Errors
/// The database's error.
pub fn put(
    transaction: &WriteTransaction,
    name: &str,
    value: &impl Serialize,
) -> Result<(), TransactionError> {
    let json = serde_json::to_vec(value)?;
    transaction
        .open_table(STATE)?
        .insert(name, json.as_slice())?;
    Ok(())
}

fn write(
    database: &Database,
    durability: Durability,
    change: impl FnOnce(&WriteTransaction) -> Result<(), TransactionError>,
) -> io::Result<()> {
    let commit = || -> Result<(), TransactionError> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(durability)?;
        change(&transaction)?;
        Ok(transaction.commit()?)
    };
    commit().map_err(io::Error::other)
}
