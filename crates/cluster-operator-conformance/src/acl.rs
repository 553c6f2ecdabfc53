//! The suite for [`AclAuthorizer`].
//!
//! Checks of [accessor ids](cluster_operator::acl::AccessorId) are skipped for an authorizer
//! that never names one. A failed check lists its questions and their answers.

use std::iter::zip;
use std::sync::Arc;

use async_trait::async_trait;
use cluster_operator::acl::{
    Access, AccessorId, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Rule, Token,
};
use futures_util::future::join_all;

use crate::check::suite;
use crate::fixture::{Fixture, NotSupported, Stop, Trial, Verdict, ensure, exactly, same};
use crate::secret::{hides, words};

/// The rules of a token, one about a resource. The default policy decides about the rest.
pub type TokenRules = &'static [(Resource, Rule)];

/// The authorizer that a check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acl {
    /// The policy where no rule applies.
    pub default_policy: DefaultPolicy,
    /// The tokens that it knows, by their rules. The fixture chooses the secrets.
    pub tokens: &'static [TokenRules],
    /// The rules of a request without a token.
    pub anonymous: TokenRules,
}

impl Acl {
    /// These tokens, and no rules for a request without one.
    pub const fn new(default_policy: DefaultPolicy, tokens: &'static [TokenRules]) -> Self {
        Acl {
            default_policy,
            tokens,
            anonymous: &[],
        }
    }
}

/// An authorizer with the tokens that were wanted.
///
/// What a fixture cannot do, it leaves at the default, which is [`NotSupported`]; the
/// checks that need it are skipped.
#[allow(unused_variables)]
#[async_trait]
pub trait AclFixture: Fixture {
    /// The authorizer under test.
    fn authorizer(&self) -> Arc<dyn AclAuthorizer>;

    /// The tokens that it knows, in the order in which they were wanted.
    ///
    /// No text of the authorizer may contain eight letters of a secret in a row. So that
    /// none does by chance, let each be at least 16 random letters, and share no such part
    /// with an accessor id, which a denial shows.
    fn tokens(&self) -> Vec<Token>;

    /// Revokes a token. The authorizer may take its time to notice.
    async fn revoke(&self, token: &Token) -> Result<(), NotSupported> {
        NotSupported::cannot("revoke a token")
    }

    /// Cuts the authorizer off from what it asks about tokens. It has not been asked
    /// before.
    async fn lose_source(&self) -> Result<(), NotSupported> {
        Err(NotSupported::new("the authorizer asks nobody else"))
    }
}

/// One token for each rule about each resource, and one without a rule.
const RULES: &[TokenRules] = &[
    &[(Resource::Operator, Rule::Read)],
    &[(Resource::Keyring, Rule::Read)],
    &[(Resource::Operator, Rule::Write)],
    &[(Resource::Keyring, Rule::Write)],
    &[(Resource::Operator, Rule::Deny)],
    &[(Resource::Keyring, Rule::Deny)],
    &[],
];
const READ: TokenRules = &[(Resource::Operator, Rule::Read)];
const WRITE: &[TokenRules] = &[
    &[(Resource::Operator, Rule::Write)],
    &[(Resource::Keyring, Rule::Write)],
];
const WRITERS: Acl = Acl::new(DefaultPolicy::Deny, WRITE);
const WRITERS_UNDER_ALLOW: Acl = Acl::new(DefaultPolicy::Allow, WRITE);
const READER_AND_NONE: Acl = Acl::new(DefaultPolicy::Deny, &[READ, &[]]);

/// Everything that a token can be asked for.
const ALL: [(Resource, Access); 4] = [
    (Resource::Operator, Access::Read),
    (Resource::Operator, Access::Write),
    (Resource::Keyring, Access::Read),
    (Resource::Keyring, Access::Write),
];

suite! {
    ($) __conformance_acl_tests;

    /// Runs the whole suite, each check on an authorizer of its own.
    suite acl::acl_authorizer(AclAuthorizer, AclFixture, Acl);

    /// A request without a token has the anonymous rules, which no token has, and its
    /// denial names no accessor.
    #[source("Consul's anonymous token")]
    #[needs(Acl { anonymous: &[(Resource::Keyring, Rule::Read)], ..READER_AND_NONE })]
    async fn anonymous_rules_apply_without_a_token(acl: Authorizer<'_>) -> Verdict {
        let none = &Bearer::anonymous();
        acl.decides((none, Resource::Keyring, Access::Read), true).await?;
        let identity = Identity::Anonymous;
        let expected = Err(AclError::Denied { identity });
        for access in [Access::Read, Access::Write] {
            acl.answers((none, Resource::Operator, access), &expected).await?;
        }
        for token in &acl.tokens::<2>()? {
            acl.decides((token, Resource::Keyring, Access::Read), false).await?;
        }
        Ok(())
    }

    /// A rule decides about its own resource alone, whatever the default policy: write
    /// implies read, and read does not imply write. The default of deny, which
    /// `default_policy` returns, decides about the rest, with a token and without.
    #[source("Consul's rules; CVE-2020-28053: a rule about one resource covered another")]
    #[needs(Acl::new(DefaultPolicy::Deny, RULES))]
    async fn rules_decide_under_default_deny(acl: Authorizer<'_>) -> Verdict {
        acl.decides_under(DefaultPolicy::Deny).await
    }

    /// The same holds under a default of allow: it widens neither a rule of read nor
    /// one of deny.
    #[source("Consul 0.7.3 let such tokens write; Consul 1.10 dropped a DENY in capitals")]
    #[needs(Acl::new(DefaultPolicy::Allow, RULES))]
    async fn rules_decide_under_default_allow(acl: Authorizer<'_>) -> Verdict {
        acl.decides_under(DefaultPolicy::Allow).await
    }

    /// A token that nobody has is `UnknownToken`, neither denied nor allowed, also where
    /// the default would allow it.
    #[source("Consul, ACL not found")]
    #[needs(WRITERS_UNDER_ALLOW)]
    async fn default_allow_does_not_cover_unknown_tokens(acl: Authorizer<'_>) -> Verdict {
        acl.does_not_know(&Bearer::unknown()).await
    }

    /// Any text can be shown as a token. It is unknown, and no panic, even if it is the
    /// name of a policy or of a built-in token.
    #[source("Consul answers a token `manage` with an error of its own")]
    #[needs(WRITERS)]
    async fn odd_tokens_are_unknown(acl: Authorizer<'_>) -> Verdict {
        for odd in [
            " ", "\0", "a\r\nb", "\"'{}%s", "🦀", "../../etc/passwd", "anonymous", "allow", "deny",
            "manage", "management", "master", "root", "*", "null",
            "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002",
        ] {
            acl.does_not_know(&Bearer::new(format!("the token {odd:?}"), odd)).await?;
        }
        let long = "a".repeat(100_000);
        acl.does_not_know(&Bearer::new("a token of 100,000 letters", &long)).await
    }

    /// An empty secret is unknown, or the same as no token, as in Consul. It allows no
    /// more than that.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(Acl { anonymous: READ, ..WRITERS })]
    async fn an_empty_token_allows_no_more_than_none(acl: Authorizer<'_>) -> Verdict {
        let (none, empty) = (Bearer::anonymous(), Bearer::new("an empty token", ""));
        for (resource, access) in ALL {
            let none = acl.ask((&none, resource, access)).await;
            let seen = acl.ask((&empty, resource, access)).await;
            let holds = seen == Err(AclError::UnknownToken) || seen == none;
            let expected = format!("UnknownToken, or {none:?} as without a token");
            ensure(holds, expected, seen)?;
        }
        Ok(())
    }

    /// A secret that differs by case, spaces or length alone is another one.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(WRITERS)]
    async fn a_secret_is_matched_byte_for_byte(acl: Authorizer<'_>) -> Verdict {
        let tokens = acl.fixture.tokens();
        for token in &tokens {
            let secret = token.expose();
            let mut shorter = secret.to_owned();
            shorter.pop();
            for (how, similar) in [
                ("with a space before", format!(" {secret}")),
                ("with a space behind", format!("{secret} ")),
                ("with a line end", format!("{secret}\n")),
                ("with a zero byte", format!("{secret}\0")),
                ("in upper case", secret.to_uppercase()),
                ("in lower case", secret.to_lowercase()),
                ("twice", secret.repeat(2)),
                ("without its last letter", shorter),
            ] {
                if tokens.iter().all(|token| token.expose() != similar) {
                    acl.does_not_know(&Bearer::new(format!("a secret {how}"), &similar)).await?;
                }
            }
        }
        Ok(())
    }

    /// The public id of a token allows nothing.
    #[source("Consul's accessor ids")]
    #[needs(READER_AND_NONE)]
    async fn an_accessor_id_is_no_secret(acl: Authorizer<'_>) -> Verdict {
        for accessor in acl.accessors().await?.iter().flatten() {
            acl.does_not_know(&Bearer::new("an accessor id", accessor.as_str())).await?;
        }
        Ok(())
    }

    /// Each answer, a denial too, has the accessor id of the token, always the same one,
    /// and another one for each token, unless tokens have no such ids.
    #[source("Consul, Permission denied: token with AccessorID")]
    #[needs(READER_AND_NONE)]
    async fn a_denial_tells_whose_token_it_is(acl: Authorizer<'_>) -> Verdict {
        let first = acl.accessors().await?;
        same("the accessor ids, asked again", &first, &acl.accessors().await?)?;
        let holds = first.iter().all(Option::is_some) && first[0] != first[1];
        ensure(holds, "an accessor id for each token", first)
    }

    /// Neither the text of an error nor its `Debug` contains eight letters of the secret
    /// in a row.
    #[source("consul#2334, consul#23731")]
    #[needs(READER_AND_NONE)]
    async fn no_secret_is_in_an_error(acl: Authorizer<'_>) -> Verdict {
        let [reader, none] = acl.tokens()?;
        for bearer in [reader, none, Bearer::new("an unknown token", "5ecre7-of-nobody")] {
            for (resource, access) in ALL {
                if let Err(error) = acl.ask((&bearer, resource, access)).await {
                    tells_nothing(&bearer, &error)?;
                }
            }
        }
        Ok(())
    }

    /// In time a revoked token is `UnknownToken`, and the others are as before.
    #[source("Consul's token cache and its ttl")]
    #[needs(Acl::new(DefaultPolicy::Deny, &[READ; 2]))]
    async fn a_revoked_token_is_unknown(acl: Authorizer<'_>) -> Verdict {
        let [revoked, kept] = &acl.tokens()?;
        let read = |token| (token, Resource::Operator, Access::Read);
        let (revoked, kept) = (read(revoked), read(kept));
        acl.decides(revoked, true).await?;
        if let Some(token) = &revoked.0.token {
            acl.step("revoke token 1");
            acl.fixture.revoke(token).await?;
        }
        acl.until("UnknownToken for a revoked one", || async {
            match acl.ask(revoked).await {
                Err(AclError::UnknownToken) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        acl.decides(kept, true).await
    }

    /// An authorizer that cannot reach what it asks about tokens is `Unavailable`, and
    /// allows nothing.
    #[source("Consul, acl_down_policy")]
    #[needs(WRITERS_UNDER_ALLOW)]
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

    /// The same question has the same answer, whatever is asked before it, at the same
    /// time, or was dropped at any point.
    #[source("the contract of `AclAuthorizer`")]
    #[needs(Acl::new(DefaultPolicy::Deny, RULES))]
    async fn an_answer_does_not_depend_on_other_questions(acl: Authorizer<'_>) -> Verdict {
        let mut bearers = acl.tokens::<7>()?.to_vec();
        bearers.extend([Bearer::unknown(), Bearer::anonymous()]);
        let all = |bearer| ALL.map(|(resource, access)| (bearer, resource, access));
        let mut known = Vec::new();
        for question in bearers.iter().flat_map(all) {
            known.push((question, acl.ask(question).await));
        }
        for (question, answer) in known.iter().chain(known.iter().rev()) {
            acl.answers(*question, answer).await?;
        }
        for _ in 0..4 {
            acl.step("at once:");
            let at_once = known.iter().map(|(question, answer)| acl.answers(*question, answer));
            join_all(at_once).await.into_iter().collect::<Verdict>()?;
        }
        for polls in 0..3 {
            acl.step(format!("each question dropped after {polls} polls:"));
            for (question, _) in &known {
                acl.dropped(polls, acl.ask(*question)).await;
            }
            for (question, answer) in &known {
                acl.answers(*question, answer).await?;
            }
        }
        Ok(())
    }
}

/// A check in progress on a fixture's authorizer.
type Authorizer<'a> = Trial<'a, dyn AclFixture>;

/// A token, or none, and its name in a report, which is never its secret.
#[derive(Clone)]
struct Bearer {
    name: String,
    token: Option<Token>,
}

impl Bearer {
    fn anonymous() -> Self {
        Bearer {
            name: "no token".into(),
            token: None,
        }
    }

    fn unknown() -> Self {
        Bearer::new("an unknown token", "7d7f3c1e-5a44-4b8e-9a55-2f6f0c5f0b11")
    }

    fn new(name: impl Into<String>, secret: &str) -> Self {
        Bearer {
            name: name.into(),
            token: Some(Token::new(secret)),
        }
    }
}

/// Who asks, and for what.
type Question<'a> = (&'a Bearer, Resource, Access);

/// Whether it is allowed, without the identity.
type Answer = Result<(), AclError>;

impl Authorizer<'_> {
    /// The tokens that the check wanted.
    fn tokens<const N: usize>(&self) -> Result<[Bearer; N], Stop> {
        let named = |(number, token)| Bearer {
            name: format!("token {number}"),
            token: Some(token),
        };
        exactly("tokens", (1..).zip(self.fixture.tokens()).map(named))
    }

    /// Asks, and returns the identity too.
    async fn identity(&self, question: Question<'_>) -> Result<Identity, AclError> {
        let (bearer, resource, access) = question;
        let authorizer = self.fixture.authorizer();
        let token = bearer.token.as_ref();
        let answer = authorizer.authorize(token, resource, access).await;
        // No more than that: the text of an error may contain the secret.
        let shown = match &answer {
            Ok(_) => "allowed",
            Err(AclError::Denied { .. }) => "Denied",
            Err(AclError::UnknownToken) => "UnknownToken",
            Err(AclError::Unavailable { .. }) => "Unavailable",
            Err(_) => "another error",
        };
        self.step(named(question, shown));
        answer
    }

    async fn ask(&self, question: Question<'_>) -> Answer {
        self.identity(question).await.map(|_| ())
    }

    /// Checks the answer to a question.
    async fn answers(&self, question: Question<'_>, expected: &Answer) -> Verdict {
        let seen = self.ask(question).await;
        let named = named(question, &format!("{expected:?}"));
        ensure(seen == *expected, named, seen)
    }

    /// Checks that a question is answered with yes, or is denied.
    async fn decides(&self, question: Question<'_>, allowed: bool) -> Verdict {
        let answer = self.ask(question).await;
        let denied = matches!(answer, Err(AclError::Denied { .. }));
        let expected = if allowed { "allowed" } else { "Denied" };
        let holds = if allowed { answer.is_ok() } else { denied };
        ensure(holds, named(question, expected), answer)
    }

    /// Checks all decisions about the tokens with the [`RULES`] and about no token.
    async fn decides_under(&self, default: DefaultPolicy) -> Verdict {
        let seen = self.fixture.authorizer().default_policy();
        same("the default policy", &default, &seen)?;
        let mut bearers = self.tokens::<7>()?.to_vec();
        bearers.push(Bearer::anonymous());
        for (bearer, rules) in zip(&bearers, RULES.iter().chain([&&[][..]])) {
            for (resource, access) in ALL {
                let allowed = match rules.iter().find(|(about, _)| *about == resource) {
                    Some((_, Rule::Write)) => true,
                    Some((_, Rule::Read)) => access == Access::Read,
                    Some((_, Rule::Deny)) => false,
                    None => default == DefaultPolicy::Allow,
                };
                self.decides((bearer, resource, access), allowed).await?;
            }
        }
        Ok(())
    }

    /// Checks that a token is unknown, whatever is asked for.
    async fn does_not_know(&self, bearer: &Bearer) -> Verdict {
        for (resource, access) in ALL {
            let unknown = Err(AclError::UnknownToken);
            self.answers((bearer, resource, access), &unknown).await?;
        }
        Ok(())
    }

    /// The owners of two tokens, whom each answer names, be it a denial or not. Skips the
    /// check if the authorizer names neither.
    async fn accessors(&self) -> Result<[Option<AccessorId>; 2], Stop> {
        let mut owners = [None, None];
        for (owner, token) in zip(&mut owners, &self.tokens::<2>()?) {
            let mut named = Vec::new();
            for (resource, access) in ALL {
                match self.identity((token, resource, access)).await {
                    Ok(identity) | Err(AclError::Denied { identity }) => {
                        named.push(identity.accessor().cloned());
                    }
                    Err(error) => {
                        let seen = format!("{error:?}");
                        return Err(Stop::failed("an identity, allowed or denied", seen));
                    }
                }
            }
            let is_one = named.iter().all(|name| *name == named[0]);
            ensure(is_one, "one owner of a token in all answers", &named)?;
            *owner = named.pop().flatten();
        }
        if owners == [None, None] {
            return Err(NotSupported::new("the authorizer names no accessor ids").into());
        }
        Ok(owners)
    }
}

fn named((bearer, resource, access): Question<'_>, answer: &str) -> String {
    format!("{}, {resource}:{access}: {answer}", bearer.name)
}

/// Checks that an error contains no part of the secret.
fn tells_nothing(bearer: &Bearer, error: &AclError) -> Verdict {
    let secret = bearer.token.as_ref().map_or("", Token::expose);
    hides("an error", &words(error), secret.as_bytes())
}

/// Checks that there are as many secrets as were wanted, all different, and long enough
/// that none is in a text by chance.
async fn ready(wanted: Acl, acl: Authorizer<'_>) -> Verdict {
    const LETTERS: usize = 16;
    let tokens = acl.fixture.tokens();
    let expected = format!("tokens from the fixture: {}", wanted.tokens.len());
    let seen = tokens.len();
    ensure(seen == wanted.tokens.len(), expected, seen)?;
    for (number, token) in (1..).zip(&tokens) {
        let letters = token.expose().chars().count();
        let expected = format!("secrets from the fixture of at least {LETTERS} letters");
        ensure(
            letters >= LETTERS,
            expected,
            format_args!("number {number} has {letters} letters"),
        )?;
        ensure(
            !tokens[..number - 1].contains(token),
            "different secrets from the fixture",
            format_args!("number {number} is another one's too"),
        )?;
    }
    Ok(())
}
