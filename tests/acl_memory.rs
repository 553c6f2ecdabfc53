//! How much memory a token takes. Alone in its file, because the allocator
//! counts for all tests of a process.

use std::alloc::System;

use cap::Cap;
use cluster_operator::acl::{Access, AccessorId, Resource, Rule, Rules, TokenDefinition};
use cluster_operator::{Token, TokenStore};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// A little more than a power of two: a list that was not shrunk would now have as
/// many places in reserve.
const TOKENS: usize = 8_200;
const BOUND: usize = 256;

fn uuid(n: usize) -> String {
    format!("6a1253d2-1785-24fd-91c2-{n:012x}")
}

#[test]
fn token_takes_less_than_256_bytes() {
    let read = Rules::new().with(Resource::Operator, Rule::Read);

    let before = ALLOCATOR.allocated();
    let builder = TokenStore::builder().policy("read", read);
    let store = (0..TOKENS)
        .fold(builder, |builder, n| {
            let definition =
                TokenDefinition::new(AccessorId::new(uuid(n)), Token::new(uuid(TOKENS + n)));
            builder.token(definition.with_policy("read"))
        })
        .build()
        .unwrap();
    let by_code = (ALLOCATOR.allocated() - before) / TOKENS;
    assert!(by_code < BOUND, "{by_code} bytes");
    drop(store);

    let tokens: Vec<_> = (0..TOKENS)
        .map(|n| {
            format!(
                "\"{}\": {{\"secret\": \"{}\", \"description\": \"a token like many others\", \
                 \"policies\": [\"read\"]}}",
                uuid(n),
                uuid(TOKENS + n)
            )
        })
        .collect();
    let text = format!(
        "{{\"policy\": {{\"read\": {{\"operator\": \"read\"}}}}, \"token\": {{{}}}}}",
        tokens.join(",\n")
    );
    let path = std::env::temp_dir().join(format!("cluster-operator-memory-{}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let before = ALLOCATOR.allocated();
    let store = TokenStore::load_file(&path);
    let by_file = (ALLOCATOR.allocated() - before) / TOKENS;
    std::fs::remove_file(&path).unwrap();
    assert!(by_file < BOUND, "{by_file} bytes");
    let last = Token::new(uuid(2 * TOKENS - 1));
    let allowed = store
        .unwrap()
        .check(Some(&last), Resource::Operator, Access::Read);
    assert_eq!(allowed, Ok(()));
    println!("{by_code} bytes a token from code, {by_file} from a file");
}
