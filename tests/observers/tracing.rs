//! The spans and audit events of the feature `tracing`.

use std::io::{self, Write};

use cluster_operator::mock::{Calls, Fault};
use cluster_operator::observer::TracingObserver;
use cluster_operator::operation::{KeyringAction, KeyringScope};
use futures_util::FutureExt;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.add(text.trim().to_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Returns what is written while a test runs in a federation whose servers are traced.
fn traced(test: impl FnOnce(&MockFederation, &MockClock)) -> Vec<String> {
    let (clock, lines) = (MockClock::new(), Lines::default());
    let federation = federation(&clock)
        .service_options(|service| service.observer(TracingObserver))
        .build();
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    ::tracing::subscriber::with_default(subscriber, || test(&federation, &clock));
    lines.take()
}

/// The events without the spans that they are in.
fn events(lines: &[String]) -> Vec<&str> {
    let audit = "cluster_operator::audit: ";
    let events = lines.iter().map(|line| line.split_once(audit).unwrap().1);
    events.collect()
}

#[test]
fn audit_has_denials_refusals_successes_and_lost_answers() {
    let lines = traced(|federation, clock| {
        let carol = id_of(federation, "carol");
        for (token, server) in [
            ("reader-secret", "x"),
            ("writer-secret", "x"),
            ("writer-secret", &*carol),
        ] {
            let request = by(token, removal(server));
            let _ = clock.run(federation.service("alice").call(request));
        }
        federation.join("carol");
        let calls = Calls::all().from("alice").to("bob");
        federation.inject(Fault::lose_answer(calls));
        let request = by("writer-secret", removal(&carol));
        let _ = clock.run(federation.service("alice").call(request));
    });
    let carol = "00000003-0000-4000-8000-000000000003";
    let line = |subject: &str, from, rest: &str| {
        format!(
            "operation=\"remove-peer\" subject=id \"{subject}\" datacenter=\"dc1\" {from} \
             request_id=\"story-1\" {rest}"
        )
    };
    let here = "source=\"front-end\" hops=0";
    let there = "source=\"peer\" hops=1";
    assert_eq!(
        events(&lines),
        [
            line(
                "x",
                there,
                "identity=\"reader\" ending=\"denied\" outcome=\"not-applied\" \
                 error=\"permission-denied\" forwarded=false duration_ms=0.0"
            ),
            line(
                "x",
                here,
                "identity=\"reader\" ending=\"denied\" outcome=\"not-applied\" \
                 error=\"permission-denied\" forwarded=true duration_ms=0.0"
            ),
            line(
                "x",
                there,
                "identity=\"writer\" ending=\"failed\" outcome=\"not-applied\" \
                 error=\"unknown-server\" forwarded=false duration_ms=0.0"
            ),
            line(
                "x",
                here,
                "ending=\"failed\" outcome=\"not-applied\" error=\"unknown-server\" \
                 forwarded=true duration_ms=0.0"
            ),
            line(
                carol,
                there,
                "identity=\"writer\" ending=\"succeeded\" outcome=\"applied\" forwarded=false \
                 duration_ms=0.0"
            ),
            line(
                carol,
                here,
                "ending=\"succeeded\" outcome=\"applied\" forwarded=true duration_ms=0.0"
            ),
            line(
                carol,
                there,
                "identity=\"writer\" ending=\"succeeded\" outcome=\"applied\" forwarded=false \
                 duration_ms=0.0"
            ),
            line(
                carol,
                here,
                "ending=\"failed\" outcome=\"unknown\" error=\"deadline-exceeded\" \
                 forwarded=true duration_ms=10000.0"
            ),
        ]
    );
}

#[test]
fn audit_of_replacement_names_the_new_voter() {
    let lines = traced(|federation, clock| {
        let request = by("reader-secret", replacement("x", "y"));
        let _ = clock.run(federation.service("bob").call(request));
    });
    let event = events(&lines)[0];
    let start = "operation=\"replace-peer\" subject=id \"x\" with=\"y\" datacenter=\"dc1\"";
    assert!(event.starts_with(start), "{event}");
}

#[test]
fn abandoned_write_is_audited_and_reads_are_not() {
    let lines = traced(|federation, clock| {
        let read = Operation::RaftConfiguration(Default::default());
        let read = by("reader-secret", OperatorRequest::new(read));
        clock.run(federation.service("bob").call(read)).unwrap();
        let calls = Calls::all().from("alice").to("bob");
        let delay = std::time::Duration::from_secs(1);
        federation.inject(Fault::delay(calls, delay));
        let removal = by("writer-secret", removal("x"));
        let answer = federation.service("alice").call(removal).now_or_never();
        assert!(answer.is_none());
    });
    assert_eq!(
        events(&lines),
        [
            "operation=\"remove-peer\" subject=id \"x\" datacenter=\"dc1\" source=\"front-end\" \
             hops=0 request_id=\"story-1\" ending=\"abandoned\" outcome=\"unknown\" \
             forwarded=true duration_ms=0.0"
        ]
    );
}

#[test]
fn events_of_an_operation_are_in_its_span() {
    let lines = traced(|federation, clock| {
        let install = Operation::Keyring {
            action: KeyringAction::Install(key()),
            scope: KeyringScope::LocalOnly,
            relay_factor: Default::default(),
        };
        let mut request = by("writer-secret", OperatorRequest::new(install));
        request.request_id = removal("x").request_id;
        let _ = clock.run(federation.service("alice").call(request));
    });
    assert_eq!(
        lines,
        [
            "INFO operation{operation=\"install-key\" datacenter=\"dc1\" source=\"front-end\" \
             hops=0 request_id=\"story-1\" identity=\"writer\" ending=\"failed\" \
             outcome=\"not-applied\" error=\"invalid-request\" forwarded=false \
             duration_ms=0.0}: cluster_operator::audit: operation=\"install-key\" \
             datacenter=\"dc1\" source=\"front-end\" hops=0 request_id=\"story-1\" \
             identity=\"writer\" ending=\"failed\" outcome=\"not-applied\" \
             error=\"invalid-request\" forwarded=false duration_ms=0.0"
        ]
    );
}
