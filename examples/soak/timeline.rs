//! When something was wrong on purpose, so that answers can be judged by it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Nothing, and every server sees all others.
    Calm,
    /// The server of the other datacenter is stopped: it accepts connections and does not
    /// answer.
    Hang,
    /// It runs again, and the servers do not see each other yet; or the answer came in
    /// another phase than its request.
    Between,
    /// A server is dead, or has not found the others since.
    Down,
}

/// The phases so far.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Each phase and its beginning; the first one is calm.
    changes: Mutex<Vec<(Instant, Phase)>>,
}

impl Timeline {
    pub(crate) fn enter(&self, phase: Phase) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push((Instant::now(), phase));
    }

    /// Returns the phase of a request: that in which it began and ended, or `Down` if it
    /// was ever that.
    pub(crate) fn phase(&self, began: Instant, ended: Instant) -> Phase {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut phase = None;
        for (at, next) in changes.iter().rev().filter(|(at, _)| *at <= ended) {
            phase = match phase {
                _ if *next == Phase::Down => return Phase::Down,
                None => Some(*next),
                Some(_) => Some(Phase::Between),
            };
            if *at <= began {
                break;
            }
        }
        phase.unwrap_or(Phase::Between)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn request_has_the_worst_phase_that_it_saw() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let timeline = Timeline::default();
        *timeline.changes.lock().expect("no panic") = vec![
            (at(0), Phase::Calm),
            (at(10), Phase::Hang),
            (at(20), Phase::Between),
            (at(30), Phase::Down),
            (at(40), Phase::Calm),
        ];
        for (began, ended, phase) in [
            (1, 9, Phase::Calm),
            (9, 11, Phase::Between),
            (11, 19, Phase::Hang),
            (21, 29, Phase::Between),
            (29, 31, Phase::Down),
            (9, 41, Phase::Down),
            (39, 41, Phase::Down),
            (41, 42, Phase::Calm),
        ] {
            assert_eq!(timeline.phase(at(began), at(ended)), phase, "{began}");
        }
    }
}
