//! Raft operations on the server that serves them.

use super::Inner;
use crate::error::{ErrorKind, OperatorError};
use crate::name::ServerId;
use crate::raft::{Consistency, PeerSelector, RaftBackend, removal};
use crate::reply::OperatorReply;

/// How often a removal is checked anew because the configuration has changed
/// between check and removal.
const REMOVAL_ATTEMPTS: usize = 4;

impl Inner {
    pub(super) fn raft(&self) -> Result<&dyn RaftBackend, OperatorError> {
        self.raft
            .as_deref()
            .ok_or_else(|| OperatorError::unsupported("Raft"))
    }

    pub(super) async fn raft_configuration(
        &self,
        consistency: Consistency,
    ) -> Result<OperatorReply, OperatorError> {
        let configuration = self.raft()?.configuration(consistency).await?;
        Ok(OperatorReply::RaftConfiguration(configuration))
    }

    pub(super) async fn remove_peer(
        &self,
        server: &PeerSelector,
        expected_index: Option<u64>,
    ) -> Result<OperatorReply, OperatorError> {
        let raft = self.raft()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let configuration = raft.configuration(Consistency::Default).await?;
            let index = configuration.index;
            if let Some(expected) = expected_index.filter(|expected| *expected != index) {
                return Err(ErrorKind::Conflict {
                    expected,
                    actual: index,
                }
                .into());
            }
            removal::check(&configuration, server, self.quorum_guard)?;
            // The check holds for this configuration only.
            match raft.remove_server(server, Some(index)).await {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Conflict { .. })
                        && expected_index.is_none()
                        && attempts < REMOVAL_ATTEMPTS => {}
                result => return result.map(|()| OperatorReply::PeerRemoved),
            }
        }
    }

    pub(super) async fn transfer_leadership(
        &self,
        to: Option<&ServerId>,
    ) -> Result<OperatorReply, OperatorError> {
        self.raft()?.transfer_leadership(to).await?;
        Ok(OperatorReply::LeadershipTransferred)
    }
}
