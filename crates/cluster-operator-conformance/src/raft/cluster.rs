//! The fixture of a Raft, and what the checks do with it, recorded step by step.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::error::{ErrorKind, OperatorError, Outcome};
use cluster_operator::raft::{
    Change, ChangeKind, Leadership, PendingChange, RaftBackend, RaftMember, RaftView,
};
use cluster_operator::types::{ServerAddress, ServerId};

use crate::fixture::{Fixture, NotSupported, Stop, Trial, Verdict, ensure, exactly, same};

/// The servers that a check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Servers {
    /// The number of voters; at least one.
    pub voters: usize,
    /// The number of non-voters.
    pub nonvoters: usize,
}

impl Servers {
    /// So many voters, and no non-voters.
    pub const fn voters(voters: usize) -> Self {
        Servers {
            voters,
            nonvoters: 0,
        }
    }
}

/// A server of the cluster.
#[derive(Clone)]
pub struct Member {
    /// Its id, as its backend reports it.
    pub id: ServerId,
    /// Its Raft address, as its backend reports it.
    pub address: ServerAddress,
    /// The backend under test, in this server.
    pub backend: Arc<dyn RaftBackend>,
}

impl Member {
    /// A server of the cluster.
    pub fn new(
        id: impl Into<ServerId>,
        address: impl Into<ServerAddress>,
        backend: impl RaftBackend + 'static,
    ) -> Self {
        Member {
            id: id.into(),
            address: address.into(),
            backend: Arc::new(backend),
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({} at {})", self.id, self.address)
    }
}

/// A cluster of the servers that were wanted, all of them up.
///
/// It need not have a leader yet: a check waits for one. What a fixture cannot do, it
/// leaves at the default, which is [`NotSupported`]; the checks that need it are skipped.
///
/// The timeout of a call is a twelfth of the [deadline](Fixture::deadline), and should be
/// at least eight election timeouts.
#[allow(unused_variables)]
#[async_trait]
pub trait RaftFixture: Fixture {
    /// The servers that were wanted: first the voters, then the non-voters.
    fn members(&self) -> Vec<Member>;

    /// Stops a server for good: it neither votes nor answers. Returns once nothing of it
    /// runs.
    async fn stop(&self, server: &ServerId) -> Result<(), NotSupported> {
        NotSupported::cannot("stop a server")
    }

    /// Cuts a server off from all the others, at once. It still runs, and its backend is
    /// still asked.
    async fn isolate(&self, server: &ServerId) -> Result<(), NotSupported> {
        NotSupported::cannot("cut a server off")
    }

    /// Makes the next change of the configuration lose a server: cuts it off, or stops it,
    /// once a leader has appended the entry, and before the entry reaches this server, or
    /// any other one if this server is the leader. Returns before that.
    ///
    /// If the servers of a fixture talk over links of its own, a link can look for the
    /// entry. A check of a voter that is lost also needs
    /// [`reconnect`](RaftFixture::reconnect).
    async fn lose_at_change(&self, server: &ServerId) -> Result<(), NotSupported> {
        NotSupported::cannot("lose a server at a change")
    }

    /// Undoes [`isolate`](RaftFixture::isolate) or
    /// [`lose_at_change`](RaftFixture::lose_at_change).
    async fn reconnect(&self, server: &ServerId) -> Result<(), NotSupported> {
        NotSupported::cannot("reconnect a server")
    }

    /// Leaves the removal of a server unfinished, without the backend under test:
    /// [`Uncommitted`](PendingChange::Uncommitted), with the entry appended and the other
    /// servers cut off, or [`Joint`](PendingChange::Joint), with the joint configuration
    /// committed and nobody who finishes it.
    async fn leave_unfinished(
        &self,
        removal: &ServerId,
        at: PendingChange,
    ) -> Result<(), NotSupported> {
        NotSupported::cannot("leave a change unfinished")
    }

    /// Proposes an entry that does not change the configuration, through the leader, and
    /// returns whether it was committed. It may take as long as it likes.
    ///
    /// # Errors
    /// [`NotSupported`] by default. The checks then accept a leader that confirms its lead
    /// as a cluster that takes writes.
    async fn write(&self) -> Result<bool, NotSupported> {
        NotSupported::cannot("write")
    }
}

/// The answer of a backend.
pub(super) type Answer<T> = Result<T, OperatorError>;

/// A check in progress on a fixture's cluster.
pub(super) type Cluster<'a> = Trial<'a, dyn RaftFixture>;

/// Checks that there are as many servers as were wanted. Which of them vote is for the
/// backend to show.
pub(super) async fn ready(wanted: Servers, raft: Cluster<'_>) -> Verdict {
    let Servers { voters, nonvoters } = wanted;
    let ids: Vec<_> = raft.members().into_iter().map(|it| it.id).collect();
    let expected = format!("a fixture of {voters} voters and {nonvoters} non-voters");
    ensure(
        ids.len() == voters + nonvoters,
        expected,
        format_args!("a fixture of {}: {ids:?}", ids.len()),
    )
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

    /// Leaves the removal of a server unfinished, as the leader's view has to show.
    pub(super) async fn leave_unfinished(
        &self,
        removed: &Member,
        at: PendingChange,
        leader: &Member,
    ) -> Verdict {
        let id = &removed.id;
        self.step(format!("leave the removal of {id} unfinished: {at:?}"));
        self.fixture.leave_unfinished(id, at).await?;
        same("the change", &Some(at), &self.view(leader).await?.change)
    }

    // What is asked.

    /// The leader, once there is one, and so many of the others.
    pub(super) async fn led<const N: usize>(&self) -> Result<(Member, [Member; N]), Stop> {
        let leader = self.leader().await?;
        let others = self.others(&leader).into_iter().take(N);
        Ok((leader, exactly("other servers", others)?))
    }

    /// The leader, once there is one.
    pub(super) async fn leader(&self) -> Result<Member, Stop> {
        self.leader_among(&self.members()).await
    }

    /// The leader of these servers, once the others follow it, it confirms that it leads,
    /// and no change is under way.
    pub(super) async fn leader_among(&self, members: &[Member]) -> Result<Member, Stop> {
        let expected = "one server that leads and confirms it, and that the others follow";
        let leader = self
            .until(expected, || async {
                let mut views = Vec::new();
                for member in members {
                    let failed = |error| format!("{} answers {error:?}", member.id);
                    views.push((member, member.backend.view().await.map_err(failed)?));
                }
                let mut leaders = views.iter();
                let leader = leaders.find(|(_, view)| view.leadership == Leadership::Local);
                let leader = leader.map(|(leader, _)| *leader);
                let id = leader.map(|leader| &leader.id);
                let settled = |view: &RaftView| view.leader() == id && view.change.is_none();
                let all = views.iter().all(|(_, view)| settled(view));
                let Some(leader) = leader.filter(|_| all) else {
                    let shown = views.iter().map(|(by, view)| shown(by, view));
                    return Err(shown.collect::<Vec<_>>().join("; "));
                };
                let confirmed = leader.backend.confirmed_view(self.timeout()).await;
                let refused = |error| format!("{} confirms nothing: {error:?}", leader.id);
                confirmed.map(|_| leader.clone()).map_err(refused)
            })
            .await?;
        self.step(format!("{} leads", leader.id));
        Ok(leader)
    }

    /// The server's own view.
    pub(super) async fn view(&self, by: &Member) -> Result<RaftView, Stop> {
        let answer = self.within(self.timeout(), by.backend.view()).await;
        let Some(Ok(view)) = answer else {
            let expected = format!("a view of {}", by.id);
            return Err(Stop::failed(expected, format!("{answer:?}")));
        };
        self.step(format!("view of {}", shown(by, &view)));
        Ok(view)
    }

    /// The removal of a server, as the leader sees the cluster now.
    pub(super) async fn removal(&self, leader: &Member, of: &Member) -> Result<Change, Stop> {
        let view = self.view(leader).await?;
        Ok(Change::remove(of.id.clone(), &view, self.timeout()))
    }

    /// The replacement of a voter, as the leader sees the cluster now.
    pub(super) async fn replacement(
        &self,
        leader: &Member,
        old: &Member,
        new: &Member,
    ) -> Result<Change, Stop> {
        let view = self.view(leader).await?;
        let (old, new) = (old.id.clone(), new.id.clone());
        Ok(Change::replace(old, new, &view, self.timeout()))
    }

    /// The promotion of a server, as the leader sees the cluster now.
    pub(super) async fn promotion(&self, leader: &Member, of: &Member) -> Result<Change, Stop> {
        let view = self.view(leader).await?;
        Ok(Change::promote(of.id.clone(), &view, self.timeout()))
    }

    /// The answer to a change, which has to come within its timeout. A busy machine gets
    /// as much time again. Skips the check if the backend does not support it, unless it is
    /// a removal.
    pub(super) async fn ask(&self, at: &Member, change: &Change) -> Result<Answer<()>, Stop> {
        let limit = change.timeout.saturating_add(self.timeout());
        self.ask_within(limit, at, change).await
    }

    pub(super) async fn ask_within(
        &self,
        limit: Duration,
        at: &Member,
        change: &Change,
    ) -> Result<Answer<()>, Stop> {
        let kind = described(&change.kind);
        let what = format!(
            "{kind} at {} (term {}, version {}, {:?}, timeout {:?})",
            at.id, change.term, change.version, change.proof, change.timeout
        );
        let call = at.backend.change_membership(change);
        match (self.answer(&what, limit, call).await?, &change.kind) {
            (answer, ChangeKind::Remove { .. }) => Ok(answer),
            (Err(error), _) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => {
                Err(NotSupported::new(format!("the backend does not {kind}")).into())
            }
            (answer, _) => Ok(answer),
        }
    }

    /// Makes a change, which has to succeed and to show at once, unless it removes the
    /// leader.
    pub(super) async fn make(&self, leader: &Member, change: &Change) -> Verdict {
        let answer = self.ask(leader, change).await?;
        ensure(answer.is_ok(), described(&change.kind), answer)?;
        match &change.kind {
            ChangeKind::Remove { id } | ChangeKind::Replace { id, .. } if *id == leader.id => {
                Ok(())
            }
            kind => shows(&self.view(leader).await?, kind),
        }
    }

    /// Removes a server, as [`make`](Self::make) does.
    pub(super) async fn remove(&self, leader: &Member, victim: &Member) -> Verdict {
        self.make(leader, &self.removal(leader, victim).await?)
            .await
    }

    /// Asks the leader for a change that has to be refused with this error, and to change
    /// nothing.
    pub(super) async fn refused(
        &self,
        leader: &Member,
        change: &Change,
        kind: &ErrorKind,
    ) -> Verdict {
        let expected = format!("{kind:?}");
        self.refused_as(leader, leader, change, &expected, |seen| seen == kind)
            .await
    }

    /// Asks a server that does not lead for a change, which has to be refused, and to
    /// change nothing in another one's view.
    pub(super) async fn refused_without_lead(
        &self,
        at: &Member,
        seen_by: &Member,
        change: &Change,
    ) -> Verdict {
        let expected = "NotLeader or NoLeader";
        self.refused_as(at, seen_by, change, expected, does_not_lead)
            .await
    }

    /// Asks for a change that has to be refused, and to change nothing in a server's view.
    pub(super) async fn refused_as(
        &self,
        at: &Member,
        seen_by: &Member,
        change: &Change,
        expected: &str,
        is_it: impl FnOnce(&ErrorKind) -> bool,
    ) -> Verdict {
        let before = self.view(seen_by).await?;
        let answer = self.ask(at, change).await?;
        not_applied(expected, &answer, is_it)?;
        self.unchanged(seen_by, &before).await
    }

    /// Asks the leader for a change whose proof has to fail. The proof may take a quarter
    /// of the timeout; a busy machine gets as much time again.
    pub(super) async fn unproven(&self, leader: &Member, change: &Change) -> Verdict {
        let before = self.view(leader).await?;
        let answer = self.ask_within(change.timeout / 2, leader, change).await?;
        let (removed, added) = servers(&change.kind);
        let stay = before.membership.voters();
        let stay = stay.filter(|voter| Some(&voter.id) != removed).count();
        let wanted = change.proof.needed(stay + usize::from(added.is_some()));
        let expected = format!("QuorumUnproven, with {wanted} voters needed and fewer confirmed");
        not_applied(&expected, &answer, |kind| {
            matches!(kind, ErrorKind::QuorumUnproven { confirmed, needed, .. }
                if *needed == wanted && confirmed < needed)
        })?;
        self.unchanged(leader, &before).await
    }

    /// Checks that the configuration and its version are as before.
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
        self.until(&wanted, || async {
            match by.backend.view().await {
                Ok(view) if holds(&view) => Ok(view),
                Ok(view) => Err(shown(by, &view)),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .await
    }

    /// Waits until these servers have a leader that commits a write.
    pub(super) async fn take_writes(&self, members: &[Member]) -> Result<Member, Stop> {
        let leader = self.leader_among(members).await?;
        self.until("the cluster to commit a write", || async {
            match self.fixture.write().await {
                Ok(false) => Err("a write that was not committed".into()),
                // The leader has just confirmed that it leads.
                Ok(true) | Err(_) => Ok(()),
            }
        })
        .await?;
        Ok(leader)
    }
}

/// Whether a server that does not lead may answer so.
pub(super) fn does_not_lead(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotLeader { .. } | ErrorKind::NoLeader)
}

/// Checks that an answer is an error of this kind, with the outcome `NotApplied`.
pub(super) fn not_applied<T: fmt::Debug>(
    expected: &str,
    answer: &Answer<T>,
    is_it: impl FnOnce(&ErrorKind) -> bool,
) -> Verdict {
    let holds = match answer {
        Err(error) => is_it(error.kind()) && error.outcome() == Outcome::NotApplied,
        Ok(_) => false,
    };
    let expected = format!("{expected}, with the outcome NotApplied");
    ensure(holds, expected, answer)
}

/// The server that a change removes, and the one that it makes a voter.
fn servers(kind: &ChangeKind) -> (Option<&ServerId>, Option<&ServerId>) {
    match kind {
        ChangeKind::Remove { id } => (Some(id), None),
        ChangeKind::Replace { id, with } => (Some(id), Some(with)),
        ChangeKind::Promote { id } => (None, Some(id)),
        _ => (None, None),
    }
}

/// A change in words.
pub(super) fn described(kind: &ChangeKind) -> String {
    match servers(kind) {
        (Some(id), Some(with)) => format!("replace {id} with {with}"),
        (Some(id), None) => format!("remove {id}"),
        (None, Some(id)) => format!("promote {id}"),
        (None, None) => format!("{kind:?}"),
    }
}

/// The servers that a change leaves as they are.
pub(super) fn untouched(view: &RaftView, kind: &ChangeKind) -> Vec<RaftMember> {
    let (removed, added) = servers(kind);
    let mut rest = view.membership.servers.clone();
    rest.retain(|server| Some(&server.id) != removed && Some(&server.id) != added);
    rest
}

/// Checks that a view shows a change: a server that was removed is not even a non-voter.
pub(super) fn shows(after: &RaftView, kind: &ChangeKind) -> Verdict {
    let (removed, added) = servers(kind);
    let stays = |id| after.membership.get(id).is_some();
    let votes = |id| after.membership.get(id).is_some_and(RaftMember::is_voter);
    let holds = !removed.is_some_and(stays) && added.is_none_or(votes);
    ensure(
        holds,
        format_args!("the effect of: {}", described(kind)),
        after,
    )
}

/// A view in one line.
fn shown(by: &Member, view: &RaftView) -> String {
    let leader = match &view.leadership {
        Leadership::Local => "leads".into(),
        Leadership::Remote(hint) => format!("follows {}", hint.id),
        Leadership::Unknown => "knows no leader".into(),
    };
    let servers = view.membership.servers.iter();
    let servers: Vec<_> = servers.map(|server| server.id.as_str()).collect();
    let (id, term, version) = (&by.id, view.term, view.version);
    let servers = servers.join(", ");
    let mut shown = format!("{id} (term {term}, version {version}) {leader}: {servers}");
    if let Some(change) = view.change {
        shown += &format!(", with a change {change:?}");
    }
    shown
}
