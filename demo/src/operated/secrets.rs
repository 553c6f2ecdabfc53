//! The secrets that the servers share. None of them is a flag, because flags appear in
//! the list of processes.

use std::env::{self, VarError};
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::Path;

use cluster_operator::GossipKey;
use cluster_operator::peer_http::SharedSecret;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// The environment variable with the secret of the servers' calls.
pub const PEER_SECRET: &str = "PEER_SECRET";

/// The environment variable with the first gossip key.
pub const GOSSIP_KEY: &str = "GOSSIP_KEY";

/// The gossip key at the start, unless GOSSIP_KEY is set. It is published here, so use
/// it only for experiments on one machine.
pub const PUBLISHED_KEY: &str = "0eK8RjnsGC/+I1fJErQsBA==";

/// More than any secret needs.
const LONGEST_FILE: u64 = 4096;

/// Reads the first gossip key from GOSSIP_KEY. If that is not set, it is the published
/// one.
///
/// # Errors
/// GOSSIP_KEY is not a gossip key. The error does not repeat it.
pub fn gossip_key() -> Result<GossipKey, Box<dyn Error>> {
    let text = variable(GOSSIP_KEY)?;
    let key = GossipKey::from_base64(text.as_ref().map_or(PUBLISHED_KEY, |text| text));
    Ok(key.map_err(|error| format!("{GOSSIP_KEY}: {error}"))?)
}

/// Returns true for the published gossip key.
pub fn is_published(key: &GossipKey) -> bool {
    GossipKey::from_base64(PUBLISHED_KEY).as_ref() == Ok(key)
}

/// Reads the secret of the servers' calls from PEER_SECRET, if it is set.
///
/// # Errors
/// PEER_SECRET cannot be a secret. The error does not repeat it.
pub fn peer_secret() -> Result<Option<SharedSecret>, Box<dyn Error>> {
    let Some(text) = variable(PEER_SECRET)? else {
        return Ok(None);
    };
    let secret = SharedSecret::new(text.as_str());
    Ok(Some(
        secret.map_err(|error| format!("{PEER_SECRET}: {error}"))?,
    ))
}

fn variable(name: &str) -> Result<Option<Zeroizing<String>>, String> {
    match env::var(name) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
    }
}

/// Creates a secret for servers that are all in one process.
///
/// # Errors
/// The operating system has no random numbers.
pub fn random_secret() -> Result<SharedSecret, Box<dyn Error>> {
    Ok(SharedSecret::new(random_text()?.as_str())?)
}

/// Returns 32 hexadecimal digits: 128 bits, which nobody can guess.
fn random_text() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 16]);
    getrandom::fill(bytes.as_mut())?;
    // With its capacity, so that it leaves no copies behind when it grows.
    let mut text = Zeroizing::new(String::with_capacity(32));
    for byte in bytes.iter() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Reads the secret of the servers' calls from a file. The first server that looks for
/// the file creates it, with a random secret and for its owner only.
///
/// # Errors
/// The file cannot be read or created, is not a regular file, may be read by others, or
/// holds no secret. The error does not repeat its content.
pub fn secret_file(path: &Path) -> Result<SharedSecret, Box<dyn Error>> {
    let named = |error: &dyn Error| format!("the secret file {}: {error}", path.display());
    let text = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path).and_then(|()| read(path))
        }
        read => read,
    };
    let text = text.map_err(|error| named(&error))?;
    let secret = SharedSecret::new(text.trim_end());
    Ok(secret.map_err(|error| named(&error))?)
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    // Asked before it is opened: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            let text = "others may read it: make a new secret, and a file of mode 600 for it";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
    }
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_FILE as usize));
    File::open(path)?
        .take(LONGEST_FILE)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Creates the file with its content, unless another server does it first.
fn create(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // Temporary files are for their owner only.
    let mut file = NamedTempFile::new_in(folder)?;
    let secret = random_text().map_err(io::Error::other)?;
    writeln!(file, "{}", secret.as_str())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => Ok(created.map(drop)?),
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    fn file(folder: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let path = folder.path().join(format!("secret-{mode:o}"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn refused(path: &Path) -> String {
        secret_file(path).unwrap_err().to_string()
    }

    #[test]
    fn first_server_creates_secret_for_owner_and_others_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        // At the same time, as three servers that start together.
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let read = [(); 8].map(|()| scope.spawn(|| secret_file(&path).unwrap()));
            read.map(|thread| thread.join().unwrap()).into()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        assert_eq!(secret_file(&path).unwrap(), secrets[0]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_ne!(random_secret().unwrap(), random_secret().unwrap());
    }

    #[test]
    fn secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = "fedcba9876543210";
        assert!(secret_file(&file(&folder, text, 0o400)).is_ok());
        for mode in [0o640, 0o604, 0o620] {
            let refused = refused(&file(&folder, text, mode));
            assert!(refused.contains("others may read it"), "{refused}");
            assert!(!refused.contains(text), "{refused}");
        }
    }

    #[test]
    fn file_without_a_secret_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let refused_text = |text: &str| refused(&file(&folder, text, 0o600));
        assert!(refused_text("").contains("at least 16"));
        let two = refused_text("fedcba98 76543210\n");
        assert!(two.contains("a space") && !two.contains("fedcba"), "{two}");
        assert!(refused(folder.path()).contains("not a regular file"));
        assert!(refused(&folder.path().join("no/secret")).contains("no/secret"));
    }
}
