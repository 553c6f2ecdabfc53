//! The suite for Raft backends.

use std::future::Future;

use async_trait::async_trait;
use cluster_operator::raft::PendingChange;
use cluster_operator::{ServerId, Timer, TokioTimer};
use cluster_operator_conformance::raft::{Member, RaftFixture, Servers};
use cluster_operator_conformance::{Fixture, NotSupported};

use crate::cluster::{Cluster, address};

type Done = Result<(), NotSupported>;

fn number(server: &ServerId) -> u64 {
    server.as_str().parse().unwrap()
}

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
            .map(|server| Member::new(server.name(), address(server.id), server.backend.clone()))
            .collect()
    }

    async fn stop(&self, server: &ServerId) -> Done {
        Cluster::stop(self, number(server)).await;
        Ok(())
    }

    async fn isolate(&self, server: &ServerId) -> Done {
        self.cut(number(server));
        Ok(())
    }

    async fn lose_at_change(&self, server: &ServerId) -> Done {
        self.cut_at_change(number(server));
        Ok(())
    }

    async fn reconnect(&self, server: &ServerId) -> Done {
        Cluster::reconnect(self, number(server));
        Ok(())
    }

    async fn leave_unfinished(&self, removal: &ServerId, at: PendingChange) -> Done {
        Cluster::leave_unfinished(self, number(removal), at).await;
        Ok(())
    }

    async fn write(&self) -> Result<bool, NotSupported> {
        for server in &self.servers {
            if let Ok(committed) = server.node.write(b"write".to_vec()).await {
                return Ok(committed);
            }
        }
        Ok(false)
    }
}

async fn cluster(wanted: Servers) -> Result<Cluster, NotSupported> {
    Ok(Cluster::start(
        wanted.voters as u64,
        wanted.nonvoters as u64,
    ))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

cluster_operator_conformance::raft_tests! {
    factory = cluster,
    block_on = block_on,
}
