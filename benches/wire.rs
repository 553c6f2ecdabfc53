//! The time from a request to its response, against `serde_json::to_vec` of the same
//! values.
//!
//! ```text
//! cargo bench --all-features --bench wire
//! ```

mod fixture;

use std::hint::black_box;
use std::time::{Duration, Instant};

use cluster_operator::consul::{Dialect, Request, Wire};
use cluster_operator::observer::Observer;
use cluster_operator::raft::RaftConfiguration;
use cluster_operator::{OperatorService, OperatorServiceBuilder};
use criterion::{Criterion, criterion_group, criterion_main};
use fixture::{Leader, configuration, secret, tokens};
use futures_util::FutureExt;
use serde::Serialize;

/// The floor: the same JSON from a derived `Serialize`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Floor<'a> {
    servers: Vec<FloorServer<'a>>,
    index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FloorServer<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    leader: bool,
    protocol_version: &'a str,
    voter: bool,
    last_index: u64,
}

fn floor(configuration: &RaftConfiguration) -> Floor<'_> {
    let servers = configuration.servers.iter();
    Floor {
        servers: servers
            .map(|server| FloorServer {
                id: server.id.as_str(),
                node: server.name.as_ref().map_or("", |name| name.as_str()),
                address: server.address.as_str(),
                leader: server.leader,
                protocol_version: server.protocol_version.as_ref().map_or("", |v| v.as_str()),
                voter: server.is_voter(),
                last_index: server.last_index.unwrap_or(0),
            })
            .collect(),
        index: configuration.index,
    }
}

fn builder(configuration: &RaftConfiguration) -> OperatorServiceBuilder {
    OperatorService::builder("dc1")
        .raft(Leader::new(configuration))
        .authorizer(tokens(10_000))
}

fn service(configuration: &RaftConfiguration) -> OperatorService {
    builder(configuration).build().expect("a whole service")
}

/// Serves one request. Nothing in it waits, so one poll ends it.
fn serve(wire: &Wire, service: &OperatorService, token: &str) -> usize {
    let request = Request {
        method: "GET",
        path: "/v1/operator/raft/configuration",
        query: None,
        headers: &[
            ("host", "localhost"),
            ("accept", "*/*"),
            ("x-consul-token", token),
        ],
        body: bytes::Bytes::new(),
    };
    let response = wire.serve(service, request).now_or_never();
    let response = response.expect("ready at once");
    assert_eq!(response.status, 200);
    response.body.len()
}

/// The time of a function as a multiple of another's, measured in turns so that noise
/// disturbs both.
fn ratio(mut numerator: impl FnMut(), mut denominator: impl FnMut()) -> f64 {
    let mut ratios: Vec<f64> = (0..51)
        .map(|_| {
            let time = |work: &mut dyn FnMut()| {
                let start = Instant::now();
                for _ in 0..200 {
                    work();
                }
                start.elapsed()
            };
            let below = time(&mut denominator).max(Duration::from_nanos(1));
            time(&mut numerator).as_secs_f64() / below.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn configurations(criterion: &mut Criterion) {
    for servers in [5, 1000] {
        let configuration = configuration(servers);
        let service = service(&configuration);
        let wire = Wire::new(Dialect::Precise);
        let token = secret(4711);
        let to_vec = || {
            let bytes = serde_json::to_vec(&floor(black_box(&configuration)));
            black_box(bytes.expect("serializable"));
        };
        let written = serde_json::to_vec(&floor(&configuration))
            .expect("serializable")
            .len();
        assert_eq!(serve(&wire, &service, &token), written, "not the same JSON");

        let mut group = criterion.benchmark_group(format!("{servers} servers"));
        group.bench_function("serde_json::to_vec", |bencher| bencher.iter(to_vec));
        group.bench_function("wire request to response", |bencher| {
            bencher.iter(|| black_box(serve(&wire, &service, &token)));
        });
        group.finish();
        let ratio = ratio(
            || {
                black_box(serve(&wire, &service, &token));
            },
            to_vec,
        );
        println!("{servers} servers: request to response takes {ratio:.2} of serde_json::to_vec\n");
    }
}

/// An observer that has nothing to do.
struct Idle;

impl Observer for Idle {}

/// The cost of observers: none, one that does nothing, and the feature `tracing` without a
/// subscriber and with one that throws its text away.
fn observers(criterion: &mut Criterion) {
    let configuration = configuration(5);
    let wire = Wire::new(Dialect::Precise);
    let token = secret(4711);
    let mut group = criterion.benchmark_group("5 servers, observed");
    let mut bench = |name, service: &OperatorService| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(serve(&wire, service, &token)));
        });
    };
    bench("by nobody", &service(&configuration));
    let idle = builder(&configuration).observer(Idle).build();
    bench(
        "by an observer that does nothing",
        &idle.expect("a whole service"),
    );
    #[cfg(feature = "tracing")]
    {
        use cluster_operator::observer::TracingObserver;
        let traced = builder(&configuration).observer(TracingObserver).build();
        let traced = traced.expect("a whole service");
        bench("by tracing, off", &traced);
        let subscriber = tracing_subscriber::fmt()
            .with_writer(std::io::sink)
            .finish();
        tracing::subscriber::with_default(subscriber, || bench("by tracing, on", &traced));
    }
    group.finish();
}

criterion_group!(benches, configurations, observers);
criterion_main!(benches);
