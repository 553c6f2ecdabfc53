//! Does my dashboard handle a datacenter that does not answer?
//!
//! A tutorial in the form of a test, to be read from top to bottom. A dashboard shows
//! which server leads each datacenter and whether its gossip rings are complete. It
//! sends HTTP requests to a server, as every client of these endpoints does. The server
//! here is part of a [`MockFederation`]: three datacenters in memory, with faults that
//! the test injects. There is no socket and no runtime, and no test waits: the longest
//! one takes fifteen seconds on the simulated clock and almost none on yours.
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

// 1. The program under test.
//
// The dashboard does not depend on mocks. It calls a tower service, which is an HTTP
// client in production and the server itself here.

struct Dashboard {
    server: OperatorHttp,
    datacenters: Vec<&'static str>,
}

impl Dashboard {
    /// One line for each datacenter, and one for the rings. All are asked at once, so a
    /// datacenter that does not answer delays the page only once.
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
        if failed.is_empty() {
            format!("rings: all {} are complete", rings.len())
        } else {
            format!("rings: check {}", failed.join(", "))
        }
    }

    async fn get(&self, path: &str) -> Result<Value, StatusCode> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.server.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), 1 << 20)
            .await
            .unwrap();
        if status.is_success() {
            Ok(serde_json::from_slice(&body).unwrap())
        } else {
            Err(status)
        }
    }
}

// 2. The federation.
//
// The test controls the clock: time passes only while `clock.run` has nothing else to
// do. The dashboard asks bob, who is a follower and forwards to alice.

fn federation() -> (MockClock, MockFederation, Dashboard) {
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

// 3. Without a fault, every leader is shown.

#[test]
fn page_shows_every_leader() {
    let (clock, _federation, dashboard) = federation();
    assert_eq!(
        clock.run(dashboard.page()),
        [
            "berlin: alice leads 3 servers",
            "lima: dave leads 3 servers",
            "osaka: grace leads 3 servers",
            "rings: all 4 are complete",
        ]
    );
    assert_eq!(clock.now(), Duration::ZERO);
}

// 4. Now lima does not answer. It is not down, which would be an error at once, but
// silent. Such a fault makes programs hang, and is hard to produce with real machines.

#[test]
fn silent_datacenter_affects_its_own_line_only() {
    let (clock, federation, dashboard) = federation();
    let outage = federation.inject(Fault::silent_datacenter("lima"));
    assert_eq!(
        clock.run(dashboard.page()),
        [
            "berlin: alice leads 3 servers",
            "lima: no answer (504 Gateway Timeout)",
            "osaka: grace leads 3 servers",
            "rings: check lima",
        ]
    );
    // Ten seconds for the leaders, all at once, and five for the rings.
    assert_eq!(clock.now(), Duration::from_secs(15));

    // 5. And when lima is back, so is its line.
    federation.heal(outage);
    assert_eq!(clock.run(dashboard.page())[1], "lima: dave leads 3 servers");
}

// 6. A datacenter that is down is an error at once.

#[test]
fn stopped_datacenter_is_reported_at_once() {
    let (clock, federation, dashboard) = federation();
    federation.stop_datacenter("lima");
    let page = clock.run(dashboard.page());
    assert_eq!(page[1], "lima: no answer (502 Bad Gateway)");
    assert_eq!(page[3], "rings: check lima");
    assert_eq!(clock.now(), Duration::ZERO);
}

// 7. In a partition the majority has a leader, and the minority has none. The dashboard
// asks bob, who is cut off from both others.

#[test]
fn server_cut_off_from_its_leader_reports_no_leader() {
    let (clock, federation, dashboard) = federation();
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

// 8. One silent node is enough for an incomplete ring.

#[test]
fn ring_with_a_silent_node_is_shown() {
    let (clock, federation, dashboard) = federation();
    federation.inject(Fault::node("heidi", Pool::Lan, NodeFault::Silent));
    assert_eq!(clock.run(dashboard.page())[3], "rings: check osaka");
}

// 9. If a test fails, the transcript shows every call. A test can check it, too: the
// dashboard asks each other datacenter once for its leader and once for its rings, and
// does not repeat a request whose answer was lost.

#[test]
fn request_is_not_repeated_after_a_lost_answer() {
    let (clock, federation, dashboard) = federation();
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
