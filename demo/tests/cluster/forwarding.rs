//! How a server finds the leader, to which it forwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{self, Next};
use cluster_operator::AllowAll;
use cluster_operator::client::OperatorClient;
use cluster_operator::consul::Dialect;
use cluster_operator::raft::Consistency;
use cluster_operator_demo::cluster::{Node, Server, Settings, gossip};
use cluster_operator_demo::operated::Operator;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::{eventually, leader, own_ip, settings, stop};

/// Servers whose list of voters has another HTTP address than they listen on, as with
/// `--peers` where a server has an `--address` of its own, and with IDs of their own.
#[tokio::test(flavor = "multi_thread")]
async fn leader_is_asked_by_its_own_id_where_it_listens() {
    let ip = own_ip();
    let (mut servers, mut listeners) = (Vec::new(), Vec::new());
    for id in 1..=3 {
        let listener = TcpListener::bind(SocketAddr::new(ip, 0)).await.unwrap();
        let settings = Settings {
            http: listener.local_addr().unwrap(),
            operator_id: Some(format!("id-of-{id}")),
            ..settings(ip, id)
        };
        servers.push(Server::start(settings).await.unwrap());
        listeners.push(listener);
    }
    let first = *servers[0].lan().advertise_node().address();
    for server in &servers[1..] {
        gossip::join(server.lan(), &[first]).await;
    }
    let guessed = |server: &Server| Node {
        http: SocketAddr::new(ip, 1),
        ..server.node().clone()
    };
    let voters: BTreeMap<_, _> = servers
        .iter()
        .map(|server| (server.id(), guessed(server)))
        .collect();
    servers[0].bootstrap(voters).await.unwrap();

    let mut operators = Vec::new();
    for (server, listener) in servers.iter().zip(listeners) {
        let operator = Operator::new(server, "dc1", AllowAll).unwrap();
        let routes = operator.routes(Dialect::Precise);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        operators.push(operator);
    }
    let leading = leader(&servers).await.id();
    let follower = servers.iter().find(|server| server.id() != leading);
    let uri = format!("http://{}", follower.unwrap().node().http);
    let client = OperatorClient::new(uri.parse().unwrap());
    let configuration = eventually("the leader's answer", async || {
        let read = client.raft_configuration(Consistency::Default).await;
        read.ok()
    })
    .await;
    let ids = configuration.servers.iter().filter(|server| server.leader);
    let ids: Vec<_> = ids.map(|server| server.id.to_string()).collect();
    assert_eq!(ids, [format!("id-of-{leading}")]);
    drop(operators);
    stop(servers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_waits_for_the_first_leader() {
    let ip = own_ip();
    let listener = TcpListener::bind(SocketAddr::new(ip, 0)).await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::start(settings(ip, 1)).await.unwrap();
    let operator = Operator::new(&server, "dc1", AllowAll).unwrap();
    let arrived = Arc::new(Notify::new());
    let notify = Arc::clone(&arrived);
    let notify = middleware::from_fn(move |request: Request, next: Next| {
        notify.notify_one();
        next.run(request)
    });
    let routes = operator.routes(Dialect::Precise).layer(notify);
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let client = OperatorClient::new(uri.parse().unwrap());
    let read = client.raft_configuration(Consistency::Default);
    let form = async {
        arrived.notified().await;
        let voters = BTreeMap::from([(1, server.node().clone())]);
        server.bootstrap(voters).await.unwrap();
    };
    let (configuration, ()) = tokio::join!(read, form);
    let configuration = configuration.unwrap();
    assert!(configuration.servers[0].leader);
    drop(operator);
    stop([server]).await;
}
