//! Keyring replies.

use std::fmt::Write;

use super::dialect::{Aggregation, ErrorRules, Presence, Rules};
use super::json::JsonWriter;
use super::message::{JSON, Response};
use super::{View, fault, status};
use crate::acl::Access;
use crate::error::{ErrorKind, OperatorError};
use crate::keyring::{KeyCounts, Pool, RingReport};
use crate::operation::{KeyringReply, RingOutcome};

/// About the size of a ring of three keys, in bytes.
const RING_SIZE: usize = 320;

/// The response to an operation on rings; `error` says that it has failed.
pub(super) fn response(
    reply: &KeyringReply,
    error: Option<&OperatorError>,
    view: &View,
    rules: &Rules,
) -> Response {
    if rules.ring.errors != Aggregation::Rings
        && let Some(text) = consul_error(reply, view, rules)
    {
        return super::encode::consul_text(text);
    }
    if view.access == Access::Write && error.is_none() {
        return Response::empty(200);
    }
    let some_changed =
        view.access == Access::Write && reply.rings.iter().any(RingOutcome::is_confirmed);
    let status = match error {
        None => 200,
        // Whatever the others say: this was neither refused nor done.
        Some(_) if some_changed => 500,
        Some(_) => status::of_rings(reply.rings.iter().filter(|ring| !ring.is_confirmed())),
    };
    let mut body = Vec::with_capacity(64 + reply.rings.len() * RING_SIZE);
    let mut json = JsonWriter::new(&mut body, view.pretty);
    json.begin_array();
    for ring in &reply.rings {
        write_ring(&mut json, ring, view, rules);
    }
    json.end_array();
    if view.pretty {
        body.push(b'\n');
    }
    let response = Response::new(status, JSON, body);
    match error {
        Some(error) => status::described(response, error),
        None => response,
    }
}

fn write_ring(json: &mut JsonWriter<'_>, ring: &RingOutcome, view: &View, rules: &Rules) {
    let none = RingReport::default();
    let report = ring.report.as_ref().unwrap_or(&none);
    json.begin_object();
    json.field("WAN");
    json.bool(ring.pool == Pool::Wan);
    json.field("Datacenter");
    json.string(ring.datacenter.as_str());
    let segment = match &ring.pool {
        Pool::Segment(name) => name.as_str(),
        Pool::Wan | Pool::Lan => "",
    };
    if is_present(rules.ring.segment, !segment.is_empty()) {
        json.field("Segment");
        json.string(segment);
    }
    if !report.messages.is_empty() {
        json.field("Messages");
        json.begin_object();
        for (node, message) in &report.messages {
            json.key(node.as_str());
            json.string(&fault::message(message, view.access));
        }
        json.end_object();
    }
    json.field("Keys");
    write_counts(json, &report.keys);
    if is_present(rules.ring.primary_keys, !report.primary_keys.is_empty()) {
        json.field("PrimaryKeys");
        write_counts(json, &report.primary_keys);
    }
    json.field("NumNodes");
    json.u64(report.nodes as u64);
    if rules.ring.errors == Aggregation::Rings && !report.silent.is_empty() {
        json.field("Silent");
        json.begin_array();
        for node in &report.silent {
            json.string(node.as_str());
        }
        json.end_array();
    }
    if let Some(error) = ring_error(ring, rules) {
        json.field("Error");
        json.string(&error);
        if view.access == Access::Write {
            json.field("Outcome");
            json.string(ring.outcome().name());
        }
    }
    json.end_object();
}

fn write_counts(json: &mut JsonWriter<'_>, counts: &KeyCounts) {
    json.begin_object();
    for (key, count) in counts.iter() {
        json.key(key.as_base64());
        json.u64(count as u64);
    }
    json.end_object();
}

fn is_present(presence: Presence, known: bool) -> bool {
    match presence {
        Presence::Always => true,
        Presence::IfKnown => known,
        Presence::Never => false,
    }
}

fn ring_error(ring: &RingOutcome, rules: &Rules) -> Option<String> {
    let fault = || ring.report.as_ref()?.fault().map(|fault| fault.to_string());
    match &ring.error {
        None => fault(),
        Some(error) if rules.errors == ErrorRules::Precise => Some(fault::precise(error)),
        Some(error) => Some(error.to_string()),
    }
}

/// The text that stands for the whole reply where Consul gives up on it: the
/// first datacenter that could not be asked, else all that went wrong in rings.
fn consul_error(reply: &KeyringReply, view: &View, rules: &Rules) -> Option<String> {
    let unasked = reply.rings.iter().find_map(|ring| {
        // Where nodes have answered, they have the word.
        let error = ring.error.as_ref().filter(|_| ring.report.is_none())?;
        is_call_error(error).then_some(error)
    });
    if let Some(error) = unasked {
        return Some(fault::consul(error, view, rules));
    }
    let mut lines = Vec::new();
    for ring in reply.rings.iter().filter(|ring| !ring.is_confirmed()) {
        let fault = ring.report.as_ref().and_then(RingReport::fault);
        let error = match (fault, &ring.error) {
            (Some(fault), _) => fault.to_string(),
            (None, Some(error)) => fault::consul(error, view, rules),
            (None, None) => String::new(),
        };
        if rules.ring.errors == Aggregation::Terse {
            lines.push(error);
            continue;
        }
        lines.push(match &ring.pool {
            Pool::Wan => format!("WAN error: {error}"),
            Pool::Lan => format!("{} (LAN) error: {error}", ring.datacenter),
            Pool::Segment(name) => {
                format!("{} (LAN) [segment: {name}] error: {error}", ring.datacenter)
            }
        });
        if let Some(report) = &ring.report {
            lines.extend(report.messages.iter().map(|(node, message)| {
                format!("{node}: {}", fault::message(message, view.access))
            }));
        }
    }
    (!lines.is_empty()).then(|| multierror(&lines, rules.ring.errors))
}

/// Whether a datacenter could not be asked, as opposed to its ring having
/// failed.
fn is_call_error(error: &OperatorError) -> bool {
    error.forwards() > 0
        || matches!(
            error.kind(),
            ErrorKind::DeadlineExceeded { .. }
                | ErrorKind::NoPathToDatacenter { .. }
                | ErrorKind::TooManyHops { .. }
                | ErrorKind::Unreachable { .. }
        )
}

/// HashiCorp's go-multierror, in its old and its newer form.
fn multierror(lines: &[String], aggregation: Aggregation) -> String {
    let mut text = String::new();
    let count = lines.len();
    if aggregation == Aggregation::Terse {
        let _ = write!(
            text,
            "{count} error(s) occurred:\n\n* {}",
            lines.join("\n* ")
        );
    } else {
        let plural = if count == 1 { "error" } else { "errors" };
        let _ = write!(
            text,
            "{count} {plural} occurred:\n\t* {}\n\n",
            lines.join("\n\t* ")
        );
    }
    text
}
