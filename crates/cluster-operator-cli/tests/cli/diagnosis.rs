//! The command `doctor`.

use cluster_operator::consul::Dialect;
use expect_test::expect;

use super::{CONSUL, ask, federation, key, serve};

#[tokio::test(flavor = "multi_thread")]
async fn healthy_federation_has_no_findings() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "doctor").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    expect![[r#"
        dc1: alice leads; 3 voters, 1 may fail
        dc2: dave leads; 1 voters, 0 may fail
        3 rings with 8 nodes

        info: dc2: 1 of 1 voters are up and 1 are needed: no more may fail
          bring failed voters back, or add voters until at least three are up

        nothing is wrong
    "#]]
    .assert_eq(&ended.out);
    let json = ask(&alice, "doctor --json").await.json();
    assert_eq!(json["Datacenters"][0]["Voters"], 3);
    assert!(!json.to_string().contains(key(1).to_base64().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_are_worst_first_with_their_commands() {
    let federation = federation();
    federation.stop("carol");
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "doctor").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    expect![[r#"
        dc1: alice leads; 3 voters, 0 may fail
        dc2: dave leads; 1 voters, 0 may fail
        3 rings with 6 nodes

        critical: dc1: voter carol at 127.0.0.3:8300 has failed
          start it, or remove it as raft/removal-plan shows: that would leave 2 of 2 voters up, of which 0 may fail
          $ cluster-operator -datacenter dc1 raft plan carol

        warning: dc1: 2 of 3 voters are up and 2 are needed: no more may fail
          bring failed voters back, or add voters until at least three are up

        warning: dc1: gossip has given up members of the ring dc1 (WAN): carol.dc1
          start them before the gossip key is rotated, or remove them from the gossip: they keep their old keys

        warning: dc1: gossip has given up members of the ring dc1 (LAN): carol
          start them before the gossip key is rotated, or remove them from the gossip: they keep their old keys

        info: dc2: 1 of 1 voters are up and 1 are needed: no more may fail
          bring failed voters back, or add voters until at least three are up
    "#]].assert_eq(&ended.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_is_diagnosed_by_the_command() {
    for dialect in CONSUL {
        let federation = federation();
        let mut addresses = Vec::new();
        for server in ["alice", "bob", "carol"] {
            addresses.push(serve(&federation, server, dialect).await);
        }
        let ended = ask(&addresses.join(","), "doctor").await;
        assert!(
            ended.out.contains(" leads; 3 voters, 1 may fail"),
            "{ended:?}"
        );
        assert!(
            ended.out.contains("note: this server makes no diagnosis"),
            "{ended:?}"
        );
    }
}
