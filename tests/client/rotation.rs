//! Rotations and diagnoses over HTTP: of this library's servers in every dialect, and of
//! stand-ins for Consul, which name the members of their gossip.

use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::routing::get;
use cluster_operator::client::{OperatorClient, Servers};
use cluster_operator::consul::Dialect;
use cluster_operator::diagnosis::{Diagnosis, FindingKind, Health, ServerState};
use cluster_operator::mock::{Calls, Fault, MockFederation, MockFederationBuilder, NodeFault};
use cluster_operator::raft::PeerSelector;
use cluster_operator::rotation::{
    Absent, Rings, RotationEvent, RotationFault, RotationOptions, RotationStep, Unverified, repair,
    rotate_with,
};
use cluster_operator::server::OperatorHttp;
use cluster_operator::service::Caller;
use cluster_operator::{AllowAll, NodeName, Pool};
use serde_json::json;
use tokio::net::TcpListener;

use super::fleet::Fleet;
use super::key;
use super::socket::nobody;

const DIALECTS: [Dialect; 4] = [
    Dialect::Precise,
    Dialect::Consul1_17,
    Dialect::Consul1_10,
    Dialect::Consul0_7,
];

/// Alice, who leads, bob and carol in dc1, and dave in dc2.
fn builder() -> MockFederationBuilder {
    MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave"])
        .gossip_key(key(1))
}

async fn start(app: Router) -> OperatorClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    OperatorClient::new(uri.parse().unwrap())
}

async fn serve(federation: &MockFederation, server: &str, dialect: Dialect) -> OperatorClient {
    let endpoints = OperatorHttp::new(federation.service(server)).with_dialect(dialect);
    start(Router::new().fallback_service(endpoints)).await
}

/// A stand-in for a server of Consul, with the members of its agent. `datacenter` is its
/// own.
async fn consul(
    federation: &MockFederation,
    server: &str,
    datacenter: &'static str,
    dialect: Dialect,
) -> OperatorClient {
    let endpoints = OperatorHttp::new(federation.service(server)).with_dialect(dialect);
    let federation = federation.clone();
    let members = move |RawQuery(query): RawQuery| {
        let wan = query.is_some_and(|query| query.contains("wan=1"));
        let datacenters = federation.datacenters().into_iter();
        let datacenters = datacenters.filter(|name| wan || *name == datacenter);
        let members = datacenters.flat_map(|name| {
            let servers = federation.servers(name.clone());
            servers
                .into_iter()
                .map(move |server| (name.clone(), server))
        });
        let members: Vec<_> = members
            .map(|(datacenter, server)| {
                let status = if federation.is_up(server.clone()) {
                    1
                } else {
                    4
                };
                let name = match wan {
                    true => format!("{server}.{datacenter}"),
                    false => server.to_string(),
                };
                json!({
                    "Name": name,
                    "Addr": "127.0.0.1",
                    "Port": 8301,
                    "Tags": {"dc": datacenter, "role": "consul"},
                    "Status": status,
                    "ProtocolMin": 1,
                })
            })
            .collect();
        std::future::ready(axum::Json(members))
    };
    let app = Router::new().route("/v1/agent/members", get(members));
    start(app.fallback_service(endpoints)).await
}

fn assert_rotated(federation: &MockFederation, servers: &[&str]) {
    for server in servers {
        for pool in [Pool::Wan, Pool::Lan] {
            assert_eq!(federation.keys(*server, &pool), [key(2)], "{server} {pool}");
        }
    }
}

const ALL: [&str; 4] = ["alice", "bob", "carol", "dave"];

#[tokio::test]
async fn client_rotates_in_every_dialect() {
    for dialect in DIALECTS {
        let federation = builder().build();
        let client = serve(&federation, "bob", dialect).await;
        let mut steps = Vec::new();
        let mut text = String::new();
        let (new_key, options) = (key(2), RotationOptions::default());
        let rotation = rotate_with(&client, &new_key, &options, |event| {
            text += &format!("{event:?}");
            if let RotationEvent::Step(step) = event {
                steps.push(step);
            }
        });
        let rotation = rotation.await.unwrap();
        assert_eq!(steps, RotationStep::ALL, "{dialect:?}");
        assert_eq!((rotation.removed, rotation.rings.len()), (1, 3));
        assert_rotated(&federation, &ALL);
        let (mut primaries, mut members) = (0, 0);
        for unverified in &rotation.unverified {
            match unverified {
                Unverified::Primary(..) => primaries += 1,
                Unverified::Members(..) => members += 1,
                other => panic!("{other}"),
            }
        }
        // Nothing names the failed members of a server that answers as Consul and has no
        // agent's members.
        let expected = match dialect {
            Dialect::Precise => (0, 0),
            Dialect::Consul0_7 => (3, 3),
            _ => (0, 3),
        };
        assert_eq!((primaries, members), expected, "{dialect:?}");
        for byte in [1, 2] {
            assert!(!text.contains(&key(byte).to_base64()[..8]));
        }
        let again = rotate_with(&client, &key(2), &options, |_| {}).await;
        assert_eq!(again.unwrap().removed, 0);
    }
}

#[tokio::test]
async fn client_refuses_while_a_member_is_down() {
    let federation = builder().build();
    federation.stop("carol");
    let options = RotationOptions::default();
    let carol =
        |pool, name: &str| RotationFault::NodeAbsent("dc1".into(), pool, NodeName::from(name));
    let expected = carol(Pool::Wan, "carol.dc1");
    // A server of this library names it in its listing, Consul in its members.
    for client in [
        serve(&federation, "alice", Dialect::Precise).await,
        consul(&federation, "alice", "dc1", Dialect::Consul1_10).await,
        consul(&federation, "alice", "dc1", Dialect::Consul0_7).await,
    ] {
        let error = rotate_with(&client, &key(2), &options, |_| {}).await;
        let error = error.unwrap_err();
        assert_eq!((error.step, &error.reason), (RotationStep::Look, &expected));
        assert_eq!(federation.keys("alice", &Pool::Lan), [key(1)]);

        let left = RotationOptions::default().absent(Absent::LeaveBehind);
        let rotation = rotate_with(&client, &key(1), &left, |_| {}).await.unwrap();
        let left: Vec<_> = rotation
            .left_behind()
            .map(|(_, node)| node.as_str())
            .collect();
        assert_eq!(left, ["carol.dc1", "carol"]);
    }
}

#[tokio::test]
async fn member_that_nobody_names_is_unverified_or_expected() {
    let federation = builder().build();
    let client = consul(&federation, "alice", "dc1", Dialect::Consul1_10).await;
    let options = RotationOptions::default();
    let rotation = rotate_with(&client, &key(2), &options, |_| {})
        .await
        .unwrap();
    let dc2 = [Unverified::Members("dc2".into(), Pool::Lan)];
    assert_eq!(rotation.unverified, dc2);
    // A server of dc2 knows its members.
    let dave = consul(&federation, "dave", "dc2", Dialect::Consul1_10).await;
    let servers = Servers::new([client.clone(), dave]);
    let rotation = rotate_with(&servers, &key(2), &options, |_| {})
        .await
        .unwrap();
    assert_eq!(rotation.unverified, []);
    // So does the caller.
    let options = options.expect("dc2", Pool::Lan, ["dave"]);
    let rotation = rotate_with(&client, &key(2), &options, |_| {})
        .await
        .unwrap();
    assert_eq!(rotation.unverified, []);
    let options = RotationOptions::default().expect("dc2", Pool::Lan, ["dave", "erin"]);
    let error = rotate_with(&client, &key(2), &options, |_| {}).await;
    let lost = RotationFault::NodeLost("dc2".into(), Pool::Lan);
    assert_eq!(error.unwrap_err().reason, lost);
}

#[tokio::test]
async fn members_that_the_token_may_not_read_are_unverified() {
    let federation = builder().build();
    let some = r#"[{"Name": "alice", "Status": 1, "Tags": {"dc": "dc1"}}]"#;
    for (status, body) in [
        (StatusCode::OK, "[]"),
        (StatusCode::OK, "null"),
        (StatusCode::OK, some),
        (StatusCode::FORBIDDEN, "no"),
    ] {
        let endpoints = OperatorHttp::new(federation.service("alice"));
        let endpoints = endpoints.with_dialect(Dialect::Consul1_10);
        let app = Router::new()
            .route(
                "/v1/agent/members",
                get(move || std::future::ready((status, body))),
            )
            .fallback_service(endpoints);
        let client = start(app).await;
        let options = RotationOptions::default();
        let rotation = rotate_with(&client, &key(2), &options, |_| {})
            .await
            .unwrap();
        assert_eq!(rotation.unverified.len(), 3, "{:?}", rotation.unverified);
        let text = rotation.unverified[0].to_string();
        assert!(text.contains("a token that may read its nodes"), "{text}");
    }
}

#[tokio::test]
async fn wan_rings_of_servers_that_are_not_joined_all_rotate() {
    // Consul 0.7 gives each server a WAN ring of its own.
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob"])
        .wan_pools([["alice"], ["bob"]])
        .gossip_key(key(1))
        .build();
    let alice = serve(&federation, "alice", Dialect::Consul0_7).await;
    let bob = serve(&federation, "bob", Dialect::Consul0_7).await;
    let servers = Servers::new([alice, bob]);
    let options = RotationOptions::default();
    rotate_with(&servers, &key(2), &options, |_| {})
        .await
        .unwrap();
    assert_rotated(&federation, &["alice", "bob"]);
}

#[tokio::test]
async fn failed_step_says_what_consul_said() {
    let federation = builder().build();
    federation.inject(Fault::node("bob", Pool::Lan, NodeFault::Refuses));
    for dialect in DIALECTS {
        let client = serve(&federation, "alice", dialect).await;
        let options = RotationOptions::default();
        let error = rotate_with(&client, &key(2), &options, |_| {}).await;
        let error = error.unwrap_err();
        assert_eq!(error.step, RotationStep::Install, "{error}");
        assert!(!error.is_past_return());
        let text = error.to_string();
        assert!(text.contains("1/3 nodes reported failure"), "{text}");
        assert_eq!(federation.keys("alice", &Pool::Lan)[0], key(1));
    }
}

#[tokio::test]
async fn client_waits_until_the_listing_is_whole() {
    let federation = builder().notices_failures(false).build();
    federation.stop("carol");
    // The listing of Consul fails as a whole while the failure is not noticed.
    let client = consul(&federation, "alice", "dc1", Dialect::Consul1_10).await;
    let wait = Absent::Wait(std::time::Duration::from_secs(60));
    let options = RotationOptions::default().absent(wait);
    let mut waits = 0;
    let new_key = key(2);
    let rotation = rotate_with(&client, &new_key, &options, |event| {
        if let RotationEvent::Waiting { error, .. } = event {
            assert!(matches!(error.reason, RotationFault::Refused(_)), "{error}");
            waits += 1;
            federation.restart("carol");
        }
    });
    rotation.await.unwrap();
    assert_eq!(waits, 1);
    assert_rotated(&federation, &ALL);
}

#[tokio::test]
async fn node_left_behind_is_repaired_over_http() {
    for dialect in DIALECTS {
        let federation = MockFederation::builder()
            .datacenter("dc1", ["alice", "bob", "carol"])
            .gossip_key(key(1))
            .build();
        federation.stop("carol");
        let alice = serve(&federation, "alice", dialect).await;
        let left = RotationOptions::default().absent(Absent::LeaveBehind);
        let rotation = rotate_with(&alice, &key(2), &left, |_| {}).await;
        rotation.unwrap();
        federation.restart("carol");
        // It cannot join the others, so that it is alone in its rings.
        let alone = federation.inject(Fault::partition(["carol"], ["alice", "bob"]));
        let carol = serve(&federation, "carol", dialect).await;
        let repaired = repair(&carol, &alice, |_| {}).await.unwrap();
        assert!(repaired.changed);
        assert_eq!(repaired.rings[0].nodes, 1);
        federation.heal(alone);
        assert_rotated(&federation, &["alice", "bob", "carol"]);
        // The others count it again.
        let again = rotate_with(&alice, &key(2), &RotationOptions::default(), |_| {}).await;
        assert_eq!(again.unwrap().rings[1].nodes, 3);
    }
}

#[tokio::test]
async fn repair_changes_nothing_that_it_cannot_verify() {
    let federation = builder().notices_failures(false).build();
    federation.stop("carol");
    let carol = serve(&federation, "bob", Dialect::Consul1_10).await;
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    // Consul does not show a ring with a silent node.
    let error = repair(&carol, &alice, |_| {}).await.unwrap_err();
    assert_eq!(error.step, RotationStep::Look, "{error}");
    assert_eq!(federation.keys("bob", &Pool::Lan), [key(1)]);
}

fn kinds(diagnosis: &Diagnosis) -> Vec<FindingKind> {
    diagnosis.findings.iter().map(|it| it.kind).collect()
}

#[tokio::test]
async fn precise_server_makes_the_diagnosis() {
    let federation = builder().build();
    federation.stop("carol");
    let client = serve(&federation, "alice", Dialect::Precise).await;
    let diagnosis = client.diagnosis().await.unwrap();
    assert!(kinds(&diagnosis).contains(&FindingKind::DeadVoter));
    assert_eq!(diagnosis.datacenters[0].servers[2].health, Health::Failed);
    for dialect in [Dialect::Consul1_17, Dialect::Consul1_10, Dialect::Consul0_7] {
        let client = serve(&federation, "alice", dialect).await;
        let error = client.diagnosis().await.unwrap_err();
        assert_eq!(error.kind().name(), "unsupported");
    }
}

#[tokio::test]
async fn diagnosis_of_consul_compares_what_its_servers_show() {
    for dialect in [Dialect::Consul1_10, Dialect::Consul0_7] {
        let federation = builder().build();
        let alice = consul(&federation, "alice", "dc1", dialect).await;
        let bob = consul(&federation, "bob", "dc1", dialect).await;
        let dave = consul(&federation, "dave", "dc2", dialect).await;
        let nobody = OperatorClient::new(nobody().await.parse().unwrap());
        let servers = Servers::new([alice, bob, dave]);
        let diagnosis = servers.diagnose().await;
        // The only voter of dc2.
        assert_eq!(kinds(&diagnosis), [FindingKind::NoFailureTolerance]);
        let names: Vec<_> = diagnosis
            .datacenters
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        assert_eq!(names, ["dc1", "dc2"]);
        assert_eq!(diagnosis.rings.len(), 3);
        let shown = serde_json::to_string(&diagnosis).unwrap() + &format!("{diagnosis:?}");
        assert!(!shown.contains(&key(1).to_base64()[..8]));

        federation.stop("carol");
        federation.inject(Fault::stale_hint("bob", "bob"));
        let servers = Servers::new(servers.into_iter().chain([nobody]));
        let diagnosis = servers.diagnose().await;
        for kind in [
            FindingKind::TwoLeaders,
            FindingKind::DeadVoter,
            FindingKind::NodeFailed,
            FindingKind::ServerUnreachable,
        ] {
            assert!(
                kinds(&diagnosis).contains(&kind),
                "{kind:?}: {diagnosis:#?}"
            );
        }
    }
}

#[tokio::test]
async fn server_of_consul_in_gossip_and_not_in_raft_is_found() {
    let federation = builder().build();
    let client = consul(&federation, "alice", "dc1", Dialect::Consul1_10).await;
    let carol = federation.configuration("dc1").servers[2].clone();
    let carol = PeerSelector::Address(carol.address);
    client.remove_peer(&carol, None).await.unwrap();
    let diagnosis = Servers::new([client]).diagnose().await;
    let mut findings = diagnosis.findings.iter();
    let found = findings.find(|it| it.kind == FindingKind::GossipNotInRaft);
    assert_eq!(found.unwrap().subject.as_deref(), Some("carol"));
}

#[tokio::test]
async fn server_without_members_leaves_the_health_unknown() {
    let federation = builder().build();
    let client = serve(&federation, "alice", Dialect::Consul1_10).await;
    let diagnosis = Servers::new([client]).diagnose().await;
    assert_eq!(kinds(&diagnosis), [FindingKind::HealthUnknown]);
    assert!(diagnosis.is_healthy());
}

#[tokio::test]
async fn servers_ask_each_other_for_their_views_over_http() {
    let mut fleet = Fleet::start(|_| AllowAll).await;
    fleet.stop_listening("carol").await;
    let service = fleet.service("bob").clone();
    let diagnosis = service.diagnose(&Caller::anonymous()).await.unwrap();
    let [dc1, dc2] = &diagnosis.datacenters[..] else {
        panic!("{diagnosis:?}");
    };
    let answered = |servers: &[ServerState]| -> Vec<_> {
        servers.iter().map(|server| server.answered).collect()
    };
    assert_eq!(answered(&dc1.servers), [true, true, false]);
    assert_eq!(answered(&dc2.servers), [true, true]);
    let unreachable = FindingKind::ServerUnreachable;
    // Both voters of dc2 are needed.
    assert_eq!(
        kinds(&diagnosis),
        [unreachable, FindingKind::NoFailureTolerance]
    );
}

#[tokio::test]
async fn no_server_is_neither_rotated_nor_healthy() {
    let nobody = Servers::new([]);
    let options = RotationOptions::default();
    let error = rotate_with(&nobody, &key(2), &options, |_| {}).await;
    assert_eq!(error.unwrap_err().reason, RotationFault::Unconfirmed);
    let diagnosis = nobody.diagnose().await;
    assert!(!diagnosis.is_healthy());
    assert_eq!(diagnosis.findings.len(), 1, "{:?}", diagnosis.findings);
}

#[tokio::test]
async fn server_that_lists_no_ring_is_not_healthy() {
    let federation = builder().build();
    let endpoints = OperatorHttp::new(federation.service("alice"));
    let app = Router::new()
        .route(
            "/v1/operator/keyring",
            get(|| std::future::ready(axum::Json(json!(null)))),
        )
        .fallback_service(endpoints);
    let client = start(app).await;
    let options = RotationOptions::default();
    let error = rotate_with(&client, &key(2), &options, |_| {}).await;
    assert_eq!(error.unwrap_err().step, RotationStep::Look);
    let diagnosis = Servers::new([client]).diagnose().await;
    assert!(kinds(&diagnosis).contains(&FindingKind::RingUnreachable));
}

#[tokio::test]
async fn own_server_of_a_datacenter_is_asked_for_its_ring() {
    let federation = builder().build();
    federation.inject(Fault::refuse(Calls::all().from("alice").to("dave")));
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let dave = serve(&federation, "dave", Dialect::Precise).await;
    // In both orders.
    for servers in [[alice.clone(), dave.clone()], [dave, alice]] {
        let listed = Servers::new(servers).list().await.unwrap();
        let dc2 = listed.rings.iter().filter(|ring| ring.datacenter == "dc2");
        let dc2: Vec<_> = dc2.filter(|ring| ring.pool == Pool::Lan).collect();
        assert_eq!(dc2.len(), 1);
        assert!(dc2[0].is_confirmed(), "{:?}", dc2[0]);
    }
}

#[tokio::test]
async fn silent_node_is_a_warning_over_http_too() {
    let federation = builder().build();
    federation.inject(Fault::node("bob", Pool::Lan, NodeFault::Silent));
    let client = serve(&federation, "alice", Dialect::Precise).await;
    let messages = |diagnosis: &Diagnosis| -> Vec<_> {
        let findings = diagnosis.findings.iter();
        let of_rings = findings.filter(|it| {
            let kinds = [FindingKind::NodeSilent, FindingKind::RingUnreachable];
            kinds.contains(&it.kind)
        });
        of_rings.map(|it| it.message.clone()).collect()
    };
    let expected = ["1 of 3 nodes of the ring dc1 (LAN) did not answer: bob"];
    let by_server = client.diagnosis().await.unwrap();
    assert_eq!(messages(&by_server), expected);
    let by_client = Servers::new([client]).diagnose().await;
    assert_eq!(messages(&by_client), expected);
    assert_eq!(by_client.rings[1].responses, 2);
}

#[tokio::test]
async fn diagnosis_does_not_mix_datacenters() {
    let federation = builder().build();
    let alice = consul(&federation, "alice", "dc1", Dialect::Consul1_10).await;
    let diagnosis = Servers::new([alice.in_datacenter("dc2")]).diagnose().await;
    let [dc1] = &diagnosis.datacenters[..] else {
        panic!("{diagnosis:?}");
    };
    assert_eq!((dc1.name.as_str(), dc1.voters), ("dc1", 3));
}
