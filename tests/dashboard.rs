//! Does my dashboard cope with a lost datacenter?
//!
//! A tutorial in the form of a test, to be read from top to bottom. There is a
//! dashboard that shows who leads each datacenter and whether its gossip rings
//! are whole. It talks HTTP to a server, as every client of these endpoints
//! does. The server here is one of a [`MockFederation`]: three datacenters in
//! memory, in which datacenters are lost on command. There is no socket, no
//! runtime and no waiting: the longest of these tests takes ten seconds on the
//! simulated clock and no time at all on yours.
#![cfg(all(feature = "mock", feature = "http"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use cluster_operator::Pool;
use cluster_operator::mock::{Calls, Fault, MockClock, MockFederation, NodeFault};
use cluster_operator::server::OperatorHttp;
use futures_util::future::join_all;
use serde_json::Value;
use tower::ServiceExt;

// 1. What is to be tested.
//
// The dashboard knows nothing of mocks. It gets a tower service, which in
// production is a client's connection and here is the server itself.

struct Dashboard {
    server: OperatorHttp,
    datacenters: Vec<&'static str>,
}

impl Dashboard {
    /// One line for each datacenter, and one for the rings. All are asked at
    /// once, so one that is lost holds up the page only once.
    async fn page(&self) -> Vec<String> {
        let leaders = self.datacenters.iter().map(|it| self.leader_line(it));
        let mut page = join_all(leaders).await;
        page.push(self.rings_line().await);
        page
    }

    async fn leader_line(&self, datacenter: &str) -> String {
        let path = format!("/v1/operator/raft/configuration?dc={datacenter}");
        match self.get(&path).await {
            Ok(configuration) => {
                let servers = configuration["Servers"].as_array().unwrap();
                let leader = servers.iter().find(|server| server["Leader"] == true);
                let leader = leader.map_or("nobody", |leader| leader["Node"].as_str().unwrap());
                format!("{datacenter}: {leader} leads {} servers", servers.len())
            }
            Err(status) => format!("{datacenter}: no answer ({status})"),
        }
    }

    async fn rings_line(&self) -> String {
        let rings = match self.get("/v1/operator/keyring").await {
            Ok(rings) => rings,
            Err(status) => return format!("rings: no answer ({status})"),
        };
        let rings = rings.as_array().unwrap();
        let failed = rings.iter().filter(|ring| ring.get("Error").is_some());
        let failed: Vec<_> = failed
            .map(|ring| ring["Datacenter"].as_str().unwrap())
            .collect();
        match failed.is_empty() {
            true => format!("rings: all {} are whole", rings.len()),
            false => format!("rings: look at {}", failed.join(", ")),
        }
    }

    async fn get(&self, path: &str) -> Result<Value, StatusCode> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.server.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), 1 << 20)
            .await
            .unwrap();
        match status.is_success() {
            true => Ok(serde_json::from_slice(&body).unwrap()),
            false => Err(status),
        }
    }
}

// 2. The world that it is to cope with.
//
// The clock is ours: time passes only while `clock.run` finds nothing to do. The
// dashboard talks to bob, who follows, so that what he is asked goes on to
// alice.

fn world() -> (MockClock, MockFederation, Dashboard) {
    let clock = MockClock::new();
    let federation = MockFederation::builder()
        .datacenter("berlin", ["alice", "bob", "carol"])
        .datacenter("lima", ["dave", "erin", "frank"])
        .datacenter("osaka", ["grace", "heidi", "ivan"])
        .clock(&clock)
        .build();
    let dashboard = Dashboard {
        server: OperatorHttp::new(federation.service("bob")),
        datacenters: vec!["berlin", "lima", "osaka"],
    };
    (clock, federation, dashboard)
}

// 3. First, that it works at all.

#[test]
fn page_shows_every_leader() {
    let (clock, _federation, dashboard) = world();
    assert_eq!(
        clock.run(dashboard.page()),
        [
            "berlin: alice leads 3 servers",
            "lima: dave leads 3 servers",
            "osaka: grace leads 3 servers",
            "rings: all 4 are whole",
        ]
    );
    assert_eq!(clock.now(), Duration::ZERO);
}

// 4. Now lima is lost: not down, which somebody would notice, but silent. This
// is the case that hangs programs, and the one that is hardest to bring about
// with real machines.

#[test]
fn silent_datacenter_affects_its_own_line_only() {
    let (clock, federation, dashboard) = world();
    let outage = federation.inject(Fault::silent_datacenter("lima"));
    assert_eq!(
        clock.run(dashboard.page()),
        [
            "berlin: alice leads 3 servers",
            "lima: no answer (504 Gateway Timeout)",
            "osaka: grace leads 3 servers",
            "rings: look at lima",
        ]
    );
    // Ten seconds for the leaders, all at once, and five for the rings.
    assert_eq!(clock.now(), Duration::from_secs(15));

    // 5. And when lima is back, so is its line.
    federation.heal(outage);
    assert_eq!(clock.run(dashboard.page())[1], "lima: dave leads 3 servers");
}

// 6. A datacenter that is down says so at once.

#[test]
fn stopped_datacenter_is_reported_at_once() {
    let (clock, federation, dashboard) = world();
    federation.stop_datacenter("lima");
    let page = clock.run(dashboard.page());
    assert_eq!(page[1], "lima: no answer (502 Bad Gateway)");
    assert_eq!(page[3], "rings: look at lima");
    assert_eq!(clock.now(), Duration::ZERO);
}

// 7. A partition leaves the majority a leader, and the rest without one. The
// dashboard asks bob, who is cut off from both others.

#[test]
fn server_cut_off_from_its_leader_reports_no_leader() {
    let (clock, federation, dashboard) = world();
    let cut = federation.inject(Fault::partition(["bob"], ["alice", "carol"]));
    assert_eq!(
        clock.run(dashboard.page())[0],
        "berlin: no answer (503 Service Unavailable)"
    );
    assert_eq!(federation.leader("berlin"), Some("alice".into()));
    federation.heal(cut);
    assert_eq!(
        clock.run(dashboard.page())[0],
        "berlin: alice leads 3 servers"
    );
}

// 8. One node of a ring can spoil it too.

#[test]
fn ring_with_a_silent_node_is_shown() {
    let (clock, federation, dashboard) = world();
    federation.inject(Fault::node("heidi", Pool::Lan, NodeFault::Silent));
    assert_eq!(clock.run(dashboard.page())[3], "rings: look at osaka");
}

// 9. If a test fails, the transcript tells what went where. It can be asserted
// on, too: the dashboard asks each other datacenter once for its leader and once
// for its rings, and not again because an answer was lost.

#[test]
fn request_is_not_repeated_after_a_lost_answer() {
    let (clock, federation, dashboard) = world();
    federation.inject(Fault::lose_answer(Calls::all().to("dave").nth(1)));
    clock.run(dashboard.page());
    let transcript = federation.transcript();
    println!("{transcript}");
    let to_dave = transcript.calls_between_servers();
    assert_eq!(to_dave.filter(|call| call.to == "dave").count(), 2);
    assert!(transcript.to_string().contains(
        "0.000s bob -> dave: read the Raft configuration in lima (hop 1): the answer was lost\n"
    ));
}
