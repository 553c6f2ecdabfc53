//! A server with Consul's operator endpoints over a simulated federation.
//!
//! ```text
//! cargo run --example server --all-features
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use clap::{Parser, ValueEnum};
use cluster_operator::http::OperatorHttp;
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use cluster_operator::wire::Dialect;
use cluster_operator::{AllowAll, DefaultPolicy, GossipKey, Resource, TokenStore};
use tokio::net::TcpListener;

/// Serves Consul's operator endpoints over a simulated federation: the servers
/// alice, bob and carol here, and dave in another datacenter.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8500")]
    address: SocketAddr,
    /// Whose habits to follow.
    #[arg(long, value_enum, default_value_t = DialectName::Precise)]
    dialect: DialectName,
    /// The name of the local datacenter.
    #[arg(long, default_value = "dc1")]
    datacenter: String,
    /// Whether tokens are asked for.
    #[arg(long, value_enum, default_value_t = Switch::Off, conflicts_with = "acl_file")]
    acl: Switch,
    /// A file of tokens and policies, as in examples/policies/tokens.json. It is
    /// read again on HUP.
    #[arg(long)]
    acl_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum DialectName {
    Precise,
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

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), String> {
    let tokens = arguments.acl_file.as_deref().map(load).transpose()?;
    let federation = federation(&arguments, tokens.as_ref())?;
    let endpoints =
        OperatorHttp::new(federation.service("alice")).with_dialect(match arguments.dialect {
            DialectName::Precise => Dialect::Precise,
            DialectName::Consul1_10 => Dialect::Consul1_10,
            DialectName::Consul0_7 => Dialect::Consul0_7,
        });
    // The server's own routes, and behind them Consul's.
    let app = Router::new()
        .route(
            "/",
            get(|| async { "Consul's operator endpoints are at /v1/operator/\n" }),
        )
        .fallback_service(endpoints)
        .layer(middleware::from_fn(log));

    let address = arguments.address;
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error}; try --address 127.0.0.1:0")
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    introduce(address, &arguments);
    #[cfg(unix)]
    if let (Some(tokens), Some(path)) = (tokens, arguments.acl_file) {
        tokio::spawn(reload_on_hangup(tokens, path));
    }
    axum::serve(listener, app)
        .with_graceful_shutdown(stop_signal())
        .await
        .map_err(|error| format!("cannot serve: {error}"))?;
    println!("Stopped.");
    Ok(())
}

/// Loads the tokens. A token file holds secrets, so an error names the place of
/// a mistake and not what stands there.
fn load(path: &Path) -> Result<Arc<TokenStore>, String> {
    TokenStore::load_file(path)
        .map(Arc::new)
        .map_err(|error| chain(&error))
}

#[cfg(unix)]
async fn reload_on_hangup(tokens: Arc<TokenStore>, path: PathBuf) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangup.recv().await.is_some() {
        match tokens.reload_file(&path) {
            Ok(()) => eprintln!("{} is loaded again", path.display()),
            Err(error) => eprintln!("the old tokens stay in force: {}", chain(&error)),
        }
    }
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn federation(
    arguments: &Arguments,
    tokens: Option<&Arc<TokenStore>>,
) -> Result<MockFederation, String> {
    let other = if arguments.datacenter == "dc2" {
        "dc1"
    } else {
        "dc2"
    };
    let key =
        GossipKey::from_base64("0eK8RjnsGC/+I1fJErQsBA==").map_err(|error| error.to_string())?;
    let builder = MockFederation::builder()
        .datacenter(arguments.datacenter.as_str(), ["alice", "bob", "carol"])
        .datacenter(other, ["dave"])
        .raft_index(22)
        .gossip_key(key);
    if let Some(tokens) = tokens {
        return Ok(builder.authorizer(Arc::clone(tokens)).build());
    }
    Ok(match arguments.acl {
        Switch::Off => builder.authorizer(AllowAll),
        Switch::On => builder.authorizer(
            MockAcl::new(DefaultPolicy::Deny)
                .with_token(MockToken::management("root"))
                .with_token(
                    MockToken::new("viewer")
                        .with(Resource::Operator, Grant::Read)
                        .with(Resource::Keyring, Grant::Read),
                ),
        ),
    }
    .build())
}

/// One line a request. The query may hold a token, so it is left out.
async fn log(request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri().path());
    let start = Instant::now();
    let response = next.run(request).await;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    eprintln!("{line} {} {took:.1} ms", response.status().as_u16());
    response
}

fn introduce(address: SocketAddr, arguments: &Arguments) {
    let url = format!("http://{address}/v1/operator");
    let token = match arguments.acl {
        Switch::On => " -H 'X-Consul-Token: root'",
        Switch::Off => "",
    };
    println!(
        "Listening on http://{address} as alice of {}, who leads bob and carol. Try:

  curl{token} '{url}/raft/configuration?pretty'
  curl{token} '{url}/raft/configuration?pretty&dc=dc2'
  curl{token} -X DELETE '{url}/raft/peer?address=127.0.0.3:8300'
  curl{token} '{url}/keyring?pretty'
  curl{token} -X POST {url}/keyring -d '{{\"Key\": \"z90lFx3sZZLtTOkutXcwYg==\"}}'
  curl{token} -X PUT {url}/keyring -d '{{\"Key\": \"z90lFx3sZZLtTOkutXcwYg==\"}}'
  curl{token} -X DELETE {url}/keyring -d '{{\"Key\": \"0eK8RjnsGC/+I1fJErQsBA==\"}}'

or Consul's own command line: CONSUL_HTTP_ADDR={address} consul operator raft list-peers",
        arguments.datacenter
    );
    if arguments.acl == Switch::On {
        println!("\nTokens: root may do everything, viewer may look. Nobody else may do anything.");
    }
    println!("\nCtrl-C stops it.");
}

/// Ctrl-C, or a supervisor's TERM.
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
