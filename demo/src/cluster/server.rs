//! A server of the cluster: start, forming and joining a cluster, shutdown.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{fmt, io};

use cluster_operator::autopilot;
use cluster_operator::peer_http::SharedSecret;
use cluster_operator_openraft::{ContactNetwork, Contacts};
use openraft::SnapshotPolicy;
use openraft::error::{Fatal, InitializeError, RaftError};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::gossip::{self, About, AgentSettings, Gossip, Pool};
use super::log::Log;
use super::machine::Machine;
use super::network::Network;
use super::routes::{self, Admission, JoinError, Joined, Newcomer};
use super::settings::{Ports, Settings, StartError};
use super::store::{self, Store};
use super::transfer::Gate;
use super::types::{Node, NodeId, Raft, TypeConfig};
use crate::serving;

/// The longest time without a leader before a server starts an election.
pub const ELECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server. Stop it with [`shutdown`](Self::shutdown) or
/// [`leave`](Self::leave); a server that is only dropped continues to gossip.
pub struct Server {
    id: NodeId,
    node: Node,
    raft: Raft,
    contacts: Contacts<TypeConfig>,
    machine: Machine,
    network: Network,
    secret: SharedSecret,
    gate: Gate,
    admission: Admission,
    data: Option<PathBuf>,
    lan: Gossip,
    wan: Gossip,
    stop_listening: oneshot::Sender<()>,
    listening: JoinHandle<()>,
    database: Weak<redb::Database>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("id", &self.id)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts Raft and both gossip agents. A server with a data folder continues where
    /// it stopped. A new server is in no cluster until
    /// [`bootstrap`](Self::bootstrap) or [`join_raft`](Self::join_raft).
    ///
    /// # Errors
    /// [`StartError`]; then no part keeps running.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let store = open_store(&settings).map_err(StartError::Data)?;
        let machine = Machine::open(store.clone())
            .await
            .map_err(StartError::Data)?;

        let address = SocketAddr::new(settings.ip, settings.ports.raft);
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let node = Node {
            name: settings.name.clone(),
            raft: listener.local_addr().map_err(listen)?,
            http: settings.http,
            operator_id: settings.operator_id.clone(),
        };

        let secret = settings.secret.clone();
        let network = Network::new(&settings.datacenter, settings.id, secret.clone());
        let database = store.downgrade();
        let contacts = Contacts::new();
        let recorded = contacts.network(network.clone());
        let raft = start_raft(&settings, recorded, store, machine.clone())
            .await
            .map_err(StartError::Raft)?;
        let (lan, wan) = match start_gossip(&settings).await {
            Ok(agents) => agents,
            Err(error) => {
                // The gossip error is returned, so an error of the shutdown is ignored.
                let _ = raft.shutdown().await;
                return Err(error);
            }
        };

        let (datacenter, id) = (&settings.datacenter, settings.id);
        let gate = Gate::default();
        let admission = Admission::new(raft.clone(), machine.autopilot());
        let joining = admission.clone();
        let router = routes::router(joining, gate.clone(), datacenter, id, secret.clone());
        let (stop_listening, stopped) = oneshot::channel();
        let serving = serving::serve(listener, router, settings.limits, async {
            // Dropping the sender stops it too.
            let _ = stopped.await;
        });
        tracing::info!(
            datacenter,
            name = settings.name,
            id,
            raft = %node.raft,
            lan = %gossip::address(&lan),
            wan = %gossip::address(&wan),
            "the server has started"
        );
        Ok(Self {
            id: settings.id,
            node,
            raft,
            contacts,
            machine,
            network,
            secret,
            gate,
            admission,
            data: settings.data,
            lan,
            wan,
            stop_listening,
            listening: tokio::spawn(serving),
            database,
        })
    }

    /// Returns its number in Raft.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Returns its name and addresses, as in the Raft configuration.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Returns the ports that it listens on, for a restart.
    pub fn ports(&self) -> Ports {
        Ports {
            raft: self.node.raft.port(),
            lan: gossip::address(&self.lan).port(),
            wan: gossip::address(&self.wan).port(),
        }
    }

    /// Returns the secret of the calls between servers.
    pub fn secret(&self) -> &SharedSecret {
        &self.secret
    }

    /// Returns its Raft.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Returns the record of when each other server last answered its Raft.
    pub fn contacts(&self) -> &Contacts<TypeConfig> {
        &self.contacts
    }

    /// Returns its connections to the other servers.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the gate that its writes pass.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Sets the settings of the autopilot that is to run on this server. While this server
    /// leads and its autopilot acts, servers join without a vote. A second call does
    /// nothing.
    pub fn set_autopilot(&self, settings: autopilot::Settings) {
        self.admission.set_autopilot(settings);
    }

    /// Returns the settings of its autopilot, if they are set.
    pub fn autopilot(&self) -> Option<&autopilot::Settings> {
        self.admission.autopilot()
    }

    /// Returns this server's copy of the replicated state.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Returns its agent in the LAN pool.
    pub fn lan(&self) -> &Gossip {
        &self.lan
    }

    /// Returns its agent in the WAN pool.
    pub fn wan(&self) -> &Gossip {
        &self.wan
    }

    /// Returns the keyring file of a pool, if the server has a data folder.
    pub fn keyring_file(&self, pool: Pool) -> Option<PathBuf> {
        keyring_file(self.data.as_deref(), pool)
    }

    /// Forms a new cluster of these voters. It is enough to call it on one of them, but
    /// all can call it with the same voters. A server that is already in a cluster
    /// stays in it, so the call can be repeated after a restart.
    ///
    /// # Errors
    /// Raft has stopped, or this server is not among the voters.
    pub async fn bootstrap(
        &self,
        voters: BTreeMap<NodeId, Node>,
    ) -> Result<(), RaftError<NodeId, InitializeError<NodeId, Node>>> {
        match self.raft.initialize(voters).await {
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            result => result,
        }
    }

    /// Asks the servers at these Raft addresses until their leader has added this server,
    /// as a voter unless autopilot acts there. Returns the number of voters that the
    /// leader's program intends, if autopilot runs there. Returns `None` at once if this
    /// server is a voter already.
    ///
    /// # Errors
    /// Raft has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future stops asking. This server may still be added.
    pub async fn join_raft(&self, peers: &[SocketAddr]) -> Result<Option<usize>, Fatal<NodeId>> {
        let mut last = String::new();
        loop {
            let metrics = self.raft.metrics().borrow().clone();
            metrics.running_state?;
            if metrics
                .membership_config
                .voter_ids()
                .any(|id| id == self.id)
            {
                return Ok(None);
            }
            for &peer in peers {
                let error = match self.ask_to_join(peer).await {
                    Ok(joined) => return Ok(joined.intended_size),
                    Err(error) => error,
                };
                // Once, not with each attempt.
                if error != last {
                    tracing::warn!("cannot join yet: {error}");
                    last = error;
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Asks one server, and then the leader that it names.
    async fn ask_to_join(&self, mut address: SocketAddr) -> Result<Joined, String> {
        let newcomer = Newcomer {
            id: self.id,
            node: self.node.clone(),
        };
        // This server, its leader, and one more if the leader has just changed.
        for _ in 0..3 {
            let call = self.network.post(address, None, "/raft/join", &newcomer);
            let answer: Result<Joined, JoinError> =
                match tokio::time::timeout(Duration::from_secs(10), call).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(error)) => return Err(format!("{address}: {error}")),
                    Err(_) => return Err(format!("{address} does not answer")),
                };
            let error = match answer {
                Ok(joined) => return Ok(joined),
                Err(error) => error,
            };
            match error.forward_to_leader().map(|to| &to.leader_node) {
                Some(Some(leader)) => address = leader.raft,
                _ => return Err(format!("{address}: {error}")),
            }
        }
        Err("the leader has changed".to_owned())
    }

    /// Leaves both pools and shuts the server down. It stays in the Raft configuration
    /// until an operator removes it.
    ///
    /// # Errors
    /// The first failure; all other steps are done.
    pub async fn leave(self) -> io::Result<()> {
        let (lan, wan) = tokio::join!(self.lan.leave(), self.wan.leave());
        let stopped = self.shutdown().await;
        lan.map_err(io::Error::other)?;
        wan.map_err(io::Error::other)?;
        stopped
    }

    /// Shuts the server down without leaving. To the others it looks like a crash.
    ///
    /// # Errors
    /// The first failure; all other steps are done.
    pub async fn shutdown(self) -> io::Result<()> {
        drop(self.stop_listening);
        let (raft, lan, wan) = tokio::join!(
            self.raft.shutdown(),
            self.lan.shutdown(),
            self.wan.shutdown()
        );
        // Calls that take longer are aborted.
        let listening = self.listening.abort_handle();
        let served = tokio::time::timeout(Duration::from_secs(1), self.listening).await;
        listening.abort();

        // openraft's tasks release the database a moment after the shutdown. The next
        // server on this folder needs it.
        drop(self.machine);
        let released = async {
            while self.database.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let released = tokio::time::timeout(Duration::from_secs(10), released).await;

        raft.map_err(io::Error::other)?;
        lan.map_err(io::Error::other)?;
        wan.map_err(io::Error::other)?;
        if let Ok(served) = served {
            served?;
        }
        released?;
        tracing::info!(id = self.id, "the server has stopped");
        Ok(())
    }
}

fn open_store(settings: &Settings) -> io::Result<Store> {
    match &settings.data {
        None => Store::in_memory(),
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            Store::open(&folder.join(store::FILE))
        }
    }
}

async fn start_raft(
    settings: &Settings,
    network: ContactNetwork<TypeConfig, Network>,
    store: Store,
    machine: Machine,
) -> io::Result<Raft> {
    let config = openraft::Config {
        cluster_name: settings.datacenter.clone(),
        // openraft limits a call to one heartbeat, in which the other server has to
        // sync its disk.
        heartbeat_interval: 250,
        election_timeout_min: ELECTION_TIMEOUT.as_millis() as u64 / 2,
        election_timeout_max: ELECTION_TIMEOUT.as_millis() as u64,
        install_snapshot_timeout: 5000,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(1000),
        max_in_snapshot_log_to_keep: 100,
        ..openraft::Config::default()
    };
    let config = config.validate().map_err(io::Error::other)?;
    let config = Arc::new(config);
    let raft = Raft::new(settings.id, config, network, Log::new(store), machine)
        .await
        .map_err(io::Error::other)?;
    // Until Raft has run once, its metrics show an empty configuration instead of the
    // one on disk.
    raft.with_raft_state(|_| ())
        .await
        .map_err(io::Error::other)?;
    Ok(raft)
}

async fn start_gossip(settings: &Settings) -> Result<(Gossip, Gossip), StartError> {
    let lan = start_agent(settings, Pool::Lan).await?;
    match start_agent(settings, Pool::Wan).await {
        Ok(wan) => Ok((lan, wan)),
        Err(error) => {
            // The start error is returned, so an error of the shutdown is ignored.
            let _ = lan.shutdown().await;
            Err(error)
        }
    }
}

fn keyring_file(data: Option<&Path>, pool: Pool) -> Option<PathBuf> {
    let name = match pool {
        Pool::Lan => "lan.keyring",
        Pool::Wan => "wan.keyring",
    };
    data.map(|folder| folder.join(name))
}

async fn start_agent(settings: &Settings, pool: Pool) -> Result<Gossip, StartError> {
    let (name, port) = match pool {
        Pool::Lan => (settings.name.clone(), settings.ports.lan),
        // Server names are unique only within a datacenter.
        Pool::Wan => (
            format!("{}.{}", settings.name, settings.datacenter),
            settings.ports.wan,
        ),
    };
    let address = SocketAddr::new(settings.ip, port);
    gossip::start(AgentSettings {
        pool,
        name,
        bind: address,
        key: settings.key.clone(),
        keyring: keyring_file(settings.data.as_deref(), pool),
        about: About {
            datacenter: settings.datacenter.clone(),
            http: settings.http,
        },
    })
    .await
    .map_err(|source| StartError::Gossip {
        pool,
        address,
        source,
    })
}
