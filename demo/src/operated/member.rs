//! A server that runs as one of several processes, configured by flags.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use cluster_operator::GossipKey;
use cluster_operator::peer_http::SharedSecret;
use tokio::net::TcpListener;

use super::secrets::{self, GOSSIP_KEY, PEER_SECRET};
use crate::cluster::{Node, NodeId, Ports, Server, Settings, gossip};
use crate::serving::Limits;

/// Consul's ports.
pub const HTTP_PORT: u16 = 8500;
const PORTS: Ports = Ports {
    raft: 8300,
    lan: 8301,
    wan: 8302,
};

/// The flags of a server that runs in a process of its own.
#[derive(Debug, Clone, clap::Args)]
pub struct Member {
    /// Runs one server of several processes, under this name.
    #[arg(long, requires = "data")]
    pub name: Option<String>,
    /// The servers that form the cluster, including this one; the same list on each
    /// server: alice=127.0.0.1,bob=127.0.0.2,carol=127.0.0.3
    #[arg(
        long,
        value_delimiter = ',',
        requires = "name",
        conflicts_with = "join"
    )]
    pub peers: Vec<Peer>,
    /// The addresses of servers of a running cluster, to join it as a voter.
    #[arg(long, value_delimiter = ',', requires_all = ["name", "ip"])]
    pub join: Vec<IpAddr>,
    /// The addresses of servers of other datacenters.
    #[arg(long, value_delimiter = ',', requires = "name")]
    pub join_wan: Vec<IpAddr>,
    /// The address of this server. Not needed with --peers.
    #[arg(long, requires = "name")]
    pub ip: Option<IpAddr>,
    /// The folder for the Raft log and the keyrings.
    #[arg(long, requires = "name")]
    pub data: Option<PathBuf>,
    /// The file with the secret by which the servers recognize each other. The first
    /// server creates it; copy it to other machines. Or set PEER_SECRET.
    #[arg(long, requires = "name")]
    pub secret_file: Option<PathBuf>,
}

/// A server's name and address.
#[derive(Debug, Clone)]
pub struct Peer {
    name: String,
    ip: IpAddr,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, ip) = text.split_once('=').ok_or("write it as name=address")?;
        Ok(Peer {
            name: name.into(),
            ip: ip.parse().map_err(|error| format!("{ip}: {error}"))?,
        })
    }
}

impl Member {
    /// Returns this server's address.
    ///
    /// # Errors
    /// The flags do not contain it.
    pub fn ip(&self) -> Result<IpAddr, String> {
        let listed = self.listed().map(|(_, peer)| peer.ip);
        self.ip
            .or(listed)
            .ok_or_else(|| "this server is not among --peers: give its --ip and --join".into())
    }

    /// Returns this server's entry among the peers, and its position, which is its
    /// number in Raft.
    fn listed(&self) -> Option<(NodeId, &Peer)> {
        let mut numbered = (1..).zip(&self.peers);
        numbered.find(|(_, peer)| Some(&peer.name) == self.name.as_ref())
    }

    /// Starts the server, which then joins the others in the background.
    ///
    /// # Errors
    /// The flags contradict each other, or a part does not start.
    pub async fn start(
        &self,
        datacenter: &str,
        listener: &TcpListener,
    ) -> Result<Server, Box<dyn Error>> {
        if self.peers.is_empty() && self.join.is_empty() {
            return Err("a server needs others: give --peers, or --join and --ip".into());
        }
        let data = self
            .data
            .clone()
            .ok_or("a server needs a folder: give --data")?;
        let id = match self.listed() {
            Some((id, _)) => id,
            None => own_number(&data)?,
        };
        let ip = self.ip()?;
        let server = Server::start(Settings {
            name: self.name.clone().unwrap_or_default(),
            id,
            datacenter: datacenter.into(),
            ip,
            ports: PORTS,
            http: listener.local_addr()?,
            data: Some(data),
            key: gossip_key(ip)?,
            secret: self.secret()?,
            limits: Limits::default(),
        })
        .await?;
        self.join_others(&server).await?;
        Ok(server)
    }

    fn secret(&self) -> Result<SharedSecret, Box<dyn Error>> {
        if let Some(file) = &self.secret_file {
            return secrets::secret_file(file);
        }
        let text = "servers need a secret by which they recognize each other: give each the same \
                    --secret-file";
        secrets::peer_secret()?.ok_or_else(|| format!("{text}, or {PEER_SECRET}").into())
    }

    async fn join_others(&self, server: &Server) -> Result<(), Box<dyn Error>> {
        let near = self.peers.iter().map(|peer| peer.ip);
        let near: Vec<_> = near.chain(self.join.iter().copied()).collect();
        let on = |port, ips: &[IpAddr]| -> Vec<_> {
            ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
        };
        // One answer is enough for each list, so the other datacenters have a list of
        // their own: otherwise a local server's answer would do.
        for (agent, others) in [
            (server.lan(), on(PORTS.lan, &near)),
            (server.wan(), on(PORTS.wan, &near)),
            (server.wan(), on(PORTS.wan, &self.join_wan)),
        ] {
            let agent = agent.clone();
            tokio::spawn(async move { gossip::join(&agent, &others).await });
        }

        if self.join.is_empty() {
            let voters: BTreeMap<_, _> = (1..).zip(self.peers.iter().map(Peer::node)).collect();
            server.bootstrap(voters).await?;
        } else {
            let cluster = on(PORTS.raft, &self.join);
            server.join_raft(&cluster).await?;
        }
        Ok(())
    }
}

impl Peer {
    fn node(&self) -> Node {
        Node {
            name: self.name.clone(),
            raft: SocketAddr::new(self.ip, PORTS.raft),
            http: SocketAddr::new(self.ip, HTTP_PORT),
        }
    }
}

/// Returns the first gossip key. Only a server that no other machine reaches may use the
/// published one.
fn gossip_key(ip: IpAddr) -> Result<GossipKey, Box<dyn Error>> {
    let key = secrets::gossip_key()?;
    if secrets::is_published(&key) && !ip.is_loopback() {
        let text = "a server on a network needs a gossip key that is not published: set";
        return Err(format!("{text} {GOSSIP_KEY} to 32 random bytes in base64").into());
    }
    Ok(key)
}

/// Returns the number of a server that joins. It is stored next to the Raft log.
fn own_number(data: &std::path::Path) -> Result<NodeId, Box<dyn Error>> {
    let file = data.join("id");
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(text.trim().parse()?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Unique, and larger than the numbers of the first servers.
            let now = std::time::SystemTime::now();
            let id = now.duration_since(std::time::UNIX_EPOCH)?.as_micros() as NodeId;
            std::fs::create_dir_all(data)?;
            std::fs::write(&file, id.to_string())?;
            Ok(id)
        }
        Err(error) => Err(error.into()),
    }
}
