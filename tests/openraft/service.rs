//! The service over three servers of one datacenter.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::engine::openraft::OpenraftBackend;
use cluster_operator::{
    AllowAll, Caller, Consistency, DatacenterName, ErrorKind, OperatorError, OperatorReply,
    OperatorRequest, OperatorService, Peers, ServerId, Target,
};

use crate::servers::{Cluster, by_id, describe, ids, until};

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
        request: OperatorRequest,
        _: Duration,
    ) -> Result<OperatorReply, OperatorError> {
        let Target::Server(leader) = target else {
            panic!("one datacenter only: {target:?}");
        };
        let services = self.0.upgrade().unwrap();
        services.get().unwrap()[&leader.id].call(request).await
    }
}

fn services(cluster: &Cluster) -> Services {
    let services = Services::default();
    let service = |id: &u64| {
        OperatorService::builder("dc1")
            .raft(OpenraftBackend::new(cluster.raft(*id).clone(), describe))
            .peers(Neighbours(Arc::downgrade(&services)))
            .authorizer(AllowAll)
            .build()
            .unwrap()
    };
    let all = cluster.servers.keys();
    let all = all.map(|id| (id.to_string().into(), service(id))).collect();
    assert!(services.set(all).is_ok());
    services
}

#[tokio::test]
async fn every_server_gives_the_leaders_answer_and_removes_through_it() {
    let cluster = Cluster::voters(3).await;
    let services = services(&cluster);
    let services = services.get().unwrap();
    let caller = Caller::anonymous();
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let at = |id: u64| &services[&ServerId::new(id.to_string())];
    for id in [1, 2, 3] {
        for consistency in [Consistency::Default, Consistency::Consistent] {
            let read = at(id).raft_configuration(&caller, consistency).await;
            let read = read.unwrap();
            assert_eq!(ids(&read), [1, 2, 3]);
            // A follower would know of its own last entry alone.
            until("the leader to know of all last entries", async || {
                let read = at(id).raft_configuration(&caller, consistency).await;
                let servers = read.unwrap().servers;
                servers
                    .iter()
                    .all(|server| server.last_index.is_some())
                    .then_some(())
            })
            .await;
            let marked = read.servers.iter().filter(|server| server.leader);
            let marked: Vec<_> = marked.map(|server| server.id.to_string()).collect();
            assert_eq!(marked, [leader.to_string()]);
        }
    }

    let victim = by_id(followers[1]);
    let through = at(followers[0]);
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
