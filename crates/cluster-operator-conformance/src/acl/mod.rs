//! The suite for [`AclAuthorizer`](cluster_operator::AclAuthorizer).
//!
//! Of an authorizer whose denials never name an
//! [accessor id](cluster_operator::AccessorId), the checks of just that are skipped. A check
//! that failed lists what it asked and how that was answered.
//!
//! # Example
//! ```
//! # mod example {
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use cluster_operator_conformance::acl::{Acl, AclFixture, TokenRules};
//! use cluster_operator_conformance::{Fixture, NotSupported};
//! use cluster_operator::{
//!     Access, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Rule, Timer,
//!     TokioTimer, Token,
//! };
//!
//! struct MyAcl {
//!     default: DefaultPolicy,
//!     anonymous: TokenRules,
//!     tokens: Vec<(Token, TokenRules)>,
//! }
//!
//! #[async_trait]
//! impl AclAuthorizer for MyAcl {
//!     async fn authorize(
//!         &self,
//!         token: Option<&Token>,
//!         resource: Resource,
//!         access: Access,
//!     ) -> Result<Identity, AclError> {
//!         let rules = match token {
//!             None => self.anonymous,
//!             Some(token) => {
//!                 let known = self.tokens.iter().find(|(known, _)| known == token);
//!                 known.ok_or(AclError::UnknownToken)?.1
//!             }
//!         };
//!         let allowed = match rules.about(resource) {
//!             Some(Rule::Write) => true,
//!             Some(Rule::Read) => access == Access::Read,
//!             Some(Rule::Deny) => false,
//!             None => self.default == DefaultPolicy::Allow,
//!         };
//!         // Who it is, if your tokens have public ids.
//!         let identity = match token {
//!             Some(_) => Identity::Unnamed,
//!             None => Identity::Anonymous,
//!         };
//!         if allowed { Ok(identity) } else { Err(AclError::Denied { identity }) }
//!     }
//!
//!     fn default_policy(&self) -> DefaultPolicy {
//!         self.default
//!     }
//! }
//!
//! struct MyFixture(Arc<MyAcl>);
//!
//! #[async_trait]
//! impl Fixture for MyFixture {
//!     fn timer(&self) -> &dyn Timer {
//!         &TokioTimer
//!     }
//! }
//!
//! #[async_trait]
//! impl AclFixture for MyFixture {
//!     fn authorizer(&self) -> Arc<dyn AclAuthorizer> {
//!         self.0.clone()
//!     }
//!
//!     fn tokens(&self) -> Vec<Token> {
//!         self.0.tokens.iter().map(|(token, _)| token.clone()).collect()
//!     }
//! }
//!
//! async fn my_acl(wanted: Acl) -> Result<MyFixture, NotSupported> {
//!     // Random in your fixture: see `AclFixture::tokens`.
//!     let secret = |number| Token::new(format!("{number}f3b1c7e-59d2-4a86"));
//!     Ok(MyFixture(Arc::new(MyAcl {
//!         default: wanted.default_policy,
//!         anonymous: wanted.anonymous,
//!         tokens: (0..).map(secret).zip(wanted.tokens.iter().copied()).collect(),
//!     })))
//! }
//!
//! // In a test of yours, with `#[tokio::test]`:
//! pub async fn my_acl_keeps_the_rules() {
//!     let report = cluster_operator_conformance::acl_authorizer(my_acl).await;
//!     report.assert();
//!     // Its tokens have no accessor ids and stay, and it asks nobody for them.
//!     assert_eq!(report.skipped().count(), 4);
//! }
//! # }
//! # tokio::runtime::Builder::new_current_thread()
//! #     .enable_time()
//! #     .build()
//! #     .unwrap()
//! #     .block_on(example::my_acl_keeps_the_rules());
//! ```

mod ask;
mod checks;
mod fixture;

pub use checks::CHECKS;
pub use fixture::{Acl, AclFixture, TokenRules};

use super::Check;
use super::suite::suite;

/// A check of this suite.
pub type AclCheck = Check<Acl, dyn AclFixture>;

suite! {
    /// Runs the whole suite: each check on an authorizer of its own, which
    /// `factory` makes with the tokens that the check wants.
    acl_authorizer of "AclAuthorizer",
    checks: AclCheck,
    fixture: AclFixture,
    factory: (wanted: Acl),
}

/// Generates one `#[test]` for each check of this suite, as
/// [the module](crate#one-test-for-each-check) tells.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_acl_tests {
    ($($arguments:tt)*) => {
        $crate::__conformance_tests! { ($) __conformance_acl_names acl $($arguments)* }
    };
}
