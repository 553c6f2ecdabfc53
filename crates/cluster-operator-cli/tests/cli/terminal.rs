//! The command on a terminal.

use std::process::Command;

use cluster_operator::Pool;
use cluster_operator::consul::Dialect;
use rexpect::session::{PtySession, spawn_command};

use super::{TOKEN, federation, key, serve};

/// Milliseconds; the machine may be busy.
const TIMEOUT: u64 = 60_000;

fn on_terminal(address: &str, words: &str, variables: &[(&str, &str)]) -> PtySession {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-operator"));
    command
        .env_clear()
        .env("TERM", "xterm")
        .env("CONSUL_HTTP_ADDR", address)
        .env("CONSUL_HTTP_TOKEN", TOKEN)
        .envs(variables.iter().copied())
        .args(words.split_whitespace());
    spawn_command(command, Some(TIMEOUT)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_is_asked_for() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    for (answer, servers) in [("n", 3), ("", 3), ("y", 2)] {
        let mut terminal = on_terminal(&alice, "raft remove carol", &[]);
        terminal.exp_string("tolerate fewer failures").unwrap();
        terminal
            .exp_string("Remove carol (127.0.0.3:8300)? [y/N]")
            .unwrap();
        terminal.send_line(answer).unwrap();
        terminal.exp_eof().unwrap();
        assert_eq!(federation.configuration("dc1").servers.len(), servers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_that_want_them() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let mut coloured = on_terminal(&alice, "raft list", &[]);
    assert!(coloured.exp_eof().unwrap().contains("\u{1b}[32mleader"));
    let mut plain = on_terminal(&alice, "raft list", &[("NO_COLOR", "1")]);
    let plain = plain.exp_eof().unwrap();
    assert!(
        plain.contains("leader") && !plain.contains('\u{1b}'),
        "{plain:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_shows_a_bar_for_each_ring() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, key(2).to_base64().as_str()).unwrap();
    let words = format!("keyring rotate --key-file {}", file.display());
    let mut terminal = on_terminal(&alice, &words, &[]);
    let shown = terminal.exp_eof().unwrap();
    for text in [
        "7/7",
        "dc1 (WAN)",
        "dc1 (LAN)",
        "dc2 (LAN)",
        "[====",
        "3/3",
        "Rotated: 3 rings",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.contains(key(2).to_base64().as_str()));
    assert_eq!(federation.keys("dave", &Pool::Lan), [key(2)]);
}
