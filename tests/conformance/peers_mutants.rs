//! Each check of peers fails on a transport that breaks its rule alone.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::conformance::peers::{CHECKS, PeersFixture, Place, run};
use cluster_operator::conformance::{self, Fixture, NotSupported};
use cluster_operator::mock::{MockClock, MockPeers};
use cluster_operator::{
    DatacenterName, ErrorKind, OperatorError, OperatorReply, OperatorRequest, OperatorService,
    Outcome, Peers, Target, Timer, Token,
};

use futures_util::future::{Either, select};

use crate::give_way;
use crate::peers::Simulated;

/// A transport that breaks the rule of the check of this name, or as one of
/// [`OTHER_WAYS`] says.
#[derive(Clone)]
struct Broken {
    real: MockPeers,
    clock: MockClock,
    rule: &'static str,
    state: Arc<Mutex<State>>,
}

/// Checks, and what else breaks their rules.
const OTHER_WAYS: [(&str, &str); 6] = [
    (
        "a_write_whose_answer_is_lost_has_an_unknown_outcome",
        "what was waited for until the deadline is said not to be applied",
    ),
    ("a_server_that_is_down_is_unreachable", HANGS),
    ("a_server_that_there_never_was_is_unreachable", HANGS),
    ("no_secret_is_in_an_error_of_the_transport", HANGS),
    ("no_secret_is_in_an_error_of_the_transport", TELLS_PART),
    ("a_request_does_not_wait_for_another_one", TAKES_TURNS),
];

const TELLS_PART: &str = "all but a letter of the token is told, two causes deep";
const TAKES_TURNS: &str = "each request has its turn, until its deadline";

const HANGS: &str = "a server that is not there is waited for without an end";
const PATIENT: &str = "a server that is not there is waited for until the deadline";

#[derive(Default)]
struct State {
    /// Whoever it is that was asked first.
    first: Option<Target>,
    /// The request in the one buffer that there is.
    buffer: Option<OperatorRequest>,
    busy: bool,
}

impl Broken {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

#[async_trait]
impl Peers for Broken {
    fn datacenters(&self) -> Vec<DatacenterName> {
        let mut told = self.real.datacenters();
        if self.rule == "the_datacenters_are_told_once_each" {
            told.extend(told.clone());
        }
        told
    }

    async fn send(
        &self,
        target: &Target,
        mut request: OperatorRequest,
        deadline: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        let mut target = target.clone();
        let token = request.token.clone();
        // What is sent instead.
        match self.rule {
            "the_request_arrives_as_it_was_sent" => request.forwards = 0,
            "the_token_arrives_and_no_token_arrives_as_none" => {
                request.token = Some(request.token.unwrap_or_else(|| Token::new("")));
            }
            "a_request_goes_where_it_is_sent" => {
                let mut state = self.state();
                target = state.first.get_or_insert(target).clone();
            }
            "requests_at_once_get_their_own_answers" => {
                self.state().buffer = Some(request);
                give_way().await;
                request = self.state().buffer.clone().unwrap();
            }
            "a_request_does_not_wait_for_another_one" | TAKES_TURNS => {
                while std::mem::replace(&mut self.state().busy, true) {
                    self.clock.sleep(Duration::from_secs(1)).await;
                }
            }
            "a_dropped_request_leaves_the_next_one_alone" => {
                if std::mem::replace(&mut self.state().busy, true) {
                    return Err(OperatorError::backend("busy"));
                }
                give_way().await;
                self.state().busy = false;
            }
            "a_server_that_there_never_was_is_unreachable" => {
                if let Target::Server(server) = &target {
                    assert!(server.address.as_str().contains(':'), "no port");
                }
            }
            _ => {}
        }
        let answer = self.real.send(&target, request.clone(), deadline);
        let answer = match self.rule {
            TAKES_TURNS => match select(answer, self.clock.sleep(deadline)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => Err(OperatorError::backend("no answer in time")),
            },
            _ => answer.await,
        };
        if ["a_request_does_not_wait_for_another_one", TAKES_TURNS].contains(&self.rule) {
            self.state().busy = false;
        }
        // What is answered instead.
        match (self.rule, answer) {
            (
                "a_reply_comes_back_as_it_was",
                Ok(OperatorReply::RaftConfiguration(mut configuration)),
            ) => {
                for server in &mut configuration.servers {
                    server.alive = None;
                }
                Ok(OperatorReply::RaftConfiguration(configuration))
            }
            ("a_reply_comes_back_from_another_datacenter", Ok(_)) => Ok(OperatorReply::PeerRemoved),
            ("an_error_comes_back_as_it_was", Err(error)) => {
                Err(OperatorError::backend(error.to_string()).with_outcome(error.outcome()))
            }
            ("a_key_and_the_rings_report_travel", Ok(OperatorReply::Keyring(mut reply))) => {
                reply.rings.retain(|ring| ring.is_confirmed());
                Ok(OperatorReply::Keyring(reply))
            }
            ("a_request_is_sent_once", Err(error)) if error.outcome() == Outcome::Unknown => {
                self.real.send(&target, request, deadline).await
            }
            ("a_write_whose_answer_is_lost_has_an_unknown_outcome", Err(error)) => {
                Err(error.with_outcome(Outcome::NotApplied))
            }
            ("what was waited for until the deadline is said not to be applied", Err(error))
                if error.outcome() == Outcome::Unknown =>
            {
                self.clock.sleep(deadline).await;
                Err(error.with_outcome(Outcome::NotApplied))
            }
            (HANGS, Err(error)) if matches!(error.kind(), ErrorKind::Unreachable { .. }) => {
                pending().await
            }
            (PATIENT, Err(error)) if matches!(error.kind(), ErrorKind::Unreachable { .. }) => {
                self.clock.sleep(deadline).await;
                Err(error)
            }
            ("a_server_that_is_down_is_unreachable", Err(error))
                if matches!(error.kind(), ErrorKind::Unreachable { .. }) =>
            {
                Err(ErrorKind::NoLeader.into())
            }
            ("there_is_no_path_to_an_unknown_datacenter", Err(error))
                if matches!(error.kind(), ErrorKind::NoPathToDatacenter { .. }) =>
            {
                Err(ErrorKind::NoLeader.into())
            }
            ("no_secret_is_in_an_error_of_the_transport", Err(error)) => {
                let secret = token.as_ref().map_or("", Token::expose);
                Err(error.with_source(format!("GET /?token={secret}")))
            }
            (TELLS_PART, Err(error)) => {
                let secret = token.as_ref().map_or("", Token::expose);
                let part = &secret[..secret.len().saturating_sub(1)];
                let cause = OperatorError::backend("cannot connect").with_source(part.to_owned());
                Err(error.with_source(cause))
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
}

#[test]
fn each_check_fails_on_a_transport_that_breaks_its_rule() {
    let clock = MockClock::new();
    crate::assert_caught(CHECKS.iter().map(|check| {
        let broken = async || Ok(BrokenFixture::new(&clock, check.name()));
        clock.run(run(check, broken))
    }));
}

#[test]
fn what_else_breaks_a_rule_is_caught_too() {
    let clock = MockClock::new();
    crate::assert_caught(OTHER_WAYS.map(|(check, way)| {
        let broken = async || Ok(BrokenFixture::new(&clock, way));
        clock.run(run(conformance::named(CHECKS, check), broken))
    }));
}

#[test]
fn a_transport_that_breaks_no_rule_passes() {
    let clock = MockClock::new();
    for sound in ["none", PATIENT] {
        let sound = async || Ok(BrokenFixture::new(&clock, sound));
        clock.run(conformance::peers(sound)).assert_complete();
    }
}
