//! Each ACL check fails on an authorizer that breaks its rule.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cluster_operator::acl::{Access, AccessorId, AclError, DefaultPolicy, Identity, Resource};
use cluster_operator::mock::{MockAcl, MockClock};
use cluster_operator::{AclAuthorizer, Token};
use cluster_operator_conformance::acl::{Acl, CHECKS, run};
use cluster_operator_conformance::acl_authorizer;

use crate::acl::Simulated;
use crate::give_way;

/// Each check, and the mistakes of a backend that it notices.
const MUTANTS: crate::Mutants = &[
    (
        "anonymous_rules_apply_without_a_token",
        &[
            "no token is an unknown one",
            "every token has the anonymous rules",
        ],
    ),
    (
        "rules_decide_under_default_deny",
        &[
            "a rule covers both resources",
            "read implies write",
            "write does not imply read",
            "reads are never denied",
            "the default policy is shown as allow",
        ],
    ),
    (
        "rules_decide_under_default_allow",
        &[
            "writes are never allowed",
            "the default policy is shown as deny",
            "the default allows writes that a rule denies",
        ],
    ),
    (
        "default_allow_does_not_cover_unknown_tokens",
        &[
            "an unknown token is denied",
            "the default covers unknown tokens",
        ],
    ),
    (
        "odd_tokens_are_unknown",
        &[
            "a name is the anonymous token",
            "a zero byte panics",
            "an unknown token is denied",
        ],
    ),
    (
        "an_empty_token_allows_no_more_than_none",
        &["an empty token may do everything"],
    ),
    (
        "a_secret_is_matched_byte_for_byte",
        &["secrets are trimmed, and compared without case"],
    ),
    (
        "an_accessor_id_is_no_secret",
        &["an accessor id is a secret"],
    ),
    (
        "a_denial_tells_whose_token_it_is",
        &[
            "a denial names another owner each time",
            "only a denial names the owner",
            "one owner of two is named",
        ],
    ),
    (
        "no_secret_is_in_an_error",
        &[
            "the owner is all but the last letter of the secret",
            "an error repeats bytes of the secret",
            "an error repeats the secret",
        ],
    ),
    (
        "a_revoked_token_is_unknown",
        &["a cache keeps a revoked token"],
    ),
    (
        "lost_source_is_unavailable",
        &["a lost source allows everything"],
    ),
    (
        "an_answer_does_not_depend_on_other_questions",
        &[
            "answers at once are mixed up",
            "a dropped question blocks the next",
            "the 37th question is refused",
        ],
    ),
];

/// An authorizer that does one thing wrong.
#[derive(Clone)]
struct Broken {
    real: MockAcl,
    mutant: &'static str,
    tokens: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    questions: usize,
    /// The token of the latest question.
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
        match (self.mutant, &token) {
            ("a rule covers both resources", _) => {
                let both = [Resource::Operator, Resource::Keyring];
                for other in both {
                    if real.authorize(token.as_ref(), other, access).await.is_ok() {
                        resource = other;
                    }
                }
            }
            ("no token is an unknown one", None) => {
                return Err(AclError::UnknownToken);
            }
            ("every token has the anonymous rules", Some(_)) => token = None,
            ("an empty token may do everything", Some(shown)) if shown.expose().is_empty() => {
                return Ok(Identity::Unnamed);
            }
            ("secrets are trimmed, and compared without case", Some(shown)) => {
                token = self.alike(shown).or(token);
            }
            ("an accessor id is a secret", Some(shown)) => {
                token = self.of_accessor(shown).or(token);
            }
            ("a name is the anonymous token", Some(shown)) if shown.expose() == "anonymous" => {
                token = None;
            }
            ("a zero byte panics", Some(shown)) => {
                assert!(!shown.expose().contains('\0'), "no C string");
            }
            ("read implies write", _) => access = Access::Read,
            ("answers at once are mixed up", _) => {
                self.state().current = token;
                give_way().await;
                token = self.state().current.clone();
            }
            ("a dropped question blocks the next", _) => {
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
        match (self.mutant, answer) {
            ("the default allows writes that a rule denies", Err(AclError::Denied { .. }))
                if default_allows && access == Access::Write =>
            {
                Ok(Identity::Unnamed)
            }
            ("write does not imply read", Ok(_)) if access == Access::Read => {
                Err(AclError::Denied {
                    identity: Identity::Unnamed,
                })
            }
            ("reads are never denied", Err(AclError::Denied { .. })) if access == Access::Read => {
                Ok(Identity::Unnamed)
            }
            ("writes are never allowed", Ok(_)) if access == Access::Write => {
                Err(AclError::Denied {
                    identity: Identity::Unnamed,
                })
            }
            ("an unknown token is denied", Err(AclError::UnknownToken)) => Err(AclError::Denied {
                identity: Identity::Unnamed,
            }),
            ("the default covers unknown tokens", Err(AclError::UnknownToken))
                if default_allows =>
            {
                Ok(Identity::Unnamed)
            }
            ("a denial names another owner each time", Err(AclError::Denied { .. })) => {
                let identity = AccessorId::new(format!("question-{questions}"));
                Err(AclError::Denied {
                    identity: Identity::Accessor(identity),
                })
            }
            ("no owner is named", answer) => {
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
            ("only a denial names the owner", Ok(_)) => Ok(Identity::Unnamed),
            ("one owner of two is named", Err(AclError::Denied { identity })) => {
                let identity = if token == Some(crate::acl::secret(0)) {
                    identity
                } else {
                    Identity::Unnamed
                };
                Err(AclError::Denied { identity })
            }
            (
                "the owner is all but the last letter of the secret",
                Err(AclError::Denied { .. }),
            ) => {
                let name = |token: &Token| {
                    let mut letters = token.expose().to_owned();
                    letters.pop();
                    AccessorId::new(letters)
                };
                let identity = token.as_ref().map(name);
                let identity = identity.map_or(Identity::Unnamed, Identity::Accessor);
                Err(AclError::Denied { identity })
            }
            ("an error repeats bytes of the secret", Err(AclError::UnknownToken)) => {
                let shown = token.as_ref().map_or("", Token::expose).as_bytes();
                let reason = format!("no such token: {:02x?}", &shown[..shown.len().min(9)]);
                Err(AclError::Unavailable { reason })
            }
            ("an error repeats the secret", Err(AclError::UnknownToken)) => {
                let shown = token.as_ref().map_or("", Token::expose);
                let reason = format!("no such token: {shown}");
                Err(AclError::Unavailable { reason })
            }
            // A cache without an end.
            ("a cache keeps a revoked token", answer) => {
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
            ("a lost source allows everything", Err(AclError::Unavailable { .. })) => {
                Ok(Identity::Unnamed)
            }
            ("the 37th question is refused", _) if questions > 36 => {
                let reason = "too many questions".into();
                Err(AclError::Unavailable { reason })
            }
            (_, answer) => answer,
        }
    }

    fn default_policy(&self) -> DefaultPolicy {
        match self.mutant {
            "the default policy is shown as allow" => DefaultPolicy::Allow,
            "the default policy is shown as deny" => DefaultPolicy::Deny,
            _ => self.real.default_policy(),
        }
    }
}

fn broken(clock: &MockClock, wanted: Acl, mutant: &'static str) -> Simulated {
    Simulated::with_authorizer(clock, wanted, |real| Broken {
        real,
        mutant,
        tokens: wanted.tokens.len(),
        state: Arc::default(),
    })
}

#[test]
fn each_mutant_is_caught() {
    let clock = MockClock::new();
    crate::assert_caught(crate::each_mutant(CHECKS, MUTANTS).map(|(check, mutant)| {
        let authorizer = async |wanted| Ok(broken(&clock, wanted, mutant));
        println!("{mutant}:");
        clock.run(run(check, authorizer))
    }));
}

#[test]
fn accessor_ids_are_optional() {
    let clock = MockClock::new();
    let nameless = "no owner is named";
    let nameless = async |wanted| Ok(broken(&clock, wanted, nameless));
    let report = clock.run(acl_authorizer(nameless));
    report.assert();
    let skipped: Vec<_> = report.skipped().map(|check| check.name).collect();
    let expected = [
        "an_accessor_id_is_no_secret",
        "a_denial_tells_whose_token_it_is",
    ];
    assert_eq!(skipped, expected, "{report}");
}

#[test]
fn fixture_with_bad_tokens_fails() {
    let clock = MockClock::new();
    let tokens: [(&[&str], &str); 3] = [
        (&["b852fbe7-Secret-0"], "tokens from the fixture: 2"),
        (
            &["b852fbe7-Secret-0", "b852fbe7-Secret-0"],
            "number 2 is another one's too",
        ),
        (&["b852fbe7-Secret-0", "1"], "number 2 has 1 letters"),
    ];
    for (tokens, blame) in tokens {
        let poor = async |wanted| {
            let mut poor = Simulated::new(&clock, wanted);
            poor.tokens = tokens.iter().copied().map(Token::new).collect();
            Ok(poor)
        };
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
fn authorizer_without_a_mutation_passes() {
    let clock = MockClock::new();
    let sound = async |wanted| Ok(broken(&clock, wanted, "none"));
    clock.run(acl_authorizer(sound)).assert_complete();
}
