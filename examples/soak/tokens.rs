//! The token file, which is written and loaded again while requests arrive.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cluster_operator::raft::Consistency;
use cluster_operator::{ErrorKind, Token};
use serde_json::json;

use crate::servers::{DC1, NAMES, Pids, Servers, signal};
use crate::timeline::Phase;
use crate::{Error, Soak};

/// How long a server may take to load it.
const LOADED_WITHIN: Duration = Duration::from_secs(10);

pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("tokens.json")
}

/// A token that may do everything, in every version of the file.
pub(crate) fn root() -> Token {
    Token::new("soak-root")
}

/// A token that may read, in every version of the file.
pub(crate) fn reader(number: usize) -> Token {
    Token::new(format!("soak-reader-{number}"))
}

/// A token that may read in this version of the file, and does not exist in the others.
fn versioned(version: u32) -> Token {
    Token::new(format!("soak-version-{version}"))
}

/// Writes a version of the file, so that a server reads the old one or the new one.
pub(crate) fn write(folder: &Path, readers: usize, version: u32) -> std::io::Result<()> {
    let mut tokens = serde_json::Map::new();
    let mut add = |token: Token| {
        let accessor = format!("00000000-0000-4000-8000-{:012x}", tokens.len());
        let token = json!({ "secret": token.expose(), "policies": ["read"] });
        tokens.insert(accessor, token);
    };
    (0..readers).for_each(|number| add(reader(number)));
    add(versioned(version));
    let root = json!({ "secret": root().expose(), "management": true });
    tokens.insert("00000000-0000-4000-9000-000000000000".into(), root);
    let content = json!({
        "default_policy": "deny",
        "policy": { "read": { "operator": "read", "keyring": "read" } },
        "token": tokens,
    });
    let new = folder.join("tokens.new");
    fs::write(&new, content.to_string())?;
    fs::rename(new, file(folder))
}

/// The reloads, and what was wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    /// Versions that every server of dc1 has loaded.
    pub(crate) checked: u32,
    /// Versions that were written while a server was dead.
    pub(crate) unchecked: u32,
    pub(crate) failures: Vec<String>,
}

/// Writes new versions of the file, and looks whether the servers of dc1 follow: the new
/// version's token is accepted, and that of the version before is unknown.
pub(crate) async fn reload(soak: Arc<Soak>, folder: PathBuf, pids: Pids) -> Reloads {
    let mut reloads = Reloads::default();
    let mut version = 1;
    while soak.is_running() {
        tokio::time::sleep(soak.reload_every).await;
        version += 1;
        let began = Instant::now();
        let followed = reload_once(&soak, &folder, &pids, version).await;
        match (followed, soak.timeline.phase(began, Instant::now())) {
            // A dead server, or one that has just started with an older version.
            (_, Phase::Down) => reloads.unchecked += 1,
            (Ok(()), _) => reloads.checked += 1,
            (Err(error), _) => reloads.failures.push(error.to_string()),
        }
    }
    reloads
}

async fn reload_once(soak: &Soak, folder: &Path, pids: &Pids, version: u32) -> Result<(), Error> {
    write(folder, soak.connections, version)?;
    for at in 0..NAMES.len() {
        if !soak.leaves_out_reloads {
            signal(pids, at, "-HUP")?;
        }
    }
    for (at, name) in NAMES.iter().enumerate().take(DC1) {
        let began = Instant::now();
        // A dead server is looked at again after the next version.
        while pids[at].load(Ordering::Relaxed) != 0 {
            let new = accepted(at, &versioned(version)).await?;
            let old = accepted(at, &versioned(version - 1)).await?;
            if new && !old {
                break;
            }
            if began.elapsed() > LOADED_WITHIN {
                return Err(format!("{name} has not loaded version {version}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Returns true if a server knows the token.
async fn accepted(at: usize, token: &Token) -> Result<bool, Error> {
    let client = Servers::client(at, token)?;
    match client.raft_configuration(Consistency::Stale).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::UnknownToken) => Ok(false),
        Err(error) => Err(error.to_string().into()),
    }
}
