//! The keyring file of a pool.
//!
//! serf writes its ring to the file after every change, the primary key first, but does
//! not read it. As in Consul, an existing file takes precedence over the configured
//! key, because the key may have been rotated.

use std::io;
use std::path::Path;

use cluster_operator::GossipKey;
use serf::types::SecretKey;
use zeroize::Zeroizing;

/// Loads the keys to start with, the primary key first.
///
/// # Errors
/// The file exists and holds no keys. serf does not replace the file atomically, so a
/// crash during a rotation can truncate it. Copy the file of another server of the pool
/// in this case.
pub fn load(file: Option<&Path>, configured: &GossipKey) -> io::Result<Vec<SecretKey>> {
    if let Some(file) = file
        && let Some(text) = read(file)?
    {
        // The parser's message is left out, because it may quote a key.
        return parse(&text).ok_or_else(|| {
            let message = format!(
                "{} holds no gossip keys: copy the file of another server of the pool",
                file.display()
            );
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
