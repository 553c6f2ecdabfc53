//! The ring of this server's own node.
//!
//! Serf does not pass the queries of this node to its own handlers, so this module does
//! what those handlers do.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use ::serf::Serf;
use ::serf::delegate::Delegate;
use ::serf::transport::Transport;
use ::serf::types::SecretKey;
use zeroize::Zeroizing;

use super::wording;
use cluster_operator::keyring::{GossipKey, KeyChange, NodeFailure, NodeKeys};

/// The size of the largest keyring file that is read, more than a thousand keys.
const LONGEST_FILE: usize = 64 * 1024;

/// The delegates of members with this transport.
pub(super) trait DelegateOf<T: Transport>:
    Delegate<Id = T::Id, Address = T::ResolvedAddress>
{
}

impl<T: Transport, D: Delegate<Id = T::Id, Address = T::ResolvedAddress>> DelegateOf<T> for D {}

/// Lists the ring.
pub(super) fn list<T: Transport, D: DelegateOf<T>>(
    serf: &Serf<T, D>,
) -> Result<NodeKeys, NodeFailure> {
    match serf.memberlist().keyring() {
        Some(ring) if serf.encryption_enabled() => Ok(NodeKeys::ring(distinct(ring.keys()))),
        _ => Err(NodeFailure::EncryptionOff),
    }
}

/// Changes the ring, and writes the file if there is one. If the file cannot be written,
/// the ring has changed anyway.
pub(super) fn change<T: Transport, D: DelegateOf<T>>(
    serf: &Serf<T, D>,
    change: &KeyChange,
    key: SecretKey,
    file: Option<&Path>,
) -> Result<NodeKeys, NodeFailure> {
    let ring = match serf.memberlist().keyring() {
        Some(ring) if serf.encryption_enabled() => ring,
        _ => return Err(NodeFailure::EncryptionOff),
    };
    let changed = match change {
        KeyChange::Install(_) => {
            // Memberlist stores the primary apart, and would add it again.
            if ring.primary_key() != key {
                ring.insert(key);
            }
            Ok(())
        }
        KeyChange::Use(_) => ring.use_key(&key),
        KeyChange::Remove(_) => ring.remove(&key),
    };
    changed.map_err(|error| wording::failure(&error.to_string()))?;
    match file.map(|file| save(&distinct(ring.keys()), file)) {
        Some(Err(error)) => {
            let words = format!("cannot write the keyring file: {error}");
            Err(NodeFailure::Other(wording::without_keys(&words)))
        }
        _ => Ok(NodeKeys::done()),
    }
}

/// Each key once, in order.
pub(super) fn distinct(keys: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<GossipKey> {
    let mut ring = Vec::new();
    for key in keys.filter_map(|key| GossipKey::from_bytes(key.as_ref()).ok()) {
        if !ring.contains(&key) {
            ring.push(key);
        }
    }
    ring
}

/// Reads the keys that serf or [`save`] has written, the primary first. `None` if there is
/// no file.
pub(super) fn load(file: &Path) -> io::Result<Option<Vec<GossipKey>>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    match fs::metadata(file) {
        // A pipe would have to be waited for.
        Ok(about) if !about.is_file() => return Err(invalid("it is not a regular file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    // Large enough for all, since a buffer that grows leaves a copy behind.
    let mut json = Zeroizing::new(vec![0; LONGEST_FILE + 1]);
    let mut length = 0;
    let mut reading = fs::File::open(file)?;
    loop {
        match reading.read(&mut json[length..])? {
            0 => break,
            read => length += read,
        }
    }
    if length > LONGEST_FILE {
        return Err(invalid("it is too large"));
    }
    let json = &json[..length];
    // The parser's message might quote a key.
    let malformed = || invalid("it holds no gossip keys");
    let texts: Vec<&str> = serde_json::from_slice(json).map_err(|_| malformed())?;
    let keys: Result<Vec<_>, _> = texts.into_iter().map(GossipKey::from_base64).collect();
    match keys {
        Ok(keys) if !keys.is_empty() => Ok(Some(keys)),
        _ => Err(malformed()),
    }
}

/// Writes the keys as serf does: a JSON list of base64 texts, the primary first, readable
/// by the owner only. The file is replaced in one step, so that neither a crash nor serf's
/// own writing can leave a part of it.
fn save(keys: &[GossipKey], file: &Path) -> io::Result<()> {
    let texts: Vec<_> = keys.iter().map(GossipKey::to_base64).collect();
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
    // Large enough for all, since a buffer that grows leaves a copy behind: a line has 44
    // letters at most, and indentation, quotes, comma and newline.
    let mut json = Zeroizing::new(Vec::with_capacity(64 * (texts.len() + 1)));
    serde_json::to_writer_pretty(&mut *json, &texts)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    // A file that a crash has left would keep its mode, and a link would be followed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut writing = options.open(&new)?;
    writing.write_all(&json)?;
    writing.sync_all()?;
    fs::rename(new, file)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn keys() -> [GossipKey; 1] {
        [GossipKey::from_bytes(&[1; 16]).unwrap()]
    }

    #[test]
    fn saved_keys_are_loaded_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyring.json");
        assert_eq!(load(&file).unwrap(), None);
        let keys = [3, 1, 2].map(|n| GossipKey::from_bytes(&[n; 32]).unwrap());
        save(&keys, &file).unwrap();
        assert_eq!(load(&file).unwrap().unwrap(), keys);
    }

    #[test]
    fn error_for_a_malformed_keyring_file_shows_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyring.json");
        for malformed in ["", "[]", "[\"5K9Otf", "[\"5K9OtfP7\"]", "[5]", "\"5K9Otf\""] {
            fs::write(&file, malformed).unwrap();
            let error = load(&file).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(!format!("{error:?}").contains("5K9Otf"), "{error:?}");
        }
    }

    #[test]
    fn size_of_a_keyring_file_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyring.json");
        let text = GossipKey::from_bytes(&[7; 32]).unwrap().to_base64();
        let text = format!("[\"{}\"]", &*text);
        let padded = |length: usize| text.clone() + &" ".repeat(length - text.len());
        fs::write(&file, padded(LONGEST_FILE)).unwrap();
        assert_eq!(load(&file).unwrap().unwrap().len(), 1);
        fs::write(&file, padded(LONGEST_FILE + 1)).unwrap();
        assert!(load(&file).unwrap_err().to_string().contains("too large"));
    }

    #[test]
    fn pipe_in_place_of_a_keyring_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for file in [&pipe, directory.path()] {
            let error = load(file).unwrap_err();
            assert!(error.to_string().contains("regular file"), "{error}");
        }
    }

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn leftover_file_does_not_expose_the_keyring() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyring.json");
        let left = directory.path().join("keyring.json.new");
        fs::write(&left, "[").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
        save(&keys(), &file).unwrap();
        assert_eq!(mode(&file), 0o600);
        assert!(!left.exists());
    }

    #[test]
    fn keys_are_not_written_through_a_leftover_link() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keyring.json");
        let other = directory.path().join("other");
        fs::write(&other, "other").unwrap();
        symlink(&other, directory.path().join("keyring.json.new")).unwrap();
        save(&keys(), &file).unwrap();
        assert_eq!(fs::read_to_string(other).unwrap(), "other");
        assert!(!fs::symlink_metadata(file).unwrap().is_symlink());
    }
}
