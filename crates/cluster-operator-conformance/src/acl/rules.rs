//! What tokens allow.

use std::iter::zip;

use super::AclFixture;
use super::ask::{ALL, allowed, asked, denied, tokens};
use crate::verdict::{Verdict, same};
use cluster_operator::acl::{Access, AclError, DefaultPolicy, Identity, Resource};

pub(super) async fn a_read_rule_allows_to_read_and_no_more(acl: &dyn AclFixture) -> Verdict {
    for (token, resource) in zip(&tokens::<2>(acl)?, [Resource::Operator, Resource::Keyring]) {
        allowed(acl, Some(token), resource, Access::Read).await?;
        denied(acl, Some(token), resource, Access::Write).await?;
    }
    Ok(())
}

pub(super) async fn a_read_rule_denies_a_write_that_the_default_allows(
    acl: &dyn AclFixture,
) -> Verdict {
    a_read_rule_allows_to_read_and_no_more(acl).await
}

pub(super) async fn a_write_rule_allows_to_read_too(acl: &dyn AclFixture) -> Verdict {
    for (token, resource) in zip(&tokens::<2>(acl)?, [Resource::Operator, Resource::Keyring]) {
        allowed(acl, Some(token), resource, Access::Write).await?;
        allowed(acl, Some(token), resource, Access::Read).await?;
    }
    Ok(())
}

pub(super) async fn a_deny_rule_denies_what_the_default_allows(acl: &dyn AclFixture) -> Verdict {
    for (token, resource) in zip(&tokens::<2>(acl)?, [Resource::Operator, Resource::Keyring]) {
        denied(acl, Some(token), resource, Access::Read).await?;
        denied(acl, Some(token), resource, Access::Write).await?;
    }
    Ok(())
}

pub(super) async fn a_rule_about_one_resource_is_none_about_the_other(
    acl: &dyn AclFixture,
) -> Verdict {
    for (token, other) in zip(&tokens::<2>(acl)?, [Resource::Keyring, Resource::Operator]) {
        denied(acl, Some(token), other, Access::Read).await?;
        denied(acl, Some(token), other, Access::Write).await?;
    }
    Ok(())
}

pub(super) async fn without_a_rule_a_default_of_deny_denies(acl: &dyn AclFixture) -> Verdict {
    let [token] = tokens(acl)?;
    for (resource, access) in ALL {
        denied(acl, Some(&token), resource, access).await?;
        denied(acl, None, resource, access).await?;
    }
    Ok(())
}

pub(super) async fn without_a_rule_a_default_of_allow_allows(acl: &dyn AclFixture) -> Verdict {
    let [token] = tokens(acl)?;
    for (resource, access) in ALL {
        allowed(acl, Some(&token), resource, access).await?;
        allowed(acl, None, resource, access).await?;
    }
    Ok(())
}

pub(super) async fn the_default_policy_deny_is_told(acl: &dyn AclFixture) -> Verdict {
    let told = acl.authorizer().default_policy();
    same("the default policy", &DefaultPolicy::Deny, &told)
}

pub(super) async fn the_default_policy_allow_is_told(acl: &dyn AclFixture) -> Verdict {
    let told = acl.authorizer().default_policy();
    same("the default policy", &DefaultPolicy::Allow, &told)
}

pub(super) async fn who_shows_no_token_has_the_anonymous_rules(acl: &dyn AclFixture) -> Verdict {
    allowed(acl, None, Resource::Operator, Access::Read).await?;
    let identity = Identity::Anonymous;
    let expected = Err(AclError::Denied { identity });
    for (resource, access) in [
        (Resource::Operator, Access::Write),
        (Resource::Keyring, Access::Read),
        (Resource::Keyring, Access::Write),
    ] {
        let seen = asked(acl, None, resource, access).await;
        same("the anonymous answer", &expected, &seen)?;
    }
    Ok(())
}

pub(super) async fn a_token_does_not_have_the_anonymous_rules(acl: &dyn AclFixture) -> Verdict {
    let [token] = tokens(acl)?;
    denied(acl, Some(&token), Resource::Operator, Access::Read).await
}
