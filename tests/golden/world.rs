//! The servers that a scenario was recorded on, as a mock federation.

use std::collections::BTreeMap;

use cluster_operator::acl::{AccessorId, DefaultPolicy, Resource};
use cluster_operator::consul::{Dialect, Request as WireRequest, Wire};
use cluster_operator::mock::{Grant, MockAcl, MockFederation, MockToken};
use cluster_operator::raft::{PeerSelector, RaftServer};
use cluster_operator::service::Caller;
use cluster_operator::{AllowAll, GossipKey, NodeName, Pool, ServerId};

use super::recording::{Case, Request, Response, Scenario};

/// The key that all servers were started with, where no listing shows it.
const FIRST_KEY: &str = "0eK8RjnsGC/+I1fJErQsBA==";

/// The servers of one scenario.
pub(crate) struct World {
    federation: MockFederation,
    wire: Wire,
    consul: String,
    many: bool,
    /// The recorded servers' ids and their names.
    recorded_ids: Vec<(String, String)>,
    /// What to add to a recorded Raft index to get ours.
    index_offset: i64,
    /// How requests are sent, if not by a call.
    #[cfg(feature = "http")]
    sockets: Option<super::socket::Sockets>,
}

impl World {
    pub(crate) fn new(consul: &str, scenario: &Scenario) -> Self {
        let many = scenario.name.contains("three servers");
        let old = consul.starts_with("0.");
        let mut builder = MockFederation::builder()
            .notices_failures(false)
            .version(consul)
            .node_meta(first_meta(scenario))
            .raft_servers(|server| server.last_index = Some(0))
            .raft_index(if old { 1 } else { 22 });
        builder = if many {
            builder
                .datacenter("dc1", ["alice", "bob", "carol"])
                .datacenter("dc2", ["dave"])
        } else {
            builder.datacenter("dc1", ["alice"])
        };
        if let Some(configuration) = first_configuration(scenario) {
            builder = builder.configuration_order(configuration.names);
            if let Some(leader) = configuration.leader {
                builder = builder.leader(leader);
            }
        }
        if many && old {
            // In that recording bob and carol were not joined over the WAN.
            builder = builder.wan_pools([vec!["alice", "dave"], vec!["bob"], vec!["carol"]]);
        }
        builder = if scenario.name.contains("encryption off") {
            builder.unencrypted()
        } else {
            builder.gossip_key(first_key(scenario))
        };
        builder = if scenario.name.contains("ACLs on") {
            builder.authorizer(acl(scenario))
        } else {
            builder.authorizer(AllowAll)
        };
        World {
            federation: builder.build(),
            wire: Wire::new(dialect(consul)),
            consul: consul.to_owned(),
            many,
            recorded_ids: recorded_ids(scenario),
            index_offset: 0,
            #[cfg(feature = "http")]
            sockets: None,
        }
    }

    /// Sends requests over sockets.
    #[cfg(feature = "http")]
    pub(crate) fn over_sockets(mut self) -> Self {
        let dialect = self.wire.dialect();
        self.sockets = Some(super::socket::Sockets::open(&self.federation, dialect));
        self
    }

    /// Our servers' ids and their names.
    pub(crate) fn ids(&self) -> Vec<(String, String)> {
        let mut ids = Vec::new();
        for datacenter in self.federation.datacenters() {
            for server in self.federation.servers(datacenter) {
                let id = self.federation.raft(server.clone()).id().to_string();
                ids.push((id, format!("<id of {server}>")));
            }
        }
        ids
    }

    pub(crate) fn recorded_ids(&self) -> &[(String, String)] {
        &self.recorded_ids
    }

    /// Brings the servers into the state in which the case was recorded: the
    /// names say who had been killed, and the answers who had come to lead.
    pub(crate) fn prepare(&self, case: &Case) {
        let name = &case.name;
        let stages = [
            name.contains("failed server"),
            name.contains("without quorum"),
            name.contains("dc1 dead") || name.contains("dead dc"),
        ];
        if !self.many {
            return;
        }
        let Some(stage) = stages.iter().rposition(|reached| *reached) else {
            self.lead(case);
            return;
        };
        if self.federation.is_up("carol") {
            self.kill("carol");
        }
        if stage >= 1 && self.federation.is_up("bob") {
            // By then the WAN had noticed that carol was gone.
            if !self.consul.starts_with("0.") {
                self.federation.notice_failure("carol", &Pool::Wan);
            }
            self.kill("bob");
        }
        if stage >= 2 && self.federation.is_up("alice") {
            self.kill("alice");
        }
        self.lead(case);
    }

    /// The LAN notices at once; newer servers clean up while they can.
    fn kill(&self, server: &str) {
        self.federation.stop(server);
        self.federation.notice_failure(server, &Pool::Lan);
        if !self.consul.starts_with("0.") && server == "carol" {
            self.remove(self.federation.raft(server).id().clone());
        }
    }

    fn lead(&self, case: &Case) {
        if let Some(leader) = leader(&case.response.body) {
            self.federation.elect(leader);
        }
        if let Some(recorded) = configuration(&case.response.body) {
            self.rejoin(&recorded.names);
        }
    }

    /// Consul's autopilot removes a server that seems dead while the lead changes, and adds
    /// it again: then it stands last.
    fn rejoin(&self, recorded: &[String]) {
        let ours: Vec<_> = self.federation.configuration("dc1").servers;
        let name = |server: &RaftServer| server.name.as_ref().unwrap().to_string();
        let mut names: Vec<_> = ours.iter().map(name).collect();
        let first = names.iter().position(|name| Some(name) == recorded.first());
        names.sort();
        let mut same = recorded.to_vec();
        same.sort();
        let Some(first) = first.filter(|_| names == same) else {
            return;
        };
        for server in &ours[..first] {
            self.remove(server.id.clone());
            assert!(self.federation.join(name(server)));
        }
    }

    /// Removes a server, as Consul's autopilot does.
    fn remove(&self, server: ServerId) {
        let leader = self.federation.leader("dc1").unwrap();
        let leader = self.federation.service(leader);
        let caller = Caller::anonymous();
        let removal = leader.remove_peer(&caller, PeerSelector::Id(server), None);
        futures_executor::block_on(removal).unwrap();
    }

    /// Which servers the case may have been sent to, the likeliest first. The
    /// recording does not say; a read can be tried on each.
    pub(crate) fn candidates(&self, case: &Case) -> Vec<&'static str> {
        if !self.many {
            return vec!["alice"];
        }
        let name = case.name.as_str();
        let likely = match name {
            _ if name.ends_with("server 2") => "bob",
            _ if name.ends_with("server 3") => "carol",
            // The only way in which the listing that follows can be what it is.
            "install in all" if self.consul.starts_with("0.") => "bob",
            _ if name.contains("from dc2") || name.contains("dc1 dead") => "dave",
            _ if name.contains("remote dc") && case.request.target.contains("dc=dc1") => "dave",
            _ if name.contains("dead dc") => "dave",
            _ => "alice",
        };
        let mut candidates = vec![likely];
        if case.request.method == "GET" {
            let others = ["alice", "bob", "carol", "dave"].into_iter();
            candidates
                .extend(others.filter(|other| *other != likely && self.federation.is_up(*other)));
        }
        candidates
    }

    pub(crate) fn send(&mut self, server: &str, request: &Request) -> Response {
        let target = self.ours(&request.target);
        #[cfg(feature = "http")]
        if let Some(sockets) = &self.sockets {
            return sockets.send(server, &target, request);
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target.as_str(), None),
        };
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let body = request.body.clone().unwrap_or_default();
        let response = futures_executor::block_on(self.wire.serve(
            &self.federation.service(NodeName::new(server)),
            WireRequest {
                method: &request.method,
                path,
                query,
                headers: &headers.as_slice(),
                body: body.into(),
            },
        ));
        Response {
            status: response.status,
            headers: response
                .headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_string()))
                .collect(),
            body: String::from_utf8(response.body.to_vec()).unwrap(),
        }
    }

    /// Learns from an answer how far our indexes are from the recorded ones.
    pub(crate) fn learn(&mut self, recorded: &Response, ours: &Response) {
        let index = |response: &Response| {
            let (_, rest) = response.body.split_once("\"ModifyIndex\":")?;
            let digits = rest.trim_start();
            let end = digits.find(|c: char| !c.is_ascii_digit())?;
            digits[..end].parse::<i64>().ok()
        };
        if let (Some(recorded), Some(ours)) = (index(recorded), index(ours)) {
            self.index_offset = ours - recorded;
        }
    }

    /// The request with our ids and indexes in place of the recorded ones.
    fn ours(&self, target: &str) -> String {
        let mut target = target.to_owned();
        let ours = self.ids();
        for (recorded, name) in &self.recorded_ids {
            if let Some((id, _)) = ours.iter().find(|(_, ours)| ours == name) {
                target = target.replace(recorded.as_str(), id);
            }
        }
        let Some((before, after)) = target.split_once("cas=") else {
            return target;
        };
        let end = after.find('&').unwrap_or(after.len());
        match after[..end].parse::<i64>() {
            Ok(index) => format!("{before}cas={}{}", index + self.index_offset, &after[end..]),
            Err(_) => target,
        }
    }
}

/// The dialect of a version of Consul.
pub(crate) fn dialect(consul: &str) -> Dialect {
    use Dialect::{Consul0_7, Consul1_10, Consul1_17};
    let dialects = [Consul0_7, Consul1_10, Consul1_17].into_iter();
    let mut dialects = dialects.filter(|dialect| dialect.version() == consul);
    dialects
        .next()
        .unwrap_or_else(|| panic!("no dialect of Consul {consul}"))
}

/// The leader of dc1 that an answer of autopilot or a Raft configuration shows.
fn leader(body: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    let servers: Vec<_> = match value.get("Servers")? {
        serde_json::Value::Array(servers) => servers.iter().collect(),
        serde_json::Value::Object(servers) => servers.values().collect(),
        _ => return None,
    };
    let leads = |server: &&&serde_json::Value| {
        let role = server.get("Status").and_then(serde_json::Value::as_str);
        role == Some("leader") || server.get("Leader") == Some(&true.into())
    };
    let leader = servers.iter().find(leads)?;
    let name = leader.get("Node").or(leader.get("Name"))?;
    Some(name.as_str()?.to_owned())
}

struct Configuration {
    names: Vec<String>,
    leader: Option<String>,
}

fn configuration(body: &str) -> Option<Configuration> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    let servers = value.get("Servers")?.as_array()?;
    let name = |server: &serde_json::Value| Some(server.get("Node")?.as_str()?.to_owned());
    Some(Configuration {
        names: servers.iter().filter_map(name).collect(),
        leader: leader(body),
    })
}

fn first_configuration(scenario: &Scenario) -> Option<Configuration> {
    scenario
        .cases
        .iter()
        .filter_map(|case| configuration(&case.response.body))
        .filter(|found| !found.names.is_empty() && found.leader.is_some())
        .max_by_key(|found| found.names.len())
}

/// The ids that the recorded servers had, wherever an answer shows one beside a
/// name.
fn recorded_ids(scenario: &Scenario) -> Vec<(String, String)> {
    fn walk(value: &serde_json::Value, found: &mut Vec<(String, String)>) {
        let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
        if let (Some(id), Some(name)) = (text("ID"), text("Node").or(text("Name")))
            && id.len() == 36
        {
            let id = (id.to_owned(), format!("<id of {name}>"));
            if !found.contains(&id) {
                found.push(id);
            }
        }
        match value {
            serde_json::Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            serde_json::Value::Object(values) => {
                values.values().for_each(|value| walk(value, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for case in &scenario.cases {
        if let Ok(value) = serde_json::from_str(&case.response.body) {
            walk(&value, &mut found);
        }
    }
    found
}

/// The metadata of the nodes, in the first answer of autopilot that has it.
fn first_meta(scenario: &Scenario) -> BTreeMap<String, String> {
    let meta = scenario.cases.iter().find_map(|case| {
        let value: serde_json::Value = serde_json::from_str(&case.response.body).ok()?;
        let server = value.get("Servers")?.as_object()?.values().next()?;
        serde_json::from_value(server.get("Meta")?.clone()).ok()
    });
    meta.unwrap_or_default()
}

/// The one key of the first listing that shows only one.
fn first_key(scenario: &Scenario) -> GossipKey {
    let listed = scenario.cases.iter().find_map(|case| {
        let value: serde_json::Value = serde_json::from_str(&case.response.body).ok()?;
        let keys = value.as_array()?.first()?.get("Keys")?.as_object()?;
        (keys.len() == 1).then(|| keys.keys().next().cloned())?
    });
    listed.as_deref().unwrap_or(FIRST_KEY).parse().unwrap()
}

fn acl(scenario: &Scenario) -> MockAcl {
    let default = if scenario.name.contains("default allow") {
        DefaultPolicy::Allow
    } else {
        DefaultPolicy::Deny
    };
    let mut acl = MockAcl::new(default);
    if let Some(management) = &scenario.management_token {
        acl = acl.with_token(MockToken::management(management));
    }
    for (secret, rules) in &scenario.tokens {
        let mut token = MockToken::new(secret);
        if let Some(accessor) = scenario.accessors.get(secret) {
            token = token.with_accessor(AccessorId::new(accessor));
        }
        for (resource, name) in [
            (Resource::Operator, "operator"),
            (Resource::Keyring, "keyring"),
        ] {
            let grants = rules.texts().iter().filter_map(|text| grant(text, name));
            // Deny beats write beats read, whatever the order.
            let strongest = grants.max_by_key(|grant| match grant {
                Grant::Read => 0,
                Grant::Write => 1,
                Grant::Deny => 2,
            });
            if let Some(grant) = strongest {
                token = token.with(resource, grant);
            }
        }
        acl = acl.with_token(token);
    }
    acl
}

/// What a rule text says of a resource. Of two rules the last one counts, as in
/// the servers that were recorded.
fn grant(rules: &str, resource: &str) -> Option<Grant> {
    let words: String = rules
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '_' {
                c
            } else {
                ' '
            }
        })
        .collect();
    let words: Vec<_> = words.split_whitespace().collect();
    let at = words.iter().rposition(|word| *word == resource)?;
    match *words.get(at + 1)? {
        "read" => Some(Grant::Read),
        "write" => Some(Grant::Write),
        "deny" => Some(Grant::Deny),
        _ => None,
    }
}
