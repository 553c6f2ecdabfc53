//! Paths as Go's `net/url` and `net/http` read them, and the redirect to a clean path.
//!
//! `GET /v1//operator/raft/configuration` is a 301 in Consul, with Go's own
//! Location header and body; from 1.10 on, a path with a character that cannot
//! be printed is a 400.

use std::borrow::Cow;
use std::fmt::{self, Write};

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

/// A path with a broken percent escape, or that is not UTF-8 when it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedPath;

/// The redirect to a clean path, as `http.Redirect` writes it.
pub(super) struct Redirect {
    location: String,
    /// The HTML body, which Go sends in answer to a GET only.
    body: String,
    /// The query had a token, which is left out.
    had_token: bool,
}

/// Shows the path only, as a log needs no more.
impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.location.split('?').next().unwrap_or_default();
        f.debug_tuple("Redirect").field(&path).finish()
    }
}

impl Redirect {
    /// Redirects a request to `path`, which is a decoded path that [`clean`] returned.
    /// The query is carried over as it came, but for a token, which caches and logs would
    /// keep.
    pub(super) fn new(method: &str, path: &str, raw_query: Option<&str>) -> Self {
        let mut url = escape_path(path);
        let kept = raw_query.map(query::without_token);
        let had_token = kept.as_deref().map(str::len) != raw_query.map(str::len);
        if let Some(query) = kept.filter(|query| !had_token || !query.is_empty()) {
            url.push('?');
            url.push_str(&query);
        }
        let body = match method {
            "GET" => format!(
                "<a href=\"{}\">Moved Permanently</a>.\n\n",
                html_escape(&url)
            ),
            _ => String::new(),
        };
        Redirect {
            location: hex_escape_non_ascii(&url),
            body,
            had_token,
        }
    }

    pub(super) fn response(&self) -> Response {
        let mut response = Response::empty(301)
            .with("Content-Type", "text/html; charset=utf-8")
            .with("Location", self.location.clone());
        response.body = self.body.clone().into();
        if self.had_token {
            response.with("Cache-Control", "no-store")
        } else {
            response
        }
    }
}

/// Decodes the escapes of a path. A `+` stays a `+`.
pub(super) fn unescape(raw_path: &str) -> Result<Cow<'_, str>, MalformedPath> {
    if !escapes_are_whole(raw_path) {
        return Err(MalformedPath);
    }
    percent_decode_str(raw_path)
        .decode_utf8()
        .map_err(|_| MalformedPath)
}

/// Go's `cleanPath`: no empty, `.` or `..` segments, rooted, with the trailing
/// slash kept.
pub(super) fn clean(path: &str) -> Cow<'_, str> {
    if is_clean(path) {
        return Cow::Borrowed(path);
    }
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
    Cow::Owned(out)
}

/// Tells whether a decoded path has a character that Go cannot print.
pub(super) fn has_unprintable(path: &str) -> bool {
    path.chars().any(|c| !is_print(c))
}

fn is_clean(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    // Only the last segment may be empty: it is the trailing slash.
    let (parents, last) = rest.rsplit_once('/').unwrap_or(("x", rest));
    !matches!(last, "." | "..")
        && !parents
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
}

fn escape_path(path: &str) -> String {
    utf8_percent_encode(path, ESCAPED_IN_PATHS).to_string()
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
        assert_eq!(unescape("/a%2Fb+c").as_deref(), Ok("/a/b+c"));
        assert!(matches!(unescape("/v1/x"), Ok(Cow::Borrowed("/v1/x"))));
    }

    #[test]
    fn broken_escapes_and_bad_utf8_are_malformed() {
        for raw in ["/%", "/%zz", "/%ff", "/%c3"] {
            assert_eq!(unescape(raw), Err(MalformedPath), "{raw}");
        }
    }

    #[test]
    fn clean_path_is_borrowed() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/operator/raft/configuration",
            "/...",
            "/.a/b./",
        ] {
            assert!(
                matches!(clean(path), Cow::Borrowed(same) if same == path),
                "{path}"
            );
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
    fn redirect_is_the_recorded_one() {
        let redirect = Redirect::new("GET", "/v1/operator/raft/configuration", None);
        assert_eq!(redirect.location, "/v1/operator/raft/configuration");
        assert_eq!(
            redirect.body,
            "<a href=\"/v1/operator/raft/configuration\">Moved Permanently</a>.\n\n",
        );
    }

    #[test]
    fn redirect_escapes_the_path_and_keeps_the_query() {
        let redirect = Redirect::new("GET", "/a b?é!/$&+,:;=@~", Some("dc=dc1&x='é"));
        assert_eq!(
            redirect.location,
            "/a%20b%3F%C3%A9%21/$&+,:;=@~?dc=dc1&x='%c3%a9",
        );
        assert_eq!(
            redirect.body,
            "<a href=\"/a%20b%3F%C3%A9%21/$&amp;+,:;=@~?dc=dc1&amp;x=&#39;é\">\
             Moved Permanently</a>.\n\n",
        );
    }
}
