//! One server of a cluster of several processes.

use std::error::Error;
use std::sync::Arc;

use cluster_operator::AclAuthorizer;

use crate::cluster::Server;
use crate::operated::Operator;
use crate::{Arguments, Started, curls, listen};

pub(crate) async fn start(
    arguments: &Arguments,
    authorizer: Arc<dyn AclAuthorizer>,
) -> Result<Started, Box<dyn Error>> {
    let (member, datacenter) = (&arguments.member, arguments.datacenter.as_str());
    // Before the server starts, because other servers learn this address from it.
    let listener = listen(arguments.address.unwrap_or(member.http()?)).await?;
    let http = listener.local_addr()?;

    let server = member.start(datacenter, &listener, &arguments.autopilot);
    let server = server.await?;
    let operator = Operator::new(&server, datacenter, authorizer)?;
    let introduction = format!(
        "Listening on http://{http} as {} of {datacenter}. {}",
        server.node().name,
        curls(http, arguments, &removable(&server))
    );
    Ok(Started {
        endpoints: vec![(listener, operator.routes(arguments.dialect.into()))],
        servers: vec![(server, operator)],
        federation: None,
        introduction,
    })
}

/// Returns the Raft address of another server of the configuration, if there is one.
fn removable(server: &Server) -> String {
    let metrics = server.raft().metrics().borrow().clone();
    let mut nodes = metrics.membership_config.nodes();
    let other = nodes.find(|(id, _)| **id != server.id());
    let node = other.map_or_else(|| server.node(), |(_, node)| node);
    node.raft.to_string()
}
