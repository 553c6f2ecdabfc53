//! Each check of peers fails on a transport that breaks its rule alone.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::mock::MockClock;
use cluster_operator::{
    DatacenterName, Envelope, EnvelopeReply, OperatorService, Peers, SendError, SendFailure,
    Target, Timer,
};
use cluster_operator_conformance::peers::{CHECKS, PeersFixture, Place, run};
use cluster_operator_conformance::{Fixture, NotSupported};
use futures_util::future::{Either, select};
use serde_json::Value;

use crate::give_way;
use crate::peers::{Faulty, Sent, Simulated};

/// A transport that breaks the rule of the check of this name, or as one of
/// [`OTHER_WAYS`] says.
#[derive(Clone)]
struct Broken {
    real: Faulty,
    clock: MockClock,
    rule: &'static str,
    state: Arc<Mutex<State>>,
}

/// Checks, and what else breaks their rules.
const OTHER_WAYS: [(&str, &str); 14] = [
    ("a_lost_reply_is_reported_as_lost", LATE_AND_NOT_SENT),
    ("a_server_that_is_down_is_unreachable", HANGS),
    ("an_unknown_address_is_unreachable", HANGS),
    ("an_unknown_address_is_unreachable", NEVER_SURE),
    ("no_secret_is_in_an_error_of_the_transport", HANGS),
    ("no_secret_is_in_an_error_of_the_transport", TELLS_PART),
    ("a_request_does_not_wait_for_another_one", TAKES_TURNS),
    ("a_reply_comes_back_as_it_was", REWRITES_JSON),
    ("an_error_comes_back_as_it_was", REWRITES_JSON),
    ("bytes_arrive_and_come_back_unchanged", TEXT_ONLY),
    ("bytes_arrive_and_come_back_unchanged", REPLIES_IN_TEXT),
    ("bytes_arrive_and_come_back_unchanged", GIVES_UP_UNREADABLE),
    (
        "bytes_arrive_and_come_back_unchanged",
        GIVES_UP_OTHER_VERSIONS,
    ),
    ("the_request_arrives_as_it_was_sent", EMPTY_TOKEN),
];

const LATE_AND_NOT_SENT: &str = "a lost reply is waited for until the deadline and said not sent";
const NEVER_SURE: &str = "what was not sent is said to be lost";
const TELLS_PART: &str = "all but a letter of the token is told, two causes deep";
const TAKES_TURNS: &str = "each request has its turn, until its deadline";
const REWRITES_JSON: &str = "JSON is read and written again";
const TEXT_ONLY: &str = "what is no UTF-8 is replaced";
const REPLIES_IN_TEXT: &str = "what is no UTF-8 is replaced in replies";
const GIVES_UP_UNREADABLE: &str = "a reply that is no JSON is said not sent";
const GIVES_UP_OTHER_VERSIONS: &str = "a reply of another version is said not sent";
const EMPTY_TOKEN: &str = "no token is sent as an empty one";

const HANGS: &str = "a server that is not there is waited for without an end";
const PATIENT: &str = "a server that is not there is waited for until the deadline";

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
        if self.rule == "every_joined_datacenter_is_known" {
            told.pop();
        }
        told
    }

    async fn send(&self, target: &Target, mut envelope: Envelope, deadline: Duration) -> Sent {
        let mut target = target.clone();
        let token = token(&envelope).unwrap_or_default();
        // What is sent instead.
        match self.rule {
            "the_request_arrives_as_it_was_sent" => {
                envelope = edited(&envelope, "\"hops\":1", "\"hops\":0");
            }
            EMPTY_TOKEN => {
                envelope = edited(&envelope, "\"token\":null", "\"token\":\"\"");
            }
            TEXT_ONLY => envelope = Envelope::from_bytes(text(envelope.as_bytes())),
            "bytes_arrive_and_come_back_unchanged" if json(envelope.as_bytes()).is_none() => {
                return Err(SendError::not_sent("this is no JSON"));
            }
            "a_request_goes_where_it_is_sent" => {
                let mut state = self.state();
                target = state.first.get_or_insert(target).clone();
            }
            "requests_at_once_get_their_own_answers" => {
                self.state().buffer = Some(envelope);
                give_way().await;
                envelope = self.state().buffer.clone().unwrap();
            }
            "a_request_does_not_wait_for_another_one" | TAKES_TURNS => {
                while std::mem::replace(&mut self.state().busy, true) {
                    self.clock.sleep(Duration::from_secs(1)).await;
                }
            }
            "a_dropped_request_affects_no_other" => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Err(SendError::not_sent("busy"));
                }
                give_way().await;
                self.state().busy = false;
            }
            "an_unknown_address_is_unreachable" => {
                if let Target::Server(server) = &target {
                    assert!(server.address.as_str().contains(':'), "no port");
                }
            }
            _ => {}
        }
        let answer = self.real.send(&target, envelope.clone(), deadline);
        let answer = match self.rule {
            TAKES_TURNS => match select(answer, self.clock.sleep(deadline)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(SendError::lost("no answer in time")),
            },
            _ => answer.await,
        };
        if ["a_request_does_not_wait_for_another_one", TAKES_TURNS].contains(&self.rule) {
            self.state().busy = false;
        }
        // What is answered instead.
        match (self.rule, answer) {
            ("a_reply_comes_back_as_it_was", Ok(reply)) => {
                let servers = "/reply/Ok/RaftConfiguration/servers";
                edited_reply(&reply, servers, |_| Value::Array(Vec::new()))
            }
            ("a_reply_comes_back_from_another_datacenter", Ok(reply)) => {
                edited_reply(&reply, "/reply/Ok", |_| "PeerRemoved".into())
            }
            ("an_error_comes_back_as_it_was", Ok(reply)) => {
                edited_reply(&reply, "/reply/Err/forwards", |_| 0.into())
            }
            (REWRITES_JSON, Ok(reply)) => edited_reply(&reply, "", Value::clone),
            (REPLIES_IN_TEXT, Ok(reply)) => Ok(EnvelopeReply::from_bytes(text(reply.as_bytes()))),
            (GIVES_UP_UNREADABLE, Ok(reply)) if json(reply.as_bytes()).is_none() => {
                Err(SendError::not_sent("the reply is no JSON"))
            }
            (GIVES_UP_OTHER_VERSIONS, Ok(reply))
                if !text(reply.as_bytes()).contains("version\":2") =>
            {
                Err(SendError::not_sent("the reply is of another version"))
            }
            ("a_request_is_sent_once", Ok(reply)) => {
                let again = json(reply.as_bytes())
                    .and_then(|json| Some(json.pointer("/reply/Err/outcome")? == "unknown"));
                match again {
                    Some(true) => self.real.send(&target, envelope, deadline).await,
                    _ => Ok(reply),
                }
            }
            ("a_lost_reply_is_reported_as_lost", Err(SendError::Lost(failure))) => {
                Err(SendError::NotSent(failure))
            }
            (LATE_AND_NOT_SENT, Err(SendError::Lost(failure))) => {
                self.clock.sleep(deadline).await;
                Err(SendError::NotSent(failure))
            }
            (HANGS, Err(SendError::NotSent(_))) => pending().await,
            (PATIENT, Err(SendError::NotSent(failure))) => {
                self.clock.sleep(deadline).await;
                Err(SendError::NotSent(failure))
            }
            ("a_server_that_is_down_is_unreachable", Err(SendError::NotSent(_))) => {
                Ok(EnvelopeReply::from_bytes("{}"))
            }
            (NEVER_SURE, Err(SendError::NotSent(failure))) => Err(SendError::Lost(failure)),
            ("no_secret_is_in_an_error_of_the_transport", Err(error)) => {
                Err(with_source(error, format!("GET /?token={token}")))
            }
            (TELLS_PART, Err(error)) => {
                let part = token[..token.len().saturating_sub(1)].to_owned();
                let cause = SendFailure::new("cannot connect").with_source(part);
                Err(with_source(error, cause))
            }
            (_, answer) => answer,
        }
    }
}

struct BrokenFixture {
    sound: Simulated,
    broken: Broken,
}

impl BrokenFixture {
    fn new(clock: &MockClock, rule: &'static str) -> Self {
        let sound = Simulated::new(clock);
        BrokenFixture {
            broken: Broken {
                real: sound.peers.clone(),
                clock: clock.clone(),
                rule,
                state: Arc::default(),
            },
            sound,
        }
    }
}

#[async_trait]
impl Fixture for BrokenFixture {
    fn timer(&self) -> &dyn Timer {
        self.sound.timer()
    }
}

#[async_trait]
impl PeersFixture for BrokenFixture {
    fn peers(&self) -> Arc<dyn Peers> {
        Arc::new(self.broken.clone())
    }

    async fn serve(&self, place: Place, service: OperatorService) -> Result<Target, NotSupported> {
        self.sound.serve(place, service).await
    }

    async fn stop(&self, target: &Target) -> Result<(), NotSupported> {
        self.sound.stop(target).await
    }

    async fn lose_answers(&self, target: &Target) -> Result<(), NotSupported> {
        self.sound.lose_answers(target).await
    }

    async fn replace_replies(&self, target: &Target, reply: Vec<u8>) -> Result<(), NotSupported> {
        self.sound.replace_replies(target, reply).await
    }
}

#[test]
fn each_check_fails_on_a_transport_that_breaks_its_rule() {
    let clock = MockClock::new();
    crate::assert_caught(CHECKS.iter().map(|check| {
        let broken = async |()| Ok(BrokenFixture::new(&clock, check.name()));
        clock.run(run(check, broken))
    }));
}

#[test]
fn other_ways_to_break_a_rule_are_caught() {
    let clock = MockClock::new();
    crate::assert_caught(OTHER_WAYS.map(|(check, way)| {
        let broken = async |()| Ok(BrokenFixture::new(&clock, way));
        clock.run(run(crate::named(CHECKS, check), broken))
    }));
}

#[test]
fn transport_that_breaks_no_rule_passes() {
    let clock = MockClock::new();
    for sound in ["none", PATIENT] {
        let sound = async |()| Ok(BrokenFixture::new(&clock, sound));
        clock
            .run(cluster_operator_conformance::peers(sound))
            .assert_complete();
    }
}
