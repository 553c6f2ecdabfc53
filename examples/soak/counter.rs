//! Counted writes: each raises a number in autopilot's configuration by one, on condition
//! that nobody else has since it was read.
//!
//! Every attempt names the number that it would write. So each number has at most one
//! attempt that was told of its success, and every number up to the last one has an
//! attempt that succeeded or may have. A write that is lost after its success shows as a
//! number with two owners, or beyond the last one; a write that was applied although the
//! answer said that it was not, as a number without an owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster_operator::Outcome;
use cluster_operator::autopilot::DriverChange;
use cluster_operator::client::OperatorClient;

use crate::servers::{DC1, Servers};
use crate::tokens;
use crate::{Error, Soak};

/// Counting begins here, far from what makes autopilot call a server unhealthy.
const FIRST: u64 = 1_000_000;

/// The writers at each server of dc1.
const WRITERS: usize = 2;

/// What a writer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Done,
    NotDone,
    Unknown,
}

/// The attempts of a writer: the number that would be written, and what it was told.
pub(crate) type Attempts = Vec<(u64, Told)>;

pub(crate) fn writers() -> impl Iterator<Item = usize> {
    (0..DC1 * WRITERS).map(|number| number % DC1)
}

/// Writes through a server until the soak ends.
pub(crate) async fn write(soak: Arc<Soak>, at: usize) -> Result<Attempts, Error> {
    let client = Servers::client(at, &tokens::root())?;
    let mut attempts = Vec::new();
    while soak.is_running() {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..250))).await;
        let _under_way = soak.under_way();
        let Ok(mut configuration) = client.autopilot_configuration().await else {
            continue;
        };
        let index = configuration.modify_index;
        let number = configuration.max_trailing_logs.max(FIRST) + 1;
        configuration.max_trailing_logs = number;
        let rest = DriverChange::default();
        let set = client.change_autopilot(&configuration, rest, Some(index));
        let told = match set.await {
            Ok(true) => Told::Done,
            Ok(false) => Told::NotDone,
            Err(error) if error.outcome() == Outcome::NotApplied => Told::NotDone,
            Err(_) => Told::Unknown,
        };
        attempts.push((number, told));
    }
    Ok(attempts)
}

/// Returns the last number that was written.
pub(crate) async fn last(client: &OperatorClient) -> Result<u64, Error> {
    let configuration = client.autopilot_configuration().await;
    let configuration = configuration?;
    Ok(configuration.max_trailing_logs.max(FIRST))
}

/// Returns the numbers of attempts that were told of each outcome.
pub(crate) fn counts(attempts: &Attempts) -> [usize; 3] {
    [Told::Done, Told::NotDone, Told::Unknown].map(|told| {
        attempts
            .iter()
            .filter(|(_, as_told)| *as_told == told)
            .count()
    })
}

/// Returns what is wrong with the attempts of all writers, if `last` is the last number.
pub(crate) fn judge(attempts: &Attempts, last: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut owners = BTreeMap::<u64, usize>::new();
    let mut perhaps = BTreeSet::new();
    for (number, told) in attempts {
        match told {
            Told::Done => *owners.entry(*number).or_default() += 1,
            Told::Unknown => {
                perhaps.insert(*number);
            }
            Told::NotDone => {}
        }
    }
    for (number, owners) in &owners {
        if *owners > 1 {
            wrong.push(format!("{owners} successful writes of {number}"));
        }
        if *number > last {
            wrong.push(format!("{number} was written, and the last one is {last}"));
        }
    }
    for number in FIRST + 1..=last {
        if !owners.contains_key(&number) && !perhaps.contains(&number) {
            wrong.push(format!("{number} was written, and no answer admits it"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::Told::{Done, NotDone, Unknown};
    use super::*;

    fn wrong(attempts: &[(u64, Told)], last: u64) -> usize {
        let attempts = attempts
            .iter()
            .map(|(number, told)| (FIRST + number, *told));
        judge(&attempts.collect(), FIRST + last).len()
    }

    #[test]
    fn unknown_write_may_have_happened_or_not() {
        assert_eq!(wrong(&[(1, Done), (2, Unknown)], 1), 0);
        assert_eq!(wrong(&[(1, Done), (2, Unknown)], 2), 0);
        assert_eq!(
            wrong(&[(1, Unknown), (1, Done), (2, NotDone), (2, Done)], 2),
            0
        );
    }

    #[test]
    fn lost_write_is_found_at_the_end_or_when_overwritten() {
        assert_eq!(wrong(&[(1, Done), (2, Done)], 1), 1);
        assert_eq!(wrong(&[(1, Done), (2, Done), (2, Done), (3, Done)], 3), 1);
    }

    #[test]
    fn unadmitted_write_is_found() {
        assert_eq!(wrong(&[(1, Done), (2, NotDone)], 2), 1);
        assert_eq!(wrong(&[(1, Done), (3, Done)], 3), 1);
    }
}
