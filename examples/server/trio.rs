//! A cluster of three servers in this process.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cluster_operator::AclAuthorizer;
use futures_util::future::select_ok;
use openraft::RaftMetrics;

use crate::cluster::{Node, NodeId, Server, Settings, gossip};
use crate::operated::{Operator, secrets};
use crate::serving::Limits;
use crate::{Arguments, Started, curls, listen};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

pub(crate) async fn start(
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
            gossip::join(server.lan(), &[*alice.lan().advertise_node().address()]).await;
            gossip::join(server.wan(), &[*alice.wan().advertise_node().address()]).await;
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
    let introduction = introduction(arguments, &servers, &leader);
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

fn introduction(arguments: &Arguments, servers: &[(Server, Operator)], leader: &str) -> String {
    let nodes: Vec<_> = servers.iter().map(|(server, _)| server.node()).collect();
    let follower = nodes.iter().rev().find(|node| node.name != leader);
    format!(
        "Listening on http://{} as alice, http://{} as bob and http://{} as carol of {}. \
         The leader is {leader}. {}",
        nodes[0].http,
        nodes[1].http,
        nodes[2].http,
        arguments.datacenter,
        curls(
            nodes[0].http,
            arguments,
            &follower
                .map(|node| node.raft.to_string())
                .unwrap_or_default()
        )
    )
}
