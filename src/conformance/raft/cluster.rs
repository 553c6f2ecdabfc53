//! What the Raft checks ask of a cluster.

use std::fmt::Debug;
use std::future::Future;

use super::{Member, RaftFixture};
use crate::conformance::verdict::{Stop, Verdict, ensure, same, until};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{Consistency, Leadership, PeerSelector, RaftConfiguration, RaftServer, Suffrage};

/// What a call of a backend answers.
pub(super) type Answer<T> = Result<T, OperatorError>;

/// An id that no server has; a number, since the ids of some engines are.
pub(super) const NOBODY: &str = "4611686018427387904";

/// The server that leads, once there is one.
pub(super) async fn leader(raft: &dyn RaftFixture) -> Result<Member, Stop> {
    leader_among(raft, &raft.members()).await
}

/// The one of these servers that leads, once it answers and all of them follow.
pub(super) async fn leader_among(
    raft: &dyn RaftFixture,
    members: &[Member],
) -> Result<Member, Stop> {
    let expected = "one server that leads and answers, and that the others follow";
    until(raft, expected, || async {
        let views = members
            .iter()
            .map(|member| (member, member.backend.leadership()));
        let views: Vec<_> = views.collect();
        let local = |(_, view): &&(&Member, Leadership)| *view == Leadership::Local;
        let leaders: Vec<_> = views.iter().filter(local).collect();
        let [(leader, _)] = leaders[..] else {
            return Err(told(&views));
        };
        if !views.iter().all(|(_, view)| is_led(view, leader)) {
            return Err(told(&views));
        }
        match leader.backend.configuration(Consistency::Default).await {
            Ok(_) => Ok((*leader).clone()),
            Err(error) => Err(format!("{} leads and answers {error:?}", leader.id)),
        }
    })
    .await
}

fn is_led(view: &Leadership, leader: &Member) -> bool {
    match view {
        Leadership::Local => true,
        Leadership::Elsewhere(hint) => hint.id == leader.id,
        Leadership::None => false,
    }
}

fn told(views: &[(&Member, Leadership)]) -> String {
    let views = views.iter();
    let views: Vec<_> = views
        .map(|(member, view)| format!("{}: {view:?}", member.id))
        .collect();
    views.join(", ")
}

/// These servers without this one.
pub(super) fn without(mut members: Vec<Member>, one: &Member) -> Vec<Member> {
    members.retain(|member| member.id != one.id);
    members
}

/// The servers that do not lead.
pub(super) fn others(raft: &dyn RaftFixture, leader: &Member) -> Vec<Member> {
    without(raft.members(), leader)
}

pub(super) fn by_id(member: &Member) -> PeerSelector {
    PeerSelector::Id(member.id.clone())
}

pub(super) fn by_address(member: &Member) -> PeerSelector {
    PeerSelector::Address(member.address.clone())
}

/// The configuration as this server tells it.
pub(super) async fn read(
    member: &Member,
    consistency: Consistency,
) -> Result<RaftConfiguration, Stop> {
    let read = member.backend.configuration(consistency).await;
    read.map_err(|error| {
        let what = format!("{} to answer a {consistency:?} read", member.id);
        Stop::failed(what, format!("{error:?}"))
    })
}

/// The latest configuration, as the leader tells it.
pub(super) async fn latest(leader: &Member) -> Result<RaftConfiguration, Stop> {
    read(leader, Consistency::Default).await
}

/// What a change is to leave alone in a server.
pub(super) type Standing<'a> = (&'a str, &'a str, Suffrage);

pub(super) fn standing(server: &RaftServer) -> Standing<'_> {
    (server.id.as_str(), server.address.as_str(), server.suffrage)
}

/// The servers of a configuration, in order.
pub(super) fn standings(configuration: &RaftConfiguration) -> Vec<Standing<'_>> {
    configuration.servers.iter().map(standing).collect()
}

pub(super) fn holds(configuration: &RaftConfiguration, member: &Member) -> bool {
    let mut servers = configuration.servers.iter();
    servers.any(|server| server.id == member.id)
}

/// Removes a server, which has to succeed.
pub(super) async fn remove(leader: &Member, server: &PeerSelector) -> Verdict {
    let removal = leader.backend.remove_server(server, None).await;
    let done = removal.is_ok();
    ensure(done, format_args!("{server} to be removed"), removal)
}

/// Waits until this server's own view lacks the other one.
pub(super) async fn forgotten(
    raft: &dyn RaftFixture,
    by: &Member,
    gone: &Member,
) -> Result<RaftConfiguration, Stop> {
    let expected = format!("{} to know of no {} any more", by.id, gone.id);
    until(raft, &expected, || async {
        match by.backend.configuration(Consistency::Stale).await {
            Ok(read) if !holds(&read, gone) => Ok(read),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// That a call is refused as it has to be, and that nothing comes of it.
pub(super) async fn refused<T: Debug>(
    leader: &Member,
    expected: &str,
    call: impl Future<Output = Answer<T>>,
    is_it: impl FnOnce(&ErrorKind) -> bool,
) -> Verdict {
    let before = latest(leader).await?;
    not_applied(expected, call.await, is_it)?;
    let after = latest(leader).await?;
    let (before, after) = (&before, &after);
    same(
        "the servers, as before",
        &standings(before),
        &standings(after),
    )?;
    same("the index, as before", &before.index, &after.index)
}

/// That an answer is an error of this kind, of something that did not happen.
pub(super) fn not_applied<T: Debug>(
    expected: &str,
    answer: Answer<T>,
    is_it: impl FnOnce(&ErrorKind) -> bool,
) -> Verdict {
    let holds = match &answer {
        Err(error) => is_it(error.kind()) && error.outcome() == Outcome::NotApplied,
        Ok(_) => false,
    };
    let expected = format_args!("{expected}, with the outcome NotApplied");
    ensure(holds, expected, answer)
}
