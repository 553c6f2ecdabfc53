//! That a cluster is what was wanted, before a rule is tried on it.

use std::future::ready;

use super::{RaftFixture, Servers};
use crate::conformance::check::Checking;
use crate::conformance::verdict::{Verdict, ensure};
use crate::conformance::wanted::Wanted;

impl Wanted<dyn RaftFixture> for Servers {
    fn ready<'a>(&'a self, raft: &'a (dyn RaftFixture + 'static)) -> Checking<'a> {
        Box::pin(ready(as_many(raft, *self)))
    }
}

/// Which of them vote is for the backend to tell.
fn as_many(raft: &dyn RaftFixture, Servers { voters, nonvoters }: Servers) -> Verdict {
    let members = raft.members();
    let ids: Vec<_> = members.iter().map(|member| &member.id).collect();
    let expected =
        format_args!("a fixture of the servers wanted: {voters} with a vote, {nonvoters} without");
    let seen = format_args!("a fixture of {}: {ids:?}", ids.len());
    ensure(ids.len() == voters + nonvoters, expected, seen)
}
