//! What the servers of a cluster tell of it.

use cluster_operator::engine::openraft::OpenraftBackend;
use cluster_operator::{
    Consistency, ErrorKind, LeaderHint, Leadership, Outcome, RaftBackend, RaftServer, Suffrage,
};

use crate::cluster::{Node, NodeId, Request};
use crate::links::Links;
use crate::servers::{Cluster, Elections, Server, address, ids, until, voters};

fn hint(id: NodeId) -> LeaderHint {
    LeaderHint {
        id: id.to_string().into(),
        address: address(id).into(),
    }
}

#[tokio::test]
async fn the_leader_tells_of_every_server() {
    let cluster = Cluster::start(3, 2, Elections::Soon).await;
    let leader = cluster.leader().await;
    for consistency in [
        Consistency::Default,
        Consistency::Consistent,
        Consistency::Stale,
    ] {
        let read = cluster.backend(leader).configuration(consistency).await;
        let read = read.unwrap();
        assert_eq!(ids(&read), [1, 2, 3, 4, 5]);
        assert_eq!(voters(&read), [1, 2, 3]);
        for (id, server) in (1..).zip(&read.servers) {
            assert_eq!(server.address, *address(id));
            assert_eq!(server.name, Some(format!("server-{id}").into()));
            assert_eq!(server.leader, id == leader);
            assert_eq!(server.alive, None);
        }
    }
    cluster.close().await;
}

#[tokio::test]
async fn the_leader_knows_what_each_server_has_confirmed() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let key = || "key".to_owned();
    let set = Request::Set {
        key: key(),
        value: key(),
    };
    cluster.raft(leader).client_write(set).await.unwrap();
    let last = cluster.raft(leader).metrics().borrow().last_log_index;
    assert!(last.is_some());
    until("all to have the last entry", async || {
        let latest = cluster.latest(leader).await;
        let all = latest
            .servers
            .iter()
            .all(|server| server.last_index == last);
        all.then_some(())
    })
    .await;

    // One that is cut off stays where it is.
    let away = cluster.followers().await[0];
    cluster.links.cut(away);
    let remove = Request::Remove { key: key() };
    cluster.raft(leader).client_write(remove).await.unwrap();
    until("the others to be ahead", async || {
        let latest = cluster.latest(leader).await;
        let ahead = latest.servers.iter().filter(|s| s.last_index > last);
        (ahead.count() == 3).then_some(())
    })
    .await;
    let latest = cluster.latest(leader).await;
    let behind = latest.servers.iter().find(|s| s.last_index <= last);
    assert_eq!(behind.unwrap().id, *away.to_string());
    cluster.close().await;
}

#[tokio::test]
async fn a_follower_tells_its_own_view_and_who_leads() {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let leader = cluster.leader().await;
    let latest = cluster.latest(leader).await;
    for follower in cluster.followers().await {
        let backend = cluster.backend(follower);
        assert_eq!(backend.leadership(), Leadership::Elsewhere(hint(leader)));
        for consistency in [Consistency::Default, Consistency::Consistent] {
            let error = backend.configuration(consistency).await.unwrap_err();
            let leader = Some(hint(leader));
            assert_eq!(*error.kind(), ErrorKind::NotLeader { leader });
            assert_eq!(error.outcome(), Outcome::NotApplied);
        }
        let view = until("the follower to have seen it all", async || {
            let view = cluster.stale(follower).await;
            (view.index == latest.index).then_some(view)
        })
        .await;
        assert_eq!(voters(&view), [1, 2, 3]);
        for (id, server) in (1..).zip(&view.servers) {
            assert_eq!(server.leader, id == leader);
            assert_eq!(server.last_index.is_some(), id == follower);
        }
    }
    cluster.close().await;
}

#[tokio::test]
async fn the_index_is_that_of_the_entry_with_the_membership() {
    let cluster = Cluster::voters(1).await;
    assert_eq!(cluster.latest(1).await.index, 0);
    let set = Request::Remove { key: String::new() };
    cluster.raft(1).client_write(set).await.unwrap();
    assert_eq!(cluster.latest(1).await.index, 0);

    let node = crate::servers::node(2);
    let added = cluster.raft(1).add_learner(2, node, false).await.unwrap();
    let latest = cluster.latest(1).await;
    assert_eq!(latest.index, added.log_id.index);
    assert_eq!(latest.servers[1].suffrage, Suffrage::Nonvoter);
    assert_eq!(latest.servers[1].last_index, None);
    cluster.close().await;
}

#[tokio::test]
async fn a_server_in_no_cluster_knows_of_none() {
    let links = Links::default();
    let alone = Server::start(1, &links, Elections::Soon).await;
    assert_eq!(alone.backend.leadership(), Leadership::None);
    let view = alone.backend.configuration(Consistency::Stale).await;
    assert_eq!(view.unwrap().servers, []);
    for consistency in [Consistency::Default, Consistency::Consistent] {
        let error = alone.backend.configuration(consistency).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NoLeader);
    }
    alone.raft.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stopped_raft_says_so_and_still_answers_stale_reads() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    for id in [1, 2, 3] {
        cluster.stop(id).await;
        assert_eq!(cluster.backend(id).leadership(), Leadership::None);
        let stale = cluster.stale(id).await;
        assert_eq!(ids(&stale), [1, 2, 3]);
        assert!(stale.servers.iter().all(|server| !server.leader));
        for consistency in [Consistency::Default, Consistency::Consistent] {
            let read = cluster.backend(id).configuration(consistency).await;
            let error = read.unwrap_err();
            assert_eq!(
                error.to_string(),
                "this server's Raft has stopped: raft stopped"
            );
            assert_eq!(error.outcome(), Outcome::NotApplied);
        }
        let error = cluster.remove(id, leader).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
}

#[tokio::test]
async fn what_the_closure_tells_is_kept_and_what_raft_knows_overrides_it() {
    let cluster = Cluster::voters(1).await;
    let told = |id: &NodeId, node: &Node| {
        RaftServer::nonvoter(id.to_string(), node.http.to_string())
            .with_name("alice")
            .with_protocol_version("9")
            .with_alive(false)
            .with_leader(false)
            .with_last_index(1_000_000)
    };
    let backend = OpenraftBackend::new(cluster.raft(1).clone(), told);
    let read = backend.configuration(Consistency::Default).await.unwrap();
    let server = &read.servers[0];
    assert_eq!(server.name, Some("alice".into()));
    assert_eq!(server.address, "127.0.0.1:8501");
    assert_eq!(server.protocol_version, Some("9".into()));
    assert_eq!(server.alive, Some(false));
    assert_eq!(server.suffrage, Suffrage::Voter);
    assert!(server.leader);
    assert!(server.last_index < Some(1_000_000));
    assert_eq!(format!("{backend:?}"), "OpenraftBackend { node: 1, .. }");
    cluster.close().await;
}
