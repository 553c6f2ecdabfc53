//! The list of the keyring checks.

use super::{KeyringCheck, Rings, changes, drops, faults, lists, races, reports, secrets};
use crate::conformance::check::check;

const ALONE: Rings = Rings::new(&[&[1]]);
const ONE_KEY: Rings = Rings::new(&[&[1], &[1], &[1]]);
const TWO_KEYS: Rings = Rings::new(&[&[1, 2], &[1, 2], &[1, 2]]);
const THREE: Rings = Rings::new(&[&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]]);
const FOUR: Rings = Rings::new(&[&[1, 2], &[1, 2], &[1, 2], &[1, 2]]);
const FIVE: Rings = Rings::new(&[&[1], &[1], &[1], &[1], &[1]]);
const MANY: Rings = Rings::new(&[&FORTY, &FORTY, &FORTY]);
const FORTY: [u8; 40] = {
    let mut numbers = [0; 40];
    let mut at = 0;
    while at < 40 {
        at += 1;
        numbers[at - 1] = at as u8;
    }
    numbers
};
const ONE_LACKS: Rings = Rings::new(&[&[1, 2], &[1, 2], &[1]]);
const ONE_DIFFERS: Rings = Rings::new(&[&[1, 2], &[1, 2], &[2, 1]]);
const CLEAR: Rings = Rings::new(&[&[], &[], &[]]);
const ONE_CLEAR: Rings = Rings::new(&[&[1], &[1], &[]]);

/// Every check of the suite, in the order in which it runs them.
pub const CHECKS: &[KeyringCheck] = &[
    check!(
        lists::a_listing_counts_each_key_on_every_node,
        THREE,
        "A listing counts each key on every node that holds it, and lists no other.",
        "Serf, KeyManager.ListKeys",
    ),
    check!(
        lists::a_key_that_some_nodes_lack_is_counted_on_the_others,
        ONE_LACKS,
        "A key that only some nodes hold is counted on those.",
        "Serf, KeyManager.ListKeys",
    ),
    check!(
        lists::a_listing_counts_the_primary_of_every_node,
        THREE,
        "A listing counts for each key on how many nodes it is the primary.",
        "consul#3393; Serf, KeyResponse.PrimaryKeys",
    ),
    check!(
        lists::a_node_with_another_primary_is_seen,
        ONE_DIFFERS,
        "Nodes that use different keys are counted under different primaries.",
        "consul#3393",
    ),
    check!(
        lists::it_does_not_matter_which_node_lists,
        ONE_DIFFERS,
        "Every node of a pool that is whole tells the same, whatever the order in which \
         the nodes answer.",
        "Serf, KeyManager.ListKeys",
    ),
    check!(
        lists::a_listing_changes_nothing,
        THREE,
        "Listings without a change between them tell the same.",
        "Consul's operator API, GET keyring",
    ),
    check!(
        lists::every_node_of_the_pool_is_counted,
        FIVE,
        "`nodes` and `responses` are the number of nodes where all are alive, whatever is \
         asked.",
        "Serf, KeyResponse.NumNodes and NumResp",
    ),
    check!(
        lists::many_keys_are_counted_or_told_to_be_cut,
        MANY,
        "A node whose keys do not fit into its answer is told as `Truncated`, with how \
         many it shows and how many it holds; keys are never just missing.",
        "serf#546; memberlist's limit of 1,024 bytes",
    ),
    check!(
        lists::the_nodes_hold_what_is_listed,
        THREE,
        "What a listing and a report tell is what the nodes' rings hold.",
        "the contract of `KeyringBackend`",
    ),
    check!(
        changes::an_installed_key_is_on_every_node,
        THREE,
        "Once an install has succeeded, the key is on every node.",
        "memberlist, Keyring.AddKey",
    ),
    check!(
        changes::install_keeps_the_primary,
        THREE,
        "A key that is installed is not used yet.",
        "memberlist, Keyring.AddKey",
    ),
    check!(
        changes::installing_again_succeeds_and_changes_nothing,
        THREE,
        "Installing a key that is there succeeds and changes nothing, the primary \
         included; no ring holds a key twice.",
        "memberlist, Keyring.AddKey",
    ),
    check!(
        changes::keys_of_all_sizes_are_taken,
        THREE,
        "Keys of 16, 24 and 32 bytes can be installed and used.",
        "memberlist, ValidateKey",
    ),
    check!(
        changes::a_key_that_begins_like_another_is_another,
        THREE,
        "Keys are compared whole: one is not another one that goes on.",
        "memberlist, Keyring (bytes.Equal)",
    ),
    check!(
        changes::use_moves_the_primary_of_every_node,
        THREE,
        "Once a use has succeeded, the key is every node's primary.",
        "memberlist, Keyring.UseKey",
    ),
    check!(
        changes::use_keeps_all_keys,
        THREE,
        "The old primary stays in the ring after a use, since others may still encrypt \
         with it.",
        "memberlist, Keyring.UseKey",
    ),
    check!(
        changes::using_the_primary_succeeds_and_changes_nothing,
        THREE,
        "Using the key that is the primary succeeds and changes nothing.",
        "memberlist, Keyring.UseKey",
    ),
    check!(
        changes::a_key_that_is_not_installed_cannot_be_used,
        THREE,
        "Using a key that is not installed fails with `KeyNotInstalled` on each node and \
         changes nothing; the call itself is no error.",
        "memberlist, Keyring.UseKey",
    ),
    check!(
        changes::a_removed_key_is_on_no_node,
        THREE,
        "Once a removal has succeeded, the key is on no node, and not listed.",
        "memberlist, Keyring.RemoveKey",
    ),
    check!(
        changes::a_removal_leaves_the_other_keys,
        THREE,
        "A removal takes no other key away, and the primary stays.",
        "memberlist, Keyring.RemoveKey",
    ),
    check!(
        changes::removing_an_absent_key_succeeds_and_changes_nothing,
        THREE,
        "Removing a key that no node holds succeeds and changes nothing.",
        "memberlist, Keyring.RemoveKey",
    ),
    check!(
        changes::the_primary_cannot_be_removed,
        THREE,
        "Removing the primary fails with `PrimaryKey` on each node and changes nothing; \
         the call itself is no error.",
        "memberlist, Keyring.RemoveKey",
    ),
    check!(
        changes::a_removed_key_cannot_be_used,
        THREE,
        "A key that was removed is not installed any more.",
        "memberlist, Keyring.UseKey",
    ),
    check!(
        changes::a_removed_key_can_be_installed_again,
        THREE,
        "A key that was removed can be installed and used again.",
        "memberlist, Keyring.AddKey",
    ),
    check!(
        changes::a_key_is_rotated,
        ONE_KEY,
        "Install, use and remove replace the key on every node, again and again.",
        "Consul's documentation of gossip encryption; consul#3849",
    ),
    check!(
        changes::a_change_can_be_asked_of_any_node,
        THREE,
        "A change reaches every node, whichever is asked.",
        "Serf, KeyManager",
    ),
    check!(
        changes::a_pool_of_one_node_is_a_pool,
        ALONE,
        "In a pool of one node that node is asked, and is counted.",
        "Serf, KeyManager",
    ),
    check!(
        reports::answers_and_failures_add_up,
        THREE,
        "`responses` counts each node that answered once, `errors` each that failed, and \
         there is a failure in the messages for each error.",
        "Serf, KeyResponse.NumResp and NumErr",
    ),
    check!(
        reports::who_succeeds_is_not_told_to_have_failed,
        THREE,
        "Where no node has failed, the messages hold no failure.",
        "Serf, KeyResponse.Messages",
    ),
    check!(
        reports::who_fails_is_told_by_name,
        THREE,
        "Each node that fails is in the messages under its own name, with its reason.",
        "Serf, KeyResponse.Messages",
    ),
    check!(
        reports::a_change_lists_no_keys,
        THREE,
        "The report of a change lists no keys.",
        "the contract of `RingReport`",
    ),
    check!(
        reports::a_listing_is_the_same_with_every_relay_factor,
        FOUR,
        "Answers that are sent a second time are not counted a second time, and a listing \
         is the same with each relay factor.",
        "Serf, QueryParam.RelayFactor",
    ),
    check!(
        reports::a_change_counts_once_with_every_relay_factor,
        FOUR,
        "A change is done, and each node counted once, with each relay factor.",
        "Serf, QueryParam.RelayFactor",
    ),
    check!(
        reports::the_pool_is_always_the_same,
        THREE,
        "`pool` is the same on all nodes, before and after every call.",
        "the contract of `KeyringBackend`",
    ),
    check!(
        reports::the_members_are_the_nodes,
        THREE,
        "`members`, where it is supported, names each living node once.",
        "Serf, Members",
    ),
    check!(
        reports::a_dead_node_is_no_member,
        THREE,
        "`members` leaves out a node that is known to be dead.",
        "memberlist, NumMembers",
    ),
    check!(
        secrets::no_key_is_in_a_report,
        THREE,
        "No text in a report contains eight bytes of a key in a row, in base64, in \
         hexadecimal digits or as numbers.",
        "the contract of `KeyringBackend`",
    ),
    check!(
        secrets::no_key_is_in_an_error,
        THREE,
        "No text of an error, or of what caused it, contains eight bytes of a key in a row.",
        "the contract of `OperatorError`",
    ),
    check!(
        faults::who_lacks_the_key_to_use_fails_alone,
        ONE_LACKS,
        "A node that lacks the key to use fails with `KeyNotInstalled` under its name, \
         and the others use it.",
        "Serf, KeyManager.UseKey; consul#3393",
    ),
    check!(
        faults::who_lacks_the_key_to_use_is_no_success,
        ONE_LACKS,
        "A node that lacks the key to use, and may not hear the others once they use it, \
         fails or is silent; it is never counted as one that has done it.",
        "Serf, KeyManager.UseKey",
    ),
    check!(
        faults::the_primary_of_one_node_is_removed_from_the_others,
        ONE_DIFFERS,
        "A node whose primary is to be removed fails with `PrimaryKey` under its name, \
         and the others remove it.",
        "memberlist, Keyring.RemoveKey",
    ),
    check!(
        faults::install_brings_a_key_to_those_that_lack_it,
        ONE_LACKS,
        "An install succeeds on nodes that have the key and on nodes that lack it, and \
         all have it then.",
        "memberlist, Keyring.AddKey",
    ),
    check!(
        faults::remove_succeeds_where_some_lack_the_key,
        ONE_LACKS,
        "A removal succeeds on nodes that hold the key and on nodes that lack it.",
        "memberlist, Keyring.RemoveKey",
    ),
    check!(
        faults::without_encryption_every_node_says_so,
        CLEAR,
        "In a pool that gossips in clear text every node fails with `EncryptionOff`, also \
         for a listing.",
        "Serf, internal query handlers",
    ),
    check!(
        faults::a_node_without_encryption_fails_alone,
        ONE_CLEAR,
        "A node that gossips in clear text fails with `EncryptionOff` under its name, and \
         the others do what they are asked.",
        "Serf, internal query handlers",
    ),
    check!(
        faults::a_stopped_node_is_silent_or_not_counted,
        THREE,
        "A node that was stopped answers nothing and has not failed: it is silent, or no \
         longer counted. What the others list is kept.",
        "Serf, KeyResponse.NumResp; consul#3849",
    ),
    check!(
        faults::the_others_change_while_a_node_is_down,
        THREE,
        "A change is done by the others while a node is down, and told so.",
        "Serf, KeyManager",
    ),
    check!(
        faults::a_dead_node_is_not_counted,
        THREE,
        "A node that is known to be dead is not counted, and all others are enough for a \
         success.",
        "memberlist, NumMembers",
    ),
    check!(
        faults::a_late_node_is_counted_or_silent,
        THREE,
        "A node that answers late is counted or silent, and has not failed. What the \
         others answer is kept.",
        "Serf, QueryParam.Timeout",
    ),
    check!(
        faults::a_stopped_node_can_ask_nobody,
        THREE,
        "A backend whose own node is stopped answers with an error. What it calls \
         `NotApplied` has not happened.",
        "the contract of `KeyringBackend`; etcd#1483",
    ),
    check!(
        races::installs_of_one_key_at_once_add_it_once,
        THREE,
        "Installs of one key at the same time all succeed, and each ring holds it once.",
        "memberlist, Keyring.AddKey",
    ),
    check!(
        races::installs_of_several_keys_at_once_add_all,
        THREE,
        "Installs of different keys at the same time lose none of them, whichever nodes \
         are asked.",
        "Serf's KeyManager locks one server alone",
    ),
    check!(
        races::uses_of_two_keys_at_once_leave_every_ring_whole,
        THREE,
        "Uses of different keys at the same time lose no key, and each node has one of \
         the two as its primary.",
        "memberlist's Keyring, whose keys are read unlocked",
    ),
    check!(
        races::a_key_is_not_used_and_removed_at_once,
        THREE,
        "Of a use and a removal of the same key at the same time, at most one succeeds on \
         each node, and each keeps a primary.",
        "memberlist, Keyring.RemoveKey",
    ),
    check!(
        races::a_listing_beside_changes_sees_whole_rings,
        TWO_KEYS,
        "A listing at the same time as a change sees each ring before it or after it, and \
         never without a key that stays.",
        "memberlist's Keyring, whose keys are read unlocked",
    ),
    check!(
        races::many_calls_at_once_all_end,
        THREE,
        "Many calls at the same time all end, each with all answers.",
        "the serf crate, whose key manager leaves some unanswered",
    ),
    check!(
        drops::a_dropped_install_leaves_every_ring_whole,
        THREE,
        "An install whose future is dropped, at any point, adds the key to some nodes and \
         changes nothing else; it can be asked for again.",
        "the contract of `KeyringBackend`",
    ),
    check!(
        drops::a_dropped_use_leaves_every_ring_whole,
        THREE,
        "A use whose future is dropped, at any point, loses no key and no primary; it can \
         be asked for again.",
        "the contract of `KeyringBackend`",
    ),
    check!(
        drops::a_dropped_removal_leaves_every_ring_whole,
        THREE,
        "A removal whose future is dropped, at any point, takes no other key away; it can \
         be asked for again.",
        "the contract of `KeyringBackend`",
    ),
    check!(
        drops::a_dropped_listing_leaves_the_next_one_alone,
        THREE,
        "A listing whose future is dropped, at any point, changes nothing and blocks \
         nothing.",
        "the contract of `KeyringBackend`",
    ),
];

/// Hands each name in [`CHECKS`] to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_keyring_names {
    ($each:ident) => {
        $each! { @ a_listing_counts_each_key_on_every_node }
        $each! { @ a_key_that_some_nodes_lack_is_counted_on_the_others }
        $each! { @ a_listing_counts_the_primary_of_every_node }
        $each! { @ a_node_with_another_primary_is_seen }
        $each! { @ it_does_not_matter_which_node_lists }
        $each! { @ a_listing_changes_nothing }
        $each! { @ every_node_of_the_pool_is_counted }
        $each! { @ many_keys_are_counted_or_told_to_be_cut }
        $each! { @ the_nodes_hold_what_is_listed }
        $each! { @ an_installed_key_is_on_every_node }
        $each! { @ install_keeps_the_primary }
        $each! { @ installing_again_succeeds_and_changes_nothing }
        $each! { @ keys_of_all_sizes_are_taken }
        $each! { @ a_key_that_begins_like_another_is_another }
        $each! { @ use_moves_the_primary_of_every_node }
        $each! { @ use_keeps_all_keys }
        $each! { @ using_the_primary_succeeds_and_changes_nothing }
        $each! { @ a_key_that_is_not_installed_cannot_be_used }
        $each! { @ a_removed_key_is_on_no_node }
        $each! { @ a_removal_leaves_the_other_keys }
        $each! { @ removing_an_absent_key_succeeds_and_changes_nothing }
        $each! { @ the_primary_cannot_be_removed }
        $each! { @ a_removed_key_cannot_be_used }
        $each! { @ a_removed_key_can_be_installed_again }
        $each! { @ a_key_is_rotated }
        $each! { @ a_change_can_be_asked_of_any_node }
        $each! { @ a_pool_of_one_node_is_a_pool }
        $each! { @ answers_and_failures_add_up }
        $each! { @ who_succeeds_is_not_told_to_have_failed }
        $each! { @ who_fails_is_told_by_name }
        $each! { @ a_change_lists_no_keys }
        $each! { @ a_listing_is_the_same_with_every_relay_factor }
        $each! { @ a_change_counts_once_with_every_relay_factor }
        $each! { @ the_pool_is_always_the_same }
        $each! { @ the_members_are_the_nodes }
        $each! { @ a_dead_node_is_no_member }
        $each! { @ no_key_is_in_a_report }
        $each! { @ no_key_is_in_an_error }
        $each! { @ who_lacks_the_key_to_use_fails_alone }
        $each! { @ who_lacks_the_key_to_use_is_no_success }
        $each! { @ the_primary_of_one_node_is_removed_from_the_others }
        $each! { @ install_brings_a_key_to_those_that_lack_it }
        $each! { @ remove_succeeds_where_some_lack_the_key }
        $each! { @ without_encryption_every_node_says_so }
        $each! { @ a_node_without_encryption_fails_alone }
        $each! { @ a_stopped_node_is_silent_or_not_counted }
        $each! { @ the_others_change_while_a_node_is_down }
        $each! { @ a_dead_node_is_not_counted }
        $each! { @ a_late_node_is_counted_or_silent }
        $each! { @ a_stopped_node_can_ask_nobody }
        $each! { @ installs_of_one_key_at_once_add_it_once }
        $each! { @ installs_of_several_keys_at_once_add_all }
        $each! { @ uses_of_two_keys_at_once_leave_every_ring_whole }
        $each! { @ a_key_is_not_used_and_removed_at_once }
        $each! { @ a_listing_beside_changes_sees_whole_rings }
        $each! { @ many_calls_at_once_all_end }
        $each! { @ a_dropped_install_leaves_every_ring_whole }
        $each! { @ a_dropped_use_leaves_every_ring_whole }
        $each! { @ a_dropped_removal_leaves_every_ring_whole }
        $each! { @ a_dropped_listing_leaves_the_next_one_alone }
    };
}
