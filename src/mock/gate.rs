//! What a paused server waits at.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use async_trait::async_trait;

use super::lock;
use crate::acl::{Access, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Token};

/// Open while the server runs, closed while it is paused. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
    }

    pub(super) fn open(&self) {
        let mut state = lock(&self.state);
        state.closed = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until it is open.
    pub(super) async fn pass(&self) {
        poll_fn(|context| {
            let mut state = lock(&self.state);
            if !state.closed {
                return Poll::Ready(());
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// An authorizer behind a gate. Every operation that a server serves comes by
/// its authorizer, so a paused server serves none.
pub(super) struct Gated {
    pub(super) authorizer: Arc<dyn AclAuthorizer>,
    pub(super) gate: Gate,
}

#[async_trait]
impl AclAuthorizer for Gated {
    async fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        self.gate.pass().await;
        let decision = self.authorizer.authorize(token, resource, access).await;
        self.gate.pass().await;
        decision
    }

    fn default_policy(&self) -> DefaultPolicy {
        self.authorizer.default_policy()
    }
}
