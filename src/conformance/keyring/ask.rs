//! What the keyring checks ask of a pool.

use std::ops::Deref;

use super::{KeyringFixture, Node, key};
use crate::conformance::NotSupported;
use crate::conformance::verdict::{Stop, Verdict, ensure, same};
use crate::error::OperatorError;
use crate::keyring::{GossipKey, KeyCounts, NodeFailure, NodeMessage, RelayFactor, RingReport};

/// A node of a pool that was whole when the check began.
pub(super) struct Asked {
    node: Node,
    /// Whether its pool has told primaries then. What it could tell once, it has
    /// to go on telling.
    pub(super) tells_primaries: bool,
}

impl Deref for Asked {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

/// A change to every ring of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Install,
    Use,
    Remove,
}

impl Change {
    pub(super) const ALL: [Change; 3] = [Change::Install, Change::Use, Change::Remove];

    /// Asks this node for it.
    pub(super) async fn call(
        self,
        node: &Node,
        key: &GossipKey,
        relay: RelayFactor,
    ) -> Result<RingReport, OperatorError> {
        match self {
            Change::Install => node.backend.install(key, relay).await,
            Change::Use => node.backend.use_key(key, relay).await,
            Change::Remove => node.backend.remove(key, relay).await,
        }
    }
}

/// What a pool has to be able to say, whatever its nodes say.
fn report(
    node: &Node,
    what: &str,
    answer: Result<RingReport, OperatorError>,
) -> Result<RingReport, Stop> {
    answer.map_err(|error| {
        let expected = format!("{} to report what the nodes say to {what}", node.name);
        Stop::failed(expected, format!("{error:?}"))
    })
}

/// How often a call is made before a node that does not answer counts as silent.
/// Gossip may lose a question or an answer, and tells so; and each call can be
/// made again.
const TRIES: usize = 3;

/// All the nodes that a report counts.
const ALL: usize = usize::MAX;

fn is_heard(report: &RingReport, least: usize) -> bool {
    report.responses >= least.min(report.nodes)
}

/// What a listing through this node tells.
pub(super) async fn list(node: &Node) -> Result<RingReport, Stop> {
    list_with(node, ALL, RelayFactor::default()).await
}

/// The same where only so many nodes answer.
pub(super) async fn list_of(node: &Node, least: usize) -> Result<RingReport, Stop> {
    list_with(node, least, RelayFactor::default()).await
}

/// The same through so many other nodes.
pub(super) async fn relayed_list(node: &Node, relay: RelayFactor) -> Result<RingReport, Stop> {
    list_with(node, ALL, relay).await
}

async fn list_with(node: &Node, least: usize, relay: RelayFactor) -> Result<RingReport, Stop> {
    let mut tries = 0;
    loop {
        tries += 1;
        let report = report(node, "a listing", node.backend.list(relay).await)?;
        if tries == TRIES || is_heard(&report, least) {
            return Ok(report);
        }
    }
}

/// What a change through this node tells.
pub(super) async fn change(
    node: &Node,
    change: Change,
    key: &GossipKey,
) -> Result<RingReport, Stop> {
    change_with(node, ALL, change, key, RelayFactor::default()).await
}

/// The same where only so many nodes answer.
pub(super) async fn change_of(
    node: &Node,
    least: usize,
    change: Change,
    key: &GossipKey,
) -> Result<RingReport, Stop> {
    change_with(node, least, change, key, RelayFactor::default()).await
}

/// The same through so many other nodes.
pub(super) async fn relayed_change(
    node: &Node,
    change: Change,
    key: &GossipKey,
    relay: RelayFactor,
) -> Result<RingReport, Stop> {
    change_with(node, ALL, change, key, relay).await
}

async fn change_with(
    node: &Node,
    least: usize,
    change: Change,
    key: &GossipKey,
    relay: RelayFactor,
) -> Result<RingReport, Stop> {
    let mut tries = 0;
    loop {
        tries += 1;
        let answer = change.call(node, key, relay).await;
        let report = report(node, &format!("{change:?}"), answer)?;
        if tries == TRIES || is_heard(&report, least) {
            return Ok(report);
        }
    }
}

/// The nodes of a pool that has not been asked for anything yet.
pub(super) async fn pool_of<const N: usize>(pool: &dyn KeyringFixture) -> Result<[Asked; N], Stop> {
    let nodes = pool.nodes();
    let seen = nodes.len();
    let Ok(nodes) = <[Node; N]>::try_from(nodes) else {
        let expected = format!("{N} nodes in the fixture, as before");
        return Err(Stop::failed(expected, seen.to_string()));
    };
    let tells_primaries = !list(&nodes[0]).await?.primary_keys.is_empty();
    Ok(nodes.map(|node| Asked {
        node,
        tells_primaries,
    }))
}

/// That so many nodes were asked, and all have done it.
pub(super) fn all_done(what: &str, nodes: usize, report: &RingReport) -> Verdict {
    let numbers = (report.nodes, report.responses, report.errors);
    let expected = format_args!("{what}: done by {nodes} of {nodes} nodes");
    ensure(numbers == (nodes, nodes, 0), expected, report)
}

/// Changes every ring, which has to succeed on so many nodes.
pub(super) async fn done(node: &Node, nodes: usize, what: Change, key: &GossipKey) -> Verdict {
    let report = change(node, what, key).await?;
    all_done(&format!("{what:?}"), nodes, &report)
}

/// The keys of these numbers, each on so many nodes.
pub(super) fn counts<const K: usize>(numbers: [(u8, usize); K]) -> KeyCounts {
    let counts = numbers.into_iter();
    counts.map(|(number, count)| (key(number), count)).collect()
}

/// What is listed by as many nodes, all of which have answered.
pub(super) async fn listed(node: &Node, nodes: usize) -> Result<RingReport, Stop> {
    let report = list(node).await?;
    all_done("a listing", nodes, &report)?;
    Ok(report)
}

/// That this is listed, by as many nodes.
pub(super) async fn lists(node: &Node, nodes: usize, keys: &KeyCounts) -> Verdict {
    let report = listed(node, nodes).await?;
    same("on how many nodes each key is", keys, &report.keys)
}

/// That these are the primaries, for as many nodes.
pub(super) async fn has_primaries(node: &Asked, nodes: usize, expected: &KeyCounts) -> Verdict {
    let report = listed(node, nodes).await?;
    let Some(seen) = primaries(node, &report)? else {
        return Err(NotSupported::new("the backend tells no primaries").into());
    };
    same("on how many nodes each key is the primary", expected, seen)
}

/// That all nodes use this key: as a listing tells or, where none tells
/// primaries, as they refuse to remove it.
pub(super) async fn all_use(nodes: &[Asked; 3], number: u8) -> Verdict {
    let node = &nodes[0];
    if node.tells_primaries {
        return has_primaries(node, 3, &counts([(number, 3)])).await;
    }
    let report = change(node, Change::Remove, &key(number)).await?;
    failed(nodes, &NodeFailure::PrimaryKey, &report)
}

/// The primaries of a listing, if the backend tells them at all.
pub(super) fn primaries<'a>(
    node: &Asked,
    report: &'a RingReport,
) -> Result<Option<&'a KeyCounts>, Stop> {
    if !node.tells_primaries {
        return Ok(None);
    }
    let expected = "the primaries, which were told when the check began";
    ensure(!report.primary_keys.is_empty(), expected, report)?;
    Ok(Some(&report.primary_keys))
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

/// That nothing has come of a call: the listing is as before.
pub(super) async fn unchanged(node: &Node, before: &RingReport) -> Verdict {
    let after = list(node).await?;
    let holds = after.keys == before.keys && after.primary_keys == before.primary_keys;
    ensure(
        holds,
        format_args!("the rings as before: {before:?}"),
        after,
    )
}

/// That these nodes have failed, each with this reason, and no others.
pub(super) fn failed<'a>(
    nodes: impl IntoIterator<Item = &'a Asked>,
    failure: &NodeFailure,
    report: &RingReport,
) -> Verdict {
    let mut names: Vec<_> = nodes.into_iter().map(|node| &node.name).collect();
    names.sort();
    let told: Vec<_> = report.failures().collect();
    let expected: Vec<_> = names.iter().map(|name| (*name, failure)).collect();
    let holds = told == expected && report.errors == names.len();
    ensure(holds, format_args!("{failure:?} of {names:?}"), report)
}
