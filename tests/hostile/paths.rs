//! Paths and methods.

use cluster_operator::consul::Dialect;

use crate::case::Want::{Closed, One};
use crate::case::{check, get, raw, request};
use crate::site::{ROOT, Site};

#[tokio::test]
async fn only_literal_paths_are_served() {
    let site = Site::start(Dialect::Precise).await;
    let long = format!("/v1/operator/{}", "a".repeat(8_000));
    let segments = format!("/v1/operator{}/keyring", "/..".repeat(2_000));
    let unknown = || One(404, "not a recognized HTTP API endpoint");
    let meant = |path| One(404, path);
    #[rustfmt::skip]
    let table = vec![
        // Tricks that a proxy may read in another way.
        ("dot segment", get("/v1/operator/./keyring"), meant("/v1/operator/keyring?")),
        ("parent segment", get("/v1/operator/raft/../keyring"), meant("/v1/operator/keyring?")),
        ("parent of the root", get("/../../v1/operator/keyring"), meant("/v1/operator/keyring?")),
        ("escaped dots", get("/v1/operator/%2e%2e/operator/keyring"), meant("/v1/operator/keyring?")),
        ("twice escaped dots", get("/v1/operator/%252e%252e/keyring"), unknown()),
        ("escaped slash", get("/v1/operator%2fkeyring"), meant("/v1/operator/keyring?")),
        ("escaped letter", get("/v1/operator/%6beyring"), meant("/v1/operator/keyring?")),
        ("two slashes", get("/v1//operator/keyring"), meant("/v1/operator/keyring?")),
        ("slashes first", get("//v1/operator/keyring"), meant("/v1/operator/keyring?")),
        ("host in the path", get("//evil.example/v1/operator/keyring"), unknown()),
        ("slash last", get("/v1/operator/keyring/"), meant("/v1/operator/keyring?")),
        ("dot last", get("/v1/operator/keyring/."), meant("/v1/operator/keyring?")),
        ("backslash", get("/v1/operator\\keyring"), One(404, "")),
        ("escaped backslash", get("/v1/operator%5ckeyring"), unknown()),
        ("path parameter", get("/v1/operator/keyring;jsessionid=1"), One(404, "")),
        ("escaped question mark", get("/v1/operator/keyring%3Ftoken=hunter2"), One(404, "")),
        ("escaped number sign", get("/v1/operator/keyring%23"), One(404, "")),
        ("capitals", get("/V1/Operator/Keyring"), unknown()),
        ("capital name", get("/v1/operator/KEYRING"), One(404, "")),
        ("suffix", get("/v1/operator/keyring.json"), One(404, "")),
        ("prefix", get("/v1/operator/keyrin"), meant("/v1/operator/keyring?")),
        ("no such version", get("/v2/operator/keyring"), unknown()),
        ("root", get("/"), unknown()),
        ("only the prefix", get("/v1/operator"), meant("/v1/operator/?")),
        ("file of the system", get("/v1/operator/../../../../etc/passwd"), unknown()),
        // Bytes that are no path.
        ("broken escape", get("/v1/operator/%zz"), One(400, "check its % escapes")),
        ("cut escape", get("/v1/operator/keyring%2"), One(400, "check its % escapes")),
        ("escape alone", get("/v1/operator/%"), One(400, "check its % escapes")),
        ("not UTF-8", get("/v1/operator/%ff%fe"), One(400, "check its % escapes")),
        ("overlong slash", get("/v1/operator%c0%afkeyring"), One(400, "check its % escapes")),
        ("surrogate", get("/v1/operator/%ed%a0%80"), One(400, "check its % escapes")),
        ("escaped null", get("/v1/operator/keyring%00"), One(400, "check its % escapes")),
        ("escaped line break", get("/v1/operator/%0d%0aX-Injected:%201"), One(400, "check its % escapes")),
        ("direction mark", get("/v1/operator/%e2%80%aekeyring"), One(400, "check its % escapes")),
        ("raw byte beyond ASCII", raw(b"GET /v1/operator/\xff HTTP/1.1\r\nHost: a\r\n\r\n"), One(400, "")),
        ("markup", get("/v1/operator/%3Cscript%3Ealert(1)%3C/script%3E"), unknown()),
        ("secret as a path", get("/v1/operator/hunter2"), unknown()),
        // Sizes.
        ("8,000 letters", get(&long), unknown()),
        ("2,000 parents", get(&segments), One(404, "")),
        // Forms of a target.
        ("whole URL", get("http://evil.example/v1/operator/keyring"), One(200, "\"Keys\"")),
        ("asterisk", request("OPTIONS", "*", "", b""), unknown()),
        ("tunnel", request("CONNECT", "evil.example:443", "", b""), One(404, "")),
        ("fragment", get("/v1/operator/keyring#top"), One(200, "\"Keys\"")),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn methods_are_literal_and_cannot_be_overridden() {
    let site = Site::start(Dialect::Precise).await;
    let keyring = "/v1/operator/keyring";
    let peer = "/v1/operator/raft/peer?address=127.0.0.2:8300";
    let overriding = "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n";
    let line = |line: &str| raw(format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n"));
    let long = "A".repeat(4_000);
    #[rustfmt::skip]
    let table = vec![
        ("overridden method", request("GET", peer, overriding, b""), One(405, "method GET not allowed")),
        ("method in the query", request("GET", "/v1/operator/raft/peer?address=127.0.0.2:8300&_method=DELETE", "", b""), One(405, "")),
        ("small letters", request("delete", peer, "", b""), One(405, "method delete not allowed")),
        ("mixed case", request("Delete", peer, "", b""), One(405, "")),
        ("method of another protocol", request("PROPFIND", keyring, "", b""), One(405, "")),
        ("trace", request("TRACE", keyring, "X-Secret: hunter2\r\n", b""), One(405, "")),
        ("patch", request("PATCH", keyring, "", b"{}"), One(405, "allow: options,get,post,put,delete")),
        ("post to a read", request("POST", "/v1/operator/raft/configuration", "", b""), One(405, "")),
        ("get of a write", get("/v1/operator/raft/transfer-leader"), One(405, "")),
        ("head of a write", request("HEAD", peer, "", b""), One(405, "")),
        ("head of a listing", request("HEAD", keyring, "", b""), One(200, "content-length: ")),
        ("long method", request(&long, keyring, "", b""), One(405, "")),
        ("no method", line(" /v1/operator/keyring HTTP/1.1"), One(400, "")),
        ("control character in a method", line("GE\x01T /v1/operator/keyring HTTP/1.1"), One(400, "")),
        ("preface of HTTP/2", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Closed),
        ("HTTP/0.9", raw("GET /v1/operator/keyring\r\n\r\n"), One(400, "")),
        ("HTTP/9.9", line("GET /v1/operator/keyring HTTP/9.9"), One(400, "")),
        ("HTTP/1.0", raw(format!("GET {keyring} HTTP/1.0\r\nX-Consul-Token: {ROOT}\r\n\r\n")), One(200, "\"Keys\"")),
        ("greeting of TLS", raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20)), One(400, "")),
        ("greeting of SSH", raw("SSH-2.0-OpenSSH_9.0\r\n"), One(400, "")),
        ("redis", raw("*1\r\n$4\r\nPING\r\n"), One(400, "")),
    ];
    check(&site, table).await;
}
