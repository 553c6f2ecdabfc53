//! Replaces the parts of a response that differ from run to run.

use super::recording::Response;

/// Normalises a response, so that two with the same meaning are equal.
///
/// `ids` are the servers' ids and what to put in their place.
pub(crate) fn normalise(response: &Response, ids: &[(String, String)]) -> Response {
    let mut response = response.clone();
    let mut body = response.body;
    for (id, name) in ids {
        body = body.replace(id.as_str(), name);
    }
    for field in [
        "Index",
        "CreateIndex",
        "ModifyIndex",
        "LastIndex",
        "LastTerm",
    ] {
        body = number(&body, field);
    }
    body = times(&body);
    body = contacts(&body);
    body = if body.starts_with("[{\"WAN\":") {
        rings(&body)
    } else if body.contains("occurred:\n") {
        aggregated(&body)
    } else if body.contains("\"SerfStatus\"") {
        health(&body)
    } else {
        body
    };
    response.body = body;
    response
}

/// Replaces Raft indexes except 0.
fn number(body: &str, field: &str) -> String {
    let name = format!("\"{field}\":");
    let mut out = String::new();
    let mut rest = body;
    while let Some(at) = rest.find(&name) {
        let (before, after) = rest.split_at(at + name.len());
        out.push_str(before);
        let digits = after.trim_start();
        out.push_str(&after[..after.len() - digits.len()]);
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let zero = digits[..end].bytes().all(|digit| digit == b'0');
        out.push_str(if zero { &digits[..end] } else { "N" });
        rest = &digits[end..];
    }
    out + rest
}

/// Replaces times by whether the health has fractions of a second.
fn times(body: &str) -> String {
    let mut parts = body.split("\"StableSince\":\"");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (time, rest) = part.split_once('"').unwrap_or((part, ""));
        assert!(
            time.len() >= 20 && time.ends_with('Z'),
            "{time:?} is no time"
        );
        let fraction = time.contains('.') && body.contains("\"SerfStatus\"");
        let kind = if fraction { "fraction" } else { "time" };
        out.push_str(&format!("\"StableSince\":\"{kind}\"{rest}"));
    }
    out
}

/// Replaces the times since the last contact of followers.
fn contacts(body: &str) -> String {
    let mut parts = body.split("\"LastContact\":\"");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (contact, rest) = part.split_once('"').unwrap_or((part, ""));
        let contact = if contact == "0s" { contact } else { "contact" };
        out.push_str(&format!("\"LastContact\":\"{contact}\"{rest}"));
    }
    out
}

/// Sorts the servers of autopilot's health: Consul takes them from a map.
fn health(body: &str) -> String {
    let found = body.split_once("\"Servers\":[").map(|(before, after)| {
        let (servers, after) = after.rsplit_once(']').unwrap();
        (before, servers, after)
    });
    let Some((before, servers, after)) = found else {
        return body.to_owned();
    };
    let array = format!("[{servers}]");
    let mut servers = elements(&array);
    servers.sort_unstable();
    format!("{before}\"Servers\":[{}]{after}", servers.join(","))
}

/// Sorts the rings by datacenter, with the WAN ring first.
fn rings(body: &str) -> String {
    let mut rings = elements(body);
    rings.sort_by_key(|ring| {
        let wan = ring.contains("\"WAN\":true");
        (!wan, ring.to_owned())
    });
    format!("[{}]", rings.join(","))
}

/// The elements of a compact array.
fn elements(array: &str) -> Vec<&str> {
    let inner = &array[1..array.len() - 1];
    let (mut depth, mut quoted, mut escaped, mut start) = (0, false, false, 0);
    let mut elements = Vec::new();
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => {
                elements.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    elements.push(&inner[start..]);
    elements
}

/// Sorts the rings, and the messages of each ring's nodes.
fn aggregated(body: &str) -> String {
    let bullet = if body.contains("\n\t* ") {
        "\n\t* "
    } else {
        "\n* "
    };
    let mut parts = body.trim_end_matches('\n').split(bullet);
    let head = parts.next().unwrap_or_default();
    let mut groups: Vec<Vec<&str>> = Vec::new();
    for line in parts {
        let begins = line.starts_with("WAN error") || line.contains("(LAN)") || bullet == "\n* ";
        match groups.last_mut() {
            Some(group) if !begins => group.push(line),
            _ => groups.push(vec![line]),
        }
    }
    for group in &mut groups {
        group[1..].sort_unstable();
    }
    groups.sort();
    format!("{head}{bullet}{}", groups.concat().join(bullet))
}

#[test]
fn only_indexes_times_and_orders_are_normalised() {
    assert_eq!(
        number(r#"{"A":[],"Index": 13}"#, "Index"),
        r#"{"A":[],"Index": N}"#
    );
    assert_eq!(number(r#"{"Index":0}"#, "Index"), r#"{"Index":0}"#);
    assert_eq!(
        rings(
            r#"[{"WAN":true,"x":[1,2]},{"WAN":false,"Datacenter":"b,]"},{"WAN":false,"Datacenter":"a"}]"#
        ),
        r#"[{"WAN":true,"x":[1,2]},{"WAN":false,"Datacenter":"a"},{"WAN":false,"Datacenter":"b,]"}]"#
    );
    let text = "3 errors occurred:\n\t* WAN error: x\n\t* b: y\n\t* a: y\n\n";
    let sorted = "3 errors occurred:\n\t* WAN error: x\n\t* a: y\n\t* b: y";
    assert_eq!(aggregated(text), sorted);
}
