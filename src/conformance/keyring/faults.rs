//! Nodes that differ from the others, and nodes that do not answer.

use super::ask::{
    Asked, Change, all_done, change, change_of, counts, done, failed, list, list_of, lists,
    pool_of, primaries,
};
use super::{KeyringFixture, key};
use crate::conformance::verdict::{Verdict, ensure, same, until};
use crate::error::Outcome;
use crate::keyring::{NodeFailure, RelayFactor, RingFault, RingReport};

/// That the node's own ring has this primary, if the backend tells primaries. Its
/// own answer is always heard.
async fn keeps_primary(node: &Asked, number: u8) -> Verdict {
    let report = list_of(node, 1).await?;
    let Some(primaries) = primaries(node, &report)? else {
        return Ok(());
    };
    let expected = format_args!("{} to keep its primary, {:?}", node.name, key(number));
    ensure(primaries.get(&key(number)) >= 1, expected, &report)
}

/// Waits until these nodes use the key, as one of them tells, if it tells
/// primaries. Asking them to remove it would take it from one that is late.
async fn use_in_time(pool: &dyn KeyringFixture, nodes: &[Asked; 2], number: u8) -> Verdict {
    if !nodes[0].tells_primaries {
        return Ok(());
    }
    let key = key(number);
    let expected = format!("{} and {} to use {key:?}", nodes[0].name, nodes[1].name);
    until(pool, &expected, || async {
        match nodes[0].backend.list(RelayFactor::default()).await {
            Ok(report) if report.primary_keys.get(&key) == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

pub(super) async fn who_lacks_the_key_to_use_fails_alone(pool: &dyn KeyringFixture) -> Verdict {
    let [a, b, lacking] = pool_of::<3>(pool).await?;
    // Asked of the one that lacks it, which at least hears itself.
    let report = change_of(&lacking, 1, Change::Use, &key(2)).await?;
    same("the nodes", &3, &report.nodes)?;
    failed([&lacking], &NodeFailure::KeyNotInstalled, &report)?;
    keeps_primary(&lacking, 1).await?;
    use_in_time(pool, &[a, b], 2).await
}

pub(super) async fn who_lacks_the_key_to_use_is_no_success(pool: &dyn KeyringFixture) -> Verdict {
    let [a, b, lacking] = pool_of::<3>(pool).await?;
    // The others may use the key before it has heard, and it hears them no more.
    let report = change_of(&a, 1, Change::Use, &key(2)).await?;
    same("the nodes", &3, &report.nodes)?;
    let done = report.responses.saturating_sub(report.errors);
    ensure(done <= 2, "at most 2 that have done it", &report)?;
    if report.errors > 0 {
        failed([&lacking], &NodeFailure::KeyNotInstalled, &report)?;
    }
    keeps_primary(&lacking, 1).await?;
    use_in_time(pool, &[a, b], 2).await
}

pub(super) async fn the_primary_of_one_node_is_removed_from_the_others(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [a, _, other] = pool_of::<3>(pool).await?;
    let report = change_of(&other, 1, Change::Remove, &key(2)).await?;
    same("the nodes", &3, &report.nodes)?;
    failed([&other], &NodeFailure::PrimaryKey, &report)?;
    keeps_primary(&other, 2).await?;
    // They no longer hear the one that uses it, unless all is in clear text.
    until(pool, "the key on that node at most", || async {
        match a.backend.list(RelayFactor::default()).await {
            Ok(left) if left.keys.get(&key(2)) <= 1 && left.keys.get(&key(1)) >= 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

pub(super) async fn install_brings_a_key_to_those_that_lack_it(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    done(node, 3, Change::Install, &key(2)).await?;
    lists(node, 3, &counts([(1, 3), (2, 3)])).await
}

pub(super) async fn remove_succeeds_where_some_lack_the_key(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    done(node, 3, Change::Remove, &key(2)).await?;
    lists(node, 3, &counts([(1, 3)])).await
}

/// That every node fails because it gossips in clear text.
fn is_off(nodes: &[Asked], report: &RingReport) -> Verdict {
    same("the nodes", &nodes.len(), &report.nodes)?;
    same("those that answered", &nodes.len(), &report.responses)?;
    failed(nodes, &NodeFailure::EncryptionOff, report)?;
    ensure(report.keys.is_empty(), "no keys", report)
}

pub(super) async fn without_encryption_every_node_says_so(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    is_off(&nodes, &list(&nodes[0]).await?)?;
    for what in Change::ALL {
        is_off(&nodes, &change(&nodes[0], what, &key(100)).await?)?;
    }
    is_off(&nodes, &list(&nodes[1]).await?)
}

pub(super) async fn a_node_without_encryption_fails_alone(pool: &dyn KeyringFixture) -> Verdict {
    let [a, _, clear] = pool_of::<3>(pool).await?;
    let off = NodeFailure::EncryptionOff;
    let report = list(&a).await?;
    failed([&clear], &off, &report)?;
    same("the keys", &counts([(1, 2)]), &report.keys)?;
    failed(
        [&clear],
        &off,
        &change(&a, Change::Install, &key(100)).await?,
    )?;
    let report = list(&a).await?;
    same("the keys", &counts([(1, 2), (100, 2)]), &report.keys)
}

/// That one of three nodes is silent, or counted no longer, and that nobody has
/// failed.
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

pub(super) async fn a_stopped_node_is_silent_or_not_counted(pool: &dyn KeyringFixture) -> Verdict {
    let [a, _, stopped] = pool_of::<3>(pool).await?;
    pool.stop(&stopped.name).await?;
    let report = list_of(&a, 2).await?;
    one_is_down("a listing", &report)?;
    same(
        "the keys of the others",
        &counts([(1, 2), (2, 2), (3, 2)]),
        &report.keys,
    )
}

pub(super) async fn the_others_change_while_a_node_is_down(pool: &dyn KeyringFixture) -> Verdict {
    let [a, b, stopped] = pool_of::<3>(pool).await?;
    pool.stop(&stopped.name).await?;
    for (what, number) in [
        (Change::Install, 100),
        (Change::Use, 100),
        (Change::Remove, 1),
    ] {
        let report = change_of(&a, 2, what, &key(number)).await?;
        one_is_down(&format!("{what:?}"), &report)?;
    }
    let report = list_of(&b, 2).await?;
    same(
        "the keys of the others",
        &counts([(2, 2), (3, 2), (100, 2)]),
        &report.keys,
    )
}

pub(super) async fn a_dead_node_is_not_counted(pool: &dyn KeyringFixture) -> Verdict {
    let [a, b, dead] = pool_of::<3>(pool).await?;
    pool.stop(&dead.name).await?;
    pool.noticed(&dead.name).await?;
    for node in [&a, &b] {
        lists(node, 2, &counts([(1, 2), (2, 2), (3, 2)])).await?;
    }
    for (what, number) in [
        (Change::Install, 100),
        (Change::Use, 100),
        (Change::Remove, 1),
    ] {
        let report = change(&a, what, &key(number)).await?;
        all_done(&format!("{what:?}"), 2, &report)?;
    }
    Ok(())
}

pub(super) async fn a_late_node_is_counted_or_silent(pool: &dyn KeyringFixture) -> Verdict {
    let [a, _, late] = pool_of::<3>(pool).await?;
    pool.slow_down(&late.name, pool.deadline() / 12).await?;
    let in_time = |report: &RingReport| {
        report.nodes == 3 && (2..=3).contains(&report.responses) && report.errors == 0
    };
    let expected = "3 nodes, of which 2 or 3 answer, and none fails";
    let installed = change_of(&a, 2, Change::Install, &key(100)).await?;
    ensure(in_time(&installed), expected, &installed)?;
    let report = list_of(&a, 2).await?;
    ensure(in_time(&report), expected, &report)?;
    let on = report.keys.get(&key(1));
    same("nodes that list the primary", &report.responses, &on)
}

pub(super) async fn a_stopped_node_can_ask_nobody(pool: &dyn KeyringFixture) -> Verdict {
    let [a, _, stopped] = pool_of::<3>(pool).await?;
    pool.stop(&stopped.name).await?;
    let relay = RelayFactor::default();
    let mut not_applied = true;
    for (what, number) in [
        (Change::Install, 100),
        (Change::Use, 2),
        (Change::Remove, 3),
    ] {
        match what.call(&stopped, &key(number), relay).await {
            Err(error) => not_applied &= error.outcome() == Outcome::NotApplied,
            Ok(report) => return ensure(false, "an error", report),
        }
    }
    let listing = stopped.backend.list(relay).await;
    ensure(listing.is_err(), "an error", listing)?;
    if !not_applied {
        return Ok(());
    }
    let report = list_of(&a, 2).await?;
    let rings = counts([(1, 2), (2, 2), (3, 2)]);
    same("the keys of the others", &rings, &report.keys)?;
    match primaries(&a, &report)? {
        Some(primaries) => same("the primaries", &counts([(1, 2)]), primaries),
        None => Ok(()),
    }
}
