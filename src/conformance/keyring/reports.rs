//! What a report tells beside the keys, and what it must not tell.

use super::ask::{
    Asked, Change, all_done, change, failed, list, pool_of, relayed_change, relayed_list,
    same_listing, unchanged,
};
use super::{KeyringFixture, Node, key};
use crate::conformance::NotSupported;
use crate::conformance::verdict::{Stop, Verdict, ensure, same, until};
use crate::error::ErrorKind;
use crate::keyring::{KeyringBackend, NodeFailure, RelayFactor, RingReport};
use crate::name::NodeName;

/// A call of each kind that succeeds, and of each kind that nodes refuse, in a
/// pool whose nodes hold the keys 1, 2 and 3. It ends as it began.
const CALLS: [(Change, u8); 8] = [
    (Change::Install, 100),
    (Change::Install, 100),
    (Change::Use, 100),
    (Change::Remove, 100),
    (Change::Use, 101),
    (Change::Use, 1),
    (Change::Remove, 100),
    (Change::Remove, 100),
];

/// What a listing and each of the calls tell.
pub(super) async fn all_reports(node: &Node) -> Result<Vec<(String, RingReport)>, Stop> {
    let mut reports = vec![("a listing".into(), list(node).await?)];
    for (what, number) in CALLS {
        let report = change(node, what, &key(number)).await?;
        reports.push((format!("{what:?} of key {number}"), report));
    }
    Ok(reports)
}

pub(super) async fn answers_and_failures_add_up(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for (what, report) in all_reports(node).await? {
        let failures = report.failures().count();
        let adds_up = (report.nodes, report.responses) == (3, 3) && report.errors == failures;
        let expected = format_args!("{what}: 3 answers of 3 nodes, an error for each failure");
        ensure(adds_up, expected, &report)?;
    }
    Ok(())
}

pub(super) async fn who_succeeds_is_not_told_to_have_failed(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for (what, report) in all_reports(node).await? {
        if report.errors == 0 {
            let expected = format_args!("{what}: no failure in the messages");
            ensure(report.failures().next().is_none(), expected, &report)?;
        }
    }
    Ok(())
}

pub(super) async fn who_fails_is_told_by_name(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    for node in &nodes {
        let report = change(node, Change::Remove, &key(1)).await?;
        failed(&nodes, &NodeFailure::PrimaryKey, &report)?;
    }
    Ok(())
}

pub(super) async fn a_change_lists_no_keys(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for (what, report) in &all_reports(node).await?[1..] {
        let empty = report.keys.is_empty() && report.primary_keys.is_empty();
        ensure(empty, format_args!("{what}: no keys"), report)?;
    }
    Ok(())
}

fn relays() -> impl Iterator<Item = RelayFactor> {
    (0..=RelayFactor::MAX.get()).filter_map(|factor| RelayFactor::try_from(factor).ok())
}

pub(super) async fn a_listing_is_the_same_with_every_relay_factor(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<4>(pool).await?;
    let expected = list(node).await?;
    for relay in relays() {
        let what = format!("a listing with relay factor {}", relay.get());
        same_listing(&what, &expected, &relayed_list(node, relay).await?)?;
    }
    Ok(())
}

pub(super) async fn a_change_counts_once_with_every_relay_factor(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<4>(pool).await?;
    let before = list(node).await?;
    for relay in relays() {
        let steps = [
            (Change::Install, 100),
            (Change::Use, 100),
            (Change::Use, 1),
            (Change::Remove, 100),
        ];
        for (what, number) in steps {
            let report = relayed_change(node, what, &key(number), relay).await?;
            let what = format!("{what:?} with relay factor {}", relay.get());
            all_done(&what, 4, &report)?;
        }
    }
    unchanged(node, &before).await
}

pub(super) async fn the_pool_is_always_the_same(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    let expected = nodes[0].backend.pool();
    for (what, number) in CALLS {
        change(&nodes[0], what, &key(number)).await?;
        for node in &nodes {
            same("the pool", &expected, &node.backend.pool())?;
        }
    }
    Ok(())
}

/// Waits until the backend of this node names these members.
async fn has_members(pool: &dyn KeyringFixture, node: &Asked, members: &[Asked]) -> Verdict {
    let mut expected: Vec<_> = members.iter().map(|member| &member.name).collect();
    expected.sort();
    if !knows_members(&*node.backend) {
        return Err(NotSupported::new("the backend does not name its members").into());
    }
    let wanted = format!("{} to name the members {expected:?}", node.name);
    until(pool, &wanted, || async {
        let mut seen: Vec<NodeName> = match node.backend.members() {
            Ok(seen) => seen,
            Err(error) => return Err(format!("{error:?}")),
        };
        seen.sort();
        let same = seen.iter().eq(expected.iter().copied());
        if same {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await
}

fn knows_members(backend: &dyn KeyringBackend) -> bool {
    let unsupported = |kind: &ErrorKind| matches!(kind, ErrorKind::Unsupported { .. });
    !backend
        .members()
        .is_err_and(|error| unsupported(error.kind()))
}

pub(super) async fn the_members_are_the_nodes(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = pool_of::<3>(pool).await?;
    for node in &nodes {
        has_members(pool, node, &nodes).await?;
    }
    Ok(())
}

pub(super) async fn a_dead_node_is_no_member(pool: &dyn KeyringFixture) -> Verdict {
    let [a, b, dead] = pool_of::<3>(pool).await?;
    pool.stop(&dead.name).await?;
    pool.noticed(&dead.name).await?;
    let living = [a, b];
    for node in &living {
        has_members(pool, node, &living).await?;
    }
    Ok(())
}
