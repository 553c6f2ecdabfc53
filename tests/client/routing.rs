//! Which server a request is forwarded to, and what it carries.

use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::mock::{Grant, MockAcl, MockRaft, MockToken};
use cluster_operator::peer_http::{AddressBook, HttpPeers, PEER_PATH, PeerHttp};
use cluster_operator::peers::{SendError, Target};
use cluster_operator::raft::{Change, Consistency, LeaderHint, Leadership, PeerSelector, RaftView};
use cluster_operator::service::Caller;
use cluster_operator::{
    AllowAll, ErrorKind, OperatorError, OperatorService, Outcome, Peers, Pool, RaftBackend, Token,
};
use tokio::net::TcpListener;

use super::fleet::Fleet;
use super::seal::sealed;
use super::socket::{Scripted, Turn, answer, nobody};
use super::{LONG, ask, ask_within, dc2, key, leader, peers_of, read};

fn anyone() -> Caller {
    Caller::anonymous()
}

#[tokio::test]
async fn follower_forwards_to_the_leader_and_to_a_datacenter() {
    let fleet = Fleet::start(|_| AllowAll).await;
    let bob = fleet.service("bob");
    let here = anyone();
    let here = bob.raft_configuration(&here, Consistency::Consistent);
    assert_eq!(here.await.unwrap(), fleet.federation.configuration("dc1"));
    assert_eq!(fleet.connections("alice"), 1);

    // Erin follows dave, and is not asked, because dave answers.
    let there = anyone().in_datacenter("dc2");
    let there = bob.raft_configuration(&there, Consistency::Default);
    assert_eq!(there.await.unwrap(), fleet.federation.configuration("dc2"));
    assert_eq!(
        (fleet.connections("dave"), fleet.connections("erin")),
        (1, 0)
    );
}

#[tokio::test]
async fn write_takes_two_hops_to_the_leader_of_a_datacenter() {
    let mut fleet = Fleet::start(|_| AllowAll).await;
    assert!(fleet.federation.elect("erin"));
    let dave = fleet.federation.raft("dave").id().clone();
    let there = anyone().in_datacenter("dc2");
    let removed = fleet.service("bob");
    let removed = removed.remove_peer(&there, PeerSelector::Id(dave.clone()), None);
    // One of two voters: the quorum guard permits it.
    removed.await.unwrap();
    let left = fleet.federation.configuration("dc2").servers;
    assert!(left.iter().all(|server| server.id != dave));
    assert_eq!(fleet.connections("erin"), 1);
    fleet.stop_listening("alice").await;
}

#[tokio::test]
async fn key_reaches_every_ring_and_every_ring_is_listed() {
    let fleet = Fleet::start(|_| AllowAll).await;
    let carol = fleet.service("carol");
    let installed = carol.install_key(&anyone(), key(2)).await.unwrap();
    let named: Vec<_> = installed
        .rings
        .iter()
        .map(|ring| (ring.datacenter.as_str(), ring.pool.clone()))
        .collect();
    assert_eq!(
        named,
        [("dc1", Pool::Wan), ("dc1", Pool::Lan), ("dc2", Pool::Lan)]
    );
    assert_eq!(fleet.federation.keys("dave", &Pool::Lan), [key(1), key(2)]);
    let listed = carol
        .list_keys(&anyone(), Default::default())
        .await
        .unwrap();
    let dc2 = listed.rings.last().unwrap().report.as_ref().unwrap();
    assert_eq!((dc2.keys.get(&key(1)), dc2.keys.get(&key(2))), (2, 2));
}

#[tokio::test]
async fn token_is_authorized_where_the_operation_is_served() {
    let fleet = Fleet::start(|datacenter| {
        let acl = MockAcl::new(DefaultPolicy::Deny);
        let secret = format!("only-in-{datacenter}");
        acl.with_token(MockToken::new(secret).with(Resource::Operator, Grant::Read))
    })
    .await;
    let bob = fleet.service("bob");
    let ask = async |token: &str, datacenter| {
        let caller = Caller::with_token(Token::new(token)).in_datacenter(datacenter);
        let answer = bob.raft_configuration(&caller, Consistency::Default);
        answer.await.map_err(|error| error.kind().clone())
    };
    assert!(ask("only-in-dc1", "dc1").await.is_ok());
    assert!(ask("only-in-dc2", "dc2").await.is_ok());
    assert_eq!(
        ask("only-in-dc1", "dc2").await,
        Err(ErrorKind::UnknownToken)
    );
}

/// A Raft that believes that another server leads.
struct Follower(&'static str);

impl Follower {
    fn leader(&self) -> LeaderHint {
        LeaderHint {
            id: self.0.into(),
            address: "10.0.0.1:8300".into(),
        }
    }

    fn not_leader(&self) -> OperatorError {
        let leader = Some(self.leader());
        ErrorKind::NotLeader { leader }.into()
    }
}

#[async_trait]
impl RaftBackend for Follower {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let mut view = RaftView::new("follower", Default::default());
        view.leadership = Leadership::Remote(self.leader());
        Ok(view)
    }

    async fn confirmed_view(&self, _: Duration) -> Result<RaftView, OperatorError> {
        Err(self.not_leader())
    }

    async fn change_membership(&self, _: &Change) -> Result<(), OperatorError> {
        Err(self.not_leader())
    }
}

fn serve_at(listener: TcpListener, peer: PeerHttp) {
    let app = Router::new().route_service(PEER_PATH, peer);
    tokio::spawn(async move { axum::serve(listener, app).await });
}

#[tokio::test]
async fn forwarding_loop_ends_with_an_error() {
    let listeners = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let [bob, carol] = listeners
        .each_ref()
        .map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let service = |other: &'static str| {
        let book = AddressBook::new()
            .with_server("bob", bob.as_str())
            .and_then(|book| book.with_server("carol", carol.as_str()));
        OperatorService::builder("dc1")
            .raft(Follower(other))
            .authorizer(AllowAll)
            .peers(HttpPeers::new(book.unwrap()))
            .build()
            .unwrap()
    };
    let first = service("carol");
    let [at_bob, at_carol] = listeners;
    serve_at(at_bob, PeerHttp::new(first.clone()));
    serve_at(at_carol, PeerHttp::new(service("bob")));
    let caller = anyone();
    let error = first.raft_configuration(&caller, Consistency::Default);
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::TooManyHops { hops: 4 });
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

#[tokio::test]
async fn unknown_target_differs_from_one_without_a_server() {
    let peers = HttpPeers::new(AddressBook::new().with_datacenter("dc3", [""; 0]).unwrap());
    assert_eq!(peers.datacenters(), ["dc3"]);
    for target in [dc2(), leader("zoe")] {
        let error = peers.send(&target, sealed(read()).await, LONG).await;
        assert!(matches!(error, Err(SendError::NoPath)), "{error:?}");
    }
    let dc3 = Target::Datacenter("dc3".into());
    let error = peers.send(&dc3, sealed(read()).await, LONG).await;
    let error = error.unwrap_err();
    assert!(matches!(error, SendError::NotSent(_)));
    assert!(error.to_string().contains("the directory has no server"));
}

#[tokio::test]
async fn second_server_gets_the_remaining_time() {
    let no_leader = answer(Err(ErrorKind::NoLeader.into())).await;
    let server = Scripted::start(move |number, request| {
        let (_, json) = request.split_once("\r\n\r\n").unwrap();
        let envelope: serde_json::Value = serde_json::from_str(json).unwrap();
        let timeout = &envelope["call"]["timeout"]["secs"];
        // The service gives nine tenths of its own 10 s.
        assert_eq!(timeout, if number == 0 { 9 } else { 4 });
        Turn::Answer(no_leader.clone())
    })
    .await;
    let dead = nobody().await;
    for uris in [&[server.uri.as_str()][..], &[&dead, &server.uri]] {
        // Of 5 s, the second server gets a little less than 4.5 s.
        let error = ask_within(&peers_of(uris), read(), Duration::from_secs(5)).await;
        assert_eq!(error.unwrap_err().kind(), &ErrorKind::NoLeader);
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn peer_http_can_be_the_only_route() {
    let service = OperatorService::builder("dc2")
        .raft(MockRaft::voters(["dave"]))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let alone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", alone.local_addr().unwrap());
    let app = Router::new().fallback_service(PeerHttp::new(service));
    tokio::spawn(async move { axum::serve(alone, app).await });
    ask(&peers_of(&[&uri]), read()).await.unwrap();
    // Behind a proxy that does not remove its prefix.
    let error = ask(&peers_of(&[&format!("{uri}/dc2")]), read()).await;
    assert!(error.unwrap_err().to_string().contains("HTTP 404"));
}
