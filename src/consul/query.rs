//! The query of a request, and the parameters and headers that several endpoints
//! share.
//!
//! The query is read as Go's `url.ParseQuery` does. Of a name that is given twice, the
//! first value counts; flags such as `?stale` only ask whether the name is there.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::dialect::Rules;
use super::endpoint::{COMMON_PARAMETERS, Endpoint};
use super::go::{atoi, escapes_are_whole, parse_duration, parse_uint, told};
use super::message::{self, Headers, Request};
use super::rejection::{Mistake, nearest};
use crate::acl::Token;
use crate::raft::Consistency;
use crate::types::DatacenterName;

/// A query that Go would accept, not decoded.
///
/// A request needs few names, so a scan for each is cheaper than a map, and a query
/// without escapes needs no allocation.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    raw: &'a str,
}

impl<'a> Query<'a> {
    /// Takes the text after the `?`; `None` if it has a broken escape or a semicolon.
    pub(super) fn parse(raw: &'a str) -> Option<Self> {
        // Since 1.17 Go refuses a semicolon, which used to separate pairs too.
        let is_valid = !raw.contains(';') && escapes_are_whole(raw);
        is_valid.then_some(Query { raw })
    }

    /// The first value given for `name`: `None` if the name is absent, empty if
    /// it has no value.
    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        // Most requests have no query.
        if self.raw.is_empty() {
            return None;
        }
        self.search(name)
    }

    fn search(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw_pairs()
            .find(|(key, _)| *key == name || unescape(key) == name)
            .map(|(_, value)| unescape(value))
    }

    /// The names and values as they stand in the query.
    fn raw_pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.raw.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// The value of `name`, unless it is empty.
    pub(super) fn given(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// The value of `name`, if it is not UTF-8.
    pub(super) fn broken(&self, name: &str) -> Option<Box<[u8]>> {
        let (_, value) = self.raw_pairs().find(|(key, _)| unescape(key) == name)?;
        let bytes: Box<[u8]> = percent_decode_str(&value.replace('+', " ")).collect();
        std::str::from_utf8(&bytes).is_err().then_some(bytes)
    }

    /// The decoded names and values, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.raw_pairs()
            .map(|(name, value)| (unescape(name), unescape(value)))
    }

    /// Checks the bounds of the query.
    pub(super) fn check_bounds(&self) -> Result<(), Mistake> {
        if self.raw.len() > Request::MAX_QUERY {
            return Err(Mistake::too_long("the query", Request::MAX_QUERY));
        }
        if self.pairs().nth(Request::MAX_PARAMETERS).is_some() {
            let limit = Request::MAX_PARAMETERS;
            let text = format!("there are more than {limit} query parameters");
            return Err(Mistake::new(text));
        }
        let long = |(name, value): &(Cow<'_, str>, Cow<'_, str>)| {
            name != "token" && value.len() > Request::MAX_VALUE
        };
        match self.pairs().find(long) {
            Some((name, _)) => {
                let what = format!("the value of a query parameter{}", told(", ", &name));
                Err(Mistake::too_long(what, Request::MAX_VALUE))
            }
            None => Ok(()),
        }
    }

    /// Tells whether `name` is present, with whatever value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Checks the names of a query: those of the endpoint and the common ones, each once. The
/// two names of a datacenter may not disagree.
pub(super) fn check_names(
    query: Query<'_>,
    endpoint: Endpoint,
    method: &str,
) -> Result<(), Mistake> {
    let known = endpoint.parameters(method);
    for (at, (name, _)) in query.pairs().enumerate() {
        if !known.iter().chain(&COMMON_PARAMETERS).any(|it| *it == name) {
            let text = unknown_parameter(&name, known, endpoint.effective(method));
            return Err(Mistake::new(text));
        }
        // Consul's clients repeat this one.
        let is_repeated = query.pairs().take(at).any(|(earlier, _)| earlier == name);
        if is_repeated && name != "node-meta" {
            let text = format!("the query parameter {name:?} is given twice");
            return Err(Mistake::new(text));
        }
    }
    match (query.given("dc"), query.given("datacenter")) {
        (Some(one), Some(other)) if one != other => {
            Err(Mistake::new("?dc and ?datacenter differ: send one of them"))
        }
        _ => Ok(()),
    }
}

/// Names an unknown parameter, and the one that may have been meant: of the endpoint, else
/// of all endpoints.
fn unknown_parameter(name: &str, own: &[&str], common: &[&str]) -> String {
    let what = format!("unknown query parameter{}", told(" ", name));
    if let Some(nearest) = nearest(name, own).or_else(|| nearest(name, common)) {
        return format!("{what}: did you mean {nearest:?}?");
    }
    match own {
        [] => format!("{what}: this endpoint has none of its own"),
        _ => format!("{what}: this endpoint has {}", own.join(", ")),
    }
}

/// Returns a query without its tokens; the rest of it stays as it is. A semicolon separates
/// too, as in Go before 1.17.
pub(super) fn without_token(raw: &str) -> String {
    let is_token = |pair: &&str| {
        let pair = pair.trim_end_matches(['&', ';']);
        unescape(pair.split('=').next().unwrap_or_default()) == "token"
    };
    let pairs = raw.split_inclusive(['&', ';']);
    let ends_in_token = pairs
        .clone()
        .next_back()
        .is_some_and(|last| is_token(&last));
    let mut kept: String = pairs.filter(|pair| !is_token(pair)).collect();
    // The separator before a last token goes with it.
    if ends_in_token && !raw.ends_with(['&', ';']) {
        kept.pop();
    }
    kept
}

/// Decodes a name or a value. A `+` is a space, and bytes that are not UTF-8 become
/// replacement characters.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8_lossy();
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// The headers that hold a token.
const TOKEN: &str = "x-consul-token";
const AUTHORIZATION: &str = "authorization";

/// The token of a credential that cannot be read. No token is named so, and the authorizer
/// denies it as an unknown one: such a request must not pass as an anonymous one.
const UNREADABLE: &str = "\u{fffd}";

/// Returns the token of a request: of the query, else of the header, else the bearer's. An
/// empty one does not count. Of a header that is repeated the first value counts, unless
/// parameters are checked.
pub(super) fn token(
    query: Query<'_>,
    headers: &dyn Headers,
    rules: &Rules,
) -> Result<Option<Token>, Mistake> {
    if rules.check_parameters {
        for (name, title) in [(TOKEN, "X-Consul-Token"), (AUTHORIZATION, "Authorization")] {
            if headers.value(name, 1).is_some() {
                let text = format!("the header {title} is given twice: send one token");
                return Err(Mistake::new(text));
            }
        }
    }
    let credential = |name| headers.value(name, 0).map(visible);
    let header = || credential(TOKEN).filter(|token| !token.is_empty());
    let bearer = || {
        if rules.bearer {
            credential(AUTHORIZATION).and_then(bearer)
        } else {
            None
        }
    };
    let token = match query.given("token") {
        Some(token) => token,
        None => Cow::Borrowed(header().or_else(bearer).unwrap_or_default()),
    };
    match token.len() {
        0 => Ok(None),
        1..=Request::MAX_TOKEN => Ok(Some(Token::new(&*token))),
        _ => Err(Mistake::too_long("the token", Request::MAX_TOKEN)),
    }
}

/// The value of a header if it is visible ASCII.
fn visible(value: &[u8]) -> &str {
    let text = std::str::from_utf8(value).unwrap_or(UNREADABLE);
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        text
    } else {
        UNREADABLE
    }
}

/// Returns the first word after the scheme, as Consul does. Other schemes do not count.
fn bearer(value: &str) -> Option<&str> {
    const SCHEME: &str = "bearer";
    let rest = match value.trim_start().split_at_checked(SCHEME.len()) {
        _ if value == UNREADABLE => return Some(UNREADABLE),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
        _ => return None,
    };
    match rest.bytes().next() {
        None => None,
        Some(b' ') => rest.trim().split(' ').next(),
        // A longer name of another scheme.
        Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') => None,
        Some(_) => Some(UNREADABLE),
    }
}

/// Returns the datacenter that a request names.
pub(super) fn datacenter(query: Query<'_>, rules: &Rules) -> Option<DatacenterName> {
    let newer = query
        .given("datacenter")
        .filter(|_| rules.datacenter_parameter);
    let name = newer.or_else(|| query.given("dc"));
    name.map(|name| DatacenterName::new(&*name))
}

/// Reads `?stale` and `?consistent`, and checks what has no effect on these endpoints,
/// where nothing is cached and nothing blocks.
///
/// # Errors
/// The first mistake, in Consul's order.
pub(super) fn consistency(
    query: Query<'_>,
    headers: &dyn Headers,
    rules: &Rules,
) -> Result<Consistency, Mistake> {
    let conflict = |flag: &str| {
        let text = format!("Cannot specify ?{flag} with ?consistent, conflicting semantics.");
        Err(Mistake::bare(text))
    };
    let mut stale = query.has("stale");
    let consistent = query.has("consistent");
    if let Some(age) = query.given("max_stale").filter(|_| rules.max_stale) {
        match parse_duration(&age) {
            Ok(age) => stale |= age.0 > 0,
            Err(_) => {
                let text = format!("Invalid max_stale value{}", told(" ", &age));
                return Err(Mistake::bare(text));
            }
        }
    }
    if stale && consistent {
        return conflict("stale");
    }
    if rules.max_stale {
        if query.has("cached") && consistent {
            return conflict("cached");
        }
        let cache_control = message::text(headers, "cache-control");
        if !cache_control.as_deref().is_none_or(is_cache_control) {
            return Err(Mistake::bare("Invalid Cache-Control header."));
        }
    }
    let wait = query.given("wait");
    if wait.is_some_and(|wait| parse_duration(&wait).is_err()) {
        return Err(Mistake::bare("Invalid wait time"));
    }
    let index = query.given("index");
    if index.is_some_and(|index| parse_uint(&index).is_err()) {
        return Err(Mistake::bare("Invalid index"));
    }
    Ok(match (stale, consistent) {
        (true, _) => Consistency::Stale,
        (_, true) => Consistency::Consistent,
        _ => Consistency::Default,
    })
}

/// Tells whether the directives that Consul reads have whole seconds behind them.
fn is_cache_control(value: &str) -> bool {
    value.split(',').all(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        ["max-age=", "stale-if-error="]
            .iter()
            .filter_map(|name| directive.strip_prefix(name))
            .all(|seconds| atoi(seconds).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(raw: &'a str, name: &str) -> Option<Cow<'a, str>> {
        Query::parse(raw).unwrap().get(name)
    }

    #[test]
    fn first_value_of_a_name_counts() {
        assert_eq!(get("dc=&dc=nope", "dc").as_deref(), Some(""));
        assert_eq!(get("address=a&address=b", "address").as_deref(), Some("a"));
    }

    #[test]
    fn absent_and_empty_are_told_apart() {
        assert_eq!(get("", "dc"), None);
        assert_eq!(get("=x", "dc"), None);
        assert_eq!(get("dc", "dc").as_deref(), Some(""));
        assert_eq!(get("dc=", "dc").as_deref(), Some(""));
        assert!(Query::parse("stale=false").unwrap().has("stale"));
        assert!(!Query::parse("Stale").unwrap().has("stale"));
    }

    #[test]
    fn first_equals_sign_splits_and_empty_pieces_are_skipped() {
        assert_eq!(get("&&a=b=c&", "a").as_deref(), Some("b=c"));
        assert_eq!(get("&&", ""), None);
    }

    #[test]
    fn escapes_and_plus_signs_are_decoded_in_names_and_values() {
        assert_eq!(get("%61=x+y%2B", "a").as_deref(), Some("x y+"));
        assert_eq!(get("a+b=1", "a b").as_deref(), Some("1"));
        assert_eq!(get("a=b%26c%3Dd%3B", "a").as_deref(), Some("b&c=d;"));
    }

    #[test]
    fn query_with_a_broken_escape_is_malformed() {
        for raw in [
            "%zz",
            "address=%zz",
            "ok=1&a=%2",
            "a=%",
            "%=1",
            "a=1;b=2",
            ";",
        ] {
            assert!(Query::parse(raw).is_none(), "{raw}");
        }
    }

    #[test]
    fn plain_value_is_borrowed_from_the_query() {
        assert!(matches!(
            get("dc=dc1&token=abc", "token"),
            Some(Cow::Borrowed("abc")),
        ));
    }
}
