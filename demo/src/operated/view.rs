//! A cached view of the gossip pools. Reading an agent's members is asynchronous, and
//! the service needs them without waiting.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use cluster_operator::peer_http::{Directory, ServerUri};
use cluster_operator::peers::Target;
use cluster_operator::raft::ServerStatus;
use cluster_operator::types::ProtocolVersion;
use cluster_operator::{DatacenterName, NodeName};
use serf::types::MemberStatus;
use tokio::task::AbortHandle;

use crate::cluster::gossip::{self, Gossip, Member};
use crate::cluster::{Node, Raft, Server};

/// The interval at which the view is refreshed.
const REFRESH: Duration = Duration::from_millis(250);

/// A server's view of the others. Clones share it.
#[derive(Clone)]
pub(crate) struct View {
    raft: Raft,
    seen: Arc<RwLock<Seen>>,
    /// The version of Consul's Raft protocol. Consul's command line shows a server without
    /// one as too old.
    protocol: ProtocolVersion,
    /// The version of the program, which all servers of the demo run.
    version: Arc<str>,
}

#[derive(Default)]
struct Seen {
    /// The HTTP addresses of the servers of each datacenter, live servers first.
    datacenters: BTreeMap<DatacenterName, Vec<ServerUri>>,
    /// The servers of this datacenter, by name.
    servers: BTreeMap<NodeName, Member>,
}

impl View {
    /// Starts a task that refreshes the view until it is aborted.
    pub(crate) fn follow(server: &Server) -> (Self, AbortHandle) {
        let view = Self {
            raft: server.raft().clone(),
            seen: Arc::default(),
            protocol: "3".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let (lan, wan, seen) = (
            server.lan().clone(),
            server.wan().clone(),
            view.seen.clone(),
        );
        let follow = async move {
            let mut again = tokio::time::interval(REFRESH);
            loop {
                again.tick().await;
                let now = look(&lan, &wan).await;
                *seen.write().unwrap_or_else(PoisonError::into_inner) = now;
            }
        };
        (view, tokio::spawn(follow).abort_handle())
    }

    /// Returns the status of a server of the Raft configuration, for the quorum guard and
    /// autopilot.
    pub(crate) fn status(&self, node: &Node) -> ServerStatus {
        let member = self.look(|seen| {
            let member = seen.servers.get_key_value(node.name.as_str());
            member.map(|(name, member)| (name.clone(), member.status))
        });
        let mut status = ServerStatus::default();
        match member {
            Some((name, in_gossip)) => {
                status.name = Some(name);
                status.alive = Some(in_gossip == MemberStatus::Alive);
                status.left = in_gossip == MemberStatus::Left;
            }
            None => status.name = Some(node.name.as_str().into()),
        }
        status.protocol_version = Some(self.protocol.clone());
        status.software_version = Some(Arc::clone(&self.version));
        status
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.read().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn look(lan: &Gossip, wan: &Gossip) -> Seen {
    let servers = gossip::members(lan).await.into_iter();
    Seen {
        datacenters: by_datacenter(gossip::members(wan).await),
        servers: servers
            .map(|member| (member.name.as_str().into(), member))
            .collect(),
    }
}

/// Groups the members by datacenter. A datacenter whose servers have all failed stays,
/// so that a request to it reports that it is unreachable. A datacenter whose servers
/// have all left does not.
fn by_datacenter(mut members: Vec<Member>) -> BTreeMap<DatacenterName, Vec<ServerUri>> {
    members.retain(|member| member.status != MemberStatus::Left);
    members.sort_by_key(|member| member.status != MemberStatus::Alive);
    let mut datacenters = BTreeMap::<_, Vec<_>>::new();
    for member in members {
        let name = DatacenterName::from(member.about.datacenter.as_str());
        datacenters
            .entry(name)
            .or_default()
            .extend(uri(member.about.http));
    }
    datacenters
}

fn uri(http: SocketAddr) -> Option<ServerUri> {
    format!("http://{http}").parse().ok()
}

/// Takes the leader's name from the Raft configuration and all HTTP addresses from
/// gossip. The address in the configuration dates from when the server became a voter,
/// and may be a guess of the others.
impl Directory for View {
    fn datacenters(&self) -> Vec<DatacenterName> {
        self.look(|seen| seen.datacenters.keys().cloned().collect())
    }

    fn uris(&self, target: &Target) -> Vec<ServerUri> {
        match target {
            Target::Server(leader) => {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow();
                let membership = metrics.membership_config.membership();
                let mut nodes = membership.nodes();
                let leader = nodes.find(|(id, node)| node.operator_id(**id) == leader.id.as_str());
                let http = leader.map(|(_, node)| {
                    let member = self.look(|seen| seen.servers.get(node.name.as_str()).cloned());
                    member.map_or(node.http, |member| member.about.http)
                });
                http.and_then(uri).into_iter().collect()
            }
            Target::Datacenter(name) => {
                self.look(|seen| seen.datacenters.get(name).cloned().unwrap_or_default())
            }
        }
    }
}
