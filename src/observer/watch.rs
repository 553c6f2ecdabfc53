//! Reports one operation to the observers, also if it is abandoned.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use super::{Ended, Ending, Observer, Scope, Started};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::timer::Timer;
use crate::types::Identity;

/// Awaits the operation inside the observers' scopes, and tells them of its start and its
/// end. `identity` and `progress` are read at the end: the caller as far as this server
/// authorized it, whether the request was forwarded, and the outcome if it is abandoned.
/// `outcome` is that of an answer.
pub(crate) async fn watch<T>(
    observers: &[Arc<dyn Observer>],
    timer: &dyn Timer,
    started: Started<'_>,
    identity: &OnceLock<Identity>,
    progress: impl Fn() -> (bool, Outcome) + Send,
    outcome: impl Fn(&Result<T, OperatorError>) -> Outcome + Send,
    operation: impl Future<Output = Result<T, OperatorError>> + Send,
) -> Result<T, OperatorError> {
    let began = timer.now();
    for observer in observers {
        observer.started(&started);
    }
    let scopes = observers.iter().map(|observer| observer.scope(&started));
    let mut watched = Watched {
        observers,
        scopes: scopes.flatten().collect(),
        timer,
        began,
        started,
        identity,
        progress,
        ended: false,
    };
    let answer = Scoped {
        scopes: &watched.scopes,
        operation: std::pin::pin!(operation),
    }
    .await;
    watched.end(Some((answer.as_ref().err(), outcome(&answer))));
    answer
}

/// An operation that has started. It ends as abandoned when it is dropped.
struct Watched<'a, P: Fn() -> (bool, Outcome)> {
    observers: &'a [Arc<dyn Observer>],
    scopes: Vec<Box<dyn Scope>>,
    timer: &'a dyn Timer,
    began: Instant,
    started: Started<'a>,
    identity: &'a OnceLock<Identity>,
    progress: P,
    ended: bool,
}

impl<P: Fn() -> (bool, Outcome)> Watched<'_, P> {
    /// `answer` is the error, if there is one, and the outcome; `None` if it was abandoned.
    fn end(&mut self, answer: Option<(Option<&OperatorError>, Outcome)>) {
        self.ended = true;
        let (forwarded, abandoned) = (self.progress)();
        let error = answer.and_then(|(error, _)| error);
        let kind = error.map(OperatorError::kind);
        let named = match kind {
            Some(ErrorKind::PermissionDenied { identity, .. }) => Some(identity),
            _ => None,
        };
        let end = Ended {
            ending: match (answer, kind) {
                (None, _) => Ending::Abandoned,
                (_, None) => Ending::Succeeded,
                (_, Some(ErrorKind::PermissionDenied { .. } | ErrorKind::UnknownToken)) => {
                    Ending::Denied
                }
                (_, Some(_)) => Ending::Failed,
            },
            outcome: answer.map_or(abandoned, |(_, outcome)| outcome),
            error: kind,
            identity: self.identity.get().or(named),
            forwarded,
            duration: self.timer.now().saturating_duration_since(self.began),
        };
        for scope in &self.scopes {
            scope.ended(&end);
        }
        let _entered = Entered::new(&self.scopes);
        for observer in self.observers {
            observer.ended(&self.started, &end);
        }
    }
}

impl<P: Fn() -> (bool, Outcome)> Drop for Watched<'_, P> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(None);
        }
    }
}

/// A future that is polled inside the scopes.
struct Scoped<'a, F> {
    scopes: &'a [Box<dyn Scope>],
    operation: Pin<&'a mut F>,
}

impl<F: Future> Future for Scoped<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = Entered::new(self.scopes);
        self.operation.as_mut().poll(context)
    }
}

/// Scopes that are left, the last one first, when it is dropped.
struct Entered<'a>(&'a [Box<dyn Scope>]);

impl<'a> Entered<'a> {
    fn new(scopes: &'a [Box<dyn Scope>]) -> Self {
        for scope in scopes {
            scope.enter();
        }
        Entered(scopes)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        for scope in self.0.iter().rev() {
            scope.leave();
        }
    }
}
