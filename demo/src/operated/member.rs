//! A server that runs as one of several processes, configured by flags.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cluster_operator::GossipKey;
use cluster_operator::peer_http::SharedSecret;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

use super::autopilot::Autopilot;
use super::place::{Peer, Place};
use super::secrets::{self, GOSSIP_KEY, PEER_SECRET};
use crate::cluster::recovery::Survivor;
use crate::cluster::{NodeId, Server, Settings, gossip, store};
use crate::serving::Limits;

/// The flags of a server that runs in a process of its own.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "One server of several processes")]
pub struct Member {
    /// Runs one server of several processes, under this name.
    #[arg(long, requires = "data")]
    pub name: Option<String>,
    /// The folder for the Raft log and the keyrings.
    #[arg(long, requires = "name")]
    pub data: Option<PathBuf>,
    /// The file with the secret by which the servers recognize each other. The first
    /// server creates it; copy it to other machines. Or set PEER_SECRET.
    #[arg(long, requires = "name", value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// The servers that form the cluster, including this one; the same list on each
    /// server: alice=127.0.0.1,bob=127.0.0.2. Their numbers in Raft are 1, 2 and so on;
    /// alice:7=127.0.0.1 gives alice the number 7.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME=SERVER",
        requires = "name",
        conflicts_with = "join"
    )]
    pub peers: Vec<Peer>,
    /// Servers of a running cluster, to join it: as a voter, or where autopilot acts
    /// without a vote, until autopilot promotes it or puts it in the place of a dead voter.
    #[arg(long, value_delimiter = ',', value_name = "SERVER", requires_all = ["name", "ip"])]
    pub join: Vec<Place>,
    /// Servers of other datacenters.
    #[arg(long, value_delimiter = ',', value_name = "SERVER", requires = "name")]
    pub join_wan: Vec<Place>,
    /// The address of this server, and its ports. Not needed with --peers.
    #[arg(long, value_name = "SERVER", requires = "name")]
    pub ip: Option<Place>,
    /// The number in Raft of a server that joins; no other server may ever have had it.
    /// By default it comes from the clock.
    #[arg(long, requires = "join", value_parser = clap::value_parser!(NodeId).range(1..))]
    pub id: Option<NodeId>,
    /// Makes this server the only one of its cluster, when a majority is lost for good.
    /// Shows the position of its log first, and changes nothing without it.
    #[arg(
        long,
        value_name = "POSITION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        requires_all = ["name", "data"],
        conflicts_with_all = ["peers", "join", "join_wan"]
    )]
    pub recover: Option<String>,
}

impl Member {
    /// Returns the HTTP address of this server, unless another one is chosen.
    ///
    /// # Errors
    /// The flags do not contain it, or contradict each other.
    pub fn http(&self) -> Result<SocketAddr, String> {
        let place = self.place()?;
        Ok(place.on(place.http))
    }

    fn place(&self) -> Result<Place, String> {
        let listed = self.listed()?.map(|(_, peer)| peer.place);
        match (self.ip, listed) {
            (Some(own), Some(listed)) if own != listed => {
                Err("--peers lists this server with another address: leave --ip out".into())
            }
            (own, listed) => own.or(listed).ok_or_else(|| {
                "this server is not among --peers: add it, or give its --ip and --join".into()
            }),
        }
    }

    /// Returns the peers with their numbers in Raft.
    fn numbered(&self) -> Result<BTreeMap<NodeId, &Peer>, String> {
        let (mut numbered, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for (position, peer) in (1..).zip(&self.peers) {
            let addresses = peer.place.addresses().map(|address| address.to_string());
            for text in addresses.into_iter().chain([peer.name.clone()]) {
                if let Some(twice) = seen.replace(text) {
                    return Err(format!("--peers contains {twice} twice"));
                }
            }
            let id = peer.id.unwrap_or(position);
            if numbered.insert(id, peer).is_some() {
                return Err(format!("--peers contains two servers with the number {id}"));
            }
        }
        Ok(numbered)
    }

    /// Returns this server's entry among the peers.
    fn listed(&self) -> Result<Option<(NodeId, &Peer)>, String> {
        let mut numbered = self.numbered()?.into_iter();
        Ok(numbered.find(|(_, peer)| Some(&peer.name) == self.name.as_ref()))
    }

    /// Starts the server, with the settings of its autopilot. It joins the others' pools in
    /// the background.
    ///
    /// # Errors
    /// The flags contradict each other, or a part does not start.
    pub async fn start(
        &self,
        datacenter: &str,
        listener: &TcpListener,
        autopilot: &Autopilot,
    ) -> Result<Server, Box<dyn Error>> {
        let data = self.data()?;
        if self.peers.is_empty() && self.join.is_empty() && !data.join(store::FILE).exists() {
            return Err("a new server needs others: give --peers, or --join and --ip".into());
        }
        let place = self.place()?;
        let size = (!self.peers.is_empty()).then_some(self.peers.len());
        let size = autopilot.intended_size.or(size);
        // Checked before anything is stored or started.
        autopilot.settings(size.unwrap_or(1))?;
        let key = gossip_key(place.ip)?;
        let secret = self.secret()?;
        let mut http = listener.local_addr()?;
        if http.ip().is_unspecified() {
            // Other servers cannot connect to "all addresses".
            http.set_ip(place.ip);
        }
        let chosen = match self.listed()? {
            Some((id, _)) => Some(id),
            None => self.id,
        };
        let id = own_number(data, chosen)?;
        let size = own_size(data, size)?;
        let server = Server::start(Settings {
            name: self.name.clone().unwrap_or_default(),
            id,
            operator_id: None,
            datacenter: datacenter.into(),
            ip: place.ip,
            ports: place.ports,
            http,
            data: Some(data.to_owned()),
            key,
            secret,
            limits: Limits::of_servers(),
        })
        .await?;
        let joined = self.join_others(&server).await?;
        let size = match size {
            Some(size) => Some(size),
            None => own_size(data, joined)?,
        };
        let voters = || {
            let metrics = server.raft().metrics().borrow().clone();
            metrics.membership_config.voter_ids().count().max(1)
        };
        if let Some(settings) = autopilot.settings(size.unwrap_or_else(voters))? {
            if size.is_none() {
                let voters = settings.intended();
                tracing::warn!("autopilot intends {voters} voters: give --intended-size");
            }
            server.set_autopilot(settings);
        }
        Ok(server)
    }

    /// Makes this server the only one of its cluster, if `expected` is the position of
    /// its last entry; otherwise only looks at its log. Returns a text for the operator.
    ///
    /// # Errors
    /// The server cannot be recovered: nothing is changed. Or its data cannot be written:
    /// repeat the call.
    pub async fn recover(&self, expected: &str) -> Result<String, Box<dyn Error>> {
        let (data, name) = (self.data()?, self.name.as_deref().unwrap_or_default());
        let survivor = Survivor::open(data, name).await?;
        let (last, folder) = (survivor.position(), data.display());
        if expected.is_empty() {
            return Ok(format!(
                "{name} can become the only server of its cluster. Nothing is changed yet.

  voters      {}
  last entry  {last}, as term-index; up to index {} it is known to be committed

Look at all servers that are left, and choose the one with the highest term, then the
highest index. What only the others hold is lost. Keep a copy of {folder}. Then run the
same command with --recover={last}",
                survivor.voters(),
                survivor.committed()
            ));
        }
        let id = new_number()?;
        survivor
            .become_only_server(expected, id, || store_number(data, id))
            .await?;
        Ok(format!(
            "{name} is the only server of its cluster, with the number {id}. Start it with
--name, --data, --secret-file and --ip, and without --peers. Start the others with --join,
and with new folders: what is in theirs belongs to the old cluster."
        ))
    }

    fn data(&self) -> Result<&Path, &'static str> {
        let data = self.data.as_deref();
        data.ok_or("a server needs a folder: give --data")
    }

    fn secret(&self) -> Result<SharedSecret, Box<dyn Error>> {
        if let Some(file) = &self.secret_file {
            return secrets::secret_file(file);
        }
        let text = "servers need a secret by which they recognize each other: give each the same \
                    --secret-file";
        secrets::peer_secret()?.ok_or_else(|| format!("{text}, or {PEER_SECRET}").into())
    }

    /// Returns the number of voters that the leader's program intends, if it has just told.
    async fn join_others(&self, server: &Server) -> Result<Option<usize>, Box<dyn Error>> {
        let near = self.peers.iter().map(|peer| peer.place);
        let near: Vec<_> = near.chain(self.join.iter().copied()).collect();
        let lan = |places: &[Place]| places.iter().map(|at| at.on(at.ports.lan)).collect();
        let wan = |places: &[Place]| places.iter().map(|at| at.on(at.ports.wan)).collect();
        // The other datacenters have a list of their own, so that none of these waits for one
        // that does not answer.
        let lists: [(_, Vec<_>); 3] = [
            (server.lan(), lan(&near)),
            (server.wan(), wan(&near)),
            (server.wan(), wan(&self.join_wan)),
        ];
        for (agent, others) in lists {
            let agent = agent.clone();
            tokio::spawn(async move { gossip::join(&agent, &others).await });
        }

        if !self.peers.is_empty() {
            // Exactly as listed, so that all servers begin with the same configuration.
            let voters = self.numbered()?.into_iter();
            let voters = voters.map(|(id, peer)| (id, peer.node())).collect();
            server.bootstrap(voters).await?;
        } else if !self.join.is_empty() {
            let cluster = self.join.iter().map(|at| at.on(at.ports.raft));
            return Ok(server.join_raft(&cluster.collect::<Vec<_>>()).await?);
        }
        Ok(None)
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

/// Returns the number of the server whose data is in this folder. It is stored next to
/// the Raft log, because a log with another number can elect two leaders.
fn own_number(data: &Path, chosen: Option<NodeId>) -> Result<NodeId, Box<dyn Error>> {
    let file = data.join("id");
    match fs::read_to_string(&file) {
        Ok(text) => {
            let text = text.trim();
            let stored = text
                .parse()
                .map_err(|_| format!("{} holds no number: restore it", file.display()))?;
            match chosen.filter(|chosen| *chosen != stored) {
                None => Ok(stored),
                Some(chosen) => Err(format!(
                    "{} holds the data of the server with the number {stored}, not {chosen}: \
                     start it without --peers and --id, or choose another folder",
                    data.display()
                )
                .into()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if chosen.is_none() && data.join(store::FILE).exists() {
                return Err(format!("{} is missing: restore it", file.display()).into());
            }
            let id = match chosen {
                Some(id) => id,
                None => new_number()?,
            };
            store_number(data, id)?;
            Ok(id)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns a number that is unique, and larger than those of the first servers.
fn new_number() -> Result<NodeId, Box<dyn Error>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(NodeId::try_from(now.as_micros())?)
}

/// Stores the number of the server whose data is in this folder.
fn store_number(data: &Path, id: NodeId) -> io::Result<()> {
    store(data, "id", &id.to_string())
}

/// Returns the number of voters that autopilot intends, and stores it if it was chosen now:
/// a server that is restarted, or recovered, may not be given it again.
fn own_size(data: &Path, chosen: Option<usize>) -> Result<Option<usize>, Box<dyn Error>> {
    let file = data.join("intended-size");
    if let Some(chosen) = chosen {
        store(data, "intended-size", &chosen.to_string())?;
        return Ok(Some(chosen));
    }
    match fs::read_to_string(&file) {
        Ok(text) => match text.trim().parse() {
            Ok(size) => Ok(Some(size)),
            Err(_) => {
                Err(format!("{} holds no number: give --intended-size", file.display()).into())
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Replaces a file of the folder. After a loss of power, it holds the old text or the new
/// one; once this has returned, the new one.
fn store(data: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(data)?;
    let mut file = NamedTempFile::new_in(data)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(data.join(name))?;
    // The renaming, too. Other systems open no folders.
    #[cfg(unix)]
    fs::File::open(data)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        member: Member,
    }

    fn member(flags: &[&str]) -> Member {
        let flags = [&["server", "--name=bob", "--data=bob"], flags].concat();
        Flags::try_parse_from(flags).unwrap().member
    }

    #[test]
    fn peers_have_numbers_of_their_own_or_their_position() {
        let member = member(&["--peers=alice=127.0.0.1,bob:7=127.0.0.1:8310,carol=127.0.0.3"]);
        let numbered = member.numbered().unwrap();
        let names: Vec<_> = numbered.iter().map(|(id, p)| (*id, &*p.name)).collect();
        assert_eq!(names, [(1, "alice"), (3, "carol"), (7, "bob")]);
        assert_eq!(member.http().unwrap().to_string(), "127.0.0.1:8510");
    }

    #[test]
    fn peers_that_share_a_name_number_or_port_are_refused() {
        for (peers, text) in [
            ("bob=127.0.0.1,bob=127.0.0.2", "bob twice"),
            ("bob=127.0.0.1,carol=127.0.0.1", "127.0.0.1:8300 twice"),
            ("bob=127.0.0.1,carol=127.0.0.1:8299", "127.0.0.1:8300 twice"),
            ("bob=127.0.0.1:1/2/2/4", "127.0.0.1:2 twice"),
            ("bob:2=127.0.0.1,carol=127.0.0.2", "the number 2"),
        ] {
            let error = member(&["--peers", peers]).http().unwrap_err();
            assert!(error.contains(text), "{peers}: {error}");
        }
        let both = member(&["--peers=bob=127.0.0.1", "--ip=127.0.0.2"]);
        assert!(both.http().unwrap_err().contains("leave --ip out"));
        let neither = member(&["--peers=alice=127.0.0.1"]);
        assert!(neither.http().unwrap_err().contains("not among"));
    }

    #[test]
    fn folder_keeps_the_number_and_the_intended_size() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        assert_eq!(own_number(&data, Some(3)).unwrap(), 3);
        assert_eq!(own_number(&data, None).unwrap(), 3);
        let other = own_number(&data, Some(4)).unwrap_err().to_string();
        assert!(other.contains("the number 3, not 4"), "{other}");
        fs::write(data.join("id"), "three").unwrap();
        assert!(own_number(&data, None).is_err());
        fs::remove_file(data.join("id")).unwrap();
        fs::write(data.join(store::FILE), "").unwrap();
        assert!(own_number(&data, None).is_err());
        // What autopilot intends stays until it is chosen again.
        assert_eq!(own_size(&data, None).unwrap(), None);
        assert_eq!(own_size(&data, Some(5)).unwrap(), Some(5));
        assert_eq!(own_size(&data, None).unwrap(), Some(5));
        assert_eq!(own_size(&data, Some(3)).unwrap(), Some(3));
        // Of two new servers, each has a number of its own.
        let new = [(); 2].map(|()| new_number().unwrap());
        assert!(new[0] > 1_000_000 && new[1] >= new[0]);
    }

    #[test]
    fn number_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old");
        store_number(folder.path(), 3).unwrap();
        // A second name of the file shows whether it is overwritten, and for a moment empty.
        fs::hard_link(folder.path().join("id"), &old).unwrap();
        store_number(folder.path(), 1_000_000).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "3");
        assert_eq!(own_number(folder.path(), None).unwrap(), 1_000_000);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn published_gossip_key_is_refused_on_a_network() {
        if std::env::var_os(GOSSIP_KEY).is_some() {
            return;
        }
        assert!(gossip_key([127, 0, 0, 1].into()).is_ok());
        for ip in ["0.0.0.0", "10.0.0.1", "::"] {
            let refused = gossip_key(ip.parse().unwrap()).unwrap_err().to_string();
            assert!(refused.contains(GOSSIP_KEY), "{refused}");
        }
    }
}
