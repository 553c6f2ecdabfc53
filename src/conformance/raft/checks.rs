//! The list of the Raft checks.

use super::{RaftCheck, Servers, leads, losses, races, reads, refusals, removals};
use crate::conformance::check::check;

/// Every check of the suite, in the order in which it runs them.
pub const CHECKS: &[RaftCheck] = &[
    check!(
        leads::one_server_leads_and_the_others_follow,
        Servers::voters(3),
        "In a cluster that is whole, `leadership` is `Local` on one server, and `Elsewhere` \
         with that server's id on all the others.",
        "Raft, section 5.2",
    ),
    check!(
        leads::a_hint_is_the_leaders_id_and_address,
        Servers::voters(3).and_nonvoters(1),
        "The hint of a follower, also the one in its `NotLeader`, is the leader's id and \
         address as the configuration holds them: requests are sent there.",
        "consul#2782; openraft, ForwardToLeader",
    ),
    check!(
        leads::another_server_leads_once_the_leader_stops,
        Servers::voters(3),
        "Another voter leads once the leader is down, and the one that is down stays in the \
         configuration until someone removes it.",
        "Raft, section 5.2",
    ),
    check!(
        leads::without_a_majority_nobody_leads,
        Servers::voters(3),
        "A server that reaches no majority of the voters names no leader, not even the last \
         one for good.",
        "consul#2817",
    ),
    check!(
        leads::without_a_leader_a_read_is_refused,
        Servers::voters(3),
        "Without a leader a read that is not stale is `NoLeader`, an error of its own.",
        "consul#2782, consul#2817, nomad#4430",
    ),
    check!(
        leads::without_a_leader_a_stale_read_is_answered,
        Servers::voters(3),
        "A stale read is answered without a leader, from this server's view, in which no \
         server leads.",
        "Consul's operator API, ?stale",
    ),
    check!(
        leads::without_a_leader_nothing_is_removed,
        Servers::voters(3),
        "Without a leader a removal is `NoLeader` and not applied; a stale view is never \
         written to.",
        "consul#2817, nomad#4430",
    ),
    check!(
        losses::a_leader_without_a_majority_leads_no_more,
        Servers::voters(3),
        "In time a leader that reaches no majority of the voters names no leader, not even \
         itself.",
        "Raft, section 6.2 of the thesis; hashicorp/raft LeaderLeaseTimeout",
    ),
    check!(
        losses::a_leader_without_a_majority_answers_no_read,
        Servers::voters(3),
        "A leader that has lost its majority, and names no leader, is like any other server \
         without one: a read that is not stale is `NoLeader`.",
        "Raft, section 6.2 of the thesis; hashicorp/raft LeaderLeaseTimeout",
    ),
    check!(
        losses::a_leader_without_a_majority_removes_nothing,
        Servers::voters(3),
        "A leader that has lost its majority, and names no leader, is like any other server \
         without one: a removal is `NoLeader` and not applied.",
        "Raft, section 6.2 of the thesis; hashicorp/raft LeaderLeaseTimeout",
    ),
    check!(
        losses::a_leader_that_is_cut_off_answers_no_consistent_read,
        Servers::voters(3),
        "A consistent read is answered only after a majority has confirmed the lead.",
        "Raft, section 8; hashicorp/raft VerifyLeader",
    ),
    check!(
        losses::a_leader_that_is_cut_off_removes_nothing,
        Servers::voters(5),
        "A removal does not succeed where no majority hears of it.",
        "Raft, section 5.4",
    ),
    check!(
        losses::a_leader_that_is_cut_off_leads_no_more,
        Servers::voters(3),
        "In time a leader that is cut off names no leader, and a removal, or a read that is \
         not stale, is `NoLeader` from then on.",
        "etcd raft, CheckQuorum; hashicorp/raft LeaderLeaseTimeout",
    ),
    check!(
        losses::not_applied_is_said_only_of_what_did_not_happen,
        Servers::voters(3),
        "A removal that the rest of the voters cannot confirm does not succeed, and its \
         outcome is `NotApplied` only if the server is still there.",
        "etcd#1483, redpanda#3446",
    ),
    check!(
        reads::the_configuration_holds_the_servers_there_are,
        Servers::voters(3).and_nonvoters(1),
        "The configuration holds the id and the address of each server, and no others.",
        "Consul's operator API",
    ),
    check!(
        reads::ids_and_addresses_are_unique,
        Servers::voters(3).and_nonvoters(1),
        "No two servers of a configuration have the same id, or the same address.",
        "hashicorp/raft checkConfiguration",
    ),
    check!(
        reads::a_server_without_a_vote_is_told_to_have_none,
        Servers::voters(2).and_nonvoters(1),
        "`suffrage` is `Voter` for those that vote and for no others: the quorum is counted \
         by it.",
        "etcd#10459; Consul's operator API, Voter",
    ),
    check!(
        reads::the_leader_alone_is_marked_as_the_leader,
        Servers::voters(3),
        "The leader's own answer marks the leader, and no other server.",
        "Consul's operator API, Leader",
    ),
    check!(
        reads::a_read_changes_nothing,
        Servers::voters(3),
        "Two reads without a change between them tell the same servers in the same order, \
         and the same index.",
        "Consul's operator API, Index",
    ),
    check!(
        reads::the_leader_answers_a_consistent_read,
        Servers::voters(3),
        "The leader of a cluster that is whole answers a consistent read.",
        "hashicorp/raft VerifyLeader",
    ),
    check!(
        reads::a_follower_answers_a_stale_read,
        Servers::voters(3).and_nonvoters(1),
        "Every server answers a stale read, and in time it tells what the leader tells.",
        "Consul's operator API, ?stale",
    ),
    check!(
        reads::a_follower_answers_no_other_read,
        Servers::voters(3),
        "A server that does not lead answers `NotLeader` or `NoLeader` to a read that is \
         not stale.",
        "consul#2782",
    ),
    check!(
        reads::a_follower_removes_nothing,
        Servers::voters(3),
        "A server that does not lead answers `NotLeader` or `NoLeader` to a removal, \
         whoever is to be removed, and nothing changes.",
        "consul#2817, nomad#4430",
    ),
    check!(
        reads::a_consistent_read_sees_what_was_removed,
        Servers::voters(3),
        "A consistent read that begins after a removal has returned does not show the \
         server.",
        "Raft, section 8",
    ),
    check!(
        refusals::an_unknown_id_is_an_unknown_server,
        Servers::voters(3),
        "A removal of an id that the configuration does not hold is `UnknownServer`, never \
         a quiet success, and changes nothing.",
        "Consul's operator API; vault#9318",
    ),
    check!(
        refusals::an_unknown_address_is_an_unknown_server,
        Servers::voters(3),
        "A removal of an address that the configuration does not hold is `UnknownServer`, \
         never a quiet success, and changes nothing.",
        "Consul's operator API; vault#9318",
    ),
    check!(
        refusals::a_server_is_matched_byte_for_byte,
        Servers::voters(3),
        "An id or address that is only similar, by case, spaces, signs or leading zeros, is \
         another one.",
        "Consul's operator API: no normalising",
    ),
    check!(
        refusals::an_id_is_not_taken_for_an_address,
        Servers::voters(3),
        "A selector by id never matches an address, nor one by address an id.",
        "Consul's operator API, ?id and ?address",
    ),
    check!(
        refusals::odd_names_are_unknown_servers,
        Servers::voters(3),
        "Any text can be asked for: empty, very long, no number where ids are numbers. It \
         is an unknown server, not a panic.",
        "Consul's operator API, ?id=",
    ),
    check!(
        refusals::the_last_voter_is_never_removed,
        Servers::voters(1),
        "A removal that would leave no voter is `LastVoter`, and changes nothing.",
        "hashicorp/raft checkConfiguration",
    ),
    check!(
        refusals::nonvoters_do_not_make_the_last_voter_removable,
        Servers::voters(1).and_nonvoters(1),
        "Servers without a vote do not count: the last voter is `LastVoter` also beside \
         them.",
        "hashicorp/raft checkConfiguration",
    ),
    check!(
        refusals::a_removal_at_another_index_is_a_conflict,
        Servers::voters(3),
        "With an expected index that is not the latest configuration's, lower or higher, a \
         removal is `Conflict` with the actual index, and changes nothing.",
        "hashicorp/raft RemoveServer, prevIndex",
    ),
    check!(
        refusals::an_index_that_has_moved_on_is_a_conflict,
        Servers::voters(4),
        "An index that was right before another removal is a `Conflict` after it.",
        "hashicorp/raft RemoveServer, prevIndex",
    ),
    check!(
        removals::a_voter_is_removed_by_its_id,
        Servers::voters(3),
        "A voter that is named by its id is removed.",
        "Consul's operator API, ?id",
    ),
    check!(
        removals::a_voter_is_removed_by_its_address,
        Servers::voters(3),
        "A voter that is named by its address is removed.",
        "Consul's operator API, ?address",
    ),
    check!(
        removals::a_nonvoter_is_removed_by_its_id_or_address,
        Servers::voters(2).and_nonvoters(2),
        "A server without a vote is removed like one with a vote.",
        "hashicorp/raft RemoveServer",
    ),
    check!(
        removals::a_removed_voter_does_not_stay_as_a_nonvoter,
        Servers::voters(3),
        "A removed voter is not merely demoted: the configuration does not hold it at all.",
        "hashicorp/raft RemoveServer; openraft change_membership with retain",
    ),
    check!(
        removals::a_removal_has_happened_when_it_returns,
        Servers::voters(3),
        "When a removal returns, the leader's next read does not show the server.",
        "etcd#1483, redpanda#3446",
    ),
    check!(
        removals::a_removal_reaches_the_followers,
        Servers::voters(3),
        "In time the stale view of every other server lacks the removed one.",
        "Raft, section 5.3",
    ),
    check!(
        removals::a_removal_leaves_the_others_as_they_were,
        Servers::voters(3).and_nonvoters(1),
        "The other servers keep their order, addresses and suffrage.",
        "hashicorp/raft RemoveServer",
    ),
    check!(
        removals::the_leader_can_be_removed,
        Servers::voters(3),
        "The leader is removed like any voter while others remain; one of those leads then.",
        "Consul's operator API; Raft, section 6",
    ),
    check!(
        removals::a_removed_leader_leads_no_more,
        Servers::voters(3),
        "In time `leadership` is not `Local` on a leader that was removed.",
        "Raft, section 6; etcd raft, StepDownOnRemoval",
    ),
    check!(
        removals::a_removed_leader_answers_no_read,
        Servers::voters(3),
        "A removed leader that does not lead any more answers no read but a stale one.",
        "Raft, section 6; etcd raft, StepDownOnRemoval",
    ),
    check!(
        removals::a_removed_leader_removes_nothing,
        Servers::voters(3),
        "A removed leader that does not lead any more refuses every removal, and nothing \
         changes.",
        "Raft, section 6; etcd raft, StepDownOnRemoval",
    ),
    check!(
        removals::a_removed_server_is_unknown_from_then_on,
        Servers::voters(3),
        "A second removal of the same server is `UnknownServer`.",
        "vault#9318",
    ),
    check!(
        removals::the_index_grows_with_each_removal,
        Servers::voters(3),
        "The index is greater after each removal, by however much.",
        "Consul 1.10 tells 0 for good; Consul's operator API, Index",
    ),
    check!(
        removals::a_removal_at_the_latest_index_is_done,
        Servers::voters(3),
        "With the latest configuration's index expected, a removal is done.",
        "hashicorp/raft RemoveServer, prevIndex",
    ),
    check!(
        removals::a_removal_goes_on_without_a_minority,
        Servers::voters(3),
        "A dead voter is removed while a majority of the voters is up.",
        "etcd#15710, etcd#10114",
    ),
    check!(
        races::removals_of_one_server_at_once_succeed_once,
        Servers::voters(3),
        "Of two removals of the same server at once, one succeeds, and the other one is an \
         error.",
        "vault#9318",
    ),
    check!(
        races::removals_of_two_servers_at_once_do_what_they_answer,
        Servers::voters(5),
        "Removals of two servers at once do not undo each other: who was told to be removed \
         is gone, and who was told not to be is there.",
        "Raft, section 4.1 of the thesis: one change at a time",
    ),
    check!(
        races::removals_at_the_same_index_succeed_once,
        Servers::voters(5),
        "Of two removals at once that expect the same index, one is done.",
        "hashicorp/raft RemoveServer, prevIndex",
    ),
    check!(
        races::removals_at_once_leave_a_voter,
        Servers::voters(2),
        "Removals of the last two voters at once leave one of them.",
        "hashicorp/raft checkConfiguration",
    ),
    check!(
        races::a_dropped_removal_happens_whole_or_not_at_all,
        Servers::voters(5),
        "A removal whose future is dropped leaves the old or the new configuration, and \
         does not stand in the way of the next one.",
        "the contract of `RaftBackend`",
    ),
    check!(
        races::a_dropped_read_leaves_the_next_one_alone,
        Servers::voters(3),
        "A read whose future is dropped, at any point, changes nothing and blocks nothing.",
        "the contract of `RaftBackend`",
    ),
    check!(
        leads::the_lead_is_not_handed_to_an_unknown_server,
        Servers::voters(3),
        "A transfer to a server that the configuration does not hold is `UnknownServer`, \
         and the leader stays.",
        "Consul's operator API, transfer-leader",
    ),
    check!(
        leads::the_lead_is_not_handed_to_a_nonvoter,
        Servers::voters(2).and_nonvoters(1),
        "A transfer to a server without a vote is refused, and it does not lead.",
        "hashicorp/raft LeadershipTransferToServer",
    ),
    check!(
        leads::the_lead_is_handed_to_the_server_that_is_named,
        Servers::voters(3),
        "After a transfer the named voter leads.",
        "Consul's operator API, transfer-leader",
    ),
    check!(
        leads::the_lead_is_handed_on_where_nobody_is_named,
        Servers::voters(3),
        "After a transfer without a name another voter leads, and the configuration holds \
         the same servers.",
        "Consul's operator API, transfer-leader; redpanda#3446",
    ),
    check!(
        leads::a_follower_hands_no_lead_on,
        Servers::voters(3),
        "A server that does not lead answers `NotLeader` or `NoLeader` to a transfer.",
        "hashicorp/raft LeadershipTransfer",
    ),
];

/// Hands each name in [`CHECKS`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_raft_names {
    ($each:ident) => {
        $each! { @ one_server_leads_and_the_others_follow }
        $each! { @ a_hint_is_the_leaders_id_and_address }
        $each! { @ another_server_leads_once_the_leader_stops }
        $each! { @ without_a_majority_nobody_leads }
        $each! { @ without_a_leader_a_read_is_refused }
        $each! { @ without_a_leader_a_stale_read_is_answered }
        $each! { @ without_a_leader_nothing_is_removed }
        $each! { @ a_leader_without_a_majority_leads_no_more }
        $each! { @ a_leader_without_a_majority_answers_no_read }
        $each! { @ a_leader_without_a_majority_removes_nothing }
        $each! { @ a_leader_that_is_cut_off_answers_no_consistent_read }
        $each! { @ a_leader_that_is_cut_off_removes_nothing }
        $each! { @ a_leader_that_is_cut_off_leads_no_more }
        $each! { @ not_applied_is_said_only_of_what_did_not_happen }
        $each! { @ the_configuration_holds_the_servers_there_are }
        $each! { @ ids_and_addresses_are_unique }
        $each! { @ a_server_without_a_vote_is_told_to_have_none }
        $each! { @ the_leader_alone_is_marked_as_the_leader }
        $each! { @ a_read_changes_nothing }
        $each! { @ the_leader_answers_a_consistent_read }
        $each! { @ a_follower_answers_a_stale_read }
        $each! { @ a_follower_answers_no_other_read }
        $each! { @ a_follower_removes_nothing }
        $each! { @ a_consistent_read_sees_what_was_removed }
        $each! { @ an_unknown_id_is_an_unknown_server }
        $each! { @ an_unknown_address_is_an_unknown_server }
        $each! { @ a_server_is_matched_byte_for_byte }
        $each! { @ an_id_is_not_taken_for_an_address }
        $each! { @ odd_names_are_unknown_servers }
        $each! { @ the_last_voter_is_never_removed }
        $each! { @ nonvoters_do_not_make_the_last_voter_removable }
        $each! { @ a_removal_at_another_index_is_a_conflict }
        $each! { @ an_index_that_has_moved_on_is_a_conflict }
        $each! { @ a_voter_is_removed_by_its_id }
        $each! { @ a_voter_is_removed_by_its_address }
        $each! { @ a_nonvoter_is_removed_by_its_id_or_address }
        $each! { @ a_removed_voter_does_not_stay_as_a_nonvoter }
        $each! { @ a_removal_has_happened_when_it_returns }
        $each! { @ a_removal_reaches_the_followers }
        $each! { @ a_removal_leaves_the_others_as_they_were }
        $each! { @ the_leader_can_be_removed }
        $each! { @ a_removed_leader_leads_no_more }
        $each! { @ a_removed_leader_answers_no_read }
        $each! { @ a_removed_leader_removes_nothing }
        $each! { @ a_removed_server_is_unknown_from_then_on }
        $each! { @ the_index_grows_with_each_removal }
        $each! { @ a_removal_at_the_latest_index_is_done }
        $each! { @ a_removal_goes_on_without_a_minority }
        $each! { @ removals_of_one_server_at_once_succeed_once }
        $each! { @ removals_of_two_servers_at_once_do_what_they_answer }
        $each! { @ removals_at_the_same_index_succeed_once }
        $each! { @ removals_at_once_leave_a_voter }
        $each! { @ a_dropped_removal_happens_whole_or_not_at_all }
        $each! { @ a_dropped_read_leaves_the_next_one_alone }
        $each! { @ the_lead_is_not_handed_to_an_unknown_server }
        $each! { @ the_lead_is_not_handed_to_a_nonvoter }
        $each! { @ the_lead_is_handed_to_the_server_that_is_named }
        $each! { @ the_lead_is_handed_on_where_nobody_is_named }
        $each! { @ a_follower_hands_no_lead_on }
    };
}
