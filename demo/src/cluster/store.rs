//! The database that Raft's log and snapshot lie in: a file, or memory.

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

/// Log entries in JSON, by index.
pub const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// Single values in JSON, by name.
pub const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

/// What can go wrong inside a transaction: the database's errors and JSON's.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// One server's database. Clones share it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Database>);

impl Store {
    /// Opens the database in a file, or creates it. What was committed before a
    /// crash is there again.
    ///
    /// # Errors
    /// When the file is no database, or another process has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_tables(Database::create(path).map_err(io::Error::other)?)
    }

    /// A database that is gone with its last clone.
    ///
    /// # Errors
    /// Those of the database.
    pub fn in_memory() -> io::Result<Self> {
        let database = Database::builder().create_with_backend(InMemoryBackend::default());
        Self::with_tables(database.map_err(io::Error::other)?)
    }

    // Reading a table that was never written is an error, so they are made here.
    fn with_tables(database: Database) -> io::Result<Self> {
        let store = Self(Arc::new(database));
        write(&store.0, Durability::Immediate, |transaction| {
            transaction.open_table(ENTRIES)?;
            transaction.open_table(STATE)?;
            Ok(())
        })?;
        Ok(store)
    }

    /// Tells whether anybody still holds the database.
    pub fn downgrade(&self) -> Weak<Database> {
        Arc::downgrade(&self.0)
    }

    /// Reads, on a thread that may block.
    ///
    /// # Errors
    /// What `read` answers.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> io::Result<T> {
        let database = self.0.clone();
        let result = tokio::task::spawn_blocking(move || read(&database.begin_read()?));
        result.await?.map_err(io::Error::other)
    }

    /// Writes all or nothing, and has it on the disk when this returns.
    ///
    /// # Errors
    /// What `change` answers, or that the disk failed.
    ///
    /// # Cancel safety
    /// A dropped future may still write, as a whole.
    pub async fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), Fault> + Send + 'static,
    ) -> io::Result<()> {
        let database = self.0.clone();
        let result =
            tokio::task::spawn_blocking(move || write(&database, Durability::Immediate, change));
        result.await?
    }

    /// As [`write`](Self::write), but on the disk only after the next `write`:
    /// for what may be lost in a crash.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn write_lazily(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), Fault> + Send + 'static,
    ) -> io::Result<()> {
        let database = self.0.clone();
        let result =
            tokio::task::spawn_blocking(move || write(&database, Durability::None, change));
        result.await?
    }

    /// Reads a single value.
    ///
    /// # Errors
    /// When the database cannot be read, or the value is no `T`.
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
) -> Result<Option<T>, Fault> {
    let table = transaction.open_table(STATE)?;
    let value = table.get(name)?;
    Ok(value
        .map(|json| serde_json::from_slice(json.value()))
        .transpose()?)
}

/// Sets a single value within a transaction.
///
/// # Errors
/// Those of the database.
pub fn put(
    transaction: &WriteTransaction,
    name: &str,
    value: &impl Serialize,
) -> Result<(), Fault> {
    let json = serde_json::to_vec(value)?;
    transaction
        .open_table(STATE)?
        .insert(name, json.as_slice())?;
    Ok(())
}

fn write(
    database: &Database,
    durability: Durability,
    change: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
) -> io::Result<()> {
    let commit = || -> Result<(), Fault> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(durability)?;
        change(&transaction)?;
        Ok(transaction.commit()?)
    };
    commit().map_err(io::Error::other)
}
