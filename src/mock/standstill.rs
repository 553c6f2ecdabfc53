//! A clock that stands still.

use crate::timer::{Sleep, Timer};
use std::time::Duration;

/// No time passes: nothing that can be answered at once is ever late.
pub(super) struct Standstill;

impl Timer for Standstill {
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}
