//! The metrics of the process, in the format of Prometheus.

use std::time::Duration;

use axum::routing::{MethodRouter, get};
use cluster_operator::observer::describe_metrics;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};

/// The upper bounds of the histograms' buckets, in seconds: from a read to a deadline.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// How often the samples of the histograms are moved into their buckets, so that they do
/// not pile up while nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder of the process, and returns the route that shows what it has
/// recorded. Metrics hold no secret, and no token is required.
///
/// # Errors
/// A recorder is installed already.
///
/// # Panics
/// Outside a tokio runtime.
pub fn metrics_route() -> Result<MethodRouter, BuildError> {
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?;
    let handle = recorder.install_recorder()?;
    describe_metrics();
    let upkept = handle.clone();
    tokio::spawn(async move {
        let mut again = tokio::time::interval(UPKEEP);
        loop {
            again.tick().await;
            upkept.run_upkeep();
        }
    });
    let content_type = ("content-type", "text/plain; version=0.0.4; charset=utf-8");
    Ok(get(async move || ([content_type], handle.render())))
}
