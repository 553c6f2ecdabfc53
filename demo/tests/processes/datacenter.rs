//! A datacenter of server processes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator::raft::{Consistency, RaftConfiguration};
use cluster_operator::{GossipKey, NodeName, ServerId};

use crate::with_deadline;
use cluster_operator_demo::cluster::network::Network;
use cluster_operator_demo::operated::Process;
use cluster_operator_demo::operated::secrets::secret_file;

const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];
const TIMEOUT: Duration = Duration::from_secs(90);
const AS_SERVER: &[&str] = &["--ignored", "--exact", "server_process", "--nocapture"];

/// The server processes. They are killed and their folder is removed when this is
/// dropped, also after a panic.
pub(crate) struct Datacenter {
    pub(crate) servers: Vec<Process>,
    folder: tempfile::TempDir,
    network: u8,
}

impl Datacenter {
    /// Starts servers and waits for a leader and complete pools. `network` is the third
    /// byte of their addresses, which differs between concurrent tests; the second byte
    /// depends on this process.
    pub(crate) async fn start(network: u8, size: usize) -> Self {
        let datacenter = Datacenter::launch(network, size);
        datacenter.complete().await;
        datacenter
    }

    /// Starts servers and does not wait for them.
    pub(crate) fn launch(network: u8, size: usize) -> Self {
        Datacenter::launch_with(network, size, &[])
    }

    /// Starts servers with these flags too, and does not wait for them.
    pub(crate) fn launch_with(network: u8, size: usize, flags: &[String]) -> Self {
        let mut datacenter = Datacenter {
            servers: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            network,
        };
        let peers: Vec<_> = (0..)
            .zip(&NAMES[..size])
            .map(|(n, name)| format!("{name}={}", datacenter.ip(n)))
            .collect();
        let peers = format!("--peers={}", peers.join(","));
        for _ in 0..size {
            datacenter.add(peers.clone(), flags);
        }
        datacenter
    }

    /// Starts one more server, which joins a running one, and returns its name.
    pub(crate) fn join(&mut self, flags: &[String]) -> String {
        let mut running = self.servers.iter().filter(|server| server.is_started());
        let join = format!("--join={}", running.next().unwrap().ip);
        self.add(join, flags)
    }

    fn add(&mut self, others: String, flags: &[String]) -> String {
        let n = self.servers.len();
        let (name, flags) = (NAMES[n], [&[others], flags].concat());
        let place = (name, self.ip(n));
        let server = Process::start("dc1", place, self.folder.path(), &flags, AS_SERVER);
        self.servers.push(server.unwrap());
        name.to_owned()
    }

    fn ip(&self, n: usize) -> IpAddr {
        let own = (std::process::id() % 200) as u8 + 50;
        Ipv4Addr::new(127, own, self.network, n as u8 + 1).into()
    }

    pub(crate) fn server(&self, name: &str) -> &Process {
        self.servers
            .iter()
            .find(|server| server.name == name)
            .unwrap()
    }

    pub(crate) fn server_mut(&mut self, name: &str) -> &mut Process {
        self.servers
            .iter_mut()
            .find(|server| server.name == name)
            .unwrap()
    }

    pub(crate) fn client(&self, name: &str) -> OperatorClient {
        with_deadline(self.server(name).client().unwrap())
    }

    /// Returns the connections of a client to the servers' own calls.
    pub(crate) fn network(&self) -> Network {
        let secret = secret_file(&self.folder.path().join("secret")).unwrap();
        Network::new("dc1", 0, secret)
    }

    /// Returns the names of the running servers.
    pub(crate) fn running(&self) -> Vec<String> {
        let running = self.servers.iter().filter(|server| server.is_started());
        running.map(|server| server.name.clone()).collect()
    }

    pub(crate) async fn read(
        &self,
        name: &str,
        consistency: Consistency,
    ) -> Result<RaftConfiguration, ClientError> {
        let client = self.client(name);
        client.raft_configuration(consistency).await
    }

    /// Returns one server's view of the Raft configuration.
    pub(crate) async fn view(&self, name: &str) -> Result<RaftConfiguration, String> {
        let view = self.read(name, Consistency::Stale).await;
        view.map_err(|error| error.to_string())
    }

    /// Waits for a confirmed leader and returns its configuration.
    pub(crate) async fn leader_configuration(&self) -> RaftConfiguration {
        let running = self.running();
        eventually("a leader", || async {
            let mut last_error = String::new();
            for name in &running {
                match self.read(name, Consistency::Consistent).await {
                    Ok(configuration) => return Ok(configuration),
                    Err(error) => last_error = error.to_string(),
                }
            }
            Err(last_error)
        })
        .await
    }

    /// Returns the leader's name.
    pub(crate) async fn leader(&self) -> String {
        eventually("a leader by name", || async {
            let configuration = self.leader_configuration().await;
            let leader = configuration.servers.iter().find(|server| server.leader);
            let leader = leader.and_then(|leader| leader.name.as_ref());
            leader
                .map(ToString::to_string)
                .ok_or_else(|| "no leader".to_owned())
        })
        .await
    }

    /// Returns the names of the running servers, the leader first.
    pub(crate) async fn by_role(&self) -> Vec<String> {
        let leader = self.leader().await;
        let mut names = self.running();
        names.sort_by_key(|name| *name != leader);
        names
    }

    /// Waits until every server is in the Raft configuration and in all pools, and all
    /// have the same configuration.
    pub(crate) async fn complete(&self) -> RaftConfiguration {
        let configuration = eventually("the same complete configuration", || async {
            let expected = self.leader_configuration().await;
            if expected.servers.len() != self.servers.len() {
                return Err(format!("{} servers", expected.servers.len()));
            }
            for name in self.running() {
                let view = self.view(&name).await?;
                if view.index != expected.index {
                    return Err(format!("{name} is at {} of {}", view.index, expected.index));
                }
            }
            Ok(expected)
        })
        .await;
        self.complete_rings().await;
        configuration
    }

    /// Waits until this many servers are healthy, and no other one is known.
    pub(crate) async fn healthy(&self, asked: &str, size: usize) {
        let client = self.client(asked);
        eventually("a healthy cluster", || async {
            let health = client.autopilot_health().await;
            let health = health.map_err(|error| error.to_string())?;
            if health.healthy && health.servers.len() == size {
                return Ok(());
            }
            Err(format!("{health:?}"))
        })
        .await;
    }

    /// Waits until every server's rings have all nodes, and returns their keys.
    pub(crate) async fn complete_rings(&self) -> Vec<GossipKey> {
        let mut keys = Vec::new();
        for name in self.running() {
            keys = eventually("complete rings", || self.keys(&name)).await;
        }
        keys
    }

    async fn keys(&self, name: &str) -> Result<Vec<GossipKey>, String> {
        let rings = self.client(name).list_keys().await;
        let rings = rings.map_err(|error| error.to_string())?;
        let mut keys = Vec::new();
        for ring in &rings {
            if let Some(error) = &ring.error {
                return Err(error.clone());
            }
            if ring.nodes != self.servers.len() || !ring.silent.is_empty() {
                let (nodes, pool) = (ring.nodes, &ring.pool);
                return Err(format!("{nodes} nodes in {pool}, {:?} silent", ring.silent));
            }
            keys = ring.keys.iter().map(|(key, _)| key.clone()).collect();
        }
        Ok(keys)
    }

    /// Waits until every running server except this one has the leader's configuration.
    pub(crate) async fn agree_except(&self, excepted: &str) {
        for name in self.running().iter().filter(|name| *name != excepted) {
            eventually("the leader's configuration", || async {
                let view = self.view(name).await?;
                if ids(&view) == ids(&self.leader_configuration().await) {
                    Ok(())
                } else {
                    Err(format!("{name} has {view:?}"))
                }
            })
            .await;
        }
    }

    /// Restarts a killed server and waits until it answers.
    pub(crate) async fn restart(&mut self, name: &str) {
        self.server_mut(name).restart(None).unwrap();
        let start = Instant::now();
        while self.view(name).await.is_err() {
            let server = self.server_mut(name);
            if server.has_failed() && server.log().contains("gossip keys") {
                // serf was killed while it wrote the keyring file.
                self.copy_keyrings_to(name);
                self.server_mut(name).restart(None).unwrap();
            }
            let log = self.server(name).log();
            assert!(start.elapsed() < TIMEOUT, "{name} does not restart: {log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn copy_keyrings_to(&self, name: &str) {
        let mut others = self.servers.iter().filter(|server| server.name != name);
        let healthy = others.find(|server| server.is_started()).unwrap();
        for ring in ["lan.keyring", "wan.keyring"] {
            std::fs::copy(healthy.data.join(ring), self.server(name).data.join(ring)).unwrap();
        }
    }
}

/// Returns the id of a server.
pub(crate) fn id(configuration: &RaftConfiguration, name: &str) -> ServerId {
    let name = Some(NodeName::from(name));
    let mut servers = configuration.servers.iter();
    let server = servers.find(|server| server.name == name);
    server.unwrap().id.clone()
}

/// Returns the ids of the servers of a configuration.
pub(crate) fn ids(configuration: &RaftConfiguration) -> Vec<ServerId> {
    let servers = configuration.servers.iter();
    servers.map(|server| server.id.clone()).collect()
}

/// Retries until the look succeeds.
pub(crate) async fn eventually<T, F>(what: &str, look: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(start.elapsed() < TIMEOUT, "expected: {what}; seen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
