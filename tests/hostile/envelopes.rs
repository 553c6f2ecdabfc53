//! Forged calls between servers.

use cluster_operator::consul::Dialect;

use crate::case::Want::{self, One};
use crate::case::{anonymous, check, cut, raw};
use crate::site::{PEER_SECRET, READER, ROOT, Site};

const PATH: &str = "/cluster-operator/v2/call";

/// A call with these header lines.
fn call_with(headers: &str, body: impl AsRef<[u8]>) -> crate::case::Input {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    anonymous("POST", PATH, &headers, body.as_ref())
}

/// A call with the secret of the servers.
fn call(body: impl AsRef<[u8]>) -> crate::case::Input {
    call_with(&format!("Authorization: Bearer {PEER_SECRET}\r\n"), body)
}

/// An envelope with this operation and token.
fn envelope(operation: &str, token: &str, rest: &str) -> String {
    format!(
        r#"{{"version":2,"call":{{"request":{{"operation":{operation},"datacenter":null,"token":{token},"request_id":null}},{rest}}}}}"#
    )
}

const REST: &str = r#""hops":1,"to-leader":false,"timeout":{"secs":9,"nanos":0}"#;
const READ: &str = r#"{"RaftConfiguration":"Default"}"#;
const REMOVE: &str =
    r#"{"RemovePeer":{"server":{"Address":"127.0.0.2:8300"},"expected_index":null}}"#;

#[tokio::test]
async fn calls_without_the_secret_are_rejected() {
    let site = Site::start(Dialect::Precise).await;
    let removal = envelope(REMOVE, &format!("{ROOT:?}"), REST);
    let secret = |value: &str| call_with(&format!("Authorization: {value}\r\n"), &removal);
    let stranger = || One(401, "the shared secret does not match");
    let bearer = format!("Authorization: Bearer {PEER_SECRET}\r\n");
    let send = |method: &str, path: &str, media: &str| {
        let headers = format!("{bearer}Content-Type: {media}\r\n");
        anonymous(method, path, &headers, removal.as_bytes())
    };
    let json = "application/json";
    #[rustfmt::skip]
    let table = vec![
        ("no secret", call_with("", &removal), stranger()),
        ("empty secret", secret("Bearer "), stranger()),
        ("other secret", secret("Bearer hunter2hunter2hunter2"), stranger()),
        ("secret without its last letter", secret(&format!("Bearer {}", &PEER_SECRET[..PEER_SECRET.len() - 1])), stranger()),
        ("secret and a letter", secret(&format!("Bearer {PEER_SECRET}a")), stranger()),
        ("secret without a scheme", secret(PEER_SECRET), stranger()),
        ("other scheme", secret(&format!("Basic  {PEER_SECRET}")), stranger()),
        ("token of an operator", secret(&format!("Bearer {ROOT}")), stranger()),
        ("secret in another header", call_with(&format!("X-Consul-Token: {PEER_SECRET}\r\n"), &removal), stranger()),
        ("secret in the query", anonymous("POST", &format!("{PATH}?token={PEER_SECRET}"), "Content-Type: application/json\r\n", removal.as_bytes()), stranger()),
        ("GET", send("GET", PATH, json), One(405, "a server call is a POST")),
        ("DELETE", send("DELETE", PATH, json), One(405, "a server call is a POST")),
        ("as a form", send("POST", PATH, "application/x-www-form-urlencoded"), One(415, "a server call is application/json")),
        ("as a text", send("POST", PATH, "text/plain"), One(415, "a server call is application/json")),
        ("dot segment", send("POST", "/cluster-operator/./v2/call", json), One(404, "")),
        ("two slashes", send("POST", "//cluster-operator/v2/call", json), One(404, "")),
        ("version 3", send("POST", "/cluster-operator/v3/call", json), One(404, "")),
        ("below the API", send("POST", "/v1/operator/../../cluster-operator/v2/call", json), One(404, "")),
        ("version 1", send("POST", "/cluster-operator/v1/call", json), One(200, "too old")),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn forged_envelopes_gain_nothing() {
    let site = Site::start(Dialect::Precise).await;
    let root = format!("{ROOT:?}");
    let unreadable = || One(200, "incompatible-server");
    let denied = || One(200, "permission-denied");
    let deep = format!(r#"{{"version":2,"call":{}"#, "[".repeat(60_000));
    let deep_unknown = format!(r#"{{"version":2,"x":{}"#, r#"{"x":"#.repeat(12_000));
    let chunked = format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {PEER_SECRET}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let growing = format!("{chunked}10001\r\n{}", "a".repeat(65_537));
    let read = |rest: &str| call(envelope(READ, &root, rest));
    let key =
        r#"{"Keyring":{"action":{"Install":"hunter2"},"scope":"Federation","relay_factor":0}}"#;
    let relay = r#"{"Keyring":{"action":"List","scope":"Federation","relay_factor":200}}"#;
    #[rustfmt::skip]
    let table: Vec<(&'static str, _, Want)> = vec![
        // Malformed.
        ("no body", call(""), unreadable()),
        ("no JSON", call("hunter2"), unreadable()),
        ("null", call("null"), unreadable()),
        ("list", call("[2]"), unreadable()),
        ("no version", call(r#"{"call":{}}"#), One(200, "too old")),
        ("version 1", call(r#"{"version":1}"#), One(200, "too old")),
        ("version 3", call(r#"{"version":3,"call":"hunter2"}"#), One(200, "this server is too old")),
        ("version of 33 bits", call(r#"{"version":4294967298,"call":{}}"#), unreadable()),
        ("version as a text", call(r#"{"version":"2","call":{}}"#), unreadable()),
        ("two versions", call(format!(r#"{{"version":2,{}"#, &envelope(READ, &root, REST)[1..])), unreadable()),
        ("no call", call(r#"{"version":2}"#), unreadable()),
        ("unknown operation", call(envelope(r#"{"Shutdown":"hunter2"}"#, &root, REST)), unreadable()),
        ("two operations", call(envelope(r#"{"RaftConfiguration":"Default","Diagnose":null}"#, &root, REST)), unreadable()),
        ("malformed key", call(envelope(key, &root, REST)), unreadable()),
        ("relay factor of 200", call(envelope(relay, &root, REST)), unreadable()),
        ("token as a number", call(envelope(READ, "1", REST)), unreadable()),
        ("trailing bytes", call(envelope(READ, &root, REST) + "x"), unreadable()),
        ("not UTF-8", call(b"{\"version\":2,\"call\":\"\xff\"}"), unreadable()),
        ("byte order mark", call(format!("\u{feff}{}", envelope(READ, &root, REST))), unreadable()),
        ("nested lists", call(deep), unreadable()),
        ("nested unknown members", call(deep_unknown), unreadable()),
        ("negative hops", read(r#""hops":-1,"to-leader":false,"timeout":null"#), unreadable()),
        ("256 hops", read(r#""hops":256,"to-leader":false,"timeout":null"#), unreadable()),
        ("negative time", read(r#""hops":1,"to-leader":false,"timeout":{"secs":-1,"nanos":0}"#), unreadable()),
        // Time that overflows.
        ("huge time", read(r#""hops":1,"to-leader":false,"timeout":{"secs":18446744073709551615,"nanos":999999999}"#), One(200, "RaftConfiguration")),
        ("nanoseconds that carry over", read(r#""hops":1,"to-leader":false,"timeout":{"secs":18446744073709551615,"nanos":4294967295}"#), unreadable()),
        ("no time", read(r#""hops":1,"to-leader":false,"timeout":{"secs":0,"nanos":0}"#), One(200, "")),
        // Sizes.
        ("65,537 bytes", call(" ".repeat(65_537)), One(413, "the call is too large")),
        ("growing chunks", raw(growing), One(413, "the call is too large")),
        ("cut call", cut(format!("{chunked}9\r\n{{}}")), One(400, "the call is incomplete")),
        // The secret of the servers is no permission.
        ("removal without a token", call(envelope(REMOVE, "null", REST)), denied()),
        ("removal by a reader", call(envelope(REMOVE, &format!("{READER:?}"), REST)), denied()),
        ("removal with an unknown token", call(envelope(REMOVE, "\"hunter2\"", REST)), One(200, "unknown-token")),
        ("removal with the secret as the token", call(envelope(REMOVE, &format!("{PEER_SECRET:?}"), REST)), One(200, "unknown-token")),
        ("removal with a token in the header", call_with(&format!("Authorization: Bearer {PEER_SECRET}\r\nX-Consul-Token: {ROOT}\r\n"), envelope(REMOVE, "null", REST)), denied()),
        ("listing without a token", call(envelope(r#"{"Keyring":{"action":"List","scope":"Federation","relay_factor":0}}"#, "null", REST)), denied()),
        ("removal to the leader, without a token", call(envelope(REMOVE, "null", r#""hops":0,"to-leader":true,"timeout":null"#)), denied()),
        // Routing.
        ("forward past the limit", call(envelope(READ, &root, r#""hops":255,"to-leader":false,"timeout":null"#).replace(r#""datacenter":null"#, r#""datacenter":"dc2""#)), One(200, "too-many-hops")),
        ("unknown datacenter", call(envelope(READ, &root, REST).replace(r#""datacenter":null"#, r#""datacenter":"\r\nX-Injected: 1""#)), One(200, "no-path-to-datacenter")),
        ("long datacenter", call(envelope(READ, &root, REST).replace(r#""datacenter":null"#, &format!(r#""datacenter":"{}""#, "a".repeat(60_000)))), One(200, "no-path-to-datacenter")),
    ];
    check(&site, table).await;
}
