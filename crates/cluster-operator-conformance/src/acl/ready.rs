//! That an authorizer's tokens are what was wanted, before a rule is tried.

use std::collections::BTreeSet;

use super::{Acl, AclFixture};
use crate::check::Checking;
use crate::verdict::{Verdict, ensure};
use crate::wanted::Wanted;
use cluster_operator::acl::Token;

/// Of a shorter secret, a part is soon in a text by chance.
const LETTERS: usize = 16;

/// So is a part of one that is almost all zeros.
const DIFFERENT: usize = 8;

impl Wanted<dyn AclFixture> for Acl {
    fn ready<'a>(&'a self, acl: &'a (dyn AclFixture + 'static)) -> Checking<'a> {
        Box::pin(async { are_good(&acl.tokens(), self.tokens.len()) })
    }
}

fn are_good(tokens: &[Token], wanted: usize) -> Verdict {
    let expected = format_args!("{wanted} tokens from the fixture, as was wanted");
    let seen = tokens.len();
    ensure(seen == wanted, expected, format_args!("{seen}"))?;
    for (number, token) in (1..).zip(tokens) {
        let letters = token.expose().chars().count();
        let different = token.expose().chars().collect::<BTreeSet<_>>().len();
        let expected = format_args!(
            "secrets from the fixture of at least {LETTERS} letters, {DIFFERENT} different ones \
             among them, so that no part of them is in a text by chance"
        );
        let seen = format_args!("number {number} has {letters} letters, {different} different");
        ensure(letters >= LETTERS && different >= DIFFERENT, expected, seen)?;
        let same = tokens.iter().position(|first| first == token);
        let first = same.map_or(number, |first| first + 1);
        let seen = format_args!("number {first} and number {number} are the same");
        ensure(first == number, "different secrets from the fixture", seen)?;
    }
    Ok(())
}
