//! What several checks have in common.

use cluster_operator::error::{ErrorKind, Outcome};
use cluster_operator::raft::{Change, ChangeKind, ConfigVersion, Leadership, RaftMember, RaftView};

use super::cluster::{Answer, Cluster, Member, described, not_applied, shows, untouched};
use crate::fixture::{NotSupported, Stop, Verdict, ensure, same};

impl Cluster<'_> {
    /// Checks that a server which no majority hears any more finds that nobody leads, still
    /// shows the configuration, and refuses a removal.
    pub(super) async fn stays_alone(&self, member: &Member) -> Verdict {
        let is_unknown = |view: &RaftView| view.leadership == Leadership::Unknown;
        let view = self.sees(member, "no leader", is_unknown).await?;
        let servers = view.membership.servers.len();
        same("servers", &self.members().len(), &servers)?;
        for victim in self.members() {
            let removal = self.removal(member, &victim).await?;
            self.refused_without_lead(member, member, &removal).await?;
        }
        Ok(())
    }

    /// Makes a change that removes the leader. Another server leads then and takes
    /// writes, and the old leader stops leading in its own view. Returns the new leader.
    pub(super) async fn steps_down(&self, old: &Member, change: &Change) -> Result<Member, Stop> {
        self.make(old, change).await?;
        let new = self.take_writes(&self.others(old)).await?;
        shows(&self.view(&new).await?, &change.kind)?;
        let expected = format!(
            "{} to stop leading in its own view, or to have none",
            old.id
        );
        self.until(&expected, || async {
            match old.backend.view().await {
                Ok(view) if view.leadership == Leadership::Local => Err(format!("{view:?}")),
                _ => Ok(()),
            }
        })
        .await?;
        Ok(new)
    }

    /// Checks that a change is refused in another term, and in another version, than those
    /// that it was decided on.
    pub(super) async fn outdated_is_refused(&self, leader: &Member, change: &Change) -> Verdict {
        let actual = change.term;
        for term in [actual.wrapping_sub(1), actual + 1, 0, u64::MAX] {
            if term != actual {
                let mut outdated = change.clone();
                outdated.term = term;
                let changed = ErrorKind::TermChanged {
                    expected: term,
                    actual,
                };
                self.refused(leader, &outdated, &changed).await?;
            }
        }
        let actual = change.version;
        let ConfigVersion { term, index } = actual;
        for (term, index) in [
            (term, index.wrapping_sub(1)),
            (term, index + 1),
            (term.wrapping_sub(1), index),
            (term + 1, index),
            (0, 0),
            (u64::MAX, u64::MAX),
        ] {
            let expected = ConfigVersion { term, index };
            if expected != actual {
                let mut outdated = change.clone();
                outdated.version = expected;
                let conflict = ErrorKind::Conflict { expected, actual };
                self.refused(leader, &outdated, &conflict).await?;
            }
        }
        Ok(())
    }

    /// Checks that a change finishes the removal of another server first, which nobody
    /// finishes, and succeeds from the configuration that this leads to.
    pub(super) async fn ends_joint_configuration(
        &self,
        leader: &Member,
        removed: &Member,
        mut change: Change,
    ) -> Verdict {
        let answer = self.ask(leader, &change).await?;
        let after = self.view(leader).await?;
        let (expected, actual) = (change.version, after.version);
        let conflict = ErrorKind::Conflict { expected, actual };
        not_applied(&format!("{conflict:?}"), &answer, |kind| *kind == conflict)?;
        let votes = after
            .membership
            .get(&removed.id)
            .is_some_and(RaftMember::is_voter);
        ensure(
            !votes,
            format_args!("{} without a vote", removed.id),
            &after,
        )?;
        same("the change", &None, &after.change)?;
        change.version = after.version;
        self.make(leader, &change).await
    }

    /// Checks that a change is refused because a server does not have the whole log.
    pub(super) async fn refused_as_behind(
        &self,
        leader: &Member,
        new: &Member,
        change: &Change,
    ) -> Verdict {
        let expected = format!("NotCaughtUp, {}", new.id);
        let is_it =
            |kind: &ErrorKind| matches!(kind, ErrorKind::NotCaughtUp { id, .. } if *id == new.id);
        self.refused_as(leader, leader, change, &expected, is_it)
            .await
    }

    /// Checks that a leader that is lost with the entry of a change, before another server
    /// has it, does not say what became of the change. The others go on without it.
    pub(super) async fn lost_with_its_leader(&self, leader: &Member, change: &Change) -> Verdict {
        let before = self.view(leader).await?;
        self.lose_at_change(leader).await?;
        let answer = self.ask(leader, change).await?;
        let expected = "an error with the outcome Unknown: only this leader has the entry";
        ensure(is_unknown(&answer), expected, &answer)?;
        let next = self.take_writes(&self.others(leader)).await?;
        let after = self.view(&next).await?;
        same(
            "the servers",
            &before.membership.servers,
            &after.membership.servers,
        )
    }

    /// Makes a change, and checks that the leader's views show it and nothing else,
    /// confirmed or not, and in time the views of all other servers.
    pub(super) async fn has_happened(&self, leader: &Member, change: &Change) -> Verdict {
        let before = self.view(leader).await?;
        self.make(leader, change).await?;
        let after = self.view(leader).await?;
        let kind = &change.kind;
        same(
            "the other servers",
            &untouched(&before, kind),
            &untouched(&after, kind),
        )?;
        let removes = !matches!(kind, ChangeKind::Promote { .. });
        let expected = before.membership.servers.len() - usize::from(removes);
        same("servers", &expected, &after.membership.servers.len())?;
        let expected = format!("a version after {}", before.version);
        ensure(after.version > before.version, expected, after.version)?;
        same("the change", &None, &after.change)?;
        let confirmed = leader.backend.confirmed_view(self.timeout()).await;
        let seen = confirmed.map(|view| view.membership);
        same(
            "the confirmed membership",
            &Ok(after.membership.clone()),
            &seen,
        )?;
        let mut followers = self.others(leader);
        followers.retain(|follower| after.membership.get(&follower.id).is_some());
        for follower in followers {
            let expected = format!("version {}", after.version);
            let is_latest = |view: &RaftView| view.version == after.version;
            let view = self.sees(&follower, &expected, is_latest).await?;
            same("the servers", &after.membership, &view.membership)?;
        }
        Ok(())
    }

    /// Checks that a change of a server that is not in the configuration is refused.
    pub(super) async fn refused_as_unknown(&self, leader: &Member, change: &Change) -> Verdict {
        let is_it = |kind: &ErrorKind| matches!(kind, ErrorKind::UnknownServer(_));
        self.refused_as(leader, leader, change, "UnknownServer", is_it)
            .await
    }

    /// Makes a change at the leader, whatever became of an earlier attempt, and waits until
    /// these servers take writes.
    pub(super) async fn made_in_the_end(&self, kind: &ChangeKind, members: &[Member]) -> Verdict {
        let expected = format!("the effect of: {}", described(kind));
        self.until(&expected, || async {
            for member in self.members() {
                let view = member.backend.view().await.ok();
                let Some(view) = view.filter(|view| view.leadership == Leadership::Local) else {
                    continue;
                };
                let change = Change::new(kind.clone(), &view, self.timeout());
                return match member.backend.change_membership(&change).await {
                    Err(error) if was_made_before(error.kind()) => Ok(()),
                    answer => answer.map_err(|error| format!("{error:?}")),
                };
            }
            Err("no leader".into())
        })
        .await?;
        let leader = self.take_writes(members).await?;
        shows(&self.view(&leader).await?, kind)
    }

    /// Begins a change, and drops it after so many polls. Checks that all of it is in force
    /// or nothing, and that it can be made then.
    pub(super) async fn happens_whole_or_not_at_all(
        &self,
        leader: &Member,
        polls: usize,
        kind: ChangeKind,
        stayers: &[Member],
    ) -> Verdict {
        let before = self.view(leader).await?;
        let change = Change::new(kind, &before, self.timeout());
        let kind = &change.kind;
        if polls == 0 {
            // Skips the check if the backend does not support the change.
            let mut outdated = change.clone();
            outdated.term += 1;
            let answer = self.ask(leader, &outdated).await?;
            ensure(answer.is_err(), "an error", answer)?;
        }
        self.step(format!(
            "{}, and drop it after {polls} polls",
            described(kind)
        ));
        self.dropped(polls, leader.backend.change_membership(&change))
            .await;
        let now = self.view(leader).await?;
        let is_new = shows(&now, kind).is_ok() && untouched(&now, kind) == untouched(&before, kind);
        let holds = now.change.is_some() || is_new || now.membership == before.membership;
        ensure(
            holds,
            format_args!("{before:?}, with or without: {}", described(kind)),
            now,
        )?;
        self.made_in_the_end(kind, stayers).await
    }

    /// Transfers the lead. Skips the check if the backend does not support it.
    pub(super) async fn transfer(&self, at: &Member, to: &Member) -> Result<Answer<()>, Stop> {
        let timeout = self.timeout();
        let what = format!("transfer the lead at {} to {}", at.id, to.id);
        let call = at.backend.transfer_leadership(&to.id, timeout);
        match self.answer(&what, timeout * 2, call).await? {
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => {
                Err(NotSupported::new("the backend has no leadership transfer").into())
            }
            answer => Ok(answer),
        }
    }
}

pub(super) fn is_unknown(answer: &Answer<()>) -> bool {
    let error = answer.as_ref();
    error.is_err_and(|error| error.outcome() == Outcome::Unknown)
}

/// Whether a change may be refused so because it was made before.
fn was_made_before(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnknownServer(_)
            | ErrorKind::AlreadyVoter { .. }
            | ErrorKind::NothingToReplace { .. }
    )
}
