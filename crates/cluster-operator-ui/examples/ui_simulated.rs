//! A simulated federation with the status page, for the tests in a browser.
//!
//! ```text
//! cargo run -p cluster-operator-ui --example ui_simulated
//! ```
//!
//! It prints its address. The tokens are `root`, `viewer` (reads) and `operator` (reads
//! Raft only). `POST /control/ACTION/NAME` changes the federation, with the actions `stop`,
//! `restart`, `stop-datacenter`, `restart-datacenter` and `join`. What is below
//! `/read-only` changes nothing.

use std::error::Error;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use cluster_operator::server::OperatorHttp;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let viewer = MockToken::new("viewer").with(Resource::Operator, Grant::Read);
    let acl = MockAcl::new(DefaultPolicy::Deny)
        .with_token(MockToken::management("root"))
        .with_token(viewer.with(Resource::Keyring, Grant::Read))
        .with_token(MockToken::new("operator").with(Resource::Operator, Grant::Read));
    let federation = MockFederation::builder()
        .datacenter("berlin", ["alice", "bob", "carol", "erin"])
        .datacenter("lima", ["dave", "<b>frank</b>", "grace"])
        .nonvoters(["erin"])
        .raft_index(22)
        .raft_servers(|server| server.last_index = Some(1041))
        .notices_failures(false)
        .authorizer(acl)
        .build();
    let endpoints = OperatorHttp::new(federation.service("alice"));
    let endpoints = endpoints.with_ui(cluster_operator_ui::PAGE);
    let app = Router::new()
        .route("/control/{action}/{name}", post(control))
        .with_state(federation)
        .nest_service("/read-only", endpoints.clone().read_only())
        .fallback_service(endpoints);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("Listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn control(
    State(federation): State<MockFederation>,
    Path((action, name)): Path<(String, String)>,
) -> StatusCode {
    match action.as_str() {
        "stop" => federation.stop(name),
        "restart" => federation.restart(name),
        "stop-datacenter" => federation.stop_datacenter(name),
        "restart-datacenter" => federation.restart_datacenter(name),
        "join" => _ = federation.join(name),
        _ => return StatusCode::NOT_FOUND,
    }
    StatusCode::NO_CONTENT
}
