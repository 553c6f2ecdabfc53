//! Access control: what rules and tokens decide, and what loads.

mod decisions;
mod files;
#[cfg(feature = "hcl")]
mod hcl;
mod mistakes;
mod reload;
mod rules;
mod secrecy;
mod token_file;
