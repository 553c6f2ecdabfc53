//! Each check of peers fails on a transport that breaks its rule.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::mock::MockClock;
use cluster_operator::peers::{EnvelopeReply, SendError, SendFailure, Target};
use cluster_operator::{DatacenterName, Envelope, Peers, Timer};
use cluster_operator_conformance::peers::{CHECKS, run};
use futures_util::future::{Either, select};
use serde_json::Value;

use crate::give_way;
use crate::peers::{Faulty, Sent, Simulated};

/// Waits for a server that is not there until the deadline, which is allowed.
const PATIENT: &str = "a server that is not there is waited for until the deadline";

/// Each check, and the mistakes of a backend that it notices.
const MUTANTS: crate::Mutants = &[
    (
        "a_reply_comes_back_as_it_was",
        &[
            "the servers of a reply are lost",
            "the forwards of an error are lost",
            "JSON is read and written again",
            "every reply says that a peer was removed",
        ],
    ),
    (
        "the_request_arrives_as_it_was_sent",
        &[
            "the count of forwards is lost",
            "no token is sent as an empty one",
        ],
    ),
    (
        "bytes_arrive_and_come_back_unchanged",
        &[
            "only JSON is sent",
            "what is no UTF-8 is replaced",
            "what is no UTF-8 is replaced in replies",
            "a reply that is no JSON is said not sent",
            "a reply of another version is said not sent",
        ],
    ),
    (
        "a_request_is_sent_once",
        &["a write with an unknown outcome is sent again"],
    ),
    (
        "a_lost_reply_is_reported_as_lost",
        &[
            "a lost reply is said not sent",
            "a lost reply is waited for until the deadline and said not sent",
        ],
    ),
    (
        "a_server_that_is_down_is_unreachable",
        &[
            "a server that is down replies",
            "a server that is not there is waited for without an end",
        ],
    ),
    (
        "an_unknown_address_is_unreachable",
        &[
            "an address without a port panics",
            "a server that is not there is waited for without an end",
            "what was not sent is said to be lost",
        ],
    ),
    (
        "a_request_goes_where_it_is_sent",
        &[
            "every request goes to the first target",
            "the last datacenter is not known",
        ],
    ),
    (
        "requests_at_once_get_their_own_answers",
        &["requests at once share a buffer"],
    ),
    (
        "a_request_does_not_wait_for_another_one",
        &[
            "each request has its turn, without an end",
            "each request has its turn, until its deadline",
        ],
    ),
    (
        "a_dropped_request_affects_no_other",
        &["a dropped request blocks the next"],
    ),
    (
        "no_secret_is_in_an_error_of_the_transport",
        &[
            "an error has the token in its source",
            "a server that is not there is waited for without an end",
            "all but a letter of the token is told, two causes deep",
        ],
    ),
];

/// A transport that does one thing wrong.
#[derive(Clone)]
struct Broken {
    real: Faulty,
    clock: MockClock,
    mutant: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// The target of the first request.
    first: Option<Target>,
    /// The envelope in the one buffer that there is.
    buffer: Option<Envelope>,
    busy: bool,
}

impl Broken {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn json(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// The envelope with another text in place of this one.
fn edited(envelope: &Envelope, from: &str, to: &str) -> Envelope {
    Envelope::from_bytes(text(envelope.as_bytes()).replace(from, to))
}

/// The reply with another value at this place, if there is such a place.
fn edited_reply(reply: &EnvelopeReply, place: &str, edit: impl Fn(&Value) -> Value) -> Sent {
    let Some(mut json) = json(reply.as_bytes()) else {
        return Ok(reply.clone());
    };
    if let Some(value) = json.pointer_mut(place) {
        *value = edit(value);
    }
    Ok(EnvelopeReply::from_bytes(json.to_string()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn token(envelope: &Envelope) -> Option<String> {
    let json = json(envelope.as_bytes())?;
    let token = json.pointer("/call/request/token")?.as_str()?;
    Some(token.to_owned())
}

fn with_source(
    error: SendError,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SendError {
    let failure = SendFailure::new("cannot connect").with_source(source);
    match error {
        SendError::Lost(_) => SendError::Lost(failure),
        SendError::NotSent(_) | SendError::NoPath => SendError::NotSent(failure),
    }
}

#[async_trait]
impl Peers for Broken {
    fn datacenters(&self) -> Vec<DatacenterName> {
        let mut told = self.real.datacenters();
        if self.mutant == "the last datacenter is not known" {
            told.pop();
        }
        told
    }

    async fn send(&self, target: &Target, mut envelope: Envelope, deadline: Duration) -> Sent {
        let mut target = target.clone();
        let token = token(&envelope).unwrap_or_default();
        // What is sent instead.
        match self.mutant {
            "the count of forwards is lost" => {
                envelope = edited(&envelope, "\"hops\":1", "\"hops\":0");
            }
            "no token is sent as an empty one" => {
                envelope = edited(&envelope, "\"token\":null", "\"token\":\"\"");
            }
            "what is no UTF-8 is replaced" => {
                envelope = Envelope::from_bytes(text(envelope.as_bytes()))
            }
            "only JSON is sent" if json(envelope.as_bytes()).is_none() => {
                return Err(SendError::not_sent("this is no JSON"));
            }
            "every request goes to the first target" => {
                let mut state = self.state();
                target = state.first.get_or_insert(target).clone();
            }
            "requests at once share a buffer" => {
                self.state().buffer = Some(envelope);
                give_way().await;
                envelope = self.state().buffer.clone().unwrap();
            }
            "each request has its turn, without an end"
            | "each request has its turn, until its deadline" => {
                while std::mem::replace(&mut self.state().busy, true) {
                    self.clock.sleep(Duration::from_secs(1)).await;
                }
            }
            "a dropped request blocks the next" => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Err(SendError::not_sent("busy"));
                }
                give_way().await;
                self.state().busy = false;
            }
            "an address without a port panics" => {
                if let Target::Server(server) = &target {
                    assert!(server.address.as_str().contains(':'), "no port");
                }
            }
            _ => {}
        }
        let answer = self.real.send(&target, envelope.clone(), deadline);
        let answer = match self.mutant {
            "each request has its turn, until its deadline" => {
                match select(answer, self.clock.sleep(deadline)).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(_) => Err(SendError::lost("no answer in time")),
                }
            }
            _ => answer.await,
        };
        if [
            "each request has its turn, without an end",
            "each request has its turn, until its deadline",
        ]
        .contains(&self.mutant)
        {
            self.state().busy = false;
        }
        // What is answered instead.
        match (self.mutant, answer) {
            ("the servers of a reply are lost", Ok(reply)) => {
                let servers = "/reply/Ok/RaftConfiguration/servers";
                edited_reply(&reply, servers, |_| Value::Array(Vec::new()))
            }
            ("every reply says that a peer was removed", Ok(reply)) => {
                edited_reply(&reply, "/reply/Ok", |_| "PeerRemoved".into())
            }
            ("the forwards of an error are lost", Ok(reply)) => {
                edited_reply(&reply, "/reply/Err/forwards", |_| 0.into())
            }
            ("JSON is read and written again", Ok(reply)) => edited_reply(&reply, "", Value::clone),
            ("what is no UTF-8 is replaced in replies", Ok(reply)) => {
                Ok(EnvelopeReply::from_bytes(text(reply.as_bytes())))
            }
            ("a reply that is no JSON is said not sent", Ok(reply))
                if json(reply.as_bytes()).is_none() =>
            {
                Err(SendError::not_sent("the reply is no JSON"))
            }
            ("a reply of another version is said not sent", Ok(reply))
                if !text(reply.as_bytes()).contains("version\":2") =>
            {
                Err(SendError::not_sent("the reply is of another version"))
            }
            ("a write with an unknown outcome is sent again", Ok(reply)) => {
                let again = json(reply.as_bytes())
                    .and_then(|json| Some(json.pointer("/reply/Err/outcome")? == "unknown"));
                match again {
                    Some(true) => self.real.send(&target, envelope, deadline).await,
                    _ => Ok(reply),
                }
            }
            ("a lost reply is said not sent", Err(SendError::Lost(failure))) => {
                Err(SendError::NotSent(failure))
            }
            (
                "a lost reply is waited for until the deadline and said not sent",
                Err(SendError::Lost(failure)),
            ) => {
                self.clock.sleep(deadline).await;
                Err(SendError::NotSent(failure))
            }
            (
                "a server that is not there is waited for without an end",
                Err(SendError::NotSent(_)),
            ) => pending().await,
            (PATIENT, Err(SendError::NotSent(failure))) => {
                self.clock.sleep(deadline).await;
                Err(SendError::NotSent(failure))
            }
            ("a server that is down replies", Err(SendError::NotSent(_))) => {
                Ok(EnvelopeReply::from_bytes("{}"))
            }
            ("what was not sent is said to be lost", Err(SendError::NotSent(failure))) => {
                Err(SendError::Lost(failure))
            }
            ("an error has the token in its source", Err(error)) => {
                Err(with_source(error, format!("GET /?token={token}")))
            }
            ("all but a letter of the token is told, two causes deep", Err(error)) => {
                let part = token[..token.len().saturating_sub(1)].to_owned();
                let cause = SendFailure::new("cannot connect").with_source(part);
                Err(with_source(error, cause))
            }
            (_, answer) => answer,
        }
    }
}

fn broken(clock: &MockClock, mutant: &'static str) -> Simulated {
    Simulated::with_peers(clock, |real| Broken {
        real,
        clock: clock.clone(),
        mutant,
        state: Arc::default(),
    })
}

#[test]
fn each_mutant_is_caught() {
    let clock = MockClock::new();
    crate::assert_caught(crate::each_mutant(CHECKS, MUTANTS).map(|(check, mutant)| {
        let transport = async |()| Ok(broken(&clock, mutant));
        println!("{mutant}:");
        clock.run(run(check, transport))
    }));
}

#[test]
fn transport_without_a_mutation_passes() {
    let clock = MockClock::new();
    for sound in ["none", PATIENT] {
        let sound = async |()| Ok(broken(&clock, sound));
        let report = clock.run(cluster_operator_conformance::peers(sound));
        report.assert_complete();
    }
}
