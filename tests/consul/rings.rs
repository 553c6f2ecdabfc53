//! `Precise`: keyring replies, complete and partial.

use cluster_operator::Pool;
use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use serde_json::{Value, json};

use crate::support::{FIRST, Never, SECOND, THIRD, ask, key, two_datacenters};

/// The given members of each ring.
fn shown(listing: &Value, members: &[&str]) -> Vec<Value> {
    let rings = listing.as_array().unwrap().iter();
    rings
        .map(|ring| {
            let member = |name: &&str| (name.to_string(), ring[*name].clone());
            Value::Object(members.iter().map(member).collect())
        })
        .collect()
}

#[test]
fn listing_has_every_ring_with_keys_and_primaries() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    ask("POST", "keyring").body(key(SECOND)).send(&alice).done();
    let answer = ask("GET", "keyring").send(&alice);
    assert_eq!(answer.status(), 200);
    let ring = |wan: bool, datacenter: &str, nodes: usize| {
        format!(
            r#"{{"WAN":{wan},"Datacenter":"{datacenter}","Keys":{{"{FIRST}":{nodes},"{SECOND}":{nodes}}},"PrimaryKeys":{{"{FIRST}":{nodes}}},"NumNodes":{nodes}}}"#
        )
    };
    let (wan, lan, remote) = (
        ring(true, "dc1", 4),
        ring(false, "dc1", 3),
        ring(false, "dc2", 1),
    );
    assert_eq!(answer.text(), format!("[{wan},{lan},{remote}]"));
}

#[test]
fn rings_have_one_order_wherever_they_come_from() {
    let federation = MockFederation::builder()
        .datacenter("dc3", ["erin"])
        .datacenter("dc1", ["alice", "bob"])
        .datacenter("dc2", ["dave"])
        .segment("dc1", "beta", ["alice"])
        .segment("dc1", "alpha", ["alice", "bob"])
        .segment("dc3", "zeta", ["erin"])
        .service_options(|service| service.timer(Never))
        .build();
    let order = |server: &str| -> Vec<String> {
        let listing = ask("GET", "keyring")
            .send(&federation.service(server))
            .json();
        let rings = listing.as_array().unwrap().iter();
        rings
            .map(|ring| {
                let datacenter = ring["Datacenter"].as_str().unwrap();
                let segment = ring["Segment"].as_str().unwrap_or("");
                let pool = if ring["WAN"] == true { "wan" } else { "lan" };
                format!("{datacenter} {pool} {segment}")
                    .trim_end()
                    .to_owned()
            })
            .collect()
    };
    let dc1 = ["dc1 lan", "dc1 lan alpha", "dc1 lan beta"];
    let dc3 = ["dc3 lan", "dc3 lan zeta"];
    let alice = [&["dc1 wan"][..], &dc1, &["dc2 lan"], &dc3].concat();
    assert_eq!(order("alice"), alice);
    let erin = [&["dc3 wan"][..], &dc3, &dc1, &["dc2 lan"]].concat();
    assert_eq!(order("erin"), erin);
}

#[test]
fn local_listing_has_only_local_lan_rings() {
    let federation = two_datacenters().build();
    let listing = ask("GET", "keyring?local-only=true").send(&federation.service("alice"));
    let rings = shown(&listing.json(), &["WAN", "Datacenter"]);
    assert_eq!(rings, [json!({"WAN": false, "Datacenter": "dc1"})]);
    assert_eq!(federation.handed_to("dave"), 0);
}

#[test]
fn failed_ring_does_not_hide_the_rest_of_a_listing() {
    let federation = MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol"])
        .datacenter("dc2", ["dave"])
        .datacenter("dc3", ["erin"])
        .gossip_key(FIRST.parse().unwrap())
        .notices_failures(false)
        .service_options(|service| service.timer(Never))
        .build();
    federation.stop("bob");
    federation.stop_datacenter("dc2");
    let answer = ask("GET", "keyring").send(&federation.service("alice"));
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.json(),
        json!([
            {
                "WAN": true,
                "Datacenter": "dc1",
                "Keys": {FIRST: 3},
                "PrimaryKeys": {FIRST: 3},
                "NumNodes": 5,
                "Silent": ["bob.dc1", "dave.dc2"],
                "Error": "3/5 nodes reported success",
            },
            {
                "WAN": false,
                "Datacenter": "dc1",
                "Keys": {FIRST: 2},
                "PrimaryKeys": {FIRST: 2},
                "NumNodes": 3,
                "Silent": ["bob"],
                "Error": "2/3 nodes reported success",
            },
            {
                "WAN": false,
                "Datacenter": "dc2",
                "Keys": {},
                "NumNodes": 0,
                "Error": "cannot reach datacenter dc2: no server is up",
            },
            {
                "WAN": false,
                "Datacenter": "dc3",
                "Keys": {FIRST: 1},
                "PrimaryKeys": {FIRST: 1},
                "NumNodes": 1,
            },
        ])
    );
}

#[test]
fn partly_failed_write_is_a_500_with_every_outcome() {
    let federation = two_datacenters().build();
    federation.stop_datacenter("dc2");
    let answer = ask("POST", "keyring")
        .json()
        .body(key(SECOND))
        .send(&federation.service("alice"));
    assert_eq!(answer.status(), 500);
    let mut wan = json!({"WAN": true, "Datacenter": "dc1", "Keys": {}, "NumNodes": 3});
    let mut lan = wan.clone();
    // Gossip has given it up.
    wan["Absent"] = json!(["dave.dc2"]);
    lan["WAN"] = false.into();
    assert_eq!(
        answer.json(),
        json!([
            wan,
            lan,
            {
                "WAN": false,
                "Datacenter": "dc2",
                "Keys": {},
                "NumNodes": 0,
                "Error": "cannot reach datacenter dc2: no server is up",
                "Outcome": "not-applied",
            },
        ])
    );
    assert_eq!(federation.keys("carol", &Pool::Lan).len(), 2);
}

#[test]
fn silent_node_leaves_the_outcome_of_a_write_unknown() {
    let federation = two_datacenters().notices_failures(false).build();
    federation.stop("bob");
    let answer = ask("POST", "keyring")
        .json()
        .body(key(SECOND))
        .send(&federation.service("alice"));
    assert_eq!(answer.status(), 500);
    let rings = shown(&answer.json(), &["Datacenter", "Error", "Outcome"]);
    assert_eq!(
        rings,
        [
            json!({
                "Datacenter": "dc1",
                "Error": "3/4 nodes reported success",
                "Outcome": "unknown",
            }),
            json!({
                "Datacenter": "dc1",
                "Error": "2/3 nodes reported success",
                "Outcome": "unknown",
            }),
            json!({"Datacenter": "dc2", "Error": null, "Outcome": null}),
        ]
    );
}

#[test]
fn change_that_every_node_refuses_is_a_409() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    for (method, body, message) in [
        ("DELETE", FIRST, "Removing the primary key is not allowed"),
        ("PUT", THIRD, "Requested key is not in the keyring"),
    ] {
        let answer = ask(method, "keyring").json().body(key(body)).send(&alice);
        assert_eq!(answer.status(), 409, "{method}");
        let listing = answer.json();
        assert_eq!(listing[1]["Error"], "3/3 nodes reported failure");
        assert_eq!(listing[1]["Outcome"], "not-applied");
        let messages = json!({"alice": message, "bob": message, "carol": message});
        assert_eq!(listing[1]["Messages"], messages);
        assert_eq!(listing[0]["Messages"]["dave.dc2"], message);
    }
}

#[test]
fn refusal_of_one_ring_is_a_500_since_others_have_changed() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    let lan = federation.keyring("dave", &Pool::Lan);
    ask("POST", "keyring").body(key(SECOND)).send(&alice).done();
    let mut ring = lan.ring("dave").unwrap();
    ring.use_key(&SECOND.parse().unwrap()).unwrap();
    lan.set_ring("dave", Some(ring));
    let answer = ask("DELETE", "keyring")
        .json()
        .body(key(SECOND))
        .send(&alice);
    assert_eq!(answer.status(), 500, "{}", answer.text());
    let listing = answer.json();
    assert_eq!(listing[0]["Error"], Value::Null);
    assert_eq!(listing[2]["Error"], "1/1 nodes reported failure");
    assert_eq!(listing[2]["Outcome"], "not-applied");
    assert_eq!(federation.keys("alice", &Pool::Lan).len(), 1);
}

#[test]
fn keyring_without_encryption_is_a_409() {
    let federation = two_datacenters().unencrypted().build();
    let alice = federation.service("alice");
    for (method, message) in [
        ("GET", "Keyring is empty (encryption not enabled)"),
        ("POST", "No keyring to modify (encryption not enabled)"),
        ("PUT", "No keyring to modify (encryption not enabled)"),
        ("DELETE", "No keyring to modify (encryption not enabled)"),
    ] {
        let answer = ask(method, "keyring").json().body(key(SECOND)).send(&alice);
        assert_eq!(answer.status(), 409, "{method}");
        let listing = answer.json();
        assert_eq!(listing.as_array().unwrap().len(), 3);
        assert_eq!(listing[2]["Messages"], json!({"dave": message}));
    }
}

#[test]
fn removal_of_an_absent_key_succeeds() {
    let federation = two_datacenters().build();
    let alice = federation.service("alice");
    ask("DELETE", "keyring")
        .body(key(THIRD))
        .send(&alice)
        .done();
}

#[test]
fn remote_denial_stands_beside_the_other_rings() {
    let reader = || {
        MockAcl::new(DefaultPolicy::Deny)
            .with_token(MockToken::new("t").with(Resource::Keyring, Grant::Read))
    };
    let nobody = MockAcl::new(DefaultPolicy::Deny);
    let federation = two_datacenters()
        .authorizer(reader())
        .authorizer_in("dc2", nobody)
        .build();
    let answer = ask("GET", "keyring")
        .token("t")
        .send(&federation.service("alice"));
    assert_eq!(answer.status(), 200);
    let rings = shown(&answer.json(), &["Datacenter", "Keys", "Error"]);
    assert_eq!(
        rings[1],
        json!({"Datacenter": "dc1", "Keys": {FIRST: 3}, "Error": null})
    );
    assert_eq!(
        rings[2],
        json!({"Datacenter": "dc2", "Keys": {}, "Error": "ACL not found"})
    );
}

#[test]
fn stopped_server_gives_the_reason_for_every_ring() {
    let federation = two_datacenters().build();
    federation.stop("alice");
    let answer = ask("GET", "keyring")
        .json()
        .send(&federation.service("alice"));
    assert_eq!(answer.status(), 502);
    let listing = answer.json();
    assert_eq!(listing.as_array().unwrap().len(), 3);
    for ring in listing.as_array().unwrap() {
        let error = ring["Error"].as_str().unwrap();
        assert!(error.starts_with("cannot reach "), "{error}");
    }
}

#[test]
fn failed_change_is_a_list_for_people_unless_json_is_asked_for() {
    let federation = two_datacenters().notices_failures(false).build();
    federation.stop("bob");
    let lan = federation.keyring("carol", &Pool::Lan);
    lan.set_ring("carol", None);
    let alice = federation.service("alice");
    let text = "2 of 3 rings did not confirm: dc1 (WAN), dc1 (LAN)\
                \n* dc1 (WAN): 3/4 nodes reported success (may have changed)\
                \n  - bob.dc1: no answer\
                \n* dc1 (LAN): 1/3 nodes reported failure (may have changed)\
                \n  - carol: No keyring to modify (encryption not enabled)\
                \n  - bob: no answer";
    let install = ask("POST", "keyring").body(key(SECOND));
    // Consul's tools send no Accept, and curl a wildcard.
    let answer = install.send(&alice);
    assert_eq!(answer.error(), (500, text));
    assert_eq!(answer.header("X-Operator-Error"), Some("rings-failed"));
    assert_eq!(install.header("Accept", "*/*").send(&alice).text(), text);
    for media in ["application/json", "application/problem+json"] {
        let install = ask("POST", "keyring").body(key(SECOND));
        let answer = install.header("Accept", media).send(&alice);
        assert_eq!(answer.json().as_array().unwrap().len(), 3, "{media}");
    }
}
