//! The suite for Raft backends, on real clusters.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use cluster_operator::conformance::raft::{Member, RaftFixture, Servers};
use cluster_operator::conformance::{self, Fixture, NotSupported};
use cluster_operator::{ServerId, Timer, TokioTimer};

use crate::servers::{Cluster, Elections, address};

#[async_trait]
impl Fixture for Cluster {
    fn timer(&self) -> &dyn Timer {
        &TokioTimer
    }

    async fn close(&self) {
        Cluster::close(self).await;
    }
}

#[async_trait]
impl RaftFixture for Cluster {
    fn members(&self) -> Vec<Member> {
        let servers = self.servers.iter();
        servers
            .map(|(id, server)| Member {
                id: id.to_string().into(),
                address: address(*id).into(),
                backend: Arc::clone(&server.backend) as _,
            })
            .collect()
    }

    async fn stop(&self, server: &ServerId) -> Result<(), NotSupported> {
        Cluster::stop(self, server.as_str().parse().unwrap()).await;
        Ok(())
    }

    async fn isolate(&self, server: &ServerId) -> Result<(), NotSupported> {
        self.links.cut(server.as_str().parse().unwrap());
        Ok(())
    }
}

async fn cluster(wanted: Servers) -> Result<Cluster, NotSupported> {
    let (voters, nonvoters) = (wanted.voters as u64, wanted.nonvoters as u64);
    Ok(Cluster::start(voters, nonvoters, Elections::Soon).await)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

conformance::raft_tests! {
    factory = cluster,
    block_on = block_on,
    skip = {
        the_lead_is_not_handed_to_an_unknown_server: "openraft 0.9 hands no lead over",
        the_lead_is_not_handed_to_a_nonvoter: "openraft 0.9 hands no lead over",
        the_lead_is_handed_to_the_server_that_is_named: "openraft 0.9 hands no lead over",
        the_lead_is_handed_on_where_nobody_is_named: "openraft 0.9 hands no lead over",
        a_follower_hands_no_lead_on: "openraft 0.9 hands no lead over",
    }
}
