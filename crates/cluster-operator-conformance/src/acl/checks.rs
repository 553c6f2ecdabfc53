//! The ACL checks.

use std::iter::zip;

use super::ask::{ALL, Authorizer, Bearer, Question, same_answers, tells_nothing};
use super::{Acl, AclCheck, TokenRules};
use crate::NotSupported;
use crate::check::checks;
use crate::verdict::{Stop, Verdict, ensure, same, until};
use cluster_operator::acl::{
    Access, AccessorId, AclError, DefaultPolicy, Identity, Resource, Rule,
};

const RESOURCES: [Resource; 2] = [Resource::Operator, Resource::Keyring];
const READ: &[TokenRules] = &both(Rule::Read);
const WRITE: &[TokenRules] = &both(Rule::Write);
const DENY: &[TokenRules] = &both(Rule::Deny);
const WRITERS: Acl = Acl::new(DefaultPolicy::Deny, WRITE);
const READER_AND_NONE: Acl = Acl::new(
    DefaultPolicy::Deny,
    &[TokenRules::operator(Rule::Read), TokenRules::NONE],
);
const MIXED: Acl = Acl::new(
    DefaultPolicy::Deny,
    &[
        TokenRules::operator(Rule::Read),
        TokenRules::keyring(Rule::Write),
        TokenRules::NONE,
    ],
);

/// A token with this rule about each of the [`RESOURCES`].
const fn both(rule: Rule) -> [TokenRules; 2] {
    [TokenRules::operator(rule), TokenRules::keyring(rule)]
}

checks! {
    ($) __conformance_acl_names, AclCheck, Authorizer;

    // What tokens allow.

    /// A token with a rule of read may read, and not write.
    #[source("Consul's rules")]
    #[needs(Acl::new(DefaultPolicy::Deny, READ))]
    async fn a_read_rule_allows_to_read_and_no_more(acl: Authorizer<'_>) -> Verdict {
        reads_only(acl).await
    }

    /// A rule of read is not widened by a default of allow.
    #[source("Consul 0.7.3 let such a token write")]
    #[needs(Acl::new(DefaultPolicy::Allow, READ))]
    async fn a_read_rule_holds_under_default_allow(acl: Authorizer<'_>) -> Verdict {
        reads_only(acl).await
    }

    /// Write implies read.
    #[source("Consul's rules")]
    #[needs(WRITERS)]
    async fn a_write_rule_allows_to_read_too(acl: Authorizer<'_>) -> Verdict {
        for (token, resource) in zip(&acl.tokens::<2>()?, RESOURCES) {
            acl.allows((token, resource, Access::Write)).await?;
            acl.allows((token, resource, Access::Read)).await?;
        }
        Ok(())
    }

    /// A rule of deny holds under a default of allow, for reads and for writes.
    #[source("Consul 0.7.3 let such a token write; Consul 1.10 dropped a DENY in capitals")]
    #[needs(Acl::new(DefaultPolicy::Allow, DENY))]
    async fn a_deny_rule_denies_what_the_default_allows(acl: Authorizer<'_>) -> Verdict {
        for (token, resource) in zip(&acl.tokens::<2>()?, RESOURCES) {
            acl.denies((token, resource, Access::Read)).await?;
            acl.denies((token, resource, Access::Write)).await?;
        }
        Ok(())
    }

    /// Operator and keyring are privileges of their own.
    #[source("CVE-2020-28053")]
    #[needs(WRITERS)]
    async fn a_rule_covers_its_own_resource_only(acl: Authorizer<'_>) -> Verdict {
        for (token, other) in zip(&acl.tokens::<2>()?, RESOURCES.into_iter().rev()) {
            acl.denies((token, other, Access::Read)).await?;
            acl.denies((token, other, Access::Write)).await?;
        }
        Ok(())
    }

    /// Under a default of deny, what no rule mentions is denied, with a token and
    /// without.
    #[source("Consul's default policy")]
    #[needs(Acl::new(DefaultPolicy::Deny, &[TokenRules::NONE]))]
    async fn without_a_rule_a_default_of_deny_denies(acl: Authorizer<'_>) -> Verdict {
        let [token] = acl.tokens()?;
        for (resource, access) in ALL {
            acl.denies((&token, resource, access)).await?;
            acl.denies((&Bearer::anonymous(), resource, access)).await?;
        }
        Ok(())
    }

    /// Under a default of allow, what no rule mentions is allowed, with a known token
    /// and without one.
    #[source("Consul's default policy")]
    #[needs(Acl::new(DefaultPolicy::Allow, &[TokenRules::NONE]))]
    async fn without_a_rule_a_default_of_allow_allows(acl: Authorizer<'_>) -> Verdict {
        let [token] = acl.tokens()?;
        for (resource, access) in ALL {
            acl.allows((&token, resource, access)).await?;
            acl.allows((&Bearer::anonymous(), resource, access)).await?;
        }
        Ok(())
    }

    /// `default_policy` returns a default of deny.
    #[source("Consul 1.10, X-Consul-Default-Acl-Policy")]
    #[needs(Acl::new(DefaultPolicy::Deny, &[]))]
    async fn the_default_policy_deny_is_told(acl: Authorizer<'_>) -> Verdict {
        let told = acl.fixture.authorizer().default_policy();
        same("the default policy", &DefaultPolicy::Deny, &told)
    }

    /// `default_policy` returns a default of allow.
    #[source("Consul 1.10, X-Consul-Default-Acl-Policy")]
    #[needs(Acl::new(DefaultPolicy::Allow, &[]))]
    async fn the_default_policy_allow_is_told(acl: Authorizer<'_>) -> Verdict {
        let told = acl.fixture.authorizer().default_policy();
        same("the default policy", &DefaultPolicy::Allow, &told)
    }

    /// No token means the anonymous one, with its own rules, and a denial of it has no
    /// accessor.
    #[source("Consul's anonymous token")]
    #[needs(Acl::new(DefaultPolicy::Deny, &[]).with_anonymous(TokenRules::operator(Rule::Read)))]
    async fn anonymous_rules_apply_without_a_token(acl: Authorizer<'_>) -> Verdict {
        let nobody = &Bearer::anonymous();
        acl.allows((nobody, Resource::Operator, Access::Read)).await?;
        let identity = Identity::Anonymous;
        let expected = Err(AclError::Denied { identity });
        for (resource, access) in &ALL[1..] {
            let seen = acl.ask((nobody, *resource, *access)).await;
            same("the anonymous answer", &expected, &seen)?;
        }
        Ok(())
    }

    /// What the anonymous one may do, a token without such a rule may not.
    #[source("Consul's anonymous token")]
    #[needs(
        Acl::new(DefaultPolicy::Deny, &[TokenRules::NONE])
            .with_anonymous(TokenRules::operator(Rule::Write))
    )]
    async fn a_token_does_not_have_the_anonymous_rules(acl: Authorizer<'_>) -> Verdict {
        let [token] = &acl.tokens()?;
        acl.denies((token, Resource::Operator, Access::Read)).await
    }

    // Which tokens there are, and what is told of them.

    /// A token that nobody has is `UnknownToken`, not denied: whoever shows it has made
    /// a mistake.
    #[source("Consul, ACL not found")]
    #[needs(WRITERS)]
    async fn a_token_that_nobody_has_is_unknown(acl: Authorizer<'_>) -> Verdict {
        acl.does_not_know(&nobodys()).await
    }

    /// A token that nobody has is `UnknownToken` also where the default, and the
    /// anonymous one, would be allowed.
    #[source("Consul, ACL not found")]
    #[needs(Acl::new(DefaultPolicy::Allow, WRITE))]
    async fn default_allow_does_not_cover_unknown_tokens(acl: Authorizer<'_>) -> Verdict {
        acl.does_not_know(&nobodys()).await
    }

    /// An empty secret is one that nobody has, or no secret at all, as in Consul. It
    /// allows no more than that.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(
        Acl::new(DefaultPolicy::Deny, &[TokenRules::operator(Rule::Write)])
            .with_anonymous(TokenRules::operator(Rule::Read))
    )]
    async fn an_empty_token_allows_no_more_than_none(acl: Authorizer<'_>) -> Verdict {
        for (resource, access) in ALL {
            let none = acl.ask((&Bearer::anonymous(), resource, access)).await;
            let empty = Bearer::new("an empty token", "");
            let seen = acl.ask((&empty, resource, access)).await;
            let holds = seen == Err(AclError::UnknownToken) || seen == none;
            let expected = format_args!("UnknownToken, or {none:?} as without a token");
            ensure(holds, expected, seen)?;
        }
        Ok(())
    }

    /// A secret that is only similar, by case, spaces or length, is another one.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(WRITERS)]
    async fn a_secret_is_matched_byte_for_byte(acl: Authorizer<'_>) -> Verdict {
        let tokens = acl.fixture.tokens();
        for token in &tokens {
            let secret = token.expose();
            let shorter = secret.char_indices().next_back();
            let shorter = shorter.map_or("", |(end, _)| &secret[..end]);
            for (how, alike) in [
                ("with a space before", format!(" {secret}")),
                ("with a space behind", format!("{secret} ")),
                ("with a line end", format!("{secret}\n")),
                ("with a zero byte", format!("{secret}\0")),
                ("in upper case", secret.to_uppercase()),
                ("in lower case", secret.to_lowercase()),
                ("twice", secret.repeat(2)),
                ("less its end", shorter.into()),
            ] {
                if tokens.iter().all(|token| token.expose() != alike) {
                    acl.does_not_know(&Bearer::new(format!("a secret {how}"), &alike)).await?;
                }
            }
        }
        Ok(())
    }

    /// Names of policies and of built-in tokens are no secrets.
    #[source("Consul answers a token `manage` with an error of its own")]
    #[needs(WRITERS)]
    async fn well_known_names_are_no_tokens(acl: Authorizer<'_>) -> Verdict {
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
            acl.does_not_know(&Bearer::new(format!("the token {word:?}"), word)).await?;
        }
        Ok(())
    }

    /// The public name of a token allows nothing.
    #[source("Consul's accessor ids")]
    #[needs(Acl::new(
        DefaultPolicy::Deny,
        &[TokenRules::operator(Rule::Write), TokenRules::NONE]
    ))]
    async fn an_accessor_id_is_no_secret(acl: Authorizer<'_>) -> Verdict {
        for accessor in accessors(acl).await?.iter().flatten() {
            acl.does_not_know(&Bearer::new("an accessor id", accessor.as_str())).await?;
        }
        Ok(())
    }

    /// A denial has the accessor id of the token, the same each time, as an answer has
    /// that allows something, and another one for each token, unless tokens have no
    /// such ids.
    #[source("Consul, Permission denied: token with AccessorID")]
    #[needs(READER_AND_NONE)]
    async fn a_denial_tells_whose_token_it_is(acl: Authorizer<'_>) -> Verdict {
        let first = accessors(acl).await?;
        let again = accessors(acl).await?;
        same("the accessor ids, asked again", &first, &again)?;
        let all = first.iter().all(Option::is_some);
        ensure(all, "the accessor id of each known token", &first)?;
        let differ = first[0] != first[1];
        ensure(differ, "an accessor id for each token", &first)
    }

    /// Any text can be shown as a token. It is unknown, not a panic.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(WRITERS)]
    async fn odd_tokens_are_unknown(acl: Authorizer<'_>) -> Verdict {
        for odd in [" ", "\0", "a\r\nb", "\"'{}%s", "🦀", "../../etc/passwd"] {
            acl.does_not_know(&Bearer::new(format!("the token {odd:?}"), odd)).await?;
        }
        let long = "a".repeat(100_000);
        acl.does_not_know(&Bearer::new("a token of 100,000 letters", &long)).await
    }

    /// Neither the text of an error nor its `Debug` has eight letters of the secret in
    /// a row.
    #[source("consul#2334, consul#23731")]
    #[needs(READER_AND_NONE)]
    async fn no_secret_is_in_an_error(acl: Authorizer<'_>) -> Verdict {
        let [reader, none] = acl.tokens()?;
        let nobodys = Bearer::new("an unknown token", "5ecre7-of-nobody");
        for bearer in [reader, none, nobodys] {
            for (resource, access) in ALL {
                if let Err(error) = acl.ask((&bearer, resource, access)).await {
                    tells_nothing(&bearer, &error)?;
                }
            }
        }
        Ok(())
    }

    /// In time a token that was revoked is `UnknownToken`, and the others are as
    /// before.
    #[source("Consul's token cache and its ttl")]
    #[needs(Acl::new(DefaultPolicy::Deny, &[TokenRules::operator(Rule::Read); 2]))]
    async fn a_revoked_token_is_unknown(acl: Authorizer<'_>) -> Verdict {
        let [gone, kept] = &acl.tokens()?;
        let [gone, kept] = [gone, kept].map(|token| (token, Resource::Operator, Access::Read));
        acl.allows(gone).await?;
        if let Some(token) = &gone.0.token {
            acl.step("revoke token 1");
            acl.fixture.revoke(token).await?;
        }
        until(acl.fixture, "UnknownToken for one that was revoked", || async {
            match acl.ask(gone).await {
                Err(AclError::UnknownToken) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        acl.allows(kept).await
    }

    /// An authorizer that cannot reach what it asks about tokens is `Unavailable`, and
    /// allows nothing.
    #[source("Consul, acl_down_policy")]
    #[needs(Acl::new(DefaultPolicy::Allow, WRITE))]
    async fn lost_source_is_unavailable(acl: Authorizer<'_>) -> Verdict {
        acl.step("lose what the authorizer asks");
        acl.fixture.lose_source().await?;
        for token in &acl.tokens::<2>()? {
            for (resource, access) in ALL {
                let answer = acl.ask((token, resource, access)).await;
                if let Err(error) = &answer {
                    tells_nothing(token, error)?;
                }
                let unavailable = matches!(answer, Err(AclError::Unavailable { .. }));
                ensure(unavailable, "Unavailable", answer)?;
            }
        }
        Ok(())
    }

    // That answers do not depend on each other.

    /// The same question has the same answer, in whatever order one asks.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(MIXED)]
    async fn an_answer_does_not_depend_on_earlier_ones(acl: Authorizer<'_>) -> Verdict {
        let bearers = bearers(acl)?;
        let mut questions = questions(&bearers);
        let mut first = acl.ask_all(&questions).await;
        let again = acl.ask_all(&questions).await;
        same_answers("asked once more", &questions, &first, &again)?;
        questions.reverse();
        first.reverse();
        let backwards = acl.ask_all(&questions).await;
        same_answers("asked backwards", &questions, &first, &backwards)
    }

    /// Questions at the same time get their own answers.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(MIXED)]
    async fn answers_at_once_are_not_mixed_up(acl: Authorizer<'_>) -> Verdict {
        let bearers = bearers(acl)?;
        let questions = questions(&bearers);
        let expected = acl.ask_all(&questions).await;
        for _ in 0..4 {
            let seen = acl.ask_at_once(&questions).await;
            same_answers("asked at once", &questions, &expected, &seen)?;
        }
        Ok(())
    }

    /// A question whose future is dropped, at any point, changes no other answer and
    /// blocks none.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(MIXED)]
    async fn a_dropped_question_affects_no_other(acl: Authorizer<'_>) -> Verdict {
        let bearers = bearers(acl)?;
        let questions = questions(&bearers);
        let expected = acl.ask_all(&questions).await;
        for polls in 0..3 {
            acl.drop_all(polls, &questions).await;
            let seen = acl.ask_all(&questions).await;
            same_answers("after dropped questions", &questions, &expected, &seen)?;
        }
        Ok(())
    }
}

async fn reads_only(acl: Authorizer<'_>) -> Verdict {
    for (token, resource) in zip(&acl.tokens::<2>()?, RESOURCES) {
        acl.allows((token, resource, Access::Read)).await?;
        acl.denies((token, resource, Access::Write)).await?;
    }
    Ok(())
}

fn nobodys() -> Bearer {
    Bearer::new("an unknown token", "7d7f3c1e-5a44-4b8e-9a55-2f6f0c5f0b11")
}

/// Whose the tokens are, if the authorizer tells it of any.
async fn accessors(acl: Authorizer<'_>) -> Result<[Option<AccessorId>; 2], Stop> {
    let [first, second] = &acl.tokens()?;
    let told = [accessor(acl, first).await?, accessor(acl, second).await?];
    if told.iter().all(Option::is_none) {
        return Err(NotSupported::new("the authorizer tells no accessor ids").into());
    }
    Ok(told)
}

/// Whose a token is, as each answer tells, be it a denial or not.
async fn accessor(acl: Authorizer<'_>, token: &Bearer) -> Result<Option<AccessorId>, Stop> {
    let mut told = Vec::new();
    for (resource, access) in ALL {
        match acl.identity((token, resource, access)).await {
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

/// The three tokens, one that nobody has, and none.
fn bearers(acl: Authorizer<'_>) -> Result<[Bearer; 5], Stop> {
    let [first, second, third] = acl.tokens()?;
    Ok([first, second, third, nobodys(), Bearer::anonymous()])
}

/// Every question there is.
fn questions(bearers: &[Bearer; 5]) -> Vec<Question<'_>> {
    let all = |bearer| ALL.map(|(resource, access)| (bearer, resource, access));
    bearers.iter().flat_map(all).collect()
}
