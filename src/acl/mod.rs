//! Access control: the token, what it is to allow, and who decides.

mod authorizer;
#[cfg(feature = "hcl")]
mod hcl;
mod rules;
mod store;
mod syntax;
pub mod token;

pub use authorizer::{
    Access, AccessorId, AclAuthorizer, AclError, AllowAll, DefaultPolicy, Identity, Resource,
};
pub use rules::{Rule, Rules, RulesError};
use rules::{RuleFault, RulesSeed};
pub use store::{LoadError, TokenDefinition, TokenSnapshot, TokenStore, TokenStoreBuilder};
pub use syntax::Position;
pub use token::Token;
