//! The fixture of a keyring, and what the checks do with it, recorded step by step.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::error::OperatorError;
use cluster_operator::keyring::{
    GossipKey, GossipQuery, KeyChange, KeyCounts, KeyringBackend, NodeFailure, RelayFactor,
    RingReport,
};
use cluster_operator::types::NodeName;

use crate::fixture::{Fixture, NotSupported, Stop, Trial, Verdict, ensure, exactly, same};
use crate::secret::key;

/// The nodes that a check needs, and their rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rings {
    numbers: &'static [&'static [u8]],
}

impl Rings {
    /// For each node the [numbers](key) of its keys, the primary first; none for a node
    /// that gossips in clear text.
    pub const fn new(numbers: &'static [&'static [u8]]) -> Self {
        Rings { numbers }
    }

    /// For each node its keys, the primary first; none for a node that gossips in clear
    /// text. Nodes that gossip with each other hold each other's primaries.
    pub fn rings(&self) -> Vec<Vec<GossipKey>> {
        let ring = |numbers: &&[u8]| numbers.iter().copied().map(key).collect();
        self.numbers.iter().map(ring).collect()
    }
}

/// A node of the pool.
#[derive(Clone)]
pub struct Node {
    /// Its name, as the backends report it.
    pub name: NodeName,
    /// The backend under test, in this node.
    pub backend: Arc<dyn KeyringBackend>,
}

impl Node {
    /// A node of the pool.
    pub fn new(name: impl Into<NodeName>, backend: impl KeyringBackend + 'static) -> Self {
        Node {
            name: name.into(),
            backend: Arc::new(backend),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.name)
    }
}

/// A pool of the nodes that were wanted, all of them up.
///
/// They need not have joined yet: a check waits until all of them answer. What a fixture
/// cannot do, it leaves at the default, which is [`NotSupported`]; the checks that need it
/// are skipped.
#[allow(unused_variables)]
#[async_trait]
pub trait KeyringFixture: Fixture {
    /// The nodes, in the order of the rings that were wanted.
    fn nodes(&self) -> Vec<Node>;

    /// Reads a node's ring, the primary first, without its backend.
    async fn ring(&self, node: &NodeName) -> Result<Vec<GossipKey>, NotSupported> {
        NotSupported::cannot("look into a node's ring")
    }

    /// Stops a node for good, without a leave message. Returns once nothing of it runs;
    /// the others may not have noticed.
    async fn stop(&self, node: &NodeName) -> Result<(), NotSupported> {
        NotSupported::cannot("stop a node")
    }

    /// Waits until all nodes that are up have noticed that a stopped one is down.
    async fn noticed(&self, node: &NodeName) -> Result<(), NotSupported> {
        NotSupported::cannot("tell when a stopped node is noticed")
    }

    /// Delays by this time what a node answers, and what it changes.
    async fn slow_down(&self, node: &NodeName, by: Duration) -> Result<(), NotSupported> {
        NotSupported::cannot("slow a node down")
    }
}

/// How often a call is made before a node that does not answer counts as silent. Gossip
/// may lose a question or an answer, and each call can be repeated.
const TRIES: usize = 3;

/// All the nodes that a report counts.
const ALL: usize = usize::MAX;

pub(super) fn install(number: u8) -> KeyChange {
    KeyChange::Install(key(number))
}

pub(super) fn use_key(number: u8) -> KeyChange {
    KeyChange::Use(key(number))
}

pub(super) fn remove(number: u8) -> KeyChange {
    KeyChange::Remove(key(number))
}

/// One change of each kind.
pub(super) fn changes(number: u8) -> [KeyChange; 3] {
    [install(number), use_key(number), remove(number)]
}

/// The keys of these numbers, each on so many nodes.
pub(super) fn counts<const K: usize>(numbers: [(u8, usize); K]) -> KeyCounts {
    let counts = numbers.into_iter();
    counts.map(|(number, count)| (key(number), count)).collect()
}

/// A check in progress on a fixture's pool.
pub(super) type Gossip<'a> = Trial<'a, dyn KeyringFixture>;

/// Waits until each node of the pool gets an answer from all.
pub(super) async fn ready(wanted: Rings, pool: Gossip<'_>) -> Verdict {
    let wanted = wanted.numbers.len();
    let nodes = pool.fixture.nodes();
    let names: Vec<_> = nodes.iter().map(|node| &node.name).collect();
    let expected = format!("a fixture of the {wanted} nodes that were wanted");
    ensure(nodes.len() == wanted, expected, names)?;
    let expected = "a whole pool before the rule is tested: each node lists with all answers";
    pool.until(expected, || async {
        for node in &nodes {
            let query = pool.query();
            let listed = node.backend.list(&query).await;
            let report = query.answers.report();
            let all = |it: &RingReport| it.nodes >= wanted && it.responses >= wanted;
            if !report.as_ref().is_some_and(all) {
                return Err(format!(
                    "{}: the nodes of the fixture have not joined, or the backend leaves one \
                     out. It returned {listed:?}, with the report {report:?}",
                    node.name
                ));
            }
        }
        Ok(())
    })
    .await
}

impl<'a> Gossip<'a> {
    pub(super) fn query(&self) -> GossipQuery {
        GossipQuery::new(self.timeout())
    }

    /// The nodes, before anything has been asked of them.
    pub(super) async fn nodes<const N: usize>(&self) -> Result<[Asked<'a>; N], Stop> {
        let asked = |node| Asked {
            gossip: *self,
            node,
            tells_primaries: false,
            relay: RelayFactor::default(),
        };
        let mut nodes: [Asked<'a>; N] =
            exactly("nodes", self.fixture.nodes().into_iter().map(asked))?;
        let tells_primaries = !nodes[0].list().await?.primary_keys.is_empty();
        for node in &mut nodes {
            node.tells_primaries = tells_primaries;
        }
        Ok(nodes)
    }

    pub(super) async fn stop(&self, node: &Node) -> Result<(), NotSupported> {
        self.step(format!("stop {}", node.name));
        self.fixture.stop(&node.name).await
    }

    pub(super) async fn noticed(&self, node: &Node) -> Result<(), NotSupported> {
        self.step(format!("the others notice that {} is down", node.name));
        self.fixture.noticed(&node.name).await
    }

    pub(super) async fn slow_down(&self, node: &Node, by: Duration) -> Result<(), NotSupported> {
        self.step(format!("slow {} down by {by:?}", node.name));
        self.fixture.slow_down(&node.name, by).await
    }
}

/// A node of a pool that was whole when the check began.
pub(super) struct Asked<'a> {
    gossip: Gossip<'a>,
    node: Node,
    /// Whether its pool showed primaries then. If so, it has to go on showing them.
    pub(super) tells_primaries: bool,
    /// The relay factor of its calls.
    pub(super) relay: RelayFactor,
}

impl Deref for Asked<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// A change in words, or a listing.
pub(super) fn wording(change: Option<&KeyChange>) -> String {
    change.map_or_else(|| "list".into(), |change| format!("{change:?}"))
}

impl Asked<'_> {
    /// Makes a call, whatever its result.
    pub(super) async fn call(
        &self,
        change: Option<&KeyChange>,
        query: &GossipQuery,
    ) -> Result<(), OperatorError> {
        let result = match change {
            None => self.backend.list(query).await,
            Some(change) => self.backend.change(change, query).await,
        };
        let mut step = format!("{} of {}: ", wording(change), self.name);
        step += &match query.answers.report() {
            None => "no node was asked".into(),
            Some(report) => format!(
                "{} of {} nodes answered, {} of them failed",
                report.responses, report.nodes, report.errors
            ),
        };
        if let Err(error) = &result {
            step += &format!("; {error}");
        }
        self.gossip.step(step);
        result
    }

    /// Asks until at least so many nodes have answered, a few times at most.
    pub(super) async fn ask(
        &self,
        least: usize,
        change: Option<&KeyChange>,
    ) -> Result<RingReport, Stop> {
        let mut tries = 0;
        loop {
            tries += 1;
            let query = self.gossip.query().with_relay(self.relay);
            let report = match (self.call(change, &query).await, query.answers.report()) {
                (Ok(()), Some(report)) => report,
                other => {
                    let expected = format!("{} of {} to ask the nodes", wording(change), self.name);
                    return Err(Stop::failed(expected, format!("{other:?}")));
                }
            };
            if tries == TRIES || report.responses >= least.min(report.nodes) {
                return Ok(report);
            }
        }
    }

    /// Lists, where all nodes are meant to answer.
    pub(super) async fn list(&self) -> Result<RingReport, Stop> {
        self.ask(ALL, None).await
    }

    /// Changes the rings, where all nodes are meant to answer.
    pub(super) async fn change(&self, change: &KeyChange) -> Result<RingReport, Stop> {
        self.ask(ALL, Some(change)).await
    }

    /// Lists, which so many nodes have to do.
    pub(super) async fn listed(&self, nodes: usize) -> Result<RingReport, Stop> {
        let report = self.list().await?;
        all_done("a listing", nodes, &report)?;
        Ok(report)
    }

    /// Changes the rings, which so many nodes have to do.
    pub(super) async fn done(&self, nodes: usize, change: &KeyChange) -> Verdict {
        let report = self.change(change).await?;
        all_done(format_args!("{change:?}"), nodes, &report)
    }

    /// Checks that so many nodes list these keys, and use these primaries, if the backend
    /// shows them.
    pub(super) async fn shows<const K: usize, const P: usize>(
        &self,
        nodes: usize,
        keys: [(u8, usize); K],
        primaries: [(u8, usize); P],
    ) -> Verdict {
        let report = self.listed(nodes).await?;
        same("on how many nodes each key is", &counts(keys), &report.keys)?;
        self.tells(&counts(primaries), &report)
    }

    /// Checks the primaries of a listing, if the backend showed them when the check began.
    pub(super) fn tells_that(
        &self,
        expected: impl fmt::Display,
        report: &RingReport,
        holds: impl FnOnce(&KeyCounts) -> bool,
    ) -> Verdict {
        let holds = !self.tells_primaries || holds(&report.primary_keys);
        ensure(holds, format_args!("primaries: {expected}"), report)
    }

    /// Checks on how many nodes each key is the primary.
    pub(super) fn tells(&self, expected: &KeyCounts, report: &RingReport) -> Verdict {
        let shown = format!("{expected:?}");
        self.tells_that(shown, report, |primaries| primaries == expected)
    }

    /// Checks that so many nodes have a primary.
    pub(super) fn tells_primaries_of(&self, nodes: usize, report: &RingReport) -> Verdict {
        let sum = |primaries: &KeyCounts| primaries.iter().map(|(_, count)| count).sum::<usize>();
        let expected = format!("of {nodes} nodes");
        self.tells_that(expected, report, |primaries| sum(primaries) == nodes)
    }

    /// Checks that the node's own ring has this primary. Its own answer is always heard.
    pub(super) async fn keeps_primary(&self, number: u8) -> Verdict {
        let report = self.ask(1, None).await?;
        let expected = format!("{:?}, kept by {}", key(number), self.name);
        self.tells_that(expected, &report, |primaries| {
            primaries.get(&key(number)) >= 1
        })
    }
}

/// Checks that so many nodes were asked, and all have done it.
fn all_done(what: impl fmt::Display, nodes: usize, report: &RingReport) -> Verdict {
    let numbers = (report.nodes, report.responses, report.errors);
    let expected = format!("{what}: done by {nodes} of {nodes} nodes");
    ensure(numbers == (nodes, nodes, 0), expected, report)
}

/// Checks that these nodes have failed, each with this reason, and no others.
pub(super) fn failed<'a>(
    nodes: impl IntoIterator<Item = &'a Asked<'a>>,
    failure: &NodeFailure,
    report: &RingReport,
) -> Verdict {
    let mut names: Vec<_> = nodes.into_iter().map(|node| &node.node.name).collect();
    names.sort();
    let seen: Vec<_> = report.failures().collect();
    let expected: Vec<_> = names.iter().map(|name| (*name, failure)).collect();
    let holds = seen == expected && report.errors == names.len();
    ensure(holds, format_args!("{failure:?} of {names:?}"), report)
}

/// Checks that all nodes use this key, which [`Asked::shows`] does not see if the backend
/// shows no primaries: they refuse to remove it.
pub(super) async fn all_use(nodes: &[Asked<'_>; 3], number: u8) -> Verdict {
    if nodes[0].tells_primaries {
        return Ok(());
    }
    let report = nodes[0].change(&remove(number)).await?;
    failed(nodes, &NodeFailure::PrimaryKey, &report)
}
