//! Access control: the token, what it is to allow, and who decides.

mod authorizer;
#[cfg(feature = "hcl")]
mod hcl;
mod rules;
mod store;
mod syntax;
pub mod token;

pub use crate::types::{Access, AccessorId, DefaultPolicy, Identity, Resource};
pub use authorizer::{AclAuthorizer, AclError, AllowAll};
pub use rules::{Rule, Rules, RulesError};
use rules::{RuleFault, RulesSeed};
pub use store::{LoadError, TokenDefinition, TokenSnapshot, TokenStore, TokenStoreBuilder};
pub use syntax::Position;
pub use token::Token;
