//! The commands about Raft.

use cluster_operator::consul::Dialect;
use expect_test::expect;

use super::{CONSUL, ask, federation, serve};

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_listed_as_table_and_as_json() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "raft list").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    expect![[r#"
        Node   ID     Address         State     Voter  Protocol  Log
        alice  alice  127.0.0.1:8300  leader    yes    3         24
        bob    bob    127.0.0.2:8300  follower  yes    3         24
        carol  carol  127.0.0.3:8300  follower  yes    3         24
    "#]]
    .assert_eq(&ended.out);
    let json = ask(&alice, "raft list --json").await.json();
    assert_eq!(json["Servers"][0]["ID"], "alice");
    let there = ask(&alice, "raft list -stale -datacenter=dc2").await;
    assert!(there.out.contains("dave"), "{there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_shows_what_a_removal_would_do() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "raft plan carol").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    expect![[r#"
        Removing carol (127.0.0.3:8300), a voter:
          the cluster will tolerate fewer failures
                  voters  alive  quorum  may fail
          before  3       3      2       1
          after   2       2      2       0
    "#]]
    .assert_eq(&ended.out);
    let json = ask(&alice, "raft plan carol --json").await.json();
    assert_eq!(json["Plan"]["Verdict"], "reduces-tolerance");
    assert_eq!(json.get("Unverified"), None);
    let unknown = ask(&alice, "raft plan nobody").await;
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("it has alice ("), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_without_a_terminal_needs_yes() {
    let federation = federation();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let ended = ask(&alice, "raft remove carol").await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("use --yes"), "{ended:?}");
    assert_eq!(federation.configuration("dc1").servers.len(), 3);
    let ended = ask(&alice, "raft remove carol --yes").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.out.ends_with("Removed carol (127.0.0.3:8300).\n"),
        "{ended:?}"
    );
    assert_eq!(federation.configuration("dc1").servers.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_that_loses_the_quorum_is_refused() {
    for dialect in [Dialect::Precise, Dialect::Consul1_17] {
        let federation = federation();
        federation.stop("carol");
        let alice = serve(&federation, "alice", dialect).await;
        let ended = ask(&alice, "raft remove bob --yes").await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.out.contains("will lose its quorum"), "{ended:?}");
        assert!(ended.err.contains("nothing was removed"), "{ended:?}");
        assert_eq!(federation.configuration("dc1").servers.len(), 3);
        // The dead server may go.
        let ended = ask(&alice, "raft remove carol --yes").await;
        assert_eq!(ended.code, 0, "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_makes_no_plan_so_the_command_does() {
    for dialect in CONSUL {
        let federation = federation();
        let alice = serve(&federation, "alice", dialect).await;
        let ended = ask(&alice, "raft plan 127.0.0.3:8300").await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended.out.contains("note: this server makes no plans"),
            "{ended:?}"
        );
        let json = ask(&alice, "raft plan 127.0.0.3:8300 --json").await.json();
        let verdict = match dialect {
            Dialect::Consul0_7 => "unknown-health",
            _ => "reduces-tolerance",
        };
        assert_eq!(json["Plan"]["Verdict"], verdict);
        assert!(json["Unverified"].is_string());
        let ended = ask(&alice, "raft remove 127.0.0.3:8300 --yes").await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(federation.configuration("dc1").servers.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_transferred_by_name() {
    for dialect in [Dialect::Precise, Dialect::Consul1_17] {
        let federation = federation();
        let alice = serve(&federation, "alice", dialect).await;
        let ended = ask(&alice, "raft transfer bob").await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(federation.leader("dc1"), Some("bob".into()));
        let again = ask(&alice, "raft transfer bob").await;
        assert_eq!(again.code, 1, "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn voter_is_replaced_by_a_server_without_a_vote() {
    let federation = cluster_operator::mock::MockFederation::builder()
        .datacenter("dc1", ["alice", "bob", "carol", "dave"])
        .nonvoters(["dave"])
        .build();
    let alice = serve(&federation, "alice", Dialect::Precise).await;
    let plan = ask(&alice, "raft plan carol").await;
    assert!(
        plan.out.contains("could take its place (raft replace)"),
        "{plan:?}"
    );
    let ended = ask(&alice, "raft replace carol dave --yes").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let list = ask(&alice, "raft list --json").await.json();
    let voters = list["Servers"].as_array().unwrap().iter();
    let voters = voters.filter(|server| server["Voter"] == true);
    let names: Vec<_> = voters.map(|server| server["Node"].clone()).collect();
    assert_eq!(names, ["alice", "bob", "dave"]);
}
