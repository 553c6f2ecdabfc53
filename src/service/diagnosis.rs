//! Asking all servers and rings for a diagnosis.

use futures_util::future::join3;

use super::raft::Progress;
use super::{Inner, deadline_exceeded, mismatched};
use crate::acl::{Access, Resource};
use crate::diagnosis::{AskedServer, Diagnosis, Observations, ObservedDatacenter, ServerView};
use crate::error::{ErrorKind, OperatorError, Outcome};
use crate::keyring::RelayFactor;
use crate::operation::{KeyringAction, KeyringReply, KeyringScope, Operation, OperatorReply};
use crate::peers::{Forwarded, Target};
use crate::raft::{LeaderHint, RaftMember, RaftView};
use crate::timer::{Budget, Deadline};
use crate::types::{DatacenterName, ServerAddress};

impl Inner {
    pub(super) async fn own_view(&self) -> Result<ServerView, OperatorError> {
        Ok(self.server_view(self.raft()?.view().await?))
    }

    /// Returns a view of this server, with what its autopilot reports.
    fn server_view(&self, view: RaftView) -> ServerView {
        let autopilot = self.report(&view);
        ServerView {
            autopilot,
            ..view.into()
        }
    }

    /// Asks every server of the Raft configuration for its own view, this one first.
    pub(super) async fn server_views(
        &self,
        call: &Forwarded,
        budget: Budget<'_>,
    ) -> Result<Vec<AskedServer>, OperatorError> {
        let view: RaftView = self.raft()?.view().await?;
        let own = AskedServer::new(
            Some(view.id.clone()),
            own_address(&view),
            Ok(self.server_view(view.clone())),
        );
        let members = view.membership.servers.iter();
        let others: Vec<_> = members.filter(|member| member.id != view.id).collect();
        let asked = others
            .iter()
            .map(|member| self.ask_server(member, call, budget));
        let timeout = budget.share();
        let answers = Deadline::new(&*self.timer, timeout).bound_all(asked).await;
        let answered = others.iter().zip(answers).map(|(member, answer)| {
            let answer = answer.unwrap_or_else(|| {
                let target = format!("server {}", member.address);
                Err(deadline_exceeded(target, timeout, Outcome::NotApplied))
            });
            AskedServer::new(Some(member.id.clone()), member.address.clone(), answer)
        });
        Ok(std::iter::once(own).chain(answered).collect())
    }

    async fn ask_server(
        &self,
        member: &RaftMember,
        call: &Forwarded,
        budget: Budget<'_>,
    ) -> Result<ServerView, OperatorError> {
        let target = Target::Server(LeaderHint {
            id: member.id.clone(),
            address: member.address.clone(),
        });
        let reply = self.ask_other(&target, Operation::OwnView, None, call, budget);
        match reply.await.map_err(OperatorError::bounded)? {
            OperatorReply::OwnView(view) if view.id.as_ref() == Some(&member.id) => {
                Ok(view.bounded())
            }
            OperatorReply::OwnView(_) => Err(OperatorError::invalid_reply(
                "another server answers at its address: check the addresses of the peers",
            )),
            _ => Err(mismatched()),
        }
    }

    /// Asks all servers and rings, and examines what they answer.
    pub(super) async fn diagnose(
        &self,
        call: &Forwarded,
        budget: Budget<'_>,
    ) -> Result<Diagnosis, OperatorError> {
        let permission = (Resource::Keyring, Access::Read);
        let token = call.request.token.as_ref();
        self.authorize(token, permission).await?;
        let remote = self.remote_views(call, budget);
        let local = self.server_views(call, budget);
        let (local, remote, rings) = join3(local, remote, self.listing(call, budget)).await;
        let mut datacenters = Vec::new();
        if self.raft.is_some() {
            datacenters.push(ObservedDatacenter {
                name: self.datacenter.clone(),
                servers: local,
            });
        }
        datacenters.extend(remote);
        let guard = self.quorum_guard;
        Ok(Observations {
            datacenters,
            rings,
            guard,
        }
        .examine())
    }

    /// Asks the other datacenters for the views of their servers.
    async fn remote_views(&self, call: &Forwarded, budget: Budget<'_>) -> Vec<ObservedDatacenter> {
        let datacenters = self.other_datacenters();
        let asked = datacenters.iter().map(async |name: &DatacenterName| {
            let target = Target::Datacenter(name.clone());
            let operation = Operation::ServerViews;
            let reply = self.ask_other(&target, operation, Some(name.clone()), call, budget);
            match reply.await.map_err(OperatorError::bounded)? {
                OperatorReply::ServerViews(asked) => Ok(AskedServer::bounded(asked)),
                _ => Err(mismatched()),
            }
        });
        let timeout = budget.share();
        let answers = Deadline::new(&*self.timer, timeout).bound_all(asked).await;
        let observed = datacenters.iter().zip(answers).map(|(name, answer)| {
            let servers = answer.unwrap_or_else(|| {
                let target = format!("datacenter {name}");
                Err(deadline_exceeded(target, timeout, Outcome::NotApplied))
            });
            ObservedDatacenter {
                name: name.clone(),
                servers,
            }
        });
        // A datacenter without Raft has no servers to ask.
        let without_raft = |observed: &ObservedDatacenter| {
            let error = observed.servers.as_ref().err();
            error.is_some_and(|error| matches!(error.kind(), ErrorKind::Unsupported { .. }))
        };
        observed
            .filter(|observed| !without_raft(observed))
            .collect()
    }

    /// Lists the keys of all rings; `None` without gossip.
    async fn listing(
        &self,
        call: &Forwarded,
        budget: Budget<'_>,
    ) -> Option<Result<KeyringReply, OperatorError>> {
        if self.rings.is_empty() {
            return None;
        }
        let (action, scope) = (KeyringAction::List, KeyringScope::Federation);
        let relay_factor = RelayFactor::default();
        let mut call = call.clone();
        call.timeout = Some(budget.share());
        call.request.operation = Operation::Keyring {
            action: action.clone(),
            scope,
            relay_factor,
        };
        let progress = Progress::default();
        let reply = self
            .keyring(&call, &action, scope, relay_factor, &progress)
            .await;
        Some(match reply {
            Ok(OperatorReply::Keyring(reply)) => Ok(reply),
            Ok(_) => Err(mismatched()),
            Err(error) => Err(error),
        })
    }

    /// Sends another operation on behalf of the same caller.
    async fn ask_other(
        &self,
        target: &Target,
        operation: Operation,
        datacenter: Option<DatacenterName>,
        call: &Forwarded,
        budget: Budget<'_>,
    ) -> Result<OperatorReply, OperatorError> {
        let mut call = call.clone();
        call.request.operation = operation;
        call.request.datacenter = datacenter;
        let operation = call.request.operation.clone();
        let envelope = self.envelope(call, false, budget)?;
        self.send(target, envelope, &operation, budget.share())
            .await
    }
}

fn own_address(view: &RaftView) -> ServerAddress {
    let own = view.membership.get(&view.id);
    own.map_or_else(|| "".into(), |own| own.address.clone())
}
