//! The commands about gossip keys.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use cluster_operator::client::{OperatorClient, RingListing};
use cluster_operator::rotation::{
    Absent, RotationError, RotationFault, RotationOptions, RotationStep, repair, rotate_with,
};
use cluster_operator::{GossipKey, Outcome};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::connection::Servers;
use crate::exit::{End, Failure};
use crate::flags::{Connection, Keyring, NewKey, OldKey};
use crate::output::{self, BAD, GOOD, Table, WARNING, safe, safe_lines, styled};
use crate::progress::Progress;

/// More than any key needs.
const LONGEST_FILE: u64 = 1024;

pub(crate) async fn run(
    command: Keyring,
    servers: &Servers,
    connection: &Connection,
    json: bool,
) -> Result<(), Failure> {
    match command {
        Keyring::List {
            show_keys,
            local_only,
        } => return list(servers, show_keys, local_only, json).await,
        Keyring::Install(key) => {
            let key = new_key(&key)?;
            servers.current().install_key(&key).await?;
            done(&key, "is installed on every node", json);
        }
        Keyring::Use(key) => {
            let key = old_key(servers, &key).await?;
            servers.current().use_key(&key).await?;
            done(&key, "is used by every node", json);
        }
        Keyring::Remove(key) => {
            let key = old_key(servers, &key).await?;
            servers.current().remove_key(&key).await?;
            done(&key, "is removed from every node", json);
        }
        Keyring::Rotate {
            key,
            wait,
            leave_behind,
        } => {
            let absent = match wait {
                Some(time) => Absent::Wait(time),
                None if leave_behind => Absent::LeaveBehind,
                None => Absent::Refuse,
            };
            return rotate(servers, &new_key(&key)?, absent, json).await;
        }
        Keyring::Repair { address } => {
            let node = Servers::at(&address, connection)?;
            return mend(&node, &servers.without(&address)?, json).await;
        }
    }
    Ok(())
}

fn done(key: &GossipKey, what: &str, json: bool) {
    let fingerprint = key.fingerprint();
    let value = serde_json::json!({ "Fingerprint": fingerprint });
    output::done(json, &value, format!("The key {fingerprint} {what}."));
}

/// Reads or generates a key.
fn new_key(source: &NewKey) -> Result<GossipKey, Failure> {
    match (&source.generate, &source.key_file) {
        (Some(file), _) => generate(file),
        (None, Some(file)) => read_key(file),
        (None, None) => Err(Failure::usage("give --key-file or --generate")),
    }
}

fn read_key(file: &Path) -> Result<GossipKey, Failure> {
    // With its capacity, so that it leaves no copies behind when it grows.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_FILE as usize));
    let name = if file == Path::new("-") {
        io::stdin()
            .lock()
            .take(LONGEST_FILE)
            .read_to_string(&mut text)?;
        "standard input".into()
    } else {
        let open = fs::File::open(file);
        let read = open.and_then(|open| {
            let mode = open.metadata()?.mode();
            open.take(LONGEST_FILE).read_to_string(&mut text)?;
            Ok(mode)
        });
        let mode = read.map_err(|error| Failure::unreadable(file, error))?;
        if mode & 0o077 != 0 {
            let hint = format!(
                "warning: others can read the key: chmod 600 {}",
                file.display()
            );
            output::note(styled(WARNING, hint));
        }
        file.display().to_string()
    };
    GossipKey::from_base64(text.trim())
        .map_err(|error| Failure::usage(format!("{name} is not a gossip key: {error}")))
}

/// Generates a key and keeps it in a new file that only its owner can read, before any
/// server has it: who loses the key of a half-made rotation cannot finish it.
fn generate(file: &Path) -> Result<GossipKey, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)
        .map_err(|error| Failure::usage(format!("no random numbers: {error}")))?;
    let key = GossipKey::from_bytes(&*bytes).map_err(|error| Failure::usage(error.to_string()))?;
    let create = || {
        let mut options = OpenOptions::new();
        let mut created = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)?;
        created.write_all(key.to_base64().as_bytes())?;
        created.write_all(b"\n")?;
        created.sync_all()
    };
    create().map_err(|error: io::Error| {
        Failure::usage(format!("cannot write {}: {error}", file.display()))
    })?;
    output::note(format!(
        "The new key is in {}. Keep it until every node has it.",
        file.display()
    ));
    Ok(key)
}

/// Reads a key, or finds it among those that are installed.
async fn old_key(servers: &Servers, source: &OldKey) -> Result<GossipKey, Failure> {
    let Some(fingerprint) = &source.fingerprint else {
        let file = source.key_file.as_deref();
        return read_key(file.unwrap_or(Path::new("-")));
    };
    let rings = servers
        .read(async |client| client.list_keys().await)
        .await?;
    let keys = rings
        .iter()
        .flat_map(|ring| ring.keys.iter().map(|(key, _)| key));
    let mut found: Vec<_> = keys
        .filter(|key| key.fingerprint().starts_with(fingerprint.as_str()))
        .collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [key] => Ok(key.clone()),
        [] => Err(Failure::usage(format!(
            "no installed key has the fingerprint {fingerprint}"
        ))),
        _ => Err(Failure::usage(format!(
            "several keys have fingerprints that begin with {fingerprint}: give more of it"
        ))),
    }
}

/// A ring as it is printed.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ring<'a> {
    datacenter: &'a str,
    pool: String,
    nodes: usize,
    keys: Vec<Key>,
    silent: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Zeroizing<String>>,
    nodes: usize,
    /// Absent if the ring does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    primary: Option<usize>,
}

async fn list(
    servers: &Servers,
    show_keys: bool,
    local_only: bool,
    json: bool,
) -> Result<(), Failure> {
    let ask = async |client: &OperatorClient| match local_only {
        true => client.list_local_keys().await,
        false => client.list_keys().await,
    };
    let rings = servers.read(ask).await?;
    let rings: Vec<_> = rings.iter().map(|ring| shown(ring, show_keys)).collect();
    if json {
        output::json(&rings)?;
    } else {
        print(&rings)?;
    }
    let failed = rings.iter().filter(|ring| ring.error.is_some()).count();
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(
            End::PartlyDone,
            format!("{failed} of {} rings failed", rings.len()),
        )),
    }
}

fn shown(ring: &RingListing, show_keys: bool) -> Ring<'_> {
    let tells_primaries = !ring.primary_keys.is_empty();
    let key = |(key, nodes): (&GossipKey, usize)| Key {
        fingerprint: key.fingerprint(),
        key: show_keys.then(|| key.to_base64()),
        nodes,
        primary: tells_primaries.then(|| ring.primary_keys.get(key)),
    };
    Ring {
        datacenter: ring.datacenter.as_str(),
        pool: ring.pool.to_string(),
        nodes: ring.nodes,
        keys: ring.keys.iter().map(key).collect(),
        silent: ring.silent.iter().map(|node| node.as_str()).collect(),
        error: ring.error.as_deref(),
    }
}

fn print(rings: &[Ring<'_>]) -> io::Result<()> {
    let mut table = Table::new(["Datacenter", "Pool", "Key", "Nodes", "Primary"]);
    for ring in rings {
        for key in &ring.keys {
            let style = if key.nodes == ring.nodes {
                GOOD
            } else {
                WARNING
            };
            table.row([
                safe(ring.datacenter),
                safe(&ring.pool),
                match &key.key {
                    Some(text) => format!("{} {}", key.fingerprint, &**text),
                    None => key.fingerprint.clone(),
                },
                styled(style, format!("{}/{}", key.nodes, ring.nodes)),
                key.primary
                    .map_or("-".into(), |count| format!("{count}/{}", ring.nodes)),
            ]);
        }
        if let Some(error) = ring.error {
            let cells = [
                safe(ring.datacenter),
                safe(&ring.pool),
                styled(BAD, safe(error)),
            ];
            let [datacenter, pool, error] = cells;
            table.row([datacenter, pool, error, String::new(), String::new()]);
        }
    }
    table.print()?;
    for ring in rings.iter().filter(|ring| !ring.silent.is_empty()) {
        let silent = safe(&ring.silent.join(", "));
        let ring = safe(&format!("{} ({})", ring.datacenter, ring.pool));
        let text = format!("silent in {ring}: {silent}");
        output::line(styled(WARNING, text))?;
    }
    Ok(())
}

async fn rotate(
    servers: &Servers,
    key: &GossipKey,
    absent: Absent,
    json: bool,
) -> Result<(), Failure> {
    let mut progress = Progress::new(json);
    let options = RotationOptions::default().absent(absent);
    let rings = servers.rings();
    let rotation = rotate_with(&rings, key, &options, |event| progress.show(event)).await;
    let begun = progress.finish();
    let rotation = rotation.map_err(|error| unfinished(&error, begun))?;
    let left: Vec<_> = rotation
        .left_behind()
        .map(|(ring, node)| format!("{node} of {} ({})", ring.datacenter, ring.pool))
        .collect();
    let unverified: Vec<_> = rotation
        .unverified
        .iter()
        .map(ToString::to_string)
        .collect();
    let (count, removed, fingerprint) = (rotation.rings.len(), rotation.removed, key.fingerprint());
    let value = serde_json::json!({
        "Fingerprint": fingerprint,
        "Removed": removed,
        "Rings": count,
        "LeftBehind": left,
        "Unverified": unverified,
    });
    let mut lines = vec![styled(
        GOOD,
        format!(
            "Rotated: {count} rings have the key {fingerprint} alone. Old keys removed: {removed}."
        ),
    )];
    let warnings = unverified.iter().map(|it| format!("not verified: {it}"));
    let warnings = warnings.chain(left.iter().map(|node| {
        format!("left behind: {node}: start it, then run `keyring repair` with its address")
    }));
    lines.extend(warnings.map(|text| styled(WARNING, safe(&text))));
    output::done(json, &value, lines.join("\n"));
    match left.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            End::PartlyDone,
            format!("{count} nodes were left behind with their old keys"),
        )),
    }
}

async fn mend(node: &Servers, others: &Servers, json: bool) -> Result<(), Failure> {
    let mut progress = Progress::new(json);
    let (node, others) = (node.rings(), others.rings());
    let repair = repair(&node, &others, |event| progress.show(event)).await;
    let begun = progress.finish();
    let repair = repair.map_err(|error| unfinished(&error, begun))?;
    let text = match repair.changed {
        true => "The node has the key {} alone now, and rejoins within a minute.",
        false => "The node has the key {} alone already.",
    };
    let value = serde_json::json!({
        "Fingerprint": repair.fingerprint,
        "Changed": repair.changed,
    });
    let text = styled(GOOD, text.replace("{}", &repair.fingerprint));
    output::done(json, &value, text);
    Ok(())
}

/// A rotation or a repair that ended early, after it had begun this step.
fn unfinished(error: &RotationError, begun: Option<RotationStep>) -> Failure {
    let is_refused = match &error.reason {
        RotationFault::Refused(error) => error.outcome() == Outcome::NotApplied,
        _ => false,
    };
    let end = match begun {
        None | Some(RotationStep::Look) => End::Refused,
        Some(RotationStep::Install) if is_refused => End::Refused,
        Some(_) => End::PartlyDone,
    };
    Failure::new(end, safe_lines(&error.to_string()))
}
