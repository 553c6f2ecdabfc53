//! What a change does to every ring of a pool that is well.

use super::ask::{
    Change, all_use, change, counts, done, failed, list, listed, lists, pool_of, primaries,
    unchanged,
};
use super::fixture::sized_key;
use super::{KeyringFixture, key};
use crate::conformance::verdict::{Stop, Verdict, ensure, same};
use crate::keyring::{GossipKey, NodeFailure};

pub(super) async fn an_installed_key_is_on_every_node(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    done(node, 3, Change::Install, &key(100)).await?;
    lists(node, 3, &counts([(1, 3), (2, 3), (3, 3), (100, 3)])).await
}

pub(super) async fn install_keeps_the_primary(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = &pool_of::<3>(pool).await?;
    done(&nodes[0], 3, Change::Install, &key(100)).await?;
    all_use(nodes, 1).await
}

pub(super) async fn installing_again_succeeds_and_changes_nothing(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    done(node, 3, Change::Install, &key(100)).await?;
    let before = list(node).await?;
    for number in [100, 2, 1] {
        done(node, 3, Change::Install, &key(number)).await?;
        unchanged(node, &before).await?;
    }
    Ok(())
}

pub(super) async fn keys_of_all_sizes_are_taken(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for bytes in [16, 24, 32] {
        let key = sized_key(100, bytes);
        for what in [Change::Install, Change::Use] {
            done(node, 3, what, &key).await?;
        }
        let report = listed(node, 3).await?;
        let on = format!("nodes with a key of {bytes} bytes");
        same(&on, &3, &report.keys.get(&key))?;
        if let Some(primaries) = primaries(node, &report)? {
            let by = format!("nodes that use a key of {bytes} bytes");
            same(&by, &3, &primaries.get(&key))?;
        }
    }
    Ok(())
}

/// A key of 32 bytes that begins with this one, of 16, and goes on with zeros.
fn padded(short: &GossipKey) -> Result<GossipKey, Stop> {
    let bytes = [short.as_bytes(), &[0; 16]].concat();
    GossipKey::from_bytes(&bytes).map_err(|error| Stop::failed("a key", error.to_string()))
}

pub(super) async fn a_key_that_begins_like_another_is_another(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    let short = sized_key(100, 16);
    let long = padded(&short)?;
    done(node, 3, Change::Install, &short).await?;
    done(node, 3, Change::Install, &long).await?;
    let both = listed(node, 3).await?.keys;
    same("nodes with the short key", &3, &both.get(&short))?;
    same("nodes with the long key", &3, &both.get(&long))?;
    done(node, 3, Change::Remove, &short).await?;
    let kept = listed(node, 3).await?.keys;
    same("nodes with the short key, removed", &0, &kept.get(&short))?;
    same("nodes with the long key, kept", &3, &kept.get(&long))
}

pub(super) async fn use_moves_the_primary_of_every_node(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = &pool_of::<3>(pool).await?;
    for number in [3, 2, 1] {
        done(&nodes[0], 3, Change::Use, &key(number)).await?;
        all_use(nodes, number).await?;
    }
    Ok(())
}

pub(super) async fn use_keeps_all_keys(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for number in [3, 2] {
        done(node, 3, Change::Use, &key(number)).await?;
        lists(node, 3, &counts([(1, 3), (2, 3), (3, 3)])).await?;
    }
    Ok(())
}

pub(super) async fn using_the_primary_succeeds_and_changes_nothing(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    let before = list(node).await?;
    done(node, 3, Change::Use, &key(1)).await?;
    unchanged(node, &before).await
}

pub(super) async fn a_key_that_is_not_installed_cannot_be_used(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    let before = list(&nodes[0]).await?;
    let report = change(&nodes[0], Change::Use, &key(100)).await?;
    failed(&nodes, &NodeFailure::KeyNotInstalled, &report)?;
    unchanged(&nodes[0], &before).await
}

pub(super) async fn a_removed_key_is_on_no_node(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    done(node, 3, Change::Remove, &key(2)).await?;
    let left = listed(node, 3).await?;
    same("nodes with the key", &0, &left.keys.get(&key(2)))?;
    // Not with a count of zero either.
    let listed = left.keys.iter().any(|(held, _)| *held == key(2));
    ensure(!listed, "no mention of the key", &left)
}

pub(super) async fn a_removal_leaves_the_other_keys(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    done(node, 3, Change::Remove, &key(2)).await?;
    let left = listed(node, 3).await?;
    same("nodes with the primary", &3, &left.keys.get(&key(1)))?;
    same("nodes with the other key", &3, &left.keys.get(&key(3)))?;
    match primaries(node, &left)? {
        Some(primaries) => same("the primaries", &counts([(1, 3)]), primaries),
        None => Ok(()),
    }
}

pub(super) async fn removing_an_absent_key_succeeds_and_changes_nothing(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    let before = list(node).await?;
    done(node, 3, Change::Remove, &key(100)).await?;
    unchanged(node, &before).await
}

pub(super) async fn the_primary_cannot_be_removed(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    let before = list(&nodes[0]).await?;
    let report = change(&nodes[0], Change::Remove, &key(1)).await?;
    failed(&nodes, &NodeFailure::PrimaryKey, &report)?;
    unchanged(&nodes[0], &before).await
}

pub(super) async fn a_removed_key_cannot_be_used(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    done(&nodes[0], 3, Change::Remove, &key(2)).await?;
    let report = change(&nodes[0], Change::Use, &key(2)).await?;
    failed(&nodes, &NodeFailure::KeyNotInstalled, &report)
}

pub(super) async fn a_removed_key_can_be_installed_again(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for what in [Change::Remove, Change::Install, Change::Use] {
        done(node, 3, what, &key(2)).await?;
    }
    lists(node, 3, &counts([(1, 3), (2, 3), (3, 3)])).await
}

pub(super) async fn a_key_is_rotated(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for (old, new) in [(1, 100), (100, 101), (101, 102)] {
        done(node, 3, Change::Install, &key(new)).await?;
        done(node, 3, Change::Use, &key(new)).await?;
        done(node, 3, Change::Remove, &key(old)).await?;
        let expected = counts([(new, 3)]);
        let report = listed(node, 3).await?;
        same("the keys", &expected, &report.keys)?;
        if let Some(primaries) = primaries(node, &report)? {
            same("the primaries", &expected, primaries)?;
        }
    }
    Ok(())
}

pub(super) async fn a_change_can_be_asked_of_any_node(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    for (number, asked) in (100..).zip(&nodes) {
        done(asked, 3, Change::Install, &key(number)).await?;
        done(asked, 3, Change::Use, &key(number)).await?;
        for node in &nodes {
            let on = format!("nodes with a key that came by {}", asked.name);
            let report = listed(node, 3).await?;
            same(&on, &3, &report.keys.get(&key(number)))?;
        }
    }
    Ok(())
}

pub(super) async fn a_pool_of_one_node_is_a_pool(pool: &dyn KeyringFixture) -> Verdict {
    let [node] = &pool_of::<1>(pool).await?;
    done(node, 1, Change::Install, &key(100)).await?;
    done(node, 1, Change::Use, &key(100)).await?;
    done(node, 1, Change::Remove, &key(1)).await?;
    lists(node, 1, &counts([(100, 1)])).await?;
    let report = change(node, Change::Remove, &key(100)).await?;
    failed([node], &NodeFailure::PrimaryKey, &report)
}
