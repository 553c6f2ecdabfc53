//! Counters and histograms of the crate `metrics`.

#[cfg(feature = "http")]
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use super::{Ended, Observer, Started};

const OPERATIONS: &str = "cluster_operator_operations_total";
const OPERATION_SECONDS: &str = "cluster_operator_operation_duration_seconds";
#[cfg(feature = "http")]
const REQUESTS: &str = "cluster_operator_http_requests_total";
#[cfg(feature = "http")]
const REQUEST_SECONDS: &str = "cluster_operator_http_request_duration_seconds";

/// Counts and times the operations, for the recorder of the crate `metrics`.
///
/// | metric | kind | labels |
/// |---|---|---|
/// | `cluster_operator_operations_total` | counter | `operation`, `source`, `ending`, `outcome`, `error` |
/// | `cluster_operator_operation_duration_seconds` | histogram | `operation`, `source`, `ending` |
/// | `cluster_operator_http_requests_total` | counter | `endpoint`, `method`, `status`, `error` |
/// | `cluster_operator_http_request_duration_seconds` | histogram | `endpoint`, `method`, `status` |
///
/// The observer writes the first two. The other two come from
/// `server::OperatorHttp::with_metrics`, with the feature `http`; they also count requests
/// that never became an operation. The label values are the names that the crate itself
/// defines, so a client cannot add new ones:
///
/// - `operation`: the [name](crate::Operation::name) of the operation;
/// - `source`: `front-end`, `peer` or `autopilot`, so that an operation that was forwarded can be
///   counted once;
/// - `ending`: `succeeded`, `denied`, `failed` or `abandoned`;
/// - `outcome`: `applied`, `not-applied` or `unknown`;
/// - `error`: the [name](crate::ErrorKind::name) of the error's kind, or `none`;
/// - `endpoint`: the [label](crate::consul::Endpoint::label) of the endpoint, or `other`
///   for the status page and every other path;
/// - `method`: `GET`, `HEAD`, `POST`, `PUT`, `DELETE`, `OPTIONS` or `other`;
/// - `status`: `1xx` to `5xx`.
///
/// [`describe_metrics`] gives the recorder their descriptions.
#[derive(Debug, Clone, Copy, Default)]
pub struct MetricsObserver;

impl Observer for MetricsObserver {
    fn ended(&self, started: &Started<'_>, end: &Ended<'_>) {
        counter!(
            OPERATIONS,
            "operation" => started.operation,
            "source" => started.source.name(),
            "ending" => end.ending.name(),
            "outcome" => end.outcome.name(),
            "error" => end.error.map_or("none", |error| error.name()),
        )
        .increment(1);
        histogram!(
            OPERATION_SECONDS,
            "operation" => started.operation,
            "source" => started.source.name(),
            "ending" => end.ending.name(),
        )
        .record(end.duration);
    }
}

/// Gives the global recorder the descriptions and units of the metrics. Call it once,
/// after the recorder is installed.
pub fn describe_metrics() {
    describe_counter!(OPERATIONS, "Operations that have ended on this server.");
    describe_histogram!(
        OPERATION_SECONDS,
        Unit::Seconds,
        "The duration of operations on this server."
    );
    #[cfg(feature = "http")]
    {
        describe_counter!(REQUESTS, "HTTP requests to Consul's operator endpoints.");
        describe_histogram!(
            REQUEST_SECONDS,
            Unit::Seconds,
            "The duration of HTTP requests to Consul's operator endpoints."
        );
    }
}

/// Counts and times an HTTP request.
#[cfg(feature = "http")]
pub(crate) fn count_request(
    endpoint: &'static str,
    method: &str,
    status: u16,
    error: Option<&'static str>,
    duration: Duration,
) {
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
    let known = METHODS.into_iter().find(|known| *known == method);
    let method = known.unwrap_or("other");
    let status = match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    counter!(
        REQUESTS,
        "endpoint" => endpoint,
        "method" => method,
        "status" => status,
        "error" => error.unwrap_or("none"),
    )
    .increment(1);
    histogram!(
        REQUEST_SECONDS,
        "endpoint" => endpoint,
        "method" => method,
        "status" => status,
    )
    .record(duration);
}
