//! A cluster of three servers in this process.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster_operator::AclAuthorizer;

use crate::cluster::{Server, Settings, gossip};
use crate::operated::{self, Operator};
use crate::{Arguments, Started, curls, listen};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

pub(crate) async fn start(
    arguments: &Arguments,
    authorizer: Arc<dyn AclAuthorizer>,
) -> Result<Started, Box<dyn Error>> {
    let datacenter = arguments.datacenter.as_str();
    let first = arguments.address;
    let first = first.unwrap_or(SocketAddr::from(([127, 0, 0, 1], operated::HTTP_PORT)));
    let secret = operated::peer_secret()?;

    let (mut servers, mut endpoints) = (Vec::<(Server, Operator)>::new(), Vec::new());
    for (id, name) in (1..).zip(NAMES) {
        let listener = if servers.is_empty() {
            listen(first).await?
        } else {
            listen(SocketAddr::new(first.ip(), 0)).await?
        };
        let server = Server::start(Settings {
            name: name.into(),
            id,
            datacenter: datacenter.into(),
            ip: first.ip(),
            ports: Default::default(),
            http: listener.local_addr()?,
            data: None,
            key: operated::gossip_key()?,
        })
        .await?;
        if let Some((alice, _)) = servers.first() {
            gossip::join(server.lan(), &[*alice.lan().advertise_node().address()]).await;
            gossip::join(server.wan(), &[*alice.wan().advertise_node().address()]).await;
        }
        let authorizer = Arc::clone(&authorizer);
        let operator = Operator::new(&server, datacenter, authorizer, secret.clone())?;
        endpoints.push((listener, operator.routes(arguments.dialect.into())));
        servers.push((server, operator));
    }

    let (alice, _) = &servers[0];
    let voters = servers
        .iter()
        .map(|(server, _)| (server.id(), server.node().clone()));
    alice.bootstrap(voters.collect()).await?;
    let leader = elected(alice).await?;
    let introduction = introduction(arguments, &servers, &leader);
    Ok(Started {
        endpoints,
        servers,
        federation: None,
        introduction,
    })
}

/// Waits for a leader and returns its name.
async fn elected(server: &Server) -> Result<String, Box<dyn Error>> {
    let wait = server.raft().wait(Some(Duration::from_secs(20)));
    let metrics = wait
        .metrics(|metrics| metrics.current_leader.is_some(), "a leader")
        .await?;
    let leader = metrics.current_leader;
    let membership = metrics.membership_config.membership();
    let node = leader.and_then(|leader| membership.get_node(&leader));
    Ok(node.map(|node| node.name.clone()).unwrap_or_default())
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
