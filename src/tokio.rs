//! Tokio's clock.

use std::time::Duration;

use crate::time::{Sleep, Timer};

/// A [`Timer`] on tokio's clock. Its sleeps have to be awaited inside a tokio
/// runtime with time enabled.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioTimer;

impl Timer for TokioTimer {
    /// # Panics
    /// Outside a tokio runtime, or in one without time enabled.
    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(::tokio::time::sleep(duration))
    }
}
