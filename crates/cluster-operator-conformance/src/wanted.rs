//! What a suite does around each of its checks.

use std::future::ready;

use super::check::Checking;

/// What the checks of a suite want of a fixture `F`.
pub(super) trait Wanted<F: ?Sized> {
    /// Waits until the fixture is what was wanted. On another one no rule can be
    /// tried, and what fails then is not told as a broken rule.
    fn ready<'a>(&'a self, fixture: &'a F) -> Checking<'a> {
        let _ = fixture;
        Box::pin(ready(Ok(())))
    }

    /// What a failure tells, in the words of the suite.
    fn reworded(text: String) -> String {
        text
    }
}

impl<F: ?Sized> Wanted<F> for () {}
