//! The three ways to start: three servers in this process, one of several processes, and a
//! simulated cluster.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cluster_operator::AclAuthorizer;
use cluster_operator::consul::Dialect;
use cluster_operator::mock::MockFederation;
use cluster_operator::observer::{MetricsObserver, TracingObserver};
use futures_util::future::select_ok;
use openraft::RaftMetrics;

use crate::cluster::{Node, NodeId, Server, Settings, gossip};
use crate::operated::{self, Operator, secrets};
use crate::serving::Limits;
use crate::{Arguments, Started, curls, listen};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

/// Starts a cluster of three servers in this process.
pub(crate) async fn trio(
    arguments: &Arguments,
    authorizer: Arc<dyn AclAuthorizer>,
) -> Result<Started, Box<dyn Error>> {
    let datacenter = arguments.datacenter.as_str();
    let first = arguments.address();
    let autopilot = &arguments.autopilot;
    let autopilot = autopilot.settings(autopilot.intended_size.unwrap_or(NAMES.len()))?;
    // No other process has to know it.
    let secret = secrets::random_secret()?;

    let (mut servers, mut endpoints) = (Vec::<(Server, Operator)>::new(), Vec::new());
    for (id, name) in (1..).zip(NAMES) {
        let listener = if servers.is_empty() {
            listen(first).await?
        } else {
            listen(SocketAddr::new(first.ip(), 0)).await?
        };
        let mut http = listener.local_addr()?;
        if http.ip().is_unspecified() {
            http.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let server = Server::start(Settings {
            name: name.into(),
            id,
            operator_id: None,
            datacenter: datacenter.into(),
            // Raft and gossip are for the servers of this process only.
            ip: Ipv4Addr::LOCALHOST.into(),
            ports: Default::default(),
            http,
            data: None,
            key: secrets::gossip_key()?,
            secret: secret.clone(),
            limits: Limits::of_servers(),
        })
        .await?;
        if let Some((alice, _)) = servers.first() {
            gossip::join(server.lan(), &[gossip::address(alice.lan())]).await;
            gossip::join(server.wan(), &[gossip::address(alice.wan())]).await;
        }
        if let Some(settings) = &autopilot {
            server.set_autopilot(settings.clone());
        }
        let authorizer = Arc::clone(&authorizer);
        let operator = Operator::new(&server, datacenter, authorizer)?;
        endpoints.push((listener, operator.routes(arguments.dialect.into())));
        servers.push((server, operator));
    }

    let (alice, _) = &servers[0];
    let voters = servers
        .iter()
        .map(|(server, _)| (server.id(), server.node().clone()));
    alice.bootstrap(voters.collect()).await?;
    let leader = elected(&servers).await?;
    let nodes: Vec<_> = servers.iter().map(|(server, _)| server.node()).collect();
    let follower = nodes.iter().rev().find(|node| node.name != leader);
    let removable = follower
        .map(|node| node.raft.to_string())
        .unwrap_or_default();
    let introduction = format!(
        "Listening on http://{} as alice, http://{} as bob and http://{} as carol of {datacenter}. \
         The leader is {leader}. {}",
        nodes[0].http,
        nodes[1].http,
        nodes[2].http,
        curls(nodes[0].http, arguments, &removable)
    );
    Ok(Started {
        endpoints,
        servers,
        federation: None,
        introduction,
    })
}

/// Waits for a leader that a majority has confirmed, and returns its name.
async fn elected(servers: &[(Server, Operator)]) -> Result<String, Box<dyn Error>> {
    let confirmed = servers.iter().map(|(server, _)| {
        Box::pin(async move {
            let wait = server.raft().wait(Some(Duration::from_secs(20)));
            let confirmed = |metrics: &RaftMetrics<NodeId, Node>| {
                metrics.current_leader == Some(metrics.id)
                    && metrics.millis_since_quorum_ack.is_some()
            };
            let waited = wait.metrics(confirmed, "a confirmed leader").await;
            waited.map(|_| server.node().name.clone())
        })
    });
    let (leader, _) = select_ok(confirmed).await?;
    // Alice forwards the requests of the hints to it.
    let wait = servers[0].0.raft().wait(Some(Duration::from_secs(20)));
    wait.metrics(|metrics| metrics.current_leader.is_some(), "a leader")
        .await?;
    Ok(leader)
}

/// Starts one server of a cluster of several processes.
pub(crate) async fn member(
    arguments: &Arguments,
    authorizer: Arc<dyn AclAuthorizer>,
) -> Result<Started, Box<dyn Error>> {
    let (member, datacenter) = (&arguments.member, arguments.datacenter.as_str());
    // Before the server starts, because other servers learn this address from it.
    let listener = listen(arguments.address.unwrap_or(member.http()?)).await?;
    let http = listener.local_addr()?;

    let server = member.start(datacenter, &listener, &arguments.autopilot);
    let server = server.await?;
    let operator = Operator::new(&server, datacenter, authorizer)?;
    let introduction = format!(
        "Listening on http://{http} as {} of {datacenter}. {}",
        server.node().name,
        curls(http, arguments, &removable(&server))
    );
    Ok(Started {
        endpoints: vec![(listener, operator.routes(arguments.dialect.into()))],
        servers: vec![(server, operator)],
        federation: None,
        introduction,
    })
}

/// Returns the Raft address of another server of the configuration, if there is one.
fn removable(server: &Server) -> String {
    let metrics = server.raft().metrics().borrow().clone();
    let mut nodes = metrics.membership_config.nodes();
    let other = nodes.find(|(id, _)| **id != server.id());
    let node = other.map_or_else(|| server.node(), |(_, node)| node);
    node.raft.to_string()
}

/// Starts a simulated cluster of three servers, and a server in another datacenter.
pub(crate) async fn simulated(
    arguments: &Arguments,
    authorizer: Arc<dyn AclAuthorizer>,
) -> Result<Started, Box<dyn Error>> {
    let datacenter = arguments.datacenter.as_str();
    let other = if datacenter == "dc2" { "dc1" } else { "dc2" };
    let dialect = Dialect::from(arguments.dialect);
    let federation = MockFederation::builder()
        .datacenter(datacenter, ["alice", "bob", "carol"])
        .datacenter(other, ["dave"])
        .raft_index(22)
        .raft_servers(|server| server.last_index = Some(0))
        .version(dialect.version())
        .gossip_key(secrets::gossip_key()?)
        .authorizer(authorizer)
        .service_options(|service| {
            let service = service.observer(TracingObserver);
            service.observer(MetricsObserver)
        })
        .build();
    let endpoints = operated::endpoints(federation.service("alice"), dialect);
    let listener = listen(arguments.address()).await?;
    let http = listener.local_addr()?;
    let introduction = format!(
        "Listening on http://{http} as alice, the leader of {datacenter}. Its followers bob and \
         carol are simulated, and so is dave in {other} (?dc={other}). {}",
        curls(http, arguments, "127.0.0.3:8300")
    );
    Ok(Started {
        endpoints: vec![(listener, Router::new().fallback_service(endpoints))],
        servers: Vec::new(),
        federation: Some(federation),
        introduction,
    })
}
