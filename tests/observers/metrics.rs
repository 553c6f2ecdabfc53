//! The counters and histograms of the feature `metrics`.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use cluster_operator::mock::{Calls, Fault};
use cluster_operator::observer::MetricsObserver;
use cluster_operator::server::OperatorHttp;
use http::Request;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::ServiceExt;

use super::*;

/// Returns the metrics that are recorded while a test runs, in order.
fn recorded(test: impl FnOnce(&MockFederation, &MockClock)) -> Vec<String> {
    let clock = MockClock::new();
    let federation = federation(&clock)
        .service_options(|service| service.observer(MetricsObserver))
        .build();
    let recorder = DebuggingRecorder::new();
    ::metrics::with_local_recorder(&recorder, || test(&federation, &clock));
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    let lines = snapshot.into_iter().map(|(key, _, _, value)| {
        let (name, labels) = key.key().clone().into_parts();
        let labels: Vec<_> = labels
            .iter()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let value = match value {
            DebugValue::Counter(count) => count.to_string(),
            DebugValue::Gauge(value) => format!("{value}"),
            DebugValue::Histogram(values) => format!("{values:?}"),
        };
        format!("{} {} {value}", name.as_str(), labels.join(","))
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

#[test]
fn operations_are_counted_and_timed() {
    let lines = recorded(|federation, clock| {
        for token in ["reader-secret", "writer-secret", "writer-secret"] {
            let request = by(token, removal("x"));
            let _ = clock.run(federation.service("bob").call(request));
        }
        let calls = Calls::all().from("alice").to("bob");
        federation.inject(Fault::delay(calls, Duration::from_millis(1500)));
        let carol = id_of(federation, "carol");
        let request = by("writer-secret", removal(&carol));
        clock
            .run(federation.service("alice").call(request))
            .unwrap();
    });
    let count = "cluster_operator_operations_total operation=remove-peer";
    let time = "cluster_operator_operation_duration_seconds operation=remove-peer";
    assert_eq!(
        lines,
        [
            format!("{time},source=front-end,ending=denied [0.0]"),
            format!("{time},source=front-end,ending=failed [0.0, 0.0]"),
            format!("{time},source=front-end,ending=succeeded [1.5]"),
            format!("{time},source=peer,ending=succeeded [0.0]"),
            format!(
                "{count},source=front-end,ending=denied,outcome=not-applied,\
                 error=permission-denied 1"
            ),
            format!(
                "{count},source=front-end,ending=failed,outcome=not-applied,\
                 error=unknown-server 2"
            ),
            format!("{count},source=front-end,ending=succeeded,outcome=applied,error=none 1"),
            format!("{count},source=peer,ending=succeeded,outcome=applied,error=none 1"),
        ]
    );
}

#[test]
fn requests_are_counted_with_bounded_labels() {
    let mut lines = recorded(|federation, clock| {
        let endpoints = OperatorHttp::new(federation.service("bob")).with_metrics();
        let app = Router::new().fallback_service(endpoints);
        for (method, uri) in [
            ("GET", "/v1/operator/raft/configuration"),
            ("HEAD", "/v1/operator/raft/configuration"),
            ("GET", "/v1/operator/raft/configuration?wrong"),
            ("DELETE", "/v1/operator/raft/peer?id=x"),
            ("BREW", "/v1/operator/keyring"),
            ("GET", "/v1/operator/another"),
            ("POST", "/v1/operator/keyring"),
        ] {
            let request = Request::builder().method(method).uri(uri);
            let request = request.header("x-consul-token", "writer-secret");
            let body = if method == "POST" { "not JSON" } else { "" };
            let request = request.body(Body::from(body)).unwrap();
            clock.run(app.clone().oneshot(request)).unwrap();
        }
    });
    lines.retain(|line| line.starts_with("cluster_operator_http"));
    let (times, counts): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|line| line.contains("_duration_seconds "));
    assert_eq!(times.len(), 7, "{times:?}");
    let time = "cluster_operator_http_request_duration_seconds \
                endpoint=raft/peer,method=DELETE,status=4xx [0.0]";
    assert!(times.contains(&time.to_owned()), "{times:?}");
    assert_eq!(
        counts,
        [
            "endpoint=keyring,method=POST,status=4xx,error=invalid-request 1",
            "endpoint=keyring,method=other,status=4xx,error=invalid-request 1",
            "endpoint=other,method=GET,status=4xx,error=invalid-request 1",
            "endpoint=raft/configuration,method=GET,status=2xx,error=none 1",
            "endpoint=raft/configuration,method=GET,status=4xx,error=invalid-request 1",
            "endpoint=raft/configuration,method=HEAD,status=2xx,error=none 1",
            "endpoint=raft/peer,method=DELETE,status=4xx,error=unknown-server 1",
        ]
        .map(|line| format!("cluster_operator_http_requests_total {line}"))
    );
}
