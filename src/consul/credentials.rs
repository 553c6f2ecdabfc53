//! Which token a request presents.

use super::dialect::Rules;
use super::go::query::Query;
use super::message::Headers;
use crate::acl::Token;

/// The query's token before the header's before the bearer's. Empty ones do not
/// count.
pub(super) fn token(query: Query<'_>, headers: &dyn Headers, rules: &Rules) -> Option<Token> {
    let given = |text: &str| (!text.is_empty()).then(|| Token::new(text));
    if let Some(token) = query.get("token").filter(|token| !token.is_empty()) {
        return Some(Token::new(token));
    }
    let header = headers.field("x-consul-token").and_then(given);
    header.or_else(|| {
        let value = headers.field("authorization").filter(|_| rules.bearer)?;
        given(bearer(value)?)
    })
}

/// The first word behind the scheme, as Consul reads it.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    credentials.trim().split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::Dialect;

    fn presented(query: &str, headers: &[(&str, &str)], dialect: Dialect) -> Option<String> {
        let query = Query::parse(query).unwrap();
        token(query, &headers, dialect.rules()).map(|token| token.expose().to_owned())
    }

    #[test]
    fn the_query_beats_the_header_and_the_header_the_bearer() {
        let both = [("X-Consul-Token", "h"), ("Authorization", "Bearer b")];
        let new = Dialect::Consul1_10;
        assert_eq!(presented("token=q", &both, new).as_deref(), Some("q"));
        assert_eq!(presented("token=", &both, new).as_deref(), Some("h"));
        assert_eq!(presented("", &both[1..], new).as_deref(), Some("b"));
        assert_eq!(presented("", &both[1..], Dialect::Consul0_7), None);
    }

    #[test]
    fn a_bearer_is_the_first_word_behind_any_case_of_the_scheme() {
        assert_eq!(bearer("bEARER  a b"), Some("a"));
        assert_eq!(bearer("Bearer"), None);
        assert_eq!(bearer("Basic a"), None);
        assert_eq!(
            presented("", &[("authorization", "Bearer ")], Dialect::Precise),
            None
        );
    }
}
