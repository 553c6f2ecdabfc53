//! The mocks and the backends of the library pass the suites, and each check of a suite
//! fails on a backend that breaks its rule.
#![allow(clippy::unwrap_used)]

mod acl;
mod acl_mutants;
mod http_peers;
mod keyring;
mod keyring_mutants;
mod peers;
mod peers_mutants;
mod raft;
mod raft_mutants;
mod runs;
mod slow;

use std::future::poll_fn;
use std::task::Poll;

use cluster_operator_conformance::{Check, Report};

/// The names of checks, each with the mutants that it notices.
type Mutants = &'static [(&'static str, &'static [&'static str])];

/// Each check with each of its mutants. Panics if a check has none.
fn each_mutant<W, F: ?Sized>(
    checks: &'static [Check<W, F>],
    mutants: Mutants,
) -> impl Iterator<Item = (&'static Check<W, F>, &'static str)> {
    let names = mutants.iter().map(|(name, _)| *name);
    assert!(names.eq(checks.iter().map(|check| check.name)));
    assert!(mutants.iter().all(|(_, mutants)| !mutants.is_empty()));
    let each = checks.iter().zip(mutants);
    each.flat_map(|(check, (_, mutants))| mutants.iter().map(move |mutant| (check, *mutant)))
}

/// Asserts that each of these reports has one check, which failed.
fn assert_caught(reports: impl IntoIterator<Item = Report>) {
    let mut not_caught = Vec::new();
    for report in reports {
        println!("{report}");
        if report.failures().count() != 1 {
            not_caught.push(report.to_string());
        }
    }
    assert!(not_caught.is_empty(), "{}", not_caught.join("\n"));
}

/// Lets other futures of the same task go on.
async fn give_way() {
    let mut over = false;
    poll_fn(|context| {
        if std::mem::replace(&mut over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
