//! An encrypted gossip pool and its members.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cluster_operator::GossipKey;
use serf::net::NetTransportOptions;
use serf::tokio::{TokioNetTransport, TokioSocketAddrResolver, TokioTcp};
use serf::types::{MaybeResolvedAddress, MemberStatus, SmolStr};
use serf::{MemberlistOptions, Options, Serf};

/// An agent of a pool. Clones are the same agent.
pub type Gossip = Serf<TokioNetTransport<SmolStr, TokioSocketAddrResolver, TokioTcp>>;

/// The pool of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The pool of the servers of one datacenter.
    Lan,
    /// The pool of the servers of all datacenters.
    Wan,
}

/// The settings of an agent.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// The pool.
    pub pool: Pool,
    /// The name of the agent, unique in the pool.
    pub name: String,
    /// The address to listen on, for TCP and UDP. Port 0 selects a free port.
    pub bind: SocketAddr,
    /// The key of a new pool.
    pub key: GossipKey,
    /// The keyring file, which holds the keys after a rotation.
    pub keyring: Option<PathBuf>,
    /// The tags of this server.
    pub about: About,
}

/// The data of a server in the tags of its agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its datacenter.
    pub datacenter: String,
    /// The address of its HTTP API.
    pub http: SocketAddr,
}

/// A member of a pool in an agent's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name of its agent.
    pub name: SmolStr,
    /// Its tags.
    pub about: About,
    /// Its status: alive, left or failed.
    pub status: MemberStatus,
}

/// Starts an agent.
///
/// The keyring file takes precedence over the configured key, as in Consul, because the
/// key may have been rotated.
///
/// # Errors
/// The address is in use, or the keyring file cannot be read. serf does not replace the
/// file atomically, so a crash during a rotation can truncate it. Copy the file of another
/// server of the pool in this case.
pub async fn start(settings: AgentSettings) -> io::Result<Gossip> {
    let mut transport = NetTransportOptions::new(SmolStr::new(&settings.name));
    transport.add_bind_address(settings.bind);
    let options = Options::default()
        .with_memberlist_options(tuned(settings.pool))
        .with_keyring_file(settings.keyring)
        // Failed servers are local and restart soon, so reconnect often.
        .with_reconnect_interval(Duration::from_secs(1))
        .with_leave_propagate_delay(Duration::from_millis(300))
        .with_tags(settings.about.tags().into_iter());
    cluster_operator_serf::start(options, &[settings.key], |options| {
        Gossip::new(transport, options)
    })
    .await
    .map_err(io::Error::other)
}

/// Returns the address at which other agents reach this one.
pub fn address(agent: &Gossip) -> SocketAddr {
    *agent.advertise_node().address()
}

/// Tries each of these addresses until it answers. One answer would be enough in a pool that
/// exists, but servers that start at the same moment could form several pools, each of
/// servers that found only one another. The agent's own address is skipped, so that all
/// servers can use the same list.
///
/// # Cancel safety
/// Dropping the future stops the attempts.
pub async fn join(agent: &Gossip, others: &[SocketAddr]) {
    let own = address(agent);
    let others = others.iter().copied();
    let mut missing: Vec<_> = others.filter(|other| *other != own).collect();
    let mut pause = Duration::from_millis(500);
    loop {
        let mut silent = Vec::new();
        for other in missing {
            let joined = agent.join(MaybeResolvedAddress::resolved(other), true);
            if joined.await.is_err() {
                silent.push(other);
            }
        }
        if silent.is_empty() {
            return;
        }
        missing = silent;
        tokio::time::sleep(pause).await;
        // It may be down for good.
        pause = (pause * 2).min(Duration::from_secs(8));
    }
}

/// Returns the servers of the pool, including this one, ordered by name.
pub async fn members(agent: &Gossip) -> Vec<Member> {
    let members = agent.members().await;
    let mut members: Vec<_> = members
        .iter()
        .filter_map(|member| {
            Some(Member {
                name: member.node().id().clone(),
                // A member without the tags is not a server.
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

/// Returns the options of a pool. All servers are on one machine, so both pools use the
/// short timeouts of the loopback profile, which detects failures within seconds. On a
/// network, use `MemberlistOptions::lan()` and `MemberlistOptions::wan()`.
fn tuned(pool: Pool) -> MemberlistOptions {
    let options = MemberlistOptions::local()
        // With three servers, a single server may suspect a failed one without
        // confirmation. It then waits twice the normal timeout instead of six times.
        .with_suspicion_max_timeout_mult(2);
    match pool {
        Pool::Lan => options.with_probe_interval(Duration::from_millis(500)),
        Pool::Wan => options,
    }
}
