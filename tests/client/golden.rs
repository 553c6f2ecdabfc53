//! The client, against recorded answers of real Consul servers.

use std::path::Path;
use std::sync::{Arc, Mutex};

use cluster_operator::acl::Identity;
use cluster_operator::client::{ClientError, OperatorClient, RingListing};
use cluster_operator::raft::{Consistency, PeerSelector, RaftConfiguration};
use cluster_operator::{ErrorKind, Outcome, Pool, ServerId};
use serde_json::Value;

use super::key;
use super::recording::{self, Case};
use super::socket::{Scripted, Turn};

/// The recorded response as bytes.
fn bytes(case: &Case) -> Vec<u8> {
    let response = &case.response;
    let mut head = format!("HTTP/1.1 {} X\r\n", response.status);
    for (name, value) in &response.headers {
        if !name.eq_ignore_ascii_case("content-length") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", response.body.len()));
    [head.as_bytes(), response.body.as_bytes()].concat()
}

/// The client's result for a recorded response.
enum Outcomes {
    Configuration(Result<RaftConfiguration, ClientError>),
    Rings(Result<Vec<RingListing>, ClientError>),
    Done(Result<(), ClientError>),
}

fn peer() -> PeerSelector {
    PeerSelector::Address("127.0.0.1:8300".into())
}

/// Repeats the recorded operation; `None` for one that the client does not have.
async fn ask(client: &OperatorClient, case: &Case) -> Option<Outcomes> {
    let path = case.request.target.split('?').next().unwrap();
    Some(match (case.request.method.as_str(), path) {
        ("GET", "/v1/operator/raft/configuration") => {
            Outcomes::Configuration(client.raft_configuration(Consistency::Default).await)
        }
        ("DELETE", "/v1/operator/raft/peer") => {
            Outcomes::Done(client.remove_peer(&peer(), None).await)
        }
        ("POST", "/v1/operator/raft/transfer-leader") => {
            let id = case.request.target.split_once("id=").map(|(_, id)| id);
            let id = id.filter(|id| !id.is_empty()).map(ServerId::from);
            Outcomes::Done(client.transfer_leadership(id.as_ref()).await)
        }
        ("GET", "/v1/operator/keyring") => Outcomes::Rings(client.list_keys().await),
        ("POST", "/v1/operator/keyring") => Outcomes::Done(client.install_key(&key(1)).await),
        ("PUT", "/v1/operator/keyring") => Outcomes::Done(client.use_key(&key(1)).await),
        ("DELETE", "/v1/operator/keyring") => Outcomes::Done(client.remove_key(&key(1)).await),
        _ => return None,
    })
}

/// Replays every recorded exchange that the client could have had.
async fn replay(mut check: impl FnMut(&str, &Case, Outcomes)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let current = Arc::new(Mutex::new(Vec::new()));
    let shared = current.clone();
    let server = Scripted::always(move || Turn::Answer(shared.lock().unwrap().clone())).await;
    let client = OperatorClient::new(server.uri.parse().unwrap());
    for (file, recording) in recording::read(&folder) {
        for scenario in &recording.scenarios {
            for case in &scenario.cases {
                *current.lock().unwrap() = bytes(case);
                let case_name = format!("{file}, {}, {}", scenario.name, case.name);
                if let Some(outcome) = ask(&client, case).await {
                    check(&case_name, case, outcome);
                }
            }
        }
    }
}

#[tokio::test]
async fn every_recorded_success_is_understood() {
    let (mut configurations, mut listings, mut writes) = (0, 0, 0);
    replay(|case_name, case, outcome| {
        if case.response.status != 200 {
            return;
        }
        match outcome {
            Outcomes::Configuration(result) => {
                let read = result.unwrap_or_else(|error| panic!("{case_name}: {error}"));
                same_configuration(case_name, &read, &case.response.body);
                configurations += 1;
            }
            Outcomes::Rings(result) => {
                let read = result.unwrap_or_else(|error| panic!("{case_name}: {error}"));
                same_rings(case_name, &read, &case.response.body);
                listings += 1;
            }
            Outcomes::Done(result) => {
                result.unwrap_or_else(|error| panic!("{case_name}: {error}"));
                writes += 1;
            }
        }
    })
    .await;
    // The recordings were all there.
    assert!(configurations > 50 && listings > 30 && writes > 30);
}

fn same_configuration(case_name: &str, read: &RaftConfiguration, body: &str) {
    let json: Value = serde_json::from_str(body).unwrap();
    assert_eq!(json["Index"], read.index, "{case_name}");
    let none = Vec::new();
    let servers = json["Servers"].as_array().unwrap_or(&none);
    assert_eq!(servers.len(), read.servers.len(), "{case_name}");
    for (json, server) in servers.iter().zip(&read.servers) {
        assert_eq!(json["ID"], server.id.as_str(), "{case_name}");
        assert_eq!(json["Address"], server.address.as_str(), "{case_name}");
        assert_eq!(json["Leader"], server.leader, "{case_name}");
        assert_eq!(json["Voter"], server.is_voter(), "{case_name}");
        let name = server
            .name
            .as_ref()
            .map_or("(unknown)", |name| name.as_str());
        assert_eq!(json["Node"], name, "{case_name}");
    }
}

fn same_rings(case_name: &str, read: &[RingListing], body: &str) {
    let json: Value = serde_json::from_str(body).unwrap();
    let json = json.as_array().unwrap();
    assert_eq!(json.len(), read.len(), "{case_name}");
    for (json, ring) in json.iter().zip(read) {
        assert_eq!(json["WAN"], ring.pool == Pool::Wan, "{case_name}");
        assert_eq!(json["Datacenter"], ring.datacenter.as_str(), "{case_name}");
        assert_eq!(json["NumNodes"], ring.nodes, "{case_name}");
        for (name, counts) in [("Keys", &ring.keys), ("PrimaryKeys", &ring.primary_keys)] {
            let listed: Value = counts
                .iter()
                .map(|(key, count)| (key.to_base64().to_string(), count.into()))
                .collect::<serde_json::Map<_, _>>()
                .into();
            let absent = json.get(name).is_none();
            assert!(
                json[name] == listed || absent && counts.is_empty(),
                "{case_name}"
            );
        }
    }
}

#[tokio::test]
async fn every_recorded_refusal_is_typed() {
    let mut refusals = 0;
    replay(|case_name, case, outcome| {
        let error = match outcome {
            Outcomes::Configuration(Err(error))
            | Outcomes::Rings(Err(error))
            | Outcomes::Done(Err(error)) => error,
            _ => {
                assert_eq!(case.response.status, 200, "{case_name}");
                return;
            }
        };
        refusals += 1;
        let body = case.response.body.as_str();
        let text = |part: &str| body.contains(part);
        let write = case.request.method != "GET";
        let keyring = case.request.target.starts_with("/v1/operator/keyring");
        let (kind, refused) = match (case.response.status, body) {
            (400, _) => ("invalid-request", true),
            (301 | 404, _) => ("unsupported", true),
            (403, "ACL not found") => ("unknown-token", true),
            (403, _) => ("permission-denied", true),
            (500, "Reading keyring denied by ACLs" | "Modifying keyring denied due to ACLs") => {
                ("permission-denied", true)
            }
            (500, "cannot find peer") => ("no-transfer-target", true),
            (500, "cannot transfer leadership to itself") => ("already-leader", true),
            (500, _) if text("ould not find address for server id") => ("unknown-server", true),
            (500, _) if text("o cluster leader") => ("no-leader", true),
            (500, "No path to datacenter") => ("no-path-to-datacenter", !keyring),
            (500, _) if text("least one voter") => ("last-voter", true),
            (500, _) if text("not found in the Raft") => ("unknown-server", true),
            (500, _) if text("encryption not enabled") => ("encryption-off", true),
            (500, _) if text("is not in the keyring") || text("primary key is not allowed") => {
                ("rings-failed", true)
            }
            (500, _) if text("nodes reported") => ("rings-failed", false),
            (500, _) if text("failed to get conn") => ("unreachable", !keyring),
            (500, _) if text("closed") => ("unreachable", false),
            // The client cannot send a malformed key, nor a malformed query.
            (500, _) if body.is_empty() || text("illegal base64") => ("backend", false),
            _ => panic!("{case_name}: {error}"),
        };
        assert_eq!(error.kind().name(), kind, "{case_name}: {error}");
        match error.kind() {
            ErrorKind::UnknownServer(PeerSelector::Address(address)) => {
                assert_eq!(
                    PeerSelector::Address(address.clone()),
                    peer(),
                    "{case_name}"
                );
            }
            // The client has no token.
            ErrorKind::PermissionDenied { identity, .. } => {
                let named = text("AccessorID");
                assert_eq!(*identity == Identity::Anonymous, !named, "{case_name}");
            }
            _ => {}
        }
        assert_eq!(error.status(), Some(case.response.status));
        let outcome = if write && !refused {
            Outcome::Unknown
        } else {
            Outcome::NotApplied
        };
        assert_eq!(error.outcome(), outcome, "{case_name}: {error}");
        let message = body.trim();
        let message = if message.is_empty() {
            "the server does not say what is wrong"
        } else {
            message
        };
        assert_eq!(error.message(), message, "{case_name}");
        let advice = error.advice().unwrap();
        assert!(error.to_string().contains(advice), "{case_name}");
        // Nothing is to be repeated for the rest after a listing.
        assert!(write || !advice.contains("repeat"), "{case_name}: {advice}");
    })
    .await;
    assert!(refusals > 150, "{refusals}");
}
