//! A program that stands in for `consul` in the tests that Consul's Go API is published
//! with. They start it from the PATH:
//!
//! ```text
//! consul version -format=json
//! consul agent -config-file FILE
//! ```
//!
//! As an agent it is one server of the demo cluster, with a real Raft and real gossip, on
//! the ports of the file and with the node ID of the file. Besides the operator endpoints
//! it answers the few paths by which those tests wait for a server.
//!
//! The environment variable PEER_SECRET holds the secret of the servers' calls.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use cluster_operator::autopilot::{AutopilotConfiguration, AutopilotState};
use cluster_operator::client::OperatorClient;
use cluster_operator::consul::Dialect;
use cluster_operator::error::OperatorError;
use cluster_operator::raft::Consistency;
use cluster_operator::{AllowAll, AutopilotBackend, GossipKey};
use cluster_operator_demo::cluster::{NodeId, Ports, Raft, Server, Settings, gossip};
use cluster_operator_demo::operated::{Operator, secrets};
use cluster_operator_demo::serving::{self, Limits};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The part of Consul's configuration that this program uses.
#[derive(Deserialize)]
struct Config {
    node_name: String,
    node_id: String,
    data_dir: PathBuf,
    bind_addr: IpAddr,
    ports: ConfigPorts,
    /// True for a server that forms a cluster of its own.
    #[serde(default)]
    bootstrap: bool,
    /// The LAN addresses of servers to join.
    #[serde(default)]
    retry_join: Vec<SocketAddr>,
    encrypt: Option<String>,
}

#[derive(Deserialize)]
struct ConfigPorts {
    http: u16,
    server: u16,
    serf_lan: u16,
    serf_wan: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["version", "-format=json"] => {
            println!("{}", json!({ "Version": "1.17.0" }));
            Ok(())
        }
        ["agent", "-config-file", file] => agent(Path::new(file)).await,
        _ => Err("use: consul version -format=json, or consul agent -config-file FILE".into()),
    }
}

async fn agent(file: &Path) -> Result<(), Box<dyn Error>> {
    let config: Config = serde_json::from_slice(&std::fs::read(file)?)?;
    let _log = serving::log_to_stderr()?;
    let on = |port| SocketAddr::new(config.bind_addr, port);
    let listener = TcpListener::bind(on(config.ports.http)).await?;
    let server = Server::start(Settings {
        name: config.node_name.clone(),
        id: number(&config.node_id)?,
        operator_id: Some(config.node_id.clone()),
        datacenter: "dc1".into(),
        ip: config.bind_addr,
        ports: Ports {
            raft: config.ports.server,
            lan: config.ports.serf_lan,
            wan: config.ports.serf_wan,
        },
        http: listener.local_addr()?,
        data: Some(config.data_dir),
        key: match &config.encrypt {
            Some(key) => GossipKey::from_base64(key)?,
            None => secrets::gossip_key()?,
        },
        secret: secrets::peer_secret()?.ok_or("set PEER_SECRET to the same secret for all")?,
        limits: Limits::default(),
    })
    .await?;
    if config.bootstrap {
        let own = (server.id(), server.node().clone());
        server.bootstrap([own].into()).await?;
    }
    let operator = Operator::with_autopilot(&server, "dc1", AllowAll, AnySettings)?;
    let routes = waited_for(&server).fallback_service(operator.routes(Dialect::Consul1_17));

    let served = serving::serve(listener, routes, Limits::default(), stop());
    if config.bootstrap {
        served.await;
    } else {
        // The tests ask it while it joins, and may stop it before it has joined.
        let joining = async {
            match join(&server, &config.retry_join).await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            () = served => {}
            error = joining => return Err(error),
        }
    }
    drop(operator);
    Ok(server.shutdown().await?)
}

/// Returns the server's number in Raft: the first digits of its UUID.
fn number(uuid: &str) -> Result<NodeId, Box<dyn Error>> {
    let digits: String = uuid
        .chars()
        .filter(|digit| *digit != '-')
        .take(16)
        .collect();
    Ok(NodeId::from_str_radix(&digits, 16)?)
}

/// Waits for SIGINT, with which the tests stop a server, or for the end of the tests.
async fn stop() {
    let tests = parent_id();
    let orphaned = async {
        while parent_id() == tests {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = orphaned => {}
    }
}

/// Joins the LAN pool, and then the Raft cluster of its members.
async fn join(server: &Server, pool: &[SocketAddr]) -> Result<(), Box<dyn Error>> {
    gossip::join(server.lan(), pool).await;
    let raft = loop {
        let addresses = raft_addresses(server).await;
        if !addresses.is_empty() {
            break addresses;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    server.join_raft(&raft).await?;
    Ok(())
}

/// Asks the members of the LAN pool for the Raft addresses of their cluster.
async fn raft_addresses(server: &Server) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for member in gossip::members(server.lan()).await {
        let Ok(uri) = format!("http://{}", member.about.http).parse() else {
            continue;
        };
        // This server's own answer has no servers yet.
        let client = OperatorClient::new(uri);
        let answer = client.raft_configuration(Consistency::Stale).await;
        let servers = answer.into_iter().flat_map(|answer| answer.servers);
        addresses.extend(
            servers.filter_map(|server| server.address.as_str().parse::<SocketAddr>().ok()),
        );
    }
    addresses
}

/// Returns the paths that Consul's tests ask until a server is ready.
fn waited_for(server: &Server) -> Router {
    let name = server.node().name.clone();
    let nodes = json!([{ "Node": name }]);
    let checks = json!([{ "Node": name, "CheckID": "serfHealth", "Status": "passing" }]);
    // These servers have no certificate authority.
    let roots = json!({ "ActiveRootID": "none", "Roots": [{ "ID": "none" }] });
    Router::new()
        .route("/v1/status/leader", get(leader))
        .with_state(server.raft().clone())
        .route("/v1/agent/connect/ca/roots", get(Json(roots)))
        .route("/v1/catalog/nodes", get(Json(nodes)))
        .route("/v1/health/node/{name}", get(Json(checks)))
}

/// Returns the Raft address of the leader, or an empty text.
async fn leader(State(raft): State<Raft>) -> Json<Value> {
    let metrics = raft.metrics().borrow().clone();
    let membership = metrics.membership_config.membership();
    let leader = metrics.current_leader;
    let leader = leader.and_then(|leader| membership.get_node(&leader));
    Json(json!(
        leader.map(|node| node.raft.to_string()).unwrap_or_default()
    ))
}

/// Consul's defaults and any settings, for the two tests that set autopilot's configuration
/// and read it again. The autopilot in it acts on two thresholds, and refuses a value of
/// another setting that it would ignore; here it is stored, and ignored.
struct AnySettings<A>(A);

#[async_trait]
impl<A: AutopilotBackend> AutopilotBackend for AnySettings<A> {
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        let configuration = self.0.configuration().await?;
        Ok(match configuration.modify_index {
            0 => self.defaults(),
            _ => configuration,
        })
    }

    async fn set_configuration(
        &self,
        configuration: AutopilotConfiguration,
        expected_index: Option<u64>,
    ) -> Result<bool, OperatorError> {
        self.0
            .set_configuration(configuration, expected_index)
            .await
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        self.0.state().await
    }
}
