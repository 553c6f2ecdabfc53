//! Observers of operations, for audits, traces and metrics.
//!
//! ```
//! use cluster_operator::observer::{Ended, Observer, Started};
//! use cluster_operator::OperatorServiceBuilder;
//!
//! /// Prints who did what, from where, and whether it happened.
//! struct Audit;
//!
//! impl Observer for Audit {
//!     fn ended(&self, operation: &Started<'_>, end: &Ended<'_>) {
//!         println!(
//!             "{} {} {:?} by {:?} through the {}: {}, {}",
//!             operation.request_id,
//!             operation.operation,
//!             operation.subject,
//!             end.identity,
//!             operation.source,
//!             end.ending,
//!             end.outcome.name(),
//!         );
//!     }
//! }
//!
//! fn audited(builder: OperatorServiceBuilder) -> OperatorServiceBuilder {
//!     builder.observer(Audit)
//! }
//! ```
//!
//! The feature `tracing` adds `TracingObserver`, and the feature `metrics` adds
//! `MetricsObserver`.
//!
//! # A forwarded operation
//! Every server on the path of an operation observes it, under the same
//! [request id](Started::request_id): the first one with the source
//! [`FrontEnd`](Source::FrontEnd) and no hops, the next one with the source
//! [`Peer`](Source::Peer) and one hop. The server that serves it knows the
//! [identity](Ended::identity) of the caller. One that forwards it knows what the other
//! answered: if the answer is lost, its outcome is unknown, and the outcome that the
//! other server observed is the true one. The other datacenters of a keyring operation
//! observe their part of it in the same way.
//!
//! Without an observer, the service reads no clock and makes no id for this.

#[cfg(feature = "metrics")]
mod meter;
#[cfg(feature = "tracing")]
mod trace;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{ErrorKind, Outcome};
use crate::operation::RequestId;
use crate::types::{Access, DatacenterName, Identity, PeerSelector, Resource, ServerId};

#[cfg(all(feature = "metrics", feature = "http"))]
pub(crate) use meter::count_request;
#[cfg(feature = "metrics")]
pub use meter::{MetricsObserver, describe_metrics};
#[cfg(feature = "tracing")]
pub use trace::{AUDIT_TARGET, TracingObserver};
pub(crate) use watch::watch;

/// Observes the operations of a service.
///
/// For each operation, the service calls [`started`](Observer::started) and
/// [`scope`](Observer::scope) once, and later [`ended`](Observer::ended) once, also if the
/// caller drops the future. What an observer receives holds no key, no fingerprint of a
/// key, and no token.
///
/// The service waits for an observer, so it should not block: to write to a file, send to
/// a thread of its own. It must not panic.
pub trait Observer: Send + Sync {
    /// Called when a server has received an operation, before routing and authorization.
    fn started(&self, operation: &Started<'_>) {
        let _ = operation;
    }

    /// Called when an operation has ended on this server, or was abandoned.
    fn ended(&self, operation: &Started<'_>, end: &Ended<'_>) {
        let _ = (operation, end);
    }

    /// Returns a scope to enter while the operation runs, such as a tracing span.
    fn scope(&self, operation: &Started<'_>) -> Option<Box<dyn Scope>> {
        let _ = operation;
        None
    }
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        impl<O: Observer + ?Sized> Observer for $pointer<O> {
            fn started(&self, operation: &Started<'_>) {
                (**self).started(operation);
            }

            fn ended(&self, operation: &Started<'_>, end: &Ended<'_>) {
                (**self).ended(operation, end);
            }

            fn scope(&self, operation: &Started<'_>) -> Option<Box<dyn Scope>> {
                (**self).scope(operation)
            }
        }
    )+};
}

forward!(Arc, Box);

/// A scope that is in force while an operation runs. It is entered and left whenever the
/// operation's future is polled, always on the thread that polls it, and scopes nest.
pub trait Scope: Send + Sync {
    /// Called before the future is polled.
    fn enter(&self);

    /// Called after the future was polled, also if it panicked.
    fn leave(&self);

    /// Called when the operation has ended or was abandoned, before
    /// [`Observer::ended`], outside the scope.
    fn ended(&self, end: &Ended<'_>) {
        let _ = end;
    }
}

/// The start of an operation on a server.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Started<'a> {
    /// The name of the operation, as of [`Operation::name`](crate::Operation::name).
    pub operation: &'static str,
    /// The resource that the operation reads or changes.
    pub resource: Resource,
    /// The access that the operation needs.
    pub access: Access,
    /// The server that the operation is about, as the request names it: the one to remove,
    /// to replace or to make the leader.
    pub subject: Option<&'a PeerSelector>,
    /// The server that becomes a voter in the subject's place, for a replacement.
    pub with: Option<&'a ServerId>,
    /// The datacenter that the operation is for. A keyring operation applies to all
    /// datacenters, so it is that of this server.
    pub datacenter: &'a DatacenterName,
    /// The source of the request.
    pub source: Source,
    /// The id of the request on all servers that it passes.
    pub request_id: &'a RequestId,
    /// The number of servers that have forwarded the request to this one.
    pub hops: u8,
    /// The change with its reason, if autopilot makes it: `remove carol: failed for 182 s
    /// of 180, 4 healthy voters of 4 remain`.
    pub reason: Option<&'a str>,
}

/// The end of an operation on a server.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Ended<'a> {
    /// The kind of end.
    pub ending: Ending,
    /// The outcome. A read changes nothing.
    pub outcome: Outcome,
    /// The kind of the error, if it failed.
    pub error: Option<&'a ErrorKind>,
    /// The identity that was authorized or denied; `None` if the token is unknown, or if
    /// another server authorized the request.
    pub identity: Option<&'a Identity>,
    /// True if this server forwarded the request to another server. Other datacenters
    /// that a keyring operation asks do not count.
    pub forwarded: bool,
    /// The time since the start, on the service's [`Timer`](crate::Timer).
    pub duration: Duration,
}

/// The source of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// [`OperatorService::call`](crate::OperatorService::call) and the methods like it:
    /// the HTTP API, or the program itself.
    FrontEnd,
    /// [`OperatorService::answer`](crate::OperatorService::answer): another server.
    Peer,
    /// [`Autopilot`](crate::service::Autopilot): this server itself.
    Autopilot,
}

impl Source {
    /// Returns the name: `front-end`, `peer` or `autopilot`.
    pub fn name(self) -> &'static str {
        match self {
            Source::FrontEnd => "front-end",
            Source::Peer => "peer",
            Source::Autopilot => "autopilot",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The end of an operation, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It succeeded.
    Succeeded,
    /// The token does not allow it, or does not exist.
    Denied,
    /// It was refused or failed.
    Failed,
    /// The caller dropped the future before the end, for example because a client closed
    /// its connection.
    Abandoned,
}

impl Ending {
    /// Returns the name: `succeeded`, `denied`, `failed` or `abandoned`.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Succeeded => "succeeded",
            Ending::Denied => "denied",
            Ending::Failed => "failed",
            Ending::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
