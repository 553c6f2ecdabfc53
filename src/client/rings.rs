//! The gossip rings of a federation over HTTP, for rotations and diagnoses.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::time::Instant;

use super::error::ClientError;
use super::operator::OperatorClient;
use super::replies::RingListing;
use crate::error::{ErrorKind, KeyringReply, OperatorError, Outcome, RingOutcome};
use crate::keyring::{KeyChange, NodeMessage, Pool, RingReport};
use crate::rotation::{RingMembers, Rings};
use crate::timer::{Timer, TokioTimer};
use crate::types::NodeName;

/// Several servers of one federation, for a rotation or a diagnosis that has to ask
/// more than one of them.
///
/// - On Consul 0.7 each server can have a WAN ring of its own. So each change is made at
///   every server; the rings that have it already stay as they are.
/// - A server of Consul names the failed members of its own datacenter only. Give one
///   server of each datacenter, so that a [rotation](crate::rotation::rotate_with) sees
///   them all.
/// - A server of Consul shows its own view of Raft only. Give all of them, so that a
///   [diagnosis](Servers::diagnose) compares them.
///
/// ```no_run
/// use cluster_operator::GossipKey;
/// use cluster_operator::client::{OperatorClient, Servers};
/// use cluster_operator::rotation::{RotationOptions, rotate_with};
///
/// # async fn run(new_key: GossipKey) -> Result<(), Box<dyn std::error::Error>> {
/// let servers = Servers::new([
///     OperatorClient::new("http://10.0.0.1:8500".parse()?),
///     OperatorClient::new("http://10.2.0.1:8500".parse()?),
/// ]);
/// let options = RotationOptions::default();
/// let rotation = rotate_with(&servers, &new_key, &options, |_| {}).await?;
/// for unverified in &rotation.unverified {
///     println!("not verified: {unverified}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Servers {
    pub(super) clients: Vec<OperatorClient>,
}

impl Servers {
    /// Creates the servers that these clients ask, in this order.
    pub fn new(clients: impl IntoIterator<Item = OperatorClient>) -> Self {
        Servers {
            clients: clients.into_iter().collect(),
        }
    }
}

impl IntoIterator for Servers {
    type Item = OperatorClient;
    type IntoIter = std::vec::IntoIter<OperatorClient>;

    fn into_iter(self) -> Self::IntoIter {
        self.clients.into_iter()
    }
}

#[async_trait]
impl Rings for OperatorClient {
    async fn list(&self) -> Result<KeyringReply, OperatorError> {
        reply(self.list_keys().await)
    }

    async fn change(&self, change: &KeyChange) -> Result<KeyringReply, OperatorError> {
        let result = match change {
            KeyChange::Install(key) => self.install_key(key).await,
            KeyChange::Use(key) => self.use_key(key).await,
            KeyChange::Remove(key) => self.remove_key(key).await,
        };
        reply(result.map(|()| Vec::new()))
    }

    /// Reads the members of Consul's agent. Servers with this library have none there.
    /// Those that answer in `Precise` name failed members in their listings; in a Consul
    /// dialect nothing names them.
    async fn members(&self) -> Result<Option<Vec<RingMembers>>, OperatorError> {
        let members = match self.agent_members(false).await {
            Ok(members) => members,
            Err(error) if error.status() == Some(404) => {
                let names_itself = self.asks_precise_server(Instant::now()).await;
                return Ok((!names_itself).then(Vec::new));
            }
            Err(error) if error.status().is_some_and(|status| status < 500) => {
                return Ok(Some(Vec::new()));
            }
            Err(error) => return Err(error.into()),
        };
        let mut datacenters = members.iter().filter_map(|member| member.tags.get("dc"));
        // A token that may read no node sees no member.
        let Some(datacenter) = datacenters.next().cloned() else {
            return Ok(Some(Vec::new()));
        };
        let ring = |pool, members: Vec<Member>| {
            let of = |status| {
                let members = members.iter().filter(move |it| it.status == status);
                members.map(|member| member.name.clone()).collect()
            };
            RingMembers {
                datacenter: datacenter.as_str().into(),
                pool,
                alive: of(Member::ALIVE),
                failed: of(Member::FAILED),
            }
        };
        let wan = self.agent_members(true).await?;
        Ok(Some(vec![ring(Pool::Wan, wan), ring(Pool::Lan, members)]))
    }

    fn timer(&self) -> &dyn Timer {
        &TokioTimer
    }
}

#[async_trait]
impl Rings for Servers {
    async fn list(&self) -> Result<KeyringReply, OperatorError> {
        let mut all = KeyringReply::default();
        for client in &self.clients {
            add(&mut all, client.list().await?);
        }
        Ok(all)
    }

    async fn change(&self, change: &KeyChange) -> Result<KeyringReply, OperatorError> {
        let mut all = KeyringReply::default();
        for (at, client) in self.clients.iter().enumerate() {
            match client.change(change).await {
                Ok(reply) => add(&mut all, reply),
                // The servers before have made the change.
                Err(error) if at > 0 => return Err(error.with_outcome(Outcome::Unknown)),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn members(&self) -> Result<Option<Vec<RingMembers>>, OperatorError> {
        let mut all: Option<Vec<RingMembers>> = None;
        for client in &self.clients {
            let Some(rings) = client.members().await? else {
                continue;
            };
            let all = all.get_or_insert_default();
            for ring in rings {
                let same = |it: &&mut RingMembers| {
                    (&it.datacenter, &it.pool) == (&ring.datacenter, &ring.pool)
                };
                match all.iter_mut().find(same) {
                    // What one server believes failed may be so.
                    Some(known) => {
                        known.failed.extend(ring.failed);
                        known.alive.retain(|node| !known.failed.contains(node));
                    }
                    None => all.push(ring),
                }
            }
        }
        Ok(all)
    }

    fn timer(&self) -> &dyn Timer {
        &TokioTimer
    }
}

/// Adds the rings of another server. A ring of a datacenter is the same at each server;
/// the WAN ring, which has the name of the asked server's datacenter, need not be.
pub(super) fn add(all: &mut KeyringReply, reply: KeyringReply) {
    for ring in reply.rings {
        let is_known = all.rings.iter().any(|known| match ring.pool {
            Pool::Wan => known.pool == Pool::Wan && known.report == ring.report,
            _ => (&known.datacenter, &known.pool) == (&ring.datacenter, &ring.pool),
        });
        if !is_known {
            all.rings.push(ring);
        }
    }
}

/// Returns what each ring did, if the server tells.
fn reply(result: Result<Vec<RingListing>, ClientError>) -> Result<KeyringReply, OperatorError> {
    let rings = match result {
        Ok(rings) => rings,
        Err(error) if !error.rings().is_empty() => error.rings().to_vec(),
        Err(error) => return Err(error.into()),
    };
    let rings = rings.into_iter().map(RingOutcome::from).collect();
    Ok(KeyringReply { rings })
}

impl From<RingListing> for RingOutcome {
    /// Counts every node that is not known to be silent as one that answered.
    fn from(ring: RingListing) -> Self {
        let mut report = RingReport::new(ring.nodes);
        report.responses = ring.nodes.saturating_sub(ring.silent.len());
        report.silent = ring.silent;
        report.absent = ring.absent;
        report.keys = ring.keys;
        report.primary_keys = ring.primary_keys;
        for (node, text) in ring.messages {
            // Serf's words, which also our servers use.
            if text.starts_with("truncated key list") {
                report.truncated += 1;
            }
            report.messages.insert(node, NodeMessage::Note(text));
        }
        let outcome = ring.outcome.unwrap_or(Outcome::NotApplied);
        let error = ring
            .error
            .map(|text| OperatorError::backend(text).with_outcome(outcome));
        RingOutcome {
            datacenter: ring.datacenter,
            pool: ring.pool,
            report: Some(report).filter(|report| report.nodes > 0),
            error,
        }
    }
}

/// Keeps the kind, and the client's error as the source.
impl From<ClientError> for OperatorError {
    fn from(error: ClientError) -> Self {
        let kind = match error.kind() {
            // Consul's text says more than a list without rings.
            ErrorKind::RingsFailed { rings: 0, .. } => ErrorKind::Backend {
                message: error.to_string(),
            },
            kind => kind.clone(),
        };
        let outcome = error.outcome();
        OperatorError::new(kind)
            .with_outcome(outcome)
            .with_source(error)
    }
}

/// A gossip member of Consul's agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Member {
    pub(super) name: NodeName,
    #[serde(default)]
    pub(super) status: i64,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
}

/// The states of serf that matter here.
impl Member {
    pub(super) const ALIVE: i64 = 1;
    pub(super) const FAILED: i64 = 4;
}
