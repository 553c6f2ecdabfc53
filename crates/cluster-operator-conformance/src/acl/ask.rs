//! How the ACL checks ask.

use super::AclFixture;
use crate::verdict::{Stop, Verdict, ensure};
use cluster_operator::acl::{Access, AclError, Resource, Token};

/// Everything that can be asked for.
pub(super) const ALL: [(Resource, Access); 4] = [
    (Resource::Operator, Access::Read),
    (Resource::Operator, Access::Write),
    (Resource::Keyring, Access::Read),
    (Resource::Keyring, Access::Write),
];

/// The tokens that the check wanted, as many as it wanted.
pub(super) fn tokens<const N: usize>(acl: &dyn AclFixture) -> Result<[Token; N], Stop> {
    let tokens = <[Token; N]>::try_from(acl.tokens());
    tokens.map_err(|tokens| {
        let seen = format!("{} of them", tokens.len());
        Stop::failed(format!("{N} tokens from the fixture"), seen)
    })
}

pub(super) async fn asked(
    acl: &dyn AclFixture,
    token: Option<&Token>,
    resource: Resource,
    access: Access,
) -> Result<(), AclError> {
    let answer = acl.authorizer().authorize(token, resource, access).await;
    answer.map(|_| ())
}

pub(super) async fn allowed(
    acl: &dyn AclFixture,
    token: Option<&Token>,
    resource: Resource,
    access: Access,
) -> Verdict {
    let answer = asked(acl, token, resource, access).await;
    let whose = whose(acl, token);
    let expected = format_args!("{whose} to be allowed {resource}:{access}");
    ensure(answer.is_ok(), expected, answer)
}

pub(super) async fn denied(
    acl: &dyn AclFixture,
    token: Option<&Token>,
    resource: Resource,
    access: Access,
) -> Verdict {
    let answer = asked(acl, token, resource, access).await;
    let whose = whose(acl, token);
    let expected = format_args!("{whose} to be Denied {resource}:{access}");
    ensure(
        matches!(answer, Err(AclError::Denied { .. })),
        expected,
        answer,
    )
}

/// That a token is nobody's, whatever is asked for.
pub(super) async fn unknown(acl: &dyn AclFixture, what: &str, token: &Token) -> Verdict {
    for (resource, access) in ALL {
        let answer = asked(acl, Some(token), resource, access).await;
        let expected = format_args!("UnknownToken for {what}, {resource}:{access}");
        ensure(answer == Err(AclError::UnknownToken), expected, answer)?;
    }
    Ok(())
}

/// Whose a token is, without its secret.
fn whose(acl: &dyn AclFixture, token: Option<&Token>) -> String {
    let Some(token) = token else {
        return "the anonymous one".into();
    };
    let number = acl.tokens().iter().position(|known| known == token);
    format!("the token number {}", number.map_or(0, |number| number + 1))
}
