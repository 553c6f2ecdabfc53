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

/// The check of this name.
fn named<W, F: ?Sized>(checks: &'static [Check<W, F>], name: &str) -> &'static Check<W, F> {
    let found = checks.iter().find(|check| check.name() == name);
    found.unwrap_or_else(|| panic!("there is no check {name}"))
}

/// Asserts that each check of a suite is named, so that something makes it fail.
fn assert_all_named<W, F: ?Sized>(checks: &[Check<W, F>], named: &[&str]) {
    let names = checks.iter().map(Check::name);
    let idle: Vec<_> = names.filter(|name| !named.contains(name)).collect();
    assert!(idle.is_empty(), "{idle:?}");
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
