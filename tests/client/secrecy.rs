//! No key, token or shared secret appears in an error or in `Debug`, whatever the
//! server answers.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use cluster_operator::client::{OperatorClient, Transport};
use cluster_operator::mock::MockRaft;
use cluster_operator::peer_http::{AddressBook, HttpPeers, PeerHttp, SharedSecret};
use cluster_operator::raft::{Consistency, PeerSelector};
use cluster_operator::{AllowAll, GossipKey, OperatorService, Token};

use super::socket::{Scripted, Turn, http, nobody};
use super::{concluded, install, peers_of, send, write};

const TOKEN: &str = "b852fbe7-9d1c-4a6b";
const SHARED: &str = "kW3mZ8qT5vXy1rJp0Lnb";

fn gossip_key() -> GossipKey {
    GossipKey::from_bytes(b"\xfb\xef\xbe\xff\xfe?>kEy-mAtEr").unwrap()
}

#[track_caller]
fn silent(text: &str) {
    let key = gossip_key().to_base64();
    for secret in [TOKEN, SHARED, &key, &key[..12], "kEy-mAt", "251, 239, 190"] {
        assert!(!text.contains(secret), "{secret} stands in: {text}");
    }
}

#[track_caller]
fn shows_nothing(value: &impl Debug) {
    silent(&format!("{value:?}"));
    silent(&format!("{value:#?}"));
}

#[track_caller]
fn says_nothing(error: &(impl Error + 'static)) {
    let mut error: Option<&dyn Error> = Some(error);
    while let Some(now) = error {
        silent(&format!("{now} {now:?} {now:#?}"));
        error = now.source();
    }
}

fn shared() -> SharedSecret {
    SharedSecret::new(SHARED).unwrap()
}

fn client(uri: &str) -> OperatorClient {
    OperatorClient::new(uri.parse().unwrap())
        .with_token(&Token::new(TOKEN))
        .unwrap()
        .with_deadline(Duration::from_millis(200))
}

#[test]
fn debug_of_a_holder_shows_no_secret() {
    let service = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    shows_nothing(&shared());
    shows_nothing(&PeerHttp::new(service).with_shared_secret(&shared()));
    shows_nothing(&HttpPeers::new(AddressBook::new()).with_shared_secret(shared()));
    shows_nothing(&AddressBook::new());
    shows_nothing(&Transport::tcp());
    shows_nothing(&client("http://127.0.0.1:8500"));
    says_nothing(&SharedSecret::new(&SHARED[..15]).unwrap_err());
    says_nothing(&SharedSecret::new(format!("{SHARED}\n")).unwrap_err());
    let client = OperatorClient::new("http://127.0.0.1:8500".parse().unwrap());
    says_nothing(
        &client
            .with_token(&Token::new(format!("{TOKEN}\n")))
            .unwrap_err(),
    );
}

/// Servers that echo the whole request, each in another format.
async fn echoes() -> Vec<Scripted> {
    let mut servers = Vec::new();
    for (status, content_type) in [
        (200, "application/json"),
        (200, "text/plain"),
        (400, "text/plain"),
        (401, "application/json"),
        (500, "text/plain"),
        (500, "application/json"),
        (503, "application/problem+json"),
    ] {
        for wrap in [
            |text: &str| text.to_owned(),
            |text: &str| serde_json::json!({ "Err": { "kind": text } }).to_string(),
            |text: &str| serde_json::json!({ "Ok": { text: 1 } }).to_string(),
            |text: &str| serde_json::json!({ "detail": text, "status": 1 }).to_string(),
            |text: &str| serde_json::json!([text]).to_string(),
        ] {
            let turn =
                move |_, request: &str| Turn::Answer(http(status, content_type, &wrap(request)));
            servers.push(Scripted::start(turn).await);
        }
    }
    servers.push(Scripted::always(|| Turn::Close).await);
    servers.push(Scripted::always(|| Turn::Silence).await);
    servers.push(Scripted::start(|_, request| Turn::AnswerAndClose(request.into())).await);
    servers
}

#[tokio::test]
async fn error_contains_no_secret_that_a_server_echoes() {
    let servers = echoes().await;
    let dead = nobody().await;
    let uris = servers.iter().map(|server| server.uri.as_str());
    for uri in uris.chain([dead.as_str()]) {
        let peers = peers_of(&[uri]).with_shared_secret(shared());
        for request in [install(gossip_key()), write()] {
            let request = request.with_token(Token::new(TOKEN));
            let short = Duration::from_millis(200);
            let sent = send(&peers, request.clone(), short).await;
            if let Err(error) = &sent {
                says_nothing(error);
            }
            let error = concluded(request, sent).await.unwrap_err();
            says_nothing(&error);
            silent(&serde_json::to_string(&error).unwrap());
        }

        let client = client(uri);
        let peer = PeerSelector::Id("x".into());
        says_nothing(&client.install_key(&gossip_key()).await.unwrap_err());
        says_nothing(&client.remove_peer(&peer, None).await.unwrap_err());
        says_nothing(&client.list_keys().await.unwrap_err());
        let read = client.raft_configuration(Consistency::Default);
        says_nothing(&read.await.unwrap_err());
    }
}
