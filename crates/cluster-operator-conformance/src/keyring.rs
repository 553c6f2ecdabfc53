//! The suite for [`KeyringBackend`](cluster_operator::KeyringBackend).
//!
//! It runs on a pool in memory as well as on real nodes on the loopback device. The
//! timeout of a call is a twelfth of the fixture's [deadline](crate::Fixture::deadline);
//! let the engine gossip often enough that an answer takes far less. Gossip may lose a
//! question or an answer: where no node is meant to be silent, a call is made up to
//! three times before a node counts as silent.
//!
//! A backend that shows no primaries skips the check of just that. Its primaries are
//! then seen by the refusal to remove them. A backend that has shown primaries once has
//! to show them always. A failed check calls keys by their [numbers](key).

mod pool;

use std::pin::pin;
use std::time::Duration;

use cluster_operator::keyring::{
    GossipKey, GossipQuery, KeyChange, KeyCounts, NodeFailure, NodeMessage, RelayFactor, RingReport,
};
use futures_util::future::{Either, join, join_all, join3, select};

use self::pool::{
    Asked, Gossip, all_use, changes, counts, failed, install, ready, remove, use_key, wording,
};
use crate::check::suite;
use crate::fixture::{NotSupported, Stop, Verdict, ensure, same};
use crate::secret::{hides, sized_key, words};

pub use self::pool::{KeyringFixture, Node, Rings};
pub use crate::secret::key;

const ALONE: Rings = Rings::new(&[&[1]]);
const ONE_KEY: Rings = Rings::new(&[&[1], &[1], &[1]]);
const THREE: Rings = Rings::new(&[&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
const FIVE: Rings = Rings::new(&[&[1], &[1], &[1], &[1], &[1]]);
const MANY: Rings = Rings::new(&[&FORTY, &FORTY, &FORTY]);
const FORTY: [u8; 40] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
];
const ONE_LACKS: Rings = Rings::new(&[&[1, 2], &[1, 2], &[1]]);
const ONE_DIFFERS: Rings = Rings::new(&[&[1, 2], &[1, 2], &[2, 1]]);
const CLEAR: Rings = Rings::new(&[&[], &[], &[]]);
const ONE_CLEAR: Rings = Rings::new(&[&[1], &[1], &[]]);

/// The time between two looks at a call that runs.
const LOOK: Duration = Duration::from_millis(5);

/// Calls of each kind that succeed, and that nodes reject, in a pool whose primary is the
/// key 1. The rings end as they began.
fn calls() -> [(KeyChange, Option<NodeFailure>); 8] {
    [
        (install(100), None),
        (install(100), None),
        (use_key(100), None),
        (remove(100), Some(NodeFailure::PrimaryKey)),
        (use_key(101), Some(NodeFailure::KeyNotInstalled)),
        (use_key(1), None),
        (remove(100), None),
        (remove(100), None),
    ]
}

suite! {
    ($) __conformance_keyring_tests;

    /// Runs the whole suite, each check on a pool of its own.
    suite keyring::keyring_backend(KeyringBackend, KeyringFixture, Rings);

    // Listings and reports.

    /// A listing counts each key on every node that holds it, lists no other, and
    /// changes nothing, whichever node is asked.
    #[source("Serf, KeyManager.ListKeys; Consul's operator API, GET keyring")]
    #[needs(THREE)]
    async fn listing_counts_each_key_on_every_node(pool: Gossip<'_>) -> Verdict {
        for node in pool.nodes::<3>().await? {
            for _ in 0..3 {
                node.shows(3, [(1, 3), (2, 3), (3, 3)], [(1, 3)]).await?;
            }
        }
        Ok(())
    }

    /// Nodes with different primaries are counted under each of them.
    #[source("consul#3393; Serf, KeyResponse.PrimaryKeys")]
    #[needs(ONE_DIFFERS)]
    async fn node_with_another_primary_is_seen(pool: Gossip<'_>) -> Verdict {
        for node in pool.nodes::<3>().await? {
            node.shows(3, [(1, 3), (2, 3)], [(1, 2), (2, 1)]).await?;
            if !node.tells_primaries {
                return Err(NotSupported::new("the backend tells no primaries").into());
            }
        }
        Ok(())
    }

    /// A key that a node lacks is counted on the others, and an install succeeds on all.
    #[source("Serf, KeyManager.ListKeys; memberlist, Keyring.AddKey")]
    #[needs(ONE_LACKS)]
    async fn install_brings_a_key_to_those_that_lack_it(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        for node in &nodes {
            node.shows(3, [(1, 3), (2, 2)], [(1, 3)]).await?;
        }
        nodes[0].done(3, &install(2)).await?;
        nodes[0].shows(3, [(1, 3), (2, 3)], [(1, 3)]).await
    }

    /// A removal succeeds on nodes that hold the key and on nodes that lack it.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(ONE_LACKS)]
    async fn removal_succeeds_where_some_lack_the_key(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        node.done(3, &remove(2)).await?;
        node.shows(3, [(1, 3)], [(1, 3)]).await
    }

    /// A report counts each node and each answer once, and names each node that failed,
    /// with the reason, and no other. The report of a change lists no keys, and the pool
    /// stays the same.
    #[source("Serf, KeyResponse; the contract of `KeyringBackend`")]
    #[needs(FIVE)]
    async fn report_tells_what_each_node_did(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<5>().await?;
        let gossip = nodes[0].backend.pool().clone();
        for node in &nodes {
            node.shows(5, [(1, 5)], [(1, 5)]).await?;
        }
        for (change, failure) in calls() {
            let report = nodes[0].change(&change).await?;
            let all = (report.nodes, report.responses) == (5, 5) && report.silent.is_empty();
            ensure(all, "answers of 5 of 5 nodes, and no silent node", &report)?;
            match failure {
                Some(failure) => failed(&nodes, &failure, &report)?,
                None => failed([], &NodeFailure::PrimaryKey, &report)?,
            }
            let empty = report.keys.is_empty() && report.primary_keys.is_empty();
            ensure(empty, format_args!("{change:?}: no keys"), report)?;
            for node in &nodes {
                same("the pool", &gossip, node.backend.pool())?;
            }
        }
        Ok(())
    }

    /// A node whose keys do not fit into its answer is reported as `Truncated`, with the
    /// number of keys that it shows and that it holds; no key is just missing.
    #[source("serf#546; memberlist's limit of 1,024 bytes")]
    #[needs(MANY)]
    async fn many_keys_are_counted_or_reported_as_truncated(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        let keys: Vec<_> = (1..=40).map(key).collect();
        for node in &nodes {
            let report = node.listed(3).await?;
            let mut expected = 3 * 40;
            for (name, message) in &report.messages {
                if let &NodeMessage::Truncated { shown, total } = message {
                    let known = nodes.iter().any(|node| node.name == *name);
                    let cut = known && shown < total && total == 40;
                    ensure(cut, "a node that shows fewer than its 40 keys", &report)?;
                    expected -= total - shown;
                }
            }
            let counted: usize = report.keys.iter().map(|(_, count)| count).sum();
            same("keys on nodes, less those that are truncated", &expected, &counted)?;
            let known = report.keys.iter().all(|(held, _)| keys.contains(held));
            ensure(known, "keys that the rings hold", &report)?;
            node.tells(&counts([(1, 3)]), &report)?;
        }
        Ok(())
    }

    /// The nodes' rings hold what the reports say.
    #[source("the contract of `KeyringBackend`")]
    #[needs(THREE)]
    async fn nodes_hold_what_is_listed(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        let steps: [(KeyChange, &[u8]); 4] = [
            (install(100), &[1, 2, 3, 100]),
            (use_key(100), &[100, 1, 2, 3]),
            (remove(1), &[100, 2, 3]),
            (remove(2), &[100, 3]),
        ];
        for (change, numbers) in steps {
            nodes[0].done(3, &change).await?;
            let mut expected: Vec<_> = numbers.iter().copied().map(key).collect();
            expected[1..].sort();
            for node in &nodes {
                let mut ring = pool.fixture.ring(&node.name).await?;
                // Only the primary has a place of its own.
                if let [_, rest @ ..] = &mut ring[..] {
                    rest.sort();
                }
                let held = format!("the ring of {} after {change:?}", node.name);
                same(&held, &expected, &ring)?;
            }
        }
        Ok(())
    }

    /// Relayed answers are counted once, and calls do the same with each relay factor.
    #[source("Serf, QueryParam.RelayFactor")]
    #[needs(FIVE)]
    async fn relay_factor_changes_no_result(pool: Gossip<'_>) -> Verdict {
        let [mut node, ..] = pool.nodes::<5>().await?;
        for relay in (0..=RelayFactor::MAX.get()).flat_map(RelayFactor::try_from) {
            pool.step(format!("with relay factor {}:", relay.get()));
            node.relay = relay;
            for change in [install(100), use_key(100), use_key(1), remove(100)] {
                node.done(5, &change).await?;
            }
            node.shows(5, [(1, 5)], [(1, 5)]).await?;
        }
        Ok(())
    }

    /// No text in a report contains eight bytes of a key in a row, in base64, in
    /// hexadecimal digits or as numbers.
    #[source("the contract of `KeyringBackend`")]
    #[needs(THREE)]
    async fn no_key_is_in_a_report(pool: Gossip<'_>) -> Verdict {
        for node in pool.nodes::<3>().await? {
            shows_no_key("the report of a listing", &texts(&node.list().await?))?;
            for (change, _) in calls() {
                let report = node.change(&change).await?;
                shows_no_key(&format!("the report of {change:?}"), &texts(&report))?;
            }
        }
        Ok(())
    }

    /// No text of an error or of its sources contains eight bytes of a key in a row.
    #[source("the contract of `OperatorError`")]
    #[needs(THREE)]
    async fn no_key_is_in_an_error(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        pool.stop(node).await?;
        let all = SECRETS.into_iter().flat_map(changes).map(Some);
        for change in all.chain([None]) {
            let query = pool.query();
            let what = format!("the answer of a stopped node to {change:?}");
            if let Err(error) = node.call(change.as_ref(), &query).await {
                shows_no_key(&what, &words(&error))?;
            }
            if let Some(report) = query.answers.report() {
                shows_no_key(&what, &texts(&report))?;
            }
        }
        Ok(())
    }

    // Changes in a pool whose nodes all answer and agree.

    /// After an install the key is on every node, and not used. Installing a key that is
    /// there succeeds and changes nothing, even if it is the primary.
    #[source("memberlist, Keyring.AddKey")]
    #[needs(THREE)]
    async fn install_keeps_the_primary(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        for number in [100, 100, 2, 1] {
            nodes[0].done(3, &install(number)).await?;
            nodes[0].shows(3, [(1, 3), (2, 3), (3, 3), (100, 3)], [(1, 3)]).await?;
            all_use(nodes, 1).await?;
        }
        Ok(())
    }

    /// After a use the key is every node's primary, and all keys stay, as others may
    /// still encrypt with them. Using the primary succeeds and changes nothing.
    #[source("memberlist, Keyring.UseKey")]
    #[needs(THREE)]
    async fn use_changes_the_primary_of_every_node(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        for number in [1, 3, 2, 2, 1] {
            nodes[0].done(3, &use_key(number)).await?;
            nodes[0].shows(3, [(1, 3), (2, 3), (3, 3)], [(number, 3)]).await?;
            all_use(nodes, number).await?;
        }
        Ok(())
    }

    /// Using a key that is not installed, or was removed, fails with `KeyNotInstalled`
    /// on each node and changes nothing; the call itself is no error.
    #[source("memberlist, Keyring.UseKey")]
    #[needs(THREE)]
    async fn key_that_is_not_installed_cannot_be_used(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        nodes[0].done(3, &remove(2)).await?;
        for number in [100, 2] {
            let report = nodes[0].change(&use_key(number)).await?;
            failed(&nodes, &NodeFailure::KeyNotInstalled, &report)?;
            nodes[0].shows(3, [(1, 3), (3, 3)], [(1, 3)]).await?;
        }
        Ok(())
    }

    /// After a removal no node holds the key, the listing does not mention it, and all
    /// other keys stay. Removing a key that no node holds succeeds and changes nothing.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(THREE)]
    async fn removed_key_is_on_no_node(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for number in [2, 2, 100] {
            node.done(3, &remove(number)).await?;
            node.shows(3, [(1, 3), (3, 3)], [(1, 3)]).await?;
        }
        Ok(())
    }

    /// Removing the primary fails with `PrimaryKey` on each node and changes nothing,
    /// whichever node is asked; the call itself is no error.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(THREE)]
    async fn primary_cannot_be_removed(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        for node in &nodes {
            let report = node.change(&remove(1)).await?;
            failed(&nodes, &NodeFailure::PrimaryKey, &report)?;
            node.shows(3, [(1, 3), (2, 3), (3, 3)], [(1, 3)]).await?;
        }
        Ok(())
    }

    /// Install, use and remove replace the key on every node, whichever is asked, and a
    /// key that was removed can come back.
    #[source("Consul's documentation of gossip encryption; consul#3849")]
    #[needs(ONE_KEY)]
    async fn key_is_rotated_through_any_node(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        for (node, (old, new)) in nodes.iter().zip([(1, 100), (100, 101), (101, 1)]) {
            for change in [install(new), use_key(new), remove(old)] {
                node.done(3, &change).await?;
            }
            for node in &nodes {
                node.shows(3, [(new, 3)], [(new, 3)]).await?;
            }
        }
        Ok(())
    }

    /// Keys of 16, 24 and 32 bytes can be installed and used, and are compared whole: a
    /// key differs from a longer one that begins with it.
    #[source("memberlist, ValidateKey and Keyring (bytes.Equal)")]
    #[needs(THREE)]
    async fn keys_of_all_sizes_are_told_apart(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        let short = sized_key(100, 16);
        let padded = [short.as_bytes(), &[0; 16]].concat();
        let padded = GossipKey::from_bytes(&padded)
            .map_err(|error| Stop::failed("a key", error.to_string()))?;
        let keys = [short.clone(), sized_key(100, 24), sized_key(100, 32), padded];
        for key in &keys {
            node.done(3, &KeyChange::Install(key.clone())).await?;
            node.done(3, &KeyChange::Use(key.clone())).await?;
            let primary = KeyCounts::from_iter([(key.clone(), 3)]);
            node.tells(&primary, &node.listed(3).await?)?;
        }
        node.done(3, &KeyChange::Remove(short)).await?;
        let report = node.listed(3).await?;
        let seen = keys.each_ref().map(|key| report.keys.get(key));
        same("nodes with each key, of which the first is removed", &[0, 3, 3, 3], &seen)
    }

    /// In a pool of one node that node is asked and counted.
    #[source("Serf, KeyManager")]
    #[needs(ALONE)]
    async fn pool_of_one_node_is_a_pool(pool: Gossip<'_>) -> Verdict {
        let [node] = &pool.nodes::<1>().await?;
        for change in [install(100), use_key(100), remove(1)] {
            node.done(1, &change).await?;
        }
        node.shows(1, [(100, 1)], [(100, 1)]).await?;
        let report = node.change(&remove(100)).await?;
        failed([node], &NodeFailure::PrimaryKey, &report)
    }

    // Nodes that differ from the others, and nodes that do not answer.

    /// A node that lacks the key to use fails with `KeyNotInstalled` under its name, and
    /// the others use the key.
    #[source("Serf, KeyManager.UseKey; consul#3393")]
    #[needs(ONE_LACKS)]
    async fn node_that_lacks_the_key_to_use_fails_alone(pool: Gossip<'_>) -> Verdict {
        let [a, _, lacking] = pool.nodes::<3>().await?;
        // It hears itself at least.
        let report = lacking.ask(1, Some(&use_key(2))).await?;
        same("the nodes", &3, &report.nodes)?;
        failed([&lacking], &NodeFailure::KeyNotInstalled, &report)?;
        lacking.keeps_primary(1).await?;
        if !a.tells_primaries {
            // Asking to remove the key would remove it from a node that is late.
            return Ok(());
        }
        pool.until("both others to use the key", || async {
            match a.ask(2, None).await {
                Ok(report) if report.primary_keys.get(&key(2)) == 2 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// A node whose primary is to be removed fails with `PrimaryKey` under its name, and
    /// the others remove it.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(ONE_DIFFERS)]
    async fn primary_of_one_node_is_removed_from_the_others(pool: Gossip<'_>) -> Verdict {
        let [a, _, other] = pool.nodes::<3>().await?;
        let report = other.ask(1, Some(&remove(2))).await?;
        same("the nodes", &3, &report.nodes)?;
        failed([&other], &NodeFailure::PrimaryKey, &report)?;
        other.keeps_primary(2).await?;
        // They no longer hear the one that uses it, unless all is in clear text.
        pool.until("the key on that node at most", || async {
            match a.ask(2, None).await {
                Ok(left) if left.keys.get(&key(2)) <= 1 && left.keys.get(&key(1)) >= 2 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// In a pool that gossips in clear text every node fails with `EncryptionOff`, for a
    /// listing too.
    #[source("Serf, internal query handlers")]
    #[needs(CLEAR)]
    async fn without_encryption_every_node_says_so(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        let mut reports = vec![nodes[0].list().await?, nodes[1].list().await?];
        for change in changes(100) {
            reports.push(nodes[0].change(&change).await?);
        }
        for report in &reports {
            let all = (report.nodes, report.responses) == (3, 3) && report.keys.is_empty();
            ensure(all, "answers of 3 of 3 nodes, without keys", report)?;
            failed(&nodes, &NodeFailure::EncryptionOff, report)?;
        }
        Ok(())
    }

    /// A node that gossips in clear text fails with `EncryptionOff` under its name, and
    /// the others do what they are asked.
    #[source("Serf, internal query handlers")]
    #[needs(ONE_CLEAR)]
    async fn node_without_encryption_fails_alone(pool: Gossip<'_>) -> Verdict {
        let [a, _, clear] = pool.nodes::<3>().await?;
        let off = NodeFailure::EncryptionOff;
        let report = a.list().await?;
        failed([&clear], &off, &report)?;
        same("the keys", &counts([(1, 2)]), &report.keys)?;
        failed([&clear], &off, &a.change(&install(100)).await?)?;
        let report = a.list().await?;
        same("the keys", &counts([(1, 2), (100, 2)]), &report.keys)
    }

    /// A node that was stopped has not failed: it is named as silent, or not counted. The
    /// others answer, and change their rings.
    #[source("Serf, KeyResponse.NumResp; consul#3849; the contract of `Answers`")]
    #[needs(THREE)]
    async fn stopped_node_is_silent_or_not_counted(pool: Gossip<'_>) -> Verdict {
        let [a, b, stopped] = pool.nodes::<3>().await?;
        pool.stop(&stopped).await?;
        let report = a.ask(2, None).await?;
        one_is_down("a listing", &stopped, &report)?;
        same("the keys", &counts([(1, 2), (2, 2), (3, 2)]), &report.keys)?;
        for change in [install(100), use_key(100), remove(1)] {
            let report = a.ask(2, Some(&change)).await?;
            one_is_down(&format!("{change:?}"), &stopped, &report)?;
        }
        let report = b.ask(2, None).await?;
        same("the keys", &counts([(2, 2), (3, 2), (100, 2)]), &report.keys)
    }

    /// Nodes that are known to be dead are not asked: a call succeeds with the others,
    /// and ends with the last answer, not at its timeout. The last living node asks
    /// itself; there is no success of 0 of 0 nodes.
    #[source("memberlist, NumMembers; Serf's key manager, which waits for dead members too")]
    #[needs(THREE)]
    async fn dead_node_is_not_asked(pool: Gossip<'_>) -> Verdict {
        let [a, b, dead] = pool.nodes::<3>().await?;
        pool.stop(&dead).await?;
        pool.noticed(&dead).await?;
        let timeout = pool.fixture.deadline() / 2;
        for change in [None, Some(install(100))] {
            let query = GossipQuery::new(timeout);
            let call = a.call(change.as_ref(), &query);
            let ended = pool.within(timeout / 2, call).await;
            let expected = format!("an end before half of the timeout of {timeout:?}");
            let seen = (&ended, query.answers.report());
            ensure(matches!(ended, Some(Ok(()))), expected, seen)?;
        }
        for change in [install(100), use_key(100), remove(1)] {
            a.done(2, &change).await?;
        }
        for node in [&a, &b] {
            node.shows(2, [(2, 2), (3, 2), (100, 2)], [(100, 2)]).await?;
        }
        pool.stop(&b).await?;
        pool.noticed(&b).await?;
        a.done(1, &install(101)).await?;
        a.shows(1, [(2, 1), (3, 1), (100, 1), (101, 1)], [(100, 1)]).await
    }

    /// A node that answers late is counted or silent, and has not failed. The answers of
    /// the others are kept.
    #[source("Serf, QueryParam.Timeout")]
    #[needs(THREE)]
    async fn late_node_is_counted_or_silent(pool: Gossip<'_>) -> Verdict {
        let [a, _, late] = pool.nodes::<3>().await?;
        pool.slow_down(&late, pool.timeout()).await?;
        for change in [Some(install(100)), None] {
            let report = a.ask(2, change.as_ref()).await?;
            let in_time = match report.responses {
                2 => report.silent == [late.name.clone()],
                responses => responses == 3,
            };
            let holds = in_time && report.nodes == 3 && report.errors == 0;
            let expected = "3 nodes, of which 2 or 3 answer, and none fails";
            ensure(holds, expected, &report)?;
            if change.is_none() {
                let on = report.keys.get(&key(1));
                same("nodes that list the primary", &report.responses, &on)?;
            }
        }
        Ok(())
    }

    /// Answers are handed over as they arrive, while a call waits for others; they are
    /// kept if it is dropped then.
    #[source("the contract of `Answers`")]
    #[needs(THREE)]
    async fn answers_arrive_while_a_call_runs(pool: Gossip<'_>) -> Verdict {
        let [a, quick, late] = pool.nodes::<3>().await?;
        pool.slow_down(&late, pool.timeout() / 2).await?;
        for change in [None, Some(install(100))] {
            let call = wording(change.as_ref());
            let expected = format!("{call}: the answer of {}, and not all", quick.name);
            // Again and again: gossip may lose the question, or the late node be quick.
            pool.until(&expected, || async {
                let query = pool.query();
                let heard = async {
                    loop {
                        pool.fixture.timer().sleep(LOOK).await;
                        match query.answers.report() {
                            Some(report) if !report.silent.contains(&quick.name) => break report,
                            _ => {}
                        }
                    }
                };
                let call = pin!(a.call(change.as_ref(), &query));
                match select(call, pin!(heard)).await {
                    Either::Right((it, _)) if (it.nodes, it.errors) == (3, 0) => Ok(()),
                    Either::Right((report, _)) => Err(format!("{report:?}")),
                    Either::Left((result, _)) => {
                        let report = query.answers.report();
                        Err(format!("the call ended with {result:?} and {report:?}"))
                    }
                }
            })
            .await?;
        }
        Ok(())
    }

    /// A backend whose own node is stopped answers with an error. It has asked nobody,
    /// and nothing has changed.
    #[source("the contract of `KeyringBackend`; etcd#1483")]
    #[needs(THREE)]
    async fn stopped_node_asks_nobody(pool: Gossip<'_>) -> Verdict {
        let [a, _, stopped] = pool.nodes::<3>().await?;
        pool.stop(&stopped).await?;
        for change in [None, Some(install(100)), Some(use_key(2)), Some(remove(3))] {
            let query = pool.query();
            let answer = stopped.call(change.as_ref(), &query).await;
            let report = query.answers.report();
            let holds = report.is_none() && answer.is_err();
            ensure(holds, "an error, and no node that was asked", (answer, report))?;
        }
        let report = a.ask(2, None).await?;
        same("the keys", &counts([(1, 2), (2, 2), (3, 2)]), &report.keys)?;
        a.tells(&counts([(1, 2)]), &report)
    }

    // Calls at the same time.

    /// Many calls at the same time all end, each with all answers, and no key is lost or
    /// added twice, whichever nodes are asked.
    #[source("Serf's KeyManager locks one server alone; the serf crate's lost some answers")]
    #[needs(THREE)]
    async fn many_calls_at_once_all_end(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        let changes = [100, 100, 100, 101, 102, 103].map(install);
        let listings = join_all((0..18).map(|number| nodes[number % 3].listed(3)));
        let installs = changes.iter().zip(nodes.iter().cycle());
        let installs = join_all(installs.map(|(change, node)| node.done(3, change)));
        let (listings, installs) = join(listings, installs).await;
        listings.into_iter().collect::<Result<Vec<_>, _>>()?;
        installs.into_iter().collect::<Verdict>()?;
        let keys = [(1, 3), (2, 3), (3, 3), (100, 3), (101, 3), (102, 3), (103, 3)];
        nodes[0].shows(3, keys, [(1, 3)]).await
    }

    /// Uses of different keys at the same time lose no key, and each node has one of the
    /// two as its primary.
    #[source("memberlist's Keyring, whose keys are read unlocked")]
    #[needs(THREE)]
    async fn uses_of_two_keys_at_once_leave_every_ring_whole(pool: Gossip<'_>) -> Verdict {
        let [a, b, _] = &pool.nodes::<3>().await?;
        let (two, three) = (use_key(2), use_key(3));
        let (one, other) = join(a.done(3, &two), b.done(3, &three)).await;
        one.and(other)?;
        let report = a.listed(3).await?;
        same("the keys", &counts([(1, 3), (2, 3), (3, 3)]), &report.keys)?;
        a.tells_that("one of the two on every node", &report, |primaries| {
            primaries.get(&key(2)) + primaries.get(&key(3)) == 3
        })
    }

    /// Of a use and a removal of the same key at the same time, at most one succeeds on
    /// each node, and each node keeps a primary.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(THREE)]
    async fn key_is_not_used_and_removed_at_once(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        let (using, removing) = (use_key(2), remove(2));
        let used = nodes[0].ask(1, Some(&using));
        let (used, removed) = join(used, nodes[0].ask(1, Some(&removing))).await;
        let (used, removed) = (used?, removed?);
        let did = |report: &RingReport| report.responses - report.errors;
        let once = did(&used) + did(&removed) <= 3;
        ensure(once, "one of the two to fail on each node", (&used, &removed))?;
        for node in nodes {
            // Not all nodes may hear each other any more.
            let report = node.ask(1, None).await?;
            node.tells_primaries_of(report.responses, &report)?;
            let mut primaries = report.primary_keys.iter();
            let held = primaries.all(|(key, count)| report.keys.get(key) >= count);
            ensure(held, "rings that hold their primaries", &report)?;
        }
        Ok(())
    }

    /// A listing at the same time as a change sees each ring before it or after it, and
    /// never without a key that stays.
    #[source("memberlist's Keyring, whose keys are read unlocked")]
    #[needs(THREE)]
    async fn listing_beside_changes_sees_whole_rings(pool: Gossip<'_>) -> Verdict {
        let [a, b, _] = &pool.nodes::<3>().await?;
        for change in [install(100), use_key(100), use_key(2), remove(100)] {
            let (first, done, second) = join3(a.listed(3), b.done(3, &change), a.listed(3)).await;
            done?;
            for report in [first?, second?] {
                for number in [1, 2, 3] {
                    let what = format!("nodes with key {number}, which stays");
                    same(&what, &3, &report.keys.get(&key(number)))?;
                }
                a.tells_primaries_of(3, &report)?;
            }
        }
        Ok(())
    }

    // Calls whose future is dropped.

    /// A call whose future is dropped, at any point, has changed some nodes or none, and
    /// loses no other key and no primary; a listing changes nothing. If it has named no
    /// node before, it has changed none. It blocks no other call, and can be repeated.
    #[source("the contract of `KeyringBackend` and of `Answers`")]
    #[needs(THREE)]
    async fn dropped_call_leaves_every_ring_whole(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for polls in [0, 1, 2, 3, 5, 9] {
            for change in [install(100), use_key(100), use_key(1), remove(100)] {
                dropped_change(pool, node, polls, &change).await?;
            }
            pool.dropped(polls, node.call(None, &pool.query())).await;
            node.shows(3, [(1, 3), (2, 3), (3, 3)], [(1, 3)]).await?;
        }
        Ok(())
    }
}

/// Drops a change after so many polls, checks that every ring is whole, and repeats the
/// change until it is done: what was dropped may still be on its way.
async fn dropped_change(
    pool: Gossip<'_>,
    node: &Asked<'_>,
    polls: usize,
    change: &KeyChange,
) -> Verdict {
    let changed = change.key();
    let others = |report: &RingReport| -> Vec<_> {
        let keys = report.keys.iter().filter(|(held, _)| *held != changed);
        keys.map(|(held, count)| (held.clone(), count)).collect()
    };
    let before = node.listed(3).await?;
    let query = pool.query();
    pool.dropped(polls, node.call(Some(change), &query)).await;
    let named = query.answers.report().map_or(0, |report| report.nodes);
    let after = node.listed(3).await?;
    let (held, on) = (before.keys.get(changed), after.keys.get(changed));
    if named < 3 {
        same(
            "the keys, as not all nodes were named",
            &before.keys,
            &after.keys,
        )?;
        same(
            "the primaries, as before",
            &before.primary_keys,
            &after.primary_keys,
        )?;
    }
    same("the keys that stay", &others(&before), &others(&after))?;
    let (least, done) = match change {
        KeyChange::Install(_) => (held, 3),
        KeyChange::Use(_) => (held, held),
        KeyChange::Remove(_) => (0, 0),
    };
    let whole = (least..=held.max(done)).contains(&on);
    ensure(
        whole,
        "the key that changes on as many nodes as before, or as after",
        &after,
    )?;
    let is_use = matches!(change, KeyChange::Use(_));
    if is_use {
        node.tells_primaries_of(3, &after)?;
    } else {
        same("the primaries", &before.primary_keys, &after.primary_keys)?;
    }
    let expected = format!("{change:?}, which was dropped once, to be done");
    pool.until(&expected, || async {
        let again = node.change(change).await;
        let listed = node.list().await;
        let is_done = |now: &RingReport| {
            let used = !is_use || !node.tells_primaries || now.primary_keys.get(changed) == 3;
            others(now) == others(&before) && now.keys.get(changed) == done && used
        };
        match (&again, &listed) {
            (Ok(again), Ok(now)) if again.failure().is_none() && is_done(now) => Ok(()),
            _ => Err(format!("{again:?}, and then {listed:?}")),
        }
    })
    .await
}

/// Checks that two of three nodes have answered, and that the stopped one is named as
/// silent or not counted.
fn one_is_down(what: &str, stopped: &Node, report: &RingReport) -> Verdict {
    let name = &stopped.name;
    let named = match report.nodes {
        2 => report.silent.is_empty(),
        nodes => nodes == 3 && report.silent == [name.clone()],
    };
    let done = (report.responses, report.errors) == (2, 0) && report.failures().next().is_none();
    let expected = format!("{what}: done by 2 nodes, and {name} silent or not counted");
    ensure(named && done, expected, report)
}

/// The numbers of the keys that no text may contain.
const SECRETS: [u8; 6] = [1, 2, 3, 100, 101, 102];

/// Checks that no part of a key is in a text.
fn shows_no_key(what: &str, text: &str) -> Verdict {
    let mut keys = SECRETS.into_iter().map(key);
    keys.try_for_each(|key| hides(what, text, key.as_bytes()))
}

/// All texts of a report.
fn texts(report: &RingReport) -> String {
    let messages = report.messages.iter().map(|(node, message)| match message {
        NodeMessage::Note(note) => format!("{node}\n{note}\n"),
        other => format!("{node}\n{other:?}\n"),
    });
    let failures = report.failures();
    let failures = failures.map(|(_, failure)| format!("{failure}\n"));
    messages
        .chain(failures)
        .chain([format!("{report:?}")])
        .collect()
}
