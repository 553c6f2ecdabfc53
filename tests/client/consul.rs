//! The client against texts that real Consul servers answer.

use cluster_operator::acl::{Access, Identity, Resource};
use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator::raft::{Consistency, PeerSelector};
use cluster_operator::{ErrorKind, Outcome, ServerId, Token};

use super::key;
use super::socket::{Scripted, Turn, http};

/// A server that answers each request so.
async fn refusing(status: u16, text: &str) -> (Scripted, OperatorClient) {
    let answer = http(status, "text/plain; charset=utf-8", text);
    let server = Scripted::always(move || Turn::Answer(answer.clone())).await;
    let client = OperatorClient::new(server.uri.parse().unwrap());
    (server, client)
}

fn carol() -> PeerSelector {
    PeerSelector::Address("127.0.0.3:8300".into())
}

async fn removal(client: &OperatorClient) -> ClientError {
    client.remove_peer(&carol(), None).await.unwrap_err()
}

/// The errors of a change of the keyring, for each of them.
async fn changes(client: &OperatorClient) -> [ClientError; 3] {
    [
        client.install_key(&key(1)).await.unwrap_err(),
        client.use_key(&key(1)).await.unwrap_err(),
        client.remove_key(&key(1)).await.unwrap_err(),
    ]
}

#[track_caller]
fn assert_error(error: &ClientError, kind: &str, outcome: Outcome, advice: &str) {
    assert_eq!(error.kind().name(), kind, "{error}");
    assert_eq!(error.outcome(), outcome, "{error}");
    let given = error.advice().unwrap();
    assert!(given.contains(advice), "{error}");
    assert!(error.to_string().contains(given), "{error}");
}

#[tokio::test]
async fn client_agent_that_refuses_is_recognized() {
    let text = "keyring operations must run against a server node";
    let (_server, client) = refusing(500, text).await;
    let advice = "ask a server, not a client agent";
    for error in changes(&client).await {
        assert_error(&error, "unsupported", Outcome::NotApplied, advice);
    }
    let error = client.list_keys().await.unwrap_err();
    assert_error(&error, "unsupported", Outcome::NotApplied, advice);

    let (_server, client) = refusing(500, "No known Consul servers").await;
    let error = removal(&client).await;
    assert_error(&error, "unreachable", Outcome::NotApplied, "client agent");
    let error = client.use_key(&key(1)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

#[tokio::test]
async fn condition_on_an_index_of_zero_is_refused() {
    let configuration = http(200, "application/json", r#"{"Servers":[],"Index":0}"#);
    let server = Scripted::always(move || Turn::Answer(configuration.clone())).await;
    let client = OperatorClient::new(server.uri.parse().unwrap());
    for expected in [0, 7] {
        let error = client.remove_peer(&carol(), Some(expected)).await;
        let advice = "remove without a condition";
        assert_error(
            &error.unwrap_err(),
            "unsupported",
            Outcome::NotApplied,
            advice,
        );
    }
    // The configuration was read twice, and nothing was removed.
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn datacenter_without_a_reachable_server_is_unreachable() {
    let text = "Remote DC has no server currently reachable";
    let (_server, client) = refusing(500, text).await;
    let error = removal(&client.clone().in_datacenter("dc2")).await;
    assert_error(&error, "unreachable", Outcome::NotApplied, "a server of it");
    let ErrorKind::Unreachable { target, .. } = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(target, "datacenter dc2");
    // The local rings have changed by then.
    for error in changes(&client).await {
        assert_error(&error, "unreachable", Outcome::Unknown, "joined to the WAN");
    }
}

#[tokio::test]
async fn removal_whose_leader_was_not_connected_is_not_applied() {
    for (text, outcome) in [
        (
            "rpc error getting client: failed to get conn: dial tcp 127.0.0.4:0->127.0.0.2:8300: \
             connect: connection refused",
            Outcome::NotApplied,
        ),
        (
            "rpc error: failed to get conn: dial tcp 127.0.0.1:8300: connect: connection refused",
            Outcome::NotApplied,
        ),
        (
            "rpc error making call: rpc error getting client: failed to get conn: i/o timeout",
            Outcome::NotApplied,
        ),
        ("rpc error making call: stream closed", Outcome::Unknown),
        ("rpc error making call: EOF", Outcome::Unknown),
        ("rpc error: EOF", Outcome::Unknown),
    ] {
        let (_server, client) = refusing(500, text).await;
        let advice = "reach each other";
        assert_error(&removal(&client).await, "unreachable", outcome, advice);
        for error in changes(&client).await {
            assert_error(&error, "unreachable", Outcome::Unknown, advice);
        }
    }
}

#[tokio::test]
async fn removal_without_a_tracked_leader_is_not_applied() {
    for (text, kind) in [
        (
            "Raft leader not found in server lookup mapping",
            "unreachable",
        ),
        (
            "rpc error making call: node is not the leader",
            "not-leader",
        ),
        ("rpc error making call: No cluster leader", "no-leader"),
        ("RPC rate limit exceeded", "unavailable"),
        ("Cannot resolve root ACL", "unknown-token"),
    ] {
        let (_server, client) = refusing(500, text).await;
        let error = removal(&client).await;
        assert_eq!(error.kind().name(), kind, "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
        assert!(error.advice().is_some());
    }
    let (_server, client) = refusing(500, "leadership lost while committing log").await;
    let error = removal(&client).await;
    assert_error(&error, "not-leader", Outcome::Unknown, "leader is elected");
}

#[tokio::test]
async fn failed_listing_has_advice_for_a_listing() {
    for text in [
        "1 error occurred:\n\t* WAN error: 3/4 nodes reported success\n\n",
        "2 error(s) occurred:\n\n* 2/3 nodes reported success\n* 1/1 nodes reported failure",
    ] {
        let (_server, client) = refusing(500, text).await;
        let error = client.list_keys().await.unwrap_err();
        let advice = "list again in a minute";
        assert_error(&error, "rings-failed", Outcome::NotApplied, advice);
        let error = client.install_key(&key(1)).await.unwrap_err();
        let advice = "repeat it for the rest";
        assert_error(&error, "rings-failed", Outcome::Unknown, advice);
    }
}

/// The refusals of two datacenters whose nodes all give this reason.
fn refused_everywhere(reason: &str) -> String {
    format!(
        "8 errors occurred:\n\t* WAN error: 2/2 nodes reported failure\n\t* alice.dc1: {reason}\n\
         \t* dave.dc2: {reason}\n\t* dc1 (LAN) error: 1/1 nodes reported failure\n\
         \t* alice: {reason}\n\t* dc2 (LAN) error: 1/1 nodes reported failure\n\
         \t* dave: {reason}\n\n"
    )
}

const PRIMARY: &str = "Removing the primary key is not allowed";
const NOT_INSTALLED: &str = "Requested key is not in the keyring";

#[tokio::test]
async fn change_that_all_nodes_refuse_is_not_applied() {
    let (_server, client) = refusing(500, &refused_everywhere(PRIMARY)).await;
    let error = client.remove_key(&key(1)).await.unwrap_err();
    let advice = "use another key first";
    assert_error(&error, "rings-failed", Outcome::NotApplied, advice);

    let (_server, client) = refusing(500, &refused_everywhere(NOT_INSTALLED)).await;
    let error = client.use_key(&key(1)).await.unwrap_err();
    let advice = "install the key first";
    assert_error(&error, "rings-failed", Outcome::NotApplied, advice);
}

#[tokio::test]
async fn change_that_a_ring_may_have_made_is_unknown() {
    let whole = refused_everywhere(PRIMARY);
    let without = |part: &str| whole.replace(part, "");
    for text in [
        // The rings that are not named have changed.
        without("\t* dc2 (LAN) error: 1/1 nodes reported failure\n")
            .replace(&format!("\t* dave: {PRIMARY}\n"), ""),
        without("\t* WAN error: 2/2 nodes reported failure\n"),
        // A node has not refused, or for another reason.
        whole.replace("2/2 nodes", "1/2 nodes"),
        without(&format!("\t* dave.dc2: {PRIMARY}\n")),
        whole.replace(&format!("dave.dc2: {PRIMARY}"), "dave.dc2: disk full"),
        whole.replace("dc2 (LAN)", "dc2 (LAN) [segment: s]"),
        "3 error(s) occurred:\n\n* 2/2 nodes reported failure\n* 1/1 nodes reported failure".into(),
    ] {
        let (_server, client) = refusing(500, &text).await;
        let error = client.remove_key(&key(1)).await.unwrap_err();
        assert_eq!(error.kind().name(), "rings-failed", "{text}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{text}");
        assert!(error.advice().unwrap().contains("key"), "{error}");
    }
}

#[tokio::test]
async fn refusal_of_many_nodes_is_read_to_its_end() {
    let nodes = 100;
    let mut text = format!("WAN error: {nodes}/{nodes} nodes reported failure\n\t* ");
    for node in 0..nodes {
        text += &format!("node-{node}.dc1: {NOT_INSTALLED}\n\t* ");
    }
    text += "dc1 (LAN) error: 1/1 nodes reported failure\n\t* ";
    let text = format!("103 errors occurred:\n\t* {text}node-1: {NOT_INSTALLED}\n\n");
    let (_server, client) = refusing(500, &text).await;
    let error = client.use_key(&key(1)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(error.message().len() < text.len());
}

#[tokio::test]
async fn encryption_that_is_off_is_a_kind_of_its_own() {
    let advice = "start every node with a gossip key";
    let off = refused_everywhere("No keyring to modify (encryption not enabled)");
    let (_server, client) = refusing(500, &off).await;
    for error in changes(&client).await {
        assert_error(&error, "encryption-off", Outcome::NotApplied, advice);
    }
    let off = refused_everywhere("Keyring is empty (encryption not enabled)");
    let (_server, client) = refusing(500, &off).await;
    let error = client.list_keys().await.unwrap_err();
    assert_error(&error, "encryption-off", Outcome::NotApplied, advice);
}

#[tokio::test]
async fn denial_names_the_permission_of_the_operation() {
    for text in [
        "Permission denied",
        "rpc error making call: Permission denied",
    ] {
        let (_server, client) = refusing(403, text).await;
        let error = removal(&client).await;
        assert_eq!(
            error.advice(),
            Some("use a token whose policy has `operator = \"write\"`")
        );
        let error = client.raft_configuration(Consistency::Default).await;
        let error = error.unwrap_err();
        assert_eq!(
            error.advice(),
            Some("use a token whose policy has `operator = \"read\"`")
        );
        let error = client.list_keys().await.unwrap_err();
        assert_eq!(
            error.advice(),
            Some("use a token whose policy has `keyring = \"read\"`")
        );
    }
    // Consul 1.12 and later name it.
    let text = "Permission denied: token with AccessorID '6a12' lacks permission 'operator:read'";
    let (_server, client) = refusing(403, text).await;
    let client = client.with_token(&Token::new("b852fbe7")).unwrap();
    let error = removal(&client).await;
    let ErrorKind::PermissionDenied {
        resource: Resource::Operator,
        access: Access::Read,
        identity: Identity::Accessor(accessor),
    } = error.kind()
    else {
        panic!("{error:?}");
    };
    assert_eq!(accessor.as_str(), "6a12");
    assert!(error.advice().unwrap().contains("`operator = \"read\"`"));
}

#[tokio::test]
async fn agent_that_blocks_the_endpoint_denies_no_token() {
    for (text, advice) in [
        ("Endpoint is blocked by agent configuration", "http_config"),
        ("Access is restricted", "allow_write_http_from"),
    ] {
        let (_server, client) = refusing(403, text).await;
        for error in changes(&client).await {
            assert_error(&error, "unsupported", Outcome::NotApplied, advice);
        }
    }
}

#[tokio::test]
async fn transfer_that_consul_refuses_is_not_applied() {
    let alice = ServerId::from("616c6963-0000-4000-8000-000000000001");
    for (text, kind, advice) in [
        ("cannot find peer", "no-transfer-target", "add a voter"),
        (
            "cannot transfer leadership to itself",
            "already-leader",
            "another voter",
        ),
        (
            "Could not find address for server id 616c6963-0000-4000-8000-000000000001",
            "unknown-server",
            "that it is up",
        ),
        (
            "rpc error making call: cannot find replication state for 616c6963",
            "unknown-server",
            "Raft configuration",
        ),
    ] {
        let (_server, client) = refusing(500, text).await;
        let error = client.transfer_leadership(Some(&alice)).await.unwrap_err();
        assert_error(&error, kind, Outcome::NotApplied, advice);
    }
    let (_server, client) = refusing(500, "leadership transfer timeout").await;
    let error = client.transfer_leadership(None).await.unwrap_err();
    assert_error(&error, "backend", Outcome::Unknown, "which server leads");
}

/// A server of dc1 that ignores the datacenter of a transfer, as Consul 1.17 does. The
/// servers have these ids in dc1 and in dc2.
async fn ignoring_the_datacenter(dc1: &[&str], dc2: &[&str]) -> Scripted {
    let configuration = |datacenter: &str, ids: &[&str]| {
        let servers: Vec<_> = ids
            .iter()
            .map(|id| {
                format!(
                    r#"{{"ID":"{id}","Node":"{id}","Address":"{id}.{datacenter}:8300","Leader":false,"Voter":true}}"#
                )
            })
            .collect();
        let json = format!(r#"{{"Servers":[{}],"Index":0}}"#, servers.join(","));
        http(200, "application/json", &json)
    };
    let dc1 = configuration("dc1", dc1);
    let dc2 = configuration("dc2", dc2);
    Scripted::start(move |_, request| {
        let line = request.lines().next().unwrap();
        Turn::Answer(if line.contains("GET /v1/operator/ ") {
            let text = "Invalid URL path: not a recognized HTTP API endpoint\n";
            http(404, "text/plain; charset=utf-8", text)
        } else if line.starts_with("GET") {
            if line.contains("dc=dc2") { &dc2 } else { &dc1 }.clone()
        } else {
            http(200, "application/json", r#"{"Success":true}"#)
        })
    })
    .await
}

#[tokio::test]
async fn transfer_elsewhere_keeps_the_local_leader() {
    let server = ignoring_the_datacenter(&["a", "b", "both"], &["d", "both"]).await;
    let client = OperatorClient::new(server.uri.parse().unwrap());
    let there = client.clone().in_datacenter("dc2");
    for to in [None, Some("both".into()), Some(ServerId::from("d"))] {
        let before = server.requests();
        let error = there.transfer_leadership(to.as_ref()).await.unwrap_err();
        assert_eq!(error.kind().name(), "invalid-request", "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(error.to_string().contains("a server of that datacenter"));
        assert_eq!(server.requests(), before + 3, "three reads");
    }

    // Its own datacenter is what such a server transfers.
    let here = client.clone().in_datacenter("dc1");
    here.transfer_leadership(None).await.unwrap();
    client.transfer_leadership(None).await.unwrap();
}

#[tokio::test]
async fn transfer_tells_datacenters_with_equal_ids_apart() {
    let ids = ["1", "2", "3"];
    let server = ignoring_the_datacenter(&ids, &ids).await;
    let client = OperatorClient::new(server.uri.parse().unwrap());
    let there = client.clone().in_datacenter("dc2");
    let error = there.transfer_leadership(None).await.unwrap_err();
    assert_eq!(error.kind().name(), "invalid-request", "{error}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let here = client.in_datacenter("dc1");
    here.transfer_leadership(None).await.unwrap();
}

#[tokio::test]
async fn rate_limit_is_not_read_as_health() {
    let text = "rate limit exceeded, try again later or against a different server";
    let (_server, client) = refusing(429, text).await;
    let error = client.autopilot_health().await.unwrap_err();
    assert_error(&error, "unavailable", Outcome::NotApplied, "try again");
}
