//! Access control: the token, what it is to allow, and who decides.

mod authorizer;
pub mod token;

pub use authorizer::{
    Access, AccessorId, AclAuthorizer, AclError, AllowAll, DefaultPolicy, Resource,
};
pub use token::Token;
