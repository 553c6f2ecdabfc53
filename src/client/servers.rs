//! Several servers of one federation over HTTP, for rotations and diagnoses, also of Consul.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::time::Instant;

use super::error::ClientError;
use super::keyring::RingListing;
use super::operator::OperatorClient;
use crate::diagnosis::{AskedServer, Diagnosis, Observations, ObservedDatacenter, ServerView};
use crate::error::{ErrorKind, KeyringReply, OperatorError, Outcome, RingOutcome};
use crate::keyring::{KeyChange, NodeFailure, NodeMessage, Pool, RingFailure, RingReport};
use crate::raft::Consistency;
use crate::rotation::{RingMembers, Rings};
use crate::timer::{Timer, TokioTimer};
use crate::types::{DatacenterName, NodeName, QuorumGuard};

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
    clients: Vec<OperatorClient>,
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
        let ring = |pool, members: Vec<Member>| RingMembers {
            datacenter: datacenter.as_str().into(),
            pool,
            alive: Member::names(&members, Member::ALIVE),
            failed: Member::names(&members, Member::FAILED),
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

/// Adds the rings of another server. A ring of a datacenter is the same at each server,
/// and one that did not reach it knows nothing; the WAN ring, which has the name of the
/// asked server's datacenter, need not be the same.
fn add(all: &mut KeyringReply, reply: KeyringReply) {
    for ring in reply.rings {
        let known = all.rings.iter_mut().find(|known| match ring.pool {
            Pool::Wan => known.pool == Pool::Wan && known.report == ring.report,
            _ => (&known.datacenter, &known.pool) == (&ring.datacenter, &ring.pool),
        });
        match known {
            Some(known) if known.report.is_none() && ring.report.is_some() => *known = ring,
            Some(_) => {}
            None => all.rings.push(ring),
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

/// The beginning of the message of a node that listed only some of its keys: Serf's
/// words, which also our servers use.
const TRUNCATED: &str = "truncated key list";

/// Returns how many nodes have answered, and how many of them with a failure: by the text
/// of the ring's error, if it has the numbers. Else every node has answered that is not
/// named as silent.
fn counts(ring: &RingListing) -> (usize, usize) {
    let failure = ring.error.as_deref().and_then(RingFailure::parse);
    let errors = match failure {
        Some(RingFailure::Failed { errors, .. }) => errors,
        _ => 0,
    };
    let with_some_key = || ring.keys.iter().map(|(_, nodes)| nodes).max();
    let responses = match failure {
        Some(RingFailure::Silent { responses, .. }) => responses,
        _ if ring.silent.len() < RingReport::NAMED => ring.nodes.saturating_sub(ring.silent.len()),
        // More may be silent than are named.
        _ => errors.saturating_add(with_some_key().unwrap_or_default()),
    };
    let responses = responses.min(ring.nodes);
    (responses, errors.min(responses))
}

impl From<RingListing> for RingOutcome {
    fn from(ring: RingListing) -> Self {
        let mut report = RingReport::new(ring.nodes);
        (report.responses, report.errors) = counts(&ring);
        let is_cut = |text: &str| text.starts_with(TRUNCATED);
        let whole = ring.messages.values().filter(|text| !is_cut(text)).count();
        report.silent = ring.silent;
        report.absent = ring.absent;
        report.keys = ring.keys;
        report.primary_keys = ring.primary_keys;
        for (node, text) in ring.messages {
            let message = if is_cut(&text) {
                report.truncated += 1;
                NodeMessage::Note(text)
            } else if whole == report.errors {
                NodeMessage::Failed(NodeFailure::Other(text))
            } else {
                NodeMessage::Note(text)
            };
            report.messages.insert(node, message);
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
    name: NodeName,
    #[serde(default)]
    status: i64,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

/// The states of serf that matter here.
impl Member {
    const ALIVE: i64 = 1;
    const FAILED: i64 = 4;

    /// Returns the names of the members of this status.
    fn names(members: &[Member], status: i64) -> Vec<NodeName> {
        let members = members.iter().filter(|member| member.status == status);
        members.map(|member| member.name.clone()).collect()
    }
}

impl Servers {
    /// Asks each server for its own view of Raft, and for the keys of all rings, and
    /// returns the state of the federation with what is wrong with it.
    ///
    /// A server that cannot be asked is a [finding](crate::diagnosis::Finding), and the
    /// rest stays. Give all servers, since over HTTP a server cannot ask the others for
    /// their views. Consul shows neither the term nor the last log position of a server,
    /// and which servers are up only to a token that may read nodes. Each server shows
    /// its own datacenter, whatever [datacenter](OperatorClient::in_datacenter) its client
    /// has.
    ///
    /// Ask a server with this library for its own
    /// [diagnosis](OperatorClient::diagnosis) first: it sees more.
    ///
    /// # Cancel safety
    /// The call only reads; the future can be dropped.
    pub async fn diagnose(&self) -> Diagnosis {
        let observed = self.clients.iter().map(Observed::ask);
        let observed = futures_util::future::join_all(observed).await;
        let mut datacenters: Vec<ObservedDatacenter> = Vec::new();
        let mut rings: Option<Result<KeyringReply, OperatorError>> = None;
        // A server that did not name its datacenter is shown with the first one.
        let named = observed.iter().find_map(|it| it.datacenter.clone());
        let named = named.unwrap_or_else(|| "".into());
        for Observed {
            datacenter,
            server,
            listing,
        } in observed
        {
            let name = datacenter.unwrap_or_else(|| named.clone());
            match datacenters.iter_mut().find(|it| it.name == name) {
                Some(ObservedDatacenter {
                    servers: Ok(servers),
                    ..
                }) => servers.push(server),
                _ => datacenters.push(ObservedDatacenter {
                    name,
                    servers: Ok(vec![server]),
                }),
            }
            rings = match (rings, listing) {
                (Some(Ok(mut all)), Ok(reply)) => {
                    add(&mut all, reply);
                    Some(Ok(all))
                }
                (Some(Ok(all)), Err(_)) => Some(Ok(all)),
                (None | Some(Err(_)), listing) => Some(listing),
            };
        }
        Observations {
            datacenters,
            rings,
            guard: QuorumGuard::default(),
        }
        .examine()
    }
}

/// The answers of one server.
struct Observed {
    datacenter: Option<DatacenterName>,
    server: AskedServer,
    listing: Result<KeyringReply, OperatorError>,
}

impl Observed {
    async fn ask(client: &OperatorClient) -> Self {
        // Neither rings nor members can be asked for by datacenter.
        let client = &client.in_own_datacenter();
        let view = client.raft_configuration(Consistency::Stale).await;
        let mut view = view.map(ServerView::from).map_err(OperatorError::from);
        let mut listing = client.list().await;
        let members = client.agent_members(false).await.unwrap_or_default();
        if let Ok(view) = &mut view {
            see(view, &members);
        }
        let dc = members.iter().find_map(|member| member.tags.get("dc"));
        let mut datacenter = dc.map(|name| DatacenterName::new(name.as_str()));
        if let Ok(KeyringReply { rings }) = &mut listing {
            // The asked server's datacenter comes first.
            let first = rings.first().map(|ring| ring.datacenter.clone());
            datacenter = datacenter.or(first);
            let wan = client.agent_members(true).await.unwrap_or_default();
            for ring in rings.iter_mut() {
                match ring.pool {
                    Pool::Wan => name(ring, &wan),
                    Pool::Lan if Some(&ring.datacenter) == datacenter.as_ref() => {
                        name(ring, &members);
                    }
                    Pool::Lan | Pool::Segment(_) => {}
                }
            }
        }
        let address = client.server().to_string().into();
        Observed {
            datacenter,
            server: AskedServer::new(None, address, view),
            listing,
        }
    }
}

/// Adds the names of its nodes to a ring.
fn name(ring: &mut RingOutcome, members: &[Member]) {
    let Some(report) = &mut ring.report else {
        return;
    };
    let of = |status| {
        let mut names = Member::names(members, status);
        names.sort_unstable();
        names
    };
    if report.asked.is_empty() {
        report.asked = of(Member::ALIVE);
    }
    if report.absent.is_empty() {
        report.absent = of(Member::FAILED);
    }
}

/// Adds to a view which servers the gossip believes to be up.
fn see(view: &mut ServerView, members: &[Member]) {
    for seen in &mut view.servers {
        let server = &mut seen.server;
        let mut members = members.iter();
        let member = members.find(|member| Some(&member.name) == server.name.as_ref());
        server.alive = match member.map(|member| member.status) {
            Some(Member::ALIVE) => Some(true),
            Some(Member::FAILED) => Some(false),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of 300 nodes, 200 of which have the key, as a server lists it.
    fn listed(silent: usize, error: &str) -> RingReport {
        let silent: Vec<_> = (0..silent).map(|node| format!("node-{node}")).collect();
        let ring = serde_json::json!({
            "WAN": false,
            "Datacenter": "dc1",
            "Keys": {"0eK8RjnsGC/+I1fJErQsBA==": 200},
            "NumNodes": 300,
            "Silent": silent,
            "Messages": {"node-1": "disk full"},
            "Error": error,
        });
        let ring: RingListing = serde_json::from_value(ring).unwrap();
        RingOutcome::from(ring).report.unwrap()
    }

    #[test]
    fn silent_nodes_that_are_not_named_have_not_answered() {
        for (silent, error, responses, errors) in [
            (100, "200/300 nodes reported success", 200, 0),
            (99, "1/300 nodes reported failure", 201, 1),
            (100, "1/300 nodes reported failure", 201, 1),
            (100, "no answer from the LAN pool within 5000 ms", 200, 0),
            (2, "no answer from the LAN pool within 5000 ms", 298, 0),
            // Another server may send anything.
            (0, "301/300 nodes reported success", 300, 0),
            (
                0,
                "18446744073709551615/300 nodes reported failure",
                300,
                300,
            ),
            (
                100,
                "18446744073709551615/300 nodes reported failure",
                300,
                300,
            ),
            (0, "-1/300 nodes reported success", 300, 0),
        ] {
            let report = listed(silent, error);
            let counts = (report.responses, report.errors);
            assert_eq!(counts, (responses, errors), "{error}");
            let failures = report.failures().count();
            assert_eq!(failures, usize::from(errors == 1), "{error}");
        }
    }
}
