//! Paths as Go's `net/url` and `net/http` read them, and the redirect to a clean path.
//!
//! `GET /v1//operator/raft/configuration` is a 301 in Consul, with Go's own
//! Location header and body; from 1.10 on, a path with a character that cannot
//! be printed is a 400.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::go::{escapes_are_whole, is_print};
use super::message::Response;
use super::query;

/// What Go escapes in a path: all but letters, digits, the unreserved marks and
/// those reserved characters that have no meaning of their own in a path.
const ESCAPED_IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// Redirects a request to `path`, which is a decoded path that [`clean`] returned, as
/// `http.Redirect` does. The query is carried over as it came, but for a token, which caches
/// and logs would keep.
pub(super) fn redirect(method: &str, path: &str, raw_query: Option<&str>) -> Response {
    let mut url = utf8_percent_encode(path, ESCAPED_IN_PATHS).to_string();
    let kept = raw_query.map(query::without_token);
    let had_token = kept.as_deref().map(str::len) != raw_query.map(str::len);
    if let Some(query) = kept.filter(|query| !had_token || !query.is_empty()) {
        url.push('?');
        url.push_str(&query);
    }
    let mut response = Response::empty(301)
        .with("Content-Type", "text/html; charset=utf-8")
        .with("Location", hex_escape_non_ascii(&url));
    if method == "GET" {
        let url = html_escape(&url);
        response.body = format!("<a href=\"{url}\">Moved Permanently</a>.\n\n").into();
    }
    if had_token {
        response.with("Cache-Control", "no-store")
    } else {
        response
    }
}

/// Decodes the escapes of a path. A `+` stays a `+`. A path with a broken escape, or that is
/// not UTF-8 then, has no meaning.
pub(super) fn unescape(raw_path: &str) -> Option<Cow<'_, str>> {
    let decoded = escapes_are_whole(raw_path).then(|| percent_decode_str(raw_path))?;
    decoded.decode_utf8().ok()
}

/// Go's `cleanPath`: no empty, `.` or `..` segments, rooted, with the trailing
/// slash kept.
pub(super) fn clean(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if out.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out
}

/// Tells whether a decoded path has a character that Go cannot print.
pub(super) fn has_unprintable(path: &str) -> bool {
    path.chars().any(|c| !is_print(c))
}

fn html_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// Escapes what is not ASCII in a header value, with lower-case digits. In an escaped path
/// they are upper-case, since Go has two routines.
fn hex_escape_non_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_a_plus_stays() {
        assert_eq!(unescape("/a%2Fb+c").as_deref(), Some("/a/b+c"));
    }

    #[test]
    fn broken_escapes_and_bad_utf8_are_malformed() {
        for raw in ["/%", "/%zz", "/%ff", "/%c3"] {
            assert_eq!(unescape(raw), None, "{raw}");
        }
    }

    #[test]
    fn path_is_cleaned_as_go_does() {
        for (path, want) in [
            ("", "/"),
            ("v1", "/v1"),
            ("//", "/"),
            ("/v1//operator", "/v1/operator"),
            ("/v1/operator//", "/v1/operator/"),
            ("/v1/./operator", "/v1/operator"),
            ("/v1/x/../operator", "/v1/operator"),
            ("/../../v1", "/v1"),
            ("/v1/..", "/"),
            ("/v1/../", "/"),
            ("/v1/.", "/v1"),
            ("/v1/./", "/v1/"),
            (".", "/"),
            ("..", "/"),
            ("a/..", "/"),
            ("/...", "/..."),
            ("/.a/b./", "/.a/b./"),
        ] {
            assert_eq!(clean(path), want, "{path}");
            assert_eq!(clean(want), want, "{path}");
        }
    }

    #[test]
    fn controls_and_odd_spaces_are_unprintable() {
        assert!(!has_unprintable("/v1/é x"));
        assert!(has_unprintable("/v1/\n"));
        assert!(has_unprintable("/v1/\u{a0}"));
    }

    #[test]
    fn redirect_escapes_the_path_and_keeps_the_query() {
        let moved = redirect("GET", "/a b?é!/$&+,:;=@~", Some("dc=dc1&x='é"));
        let location = "/a%20b%3F%C3%A9%21/$&+,:;=@~?dc=dc1&x='%c3%a9";
        assert_eq!(moved.header("location"), Some(location));
        let url = "/a%20b%3F%C3%A9%21/$&amp;+,:;=@~?dc=dc1&amp;x=&#39;é";
        let body = format!("<a href=\"{url}\">Moved Permanently</a>.\n\n");
        assert_eq!(moved.body, body);
        assert!(redirect("PUT", "/a", None).body.is_empty());
    }
}
