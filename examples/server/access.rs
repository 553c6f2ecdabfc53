//! The authorizer of the example server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster_operator::acl::{DefaultPolicy, Resource};
use cluster_operator::mock::{Grant, MockAcl, MockToken};
use cluster_operator::{AclAuthorizer, AllowAll, TokenStore};

use crate::{Switch, chain};

/// Returns the authorizer for the flags. A token file is reloaded on HUP.
pub(crate) fn authorizer(
    acl: Switch,
    file: Option<&Path>,
) -> Result<Arc<dyn AclAuthorizer>, String> {
    if let Some(path) = file {
        // The error names the position of a mistake and not the text there, because a
        // token file holds secrets.
        let tokens = TokenStore::load_file(path).map_err(|error| chain(&error))?;
        print_warnings(&tokens);
        let tokens = Arc::new(tokens);
        #[cfg(unix)]
        tokio::spawn(reload_on_hangup(Arc::clone(&tokens), path.to_owned()));
        return Ok(tokens);
    }
    Ok(match acl {
        Switch::Off => Arc::new(AllowAll),
        Switch::On => Arc::new(
            MockAcl::new(DefaultPolicy::Deny)
                .with_token(MockToken::management("root"))
                .with_token(
                    MockToken::new("viewer")
                        .with(Resource::Operator, Grant::Read)
                        .with(Resource::Keyring, Grant::Read),
                ),
        ),
    })
}

fn print_warnings(tokens: &TokenStore) {
    for warning in tokens.warnings() {
        tracing::warn!("{warning}");
    }
}

/// Reads the file again, on a thread of its own: to read is to block, and the runtime's own
/// blocking threads would hold up the end of the process.
#[cfg(unix)]
async fn reload_on_hangup(tokens: Arc<TokenStore>, path: PathBuf) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangup.recv().await.is_some() {
        let (tokens, path) = (Arc::clone(&tokens), path.clone());
        std::thread::spawn(move || match tokens.reload_file(&path) {
            Ok(()) => {
                tracing::info!("{} is loaded again", path.display());
                print_warnings(&tokens);
            }
            Err(error) => tracing::error!("the old tokens stay in force: {}", chain(&error)),
        });
    }
}
