//! What the Raft checks ask of a cluster.

use std::future::Future;

use super::{Member, RaftFixture};
use crate::conformance::verdict::{Stop, Verdict, ensure, same, until};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::raft::{Consistency, Leadership, PeerSelector, RaftConfiguration};

/// What a call of a backend answers.
pub(super) type Answer<T> = Result<T, OperatorError>;

/// The server that leads and knows it, once there is one, and all the others
/// follow it.
pub(super) async fn leader(raft: &dyn RaftFixture) -> Result<Member, Stop> {
    let members = raft.members();
    until(
        raft,
        "one server that leads, and the others follow",
        || async {
            let views: Vec<_> = members
                .iter()
                .map(|member| (member, member.backend.leadership()))
                .collect();
            let mut leaders = views
                .iter()
                .filter(|(_, view)| *view == Leadership::Local)
                .map(|(member, _)| *member);
            match (leaders.next(), leaders.next()) {
                (Some(leader), None) if views.iter().all(|(_, view)| follows(view, leader)) => {
                    leader
                        .backend
                        .configuration(Consistency::Default)
                        .await
                        .map(|_| leader.clone())
                        .map_err(|error| format!("{} leads and answers: {error:?}", leader.id))
                }
                _ => Err(format!("{:?}", told(&views))),
            }
        },
    )
    .await
}

fn follows(view: &Leadership, leader: &Member) -> bool {
    match view {
        Leadership::Local => true,
        Leadership::Elsewhere(hint) => hint.id == leader.id,
        Leadership::None => false,
    }
}

fn told<'a>(views: &'a [(&Member, Leadership)]) -> Vec<(&'a str, &'a Leadership)> {
    let views = views.iter();
    views
        .map(|(member, view)| (member.id.as_str(), view))
        .collect()
}

/// The servers that do not lead.
pub(super) fn others(raft: &dyn RaftFixture, leader: &Member) -> Vec<Member> {
    let mut members = raft.members();
    members.retain(|member| member.id != leader.id);
    members
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

/// The ids in a configuration, in order.
pub(super) fn ids(configuration: &RaftConfiguration) -> Vec<&str> {
    let servers = configuration.servers.iter();
    servers.map(|server| server.id.as_str()).collect()
}

/// Removes a server, which has to succeed.
pub(super) async fn removed(leader: &Member, server: &PeerSelector) -> Verdict {
    let removal = leader.backend.remove_server(server, None).await;
    ensure(
        removal.is_ok(),
        format_args!("{server} to be removed"),
        removal,
    )
}

/// Waits until a server that leads has a configuration without this one.
pub(super) async fn gone(raft: &dyn RaftFixture, gone: &Member) -> Result<RaftConfiguration, Stop> {
    let members = raft.members();
    let expected = format!("a leader whose configuration has no {}", gone.id);
    until(raft, &expected, || async {
        let mut seen = Vec::new();
        for member in members.iter().filter(|member| member.id != gone.id) {
            let read = member.backend.configuration(Consistency::Default).await;
            match read {
                Ok(read) if !ids(&read).contains(&gone.id.as_str()) => return Ok(read),
                other => seen.push(format!("{}: {other:?}", member.id)),
            }
        }
        Err(seen.join("; "))
    })
    .await
}

/// That a call was refused, in these words, and that nothing came of it.
pub(super) async fn refused<T: std::fmt::Debug>(
    leader: &Member,
    expected: &str,
    call: impl Future<Output = Answer<T>>,
    is_it: impl FnOnce(&ErrorKind) -> bool,
) -> Verdict {
    let before = read(leader, Consistency::Default).await?;
    let answer = call.await;
    match &answer {
        Err(error) if is_it(error.kind()) => {
            let outcome = error.outcome();
            let expected = format!("{expected}, with the outcome");
            same(&expected, &Outcome::NotApplied, &outcome)?;
        }
        _ => return ensure(false, expected, answer),
    }
    let after = read(leader, Consistency::Default).await?;
    same("the servers, as before", &ids(&before), &ids(&after))?;
    same("the index, as before", &before.index, &after.index)
}
