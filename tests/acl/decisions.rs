//! What a token store decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use cluster_operator::acl::{
    Access, AccessorId, AclError, DefaultPolicy, Identity, Resource, Rule, Rules, TokenDefinition,
};
use cluster_operator::{AclAuthorizer, AllowAll, Token, TokenStore};

const RESOURCES: [Resource; 2] = [Resource::Operator, Resource::Keyring];
const ACCESSES: [Access; 2] = [Access::Read, Access::Write];
const DEFAULTS: [DefaultPolicy; 2] = [DefaultPolicy::Allow, DefaultPolicy::Deny];

fn accessor(id: &str) -> AccessorId {
    AccessorId::new(id)
}

fn token(id: &str, secret: &str) -> TokenDefinition {
    TokenDefinition::new(accessor(id), Token::new(secret))
}

fn check(
    store: &TokenStore,
    secret: Option<&str>,
    resource: Resource,
    access: Access,
) -> Result<(), AclError> {
    let token = secret.map(Token::new);
    let sync = store.check(token.as_ref(), resource, access);
    let future = store.authorize(token.as_ref(), resource, access);
    let identified = futures_executor::block_on(future);
    assert_eq!(identified.clone().map(drop), sync);
    if let Ok(identity) = identified {
        let is_anonymous = secret.is_none_or(str::is_empty);
        assert_eq!(identity == Identity::Anonymous, is_anonymous);
        assert_eq!(identity.accessor().is_none(), is_anonymous);
    }
    assert_eq!(
        store.snapshot().check(token.as_ref(), resource, access),
        sync
    );
    sync
}

fn denied(id: &str) -> Result<(), AclError> {
    Err(AclError::Denied {
        identity: Identity::Accessor(accessor(id)),
    })
}

/// Whether a rule lets read, and write.
type Decision = (bool, bool);

/// The value of a rule, and what it decides: `None` where the default does.
const RULES: [(Option<&str>, Option<Decision>); 5] = [
    (None, None),
    (Some(""), None),
    (Some("read"), Some((true, false))),
    (Some("write"), Some((true, true))),
    (Some("deny"), Some((false, false))),
];

/// Who presents the token.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asker {
    /// A token with the rule.
    Token,
    /// A token without, while the anonymous one has the rule.
    Beside,
    /// The anonymous token with the rule.
    Anonymous,
    /// The anonymous token without, while another has the rule.
    Nobody,
}

#[test]
fn every_rule_decides_as_in_the_table() {
    let mut rows = 0;
    for default in DEFAULTS {
        for who in [Asker::Token, Asker::Beside, Asker::Anonymous, Asker::Nobody] {
            for ruled in RESOURCES {
                for (value, decision) in RULES {
                    let text = match value {
                        Some(value) => format!("{{\"{ruled}\": \"{value}\"}}"),
                        None => "{}".into(),
                    };
                    let mut builder = TokenStore::builder()
                        .default_policy(default)
                        .policy("rule", text.parse().unwrap());
                    let mut it = token("it", "secret");
                    match who {
                        Asker::Token | Asker::Nobody => it = it.with_policy("rule"),
                        Asker::Beside | Asker::Anonymous => {
                            builder = builder.anonymous_policy("rule");
                        }
                    }
                    let store = builder.token(it).build().unwrap();
                    assert_eq!(store.default_policy(), default);
                    for resource in RESOURCES {
                        for access in ACCESSES {
                            let has_rule = matches!(who, Asker::Token | Asker::Anonymous);
                            let by_rule = decision.filter(|_| has_rule && resource == ruled);
                            let allowed = match by_rule {
                                Some((read, write)) => match access {
                                    Access::Read => read,
                                    Access::Write => write,
                                },
                                None => default == DefaultPolicy::Allow,
                            };
                            let (secret, identity) = match who {
                                Asker::Token | Asker::Beside => {
                                    (Some("secret"), Identity::Accessor(accessor("it")))
                                }
                                Asker::Anonymous | Asker::Nobody => (None, Identity::Anonymous),
                            };
                            let expected = if allowed {
                                Ok(())
                            } else {
                                Err(AclError::Denied { identity })
                            };
                            assert_eq!(
                                check(&store, secret, resource, access),
                                expected,
                                "{who:?}, default {default}, {text}, {resource}:{access}"
                            );
                            rows += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(rows, 320);
}

#[test]
fn policies_of_a_token_are_merged_in_any_order() {
    let values = ["read", "write", "deny"];
    for first in values {
        for second in values {
            let rules = |value: &str| format!("{{\"keyring\": \"{value}\"}}").parse().unwrap();
            let store = TokenStore::builder()
                .default_policy(DefaultPolicy::Allow)
                .token(
                    token("it", "secret")
                        .with_policy("first")
                        .with_policy("second"),
                )
                .policy("first", rules(first))
                .policy("second", rules(second))
                .build()
                .unwrap();
            let either = [first, second];
            let (read, write) = (!either.contains(&"deny"), either.contains(&"write"));
            for (access, allowed) in [(Access::Read, read), (Access::Write, read && write)] {
                let decision = check(&store, Some("secret"), Resource::Keyring, access);
                assert_eq!(decision.is_ok(), allowed, "{first} and {second}: {access}");
            }
        }
    }
}

#[test]
fn rule_in_the_wrong_case_is_refused() {
    // Consul ignores it, and the default may be to allow.
    for value in [
        "DENY",
        "READ",
        "Write",
        "Deny",
        "list",
        "allow",
        " read",
        "read ",
        "1",
        "wr\u{130}te",
    ] {
        for resource in RESOURCES {
            let text = format!("{{\"{resource}\": \"{value}\"}}");
            assert!(text.parse::<Rules>().is_err(), "{text}");
        }
    }
}

#[test]
fn unknown_token_is_denied_even_when_default_is_allow() {
    for default in DEFAULTS {
        let store = TokenStore::builder()
            .default_policy(default)
            .token(token("it", "secret"))
            .build()
            .unwrap();
        for secret in ["Secret", "secret ", "secre", "it", "anonymous", "\0"] {
            for resource in RESOURCES {
                for access in ACCESSES {
                    assert_eq!(
                        check(&store, Some(secret), resource, access),
                        Err(AclError::UnknownToken)
                    );
                }
            }
        }
    }
}

#[test]
fn decision_names_the_accessor_of_the_token() {
    let definition = TokenDefinition::management(accessor("root"), Token::new("secret"));
    let store = TokenStore::builder().token(definition).build().unwrap();
    let token = Token::new("secret");
    let decided = store.authorize(Some(&token), Resource::Operator, Access::Write);
    let identity = Identity::Accessor(accessor("root"));
    assert_eq!(futures_executor::block_on(decided), Ok(identity));
    let decided = AllowAll.authorize(Some(&token), Resource::Operator, Access::Write);
    assert_eq!(futures_executor::block_on(decided), Ok(Identity::AclsOff));
}

#[test]
fn empty_token_is_the_anonymous_one() {
    let store = TokenStore::builder().build().unwrap();
    assert_eq!(
        check(&store, Some(""), Resource::Operator, Access::Read),
        Err(AclError::Denied {
            identity: Identity::Anonymous
        })
    );
}

#[test]
fn default_policy_is_deny_unless_set() {
    let store = TokenStore::builder().build().unwrap();
    assert_eq!(store.default_policy(), DefaultPolicy::Deny);
    assert_eq!(store.snapshot().default_policy(), DefaultPolicy::Deny);
}

#[test]
fn default_policy_of_an_authorizer_is_deny() {
    struct Silent;

    #[async_trait]
    impl AclAuthorizer for Silent {
        async fn authorize(
            &self,
            _: Option<&Token>,
            _: Resource,
            _: Access,
        ) -> Result<Identity, AclError> {
            Err(AclError::UnknownToken)
        }
    }

    assert_eq!(Silent.default_policy(), DefaultPolicy::Deny);
    assert_eq!(AllowAll.default_policy(), DefaultPolicy::Allow);
}

#[test]
fn pointers_forward_to_their_authorizer() {
    let store = TokenStore::builder()
        .default_policy(DefaultPolicy::Allow)
        .build()
        .unwrap();
    let shared: Arc<dyn AclAuthorizer> = Arc::new(Box::new(Arc::new(store)));
    assert_eq!(shared.default_policy(), DefaultPolicy::Allow);
    for (token, expected) in [
        (None, Ok(Identity::Anonymous)),
        (Some("stray"), Err(AclError::UnknownToken)),
    ] {
        let token = token.map(Token::new);
        let decided = shared.authorize(token.as_ref(), Resource::Keyring, Access::Write);
        assert_eq!(futures_executor::block_on(decided), expected);
    }
}

#[test]
fn names_are_those_of_consul() {
    assert_eq!(RESOURCES.map(|it| it.to_string()), ["operator", "keyring"]);
    assert_eq!(ACCESSES.map(|it| it.to_string()), ["read", "write"]);
    assert_eq!(DEFAULTS.map(|it| it.to_string()), ["allow", "deny"]);
    let rules = [Rule::Read, Rule::Write, Rule::Deny];
    assert_eq!(rules.map(|it| it.to_string()), ["read", "write", "deny"]);
}

#[test]
fn tokens_named_like_root_policies_are_ordinary() {
    let names = ["allow", "deny", "manage"];
    let empty = TokenStore::builder()
        .default_policy(DefaultPolicy::Allow)
        .build()
        .unwrap();
    let mut builder =
        TokenStore::builder().policy("read", Rules::new().with(Resource::Operator, Rule::Read));
    for name in names {
        builder = builder.token(token(name, name).with_policy("read"));
    }
    let store = builder.build().unwrap();
    for name in names {
        assert_eq!(
            check(&empty, Some(name), Resource::Operator, Access::Read),
            Err(AclError::UnknownToken)
        );
        let read = check(&store, Some(name), Resource::Operator, Access::Read);
        assert_eq!(read, Ok(()));
        let write = check(&store, Some(name), Resource::Operator, Access::Write);
        assert_eq!(write, denied(name));
    }
}

#[test]
fn management_token_allows_everything() {
    let definition = TokenDefinition::management(accessor("root"), Token::new("secret"));
    let store = TokenStore::builder().token(definition).build().unwrap();
    for resource in RESOURCES {
        for access in ACCESSES {
            assert_eq!(check(&store, Some("secret"), resource, access), Ok(()));
        }
    }
}

#[test]
fn token_is_unknown_from_its_expiry_on() {
    let now = Arc::new(AtomicU64::new(0));
    let clock = now.clone();
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let definition = |id, seconds| {
        TokenDefinition::management(accessor(id), Token::new(id)).expiring_at(at(seconds))
    };
    let store = TokenStore::builder()
        .clock(move || at(clock.load(Ordering::Relaxed)))
        .token(definition("soon", 1000))
        .token(definition("later", 2000))
        .token(TokenDefinition::management(
            accessor("never"),
            Token::new("never"),
        ))
        .build()
        .unwrap();
    let known = |id| check(&store, Some(id), Resource::Keyring, Access::Write);
    for (time, soon, later) in [(999, true, true), (1000, false, true), (2001, false, false)] {
        now.store(time, Ordering::Relaxed);
        for (id, alive) in [("soon", soon), ("later", later), ("never", true)] {
            let expected = if alive {
                Ok(())
            } else {
                Err(AclError::UnknownToken)
            };
            assert_eq!(known(id), expected, "{id} at {time}");
        }
    }
}

#[test]
fn default_clock_is_that_of_the_system() {
    let hour = Duration::from_secs(3600);
    let store = TokenStore::builder()
        .token(token("old", "old").expiring_at(SystemTime::now() - hour))
        .token(token("new", "new").expiring_at(SystemTime::now() + hour))
        .build()
        .unwrap();
    let read = |secret| check(&store, Some(secret), Resource::Operator, Access::Read);
    assert_eq!(read("old"), Err(AclError::UnknownToken));
    assert_eq!(read("new"), denied("new"));
}

#[test]
fn mistakes_in_code_are_refused_by_name() {
    let read = Rules::new().with(Resource::Operator, Rule::Read);
    let builder = || TokenStore::builder().policy("read", read);
    let root = || TokenDefinition::management(accessor("root"), Token::new("hunter2"));
    for (builder, message) in [
        (
            builder().token(token("a", "hunter2").with_policy("raed")),
            "policy \"raed\" of token a: the policy is not defined: define it or correct the name",
        ),
        (
            builder().anonymous_policy("raed"),
            "policy \"raed\" of the anonymous token: the policy is not defined: define it or correct \
             the name",
        ),
        (
            builder().policy("read", read),
            "policy \"read\": a second policy has this name: rename or remove it",
        ),
        (
            builder().token(token("a", "x1")).token(token("a", "x2")),
            "token a: a second token has this accessor id: give each its own",
        ),
        (
            builder().token(token("a", "x1")).token(token("b", "x1")),
            "token b: a second token has this secret: give each its own",
        ),
        (
            builder().token(token("a", "")),
            "token a: the secret is blank: give one that nobody can guess, such as a UUID",
        ),
        (
            builder().token(token("a", "x1\n")),
            "token a: the secret has white space: trim it, or take one without",
        ),
        (
            builder().token(token("", "hunter2")),
            "token : the token has an empty accessor id: give it one, by which logs name it",
        ),
        (
            builder().token(root().with_policy("read")),
            "token root: the management token has policies: it may do everything, so remove them",
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(!format!("{error:?}").contains("hunter2"));
        assert_eq!((error.path(), error.position()), (None, None));
    }
}

#[test]
fn debug_shows_the_number_of_tokens_only() {
    let builder = TokenStore::builder().token(token("it", "hunter2"));
    assert_eq!(
        format!("{builder:?}"),
        "TokenStoreBuilder { tokens: 1, default_policy: None, .. }"
    );
    let store = builder.build().unwrap();
    assert_eq!(
        format!("{store:?}"),
        "TokenStore(TokenSet { tokens: 1, default_policy: Deny, .. })"
    );
    let snapshot = store.snapshot();
    assert_eq!(snapshot.tokens(), 1);
    assert_eq!(
        format!("{snapshot:?}"),
        "TokenSnapshot(TokenSet { tokens: 1, default_policy: Deny, .. })"
    );
    assert!(!format!("{:?}", token("it", "hunter2")).contains("hunter2"));
}
