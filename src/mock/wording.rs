//! How a transcript tells a request: without tokens, and with fingerprints for
//! keys.

use crate::operation::{KeyringAction, KeyringScope, Operation, OperatorRequest};

pub(super) fn request(request: &OperatorRequest) -> String {
    let mut text = operation(&request.operation);
    if let Some(datacenter) = &request.datacenter {
        text.push_str(&format!(" in {datacenter}"));
    }
    text
}

fn operation(operation: &Operation) -> String {
    match operation {
        Operation::RaftConfiguration(_) => "read the Raft configuration".into(),
        Operation::RemovePeer {
            server,
            expected_index,
        } => match expected_index {
            Some(index) => format!("remove {server} if at index {index}"),
            None => format!("remove {server}"),
        },
        Operation::TransferLeadership { to: Some(to) } => format!("hand the lead to {to}"),
        Operation::TransferLeadership { to: None } => "hand the lead on".into(),
        Operation::Keyring { action, scope, .. } => {
            let scope = match scope {
                KeyringScope::Federation => "",
                KeyringScope::LocalOnly => " here alone",
                KeyringScope::Remote => " in its own rings",
            };
            format!("{}{scope}", self::action(action))
        }
        Operation::AutopilotConfiguration(_) => "read autopilot's rules".into(),
        Operation::SetAutopilotConfiguration { expected_index, .. } => match expected_index {
            Some(index) => format!("set autopilot's rules if at index {index}"),
            None => "set autopilot's rules".into(),
        },
        Operation::AutopilotState(_) => "read autopilot's state".into(),
    }
}

fn action(action: &KeyringAction) -> String {
    match action {
        KeyringAction::List => "list keys".into(),
        KeyringAction::Install(key) => format!("install {}", key.fingerprint()),
        KeyringAction::Use(key) => format!("use {}", key.fingerprint()),
        KeyringAction::Remove(key) => format!("remove {}", key.fingerprint()),
    }
}
