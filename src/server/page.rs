//! A page for people that another crate brings.

use std::fmt;

use bytes::Bytes;

use crate::consul::Response;

/// The path of the [page](Page).
pub const UI_PATH: &str = "/v1/operator/ui";

/// A self-contained page that [`OperatorHttp::with_ui`](super::OperatorHttp::with_ui)
/// serves, such as that of the crate `cluster-operator-ui`.
///
/// The page itself holds no data. It reads the other endpoints with the token that its
/// user enters, so everyone may load it.
///
/// ```
/// use cluster_operator::server::Page;
///
/// const PAGE: Page = Page::new("<!doctype html><title>Cluster</title>", "default-src 'none'");
/// assert_eq!(PAGE.content_security_policy(), "default-src 'none'");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Page {
    html: &'static str,
    policy: &'static str,
}

impl Page {
    /// Creates a page from its HTML and its Content-Security-Policy.
    ///
    /// # Panics
    /// If the policy has characters other than visible ASCII and spaces. In a constant
    /// that is an error of the compiler.
    pub const fn new(html: &'static str, content_security_policy: &'static str) -> Self {
        let (bytes, mut at) = (content_security_policy.as_bytes(), 0);
        while at < bytes.len() {
            assert!(
                matches!(bytes[at], b' '..=b'~'),
                "the policy is not visible ASCII"
            );
            at += 1;
        }
        Page {
            html,
            policy: content_security_policy,
        }
    }

    /// Returns the HTML.
    pub const fn html(&self) -> &'static str {
        self.html
    }

    /// Returns the Content-Security-Policy.
    pub const fn content_security_policy(&self) -> &'static str {
        self.policy
    }

    /// Answers a request for the page.
    pub(super) fn answer(&self, method: &str) -> Response {
        let respond = |status, mut headers: Vec<_>, body| {
            headers.push(("Cache-Control", "no-store".into()));
            Response {
                status,
                headers,
                body,
            }
        };
        match method {
            "GET" | "HEAD" => {
                let mut headers = vec![
                    ("Content-Type", "text/html; charset=utf-8".into()),
                    ("Content-Security-Policy", self.policy.into()),
                    ("Cross-Origin-Opener-Policy", "same-origin".into()),
                    ("Cross-Origin-Resource-Policy", "same-origin".into()),
                    ("Referrer-Policy", "no-referrer".into()),
                    ("X-Content-Type-Options", "nosniff".into()),
                ];
                let mut body = Bytes::from_static(self.html.as_bytes());
                if method == "HEAD" {
                    headers.push(("Content-Length", body.len().to_string().into()));
                    body = Bytes::new();
                }
                respond(200, headers, body)
            }
            "OPTIONS" => respond(200, vec![("Allow", ALLOW.into())], Bytes::new()),
            _ => {
                let headers = vec![
                    ("Content-Type", "text/plain; charset=utf-8".into()),
                    ("Allow", ALLOW.into()),
                ];
                let text = format!("method {method} not allowed");
                respond(405, headers, Bytes::from(text))
            }
        }
    }
}

const ALLOW: &str = "OPTIONS,GET";

/// Shows the policy and the length of the page.
impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("content_security_policy", &self.policy)
            .field("length", &self.html.len())
            .finish()
    }
}
