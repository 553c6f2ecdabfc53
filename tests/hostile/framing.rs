//! Shapes of request smuggling: none is read as another request than the one that a
//! proxy would have seen, and none removes bob.

use cluster_operator::consul::Dialect;

use crate::case::Want::{Closed, One, Several};
use crate::case::{check, cut, raw};
use crate::site::{ROOT, Site};

#[tokio::test]
async fn ambiguous_lengths_smuggle_no_request() {
    let site = Site::start(Dialect::Precise).await;
    let removal = format!(
        "DELETE /v1/operator/raft/peer?address=127.0.0.2:8300 HTTP/1.1\r\nHost: a\r\nX-Consul-Token: {ROOT}\r\n\r\n"
    );
    // A write with these header lines, and the removal as its body or as what follows it.
    let post = |headers: &str, before: &str| {
        raw(format!(
            "POST /v1/operator/keyring HTTP/1.1\r\nHost: a\r\nX-Consul-Token: {ROOT}\r\n\
             {headers}\r\n{before}{removal}"
        ))
    };
    let length = removal.len();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let refused = || One(400, "");
    #[rustfmt::skip]
    let table = vec![
        // Lengths.
        ("removal as a body", post(&format!("Connection: close\r\nContent-Length: {length}\r\n"), ""), One(400, "the body is not JSON")),
        ("two lengths", post(&format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), ""), refused()),
        ("two lengths in a list", post(&format!("Content-Length: 0, {length}\r\n"), ""), refused()),
        ("length with a plus sign", post("Content-Length: +0\r\n", ""), refused()),
        ("length with a minus sign", post("Content-Length: -0\r\n", ""), refused()),
        ("length in hexadecimal", post("Content-Length: 0x0\r\n", ""), refused()),
        ("empty length", post("Content-Length:\r\n", ""), refused()),
        ("length and a letter", post("Content-Length: 0a\r\n", ""), refused()),
        ("length with a decimal point", post("Content-Length: 0.0\r\n", ""), refused()),
        ("length with a space within", post("Content-Length: 0 0\r\n", ""), refused()),
        ("length behind a space", post("Content-Length : 0\r\n", ""), refused()),
        ("length in a folded line", post("Content-Length:\r\n 0\r\n", ""), refused()),
        // Length and chunks. The chunks count, and the connection ends with them.
        ("length, then chunks", post(&format!("Content-Length: 5\r\n{chunked}"), "0\r\n\r\n"), refused()),
        ("chunks, then length", post(&format!("{chunked}Content-Length: 5\r\n"), "0\r\n\r\n"), refused()),
        ("chunks behind a length of all", post(&format!("Content-Length: {}\r\n{chunked}", length + 5), "0\r\n\r\n"), refused()),
        // Chunks in other forms.
        ("unknown encoding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), refused()),
        ("chunks not last", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), refused()),
        ("identity", post("Transfer-Encoding: identity\r\n", ""), refused()),
        ("empty encoding", post("Transfer-Encoding:\r\n", ""), refused()),
        ("encoding with a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), refused()),
        ("encoding behind a space", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), refused()),
        ("encoding in quotes", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), refused()),
        ("chunks in HTTP/1.0", raw(format!("POST /v1/operator/keyring HTTP/1.0\r\nX-Consul-Token: {ROOT}\r\n{chunked}\r\n0\r\n\r\n{removal}")), refused()),
        // Malformed chunks.
        ("size that is no number", post(chunked, "z\r\n\r\n"), refused()),
        ("negative size", post(chunked, "-1\r\n\r\n"), refused()),
        ("size with a prefix", post(chunked, "0x0\r\n\r\n"), refused()),
        ("size of 65 bits", post(chunked, "10000000000000000\r\n"), refused()),
        ("size of the last byte", post(chunked, "ffffffffffffffff\r\n"), One(408, "")),
        ("size without a carriage return", post(chunked, "1\na\r\n0\r\n\r\n"), refused()),
        ("chunk longer than its size", post(chunked, "1\r\nab\r\n0\r\n\r\n"), refused()),
        ("long extension", post(chunked, &format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(20_000))), refused()),
        ("line feed in an extension", post(chunked, "1;\n\r\na\r\n0\r\n\r\n"), refused()),
        ("many trailers", post(chunked, &format!("2\r\n{{}}\r\n0\r\n{}\r\n", "X-A: 1\r\n".repeat(2_000))), refused()),
    ];
    check(&site, table).await;
}

#[tokio::test]
async fn malformed_requests_end_the_connection() {
    let site = Site::start(Dialect::Precise).await;
    let get = |end: &str| {
        format!(
            "GET /v1/operator/raft/configuration HTTP/1.1\r\nHost: a\r\nX-Consul-Token: {ROOT}\r\n{end}"
        )
    };
    let (whole, last) = (get("\r\n"), get("Connection: close\r\n\r\n"));
    let unknown = "GET /v1/operator/x HTTP/1.1\r\nHost: a\r\n\r\n";
    let write = format!(
        "DELETE /v1/operator/raft/peer?id=nobody HTTP/1.1\r\nHost: a\r\nX-Consul-Token: {ROOT}\r\n\r\n"
    );
    #[rustfmt::skip]
    let table = vec![
        // Several requests in one packet are legal, and answered in turn.
        ("two requests", raw(format!("{whole}{last}")), Several(&[200, 200])),
        ("request after the last one", raw(format!("{last}{whole}")), Several(&[200])),
        ("two hundred requests", raw(unknown.repeat(200) + &last), Several(&[[404; 200].as_slice(), &[200]].concat().leak()[..])),
        ("write between reads", raw(format!("{whole}{write}{last}")), Several(&[200, 404, 200])),
        ("request and rubbish", raw(format!("{whole}rubbish\r\n\r\n")), Several(&[200, 400])),
        ("empty lines before a request", raw(format!("\r\n\r\n{last}")), Several(&[200])),
        ("line feeds alone", raw(last.replace("\r\n", "\n")), Several(&[200])),
        ("body that nobody reads, then a request", raw(format!("{}{last}", get("Content-Length: 4\r\n\r\nbody"))), Several(&[200, 200])),
        // A connection that stays open is closed by the timeout.
        ("nothing", raw(""), Closed),
        ("nothing, and closed", cut(""), Closed),
        ("half a line", raw("GET /v1/oper"), Closed),
        ("half a header", raw(get("X-A: ")), Closed),
        ("half a header, and closed", cut(get("X-A: ")), Closed),
        ("only empty lines", raw("\r\n".repeat(10_000)), Closed),
        ("spaces", raw(" ".repeat(1_000)), One(400, "")),
        ("null bytes", raw([0; 1_000]), One(400, "")),
        ("every byte", raw((0..=255).collect::<Vec<u8>>()), One(400, "")),
        ("long line", raw(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000))), One(414, "")),
        ("line without an end", raw("A".repeat(1_000_000)), One(431, "")),
        ("three words too many", raw("GET /v1/operator/keyring x y HTTP/1.1\r\nHost: a\r\n\r\n"), One(400, "")),
        ("version in small letters", raw("GET / http/1.1\r\nHost: a\r\n\r\n"), One(400, "")),
        ("answer as a request", raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), One(400, "")),
    ];
    check(&site, table).await;
}
