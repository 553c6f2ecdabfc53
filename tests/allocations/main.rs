//! What is allocated, counted by an allocator that counts for each thread.
// A test is over where something is not as it has to be.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "http")]
mod adapter;
mod merge;
mod request;

use async_trait::async_trait;
use cluster_operator::{
    AccessorId, Consistency, Leadership, OperatorError, OperatorService, PeerSelector, RaftBackend,
    RaftConfiguration, RaftServer, Resource, Rule, Rules, Sleep, Timer, Token, TokenDefinition,
    TokenStore,
};

const CONFIGURATION: &str = "/v1/operator/raft/configuration";
const TOKENS: usize = 10_000;

/// A leader that knows its configuration.
struct Leader(RaftConfiguration);

#[async_trait]
impl RaftBackend for Leader {
    fn leadership(&self) -> Leadership {
        Leadership::Local
    }

    async fn configuration(&self, _: Consistency) -> Result<RaftConfiguration, OperatorError> {
        Ok(self.0.clone())
    }

    async fn remove_server(&self, _: &PeerSelector, _: Option<u64>) -> Result<(), OperatorError> {
        Ok(())
    }
}

/// Nothing here waits.
struct Never;

impl Timer for Never {
    fn sleep(&self, _: std::time::Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

/// Five servers under the control of many tokens.
fn service() -> OperatorService {
    let servers = (1..=5).map(|number| {
        let id = format!("{number:08x}-f6e1-cca3-eaf1-38d1ef9d91c7");
        RaftServer::voter(id, format!("10.0.0.{number}:8300"))
            .with_name(format!("server-{number}"))
            .with_leader(number == 1)
            .with_protocol_version("3")
            .with_last_index(1_234_567)
    });
    let configuration = RaftConfiguration {
        servers: servers.collect(),
        index: 4711,
    };
    let look = Rules::new().with(Resource::Operator, Rule::Read);
    let mut store = TokenStore::builder().policy("look", look);
    for number in 0..TOKENS {
        let accessor = AccessorId::new(format!("00000000-0000-4000-8000-{number:012x}"));
        let token = TokenDefinition::new(accessor, Token::new(secret(number)));
        store = store.token(token.with_policy("look"));
    }
    OperatorService::builder("dc1")
        .timer(Never)
        .raft(Leader(configuration))
        .authorizer(store.build().unwrap())
        .build()
        .unwrap()
}

fn secret(number: usize) -> String {
    format!("b852fbe7-fba0-1ebe-cae4-{number:012x}")
}
