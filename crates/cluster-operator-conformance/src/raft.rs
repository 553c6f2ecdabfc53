//! The suite for [`RaftBackend`](cluster_operator::RaftBackend).
//!
//! A failed check lists the steps that it took: what it did to the cluster, what it
//! asked, and what was answered.
//!
//! A fixture can do more than run servers: it can [stop](RaftFixture::stop) one, for
//! example, or [lose](RaftFixture::lose_at_change) one in the middle of a change. What
//! it cannot do is skipped, and shown as skipped.

mod cluster;
mod steps;

use std::collections::BTreeSet;
use std::time::Duration;

use cluster_operator::error::{ErrorKind, Outcome};
use cluster_operator::raft::{
    Change, ChangeKind, LeaderHint, Leadership, PendingChange, Proof, RaftView,
};
use futures_util::future::join_all;

use self::cluster::{Answer, Cluster, does_not_lead, not_applied, ready, shows};
use self::steps::is_unknown;
use crate::check::suite;
use crate::fixture::{Verdict, ensure, exactly, same};

pub use self::cluster::{Member, RaftFixture, Servers};

const THREE: Servers = Servers::voters(3);
const FIVE: Servers = Servers::voters(5);
const WITH_NONVOTER: Servers = Servers {
    voters: 3,
    nonvoters: 1,
};

suite! {
    ($) __conformance_raft_tests;

    /// Runs the whole suite, each check on a cluster of its own.
    suite raft::raft_backend(RaftBackend, RaftFixture, Servers);

    // Views.

    /// In a healthy cluster one server leads. All the others follow it in their views, and
    /// name its id and its address in the configuration, where requests are sent.
    #[source("Raft, section 5.2; consul#2782; openraft, ForwardToLeader")]
    #[needs(WITH_NONVOTER)]
    async fn one_server_leads_and_the_others_follow(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let hint = LeaderHint {
            id: leader.id.clone(),
            address: leader.address.clone(),
        };
        for follower in raft.others(&leader) {
            let view = raft.view(&follower).await?;
            same("the leadership", &Leadership::Remote(hint.clone()), &view.leadership)?;
        }
        Ok(())
    }

    /// A single voter leads, and confirms it.
    #[source("Raft, section 5.2: it is a majority by itself")]
    #[needs(Servers::voters(1))]
    async fn single_voter_leads(raft: Cluster<'_>) -> Verdict {
        raft.leader().await?;
        Ok(())
    }

    /// A view has the id of the server that is asked. Its membership has the id, the
    /// address and the suffrage of each server, and no others: the quorum is counted by it.
    #[source("Consul's operator API; etcd#10459")]
    #[needs(WITH_NONVOTER)]
    async fn view_shows_its_server_and_the_membership(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let members = raft.members();
        for member in &members {
            let view = raft.view(member).await?;
            same("the view's id", &member.id, &view.id)?;
            let (servers, known) = (view.membership.servers.len(), view.status.len());
            let expected = format!("the status of at most {servers} servers");
            ensure(known <= servers, expected, known)?;
        }
        let view = raft.view(&leader).await?;
        let servers = view.membership.servers.iter();
        let seen: BTreeSet<_> = servers
            .map(|server| (&server.id, &server.address, server.is_voter()))
            .collect();
        let members = (0..).zip(&members);
        let expected: BTreeSet<_> = members
            .map(|(number, member)| (&member.id, &member.address, number < 3))
            .collect();
        same("the servers: id, address, vote", &expected, &seen)?;
        same("servers", &expected.len(), &view.membership.servers.len())
    }

    /// Reading changes neither the order of the servers nor the version, and blocks
    /// nothing, even if it is dropped at any point.
    #[source("Consul's operator API, Index; the contract of `RaftBackend`, cancel safety")]
    #[needs(THREE)]
    async fn reading_changes_nothing(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        for member in raft.members() {
            let before = raft.view(&member).await?;
            raft.unchanged(&member, &before).await?;
        }
        let before = raft.view(&leader).await?;
        for polls in 0..4 {
            raft.dropped(polls, leader.backend.confirmed_view(raft.timeout())).await;
            raft.dropped(polls, leader.backend.view()).await;
            raft.unchanged(&leader, &before).await?;
            let again = leader.backend.confirmed_view(raft.timeout()).await;
            ensure(again.is_ok(), "a confirmed view", again)?;
        }
        raft.unchanged(&leader, &before).await
    }

    /// A confirmed view is one of the leader, in the term in which it was confirmed.
    /// Other servers answer `NotLeader` or `NoLeader`.
    #[source("Raft, section 8; hashicorp/raft VerifyLeader; consul#2782")]
    #[needs(WITH_NONVOTER)]
    async fn only_the_leader_confirms_its_view(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let view = raft.view(&leader).await?;
        let confirmed = leader.backend.confirmed_view(raft.timeout()).await;
        let parts = |view: &RaftView| {
            let membership = view.membership.clone();
            (view.leadership.clone(), view.term, view.version, view.id.clone(), membership)
        };
        let holds = confirmed.as_ref().is_ok_and(|confirmed| parts(confirmed) == parts(&view));
        ensure(holds, format_args!("the same view, confirmed: {view:?}"), confirmed)?;
        for follower in raft.others(&leader) {
            let confirmed = follower.backend.confirmed_view(raft.timeout()).await;
            not_applied("NotLeader or NoLeader", &confirmed, does_not_lead)?;
        }
        Ok(())
    }

    /// A stopped server does not lead in its own view; if the whole server is gone, its
    /// backend may answer with an error. A follower that is left without a majority stops
    /// naming the last leader, still shows the configuration, and refuses a removal.
    #[source("consul#2817, nomad#4430; the contract of `RaftBackend`, views")]
    #[needs(THREE)]
    async fn follower_without_a_majority_knows_no_leader(raft: Cluster<'_>) -> Verdict {
        let (leader, [dead, follower]) = raft.led().await?;
        for stopped in [&dead, &leader] {
            raft.stop(stopped).await?;
            let view = raft.within(raft.timeout(), stopped.backend.view()).await;
            let holds = match &view {
                Some(Ok(view)) => view.leadership == Leadership::Unknown,
                Some(Err(_)) => true,
                None => false,
            };
            ensure(holds, format_args!("Unknown or an error from {}", stopped.id), view)?;
        }
        raft.stays_alone(&follower).await
    }

    /// A leader that reaches no majority stops leading in its own view, and refuses a
    /// removal.
    #[source("Raft, section 6.2 of the thesis; hashicorp/raft LeaderLeaseTimeout")]
    #[needs(THREE)]
    async fn leader_without_a_majority_stops_leading(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        for follower in raft.others(&leader) {
            raft.stop(&follower).await?;
        }
        raft.stays_alone(&leader).await
    }

    /// A leader that is cut off confirms no view from then on, even while it does not know:
    /// neither earlier messages nor a lease are a confirmation. The outcome is `NotApplied`,
    /// as a read changes nothing. Once the others have replaced it, it stops leading in its
    /// own view, and refuses a removal.
    #[source("Raft, section 8; etcd raft, CheckQuorum; hashicorp/raft VerifyLeader")]
    #[needs(THREE)]
    async fn cut_off_leader_confirms_nothing_and_stops_leading(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        raft.isolate(&leader).await?;
        let timeout = raft.timeout();
        let call = leader.backend.confirmed_view(timeout);
        let expected = format!("NotLeader, NoLeader or DeadlineExceeded within {timeout:?}");
        let confirmed = raft.answer("confirm the view", timeout * 2, call).await?;
        not_applied(&expected, &confirmed, |kind| {
            does_not_lead(kind) || matches!(kind, ErrorKind::DeadlineExceeded { .. })
        })?;
        raft.leader_among(&raft.others(&leader)).await?;
        raft.stays_alone(&leader).await
    }

    // Step 1 of a removal: term, version, and other changes.

    /// A server that does not lead answers `NotLeader` or `NoLeader`, whichever server is
    /// to be removed, and nothing changes.
    #[source("consul#2817, nomad#4430")]
    #[needs(THREE)]
    async fn follower_refuses_a_removal(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, other]) = raft.led().await?;
        for victim in [&one, &other, &leader] {
            let removal = raft.removal(&leader, victim).await?;
            raft.refused_without_lead(&one, &leader, &removal).await?;
        }
        Ok(())
    }

    /// A term that is not the leader's is `TermChanged`, and a version that is not the
    /// configuration's, or that was it before another removal, is `Conflict`: lower or
    /// higher, in the index or in the term alone. Nothing changes.
    #[source("the contract of `RaftBackend`, step 1; hashicorp/raft RemoveServer, prevIndex")]
    #[needs(THREE)]
    async fn other_term_or_version_is_refused(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, other]) = raft.led().await?;
        let removal = raft.removal(&leader, &one).await?;
        raft.outdated_is_refused(&leader, &removal).await?;
        raft.remove(&leader, &other).await?;
        let (expected, actual) = (removal.version, raft.view(&leader).await?.version);
        raft.refused(&leader, &removal, &ErrorKind::Conflict { expected, actual }).await
    }

    /// After the leader's death another voter leads, in a greater term, and the dead
    /// server stays in the configuration until it is removed. A removal that was decided
    /// on under the former leader is `TermChanged`.
    #[source("Raft, section 5.2; the contract of `RaftBackend`, step 1")]
    #[needs(THREE)]
    async fn term_of_a_former_leader_is_refused(raft: Cluster<'_>) -> Verdict {
        let old = raft.leader().await?;
        let before = raft.view(&old).await?;
        let removal = raft.removal(&old, &old).await?;
        raft.stop(&old).await?;
        let new = raft.leader_among(&raft.others(&old)).await?;
        raft.unchanged(&new, &before).await?;
        let (expected, actual) = (removal.term, raft.view(&new).await?.term);
        ensure(actual > expected, format_args!("a term after {expected}"), actual)?;
        raft.refused(&new, &removal, &ErrorKind::TermChanged { expected, actual }).await
    }

    /// While another change is uncommitted, the view shows it, and a removal is
    /// `ChangeInProgress`: not applied.
    #[source("Raft, section 4.1 of the thesis: one change at a time")]
    #[needs(THREE)]
    async fn removal_during_another_change_is_refused(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, other]) = raft.led().await?;
        raft.leave_unfinished(&one, PendingChange::Uncommitted, &leader).await?;
        let removal = raft.removal(&leader, &other).await?;
        raft.refused(&leader, &removal, &ErrorKind::ChangeInProgress).await
    }

    /// A joint configuration that is committed, and that nobody finishes, is finished by
    /// the next removal. If that is of the same server, it is `Ok`; if it is of another
    /// one, it is a `Conflict` with the version that this leads to.
    #[source("the contract of `RaftBackend`, step 1; openraft leaves them so")]
    #[needs(FIVE)]
    async fn removal_ends_a_joint_configuration(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, two, other]) = raft.led().await?;
        raft.leave_unfinished(&one, PendingChange::Joint, &leader).await?;
        raft.remove(&leader, &one).await?;
        same("the change", &None, &raft.view(&leader).await?.change)?;
        raft.leave_unfinished(&two, PendingChange::Joint, &leader).await?;
        let removal = raft.removal(&leader, &other).await?;
        raft.ends_joint_configuration(&leader, &two, removal).await
    }

    // Step 2: the proof.

    /// Right after the death of a voter, a removal that needs it is `QuorumUnproven`, and
    /// nothing is appended: what the leader remembers of that voter proves nothing. The
    /// cluster still takes writes, and the dead voter can be removed.
    #[source("openraft and raft-rs: two of three up, and no leader for good")]
    #[needs(THREE)]
    async fn removal_after_a_death_is_refused(raft: Cluster<'_>) -> Verdict {
        let (leader, [live, dead]) = raft.led().await?;
        let removal = raft.removal(&leader, &live).await?;
        raft.stop(&dead).await?;
        raft.unproven(&leader, &removal).await?;
        let leader = raft.take_writes(&raft.others(&dead)).await?;
        raft.remove(&leader, &dead).await?;
        raft.take_writes(&raft.others(&dead)).await?;
        Ok(())
    }

    /// Only a voter that holds an entry written after the request arrived counts, not one
    /// that has acknowledged earlier entries. An unproven removal appends nothing: once
    /// all servers are back, they have the same configuration and version as before, and
    /// the same removal succeeds.
    #[source("the contract of `RaftBackend`, step 2; openraft shows dead voters as up to date")]
    #[needs(THREE)]
    async fn unproven_removal_appends_nothing(raft: Cluster<'_>) -> Verdict {
        let (leader, [victim, lost]) = raft.led().await?;
        raft.take_writes(&raft.members()).await?;
        let before = raft.view(&leader).await?;
        let removal = raft.removal(&leader, &victim).await?;
        raft.isolate(&lost).await?;
        raft.unproven(&leader, &removal).await?;
        raft.reconnect(&lost).await?;
        let leader = raft.take_writes(&raft.members()).await?;
        for member in raft.members() {
            raft.unchanged(&member, &before).await?;
        }
        raft.remove(&leader, &victim).await
    }

    /// Neither a leader that is to be removed nor a non-voter counts among the voters that
    /// stay.
    #[source("the contract of `RaftBackend`, step 2")]
    #[needs(Servers { voters: 3, nonvoters: 2 })]
    async fn only_voters_that_stay_prove_anything(raft: Cluster<'_>) -> Verdict {
        let (leader, [lost, other]) = raft.led().await?;
        raft.isolate(&lost).await?;
        for victim in [&leader, &other] {
            let removal = raft.removal(&leader, victim).await?;
            raft.unproven(&leader, &removal).await?;
        }
        Ok(())
    }

    /// `Proof::Margin` asks for one voter more than a majority of those that stay. It is
    /// met if enough voters are up; with exactly a majority it is `QuorumUnproven` where
    /// `Proof::Majority` succeeds, and so it is if the voters that stay are too few.
    #[source("the contract of `RaftBackend`, `Proof`")]
    #[needs(FIVE)]
    async fn margin_needs_one_voter_more(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, lost, other]) = raft.led().await?;
        let removal = raft.removal(&leader, &one).await?.with_proof(Proof::Margin);
        let answer = raft.ask(&leader, &removal).await?;
        ensure(answer.is_ok(), "a success with four voters of four", answer)?;
        raft.isolate(&lost).await?;
        let removal = raft.removal(&leader, &other).await?.with_proof(Proof::Margin);
        raft.unproven(&leader, &removal).await?;
        raft.remove(&leader, &other).await?;
        let removal = raft.removal(&leader, &lost).await?.with_proof(Proof::Margin);
        raft.unproven(&leader, &removal).await
    }

    /// While a majority of the voters that stay is up, a live voter is removed beside a
    /// dead one, and the dead one too. The cluster takes writes after each removal, and
    /// then survives the death of another voter: three voters are left, not five.
    #[source("etcd#15710, etcd#10114; the contract of `RaftBackend`, step 2")]
    #[needs(FIVE)]
    async fn removal_needs_no_dead_voter(raft: Cluster<'_>) -> Verdict {
        let (leader, [live, dead, later]) = raft.led().await?;
        raft.stop(&dead).await?;
        raft.remove(&leader, &live).await?;
        raft.take_writes(&raft.without(&[&live, &dead])).await?;
        raft.remove(&leader, &dead).await?;
        raft.stop(&later).await?;
        raft.take_writes(&raft.without(&[&live, &dead, &later])).await?;
        Ok(())
    }

    // Steps 3 and 4: the change.

    /// `Ok` waits until a majority of the voters that stay holds the final entry; otherwise
    /// the failure is `Unknown`. The majority of the old configuration, with the vote of
    /// the server that leaves, is not enough. A Raft in the manner of etcd commits and
    /// applies the change with it, so its backend waits on after the commit. Once the lost
    /// voter is back, the removal can be made, and the cluster takes writes.
    #[source("raft-rs: success on apply, and the cluster was stuck")]
    #[needs(THREE)]
    async fn old_majority_is_no_success(raft: Cluster<'_>) -> Verdict {
        let (leader, [victim, lost]) = raft.led().await?;
        let removal = raft.removal(&leader, &victim).await?;
        raft.lose_at_change(&lost).await?;
        let answer = raft.ask(&leader, &removal).await?;
        let expected = format!(
            "the outcome Unknown: {} has the entry, {} has not, and {} does not count",
            leader.id, lost.id, victim.id
        );
        ensure(is_unknown(&answer), expected, answer)?;
        raft.reconnect(&lost).await?;
        raft.made_in_the_end(&removal.kind, &raft.others(&victim)).await
    }

    /// A leader that is lost with the entry of a removal, before another server has it,
    /// answers with the outcome `Unknown`, since the entry may still be committed. The
    /// others go on with the old configuration.
    #[source("etcd#1483, redpanda#3446")]
    #[needs(THREE)]
    async fn leader_lost_during_a_removal_claims_nothing(raft: Cluster<'_>) -> Verdict {
        let (leader, [victim]) = raft.led().await?;
        let removal = raft.removal(&leader, &victim).await?;
        raft.lost_with_its_leader(&leader, &removal).await
    }

    /// A call takes any timeout, up to `Duration::MAX`, and answers within it, even if it
    /// is too short or no majority is left.
    #[source("the contract of `RaftBackend`, timeouts; `Instant + Duration` panics on overflow")]
    #[needs(THREE)]
    async fn any_timeout_is_kept(raft: Cluster<'_>) -> Verdict {
        let (leader, [victim, lost]) = raft.led().await?;
        let limit = raft.timeout() * 2;
        let confirmed = leader.backend.confirmed_view(Duration::MAX);
        let confirmed = raft.within(limit, confirmed).await;
        ensure(matches!(confirmed, Some(Ok(_))), "a confirmed view", confirmed)?;
        let mut removal = raft.removal(&leader, &victim).await?;
        removal.timeout = Duration::MAX;
        let answer = raft.ask_within(limit, &leader, &removal).await?;
        ensure(answer.is_ok(), "the server to be removed", answer)?;
        let mut removal = raft.removal(&leader, &lost).await?;
        raft.isolate(&lost).await?;
        for timeout in [Duration::ZERO, Duration::from_millis(1), raft.timeout()] {
            removal.timeout = timeout;
            let answer = raft.ask(&leader, &removal).await?;
            ensure(answer.is_err(), "an error: no majority is left", answer)?;
        }
        Ok(())
    }

    /// When a removal returns, the leader's next view shows it, confirmed or not: the
    /// server is gone, voter or not, and has not stayed as a non-voter. The others keep
    /// their order, addresses and suffrage, and the version is greater. In time all servers
    /// show it.
    #[source("Consul's operator API, Index; etcd#1483; openraft change_membership with retain")]
    #[needs(WITH_NONVOTER)]
    async fn removal_has_happened_when_it_returns(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        for victim in raft.others(&leader) {
            let removal = raft.removal(&leader, &victim).await?;
            raft.has_happened(&leader, &removal).await?;
        }
        Ok(())
    }

    /// The leader is removed like any voter while others remain. One of those leads then,
    /// and takes writes. The old leader stops leading in its own view, and changes nothing
    /// from then on.
    #[source("Raft, section 6; etcd raft, StepDownOnRemoval; raft-rs: it blocked writes")]
    #[needs(THREE)]
    async fn removed_leader_stops_leading(raft: Cluster<'_>) -> Verdict {
        let old = raft.leader().await?;
        let removal = raft.removal(&old, &old).await?;
        let new = raft.steps_down(&old, &removal).await?;
        let before = raft.view(&new).await?;
        let victim = raft.without(&[&old, &new]).remove(0);
        let removal = raft.removal(&new, &victim).await?;
        let answer = raft.ask(&old, &removal).await?;
        // The kind is up to the engine: some stop with the removal.
        let holds = answer.as_ref().is_err_and(|error| error.outcome() != Outcome::Applied);
        ensure(holds, format_args!("an error at {}", old.id), answer)?;
        raft.unchanged(&new, &before).await
    }

    /// Of two removals at once that were decided on the same view, one is done, and the
    /// other is an error, whether they are of the same server or not.
    #[source("vault#9318; Raft, section 4.1 of the thesis: one change at a time")]
    #[needs(FIVE)]
    async fn removals_at_once_succeed_once(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, other, last]) = raft.led().await?;
        for (first, second) in [(&one, &one), (&other, &last)] {
            let before = raft.view(&leader).await?;
            let removals = [first, second];
            let removals = removals.map(|it| Change::remove(it.id.clone(), &before, raft.timeout()));
            let answers = removals.iter().map(|removal| raft.ask(&leader, removal));
            let answers = join_all(answers).await.into_iter();
            let answers = answers.collect::<Result<Vec<_>, _>>()?;
            let done = answers.iter().filter(|answer| answer.is_ok()).count();
            let applied = |answer: &Answer<()>| {
                answer.as_ref().is_err_and(|error| error.outcome() == Outcome::Applied)
            };
            let holds = done == 1 && !answers.iter().any(applied);
            ensure(holds, "one success, and one error that does not say applied", &answers)?;
            let after = raft.view(&leader).await?;
            let left = before.membership.servers.len() - 1;
            same("servers left", &left, &after.membership.servers.len())?;
            shows(&after, &removals[usize::from(answers[0].is_err())].kind)?;
        }
        Ok(())
    }

    /// A removal whose future is dropped, at any point, leaves the old or the new
    /// configuration, and does not block the next change.
    #[source("the contract of `RaftBackend`, cancel safety")]
    #[needs(Servers::voters(7))]
    async fn dropped_removal_happens_whole_or_not_at_all(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let mut stayers = raft.members();
        for (polls, victim) in [0, 1, 2, 4, 8].into_iter().zip(raft.others(&leader)) {
            stayers.retain(|member| member.id != victim.id);
            let id = victim.id.clone();
            let kind = ChangeKind::Remove { id };
            raft.happens_whole_or_not_at_all(&leader, polls, kind, &stayers).await?;
        }
        Ok(())
    }

    // Replacements.

    /// When a replacement returns, the leader's next view shows it, confirmed or not: the
    /// old server is gone, and the new one votes. The others are as before, and the version
    /// is greater. In time all servers show it. The cluster then survives the death of
    /// another voter, by the vote of the new one.
    #[source("Raft, section 4.3 of the thesis; the contract of `RaftBackend`, replacement")]
    #[needs(WITH_NONVOTER)]
    async fn replacement_has_happened_when_it_returns(raft: Cluster<'_>) -> Verdict {
        let (leader, [old, dead, new]) = raft.led().await?;
        let replacement = raft.replacement(&leader, &old, &new).await?;
        raft.has_happened(&leader, &replacement).await?;
        raft.stop(&dead).await?;
        raft.take_writes(&[leader, new]).await?;
        Ok(())
    }

    /// A leader can be replaced. Another voter leads then, and the old leader stops leading
    /// in its own view.
    #[source("Raft, sections 4.2.2 and 4.3 of the thesis")]
    #[needs(WITH_NONVOTER)]
    async fn replaced_leader_stops_leading(raft: Cluster<'_>) -> Verdict {
        let (old, [_, _, new]) = raft.led().await?;
        let replacement = raft.replacement(&old, &old, &new).await?;
        raft.steps_down(&old, &replacement).await?;
        Ok(())
    }

    /// Only a voter is replaced, and only by a server of the configuration that has no
    /// vote: `NothingToReplace`, `AlreadyVoter` or `UnknownServer`. Nothing changes.
    #[source("the contract of `RaftBackend`, replacement, step 1")]
    #[needs(Servers { voters: 3, nonvoters: 2 })]
    async fn only_nonvoter_replaces_a_voter(raft: Cluster<'_>) -> Verdict {
        let (leader, [voter, other, nonvoter, another]) = raft.led().await?;
        for (old, new) in [(&nonvoter, &another), (&nonvoter, &voter)] {
            let replacement = raft.replacement(&leader, old, new).await?;
            let kind = ErrorKind::NothingToReplace { id: old.id.clone() };
            raft.refused(&leader, &replacement, &kind).await?;
        }
        for new in [&voter, &other, &leader] {
            let replacement = raft.replacement(&leader, &voter, new).await?;
            let kind = ErrorKind::AlreadyVoter { id: new.id.clone() };
            raft.refused(&leader, &replacement, &kind).await?;
        }
        let view = raft.view(&leader).await?;
        for (old, new) in [("nobody", nonvoter.id.as_str()), (voter.id.as_str(), "nobody")] {
            let replacement = Change::replace(old, new, &view, raft.timeout());
            raft.refused_as_unknown(&leader, &replacement).await?;
        }
        Ok(())
    }

    /// A replacement that was decided on in another term or version is `TermChanged` or
    /// `Conflict`, and one at a server that does not lead is `NotLeader` or `NoLeader`.
    /// Nothing changes.
    #[source("the contract of `RaftBackend`, step 1")]
    #[needs(WITH_NONVOTER)]
    async fn outdated_replacement_is_refused(raft: Cluster<'_>) -> Verdict {
        let (leader, [old, follower, new]) = raft.led().await?;
        let replacement = raft.replacement(&leader, &old, &new).await?;
        raft.outdated_is_refused(&leader, &replacement).await?;
        raft.refused_without_lead(&follower, &leader, &replacement).await
    }

    /// While another change is uncommitted, a replacement is `ChangeInProgress`: not
    /// applied.
    #[source("Raft, section 4.1 of the thesis: one change at a time")]
    #[needs(WITH_NONVOTER)]
    async fn replacement_during_another_change_is_refused(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, other, new]) = raft.led().await?;
        raft.leave_unfinished(&one, PendingChange::Uncommitted, &leader).await?;
        let replacement = raft.replacement(&leader, &other, &new).await?;
        raft.refused(&leader, &replacement, &ErrorKind::ChangeInProgress).await
    }

    /// A replacement finishes a joint configuration that nobody finishes, and is a
    /// `Conflict` with the version that this leads to.
    #[source("the contract of `RaftBackend`, step 1; openraft leaves them so")]
    #[needs(Servers { voters: 5, nonvoters: 1 })]
    async fn replacement_ends_another_joint_configuration(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, other, _, _, new]) = raft.led().await?;
        raft.leave_unfinished(&one, PendingChange::Joint, &leader).await?;
        let replacement = raft.replacement(&leader, &other, &new).await?;
        raft.ends_joint_configuration(&leader, &one, replacement).await
    }

    /// The proof is made on the voters after the change. After the death of another
    /// voter, a replacement by a live server has a majority, where a removal is refused,
    /// and not the margin. A replacement by a dead one has no majority, since the server
    /// that leaves counts no more: `QuorumUnproven`, and nothing is appended.
    #[source("experiments with openraft and raft-rs: no cluster was stuck in 1,340 runs")]
    #[needs(Servers { voters: 3, nonvoters: 2 })]
    async fn replacement_is_proven_by_the_new_voters(raft: Cluster<'_>) -> Verdict {
        let (leader, [old, dead, new, other]) = raft.led().await?;
        raft.stop(&dead).await?;
        let replacement = raft.replacement(&leader, &old, &new).await?;
        let margin = replacement.clone().with_proof(Proof::Margin);
        raft.unproven(&leader, &margin).await?;
        raft.stop(&other).await?;
        raft.unproven(&leader, &raft.replacement(&leader, &old, &other).await?).await?;
        raft.make(&leader, &replacement).await?;
        raft.take_writes(&[leader, new]).await?;
        Ok(())
    }

    /// A server that does not confirm the proof's entry, and so the whole log, becomes no
    /// voter: `NotCaughtUp`, and nothing is appended.
    #[source("Raft, section 4.2.1 of the thesis: catching up new servers")]
    #[needs(WITH_NONVOTER)]
    async fn server_without_the_whole_log_replaces_nobody(raft: Cluster<'_>) -> Verdict {
        let (leader, [old, _, new]) = raft.led().await?;
        raft.stop(&new).await?;
        let replacement = raft.replacement(&leader, &old, &new).await?;
        raft.refused_as_behind(&leader, &new, &replacement).await?;
        raft.take_writes(&raft.others(&new)).await?;
        Ok(())
    }

    /// A voter that is lost in the middle of a replacement does not stop it: there is never
    /// a configuration with fewer voters than before.
    #[source("experiments with openraft and raft-rs: no cluster was stuck in 1,340 runs")]
    #[needs(WITH_NONVOTER)]
    async fn voter_lost_during_a_replacement_does_not_stop_it(raft: Cluster<'_>) -> Verdict {
        let (leader, [old, lost, new]) = raft.led().await?;
        let replacement = raft.replacement(&leader, &old, &new).await?;
        raft.lose_at_change(&lost).await?;
        // Two of three voters have both entries.
        raft.make(&leader, &replacement).await?;
        raft.take_writes(&[leader, new]).await?;
        Ok(())
    }

    /// The new voter may be lost in the middle of the replacement, too.
    #[source("experiments with openraft and raft-rs: no cluster was stuck in 1,340 runs")]
    #[needs(WITH_NONVOTER)]
    async fn new_voter_lost_during_a_replacement_does_not_stop_it(raft: Cluster<'_>) -> Verdict {
        let (leader, [old, other, new]) = raft.led().await?;
        let replacement = raft.replacement(&leader, &old, &new).await?;
        raft.lose_at_change(&new).await?;
        // Two of three voters have both entries.
        raft.make(&leader, &replacement).await?;
        raft.take_writes(&[leader, other]).await?;
        Ok(())
    }

    /// A leader that is lost with the entry of a replacement, before another server has it,
    /// answers with the outcome `Unknown`. The others go on with the old configuration.
    #[source("etcd#1483, redpanda#3446")]
    #[needs(WITH_NONVOTER)]
    async fn leader_lost_during_a_replacement_claims_nothing(raft: Cluster<'_>) -> Verdict {
        let (leader, [old, _, new]) = raft.led().await?;
        let replacement = raft.replacement(&leader, &old, &new).await?;
        raft.lost_with_its_leader(&leader, &replacement).await
    }

    /// A replacement whose future is dropped, at any point, leaves the old voters or the
    /// new ones, never a set in between, and does not block the next change.
    #[source("the contract of `RaftBackend`, cancel safety")]
    #[needs(Servers { voters: 3, nonvoters: 5 })]
    async fn dropped_replacement_happens_whole_or_not_at_all(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let mut stayers = raft.members();
        let nonvoters = stayers.split_off(3);
        let followers = stayers.iter().filter(|voter| voter.id != leader.id);
        let [mut old] = exactly("follower with a vote", followers.take(1).cloned())?;
        stayers.extend_from_slice(&nonvoters);
        for (polls, new) in [0, 1, 2, 4, 8].into_iter().zip(nonvoters) {
            stayers.retain(|member| member.id != old.id);
            let (id, with) = (old.id.clone(), new.id.clone());
            let kind = ChangeKind::Replace { id, with };
            raft.happens_whole_or_not_at_all(&leader, polls, kind, &stayers).await?;
            old = new;
        }
        Ok(())
    }

    // Promotions.

    /// When a promotion returns, the leader's next view shows it, confirmed or not: the
    /// server votes, the others are as before, and the version is greater. In time all
    /// servers show it. The cluster then survives the death of a voter that it could not do
    /// without before, by the vote of the new one.
    #[source("Raft, section 4.2.1 of the thesis; the contract of `RaftBackend`, promotion")]
    #[needs(Servers { voters: 2, nonvoters: 1 })]
    async fn promotion_has_happened_when_it_returns(raft: Cluster<'_>) -> Verdict {
        let (leader, [dead, new]) = raft.led().await?;
        let promotion = raft.promotion(&leader, &new).await?;
        raft.has_happened(&leader, &promotion).await?;
        raft.stop(&dead).await?;
        raft.take_writes(&[leader, new]).await?;
        Ok(())
    }

    /// Only a server of the configuration that has no vote is promoted: `AlreadyVoter` or
    /// `UnknownServer`. Nothing changes.
    #[source("the contract of `RaftBackend`, promotion, step 1")]
    #[needs(WITH_NONVOTER)]
    async fn only_nonvoter_is_promoted(raft: Cluster<'_>) -> Verdict {
        let (leader, [voter]) = raft.led().await?;
        for of in [&leader, &voter] {
            let promotion = raft.promotion(&leader, of).await?;
            let kind = ErrorKind::AlreadyVoter { id: of.id.clone() };
            raft.refused(&leader, &promotion, &kind).await?;
        }
        let nobody = Change::promote("nobody", &raft.view(&leader).await?, raft.timeout());
        raft.refused_as_unknown(&leader, &nobody).await
    }

    /// A promotion that was decided on in another term or version is `TermChanged` or
    /// `Conflict`, and one at a server that does not lead is `NotLeader` or `NoLeader`.
    /// Nothing changes.
    #[source("the contract of `RaftBackend`, step 1")]
    #[needs(WITH_NONVOTER)]
    async fn outdated_promotion_is_refused(raft: Cluster<'_>) -> Verdict {
        let (leader, [follower, _, new]) = raft.led().await?;
        let promotion = raft.promotion(&leader, &new).await?;
        raft.outdated_is_refused(&leader, &promotion).await?;
        raft.refused_without_lead(&follower, &leader, &promotion).await
    }

    /// While another change is uncommitted, a promotion is `ChangeInProgress`: not applied.
    #[source("Raft, section 4.1 of the thesis: one change at a time")]
    #[needs(WITH_NONVOTER)]
    async fn promotion_during_another_change_is_refused(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, _, new]) = raft.led().await?;
        raft.leave_unfinished(&one, PendingChange::Uncommitted, &leader).await?;
        let promotion = raft.promotion(&leader, &new).await?;
        raft.refused(&leader, &promotion, &ErrorKind::ChangeInProgress).await
    }

    /// A promotion finishes a joint configuration that nobody finishes, and is a `Conflict`
    /// with the version that this leads to.
    #[source("the contract of `RaftBackend`, step 1; openraft leaves them so")]
    #[needs(Servers { voters: 5, nonvoters: 1 })]
    async fn promotion_ends_another_joint_configuration(raft: Cluster<'_>) -> Verdict {
        let (leader, [one, _, _, _, new]) = raft.led().await?;
        raft.leave_unfinished(&one, PendingChange::Joint, &leader).await?;
        let promotion = raft.promotion(&leader, &new).await?;
        raft.ends_joint_configuration(&leader, &one, promotion).await
    }

    /// The proof is made on the voters after the change. With one of three voters dead, the
    /// promotion of a live server has a majority and not the margin. That of a dead one has
    /// no majority, although the voters before it have one: `QuorumUnproven`, and nothing
    /// is appended.
    #[source("the contract of `RaftBackend`, promotion, step 2; etcd#10537")]
    #[needs(Servers { voters: 3, nonvoters: 2 })]
    async fn promotion_is_proven_by_the_new_voters(raft: Cluster<'_>) -> Verdict {
        let (leader, [dead, voter, live, other]) = raft.led().await?;
        raft.stop(&dead).await?;
        let promotion = raft.promotion(&leader, &live).await?;
        let margin = promotion.clone().with_proof(Proof::Margin);
        raft.unproven(&leader, &margin).await?;
        raft.stop(&other).await?;
        raft.unproven(&leader, &raft.promotion(&leader, &other).await?).await?;
        raft.make(&leader, &promotion).await?;
        raft.take_writes(&[leader, voter, live]).await?;
        Ok(())
    }

    /// A server that does not confirm the proof's entry, and so the whole log, is not
    /// promoted: `NotCaughtUp`, and nothing is appended. Once it has caught up, it is.
    #[source("Raft, section 4.2.1 of the thesis: catching up new servers")]
    #[needs(WITH_NONVOTER)]
    async fn server_without_the_whole_log_is_not_promoted(raft: Cluster<'_>) -> Verdict {
        let (leader, [_, _, new]) = raft.led().await?;
        raft.isolate(&new).await?;
        let promotion = raft.promotion(&leader, &new).await?;
        raft.refused_as_behind(&leader, &new, &promotion).await?;
        raft.reconnect(&new).await?;
        raft.made_in_the_end(&promotion.kind, &raft.members()).await
    }

    /// `Ok` waits until a majority of the new voters holds the final entry; otherwise the
    /// failure is `Unknown`. A single voter is a majority of the old ones, and half of the
    /// new ones. Once the new voter is back, the cluster takes writes.
    #[source("the contract of `RaftBackend`, promotion, step 4; tikv/pd#11236")]
    #[needs(Servers { voters: 1, nonvoters: 1 })]
    async fn old_majority_is_no_promotion(raft: Cluster<'_>) -> Verdict {
        let (leader, [new]) = raft.led().await?;
        let promotion = raft.promotion(&leader, &new).await?;
        raft.lose_at_change(&new).await?;
        let answer = raft.ask(&leader, &promotion).await?;
        let expected = format!("the outcome Unknown: only {} has the entry", leader.id);
        ensure(is_unknown(&answer), expected, answer)?;
        raft.reconnect(&new).await?;
        raft.made_in_the_end(&promotion.kind, &raft.members()).await
    }

    /// A leader that is lost with the entry of a promotion, before another server has it,
    /// answers with the outcome `Unknown`. The others go on with the old configuration.
    #[source("etcd#1483, redpanda#3446")]
    #[needs(WITH_NONVOTER)]
    async fn leader_lost_during_a_promotion_claims_nothing(raft: Cluster<'_>) -> Verdict {
        let (leader, [_, _, new]) = raft.led().await?;
        let promotion = raft.promotion(&leader, &new).await?;
        raft.lost_with_its_leader(&leader, &promotion).await
    }

    /// A promotion whose future is dropped, at any point, leaves the old or the new
    /// configuration, and does not block the next change.
    #[source("the contract of `RaftBackend`, cancel safety")]
    #[needs(Servers { voters: 3, nonvoters: 5 })]
    async fn dropped_promotion_happens_whole_or_not_at_all(raft: Cluster<'_>) -> Verdict {
        let leader = raft.leader().await?;
        let members = raft.members();
        for (polls, new) in [0, 1, 2, 4, 8].into_iter().zip(&members[3..]) {
            let id = new.id.clone();
            let kind = ChangeKind::Promote { id };
            raft.happens_whole_or_not_at_all(&leader, polls, kind, &members).await?;
        }
        Ok(())
    }

    // Transfers.

    /// After a transfer the target leads, in a greater term, and the configuration is as
    /// before.
    #[source("Consul's operator API, transfer-leader; redpanda#3446")]
    #[needs(THREE)]
    async fn transfer_makes_the_target_lead(raft: Cluster<'_>) -> Verdict {
        let first = raft.leader().await?;
        for target in raft.others(&first) {
            let old = raft.leader().await?;
            let before = raft.view(&old).await?;
            let transfer = raft.transfer(&old, &target).await?;
            ensure(transfer.is_ok(), format_args!("the lead for {}", target.id), transfer)?;
            let new = raft.leader().await?;
            same("the leader", &target.id, &new.id)?;
            let term = raft.view(&new).await?.term;
            ensure(term > before.term, format_args!("a term after {}", before.term), term)?;
            raft.unchanged(&new, &before).await?;
        }
        Ok(())
    }

    /// A transfer to a server that cannot be reached is an error, and the cluster has a
    /// leader again.
    #[source("hashicorp/raft LeadershipTransferToServer")]
    #[needs(THREE)]
    async fn transfer_to_an_unreachable_server_fails(raft: Cluster<'_>) -> Verdict {
        let (leader, [target]) = raft.led().await?;
        raft.isolate(&target).await?;
        let transfer = raft.transfer(&leader, &target).await?;
        ensure(transfer.is_err(), "an error", transfer)?;
        raft.take_writes(&raft.others(&target)).await?;
        Ok(())
    }
}
