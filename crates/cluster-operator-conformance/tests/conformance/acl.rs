//! The authorizers of this crate under the ACL suite.

use std::sync::Arc;

use async_trait::async_trait;
use cluster_operator::acl::{AccessorId, Rules, TokenDefinition, TokenStoreBuilder};
use cluster_operator::mock::{MockAcl, MockClock, MockToken};
use cluster_operator::{AclAuthorizer, Timer, Token, TokenStore};
use cluster_operator_conformance::acl::{Acl, AclFixture, TokenRules};
use cluster_operator_conformance::{Fixture, NotSupported};

/// The secret of the token of this number.
pub(crate) fn secret(number: usize) -> Token {
    Token::new(format!("b852fbe7-Secret-{number}"))
}

pub(crate) struct Simulated {
    clock: MockClock,
    acl: MockAcl,
    /// The authorizer that is tested.
    tested: Arc<dyn AclAuthorizer>,
    pub(crate) tokens: Vec<Token>,
}

impl Simulated {
    pub(crate) fn new(clock: &MockClock, wanted: Acl) -> Self {
        Simulated::with_authorizer(clock, wanted, |acl| acl)
    }

    /// Tests the authorizer that `tested` makes of the mock.
    pub(crate) fn with_authorizer<A: AclAuthorizer + 'static>(
        clock: &MockClock,
        wanted: Acl,
        tested: impl FnOnce(MockAcl) -> A,
    ) -> Self {
        let mut acl = MockAcl::new(wanted.default_policy);
        for (resource, rule) in wanted.anonymous {
            acl = acl.with_anonymous(*resource, *rule);
        }
        let tokens: Vec<_> = (0..wanted.tokens.len()).map(secret).collect();
        for (token, rules) in tokens.iter().zip(wanted.tokens) {
            let rules = rules.iter();
            let token = MockToken::new(token.expose());
            acl.add(rules.fold(token, |token, (resource, rule)| {
                token.with(*resource, *rule)
            }));
        }
        Simulated {
            clock: clock.clone(),
            tested: Arc::new(tested(acl.clone())),
            acl,
            tokens,
        }
    }
}

#[async_trait]
impl Fixture for Simulated {
    fn timer(&self) -> &dyn Timer {
        &self.clock
    }
}

#[async_trait]
impl AclFixture for Simulated {
    fn authorizer(&self) -> Arc<dyn AclAuthorizer> {
        Arc::clone(&self.tested)
    }

    fn tokens(&self) -> Vec<Token> {
        self.tokens.clone()
    }

    async fn revoke(&self, token: &Token) -> Result<(), NotSupported> {
        self.acl.revoke(token);
        Ok(())
    }

    async fn lose_source(&self) -> Result<(), NotSupported> {
        self.acl.set_unavailable("nobody answers");
        Ok(())
    }
}

struct Stored {
    clock: MockClock,
    store: Arc<TokenStore>,
    wanted: Acl,
}

impl Stored {
    fn new(clock: &MockClock, wanted: Acl) -> Self {
        let numbers = 0..wanted.tokens.len();
        Stored {
            clock: clock.clone(),
            store: Arc::new(builder(wanted, numbers).build().unwrap()),
            wanted,
        }
    }
}

/// A store of the wanted tokens of these numbers.
fn builder(wanted: Acl, numbers: impl IntoIterator<Item = usize>) -> TokenStoreBuilder {
    let rules = |rules: TokenRules| {
        let rules = rules.iter();
        rules.fold(Rules::new(), |all, (resource, rule)| {
            all.with(*resource, *rule)
        })
    };
    let mut builder = TokenStore::builder()
        .default_policy(wanted.default_policy)
        .policy("anonymous", rules(wanted.anonymous))
        .anonymous_policy("anonymous");
    for number in numbers {
        let policy = format!("policy-{number}");
        let accessor = AccessorId::new(format!("6a1253d2-1785-24fd-91c2-{number:012}"));
        builder = builder
            .policy(&policy, rules(wanted.tokens[number]))
            .token(TokenDefinition::new(accessor, secret(number)).with_policy(policy));
    }
    builder
}

#[async_trait]
impl Fixture for Stored {
    fn timer(&self) -> &dyn Timer {
        &self.clock
    }
}

#[async_trait]
impl AclFixture for Stored {
    fn authorizer(&self) -> Arc<dyn AclAuthorizer> {
        Arc::new(Arc::clone(&self.store))
    }

    fn tokens(&self) -> Vec<Token> {
        (0..self.wanted.tokens.len()).map(secret).collect()
    }

    async fn revoke(&self, token: &Token) -> Result<(), NotSupported> {
        let numbers = 0..self.wanted.tokens.len();
        let kept = numbers.filter(|number| secret(*number) != *token);
        self.store.replace(builder(self.wanted, kept)).unwrap();
        Ok(())
    }
}

#[test]
fn mock_passes() {
    let clock = MockClock::new();
    let acl = async |wanted| Ok(Simulated::new(&clock, wanted));
    clock
        .run(cluster_operator_conformance::acl_authorizer(acl))
        .assert_complete();
}

#[test]
fn token_store_passes() {
    let clock = MockClock::new();
    let acl = async |wanted| Ok(Stored::new(&clock, wanted));
    let report = clock.run(cluster_operator_conformance::acl_authorizer(acl));
    report.assert();
    // It asks no source, so it cannot lose one.
    let skipped: Vec<_> = report.skipped().map(|check| check.name).collect();
    assert_eq!(skipped, ["lost_source_is_unavailable"]);
}

mod one_by_one {
    use super::*;

    cluster_operator_conformance::acl_tests! {
        factory = async |wanted| Ok(Stored::new(&MockClock::new(), wanted)),
        block_on = futures_executor::block_on,
        skip = {
            lost_source_is_unavailable: "a token store asks nobody",
        },
    }
}
