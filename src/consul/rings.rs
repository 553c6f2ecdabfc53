//! Keyring replies.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::body::Ring;
use super::dialect::{Aggregation, ErrorRules, Presence, Rules};
use super::endpoint::View;
use super::message::{JSON, Response};
use super::{error, json};
use crate::acl::Access;
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::{KeyCounts, Pool, RingReport};
use crate::operation::{KeyringReply, RingOutcome};
use crate::types::NodeName;

/// The estimated size of a ring of three keys in bytes.
const RING_SIZE: usize = 320;

/// Makes the response to a keyring operation, with its error if it failed.
pub(super) fn response(
    reply: &KeyringReply,
    error: Option<&OperatorError>,
    view: &View,
    rules: &Rules,
) -> Response {
    if rules.ring.errors != Aggregation::Rings
        && let Some(text) = consul_error(reply, view, rules)
    {
        return error::respond_consul(text);
    }
    if view.access == Access::Write && error.is_none() {
        return Response::empty(200);
    }
    let some_changed =
        view.access == Access::Write && reply.rings.iter().any(RingOutcome::is_confirmed);
    let status = match error {
        None => 200,
        // Some rings have changed, so that it is not a rejection.
        Some(_) if some_changed => 500,
        Some(_) => error::of_rings(reply.rings.iter().filter(|ring| !ring.is_confirmed())),
    };
    if let Some(error) = error.filter(|_| !view.form.json) {
        let text = list(reply, error, view, rules);
        return error::described(Response::text(status, text), error);
    }
    let size = 64 + reply.rings.len() * RING_SIZE;
    let rings: Vec<_> = reply.rings.iter().map(|it| ring(it, view, rules)).collect();
    let response = Response::new(status, JSON, json::to_vec(&rings, size, view.pretty));
    match error {
        Some(error) => error::described(response, error),
        None => response,
    }
}

/// Lists the failed rings for people, since Consul's tools print the body as it is.
fn list(reply: &KeyringReply, error: &OperatorError, view: &View, rules: &Rules) -> String {
    let mut text = error::precise_text(error.kind());
    for ring in reply.rings.iter().filter(|ring| !ring.is_confirmed()) {
        let what = ring_error(ring, rules).unwrap_or_default();
        let what = match (view.access, ring.outcome()) {
            (Access::Read, _) => what,
            (_, Outcome::NotApplied) => format!("{what} (not changed)"),
            (_, Outcome::Applied) => format!("{what} (changed)"),
            (_, Outcome::Unknown) => format!("{what} (may have changed)"),
        };
        text += &format!("\n* {} ({}): {what}", ring.datacenter, ring.pool);
        let Some(report) = &ring.report else {
            continue;
        };
        for (node, message) in &report.messages {
            text += &format!("\n  - {node}: {}", error::message(message, view.access));
        }
        for node in &report.silent {
            text += &format!("\n  - {node}: no answer");
        }
    }
    text
}

fn ring<'a>(ring: &'a RingOutcome, view: &View, rules: &Rules) -> Ring<'a> {
    let report = ring.report.as_ref();
    let keys = |keys: Option<&'a KeyCounts>| keys.map(Cow::Borrowed).unwrap_or_default();
    let primary_keys = keys(report.map(|report| &report.primary_keys));
    let segment = match &ring.pool {
        Pool::Segment(name) => name.as_str(),
        Pool::Wan | Pool::Lan => "",
    };
    let messages: BTreeMap<_, _> = report
        .into_iter()
        .flat_map(|report| &report.messages)
        .map(|(node, message)| (node.as_str().into(), error::message(message, view.access)))
        .collect();
    let names = |names: Option<&'a Vec<NodeName>>| {
        let named =
            names.filter(|names| rules.ring.errors == Aggregation::Rings && !names.is_empty());
        named.map(|names| names.as_slice().into())
    };
    let error = ring_error(ring, rules);
    let failed_write = error.is_some() && view.access == Access::Write;
    Ring {
        wan: ring.pool == Pool::Wan,
        datacenter: ring.datacenter.as_str().into(),
        segment: is_present(rules.ring.segment, !segment.is_empty()).then(|| segment.into()),
        messages: Some(messages).filter(|messages| !messages.is_empty()),
        keys: keys(report.map(|report| &report.keys)),
        primary_keys: is_present(rules.ring.primary_keys, !primary_keys.is_empty())
            .then_some(primary_keys),
        num_nodes: report.map_or(0, |report| report.nodes),
        silent: names(report.map(|report| &report.silent)),
        absent: names(report.map(|report| &report.absent)),
        error: error.map(Cow::Owned),
        outcome: failed_write.then(|| ring.outcome().name().into()),
    }
}

fn is_present(presence: Presence, known: bool) -> bool {
    match presence {
        Presence::Always => true,
        Presence::IfKnown => known,
        Presence::Never => false,
    }
}

fn ring_error(ring: &RingOutcome, rules: &Rules) -> Option<String> {
    match &ring.error {
        None => ring
            .report
            .as_ref()?
            .failure()
            .map(|failure| failure.to_string()),
        Some(error) if rules.errors == ErrorRules::Precise => {
            Some(error::precise_text(error.kind()))
        }
        Some(error) => Some(error.to_string()),
    }
}

/// Returns the text by which Consul replaces a reply with failures: the error of the first
/// datacenter that could not be asked, else the errors of all rings.
fn consul_error(reply: &KeyringReply, view: &View, rules: &Rules) -> Option<String> {
    let unasked = reply.rings.iter().find_map(|ring| {
        // A ring with answers was asked.
        let error = ring.error.as_ref().filter(|_| ring.report.is_none())?;
        is_call_error(error).then_some(error)
    });
    if let Some(error) = unasked {
        return Some(error::consul_text(error, view, rules));
    }
    let mut lines = Vec::new();
    for ring in reply.rings.iter().filter(|ring| !ring.is_confirmed()) {
        let fault = ring.report.as_ref().and_then(RingReport::failure);
        let error = match (fault, &ring.error) {
            (Some(fault), _) => fault.to_string(),
            (None, Some(error)) => error::consul_text(error, view, rules),
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
                format!("{node}: {}", error::message(message, view.access))
            }));
        }
    }
    (!lines.is_empty()).then(|| multierror(&lines, rules.ring.errors))
}

/// Tells whether a datacenter could not be asked.
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

/// Joins errors as HashiCorp's go-multierror does, in its old or its newer form.
fn multierror(lines: &[String], aggregation: Aggregation) -> String {
    let count = lines.len();
    match (aggregation, count) {
        (Aggregation::Terse, _) => {
            format!("{count} error(s) occurred:\n\n* {}", lines.join("\n* "))
        }
        (_, 1) => format!("1 error occurred:\n\t* {}\n\n", lines[0]),
        _ => format!("{count} errors occurred:\n\t* {}\n\n", lines.join("\n\t* ")),
    }
}
