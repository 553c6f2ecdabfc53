//! What the fuzz targets share: a server to ask, and the rules for its answers.

use cluster_operator::acl::{DefaultPolicy, TokenStore};
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::mock::{MockAutopilot, MockClock, MockKeyring, MockRaft};
use cluster_operator::peers::Peers;
use cluster_operator::raft::RaftServer;
use cluster_operator::{AllowAll, GossipKey, OperatorService, OperatorServiceBuilder, Pool};

/// The servers of [`server`].
pub const SERVERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// All dialects.
pub const DIALECTS: [Dialect; 4] = [
    Dialect::Precise,
    Dialect::Consul1_17,
    Dialect::Consul1_10,
    Dialect::Consul0_7,
];

/// The key of the only ring.
pub const KEY: &str = "0eK8RjnsGC/+I1fJErQsBA==";

/// A server alone in dc1, in its first state, and its clock.
pub type Server = (OperatorService, MockClock);

/// A server that everybody may operate.
pub fn server() -> Server {
    build(KEY, SERVERS, |service| service)
}

/// The same with other servers.
pub fn server_with(peers: impl Peers + 'static) -> Server {
    build(KEY, SERVERS, |service| service.peers(peers))
}

/// A server that nobody may operate, with such a key and such servers.
pub fn closed_server(key: &str, servers: [&str; 4]) -> Server {
    let tokens = TokenStore::builder().default_policy(DefaultPolicy::Deny);
    let tokens = tokens.build().expect("a store");
    build(key, servers, |service| service.authorizer(tokens))
}

fn build(
    key: &str,
    servers: [&str; 4],
    more: impl FnOnce(OperatorServiceBuilder) -> OperatorServiceBuilder,
) -> Server {
    let clock = MockClock::new();
    let key: GossipKey = key.parse().expect("a key");
    let [alice, bob, carol, dave] = servers;
    let voters = [alice, bob, carol].map(|name| RaftServer::voter(name, name));
    let dave = RaftServer::nonvoter(dave, dave);
    let all = voters.into_iter().chain([dave]);
    let raft = MockRaft::new(all.map(|server| {
        let name = server.id.as_str().to_owned();
        server.with_name(name).with_alive(true)
    }));
    let service = OperatorService::builder("dc1")
        .autopilot(MockAutopilot::new(&raft))
        .raft(raft)
        .keyring(MockKeyring::new(Pool::Lan, key, [alice, bob]))
        .authorizer(AllowAll)
        .timer(clock.clone());
    let service = more(service).build().expect("a service");
    (service, clock)
}

/// Serves a request in a dialect, and checks the answer.
pub fn serve(server: &Server, dialect: Dialect, request: Request<'_>) {
    check(&answer(server, dialect, request));
}

/// Returns the answer to a request.
pub fn answer((service, clock): &Server, dialect: Dialect, request: Request<'_>) -> Response {
    let wire = Wire::new(dialect).with_openapi();
    clock.run(wire.serve(service, request))
}

/// Checks what holds for every answer: a status, header fields on one line each, and JSON
/// where it says so.
pub fn check(response: &Response) {
    assert!((200..600).contains(&response.status), "{response:?}");
    for (name, value) in &response.headers {
        let is_visible = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        assert!(value.bytes().all(is_visible), "{name}: {value:?}");
    }
    let media = response.header("content-type").unwrap_or_default();
    if media.ends_with("json") && !response.body.is_empty() {
        let json = serde_json::from_slice::<serde_json::Value>(&response.body);
        assert!(json.is_ok(), "{response:?}");
    }
}
