//! How the client reads error answers: texts, problem documents, rings and headers.

use cluster_operator::client::{ClientError, OperatorClient};
use cluster_operator::raft::PeerSelector;
use cluster_operator::{ErrorKind, Outcome, Token};

use super::key;
use super::socket::{Scripted, Turn, http};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// A client of a server that gives this answer to every request.
async fn answering(answer: Vec<u8>) -> (Scripted, OperatorClient) {
    let server = Scripted::always(move || Turn::Answer(answer.clone())).await;
    let client = OperatorClient::new(server.uri.parse().unwrap());
    (server, client.with_token(&Token::new("hunter2")).unwrap())
}

/// The errors of a removal, of a change of the keyring and of a listing.
async fn errors(answer: Vec<u8>) -> [ClientError; 3] {
    let (_server, client) = answering(answer).await;
    let carol = PeerSelector::Id("carol".into());
    [
        client.remove_peer(&carol, None).await.unwrap_err(),
        client.install_key(&key(7)).await.unwrap_err(),
        client.list_keys().await.unwrap_err(),
    ]
}

use Outcome::{NotApplied, Unknown};

#[tokio::test]
async fn outcome_follows_from_status_text_and_operation() {
    let remote_denial = "rpc error making call: Permission denied";
    let lost = "leadership lost while committing log";
    for (status, text, outcomes) in [
        (403, "Permission denied", [NotApplied, NotApplied]),
        // The local rings have changed before the other datacenter refused.
        (403, remote_denial, [NotApplied, Unknown]),
        (500, "No path to datacenter", [NotApplied, Unknown]),
        (500, lost, [Unknown, Unknown]),
        (404, "", [NotApplied, NotApplied]),
        (500, "", [Unknown, Unknown]),
        (501, "", [NotApplied, NotApplied]),
        (502, "", [Unknown, Unknown]),
        (503, "", [Unknown, Unknown]),
        (504, "", [Unknown, Unknown]),
    ] {
        let [removal, change, listing] = errors(http(status, "text/plain", text)).await;
        let found = [removal.outcome(), change.outcome()];
        assert_eq!(found, outcomes, "{status} {text}");
        assert_eq!(listing.outcome(), NotApplied);
    }
}

#[tokio::test]
async fn long_text_is_cut_and_secrets_are_left_out() {
    let long = format!("no hunter2 here: {}", "é".repeat(4096));
    for error in errors(http(500, "text/plain", &long)).await {
        assert!(error.message().starts_with("no .. here: é"));
        assert!(error.message().ends_with(" ..."));
        assert!(error.message().len() < 4200);
    }
}

#[tokio::test]
async fn kind_holds_no_longer_text_than_the_message() {
    let long = format!("rpc error: stream closed {}", "x".repeat(9000));
    let numbers = format!(
        "* WAN error: {0}/{0} nodes reported failure\n* dc1 (LAN) error: {0}/{0} nodes reported \
         failure",
        usize::MAX
    );
    for text in [long, numbers] {
        for error in errors(http(500, "text/plain", &text)).await {
            assert!(format!("{error:?}").len() < 9000, "{error}");
        }
    }
}

#[tokio::test]
async fn escaped_secrets_are_left_out() {
    let rings = r#"[{"WAN":true,"Datacenter":"hunter\u0032","Keys":{},"NumNodes":1,
        "Messages":{"hunter\u0032":"h\u0075nter2"},"Error":"\u0068unter2"}]"#;
    let problem = r#"{"detail":"hun\u0074er2","kind":"backend","data":{"message":"hunte\u00722"}}"#;
    for (content_type, body) in [(JSON, rings), (PROBLEM, problem)] {
        let [_, change, _] = errors(http(500, content_type, body)).await;
        assert!(change.message().contains(".."));
        assert!(!format!("{change} {change:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn rings_are_read_for_keyring_operations_only() {
    let ring = r#"[{"WAN":true,"Datacenter":"dc1","Keys":{},"NumNodes":1,
        "Error":"1/1 nodes reported failure","Outcome":"not-applied"}]"#;
    let [removal, change, _] = errors(http(500, JSON, ring)).await;
    assert_eq!(
        (removal.kind().name(), removal.outcome()),
        ("backend", Unknown)
    );
    assert_eq!(
        (change.kind().name(), change.outcome()),
        ("rings-failed", NotApplied)
    );
    assert_eq!(change.rings().len(), 1);
    let [_, change, _] = errors(http(500, JSON, "[]")).await;
    assert_eq!(
        (change.kind().name(), change.outcome()),
        ("backend", Unknown)
    );
}

#[tokio::test]
async fn problem_document_is_the_servers_error() {
    let body = r#"{"type":"about:blank","title":"Conflict","status":409,
        "detail":"removing this voter would ...","outcome":"not-applied",
        "kind":"quorum-loss","data":{"voters":3,"alive":1,"needed":2}}"#;
    let [removal, ..] = errors(http(409, PROBLEM, body)).await;
    let kind = ErrorKind::QuorumLoss {
        voters: 3,
        alive: 1,
        needed: 2,
    };
    assert_eq!((removal.kind(), removal.outcome()), (&kind, NotApplied));
    assert_eq!(removal.advice(), None);
    assert_eq!(
        removal.to_string(),
        "removing this voter would ... (HTTP 409)"
    );
}

#[tokio::test]
async fn unknown_kind_is_a_backend_error_with_its_text() {
    let body = r#"{"detail":"the plan is stale","outcome":"applied","kind":"stale-plan",
        "data":{"plan":7}}"#;
    let [removal, ..] = errors(http(409, PROBLEM, body)).await;
    let message = "the plan is stale".into();
    assert_eq!(removal.kind(), &ErrorKind::Backend { message });
    assert_eq!(removal.outcome(), Outcome::Applied);
}

#[tokio::test]
async fn header_names_the_kind_without_a_document() {
    // A kind that has data is concluded from the rest.
    for (named, kind) in [("no-leader", "no-leader"), ("quorum-loss", "unavailable")] {
        let answer =
            format!("HTTP/1.1 503 X\r\nX-Operator-Error: {named}\r\nContent-Length: 4\r\n\r\n<h1>");
        let [removal, ..] = errors(answer.into_bytes()).await;
        assert_eq!(removal.kind().name(), kind);
    }
}
