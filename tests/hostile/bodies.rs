//! Bodies: sizes, nesting, duplicates, encodings and types.

use cluster_operator::consul::Dialect;

use crate::case::Want::One;
use crate::case::{anonymous, check, cut, get, post, raw, request};
use crate::site::{READER, Site};

/// The largest body that is read, in bytes.
const LIMIT: usize = 65_536;

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[tokio::test]
async fn malformed_bodies_are_rejected() {
    let site = Site::start(Dialect::Precise).await;
    let deep = |open: &str, depth| open.repeat(depth);
    let long_number = format!(r#"{{"RelayFactor":{}}}"#, "9".repeat(5_000));
    let long_name = format!(r#"{{"{}":1}}"#, "a".repeat(5_000));
    let members = format!(
        "{{{}}}",
        r#""Key":"a","#.repeat(5_000).trim_end_matches(',')
    );
    let compressed = request(
        "POST",
        "/v1/operator/keyring",
        "Content-Encoding: gzip\r\n",
        b"{}",
    );
    let not_json = || One(400, "the body is not JSON");
    let early = || One(400, "ends too early");
    #[rustfmt::skip]
    let table = vec![
        ("no body", post(""), One(400, "the body is empty")),
        ("only white space", post(" \t\r\n "), One(400, "the body is empty")),
        ("object without a key", post("{}"), One(400, "\"Key\" is missing or empty")),
        ("empty key", post(r#"{"Key":""}"#), One(400, "\"Key\" is missing or empty")),
        ("null", post("null"), One(400, "\"Key\" is missing or empty")),
        ("null as the key", post(r#"{"Key":null}"#), One(400, "\"Key\" is missing or empty")),
        // Other types.
        ("list", post("[]"), One(400, "the JSON is an array")),
        ("text", post(r#""hunter2""#), One(400, "the JSON is a string")),
        ("number", post("1e999"), One(400, "the JSON is a number")),
        ("number as the key", post(r#"{"Key":1}"#), One(400, "\"Key\" must be a string")),
        ("list as the key", post(r#"{"Key":["hunter2"]}"#), One(400, "\"Key\" must be a string")),
        ("object as the key", post(r#"{"Key":{"$ne":null}}"#), One(400, "\"Key\" must be a string")),
        ("factor of 256", post(r#"{"RelayFactor":256}"#), One(400, "range: [0, 5]")),
        ("factor of -1", post(r#"{"RelayFactor":-1}"#), One(400, "range: [0, 5]")),
        ("factor of 1.5", post(r#"{"RelayFactor":1.5}"#), One(400, "a whole number from 0 to 5")),
        ("factor of 5,000 digits", post(long_number), One(400, "RelayFactor")),
        // Names.
        ("unknown name", post(r#"{"Keyy":"a"}"#), One(400, "unknown field")),
        ("name of a prototype", post(r#"{"__proto__":{"Key":"a"}}"#), One(400, "unknown field")),
        ("name with a null", post(r#"{"Key\u0000":"a"}"#), One(400, "unknown field")),
        ("name of 5,000 letters", post(long_name), One(400, "unknown field")),
        ("name given twice", post(r#"{"Key":"a","Key":"b"}"#), One(400, "\"Key\" is given twice")),
        ("in another case", post(r#"{"Key":"a","KEY":"b"}"#), One(400, "\"Key\" is given twice")),
        ("escaped", post(r#"{"Key":"a","\u004bey":"b"}"#), One(400, "\"Key\" is given twice")),
        ("with a letter that folds to k", post("{\"Key\":\"a\",\"\u{212a}ey\":\"b\"}"), One(400, "\"Key\" is given twice")),
        ("5,000 times", post(members), One(400, "\"Key\" is given twice")),
        // Keys.
        ("key of 15 bytes", post(r#"{"Key":"AAAAAAAAAAAAAAAAAAAA"}"#), One(400, "Invalid gossip key")),
        ("key of 64 bytes", post(format!(r#"{{"Key":"{}=="}}"#, "A".repeat(86))), One(400, "Invalid gossip key")),
        ("key that is no base64", post(r#"{"Key":"hunter2 hunter2!"}"#), One(400, "Invalid gossip key")),
        ("key in URL-safe base64", post(r#"{"Key":"0eK8RjnsGC_-I1fJErQsBA=="}"#), One(400, "Invalid gossip key")),
        ("key without padding", post(r#"{"Key":"0eK8RjnsGC/+I1fJErQsBA"}"#), One(400, "Invalid gossip key")),
        // Go takes it for the key of the ring, too, which is installed already.
        ("key with spare bits", post(r#"{"Key":"0eK8RjnsGC/+I1fJErQsBB=="}"#), One(200, "")),
        ("key with a space", post(r#"{"Key":" G/3/L4yOw3e5T7NTvuRi9g=="}"#), One(400, "Invalid gossip key")),
        ("key with a null", post(r#"{"Key":"G/3/L4yOw3e5T7NTvuRi9g==\u0000"}"#), One(400, "Invalid gossip key")),
        ("key with half a pair", post(r#"{"Key":"\ud800"}"#), One(400, "Invalid gossip key")),
        // Not JSON.
        ("apostrophes", post("{'Key':'a'}"), not_json()),
        ("comment", post("{/* */\"Key\":\"a\"}"), not_json()),
        ("trailing comma", post(r#"{"Key":"a",}"#), not_json()),
        ("bare word", post("NaN"), not_json()),
        ("number with a leading zero", post(r#"{"RelayFactor":01}"#), not_json()),
        ("raw line break in a text", post("{\"Key\":\"a\nb\"}"), not_json()),
        ("unknown escape", post(r#"{"Key":"\x41"}"#), not_json()),
        ("not UTF-8", post(b"{\"Key\":\"\xff\xfe\"}"), One(400, "Invalid gossip key")),
        ("null bytes", post([0; 100]), not_json()),
        ("cut object", post(r#"{"Key":"G/3/L4yOw3e5"#), early()),
        ("cut escape", post(r#"{"Key":"\u12"#), early()),
        ("two values", post("{}{}"), One(400, "something follows the JSON value")),
        ("value and a secret", post("{} hunter2"), One(400, "something follows the JSON value")),
        ("YAML", post("Key: hunter2"), not_json()),
        ("XML", post("<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>"), not_json()),
        ("form", post("Key=hunter2"), One(400, "the body is a form")),
        ("form of parts", post("--x\r\nContent-Disposition: form-data; name=Key\r\n\r\na"), One(400, "the body is a form")),
        // Encodings.
        ("byte order mark", post(b"\xef\xbb\xbf{\"Key\":\"a\"}"), One(400, "byte order mark")),
        ("UTF-16", post(utf16(r#"{"Key":"a"}"#)), One(400, "UTF-16")),
        ("UTF-16 with a mark", post(utf16("\u{feff}{\"Key\":\"a\"}")), One(400, "UTF-16")),
        ("gzip", post(b"\x1f\x8b\x08\x00\x00\x00\x00\x00"), One(400, "compressed")),
        ("named encoding", compressed, One(400, "the body has the content encoding")),
        // Nesting.
        ("100,000 lists", post(deep("[", LIMIT)), One(400, "")),
        ("lists as a key", post(format!(r#"{{"Key":{}"#, deep("[", 60_000))), One(400, "")),
        ("nested objects", post(deep(r#"{"Key":"#, 9_000)), One(400, "")),
        ("nested objects that end", post(deep(r#"{"Key":"#, 5_000) + "1" + &deep("}", 5_000)), One(400, "")),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn sizes_of_bodies_are_bounded() {
    let site = Site::start(Dialect::Precise).await;
    let large = || One(413, "Request body is larger than 65536 bytes");
    let post_to = "POST /v1/operator/keyring HTTP/1.1\r\nHost: a\r\n";
    let chunk = "a".repeat(LIMIT / 2 + 1);
    let chunked = format!(
        "{post_to}Transfer-Encoding: chunked\r\n\r\n8001\r\n{chunk}\r\n8001\r\n{chunk}\r\n0\r\n\r\n"
    );
    let lengths = |length: &str| raw(format!("{post_to}Content-Length: {length}\r\n\r\n"));
    let white = |length| [vec![b' '; length], b"{}".to_vec()].concat();
    let read_with_body = request(
        "GET",
        "/v1/operator/raft/configuration",
        "",
        &vec![b'a'; LIMIT + 1],
    );
    #[rustfmt::skip]
    let table = vec![
        ("largest body", post(white(LIMIT - 2)), One(400, "\"Key\" is missing")),
        ("one byte more", post(white(LIMIT - 1)), large()),
        ("body that is announced only", lengths("999999999999"), large()),
        ("length of 63 bits", lengths("9223372036854775807"), large()),
        ("length of 64 bits", lengths("18446744073709551615"), One(431, "")),
        ("length of 65 bits", lengths("18446744073709551616"), One(400, "")),
        ("chunks that grow", raw(chunked), large()),
        // Of the body of a GET nothing is read.
        ("read with a large body", read_with_body, One(200, "\"Servers\"")),
        ("cut body", cut(format!("{post_to}Content-Length: 9\r\n\r\n{{\"Key\"")), One(400, "could not be read")),
        ("cut chunk", cut(format!("{post_to}Transfer-Encoding: chunked\r\n\r\n9\r\n{{}}")), One(400, "could not be read")),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn autopilot_bodies_are_bounded() {
    let site = Site::start(Dialect::Precise).await;
    let put = |body: &str| {
        request(
            "PUT",
            "/v1/operator/autopilot/configuration",
            "",
            body.as_bytes(),
        )
    };
    let tag = format!(r#"{{"RedundancyZoneTag":"{}"}}"#, "a".repeat(513));
    #[rustfmt::skip]
    let table = vec![
        ("negative duration", put(r#"{"LastContactThreshold":"-1s"}"#), One(400, "must not be negative")),
        ("duration of 65 bits", put(r#"{"LastContactThreshold":"9999999999999h"}"#), One(400, "is too large")),
        ("negative duration of 65 bits", put(r#"{"LastContactThreshold":"-9999999999999h"}"#), One(400, "must not be negative")),
        ("duration as a number", put(r#"{"LastContactThreshold":1e30}"#), One(400, "LastContactThreshold")),
        ("duration without a unit", put(r#"{"LastContactThreshold":"5"}"#), One(400, "must be a duration")),
        ("trailing logs of 65 bits", put(r#"{"MaxTrailingLogs":18446744073709551616}"#), One(400, "is too large")),
        ("negative trailing logs", put(r#"{"MaxTrailingLogs":-1}"#), One(400, "a whole number from 0 on")),
        ("text as a truth", put(r#"{"CleanupDeadServers":"true"}"#), One(400, "must be true or false")),
        ("tag of 513 bytes", put(&tag), One(400, "longer than 512 bytes")),
        ("unknown rule", put(r#"{"CleanupDeadServer":true}"#), One(400, "unknown field")),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn denied_caller_learns_nothing_of_its_body() {
    let site = Site::start(Dialect::Precise).await;
    let token = format!("X-Consul-Token: {READER}\r\n");
    let read_only = |body: &[u8]| anonymous("POST", "/v1/operator/keyring", &token, body);
    let nobody = |body: &[u8]| anonymous("POST", "/v1/operator/keyring", "", body);
    let denied = || One(403, "lacks permission 'keyring:write'");
    #[rustfmt::skip]
    let table = vec![
        ("reader, no JSON", read_only(b"{"), denied()),
        ("reader, malformed key", read_only(br#"{"Key":"hunter2"}"#), denied()),
        ("reader, unknown name", read_only(br#"{"hunter2":1}"#), denied()),
        ("nobody, no JSON", nobody(b"\xff"), denied()),
        ("nobody, the key of the ring", nobody(br#"{"Key":"0eK8RjnsGC/+I1fJErQsBA=="}"#), denied()),
        ("nobody, another key", nobody(br#"{"Key":"G/3/L4yOw3e5T7NTvuRi9g=="}"#), denied()),
        ("everybody, the listing", get("/v1/operator/keyring"), One(200, "\"Keys\"")),
    ];
    check(&site, table).await;
}
