//! What the checks do to a pool and ask of it, recorded step by step.

use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::fixture::sized_key;
use super::{KeyringFixture, Node, Rings, key};
use crate::fixture::{NotSupported, Stop, Trial, Verdict, ensure, same};
use cluster_operator::error::OperatorError;
use cluster_operator::keyring::{
    GossipQuery, KeyChange, KeyCounts, NodeFailure, NodeMessage, RelayFactor, RingReport,
};

/// How often a call is made before a node that does not answer counts as silent.
/// Gossip may lose a question or an answer, and the report says so; and each call can
/// be made again.
const TRIES: usize = 3;

/// All the nodes that a report counts.
const ALL: usize = usize::MAX;

/// How long a call runs before it is looked at again.
const PAUSE: Duration = Duration::from_millis(5);

/// A check in progress on a fixture's pool.
pub(super) type Gossip<'a> = Trial<'a, dyn KeyringFixture>;

/// A node of a pool that was whole when the check began.
pub(super) struct Asked<'a> {
    gossip: Gossip<'a>,
    node: Node,
    /// Whether its pool told primaries then. If so, it has to go on telling them.
    pub(super) tells_primaries: bool,
}

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

/// Waits until each node of the pool gets an answer from all.
pub(super) async fn ready(wanted: Rings, pool: Gossip<'_>) -> Verdict {
    pool.set_aliases(&NUMBERS);
    let wanted = wanted.rings().len();
    let nodes = pool.fixture.nodes();
    let names: Vec<_> = nodes.iter().map(|node| &node.name).collect();
    let expected = format!("a fixture of the {wanted} nodes that were wanted");
    ensure(nodes.len() == wanted, expected, names)?;
    let expected = format!(
        "a whole pool before the rule is tried: each of its {wanted} nodes lists with \
         {wanted} answers"
    );
    pool.until(&expected, || async {
        for node in &nodes {
            let query = pool.query();
            let listed = node.backend.list(&query).await;
            match query.answers.report() {
                Some(report) if report.nodes >= wanted && report.responses >= wanted => {}
                report => {
                    let name = &node.name;
                    return Err(format!(
                        "{name} never did, and the rule was not tried: either the nodes of the \
                         fixture have not joined, or the backend leaves one out. The last \
                         report was {report:?}, and the backend returned {listed:?}"
                    ));
                }
            }
        }
        Ok(())
    })
    .await
}

/// How the keys of the checks are shown, and what they are called instead.
static NUMBERS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let numbers = (0..=u8::MAX).flat_map(|number| [16, 24, 32].map(|bytes| (number, bytes)));
    numbers
        .map(|(number, bytes)| {
            let size = match bytes {
                32 => String::new(),
                bytes => format!(" of {bytes} bytes"),
            };
            let shown = format!("{:?}", sized_key(number, bytes));
            (shown, format!("key {number}{size}"))
        })
        .collect()
});

impl<'a> Gossip<'a> {
    pub(super) fn query(&self) -> GossipQuery {
        GossipQuery::new(self.timeout())
    }

    /// The nodes, before anything has been asked of them.
    pub(super) async fn nodes<const N: usize>(&self) -> Result<[Asked<'a>; N], Stop> {
        let nodes = self.fixture.nodes();
        let seen = nodes.len();
        let nodes = nodes.into_iter().map(|node| Asked {
            gossip: *self,
            node,
            tells_primaries: false,
        });
        let Ok(mut nodes) = <[Asked<'a>; N]>::try_from(nodes.collect::<Vec<_>>()) else {
            let expected = format!("{N} nodes in the fixture, as before");
            return Err(Stop::failed(expected, seen.to_string()));
        };
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

impl Deref for Asked<'_> {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// A change in words, or a listing.
fn wording(change: Option<&KeyChange>) -> String {
    change.map_or_else(|| "list".into(), |change| format!("{change:?}"))
}

impl Asked<'_> {
    /// Makes a call, whatever comes of it.
    pub(super) async fn call(
        &self,
        change: Option<&KeyChange>,
        query: &GossipQuery,
    ) -> Result<(), OperatorError> {
        let result = match change {
            None => self.backend.list(query).await,
            Some(change) => self.backend.change(change, query).await,
        };
        let answered = match query.answers.report() {
            None => "nobody was asked".into(),
            Some(report) => format!(
                "{} of {} nodes answered, {} of them failed",
                report.responses, report.nodes, report.errors
            ),
        };
        let error = match &result {
            Ok(()) => String::new(),
            Err(error) => format!("; {error}"),
        };
        self.gossip.step(format!(
            "{} of {}: {answered}{error}",
            wording(change),
            self.name
        ));
        result
    }

    /// Asks until at least so many nodes have answered, a few times at most.
    async fn ask(
        &self,
        least: usize,
        change: Option<&KeyChange>,
        relay: RelayFactor,
    ) -> Result<RingReport, Stop> {
        let mut tries = 0;
        loop {
            tries += 1;
            let query = self.gossip.query().with_relay(relay);
            let result = self.call(change, &query).await;
            let report = match (result, query.answers.report()) {
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

    pub(super) async fn list(&self) -> Result<RingReport, Stop> {
        self.list_of(ALL).await
    }

    /// Lists where only so many nodes answer.
    pub(super) async fn list_of(&self, least: usize) -> Result<RingReport, Stop> {
        self.ask(least, None, RelayFactor::default()).await
    }

    /// Lists through so many other nodes.
    pub(super) async fn relayed_list(&self, relay: RelayFactor) -> Result<RingReport, Stop> {
        self.ask(ALL, None, relay).await
    }

    pub(super) async fn change(&self, change: &KeyChange) -> Result<RingReport, Stop> {
        self.change_of(ALL, change).await
    }

    /// Changes the rings where only so many nodes answer.
    pub(super) async fn change_of(
        &self,
        least: usize,
        change: &KeyChange,
    ) -> Result<RingReport, Stop> {
        self.ask(least, Some(change), RelayFactor::default()).await
    }

    /// Changes the rings through so many other nodes.
    pub(super) async fn relayed_change(
        &self,
        change: &KeyChange,
        relay: RelayFactor,
    ) -> Result<RingReport, Stop> {
        self.ask(ALL, Some(change), relay).await
    }

    /// Changes every ring, which has to succeed on so many nodes.
    pub(super) async fn done(&self, nodes: usize, change: &KeyChange) -> Verdict {
        let report = self.change(change).await?;
        all_done(change, nodes, &report)
    }

    /// Lists, which has to succeed on so many nodes.
    pub(super) async fn listed(&self, nodes: usize) -> Result<RingReport, Stop> {
        let report = self.list().await?;
        all_done(format_args!("a listing"), nodes, &report)?;
        Ok(report)
    }

    /// That so many nodes list, and each key is on as many as expected.
    pub(super) async fn lists(&self, nodes: usize, keys: &KeyCounts) -> Verdict {
        let report = self.listed(nodes).await?;
        same("on how many nodes each key is", keys, &report.keys)
    }

    /// That so many nodes list, and these are their primaries.
    pub(super) async fn has_primaries(&self, nodes: usize, expected: &KeyCounts) -> Verdict {
        let report = self.listed(nodes).await?;
        let Some(seen) = self.primaries(&report)? else {
            return Err(NotSupported::new("the backend tells no primaries").into());
        };
        same("on how many nodes each key is the primary", expected, seen)
    }

    /// The primaries of a listing, if the backend tells them at all.
    pub(super) fn primaries<'r>(
        &self,
        report: &'r RingReport,
    ) -> Result<Option<&'r KeyCounts>, Stop> {
        if !self.tells_primaries {
            return Ok(None);
        }
        let expected = "the primaries, which were told when the check began";
        ensure(!report.primary_keys.is_empty(), expected, report)?;
        Ok(Some(&report.primary_keys))
    }

    /// That these are the primaries of a listing, if the backend tells them at all.
    pub(super) fn tells(&self, expected: &KeyCounts, report: &RingReport) -> Verdict {
        match self.primaries(report)? {
            Some(primaries) => same("the primaries", expected, primaries),
            None => Ok(()),
        }
    }

    /// That so many nodes have a primary, if the backend tells them at all.
    pub(super) fn tells_primaries_of(&self, nodes: usize, report: &RingReport) -> Verdict {
        match self.primaries(report)? {
            Some(primaries) => {
                let on: usize = primaries.iter().map(|(_, count)| count).sum();
                same("nodes with a primary", &nodes, &on)
            }
            None => Ok(()),
        }
    }

    /// That a call has changed nothing: the listing is as before.
    pub(super) async fn unchanged(&self, before: &RingReport) -> Verdict {
        let after = self.list().await?;
        let holds = after.keys == before.keys && after.primary_keys == before.primary_keys;
        let expected = format_args!("the rings as before: {before:?}");
        ensure(holds, expected, after)
    }

    /// That the node's own ring has this primary, if the backend tells primaries. Its
    /// own answer is always heard.
    pub(super) async fn keeps_primary(&self, number: u8) -> Verdict {
        let report = self.list_of(1).await?;
        let Some(primaries) = self.primaries(&report)? else {
            return Ok(());
        };
        let expected = format_args!("{} to keep its primary, {:?}", self.name, key(number));
        ensure(primaries.get(&key(number)) >= 1, expected, &report)
    }

    /// Makes a call while the node `late` is late, and drops it once `quick` has
    /// answered.
    pub(super) async fn drop_once_heard(
        &self,
        change: Option<&KeyChange>,
        quick: &Node,
        late: &Node,
    ) -> Verdict {
        let expected = format!(
            "{} of {}: the answer of {} while {} is late and the call runs",
            wording(change),
            self.name,
            quick.name,
            late.name
        );
        let mut seen = String::new();
        for _ in 0..TRIES {
            self.gossip.step(format!(
                "{} of {}, to be dropped once {} has answered",
                wording(change),
                self.name,
                quick.name
            ));
            let query = self.gossip.query();
            let heard = async {
                loop {
                    self.gossip.fixture.timer().sleep(PAUSE).await;
                    match query.answers.report() {
                        Some(report) if !report.silent.contains(&quick.name) => break report,
                        _ => {}
                    }
                }
            };
            match select(pin!(self.call(change, &query)), pin!(heard)).await {
                Either::Right((report, _)) => {
                    let holds = report.nodes == 3 && report.errors == 0;
                    return ensure(holds, expected, report);
                }
                // Gossip may have lost the question, or the late node was quick.
                Either::Left((result, _)) => {
                    let report = query.answers.report();
                    seen = format!("the call ended with {result:?} and {report:?}");
                }
            }
        }
        Err(Stop::failed(expected, seen))
    }
}

/// That so many nodes were asked, and all have done it.
pub(super) fn all_done(what: impl fmt::Debug, nodes: usize, report: &RingReport) -> Verdict {
    let numbers = (report.nodes, report.responses, report.errors);
    let expected = format_args!("{what:?}: done by {nodes} of {nodes} nodes");
    ensure(numbers == (nodes, nodes, 0), expected, report)
}

/// The keys of these numbers, each on so many nodes.
pub(super) fn counts<const K: usize>(numbers: [(u8, usize); K]) -> KeyCounts {
    let counts = numbers.into_iter();
    counts.map(|(number, count)| (key(number), count)).collect()
}

/// That all nodes use this key: as a listing tells or, where none tells primaries, as
/// they refuse to remove it.
pub(super) async fn all_use(nodes: &[Asked<'_>; 3], number: u8) -> Verdict {
    let node = &nodes[0];
    if node.tells_primaries {
        return node.has_primaries(3, &counts([(number, 3)])).await;
    }
    let report = node.change(&remove(number)).await?;
    failed(nodes, &NodeFailure::PrimaryKey, &report)
}

/// That two listings tell the same. Notes are a node's own words, and may differ.
pub(super) fn same_listing(what: &str, expected: &RingReport, seen: &RingReport) -> Verdict {
    let [expected, seen] = [expected, seen].map(|report| {
        let mut report = report.clone();
        let is_note = |message: &NodeMessage| matches!(message, NodeMessage::Note(_));
        report.messages.retain(|_, message| !is_note(message));
        report
    });
    same(what, &expected, &seen)
}

/// That these nodes have failed, each with this reason, and no others.
pub(super) fn failed<'a>(
    nodes: impl IntoIterator<Item = &'a Asked<'a>>,
    failure: &NodeFailure,
    report: &RingReport,
) -> Verdict {
    let mut names: Vec<_> = nodes.into_iter().map(|node| &node.node.name).collect();
    names.sort();
    let told: Vec<_> = report.failures().collect();
    let expected: Vec<_> = names.iter().map(|name| (*name, failure)).collect();
    let holds = told == expected && report.errors == names.len();
    ensure(holds, format_args!("{failure:?} of {names:?}"), report)
}
