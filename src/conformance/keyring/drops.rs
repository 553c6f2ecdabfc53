//! Calls that nobody waits for to the end.

use super::ask::{Asked, Change, counts, done, listed, pool_of, primaries, same_listing};
use super::{KeyringFixture, key};
use crate::conformance::poll::given_up;
use crate::conformance::verdict::{Verdict, ensure, same, until};
use crate::keyring::{GossipKey, KeyCounts, RelayFactor};

/// After how many polls a call is dropped.
const POLLS: [usize; 6] = [0, 1, 2, 3, 5, 9];

/// Gives the call up after so many polls.
async fn drop_after(
    pool: &dyn KeyringFixture,
    polls: usize,
    what: Change,
    node: &Asked,
    key: &GossipKey,
) {
    given_up(pool, polls, what.call(node, key, RelayFactor::default())).await;
}

/// Asks again until the keys are as they should be. What was given up may still
/// be on its way.
async fn repeated(
    pool: &dyn KeyringFixture,
    what: Change,
    node: &Asked,
    key: &GossipKey,
    is_so: impl Fn(&KeyCounts, &KeyCounts) -> bool + Sync,
) -> Verdict {
    let expected = format!("{what:?}, which was given up once, to be done");
    until(pool, &expected, || async {
        let again = what.call(node, key, RelayFactor::default()).await;
        let listed = node.backend.list(RelayFactor::default()).await;
        match (&again, &listed) {
            (Ok(report), Ok(now))
                if report.fault().is_none() && is_so(&now.keys, &now.primary_keys) =>
            {
                Ok(())
            }
            _ => Err(format!("{again:?}, and then {listed:?}")),
        }
    })
    .await
}

pub(super) async fn a_dropped_install_leaves_every_ring_whole(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for (polls, number) in POLLS.into_iter().zip(100..) {
        let key = key(number);
        drop_after(pool, polls, Change::Install, node, &key).await;
        let mut report = listed(node, 3).await?;
        let added = report.keys.get(&key);
        ensure(added <= 3, "the new key on some nodes", &report)?;
        keeps_first_keys(&report.keys)?;
        if let Some(primaries) = primaries(node, &report)? {
            same("the primaries", &counts([(1, 3)]), primaries)?;
        }
        repeated(pool, Change::Install, node, &key, |keys, _| {
            keys.get(&key) == 3
        })
        .await?;
        report = listed(node, 3).await?;
        keeps_first_keys(&report.keys)?;
    }
    Ok(())
}

/// That the keys of the beginning are on every node.
fn keeps_first_keys(keys: &KeyCounts) -> Verdict {
    for number in [1, 2, 3] {
        let on = keys.get(&key(number));
        ensure(on == 3, format_args!("key {number} on 3 nodes"), keys)?;
    }
    Ok(())
}

pub(super) async fn a_dropped_use_leaves_every_ring_whole(pool: &dyn KeyringFixture) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for (polls, number) in POLLS.into_iter().zip([2, 3, 1, 2, 3, 1]) {
        let key = key(number);
        drop_after(pool, polls, Change::Use, node, &key).await;
        let report = listed(node, 3).await?;
        same("the keys", &counts([(1, 3), (2, 3), (3, 3)]), &report.keys)?;
        if let Some(primaries) = primaries(node, &report)? {
            let on: usize = primaries.iter().map(|(_, count)| count).sum();
            same("nodes with a primary", &3, &on)?;
        }
        repeated(pool, Change::Use, node, &key, |_, used| {
            used.get(&key) == 3 || !node.tells_primaries
        })
        .await?;
    }
    Ok(())
}

pub(super) async fn a_dropped_removal_leaves_every_ring_whole(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    for (polls, number) in POLLS.into_iter().zip(100..) {
        let key = key(number);
        done(node, 3, Change::Install, &key).await?;
        drop_after(pool, polls, Change::Remove, node, &key).await;
        let report = listed(node, 3).await?;
        keeps_first_keys(&report.keys)?;
        if let Some(primaries) = primaries(node, &report)? {
            same("the primaries", &counts([(1, 3)]), primaries)?;
        }
        repeated(pool, Change::Remove, node, &key, |keys, _| {
            keys.get(&key) == 0
        })
        .await?;
    }
    Ok(())
}

pub(super) async fn a_dropped_listing_leaves_the_next_one_alone(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [node, ..] = &pool_of::<3>(pool).await?;
    let expected = listed(node, 3).await?;
    for polls in POLLS {
        given_up(pool, polls, node.backend.list(RelayFactor::default())).await;
        same_listing("the listing as before", &expected, &listed(node, 3).await?)?;
    }
    Ok(())
}
