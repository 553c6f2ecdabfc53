//! Header fields: forms, counts, sizes, and attempts to add some to the answer.

use cluster_operator::consul::Dialect;

use crate::case::Want::One;
use crate::case::{check, get, raw, request};
use crate::site::{ROOT, Site};

const CONFIGURATION: &str = "/v1/operator/raft/configuration";

#[tokio::test]
async fn header_fields_are_bounded_and_well_formed() {
    let site = Site::start(Dialect::Precise).await;
    let with = |headers: &str| request("GET", CONFIGURATION, headers, b"");
    let lines = |count| "X-A: 1\r\n".repeat(count);
    let long = |length| format!("X-A: {}\r\n", "a".repeat(length));
    // `request` adds three fields of its own.
    let most = lines(61);
    let one_more = lines(62);
    let many = lines(101);
    let bytes = |line: &[u8]| {
        let head = format!(
            "GET {CONFIGURATION} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Consul-Token: {ROOT}\r\n"
        );
        raw([head.as_bytes(), line, b"\r\n\r\n"].concat())
    };
    let malformed = || One(400, "");
    #[rustfmt::skip]
    let table = vec![
        ("64 fields", with(&most), One(200, "\"Servers\"")),
        ("65 fields", with(&one_more), One(431, "there are more than 64 header fields")),
        ("more fields than hyper takes", with(&many), One(431, "")),
        ("field of 60,000 bytes", with(&long(60_000)), One(200, "\"Servers\"")),
        ("field of a million bytes", with(&long(1_000_000)), One(431, "")),
        ("name of 60,000 bytes", with(&format!("{}: 1\r\n", "a".repeat(60_000))), One(200, "\"Servers\"")),
        ("no colon", bytes(b"Secret"), malformed()),
        ("empty name", bytes(b": 1"), malformed()),
        ("space before the colon", bytes(b"X-A : 1"), malformed()),
        ("space in a name", bytes(b"X A: 1"), malformed()),
        ("name that is not ASCII", bytes("X-\u{e9}: 1".as_bytes()), malformed()),
        ("null in a name", bytes(b"X\0: 1"), malformed()),
        ("null in a value", bytes(b"X-A: \0"), malformed()),
        ("control character in a value", bytes(b"X-A: \x07"), malformed()),
        ("carriage return in a value", bytes(b"X-A: a\rX-B: b"), malformed()),
        ("folded line", bytes(b"X-A: a\r\n b"), malformed()),
        ("folded first line", raw(format!("GET {CONFIGURATION} HTTP/1.1\r\n X-A: 1\r\nHost: a\r\n\r\n")), malformed()),
        ("two hosts", bytes(b"Host: b"), One(200, "\"Servers\"")),
        ("hostile host", bytes(b"X-Forwarded-Host: evil.example"), One(200, "\"Servers\"")),
        ("hostile origin", bytes(b"Origin: http://evil.example"), One(200, "\"Servers\"")),
        ("forwarded address", bytes(b"X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1"), One(200, "\"Servers\"")),
        ("rewritten URL", bytes(b"X-Original-URL: /v1/operator/keyring\r\nX-Rewrite-URL: /v1/operator/keyring"), One(200, "\"Servers\"")),
        ("range", bytes(b"Range: bytes=0-1"), One(200, "\"Servers\"")),
        ("condition", bytes(b"If-None-Match: *\r\nIf-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT"), One(200, "\"Servers\"")),
        ("other protocol", bytes(b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), One(200, "\"Servers\"")),
        ("accept that is not UTF-8", bytes(b"Accept: \xff"), One(200, "\"Servers\"")),
        ("long accept", with(&format!("Accept: {}*/*\r\n", "a/b;q=0.1,".repeat(5_000))), One(200, "\"Servers\"")),
        ("malformed cache control", bytes(b"Cache-Control: max-age=99999999999999999999"), One(400, "Invalid Cache-Control header")),
        ("expectation", bytes(b"Expect: 200-ok"), One(200, "\"Servers\"")),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn no_input_adds_a_header_to_the_answer() {
    let site = Site::start(Dialect::Precise).await;
    let with = |target: &str, headers: &str| request("GET", target, headers, b"");
    let break_and = "%0d%0aX-Injected:+1%0d%0aSet-Cookie:+a=b";
    let wide = "%e5%98%8a%e5%98%8dX-Injected:+1";
    let id = format!("X-Request-Id: {}\r\n", "a".repeat(1_000));
    #[rustfmt::skip]
    let table = vec![
        ("line break in a path", get(&format!("/v1/operator/{break_and}")), One(400, "")),
        ("wide line break in a path", get(&format!("/v1/operator/{wide}")), One(404, "")),
        ("line break in a datacenter", get(&format!("{CONFIGURATION}?dc={break_and}")), One(404, "")),
        ("wide line break in a datacenter", get(&format!("{CONFIGURATION}?dc={wide}")), One(404, "")),
        ("line break in a name", get(&format!("{CONFIGURATION}?{break_and}")), One(400, "unknown query parameter")),
        ("line break in an index", get(&format!("{CONFIGURATION}?index={break_and}")), One(400, "Invalid index")),
        ("line break in a version", request("POST", &format!("/v1/operator/raft/planned-removal?id=bob&version={break_and}"), "", b""), One(400, "\"version\"")),
        ("line break in a server's name", request("POST", &format!("/v1/operator/raft/forced-removal?id={break_and}"), "", b""), One(404, "")),
        ("long request id", with(CONFIGURATION, &id), One(200, "\"Servers\"")),
        ("request id with markup", with(CONFIGURATION, "X-Request-Id: <script>\r\n"), One(200, "\"Servers\"")),
        ("request id that is a secret", with(CONFIGURATION, "X-Request-Id: Bearer hunter2\r\n"), One(200, "\"Servers\"")),
        ("as a problem", with("/v1/operator/raft/configuration?dc=%22%0d%0aX-Injected:+1", "Accept: application/problem+json\r\n"), One(404, "")),
    ];
    check(&site, table).await;
}
