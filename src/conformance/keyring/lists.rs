//! What a listing tells.

use super::ask::{
    Change, change, counts, done, has_primaries, list, listed, lists, pool_of, primaries,
    same_listing,
};
use super::{KeyringFixture, key};
use crate::conformance::verdict::{Verdict, ensure, same};
use crate::keyring::NodeMessage;

pub(super) async fn a_listing_counts_each_key_on_every_node(pool: &dyn KeyringFixture) -> Verdict {
    for node in pool_of::<3>(pool).await? {
        lists(&node, 3, &counts([(1, 3), (2, 3), (3, 3)])).await?;
    }
    Ok(())
}

pub(super) async fn a_key_that_some_nodes_lack_is_counted_on_the_others(
    pool: &dyn KeyringFixture,
) -> Verdict {
    for node in pool_of::<3>(pool).await? {
        lists(&node, 3, &counts([(1, 3), (2, 2)])).await?;
    }
    Ok(())
}

pub(super) async fn a_listing_counts_the_primary_of_every_node(
    pool: &dyn KeyringFixture,
) -> Verdict {
    for node in pool_of::<3>(pool).await? {
        has_primaries(&node, 3, &counts([(1, 3)])).await?;
    }
    Ok(())
}

pub(super) async fn a_node_with_another_primary_is_seen(pool: &dyn KeyringFixture) -> Verdict {
    for node in pool_of::<3>(pool).await? {
        has_primaries(&node, 3, &counts([(1, 2), (2, 1)])).await?;
    }
    Ok(())
}

pub(super) async fn it_does_not_matter_which_node_lists(pool: &dyn KeyringFixture) -> Verdict {
    let [first, others @ ..] = &pool_of::<3>(pool).await?;
    let expected = list(first).await?;
    for other in others {
        let told = format!("what {} tells, asked of {}", first.name, other.name);
        same_listing(&told, &expected, &list(other).await?)?;
    }
    Ok(())
}

pub(super) async fn a_listing_changes_nothing(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    let first = list(node).await?;
    for _ in 0..3 {
        same_listing("what was told before", &first, &list(node).await?)?;
    }
    Ok(())
}

pub(super) async fn every_node_of_the_pool_is_counted(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<5>(pool).await?;
    for node in &nodes {
        let report = list(node).await?;
        same("the nodes", &5, &report.nodes)?;
        same("those that answered", &5, &report.responses)?;
    }
    for what in Change::ALL {
        let report = change(&nodes[0], what, &key(1)).await?;
        same("the nodes", &5, &report.nodes)?;
        same("those that answered", &5, &report.responses)?;
    }
    Ok(())
}

pub(super) async fn many_keys_are_counted_or_told_to_be_cut(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    for node in &nodes {
        let report = listed(node, 3).await?;
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
        same(
            "keys on nodes, less those that are cut",
            &expected,
            &counted,
        )?;
        let keys: Vec<_> = (1..=40).map(key).collect();
        let known = report.keys.iter().all(|(held, _)| keys.contains(held));
        ensure(known, "keys that the rings hold", &report)?;
        if let Some(primaries) = primaries(node, &report)? {
            same("the primaries", &counts([(1, 3)]), primaries)?;
        }
    }
    Ok(())
}

pub(super) async fn the_nodes_hold_what_is_listed(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    let steps: [(Change, u8, &[u8]); 4] = [
        (Change::Install, 100, &[1, 2, 3, 100]),
        (Change::Use, 100, &[100, 1, 2, 3]),
        (Change::Remove, 1, &[100, 2, 3]),
        (Change::Remove, 2, &[100, 3]),
    ];
    for (what, number, numbers) in steps {
        done(&nodes[0], 3, what, &key(number)).await?;
        let mut expected: Vec<_> = numbers.iter().copied().map(key).collect();
        expected[1..].sort();
        for node in &nodes {
            let mut ring = pool.ring(&node.name).await?;
            // Only the primary has a place of its own.
            if let [_, rest @ ..] = &mut ring[..] {
                rest.sort();
            }
            let held = format!("the ring of {} after {what:?}", node.name);
            same(&held, &expected, &ring)?;
        }
    }
    Ok(())
}
