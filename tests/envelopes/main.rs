//! The formats of the server call, as committed bytes. Every version of this library
//! reads them, and writes the current ones unchanged.
//!
//! Each line of a file is a name and a message. Messages in the files are never changed:
//! a new format is a new version with its own files.
#![cfg(feature = "mock")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod limits;
mod messages;
mod seal;

use std::time::Duration;

use cluster_operator::mock::{MockClock, MockPeers, MockRaft};
use cluster_operator::peers::{EnvelopeReply, SendError, Target};
use cluster_operator::{AllowAll, Envelope, OperatorReply, OperatorService, Outcome, Peers};
use futures_executor::block_on;
use proptest::prelude::*;

use messages::{replies, requests};
use seal::{concluded, reply, sealed};

const REQUESTS_1: &str = include_str!("requests-1.txt");
const REQUESTS_2: &str = include_str!("requests-2.txt");
/// Operations that servers do not send any more.
const WITHDRAWN_2: &str = include_str!("requests-2-withdrawn.txt");
const REPLIES_1: &str = include_str!("replies-1.txt");
const REPLIES_2: &str = include_str!("replies-2.txt");

/// Returns the names and messages of a file.
fn lines(file: &'static str) -> Vec<(&'static str, &'static str)> {
    let lines = file.lines().map(|line| line.split_once(' ').unwrap());
    lines.collect()
}

fn committed(file: &'static str, name: &str) -> &'static str {
    let lines = lines(file);
    let found = lines.iter().find(|(named, _)| *named == name);
    found.unwrap_or_else(|| panic!("{name} is missing")).1
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The service of a server that allows every request.
fn server() -> OperatorService {
    OperatorService::builder("dc2")
        .raft(MockRaft::voters(["dave"]))
        .authorizer(AllowAll)
        .timer(MockClock::new())
        .build()
        .unwrap()
}

#[test]
fn requests_are_written_as_committed() {
    for (name, request) in requests() {
        let envelope = block_on(sealed(request));
        assert_eq!(
            text(envelope.as_bytes()),
            committed(REQUESTS_2, name),
            "{name}"
        );
    }
    assert_eq!(requests().len(), lines(REQUESTS_2).len());
}

#[test]
fn replies_are_written_as_committed() {
    for (name, _, answer) in replies() {
        let reply = block_on(reply(answer));
        assert_eq!(text(reply.as_bytes()), committed(REPLIES_2, name), "{name}");
    }
    assert_eq!(replies().len(), lines(REPLIES_2).len());
}

#[test]
fn requests_of_version_2_are_read() {
    let dc2 = Target::Datacenter("dc2".into());
    for (name, mut request) in requests() {
        let peers = MockPeers::new();
        let envelope = Envelope::from_bytes(committed(REQUESTS_2, name));
        assert!(envelope.is_write());
        drop(block_on(peers.send(&dc2, envelope, Duration::ZERO)));
        let sent = peers.sent().remove(0);
        messages::as_forwarded(&mut request);
        assert_eq!(sent.request, request, "{name}");
        assert_eq!(sent.hops, 1, "{name}");
        let deadline = if name.starts_with("keyring") { 5 } else { 10 };
        let timeout = Duration::from_secs(deadline) * 9 / 10;
        assert_eq!(sent.timeout, Some(timeout), "{name}");
    }
}

#[test]
fn replies_of_version_2_are_read() {
    for (name, request, answer) in replies() {
        let reply = EnvelopeReply::from_bytes(committed(REPLIES_2, name));
        let received = reply.result(Outcome::Unknown);
        let mut read = block_on(concluded(request, Ok(reply)));
        if let Ok(OperatorReply::Keyring(reply)) = &mut read {
            // The receiving server adds its own ring.
            reply.rings.retain(|ring| ring.datacenter == "dc2");
        }
        match (read, answer) {
            (Ok(read), Ok(answer)) => assert_eq!(read, answer, "{name}"),
            (Err(read), Err(answer)) => {
                assert_eq!(read.kind(), answer.kind(), "{name}");
                assert_eq!(read.outcome(), answer.outcome(), "{name}");
                assert_eq!(read.plan(), answer.plan(), "{name}");
                assert_eq!(received.unwrap_err().reply(), answer.reply(), "{name}");
            }
            (read, _) => panic!("{name}: {read:?}"),
        }
    }
}

#[test]
fn answer_to_version_1_says_that_its_server_is_too_old() {
    for (name, bytes) in lines(REQUESTS_1) {
        let reply = block_on(server().answer(&Envelope::from_bytes(bytes)));
        let (_, request) = requests().remove(0);
        let error = block_on(concluded(request, Ok(reply))).unwrap_err();
        assert_eq!(error.kind().name(), "incompatible-server", "{name}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{name}");
        let text = error.to_string();
        assert!(
            text.contains("the server that sent it is too old"),
            "{text}"
        );
    }
    assert!(lines(REQUESTS_1).len() > 5);
}

#[test]
fn withdrawn_operation_is_not_applied() {
    for (name, bytes) in lines(WITHDRAWN_2) {
        let reply = block_on(server().answer(&Envelope::from_bytes(bytes)));
        let (_, request) = requests().remove(0);
        let error = block_on(concluded(request, Ok(reply))).unwrap_err();
        assert_eq!(error.kind().name(), "incompatible-server", "{name}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{name}");
    }
    assert_eq!(lines(WITHDRAWN_2).len(), 2);
}

#[test]
fn operation_of_newer_server_is_not_applied() {
    let known = committed(REQUESTS_2, "replace-peer");
    let newer = known.replace("ReplacePeer", "ReplaceTwoPeers");
    assert_ne!(newer, known);
    let reply = block_on(server().answer(&Envelope::from_bytes(newer)));
    let (_, request) = requests().pop().unwrap();
    let error = block_on(concluded(request, Ok(reply))).unwrap_err();
    assert_eq!(error.kind().name(), "incompatible-server");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let text = error.to_string();
    assert!(text.contains("run the same version"), "{text}");
}

#[test]
fn reply_of_version_1_is_unknown_for_a_write() {
    let (_, write, _) = replies().remove(1);
    for (name, bytes) in lines(REPLIES_1) {
        let reply = EnvelopeReply::from_bytes(bytes);
        let error = block_on(concluded(write.clone(), Ok(reply))).unwrap_err();
        assert_eq!(error.kind().name(), "invalid-reply", "{name}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{name}");
        let text = error.to_string();
        assert!(text.contains("is too old"), "{text}");
    }
}

#[test]
fn answer_to_newer_version_says_that_this_server_is_too_old() {
    let newer = committed(REQUESTS_2, "remove-peer").replacen("2", "3", 1);
    let reply = block_on(server().answer(&Envelope::from_bytes(newer)));
    let (_, request) = requests().remove(0);
    let error = block_on(concluded(request, Ok(reply))).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(error.to_string().contains("this server is too old"));
}

#[test]
fn only_lost_writes_have_unknown_outcome() {
    for (sent, read, write) in [
        (
            SendError::lost as fn(String) -> SendError,
            Outcome::NotApplied,
            Outcome::Unknown,
        ),
        (
            SendError::not_sent,
            Outcome::NotApplied,
            Outcome::NotApplied,
        ),
    ] {
        for (request, outcome) in [
            (replies().remove(0).1, read),
            (replies().remove(1).1, write),
        ] {
            let error = block_on(concluded(request, Err(sent("reset".into())))).unwrap_err();
            assert_eq!(error.kind().name(), "unreachable");
            assert_eq!(error.outcome(), outcome);
        }
    }
}

/// Adds missing messages to the files and changes no existing ones.
#[test]
#[ignore = "it adds missing messages to the files"]
fn add_missing_messages() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/envelopes");
    let add = |file: &str, known: &'static str, messages: Vec<(&str, String)>| {
        let mut text = known.to_owned();
        for (name, message) in messages {
            if !lines(known).iter().any(|(named, _)| *named == name) {
                text += &format!("{name} {message}\n");
            }
        }
        std::fs::write(folder.join(file), text).unwrap();
    };
    let requests = requests().into_iter().map(|(name, request)| {
        let envelope = block_on(sealed(request));
        (name, text(envelope.as_bytes()).to_owned())
    });
    add("requests-2.txt", REQUESTS_2, requests.collect());
    let replies = replies().into_iter().map(|(name, _, answer)| {
        let reply = block_on(reply(answer));
        (name, text(reply.as_bytes()).to_owned())
    });
    add("replies-2.txt", REPLIES_2, replies.collect());
}

/// A message of a file with some bytes changed, removed or inserted.
fn mutated(file: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let message = prop::sample::select(lines(file));
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..3, any::<u8>()), 1..6);
    (message, edits).prop_map(|((_, message), edits)| {
        let mut bytes = message.as_bytes().to_vec();
        for (at, edit, byte) in edits {
            let at = at.index(bytes.len().max(1));
            match edit {
                _ if bytes.is_empty() => bytes.push(byte),
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "\\PC{0,100}".prop_map(String::into_bytes),
        (1_usize..5000).prop_map(|depth| b"[".repeat(depth)),
        (1_usize..5000).prop_map(|depth| b"{\"version\":".repeat(depth)),
    ]
}

proptest! {
    #[test]
    fn garbage_is_rejected(bytes in garbage()) {
        let reply = block_on(server().answer(&Envelope::from_bytes(bytes.clone())));
        let (_, request) = requests().remove(0);
        let error = block_on(concluded(request, Ok(reply))).unwrap_err();
        prop_assert_eq!(error.kind().name(), "incompatible-server");
        prop_assert_eq!(error.outcome(), Outcome::NotApplied);
        let (_, write, _) = replies().remove(1);
        let reply = EnvelopeReply::from_bytes(bytes);
        let error = block_on(concluded(write, Ok(reply))).unwrap_err();
        prop_assert_eq!(error.kind().name(), "invalid-reply");
        prop_assert_eq!(error.outcome(), Outcome::Unknown);
    }

    #[test]
    fn mutated_envelope_is_answered(bytes in mutated(REQUESTS_2)) {
        let clock = MockClock::new();
        let service = OperatorService::builder("dc2")
            .raft(MockRaft::voters(["dave"]))
            .authorizer(AllowAll)
            .timer(clock.clone())
            .build()
            .unwrap();
        let envelope = Envelope::from_bytes(bytes);
        let shorter = envelope.with_timeout(Duration::from_secs(1));
        for envelope in [envelope, shorter] {
            let reply = clock.run(service.answer(&envelope));
            let begin = "{\"version\":2,\"reply\":{";
            prop_assert_eq!(&text(reply.as_bytes())[..begin.len()], begin);
        }
    }

    #[test]
    fn mutated_reply_to_write_has_unknown_outcome(bytes in mutated(REPLIES_2)) {
        let (_, write, _) = replies().remove(1);
        let reply = EnvelopeReply::from_bytes(bytes);
        match block_on(concluded(write, Ok(reply))) {
            Err(error) if error.kind().name() == "invalid-reply" => {
                prop_assert_eq!(error.outcome(), Outcome::Unknown);
            }
            _ => {}
        }
    }
}
