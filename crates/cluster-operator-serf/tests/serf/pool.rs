//! A gossip pool on the loopback device.

use std::net::SocketAddr;
use std::time::Duration;

use cluster_operator::keyring::{GossipQuery, KeyChange, RingReport};
use cluster_operator::{GossipKey, KeyringBackend, Pool};
use cluster_operator_serf::SerfKeyring;
use serf::event::{Event, EventProducer};
use serf::net::NetTransportOptions;
use serf::tokio::{TokioNetTransport, TokioSocketAddrResolver, TokioTcp};
use serf::types::{EncryptionAlgorithm, MaybeResolvedAddress, MemberStatus, SecretKey, SmolStr};
use serf::{MemberlistOptions, Options, Serf};

pub(crate) type Transport = TokioNetTransport<SmolStr, TokioSocketAddrResolver, TokioTcp>;
pub(crate) type Node = Serf<Transport>;

/// A transport of nodes that have a name and a socket.
pub(crate) trait Reached:
    serf::transport::Transport<Id = SmolStr, ResolvedAddress = SocketAddr>
{
}
impl<T: serf::transport::Transport<Id = SmolStr, ResolvedAddress = SocketAddr>> Reached for T {}

pub(crate) fn key(n: u8) -> GossipKey {
    GossipKey::from_bytes(&[n; 32]).unwrap()
}

pub(crate) fn secret(key: &GossipKey) -> SecretKey {
    SecretKey::try_from(key.as_bytes()).unwrap()
}

/// Options that gossip often, and wait long before a node counts as dead, so that a busy
/// machine does not fail a test. A message is repeated as often as on a LAN: by default
/// these options repeat it so rarely that it can miss one of four nodes.
pub(crate) fn patient() -> MemberlistOptions {
    MemberlistOptions::local()
        .with_gossip_interval(Duration::from_millis(10))
        .with_retransmit_mult(4)
        .with_probe_interval(Duration::from_secs(5))
        .with_probe_timeout(Duration::from_secs(2))
}

/// Options that notice a dead node soon.
pub(crate) fn alert() -> MemberlistOptions {
    patient()
        .with_probe_interval(Duration::from_millis(200))
        .with_probe_timeout(Duration::from_millis(100))
        .with_suspicion_mult(2)
}

/// The same with these keys, the primary first.
pub(crate) fn encrypted(options: MemberlistOptions, ring: &[GossipKey]) -> MemberlistOptions {
    options
        .with_encryption_algo(EncryptionAlgorithm::default())
        .with_gossip_verify_outgoing(true)
        .with_primary_key(secret(&ring[0]))
        .with_secret_keys(ring[1..].iter().map(secret).collect())
}

pub(crate) fn options(memberlist: MemberlistOptions) -> Options {
    Options::new().with_memberlist_options(memberlist)
}

pub(crate) fn transport(
    name: &str,
) -> NetTransportOptions<SmolStr, TokioSocketAddrResolver, TokioTcp> {
    let mut transport = NetTransportOptions::new(name.into());
    transport.add_bind_address("127.0.0.1:0".parse().unwrap());
    transport
}

/// The keys in the options, the primary first.
pub(crate) fn keys(options: &Options) -> Vec<GossipKey> {
    let options = options.memberlist_options();
    let keys = options.primary_key().into_iter();
    let keys = keys.chain(options.secret_keys());
    keys.map(|key| GossipKey::from_bytes(key).unwrap())
        .collect()
}

/// Starts a node with the keys in its options, if there are any.
pub(crate) async fn node(name: &str, options: Options) -> Node {
    let keys = keys(&options);
    let new = |options| Node::new(transport(name), options);
    if keys.is_empty() {
        new(options).await.unwrap()
    } else {
        cluster_operator_serf::start(options, &keys, new)
            .await
            .unwrap()
    }
}

/// Starts a node for each of the options, named a, b, c, and so on, and waits until all
/// know each other.
pub(crate) async fn start(all: impl IntoIterator<Item = Options>) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (name, options) in ["a", "b", "c", "d", "e"].into_iter().zip(all) {
        nodes.push(node(name, options).await);
    }
    join(&nodes).await;
    nodes
}

pub(crate) async fn join<T: Reached>(nodes: &[Serf<T>]) {
    let first = *nodes[0].advertise_node().address();
    for node in &nodes[1..] {
        // On a busy machine a join can take longer than memberlist waits for it.
        until(async || {
            let first = MaybeResolvedAddress::resolved(first);
            node.join(first, false).await.is_ok()
        })
        .await;
    }
    for node in nodes {
        until(async || living(node).await == nodes.len()).await;
    }
}

/// A pool of three nodes that hold the same ring.
pub(crate) async fn three(ring: &[GossipKey]) -> Vec<Node> {
    start((0..3).map(|_| options(encrypted(patient(), ring)))).await
}

/// A pool of nodes with key 1. Also returns the names of the queries that the events of
/// the first node have shown since the last call.
pub(crate) async fn watched(size: usize) -> (Vec<Node>, impl Fn() -> Vec<String>) {
    let (producer, events) = EventProducer::unbounded();
    let ring = || options(encrypted(patient(), &[key(1)]));
    let keys = [key(1)];
    let first = cluster_operator_serf::start(ring(), &keys, |options| {
        Node::with_event_producer(transport("a"), options, producer)
    });
    let mut nodes = vec![first.await.unwrap()];
    for name in ["b", "c"].into_iter().take(size - 1) {
        nodes.push(node(name, ring()).await);
    }
    join(&nodes).await;
    let queries = move || {
        let events = std::iter::from_fn(|| events.try_recv().ok());
        let queries = events.filter_map(|event| match event {
            Event::Query(query) => Some(query.name().to_string()),
            _ => None,
        });
        queries.collect()
    };
    (nodes, queries)
}

pub(crate) fn keyring<T: Reached>(node: &Serf<T>) -> SerfKeyring<T> {
    SerfKeyring::new(Pool::Lan, node.clone(), None)
}

/// A query whose timeout is never reached.
pub(crate) fn query() -> GossipQuery {
    GossipQuery::new(Duration::from_secs(30))
}

/// A query for a pool in which a node is silent.
pub(crate) fn brief() -> GossipQuery {
    GossipQuery::new(Duration::from_millis(1500))
}

pub(crate) async fn list_with<T: Reached>(lan: &SerfKeyring<T>, query: GossipQuery) -> RingReport {
    lan.list(&query).await.unwrap();
    query.answers.report().unwrap()
}

pub(crate) async fn list<T: Reached>(lan: &SerfKeyring<T>) -> RingReport {
    list_with(lan, query()).await
}

pub(crate) async fn change_with(
    lan: &SerfKeyring<Transport>,
    change: KeyChange,
    query: GossipQuery,
) -> RingReport {
    lan.change(&change, &query).await.unwrap();
    query.answers.report().unwrap()
}

pub(crate) async fn install(lan: &SerfKeyring<Transport>, key: &GossipKey) -> RingReport {
    change_with(lan, KeyChange::Install(key.clone()), query()).await
}

pub(crate) async fn use_key(lan: &SerfKeyring<Transport>, key: &GossipKey) -> RingReport {
    change_with(lan, KeyChange::Use(key.clone()), query()).await
}

pub(crate) async fn remove(lan: &SerfKeyring<Transport>, key: &GossipKey) -> RingReport {
    change_with(lan, KeyChange::Remove(key.clone()), query()).await
}

/// The number of living members that a node sees.
pub(crate) async fn living<T: Reached>(node: &Serf<T>) -> usize {
    let members = node.members().await;
    let alive = members
        .iter()
        .filter(|member| *member.status() == MemberStatus::Alive);
    alive.count()
}

/// The ring of a node, the primary first and the others in order.
pub(crate) fn ring(node: &Node) -> Vec<GossipKey> {
    let ring = node.memberlist().keyring().unwrap();
    let mut keys: Vec<_> = ring
        .keys()
        .map(|key| GossipKey::from_bytes(&key).unwrap())
        .collect();
    keys[1..].sort();
    keys
}

/// Asserts that every node did what it was asked.
#[track_caller]
pub(crate) fn all_done(report: &RingReport, nodes: usize) {
    assert_eq!(
        (report.nodes, report.responses, report.errors),
        (nodes, nodes, 0),
        "{report:?}"
    );
    assert!(report.silent.is_empty(), "{report:?}");
}

/// Waits for a condition.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .expect("it never came to hold");
}
