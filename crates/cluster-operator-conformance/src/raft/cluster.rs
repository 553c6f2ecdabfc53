//! What the checks do to a cluster and ask of it, recorded step by step.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::{Member, RaftFixture, Servers};
use crate::fixture::{NotSupported, Stop, Trial, Verdict, ensure, same};
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::raft::{
    LeaderHint, Leadership, PendingChange, RaftMember, RaftView, Removal,
};
use cluster_operator::types::ServerId;

/// The answer of a backend.
pub(super) type Answer<T> = Result<T, OperatorError>;

/// An id that no server has; a number, since the ids of some engines are.
pub(super) const NOBODY: &str = "4611686018427387904";

/// A check in progress on a fixture's cluster.
pub(super) type Cluster<'a> = Trial<'a, dyn RaftFixture>;

/// Checks that there are as many servers as were wanted. Which of them vote is for the
/// backend to show.
pub(super) async fn ready(wanted: Servers, raft: Cluster<'_>) -> Verdict {
    let Servers { voters, nonvoters } = wanted;
    let ids: Vec<_> = raft.members().into_iter().map(|it| it.id).collect();
    let expected =
        format!("a fixture of {voters} voters and {nonvoters} non-voters, as was wanted");
    let seen = format_args!("a fixture of {}: {ids:?}", ids.len());
    ensure(ids.len() == voters + nonvoters, expected, seen)
}

impl Cluster<'_> {
    pub(super) fn members(&self) -> Vec<Member> {
        self.fixture.members()
    }

    /// The servers beside this one: voters first.
    pub(super) fn others(&self, one: &Member) -> Vec<Member> {
        self.without(&[one])
    }

    pub(super) fn without(&self, some: &[&Member]) -> Vec<Member> {
        let mut members = self.members();
        members.retain(|member| some.iter().all(|one| one.id != member.id));
        members
    }

    // What is done to the cluster.

    pub(super) async fn stop(&self, member: &Member) -> Result<(), NotSupported> {
        self.step(format!("stop {}", member.id));
        self.fixture.stop(&member.id).await
    }

    pub(super) async fn isolate(&self, member: &Member) -> Result<(), NotSupported> {
        self.step(format!("cut {} off", member.id));
        self.fixture.isolate(&member.id).await
    }

    pub(super) async fn lose_at_change(&self, member: &Member) -> Result<(), NotSupported> {
        let id = &member.id;
        self.step(format!(
            "from now on: lose {id} once a change is appended, before it reaches {id}"
        ));
        self.fixture.lose_at_change(id).await
    }

    pub(super) async fn reconnect(&self, member: &Member) -> Result<(), NotSupported> {
        self.step(format!("reconnect {}", member.id));
        self.fixture.reconnect(&member.id).await
    }

    pub(super) async fn leave_unfinished(
        &self,
        removed: &Member,
        at: PendingChange,
    ) -> Result<(), NotSupported> {
        let id = &removed.id;
        self.step(format!("leave the removal of {id} unfinished: {at:?}"));
        self.fixture.leave_unfinished(id, at).await
    }

    // What is asked.

    /// The server that leads, once there is one.
    pub(super) async fn leader(&self) -> Result<Member, Stop> {
        self.leader_among(&self.members()).await
    }

    /// The one of these servers that leads, once the others follow it, it confirms
    /// that it leads, and no change is under way.
    pub(super) async fn leader_among(&self, members: &[Member]) -> Result<Member, Stop> {
        let expected = "one server that leads and confirms it, and that the others follow";
        let leader = self
            .until(expected, || async {
                let mut views = Vec::new();
                for member in members {
                    match member.backend.view().await {
                        Ok(view) => views.push((member, view)),
                        Err(error) => return Err(format!("{} answers {error:?}", member.id)),
                    }
                }
                let seen = || views.iter().map(|(by, view)| told(by, view));
                let seen = || seen().collect::<Vec<_>>().join("; ");
                let leads = |(_, view): &&(&Member, RaftView)| view.leadership == Leadership::Local;
                let leaders: Vec<_> = views.iter().filter(leads).collect();
                let [(leader, view)] = leaders[..] else {
                    return Err(seen());
                };
                let follow = views
                    .iter()
                    .all(|(_, view)| view.leader() == Some(&leader.id));
                if !follow || view.change.is_some() {
                    return Err(seen());
                }
                match leader.backend.confirmed_view(self.timeout()).await {
                    Ok(_) => Ok((*leader).clone()),
                    Err(error) => Err(format!(
                        "{} leads and does not confirm it: {error:?}",
                        leader.id
                    )),
                }
            })
            .await?;
        self.step(format!("{} leads", leader.id));
        Ok(leader)
    }

    /// The server's own view.
    pub(super) async fn view(&self, by: &Member) -> Result<RaftView, Stop> {
        let view = self.within(self.timeout(), by.backend.view()).await;
        self.step(match &view {
            Some(Ok(view)) => format!("view of {}", told(by, view)),
            other => format!("view of {}: {other:?}", by.id),
        });
        match view {
            Some(Ok(view)) => Ok(view),
            other => Err(Stop::failed(
                format!("a view of {}", by.id),
                format!("{other:?}"),
            )),
        }
    }

    /// The removal of a server, as the leader sees the cluster now.
    pub(super) async fn removal(&self, leader: &Member, of: &Member) -> Result<Removal, Stop> {
        let view = self.view(leader).await?;
        Ok(Removal::new(of.id.clone(), &view, self.timeout()))
    }

    /// The answer to a removal, which has to come within its timeout. As much again
    /// is let pass, for a machine that is busy.
    pub(super) async fn ask(&self, at: &Member, removal: &Removal) -> Result<Answer<()>, Stop> {
        let limit = removal.timeout + self.timeout();
        self.ask_within(limit, at, removal).await
    }

    pub(super) async fn ask_within(
        &self,
        limit: Duration,
        at: &Member,
        removal: &Removal,
    ) -> Result<Answer<()>, Stop> {
        let Removal {
            id,
            term,
            version,
            proof,
            timeout,
            ..
        } = removal;
        let what = format!(
            "remove {id} at {} (term {term}, version {version}, {proof:?}, timeout {timeout:?})",
            at.id
        );
        let answer = self.within(limit, at.backend.remove_server(removal)).await;
        self.step(match &answer {
            Some(answer) => format!("{what}: {}", answered(answer)),
            None => format!("{what}: no answer within {limit:?}"),
        });
        answer.ok_or_else(|| {
            Stop::failed(
                format!("an answer to: {what}"),
                format!("none within {limit:?}"),
            )
        })
    }

    /// Removes a server, which has to succeed.
    pub(super) async fn remove(&self, leader: &Member, victim: &Member) -> Verdict {
        let removal = self.removal(leader, victim).await?;
        let answer = self.ask(leader, &removal).await?;
        let expected = format_args!("{} to be removed", victim.id);
        ensure(answer.is_ok(), expected, answer)
    }

    /// Asks for a removal that has to be refused with this error, and to leave the
    /// configuration of `leader` as it was.
    pub(super) async fn refused(
        &self,
        at: &Member,
        leader: &Member,
        removal: &Removal,
        expected: &str,
        is_it: impl FnOnce(&ErrorKind) -> bool,
    ) -> Verdict {
        let before = self.view(leader).await?;
        let answer = self.ask(at, removal).await?;
        not_applied(expected, &answer, is_it)?;
        self.unchanged(leader, &before).await
    }

    /// The same of a removal for which the proof fails. A proof takes a quarter of
    /// the timeout at most; twice that is let pass, for a machine that is busy.
    pub(super) async fn unproven(&self, leader: &Member, removal: &Removal) -> Verdict {
        let before = self.view(leader).await?;
        let limit = removal.timeout / 2;
        let answer = self.ask_within(limit, leader, removal).await?;
        let stayers = before.membership.voters();
        let stayers = stayers.filter(|voter| voter.id != removal.id).count();
        let wanted = removal.proof.needed(stayers);
        let expected = format!("QuorumUnproven, with {wanted} voters needed and fewer confirmed");
        not_applied(&expected, &answer, |kind| {
            matches!(kind, ErrorKind::QuorumUnproven { confirmed, needed, .. }
                if *needed == wanted && confirmed < needed)
        })?;
        self.unchanged(leader, &before).await
    }

    /// That the configuration and its version are as before.
    pub(super) async fn unchanged(&self, by: &Member, before: &RaftView) -> Verdict {
        let after = self.view(by).await?;
        let what = "the servers, as before";
        same(what, &before.membership.servers, &after.membership.servers)?;
        same("the version, as before", &before.version, &after.version)
    }

    /// Waits until a server's own view is as it should be.
    pub(super) async fn sees(
        &self,
        by: &Member,
        expected: &str,
        holds: impl Fn(&RaftView) -> bool,
    ) -> Result<RaftView, Stop> {
        let wanted = format!("{} to see {expected}", by.id);
        let view = self
            .until(&wanted, || async {
                match by.backend.view().await {
                    Ok(view) if holds(&view) => Ok(view),
                    Ok(view) => Err(told(by, &view)),
                    Err(error) => Err(format!("{error:?}")),
                }
            })
            .await?;
        self.step(format!("{} sees {expected}", by.id));
        Ok(view)
    }

    /// Waits until a server does not lead in its own view, or has none any more.
    pub(super) async fn stops_leading(&self, member: &Member) -> Verdict {
        let expected = format!("{} to stop leading in its own view", member.id);
        self.until(&expected, || async {
            match member.backend.view().await {
                Ok(view) if view.leadership == Leadership::Local => Err(told(member, &view)),
                _ => Ok(()),
            }
        })
        .await?;
        self.step(format!("{} does not lead", member.id));
        Ok(())
    }

    /// That these servers have a leader that commits a write.
    pub(super) async fn take_writes(&self, members: &[Member]) -> Result<Member, Stop> {
        let leader = self.leader_among(members).await?;
        let expected = "the cluster to commit a write";
        self.until(expected, || async {
            match self.fixture.write().await {
                Ok(true) => Ok(()),
                Ok(false) => Err("a write that was not committed".into()),
                // Its leader has just confirmed that it leads.
                Err(_) => Ok(()),
            }
        })
        .await?;
        self.step("the cluster takes writes");
        Ok(leader)
    }
}

/// What may be answered by a server that does not lead.
pub(super) fn does_not_lead(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotLeader { .. } | ErrorKind::NoLeader)
}

/// That an answer is an error of this kind, of something that did not happen.
pub(super) fn not_applied<T: fmt::Debug>(
    expected: &str,
    answer: &Answer<T>,
    is_it: impl FnOnce(&ErrorKind) -> bool,
) -> Verdict {
    let holds = match answer {
        Err(error) => is_it(error.kind()) && error.outcome() == Outcome::NotApplied,
        Ok(_) => false,
    };
    let expected = format_args!("{expected}, with the outcome NotApplied");
    ensure(holds, expected, answer)
}

/// That what was answered is so.
pub(super) fn as_answered(after: &RaftView, victim: &ServerId, answer: &Answer<()>) -> Verdict {
    let is_there = after.membership.get(victim).is_some();
    match answer {
        Ok(()) => ensure(!is_there, format_args!("no {victim} after Ok"), after),
        Err(error) if error.outcome() == Outcome::NotApplied => {
            let expected = format_args!("{victim} still there after {error:?}");
            ensure(is_there, expected, after)
        }
        Err(_) => Ok(()),
    }
}

/// The hint that names a member.
pub(super) fn hint(member: &Member) -> LeaderHint {
    LeaderHint {
        id: member.id.clone(),
        address: member.address.clone(),
    }
}

/// The members of a view without one.
pub(super) fn without(view: &RaftView, one: &Member) -> Vec<RaftMember> {
    let mut servers = view.membership.servers.clone();
    servers.retain(|server| server.id != one.id);
    servers
}

fn answered<T>(answer: &Answer<T>) -> String {
    match answer {
        Ok(_) => "Ok".into(),
        Err(error) => format!("{:?}, outcome {:?}", error.kind(), error.outcome()),
    }
}

/// A view in one line.
fn told(by: &Member, view: &RaftView) -> String {
    let leader = match &view.leadership {
        Leadership::Local => "leads".into(),
        Leadership::Remote(hint) => format!("follows {}", hint.id),
        Leadership::Unknown => "knows no leader".into(),
    };
    let servers = view.membership.servers.iter();
    let servers: Vec<_> = servers.map(|server| server.id.as_str()).collect();
    let mut told = format!(
        "{} (term {}, version {}) {leader}: {}",
        by.id,
        view.term,
        view.version,
        servers.join(", ")
    );
    if let Some(change) = view.change {
        told += &format!(", with a change {change:?}");
    }
    told
}

/// Both answers of two calls at once.
pub(super) async fn both<T>(
    one: impl Future<Output = T>,
    other: impl Future<Output = T>,
) -> [T; 2] {
    let (one, other) = futures_util::future::join(one, other).await;
    [one, other]
}
