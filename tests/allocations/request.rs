//! Allocations of one request, from its parts to the response's bytes.

use allocation_counter::measure;
use bytes::Bytes;
use cluster_operator::consul::{Dialect, Request, Wire};
use futures_util::FutureExt;

use super::{CONFIGURATION, TOKENS, secret, service};

#[test]
fn request_allocates_ten_times_at_most() {
    let service = service();
    let token = secret(TOKENS / 2);
    let headers = [("accept", "*/*"), ("x-consul-token", token.as_str())];
    for dialect in [
        Dialect::Precise,
        Dialect::Consul1_17,
        Dialect::Consul1_10,
        Dialect::Consul0_7,
    ] {
        let wire = Wire::new(dialect);
        let serve = || {
            let request = Request {
                method: "GET",
                path: CONFIGURATION,
                query: None,
                headers: &headers,
                body: Bytes::new(),
            };
            let response = wire.serve(&service, request).now_or_never().unwrap();
            assert_eq!(response.status, 200);
            assert!(response.body.len() > 300);
        };
        // The first request of a thread also allocates thread-local data.
        serve();
        let allocated = measure(serve);
        println!("{dialect:?}: {allocated:?}");
        assert!(allocated.count_total <= 10, "{dialect:?}: {allocated:?}");
        assert_eq!(allocated.count_current, 0, "{dialect:?}: {allocated:?}");
    }
}
