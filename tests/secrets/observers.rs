//! What observers are told, and the spans, events and metrics that they make of it.

use std::sync::{Arc, Mutex};

use cluster_operator::Pool;
use cluster_operator::mock::{Calls, Fault, Grant, MockClock, NodeFault};
use cluster_operator::observer::{Ended, Observer, Started};

use crate::http::{DIALECTS, answers, builder};
use crate::search::{assert_no_secret, key, key_text};

/// Everything that was observed, as text.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<String>>);

impl Observer for Seen {
    fn started(&self, operation: &Started<'_>) {
        *self.0.lock().unwrap() += &format!("{operation:?}\n");
    }

    fn ended(&self, _: &Started<'_>, end: &Ended<'_>) {
        let text = end.error.map(ToString::to_string);
        *self.0.lock().unwrap() += &format!("{end:?} {text:?}\n");
    }
}

/// Serves every change and listing of keys, and other writes, in the presence of faults.
fn serve_everything(grant: Option<Grant>, observer: impl Observer + Clone + 'static) {
    // Time stands still, so that durations are no random digits.
    let clock = MockClock::new();
    let refuses = |server| Fault::node(server, Pool::Lan, NodeFault::Refuses);
    let faults: [&[Fault]; 5] = [
        &[],
        &[refuses("bob"), refuses("dave")],
        &[Fault::stop("bob"), Fault::stop("dave")],
        &[Fault::refuse(Calls::all())],
        &[Fault::garble(Calls::all())],
    ];
    let body = format!("{{\"Key\":\"{}\"}}", key_text());
    let short = format!("{{\"Key\":\"{}\"}}", &key_text()[4..]);
    for faults in faults {
        let observer = observer.clone();
        let federation = builder(grant)
            .clock(&clock)
            .service_options(move |service| service.observer(observer.clone()))
            .build();
        for fault in faults {
            federation.inject(fault.clone());
        }
        for dialect in DIALECTS {
            for (method, target, body) in [
                ("GET", "raft/configuration?dc=dc2", ""),
                ("DELETE", "raft/peer?id=x", ""),
                ("DELETE", "raft/peer?address=x&dc=dc2", ""),
                ("POST", "raft/transfer-leader?id=x", ""),
                ("GET", "raft/removal-plan?id=x", ""),
                ("POST", "raft/planned-removal?id=x&version=1-2", ""),
                ("POST", "raft/forced-removal?id=x", ""),
                ("POST", "raft/replacement?id=x&with=y", ""),
                ("GET", "diagnosis", ""),
                ("GET", "keyring", ""),
                ("POST", "keyring", &body),
                ("PUT", "keyring", &body),
                ("DELETE", "keyring", &body),
                ("PUT", "keyring", &short),
            ] {
                let bob = federation.service("bob");
                answers(&bob, dialect, method, target, body);
            }
        }
    }
}

/// Checks a text without its request ids, which are random digits.
#[track_caller]
fn assert_no_key_or_token(text: &str) {
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let is_id = |word: &&str| {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    assert_no_secret(words.filter(|word| !is_id(word)).collect::<String>());
    assert!(!text.contains(&key().fingerprint()), "{text}");
}

const GRANTS: [Option<Grant>; 3] = [None, Some(Grant::Read), Some(Grant::Write)];

#[test]
fn observers_see_no_key_no_fingerprint_and_no_token() {
    let seen = Seen::default();
    for grant in GRANTS {
        serve_everything(grant, seen.clone());
    }
    let seen = seen.0.lock().unwrap();
    for met in [
        "install-key",
        "remove-peer",
        "Denied",
        "RingsFailed",
        "Peer",
        "plan-removal",
        "remove-planned",
        "force-removal",
        "replace-peer",
        "diagnose",
    ] {
        assert!(seen.contains(met), "{met} was not met");
    }
    assert_no_key_or_token(&seen);
}

#[cfg(feature = "tracing")]
mod tracing {
    use std::io;

    use cluster_operator::observer::TracingObserver;
    use tracing_subscriber::fmt::format::FmtSpan;

    use super::*;

    impl io::Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            *self.0.lock().unwrap() += &String::from_utf8_lossy(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn spans_and_events_show_no_secret() {
        let seen = Seen::default();
        let writer = seen.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(::tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        ::tracing::subscriber::with_default(subscriber, || {
            serve_everything(Some(Grant::Write), TracingObserver);
        });
        let seen = seen.0.lock().unwrap();
        assert!(seen.contains("cluster_operator::audit"));
        assert_no_key_or_token(&seen);
    }
}

#[cfg(feature = "metrics")]
#[test]
fn labels_of_metrics_show_no_secret() {
    use cluster_operator::observer::MetricsObserver;
    use metrics_util::debugging::DebuggingRecorder;

    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || {
        for grant in GRANTS {
            serve_everything(grant, MetricsObserver);
        }
    });
    let snapshot = recorder.snapshotter().snapshot().into_vec();
    assert!(snapshot.len() > 20, "{}", snapshot.len());
    for (key, ..) in snapshot {
        assert_no_key_or_token(&format!("{key:?}"));
    }
}
