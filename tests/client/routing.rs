//! Where a request goes, and what survives the way there and back.

use async_trait::async_trait;
use axum::Router;
use cluster_operator::client::{AddressBook, HttpPeers, PEER_PATH, PeerHttp};
use cluster_operator::mock::{Grant, MockAcl, MockPeers, MockRaft, MockToken};
use cluster_operator::{
    Access, AccessorId, AllowAll, Caller, Consistency, DefaultPolicy, ErrorKind, InvalidKey,
    LeaderHint, Leadership, OperatorError, OperatorRequest, OperatorService, Outcome, PeerSelector,
    Peers, Pool, RaftBackend, RaftConfiguration, Resource, Token,
};
use tokio::net::TcpListener;

use super::fleet::Fleet;
use super::socket::{Scripted, Turn, answer, nobody};
use super::{LONG, ask, dc2, key, leader, peers_of, read};

fn anyone() -> Caller {
    Caller::anonymous()
}

#[tokio::test]
async fn a_follower_hands_on_to_the_leader_and_another_datacenter_is_reached() {
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
async fn a_write_takes_two_hops_to_the_leader_of_another_datacenter() {
    let mut fleet = Fleet::start(|_| AllowAll).await;
    assert!(fleet.federation.elect("erin"));
    let dave = fleet.federation.raft("dave").id().clone();
    let there = anyone().in_datacenter("dc2");
    let removed = fleet.service("bob");
    let removed = removed.remove_peer(&there, PeerSelector::Id(dave.clone()), None);
    // The last but one of two voters: the quorum guard lets it go.
    removed.await.unwrap();
    let left = fleet.federation.configuration("dc2").servers;
    assert!(left.iter().all(|server| server.id != dave));
    assert_eq!(fleet.connections("erin"), 1);
    fleet.stop_listening("alice").await;
}

#[tokio::test]
async fn a_key_reaches_every_ring_and_every_ring_is_listed() {
    let fleet = Fleet::start(|_| AllowAll).await;
    let carol = fleet.service("carol");
    let installed = carol.install_key(&anyone(), key(2)).await.unwrap();
    let rings = installed.confirmed().unwrap().rings;
    let named: Vec<_> = rings
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
    let dc2 = listed.rings.last().unwrap().result.as_ref().unwrap();
    assert_eq!((dc2.keys.get(&key(1)), dc2.keys.get(&key(2))), (2, 2));
}

#[tokio::test]
async fn the_token_is_judged_where_the_operation_is_served() {
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

/// One of each kind that an error can be of.
fn kinds() -> Vec<ErrorKind> {
    let text = || String::from("says \"no\"\n");
    vec![
        ErrorKind::InvalidRequest { reason: text() },
        ErrorKind::InvalidKey(InvalidKey::Size { bytes: 3 }),
        ErrorKind::PermissionDenied {
            resource: Resource::Keyring,
            access: Access::Write,
            accessor: Some(AccessorId::new("acce5500")),
        },
        ErrorKind::UnknownToken,
        ErrorKind::AuthorizerUnavailable { reason: text() },
        ErrorKind::NoLeader,
        ErrorKind::NotLeader {
            leader: Some(LeaderHint {
                id: "8c2562c7".into(),
                address: "127.0.0.1:8300".into(),
            }),
        },
        ErrorKind::NoPathToDatacenter {
            datacenter: "dc9".into(),
        },
        ErrorKind::Unreachable {
            target: text(),
            reason: text(),
        },
        ErrorKind::DeadlineExceeded {
            target: text(),
            after: LONG,
        },
        ErrorKind::UnknownServer(PeerSelector::Id("x".into())),
        ErrorKind::LastVoter,
        ErrorKind::QuorumLoss {
            voters: 3,
            alive: 1,
        },
        ErrorKind::Conflict {
            expected: 1,
            actual: u64::MAX,
        },
        ErrorKind::RingsFailed {
            failed: vec![("dc1".into(), Pool::Segment("alpha".into()))],
            rings: 5,
        },
        ErrorKind::Unsupported { what: text() },
        ErrorKind::TooManyHops { hops: 255 },
        ErrorKind::Backend { message: text() },
    ]
}

#[tokio::test]
async fn every_error_arrives_as_the_other_server_made_it() {
    for kind in kinds() {
        for outcome in [Outcome::NotApplied, Outcome::Applied, Outcome::Unknown] {
            let error = OperatorError::new(kind.clone()).with_outcome(outcome);
            let made = error.clone();
            // Dave hands it on from a third server, so that it has been handed on
            // once when it comes here.
            let behind = MockPeers::new().with_answer(super::leader("erin"), move |_| {
                std::future::ready(Err(made.clone()))
            });
            let dave = OperatorService::builder("dc2")
                .raft(Follower("erin"))
                .authorizer(AllowAll)
                .peers(behind)
                .build()
                .unwrap();
            let uri = serve(PeerHttp::new(dave)).await;
            let arrived = ask(&peers_of(&[&uri]), read()).await.unwrap_err();
            assert_eq!((arrived.kind(), arrived.outcome()), (&kind, outcome));
            assert_eq!(arrived.forwards(), 1);
        }
    }
}

/// Takes another server for the leader.
struct Follower(&'static str);

#[async_trait]
impl RaftBackend for Follower {
    fn leadership(&self) -> Leadership {
        Leadership::Elsewhere(LeaderHint {
            id: self.0.into(),
            address: "10.0.0.1:8300".into(),
        })
    }

    async fn configuration(&self, _: Consistency) -> Result<RaftConfiguration, OperatorError> {
        Err(ErrorKind::NoLeader.into())
    }

    async fn remove_server(&self, _: &PeerSelector, _: Option<u64>) -> Result<(), OperatorError> {
        Err(ErrorKind::NoLeader.into())
    }
}

async fn serve(peer: PeerHttp) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    serve_at(listener, peer);
    uri
}

fn serve_at(listener: TcpListener, peer: PeerHttp) {
    let app = Router::new().route_service(PEER_PATH, peer);
    tokio::spawn(async move { axum::serve(listener, app).await });
}

#[tokio::test]
async fn two_servers_that_take_each_other_for_the_leader_give_up() {
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
    assert_eq!(error.forwards(), 4);
}

#[tokio::test]
async fn who_is_not_in_the_directory_is_told_apart_from_who_does_not_answer() {
    let peers = HttpPeers::new(AddressBook::new().with_datacenter("dc3", [""; 0]).unwrap());
    assert_eq!(peers.datacenters(), ["dc3"]);
    let unknown = ask(&peers, read()).await.unwrap_err();
    let datacenter = "dc2".into();
    assert_eq!(
        unknown.kind(),
        &ErrorKind::NoPathToDatacenter { datacenter }
    );
    for target in [
        cluster_operator::Target::Datacenter("dc3".into()),
        leader("zoe"),
    ] {
        let error = peers.send(&target, super::write(), LONG).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }));
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(error.to_string().contains("the directory does not know"));
    }
}

#[tokio::test]
async fn a_server_is_told_how_long_the_other_one_waits() {
    let server = Scripted::start(|number, request| {
        let (_, json) = request.split_once("\r\n\r\n").unwrap();
        let request: OperatorRequest = serde_json::from_str(json).unwrap();
        match number {
            // As the service has said it.
            0 => assert_eq!(request.patience, None),
            1 => assert_eq!(request.patience, Some(2 * LONG)),
            // Less, as some time has gone with the server tried before.
            _ => assert!(request.patience.unwrap() < LONG),
        }
        Turn::Answer(answer(Err(ErrorKind::NoLeader.into())))
    })
    .await;
    let dead = nobody().await;
    for uris in [&[server.uri.as_str()][..], &[&dead, &server.uri]] {
        for patience in [None, Some(2 * LONG)] {
            let mut request = read();
            request.patience = patience;
            let peers = peers_of(uris);
            let error = peers.send(&dc2(), request, LONG).await.unwrap_err();
            assert_eq!(error.kind(), &ErrorKind::NoLeader);
        }
    }
    assert_eq!(server.requests(), 4);
}

#[tokio::test]
async fn a_peer_stands_beside_other_routes_or_alone() {
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
    // Behind a proxy that does not take its prefix off.
    let error = ask(&peers_of(&[&format!("{uri}/dc2")]), read()).await;
    assert!(error.unwrap_err().to_string().contains("HTTP 404"));
}
