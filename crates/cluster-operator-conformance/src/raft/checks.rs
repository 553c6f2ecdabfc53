//! The Raft checks.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cluster::{
    Cluster, NOBODY, as_answered, both, does_not_lead, hint, not_applied, ready, without,
};
use super::{Member, RaftCheck, Servers};
use crate::check::checks;
use crate::fixture::{Stop, Verdict, ensure, same};
use cluster_operator::error::{ErrorKind, Outcome};
use cluster_operator::raft::{
    ConfigVersion, Leadership, PeerSelector, PendingChange, Proof, RaftMember, Removal, Suffrage,
};

checks! {
    ($) __conformance_raft_names, RaftCheck;

    /// In a cluster that is whole, one server's view is `Local`, and that of all the
    /// others names that server.
    #[source("Raft, section 5.2")]
    #[needs(Servers::voters(3))]
    async fn one_server_leads_and_the_others_follow(raft: Cluster<'_>) -> Verdict {
        raft.leader().await.map(|_| ())
    }

    /// A single voter leads, and confirms it.
    #[source("Raft, section 5.2: it is a majority by itself")]
    #[needs(Servers::voters(1))]
    async fn single_voter_leads(raft: Cluster<'_>) -> Verdict {
        raft.leader().await.map(|_| ())
    }

    /// A view is that of the server that is asked, and holds its id.
    #[source("the contract of `RaftBackend`, views")]
    #[needs(Servers::voters(3).and_nonvoters(1))]
    async fn view_is_the_servers_own(raft: Cluster<'_>) -> Verdict {
        raft.leader().await?;
        for member in raft.members() {
            let view = raft.view(&member).await?;
            same("the view's id", &member.id, &view.id)?;
            let (servers, known) = (view.membership.servers.len(), view.status.len());
            let expected = format_args!("the status of at most {servers} servers");
            ensure(known <= servers, expected, known)?;
        }
        Ok(())
    }

    /// A follower's hint is the leader's id, and its address as the configuration
    /// holds it: requests are sent there.
    #[source("consul#2782; openraft, ForwardToLeader")]
    #[needs(Servers::voters(3).and_nonvoters(1))]
    async fn hint_is_the_leaders_id_and_address(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let expected = Leadership::Remote(hint(&leader));
        for follower in raft.others(&leader) {
            let view = raft.view(&follower).await?;
            same("the leadership", &expected, &view.leadership)?;
        }
        Ok(())
    }

    /// The membership holds the id, the address and the suffrage of each server, and
    /// no others. The quorum is counted by it.
    #[source("Consul's operator API; etcd#10459")]
    #[needs(Servers::voters(3).and_nonvoters(1))]
    async fn membership_holds_the_servers_there_are(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let view = raft.view(&leader).await?;
        let servers = view.membership.servers.iter();
        let is_voter = |server: &RaftMember| server.is_voter();
        let held: BTreeSet<_> = servers
            .map(|server| {
                (
                    server.id.as_str(),
                    server.address.as_str(),
                    is_voter(server),
                )
            })
            .collect();
        let members = raft.members();
        let there: BTreeSet<_> = members
            .iter()
            .enumerate()
            .map(|(at, member)| (member.id.as_str(), member.address.as_str(), at < 3))
            .collect();
        same("the servers: id, address, vote", &there, &held)?;
        same("servers", &members.len(), &view.membership.servers.len())
    }

    /// Reading changes nothing: two views without a change between them show the
    /// same servers in the same order, and the same version.
    #[source("Consul's operator API, Index")]
    #[needs(Servers::voters(3))]
    async fn reading_changes_nothing(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        for member in raft.members() {
            let before = raft.view(&member).await?;
            raft.unchanged(&member, &before).await?;
        }
        let before = raft.view(&leader).await?;
        let _ = leader.backend.confirmed_view(raft.timeout()).await;
        raft.unchanged(&leader, &before).await
    }

    /// A confirmed view is one of a leader, in the term in which it was confirmed.
    #[source("Raft, section 8; hashicorp/raft VerifyLeader")]
    #[needs(Servers::voters(3))]
    async fn leader_confirms_its_view(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let view = raft.view(&leader).await?;
        let confirmed = leader.backend.confirmed_view(raft.timeout()).await;
        let holds = confirmed.as_ref().is_ok_and(|confirmed| {
            let parts = |view: &cluster_operator::raft::RaftView| (view.term, view.version, view.id.clone());
            confirmed.leadership == Leadership::Local
                && parts(confirmed) == parts(&view)
                && confirmed.membership == view.membership
        });
        ensure(
            holds,
            format_args!("the same view, confirmed: {view:?}"),
            confirmed,
        )
    }

    /// A server that does not lead confirms nothing: it is `NotLeader` or `NoLeader`.
    #[source("consul#2782")]
    #[needs(Servers::voters(3).and_nonvoters(1))]
    async fn follower_confirms_no_view(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        for follower in raft.others(&leader) {
            let confirmed = follower.backend.confirmed_view(raft.timeout()).await;
            not_applied("NotLeader or NoLeader", &confirmed, does_not_lead)?;
        }
        Ok(())
    }

    /// A leader that is cut off confirms no view from then on, also while it does not
    /// know yet: neither what it has heard before nor a lease is a confirmation. The
    /// error has the outcome `NotApplied`, as a read changes nothing.
    #[source("Raft, section 8; hashicorp/raft VerifyLeader")]
    #[needs(Servers::voters(3))]
    async fn cut_off_leader_confirms_no_view(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        raft.isolate(&leader).await?;
        let timeout = raft.timeout();
        let call = leader.backend.confirmed_view(timeout);
        let confirmed = raft.within(timeout * 2, call).await;
        let expected = format!("NotLeader, NoLeader or DeadlineExceeded within {timeout:?}");
        let Some(confirmed) = confirmed else {
            return Err(Stop::failed(expected, "no answer"));
        };
        not_applied(&expected, &confirmed, |kind| {
            does_not_lead(kind) || matches!(kind, ErrorKind::DeadlineExceeded { .. })
        })
    }

    /// A confirmed view whose future is dropped, at any point, changes nothing and
    /// blocks nothing.
    #[source("the contract of `RaftBackend`, cancel safety")]
    #[needs(Servers::voters(3))]
    async fn dropped_views_block_nothing(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let before = raft.view(&leader).await?;
        for polls in 0..4 {
            let call = leader.backend.confirmed_view(raft.timeout());
            raft.dropped(polls, call).await;
            raft.dropped(polls, leader.backend.view()).await;
            raft.unchanged(&leader, &before).await?;
            let again = leader.backend.confirmed_view(raft.timeout()).await;
            ensure(again.is_ok(), "a confirmed view", again)?;
        }
        Ok(())
    }

    /// Once the leader is down another voter leads, in a greater term, and the one
    /// that is down stays in the configuration until someone removes it.
    #[source("Raft, section 5.2")]
    #[needs(Servers::voters(3))]
    async fn term_grows_when_another_server_leads(raft: Cluster<'_>) -> Verdict {
        let old = raft.leader().await?;
        let before = raft.view(&old).await?;
        raft.stop(&old).await?;
        let new = raft.leader_among(&raft.others(&old)).await?;
        let after = raft.view(&new).await?;
        let expected = format!("a term after {}", before.term);
        ensure(after.term > before.term, expected, after.term)?;
        raft.unchanged(&new, &before).await
    }

    /// A server that was stopped does not lead in its own view. Its backend may
    /// answer with an error, if the whole server is gone.
    #[source("the contract of `RaftBackend`, views")]
    #[needs(Servers::voters(3))]
    async fn stopped_server_knows_no_leader(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let follower = &raft.others(&leader)[0];
        for stopped in [follower, &leader] {
            raft.stop(stopped).await?;
            let view = raft.within(raft.timeout(), stopped.backend.view()).await;
            let holds = match &view {
                Some(Ok(view)) => view.leadership == Leadership::Unknown,
                Some(Err(_)) => true,
                None => false,
            };
            let expected = format_args!("Unknown or an error from {}", stopped.id);
            ensure(holds, expected, view)?;
        }
        Ok(())
    }

    /// Without a majority nobody leads, in the view of a follower that is left: it
    /// does not name the last leader for good. It still shows the configuration, and
    /// refuses a removal.
    #[source("consul#2817, nomad#4430")]
    #[needs(Servers::voters(3))]
    async fn follower_without_a_majority_knows_no_leader(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        raft.stop(&others[0]).await?;
        raft.stop(&leader).await?;
        alone(&raft, &others[1]).await
    }

    /// A leader that reaches no majority stops leading in its own view, and refuses a
    /// removal from then on.
    #[source("Raft, section 6.2 of the thesis; hashicorp/raft LeaderLeaseTimeout")]
    #[needs(Servers::voters(3))]
    async fn leader_without_a_majority_stops_leading(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        for follower in raft.others(&leader) {
            raft.stop(&follower).await?;
        }
        alone(&raft, &leader).await
    }

    /// A leader that is cut off, and that the others have replaced, stops leading in
    /// its own view, and refuses a removal from then on.
    #[source("etcd raft, CheckQuorum; hashicorp/raft LeaderLeaseTimeout")]
    #[needs(Servers::voters(3))]
    async fn cut_off_leader_stops_leading(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        raft.isolate(&leader).await?;
        raft.leader_among(&raft.others(&leader)).await?;
        alone(&raft, &leader).await
    }

    /// An id that the configuration does not hold is `UnknownServer`, never a quiet
    /// success, and nothing changes. So is a server that was removed before.
    #[source("Consul's operator API; vault#9318")]
    #[needs(Servers::voters(3))]
    async fn unknown_server_is_refused(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let victim = &raft.others(&leader)[0];
        raft.remove(&leader, victim).await?;
        for id in [NOBODY, "", "no such server", victim.id.as_str()] {
            let removal = Removal::new(id, &raft.view(&leader).await?, raft.timeout());
            let unknown = ErrorKind::UnknownServer(PeerSelector::Id(id.into()));
            let is_it = |kind: &ErrorKind| *kind == unknown;
            raft.refused(&leader, &leader, &removal, &format!("{unknown:?}"), is_it)
                .await?;
        }
        Ok(())
    }

    /// The last voter is `LastVoter`, also beside servers without a vote, and nothing
    /// changes.
    #[source("hashicorp/raft checkConfiguration")]
    #[needs(Servers::voters(1).and_nonvoters(1))]
    async fn last_voter_is_refused(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let removal = raft.removal(&leader, &leader).await?;
        let is_it = |kind: &ErrorKind| *kind == ErrorKind::LastVoter;
        raft.refused(&leader, &leader, &removal, "LastVoter", is_it)
            .await
    }

    /// A server that does not lead answers `NotLeader` or `NoLeader`, whoever is to be
    /// removed, and nothing changes.
    #[source("consul#2817, nomad#4430")]
    #[needs(Servers::voters(3))]
    async fn follower_refuses_a_removal(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        for victim in [&others[0], &others[1], &leader] {
            let removal = raft.removal(&leader, victim).await?;
            let expected = "NotLeader or NoLeader";
            raft.refused(&others[0], &leader, &removal, expected, does_not_lead)
                .await?;
        }
        Ok(())
    }

    /// With a term that is not the leader's, lower or higher, a removal is
    /// `TermChanged`, and nothing changes.
    #[source("the contract of `RaftBackend`, step 1")]
    #[needs(Servers::voters(3))]
    async fn other_term_is_refused(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let mut removal = raft.removal(&leader, &raft.others(&leader)[0]).await?;
        let actual = removal.term;
        for expected in [actual.wrapping_sub(1), actual + 1, 0, u64::MAX] {
            if expected != actual {
                removal.term = expected;
                term_changed(&raft, &leader, &removal, actual).await?;
            }
        }
        Ok(())
    }

    /// A removal that was decided on under a former leader is `TermChanged` at the
    /// next one, although the configuration is the same.
    #[source("the contract of `RaftBackend`, step 1")]
    #[needs(Servers::voters(3))]
    async fn term_of_a_former_leader_is_refused(raft: Cluster<'_>) -> Verdict {
        let old = raft.leader().await?;
        let removal = raft.removal(&old, &old).await?;
        raft.stop(&old).await?;
        let new = raft.leader_among(&raft.others(&old)).await?;
        let actual = raft.view(&new).await?.term;
        term_changed(&raft, &new, &removal, actual).await
    }

    /// With a version that is not the configuration's, a removal is `Conflict`, and
    /// nothing changes: be its index lower or higher, or its term alone another one.
    #[source("hashicorp/raft RemoveServer, prevIndex; an index repeats across terms")]
    #[needs(Servers::voters(3))]
    async fn other_version_is_refused(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let mut removal = raft.removal(&leader, &raft.others(&leader)[0]).await?;
        let actual = removal.version;
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
                removal.version = expected;
                conflict(&raft, &leader, &removal, actual).await?;
            }
        }
        Ok(())
    }

    /// A version that was right before another removal is a `Conflict` after it.
    #[source("hashicorp/raft RemoveServer, prevIndex")]
    #[needs(Servers::voters(4))]
    async fn version_before_another_removal_is_refused(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let removal = raft.removal(&leader, &others[1]).await?;
        raft.remove(&leader, &others[0]).await?;
        let actual = raft.view(&leader).await?.version;
        conflict(&raft, &leader, &removal, actual).await
    }

    /// While another change is uncommitted, the view shows it, and a removal is
    /// `ChangeInProgress`: not applied.
    #[source("Raft, section 4.1 of the thesis: one change at a time")]
    #[needs(Servers::voters(3))]
    async fn removal_during_another_change_is_refused(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        raft.leave_unfinished(&others[0], PendingChange::Uncommitted)
            .await?;
        let view = raft.view(&leader).await?;
        same(
            "the change",
            &Some(PendingChange::Uncommitted),
            &view.change,
        )?;
        let removal = Removal::new(others[1].id.clone(), &view, raft.timeout());
        let answer = raft.ask(&leader, &removal).await?;
        let is_it = |kind: &ErrorKind| *kind == ErrorKind::ChangeInProgress;
        not_applied("ChangeInProgress", &answer, is_it)
    }

    /// A joint configuration that is committed, and that nobody ends, is ended by the
    /// next removal. If that was of the same server, it is `Ok`.
    #[source("the contract of `RaftBackend`, step 1; openraft leaves them so")]
    #[needs(Servers::voters(5))]
    async fn removal_ends_its_own_joint_configuration(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let victim = &raft.others(&leader)[0];
        left_joint(&raft, &leader, victim).await?;
        raft.remove(&leader, victim).await?;
        let after = raft.view(&leader).await?;
        as_answered(&after, &victim.id, &Ok(()))?;
        same("the change", &None, &after.change)
    }

    /// A removal of another server ends such a joint configuration as well, and is a
    /// `Conflict` with the version that this leads to.
    #[source("the contract of `RaftBackend`, step 1; openraft leaves them so")]
    #[needs(Servers::voters(5))]
    async fn removal_ends_another_joint_configuration(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        left_joint(&raft, &leader, &others[0]).await?;
        let removal = raft.removal(&leader, &others[1]).await?;
        let answer = raft.ask(&leader, &removal).await?;
        let after = raft.view(&leader).await?;
        let (expected, actual) = (removal.version, after.version);
        let conflict = ErrorKind::Conflict { expected, actual };
        let is_it = |kind: &ErrorKind| *kind == conflict;
        not_applied(&format!("{conflict:?}"), &answer, is_it)?;
        let votes = |server: &RaftMember| server.id == others[0].id && server.is_voter();
        let done = !after.membership.servers.iter().any(votes);
        let expected = format!("{} without a vote", others[0].id);
        ensure(done, expected, &after)?;
        same("the change", &None, &after.change)?;
        raft.remove(&leader, &others[1]).await
    }

    /// Right after a voter has died, a removal that needs it is `QuorumUnproven`, and
    /// nothing is appended: what the leader remembers of that voter proves nothing.
    /// The cluster still takes writes, and the dead voter can be removed.
    #[source("openraft and raft-rs: two of three up, and no leader for good")]
    #[needs(Servers::voters(3))]
    async fn removal_after_a_death_is_refused(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let (live, dead) = (&others[0], &others[1]);
        let removal = raft.removal(&leader, live).await?;
        raft.stop(dead).await?;
        raft.unproven(&leader, &removal).await?;
        let leader = raft.take_writes(&raft.others(dead)).await?;
        raft.remove(&leader, dead).await?;
        raft.take_writes(&raft.others(dead)).await.map(|_| ())
    }

    /// An acknowledgement from before the request proves nothing: only a voter that
    /// holds an entry which was written after the request arrived counts as alive.
    #[source("openraft's metrics show a voter that is dead for seconds as up to date")]
    #[needs(Servers::voters(3))]
    async fn earlier_acknowledgements_prove_nothing(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        raft.take_writes(&raft.members()).await?;
        let others = raft.others(&leader);
        let removal = raft.removal(&leader, &others[0]).await?;
        raft.isolate(&others[1]).await?;
        raft.unproven(&leader, &removal).await
    }

    /// A leader that is to be removed does not count among the voters that stay.
    #[source("the contract of `RaftBackend`, step 2")]
    #[needs(Servers::voters(3))]
    async fn removed_leader_proves_nothing(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let removal = raft.removal(&leader, &leader).await?;
        raft.isolate(&raft.others(&leader)[0]).await?;
        raft.unproven(&leader, &removal).await
    }

    /// Servers without a vote do not count among the voters that stay.
    #[source("the contract of `RaftBackend`, step 2")]
    #[needs(Servers::voters(3).and_nonvoters(2))]
    async fn nonvoters_prove_nothing(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let voters = raft.others(&leader);
        let removal = raft.removal(&leader, &voters[0]).await?;
        raft.isolate(&voters[1]).await?;
        raft.unproven(&leader, &removal).await
    }

    /// A removal that was unproven has appended nothing: once all servers are back,
    /// they have the same configuration and version as before, and the same removal
    /// succeeds.
    #[source("the contract of `RaftBackend`, step 2")]
    #[needs(Servers::voters(3))]
    async fn unproven_removal_appends_nothing(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let (victim, lost) = (&others[0], &others[1]);
        let before = raft.view(&leader).await?;
        raft.isolate(lost).await?;
        let removal = Removal::new(victim.id.clone(), &before, raft.timeout());
        raft.unproven(&leader, &removal).await?;
        raft.reconnect(lost).await?;
        let leader = raft.take_writes(&raft.members()).await?;
        for member in raft.members() {
            raft.unchanged(&member, &before).await?;
        }
        raft.remove(&leader, victim).await
    }

    /// `Proof::Margin` asks for one voter more than a majority: with exactly a
    /// majority of the voters that stay it is `QuorumUnproven`, where
    /// `Proof::Majority` succeeds.
    #[source("the contract of `RaftBackend`, `Proof`")]
    #[needs(Servers::voters(5))]
    async fn margin_needs_one_voter_more(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let (victim, lost) = (&others[0], &others[1]);
        raft.isolate(lost).await?;
        let removal = raft.removal(&leader, victim).await?;
        raft.unproven(&leader, &removal.with_proof(Proof::Margin))
            .await?;
        raft.remove(&leader, victim).await
    }

    /// `Proof::Margin` succeeds while enough voters are up, and is refused where the
    /// voters that stay are too few for it.
    #[source("the contract of `RaftBackend`, `Proof`")]
    #[needs(Servers::voters(4))]
    async fn margin_is_met_by_enough_voters(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let removal = raft
            .removal(&leader, &others[0])
            .await?
            .with_proof(Proof::Margin);
        let answer = raft.ask(&leader, &removal).await?;
        ensure(
            answer.is_ok(),
            "a success with three voters of three",
            answer,
        )?;
        let removal = raft.removal(&leader, &others[1]).await?;
        raft.unproven(&leader, &removal.with_proof(Proof::Margin))
            .await
    }

    /// A dead voter is removed while the others are up.
    #[source("etcd#15710, etcd#10114")]
    #[needs(Servers::voters(3))]
    async fn dead_voter_is_removed(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let dead = &raft.others(&leader)[0];
        raft.stop(dead).await?;
        raft.remove(&leader, dead).await?;
        let view = raft.view(&leader).await?;
        as_answered(&view, &dead.id, &Ok(()))?;
        raft.take_writes(&raft.others(dead)).await.map(|_| ())
    }

    /// A live voter is removed beside a dead one, while a majority of the voters that
    /// stay is up.
    #[source("the contract of `RaftBackend`, step 2")]
    #[needs(Servers::voters(5))]
    async fn live_voter_is_removed_beside_a_dead_one(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let (victim, dead) = (&others[0], &others[1]);
        raft.stop(dead).await?;
        raft.remove(&leader, victim).await?;
        raft.take_writes(&raft.without(&[victim, dead]))
            .await
            .map(|_| ())
    }

    /// `Ok` waits until a majority of the voters that stay holds the final entry. The
    /// majority of the old configuration, with the vote of the server that leaves, is
    /// not enough: a Raft in the manner of etcd commits and applies the change with
    /// it, so there the backend waits on after the commit, until enough of the voters
    /// that stay have acknowledged the entry's index. Otherwise the failure is
    /// `Unknown`.
    #[source("raft-rs: success on apply, and the cluster was stuck")]
    #[needs(Servers::voters(3))]
    async fn old_majority_is_no_success(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let (victim, lost) = (&others[0], &others[1]);
        let removal = raft.removal(&leader, victim).await?;
        raft.lose_at_change(lost).await?;
        let answer = raft.ask(&leader, &removal).await?;
        let unknown = answer
            .as_ref()
            .is_err_and(|error| error.outcome() == Outcome::Unknown);
        let expected = format_args!(
            "an error with the outcome Unknown: {} has the entry, {} has not, and {} does not \
             count",
            leader.id, lost.id, victim.id
        );
        ensure(unknown, expected, answer)
    }

    /// A voter that is lost in the middle of a removal and comes back blocks nothing:
    /// the cluster takes writes again, with the old configuration or the new one.
    #[source("the contract of `RaftBackend`, step 4")]
    #[needs(Servers::voters(3))]
    async fn voter_lost_during_a_removal_can_return(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let (victim, lost) = (&others[0], &others[1]);
        let removal = raft.removal(&leader, victim).await?;
        raft.lose_at_change(lost).await?;
        raft.ask(&leader, &removal).await?.ok();
        raft.reconnect(lost).await?;
        removed_in_the_end(&raft, victim, &raft.others(victim)).await
    }

    /// A leader that is lost with the entry of a removal, before anybody else has it,
    /// claims nothing: its answer is an error with the outcome `Unknown`, since its
    /// entry may still come to be committed. The others go on with the old
    /// configuration.
    #[source("etcd#1483, redpanda#3446")]
    #[needs(Servers::voters(3))]
    async fn leader_lost_during_a_removal_claims_nothing(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let victim = &raft.others(&leader)[0];
        let removal = raft.removal(&leader, victim).await?;
        raft.lose_at_change(&leader).await?;
        let answer = raft.ask(&leader, &removal).await?;
        let unknown = answer
            .as_ref()
            .is_err_and(|error| error.outcome() == Outcome::Unknown);
        let expected = "an error with the outcome Unknown: nobody has the entry but this leader";
        ensure(unknown, expected, &answer)?;
        let new = raft.take_writes(&raft.others(&leader)).await?;
        let after = raft.view(&new).await?;
        let expected = format_args!("{} still there", victim.id);
        ensure(after.membership.get(&victim.id).is_some(), expected, after)
    }

    /// After a removal the cluster survives what its new configuration can: the death
    /// of another voter.
    #[source("the contract of `RaftBackend`, step 4")]
    #[needs(Servers::voters(4))]
    async fn voter_may_die_after_a_removal(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let (victim, dead) = (&others[0], &others[1]);
        raft.remove(&leader, victim).await?;
        raft.stop(dead).await?;
        raft.take_writes(&raft.without(&[victim, dead]))
            .await
            .map(|_| ())
    }

    /// A removal is answered within its timeout, also where it is too short, or no
    /// majority is left.
    #[source("the contract of `RaftBackend`, `Removal::timeout`")]
    #[needs(Servers::voters(3))]
    async fn removal_is_answered_in_time(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let mut removal = raft.removal(&leader, &others[0]).await?;
        for lost in &others {
            raft.isolate(lost).await?;
        }
        for timeout in [Duration::ZERO, Duration::from_millis(1), raft.timeout()] {
            removal.timeout = timeout;
            let answer = raft.ask(&leader, &removal).await?;
            ensure(answer.is_err(), "an error: no majority is left", answer)?;
        }
        Ok(())
    }

    /// A timeout may have no end: `Duration::MAX` is taken like any other.
    #[source("the contract of `RaftBackend`; `Instant + Duration` panics on overflow")]
    #[needs(Servers::voters(3))]
    async fn endless_timeouts_are_taken(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let limit = raft.timeout() * 2;
        let call = leader.backend.confirmed_view(Duration::MAX);
        let confirmed = raft.within(limit, call).await;
        let holds = matches!(confirmed, Some(Ok(_)));
        ensure(holds, "a confirmed view", confirmed)?;
        let mut removal = raft.removal(&leader, &raft.others(&leader)[0]).await?;
        removal.timeout = Duration::MAX;
        let answer = raft.ask_within(limit, &leader, &removal).await?;
        ensure(answer.is_ok(), "the server to be removed", answer)
    }

    /// When a removal returns, the leader's next view shows it: the server is gone,
    /// and has not stayed as one without a vote. So does a confirmed view.
    #[source("etcd#1483, redpanda#3446; openraft change_membership with retain")]
    #[needs(Servers::voters(3))]
    async fn removal_has_happened_when_it_returns(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let victim = &raft.others(&leader)[0];
        raft.remove(&leader, victim).await?;
        as_answered(&raft.view(&leader).await?, &victim.id, &Ok(()))?;
        match leader.backend.confirmed_view(raft.timeout()).await {
            Ok(view) => as_answered(&view, &victim.id, &Ok(())),
            Err(error) => Err(Stop::failed("a confirmed view", format!("{error:?}"))),
        }
    }

    /// The version is greater after each removal, by however much, and the last voter
    /// stays: voters can be removed one by one until then.
    #[source("Consul's operator API, Index; hashicorp/raft checkConfiguration")]
    #[needs(Servers::voters(3))]
    async fn version_grows_with_each_removal(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let mut last = raft.view(&leader).await?.version;
        for victim in raft.others(&leader) {
            raft.remove(&leader, &victim).await?;
            let version = raft.view(&leader).await?.version;
            ensure(
                version > last,
                format_args!("a version after {last}"),
                version,
            )?;
            last = version;
        }
        let removal = raft.removal(&leader, &leader).await?;
        let is_it = |kind: &ErrorKind| *kind == ErrorKind::LastVoter;
        raft.refused(&leader, &leader, &removal, "LastVoter", is_it)
            .await
    }

    /// The other servers keep their order, addresses and suffrage.
    #[source("hashicorp/raft RemoveServer")]
    #[needs(Servers::voters(3).and_nonvoters(1))]
    async fn removal_leaves_the_others_alone(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let victim = &raft.others(&leader)[0];
        let before = raft.view(&leader).await?;
        raft.remove(&leader, victim).await?;
        let after = raft.view(&leader).await?;
        same(
            "the servers",
            &without(&before, victim),
            &after.membership.servers,
        )
    }

    /// A server without a vote is removed like one with a vote.
    #[source("hashicorp/raft RemoveServer")]
    #[needs(Servers::voters(2).and_nonvoters(2))]
    async fn nonvoter_is_removed(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        for victim in raft.members().into_iter().skip(2) {
            raft.remove(&leader, &victim).await?;
            as_answered(&raft.view(&leader).await?, &victim.id, &Ok(()))?;
        }
        let view = raft.view(&leader).await?;
        let votes = view.membership.servers.iter().map(|server| server.suffrage);
        same("the suffrage", &vec![Suffrage::Voter; 2], &votes.collect())
    }

    /// In time the view of every other server shows the same servers and version as
    /// the leader's.
    #[source("Raft, section 5.3")]
    #[needs(Servers::voters(3).and_nonvoters(1))]
    async fn followers_see_a_removal(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let victim = &raft.others(&leader)[0];
        raft.remove(&leader, victim).await?;
        let latest = raft.view(&leader).await?;
        for follower in raft.without(&[&leader, victim]) {
            let expected = format!("version {}", latest.version);
            let view = raft
                .sees(&follower, &expected, |view| view.version == latest.version)
                .await?;
            same("the servers", &latest.membership, &view.membership)?;
        }
        Ok(())
    }

    /// The leader is removed like any voter while others remain. One of those leads
    /// then, and takes writes.
    #[source("Consul's operator API; Raft, section 6")]
    #[needs(Servers::voters(3))]
    async fn leader_can_be_removed(raft: Cluster<'_>) -> Verdict {
        let old = raft.leader().await?;
        raft.remove(&old, &old).await?;
        let new = raft.take_writes(&raft.others(&old)).await?;
        as_answered(&raft.view(&new).await?, &old.id, &Ok(()))
    }

    /// A leader that was removed stops leading in its own view, and changes nothing
    /// from then on.
    #[source("etcd raft, StepDownOnRemoval; raft-rs: it stayed, and blocked writes")]
    #[needs(Servers::voters(3))]
    async fn removed_leader_stops_leading(raft: Cluster<'_>) -> Verdict {
        let old = raft.leader().await?;
        raft.remove(&old, &old).await?;
        let new = raft.leader_among(&raft.others(&old)).await?;
        raft.stops_leading(&old).await?;
        let before = raft.view(&new).await?;
        let victim = raft.without(&[&old, &new]).remove(0);
        let removal = Removal::new(victim.id, &before, raft.timeout());
        let answer = raft.ask(&old, &removal).await?;
        // With what error is left to the engine: some stop with the removal.
        let holds = answer
            .as_ref()
            .is_err_and(|error| error.outcome() != Outcome::Applied);
        ensure(holds, format_args!("an error at {}", old.id), answer)?;
        raft.unchanged(&new, &before).await
    }

    /// Of two removals of the same server at once, one is done, and the other one is
    /// an error.
    #[source("vault#9318")]
    #[needs(Servers::voters(3))]
    async fn removals_of_one_server_at_once_succeed_once(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let victim = &raft.others(&leader)[0];
        let removal = raft.removal(&leader, victim).await?;
        at_once(&raft, &leader, &removal, &removal).await
    }

    /// Of removals of two servers at once, that were decided on the same view, one is
    /// done: the other one has a version that is out of date.
    #[source("Raft, section 4.1 of the thesis: one change at a time")]
    #[needs(Servers::voters(5))]
    async fn removals_at_the_same_version_succeed_once(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let one = raft.removal(&leader, &others[0]).await?;
        let other = raft.removal(&leader, &others[1]).await?;
        at_once(&raft, &leader, &one, &other).await
    }

    /// A removal whose future is dropped, at any point, leaves the old or the new
    /// configuration, and does not stand in the way of the next one.
    #[source("the contract of `RaftBackend`, cancel safety")]
    #[needs(Servers::voters(7))]
    async fn dropped_removal_happens_whole_or_not_at_all(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let others = raft.others(&leader);
        let mut stayers = raft.members();
        for (polls, victim) in [0, 1, 2, 4, 8].into_iter().zip(&others) {
            stayers.retain(|member| member.id != victim.id);
            let before = raft.view(&leader).await?;
            let removal = Removal::new(victim.id.clone(), &before, raft.timeout());
            raft.step(format!(
                "remove {}, and drop it after {polls} polls",
                victim.id
            ));
            raft.dropped(
                polls,
                leader.backend.remove_server(&removal),
            )
            .await;
            let now = raft.view(&leader).await?.membership.servers.clone();
            let less = without(&before, victim);
            let whole = now == before.membership.servers || now == less;
            ensure(
                whole,
                format_args!("{less:?}, with {} or without", victim.id),
                now,
            )?;
            removed_in_the_end(&raft, victim, &stayers).await?;
        }
        Ok(())
    }

    /// After a transfer the server that was named leads, in a greater term, and the
    /// configuration is as before.
    #[source("Consul's operator API, transfer-leader; redpanda#3446")]
    #[needs(Servers::voters(3))]
    async fn transfer_makes_the_target_lead(raft: Cluster<'_>) -> Verdict {
        let first = raft.leader().await?;
        for target in raft.others(&first) {
            let old = raft.leader().await?;
            let before = raft.view(&old).await?;
            let transfer = transfer(&raft, &old, &target).await?;
            ensure(
                transfer.is_ok(),
                format_args!("the lead for {}", target.id),
                transfer,
            )?;
            let new = raft.leader().await?;
            same("the leader", &target.id, &new.id)?;
            let term = raft.view(&new).await?.term;
            let expected = format!("a term after {}", before.term);
            ensure(term > before.term, expected, term)?;
            raft.unchanged(&new, &before).await?;
        }
        Ok(())
    }

    /// A transfer to a server that cannot be reached is an error, and the cluster has
    /// a leader again.
    #[source("hashicorp/raft LeadershipTransferToServer")]
    #[needs(Servers::voters(3))]
    async fn transfer_to_an_unreachable_server_fails(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let target = &raft.others(&leader)[0];
        raft.isolate(target).await?;
        let transfer = transfer(&raft, &leader, target).await?;
        ensure(transfer.is_err(), "an error", transfer)?;
        raft.take_writes(&raft.others(target)).await.map(|_| ())
    }

    /// A server that does not lead answers `NotLeader` or `NoLeader` to a transfer.
    #[source("hashicorp/raft LeadershipTransfer")]
    #[needs(Servers::voters(3))]
    async fn follower_refuses_a_transfer(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        for follower in raft.others(&leader) {
            let transfer = transfer(&raft, &follower, &follower).await?;
            not_applied("NotLeader or NoLeader", &transfer, does_not_lead)?;
        }
        let now = raft.leader().await?;
        same("the leader", &leader.id, &now.id)
    }
}

/// That a server which no majority hears any more knows that nobody leads, still
/// shows the configuration, and refuses a removal.
async fn alone(raft: &Cluster<'_>, member: &Member) -> Verdict {
    let expected = "no leader";
    let is_it = |view: &cluster_operator::raft::RaftView| view.leadership == Leadership::Unknown;
    let view = raft.sees(member, expected, is_it).await?;
    let servers = view.membership.servers.len();
    same("servers", &raft.members().len(), &servers)?;
    for victim in raft.members() {
        let removal = raft.removal(member, &victim).await?;
        raft.refused(member, member, &removal, "NoLeader", does_not_lead)
            .await?;
    }
    Ok(())
}

async fn term_changed(
    raft: &Cluster<'_>,
    leader: &Member,
    removal: &Removal,
    actual: u64,
) -> Verdict {
    let expected = removal.term;
    let changed = ErrorKind::TermChanged { expected, actual };
    let is_it = |kind: &ErrorKind| *kind == changed;
    raft.refused(leader, leader, removal, &format!("{changed:?}"), is_it)
        .await
}

async fn conflict(
    raft: &Cluster<'_>,
    leader: &Member,
    removal: &Removal,
    actual: ConfigVersion,
) -> Verdict {
    let expected = removal.version;
    let conflict = ErrorKind::Conflict { expected, actual };
    let is_it = |kind: &ErrorKind| *kind == conflict;
    raft.refused(leader, leader, removal, &format!("{conflict:?}"), is_it)
        .await
}

/// Leaves the removal of a server in a joint configuration that is committed.
async fn left_joint(raft: &Cluster<'_>, leader: &Member, removed: &Member) -> Verdict {
    raft.leave_unfinished(removed, PendingChange::Joint).await?;
    let view = raft.view(leader).await?;
    same("the change", &Some(PendingChange::Joint), &view.change)
}

/// Removes a server, whatever became of an earlier removal of it, at the leader. That
/// is one of these servers, or the one that is to be removed.
async fn removed_in_the_end(raft: &Cluster<'_>, victim: &Member, stayers: &[Member]) -> Verdict {
    let expected = format!("{} to be removed, or to be unknown", victim.id);
    raft.until(&expected, || async {
        // As long as it votes, the server that is removed may lead, too.
        for member in stayers.iter().chain([victim]) {
            let Ok(view) = member.backend.view().await else {
                continue;
            };
            if view.leadership != Leadership::Local {
                continue;
            }
            let removal = Removal::new(victim.id.clone(), &view, raft.timeout());
            return match member.backend.remove_server(&removal).await {
                Ok(()) => Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::UnknownServer(_)) => Ok(()),
                Err(error) => Err(format!("{error:?}")),
            };
        }
        Err("no leader".into())
    })
    .await?;
    raft.step(format!("{} is removed", victim.id));
    let leader = raft.take_writes(stayers).await?;
    as_answered(&raft.view(&leader).await?, &victim.id, &Ok(()))
}

/// Two removals at once, of which one has to succeed.
async fn at_once(raft: &Cluster<'_>, leader: &Member, one: &Removal, other: &Removal) -> Verdict {
    let before = raft.view(leader).await?;
    let answers = both(raft.ask(leader, one), raft.ask(leader, other)).await;
    let [first, second] = answers;
    let (first, second) = (first?, second?);
    let answers = [&first, &second];
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    ensure(done == 1, "one success and one error", answers)?;
    let claimed = |answer: &&&super::cluster::Answer<()>| {
        answer
            .as_ref()
            .is_err_and(|error| error.outcome() == Outcome::Applied)
    };
    let claimed = answers.iter().any(|answer| claimed(&answer));
    ensure(
        !claimed,
        "the error not to say that it was applied",
        answers,
    )?;
    let after = raft.view(leader).await?;
    let left = before.membership.servers.len() - 1;
    same("servers left", &left, &after.membership.servers.len())?;
    let removed = if first.is_ok() { &one.id } else { &other.id };
    as_answered(&after, removed, &Ok(()))
}

/// Hands the lead on. Skips the check if the backend cannot.
async fn transfer(
    raft: &Cluster<'_>,
    at: &Member,
    to: &Member,
) -> Result<super::cluster::Answer<()>, Stop> {
    let timeout = raft.timeout();
    let call = at.backend.transfer_leadership(&to.id, timeout);
    let answer = raft.within(timeout * 2, call).await;
    raft.step(format!(
        "transfer the lead at {} to {}: {answer:?}",
        at.id, to.id
    ));
    match answer {
        Some(Err(error)) if matches!(error.kind(), ErrorKind::Unsupported { .. }) => {
            Err(Stop::Skipped {
                reason: "the backend has no leadership transfer".into(),
            })
        }
        Some(answer) => Ok(answer),
        None => Err(Stop::failed(
            format!("an answer to a transfer within {timeout:?}"),
            format!("none within {:?}", timeout * 2),
        )),
    }
}
