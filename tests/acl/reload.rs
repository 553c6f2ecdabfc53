//! Reloads while tokens are checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cluster_operator::acl::{
    Access, AccessorId, AclError, DefaultPolicy, Identity, Resource, Rule, Rules, TokenDefinition,
    TokenStoreBuilder,
};
use cluster_operator::{Token, TokenStore};

const GENERATIONS: usize = 2000;
const READERS: usize = 6;

/// The tokens of a generation.
///
/// - Of `left` and `right`, each may write where the other may not.
/// - `guarded` never may: in even generations its policy denies it under a
///   default of allow, in odd ones it has no policy under a default of deny.
///   The policy of one with the default of the other would allow it.
fn generation(number: usize) -> TokenStoreBuilder {
    let even = number.is_multiple_of(2);
    let token = |id: &str| TokenDefinition::new(AccessorId::new(id), Token::new(id));
    let rules = |rule| Rules::new().with(Resource::Operator, rule);
    let (left, right) = if even { ("yes", "no") } else { ("no", "yes") };
    let (default, guarded) = if even {
        (DefaultPolicy::Allow, token("guarded").with_policy("no"))
    } else {
        (DefaultPolicy::Deny, token("guarded"))
    };
    // A different number of tokens, so that none keeps its place.
    (0..number % 7)
        .fold(TokenStore::builder(), |builder, n| {
            builder.token(token(&format!("filler-{n}")))
        })
        .default_policy(default)
        .policy("yes", rules(Rule::Write))
        .policy("no", rules(Rule::Deny))
        .token(token("left").with_policy(left))
        .token(token("right").with_policy(right))
        .token(guarded)
}

#[test]
fn readers_see_the_old_tokens_or_the_new_ones() {
    let store = Arc::new(generation(0).build().unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (store, done) = (store.clone(), done.clone());
            thread::spawn(move || {
                let [left, right, guarded] = ["left", "right", "guarded"].map(Token::new);
                let mut seen = [0usize; 2];
                // The last round is after the last generation.
                let mut last = false;
                while !last {
                    last = done.load(Ordering::Acquire);
                    let snapshot = store.snapshot();
                    let write = |token| {
                        let first = snapshot.check(Some(token), Resource::Operator, Access::Write);
                        let again = snapshot.check(Some(token), Resource::Operator, Access::Write);
                        assert_eq!(first, again);
                        first.is_ok()
                    };
                    let even = write(&left);
                    assert_ne!(even, write(&right));
                    let default = if even {
                        DefaultPolicy::Allow
                    } else {
                        DefaultPolicy::Deny
                    };
                    assert_eq!(snapshot.default_policy(), default);
                    seen[usize::from(even)] += 1;
                    assert_eq!(
                        store.check(Some(&guarded), Resource::Operator, Access::Write),
                        Err(AclError::Denied {
                            identity: Identity::Accessor(AccessorId::new("guarded"))
                        })
                    );
                }
                seen
            })
        })
        .collect();
    for number in 1..=GENERATIONS {
        store.replace(generation(number)).unwrap();
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        let seen = reader.join().unwrap();
        assert!(seen.iter().sum::<usize>() > 0);
    }
    let left = store.check(Some(&Token::new("left")), Resource::Operator, Access::Write);
    assert_eq!(left, Ok(()), "the last generation is in force");
}

#[test]
fn any_number_of_threads_can_read_a_store() {
    let store = generation(0).build().unwrap();
    let left = Token::new("left");
    for _ in 0..100 {
        let write = || store.check(Some(&left), Resource::Operator, Access::Write);
        let decision = thread::scope(|scope| scope.spawn(write).join());
        assert_eq!(decision.unwrap(), Ok(()));
    }
}

#[test]
fn a_snapshot_outlives_a_reload() {
    let store = generation(0).build().unwrap();
    let old = store.snapshot();
    store.replace(generation(1)).unwrap();
    let left = Token::new("left");
    let write = |snapshot: &cluster_operator::acl::TokenSnapshot| {
        snapshot
            .check(Some(&left), Resource::Operator, Access::Write)
            .is_ok()
    };
    assert!(write(&old));
    assert!(!write(&store.snapshot()));
}

#[test]
fn concurrent_writers_leave_the_tokens_of_one() {
    let store = Arc::new(generation(0).build().unwrap());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            thread::spawn(move || {
                for number in 0..50 {
                    store.replace(generation(writer + number)).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let snapshot = store.snapshot();
    let [left, right] = ["left", "right"].map(|id| {
        let token = Token::new(id);
        snapshot
            .check(Some(&token), Resource::Operator, Access::Write)
            .is_ok()
    });
    assert_ne!(left, right);
}
