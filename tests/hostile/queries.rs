//! Query strings.

use cluster_operator::consul::Dialect;

use crate::case::Want::One;
use crate::case::{Input, Want, check, get, raw, request};
use crate::site::{ALICE, BOB, CAROL, ROOT, Site};

#[tokio::test]
async fn malformed_queries_are_rejected() {
    let site = Site::start(Dialect::Precise).await;
    let get = |query: &str| get(&format!("/v1/operator/raft/configuration?{query}"));
    let malformed = || One(400, "check its % escapes and semicolons");
    let many = "node-meta=a&".repeat(65);
    #[rustfmt::skip]
    let table = vec![
        ("broken escape", get("dc=%zz"), malformed()),
        ("cut escape", get("dc=%2"), malformed()),
        ("broken escape in a name", get("d%c=1"), malformed()),
        ("semicolon", get("stale;dc=dc1"), malformed()),
        ("semicolon that hides a token", get("stale;token=hunter2"), malformed()),
        ("unknown name", get("stail"), One(400, "unknown query parameter")),
        ("capital name", get("Stale"), One(400, "unknown query parameter")),
        ("unknown name with a secret", get("tokenn=hunter2"), One(400, "unknown query parameter")),
        ("name as an array", get("dc[]=dc1"), One(400, "unknown query parameter")),
        ("name with a null", get("dc%00=dc1"), One(400, "unknown query parameter")),
        ("name with a space", get("+dc=dc1"), One(400, "unknown query parameter")),
        ("name that is not UTF-8", get("%ff=1"), One(400, "unknown query parameter")),
        ("empty name", get("=x"), One(400, "unknown query parameter")),
        ("second question mark", get("stale?dc=dc1"), One(400, "unknown query parameter")),
        ("repeated name", get("dc=dc1&dc=dc2"), One(400, "is given twice")),
        ("repeated name, escaped", get("dc=dc1&%64c=dc2"), One(400, "is given twice")),
        ("two names of a datacenter", get("dc=dc1&datacenter=dc2"), One(400, "differ")),
        ("stale and consistent", get("stale&consistent"), One(400, "conflicting semantics")),
        ("escaped name", get("%64%63=nowhere"), One(404, "")),
        ("unknown datacenter", get("dc=nowhere"), One(404, "")),
        ("datacenter as a path", get("dc=../dc2"), One(404, "")),
        ("datacenter as a URL", get("dc=http://evil.example/"), One(404, "")),
        ("datacenter with a line break", get("dc=%0d%0aX-Injected:+1"), One(404, "")),
        ("datacenter that is not UTF-8", get("dc=%ff"), One(404, "")),
        ("datacenter with a null", get("dc=dc2%00"), One(404, "")),
        ("datacenter in capitals", get("dc=DC2"), One(404, "")),
        ("huge index", get(&format!("index={}", "9".repeat(40))), One(400, "Invalid index")),
        ("negative index", get("index=-1"), One(400, "Invalid index")),
        ("huge wait", get("wait=99999999999999999999h"), One(400, "Invalid wait time")),
        ("wait without a unit", get("wait=5"), One(400, "Invalid wait time")),
        ("huge age", get("max_stale=1e99s"), One(400, "Invalid max_stale value")),
        ("65 parameters", get(&many), One(400, "there are more than 64 query parameters")),
        ("value of 513 bytes", get(&format!("dc={}", "a".repeat(513))), One(400, "longer than 512 bytes")),
        ("513 bytes, escaped", get(&format!("dc={}", "%61".repeat(513))), One(400, "longer than 512 bytes")),
        ("query of 16,385 bytes", get(&format!("token={}", "a".repeat(16_379))), One(400, "the query is longer than 16384 bytes")),
        ("only ampersands", get(&"&".repeat(16_000)), One(200, "\"Servers\"")),
        ("only equals signs", get("===="), One(400, "unknown query parameter")),
        ("markup", get("<script>=1"), One(400, "")),
        ("template", get("dc=${jndi:ldap://evil.example/a}"), One(404, "")),
        ("raw tab", raw("GET /v1/operator/keyring?dc=\tx HTTP/1.1\r\nHost: a\r\n\r\n"), One(400, "")),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn hostile_names_of_servers_change_nothing() {
    let site = Site::start(Dialect::Precise).await;
    let delete = |query: &str| {
        request(
            "DELETE",
            &format!("/v1/operator/raft/peer?{query}"),
            "",
            b"",
        )
    };
    let post = |name: &str| request("POST", &format!("/v1/operator/raft/{name}"), "", b"");
    let keyring = |query: &str| get(&format!("/v1/operator/keyring?{query}"));
    let two = raw(format!(
        "DELETE /v1/operator/raft/peer?id={BOB} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         X-Consul-Token: {ROOT}\r\nContent-Length: 2\r\n\r\n{{}}"
    ));
    #[rustfmt::skip]
    let table: Vec<(&'static str, Input, Want)> = vec![
        ("no server", delete(""), One(400, "Must specify either ?id")),
        ("empty id", delete("id="), One(400, "\"id\" is empty")),
        ("two ids", delete(&format!("id={BOB}&id={CAROL}")), One(400, "is given twice")),
        ("id and address", delete(&format!("id={BOB}&address=127.0.0.2:8300")), One(400, "only one of")),
        ("id with a null", delete(&format!("id={BOB}%00")), One(404, "")),
        ("id with a space", delete(&format!("id={BOB}+")), One(404, "")),
        ("id with a line break", delete(&format!("id={BOB}%0d%0aX-Injected:+1")), One(404, "")),
        ("id that is not UTF-8", delete(&format!("id={BOB}%ff")), One(404, "")),
        ("name instead of an id", delete("id=bob"), One(404, "")),
        ("id as an option", delete("id=-rf"), One(404, "")),
        ("id of 512 bytes", delete(&format!("id={}", "a".repeat(512))), One(404, "")),
        ("id of 513 bytes", delete(&format!("id={}", "a".repeat(513))), One(400, "longer than 512 bytes")),
        ("address of another form", delete("address=[::ffff:127.0.0.2]:8300"), One(404, "")),
        ("index that is no number", delete(&format!("id={BOB}&cas=x")), One(400, "\"cas\"")),
        ("negative index", delete(&format!("id={BOB}&cas=-1")), One(400, "\"cas\"")),
        ("index of 65 bits", delete(&format!("id={BOB}&cas=18446744073709551616")), One(400, "\"cas\"")),
        ("index with a sign", delete(&format!("id={BOB}&cas=%2B22")), One(400, "\"cas\"")),
        ("outdated index", delete(&format!("id={BOB}&cas=21")), One(409, "")),
        ("removal that has a body", two, One(400, "this endpoint takes no body")),
        ("parameter that only a plan has", delete(&format!("id={BOB}&dry-run=true")), One(400, "unknown query parameter")),
        ("plan without a version", post(&format!("planned-removal?id={BOB}")), One(400, "\"version\"")),
        ("plan of a huge version", post(&format!("planned-removal?id={BOB}&version=99999999999999999999-1")), One(400, "\"version\"")),
        ("outdated plan", post(&format!("planned-removal?id={BOB}&version=1-1")), One(409, "")),
        ("forced removal of nobody", post("forced-removal"), One(400, "\"id\" is missing")),
        ("replacement by itself", post(&format!("replacement?id={BOB}&with={BOB}")), One(409, "")),
        ("replacement by nobody", post(&format!("replacement?id={BOB}&with=nobody")), One(404, "")),
        ("transfer to nobody", post("transfer-leader?id=nobody"), One(404, "")),
        ("transfer to the leader", post(&format!("transfer-leader?id={ALICE}")), One(409, "")),
        ("relay factor of 6", keyring("relay-factor=6"), One(400, "range: [0, 5]")),
        ("relay factor of -1", keyring("relay-factor=-1"), One(400, "range: [0, 5]")),
        ("relay factor of 65 bits", keyring("relay-factor=18446744073709551617"), One(400, "relay-factor")),
        ("relay factor in hexadecimal", keyring("relay-factor=0x1"), One(400, "relay-factor")),
        ("flag that is no truth", keyring("local-only=perhaps"), One(400, "local-only")),
        ("local change", request("PUT", "/v1/operator/keyring?local-only", "", br#"{"Key":"0eK8RjnsGC/+I1fJErQsBA=="}"#), One(400, "local-only can only be set for list requests")),
    ];
    check(&site, table).await;
}

/// The tables attempt changes that the server would make if they were sent openly.
#[tokio::test]
async fn changes_of_the_tables_are_real() {
    for query in [format!("id={BOB}"), "address=127.0.0.2:8300".into()] {
        let site = Site::start(Dialect::Precise).await;
        let target = format!("/v1/operator/raft/peer?{query}");
        let removal = request("DELETE", &target, "", b"");
        let answers = site.exchange(&removal).await;
        assert_eq!(answers[0].status, 200);
        assert_eq!(site.federation.configuration("dc1").servers.len(), 2);
    }
}
