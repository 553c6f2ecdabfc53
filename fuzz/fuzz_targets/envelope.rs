//! Requests from other servers.
#![no_main]

use std::time::Duration;

use cluster_operator::{Envelope, Outcome};
use cluster_operator_fuzz::server;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let envelope = Envelope::from_bytes(input);
    let second = Duration::from_secs(1);
    if let (Ok(request), Ok(shorter)) =
        (envelope.request(), envelope.with_timeout(second).request())
    {
        assert_eq!(request, shorter);
    }
    let (service, clock) = server();
    let reply = clock.run(service.answer(&envelope));
    if let Err(error) = &reply.result(Outcome::Unknown) {
        // What this server has written it can read.
        assert_ne!(error.kind().name(), "invalid-reply", "{error}");
    }
});
