//! Servers in processes of their own that share one address, as on a machine that has
//! only 127.0.0.1.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Example, Request, TIMEOUT, server};

const CONFIGURATION: &str = "/v1/operator/raft/configuration";
const KEYRING: &str = "/v1/operator/keyring";

/// The first gossip key, in base64. It contains a character that a shell has to quote.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0OD/8gISIjJCUmJygpKissLS4=";

/// Returns a port of 127.0.0.1 that is free for TCP and UDP. It is below those that the
/// system gives to clients, and no other test of this process gets it.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 800) as u16 * 25;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}

fn place() -> String {
    let [raft, lan, wan, http] = [(); 4].map(|()| free_port());
    format!("127.0.0.1:{raft}/{lan}/{wan}/{http}")
}

/// The Raft address of a place.
fn raft(place: &str) -> &str {
    place.split('/').next().unwrap()
}

/// A server with its data and the secret in this folder.
fn command(folder: &TempDir, name: &str, flags: &[&str]) -> Command {
    let mut command = server();
    command
        .env("GOSSIP_KEY", KEY)
        .args(["--name", name])
        .arg("--data")
        .arg(folder.path().join(name))
        .arg("--secret-file")
        .arg(folder.path().join("secret"))
        .args(flags);
    command
}

fn start(folder: &TempDir, name: &str, flags: &[&str]) -> Example {
    Example::of(command(folder, name, flags))
}

/// Repeats a request until it succeeds with an answer that holds all these texts.
fn eventually(request: &Request, texts: &[&str]) {
    let start = Instant::now();
    loop {
        let answer = request.send();
        let holds = texts.iter().all(|text| answer.contains(text));
        if holds && answer.starts_with("HTTP/1.1 200 ") {
            return;
        }
        assert!(start.elapsed() < TIMEOUT, "{request:?} {texts:?}: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn three_servers_on_one_address_follow_their_hints() {
    let folder = tempfile::tempdir().unwrap();
    let places = [(); 3].map(|()| place());
    let [alice, bob, carol] = &places;
    let peers = format!("--peers=alice={alice},bob:7={bob},carol={carol}");
    let mut servers = vec![
        start(&folder, "alice", &[&peers]),
        start(&folder, "bob", &[&peers]),
        // It does not listen where the list says.
        start(&folder, "carol", &[&peers, "--address=127.0.0.1:0"]),
    ];
    let first = servers[0].curls()[0].clone();
    assert!(alice.ends_with(first.host.split(':').nth(1).unwrap()));

    let nodes: Vec<_> = [("alice", 1, alice), ("bob", 7, bob), ("carol", 3, carol)]
        .map(|(name, id, place)| {
            let address = raft(place);
            format!(r#""ID":"{id}","Node":"{name}","Address":"{address}""#)
        })
        .into();
    let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
    for server in &servers {
        let request = &server.curls()[0];
        eventually(&request.of("GET", CONFIGURATION), &nodes);
        let three = r#""NumNodes":3"#;
        eventually(&request.of("GET", KEYRING), &[three, three, KEY]);
        let hints = server.hints.concat();
        assert!(!hints.contains(KEY), "{hints}");
    }
    for request in servers[0].curls() {
        request.succeeds();
    }
    let left = first.of("GET", KEYRING).succeeds();
    assert!(!left.contains(KEY), "{left}");

    let flags = [
        &format!("--join={alice},{bob}"),
        &format!("--ip={}", place()),
        "--id=9",
    ];
    servers.push(start(&folder, "dave", &flags.map(|flag| flag as &str)));
    let dave = servers[3].curls()[0].of("GET", CONFIGURATION);
    eventually(&dave, &[r#""ID":"9","Node":"dave""#]);
    for server in servers {
        assert!(server.terminate().contains("Stopped."));
    }
}

#[test]
fn server_without_a_secret_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let output = server()
        .args(["--name=alice", "--data"])
        .arg(folder.path().join("alice"))
        .arg(format!("--peers=alice={}", place()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("--secret-file, or PEER_SECRET"), "{text}");
}

/// Runs a command that ends, and returns whether it succeeded and its output.
fn run(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Returns the position of a server's last entry that a stale answer shows.
fn last_log(stale: &Request) -> String {
    let answer = stale.succeeds().to_ascii_lowercase();
    let (_, rest) = answer.split_once("\r\nx-operator-last-log: ").unwrap();
    rest.split("\r\n").next().unwrap().to_owned()
}

#[test]
fn survivor_is_recovered_as_its_output_says() {
    let folder = tempfile::tempdir().unwrap();
    let places = [(); 2].map(|()| place());
    let [alice, bob] = &places;
    let peers = format!("--peers=alice={alice},bob={bob}");
    let servers = ["alice", "bob"].map(|name| start(&folder, name, &[&peers]));
    let both = [r#""Node":"alice""#, r#""Node":"bob""#];
    let configuration = servers[0].curls()[0].of("GET", CONFIGURATION);
    eventually(&configuration, &both);

    let recover = |name, flag: &str| run(command(&folder, name, &[flag]));
    let (done, running) = recover("alice", "--recover");
    assert!(
        !done && running.contains("stop the server first"),
        "{running}"
    );
    let [first, second] = servers;
    // Bob is killed, and never comes back.
    drop(second);
    let stale = configuration.of("GET", &format!("{CONFIGURATION}?stale"));
    let shown = last_log(&stale);
    first.terminate();

    let (done, plan) = recover("alice", "--recover");
    assert!(done && plan.contains("voters      alice, bob"), "{plan}");
    // Operators compare it with what the servers have shown.
    assert!(
        plan.contains(&format!("--recover={shown}\n")),
        "{shown}: {plan}"
    );
    let (done, wrong) = recover("alice", "--recover=1-0");
    assert!(
        !done && wrong.contains("compare the servers again"),
        "{wrong}"
    );
    let (_, flag) = plan.rsplit_once("same command with ").unwrap();
    let (done, text) = recover("alice", flag.trim());
    assert!(done && text.contains("the only server"), "{text}");

    let (done, refused) = run(command(&folder, "alice", &[&peers]));
    assert!(!done && refused.contains("without --peers"), "{refused}");
    let alone = start(&folder, "alice", &[&format!("--ip={alice}")]);
    let request = &alone.curls()[0].of("GET", CONFIGURATION);
    eventually(request, &[r#""Node":"alice""#, r#""Leader":true"#]);
    let answer = request.succeeds();
    let (old, lost) = (r#""ID":"1""#, "bob");
    assert!(!answer.contains(old) && !answer.contains(lost), "{answer}");

    let flags = [format!("--join={alice}"), format!("--ip={}", place())];
    let carol = start(&folder, "carol", &flags.each_ref().map(|flag| flag as &str));
    eventually(request, &[r#""Node":"alice""#, r#""Node":"carol""#]);
    for server in [alone, carol] {
        server.terminate();
    }
}

#[test]
fn server_that_cannot_join_says_why_and_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let alice = place();
    let first = start(&folder, "alice", &[&format!("--peers=alice={alice}")]);
    // With the secret of another folder.
    let flags = [format!("--join={alice}"), format!("--ip={}", place())];
    let second = command(&other, "bob", &flags.each_ref().map(|flag| flag as &str));
    let second = Example::spawn(second);
    let log = second.wait_for_log("cannot join yet: ");
    assert!(log.contains("the shared secret does not match"), "{log}");
    assert!(second.terminate().contains("Stopped."));
    first.terminate();
}

#[test]
fn intended_size_that_was_chosen_survives_a_join() {
    let folder = tempfile::tempdir().unwrap();
    let alice = place();
    // Its own intended size is the number of its peers.
    let mut servers = vec![start(
        &folder,
        "alice",
        &[&format!("--peers=alice={alice}")],
    )];
    let stored = |name: &str| {
        let file = folder.path().join(name).join("intended-size");
        std::fs::read_to_string(file).unwrap()
    };
    for (name, chosen, expected) in [
        ("bob", Some("--intended-size=3"), "3"),
        ("carol", None, "1"),
    ] {
        let flags = [format!("--join={alice}"), format!("--ip={}", place())];
        let flags = flags.iter().map(String::as_str).chain(chosen);
        servers.push(start(&folder, name, &flags.collect::<Vec<_>>()));
        assert_eq!(stored(name), expected, "{name}");
    }
    assert_eq!(stored("alice"), "1");
    for server in servers {
        server.terminate();
    }
}
