//! Access control: the token of a request, the rules of policies, and authorizers.

mod authorizer;
mod builder;
mod hcl;
mod load_error;
mod policy;
mod rules;
mod secret;
mod set;
mod store;
mod syntax;
pub mod token;
mod token_file;

pub use crate::types::{Access, AccessorId, DefaultPolicy, Identity, Resource};
pub use authorizer::{AclAuthorizer, AclError, AllowAll};
pub use builder::{TokenDefinition, TokenStoreBuilder};
pub use load_error::{LoadError, LoadErrorKind, LoadWarning};
pub use policy::{RulesError, RulesErrorKind};
pub use rules::{Rule, Rules};
pub use secret::SecretFault;
#[cfg(feature = "mock")]
pub(crate) use set::TokenSet;
pub use store::{TokenSnapshot, TokenStore};
pub use syntax::{Position, SyntaxProblem};
pub use token::Token;
