//! The suite for Raft backends, on real clusters.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use cluster_operator::raft::{Leadership, PendingChange};
use cluster_operator::{ServerId, Timer, TokioTimer};
use cluster_operator_conformance::raft::{Member, RaftFixture, Servers};
use cluster_operator_conformance::{Fixture, NotSupported};
use openraft::raft::AppendEntriesRequest;
use openraft::{ChangeMembers, EntryPayload};

use crate::cluster::{NodeId, Request, TypeConfig};
use crate::servers::{Cluster, Elections, address, name};

#[async_trait]
impl Fixture for Cluster {
    fn timer(&self) -> &dyn Timer {
        &TokioTimer
    }

    async fn close(&self) {
        Cluster::close(self).await;
    }
}

/// Whether a call contains a configuration.
fn brings_change(rpc: &AppendEntriesRequest<TypeConfig>) -> bool {
    let mut entries = rpc.entries.iter();
    entries.any(|entry| matches!(entry.payload, EntryPayload::Membership(_)))
}

fn number(server: &ServerId) -> NodeId {
    server.as_str().parse().unwrap()
}

#[async_trait]
impl RaftFixture for Cluster {
    fn members(&self) -> Vec<Member> {
        let servers = self.servers.iter();
        servers
            .map(|(id, server)| Member::new(name(*id), address(*id), server.backend.clone()))
            .collect()
    }

    async fn stop(&self, server: &ServerId) -> Result<(), NotSupported> {
        Cluster::stop(self, number(server)).await;
        Ok(())
    }

    async fn isolate(&self, server: &ServerId) -> Result<(), NotSupported> {
        self.links.cut(number(server));
        Ok(())
    }

    async fn lose_at_change(&self, server: &ServerId) -> Result<(), NotSupported> {
        let id = number(server);
        if self.view(id).await.leadership == Leadership::Local {
            self.links.cut_before(brings_change);
        } else {
            self.links.cut_receiver(id, brings_change);
        }
        Ok(())
    }

    async fn reconnect(&self, server: &ServerId) -> Result<(), NotSupported> {
        self.links.reconnect(number(server));
        Ok(())
    }

    async fn leave_unfinished(
        &self,
        removal: &ServerId,
        at: PendingChange,
    ) -> Result<(), NotSupported> {
        let mut leader = None;
        for id in self.servers.keys() {
            if self.view(*id).await.leadership == Leadership::Local {
                leader = Some(*id);
            }
        }
        let leader = leader.unwrap();
        if at == PendingChange::Uncommitted {
            for follower in self.followers_of(leader) {
                self.links.cut(follower);
            }
        }
        let voters = ChangeMembers::RemoveVoters(BTreeSet::from([number(removal)]));
        let mut change = pin!(self.raft(leader).change_membership(voters, false));
        // The first poll proposes the joint configuration; a second one would propose
        // the final one.
        let _ = poll_fn(|context| Poll::Ready(change.as_mut().poll(context))).await;
        while self.view(leader).await.change != Some(at) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn write(&self) -> Result<bool, NotSupported> {
        let connected = self.servers.keys().filter(|id| !self.links.is_cut(**id));
        for id in connected {
            let key = "key".to_owned();
            if self
                .raft(*id)
                .client_write(Request::Remove { key })
                .await
                .is_ok()
            {
                return Ok(true);
            }
        }
        Ok(false)
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

cluster_operator_conformance::raft_tests! {
    factory = cluster,
    block_on = block_on,
}
