//! The commands about gossip keys.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use cluster_operator::Pool;
use cluster_operator::consul::Dialect;
use cluster_operator::mock::{Fault, NodeFault};
use expect_test::expect;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{CONSUL, ask, command, federation, key, run_unread, serve};

fn write_key(folder: &Path, n: u8) -> String {
    let file = folder.join(format!("key-{n}"));
    std::fs::write(&file, format!("{}\n", *key(n).to_base64())).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_by_their_fingerprints() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "keyring list").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    expect![[r#"
        Datacenter  Pool  Key       Nodes  Primary
        dc1         WAN   1b3daeb2  4/4    4/4
        dc1         LAN   1b3daeb2  3/3    3/3
        dc2         LAN   1b3daeb2  1/1    1/1
    "#]]
    .assert_eq(&ended.out);
    let secret = key(1).to_base64();
    assert!(!ended.out.contains(secret.as_str()));
    let json = ask(&alice, "keyring list --json --local-only").await.json();
    assert_eq!(json[0]["Keys"][0]["Fingerprint"], key(1).fingerprint());
    assert!(!json.to_string().contains(secret.as_str()));
    let shown = ask(&alice, "keyring list --show-keys").await;
    assert!(shown.out.contains(secret.as_str()), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_installed_used_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    for dialect in [Dialect::Precise].into_iter().chain(CONSUL) {
        let federation = federation();
        let alice = serve(&federation, "alice", dialect).await;
        let new = write_key(folder.path(), 2);
        let ended = ask(&alice, &format!("keyring install --key-file {new}")).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let (new, old) = (key(2).fingerprint(), key(1).fingerprint());
        let ended = ask(&alice, &format!("keyring use --fingerprint {new}")).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let ended = ask(
            &alice,
            &format!("keyring remove --fingerprint {}", &old[..6]),
        )
        .await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(federation.keys("dave", &Pool::Lan), [key(2)]);
        let ended = ask(&alice, &format!("keyring remove --fingerprint {old}")).await;
        assert_eq!(ended.code, 2, "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_never_an_argument() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let text = key(2).to_base64();
    let ended = ask(&alice, &format!("keyring install {}", *text)).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let ended = ask(&alice, "keyring install").await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("malformed");
    std::fs::write(&file, "not a key").unwrap();
    let ended = ask(
        &alice,
        &format!("keyring install --key-file {}", file.display()),
    )
    .await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.err.contains("chmod 600") && !ended.err.contains("not a key "),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_is_shown_in_lines_and_can_be_repeated() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.key");
    let words = format!("keyring rotate --generate {}", file.display());
    let ended = ask(&alice, &words).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .err
            .contains("verifying that every node uses the new key\n"),
        "{ended:?}"
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!ended.err.contains(text.trim()) && !ended.out.contains(text.trim()));
    let fingerprint = federation.keys("dave", &Pool::Lan)[0].fingerprint();
    assert!(ended.out.contains(&fingerprint), "{ended:?}");

    // The file is not overwritten; it is used again.
    assert_eq!(ask(&alice, &words).await.code, 2);
    let again = ask(
        &alice,
        &format!("keyring rotate --json --key-file {}", file.display()),
    )
    .await;
    assert_eq!(
        (again.code, &again.json()["Removed"]),
        (0, &0.into()),
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_goes_on_after_its_output_is_closed() {
    for format in [&[][..], &["--json"]] {
        let federation = federation();
        let alice = serve(&federation, "alice", Dialect::Precise).await;
        let folder = tempfile::tempdir().unwrap();
        let mut rotation = command(&alice);
        rotation
            .args(["keyring", "rotate", "--key-file"])
            .arg(write_key(folder.path(), 2))
            .args(format);
        assert_eq!(run_unread(&mut rotation).await, 0, "{format:?}");
        assert_eq!(federation.keys("dave", &Pool::Lan), [key(2)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_refuses_while_a_node_is_down_or_waits_for_it() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let folder = tempfile::tempdir().unwrap();
    let words = format!("keyring rotate --key-file {}", write_key(folder.path(), 2));
    federation.stop("carol");
    let ended = ask(&alice, &words).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("carol"), "{ended:?}");
    assert_eq!(federation.keys("alice", &Pool::Lan), [key(1)]);

    let words = format!("{words} --wait 120s");
    let mut waiting = command(&alice);
    waiting
        .args(words.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut waiting = waiting.spawn().unwrap();
    let mut notes = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let mut next = async || notes.next_line().await.unwrap().unwrap();
    while !next().await.contains("waiting for up to") {}
    federation.restart("carol");
    assert_eq!(waiting.wait().await.unwrap().code(), Some(0));
    assert_eq!(federation.keys("carol", &Pool::Lan), [key(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_left_behind_is_named_and_repaired() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let carol = serve(&federation, "carol", Dialect::Precise).await;
    let folder = tempfile::tempdir().unwrap();
    federation.stop("carol");
    let file = write_key(folder.path(), 2);
    let words = format!("keyring rotate --leave-behind --key-file {file}");
    let ended = ask(&alice, &words).await;
    assert_eq!(ended.code, 3, "{ended:?}");
    let named = "left behind: carol of dc1 (LAN)";
    assert!(ended.out.contains(named), "{ended:?}");
    federation.restart("carol");
    assert_eq!(federation.keys("carol", &Pool::Lan), [key(1)]);
    let alone = ask(&carol, &format!("keyring repair {carol}")).await;
    assert_eq!(alone.code, 2, "{alone:?}");
    // The node itself is not asked which key the others use.
    let all = format!("{carol},http://{alice}");
    let ended = ask(&all, &format!("keyring repair {carol}")).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(federation.keys("carol", &Pool::Lan), [key(2)]);
    let again = ask(&alice, &format!("keyring repair {carol} --json")).await;
    assert_eq!(again.json()["Changed"], false, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_says_what_consul_did_not_show() {
    for dialect in CONSUL {
        let federation = federation();
        federation.stop("carol");
        let alice = serve(&federation, "alice", dialect).await;
        let folder = tempfile::tempdir().unwrap();
        let file = write_key(folder.path(), 2);
        let ended = ask(&alice, &format!("keyring rotate --key-file {file}")).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let members = "not verified: no server named the members of the ring dc1 (LAN)";
        assert!(ended.out.contains(members), "{ended:?}");
        let primaries = ended.out.contains("does not show which key its nodes use");
        assert_eq!(primaries, dialect == Dialect::Consul0_7, "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_that_has_changed_something_is_partly_done() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let folder = tempfile::tempdir().unwrap();
    let words = format!("keyring rotate --key-file {}", write_key(folder.path(), 2));
    // It is the only one that does not install the key.
    federation.inject(Fault::node("carol", Pool::Lan, NodeFault::Refuses));
    let ended = ask(&alice, &words).await;
    assert_eq!(ended.code, 3, "{ended:?}");
}
