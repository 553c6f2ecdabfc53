//! Routes, methods and the document of a part of them.

use std::collections::{BTreeMap, BTreeSet};

use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::consul::{Dialect, Endpoint, Wire};
use cluster_operator::mock::{Grant, MockAcl, MockToken};
use serde_json::Value;

use crate::document::Document;
use crate::worlds::{ask, everything, gossip_only, two_datacenters};

/// The methods, paths and parameters of the document.
fn described(document: &Document) -> BTreeMap<(String, String), BTreeSet<String>> {
    let operations = document.operations().iter();
    let described = operations.map(|operation| {
        let own = document.parameters(operation, true).into_iter();
        let own = own.filter(|parameter| parameter["in"] == "query");
        let own = own.map(|parameter| parameter["name"].as_str().unwrap().to_owned());
        (
            (operation.method.clone(), operation.path.clone()),
            own.collect(),
        )
    });
    described.collect()
}

fn texts(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn document_has_the_routes_and_parameters_of_the_index() {
    let document = Document::served();
    let answer = ask("GET", "").send(&everything());
    let index: Value = serde_json::from_slice(&answer.body).unwrap();
    let endpoints = index["Endpoints"].as_array().unwrap().iter();
    let listed: BTreeMap<_, _> = endpoints
        .map(|endpoint| {
            let text = |name: &str| endpoint[name].as_str().unwrap().to_owned();
            (
                (text("Method"), text("Path")),
                texts(&endpoint["Parameters"]),
            )
        })
        .collect();
    assert_eq!(described(&document), listed);

    let schemes = document.root["components"]["securitySchemes"].as_object();
    let schemes = schemes.unwrap().values();
    let in_query = schemes.filter(|scheme| scheme["in"] == "query");
    let tokens: BTreeSet<_> = in_query
        .map(|scheme| scheme["name"].as_str().unwrap().to_owned())
        .collect();
    for operation in document.operations() {
        let common = document.parameters(operation, false).into_iter();
        let common = common.filter(|parameter| parameter["in"] == "query");
        let mut common: BTreeSet<_> = common
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        common.extend(tokens.clone());
        assert_eq!(
            common,
            texts(&index["CommonParameters"]),
            "{}",
            operation.id
        );
    }
}

#[test]
fn every_described_route_is_an_endpoint() {
    let document = Document::served();
    let mut ids = BTreeSet::new();
    for operation in document.operations() {
        let endpoint = Endpoint::of(&operation.method, &operation.path);
        assert!(endpoint.is_some(), "{}", operation.id);
        assert!(
            ids.insert(operation.id.clone()),
            "{} is used twice",
            operation.id
        );
        for other in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let is_described =
                described(&document).contains_key(&(other.to_owned(), operation.path.clone()));
            let is_served = Endpoint::of(other, &operation.path).is_some();
            assert_eq!(is_described, is_served, "{other} {}", operation.path);
        }
    }
}

#[test]
fn permissions_of_the_index_are_in_the_descriptions() {
    let document = Document::served();
    let answer = ask("GET", "").send(&everything());
    let index: Value = serde_json::from_slice(&answer.body).unwrap();
    for endpoint in index["Endpoints"].as_array().unwrap() {
        let method = endpoint["Method"].as_str().unwrap().to_lowercase();
        let path = endpoint["Path"].as_str().unwrap();
        let permission = endpoint["Permission"].as_str().unwrap();
        let description = &document.root["paths"][path][&method]["description"];
        let description = description.as_str().unwrap();
        let needs = format!("Needs {permission}");
        assert!(
            description.contains(&needs),
            "{method} {path}: {permission}"
        );
    }
}

#[test]
fn document_is_off_by_default_and_not_in_a_consul_dialect() {
    let service = everything();
    let off = ask("GET", "openapi.json").wire(Wire::new(Dialect::Precise));
    assert_eq!(off.send(&service).status, 404);
    let again = Wire::new(Dialect::Precise).with_openapi();
    let again = again.without(Endpoint::OpenApi);
    assert_eq!(
        ask("GET", "openapi.json").wire(again).send(&service).status,
        404
    );
    for dialect in [Dialect::Consul1_17, Dialect::Consul1_10, Dialect::Consul0_7] {
        let consul = ask("GET", "openapi.json").wire(Wire::new(dialect).with_openapi());
        assert_eq!(consul.send(&service).status, 404);
    }
}

#[test]
fn document_leaves_out_what_the_server_does_not_answer() {
    let document = |wire: Wire, service| {
        let answer = ask("GET", "openapi.json").wire(wire).send(service);
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let wire = Wire::new(Dialect::Precise).with_openapi();
    let service = everything();

    let reading = document(wire.read_only(), &service);
    assert!(reading["paths"]["/v1/operator/raft/peer"].is_null());
    let keyring = reading["paths"]["/v1/operator/keyring"]
        .as_object()
        .unwrap();
    let names: Vec<_> = keyring.keys().collect();
    assert_eq!(names, ["get", "parameters"]);

    let without = document(wire.without(Endpoint::Diagnosis), &service);
    assert!(without["paths"]["/v1/operator/diagnosis"].is_null());

    let paths = document(wire, &gossip_only());
    let paths: Vec<_> = paths["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let expected = ["", "diagnosis", "keyring", "openapi.json"];
    assert_eq!(paths, expected.map(|name| format!("/v1/operator/{name}")));
}

#[test]
fn document_needs_the_permission_of_the_index() {
    let acl = MockAcl::new(DefaultPolicy::Deny)
        .with_token(MockToken::new("keyring").with(Resource::Keyring, Grant::Read))
        .with_token(MockToken::new("operator").with(Resource::Operator, Grant::Read))
        .with_token(MockToken::new("none"));
    let federation = two_datacenters().authorizer(acl).build();
    let alice = federation.service("alice");
    for (token, status) in [
        ("keyring", 200),
        ("operator", 200),
        ("none", 403),
        ("", 403),
    ] {
        let request = ask("GET", "openapi.json").header("X-Consul-Token", token);
        assert_eq!(request.send(&alice).status, status, "{token}");
    }
    let elsewhere = ask("GET", "openapi.json?dc=dc2").header("X-Consul-Token", "keyring");
    assert_eq!(elsewhere.send(&alice).status, 400);
    let pretty = ask("GET", "openapi.json?pretty").header("X-Consul-Token", "keyring");
    assert!(
        pretty
            .send(&alice)
            .body
            .starts_with(b"{\n    \"components\"")
    );
    let head = ask("HEAD", "openapi.json").header("X-Consul-Token", "keyring");
    assert!(head.send(&alice).body.is_empty());
}

#[test]
fn every_kind_of_error_is_in_the_document() {
    let document = Document::served();
    let kinds = texts(&document.root["components"]["schemas"]["ErrorKind"]["enum"]);
    // The enum may grow, and has no list of its kinds.
    let source = include_str!("../../src/error/kind.rs");
    let named: BTreeSet<_> = source
        .lines()
        .filter(|line| line.trim_start().starts_with("ErrorKind::"))
        .filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\","))
        .map(str::to_owned)
        .collect();
    assert!(named.len() > 30, "{named:?}");
    assert_eq!(kinds, named);
}
