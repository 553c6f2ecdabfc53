//! The service over the servers of one datacenter.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::peers::{EnvelopeReply, SendError, Target};
use cluster_operator::raft::{Consistency, PeerSelector, RaftConfiguration};
use cluster_operator::service::Caller;
use cluster_operator::{
    AllowAll, DatacenterName, Envelope, ErrorKind, OperatorService, Outcome, Peers, ServerId,
};
use futures_util::future::join_all;

use crate::cluster::NodeId;
use crate::servers::{Cluster, Elections, TIMEOUT, address, name, soon, until};

type Services = Arc<OnceLock<BTreeMap<ServerId, OperatorService>>>;

/// Calls the other services in the same process.
struct Neighbours(Weak<OnceLock<BTreeMap<ServerId, OperatorService>>>);

#[async_trait]
impl Peers for Neighbours {
    fn datacenters(&self) -> Vec<DatacenterName> {
        vec!["dc1".into()]
    }

    async fn send(
        &self,
        target: &Target,
        envelope: Envelope,
        _: Duration,
    ) -> Result<EnvelopeReply, SendError> {
        let Target::Server(leader) = target else {
            panic!("one datacenter only: {target:?}");
        };
        let services = self.0.upgrade().unwrap();
        Ok(services.get().unwrap()[&leader.id].answer(&envelope).await)
    }
}

fn services(cluster: &Cluster) -> Services {
    let services = Services::default();
    let service = |id: &NodeId| {
        OperatorService::builder("dc1")
            .raft(cluster.backend(*id).clone())
            .peers(Neighbours(Arc::downgrade(&services)))
            .authorizer(AllowAll)
            .deadline(TIMEOUT)
            .build()
            .unwrap()
    };
    let all = cluster.servers.keys();
    let all = all.map(|id| (name(*id), service(id))).collect();
    assert!(services.set(all).is_ok());
    services
}

fn ids(configuration: &RaftConfiguration) -> Vec<NodeId> {
    let servers = configuration.servers.iter();
    servers
        .map(|server| server.id.as_str().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn every_server_answers_and_removes_through_the_leader() {
    let cluster = Cluster::voters(3).await;
    let services = services(&cluster);
    let services = services.get().unwrap();
    let caller = Caller::anonymous();
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    for id in [1, 2, 3] {
        for consistency in [Consistency::Default, Consistency::Consistent] {
            // The leader knows all last entries, a follower none.
            let read = until("the leader to know all last entries", async || {
                let read = services[&name(id)].raft_configuration(&caller, consistency);
                let read = read.await.unwrap();
                let known = read
                    .servers
                    .iter()
                    .all(|server| server.last_index.is_some());
                known.then_some(read)
            })
            .await;
            assert_eq!(ids(&read), [1, 2, 3]);
            let marked = read.servers.iter().filter(|server| server.leader);
            let marked: Vec<_> = marked.map(|server| server.id.to_string()).collect();
            assert_eq!(marked, [leader.to_string()]);
        }
    }

    let victim = PeerSelector::Address(address(followers[1]).into());
    let through = &services[&name(followers[0])];
    through
        .remove_peer(&caller, victim.clone(), None)
        .await
        .unwrap();
    let read = through
        .raft_configuration(&caller, Consistency::Default)
        .await;
    assert!(!ids(&read.unwrap()).contains(&followers[1]));
    let error = through.remove_peer(&caller, victim.clone(), None).await;
    assert_eq!(*error.unwrap_err().kind(), ErrorKind::UnknownServer(victim));
    cluster.close().await;
}

#[tokio::test]
async fn stale_read_of_a_follower_shows_its_own_last_entry() {
    let cluster = Cluster::voters(3).await;
    let services = services(&cluster);
    let follower = cluster.followers().await[0];
    let service = &services.get().unwrap()[&name(follower)];
    let read = service
        .raft_configuration(&Caller::anonymous(), Consistency::Stale)
        .await;
    let read = read.unwrap();
    assert_eq!(ids(&read), [1, 2, 3]);
    assert!(
        read.servers
            .iter()
            .all(|server| server.last_index.is_none())
    );
    assert!(read.last_log.is_some());
    cluster.close().await;
}

#[tokio::test]
async fn removals_at_once_all_succeed() {
    let cluster = Cluster::start(4, 1, Elections::Never).await;
    let services = services(&cluster);
    let leader = cluster.leader().await;
    let service = &services.get().unwrap()[&name(leader)];
    let caller = Caller::anonymous();
    let others = cluster.followers().await;
    let removals = others
        .iter()
        .map(|id| service.remove_peer(&caller, PeerSelector::Id(name(*id)), None));
    for answer in soon("the removals", join_all(removals)).await {
        answer.unwrap();
    }
    let read = service
        .raft_configuration(&caller, Consistency::Default)
        .await;
    assert_eq!(ids(&read.unwrap()), [leader]);
    cluster.close().await;
}

#[tokio::test]
async fn refusal_after_a_death_says_what_to_do() {
    let cluster = Cluster::start(3, 0, Elections::Never).await;
    let services = services(&cluster);
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let service = &services.get().unwrap()[&name(leader)];
    let caller = Caller::anonymous();
    cluster.links.cut(followers[0]);
    let live = PeerSelector::Id(name(followers[1]));
    let error = service.remove_peer(&caller, live, None).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(error.kind().name(), "quorum-unproven");
    cluster.write(leader).await;
    let dead = PeerSelector::Id(name(followers[0]));
    service.remove_peer(&caller, dead, None).await.unwrap();
    cluster.write(leader).await;
    cluster.close().await;
}

#[tokio::test]
async fn transfer_without_target_goes_to_the_longest_log() {
    let cluster = Cluster::voters(3).await;
    let services = services(&cluster);
    let leader = cluster.leader().await;
    let followers = cluster.followers_of(leader);
    let (behind, best) = (followers[0], followers[1]);
    cluster.links.cut(behind);
    let written = cluster.write(leader).await;
    until("the follower to confirm the entry", async || {
        let metrics = cluster.raft(leader).metrics().borrow().clone();
        let matched = metrics.replication?.get(&best).copied().flatten();
        (matched >= Some(written)).then_some(())
    })
    .await;
    // A follower forwards the request.
    let service = &services.get().unwrap()[&name(best)];
    let caller = Caller::anonymous();
    let transfer = service.transfer_leadership(&caller, None);
    soon("the transfer", transfer).await.unwrap();
    assert_eq!(cluster.leader_of([leader, best]).await, best);
    cluster.close().await;
}
