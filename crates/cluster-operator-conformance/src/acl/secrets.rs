//! Which tokens there are, and what is told of them.

use super::AclFixture;
use super::ask::{ALL, asked, tokens, unknown};
use crate::NotSupported;
use crate::traces::{PART, tells_part};
use crate::verdict::{Stop, Verdict, ensure, same, until};
use cluster_operator::acl::{Access, AccessorId, AclError, Resource, Token};

pub(super) async fn a_token_that_nobody_has_is_unknown(acl: &dyn AclFixture) -> Verdict {
    let nobodys = Token::new("7d7f3c1e-5a44-4b8e-9a55-2f6f0c5f0b11");
    unknown(acl, "a token that nobody has", &nobodys).await
}

pub(super) async fn a_token_that_nobody_has_is_unknown_where_the_default_allows(
    acl: &dyn AclFixture,
) -> Verdict {
    a_token_that_nobody_has_is_unknown(acl).await
}

pub(super) async fn an_empty_token_opens_no_more_than_none(acl: &dyn AclFixture) -> Verdict {
    let empty = Token::new("");
    for (resource, access) in ALL {
        let none = asked(acl, None, resource, access).await;
        let seen = asked(acl, Some(&empty), resource, access).await;
        let holds = seen == Err(AclError::UnknownToken) || seen == none;
        let expected = format_args!("UnknownToken, or {none:?} as without a token");
        ensure(holds, expected, seen)?;
    }
    Ok(())
}

pub(super) async fn a_secret_is_matched_byte_for_byte(acl: &dyn AclFixture) -> Verdict {
    let tokens = tokens::<2>(acl)?;
    for token in &tokens {
        let secret = token.expose();
        let shorter = secret.char_indices().next_back();
        let alike = [
            ("with a space before", format!(" {secret}")),
            ("with a space behind", format!("{secret} ")),
            ("with a line end", format!("{secret}\n")),
            ("with a zero byte", format!("{secret}\0")),
            ("in upper case", secret.to_uppercase()),
            ("in lower case", secret.to_lowercase()),
            ("twice", format!("{secret}{secret}")),
            (
                "less its end",
                shorter.map_or("", |(end, _)| &secret[..end]).into(),
            ),
        ];
        for (how, alike) in alike {
            let alike = Token::new(alike);
            if !tokens.contains(&alike) {
                unknown(acl, &format!("a secret {how}"), &alike).await?;
            }
        }
    }
    Ok(())
}

pub(super) async fn no_word_is_a_token_by_itself(acl: &dyn AclFixture) -> Verdict {
    for word in [
        "anonymous",
        "allow",
        "deny",
        "manage",
        "management",
        "master",
        "root",
        "*",
        "null",
        "00000000-0000-0000-0000-000000000001",
        "00000000-0000-0000-0000-000000000002",
    ] {
        unknown(acl, &format!("the word {word:?}"), &Token::new(word)).await?;
    }
    Ok(())
}

pub(super) async fn an_accessor_id_is_no_secret(acl: &dyn AclFixture) -> Verdict {
    let told = accessors(acl).await?;
    for accessor in told.iter().flatten() {
        let shown = Token::new(accessor.as_str());
        unknown(acl, "an accessor id", &shown).await?;
    }
    Ok(())
}

/// Whose the tokens are, if the authorizer tells it of any.
async fn accessors(acl: &dyn AclFixture) -> Result<Vec<Option<AccessorId>>, Stop> {
    let mut told = Vec::new();
    for token in tokens::<2>(acl)? {
        told.push(accessor(acl, &token).await?);
    }
    if told.iter().all(Option::is_none) {
        return Err(NotSupported::new("the authorizer tells no accessor ids").into());
    }
    Ok(told)
}

/// Whose a token is, as each answer tells, be it a denial or not.
async fn accessor(acl: &dyn AclFixture, token: &Token) -> Result<Option<AccessorId>, Stop> {
    let mut told = Vec::new();
    for (resource, access) in ALL {
        let authorizer = acl.authorizer();
        match authorizer.authorize(Some(token), resource, access).await {
            Ok(identity) | Err(AclError::Denied { identity }) => {
                told.push(identity.accessor().cloned());
            }
            Err(error) => {
                let seen = format!("{error:?}");
                return Err(Stop::failed("an identity, allowed or denied", seen));
            }
        }
    }
    let is_one = told.windows(2).all(|pair| pair[0] == pair[1]);
    ensure(is_one, "one owner of a token in all answers", &told)?;
    Ok(told.pop().flatten())
}

pub(super) async fn a_denial_tells_whose_token_it_is(acl: &dyn AclFixture) -> Verdict {
    let first = accessors(acl).await?;
    let again = accessors(acl).await?;
    same("the accessor ids, asked again", &first, &again)?;
    let all = first.iter().all(Option::is_some);
    ensure(all, "the accessor id of each known token", &first)?;
    ensure(
        first[0] != first[1],
        "an accessor id for each token",
        &first,
    )
}

pub(super) async fn odd_tokens_are_unknown(acl: &dyn AclFixture) -> Verdict {
    let long = "a".repeat(100_000);
    for odd in [
        " ",
        "\0",
        "a\r\nb",
        "\"'{}%s",
        "🦀",
        "../../etc/passwd",
        &long,
    ] {
        unknown(acl, "an odd token", &Token::new(odd)).await?;
    }
    Ok(())
}

pub(super) async fn no_secret_is_in_an_error(acl: &dyn AclFixture) -> Verdict {
    let mut tokens = tokens::<2>(acl)?.to_vec();
    tokens.push(Token::new("5ecre7-of-nobody"));
    for token in &tokens {
        for (resource, access) in ALL {
            if let Err(error) = asked(acl, Some(token), resource, access).await {
                tells_nothing(token, &error)?;
            }
        }
    }
    Ok(())
}

fn tells_nothing(token: &Token, error: &AclError) -> Verdict {
    let tells = tells_part(&format!("{error} {error:?}"), token.expose().as_bytes());
    let expected = format_args!("an error without {PART} letters of the secret in a row");
    ensure(!tells, expected, format_args!("an error with a part of it"))
}

pub(super) async fn a_token_that_was_taken_back_is_unknown(acl: &dyn AclFixture) -> Verdict {
    let [gone, kept] = &tokens(acl)?;
    let (resource, access) = (Resource::Operator, Access::Read);
    super::ask::allowed(acl, Some(gone), resource, access).await?;
    acl.revoke(gone).await?;
    until(acl, "UnknownToken for one that was taken back", || async {
        match asked(acl, Some(gone), resource, access).await {
            Err(AclError::UnknownToken) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    super::ask::allowed(acl, Some(kept), resource, access).await
}

pub(super) async fn what_cannot_be_told_is_unavailable(acl: &dyn AclFixture) -> Verdict {
    acl.lose_source().await?;
    for token in tokens::<2>(acl)? {
        for (resource, access) in ALL {
            let answer = asked(acl, Some(&token), resource, access).await;
            if let Err(error) = &answer {
                tells_nothing(&token, error)?;
            }
            let unavailable = matches!(answer, Err(AclError::Unavailable { .. }));
            ensure(unavailable, "Unavailable", answer)?;
        }
    }
    Ok(())
}
