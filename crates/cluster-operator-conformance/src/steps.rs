//! What a check has done, for the reader of its failure.

use std::sync::{Mutex, PoisonError};

/// The steps of one check, in their order.
#[derive(Debug, Default)]
pub(super) struct Steps(Mutex<Vec<String>>);

impl Steps {
    pub(super) fn add(&self, step: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(step.into());
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
