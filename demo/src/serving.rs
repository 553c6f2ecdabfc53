//! The listeners, the log and the metrics of a server program.
//!
//! `axum::serve` waits forever for a client that sends half a request. [`serve`] closes
//! such a connection, and bounds the number of connections.

use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use axum::serve::Listener;
use cluster_operator::consul::{Dialect, Wire};
use cluster_operator::observer::describe_metrics;
use cluster_operator::peer_http::PEER_PATHS;
use cluster_operator::server::UI_PATH;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The limits of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a client may take to send the next request's header. It is also how
    /// long a connection may stay idle. Default: 10 s.
    pub header: Duration,
    /// How long a client may leave an answer unread. Default: 10 s.
    pub write: Duration,
    /// The number of connections; further clients wait. Default: 600, so that some
    /// hundred slow clients do not delay the others, and the process keeps enough of the
    /// usual 1,024 open files.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            write: Duration::from_secs(10),
            connections: 600,
        }
    }
}

impl Limits {
    /// The limits of a listener to which only servers connect: 256 connections.
    pub fn of_servers() -> Self {
        Self {
            connections: 256,
            ..Self::default()
        }
    }
}

/// Serves HTTP/1 until `stop` is ready. Then it closes the listener and idle
/// connections, and returns when the requests under way are answered.
///
/// A request has no time limit after its header: bound its body and its work where it
/// is served.
///
/// # Cancel safety
/// Dropping the future closes the listener and all connections.
pub async fn serve(
    mut listener: TcpListener,
    app: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    // hyper ignores the timeout without a timer.
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header);
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            // Waits when the process has too many open files, instead of failing.
            (place, Listener::accept(&mut listener).await)
        };
        let (place, (stream, _)) = tokio::select! {
            accepted = accept => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(app.clone());
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write));
        let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection was closed");
            }
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Logs one line for each request, without the query, which can hold a token. So can a
/// mistyped path. Mount it with [`axum::middleware::from_fn`].
pub async fn log(request: Request, next: Next) -> Response {
    let path = match request.uri().path() {
        path if ["/", "/metrics", UI_PATH].contains(&path) || PEER_PATHS.contains(&path) => path,
        path if Wire::new(Dialect::Precise).serves(path) => path,
        _ => "(another path)",
    };
    let line = format!("{} {path}", request.method());
    let start = Instant::now();
    let response = next.run(request).await;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    let status = response.status().as_u16();
    tracing::info!(target: "server", "{line} {status} {took:.1} ms");
    response
}

/// The program, this crate and the audit of the library log at info, and the rest at error:
/// the engines warn about each failed call to a server that is down. The library's spans are
/// left out, because an audit event has all their fields, and a read has no event inside its
/// span.
const FILTER: &str = "error,server=info,cluster_operator_demo=info,cluster_operator::audit=info";

/// Logs to stderr from a thread of its own, so that a slow terminal or pipe delays no
/// request: while it is blocked, lines are kept up to a limit, then dropped. Hold the
/// guard until the program ends; dropping it writes what is left.
///
/// RUST_LOG sets what is logged, such as `info` or `error,openraft=debug`. What other
/// crates log at debug is not checked for secrets.
///
/// # Errors
/// RUST_LOG is malformed, or there is a logger already.
pub fn log_to_stderr() -> Result<WorkerGuard, Box<dyn Error>> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| FILTER.to_owned());
    let filter: Targets = filter
        .parse()
        .map_err(|error| format!("RUST_LOG: {error}"))?;
    // The thread flushes whenever no line is waiting, so the buffer delays nothing.
    let (writer, guard) = tracing_appender::non_blocking(io::BufWriter::new(io::stderr()));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init()?;
    Ok(guard)
}

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::pending;
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tokio::time::timeout;
    use tracing::Level;

    use super::*;

    /// Only a test that fails waits this long.
    const TIMEOUT: Duration = Duration::from_secs(30);

    async fn listen(limits: Limits, app: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, app, limits, pending()));
        address
    }

    fn short() -> Limits {
        Limits {
            header: Duration::from_millis(200),
            write: Duration::from_millis(200),
            ..Limits::default()
        }
    }

    async fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Reads until the server closes the connection.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let read = timeout(TIMEOUT, stream.read_to_string(&mut text)).await;
        read.expect("a closed connection").unwrap();
        text
    }

    #[test]
    fn default_log_has_this_crate_and_the_audit() {
        let filter: Targets = FILTER.parse().unwrap();
        let own = module_path!();
        for (target, level, is_logged) in [
            ("server", Level::INFO, true),
            (own, Level::INFO, true),
            (own, Level::DEBUG, false),
            ("cluster_operator::audit", Level::INFO, true),
            ("cluster_operator::service", Level::INFO, false),
            ("cluster_operator_serf", Level::WARN, false),
            ("openraft::core", Level::WARN, false),
            ("openraft::core", Level::ERROR, true),
        ] {
            let enabled = filter.would_enable(target, &level);
            assert_eq!(enabled, is_logged, "{target} at {level}");
        }
    }

    #[tokio::test]
    async fn half_headers_and_idle_connections_are_closed() {
        let address = listen(short(), Router::new().route("/", get("hello"))).await;
        for half in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
            assert_eq!(rest(send(address, half).await).await, "");
        }
        // The body of a request that is answered without it.
        let refused = send(
            address,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
        );
        assert!(rest(refused.await).await.starts_with("HTTP/1.1 405 "));
        // After an answer the connection stays open for the next request, but not for
        // long.
        let idle = send(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answers = rest(idle).await;
        assert!(answers.starts_with("HTTP/1.1 200 ") && answers.ends_with("hello"));
    }

    #[tokio::test]
    async fn dripping_headers_are_closed_and_others_are_served() {
        let limits = Limits {
            connections: 20,
            ..short()
        };
        let address = listen(limits, Router::new().route("/", get("hello"))).await;
        let mut dripping = JoinSet::new();
        for _ in 0..50 {
            dripping.spawn(async move {
                let mut stream = send(address, "GET / HTTP/1.1\r\nX: ").await;
                // A byte now and then does not extend the time.
                while stream.write_all(b"a").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = rest(send(address, request).await).await;
        assert!(answer.ends_with("hello"), "{answer}");
        timeout(TIMEOUT, dripping.join_all()).await.unwrap();
    }

    #[tokio::test]
    async fn client_that_reads_no_answers_is_disconnected() {
        let large = get(|| async { "a".repeat(1 << 20) });
        let address = listen(short(), Router::new().route("/", large)).await;
        let mut stream = send(address, "").await;
        let asking = async {
            let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            while stream.write_all(request).await.is_ok() {}
        };
        let closed = timeout(TIMEOUT, asking).await;
        closed.expect("a closed connection");
    }

    #[tokio::test]
    async fn long_request_outlives_header_timeout() {
        let released = Arc::new(Notify::new());
        let release = Arc::clone(&released);
        let wait = get(move || async move { released.notified().await });
        let address = listen(short(), Router::new().route("/", wait)).await;
        let long = send(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // This one came later and is closed for its age.
        rest(send(address, "GET").await).await;
        release.notify_one();
        assert!(rest(long).await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn stop_ends_idle_connections_and_waits_for_requests() {
        let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (start, finished) = (Arc::clone(&started), Arc::clone(&finish));
        let wait = get(move || async move {
            start.notify_one();
            finished.notified().await;
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let serving = tokio::spawn(serve(
            listener,
            Router::new().route("/", wait).route("/quick", get("hello")),
            Limits::default(),
            async move { stopped.notified().await },
        ));
        let request = send(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        started.notified().await;
        let mut idle = send(address, "GET /quick HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_ne!(idle.read(&mut [0; 1000]).await.unwrap(), 0);
        stop.notify_one();
        rest(idle).await;
        finish.notify_one();
        assert!(rest(request).await.starts_with("HTTP/1.1 200 "));
        timeout(TIMEOUT, serving).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
