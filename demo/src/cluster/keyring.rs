//! A pool's keys, on disk.
//!
//! serf writes its ring to the file after every change, the primary key first,
//! and leaves reading it to its user. As with Consul, the file wins over the
//! configured key once it is there: the cluster may have rotated since.

use std::io;
use std::path::Path;

use cluster_operator::GossipKey;
use serf::types::SecretKey;
use zeroize::Zeroizing;

/// The keys to start with, the primary first.
///
/// # Errors
/// When the file is there and holds no keys. serf does not replace it in one
/// step, so a crash in the middle of a rotation can leave it cut short; the
/// file of another server of the pool then does as well.
pub fn load(file: Option<&Path>, configured: &GossipKey) -> io::Result<Vec<SecretKey>> {
    if let Some(file) = file
        && let Some(text) = read(file)?
    {
        // The parser's message is left out: it may quote what it read.
        return parse(&text).ok_or_else(|| {
            let message = format!("{} holds no gossip keys", file.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        });
    }
    Ok(vec![secret(configured)?])
}

fn read(file: &Path) -> io::Result<Option<Zeroizing<String>>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", file.display()),
        )),
    }
}

fn parse(text: &str) -> Option<Vec<SecretKey>> {
    let keys: Vec<&str> = serde_json::from_str(text).ok()?;
    let keys: Option<Vec<_>> = keys
        .into_iter()
        .map(|key| secret(&GossipKey::from_base64(key).ok()?).ok())
        .collect();
    keys.filter(|keys| !keys.is_empty())
}

fn secret(key: &GossipKey) -> io::Result<SecretKey> {
    SecretKey::try_from(key.as_bytes()).map_err(io::Error::other)
}
