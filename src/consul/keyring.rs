//! Keyring requests: the body, the parameters and the key.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::decode::{Fault, Parts};
use super::dialect::BodyRules;
use super::go::json::Document;
use super::go::mapstructure;
use super::go::number::{atoi, parse_bool};
use super::go::unmarshal::{Field, GoType, Struct, unmarshal};
use super::malformed_key::{Change, MalformedKey};
use crate::acl::Resource;
use crate::keyring::{GossipKey, RelayFactor};
use crate::operation::{KeyringAction, KeyringScope, Operation};

const OUT_OF_RANGE: &str = "Invalid relay-factor: Relay factor must be in range: [0, 5]";
const LIST_ONLY: &str = "Invalid use of local-only: local-only can only be set for list requests";

static ARGUMENTS: Struct<4> = Struct {
    package: "agent",
    name: "keyringArgs",
    fields: [
        ("Key", GoType::String),
        ("Token", GoType::String),
        ("RelayFactor", GoType::Uint8),
        ("LocalOnly", GoType::Bool),
    ],
};

#[derive(Default)]
struct Arguments {
    key: Zeroizing<String>,
    relay_factor: u64,
    local_only: bool,
}

/// The operation, and the malformed key for which it stands, if there is one.
pub(super) fn operation(parts: &Parts<'_>) -> Result<(Operation, Option<MalformedKey>), Fault> {
    let write = match parts.method {
        "POST" => Some(Change::Install),
        "PUT" => Some(Change::Use),
        "DELETE" => Some(Change::Remove),
        _ => None,
    };
    let read = |parts: &Parts<'_>| {
        let mut arguments = match write {
            Some(_) => body(parts)?,
            None => Arguments::default(),
        };
        parameters(parts, write, &mut arguments)?;
        Ok((relay_factor(parts, arguments.relay_factor)?, arguments))
    };
    let (relay_factor, arguments) =
        read(parts).map_err(|text: String| refuse(parts, write, text))?;
    let scope = match write {
        None if arguments.local_only => KeyringScope::LocalOnly,
        _ => KeyringScope::Federation,
    };
    let mut malformed = None;
    let action = match write {
        None => KeyringAction::List,
        Some(write) => match GossipKey::from_base64(&arguments.key) {
            Ok(key) => match write {
                Change::Install => KeyringAction::Install(key),
                Change::Use => KeyringAction::Use(key),
                Change::Remove => KeyringAction::Remove(key),
            },
            Err(error) if parts.rules.refuse_keys => {
                let text = format!("Invalid gossip key: {error}");
                return Err(refuse(parts, Some(write), text));
            }
            Err(error) => {
                malformed = Some(MalformedKey {
                    change: write,
                    error,
                });
                KeyringAction::List
            }
        },
    };
    let operation = Operation::Keyring {
        action,
        scope,
        relay_factor,
    };
    Ok((operation, malformed))
}

/// What is wrong with a body is nobody's business who may not write keys, in the
/// dialect that can choose.
fn refuse(parts: &Parts<'_>, write: Option<Change>, text: String) -> Fault {
    match write {
        Some(_) if parts.rules.refuse_keys => Fault::Private(text, Resource::Keyring),
        _ => Fault::Bad(text),
    }
}

fn body(parts: &Parts<'_>) -> Result<Arguments, String> {
    let failed = |error| format!("Request decode failed: {error}");
    let document = Document::decode(parts.body).map_err(failed)?;
    if parts.rules.body == BodyRules::Loose {
        let [key, _token] = mapstructure::decode(&document, ["Key", "Token"]).map_err(failed)?;
        return Ok(Arguments {
            key: Zeroizing::new(key.unwrap_or_default()),
            ..Arguments::default()
        });
    }
    if parts.rules.body == BodyRules::Whole && document.trailing() {
        return Err(failed("something follows the JSON value".into()));
    }
    let mut arguments = Arguments::default();
    for field in unmarshal(&document, &ARGUMENTS)
        .map_err(failed)?
        .into_iter()
        .enumerate()
    {
        match field {
            (0, Some(Field::String(key))) => arguments.key = Zeroizing::new(key),
            // It would not be used: the token comes as a parameter or a header.
            (_, Some(Field::String(token))) => drop(Zeroizing::new(token)),
            (_, Some(Field::Uint(factor))) => arguments.relay_factor = factor,
            (_, Some(Field::Bool(local))) => arguments.local_only = local,
            _ => {}
        }
    }
    if parts.rules.refuse_keys && arguments.local_only {
        return Err(LIST_ONLY.into());
    }
    Ok(arguments)
}

fn parameters(
    parts: &Parts<'_>,
    write: Option<Change>,
    arguments: &mut Arguments,
) -> Result<(), String> {
    if !parts.rules.keyring_parameters {
        return Ok(());
    }
    let given =
        |name| -> Option<Cow<'_, str>> { parts.query.get(name).filter(|value| !value.is_empty()) };
    if let Some(factor) = given("relay-factor") {
        let factor =
            atoi(&factor).map_err(|error| format!("Error parsing relay factor: {error}"))?;
        arguments.relay_factor = u64::try_from(factor)
            .ok()
            .filter(|factor| *factor <= u64::from(RelayFactor::MAX.get()))
            .ok_or(OUT_OF_RANGE)?;
    }
    if let Some(local) = given("local-only") {
        arguments.local_only =
            parse_bool(&local).map_err(|error| format!("Error parsing local-only: {error}"))?;
        if arguments.local_only && write.is_some() {
            return Err(LIST_ONLY.into());
        }
    }
    Ok(())
}

/// Consul does not check the factor of a body; memberlist has no more nodes to
/// relay through than there are, so the largest one stands in for it.
fn relay_factor(parts: &Parts<'_>, factor: u64) -> Result<RelayFactor, String> {
    match u8::try_from(factor)
        .ok()
        .and_then(|factor| RelayFactor::try_from(factor).ok())
    {
        Some(factor) => Ok(factor),
        None if parts.rules.refuse_keys => Err(OUT_OF_RANGE.into()),
        None => Ok(RelayFactor::MAX),
    }
}
