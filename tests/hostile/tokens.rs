//! Tokens in every place and form.

use cluster_operator::consul::Dialect;

use crate::case::Want::{self, One};
use crate::case::{anonymous, check, raw};
use crate::site::{BOB, CAROL, PEER_SECRET, POWERLESS, READER, ROOT, Site};

/// A listing of the keys with these header lines.
fn list(headers: impl AsRef<str>) -> crate::case::Input {
    anonymous("GET", "/v1/operator/keyring", headers.as_ref(), b"")
}

/// A listing of the keys with this query.
fn ask(query: impl AsRef<str>) -> crate::case::Input {
    let target = format!("/v1/operator/keyring?{}", query.as_ref());
    anonymous("GET", &target, "", b"")
}

fn admitted() -> Want {
    One(200, "\"Keys\"")
}

/// The request counts as one without a token.
fn nobody() -> Want {
    One(403, "anonymous token lacks permission 'keyring:read'")
}

/// The token is unknown.
fn unknown() -> Want {
    One(403, "x-operator-error: unknown-token")
}

#[tokio::test]
async fn only_whole_tokens_in_their_places_are_admitted() {
    let site = Site::start(Dialect::Precise).await;
    let header = |value: &str| list(format!("X-Consul-Token: {value}\r\n"));
    let authorization = |value: String| list(format!("Authorization: {value}\r\n"));
    let bytes = |name: &str, value: &[u8]| {
        let head = format!(
            "GET /v1/operator/keyring HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{name}: "
        );
        raw([head.as_bytes(), value, b"\r\n\r\n"].concat())
    };
    let half = &ROOT[..ROOT.len() - 1];
    let long = "a".repeat(4_097);
    let escaped: String = ROOT.bytes().map(|byte| format!("%{byte:02x}")).collect();
    #[rustfmt::skip]
    let table = vec![
        // The header.
        ("token", header(ROOT), admitted()),
        ("token that may read", header(READER), admitted()),
        ("header in another case", list(format!("x-CONSUL-token: {ROOT}\r\n")), admitted()),
        ("white space around", header(&format!("\t {ROOT} \t")), admitted()),
        ("none", list(""), nobody()),
        ("empty token", header(""), nobody()),
        ("only white space", header(" \t "), nobody()),
        ("token that may nothing", header(POWERLESS), One(403, "lacks permission 'keyring:read'")),
        ("unknown token", header("hunter2"), unknown()),
        ("token without its last letter", header(half), unknown()),
        ("token and one letter", header(&format!("{ROOT}a")), unknown()),
        ("token in capitals", header(&ROOT.to_uppercase()), unknown()),
        ("token in quotes", header(&format!("\"{ROOT}\"")), unknown()),
        ("token, escaped", header(&escaped), unknown()),
        ("two tokens in a list", header(&format!("{ROOT}, {READER}")), unknown()),
        ("name of the anonymous token", header("anonymous"), unknown()),
        ("id of the anonymous token", header("00000000-0000-0000-0000-000000000002"), unknown()),
        ("pattern", header("*"), unknown()),
        ("injection", header("' OR '1'='1"), unknown()),
        ("secret of the servers", header(PEER_SECRET), unknown()),
        ("not ASCII", bytes("X-Consul-Token", "\u{e9}".as_bytes()), unknown()),
        ("not UTF-8", bytes("X-Consul-Token", b"\xff"), unknown()),
        ("replacement character", bytes("X-Consul-Token", "\u{fffd}".as_bytes()), unknown()),
        ("tab within", bytes("X-Consul-Token", format!("{ROOT}\ta").as_bytes()), unknown()),
        ("null", bytes("X-Consul-Token", format!("{ROOT}\0").as_bytes()), One(400, "")),
        ("4,097 bytes", header(&long), One(400, "the token is longer than 4096 bytes")),
        ("header twice", list(format!("X-Consul-Token: {READER}\r\nX-Consul-Token: {ROOT}\r\n")), One(400, "given twice")),
        ("same header twice", list(format!("X-Consul-Token: {ROOT}\r\nx-consul-token: {ROOT}\r\n")), One(400, "given twice")),
        ("underscores", list(format!("X_Consul_Token: {ROOT}\r\n")), nobody()),
        ("another header", list(format!("X-Vault-Token: {ROOT}\r\nX-Auth-Token: {ROOT}\r\n")), nobody()),
        ("cookie", list(format!("Cookie: token={ROOT}; X-Consul-Token={ROOT}\r\n")), nobody()),
        // The scheme.
        ("bearer", authorization(format!("Bearer {ROOT}")), admitted()),
        ("scheme in another case", authorization(format!("bEaReR {ROOT}")), admitted()),
        ("many spaces", authorization(format!("Bearer    {ROOT}")), admitted()),
        ("two words", authorization(format!("Bearer {READER} {ROOT}")), admitted()),
        ("scheme alone", authorization("Bearer".into()), nobody()),
        ("scheme and a space", authorization("Bearer ".into()), nobody()),
        ("no scheme", authorization(ROOT.into()), nobody()),
        ("other scheme", authorization("Basic cm9vdDpodW50ZXIy".into()), nobody()),
        ("longer scheme", authorization(format!("BearerX {ROOT}")), nobody()),
        ("tab behind the scheme", authorization(format!("Bearer\t{ROOT}")), unknown()),
        ("colon behind the scheme", authorization(format!("Bearer: {ROOT}")), unknown()),
        ("equals sign", authorization(format!("Bearer={ROOT}")), unknown()),
        ("bearer, not UTF-8", bytes("Authorization", b"Bearer \xff"), unknown()),
        ("bearer twice", list(format!("Authorization: Bearer {ROOT}\r\nAuthorization: Bearer {ROOT}\r\n")), One(400, "given twice")),
        ("through a proxy", list(format!("Proxy-Authorization: Bearer {ROOT}\r\n")), nobody()),
        // The query.
        ("query", ask(format!("token={ROOT}")), admitted()),
        ("query, escaped", ask(format!("token={escaped}")), admitted()),
        ("name, escaped", ask(format!("%74oken={ROOT}")), admitted()),
        ("empty query", ask("token="), nobody()),
        ("name alone", ask("token"), nobody()),
        ("unknown in the query", ask("token=hunter2"), unknown()),
        ("space in the query", ask(format!("token={ROOT}+")), unknown()),
        ("null in the query", ask(format!("token={ROOT}%00")), unknown()),
        ("not UTF-8 in the query", ask("token=%ff"), unknown()),
        ("line break in the query", ask(format!("token={ROOT}%0d%0aX-Injected:+1")), unknown()),
        ("twice in the query", ask(format!("token={READER}&token={ROOT}")), One(400, "is given twice")),
        ("capital name", ask(format!("Token={ROOT}")), One(400, "unknown query parameter")),
        ("in the fragment", anonymous("GET", &format!("/v1/operator/keyring#token={ROOT}"), "", b""), nobody()),
        ("in the URL", anonymous("GET", &format!("http://root:{ROOT}@a/v1/operator/keyring"), "", b""), nobody()),
        ("long in the query", ask(format!("token={long}")), One(400, "the token is longer than 4096 bytes")),
        // Several places: the query beats the header, and the header the bearer.
        ("bad query, good header", anonymous("GET", "/v1/operator/keyring?token=hunter2", &format!("X-Consul-Token: {ROOT}\r\n"), b""), unknown()),
        ("good query, bad header", anonymous("GET", &format!("/v1/operator/keyring?token={ROOT}"), "X-Consul-Token: hunter2\r\n", b""), admitted()),
        ("bad header, good bearer", list(format!("X-Consul-Token: hunter2\r\nAuthorization: Bearer {ROOT}\r\n")), unknown()),
        ("empty header, good bearer", list(format!("X-Consul-Token:\r\nAuthorization: Bearer {ROOT}\r\n")), admitted()),
        ("unreadable header, good bearer", list(format!("X-Consul-Token: \u{e9}\r\nAuthorization: Bearer {ROOT}\r\n")), unknown()),
        // In a body, and behind the last header.
        ("in the body", anonymous("GET", "/v1/operator/keyring", "", format!("token={ROOT}").as_bytes()), nobody()),
        ("as a trailer", raw(format!("GET /v1/operator/keyring HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Consul-Token\r\n\r\n0\r\nX-Consul-Token: {ROOT}\r\n\r\n")), nobody()),
        ("named a header of the connection", list(format!("Connection: X-Consul-Token\r\nX-Consul-Token: {POWERLESS}\r\n")), One(403, "lacks permission")),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn every_write_is_denied_without_the_permission() {
    let site = Site::start(Dialect::Precise).await;
    let bob = |target: &str| target.replace("BOB", BOB).replace("CAROL", CAROL);
    let writes = [
        ("DELETE", "raft/peer?id=BOB"),
        ("DELETE", "raft/peer?address=127.0.0.2:8300"),
        ("DELETE", "raft/peer?id=nobody"),
        ("POST", "raft/transfer-leader?id=BOB"),
        ("POST", "raft/planned-removal?id=BOB&version=1-22"),
        ("POST", "raft/forced-removal?id=BOB"),
        ("POST", "raft/replacement?id=BOB&with=CAROL"),
        ("PUT", "autopilot/configuration"),
        ("DELETE", "raft/peer?address=127.0.0.4:8300&dc=dc2"),
        ("POST", "keyring"),
        ("PUT", "keyring"),
        ("DELETE", "keyring"),
    ];
    let mut table = Vec::new();
    for (method, target) in writes {
        let body: &[u8] = match target {
            "keyring" => br#"{"Key":"G/3/L4yOw3e5T7NTvuRi9g=="}"#,
            "autopilot/configuration" => br#"{"CleanupDeadServers":false}"#,
            _ => b"",
        };
        let target = format!("/v1/operator/{}", bob(target));
        let send = |headers: &str| anonymous(method, &target, headers, body);
        let token = |token: &str| send(&format!("X-Consul-Token: {token}\r\n"));
        table.extend([
            ("nobody", send(""), One(403, ":write'")),
            ("reader", token(READER), One(403, ":write'")),
            ("powerless", token(POWERLESS), One(403, ":write'")),
            ("unknown", token("hunter2"), unknown()),
        ]);
    }
    check(&site, table).await;
}
