//! The built command, against simulated federations over loopback sockets.
#![allow(clippy::unwrap_used)]

mod autopilot;
mod connection;
mod diagnosis;
mod keyring;
mod raft;
mod terminal;

use std::process::Stdio;

use axum::Router;
use cluster_operator::GossipKey;
use cluster_operator::acl::DefaultPolicy;
use cluster_operator::consul::Dialect;
use cluster_operator::mock::{MockAcl, MockFederation, MockToken};
use cluster_operator::server::OperatorHttp;
use tokio::net::TcpListener;
use tokio::process::Command;

const CONSUL: [Dialect; 3] = [Dialect::Consul1_17, Dialect::Consul1_10, Dialect::Consul0_7];

/// The token that may do everything.
const TOKEN: &str = "b852fbe7-root-token";

fn key(n: u8) -> GossipKey {
    GossipKey::from_bytes(&[n; 32]).unwrap()
}

/// Alice, who leads, bob and carol in dc1, and dave in dc2.
fn federation() -> MockFederation {
    let acl = MockAcl::new(DefaultPolicy::Deny).with_token(MockToken::management(TOKEN));
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave"])
        .raft_index(22)
        .raft_servers(|server| {
            server.id = server.name.as_ref().unwrap().as_str().into();
            server.last_index = Some(0);
        })
        .gossip_key(key(1))
        .authorizer(acl)
        .build()
}

/// The routes of a server.
fn routes(federation: &MockFederation, server: &str, dialect: Dialect) -> Router {
    let endpoints = OperatorHttp::new(federation.service(server)).with_dialect(dialect);
    Router::new().fallback_service(endpoints)
}

/// Serves a server of the federation, and returns its address.
async fn serve(federation: &MockFederation, server: &str, dialect: Dialect) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes = routes(federation, server, dialect);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

/// The command with nothing in its environment but the address and the token.
fn command(address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-operator"));
    command
        .env_clear()
        .env("CONSUL_HTTP_ADDR", address)
        .env("CONSUL_HTTP_TOKEN", TOKEN)
        .stdin(Stdio::null());
    command
}

/// What a command printed, and its exit code.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

async fn run(command: &mut Command) -> Ended {
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Runs a command whose output is closed, and returns its exit code.
async fn run_unread(command: &mut Command) -> i32 {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    command.status().await.unwrap().code().unwrap()
}

/// Runs the command with these words.
async fn ask(address: &str, words: &str) -> Ended {
    let ended = run(command(address).args(words.split_whitespace())).await;
    assert!(!ended.out.contains(TOKEN) && !ended.err.contains(TOKEN));
    let colours = ended.out.contains('\u{1b}') || ended.err.contains('\u{1b}');
    assert!(!colours, "no terminal, no colours: {ended:?}");
    ended
}
