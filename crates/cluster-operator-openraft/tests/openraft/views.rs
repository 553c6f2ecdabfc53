//! The views of the servers of a cluster.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_operator::raft::{
    ConfigVersion, LeaderHint, Leadership, LogPosition, PendingChange, RaftMember, RaftView,
    ServerStatus,
};
use cluster_operator::{ErrorKind, Outcome, RaftBackend};
use cluster_operator_openraft::{OpenraftBackend, log_position};
use openraft::raft::AppendEntriesRequest;
use openraft::{RaftMetrics, Vote};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::cluster::{Node, NodeId};
use crate::links::Links;
use crate::servers::{
    Cluster, Elections, Server, TIMEOUT, address, describe, ids, name, node, soon, until, voters,
};

fn hint(id: NodeId) -> LeaderHint {
    LeaderHint {
        id: name(id),
        address: address(id).into(),
    }
}

/// The last log positions of the servers, in order.
fn last_logs(view: &RaftView) -> Vec<Option<LogPosition>> {
    let servers = view.servers();
    servers
        .map(|(_, status)| status.unwrap().last_log)
        .collect()
}

#[tokio::test]
async fn leader_shows_every_server() {
    let cluster = Cluster::start(3, 2, Elections::Soon).await;
    let leader = cluster.leader().await;
    let confirmed = cluster.backend(leader).confirmed_view(TIMEOUT).await;
    for view in [cluster.view(leader).await, confirmed.unwrap()] {
        assert_eq!(view.id, name(leader));
        assert_eq!(view.leadership, Leadership::Local);
        assert_eq!(view.change, None);
        assert_eq!(ids(&view), [1, 2, 3, 4, 5]);
        assert_eq!(voters(&view), [1, 2, 3]);
        for (id, (member, status)) in (1..).zip(view.servers()) {
            let status = status.unwrap();
            assert_eq!(member.address, *address(id));
            assert_eq!(status.name, Some(format!("server-{id}").into()));
            assert_eq!(status.alive, None);
            let own = (id == leader).then_some(Duration::ZERO);
            assert_eq!(status.last_contact, own);
        }
    }
    cluster.close().await;
}

#[tokio::test]
async fn leader_knows_the_last_entry_of_each_server() {
    let cluster = Cluster::start(3, 1, Elections::Never).await;
    let leader = cluster.leader().await;
    let last = cluster.write(leader).await;
    let last = Some(log_position(&last));
    until("all to have the last entry", async || {
        (last_logs(&cluster.view(leader).await) == [last; 4]).then_some(())
    })
    .await;

    // The position of a server that is cut off stays.
    let away = cluster.followers().await[0];
    cluster.links.cut(away);
    cluster.write(leader).await;
    until("the others to be ahead", async || {
        let logs = last_logs(&cluster.view(leader).await);
        (logs.iter().filter(|log| **log > last).count() == 3).then_some(())
    })
    .await;
    let view = cluster.view(leader).await;
    let behind = view.servers().find(|(member, _)| member.id == name(away));
    assert_eq!(behind.unwrap().1.unwrap().last_log, last);
    cluster.close().await;
}

#[tokio::test]
async fn follower_names_the_leader_and_its_own_last_entry() {
    let cluster = Cluster::start(3, 1, Elections::Soon).await;
    let leader = cluster.leader().await;
    let latest = cluster.view(leader).await;
    for follower in cluster.followers().await {
        let view = until("the follower to be up to date", async || {
            let view = cluster.view(follower).await;
            (view.version == latest.version && view.change.is_none()).then_some(view)
        })
        .await;
        assert_eq!(view.id, name(follower));
        assert_eq!(view.leadership, Leadership::Remote(hint(leader)));
        assert_eq!(view.term, latest.term);
        assert_eq!(view.membership, latest.membership);
        let latest = cluster.view(leader).await;
        let latest = latest.own_status().unwrap().last_log;
        assert!(latest.is_some());
        until("the follower's last entry", async || {
            let logs = last_logs(&cluster.view(follower).await);
            let own = |(id, log): (NodeId, &Option<_>)| {
                if id == follower {
                    *log >= latest
                } else {
                    log.is_none()
                }
            };
            (1..).zip(&logs).all(own).then_some(())
        })
        .await;
        let confirmed = cluster.backend(follower).confirmed_view(TIMEOUT).await;
        let error = confirmed.unwrap_err();
        let leader = Some(hint(leader));
        assert_eq!(*error.kind(), ErrorKind::NotLeader { leader });
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
    cluster.close().await;
}

#[tokio::test]
async fn server_without_leader_shows_its_own_last_entry() {
    let cluster = Cluster::start(3, 0, Elections::Soon).await;
    let leader = cluster.leader().await;
    let last = cluster.write(leader).await;
    let followers = cluster.followers().await;
    let [alone, other] = followers[..] else {
        panic!("{followers:?}");
    };
    until("all to have applied it", async || {
        let metrics = cluster.raft(alone).metrics();
        let applied = metrics.borrow().last_applied;
        (applied >= Some(last)).then_some(())
    })
    .await;
    // The other one must not lead for a moment.
    cluster.only_elects(|id| id == alone);
    cluster.stop(other).await;
    cluster.stop(leader).await;
    let view = until("it to know no leader", async || {
        let view = cluster.view(alone).await;
        (view.leadership == Leadership::Unknown).then_some(view)
    })
    .await;
    let mut servers = view.servers();
    let own = servers.find(|(member, _)| member.id == view.id).unwrap();
    let shown = own.1.unwrap().last_log;
    assert!(shown >= Some(log_position(&last)), "{shown:?}");
    cluster.close().await;
}

#[tokio::test]
async fn version_is_the_position_of_the_configuration() {
    let cluster = Cluster::voters(1).await;
    let first = cluster.view(1).await;
    assert_eq!(first.version, ConfigVersion { term: 0, index: 1 });
    assert_eq!(first.change, None);
    cluster.write(1).await;
    assert_eq!(cluster.view(1).await.version, first.version);

    let added = cluster
        .raft(1)
        .add_learner(2, node(2), false)
        .await
        .unwrap();
    let confirmed = cluster.backend(1).confirmed_view(TIMEOUT).await.unwrap();
    let LogPosition { term, index } = log_position(&added.log_id);
    assert_eq!(confirmed.version, ConfigVersion { term, index });
    assert!(confirmed.version > first.version);
    assert_eq!(ids(&confirmed), [1, 2]);
    assert_eq!(voters(&confirmed), [1]);
    assert_eq!(last_logs(&confirmed)[1], None);
    cluster.close().await;
}

#[tokio::test]
async fn change_that_is_not_committed_is_shown_as_such() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    for id in cluster.followers().await {
        cluster.links.cut(id);
    }
    let raft = cluster.raft(leader).clone();
    let added = tokio::spawn(async move { raft.add_learner(9, node(9), false).await });
    until("the change to be in the log", async || {
        let view = cluster.view(leader).await;
        let pending = view.change == Some(PendingChange::Uncommitted);
        assert_eq!(pending, ids(&view).contains(&9));
        pending.then_some(())
    })
    .await;
    cluster.links.mend();
    added.await.unwrap().unwrap();
    until("the change to be committed", async || {
        cluster.view(leader).await.change.is_none().then_some(())
    })
    .await;
    cluster.close().await;
}

#[tokio::test]
async fn server_without_a_cluster_has_an_empty_view() {
    let links = Links::default();
    let alone = Server::start(1, &links, Elections::Soon).await;
    let view = alone.backend.view().await.unwrap();
    assert_eq!(view, RaftView::new("1", Arc::default()));
    let error = alone.backend.confirmed_view(TIMEOUT).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoLeader);
    alone.raft.shutdown().await.unwrap();
}

#[tokio::test]
async fn stopped_raft_still_shows_its_configuration() {
    let cluster = Cluster::voters(3).await;
    let leader = cluster.leader().await;
    for id in [1, 2, 3] {
        cluster.stop(id).await;
        let view = cluster.view(id).await;
        assert_eq!(view.id, name(id));
        assert_eq!(view.leadership, Leadership::Unknown);
        assert_eq!(ids(&view), [1, 2, 3]);
        let confirmed = cluster.backend(id).confirmed_view(TIMEOUT).await;
        let error = confirmed.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NoLeader);
        assert_eq!(error.outcome(), Outcome::NotApplied);
        let error = cluster.remove(id, leader).await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NoLeader);
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
}

#[tokio::test]
async fn members_are_described_once_and_status_is_fresh() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let leader = cluster.leader().await;
    let described = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(AtomicUsize::new(0));
    let (describing, asking) = (described.clone(), asked.clone());
    let backend = OpenraftBackend::new(cluster.raft(leader).clone(), move |id: &NodeId, node| {
        describing.fetch_add(1, Ordering::SeqCst);
        RaftMember::nonvoter(format!("node-{id}"), describe(id, node).address)
    })
    .with_status(move |_, _: &Node| {
        let mut status = ServerStatus::default();
        status.alive = Some(asking.fetch_add(1, Ordering::SeqCst) >= 3);
        status.last_log = Some(LogPosition {
            term: 1,
            index: 1_000_000,
        });
        status.protocol_version = Some("9".into());
        status
    });
    for (views, alive) in [(1, false), (2, true)] {
        let view = backend.view().await.unwrap();
        assert_eq!(view.id, *format!("node-{leader}"));
        // Raft decides about votes and positions.
        assert_eq!(view.membership.voters().count(), 3);
        for (_, status) in view.servers() {
            let status = status.unwrap();
            assert_eq!(status.alive, Some(alive));
            assert_eq!(status.protocol_version, Some("9".into()));
            assert!(status.last_log.is_none_or(|log| log.index < 1_000_000));
        }
        assert_eq!(described.load(Ordering::SeqCst), 3);
        assert_eq!(asked.load(Ordering::SeqCst), 3 * views);
    }
    let one = backend.view().await.unwrap();
    let other = backend.clone().view().await.unwrap();
    assert!(Arc::ptr_eq(&one.membership, &other.membership));
    let debug = format!("OpenraftBackend {{ node: {leader}, .. }}");
    assert_eq!(format!("{backend:?}"), debug);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn view_confirmed_in_a_later_term_is_refused() {
    let cluster = Cluster::voters(1).await;
    let raft = cluster.raft(1).clone();
    let term = cluster.view(1).await.term;
    let backend = OpenraftBackend::new(raft.clone(), describe);
    // The lead is lost and won again between the two views.
    let between = Mutex::new(Some(async move {
        let from_a_new_leader = AppendEntriesRequest {
            vote: Vote::new_committed(term + 1, 2),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        raft.append_entries(from_a_new_leader).await.unwrap();
        raft.trigger().elect().await.unwrap();
        let won = |metrics: &RaftMetrics<_, _>| {
            metrics.current_term > term + 1 && metrics.millis_since_quorum_ack.is_some()
        };
        drop(raft.metrics().wait_for(won).await.unwrap());
    }));
    let backend = backend.with_status(move |_, _: &Node| {
        let between = between.lock().unwrap().take();
        if let Some(between) = between {
            block_in_place(|| Handle::current().block_on(between));
        }
        ServerStatus::default()
    });
    let confirmed = soon("a view", backend.confirmed_view(TIMEOUT)).await;
    let error = confirmed.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoLeader);
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(backend.confirmed_view(TIMEOUT).await.unwrap().term > term);
    cluster.close().await;
}

#[tokio::test]
async fn groups_in_one_process_share_nothing() {
    let one = Cluster::start(3, 0, Elections::Never).await;
    let other = Cluster::start(3, 1, Elections::Never).await;
    let (leader, other_leader) = (one.leader().await, other.leader().await);
    let before = other.view(other_leader).await;
    let victim = one.followers().await[0];
    let (removed, removed_too) =
        tokio::join!(one.remove(leader, victim), other.remove(other_leader, 4),);
    removed.unwrap();
    removed_too.unwrap();
    assert!(!ids(&one.view(leader).await).contains(&victim));
    assert_eq!(ids(&other.view(other_leader).await), [1, 2, 3]);
    assert_eq!(ids(&before), [1, 2, 3, 4]);
    one.close().await;
    other.close().await;
}
