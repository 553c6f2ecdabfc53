//! The intended differences between the Consul dialects and Consul.
//!
//! The same table is in docs/deviations.md; a test compares the two.

use super::recording::{Case, Response, Scenario};

/// A rule of Consul that is not followed.
pub(crate) struct Deviation {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    /// Tells whether the case shows it.
    applies: fn(&Exchange<'_>) -> bool,
}

/// No recording can show the deviation: no server joined while its health was asked, and no
/// autopilot of the library runs here. `autopilot::health` and `tests/autopilot/wire.rs`
/// have the tests.
const NOT_RECORDED: fn(&Exchange<'_>) -> bool = |_| false;

struct Exchange<'a> {
    consul: &'a str,
    scenario: &'a Scenario,
    case: &'a Case,
    ours: &'a Response,
    token: Option<String>,
}

pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        name: "reserved tokens",
        reason: "a token named allow, deny or manage is a token like any other",
        applies: |exchange| {
            matches!(exchange.token.as_deref(), Some("allow" | "deny" | "manage"))
                && exchange.case.response.body == "Cannot resolve root ACL"
        },
    },
    Deviation {
        name: "deny falls through",
        reason: "0.7.3 asks the default policy what a rule has denied, so that under a default of \
                 allow whoever may read, or may nothing, can write",
        applies: |exchange| {
            exchange.consul.starts_with("0.")
                && exchange.scenario.name.contains("default allow")
                && exchange.case.request.method != "GET"
                && exchange
                    .rules()
                    .is_some_and(|rules| ["read", "deny"].iter().any(|rule| rules.contains(rule)))
        },
    },
    Deviation {
        name: "case-dependent rules",
        reason: "1.10 takes \"DENY\" for a rule and then forgets it, so that under a default of \
                 allow it grants everything; here such a policy is refused",
        applies: |exchange| {
            exchange.rules().is_some_and(|rules| {
                ["READ", "WRITE", "DENY", "Read", "Write", "Deny"]
                    .iter()
                    .any(|rule| rules.contains(rule))
            })
        },
    },
    Deviation {
        name: "limits",
        reason: "Consul reads a body, a token, a parameter and a name of any size; here each has \
                 a limit, and so has their number",
        applies: |exchange| {
            let request = &exchange.case.request;
            let body = request.body.as_ref().map_or(0, String::len);
            body > 64 * 1024 || request.target.len() > 512
        },
    },
    Deviation {
        name: "thresholds",
        reason: "a threshold of autopilot that is below zero, or a number beyond 292 years, is \
                 stored as zero, which means the same: no server is ever healthy",
        applies: |exchange| {
            let shown = &exchange.case.response.body;
            shown.contains("Threshold\":\"-") || shown.contains("StabilizationTime\":\"-")
        },
    },
    Deviation {
        name: "joining servers",
        reason: "in Consul, a server that joins makes the cluster unhealthy for about a second, \
                 and health a 429; here, one without a vote counts once it was healthy",
        applies: NOT_RECORDED,
    },
    Deviation {
        name: "contradictory settings",
        reason: "Consul stores every MinQuorum; where an autopilot of the library runs, one \
                 above the intended size is refused, because the autopilot would stop",
        applies: NOT_RECORDED,
    },
    Deviation {
        name: "network errors",
        reason: "a server that cannot be reached is reported in Go's words, with its address \
                 only to a caller who is authorized; one that does not answer ends in an \
                 error after the timeout, where Consul waits until the client gives up",
        applies: |exchange| {
            let text = &exchange.case.response.body;
            ["dial tcp", "stream closed", "i/o timeout"]
                .iter()
                .any(|words| text.contains(words))
        },
    },
    Deviation {
        name: "leader after a transfer",
        reason: "1.17 reads the leader after the configuration, and for a moment after a transfer \
                 names none, although a leader has answered; here both are of one moment",
        applies: |exchange| {
            let text = &exchange.case.response.body;
            text.contains("\"Leader\":false")
                && !text.contains("\"Leader\":true")
                && !exchange.case.request.target.contains("stale")
        },
    },
    Deviation {
        name: "usage",
        reason: "1.17 counts services and proxies at /v1/operator/usage, which a library without \
                 a catalogue does not have: the path is unknown",
        applies: |exchange| {
            let target = &exchange.case.request.target;
            target.starts_with("/v1/operator/usage")
        },
    },
    Deviation {
        name: "redirects",
        reason: "Consul repeats the query of a path that it redirects, with the token in it; \
                 here the token is left out",
        applies: |exchange| {
            exchange.case.response.status == 301 && exchange.case.request.target.contains("token")
        },
    },
    Deviation {
        name: "malformed values",
        reason: "the 400 to a body that is not JSON, or to a parameter that is not a number, a \
                 truth value or a duration, names the mistake in Consul's words; rarer texts of \
                 Go are not repeated word for word, nor is a name or a value that might be a \
                 secret: one beyond 20 letters, digits, dots, dashes and plus signs; of a \
                 body with several fields of a wrong type 0.7 names each, here the first \
                 one is named; a literal that is misspelt is \"in literal\", without \
                 which; a byte that is not UTF-8 is named as the first one of its \
                 replacement character; and 0.7 refuses a number that a float of 64 bits \
                 cannot hold, which is accepted here in a field that is not known",
        applies: |exchange| {
            let text = &exchange.case.response.body;
            (exchange.case.response.status, exchange.ours.status) == (400, 400)
                && [
                    "decode failed: ",
                    "rror parsing ",
                    "Invalid max_stale value ",
                ]
                .iter()
                .any(|start| text.contains(start))
        },
    },
];

impl Exchange<'_> {
    /// The rules of the token that the request shows.
    fn rules(&self) -> Option<String> {
        let rules = self.scenario.tokens.get(self.token.as_ref()?)?;
        Some(rules.texts().join("\n"))
    }
}

/// The deviation that a case and our answer to it show, if any.
pub(crate) fn of(
    consul: &str,
    scenario: &Scenario,
    case: &Case,
    ours: &Response,
) -> Option<&'static Deviation> {
    let query = case
        .request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    let header = |wanted: &str| {
        let mut headers = case.request.headers.iter();
        headers
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    };
    let token = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
        .filter(|token| !token.is_empty())
        .or(header("x-consul-token").map(String::as_str))
        .or(header("authorization").and_then(|value| value.split(' ').nth(1)))
        .map(str::to_owned);
    let exchange = Exchange {
        consul,
        scenario,
        case,
        ours,
        token,
    };
    DEVIATIONS
        .iter()
        .find(|deviation| (deviation.applies)(&exchange))
}
