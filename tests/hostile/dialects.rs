//! What differs in the dialects of Consul: redirects, and what they let pass.

use cluster_operator::consul::Dialect;

use crate::case::Want::One;
use crate::case::{anonymous, check, get, post, request};
use crate::site::{ROOT, Site};

#[tokio::test]
async fn redirects_stay_on_the_server_and_hide_tokens() {
    for dialect in [Dialect::Consul1_17, Dialect::Consul1_10] {
        let site = Site::start(dialect).await;
        let moved = |location| One(301, location);
        #[rustfmt::skip]
        let table = vec![
            ("dot segment", get("/v1/./operator/keyring"), moved("\r\nlocation: /v1/operator/keyring\r\n")),
            ("two slashes first", get("//evil.example/v1"), moved("\r\nlocation: /evil.example/v1\r\n")),
            ("many slashes first", get("////evil.example//.."), moved("\r\nlocation: /\r\n")),
            ("backslash first", get("/%5cevil.example/./"), moved("\r\nlocation: /%5cevil.example/\r\n")),
            ("token in the query", get("/v1//operator/keyring?token=hunter2"), moved("\r\nlocation: /v1/operator/keyring\r\n")),
            ("token among others", get("/v1//operator/keyring?dc=dc1&%74oken=hunter2&pretty"), moved("?dc=dc1&pretty\r\n")),
            ("token behind a semicolon", get("/v1//operator/keyring?pretty;token=hunter2"), moved("?pretty\r\n")),
            ("markup in the page", get("/v1//%22%3E%3Cscript%3Ealert(1)%3C/script%3E"), moved("%22%3e%3cscript%3e")),
            ("line break", get("/v1//operator%0d%0aX-Injected:%201"), One(400, "")),
            ("write", request("DELETE", "/v1//operator/raft/peer?address=127.0.0.2:8300", "", b""), moved("/v1/operator/raft/peer?address=127.0.0.2:8300")),
            ("broken escape", get("/v1/operator/%zz"), One(400, "400 bad request")),
            ("control character", get("/v1/operator/%01"), One(400, "")),
        ];
        check(&site, table).await;
    }
}

#[tokio::test]
async fn consul_dialects_survive_hostile_bodies_and_tokens() {
    for dialect in [Dialect::Consul1_17, Dialect::Consul1_10, Dialect::Consul0_7] {
        let site = Site::start(dialect).await;
        let nested = "[".repeat(60_000);
        let objects = r#"{"Key":"#.repeat(9_000);
        let twice = format!("X-Consul-Token: hunter2\r\nX-Consul-Token: {ROOT}\r\n");
        let denied = match dialect {
            Dialect::Consul1_17 => One(403, "Permission denied"),
            _ => One(500, "Reading keyring denied by ACLs"),
        };
        let list = |headers: &str| anonymous("GET", "/v1/operator/keyring", headers, b"");
        #[rustfmt::skip]
        let table = vec![
            ("no body", post(""), One(400, "Request decode failed: EOF")),
            ("cut object", post(r#"{"Key":"#), One(400, "unexpected EOF")),
            ("no JSON", post("hunter2"), One(400, "invalid character 'h'")),
            ("nested lists", post(&nested), One(400, "")),
            ("nested objects", post(&objects), One(400, "")),
            ("number as the key", post(r#"{"Key":1}"#), One(400, "Key")),
            ("malformed key", post(r#"{"Key":"hunter2 hunter2"}"#), One(500, "")),
            ("not UTF-8", post(b"{\"Key\":\"\xff\"}"), One(500, "")),
            ("66,000 bytes", post(" ".repeat(66_000)), One(413, "")),
            ("semicolon", get("/v1/operator/keyring?a;b"), One(500, "")),
            ("broken escape", get("/v1/operator/keyring?%zz"), One(500, "")),
            ("line break in a datacenter", get("/v1/operator/raft/configuration?dc=%0d%0aX-Injected:+1"), One(500, "")),
            ("no token", list(""), denied),
            ("unknown token", list("X-Consul-Token: hunter2\r\n"), One(403, "ACL not found")),
            ("unreadable token", list("X-Consul-Token: \u{e9}\r\n"), One(403, "ACL not found")),
            ("header twice", list(&twice), One(403, "ACL not found")),
            ("long token", list(&format!("X-Consul-Token: {}\r\n", "a".repeat(5_000))), One(400, "longer than 4096 bytes")),
        ];
        check(&site, table).await;
    }
}
