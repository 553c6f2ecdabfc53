//! Raft's calls to other servers: JSON in a POST, over persistent connections.
//!
//! Whoever can make these calls can vote, write to the log, add servers, and stop a
//! server with a call that Raft does not expect. So each call presents the secret that
//! the servers share. It travels in clear, and so does the log: the examples use only
//! the loopback interface; on a network, add TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cluster_operator::peer_http::SharedSecret;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{Node, NodeId, TypeConfig};

/// The header with the target of a call, as `datacenter/id`. A server rejects calls for
/// other servers, because its address may have belonged to another server before.
pub const TARGET: &str = "x-raft-target";

// An answer is a few numbers or an error.
const LONGEST_ANSWER: usize = 1 << 20;

/// The connections of one server to the others.
#[derive(Debug, Clone)]
pub struct Network {
    client: Client<HttpConnector, Full<Bytes>>,
    datacenter: String,
    id: NodeId,
    secret: SharedSecret,
}

impl Network {
    /// Creates the network of the server `id` of this datacenter. `secret` is shared by
    /// the servers.
    pub fn new(datacenter: impl Into<String>, id: NodeId, secret: SharedSecret) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // A live host answers at once, a dead one not at all.
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            datacenter: datacenter.into(),
            id,
            secret,
        }
    }

    /// Sends a value to a path of a server's Raft address and returns the answer.
    ///
    /// # Errors
    /// - [`CallError::Unreachable`]: the call had no effect
    /// - [`CallError::Broken`]: it may have had one
    pub async fn post<A: DeserializeOwned>(
        &self,
        to: SocketAddr,
        target: Option<NodeId>,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, CallError> {
        let secret = self.secret.authorization().map_err(CallError::broken)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{to}{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, secret);
        if let Some(id) = target {
            request = request.header(TARGET, format!("{}/{id}", self.datacenter));
        }
        let body = serde_json::to_vec(body).map_err(CallError::broken)?;
        let request = request.body(Full::from(body)).map_err(CallError::broken)?;
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Err(CallError::unreachable(error)),
            Err(error) => return Err(CallError::broken(error)),
        };
        let status = response.status();
        let answer = Limited::new(response.into_body(), LONGEST_ANSWER)
            .collect()
            .await
            .map_err(CallError::broken)?
            .to_bytes();
        match status {
            StatusCode::OK => serde_json::from_slice(&answer).map_err(CallError::broken),
            // Another server has that address now, so a retry does not help.
            StatusCode::MISDIRECTED_REQUEST => {
                Err(CallError::unreachable("another server has this address"))
            }
            StatusCode::UNAUTHORIZED => Err(CallError::unreachable(
                "the shared secret does not match: give all servers the same one",
            )),
            _ => Err(CallError::broken(format!("it answered {status}"))),
        }
    }
}

/// The reason why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server is unreachable or refuses the call.
    #[error("the server cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The connection broke, or the answer is malformed.
    #[error("the call failed: {0}")]
    Broken(io::Error),
}

impl CallError {
    fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable(io::Error::other(error))
    }

    fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken(io::Error::other(error))
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, node: &Node) -> Peer {
        Peer {
            network: self.clone(),
            target,
            address: node.raft,
        }
    }
}

/// The connection to another server.
#[derive(Debug)]
pub struct Peer {
    network: Network,
    target: NodeId,
    address: SocketAddr,
}

impl Peer {
    // openraft retries a broken call at once, and one to an unreachable server after a
    // pause. The soft timeout ends before openraft drops the call, so that a lost call
    // is reported as a timeout.
    async fn call<A, E>(
        &self,
        action: RPCTypes,
        path: &str,
        rpc: &impl Serialize,
        option: &RPCOption,
    ) -> Result<A, RPCError<NodeId, Node, E>>
    where
        A: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let timeout = option.soft_ttl();
        let call = self
            .network
            .post(self.address, Some(self.target), path, rpc);
        let Ok(answer) = tokio::time::timeout(timeout, call).await else {
            return Err(RPCError::Timeout(Timeout {
                action,
                id: self.network.id,
                target: self.target,
                timeout,
            }));
        };
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(RPCError::RemoteError(RemoteError::new(self.target, error))),
            Err(error @ CallError::Unreachable(_)) => {
                Err(RPCError::Unreachable(Unreachable::new(&error)))
            }
            Err(error @ CallError::Broken(_)) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, RPCError<NodeId, Node, RaftError<NodeId>>> {
        self.call(RPCTypes::AppendEntries, "/raft/append", &rpc, &option)
            .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, RPCError<NodeId, Node, RaftError<NodeId>>> {
        self.call(RPCTypes::Vote, "/raft/vote", &rpc, &option).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<NodeId>,
        RPCError<NodeId, Node, RaftError<NodeId, InstallSnapshotError>>,
    > {
        self.call(RPCTypes::InstallSnapshot, "/raft/snapshot", &rpc, &option)
            .await
    }
}
