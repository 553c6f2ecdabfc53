//! What breaks rules beside that for which a check has its name.

use std::time::Duration;

/// Checks, and what else breaks their rules.
pub(super) const OTHER_WAYS: [(&str, &str); 8] = [
    (
        "a_leader_without_a_majority_answers_no_read",
        FORMER_LEADER_CONFIRMS,
    ),
    (
        "a_leader_that_is_cut_off_leads_no_more",
        FORMER_LEADER_ANSWERS,
    ),
    (
        "a_leader_that_is_cut_off_leads_no_more",
        FORMER_LEADER_REMOVES,
    ),
    ("a_removed_leader_answers_no_read", FORMER_LEADER_CONFIRMS),
    (
        "a_removed_leader_removes_nothing",
        FORMER_LEADER_REMOVES_FOR,
    ),
    (
        "a_leader_that_is_cut_off_answers_no_consistent_read",
        LATE_SUCCESS,
    ),
    ("a_leader_that_is_cut_off_removes_nothing", LATE_SUCCESS),
    (
        "not_applied_is_said_only_of_what_did_not_happen",
        LATE_NOT_APPLIED,
    ),
];

/// Longer than a majority takes that is there.
pub(super) const LATE: Duration = Duration::from_secs(10);
pub(super) const LATE_SUCCESS: &str = "what no majority has confirmed succeeds in the end";
pub(super) const LATE_NOT_APPLIED: &str =
    "what no majority has confirmed is not applied in the end";

pub(super) const HANDED_TO_ANYBODY: &str = "the lead is handed on whoever is named";
pub(super) const FORMER_LEADER_ANSWERS: &str = "who led answers reads from its own view";
pub(super) const FORMER_LEADER_CONFIRMS: &str =
    "who led answers consistent reads from its own view";
pub(super) const FORMER_LEADER_REMOVES: &str = "who led says that it removes";
pub(super) const FORMER_LEADER_REMOVES_FOR: &str = "who led refuses a removal that it has done";
