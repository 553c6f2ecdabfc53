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
    let text = match file.map(std::fs::read_to_string) {
        Some(Ok(text)) => Zeroizing::new(text),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(vec![secret(configured.as_bytes())?]),
    };
    // The parser's message is left out: it may quote what it read.
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the file holds no gossip keys");
    let keys: Vec<&str> = serde_json::from_str(&text).map_err(|_| broken())?;
    let keys = keys
        .iter()
        .map(|key| {
            secret(
                GossipKey::from_base64(key)
                    .map_err(|_| broken())?
                    .as_bytes(),
            )
        })
        .collect::<io::Result<Vec<_>>>()?;
    if keys.is_empty() {
        return Err(broken());
    }
    Ok(keys)
}

fn secret(bytes: &[u8]) -> io::Result<SecretKey> {
    SecretKey::try_from(bytes).map_err(io::Error::other)
}
