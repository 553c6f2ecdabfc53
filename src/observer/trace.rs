//! Spans and audit events of the crate `tracing`.

use tracing::field::Empty;
use tracing::{Span, info, info_span};

use super::{Ended, Observer, Scope, Started};
use crate::types::{Access, ServerId, cut_text};

/// The target of the audit events: `cluster_operator::audit`. It does not change.
pub const AUDIT_TARGET: &str = "cluster_operator::audit";

/// Writes a span for each operation and an audit event for each attempted write, for the
/// subscriber of the crate `tracing`.
///
/// The span is named `operation`, has the target `cluster_operator` and the level `INFO`,
/// and is entered while the operation runs, so that the events of backends and transports
/// are inside it. The event has the target [`AUDIT_TARGET`] and the level `INFO`, whether
/// the write was allowed, denied, failed or abandoned. It has all fields itself, because a
/// filter may leave out spans:
///
/// | field | content | span | event |
/// |---|---|---|---|
/// | `operation` | the [name](crate::Operation::name) | yes | yes |
/// | `subject` | the server to remove, to replace or to make the leader, if the request names one | yes | yes |
/// | `with` | the id of the server that becomes a voter in its place, for a replacement | yes | yes |
/// | `datacenter` | the datacenter that the operation is for | yes | yes |
/// | `source` | `front-end`, `peer` or `autopilot` | yes | yes |
/// | `reason` | the change with its reason, if autopilot makes it | no | yes |
/// | `hops` | how often the request was forwarded to this server | yes | yes |
/// | `request_id` | the same on all servers on the path | yes | yes |
/// | `identity` | the accessor id, or `anonymous`, `unnamed token`, `ACLs off` | at the end | yes |
/// | `ending` | `succeeded`, `denied`, `failed` or `abandoned` | at the end | yes |
/// | `outcome` | `applied`, `not-applied` or `unknown` | at the end | yes |
/// | `error` | the [name](crate::ErrorKind::name) of the error's kind, if it failed | at the end | yes |
/// | `forwarded` | whether this server forwarded the request | at the end | yes |
/// | `duration_ms` | the duration in milliseconds | at the end | yes |
///
/// An identity is missing if the token is unknown, or if another server authorized the
/// request.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingObserver;

impl Observer for TracingObserver {
    fn ended(&self, started: &Started<'_>, end: &Ended<'_>) {
        if started.access != Access::Write {
            return;
        }
        info!(
            target: AUDIT_TARGET,
            operation = started.operation,
            subject = started.subject.map(display),
            with = started.with.map(ServerId::as_str),
            datacenter = started.datacenter.as_str(),
            source = started.source.name(),
            hops = started.hops,
            request_id = started.request_id.as_str(),
            reason = started.reason,
            identity = identity(end),
            ending = end.ending.name(),
            outcome = end.outcome.name(),
            error = error(end),
            forwarded = end.forwarded,
            duration_ms = milliseconds(end),
        );
    }

    fn scope(&self, started: &Started<'_>) -> Option<Box<dyn Scope>> {
        let span = info_span!(
            target: "cluster_operator",
            "operation",
            operation = started.operation,
            subject = started.subject.map(display),
            with = started.with.map(ServerId::as_str),
            datacenter = started.datacenter.as_str(),
            source = started.source.name(),
            hops = started.hops,
            request_id = started.request_id.as_str(),
            identity = Empty,
            ending = Empty,
            outcome = Empty,
            error = Empty,
            forwarded = Empty,
            duration_ms = Empty,
        );
        (!span.is_disabled()).then(|| Box::new(Entered(span)) as Box<dyn Scope>)
    }
}

/// Returns the identity as text. A denial of another server may name a long one.
fn identity(end: &Ended<'_>) -> Option<String> {
    end.identity.map(|identity| cut_text(identity.to_string()))
}

fn error(end: &Ended<'_>) -> Option<&'static str> {
    end.error.map(|error| error.name())
}

fn milliseconds(end: &Ended<'_>) -> f64 {
    end.duration.as_secs_f64() * 1000.0
}

/// A span that is entered while its operation is polled.
struct Entered(Span);

impl Scope for Entered {
    fn enter(&self) {
        self.0.with_subscriber(|(id, dispatch)| dispatch.enter(id));
    }

    fn leave(&self) {
        self.0.with_subscriber(|(id, dispatch)| dispatch.exit(id));
    }

    fn ended(&self, end: &Ended<'_>) {
        let span = &self.0;
        span.record("identity", identity(end));
        span.record("ending", end.ending.name());
        span.record("outcome", end.outcome.name());
        span.record("error", error(end));
        span.record("forwarded", end.forwarded);
        span.record("duration_ms", milliseconds(end));
    }
}
