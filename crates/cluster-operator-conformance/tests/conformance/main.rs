//! The backends of this crate keep the rules that its conformance suites check,
//! and each check can fail.
// A test is over where something is not as it has to be.
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
mod slow;

use std::future::poll_fn;
use std::task::Poll;

use cluster_operator_conformance::Report;

/// Asserts that each of these checks has failed, on a backend that breaks the
/// rule of that check.
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

/// Lets what runs at the same time go on.
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
