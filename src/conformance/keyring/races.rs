//! Calls at the same time, polled by one task: they meet only where they wait.

use futures_util::future::{join, join_all};

use super::ask::{
    Change, all_done, change, change_of, counts, list, list_of, listed, lists, pool_of, primaries,
};
use super::{KeyringFixture, key};
use crate::conformance::verdict::{Verdict, ensure, same};

pub(super) async fn installs_of_one_key_at_once_add_it_once(pool: &dyn KeyringFixture) -> Verdict {
    let [a, b, _] = &pool_of::<3>(pool).await?;
    let key = key(100);
    let calls = [a, b, a, b].map(|node| change(node, Change::Install, &key));
    for report in join_all(calls).await {
        all_done("Install", 3, &report?)?;
    }
    lists(a, 3, &counts([(1, 3), (2, 3), (3, 3), (100, 3)])).await
}

pub(super) async fn installs_of_several_keys_at_once_add_all(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = &pool_of::<3>(pool).await?;
    let keys = [100, 101, 102].map(key);
    let calls = nodes.iter().zip(&keys);
    let calls = calls.map(|(node, key)| change(node, Change::Install, key));
    for report in join_all(calls).await {
        all_done("Install", 3, &report?)?;
    }
    let expected = counts([(1, 3), (2, 3), (3, 3), (100, 3), (101, 3), (102, 3)]);
    lists(&nodes[0], 3, &expected).await
}

pub(super) async fn uses_of_two_keys_at_once_leave_every_ring_whole(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [a, b, _] = &pool_of::<3>(pool).await?;
    let (two, three) = (key(2), key(3));
    let both = join(change(a, Change::Use, &two), change(b, Change::Use, &three)).await;
    all_done("Use", 3, &both.0?)?;
    all_done("Use", 3, &both.1?)?;
    let report = listed(a, 3).await?;
    same("the keys", &counts([(1, 3), (2, 3), (3, 3)]), &report.keys)?;
    let Some(primaries) = primaries(a, &report)? else {
        return Ok(());
    };
    let used = primaries.get(&two) + primaries.get(&three);
    ensure(used == 3, "one of the two in use on every node", &report)
}

pub(super) async fn a_key_is_not_used_and_removed_at_once(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = &pool_of::<3>(pool).await?;
    let two = key(2);
    let (used, removed) = join(
        change_of(&nodes[0], 1, Change::Use, &two),
        change_of(&nodes[0], 1, Change::Remove, &two),
    )
    .await;
    let (used, removed) = (used?, removed?);
    let did = |report: &crate::keyring::RingReport| report.responses - report.errors;
    let once = did(&used) + did(&removed) <= 3;
    ensure(
        once,
        "one of the two to fail on each node",
        (&used, &removed),
    )?;
    for node in nodes {
        // They may have parted: not all of them hear each other any more.
        let report = list_of(node, 1).await?;
        let Some(primaries) = primaries(node, &report)? else {
            continue;
        };
        let on: usize = primaries.iter().map(|(_, count)| count).sum();
        same("nodes with a primary", &report.responses, &on)?;
        let held = |(key, count)| report.keys.get(key) >= count;
        let held = primaries.iter().all(held);
        ensure(held, "rings that hold their primaries", &report)?;
    }
    Ok(())
}

pub(super) async fn a_listing_beside_changes_sees_whole_rings(
    pool: &dyn KeyringFixture,
) -> Verdict {
    let [a, b, _] = &pool_of::<3>(pool).await?;
    for (what, number) in [
        (Change::Install, 100),
        (Change::Use, 100),
        (Change::Use, 2),
        (Change::Remove, 100),
    ] {
        let key = key(number);
        let change = change(b, what, &key);
        let (first, done, second) = futures_util::future::join3(list(a), change, list(a)).await;
        all_done(&format!("{what:?}"), 3, &done?)?;
        for report in [first?, second?] {
            all_done("a listing", 3, &report)?;
            let mut others = report.keys.iter().filter(|(held, _)| **held != key);
            let whole = others.all(|(_, count)| count == 3);
            let expected = "the keys that nobody changes on all nodes";
            ensure(
                whole && report.keys.get(&self::key(1)) == 3,
                expected,
                &report,
            )?;
            if let Some(primaries) = primaries(a, &report)? {
                let on: usize = primaries.iter().map(|(_, count)| count).sum();
                same("nodes with a primary", &3, &on)?;
            }
        }
    }
    Ok(())
}

pub(super) async fn many_calls_at_once_all_end(pool: &dyn KeyringFixture) -> Verdict {
    let nodes = &pool_of::<3>(pool).await?;
    let keys: Vec<_> = (100..106).map(key).collect();
    let listings = join_all((0..18).map(|number| list(&nodes[number % 3])));
    let installs = keys.iter().zip(nodes.iter().cycle());
    let installs = join_all(installs.map(|(key, node)| change(node, Change::Install, key)));
    let (listings, installs) = join(listings, installs).await;
    for report in listings.into_iter().chain(installs) {
        all_done("a call among many", 3, &report?)?;
    }
    Ok(())
}
