//! A datacenter of server processes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator::{Consistency, GossipKey, RaftConfiguration, ServerId};

use crate::patient;
use cluster_operator_demo::operated::Process;

const NAMES: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
const PATIENCE: Duration = Duration::from_secs(90);
const FORMING: Duration = Duration::from_secs(45);
const AS_SERVER: &[&str] = &["--ignored", "--exact", "server_process", "--nocapture"];

/// The processes are killed and the folder is removed when this is dropped, which
/// a panic does too.
pub(crate) struct Datacenter {
    pub(crate) servers: Vec<Process>,
    _folder: tempfile::TempDir,
}

impl Datacenter {
    /// Starts servers and waits for a leader and a pool of all. `network` is the
    /// third byte of their addresses, for tests that run at once; the second
    /// belongs to this process.
    pub(crate) async fn start(network: u8, size: usize) -> Self {
        // On a busy machine, of some fifty pools of the serf crate that form at once
        // one leaves a node out for good. These tests are about what comes after.
        for _ in 0..3 {
            let datacenter = Datacenter::launch(network, size);
            let formed = tokio::time::timeout(FORMING, datacenter.whole()).await;
            if formed.is_ok() {
                return datacenter;
            }
            println!("the servers have not found each other: they are started anew");
        }
        panic!("three times the servers have not found each other within {FORMING:?}");
    }

    fn launch(network: u8, size: usize) -> Self {
        let mine = (std::process::id() % 200) as u8 + 50;
        let ip = |n: usize| IpAddr::from(Ipv4Addr::new(127, mine, network, n as u8 + 1));
        let folder = tempfile::tempdir().unwrap();
        let names = &NAMES[..size];
        let peers: Vec<_> = (0..)
            .zip(names)
            .map(|(n, name)| format!("{name}={}", ip(n)))
            .collect();
        let how = [format!("--peers={}", peers.join(","))];
        let start = |(n, name): (usize, &&str)| {
            Process::start("dc1", (name, ip(n)), folder.path(), &how, AS_SERVER).unwrap()
        };
        let servers = (0..).zip(names).map(start).collect();
        Datacenter {
            servers,
            _folder: folder,
        }
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
        patient(self.server(name).client().unwrap())
    }

    /// The names of the servers that run.
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

    /// What one server has of the Raft configuration.
    pub(crate) async fn view(&self, name: &str) -> Result<RaftConfiguration, String> {
        let view = self.read(name, Consistency::Stale).await;
        view.map_err(|error| error.to_string())
    }

    /// The configuration of the leader, once there is one that leads for sure.
    pub(crate) async fn led(&self) -> RaftConfiguration {
        let running = self.running();
        eventually("a leader", || async {
            let mut fault = String::new();
            for name in &running {
                match self.read(name, Consistency::Consistent).await {
                    Ok(configuration) => return Ok(configuration),
                    Err(error) => fault = error.to_string(),
                }
            }
            Err(fault)
        })
        .await
    }

    /// The leader's name.
    pub(crate) async fn leader(&self) -> String {
        eventually("a leader by name", || async {
            let configuration = self.led().await;
            let leader = configuration.servers.iter().find(|server| server.leader);
            let leader = leader.and_then(|leader| leader.name.as_ref());
            leader
                .map(ToString::to_string)
                .ok_or_else(|| "nobody".to_owned())
        })
        .await
    }

    /// Waits until every server is in the configuration, of the same view, and in
    /// the pool of each.
    pub(crate) async fn whole(&self) -> RaftConfiguration {
        let configuration = eventually("the same configuration of all on each", || async {
            let led = self.led().await;
            if led.servers.len() != self.servers.len() {
                return Err(format!("{} servers", led.servers.len()));
            }
            for name in self.running() {
                let view = self.view(&name).await?;
                if view.index != led.index {
                    return Err(format!("{name} is at {} of {}", view.index, led.index));
                }
            }
            Ok(led)
        })
        .await;
        self.rings_of_all().await;
        configuration
    }

    /// Waits until every server's rings have all nodes; the keys that each node
    /// has, the first of which all nodes use.
    pub(crate) async fn rings_of_all(&self) -> Vec<GossipKey> {
        let mut keys = Vec::new();
        for name in self.running() {
            keys = eventually("rings of all", || self.keys(&name)).await;
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
            if ring.nodes != self.servers.len() {
                return Err(format!("{} nodes in {}", ring.nodes, ring.pool));
            }
            keys = ring.keys.iter().map(|(key, _)| key.clone()).collect();
        }
        Ok(keys)
    }

    /// Waits until every server that runs, but this one, has the leader's configuration.
    pub(crate) async fn agree_but(&self, but: &str) {
        for name in self.running().iter().filter(|name| name.as_str() != but) {
            eventually("the leader's configuration", || async {
                let view = self.view(name).await?;
                if ids(&view) == ids(&self.led().await) {
                    Ok(())
                } else {
                    Err(format!("{name} has {view:?}"))
                }
            })
            .await;
        }
    }

    /// Starts a killed server again, and sees that it stays.
    pub(crate) async fn restart(&mut self, name: &str) {
        self.server_mut(name).restart(None).unwrap();
        let start = Instant::now();
        while self.view(name).await.is_err() {
            let server = self.server_mut(name);
            if server.has_failed() && server.log().contains("gossip keys") {
                // serf was killed while it wrote the ring: another server's will do.
                self.copy_keyrings_to(name);
                self.server_mut(name).restart(None).unwrap();
            }
            let log = self.server(name).log();
            assert!(
                start.elapsed() < PATIENCE,
                "{name} does not come back: {log}"
            );
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

/// Which servers a configuration has.
pub(crate) fn ids(configuration: &RaftConfiguration) -> Vec<ServerId> {
    let servers = configuration.servers.iter();
    servers.map(|server| server.id.clone()).collect()
}

/// Looks again until it is so.
pub(crate) async fn eventually<T, F>(what: &str, look: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(start.elapsed() < PATIENCE, "expected: {what}; seen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
