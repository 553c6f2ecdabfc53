//! A gossip pool: who is there, and an encrypted channel among them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cluster_operator::GossipKey;
use serf::net::NetTransportOptions;
use serf::tokio::{TokioSocketAddrResolver, TokioTcp, TokioTcpSerf};
use serf::types::{EncryptionAlgorithm, MaybeResolvedAddress, MemberStatus, SecretKey, SmolStr};
use serf::{DefaultDelegate, MemberlistOptions, Options};

use super::keyring;

type Transport =
    serf::net::NetTransport<SmolStr, TokioSocketAddrResolver, TokioTcp, serf::tokio::TokioRuntime>;

/// An agent of a pool. Clones are the same agent.
pub type Gossip = TokioTcpSerf<SmolStr, TokioSocketAddrResolver, DefaultDelegate<Transport>>;

/// An error of the agent.
pub type GossipError = serf::error::Error<Transport, DefaultDelegate<Transport>>;

/// Which pool an agent is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The servers of a datacenter.
    Lan,
    /// The servers of all datacenters.
    Wan,
}

/// How to start an agent.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// The pool.
    pub pool: Pool,
    /// The name of the agent, which no other one of the pool has.
    pub name: String,
    /// Where to listen, on TCP and UDP; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The key that the pool starts with.
    pub key: GossipKey,
    /// Where the keys of a later rotation are kept.
    pub keyring: Option<PathBuf>,
    /// What the others get to know of this server.
    pub about: About,
}

/// What a server tells the others of itself, in the tags of its agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its datacenter.
    pub datacenter: String,
    /// Where it serves its HTTP API.
    pub http: SocketAddr,
}

/// A server of a pool, as an agent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name of its agent.
    pub name: SmolStr,
    /// What it tells of itself.
    pub about: About,
    /// Whether it is there, has left, or has failed.
    pub status: MemberStatus,
}

/// Starts an agent.
///
/// # Errors
/// When the address is taken, or the keyring cannot be read.
pub async fn start(settings: AgentSettings) -> io::Result<Gossip> {
    let mut transport = NetTransportOptions::new(SmolStr::new(&settings.name));
    transport.add_bind_address(settings.bind);

    let keys = keyring::load(settings.keyring.as_deref(), &settings.key)?;
    let options = Options::default()
        .with_memberlist_options(encrypted(tuned(settings.pool), keys))
        .with_keyring_file(settings.keyring)
        // A failed server is looked for often, as it is near and soon back.
        .with_reconnect_interval(Duration::from_secs(1))
        .with_leave_propagate_delay(Duration::from_millis(300))
        .with_tags(settings.about.tags().into_iter());
    Gossip::new(transport, options)
        .await
        .map_err(io::Error::other)
}

/// Where an agent listens, and the others find it.
pub fn address(agent: &Gossip) -> SocketAddr {
    *agent.advertise_node().address()
}

/// Asks until one of these addresses has answered; the rest of the pool is then
/// told by gossip. The agent's own address among them is passed over, so that all
/// servers may be given the same list.
///
/// # Cancel safety
/// Dropping the future stops asking.
pub async fn join(agent: &Gossip, others: &[SocketAddr]) {
    let own = address(agent);
    let others: Vec<_> = others.iter().filter(|&&other| other != own).collect();
    if others.is_empty() {
        return;
    }
    loop {
        for &&other in &others {
            let joined = agent.join(MaybeResolvedAddress::resolved(other), true);
            if joined.await.is_ok() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The servers of the pool, this one among them, by name.
pub async fn members(agent: &Gossip) -> Vec<Member> {
    let members = agent.members().await;
    let mut members: Vec<_> = members
        .iter()
        .filter_map(|member| {
            Some(Member {
                name: member.node().id().clone(),
                // Anything else that has the key is no server.
                about: About::from_tags(|name| member.tags().get(name).map(SmolStr::as_str))?,
                status: *member.status(),
            })
        })
        .collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

impl About {
    fn tags(&self) -> [(&'static str, SmolStr); 2] {
        [
            ("dc", SmolStr::new(&self.datacenter)),
            ("http", SmolStr::new(self.http.to_string())),
        ]
    }

    fn from_tags<'a>(tag: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        Some(Self {
            datacenter: tag("dc")?.to_owned(),
            http: tag("http")?.parse().ok()?,
        })
    }
}

/// All servers of the examples are on one machine, so both pools take the short
/// times of the loopback profile: a failure shows within seconds. Servers on
/// networks take `MemberlistOptions::lan()` and `MemberlistOptions::wan()`.
fn tuned(pool: Pool) -> MemberlistOptions {
    let options = MemberlistOptions::local()
        // Of three servers, one may be alone with its suspicion of another. It gives
        // up on it after twice, and not six times, the time that two would take.
        .with_suspicion_max_timeout_mult(2)
        // A question to the keyrings is passed on by chance, this often by each
        // server. Twice, as the profile has it, leaves one of six out now and then.
        .with_retransmit_mult(8);
    match pool {
        Pool::Lan => options.with_probe_interval(Duration::from_millis(500)),
        Pool::Wan => options,
    }
}

/// Both directions have to be asked for: a key alone does not encrypt.
fn encrypted(options: MemberlistOptions, keys: Vec<SecretKey>) -> MemberlistOptions {
    options
        .with_encryption_algo(EncryptionAlgorithm::NoPadding)
        .with_gossip_verify_outgoing(true)
        .with_gossip_verify_incoming(true)
        .maybe_primary_key(keys.first().copied())
        .with_secret_keys(keys.into_iter().collect())
}
