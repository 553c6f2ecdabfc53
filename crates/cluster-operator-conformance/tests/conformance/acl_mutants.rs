//! Each ACL check fails on an authorizer that breaks its rule alone.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cluster_operator::mock::{MockAcl, MockClock};
use cluster_operator::{
    Access, AccessorId, AclAuthorizer, AclError, DefaultPolicy, Identity, Resource, Timer, Token,
};
use cluster_operator_conformance::acl::{Acl, AclFixture, CHECKS, run};
use cluster_operator_conformance::{Fixture, NotSupported, acl_authorizer};

use crate::acl::Simulated;
use crate::give_way;

/// An authorizer that breaks the rule of the check of this name.
#[derive(Clone)]
struct Broken {
    real: MockAcl,
    rule: &'static str,
    tokens: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    questions: usize,
    /// What is asked at the moment, wherever that is the last one's.
    current: Option<Token>,
    busy: bool,
    known: Vec<Token>,
}

impl Broken {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The real token that a lenient comparison takes this one for.
    fn alike(&self, shown: &Token) -> Option<Token> {
        let mut tokens = (0..self.tokens).map(crate::acl::secret);
        tokens.find(|token| shown.expose().trim().eq_ignore_ascii_case(token.expose()))
    }

    /// The token of this accessor id, as the mock numbers them.
    fn of_accessor(&self, shown: &Token) -> Option<Token> {
        let number = shown.expose().strip_prefix("acce5500-0000-4000-8000-")?;
        let number = usize::from_str_radix(number, 16).ok()?;
        Some(crate::acl::secret(number - 1))
    }
}

#[async_trait]
impl AclAuthorizer for Broken {
    async fn authorize(
        &self,
        token: Option<&Token>,
        resource: Resource,
        access: Access,
    ) -> Result<Identity, AclError> {
        let real = &self.real;
        let default_allows = real.default_policy() == DefaultPolicy::Allow;
        // What is asked instead.
        let (mut token, mut resource, mut access) = (token.cloned(), resource, access);
        match (self.rule, &token) {
            ("a_rule_covers_its_own_resource_only", _) => {
                let both = [Resource::Operator, Resource::Keyring];
                for other in both {
                    if real.authorize(token.as_ref(), other, access).await.is_ok() {
                        resource = other;
                    }
                }
            }
            ("anonymous_rules_apply_without_a_token", None) => {
                return Err(AclError::UnknownToken);
            }
            ("a_token_does_not_have_the_anonymous_rules", Some(_)) => token = None,
            ("an_empty_token_allows_no_more_than_none", Some(shown))
                if shown.expose().is_empty() =>
            {
                return Ok(Identity::Unnamed);
            }
            ("a_secret_is_matched_byte_for_byte", Some(shown)) => {
                token = self.alike(shown).or(token);
            }
            ("an_accessor_id_is_no_secret", Some(shown)) => {
                token = self.of_accessor(shown).or(token);
            }
            ("well_known_names_are_no_tokens", Some(shown)) if shown.expose() == "anonymous" => {
                token = None;
            }
            ("odd_tokens_are_unknown", Some(shown)) => {
                assert!(!shown.expose().contains('\0'), "no C string");
            }
            ("a_read_rule_allows_to_read_and_no_more", _) => access = Access::Read,
            ("answers_at_once_are_not_mixed_up", _) => {
                self.state().current = token;
                give_way().await;
                token = self.state().current.clone();
            }
            ("a_dropped_question_affects_no_other", _) => {
                if std::mem::replace(&mut self.state().busy, true) {
                    let reason = "busy".into();
                    return Err(AclError::Unavailable { reason });
                }
                give_way().await;
                self.state().busy = false;
            }
            _ => {}
        }
        let answer = real.authorize(token.as_ref(), resource, access).await;
        let questions = {
            let mut state = self.state();
            state.questions += 1;
            state.questions
        };
        // What is answered instead.
        match (self.rule, answer) {
            (
                "a_read_rule_holds_under_default_allow"
                | "a_deny_rule_denies_what_the_default_allows",
                Err(AclError::Denied { .. }),
            ) if default_allows && access == Access::Write => Ok(Identity::Unnamed),
            ("a_write_rule_allows_to_read_too", Ok(_)) if access == Access::Read => {
                Err(AclError::Denied {
                    identity: Identity::Unnamed,
                })
            }
            ("without_a_rule_a_default_of_deny_denies", Err(AclError::Denied { .. }))
                if access == Access::Read =>
            {
                Ok(Identity::Unnamed)
            }
            ("without_a_rule_a_default_of_allow_allows", Ok(_)) if access == Access::Write => {
                Err(AclError::Denied {
                    identity: Identity::Unnamed,
                })
            }
            ("a_token_that_nobody_has_is_unknown", Err(AclError::UnknownToken)) => {
                Err(AclError::Denied {
                    identity: Identity::Unnamed,
                })
            }
            ("default_allow_does_not_cover_unknown_tokens", Err(AclError::UnknownToken))
                if default_allows =>
            {
                Ok(Identity::Unnamed)
            }
            ("a_denial_tells_whose_token_it_is", Err(AclError::Denied { .. })) => {
                let identity = AccessorId::new(format!("question-{questions}"));
                Err(AclError::Denied {
                    identity: Identity::Accessor(identity),
                })
            }
            ("names none of the accessor ids", answer) => {
                let unnamed = |identity| match identity {
                    Identity::Accessor(_) => Identity::Unnamed,
                    other => other,
                };
                match answer {
                    Ok(identity) => Ok(unnamed(identity)),
                    Err(AclError::Denied { identity }) => Err(AclError::Denied {
                        identity: unnamed(identity),
                    }),
                    answer => answer,
                }
            }
            ("names the owner in a denial alone", Ok(_)) => Ok(Identity::Unnamed),
            ("names one accessor id of two", Err(AclError::Denied { identity })) => {
                let identity = match token == Some(crate::acl::secret(0)) {
                    true => identity,
                    false => Identity::Unnamed,
                };
                Err(AclError::Denied { identity })
            }
            ("calls a token by all but its last letter", Err(AclError::Denied { .. })) => {
                let name = |token: &Token| {
                    let mut letters = token.expose().to_owned();
                    letters.pop();
                    AccessorId::new(letters)
                };
                let identity = token.as_ref().map(name);
                let identity = identity.map_or(Identity::Unnamed, Identity::Accessor);
                Err(AclError::Denied { identity })
            }
            ("repeats bytes of what was shown", Err(AclError::UnknownToken)) => {
                let shown = token.as_ref().map_or("", Token::expose).as_bytes();
                let reason = format!("no such token: {:02x?}", &shown[..shown.len().min(9)]);
                Err(AclError::Unavailable { reason })
            }
            ("no_secret_is_in_an_error", Err(AclError::UnknownToken)) => {
                let shown = token.as_ref().map_or("", Token::expose);
                let reason = format!("no such token: {shown}");
                Err(AclError::Unavailable { reason })
            }
            // A cache without an end.
            ("a_revoked_token_is_unknown", answer) => {
                let mut state = self.state();
                if let Some(token) = token {
                    match answer {
                        Ok(_) => state.known.push(token),
                        Err(_) if state.known.contains(&token) => return Ok(Identity::Unnamed),
                        Err(_) => {}
                    }
                }
                answer
            }
            ("lost_source_is_unavailable", Err(AclError::Unavailable { .. })) => {
                Ok(Identity::Unnamed)
            }
            ("an_answer_does_not_depend_on_earlier_ones", _) if questions > 20 => {
                let reason = "too many questions".into();
                Err(AclError::Unavailable { reason })
            }
            (_, answer) => answer,
        }
    }

    fn default_policy(&self) -> DefaultPolicy {
        match self.rule {
            "the_default_policy_deny_is_told" => DefaultPolicy::Allow,
            "the_default_policy_allow_is_told" => DefaultPolicy::Deny,
            _ => self.real.default_policy(),
        }
    }
}

struct BrokenFixture {
    sound: Simulated,
    broken: Broken,
}

impl BrokenFixture {
    fn new(clock: &MockClock, wanted: Acl, rule: &'static str) -> Self {
        let sound = Simulated::new(clock, wanted);
        BrokenFixture {
            broken: Broken {
                real: sound.acl.clone(),
                rule,
                tokens: wanted.tokens.len(),
                state: Arc::default(),
            },
            sound,
        }
    }
}

#[async_trait]
impl Fixture for BrokenFixture {
    fn timer(&self) -> &dyn Timer {
        self.sound.timer()
    }
}

#[async_trait]
impl AclFixture for BrokenFixture {
    fn authorizer(&self) -> Arc<dyn AclAuthorizer> {
        Arc::new(self.broken.clone())
    }

    fn tokens(&self) -> Vec<Token> {
        self.sound.tokens()
    }

    async fn revoke(&self, token: &Token) -> Result<(), NotSupported> {
        self.sound.revoke(token).await
    }

    async fn lose_source(&self) -> Result<(), NotSupported> {
        self.sound.lose_source().await
    }
}

#[test]
fn each_check_fails_on_an_authorizer_that_breaks_its_rule() {
    let clock = MockClock::new();
    crate::assert_caught(CHECKS.iter().map(|check| {
        let broken = async |wanted| Ok(BrokenFixture::new(&clock, wanted, check.name()));
        clock.run(run(check, broken))
    }));
}

/// Other authorizers that break the rule of a check.
const MORE: [(&str, &str); 4] = [
    (
        "a_denial_tells_whose_token_it_is",
        "names the owner in a denial alone",
    ),
    (
        "a_denial_tells_whose_token_it_is",
        "names one accessor id of two",
    ),
    (
        "no_secret_is_in_an_error",
        "calls a token by all but its last letter",
    ),
    (
        "no_secret_is_in_an_error",
        "repeats bytes of what was shown",
    ),
];

#[test]
fn a_rule_can_be_broken_in_other_ways() {
    let clock = MockClock::new();
    crate::assert_caught(MORE.iter().map(|(name, way)| {
        let check = CHECKS.iter().find(|check| check.name() == *name).unwrap();
        let broken = async |wanted| Ok(BrokenFixture::new(&clock, wanted, way));
        clock.run(run(check, broken))
    }));
}

#[test]
fn an_authorizer_without_accessor_ids_is_not_asked_for_them() {
    let clock = MockClock::new();
    let nameless = "names none of the accessor ids";
    let nameless = async |wanted| Ok(BrokenFixture::new(&clock, wanted, nameless));
    let report = clock.run(acl_authorizer(nameless));
    report.assert();
    let skipped: Vec<_> = report.skipped().map(|check| check.name).collect();
    let expected = [
        "an_accessor_id_is_no_secret",
        "a_denial_tells_whose_token_it_is",
    ];
    assert_eq!(skipped, expected, "{report}");
}

/// A fixture whose authorizer is sound, and whose tokens are these.
struct Poor(BrokenFixture, &'static [&'static str]);

#[async_trait]
impl Fixture for Poor {
    fn timer(&self) -> &dyn Timer {
        self.0.timer()
    }
}

#[async_trait]
impl AclFixture for Poor {
    fn authorizer(&self) -> Arc<dyn AclAuthorizer> {
        self.0.authorizer()
    }

    fn tokens(&self) -> Vec<Token> {
        self.1.iter().copied().map(Token::new).collect()
    }
}

#[test]
fn a_fixture_whose_tokens_are_no_good_is_blamed() {
    let clock = MockClock::new();
    let tokens: [(&[&str], &str); 4] = [
        (&["b852fbe7-Secret-0"], "2 tokens from the fixture"),
        (
            &["b852fbe7-Secret-0", "b852fbe7-Secret-0"],
            "number 1 and number 2",
        ),
        (
            &["b852fbe7-Secret-0", "1"],
            "number 2 has 1 letters, 1 different",
        ),
        (
            &["b852fbe7-Secret-0", "00000000-0000-0000-0000-000000000001"],
            "number 2 has 36 letters, 3 different",
        ),
    ];
    for (tokens, blame) in tokens {
        let poor = async |wanted| Ok(Poor(BrokenFixture::new(&clock, wanted, "none"), tokens));
        let report = clock.run(acl_authorizer(poor));
        let failed: Vec<_> = report.failures().collect();
        let text = failed[0].to_string();
        assert_eq!(failed.len(), 1, "{report}");
        assert!(
            text.contains("the fixture") && text.contains(blame),
            "{text}"
        );
        assert_eq!(report.skipped().count(), CHECKS.len() - 1);
    }
}

#[test]
fn an_authorizer_that_breaks_no_rule_passes() {
    let clock = MockClock::new();
    let sound = async |wanted| Ok(BrokenFixture::new(&clock, wanted, "none"));
    clock.run(acl_authorizer(sound)).assert_complete();
}
