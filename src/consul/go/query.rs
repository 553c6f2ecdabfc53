//! Go's `url.ParseQuery`, which every endpoint runs before anything else.
//!
//! A query that it refuses is a 500 with an empty body in Consul. Of a name that
//! is given twice, the first value counts; flags such as `?stale` only ask
//! whether the name is there.

use super::percent::escapes_are_whole;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// A raw query string that Go would accept, searched anew on each question.
///
/// A request asks for a handful of names, so a scan per name is cheaper than a
/// map, and a query without escapes is answered without an allocation.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    raw: &'a str,
}

/// The query holds a broken percent escape, or a semicolon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedQuery;

impl<'a> Query<'a> {
    /// Takes the text after the `?`.
    pub(crate) fn parse(raw: &'a str) -> Result<Self, MalformedQuery> {
        // Since 1.17 Go refuses a semicolon, which used to separate pairs too.
        if raw.contains(';') || !escapes_are_whole(raw) {
            return Err(MalformedQuery);
        }
        Ok(Query { raw })
    }

    /// The first value given for `name`: `None` if the name is absent, empty if
    /// it has no value.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        // Most requests have no query, and are asked for ten names all the same.
        if self.raw.is_empty() {
            return None;
        }
        self.search(name)
    }

    fn search(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| *key == name || unescape(key) == name)
            .map(|(_, value)| unescape(value))
    }

    /// Whether `name` is present, with whatever value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Decodes a name or a value. A `+` is a space, and bytes that are no UTF-8
/// become replacement characters.
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

#[cfg(test)]
mod tests {
    use super::{MalformedQuery, Query};
    use std::borrow::Cow;

    fn get<'a>(raw: &'a str, name: &str) -> Option<Cow<'a, str>> {
        Query::parse(raw).unwrap().get(name)
    }

    #[test]
    fn the_first_value_of_a_name_counts() {
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
    fn empty_pieces_are_skipped_and_only_the_first_equals_sign_splits() {
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
    fn a_broken_escape_anywhere_spoils_the_query() {
        for raw in [
            "%zz",
            "address=%zz",
            "ok=1&a=%2",
            "a=%",
            "%=1",
            "a=1;b=2",
            ";",
        ] {
            assert_eq!(Query::parse(raw).err(), Some(MalformedQuery), "{raw}");
        }
    }

    #[test]
    fn a_plain_value_is_borrowed_from_the_query() {
        assert!(matches!(
            get("dc=dc1&token=abc", "token"),
            Some(Cow::Borrowed("abc")),
        ));
    }
}
