//! Writes of gossip keys: each key is new, is installed, looked for, and removed again.
//!
//! A key that was installed while all servers saw each other has to be on every node, and
//! one that was removed then may never be seen again. A late or repeated installation
//! would bring it back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator::{GossipKey, Outcome};

use crate::servers::{DC1, NODES, Servers, keys};
use crate::timeline::Phase;
use crate::tokens;
use crate::{Error, Soak};

/// The writers at each server of dc1.
pub(crate) const WRITERS: usize = DC1;

/// So many keys of a writer stay to the end.
const KEPT: usize = 2;

/// Nodes list their keys in one packet, so a ring must not hold many.
const PAUSE: Duration = Duration::from_millis(500);

/// The keys of a writer.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// On every node, to the end.
    pub(crate) kept: Vec<GossipKey>,
    /// Perhaps on some nodes.
    pub(crate) uncertain: Vec<GossipKey>,
    /// Installed and removed, both while all servers saw each other.
    pub(crate) pairs: usize,
    /// Installations with an outcome that is unknown, or told while a server was missing.
    pub(crate) unknown: usize,
    pub(crate) refused: usize,
    pub(crate) failures: Vec<String>,
}

impl Keys {
    pub(crate) fn add(&mut self, other: Keys) {
        self.kept.extend(other.kept);
        self.uncertain.extend(other.uncertain);
        self.pairs += other.pairs;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.failures.extend(other.failures);
    }
}

/// Writes through a server until the soak ends.
pub(crate) async fn write(soak: Arc<Soak>, at: usize) -> Result<Keys, Error> {
    let client = Servers::client(at, &tokens::root())?;
    let mut written = Keys::default();
    while soak.is_running() {
        tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        let key = GossipKey::from_bytes(&std::array::from_fn::<u8, 32, _>(|_| fastrand::u8(..)))?;
        let (installed, phase) = in_phase(&soak, client.install_key(&key)).await;
        match installed {
            Err(error) if error.outcome() == Outcome::NotApplied => {
                // If it is there all the same, the last look finds it.
                written.refused += 1;
                continue;
            }
            Ok(()) if phase == Phase::Calm => {
                look(&soak, &client, &key, NODES, &mut written).await;
                if written.kept.len() < KEPT {
                    written.kept.push(key);
                    continue;
                }
            }
            _ => written.unknown += 1,
        }
        if remove(&soak, &client, &key).await {
            look(&soak, &client, &key, 0, &mut written).await;
            written.pairs += usize::from(phase == Phase::Calm);
        } else {
            written.uncertain.push(key);
        }
    }
    Ok(written)
}

/// Removes a key, again and again until all servers saw each other meanwhile. Returns false
/// if the soak ends before.
async fn remove(soak: &Soak, client: &OperatorClient, key: &GossipKey) -> bool {
    while soak.is_running() {
        if let (Ok(()), Phase::Calm) = in_phase(soak, client.remove_key(key)).await {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// Looks whether the key is on so many nodes, unless a server is missing meanwhile.
async fn look(
    soak: &Soak,
    client: &OperatorClient,
    key: &GossipKey,
    expected: usize,
    written: &mut Keys,
) {
    let began = Instant::now();
    let seen = keys(client).await;
    if soak.timeline.phase(began, Instant::now()) != Phase::Calm {
        return;
    }
    // On a machine that is too busy, gossip may miss a server that runs.
    let Ok(keys) = seen else { return };
    let nodes = nodes_with(&keys, key);
    if nodes != expected {
        written.failures.push(format!(
            "key {} is on {nodes} nodes instead of {expected}",
            key.fingerprint()
        ));
    }
}

async fn in_phase(
    soak: &Soak,
    change: impl Future<Output = Result<(), ClientError>>,
) -> (Result<(), ClientError>, Phase) {
    let _under_way = soak.under_way();
    let began = Instant::now();
    let result = change.await;
    (result, soak.timeline.phase(began, Instant::now()))
}

fn nodes_with(keys: &[(GossipKey, usize)], wanted: &GossipKey) -> usize {
    let found = keys.iter().find(|(key, _)| key == wanted);
    found.map_or(0, |(_, nodes)| *nodes)
}

/// Removes the uncertain keys, and returns what is wrong with the others: all nodes have to
/// hold the kept keys, the first one, and no other.
pub(crate) async fn judge(client: &OperatorClient, written: &mut Keys) -> Result<(), Error> {
    for key in &written.uncertain {
        client.remove_key(key).await?;
    }
    let seen = keys(client).await?;
    for key in &written.kept {
        let nodes = nodes_with(&seen, key);
        if nodes != NODES {
            let text = format!("kept key {} is on {nodes} nodes", key.fingerprint());
            written.failures.push(text);
        }
    }
    let others = seen.iter().filter(|(key, _)| !written.kept.contains(key));
    let others: Vec<_> = others
        .map(|(key, _)| key.fingerprint().to_string())
        .collect();
    // The key with which the servers have started.
    if others.len() != 1 {
        let text = format!("keys that should be gone: {}", others.join(", "));
        written.failures.push(text);
    }
    Ok(())
}
