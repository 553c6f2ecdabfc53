//! Replies with extreme values: none of them makes the server that receives it panic,
//! and each answer of that server is valid.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use cluster_operator::autopilot::{AutopilotConfiguration, AutopilotState};
use cluster_operator::consul::{Dialect, Request, Response, Wire};
use cluster_operator::mock::{MockClock, MockKeyring, MockRaft};
use cluster_operator::peers::{EnvelopeReply, SendError, Target};
use cluster_operator::{
    AllowAll, AutopilotBackend, DatacenterName, Envelope, ErrorKind, GossipKey, OperatorError,
    OperatorReply, OperatorService, Outcome, Peers, Pool,
};
use futures_executor::block_on;
use proptest::prelude::*;
use serde_json::Value;

use super::messages::replies;
use super::seal::{concluded, reply};
use super::{REPLIES_2, committed, lines, text};

const DIALECTS: [Dialect; 4] = [
    Dialect::Precise,
    Dialect::Consul1_17,
    Dialect::Consul1_10,
    Dialect::Consul0_7,
];

/// Requests to dc1 that dc2 serves, or whose rings include those of dc2.
const REQUESTS: [(&str, &str, &str, &str); 11] = [
    ("GET", "raft/configuration", "dc=dc2", ""),
    ("GET", "raft/configuration", "dc=dc2&stale", ""),
    ("DELETE", "raft/peer", "dc=dc2&id=carol", ""),
    ("GET", "keyring", "", ""),
    (
        "POST",
        "keyring",
        "",
        r#"{"Key":"BwcHBwcHBwcHBwcHBwcHBw=="}"#,
    ),
    ("PUT", "keyring", "", r#"{"Key":"AAAA"}"#),
    ("DELETE", "keyring", "", r#"{"Key":"malformed"}"#),
    ("GET", "autopilot/configuration", "dc=dc2", ""),
    ("PUT", "autopilot/configuration", "dc=dc2&cas=7", "{}"),
    ("GET", "autopilot/health", "dc=dc2", ""),
    ("GET", "autopilot/state", "dc=dc2&pretty", ""),
];

/// The rest of the federation, which answers every request with the same bytes.
struct Fixed(Vec<u8>);

#[async_trait]
impl Peers for Fixed {
    fn datacenters(&self) -> Vec<DatacenterName> {
        vec!["dc2".into()]
    }

    async fn send(&self, _: &Target, _: Envelope, _: Duration) -> Result<EnvelopeReply, SendError> {
        Ok(EnvelopeReply::from_bytes(self.0.clone()))
    }
}

/// A server of dc1 to which all of dc2 answers with these bytes.
fn receiver(reply: Vec<u8>) -> OperatorService {
    let key = GossipKey::from_bytes(&[1; 32]).unwrap();
    OperatorService::builder("dc1")
        .raft(MockRaft::voters(["alice"]))
        .keyring(MockKeyring::new(Pool::Lan, key, ["alice"]))
        .authorizer(AllowAll)
        .peers(Fixed(reply))
        .timer(MockClock::new())
        .build()
        .unwrap()
}

fn serve(
    service: &OperatorService,
    dialect: Dialect,
    (method, endpoint, query, body): (&str, &str, &str, &'static str),
) -> Response {
    let request = Request {
        method,
        path: &format!("/v1/operator/{endpoint}"),
        query: Some(query),
        headers: &[("", ""); 0],
        body: Bytes::from_static(body.as_bytes()),
    };
    block_on(Wire::new(dialect).serve(service, request))
}

/// Checks that the response has a status, and JSON where it says so.
#[track_caller]
fn assert_valid(response: &Response) {
    assert!((200..600).contains(&response.status), "{response:?}");
    let content_type = response.header("content-type").unwrap_or_default();
    if content_type.ends_with("json") {
        serde_json::from_slice::<Value>(&response.body).unwrap();
    }
}

/// Numbers at the limits of their types, and of the year 9999 in seconds.
const NUMBERS: [u64; 11] = [
    0,
    1,
    101,
    u32::MAX as u64,
    253_402_207_200,
    253_402_207_201,
    i64::MAX as u64 - 1,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX - 1,
    u64::MAX,
];

/// Fractions of a second in nanoseconds. The last one is too large.
const FRACTIONS: [u64; 4] = [0, 500_000_000, 999_999_999, 1_000_000_000];

/// A value at a limit of its type, or of another type.
fn extreme() -> impl Strategy<Value = Value> {
    prop_oneof![
        5 => prop::sample::select(NUMBERS.to_vec()).prop_map(Value::from),
        2 => prop::sample::select(FRACTIONS.to_vec()).prop_map(Value::from),
        1 => prop::sample::select(vec![-1, i64::MIN]).prop_map(Value::from),
        1 => prop::sample::select(vec![0.5, 1e300]).prop_map(Value::from),
        1 => (0..9_000_usize).prop_map(|length| Value::from("é".repeat(length))),
        1 => Just(Value::Null),
    ]
}

/// The places of the values in a document whose type is not an object or an array.
fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            leaves(value, format!("{at}/{name}"), found);
        }),
        Value::Array(values) => values.iter().enumerate().for_each(|(index, value)| {
            leaves(value, format!("{at}/{index}"), found);
        }),
        _ => found.push(at),
    }
}

/// A reply to an operation, or an error.
fn message() -> impl Strategy<Value = Value> {
    let (replies, errors): (Vec<_>, Vec<_>) = lines(REPLIES_2)
        .into_iter()
        .map(|(_, message)| serde_json::from_str::<Value>(message).unwrap())
        .partition(|message| message["reply"].get("Err").is_none());
    prop_oneof![
        3 => prop::sample::select(replies),
        1 => prop::sample::select(errors),
    ]
}

fn places(message: &Value) -> Vec<String> {
    let mut places = Vec::new();
    leaves(&message["reply"], "/reply".into(), &mut places);
    places
}

/// A message with extreme values in some places.
fn some_extremes() -> impl Strategy<Value = Value> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), extreme()), 1..6);
    (message(), edits).prop_map(|(mut message, edits)| {
        let places = places(&message);
        for (place, value) in edits {
            if !places.is_empty() {
                let place = place.get(places.as_slice());
                *message.pointer_mut(place).unwrap() = value;
            }
        }
        message
    })
}

/// A message in which all numbers, except for fractions of seconds, are the same
/// extreme one.
fn same_extremes() -> impl Strategy<Value = Value> {
    let number = prop::sample::select(NUMBERS.to_vec());
    let fraction = prop::sample::select(FRACTIONS.to_vec());
    (message(), number, fraction).prop_map(|(mut message, number, fraction)| {
        for place in places(&message) {
            let value = message.pointer_mut(&place).unwrap();
            if value.is_number() {
                let is_fraction = place.contains("nanos");
                *value = if is_fraction { fraction } else { number }.into();
            }
        }
        message
    })
}

proptest! {
    #[test]
    fn reply_with_extreme_values_is_served(
        message in prop_oneof![some_extremes(), same_extremes()],
    ) {
        let service = receiver(serde_json::to_vec(&message).unwrap());
        for dialect in DIALECTS {
            for request in REQUESTS {
                assert_valid(&serve(&service, dialect, request));
            }
        }
    }
}

#[test]
fn committed_replies_are_served() {
    for (_, message) in lines(REPLIES_2) {
        let service = receiver(message.into());
        for dialect in DIALECTS {
            for request in REQUESTS {
                assert_valid(&serve(&service, dialect, request));
            }
        }
    }
}

/// The reply with autopilot's state, with this time in it.
fn state_at(seconds: u64, nanoseconds: u32) -> Vec<u8> {
    let mut reply: Value = serde_json::from_str(committed(REPLIES_2, "autopilot-state")).unwrap();
    let place = "/reply/Ok/AutopilotState/servers/0/stable_since";
    let time = reply.pointer_mut(place).unwrap();
    time["secs_since_epoch"] = seconds.into();
    time["nanos_since_epoch"] = nanoseconds.into();
    serde_json::to_vec(&reply).unwrap()
}

#[test]
fn reply_with_time_at_the_end_of_year_9999_is_invalid() {
    let (_, request, _) = replies().remove(5);
    for (seconds, nanoseconds) in [
        (i64::MAX as u64, 500_000_000),
        (i64::MAX as u64, 0),
        (253_402_207_200, 500_000_000),
        (253_402_207_201, 0),
    ] {
        let bytes = state_at(seconds, nanoseconds);
        let sent = Ok(EnvelopeReply::from_bytes(bytes.clone()));
        let error = block_on(concluded(request.clone(), sent)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidReply { .. }));
        assert_eq!(error.outcome(), Outcome::NotApplied);
        for endpoint in ["autopilot/health", "autopilot/state"] {
            let response = serve(
                &receiver(bytes.clone()),
                Dialect::Precise,
                ("GET", endpoint, "dc=dc2", ""),
            );
            assert_eq!(response.status, 502, "{response:?}");
        }
    }
    let sent = Ok(EnvelopeReply::from_bytes(state_at(253_402_207_200, 0)));
    assert!(block_on(concluded(request, sent)).is_ok());
}

/// An autopilot that reports this time.
struct At(SystemTime);

#[async_trait]
impl AutopilotBackend for At {
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        Ok(AutopilotConfiguration::default())
    }

    async fn set_configuration(
        &self,
        _: AutopilotConfiguration,
        _: Option<u64>,
    ) -> Result<bool, OperatorError> {
        Ok(false)
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        let Ok(OperatorReply::AutopilotState(mut state)) = replies().remove(5).2 else {
            panic!("the reply is not a state")
        };
        state.servers[0].stable_since = self.0;
        Ok(state)
    }
}

/// The latest and the earliest time of the system, to a second.
fn extreme_times() -> [SystemTime; 2] {
    let mut times = [UNIX_EPOCH; 2];
    for exponent in (0..63).rev() {
        let step = Duration::from_secs(1 << exponent);
        times[0] = times[0].checked_add(step).unwrap_or(times[0]);
        times[1] = times[1].checked_sub(step).unwrap_or(times[1]);
    }
    times
}

#[test]
fn extreme_times_of_a_backend_are_limited() {
    let [latest, earliest] = extreme_times();
    for (time, shown) in [
        (latest, "9999-12-30T22:00:00Z"),
        (earliest, "1970-01-01T00:00:00Z"),
    ] {
        let service = OperatorService::builder("dc2")
            .raft(MockRaft::voters(["dave"]))
            .autopilot(Arc::new(At(time)))
            .authorizer(AllowAll)
            .timer(MockClock::new())
            .build()
            .unwrap();
        for dialect in DIALECTS {
            for endpoint in ["autopilot/health", "autopilot/state"] {
                let response = serve(&service, dialect, ("GET", endpoint, "", ""));
                assert_valid(&response);
                if response.status == 200 {
                    assert!(text(&response.body).contains(shown), "{response:?}");
                }
            }
        }
        // Another server can read the reply.
        let (_, request, _) = replies().remove(5);
        let envelope = Envelope::new(request).unwrap();
        let answer = block_on(service.answer(&envelope));
        let sent = Ok(EnvelopeReply::from_bytes(answer.as_bytes().to_vec()));
        let (_, request, _) = replies().remove(5);
        assert!(block_on(concluded(request, sent)).is_ok());
    }
}

#[test]
fn key_on_more_nodes_than_answered_is_an_invalid_reply() {
    let (_, request, answer) = replies().remove(6);
    let Ok(OperatorReply::Keyring(mut rings)) = answer else {
        panic!("the reply is not a listing")
    };
    rings.rings.truncate(1);
    let report = rings.rings[0].report.clone().unwrap();
    let key = report.keys.iter().next().unwrap().0.clone();
    let mut listed = |times: usize| {
        let mut report = report.clone();
        report.keys = [(key.clone(), times)].into_iter().collect();
        rings.rings[0].report = Some(report);
        let sent = block_on(reply(Ok(OperatorReply::Keyring(rings.clone()))));
        match block_on(concluded(request.clone(), Ok(sent))) {
            Ok(OperatorReply::Keyring(reply)) => reply.rings.last().unwrap().clone(),
            other => panic!("{other:?}"),
        }
    };
    assert!(listed(2).report.is_some());
    let error = listed(usize::MAX).error.unwrap();
    assert!(matches!(error.kind(), ErrorKind::InvalidReply { .. }));
}
