//! A simulated cluster of three servers, and a server in another datacenter.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use cluster_operator::AclAuthorizer;
use cluster_operator::consul::Dialect;
use cluster_operator::mock::MockFederation;
use cluster_operator::observer::{MetricsObserver, TracingObserver};

use crate::operated::{self, secrets};
use crate::{Arguments, Started, curls, listen};

pub(crate) async fn start(
    arguments: &Arguments,
    authorizer: Arc<dyn AclAuthorizer>,
) -> Result<Started, Box<dyn Error>> {
    let datacenter = arguments.datacenter.as_str();
    let other = if datacenter == "dc2" { "dc1" } else { "dc2" };
    let dialect = Dialect::from(arguments.dialect);
    let federation = MockFederation::builder()
        .datacenter(datacenter, ["alice", "bob", "carol"])
        .datacenter(other, ["dave"])
        .raft_index(22)
        .raft_servers(|server| server.last_index = Some(0))
        .version(dialect.version())
        .gossip_key(secrets::gossip_key()?)
        .authorizer(authorizer)
        .service_options(|service| {
            let service = service.observer(TracingObserver);
            service.observer(MetricsObserver)
        })
        .build();
    let endpoints = operated::endpoints(federation.service("alice"), dialect);
    let listener = listen(arguments.address()).await?;
    let http = listener.local_addr()?;
    let introduction = format!(
        "Listening on http://{http} as alice, the leader of {datacenter}. Its followers bob and \
         carol are simulated, and so is dave in {other} (?dc={other}). {}",
        curls(http, arguments, "127.0.0.3:8300")
    );
    Ok(Started {
        endpoints: vec![(listener, Router::new().fallback_service(endpoints))],
        servers: Vec::new(),
        federation: Some(federation),
        introduction,
    })
}
