//! Allocations of the HTTP adapter, in addition to those of its server.

use allocation_counter::{AllocationInfo, measure};
use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use cluster_operator::server::OperatorHttp;
use futures_util::FutureExt;
use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tower::Service;

use super::{CONFIGURATION, secret, service};

const CONNECTIONS: usize = 16;

fn request() -> Request<Empty<Bytes>> {
    let request = Request::builder().uri(CONFIGURATION);
    let request = request.header("x-consul-token", secret(1));
    request.body(Empty::new()).unwrap()
}

/// The body of the endpoint's answer.
fn body() -> Bytes {
    let response = OperatorHttp::new(service()).call(request()).now_or_never();
    let body = response.unwrap().unwrap().into_body();
    body.collect().now_or_never().unwrap().unwrap().to_bytes()
}

#[test]
fn clone_of_adapter_allocates_nothing() {
    let adapter = OperatorHttp::new(service());
    let allocated = measure(|| drop(adapter.clone()));
    assert_eq!(allocated.count_total, 0);
}

#[test]
fn http_request_allocates_13_times_at_most() {
    let mut adapter = OperatorHttp::new(service());
    let mut serve = |request| {
        let response = adapter.call(request).now_or_never();
        assert_eq!(response.unwrap().unwrap().status(), 200);
    };
    // The first request of a thread also allocates thread-local data.
    serve(request());
    let mut request = Some(request());
    let allocated = measure(|| serve(request.take().unwrap()));
    println!("{allocated:?}");
    // The allocations of the wire, the future's box, and two of the header map.
    assert!(allocated.count_total <= 13, "{allocated:?}");
    // The memory of the request itself is freed too.
    assert!(allocated.count_current <= 0, "{allocated:?}");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Returns the allocations that are held by open connections after one answer each,
/// including their clients. They are measured after the server's first connections,
/// which also allocate shared data.
fn held(app: Router) -> AllocationInfo {
    let runtime = runtime();
    let address = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    });
    let wanted = body();
    let text = format!(
        "GET {CONFIGURATION} HTTP/1.1\r\nHost: localhost\r\nX-Consul-Token: {}\r\n\r\n",
        secret(1)
    );
    let mut streams = Vec::with_capacity(2 * CONNECTIONS);
    let mut buffer = [0; 4096];
    let mut open = |streams: &mut Vec<TcpStream>| {
        runtime.block_on(async {
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
                let mut read = 0;
                while !buffer[..read].ends_with(&wanted) {
                    read += stream.read(&mut buffer[read..]).await.unwrap();
                }
                streams.push(stream);
            }
        });
    };
    open(&mut streams);
    measure(|| open(&mut streams))
}

#[test]
fn connection_holds_no_more_than_with_a_fixed_body() {
    let ours = held(Router::new().fallback_service(OperatorHttp::new(service())));
    let body = body();
    let fixed = get(async move || {
        let headers = [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        (headers, body.clone())
    });
    let fixed = held(Router::new().route(CONFIGURATION, fixed));
    println!("{ours:?}, fixed {fixed:?}");
    assert!(
        ours.bytes_current <= fixed.bytes_current,
        "{ours:?}, {fixed:?}"
    );
    assert!(
        ours.count_current <= fixed.count_current,
        "{ours:?}, {fixed:?}"
    );
}

#[test]
fn no_task_runs_between_requests() {
    let runtime = runtime();
    let mut adapter = OperatorHttp::new(service());
    runtime.block_on(async {
        for _ in 0..3 {
            assert_eq!(adapter.call(request()).await.unwrap().status(), 200);
        }
    });
    assert_eq!(runtime.metrics().num_alive_tasks(), 0);
}
