//! A whole request through every dialect, as text: the request line, header lines, an empty
//! line, and the body. A caller who is denied gets the same answer from two servers that
//! differ in all that they hold.
#![no_main]

use cluster_operator::consul::Request;
use cluster_operator_fuzz::{DIALECTS, KEY, SERVERS, answer, check, closed_server, serve, server};
use libfuzzer_sys::fuzz_target;

const OTHER_KEY: &str = "G/3/L4yOw3e5T7NTvuRi9g==";

fuzz_target!(|input: &[u8]| {
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let Ok(head) = std::str::from_utf8(head) else {
        return;
    };
    let mut lines = head.split('\n');
    let line = lines.next().unwrap_or_default();
    let (method, target) = line.split_once(' ').unwrap_or((line, "/"));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let headers: Vec<_> = lines
        .map(|line| line.split_once(':').unwrap_or((line, "")))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    let headers = headers.as_slice();
    let server = server();
    let closed = [
        closed_server(KEY, SERVERS),
        closed_server(OTHER_KEY, ["erin", "frank", "grace", "heidi"]),
    ];
    for dialect in DIALECTS {
        let request = || Request {
            method,
            path,
            query,
            headers: &headers,
            body: body.to_vec().into(),
        };
        serve(&server, dialect, request());
        let [one, other] = [&closed[0], &closed[1]].map(|server| {
            let answer = answer(server, dialect, request());
            check(&answer);
            (answer.status, answer.headers, answer.body)
        });
        assert!(one == other, "{dialect:?}: {one:?} {other:?}");
    }
});
