//! The keyring checks.

use futures_util::future::{join, join_all, join3};

use super::fixture::sized_key;
use super::gossip::{
    Asked, Gossip, all_done, all_use, changes, counts, failed, install, ready, remove,
    same_listing, use_key,
};
use super::{KeyringCheck, Node, Rings, key};
use crate::check::checks;
use crate::fixture::{Stop, Verdict, ensure, same};
use crate::secret::{PART, tells_part, words};
use cluster_operator::keyring::{
    GossipKey, GossipQuery, KeyChange, KeyCounts, NodeFailure, NodeMessage, RelayFactor, RingFault,
    RingReport,
};

const ALONE: Rings = Rings::new(&[&[1]]);
const ONE_KEY: Rings = Rings::new(&[&[1], &[1], &[1]]);
const TWO_KEYS: Rings = Rings::new(&[&[1, 2], &[1, 2], &[1, 2]]);
const THREE: Rings = Rings::new(&[&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
const FOUR: Rings = Rings::new(&[&[1, 2], &[1, 2], &[1, 2], &[1, 2]]);
const FIVE: Rings = Rings::new(&[&[1], &[1], &[1], &[1], &[1]]);
const MANY: Rings = Rings::new(&[&FORTY, &FORTY, &FORTY]);
const FORTY: [u8; 40] = {
    let mut numbers = [0; 40];
    let mut at = 0;
    while at < 40 {
        at += 1;
        numbers[at - 1] = at as u8;
    }
    numbers
};
const ONE_LACKS: Rings = Rings::new(&[&[1, 2], &[1, 2], &[1]]);
const ONE_DIFFERS: Rings = Rings::new(&[&[1, 2], &[1, 2], &[2, 1]]);
const CLEAR: Rings = Rings::new(&[&[], &[], &[]]);
const ONE_CLEAR: Rings = Rings::new(&[&[1], &[1], &[]]);

/// After how many polls a call is dropped.
const POLLS: [usize; 6] = [0, 1, 2, 3, 5, 9];

/// A call of each kind that succeeds, and of each kind that nodes refuse, in a pool
/// whose nodes hold the keys 1, 2 and 3. It ends as it began.
fn calls() -> [KeyChange; 8] {
    [
        install(100),
        install(100),
        use_key(100),
        remove(100),
        use_key(101),
        use_key(1),
        remove(100),
        remove(100),
    ]
}

checks! {
    ($) __conformance_keyring_names, KeyringCheck;

    // What a listing tells.

    /// A listing counts each key on every node that holds it, and lists no other.
    #[source("Serf, KeyManager.ListKeys")]
    #[needs(THREE)]
    async fn listing_counts_each_key_on_every_node(pool: Gossip<'_>) -> Verdict {
        for node in pool.nodes::<3>().await? {
            node.lists(3, &counts([(1, 3), (2, 3), (3, 3)])).await?;
        }
        Ok(())
    }

    /// A key that only some nodes hold is counted on those.
    #[source("Serf, KeyManager.ListKeys")]
    #[needs(ONE_LACKS)]
    async fn key_that_some_nodes_lack_is_counted_on_the_others(pool: Gossip<'_>) -> Verdict {
        for node in pool.nodes::<3>().await? {
            node.lists(3, &counts([(1, 3), (2, 2)])).await?;
        }
        Ok(())
    }

    /// A listing counts for each key on how many nodes it is the primary.
    #[source("consul#3393; Serf, KeyResponse.PrimaryKeys")]
    #[needs(THREE)]
    async fn listing_counts_the_primary_of_every_node(pool: Gossip<'_>) -> Verdict {
        for node in pool.nodes::<3>().await? {
            node.has_primaries(3, &counts([(1, 3)])).await?;
        }
        Ok(())
    }

    /// Nodes that use different keys are counted under different primaries.
    #[source("consul#3393")]
    #[needs(ONE_DIFFERS)]
    async fn node_with_another_primary_is_seen(pool: Gossip<'_>) -> Verdict {
        for node in pool.nodes::<3>().await? {
            node.has_primaries(3, &counts([(1, 2), (2, 1)])).await?;
        }
        Ok(())
    }

    /// Every node of a pool that is whole lists the same, in whatever order the nodes
    /// answer.
    #[source("Serf, KeyManager.ListKeys")]
    #[needs(ONE_DIFFERS)]
    async fn every_node_lists_the_same(pool: Gossip<'_>) -> Verdict {
        let [first, others @ ..] = &pool.nodes::<3>().await?;
        let expected = first.list().await?;
        for other in others {
            let what = format!("what {} lists, from {}", first.name, other.name);
            same_listing(&what, &expected, &other.list().await?)?;
        }
        Ok(())
    }

    /// Listings without a change between them are the same.
    #[source("Consul's operator API, GET keyring")]
    #[needs(THREE)]
    async fn listing_changes_nothing(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        let first = node.list().await?;
        for _ in 0..3 {
            same_listing("the listing as before", &first, &node.list().await?)?;
        }
        Ok(())
    }

    /// `nodes` and `responses` are the number of nodes where all are alive, whatever
    /// is asked, and nobody is silent.
    #[source("Serf, KeyResponse.NumNodes and NumResp")]
    #[needs(FIVE)]
    async fn every_node_of_the_pool_is_counted(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<5>().await?;
        let mut reports = Vec::new();
        for node in &nodes {
            reports.push(node.list().await?);
        }
        for change in changes(1) {
            reports.push(nodes[0].change(&change).await?);
        }
        for report in &reports {
            let holds = (report.nodes, report.responses) == (5, 5) && report.silent.is_empty();
            ensure(holds, "answers of 5 of 5 nodes, and nobody silent", report)?;
        }
        Ok(())
    }

    /// A node whose keys do not fit into its answer is reported as `Truncated`, with
    /// how many it shows and how many it holds; keys are never just missing.
    #[source("serf#546; memberlist's limit of 1,024 bytes")]
    #[needs(MANY)]
    async fn many_keys_are_counted_or_reported_as_truncated(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        for node in &nodes {
            let report = node.listed(3).await?;
            let mut expected = 3 * 40;
            for (name, message) in &report.messages {
                let &NodeMessage::Truncated { shown, total } = message else {
                    continue;
                };
                let known = nodes.iter().any(|node| node.name == *name);
                let cut = known && shown < total && total == 40;
                ensure(cut, "a node that shows fewer than its 40 keys", &report)?;
                expected -= total - shown;
            }
            let counted: usize = report.keys.iter().map(|(_, count)| count).sum();
            let what = "keys on nodes, less those that are truncated";
            same(what, &expected, &counted)?;
            let keys: Vec<_> = (1..=40).map(key).collect();
            let known = report.keys.iter().all(|(held, _)| keys.contains(held));
            ensure(known, "keys that the rings hold", &report)?;
            node.tells(&counts([(1, 3)]), &report)?;
        }
        Ok(())
    }

    /// What a report says is what the nodes' rings hold.
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

    // What a change does to every ring of a healthy pool.

    /// After a successful install, the key is on every node.
    #[source("memberlist, Keyring.AddKey")]
    #[needs(THREE)]
    async fn installed_key_is_on_every_node(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        node.done(3, &install(100)).await?;
        node.lists(3, &counts([(1, 3), (2, 3), (3, 3), (100, 3)])).await
    }

    /// A key that is installed is not used yet.
    #[source("memberlist, Keyring.AddKey")]
    #[needs(THREE)]
    async fn install_keeps_the_primary(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        nodes[0].done(3, &install(100)).await?;
        all_use(nodes, 1).await
    }

    /// Installing a key that is there succeeds and changes nothing, the primary
    /// included; no ring holds a key twice.
    #[source("memberlist, Keyring.AddKey")]
    #[needs(THREE)]
    async fn installing_again_succeeds_and_changes_nothing(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        node.done(3, &install(100)).await?;
        let before = node.list().await?;
        for number in [100, 2, 1] {
            node.done(3, &install(number)).await?;
            node.unchanged(&before).await?;
        }
        Ok(())
    }

    /// Keys of 16, 24 and 32 bytes can be installed and used.
    #[source("memberlist, ValidateKey")]
    #[needs(THREE)]
    async fn keys_of_all_sizes_are_accepted(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for bytes in [16, 24, 32] {
            let key = sized_key(100, bytes);
            node.done(3, &KeyChange::Install(key.clone())).await?;
            node.done(3, &KeyChange::Use(key.clone())).await?;
            let report = node.listed(3).await?;
            let on = format!("nodes with a key of {bytes} bytes");
            same(&on, &3, &report.keys.get(&key))?;
            if let Some(primaries) = node.primaries(&report)? {
                let by = format!("nodes that use a key of {bytes} bytes");
                same(&by, &3, &primaries.get(&key))?;
            }
        }
        Ok(())
    }

    /// Keys are compared whole: a key is different from a longer one that begins with
    /// it.
    #[source("memberlist, Keyring (bytes.Equal)")]
    #[needs(THREE)]
    async fn keys_are_compared_whole(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        let short = sized_key(100, 16);
        let long = padded(&short)?;
        node.done(3, &KeyChange::Install(short.clone())).await?;
        node.done(3, &KeyChange::Install(long.clone())).await?;
        let both = node.listed(3).await?.keys;
        same("nodes with the short key", &3, &both.get(&short))?;
        same("nodes with the long key", &3, &both.get(&long))?;
        node.done(3, &KeyChange::Remove(short.clone())).await?;
        let kept = node.listed(3).await?.keys;
        same("nodes with the short key, removed", &0, &kept.get(&short))?;
        same("nodes with the long key, kept", &3, &kept.get(&long))
    }

    /// After a successful use, the key is every node's primary.
    #[source("memberlist, Keyring.UseKey")]
    #[needs(THREE)]
    async fn use_changes_the_primary_of_every_node(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        for number in [3, 2, 1] {
            nodes[0].done(3, &use_key(number)).await?;
            all_use(nodes, number).await?;
        }
        Ok(())
    }

    /// The old primary stays in the ring after a use, since others may still encrypt
    /// with it.
    #[source("memberlist, Keyring.UseKey")]
    #[needs(THREE)]
    async fn use_keeps_all_keys(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for number in [3, 2] {
            node.done(3, &use_key(number)).await?;
            node.lists(3, &counts([(1, 3), (2, 3), (3, 3)])).await?;
        }
        Ok(())
    }

    /// Using the key that is the primary succeeds and changes nothing.
    #[source("memberlist, Keyring.UseKey")]
    #[needs(THREE)]
    async fn using_the_primary_succeeds_and_changes_nothing(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        let before = node.list().await?;
        node.done(3, &use_key(1)).await?;
        node.unchanged(&before).await
    }

    /// Using a key that is not installed fails with `KeyNotInstalled` on each node and
    /// changes nothing; the call itself is no error.
    #[source("memberlist, Keyring.UseKey")]
    #[needs(THREE)]
    async fn key_that_is_not_installed_cannot_be_used(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        let before = nodes[0].list().await?;
        let report = nodes[0].change(&use_key(100)).await?;
        failed(&nodes, &NodeFailure::KeyNotInstalled, &report)?;
        nodes[0].unchanged(&before).await
    }

    /// After a successful removal, the key is on no node, and not listed.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(THREE)]
    async fn removed_key_is_on_no_node(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        node.done(3, &remove(2)).await?;
        let left = node.listed(3).await?;
        same("nodes with the key", &0, &left.keys.get(&key(2)))?;
        // Not with a count of zero either.
        let listed = left.keys.iter().any(|(held, _)| *held == key(2));
        ensure(!listed, "no mention of the key", &left)
    }

    /// A removal keeps all other keys, and the primary.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(THREE)]
    async fn removal_keeps_the_other_keys(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        node.done(3, &remove(2)).await?;
        let left = node.listed(3).await?;
        same("nodes with the primary", &3, &left.keys.get(&key(1)))?;
        same("nodes with the other key", &3, &left.keys.get(&key(3)))?;
        node.tells(&counts([(1, 3)]), &left)
    }

    /// Removing a key that no node holds succeeds and changes nothing.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(THREE)]
    async fn removing_an_absent_key_succeeds_and_changes_nothing(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        let before = node.list().await?;
        node.done(3, &remove(100)).await?;
        node.unchanged(&before).await
    }

    /// Removing the primary fails with `PrimaryKey` on each node and changes nothing;
    /// the call itself is no error.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(THREE)]
    async fn primary_cannot_be_removed(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        let before = nodes[0].list().await?;
        let report = nodes[0].change(&remove(1)).await?;
        failed(&nodes, &NodeFailure::PrimaryKey, &report)?;
        nodes[0].unchanged(&before).await
    }

    /// A key that was removed is not installed any more.
    #[source("memberlist, Keyring.UseKey")]
    #[needs(THREE)]
    async fn removed_key_cannot_be_used(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        nodes[0].done(3, &remove(2)).await?;
        let report = nodes[0].change(&use_key(2)).await?;
        failed(&nodes, &NodeFailure::KeyNotInstalled, &report)
    }

    /// A key that was removed can be installed and used again.
    #[source("memberlist, Keyring.AddKey")]
    #[needs(THREE)]
    async fn removed_key_can_be_installed_again(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for change in [remove(2), install(2), use_key(2)] {
            node.done(3, &change).await?;
        }
        node.lists(3, &counts([(1, 3), (2, 3), (3, 3)])).await
    }

    /// Install, use and remove replace the key on every node, again and again.
    #[source("Consul's documentation of gossip encryption; consul#3849")]
    #[needs(ONE_KEY)]
    async fn key_is_rotated(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for (old, new) in [(1, 100), (100, 101), (101, 102)] {
            for change in [install(new), use_key(new), remove(old)] {
                node.done(3, &change).await?;
            }
            let expected = counts([(new, 3)]);
            let report = node.listed(3).await?;
            same("the keys", &expected, &report.keys)?;
            node.tells(&expected, &report)?;
        }
        Ok(())
    }

    /// A change reaches every node, whichever is asked.
    #[source("Serf, KeyManager")]
    #[needs(THREE)]
    async fn change_can_be_asked_of_any_node(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        for (number, asked) in (100..).zip(&nodes) {
            asked.done(3, &install(number)).await?;
            asked.done(3, &use_key(number)).await?;
            for node in &nodes {
                let on = format!("nodes with a key that came through {}", asked.name);
                let report = node.listed(3).await?;
                same(&on, &3, &report.keys.get(&key(number)))?;
            }
        }
        Ok(())
    }

    /// In a pool of one node that node is asked, and is counted.
    #[source("Serf, KeyManager")]
    #[needs(ALONE)]
    async fn pool_of_one_node_is_a_pool(pool: Gossip<'_>) -> Verdict {
        let [node] = &pool.nodes::<1>().await?;
        for change in [install(100), use_key(100), remove(1)] {
            node.done(1, &change).await?;
        }
        node.lists(1, &counts([(100, 1)])).await?;
        let report = node.change(&remove(100)).await?;
        failed([node], &NodeFailure::PrimaryKey, &report)
    }

    // What a report says beside the keys, and what it must not say.

    /// `responses` counts each node that answered once, `errors` each that failed, and
    /// each failure has its reason.
    #[source("Serf, KeyResponse")]
    #[needs(THREE)]
    async fn answers_and_failures_add_up(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for (what, report) in all_reports(node).await? {
            let failures = report.failures().count();
            let adds_up = (report.nodes, report.responses) == (3, 3) && report.errors == failures;
            let expected = format_args!("{what}: 3 answers of 3 nodes, an error for each failure");
            ensure(adds_up, expected, &report)?;
        }
        Ok(())
    }

    /// A node that did what it was asked is not reported as failed.
    #[source("Serf, KeyResponse.Messages")]
    #[needs(THREE)]
    async fn success_is_not_reported_as_failure(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        let succeed = [install(100), use_key(100), use_key(1), remove(100), remove(100)];
        for change in &succeed {
            let report = node.change(change).await?;
            let holds = report.errors == 0 && report.failures().next().is_none();
            ensure(holds, format_args!("{change:?}: no failure"), &report)?;
        }
        Ok(())
    }

    /// A node that failed is reported under its name, with the reason.
    #[source("Serf, KeyResponse.Messages")]
    #[needs(THREE)]
    async fn failed_node_is_named(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        for node in &nodes {
            let report = node.change(&remove(1)).await?;
            failed(&nodes, &NodeFailure::PrimaryKey, &report)?;
        }
        Ok(())
    }

    /// The report of a change lists no keys.
    #[source("the contract of `RingReport`")]
    #[needs(THREE)]
    async fn change_lists_no_keys(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for (what, report) in &all_reports(node).await?[1..] {
            let empty = report.keys.is_empty() && report.primary_keys.is_empty();
            ensure(empty, format_args!("{what}: no keys"), report)?;
        }
        Ok(())
    }

    /// Answers that are sent a second time are not counted a second time, and a
    /// listing is the same with each relay factor.
    #[source("Serf, QueryParam.RelayFactor")]
    #[needs(FOUR)]
    async fn listing_is_the_same_with_every_relay_factor(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<4>().await?;
        let expected = node.list().await?;
        for relay in relays() {
            let what = format!("a listing with relay factor {}", relay.get());
            same_listing(&what, &expected, &node.relayed_list(relay).await?)?;
        }
        Ok(())
    }

    /// A change is done, and each node counted once, with each relay factor.
    #[source("Serf, QueryParam.RelayFactor")]
    #[needs(FOUR)]
    async fn change_counts_once_with_every_relay_factor(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<4>().await?;
        let before = node.list().await?;
        for relay in relays() {
            for change in [install(100), use_key(100), use_key(1), remove(100)] {
                let report = node.relayed_change(&change, relay).await?;
                let relay = relay.get();
                all_done(format_args!("{change:?} with relay factor {relay}"), 4, &report)?;
            }
        }
        node.unchanged(&before).await
    }

    /// `pool` is the same on all nodes, before and after every call.
    #[source("the contract of `KeyringBackend`")]
    #[needs(THREE)]
    async fn pool_never_changes(pool: Gossip<'_>) -> Verdict {
        let nodes = pool.nodes::<3>().await?;
        let expected = nodes[0].backend.pool().clone();
        for change in calls() {
            nodes[0].change(&change).await?;
            for node in &nodes {
                same("the pool", &expected, node.backend.pool())?;
            }
        }
        Ok(())
    }

    /// No text in a report contains eight bytes of a key in a row, in base64, in
    /// hexadecimal digits or as numbers.
    #[source("the contract of `KeyringBackend`")]
    #[needs(THREE)]
    async fn no_key_is_in_a_report(pool: Gossip<'_>) -> Verdict {
        for node in pool.nodes::<3>().await? {
            for (what, report) in all_reports(&node).await? {
                report_shows_no_key(&format!("the report of {what}"), &report)?;
            }
        }
        Ok(())
    }

    /// No text of an error, or of what caused it, contains eight bytes of a key in a
    /// row.
    #[source("the contract of `OperatorError`")]
    #[needs(THREE)]
    async fn no_key_is_in_an_error(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        pool.stop(node).await?;
        let all = SECRETS.into_iter().flat_map(changes).map(Some);
        for change in std::iter::once(None).chain(all) {
            let query = pool.query();
            let answer = node.call(change.as_ref(), &query).await;
            let what = format!("the answer of a stopped node to {change:?}");
            if let Err(error) = answer {
                shows_no_key(&what, &words(&error))?;
            }
            if let Some(report) = query.answers.report() {
                report_shows_no_key(&what, &report)?;
            }
        }
        Ok(())
    }

    // Nodes that differ from the others, and nodes that do not answer.

    /// A node that lacks the key to use fails with `KeyNotInstalled` under its name,
    /// and the others use it.
    #[source("Serf, KeyManager.UseKey; consul#3393")]
    #[needs(ONE_LACKS)]
    async fn node_that_lacks_the_key_to_use_fails_alone(pool: Gossip<'_>) -> Verdict {
        let [a, b, lacking] = pool.nodes::<3>().await?;
        // Asked of the one that lacks it, which at least hears itself.
        let report = lacking.change_of(1, &use_key(2)).await?;
        same("the nodes", &3, &report.nodes)?;
        failed([&lacking], &NodeFailure::KeyNotInstalled, &report)?;
        lacking.keeps_primary(1).await?;
        use_in_time(pool, &[a, b], 2).await
    }

    /// A node that lacks the key to use, and may not hear the others once they use it,
    /// fails or is silent; it is never counted as one that has done it.
    #[source("Serf, KeyManager.UseKey")]
    #[needs(ONE_LACKS)]
    async fn node_that_lacks_the_key_to_use_is_no_success(pool: Gossip<'_>) -> Verdict {
        let [a, b, lacking] = pool.nodes::<3>().await?;
        // The others may use the key before it has heard, and it hears them no more.
        let report = a.change_of(1, &use_key(2)).await?;
        same("the nodes", &3, &report.nodes)?;
        let done = report.responses.saturating_sub(report.errors);
        ensure(done <= 2, "at most 2 that have done it", &report)?;
        if report.errors > 0 {
            failed([&lacking], &NodeFailure::KeyNotInstalled, &report)?;
        }
        lacking.keeps_primary(1).await?;
        use_in_time(pool, &[a, b], 2).await
    }

    /// A node whose primary is to be removed fails with `PrimaryKey` under its name,
    /// and the others remove it.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(ONE_DIFFERS)]
    async fn primary_of_one_node_is_removed_from_the_others(pool: Gossip<'_>) -> Verdict {
        let [a, _, other] = pool.nodes::<3>().await?;
        let report = other.change_of(1, &remove(2)).await?;
        same("the nodes", &3, &report.nodes)?;
        failed([&other], &NodeFailure::PrimaryKey, &report)?;
        other.keeps_primary(2).await?;
        // They no longer hear the one that uses it, unless all is in clear text.
        pool.until("the key on that node at most", || async {
            match a.list_of(2).await {
                Ok(left) if left.keys.get(&key(2)) <= 1 && left.keys.get(&key(1)) >= 2 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// An install succeeds on nodes that have the key and on nodes that lack it, and
    /// all have it then.
    #[source("memberlist, Keyring.AddKey")]
    #[needs(ONE_LACKS)]
    async fn install_brings_a_key_to_those_that_lack_it(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        node.done(3, &install(2)).await?;
        node.lists(3, &counts([(1, 3), (2, 3)])).await
    }

    /// A removal succeeds on nodes that hold the key and on nodes that lack it.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(ONE_LACKS)]
    async fn removal_succeeds_where_some_lack_the_key(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        node.done(3, &remove(2)).await?;
        node.lists(3, &counts([(1, 3)])).await
    }

    /// In a pool that gossips in clear text every node fails with `EncryptionOff`,
    /// also for a listing.
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

    /// A node that was stopped answers nothing and has not failed: it is silent, or no
    /// longer counted. What the others list is kept.
    #[source("Serf, KeyResponse.NumResp; consul#3849")]
    #[needs(THREE)]
    async fn stopped_node_is_silent_or_not_counted(pool: Gossip<'_>) -> Verdict {
        let [a, _, stopped] = pool.nodes::<3>().await?;
        pool.stop(&stopped).await?;
        let report = a.list_of(2).await?;
        one_is_down("a listing", &report)?;
        let rings = counts([(1, 2), (2, 2), (3, 2)]);
        same("the keys of the others", &rings, &report.keys)
    }

    /// A node that was asked and has not answered is named as silent, and no other.
    #[source("the contract of `Answers`")]
    #[needs(THREE)]
    async fn silent_node_is_named(pool: Gossip<'_>) -> Verdict {
        let [a, _, stopped] = pool.nodes::<3>().await?;
        pool.stop(&stopped).await?;
        for change in [None, Some(install(100))] {
            let report = match &change {
                None => a.list_of(2).await?,
                Some(change) => a.change_of(2, change).await?,
            };
            let named = match report.nodes {
                2 => report.silent.is_empty(),
                _ => report.silent == [stopped.name.clone()],
            };
            let expected = format_args!("{} to be silent, or not counted", stopped.name);
            ensure(named, expected, &report)?;
        }
        Ok(())
    }

    /// A change is done by the others while a node is down, and the report says so.
    #[source("Serf, KeyManager")]
    #[needs(THREE)]
    async fn others_change_while_a_node_is_down(pool: Gossip<'_>) -> Verdict {
        let [a, b, stopped] = pool.nodes::<3>().await?;
        pool.stop(&stopped).await?;
        for change in [install(100), use_key(100), remove(1)] {
            let report = a.change_of(2, &change).await?;
            one_is_down(&format!("{change:?}"), &report)?;
        }
        let report = b.list_of(2).await?;
        let rings = counts([(2, 2), (3, 2), (100, 2)]);
        same("the keys of the others", &rings, &report.keys)
    }

    /// A node that is known to be dead is not asked, and all others are enough for a
    /// success.
    #[source("memberlist, NumMembers")]
    #[needs(THREE)]
    async fn dead_node_is_not_asked(pool: Gossip<'_>) -> Verdict {
        let [a, b, dead] = pool.nodes::<3>().await?;
        pool.stop(&dead).await?;
        pool.noticed(&dead).await?;
        for node in [&a, &b] {
            node.lists(2, &counts([(1, 2), (2, 2), (3, 2)])).await?;
        }
        for change in [install(100), use_key(100), remove(1)] {
            a.done(2, &change).await?;
        }
        Ok(())
    }

    /// A call ends when all nodes that were asked have answered, and does not use up
    /// its timeout.
    #[source("Serf's key manager, which waits for dead members too")]
    #[needs(THREE)]
    async fn call_ends_with_the_last_answer(pool: Gossip<'_>) -> Verdict {
        let [a, _, dead] = pool.nodes::<3>().await?;
        pool.stop(&dead).await?;
        pool.noticed(&dead).await?;
        let timeout = pool.fixture.deadline() / 2;
        for change in [None, Some(install(100))] {
            let query = GossipQuery::new(timeout);
            let call = a.call(change.as_ref(), &query);
            let ended = pool.within(timeout / 2, call).await;
            let report = query.answers.report();
            let expected = format_args!("an end before half of the timeout of {timeout:?}");
            ensure(matches!(ended, Some(Ok(()))), expected, (ended, report))?;
        }
        Ok(())
    }

    /// The last living node of a pool is asked: there is no success of 0 of 0 nodes.
    #[source("Serf, KeyResponse.NumNodes")]
    #[needs(THREE)]
    async fn last_living_node_asks_itself(pool: Gossip<'_>) -> Verdict {
        let [last, b, c] = pool.nodes::<3>().await?;
        for node in [&b, &c] {
            pool.stop(node).await?;
        }
        for node in [&b, &c] {
            pool.noticed(node).await?;
        }
        last.done(1, &install(100)).await?;
        last.lists(1, &counts([(1, 1), (2, 1), (3, 1), (100, 1)])).await
    }

    /// A node that answers late is counted or silent, and has not failed. What the
    /// others answer is kept.
    #[source("Serf, QueryParam.Timeout")]
    #[needs(THREE)]
    async fn late_node_is_counted_or_silent(pool: Gossip<'_>) -> Verdict {
        let [a, _, late] = pool.nodes::<3>().await?;
        pool.slow_down(&late, pool.timeout()).await?;
        let in_time = |report: &RingReport| {
            report.nodes == 3
                && report.errors == 0
                && match report.responses {
                    2 => report.silent == [late.name.clone()],
                    responses => responses == 3,
                }
        };
        let expected = "3 nodes, of which 2 or 3 answer, and none fails";
        let installed = a.change_of(2, &install(100)).await?;
        ensure(in_time(&installed), expected, &installed)?;
        let report = a.list_of(2).await?;
        ensure(in_time(&report), expected, &report)?;
        let on = report.keys.get(&key(1));
        same("nodes that list the primary", &report.responses, &on)
    }

    /// Answers are handed over as they arrive, while a listing still waits for others;
    /// they are kept if it is dropped then.
    #[source("the contract of `Answers`")]
    #[needs(THREE)]
    async fn answers_arrive_while_a_listing_runs(pool: Gossip<'_>) -> Verdict {
        let [a, quick, late] = pool.nodes::<3>().await?;
        pool.slow_down(&late, pool.timeout() / 2).await?;
        a.drop_once_heard(None, &quick, &late).await
    }

    /// Answers are handed over as they arrive, while a change still waits for others;
    /// they are kept if it is dropped then.
    #[source("the contract of `Answers`")]
    #[needs(THREE)]
    async fn answers_arrive_while_a_change_runs(pool: Gossip<'_>) -> Verdict {
        let [a, quick, late] = pool.nodes::<3>().await?;
        pool.slow_down(&late, pool.timeout() / 2).await?;
        a.drop_once_heard(Some(&install(100)), &quick, &late).await
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
            let expected = "an error, and no node that was asked";
            ensure(holds, expected, (answer, report))?;
        }
        let report = a.list_of(2).await?;
        let rings = counts([(1, 2), (2, 2), (3, 2)]);
        same("the keys of the others", &rings, &report.keys)?;
        a.tells(&counts([(1, 2)]), &report)
    }

    // Calls at the same time, polled by one task: they meet only where they wait.

    /// Installs of one key at the same time all succeed, and each ring holds it once.
    #[source("memberlist, Keyring.AddKey")]
    #[needs(THREE)]
    async fn installs_of_one_key_at_once_add_it_once(pool: Gossip<'_>) -> Verdict {
        let [a, b, _] = &pool.nodes::<3>().await?;
        let change = install(100);
        let calls = [a, b, a, b].map(|node| node.done(3, &change));
        for verdict in join_all(calls).await {
            verdict?;
        }
        a.lists(3, &counts([(1, 3), (2, 3), (3, 3), (100, 3)])).await
    }

    /// Installs of different keys at the same time lose none of them, whichever nodes
    /// are asked.
    #[source("Serf's KeyManager locks one server alone")]
    #[needs(THREE)]
    async fn installs_of_several_keys_at_once_add_all(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        let installs = [100, 101, 102].map(install);
        let calls = nodes.iter().zip(&installs);
        for verdict in join_all(calls.map(|(node, install)| node.done(3, install))).await {
            verdict?;
        }
        let expected = counts([(1, 3), (2, 3), (3, 3), (100, 3), (101, 3), (102, 3)]);
        nodes[0].lists(3, &expected).await
    }

    /// Uses of different keys at the same time lose no key, and each node has one of
    /// the two as its primary.
    #[source("memberlist's Keyring, whose keys are read unlocked")]
    #[needs(THREE)]
    async fn uses_of_two_keys_at_once_leave_every_ring_whole(pool: Gossip<'_>) -> Verdict {
        let [a, b, _] = &pool.nodes::<3>().await?;
        let (two, three) = (use_key(2), use_key(3));
        let (one, other) = join(a.done(3, &two), b.done(3, &three)).await;
        one.and(other)?;
        let report = a.listed(3).await?;
        same("the keys", &counts([(1, 3), (2, 3), (3, 3)]), &report.keys)?;
        let Some(primaries) = a.primaries(&report)? else {
            return Ok(());
        };
        let used = primaries.get(&key(2)) + primaries.get(&key(3));
        ensure(used == 3, "one of the two in use on every node", &report)
    }

    /// Of a use and a removal of the same key at the same time, at most one succeeds on
    /// each node, and each keeps a primary.
    #[source("memberlist, Keyring.RemoveKey")]
    #[needs(THREE)]
    async fn key_is_not_used_and_removed_at_once(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        let (using, removing) = (use_key(2), remove(2));
        let calls = join(
            nodes[0].change_of(1, &using),
            nodes[0].change_of(1, &removing),
        );
        let (used, removed) = calls.await;
        let (used, removed) = (used?, removed?);
        let did = |report: &RingReport| report.responses - report.errors;
        let once = did(&used) + did(&removed) <= 3;
        let expected = "one of the two to fail on each node";
        ensure(once, expected, (&used, &removed))?;
        for node in nodes {
            // They may have parted: not all of them hear each other any more.
            let report = node.list_of(1).await?;
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
    #[needs(TWO_KEYS)]
    async fn listing_beside_changes_sees_whole_rings(pool: Gossip<'_>) -> Verdict {
        let [a, b, _] = &pool.nodes::<3>().await?;
        for change in [install(100), use_key(100), use_key(2), remove(100)] {
            let (first, done, second) = join3(a.listed(3), b.done(3, &change), a.listed(3)).await;
            done?;
            for report in [first?, second?] {
                let mut others = report.keys.iter().filter(|(held, _)| *held != change.key());
                let whole = others.all(|(_, count)| count == 3);
                let expected = "the keys that nobody changes on all nodes";
                let holds = whole && report.keys.get(&key(1)) == 3;
                ensure(holds, expected, &report)?;
                a.tells_primaries_of(3, &report)?;
            }
        }
        Ok(())
    }

    /// Many calls at the same time all end, each with all answers.
    #[source("the serf crate, whose key manager leaves some unanswered")]
    #[needs(THREE)]
    async fn many_calls_at_once_all_end(pool: Gossip<'_>) -> Verdict {
        let nodes = &pool.nodes::<3>().await?;
        let changes: Vec<_> = (100..106).map(install).collect();
        let listings = join_all((0..18).map(|number| nodes[number % 3].listed(3)));
        let installs = changes.iter().zip(nodes.iter().cycle());
        let installs = join_all(installs.map(|(change, node)| node.done(3, change)));
        let (listings, installs) = join(listings, installs).await;
        for listed in listings {
            listed?;
        }
        installs.into_iter().collect()
    }

    // Calls that nobody waits for to the end.

    /// A call that is dropped, at any point, has named the nodes before it asked them:
    /// if it has named nobody, nothing changes.
    #[source("the contract of `Answers`")]
    #[needs(THREE)]
    async fn dropped_call_has_named_whom_it_asked(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for (polls, number) in POLLS.into_iter().zip(100..) {
            let before = node.listed(3).await?;
            let query = pool.query();
            pool.dropped(polls, node.call(Some(&install(number)), &query)).await;
            let report = query.answers.report();
            if report.as_ref().is_none_or(|report| report.nodes < 3) {
                let after = node.listed(3).await?;
                let expected = format_args!(
                    "a call that was dropped after {polls} polls and has named {report:?} to \
                     change nothing"
                );
                ensure(after.keys == before.keys, expected, after)?;
            }
        }
        Ok(())
    }

    /// An install whose future is dropped, at any point, adds the key to some nodes and
    /// changes nothing else; it can be asked for again.
    #[source("the contract of `KeyringBackend`")]
    #[needs(THREE)]
    async fn dropped_install_leaves_every_ring_whole(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for (polls, number) in POLLS.into_iter().zip(100..) {
            let change = install(number);
            pool.dropped(polls, node.call(Some(&change), &pool.query())).await;
            let report = node.listed(3).await?;
            let added = report.keys.get(&key(number));
            ensure(added <= 3, "the new key on some nodes", &report)?;
            keeps_first_keys(&report.keys)?;
            node.tells(&counts([(1, 3)]), &report)?;
            done_again(pool, node, &change, |now| now.keys.get(&key(number)) == 3).await?;
            keeps_first_keys(&node.listed(3).await?.keys)?;
        }
        Ok(())
    }

    /// A use whose future is dropped, at any point, loses no key and no primary; it can
    /// be asked for again.
    #[source("the contract of `KeyringBackend`")]
    #[needs(THREE)]
    async fn dropped_use_leaves_every_ring_whole(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for (polls, number) in POLLS.into_iter().zip([2, 3, 1, 2, 3, 1]) {
            let change = use_key(number);
            pool.dropped(polls, node.call(Some(&change), &pool.query())).await;
            let report = node.listed(3).await?;
            same("the keys", &counts([(1, 3), (2, 3), (3, 3)]), &report.keys)?;
            node.tells_primaries_of(3, &report)?;
            done_again(pool, node, &change, |now| {
                now.primary_keys.get(&key(number)) == 3 || !node.tells_primaries
            })
            .await?;
        }
        Ok(())
    }

    /// A removal whose future is dropped, at any point, keeps all other keys; it can be
    /// asked for again.
    #[source("the contract of `KeyringBackend`")]
    #[needs(THREE)]
    async fn dropped_removal_leaves_every_ring_whole(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        for (polls, number) in POLLS.into_iter().zip(100..) {
            node.done(3, &install(number)).await?;
            let change = remove(number);
            pool.dropped(polls, node.call(Some(&change), &pool.query())).await;
            let report = node.listed(3).await?;
            keeps_first_keys(&report.keys)?;
            node.tells(&counts([(1, 3)]), &report)?;
            done_again(pool, node, &change, |now| now.keys.get(&key(number)) == 0).await?;
        }
        Ok(())
    }

    /// A listing whose future is dropped, at any point, changes nothing and blocks
    /// nothing.
    #[source("the contract of `KeyringBackend`")]
    #[needs(THREE)]
    async fn dropped_listing_blocks_nothing(pool: Gossip<'_>) -> Verdict {
        let [node, ..] = &pool.nodes::<3>().await?;
        let expected = node.listed(3).await?;
        for polls in POLLS {
            pool.dropped(polls, node.call(None, &pool.query())).await;
            same_listing("the listing as before", &expected, &node.listed(3).await?)?;
        }
        Ok(())
    }
}

/// A key of 32 bytes that begins with this one, of 16, and goes on with zeros.
fn padded(short: &GossipKey) -> Result<GossipKey, Stop> {
    let bytes = [short.as_bytes(), &[0; 16]].concat();
    GossipKey::from_bytes(&bytes).map_err(|error| Stop::failed("a key", error.to_string()))
}

/// The reports of a listing and of each of the [`calls`].
async fn all_reports(node: &Asked<'_>) -> Result<Vec<(String, RingReport)>, Stop> {
    let mut reports = vec![("a listing".into(), node.list().await?)];
    for change in calls() {
        reports.push((format!("{change:?}"), node.change(&change).await?));
    }
    Ok(reports)
}

fn relays() -> impl Iterator<Item = RelayFactor> {
    (0..=RelayFactor::MAX.get()).filter_map(|factor| RelayFactor::try_from(factor).ok())
}

/// The numbers of the keys that no text may contain.
const SECRETS: [u8; 6] = [1, 2, 3, 100, 101, 102];

/// That no part of a key is in a text, which is not shown for the report's sake.
fn shows_no_key(what: &str, text: &str) -> Verdict {
    let mut keys = SECRETS.into_iter().map(key);
    let told = keys.find(|key| tells_part(text, key.as_bytes()));
    let expected = format_args!("{what} without {PART} bytes of a key in a row");
    ensure(told.is_none(), expected, told)
}

/// That no text of a report contains a key. Its keys are told as keys.
fn report_shows_no_key(what: &str, report: &RingReport) -> Verdict {
    shows_no_key(what, &format!("{report:?}"))?;
    for (name, message) in &report.messages {
        shows_no_key(what, &format!("{name} {message:?}"))?;
        if let NodeMessage::Note(note) = message {
            shows_no_key(what, note)?;
        }
    }
    for (_, failure) in report.failures() {
        shows_no_key(what, &failure.to_string())?;
    }
    Ok(())
}

/// Waits until these nodes use the key, as one of them tells, if it tells primaries.
/// Asking them to remove it would take it from one that is late.
async fn use_in_time(pool: Gossip<'_>, nodes: &[Asked<'_>; 2], number: u8) -> Verdict {
    if !nodes[0].tells_primaries {
        return Ok(());
    }
    let names = nodes.each_ref().map(|node: &Asked<'_>| -> &Node { node });
    let expected = format!("{names:?} to use {:?}", key(number));
    pool.until(&expected, || async {
        match nodes[0].list_of(2).await {
            Ok(report) if report.primary_keys.get(&key(number)) == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// That one of three nodes is silent, or counted no longer, and that nobody has failed.
fn one_is_down(what: &str, report: &RingReport) -> Verdict {
    let two_did = (report.responses, report.errors) == (2, 0);
    let told = match report.nodes {
        2 => None,
        _ => Some(RingFault::Silent {
            responses: 2,
            nodes: 3,
        }),
    };
    let holds = two_did && report.fault() == told && report.failures().next().is_none();
    let expected = format_args!("{what}: done by 2 nodes, and the third silent or not counted");
    ensure(holds, expected, report)
}

/// Asks again for a change that was dropped, until it is done and the rings are as they
/// should be. What was dropped may still be on its way.
async fn done_again(
    pool: Gossip<'_>,
    node: &Asked<'_>,
    change: &KeyChange,
    holds: impl Fn(&RingReport) -> bool + Sync,
) -> Verdict {
    let expected = format!("{change:?}, which was dropped once, to be done");
    pool.until(&expected, || async {
        let again = node.change(change).await;
        let listed = node.list().await;
        match (&again, &listed) {
            (Ok(report), Ok(now)) if report.fault().is_none() && holds(now) => Ok(()),
            _ => Err(format!("{again:?}, and then {listed:?}")),
        }
    })
    .await
}

/// That the keys of the beginning are on every node.
fn keeps_first_keys(keys: &KeyCounts) -> Verdict {
    for number in [1, 2, 3] {
        let on = keys.get(&key(number));
        ensure(on == 3, format_args!("key {number} on 3 nodes"), keys)?;
    }
    Ok(())
}
