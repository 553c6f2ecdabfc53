//! A server with Consul's operator endpoints, with a real Raft and real gossip.
//!
//! ```text
//! cargo run --example server --all-features
//! ```
//!
//! starts a cluster of three servers in this process: openraft in memory, and encrypted
//! serf pools on the loopback interface. With `--mock` the cluster is simulated. With
//! `--name` the process runs one server of a cluster of several processes.

#[path = "server/access.rs"]
mod access;
#[path = "server/start.rs"]
mod start;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use clap::{Parser, ValueEnum};
use cluster_operator::consul::Dialect;
use cluster_operator::mock::MockFederation;
use cluster_operator::server::UI_PATH;
use cluster_operator_demo::cluster::{self, Server};
use cluster_operator_demo::operated::{self, Autopilot, Member, Operator, secrets};
use cluster_operator_demo::serving::{self, Limits};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Serves Consul's operator endpoints for a cluster of three servers in this process, or
/// for one server of a cluster of several processes.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Arguments {
    /// The HTTP address to listen on; port 0 selects a free port. [default: with --name,
    /// that of the server; otherwise 127.0.0.1:8500]
    #[arg(long)]
    address: Option<SocketAddr>,
    /// The dialect of the HTTP API.
    #[arg(long, value_enum, default_value_t = DialectName::Precise)]
    dialect: DialectName,
    /// The name of the local datacenter.
    #[arg(long, default_value = "dc1")]
    datacenter: String,
    /// Requires tokens.
    #[arg(long, value_enum, default_value_t = Switch::Off, conflicts_with = "acl_file")]
    acl: Switch,
    /// A file of tokens and policies, such as examples/policies/tokens.json. It is
    /// reloaded on HUP.
    #[arg(long)]
    acl_file: Option<PathBuf>,
    /// Simulates the cluster, and a second datacenter.
    #[arg(long, conflicts_with_all = ["name", "autopilot", "intended_size", "failed_hold"])]
    mock: bool,
    #[command(flatten)]
    autopilot: Autopilot,
    #[command(flatten)]
    member: Member,
}

impl Arguments {
    /// Returns the address to listen on without `--name`.
    fn address(&self) -> SocketAddr {
        let default = SocketAddr::from(([127, 0, 0, 1], operated::HTTP_PORT));
        self.address.unwrap_or(default)
    }
}

const AFTER_HELP: &str = "\
SERVER is the address of a server and its ports:
  127.0.0.1                      Consul's ports: Raft 8300, LAN 8301, WAN 8302, HTTP 8500
  127.0.0.1:8310                 Raft 8310, LAN 8311, WAN 8312, HTTP 8510
  127.0.0.1:4001/4002/4003/4004  the ports for Raft, LAN, WAN and HTTP
Gossip uses TCP and UDP.

Environment:
  PEER_SECRET  the secret by which servers recognize each other, instead of --secret-file
  GOSSIP_KEY   the first gossip key, in base64; required beyond the loopback interface
  RUST_LOG     what is logged to stderr, such as info or error,openraft=debug

Examples:
  server                      three servers, the first on 127.0.0.1:8500
  server --mock --acl on      the same, simulated, with access control
  server --name alice --data alice --secret-file secret \\
      --peers alice=127.0.0.1:8300,bob=127.0.0.1:8310,carol=127.0.0.1:8320
  server --name dave --data dave --secret-file secret \\
      --ip 127.0.0.1:8330 --join 127.0.0.1:8300";

#[derive(Clone, Copy, ValueEnum)]
enum DialectName {
    Precise,
    #[value(name = "consul-1.17")]
    Consul1_17,
    #[value(name = "consul-1.10")]
    Consul1_10,
    #[value(name = "consul-0.7")]
    Consul0_7,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl From<DialectName> for Dialect {
    fn from(name: DialectName) -> Self {
        match name {
            DialectName::Precise => Dialect::Precise,
            DialectName::Consul1_17 => Dialect::Consul1_17,
            DialectName::Consul1_10 => Dialect::Consul1_10,
            DialectName::Consul0_7 => Dialect::Consul0_7,
        }
    }
}

/// The started servers.
struct Started {
    /// The listeners, each with Consul's endpoints.
    endpoints: Vec<(TcpListener, Router)>,
    /// The servers, unless they are simulated.
    servers: Vec<(Server, Operator)>,
    /// The simulated servers, which stop when it is dropped.
    federation: Option<MockFederation>,
    /// The text that is printed at the start.
    introduction: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(expected) = &arguments.member.recover {
        println!("{}", arguments.member.recover(expected).await?);
        return Ok(());
    }
    // Registered first, so that a Ctrl-C during the start of the cluster is not lost.
    let (stopping, stop) = watch::channel(false);
    tokio::spawn(async move {
        stop_signal().await;
        stopping.send_replace(true);
    });

    // Written to the end when this is dropped.
    let _log = serving::log_to_stderr()?;
    let metrics = serving::metrics_route()?;
    let authorizer = access::authorizer(arguments.acl, arguments.acl_file.as_deref())?;
    let starting = async {
        if arguments.mock {
            start::simulated(&arguments, authorizer).await
        } else if arguments.member.name.is_some() {
            start::member(&arguments, authorizer).await
        } else {
            start::trio(&arguments, authorizer).await
        }
    };
    let mut stop_start = stop.clone();
    let started = tokio::select! {
        started = starting => started?,
        // A server may wait forever for those that it joins.
        _ = stop_start.wait_for(|stop| *stop) => {
            println!("Stopped.");
            return Ok(());
        }
    };
    println!("{}\n\nPress Ctrl-C to stop.", started.introduction);

    let mut listeners = JoinSet::new();
    for (listener, endpoints) in started.endpoints {
        // Consul's routes are the fallback, and the server has its own beside them.
        let app = endpoints
            .route(
                "/",
                get("Consul's operator endpoints are at /v1/operator/\n"),
            )
            .route("/metrics", metrics.clone())
            .layer(middleware::from_fn(serving::log));
        let mut stop = stop.clone();
        let stopped = async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        listeners.spawn(serving::serve(listener, app, Limits::default(), stopped));
    }
    let served = async {
        while let Some(served) = listeners.join_next().await {
            served?;
        }
        Ok::<_, Box<dyn Error>>(())
    };
    // Longer than a call takes. A connection that never ends must not keep the process
    // alive.
    let mut stop = stop;
    let overdue = async {
        let _ = stop.wait_for(|stop| *stop).await;
        tracing::info!("stopping");
        tokio::time::sleep(operated::DEADLINE + Duration::from_secs(1)).await;
    };
    tokio::select! {
        served = served => served?,
        () = overdue => tracing::warn!("some connections were cut off"),
    }
    for (server, operator) in started.servers {
        drop(operator);
        server.shutdown().await?;
    }
    drop(started.federation);
    println!("Stopped.");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}; try another --address"))
}

/// Returns the address of the status page, and commands to try, on a server's HTTP address.
fn curls(http: SocketAddr, arguments: &Arguments, removable: &str) -> String {
    let url = format!("http://{http}/v1/operator");
    let (token, variable, tokens) = match (&arguments.acl_file, arguments.acl) {
        (Some(file), _) => (
            " -H \"X-Consul-Token: $TOKEN\"",
            "CONSUL_HTTP_TOKEN=\"$TOKEN\" ",
            format!("\n\nTOKEN is a secret of {}.", file.display()),
        ),
        (None, Switch::On) => (
            " -H 'X-Consul-Token: root'",
            "CONSUL_HTTP_TOKEN=root ",
            "\n\nTokens: root may do everything, viewer may read. All other requests are denied."
                .to_owned(),
        ),
        (None, Switch::Off) => ("", "", String::new()),
    };
    // A key that is not published is not printed.
    let old_key = match std::env::var_os(secrets::GOSSIP_KEY) {
        Some(_) => format!("'\"${}\"'", secrets::GOSSIP_KEY),
        None => secrets::PUBLISHED_KEY.to_owned(),
    };
    let page = match arguments.dialect {
        DialectName::Precise => format!("Status page: http://{http}{UI_PATH}\n\n"),
        _ => String::new(),
    };
    format!(
        "{page}Try:

  curl{token} '{url}/raft/configuration?pretty'
  curl{token} -X DELETE '{url}/raft/peer?address={removable}'
  curl{token} '{url}/keyring?pretty'
  curl{token} -X POST {url}/keyring -d '{{\"Key\": \"z90lFx3sZZLtTOkutXcwYg==\"}}'
  curl{token} -X PUT {url}/keyring -d '{{\"Key\": \"z90lFx3sZZLtTOkutXcwYg==\"}}'
  curl{token} -X DELETE {url}/keyring -d '{{\"Key\": \"{old_key}\"}}'

or a command line, this project's or Consul's own:

  CONSUL_HTTP_ADDR={http} {variable}cargo run -q -p cluster-operator-cli -- raft list
  CONSUL_HTTP_ADDR={http} {variable}cargo run -q -p cluster-operator-cli -- doctor
  CONSUL_HTTP_ADDR={http} {variable}consul operator raft list-peers{tokens}"
    )
}

/// Returns the text of an error and of its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// Waits for Ctrl-C or SIGTERM.
async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = interrupt.await;
}
